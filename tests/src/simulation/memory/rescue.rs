//! [`fleet::store::rescue`]: whatever lost its holder goes on elsewhere, and what cannot go on fails.

use fleet::failure::FailureCode;
use fleet::queue::Message;
use fleet::state::{ChunkEvent, ChunkState, JobEvent, JobState};
use fleet::store::rescue::{GivenUp, Lost, Patience};
use fleet::store::work::Work;

use super::{Chunk, Memory, Ms, PLAN};
use crate::simulation::deviation::Deviation;

impl Memory {
    pub(crate) fn take_back_lost(&mut self) -> Vec<Lost> {
        let now = self.now;
        let hasty = self.does(Deviation::RescueIgnoresLease);
        let (keeps, forgets) = (self.does(Deviation::RescueKeepsAttempt), self.does(Deviation::RescueForgetsDeaths));
        let mut found = Vec::new();
        for (id, job) in &self.jobs {
            for (number, chunk) in &job.chunks {
                if chunk.state == ChunkState::Running
                    && let Some(until) = chunk.lease_until
                    && (until < now || hasty && until < now + 9_000)
                {
                    found.push((until, *id, *number));
                }
            }
        }
        found.sort_unstable();
        let mut lost = Vec::new();
        for (_, id, number) in found {
            let Some(job) = self.jobs.get_mut(&id) else { continue };
            let Some(chunk) = job.chunks.get_mut(&number) else { continue };
            let attempt = chunk.attempt;
            let progressed = job.segments.values().any(|s| s.chunk == number && s.attempt == attempt);
            chunk.enter(ChunkEvent::Lost);
            chunk.attempt += i32::from(!keeps);
            chunk.deaths = match (progressed, forgets) {
                (_, true) => chunk.deaths,
                (true, _) => 1,
                (false, _) => chunk.deaths + 1,
            };
            let (worker, deaths, made) = (chunk.worker.take(), chunk.deaths, chunk.progress);
            (chunk.lease_until, chunk.not_before) = (None, now);
            job.end_attempt(number, attempt, "lost", Some(made), now);
            job.plan_lost();
            lost.push(Lost { job: id, chunk: number, attempt, worker, deaths });
            self.touch(id);
        }
        lost
    }

    pub(crate) fn resend(&mut self, patience: Patience) -> u64 {
        if self.does(Deviation::NothingIsResent) {
            return 0;
        }
        let now = self.now;
        let after = Ms::try_from(patience.resend_after.as_millis()).unwrap_or(Ms::MAX);
        let mut again = Vec::new();
        for (id, job) in &mut self.jobs {
            for (number, chunk) in &mut job.chunks {
                let patience = after * (1 << (chunk.sends - 1).clamp(0, 4));
                if chunk.state == ChunkState::Queued && chunk.sent_at.is_some_and(|at| at < now - patience) {
                    chunk.sent_at = Some(now);
                    chunk.sends += 1;
                    let message = Message::new(*id, *number, chunk.attempt);
                    again.push((chunk.region.clone().unwrap_or_default(), message));
                }
            }
        }
        let count = again.len() as u64;
        for (region, message) in again {
            self.touch(message.job);
            self.send(region, message);
        }
        count
    }

    pub(crate) fn recall(&mut self, region: &str) -> u64 {
        let now = self.now;
        let keeps = self.does(Deviation::RecallKeepsAttempt);
        let mut recalled = Vec::new();
        for (id, job) in &mut self.jobs {
            for chunk in job.chunks.values_mut() {
                if chunk.state == ChunkState::Queued && chunk.region.as_deref() == Some(region) {
                    chunk.enter(ChunkEvent::Recalled);
                    chunk.attempt += i32::from(!keeps);
                    chunk.not_before = now;
                    recalled.push(*id);
                }
            }
        }
        for id in &recalled {
            self.touch(*id);
        }
        recalled.len() as u64
    }

    pub(crate) fn given_up(&self, patience: Patience) -> Vec<GivenUp> {
        let mut given_up = Vec::new();
        for (id, job) in self.jobs.iter().filter(|(_, j)| !j.state.is_final()) {
            for (number, chunk) in &job.chunks {
                let failed = chunk.state == ChunkState::Failed;
                let waits = matches!(chunk.state, ChunkState::Waiting | ChunkState::Queued);
                if !failed && !(waits && (chunk.deaths >= patience.deaths || chunk.tries >= patience.tries)) {
                    continue;
                }
                let silent = !failed && chunk.deaths >= patience.deaths;
                let code = chunk.last_code.unwrap_or(FailureCode::Internal);
                let code = if silent { FailureCode::WorkersLost } else { code };
                let (job, chunk, attempt) = (*id, *number, chunk.attempt);
                given_up.push(GivenUp { job, chunk, attempt, code, message: String::new() });
            }
        }
        given_up
    }

    fn is_given_up(&self, gone: &GivenUp) -> bool {
        let chunk = self.jobs.get(&gone.job).and_then(|j| j.chunks.get(&gone.chunk));
        let rests = |c: &Chunk| matches!(c.state, ChunkState::Waiting | ChunkState::Queued | ChunkState::Failed);
        chunk.is_some_and(|c| c.attempt == gone.attempt && rests(c))
    }

    pub(crate) fn fail_given_up(&mut self, gone: &GivenUp) -> bool {
        self.is_given_up(gone) && self.fail(gone.job, gone.code)
    }

    /// `None`: a publisher holds the row; the statement waits.
    pub(crate) fn replan_without_copy(&mut self, gone: &GivenUp) -> Option<bool> {
        let (id, now, is_given_up) = (gone.job, self.now, self.is_given_up(gone));
        let keeps_folder = self.does(Deviation::ReplanKeepsGeneration);
        let Some(job) = self.jobs.get_mut(&id) else { return Some(false) };
        if job.state != JobState::Running || !is_given_up {
            return Some(false);
        }
        if job.is_locked(now) {
            return None;
        }
        let most = job.chunks.values().map(|c| c.attempt).max().unwrap_or(0);
        job.chunks.clear();
        job.attempts.clear();
        job.renditions.clear();
        job.segments.clear();
        job.publication = None;
        job.chunks.insert(PLAN, Chunk::new(Work::Plan, -1, most + 1, now));
        job.step(JobState::Running, JobEvent::Replanned);
        (job.copies, job.plan, job.end_frames) = (false, None, None);
        (job.damaged, job.watchable_ms, job.first_playable_at, job.focus_segment) = (0, 0, None, 0);
        job.generation += i32::from(!keeps_folder);
        self.touch(id);
        Some(true)
    }

    pub(crate) fn begin_publishing(&mut self) -> u64 {
        let eager = self.does(Deviation::PublishingBeginsEarly);
        let mut begun = Vec::new();
        for (id, job) in self.jobs.iter_mut().filter(|(_, j)| j.state == JobState::Running) {
            let done = |c: &Chunk| c.state == ChunkState::Done;
            let open_end = |c: &&Chunk| matches!(c.work, Work::Video { end: None, .. });
            if job.chunks.values().all(done) || eager && job.chunks.values().filter(open_end).all(done) {
                job.step(JobState::Running, JobEvent::ChunksDone);
                begun.push(*id);
            }
        }
        for id in &begun {
            self.touch(*id);
        }
        begun.len() as u64
    }
}
