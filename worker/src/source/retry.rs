//! Trying a request again when its failure may pass.

use std::future::Future;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use tracing::warn;

use super::{NetworkOptions, SourceError};

/// Longest wait between two tries.
const MAX_DELAY: Duration = Duration::from_secs(8);

/// Makes a request until it succeeds, fails for good ([`SourceError::retryable`]), or the options' tries or time are
/// used up; then the last error. Each try has the block's whole time limit.
pub(super) async fn with_retries<T, F, Fut>(
    input: &str,
    options: &NetworkOptions,
    mut request: F,
) -> Result<T, SourceError>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, SourceError>>,
{
    let backoff = ExponentialBuilder::default()
        .with_min_delay(options.first_delay)
        .with_max_delay(MAX_DELAY.max(options.first_delay))
        .with_max_times(options.tries.saturating_sub(1))
        .with_total_delay(Some(options.total_delay))
        .with_jitter();
    let attempt = || {
        let timed = tokio::time::timeout(options.block_timeout, request());
        async { timed.await.unwrap_or_else(|elapsed| Err(SourceError::unavailable(input, elapsed))) }
    };
    attempt
        .retry(backoff)
        .when(SourceError::retryable)
        .notify(|error, delay| {
            let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
            let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
            warn!(delay_ms, "A request for the source failed and is tried again: {error}: {cause}");
        })
        .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::SourceOptions;
    use std::cell::Cell;

    #[tokio::test]
    async fn only_what_may_pass_is_tried_again_and_not_for_ever() {
        let options = NetworkOptions {
            first_delay: Duration::from_millis(1),
            block_timeout: Duration::from_millis(50),
            tries: 4,
            ..SourceOptions::default().network
        };
        let made = Cell::new(0);
        let passing = with_retries("m.mp4", &options, async || {
            made.set(made.get() + 1);
            if made.get() < 3 { Err(SourceError::unavailable("m.mp4", "busy")) } else { Ok(made.get()) }
        });
        assert_eq!(passing.await.unwrap(), 3);

        made.set(0);
        let lasting = with_retries("m.mp4", &options, async || {
            made.set(made.get() + 1);
            Err::<(), _>(SourceError::unavailable("m.mp4", "busy"))
        });
        assert!(lasting.await.unwrap_err().retryable());
        assert_eq!(made.get(), 4);

        made.set(0);
        let final_at_once = with_retries("m.mp4", &options, async || {
            made.set(made.get() + 1);
            Err::<(), _>(SourceError::Changed { input: "m.mp4".to_owned() })
        });
        assert!(matches!(final_at_once.await, Err(SourceError::Changed { .. })));
        assert_eq!(made.get(), 1);
    }

    #[tokio::test]
    async fn a_request_that_never_ends_is_given_up() {
        let options = NetworkOptions {
            first_delay: Duration::from_millis(1),
            block_timeout: Duration::from_millis(10),
            tries: 2,
            ..SourceOptions::default().network
        };
        let error = with_retries("m.mp4", &options, std::future::pending::<Result<(), _>>).await.unwrap_err();
        assert!(matches!(error, SourceError::Unavailable { .. }));
    }
}
