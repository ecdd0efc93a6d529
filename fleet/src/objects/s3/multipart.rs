//! Uploads in parts whose parts others send, under signed addresses.

use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart, Part as StoredPart};

use super::super::key::invalid;
use super::super::uploads::{Completion, Multipart, Part, PartTarget, Received, Uploads, check_size};
use super::super::{ObjectError, ObjectStore};
use super::{Fault, S3Store};

/// What an uploaded source tells caches, should it ever be served.
const CACHE_CONTROL: &str = "private, no-store";

#[async_trait]
impl Uploads for S3Store {
    async fn begin(&self, key: &str, size: u64, content_type: &str, checksums: bool) -> Result<Multipart, ObjectError> {
        let full = self.full(key)?;
        check_size(key, size)?;
        // Parts may only carry checksums of the algorithm that was announced here.
        let announced = checksums.then_some(ChecksumAlgorithm::Sha256);
        let id = match self.begin_with(key, &full, content_type, announced).await {
            Err(Fault::Unsupported(_) | Fault::Final(ObjectError::Invalid { .. })) if checksums => {
                tracing::debug!(bucket = self.bucket, "the store takes no uploads with checksums");
                let id = self.begin_with(key, &full, content_type, None).await?;
                return Ok(Multipart::new(key, id, size, false));
            }
            other => other?,
        };
        Ok(Multipart::new(key, id, size, checksums))
    }

    async fn target(&self, upload: &Multipart, part: &Part, valid: Duration) -> Result<PartTarget, ObjectError> {
        let (_, length) = upload.expect(part)?;
        let full = self.full(&upload.key)?;
        let unfit = |reason: String| invalid(&upload.key, reason);
        let number = i32::try_from(part.number).map_err(|e| unfit(e.to_string()))?;
        let length = i64::try_from(length).map_err(|e| unfit(e.to_string()))?;
        let valid = PresigningConfig::expires_in(valid).map_err(|e| unfit(e.to_string()))?;
        let request = self.client.upload_part().bucket(&self.bucket).key(full).upload_id(&upload.id);
        let request = request.part_number(number).content_length(length).set_checksum_sha256(part.sha256.clone());
        let signed = request.presigned(valid).await.map_err(|e| ObjectError::from(Fault::from_sdk(&upload.key, &e)))?;
        let headers = signed.headers().filter(|(name, _)| !name.eq_ignore_ascii_case("content-length"));
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Ok(PartTarget::Address { url: signed.uri().to_owned(), headers })
    }

    async fn received(&self, upload: &Multipart) -> Result<Vec<Received>, ObjectError> {
        let full = self.full(&upload.key)?;
        Ok(whole(upload, &self.stored_parts(upload, &full).await?).map(|(received, _)| received).collect())
    }

    async fn complete(&self, upload: &Multipart) -> Result<Completion, ObjectError> {
        let full = self.full(&upload.key)?;
        let stored = match self.stored_parts(upload, &full).await {
            Err(Fault::Final(ObjectError::NotFound { .. })) => return self.completed_before(upload).await,
            other => other?,
        };
        let (received, parts): (Vec<_>, Vec<_>) = whole(upload, &stored).unzip();
        let missing = upload.missing(&received);
        if !missing.is_empty() {
            return Ok(Completion::Missing(missing));
        }
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let complete = || async {
            let request = self.client.complete_multipart_upload().bucket(&self.bucket).key(&full);
            let request = request.upload_id(&upload.id).multipart_upload(parts.clone());
            request.send().await.map(drop).map_err(|e| Fault::from_sdk(&upload.key, &e))
        };
        // The store puts the parts together before it answers: a second more for each 256 MiB.
        match self.retry(&upload.key, upload.size >> 8, complete).await {
            // Somebody else was first, or the answer to an earlier try was lost.
            Ok(()) | Err(Fault::Final(ObjectError::NotFound { .. })) => self.completed_before(upload).await,
            Err(other) => Err(other.into()),
        }
    }

    async fn abort(&self, upload: &Multipart) -> Result<bool, ObjectError> {
        let full = self.full(&upload.key)?;
        self.abort_upload(&upload.key, &full, &upload.id).await
    }

    fn address(&self, key: &str) -> String {
        format!("s3://{}/{}{key}", self.bucket, self.prefix)
    }
}

impl S3Store {
    async fn begin_with(
        &self,
        key: &str,
        full: &str,
        content_type: &str,
        checksums: Option<ChecksumAlgorithm>,
    ) -> Result<String, Fault> {
        let begin = || async {
            let request = self.client.create_multipart_upload().bucket(&self.bucket).key(full);
            let request = request.content_type(content_type).cache_control(CACHE_CONTROL);
            let sent = request.set_checksum_algorithm(checksums.clone()).send().await;
            let sent = sent.map_err(|e| Fault::from_sdk(key, &e))?;
            sent.upload_id().map(str::to_owned).ok_or_else(|| Fault::passing(key, "no upload id in the answer"))
        };
        self.retry(key, 0, begin).await
    }

    /// All parts as the store lists them.
    async fn stored_parts(&self, upload: &Multipart, full: &str) -> Result<Vec<StoredPart>, Fault> {
        let mut parts = Vec::new();
        let mut marker: Option<String> = None;
        loop {
            let list = || async {
                let request = self.client.list_parts().bucket(&self.bucket).key(full).upload_id(&upload.id);
                let request = request.set_part_number_marker(marker.clone());
                request.send().await.map_err(|e| Fault::from_sdk(&upload.key, &e))
            };
            let page = self.retry(&upload.key, 0, list).await?;
            parts.extend_from_slice(page.parts());
            let next = page.next_part_number_marker().map(str::to_owned);
            if page.is_truncated() != Some(true) || next.is_none() || next == marker {
                return Ok(parts);
            }
            marker = next;
        }
    }

    /// What it means that there is no upload, or none any more: it has become the object, or was aborted.
    async fn completed_before(&self, upload: &Multipart) -> Result<Completion, ObjectError> {
        match self.head(&upload.key).await? {
            Some(facts) if facts.size == upload.size => Ok(Completion::Done(facts)),
            Some(facts) => {
                let (got, expected) = (facts.size, upload.size);
                Err(invalid(&upload.key, format!("the object has {got} bytes instead of {expected}")))
            }
            None => Err(ObjectError::NotFound { key: upload.key.clone() }),
        }
    }
}

/// The parts that are as long as they should be, each with what completing needs of it. Checksums are told again, where
/// the store keeps them.
fn whole<'a>(
    upload: &'a Multipart,
    stored: &'a [StoredPart],
) -> impl Iterator<Item = (Received, CompletedPart)> + use<'a> {
    stored.iter().filter_map(|part| {
        let number = u32::try_from(part.part_number()?).ok()?;
        let size = u64::try_from(part.size()?).ok()?;
        let completed = CompletedPart::builder().set_part_number(part.part_number());
        let completed = completed.set_e_tag(part.e_tag().map(str::to_owned));
        let completed = completed.set_checksum_sha256(part.checksum_sha256().map(str::to_owned));
        let is_whole = upload.range(number).is_some_and(|(_, length)| length == size);
        is_whole.then(|| (Received { number, size }, completed.build()))
    })
}
