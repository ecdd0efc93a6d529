//! Machines: instances, failed launches, decisions, spend.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use capacity::view::Phase;
use fleet::store::{Store, StoreError};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::scaling::observe;

/// Failed launches count this long.
const RECENT: Duration = Duration::from_secs(600);
/// Spend is of this long.
const DAY: Duration = Duration::from_secs(24 * 3600);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Instances {
    region: String,
    pool: String,
    phase: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Failures {
    pool: String,
    kind: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Pool {
    pool: String,
}

/// Adds the figures of machines.
pub(super) async fn register(registry: &mut Registry, store: &Store) -> Result<(), StoreError> {
    let instances = Family::<Instances, Gauge>::default();
    registry.register("pool_instances", "Instances by what they do", instances.clone());
    for row in store.instances().await? {
        let phase = match observe::phase(Some(&row), false).0 {
            Phase::Booting => "booting",
            Phase::Idle => "idle",
            Phase::Busy => "busy",
            Phase::Draining => "draining",
        };
        instances.get_or_create(&Instances { region: row.region, pool: row.pool, phase }).inc();
    }
    let failures = Family::<Failures, Gauge>::default();
    registry.register("launch_failures", "Launches that failed within ten minutes", failures.clone());
    for row in store.count_launch_failures(RECENT).await? {
        failures.get_or_create(&Failures { pool: row.pool, kind: row.kind }).set(row.count);
    }
    let spend = Family::<Pool, Gauge<f64, AtomicU64>>::default();
    registry.register("spend_day_usd", "What instances of the last 24 hours cost", spend.clone());
    for row in store.spend(DAY).await? {
        spend.get_or_create(&Pool { pool: row.pool }).set(row.usd);
    }
    if let Some(at) = store.decided_at().await? {
        let decided = Gauge::<i64>::default();
        decided.set(at.unix_timestamp());
        registry.register("decided_timestamp_seconds", "When capacity was decided last", decided);
    }
    Ok(())
}
