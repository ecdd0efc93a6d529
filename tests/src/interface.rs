//! The HTTP interface of a fleet of real processes, and keys for it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use fleet::config::ApiConfig;
use fleet::store::Store;
use fleet::store::organisations::NewKey;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::client::Client;
use crate::fleet_processes::Fleet;
use crate::services::free_port;

/// What a key of an organisation can be allowed to do, but operating the fleet.
pub const TENANT_SCOPES: [&str; 7] =
    ["jobs:read", "jobs:write", "uploads:write", "clips:write", "webhooks", "keys", "usage:read"];

/// A source that jobs may name. Nothing lies there.
pub const SOURCE: &str = "s3://story/none.mp4";

/// Where a fleet is served.
#[derive(Clone, Debug)]
pub struct Interface {
    /// Address, without a slash at the end.
    pub url: String,
}

impl Interface {
    /// Has the fleet's dispatcher that is started next serve an interface.
    pub fn of(fleet: &mut Fleet, requests_per_second: u32) -> Self {
        let listen = SocketAddr::from(([127, 0, 0, 1], free_port()));
        fleet.config.api = ApiConfig {
            listen: Some(listen),
            signing_secret: Some("a secret that only this story knows".to_owned()),
            uploads: Some(fleet.dir.path().join("uploads").display().to_string()),
            source_prefixes: vec!["s3://story/".to_owned()],
            requests_per_second,
            ..ApiConfig::default()
        };
        fleet.write_config("fleet.toml", &fleet.config);
        Self { url: format!("http://{listen}") }
    }

    /// A client with this key; an empty one sends none.
    #[must_use]
    pub fn client(&self, key: &str) -> Client {
        Client::new(&self.url, key)
    }

    /// Waits until it is ready.
    ///
    /// # Panics
    /// It is not within a minute.
    pub async fn ready(&self, fleet: &Fleet) {
        let until = Instant::now() + Duration::from_secs(60);
        while !reqwest::get(format!("{}/readyz", self.url)).await.is_ok_and(|answer| answer.status().is_success()) {
            assert!(Instant::now() < until, "the interface is not ready\n{}", fleet.logs());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Makes a key of an organisation; gives the text that goes after `Bearer`.
///
/// # Panics
/// The database refuses.
pub async fn key(store: &Store, organisation: Uuid, scopes: &[&str]) -> String {
    let letters = b"abcdefghjkmnpqrstuvwxyz234567890";
    let pick = |n: usize| -> String { (0..n).map(|_| char::from(letters[fastrand::usize(..32)])).collect() };
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
