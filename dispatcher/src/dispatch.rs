//! The dispatcher's loops. Each is a `*_once` that a test can call; [`Dispatcher::run`] repeats them. Any number of
//! dispatchers may run: every step is one statement or holds a lock in Postgres.

mod regions;
mod turns;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use capacity::pools::Fleet;
use capacity::rates::Rates;
use fleet::config::{Config, ConfigError, Timing};
use fleet::failure::FailureCode;
use fleet::objects::ObjectStore;
use fleet::queue::{Queue, QueueError};
use fleet::store::rescue::{Lost, Patience};
use fleet::store::{Store, StoreError};
use tokio::sync::{Mutex, watch};
use uuid::Uuid;

pub use self::regions::drain_dead_letters;
pub(crate) use self::turns::repeat;
use crate::budget;
use crate::ledger;
use crate::publisher::Publisher;
use crate::routing::{self, RegionView};
use crate::scaling::rates::measured;
use crate::scaling::uploads::ComingUploads;
use crate::scaling::{self, Scaler};
use crate::webhooks::Webhooks;

/// Chunks that one turn releases at most.
const RELEASE_BATCH: u32 = 200;
/// A worker counts as alive for this many heartbeats.
const ALIVE_HEARTBEATS: f64 = 4.0;

/// Name of the turn at reckoning budgets, and its length.
const BUDGET_TURN: (&str, Duration) = ("budgets", Duration::from_secs(10));

/// How long an end waits for deliveries that were begun.
const LAST_DELIVERIES: Duration = Duration::from_secs(3);

/// Why a turn failed; the next one may not.
#[derive(Debug, thiserror::Error)]
pub enum DispatchError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A queue.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// The output store.
    #[error(transparent)]
    Objects(#[from] fleet::objects::ObjectError),
    /// An inbox belongs to nobody.
    #[error("no organisation {0}, to which an inbox belongs; make it first")]
    NoOrganisation(String),
}

/// One region's queue.
#[derive(Debug)]
pub struct Region {
    /// Name.
    pub name: String,
    /// Its queue.
    pub queue: Arc<dyn Queue>,
}

/// Every collaborator, built once.
#[derive(Debug)]
pub struct Dispatcher {
    /// The truth.
    pub store: Store,
    /// Regions, the first is the fallback.
    pub regions: Vec<Region>,
    /// Where presentations go.
    pub objects: Arc<dyn ObjectStore>,
    /// Times.
    pub timing: Timing,
    /// Limits of patience.
    pub patience: Patience,
    /// Pools and what they cost, when the configuration describes them.
    pub fleet: Option<Fleet>,
    /// Starts and ends machines, when this dispatcher does.
    pub scaler: Option<Scaler>,
    /// Tells receivers of what happened.
    pub webhooks: Webhooks,
    publisher: Publisher,
    /// Names this dispatcher where one at a time has the turn.
    id: Uuid,
    /// Regions whose queue was asked and when, so that a dead one is not asked at every turn.
    asked: Mutex<HashMap<String, Instant>>,
}

impl Dispatcher {
    /// Builds a dispatcher from the configuration.
    ///
    /// # Errors
    /// Database, output store or machines are not described well.
    pub async fn new(config: &Config) -> Result<Self, ConfigError> {
        let store = config.store("touchline-dispatcher")?;
        let fleet = match &config.capacity {
            Some(capacity) => Some(scaling::read_fleet(capacity, &config.buckets()).await?),
            None => None,
        };
        let scaler = match (&config.capacity, &fleet) {
            // Whoever starts processes of this machine scales them too.
            (Some(capacity), Some(fleet)) if capacity.processes.is_none() => {
                let coming = ComingUploads::new(store.clone(), config.clone());
                let scaler = scaling::scaler(capacity, fleet.clone(), &store).await;
                Some(scaler.with_coming(Arc::new(coming)))
            }
            _ => None,
        };
        let objects = config.objects(&config.buckets()).await?;
        let mut regions = Vec::new();
        for region in &config.regions {
            regions.push(Region { name: region.name.clone(), queue: region.queue(&store).await });
        }
        let patience = Patience { resend_after: Duration::from_secs_f64(config.timing.resend), ..Patience::default() };
        Ok(Self {
            webhooks: Webhooks::new(store.clone(), &config.webhooks)?,
            publisher: Publisher::new(store.clone(), objects.clone()),
            store,
            regions,
            objects,
            timing: config.timing,
            patience,
            fleet,
            scaler,
            id: Uuid::now_v7(),
            asked: Mutex::default(),
        })
    }

    /// Seconds after the last heartbeat for which a worker counts as alive.
    #[must_use]
    pub fn alive_s(&self) -> f64 {
        (self.timing.heartbeat * ALIVE_HEARTBEATS).max(self.timing.lease)
    }

    /// The regions as routing sees them.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn views(&self) -> Result<Vec<RegionView>, StoreError> {
        let loads = self.store.region_loads(self.alive_s()).await?;
        let unhealthy = self.store.unhealthy_regions().await?;
        let is_healthy = |name: &str| !unhealthy.iter().any(|(u, _)| u == name);
        Ok(self.regions.iter().map(|r| RegionView::new(&r.name, is_healthy(&r.name), &loads)).collect())
    }

    /// Releases waiting chunks, in fair order, as far as the regions have room. Gives how many.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn release_once(&self) -> Result<u64, DispatchError> {
        let views = self.views().await?;
        let room: u64 = views.iter().map(RegionView::room).sum();
        if room == 0 {
            return Ok(0);
        }
        // Some may have to wait for their own region; the ones behind them may not.
        let limit = u32::try_from(room * 2).unwrap_or(RELEASE_BATCH).clamp(16, RELEASE_BATCH);
        let candidates = self.store.candidates(limit, self.patience).await?;
        let chosen = routing::route_all(candidates, views);
        if chosen.is_empty() {
            return Ok(0);
        }
        Ok(self.store.release(&chosen).await?)
    }

    /// Sends committed messages to the queues. Gives how many. A region whose queue fails does not hold up the others.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn relay_once(&self) -> Result<usize, DispatchError> {
        let turns = self.regions.iter().map(|region| self.relay_region(region));
        let mut sent = 0;
        for outcome in futures_util::future::join_all(turns).await {
            sent += outcome?;
        }
        Ok(sent)
    }

    /// Takes back what lost its worker, sends lost messages again, and ends what no retry mends. Gives what was lost.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn rescue_once(&self) -> Result<Vec<Lost>, DispatchError> {
        let lost = self.store.take_back_lost(200).await?;
        for one in &lost {
            tracing::warn!(job.id = %one.job, chunk = one.chunk, attempt = one.attempt, deaths = one.deaths,
                "lease expired; the next attempt goes on after the last committed segment");
        }
        self.store.bury_silent_workers(Duration::from_secs_f64(self.alive_s())).await?;
        while let Some(gone) = self.store.withdraw_suspect().await? {
            tracing::error!(gone.device, gone.reason, segments = gone.segments, jobs = ?gone.jobs,
                "device quarantined; what it made since it last worked is made again");
        }
        let again = self.store.resend(self.patience).await?;
        if again > 0 {
            tracing::info!(again, "messages sent again");
        }
        for gone in self.store.given_up(self.patience).await? {
            if gone.code == FailureCode::CopyImpossible {
                if self.store.replan_without_copy(&gone).await? {
                    tracing::warn!(job.id = %gone.job, chunk = gone.chunk, gone.message, "planned again, without copying");
                }
            } else if self.store.fail_given_up(&gone).await? {
                tracing::error!(job.id = %gone.job, chunk = gone.chunk, code = %gone.code, gone.message, "job failed");
            }
        }
        Ok(lost)
    }

    /// Lets growing playlists grow and publishes what is complete. Gives how many jobs were changed.
    ///
    /// # Errors
    /// The store does not answer. A job whose objects cannot be written waits for the next turn.
    pub async fn publish_once(&self) -> Result<usize, DispatchError> {
        self.store.begin_publishing().await?;
        let downloads = usize::try_from(self.store.publish_downloads().await?).unwrap_or(usize::MAX);
        Ok(self.publisher.turn().await?.saturating_add(downloads))
    }

    /// Reckons the budgets of organisations with a cap: admits jobs, and stops what does not fit. Gives how many were
    /// admitted; none while another dispatcher is at it.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn reckon_budgets_once(&self) -> Result<usize, DispatchError> {
        if !self.store.has_caps().await? || !self.store.take_turn(BUDGET_TURN.0, self.id, BUDGET_TURN.1).await? {
            return Ok(0);
        }
        let rates = match &self.fleet {
            Some(fleet) => measured(&self.store, fleet).await?,
            None => Rates::default(),
        };
        let prices = self.fleet.as_ref().map(|fleet| (fleet, &rates));
        Ok(budget::reckon_once(&self.store, prices).await?)
    }

    /// Splits the bills of machines that have ended among the jobs that they served. Gives how many.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn settle_once(&self) -> Result<usize, DispatchError> {
        Ok(ledger::settle_once(&self.store, self.fleet.as_ref()).await?)
    }

    /// Makes deliveries of what happened, for the webhooks that asked for it. Gives how many events were read.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn fan_out_once(&self) -> Result<usize, DispatchError> {
        Ok(self.webhooks.fan_out_once().await?)
    }

    /// Begins the deliveries that are due. Gives how many.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn deliver_webhooks_once(&self) -> Result<usize, DispatchError> {
        Ok(self.webhooks.deliver_once().await?)
    }

    /// Runs all loops until `stop`.
    pub async fn run(self: Arc<Self>, stop: watch::Receiver<bool>) {
        let every = |seconds: f64| Duration::from_secs_f64(seconds);
        let quick = (self.timing.heartbeat / 10.0).clamp(0.2, 1.0);
        tokio::join!(
            repeat(&stop, "release", every(0.15), || async {
                let released = self.release_once().await?;
                let sent = self.relay_once().await?;
                Ok::<bool, DispatchError>(released > 0 || sent > 0)
            }),
            repeat(&stop, "rescue", every(quick), || async { Ok(!self.rescue_once().await?.is_empty()) }),
            repeat(&stop, "publish", every(0.2), || async { Ok(self.publish_once().await? > 0) }),
            repeat(&stop, "regions", every(quick * 2.0), || async {
                self.check_regions_once().await?;
                Ok(false)
            }),
            repeat(&stop, "dead letters", every(30.0), || async { Ok(self.drain_dead_letters_once().await? > 0) }),
            async {
                if let Some(scaler) = &self.scaler {
                    scaler.run(stop.clone()).await;
                }
            },
            repeat(&stop, "webhooks: fan-out", every(0.25), || async { Ok(self.fan_out_once().await? > 0) }),
            repeat(&stop, "webhooks: deliveries", every(0.25), || async {
                Ok(self.deliver_webhooks_once().await? > 0)
            }),
            repeat(&stop, "webhooks: progress", every(2.0), || async {
                self.webhooks.fan_out_progress_once().await?;
                Ok(false)
            }),
            repeat(&stop, "budgets", every(1.0), || async {
                self.reckon_budgets_once().await?;
                Ok(false)
            }),
            repeat(&stop, "ledger", every(15.0), || async {
                self.settle_once().await?;
                Ok(false)
            }),
            repeat(&stop, "retention", every(3600.0), || async {
                crate::sweep::sweep_once(&self.store, &self.objects, &crate::sweep::Retention::default()).await?;
                Ok(false)
            }),
        );
        self.webhooks.settle(LAST_DELIVERIES).await;
    }
}
