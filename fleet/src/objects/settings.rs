//! How buckets are reached: AWS by its usual settings, others (Wasabi, R2, `MinIO` …) as described in the configuration.

use std::collections::HashMap;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use aws_config::{BehaviorVersion, Region};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{Builder, Credentials, RequestChecksumCalculation, ResponseChecksumValidation};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::{FolderStore, ObjectError, ObjectStore, S3Options, S3Store};

/// The region of a bucket when none is configured: where S3 answers for every bucket, if only with a redirect.
const DEFAULT_REGION: &str = "us-east-1";
/// The endpoint of S3 alone; `aws_config` knows only the one of all services.
const S3_ENDPOINT_VARIABLE: &str = "AWS_ENDPOINT_URL_S3";

/// How one bucket is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BucketSettings {
    /// Name of the bucket.
    pub name: String,
    /// Region; that of the AWS settings when missing.
    #[serde(default)]
    pub region: Option<String>,
    /// Address of the store; AWS when missing.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// Bucket in the path rather than the host name. Usual with an endpoint, and so the default there.
    #[serde(default)]
    pub path_style: Option<bool>,
    /// Variable that holds the access key id; secrets are never in the file.
    #[serde(default)]
    pub access_key_id_env: Option<String>,
    /// Variable that holds the secret access key.
    #[serde(default)]
    pub secret_access_key_env: Option<String>,
    /// Profile of the AWS configuration files, instead of the two variables.
    #[serde(default)]
    pub profile: Option<String>,
}

/// All buckets that are described, and a client for each that is used.
#[derive(Debug, Default)]
pub struct Buckets {
    settings: Vec<BucketSettings>,
    clients: Mutex<HashMap<String, Client>>,
}

impl Buckets {
    /// From the configuration.
    #[must_use]
    pub fn new(settings: Vec<BucketSettings>) -> Self {
        Self { settings, clients: Mutex::default() }
    }

    /// What is wrong with the settings, all at once.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for (i, bucket) in self.settings.iter().enumerate() {
            let name = &bucket.name;
            if name.is_empty() || name.contains('/') {
                problems.push(format!("buckets[{i}].name: {name:?} is no bucket name"));
            }
            if self.settings[..i].iter().any(|b| b.name == *name) {
                problems.push(format!("buckets[{i}].name: {name} is there twice"));
            }
            if let Some(endpoint) = &bucket.endpoint
                && !url::Url::parse(endpoint).is_ok_and(|u| matches!(u.scheme(), "http" | "https"))
            {
                problems.push(format!("buckets[{i}].endpoint: {endpoint} is no http(s) address"));
            }
            let keys = (&bucket.access_key_id_env, &bucket.secret_access_key_env);
            if keys.0.is_some() != keys.1.is_some() {
                problems.push(format!(
                    "buckets[{i}] ({name}): access_key_id_env and secret_access_key_env belong together"
                ));
            }
            if keys.0.is_some() && bucket.profile.is_some() {
                problems.push(format!("buckets[{i}] ({name}): give a profile or the two variables, not both"));
            }
            for variable in [keys.0, keys.1].into_iter().flatten() {
                if std::env::var_os(variable).is_none_or(|v| v.is_empty()) {
                    problems.push(format!("buckets[{i}] ({name}): the variable {variable} is not set"));
                }
            }
        }
        problems
    }

    /// A client for a bucket; made once.
    pub async fn client(&self, bucket: &str) -> Client {
        let mut clients = self.clients.lock().await;
        if let Some(client) = clients.get(bucket) {
            return client.clone();
        }
        let client = Client::from_conf(self.config(bucket).await.build());
        clients.insert(bucket.to_owned(), client.clone());
        client
    }

    /// SDK configuration for a bucket, without time limits and retries, which the caller has its own views on.
    pub async fn config(&self, bucket: &str) -> Builder {
        let settings = self.settings.iter().find(|b| b.name == bucket).cloned().unwrap_or_default();
        let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12());
        if let Some(profile) = &settings.profile {
            loader = loader.profile_name(profile);
        }
        let shared = loader.load().await;
        let from_environment = shared.endpoint_url().is_some()
            || std::env::var_os(S3_ENDPOINT_VARIABLE).is_some_and(|endpoint| !endpoint.is_empty());
        let has_endpoint = settings.endpoint.is_some() || from_environment;
        let mut config = aws_sdk_s3::Config::from(&shared)
            .to_builder()
            .force_path_style(settings.path_style.unwrap_or(has_endpoint))
            // Stores other than AWS refuse checksums that are not needed.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
        if let Some(region) = settings.region {
            config = config.region(Region::new(region));
        } else if shared.region().is_none() {
            config = config.region(Region::from_static(DEFAULT_REGION));
        }
        if let Some(endpoint) = settings.endpoint {
            config = config.endpoint_url(endpoint);
        }
        let variable = |name: &Option<String>| name.as_ref().and_then(|n| std::env::var(n).ok());
        if let (Some(id), Some(secret)) =
            (variable(&settings.access_key_id_env), variable(&settings.secret_access_key_env))
        {
            config = config.credentials_provider(Credentials::new(id, secret, None, None, "touchline"));
        }
        config
    }
}

/// Where objects go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreLocation {
    /// A bucket, and a prefix without slashes at its ends.
    S3 {
        /// Bucket.
        bucket: String,
        /// Prefix of all keys; may be empty.
        prefix: String,
    },
    /// A folder.
    Folder(PathBuf),
}

/// The text is no such place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?}: give s3://bucket/prefix or a folder")]
pub struct BadLocation {
    text: String,
}

impl FromStr for StoreLocation {
    type Err = BadLocation;

    fn from_str(text: &str) -> Result<Self, BadLocation> {
        let bad = || BadLocation { text: text.to_owned() };
        if let Some(rest) = text.strip_prefix("s3://") {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            if bucket.is_empty() {
                return Err(bad());
            }
            return Ok(Self::S3 { bucket: bucket.to_owned(), prefix: prefix.trim_matches('/').to_owned() });
        }
        if text.is_empty() || text.contains("://") {
            return Err(bad());
        }
        Ok(Self::Folder(PathBuf::from(text)))
    }
}

/// Opens a store.
///
/// # Errors
/// A folder cannot be made. A bucket is not asked before it is used.
pub async fn open(location: &StoreLocation, buckets: &Buckets) -> Result<Arc<dyn ObjectStore>, ObjectError> {
    Ok(match location {
        StoreLocation::Folder(path) => Arc::new(FolderStore::open(path)?),
        StoreLocation::S3 { bucket, prefix } => {
            let config = buckets.config(bucket).await;
            Arc::new(S3Store::new(config, bucket, prefix, S3Options::default()))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_buckets_or_folders() {
        let s3 = |bucket: &str, prefix: &str| StoreLocation::S3 { bucket: bucket.into(), prefix: prefix.into() };
        assert_eq!("s3://b".parse(), Ok(s3("b", "")));
        assert_eq!("s3://b/a/c/".parse(), Ok(s3("b", "a/c")));
        assert_eq!("/srv/out put".parse(), Ok(StoreLocation::Folder("/srv/out put".into())));
        for bad in ["", "s3://", "ftp://x"] {
            assert!(bad.parse::<StoreLocation>().is_err(), "{bad}");
        }
    }

    #[test]
    fn all_problems_of_buckets_are_named() {
        let buckets = Buckets::new(vec![
            BucketSettings { name: "a".into(), endpoint: Some("nowhere".into()), ..BucketSettings::default() },
            BucketSettings {
                name: "a".into(),
                access_key_id_env: Some("NOT_SET_HERE".into()),
                ..BucketSettings::default()
            },
        ]);
        assert_eq!(buckets.problems().len(), 4, "{:?}", buckets.problems());
    }
}
