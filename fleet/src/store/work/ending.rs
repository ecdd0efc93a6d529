//! How attempts end: with the chunk done, or without.

use std::time::Duration;

use sqlx::Row;
use uuid::Uuid;

use super::AttemptId;
use crate::failure::FailureCode;
use crate::state::{ChunkEvent, ChunkState, JobEvent, JobState};
use crate::store::{Edge, Store, StoreError, Transaction, seconds, signed, unsigned};

/// How an attempt ends without the chunk being done.
#[derive(Clone, Debug)]
pub enum Ending {
    /// In order, at a drain: nobody's fault.
    HandedBack,
    /// May pass: try again after a while.
    TryAgain {
        /// Code.
        code: FailureCode,
        /// For the log.
        message: String,
        /// How long to wait.
        after: Duration,
    },
    /// No retry mends it.
    GaveUp {
        /// Code.
        code: FailureCode,
        /// For the log.
        message: String,
    },
}

/// How ending a chunk went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completed {
    /// It is done.
    Done,
    /// A row that was thought to be there is not; the chunk goes on.
    SegmentsMissing,
    /// The attempt is no longer ours.
    LeaseLost,
}

/// How a chunk was completed.
#[derive(Debug, Default)]
pub struct Completion<'a> {
    /// Renditions, and segments from the first to before the end, all of whose rows must be there.
    pub segments: Option<(Vec<String>, u64, u64)>,
    /// Output frames or samples that this attempt made.
    pub made: u64,
    /// Output frames of the whole source, when its end was met.
    pub source_end: Option<u64>,
    /// Damaged places that were found.
    pub damaged: u64,
    /// The sound track that is complete now.
    pub ended_rendition: Option<&'a str>,
    /// What a person should know.
    pub warning: Option<&'a str>,
}

impl Store {
    /// Ends a video or audio chunk, if the rows of its segments are all there.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn complete(&self, id: AttemptId, done: &Completion<'_>) -> Result<Completed, StoreError> {
        let mut tx = self.begin().await?;
        // The chunk's row first: who withdraws segments holds it, and what is counted after that stays.
        if !finish(self, &mut tx, id, done.made).await? {
            return Ok(Completed::LeaseLost);
        }
        if let Some((renditions, first, end)) = &done.segments {
            let row = self
                .query(
                    "select count(*) as n from touchline.segments
                     where job_id = $1 and rendition = any($2) and index >= $3 and index < $4",
                )
                .bind(id.job)
                .bind(renditions)
                .bind(signed(*first))
                .bind(signed(*end))
                .fetch_one(&mut *tx)
                .await?;
            let wanted = end.saturating_sub(*first) * renditions.len() as u64;
            if unsigned(row.try_get("n")?) != wanted {
                tx.rollback().await?;
                return Ok(Completed::SegmentsMissing);
            }
        }
        if done.source_end.is_some() || done.damaged > 0 {
            self.query(
                "update touchline.jobs set end_frames = greatest(end_frames, $2), damaged = damaged + $3,
                    updated_at = now() where id = $1",
            )
            .bind(id.job)
            .bind(done.source_end.map(signed))
            .bind(signed(done.damaged))
            .execute(&mut *tx)
            .await?;
        }
        if let Some(rendition) = done.ended_rendition {
            self.query("update touchline.renditions set ended = true where job_id = $1 and name = $2")
                .bind(id.job)
                .bind(rendition)
                .execute(&mut *tx)
                .await?;
        }
        if let Some(warning) = done.warning {
            self.query("update touchline.jobs set warnings = warnings || to_jsonb($2::text) where id = $1")
                .bind(id.job)
                .bind(warning)
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await?;
        Ok(Completed::Done)
    }

    /// Ends an attempt without the chunk being done. `false` when it is no longer ours.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn end_attempt(&self, id: AttemptId, made: u64, ending: &Ending) -> Result<bool, StoreError> {
        const BACK: Edge = Edge::chunk(ChunkState::Running, ChunkEvent::HandedBack);
        const AGAIN: Edge = Edge::chunk(ChunkState::Running, ChunkEvent::TryAgain);
        const OVER: Edge = Edge::chunk(ChunkState::Running, ChunkEvent::GaveUp);
        let (edge, outcome, code, message, after, tries) = match ending {
            Ending::HandedBack => (BACK, "handed_back", None, None, Duration::ZERO, 0),
            Ending::TryAgain { code, message, after } => (AGAIN, "try_again", Some(code), Some(message), *after, 1),
            Ending::GaveUp { code, message } => (OVER, "gave_up", Some(code), Some(message), Duration::ZERO, 1),
        };
        let mut tx = self.begin().await?;
        let changed = self
            .query(
                "update touchline.chunks c set state = $6,
                attempt = attempt + case when $6 = 'waiting' then 1 else 0 end,
                worker_id = case when $6 = 'waiting' then null else worker_id end, lease_until = null,
                finished_at = case when $6 = 'waiting' then null else now() end,
                not_before = now() + make_interval(secs => $7),
                tries = case when exists (select from touchline.segments s where s.job_id = $1 and s.chunk = $2
                    and s.attempt = $3) then $8 else tries + $8 end,
                last_code = coalesce($9, last_code), last_message = coalesce($10, last_message)
             where job_id = $1 and chunk = $2 and attempt = $3 and worker_id = $4 and state = $5",
            )
            .bind(id.job)
            .bind(id.chunk)
            .bind(id.attempt)
            .bind(id.worker)
            .bind(edge.from)
            .bind(edge.to)
            .bind(seconds(after))
            .bind(tries)
            .bind(code.map(|c| c.as_str()))
            .bind(message)
            .execute(&mut *tx)
            .await?;
        if changed.rows_affected() == 0 {
            return Ok(false);
        }
        end_row(self, &mut tx, id, outcome, made, code.copied(), message.map(String::as_str)).await?;
        plan_lost(self, &mut tx, id.job).await?;
        tx.commit().await?;
        Ok(true)
    }
}

/// Takes a chunk to done.
pub(super) async fn finish(store: &Store, tx: &mut Transaction, id: AttemptId, made: u64) -> Result<bool, StoreError> {
    const DONE: Edge = Edge::chunk(ChunkState::Running, ChunkEvent::Completed);
    let done = store
        .query(
            "update touchline.chunks set state = $6, lease_until = null, finished_at = now()
         where job_id = $1 and chunk = $2 and attempt = $3 and worker_id = $4 and state = $5",
        )
        .bind(id.job)
        .bind(id.chunk)
        .bind(id.attempt)
        .bind(id.worker)
        .bind(DONE.from)
        .bind(DONE.to)
        .execute(&mut **tx)
        .await?;
    if done.rows_affected() == 0 {
        return Ok(false);
    }
    end_row(store, tx, id, "done", made, None, None).await?;
    Ok(true)
}

async fn end_row(
    store: &Store,
    tx: &mut Transaction,
    id: AttemptId,
    outcome: &str,
    made: u64,
    code: Option<FailureCode>,
    message: Option<&str>,
) -> Result<(), StoreError> {
    store
        .query(
            "update touchline.attempts set ended_at = now(), outcome = $4, made = $5, code = $6, message = $7
         where job_id = $1 and chunk = $2 and attempt = $3",
        )
        .bind(id.job)
        .bind(id.chunk)
        .bind(id.attempt)
        .bind(outcome)
        .bind(signed(made))
        .bind(code.map(FailureCode::as_str))
        .bind(message)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// A job whose plan is not being made any more is queued again.
pub(in crate::store) async fn plan_lost(store: &Store, tx: &mut Transaction, job: Uuid) -> Result<(), StoreError> {
    const LOST: Edge = Edge::job(JobState::Planning, JobEvent::PlanLost);
    store
        .query(
            "update touchline.jobs set state = $3, updated_at = now() where id = $1 and state = $2
            and exists (select from touchline.chunks where job_id = $1 and kind = 'plan' and state = 'waiting')",
        )
        .bind(job)
        .bind(LOST.from)
        .bind(LOST.to)
        .execute(&mut **tx)
        .await?;
    Ok(())
}
