//! A receiver of webhooks: a real HTTP server that answers as it is told and remembers what came.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use serde_json::Value;

/// How long a message may take to come on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// A request that came.
#[derive(Clone, Debug)]
pub struct Received {
    /// Headers, names in lower case.
    pub headers: HashMap<String, String>,
    /// Body as it came.
    pub body: Vec<u8>,
}

impl Received {
    /// The header `webhook-id`.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.headers["webhook-id"]
    }

    /// The body.
    ///
    /// # Panics
    /// It is not JSON.
    #[must_use]
    pub fn message(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a message is JSON")
    }
}

/// How a receiver answers.
#[derive(Clone, Debug)]
pub enum Answer {
    /// With a status.
    Status(StatusCode),
    /// With 302 and this address.
    Redirect(String),
    /// With 200 and a body that does not end.
    WithoutEnd,
    /// Not at all.
    Never,
}

#[derive(Debug)]
struct Inner {
    answer: Mutex<Answer>,
    came: Mutex<Vec<Received>>,
}

/// The receiver; it ends when it is dropped.
#[derive(Debug)]
pub struct Receiver {
    address: SocketAddr,
    inner: Arc<Inner>,
    server: tokio::task::JoinHandle<()>,
}

impl Receiver {
    /// Starts one that answers 204.
    pub async fn start() -> Self {
        Self::start_at(0).await
    }

    /// Starts one at this port.
    ///
    /// # Panics
    /// The port is taken.
    pub async fn start_at(port: u16) -> Self {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        let answer = Mutex::new(Answer::Status(StatusCode::NO_CONTENT));
        let inner = Arc::new(Inner { answer, came: Mutex::default() });
        let routes = Router::new().fallback(any(receive)).with_state(inner.clone());
        let server = tokio::spawn(async move { axum::serve(listener, routes).await.expect("it serves until it ends") });
        Self { address, inner, server }
    }

    /// Its address.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/hook?club=7", self.address)
    }

    /// Sets how it answers from now on.
    ///
    /// # Panics
    /// A request panicked.
    pub fn answers(&self, answer: Answer) {
        *self.inner.answer.lock().expect("no request panics") = answer;
    }

    /// What came so far.
    ///
    /// # Panics
    /// A request panicked.
    #[must_use]
    pub fn came(&self) -> Vec<Received> {
        self.inner.came.lock().expect("no request panics").clone()
    }

    /// Waits until this many requests came, and gives them.
    ///
    /// # Panics
    /// They do not within a minute.
    pub async fn wait_for(&self, number: usize) -> Vec<Received> {
        let until = Instant::now() + LIMIT;
        loop {
            let came = self.came();
            if came.len() >= number {
                return came;
            }
            assert!(Instant::now() < until, "{} of {number} messages came: {came:#?}", came.len());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn receive(State(inner): State<Arc<Inner>>, headers: HeaderMap, body: Bytes) -> Response {
    let text = |value: &axum::http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    inner.came.lock().expect("no request panics").push(Received { headers, body: body.to_vec() });
    let answer = inner.answer.lock().expect("no request panics").clone();
    match answer {
        Answer::Status(status) => status.into_response(),
        Answer::Redirect(to) => (StatusCode::FOUND, [("location", to)]).into_response(),
        Answer::WithoutEnd => {
            let pieces = futures_util::stream::repeat(Ok::<_, Infallible>(Bytes::from_static(&[b'x'; 16 << 10])));
            Body::from_stream(pieces).into_response()
        }
        Answer::Never => std::future::pending().await,
    }
}
