//! S3, and stores that speak its protocol.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{Builder, retry::RetryConfig, timeout::TimeoutConfig};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::RequestId;
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart, Delete, ObjectIdentifier};
use backon::{BackoffBuilder, ExponentialBuilder};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};

use super::{ETag, ObjectError, ObjectFacts, ObjectMeta, ObjectStore, PutCondition};

/// Files from this size on go up in parts.
const MULTIPART_FROM: u64 = 64 << 20;
/// Smallest part; it grows so that 10 000 suffice.
const PART: u64 = 16 << 20;
/// Parts on their way at once.
const PARTS_AT_ONCE: usize = 4;

/// Patience with the store.
#[derive(Clone, Copy, Debug)]
pub struct S3Options {
    /// To make a connection, TLS included. 5 s.
    pub connect_timeout: Duration,
    /// For one request in all. 60 s: a segment on a slow link.
    pub request_timeout: Duration,
    /// Tries of one operation. 6.
    pub tries: usize,
    /// Wait before the second try; it doubles with each up to 5 s, with jitter. 200 ms.
    pub first_delay: Duration,
}

impl Default for S3Options {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(60),
            tries: 6,
            first_delay: Duration::from_millis(200),
        }
    }
}

/// A bucket and a prefix.
#[derive(Debug)]
pub struct S3Store {
    client: Client,
    bucket: String,
    prefix: String,
    options: S3Options,
    /// The store knows no conditional writes.
    unconditional: AtomicBool,
}

impl S3Store {
    /// A store with this SDK configuration; its time limits and retries are replaced by `options`.
    #[must_use]
    pub fn new(config: Builder, bucket: &str, prefix: &str, options: S3Options) -> Self {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(options.connect_timeout)
            .operation_attempt_timeout(options.request_timeout)
            .build();
        let config = config.timeout_config(timeouts).retry_config(RetryConfig::disabled()).build();
        let prefix = prefix.trim_matches('/');
        Self {
            client: Client::from_conf(config),
            bucket: bucket.to_owned(),
            prefix: if prefix.is_empty() { String::new() } else { format!("{prefix}/") },
            options,
            unconditional: AtomicBool::new(false),
        }
    }

    fn key(&self, key: &str) -> Result<String, ObjectError> {
        let full = format!("{}{key}", self.prefix);
        if key.is_empty() || full.len() > 1024 || key.contains('\0') {
            let reason = "keys have 1 to 1024 bytes, with the prefix".to_owned();
            return Err(ObjectError::Invalid { key: key.to_owned(), reason });
        }
        // Servers and proxies resolve such parts in URLs: the object would not be where its key says.
        if key.split('/').any(|part| part == "." || part == ".." || part.is_empty()) {
            let reason = "a part of the key is empty or points elsewhere".to_owned();
            return Err(ObjectError::Invalid { key: key.to_owned(), reason });
        }
        Ok(full)
    }

    /// Tries again while the store does not answer.
    async fn retry<T, F>(&self, mut work: impl FnMut() -> F + Send) -> Result<T, ObjectError>
    where
        F: Future<Output = Result<T, ObjectError>> + Send,
    {
        let mut waits = ExponentialBuilder::default()
            .with_min_delay(self.options.first_delay)
            .with_max_delay(Duration::from_secs(5))
            .with_max_times(self.options.tries.saturating_sub(1))
            .with_jitter()
            .build();
        loop {
            match work().await {
                Err(error @ ObjectError::Unavailable { .. }) => {
                    let Some(wait) = waits.next() else { return Err(error) };
                    tracing::debug!(%error, ?wait, "trying again");
                    tokio::time::sleep(wait).await;
                }
                other => return other,
            }
        }
    }

    async fn put_once(
        &self,
        key: &str,
        full: &str,
        bytes: &Bytes,
        meta: ObjectMeta,
        condition: &PutCondition,
    ) -> Result<ETag, ObjectError> {
        let mut request = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .key(full)
            .content_type(meta.content_type)
            .cache_control(meta.cache_control)
            .content_length(i64::try_from(bytes.len()).unwrap_or(i64::MAX))
            .body(ByteStream::from(bytes.clone()));
        if !self.unconditional.load(Ordering::Relaxed) {
            request = match condition {
                PutCondition::Always => request,
                PutCondition::IfAbsent => request.if_none_match("*"),
                PutCondition::IfMatch(etag) => request.if_match(&etag.0),
            };
        }
        let sent = request.send().await;
        sent.map(|o| ETag(o.e_tag().unwrap_or_default().to_owned())).map_err(|e| from_sdk(key, &e))
    }

    /// For stores without conditional writes: a look, and then the write. Two writers at the same moment may both win.
    async fn check(&self, key: &str, condition: &PutCondition) -> Result<(), ObjectError> {
        let there = self.head(key).await?.map(|f| f.etag);
        let holds = match condition {
            PutCondition::Always => true,
            PutCondition::IfAbsent => there.is_none(),
            PutCondition::IfMatch(etag) => there.as_ref() == Some(etag),
        };
        if holds { Ok(()) } else { Err(ObjectError::PreconditionFailed { key: key.to_owned() }) }
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
        let full = self.key(key)?;
        if self.unconditional.load(Ordering::Relaxed) {
            self.check(key, &condition).await?;
        }
        let tries = std::sync::atomic::AtomicUsize::new(0);
        let outcome = self
            .retry(|| async {
                tries.fetch_add(1, Ordering::Relaxed);
                self.put_once(key, &full, &bytes, meta, &condition).await
            })
            .await;
        match outcome {
            // An answer may have been lost: what is there may be what this call wrote.
            Err(ObjectError::PreconditionFailed { .. }) if tries.load(Ordering::Relaxed) > 1 => {
                match self.get(key, bytes.len() as u64).await {
                    Ok((there, etag)) if there == bytes => Ok(etag),
                    Ok(_) | Err(ObjectError::NotFound { .. } | ObjectError::Invalid { .. }) => {
                        Err(ObjectError::PreconditionFailed { key: key.to_owned() })
                    }
                    Err(other) => Err(other),
                }
            }
            Err(ObjectError::Invalid { reason, .. })
                if reason == NOT_IMPLEMENTED && condition != PutCondition::Always =>
            {
                if !self.unconditional.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        bucket = self.bucket,
                        "the store knows no conditional writes; a look before each write has to do"
                    );
                }
                self.check(key, &condition).await?;
                self.retry(|| self.put_once(key, &full, &bytes, meta, &PutCondition::Always)).await
            }
            other => other,
        }
    }

    async fn put_file(&self, key: &str, path: &Path, meta: ObjectMeta) -> Result<ETag, ObjectError> {
        let full = self.key(key)?;
        let invalid = |e: &dyn std::fmt::Display| ObjectError::Invalid {
            key: key.to_owned(),
            reason: format!("{}: {e}", path.display()),
        };
        let size = tokio::fs::metadata(path).await.map_err(|e| invalid(&e))?.len();
        if size < MULTIPART_FROM {
            let bytes = tokio::fs::read(path).await.map_err(|e| invalid(&e))?;
            return self.put(key, bytes.into(), meta, PutCondition::Always).await;
        }
        let upload = self
            .retry(|| async {
                let request = self
                    .client
                    .create_multipart_upload()
                    .bucket(&self.bucket)
                    .key(&full)
                    .content_type(meta.content_type)
                    .cache_control(meta.cache_control);
                let sent = request.send().await.map_err(|e| from_sdk(key, &e))?;
                sent.upload_id().map(str::to_owned).ok_or_else(|| unavailable(key, "no upload id"))
            })
            .await?;
        let outcome = self.upload_parts(key, &full, &upload, path, size).await;
        if outcome.is_err() {
            let abort =
                self.client.abort_multipart_upload().bucket(&self.bucket).key(&full).upload_id(&upload).send().await;
            if let Err(error) = abort {
                tracing::warn!(key, error = %from_sdk(key, &error), "the upload is left for the sweep");
            }
        }
        outcome
    }

    async fn get(&self, key: &str, limit: u64) -> Result<(Bytes, ETag), ObjectError> {
        let full = self.key(key)?;
        self.retry(|| async {
            let got = self.client.get_object().bucket(&self.bucket).key(&full).send().await;
            let got = got.map_err(|e| from_sdk(key, &e))?;
            let size = got.content_length().and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
            if size > limit {
                let reason = format!("{size} bytes, more than the allowed {limit}");
                return Err(ObjectError::Invalid { key: key.to_owned(), reason });
            }
            let etag = ETag(got.e_tag().unwrap_or_default().to_owned());
            let body = got.body.collect().await.map_err(|e| unavailable(key, &e.to_string()))?.into_bytes();
            if body.len() as u64 != size {
                return Err(unavailable(key, "the body ended early"));
            }
            Ok((body, etag))
        })
        .await
    }

    async fn get_range(&self, key: &str, offset: u64, len: u64) -> Result<Bytes, ObjectError> {
        let full = self.key(key)?;
        if len == 0 {
            return Ok(Bytes::new());
        }
        let range = format!("bytes={offset}-{}", offset.saturating_add(len - 1));
        self.retry(|| async {
            let got = self.client.get_object().bucket(&self.bucket).key(&full).range(&range).send().await;
            let got = match got {
                // Past the end there is nothing.
                Err(e) if e.raw_response().is_some_and(|r| r.status().as_u16() == 416) => return Ok(Bytes::new()),
                other => other.map_err(|e| from_sdk(key, &e))?,
            };
            let size = got.content_length().and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
            let body = got.body.collect().await.map_err(|e| unavailable(key, &e.to_string()))?.into_bytes();
            if body.len() as u64 != size {
                return Err(unavailable(key, "the body ended early"));
            }
            Ok(body)
        })
        .await
    }

    async fn head(&self, key: &str) -> Result<Option<ObjectFacts>, ObjectError> {
        let full = self.key(key)?;
        self.retry(|| async {
            match self.client.head_object().bucket(&self.bucket).key(&full).send().await {
                Ok(head) => Ok(Some(ObjectFacts {
                    key: key.to_owned(),
                    size: head.content_length().and_then(|n| u64::try_from(n).ok()).unwrap_or(0),
                    etag: ETag(head.e_tag().unwrap_or_default().to_owned()),
                    modified: when(head.last_modified()),
                })),
                Err(error) => match from_sdk(key, &error) {
                    ObjectError::NotFound { .. } => Ok(None),
                    other => Err(other),
                },
            }
        })
        .await
    }

    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Vec<ObjectFacts>, ObjectError> {
        let full = format!("{}{prefix}", self.prefix);
        let after = after.map(|a| format!("{}{a}", self.prefix));
        self.retry(|| async {
            let request =
                self.client.list_objects_v2().bucket(&self.bucket).prefix(&full).set_start_after(after.clone());
            let page = request.send().await.map_err(|e| from_sdk(prefix, &e))?;
            Ok(page
                .contents()
                .iter()
                .filter_map(|o| {
                    Some(ObjectFacts {
                        key: o.key()?.strip_prefix(&self.prefix)?.to_owned(),
                        size: o.size().and_then(|n| u64::try_from(n).ok()).unwrap_or(0),
                        etag: ETag(o.e_tag().unwrap_or_default().to_owned()),
                        modified: when(o.last_modified()),
                    })
                })
                .collect())
        })
        .await
    }

    async fn delete(&self, keys: &[String]) -> Result<(), ObjectError> {
        for batch in keys.chunks(1000) {
            let mut objects = Vec::with_capacity(batch.len());
            for key in batch {
                let built = ObjectIdentifier::builder().key(self.key(key)?).build();
                objects.push(built.map_err(|e| unavailable(key, &e.to_string()))?);
            }
            let first = batch.first().map(String::as_str).unwrap_or_default();
            let delete = Delete::builder().set_objects(Some(objects)).quiet(true).build();
            let delete = delete.map_err(|e| unavailable(first, &e.to_string()))?;
            self.retry(|| async {
                let sent = self.client.delete_objects().bucket(&self.bucket).delete(delete.clone()).send().await;
                let sent = sent.map_err(|e| from_sdk(first, &e))?;
                match sent.errors().first() {
                    None => Ok(()),
                    Some(e) if e.code() == Some("AccessDenied") => {
                        Err(ObjectError::Forbidden { key: e.key().unwrap_or_default().to_owned() })
                    }
                    Some(e) => Err(unavailable(e.key().unwrap_or_default(), e.code().unwrap_or("unknown error"))),
                }
            })
            .await?;
        }
        Ok(())
    }

    async fn abort_stale_uploads(&self, older_than: Duration) -> Result<u64, ObjectError> {
        let limit = time::OffsetDateTime::now_utc() - older_than;
        let page = self
            .retry(|| async {
                let request = self.client.list_multipart_uploads().bucket(&self.bucket).prefix(&self.prefix);
                request.send().await.map_err(|e| from_sdk("", &e))
            })
            .await?;
        let mut aborted = 0;
        for upload in page.uploads() {
            let (Some(key), Some(id)) = (upload.key(), upload.upload_id()) else { continue };
            if when(upload.initiated()) > limit {
                continue;
            }
            let sent = self.client.abort_multipart_upload().bucket(&self.bucket).key(key).upload_id(id).send().await;
            match sent.map_err(|e| from_sdk(key, &e)) {
                Ok(_) => aborted += 1,
                Err(ObjectError::NotFound { .. }) => {}
                Err(other) => return Err(other),
            }
        }
        Ok(aborted)
    }
}

impl S3Store {
    async fn upload_parts(
        &self,
        key: &str,
        full: &str,
        upload: &str,
        path: &Path,
        size: u64,
    ) -> Result<ETag, ObjectError> {
        let part = PART.max(size.div_ceil(10_000));
        let parts = (0..size.div_ceil(part)).map(|i| async move {
            let (offset, length) = (i * part, part.min(size - i * part));
            let number = i32::try_from(i + 1).map_err(|e| unavailable(key, &e.to_string()))?;
            self.retry(|| async {
                let body = ByteStream::read_from()
                    .path(path)
                    .offset(offset)
                    .length(aws_sdk_s3::primitives::Length::Exact(length))
                    .build()
                    .await
                    .map_err(|e| ObjectError::Invalid { key: key.to_owned(), reason: e.to_string() })?;
                let request = self.client.upload_part().bucket(&self.bucket).key(full).upload_id(upload);
                let sent = request.part_number(number).body(body).send().await.map_err(|e| from_sdk(key, &e))?;
                Ok(CompletedPart::builder().part_number(number).set_e_tag(sent.e_tag().map(str::to_owned)).build())
            })
            .await
        });
        let parts: Vec<CompletedPart> = stream::iter(parts).buffered(PARTS_AT_ONCE).try_collect().await?;
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        self.retry(|| async {
            let request = self.client.complete_multipart_upload().bucket(&self.bucket).key(full).upload_id(upload);
            match request.multipart_upload(parts.clone()).send().await.map_err(|e| from_sdk(key, &e)) {
                Ok(done) => Ok(ETag(done.e_tag().unwrap_or_default().to_owned())),
                // The answer to an earlier try was lost.
                Err(ObjectError::NotFound { .. }) => match self.head(key).await? {
                    Some(there) if there.size == size => Ok(there.etag),
                    _ => Err(ObjectError::NotFound { key: key.to_owned() }),
                },
                Err(other) => Err(other),
            }
        })
        .await
    }
}

/// Reason of errors that say that the store lacks a feature.
const NOT_IMPLEMENTED: &str = "the store does not implement this";

fn unavailable(key: &str, reason: &str) -> ObjectError {
    ObjectError::Unavailable { key: key.to_owned(), reason: reason.to_owned() }
}

fn when(at: Option<&DateTime>) -> time::OffsetDateTime {
    at.and_then(|t| time::OffsetDateTime::from_unix_timestamp(t.secs()).ok())
        .unwrap_or(time::OffsetDateTime::UNIX_EPOCH)
}

fn from_sdk<E>(key: &str, error: &SdkError<E, aws_sdk_s3::config::http::HttpResponse>) -> ObjectError
where
    E: ProvideErrorMetadata + std::fmt::Debug,
    SdkError<E, aws_sdk_s3::config::http::HttpResponse>: RequestId,
{
    let status = error.raw_response().map(|r| r.status().as_u16());
    let code = error.code().unwrap_or_default();
    let key = key.to_owned();
    match (status, code) {
        (_, "NoSuchKey" | "NoSuchBucket" | "NotFound" | "NoSuchUpload") | (Some(404), _) => {
            ObjectError::NotFound { key }
        }
        (_, "PreconditionFailed" | "ConditionalRequestConflict") | (Some(412), _) => {
            ObjectError::PreconditionFailed { key }
        }
        (_, "NotImplemented") | (Some(501), _) => ObjectError::Invalid { key, reason: NOT_IMPLEMENTED.to_owned() },
        // Clocks that differ and expired tokens pass; they are not the key's fault.
        (_, "RequestTimeTooSkewed" | "ExpiredToken" | "RequestTimeout" | "SlowDown") => {
            ObjectError::Unavailable { key, reason: code.to_owned() }
        }
        (Some(401 | 403), _) => ObjectError::Forbidden { key },
        (Some(400), _) => ObjectError::Invalid { key, reason: format!("the store refuses: {code}") },
        (Some(status), _) => ObjectError::Unavailable { key, reason: format!("HTTP {status} {code}") },
        (None, _) => {
            let reason = match error {
                SdkError::TimeoutError(_) => "no answer in time".to_owned(),
                SdkError::DispatchFailure(f) => f
                    .as_connector_error()
                    .map_or_else(|| "no connection".to_owned(), |e| format!("no connection: {e:?}")),
                other => format!("{other:?}"),
            };
            ObjectError::Unavailable { key, reason }
        }
    }
}
