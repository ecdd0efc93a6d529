//! Jobs over HTTP.

mod renditions;
mod settings;
mod submit;
mod view;

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use capacity::budget::{CAP_REACHED, FOR_COACH};
use fleet::store::jobs::JobFilter;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

pub use renditions::Rendition;
pub use settings::JobSettings;
pub(super) use settings::{check_settings, named_ladder};
pub use submit::JobRequest;
pub(super) use submit::accept;
pub(super) use view::rate;
pub use view::{Failure, Job, JobStateName, Rate};

use super::caller::Caller;
use super::input::{Ask, Input, Place, text};
use super::page::{Page, Paging, by_time};
use super::problem::Problem;
use super::scope::Scope;
use super::{Api, Shared, change};
use crate::sweep::delete_objects;
use crate::why::{Why, why};
use submit::within_limits;

/// How long whoever deletes a match waits for its objects to be gone.
const CLEARING: Duration = Duration::from_secs(10);

/// A time in the match.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FocusRequest {
    /// Seconds from the start.
    #[schema(minimum = 0, maximum = 86_400)]
    at_s: f64,
}

/// Which jobs.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct JobsQuery {
    /// Only those in one of these states, with commas between them.
    #[serde(default, deserialize_with = "states")]
    #[param(style = Form, explode = false, required = false)]
    state: Vec<JobStateName>,
    /// Only those whose title holds this, or whose id begins with it.
    #[param(max_length = 200)]
    q: Option<String>,
    /// Every organisation's; with the scope `ops`.
    all: Option<bool>,
    /// Items on a page, 1 to 100.
    #[param(minimum = 1, maximum = 100, default = 30)]
    limit: Option<u32>,
    /// From the page before.
    cursor: Option<String>,
}

impl Api {
    /// Deletes what a deleted job leaves in stores. What fails is left for the sweep.
    async fn clear(&self, organisation: Uuid, job: Uuid, upload: Option<Uuid>) {
        if let Err(error) = delete_objects(&self.objects, organisation, job).await {
            tracing::warn!(%error, %job, "objects of a deleted job are left for the sweep");
        }
        if let Some(upload) = upload {
            self.clear_upload(upload).await;
        }
    }
}

/// Words with commas between them.
fn states<'de, D: serde::Deserializer<'de>>(words: D) -> Result<Vec<JobStateName>, D::Error> {
    use serde::de::IntoDeserializer;
    let words = String::deserialize(words)?;
    let name = |word: &str| JobStateName::deserialize(IntoDeserializer::<D::Error>::into_deserializer(word));
    words.split(',').map(str::trim).filter(|word| !word.is_empty()).map(name).collect()
}

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(list, submit::create))
        .routes(routes!(get, delete))
        .routes(routes!(cancel))
        .routes(routes!(retry))
        .routes(routes!(focus))
        .routes(routes!(explain))
        .routes(routes!(renditions::renditions))
}

/// Jobs, the newest first.
#[utoipa::path(get, path = "/jobs", tag = "jobs", params(JobsQuery), responses(
    (status = 200, body = Page<Job>), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", body = Problem, content_type = "application/problem+json")))]
async fn list(
    State(api): State<Shared>,
    caller: Caller,
    Ask(asked): Ask<JobsQuery>,
) -> Result<Json<Page<Job>>, Problem> {
    let for_ops = caller.has(Scope::Ops);
    let all = asked.all.unwrap_or(false);
    caller.may(if all { Scope::Ops } else { Scope::JobsRead })?;
    let paging = Paging { limit: asked.limit, cursor: asked.cursor };
    let limit = paging.limit()?;
    let filter = JobFilter {
        states: asked.state.into_iter().map(Into::into).collect(),
        text: asked.q.map(|q| text("q", &q, 200)).transpose()?.filter(|q| !q.is_empty()),
        after: paging.after_time()?,
        limit: limit + 1,
    };
    let rows = if all { api.store.list_jobs(&filter).await? } else { api.tenant(&caller).jobs(&filter).await? };
    let page = Page::of(rows, limit, |row| by_time(row.created_at, row.id));
    let items = page.items.iter().map(|row| Job::of(row, for_ops)).collect();
    Ok(Json(Page { items, next_cursor: page.next_cursor }))
}

/// A job.
#[utoipa::path(get, path = "/jobs/{id}", tag = "jobs", params(("id" = Uuid, Path)), responses(
    (status = 200, body = Job), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", body = Problem, content_type = "application/problem+json")))]
async fn get(State(api): State<Shared>, caller: Caller, Place(id): Place<Uuid>) -> Result<Json<Job>, Problem> {
    caller.may(Scope::JobsRead)?;
    let row = api.tenant(&caller).job(id).await?;
    Ok(Json(Job::of(&row, caller.has(Scope::Ops))))
}

/// Cancels a job. What is encoded stays for a retry. Cancelling twice is no error.
#[utoipa::path(post, path = "/jobs/{id}/cancel", tag = "jobs", params(("id" = Uuid, Path)), responses(
    (status = 200, body = Job), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", body = Problem, content_type = "application/problem+json")))]
async fn cancel(State(api): State<Shared>, caller: Caller, Place(id): Place<Uuid>) -> Result<Json<Job>, Problem> {
    caller.may(Scope::JobsWrite)?;
    let tenant = api.tenant(&caller);
    let mut tx = tenant.begin().await?;
    if api.store.cancel_in(&mut tx, id).await? {
        tenant.audit(&mut tx, &change(&caller, "job.cancelled", id, serde_json::json!({}))).await?;
    }
    let row = api.store.job_in(&mut tx, id).await?;
    tx.commit().await?;
    Ok(Json(Job::of(&row, caller.has(Scope::Ops))))
}

/// Deletes a job that has ended for good: the match, its clips, their files, and the file that was uploaded for it unless
/// another match was made of that. Links to them stop playing. What lies in buckets of your own stays, and so does what was
/// used of the month.
#[utoipa::path(delete, path = "/jobs/{id}", tag = "jobs", params(("id" = Uuid, Path)), responses(
    (status = 204), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", body = Problem, content_type = "application/problem+json")))]
async fn delete(State(api): State<Shared>, caller: Caller, Place(id): Place<Uuid>) -> Result<StatusCode, Problem> {
    caller.may(Scope::JobsWrite)?;
    let tenant = api.tenant(&caller);
    let title = tenant.job(id).await?.title;
    let audit = change(&caller, "job.deleted", id, serde_json::json!({ "title": title }));
    let upload = api.store.remove_job(&tenant, id, &audit).await?;
    // It is gone now, whatever becomes of its objects here: the sweep knows of them. A client that goes away does not stop it.
    let work = tokio::spawn(async move { api.clear(caller.organisation, id, upload).await });
    match tokio::time::timeout(CLEARING, work).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(%error, job = %id, "deleting the objects of a job"),
        Err(_) => tracing::info!(job = %id, "the objects of a deleted job are many"),
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Tries a failed or cancelled job again, from where it was.
#[utoipa::path(post, path = "/jobs/{id}/retry", tag = "jobs", params(("id" = Uuid, Path)), responses(
    (status = 200, body = Job), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", body = Problem, content_type = "application/problem+json")))]
async fn retry(State(api): State<Shared>, caller: Caller, Place(id): Place<Uuid>) -> Result<Json<Job>, Problem> {
    caller.may(Scope::JobsWrite)?;
    let tenant = api.tenant(&caller);
    let mut tx = tenant.begin().await?;
    within_limits(&tenant, &mut tx).await?;
    api.store.retry_in(&mut tx, id).await?;
    tenant.audit(&mut tx, &change(&caller, "job.retried", id, serde_json::json!({}))).await?;
    let row = api.store.job_in(&mut tx, id).await?;
    tx.commit().await?;
    Ok(Json(Job::of(&row, caller.has(Scope::Ops))))
}

/// Encodes the match from this time on first.
#[utoipa::path(post, path = "/jobs/{id}/focus", tag = "jobs", params(("id" = Uuid, Path)), request_body = FocusRequest,
    responses((status = 200, body = Job), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", body = Problem, content_type = "application/problem+json")))]
async fn focus(
    State(api): State<Shared>,
    caller: Caller,
    Place(id): Place<Uuid>,
    Input(asked): Input<FocusRequest>,
) -> Result<Json<Job>, Problem> {
    caller.may(Scope::JobsWrite)?;
    if !(0.0..=86_400.0).contains(&asked.at_s) {
        return Err(Problem::invalid("at_s", "give 0 to 86400 seconds"));
    }
    let tenant = api.tenant(&caller);
    let mut tx = tenant.begin().await?;
    api.store.focus_in(&mut tx, id, asked.at_s).await?;
    let detail = serde_json::json!({ "at_s": asked.at_s });
    tenant.audit(&mut tx, &change(&caller, "job.focused", id, detail)).await?;
    let row = api.store.job_in(&mut tx, id).await?;
    tx.commit().await?;
    Ok(Json(Job::of(&row, caller.has(Scope::Ops))))
}

/// What a job waits for, in sentences.
#[utoipa::path(get, path = "/jobs/{id}/why", tag = "jobs", params(("id" = Uuid, Path)), responses(
    (status = 200, body = Why), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", body = Problem, content_type = "application/problem+json")))]
async fn explain(State(api): State<Shared>, caller: Caller, Place(id): Place<Uuid>) -> Result<Json<Why>, Problem> {
    caller.may(Scope::JobsRead)?;
    let (row, chunks) = api.tenant(&caller).job_and_chunks(id).await?;
    let waiting = chunks.iter().position(|c| c.state == "waiting").unwrap_or(0);
    let around = crate::why::surroundings(&api.config, &api.store, id, i64::try_from(waiting).unwrap_or(0)).await?;
    let mut answer = why(&row, &chunks, &around);
    if !caller.has(Scope::Ops) {
        // The log's words are for those who run the fleet.
        if let Some(code) = row.code() {
            answer.reasons = vec![code.for_coach().to_owned()];
        } else if answer.code.as_deref() == Some(CAP_REACHED) {
            answer.reasons = vec![FOR_COACH.to_owned()];
        }
    }
    Ok(Json(answer))
}
