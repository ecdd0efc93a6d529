//! The claim of a chunk that was released.

use std::time::Duration;

use sqlx::Row;
use uuid::Uuid;

use super::{AttemptId, Work};
use crate::ladder::Ladder;
use crate::plan::JobPlan;
use crate::queue::Message;
use crate::state::{ChunkEvent, ChunkState, JobEvent, JobState};
use crate::store::{Edge, Store, StoreError, read_json, seconds, unsigned};

/// A claimed chunk with what is needed to work on it.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The attempt, which fences everything.
    pub id: AttemptId,
    /// What to do.
    pub work: Work,
    /// Owner of the job; part of the keys.
    pub organisation: Uuid,
    /// Where the source lies.
    pub source: String,
    /// Identity of the bytes that were planned.
    pub source_identity: Option<String>,
    /// The ladder, for planning.
    pub ladder: Ladder,
    /// Encoder asked for.
    pub encoder: String,
    /// Which plan; part of the keys.
    pub generation: i32,
    /// The plan.
    pub plan: Option<JobPlan>,
    /// Output frames of the whole source, when its end was met already.
    pub end_frames: Option<u64>,
}

/// What happened to a claim.
#[derive(Clone, Debug)]
pub enum Claimed {
    /// It is ours.
    Ours(Box<Claim>),
    /// The message is stale or a duplicate: delete it.
    Stale,
    /// The chunk waits for a worker with another encoder: hand the message back.
    OtherBackend,
    /// This worker was too slow with it, and another may take it: hand the message back for a moment.
    Elsewhere,
}

/// A worker that was too slow with a chunk gets it again when nobody else took it for this long, seconds.
const AVOIDED_S: f64 = 20.0;

impl Store {
    /// Claims a chunk for a worker, for the length of `lease`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn claim(
        &self,
        message: &Message,
        worker: Uuid,
        region: &str,
        backends: &[String],
        lease: Duration,
    ) -> Result<Claimed, StoreError> {
        const CLAIM: Edge = Edge::chunk(ChunkState::Queued, ChunkEvent::Claimed);
        const PLAN: Edge = Edge::job(JobState::Queued, JobEvent::PlanClaimed);
        let row = self.query(
            "with claimed as (
                update touchline.chunks c
                set state = $5, worker_id = $6, lease_until = now() + make_interval(secs => $7), claimed_at = now(),
                    progress = 0
                from touchline.jobs j
                where c.job_id = $1 and c.chunk = $2 and c.attempt = $3 and c.state = $4 and j.id = c.job_id
                    and j.state in ('queued', 'planning', 'running') and (j.backend is null or j.backend = any($8))
                    and (c.avoid_worker is distinct from $6 or c.queued_at < now() - make_interval(secs => $12))
                returning c.job_id, c.chunk, c.attempt, c.kind, c.first_segment, c.end_segment, c.rendition,
                    j.organisation_id, j.source, j.source_identity, j.ladder, j.encoder, j.generation, j.plan, j.end_frames),
             planning as (
                update touchline.jobs set state = $11, updated_at = now()
                where id = $1 and state = $10 and exists (select from claimed where kind = 'plan')),
             attempt as (
                insert into touchline.attempts (job_id, chunk, attempt, worker_id, region, pool, instance)
                select c.job_id, c.chunk, c.attempt, $6, $9, coalesce(w.pool, ''), coalesce(w.instance, '')
                from claimed c left join touchline.workers w on w.id = $6 on conflict do nothing)
             select * from claimed",
        )
        .bind(message.job)
        .bind(message.chunk)
        .bind(message.attempt)
        .bind(CLAIM.from)
        .bind(CLAIM.to)
        .bind(worker)
        .bind(seconds(lease))
        .bind(backends)
        .bind(region)
        .bind(PLAN.from)
        .bind(PLAN.to)
        .bind(AVOIDED_S)
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else {
            let refused: Option<(bool, bool)> = self
                .query_as(
                    "select coalesce(j.backend <> all($5), false), c.avoid_worker is not distinct from $6
                 from touchline.chunks c join touchline.jobs j on j.id = c.job_id
                 where c.job_id = $1 and c.chunk = $2 and c.attempt = $3 and c.state = $4
                    and j.state in ('queued', 'planning', 'running')",
                )
                .bind(message.job)
                .bind(message.chunk)
                .bind(message.attempt)
                .bind(CLAIM.from)
                .bind(backends)
                .bind(worker)
                .fetch_optional(&self.pool)
                .await?;
            return Ok(match refused {
                Some((true, _)) => Claimed::OtherBackend,
                Some((false, true)) => Claimed::Elsewhere,
                _ => Claimed::Stale,
            });
        };
        let kind: String = row.try_get("kind")?;
        let plan: Option<serde_json::Value> = row.try_get("plan")?;
        let rendition: Option<String> = row.try_get("rendition")?;
        let work = match kind.as_str() {
            "plan" => Work::Plan,
            "audio" => Work::Audio { rendition: rendition.unwrap_or_default() },
            "clip" => Work::Clip,
            _ => Work::Video {
                first: unsigned(row.try_get("first_segment")?),
                end: row.try_get::<Option<i64>, _>("end_segment")?.map(unsigned),
            },
        };
        Ok(Claimed::Ours(Box::new(Claim {
            id: AttemptId { job: message.job, chunk: message.chunk, attempt: message.attempt, worker },
            work,
            organisation: row.try_get("organisation_id")?,
            source: row.try_get("source")?,
            source_identity: row.try_get("source_identity")?,
            ladder: read_json("ladder", row.try_get("ladder")?)?,
            encoder: row.try_get("encoder")?,
            generation: row.try_get("generation")?,
            plan: plan.map(|value| read_json("plan", value)).transpose()?,
            end_frames: row.try_get::<Option<i64>, _>("end_frames")?.map(unsigned),
        })))
    }
}
