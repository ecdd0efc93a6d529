//! [`fleet::store::release`]: which waiting chunks go to a region's queue next, and the messages that tell of it.

use std::collections::BTreeMap;

use capacity::moment::Moment;
use capacity::release_order::{ActiveJob, WaitingChunk, order};
use fleet::queue::Message;
use fleet::state::{ChunkEvent, ChunkState, JobState};
use fleet::store::release::{Candidate, OutboxRow, RegionLoad};
use fleet::store::rescue::Patience;
use fleet::store::work::Work;

use super::{Memory, Ms};
use crate::simulation::deviation::Deviation;

/// How long a message is reserved for the relay that took it.
const RESERVED: Ms = 10_000;

impl Memory {
    pub(crate) fn candidates(&self, limit: u32, patience: Patience) -> Vec<Candidate> {
        let impatient = self.does(Deviation::ReleaseIgnoresPatience);
        let early = self.does(Deviation::ReleaseIgnoresBackoff);
        let mut busy = BTreeMap::new();
        let mut active = Vec::new();
        for (id, job) in &self.jobs {
            for _ in job.chunks.values().filter(|c| matches!(c.state, ChunkState::Queued | ChunkState::Running)) {
                *busy.entry(job.organisation).or_insert(0) += 1;
            }
            if !matches!(job.state, JobState::Queued | JobState::Planning | JobState::Running) {
                continue;
            }
            let may = job.chunks.iter().filter(|(_, c)| {
                c.state == ChunkState::Waiting
                    && (c.not_before <= self.now || early)
                    && (c.deaths < patience.deaths && c.tries < patience.tries || impatient)
            });
            let waiting = may.map(|(number, c)| WaitingChunk {
                chunk: *number,
                position: c.position,
                first_segment: matches!(c.work, Work::Video { .. }).then(|| c.first_segment()),
            });
            active.push(ActiveJob {
                job: *id,
                organisation: job.organisation,
                weight: self.organisations.get(&job.organisation).copied().unwrap_or(1),
                ready_by: None,
                created: Moment(job.created_at),
                focus_segment: job.focus_segment,
                held: false,
                waiting: waiting.collect(),
            });
        }
        if active.iter().all(|job| job.waiting.is_empty()) {
            return Vec::new();
        }
        let chosen = order(&active, &busy, limit as usize);
        chosen
            .into_iter()
            .filter_map(|(id, number)| {
                let job = self.jobs.get(&id)?;
                let chunk = job.chunks.get(&number)?;
                Some(Candidate {
                    job: id,
                    chunk: number,
                    attempt: chunk.attempt,
                    home_region: job.home_region.clone(),
                    last_region: chunk.region.clone(),
                })
            })
            .collect()
    }

    pub(crate) fn release(&mut self, chosen: &[(Candidate, String)]) -> u64 {
        let now = self.now;
        let again = self.does(Deviation::ReleaseIgnoresState);
        let mut released = 0;
        for (candidate, region) in chosen {
            let Some(job) = self.jobs.get_mut(&candidate.job) else { continue };
            let Some(chunk) = job.chunks.get_mut(&candidate.chunk) else { continue };
            let waits = chunk.state == ChunkState::Waiting && chunk.attempt == candidate.attempt;
            if !waits && !(again && !chunk.state.is_final()) {
                continue;
            }
            chunk.state = ChunkState::Waiting;
            chunk.enter(ChunkEvent::Released);
            chunk.region = Some(region.clone());
            (chunk.queued_at, chunk.sent_at, chunk.sends) = (Some(now), Some(now), 1);
            if again {
                (chunk.worker, chunk.lease_until) = (None, None);
            }
            let message = Message::new(candidate.job, candidate.chunk, chunk.attempt);
            self.touch(candidate.job);
            self.send(region.clone(), message);
            released += 1;
        }
        released
    }

    pub(crate) fn region_loads(&self, alive: Ms) -> Vec<RegionLoad> {
        let mut loads: BTreeMap<&str, RegionLoad> = BTreeMap::new();
        for chunk in self.jobs.values().flat_map(|j| j.chunks.values()) {
            let Some(region) = &chunk.region else { continue };
            match chunk.state {
                ChunkState::Queued => loads.entry(region).or_default().queued += 1,
                ChunkState::Running => loads.entry(region).or_default().running += 1,
                _ => {}
            }
        }
        for worker in self.workers.values() {
            if worker.state != "gone" && worker.heartbeat_at > self.now - alive {
                let load = loads.entry(&worker.region).or_default();
                load.workers += 1;
                load.slots += if worker.state == "ready" { worker.slots } else { 0 };
            }
        }
        loads.into_iter().map(|(region, load)| RegionLoad { region: region.to_owned(), ..load }).collect()
    }

    /// The messages of a region that are due, reserved for whoever asked.
    pub(crate) fn take_outbox(&mut self, region: &str, limit: usize) -> Vec<OutboxRow> {
        let now = self.now;
        let mut due: Vec<(Ms, i64)> = self
            .outbox
            .iter()
            .filter(|(_, row)| row.region == region && row.not_before <= now)
            .map(|(id, row)| (row.not_before, *id))
            .collect();
        due.sort_unstable();
        due.truncate(limit);
        due.into_iter()
            .filter_map(|(_, id)| {
                let row = self.outbox.get_mut(&id)?;
                row.not_before = now + RESERVED;
                Some(OutboxRow { id, message: row.message })
            })
            .collect()
    }

    pub(crate) fn delete_outbox(&mut self, ids: &[i64]) {
        for id in ids {
            self.outbox.remove(id);
        }
    }

    pub(crate) fn clear_outbox(&mut self, region: &str) -> u64 {
        let before = self.outbox.len();
        self.outbox.retain(|_, row| row.region != region);
        (before - self.outbox.len()) as u64
    }
}
