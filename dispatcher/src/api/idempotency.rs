//! `Idempotency-Key`: a POST that is sent again within 24 hours gets the first one's answer, and is done once.

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use fleet::store::tenant::Remembered;
use sha2::{Digest, Sha256};

use super::Shared;
use super::caller::Caller;
use super::input::read;
use super::problem::Problem;

const KEY: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
const MAX_KEY: usize = 200;
/// Largest answer that is kept.
const MAX_ANSWER: usize = 256 << 10;

/// Answers again what was answered before.
pub(super) async fn once(State(api): State<Shared>, request: Request, next: Next) -> Response {
    let key = request.headers().get(&KEY).map(|v| v.to_str().map(str::to_owned));
    let (Some(key), Some(caller)) = (key, request.extensions().get::<Caller>().cloned()) else {
        return next.run(request).await;
    };
    if request.method() != Method::POST {
        return next.run(request).await;
    }
    let key = match key {
        Ok(key) if (1..=MAX_KEY).contains(&key.len()) => key,
        _ => {
            return Problem::invalid("Idempotency-Key", format!("give 1 to {MAX_KEY} printable ASCII characters"))
                .into_response();
        }
    };
    match answer_once(&api, &caller, &key, request, next).await {
        Ok(response) => response,
        Err(problem) => problem.into_response(),
    }
}

async fn answer_once(
    api: &Shared,
    caller: &Caller,
    key: &str,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let body = read(body).await?;
    let digest = digest(&parts.method, parts.uri.path(), &body);
    let tenant = api.store.tenant(caller.organisation);
    match tenant.remember(key, &digest).await? {
        Remembered::New => {}
        Remembered::Answered { status, body } => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
            let headers = [
                (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
                (REPLAYED, HeaderValue::from_static("true")),
            ];
            return Ok((status, headers, body).into_response());
        }
        Remembered::AtWork => {
            let title = "The same request is at work; ask again in a moment.";
            return Err(Problem::conflict("idempotency_in_progress", title).after(1));
        }
        Remembered::Other => {
            let title = "This Idempotency-Key was used for another request.";
            return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency_mismatch", title));
        }
    }
    let response = next.run(axum::http::Request::from_parts(parts, Body::from(body))).await;
    let (parts, body) = response.into_parts();
    // What failed changed nothing: the next try may succeed.
    if !parts.status.is_success() {
        tenant.answer(key, None).await?;
        return Ok(Response::from_parts(parts, body));
    }
    let bytes = to_bytes(body, MAX_ANSWER).await.map_err(|error| {
        tracing::error!(%error, "an answer could not be kept");
        Problem::internal()
    })?;
    tenant.answer(key, Some((parts.status.as_u16(), &bytes))).await?;
    Ok(Response::from_parts(parts, Body::from(bytes)))
}

fn digest(method: &Method, path: &str, body: &Bytes) -> Vec<u8> {
    let mut hash = Sha256::new();
    for part in [method.as_str().as_bytes(), path.as_bytes(), body] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().to_vec()
}
