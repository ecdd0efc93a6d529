//! Webhooks: events become deliveries, deliveries become signed requests, as Standard Webhooks 1.0.0 has it.
//!
//! Reading order: [`fan_out`] (what is told, pure) → [`deliver`] (one try, and what follows from it) → [`sign`] →
//! [`guard`] (where deliveries may go). A message may come twice, under the same id, and in any order.

pub mod deliver;
pub mod fan_out;
pub mod guard;
pub mod sign;

use std::sync::Arc;
use std::time::Duration;

use fleet::config::{ConfigError, WebhooksConfig};
use fleet::store::webhooks::deliver::{ClaimedDelivery, Recorded};
use fleet::store::{Store, StoreError};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use guard::Guard;

/// Deliveries at the same time.
const AT_ONCE: usize = 64;
/// Events that one turn reads at most.
const FAN_OUT_BATCH: u32 = 500;

/// What delivers webhooks.
#[derive(Debug)]
pub struct Webhooks {
    store: Store,
    guard: Arc<Guard>,
    client: reqwest::Client,
    at_work: Mutex<JoinSet<()>>,
}

impl Webhooks {
    /// Prepares deliveries.
    ///
    /// # Errors
    /// The configuration names a network that is none, or there is no TLS.
    pub fn new(store: Store, config: &WebhooksConfig) -> Result<Self, ConfigError> {
        let failed = |problem: String| ConfigError { origin: "webhooks".to_owned(), problems: vec![problem] };
        let guard = Arc::new(Guard::new(config).map_err(failed)?);
        let client = deliver::client(guard.clone()).map_err(|e| failed(e.to_string()))?;
        Ok(Self { store, guard, client, at_work: Mutex::default() })
    }

    /// Where deliveries may go.
    #[must_use]
    pub fn guard(&self) -> &Guard {
        &self.guard
    }

    /// Makes deliveries of what happened since the last turn. Gives how many events were read.
    ///
    /// # Errors
    /// The store does not answer; then nothing was read.
    pub async fn fan_out_once(&self) -> Result<usize, StoreError> {
        let done = self.store.fan_out(FAN_OUT_BATCH, fan_out::payload).await?;
        if done.deliveries > 0 {
            tracing::debug!(done.events, done.deliveries, "webhooks: fanned out");
        }
        Ok(done.events)
    }

    /// Makes deliveries of how far jobs are, for the webhooks that want to know. Gives how many.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn fan_out_progress_once(&self) -> Result<usize, StoreError> {
        self.store.fan_out_progress(fan_out::progress_payload).await
    }

    /// Begins what is due, as far as there is room, and waits for none of it: a receiver that hangs holds up nobody
    /// else. Gives how many were begun.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn deliver_once(&self) -> Result<usize, StoreError> {
        let mut at_work = self.at_work.lock().await;
        while let Some(ended) = at_work.try_join_next() {
            note_panic(ended);
        }
        let room = AT_ONCE.saturating_sub(at_work.len());
        if room == 0 {
            return Ok(0);
        }
        let claimed = self.store.claim_deliveries(room).await?;
        let begun = claimed.len();
        for delivery in claimed {
            let (store, guard, client) = (self.store.clone(), self.guard.clone(), self.client.clone());
            at_work.spawn(async move { deliver_and_record(&store, &guard, &client, &delivery).await });
        }
        Ok(begun)
    }

    /// Waits until what was begun has ended, at most for `limit`; what has not is begun again by whoever runs then.
    pub async fn settle(&self, limit: Duration) {
        let mut at_work = self.at_work.lock().await;
        let ended = async {
            while let Some(ended) = at_work.join_next().await {
                note_panic(ended);
            }
        };
        if tokio::time::timeout(limit, ended).await.is_err() {
            at_work.abort_all();
        }
    }
}

fn note_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "webhooks: a delivery failed; it is begun again later");
    }
}

async fn deliver_and_record(store: &Store, guard: &Guard, client: &reqwest::Client, delivery: &ClaimedDelivery) {
    let outcome = deliver::attempt(guard, client, delivery).await;
    let (webhook, tries, status, ms) = (delivery.webhook_id, delivery.tries, outcome.status, outcome.took.as_millis());
    tracing::debug!(delivery.id = %delivery.id, webhook.id = %webhook, kind = delivery.kind, tries, status, ms,
        error = outcome.error, "webhooks: tried");
    match store.record_try(delivery, &outcome).await {
        Ok(Recorded::Disabled) => tracing::warn!(webhook.id = %webhook, "webhooks: turned off"),
        Ok(Recorded::Noted) => {}
        Ok(Recorded::Stale) => tracing::debug!(delivery.id = %delivery.id, "webhooks: somebody else has it by now"),
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, delivery.id = %delivery.id,
                "webhooks: an outcome was not recorded; the message is sent again");
        }
    }
}
