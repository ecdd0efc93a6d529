//! Bit rates as a playlist must state them, measured from the segments that are there.

use std::ops::Add;

use serde::{Deserialize, Serialize};

/// Measured bit rates of a rendition, in bit/s, rounded up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bandwidth {
    /// Largest bit rate of any run of whole segments that lasts 0.5 to 1.5 target durations.
    pub peak: u64,
    /// All bits over all time.
    pub average: u64,
}

/// What two renditions need when they are played together: peaks may coincide.
impl Add for Bandwidth {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self { peak: self.peak.saturating_add(other.peak), average: self.average.saturating_add(other.average) }
    }
}

/// Longest run that is looked at, in segments. A run of normal segments has one or two; only segments of
/// next to no duration would make it longer.
const MAX_RUN: usize = 64;

/// Peak and average bit rate of `segments`, given as duration in seconds and size in bytes.
///
/// Peak segment bit rate is defined by rfc8216bis section 4.4.6.2 (`BANDWIDTH`): the largest bit rate of any contiguous
/// set of segments whose total duration is between 0.5 and 1.5 times the target duration (in seconds). When there is no such
/// set, as in a playlist of one short segment, the average is the peak.
#[must_use]
pub fn measured_bandwidth(segments: &[(f64, u64)], target_duration: f64) -> Bandwidth {
    let (shortest, longest) = (0.5 * target_duration, 1.5 * target_duration);
    let mut peak = 0;
    for first in 0..segments.len() {
        let (mut seconds, mut bytes) = (0.0, 0_u64);
        for &(duration, size) in segments[first..].iter().take(MAX_RUN) {
            seconds += duration;
            bytes = bytes.saturating_add(size);
            if seconds > longest {
                break;
            }
            if seconds >= shortest {
                peak = peak.max(bit_rate(bytes, seconds));
            }
        }
    }
    let seconds: f64 = segments.iter().map(|segment| segment.0).sum();
    let bytes = segments.iter().fold(0_u64, |sum, segment| sum.saturating_add(segment.1));
    let average = bit_rate(bytes, seconds);
    Bandwidth { peak: if peak == 0 { average } else { peak }, average }
}

/// Bits per second, rounded up; 0 when no time passes.
fn bit_rate(bytes: u64, seconds: f64) -> u64 {
    if seconds > 0.0 { (bytes as f64 * 8.0 / seconds).ceil() as u64 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peak_is_the_busiest_run_of_about_a_target_duration() {
        // (segments, target duration, peak, average)
        for (segments, target, peak, average) in [
            (&[(6.0, 750_000), (6.0, 1_500_000)][..], 6.0, 2_000_000, 1_500_000),
            // The short last segment counts only together with the one before it.
            (&[(6.0, 750_000), (2.0, 750_000)], 6.0, 1_500_000, 1_500_000),
            // Half a target duration is long enough.
            (&[(6.0, 750_000), (3.0, 750_000)], 6.0, 2_000_000, 1_333_334),
            // Nothing is long enough.
            (&[(1.0, 125_000)], 6.0, 1_000_000, 1_000_000),
            (&[], 6.0, 0, 0),
            (&[(0.0, 10)], 6.0, 0, 0),
        ] {
            assert_eq!(measured_bandwidth(segments, target), Bandwidth { peak, average }, "{segments:?}");
        }
    }

    #[test]
    fn sums_of_peaks_are_what_a_variant_needs() {
        let (video, audio) = (Bandwidth { peak: 5, average: 3 }, Bandwidth { peak: 2, average: 1 });
        assert_eq!(video + audio, Bandwidth { peak: 7, average: 4 });
    }
}
