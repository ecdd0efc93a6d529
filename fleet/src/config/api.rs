//! The HTTP interface of dispatchers: the `[api]` table.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::ConfigError;
use crate::internet::Reach;
use crate::objects::StoreLocation;

/// Variable that holds the signing secret when the file does not.
pub const SIGNING_SECRET: &str = "TOUCHLINE_SIGNING_SECRET";

/// Shortest signing secret, in bytes: what HMAC-SHA256 makes full use of (RFC 2104, section 3).
const MIN_SECRET: usize = 32;

/// The HTTP interface.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ApiConfig {
    /// Address and port, for example `0.0.0.0:8080`. Without one, this dispatcher serves no HTTP.
    pub listen: Option<SocketAddr>,
    /// Where clients reach it, for example `https://touchline.example.org`; without one, URLs in answers begin at `/`.
    pub public_url: Option<String>,
    /// Origins whose pages may call the API; playback is open to all who have a token.
    pub cors_origins: Vec<String>,
    /// Where uploads go: `s3://bucket/prefix` or a folder. Without one there are none.
    pub uploads: Option<String>,
    /// Signs playback links; at least 32 bytes, the same for all dispatchers. The variable `TOUCHLINE_SIGNING_SECRET`
    /// goes before it.
    pub signing_secret: Option<String>,
    /// How long a playback link is good, in hours: 12, a training day.
    pub playback_hours: f64,
    /// Requests a second and key, with twice as many in a burst: 50.
    pub requests_per_second: u32,
    /// Streams of events that a dispatcher serves at the same time: 4096. Each is a connection and a file descriptor.
    pub event_listeners: u32,
    /// Longest clip that is made into a file, in seconds: 900, what people send to each other.
    pub download_seconds: f64,
    /// Keys with the scope `ops` may name any file and address as the source of a job. For a fleet of one machine.
    pub local_sources: bool,
    /// `s3://` prefixes that jobs may name as their source, for example `s3://club-archive/`, beside what was uploaded;
    /// whatever lies there can be read by every organisation.
    pub source_prefixes: Vec<String>,
    /// Jobs may name `https://` addresses as their source.
    pub http_sources: bool,
    /// Networks (`10.2.0.0/16`) in which such sources may lie though they are not on the public Internet. None.
    pub http_networks: Vec<String>,
    /// Segments are fetched from the dispatcher itself even when they lie in S3; otherwise it answers with a redirect
    /// to the store.
    pub proxy_media: bool,
    /// Tokens of another platform that are accepted.
    pub jwt: Option<JwtConfig>,
    /// Buckets whose new objects become jobs by themselves.
    pub inbox: Vec<InboxConfig>,
}

/// A queue of SQS to which a bucket sends the notices of its new objects (S3 event notifications, `s3:ObjectCreated:*`).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InboxConfig {
    /// URL of the queue, or its name.
    pub queue: String,
    /// Region of the queue, where it is given by its name; that of the AWS settings when missing.
    #[serde(default)]
    pub region: Option<String>,
    /// Name of the organisation that owns what comes.
    pub organisation: String,
    /// Ladder of the jobs; the usual one when missing.
    #[serde(default)]
    pub ladder: Option<String>,
    /// Only keys that begin with this.
    #[serde(default)]
    pub prefix: String,
    /// Only keys that end with one of these, whatever their case, for example `.mp4`; all when there are none.
    #[serde(default)]
    pub suffixes: Vec<String>,
}

impl InboxConfig {
    /// Whether a key is one that is wanted.
    #[must_use]
    pub fn wants(&self, key: &str) -> bool {
        let lower = key.to_lowercase();
        let ends = |suffix: &String| lower.ends_with(&suffix.to_lowercase());
        key.starts_with(&self.prefix) && (self.suffixes.is_empty() || self.suffixes.iter().any(ends))
    }
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self {
            listen: None,
            public_url: None,
            cors_origins: Vec::new(),
            uploads: None,
            signing_secret: None,
            playback_hours: 12.0,
            requests_per_second: 50,
            event_listeners: 4096,
            download_seconds: 900.0,
            local_sources: false,
            source_prefixes: Vec::new(),
            http_sources: false,
            http_networks: Vec::new(),
            proxy_media: false,
            jwt: None,
            inbox: Vec::new(),
        }
    }
}

/// Tokens of a platform (JWT, RFC 7519) that stand for an organisation.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JwtConfig {
    /// Shared secret of HS256 tokens (Supabase: the project's JWT secret).
    #[serde(default)]
    pub secret: Option<String>,
    /// Address of the key set of RS256 and ES256 tokens.
    #[serde(default)]
    pub jwks_url: Option<String>,
    /// `iss` that a token must have.
    #[serde(default)]
    pub issuer: Option<String>,
    /// `aud` that a token must have.
    #[serde(default = "default_audience")]
    pub audience: String,
    /// Claim that holds the organisation's id, with dots between levels.
    #[serde(default = "default_claim")]
    pub organisation_claim: String,
    /// What such a token may do.
    #[serde(default = "default_scopes")]
    pub scopes: Vec<String>,
}

fn default_audience() -> String {
    "authenticated".to_owned()
}

fn default_claim() -> String {
    "app_metadata.organisation_id".to_owned()
}

fn default_scopes() -> Vec<String> {
    ["jobs:read", "jobs:write", "uploads:write", "clips:write", "usage:read"].map(str::to_owned).to_vec()
}

impl ApiConfig {
    /// The signing secret, from the environment or the file.
    #[must_use]
    pub fn secret(&self) -> Option<String> {
        std::env::var(SIGNING_SECRET).ok().filter(|s| !s.is_empty()).or_else(|| self.signing_secret.clone())
    }

    /// What sources on web servers may be fetched from; `None` where whoever owns the machine names them.
    ///
    /// # Errors
    /// A text that is no network.
    pub fn source_reach(&self) -> Result<Option<Reach>, ConfigError> {
        let wrong = |problem| ConfigError { origin: "api.http_networks".to_owned(), problems: vec![problem] };
        if self.local_sources { Ok(None) } else { Reach::with(&self.http_networks).map(Some).map_err(wrong) }
    }

    pub(super) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if let Err(problem) = Reach::with(&self.http_networks) {
            problems.push(format!("api.http_networks: {problem}"));
        }
        if self.listen.is_some() {
            match self.secret() {
                None => problems.push(format!("api.signing_secret: set {SIGNING_SECRET} (`openssl rand -hex 32`)")),
                Some(secret) if secret.len() < MIN_SECRET => {
                    problems.push(format!("api.signing_secret: must have at least {MIN_SECRET} bytes"));
                }
                Some(_) => {}
            }
        }
        if let Some(uploads) = &self.uploads
            && let Err(error) = uploads.parse::<StoreLocation>()
        {
            problems.push(format!("api.uploads: {error}"));
        }
        if let Some(url) = &self.public_url
            && !(url.starts_with("http://") || url.starts_with("https://"))
        {
            problems.push("api.public_url: give an https:// address".to_owned());
        }
        if !(0.01..=8760.0).contains(&self.playback_hours) {
            problems.push("api.playback_hours: give 0.01 to 8760 hours".to_owned());
        }
        if self.requests_per_second == 0 {
            problems.push("api.requests_per_second: give at least 1".to_owned());
        }
        if !(1..=1_000_000).contains(&self.event_listeners) {
            problems.push("api.event_listeners: give 1 to 1000000".to_owned());
        }
        if !(1.0..=86_400.0).contains(&self.download_seconds) {
            problems.push("api.download_seconds: give 1 to 86400 seconds".to_owned());
        }
        for prefix in &self.source_prefixes {
            let rest = prefix.strip_prefix("s3://").unwrap_or_default();
            if rest.split_once('/').is_none_or(|(bucket, _)| bucket.is_empty()) {
                problems.push(format!(
                    "api.source_prefixes: {prefix} is not of the form s3://bucket/ or s3://bucket/prefix"
                ));
            }
        }
        for (i, inbox) in self.inbox.iter().enumerate() {
            if inbox.queue.is_empty() || inbox.organisation.is_empty() {
                problems.push(format!("api.inbox[{i}]: give queue and organisation"));
            }
            if self.inbox[..i].iter().any(|other| other.queue == inbox.queue && other.region == inbox.region) {
                problems.push(format!(
                    "api.inbox[{i}].queue: {} is there twice; its notices go to one of them",
                    inbox.queue
                ));
            }
        }
        if let Some(jwt) = &self.jwt
            && jwt.secret.is_none() == jwt.jwks_url.is_none()
        {
            problems.push("api.jwt: give either secret or jwks_url".to_owned());
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inbox_takes_what_its_filter_says() {
        let inbox = |prefix: &str, suffixes: &[&str]| InboxConfig {
            queue: "q".to_owned(),
            region: None,
            organisation: "club".to_owned(),
            ladder: None,
            prefix: prefix.to_owned(),
            suffixes: suffixes.iter().map(|&s| s.to_owned()).collect(),
        };
        assert!(inbox("", &[]).wants("any"));
        let filtered = inbox("matches/", &[".mp4", ".MOV"]);
        for (key, wanted) in
            [("matches/a.MP4", true), ("matches/b.mov", true), ("matches/a.mp4.part", false), ("other/a.mp4", false)]
        {
            assert_eq!(filtered.wants(key), wanted, "{key}");
        }
        let twice = ApiConfig { inbox: vec![filtered.clone(), filtered], ..ApiConfig::default() };
        assert_eq!(twice.problems().len(), 1);
    }

    #[test]
    fn an_interface_without_a_secret_is_refused() {
        let config = ApiConfig { listen: "127.0.0.1:1".parse().ok(), ..ApiConfig::default() };
        assert!(config.problems()[0].contains("signing_secret"), "{:?}", config.problems());
        let config = ApiConfig { signing_secret: Some("x".repeat(32)), ..config };
        assert_eq!(config.problems(), Vec::<String>::new());
    }

    #[test]
    fn limits_that_would_stop_everything_are_refused() {
        let config = ApiConfig { event_listeners: 0, download_seconds: f64::NAN, ..ApiConfig::default() };
        let problems = config.problems();
        assert!(problems[0].contains("event_listeners") && problems[1].contains("download_seconds"), "{problems:?}");
        assert_eq!(ApiConfig::default().problems(), Vec::<String>::new());
    }

    #[test]
    fn a_source_prefix_names_a_bucket_and_its_end() {
        for (prefix, good) in
            [("s3://a/", true), ("s3://a/b/", true), ("s3://a", false), ("/etc", false), ("s3:///x", false)]
        {
            let config = ApiConfig { source_prefixes: vec![prefix.to_owned()], ..ApiConfig::default() };
            assert_eq!(config.problems().is_empty(), good, "{prefix}");
        }
    }
}
