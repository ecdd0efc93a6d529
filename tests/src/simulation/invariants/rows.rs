//! Rows of a job: states, attempts, leases, commits, events.

use fleet::failure::FailureCode;
use fleet::state::{ChunkEvent, ChunkState, JobEvent, JobState};
use fleet::store::work::Work;
use uuid::Uuid;

use super::{Seen, SeenChunk, is_whole};
use crate::simulation::dispatcher::PATIENCE;
use crate::simulation::memory::{Chunk, Job, Ms};
use crate::simulation::world::World;

type Verdict = Result<(), String>;

impl World {
    pub(super) fn look_at_rows(&mut self, id: Uuid, commit: Option<&(Uuid, (String, u64))>) -> Verdict {
        let Some(job) = self.store.jobs.get(&id) else { return Ok(()) };
        let seen = self.watch.jobs.get(&id);
        states(job, seen.map(|s| s.state))?;
        events(job)?;
        ranges(job)?;
        for (number, chunk) in &job.chunks {
            if job.state.is_final() && !chunk.state.is_final() {
                return Err(format!("is {}, chunk {number} is {}", job.state, chunk.state));
            }
            if job.state == JobState::Publishing && chunk.state != ChunkState::Done {
                return Err(format!("is publishing, chunk {number} is {}", chunk.state));
            }
            self.is_done_whole(id, job, *number, chunk)?;
            let before = seen.filter(|s| s.generation == job.generation).and_then(|s| s.chunks.get(number));
            if let Some(before) = before {
                self.chunk_step(*number, chunk, before)?;
            }
        }
        let floor = floor(job, seen);
        if let Some((number, chunk)) = job.chunks.iter().find(|(_, c)| c.attempt <= floor) {
            return Err(format!("another plan has attempt {} of chunk {number}, which there was", chunk.attempt));
        }
        failure(job, self.films.get(&id).is_some_and(|f| f.is_junk), seen)?;
        if let Some((_, key)) = commit.filter(|(of, _)| *of == id)
            && let Some(segment) = job.segments.get(key)
        {
            let chunk = job.chunks.get(&segment.chunk).ok_or("a segment without a chunk")?;
            if chunk.state != ChunkState::Running || chunk.attempt != segment.attempt {
                let text = format!("{key:?} is committed by attempt {} of a chunk that is", segment.attempt);
                return Err(format!("{text} {} under attempt {}", chunk.state, chunk.attempt));
            }
        }
        self.remember(id);
        Ok(())
    }

    /// A chunk that is done has all its segments, unless its plan is void.
    fn is_done_whole(&self, id: Uuid, job: &Job, number: i32, chunk: &Chunk) -> Verdict {
        let (Some(plan), Some(film)) = (&job.plan, self.films.get(&id)) else { return Ok(()) };
        if chunk.state != ChunkState::Done || job.state == JobState::Failed {
            return Ok(());
        }
        let (names, range) = match &chunk.work {
            Work::Plan | Work::Clip => return Ok(()),
            Work::Video { first, end } => (plan.videos.clone(), *first..end.unwrap_or(film.segments())),
            Work::Audio { rendition } => (vec![rendition.clone()], 0..film.segments()),
        };
        if is_whole(&self.store, id, &names, range) {
            Ok(())
        } else {
            Err(format!("chunk {number} is done, not whole"))
        }
    }

    fn chunk_step(&self, number: i32, chunk: &Chunk, before: &SeenChunk) -> Verdict {
        let step =
            || format!("chunk {number}: {} {} -> {} {}", before.state, before.attempt, chunk.state, chunk.attempt);
        if chunk.attempt < before.attempt {
            return Err(format!("{}: attempts only grow", step()));
        }
        if chunk.state == before.state {
            let holder = before.worker.and_then(|w| self.watch.holders.get(&w));
            let moved = chunk.lease_until != before.lease_until;
            if chunk.state == ChunkState::Running && (chunk.worker != before.worker || chunk.attempt != before.attempt)
            {
                return Err(format!("{}: two hold it", step()));
            }
            if chunk.state == ChunkState::Running && moved && holder != Some(&self.watch.caller) {
                return Err(format!("{}: its lease was moved by somebody else", step()));
            }
            return Ok(());
        }
        let holder = before.worker.and_then(|w| self.watch.holders.get(&w));
        if chunk.state == ChunkState::Done && holder != Some(&self.watch.caller) {
            return Err(format!("{}: it was completed by somebody else", step()));
        }
        let event = ChunkEvent::ALL.iter().find(|e| before.state.after(**e) == Ok(chunk.state));
        let Some(event) = event else { return Err(format!("{}: there is no such step", step())) };
        let leaves = matches!(chunk.state, ChunkState::Waiting | ChunkState::Cancelled)
            && matches!(before.state, ChunkState::Running | ChunkState::Queued | ChunkState::Done);
        if leaves && chunk.attempt == before.attempt {
            return Err(format!("{} ({event}): the number stays", step()));
        }
        if chunk.state == ChunkState::Queued {
            if chunk.deaths >= PATIENCE.deaths || chunk.tries >= PATIENCE.tries {
                return Err(format!("{}: after {} deaths, {} tries", step(), chunk.deaths, chunk.tries));
            }
            if chunk.not_before > self.now {
                return Err(format!("{}: {} ms early", step(), chunk.not_before - self.now));
            }
        }
        Ok(())
    }

    fn remember(&mut self, id: Uuid) {
        let Some(job) = self.store.jobs.get(&id) else { return };
        let now: Ms = self.now;
        if let Some(seen) = self.watch.jobs.get(&id) {
            for (number, before) in seen.chunks.iter().filter(|(_, c)| c.state == ChunkState::Running) {
                let there = job.chunks.get(number).filter(|_| job.generation == seen.generation);
                if there.is_none_or(|c| c.attempt != before.attempt || c.state != ChunkState::Running) {
                    self.watch.voided.entry((id, *number, before.attempt)).or_insert(now);
                }
            }
        }
        let chunks = job.chunks.iter().map(|(number, c)| {
            let (state, attempt, worker, lease_until) = (c.state, c.attempt, c.worker, c.lease_until);
            (*number, SeenChunk { state, attempt, worker, lease_until })
        });
        let seen = Seen {
            state: job.state,
            generation: job.generation,
            most_attempts: job.chunks.values().map(|c| c.attempt).max().unwrap_or(0),
            floor: floor(job, self.watch.jobs.get(&id)),
            chunks: chunks.collect(),
        };
        self.watch.jobs.insert(id, seen);
    }
}

/// The highest attempt of plans that were replaced.
fn floor(job: &Job, seen: Option<&Seen>) -> i32 {
    seen.map_or(0, |s| if s.generation == job.generation { s.floor } else { s.most_attempts })
}

fn states(job: &Job, before: Option<JobState>) -> Verdict {
    let before = before.unwrap_or(JobState::Queued);
    let is_step = JobEvent::ALL.iter().any(|e| before.after(*e) == Ok(job.state));
    if job.state != before && !is_step {
        return Err(format!("{before} -> {}: there is no such step", job.state));
    }
    if job.state.is_final() != job.finished_at.is_some() || (job.state == JobState::Failed) != job.failure.is_some() {
        return Err(format!("is {}, its end and its code do not say so", job.state));
    }
    Ok(())
}

/// Every segment is that of one chunk, whatever was split; what is committed was committed by that chunk.
fn ranges(job: &Job) -> Verdict {
    let Some(plan) = &job.plan else { return Ok(()) };
    let mut ranges: Vec<(u64, Option<u64>, i32)> = Vec::new();
    for (number, chunk) in &job.chunks {
        if let Work::Video { first, end } = chunk.work {
            ranges.push((first, end, *number));
        }
    }
    ranges.sort_unstable();
    let mut next = Some(0);
    for (first, end, number) in &ranges {
        if next != Some(*first) {
            return Err(format!("chunk {number} begins with {first}, the one before it ends with {next:?}"));
        }
        next = *end;
    }
    if next.is_some() {
        return Err(format!("no chunk has what comes from segment {next:?} on"));
    }
    for ((name, index), segment) in job.segments.iter().filter(|((name, _), _)| plan.videos.contains(name)) {
        let is_own = |(first, end, number): &(u64, Option<u64>, i32)| {
            *number == segment.chunk && first <= index && end.is_none_or(|end| *index < end)
        };
        if !ranges.iter().any(is_own) {
            return Err(format!("{name} {index} is committed by chunk {}, whose it is not", segment.chunk));
        }
    }
    Ok(())
}

/// One success at most, told of exactly once, with its usage; nothing after it.
fn events(job: &Job) -> Verdict {
    let successes = job.events.iter().filter(|e| **e == "job.succeeded").count();
    let wanted = usize::from(job.state == JobState::Succeeded);
    if successes != wanted || job.usage as usize != wanted {
        return Err(format!("is {}, with {successes} event(s) of success and {} usage row(s)", job.state, job.usage));
    }
    if wanted == 1 && job.events.last() != Some(&"job.succeeded") {
        return Err(format!("something happened after its success: {:?}", job.events.last()));
    }
    Ok(())
}

/// A job fails for a reason that it has.
fn failure(job: &Job, is_junk: bool, seen: Option<&Seen>) -> Verdict {
    let Some(code) = job.failure.filter(|_| seen.is_none_or(|s| s.state != JobState::Failed)) else { return Ok(()) };
    let has = |f: &dyn Fn(&Chunk) -> bool| job.chunks.values().any(f);
    let known = match code {
        FailureCode::NotMedia => is_junk,
        FailureCode::WorkersLost => has(&|c| c.deaths >= PATIENCE.deaths),
        FailureCode::OutputFailed | FailureCode::EngineCrashed => has(&|c| c.tries >= PATIENCE.tries),
        _ => false,
    };
    if known { Ok(()) } else { Err(format!("failed with {code}, for which there is no reason")) }
}
