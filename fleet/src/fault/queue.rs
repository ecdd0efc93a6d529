//! Fault points around a queue.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::call;
use crate::queue::{Depth, Message, Queue, QueueError, Receipt, Received};

/// See the module.
#[derive(Debug)]
pub(super) struct FaultyQueue {
    inner: Arc<dyn Queue>,
    dead: Option<DeadLetters>,
}

impl FaultyQueue {
    pub(super) fn new(inner: Arc<dyn Queue>) -> Self {
        let dead = inner.dead_letters().is_some().then(|| DeadLetters(inner.clone()));
        Self { inner, dead }
    }
}

#[async_trait]
impl Queue for FaultyQueue {
    async fn send(&self, messages: &[Message]) -> Result<Vec<usize>, QueueError> {
        call("queue.send", self.inner.send(messages)).await
    }

    async fn receive(&self, max: usize, wait: Duration, visibility: Duration) -> Result<Vec<Received>, QueueError> {
        call("queue.receive", self.inner.receive(max, wait, visibility)).await
    }

    async fn extend(&self, receipts: &[Receipt], visibility: Duration) -> Result<(), QueueError> {
        call("queue.extend", self.inner.extend(receipts, visibility)).await
    }

    async fn delete(&self, receipts: &[Receipt]) -> Result<(), QueueError> {
        call("queue.delete", self.inner.delete(receipts)).await
    }

    async fn depth(&self) -> Result<Depth, QueueError> {
        call("queue.depth", self.inner.depth()).await
    }

    fn dead_letters(&self) -> Option<&dyn Queue> {
        self.dead.as_ref().map(|dead| dead as &dyn Queue)
    }
}

/// The dead letters of a queue that has some.
#[derive(Debug)]
struct DeadLetters(Arc<dyn Queue>);

impl DeadLetters {
    fn inner(&self) -> Result<&dyn Queue, QueueError> {
        let gone = || QueueError::Misconfigured { queue: String::new(), reason: "no dead letters".to_owned() };
        self.0.dead_letters().ok_or_else(gone)
    }
}

#[async_trait]
impl Queue for DeadLetters {
    async fn send(&self, messages: &[Message]) -> Result<Vec<usize>, QueueError> {
        call("dead_letters.send", self.inner()?.send(messages)).await
    }

    async fn receive(&self, max: usize, wait: Duration, visibility: Duration) -> Result<Vec<Received>, QueueError> {
        call("dead_letters.receive", self.inner()?.receive(max, wait, visibility)).await
    }

    async fn extend(&self, receipts: &[Receipt], visibility: Duration) -> Result<(), QueueError> {
        call("dead_letters.extend", self.inner()?.extend(receipts, visibility)).await
    }

    async fn delete(&self, receipts: &[Receipt]) -> Result<(), QueueError> {
        call("dead_letters.delete", self.inner()?.delete(receipts)).await
    }

    async fn depth(&self) -> Result<Depth, QueueError> {
        call("dead_letters.depth", self.inner()?.depth()).await
    }

    fn dead_letters(&self) -> Option<&dyn Queue> {
        None
    }
}
