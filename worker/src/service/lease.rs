//! Leases: one heartbeat moves all of a worker's leases and the visibility of their messages, tells progress, and brings
//! back what is no longer ours. A worker that cannot reach the database for as long as a lease lasts stops by itself, and
//! nothing that it waits for keeps it from that. A lease counts from when it was asked for: the answer may come late, or
//! wait until a process that was stopped goes on.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fleet::queue::Receipt;
use fleet::store::work::{AttemptId, Beat, Kept};
use fleet::store::workers::WorkerBeat;
use media::clock::since_boot;
use tokio::sync::watch;

use super::Service;
use crate::hardware;

/// Longest time between two looks at which leases have run out.
const LOOK: Duration = Duration::from_secs(1);

/// The running attempts. Times are those of a clock that callers read: it only goes forward, also while the machine sleeps.
#[derive(Debug, Default)]
pub struct Leases(Mutex<HashMap<AttemptId, Lease>>);

#[derive(Debug)]
struct Lease {
    receipt: Receipt,
    progress: Arc<AtomicU64>,
    lost: watch::Sender<bool>,
    end: watch::Sender<Option<u64>>,
    renewed: Duration,
}

/// A running attempt's end of its lease; dropping it ends the lease here.
#[derive(Debug)]
pub struct Held {
    /// Output frames made so far.
    pub progress: Arc<AtomicU64>,
    /// Becomes true when the attempt is no longer ours.
    pub lost: watch::Receiver<bool>,
    /// Segment after the last, once the store has said so: a split brings it nearer.
    end: watch::Receiver<Option<u64>>,
}

impl Held {
    /// Segment after the last, as far as it is known, for work that was begun with the end `known`.
    #[must_use]
    pub fn end(&self, known: Option<u64>) -> Option<u64> {
        let told = *self.end.borrow();
        told.into_iter().chain(known).min()
    }

    /// Waits until the chunk ends at or before `next` and before `known`, the end that its work was begun with.
    pub async fn ends_by(&self, next: u64, known: Option<u64>) {
        let mut end = self.end.clone();
        let moved = |end: &Option<u64>| end.is_some_and(|end| end <= next && known.is_none_or(|known| end < known));
        if end.wait_for(moved).await.is_err() {
            // Whoever told of it is gone: nothing moves any more.
            std::future::pending::<()>().await;
        }
    }
}

impl Lease {
    /// Ends only come nearer: an answer that comes late gives nothing back.
    fn move_end(&self, end: u64) {
        self.end.send_if_modified(|known| {
            let moves = known.is_none_or(|known| end < known);
            if moves {
                *known = Some(end);
            }
            moves
        });
    }
}

impl Leases {
    fn map(&self) -> MutexGuard<'_, HashMap<AttemptId, Lease>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters an attempt whose claim was sent at `asked`.
    pub fn enter(&self, id: AttemptId, receipt: Receipt, asked: Duration) -> Held {
        let (sender, lost) = watch::channel(false);
        let progress = Arc::new(AtomicU64::new(0));
        let (end, told) = watch::channel(None);
        let lease = Lease { receipt, progress: progress.clone(), lost: sender, end, renewed: asked };
        self.map().insert(id, lease);
        Held { progress, lost, end: told }
    }

    /// Notes where the store says that an attempt's chunk ends.
    pub fn shorten(&self, id: AttemptId, end: u64) {
        if let Some(lease) = self.map().get(&id) {
            lease.move_end(end);
        }
    }

    /// Takes out an attempt that ended.
    pub fn leave(&self, id: AttemptId) {
        self.map().remove(&id);
    }

    /// Whether an attempt is held.
    pub fn holds(&self, id: AttemptId) -> bool {
        self.map().get(&id).is_some_and(|l| !*l.lost.borrow())
    }

    /// What a heartbeat tells.
    pub fn beats(&self) -> Vec<Beat> {
        self.map().iter().map(|(id, l)| Beat { id: *id, progress: l.progress.load(Relaxed) }).collect()
    }

    /// Notes the answer to a heartbeat that was sent at `sent` with `beats`; gives the messages of what is held.
    pub fn answered(&self, beats: &[Beat], held: &[Kept], sent: Duration) -> Vec<Receipt> {
        let mut map = self.map();
        for beat in beats.iter().filter(|b| !held.iter().any(|kept| kept.id == b.id)) {
            // It may have ended in order meanwhile; then it is not in the map.
            if let Some(lease) = map.get(&beat.id) {
                tracing::warn!(job.id = %beat.id.job, chunk = beat.id.chunk, attempt = beat.id.attempt, "lease lost");
                lease.lost.send_replace(true);
            }
        }
        let mut receipts = Vec::new();
        for kept in held {
            if let Some(lease) = map.get_mut(&kept.id) {
                lease.renewed = sent;
                kept.end.into_iter().for_each(|end| lease.move_end(end));
                receipts.push(lease.receipt.clone());
            }
        }
        receipts
    }

    /// Gives up leases that were not renewed for as long as they last: somebody else may have them.
    pub fn expire(&self, lease: Duration, now: Duration) {
        for (id, held) in self.map().iter() {
            if now.saturating_sub(held.renewed) > lease && !*held.lost.borrow() {
                tracing::warn!(job.id = %id.job, chunk = id.chunk, "the lease could not be renewed; stopping");
                held.lost.send_replace(true);
            }
        }
    }
}

/// Sends heartbeats for ever, and gives up the leases that they do not renew in time.
pub(super) async fn keep(service: Arc<Service>, every: Duration) {
    // Beside each other: a heartbeat may wait for its answer for longer than a lease lasts.
    tokio::join!(send(&service, every), give_up(&service, every.min(LOOK)));
}

async fn send(service: &Arc<Service>, every: Duration) {
    let mut ticks = ticks(every);
    loop {
        ticks.tick().await;
        beat(service).await;
    }
}

async fn give_up(service: &Service, every: Duration) {
    let mut ticks = ticks(every);
    loop {
        ticks.tick().await;
        service.leases.expire(service.lease, since_boot());
    }
}

fn ticks(every: Duration) -> tokio::time::Interval {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks
}

async fn beat(service: &Arc<Service>) {
    let beats = service.leases.beats();
    let sent = since_boot();
    // What was lost on the way is answered by nobody; half of the lease is left for others to get through.
    let call = service.store.heartbeat(service.id, &beats, service.lease);
    match tokio::time::timeout(service.lease / 2, call).await {
        Ok(Ok(held)) => {
            let receipts = service.leases.answered(&beats, &held, sent);
            if !receipts.is_empty()
                && let Err(error) = service.queue.extend(&receipts, service.lease).await
            {
                // Others may see the messages; the leases keep them from claiming.
                tracing::debug!(%error, "visibility was not extended");
            }
            service.metrics.heartbeat(true);
        }
        Ok(Err(error)) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "heartbeat failed");
            service.metrics.heartbeat(false);
        }
        Err(_) => {
            tracing::warn!("heartbeat failed: no answer");
            service.metrics.heartbeat(false);
        }
    }
    let gpu = tokio::task::spawn_blocking(hardware::gpu).await.ok().flatten();
    service.metrics.gpu(gpu.as_ref());
    let told = WorkerBeat {
        busy: u32::try_from(service.busy.load(Relaxed)).unwrap_or(u32::MAX),
        draining: *service.draining.borrow(),
        gpu: gpu.and_then(|g| serde_json::to_value(g).ok()),
    };
    match service.store.worker_beat(service.id, &told).await {
        Ok(Some(command)) if command == "drain" && !*service.draining.borrow() => {
            tracing::info!("the dispatcher asks this worker to end");
            service.draining.send_replace(true);
        }
        Ok(_) => {}
        Err(error) => tracing::debug!(%error, "the worker's own heartbeat failed"),
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn attempt(chunk: i32) -> AttemptId {
        AttemptId { job: Uuid::nil(), chunk, attempt: 1, worker: Uuid::nil() }
    }

    fn receipt() -> Receipt {
        Receipt(String::new())
    }

    #[test]
    fn a_lease_counts_from_when_it_was_asked_for() {
        let leases = Leases::default();
        // The process was stopped between the claim and its answer.
        let held = leases.enter(attempt(1), receipt(), 100 * SECOND);
        leases.expire(45 * SECOND, 145 * SECOND);
        assert!(leases.holds(attempt(1)) && !*held.lost.borrow());
        leases.expire(45 * SECOND, 146 * SECOND);
        assert!(!leases.holds(attempt(1)) && *held.lost.borrow());
    }

    #[test]
    fn a_heartbeat_renews_from_when_it_was_sent_what_it_says_is_held() {
        let leases = Leases::default();
        let (kept, lost) = (attempt(1), attempt(2));
        leases.enter(kept, receipt(), SECOND);
        leases.enter(lost, receipt(), SECOND);
        let beats = leases.beats();
        assert_eq!(leases.answered(&beats, &[Kept { id: kept, end: None }], 30 * SECOND).len(), 1);
        assert!(leases.holds(kept) && !leases.holds(lost));
        leases.expire(45 * SECOND, 75 * SECOND);
        assert!(leases.holds(kept));
        leases.expire(45 * SECOND, 76 * SECOND);
        assert!(!leases.holds(kept));
    }
}
