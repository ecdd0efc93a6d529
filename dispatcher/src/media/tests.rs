use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use axum::Router;
use axum::extract::Path;
use axum::http::Request;
use axum::routing::get;
use fleet::objects::{ETag, FolderStore, ObjectFacts, ObjectMeta, PutCondition};
use tower::ServiceExt;

use super::*;

/// Objects in memory. It notes what is read, and can replace an object right after it was looked at.
#[derive(Debug, Default)]
struct MemoryStore {
    objects: Mutex<HashMap<String, (Bytes, u32)>>,
    after_head: Mutex<Option<Bytes>>,
    reads: Mutex<Vec<(u64, u64)>>,
    is_down: bool,
}

impl MemoryStore {
    fn with(key: &str, bytes: Bytes) -> Self {
        let store = Self::default();
        store.objects.lock().unwrap().insert(key.to_owned(), (bytes, 1));
        store
    }

    fn read(&self, key: &str) -> Result<(Bytes, u32), ObjectError> {
        let key = key.to_owned();
        if self.is_down {
            return Err(ObjectError::Unavailable { key, reason: "secret detail".to_owned() });
        }
        self.objects.lock().unwrap().get(&key).cloned().ok_or(ObjectError::NotFound { key })
    }

    fn unused<T>(&self) -> Result<T, ObjectError> {
        Err(ObjectError::Forbidden { key: String::new() })
    }
}

/// A server of all objects.
fn routes(store: Arc<dyn ObjectStore>) -> Router {
    let any = async move |Path(key): Path<String>, method: Method, headers: HeaderMap| {
        object(store.clone(), key, &method, &headers).await
    };
    Router::new().route("/media/{*key}", get(any).options(preflight))
}

fn etag(version: u32) -> ETag {
    ETag(format!("\"v{version}\""))
}

#[async_trait::async_trait]
impl ObjectStore for MemoryStore {
    async fn put(&self, _: &str, _: Bytes, _: ObjectMeta, _: PutCondition) -> Result<ETag, ObjectError> {
        self.unused()
    }

    async fn put_file(&self, _: &str, _: &std::path::Path, _: ObjectMeta) -> Result<ETag, ObjectError> {
        self.unused()
    }

    async fn get(&self, key: &str, limit: u64) -> Result<(Bytes, ETag), ObjectError> {
        let (bytes, version) = self.read(key)?;
        self.reads.lock().unwrap().push((0, bytes.len() as u64));
        if bytes.len() as u64 > limit {
            return Err(ObjectError::Invalid { key: key.to_owned(), reason: "too large".to_owned() });
        }
        Ok((bytes, etag(version)))
    }

    async fn get_range(&self, key: &str, offset: u64, len: u64) -> Result<Bytes, ObjectError> {
        let (bytes, _) = self.read(key)?;
        self.reads.lock().unwrap().push((offset, len));
        let end = bytes.len().min(usize::try_from(offset + len).unwrap());
        Ok(bytes.slice(usize::try_from(offset).unwrap().min(end)..end))
    }

    async fn head(&self, key: &str) -> Result<Option<ObjectFacts>, ObjectError> {
        let facts = match self.read(key) {
            Ok((bytes, version)) => ObjectFacts {
                key: key.to_owned(),
                size: bytes.len() as u64,
                etag: etag(version),
                modified: time::OffsetDateTime::UNIX_EPOCH,
            },
            Err(ObjectError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        if let Some(bytes) = self.after_head.lock().unwrap().take() {
            self.objects.lock().unwrap().insert(key.to_owned(), (bytes, 2));
        }
        Ok(Some(facts))
    }

    async fn list(&self, _: &str, _: Option<&str>) -> Result<Vec<ObjectFacts>, ObjectError> {
        self.unused()
    }

    async fn delete(&self, _: &[String]) -> Result<(), ObjectError> {
        self.unused()
    }

    async fn abort_stale_uploads(&self, _: Duration) -> Result<u64, ObjectError> {
        self.unused()
    }
}

async fn answer(routes: &Router, method: &str, path: &str, headers: &[(&str, &str)]) -> Response {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    routes.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
}

async fn ask(routes: &Router, method: &str, path: &str, headers: &[(&str, &str)]) -> (StatusCode, HeaderMap, Bytes) {
    let answer = answer(routes, method, path, headers).await;
    let (status, headers) = (answer.status(), answer.headers().clone());
    (status, headers, axum::body::to_bytes(answer.into_body(), 1 << 30).await.unwrap())
}

#[test]
fn ranges_are_read_as_rfc_9110_says() {
    for (text, size, want) in [
        ("bytes=0-3", 10, Asked::Part(0, 4)),
        ("Bytes=0-3", 10, Asked::Part(0, 4)),
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
        ("bytes=+1-2", 10, Asked::All),
        ("bytes=1--2", 10, Asked::All),
        ("bytes=-", 10, Asked::All),
        ("bytes=", 10, Asked::All),
    ] {
        assert_eq!(range(text, size), want, "{text} of {size}");
    }
}

#[tokio::test]
async fn objects_are_served_with_ranges_types_and_versions() {
    let dir = tempfile::tempdir().unwrap();
    let store = FolderStore::open(dir.path()).unwrap();
    let key = "o/Spiel é.m3u8";
    store.put(key, Bytes::from_static(b"0123456789"), meta_for(key), PutCondition::Always).await.unwrap();
    let routes = routes(Arc::new(store));
    let path = "/media/o/Spiel%20%C3%A9.m3u8";
    let (status, headers, body) = ask(&routes, "GET", path, &[]).await;
    assert_eq!((status, body.as_ref()), (StatusCode::OK, b"0123456789".as_slice()));
    assert_eq!(headers["content-type"], "application/vnd.apple.mpegurl");
    assert_eq!(headers["content-length"], "10");
    assert_eq!(headers["cache-control"], meta_for(key).cache_control);
    assert_eq!(headers["access-control-allow-origin"], "*");
    let exposed = headers["access-control-expose-headers"].to_str().unwrap();
    assert!(exposed.contains("content-range") && exposed.contains("content-length"));
    let etag = headers["etag"].to_str().unwrap().to_owned();

    let (status, headers, body) = ask(&routes, "GET", path, &[("range", "bytes=2-4")]).await;
    assert_eq!((status, body.as_ref()), (StatusCode::PARTIAL_CONTENT, b"234".as_slice()));
    assert_eq!(headers["content-range"], "bytes 2-4/10");
    let (status, headers, _) = ask(&routes, "GET", path, &[("range", "bytes=20-")]).await;
    assert_eq!(status, StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(headers["content-range"], "bytes */10");
    assert_eq!(headers["content-type"], "application/problem+json");

    for (if_range, want) in [(etag.as_str(), 206), ("\"other\"", 200), ("Tue, 15 Nov 1994 12:45:26 GMT", 200)] {
        let (status, ..) = ask(&routes, "GET", path, &[("range", "bytes=2-4"), ("if-range", if_range)]).await;
        assert_eq!(status.as_u16(), want, "{if_range}");
    }
    for known in [etag.as_str(), "*", &format!("\"other\", W/{etag}")] {
        let (status, headers, body) = ask(&routes, "GET", path, &[("if-none-match", known)]).await;
        assert_eq!((status, body.len()), (StatusCode::NOT_MODIFIED, 0), "{known}");
        assert_eq!(headers["etag"], etag);
    }
    assert_eq!(ask(&routes, "GET", path, &[("if-none-match", "\"other\"")]).await.0, StatusCode::OK);
}

#[tokio::test]
async fn head_says_what_get_would_and_ranges_are_for_get_alone() {
    let store = Arc::new(MemoryStore::with("o/seg_1_a1.m4s", Bytes::from(vec![7; 10])));
    let routes = routes(store.clone());
    let (status, headers, body) = ask(&routes, "HEAD", "/media/o/seg_1_a1.m4s", &[("range", "bytes=2-4")]).await;
    assert_eq!((status, body.len()), (StatusCode::OK, 0));
    assert_eq!(headers["content-length"], "10");
    assert_eq!(headers["accept-ranges"], "bytes");
    assert!(store.reads.lock().unwrap().is_empty(), "nothing is read for it");
}

#[tokio::test]
async fn large_objects_are_never_held_whole() {
    let size = (PIECE * 2 + 5) as usize;
    let bytes: Bytes = (0..size).map(|i| (i % 251) as u8).collect();
    let store = Arc::new(MemoryStore::with("o/big.mp4", bytes.clone()));
    let routes = routes(store.clone());
    let (status, headers, body) = ask(&routes, "GET", "/media/o/big.mp4", &[]).await;
    assert_eq!((status, headers["content-length"].to_str().unwrap()), (StatusCode::OK, size.to_string().as_str()));
    assert_eq!(body, bytes);
    assert_eq!(*store.reads.lock().unwrap(), [(0, PIECE), (PIECE, PIECE), (PIECE * 2, 5)]);
    let (_, _, body) = ask(&routes, "GET", "/media/o/big.mp4", &[("range", "bytes=3-4194309")]).await;
    assert_eq!(body, bytes.slice(3..4_194_310));

    // Replaced by something shorter on the way: the client notices that it did not get all.
    *store.after_head.lock().unwrap() = Some(Bytes::from(vec![1; PIECE as usize + 1]));
    let answer = answer(&routes, "GET", "/media/o/big.mp4", &[]).await;
    assert!(axum::body::to_bytes(answer.into_body(), 1 << 30).await.is_err());
}

#[tokio::test]
async fn a_playlist_that_is_written_anew_meanwhile_is_not_cut() {
    let store = Arc::new(MemoryStore::with("o/watch.m3u8", Bytes::from_static(b"one\n")));
    *store.after_head.lock().unwrap() = Some(Bytes::from_static(b"one\ntwo\n"));
    let (status, headers, body) = ask(&routes(store.clone()), "GET", "/media/o/watch.m3u8", &[]).await;
    assert_eq!((status, body.as_ref()), (StatusCode::OK, b"one\ntwo\n".as_slice()));
    assert_eq!((&headers["etag"], &headers["content-length"]), (&etag(2).0.parse().unwrap(), &"8".parse().unwrap()));

    *store.after_head.lock().unwrap() = Some(Bytes::from(vec![1; PIECE as usize + 1]));
    let (status, ..) = ask(&routes(store), "GET", "/media/o/watch.m3u8", &[]).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "asked for again, it is there");
}

#[tokio::test]
async fn empty_objects_are_served() {
    let routes = routes(Arc::new(MemoryStore::with("o/empty", Bytes::new())));
    let (status, headers, body) = ask(&routes, "GET", "/media/o/empty", &[]).await;
    assert_eq!((status, body.len(), &headers["content-length"]), (StatusCode::OK, 0, &HeaderValue::from_static("0")));
    assert_eq!(ask(&routes, "GET", "/media/o/empty", &[("range", "bytes=0-")]).await.0.as_u16(), 416);
}

#[tokio::test]
async fn every_refusal_is_a_problem_that_scripts_of_other_origins_can_read() {
    let dir = tempfile::tempdir().unwrap();
    let folder = routes(Arc::new(FolderStore::open(dir.path()).unwrap()));
    let down = routes(Arc::new(MemoryStore { is_down: true, ..MemoryStore::default() }));
    for (routes, method, path, want) in [
        (&folder, "GET", "/media/o/none", 404),
        (&folder, "GET", "/media/o/%2e%2e/%2e%2e/secret", 400),
        (&folder, "GET", "/media/..%2f..%2fetc%2fpasswd", 400),
        (&folder, "GET", "/media//etc/passwd", 400),
        (&folder, "GET", "/media/nul%00", 400),
        (&down, "GET", "/media/o/any", 503),
    ] {
        let (status, headers, body) = ask(routes, method, path, &[]).await;
        assert_eq!(status.as_u16(), want, "{method} {path}");
        assert_eq!(headers["content-type"], "application/problem+json", "{method} {path}");
        assert_eq!(headers["access-control-allow-origin"], "*");
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["status"], want);
        assert!(!body.to_string().contains("secret detail"));
    }
    let (status, headers, _) = ask(&folder, "OPTIONS", "/media/o/x", &[("origin", "http://a.test")]).await;
    assert_eq!(
        (status, &headers["access-control-allow-methods"]),
        (StatusCode::NO_CONTENT, &"GET, HEAD".parse().unwrap())
    );
}
