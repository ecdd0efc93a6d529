//! Pools as people see them: what `fleet.toml` says, which machines there are, what failed, what it costs.

use capacity::moment::Moment;
use capacity::pools::{Fleet, Pool};
use capacity::view::Phase;
use fleet::store::capacity::{DecisionRow, EndedRow, InstanceRow, LaunchFailureRow};
use fleet::store::{Store, StoreError};
use serde::Serialize;
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::{REMEMBERED, observe};

/// A pool, for looking at.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct PoolState {
    /// Name.
    pub pool: String,
    /// Region.
    pub region: String,
    /// Instance type.
    pub instance_type: String,
    /// `spot` or `on_demand`.
    pub option: String,
    /// Price of one instance in US dollars an hour.
    pub usd_per_hour: f64,
    /// Instances at most, by quota and by `fleet.toml`.
    pub most: u32,
    /// Instances that have no worker yet.
    pub booting: usize,
    /// Instances without work.
    pub idle: usize,
    /// Instances at work.
    pub busy: usize,
    /// Instances that take nothing new.
    pub draining: usize,
    /// Why nothing is started there, and for how long.
    #[schema(required)]
    pub blocked: Option<String>,
    /// What the provider said last of a launch that failed.
    #[schema(required)]
    pub last_failure: Option<String>,
}

/// What the database knows of machines.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Machines that are there.
    pub instances: Vec<InstanceRow>,
    /// Launches that failed.
    pub failures: Vec<LaunchFailureRow>,
    /// Machines that ended.
    pub ended: Vec<EndedRow>,
    /// Decisions, the newest first.
    pub decisions: Vec<DecisionRow>,
}

impl Known {
    /// Reads it, with that many decisions.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn read(store: &Store, decisions: u32) -> Result<Self, StoreError> {
        Ok(Self {
            instances: store.instances().await?,
            failures: store.launch_failures(REMEMBERED).await?,
            ended: store.ended_instances(REMEMBERED).await?,
            decisions: store.decisions(decisions).await?,
        })
    }
}

/// Every pool of a fleet.
#[must_use]
pub fn pools(fleet: &Fleet, known: &Known) -> Vec<PoolState> {
    fleet.pools.iter().map(|pool| state(fleet, pool, known)).collect()
}

fn state(fleet: &Fleet, pool: &Pool, known: &Known) -> PoolState {
    let own: Vec<_> = known.instances.iter().filter(|i| i.pool == pool.id.as_str()).collect();
    let count = |phase| own.iter().filter(|i| observe::phase(Some(i), false).0 == phase).count();
    let quota = fleet.region(&pool.region).and_then(|region| {
        let ours = region.quotas.iter().find(|q| q.family == pool.family && q.option == pool.option);
        ours.map(|q| q.vcpu / pool.vcpu.max(1))
    });
    let now = Moment::from(OffsetDateTime::now_utc());
    let block = observe::memory(fleet, &known.failures, &known.ended).block(pool, now);
    PoolState {
        pool: pool.id.to_string(),
        region: pool.region.to_string(),
        instance_type: pool.instance_type.clone(),
        option: serde_json::to_value(pool.option)
            .ok()
            .and_then(|word| word.as_str().map(str::to_owned))
            .unwrap_or_else(|| pool.option.to_string()),
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

/// What a decision does, in a few words.
#[must_use]
pub fn actions_in_words(actions: &serde_json::Value) -> String {
    let words: Vec<String> = actions
        .as_array()
        .into_iter()
        .flatten()
        .map(|action| {
            let text = |name: &str| action[name].as_str().unwrap_or_default();
            match text("action") {
                "start" => format!("{}: {} more", text("pool"), action["count"]),
                "split" => format!("chunk {} of {} split", action["chunk"], text("job")),
                "take_back" => format!("chunk {} of {} taken back", action["chunk"], text("job")),
                verb => format!("{}: {verb} {}", text("pool"), text("instance")),
            }
        })
        .collect();
    if words.is_empty() { "nothing".to_owned() } else { words.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decisions_are_told_in_a_few_words() {
        let actions = serde_json::json!([
            { "action": "start", "pool": "a", "count": 2 }, { "action": "end", "pool": "b", "instance": "i-1" },
            { "action": "split", "job": "j", "chunk": 3, "attempt": 1, "slow": "i-2" }
        ]);
        assert_eq!(actions_in_words(&actions), "a: 2 more, b: end i-1, chunk 3 of j split");
        assert_eq!(actions_in_words(&serde_json::json!([])), "nothing");
    }
}
