//! A job as clients see it.

use fleet::failure::FailureCode;
use fleet::state::JobState;
use fleet::store::jobs::JobRow;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

/// A frame rate as a fraction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Rate {
    /// Frames.
    #[schema(example = 30000)]
    pub num: u32,
    /// In this many seconds.
    #[schema(example = 1001)]
    pub den: u32,
}

/// Why a job failed.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Failure {
    /// Stable code.
    #[schema(example = "not_media")]
    pub code: String,
    /// For a coach: what happened and what to do.
    pub message: String,
    /// Whether trying again may help; when not, the video itself is the cause, or that it was replaced.
    pub retryable: bool,
    /// For ops: what was found and where to look first; only with the scope `ops`.
    #[schema(required)]
    pub detail: Option<String>,
}

/// One match that is made watchable.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Job {
    /// Id.
    pub id: Uuid,
    /// Owner.
    pub organisation_id: Uuid,
    /// For people.
    pub title: String,
    /// Where it is on its way.
    pub state: JobStateName,
    /// Where the source lies; for uploads `upload:<id>`. Queries of URLs are left out: they may hold secrets.
    pub source: String,
    /// Upload that the source came with.
    #[schema(required)]
    pub upload_id: Option<Uuid>,
    /// Name of the ladder.
    pub ladder: String,
    /// Encoder as asked.
    pub encoder: String,
    /// Encoder family that is used, once planned.
    #[schema(required)]
    pub backend: Option<String>,
    /// Region that suits the source.
    pub home_region: String,
    /// When it came.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// When a worker had looked at the source and planned.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(required)]
    pub planned_at: Option<OffsetDateTime>,
    /// When it could be watched for the first time.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(required)]
    pub first_playable_at: Option<OffsetDateTime>,
    /// When it ended.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(required)]
    pub finished_at: Option<OffsetDateTime>,
    /// When it should be ready.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(required)]
    pub ready_by: Option<OffsetDateTime>,
    /// Milliseconds of the match, once known.
    #[schema(required)]
    pub duration_ms: Option<i64>,
    /// Milliseconds from the start that can be watched now.
    pub watchable_ms: i64,
    /// Share of the pictures that is encoded, 0 to 1.
    #[schema(minimum = 0, maximum = 1)]
    pub progress: f64,
    /// Output frame rate, once planned.
    #[schema(required)]
    pub frame_rate: Option<Rate>,
    /// Why it failed.
    #[schema(required)]
    pub failure: Option<Failure>,
    /// Sentences that its owner should know.
    pub warnings: Vec<String>,
    /// Whether it can be watched, if not to the end.
    pub playable: bool,
    /// Whether it can be watched to the end.
    pub complete: bool,
}

/// State of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobStateName {
    /// Accepted; no worker has looked at its source yet.
    Queued,
    /// A worker looks at the source.
    Planning,
    /// Being encoded.
    Running,
    /// All is encoded; playlists are being checked and written.
    Publishing,
    /// Published.
    Succeeded,
    /// Given up, with a code.
    Failed,
    /// Cancelled by request.
    Cancelled,
}

impl From<JobState> for JobStateName {
    fn from(state: JobState) -> Self {
        match state {
            JobState::Queued => Self::Queued,
            JobState::Planning => Self::Planning,
            JobState::Running => Self::Running,
            JobState::Publishing => Self::Publishing,
            JobState::Succeeded => Self::Succeeded,
            JobState::Failed => Self::Failed,
            JobState::Cancelled => Self::Cancelled,
        }
    }
}

impl From<JobStateName> for JobState {
    fn from(state: JobStateName) -> Self {
        match state {
            JobStateName::Queued => Self::Queued,
            JobStateName::Planning => Self::Planning,
            JobStateName::Running => Self::Running,
            JobStateName::Publishing => Self::Publishing,
            JobStateName::Succeeded => Self::Succeeded,
            JobStateName::Failed => Self::Failed,
            JobStateName::Cancelled => Self::Cancelled,
        }
    }
}

impl Job {
    /// A row as clients see it; details for ops only when they ask.
    pub(crate) fn of(row: &JobRow, for_ops: bool) -> Self {
        let failure = row.failure_code.as_ref().map(|code| Failure {
            code: code.clone(),
            message: row.code().map_or("Something went wrong on our side.", |c| c.for_coach()).to_owned(),
            retryable: row.code().is_none_or(FailureCode::is_retryable),
            detail: for_ops.then(|| {
                let hint = row.code().map_or("", |c| c.for_ops());
                format!("{}; {hint}", row.failure_message.as_deref().unwrap_or_default())
            }),
        });
        let warnings = row.warnings.as_array().into_iter().flatten().filter_map(|w| w.as_str().map(str::to_owned));
        Self {
            id: row.id,
            organisation_id: row.organisation_id,
            title: row.title.clone(),
            state: row.job_state().into(),
            source: match row.upload_id {
                Some(upload) => format!("upload:{upload}"),
                None => row.source.split(['?', '#']).next().unwrap_or_default().to_owned(),
            },
            upload_id: row.upload_id,
            ladder: row.ladder_name.clone(),
            encoder: row.encoder.clone(),
            backend: row.backend.clone(),
            home_region: row.home_region.clone(),
            created_at: row.created_at,
            planned_at: row.planned_at,
            first_playable_at: row.first_playable_at,
            finished_at: row.finished_at,
            ready_by: row.ready_by,
            duration_ms: row.duration_ms,
            watchable_ms: row.watchable_ms,
            progress: row.progress.clamp(0.0, 1.0),
            frame_rate: row.frame_rate.as_deref().and_then(rate),
            failure,
            warnings: warnings.collect(),
            playable: row.watchable_ms > 0,
            complete: row.job_state() == JobState::Succeeded,
        }
    }
}

/// Reads `num/den`.
pub(in crate::api) fn rate(text: &str) -> Option<Rate> {
    let (num, den) = text.split_once('/')?;
    Some(Rate { num: num.parse().ok()?, den: den.parse().ok()? })
}
