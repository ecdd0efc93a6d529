//! Around every request: its name, its line in the log, and the name in the answer.

use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tracing::Instrument;
use uuid::Uuid;

use super::problem::Problem;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest name that a client may give a request.
const MAX_NAME: usize = 64;

/// Name of a request: the client's own, or a new one.
#[derive(Clone, Debug)]
pub(super) struct RequestName(pub(super) String);

fn name(request: &Request) -> String {
    let given = request.headers().get(REQUEST_ID).and_then(|v| v.to_str().ok());
    let is_plain = |text: &&str| {
        (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    };
    given.filter(is_plain).map_or_else(|| Uuid::now_v7().to_string(), str::to_owned)
}

/// Names requests, logs them, and puts the name into answers.
pub(super) async fn name_and_log(mut request: Request, next: Next) -> Response {
    let name = name(&request);
    request.extensions_mut().insert(RequestName(name.clone()));
    let route = request.extensions().get::<MatchedPath>().map_or("(none)", |p| p.as_str()).to_owned();
    let method = request.method().clone();
    let span = tracing::info_span!("request", request.id = %name, %method, route, caller = tracing::field::Empty);
    let started = Instant::now();
    let mut response = next.run(request).instrument(span.clone()).await;
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        let problem = problem.of_request(&name);
        let headers = std::mem::take(response.headers_mut());
        response = problem.into_response();
        for (key, value) in &headers {
            if key != header::CONTENT_LENGTH {
                response.headers_mut().insert(key, value.clone());
            }
        }
    }
    if let Ok(value) = HeaderValue::from_str(&name) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    let status = response.status();
    let ms = started.elapsed().as_millis();
    span.in_scope(|| {
        if status.is_server_error() {
            tracing::warn!(status = status.as_u16(), ms, "{method} {route} {}", status.as_u16());
        } else {
            tracing::debug!(status = status.as_u16(), ms, "{method} {route} {}", status.as_u16());
        }
    });
    response
}
