//! What holds whatever the numbers are.

use super::*;
use crate::policy::Rule;
use crate::simulate::arrivals;
use crate::simulate::oracle::bound;

fn scenario(fleet: Fleet, text: &str, spot: &str, seed: u64) -> Scenario {
    let arrivals = arrivals::parse(text, &fleet, seed).unwrap();
    Scenario { arrivals, fleet, spot: Spot::parse(spot).unwrap(), seed, settings: Settings::default() }
}

/// Scenarios that are fixed: what they showed once, they show again.
const FIXED: [(&str, &str, u64); 4] = [
    ("saturday:matches=24,ready_h=3", "rough", 1),
    ("weekend:matches=60,ready_h=2", "rough", 2),
    ("weekend:matches=60,ready_h=4", "process:hazard=0.3", 3),
    ("saturday:matches=30,ready_h=3,minutes=60", "process:up_h=1,down_h=1", 4),
];

#[test]
fn more_quota_never_gives_more_misses() {
    for name in Rule::NAMES {
        // A policy that never starts on-demand can only be as good as its market; all others are held to it.
        if name == "spot_only" || name == "static_mix" {
            continue;
        }
        for (arrivals, spot, seed) in FIXED {
            let mut before = u64::MAX;
            for times in [1, 2, 4, 16] {
                let outcome = run(&scenario(fleet_with_quota(times), arrivals, spot, seed), &policy(name));
                assert!(
                    outcome.missed <= before,
                    "{name}, {arrivals}, quota {times}: {} after {before}",
                    outcome.missed
                );
                before = outcome.missed;
                assert_adds_up(&outcome);
            }
        }
    }
}

#[test]
fn on_demand_alone_misses_least_and_the_bound_is_below_every_policy_that_meets_all_deadlines() {
    for (arrivals, spot, seed) in FIXED {
        let scenario = scenario(fleet_with_quota(4), arrivals, spot, seed);
        let usual = policy("on_demand_only:travel=0");
        let on_demand = run(&scenario, &usual);
        let least = bound(&scenario, &policy("deadline"));
        assert!(least.late_s < 1.0 && least.usd > 0.0);
        for name in Rule::NAMES {
            let outcome = run(&scenario, &policy(&format!("{name}:travel=0")));
            assert!(outcome.missed >= on_demand.missed, "{name}: {} {}", outcome.missed, on_demand.missed);
            if outcome.missed == 0 {
                assert!(outcome.costs.total().usd() > least.usd, "{name}");
            }
        }
    }
}

#[test]
fn everything_ends_and_nothing_is_left_running() {
    for name in Rule::NAMES {
        for (arrivals, spot, seed) in FIXED {
            let outcome = run(&scenario(fleet(|_| {}), arrivals, spot, seed), &policy(name));
            assert_eq!(outcome.unfinished, 0, "{name}, {arrivals}");
            assert_adds_up(&outcome);
            let last = outcome.samples.last().unwrap();
            assert_eq!((last.serving.iter().sum::<u32>(), last.booting), (0, 0), "{name}, {arrivals}");
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_outcome_and_another_seed_another() {
    let of = |seed| run(&scenario(fleet(|_| {}), "saturday:matches=12", "rough", seed), &policy("deadline"));
    assert_eq!(of(5), of(5));
    assert_ne!(of(5).costs, of(6).costs);
}

#[test]
fn quotas_are_never_exceeded_at_any_sample() {
    for (arrivals, spot, seed) in FIXED {
        let scenario = scenario(fleet(|_| {}), arrivals, spot, seed);
        for name in ["deadline", "hedge", "backlog"] {
            let outcome = run(&scenario, &policy(name));
            for sample in &outcome.samples {
                for region in &scenario.fleet.regions {
                    for quota in &region.quotas {
                        let pools = scenario.fleet.pools.iter().zip(&sample.serving);
                        let pools = pools.filter(|(p, _)| p.region == region.name && p.option == quota.option);
                        assert!(pools.map(|(p, n)| p.vcpu * n).sum::<u32>() <= quota.vcpu);
                    }
                }
            }
        }
    }
}

#[test]
fn stragglers_are_split_or_taken_back_where_several_machines_share_a_queue() {
    // As fast as a small machine without a GPU: on fast ones the last chunks are too short to be judged.
    let mut slow = fleet_with_quota(8);
    for pool in &mut slow.pools {
        Arc::make_mut(pool).encode_rate = 0.6;
    }
    let mut scenario = scenario(slow, "saturday:matches=6,minutes=30,region=us-east-1", "always", 1);
    scenario.settings.stragglers = 0.1;
    let (split, patient) =
        (run(&scenario, &policy("deadline:spread_s=300")), run(&scenario, &policy("deadline:spread_s=300,slower=0")));
    assert!(split.splits > 0 && split.taken_back > 0, "{} {}", split.splits, split.taken_back);
    assert_eq!((patient.splits, patient.taken_back), (0, 0));
    assert!(split.mean_done_s < patient.mean_done_s, "{} {}", split.mean_done_s, patient.mean_done_s);
    for outcome in [split, patient] {
        assert_eq!((outcome.missed, outcome.unfinished), (0, 0));
        assert_adds_up(&outcome);
    }
    scenario.settings.stragglers = 0.0;
    let (split, patient) =
        (run(&scenario, &policy("deadline:spread_s=300")), run(&scenario, &policy("deadline:spread_s=300,slower=0")));
    assert_eq!((split.costs, split.done_s), (patient.costs, patient.done_s), "where nobody is slow it changes nothing");
}

#[test]
fn a_market_without_spot_and_on_demand_that_is_full_now_and_then_still_ends_every_job() {
    let mut scenario = scenario(fleet(|_| {}), "saturday:matches=10", "process:up_h=0.1,down_h=200,sigma=0.5", 2);
    scenario.settings.on_demand_full = 0.5;
    let outcome = run(&scenario, &policy("deadline"));
    assert_eq!(outcome.unfinished, 0);
    assert!(outcome.failed_launches > 0 && outcome.on_demand_hours > 0.0);
}
