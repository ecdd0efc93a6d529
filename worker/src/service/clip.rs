//! The file of a clip: its frames and no others, as an MP4 that plays everywhere.
//!
//! The source is the published rendition: its init segment and the segments that hold the clip, read as one film by an
//! engine like any other source. All of the clip is encoded anew, so that it may begin and end at any frame; `film` then
//! lays the engine's samples into one file.

mod film;
mod plan;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use fleet::clip::Cut;
use fleet::failure::FailureCode;
use fleet::fault::call;
use fleet::keys;
use fleet::objects::meta_for;
use fleet::store::clips::ClipTrack;
use fleet::store::downloads::{DOWNLOAD, Order};
use fleet::store::work::{Claim, Commit, Completed, Completion, NewFile};

use super::Service;
use super::commit::{Stop, again};
use super::lease::Held;
use crate::child::{EngineProcess, TaskLimits};
use crate::failure::JobError;
use crate::plan::JobPlan;
use crate::protocol::{Command, Event, VideoTask};
use crate::source::{Part, Source};
use crate::transcode;
use crate::verify::{SoundCheck, VideoCheck};
use film::Track;

pub(super) async fn run(service: &Arc<Service>, claim: &Claim, held: &Held) -> Result<(), Stop> {
    let names = [DOWNLOAD.to_owned()];
    let there = again(service, claim.id, || service.store.committed(claim.id.job, 0, Some(1), &names)).await?;
    if !there.is_empty() {
        return complete(service, claim, held).await;
    }
    let order = again(service, claim.id, || service.store.download_order(claim.id.job)).await?;
    let order = order.ok_or_else(|| JobError::internal("the clip or its match has gone"))?;
    let cut = Cut::of(&order.plan, order.start_ms, order.end_ms);
    // Sound follows the borders of the pictures to the next packet, and a decoder needs a run-up: one segment more.
    let (first, end) = (cut.first.saturating_sub(1), cut.end);
    let tracks = again(service, claim.id, || service.store.tracks_of_clip(order.job, first, end)).await?;
    let prefix = keys::job_prefix(claim.organisation, order.job, order.generation);

    let is_wanted = |height| order.height.is_none_or(|wanted| wanted == height);
    let there = order.plan.video.renditions.iter().filter(|r| tracks.iter().any(|t| t.name == r.name));
    let rendition = there.into_iter().find(|r| is_wanted(r.height));
    let rendition = rendition.ok_or_else(|| JobError::internal("the clip's pictures are not there"))?;
    let source = open(service, &prefix, &tracks, &rendition.name, cut.first).await?;
    let source = source.ok_or_else(|| JobError::internal("the clip's pictures are not there"))?;
    let mut engine = service.stash.engines().start(&source).await?;
    let facts = transcode::probe_with(&mut engine, &source).await?;
    let video = plan::pictures(&order.plan, &facts, rendition, &cut.frames)?;
    let audio = plan::sound(&order.plan, &tracks, &cut.frames, &video.grid);
    let job = JobPlan {
        ladder: order.plan.ladder.clone(),
        expected_frames: Some(cut.frames.end - cut.frames.start),
        audio: audio.into_iter().collect(),
        notes: Vec::new(),
        video,
    };
    let pictures = pictures(&mut engine, &job, held).await?;
    drop(engine);
    let sound = match job.audio.first() {
        Some(audio) => match open(service, &prefix, &tracks, &audio.name, first).await? {
            Some(source) => sound(&mut service.stash.engines().start(&source).await?, &job, held).await?,
            None => None,
        },
        None => None,
    };
    let write = async {
        let file = tempfile::NamedTempFile::new().map_err(JobError::internal)?;
        tokio::task::block_in_place(|| film::write(&job, pictures, sound, file.as_file()))?;
        Ok::<_, JobError>(file)
    };
    let file = call("files.clip", write).await?;
    hand_over(service, claim, &order, &prefix, &job, file.path()).await?;
    complete(service, claim, held).await
}

/// The segments of a rendition from `first` on as a source; `None` when it has none.
async fn open(
    service: &Arc<Service>,
    prefix: &str,
    tracks: &[ClipTrack],
    name: &str,
    first: u64,
) -> Result<Option<Source>, Stop> {
    let Some(track) = tracks.iter().find(|track| track.name == name) else { return Ok(None) };
    let init = format!("{prefix}{name}/{}", track.init_uri);
    let facts = service.objects.head(&init).await?;
    let facts = facts.ok_or_else(|| JobError::new(FailureCode::OutputFailed, format!("{name}: no init segment")))?;
    let mut parts = vec![Part { key: init, bytes: facts.size }];
    let segments = track.segments.iter().filter(|segment| segment.index >= first);
    parts.extend(segments.map(|s| Part { key: format!("{prefix}{name}/{}", s.uri), bytes: s.bytes }));
    if parts.len() == 1 {
        return Ok(None);
    }
    Ok(Some(Source::of_objects(&format!("{prefix}{name}"), service.objects.clone(), parts)))
}

/// Has an engine encode the frames of the clip.
async fn pictures(engine: &mut EngineProcess, job: &JobPlan, held: &Held) -> Result<Track, Stop> {
    let frames = job.expected_frames.unwrap_or(0);
    let end = job.video.grid.segments(frames);
    let task = VideoTask { first_segment: 0, end_segment: Some(end), threads: 2 };
    let command = Command::Video { plan: Box::new(job.video.clone()), task };
    engine.send(&command, TaskLimits::video(job, 0, Some(end))).await?;
    let mut check = VideoCheck::new(&job.video, 0, Some(end));
    let mut track = Track::new()?;
    loop {
        let (event, payload) = engine.next().await?;
        check.admit(&event, &payload)?;
        match event {
            Event::Init { .. } => track.init(payload)?,
            Event::Segment(_) => tokio::task::block_in_place(|| track.segment(&payload))?,
            Event::Progress { frames } => held.progress.store(frames, Relaxed),
            Event::Thumbnail { .. } | Event::Poster { .. } => {}
            Event::Done(report) if report.frames == frames => {
                held.progress.store(frames, Relaxed);
                return Ok(track);
            }
            Event::Done(report) => {
                let what = format!("{} of the clip's {frames} frames were there", report.frames);
                return Err(JobError::new(FailureCode::Undecodable, what).into());
            }
            other => return Err(unexpected(&other)),
        }
    }
}

/// Has an engine encode the sound of the clip; `None` when there is none.
async fn sound(engine: &mut EngineProcess, job: &JobPlan, held: &Held) -> Result<Option<Track>, Stop> {
    let Some(audio) = job.audio.first() else { return Ok(None) };
    let command = Command::Audio { plan: Box::new(audio.clone()), first_segment: 0 };
    engine.send(&command, TaskLimits::audio(audio)).await?;
    let mut check = SoundCheck::new(audio, 0);
    let mut track = Track::new()?;
    loop {
        let (event, payload) = engine.next().await?;
        check.admit(&event, &payload)?;
        match event {
            Event::Init { .. } => track.init(payload)?,
            Event::Segment(_) => tokio::task::block_in_place(|| track.segment(&payload))?,
            Event::Progress { .. } => held.progress.store(job.expected_frames.unwrap_or(0), Relaxed),
            Event::Done(_) => return Ok(track.is_filled().then_some(track)),
            other => return Err(unexpected(&other)),
        }
    }
}

fn unexpected(event: &Event) -> Stop {
    JobError::new(FailureCode::EngineProtocol, format!("unexpected event {}", event.name())).into()
}

/// Puts the file into the store and enters it while the attempt is held.
async fn hand_over(
    service: &Arc<Service>,
    claim: &Claim,
    order: &Order,
    prefix: &str,
    job: &JobPlan,
    file: &std::path::Path,
) -> Result<(), Stop> {
    let uri = keys::download(order.clip, claim.id.job, claim.id.attempt);
    let key = format!("{prefix}{uri}");
    service.objects.put_file(&key, file, meta_for(&key)).await?;
    let bytes = tokio::fs::metadata(file).await.map_err(JobError::internal)?.len();
    let frames = job.expected_frames.unwrap_or(0);
    let row = NewFile {
        rendition: DOWNLOAD,
        index: 0,
        uri: &uri,
        bytes,
        first: 0,
        count: frames,
        seconds: job.video.rate.seconds(frames),
        facts: serde_json::json!({}),
    };
    match again(service, claim.id, || service.store.commit_file(claim.id, &row)).await? {
        Commit::New | Commit::Already => Ok(()),
        // A clip's file has no end that could move.
        Commit::PastEnd(_) | Commit::LeaseLost => Err(Stop::LeaseLost),
    }
}

async fn complete(service: &Arc<Service>, claim: &Claim, held: &Held) -> Result<(), Stop> {
    let done = Completion {
        segments: Some((vec![DOWNLOAD.to_owned()], 0, 1)),
        made: held.progress.load(Relaxed),
        ..Completion::default()
    };
    match again(service, claim.id, || service.store.complete(claim.id, &done)).await? {
        Completed::Done => Ok(()),
        Completed::LeaseLost => Err(Stop::LeaseLost),
        Completed::SegmentsMissing => {
            Err(JobError::new(FailureCode::OutputFailed, "the committed file is missing").into())
        }
    }
}
