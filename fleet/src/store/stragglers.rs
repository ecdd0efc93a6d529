//! Stragglers: what is known of chunks at work, and what is done about one that is far slower than its siblings.
//!
//! Each row has one holder at any time, whatever happens here. A chunk is *split*: its holder keeps what it has done and the
//! segment in work, and all that follows becomes a chunk of its own. Or it is *taken back*, when nothing follows. Both name
//! the attempt that was judged, and change nothing when that is no longer the one at work.
//!
//! The rest goes on under a number above that of the attempt that was split, so that what the old holder still writes past
//! its new end has another name.

use sqlx::Row;
use time::OffsetDateTime;
use uuid::Uuid;

use super::capacity::{Encoded, encoded};
use super::{Edge, Store, StoreError, read_json, signed, unsigned};
use crate::plan::JobPlan;
use crate::state::{ChunkEvent, ChunkState};

/// Chunks at work that one look takes at most.
const MOST_CHUNKS: i64 = 10_000;
/// Said of an attempt that was taken back.
const TAKEN_BACK: &str = "far slower than its siblings; goes on elsewhere";

/// A chunk of pictures at work on a machine that is counted.
#[derive(Clone, Debug, PartialEq)]
pub struct AtWork {
    /// Job.
    pub job: Uuid,
    /// Chunk.
    pub chunk: i32,
    /// Attempt.
    pub attempt: i32,
    /// The provider's name of the machine.
    pub instance: String,
    /// When its worker took it.
    pub claimed_at: OffsetDateTime,
    /// What is encoded.
    pub encoded: Encoded,
    /// Seconds of video that this attempt has to make.
    pub total_s: f64,
    /// Seconds of video that it has made, as of its last heartbeat.
    pub done_s: f64,
    /// Segments that are not committed, the one in work included; `None` for a chunk to the end of the source.
    pub segments: Option<u32>,
    /// Seconds of video of a segment: those of the plan's grid, their mean where it follows the key frames of the source.
    pub segment_s: f64,
    /// How often it was split.
    pub splits: u32,
    /// Whether it was taken back before.
    pub taken_back: bool,
}

/// What became of a split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// The rest is a chunk of its own.
    Rest {
        /// Its number.
        chunk: i32,
        /// Its first segment: the end of the chunk that was split.
        first: u64,
    },
    /// Nothing follows the segment in work.
    NoRest,
    /// The attempt is no longer at work.
    NotAtWork,
}

/// A chunk's row, as a split needs it.
#[derive(sqlx::FromRow)]
struct Whole {
    first_segment: i64,
    end_segment: Option<i64>,
    worker_id: Option<Uuid>,
}

#[derive(sqlx::FromRow)]
struct Running {
    job_id: Uuid,
    chunk: i32,
    attempt: i32,
    instance: String,
    claimed_at: OffsetDateTime,
    rate: serde_json::Value,
    renditions: serde_json::Value,
    seconds: f64,
    before_s: f64,
    progress: i64,
    segments: Option<i64>,
    segment_frames: Option<f64>,
    splits: i32,
    taken_back: bool,
}

impl Store {
    /// Chunks of pictures at work, on machines that are counted.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn chunks_at_work(&self) -> Result<Vec<AtWork>, StoreError> {
        let rows: Vec<Running> = self
            .query_as(
                "select c.job_id, c.chunk, c.attempt, w.instance, c.claimed_at, j.plan->'video'->'rate' as rate,
                j.plan->'video'->'renditions' as renditions, c.seconds, coalesce(s.before_s, 0)::float8 as before_s,
                c.progress, c.end_segment - greatest(c.first_segment, coalesce(s.next, 0)) as segments,
                coalesce((g.borders->'every'->>'frames')::float8, (g.borders->'at'->'starts'->>-1)::float8
                    / nullif(jsonb_array_length(g.borders->'at'->'starts') - 1, 0)) as segment_frames,
                c.splits, c.taken_back
             from touchline.chunks c join touchline.jobs j on j.id = c.job_id
             join touchline.workers w on w.id = c.worker_id and w.instance <> ''
             cross join lateral (select j.plan->'video'->'grid'->'borders' as borders) g
             left join lateral (
                select max(s.index) + 1 as next, sum(s.seconds) filter (where s.attempt <> c.attempt)
                    / greatest(1, jsonb_array_length(j.plan->'video'->'renditions')) as before_s
                from touchline.segments s join touchline.renditions r
                    on r.job_id = s.job_id and r.name = s.rendition and r.kind = 'video'
                where s.job_id = c.job_id and s.chunk = c.chunk) s on true
             where c.state = 'running' and c.kind = 'video' and j.state = 'running' and j.plan is not null
             order by c.claimed_at, c.job_id, c.chunk limit $1",
            )
            .bind(MOST_CHUNKS)
            .fetch_all(&self.pool)
            .await?;
        rows.into_iter().map(at_work).collect()
    }

    /// Splits a chunk after the segment that its holder works on: the rest is released elsewhere, when anybody else takes
    /// it. The holder learns of its new end with its next heartbeat, or when it commits a segment past it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn split_chunk(&self, job: Uuid, chunk: i32, attempt: i32) -> Result<Split, StoreError> {
        let mut tx = self.begin().await?;
        // Jobs before chunks, as everybody who takes both. Whoever ends the job comes before, or sees the rest.
        let Some(row) = self
            .query("select plan, expected_frames from touchline.jobs where id = $1 and state = 'running' for update")
            .bind(job)
            .fetch_optional(&mut *tx)
            .await?
        else {
            return Ok(Split::NotAtWork);
        };
        let plan: Option<serde_json::Value> = row.try_get("plan")?;
        let expected: Option<i64> = row.try_get("expected_frames")?;
        let Some(plan) = plan.map(|value| read_json::<JobPlan>("plan", value)).transpose()? else {
            return Ok(Split::NotAtWork);
        };
        // Whoever commits a segment shares this row: what is counted from here on does not change.
        let whole: Option<Whole> = self
            .query_as(
                "select first_segment, end_segment, worker_id from touchline.chunks
                 where job_id = $1 and chunk = $2 and attempt = $3 and state = 'running' and kind = 'video' for update",
            )
            .bind(job)
            .bind(chunk)
            .bind(attempt)
            .fetch_optional(&mut *tx)
            .await?;
        let Some(whole) = whole else { return Ok(Split::NotAtWork) };
        let row = self
            .query(
                "select max(s.index) as last from touchline.segments s join touchline.renditions r
                    on r.job_id = s.job_id and r.name = s.rendition and r.kind = 'video'
                 where s.job_id = $1 and s.index >= $2 and s.index < coalesce($3, s.index + 1)",
            )
            .bind(job)
            .bind(whole.first_segment)
            .bind(whole.end_segment)
            .fetch_one(&mut *tx)
            .await?;
        let last: Option<i64> = row.try_get("last")?;
        let video = &plan.video;
        let (begin, end) = (unsigned(whole.first_segment), whole.end_segment.map(unsigned));
        let expected = unsigned(expected.unwrap_or(0));
        let first = rest_from(begin, last.map(unsigned));
        if first >= end.unwrap_or_else(|| video.grid.segments(expected)) {
            return Ok(Split::NoRest);
        }
        // To the end of the source, as far as it is known, where the grid has no border.
        let start = |segment: u64| video.grid.start(segment).unwrap_or(expected);
        let seconds = |from: u64, until: u64| video.rate.seconds(until.saturating_sub(from));
        let kept_s = seconds(start(begin), start(first));
        let rest_s = seconds(start(first), end.map_or(expected, start));
        self.query(
            "update touchline.chunks set end_segment = $5, seconds = $6, splits = splits + 1
             where job_id = $1 and chunk = $2 and attempt = $3 and state = $4",
        )
        .bind(job)
        .bind(chunk)
        .bind(attempt)
        .bind(ChunkState::Running.as_str())
        .bind(signed(first))
        .bind(kept_s)
        .execute(&mut *tx)
        .await?;
        let row = self
            .query(
                "insert into touchline.chunks (job_id, chunk, kind, position, first_segment, end_segment, seconds, attempt,
                    splits, split_from, avoid_worker)
                 select job_id, (select max(chunk) + 1 from touchline.chunks where job_id = $1), kind,
                    position + 2 * ($3 - first_segment), $3, $4, $5, attempt + 1, splits, chunk, $6
                 from touchline.chunks where job_id = $1 and chunk = $2 returning chunk",
            )
            .bind(job)
            .bind(chunk)
            .bind(signed(first))
            .bind(whole.end_segment)
            .bind(rest_s)
            .bind(whole.worker_id)
            .fetch_one(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(Split::Rest { chunk: row.try_get("chunk")?, first })
    }

    /// Takes a chunk back from a worker that is far too slow with what is left of it: nobody's fault, and once at most. The
    /// next attempt goes on after the last committed segment. `false` when nothing was taken.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn take_back_slow(&self, job: Uuid, chunk: i32, attempt: i32) -> Result<bool, StoreError> {
        const BACK: Edge = Edge::chunk(ChunkState::Running, ChunkEvent::HandedBack);
        let done = self
            .query(
                "with back as (
                update touchline.chunks set state = $5, attempt = attempt + 1, worker_id = null, lease_until = null,
                    not_before = now(), taken_back = true, avoid_worker = worker_id
                where job_id = $1 and chunk = $2 and attempt = $3 and state = $4 and kind = 'video' and not taken_back
                returning progress)
             update touchline.attempts a set ended_at = now(), outcome = 'handed_back', made = back.progress, message = $6
             from back where a.job_id = $1 and a.chunk = $2 and a.attempt = $3",
            )
            .bind(job)
            .bind(chunk)
            .bind(attempt)
            .bind(BACK.from)
            .bind(BACK.to)
            .bind(TAKEN_BACK)
            .execute(&self.pool)
            .await?;
        Ok(done.rows_affected() == 1)
    }
}

/// Where the rest begins of a chunk from `first` on whose last committed segment is `last`, in whichever rendition is ahead:
/// after the segment in work, which follows it.
#[must_use]
pub fn rest_from(first: u64, last: Option<u64>) -> u64 {
    last.map_or(first, |last| last + 1) + 1
}

fn at_work(row: Running) -> Result<AtWork, StoreError> {
    let encoded = encoded(row.rate, row.renditions)?;
    let made = unsigned(row.progress);
    let total_s = (row.seconds - row.before_s).max(0.0);
    Ok(AtWork {
        job: row.job_id,
        chunk: row.chunk,
        attempt: row.attempt,
        instance: row.instance,
        claimed_at: row.claimed_at,
        total_s,
        done_s: encoded.rate.seconds(made),
        segments: row.segments.map(|n| u32::try_from(n).unwrap_or(0)),
        // A grid with one border has one segment: the whole.
        segment_s: row.segment_frames.map_or(total_s, |frames| frames / encoded.rate.as_f64()),
        encoded,
        splits: u32::try_from(row.splits).unwrap_or(0),
        taken_back: row.taken_back,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_keeps_what_is_committed_and_the_segment_in_work() {
        assert_eq!(rest_from(8, None), 9, "it has made nothing yet");
        assert_eq!(rest_from(8, Some(8)), 10);
        assert_eq!(rest_from(0, Some(5)), 7);
    }
}
