//! Slots: each holds an engine and gives it one run after the other; what an engine died on goes to a fresh one.

use std::sync::Arc;

use fleet::failure::FailureCode;

use super::job::{Job, Run, missing};
use crate::child::{EngineProcess, TaskLimits};
use crate::failure::JobError;
use crate::plan::AudioPlan;
use crate::protocol::{Command, Event, VideoTask};
use crate::update::Update;
use crate::verify::{SoundCheck, VideoCheck};

/// Times that work is given to a fresh engine after one died on it.
const ENGINE_RETRIES: u32 = 1;

/// What is left of a run after an engine died on it.
fn rest_of(run: Run, job: &Job) -> Option<Run> {
    let state = job.state();
    let rest = missing(&[(run.first, run.end)], &job.plan, &state.folder);
    rest.front().map(|first| Run { first: first.first, end: run.end })
}

/// Works through the runs of pictures until none is left.
pub(super) async fn video_slot(job: Arc<Job>, mut engine: Option<EngineProcess>) -> Result<(), JobError> {
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

/// Works through the sound tracks, each to its end.
pub(super) async fn audio_slot(job: Arc<Job>) -> Result<(), JobError> {
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
