//! One file for dispatchers and workers: where the database, the queues and the objects are.

mod api;
mod capacity;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use capacity::{CapacityConfig, ProcessesConfig, read_text};

use crate::objects::{BucketSettings, Buckets, ObjectStore, StoreLocation};
use crate::queue::{PostgresQueue, Queue, SqsQueue};
use crate::store::{Store, StoreOptions};

pub use api::{ApiConfig, InboxConfig, JwtConfig, SIGNING_SECRET};

/// Variable that holds the database's address when the file does not: it contains a password.
pub const DATABASE_URL: &str = "TOUCHLINE_DATABASE_URL";
/// Variable that names the file.
pub const CONFIG: &str = "TOUCHLINE_CONFIG";

/// Largest file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// The file, as TOML. Unknown keys are errors.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where finished presentations go: `s3://bucket/prefix`, or a folder.
    pub output: String,
    /// The database.
    #[serde(default)]
    pub database: DatabaseConfig,
    /// Regions with workers; at least one.
    pub regions: Vec<RegionConfig>,
    /// How buckets are reached that the usual AWS settings do not describe.
    #[serde(default)]
    pub buckets: Vec<BucketSettings>,
    /// The HTTP interface of dispatchers; without `listen` there is none.
    #[serde(default)]
    pub api: ApiConfig,
    /// Times that both sides agree on.
    #[serde(default)]
    pub timing: Timing,
    /// Capacity that the dispatcher starts and ends; without it workers come and go by other hands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<CapacityConfig>,
    /// Where webhooks may be delivered to.
    #[serde(default)]
    pub webhooks: WebhooksConfig,
}

/// The database.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DatabaseConfig {
    /// `postgres://…`; the variable `TOUCHLINE_DATABASE_URL` goes before it.
    pub url: Option<String>,
    /// A transaction pooler (`PgBouncer`, Supavisor) stands between.
    pub pooler: bool,
    /// Connections of one process at most. 10.
    pub max_connections: Option<u32>,
}

/// A region.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegionConfig {
    /// Name, best that of the AWS region: sources in its buckets are worked on there.
    pub name: String,
    /// URL of the SQS queue, or `postgres` for a queue in the database.
    pub queue: String,
    /// URL of the SQS queue's dead-letter queue.
    #[serde(default)]
    pub dead_letters: Option<String>,
}

/// Where webhooks may be delivered to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WebhooksConfig {
    /// Networks (`10.2.0.0/16`) that may be reached though they are not on the public Internet. None.
    pub allow: Vec<String>,
    /// Also `http://`. false.
    pub http: bool,
    /// Ports; an empty list means all. 443 and 8443.
    pub ports: Vec<u16>,
}

impl Default for WebhooksConfig {
    fn default() -> Self {
        Self { allow: Vec::new(), http: false, ports: vec![443, 8443] }
    }
}

impl WebhooksConfig {
    /// Receivers on this machine, for a fleet on one machine.
    #[must_use]
    pub fn local() -> Self {
        Self { allow: vec!["127.0.0.0/8".to_owned(), "::1/128".to_owned()], http: true, ports: Vec::new() }
    }
}

/// Times that dispatchers and workers agree on, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Timing {
    /// Between two heartbeats of a worker. 10.
    pub heartbeat: f64,
    /// Length of a lease: several heartbeats, so that a lost one does not cost the chunk. 45.
    pub lease: f64,
    /// A region whose queue fails, or whose workers are silent, for this long is given up for the time being. 60.
    pub region: f64,
    /// A released chunk that nobody claims is sent again after this. 60.
    pub resend: f64,
}

impl Default for Timing {
    fn default() -> Self {
        Self { heartbeat: 10.0, lease: 45.0, region: 60.0, resend: 60.0 }
    }
}

impl Timing {
    /// Between two heartbeats.
    #[must_use]
    pub fn heartbeat(&self) -> Duration {
        Duration::from_secs_f64(self.heartbeat)
    }

    /// Length of a lease.
    #[must_use]
    pub fn lease(&self) -> Duration {
        Duration::from_secs_f64(self.lease)
    }
}

/// The file cannot be used; every problem is named.
#[derive(Debug, thiserror::Error)]
#[error("{origin}: {}", problems.join("; "))]
pub struct ConfigError {
    /// Where the configuration came from.
    pub origin: String,
    /// What is wrong with it.
    pub problems: Vec<String>,
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`ConfigError`] with all problems.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let origin = path.display().to_string();
        let failed = |problem: String| ConfigError { origin: origin.clone(), problems: vec![problem] };
        let size = std::fs::metadata(path).map_err(|e| failed(e.to_string()))?.len();
        if size > MAX_FILE_BYTES {
            return Err(failed(format!("is larger than {MAX_FILE_BYTES} bytes")));
        }
        let text = std::fs::read_to_string(path).map_err(|e| failed(e.to_string()))?;
        Self::parse(&origin, &text)
    }

    /// Reads and checks a file on disk or in a bucket (`s3://bucket/key`, reached by the usual AWS settings).
    ///
    /// # Errors
    /// [`ConfigError`] with all problems.
    pub async fn load(location: &str) -> Result<Self, ConfigError> {
        Self::parse(location, &read_text(location, &Buckets::default()).await?)
    }

    /// Reads and checks text; `origin` names it in errors.
    ///
    /// # Errors
    /// [`ConfigError`] with all problems.
    pub fn parse(origin: &str, text: &str) -> Result<Self, ConfigError> {
        let config: Self = toml::from_str(text)
            .map_err(|e| ConfigError { origin: origin.to_owned(), problems: vec![in_one_line(&e, text)] })?;
        let problems = config.problems();
        if problems.is_empty() { Ok(config) } else { Err(ConfigError { origin: origin.to_owned(), problems }) }
    }

    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.regions.is_empty() {
            problems.push("regions: name at least one".to_owned());
        }
        for (i, region) in self.regions.iter().enumerate() {
            if region.name.is_empty() || region.name.len() > 64 {
                problems.push(format!("regions[{i}].name: give 1 to 64 characters"));
            }
            if self.regions[..i].iter().any(|r| r.name == region.name) {
                problems.push(format!("regions[{i}].name: {} is there twice", region.name));
            }
            if region.queue != "postgres" && !region.queue.starts_with("http") {
                problems.push(format!("regions[{i}].queue: give the URL of an SQS queue, or postgres"));
            }
        }
        if let Err(error) = self.output.parse::<StoreLocation>() {
            problems.push(format!("output: {error}"));
        }
        let t = &self.timing;
        for (name, value) in
            [("heartbeat", t.heartbeat), ("lease", t.lease), ("region", t.region), ("resend", t.resend)]
        {
            if !(0.1..=3600.0).contains(&value) {
                problems.push(format!("timing.{name}: give 0.1 to 3600 seconds"));
            }
        }
        if t.lease < 2.0 * t.heartbeat {
            problems.push("timing.lease: must be at least two heartbeats, better four".to_owned());
        }
        problems.extend(self.api.problems());
        problems.extend(Buckets::new(self.buckets.clone()).problems());
        problems.extend(self.capacity.iter().flat_map(CapacityConfig::problems));
        problems
    }

    /// The region of this name.
    #[must_use]
    pub fn region(&self, name: &str) -> Option<&RegionConfig> {
        self.regions.iter().find(|r| r.name == name)
    }

    /// The region that suits a source: that of its bucket when the fleet has it, else the first.
    #[must_use]
    pub fn home_region(&self, source: &str) -> &str {
        let bucket = source.strip_prefix("s3://").and_then(|rest| rest.split('/').next());
        let settings = bucket.and_then(|name| self.buckets.iter().find(|b| b.name == name));
        settings
            .and_then(|b| b.region.as_deref())
            .and_then(|region| self.region(region))
            .map_or(self.regions[0].name.as_str(), |r| r.name.as_str())
    }

    /// Whether an `s3://` address lies where the fleet keeps presentations or uploads: what is there belongs to all
    /// organisations, and what is made there must not become work again.
    #[must_use]
    pub fn keeps(&self, address: &str) -> bool {
        let places = [Some(&self.output), self.api.uploads.as_ref()];
        places.into_iter().flatten().any(|place| match place.parse() {
            Ok(StoreLocation::S3 { bucket, prefix }) => {
                let root =
                    if prefix.is_empty() { format!("s3://{bucket}/") } else { format!("s3://{bucket}/{prefix}/") };
                address.starts_with(&root)
            }
            _ => false,
        })
    }

    /// The store, for a program of this name.
    ///
    /// # Errors
    /// No address, or not one.
    pub fn store(&self, application: &str) -> Result<Store, ConfigError> {
        let failed = |problem: String| ConfigError { origin: "database".to_owned(), problems: vec![problem] };
        let from_env = std::env::var(DATABASE_URL).ok().filter(|url| !url.is_empty());
        let url = from_env
            .or_else(|| self.database.url.clone())
            .ok_or_else(|| failed(format!("set {DATABASE_URL}, or url under [database]")))?;
        let mut options = StoreOptions::new(url, application);
        options.pooler = self.database.pooler;
        if let Some(connections) = self.database.max_connections {
            options.max_connections = connections;
        }
        Store::open(&options).map_err(|e| failed([&*e.to_string(), e.advice().unwrap_or_default()].join("; ")))
    }

    /// How buckets are reached.
    #[must_use]
    pub fn buckets(&self) -> Arc<Buckets> {
        Arc::new(Buckets::new(self.buckets.clone()))
    }

    /// The output store.
    ///
    /// # Errors
    /// It cannot be opened.
    pub async fn objects(&self, buckets: &Buckets) -> Result<Arc<dyn ObjectStore>, ConfigError> {
        let failed = |problem: String| ConfigError { origin: "output".to_owned(), problems: vec![problem] };
        let location: StoreLocation = self.output.parse().map_err(|e| failed(format!("{e}")))?;
        crate::objects::open(&location, buckets).await.map_err(|e| failed(e.to_string()))
    }
}

/// What is wrong with a text and where; the parser itself draws it over several lines.
fn in_one_line(error: &toml::de::Error, text: &str) -> String {
    let before = error.span().and_then(|span| text.get(..span.start));
    let line = before.map_or(1, |before| before.matches('\n').count() + 1);
    format!("line {line}: {}", error.message())
}

impl RegionConfig {
    /// The region's queue.
    pub async fn queue(&self, store: &Store) -> Arc<dyn Queue> {
        crate::fault::queue(if self.queue == "postgres" {
            Arc::new(PostgresQueue::new(store.clone(), &self.name))
        } else {
            Arc::new(SqsQueue::open(&self.queue, self.dead_letters.as_deref()).await)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = "output = 'out'\n[[regions]]\nname = 'local'\nqueue = 'postgres'\n";

    #[test]
    fn a_small_file_has_the_usual_times() {
        let config = Config::parse("test", SMALL).unwrap();
        assert_eq!(config.timing, Timing::default());
        assert_eq!(config.home_region("/matches/final.mp4"), "local");
    }

    #[test]
    fn the_example_of_the_documentation_lacks_only_its_secrets() {
        // Read, not embedded: images are built without the documentation.
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/OPERATING.md");
        let text = std::fs::read_to_string(path).unwrap();
        let example = text.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        let problems = Config::parse("docs/OPERATING.md", example).map_or_else(|error| error.problems, |_| Vec::new());
        let is_secret = |problem: &String| problem.contains(SIGNING_SECRET) || problem.contains("the variable WASABI_");
        assert!(problems.iter().all(is_secret), "{problems:?}");
    }

    #[test]
    fn the_fleet_knows_its_own_places() {
        let text =
            "output = 's3://media/out'\n[api]\nuploads = 's3://uploads'\n[[regions]]\nname = 'a'\nqueue = 'postgres'\n";
        let config = Config::parse("test", text).unwrap();
        for (address, own) in [
            ("s3://media/out/org/job/master.m3u8", true),
            ("s3://media/outside.mp4", false),
            ("s3://uploads/org/upload/final.mp4", true),
            ("s3://uploads-of-others/x", false),
            ("/srv/media/out/x", false),
        ] {
            assert_eq!(config.keeps(address), own, "{address}");
        }
    }

    #[test]
    fn all_problems_are_named_at_once() {
        let text = "output = ''\n[timing]\nheartbeat = 9\nlease = 10\n[[regions]]\nname = 'a'\nqueue = 'x'\n\
            [[regions]]\nname = 'a'\nqueue = 'postgres'\n";
        let problems = Config::parse("test", text).unwrap_err().problems;
        assert!(problems.len() >= 3, "{problems:?}");
    }

    #[tokio::test]
    async fn a_file_larger_than_any_configuration_is_not_read() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let padded = |length: u64| format!("{SMALL}#{}", "x".repeat(usize::try_from(length).unwrap()));
        std::fs::write(file.path(), padded(1000)).unwrap();
        assert!(Config::read(file.path()).is_ok());
        std::fs::write(file.path(), padded(MAX_FILE_BYTES)).unwrap();
        let name = file.path().to_str().unwrap();
        for error in [Config::read(file.path()).unwrap_err(), Config::load(name).await.unwrap_err()] {
            assert!(error.problems[0].contains("larger"), "{error}");
        }
    }

    #[test]
    fn unknown_keys_are_refused_with_their_line() {
        let error = Config::parse("test", &format!("{SMALL}\n[timing]\ncolour = 'red'\n")).unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("test: line 7: ") && text.contains("colour") && text.lines().count() == 1, "{text}");
    }
}
