//! A client of the HTTP interface, for stories.

use reqwest::header::HeaderMap;
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::Value;

/// One key at one dispatcher.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    /// Where the dispatcher is, without a slash at the end.
    pub server: String,
    key: String,
}

impl Client {
    /// A client with this key; an empty one sends none.
    #[must_use]
    pub fn new(server: &str, key: &str) -> Self {
        Self { http: reqwest::Client::new(), server: server.to_owned(), key: key.trim().to_owned() }
    }

    /// A request to a path below `/v1`, to be completed and sent.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}/v1{path}", self.server));
        if self.key.is_empty() { request } else { request.bearer_auth(&self.key) }
    }

    /// Sends a request to a path below `/v1`, with headers.
    ///
    /// # Panics
    /// The dispatcher does not answer.
    pub async fn send(&self, method: Method, path: &str, body: Option<Value>, headers: &[(&str, &str)]) -> Response {
        let mut request = self.request(method, path);
        if let Some(body) = body {
            request = request.json(&body);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.expect("the dispatcher answers")
    }

    /// Status and body of a GET.
    ///
    /// # Panics
    /// The dispatcher does not answer.
    pub async fn get(&self, path: &str) -> (StatusCode, Value) {
        read(self.send(Method::GET, path, None, &[]).await).await
    }

    /// Status and body of a POST.
    ///
    /// # Panics
    /// The dispatcher does not answer.
    pub async fn post(&self, path: &str, body: Value) -> (StatusCode, Value) {
        read(self.send(Method::POST, path, Some(body), &[]).await).await
    }

    /// Status and text of a GET of any address.
    ///
    /// # Panics
    /// Nobody answers.
    pub async fn fetch(&self, url: &str) -> (StatusCode, String) {
        let url = if url.starts_with('/') { format!("{}{url}", self.server) } else { url.to_owned() };
        let answer = self.http.get(url).send().await.expect("an answer");
        let status = answer.status();
        (status, String::from_utf8_lossy(&answer.bytes().await.expect("a body")).into_owned())
    }
}

/// An answer, read to its end.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// Body; empty for a stream of events, which does not end.
    pub text: String,
}

impl Answer {
    /// Sends a request and reads what is answered.
    ///
    /// # Panics
    /// There is no answer.
    pub async fn to(request: RequestBuilder) -> Self {
        let answer = request.send().await.expect("an answer");
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let is_stream = headers.get("content-type").is_some_and(|kind| kind == "text/event-stream");
        let text = if is_stream { String::new() } else { answer.text().await.expect("a body") };
        Self { status, headers, text }
    }

    /// A header; empty when it is missing.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The body; null when it is not JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }

    /// The stable code of a problem.
    #[must_use]
    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }
}

async fn read(answer: Response) -> (StatusCode, Value) {
    let status = answer.status();
    let bytes = answer.bytes().await.expect("a body");
    (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
}

/// Reads server-sent events.
#[derive(Debug)]
pub struct Events {
    answer: Response,
    text: String,
}

impl Events {
    /// Reads an answer of `/v1/events`.
    #[must_use]
    pub fn new(answer: Response) -> Self {
        Self { answer, text: String::new() }
    }

    /// The next event: its id (empty when it has none), type and data; `None` at the end of the stream.
    ///
    /// # Panics
    /// The stream is not one of events.
    pub async fn next(&mut self) -> Option<(String, String, Value)> {
        loop {
            if let Some((frame, rest)) = self.text.split_once("\n\n") {
                let of = |field: &str| {
                    let line = frame.lines().find_map(|l| l.strip_prefix(field)?.strip_prefix(": "));
                    line.unwrap_or_default().to_owned()
                };
                let event = (of("id"), of("event"), of("data"));
                self.text = rest.to_owned();
                if event.2.is_empty() {
                    continue;
                }
                return Some((event.0, event.1, serde_json::from_str(&event.2).expect("data is JSON")));
            }
            let more = self.answer.chunk().await.expect("the stream goes on")?;
            self.text.push_str(&String::from_utf8_lossy(&more));
        }
    }
}
