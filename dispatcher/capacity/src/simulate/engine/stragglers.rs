//! What is done about chunks that are far slower than their siblings.

use fleet::state::{ChunkEvent, ChunkState};
use uuid::Uuid;

use super::Simulation;
use super::events::Event;
use super::machines::{Machine, Running, job_id};
use super::work::{Chunk, PLAN};
use crate::pools::InstanceId;
use crate::view::RunningChunk;

impl Simulation<'_> {
    /// Splits a slow chunk after the segment in work; what follows waits like any other chunk.
    pub(super) fn split(&mut self, id: Uuid, number: i32, slow: &InstanceId) {
        let Some((machine, slot, running)) = self.slot_of(id, number, slow) else { return };
        let (done, _) = self.progress(&running);
        let overhead_ms = (self.scenario.settings.overhead_s * 1000.0).round() as u64;
        let Some(job) = self.jobs[running.job as usize].as_mut() else { return };
        let rest = i32::try_from(job.chunks.len()).unwrap_or(i32::MAX);
        let Some(chunk) = job.chunks.get_mut(number as usize).filter(|c| c.state == ChunkState::Running) else {
            return;
        };
        let (kept, whole) = (done + 1, chunk.segments);
        if kept >= whole {
            return;
        }
        chunk.segments = kept;
        chunk.splits += 1;
        let (attempt, splits) = (chunk.attempt + 1, chunk.splits);
        job.chunks.push(Chunk {
            state: ChunkState::Waiting,
            segments: whole - kept,
            attempt,
            splits,
            taken_back: false,
        });
        job.left += 1;
        let work = &mut self.view.work[job.work];
        work.chunks += 1;
        work.waiting += 1;
        let (home, place) = (job.home, job.place);
        let encoding_ms = running.lasts_ms.saturating_sub(overhead_ms);
        let lasts_ms = overhead_ms + encoding_ms * u64::from(kept) / u64::from(whole);
        self.shorten(machine, slot, &running, lasts_ms);
        self.recorder.splits += 1;
        self.queue.push(place, i64::from(number), rest);
        self.feed_all(home);
    }

    /// Takes a slow chunk back; it goes on elsewhere after its last segment.
    pub(super) fn take_back(&mut self, id: Uuid, number: i32, slow: &InstanceId) {
        let Some((machine, slot, running)) = self.slot_of(id, number, slow) else { return };
        let slot = u8::try_from(slot).unwrap_or(u8::MAX);
        let Some(running) = self.vacate(machine, slot, running.turn) else { return };
        self.recorder.taken_back += 1;
        let spent_ms = self.now.since_ms(running.started);
        let (_, useful_ms) = self.progress(&running);
        self.machines[machine as usize].note_use(running.job, useful_ms, spent_ms - useful_ms);
        let pool = self.machines[machine as usize].pool;
        self.recorder.span(self.now, &running, pool, false);
        if let Some(chunk) = self.chunk(&running) {
            chunk.taken_back = true;
        }
        if self.commit_progress(&running) {
            self.requeue(running.job, running.chunk, ChunkEvent::HandedBack);
        }
        self.look_for_work(machine);
    }

    /// The slot of a machine that has a chunk.
    fn slot_of(&self, id: Uuid, number: i32, instance: &InstanceId) -> Option<(u32, usize, Running)> {
        let arrival = u32::try_from(id.as_u128().saturating_sub(1)).ok()?;
        let machine = self.machine(instance)?;
        let slots = self.machines[machine as usize].slots.iter().enumerate();
        let mut of_chunk = slots.filter_map(|(slot, running)| Some((slot, (*running)?)));
        let (slot, running) = of_chunk.find(|(_, r)| r.job == arrival && r.chunk == number)?;
        Some((machine, slot, running))
    }

    /// Lets a slot finish earlier than was arranged.
    fn shorten(&mut self, number: u32, slot: usize, running: &Running, lasts_ms: u64) {
        let machine = &mut self.machines[number as usize];
        let (life, turn) = (machine.life, machine.next_turn());
        machine.slots[slot] = Some(Running { lasts_ms, turn, ..*running });
        let end = running.started.plus_ms(lasts_ms).max(self.now);
        let slot = u8::try_from(slot).unwrap_or(u8::MAX);
        self.events.push(end, Event::ChunkDone { machine: number, life, slot, turn });
    }

    /// Whether anybody could take what is taken from a straggler.
    pub(super) fn anyone_idle(&self) -> bool {
        self.machines.iter().any(Machine::has_room)
    }

    /// The chunks at work, for a policy that looks at them.
    pub(super) fn running_chunks(&mut self) -> Vec<RunningChunk> {
        let mut slots = Vec::new();
        for (pool, members) in self.view.pools.iter().zip(&self.members) {
            for (instance, machine) in pool.instances.iter().zip(members) {
                let running = self.machines[*machine as usize].slots.iter().flatten().filter(|s| s.chunk != PLAN);
                slots.extend(running.map(|running| (instance.id.clone(), *running)));
            }
        }
        let mut at_work = Vec::with_capacity(slots.len());
        for (instance, running) in slots {
            let (done, _) = self.progress(&running);
            let Some(job) = self.jobs[running.job as usize].as_ref() else { continue };
            let chunk = &job.chunks[running.chunk as usize];
            let total_s = f64::from(chunk.segments) * job.per_segment_s;
            at_work.push(RunningChunk {
                job: job_id(running.job),
                chunk: running.chunk,
                attempt: chunk.attempt,
                instance,
                since: running.started,
                total_s,
                done_s: total_s * self.now.since_ms(running.started) as f64 / running.lasts_ms.max(1) as f64,
                segments: chunk.segments.saturating_sub(done).max(1),
                segment_s: job.per_segment_s,
                splits: chunk.splits,
                taken_back: chunk.taken_back,
            });
        }
        at_work
    }
}
