//! The ladders that jobs may name.

use axum::Json;
use fleet::profiles;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Shared;
use super::caller::Caller;
use super::page::Items;
use super::problem::Problem;

/// A set of renditions.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct LadderSummary {
    /// What jobs call it.
    #[schema(example = "sports")]
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Heights in pixels of its renditions, the tallest first; what is taller than the source is left out.
    pub heights: Vec<u32>,
    /// Whether it is used when a job names none.
    pub is_default: bool,
}

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(list))
}

/// Ladders.
#[utoipa::path(get, path = "/ladders", tag = "jobs", responses(
    (status = 200, body = Items<LadderSummary>),
    (status = "4XX", body = Problem, content_type = "application/problem+json")))]
async fn list(_caller: Caller) -> Json<Items<LadderSummary>> {
    let items = profiles::all().into_iter().map(|ladder| LadderSummary {
        heights: ladder.renditions.iter().map(|r| r.height).collect(),
        is_default: ladder.name == profiles::DEFAULT,
        name: ladder.name,
        description: ladder.description,
    });
    Json(Items { items: items.collect() })
}
