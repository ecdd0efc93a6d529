//! Queues only wake: Postgres is the truth, and a message that is lost, late, doubled or out of order costs time alone.

mod conformance;
mod postgres;
mod sqs;

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

#[doc(hidden)]
pub use conformance::conformance;
pub use postgres::PostgresQueue;
pub use sqs::{EventQueue, Notice, Notices, SqsQueue, WrittenObject, ensure_queue, written_objects};

/// Version of [`Message`].
pub const MESSAGE_VERSION: u32 = 1;

/// Largest body of a message that is read, in bytes; one of this version has 110.
const MAX_MESSAGE: usize = 1 << 10;

/// Largest notice of another service that is read, in bytes: what SQS, `EventBridge` and S3 say at once.
pub const MAX_NOTICE: usize = 256 << 10;

/// Messages that one call sends, receives, extends or deletes at most, as in SQS.
pub const MAX_BATCH: usize = 10;

/// "There may be work": a chunk and the attempt that is meant, and no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// Layout version.
    pub v: u32,
    /// Job.
    pub job: Uuid,
    /// Chunk of the job.
    pub chunk: i32,
    /// Attempt that may claim it.
    pub attempt: i32,
}

impl Message {
    /// A message of this version.
    #[must_use]
    pub const fn new(job: Uuid, chunk: i32, attempt: i32) -> Self {
        Self { v: MESSAGE_VERSION, job, chunk, attempt }
    }

    /// Reads a body; `None` when it is no message of this version.
    fn of(body: &str) -> Option<Self> {
        let body = Some(body).filter(|body| body.len() <= MAX_MESSAGE)?;
        serde_json::from_str(body).ok().filter(|message: &Self| message.v == MESSAGE_VERSION)
    }
}

/// A received message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The message; `None` when the body is not one, or one of another version: it is left to the dead letters. (The raw
    /// body is logged by nobody, it may hold anything.)
    pub message: Option<Message>,
    /// What to extend or delete it with.
    pub receipt: Receipt,
    /// How many times it was received, this time included.
    pub receive_count: u32,
}

/// Names one delivery of a message.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Receipt(pub String);

/// Approximate numbers of messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// Ready to be received.
    pub visible: u64,
    /// Received and not yet deleted or visible again.
    pub in_flight: u64,
}

/// Why a queue operation failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum QueueError {
    /// The queue does not exist or may not be used: configuration.
    #[error("queue {queue}: {reason}")]
    Misconfigured {
        /// Queue name.
        queue: String,
        /// What the service says.
        reason: String,
    },
    /// The service did not answer, or not as it should; the same call may succeed later.
    #[error("queue {queue}: {reason}")]
    Unavailable {
        /// Queue name.
        queue: String,
        /// What happened.
        reason: String,
    },
}

/// A queue of one region.
#[async_trait]
pub trait Queue: Send + Sync + Debug {
    /// Sends up to [`MAX_BATCH`] messages; gives the indexes of those that were accepted.
    ///
    /// # Errors
    /// None was accepted.
    async fn send(&self, messages: &[Message]) -> Result<Vec<usize>, QueueError>;

    /// Receives up to `max` (at most [`MAX_BATCH`]) messages, waiting up to `wait` for the first; each stays invisible
    /// for `visibility`.
    ///
    /// # Errors
    /// The queue cannot be read.
    async fn receive(&self, max: usize, wait: Duration, visibility: Duration) -> Result<Vec<Received>, QueueError>;

    /// Keeps deliveries invisible for `visibility` from now; zero hands them back at once. A delivery that has already
    /// expired is passed over: the lease in Postgres is what counts.
    ///
    /// # Errors
    /// The queue cannot be reached.
    async fn extend(&self, receipts: &[Receipt], visibility: Duration) -> Result<(), QueueError>;

    /// Deletes messages; what is gone counts as deleted.
    ///
    /// # Errors
    /// The queue cannot be reached.
    async fn delete(&self, receipts: &[Receipt]) -> Result<(), QueueError>;

    /// About how many messages there are.
    ///
    /// # Errors
    /// The queue cannot be reached.
    async fn depth(&self) -> Result<Depth, QueueError>;

    /// The queue where messages end that were received too often; `None` when there is none.
    fn dead_letters(&self) -> Option<&dyn Queue>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_larger_than_any_message_is_not_read() {
        let message = Message::new(Uuid::nil(), 1, 2);
        let body = serde_json::to_string(&message).unwrap();
        let padded = |length: usize| format!("{body}{}", " ".repeat(length - body.len()));
        assert_eq!(Message::of(&padded(MAX_MESSAGE)), Some(message));
        assert_eq!(Message::of(&padded(MAX_MESSAGE + 1)), None);
        assert_eq!(Message::of(&body.replace("\"v\":1", "\"v\":2")), None);
    }
}
