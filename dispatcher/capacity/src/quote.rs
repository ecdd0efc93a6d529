//! What a job will cost and how long it will take, before it starts: ranges with the assumptions that they rest on.

use std::sync::Arc;

use serde::Serialize;

use crate::money::MicroDollars;
use crate::pools::{Fleet, Pool, PoolId, PurchaseOption, RegionName};
use crate::rates::Rates;

/// Time in which a worker looks into a source and plans, seconds: a remote file's index is read, a few frames are decoded.
const PLAN_S: f64 = 5.0;
/// Share of the work that is done twice at worst.
const TWICE: f64 = 0.1;

/// What is to be quoted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Work {
    /// The whole, encode-seconds.
    pub total_s: f64,
    /// What must be done before something can be watched, encode-seconds: the first segments.
    pub first_s: f64,
    /// Size of the source, gigabytes.
    pub gigabytes: f64,
}

/// What a job will cost and how long it will take.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Quote {
    /// A worker of the cheapest pool is warm.
    pub low: MicroDollars,
    /// An instance of the cheapest pool is started for it alone, and idles afterwards.
    pub likely: MicroDollars,
    /// An on-demand instance of the dearest pool is started for it alone, a tenth of the work is done twice, and the
    /// source is read in another region.
    pub high: MicroDollars,
    /// What reading the source in another region costs: a part of `high`. Nothing where work stays at home.
    pub transfer: MicroDollars,
    /// Until something can be watched.
    pub playable: Span,
    /// Until all of it can be watched, on one instance.
    pub done: Span,
    /// Pools that the policy would use, the cheapest work first.
    pub pools: Vec<QuotedPool>,
    /// Sentences.
    pub assumptions: Vec<String>,
}

/// A range of time from the hand-in on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Span {
    /// A worker is warm, seconds.
    pub soon_s: f64,
    /// An instance of the slowest pool boots slowly first, seconds.
    pub late_s: f64,
}

/// A pool that a quote rests on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct QuotedPool {
    /// Name.
    pub pool: PoolId,
    /// Its price.
    pub price_per_hour: MicroDollars,
    /// Encode-seconds a second of one instance.
    pub encode_rate: f64,
    /// Of how many chunks that rate is the median; `None` when `fleet.toml` promises it.
    pub measured_chunks: Option<u32>,
    /// The work alone, on it.
    pub work: MicroDollars,
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

/// A quote for work whose source lies in `region`, at the rates that were measured where there are any.
///
/// # Errors
/// The fleet has no pool for it.
pub fn quote(fleet: &Fleet, region: &RegionName, work: Work, rates: &Rates) -> Result<Quote, QuoteError> {
    fleet.region(region).ok_or_else(|| QuoteError::NoRegion(region.clone()))?;
    let rule = &fleet.policy.rule;
    let mut usable: Vec<Arc<Pool>> = fleet
        .pools
        .iter()
        .filter(|p| p.region == *region && rule.uses(p.option) && p.max_instances > 0)
        .map(|p| rates.apply(p))
        .collect();
    usable.sort_by(|a, b| a.usd_per_encode_s().total_cmp(&b.usd_per_encode_s()));
    let none = || QuoteError::NoPool(region.clone(), rule.name());
    let cheapest = usable.first().ok_or_else(none)?;
    let dear = usable.iter().rev().find(|p| p.option == PurchaseOption::OnDemand);
    let dearest = dear.or_else(|| usable.last()).ok_or_else(none)?;
    let by_rate = |a: &&Arc<Pool>, b: &&Arc<Pool>| a.encode_rate.total_cmp(&b.encode_rate);
    let fastest = usable.iter().max_by(by_rate).ok_or_else(none)?;
    let slowest = usable.iter().min_by(by_rate).ok_or_else(none)?;
    let (total_s, first_s) = (sensible(work.total_s), sensible(work.first_s));
    let cost = |pool: &Pool, more_s: f64, twice: f64| {
        let seconds = total_s / pool.encode_rate * (1.0 + twice) + more_s;
        pool.price_per_hour.per_hour_for_ms((seconds * 1000.0).round() as u64)
    };
    let idle_s = fleet.policy.idle_after_s;
    let transfer = transfer(fleet, region, work.gigabytes);
    let high = cost(dearest, dearest.boot.p90_s + idle_s, TWICE) + transfer;
    // The first segments are one chunk, so one slot makes them.
    let first = |pool: &Pool| first_s / pool.encode_rate * f64::from(pool.slots.max(1));
    let slow_boot_s = usable.iter().map(|p| p.boot.p90_s).fold(0.0, f64::max);
    let playable = Span { soon_s: PLAN_S + first(fastest), late_s: slow_boot_s + 2.0 * PLAN_S + first(slowest) };
    let done = Span {
        soon_s: playable.soon_s.max(PLAN_S + total_s / fastest.encode_rate),
        late_s: playable.late_s.max(slow_boot_s + 2.0 * PLAN_S + total_s / slowest.encode_rate * (1.0 + TWICE)),
    };
    Ok(Quote {
        low: cost(cheapest, 0.0, 0.0),
        likely: cost(cheapest, cheapest.boot.median_s + idle_s, 0.0).min(high),
        high,
        transfer,
        playable,
        done,
        assumptions: assumptions(total_s, idle_s, cheapest, dearest, rates, transfer),
        pools: usable
            .iter()
            .map(|pool| QuotedPool {
                pool: pool.id.clone(),
                price_per_hour: pool.price_per_hour,
                encode_rate: pool.encode_rate,
                measured_chunks: rates.of_pool(pool).map(|m| m.chunks),
                work: cost(pool, 0.0, 0.0),
            })
            .collect(),
    })
}

/// What it costs to read a source once outside its region, where the policy lets work travel and there is somewhere to go.
fn transfer(fleet: &Fleet, home: &RegionName, gigabytes: f64) -> MicroDollars {
    let policy = &fleet.policy;
    let mut elsewhere = fleet.pools.iter().filter(|p| p.region != *home && p.max_instances > 0);
    let travels = policy.travels() && elsewhere.any(|p| policy.rule.uses(p.option));
    let per_gb = fleet.region(home).filter(|_| travels).map_or(MicroDollars::ZERO, |r| r.transfer_per_gb);
    MicroDollars::from_usd(gigabytes * per_gb.usd()).unwrap_or_default()
}

fn assumptions(
    total_s: f64,
    idle_s: f64,
    cheapest: &Pool,
    dearest: &Pool,
    rates: &Rates,
    transfer: MicroDollars,
) -> Vec<String> {
    let rate = match rates.of_pool(cheapest) {
        Some(measured) => format!("as its last {} chunks did", measured.chunks),
        None => "as the fleet's file promises".to_owned(),
    };
    vec![
        format!(
            "the work is {total_s:.0} encode-seconds, of which {} does {:.1} a second, {rate}",
            cheapest.id, cheapest.encode_rate
        ),
        format!("at least: {} of {} with a warm worker", minutes(total_s / cheapest.encode_rate), cheapest.id),
        format!("likely: with {} of boot and {} of idle time", minutes(cheapest.boot.median_s), minutes(idle_s)),
        format!(
            "at most: {} on {}, with {} of boot and a tenth of the work done twice{}",
            minutes(total_s / dearest.encode_rate * (1.0 + TWICE)),
            dearest.id,
            minutes(dearest.boot.p90_s),
            match transfer {
                MicroDollars::ZERO => String::new(),
                _ => format!(", and {transfer} to read the source in another region"),
            }
        ),
        "times: one instance, and no other match before this one".to_owned(),
        "a rendition that is copied from the source costs nothing, and is not known yet".to_owned(),
        "storage and requests are not in it".to_owned(),
    ]
}

/// What is not a finite positive number counts as zero.
fn sensible(seconds: f64) -> f64 {
    if seconds.is_finite() { seconds.clamp(0.0, 1e9) } else { 0.0 }
}

fn minutes(seconds: f64) -> String {
    format!("{:.1} min", seconds / 60.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fleet() -> Fleet {
        Fleet::parse(include_str!("../../../infra/fleet.toml")).unwrap()
    }

    fn work(total_s: f64) -> Work {
        Work { total_s, first_s: 12.0, gigabytes: 0.0 }
    }

    #[test]
    fn a_match_is_quoted_between_a_warm_spot_and_a_cold_on_demand_instance() {
        let quote = quote(&fleet(), &RegionName::from("eu-west-1"), work(5400.0), &Rates::default()).unwrap();
        // 5400 / 5.02 = 1075.7 s at 0.2774, then with 330 + 60 s; 1183.3 + 540 + 60 s at 0.587.
        assert_eq!((quote.low.0, quote.likely.0, quote.high.0), (82_888, 112940, 290772));
        assert!(quote.assumptions[1].contains("17.9 min of eu-west-1/g4dn.xlarge/spot"), "{:?}", quote.assumptions);
        // 5 + 12 / 5.02 s; 540 + 10 + 2.4 s.
        assert_eq!((quote.playable.soon_s.round(), quote.playable.late_s.round()), (7.0, 552.0));
        assert_eq!((quote.done.soon_s.round(), quote.done.late_s.round()), (1081.0, 1733.0));
        assert_eq!(quote.pools[0].pool.as_str(), "eu-west-1/g4dn.xlarge/spot", "the cheapest first");
        assert_eq!((quote.pools[0].work, quote.pools[0].measured_chunks), (quote.low, None));
    }

    #[test]
    fn at_most_the_source_is_read_in_another_region_where_work_travels() {
        let (mut fleet, home) = (fleet(), RegionName::from("eu-west-1"));
        let moved = Work { gigabytes: 8.1, ..work(5400.0) };
        let of = |fleet: &Fleet| quote(fleet, &home, moved, &Rates::default()).unwrap();
        // 8.1 GB at two cents.
        let travels = of(&fleet);
        assert_eq!((travels.transfer.0, travels.high.0), (162_000, 290_772 + 162_000));
        assert!(travels.assumptions[3].ends_with("and $0.16 to read the source in another region"));
        fleet.policy.travel = 0.0;
        let stays = of(&fleet);
        assert_eq!((stays.transfer, stays.low, stays.likely), (MicroDollars::ZERO, travels.low, travels.likely));
        fleet.policy.travel = 1.0;
        fleet.pools.retain(|p| p.region == home);
        assert_eq!(of(&fleet).high, stays.high, "there is nowhere to go");
    }

    #[test]
    fn measured_rates_make_it_cheaper_and_the_quote_says_so() {
        let fleet = fleet();
        let pool = &fleet.pools[0];
        let chunk = |n: i64| crate::rates::EncodedChunk {
            pool: pool.id.to_string(),
            worker: uuid::Uuid::nil(),
            slots: None,
            encode_s: 48.0,
            began: crate::moment::Moment(n * 4000),
            ended: crate::moment::Moment(n * 4000 + 4000),
        };
        let rates = Rates::of(&fleet, &(0..10).map(chunk).collect::<Vec<_>>());
        let region = &pool.region;
        let before = quote(&fleet, region, work(5400.0), &Rates::default()).unwrap();
        let after = quote(&fleet, region, work(5400.0), &rates).unwrap();
        assert!(after.low.0 * 2 < before.low.0 && after.done.soon_s * 2.0 < before.done.soon_s);
        assert_eq!(after.pools[0].measured_chunks, Some(10));
        assert!(
            after.assumptions[0].ends_with("does 12.0 a second, as its last 10 chunks did"),
            "{:?}",
            after.assumptions
        );
    }

    #[test]
    fn a_quote_needs_a_pool_and_survives_nonsense() {
        let fleet = fleet();
        let mars = RegionName::from("mars-north-1");
        let refused = quote(&fleet, &mars, work(1.0), &Rates::default()).unwrap_err();
        assert_eq!(refused.to_string(), "the fleet has no region mars-north-1");
        let nonsense = Work { total_s: f64::NAN, first_s: f64::INFINITY, gigabytes: f64::NAN };
        let quote = quote(&fleet, &RegionName::from("us-east-1"), nonsense, &Rates::default()).unwrap();
        assert_eq!(quote.low, MicroDollars::ZERO);
        assert!(quote.playable.late_s.is_finite() && quote.done.late_s.is_finite());
    }
}
