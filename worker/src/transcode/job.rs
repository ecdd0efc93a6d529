//! A job in progress: what is committed, what is at work, and which runs of segments are still missing.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::unexpected;
use crate::child::Engines;
use crate::failure::JobError;
use crate::output::OutputFolder;
use crate::plan::{self, JobPlan};
use crate::protocol::{Event, StageSeconds};
use crate::publish;
use crate::source::Source;
use crate::update::{Progress, Sink, Update};

/// Least time between two progress updates.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);

/// A job in progress, shared by its slots.
pub(super) struct Job {
    pub(super) plan: JobPlan,
    pub(super) source: Source,
    pub(super) engines: Engines,
    pub(super) sink: Sink,
    slots: u32,
    started: Instant,
    state: Mutex<State>,
}

/// What changes while its slots work.
pub(super) struct State {
    pub(super) folder: OutputFolder,
    /// Runs of missing segments, in the order of the match.
    waiting: VecDeque<Run>,
    /// Output frames of runs in work, by first segment.
    pub(super) running: BTreeMap<u64, u64>,
    committed_before: u64,
    pub(super) encoded_frames: u64,
    pub(super) cpu_s: StageSeconds,
    last_progress: Option<Instant>,
}

/// Segments that one engine makes, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) first: u64,
    /// `None`: to the end of the source.
    pub(super) end: Option<u64>,
}

impl Job {
    pub(super) fn new(
        plan: JobPlan,
        folder: OutputFolder,
        (source, engines): (Source, Engines),
        sink: Sink,
        slots: u32,
        chunk_s: Option<f64>,
        started: Instant,
    ) -> Self {
        let frames = folder.end.or(plan.expected_frames);
        let chunks = plan::chunks(&plan.video, frames, slots, chunk_s);
        let waiting = missing(&chunks, &plan, &folder);
        let committed_before = plan
            .video
            .renditions
            .first()
            .and_then(|r| folder.rendition(&r.name))
            .map_or(0, |s| s.segments.values().map(|c| c.count).sum());
        let state = State {
            folder,
            waiting,
            running: BTreeMap::new(),
            committed_before,
            encoded_frames: 0,
            cpu_s: StageSeconds::default(),
            last_progress: None,
        };
        Self { plan, source, engines, sink, slots, started, state: Mutex::new(state) }
    }

    /// The state; a panic in another slot has already failed the job.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next run, with the threads it may use.
    pub(super) fn take(&self) -> Option<(Run, u32)> {
        let mut state = self.state();
        let run = state.waiting.pop_front()?;
        state.running.insert(run.first, 0);
        let open = state.waiting.len() + state.running.len();
        // Fewer runs than slots: the idle cores help by taking a rendition each.
        let threads = if open < self.slots as usize { 2 } else { 1 };
        Some((run, threads))
    }

    /// Takes an event of a run.
    pub(super) fn take_event(&self, run: Run, event: Event, payload: &[u8]) -> Result<bool, JobError> {
        match event {
            Event::Init { rendition } => self.state().folder.commit_init(&rendition, payload)?,
            Event::Segment(segment) => {
                let is_new = self.state().folder.commit_segment(&segment, payload)?;
                if is_new {
                    self.sink.send(Update::Segment {
                        rendition: segment.rendition,
                        index: segment.index,
                        count: segment.count,
                        bytes: payload.len() as u64,
                    });
                }
            }
            Event::Thumbnail { index, width, height } => {
                self.state().folder.keep_picture(&publish::thumbnail_name(index), (width, height), payload)?;
            }
            Event::Poster { width, height } => self.state().folder.keep_picture("poster", (width, height), payload)?,
            Event::Progress { frames } => {
                self.state().running.insert(run.first, frames);
            }
            Event::Done(report) => {
                let mut state = self.state();
                state.running.remove(&run.first);
                state.encoded_frames += report.frames;
                state.cpu_s.add(&report.cpu_s);
                state.folder.note_damage(report.damaged)?;
                if let Some(end) = report.source_end {
                    state.folder.note_end(end)?;
                    let segments = self.plan.video.grid.segments(end);
                    state.waiting.retain(|r| r.first < segments);
                }
                return Ok(true);
            }
            other => return Err(unexpected(&other)),
        }
        self.progress(false);
        Ok(false)
    }

    pub(super) fn progress(&self, force: bool) {
        let mut state = self.state();
        if !force && state.last_progress.is_some_and(|t| t.elapsed() < PROGRESS_EVERY) {
            return;
        }
        state.last_progress = Some(Instant::now());
        let done = state.encoded_frames + state.running.values().sum::<u64>();
        let expected = state.folder.end.or(self.plan.expected_frames);
        let frames = (state.committed_before + done).min(expected.unwrap_or(u64::MAX));
        let rate = &self.plan.video.rate;
        let elapsed = self.started.elapsed().as_secs_f64();
        let rate_x = rate.seconds(done) / elapsed.max(1e-9);
        let eta_s = expected.filter(|_| rate_x > 0.0).map(|e| rate.seconds(e.saturating_sub(frames)) / rate_x);
        let watchable_s = watchable(&self.plan, &state.folder);
        drop(state);
        self.sink.send(Update::Progress(Progress { frames, expected, watchable_s, rate_x, eta_s }));
    }
}

/// Seconds from the start for which every rendition has all its segments.
fn watchable(plan: &JobPlan, folder: &OutputFolder) -> f64 {
    let names = plan.video.renditions.iter().map(|r| &r.name);
    let videos = names.map(|n| folder.rendition(n).map_or(0, crate::output::RenditionState::contiguous));
    let audios = plan
        .audio
        .iter()
        .map(|a| folder.rendition(&a.name).map_or(0, |s| if s.ended { u64::MAX } else { s.contiguous() }));
    let segments = videos.chain(audios).min().unwrap_or(0);
    let frames = match plan.video.grid.start(segments) {
        Some(frames) => frames.min(folder.end.unwrap_or(u64::MAX)),
        None => folder.end.unwrap_or(0),
    };
    plan.video.rate.seconds(frames)
}

/// Runs of segments that some rendition lacks, within the chunks.
pub(super) fn missing(chunks: &[(u64, Option<u64>)], plan: &JobPlan, folder: &OutputFolder) -> VecDeque<Run> {
    let states: Vec<_> = plan.video.renditions.iter().map(|r| folder.rendition(&r.name)).collect();
    let is_whole = |index: u64| states.iter().all(|s| s.is_some_and(|s| s.segments.contains_key(&index)));
    let last_committed = states.iter().flatten().filter_map(|s| s.segments.keys().next_back()).max().copied();
    let known_end = folder.end.map(|frames| plan.video.grid.segments(frames));
    let mut runs = VecDeque::new();
    for &(first, end) in chunks {
        // An open chunk has nothing committed past the last committed segment: from there on it is one run.
        let closed_end = match (end, known_end) {
            (Some(end), Some(known)) => end.min(known),
            (Some(end), None) => end,
            (None, Some(known)) => known,
            (None, None) => last_committed.map_or(first, |l| (l + 1).max(first)),
        };
        let mut open: Option<u64> = None;
        for index in first..closed_end {
            if is_whole(index) {
                if let Some(start) = open.take() {
                    runs.push_back(Run { first: start, end: Some(index) });
                }
            } else {
                open.get_or_insert(index);
            }
        }
        if end.is_none() && known_end.is_none() {
            runs.push_back(Run { first: open.unwrap_or(closed_end), end: None });
        } else if let Some(start) = open {
            runs.push_back(Run { first: start, end: Some(closed_end) });
        }
    }
    runs
}
