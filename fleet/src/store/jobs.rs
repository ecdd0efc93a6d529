//! Jobs as people see them: submit, look, cancel, try again, put a minute first.

use serde::Serialize;
use sqlx::types::Json;
use sqlx::{PgConnection, Row};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Edge, Store, StoreError, read_json, signed, to_json};
use crate::failure::FailureCode;
use crate::ladder::Ladder;
use crate::plan::JobPlan;
use crate::state::{ChunkEvent, ChunkState, JobEvent, JobState};

/// Name of the organisation that exists from the start.
pub const DEFAULT_ORGANISATION: &str = "default";

/// Number of the chunk that is the plan.
pub const PLAN_CHUNK: i32 = 0;

/// A job to be.
#[derive(Clone, Debug)]
pub struct NewJob {
    /// Owner.
    pub organisation: Uuid,
    /// For people.
    pub title: String,
    /// Path, `s3://` or `https://`.
    pub source: String,
    /// What to make.
    pub ladder: Ladder,
    /// Upload that the source came with.
    pub upload: Option<Uuid>,
    /// `auto`, `nvenc` or `x264`.
    pub encoder: String,
    /// Region that suits the source.
    pub home_region: String,
    /// When it should be ready.
    pub ready_by: Option<OffsetDateTime>,
}

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
    /// Whether there is a picture to show before it plays.
    pub has_poster: bool,
    /// Sentences a person should know, as a JSON list.
    pub warnings: serde_json::Value,
    /// What was published, once it was.
    pub summary: Option<serde_json::Value>,
}

/// Which jobs a list shows, the newest first.
#[derive(Clone, Debug, Default)]
pub struct JobFilter {
    /// Only those in one of these states; in any when there is none.
    pub states: Vec<JobState>,
    /// Only those whose title holds this text, whatever the case, or whose id begins with it.
    pub text: Option<String>,
    /// Only those after this one in the list: when it came, and its id.
    pub after: Option<(OffsetDateTime, Uuid)>,
    /// At most this many.
    pub limit: u32,
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

pub(super) const JOB_COLUMNS: &str = "select id, organisation_id, state, title, source, home_region, generation, \
    ladder_name, encoder, upload_id, backend, frame_rate, \
    case when state in ('publishing', 'succeeded') then 1 else coalesce((
        select least(1, sum(case c.state when 'done' then c.seconds
            when 'running' then least(c.seconds, c.progress * split_part(frame_rate, '/', 2)::float8
                / split_part(frame_rate, '/', 1)::float8) else 0 end) / nullif(sum(c.seconds), 0))
        from touchline.chunks c where c.job_id = jobs.id and c.kind = 'video'), 0) end::float8 as progress, \
    expected_frames, end_frames, damaged, watchable_ms, duration_ms, failure_code, failure_message, created_at, planned_at, \
    first_playable_at, finished_at, ready_by, warnings, summary, \
    exists (select from touchline.segments s where s.job_id = jobs.id and s.rendition = 'poster') as has_poster \
    from touchline.jobs";

impl Store {
    /// The organisation of this name; made when there is none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn ensure_organisation(&self, name: &str, weight: i32) -> Result<Uuid, StoreError> {
        self.query(
            "insert into touchline.organisations (id, name, weight) values ($1, $2, $3) on conflict (name) do nothing",
        )
        .bind(Uuid::now_v7())
        .bind(name)
        .bind(weight)
        .execute(&self.pool)
        .await?;
        let row = self
            .query("select id from touchline.organisations where name = $1")
            .bind(name)
            .fetch_one(&self.pool)
            .await?;
        Ok(row.try_get("id")?)
    }

    /// Accepts a job: from here on it ends in succeeded, failed or cancelled.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn submit(&self, job: &NewJob) -> Result<Uuid, StoreError> {
        let mut tx = self.begin().await?;
        let id = self.submit_in(&mut tx, job).await?;
        tx.commit().await?;
        Ok(id)
    }

    /// As [`submit`](Self::submit), within a transaction: the job is accepted when it commits.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn submit_in(&self, tx: &mut PgConnection, job: &NewJob) -> Result<Uuid, StoreError> {
        let id = Uuid::now_v7();
        self.query(
            "insert into touchline.jobs (id, organisation_id, title, source, ladder, encoder, home_region, ready_by,
                ladder_name, upload_id)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        )
        .bind(id)
        .bind(job.organisation)
        .bind(&job.title)
        .bind(&job.source)
        .bind(to_json("ladder", &job.ladder)?)
        .bind(&job.encoder)
        .bind(&job.home_region)
        .bind(job.ready_by)
        .bind(&job.ladder.name)
        .bind(job.upload)
        .execute(&mut *tx)
        .await?;
        self.query(
            "with chunk as (insert into touchline.chunks (job_id, chunk, kind, position) values ($1, $2, 'plan', -1))
             insert into touchline.events (organisation_id, job_id, type) values ($3, $1, 'job.created')",
        )
        .bind(id)
        .bind(PLAN_CHUNK)
        .bind(job.organisation)
        .execute(&mut *tx)
        .await?;
        Ok(id)
    }

    /// A job.
    ///
    /// # Errors
    /// [`StoreError::NoJob`].
    pub async fn job(&self, id: Uuid) -> Result<JobRow, StoreError> {
        self.job_in(&mut *self.pool.acquire().await?, id).await
    }

    /// As [`job`](Self::job), on a connection.
    ///
    /// # Errors
    /// [`StoreError::NoJob`].
    pub async fn job_in(&self, connection: &mut PgConnection, id: Uuid) -> Result<JobRow, StoreError> {
        self.query_as(sqlx::AssertSqlSafe(format!("{JOB_COLUMNS} where id = $1")))
            .bind(id)
            .fetch_optional(connection)
            .await?
            .ok_or(StoreError::NoJob(id))
    }

    /// A page of jobs, the newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn list_jobs_in(
        &self,
        connection: &mut PgConnection,
        filter: &JobFilter,
    ) -> Result<Vec<JobRow>, StoreError> {
        let (after_time, after_id) = filter.after.unzip();
        let pattern = filter.text.as_ref().map(|text| {
            let plain = text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
            format!("%{}%", plain.to_lowercase())
        });
        let sql = format!(
            "{JOB_COLUMNS} where clip_id is null and (cardinality($1::text[]) = 0 or state = any($1))
                and ($2::text is null or lower(title) like $2 or starts_with(id::text, lower($3)))
                and ($4::timestamptz is null or (created_at, id) < ($4, $5))
             order by created_at desc, id desc limit $6"
        );
        Ok(self
            .query_as(sqlx::AssertSqlSafe(sql))
            .bind(filter.states.iter().map(|state| state.as_str()).collect::<Vec<_>>())
            .bind(pattern)
            .bind(&filter.text)
            .bind(after_time)
            .bind(after_id)
            .bind(i64::from(filter.limit))
            .fetch_all(connection)
            .await?)
    }

    /// Jobs whose id starts with `prefix`, at most two: enough to tell whether it names one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn jobs_by_prefix(&self, prefix: &str) -> Result<Vec<Uuid>, StoreError> {
        let rows = self
            .query(
                "select id from touchline.jobs where clip_id is null and starts_with(id::text, $1) order by id limit 2",
            )
            .bind(prefix.to_ascii_lowercase())
            .fetch_all(&self.pool)
            .await?;
        rows.into_iter().map(|row| Ok(row.try_get("id")?)).collect()
    }

    /// The newest jobs, of one state when one is given.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn jobs(&self, state: Option<JobState>, limit: u32) -> Result<Vec<JobRow>, StoreError> {
        let sql = format!(
            "{JOB_COLUMNS} where clip_id is null and ($1::text is null or state = $1)
             order by created_at desc, id limit $2"
        );
        Ok(self
            .query_as(sqlx::AssertSqlSafe(sql))
            .bind(state.map(JobState::as_str))
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await?)
    }

    /// A page of every organisation's jobs, the newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn list_jobs(&self, filter: &JobFilter) -> Result<Vec<JobRow>, StoreError> {
        self.list_jobs_in(&mut *self.pool.acquire().await?, filter).await
    }

    /// Segments and bytes of each rendition of a job that has any.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn rendition_sizes_in(
        &self,
        connection: &mut PgConnection,
        job: Uuid,
    ) -> Result<Vec<(String, i64, i64)>, StoreError> {
        Ok(self
            .query_as(
                "select rendition, count(*), coalesce(sum(bytes), 0)::bigint from touchline.segments
                 where job_id = $1 group by rendition",
            )
            .bind(job)
            .fetch_all(connection)
            .await?)
    }

    /// The chunks of a job, in the order in which they are released.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn chunks(&self, job: Uuid) -> Result<Vec<ChunkRow>, StoreError> {
        self.chunks_in(&mut *self.pool.acquire().await?, job).await
    }

    /// As [`chunks`](Self::chunks), on a connection.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn chunks_in(&self, connection: &mut PgConnection, job: Uuid) -> Result<Vec<ChunkRow>, StoreError> {
        Ok(self
            .query_as(
                "select chunk, kind, state, attempt, first_segment, end_segment, rendition, seconds, region, worker_id,
                deaths, tries, split_from, taken_back, last_code, last_message, not_before, queued_at, claimed_at,
                extract(epoch from lease_until - now())::float8 as lease_s
             from touchline.chunks where job_id = $1 order by position, chunk",
            )
            .bind(job)
            .fetch_all(connection)
            .await?)
    }

    /// The plan of a job; `None` before it has one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn plan(&self, job: Uuid) -> Result<Option<JobPlan>, StoreError> {
        self.plan_in(&mut *self.pool.acquire().await?, job).await
    }

    /// As [`plan`](Self::plan), on a connection.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn plan_in(&self, connection: &mut PgConnection, job: Uuid) -> Result<Option<JobPlan>, StoreError> {
        let row = self
            .query("select plan from touchline.jobs where id = $1")
            .bind(job)
            .fetch_optional(connection)
            .await?
            .ok_or(StoreError::NoJob(job))?;
        let plan: Option<serde_json::Value> = row.try_get("plan")?;
        plan.map(|value| read_json("plan", value)).transpose()
    }

    /// Cancels a job that has not ended; its chunks get numbers that nobody holds. `false` when it was cancelled before.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when it has ended otherwise.
    pub async fn cancel(&self, id: Uuid) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let changed = self.cancel_in(&mut tx, id).await?;
        tx.commit().await?;
        Ok(changed)
    }

    /// As [`cancel`](Self::cancel), within a transaction.
    ///
    /// # Errors
    /// As [`cancel`](Self::cancel).
    pub async fn cancel_in(&self, tx: &mut PgConnection, id: Uuid) -> Result<bool, StoreError> {
        let state = lock_job(self, tx, id).await?;
        if state == JobState::Cancelled {
            return Ok(false);
        }
        let Ok(cancelled) = Edge::of_job(state, JobEvent::Cancelled) else {
            return Err(StoreError::Conflict { id, state: state.to_string(), reason: "it has ended already" });
        };
        end_job(self, tx, id, cancelled, None).await?;
        Ok(true)
    }

    /// Tries a failed or cancelled job again; what is committed stays.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when it is at work or has succeeded.
    pub async fn retry(&self, id: Uuid) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        self.retry_in(&mut tx, id).await?;
        tx.commit().await?;
        Ok(())
    }

    /// As [`retry`](Self::retry), within a transaction.
    ///
    /// # Errors
    /// As [`retry`](Self::retry).
    pub async fn retry_in(&self, tx: &mut PgConnection, id: Uuid) -> Result<(), StoreError> {
        const FAILED: Edge = Edge::chunk(ChunkState::Failed, ChunkEvent::Retried);
        const CANCELLED: Edge = Edge::chunk(ChunkState::Cancelled, ChunkEvent::Retried);
        const AFRESH: Edge = Edge::job(JobState::Failed, JobEvent::Retried);
        const ON: Edge = Edge::job(JobState::Failed, JobEvent::Resumed);
        let state = lock_job(self, tx, id).await?;
        if state.after(JobEvent::Retried).is_err() {
            let reason = "only failed and cancelled jobs are tried again";
            return Err(StoreError::Conflict { id, state: state.to_string(), reason });
        }
        self.query(
            "update touchline.chunks set state = $2, attempt = attempt + 1, deaths = 0, tries = 0, not_before = now(),
                region = null, worker_id = null, lease_until = null, finished_at = null, sends = 0
             where job_id = $1 and state in ($3, $4)",
        )
        .bind(id)
        .bind(FAILED.to)
        .bind(FAILED.from)
        .bind(CANCELLED.from)
        .execute(&mut *tx)
        .await?;
        self.query(
            "with swept as (update touchline.publications set swept = false where job_id = $1),
             job as (update touchline.jobs set state = case when plan is null then $3 else $4 end,
                failure_code = null, failure_message = null, finished_at = null, updated_at = now()
                where id = $1 and state = $2 returning organisation_id)
             insert into touchline.events (organisation_id, job_id, type)
             select organisation_id, $1, 'job.retried' from job",
        )
        .bind(id)
        .bind(state.as_str())
        .bind(AFRESH.to)
        .bind(ON.to)
        .execute(&mut *tx)
        .await?;
        Ok(())
    }

    /// Puts the match from `second` on first among what is not yet released, beginning with the chunk that holds it.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] before the job has a plan, or after it has ended.
    pub async fn focus(&self, id: Uuid, second: f64) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        self.focus_in(&mut tx, id, second).await?;
        tx.commit().await?;
        Ok(())
    }

    /// As [`focus`](Self::focus), within a transaction.
    ///
    /// # Errors
    /// As [`focus`](Self::focus).
    pub async fn focus_in(&self, tx: &mut PgConnection, id: Uuid, second: f64) -> Result<(), StoreError> {
        let job = self.job_in(tx, id).await?;
        let conflict = |reason| StoreError::Conflict { id, state: job.state.clone(), reason };
        if job.job_state().is_final() {
            return Err(conflict("it has ended already"));
        }
        let plan = self.plan_in(tx, id).await?.ok_or_else(|| conflict("it has no plan yet"))?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to what a day holds")]
        let frame = (second * plan.video.rate.as_f64()).clamp(0.0, 1e9) as u64;
        self.query(
            "with job as (
                update touchline.jobs j set focus_segment = coalesce((select max(c.first_segment) from touchline.chunks c
                    where c.job_id = j.id and c.kind = 'video' and c.first_segment <= $2), $2), updated_at = now()
                where id = $1 returning organisation_id)
             insert into touchline.events (organisation_id, job_id, type, data)
             select organisation_id, $1, 'job.focused', jsonb_build_object('at_s', $3::float8) from job",
        )
        .bind(id)
        .bind(signed(plan.video.grid.segment_of(frame)))
        .bind(second)
        .execute(&mut *tx)
        .await?;
        Ok(())
    }

    /// What happened to a job, oldest first: type, time, data.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn events(&self, job: Uuid) -> Result<Vec<(String, OffsetDateTime, serde_json::Value)>, StoreError> {
        Ok(self
            .query_as("select type, at, data from touchline.events where job_id = $1 order by id")
            .bind(job)
            .fetch_all(&self.pool)
            .await?)
    }
}

/// Locks the job's row and gives its state.
pub(super) async fn lock_job(store: &Store, tx: &mut PgConnection, id: Uuid) -> Result<JobState, StoreError> {
    let row = store
        .query("select state from touchline.jobs where id = $1 for update")
        .bind(id)
        .fetch_optional(tx)
        .await?
        .ok_or(StoreError::NoJob(id))?;
    let word: String = row.try_get("state")?;
    Ok(JobState::from_word(&word).unwrap_or(JobState::Running))
}

/// Takes a job whose row is locked from one state to a bad end: its chunks too, under numbers that nobody holds.
pub(super) async fn end_job(
    store: &Store,
    tx: &mut PgConnection,
    id: Uuid,
    edge: Edge,
    failure: Option<(FailureCode, &str)>,
) -> Result<(), StoreError> {
    const ENDED: Edge = Edge::chunk(ChunkState::Running, ChunkEvent::JobEnded);
    store.query(
        "with ended as (
            update touchline.chunks set state = $2, attempt = attempt + 1, worker_id = null, lease_until = null,
                finished_at = now()
            where job_id = $1 and state in ('waiting', 'queued', 'running') returning job_id, chunk, attempt)
         update touchline.attempts a set ended_at = now(), outcome = 'job_ended'
         from ended e where a.job_id = e.job_id and a.chunk = e.chunk and a.attempt = e.attempt - 1 and a.ended_at is null",
    )
    .bind(id)
    .bind(ENDED.to)
    .execute(&mut *tx)
    .await?;
    store
        .query(
            "with job as (
            update touchline.jobs set state = $3, finished_at = now(), updated_at = now(), failure_code = $4,
                failure_message = $5 where id = $1 and state = $2 returning organisation_id, clip_id),
         -- A download that ends badly is its clip's affair.
         clip as (
            update touchline.clips c set download = 'failed', download_error = coalesce($4, $3) from job
            where c.id = job.clip_id returning c.id, c.job_id)
         insert into touchline.events (organisation_id, job_id, type, data)
         select job.organisation_id, coalesce(clip.job_id, $1),
            case when job.clip_id is null then 'job.' || $3 else 'clip.failed' end,
            $6::jsonb || case when job.clip_id is null then '{}' else jsonb_build_object('clip_id', job.clip_id) end
         from job left join clip on true",
        )
        .bind(id)
        .bind(edge.from)
        .bind(edge.to)
        .bind(failure.map(|(code, _)| code.as_str()))
        .bind(failure.map(|(_, message)| message))
        .bind(Json(failure.map_or_else(
            || serde_json::json!({}),
            |(code, message)| serde_json::json!({ "code": code, "message": message, "coach": code.for_coach() }),
        )))
        .execute(&mut *tx)
        .await?;
    Ok(())
}
