//! The HTTP interface of a fleet of real processes, as its clients see it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use fleet::config::ApiConfig;
use fleet::store::Store;
use fleet::store::organisations::NewKey;
use reqwest::Method;
use serde_json::Value;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::fleet_processes::Fleet;
use crate::services::free_port;

/// What a key of an organisation can be allowed to do, but operating the fleet.
pub const TENANT_SCOPES: [&str; 7] =
    ["jobs:read", "jobs:write", "uploads:write", "clips:write", "webhooks", "keys", "usage:read"];

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Headers, names in lower case.
    pub headers: HashMap<String, String>,
    /// Body as it came.
    pub text: String,
}

impl Answer {
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

/// A client of an interface.
#[derive(Clone, Debug)]
pub struct Interface {
    /// Address, without a slash at the end.
    pub url: String,
    client: reqwest::Client,
}

impl Interface {
    /// Has a fleet's dispatchers serve an interface; for the ones that are started from now on.
    ///
    /// # Panics
    /// There is no TLS.
    #[must_use]
    pub fn of(fleet: &mut Fleet, requests_per_second: u32) -> Self {
        let listen = std::net::SocketAddr::from(([127, 0, 0, 1], free_port()));
        fleet.config.api = ApiConfig {
            listen: Some(listen),
            signing_secret: Some("a secret that only this story knows".to_owned()),
            uploads: Some(fleet.dir.path().join("uploads").display().to_string()),
            source_prefixes: vec!["s3://story/".to_owned()],
            requests_per_second,
            ..ApiConfig::default()
        };
        fleet.write_config("fleet.toml", &fleet.config);
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        Self { url: format!("http://{listen}"), client }
    }

    /// Waits until it is ready.
    ///
    /// # Panics
    /// It is not within a minute.
    pub async fn ready(&self, fleet: &Fleet) {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let answer = self.client.get(format!("{}/readyz", self.url)).send().await;
            if answer.is_ok_and(|a| a.status().is_success()) {
                return;
            }
            assert!(Instant::now() < until, "the interface is not ready\n{}", fleet.logs());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// A request to be sent.
    #[must_use]
    pub fn request(&self, method: &str, path: &str, key: Option<&str>) -> reqwest::RequestBuilder {
        let method = Method::from_bytes(method.to_ascii_uppercase().as_bytes()).expect("a method");
        let request = self.client.request(method, format!("{}{path}", self.url));
        match key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }

    /// Sends a request and reads its answer.
    ///
    /// # Panics
    /// There is none.
    pub async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let answer = request.send().await.expect("an answer");
        let status = answer.status().as_u16();
        let headers = answer.headers().iter();
        let headers =
            headers.map(|(k, v)| (k.to_string(), String::from_utf8_lossy(v.as_bytes()).into_owned())).collect();
        let is_stream = answer.headers().get("content-type").is_some_and(|t| t == "text/event-stream");
        // A stream of events does not end.
        let text = if is_stream { String::new() } else { answer.text().await.expect("a body") };
        Answer { status, headers, text }
    }

    /// GETs a path.
    pub async fn get(&self, key: &str, path: &str) -> Answer {
        self.send(self.request("get", path, Some(key))).await
    }

    /// Sends JSON.
    pub async fn call(&self, key: &str, method: &str, path: &str, body: &Value) -> Answer {
        let request = self.request(method, path, Some(key));
        self.send(request.header("content-type", "application/json").body(body.to_string())).await
    }
}

/// Makes a key of an organisation; gives the text that goes after `Bearer`.
///
/// # Panics
/// The database refuses.
pub async fn key(store: &Store, organisation: Uuid, scopes: &[&str]) -> String {
    let letters = b"abcdefghjkmnpqrstuvwxyz234567890";
    let mut pick = |n: usize| -> String { (0..n).map(|_| char::from(letters[fastrand::usize(..32)])).collect() };
    let prefix = format!("tl_{}", pick(12));
    let text = format!("{prefix}_{}", pick(43));
    let new = NewKey {
        name: "story".to_owned(),
        prefix,
        hash: Sha256::digest(text.as_bytes()).to_vec(),
        scopes: scopes.iter().map(|s| (*s).to_owned()).collect(),
        expires_at: None,
    };
    let tenant = store.tenant(organisation);
    let mut tx = tenant.begin().await.expect("a transaction");
    tenant.create_key(&mut tx, &new).await.expect("a key");
    tx.commit().await.expect("a commit");
    text
}
