//! Uploads: a file comes in parts, each under an address of its own that is good for that part alone, and for a time.
//! The addresses lead to the store itself, or back here where the store is a folder ([`receive`]).
//!
//! Every step may be repeated, by several at once and after any crash: which parts are there is asked of the store
//! ([`fleet::objects::Uploads`]), the rest of the truth is one row ([`fleet::store::uploads`]).

mod begin;
mod complete;
mod receive;
mod upkeep;
mod view;

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fleet::objects::{ObjectError, Part, PartTarget, Received, Uploads, open_uploads};
use fleet::store::Tenant;
use fleet::store::uploads::{UploadFilter, UploadRow, UploadState};
use serde::Deserialize;
use time::OffsetDateTime;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

pub(super) use self::complete::Turns;
use self::receive::PartGrant;
use self::view::{PartAddress, PartAddresses, Upload, UploadStateName};
use super::caller::Caller;
use super::input::{Ask, Input, Place};
use super::page::{Page, Paging, by_time};
use super::problem::Problem;
use super::scope::Scope;
use super::{Api, Shared, change};

pub(super) use receive::routes as part_routes;

/// Longest that an address is good: a part of usual size over a bad line, and the hundred that were asked for with it.
const ADDRESS_GOOD: Duration = Duration::from_secs(2 * 3600);
/// An upload expires when no addresses were asked for this long: long enough for a weekend.
const EXPIRES_AFTER: Duration = Duration::from_secs(3 * 86_400);
/// And this long after it was begun, whatever comes: 100 GB at 1 Mbit/s take nine days.
const EXPIRES_AT_LAST: Duration = Duration::from_secs(14 * 86_400);
/// Addresses that are given at once.
const MOST_ADDRESSES: usize = 100;

/// Parts to be sent.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PartsRequest {
    /// Which, at most 100.
    #[schema(min_items = 1, max_items = 100)]
    parts: Vec<PartRequest>,
}

/// A part to be sent.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PartRequest {
    /// Number, from 1.
    #[schema(minimum = 1, maximum = 10_000)]
    number: u32,
    /// SHA-256 of its bytes in base64: for every part of an upload with checksums, and for none of one without.
    #[serde(default)]
    #[schema(min_length = 44, max_length = 44)]
    sha256: Option<String>,
}

/// Which uploads.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct UploadsQuery {
    /// Only those in this state.
    state: Option<UploadStateName>,
    /// Items on a page, 1 to 100.
    #[param(minimum = 1, maximum = 100, default = 30)]
    limit: Option<u32>,
    /// From the page before.
    cursor: Option<String>,
}

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(list, begin::create))
        .routes(routes!(get, abort))
        .routes(routes!(parts))
        .routes(routes!(complete))
}

impl Api {
    /// Where uploads go.
    pub(super) async fn uploads(&self) -> Result<&Arc<dyn Uploads>, Problem> {
        let Some(place) = &self.config.api.uploads else {
            return Err(Problem::forbidden("This fleet takes no uploads."));
        };
        let open = || async {
            let location = place.parse().map_err(|_| Problem::internal())?;
            Ok(open_uploads(&location, &self.config.buckets()).await?)
        };
        self.uploads.get_or_try_init(open).await
    }
}

fn no_upload() -> Problem {
    Problem::not_found("upload")
}

/// Why an upload that is not open does not change any more.
fn not_open(state: UploadState) -> Problem {
    let (code, title) = match state {
        UploadState::Open | UploadState::Completing => {
            ("upload_busy", "The upload is being completed; ask again in a moment.")
        }
        UploadState::Completed => ("upload_completed", "The upload is complete."),
        UploadState::Aborted => ("upload_aborted", "The upload was aborted; begin a new one."),
        UploadState::Expired => ("upload_expired", "The upload has expired; begin a new one."),
    };
    Problem::conflict(code, title)
}

/// What the store has of an upload. One that the store does not know any more, by whoever's hand, has expired.
async fn looked_at(
    tenant: &Tenant,
    uploads: &Arc<dyn Uploads>,
    row: UploadRow,
) -> Result<(UploadRow, Vec<Received>), Problem> {
    if !matches!(row.state, UploadState::Open | UploadState::Completing) {
        return Ok((row, Vec::new()));
    }
    let found = uploads.received(&row.multipart).await;
    let mut tx = tenant.begin().await?;
    match found {
        Ok(received) => {
            let bytes = received.iter().map(|part| part.size).sum();
            if bytes != row.received_bytes {
                tenant.note_received(&mut tx, row.id, bytes).await?;
                tx.commit().await?;
            }
            Ok((UploadRow { received_bytes: bytes, ..row }, received))
        }
        Err(ObjectError::NotFound { .. }) => {
            // Unless it was completed or aborted a moment ago.
            if tenant.end_upload(&mut tx, row.id, UploadState::Expired).await? {
                tracing::warn!(upload = %row.id, "the store does not know an open upload any more");
            }
            let row = tenant.upload(&mut tx, row.id).await?.ok_or_else(no_upload)?;
            tx.commit().await?;
            Ok((row, Vec::new()))
        }
        Err(error) => Err(error.into()),
    }
}

/// Uploads, the newest first. Which parts have arrived is not asked of the store here.
#[utoipa::path(get, path = "/uploads", tag = "uploads", params(UploadsQuery), responses(
    (status = 200, body = Page<Upload>), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", body = Problem, content_type = "application/problem+json")))]
async fn list(
    State(api): State<Shared>,
    caller: Caller,
    Ask(asked): Ask<UploadsQuery>,
) -> Result<Json<Page<Upload>>, Problem> {
    caller.may(Scope::UploadsWrite)?;
    let paging = Paging { limit: asked.limit, cursor: asked.cursor };
    let limit = paging.limit()?;
    let states = asked.state.map_or(&[][..], UploadStateName::states).to_vec();
    let filter = UploadFilter { states, after: paging.after_time()?, limit: limit + 1 };
    let rows = api.tenant(&caller).uploads(&filter).await?;
    let page = Page::of(rows, limit, |row| by_time(row.created_at, row.id));
    let items = page.items.iter().map(|row| Upload::of(row, &[])).collect();
    Ok(Json(Page { items, next_cursor: page.next_cursor }))
}

/// An upload, with the parts that have arrived.
#[utoipa::path(get, path = "/uploads/{id}", tag = "uploads", params(("id" = Uuid, Path)), responses(
    (status = 200, body = Upload), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", body = Problem, content_type = "application/problem+json")))]
async fn get(State(api): State<Shared>, caller: Caller, Place(id): Place<Uuid>) -> Result<Json<Upload>, Problem> {
    caller.may(Scope::UploadsWrite)?;
    let tenant = api.tenant(&caller);
    let row = tenant.upload(&mut *tenant.begin().await?, id).await?.ok_or_else(no_upload)?;
    let (row, received) = looked_at(&tenant, api.uploads().await?, row).await?;
    Ok(Json(Upload::of(&row, &received)))
}

/// Where parts go: `PUT` each to its address with its headers. An address that has expired answers 403; ask again then.
#[utoipa::path(post, path = "/uploads/{id}/parts", tag = "uploads", params(("id" = Uuid, Path)),
    request_body = PartsRequest, responses(
    (status = 200, body = PartAddresses), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", body = Problem, content_type = "application/problem+json")))]
async fn parts(
    State(api): State<Shared>,
    caller: Caller,
    Place(id): Place<Uuid>,
    Input(asked): Input<PartsRequest>,
) -> Result<Json<PartAddresses>, Problem> {
    caller.may(Scope::UploadsWrite)?;
    if !(1..=MOST_ADDRESSES).contains(&asked.parts.len()) {
        return Err(Problem::invalid("parts", format!("ask for 1 to {MOST_ADDRESSES} at once")));
    }
    let tenant = api.tenant(&caller);
    let mut tx = tenant.begin().await?;
    let row = tenant.upload(&mut tx, id).await?.ok_or_else(no_upload)?;
    if !tenant.upload_goes_on(&mut tx, id, EXPIRES_AFTER, EXPIRES_AT_LAST).await? {
        return Err(not_open(row.state));
    }
    let expires_at = OffsetDateTime::now_utc() + ADDRESS_GOOD;
    let mut parts = Vec::new();
    for asked in &asked.parts {
        parts.push(address(&api, &row, asked, expires_at).await?);
    }
    tx.commit().await?;
    Ok(Json(PartAddresses { parts }))
}

async fn address(
    api: &Api,
    row: &UploadRow,
    asked: &PartRequest,
    expires_at: OffsetDateTime,
) -> Result<PartAddress, Problem> {
    let invalid = |message: String| Problem::invalid("parts", message);
    let number = asked.number;
    let of = row.multipart.parts();
    let (_, size) =
        row.multipart.range(number).ok_or_else(|| invalid(format!("there are parts 1 to {of}, not {number}")))?;
    match (&asked.sha256, row.multipart.checksums) {
        (None, true) => return Err(invalid(format!("part {number} needs its sha256"))),
        (Some(_), false) => return Err(invalid("this upload has no checksums".to_owned())),
        (Some(sum), true) if STANDARD.decode(sum).is_ok_and(|bytes| bytes.len() == 32) => {}
        (Some(_), true) => return Err(invalid(format!("the sha256 of part {number} is not 32 bytes in base64"))),
        (None, false) => {}
    }
    let part = Part { number, sha256: asked.sha256.clone() };
    let (url, headers) = match api.uploads().await?.target(&row.multipart, &part, ADDRESS_GOOD).await? {
        PartTarget::Address { url, headers } => (url, headers.into_iter().collect()),
        PartTarget::Receiver => (PartGrant::url(api, row.id, &part, expires_at), [].into()),
    };
    Ok(PartAddress { number, size_bytes: size, method: "PUT", url, headers, expires_at })
}

/// Makes the file of its parts, and starts the job when one was asked for. May be asked again until it answers.
#[utoipa::path(post, path = "/uploads/{id}/complete", tag = "uploads", params(("id" = Uuid, Path)), responses(
    (status = 200, body = Upload), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", body = Problem, content_type = "application/problem+json")))]
async fn complete(State(api): State<Shared>, caller: Caller, Place(id): Place<Uuid>) -> Result<Json<Upload>, Problem> {
    caller.may(Scope::UploadsWrite)?;
    // A client that goes away meanwhile leaves nothing half done.
    let work = tokio::spawn(async move { complete::complete(&api, &caller, id).await });
    let row = work.await.map_err(|error| {
        tracing::error!(%error, "completing an upload");
        Problem::internal()
    })??;
    Ok(Json(Upload::of(&row, &[])))
}

/// Gives an upload up, with all that has arrived; a completed one as long as no match was made of its file.
#[utoipa::path(delete, path = "/uploads/{id}", tag = "uploads", params(("id" = Uuid, Path)), responses(
    (status = 204), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", body = Problem, content_type = "application/problem+json")))]
async fn abort(State(api): State<Shared>, caller: Caller, Place(id): Place<Uuid>) -> Result<StatusCode, Problem> {
    caller.may(Scope::UploadsWrite)?;
    let tenant = api.tenant(&caller);
    let mut tx = tenant.begin().await?;
    let row = tenant.lock_upload(&mut tx, id).await?.ok_or_else(no_upload)?;
    match row.state {
        UploadState::Open => {
            tenant.end_upload(&mut tx, id, UploadState::Aborted).await?;
        }
        UploadState::Completed => {
            if !api.store.give_up_completed(&mut tx, id).await? {
                let title = "A match was made of this file; delete the match, and the file goes with it.";
                return Err(Problem::conflict("upload_completed", title));
            }
        }
        UploadState::Aborted | UploadState::Expired => return Ok(StatusCode::NO_CONTENT),
        UploadState::Completing => return Err(not_open(row.state)),
    }
    let detail = serde_json::json!({ "filename": row.filename });
    tenant.audit(&mut tx, &change(&caller, "upload.aborted", id, detail)).await?;
    tx.commit().await?;
    api.clear_upload(id).await;
    Ok(StatusCode::NO_CONTENT)
}
