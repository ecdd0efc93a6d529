//! Work in encode-seconds. How fast instances do it is in [`crate::rates`].
//!
//! One encode-second is the work of one second of 1080p30 video through the ladder 1080, 720, 480, 360: 109 million
//! pixels encoded. A source weighs by the pixels that are encoded for it, so three hours of 4K60 weigh what they cost.
//! Copied renditions weigh nothing.

use fleet::ladder::Ladder;
use fleet::plan::JobPlan;
/// Pixels of one encode-second: 1920×1080 + 1280×720 + 854×480 + 640×360, 30 times.
pub const PIXELS: f64 = 3_635_520.0 * 30.0;

/// Bit rate of a source that nobody has looked into, bit/s: a phone's or camcorder's 1080p.
const ASSUMED_BIT_RATE: f64 = 12e6;

/// Work of `seconds` of video with these encoded renditions.
#[must_use]
pub fn encode_seconds(seconds: f64, frame_rate: f64, encoded: impl IntoIterator<Item = (u32, u32)>) -> f64 {
    let pixels: f64 = encoded.into_iter().map(|(w, h)| f64::from(w) * f64::from(h)).sum();
    let work_s = seconds * frame_rate * pixels / PIXELS;
    if work_s.is_finite() { work_s.max(0.0) } else { 0.0 }
}

/// Work of `seconds` of a source of this height and frame rate through a ladder, before anybody looked into it: every
/// rung that is not above the source is encoded, at 16:9.
#[must_use]
pub fn of_ladder(ladder: &Ladder, seconds: f64, height: u32, frame_rate: f64) -> f64 {
    let mut most = f64::from(ladder.max_frame_rate.max(1));
    if frame_rate.is_finite() && frame_rate > 0.0 {
        most = frame_rate / (frame_rate / most).ceil().max(1.0);
    }
    let rungs = ladder.renditions.iter().map(|r| r.height).filter(|h| *h <= height.max(1));
    encode_seconds(seconds, most, rungs.map(|h| (h * 16 / 9, h)))
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

/// Size of a source of this length that nobody has looked into, gigabytes.
#[must_use]
pub fn gigabytes(seconds: f64) -> f64 {
    seconds * ASSUMED_BIT_RATE / 8e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_of_the_reference_is_an_encode_second_and_4k60_weighs_by_its_pixels() {
        let ladder = [(1920, 1080), (1280, 720), (854, 480), (640, 360)];
        assert_eq!(encode_seconds(5400.0, 30.0, ladder), 5400.0);
        let uhd = encode_seconds(3.0 * 3600.0, 60.0, ladder.into_iter().chain([(3840, 2160)]));
        assert!((uhd / 10_800.0 - 6.56).abs() < 0.01, "{uhd}");
        assert_eq!(encode_seconds(f64::NAN, 30.0, ladder), 0.0);
    }

    #[test]
    fn a_ladder_weighs_what_it_makes_of_the_source() {
        let ladder = fleet::profiles::all().into_iter().find(|l| l.name == "sports").unwrap();
        let match_1080 = of_ladder(&ladder, 5400.0, 1080, 30.0);
        assert!((match_1080 / 5400.0 - 1.0).abs() < 0.35, "about that of the reference: {match_1080}");
        assert!(of_ladder(&ladder, 5400.0, 720, 30.0) < match_1080 / 1.9, "rungs above the source are left out");
        let fast = of_ladder(&ladder, 60.0, 1080, 240.0);
        assert!(fast <= of_ladder(&ladder, 60.0, 1080, 60.0) + 1e-9, "rates above the ladder's are divided");
        assert_eq!(of_ladder(&ladder, f64::NAN, 1080, f64::NAN), 0.0);
    }

    #[test]
    fn what_nobody_looked_into_is_guessed_from_length_or_size() {
        assert_eq!(before_plan(Some(60.0), Some(1)), 60.0);
        assert_eq!(before_plan(None, Some(8_100_000_000)), 5400.0);
        assert_eq!(before_plan(Some(f64::NAN), None), 0.0);
    }
}
