//! Uploads as clients see them.

use std::collections::BTreeMap;

use fleet::objects::Received;
use fleet::store::uploads::{UploadRow, UploadState};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

/// State of an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum UploadStateName {
    /// Parts are being sent, or put together.
    Open,
    /// The file is there.
    Completed,
    /// Given up by its owner, also with the match that was made of it.
    Aborted,
    /// Nothing came for too long.
    Expired,
}

impl UploadStateName {
    /// What it is in the store.
    pub(super) fn states(self) -> &'static [UploadState] {
        match self {
            Self::Open => &[UploadState::Open, UploadState::Completing],
            Self::Completed => &[UploadState::Completed],
            Self::Aborted => &[UploadState::Aborted],
            Self::Expired => &[UploadState::Expired],
        }
    }
}

impl From<UploadState> for UploadStateName {
    fn from(state: UploadState) -> Self {
        match state {
            UploadState::Open | UploadState::Completing => Self::Open,
            UploadState::Completed => Self::Completed,
            UploadState::Aborted => Self::Aborted,
            UploadState::Expired => Self::Expired,
        }
    }
}

/// How parts are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ChecksumName {
    /// SHA-256.
    Sha256,
}

/// A part that has arrived whole.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub(super) struct ReceivedPart {
    /// Number, from 1.
    pub(super) number: u32,
    /// Bytes.
    pub(super) size_bytes: u64,
}

/// Why a completed upload started no job.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct JobProblem {
    /// Stable code.
    #[schema(example = "quota_exceeded")]
    pub(super) code: String,
    /// What happened and what to do.
    pub(super) title: String,
}

/// A file that comes, or came, in parts.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Upload {
    /// Id.
    pub(super) id: Uuid,
    /// How far it is.
    pub(super) state: UploadStateName,
    /// The file's name.
    pub(super) filename: String,
    /// MIME type.
    pub(super) content_type: String,
    /// Bytes.
    pub(super) size_bytes: u64,
    /// What names the file on the client's side.
    #[schema(required)]
    pub(super) fingerprint: Option<String>,
    /// What every part must come with; null: nothing.
    #[schema(required)]
    pub(super) checksum: Option<ChecksumName>,
    /// Bytes of each part but the last, which has the rest. Part 1 is the file's beginning.
    pub(super) part_size_bytes: u64,
    /// How many parts there are.
    pub(super) parts_total: u32,
    /// Those that have arrived; empty in lists, and once the upload has ended.
    pub(super) received: Vec<ReceivedPart>,
    /// Bytes that have arrived; in lists those of which somebody asked last.
    pub(super) received_bytes: u64,
    /// When it was begun.
    #[serde(with = "time::serde::rfc3339")]
    pub(super) created_at: OffsetDateTime,
    /// When it expires, unless it goes on.
    #[serde(with = "time::serde::rfc3339")]
    pub(super) expires_at: OffsetDateTime,
    /// Once complete: what a job names as its source.
    #[schema(required)]
    pub(super) source: Option<Uuid>,
    /// The job that was started.
    #[schema(required)]
    pub(super) job_id: Option<Uuid>,
    /// Why the job that was asked for was not started. The file is there: a job may be made of it later.
    #[schema(required)]
    pub(super) job_problem: Option<JobProblem>,
}

impl Upload {
    pub(super) fn of(row: &UploadRow, received: &[Received]) -> Self {
        let part = |part: &Received| ReceivedPart { number: part.number, size_bytes: part.size };
        Self {
            id: row.id,
            state: row.state.into(),
            filename: row.filename.clone(),
            content_type: row.content_type.clone(),
            size_bytes: row.multipart.size,
            fingerprint: row.fingerprint.clone(),
            checksum: row.multipart.checksums.then_some(ChecksumName::Sha256),
            part_size_bytes: row.multipart.part_size,
            parts_total: row.multipart.parts(),
            received: received.iter().map(part).collect(),
            received_bytes: row.received_bytes,
            created_at: row.created_at,
            expires_at: row.expires_at,
            source: (row.state == UploadState::Completed).then_some(row.id),
            job_id: row.job,
            job_problem: row.job_problem.clone().and_then(|p| serde_json::from_value(p).ok()),
        }
    }
}

/// Where a part goes.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct PartAddress {
    /// Number, from 1.
    pub(super) number: u32,
    /// Bytes that it must have.
    pub(super) size_bytes: u64,
    /// Always `PUT`.
    #[schema(value_type = String, example = "PUT")]
    pub(super) method: &'static str,
    /// Where; it is a permission, so keep it to yourself. Begins at `/` where the fleet does not know its own address.
    pub(super) url: String,
    /// Headers to be sent with it.
    pub(super) headers: BTreeMap<String, String>,
    /// When the address ends.
    #[serde(with = "time::serde::rfc3339")]
    pub(super) expires_at: OffsetDateTime,
}

/// Where parts go.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct PartAddresses {
    /// In the order in which they were asked for.
    pub(super) parts: Vec<PartAddress>,
}
