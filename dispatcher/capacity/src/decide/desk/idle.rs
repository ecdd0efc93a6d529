//! Which idle instances end.

use super::{Desk, cost, finite, rate_of};
use crate::decide::{Action, Reason};
use crate::moment::Moment;
use crate::pools::InstanceId;
use crate::view::{Phase, PoolView};

/// An instance is kept for work that comes when it then works for this many boot times.
const WORTH_BOOTS: f64 = 4.0;

/// Since when, who, and of which pool.
type Idle<'a> = (Moment, &'a InstanceId, &'a PoolView);

impl<'a> Desk<'a> {
    /// Ends instances that have been idle for as long as the policy says, the dearest first. One stays for each chunk that
    /// waits, and as many as are worth keeping for jobs that will be there before another instance would have booted.
    pub(crate) fn end_idle(&mut self, idle_after_s: f64) {
        let patience_s = finite(idle_after_s);
        for r in 0..self.regions.len() {
            let mut idle = self.idle(r);
            let needed = self.needed(r, &idle);
            let mut may_end = idle.len().saturating_sub(needed);
            let mut ends = Vec::new();
            // The cheapest come first, so the dearest are looked at first from the end.
            for i in (0..idle.len()).rev() {
                if may_end > 0 && self.now.since_s(idle[i].0) >= patience_s {
                    ends.push(idle.remove(i));
                    may_end -= 1;
                }
            }
            for (since, instance, pool) in ends {
                let (pool, instance) = (pool.pool.id.clone(), instance.clone());
                let idle_s = self.now.since_s(since);
                self.ended.push(Action::End { pool, instance: instance.clone() });
                self.reasons.push(Reason::IdleEnds { instance, idle_s });
            }
            if let Some(since) = idle.iter().map(|(since, ..)| *since).min() {
                let count = u32::try_from(idle.len()).unwrap_or(u32::MAX);
                let for_s = (patience_s - self.now.since_s(since)).max(0.0);
                self.reasons.push(Reason::IdleStays { region: self.regions[r].name.clone(), count, for_s });
            }
        }
    }

    /// Idle instances of a region, the cheapest encode-second first, then those that are idle for the shortest time.
    fn idle(&self, r: usize) -> Vec<Idle<'a>> {
        let view = self.view;
        let mut idle: Vec<Idle<'a>> = Vec::new();
        for place in &self.regions[r].pools {
            let pool = &view.pools[*place];
            let instances = pool.instances.iter().filter(|i| i.phase == Phase::Idle);
            idle.extend(instances.map(|i| (i.since, &i.id, pool)));
        }
        idle.sort_by(|a, b| cost(&a.2.pool).total_cmp(&cost(&b.2.pool)).then(b.0.cmp(&a.0)).then(a.1.cmp(b.1)));
        idle
    }

    /// How many of them are needed.
    fn needed(&self, r: usize, idle: &[Idle<'_>]) -> usize {
        let region = &self.regions[r];
        let worth_s = WORTH_BOOTS * region.boot_s;
        let (mut count, mut done_s) = (0, 0.0);
        for (_, _, pool) in idle {
            if count >= region.soon || done_s >= region.soon_s {
                break;
            }
            count += 1;
            done_s += rate_of(&pool.pool) * worth_s;
        }
        usize::try_from(region.waiting + count).unwrap_or(usize::MAX)
    }
}
