//! How often a caller may ask.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

/// Callers that have not asked for a while are forgotten after this many requests.
const CLEAN_EVERY: u32 = 10_000;

/// A bucket of requests for each caller.
#[derive(Debug)]
pub(super) struct Rates {
    limiter: DefaultKeyedRateLimiter<String>,
    clock: DefaultClock,
    taken: AtomicU32,
}

impl Rates {
    /// `per_second` requests, and twice as many at once.
    pub(super) fn new(per_second: u32) -> Self {
        let per_second = NonZeroU32::new(per_second).unwrap_or(NonZeroU32::MIN);
        let quota =
            Quota::per_second(per_second).allow_burst(per_second.saturating_mul(NonZeroU32::MIN.saturating_add(1)));
        Self { limiter: RateLimiter::keyed(quota), clock: DefaultClock::default(), taken: AtomicU32::new(0) }
    }

    /// Takes one request from a caller's bucket; else says after how many seconds there will be one.
    pub(super) fn take(&self, caller: &str) -> Result<(), u64> {
        if self.taken.fetch_add(1, Relaxed) % CLEAN_EVERY == CLEAN_EVERY - 1 {
            self.limiter.retain_recent();
            self.limiter.shrink_to_fit();
        }
        self.limiter
            .check_key(&caller.to_owned())
            .map_err(|not_until| not_until.wait_time_from(self.clock.now()).as_secs().saturating_add(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_caller_has_a_bucket_of_its_own() {
        let rates = Rates::new(1);
        assert_eq!((rates.take("a"), rates.take("a")), (Ok(()), Ok(())));
        assert!(rates.take("a").is_err_and(|seconds| seconds >= 1));
        assert_eq!(rates.take("b"), Ok(()));
    }
}
