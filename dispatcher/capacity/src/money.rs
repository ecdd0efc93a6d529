//! Money as whole millionths of a US dollar: sums are exact, so a receipt adds up to the ledger.

use serde::{Deserialize, Serialize};

const HOUR_MS: i128 = 3_600_000;

/// Millionths of a US dollar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MicroDollars(pub i64);

impl MicroDollars {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// From dollars; `None` for what is not finite, negative, or above a billion.
    #[must_use]
    pub fn from_usd(usd: f64) -> Option<Self> {
        (usd.is_finite() && (0.0..=1e9).contains(&usd)).then(|| Self((usd * 1e6).round() as i64))
    }

    /// As dollars, for printing and plotting.
    #[must_use]
    pub fn usd(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// What `ms` milliseconds cost at this price per hour, rounded to the nearest millionth.
    #[must_use]
    pub fn per_hour_for_ms(self, ms: u64) -> Self {
        let exact = i128::from(self.0) * i128::from(ms);
        Self(i64::try_from((exact + HOUR_MS / 2) / HOUR_MS).unwrap_or(i64::MAX))
    }

    /// Splits the sum in proportion to `weights`; the parts add up to the sum exactly. Without any weight the first part gets it all.
    #[must_use]
    pub fn split(self, weights: &[u64]) -> Vec<Self> {
        split(self.0, weights).into_iter().map(Self).collect()
    }

    /// As dollars with six places: exact.
    #[must_use]
    pub fn exact(self) -> String {
        let sign = if self.0 < 0 { "-" } else { "" };
        let micros = self.0.unsigned_abs();
        format!("{sign}{}.{:06}", micros / 1_000_000, micros % 1_000_000)
    }
}

/// Splits a whole number in proportion to `weights`; the parts add up to it exactly. Without any weight the first part gets it all.
#[must_use]
pub fn split(sum: i64, weights: &[u64]) -> Vec<i64> {
    let total: u128 = weights.iter().map(|w| u128::from(*w)).sum();
    let (mut weight, mut given) = (0_u128, 0_i64);
    weights
        .iter()
        .enumerate()
        .map(|(i, w)| {
            weight += u128::from(*w);
            let until = if total == 0 {
                sum
            } else {
                let exact = i128::from(sum) * i128::try_from(weight).unwrap_or(i128::MAX);
                i64::try_from(exact / i128::try_from(total).unwrap_or(1)).unwrap_or(i64::MAX)
            };
            let part = if total == 0 && i > 0 { 0 } else { until - given };
            given += part;
            part
        })
        .collect()
}

impl std::ops::Add for MicroDollars {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl std::ops::AddAssign for MicroDollars {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl std::ops::Sub for MicroDollars {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl std::iter::Sum for MicroDollars {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Self::ZERO, |a, b| a + b)
    }
}

impl std::fmt::Display for MicroDollars {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let cents = self.0 as f64 / 1e6;
        f.pad(&format!("${cents:.2}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_hour_costs_its_price_and_half_a_millionth_is_rounded() {
        let price = MicroDollars::from_usd(0.526).unwrap();
        assert_eq!(price.per_hour_for_ms(3_600_000), price);
        assert_eq!(price.per_hour_for_ms(1_000), MicroDollars(146));
        assert_eq!(MicroDollars::from_usd(f64::NAN), None);
        assert_eq!(MicroDollars::from_usd(-1.0), None);
        assert_eq!(MicroDollars(1_234_567).to_string(), "$1.23");
        assert_eq!(
            (MicroDollars(12_000_034).exact(), MicroDollars(-5).exact()),
            ("12.000034".into(), "-0.000005".into())
        );
    }

    proptest! {
        #[test]
        fn parts_add_up_to_the_sum(sum in 0_i64..10_000_000_000, weights in proptest::collection::vec(0_u64..1_000_000_000, 1..20)) {
            let parts = MicroDollars(sum).split(&weights);
            prop_assert_eq!(parts.iter().copied().sum::<MicroDollars>(), MicroDollars(sum));
            prop_assert!(parts.iter().all(|p| p.0 >= 0));
        }
    }
}
