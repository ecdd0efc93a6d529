//! [`fleet::store::workers`]: who is there, who answers.

use uuid::Uuid;

use super::{Memory, Ms, RegionRow, Worker};

/// A worker that was heard within this time counts as one that a region had.
const LATELY: Ms = 3_600_000;

impl Memory {
    pub(crate) fn register_worker(&mut self, id: Uuid, region: &str, device: &str, slots: i64) {
        let (now, fresh) = (self.now, || Worker {
            region: region.to_owned(),
            device: device.to_owned(),
            slots,
            state: "ready",
            drain: false,
            heartbeat_at: 0,
            gone_at: None,
        });
        let worker = self.workers.entry(id).or_insert_with(fresh);
        (worker.state, worker.heartbeat_at, worker.gone_at) = ("ready", now, None);
    }

    /// Whether it is asked to drain.
    pub(crate) fn worker_beat(&mut self, id: Uuid, draining: bool) -> bool {
        let now = self.now;
        let Some(worker) = self.workers.get_mut(&id) else { return false };
        (worker.heartbeat_at, worker.gone_at) = (now, None);
        worker.state = if draining { "draining" } else { "ready" };
        worker.drain
    }

    pub(crate) fn worker_gone(&mut self, id: Uuid) {
        let now = self.now;
        if let Some(worker) = self.workers.get_mut(&id) {
            (worker.state, worker.gone_at) = ("gone", Some(now));
        }
    }

    pub(crate) fn bury_silent_workers(&mut self, after: Ms) -> u64 {
        let now = self.now;
        let mut buried = 0;
        for worker in self.workers.values_mut() {
            if worker.state != "gone" && worker.heartbeat_at < now - after {
                (worker.state, worker.gone_at) = ("gone", Some(now));
                buried += 1;
            }
        }
        buried
    }

    pub(crate) fn drain_worker(&mut self, id: Uuid) -> bool {
        let Some(worker) = self.workers.get_mut(&id).filter(|w| w.state != "gone") else { return false };
        worker.drain = true;
        true
    }

    /// For how long the region's queue has been failing without a success.
    pub(crate) fn note_region(&mut self, region: &str, failure: Option<&str>) -> Ms {
        let now = self.now;
        let fresh = || RegionRow { healthy: true, reason: String::new(), failing_since: None, marked_at: now };
        let row = self.regions.entry(region.to_owned()).or_insert_with(fresh);
        match failure {
            Some(reason) => {
                reason.clone_into(&mut row.reason);
                row.failing_since = row.failing_since.or(Some(now));
            }
            None => {
                if row.healthy {
                    row.reason.clear();
                }
                row.failing_since = None;
            }
        }
        row.failing_since.map_or(0, |since| now - since)
    }

    /// `true` when that is news.
    pub(crate) fn set_region_health(&mut self, region: &str, healthy: bool) -> bool {
        let now = self.now;
        let Some(row) = self.regions.get_mut(region).filter(|r| r.healthy != healthy) else { return false };
        (row.healthy, row.marked_at) = (healthy, now);
        if healthy {
            row.reason.clear();
        } else if row.failing_since.is_none() {
            "silent".clone_into(&mut row.reason);
        }
        true
    }

    pub(crate) fn unhealthy_regions(&self) -> Vec<String> {
        self.regions.iter().filter(|(_, r)| !r.healthy).map(|(name, _)| name.clone()).collect()
    }

    pub(crate) fn silent_regions(&self, after: Ms) -> Vec<String> {
        let mut silent: Vec<String> = Vec::new();
        let names: std::collections::BTreeSet<&String> = self.workers.values().map(|w| &w.region).collect();
        for name in names {
            // One that said farewell at its last sign of life is not missed.
            let heard = self.workers.values().filter(|w| {
                w.region == *name && w.heartbeat_at > self.now - LATELY && w.gone_at != Some(w.heartbeat_at)
            });
            let Some(last) = heard.map(|w| w.heartbeat_at).max() else { continue };
            let waits = self.jobs.values().flat_map(|j| j.chunks.values()).any(|c| {
                c.state == fleet::state::ChunkState::Queued
                    && c.region.as_ref() == Some(name)
                    && c.queued_at.is_some_and(|at| at < self.now - after)
            });
            if last < self.now - after && waits {
                silent.push(name.clone());
            }
        }
        silent
    }

    pub(crate) fn recovered_regions(&self, after: Ms) -> Vec<String> {
        let is_back = |name: &String, row: &RegionRow| {
            let heard = self.workers.values().any(|w| {
                w.region == *name && w.state != "gone" && w.heartbeat_at > row.marked_at.max(self.now - after)
            });
            row.marked_at < self.now - 5 * after || row.reason != "silent" || heard
        };
        let down = self.regions.iter().filter(|(_, r)| !r.healthy && r.failing_since.is_none());
        down.filter(|(name, row)| is_back(name, row)).map(|(name, _)| name.clone()).collect()
    }
}
