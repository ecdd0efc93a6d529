//! Amazon SQS, standard queues, in any region.

use std::time::Duration;

use async_trait::async_trait;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::http::HttpResponse;
use aws_sdk_sqs::config::retry::RetryConfig;
use aws_sdk_sqs::config::timeout::TimeoutConfig;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry, MessageSystemAttributeName,
    QueueAttributeName, SendMessageBatchRequestEntry,
};

use super::{Depth, MAX_BATCH, MESSAGE_VERSION, Message, Queue, QueueError, Receipt, Received};

/// Longest wait for a message that SQS allows.
const MAX_WAIT: Duration = Duration::from_secs(20);
/// Longest time a message can be invisible.
const MAX_VISIBILITY: Duration = Duration::from_secs(12 * 3600);
/// A message that was received this often goes to the dead letters.
const MAX_RECEIVES: u32 = 20;

/// A queue by its URL.
#[derive(Debug)]
pub struct SqsQueue {
    client: Client,
    url: String,
    name: String,
    dead: Option<Box<SqsQueue>>,
}

/// Region and endpoint of a queue URL. AWS: `https://sqs.REGION.amazonaws.com/ACCOUNT/NAME`. Emulators:
/// `http://HOST:PORT/queue/REGION/ACCOUNT/NAME` or `http://HOST:PORT/ACCOUNT/NAME`.
fn place(url: &str) -> (Option<String>, Option<String>) {
    let Ok(parsed) = url::Url::parse(url) else { return (None, None) };
    let host = parsed.host_str().unwrap_or_default();
    let labels: Vec<&str> = host.split('.').collect();
    if let ["sqs", region, "amazonaws", ..] = labels[..] {
        return (Some(region.to_owned()), None);
    }
    let mut segments = parsed.path_segments().into_iter().flatten();
    let region = (segments.next() == Some("queue")).then(|| segments.next().map(str::to_owned)).flatten();
    (region, Some(parsed.origin().ascii_serialization()))
}

/// A client for the queue of this URL, with the credentials of the AWS default chain.
async fn client(url: &str) -> Client {
    let shared = aws_config::load_defaults(BehaviorVersion::v2026_01_12()).await;
    client_from(aws_sdk_sqs::Config::from(&shared), url)
}

fn client_from(config: aws_sdk_sqs::Config, url: &str) -> Client {
    let (region, endpoint) = place(url);
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(3))
        // Above the longest wait for a message.
        .operation_attempt_timeout(MAX_WAIT + Duration::from_secs(10))
        .build();
    let has_region = config.region().is_some();
    let mut config =
        config.to_builder().retry_config(RetryConfig::standard().with_max_attempts(3)).timeout_config(timeouts);
    if let Some(region) = region {
        config = config.region(Region::new(region));
    } else if !has_region {
        config = config.region(Region::from_static("us-east-1"));
    }
    if let Some(endpoint) = endpoint {
        config = config.endpoint_url(endpoint);
    }
    Client::from_conf(config.build())
}

impl SqsQueue {
    /// A queue and, where there is one, its dead-letter queue. Nothing is asked of AWS yet.
    pub async fn open(url: &str, dead_letters: Option<&str>) -> Self {
        let dead = match dead_letters {
            Some(dead) => Some(Box::new(Self::one(dead).await)),
            None => None,
        };
        Self { dead, ..Self::one(url).await }
    }

    /// As [`open`](Self::open), with credentials of the caller's.
    #[must_use]
    pub fn with_config(config: &aws_sdk_sqs::Config, url: &str, dead_letters: Option<&str>) -> Self {
        let one = |url: &str, dead| {
            let name = url.rsplit('/').next().unwrap_or(url).to_owned();
            Self { client: client_from(config.clone(), url), url: url.to_owned(), name, dead }
        };
        one(url, dead_letters.map(|dead| Box::new(one(dead, None))))
    }

    async fn one(url: &str) -> Self {
        let name = url.rsplit('/').next().unwrap_or(url).to_owned();
        Self { client: client(url).await, url: url.to_owned(), name, dead: None }
    }

    fn error<E: ProvideErrorMetadata + std::fmt::Debug>(&self, error: &SdkError<E, HttpResponse>) -> QueueError {
        from_sdk(&self.name, error)
    }
}

fn from_sdk<E: ProvideErrorMetadata + std::fmt::Debug>(queue: &str, error: &SdkError<E, HttpResponse>) -> QueueError {
    let code = error.code().unwrap_or_default();
    let queue = queue.to_owned();
    let reason = match error {
        SdkError::ServiceError(_) => format!("{code}: {}", error.message().unwrap_or_default()),
        SdkError::TimeoutError(_) => "no answer in time".to_owned(),
        SdkError::DispatchFailure(_) => "no connection".to_owned(),
        other => format!("{other:?}"),
    };
    let lasting = ["NonExistentQueue", "QueueDoesNotExist", "AccessDenied", "InvalidClientTokenId", "InvalidAddress"];
    if lasting.iter().any(|c| code.contains(c)) {
        QueueError::Misconfigured { queue, reason }
    } else {
        QueueError::Unavailable { queue, reason }
    }
}

fn whole_seconds(duration: Duration, most: Duration) -> i32 {
    // Rounded up: shorter than asked would hand a message to two workers.
    let seconds = duration.min(most).as_secs_f64().ceil();
    #[expect(clippy::cast_possible_truncation, reason = "at most 12 hours")]
    let whole = seconds as i32;
    whole
}

#[async_trait]
impl Queue for SqsQueue {
    async fn send(&self, messages: &[Message]) -> Result<Vec<usize>, QueueError> {
        let mut entries = Vec::new();
        for (i, message) in messages.iter().take(MAX_BATCH).enumerate() {
            let misfit = |e: &dyn std::fmt::Display| QueueError::Misconfigured {
                queue: self.name.clone(),
                reason: e.to_string(),
            };
            let body = serde_json::to_string(message).map_err(|e| misfit(&e))?;
            let entry = SendMessageBatchRequestEntry::builder().id(i.to_string()).message_body(body).build();
            entries.push(entry.map_err(|e| misfit(&e))?);
        }
        let request = self.client.send_message_batch().queue_url(&self.url).set_entries(Some(entries));
        let sent = request.send().await.map_err(|e| self.error(&e))?;
        for failed in sent.failed() {
            tracing::warn!(queue = self.name, code = failed.code(), "a message was not accepted");
        }
        Ok(sent.successful().iter().filter_map(|s| s.id().parse().ok()).collect())
    }

    async fn receive(&self, max: usize, wait: Duration, visibility: Duration) -> Result<Vec<Received>, QueueError> {
        let request = self
            .client
            .receive_message()
            .queue_url(&self.url)
            .max_number_of_messages(i32::try_from(max.clamp(1, MAX_BATCH)).unwrap_or(1))
            .wait_time_seconds(whole_seconds(wait, MAX_WAIT))
            .visibility_timeout(whole_seconds(visibility, MAX_VISIBILITY))
            .message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount);
        let got = request.send().await.map_err(|e| self.error(&e))?;
        Ok(got
            .messages()
            .iter()
            .filter_map(|m| {
                let message = m.body().and_then(|b| serde_json::from_str::<Message>(b).ok());
                let count = m.attributes()?.get(&MessageSystemAttributeName::ApproximateReceiveCount)?;
                Some(Received {
                    message: message.filter(|m| m.v == MESSAGE_VERSION),
                    receipt: Receipt(m.receipt_handle()?.to_owned()),
                    receive_count: count.parse().unwrap_or(1),
                })
            })
            .collect())
    }

    async fn extend(&self, receipts: &[Receipt], visibility: Duration) -> Result<(), QueueError> {
        for batch in receipts.chunks(MAX_BATCH) {
            let entries = batch.iter().enumerate().filter_map(|(i, r)| {
                ChangeMessageVisibilityBatchRequestEntry::builder()
                    .id(i.to_string())
                    .receipt_handle(&r.0)
                    .visibility_timeout(whole_seconds(visibility, MAX_VISIBILITY))
                    .build()
                    .ok()
            });
            let request = self.client.change_message_visibility_batch().queue_url(&self.url);
            let sent = request.set_entries(Some(entries.collect())).send().await.map_err(|e| self.error(&e))?;
            // A delivery that has expired cannot be extended; the lease in the database is what counts.
            for failed in sent.failed() {
                tracing::debug!(queue = self.name, code = failed.code(), "a delivery was not extended");
            }
        }
        Ok(())
    }

    async fn delete(&self, receipts: &[Receipt]) -> Result<(), QueueError> {
        for batch in receipts.chunks(MAX_BATCH) {
            let entries = batch.iter().enumerate().filter_map(|(i, r)| {
                DeleteMessageBatchRequestEntry::builder().id(i.to_string()).receipt_handle(&r.0).build().ok()
            });
            let request = self.client.delete_message_batch().queue_url(&self.url);
            let sent = request.set_entries(Some(entries.collect())).send().await.map_err(|e| self.error(&e))?;
            for failed in sent.failed() {
                tracing::debug!(queue = self.name, code = failed.code(), "a message was not deleted");
            }
        }
        Ok(())
    }

    async fn depth(&self) -> Result<Depth, QueueError> {
        let request = self
            .client
            .get_queue_attributes()
            .queue_url(&self.url)
            .attribute_names(QueueAttributeName::ApproximateNumberOfMessages)
            .attribute_names(QueueAttributeName::ApproximateNumberOfMessagesNotVisible);
        let got = request.send().await.map_err(|e| self.error(&e))?;
        let number = |name: &QueueAttributeName| {
            got.attributes().and_then(|a| a.get(name)).and_then(|n| n.parse().ok()).unwrap_or(0)
        };
        Ok(Depth {
            visible: number(&QueueAttributeName::ApproximateNumberOfMessages),
            in_flight: number(&QueueAttributeName::ApproximateNumberOfMessagesNotVisible),
        })
    }

    fn dead_letters(&self) -> Option<&dyn Queue> {
        self.dead.as_deref().map(|q| q as &dyn Queue)
    }
}

/// Makes a queue and its dead-letter queue, and gives both URLs. What is there with the same settings stays.
///
/// # Errors
/// The service refuses or does not answer.
pub async fn ensure_queue(client: &Client, name: &str) -> Result<(String, String), QueueError> {
    let missing = |what: &str| QueueError::Unavailable { queue: name.to_owned(), reason: format!("no {what}") };
    let dead = client.create_queue().queue_name(format!("{name}-dead")).send().await.map_err(|e| from_sdk(name, &e))?;
    let dead = dead.queue_url().ok_or_else(|| missing("URL"))?.to_owned();
    let attributes = client.get_queue_attributes().queue_url(&dead).attribute_names(QueueAttributeName::QueueArn);
    let attributes = attributes.send().await.map_err(|e| from_sdk(name, &e))?;
    let arn =
        attributes.attributes().and_then(|a| a.get(&QueueAttributeName::QueueArn)).ok_or_else(|| missing("ARN"))?;
    let policy = serde_json::json!({ "deadLetterTargetArn": arn, "maxReceiveCount": MAX_RECEIVES }).to_string();
    let queue = client.create_queue().queue_name(name).attributes(QueueAttributeName::RedrivePolicy, policy);
    let queue = queue.send().await.map_err(|e| from_sdk(name, &e))?;
    Ok((queue.queue_url().ok_or_else(|| missing("URL"))?.to_owned(), dead))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_tells_region_and_endpoint() {
        let owned = |r: Option<&str>, e: Option<&str>| (r.map(str::to_owned), e.map(str::to_owned));
        assert_eq!(place("https://sqs.eu-central-1.amazonaws.com/1/q"), owned(Some("eu-central-1"), None));
        let local = "http://127.0.0.1:4566/queue/us-west-2/000000000000/q";
        assert_eq!(place(local), owned(Some("us-west-2"), Some("http://127.0.0.1:4566")));
        assert_eq!(place("http://localhost:4566/000000000000/q"), owned(None, Some("http://localhost:4566")));
    }

    #[test]
    fn times_are_rounded_up_to_whole_seconds() {
        assert_eq!(whole_seconds(Duration::from_millis(1200), MAX_WAIT), 2);
        assert_eq!(whole_seconds(Duration::from_secs(90), MAX_WAIT), 20);
        assert_eq!(whole_seconds(Duration::ZERO, MAX_WAIT), 0);
    }
}
