//! Which idle instances end.

use super::{Desk, finite};
use crate::decide::{Action, Reason};
use crate::moment::Moment;
use crate::pools::InstanceId;
use crate::view::{Phase, PoolView};

impl Desk<'_> {
    /// Ends instances that have been idle for as long as the policy says, the longest idle first, but as many as there are
    /// chunks that wait and jobs that will be there before another instance would have booted.
    pub(crate) fn end_idle(&mut self, idle_after_s: f64) {
        let patience_s = finite(idle_after_s);
        for r in 0..self.regions.len() {
            let region = &self.regions[r];
            let mut idle: Vec<(Moment, &InstanceId, &PoolView)> = Vec::new();
            for place in &region.pools {
                let pool = &self.view.pools[*place];
                let instances = pool.instances.iter().filter(|i| i.phase == Phase::Idle);
                idle.extend(instances.map(|i| (i.since, &i.id, pool)));
            }
            idle.sort_unstable_by_key(|(since, id, _)| (*since, *id));
            let needed = usize::try_from(region.waiting + region.soon).unwrap_or(usize::MAX);
            let most = idle.len().saturating_sub(needed);
            let over = idle.iter().take_while(|(since, ..)| self.now.since_s(*since) >= patience_s).count().min(most);
            let stays = idle.split_off(over);
            for (since, instance, pool) in idle {
                let (pool, instance) = (pool.pool.id.clone(), instance.clone());
                let idle_s = self.now.since_s(since);
                self.ended.push(Action::End { pool, instance: instance.clone() });
                self.reasons.push(Reason::IdleEnds { instance, idle_s });
            }
            if let Some((since, ..)) = stays.first() {
                let count = u32::try_from(stays.len()).unwrap_or(u32::MAX);
                let for_s = (patience_s - self.now.since_s(*since)).max(0.0);
                self.reasons.push(Reason::IdleStays { region: region.name.clone(), count, for_s });
            }
        }
    }
}
