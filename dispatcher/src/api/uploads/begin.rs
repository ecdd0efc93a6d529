//! Beginning an upload: one at a time for each file, within the organisation's limits.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use fleet::keys;
use fleet::objects::LARGEST_UPLOAD;
use fleet::store::Tenant;
use fleet::store::uploads::{NewUpload, UploadRow, UploadState};
use serde::Deserialize;
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

use super::super::caller::Caller;
use super::super::input::{Input, text};
use super::super::jobs::{JobSettings, check_settings};
use super::super::problem::Problem;
use super::super::scope::Scope;
use super::super::{Api, Shared, change};
use super::view::{ChecksumName, Upload};
use super::{EXPIRES_AFTER, looked_at, not_open};

/// An upload to be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct UploadRequest {
    /// The file's name, at most 500 characters.
    #[schema(min_length = 1, max_length = 500, example = "final.mp4")]
    filename: String,
    /// Bytes.
    #[schema(minimum = 1)]
    size_bytes: u64,
    /// MIME type.
    #[serde(default)]
    #[schema(max_length = 100, example = "video/mp4")]
    content_type: Option<String>,
    /// Whatever names the file on the client's side. Asked again with the same one and the same size, the upload under way
    /// is given back instead of a new one.
    #[serde(default)]
    #[schema(max_length = 200)]
    fingerprint: Option<String>,
    /// Every part comes with a checksum, where the store can check it: see the answer.
    #[serde(default)]
    checksum: Option<ChecksumName>,
    /// The job to start when the upload is complete.
    #[serde(default)]
    job: Option<JobSettings>,
}

/// Begins an upload, or gives the one of this file that is under way (200).
#[utoipa::path(post, path = "/uploads", tag = "uploads", request_body = UploadRequest, responses(
    (status = 201, body = Upload), (status = 200, body = Upload),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn create(
    State(api): State<Shared>,
    caller: Caller,
    Input(asked): Input<UploadRequest>,
) -> Result<(StatusCode, Json<Upload>), Problem> {
    caller.may(Scope::UploadsWrite)?;
    let wanted = Wanted::of(&api, &caller, &asked)?;
    let tenant = api.tenant(&caller);
    let uploads = api.uploads().await?;
    if let Some(row) = under_way(&tenant, &wanted).await? {
        let (row, received) = looked_at(&tenant, uploads, row).await?;
        // Lost by the store a moment ago: begin another.
        if row.state != UploadState::Expired {
            return Ok((StatusCode::OK, Json(Upload::of(&row, &received))));
        }
    }
    within_limits(&tenant, &mut *tenant.begin().await?, wanted.size).await?;
    let id = Uuid::now_v7();
    let key = keys::upload(tenant.organisation(), id, &wanted.filename);
    let multipart = uploads.begin(&key, wanted.size, &wanted.content_type, wanted.checksums).await?;

    let mut tx = tenant.begin().await?;
    tenant.lock_uploads(&mut tx).await?;
    let new = NewUpload {
        id,
        filename: &wanted.filename,
        content_type: &wanted.content_type,
        fingerprint: wanted.fingerprint.as_deref(),
        multipart: &multipart,
        source: &uploads.address(&key),
        job_request: wanted.job.clone(),
        expires_after: EXPIRES_AFTER,
    };
    // Once more, now that nobody else of the organisation can enter one.
    let entered = match within_limits(&tenant, &mut tx, wanted.size).await {
        Ok(()) => tenant.create_upload(&mut tx, &new).await.map_err(Problem::from),
        Err(problem) => Err(problem),
    };
    match entered {
        Ok(Some(row)) => {
            let detail = serde_json::json!({ "filename": row.filename, "size_bytes": row.multipart.size });
            tenant.audit(&mut tx, &change(&caller, "upload.created", id, detail)).await?;
            tx.commit().await?;
            Ok((StatusCode::CREATED, Json(Upload::of(&row, &[]))))
        }
        other => {
            drop(tx);
            uploads.abort(&multipart).await?;
            other?;
            // Somebody else was first with the same file.
            let row = under_way(&tenant, &wanted).await?.ok_or_else(|| not_open(UploadState::Completing))?;
            let (row, received) = looked_at(&tenant, uploads, row).await?;
            Ok((StatusCode::OK, Json(Upload::of(&row, &received))))
        }
    }
}

/// A request for an upload, checked.
struct Wanted {
    filename: String,
    size: u64,
    content_type: String,
    fingerprint: Option<String>,
    checksums: bool,
    job: Option<serde_json::Value>,
}

impl Wanted {
    fn of(api: &Api, caller: &Caller, asked: &UploadRequest) -> Result<Self, Problem> {
        // Some browsers send paths.
        let name = asked.filename.rsplit(['/', '\\']).next().unwrap_or_default();
        let filename = text("filename", name, 500)?;
        if filename.is_empty() {
            return Err(Problem::invalid("filename", "give the name of a file"));
        }
        if asked.size_bytes == 0 {
            return Err(Problem::invalid("size_bytes", "the file is empty"));
        }
        if asked.size_bytes > LARGEST_UPLOAD {
            return Err(Problem::too_large(format!("A file may have {LARGEST_UPLOAD} bytes at most.")));
        }
        let fingerprint = asked.fingerprint.as_deref().map(|f| text("fingerprint", f, 200)).transpose()?;
        let job = match &asked.job {
            None => None,
            Some(settings) => {
                caller.may(Scope::JobsWrite)?;
                check_settings(api, settings)?;
                Some(serde_json::to_value(settings).map_err(|_| Problem::internal())?)
            }
        };
        Ok(Self {
            filename,
            size: asked.size_bytes,
            content_type: content_type(asked.content_type.as_deref().unwrap_or_default()),
            fingerprint: fingerprint.filter(|f| !f.is_empty()),
            checksums: asked.checksum.is_some(),
            job,
        })
    }
}

/// A type that may stand at an object of ours: nothing that a browser would run.
fn content_type(asked: &str) -> String {
    let essence = asked.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let is_media = ["video/", "audio/"].iter().any(|kind| essence.strip_prefix(kind).is_some_and(|s| !s.is_empty()));
    let is_plain = essence.len() <= 100 && essence.bytes().all(|b| b.is_ascii_alphanumeric() || b"/-+.".contains(&b));
    if is_media && is_plain { essence } else { "application/octet-stream".to_owned() }
}

/// The upload of the same file that is under way, with the job that is wanted now.
async fn under_way(tenant: &Tenant, wanted: &Wanted) -> Result<Option<UploadRow>, Problem> {
    let Some(fingerprint) = &wanted.fingerprint else { return Ok(None) };
    let mut tx = tenant.begin().await?;
    let row = tenant.upload_under_way(&mut tx, fingerprint, wanted.size, wanted.job.as_ref()).await?;
    tx.commit().await?;
    Ok(row)
}

/// Refuses a file that is too large, or for which no storage is left.
async fn within_limits(tenant: &Tenant, tx: &mut sqlx::PgConnection, size: u64) -> Result<(), Problem> {
    let limits = tenant.limits_in(tx).await?;
    let size = i64::try_from(size).unwrap_or(i64::MAX);
    if let Some(most) = limits.largest_file_bytes
        && size > most
    {
        return Err(Problem::too_large(format!("A file may have {most} bytes at most.")));
    }
    if let Some(most) = limits.storage_bytes {
        let month = OffsetDateTime::now_utc().date().replace_day(1).map_err(|_| Problem::internal())?;
        let left = most - tenant.usage_in(tx, month).await?.storage_bytes;
        if size > left {
            let left = left.max(0);
            return Err(Problem::quota(format!(
                "Only {left} bytes of storage are left; delete matches that nobody needs."
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_types_of_media_are_kept() {
        for (asked, kept) in [
            ("video/mp4", "video/mp4"),
            ("Video/MP4; codecs=avc1", "video/mp4"),
            ("audio/x-m4a", "audio/x-m4a"),
            ("text/html", "application/octet-stream"),
            ("video/", "application/octet-stream"),
            ("video/mp4\r\nx: y", "application/octet-stream"),
            ("", "application/octet-stream"),
        ] {
            assert_eq!(content_type(asked), kept, "{asked}");
        }
    }
}
