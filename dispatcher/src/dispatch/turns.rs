//! How a loop repeats its turns.

use std::time::Duration;

use tokio::sync::watch;

use super::DispatchError;

/// Repeats a turn until `stop`: at once while it finds work, else after `every`, and later when it fails.
pub(crate) async fn repeat<F, T>(stop: &watch::Receiver<bool>, name: &str, every: Duration, mut turn: F)
where
    F: FnMut() -> T,
    T: Future<Output = Result<bool, DispatchError>>,
{
    let mut stop = stop.clone();
    let mut failures = 0_u32;
    loop {
        let wait = match turn().await {
            Ok(busy) => {
                if failures > 0 {
                    tracing::info!("{name}: works again");
                }
                failures = 0;
                if busy { every / 8 } else { every }
            }
            Err(error) => {
                if failures.is_power_of_two() || failures == 0 {
                    tracing::warn!(error = &error as &dyn std::error::Error, "{name}: failed, trying again");
                }
                failures = failures.saturating_add(1);
                (every * 2_u32.pow(failures.min(5))).min(Duration::from_secs(5).max(every))
            }
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            _ = stop.wait_for(|stopped| *stopped) => return,
        }
    }
}
