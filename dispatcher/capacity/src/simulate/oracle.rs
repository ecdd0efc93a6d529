//! What a scenario costs at least, for somebody who knows the future: a bound that no policy can beat while it meets every
//! deadline.
//!
//! The relaxed problem: work is a fluid, instances boot in no time and are billed by the moment, jobs may use any number
//! of instances of their region. For a set of pools, the work that they can do in time is a maximum matching of work to
//! places in time, and taking the earliest deadline first finds it (Glover's rule for convex bipartite graphs). The sets of
//! work that can be matched form a matroid, so adding pools from the cheapest encode-second on, and paying each for what
//! it adds, costs the least.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use serde::{Deserialize, Serialize};

use super::engine::Scenario;
use super::market::Spot;
use crate::moment::Moment;
use crate::policy::Policy;
use crate::pools::{Pool, PurchaseOption, Quota};

/// What a scenario costs at least.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Bound {
    /// Dollars for the work that can be done in time.
    pub usd: f64,
    /// Encode-seconds done on spot.
    pub spot_s: f64,
    /// Encode-seconds done on demand.
    pub on_demand_s: f64,
    /// Encode-seconds that no schedule does in time.
    pub late_s: f64,
}

/// A capacity: from each moment on, instances or encode-seconds a second.
type Steps<T> = Vec<(Moment, T)>;

/// The bound of a scenario, with deadlines as `policy` has them.
#[must_use]
pub fn bound(scenario: &Scenario, policy: &Policy) -> Bound {
    let mut sum = Bound::default();
    for (r, region) in scenario.fleet.regions.iter().enumerate() {
        let jobs: Vec<(Moment, Moment, f64)> = scenario
            .arrivals
            .jobs
            .iter()
            .filter(|a| a.region == region.name)
            .map(|a| (a.at, a.ready_by.unwrap_or_else(|| a.at.plus_s(policy.ready_within_s)), a.encode_s))
            .collect();
        let Some(start) = jobs.first().map(|j| j.0) else { continue };
        let end = jobs.iter().map(|j| j.1).max().unwrap_or(start);
        let mut pools: Vec<(usize, &Pool)> = scenario
            .fleet
            .pools
            .iter()
            .enumerate()
            .filter(|(_, p)| p.region == region.name && policy.rule.uses(p.option))
            .map(|(i, p)| (i, p.as_ref()))
            .collect();
        pools.sort_by(|a, b| a.1.usd_per_encode_s().total_cmp(&b.1.usd_per_encode_s()));
        let mut done_s = 0.0;
        let mut known: Vec<(&Pool, Steps<u32>)> = Vec::new();
        for (i, pool) in pools {
            known.push((pool, available(scenario, i, r, pool, start, end)));
            let with_it_s = in_time(&jobs, &joined(&known, &region.quotas)).max(done_s);
            let more_s = with_it_s - done_s;
            done_s = with_it_s;
            sum.usd += more_s * pool.usd_per_encode_s();
            match pool.option {
                PurchaseOption::Spot => sum.spot_s += more_s,
                PurchaseOption::OnDemand => sum.on_demand_s += more_s,
            }
        }
        sum.late_s += (jobs.iter().map(|j| j.2).sum::<f64>() - done_s).max(0.0);
    }
    sum
}

/// Instances that a pool could have over time, whenever its market is up.
fn available(scenario: &Scenario, place: usize, region: usize, pool: &Pool, start: Moment, end: Moment) -> Steps<u32> {
    let spot = if pool.option == PurchaseOption::Spot { &scenario.spot } else { &Spot::Always };
    let mut market = spot.market(scenario.seed, place, region, scenario.start());
    let mut steps = Vec::new();
    let mut at = start;
    loop {
        while market.until() <= at {
            market.step();
        }
        steps.push((at, market.level().min(pool.max_instances)));
        at = market.until();
        if at >= end {
            return steps;
        }
    }
}

/// What pools could do together over time. Pools that share a quota fill it with the fastest instances that can be had.
fn joined(pools: &[(&Pool, Steps<u32>)], quotas: &[Quota]) -> Steps<f64> {
    let mut borders: Vec<Moment> = pools.iter().flat_map(|(_, steps)| steps).map(|(at, _)| *at).collect();
    borders.sort_unstable();
    borders.dedup();
    let mut fastest: Vec<usize> = (0..pools.len()).collect();
    let per_vcpu = |p: &Pool| p.encode_rate / f64::from(p.vcpu.max(1));
    fastest.sort_by(|a, b| per_vcpu(pools[*b].0).total_cmp(&per_vcpu(pools[*a].0)));
    let mut places = vec![0; pools.len()];
    let mut joined = Vec::with_capacity(borders.len());
    for at in borders {
        let mut free: Vec<u32> = quotas.iter().map(|q| q.vcpu).collect();
        let mut rate = 0.0;
        for i in fastest.iter().copied() {
            let (pool, steps) = &pools[i];
            while steps.get(places[i] + 1).is_some_and(|(next, _)| *next <= at) {
                places[i] += 1;
            }
            let level = steps.get(places[i]).filter(|(from, _)| *from <= at).map_or(0, |(_, level)| *level);
            let quota = quotas.iter().position(|q| q.family == pool.family && q.option == pool.option);
            let Some(free) = quota.and_then(|q| free.get_mut(q)) else { continue };
            let count = level.min(*free / pool.vcpu.max(1));
            *free -= count * pool.vcpu;
            rate += f64::from(count) * pool.encode_rate;
        }
        joined.push((at, rate));
    }
    joined
}

/// The most work that a capacity can do between arrivals and deadlines, encode-seconds.
fn in_time(jobs: &[(Moment, Moment, f64)], steps: &[(Moment, f64)]) -> f64 {
    let mut open: BinaryHeap<Reverse<(Moment, usize)>> = BinaryHeap::new();
    let mut left_s: Vec<f64> = jobs.iter().map(|j| j.2).collect();
    let (mut next, mut done_s) = (0, 0.0);
    for (i, (from, rate)) in steps.iter().enumerate() {
        let until = steps.get(i + 1).map_or(Moment::NEVER, |(at, _)| *at);
        let mut now = *from;
        while now < until {
            while jobs.get(next).is_some_and(|j| j.0 <= now) {
                open.push(Reverse((jobs[next].1, next)));
                next += 1;
            }
            let arrival = jobs.get(next).map_or(Moment::NEVER, |j| j.0);
            let Some(Reverse((deadline, job))) = open.peek().copied() else {
                if arrival == Moment::NEVER {
                    break;
                }
                now = arrival;
                continue;
            };
            if deadline <= now || left_s[job] <= 1e-6 {
                open.pop();
                continue;
            }
            let border = until.min(arrival).min(deadline);
            let could_s = rate * border.since_s(now);
            if *rate > 0.0 && left_s[job] <= could_s {
                done_s += left_s[job];
                // At least a millisecond, so that time moves.
                now = now.plus_s((left_s[job] / rate).max(0.001)).min(border);
                left_s[job] = 0.0;
            } else {
                done_s += could_s;
                left_s[job] -= could_s;
                now = border;
            }
        }
    }
    done_s
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pools::Fleet;

    const HOUR: i64 = 3_600_000;

    #[test]
    fn the_earliest_deadline_first_does_the_most_in_time() {
        // One encode-second a second for an hour, nothing for an hour, then again.
        let steps = [(Moment(0), 1.0), (Moment(HOUR), 0.0), (Moment(2 * HOUR), 1.0), (Moment(3 * HOUR), 0.0)];
        let job = |from: i64, until: i64, work_s: f64| (Moment(from * HOUR), Moment(until * HOUR), work_s);
        assert_eq!(in_time(&[job(0, 4, 3600.0)], &steps), 3600.0);
        assert_eq!(in_time(&[job(0, 4, 9000.0)], &steps), 7200.0);
        assert_eq!(in_time(&[job(0, 1, 1800.0), job(0, 4, 5400.0)], &steps), 7200.0);
        assert_eq!(in_time(&[job(1, 2, 100.0)], &steps), 0.0);
    }

    #[test]
    fn pools_that_share_a_quota_fill_it_with_the_fastest() {
        let fleet = Fleet::parse(include_str!("../../../../infra/fleet.toml")).unwrap();
        let pool = |id: &str| fleet.pools.iter().find(|p| p.id.as_str() == id).unwrap().as_ref();
        let (slow, fast) = (pool("us-east-1/g4dn.xlarge/spot"), pool("us-east-1/g6.xlarge/spot"));
        let always = vec![(Moment(0), u32::MAX)];
        let later = vec![(Moment(0), 0), (Moment(5), 1)];
        let both = joined(&[(slow, always), (fast, later)], &fleet.regions[1].quotas);
        assert_eq!(both, [(Moment(0), 2.0 * 5.02), (Moment(5), 5.02 + 10.76)]);
    }
}
