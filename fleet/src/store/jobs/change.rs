//! What people change their minds about: cancel, try again, put a minute first. And the bad end of a job, whoever decides it.

use sqlx::types::Json;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use crate::failure::FailureCode;
use crate::state::{ChunkEvent, ChunkState, JobEvent, JobState};
use crate::store::{Edge, Store, StoreError, signed};

impl Store {
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

    /// As [`retry`](Self::retry), for one of many: `false` when it was deleted, or tried again, meanwhile.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn retry_if_there(&self, id: Uuid) -> Result<bool, StoreError> {
        match self.retry(id).await {
            Ok(()) => Ok(true),
            Err(StoreError::NoJob(_) | StoreError::Conflict { .. }) => Ok(false),
            Err(other) => Err(other),
        }
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

    /// Renames a job. `false` when it is called so already, or there is none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn rename_in(&self, tx: &mut PgConnection, id: Uuid, title: &str) -> Result<bool, StoreError> {
        let done = self
            .query(
                "with job as (
                    update touchline.jobs set title = $2, updated_at = now()
                    where id = $1 and title <> $2 and removed_at is null returning organisation_id)
                 insert into touchline.events (organisation_id, job_id, type, data)
                 select organisation_id, $1, 'job.renamed', jsonb_build_object('title', $2::text) from job",
            )
            .bind(id)
            .bind(title)
            .execute(tx)
            .await?;
        Ok(done.rows_affected() > 0)
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
}

/// Locks the job's row and gives its state. A match that was deleted is none.
pub(in crate::store) async fn lock_job(store: &Store, tx: &mut PgConnection, id: Uuid) -> Result<JobState, StoreError> {
    let row = store
        .query("select state from touchline.jobs where id = $1 and removed_at is null for update")
        .bind(id)
        .fetch_optional(tx)
        .await?
        .ok_or(StoreError::NoJob(id))?;
    let word: String = row.try_get("state")?;
    Ok(JobState::from_word(&word).unwrap_or(JobState::Running))
}

/// Ends what is not done of a job whose row is locked, under numbers that nobody holds.
pub(in crate::store) async fn end_chunks(store: &Store, tx: &mut PgConnection, job: Uuid) -> Result<(), StoreError> {
    const ENDED: Edge = Edge::chunk(ChunkState::Running, ChunkEvent::JobEnded);
    store
        .query(
            "update touchline.chunks set state = $2, attempt = attempt + 1, worker_id = null, lease_until = null,
                finished_at = now()
             where job_id = $1 and state in ('waiting', 'queued', 'running')",
        )
        .bind(job)
        .bind(ENDED.to)
        .execute(&mut *tx)
        .await?;
    // A statement of its own: it sees the attempt of a claim for which the one before had to wait.
    store
        .query(
            "update touchline.attempts set ended_at = now(), outcome = 'job_ended' where job_id = $1 and ended_at is null",
        )
        .bind(job)
        .execute(tx)
        .await?;
    Ok(())
}

/// Takes a job whose row is locked from one state to a bad end: its chunks too, under numbers that nobody holds.
pub(in crate::store) async fn end_job(
    store: &Store,
    tx: &mut PgConnection,
    id: Uuid,
    edge: Edge,
    failure: Option<(FailureCode, &str)>,
) -> Result<(), StoreError> {
    end_chunks(store, tx, id).await?;
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
