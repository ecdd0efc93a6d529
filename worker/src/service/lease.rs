//! Leases: one heartbeat moves all of a worker's leases and the visibility of their messages, tells progress, and brings
//! back what is no longer ours. A worker that cannot reach the database for as long as a lease lasts stops by itself.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use fleet::queue::Receipt;
use fleet::store::work::{AttemptId, Beat, Kept};
use fleet::store::workers::WorkerBeat;
use tokio::sync::watch;

use super::Service;
use crate::hardware;

/// The running attempts. Lengths are measured on the clock that callers read, which only goes forward.
#[derive(Debug, Default)]
pub struct Leases(Mutex<HashMap<AttemptId, Lease>>);

#[derive(Debug)]
struct Lease {
    receipt: Receipt,
    progress: Arc<AtomicU64>,
    lost: watch::Sender<bool>,
    end: watch::Sender<Option<u64>>,
    renewed: Instant,
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

    /// Enters a claimed attempt.
    pub fn enter(&self, id: AttemptId, receipt: Receipt, now: Instant) -> Held {
        let (sender, lost) = watch::channel(false);
        let progress = Arc::new(AtomicU64::new(0));
        let (end, told) = watch::channel(None);
        let lease = Lease { receipt, progress: progress.clone(), lost: sender, end, renewed: now };
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
    pub fn answered(&self, beats: &[Beat], held: &[Kept], sent: Instant) -> Vec<Receipt> {
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
    pub fn expire(&self, lease: Duration, now: Instant) {
        for (id, held) in self.map().iter() {
            if now.saturating_duration_since(held.renewed) > lease && !*held.lost.borrow() {
                tracing::warn!(job.id = %id.job, chunk = id.chunk, "the lease could not be renewed; stopping");
                held.lost.send_replace(true);
            }
        }
    }
}

/// Sends heartbeats for ever.
pub(super) async fn keep(service: Arc<Service>, every: Duration) {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        beat(&service).await;
        service.leases.expire(service.lease, Instant::now());
    }
}

async fn beat(service: &Arc<Service>) {
    let beats = service.leases.beats();
    let sent = Instant::now();
    match service.store.heartbeat(service.id, &beats, service.lease).await {
        Ok(held) => {
            let receipts = service.leases.answered(&beats, &held, sent);
            if !receipts.is_empty()
                && let Err(error) = service.queue.extend(&receipts, service.lease).await
            {
                // Others may see the messages; the leases keep them from claiming.
                tracing::debug!(%error, "visibility was not extended");
            }
            service.metrics.heartbeat(true);
        }
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "heartbeat failed");
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
