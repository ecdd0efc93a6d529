//! [`fleet::store::stragglers`]: chunks that are far slower than their siblings.

use fleet::state::{ChunkEvent, ChunkState, JobState};
use fleet::store::stragglers::{Split, rest_from};
use fleet::store::work::Work;
use uuid::Uuid;

use super::{Chunk, Memory};
use crate::simulation::deviation::Deviation;

/// An attempt that is thought to be slow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slow {
    pub(crate) job: Uuid,
    pub(crate) chunk: i32,
    pub(crate) attempt: i32,
}

/// Chunks that were split this often are left alone.
const MOST_SPLITS: i32 = 3;

impl Memory {
    /// Chunks of pictures at work: any of them may seem slow.
    pub(crate) fn chunks_at_work(&self) -> Vec<Slow> {
        let mut at_work = Vec::new();
        for (job, row) in &self.jobs {
            let may = |c: &Chunk| {
                c.state == ChunkState::Running && c.splits < MOST_SPLITS && matches!(c.work, Work::Video { .. })
            };
            let slow = row.chunks.iter().filter(|(_, c)| may(c));
            at_work.extend(slow.map(|(chunk, c)| Slow { job: *job, chunk: *chunk, attempt: c.attempt }));
        }
        at_work
    }

    /// `segments` are those of the film, as far as its plan expects.
    pub(crate) fn split_chunk(&mut self, id: Uuid, number: i32, attempt: i32, segments: u64) -> Split {
        let now = self.now;
        let any_attempt = self.does(Deviation::SplitIgnoresAttempt);
        let (again, forgets) = (self.does(Deviation::SplitNumbersAgain), self.does(Deviation::SplitForgetsRest));
        let (keeps_end, hasty) = (self.does(Deviation::SplitKeepsEnd), self.does(Deviation::SplitTakesCommitted));
        let Some(job) = self.jobs.get_mut(&id).filter(|j| j.state == JobState::Running) else {
            return Split::NotAtWork;
        };
        let Some(videos) = job.plan.as_ref().map(|p| p.videos.clone()) else { return Split::NotAtWork };
        let next = job.chunks.keys().max().copied().unwrap_or(0) + 1;
        let Some(chunk) = job.chunks.get_mut(&number) else { return Split::NotAtWork };
        let Work::Video { first: begin, end } = chunk.work else { return Split::NotAtWork };
        let runs = chunk.state == ChunkState::Running;
        if !runs || chunk.attempt != attempt && !any_attempt {
            return Split::NotAtWork;
        }
        let is_own =
            |name: &String, index: u64| videos.contains(name) && index >= begin && end.is_none_or(|end| index < end);
        let committed = job.segments.keys().filter(|(name, index)| is_own(name, *index)).map(|(_, index)| *index);
        let first = if hasty { begin + 1 } else { rest_from(begin, committed.max()) };
        if first >= end.unwrap_or(segments) {
            return Split::NoRest;
        }
        if !keeps_end {
            chunk.work = Work::Video { first: begin, end: Some(first) };
        }
        chunk.splits += 1;
        let position = chunk.position + 2 * (i64::try_from(first).unwrap_or(0) - i64::try_from(begin).unwrap_or(0));
        let number_of_rest = if again { 1 } else { chunk.attempt + 1 };
        let mut rest = Chunk::new(Work::Video { first, end }, position, number_of_rest, now);
        (rest.splits, rest.split_from, rest.avoid_worker) = (chunk.splits, Some(number), chunk.worker);
        if !forgets {
            job.chunks.insert(next, rest);
        }
        self.touch(id);
        Split::Rest { chunk: next, first }
    }

    pub(crate) fn take_back_slow(&mut self, id: Uuid, number: i32, attempt: i32) -> bool {
        let now = self.now;
        let (keeps, any_attempt) =
            (self.does(Deviation::TakeBackKeepsAttempt), self.does(Deviation::TakeBackIgnoresAttempt));
        let Some(job) = self.jobs.get_mut(&id) else { return false };
        let Some(chunk) = job.chunks.get_mut(&number) else { return false };
        let is_it = chunk.state == ChunkState::Running && (chunk.attempt == attempt || any_attempt);
        if !is_it || chunk.taken_back || !matches!(chunk.work, Work::Video { .. }) {
            return false;
        }
        let attempt = chunk.attempt;
        chunk.enter(ChunkEvent::HandedBack);
        chunk.attempt += i32::from(!keeps);
        chunk.avoid_worker = chunk.worker.take();
        (chunk.lease_until, chunk.not_before, chunk.taken_back) = (None, now, true);
        let made = chunk.progress;
        job.end_attempt(number, attempt, "handed_back", Some(made), now);
        self.touch(id);
        true
    }
}
