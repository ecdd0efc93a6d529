//! Rescue: whatever lost its holder goes on elsewhere, and what cannot go on fails with a code.

use std::time::Duration;

use serde::Serialize;
use sqlx::Row;
use uuid::Uuid;

use super::jobs::{end_job, lock_job};
use super::{Edge, Store, StoreError, Transaction, read_json, seconds};
use crate::failure::FailureCode;
use crate::ladder::{Ladder, Top};
use crate::state::{ChunkEvent, ChunkState, JobEvent, JobState};

/// Limits of patience.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Workers that may fall silent on a chunk in a row without committing a segment. The engine is a process of its
    /// own, so media that kills does not kill a worker; silence mostly is the machine. 8.
    pub deaths: i32,
    /// Tries that may fail in a row without committing a segment. 10.
    pub tries: i32,
    /// A released chunk that nobody claims is sent again after this; doubles with each time, up to 16 times. 60 s.
    pub resend_after: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { deaths: 8, tries: 10, resend_after: Duration::from_secs(60) }
    }
}

/// A lease that ran out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Lost {
    /// Job.
    pub job: Uuid,
    /// Chunk.
    pub chunk: i32,
    /// The attempt that is void now.
    pub attempt: i32,
    /// Who held it.
    pub worker: Option<Uuid>,
    /// Silent workers in a row, this one included.
    pub deaths: i32,
}

/// A chunk that was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenUp {
    /// Job.
    pub job: Uuid,
    /// Chunk.
    pub chunk: i32,
    /// The attempt that it had when it was seen so.
    pub attempt: i32,
    /// Why.
    pub code: FailureCode,
    /// In a sentence.
    pub message: String,
}

impl Store {
    /// Takes chunks back whose lease ran out; their next attempt starts after the last committed segment.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn take_back_lost(&self, limit: u32) -> Result<Vec<Lost>, StoreError> {
        const LOST: Edge = Edge::chunk(ChunkState::Running, ChunkEvent::Lost);
        let mut tx = self.begin().await?;
        let rows = self
            .query(
                "with lost as (
                select job_id, chunk, attempt, worker_id,
                    exists (select from touchline.segments s where s.job_id = c.job_id and s.chunk = c.chunk
                        and s.attempt = c.attempt) as progressed
                from touchline.chunks c where state = 'running' and lease_until < now()
                order by lease_until limit $1 for update skip locked),
             back as (
                update touchline.chunks c
                set state = $3, attempt = c.attempt + 1, worker_id = null, lease_until = null, not_before = now(),
                    deaths = case when l.progressed then 1 else c.deaths + 1 end
                from lost l
                where c.job_id = l.job_id and c.chunk = l.chunk and c.attempt = l.attempt and c.state = $2
                returning c.job_id, c.chunk, l.attempt, l.worker_id, c.deaths, c.progress),
             ended as (
                update touchline.attempts a set ended_at = now(), outcome = 'lost', made = b.progress
                from back b where a.job_id = b.job_id and a.chunk = b.chunk and a.attempt = b.attempt)
             select * from back",
            )
            .bind(i64::from(limit))
            .bind(LOST.from)
            .bind(LOST.to)
            .fetch_all(&mut *tx)
            .await?;
        let lost: Vec<Lost> = rows
            .into_iter()
            .map(|r| {
                Ok(Lost {
                    job: r.try_get("job_id")?,
                    chunk: r.try_get("chunk")?,
                    attempt: r.try_get("attempt")?,
                    worker: r.try_get("worker_id")?,
                    deaths: r.try_get("deaths")?,
                })
            })
            .collect::<Result<_, sqlx::Error>>()?;
        for one in &lost {
            super::work::plan_lost(self, &mut tx, one.job).await?;
        }
        tx.commit().await?;
        Ok(lost)
    }

    /// Sends a message again for released chunks that nobody claims: it may have been lost. The attempt is the same, so
    /// a second copy changes nothing.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn resend(&self, patience: Patience) -> Result<u64, StoreError> {
        let done = self
            .query(
                "with stuck as (
                select job_id, chunk from touchline.chunks
                where state = 'queued' and sent_at < now() - make_interval(secs => $1 * power(2, least(sends - 1, 4)))
                order by sent_at limit 200 for update skip locked),
             again as (
                update touchline.chunks c set sent_at = now(), sends = c.sends + 1 from stuck s
                where c.job_id = s.job_id and c.chunk = s.chunk returning c.region, c.job_id, c.chunk, c.attempt)
             insert into touchline.outbox (region, job_id, chunk, attempt) select * from again",
            )
            .bind(seconds(patience.resend_after))
            .execute(&self.pool)
            .await?;
        Ok(done.rows_affected())
    }

    /// Takes back what was released to a region that does not answer, under new attempts.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn recall(&self, region: &str) -> Result<u64, StoreError> {
        const RECALL: Edge = Edge::chunk(ChunkState::Queued, ChunkEvent::Recalled);
        let done = self
            .query(
                "update touchline.chunks set state = $2, attempt = attempt + 1, not_before = now()
             where state = 'queued' and state = $1 and region = $3",
            )
            .bind(RECALL.from)
            .bind(RECALL.to)
            .bind(region)
            .execute(&self.pool)
            .await?;
        Ok(done.rows_affected())
    }

    /// Chunks of unfinished jobs that no further try will mend.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn given_up(&self, patience: Patience) -> Result<Vec<GivenUp>, StoreError> {
        let rows = self
            .query(
                "select c.job_id, c.chunk, c.attempt, c.state, c.deaths, c.tries, c.last_code, c.last_message
             from touchline.jobs j join touchline.chunks c on c.job_id = j.id
             where j.state in ('queued', 'planning', 'running', 'publishing')
                and (c.state = 'failed' or c.state in ('waiting', 'queued') and (c.deaths >= $1 or c.tries >= $2))
             order by c.job_id, c.chunk limit 200",
            )
            .bind(patience.deaths)
            .bind(patience.tries)
            .fetch_all(&self.pool)
            .await?;
        rows.into_iter()
            .map(|r| {
                let code: Option<String> = r.try_get("last_code")?;
                let message: Option<String> = r.try_get("last_message")?;
                let deaths: i32 = r.try_get("deaths")?;
                let (job, chunk, attempt) = (r.try_get("job_id")?, r.try_get("chunk")?, r.try_get("attempt")?);
                let failed = r.try_get::<String, _>("state")? == ChunkState::Failed.as_str();
                Ok(if !failed && deaths >= patience.deaths {
                    let message = format!("{deaths} workers in a row fell silent on chunk {chunk}");
                    GivenUp { job, chunk, attempt, code: FailureCode::WorkersLost, message }
                } else {
                    let code = code.as_deref().and_then(FailureCode::from_code).unwrap_or(FailureCode::Internal);
                    GivenUp { job, chunk, attempt, code, message: message.unwrap_or_default() }
                })
            })
            .collect()
    }

    /// Fails the job of a chunk that was given up. `false` when that is no longer so: the job has ended, was deleted, is tried
    /// again, or has another plan.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn fail_given_up(&self, gone: &GivenUp) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        // The job's row first: a retry holds it while it gives the chunk its next number.
        let state = match lock_job(self, &mut tx, gone.job).await {
            Err(StoreError::NoJob(_)) => return Ok(false),
            other => other?,
        };
        let Ok(failed) = Edge::of_job(state, JobEvent::Failed) else { return Ok(false) };
        if !is_given_up(self, &mut tx, gone).await? {
            return Ok(false);
        }
        end_job(self, &mut tx, gone.job, failed, Some((gone.code, &gone.message))).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Withdraws the plan of a chunk that was given up because its copied packets proved unfit, and queues the job again to
    /// encode them. `false` when that is no longer so.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn replan_without_copy(&self, gone: &GivenUp) -> Result<bool, StoreError> {
        const REPLAN: Edge = Edge::job(JobState::Running, JobEvent::Replanned);
        let job = gone.job;
        let mut tx = self.begin().await?;
        let Some(row) = self
            .query("select ladder from touchline.jobs where id = $1 and state = $2 for update")
            .bind(job)
            .bind(REPLAN.from)
            .fetch_optional(&mut *tx)
            .await?
        else {
            return Ok(false);
        };
        // Another dispatcher may have planned it again, and the next plan be at work.
        if !is_given_up(self, &mut tx, gone).await? {
            return Ok(false);
        }
        let mut ladder: Ladder = read_json("ladder", row.try_get("ladder")?)?;
        ladder.top = Top::Encode;
        // The next plan numbers its chunks from the start; attempts go on, so that no old message fits.
        let row = self
            .query("select max(attempt) as attempt from touchline.chunks where job_id = $1")
            .bind(job)
            .fetch_one(&mut *tx)
            .await?;
        let attempt: i32 = row.try_get("attempt")?;
        for sql in [
            "delete from touchline.chunks where job_id = $1",
            "delete from touchline.renditions where job_id = $1",
            "delete from touchline.publications where job_id = $1",
            "delete from touchline.parts where job_id = $1",
        ] {
            self.query(sql).bind(job).execute(&mut *tx).await?;
        }
        self.query(
            "insert into touchline.chunks (job_id, chunk, kind, position, attempt) values ($1, 0, 'plan', -1, $2)",
        )
        .bind(job)
        .bind(attempt + 1)
        .execute(&mut *tx)
        .await?;
        self.query(
            "update touchline.jobs set state = $3, ladder = $4, plan = null, backend = null, end_frames = null, damaged = 0,
                watchable_ms = 0, first_playable_at = null, generation = generation + 1, focus_segment = 0,
                updated_at = now() where id = $1 and state = $2",
        )
        .bind(job)
        .bind(REPLAN.from)
        .bind(REPLAN.to)
        .bind(super::to_json("ladder", &ladder)?)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Moves jobs whose last chunk is done to publishing; gives how many.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn begin_publishing(&self) -> Result<u64, StoreError> {
        const DONE: Edge = Edge::job(JobState::Running, JobEvent::ChunksDone);
        const READY: &str = "select j.id from touchline.jobs j where j.state = 'running'
            and not exists (select from touchline.chunks c where c.job_id = j.id and c.state <> 'done')";
        let ready: Vec<(Uuid,)> = self.query_as(READY).fetch_all(&self.pool).await?;
        if ready.is_empty() {
            return Ok(0);
        }
        // Their rows first, then another look: meanwhile a chunk may have been withdrawn, by whoever held the rows.
        let ready: Vec<Uuid> = ready.into_iter().map(|(id,)| id).collect();
        let mut tx = self.begin().await?;
        self.query("select 1 from touchline.jobs where id = any($1) order by id for update")
            .bind(&ready)
            .execute(&mut *tx)
            .await?;
        let done = self
            .query(
                "update touchline.jobs j set state = $2, updated_at = now()
             where j.id = any($3) and j.state = $1
                and not exists (select from touchline.chunks c where c.job_id = j.id and c.state <> 'done')",
            )
            .bind(DONE.from)
            .bind(DONE.to)
            .bind(&ready)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(done.rows_affected())
    }
}

/// Whether a chunk is still given up as it was seen: under the same attempt, and at rest.
async fn is_given_up(store: &Store, tx: &mut Transaction, gone: &GivenUp) -> Result<bool, StoreError> {
    let (still,) = store
        .query_as(
            "select exists (select from touchline.chunks
                where job_id = $1 and chunk = $2 and attempt = $3 and state in ('waiting', 'queued', 'failed'))",
        )
        .bind(gone.job)
        .bind(gone.chunk)
        .bind(gone.attempt)
        .fetch_one(&mut **tx)
        .await?;
    Ok(still)
}
