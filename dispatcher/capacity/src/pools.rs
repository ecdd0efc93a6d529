//! Pools: what `fleet.toml` says, validated. A [`Fleet`] that exists is usable: its types are sold where they are asked
//! for, its quotas admit at least one instance of each pool, and its numbers are finite and positive.

mod catalogue;
mod file;

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use catalogue::{Catalogue, CatalogueType};
pub use file::FleetProblems;

use crate::money::MicroDollars;
use crate::policy::Policy;

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer).map(|text| Self(text.into()))
            }
        }
    };
}

name! {
    /// Name of a region, for example `eu-west-1`.
    RegionName
}
name! {
    /// `region/instance type/option`, for example `eu-west-1/g4dn.xlarge/spot`; also what a worker gives as its pool.
    PoolId
}
name! {
    /// The provider's name of an instance, for example `i-0123456789abcdef0`.
    InstanceId
}

impl RegionName {
    /// Whether it is the same text in the same place. Quick, and no proof that two names differ.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// How an instance is bought.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PurchaseOption {
    /// Cheap, and taken back at two minutes' notice.
    Spot,
    /// Ours until we end it.
    OnDemand,
}

impl PurchaseOption {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Spot, Self::OnDemand];

    /// The word in files and names.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Spot => "spot",
            Self::OnDemand => "on_demand",
        }
    }
}

impl fmt::Display for PurchaseOption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Spot => "spot",
            Self::OnDemand => "on-demand",
        })
    }
}

/// Time from asking for an instance to its first claimed chunk.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BootTime {
    /// Half of the boots are faster, seconds.
    pub median_s: f64,
    /// Nine of ten boots are faster, seconds.
    pub p90_s: f64,
}

/// A pool: the unit of capacity and of failure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pool {
    /// Name.
    pub id: PoolId,
    /// Region.
    pub region: RegionName,
    /// Instance type, for example `g4dn.xlarge`.
    pub instance_type: String,
    /// How it is bought.
    pub option: PurchaseOption,
    /// Family that its quota counts for, for example `g_and_vt`.
    pub family: String,
    /// vCPUs of one instance, the unit of quotas.
    pub vcpu: u32,
    /// Price of one instance for an hour.
    pub price_per_hour: MicroDollars,
    /// Encode-seconds that one instance does in a second, see [`crate::estimate`].
    pub encode_rate: f64,
    /// Chunks that one instance encodes at once; each gets an equal share of the rate.
    pub slots: u32,
    /// How long an instance takes to boot.
    pub boot: BootTime,
    /// Instances at most, whatever the quota admits.
    pub max_instances: u32,
    /// Subnets to launch in; empty for those of the region.
    pub subnets: Vec<String>,
}

impl Pool {
    /// Whether its encode rate is a promise to hold it to: nobody has looked into how fast a machine is that costs nothing.
    #[must_use]
    pub fn promises_rate(&self) -> bool {
        self.price_per_hour != MicroDollars::ZERO
    }

    /// Dollars for one encode-second on a busy instance.
    #[must_use]
    pub fn usd_per_encode_s(&self) -> f64 {
        self.price_per_hour.usd() / 3600.0 / self.encode_rate
    }
}

/// vCPUs of one family that may run in a region at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quota {
    /// Family.
    pub family: String,
    /// Spot and on-demand have quotas of their own.
    pub option: PurchaseOption,
    /// vCPUs.
    pub vcpu: u32,
}

/// A region.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Region {
    /// Name.
    pub name: RegionName,
    /// What the account may run.
    pub quotas: Vec<Quota>,
    /// Subnets of pools that name none.
    pub subnets: Vec<String>,
    /// Price of a gigabyte that leaves for another region.
    pub transfer_per_gb: MicroDollars,
}

/// Everything that `fleet.toml` says.
#[derive(Clone, Debug, PartialEq)]
pub struct Fleet {
    /// Regions, in the file's order.
    pub regions: Vec<Region>,
    /// Pools, in the file's order.
    pub pools: Vec<Arc<Pool>>,
    /// The rule by which capacity is bought.
    pub policy: Policy,
}

impl Fleet {
    /// Reads and validates the text of a `fleet.toml`.
    ///
    /// # Errors
    /// Everything that is wrong with it, a sentence each.
    pub fn parse(text: &str) -> Result<Self, FleetProblems> {
        file::parse(text, Catalogue::built_in())
    }

    /// The pool of this name.
    #[must_use]
    pub fn pool(&self, id: &PoolId) -> Option<&Arc<Pool>> {
        self.pools.iter().find(|p| p.id == *id)
    }

    /// The region of this name.
    #[must_use]
    pub fn region(&self, name: &RegionName) -> Option<&Region> {
        self.regions.iter().find(|r| r.name == *name)
    }
}

#[cfg(test)]
mod tests;
