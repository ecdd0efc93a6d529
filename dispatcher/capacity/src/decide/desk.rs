//! The desk at which a rule works: the view sorted by region, a ledger to draw from, and the sheet of actions.

mod idle;
mod work;

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
    /// The longest median boot time of its pools, seconds: work within it already counts.
    boot_s: f64,
    /// What can start now or within a boot time, the earliest deadline first.
    pub loads: Vec<Load>,
    /// Sum of what is left, encode-seconds.
    pub work_s: f64,
    /// Chunks that are not done, 1 for an upload.
    chunks: u64,
    /// Chunks that no worker has yet.
    pub waiting: u64,
    /// Whether all of the work is still being uploaded.
    pub only_coming: bool,
    /// Jobs and uploads that are not there yet, but soon enough to keep an idle instance for.
    soon: u64,
    /// Their work, encode-seconds.
    soon_s: f64,
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
    /// Instances that work or will, by place of the pool.
    serving: Vec<u32>,
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
            serving: view.pools.iter().map(serving).collect(),
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
            let boots = pools.iter().map(|p| finite(view.pools[*p].pool.boot.median_s));
            desk.regions.push(RegionDesk {
                name: region.name.clone(),
                healthy: region.healthy,
                boot_s: boots.fold(0.0, f64::max),
                pools,
                loads: Vec::with_capacity(view.work.len() + view.coming.len()),
                work_s: 0.0,
                chunks: 0,
                waiting: 0,
                only_coming: true,
                soon: 0,
                soon_s: 0.0,
            });
        }
        desk.take_work(policy);
        if policy.travels() {
            desk.lend(policy);
        }
        for region in &mut desk.regions {
            // As one number, which compares in a single step.
            region.loads.sort_by_key(|l| (i128::from(l.deadline.0) << 64) + i128::from(l.submitted.0));
        }
        desk
    }

    /// Instances that a pool still admits, by quota and by its own limit.
    fn room(&self, place: usize) -> u32 {
        let pool = &self.view.pools[place];
        let taken = pool.charged().saturating_add(self.planned[place]);
        self.ledger.room(place).min(pool.pool.max_instances.saturating_sub(taken))
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

    /// Instances of a pool that work, will work or were started just now.
    fn counted(&self, place: usize) -> u32 {
        self.serving[place].saturating_add(self.view.pools[place].requested).saturating_add(self.planned[place])
    }

    /// Instances of an option that work, will work or were started just now.
    pub(crate) fn count(&self, r: usize, option: PurchaseOption) -> u32 {
        self.pools(r, option).map(|(p, _)| self.counted(p)).fold(0, u32::saturating_add)
    }

    /// Encode-seconds a second of those.
    pub(crate) fn rate(&self, r: usize, option: PurchaseOption) -> f64 {
        self.pools(r, option).map(|(p, pool)| f64::from(self.counted(p)) * rate_of(&pool.pool)).sum()
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
            let more = ledger.room(place).min(own);
            ledger.charge(place, more);
            rate += f64::from(more) * rate_of(&pool.pool);
        }
        rate
    }

    /// Notes what a region has and what the rule wants.
    pub(crate) fn note_load(&mut self, r: usize, want: f64) {
        let (region, work_s) = (self.regions[r].name.clone(), self.regions[r].work_s);
        let have = self.have(r);
        let pools = self.regions[r].pools.iter().map(|place| &self.view.pools[*place]);
        let measured = pools.filter_map(|view| {
            let m = view.measured?;
            let pool = view.pool.id.clone();
            Some(Reason::Measured { pool, rate: m.rate, promised: m.promised, chunks: m.chunks })
        });
        self.reasons.extend(measured);
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
            .map(|(p, pool)| u64::from(self.counted(p)) * u64::from(pool.pool.slots.max(1)))
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
            self.ledger.charge(place, count);
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
        if self.ledger.room(place) == 0 {
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

    /// Does something about a slow chunk.
    pub(crate) fn relieve(&mut self, action: Action, reason: Reason) {
        self.extra.push(action);
        self.reasons.push(reason);
    }

    /// The view that the desk was built from.
    pub(crate) fn view(&self) -> &'a FleetView {
        self.view
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
