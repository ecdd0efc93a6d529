//! A chunk of sound: the whole of one track, segment by segment.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use fleet::failure::FailureCode;
use fleet::keys;
use fleet::store::work::{Claim, Completed, Completion};

use super::Service;
use super::commit::{Committer, Stop, again};
use super::lease::Held;
use super::video::{is_engine_death, source};
use crate::child::{EngineProcess, TaskLimits};
use crate::failure::JobError;
use crate::plan::AudioPlan;
use crate::protocol::{Command, Event, TaskReport};
use crate::verify::SoundCheck;

/// Engines that may die in a row without a new segment.
const ENGINES: u32 = 2;

pub(super) async fn run(service: &Arc<Service>, claim: &Claim, rendition: &str, held: &Held) -> Result<(), Stop> {
    let job = claim.id.job;
    let plan = claim.plan.as_ref().and_then(|p| p.audio.iter().find(|a| a.name == rendition));
    let plan = plan.ok_or_else(|| JobError::internal(format!("{rendition} is not in the plan")))?;
    if service.pretend.is_some() {
        return complete(service, claim, plan, held, 0, None).await;
    }
    let source = source(service, claim).await?;
    let names = [plan.name.clone()];
    let mut deaths = 0;
    loop {
        let done = again(service, claim.id, || service.store.committed(job, 0, None, &names)).await?;
        let have: HashSet<(String, u64)> = done.into_iter().collect();
        let first = (0..).find(|i| !have.contains(&(plan.name.clone(), *i))).unwrap_or(0);
        let before = have.len();
        let prefix = keys::job_prefix(claim.organisation, job, claim.generation);
        let mut committer = Committer::new(service.clone(), claim.id, prefix, have);
        let mut engine = service.stash.engine(job, &source).await?;
        match work(service, &mut engine, &mut committer, plan, first, held).await {
            Ok(report) => {
                service.stash.keep(job, engine).await;
                return complete(service, claim, plan, held, report.damaged, None).await;
            }
            Err(Stop::Failed(error)) if is_engine_death(&error) => {
                committer.settle_all().await?;
                let now = again(service, claim.id, || service.store.committed(job, 0, None, &names)).await?;
                deaths = if now.len() > before { 1 } else { deaths + 1 };
                if deaths >= ENGINES {
                    return Err(Stop::Failed(error));
                }
                tracing::warn!(%error, "an engine died; a fresh one goes on after the last segment");
            }
            // A track that cannot be decoded costs the track, not the match.
            Err(Stop::Failed(error)) if matches!(error.code, FailureCode::Undecodable | FailureCode::LimitExceeded) => {
                committer.settle_all().await?;
                let warning = format!("sound track {}: {error}", plan.name);
                return complete(service, claim, plan, held, 0, Some(&warning)).await;
            }
            Err(other) => return Err(other),
        }
    }
}

async fn complete(
    service: &Arc<Service>,
    claim: &Claim,
    plan: &AudioPlan,
    held: &Held,
    damaged: u64,
    warning: Option<&str>,
) -> Result<(), Stop> {
    let done = Completion {
        made: held.progress.load(Relaxed),
        damaged,
        ended_rendition: Some(&plan.name),
        warning,
        ..Completion::default()
    };
    match again(service, claim.id, || service.store.complete(claim.id, &done)).await? {
        Completed::LeaseLost => Err(Stop::LeaseLost),
        _ => Ok(()),
    }
}

async fn work(
    service: &Arc<Service>,
    engine: &mut EngineProcess,
    committer: &mut Committer,
    plan: &AudioPlan,
    first: u64,
    held: &Held,
) -> Result<TaskReport, Stop> {
    let command = Command::Audio { plan: Box::new(plan.clone()), first_segment: first };
    engine.send(&command, TaskLimits::audio(plan)).await?;
    let mut check = SoundCheck::new(plan, first);
    let draining = service.draining.subscribe();
    let strange = |what: String| Stop::Failed(JobError::new(FailureCode::EngineProtocol, what));
    loop {
        let (event, payload) = engine.next().await?;
        check.admit(&event, &payload)?;
        match event {
            Event::Init { rendition } => committer.init(&rendition, &payload).await?,
            Event::Segment(segment) => {
                held.progress.fetch_add(segment.count, Relaxed);
                committer.segment(segment, payload).await?;
                if *draining.borrow() {
                    committer.settle_all().await?;
                    return Err(Stop::Drained);
                }
            }
            Event::Progress { .. } => {}
            Event::Done(report) => {
                committer.settle_all().await?;
                return Ok(report);
            }
            other => return Err(strange(format!("unexpected event {}", other.name()))),
        }
    }
}
