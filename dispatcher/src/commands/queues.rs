//! `dispatcher queues` and `redrive`: what waits where, and trying again what failed.

use fleet::failure::FailureCode;
use fleet::state::JobState;

use super::{CommandError, open, print, print_json, tables};
use crate::cli::FleetArgs;
use crate::dispatch::Dispatcher;

/// Empties the dead-letter queues, and tries failed jobs again.
pub(super) async fn redrive(args: &FleetArgs, code: Option<&str>) -> Result<(), CommandError> {
    if let Some(code) = code
        && FailureCode::from_code(code).is_none()
    {
        return Err(CommandError::Usage(format!("no failure code {code}; see docs/OPERATING.md")));
    }
    let (config, store) = open(args)?;
    let dispatcher = Dispatcher::new(&config).await?;
    let drained = dispatcher.drain_dead_letters_once().await?;
    let mut again = 0;
    for job in store.jobs(Some(JobState::Failed), 1000).await? {
        if code.is_none_or(|c| job.failure_code.as_deref() == Some(c)) {
            again += usize::from(store.retry_if_there(job.id).await?);
        }
    }
    print(&format!("{drained} dead letter(s) removed, {again} job(s) tried again"));
    Ok(())
}

/// Shows each region's queue and what is not done.
pub(super) async fn queues(args: &FleetArgs, json: bool) -> Result<(), CommandError> {
    let (config, store) = open(args)?;
    let alive = (config.timing.heartbeat * 4.0).max(config.timing.lease);
    let loads = store.region_loads(alive).await?;
    let unhealthy = store.unhealthy_regions().await?;
    let mut rows = Vec::new();
    for region in &config.regions {
        let queue = region.queue(&store).await;
        let depth = queue.depth().await;
        let dead = match queue.dead_letters() {
            Some(dead) => dead.depth().await.ok(),
            None => None,
        };
        let load = loads.iter().find(|l| l.region == region.name).cloned().unwrap_or_default();
        let reason = unhealthy.iter().find(|(name, _)| *name == region.name).map(|(_, reason)| reason.clone());
        rows.push(tables::QueueRow::new(&region.name, load, depth, dead, reason));
    }
    let (backlog, seconds) = store.backlog().await?;
    let outbox = store.outbox_depth().await?;
    if json {
        print_json(
            &serde_json::json!({ "regions": rows, "waiting_chunks": backlog, "media_seconds": seconds, "unsent": outbox }),
        );
    } else {
        print(&tables::queues(&rows));
        print(&format!(
            "{backlog} chunk(s), {} of video, are not done; {outbox} message(s) wait to be sent",
            fleet::timeline::clock(seconds)
        ));
    }
    Ok(())
}
