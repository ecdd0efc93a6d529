//! `worker run`: takes chunks from a region's queue, works on them, and keeps their leases, until it is drained.
//!
//! Reading order: this file (the loop: poll, claim, drain) → [`lease`] (heartbeats) → `attempt` (one claimed chunk, from
//! claim to end) with `plan`, `video`, `audio`, `clip`, [`resume`] and [`ending`] → `commit` (objects and rows) → `stash` (open sources and warm
//! engines) → `device` (is the GPU sound?) → `spot` (notices) with `metadata` → `monitor` (health and metrics).

mod attempt;
mod audio;
mod clip;
mod commit;
mod device;
pub mod ending;
pub mod lease;
mod metadata;
mod monitor;
mod plan;
pub mod resume;
mod spot;
mod stash;
mod video;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use fleet::config::{Config, ConfigError};
use fleet::objects::ObjectStore;
use fleet::queue::{MAX_BATCH, Queue, Received};
use fleet::store::work::{AttemptId, Claim, Claimed, Work};
use fleet::store::workers::NewWorker;
use fleet::store::{Store, StoreError};
use media::clock::since_boot;
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::child::Engines;
use crate::hardware::{self, EncoderChoice};
use crate::plan::Backend;
use lease::Leases;
use monitor::Metrics;
use stash::Stash;

/// Longest wait for a message; a drain does not wait for it to pass.
const POLL: Duration = Duration::from_secs(20);
/// Wait after a queue or database that does not answer; doubles up to 16 times.
const PAUSE: Duration = Duration::from_millis(250);
/// A message for another kind of encoder is seen again after this.
const OTHER_BACKEND: Duration = Duration::from_secs(15);
/// A message for anybody but this worker is seen again after this: others look more often.
const ELSEWHERE: Duration = Duration::from_secs(5);

/// What is asked for.
#[derive(Clone, Debug)]
pub struct ServiceRequest {
    /// The fleet.
    pub config: Config,
    /// Region to work in.
    pub region: String,
    /// Chunks at once; `None` for as many as the machine carries.
    pub slots: Option<u32>,
    /// Encoders to offer.
    pub encoder: EncoderChoice,
    /// Pool, for the books; on EC2 the machine's own tag goes before it.
    pub pool: String,
    /// The provider's name of the machine; on EC2 its metadata goes before it.
    pub instance: String,
    /// End after this long without work.
    pub idle_exit: Option<Duration>,
    /// End when the parent process does.
    pub with_parent: bool,
    /// Address for health and metrics.
    pub listen: Option<SocketAddr>,
    /// The machine is EC2's: learn which it is, and watch for spot notices.
    pub spot: bool,
    /// How long a drain waits for segments to be finished.
    pub drain: Duration,
    /// Run engines without their sandbox.
    pub insecure_engine: bool,
    /// Sleep instead of encoding, this many times as fast as the match: a test double for measuring the fleet itself.
    pub pretend: Option<f64>,
    /// Hold each segment back for this long: a test double of a slow machine.
    pub pause: Option<Duration>,
}

/// Why the service ended badly.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The region is not in the configuration.
    #[error("region {name} is not in the configuration; there are {known}")]
    NoRegion {
        /// Asked for.
        name: String,
        /// Configured.
        known: String,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The encoder that was demanded does not work.
    #[error(transparent)]
    Job(#[from] crate::failure::JobError),
    /// The monitoring address.
    #[error("{address} cannot be listened on")]
    Listen {
        /// Address.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
}

/// Everything that attempts share.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) id: Uuid,
    pub(crate) region: String,
    pub(crate) store: Store,
    pub(crate) queue: Arc<dyn Queue>,
    pub(crate) objects: Arc<dyn ObjectStore>,
    pub(crate) stash: Stash,
    pub(crate) leases: Leases,
    pub(crate) metrics: Metrics,
    pub(crate) lease: Duration,
    pub(crate) backends: Vec<Backend>,
    pub(crate) encoder: EncoderChoice,
    pub(crate) slots: u32,
    pub(crate) drain: Duration,
    pub(crate) pretend: Option<f64>,
    pub(crate) pause: Option<Duration>,
    pub(crate) busy: AtomicU64,
    pub(crate) draining: watch::Sender<bool>,
    /// A task made something strange: the device is to be looked at.
    pub(crate) suspicion: Notify,
}

/// Runs until `stop`, a drain command, a spot notice, or the end of patience with having nothing to do.
///
/// # Errors
/// [`ServiceError`].
pub async fn run(request: ServiceRequest, stop: watch::Receiver<bool>) -> Result<(), ServiceError> {
    let with_parent = request.with_parent;
    tokio::select! {
        outcome = serve(request, stop) => outcome,
        // Whoever could take the work back is gone too: there is nothing to be orderly for. Engines end with us.
        () = orphaned(with_parent) => {
            tracing::warn!("the parent is gone; ending");
            Ok(())
        }
    }
}

/// Waits until this process is no longer the child of the one that started it.
async fn orphaned(with_parent: bool) {
    let parent = std::os::unix::process::parent_id();
    while !with_parent || std::os::unix::process::parent_id() == parent {
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

async fn serve(request: ServiceRequest, stop: watch::Receiver<bool>) -> Result<(), ServiceError> {
    let config = &request.config;
    let region = config.region(&request.region).ok_or_else(|| ServiceError::NoRegion {
        name: request.region.clone(),
        known: config.regions.iter().map(|r| r.name.as_str()).collect::<Vec<_>>().join(", "),
    })?;
    let store = config.store("touchline-worker")?;
    let buckets = config.buckets();
    let queue = region.queue(&store).await;
    let objects = config.objects(&buckets).await?;
    let engines = Engines::new(request.insecure_engine);
    let chosen = match request.pretend {
        Some(_) => None,
        None => {
            engines.check().await?;
            let chosen = hardware::choose(engines, request.encoder).await?;
            Some(device::choose(engines, chosen, &store, &stop).await?)
        }
    };
    let engines = chosen.as_ref().map_or(engines, |chosen| chosen.equip(engines));
    let device = chosen.as_ref().map_or_else(String::new, |chosen| chosen.device(&host()));
    let backends = chosen.as_ref().map_or_else(|| vec![Backend::X264], hardware::Chosen::backends);
    let slots = request.slots.unwrap_or_else(|| chosen.as_ref().map_or(1, hardware::Chosen::service_slots)).max(1);
    let service = Arc::new(Service {
        id: Uuid::now_v7(),
        region: region.name.clone(),
        stash: Stash::new(slots as usize, engines, buckets, config.api.source_reach()?.map(Arc::new)),
        leases: Leases::default(),
        metrics: Metrics::new(slots),
        lease: config.timing.lease(),
        backends,
        encoder: request.encoder,
        slots,
        drain: request.drain,
        pretend: request.pretend,
        pause: request.pause,
        busy: AtomicU64::new(0),
        draining: watch::Sender::new(false),
        suspicion: Notify::new(),
        store,
        queue,
        objects,
    });
    if let Some(address) = request.listen {
        monitor::listen(address, service.clone()).await?;
    }
    let (instance, pool) = if request.spot { spot::place().await } else { (String::new(), String::new()) };
    let known = |said: String, given: &str| if said.is_empty() { given.to_owned() } else { said };
    let registered = NewWorker {
        id: service.id,
        region: service.region.clone(),
        pool: known(pool, &request.pool),
        instance: known(instance, &request.instance),
        host: host(),
        device: device.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        backends: service.backends.iter().map(ToString::to_string).collect(),
        slots,
    };
    patiently(|| service.store.register_worker(&registered), &stop).await?;
    tracing::info!(worker.id = %service.id, region = service.region, slots, backends = ?service.backends, "worker is running");
    service.metrics.ready(true);

    let heartbeat = tokio::spawn(lease::keep(service.clone(), config.timing.heartbeat()));
    tokio::spawn(watch_for_drain(service.clone(), stop.clone()));
    if let Some(chosen) = &chosen {
        tokio::spawn(device::watch(service.clone(), device, chosen.machine.backend));
    }
    if request.spot {
        tokio::spawn(spot::watch(service.clone()));
    }
    poll(&service, request.idle_exit).await;
    service.metrics.ready(false);
    heartbeat.abort();
    if let Err(error) = service.store.worker_gone(service.id).await {
        tracing::warn!(%error, "the farewell was not recorded; silence will tell");
    }
    tracing::info!(worker.id = %service.id, "worker ended");
    Ok(())
}

/// Turns what asks for an end into a drain.
async fn watch_for_drain(service: Arc<Service>, mut stop: watch::Receiver<bool>) {
    if stop.wait_for(|s| *s).await.is_ok() {
        tracing::info!("asked to end; handing back what is not finished");
        service.draining.send_replace(true);
    }
}

/// Polls while there are free slots; each message that can be claimed becomes an attempt. One track of sound at a time
/// goes beside the slots.
async fn poll(service: &Arc<Service>, idle_exit: Option<Duration>) {
    let free = Arc::new(Semaphore::new(service.slots as usize));
    // Sound costs a small part of a core but runs through the whole match: in a slot it would keep pictures waiting.
    let sound = Arc::new(Semaphore::new(1));
    let (mut draining, mut attempts) = (service.draining.subscribe(), JoinSet::new());
    let (wake, mut woken) = mpsc::channel::<()>(1);
    let mut idle_since = tokio::time::Instant::now();
    let mut failures = 0_u32;
    while !*draining.borrow() {
        if service.busy.load(Relaxed) > 0 {
            idle_since = tokio::time::Instant::now();
        } else if idle_exit.is_some_and(|patience| idle_since.elapsed() >= patience) {
            tracing::info!("nothing to do; ending");
            break;
        }
        let slots = free.available_permits();
        if slots == 0 {
            tokio::select! {
                _ = woken.recv() => {}
                _ = draining.wait_for(|d| *d) => {}
            }
            continue;
        }
        let wait = idle_exit.map_or(POLL, |patience| POLL.min(patience));
        let received = tokio::select! {
            received = service.queue.receive(slots.min(MAX_BATCH), wait, service.lease) => received,
            _ = draining.wait_for(|d| *d) => break,
        };
        match received {
            Ok(received) => {
                failures = 0;
                if received.is_empty() && service.busy.load(Relaxed) == 0 {
                    // A whole wait without work: what is warm will hardly be needed.
                    service.stash.cool().await;
                }
                for one in received {
                    let Ok(permit) = free.clone().try_acquire_owned() else {
                        hand_back(service, &one, Duration::ZERO).await;
                        continue;
                    };
                    let asked = since_boot();
                    let Some(claim) = claim(service, &one).await else { continue };
                    let permit = match sound.clone().try_acquire_owned() {
                        Ok(beside) if matches!(claim.work, Work::Audio { .. }) => beside,
                        _ => permit,
                    };
                    let (service, wake) = (service.clone(), wake.clone());
                    service.busy.fetch_add(1, Relaxed);
                    attempts.spawn(async move {
                        attempt::run(&service, *claim, asked, one.receipt).await;
                        service.busy.fetch_sub(1, Relaxed);
                        drop(permit);
                        if wake.try_send(()).is_err() {
                            tracing::trace!("the poll knows already");
                        }
                    });
                }
            }
            Err(error) => {
                if failures.is_power_of_two() || failures == 0 {
                    tracing::warn!(%error, "the queue does not answer, trying again");
                }
                failures = failures.saturating_add(1);
                tokio::select! {
                    () = tokio::time::sleep(PAUSE * 2_u32.pow(failures.min(4))) => {}
                    _ = draining.wait_for(|d| *d) => break,
                }
            }
        }
        while attempts.try_join_next().is_some() {}
    }
    service.draining.send_replace(true);
    service.metrics.ready(false);
    // Attempts end at their next segment; those that take too long are cut short, and go on elsewhere all the same.
    let all = async { while attempts.join_next().await.is_some() {} };
    if tokio::time::timeout(service.drain + Duration::from_secs(10), all).await.is_err() {
        tracing::warn!("attempts did not end in time; their leases will");
    }
}

/// Claims what a message tells of; deletes it when it is stale.
async fn claim(service: &Service, received: &Received) -> Option<Box<Claim>> {
    // A body that is none goes to the dead letters in time.
    let message = received.message?;
    let backends: Vec<String> = service.backends.iter().map(ToString::to_string).collect();
    match service.store.claim(&message, service.id, &service.region, &backends, service.lease).await {
        Ok(Claimed::Ours(claim)) => Some(claim),
        Ok(Claimed::Stale) => {
            tracing::debug!(job.id = %message.job, chunk = message.chunk, attempt = message.attempt, "stale message");
            if let Err(error) = service.queue.delete(std::slice::from_ref(&received.receipt)).await {
                tracing::debug!(%error, "the stale message comes again");
            }
            None
        }
        Ok(Claimed::OtherBackend) => {
            hand_back(service, received, OTHER_BACKEND).await;
            None
        }
        Ok(Claimed::Elsewhere) => {
            hand_back(service, received, ELSEWHERE).await;
            None
        }
        Err(error) => {
            tracing::warn!(%error, "claiming failed; the message comes again");
            hand_back(service, received, Duration::from_secs(2)).await;
            None
        }
    }
}

async fn hand_back(service: &Service, received: &Received, after: Duration) {
    if let Err(error) = service.queue.extend(std::slice::from_ref(&received.receipt), after).await {
        tracing::debug!(%error, "the message comes again by itself");
    }
}

/// Repeats a call while the database is away, until asked to end.
async fn patiently<F, T>(mut call: F, stop: &watch::Receiver<bool>) -> Result<(), StoreError>
where
    F: FnMut() -> T,
    T: Future<Output = Result<(), StoreError>>,
{
    let mut pause = PAUSE;
    loop {
        match call().await {
            Err(error) if error.is_transient() && !*stop.borrow() => {
                tracing::warn!(error = &error as &dyn std::error::Error, "waiting for the database");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(5));
            }
            other => return other,
        }
    }
}

fn host() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").map_or_else(|_| "unknown".to_owned(), |h| h.trim().to_owned())
}

impl Service {
    /// Whether an attempt is still the one that may write.
    pub(crate) fn holds(&self, id: AttemptId) -> bool {
        self.leases.holds(id)
    }
}
