//! What concerns regions one by one: their queues and dead letters, and whether they answer.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use fleet::queue::{MAX_BATCH, Message, Queue, QueueError};
use fleet::store::StoreError;

use super::{DispatchError, Dispatcher, Region};

/// Messages that one turn relays at most for a region.
const RELAY_BATCH: usize = 200;

impl Dispatcher {
    pub(super) async fn relay_region(&self, region: &Region) -> Result<usize, DispatchError> {
        let mut sent = 0;
        while sent < RELAY_BATCH {
            let limit = u32::try_from(MAX_BATCH).unwrap_or(10);
            let outcome = self
                .store
                .relay(&region.name, limit, async |messages: &[Message]| {
                    region.queue.send(messages).await.map_err(DispatchError::from)
                })
                .await;
            match outcome {
                Ok(0) => break,
                Ok(n) => sent += n,
                Err(DispatchError::Queue(error)) => {
                    self.note_failure(&region.name, &error).await?;
                    break;
                }
                Err(other) => return Err(other),
            }
        }
        Ok(sent)
    }

    async fn note_failure(&self, region: &str, error: &QueueError) -> Result<(), StoreError> {
        let failing_s = self.store.note_region(region, Some(&error.to_string())).await?;
        if failing_s >= self.timing.region && self.store.set_region_health(region, false).await? {
            tracing::error!(region, %error, "the region does not answer; its chunks go elsewhere");
        }
        Ok(())
    }

    /// Asks every region's queue whether it answers, and moves work away from those that do not. Gives the names of
    /// the regions that are given up for now.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn check_regions_once(&self) -> Result<Vec<String>, DispatchError> {
        let every = Duration::from_secs_f64((self.timing.region / 6.0).clamp(0.2, 10.0));
        let due: Vec<&Region> = {
            let mut asked = self.asked.lock().await;
            let now = Instant::now();
            let is_due = |asked: &HashMap<String, Instant>, name: &str| {
                asked.get(name).is_none_or(|at| now.duration_since(*at) >= every)
            };
            let due: Vec<&Region> = self.regions.iter().filter(|r| is_due(&asked, &r.name)).collect();
            asked.extend(due.iter().map(|r| (r.name.clone(), now)));
            due
        };
        let limit = Duration::from_secs(10);
        let answers = due.iter().map(|region| async move {
            let answer = tokio::time::timeout(limit, region.queue.depth()).await.unwrap_or_else(|_| {
                let reason = format!("no answer within {} s", limit.as_secs());
                Err(QueueError::Unavailable { queue: region.name.clone(), reason })
            });
            (region, answer)
        });
        for (region, answer) in futures_util::future::join_all(answers).await {
            match answer {
                Ok(_) => {
                    self.store.note_region(&region.name, None).await?;
                }
                Err(error) => self.note_failure(&region.name, &error).await?,
            }
        }
        let silent = self.store.silent_regions(Duration::from_secs_f64(self.timing.region)).await?;
        for region in &silent {
            if self.store.set_region_health(region, false).await? {
                tracing::error!(region, "all workers of the region are silent; its chunks go elsewhere");
            }
        }
        for region in self.store.recovered_regions(self.timing.region).await? {
            if !silent.contains(&region) && self.store.set_region_health(&region, true).await? {
                tracing::info!(region, "the region answers again");
            }
        }
        let unhealthy = self.store.unhealthy_regions().await?;
        let mut given_up = Vec::new();
        for (name, _) in unhealthy {
            let recalled = self.store.recall(&name).await?;
            let dropped = self.store.clear_outbox(&name).await?;
            if recalled + dropped > 0 {
                tracing::warn!(region = name, recalled, dropped, "chunks recalled");
            }
            given_up.push(name);
        }
        Ok(given_up)
    }

    /// Empties the dead-letter queues of all regions. Gives how many letters there were.
    ///
    /// # Errors
    /// A queue does not delete.
    pub async fn drain_dead_letters_once(&self) -> Result<usize, DispatchError> {
        let mut drained = 0;
        for region in &self.regions {
            drained += drain_dead_letters(&region.name, &*region.queue).await?;
        }
        Ok(drained)
    }
}

/// Empties a region's dead-letter queue: what is in it was received too often without being deleted. The store knows better
/// what became of each chunk, so a message is only logged. Gives how many there were.
///
/// # Errors
/// The queue does not delete.
pub async fn drain_dead_letters(region: &str, queue: &dyn Queue) -> Result<usize, DispatchError> {
    let Some(dead) = queue.dead_letters() else { return Ok(0) };
    let mut drained = 0;
    loop {
        let received = match dead.receive(MAX_BATCH, Duration::ZERO, Duration::from_secs(60)).await {
            Ok(received) if received.is_empty() => return Ok(drained),
            Ok(received) => received,
            Err(error) => {
                tracing::warn!(region, %error, "dead letters cannot be read");
                return Ok(drained);
            }
        };
        for one in &received {
            if let Some(message) = one.message {
                tracing::warn!(region, job.id = %message.job, chunk = message.chunk,
                    attempt = message.attempt, received = one.receive_count, "dead letter");
            }
        }
        // A chunk that is still queued is sent again by the rescue; one that kills its holders is given up there.
        let receipts: Vec<_> = received.into_iter().map(|r| r.receipt).collect();
        drained += receipts.len();
        dead.delete(&receipts).await?;
    }
}
