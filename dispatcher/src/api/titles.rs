//! Titles: what people call a match or a clip can be changed at any time.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::caller::Caller;
use super::clips::{self, Clip};
use super::input::{Input, Place, text};
use super::jobs::Job;
use super::problem::Problem;
use super::scope::Scope;
use super::{Shared, change};

/// What a match or a clip is to be called.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TitlePatch {
    /// For people: 1 to 500 characters.
    #[schema(min_length = 1, max_length = 500, example = "U17 semi-final")]
    title: String,
}

impl TitlePatch {
    fn read(&self) -> Result<String, Problem> {
        let title = text("title", &self.title, 500)?;
        if title.is_empty() {
            return Err(Problem::invalid("title", "give at least one character"));
        }
        Ok(title)
    }
}

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(rename_match)).routes(routes!(rename_clip))
}

/// Renames a match.
#[utoipa::path(patch, path = "/jobs/{id}", tag = "jobs", params(("id" = Uuid, Path)), request_body = TitlePatch,
    responses((status = 200, body = Job), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", body = Problem, content_type = "application/problem+json")))]
async fn rename_match(
    State(api): State<Shared>,
    caller: Caller,
    Place(id): Place<Uuid>,
    Input(asked): Input<TitlePatch>,
) -> Result<Json<Job>, Problem> {
    caller.may(Scope::JobsWrite)?;
    let title = asked.read()?;
    let tenant = api.tenant(&caller);
    let mut tx = tenant.begin().await?;
    if api.store.rename_in(&mut tx, id, &title).await? {
        let detail = serde_json::json!({ "title": title });
        tenant.audit(&mut tx, &change(&caller, "job.renamed", id, detail)).await?;
    }
    let row = api.store.job_in(&mut tx, id).await?;
    tx.commit().await?;
    Ok(Json(Job::of(&row, caller.has(Scope::Ops))))
}

/// Renames a clip.
#[utoipa::path(patch, path = "/clips/{id}", tag = "clips", params(("id" = Uuid, Path)), request_body = TitlePatch,
    responses((status = 200, body = Clip), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", body = Problem, content_type = "application/problem+json")))]
async fn rename_clip(
    State(api): State<Shared>,
    caller: Caller,
    Place(id): Place<Uuid>,
    Input(asked): Input<TitlePatch>,
) -> Result<Json<Clip>, Problem> {
    caller.may(Scope::ClipsWrite)?;
    let title = asked.read()?;
    let tenant = api.tenant(&caller);
    let mut tx = tenant.begin().await?;
    if tenant.rename_clip(&mut tx, id, &title).await? {
        let detail = serde_json::json!({ "title": title });
        tenant.audit(&mut tx, &change(&caller, "clip.renamed", id, detail)).await?;
        tx.commit().await?;
    }
    let (clip, grant, plan) = clips::find(&api, &caller, id).await?;
    Ok(Json(api.clip(&grant, &plan, &clip).await?))
}
