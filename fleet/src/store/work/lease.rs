//! The lease of a claimed chunk, which heartbeats move.

use std::time::Duration;

use sqlx::Row;
use uuid::Uuid;

use super::AttemptId;
use crate::store::{Store, StoreError, seconds, signed, unsigned};

/// Progress of a running attempt, told with a heartbeat.
#[derive(Clone, Copy, Debug)]
pub struct Beat {
    /// The attempt.
    pub id: AttemptId,
    /// Output frames made so far.
    pub progress: u64,
}

/// An attempt that is still held, as the answer to a heartbeat says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The attempt.
    pub id: AttemptId,
    /// Segment after the last, which a split moves; `None` to the end of the source, and for what is no run of segments.
    pub end: Option<u64>,
}

impl Store {
    /// Moves the leases of running attempts; gives those that are still held, with their ends.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn heartbeat(&self, worker: Uuid, beats: &[Beat], lease: Duration) -> Result<Vec<Kept>, StoreError> {
        if beats.is_empty() {
            return Ok(Vec::new());
        }
        let jobs: Vec<Uuid> = beats.iter().map(|b| b.id.job).collect();
        let chunks: Vec<i32> = beats.iter().map(|b| b.id.chunk).collect();
        let attempts: Vec<i32> = beats.iter().map(|b| b.id.attempt).collect();
        let progress: Vec<i64> = beats.iter().map(|b| signed(b.progress)).collect();
        let rows = self
            .query(
                "update touchline.chunks c set lease_until = now() + make_interval(secs => $5), progress = b.progress
             from unnest($1::uuid[], $2::int[], $3::int[], $4::bigint[]) b(job, chunk, attempt, progress)
             where c.job_id = b.job and c.chunk = b.chunk and c.attempt = b.attempt and c.worker_id = $6
                and c.state = 'running'
             returning c.job_id, c.chunk, c.attempt, c.end_segment",
            )
            .bind(&jobs)
            .bind(&chunks)
            .bind(&attempts)
            .bind(&progress)
            .bind(seconds(lease))
            .bind(worker)
            .fetch_all(&self.pool)
            .await?;
        rows.into_iter()
            .map(|r| {
                let (job, chunk, attempt) = (r.try_get("job_id")?, r.try_get("chunk")?, r.try_get("attempt")?);
                let end = r.try_get::<Option<i64>, _>("end_segment")?.map(unsigned);
                Ok(Kept { id: AttemptId { job, chunk, attempt, worker }, end })
            })
            .collect()
    }
}
