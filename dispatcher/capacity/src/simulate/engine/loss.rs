//! Chunks that go on elsewhere: handed back in order, or lost with their worker. What is committed stays.

use fleet::state::{ChunkEvent, ChunkState, JobEvent};

use super::events::Event;
use super::machines::Running;
use super::work::PLAN;
use super::{Simulation, allowed};
use crate::moment::Moment;

impl Simulation<'_> {
    /// Segments of a chunk that are committed by now, and the time of the slot that they took.
    pub(super) fn progress(&mut self, running: &Running) -> (u32, u64) {
        let overhead_ms = (self.scenario.settings.overhead_s * 1000.0).round() as u64;
        let segments = self.chunk(running).map_or(0, |c| c.segments);
        let spent_ms = self.now.since_ms(running.started);
        let encoding_ms = running.lasts_ms.saturating_sub(overhead_ms).max(1);
        let done = spent_ms.saturating_sub(overhead_ms).saturating_mul(u64::from(segments)) / encoding_ms;
        let done = u32::try_from(done).unwrap_or(u32::MAX).min(segments);
        let useful_ms = if done == 0 { 0 } else { overhead_ms + encoding_ms * u64::from(done) / u64::from(segments) };
        (done, useful_ms.min(spent_ms))
    }

    /// When the segment in work of a chunk is done.
    pub(super) fn end_of_segment(&mut self, running: &Running) -> Moment {
        let (done, _) = self.progress(running);
        let segments = self.chunk(running).map_or(1, |c| c.segments).max(1);
        let overhead_ms = (self.scenario.settings.overhead_s * 1000.0).round() as u64;
        let encoding_ms = running.lasts_ms.saturating_sub(overhead_ms);
        let next_ms = overhead_ms + (encoding_ms * u64::from(done + 1)).div_ceil(u64::from(segments));
        let end_ms = if running.chunk == PLAN { running.lasts_ms } else { next_ms.min(running.lasts_ms) };
        Moment(running.started.0.saturating_add(i64::try_from(end_ms).unwrap_or(i64::MAX))).max(self.now)
    }

    /// A draining worker hands a chunk back after its last segment.
    pub(super) fn hand_back(&mut self, machine: u32, slot: u8, turn: u32) {
        let Some(running) = self.vacate(machine, slot, turn) else { return };
        if self.now.since_ms(running.started) >= running.lasts_ms {
            self.finish(machine, &running);
        } else {
            let spent_ms = self.now.since_ms(running.started);
            self.machines[machine as usize].note_use(running.job, spent_ms, 0);
            let pool = self.machines[machine as usize].pool;
            self.recorder.span(self.now, &running, pool, false);
            if self.commit_progress(&running) {
                self.requeue(running.job, running.chunk, ChunkEvent::HandedBack);
            }
        }
        self.look_for_work(machine);
    }

    /// A worker is gone: its chunk is noticed when the lease ends, and goes on after the last segment.
    pub(super) fn lose(&mut self, machine: u32, running: &Running) {
        let spent_ms = self.now.since_ms(running.started);
        let (_, useful_ms) = self.progress(running);
        self.machines[machine as usize].note_use(running.job, useful_ms, spent_ms - useful_ms);
        let pool = self.machines[machine as usize].pool;
        self.recorder.span(self.now, running, pool, false);
        if self.commit_progress(running) {
            let at = self.now.plus_s(self.scenario.settings.lease_s);
            self.events.push(at, Event::LeaseEnds { job: running.job, chunk: running.chunk });
        }
    }

    /// Counts the segments that an attempt committed; `true` when the chunk has to go on elsewhere.
    pub(super) fn commit_progress(&mut self, running: &Running) -> bool {
        let (done, _) = self.progress(running);
        let Some(job) = self.jobs[running.job as usize].as_mut() else { return false };
        let chunk = &mut job.chunks[running.chunk as usize];
        if chunk.state != ChunkState::Running {
            return false;
        }
        // The last segment is committed only with the chunk.
        let done = done.min(chunk.segments.saturating_sub(1));
        chunk.segments -= done;
        self.view.work[job.work].left_s -= f64::from(done) * job.per_segment_s;
        true
    }

    pub(super) fn lease_ends(&mut self, arrival: u32, number: i32) {
        self.requeue(arrival, number, ChunkEvent::Lost);
    }

    pub(super) fn requeue(&mut self, arrival: u32, number: i32, event: ChunkEvent) {
        let Some(job) = self.jobs[arrival as usize].as_mut() else { return };
        let chunk = &mut job.chunks[number as usize];
        chunk.state = allowed(chunk.state.after(event));
        chunk.attempt += i32::from(ChunkState::renumbers(event));
        if number == PLAN {
            job.state = allowed(job.state.after(JobEvent::PlanLost));
        }
        self.view.work[job.work].waiting += 1;
        let (home, place) = (job.home, job.place);
        self.queue.done(place);
        self.queue.push(place, i64::from(number), number);
        self.feed_all(home);
        self.wake();
    }
}
