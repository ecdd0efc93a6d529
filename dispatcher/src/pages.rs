//! The pages for coaches and operators, embedded in the program: `dispatcher/web/dist`, built from `dispatcher/web`.
//!
//! Files below `/assets/` carry a hash of their content in their name and never change; all else is asked for again
//! with its `ETag`. Addresses that the pages route themselves answer with `index.html`.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use rust_embed::RustEmbed;

#[derive(RustEmbed)]
#[folder = "web/dist"]
struct Dist;

/// The page that all client-side routes begin with.
const INDEX: &str = "index.html";
/// Where hashed files are.
const ASSETS: &str = "assets/";
/// What the pages do not need, they may not use.
const PERMISSIONS: &str = "camera=(), geolocation=(), microphone=(), payment=(), usb=()";

/// The routes, where `sources` are the CSP sources besides this origin that hold media and take uploads: a store's
/// `http://127.0.0.1:4566`, or `https:` for all that is encrypted.
pub fn routes_reaching(sources: &[&str]) -> Router {
    let pages = Arc::new(Pages::new(sources));
    Router::new()
        .route("/", get(page))
        .route("/ops", get(page))
        .route("/watch", get(page))
        .route("/jobs/{id}", get(page))
        .route("/mark.svg", get(file))
        .route("/assets/{*name}", get(file))
        .with_state(pages)
}

struct File {
    bytes: Bytes,
    etag: HeaderValue,
    content_type: HeaderValue,
    cache: HeaderValue,
}

struct Pages {
    files: BTreeMap<String, File>,
    security: HeaderMap,
}

impl Pages {
    fn new(sources: &[&str]) -> Self {
        let files = Dist::iter()
            .filter_map(|name| {
                let file = Dist::get(&name)?;
                let hash: String =
                    file.metadata.sha256_hash().iter().take(12).map(|byte| format!("{byte:02x}")).collect();
                let bytes = Bytes::from(file.data.into_owned());
                let is_hashed = name.starts_with(ASSETS);
                let cache = if is_hashed { "public, max-age=31536000, immutable" } else { "no-cache" };
                let file = File {
                    bytes,
                    etag: value(&format!("\"{hash}\"")),
                    content_type: HeaderValue::from_static(content_type(&name)),
                    cache: HeaderValue::from_static(cache),
                };
                Some((name.into_owned(), file))
            })
            .collect();
        Self { files, security: security(sources) }
    }

    fn serve(&self, name: &str, asked: &HeaderMap) -> Response {
        let Some(file) = self.files.get(name) else {
            return (StatusCode::NOT_FOUND, self.security.clone()).into_response();
        };
        let mut headers = self.security.clone();
        headers.insert(header::ETAG, file.etag.clone());
        headers.insert(header::CACHE_CONTROL, file.cache.clone());
        let is_known = asked
            .get(header::IF_NONE_MATCH)
            .and_then(|known| known.to_str().ok())
            .is_some_and(|known| known.split(',').any(|tag| tag.trim().trim_start_matches("W/") == file.etag));
        if is_known {
            return (StatusCode::NOT_MODIFIED, headers).into_response();
        }
        headers.insert(header::CONTENT_TYPE, file.content_type.clone());
        (headers, Body::from(file.bytes.clone())).into_response()
    }
}

async fn page(State(pages): State<Arc<Pages>>, headers: HeaderMap) -> Response {
    pages.serve(INDEX, &headers)
}

async fn file(State(pages): State<Arc<Pages>>, uri: Uri, headers: HeaderMap) -> Response {
    pages.serve(uri.path().trim_start_matches('/'), &headers)
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or("", |(_, ending)| ending) {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

/// Scripts and styles come from here and nowhere else, and nothing may be inline; `blob:` is how scripts feed a video.
fn security(sources: &[&str]) -> HeaderMap {
    let reach = sources.join(" ");
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' {reach}; media-src 'self' blob: {reach}; \
         connect-src 'self' {reach}; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    );
    HeaderMap::from_iter([
        (header::CONTENT_SECURITY_POLICY, value(&policy)),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
        (HeaderName::from_static("permissions-policy"), HeaderValue::from_static(PERMISSIONS)),
    ])
}

fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use axum::http::Request;
    use tower::ServiceExt;

    use super::*;

    async fn ask(path: &str, known: Option<&str>) -> (StatusCode, HeaderMap, String) {
        let mut request = Request::get(path);
        if let Some(etag) = known {
            request = request.header(header::IF_NONE_MATCH, etag);
        }
        let response = routes_reaching(&["https:"]).oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, 4 << 20).await.unwrap();
        (parts.status, parts.headers, String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Addresses that `index.html` names.
    fn named(index: &str) -> Vec<&str> {
        index.split('"').filter(|text| text.starts_with("/assets/") || text.ends_with(".svg")).collect()
    }

    #[tokio::test]
    async fn every_client_route_answers_with_the_page() {
        let (_, _, index) = ask("/", None).await;
        assert!(index.contains("<div id=\"app\">"), "{index}");
        for path in ["/ops", "/watch", "/jobs/0192f000-0000-7000-8000-000000000001"] {
            let (status, headers, body) = ask(path, None).await;
            assert_eq!((status, body == index), (StatusCode::OK, true), "{path}");
            assert_eq!(headers[header::CONTENT_TYPE], "text/html; charset=utf-8");
            assert_eq!(headers[header::CACHE_CONTROL], "no-cache");
        }
    }

    #[tokio::test]
    async fn what_the_page_names_is_embedded_and_assets_may_be_kept_for_good() {
        let (_, _, index) = ask("/", None).await;
        let named = named(&index);
        assert!(named.len() >= 3, "script, style and icon: {named:?}");
        for path in named {
            let (status, headers, body) = ask(path, None).await;
            assert_eq!((status, body.is_empty()), (StatusCode::OK, false), "{path}");
            assert_ne!(headers[header::CONTENT_TYPE], "application/octet-stream", "{path}");
            let is_kept = headers[header::CACHE_CONTROL].to_str().unwrap().contains("immutable");
            assert_eq!(is_kept, path.starts_with("/assets/"), "{path}");
        }
    }

    #[tokio::test]
    async fn a_known_version_is_not_sent_again() {
        let (_, headers, _) = ask("/", None).await;
        let etag = headers[header::ETAG].to_str().unwrap();
        let (status, _, body) = ask("/", Some(&format!("\"other\", W/{etag}"))).await;
        assert_eq!((status, body.as_str()), (StatusCode::NOT_MODIFIED, ""));
        assert_eq!(ask("/", Some("\"other\"")).await.0, StatusCode::OK);
    }

    #[tokio::test]
    async fn nothing_inline_is_allowed_and_nothing_inline_is_there() {
        let (_, headers, index) = ask("/", None).await;
        let policy = headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.contains("script-src 'self';") && !policy.contains("unsafe"), "{policy}");
        for script in index.split("<script").skip(1) {
            assert!(script.split('>').next().unwrap().contains("src="), "{script}");
        }
        assert!(!index.contains("<style") && !index.contains(" style="), "{index}");
        assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
    }

    #[tokio::test]
    async fn a_store_without_encryption_is_reached_when_it_is_named_and_no_other_is() {
        let pages = routes_reaching(&["http://127.0.0.1:4566", "https:"]);
        let response = pages.oneshot(Request::get("/").body(Body::empty()).unwrap()).await.unwrap();
        let policy = response.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned();
        for directive in ["connect-src 'self'", "img-src 'self'", "media-src 'self' blob:"] {
            assert!(policy.contains(&format!("{directive} http://127.0.0.1:4566 https:")), "{policy}");
        }
        let (_, headers, _) = ask("/", None).await;
        assert!(!headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap().contains("http:"));
    }

    #[tokio::test]
    async fn what_does_not_exist_is_not_found_with_the_same_protection() {
        for path in ["/assets/none.js", "/assets/../index.html", "/assets/%2e%2e/index.html"] {
            let (status, headers, _) = ask(path, None).await;
            assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
            assert!(headers.contains_key(header::CONTENT_SECURITY_POLICY), "{path}");
        }
    }
}
