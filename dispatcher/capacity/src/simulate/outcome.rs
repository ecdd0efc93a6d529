//! What came of a scenario under a policy: times, misses, costs that add up to the ledger of the pools, and what plots
//! need.

mod recorder;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub(super) use self::recorder::Recorder;
use crate::moment::Moment;
use crate::money::MicroDollars;
use crate::receipt::{PoolLedger, Receipt};

/// What came of a scenario under a policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The policy, with its parameters.
    pub policy: String,
    /// Jobs that were handed in.
    pub jobs: u64,
    /// Jobs that were not done when the scenario was given up.
    pub unfinished: u64,
    /// Jobs that were done after their ready-by, or not at all.
    pub missed: u64,
    /// From hand-in to the first claim.
    pub wait_s: Percentiles,
    /// From hand-in to the first watchable moment.
    pub playable_s: Percentiles,
    /// From hand-in to the published presentation.
    pub done_s: Percentiles,
    /// Mean of the same.
    pub mean_done_s: f64,
    /// What it cost.
    pub costs: Costs,
    /// The same for each pool.
    pub pools: PoolLedger,
    /// Dollars for a job.
    pub usd_per_job: f64,
    /// Dollars for a month of thirty days.
    pub usd_per_month: f64,
    /// Hours of spot instances.
    pub spot_hours: f64,
    /// Hours of on-demand instances.
    pub on_demand_hours: f64,
    /// Hours of spot instances that encoded, boots and idle time apart.
    pub spot_work_hours: f64,
    /// Hours of on-demand instances that encoded.
    pub on_demand_work_hours: f64,
    /// Instances that were taken back.
    pub interruptions: u64,
    /// Instances that were launched.
    pub launches: u64,
    /// Launches that found no capacity.
    pub failed_launches: u64,
    /// Slow chunks that were split.
    #[serde(default)]
    pub splits: u64,
    /// Slow chunks that were taken back.
    #[serde(default)]
    pub taken_back: u64,
    /// Decisions.
    pub decisions: u64,
    /// Capacity and queue over time.
    #[serde(skip)]
    pub samples: Vec<Sample>,
    /// What happened to one job.
    #[serde(skip)]
    pub timeline: Timeline,
    /// The receipt of every job, if they were asked for.
    #[serde(skip)]
    pub receipts: BTreeMap<Uuid, Receipt>,
    /// What instances cost that served no job.
    pub unattributed: MicroDollars,
}

/// Half, 95 and 99 of 100 jobs are faster, seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Percentiles {
    /// Half.
    pub p50: f64,
    /// 95 of 100.
    pub p95: f64,
    /// 99 of 100.
    pub p99: f64,
}

/// What it cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Costs {
    /// Work that was committed.
    pub work: MicroDollars,
    /// Boots.
    pub boot: MicroDollars,
    /// Time without work.
    pub idle: MicroDollars,
    /// Work that interruptions lost, and time after their announcement.
    pub waste: MicroDollars,
    /// Moving sources between regions.
    pub transfer: MicroDollars,
}

impl Costs {
    /// The whole of it.
    #[must_use]
    pub fn total(&self) -> MicroDollars {
        self.instances() + self.transfer
    }

    /// All but transfer.
    #[must_use]
    pub fn instances(&self) -> MicroDollars {
        self.work + self.boot + self.idle + self.waste
    }
}

/// The fleet at a moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// When.
    pub at: Moment,
    /// Instances that work, by place of the pool.
    pub serving: Vec<u32>,
    /// Instances that boot.
    pub booting: u32,
    /// Encode-seconds that are not done.
    pub queue_s: f64,
}

/// What happened to one job.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Timeline {
    /// Number of the arrival.
    pub arrival: u32,
    /// When it was watchable.
    pub playable: Option<Moment>,
    /// When it was done.
    pub done: Option<Moment>,
    /// Times that slots spent on its chunks.
    pub spans: Vec<Span>,
}

/// A slot's time on a chunk.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// Chunk, 0 for the plan.
    pub chunk: i32,
    /// Place of the pool.
    pub pool: usize,
    /// From.
    pub from: Moment,
    /// Until.
    pub until: Moment,
    /// Whether it ended with the chunk done.
    pub done: bool,
}

impl Outcome {
    /// Share of the jobs that missed their ready-by, percent.
    #[must_use]
    pub fn missed_pct(&self) -> f64 {
        100.0 * self.missed as f64 / self.jobs.max(1) as f64
    }
}

impl Percentiles {
    /// Nearest rank; zeros without values.
    fn of(mut values: Vec<f32>) -> Self {
        values.sort_unstable_by(f32::total_cmp);
        let rank = |share: f64| {
            let n = (share * values.len() as f64).ceil() as usize;
            values.get(n.saturating_sub(1)).map_or(0.0, |v| f64::from(*v))
        };
        Self { p50: rank(0.50), p95: rank(0.95), p99: rank(0.99) }
    }
}
