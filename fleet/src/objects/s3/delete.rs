//! Deletions: a thousand keys in a request, or one by one where a store cannot.

use std::sync::atomic::Ordering;

use aws_sdk_s3::types::{Delete, Error, ObjectIdentifier};
use futures_util::{StreamExt, TryStreamExt, stream};

use super::super::ObjectError;
use super::super::key::{invalid, unavailable};
use super::{Fault, S3Store};

/// Keys in one request: the limit of S3.
const BATCH: usize = 1000;
/// Single deletions on their way at once.
const AT_ONCE: usize = 8;
/// Keys that an error names.
const NAMED: usize = 3;

impl S3Store {
    pub(super) async fn delete_all(&self, keys: &[String]) -> Result<(), ObjectError> {
        let full = keys.iter().map(|key| self.full(key)).collect::<Result<Vec<_>, _>>()?;
        for batch in full.chunks(BATCH) {
            self.delete_batch(batch).await?;
        }
        Ok(())
    }

    async fn delete_batch(&self, batch: &[String]) -> Result<(), ObjectError> {
        if !self.single_deletions.load(Ordering::Relaxed) {
            match self.retry(self.relative(&batch[0]), 0, || self.delete_batch_once(batch)).await {
                // The SDK sends a CRC32 with the batch, and no setting changes that. Some stores want an MD5 instead
                // (older MinIO: MissingContentMD5, others InvalidRequest), or know no batches at all.
                Err(Fault::Unsupported(_)) => {
                    if !self.single_deletions.swap(true, Ordering::Relaxed) {
                        tracing::warn!(bucket = self.bucket, "The store takes no batches: objects are deleted singly");
                    }
                }
                Err(Fault::Final(ObjectError::Invalid { reason, .. })) => {
                    tracing::debug!(
                        bucket = self.bucket,
                        reason,
                        "a batch was refused: its objects are deleted singly"
                    );
                }
                other => return Ok(other?),
            }
        }
        // Made beforehand: the compiler cannot tell that a closure in the stream serves all lifetimes.
        let deletions: Vec<_> = batch.iter().map(|full| self.delete_one(full)).collect();
        stream::iter(deletions).buffer_unordered(AT_ONCE).try_collect().await
    }

    async fn delete_batch_once(&self, batch: &[String]) -> Result<(), Fault> {
        let first = self.relative(&batch[0]);
        let built = |e: aws_sdk_s3::error::BuildError| Fault::invalid(first, e.to_string());
        let objects = batch.iter().map(|full| ObjectIdentifier::builder().key(full).build());
        let objects = objects.collect::<Result<Vec<_>, _>>().map_err(built)?;
        let delete = Delete::builder().set_objects(Some(objects)).quiet(true).build().map_err(built)?;
        let sent = self.client.delete_objects().bucket(&self.bucket).delete(delete).send().await;
        let sent = sent.map_err(|e| Fault::from_sdk(first, &e))?;
        self.failed_keys(sent.errors())
    }

    /// The error for all keys that a store names as not deleted. One that refuses counts before one that is busy.
    fn failed_keys(&self, errors: &[Error]) -> Result<(), Fault> {
        let code = |e: &Error| e.code().unwrap_or_default().to_owned();
        let gone = |e: &Error| matches!(e.code(), Some("NoSuchKey" | "NoSuchVersion"));
        let busy = |e: &Error| {
            matches!(e.code(), Some("InternalError" | "SlowDown" | "ServiceUnavailable" | "RequestTimeout"))
        };
        let mut left: Vec<&Error> = errors.iter().filter(|e| !gone(e)).collect();
        left.sort_by_key(|e| busy(e));
        let Some(first) = left.first() else { return Ok(()) };
        let key = self.relative(first.key().unwrap_or_default());
        let named = left.iter().take(NAMED).map(|e| format!("{:?}: {}", e.key().unwrap_or_default(), code(e)));
        let reason = format!("{} not deleted: {}", left.len(), named.collect::<Vec<_>>().join(", "));
        if first.code() == Some("AccessDenied") {
            tracing::warn!(bucket = self.bucket, "The store refuses deletions: {reason}");
            return Err(Fault::Final(ObjectError::Forbidden { key: key.to_owned() }));
        }
        // Not `Invalid`, which would mean that the request was.
        Err(if busy(first) { Fault::Passing(unavailable(key, reason)) } else { Fault::Final(unavailable(key, reason)) })
    }

    async fn delete_one(&self, full: &str) -> Result<(), ObjectError> {
        let key = self.relative(full);
        let deleted = self.retry(key, 0, || async {
            let sent = self.client.delete_object().bucket(&self.bucket).key(full).send().await;
            sent.map(drop).map_err(|e| Fault::from_sdk(key, &e))
        });
        match deleted.await {
            Err(Fault::Final(ObjectError::NotFound { .. })) => Ok(()),
            Err(Fault::Unsupported(_)) => Err(invalid(key, "the store does not delete")),
            other => Ok(other?),
        }
    }
}
