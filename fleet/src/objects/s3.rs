//! S3, and stores that speak its protocol.
//!
//! All retries are ours: the SDK's end with the answer's head, while bodies fail after it, and a conditional write whose
//! answer was lost has to look before it may call the second answer, 412, a failure.
//!
//! Conditions hold as well as the store's do. One that answers that it knows none (501) gets a look before each write,
//! between which two writers may both win; one that ignores them in silence cannot be told from one that obeys.

mod delete;
mod fault;
mod multipart;
mod upload;

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{
    Builder, RequestChecksumCalculation, ResponseChecksumValidation, retry::RetryConfig, timeout::TimeoutConfig,
};
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use backon::{BackoffBuilder, ExponentialBuilder};
use bytes::{Bytes, BytesMut};

use self::fault::Fault;
use super::key::{self, invalid, unavailable};
use super::{ETag, ObjectError, ObjectFacts, ObjectMeta, ObjectStore, PutCondition};

/// Objects in one page of a list: the limit of S3.
const PAGE: usize = 1000;

/// Patience with the store. An operation takes `patience` and one more try at most.
#[derive(Clone, Copy, Debug)]
pub struct S3Options {
    /// To make a connection, TLS included. 5 s.
    pub connect_timeout: Duration,
    /// For one request with its answer, and a second more for each MiB that it may move, so that large parts do not fail
    /// on slow links. 30 s.
    pub request_timeout: Duration,
    /// Tries of one request. 6: with the delays, a store may be busy for some seconds.
    pub tries: usize,
    /// Longest wait before the second try; it doubles with each. Each wait is a random part of it, so that workers which
    /// failed together do not return together. 200 ms.
    pub first_delay: Duration,
    /// Longest wait of all. 5 s.
    pub max_delay: Duration,
    /// No try begins later than this after the first. 3 min.
    pub patience: Duration,
}

impl Default for S3Options {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(30),
            tries: 6,
            first_delay: Duration::from_millis(200),
            max_delay: Duration::from_secs(5),
            patience: Duration::from_secs(180),
        }
    }
}

/// A bucket and a prefix.
#[derive(Debug)]
pub struct S3Store {
    client: Client,
    bucket: String,
    /// Empty, or with the closing slash.
    prefix: String,
    options: S3Options,
    /// The store has said that it knows no conditional writes.
    unconditional: AtomicBool,
    /// The store has said that it knows no deletions in batches.
    single_deletions: AtomicBool,
}

/// What is sent, again for each try.
enum Body<'a> {
    Bytes(&'a Bytes),
    File { path: &'a Path, size: u64 },
}

impl Body<'_> {
    fn size(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File { size, .. } => *size,
        }
    }

    async fn stream(&self, key: &str) -> Result<ByteStream, Fault> {
        match self {
            Self::Bytes(bytes) => Ok(ByteStream::from(Bytes::clone(bytes))),
            Self::File { size: 0, .. } => Ok(ByteStream::default()),
            Self::File { path, size } => upload::stream_file(key, path, 0, *size).await,
        }
    }
}

impl S3Store {
    /// An address under which anybody can read an object for a while, saved as `disposition` says when it does.
    async fn presigned(
        &self,
        key: &str,
        disposition: Option<String>,
        expires: Duration,
    ) -> Result<String, ObjectError> {
        let full = self.full(key)?;
        let invalid = |reason: String| ObjectError::Invalid { key: key.to_owned(), reason };
        let presigning = PresigningConfig::expires_in(expires).map_err(|e| invalid(e.to_string()))?;
        let request = self.client.get_object().bucket(&self.bucket).key(&full);
        let request = request.set_response_content_disposition(disposition).presigned(presigning).await;
        Ok(request.map_err(|e| Fault::from_sdk(key, &e))?.uri().to_owned())
    }

    /// A store with this SDK configuration; its time limits and retries are replaced by `options`. Checksums are sent
    /// only where S3 demands them, as other stores refuse them.
    #[must_use]
    pub fn new(config: Builder, bucket: &str, prefix: &str, options: S3Options) -> Self {
        let config = config
            .timeout_config(TimeoutConfig::builder().connect_timeout(options.connect_timeout).build())
            .retry_config(RetryConfig::disabled())
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .build();
        let prefix = prefix.trim_matches('/');
        Self {
            client: Client::from_conf(config),
            bucket: bucket.to_owned(),
            prefix: if prefix.is_empty() { String::new() } else { format!("{prefix}/") },
            options,
            unconditional: AtomicBool::new(false),
            single_deletions: AtomicBool::new(false),
        }
    }

    /// The key within the bucket.
    fn full(&self, key: &str) -> Result<String, ObjectError> {
        key::check(key)?;
        let full = format!("{}{key}", self.prefix);
        if full.len() > key::LONGEST {
            return Err(invalid(key, "with the prefix the key is longer than 1024 bytes"));
        }
        Ok(full)
    }

    /// The key below the prefix; as it is when it is not there.
    fn relative<'a>(&self, full: &'a str) -> &'a str {
        full.strip_prefix(&self.prefix).unwrap_or(full)
    }

    /// Makes a request, which moves up to `size` bytes, until it succeeds or fails for good, or patience ends.
    async fn retry<T, F>(&self, key: &str, size: u64, mut request: impl FnMut() -> F + Send) -> Result<T, Fault>
    where
        F: Future<Output = Result<T, Fault>> + Send,
    {
        let S3Options { request_timeout, tries, first_delay, max_delay, patience, .. } = self.options;
        let limit = request_timeout.saturating_add(Duration::from_secs(size >> 20));
        let mut delays = ExponentialBuilder::default()
            .with_min_delay(first_delay)
            .with_max_delay(max_delay)
            .with_max_times(tries.saturating_sub(1))
            .build();
        let started = Instant::now();
        loop {
            let answer = tokio::time::timeout(limit, request()).await;
            match answer.unwrap_or_else(|_| Err(Fault::passing(key, "no answer in time"))) {
                Err(Fault::Passing(error)) => {
                    let Some(delay) = delays.next().filter(|_| started.elapsed() < patience) else {
                        return Err(Fault::Passing(error));
                    };
                    // The builder's own jitter only adds to the delay.
                    let delay = delay.mul_f64(fastrand::f64());
                    tracing::debug!(bucket = self.bucket, ?delay, "A request is made again: {error}");
                    tokio::time::sleep(delay).await;
                }
                other => return other,
            }
        }
    }

    async fn put_once(
        &self,
        key: &str,
        full: &str,
        body: &Body<'_>,
        meta: ObjectMeta,
        condition: &PutCondition,
    ) -> Result<ETag, Fault> {
        let request = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .key(full)
            .content_type(meta.content_type)
            .cache_control(meta.cache_control)
            .body(body.stream(key).await?);
        let request = match condition {
            PutCondition::Always => request,
            PutCondition::IfAbsent => request.if_none_match("*"),
            PutCondition::IfMatch(etag) => request.if_match(&etag.0),
        };
        let sent = request.send().await.map_err(|e| Fault::from_sdk(key, &e))?;
        etag_of(key, sent.e_tag())
    }

    /// For stores without conditional writes: a look, and then the write. Two writers at the same moment may both win.
    async fn put_after_look(
        &self,
        key: &str,
        full: &str,
        body: &Body<'_>,
        meta: ObjectMeta,
        condition: &PutCondition,
    ) -> Result<ETag, ObjectError> {
        let there = self.head(key).await?.map(|facts| facts.etag);
        let holds = match condition {
            PutCondition::Always => true,
            PutCondition::IfAbsent => there.is_none(),
            PutCondition::IfMatch(etag) => there.as_ref() == Some(etag),
        };
        if !holds {
            return Err(ObjectError::PreconditionFailed { key: key.to_owned() });
        }
        let put = || self.put_once(key, full, body, meta, &PutCondition::Always);
        Ok(self.retry(key, body.size(), put).await?)
    }

    /// What it means that a store answered a later try with "another version is there": perhaps this call's own, when the
    /// answer to a try before was lost. Another writer's same bytes count as own: what is there is right.
    async fn own_version(&self, key: &str, bytes: &Bytes) -> Result<ETag, ObjectError> {
        match self.get(key, bytes.len() as u64).await {
            Ok((there, etag)) if there == *bytes => Ok(etag),
            Ok(_) | Err(ObjectError::NotFound { .. } | ObjectError::Invalid { .. }) => {
                Err(ObjectError::PreconditionFailed { key: key.to_owned() })
            }
            Err(other) => Err(other),
        }
    }

    async fn head_once(&self, key: &str, full: &str) -> Result<Option<ObjectFacts>, Fault> {
        let sent = self.client.head_object().bucket(&self.bucket).key(full).send().await;
        let head = match sent.map_err(|e| Fault::from_sdk(key, &e)) {
            Err(Fault::Final(ObjectError::NotFound { .. })) => return Ok(None),
            other => other?,
        };
        Ok(Some(ObjectFacts {
            key: key.to_owned(),
            size: head.content_length().and_then(|n| u64::try_from(n).ok()).unwrap_or(0),
            etag: etag_of(key, head.e_tag())?,
            modified: when(head.last_modified()),
        }))
    }
}

#[async_trait]
impl ObjectStore for S3Store {
    async fn put(
        &self,
        key: &str,
        bytes: Bytes,
        meta: ObjectMeta,
        condition: PutCondition,
    ) -> Result<ETag, ObjectError> {
        let full = self.full(key)?;
        let body = Body::Bytes(&bytes);
        let conditional = condition != PutCondition::Always;
        if conditional && self.unconditional.load(Ordering::Relaxed) {
            return self.put_after_look(key, &full, &body, meta, &condition).await;
        }
        let tries = AtomicUsize::new(0);
        let put = || {
            tries.fetch_add(1, Ordering::Relaxed);
            self.put_once(key, &full, &body, meta, &condition)
        };
        let fault = match self.retry(key, body.size(), put).await {
            Ok(etag) => return Ok(etag),
            Err(fault) => fault,
        };
        if conditional && matches!(fault, Fault::Unsupported(_)) {
            if !self.unconditional.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    bucket = self.bucket,
                    "The store knows no conditional writes: a look before each has to do, and two writers may both win"
                );
            }
            return self.put_after_look(key, &full, &body, meta, &condition).await;
        }
        match (fault.into(), &condition) {
            (ObjectError::PreconditionFailed { .. }, PutCondition::Always) => {
                Err(unavailable(key, "other writes were in the way"))
            }
            (ObjectError::PreconditionFailed { .. }, _) if tries.load(Ordering::Relaxed) > 1 => {
                self.own_version(key, &bytes).await
            }
            // So says S3 when the version to replace is gone.
            (ObjectError::NotFound { key }, PutCondition::IfMatch(_)) => Err(ObjectError::PreconditionFailed { key }),
            (other, _) => Err(other),
        }
    }

    async fn put_file(&self, key: &str, path: &Path, meta: ObjectMeta) -> Result<ETag, ObjectError> {
        self.upload(key, path, meta).await
    }

    async fn get(&self, key: &str, limit: u64) -> Result<(Bytes, ETag), ObjectError> {
        let full = self.full(key)?;
        let get = || async {
            let got = self.client.get_object().bucket(&self.bucket).key(&full).send().await;
            let got = got.map_err(|e| Fault::from_sdk(key, &e))?;
            let etag = etag_of(key, got.e_tag())?;
            Ok((read(key, got.body, got.content_length, limit).await?, etag))
        };
        Ok(self.retry(key, limit, get).await?)
    }

    async fn get_range(&self, key: &str, offset: u64, len: u64) -> Result<Bytes, ObjectError> {
        let full = self.full(key)?;
        let Some(last) = len.checked_sub(1).map(|len| offset.saturating_add(len)) else {
            let there = self.head(key).await?;
            return there.map(|_| Bytes::new()).ok_or_else(|| ObjectError::NotFound { key: key.to_owned() });
        };
        let get = || async {
            let request = self.client.get_object().bucket(&self.bucket).key(&full);
            let got = match request.range(format!("bytes={offset}-{last}")).send().await {
                // Past the end there is nothing.
                Err(e) if e.raw_response().is_some_and(|r| r.status().as_u16() == 416) => return Ok(Bytes::new()),
                other => other.map_err(|e| Fault::from_sdk(key, &e))?,
            };
            let is_range = got.content_range().is_some_and(|range| range.starts_with(&format!("bytes {offset}-")));
            if !is_range && got.content_length() != Some(0) {
                return Err(Fault::invalid(key, "the store sent something other than the range"));
            }
            read(key, got.body, got.content_length, len).await
        };
        Ok(self.retry(key, len, get).await?)
    }

    async fn link(&self, key: &str, expires: Duration) -> Result<Option<String>, ObjectError> {
        self.presigned(key, None, expires).await.map(Some)
    }

    async fn download_link(
        &self,
        key: &str,
        disposition: &str,
        expires: Duration,
    ) -> Result<Option<String>, ObjectError> {
        self.presigned(key, Some(disposition.to_owned()), expires).await.map(Some)
    }

    async fn head(&self, key: &str) -> Result<Option<ObjectFacts>, ObjectError> {
        let full = self.full(key)?;
        Ok(self.retry(key, 0, || self.head_once(key, &full)).await?)
    }

    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Vec<ObjectFacts>, ObjectError> {
        key::folder_of(prefix)?;
        let full = format!("{}{prefix}", self.prefix);
        let after = after.map(|after| format!("{}{after}", self.prefix));
        let mut found = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let list = || async {
                let request = self.client.list_objects_v2().bucket(&self.bucket).prefix(&full);
                let request = request.set_start_after(after.clone()).set_continuation_token(token.clone());
                request.send().await.map_err(|e| Fault::from_sdk(prefix, &e))
            };
            let page = self.retry(prefix, 0, list).await?;
            found.extend(page.contents().iter().filter_map(|object| {
                // Consoles make folders of empty objects whose key ends with a slash.
                let key = object.key()?.strip_prefix(&self.prefix).filter(|key| key::check(key).is_ok())?;
                Some(ObjectFacts {
                    key: key.to_owned(),
                    size: object.size().and_then(|n| u64::try_from(n).ok()).unwrap_or(0),
                    etag: ETag(object.e_tag().unwrap_or_default().to_owned()),
                    modified: when(object.last_modified()),
                })
            }));
            token = page.next_continuation_token().map(str::to_owned);
            // A page may be short, or empty, without being the last.
            if found.len() >= PAGE || page.is_truncated() != Some(true) || token.is_none() {
                found.truncate(PAGE);
                return Ok(found);
            }
        }
    }

    async fn delete(&self, keys: &[String]) -> Result<(), ObjectError> {
        self.delete_all(keys).await
    }

    async fn abort_stale_uploads(&self, older_than: Duration) -> Result<u64, ObjectError> {
        self.abort_stale(older_than).await
    }
}

/// Reads a body of at most `limit` bytes, of the length that its head gives.
async fn read(key: &str, mut body: ByteStream, length: Option<i64>, limit: u64) -> Result<Bytes, Fault> {
    let too_large = |size: u64| Fault::invalid(key, format!("{size} bytes, more than the allowed {limit}"));
    let length = length.and_then(|n| u64::try_from(n).ok());
    if let Some(length) = length.filter(|length| *length > limit) {
        return Err(too_large(length));
    }
    let mut bytes = BytesMut::with_capacity(length.and_then(|n| usize::try_from(n).ok()).unwrap_or(0));
    while let Some(piece) = body.try_next().await.map_err(|e| Fault::passing(key, e.to_string()))? {
        bytes.extend_from_slice(&piece);
        if bytes.len() as u64 > limit {
            return Err(too_large(bytes.len() as u64));
        }
    }
    if length.is_some_and(|length| length != bytes.len() as u64) {
        return Err(Fault::passing(key, "the body ended early"));
    }
    Ok(bytes.freeze())
}

fn etag_of(key: &str, etag: Option<&str>) -> Result<ETag, Fault> {
    let etag = etag.ok_or_else(|| Fault::Final(unavailable(key, "no ETag in the answer")))?;
    Ok(ETag(etag.to_owned()))
}

fn when(at: Option<&DateTime>) -> time::OffsetDateTime {
    at.and_then(|t| time::OffsetDateTime::from_unix_timestamp(t.secs()).ok())
        .unwrap_or(time::OffsetDateTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests;
