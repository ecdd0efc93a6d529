//! Amazon SQS, standard queues, in any region.

mod events;
mod notices;

use std::time::Duration;

use async_trait::async_trait;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::http::HttpResponse;
use aws_sdk_sqs::config::retry::RetryConfig;
use aws_sdk_sqs::config::timeout::TimeoutConfig;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::types::{
    BatchResultErrorEntry, ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry,
    MessageSystemAttributeName, QueueAttributeName, SendMessageBatchRequestEntry,
};

pub use events::EventQueue;
pub use notices::{Notice, Notices, WrittenObject, written_objects};

use super::{Depth, MAX_BATCH, Message, Queue, QueueError, Receipt, Received};

/// Longest wait for a message that SQS allows.
const MAX_WAIT: Duration = Duration::from_secs(20);
/// How long the service may take beyond the wait that was asked for: one try, and all three with their pauses.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(25));
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

/// Region and endpoint of a queue URL; no endpoint where the SDK knows it, no region where the URL does not name one.
/// AWS: `https://sqs.REGION.amazonaws.com/ACCOUNT/NAME`, also as `sqs-fips`, behind the name of a VPC endpoint, or
/// `REGION.queue`. Emulators: the same before another domain, or `http://HOST:PORT/queue/REGION/ACCOUNT/NAME`, or
/// `http://HOST:PORT/ACCOUNT/NAME`.
fn place(url: &str) -> (Option<String>, Option<String>) {
    let Ok(parsed) = url::Url::parse(url) else { return (None, None) };
    let labels: Vec<&str> = parsed.host_str().unwrap_or_default().split('.').collect();
    if let ["sqs", region, "amazonaws", "com"] | ["sqs", region, "amazonaws", "com", "cn"] = labels[..] {
        return (Some(region.to_owned()), None);
    }
    let in_host = labels.windows(2).find_map(|pair| match *pair {
        ["sqs" | "sqs-fips", region] if region.contains('-') => Some(region),
        [region, "queue"] if region.contains('-') => Some(region),
        _ => None,
    });
    let mut segments = parsed.path_segments().into_iter().flatten();
    let in_path = (segments.next() == Some("queue")).then(|| segments.next()).flatten();
    (in_host.or(in_path).map(str::to_owned), Some(parsed.origin().ascii_serialization()))
}

/// Time limits of a call that waits `wait` for a message.
fn timeouts(wait: Duration) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(3))
        .operation_attempt_timeout(wait + PATIENCE.0)
        .operation_timeout(wait + PATIENCE.1)
        .build()
}

fn client(config: &aws_sdk_sqs::Config, url: &str) -> Client {
    let (region, endpoint) = place(url);
    // An emulator takes any region, and its URLs need not name one.
    let region = region
        .map(Region::new)
        .or_else(|| config.region().cloned())
        .unwrap_or_else(|| Region::from_static("us-east-1"));
    let mut config = config
        .to_builder()
        .retry_config(RetryConfig::standard().with_max_attempts(3))
        .timeout_config(timeouts(Duration::ZERO))
        .region(region);
    if let Some(endpoint) = endpoint {
        config = config.endpoint_url(endpoint);
    }
    Client::from_conf(config.build())
}

impl SqsQueue {
    /// A queue and, where there is one, its dead-letter queue, with the credentials of the AWS default chain. Nothing
    /// is asked of AWS yet.
    pub async fn open(url: &str, dead_letters: Option<&str>) -> Self {
        let shared = aws_config::load_defaults(BehaviorVersion::v2026_01_12()).await;
        Self::with_config(&aws_sdk_sqs::Config::from(&shared), url, dead_letters)
    }

    /// As [`open`](Self::open), with credentials of the caller's. Region and endpoint of the configuration count where
    /// the URL names none.
    #[must_use]
    pub fn with_config(config: &aws_sdk_sqs::Config, url: &str, dead_letters: Option<&str>) -> Self {
        let one = |url: &str, dead| {
            let name = url.rsplit('/').next().unwrap_or(url).to_owned();
            Self { client: client(config, url), url: url.to_owned(), name, dead }
        };
        one(url, dead_letters.map(|dead| Box::new(one(dead, None))))
    }

    fn error<E: ProvideErrorMetadata>(&self, error: &SdkError<E, HttpResponse>) -> QueueError {
        from_sdk(&self.name, error)
    }

    /// What to make of the entries of a batch that failed. Those that are our fault are passed over: their delivery
    /// has expired, and the lease in the database is what counts.
    fn rest(&self, failed: &[BatchResultErrorEntry]) -> Result<(), QueueError> {
        for entry in failed {
            tracing::debug!(queue = self.name, code = entry.code(), "a delivery was passed over");
        }
        match failed.iter().find(|entry| !entry.sender_fault()) {
            Some(entry) => Err(from_code(&self.name, entry.code(), entry.message())),
            None => Ok(()),
        }
    }
}

/// The error for what the service calls `code`.
fn from_code(queue: &str, code: &str, message: Option<&str>) -> QueueError {
    // No queue, no right to it, or no such key; the names differ between the service's two protocols.
    const LASTING: [&str; 7] = [
        "NonExistentQueue",
        "QueueDoesNotExist",
        "InvalidAddress",
        "AccessDenied",
        "InvalidClientTokenId",
        "UnrecognizedClient",
        "SignatureDoesNotMatch",
    ];
    let (queue, reason) = (queue.to_owned(), format!("{code}: {}", message.unwrap_or_default()));
    if LASTING.iter().any(|lasting| code.contains(lasting)) {
        QueueError::Misconfigured { queue, reason }
    } else {
        QueueError::Unavailable { queue, reason }
    }
}

fn from_sdk<E: ProvideErrorMetadata>(queue: &str, error: &SdkError<E, HttpResponse>) -> QueueError {
    let reason = match error {
        SdkError::ServiceError(_) => return from_code(queue, error.code().unwrap_or("error"), error.message()),
        SdkError::TimeoutError(_) => "no answer in time",
        SdkError::DispatchFailure(failure) if failure.is_io() || failure.is_timeout() => "no connection",
        SdkError::DispatchFailure(_) => "the request could not be signed: no credentials?",
        // Not in its own words: they hold the answer, and so the messages.
        SdkError::ResponseError(_) => "an answer that cannot be read",
        _ => "the request could not be made",
    };
    QueueError::Unavailable { queue: queue.to_owned(), reason: reason.to_owned() }
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
        if messages.is_empty() {
            return Ok(Vec::new());
        }
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
        if let ([], [first, ..]) = (sent.successful(), sent.failed()) {
            return Err(from_code(&self.name, first.code(), first.message()));
        }
        Ok(sent.successful().iter().filter_map(|s| s.id().parse().ok()).collect())
    }

    async fn receive(&self, max: usize, wait: Duration, visibility: Duration) -> Result<Vec<Received>, QueueError> {
        let wait = whole_seconds(wait, MAX_WAIT);
        let limits = timeouts(Duration::from_secs(u64::from(wait.unsigned_abs())));
        let request = self
            .client
            .receive_message()
            .queue_url(&self.url)
            .max_number_of_messages(i32::try_from(max.clamp(1, MAX_BATCH)).unwrap_or(1))
            .wait_time_seconds(wait)
            .visibility_timeout(whole_seconds(visibility, MAX_VISIBILITY))
            .message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount);
        let request = request.customize().config_override(aws_sdk_sqs::Config::builder().timeout_config(limits));
        let got = request.send().await.map_err(|e| self.error(&e))?;
        Ok(got
            .messages()
            .iter()
            .filter_map(|m| {
                let message = m.body().and_then(Message::of);
                let count = m.attributes().and_then(|a| a.get(&MessageSystemAttributeName::ApproximateReceiveCount));
                Some(Received {
                    message,
                    receipt: Receipt(m.receipt_handle()?.to_owned()),
                    receive_count: count.and_then(|c| c.parse().ok()).unwrap_or(1),
                })
            })
            .collect())
    }

    async fn extend(&self, receipts: &[Receipt], visibility: Duration) -> Result<(), QueueError> {
        let mut outcome = Ok(());
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
            outcome = outcome.and_then(|()| self.rest(sent.failed()));
        }
        outcome
    }

    async fn delete(&self, receipts: &[Receipt]) -> Result<(), QueueError> {
        let mut outcome = Ok(());
        for batch in receipts.chunks(MAX_BATCH) {
            let entries = batch.iter().enumerate().filter_map(|(i, r)| {
                DeleteMessageBatchRequestEntry::builder().id(i.to_string()).receipt_handle(&r.0).build().ok()
            });
            let request = self.client.delete_message_batch().queue_url(&self.url);
            let sent = request.set_entries(Some(entries.collect())).send().await.map_err(|e| self.error(&e))?;
            outcome = outcome.and_then(|()| self.rest(sent.failed()));
        }
        outcome
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
        // Origin, path, region, and whether the SDK knows the endpoint by itself.
        let cases = [
            ("https://sqs.eu-central-1.amazonaws.com", "/1/q", Some("eu-central-1"), true),
            ("https://sqs.cn-north-1.amazonaws.com.cn", "/1/q", Some("cn-north-1"), true),
            ("https://sqs-fips.us-east-2.amazonaws.com", "/1/q", Some("us-east-2"), false),
            ("https://vpce-1a.sqs.us-west-1.vpce.amazonaws.com", "/1/q", Some("us-west-1"), false),
            ("https://us-west-2.queue.amazonaws.com", "/1/q", Some("us-west-2"), false),
            ("http://sqs.eu-west-1.localhost.localstack.cloud:4566", "/000000000000/q", Some("eu-west-1"), false),
            ("http://127.0.0.1:4566", "/queue/us-west-2/000000000000/q", Some("us-west-2"), false),
            ("http://localhost:4566", "/000000000000/q", None, false),
        ];
        for (origin, path, region, known) in cases {
            let (found, endpoint) = place(&format!("{origin}{path}"));
            assert_eq!((found.as_deref(), endpoint.as_deref()), (region, (!known).then_some(origin)), "{origin}{path}");
        }
        assert_eq!(place("not a URL"), (None, None));
    }

    #[test]
    fn a_missing_queue_and_a_missing_right_are_configuration() {
        let lasting = |code| matches!(from_code("q", code, None), QueueError::Misconfigured { .. });
        for code in ["AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist", "AccessDeniedException"] {
            assert!(lasting(code), "{code}");
        }
        for code in ["RequestThrottled", "InternalError", "OverLimit", "ExpiredToken"] {
            assert!(!lasting(code), "{code}");
        }
    }

    #[test]
    fn an_expired_delivery_is_passed_over_and_a_fault_of_the_service_is_not() {
        let config = aws_sdk_sqs::Config::builder().behavior_version(BehaviorVersion::v2026_01_12()).build();
        let queue = SqsQueue::with_config(&config, "http://127.0.0.1:1/0/q", None);
        let entry = |code: &str, ours| {
            BatchResultErrorEntry::builder().id("0").code(code).sender_fault(ours).build().expect("all is there")
        };
        assert!(queue.rest(&[entry("ReceiptHandleIsInvalid", true)]).is_ok());
        let failed = [entry("ReceiptHandleIsInvalid", true), entry("InternalError", false)];
        assert!(matches!(queue.rest(&failed), Err(QueueError::Unavailable { .. })));
    }

    #[test]
    fn times_are_rounded_up_to_whole_seconds() {
        assert_eq!(whole_seconds(Duration::from_millis(1200), MAX_WAIT), 2);
        assert_eq!(whole_seconds(Duration::from_secs(90), MAX_WAIT), 20);
        assert_eq!(whole_seconds(Duration::ZERO, MAX_WAIT), 0);
    }
}
