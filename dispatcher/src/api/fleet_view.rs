//! The fleet as those see it who operate it.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
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
use super::{Shared, change};

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
}

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(fleet_state)).routes(routes!(drain))
}

/// Jobs, regions and workers of the whole fleet.
#[utoipa::path(get, path = "/fleet", tag = "operations", responses(
    (status = 200, body = FleetState), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", body = Problem, content_type = "application/problem+json")))]
async fn fleet_state(State(api): State<Shared>, caller: Caller) -> Result<Json<FleetState>, Problem> {
    caller.may(Scope::Ops)?;
    let mut jobs: BTreeMap<String, i64> =
        fleet::state::JobState::ALL.iter().map(|state| (state.as_str().to_owned(), 0)).collect();
    jobs.extend(api.store.active_jobs_by_state().await?);
    jobs.extend(api.store.ended_jobs_by_state(86_400.0).await?);
    let alive = (api.config.timing.heartbeat * 4.0).max(api.config.timing.lease);
    let loads = api.store.region_loads(alive).await?;
    let unhealthy = api.store.unhealthy_regions().await?;
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
        }
    });
    let (chunks, media_s) = api.store.backlog().await?;
    Ok(Json(FleetState {
        jobs,
        backlog: Backlog {
            chunks,
            media_s,
            unsent_messages: api.store.outbox_depth().await?,
            oldest_wait_s: api.store.oldest_wait_s().await?,
        },
        regions: regions.collect(),
        workers: api.store.workers(false).await?.into_iter().map(Worker::from).collect(),
    }))
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
