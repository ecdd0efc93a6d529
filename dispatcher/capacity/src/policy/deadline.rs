//! Spot as long as every ready-by can be met, on-demand as a safety net.
//!
//! After "Can't Be Late: Optimizing Spot Instance Savings under Deadlines" (Wu et al., NSDI 2024), lifted from one job to
//! a queue: jobs in order of their deadlines, and each rule holds for every prefix of that order.
//!
//! - **Spot** is started so that everything is ready in time with room to spare, and beyond that while there is an hour of
//!   work for each instance. Not more: each instance pays for its boot, and waiting costs nothing. Not less: what is not done
//!   while spot is there stands in the way of what comes later.
//! - **Safety net**: when on-demand, started one boot from now, could only just meet a deadline, and what is there does not
//!   suffice, on-demand is started. A spot instance that suffices is used until it is taken back.
//! - **Uniform progress** ([`Pace::Uniform`]): when work is further behind the straight line from hand-in to deadline than
//!   an on-demand instance must do to be worth its boot, one is started; when work is ahead of the line again, it drains, so
//!   that the slack it won is spent on spot. One match of ninety minutes on a T4 is less than that, so it waits for spot
//!   until the safety net.

use super::stragglers::relieve;
use super::{LONG_S, Parameter};
use crate::decide::{Cause, Desk, Load, Need, finite, rate_of};
use crate::pools::{InstanceId, PurchaseOption};
use crate::view::Phase;

/// Least time to a deadline that is divided by, seconds.
const LEAST_S: f64 = 60.0;

/// When on-demand is started for work that spot does not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// As soon as progress is behind a straight line.
    Uniform,
    /// As late as the deadline allows.
    Latest,
}

/// Spot as long as every ready-by can be met.
#[derive(Clone, Debug, PartialEq)]
pub struct Deadline {
    /// When on-demand is started.
    pub pace: Pace,
    /// Spot is planned to finish in this part of the time that is left: 2 is half of it.
    pub lead: f64,
    /// Spot beyond that is started while there are this many seconds of work for each instance.
    pub spread_s: f64,
    /// Seconds before a ready-by at which everything should be encoded: publication, and what estimates are off by.
    pub margin_s: f64,
    /// An on-demand instance is worth its boot when it then works for this many boot times.
    pub worth_boots: f64,
    /// Whether busy on-demand instances are drained when work is ahead of uniform progress: 1 or 0.
    pub drain: f64,
    /// A chunk that is this many times slower than its siblings is split while somebody has nothing to do; 0 for never.
    pub slower: f64,
}

impl Default for Deadline {
    fn default() -> Self {
        Self {
            pace: Pace::Uniform,
            lead: 1.5,
            spread_s: 3600.0,
            margin_s: 600.0,
            worth_boots: 4.0,
            drain: 1.0,
            slower: 3.0,
        }
    }
}

/// On-demand in a region: what the net and the pace count with.
struct OnDemand {
    /// Encode-seconds a second of one instance of the cheapest pool.
    single: f64,
    /// Encode-seconds a second of all that the quota admits.
    most: f64,
    /// Seconds that nine of ten boots take.
    boot_p90_s: f64,
    /// Seconds that an instance must work to be worth its boot.
    worth_s: f64,
}

/// A deadline with all work that comes before it.
#[derive(Clone, Copy)]
struct Prefix {
    /// Seconds until it, less the margin.
    time_s: f64,
    /// Encode-seconds left.
    left_s: f64,
    /// Encode-seconds that uniform progress would have left.
    line_s: f64,
    /// Encode-seconds a second of uniform progress.
    uniform: f64,
}

impl Deadline {
    pub(super) fn parameters(&mut self) -> Vec<Parameter<'_>> {
        vec![
            ("lead", &mut self.lead, 1.0..=100.0),
            ("spread_s", &mut self.spread_s, 60.0..=LONG_S),
            ("margin_s", &mut self.margin_s, 0.0..=LONG_S),
            ("worth_boots", &mut self.worth_boots, 0.0..=1000.0),
            ("drain", &mut self.drain, 0.0..=1.0),
            ("slower", &mut self.slower, 0.0..=1000.0),
        ]
    }

    pub(super) fn apply(&self, desk: &mut Desk<'_>) {
        for r in 0..desk.regions.len() {
            if !desk.regions[r].loads.is_empty() {
                self.region(desk, r);
            }
        }
        relieve(desk, self.slower);
    }

    fn region(&self, desk: &mut Desk<'_>, r: usize) {
        let prefixes = self.prefixes(desk, &desk.regions[r].loads, 0.0);
        let want = self.spot_rate(desk, r, &prefixes);
        desk.note_load(r, want);
        let missing = want - desk.have(r);
        let short = desk.start(r, PurchaseOption::Spot, Need::Rate(missing), desk.cause(r));
        let Some(on_demand) = self.on_demand(desk, r) else {
            desk.note_short(r, short);
            return;
        };
        let in_danger = self.safety_net(desk, r, &prefixes, &on_demand);
        let behind = self.keep_pace(desk, r, &prefixes, &on_demand);
        if !in_danger && !behind && self.drain >= 0.5 && self.pace == Pace::Uniform {
            self.drain_one(desk, r, &on_demand);
        }
    }

    /// All prefixes of the order of deadlines, with uniform progress `ahead_s` from now.
    fn prefixes(&self, desk: &Desk<'_>, loads: &[Load], ahead_s: f64) -> Vec<Prefix> {
        let mut sum = Prefix { time_s: 0.0, left_s: 0.0, line_s: 0.0, uniform: 0.0 };
        let mut prefixes = Vec::with_capacity(loads.len());
        for (i, load) in loads.iter().enumerate() {
            let window_s = (load.deadline.since_s(load.submitted) - self.margin_s).max(LEAST_S);
            sum.time_s = load.deadline.since_s(desk.now) - self.margin_s;
            sum.left_s += load.left_s;
            sum.line_s += load.total_s * ((sum.time_s - ahead_s) / window_s).clamp(0.0, 1.0);
            sum.uniform += load.total_s / window_s;
            // Equal deadlines are one prefix: only the last of them counts.
            if loads.get(i + 1).is_none_or(|next| next.deadline != load.deadline) {
                prefixes.push(sum);
            }
        }
        prefixes
    }

    /// Encode-seconds a second that finish everything early enough, or give each instance `spread_s` of work; but no more
    /// than gives each a boot time of work.
    fn spot_rate(&self, desk: &Desk<'_>, r: usize, prefixes: &[Prefix]) -> f64 {
        let boots = PurchaseOption::ALL.into_iter().flat_map(|o| desk.pools(r, o)).map(|(_, p)| p.pool.boot.median_s);
        let boot_s = boots.map(finite).fold(0.0, f64::max).max(LEAST_S);
        let needed = prefixes.iter().map(|p| p.left_s * self.lead / p.time_s.max(LEAST_S)).fold(0.0, f64::max);
        let work_s = desk.regions[r].work_s;
        needed.max(work_s / self.spread_s).min(work_s / boot_s)
    }

    fn on_demand(&self, desk: &Desk<'_>, r: usize) -> Option<OnDemand> {
        let (_, cheapest) = desk.pools(r, PurchaseOption::OnDemand).find(|(p, pool)| {
            desk.is_open(r, *p) || pool.requested > 0 || pool.instances.iter().any(|i| i.phase != Phase::Draining)
        })?;
        let boots = desk.pools(r, PurchaseOption::OnDemand).map(|(_, p)| finite(p.pool.boot.p90_s));
        Some(OnDemand {
            single: rate_of(&cheapest.pool).max(f64::MIN_POSITIVE),
            most: desk.rate_at_most(r, PurchaseOption::OnDemand).max(f64::MIN_POSITIVE),
            boot_p90_s: boots.fold(0.0, f64::max),
            worth_s: self.worth_boots * finite(cheapest.pool.boot.median_s),
        })
    }

    /// Starts on-demand where it could only just meet a deadline. `true` when there is such a deadline.
    fn safety_net(&self, desk: &mut Desk<'_>, r: usize, prefixes: &[Prefix], on_demand: &OnDemand) -> bool {
        // Spot counts as far as on-demand could take its place.
        let own = desk.rate(r, PurchaseOption::OnDemand);
        let have = own + desk.rate(r, PurchaseOption::Spot).min((on_demand.most - own).max(0.0));
        let (mut want, mut tightest_s) = (0.0_f64, f64::INFINITY);
        for prefix in prefixes {
            // As many at once as the quota admits, but each of them long enough to be worth its boot.
            let alone_s = prefix.left_s / on_demand.single;
            let need_s = (prefix.left_s / on_demand.most).max(on_demand.worth_s.min(alone_s)).max(1.0);
            // One boot is that of on-demand; the other may be lost with a spot instance that is taken back as it boots.
            let room_s = prefix.time_s - on_demand.boot_p90_s;
            let slack_s = room_s - on_demand.boot_p90_s - need_s;
            // What is late already is not left later: more instances then, for a shorter time.
            let net = prefix.left_s / need_s.min(room_s.max(LEAST_S)).max(prefix.left_s / on_demand.most);
            if slack_s <= 0.0 && have < net * (1.0 - 1e-6) {
                want = want.max(net);
                tightest_s = tightest_s.min(slack_s);
            }
        }
        if want <= 0.0 {
            return false;
        }
        let cause = Cause::SafetyNet { slack_s: tightest_s };
        let missing = desk.start(r, PurchaseOption::OnDemand, Need::Rate(want - have), cause);
        desk.note_short(r, missing);
        true
    }

    /// Starts on-demand where work is far behind uniform progress. `true` when it is.
    fn keep_pace(&self, desk: &mut Desk<'_>, r: usize, prefixes: &[Prefix], on_demand: &OnDemand) -> bool {
        if self.pace == Pace::Latest {
            return false;
        }
        let have = desk.have(r);
        let worth = on_demand.worth_s * on_demand.single;
        let behind = prefixes.iter().filter(|p| p.left_s - p.line_s > worth && have < p.uniform * (1.0 - 1e-6));
        let Some(worst) = behind.max_by(|a, b| a.uniform.total_cmp(&b.uniform)).copied() else { return false };
        let cause = Cause::BehindUniformProgress { behind_s: worst.left_s - worst.line_s };
        desk.start(r, PurchaseOption::OnDemand, Need::Rate(worst.uniform - have), cause);
        true
    }

    /// Drains one busy on-demand instance when work is ahead of uniform progress by two boots, and what is left is enough
    /// for the change to pay (`o > 2kd/(k-1)` in the paper, with `k` the ratio of prices and `d` the boot time).
    fn drain_one(&self, desk: &mut Desk<'_>, r: usize, on_demand: &OnDemand) {
        let Some((place, instance)) = last_busy(desk, r) else { return };
        let pool = &desk.view().pools[place].pool;
        let boot_s = finite(pool.boot.median_s);
        let Some((_, spot)) = desk.pools(r, PurchaseOption::Spot).next() else { return };
        let ratio = pool.usd_per_encode_s() / spot.pool.usd_per_encode_s();
        let pays_s = 2.0 * ratio * boot_s / (ratio - 1.0);
        let stays = desk.regions[r].work_s / desk.have(r).max(on_demand.single);
        if ratio.is_nan() || ratio <= 1.0 || stays < pays_s {
            return;
        }
        let later = self.prefixes(desk, &desk.regions[r].loads, 2.0 * boot_s);
        let ahead_s = later.iter().map(|p| p.line_s - p.left_s).fold(f64::INFINITY, f64::min);
        if ahead_s >= 0.0 {
            desk.drain(place, &instance, ahead_s);
        }
    }
}

/// The busy on-demand instance that came last, in the dearest pool.
fn last_busy(desk: &Desk<'_>, r: usize) -> Option<(usize, InstanceId)> {
    let pools: Vec<_> = desk.pools(r, PurchaseOption::OnDemand).collect();
    pools.into_iter().rev().find_map(|(place, pool)| {
        let busy = pool.instances.iter().filter(|i| i.phase == Phase::Busy);
        busy.max_by(|a, b| (a.since, &a.id).cmp(&(b.since, &b.id))).map(|i| (place, i.id.clone()))
    })
}
