//! Capacity from zero and back: what [`capacity`] decides, done to real machines.
//!
//! Reading order: [`provider`] (where machines come from: the trait) with [`aws`], [`processes`] and [`simulated`];
//! [`observe`] (provider and database → one view, with the [`rates`] that were
//! measured; [`overview`] for people); `act` (checks again, then does it); [`events`] (spot notices). The
//! decision itself is pure and in the crate `capacity`, which the simulator calls too.
//!
//! What holds whatever is decided:
//! - one dispatcher at a time acts; the turn is a row with an end;
//! - before anything is started, the provider is asked again and the quota ledger reckoned again with what it says;
//! - an instance is ended only after its worker has said goodbye or has been silent, and never while it holds a chunk,
//!   unless it has been draining for longer than any drain takes;
//! - a pool that fails gets its count back to what it has, so that it does not deliver later what nobody needs any more.

mod act;
pub mod aws;
#[doc(hidden)]
pub mod conformance;
pub mod events;
pub mod observe;
pub mod overview;
pub mod processes;
pub mod provider;
pub mod rates;
#[doc(hidden)]
pub mod simulated;
#[cfg(test)]
mod tests;
pub mod uploads;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use capacity::decide::{Decision, decide};
use capacity::memory::FailureKind;
use capacity::moment::Moment;
use capacity::pools::Fleet;
use capacity::rates::Rates;
use capacity::view::ComingWork;
use fleet::config::{CapacityConfig, ConfigError};
use fleet::objects::Buckets;
use fleet::queue::EventQueue;
use fleet::store::{Store, StoreError};
use tokio::sync::{Mutex, Notify, watch};
use uuid::Uuid;

use provider::Capacity;

/// Failures are read this far back: as long as the longest of them counts, and then some.
pub(crate) const REMEMBERED: Duration = Duration::from_secs(2 * 3600);
/// Name of the turn, and its length: longer than one round takes.
const TURN: (&str, Duration) = ("capacity", Duration::from_secs(90));
/// Measured rates are measured again after this.
const MEASURED: Duration = Duration::from_secs(60);
/// Between two rounds; an event makes the next one start at once.
const EVERY: Duration = Duration::from_secs(4);

/// Where uploads in progress are told of, so that machines boot while the last parts arrive.
#[async_trait]
pub trait Coming: Send + Sync + Debug {
    /// Uploads in progress as work that will be there soon.
    ///
    /// # Errors
    /// The store does not answer.
    async fn coming(&self) -> Result<Vec<ComingWork>, StoreError>;
}

/// No uploads are known.
#[derive(Clone, Copy, Debug)]
pub struct NothingComing;

#[async_trait]
impl Coming for NothingComing {
    async fn coming(&self) -> Result<Vec<ComingWork>, StoreError> {
        Ok(Vec::new())
    }
}

/// Observes, decides and acts.
#[derive(Debug)]
pub struct Scaler {
    id: Uuid,
    store: Store,
    fleet: Fleet,
    capacity: Arc<dyn Capacity>,
    coming: Arc<dyn Coming>,
    events: Vec<EventQueue>,
    /// Somebody knows that the next round is worth doing now.
    wake: Notify,
    /// What was measured last, and when.
    rates: Mutex<Option<(Instant, Rates)>>,
    every: Duration,
}

impl Scaler {
    /// A scaler for a fleet of machines.
    #[must_use]
    pub fn new(store: Store, fleet: Fleet, capacity: Arc<dyn Capacity>) -> Self {
        Self {
            id: Uuid::now_v7(),
            store,
            fleet,
            capacity,
            coming: Arc::new(NothingComing),
            events: Vec::new(),
            wake: Notify::new(),
            rates: Mutex::default(),
            every: EVERY,
        }
    }

    /// The same with uploads in progress.
    #[must_use]
    pub fn with_coming(mut self, coming: Arc<dyn Coming>) -> Self {
        self.coming = coming;
        self
    }

    /// The same with queues that bring spot notices and failed launches.
    #[must_use]
    pub fn with_events(mut self, events: Vec<EventQueue>) -> Self {
        self.events = events;
        self
    }

    /// The same with another time between two rounds.
    #[must_use]
    pub fn every(mut self, every: Duration) -> Self {
        self.every = every;
        self
    }

    /// Regions, pools and policy.
    #[must_use]
    pub fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// How fast machines were lately; measured anew once a minute.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn rates(&self) -> Result<Rates, StoreError> {
        let mut rates = self.rates.lock().await;
        if let Some((at, known)) = rates.as_ref()
            && at.elapsed() < MEASURED
        {
            return Ok(known.clone());
        }
        let measured = rates::measured(&self.store, &self.fleet).await?;
        *rates = Some((Instant::now(), measured.clone()));
        Ok(measured)
    }

    /// Lets the next round start at once.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// One round. `None` while another dispatcher has the turn.
    ///
    /// # Errors
    /// The store does not answer. A provider that does not is logged and asked again in the next round.
    pub async fn scale_once(&self) -> Result<Option<Decision>, StoreError> {
        if !self.store.take_turn(TURN.0, self.id, TURN.1).await? {
            return Ok(None);
        }
        let mut sight = self.observe().await?;
        if self.settle(&sight).await? {
            // Failures and ends change what can be decided, now rather than a round later.
            sight = self.observe().await?;
        }
        let now = Moment::from(time::OffsetDateTime::now_utc());
        let decision = decide(now, &sight.view, &self.fleet.policy);
        self.record(&decision).await?;
        self.apply(&decision, &sight).await?;
        Ok(Some(decision))
    }

    /// Repeats rounds, and takes events, until `stop`.
    pub async fn run(&self, stop: watch::Receiver<bool>) {
        let events = self.events.iter().map(|queue| self.take_events(queue, stop.clone()));
        tokio::join!(self.repeat(stop.clone()), futures_util::future::join_all(events));
        if let Err(error) = self.store.give_turn(TURN.0, self.id).await {
            tracing::debug!(%error, "the turn ends by itself");
        }
    }

    async fn repeat(&self, mut stop: watch::Receiver<bool>) {
        let mut failures = 0_u32;
        loop {
            let wait = match self.scale_once().await {
                Ok(_) => {
                    failures = 0;
                    self.every
                }
                Err(error) => {
                    if failures.is_power_of_two() || failures == 0 {
                        tracing::warn!(error = &error as &dyn std::error::Error, "capacity: failed, trying again");
                    }
                    failures = failures.saturating_add(1);
                    self.every * 2_u32.pow(failures.min(3))
                }
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.wake.notified() => {}
                _ = stop.wait_for(|stopped| *stopped) => return,
            }
        }
    }

    async fn take_events(&self, queue: &EventQueue, mut stop: watch::Receiver<bool>) {
        let mut failures = 0_u32;
        loop {
            let outcome = tokio::select! {
                outcome = self.take_events_once(queue) => outcome,
                _ = stop.wait_for(|stopped| *stopped) => return,
            };
            let Err(error) = outcome else {
                failures = 0;
                continue;
            };
            if failures.is_power_of_two() || failures == 0 {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(queue = queue.name(), error, "events cannot be read, trying again");
            }
            failures = failures.saturating_add(1);
            tokio::select! {
                () = tokio::time::sleep(Duration::from_secs(1) * 2_u32.pow(failures.min(5))) => {}
                _ = stop.wait_for(|stopped| *stopped) => return,
            }
        }
    }

    async fn record(&self, decision: &Decision) -> Result<(), StoreError> {
        let json = |value: serde_json::Result<serde_json::Value>| value.unwrap_or_default();
        let reasons: Vec<serde_json::Value> = decision
            .reasons
            .iter()
            .map(|r| serde_json::json!({ "text": r.to_string(), "data": json(serde_json::to_value(r)) }))
            .collect();
        let actions = json(serde_json::to_value(&decision.actions));
        self.store.record_decision(decision.policy, &actions, &reasons.into()).await
    }
}

/// The machines of a fleet at AWS.
pub async fn scaler(config: &CapacityConfig, fleet: Fleet, store: &Store) -> Scaler {
    let scaler = Scaler::new(store.clone(), fleet, Arc::new(aws::AwsCapacity::open(&config.name).await));
    let events = futures_util::future::join_all(config.events.iter().map(|url| EventQueue::open(url))).await;
    scaler.with_events(events)
}

/// The fleet that a configuration describes: its `fleet.toml`, or processes of this machine.
///
/// # Errors
/// It cannot be read; all that is wrong with it.
pub async fn read_fleet(config: &CapacityConfig, buckets: &Buckets) -> Result<Fleet, ConfigError> {
    if let Some(processes) = &config.processes {
        return Ok(processes::fleet(processes));
    }
    let text = fleet::config::read_text(&config.fleet, buckets).await?;
    Fleet::parse(&text).map_err(|e| ConfigError { origin: config.fleet.clone(), problems: e.0 })
}

/// The kind of a failure by its word.
fn kind_of(word: &str) -> Option<FailureKind> {
    FailureKind::ALL.into_iter().find(|kind| kind.as_str() == word)
}
