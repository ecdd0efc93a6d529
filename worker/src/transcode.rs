//! One job on one machine: probe, plan, feed engines, commit segments, publish.

mod job;
mod slots;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use fleet::failure::FailureCode;
use fleet::ladder::{Ladder, Top};
use fleet::timeline::clock;
use tokio::sync::watch;
use tokio::task::JoinSet;

use self::job::Job;
use self::slots::{audio_slot, video_slot};
use crate::child::{EngineProcess, Engines, TaskLimits};
use crate::facts::SourceFacts;
use crate::failure::JobError;
use crate::hardware::{self, EncoderChoice};
use crate::output::{Fingerprint, OutputFolder};
use crate::plan::{self, JobPlan};
use crate::protocol::{Command, Event};
use crate::publish;
use crate::source::{Source, SourceLocation, SourceOptions};
use crate::update::{Planned, PlannedRendition, Sink, Summary, Update};
use crate::verify;

/// Layout version of the output folder.
const LAYOUT: u32 = 1;

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

fn warnings(plan: &JobPlan, facts: &SourceFacts, folder: &OutputFolder, frames: u64) -> Vec<String> {
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
