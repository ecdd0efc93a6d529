//! What is true when faults have ended and the fleet had time: every job has ended, and nothing is left.

use std::collections::BTreeSet;

use fleet::keys;
use fleet::state::JobState;
use uuid::Uuid;

use crate::simulation::NO_WRITER;
use crate::simulation::faults::FEWEST;
use crate::simulation::memory::Ms;
use crate::simulation::world::{Sim, World};

/// How long the last job may take after the last fault: a message is sent again after 4 minutes at most.
const BOUND: Ms = 600_000;
/// How long the rest may take: the sweep has to come.
const REST: Ms = NO_WRITER + 90_000;

/// Waits for the end and judges it.
pub(in crate::simulation) async fn judge(sim: Sim) {
    while sim.world().weather.foul || sim.world().weather.total() < FEWEST {
        sim.sleep(500).await;
    }
    let fair = sim.world().now;
    while sim.world().waits_for_a_job(fair) {
        sim.sleep(1_000).await;
    }
    let ended = sim.world().now;
    while sim.world().waits_for_the_rest(ended) {
        sim.sleep(2_000).await;
    }
    sim.world().over = true;
}

impl World {
    fn waits_for_a_job(&mut self, fair: Ms) -> bool {
        let open = self.store.jobs.iter().find(|(_, j)| !j.state.is_final()).map(|(id, j)| (*id, j.state));
        let Some((id, state)) = open else { return self.undecided > 0 };
        if self.undecided == 0 && self.now > fair + BOUND {
            self.broken(|| format!("job {id} is {state} {} s after the last fault", BOUND / 1000));
        }
        true
    }

    fn waits_for_the_rest(&mut self, ended: Ms) -> bool {
        let Some(what) = self.rest() else { return false };
        if self.now > ended + REST {
            self.broken(|| what);
        }
        true
    }

    /// What is left that should not be.
    fn rest(&self) -> Option<String> {
        // A wish to try again may have been on its way when all had ended.
        if let Some((id, job)) = self.store.jobs.iter().find(|(_, job)| !job.state.is_final()) {
            return Some(format!("job {id} had ended, and is {} for good", job.state));
        }
        if let Some((id, _)) = self.store.outbox.iter().next() {
            return Some(format!("message {id} is still in the outbox"));
        }
        if let Some((region, queue)) = self.queues.iter().enumerate().find(|(_, q)| q.len() > 0) {
            return Some(format!("{} message(s) are still in the queue of region {region}", queue.len()));
        }
        if let Some(id) = self.films.keys().find(|id| self.is_left_of_removed(**id)) {
            return Some(format!("job {id} is gone, and objects of it are left"));
        }
        if let Some(id) = self.store.removed.keys().next() {
            return Some(format!("job {id} is gone, and still noted"));
        }
        for (id, job) in &self.store.jobs {
            if self.rows_after.is_some() && job.state != JobState::Succeeded {
                return Some(format!("job {id} is {}, and its rows are still there", job.state));
            }
            let prefix = keys::job_prefix(job.organisation, *id, job.generation);
            let master = self.objects.all.contains_key(&format!("{prefix}{}", keys::MASTER));
            if job.state == JobState::Succeeded && !master {
                return Some(format!("job {id} has succeeded, without a master playlist"));
            }
            let segments = job.segments.iter().map(|((name, _), s)| format!("{prefix}{name}/{}", s.uri));
            let inits =
                job.renditions.iter().filter_map(|(name, r)| Some(format!("{prefix}{name}/{}", r.init.as_ref()?)));
            let rows: BTreeSet<String> = segments.chain(inits).collect();
            let root = keys::job_prefix(job.organisation, *id, 1);
            let mut of_job = self.objects.all.keys().skip_while(|k| **k < root).take_while(|k| k.starts_with(&root));
            let is_orphan = |key: &&String| !key.starts_with(&prefix) || key.ends_with(".m4s") && !rows.contains(*key);
            if let Some(orphan) = of_job.find(is_orphan) {
                return Some(format!("job {id} is {} and swept; {orphan} is left, which nothing names", job.state));
            }
        }
        None
    }

    /// Whether the rows of a job are gone, and not all of its objects are.
    fn is_left_of_removed(&self, id: Uuid) -> bool {
        let of_it = |key: &String| key.split('/').nth(1).is_some_and(|job| job == id.to_string());
        !self.store.jobs.contains_key(&id) && self.objects.all.keys().any(of_it)
    }
}
