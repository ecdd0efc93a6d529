//! A clock that goes on while the machine sleeps.

use std::time::Duration;

/// Time since the machine started, asleep or not. `std::time::Instant` leaves sleep out, so that whoever measures a lease
/// with it believes to hold what others have taken meanwhile.
#[must_use]
pub fn since_boot() -> Duration {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes into the struct that it is given.
    let code = unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut now) };
    debug_assert_eq!(code, 0, "Linux has this clock since 2.6.39");
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_forward() {
        let before = since_boot();
        std::thread::sleep(Duration::from_millis(5));
        assert!(since_boot() >= before + Duration::from_millis(5));
    }
}
