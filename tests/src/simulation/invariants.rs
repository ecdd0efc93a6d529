//! What must hold after every step, and what must be true at the end. Nothing here looks at how a step was made.

mod end;
mod output;
mod rows;

use std::collections::BTreeMap;

use fleet::failure::FailureCode;
use fleet::state::{ChunkState, JobState};
use fleet::store::stragglers::Split;
use fleet::store::work::{AttemptId, Work};
use uuid::Uuid;

use super::film::Film;
use super::memory::{LockLost, Memory, Ms, PublicationLock, Slow, Task};
use super::network;
use super::worker::{HEARTBEAT, LEASE, LOOK};
use super::world::{ProcessId, World};

pub(super) use end::judge;

/// What was seen so far.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// Whose call was served last.
    pub(crate) caller: ProcessId,
    /// Which process a worker is.
    pub(crate) holders: BTreeMap<Uuid, ProcessId>,
    broken: Option<String>,
    jobs: BTreeMap<Uuid, Seen>,
    /// When an attempt lost its right to write.
    voided: BTreeMap<(Uuid, i32, i32), Ms>,
}

/// A job as it was last seen.
#[derive(Clone, Debug)]
struct Seen {
    state: JobState,
    generation: i32,
    most_attempts: i32,
    /// The highest attempt of plans that were replaced.
    floor: i32,
    chunks: BTreeMap<i32, SeenChunk>,
}

#[derive(Clone, Copy, Debug)]
struct SeenChunk {
    state: ChunkState,
    attempt: i32,
    worker: Option<Uuid>,
    lease_until: Option<Ms>,
}

impl Watch {
    pub(crate) fn is_broken(&self) -> bool {
        self.broken.is_some()
    }

    pub(crate) fn verdict(&self) -> Option<&str> {
        self.broken.as_deref()
    }
}

impl World {
    /// Notes the first thing that does not hold.
    pub(crate) fn broken(&mut self, what: impl FnOnce() -> String) {
        if self.watch.broken.is_none() {
            let what = what();
            self.say(|_| format!("BROKEN: {what}"));
            self.watch.broken = Some(what);
        }
    }

    /// Looks at what changed.
    pub(crate) fn look(&mut self) {
        if self.store.touched.is_empty() && self.objects.changed.is_empty() {
            return;
        }
        let commit = self.store.last_commit.take();
        let mut touched = std::mem::take(&mut self.store.touched);
        touched.sort_unstable();
        touched.dedup();
        for job in touched {
            if let Err(what) = self.look_at_rows(job, commit.as_ref()) {
                self.broken(|| format!("job {job}: {what}"));
            }
        }
        for (key, before) in std::mem::take(&mut self.objects.changed) {
            if let Err(what) = self.look_at_object(&key, before.as_deref()) {
                self.broken(|| format!("{key}: {what}"));
            }
        }
    }

    /// Takes back leases that ran out; nobody loses one without a reason.
    pub(crate) fn take_back_lost(&mut self) -> usize {
        let mut before: BTreeMap<(Uuid, i32), Ms> = BTreeMap::new();
        for (id, job) in &self.store.jobs {
            before.extend(job.chunks.iter().filter_map(|(number, c)| Some(((*id, *number), c.lease_until?))));
        }
        let lost = self.store.take_back_lost();
        for one in &lost {
            let until = before.get(&(one.job, one.chunk)).copied();
            if until.is_some_and(|until| until >= self.now) {
                self.broken(|| format!("job {}: the lease of chunk {} was taken back early", one.job, one.chunk));
            }
            let holder = one.worker.and_then(|w| self.watch.holders.get(&w)).copied().unwrap_or_default();
            // A lease was last moved, or could have been, within its own length before its end.
            let since = until.unwrap_or(self.now) - LEASE - HEARTBEAT - network::PATIENCE;
            if self.processes[holder].disturbed_at < since {
                let name = self.processes[holder].name.clone();
                self.broken(|| format!("job {}: nothing kept {name} from holding chunk {}", one.job, one.chunk));
            }
        }
        lost.len()
    }

    /// Splits a chunk, or takes it back; whoever was judged is who it concerns.
    pub(crate) fn relieve(&mut self, slow: Slow, is_split: bool) {
        let Slow { job, chunk, attempt } = slow;
        let at_work = |w: &Self| w.store.jobs.get(&job).and_then(|j| j.chunks.get(&chunk)).map(|c| c.attempt);
        let before = at_work(self);
        let done = if is_split {
            let segments = self.films.get(&job).map_or(0, Film::segments);
            matches!(self.store.split_chunk(job, chunk, attempt, segments), Split::Rest { .. })
        } else {
            self.store.take_back_slow(job, chunk, attempt)
        };
        if done {
            self.relieved += 1;
            self.say(|_| format!("chunk {chunk} of {job} is slow: {}", if is_split { "split" } else { "taken back" }));
        }
        if done && before != Some(attempt) {
            self.broken(|| format!("job {job}: attempt {attempt} of chunk {chunk} was slow, and another was relieved"));
        }
    }

    /// A publisher found that a job cannot be published: something was lost on the way.
    pub(crate) fn fail_publication(&mut self, lock: &PublicationLock, code: FailureCode) -> Result<bool, LockLost> {
        let failed = self.store.fail_publication(lock, code);
        if failed == Ok(true) {
            self.broken(|| format!("job {}: all was done, and it cannot be published: {code}", lock.job));
        }
        failed
    }

    /// An engine has worked: its attempt must not have ended long ago. A heartbeat tells its worker; one that cannot be told
    /// counts the lease itself, which it asked for before the store granted it.
    pub(crate) fn watch_engine(&mut self, process: ProcessId, id: AttemptId) {
        let Some(voided) = self.watch.voided.get(&(id.job, id.chunk, id.attempt)).copied() else { return };
        let it = &self.processes[process];
        let lost = self
            .store
            .jobs
            .get(&id.job)
            .and_then(|j| j.attempts.get(&(id.chunk, id.attempt)))
            .is_some_and(|a| a.outcome == Some("lost"));
        let allowed = if it.disturbed_at < voided - network::PATIENCE {
            HEARTBEAT + 500
        } else if lost {
            LOOK + 500
        } else {
            LEASE + LOOK + 500
        };
        let now = self.now;
        if now > voided.max(it.slept_at) + allowed {
            self.broken(|| {
                format!("job {}: chunk {} is worked on {} ms after its lease was lost", id.job, id.chunk, now - voided)
            });
        }
    }

    /// A segment was encoded: nobody had committed it when the attempt began.
    pub(crate) fn watch_encoded(&mut self, task: &Task, names: &[String], index: u64) {
        let id = task.id;
        let Some(job) = self.store.jobs.get(&id.job).filter(|j| j.generation == task.generation) else { return };
        let Some(claimed_at) = job.attempts.get(&(id.chunk, id.attempt)).map(|a| a.claimed_at) else { return };
        let Work::Video { first, .. } = task.work else { return };
        let had =
            |name: &String, i: u64| job.segments.get(&(name.clone(), i)).is_some_and(|s| s.committed_at < claimed_at);
        // After a hole, which a quarantine leaves, an engine makes what follows too.
        if !names.is_empty() && (first..=index).all(|i| names.iter().all(|name| had(name, i))) {
            self.broken(|| format!("job {}: segment {index} was committed, and is encoded again", id.job));
        }
    }
}

/// Whether the rows of a chunk that is done are all there.
fn is_whole(store: &Memory, job: Uuid, names: &[String], range: std::ops::Range<u64>) -> bool {
    let Some(job) = store.jobs.get(&job) else { return false };
    names.iter().all(|name| range.clone().all(|index| job.segments.contains_key(&(name.clone(), index))))
}
