//! [`fleet::store::work`]: what a worker does.

use fleet::queue::Message;
use fleet::state::{ChunkEvent, ChunkState, JobEvent, JobState};
use fleet::store::work::{AttemptId, Beat, Commit, Completed, Completion, Ending, InitCommit, Kept, NewChunk, Work};
use uuid::Uuid;

use super::{Attempt, Chunk, Memory, Ms, PLAN, Rendition, Segment};
use crate::simulation::deviation::Deviation;

/// A stored plan: what of it matters here.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PlanRow {
    pub(crate) chunks: Vec<NewChunk>,
    /// Video renditions.
    pub(crate) videos: Vec<String>,
    /// Sound tracks.
    pub(crate) audios: Vec<String>,
}

/// What a claim brings.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    pub(crate) id: AttemptId,
    pub(crate) work: Work,
    pub(crate) organisation: Uuid,
    pub(crate) generation: i32,
    pub(crate) copies: bool,
    pub(crate) plan: Option<PlanRow>,
}

/// What became of a claim.
#[derive(Clone, Debug)]
pub(crate) enum Claimed {
    Ours(Box<Task>),
    Stale,
    Elsewhere,
}

/// How long a worker that was too slow with a chunk waits for others to take it.
const AVOIDED: Ms = 20_000;

impl Memory {
    pub(crate) fn claim(&mut self, message: Message, worker: Uuid, lease: Ms) -> Claimed {
        let now = self.now;
        let (any_state, any_attempt) =
            (self.does(Deviation::ClaimIgnoresState), self.does(Deviation::ClaimIgnoresAttempt));
        let Some(job) = self.jobs.get_mut(&message.job) else { return Claimed::Stale };
        if !matches!(job.state, JobState::Queued | JobState::Planning | JobState::Running) {
            return Claimed::Stale;
        }
        let Some(chunk) = job.chunks.get_mut(&message.chunk) else { return Claimed::Stale };
        let right_state = chunk.state == ChunkState::Queued || any_state && matches!(chunk.state, ChunkState::Running);
        let right_attempt = chunk.attempt == message.attempt || any_attempt;
        if !right_state || !right_attempt {
            return Claimed::Stale;
        }
        if chunk.avoid_worker == Some(worker) && chunk.queued_at.is_none_or(|at| at >= now - AVOIDED) {
            return Claimed::Elsewhere;
        }
        chunk.state = ChunkState::Running;
        chunk.worker = Some(worker);
        chunk.lease_until = Some(now + lease);
        chunk.progress = 0;
        let (attempt, work) = (chunk.attempt, chunk.work.clone());
        if work == Work::Plan {
            job.step(JobState::Queued, JobEvent::PlanClaimed);
        }
        let row = Attempt { worker, claimed_at: now, ended_at: None, outcome: None, made: 0 };
        job.attempts.entry((message.chunk, attempt)).or_insert(row);
        let task = Task {
            id: AttemptId { job: message.job, chunk: message.chunk, attempt: message.attempt, worker },
            work,
            organisation: job.organisation,
            generation: job.generation,
            copies: job.copies,
            plan: job.plan.clone(),
        };
        self.touch(message.job);
        Claimed::Ours(Box::new(task))
    }

    pub(crate) fn heartbeat(&mut self, worker: Uuid, beats: &[Beat], lease: Ms) -> Vec<Kept> {
        let until = self.now + lease;
        let unfenced = self.does(Deviation::HeartbeatIgnoresAttempt);
        let mut held = Vec::new();
        for beat in beats {
            let Some(chunk) = self.jobs.get_mut(&beat.id.job).and_then(|j| j.chunks.get_mut(&beat.id.chunk)) else {
                continue;
            };
            let ours = chunk.attempt == beat.id.attempt && chunk.worker == Some(worker);
            if chunk.state == ChunkState::Running && (ours || unfenced) {
                chunk.lease_until = Some(until);
                chunk.progress = i64::try_from(beat.progress).unwrap_or(i64::MAX);
                held.push(Kept { id: beat.id, end: chunk.end() });
                self.touch(beat.id.job);
            }
        }
        held
    }

    pub(crate) fn store_plan(&mut self, id: AttemptId, plan: PlanRow) -> bool {
        let now = self.now;
        let Some(job) = self.jobs.get_mut(&id.job) else { return false };
        if !job.is_held(id.chunk, id.attempt, id.worker) || job.state != JobState::Planning {
            return false;
        }
        self.finish(id, 0);
        let attempt = if self.does(Deviation::ReplanNumbersAgain) { 1 } else { id.attempt };
        let Some(job) = self.jobs.get_mut(&id.job) else { return false };
        job.step(JobState::Planning, JobEvent::Planned);
        job.planned_at = Some(now);
        for (names, kind) in [(&plan.videos, "video"), (&plan.audios, "audio")] {
            for name in names {
                job.renditions.insert(name.clone(), Rendition { kind, init: None, ended: false });
            }
        }
        for kind in ["storyboard", "poster"] {
            job.renditions.insert(kind.to_owned(), Rendition { kind, init: None, ended: false });
        }
        for (number, chunk) in (PLAN + 1..).zip(&plan.chunks) {
            job.chunks.insert(number, Chunk::planned(chunk, attempt, now));
        }
        job.plan = Some(plan);
        self.touch(id.job);
        true
    }

    pub(crate) fn commit_init(&mut self, id: AttemptId, rendition: &str, uri: &str) -> InitCommit {
        let Some(job) = self.jobs.get_mut(&id.job) else { return InitCommit::LeaseLost };
        if !job.is_held(id.chunk, id.attempt, id.worker) {
            return InitCommit::LeaseLost;
        }
        // A missing rendition would be found by nobody, and asked for again.
        let Some(row) = job.renditions.get_mut(rendition) else { return InitCommit::Again };
        match &row.init {
            None => row.init = Some(uri.to_owned()),
            Some(there) if there == uri => {}
            Some(_) => return InitCommit::Differs,
        }
        self.touch(id.job);
        InitCommit::Same
    }

    pub(crate) fn commit_segment(&mut self, id: AttemptId, rendition: &str, index: u64, file: Segment) -> Commit {
        let (any_attempt, any_state) =
            (self.does(Deviation::CommitIgnoresAttempt), self.does(Deviation::CommitIgnoresLease));
        let (now, any_end) = (self.now, self.does(Deviation::CommitIgnoresEnd));
        let Some(job) = self.jobs.get_mut(&id.job) else { return Commit::LeaseLost };
        let held = job.is_held(id.chunk, id.attempt, id.worker);
        let runs = job.chunks.get(&id.chunk).is_some_and(|c| c.state == ChunkState::Running);
        let may = held || any_state || any_attempt && runs;
        if !may || !job.renditions.contains_key(rendition) {
            return Commit::LeaseLost;
        }
        let end = job.chunks.get(&id.chunk).and_then(Chunk::end).filter(|end| index >= *end && !any_end);
        if let Some(end) = end {
            return Commit::PastEnd(end);
        }
        let key = (rendition.to_owned(), index);
        if job.segments.contains_key(&key) {
            return Commit::Already;
        }
        job.segments.insert(key.clone(), Segment { committed_at: now, ..file });
        self.last_commit = Some((id.job, key));
        self.touch(id.job);
        Commit::New
    }

    pub(crate) fn committed(&self, job: Uuid, first: u64, end: Option<u64>, names: &[String]) -> Vec<(String, u64)> {
        let Some(job) = self.jobs.get(&job) else { return Vec::new() };
        let is_asked =
            |name: &String, index: u64| names.contains(name) && index >= first && end.is_none_or(|e| index < e);
        job.segments.keys().filter(|(name, index)| is_asked(name, *index)).cloned().collect()
    }

    pub(crate) fn complete(&mut self, id: AttemptId, done: &Completion<'_>) -> Completed {
        let (uncounted, unheld) =
            (self.does(Deviation::CompleteWithoutCounting), self.does(Deviation::CompleteIgnoresLease));
        let Some(job) = self.jobs.get(&id.job) else { return Completed::LeaseLost };
        let open = job.chunks.get(&id.chunk).is_some_and(|c| !c.state.is_final());
        let may = job.is_held(id.chunk, id.attempt, id.worker) || unheld && open;
        if !may {
            return Completed::LeaseLost;
        }
        if let Some((names, first, end)) = &done.segments {
            let wanted = end.saturating_sub(*first) * names.len() as u64;
            if self.committed(id.job, *first, Some(*end), names).len() as u64 != wanted && !uncounted {
                return Completed::SegmentsMissing;
            }
        }
        let Some(job) = self.jobs.get_mut(&id.job) else { return Completed::LeaseLost };
        if let Some(end) = done.source_end {
            job.end_frames = job.end_frames.max(i64::try_from(end).ok());
        }
        job.damaged += i64::try_from(done.damaged).unwrap_or(0);
        if let Some(row) = done.ended_rendition.and_then(|name| job.renditions.get_mut(name)) {
            row.ended = true;
        }
        self.finish(id, done.made);
        Completed::Done
    }

    /// Takes a chunk to done.
    fn finish(&mut self, id: AttemptId, made: u64) {
        let now = self.now;
        let Some(job) = self.jobs.get_mut(&id.job) else { return };
        if let Some(chunk) = job.chunks.get_mut(&id.chunk) {
            // Also from where there is no such step, with the planted fault.
            chunk.state = ChunkState::Done;
            chunk.lease_until = None;
        }
        job.end_attempt(id.chunk, id.attempt, "done", i64::try_from(made).ok(), now);
        self.touch(id.job);
    }

    pub(crate) fn end_attempt(&mut self, id: AttemptId, made: u64, ending: &Ending) -> bool {
        let now = self.now;
        let keeps = self.does(Deviation::HandBackKeepsAttempt);
        let Some(job) = self.jobs.get_mut(&id.job) else { return false };
        if !job.is_held(id.chunk, id.attempt, id.worker) {
            return false;
        }
        let (event, outcome, code, after, tried) = match ending {
            Ending::HandedBack => (ChunkEvent::HandedBack, "handed_back", None, 0, 0),
            Ending::TryAgain { code, after, .. } => {
                (ChunkEvent::TryAgain, "try_again", Some(*code), Ms::try_from(after.as_millis()).unwrap_or(0), 1)
            }
            Ending::GaveUp { code, .. } => (ChunkEvent::GaveUp, "gave_up", Some(*code), 0, 1),
        };
        let progressed = job.segments.values().any(|s| s.chunk == id.chunk && s.attempt == id.attempt);
        let Some(chunk) = job.chunks.get_mut(&id.chunk) else { return false };
        chunk.enter(event);
        if chunk.state == ChunkState::Waiting {
            chunk.attempt += i32::from(!keeps);
            chunk.worker = None;
        }
        chunk.lease_until = None;
        chunk.not_before = now + after;
        chunk.tries = if progressed { tried } else { chunk.tries + tried };
        chunk.last_code = code.or(chunk.last_code);
        job.end_attempt(id.chunk, id.attempt, outcome, i64::try_from(made).ok(), now);
        job.plan_lost();
        self.touch(id.job);
        true
    }
}
