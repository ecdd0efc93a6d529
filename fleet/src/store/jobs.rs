//! Jobs as people see them: submit (here), look (`look`, at what is in `row`) and change one's mind (`change`): cancel, try
//! again, put a minute first.

mod change;
mod look;
mod row;

use sqlx::{PgConnection, Row};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Store, StoreError, to_json};
use crate::ladder::Ladder;

pub use look::JobFilter;
pub use row::{ChunkRow, JobRow};

pub(super) use change::{end_chunks, end_job, lock_job};
pub(super) use row::JOB_COLUMNS;

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
}
