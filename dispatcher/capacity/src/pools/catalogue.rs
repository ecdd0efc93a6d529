//! What is sold where: a data file with its sources (`catalogue.toml`), read once.

use std::sync::OnceLock;

use serde::Deserialize;

use super::PurchaseOption;

/// Instance types that the fleet knows.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    /// Types.
    #[serde(rename = "type")]
    pub types: Vec<CatalogueType>,
}

/// An instance type.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogueType {
    /// Name, for example `g4dn.xlarge`.
    pub name: String,
    /// GPU.
    pub gpu: String,
    /// vCPUs.
    pub vcpu: u32,
    /// Family that its quota counts for.
    pub family: String,
    /// Encode-seconds a second.
    pub encode_rate: f64,
    /// Chunks at once.
    pub slots: u32,
    /// Regions that sell it.
    pub sold_in: Vec<String>,
    /// Prices, where they are known.
    #[serde(default)]
    pub prices: Vec<CataloguePrice>,
}

/// Prices of a type in a region, US dollars an hour.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CataloguePrice {
    /// Region.
    pub region: String,
    /// On-demand.
    pub on_demand: f64,
    /// Spot, the mean over the zones.
    pub spot: f64,
}

impl Catalogue {
    /// The one that the program was built with.
    #[must_use]
    pub fn built_in() -> &'static Self {
        static BUILT_IN: OnceLock<Catalogue> = OnceLock::new();
        BUILT_IN.get_or_init(|| {
            toml::from_str(include_str!("catalogue.toml")).expect("a unit test reads the built-in catalogue")
        })
    }

    /// The type of this name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&CatalogueType> {
        self.types.iter().find(|t| t.name == name)
    }

    /// Whether any type is sold in this region.
    #[must_use]
    pub fn knows_region(&self, region: &str) -> bool {
        self.types.iter().any(|t| t.is_sold_in(region))
    }
}

impl CatalogueType {
    /// Whether this region sells it.
    #[must_use]
    pub fn is_sold_in(&self, region: &str) -> bool {
        self.sold_in.iter().any(|r| r == region)
    }

    /// Its price there, US dollars an hour.
    #[must_use]
    pub fn price(&self, region: &str, option: PurchaseOption) -> Option<f64> {
        let price = self.prices.iter().find(|p| p.region == region)?;
        Some(match option {
            PurchaseOption::Spot => price.spot,
            PurchaseOption::OnDemand => price.on_demand,
        })
    }
}
