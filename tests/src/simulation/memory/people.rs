//! [`fleet::store::jobs`]: what people ask for.

use std::collections::BTreeMap;

use fleet::failure::FailureCode;
use fleet::state::{ChunkEvent, ChunkState, JobEvent, JobState};
use fleet::store::work::Work;
use uuid::Uuid;

use super::{Chunk, Job, Memory, PLAN};
use crate::simulation::deviation::Deviation;

/// A request that the job's state does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Conflict;

impl Memory {
    pub(crate) fn submit(&mut self, id: Uuid, organisation: Uuid, home_region: &str, copies: bool) {
        let plan = Chunk::new(Work::Plan, -1, 1, self.now);
        let job = Job {
            organisation,
            state: JobState::Queued,
            home_region: home_region.to_owned(),
            focus_segment: 0,
            generation: 1,
            copies,
            plan: None,
            end_frames: None,
            damaged: 0,
            watchable_ms: 0,
            failure: None,
            created_at: self.now,
            planned_at: None,
            first_playable_at: None,
            finished_at: None,
            events: vec!["job.created"],
            usage: 0,
            chunks: BTreeMap::from([(PLAN, plan)]),
            renditions: BTreeMap::new(),
            segments: BTreeMap::new(),
            attempts: BTreeMap::new(),
            publication: None,
        };
        self.jobs.insert(id, job);
        self.touch(id);
    }

    /// `false` when it was cancelled before.
    pub(crate) fn cancel(&mut self, id: Uuid) -> Result<bool, Conflict> {
        let over_success = self.does(Deviation::CancelIgnoresState);
        let Some(job) = self.jobs.get_mut(&id) else { return Err(Conflict) };
        if job.state == JobState::Cancelled {
            return Ok(false);
        }
        let to = match job.state.after(JobEvent::Cancelled) {
            Ok(to) => to,
            Err(_) if over_success => JobState::Cancelled,
            Err(_) => return Err(Conflict),
        };
        self.end_job(id, to, None);
        Ok(true)
    }

    /// What planted faults do: fails a job whatever came of it since. `false` when it has ended.
    pub(crate) fn fail(&mut self, id: Uuid, code: FailureCode) -> bool {
        let Some(job) = self.jobs.get(&id) else { return false };
        let Ok(to) = job.state.after(JobEvent::Failed) else { return false };
        self.end_job(id, to, Some(code));
        true
    }

    pub(crate) fn retry(&mut self, id: Uuid) -> Result<(), Conflict> {
        let now = self.now;
        let keeps_swept = self.does(Deviation::RetryKeepsSwept);
        let Some(job) = self.jobs.get_mut(&id) else { return Err(Conflict) };
        if job.state.after(JobEvent::Retried).is_err() {
            return Err(Conflict);
        }
        for chunk in job.chunks.values_mut() {
            if matches!(chunk.state, ChunkState::Failed | ChunkState::Cancelled) {
                chunk.enter(ChunkEvent::Retried);
                chunk.attempt += 1;
                (chunk.deaths, chunk.tries, chunk.sends, chunk.not_before) = (0, 0, 0, now);
                (chunk.region, chunk.worker, chunk.lease_until) = (None, None, None);
            }
        }
        if let Some(publication) = &mut job.publication {
            publication.swept &= keeps_swept;
        }
        let event = if job.plan.is_none() { JobEvent::Retried } else { JobEvent::Resumed };
        job.step(job.state, event);
        (job.failure, job.finished_at) = (None, None);
        job.events.push("job.retried");
        self.touch(id);
        Ok(())
    }

    pub(crate) fn focus(&mut self, id: Uuid, segment: i64) -> Result<(), Conflict> {
        let Some(job) = self.jobs.get_mut(&id) else { return Err(Conflict) };
        if job.state.is_final() || job.plan.is_none() {
            return Err(Conflict);
        }
        let pictures = job.chunks.values().filter(|chunk| matches!(chunk.work, Work::Video { .. }));
        let holds_it = pictures.map(Chunk::first_segment).filter(|first| *first <= segment).max();
        job.focus_segment = holds_it.unwrap_or(segment);
        job.events.push("job.focused");
        self.touch(id);
        Ok(())
    }

    /// Ends a job badly: its chunks too, under numbers that nobody holds.
    pub(super) fn end_job(&mut self, id: Uuid, to: JobState, failure: Option<FailureCode>) {
        let now = self.now;
        let spares_chunks = self.does(Deviation::CancelSparesChunks) && to == JobState::Cancelled;
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let mut ended = Vec::new();
        for (number, chunk) in job.chunks.iter_mut().filter(|(_, c)| !c.state.is_final()) {
            if spares_chunks {
                continue;
            }
            chunk.enter(ChunkEvent::JobEnded);
            chunk.attempt += 1;
            (chunk.worker, chunk.lease_until) = (None, None);
            ended.push((*number, chunk.attempt - 1));
        }
        for (chunk, attempt) in ended {
            if job.attempts.get(&(chunk, attempt)).is_some_and(|a| a.ended_at.is_none()) {
                job.end_attempt(chunk, attempt, "job_ended", None, now);
            }
        }
        job.state = to;
        job.finished_at = Some(now);
        job.failure = failure;
        job.events.push(if to == JobState::Failed { "job.failed" } else { "job.cancelled" });
        self.touch(id);
    }
}
