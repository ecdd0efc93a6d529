//! As `deadline`, with spare spot instances (as serving systems overprovision) and second attempts: a chunk that is far slower
//! than its siblings is given to an idle worker as well, and the first to finish wins.

use std::collections::HashMap;

use super::{Deadline, Parameter};
use crate::decide::{Action, Cause, Desk, Need, Reason, finite, rate_of};
use crate::pools::PurchaseOption;
use crate::view::{Phase, RunningChunk};

/// A chunk gets no second attempt before it has been at work for this long, seconds.
const JUDGED_AFTER_S: f64 = 20.0;
/// A chunk says nothing of its siblings before it has been at work for this long, seconds.
const COMPARED_AFTER_S: f64 = 3.0;
/// With fewer siblings at work than this, a chunk is compared with what its pool promises.
const SIBLINGS: usize = 3;

/// Spares and second attempts.
#[derive(Clone, Debug, PartialEq)]
pub struct Hedge {
    /// Spot instances beyond what is needed, in each region with work.
    pub extra: f64,
    /// A chunk that is this many times slower than the median of its instance type gets a second attempt.
    pub slower: f64,
    /// All else.
    pub deadline: Deadline,
}

impl Default for Hedge {
    fn default() -> Self {
        Self { extra: 1.0, slower: 3.0, deadline: Deadline::default() }
    }
}

impl Hedge {
    pub(super) fn parameters(&mut self) -> Vec<Parameter<'_>> {
        let mut parameters = vec![("extra", &mut self.extra, 0.0..=1000.0), ("slower", &mut self.slower, 1.1..=1000.0)];
        parameters.extend(self.deadline.parameters());
        parameters
    }

    pub(super) fn apply(&self, desk: &mut Desk<'_>) {
        let before: Vec<u32> = (0..desk.regions.len()).map(|r| desk.count(r, PurchaseOption::Spot)).collect();
        self.deadline.apply(desk);
        for (r, before) in before.into_iter().enumerate() {
            let after = desk.count(r, PurchaseOption::Spot);
            // Spares come with the first instances, so that they are not added again at every decision.
            if after > before && before == 0 {
                desk.start(r, PurchaseOption::Spot, Need::Count(self.extra as u32), Cause::Spare);
            }
        }
        self.second_attempts(desk);
    }

    fn second_attempts(&self, desk: &mut Desk<'_>) {
        let view = desk.view();
        let mut idle: usize = view.pools.iter().map(|p| p.count(Phase::Idle) as usize).sum();
        if idle == 0 || view.running.is_empty() {
            return;
        }
        let mut pools: HashMap<&str, usize> = HashMap::new();
        for (place, pool) in view.pools.iter().enumerate() {
            pools.extend(pool.instances.iter().map(|i| (i.id.as_str(), place)));
        }
        // Seconds for an encode-second so far, beside what the pool's rate promises.
        let slowness = |chunk: &RunningChunk| {
            let pool = &view.pools[*pools.get(chunk.instance.as_str())?].pool;
            let took_s = desk.now.since_s(chunk.since);
            let promised = rate_of(pool) / f64::from(pool.slots.max(1)) * took_s;
            let done_s = finite(chunk.done_s).max(1e-3 * finite(chunk.total_s));
            (took_s >= COMPARED_AFTER_S && done_s > 0.0 && promised > 0.0).then(|| promised / done_s)
        };
        let mut judged: Vec<(f64, &RunningChunk)> =
            view.running.iter().filter_map(|c| slowness(c).map(|s| (s, c))).collect();
        judged.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.job.cmp(&b.1.job)).then(a.1.chunk.cmp(&b.1.chunk)));
        let siblings = judged.get(judged.len() / 2).filter(|_| judged.len() >= SIBLINGS);
        let median = siblings.map_or(1.0, |(s, _)| s.max(1.0));
        for (slow, chunk) in judged {
            let times = slow / median;
            if idle == 0 || times < self.slower {
                break;
            }
            if chunk.hedged || desk.now.since_s(chunk.since) < JUDGED_AFTER_S {
                continue;
            }
            idle -= 1;
            let (job, chunk_number, attempt) = (chunk.job, chunk.chunk, chunk.attempt);
            desk.hedge(
                Action::Hedge { job, chunk: chunk_number, attempt, slow: chunk.instance.clone() },
                Reason::Straggler { job, chunk: chunk_number, times },
            );
        }
    }
}
