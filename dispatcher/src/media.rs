//! Serves objects over HTTP, with ranges and versions. Who may have them is decided before.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use fleet::objects::{ObjectError, ObjectStore, meta_for};
use futures_util::stream::{self, Stream};

/// Bytes that are read from the store at once.
const PIECE: u64 = 4 << 20;
/// Up to this size an object is read in one go: playlists are written anew while they are played, and bytes of one
/// version must not come under the length and name of another. What is larger has a name of its own attempt and stays.
const SMALL: u64 = 1 << 20;
/// Headers that scripts of other origins may read.
const EXPOSED: &str = "content-range, content-length, etag";

/// Answers a browser that asks whether a page may have objects: every page may that has their address.
pub(crate) async fn preflight() -> Response {
    let headers = [
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "range, if-none-match"),
        (header::ACCESS_CONTROL_MAX_AGE, "86400"),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

pub(crate) fn problem(status: StatusCode, code: &str, title: &str) -> Response {
    let body = serde_json::json!({ "type": "about:blank", "status": status.as_u16(), "code": code, "title": title });
    let headers = [
        (header::CONTENT_TYPE, "application/problem+json"),
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED),
    ];
    (status, headers, body.to_string()).into_response()
}

fn from_error(error: &ObjectError) -> Response {
    match error {
        ObjectError::NotFound { .. } => problem(StatusCode::NOT_FOUND, "not_found", "There is no such object."),
        ObjectError::Invalid { .. } => problem(StatusCode::BAD_REQUEST, "bad_key", "The key is not valid."),
        ObjectError::Forbidden { .. } | ObjectError::PreconditionFailed { .. } => {
            problem(StatusCode::FORBIDDEN, "forbidden", "The object may not be read.")
        }
        ObjectError::Unavailable { .. } => {
            tracing::warn!(%error, "serving an object");
            problem(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "The store does not answer; try again.")
        }
    }
}

/// An object, or the part of it that is asked for.
pub(crate) async fn object(store: Arc<dyn ObjectStore>, key: String, method: &Method, headers: &HeaderMap) -> Response {
    serve(store, key, method, headers).await.unwrap_or_else(|error| from_error(&error))
}

async fn serve(
    store: Arc<dyn ObjectStore>,
    key: String,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Response, ObjectError> {
    let Some(mut facts) = store.head(&key).await? else { return Err(ObjectError::NotFound { key }) };
    let asked = |name: header::HeaderName| headers.get(name).and_then(|v| v.to_str().ok());
    let meta = meta_for(&key);
    let mut answer = HeaderMap::new();
    answer.insert(header::CONTENT_TYPE, HeaderValue::from_static(meta.content_type));
    answer.insert(header::CACHE_CONTROL, HeaderValue::from_static(meta.cache_control));
    answer.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    answer.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
    let is_known = |etag: &str| {
        asked(header::IF_NONE_MATCH)
            .is_some_and(|known| known == "*" || known.split(',').any(|e| e.trim().trim_start_matches("W/") == etag))
    };
    if is_known(&facts.etag.0) {
        answer.insert(header::ETAG, header_value(&facts.etag.0));
        return Ok((StatusCode::NOT_MODIFIED, answer).into_response());
    }
    let mut whole = None;
    if method == Method::GET && facts.size <= SMALL {
        let (bytes, etag) = match store.get(&key, PIECE).await {
            Err(ObjectError::Invalid { key, .. }) => {
                let reason = "it grew while it was read".to_owned();
                return Err(ObjectError::Unavailable { key, reason });
            }
            other => other?,
        };
        (facts.size, facts.etag) = (bytes.len() as u64, etag);
        whole = Some(bytes);
    }
    answer.insert(header::ETAG, header_value(&facts.etag.0));
    // Ranges are for GET alone, and only of the version that the client has a part of (RFC 9110 13.1.5, 14.2).
    let is_same = asked(header::IF_RANGE).is_none_or(|etag| etag == facts.etag.0);
    let wanted = asked(header::RANGE).filter(|_| method == Method::GET && is_same);
    let (status, first, length) = match wanted.map_or(Asked::All, |text| range(text, facts.size)) {
        Asked::All => (StatusCode::OK, 0, facts.size),
        Asked::Part(first, length) => {
            let text = format!("bytes {first}-{}/{}", first + length - 1, facts.size);
            answer.insert(header::CONTENT_RANGE, header_value(&text));
            (StatusCode::PARTIAL_CONTENT, first, length)
        }
        Asked::Beyond => {
            let mut refusal = problem(StatusCode::RANGE_NOT_SATISFIABLE, "bad_range", "The object is shorter.");
            let size = header_value(&format!("bytes */{}", facts.size));
            refusal.headers_mut().insert(header::CONTENT_RANGE, size);
            return Ok(refusal);
        }
    };
    answer.insert(header::CONTENT_LENGTH, header_value(&length.to_string()));
    let body = match whole {
        _ if method == Method::HEAD || length == 0 => Body::empty(),
        Some(bytes) => {
            #[expect(clippy::cast_possible_truncation, reason = "within bytes that are in memory")]
            let (from, to) = (first as usize, (first + length) as usize);
            Body::from(bytes.slice(from..to))
        }
        None => Body::from_stream(pieces(store, key, first, length)),
    };
    Ok((status, answer, body).into_response())
}

/// `length` bytes from `first` on, piece by piece.
fn pieces(
    store: Arc<dyn ObjectStore>,
    key: String,
    first: u64,
    length: u64,
) -> impl Stream<Item = Result<Bytes, ObjectError>> {
    stream::unfold((store, key, first, length), |(store, key, at, left)| async move {
        if left == 0 {
            return None;
        }
        let piece = match store.get_range(&key, at, left.min(PIECE)).await {
            // Replaced by something shorter meanwhile: the client must notice.
            Ok(bytes) if bytes.is_empty() => Err(ObjectError::NotFound { key: key.clone() }),
            other => other,
        };
        if let Err(error) = &piece {
            tracing::warn!(%error, "serving an object: it is cut");
        }
        // After an error nothing follows.
        let read = piece.as_ref().map_or(left, |b| b.len() as u64);
        Some((piece, (store, key, at + read, left.saturating_sub(read))))
    })
}

fn header_value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
}

#[derive(Debug, PartialEq, Eq)]
enum Asked {
    All,
    /// First byte, length.
    Part(u64, u64),
    Beyond,
}

/// One range of RFC 9110 14.1.2; what is not understood counts as not asked.
fn range(text: &str, size: u64) -> Asked {
    let spec = text.split_once('=').filter(|(unit, _)| unit.eq_ignore_ascii_case("bytes"));
    let Some((first, last)) = spec.and_then(|(_, spec)| spec.split_once('-')) else { return Asked::All };
    // Other than `parse`, the standard allows no sign.
    let number = |text: &str| {
        let is_plain = text.bytes().all(|b| b.is_ascii_digit());
        if is_plain { text.parse::<u64>().ok() } else { None }
    };
    let (first, last) = (first.trim(), last.trim());
    if first.is_empty() {
        return match number(last) {
            Some(n) if n > 0 && size > 0 => Asked::Part(size - n.min(size), n.min(size)),
            Some(_) => Asked::Beyond,
            None => Asked::All,
        };
    }
    let Some(first) = number(first) else { return Asked::All };
    let last = if last.is_empty() { Some(u64::MAX) } else { number(last) };
    match last {
        Some(last) if last < first => Asked::All,
        Some(_) if first >= size => Asked::Beyond,
        Some(last) => Asked::Part(first, last.min(size - 1) - first + 1),
        None => Asked::All,
    }
}

#[cfg(test)]
mod tests;
