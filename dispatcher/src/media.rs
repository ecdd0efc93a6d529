//! Serves objects for playback in local mode: `GET /media/{key}`, with ranges.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use fleet::objects::{ObjectError, ObjectStore, meta_for};
use futures_util::stream;

/// Bytes that are read from the store at once.
const PIECE: u64 = 4 << 20;

/// The routes.
pub fn routes(store: Arc<dyn ObjectStore>) -> Router {
    Router::new()
        .route("/media/{*key}", get(object).options(preflight))
        .route("/healthz", get(async || "ok\n"))
        .with_state(store)
}

async fn preflight() -> Response {
    let headers = [
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "range, if-none-match"),
        (header::ACCESS_CONTROL_MAX_AGE, "86400"),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

fn problem(status: StatusCode, code: &str, title: &str) -> Response {
    let body = serde_json::json!({ "type": "about:blank", "status": status.as_u16(), "code": code, "title": title });
    let headers = [(header::CONTENT_TYPE, "application/problem+json"), (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*")];
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

async fn object(
    State(store): State<Arc<dyn ObjectStore>>,
    Path(key): Path<String>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    let facts = match store.head(&key).await {
        Ok(Some(facts)) => facts,
        Ok(None) => return problem(StatusCode::NOT_FOUND, "not_found", "There is no such object."),
        Err(error) => return from_error(&error),
    };
    let meta = meta_for(&key);
    let mut answer = HeaderMap::new();
    answer.insert(header::CONTENT_TYPE, HeaderValue::from_static(meta.content_type));
    answer.insert(header::CACHE_CONTROL, HeaderValue::from_static(meta.cache_control));
    answer.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    answer
        .insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("content-range, content-length, etag"));
    if let Ok(etag) = HeaderValue::from_str(&facts.etag.0) {
        answer.insert(header::ETAG, etag);
    }
    let known = headers.get(header::IF_NONE_MATCH).and_then(|v| v.to_str().ok());
    if known.is_some_and(|k| k == "*" || k.split(',').any(|e| e.trim().trim_start_matches("W/") == facts.etag.0)) {
        return (StatusCode::NOT_MODIFIED, answer).into_response();
    }
    let asked = headers.get(header::RANGE).and_then(|v| v.to_str().ok());
    let (status, first, length) = match asked.map_or(Asked::All, |text| range(text, facts.size)) {
        Asked::All => (StatusCode::OK, 0, facts.size),
        Asked::Part(first, length) => {
            let text = format!("bytes {first}-{}/{}", first + length - 1, facts.size);
            answer.insert(header::CONTENT_RANGE, header_value(&text));
            (StatusCode::PARTIAL_CONTENT, first, length)
        }
        Asked::Beyond => {
            answer.insert(header::CONTENT_RANGE, header_value(&format!("bytes */{}", facts.size)));
            return (StatusCode::RANGE_NOT_SATISFIABLE, answer).into_response();
        }
    };
    answer.insert(header::CONTENT_LENGTH, header_value(&length.to_string()));
    if method == Method::HEAD || length == 0 {
        return (status, answer).into_response();
    }
    let body = stream::unfold((store, key, first, length), |(store, key, at, left)| async move {
        if left == 0 {
            return None;
        }
        let piece = store.get_range(&key, at, left.min(PIECE)).await;
        let piece: Result<Bytes, ObjectError> = match piece {
            // Replaced by something shorter meanwhile: the client must notice.
            Ok(bytes) if bytes.is_empty() => Err(ObjectError::NotFound { key: key.clone() }),
            other => other,
        };
        let read = piece.as_ref().map_or(left, |b| b.len() as u64);
        Some((piece, (store, key, at + read, left - read)))
    });
    (status, answer, Body::from_stream(body)).into_response()
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
    let Some(spec) = text.strip_prefix("bytes=").filter(|s| !s.contains(',')) else { return Asked::All };
    let Some((first, last)) = spec.split_once('-') else { return Asked::All };
    let (first, last) = (first.trim(), last.trim());
    if first.is_empty() {
        return match last.parse::<u64>() {
            Ok(0) => Asked::Beyond,
            Ok(n) if size > 0 => Asked::Part(size - n.min(size), n.min(size)),
            Ok(_) => Asked::Beyond,
            Err(_) => Asked::All,
        };
    }
    let Ok(first) = first.parse::<u64>() else { return Asked::All };
    let last = if last.is_empty() { Some(u64::MAX) } else { last.parse().ok() };
    match last {
        Some(last) if last < first => Asked::All,
        Some(_) if first >= size => Asked::Beyond,
        Some(last) => Asked::Part(first, last.min(size - 1) - first + 1),
        None => Asked::All,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::Request;
    use fleet::objects::{FolderStore, PutCondition};
    use tower::ServiceExt;

    #[test]
    fn ranges_are_read_as_rfc_9110_says() {
        for (text, size, want) in [
            ("bytes=0-3", 10, Asked::Part(0, 4)),
            ("bytes=4-", 10, Asked::Part(4, 6)),
            ("bytes=-3", 10, Asked::Part(7, 3)),
            ("bytes=-30", 10, Asked::Part(0, 10)),
            ("bytes=8-99", 10, Asked::Part(8, 2)),
            ("bytes=10-", 10, Asked::Beyond),
            ("bytes=-0", 10, Asked::Beyond),
            ("bytes=0-", 0, Asked::Beyond),
            ("bytes=5-4", 10, Asked::All),
            ("bytes=0-1,4-5", 10, Asked::All),
            ("chars=0-1", 10, Asked::All),
            ("bytes=99999999999999999999-", 10, Asked::All),
        ] {
            assert_eq!(range(text, size), want, "{text} of {size}");
        }
    }

    async fn ask(routes: &Router, path: &str, headers: &[(&str, &str)]) -> (StatusCode, HeaderMap, Bytes) {
        let mut request = Request::builder().uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = routes.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let (status, headers) = (answer.status(), answer.headers().clone());
        (status, headers, axum::body::to_bytes(answer.into_body(), 1 << 20).await.unwrap())
    }

    #[tokio::test]
    async fn objects_are_served_with_ranges_types_and_versions() {
        let dir = tempfile::tempdir().unwrap();
        let store = FolderStore::open(dir.path()).unwrap();
        let key = "o/Spiel é.m3u8";
        store.put(key, Bytes::from_static(b"0123456789"), meta_for(key), PutCondition::Always).await.unwrap();
        let routes = routes(Arc::new(store));
        let path = "/media/o/Spiel%20%C3%A9.m3u8";
        let (status, headers, body) = ask(&routes, path, &[]).await;
        assert_eq!((status, body.as_ref()), (StatusCode::OK, b"0123456789".as_slice()));
        assert_eq!(headers["content-type"], "application/vnd.apple.mpegurl");
        assert_eq!(headers["access-control-allow-origin"], "*");
        let etag = headers["etag"].to_str().unwrap().to_owned();
        let (status, headers, body) = ask(&routes, path, &[("range", "bytes=2-4")]).await;
        assert_eq!((status, body.as_ref()), (StatusCode::PARTIAL_CONTENT, b"234".as_slice()));
        assert_eq!(headers["content-range"], "bytes 2-4/10");
        assert_eq!(ask(&routes, path, &[("range", "bytes=20-")]).await.0, StatusCode::RANGE_NOT_SATISFIABLE);
        assert_eq!(ask(&routes, path, &[("if-none-match", &etag)]).await.0, StatusCode::NOT_MODIFIED);
        assert_eq!(ask(&routes, "/media/o/none", &[]).await.0, StatusCode::NOT_FOUND);
        let (status, headers, _) = ask(&routes, "/media/o/%2e%2e/%2e%2e/secret", &[]).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert_eq!(headers["content-type"], "application/problem+json");
    }
}
