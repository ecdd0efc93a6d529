//! A chunk of pictures: all video renditions of a run of segments.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use fleet::failure::FailureCode;
use fleet::keys;
use fleet::store::work::{Claim, Completed, Completion};

use super::Service;
use super::commit::{Committer, Stop, again};
use super::lease::Held;
use super::resume::next_segment;
use crate::child::{EngineProcess, TaskLimits};
use crate::failure::JobError;
use crate::plan::{JobPlan, VideoPlan};
use crate::protocol::{Command, Event, TaskReport, VideoTask};
use crate::publish::jpeg;
use crate::source::Source;
use crate::verify::VideoCheck;

/// Engines that may die on a chunk in a row without a new segment, before the chunk goes to another worker.
const ENGINES: u32 = 2;

/// Small pictures that wait for their segment.
type Tiles = BTreeMap<u64, ((u32, u32), Vec<u8>)>;

pub(super) async fn run(
    service: &Arc<Service>,
    claim: &Claim,
    (first, mut end): (u64, Option<u64>),
    held: &Held,
) -> Result<(), Stop> {
    let job = claim.id.job;
    let plan = claim.plan.as_ref().ok_or_else(|| JobError::internal("a chunk without a plan"))?;
    let names: Vec<String> = plan.video.renditions.iter().map(|r| r.name.clone()).collect();
    let mut wanted = names.clone();
    wanted.push(keys::STORYBOARD.to_owned());
    if let Some(speed) = service.pretend {
        return pretend(service, claim, &plan.video, (first, end), speed).await;
    }
    let source = service.stash.source(job, &claim.source, claim.source_identity.as_deref()).await?;
    let mut deaths = 0;
    loop {
        end = held.end(end);
        let done = again(service, claim.id, || service.store.committed(job, first, end, &wanted)).await?;
        let have: HashSet<(String, u64)> = done.into_iter().collect();
        let resume = next_segment(first, end, &names, &have);
        if let (None, Some(end)) = (resume, end) {
            let segments = (names.clone(), first, end);
            match complete(service, claim, held, &TaskReport::default(), segments).await? {
                Completed::SegmentsMissing => continue,
                _ => return Ok(()),
            }
        }
        let before = have.len();
        let prefix = keys::job_prefix(claim.organisation, job, claim.generation);
        let mut committer = Committer::new(service.clone(), claim.id, prefix, have);
        let mut engine = service.stash.engine(job, &source).await?;
        let task = Task { plan, range: (resume.unwrap_or(first), end), held, names: &names };
        match task.work(service, &mut engine, &mut committer).await {
            Ok(report) => {
                service.stash.keep(job, engine).await;
                let last = task.check(&committer, &report)?;
                let last = held.end(end).map_or(last, |end| last.min(end));
                let segments = (names.clone(), first, last.max(first));
                match complete(service, claim, held, &report, segments).await? {
                    // The database came back without what it had taken; this attempt still holds the lease.
                    Completed::SegmentsMissing if deaths < ENGINES => deaths += 1,
                    Completed::SegmentsMissing => {
                        return Err(JobError::new(FailureCode::OutputFailed, "committed segments are missing").into());
                    }
                    _ => return Ok(()),
                }
            }
            Err(Stop::Shortened) => tracing::info!("the chunk was split; its rest goes elsewhere"),
            Err(Stop::Failed(error)) if is_engine_death(&error) => {
                committer.settle_all().await?;
                let now = again(service, claim.id, || service.store.committed(job, first, end, &wanted)).await?;
                deaths = if now.len() > before { 1 } else { deaths + 1 };
                if deaths >= ENGINES {
                    return Err(Stop::Failed(error));
                }
                tracing::warn!(%error, "an engine died; a fresh one goes on after the last segment");
            }
            Err(other) => return Err(other),
        }
    }
}

pub(super) fn is_engine_death(error: &JobError) -> bool {
    matches!(error.code, FailureCode::EngineCrashed | FailureCode::EngineHung)
}

async fn complete(
    service: &Arc<Service>,
    claim: &Claim,
    held: &Held,
    report: &TaskReport,
    segments: (Vec<String>, u64, u64),
) -> Result<Completed, Stop> {
    let done = Completion {
        segments: Some(segments),
        made: held.progress.load(Relaxed).max(report.frames),
        source_end: report.source_end,
        damaged: report.damaged,
        ..Completion::default()
    };
    match again(service, claim.id, || service.store.complete(claim.id, &done)).await? {
        Completed::LeaseLost => Err(Stop::LeaseLost),
        other => {
            service.metrics.frames(report.frames);
            Ok(other)
        }
    }
}

struct Task<'a> {
    plan: &'a JobPlan,
    range: (u64, Option<u64>),
    held: &'a Held,
    names: &'a [String],
}

impl Task<'_> {
    /// Has an engine make the segments and commits them as they come.
    async fn work(
        &self,
        service: &Arc<Service>,
        engine: &mut EngineProcess,
        committer: &mut Committer,
    ) -> Result<TaskReport, Stop> {
        let video = &self.plan.video;
        let (first, end) = self.range;
        // Idle cores help by taking a rendition each.
        let alone = service.busy.load(Relaxed) * 2 <= u64::from(service.slots);
        let task = VideoTask { first_segment: first, end_segment: end, threads: if alone { 2 } else { 1 } };
        let limits = TaskLimits::video(self.plan, first, end);
        engine.send(&Command::Video { plan: Box::new(video.clone()), task }, limits).await?;
        let mut check = VideoCheck::new(video, first, end);
        let base = self.held.progress.load(Relaxed);
        let mut tiles = Tiles::new();
        let draining = service.draining.subscribe();
        // The first segment that is not handed over in all renditions.
        let mut next = first;
        loop {
            let (event, payload) = tokio::select! {
                biased;
                // The engine is given up with what it has of the rest.
                () = self.held.ends_by(next, end) => {
                    committer.settle_all().await?;
                    return Err(Stop::Shortened);
                }
                event = engine.next() => event?,
            };
            check.admit(&event, &payload)?;
            match event {
                Event::Init { rendition } => {
                    committer.init(&rendition, &payload).await?;
                }
                Event::Segment(segment) => {
                    let index = segment.index;
                    if let Some(pause) = service.pause.filter(|_| self.names.first() == Some(&segment.rendition)) {
                        tokio::time::sleep(pause).await;
                    }
                    // Before the segment, so that whoever goes on after it finds its pictures there.
                    self.strip(committer, index, &mut tiles).await?;
                    committer.segment(segment, payload).await?;
                    let whole = self.names.iter().all(|n| committer.has(n, index));
                    if whole {
                        next = index + 1;
                    }
                    if whole && *draining.borrow() {
                        committer.settle_all().await?;
                        return Err(Stop::Drained);
                    }
                }
                Event::Thumbnail { index, width, height } => {
                    if tiles.len() < 1000 {
                        tiles.insert(index, ((width, height), payload));
                    }
                }
                Event::Poster { width, height } => {
                    let picture = encode_jpeg(payload, (width, height)).await?;
                    committer.picture(keys::POSTER, 0, picture, serde_json::json!({})).await?;
                }
                Event::Progress { frames } => self.held.progress.store(base + frames, Relaxed),
                Event::Done(report) => {
                    committer.settle_all().await?;
                    self.held.progress.store(base + report.frames, Relaxed);
                    return Ok(report);
                }
                other => {
                    let what = format!("unexpected event {}", other.name());
                    return Err(JobError::new(FailureCode::EngineProtocol, what).into());
                }
            }
        }
    }

    /// A finished task has committed every segment of its range up to the end of the source; gives where that is.
    fn check(&self, committer: &Committer, report: &TaskReport) -> Result<u64, Stop> {
        let grid = &self.plan.video.grid;
        let (first, end) = self.range;
        let source_end = report.source_end.map(|frames| grid.segments(frames));
        let end = match (end, source_end) {
            (Some(end), Some(source)) => end.min(source),
            (Some(end), None) => end,
            (None, Some(source)) => source,
            (None, None) => return Err(JobError::internal("the end of the source was not told").into()),
        };
        for index in first..end {
            if let Some(name) = self.names.iter().find(|n| !committer.has(n, index)) {
                let what = format!("{name}: segment {index} was not made");
                return Err(JobError::new(FailureCode::EngineProtocol, what).into());
            }
        }
        Ok(end)
    }

    /// Commits the strip of thumbnails of a segment.
    async fn strip(&self, committer: &mut Committer, segment: u64, tiles: &mut Tiles) -> Result<(), Stop> {
        let video = &self.plan.video;
        if committer.has(keys::STORYBOARD, segment) {
            return Ok(());
        }
        let every = video.thumbnail_every.max(1);
        let (Some(start), end) = (video.grid.start(segment), video.grid.end(segment)) else { return Ok(()) };
        let first = start.div_ceil(every);
        let last = end.map_or(u64::MAX, |e| e.div_ceil(every));
        let size = video.thumbnail_size;
        let mut strip = Vec::new();
        let mut index = first;
        while let Some((_, rgb)) = tiles.get(&index).filter(|(s, _)| *s == size && index < last) {
            strip.push(rgb.clone());
            index += 1;
        }
        *tiles = tiles.split_off(&index);
        if strip.is_empty() {
            return Ok(());
        }
        let count = strip.len() as u64;
        let width = size.0 * u32::try_from(count).map_err(JobError::internal)?;
        let line = size.0 as usize * 3;
        let mut canvas = vec![0; line * strip.len() * size.1 as usize];
        for (place, rgb) in strip.iter().enumerate() {
            for (row, pixels) in rgb.chunks_exact(line).enumerate() {
                let at = (row * strip.len() + place) * line;
                canvas[at..at + line].copy_from_slice(pixels);
            }
        }
        let picture = encode_jpeg(canvas, (width, size.1)).await?;
        let facts = serde_json::json!({ "first": first, "tiles": count, "width": size.0, "height": size.1 });
        committer.picture(keys::STORYBOARD, segment, picture, facts).await
    }
}

async fn encode_jpeg(rgb: Vec<u8>, size: (u32, u32)) -> Result<Vec<u8>, JobError> {
    if rgb.len() as u64 != u64::from(size.0) * u64::from(size.1) * 3 {
        return Err(JobError::new(FailureCode::EngineProtocol, "a picture's size is not its length"));
    }
    tokio::task::spawn_blocking(move || jpeg(&rgb, size)).await.map_err(JobError::internal)?
}

/// The test double: sleeps as long as encoding would take, and commits nothing.
async fn pretend(
    service: &Arc<Service>,
    claim: &Claim,
    plan: &VideoPlan,
    (first, end): (u64, Option<u64>),
    speed: f64,
) -> Result<(), Stop> {
    let total = claim.plan.as_ref().and_then(|p| p.expected_frames).unwrap_or(0);
    let start = plan.grid.start(first).unwrap_or(total);
    let last = end.and_then(|e| plan.grid.start(e)).unwrap_or(total).min(total);
    let frames = last.saturating_sub(start);
    tokio::time::sleep(Duration::from_secs_f64(plan.rate.seconds(frames) / speed.max(1e-3))).await;
    let done = Completion { made: frames, source_end: end.is_none().then_some(total), ..Completion::default() };
    match again(service, claim.id, || service.store.complete(claim.id, &done)).await? {
        Completed::LeaseLost => Err(Stop::LeaseLost),
        _ => Ok(()),
    }
}

/// The source of a claim, for the sound.
pub(super) async fn source(service: &Arc<Service>, claim: &Claim) -> Result<Source, JobError> {
    service.stash.source(claim.id.job, &claim.source, claim.source_identity.as_deref()).await
}
