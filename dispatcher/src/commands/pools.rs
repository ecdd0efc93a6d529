//! `dispatcher pools`: what `fleet.toml` says, which machines there are, what failed and why it is so.

use std::path::Path;

use capacity::moment::Moment;
use capacity::pools::{Fleet, Pool};
use fleet::objects::Buckets;
use fleet::store::capacity::{DecisionRow, EndedRow, InstanceRow, LaunchFailureRow};
use serde::Serialize;
use time::OffsetDateTime;

use super::{CommandError, open, print, print_json, tables};
use crate::cli::FleetArgs;
use crate::scaling::{observe, read_fleet};

/// A pool, for looking at.
#[derive(Debug, Serialize)]
struct PoolRow {
    pool: String,
    usd_per_hour: f64,
    most: u32,
    booting: usize,
    idle: usize,
    busy: usize,
    draining: usize,
    /// Why nothing is started there, and for how long.
    blocked: Option<String>,
    /// What the provider said last.
    last_failure: Option<String>,
}

/// Checks a file and shows its pools.
pub(super) async fn check(file: &Path, json: bool) -> Result<(), CommandError> {
    let origin = file.display().to_string();
    let text = fleet::config::read_text(&origin, &Buckets::default()).await?;
    let fleet = Fleet::parse(&text).map_err(|e| fleet::config::ConfigError { origin, problems: e.0 })?;
    show_pools(&fleet, &Known::default(), json);
    Ok(())
}

/// Shows the pools of the fleet that is meant.
pub(super) async fn show(args: &FleetArgs, json: bool) -> Result<(), CommandError> {
    let (config, store) = open(args)?;
    let Some(capacity) = &config.capacity else {
        let reason =
            "the configuration has no [capacity]: workers come and go by other hands; see `dispatcher workers`";
        return Err(CommandError::Usage(reason.to_owned()));
    };
    let fleet = read_fleet(capacity, &config.buckets()).await?;
    let known = Known {
        instances: store.instances().await?,
        failures: store.launch_failures(crate::scaling::REMEMBERED).await?,
        ended: store.ended_instances(crate::scaling::REMEMBERED).await?,
        decision: store.decisions(1).await?.pop(),
    };
    show_pools(&fleet, &known, json);
    Ok(())
}

/// What the database knows of machines.
#[derive(Debug, Default)]
struct Known {
    instances: Vec<InstanceRow>,
    failures: Vec<LaunchFailureRow>,
    ended: Vec<EndedRow>,
    decision: Option<DecisionRow>,
}

fn show_pools(fleet: &Fleet, known: &Known, json: bool) {
    let rows: Vec<PoolRow> = fleet.pools.iter().map(|pool| row(fleet, pool, known)).collect();
    let Known { instances, decision, .. } = known;
    if json {
        print_json(&serde_json::json!({ "pools": rows, "instances": instances, "decision": decision }));
        return;
    }
    let mut table = tables::table(&["pool", "$/h", "most", "booting", "idle", "busy", "draining", "blocked"]);
    for r in &rows {
        table.add_row([
            r.pool.clone(),
            format!("{:.3}", r.usd_per_hour),
            r.most.to_string(),
            r.booting.to_string(),
            r.idle.to_string(),
            r.busy.to_string(),
            r.draining.to_string(),
            r.blocked.clone().unwrap_or_default(),
        ]);
    }
    print(&table.to_string());
    for r in rows.iter().filter(|r| r.blocked.is_some()) {
        print(&format!("{}: {}", r.pool, r.last_failure.as_deref().unwrap_or("blocked with its region")));
    }
    let Some(decision) = decision else { return };
    let ago = (OffsetDateTime::now_utc() - decision.last_at).whole_seconds();
    print(&format!("decided {ago} s ago ({}):", decision.policy));
    for reason in decision.sentences() {
        print(&format!("  - {reason}"));
    }
}

fn row(fleet: &Fleet, pool: &Pool, known: &Known) -> PoolRow {
    use capacity::view::Phase;
    let own: Vec<_> = known.instances.iter().filter(|i| i.pool == pool.id.as_str()).collect();
    let count = |phase| own.iter().filter(|i| observe::phase(Some(i), false).0 == phase).count();
    let quota = fleet.region(&pool.region).and_then(|region| {
        let ours = region.quotas.iter().find(|q| q.family == pool.family && q.option == pool.option);
        ours.map(|q| q.vcpu / pool.vcpu.max(1))
    });
    let now = Moment::from(OffsetDateTime::now_utc());
    let block = observe::memory(fleet, &known.failures, &known.ended).block(pool, now);
    PoolRow {
        pool: pool.id.to_string(),
        usd_per_hour: pool.price_per_hour.usd(),
        most: quota.unwrap_or(0).min(pool.max_instances),
        booting: count(Phase::Booting),
        idle: count(Phase::Idle),
        busy: count(Phase::Busy),
        draining: count(Phase::Draining),
        blocked: block.map(|b| format!("{} for {:.0} s", b.kind, b.until.since_s(now))),
        last_failure: known.failures.iter().rev().find(|f| f.pool == pool.id.as_str()).map(|f| f.message.clone()),
    }
}
