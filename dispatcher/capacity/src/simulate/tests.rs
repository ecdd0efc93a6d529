//! Whether the simulator can be believed: queueing theory, arithmetic by hand, a published table, and laws that must hold.

mod anchors;
mod laws;
mod saturday;

use std::sync::Arc;

use super::arrivals::{Arrival, Arrivals};
use super::engine::{Scenario, Settings, run};
use super::market::{Spot, Trace};
use super::outcome::Outcome;
use crate::moment::Moment;
use crate::policy::Policy;
use crate::pools::{BootTime, Fleet, Pool};

/// The example fleet, with each pool changed.
fn fleet(change: impl Fn(&mut Pool)) -> Fleet {
    let mut fleet = Fleet::parse(include_str!("../../../../infra/fleet.toml")).unwrap();
    for pool in &mut fleet.pools {
        change(Arc::make_mut(pool));
    }
    fleet
}

/// The example fleet with quotas multiplied.
fn fleet_with_quota(times: u32) -> Fleet {
    let mut fleet = fleet(|_| {});
    for quota in fleet.regions.iter_mut().flat_map(|r| &mut r.quotas) {
        quota.vcpu *= times;
    }
    fleet
}

/// Nothing but what is asked for: no scatter, no overhead, no plan.
fn exact() -> Settings {
    Settings { plan_s: 0.0, overhead_s: 0.0, publish_s: 0.0, scatter: 0.0, silent: 0.0, ..Settings::default() }
}

fn policy(text: &str) -> Policy {
    Policy::default().parsed(text).unwrap()
}

fn jobs(list: Vec<Arrival>) -> Arrivals {
    Arrivals::new(list, None).unwrap()
}

/// Costs add up: over kinds, over pools, and over receipts.
fn assert_adds_up(outcome: &Outcome) {
    let pools = outcome.pools.values().map(|a| a.cost).sum();
    assert_eq!(outcome.costs.instances(), pools, "{}", outcome.policy);
    if !outcome.receipts.is_empty() {
        let receipts: crate::money::MicroDollars = outcome.receipts.values().map(crate::receipt::Receipt::total).sum();
        assert_eq!(receipts + outcome.unattributed, outcome.costs.total(), "{}", outcome.policy);
    }
}
