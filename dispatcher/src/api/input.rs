//! What requests carry, with refusals that say what is wrong.

use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use serde::de::DeserializeOwned;

use super::MAX_BODY;
use super::problem::Problem;

/// Bytes beyond the limit that are read and thrown away: a client that is still sending would not see the answer.
const THROWN_AWAY: usize = 8 << 20;

/// A JSON body. An empty one counts as `{}`.
#[derive(Debug)]
pub(super) struct Input<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Input<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
        let essence = kind.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
        let is_json = essence.is_empty() || essence == "application/json" || essence.ends_with("+json");
        let bytes = read(request.into_body()).await?;
        if bytes.is_empty() {
            return parse(b"{}");
        }
        if !is_json {
            let title = "Send the body as application/json.";
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", title));
        }
        parse(&bytes)
    }
}

/// Reads a body of no more than [`MAX_BODY`] bytes.
pub(super) async fn read(body: Body) -> Result<Bytes, Problem> {
    let mut stream = body.into_data_stream();
    let (mut bytes, mut thrown_away) = (BytesMut::new(), 0);
    while let Some(piece) = stream.next().await {
        let piece = piece.map_err(|_| Problem::invalid("body", "it could not be read"))?;
        if thrown_away == 0 && bytes.len() + piece.len() <= MAX_BODY {
            bytes.extend_from_slice(&piece);
            continue;
        }
        thrown_away += piece.len();
        if thrown_away > THROWN_AWAY {
            break;
        }
    }
    if thrown_away > 0 {
        return Err(Problem::too_large(format!("The body is larger than {} KiB.", MAX_BODY >> 10)));
    }
    Ok(bytes.freeze())
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<Input<T>, Problem> {
    serde_json::from_slice(bytes).map(Input).map_err(|error| {
        if error.is_data() {
            Problem::invalid("body", error.to_string())
        } else {
            Problem::new(StatusCode::BAD_REQUEST, "bad_json", format!("The body is not JSON: {error}."))
        }
    })
}

/// Parts of the path.
#[derive(Debug)]
pub(super) struct Place<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Place<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        // An id that is none names nothing.
        let found: Result<Path<T>, PathRejection> = Path::from_request_parts(parts, state).await;
        found.map(|Path(place)| Self(place)).map_err(|_| Problem::not_found("address"))
    }
}

/// Parameters after the question mark.
#[derive(Debug)]
pub(super) struct Ask<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Ask<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let found: Result<Query<T>, QueryRejection> = Query::from_request_parts(parts, state).await;
        found.map(|Query(ask)| Self(ask)).map_err(|error| Problem::invalid("query", error.body_text()))
    }
}

/// Text of a request, without what no title or name holds.
pub(super) fn text(field: &str, value: &str, most: usize) -> Result<String, Problem> {
    let value = value.trim();
    if value.chars().count() > most {
        return Err(Problem::invalid(field, format!("give at most {most} characters")));
    }
    if value.chars().any(char::is_control) {
        return Err(Problem::invalid(field, "it holds control characters"));
    }
    Ok(value.to_owned())
}
