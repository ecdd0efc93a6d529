//! [`fleet::store::publication`]: how far each presentation is complete, and the publication itself.

use std::collections::BTreeMap;

use fleet::failure::FailureCode;
use fleet::state::{JobEvent, JobState};
use fleet::store::publication::Growth;
use uuid::Uuid;

use super::{Job, Memory, Ms, Segment};
use crate::simulation::deviation::Deviation;

/// How long the server lets a publisher's transaction idle: shorter than in the product, as everything here.
pub(crate) const IDLE: Ms = 15_000;

/// The right to publish one job.
#[derive(Clone, Debug)]
pub(crate) struct PublicationLock {
    pub(crate) job: Uuid,
    /// Names the transaction.
    pub(crate) token: u64,
    pub(crate) listed: u64,
    pub(crate) promised: u64,
    pub(crate) etags: BTreeMap<String, String>,
    pub(crate) master: bool,
}

/// The transaction was ended by the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LockLost;

impl Job {
    /// Whether a publisher's transaction holds the row.
    pub(crate) fn is_locked(&self, now: Ms) -> bool {
        self.publication.as_ref().is_some_and(|p| p.lock.is_some_and(|(_, until)| until > now))
    }

    /// Committed segments of a rendition from `listed` on without a hole.
    fn contiguous(&self, rendition: &str, listed: u64) -> u64 {
        (listed..).find(|i| !self.segments.contains_key(&(rendition.to_owned(), *i))).unwrap_or(listed)
    }
}

impl Memory {
    pub(crate) fn growth(&self) -> Vec<Growth> {
        let mut rows = Vec::new();
        for (id, job) in &self.jobs {
            if !matches!(job.state, JobState::Running | JobState::Publishing) {
                continue;
            }
            let publication = job.publication.as_ref();
            let listed = publication.map_or(0, |p| p.listed);
            let appended = publication.and_then(|p| p.appended_at);
            for (name, rendition) in job.renditions.iter().filter(|(_, r)| ["video", "audio"].contains(&r.kind)) {
                #[expect(clippy::cast_precision_loss, reason = "milliseconds of a simulation")]
                let appended_s = appended.map(|at| (self.now - at) as f64 / 1000.0);
                rows.push(Growth {
                    job: *id,
                    publishing: job.state == JobState::Publishing,
                    rendition: name.clone(),
                    kind: rendition.kind.to_owned(),
                    ended: rendition.ended,
                    listed,
                    contiguous: job.contiguous(name, listed),
                    appended_s,
                });
            }
        }
        rows
    }

    /// `None` while another publisher has it, and when the job has ended or is planned again.
    pub(crate) fn lock_publication(&mut self, id: Uuid, generation: i32, token: u64) -> Option<PublicationLock> {
        let now = self.now;
        let job = self.jobs.get_mut(&id)?;
        let publication = job.publication.get_or_insert_default();
        let is_free = publication.lock.is_none_or(|(_, until)| until <= now);
        let is_open = matches!(job.state, JobState::Running | JobState::Publishing);
        if !is_free || !is_open || job.generation != generation {
            return None;
        }
        publication.lock = Some((token, now + IDLE));
        let (listed, promised) = (publication.listed, publication.promised);
        let (etags, master) = (publication.etags.clone(), publication.master);
        Some(PublicationLock { job: id, token, listed, promised, etags, master })
    }

    fn held(&mut self, lock: &PublicationLock) -> Result<&mut Job, LockLost> {
        let now = self.now;
        let job = self.jobs.get_mut(&lock.job).ok_or(LockLost)?;
        let publication = job.publication.as_mut().ok_or(LockLost)?;
        match &mut publication.lock {
            Some((token, until)) if *token == lock.token && *until > now => *until = now + IDLE,
            _ => return Err(LockLost),
        }
        Ok(job)
    }

    /// Frees a lock whose transaction ended without a word.
    pub(crate) fn unlock(&mut self, job: Uuid, token: u64) {
        if let Some(publication) = self.jobs.get_mut(&job).and_then(|j| j.publication.as_mut())
            && publication.lock.is_some_and(|(holder, _)| holder == token)
        {
            publication.lock = None;
        }
    }

    /// Frees all locks, as a restart of the server does.
    pub(crate) fn unlock_all(&mut self) {
        for publication in self.jobs.values_mut().filter_map(|j| j.publication.as_mut()) {
            publication.lock = None;
        }
    }

    pub(crate) fn listed_segments(
        &mut self,
        lock: &PublicationLock,
        rendition: &str,
        end: u64,
    ) -> Result<Vec<(u64, Segment)>, LockLost> {
        if !self.does(Deviation::GrowsWithoutLock) {
            self.held(lock)?;
        }
        Ok(self.files(lock.job, rendition).into_iter().take_while(|(index, _)| *index < end).collect())
    }

    pub(crate) fn files(&self, job: Uuid, rendition: &str) -> Vec<(u64, Segment)> {
        let Some(job) = self.jobs.get(&job) else { return Vec::new() };
        let of_it = job.segments.iter().filter(|((name, _), _)| name == rendition);
        of_it.map(|((_, index), s)| (*index, s.clone())).collect()
    }

    pub(crate) fn inits(&self, job: Uuid) -> BTreeMap<String, String> {
        let Some(job) = self.jobs.get(&job) else { return BTreeMap::new() };
        job.renditions.iter().filter_map(|(name, r)| Some((name.clone(), r.init.clone()?))).collect()
    }

    pub(crate) fn is_publishing(&mut self, lock: &PublicationLock) -> Result<bool, LockLost> {
        Ok(self.held(lock)?.state == JobState::Publishing)
    }

    pub(crate) fn promise(&mut self, lock: &PublicationLock, listed: u64) -> Result<(), LockLost> {
        let job = self.held(lock)?;
        if let Some(publication) = &mut job.publication {
            publication.promised = publication.promised.max(listed);
            publication.lock = None;
        }
        Ok(())
    }

    pub(crate) fn grown(&mut self, lock: &PublicationLock, listed: u64, watchable_ms: u64) -> Result<(), LockLost> {
        let now = self.now;
        let job = self.held(lock)?;
        if let Some(publication) = &mut job.publication {
            if publication.listed < listed {
                publication.appended_at = Some(now);
            }
            publication.listed = listed;
            publication.etags.clone_from(&lock.etags);
            publication.master = lock.master;
            publication.lock = None;
        }
        if matches!(job.state, JobState::Running | JobState::Publishing) {
            let first = job.first_playable_at;
            job.watchable_ms = job.watchable_ms.max(i64::try_from(watchable_ms).unwrap_or(i64::MAX));
            job.first_playable_at = if watchable_ms > 0 { first.or(Some(now)) } else { None };
            if first.is_none() && watchable_ms > 0 {
                job.events.push("job.playable");
            }
        }
        self.touch(lock.job);
        Ok(())
    }

    /// `false` when it was cancelled in between.
    pub(crate) fn publish(&mut self, lock: &PublicationLock, duration_ms: u64) -> Result<bool, LockLost> {
        let now = self.now;
        let (any_state, silent) =
            (self.does(Deviation::PublishIgnoresState), self.does(Deviation::EventAfterPublication));
        let job = self.held(lock)?;
        let published = job.step(JobState::Publishing, JobEvent::Published)
            || any_state && std::mem::replace(&mut job.state, JobState::Succeeded) != JobState::Succeeded;
        if published {
            job.finished_at = Some(now);
            job.watchable_ms = i64::try_from(duration_ms).unwrap_or(i64::MAX);
            job.first_playable_at = job.first_playable_at.or(Some(now));
            if !silent {
                job.events.push("job.succeeded");
            }
            job.usage += 1;
        }
        if let Some(publication) = &mut job.publication {
            publication.listed = lock.listed;
            publication.etags.clone_from(&lock.etags);
            publication.lock = None;
        }
        self.touch(lock.job);
        Ok(published)
    }

    /// A publisher found that the job cannot be published; `false` when it was cancelled in between.
    pub(crate) fn fail_publication(&mut self, lock: &PublicationLock, code: FailureCode) -> Result<bool, LockLost> {
        let job = self.held(lock)?;
        if let Some(publication) = &mut job.publication {
            publication.lock = None;
        }
        let is_publishing = job.state == JobState::Publishing;
        if is_publishing {
            self.end_job(lock.job, JobState::Failed, Some(code));
        }
        Ok(is_publishing)
    }

    /// What the planted fault does in a call of its own.
    pub(crate) fn tell_of_success(&mut self, job: Uuid) {
        if let Some(row) = self.jobs.get_mut(&job) {
            row.events.push("job.succeeded");
            self.touch(job);
        }
    }
}
