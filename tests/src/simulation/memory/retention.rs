//! [`fleet::store::retention`]: ended jobs whose output is to be swept.

use uuid::Uuid;

use super::{Memory, Ms};
use crate::simulation::deviation::Deviation;

/// An ended job whose output is to be swept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unswept {
    pub(crate) organisation: Uuid,
    pub(crate) job: Uuid,
    pub(crate) generation: i32,
    pub(crate) finished_at: Ms,
}

impl Memory {
    pub(crate) fn unswept(&self, after: Ms) -> Vec<Unswept> {
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
