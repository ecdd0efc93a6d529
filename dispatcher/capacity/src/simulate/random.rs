//! Random numbers for a scenario: a stream for each purpose, all from one seed, so that what one policy draws does not
//! shift what another policy sees.

use fastrand::Rng;

/// Logarithm of the quantile 0.9 over the median of a log-normal variable with sigma 1.
const P90: f64 = 1.281_551_565_544_600_4;

/// A stream of random numbers.
#[derive(Clone, Debug)]
pub(crate) struct Stream(Rng);

impl Stream {
    /// The stream of this purpose and number.
    pub(crate) fn new(seed: u64, purpose: &str, number: u64) -> Self {
        // FNV-1a over the purpose; the generator mixes the rest.
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for byte in purpose.bytes().chain(number.to_le_bytes()).chain(seed.to_le_bytes()) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        Self(Rng::with_seed(hash))
    }

    /// Uniform in [0, 1).
    pub(crate) fn unit(&mut self) -> f64 {
        self.0.f64()
    }

    /// Uniform among `0..n`; 0 when there is nothing to choose from.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        if n == 0 { 0 } else { self.0.usize(..n) }
    }

    /// Whether something of this probability happens.
    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// Standard normal (Box and Muller).
    pub(crate) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// Exponential with this mean.
    pub(crate) fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.unit()).ln()
    }

    /// Log-normal with this median; `sigma` is the deviation of its logarithm.
    pub(crate) fn log_normal(&mut self, median: f64, sigma: f64) -> f64 {
        median * (sigma * self.normal()).exp()
    }

    /// Log-normal with this median and this quantile 0.9.
    pub(crate) fn between(&mut self, median: f64, p90: f64) -> f64 {
        if median <= 0.0 { 0.0 } else { self.log_normal(median, (p90 / median).max(1.0).ln() / P90) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_of_one_seed_repeat_and_differ_by_purpose() {
        let draw = |seed, purpose, n| Stream::new(seed, purpose, n).unit();
        assert_eq!(draw(1, "boot", 0), draw(1, "boot", 0));
        assert!(draw(1, "boot", 0) != draw(1, "boot", 1));
        assert!(draw(1, "boot", 0) != draw(1, "market", 0));
        assert!(draw(1, "boot", 0) != draw(2, "boot", 0));
    }

    #[test]
    fn boot_times_have_the_median_and_the_tail_that_were_asked_for() {
        let mut stream = Stream::new(7, "boot", 0);
        let mut times: Vec<f64> = (0..20_001).map(|_| stream.between(330.0, 540.0)).collect();
        times.sort_by(f64::total_cmp);
        assert!((times[10_000] / 330.0 - 1.0).abs() < 0.02, "{}", times[10_000]);
        assert!((times[18_000] / 540.0 - 1.0).abs() < 0.02, "{}", times[18_000]);
        assert_eq!(stream.between(720.0, 720.0), 720.0);
        let mean: f64 = (0..20_000).map(|_| stream.exponential(5.0)).sum::<f64>() / 20_000.0;
        assert!((mean - 5.0).abs() < 0.15, "{mean}");
    }
}
