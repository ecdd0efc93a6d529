//! Uploads of files: streamed from the disk, large ones in parts.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aws_sdk_s3::primitives::{ByteStream, Length};
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use futures_util::{StreamExt, TryStreamExt, stream};

use super::super::key::invalid;
use super::super::{ETag, ObjectError, ObjectMeta, PutCondition};
use super::{Body, Fault, S3Store, etag_of, when};

/// Files from this size on go up in parts, in bytes: below it, a new try of the whole is cheap enough.
const MULTIPART_FROM: u64 = 64 << 20;
/// Smallest part in bytes, and what S3 takes of them: the part grows so that they suffice. All but the last have the
/// same size, as R2 demands.
const PART: u64 = 16 << 20;
const MOST_PARTS: u64 = 10_000;
/// Parts on their way at once.
const PARTS_AT_ONCE: usize = 4;

/// A file that goes to a key.
struct Upload<'a> {
    key: &'a str,
    full: &'a str,
    path: &'a Path,
    size: u64,
    id: &'a str,
}

/// `length` bytes of a file from `offset` on, read while they are sent.
pub(super) async fn stream_file(key: &str, path: &Path, offset: u64, length: u64) -> Result<ByteStream, Fault> {
    let stream = ByteStream::read_from().path(path).offset(offset).length(Length::Exact(length)).build().await;
    stream.map_err(|e| Fault::invalid(key, format!("{}: {e}", path.display())))
}

/// Bytes in each part but the last.
fn part_size(size: u64) -> u64 {
    PART.max(size.div_ceil(MOST_PARTS))
}

impl S3Store {
    pub(super) async fn upload(&self, key: &str, path: &Path, meta: ObjectMeta) -> Result<ETag, ObjectError> {
        let full = self.full(key)?;
        let metadata = tokio::fs::metadata(path).await.map_err(|e| invalid(key, format!("{}: {e}", path.display())))?;
        if !metadata.is_file() {
            return Err(invalid(key, format!("{} is no file", path.display())));
        }
        let size = metadata.len();
        if size < MULTIPART_FROM {
            let body = Body::File { path, size };
            let put = || self.put_once(key, &full, &body, meta, &PutCondition::Always);
            return Ok(self.retry(key, size, put).await?);
        }
        let id = self
            .retry(key, 0, || async {
                let request = self.client.create_multipart_upload().bucket(&self.bucket).key(&full);
                let request = request.content_type(meta.content_type).cache_control(meta.cache_control);
                let sent = request.send().await.map_err(|e| Fault::from_sdk(key, &e))?;
                sent.upload_id().map(str::to_owned).ok_or_else(|| Fault::passing(key, "no upload id in the answer"))
            })
            .await?;
        let outcome = self.upload_parts(&Upload { key, full: &full, path, size, id: &id }).await;
        if outcome.is_err()
            && let Err(error) = self.abort_upload(key, &full, &id).await
        {
            tracing::warn!(key, "An upload in parts was not aborted and is left for the sweep: {error}");
        }
        outcome
    }

    async fn upload_parts(&self, upload: &Upload<'_>) -> Result<ETag, ObjectError> {
        let part = part_size(upload.size);
        let parts = (0..upload.size.div_ceil(part)).map(|i| {
            let offset = i * part;
            self.upload_part(upload, i + 1, offset, part.min(upload.size - offset))
        });
        let parts: Vec<CompletedPart> = stream::iter(parts).buffered(PARTS_AT_ONCE).try_collect().await?;
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let Upload { key, full, size, id, .. } = *upload;
        let tries = AtomicUsize::new(0);
        let complete = || async {
            let request = self.client.complete_multipart_upload().bucket(&self.bucket).key(full).upload_id(id);
            let sent = request.multipart_upload(parts.clone()).send().await;
            let try_before = tries.fetch_add(1, Ordering::Relaxed) > 0;
            match sent.map_err(|e| Fault::from_sdk(key, &e)) {
                Ok(done) => etag_of(key, done.e_tag()),
                // The answer to the try before was lost: the upload has become the object.
                Err(Fault::Final(ObjectError::NotFound { .. })) if try_before => match self.head_once(key, full).await?
                {
                    Some(there) if there.size == size => Ok(there.etag),
                    _ => Err(Fault::invalid(key, "the upload in parts was aborted by somebody else")),
                },
                Err(other) => Err(other),
            }
        };
        // The store puts the parts together before it answers.
        Ok(self.retry(key, size, complete).await?)
    }

    async fn upload_part(
        &self,
        upload: &Upload<'_>,
        number: u64,
        offset: u64,
        length: u64,
    ) -> Result<CompletedPart, ObjectError> {
        let Upload { key, full, path, id, .. } = *upload;
        let number = i32::try_from(number).map_err(|e| invalid(key, e.to_string()))?;
        let part = self
            .retry(key, length, || async {
                let body = stream_file(key, path, offset, length).await?;
                let request = self.client.upload_part().bucket(&self.bucket).key(full).upload_id(id);
                let sent = request.part_number(number).body(body).send().await.map_err(|e| Fault::from_sdk(key, &e))?;
                // Without a checksum of the part, which the upload would have to announce.
                Ok(CompletedPart::builder().part_number(number).set_e_tag(sent.e_tag().map(str::to_owned)).build())
            })
            .await?;
        Ok(part)
    }

    /// Gives up an upload in parts; whether there was one.
    pub(super) async fn abort_upload(&self, key: &str, full: &str, id: &str) -> Result<bool, ObjectError> {
        let aborted = self
            .retry(key, 0, || async {
                let request = self.client.abort_multipart_upload().bucket(&self.bucket).key(full).upload_id(id);
                request.send().await.map(drop).map_err(|e| Fault::from_sdk(key, &e))
            })
            .await;
        match aborted {
            Ok(()) => Ok(true),
            Err(Fault::Final(ObjectError::NotFound { .. })) => Ok(false),
            Err(other) => Err(other.into()),
        }
    }

    pub(super) async fn abort_stale(&self, older_than: Duration) -> Result<u64, ObjectError> {
        let limit = time::OffsetDateTime::now_utc() - older_than;
        let mut aborted = 0;
        let mut marker: (Option<String>, Option<String>) = (None, None);
        loop {
            let page = self
                .retry(&self.prefix, 0, || async {
                    let request = self.client.list_multipart_uploads().bucket(&self.bucket).prefix(&self.prefix);
                    let request = request.set_key_marker(marker.0.clone()).set_upload_id_marker(marker.1.clone());
                    request.send().await.map_err(|e| Fault::from_sdk(&self.prefix, &e))
                })
                .await?;
            for upload in page.uploads() {
                let (Some(full), Some(id)) = (upload.key(), upload.upload_id()) else { continue };
                // A store that does not keep to the prefix must not cost others their uploads.
                let Some(key) = full.strip_prefix(&self.prefix) else { continue };
                if when(upload.initiated()) <= limit && self.abort_upload(key, full, id).await? {
                    aborted += 1;
                }
            }
            let next = (page.next_key_marker().map(str::to_owned), page.next_upload_id_marker().map(str::to_owned));
            if page.is_truncated() != Some(true) || next.0.is_none() || next == marker {
                return Ok(aborted);
            }
            marker = next;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_grow_so_that_ten_thousand_suffice() {
        assert_eq!(part_size(MULTIPART_FROM), PART);
        assert_eq!(part_size(PART * MOST_PARTS), PART);
        let largest = 5_u64 << 40;
        assert!(part_size(largest) < 5 << 30 && largest.div_ceil(part_size(largest)) <= MOST_PARTS);
    }
}
