//! `dispatcher pools`: what `fleet.toml` says, which machines there are, what failed and why it is so.

use std::path::Path;

use capacity::pools::Fleet;
use fleet::objects::Buckets;
use time::OffsetDateTime;

use super::{CommandError, open, print, print_json, tables};
use crate::cli::FleetArgs;
use crate::scaling::overview::{self, Known};
use crate::scaling::read_fleet;

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
    let known = Known::read(&store, 1).await?;
    show_pools(&fleet, &known, json);
    Ok(())
}

fn show_pools(fleet: &Fleet, known: &Known, json: bool) {
    let rows = overview::pools(fleet, known);
    let (instances, decision) = (&known.instances, known.decisions.first());
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
