//! What is kept, and for how long.

use std::time::Duration;

use sqlx::Row;
use uuid::Uuid;

use super::{Store, StoreError, seconds};

impl Store {
    /// Deletes rows of jobs that ended longer ago than `after`; usage stays. Gives how many jobs.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn delete_old_jobs(&self, after: Duration, limit: u32) -> Result<u64, StoreError> {
        let done = self
            .query(
                "with old as (
                select id from touchline.jobs where finished_at < now() - make_interval(secs => $1)
                order by finished_at limit $2 for update skip locked),
             events as (delete from touchline.events where job_id in (select id from old))
             delete from touchline.jobs where id in (select id from old)",
            )
            .bind(seconds(after))
            .bind(i64::from(limit))
            .execute(&self.pool)
            .await?;
        Ok(done.rows_affected())
    }

    /// Deletes rows of workers that have been gone for longer than `after`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn delete_old_workers(&self, after: Duration) -> Result<u64, StoreError> {
        let done = self.query(
            "delete from touchline.workers where state = 'gone' and heartbeat_at < now() - make_interval(secs => $1)",
        )
        .bind(seconds(after))
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected())
    }

    /// Succeeded jobs whose output has not been swept of what lost attempts left: organisation, job.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn unswept(&self, after: Duration, limit: u32) -> Result<Vec<(Uuid, Uuid)>, StoreError> {
        Ok(self
            .query_as(
                "select j.organisation_id, j.id from touchline.jobs j join touchline.publications p on p.job_id = j.id
             where j.finished_at < now() - make_interval(secs => $1) and not p.swept order by j.finished_at limit $2",
            )
            .bind(seconds(after))
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await?)
    }

    /// Notes that a job's output was swept.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn mark_swept(&self, job: Uuid) -> Result<(), StoreError> {
        self.query("update touchline.publications set swept = true where job_id = $1")
            .bind(job)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// All committed files of a job: rendition and file, and each rendition's init segment.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn all_files(&self, job: Uuid) -> Result<Vec<(String, String)>, StoreError> {
        let rows = self
            .query(
                "select rendition, uri from touchline.segments where job_id = $1
             union all select name, init_key from touchline.renditions where job_id = $1 and init_key is not null",
            )
            .bind(job)
            .fetch_all(&self.pool)
            .await?;
        rows.into_iter().map(|r| Ok((r.try_get(0)?, r.try_get(1)?))).collect()
    }
}
