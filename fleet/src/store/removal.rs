//! Deleting for good: a match with its clips and the file that was uploaded for it alone, or a clip. Row-level security
//! hides what is left at once, objects are deleted by whoever asked or by the next sweep ([`Store::removed_jobs`]), and rows
//! of jobs go when the bills of machines are long split ([`Store::delete_old_jobs`]).

use sqlx::PgConnection;
use uuid::Uuid;

use super::jobs::end_chunks;
use super::tenant::AuditEntry;
use super::{Edge, Store, StoreError, Tenant};
use crate::state::{JobEvent, JobState};

impl Store {
    /// Deletes a match of `tenant` that has ended. Gives the upload that nobody needs any more, whose file is to be deleted
    /// too. What was used of the month stays, storage is free again.
    ///
    /// # Errors
    /// [`StoreError::NoJob`] when the tenant has none of this id, or has deleted it; [`StoreError::Conflict`] while it is at
    /// work.
    pub async fn remove_job(
        &self,
        tenant: &Tenant,
        id: Uuid,
        audit: &AuditEntry<'_>,
    ) -> Result<Option<Uuid>, StoreError> {
        // Not in a transaction of the tenant: row-level security lets nobody make a row that he would not see.
        let mut tx = self.begin().await?;
        let found: Option<(String, Option<Uuid>)> = self
            .query_as(
                "select state, upload_id from touchline.jobs
                 where id = $1 and organisation_id = $2 and clip_id is null and removed_at is null for update",
            )
            .bind(id)
            .bind(tenant.organisation())
            .fetch_optional(&mut *tx)
            .await?;
        let (state, upload) = found.ok_or(StoreError::NoJob(id))?;
        if !JobState::from_word(&state).is_some_and(JobState::is_final) {
            return Err(StoreError::Conflict { id, state, reason: "cancel it before you delete it" });
        }
        let clips: Vec<(Uuid,)> =
            self.query_as("select id from touchline.clips where job_id = $1").bind(id).fetch_all(&mut *tx).await?;
        self.retire_downloads(&mut tx, &clips.into_iter().map(|(clip,)| clip).collect::<Vec<_>>()).await?;
        self.query(
            "with clips as (delete from touchline.clips where job_id = $1),
             started as (update touchline.uploads set job_id = null where id = $3 and job_id = $1),
             used as (update touchline.usage set stored_bytes = 0 where job_id = $1),
             noted as (
                insert into touchline.removed_jobs (id, organisation_id) values ($1, $2)
                on conflict (id) do update set removed_at = now()),
             job as (update touchline.jobs set removed_at = now(), updated_at = now() where id = $1)
             insert into touchline.events (organisation_id, job_id, type) values ($2, $1, 'job.deleted')",
        )
        .bind(id)
        .bind(tenant.organisation())
        .bind(upload)
        .execute(&mut *tx)
        .await?;
        let mut unneeded = None;
        if let Some(upload) = upload
            && self.give_up_completed(&mut tx, upload).await?
        {
            unneeded = Some(upload);
        }
        tenant.audit(&mut tx, audit).await?;
        tx.commit().await?;
        Ok(unneeded)
    }

    /// Deletes a clip of `tenant`. `false` when there is none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn delete_clip(&self, tenant: &Tenant, id: Uuid, audit: &AuditEntry<'_>) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        self.retire_downloads(&mut tx, &[id]).await?;
        let done = self
            .query("delete from touchline.clips where id = $1 and organisation_id = $2")
            .bind(id)
            .bind(tenant.organisation())
            .execute(&mut *tx)
            .await?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        tenant.audit(&mut tx, audit).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Takes the jobs that made files of these clips from them: those at work end, and the rows of all stay as those of
    /// deleted matches do. Jobs first and clips afterwards, as whoever ends such a job goes about it.
    pub(in crate::store) async fn retire_downloads(
        &self,
        tx: &mut PgConnection,
        clips: &[Uuid],
    ) -> Result<(), StoreError> {
        const ENDED: Edge = Edge::job(JobState::Running, JobEvent::Cancelled);
        let jobs: Vec<(Uuid,)> = self
            .query_as(
                "with those as (select id from touchline.jobs where clip_id = any($1) order by id for update)
                 update touchline.jobs j set clip_id = null, removed_at = now(), updated_at = now(),
                    state = case when finished_at is null then $2 else state end,
                    finished_at = coalesce(finished_at, now())
                 from those where j.id = those.id returning j.id",
            )
            .bind(clips)
            .bind(ENDED.to)
            .fetch_all(&mut *tx)
            .await?;
        for (job,) in jobs {
            end_chunks(self, tx, job).await?;
        }
        Ok(())
    }

    /// Gives a completed upload up: its file is to be deleted, as one of an upload that its owner aborted. `false` when a
    /// match was made of it that is still there, or when it was not complete.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn give_up_completed(&self, tx: &mut PgConnection, upload: Uuid) -> Result<bool, StoreError> {
        // Whoever makes a match of it at this moment holds the row (`Tenant::upload_source`), and is seen by the next
        // statement.
        self.query("select from touchline.uploads where id = $1 for update").bind(upload).execute(&mut *tx).await?;
        let done = self
            .query(
                "update touchline.uploads set state = 'aborted', swept = false, finished_at = now()
                 where id = $1 and state = 'completed' and not exists (
                    select from touchline.jobs j where j.upload_id = $1 and j.clip_id is null and j.removed_at is null)",
            )
            .bind(upload)
            .execute(tx)
            .await?;
        Ok(done.rows_affected() > 0)
    }
}
