//! Which pools failed, why, and for how long that counts. A failure of a quota stands for all pools of that option in
//! the region; all others for their own pool. Nothing is tried again before its time, so a full market is not hammered
//! and the next pool gets its turn at once.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::moment::Moment;
use crate::pools::{Pool, PoolId, PurchaseOption, RegionName};

/// Why an instance could not be launched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The region's spot vCPU quota is used up (`MaxSpotInstanceCountExceeded`).
    SpotQuota,
    /// The region's on-demand vCPU quota is used up (`VcpuLimitExceeded`); the ledger should have known.
    OnDemandQuota,
    /// The provider has no such machine just now (`InsufficientInstanceCapacity`, `UnfulfillableCapacity`).
    NoCapacity,
    /// The type is not sold there (`InvalidFleetConfiguration`, `Unsupported`).
    NotOffered,
    /// Something that a person must mend: subnet, permission, image, a new account under review.
    Configuration,
    /// The provider asks for patience (`RequestLimitExceeded`).
    Throttled,
}

impl FailureKind {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::SpotQuota,
        Self::OnDemandQuota,
        Self::NoCapacity,
        Self::NotOffered,
        Self::Configuration,
        Self::Throttled,
    ];

    /// The word in logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SpotQuota => "spot_quota",
            Self::OnDemandQuota => "on_demand_quota",
            Self::NoCapacity => "no_capacity",
            Self::NotOffered => "not_offered",
            Self::Configuration => "configuration",
            Self::Throttled => "throttled",
        }
    }

    /// Seconds for which a failure counts. Three minutes for a full market is what Karpenter found to work
    /// (`UnavailableOfferingsTTL`); what needs a person is asked about once an hour.
    #[must_use]
    pub const fn counts_for_s(self) -> f64 {
        match self {
            Self::SpotQuota | Self::OnDemandQuota | Self::NoCapacity => 180.0,
            Self::NotOffered | Self::Configuration => 3600.0,
            Self::Throttled => 30.0,
        }
    }
}

impl std::fmt::Display for FailureKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::SpotQuota => "the spot quota of the region is used up",
            Self::OnDemandQuota => "the on-demand quota of the region is used up",
            Self::NoCapacity => "the provider has no such instance",
            Self::NotOffered => "the type is not sold there",
            Self::Configuration => "its configuration is wrong",
            Self::Throttled => "the provider asks for patience",
        })
    }
}

/// A failure that still counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// Why.
    pub kind: FailureKind,
    /// Until when.
    pub until: Moment,
}

/// What a failure stands for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Scope {
    Pool(PoolId),
    Region(RegionName, PurchaseOption),
}

/// The failures that still count.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FailureMemory {
    blocks: BTreeMap<Scope, Block>,
}

impl FailureMemory {
    /// Takes note of a failed launch. A later expiry wins over an earlier one.
    pub fn note(&mut self, pool: &Pool, kind: FailureKind, now: Moment) {
        let block = Block { kind, until: now.plus_s(kind.counts_for_s()) };
        let known = self.blocks.entry(scope(pool, kind)).or_insert(block);
        if block.until >= known.until {
            *known = block;
        }
    }

    /// An own instance of this pool ended: its vCPUs are free again, so a quota that was used up may be asked again.
    pub fn note_end(&mut self, pool: &Pool) {
        self.blocks.remove(&Scope::Region(pool.region.clone(), pool.option));
    }

    /// Why nothing can be started in a pool at `now`: of several reasons the one that counts longest.
    #[must_use]
    pub fn block(&self, pool: &Pool, now: Moment) -> Option<Block> {
        if self.blocks.is_empty() {
            return None;
        }
        let own = self.blocks.get(&Scope::Pool(pool.id.clone()));
        let region = self.blocks.get(&Scope::Region(pool.region.clone(), pool.option));
        own.into_iter().chain(region).filter(|b| b.until > now).max_by_key(|b| b.until).copied()
    }

    /// Forgets what no longer counts.
    pub fn expire(&mut self, now: Moment) {
        self.blocks.retain(|_, b| b.until > now);
    }
}

fn scope(pool: &Pool, kind: FailureKind) -> Scope {
    match kind {
        FailureKind::SpotQuota => Scope::Region(pool.region.clone(), PurchaseOption::Spot),
        FailureKind::OnDemandQuota => Scope::Region(pool.region.clone(), PurchaseOption::OnDemand),
        FailureKind::NoCapacity | FailureKind::NotOffered | FailureKind::Configuration | FailureKind::Throttled => {
            Scope::Pool(pool.id.clone())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pools::Fleet;

    fn fleet() -> Fleet {
        Fleet::parse(include_str!("../../../infra/fleet.toml")).unwrap()
    }

    #[test]
    fn a_full_market_blocks_its_pool_for_three_minutes() {
        let fleet = fleet();
        let mut memory = FailureMemory::default();
        let pool = &fleet.pools[0];
        memory.note(pool, FailureKind::NoCapacity, Moment(0));
        assert!(memory.block(pool, Moment(179_999)).is_some());
        assert_eq!(memory.block(pool, Moment(180_000)), None);
        assert!(fleet.pools[1..].iter().all(|p| memory.block(p, Moment(0)).is_none()));
    }

    #[test]
    fn a_used_up_quota_blocks_its_option_in_the_region_until_an_instance_ends() {
        let fleet = fleet();
        let mut memory = FailureMemory::default();
        let spot = fleet.pools.iter().find(|p| p.option == PurchaseOption::Spot).unwrap();
        memory.note(spot, FailureKind::SpotQuota, Moment(0));
        for pool in &fleet.pools {
            let same = pool.region == spot.region && pool.option == PurchaseOption::Spot;
            assert_eq!(memory.block(pool, Moment(1)).is_some(), same, "{}", pool.id);
        }
        memory.note_end(spot);
        assert_eq!(memory.block(spot, Moment(1)), None);
    }

    #[test]
    fn a_shorter_failure_does_not_shorten_a_longer_one() {
        let fleet = fleet();
        let mut memory = FailureMemory::default();
        memory.note(&fleet.pools[0], FailureKind::NotOffered, Moment(0));
        memory.note(&fleet.pools[0], FailureKind::Throttled, Moment(1_000));
        assert_eq!(memory.block(&fleet.pools[0], Moment(600_000)).map(|b| b.kind), Some(FailureKind::NotOffered));
        memory.expire(Moment(3_600_000));
        assert_eq!(memory, FailureMemory::default());
    }
}
