//! Where a clip lies: which frames are in it, and which segments hold them.

use std::ops::Range;

use crate::plan::JobPlan;
use crate::timeline::FrameRate;

/// The frames and segments of a clip.
#[derive(Clone, Debug, PartialEq)]
pub struct Cut {
    /// First segment.
    pub first: u64,
    /// Segment after the last.
    pub end: u64,
    /// Seconds from the first segment's start to the clip's.
    pub offset_s: f64,
    /// Seconds of the clip.
    pub length_s: f64,
    /// The frames that are shown within the clip; at least one.
    pub frames: Range<u64>,
}

impl Cut {
    /// The clip from `start_ms` up to `end_ms` of a match.
    #[must_use]
    pub fn of(plan: &JobPlan, start_ms: i64, end_ms: i64) -> Self {
        let (rate, grid) = (plan.video.rate, &plan.video.grid);
        let frames = frames(rate, start_ms, end_ms);
        let first = grid.segment_of(frames.start.min(frame_on_screen(rate, start_ms)));
        let last = grid.segment_of(frames.end - 1);
        let offset_s = seconds(start_ms) - grid.start(first).map_or(0.0, |frame| rate.seconds(frame));
        let length_s = seconds(end_ms.saturating_sub(start_ms));
        Self { first, end: last + 1, offset_s: offset_s.max(0.0), length_s, frames }
    }
}

/// Frames whose time lies in `[start_ms, end_ms)`. Whoever names a frame by its time has rounded it to milliseconds, so a
/// frame that begins up to half of one earlier counts as beginning there.
fn frames(rate: FrameRate, start_ms: i64, end_ms: i64) -> Range<u64> {
    let (num, den) = (i128::from(rate.num()), i128::from(rate.den()));
    // The first frame k with k·den/num ≥ ms − ½.
    let first_from = |ms: i64| {
        let (above, below) = ((2 * i128::from(ms) - 1) * num, 2000 * den);
        let frame = above.div_euclid(below) + i128::from(above.rem_euclid(below) != 0);
        u64::try_from(frame).unwrap_or(0)
    };
    let start = first_from(start_ms);
    start..first_from(end_ms).max(start + 1)
}

/// The frame that is on screen at a time.
fn frame_on_screen(rate: FrameRate, ms: i64) -> u64 {
    let frame = i128::from(ms) * i128::from(rate.num()) / (1000 * i128::from(rate.den()));
    u64::try_from(frame).unwrap_or(0)
}

#[expect(clippy::cast_precision_loss, reason = "media times")]
fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_named_by_its_rounded_time_is_the_first_of_the_clip_and_the_next_one_ends_it() {
        for (num, den) in [(25, 1), (30000, 1001), (50, 1), (60000, 1001), (24000, 1001), (25, 2)] {
            let rate = FrameRate::new(num, den).unwrap();
            for frame in (0..20_000).chain([400_001, 1_000_003]) {
                let ms = |frame: u64| {
                    #[expect(clippy::cast_possible_truncation, reason = "media times")]
                    let ms = (rate.seconds(frame) * 1000.0).round() as i64;
                    ms
                };
                assert_eq!(frames(rate, ms(frame), ms(frame + 7)), frame..frame + 7, "{rate}");
            }
        }
    }

    #[test]
    fn what_begins_within_the_clip_is_in_it() {
        let rate = FrameRate::new(25, 1).unwrap();
        assert_eq!(frames(rate, 0, 40), 0..1);
        assert_eq!(frames(rate, 1, 41), 1..2);
        assert_eq!(frames(rate, 10_000, 12_000), 250..300);
        // Shorter than a frame: the one that comes next.
        assert_eq!(frames(rate, 41, 42), 2..3);
    }
}
