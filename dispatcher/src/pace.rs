//! How fast a growing playlist grows. Pure.
//!
//! A player that watches a growing presentation expects each new segment within 1.5 target durations of the one before
//! (RFC 8216 6.2.1 and the authoring rules). Chunks are finished in bursts; so a few segments are held back, and handed
//! out one by one until the next burst. Nobody waits for them: they are at the far end of what can be watched. A part of
//! the match that is watched before what precedes it grows by the same rule: its first three segments as they come.

/// Segments that are held back at most.
const MOST_RESERVE: u64 = 10;

/// State of one growing presentation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// Segments that every rendition has, from the first without a hole.
    pub available: u64,
    /// Segments that are listed.
    pub listed: u64,
    /// Seconds since the playlist grew; `None` before it exists.
    pub appended_s: Option<f64>,
    /// Target duration in seconds.
    pub target_s: f64,
    /// Seconds in which one segment becomes available, on average so far.
    pub seconds_per_segment: f64,
}

/// How many segments to list now.
#[must_use]
pub fn pace(p: Pace) -> u64 {
    if p.available <= p.listed {
        return p.listed;
    }
    let Some(age) = p.appended_s else {
        // The first moment is what the coach waits for.
        return p.available.min(1).max(p.available.saturating_sub(reserve(p)));
    };
    let by_reserve = p.available.saturating_sub(reserve(p)).max(p.listed);
    // One at least, a little before the limit of 1.5 target durations: so the reserve lasts longest.
    if by_reserve == p.listed && age >= p.target_s * 1.4 { p.listed + 1 } else { by_reserve }
}

/// Segments to hold back: none when they come faster than they are watched with a wide margin, else what bridges a gap of
/// one chunk.
fn reserve(p: Pace) -> u64 {
    let speed = p.target_s / p.seconds_per_segment.max(1e-3);
    if speed >= 3.0 {
        return 1.min(p.available.saturating_sub(3));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
    let wanted = (8.0 / speed.max(0.1)).ceil().clamp(1.0, 10.0) as u64;
    // Players start with three segments at hand.
    wanted.min(MOST_RESERVE).min(p.available.saturating_sub(3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(available: u64, listed: u64, appended_s: Option<f64>, seconds_per_segment: f64) -> u64 {
        pace(Pace { available, listed, appended_s, target_s: 6.0, seconds_per_segment })
    }

    #[test]
    fn the_first_segment_is_listed_at_once() {
        assert_eq!(at(1, 0, None, 1.0), 1);
        assert_eq!(at(1, 0, None, 60.0), 1);
    }

    #[test]
    fn it_only_grows_and_never_beyond_what_is_there() {
        for available in 0..60 {
            for listed in 0..=available {
                for age in [None, Some(0.0), Some(5.0), Some(60.0)] {
                    for speed in [0.1, 1.0, 6.0, 60.0] {
                        let listed = if age.is_none() { 0 } else { listed };
                        let next = at(available, listed, age, speed);
                        assert!(next >= listed && next <= available, "{available} {listed} {age:?} {speed}");
                    }
                }
            }
        }
    }

    #[test]
    fn while_anything_is_held_back_something_is_added_within_one_and_a_half_target_durations() {
        // Bursts of 8 segments every 40 s: hardly faster than it is watched, as on a busy machine.
        let (mut available, mut listed, mut appended) = (8, 0, None);
        let mut worst: f64 = 0.0;
        for tick in 0..4000_u32 {
            let now = f64::from(tick) * 0.25;
            if tick > 0 && tick % 160 == 0 {
                available += 8;
            }
            let next = at(available, listed, appended.map(|t: f64| now - t), 40.0 / 8.0);
            if next > listed {
                if let Some(t) = appended {
                    worst = worst.max(now - t);
                }
                (listed, appended) = (next, Some(now));
            }
        }
        assert!(worst <= 9.0, "{worst}");
        assert!(available - listed <= 10);
    }
}
