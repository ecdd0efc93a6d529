//! What `observe` saw of the fleet at one moment: the whole input of [`crate::decide::decide`].
//!
//! A view may be wrong (the world moves while it is taken), so nothing here is trusted to be consistent: names that do
//! not occur are ignored, and numbers that are not finite count as zero.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::memory::Block;
use crate::moment::Moment;
use crate::pools::{Fleet, InstanceId, Pool, Quota, RegionName};
use crate::rates::Measured;

/// The fleet at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FleetView {
    /// Regions.
    pub regions: Vec<RegionView>,
    /// Pools, in the order in which ties are broken.
    pub pools: Vec<PoolView>,
    /// Work of jobs that are not done, one entry a job.
    pub work: Vec<JobWork>,
    /// Work of uploads that are on their way.
    pub coming: Vec<ComingWork>,
    /// Chunks of pictures at work; may be empty when the policy does nothing about stragglers.
    pub running: Vec<RunningChunk>,
}

/// A region at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RegionView {
    /// Name.
    pub name: RegionName,
    /// Whether it answers; nothing is started in one that does not.
    pub healthy: bool,
    /// What the account may run there.
    pub quotas: Vec<Quota>,
}

/// A pool at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PoolView {
    /// What it is.
    #[serde(with = "shared")]
    pub pool: Arc<Pool>,
    /// Where its encode rate is from: measured, or as `fleet.toml` promises when `None`.
    #[serde(default)]
    pub measured: Option<Measured>,
    /// Instances that the provider shows.
    pub instances: Vec<Instance>,
    /// Instances that were asked for and that the provider does not show yet; they count against the quota.
    pub requested: u32,
    /// Why nothing can be started here just now.
    pub blocked: Option<Block>,
}

/// An instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// Name.
    pub id: InstanceId,
    /// What it does.
    pub phase: Phase,
    /// Since when.
    pub since: Moment,
}

/// What an instance does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Launched; its worker has not reported yet.
    Booting,
    /// Its worker has nothing to do.
    Idle,
    /// Its worker encodes.
    Busy,
    /// Its worker takes nothing new, and it ends soon (drain, spot notice, rebalance).
    Draining,
}

/// What is left of a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobWork {
    /// Job.
    pub job: Uuid,
    /// Region that its chunks go to.
    pub region: RegionName,
    /// The whole of it, encode-seconds.
    pub total_s: f64,
    /// What is not committed yet, encode-seconds.
    pub left_s: f64,
    /// Chunks that are not done: more slots than these have no use.
    pub chunks: u32,
    /// Those of them that no worker has yet.
    pub waiting: u32,
    /// When it was handed in.
    pub submitted: Moment,
    /// Chunks do not start before.
    pub not_before: Moment,
    /// When it must be ready, if somebody said.
    pub ready_by: Option<Moment>,
}

/// An upload in progress: work that will be there soon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ComingWork {
    /// Region that its chunks will go to.
    pub region: RegionName,
    /// Estimate, encode-seconds.
    pub encode_s: f64,
    /// When the upload will be complete.
    pub expected: Moment,
    /// When it must be ready, if somebody said.
    pub ready_by: Option<Moment>,
}

/// A chunk at work.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunningChunk {
    /// Job.
    pub job: Uuid,
    /// Chunk.
    pub chunk: i32,
    /// Attempt.
    pub attempt: i32,
    /// Who encodes it.
    pub instance: InstanceId,
    /// Since when.
    pub since: Moment,
    /// The whole of this attempt, encode-seconds.
    pub total_s: f64,
    /// Already made of it, encode-seconds.
    pub done_s: f64,
    /// Segments that are not committed, the one in work included.
    pub segments: u32,
    /// Work of one segment, encode-seconds.
    pub segment_s: f64,
    /// How often it was split.
    pub splits: u32,
    /// Whether it was taken back from a slow worker before.
    pub taken_back: bool,
}

impl FleetView {
    /// A view of an empty fleet: every region answers, nothing runs, nothing is to do.
    #[must_use]
    pub fn empty(fleet: &Fleet) -> Self {
        let regions = fleet.regions.iter();
        let pools = fleet.pools.iter();
        Self {
            regions: regions
                .map(|r| RegionView { name: r.name.clone(), healthy: true, quotas: r.quotas.clone() })
                .collect(),
            pools: pools
                .map(|pool| PoolView {
                    pool: pool.clone(),
                    measured: None,
                    instances: Vec::new(),
                    requested: 0,
                    blocked: None,
                })
                .collect(),
            ..Self::default()
        }
    }
}

impl PoolView {
    /// Instances in this phase.
    #[must_use]
    pub fn count(&self, phase: Phase) -> u32 {
        self.instances.iter().filter(|i| i.phase == phase).fold(0, |n, _| n + 1)
    }

    /// Instances that count against the quota: all that are there, and those that were asked for.
    #[must_use]
    pub fn charged(&self) -> u32 {
        u32::try_from(self.instances.len()).unwrap_or(u32::MAX).saturating_add(self.requested)
    }
}

/// A pool behind an `Arc` is written as the pool itself.
mod shared {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::pools::Pool;

    pub(super) fn serialize<S: Serializer>(pool: &Arc<Pool>, serializer: S) -> Result<S::Ok, S::Error> {
        pool.as_ref().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<Pool>, D::Error> {
        Pool::deserialize(deserializer).map(Arc::new)
    }
}
