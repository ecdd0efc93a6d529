//! What there is to do, as capacity needs to know it: one row a job, in seconds of video.

use serde::Deserialize;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::store::{Store, StoreError, read_json};
use crate::timeline::FrameRate;

/// Jobs that one look takes at most; those with the earliest deadlines come first.
const MOST_JOBS: i64 = 5_000;

/// A job that is not done.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenJob {
    /// Job.
    pub id: Uuid,
    /// Region that suits its source.
    pub home_region: String,
    /// Region that its last chunk was released to.
    pub region: Option<String>,
    /// What is encoded, once it is planned.
    pub encoded: Option<Encoded>,
    /// Seconds of video in all.
    pub total_s: f64,
    /// Seconds of video that are not committed.
    pub left_s: f64,
    /// Chunks that are not done.
    pub chunks: u32,
    /// Those of them that no worker has.
    pub waiting: u32,
    /// When it was handed in.
    pub created_at: OffsetDateTime,
    /// When the first of its waiting chunks may start.
    pub not_before: Option<OffsetDateTime>,
    /// When it must be ready.
    pub ready_by: Option<OffsetDateTime>,
}

/// What a plan says that counts as work.
#[derive(Clone, Debug, PartialEq)]
pub struct Encoded {
    /// Frames a second.
    pub rate: FrameRate,
    /// Sizes of the renditions that are encoded, not copied.
    pub sizes: Vec<(u32, u32)>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    home_region: String,
    region: Option<String>,
    rate: Option<serde_json::Value>,
    renditions: Option<serde_json::Value>,
    total_s: f64,
    left_s: f64,
    chunks: i64,
    waiting: i64,
    created_at: OffsetDateTime,
    not_before: Option<OffsetDateTime>,
    ready_by: Option<OffsetDateTime>,
}

#[derive(Deserialize)]
struct Rendition {
    width: u32,
    height: u32,
    encode: Option<serde::de::IgnoredAny>,
}

impl Store {
    /// Jobs that are not done, the earliest deadline first. Of those that a cap holds back, only what is released counts.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn open_jobs(&self) -> Result<Vec<OpenJob>, StoreError> {
        let rows: Vec<Row> = self
            .query_as(
                "with committed as (
                -- Of chunks at work: the rendition that is furthest behind counts.
                select x.job_id, x.chunk, min(x.seconds) as seconds from (
                    select c.job_id, c.chunk, r.name, coalesce(sum(s.seconds), 0) as seconds
                    from touchline.chunks c
                    join touchline.renditions r on r.job_id = c.job_id and r.kind = 'video'
                    left join touchline.segments s
                        on s.job_id = c.job_id and s.chunk = c.chunk and s.rendition = r.name
                    where c.state = 'running' and c.kind = 'video' group by 1, 2, 3) x group by 1, 2)
             select j.id, j.home_region, j.ready_by, j.created_at,
                j.plan->'video'->'rate' as rate, j.plan->'video'->'renditions' as renditions,
                (array_agg(c.region order by c.queued_at desc nulls last))[1] as region,
                coalesce(sum(c.seconds) filter (where c.kind = 'video'), 0)::float8 as total_s,
                coalesce(sum(greatest(0, c.seconds - coalesce(d.seconds, 0)))
                    filter (where c.kind = 'video' and c.state <> 'done'), 0)::float8 as left_s,
                count(*) filter (where c.state <> 'done') as chunks,
                count(*) filter (where c.state in ('waiting', 'queued')) as waiting,
                min(c.not_before) filter (where c.state in ('waiting', 'queued')) as not_before
             from touchline.jobs j join touchline.organisations o on o.id = j.organisation_id
             join touchline.chunks c on c.job_id = j.id and not (c.state = 'waiting'
                and touchline.is_held(o.cap_micros, o.capped, o.capped_at, j.admitted_at))
             left join committed d on d.job_id = c.job_id and d.chunk = c.chunk
             where j.state in ('queued', 'planning', 'running')
             group by j.id having count(*) filter (where c.state in ('waiting', 'queued', 'running')) > 0
             order by j.ready_by nulls last, j.created_at, j.id limit $1",
            )
            .bind(MOST_JOBS)
            .fetch_all(&self.pool)
            .await?;
        rows.into_iter().map(open_job).collect()
    }
}

/// What the plan's rate and renditions say that counts as work.
pub(in crate::store) fn encoded(rate: serde_json::Value, renditions: serde_json::Value) -> Result<Encoded, StoreError> {
    let renditions: Vec<Rendition> = read_json("jobs.plan", renditions)?;
    let sizes = renditions.iter().filter(|r| r.encode.is_some()).map(|r| (r.width, r.height)).collect();
    Ok(Encoded { rate: read_json("jobs.plan", rate)?, sizes })
}

fn open_job(row: Row) -> Result<OpenJob, StoreError> {
    let encoded = match (row.rate, row.renditions) {
        (Some(rate), Some(renditions)) => Some(encoded(rate, renditions)?),
        _ => None,
    };
    let count = |n: i64| u32::try_from(n).unwrap_or(0);
    Ok(OpenJob {
        id: row.id,
        home_region: row.home_region,
        region: row.region,
        encoded,
        total_s: row.total_s,
        left_s: row.left_s,
        chunks: count(row.chunks),
        waiting: count(row.waiting),
        created_at: row.created_at,
        not_before: row.not_before,
        ready_by: row.ready_by,
    })
}
