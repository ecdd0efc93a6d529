//! Chunks that were encoded lately, to measure how fast machines are.

use std::time::Duration;

use time::OffsetDateTime;
use uuid::Uuid;

use super::work::{Encoded, encoded};
use crate::store::{Store, StoreError, seconds};

/// A chunk of pictures that one attempt finished.
#[derive(Clone, Debug, PartialEq)]
pub struct EncodedRow {
    /// Pool of its worker.
    pub pool: String,
    /// Its worker.
    pub worker: Uuid,
    /// Output frames that this attempt made.
    pub frames: i64,
    /// What was encoded.
    pub encoded: Encoded,
    /// When the worker took it.
    pub claimed_at: OffsetDateTime,
    /// When it was done.
    pub ended_at: OffsetDateTime,
}

#[derive(sqlx::FromRow)]
struct Row {
    pool: String,
    worker_id: Uuid,
    made: i64,
    rate: serde_json::Value,
    renditions: serde_json::Value,
    claimed_at: OffsetDateTime,
    ended_at: OffsetDateTime,
}

impl Store {
    /// The last `most` chunks of pictures of each pool that were done within `within`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn encoded_chunks(&self, within: Duration, most: u32) -> Result<Vec<EncodedRow>, StoreError> {
        let rows: Vec<Row> = self
            .query_as(
                "with recent as (
                    select a.*, row_number() over (partition by a.pool order by a.ended_at desc) as place
                    from touchline.attempts a
                    where a.outcome = 'done' and a.pool <> '' and a.made > 0
                        and a.ended_at > now() - make_interval(secs => $1))
                 select r.pool, r.worker_id, r.made, j.plan->'video'->'rate' as rate,
                    j.plan->'video'->'renditions' as renditions, r.claimed_at, r.ended_at
                 from recent r join touchline.jobs j on j.id = r.job_id and j.plan is not null
                 join touchline.chunks c on c.job_id = r.job_id and c.chunk = r.chunk and c.kind = 'video'
                 where r.place <= $2 order by r.ended_at desc, r.job_id, r.chunk",
            )
            .bind(seconds(within))
            .bind(i64::from(most))
            .fetch_all(&self.pool)
            .await?;
        rows.into_iter()
            .map(|row| {
                Ok(EncodedRow {
                    pool: row.pool,
                    worker: row.worker_id,
                    frames: row.made,
                    encoded: encoded(row.rate, row.renditions)?,
                    claimed_at: row.claimed_at,
                    ended_at: row.ended_at,
                })
            })
            .collect()
    }
}
