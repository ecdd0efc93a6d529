//! What a job will cost, before it starts: a range with the assumptions that it rests on, and the monthly cap of an
//! organisation.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::money::MicroDollars;
use crate::pools::{Fleet, Pool, PurchaseOption, RegionName};

/// What a job will cost.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Quote {
    /// A worker of the cheapest pool is warm.
    pub low: MicroDollars,
    /// An instance of the cheapest pool is started for it alone, and idles afterwards.
    pub likely: MicroDollars,
    /// An on-demand instance of the dearest pool is started for it alone, and a tenth of the work is done twice.
    pub high: MicroDollars,
    /// Sentences.
    pub assumptions: Vec<String>,
}

/// Why no quote can be given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuoteError {
    /// No such region.
    #[error("the fleet has no region {0}")]
    NoRegion(RegionName),
    /// The region has no pool that the policy uses.
    #[error("region {0} has no pool that policy {1} starts")]
    NoPool(RegionName, &'static str),
}

/// A quote for `work_s` encode-seconds whose source lies in `region`.
///
/// # Errors
/// The fleet has no pool for it.
pub fn quote(fleet: &Fleet, region: &RegionName, work_s: f64) -> Result<Quote, QuoteError> {
    fleet.region(region).ok_or_else(|| QuoteError::NoRegion(region.clone()))?;
    let rule = &fleet.policy.rule;
    let usable: Vec<&Pool> = fleet
        .pools
        .iter()
        .map(std::convert::AsRef::as_ref)
        .filter(|p| p.region == *region && rule.uses(p.option) && p.max_instances > 0)
        .collect();
    let by_cost = |a: &&&Pool, b: &&&Pool| a.usd_per_encode_s().total_cmp(&b.usd_per_encode_s());
    let none = || QuoteError::NoPool(region.clone(), rule.name());
    let cheapest = usable.iter().min_by(by_cost).ok_or_else(none)?;
    let dear = usable.iter().filter(|p| p.option == PurchaseOption::OnDemand).max_by(by_cost);
    let dearest = dear.or_else(|| usable.iter().max_by(by_cost)).ok_or_else(none)?;
    let work_s = if work_s.is_finite() { work_s.max(0.0) } else { 0.0 };
    let cost = |pool: &Pool, more_s: f64, twice: f64| {
        let seconds = work_s / pool.encode_rate * (1.0 + twice) + more_s;
        pool.price_per_hour.per_hour_for_ms((seconds * 1000.0).round() as u64)
    };
    let idle_s = fleet.policy.idle_after_s;
    let high = cost(dearest, dearest.boot.p90_s + idle_s, 0.1);
    Ok(Quote {
        low: cost(cheapest, 0.0, 0.0),
        likely: cost(cheapest, cheapest.boot.median_s + idle_s, 0.0).min(high),
        high,
        assumptions: vec![
            format!("the work is {work_s:.0} encode-seconds"),
            format!("at least: {} of {} with a warm worker", minutes(work_s / cheapest.encode_rate), cheapest.id),
            format!("likely: with {} of boot and {} of idle time", minutes(cheapest.boot.median_s), minutes(idle_s)),
            format!(
                "at most: {} on {}, with {} of boot and a tenth of the work done twice",
                minutes(work_s / dearest.encode_rate * 1.1),
                dearest.id,
                minutes(dearest.boot.p90_s)
            ),
            "storage, requests and transfer to viewers are not in it".to_owned(),
        ],
    })
}

fn minutes(seconds: f64) -> String {
    format!("{:.1} min", seconds / 60.0)
}

/// What an organisation has spent and may spend in a calendar month.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// Its cap; without one, everything is admitted.
    pub cap: Option<MicroDollars>,
    /// Receipts of this month.
    pub spent: MicroDollars,
    /// Likely cost of its jobs that are at work.
    pub committed: MicroDollars,
}

/// The cap stops a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub struct CapReached {
    /// What there is.
    pub budget: Budget,
    /// What was asked.
    pub next: MicroDollars,
    cap: MicroDollars,
}

impl fmt::Display for CapReached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { budget, next, cap } = self;
        write!(
            f,
            "the monthly cap of {cap} is reached: {} spent, {} at work, {next} asked; raise the cap or wait for next month",
            budget.spent, budget.committed
        )
    }
}

impl Budget {
    /// Whether a job with this likely cost may be released.
    ///
    /// # Errors
    /// [`CapReached`], with a sentence.
    pub fn admits(self, next: MicroDollars) -> Result<(), CapReached> {
        match self.cap {
            Some(cap) if self.spent + self.committed + next > cap => Err(CapReached { budget: self, next, cap }),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fleet() -> Fleet {
        Fleet::parse(include_str!("../../../infra/fleet.toml")).unwrap()
    }

    #[test]
    fn a_match_is_quoted_between_a_warm_spot_and_a_cold_on_demand_instance() {
        let quote = quote(&fleet(), &RegionName::from("eu-west-1"), 5400.0).unwrap();
        // 5400 / 5.02 = 1075.7 s at 0.2774, then with 330 + 60 s; 1183.3 + 540 + 60 s at 0.587.
        assert_eq!((quote.low.0, quote.likely.0, quote.high.0), (82_888, 112940, 290772));
        assert!(quote.assumptions[1].contains("17.9 min of eu-west-1/g4dn.xlarge/spot"), "{:?}", quote.assumptions);
    }

    #[test]
    fn a_quote_needs_a_pool_and_survives_nonsense() {
        let fleet = fleet();
        let mars = RegionName::from("mars-north-1");
        assert_eq!(quote(&fleet, &mars, 1.0).unwrap_err().to_string(), "the fleet has no region mars-north-1");
        assert_eq!(quote(&fleet, &RegionName::from("us-east-1"), f64::NAN).unwrap().low, MicroDollars::ZERO);
    }

    #[test]
    fn the_cap_stops_what_would_exceed_it_and_says_so() {
        let budget = Budget {
            cap: Some(MicroDollars(10_000_000)),
            spent: MicroDollars(9_000_000),
            committed: MicroDollars(900_000),
        };
        assert_eq!(budget.admits(MicroDollars(100_000)), Ok(()));
        let said = budget.admits(MicroDollars(100_001)).unwrap_err().to_string();
        assert!(
            said.starts_with("the monthly cap of $10.00 is reached: $9.00 spent, $0.90 at work, $0.10 asked"),
            "{said}"
        );
        assert_eq!(Budget { cap: None, ..budget }.admits(MicroDollars(i64::MAX)), Ok(()));
    }
}
