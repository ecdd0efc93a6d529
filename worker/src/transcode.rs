//! One job on one machine: probe, plan, feed engines, commit segments, publish.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use fleet::failure::FailureCode;
use fleet::ladder::{Ladder, Top};
use fleet::timeline::clock;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::child::{EngineProcess, Engines, TaskLimits};
use crate::facts::SourceFacts;
use crate::failure::JobError;
use crate::hardware::{self, EncoderChoice};
use crate::output::{Fingerprint, OutputFolder};
use crate::plan::{self, AudioPlan, JobPlan};
use crate::protocol::{Command, Event, StageSeconds, VideoTask};
use crate::publish;
use crate::source::{Source, SourceLocation, SourceOptions};
use crate::update::{Planned, PlannedRendition, Progress, Sink, Summary, Update};
use crate::verify::{self, SoundCheck, VideoCheck};

/// Layout version of the output folder.
const LAYOUT: u32 = 1;
/// Times that work is given to a fresh engine after one died on it.
const ENGINE_RETRIES: u32 = 1;
/// Least time between two progress updates.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);

/// What is asked for.
#[derive(Debug)]
pub struct Request {
    /// The source.
    pub input: SourceLocation,
    /// The output folder.
    pub out: PathBuf,
    /// The ladder.
    pub ladder: Ladder,
    /// Which encoder.
    pub encoder: EncoderChoice,
    /// Engines that work on pictures at once; `None` for as many as the machine carries.
    pub slots: Option<u32>,
    /// Length of a chunk in seconds; `None` for what suits slots and source.
    pub chunk_s: Option<f64>,
    /// Throw away what another job left in the folder.
    pub overwrite: bool,
    /// Run engines without their sandbox.
    pub insecure_engine: bool,
}

/// Runs a job to its end, or to `cancel`.
///
/// # Errors
/// [`JobError`]; what is committed stays, and the same request goes on from there.
pub async fn transcode(request: Request, sink: Sink, mut cancel: watch::Receiver<bool>) -> Result<Summary, JobError> {
    tokio::select! {
        outcome = run(request, sink) => outcome,
        _ = cancel.wait_for(|cancelled| *cancelled) => {
            Err(JobError::new(FailureCode::Cancelled, "stopped; the same command goes on from here"))
        }
    }
}

/// Looks at a source without encoding; `insecure_engine` does it without a sandbox.
///
/// # Errors
/// It cannot be read, or is not a film.
pub async fn probe(input: &SourceLocation, insecure_engine: bool) -> Result<SourceFacts, JobError> {
    let source = Source::open(input, SourceOptions::default()).await?;
    probe_with(&mut Engines::new(insecure_engine).start(&source).await?, &source).await
}

pub(crate) async fn probe_with(engine: &mut EngineProcess, source: &Source) -> Result<SourceFacts, JobError> {
    engine.send(&Command::Probe, TaskLimits::PROBE).await?;
    match engine.next().await? {
        (Event::Probed { facts }, _) => {
            verify::facts(&facts, source.len())?;
            Ok(*facts)
        }
        (other, _) => Err(unexpected(&other)),
    }
}

fn unexpected(event: &Event) -> JobError {
    JobError::new(FailureCode::EngineProtocol, format!("unexpected event {}", event.name()))
}

async fn run(mut request: Request, sink: Sink) -> Result<Summary, JobError> {
    let mut copies = false;
    match attempt(&request, &sink, &mut copies).await {
        // The index promised packets that can be copied, and the packets were otherwise.
        Err(error) if copies && error.code == FailureCode::Internal => {
            let text = format!("the source's packets cannot be copied ({error}); encoding them instead");
            sink.send(Update::Warning { text });
            request.ladder.top = Top::Encode;
            request.overwrite = true;
            attempt(&request, &sink, &mut copies).await
        }
        outcome => outcome,
    }
}

/// One try; tells in `copies` whether the plan copies the source's packets.
async fn attempt(request: &Request, sink: &Sink, copies: &mut bool) -> Result<Summary, JobError> {
    let started = Instant::now();
    let source = Source::open(&request.input, SourceOptions::default()).await?;
    let engines = Engines::new(request.insecure_engine);
    let machine = hardware::choose(engines, request.encoder).await?;
    let engines = machine.equip(engines);
    let mut engine = engines.start(&source).await?;
    let facts = probe_with(&mut engine, &source).await?;
    sink.send(Update::Probed { facts: facts.clone() });
    for warning in &facts.warnings {
        sink.send(Update::Warning { text: warning.clone() });
    }
    let plan = plan::plan(&facts, &request.ladder, machine.machine);
    *copies = plan.video.renditions.iter().any(|r| r.encode.is_none());
    let slots = request.slots.unwrap_or_else(|| machine.slots(&plan)).max(1);
    let fingerprint = Fingerprint { version: LAYOUT, source: source.identity(), plan: plan.clone() };
    let folder = OutputFolder::open(&request.out, &fingerprint, request.overwrite)?;
    let resumed =
        plan.video.renditions.iter().filter_map(|r| folder.rendition(&r.name)).any(|r| !r.segments.is_empty());
    sink.send(Update::Planned(Planned {
        rate: plan.video.rate.to_string(),
        frames: plan.expected_frames,
        segments: plan.video.grid.segments(plan.expected_frames.unwrap_or(0)),
        renditions: plan.video.renditions.iter().map(PlannedRendition::from).collect(),
        audio: plan.audio.iter().map(|a| a.name.clone()).collect(),
        encoder: machine.machine.backend.to_string(),
        slots,
        notes: plan.notes.iter().cloned().chain(machine.notes.clone()).collect(),
        resumed,
    }));

    let job = Arc::new(Job::new(plan, folder, (source, engines), sink.clone(), slots, request.chunk_s, started));
    let mut workers = JoinSet::new();
    let mut first = Some(engine);
    for _ in 0..slots {
        workers.spawn(video_slot(job.clone(), first.take()));
    }
    if !job.plan.audio.is_empty() {
        workers.spawn(audio_slot(job.clone()));
    }
    while let Some(finished) = workers.join_next().await {
        // Dropping the rest kills their engines.
        finished.map_err(JobError::internal)??;
    }
    job.progress(true);

    let mut state = job.state();
    let pictures: Vec<String> = job.plan.video.renditions.iter().map(|r| r.name.clone()).collect();
    state.folder.end_at_first_gap(&pictures);
    let published = tokio::task::block_in_place(|| publish::publish(&state.folder, &job.plan))?;
    let frames = state.folder.end.unwrap_or(0);
    let duration_s = job.plan.video.rate.seconds(frames);
    let wall_s = started.elapsed().as_secs_f64();
    let found = warnings(&job.plan, &facts, &state.folder, frames);
    for text in &found {
        sink.send(Update::Warning { text: text.clone() });
    }
    let warnings = facts.warnings.iter().cloned().chain(found).collect();
    #[expect(clippy::cast_precision_loss, reason = "frame counts")]
    let encoded_s = state.encoded_frames as f64 / job.plan.video.rate.as_f64();
    Ok(Summary {
        out: request.out.clone(),
        playlist: state.folder.dir().join("master.m3u8"),
        frames,
        duration_s,
        wall_s,
        rate_x: encoded_s / wall_s.max(1e-9),
        encoder: machine.machine.backend.to_string(),
        renditions: published.renditions,
        warnings,
        cpu_s: state.cpu_s,
        report: published.report.summary,
    })
}

fn warnings(plan: &JobPlan, facts: &crate::facts::SourceFacts, folder: &OutputFolder, frames: u64) -> Vec<String> {
    let mut warnings = Vec::new();
    // Sound may run past the last picture; only what is missing of both was cut off.
    let sound = plan.audio.iter().filter_map(|a| {
        let last = folder.rendition(&a.name)?.segments.values().next_back()?;
        #[expect(clippy::cast_precision_loss, reason = "sample counts")]
        let seconds = (last.first + last.count) as f64 / f64::from(a.sample_rate);
        Some(seconds)
    });
    let duration = sound.fold(plan.video.rate.seconds(frames), f64::max);
    // MPEG streams have no header with a duration, and the guess fails when their clock jumps.
    let is_told = !facts.container.starts_with("mpeg");
    if let Some(expected) = facts.duration_s.filter(|e| is_told && duration < e * 0.98 - 0.5) {
        warnings.push(format!(
            "the source ends early: {} of {} could be read and were made watchable",
            clock(duration),
            clock(expected)
        ));
    }
    if folder.damaged > 0 {
        warnings.push(format!("the source is damaged in {} places; the picture may break up there", folder.damaged));
    }
    for audio in plan.audio.iter().filter(|a| folder.rendition(&a.name).is_none_or(|s| s.segments.is_empty())) {
        warnings.push(format!("sound track {} held nothing and is left out", audio.name));
    }
    warnings
}

/// A job in progress, shared by its slots.
struct Job {
    plan: JobPlan,
    source: Source,
    engines: Engines,
    sink: Sink,
    slots: u32,
    started: Instant,
    state: Mutex<State>,
}

struct State {
    folder: OutputFolder,
    /// Runs of missing segments, in the order of the match.
    waiting: VecDeque<Run>,
    /// Output frames of runs in work, by first segment.
    running: BTreeMap<u64, u64>,
    committed_before: u64,
    encoded_frames: u64,
    cpu_s: StageSeconds,
    last_progress: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    first: u64,
    end: Option<u64>,
}

impl Job {
    fn new(
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
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next run, with the threads it may use.
    fn take(&self) -> Option<(Run, u32)> {
        let mut state = self.state();
        let run = state.waiting.pop_front()?;
        state.running.insert(run.first, 0);
        let open = state.waiting.len() + state.running.len();
        // Fewer runs than slots: the idle cores help by taking a rendition each.
        let threads = if open < self.slots as usize { 2 } else { 1 };
        Some((run, threads))
    }

    /// Takes an event of a run.
    fn take_event(&self, run: Run, event: Event, payload: &[u8]) -> Result<bool, JobError> {
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

    fn progress(&self, force: bool) {
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
fn missing(chunks: &[(u64, Option<u64>)], plan: &JobPlan, folder: &OutputFolder) -> VecDeque<Run> {
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

/// What is left of a run after an engine died on it.
fn rest_of(run: Run, job: &Job) -> Option<Run> {
    let state = job.state();
    let rest = missing(&[(run.first, run.end)], &job.plan, &state.folder);
    rest.front().map(|first| Run { first: first.first, end: run.end })
}

async fn video_slot(job: Arc<Job>, mut engine: Option<EngineProcess>) -> Result<(), JobError> {
    while let Some((mut run, threads)) = job.take() {
        let mut retries = 0;
        loop {
            let command = Command::Video {
                plan: Box::new(job.plan.video.clone()),
                task: VideoTask { first_segment: run.first, end_segment: run.end, threads },
            };
            match work(&job, &mut engine, &command, run).await {
                Ok(()) => break,
                Err(error) if is_engine_death(&error) && retries < ENGINE_RETRIES => {
                    tracing::warn!(%error, segment = run.first, "an engine died; its work goes to a fresh one");
                    engine = None;
                    retries += 1;
                    job.state().running.remove(&run.first);
                    let Some(rest) = rest_of(run, &job) else { break };
                    run = rest;
                    job.state().running.insert(run.first, 0);
                }
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

fn is_engine_death(error: &JobError) -> bool {
    matches!(error.code, FailureCode::EngineCrashed | FailureCode::EngineHung)
}

async fn work(job: &Job, engine: &mut Option<EngineProcess>, command: &Command, run: Run) -> Result<(), JobError> {
    let process = match engine {
        Some(process) => process,
        None => engine.insert(job.engines.start(&job.source).await?),
    };
    process.send(command, TaskLimits::video(&job.plan, run.first, run.end)).await?;
    let mut check = VideoCheck::new(&job.plan.video, run.first, run.end);
    loop {
        let (event, payload) = process.next().await?;
        check.admit(&event, &payload)?;
        if tokio::task::block_in_place(|| job.take_event(run, event, &payload))? {
            return Ok(());
        }
    }
}

async fn audio_slot(job: Arc<Job>) -> Result<(), JobError> {
    let mut engine = None;
    for (number, audio) in job.plan.audio.iter().enumerate() {
        let mut retries = 0;
        // Runs of sound are told apart from those of pictures by numbers that no segment has.
        let run = Run { first: u64::MAX - number as u64, end: None };
        while job.state().folder.rendition(&audio.name).is_none_or(|s| !s.ended) {
            let first_segment = job.state().folder.rendition(&audio.name).map_or(0, |s| s.contiguous());
            match audio_work(&job, (audio, first_segment), &mut engine, run).await {
                Ok(()) => {
                    let mut state = job.state();
                    state.folder.note_track_end(&audio.name)?;
                }
                Err(error) if is_engine_death(&error) && retries < ENGINE_RETRIES => {
                    tracing::warn!(%error, track = audio.name, "an engine died; its work goes to a fresh one");
                    engine = None;
                    retries += 1;
                }
                // A track that cannot be decoded costs the track, not the match.
                Err(error) if error.code == FailureCode::Undecodable || error.code == FailureCode::LimitExceeded => {
                    job.sink.send(Update::Warning { text: format!("sound track {}: {error}", audio.name) });
                    job.state().folder.note_track_end(&audio.name)?;
                }
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

async fn audio_work(
    job: &Job,
    (audio, first_segment): (&AudioPlan, u64),
    engine: &mut Option<EngineProcess>,
    run: Run,
) -> Result<(), JobError> {
    let process = match engine {
        Some(process) => process,
        // Sound needs no GPU.
        None => engine.insert(job.engines.gpu(false).start(&job.source).await?),
    };
    let command = Command::Audio { plan: Box::new(audio.clone()), first_segment };
    process.send(&command, TaskLimits::audio(audio)).await?;
    let mut check = SoundCheck::new(audio, first_segment);
    loop {
        let (event, payload) = process.next().await?;
        check.admit(&event, &payload)?;
        if let Event::Done(report) = event {
            let mut state = job.state();
            state.cpu_s.add(&report.cpu_s);
            return state.folder.note_damage(report.damaged);
        }
        tokio::task::block_in_place(|| job.take_event(run, event, &payload))?;
    }
}
