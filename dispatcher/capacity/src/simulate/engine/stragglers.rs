//! Second attempts at slow chunks.

use fleet::state::ChunkState;
use uuid::Uuid;

use super::Simulation;
use super::machines::job_id;
use super::work::PLAN;
use crate::pools::InstanceId;
use crate::view::RunningChunk;

impl Simulation<'_> {
    /// A second attempt at a slow chunk, on another machine.
    pub(super) fn hedge(&mut self, id: Uuid, number: i32, slow: &InstanceId) {
        let Ok(arrival) = u32::try_from(id.as_u128().saturating_sub(1)) else { return };
        let Some(job) = self.jobs.get_mut(arrival as usize).and_then(Option::as_mut) else { return };
        let (home, per_segment_s) = (job.home, job.per_segment_s);
        let Some(chunk) = job.chunks.get_mut(number as usize) else { return };
        if chunk.state != ChunkState::Running || chunk.holders != 1 {
            return;
        }
        let work_s = f64::from(chunk.segments) * per_segment_s;
        let slow = self.machine(slow);
        let regions = std::iter::once(home).chain((0..self.slots.len()).filter(|r| *r != home));
        let found = regions.collect::<Vec<_>>().into_iter().find_map(|r| self.free_slot(r));
        let Some((machine, slot)) = found.filter(|(m, _)| Some(*m) != slow) else { return };
        if let Some(chunk) = self.jobs[arrival as usize].as_mut().and_then(|j| j.chunks.get_mut(number as usize)) {
            chunk.holders = 2;
        }
        self.recorder.hedges += 1;
        self.occupy_for(machine, slot, arrival, number, work_s);
    }

    /// The chunks at work, for a policy that hedges.
    pub(super) fn running_chunks(&self) -> Vec<RunningChunk> {
        let mut running = Vec::new();
        for (pool, members) in self.view.pools.iter().zip(&self.members) {
            for (instance, machine) in pool.instances.iter().zip(members) {
                for slot in self.machines[*machine as usize].slots.iter().flatten().filter(|s| s.chunk != PLAN) {
                    let Some(job) = self.jobs[slot.job as usize].as_ref() else { continue };
                    let chunk = &job.chunks[slot.chunk as usize];
                    let total_s = f64::from(chunk.segments) * job.per_segment_s;
                    running.push(RunningChunk {
                        job: job_id(slot.job),
                        chunk: slot.chunk,
                        attempt: chunk.attempt,
                        instance: instance.id.clone(),
                        since: slot.started,
                        total_s,
                        done_s: total_s * self.now.since_ms(slot.started) as f64 / slot.lasts_ms.max(1) as f64,
                        hedged: chunk.holders > 1,
                    });
                }
            }
        }
        running
    }
}
