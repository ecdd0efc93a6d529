//! [`fleet::store::guard`]: devices that proved faulty, and what of theirs is made again.

use std::collections::BTreeSet;

use fleet::state::{ChunkEvent, ChunkState, JobState};
use uuid::Uuid;

use super::{Memory, Ms};
use crate::simulation::deviation::Deviation;

impl Memory {
    pub(crate) fn device_checked(&mut self, name: &str) -> bool {
        let now = self.now;
        let device = self.devices.entry(name.to_owned()).or_default();
        if device.quarantined_at.is_none() {
            device.checked_at = Some(now);
        }
        device.quarantined_at.is_none()
    }

    pub(crate) fn quarantine(&mut self, name: &str) {
        let now = self.now;
        let device = self.devices.entry(name.to_owned()).or_default();
        device.quarantined_at = device.quarantined_at.or(Some(now));
    }

    pub(crate) fn trust_device(&mut self, name: &str) -> bool {
        let Some(device) = self.devices.get_mut(name).filter(|d| d.quarantined_at.is_some()) else { return false };
        (device.quarantined_at, device.withdrawn_at) = (None, None);
        true
    }

    /// The device whose segments were withdrawn and how many, if there was one. `None` outside: a publisher holds a row
    /// that the statement waits for.
    pub(crate) fn withdraw_suspect(&mut self) -> Option<Option<(String, u64)>> {
        let now = self.now;
        let (takes_listed, stays_done) =
            (self.does(Deviation::WithdrawTakesListed), self.does(Deviation::WithdrawKeepsChunksDone));
        let forgets_promises = self.does(Deviation::WithdrawForgetsPromises);
        let due = self.devices.iter().filter(|(_, d)| d.quarantined_at.is_some() && d.withdrawn_at.is_none());
        let Some((_, name)) = due.map(|(name, d)| (d.quarantined_at, name.clone())).min() else { return Some(None) };
        let checked = self.devices.get(&name).and_then(|d| d.checked_at).unwrap_or(Ms::MIN);
        let workers: BTreeSet<Uuid> =
            self.workers.iter().filter(|(_, w)| w.device == name).map(|(id, _)| *id).collect();
        let mut suspects: Vec<(Uuid, BTreeSet<(i32, i32)>)> = Vec::new();
        for (id, job) in self.jobs.iter().filter(|(_, j)| j.state == JobState::Running) {
            let is_suspect = |a: &super::Attempt| workers.contains(&a.worker) && a.ended_at.unwrap_or(now) >= checked;
            let attempts: BTreeSet<(i32, i32)> =
                job.attempts.iter().filter(|(_, a)| is_suspect(a)).map(|(key, _)| *key).collect();
            if attempts.is_empty() {
                continue;
            }
            if job.is_locked(now) {
                return None;
            }
            suspects.push((*id, attempts));
        }
        let mut withdrawn = 0;
        for (id, attempts) in suspects {
            let Some(job) = self.jobs.get_mut(&id) else { continue };
            let publication = job.publication.get_or_insert_default();
            let listed = match (takes_listed, forgets_promises) {
                (true, _) => 0,
                (_, true) => publication.listed,
                _ => publication.listed.max(publication.promised),
            };
            let renditions = &job.renditions;
            let mut gone = BTreeSet::new();
            job.segments.retain(|(name, index), segment| {
                let is_video = renditions.get(name).is_some_and(|r| r.kind == "video");
                let goes = is_video && *index >= listed && attempts.contains(&(segment.chunk, segment.attempt));
                if goes {
                    gone.insert(segment.chunk);
                    withdrawn += 1;
                }
                !goes
            });
            for number in &gone {
                let Some(chunk) = job.chunks.get_mut(number) else { continue };
                if chunk.state == ChunkState::Done && !stays_done {
                    chunk.enter(ChunkEvent::Withdrawn);
                    chunk.attempt += 1;
                    (chunk.worker, chunk.lease_until, chunk.not_before) = (None, None, now);
                }
            }
            if !gone.is_empty() {
                job.events.push("job.remade");
            }
            self.touch(id);
        }
        if let Some(device) = self.devices.get_mut(&name) {
            device.withdrawn_at = Some(now);
        }
        Some(Some((name, withdrawn)))
    }
}
