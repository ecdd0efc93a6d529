//! Rows of uploads.

use sqlx::Row;
use time::OffsetDateTime;
use uuid::Uuid;

use super::super::unsigned;
use crate::objects::Multipart;

/// State of an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UploadState {
    /// Parts are being sent.
    Open,
    /// Somebody makes the object of the parts.
    Completing,
    /// The object is there.
    Completed,
    /// Given up by its owner.
    Aborted,
    /// Given up because nothing came for too long.
    Expired,
}

impl UploadState {
    /// The word in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Completing => "completing",
            Self::Completed => "completed",
            Self::Aborted => "aborted",
            Self::Expired => "expired",
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        let all = [Self::Open, Self::Completing, Self::Completed, Self::Aborted, Self::Expired];
        all.into_iter().find(|state| state.as_str() == word)
    }
}

/// An upload to be.
#[derive(Clone, Debug)]
pub struct NewUpload<'a> {
    /// Id.
    pub id: Uuid,
    /// The file's name.
    pub filename: &'a str,
    /// MIME type.
    pub content_type: &'a str,
    /// Names the file on the client's side.
    pub fingerprint: Option<&'a str>,
    /// As the object store began it.
    pub multipart: &'a Multipart,
    /// The object's address, as a job names its source.
    pub source: &'a str,
    /// The job that completion starts.
    pub job_request: Option<serde_json::Value>,
    /// How long until it expires, unless it goes on.
    pub expires_after: std::time::Duration,
}

/// An upload.
#[derive(Clone, Debug)]
pub struct UploadRow {
    /// Id.
    pub id: Uuid,
    /// Owner.
    pub organisation: Uuid,
    /// State.
    pub state: UploadState,
    /// The file's name.
    pub filename: String,
    /// MIME type.
    pub content_type: String,
    /// Names the file on the client's side.
    pub fingerprint: Option<String>,
    /// As the object store began it; holds the size.
    pub multipart: Multipart,
    /// The object's address, as a job names its source.
    pub source: String,
    /// Bytes that had arrived when somebody last asked.
    pub received_bytes: u64,
    /// The job that completion starts.
    pub job_request: Option<serde_json::Value>,
    /// The job that it started.
    pub job: Option<Uuid>,
    /// Why it started none.
    pub job_problem: Option<serde_json::Value>,
    /// When it was begun.
    pub created_at: OffsetDateTime,
    /// When it expires, unless it goes on.
    pub expires_at: OffsetDateTime,
}

impl sqlx::FromRow<'_, sqlx::postgres::PgRow> for UploadRow {
    fn from_row(row: &sqlx::postgres::PgRow) -> Result<Self, sqlx::Error> {
        let word: String = row.try_get("state")?;
        let state = UploadState::from_word(&word)
            .ok_or_else(|| sqlx::Error::ColumnDecode { index: "state".to_owned(), source: word.into() })?;
        Ok(Self {
            id: row.try_get("id")?,
            organisation: row.try_get("organisation_id")?,
            state,
            filename: row.try_get("filename")?,
            content_type: row.try_get("content_type")?,
            fingerprint: row.try_get("fingerprint")?,
            multipart: Multipart {
                key: row.try_get("object_key")?,
                id: row.try_get("multipart_id")?,
                size: unsigned(row.try_get("size_bytes")?),
                part_size: unsigned(row.try_get("part_size_bytes")?).max(1),
                checksums: row.try_get("checksums")?,
            },
            source: row.try_get("source")?,
            received_bytes: unsigned(row.try_get("received_bytes")?),
            job_request: row.try_get("job_request")?,
            job: row.try_get("job_id")?,
            job_problem: row.try_get("job_problem")?,
            created_at: row.try_get("created_at")?,
            expires_at: row.try_get("expires_at")?,
        })
    }
}

/// Which uploads a list shows, the newest first.
#[derive(Clone, Debug, Default)]
pub struct UploadFilter {
    /// Only those in one of these states; all when empty.
    pub states: Vec<UploadState>,
    /// Only those after this one in the list: when it was begun, and its id.
    pub after: Option<(OffsetDateTime, Uuid)>,
    /// At most this many.
    pub limit: u32,
}

/// Columns of [`UploadRow`].
macro_rules! upload_columns {
    () => {
        "id, organisation_id, state, filename, content_type, fingerprint, size_bytes, part_size_bytes, checksums, source, \
         object_key, multipart_id, received_bytes, job_request, job_id, job_problem, created_at, expires_at"
    };
}
pub(super) use upload_columns;
