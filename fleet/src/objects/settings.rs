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

use super::key::{self, invalid, unavailable};
use super::{FolderStore, ObjectError, ObjectStore, S3Options, S3Store, Uploads};

/// The region of a bucket when none is configured: where S3 answers for every bucket, if only with a redirect.
const DEFAULT_REGION: &str = "us-east-1";
/// The endpoint of S3 alone; `aws_config` knows only the one of all services.
const S3_ENDPOINT_VARIABLE: &str = "AWS_ENDPOINT_URL_S3";

/// How one bucket is reached. Credentials come from the two variables, else the profile, else the AWS default chain
/// (environment, files, role of the container or the machine).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BucketSettings {
    /// Name of the bucket, as in `s3://name/…`.
    pub name: String,
    /// Region, such as `eu-central-1`; that of the AWS settings when missing, else `us-east-1`. R2 wants `auto`, Wasabi
    /// and AWS that of the bucket, `MinIO` takes any.
    #[serde(default)]
    pub region: Option<String>,
    /// Address of the store, such as `https://s3.eu-central-1.wasabisys.com`, without the bucket; AWS when missing.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// Bucket in the path rather than the host name. Usual with an endpoint, and so the default there.
    #[serde(default)]
    pub path_style: Option<bool>,
    /// Name of the environment variable that holds the access key id; secrets are never in the file.
    #[serde(default)]
    pub access_key_id_env: Option<String>,
    /// Name of the environment variable that holds the secret access key.
    #[serde(default)]
    pub secret_access_key_env: Option<String>,
    /// Profile of the AWS configuration files, instead of the two variables.
    #[serde(default)]
    pub profile: Option<String>,
}

impl BucketSettings {
    /// What is wrong with these settings by themselves, as sentences that begin with the field.
    fn problems(&self) -> Vec<String> {
        let name = &self.name;
        let mut problems = Vec::new();
        if name.is_empty() || name.contains(|c: char| c == '/' || c.is_whitespace() || c.is_control()) {
            problems.push(format!("name: {name:?} is no bucket name"));
        }
        if self.region.as_ref().is_some_and(|region| region.trim().is_empty()) {
            problems.push(format!("region: give {name} a region or leave it out"));
        }
        if let Some(endpoint) = &self.endpoint {
            match url::Url::parse(endpoint) {
                Ok(url) if !url.username().is_empty() || url.password().is_some() => {
                    // Not repeated here: it holds a secret.
                    problems.push(format!("endpoint: credentials of {name} do not belong into the address"));
                }
                Ok(url) if matches!(url.scheme(), "http" | "https") => {}
                _ => problems.push(format!("endpoint: {endpoint} is no http(s) address")),
            }
        }
        let keys = (&self.access_key_id_env, &self.secret_access_key_env);
        if keys.0.is_some() != keys.1.is_some() {
            problems.push(format!("access_key_id_env: {name} needs it and secret_access_key_env together"));
        }
        if (keys.0.is_some() || keys.1.is_some()) && self.profile.is_some() {
            problems.push(format!("profile: give {name} a profile or the two variables, not both"));
        }
        for (field, variable) in [("access_key_id_env", keys.0), ("secret_access_key_env", keys.1)] {
            if let Some(variable) = variable.as_ref().filter(|v| secret(v).is_none()) {
                problems.push(format!("{field}: the variable {variable} for {name} is not set"));
            }
        }
        problems
    }

    /// The values of the two variables, if they are named.
    ///
    /// # Errors
    /// One of them is not set.
    fn credentials(&self) -> Result<Option<Credentials>, String> {
        let (Some(id), Some(key)) = (&self.access_key_id_env, &self.secret_access_key_env) else { return Ok(None) };
        let value = |variable| secret(variable).ok_or_else(|| format!("the variable {variable} is not set"));
        Ok(Some(Credentials::new(value(id)?, value(key)?, None, None, "touchline")))
    }
}

/// The value of a variable; empty is as good as none.
fn secret(variable: &str) -> Option<String> {
    std::env::var(variable).ok().filter(|value| !value.is_empty())
}

/// All buckets that are described, and a client for each that is used. Buckets that are not described are reached by the
/// AWS settings alone and share a client: `AWS_ENDPOINT_URL_S3`, `AWS_REGION`, credentials of the default chain.
#[derive(Debug, Default)]
pub struct Buckets {
    settings: Vec<BucketSettings>,
    /// By place in the settings; `None` for buckets that are not described.
    clients: Mutex<HashMap<Option<usize>, Client>>,
}

impl Buckets {
    /// From the configuration.
    #[must_use]
    pub fn new(settings: Vec<BucketSettings>) -> Self {
        Self { settings, clients: Mutex::default() }
    }

    /// The settings of a bucket, if it is described.
    #[must_use]
    pub fn get(&self, bucket: &str) -> Option<&BucketSettings> {
        self.settings.iter().find(|b| b.name == bucket)
    }

    /// What is wrong with the settings, all at once.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for (i, bucket) in self.settings.iter().enumerate() {
            let mut found = bucket.problems();
            if self.settings[..i].iter().any(|b| b.name == bucket.name) {
                found.push(format!("name: {} is there twice", bucket.name));
            }
            problems.extend(found.into_iter().map(|problem| format!("buckets[{i}].{problem}")));
        }
        problems
    }

    /// The client for a bucket, made at its first use. It tries again and waits as the SDK does by itself.
    ///
    /// # Errors
    /// [`ObjectError::Invalid`] when something is wrong with the bucket's settings.
    pub async fn client(&self, bucket: &str) -> Result<Client, ObjectError> {
        let problems = self.get(bucket).map(BucketSettings::problems).unwrap_or_default();
        if problems.is_empty() { Ok(self.cached(bucket).await) } else { Err(invalid(bucket, problems.join("; "))) }
    }

    /// SDK configuration for a bucket, without time limits and retries, which the caller has its own views on. Clients
    /// that are made of it share connections and credentials.
    pub async fn config(&self, bucket: &str) -> Builder {
        self.cached(bucket).await.config().to_builder()
    }

    async fn cached(&self, bucket: &str) -> Client {
        let place = self.settings.iter().position(|b| b.name == bucket);
        let mut clients = self.clients.lock().await;
        if let Some(client) = clients.get(&place) {
            return client.clone();
        }
        let settings = place.map(|place| self.settings[place].clone()).unwrap_or_default();
        let client = Client::from_conf(load(settings).await.build());
        clients.insert(place, client.clone());
        client
    }
}

/// The AWS settings, and what a bucket's own settings change in them.
async fn load(settings: BucketSettings) -> Builder {
    let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12());
    match settings.credentials() {
        Ok(Some(credentials)) => loader = loader.credentials_provider(credentials),
        Ok(None) => {}
        Err(reason) => {
            // Those of the default chain would not be the ones that are meant.
            tracing::warn!(bucket = settings.name, "Requests are sent without credentials: {reason}");
            loader = loader.no_credentials();
        }
    }
    if let Some(profile) = &settings.profile {
        loader = loader.profile_name(profile);
    }
    // Given here, so that nobody looks for it at the metadata address of a cloud that is not there.
    if let Some(region) = settings.region {
        loader = loader.region(Region::new(region));
    }
    let shared = loader.load().await;
    let from_environment =
        shared.endpoint_url().is_some() || std::env::var_os(S3_ENDPOINT_VARIABLE).is_some_and(|e| !e.is_empty());
    let has_endpoint = settings.endpoint.is_some() || from_environment;
    let mut config = aws_sdk_s3::Config::from(&shared)
        .to_builder()
        .force_path_style(settings.path_style.unwrap_or(has_endpoint))
        // Stores other than AWS refuse checksums that are not needed.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
    if shared.region().is_none() {
        config = config.region(Region::from_static(DEFAULT_REGION));
    }
    if let Some(endpoint) = settings.endpoint {
        config = config.endpoint_url(endpoint);
    }
    config
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
            let prefix = prefix.trim_matches('/');
            if bucket.is_empty() || !(prefix.is_empty() || key::check(prefix).is_ok()) {
                return Err(bad());
            }
            return Ok(Self::S3 { bucket: bucket.to_owned(), prefix: prefix.to_owned() });
        }
        if text.is_empty() || text.contains("://") || text.contains('\0') {
            return Err(bad());
        }
        Ok(Self::Folder(PathBuf::from(text)))
    }
}

/// Opens a store.
///
/// # Errors
/// A folder cannot be made, or [`ObjectError::Invalid`] when something is wrong with the settings of a bucket. Whether
/// the bucket is there is not asked before it is used.
pub async fn open(location: &StoreLocation, buckets: &Buckets) -> Result<Arc<dyn ObjectStore>, ObjectError> {
    Ok(open_uploads(location, buckets).await?)
}

/// Opens a store that also takes uploads in parts.
///
/// # Errors
/// As [`open`].
pub async fn open_uploads(location: &StoreLocation, buckets: &Buckets) -> Result<Arc<dyn Uploads>, ObjectError> {
    let store: Arc<dyn Uploads> = match location {
        StoreLocation::Folder(path) => {
            let (path, name) = (path.clone(), path.display().to_string());
            let opened = tokio::task::spawn_blocking(move || FolderStore::open(path)).await;
            Arc::new(opened.unwrap_or_else(|e| Err(unavailable(&name, e.to_string())))?)
        }
        StoreLocation::S3 { bucket, prefix } => {
            let client = buckets.client(bucket).await?;
            Arc::new(S3Store::new(client.config().to_builder(), bucket, prefix, S3Options::default()))
        }
    };
    Ok(crate::fault::objects(store))
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
        for bad in ["", "s3://", "s3:///a", "s3://b/a/../c", "s3://b/a//c", "ftp://x", "nul\0"] {
            assert!(bad.parse::<StoreLocation>().is_err(), "{bad}");
        }
    }

    #[test]
    fn all_problems_of_buckets_are_named() {
        let buckets = Buckets::new(vec![
            BucketSettings { name: "a".into(), endpoint: Some("nowhere".into()), ..BucketSettings::default() },
            BucketSettings {
                name: "a".into(),
                region: Some(" ".into()),
                endpoint: Some("https://id:hidden@host".into()),
                access_key_id_env: Some("NOT_SET_HERE".into()),
                profile: Some("p".into()),
                ..BucketSettings::default()
            },
            BucketSettings { name: "b c".into(), ..BucketSettings::default() },
        ]);
        let problems = buckets.problems();
        assert_eq!(problems.len(), 8, "{problems:#?}");
        assert!(problems.iter().all(|p| p.starts_with("buckets[")) && !problems.concat().contains("hidden"));
        assert!(Buckets::default().problems().is_empty());
    }

    #[tokio::test]
    async fn each_bucket_has_its_own_settings() {
        let ready = BucketSettings {
            name: "wasabi".into(),
            region: Some("eu-central-1".into()),
            endpoint: Some("https://s3.example.org".into()),
            // Variables that are set wherever tests run.
            access_key_id_env: Some("PATH".into()),
            secret_access_key_env: Some("PATH".into()),
            ..BucketSettings::default()
        };
        let unset = BucketSettings {
            name: "unset".into(),
            access_key_id_env: Some("NOT_SET_HERE".into()),
            secret_access_key_env: Some("NOT_SET_HERE".into()),
            ..ready.clone()
        };
        let buckets = Buckets::new(vec![ready, unset]);
        let client = buckets.client("wasabi").await.unwrap();
        assert_eq!(client.config().region().map(AsRef::as_ref), Some("eu-central-1"));

        let error = buckets.client("unset").await.unwrap_err();
        assert!(matches!(&error, ObjectError::Invalid { reason, .. } if reason.contains("NOT_SET_HERE")), "{error:?}");
    }
}
