//! A queue that `EventBridge` fills: what is in it is not ours to shape, so bodies are handed on as text.

use std::time::Duration;

use aws_config::BehaviorVersion;

use super::{MAX_BATCH, MAX_WAIT, Queue as _, QueueError, Receipt, SqsQueue, timeouts, whole_seconds};
use crate::fault::call;

/// How long a received event stays invisible: longer than acting on it takes.
const VISIBILITY: Duration = Duration::from_secs(30);

/// A queue of events.
#[derive(Debug)]
pub struct EventQueue(SqsQueue);

impl EventQueue {
    /// A queue by its URL, with the credentials of the AWS default chain. Nothing is asked of AWS yet.
    pub async fn open(url: &str) -> Self {
        let shared = aws_config::load_defaults(BehaviorVersion::v2026_01_12()).await;
        Self::with_config(&aws_sdk_sqs::Config::from(&shared), url)
    }

    /// As [`open`](Self::open), with credentials of the caller's.
    #[must_use]
    pub fn with_config(config: &aws_sdk_sqs::Config, url: &str) -> Self {
        Self(SqsQueue::with_config(config, url, None))
    }

    /// Name of the queue.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Events with their receipts, waiting up to 20 s for the first.
    ///
    /// # Errors
    /// The queue cannot be read.
    pub async fn receive(&self) -> Result<Vec<(String, Receipt)>, QueueError> {
        let request = self
            .0
            .client
            .receive_message()
            .queue_url(&self.0.url)
            .max_number_of_messages(i32::try_from(MAX_BATCH).unwrap_or(1))
            .wait_time_seconds(whole_seconds(MAX_WAIT, MAX_WAIT))
            .visibility_timeout(whole_seconds(VISIBILITY, VISIBILITY));
        let limits = aws_sdk_sqs::Config::builder().timeout_config(timeouts(MAX_WAIT));
        let sent = async { request.customize().config_override(limits).send().await.map_err(|e| self.0.error(&e)) };
        let got = call("events.receive", sent).await?;
        let event =
            |m: &aws_sdk_sqs::types::Message| Some((m.body()?.to_owned(), Receipt(m.receipt_handle()?.to_owned())));
        Ok(got.messages().iter().filter_map(event).collect())
    }

    /// Deletes events that were acted on.
    ///
    /// # Errors
    /// The queue cannot be reached.
    pub async fn delete(&self, receipts: &[Receipt]) -> Result<(), QueueError> {
        call("events.delete", self.0.delete(receipts)).await
    }
}
