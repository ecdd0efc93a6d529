//! Handing in a match.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use fleet::store::jobs::NewJob;
use fleet::store::tenant::Tenant;
use serde::Deserialize;
use sqlx::PgConnection;
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

use super::super::caller::Caller;
use super::super::input::{Input, text};
use super::super::problem::Problem;
use super::super::scope::Scope;
use super::super::source::Source;
use super::super::{Api, Created, Shared, change};
use super::settings::{JobSettings, Settings, check_settings};
use super::view::Job;

/// A job to be.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JobRequest {
    /// Id of a completed upload, or an `https://` or `s3://` address that this fleet allows.
    #[schema(example = "0192f0c1-1111-7000-8000-000000000000", max_length = 2000)]
    pub source: String,
    /// For people, at most 500 characters; by default the file's name.
    #[serde(default)]
    #[schema(max_length = 500)]
    pub title: Option<String>,
    /// Name of a ladder (`GET /v1/ladders`).
    #[serde(default)]
    #[schema(example = "sports")]
    pub ladder: Option<String>,
    /// `auto`, `nvenc` or `x264`.
    #[serde(default)]
    #[schema(example = "auto")]
    pub encoder: Option<String>,
    /// When it should be ready: within a year.
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub ready_by: Option<OffsetDateTime>,
    /// Region; by default that of the source.
    #[serde(default)]
    pub region: Option<String>,
}

// Written out rather than flattened: unknown fields of a flattened part could not be refused.
impl From<JobRequest> for JobSettings {
    fn from(asked: JobRequest) -> Self {
        Self {
            title: asked.title,
            ladder: asked.ladder,
            encoder: asked.encoder,
            ready_by: asked.ready_by,
            region: asked.region,
        }
    }
}

/// Hands in a match.
#[utoipa::path(post, path = "/jobs", tag = "jobs", request_body = JobRequest, responses(
    (status = 201, body = Job), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn create(
    State(api): State<Shared>,
    caller: Caller,
    Input(asked): Input<JobRequest>,
) -> Result<Created<Job>, Problem> {
    caller.may(Scope::JobsWrite)?;
    let tenant = api.tenant(&caller);
    let mut tx = tenant.begin().await?;
    let source = Source::of(&api, &tenant, &mut tx, &caller, &asked.source).await?;
    let id = accept(&api, &tenant, &mut tx, &caller, source, &asked.into()).await?;
    let row = api.store.job_in(&mut tx, id).await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(Job::of(&row, caller.has(Scope::Ops)))))
}

/// Enters a job within the organisation's limits. The caller commits.
pub(in crate::api) async fn accept(
    api: &Api,
    tenant: &Tenant,
    tx: &mut PgConnection,
    caller: &Caller,
    source: Source,
    settings: &JobSettings,
) -> Result<Uuid, Problem> {
    let Settings { ladder, encoder, region } = check_settings(api, settings)?;
    let home_region = region.unwrap_or_else(|| api.config.home_region(&source.address).to_owned());
    let title = text("title", settings.title.as_deref().unwrap_or(&source.name), 500)?;
    within_limits(tenant, tx).await?;
    let job = NewJob {
        organisation: tenant.organisation(),
        title,
        source: source.address,
        ladder,
        upload: source.upload,
        encoder,
        home_region,
        ready_by: settings.ready_by,
    };
    let id = api.store.submit_in(tx, &job).await?;
    let detail = serde_json::json!({ "title": job.title, "ladder": job.ladder.name });
    tenant.audit(tx, &change(caller, "job.created", id, detail)).await?;
    Ok(id)
}

/// Minutes of the month and storage. Jobs at once are no reason to refuse: they wait for their turn.
pub(super) async fn within_limits(tenant: &Tenant, tx: &mut PgConnection) -> Result<(), Problem> {
    let limits = tenant.limits_in(tx).await?;
    if limits.minutes_a_month.is_none() && limits.storage_bytes.is_none() {
        return Ok(());
    }
    let usage =
        tenant.usage_in(tx, OffsetDateTime::now_utc().date().replace_day(1).map_err(|_| Problem::internal())?).await?;
    if let Some(most) = limits.minutes_a_month
        && usage.minutes >= f64::from(most)
    {
        return Err(Problem::quota(format!(
            "This month's {most} minutes are used up; more begin with the next month."
        )));
    }
    if let Some(most) = limits.storage_bytes
        && usage.storage_bytes >= most
    {
        return Err(Problem::quota(
            "The storage is full; delete matches that nobody needs, or ask whoever runs this service for more.",
        ));
    }
    Ok(())
}
