//! Jobs and chunks, as they are looked at.

use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::failure::FailureCode;
use crate::state::JobState;

/// A job in short.
#[derive(Clone, Debug, Serialize, sqlx::FromRow)]
pub struct JobRow {
    /// Id.
    pub id: Uuid,
    /// Owner.
    pub organisation_id: Uuid,
    /// State, as a word of [`JobState`].
    pub state: String,
    /// For people.
    pub title: String,
    /// Path, `s3://` or `https://`.
    pub source: String,
    /// Region that suits the source.
    pub home_region: String,
    /// Which plan.
    pub generation: i32,
    /// Name of the ladder.
    pub ladder_name: String,
    /// `auto`, `nvenc` or `x264`, as asked.
    pub encoder: String,
    /// Upload that the source came with.
    pub upload_id: Option<Uuid>,
    /// Encoder family of the plan.
    pub backend: Option<String>,
    /// Frames a second of the output as `num/den`, once planned.
    pub frame_rate: Option<String>,
    /// Share of the pictures that is encoded, 0 to 1.
    pub progress: f64,
    /// Output frames expected.
    pub expected_frames: Option<i64>,
    /// Output frames, once the end was met.
    pub end_frames: Option<i64>,
    /// Damaged places that were found.
    pub damaged: i64,
    /// Milliseconds from the start that can be watched.
    pub watchable_ms: i64,
    /// Milliseconds of the source, as planned.
    pub duration_ms: Option<i64>,
    /// Stable code of a failure.
    pub failure_code: Option<String>,
    /// One sentence for the log.
    pub failure_message: Option<String>,
    /// When it came.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// When its plan was stored.
    #[serde(with = "time::serde::rfc3339::option")]
    pub planned_at: Option<OffsetDateTime>,
    /// When it could be watched for the first time.
    #[serde(with = "time::serde::rfc3339::option")]
    pub first_playable_at: Option<OffsetDateTime>,
    /// When it ended.
    #[serde(with = "time::serde::rfc3339::option")]
    pub finished_at: Option<OffsetDateTime>,
    /// When it should be ready.
    #[serde(with = "time::serde::rfc3339::option")]
    pub ready_by: Option<OffsetDateTime>,
    /// When it was deleted: since then its organisation does not see it.
    #[serde(with = "time::serde::rfc3339::option")]
    pub removed_at: Option<OffsetDateTime>,
    /// Whether there is a picture to show before it plays.
    pub has_poster: bool,
    /// Sentences a person should know, as a JSON list.
    pub warnings: serde_json::Value,
    /// What was published, once it was.
    pub summary: Option<serde_json::Value>,
}

impl JobRow {
    /// The state; a word of a later version counts as running.
    #[must_use]
    pub fn job_state(&self) -> JobState {
        JobState::from_word(&self.state).unwrap_or(JobState::Running)
    }

    /// The failure's code, when it is one of this version.
    #[must_use]
    pub fn code(&self) -> Option<FailureCode> {
        self.failure_code.as_deref().and_then(FailureCode::from_code)
    }
}

/// A chunk, for looking at.
#[derive(Clone, Debug, Serialize, sqlx::FromRow)]
pub struct ChunkRow {
    /// Number within the job; 0 is the plan.
    pub chunk: i32,
    /// `plan`, `video` or `audio`.
    pub kind: String,
    /// State.
    pub state: String,
    /// Attempt.
    pub attempt: i32,
    /// First segment.
    pub first_segment: i64,
    /// Segment after the last.
    pub end_segment: Option<i64>,
    /// Sound track.
    pub rendition: Option<String>,
    /// Media seconds.
    pub seconds: f64,
    /// Where it was released to.
    pub region: Option<String>,
    /// Who holds it.
    pub worker_id: Option<Uuid>,
    /// Workers lost on it without progress.
    pub deaths: i32,
    /// Tries that failed without progress.
    pub tries: i32,
    /// The chunk whose rest this one is: that was far slower than its siblings.
    pub split_from: Option<i32>,
    /// Whether it was taken back from a worker that was far too slow with it.
    pub taken_back: bool,
    /// Why the last attempt did not end well.
    pub last_code: Option<String>,
    /// In a sentence.
    pub last_message: Option<String>,
    /// When it may be released.
    #[serde(with = "time::serde::rfc3339")]
    pub not_before: OffsetDateTime,
    /// When it was released.
    #[serde(with = "time::serde::rfc3339::option")]
    pub queued_at: Option<OffsetDateTime>,
    /// When it was claimed.
    #[serde(with = "time::serde::rfc3339::option")]
    pub claimed_at: Option<OffsetDateTime>,
    /// Seconds until the lease ends; negative when it has.
    pub lease_s: Option<f64>,
}

// `least` leaves nulls out, so they are zero before: a job without chunks of pictures has made nothing.
pub(in crate::store) const JOB_COLUMNS: &str = "select id, organisation_id, state, title, source, home_region, generation, \
    ladder_name, encoder, upload_id, backend, frame_rate, \
    case when state in ('publishing', 'succeeded') then 1 else (
        select least(1, coalesce(sum(case c.state when 'done' then c.seconds
            when 'running' then least(c.seconds, c.progress * split_part(frame_rate, '/', 2)::float8
                / split_part(frame_rate, '/', 1)::float8) else 0 end) / nullif(sum(c.seconds), 0), 0))
        from touchline.chunks c where c.job_id = jobs.id and c.kind = 'video') end::float8 as progress, \
    expected_frames, end_frames, damaged, watchable_ms, duration_ms, failure_code, failure_message, created_at, planned_at, \
    first_playable_at, finished_at, ready_by, removed_at, warnings, summary, \
    exists (select from touchline.segments s where s.job_id = jobs.id and s.rendition = 'poster') as has_poster \
    from touchline.jobs";
