//! What a match will cost, and what it cost.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use capacity::pools::Fleet;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::caller::Caller;
use super::input::{Ask, Input, Place};
use super::jobs::{JobSettings, check_settings, named_ladder};
use super::problem::Problem;
use super::scope::Scope;
use super::source::Source;
use super::{Api, Shared};
use crate::quote::{self, Asked, Quote};
use crate::receipt::{Receipt, receipt};
use crate::scaling;

/// Longest video that is quoted, seconds: longer ones are refused by workers.
const LONGEST_S: f64 = 8.0 * 3600.0;

/// A job that might be handed in: what is known of its source, and what is wanted.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct QuoteRequest {
    /// As of a job: a completed upload, whose size then tells the length roughly, or an address that this fleet allows.
    #[serde(default)]
    #[schema(max_length = 2000)]
    source: Option<String>,
    /// Length of the video, seconds; goes before what sizes tell.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 28_800)]
    duration_s: Option<f64>,
    /// Size of the file.
    #[serde(default)]
    #[schema(minimum = 1)]
    size_bytes: Option<u64>,
    /// Lines of the picture's shorter side; by default 1080.
    #[serde(default)]
    #[schema(minimum = 16, maximum = 4320)]
    height: Option<u32>,
    /// Frames a second; by default 30.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 1000)]
    frame_rate: Option<f64>,
    /// As of a job; not used.
    #[serde(default)]
    #[schema(max_length = 500)]
    title: Option<String>,
    /// Name of a ladder (`GET /v1/ladders`).
    #[serde(default)]
    #[schema(example = "sports")]
    ladder: Option<String>,
    /// As of a job; not used.
    #[serde(default)]
    #[schema(example = "auto")]
    encoder: Option<String>,
    /// As of a job; not used.
    #[serde(default, with = "time::serde::rfc3339::option")]
    ready_by: Option<time::OffsetDateTime>,
    /// Region; by default that of the source, else the first.
    #[serde(default)]
    region: Option<String>,
}

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Format {
    /// JSON.
    Json,
    /// CSV (RFC 4180), amounts in US dollars with six places.
    Csv,
}

/// Which form of an answer.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct FormatQuery {
    /// Goes before the header `Accept`.
    format: Option<Format>,
}

/// Whether an answer is wanted as CSV.
pub(super) fn wants_csv(format: Option<Format>, headers: &HeaderMap) -> bool {
    let accepts = || {
        let accept = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let first = accept.split([',', ';']).next().unwrap_or_default();
        first.trim().eq_ignore_ascii_case("text/csv")
    };
    format.map_or_else(accepts, |format| format == Format::Csv)
}

/// CSV as a file of this name.
pub(super) fn csv_file(name: &str, text: String) -> Response {
    let disposition = HeaderValue::from_str(&format!("attachment; filename=\"{name}.csv\""));
    let mut response = ([(header::CONTENT_TYPE, "text/csv; charset=utf-8")], text).into_response();
    if let Ok(disposition) = disposition {
        response.headers_mut().insert(header::CONTENT_DISPOSITION, disposition);
    }
    response
}

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(quote)).routes(routes!(job_receipt))
}

impl Api {
    /// Pools and what they cost; `None` where machines come and go by other hands.
    pub(super) async fn machines_known(&self) -> Result<Option<&Fleet>, Problem> {
        let Some(config) = &self.config.capacity else { return Ok(None) };
        let buckets = self.config.buckets();
        let read = self.machines.get_or_try_init(|| scaling::read_fleet(config, &buckets)).await;
        read.map(Some).map_err(|error| {
            tracing::warn!(%error, "the pools cannot be read");
            Problem::unavailable("The file with the pools cannot be read; try again in a moment.")
        })
    }
}

/// What a match will cost and when it can be watched, if it were handed in now. Nothing is entered.
#[utoipa::path(post, path = "/quote", tag = "jobs", request_body = QuoteRequest, responses(
    (status = 200, body = Quote), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", body = Problem, content_type = "application/problem+json")))]
async fn quote(
    State(api): State<Shared>,
    caller: Caller,
    Input(asked): Input<QuoteRequest>,
) -> Result<Json<Quote>, Problem> {
    caller.may(Scope::JobsWrite)?;
    in_range("duration_s", asked.duration_s, 0.0, LONGEST_S)?;
    in_range("height", asked.height.map(f64::from), 16.0, 4320.0)?;
    in_range("frame_rate", asked.frame_rate, 1.0, 1000.0)?;
    let settings = JobSettings {
        title: asked.title,
        ladder: asked.ladder,
        encoder: asked.encoder,
        ready_by: asked.ready_by,
        region: asked.region,
    };
    check_settings(&api, &settings)?;
    let (mut home, mut bytes) = (None, asked.size_bytes);
    if let Some(source) = &asked.source {
        let tenant = api.tenant(&caller);
        let mut tx = tenant.begin().await?;
        let source = Source::of(&api, &tenant, &mut tx, &caller, source).await?;
        if let (Some(upload), None) = (source.upload, bytes) {
            bytes = tenant.upload_size(&mut tx, upload).await?;
        }
        home = Some(api.config.home_region(&source.address).to_owned());
    }
    let first = || api.config.regions.first().map(|r| r.name.clone()).unwrap_or_default();
    let asked = Asked {
        region: settings.region.or(home).unwrap_or_else(first),
        ladder: named_ladder(settings.ladder.as_deref().unwrap_or(fleet::profiles::DEFAULT))?,
        seconds: asked.duration_s,
        bytes,
        height: asked.height,
        frame_rate: asked.frame_rate,
    };
    Ok(Json(quote::quote(&api.store, api.machines_known().await?, &asked).await?))
}

fn in_range(field: &str, value: Option<f64>, low: f64, high: f64) -> Result<(), Problem> {
    match value {
        Some(n) if !(low..=high).contains(&n) => Err(Problem::invalid(field, format!("give {low} to {high}"))),
        _ => Ok(()),
    }
}

/// What a job cost: time of machines by pool, with its shares of booting and idle time, what was lost, and transfer.
#[utoipa::path(get, path = "/jobs/{id}/receipt", tag = "jobs", params(("id" = Uuid, Path), FormatQuery), responses(
    (status = 200, content((Receipt = "application/json"), (String = "text/csv"))),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", body = Problem, content_type = "application/problem+json")))]
async fn job_receipt(
    State(api): State<Shared>,
    caller: Caller,
    Place(id): Place<Uuid>,
    Ask(asked): Ask<FormatQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    caller.may(Scope::JobsRead)?;
    let job = api.tenant(&caller).job(id).await?;
    let receipt = receipt(&api.store, api.machines_known().await?, &job).await?;
    if wants_csv(asked.format, &headers) {
        return Ok(csv_file(&format!("receipt-{id}"), receipt.csv()));
    }
    Ok(Json(receipt).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_comes_by_parameter_or_by_header() {
        let accepts = |text: &'static str| HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(text))]);
        assert!(wants_csv(None, &accepts("text/csv")) && wants_csv(None, &accepts("text/csv;q=1, */*")));
        assert!(!wants_csv(None, &accepts("*/*")) && !wants_csv(None, &HeaderMap::new()));
        assert!(
            !wants_csv(Some(Format::Json), &accepts("text/csv")) && wants_csv(Some(Format::Csv), &HeaderMap::new())
        );
    }
}
