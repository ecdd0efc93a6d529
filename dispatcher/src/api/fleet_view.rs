//! The fleet as those see it who operate it.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use fleet::state::JobState;
use fleet::store::workers::WorkerRow;
use serde::Serialize;
use time::OffsetDateTime;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::caller::Caller;
use super::input::Place;
use super::problem::Problem;
use super::scope::Scope;
use super::{Api, Shared, change};
use crate::dispatch::drain_dead_letters;
use crate::scaling;
use crate::scaling::overview::{self, Known, PoolState};

/// Decisions that are shown.
const DECISIONS: u32 = 20;
/// A queue that does not answer within this is shown without figures.
const QUEUE_LIMIT: Duration = Duration::from_secs(2);

/// A region.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct RegionState {
    /// Name.
    pub name: String,
    /// Whether it answers.
    pub healthy: bool,
    /// Why not.
    pub reason: String,
    /// Chunks released and not claimed.
    pub queued: i64,
    /// Chunks at work.
    pub running: i64,
    /// Slots of workers that take work.
    pub slots: i64,
    /// Workers that are alive.
    pub workers: i64,
    /// What the queue says of itself; null when it does not answer.
    #[schema(required)]
    pub queue: Option<QueueState>,
}

/// Messages in a queue, as the queue counts them.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct QueueState {
    /// Ready to be received.
    pub visible: u64,
    /// Received and not deleted.
    pub in_flight: u64,
    /// In the dead-letter queue; null without one.
    #[schema(required)]
    pub dead: Option<u64>,
}

/// A pool of machines.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct PoolSummary {
    /// Name.
    pub name: String,
    /// Region.
    pub region: String,
    /// Instance type.
    pub instance_type: String,
    /// `spot` or `on_demand`.
    pub option: String,
    /// Instances with a worker.
    pub running: usize,
    /// Instances without one yet.
    pub booting: usize,
    /// Instances at most.
    pub limit: u32,
    /// Price of one in US dollars an hour.
    pub price_per_hour_usd: f64,
    /// Why nothing is started there.
    #[schema(required)]
    pub note: Option<String>,
}

impl From<PoolState> for PoolSummary {
    fn from(pool: PoolState) -> Self {
        Self {
            name: pool.pool,
            region: pool.region,
            instance_type: pool.instance_type,
            option: pool.option,
            running: pool.idle + pool.busy + pool.draining,
            booting: pool.booting,
            limit: pool.most,
            price_per_hour_usd: pool.usd_per_hour,
            note: pool.blocked,
        }
    }
}

/// A decision about capacity.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct DecisionSummary {
    /// When it was made last.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// What is done.
    pub action: String,
    /// Why, in sentences.
    pub reason: String,
}

/// What machines cost, in US dollars.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct Costs {
    /// Since midnight (UTC).
    pub today_usd: f64,
    /// Since the first of the month (UTC).
    pub month_usd: f64,
    /// Of the month's: time before a worker was there.
    pub waste_usd: f64,
}

/// A worker.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Worker {
    /// Id.
    pub id: Uuid,
    /// Region.
    pub region: String,
    /// Pool; empty when it belongs to none.
    pub pool: String,
    /// Host name or instance id.
    pub host: String,
    /// Version of the program.
    pub version: String,
    /// Encoder families that it has.
    pub backends: Vec<String>,
    /// Chunks at once.
    pub slots: i32,
    /// Chunks at work.
    pub busy: i32,
    /// `ready`, `draining` or `gone`.
    pub state: String,
    /// What NVML says; null without a GPU.
    #[schema(required)]
    pub gpu: Option<serde_json::Value>,
    /// When it came.
    #[serde(with = "time::serde::rfc3339")]
    pub started_at: OffsetDateTime,
    /// Seconds since its last heartbeat.
    pub silent_s: f64,
    /// Seconds without work; null while it has some.
    #[schema(required)]
    pub idle_s: Option<f64>,
}

impl From<WorkerRow> for Worker {
    fn from(row: WorkerRow) -> Self {
        Self {
            id: row.id,
            region: row.region,
            pool: row.pool,
            host: row.host,
            version: row.version,
            backends: row.backends,
            slots: row.slots,
            busy: row.busy,
            state: row.state,
            gpu: row.gpu,
            started_at: row.started_at,
            silent_s: row.silent_s,
            idle_s: row.idle_s,
        }
    }
}

/// Work that is not done.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct Backlog {
    /// Chunks.
    pub chunks: u64,
    /// Seconds of media in them.
    pub media_s: f64,
    /// Messages that no queue has yet.
    pub unsent_messages: u64,
    /// How long the longest waiting job has waited for a worker.
    pub oldest_wait_s: f64,
}

/// The fleet now.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct FleetState {
    /// Jobs by state; ended ones of the last 24 hours.
    pub jobs: BTreeMap<String, i64>,
    /// Work that is not done.
    pub backlog: Backlog,
    /// Regions.
    pub regions: Vec<RegionState>,
    /// Workers that are alive, the newest first.
    pub workers: Vec<Worker>,
    /// Pools; none where machines come and go by other hands.
    pub pools: Vec<PoolSummary>,
    /// Decisions about capacity, the newest first.
    pub decisions: Vec<DecisionSummary>,
    /// What machines cost; null where they are not paid by the hour.
    #[schema(required)]
    pub costs: Option<Costs>,
}

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(fleet_state)).routes(routes!(drain)).routes(routes!(redrive))
}

/// Jobs, regions and workers of the whole fleet.
#[utoipa::path(get, path = "/fleet", tag = "operations", responses(
    (status = 200, body = FleetState), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", body = Problem, content_type = "application/problem+json")))]
async fn fleet_state(State(api): State<Shared>, caller: Caller) -> Result<Json<FleetState>, Problem> {
    caller.may(Scope::Ops)?;
    let mut jobs: BTreeMap<String, i64> = JobState::ALL.iter().map(|state| (state.as_str().to_owned(), 0)).collect();
    jobs.extend(api.store.active_jobs_by_state().await?);
    jobs.extend(api.store.ended_jobs_by_state(86_400.0).await?);
    let alive = (api.config.timing.heartbeat * 4.0).max(api.config.timing.lease);
    let loads = api.store.region_loads(alive).await?;
    let unhealthy = api.store.unhealthy_regions().await?;
    let mut queues = api.queue_states().await;
    let regions = api.config.regions.iter().map(|region| {
        let load = loads.iter().find(|l| l.region == region.name).cloned().unwrap_or_default();
        let problem = unhealthy.iter().find(|(name, _)| *name == region.name);
        RegionState {
            name: region.name.clone(),
            healthy: problem.is_none(),
            reason: problem.map(|(_, reason)| reason.clone()).unwrap_or_default(),
            queued: load.queued,
            running: load.running,
            slots: load.slots,
            workers: load.workers,
            queue: queues.remove(&region.name),
        }
    });
    let regions: Vec<RegionState> = regions.collect();
    let (chunks, media_s) = api.store.backlog().await?;
    let (pools, decisions, costs) = api.machines().await?;
    Ok(Json(FleetState {
        jobs,
        backlog: Backlog {
            chunks,
            media_s,
            unsent_messages: api.store.outbox_depth().await?,
            oldest_wait_s: api.store.oldest_wait_s().await?,
        },
        regions,
        workers: api.store.workers(false).await?.into_iter().map(Worker::from).collect(),
        pools,
        decisions,
        costs,
    }))
}

impl Api {
    /// What each region's queue says of itself; those that do not answer soon are left out.
    async fn queue_states(&self) -> BTreeMap<String, QueueState> {
        let asked = self.config.regions.iter().map(|region| async move {
            let queue = region.queue(&self.store).await;
            let depth = queue.depth().await.ok()?;
            let dead = match queue.dead_letters() {
                Some(dead) => Some(dead.depth().await.ok()?.visible),
                None => None,
            };
            Some((region.name.clone(), QueueState { visible: depth.visible, in_flight: depth.in_flight, dead }))
        });
        let limited = asked.map(|one| tokio::time::timeout(QUEUE_LIMIT, one));
        let answers = futures_util::future::join_all(limited).await;
        answers.into_iter().filter_map(|answer| answer.ok().flatten()).collect()
    }

    /// Pools, decisions and costs.
    async fn machines(&self) -> Result<(Vec<PoolSummary>, Vec<DecisionSummary>, Option<Costs>), Problem> {
        let Some(config) = &self.config.capacity else { return Ok((Vec::new(), Vec::new(), None)) };
        let fleet = scaling::read_fleet(config, &self.config.buckets()).await.map_err(|error| {
            tracing::warn!(%error, "the pools cannot be read");
            Problem::unavailable("The file with the pools cannot be read; try again in a moment.")
        })?;
        let known = Known::read(&self.store, DECISIONS).await?;
        let pools = overview::pools(&fleet, &known).into_iter().map(PoolSummary::from).collect();
        let decisions = known.decisions.iter().map(|decision| DecisionSummary {
            at: decision.last_at,
            action: overview::actions_in_words(&decision.actions),
            reason: decision.sentences().collect::<Vec<_>>().join(". "),
        });
        let midnight = OffsetDateTime::now_utc().replace_time(time::Time::MIDNIGHT);
        let first = midnight.replace_day(1).unwrap_or(midnight);
        #[expect(clippy::cast_precision_loss, reason = "dollars")]
        let usd = |micros: i64| micros as f64 / 1e6;
        let (month, waste) = self.store.cost_since(first).await?;
        let (today, _) = self.store.cost_since(midnight).await?;
        let costs = Costs { today_usd: usd(today), month_usd: usd(month), waste_usd: usd(waste) };
        Ok((pools, decisions.collect(), Some(costs)))
    }
}

/// Asks a worker to finish what it has and end.
#[utoipa::path(post, path = "/workers/{id}/drain", tag = "operations", params(("id" = Uuid, Path)), responses(
    (status = 204), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", body = Problem, content_type = "application/problem+json")))]
async fn drain(
    State(api): State<Shared>,
    caller: Caller,
    Place(id): Place<Uuid>,
) -> Result<axum::http::StatusCode, Problem> {
    caller.may(Scope::Ops)?;
    if !api.store.drain_worker(id).await? {
        return Err(Problem::not_found("worker"));
    }
    let tenant = api.tenant(&caller);
    let mut tx = tenant.begin().await?;
    tenant.audit(&mut tx, &change(&caller, "worker.drained", id, serde_json::json!({}))).await?;
    tx.commit().await?;
    Ok(axum::http::StatusCode::NO_CONTENT)
}

/// What was set going again.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct Redriven {
    /// Dead letters that were taken away.
    pub letters: usize,
    /// Failed jobs that are tried again.
    pub jobs: usize,
}

/// Failed jobs that one request sets going.
const REDRIVE: u32 = 1000;

/// Empties the dead-letter queues and tries failed jobs of all organisations again, those first that failed last.
#[utoipa::path(post, path = "/redrive", tag = "operations", responses(
    (status = 200, body = Redriven), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", body = Problem, content_type = "application/problem+json")))]
async fn redrive(State(api): State<Shared>, caller: Caller) -> Result<Json<Redriven>, Problem> {
    caller.may(Scope::Ops)?;
    let mut letters = 0;
    for region in &api.config.regions {
        let queue = region.queue(&api.store).await;
        letters += drain_dead_letters(&region.name, &*queue).await.map_err(|error| {
            tracing::warn!(region = region.name, %error, "dead letters stay");
            Problem::unavailable(format!("The queue of {} does not answer; try again in a moment.", region.name))
        })?;
    }
    let failed = api.store.jobs(Some(JobState::Failed), REDRIVE).await?;
    let mut again = 0;
    for job in &failed {
        again += usize::from(api.store.retry_if_there(job.id).await?);
    }
    let tenant = api.tenant(&caller);
    let mut tx = tenant.begin().await?;
    let detail = serde_json::json!({ "letters": letters, "jobs": again });
    tenant.audit(&mut tx, &change(&caller, "fleet.redriven", "fleet", detail)).await?;
    tx.commit().await?;
    Ok(Json(Redriven { letters, jobs: again }))
}
