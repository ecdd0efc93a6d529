//! Downloads: frame-exact files of clips. Each is made by a job of its own (`jobs.clip_id`) with one chunk, so that
//! release, leases, rescue and capacity are those of all work. Organisations do not see these jobs: row-level security
//! hides them, and lists leave them out.

use sqlx::Row;
use uuid::Uuid;

use super::tenant::AuditEntry;
use super::{Edge, Store, StoreError, Tenant, read_json, unsigned};
use crate::plan::JobPlan;
use crate::state::{JobEvent, JobState};

/// Name of the one rendition that such a job makes.
pub const DOWNLOAD: &str = "download";
/// Number of its one chunk. There is no plan to be made, so none is 0.
const CHUNK: i32 = 1;

/// What a worker needs to know of a download that it makes.
#[derive(Clone, Debug)]
pub struct Order {
    /// The clip.
    pub clip: Uuid,
    /// The match.
    pub job: Uuid,
    /// Which plan of the match; its folder.
    pub generation: i32,
    /// That plan.
    pub plan: JobPlan,
    /// Where the clip begins in the match, in milliseconds.
    pub start_ms: i64,
    /// Where it ends.
    pub end_ms: i64,
    /// Height of the rendition that it is made of; the tallest without one.
    pub height: Option<u32>,
}

/// What became of a request for a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// It is there or being made already.
    Already,
    /// It will be made.
    New {
        /// The file of another height that nobody will find any more, below the folder of the match's presentation.
        replaced: Option<String>,
    },
}

impl Store {
    /// Asks for the file of a clip; `seconds` is how long the clip is. A clip has one file: what is being made or was made
    /// in this height stays as it is, another height takes its place, and what failed is tried again. Whether `tenant` may
    /// ask was decided before: the job is the fleet's own, which row-level security keeps from organisations.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn ask_download(
        &self,
        tenant: &Tenant,
        clip: Uuid,
        seconds: f64,
        height: Option<u32>,
        audit: &AuditEntry<'_>,
    ) -> Result<Asked, StoreError> {
        let mut tx = self.begin().await?;
        // The job first, as whoever ends it goes about it.
        self.query("select from touchline.jobs where clip_id = $1 for update").bind(clip).execute(&mut *tx).await?;
        let asked = self
            .query(
                "with before as (select id, download_key from touchline.clips where id = $1 for update)
                 update touchline.clips c set download = 'queued', download_key = null, download_error = null,
                    download_asked_at = now(), download_height = $2
                 from before b
                 where c.id = b.id and (c.download in ('none', 'failed') or c.download_height is distinct from $2)
                 returning b.download_key",
            )
            .bind(clip)
            .bind(height.map(|height| i32::try_from(height).unwrap_or(i32::MAX)))
            .fetch_optional(&mut *tx)
            .await?;
        let Some(asked) = asked else { return Ok(Asked::Already) };
        let replaced = asked.try_get("download_key")?;
        let job = Uuid::now_v7();
        self.retire_downloads(&mut tx, &[clip]).await?;
        // It begins running: there is nothing to plan. It costs seconds, so that only a cap that stops all work stops it.
        self.query(
            "insert into touchline.jobs (id, organisation_id, state, title, source, ladder, ladder_name, home_region,
                clip_id, admitted_at)
             select $2, m.organisation_id, 'running', m.title, m.source, m.ladder, m.ladder_name, m.home_region, c.id, now()
             from touchline.clips c join touchline.jobs m on m.id = c.job_id where c.id = $1",
        )
        .bind(clip)
        .bind(job)
        .execute(&mut *tx)
        .await?;
        self.query("insert into touchline.renditions (job_id, name, kind) values ($1, $2, 'clip')")
            .bind(job)
            .bind(DOWNLOAD)
            .execute(&mut *tx)
            .await?;
        // Somebody waits for it, so it comes before what is left of the organisation's matches.
        self.query(
            "insert into touchline.chunks (job_id, chunk, kind, position, seconds) values ($1, $2, 'clip', -1, $3)",
        )
        .bind(job)
        .bind(CHUNK)
        .bind(seconds)
        .execute(&mut *tx)
        .await?;
        tenant.audit(&mut tx, audit).await?;
        tx.commit().await?;
        Ok(Asked::New { replaced })
    }

    /// What a download's job is to make; `None` when the clip or its match has gone.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn download_order(&self, job: Uuid) -> Result<Option<Order>, StoreError> {
        let row = self
            .query(
                "select c.id, c.job_id, c.start_ms, c.end_ms, c.download_height, m.generation, m.plan
                 from touchline.jobs d join touchline.clips c on c.id = d.clip_id
                 join touchline.jobs m on m.id = c.job_id where d.id = $1 and m.plan is not null",
            )
            .bind(job)
            .fetch_optional(&self.pool)
            .await?;
        row.map(|row| {
            Ok(Order {
                clip: row.try_get("id")?,
                job: row.try_get("job_id")?,
                generation: row.try_get("generation")?,
                plan: read_json("plan", row.try_get("plan")?)?,
                start_ms: row.try_get("start_ms")?,
                end_ms: row.try_get("end_ms")?,
                height: row.try_get::<Option<i32>, _>("download_height")?.and_then(|height| height.try_into().ok()),
            })
        })
        .transpose()
    }

    /// Which of these clips' files are being made at this moment, and how many frames there are of each.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn downloads_at_work(&self, clips: &[Uuid]) -> Result<Vec<(Uuid, u64)>, StoreError> {
        let rows = self
            .query(
                "select j.clip_id, c.progress from touchline.jobs j join touchline.chunks c on c.job_id = j.id
                 where j.clip_id = any($1) and j.state = 'running' and c.state = 'running'",
            )
            .bind(clips)
            .fetch_all(&self.pool)
            .await?;
        rows.into_iter().map(|r| Ok((r.try_get("clip_id")?, unsigned(r.try_get("progress")?)))).collect()
    }

    /// Ends the jobs of downloads whose file is there: clips and their event say so in the same transaction. Gives how
    /// many.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn publish_downloads(&self) -> Result<u64, StoreError> {
        const PUBLISHED: Edge = Edge::job(JobState::Publishing, JobEvent::Published);
        let done = self
            .query(
                "with due as (
                    select id from touchline.jobs where clip_id is not null and state = $1 order by id for update),
                 done as (
                    update touchline.jobs j set state = $2, finished_at = now(), updated_at = now()
                    from due where j.id = due.id returning j.id, j.clip_id),
                 clip as (
                    update touchline.clips c set download = 'ready', download_key = s.uri
                    from done d join touchline.segments s on s.job_id = d.id and s.rendition = $3
                    where c.id = d.clip_id returning c.id, c.job_id, c.organisation_id)
                 insert into touchline.events (organisation_id, job_id, type, data)
                 select organisation_id, job_id, 'clip.ready', jsonb_build_object('clip_id', id) from clip",
            )
            .bind(PUBLISHED.from)
            .bind(PUBLISHED.to)
            .bind(DOWNLOAD)
            .execute(&self.pool)
            .await?;
        Ok(done.rows_affected())
    }
}
