//! Where machines come from. A provider is asked and told; it decides nothing.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use capacity::memory::FailureKind;
use capacity::pools::{InstanceId, Pool, PoolId, RegionName};
use fleet::fault::Injected;
use time::OffsetDateTime;

/// A pool as the provider shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Pool.
    pub pool: PoolId,
    /// Instances that it is asked for in all; more than it shows while some are on their way, or cannot be had.
    pub wanted: u32,
    /// Instances that are there or on their way.
    pub instances: Vec<ShownInstance>,
}

/// An instance as the provider shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownInstance {
    /// Name.
    pub id: InstanceId,
    /// It is being ended.
    pub ending: bool,
}

/// A launch that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaunchFailure {
    /// The provider's name of the try; the same failure is told of again and again.
    pub try_id: String,
    /// Why.
    pub kind: FailureKind,
    /// In the provider's words.
    pub message: String,
    /// When.
    pub at: OffsetDateTime,
}

/// Why a provider did not do as it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CapacityError {
    /// It did not answer, or asks to come back later.
    #[error("{what}: {reason}")]
    Unavailable {
        /// What was tried, with region or pool.
        what: String,
        /// What happened.
        reason: String,
    },
    /// It refuses: a limit, a right, or something that is not there.
    #[error("{what}: {reason}")]
    Refused {
        /// What was tried, with region or pool.
        what: String,
        /// What it says.
        reason: String,
    },
}

impl From<Injected> for CapacityError {
    fn from(fault: Injected) -> Self {
        Self::Unavailable { what: "capacity".to_owned(), reason: fault.to_string() }
    }
}

/// A provider of machines.
///
/// What it promises: asking for as many as there are changes nothing; asking for fewer than there are takes back what is
/// not there yet and ends none; only [`end`](Self::end) ends an instance, the one that is named, and does not replace it.
#[async_trait]
pub trait Capacity: Send + Sync + Debug {
    /// These pools of a region, in the same order.
    ///
    /// # Errors
    /// [`CapacityError`]; [`Refused`](CapacityError::Refused) when a pool has not been set up there.
    async fn look(&self, region: &RegionName, pools: &[Arc<Pool>]) -> Result<Vec<Shown>, CapacityError>;

    /// Asks for so many instances of a pool in all.
    ///
    /// # Errors
    /// [`CapacityError`].
    async fn ask_for(&self, pool: &Pool, total: u32) -> Result<(), CapacityError>;

    /// Sees to it that no worker is started on an instance any more. Its worker is asked to drain by other ways too, so
    /// an instance that is not known is no error.
    ///
    /// # Errors
    /// [`CapacityError`].
    async fn retire(&self, pool: &Pool, instance: &InstanceId) -> Result<(), CapacityError>;

    /// Ends an instance; one that is gone counts as ended.
    ///
    /// # Errors
    /// [`CapacityError`].
    async fn end(&self, pool: &Pool, instance: &InstanceId) -> Result<(), CapacityError>;

    /// Launches that failed lately, in any order; those that were told of before may be among them.
    ///
    /// # Errors
    /// [`CapacityError`].
    async fn failures(&self, pool: &Pool) -> Result<Vec<LaunchFailure>, CapacityError>;
}
