//! `Idempotency-Key`: a POST that is sent again within 24 hours gets the first one's answer, and is done once.
//!
//! An answer may hold a secret that is shown once, or a link that is a permission. So answers are kept [`envelope`]d: what
//! the database holds opens with the client's key and the dispatcher's secret together, and with neither alone.

mod envelope;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use envelope::Envelope;
use fleet::store::tenant::Remembered;
use sha2::{Digest, Sha256};

use super::Shared;
use super::caller::Caller;
use super::input::read;
use super::problem::Problem;

const KEY: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
const MAX_KEY: usize = 200;
/// Largest answer that is kept, in bytes.
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
    let envelope = Envelope::of(&api.signer, caller.organisation, key);
    let name = envelope.name();
    match tenant.remember(name, &digest).await? {
        Remembered::New => {}
        Remembered::Answered { status, body } => {
            let Some(body) = envelope.open(&digest, body) else {
                let title =
                    "The request was done; its answer can no longer be read, as the dispatcher's secret was changed.";
                return Err(Problem::conflict("idempotency_unreadable", title));
            };
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
        tenant.answer(name, None).await?;
        return Ok(Response::from_parts(parts, body));
    }
    let bytes = whole(body).await?;
    let sealed = envelope.seal(&digest, bytes.to_vec()).ok_or_else(|| {
        tracing::error!("an answer could not be sealed");
        Problem::internal()
    })?;
    tenant.answer(name, Some((parts.status.as_u16(), &sealed))).await?;
    Ok(Response::from_parts(parts, Body::from(bytes)))
}

/// An answer that is to be kept. One that is too large was done all the same: its key stays taken.
async fn whole(body: Body) -> Result<Bytes, Problem> {
    to_bytes(body, MAX_ANSWER).await.map_err(|error| {
        tracing::error!(%error, "an answer could not be kept");
        Problem::internal()
    })
}

fn digest(method: &Method, path: &str, body: &Bytes) -> Vec<u8> {
    let mut hash = Sha256::new();
    for part in [method.as_str().as_bytes(), path.as_bytes(), body] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_larger_than_any_is_not_kept() {
        let answer = |bytes| whole(Body::from(vec![b' '; bytes]));
        assert_eq!(answer(MAX_ANSWER).await.map(|kept| kept.len()).ok(), Some(MAX_ANSWER));
        let refused = answer(MAX_ANSWER + 1).await.map_err(|problem| problem.into_response().status());
        assert_eq!(refused.err(), Some(StatusCode::INTERNAL_SERVER_ERROR));
    }
}
