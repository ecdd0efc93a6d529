//! What the publisher reads and writes: how far each presentation is complete, and the publication itself.

use sqlx::Row;
use sqlx::types::Json;
use std::collections::BTreeMap;
use uuid::Uuid;

use super::jobs::end_job;
use super::{Edge, Store, StoreError, Transaction, read_json, signed, unsigned};
use crate::cmaf::SegmentFacts;
use crate::failure::FailureCode;
use crate::state::{JobEvent, JobState};

/// One rendition of a job that grows.
#[derive(Clone, Debug, PartialEq)]
pub struct Growth {
    /// Job.
    pub job: Uuid,
    /// Whether all chunks are done.
    pub publishing: bool,
    /// Rendition.
    pub rendition: String,
    /// `video` or `audio`.
    pub kind: String,
    /// A sound track that is complete.
    pub ended: bool,
    /// Segments of every rendition that the growing playlists list.
    pub listed: u64,
    /// Committed segments from the first without a hole.
    pub contiguous: u64,
    /// Seconds since the playlists grew last; `None` before they exist.
    pub appended_s: Option<f64>,
}

/// A committed segment, for a playlist that grows.
#[derive(Clone, Debug, PartialEq)]
pub struct ListedSegment {
    /// Number.
    pub index: u64,
    /// File below the rendition's folder.
    pub uri: String,
    /// `EXTINF`.
    pub seconds: f64,
    /// Size of the object.
    pub bytes: u64,
}

/// A committed file with all that is known of it.
#[derive(Clone, Debug, PartialEq)]
pub struct CommittedFile {
    /// Number.
    pub index: u64,
    /// File below the rendition's folder.
    pub uri: String,
    /// Size of the object.
    pub bytes: u64,
    /// First frame or sample.
    pub first: u64,
    /// Frames or samples.
    pub count: u64,
    /// What it holds.
    pub facts: serde_json::Value,
}

impl CommittedFile {
    /// The facts of a media segment.
    ///
    /// # Errors
    /// [`StoreError::Unreadable`].
    pub fn segment(&self) -> Result<SegmentFacts, StoreError> {
        read_json("facts", self.facts.clone())
    }
}

/// The right to publish one job, held until it is dropped or finished. It is a row lock: a publisher that dies or is
/// cut off loses it with its connection, and the server ends a transaction that idles for a minute.
#[derive(Debug)]
pub struct PublicationLock {
    tx: Transaction,
    store: Store,
    job: Uuid,
    generation: i32,
    /// Segments that are listed, as far as it was noted.
    pub listed: u64,
    /// Segments that somebody may have listed, and died before it was noted: who lists fewer takes some away.
    pub promised: u64,
    /// Version of each growing playlist in the store.
    pub etags: BTreeMap<String, String>,
    /// Whether the growing multivariant playlist is written.
    pub master: bool,
}

impl Store {
    /// How far every rendition of every job at work is complete.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn growth(&self) -> Result<Vec<Growth>, StoreError> {
        let rows = self
            .query(
                "select j.id, j.state = 'publishing' as publishing, r.name, r.kind, r.ended,
                coalesce(p.listed, 0) as listed, extract(epoch from now() - p.appended_at)::float8 as appended_s,
                coalesce(p.listed, 0) + (
                    select count(*) from (
                        select s.index - row_number() over (order by s.index) as gap from touchline.segments s
                        where s.job_id = j.id and s.rendition = r.name and s.index >= coalesce(p.listed, 0)) run
                    where gap = coalesce(p.listed, 0) - 1) as contiguous
             from touchline.jobs j
             join touchline.renditions r on r.job_id = j.id and r.kind in ('video', 'audio')
             left join touchline.publications p on p.job_id = j.id
             where j.state in ('running', 'publishing') order by j.id, r.name",
            )
            .fetch_all(&self.pool)
            .await?;
        rows.into_iter()
            .map(|r| {
                Ok(Growth {
                    job: r.try_get("id")?,
                    publishing: r.try_get("publishing")?,
                    rendition: r.try_get("name")?,
                    kind: r.try_get("kind")?,
                    ended: r.try_get("ended")?,
                    listed: unsigned(r.try_get("listed")?),
                    contiguous: unsigned(r.try_get("contiguous")?),
                    appended_s: r.try_get("appended_s")?,
                })
            })
            .collect()
    }

    /// The right to publish this plan of a job; `None` while another publisher has it, and when the job has ended or is
    /// planned again. A new plan waits for the lock, so what was read of the plan holds while it is held.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn lock_publication(&self, job: Uuid, generation: i32) -> Result<Option<PublicationLock>, StoreError> {
        self.query("insert into touchline.publications (job_id) values ($1) on conflict do nothing")
            .bind(job)
            .execute(&self.pool)
            .await?;
        let mut tx = self.begin().await?;
        self.query("set local idle_in_transaction_session_timeout = '60s'").execute(&mut *tx).await?;
        let row = self
            .query(
                "select p.listed, p.promised, p.etags, p.master from touchline.publications p join touchline.jobs j on j.id = p.job_id
                 where p.job_id = $1 and j.generation = $2 and j.state in ('running', 'publishing')
                 for update of p skip locked",
            )
            .bind(job)
            .bind(generation)
            .fetch_optional(&mut *tx)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let etags: Json<BTreeMap<String, String>> = row.try_get("etags")?;
        Ok(Some(PublicationLock {
            listed: unsigned(row.try_get("listed")?),
            promised: unsigned(row.try_get("promised")?),
            etags: etags.0,
            master: row.try_get("master")?,
            tx,
            store: self.clone(),
            job,
            generation,
        }))
    }

    /// All committed files of a rendition, in order.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn files(&self, job: Uuid, rendition: &str) -> Result<Vec<CommittedFile>, StoreError> {
        let rows = self
            .query(
                "select index, uri, bytes, first, count, facts from touchline.segments
             where job_id = $1 and rendition = $2 order by index",
            )
            .bind(job)
            .bind(rendition)
            .fetch_all(&self.pool)
            .await?;
        rows.into_iter()
            .map(|r| {
                Ok(CommittedFile {
                    index: unsigned(r.try_get("index")?),
                    uri: r.try_get("uri")?,
                    bytes: unsigned(r.try_get("bytes")?),
                    first: unsigned(r.try_get("first")?),
                    count: unsigned(r.try_get("count")?),
                    facts: r.try_get("facts")?,
                })
            })
            .collect()
    }

    /// Jobs that wait for their publication.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn publishing(&self, limit: u32) -> Result<Vec<Uuid>, StoreError> {
        let rows = self
            .query("select id from touchline.jobs where state = 'publishing' and clip_id is null order by updated_at limit $1")
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await?;
        rows.into_iter().map(|r| Ok(r.try_get("id")?)).collect()
    }
}

impl PublicationLock {
    /// Tells the server that the holder is alive, and whether the job still waits for its publication.
    ///
    /// # Errors
    /// [`StoreError`]: the lock is lost.
    pub async fn is_publishing(&mut self) -> Result<bool, StoreError> {
        let row = self
            .store
            .query("select state = 'publishing' as publishing from touchline.jobs where id = $1")
            .bind(self.job)
            .fetch_one(&mut *self.tx)
            .await?;
        Ok(row.try_get("publishing")?)
    }

    /// Committed segments of a rendition before `end`, for a playlist that grows. They are those of the plan that is
    /// locked: whoever was stopped until the lock was lost reads nothing.
    ///
    /// # Errors
    /// [`StoreError`]: the lock is lost.
    pub async fn listed_segments(&mut self, rendition: &str, end: u64) -> Result<Vec<ListedSegment>, StoreError> {
        let rows = self
            .store
            .query(
                "select index, uri, seconds, bytes from touchline.segments
             where job_id = $1 and rendition = $2 and index < $3 order by index",
            )
            .bind(self.job)
            .bind(rendition)
            .bind(signed(end))
            .fetch_all(&mut *self.tx)
            .await?;
        rows.into_iter()
            .map(|r| {
                Ok(ListedSegment {
                    index: unsigned(r.try_get("index")?),
                    uri: r.try_get("uri")?,
                    seconds: r.try_get("seconds")?,
                    bytes: unsigned(r.try_get("bytes")?),
                })
            })
            .collect()
    }

    /// Promises that the growing playlists may list `listed` segments, before they are written: what they may list is
    /// withdrawn no more. The promise holds whatever becomes of the holder, so the lock is freed and taken again; `None`
    /// when another publisher was faster.
    ///
    /// # Errors
    /// [`StoreError`]: the lock is lost.
    pub async fn promise(mut self, listed: u64) -> Result<Option<Self>, StoreError> {
        self.store
            .query("update touchline.publications set promised = greatest(promised, $2) where job_id = $1")
            .bind(self.job)
            .bind(signed(listed))
            .execute(&mut *self.tx)
            .await?;
        self.tx.commit().await?;
        self.store.lock_publication(self.job, self.generation).await
    }

    /// Notes that the growing playlists list `listed` segments, of which `watchable_ms` can be watched; frees the lock.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn grown(mut self, listed: u64, watchable_ms: u64) -> Result<(), StoreError> {
        self.store
            .query(
                "update touchline.publications set appended_at = case when listed < $2 then now() else appended_at end,
                listed = $2, etags = $3, master = $4
             where job_id = $1",
            )
            .bind(self.job)
            .bind(signed(listed))
            .bind(Json(&self.etags))
            .bind(self.master)
            .execute(&mut *self.tx)
            .await?;
        self.store
            .query(
                "with before as (select id, first_playable_at from touchline.jobs where id = $1),
             job as (
                update touchline.jobs set watchable_ms = greatest(watchable_ms, $2),
                    first_playable_at = case when $2 > 0 then coalesce(first_playable_at, now()) end, updated_at = now()
                where id = $1 and state in ('running', 'publishing') returning id, organisation_id)
             insert into touchline.events (organisation_id, job_id, type, data)
             select job.organisation_id, job.id, 'job.playable', jsonb_build_object('watchable_ms', $2)
             from job join before on before.id = job.id where before.first_playable_at is null and $2 > 0",
            )
            .bind(self.job)
            .bind(signed(watchable_ms))
            .execute(&mut *self.tx)
            .await?;
        self.tx.commit().await?;
        Ok(())
    }

    /// The publication: the job has succeeded, its event and its usage are recorded, in one transaction. `false` when
    /// it was cancelled in between.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn publish(mut self, done: &Publication) -> Result<bool, StoreError> {
        const PUBLISHED: Edge = Edge::job(JobState::Publishing, JobEvent::Published);
        let row = self
            .store
            .query(
                "with job as (
                update touchline.jobs set state = $3, finished_at = now(), updated_at = now(), summary = $4,
                    watchable_ms = $5, duration_ms = $5, warnings = warnings || $6,
                    first_playable_at = coalesce(first_playable_at, now())
                where id = $1 and state = $2 returning organisation_id),
             event as (
                insert into touchline.events (organisation_id, job_id, type, data)
                select organisation_id, $1, 'job.succeeded', $4 from job),
             usage as (
                insert into touchline.usage (job_id, organisation_id, source_seconds, output_bytes, segments)
                select $1, organisation_id, $5 / 1000.0, $7, $8 from job on conflict do nothing)
             select count(*) as n from job",
            )
            .bind(self.job)
            .bind(PUBLISHED.from)
            .bind(PUBLISHED.to)
            .bind(&done.summary)
            .bind(signed(done.duration_ms))
            .bind(Json(&done.warnings))
            .bind(signed(done.bytes))
            .bind(signed(done.segments))
            .fetch_one(&mut *self.tx)
            .await?;
        self.store
            .query("update touchline.publications set listed = $2, etags = $3 where job_id = $1")
            .bind(self.job)
            .bind(signed(self.listed))
            .bind(Json(&self.etags))
            .execute(&mut *self.tx)
            .await?;
        self.tx.commit().await?;
        Ok(row.try_get::<i64, _>("n")? == 1)
    }

    /// The job cannot be published: it fails, in the transaction that holds the lock. So what was read since the lock was
    /// taken is still so: before it is freed, no other try of the job begins and nothing is withdrawn. `false` when the job
    /// was cancelled in between.
    ///
    /// # Errors
    /// [`StoreError`]: also when the lock is lost, and with it the right to judge.
    pub async fn fail(mut self, code: FailureCode, message: &str) -> Result<bool, StoreError> {
        const FAILED: Edge = Edge::job(JobState::Publishing, JobEvent::Failed);
        let held = self
            .store
            .query("select 1 from touchline.jobs where id = $1 and state = $2 and generation = $3 for update")
            .bind(self.job)
            .bind(FAILED.from)
            .bind(self.generation)
            .fetch_optional(&mut *self.tx)
            .await?;
        if held.is_none() {
            return Ok(false);
        }
        end_job(&self.store, &mut self.tx, self.job, FAILED, Some((code, message))).await?;
        self.tx.commit().await?;
        Ok(true)
    }
}

/// What is recorded with a publication.
#[derive(Clone, Debug)]
pub struct Publication {
    /// Renditions, counts of the report, where the playlist is.
    pub summary: serde_json::Value,
    /// Milliseconds of the presentation.
    pub duration_ms: u64,
    /// What a person should know, beside what the plan said.
    pub warnings: Vec<String>,
    /// Size of all media.
    pub bytes: u64,
    /// Number of segments.
    pub segments: u64,
}
