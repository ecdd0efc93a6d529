//! One claimed chunk, from claim to end.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use fleet::failure::FailureCode;
use fleet::queue::Receipt;
use fleet::store::work::{Claim, Ending, Work};
use tracing::Instrument;

use super::commit::{Stop, again};
use super::ending::{Failure, ending};
use super::lease::Held;
use super::{Service, audio, clip, plan, video};
use crate::failure::JobError;

/// Works on a chunk, whose claim was sent at `asked`, and ends the attempt, one way or another.
pub(super) async fn run(service: &Arc<Service>, claim: Claim, asked: Duration, receipt: Receipt) {
    let id = claim.id;
    let kind = match &claim.work {
        Work::Plan => "plan",
        Work::Video { .. } => "video",
        Work::Audio { .. } => "audio",
        Work::Clip => "clip",
    };
    let span = tracing::info_span!("attempt", job.id = %id.job, chunk = id.chunk, attempt = id.attempt, kind);
    async {
        let held = service.leases.enter(id, receipt.clone(), asked);
        let progress = held.progress.clone();
        service.metrics.attempt_started();
        let outcome = work(service, &claim, held).await;
        let made = progress.load(Relaxed);
        match &outcome {
            Ok(()) => tracing::info!(made, "Finished chunk"),
            Err(Stop::LeaseLost) => tracing::warn!("the attempt is no longer ours"),
            Err(Stop::Drained | Stop::Shortened) => tracing::info!(made, "handed back"),
            Err(Stop::Failed(error)) => tracing::warn!(code = %error.code, %error, "attempt failed"),
        }
        service.metrics.attempt_ended(outcome.is_ok());
        if let Err(stop) = outcome {
            end(service, &claim, made, stop).await;
        }
        service.leases.leave(id);
        // Not needed any more since the claim: whatever becomes of the chunk is in the database.
        if let Err(error) = service.queue.delete(&[receipt]).await {
            tracing::debug!(%error, "the message comes again, and is stale then");
        }
    }
    .instrument(span)
    .await;
}

async fn work(service: &Arc<Service>, claim: &Claim, held: Held) -> Result<(), Stop> {
    let mut lost = held.lost.clone();
    let mut draining = service.draining.subscribe();
    let deadline = async {
        if draining.wait_for(|d| *d).await.is_err() {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(service.drain).await;
    };
    // Dropping the work kills its engine.
    tokio::select! {
        outcome = async {
            match &claim.work {
                Work::Plan => plan::run(service, claim).await,
                Work::Video { first, end } => video::run(service, claim, (*first, *end), &held).await,
                Work::Audio { rendition } => audio::run(service, claim, rendition, &held).await,
                Work::Clip => clip::run(service, claim, &held).await,
            }
        } => outcome,
        _ = lost.wait_for(|l| *l) => Err(Stop::LeaseLost),
        () = deadline => Err(Stop::Drained),
    }
}

/// Records how an attempt ended that did not finish its chunk.
async fn end(service: &Arc<Service>, claim: &Claim, made: u64, stop: Stop) {
    let ending = match stop {
        // The lease's end was recorded by whoever ended it.
        Stop::LeaseLost => return,
        // Whoever makes pictures goes on to complete a chunk that was shortened.
        Stop::Drained | Stop::Shortened => Ending::HandedBack,
        Stop::Failed(error) => {
            if error.code == FailureCode::GuardFailed {
                service.suspicion.notify_one();
            }
            service.stash.forget(claim.id.job).await;
            let copies = claim.plan.as_ref().is_some_and(|p| p.video.renditions.iter().any(|r| r.encode.is_none()));
            let JobError { code, message } = error;
            let failure = Failure { code, message, copies };
            ending(&claim.work, claim.id.attempt, failure, fastrand::f64())
        }
    };
    let id = claim.id;
    match again(service, id, || service.store.end_attempt(id, made, &ending)).await {
        Ok(true) => {}
        Ok(false) | Err(Stop::LeaseLost) => tracing::debug!("the attempt had been taken away"),
        Err(other) => tracing::warn!(?other, "the attempt's end was not recorded; its lease will end"),
    }
}
