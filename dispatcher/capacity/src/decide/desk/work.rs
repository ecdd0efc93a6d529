//! What each region has to do, and which region does it when its own cannot.

use super::{Desk, Load, cost, finite};
use crate::decide::Reason;
use crate::policy::Policy;
use crate::pools::RegionName;

impl Desk<'_> {
    pub(super) fn take_work(&mut self, policy: &Policy) {
        let (ready_within_s, patience_s) = (policy.ready_within_s, finite(policy.idle_after_s));
        for job in &self.view.work {
            let left_s = finite(job.left_s);
            if left_s <= 0.0 || job.chunks == 0 {
                continue;
            }
            let Some(r) = self.place(&job.region) else { continue };
            let wait_s = job.not_before.since_s(self.now);
            let region = &mut self.regions[r];
            if wait_s > region.boot_s {
                if wait_s <= region.boot_s + patience_s {
                    region.soon += 1;
                    region.soon_s += left_s;
                }
                continue;
            }
            region.loads.push(Load {
                total_s: finite(job.total_s).max(left_s),
                left_s,
                submitted: job.submitted,
                deadline: job.ready_by.unwrap_or_else(|| job.submitted.plus_s(ready_within_s)),
            });
            region.work_s += left_s;
            region.chunks += u64::from(job.chunks);
            region.waiting += u64::from(job.waiting);
            region.only_coming = false;
        }
        for coming in &self.view.coming {
            let left_s = finite(coming.encode_s);
            let Some(r) = self.place(&coming.region).filter(|_| left_s > 0.0) else { continue };
            let wait_s = coming.expected.since_s(self.now);
            let region = &mut self.regions[r];
            if wait_s > region.boot_s {
                if wait_s <= region.boot_s + patience_s {
                    region.soon += 1;
                    region.soon_s += left_s;
                }
                continue;
            }
            region.loads.push(Load {
                total_s: left_s,
                left_s,
                submitted: coming.expected,
                deadline: coming.ready_by.unwrap_or_else(|| coming.expected.plus_s(ready_within_s)),
            });
            region.work_s += left_s;
            // Chunks of half a minute; how many there really are shows when it is planned.
            region.chunks += (left_s / 30.0).ceil().min(1e9) as u64;
            region.soon += 1;
            region.soon_s += left_s;
        }
    }

    fn place(&self, name: &RegionName) -> Option<usize> {
        // Names of one fleet are mostly the same text in the same place, and there is one for each job.
        let same = self.regions.iter().position(|r| r.name.is_same(name));
        same.or_else(|| self.regions.iter().position(|r| r.name == *name))
    }

    /// Work of regions that have no instance and can start none counts for the cheapest region that can.
    pub(super) fn lend(&mut self, policy: &Policy) {
        let stuck: Vec<usize> = (0..self.regions.len())
            .filter(|r| !self.regions[*r].loads.is_empty() && !self.can_work(*r, policy, true))
            .collect();
        for from in stuck {
            let able = (0..self.regions.len()).filter(|r| self.can_work(*r, policy, false));
            let Some(to) = able.min_by(|a, b| self.cheapest(*a, policy).total_cmp(&self.cheapest(*b, policy))) else {
                return;
            };
            let source = &mut self.regions[from];
            let work_s = std::mem::take(&mut source.work_s);
            let (loads, only_coming) = (std::mem::take(&mut source.loads), source.only_coming);
            let (chunks, waiting) = (std::mem::take(&mut source.chunks), std::mem::take(&mut source.waiting));
            let (soon, soon_s) = (std::mem::take(&mut source.soon), std::mem::take(&mut source.soon_s));
            let target = &mut self.regions[to];
            target.loads.extend(loads);
            target.work_s += work_s;
            target.chunks += chunks;
            target.waiting += waiting;
            target.soon += soon;
            target.soon_s += soon_s;
            target.only_coming &= only_coming;
            let (from, to) = (self.regions[from].name.clone(), self.regions[to].name.clone());
            self.reasons.push(Reason::Elsewhere { from, to, work_s });
        }
    }

    /// Whether a region answers and has, or could start, an instance.
    fn can_work(&self, r: usize, policy: &Policy, or_is_full: bool) -> bool {
        let region = &self.regions[r];
        region.healthy
            && region.pools.iter().any(|p| {
                let pool = &self.view.pools[*p];
                let startable = pool.blocked.is_none_or(|b| b.until <= self.now)
                    && policy.rule.uses(pool.pool.option)
                    && (or_is_full || self.room(*p) > 0);
                startable && pool.pool.max_instances > 0 || self.counted(*p) > 0
            })
    }

    fn cheapest(&self, r: usize, policy: &Policy) -> f64 {
        let pools = self.regions[r].pools.iter().map(|p| &self.view.pools[*p].pool);
        pools.filter(|p| policy.rule.uses(p.option)).map(|p| cost(p)).fold(f64::INFINITY, f64::min)
    }
}
