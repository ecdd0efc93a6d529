//! Looking at jobs: one, a page of them, their chunks, their plan, what happened.

use sqlx::{PgConnection, Row};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{ChunkRow, JOB_COLUMNS, JobRow};
use crate::plan::JobPlan;
use crate::state::JobState;
use crate::store::{Store, StoreError, read_json};

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

impl Store {
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
            "{JOB_COLUMNS} where clip_id is null and removed_at is null and (cardinality($1::text[]) = 0 or state = any($1))
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
                "select id from touchline.jobs where clip_id is null and removed_at is null and starts_with(id::text, $1) order by id limit 2",
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
            "{JOB_COLUMNS} where clip_id is null and removed_at is null and ($1::text is null or state = $1)
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
