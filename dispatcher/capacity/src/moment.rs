//! Points in time as whole milliseconds since the Unix epoch, so that they compare, add and print the same everywhere.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// A point in time: milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Moment(pub i64);

impl Moment {
    /// Later than everything.
    pub const NEVER: Self = Self(i64::MAX);

    /// So many seconds later; what is not finite counts as zero, and the end of time is not passed.
    #[must_use]
    pub fn plus_s(self, seconds: f64) -> Self {
        Self(self.0.saturating_add(millis(seconds)))
    }

    /// So many milliseconds later; the end of time is not passed.
    #[must_use]
    pub fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(i64::try_from(ms).unwrap_or(i64::MAX)))
    }

    /// Seconds from `earlier` to here, negative when it is later.
    #[must_use]
    pub fn since_s(self, earlier: Self) -> f64 {
        self.0.saturating_sub(earlier.0) as f64 / 1000.0
    }

    /// Milliseconds from `earlier` to here, 0 when it is later.
    #[must_use]
    pub fn since_ms(self, earlier: Self) -> u64 {
        u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0)
    }
}

/// Seconds as milliseconds; what is not finite counts as zero.
#[must_use]
pub fn millis(seconds: f64) -> i64 {
    if seconds.is_finite() { nearest(seconds * 1000.0) } else { 0 }
}

/// The nearest whole number, halves away from zero: what `round` gives, without a call for each of millions of events.
fn nearest(x: f64) -> i64 {
    let whole = x as i64;
    let rest = x - whole as f64;
    whole.saturating_add(i64::from(rest >= 0.5)).saturating_sub(i64::from(rest <= -0.5))
}

impl From<OffsetDateTime> for Moment {
    fn from(at: OffsetDateTime) -> Self {
        Self(i64::try_from(at.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX))
    }
}

impl std::ops::Add<Duration> for Moment {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn time_never_overflows_and_ignores_what_is_not_a_number() {
        let at = Moment(5_000);
        assert_eq!(at.plus_s(1.5), Moment(6_500));
        assert_eq!(at.plus_s(f64::NAN), at);
        assert_eq!(at.plus_s(f64::INFINITY), at);
        assert_eq!(Moment::NEVER.plus_s(1e300), Moment::NEVER);
        assert_eq!(at.since_ms(Moment(6_000)), 0);
        assert_eq!(Moment(6_500).since_s(at), 1.5);
    }

    proptest! {
        #[test]
        fn nearest_is_what_round_gives(x: f64, thousandths in -5_000_000_i64..5_000_000) {
            let small = thousandths as f64 / 1000.0;
            for x in [x, small, small + 0.5, small.next_up(), small.next_down()] {
                prop_assert_eq!(nearest(x), x.round() as i64);
            }
        }
    }
}
