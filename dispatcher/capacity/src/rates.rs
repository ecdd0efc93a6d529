//! How fast instances really are: the median of what chunks took lately, bounded by what the pool promises.
//!
//! Instances of one type are alike, so pools of the same type share what was measured. A chunk that had its instance to
//! itself says little about how fast a full instance is; only chunks count beside which all other slots were busy.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::moment::Moment;
use crate::pools::{Fleet, Pool};

/// With fewer chunks than this, the promised rate counts.
const LEAST_CHUNKS: usize = 5;

/// A measured rate is at least and at most this many times the promised one: beyond it, something else is wrong.
const BOUNDS: (f64, f64) = (0.25, 4.0);

/// Slots that may have been free for a part of a chunk's time.
const FREE_SLOTS: f64 = 0.5;

/// A chunk that was encoded.
#[derive(Clone, Debug, PartialEq)]
pub struct EncodedChunk {
    /// Pool of its worker, as the worker gave it.
    pub pool: String,
    /// Its worker.
    pub worker: Uuid,
    /// Its work, encode-seconds.
    pub encode_s: f64,
    /// When the worker had it.
    pub began: Moment,
    /// When it was done.
    pub ended: Moment,
}

/// A rate that was measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Encode-seconds a second of one instance.
    pub rate: f64,
    /// Of how many chunks it is the median.
    pub chunks: u32,
    /// What `fleet.toml` promises.
    pub promised: f64,
}

/// Rates by instance type.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rates(BTreeMap<String, Measured>);

impl Rates {
    /// What these chunks say of a fleet's instance types. Nonsense is ignored.
    #[must_use]
    pub fn of(fleet: &Fleet, chunks: &[EncodedChunk]) -> Self {
        let mut samples: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        let mut workers: BTreeMap<Uuid, Vec<&EncodedChunk>> = BTreeMap::new();
        for chunk in chunks {
            workers.entry(chunk.worker).or_default().push(chunk);
        }
        for chunk in chunks {
            let Some(pool) = fleet.pools.iter().find(|p| p.id.as_str() == chunk.pool) else { continue };
            let slots = f64::from(pool.slots.max(1));
            let slot_s = chunk.ended.since_s(chunk.began);
            let sensible = chunk.encode_s.is_finite() && chunk.encode_s > 0.0 && slot_s > 0.0;
            let at_once = || busy_slots(chunk, workers.get(&chunk.worker).map_or(&[], Vec::as_slice));
            if sensible && (slots <= 1.0 || at_once() >= slots - FREE_SLOTS) {
                samples.entry(&pool.instance_type).or_default().push(slots * chunk.encode_s / slot_s);
            }
        }
        let measured = samples.into_iter().filter(|(_, samples)| samples.len() >= LEAST_CHUNKS);
        let rates = measured.filter_map(|(instance_type, mut samples)| {
            samples.sort_by(f64::total_cmp);
            let promised = fleet.pools.iter().find(|p| p.instance_type == instance_type)?.encode_rate;
            let rate = samples[samples.len() / 2].clamp(promised * BOUNDS.0, promised * BOUNDS.1);
            let chunks = u32::try_from(samples.len()).unwrap_or(u32::MAX);
            Some((instance_type.to_owned(), Measured { rate, chunks, promised }))
        });
        Self(rates.collect())
    }

    /// What was measured of a pool's instance type; `None` while the promise counts.
    #[must_use]
    pub fn of_pool(&self, pool: &Pool) -> Option<Measured> {
        self.0.get(&pool.instance_type).map(|measured| Measured { promised: pool.encode_rate, ..*measured })
    }

    /// The pool with its measured rate, when there is one.
    #[must_use]
    pub fn apply(&self, pool: &Arc<Pool>) -> Arc<Pool> {
        match self.of_pool(pool) {
            Some(measured) => Arc::new(Pool { encode_rate: measured.rate, ..pool.as_ref().clone() }),
            None => pool.clone(),
        }
    }
}

/// Slots of a chunk's worker that were busy during it, on average, its own included.
fn busy_slots(chunk: &EncodedChunk, same_worker: &[&EncodedChunk]) -> f64 {
    let both_ms: u64 = same_worker.iter().map(|c| c.ended.min(chunk.ended).since_ms(c.began.max(chunk.began))).sum();
    both_ms as f64 / chunk.ended.since_ms(chunk.began).max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pools::PoolId;

    fn fleet() -> Fleet {
        Fleet::parse(include_str!("../../../infra/fleet.toml")).unwrap()
    }

    /// `count` chunks of 48 encode-seconds, one after the other on each of `slots` slots, `took_s` each.
    fn chunks(pool: &Pool, slots: u32, count: i64, took_s: f64) -> Vec<EncodedChunk> {
        let at = |n: i64| Moment(0).plus_s(n as f64 * took_s);
        (0..slots)
            .flat_map(|_| (0..count).map(move |n| (at(n), at(n + 1))))
            .map(|(began, ended)| EncodedChunk {
                pool: pool.id.to_string(),
                worker: Uuid::from_u128(1),
                encode_s: 48.0,
                began,
                ended,
            })
            .collect()
    }

    #[test]
    fn the_median_of_full_instances_replaces_the_promise_within_bounds() {
        let fleet = fleet();
        let pool = fleet.pool(&PoolId::from("us-east-1/g6.xlarge/spot")).unwrap();
        let slots = pool.slots;
        let per_slot = pool.encode_rate / f64::from(slots);
        let mut lately = chunks(pool, slots, 20, 48.0 / per_slot / 1.5);
        // One that hung says nothing.
        lately[3].ended = lately[3].ended.plus_s(600.0);
        let rates = Rates::of(&fleet, &lately);
        let measured = rates.of_pool(pool).unwrap();
        assert!((measured.rate / pool.encode_rate - 1.5).abs() < 0.01, "{measured:?}");
        assert_eq!((measured.promised, rates.apply(pool).encode_rate), (pool.encode_rate, measured.rate));
        let other_option = fleet.pool(&PoolId::from("us-east-1/g6.xlarge/on_demand")).unwrap();
        assert!(rates.of_pool(other_option).is_some(), "instances of one type are alike");
        let absurd = Rates::of(&fleet, &chunks(pool, slots, 20, 1e-3));
        assert_eq!(absurd.of_pool(pool).unwrap().rate, pool.encode_rate * 4.0);
    }

    #[test]
    fn few_chunks_half_empty_instances_and_nonsense_leave_the_promise() {
        let mut fleet = fleet();
        let pool = Arc::new(Pool { slots: 3, ..fleet.pools[0].as_ref().clone() });
        fleet.pools = vec![pool.clone()];
        assert_eq!(Rates::of(&fleet, &chunks(&pool, 3, 1, 10.0)), Rates::default(), "too few");
        assert_eq!(Rates::of(&fleet, &chunks(&pool, 1, 50, 10.0)), Rates::default(), "alone on its instance");
        let mut bad = chunks(&pool, 3, 20, 10.0);
        for (i, chunk) in bad.iter_mut().enumerate() {
            chunk.encode_s = [f64::NAN, 0.0, -1.0, f64::INFINITY][i % 4];
        }
        assert_eq!(Rates::of(&fleet, &bad), Rates::default());
        assert_eq!(Rates::default().apply(&pool), pool);
    }
}
