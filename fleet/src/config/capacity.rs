//! Where the description of pools is, and how the machines of this fleet are found at the provider.

use serde::{Deserialize, Serialize};

use super::ConfigError;
use crate::objects::{Buckets, StoreLocation};

/// Largest file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Capacity that the dispatcher starts and ends by itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CapacityConfig {
    /// `fleet.toml` with regions, pools and policy: a file, or `s3://bucket/key`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub fleet: String,
    /// Begins the names of groups and the cluster at the provider. `touchline`.
    #[serde(default = "usual_name")]
    pub name: String,
    /// URLs of SQS queues that bring spot notices and failed launches, one a region.
    #[serde(default)]
    pub events: Vec<String>,
    /// In place of `fleet`: processes of the dispatcher's own machine, as local mode has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processes: Option<ProcessesConfig>,
}

/// Workers as processes of one machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessesConfig {
    /// The region that they are in.
    pub region: String,
    /// Processes at most.
    pub workers: u32,
    /// Chunks that one encodes at once; as many as the machine carries when it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slots: Option<u32>,
    /// Seconds without work after which they end.
    pub idle_s: f64,
}

impl CapacityConfig {
    /// Processes of this machine.
    #[must_use]
    pub fn of_processes(processes: ProcessesConfig) -> Self {
        Self { fleet: String::new(), name: usual_name(), events: Vec::new(), processes: Some(processes) }
    }
}

fn usual_name() -> String {
    "touchline".to_owned()
}

impl CapacityConfig {
    pub(super) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.fleet.is_empty() == self.processes.is_none() {
            problems.push("capacity.fleet: give a file or s3://bucket/key, and no processes beside it".to_owned());
        }
        let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if self.name.is_empty() || !self.name.chars().all(is_word) {
            problems.push("capacity.name: give small letters, digits and hyphens".to_owned());
        }
        for url in self.events.iter().filter(|url| !url.starts_with("http")) {
            problems.push(format!("capacity.events: {url} is no URL of an SQS queue"));
        }
        problems
    }
}

/// The text of a small file on disk or in a bucket.
///
/// # Errors
/// It cannot be read, or is larger than 1 MiB.
pub async fn read_text(location: &str, buckets: &Buckets) -> Result<String, ConfigError> {
    let failed = |problem: String| ConfigError { origin: location.to_owned(), problems: vec![problem] };
    let bytes = match location.rsplit_once('/') {
        Some((folder, key)) if location.starts_with("s3://") => {
            let folder: StoreLocation = folder.parse().map_err(|e| failed(format!("{e}")))?;
            let store = crate::objects::open(&folder, buckets).await.map_err(|e| failed(e.to_string()))?;
            store.get(key, MAX_FILE_BYTES).await.map_err(|e| failed(e.to_string()))?.0.to_vec()
        }
        _ => {
            let size = tokio::fs::metadata(location).await.map_err(|e| failed(e.to_string()))?.len();
            if size > MAX_FILE_BYTES {
                return Err(failed(format!("is larger than {MAX_FILE_BYTES} bytes")));
            }
            tokio::fs::read(location).await.map_err(|e| failed(e.to_string()))?
        }
    };
    String::from_utf8(bytes).map_err(|_| failed("is not UTF-8".to_owned()))
}
