//! The desk at which a rule works: the view sorted by region, a ledger to draw from, and the sheet of actions.

use super::{Action, Cause, Decision, Obstacle, Reason};
use crate::ledger::Ledger;
use crate::moment::Moment;
use crate::policy::Policy;
use crate::pools::{InstanceId, Pool, PurchaseOption, RegionName};
use crate::view::{FleetView, Phase, PoolView};

/// A rate below this counts as none: what is left over when rates are subtracted.
const NO_RATE: f64 = 1e-9;

/// What a job or an upload asks of a region.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Load {
    /// Encode-seconds of the whole.
    pub total_s: f64,
    /// Encode-seconds that are left.
    pub left_s: f64,
    /// When it was handed in.
    pub submitted: Moment,
    /// When it must be ready.
    pub deadline: Moment,
}

/// What is known and planned of a region.
#[derive(Debug)]
pub(crate) struct RegionDesk {
    pub name: RegionName,
    healthy: bool,
    /// Places in the view of its pools, the cheapest encode-second first.
    pools: Vec<usize>,
    /// What can start now or within a boot time, the earliest deadline first.
    pub loads: Vec<Load>,
    /// Sum of what is left, encode-seconds.
    pub work_s: f64,
    /// Chunks that are not done, 1 for an upload.
    chunks: u64,
    /// Chunks that no worker has yet.
    waiting: u64,
    /// Whether all of the work is still being uploaded.
    pub only_coming: bool,
    /// Seconds until the first upload that is too far away to count as work.
    next_coming_s: f64,
    /// Work handed over from or to another region.
    lent: bool,
}

/// How much a rule asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Need {
    /// Encode-seconds a second.
    Rate(f64),
    /// Instances.
    Count(u32),
}

/// The desk.
#[derive(Debug)]
pub(crate) struct Desk<'a> {
    pub now: Moment,
    view: &'a FleetView,
    ledger: Ledger,
    /// Instances that are started, by place of the pool.
    planned: Vec<u32>,
    pub regions: Vec<RegionDesk>,
    pub reasons: Vec<Reason>,
    extra: Vec<Action>,
    ended: Vec<Action>,
}

impl<'a> Desk<'a> {
    pub(crate) fn new(now: Moment, view: &'a FleetView, policy: &Policy) -> Self {
        let mut desk = Self {
            now,
            view,
            ledger: Ledger::of(view),
            planned: vec![0; view.pools.len()],
            regions: Vec::with_capacity(view.regions.len()),
            reasons: Vec::new(),
            extra: Vec::new(),
            ended: Vec::new(),
        };
        for region in &view.regions {
            if desk.regions.iter().any(|r| r.name == region.name) {
                continue;
            }
            let mut pools: Vec<usize> =
                (0..view.pools.len()).filter(|i| view.pools[*i].pool.region == region.name).collect();
            pools.sort_by(|a, b| cost(&view.pools[*a].pool).total_cmp(&cost(&view.pools[*b].pool)));
            desk.regions.push(RegionDesk {
                name: region.name.clone(),
                healthy: region.healthy,
                pools,
                loads: Vec::new(),
                work_s: 0.0,
                chunks: 0,
                waiting: 0,
                only_coming: true,
                next_coming_s: f64::INFINITY,
                lent: false,
            });
        }
        desk.take_work(policy.ready_within_s);
        desk.lend(policy);
        for region in &mut desk.regions {
            region.loads.sort_by_key(|l| (l.deadline, l.submitted));
        }
        desk
    }

    fn take_work(&mut self, ready_within_s: f64) {
        let mut last = 0;
        for job in &self.view.work {
            let left_s = finite(job.left_s);
            if left_s <= 0.0 || job.chunks == 0 {
                continue;
            }
            let Some(r) = self.place(&job.region, &mut last) else { continue };
            let wait_s = job.not_before.since_s(self.now);
            let boot_s = self.boot_s(r);
            let region = &mut self.regions[r];
            if wait_s > boot_s {
                region.next_coming_s = region.next_coming_s.min(wait_s);
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
            let Some(r) = self.place(&coming.region, &mut last).filter(|_| left_s > 0.0) else { continue };
            let wait_s = coming.expected.since_s(self.now);
            let boot_s = self.boot_s(r);
            let region = &mut self.regions[r];
            if wait_s > boot_s {
                region.next_coming_s = region.next_coming_s.min(wait_s);
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
            region.waiting += 1;
        }
    }

    fn place(&self, name: &RegionName, last: &mut usize) -> Option<usize> {
        if self.regions.get(*last).is_some_and(|r| r.name == *name) {
            return Some(*last);
        }
        *last = self.regions.iter().position(|r| r.name == *name)?;
        Some(*last)
    }

    /// The longest median boot time of a region's pools, seconds: work within it already counts.
    fn boot_s(&self, r: usize) -> f64 {
        let pools = self.regions[r].pools.iter();
        pools.map(|p| finite(self.view.pools[*p].pool.boot.median_s)).fold(0.0, f64::max)
    }

    /// Work of regions that have no instance and can start none counts for the cheapest region that can.
    fn lend(&mut self, policy: &Policy) {
        let stuck: Vec<usize> = (0..self.regions.len())
            .filter(|r| !self.regions[*r].loads.is_empty() && !self.can_work(*r, policy, true))
            .collect();
        for from in stuck {
            let able = (0..self.regions.len()).filter(|r| self.can_work(*r, policy, false));
            let Some(to) = able.min_by(|a, b| self.cheapest(*a, policy).total_cmp(&self.cheapest(*b, policy))) else {
                return;
            };
            let loads = std::mem::take(&mut self.regions[from].loads);
            let (work_s, chunks) = (self.regions[from].work_s, self.regions[from].chunks);
            let (waiting, only_coming) = (self.regions[from].waiting, self.regions[from].only_coming);
            let source = &mut self.regions[from];
            (source.work_s, source.chunks, source.waiting, source.lent) = (0.0, 0, 0, true);
            let target = &mut self.regions[to];
            target.loads.extend(loads);
            target.work_s += work_s;
            target.chunks += chunks;
            target.waiting += waiting;
            target.only_coming &= only_coming;
            target.lent = true;
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
                startable && pool.pool.max_instances > 0 || serving(pool) > 0
            })
    }

    fn cheapest(&self, r: usize, policy: &Policy) -> f64 {
        let pools = self.regions[r].pools.iter().map(|p| &self.view.pools[*p].pool);
        pools.filter(|p| policy.rule.uses(p.option)).map(|p| cost(p)).fold(f64::INFINITY, f64::min)
    }

    /// Instances that a pool still admits, by quota and by its own limit.
    fn room(&self, place: usize) -> u32 {
        let pool = &self.view.pools[place];
        let taken = pool.charged().saturating_add(self.planned[place]);
        self.ledger.room(&pool.pool).min(pool.pool.max_instances.saturating_sub(taken))
    }

    /// Pools of a region with this option, the cheapest encode-second first.
    pub(crate) fn pools(&self, r: usize, option: PurchaseOption) -> impl Iterator<Item = (usize, &'a PoolView)> {
        let view = self.view;
        let places = self.regions[r].pools.iter();
        places.map(move |p| (*p, &view.pools[*p])).filter(move |(_, pool)| pool.pool.option == option)
    }

    /// Whether something can be started in this pool now.
    pub(crate) fn is_open(&self, r: usize, place: usize) -> bool {
        let blocked = self.view.pools[place].blocked.is_some_and(|b| b.until > self.now);
        self.regions[r].healthy && !blocked && self.room(place) > 0
    }

    /// Instances of an option that work, will work or were started just now.
    pub(crate) fn count(&self, r: usize, option: PurchaseOption) -> u32 {
        self.pools(r, option).map(|(p, pool)| serving(pool) + pool.requested + self.planned[p]).sum()
    }

    /// Encode-seconds a second of those.
    pub(crate) fn rate(&self, r: usize, option: PurchaseOption) -> f64 {
        self.pools(r, option)
            .map(|(p, pool)| f64::from(serving(pool) + pool.requested + self.planned[p]) * rate_of(&pool.pool))
            .sum()
    }

    /// Encode-seconds a second of both options.
    pub(crate) fn have(&self, r: usize) -> f64 {
        PurchaseOption::ALL.into_iter().map(|o| self.rate(r, o)).sum()
    }

    /// Encode-seconds a second that an option could give in a region: what is there and what quotas still admit. Pools
    /// that share a quota count with what the cheaper ones leave.
    pub(crate) fn rate_at_most(&self, r: usize, option: PurchaseOption) -> f64 {
        let mut ledger = self.ledger.clone();
        let mut rate = self.rate(r, option);
        for (place, pool) in self.pools(r, option) {
            if !self.is_open(r, place) {
                continue;
            }
            let own = pool.pool.max_instances.saturating_sub(pool.charged().saturating_add(self.planned[place]));
            let more = ledger.room(&pool.pool).min(own);
            ledger.charge(&pool.pool, more);
            rate += f64::from(more) * rate_of(&pool.pool);
        }
        rate
    }

    /// Notes what a region has and what the rule wants.
    pub(crate) fn note_load(&mut self, r: usize, want: f64) {
        let (region, work_s) = (self.regions[r].name.clone(), self.regions[r].work_s);
        let have = self.have(r);
        self.reasons.push(Reason::Load { region, work_s, have, want });
    }

    /// What work is started for when the rule has no better reason.
    pub(crate) fn cause(&self, r: usize) -> Cause {
        if self.regions[r].only_coming { Cause::Upload } else { Cause::Work }
    }

    /// Starts instances of an option in a region, the cheapest pools first, as far as chunks, quotas and failures admit.
    /// Gives what is still missing, as a rate.
    pub(crate) fn start(&mut self, r: usize, option: PurchaseOption, need: Need, cause: Cause) -> f64 {
        let mut need = need;
        let candidates: Vec<usize> = self.pools(r, option).map(|(p, _)| p).collect();
        let slots: u64 = PurchaseOption::ALL
            .into_iter()
            .flat_map(|o| self.pools(r, o))
            .map(|(p, pool)| {
                u64::from(serving(pool) + pool.requested + self.planned[p]) * u64::from(pool.pool.slots.max(1))
            })
            .sum();
        let mut useful = self.regions[r].chunks.saturating_sub(slots);
        for place in candidates {
            if need.is_met() || useful == 0 {
                break;
            }
            let pool = self.view.pools[place].pool.clone();
            if let Some(obstacle) = self.obstacle(r, place) {
                self.reasons.push(Reason::PassedOver { pool: pool.id.clone(), obstacle });
                continue;
            }
            if self.done_before_boot(r, &pool) {
                return 0.0;
            }
            let slots = u64::from(pool.slots.max(1));
            let most = u32::try_from(useful.div_ceil(slots)).unwrap_or(u32::MAX);
            let count = need.instances(rate_of(&pool)).min(self.room(place)).min(most);
            if count == 0 {
                continue;
            }
            self.ledger.charge(&pool, count);
            self.planned[place] += count;
            useful = useful.saturating_sub(slots * u64::from(count));
            need = need.less(count, rate_of(&pool));
            self.reasons.push(Reason::Started { pool: pool.id.clone(), count, cause });
        }
        if useful == 0 { 0.0 } else { need.missing() }
    }

    /// Notes that no pool can give what a rule asks for.
    pub(crate) fn note_short(&mut self, r: usize, missing: f64) {
        if missing > NO_RATE {
            self.reasons.push(Reason::Short { region: self.regions[r].name.clone(), missing });
        }
    }

    fn obstacle(&self, r: usize, place: usize) -> Option<Obstacle> {
        let pool = &self.view.pools[place];
        if let Some(block) = pool.blocked.filter(|b| b.until > self.now) {
            return Some(Obstacle::Failed { kind: block.kind, for_s: block.until.since_s(self.now) });
        }
        if !self.regions[r].healthy || rate_of(&pool.pool) <= NO_RATE {
            return Some(Obstacle::Limit);
        }
        if self.ledger.room(&pool.pool) == 0 {
            return Some(Obstacle::Quota);
        }
        (self.room(place) == 0).then_some(Obstacle::Limit)
    }

    /// Whether workers that are there finish everything before a new instance would have booted.
    fn done_before_boot(&self, r: usize, pool: &Pool) -> bool {
        let working: f64 = self.regions[r]
            .pools
            .iter()
            .map(|p| &self.view.pools[*p])
            .map(|p| f64::from(p.count(Phase::Idle) + p.count(Phase::Busy)) * rate_of(&p.pool))
            .sum();
        working * finite(pool.boot.median_s) > self.regions[r].work_s
    }

    /// Asks a busy instance to drain.
    pub(crate) fn drain(&mut self, place: usize, instance: &InstanceId, ahead_s: f64) {
        let pool = self.view.pools[place].pool.id.clone();
        self.ended.push(Action::Drain { pool, instance: instance.clone() });
        self.reasons.push(Reason::AheadOfPlan { instance: instance.clone(), ahead_s });
    }

    /// Gives a chunk a second attempt.
    pub(crate) fn hedge(&mut self, action: Action, reason: Reason) {
        self.extra.push(action);
        self.reasons.push(reason);
    }

    /// The view that the desk was built from.
    pub(crate) fn view(&self) -> &'a FleetView {
        self.view
    }

    /// Ends instances that have been idle for as long as the policy says, in regions without work that waits or comes.
    pub(crate) fn end_idle(&mut self, idle_after_s: f64) {
        let patience_s = finite(idle_after_s);
        for r in 0..self.regions.len() {
            let boot_s = self.boot_s(r);
            let region = &self.regions[r];
            let expected = region.waiting > 0 || region.only_coming && !region.loads.is_empty();
            let soon = region.next_coming_s <= boot_s + patience_s;
            let (mut stays, mut first_s) = (0, f64::INFINITY);
            for place in region.pools.clone() {
                let pool = &self.view.pools[place];
                for instance in pool.instances.iter().filter(|i| i.phase == Phase::Idle) {
                    let idle_s = self.now.since_s(instance.since);
                    if idle_s >= patience_s && !expected && !soon {
                        let (pool, instance) = (pool.pool.id.clone(), instance.id.clone());
                        self.ended.push(Action::End { pool, instance: instance.clone() });
                        self.reasons.push(Reason::IdleEnds { instance, idle_s });
                    } else {
                        stays += 1;
                        first_s = first_s.min((patience_s - idle_s).max(0.0));
                    }
                }
            }
            if stays > 0 {
                let region = self.regions[r].name.clone();
                self.reasons.push(Reason::IdleStays { region, count: stays, for_s: first_s });
            }
        }
    }

    pub(crate) fn decision(self, policy: &'static str) -> Decision {
        let started = self.view.pools.iter().zip(&self.planned).filter(|(_, n)| **n > 0);
        let started = started.map(|(pool, count)| Action::Start { pool: pool.pool.id.clone(), count: *count });
        let actions = started.chain(self.extra).chain(self.ended).collect();
        Decision { at: self.now, policy, actions, reasons: self.reasons }
    }
}

impl Need {
    fn is_met(self) -> bool {
        match self {
            Self::Rate(rate) => rate.is_nan() || rate <= NO_RATE,
            Self::Count(count) => count == 0,
        }
    }

    fn instances(self, rate: f64) -> u32 {
        match self {
            Self::Rate(wanted) => ((wanted / rate) - 1e-6).ceil().clamp(0.0, f64::from(u32::MAX)) as u32,
            Self::Count(count) => count,
        }
    }

    fn less(self, count: u32, rate: f64) -> Self {
        match self {
            Self::Rate(wanted) => Self::Rate(wanted - f64::from(count) * rate),
            Self::Count(wanted) => Self::Count(wanted.saturating_sub(count)),
        }
    }

    fn missing(self) -> f64 {
        match self {
            Self::Rate(rate) if !self.is_met() => rate,
            Self::Count(count) => f64::from(count),
            Self::Rate(_) => 0.0,
        }
    }
}

/// Instances that work or will.
fn serving(pool: &PoolView) -> u32 {
    let working = pool.instances.iter().filter(|i| i.phase != Phase::Draining).count();
    u32::try_from(working).unwrap_or(u32::MAX)
}

/// What is not a finite positive number counts as zero, and nothing counts for more than 30,000 years.
pub(crate) fn finite(x: f64) -> f64 {
    if x.is_finite() { x.clamp(0.0, 1e12) } else { 0.0 }
}

/// Encode-seconds a second of one instance.
pub(crate) fn rate_of(pool: &Pool) -> f64 {
    finite(pool.encode_rate)
}

/// What an encode-second costs; a pool without a rate is the last choice.
fn cost(pool: &Pool) -> f64 {
    if rate_of(pool) > NO_RATE { pool.usd_per_encode_s() } else { f64::INFINITY }
}
