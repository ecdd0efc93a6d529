//! What an attempt commits while it is held: init segments, media segments, pictures. Their objects are readable before.

use sqlx::Row;
use uuid::Uuid;

use super::AttemptId;
use crate::cmaf::{InitFacts, SegmentFacts};
use crate::store::{Store, StoreError, read_json, signed, to_json, unsigned};

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

impl Store {
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
}
