//! What a worker does: claim, keep the lease, commit, end an attempt. Each statement is fenced by the attempt's number.

use std::time::Duration;

use serde::Serialize;
use sqlx::Row;
use sqlx::types::Json;
use uuid::Uuid;

use super::{Edge, Store, StoreError, Transaction, read_json, seconds, signed, to_json, unsigned};
use crate::cmaf::{InitFacts, SegmentFacts};
use crate::failure::FailureCode;
use crate::ladder::Ladder;
use crate::plan::{Backend, JobPlan};
use crate::queue::Message;
use crate::state::{ChunkEvent, ChunkState, JobEvent, JobState};

/// Names one attempt at a chunk, held by one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct AttemptId {
    /// Job.
    pub job: Uuid,
    /// Chunk.
    pub chunk: i32,
    /// Attempt.
    pub attempt: i32,
    /// Holder.
    pub worker: Uuid,
}

/// What a claimed chunk asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Work {
    /// Look at the source and plan.
    Plan,
    /// All video renditions of a run of segments.
    Video {
        /// First segment.
        first: u64,
        /// Segment after the last; `None` to the end of the source.
        end: Option<u64>,
    },
    /// All of one sound track.
    Audio {
        /// Its name in the plan.
        rendition: String,
    },
    /// The file of a clip, from the segments of its match.
    Clip,
}

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

/// What a plan says of a chunk.
#[derive(Clone, Debug, PartialEq)]
pub struct NewChunk {
    /// What to do.
    pub work: Work,
    /// Order within the job.
    pub position: u64,
    /// Media seconds, for estimates.
    pub seconds: f64,
}

/// A stored plan.
#[derive(Debug)]
pub struct NewPlan<'a> {
    /// The plan.
    pub plan: &'a JobPlan,
    /// Encoder family.
    pub backend: Backend,
    /// Identity of the source's bytes.
    pub source_identity: &'a str,
    /// Size of the source.
    pub source_bytes: u64,
    /// What a person should know.
    pub warnings: &'a [String],
    /// The chunks, without the plan itself.
    pub chunks: &'a [NewChunk],
}

/// A segment to be committed; its object is readable already.
#[derive(Debug)]
pub struct NewSegment<'a> {
    /// Rendition.
    pub rendition: &'a str,
    /// Number.
    pub index: u64,
    /// File below the rendition's folder.
    pub uri: &'a str,
    /// Size of the object.
    pub bytes: u64,
    /// First frame or sample.
    pub first: u64,
    /// Frames or samples.
    pub count: u64,
    /// `EXTINF`.
    pub seconds: f64,
    /// What it holds.
    pub facts: &'a SegmentFacts,
}

/// How a commit went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commit {
    /// The row is new.
    New,
    /// An earlier attempt committed it; ours is not needed.
    Already,
    /// The chunk was split and ends before this segment, which is not ours any more; the rest of it is.
    PastEnd(u64),
    /// The attempt is no longer ours.
    LeaseLost,
}

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

    /// Stores the plan with its chunks and renditions, and ends the plan's own chunk. `false` when the attempt is no
    /// longer ours.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn store_plan(&self, id: AttemptId, new: &NewPlan<'_>) -> Result<bool, StoreError> {
        const PLANNED: Edge = Edge::job(JobState::Planning, JobEvent::Planned);
        let mut tx = self.begin().await?;
        if !finish(self, &mut tx, id, 0).await? {
            return Ok(false);
        }
        let video = &new.plan.video;
        let stored = self
            .query(
                "update touchline.jobs set state = $3, plan = $4, backend = $5, source_identity = $6, warnings = $7,
                notes = $8, expected_frames = $9, duration_ms = $10, frame_rate = $11, source_bytes = $12, planned_at = now(), updated_at = now()
             where id = $1 and state = $2",
            )
            .bind(id.job)
            .bind(PLANNED.from)
            .bind(PLANNED.to)
            .bind(to_json("plan", new.plan)?)
            .bind(new.backend.to_string())
            .bind(new.source_identity)
            .bind(Json(new.warnings))
            .bind(Json(&new.plan.notes))
            .bind(new.plan.expected_frames.map(signed))
            .bind(new.plan.expected_frames.map(|frames| milliseconds(video.rate.seconds(frames))))
            .bind(format!("{}/{}", video.rate.num(), video.rate.den()))
            .bind(signed(new.source_bytes))
            .execute(&mut *tx)
            .await?;
        if stored.rows_affected() == 0 {
            return Ok(false);
        }
        let mut names: Vec<(String, &str)> = video.renditions.iter().map(|r| (r.name.clone(), "video")).collect();
        names.extend(new.plan.audio.iter().map(|a| (a.name.clone(), "audio")));
        names.push(("storyboard".to_owned(), "storyboard"));
        names.push(("poster".to_owned(), "poster"));
        let (names, kinds): (Vec<String>, Vec<&str>) = names.into_iter().unzip();
        self.query(
            "insert into touchline.renditions (job_id, name, kind) select $1, * from unnest($2::text[], $3::text[])",
        )
        .bind(id.job)
        .bind(&names)
        .bind(&kinds)
        .execute(&mut *tx)
        .await?;
        let column = |f: &dyn Fn(&NewChunk) -> i64| new.chunks.iter().map(f).collect::<Vec<i64>>();
        let kinds: Vec<&str> = new
            .chunks
            .iter()
            .map(|c| match c.work {
                Work::Plan => "plan",
                Work::Video { .. } => "video",
                Work::Audio { .. } => "audio",
                Work::Clip => "clip",
            })
            .collect();
        let first = column(&|c| match c.work {
            Work::Video { first, .. } => signed(first),
            _ => 0,
        });
        let end: Vec<Option<i64>> = new
            .chunks
            .iter()
            .map(|c| match c.work {
                Work::Video { end, .. } => end.map(signed),
                _ => None,
            })
            .collect();
        let renditions: Vec<Option<&str>> = new
            .chunks
            .iter()
            .map(|c| match &c.work {
                Work::Audio { rendition } => Some(rendition.as_str()),
                _ => None,
            })
            .collect();
        let media: Vec<f64> = new.chunks.iter().map(|c| c.seconds).collect();
        self.query(
            "insert into touchline.chunks
                (job_id, chunk, kind, position, first_segment, end_segment, rendition, seconds, attempt)
             select $1, n::int, kind, position, first_segment, end_segment, rendition, seconds, $8
             from unnest($2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::text[], $7::float8[])
                with ordinality as c(kind, position, first_segment, end_segment, rendition, seconds, n)",
        )
        .bind(id.job)
        .bind(&kinds)
        .bind(column(&|c| signed(c.position)))
        .bind(&first)
        .bind(&end)
        .bind(&renditions)
        .bind(&media)
        .bind(id.attempt)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Records the init segment of a rendition. It must be the one that is there, if there is one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn commit_init(
        &self,
        id: AttemptId,
        rendition: &str,
        uri: &str,
        init: &InitFacts,
    ) -> Result<InitCommit, StoreError> {
        let row = self
            .query(
                "with held as (
                select 1 from touchline.chunks where job_id = $1 and chunk = $2 and attempt = $3 and worker_id = $4
                    and state = 'running' for share),
             set_now as (
                update touchline.renditions set init_key = $6, init = $7
                where job_id = $1 and name = $5 and init_key is null and exists (select from held)
                returning init_key)
             select exists (select from held) as held, exists (select from set_now) as set_now,
                (select init_key from touchline.renditions where job_id = $1 and name = $5) as before",
            )
            .bind(id.job)
            .bind(id.chunk)
            .bind(id.attempt)
            .bind(id.worker)
            .bind(rendition)
            .bind(uri)
            .bind(to_json("init", init)?)
            .fetch_one(&self.pool)
            .await?;
        let before: Option<String> = row.try_get("before")?;
        Ok(match (row.try_get::<bool, _>("held")?, row.try_get::<bool, _>("set_now")?, before) {
            (false, ..) => InitCommit::LeaseLost,
            (true, true, _) => InitCommit::Same,
            (true, false, Some(there)) if there == uri => InitCommit::Same,
            (true, false, Some(_)) => InitCommit::Differs,
            // Another attempt set it between the two halves of the statement: look again.
            (true, false, None) => InitCommit::Again,
        })
    }

    /// The init segments that are known of a job: rendition, what it holds.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn inits(&self, job: Uuid) -> Result<Vec<(String, String, InitFacts)>, StoreError> {
        let rows = self.query(
            "select name, init_key, init from touchline.renditions where job_id = $1 and init_key is not null order by name",
        )
        .bind(job)
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|row| {
                let init = read_json("init", row.try_get("init")?)?;
                Ok((row.try_get("name")?, row.try_get("init_key")?, init))
            })
            .collect()
    }

    /// Commits a segment whose object is readable.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn commit_segment(&self, id: AttemptId, segment: &NewSegment<'_>) -> Result<Commit, StoreError> {
        self.commit_file(
            id,
            &NewFile {
                rendition: segment.rendition,
                index: segment.index,
                uri: segment.uri,
                bytes: segment.bytes,
                first: segment.first,
                count: segment.count,
                seconds: segment.seconds,
                facts: to_json("facts", segment.facts)?,
            },
        )
        .await
    }

    /// Commits a file of a rendition that is no media: a strip of thumbnails, the poster.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn commit_file(&self, id: AttemptId, file: &NewFile<'_>) -> Result<Commit, StoreError> {
        let row = self
            .query(
                "with held as (
                select end_segment from touchline.chunks where job_id = $1 and chunk = $2 and attempt = $3
                    and worker_id = $4 and state = 'running' for share),
             added as (
                insert into touchline.segments
                    (job_id, chunk, attempt, rendition, index, uri, bytes, first, count, seconds, facts)
                select $1, $2, $3, $5, $6, $7, $8, $9, $10, $11, $12 from held
                where end_segment is null or $6 < end_segment
                on conflict (job_id, rendition, index) do nothing returning 1)
             select exists (select from held) as held, exists (select from added) as added,
                (select end_segment from held) as end_segment",
            )
            .bind(id.job)
            .bind(id.chunk)
            .bind(id.attempt)
            .bind(id.worker)
            .bind(file.rendition)
            .bind(signed(file.index))
            .bind(file.uri)
            .bind(signed(file.bytes))
            .bind(signed(file.first))
            .bind(signed(file.count))
            .bind(file.seconds)
            .bind(&file.facts)
            .fetch_one(&self.pool)
            .await?;
        let end = row.try_get::<Option<i64>, _>("end_segment")?.map(unsigned);
        Ok(match (row.try_get("held")?, row.try_get("added")?) {
            (true, true) => Commit::New,
            (true, false) => end.filter(|end| file.index >= *end).map_or(Commit::Already, Commit::PastEnd),
            (false, _) => Commit::LeaseLost,
        })
    }

    /// Which segments of a chunk's renditions are committed: rendition, numbers in order.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn committed(
        &self,
        job: Uuid,
        first: u64,
        end: Option<u64>,
        renditions: &[String],
    ) -> Result<Vec<(String, u64)>, StoreError> {
        let rows = self
            .query(
                "select rendition, index from touchline.segments
             where job_id = $1 and rendition = any($2) and index >= $3 and index < $4 order by rendition, index",
            )
            .bind(job)
            .bind(renditions)
            .bind(signed(first))
            .bind(end.map_or(i64::MAX, signed))
            .fetch_all(&self.pool)
            .await?;
        rows.into_iter().map(|r| Ok((r.try_get("rendition")?, unsigned(r.try_get("index")?)))).collect()
    }

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

/// A file of a rendition.
#[derive(Debug)]
pub struct NewFile<'a> {
    /// Rendition.
    pub rendition: &'a str,
    /// Number.
    pub index: u64,
    /// File below the rendition's folder.
    pub uri: &'a str,
    /// Size of the object.
    pub bytes: u64,
    /// First frame or sample.
    pub first: u64,
    /// Frames or samples.
    pub count: u64,
    /// Seconds.
    pub seconds: f64,
    /// What it holds.
    pub facts: serde_json::Value,
}

/// How the commit of an init segment went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InitCommit {
    /// It is the one that all chunks use.
    Same,
    /// Another attempt recorded another one: the chunks do not fit together.
    Differs,
    /// The attempt is no longer ours.
    LeaseLost,
    /// Another attempt recorded one at this moment; call again.
    Again,
}

fn milliseconds(seconds: f64) -> i64 {
    #[expect(clippy::cast_possible_truncation, reason = "media times")]
    let ms = (seconds * 1000.0).round() as i64;
    ms
}

/// Takes a chunk to done.
async fn finish(store: &Store, tx: &mut Transaction, id: AttemptId, made: u64) -> Result<bool, StoreError> {
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
pub(super) async fn plan_lost(store: &Store, tx: &mut Transaction, job: Uuid) -> Result<(), StoreError> {
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
