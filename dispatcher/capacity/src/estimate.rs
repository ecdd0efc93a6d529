//! Work in encode-seconds, and how fast instances do it.
//!
//! One encode-second is the work of one second of 1080p30 video through the ladder 1080, 720, 480, 360: 109 million
//! pixels encoded. A source weighs by the pixels that are encoded for it, so three hours of 4K60 weigh what they cost.
//! Copied renditions weigh nothing.

use std::collections::BTreeMap;

use fleet::plan::JobPlan;
use serde::{Deserialize, Serialize};

use crate::pools::Pool;

/// Pixels of one encode-second: 1920×1080 + 1280×720 + 854×480 + 640×360, 30 times.
pub const PIXELS: f64 = 3_635_520.0 * 30.0;

/// Bit rate of a source that nobody has looked into, bit/s: a phone's or camcorder's 1080p.
const ASSUMED_BIT_RATE: f64 = 12e6;

/// A measured rate replaces the promised one by halves with this many encode-seconds: two matches.
const PRIOR_ENCODE_S: f64 = 10_800.0;

/// Encode-seconds that are remembered: what is older counts less and less.
const MEMORY_ENCODE_S: f64 = 200_000.0;

/// Work of `seconds` of video with these encoded renditions.
#[must_use]
pub fn encode_seconds(seconds: f64, frame_rate: f64, encoded: impl IntoIterator<Item = (u32, u32)>) -> f64 {
    let pixels: f64 = encoded.into_iter().map(|(w, h)| f64::from(w) * f64::from(h)).sum();
    let work_s = seconds * frame_rate * pixels / PIXELS;
    if work_s.is_finite() { work_s.max(0.0) } else { 0.0 }
}

/// Work of `seconds` of a planned job.
#[must_use]
pub fn of_plan(plan: &JobPlan, seconds: f64) -> f64 {
    let encoded = plan.video.renditions.iter().filter(|r| r.encode.is_some());
    encode_seconds(seconds, plan.video.rate.as_f64(), encoded.map(|r| (r.width, r.height)))
}

/// Work of a source that nobody has looked into: 1080p30 of its length, or of the length that its size suggests.
#[must_use]
pub fn before_plan(seconds: Option<f64>, bytes: Option<u64>) -> f64 {
    let seconds = seconds.filter(|s| s.is_finite() && *s > 0.0);
    seconds.or_else(|| bytes.map(|b| b as f64 * 8.0 / ASSUMED_BIT_RATE)).unwrap_or(0.0)
}

/// Rates that were measured, per instance type.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rates {
    measured: BTreeMap<String, Measured>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Measured {
    encode_s: f64,
    slot_s: f64,
}

impl Rates {
    /// Takes note of a finished chunk: its work, and the seconds that its slot was busy with it. Nonsense is ignored.
    pub fn observe(&mut self, instance_type: &str, encode_s: f64, slot_s: f64) {
        let sensible = |x: f64| x.is_finite() && x > 0.0;
        if !sensible(encode_s) || !sensible(slot_s) || !(1e-3..1e4).contains(&(encode_s / slot_s)) {
            return;
        }
        let measured = self.measured.entry(instance_type.to_owned()).or_default();
        let fading = (1.0 - encode_s / MEMORY_ENCODE_S).max(0.0);
        measured.encode_s = measured.encode_s * fading + encode_s;
        measured.slot_s = measured.slot_s * fading + slot_s;
    }

    /// Encode-seconds a second of one instance: what the pool promises, drawn towards what was measured.
    #[must_use]
    pub fn rate(&self, pool: &Pool) -> f64 {
        let Some(measured) = self.measured.get(&pool.instance_type) else { return pool.encode_rate };
        let slots = f64::from(pool.slots.max(1));
        let prior_slot_s = PRIOR_ENCODE_S / pool.encode_rate * slots;
        slots * (PRIOR_ENCODE_S + measured.encode_s) / (prior_slot_s + measured.slot_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pools::Fleet;

    #[test]
    fn a_second_of_the_reference_is_an_encode_second_and_4k60_weighs_by_its_pixels() {
        let ladder = [(1920, 1080), (1280, 720), (854, 480), (640, 360)];
        assert_eq!(encode_seconds(5400.0, 30.0, ladder), 5400.0);
        let uhd = encode_seconds(3.0 * 3600.0, 60.0, ladder.into_iter().chain([(3840, 2160)]));
        assert!((uhd / 10_800.0 - 6.56).abs() < 0.01, "{uhd}");
        assert_eq!(encode_seconds(f64::NAN, 30.0, ladder), 0.0);
    }

    #[test]
    fn what_nobody_looked_into_is_guessed_from_length_or_size() {
        assert_eq!(before_plan(Some(60.0), Some(1)), 60.0);
        assert_eq!(before_plan(None, Some(8_100_000_000)), 5400.0);
        assert_eq!(before_plan(Some(f64::NAN), None), 0.0);
    }

    #[test]
    fn measured_rates_replace_the_promised_one_and_nonsense_does_not() {
        let fleet = Fleet::parse(include_str!("../../../infra/fleet.toml")).unwrap();
        let pool = fleet.pools.iter().find(|p| p.instance_type == "g6.xlarge").unwrap();
        let mut rates = Rates::default();
        for bad in [(f64::NAN, 1.0), (1.0, 0.0), (1e9, 1.0), (-5.0, 1.0)] {
            rates.observe("g6.xlarge", bad.0, bad.1);
        }
        assert_eq!(rates.rate(pool), pool.encode_rate);
        for _ in 0..10_000 {
            rates.observe("g6.xlarge", 48.0, 12.0);
        }
        assert!((rates.rate(pool) - 8.0).abs() < 0.3, "two slots at four each: {}", rates.rate(pool));
    }
}
