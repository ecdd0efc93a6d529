//! What is kept, and for how long.

use std::collections::BTreeSet;
use std::time::Duration;

use sqlx::Row;
use uuid::Uuid;

use super::{Store, StoreError, seconds};

impl Store {
    /// Deletes rows of jobs that ended without success longer ago than `after`, of those that made a clip's file, and of
    /// matches that were deleted that long ago; usage stays, and so does every match that can be watched. Gives how many.
    /// That their objects are to be deleted is noted in the same statement ([`removed_jobs`](Self::removed_jobs)), as
    /// nothing else knows of them any more; files that were uploaded for them alone are given up.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn delete_old_jobs(&self, after: Duration, limit: u32) -> Result<u64, StoreError> {
        let mut tx = self.begin().await?;
        let old: Vec<(Uuid,)> = self
            .query_as(
                "select id from touchline.jobs
                 where finished_at < now() - make_interval(secs => $1) and (state <> 'succeeded' or clip_id is not null
                    or removed_at < now() - make_interval(secs => $1))
                 order by finished_at limit $2 for update skip locked",
            )
            .bind(seconds(after))
            .bind(i64::from(limit))
            .fetch_all(&mut *tx)
            .await?;
        let old: Vec<Uuid> = old.into_iter().map(|(job,)| job).collect();
        let clips: Vec<(Uuid,)> = self
            .query_as("select id from touchline.clips where job_id = any($1)")
            .bind(&old)
            .fetch_all(&mut *tx)
            .await?;
        // Who made their files, a moment ago perhaps, stays.
        self.retire_downloads(&mut tx, &clips.into_iter().map(|(clip,)| clip).collect::<Vec<_>>()).await?;
        let gone: Vec<(Option<Uuid>,)> = self
            .query_as(
                "with events as (delete from touchline.events where job_id = any($1)),
                 noted as (
                    insert into touchline.removed_jobs (id, organisation_id)
                    select id, organisation_id from touchline.jobs where id = any($1) on conflict (id) do nothing)
                 delete from touchline.jobs where id = any($1) returning upload_id",
            )
            .bind(&old)
            .fetch_all(&mut *tx)
            .await?;
        // In order, so that two who do this wait for each other rather than in a circle.
        for upload in gone.iter().filter_map(|(upload,)| *upload).collect::<BTreeSet<_>>() {
            self.give_up_completed(&mut tx, upload).await?;
        }
        tx.commit().await?;
        Ok(gone.len() as u64)
    }

    /// Jobs that were deleted, or whose rows are gone, and whose objects may be there, the longest gone first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn removed_jobs(&self, no_writer: Duration, limit: u32) -> Result<Vec<RemovedJob>, StoreError> {
        Ok(self
            .query_as(
                "select organisation_id, id, removed_at < now() - make_interval(secs => $1) as is_settled
                 from touchline.removed_jobs order by removed_at limit $2",
            )
            .bind(seconds(no_writer))
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await?)
    }

    /// Notes that nothing is left of a job, and that nothing will come.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn forget_removed_job(&self, id: Uuid) -> Result<(), StoreError> {
        self.query("delete from touchline.removed_jobs where id = $1").bind(id).execute(&self.pool).await?;
        Ok(())
    }

    /// Deletes what is told of each try at the chunks of jobs that ended longer ago than `after`, once the bill of the
    /// machine that it ran on is split. Gives how many.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn delete_old_attempts(&self, after: Duration, limit: u32) -> Result<u64, StoreError> {
        let done = self
            .query(
                "delete from touchline.attempts where (job_id, chunk, attempt) in (
                    select a.job_id, a.chunk, a.attempt from touchline.attempts a join touchline.jobs j on j.id = a.job_id
                    where j.finished_at < now() - make_interval(secs => $1) and not exists (
                        select from touchline.instances i where i.id = a.instance and i.settled_at is null)
                    limit $2)",
            )
            .bind(seconds(after))
            .bind(i64::from(limit))
            .execute(&self.pool)
            .await?;
        Ok(done.rows_affected())
    }

    /// Deletes events that no job takes along (uploads that were completed), older than `after`. Gives how many.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn delete_old_events(&self, after: Duration, limit: u32) -> Result<u64, StoreError> {
        let done = self
            .query(
                "delete from touchline.events where id in (
                    select id from touchline.events where job_id is null and at < now() - make_interval(secs => $1)
                    order by at limit $2)",
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

    /// Jobs that ended longer ago than `after`, whose output has not been swept for good. Those that ended longer ago than
    /// `no_writer` are settled.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn unswept(&self, after: Duration, no_writer: Duration, limit: u32) -> Result<Vec<Unswept>, StoreError> {
        Ok(self
            .query_as(
                "select j.organisation_id, j.id, j.generation, j.finished_at,
                    j.finished_at < now() - make_interval(secs => $3) as is_settled
                 from touchline.jobs j left join touchline.publications p on p.job_id = j.id
                 where j.finished_at < now() - make_interval(secs => $1) and not coalesce(p.swept, false)
                 order by j.finished_at limit $2",
            )
            .bind(seconds(after))
            .bind(i64::from(limit))
            .bind(seconds(no_writer))
            .fetch_all(&self.pool)
            .await?)
    }

    /// Notes that a job's output was swept for good.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn mark_swept(&self, job: Uuid) -> Result<(), StoreError> {
        // A job that ended before anything could be watched has no such row yet; one whose rows are gone gets none.
        self.query(
            "insert into touchline.publications (job_id, swept) select id, true from touchline.jobs where id = $1
             on conflict (job_id) do update set swept = true",
        )
        .bind(job)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// All committed files of a job that is still ended as it was: rendition and file, and each rendition's init
    /// segment. `None` when it was tried again meanwhile.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn files_of_ended(&self, job: &Unswept) -> Result<Option<Vec<(String, String)>>, StoreError> {
        let rows = self
            .query(
                "with ended as (select id from touchline.jobs where id = $1 and finished_at = $2 and generation = $3)
                 select null as rendition, null as uri from ended
                 union all select s.rendition, s.uri from touchline.segments s join ended e on e.id = s.job_id
                 union all select r.name, r.init_key from touchline.renditions r join ended e on e.id = r.job_id
                    where r.init_key is not null",
            )
            .bind(job.id)
            .bind(job.finished_at)
            .bind(job.generation)
            .fetch_all(&self.pool)
            .await?;
        if rows.is_empty() {
            return Ok(None);
        }
        let mut files = Vec::with_capacity(rows.len());
        for row in rows {
            if let (Some(rendition), Some(uri)) = (row.try_get(0)?, row.try_get(1)?) {
                files.push((rendition, uri));
            }
        }
        Ok(Some(files))
    }
}

/// A job that was deleted, or whose rows are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct RemovedJob {
    /// Owner.
    pub organisation_id: Uuid,
    /// Job.
    pub id: Uuid,
    /// No write to it can be under way.
    pub is_settled: bool,
}

/// An ended job whose output is to be swept.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Unswept {
    /// Owner.
    pub organisation_id: Uuid,
    /// Job.
    pub id: Uuid,
    /// Which plan was the last.
    pub generation: i32,
    /// When it ended.
    pub finished_at: time::OffsetDateTime,
    /// No write of what was under way when it ended can arrive any more.
    pub is_settled: bool,
}
