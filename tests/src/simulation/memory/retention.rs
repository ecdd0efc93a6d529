//! [`fleet::store::retention`]: ended jobs whose output is to be swept, and jobs whose rows are gone.

use fleet::state::JobState;
use uuid::Uuid;

use super::{Job, Memory, Ms};
use crate::simulation::deviation::Deviation;

/// An ended job whose output is to be swept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unswept {
    pub(crate) organisation: Uuid,
    pub(crate) job: Uuid,
    pub(crate) generation: i32,
    pub(crate) finished_at: Ms,
    pub(crate) is_settled: bool,
}

/// A job whose rows are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RemovedJob {
    pub(crate) organisation: Uuid,
    pub(crate) job: Uuid,
    pub(crate) is_settled: bool,
}

impl Memory {
    pub(crate) fn unswept(&self, after: Ms, no_writer: Ms) -> Vec<Unswept> {
        let early = self.does(Deviation::SweepTakesRunningJobs);
        let mut found: Vec<Unswept> = self
            .jobs
            .iter()
            .filter_map(|(id, job)| {
                let finished_at = job.finished_at.or_else(|| early.then_some(0))?;
                let is_due = finished_at < self.now - after && job.publication.as_ref().is_none_or(|p| !p.swept);
                is_due.then_some(Unswept {
                    organisation: job.organisation,
                    job: *id,
                    generation: job.generation,
                    finished_at,
                    is_settled: finished_at < self.now - no_writer || self.does(Deviation::SweepIsOnce),
                })
            })
            .collect();
        found.sort_by_key(|u| u.finished_at);
        found
    }

    pub(crate) fn mark_swept(&mut self, job: Uuid) {
        if let Some(job) = self.jobs.get_mut(&job) {
            job.publication.get_or_insert_default().swept = true;
        }
    }

    /// Deletes rows of jobs that ended without success longer ago than `after`, and notes that their objects are to go.
    pub(crate) fn delete_old_jobs(&mut self, after: Ms) -> u64 {
        let (now, forgets) = (self.now, self.does(Deviation::RemovedJobsAreForgotten));
        let is_old = |job: &Job| job.state != JobState::Succeeded && job.finished_at.is_some_and(|at| at < now - after);
        // A publisher's row goes along with the job's, so the statement would wait for it.
        let old = self.jobs.iter().filter(|(_, job)| is_old(job) && !job.is_locked(now));
        let old: Vec<(Uuid, Uuid)> = old.map(|(id, job)| (*id, job.organisation)).collect();
        for (id, organisation) in &old {
            self.jobs.remove(id);
            if !forgets {
                self.removed.insert(*id, (*organisation, now));
            }
        }
        old.len() as u64
    }

    pub(crate) fn removed_jobs(&self, no_writer: Ms) -> Vec<RemovedJob> {
        let of = |(job, (organisation, at)): (&Uuid, &(Uuid, Ms))| RemovedJob {
            organisation: *organisation,
            job: *job,
            is_settled: *at < self.now - no_writer,
        };
        self.removed.iter().map(of).collect()
    }

    pub(crate) fn forget_removed_job(&mut self, job: Uuid) {
        self.removed.remove(&job);
    }

    /// Rendition and file; `None` when it was tried again meanwhile.
    pub(crate) fn files_of_ended(&self, ended: &Unswept) -> Option<Vec<(String, String)>> {
        let job = self.jobs.get(&ended.job)?;
        let any_state = self.does(Deviation::SweepTakesRunningJobs);
        if job.finished_at != Some(ended.finished_at) && !any_state || job.generation != ended.generation {
            return None;
        }
        let segments = job.segments.iter().map(|((name, _), s)| (name.clone(), s.uri.clone()));
        let inits = job.renditions.iter().filter_map(|(name, r)| Some((name.clone(), r.init.clone()?)));
        Some(segments.chain(inits).collect())
    }
}
