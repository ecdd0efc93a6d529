//! Clips: named parts of a match.

use serde::Serialize;
use sqlx::{PgConnection, Row};
use time::OffsetDateTime;
use uuid::Uuid;

use super::publication::ListedSegment;
use super::{Store, StoreError, Tenant, read_json, signed, unsigned};
use crate::cmaf::InitFacts;

/// A clip.
#[derive(Clone, Debug, Serialize, sqlx::FromRow)]
pub struct ClipRow {
    /// Id.
    pub id: Uuid,
    /// The match.
    pub job_id: Uuid,
    /// For people.
    pub title: String,
    /// Where it begins in the match, in milliseconds.
    pub start_ms: i64,
    /// Where it ends.
    pub end_ms: i64,
    /// When it was made.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// State of the file for download: `none`, `queued`, `ready` or `failed`.
    pub download: String,
    /// Its object, below the folder of the match's presentation.
    pub download_key: Option<String>,
    /// Why there is none.
    pub download_error: Option<String>,
    /// Height of the rendition that it is made of, unless that is the tallest.
    pub download_height: Option<i32>,
    /// Which plan of the match it shows; its folder.
    pub generation: i32,
}

/// A rendition's part that a clip needs.
#[derive(Clone, Debug)]
pub struct ClipTrack {
    /// Name.
    pub name: String,
    /// `video` or `audio`.
    pub kind: String,
    /// File of the init segment.
    pub init_uri: String,
    /// What it holds.
    pub init: InitFacts,
    /// Segments in order.
    pub segments: Vec<ListedSegment>,
}

const CLIP: &str = "select c.id, c.job_id, c.title, c.start_ms, c.end_ms, c.created_at, c.download, c.download_key, \
    c.download_error, c.download_height, j.generation from touchline.clips c join touchline.jobs j on j.id = c.job_id";

impl Store {
    /// As [`clip_tracks`](Self::clip_tracks), for a worker.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn tracks_of_clip(&self, job: Uuid, first: u64, end: u64) -> Result<Vec<ClipTrack>, StoreError> {
        self.clip_tracks(&mut *self.pool.acquire().await?, job, first, end).await
    }

    /// The committed segments `[first, end)` of every rendition of a job that has an init segment.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn clip_tracks(
        &self,
        connection: &mut PgConnection,
        job: Uuid,
        first: u64,
        end: u64,
    ) -> Result<Vec<ClipTrack>, StoreError> {
        let rows = self
            .query(
                "select r.name, r.kind, r.init_key, r.init, s.index, s.uri, s.seconds, s.bytes
                 from touchline.renditions r
                 join touchline.segments s on s.job_id = r.job_id and s.rendition = r.name
                    and s.index >= $2 and s.index < $3
                 where r.job_id = $1 and r.kind in ('video', 'audio') and r.init_key is not null
                 order by r.name, s.index",
            )
            .bind(job)
            .bind(signed(first))
            .bind(signed(end))
            .fetch_all(connection)
            .await?;
        let mut tracks: Vec<ClipTrack> = Vec::new();
        for row in rows {
            let name: String = row.try_get("name")?;
            if tracks.last().is_none_or(|t| t.name != name) {
                tracks.push(ClipTrack {
                    name,
                    kind: row.try_get("kind")?,
                    init_uri: row.try_get("init_key")?,
                    init: read_json("init", row.try_get("init")?)?,
                    segments: Vec::new(),
                });
            }
            let segment = ListedSegment {
                index: unsigned(row.try_get("index")?),
                uri: row.try_get("uri")?,
                seconds: row.try_get("seconds")?,
                bytes: unsigned(row.try_get("bytes")?),
            };
            if let Some(track) = tracks.last_mut() {
                track.segments.push(segment);
            }
        }
        Ok(tracks)
    }
}

impl Tenant {
    /// Enters a clip, and the event that tells of it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn create_clip(
        &self,
        tx: &mut PgConnection,
        id: Uuid,
        job: Uuid,
        title: &str,
        span_ms: (i64, i64),
    ) -> Result<(), StoreError> {
        self.store()
            .query(
                "with clip as (
                    insert into touchline.clips (id, organisation_id, job_id, title, start_ms, end_ms)
                    values ($1, $2, $3, $4, $5, $6))
                 insert into touchline.events (organisation_id, job_id, type, data)
                 values ($2, $3, 'clip.created', jsonb_build_object('clip_id', $1, 'start_ms', $5::bigint, 'end_ms', $6::bigint))",
            )
            .bind(id)
            .bind(self.organisation())
            .bind(job)
            .bind(title)
            .bind(span_ms.0)
            .bind(span_ms.1)
            .execute(tx)
            .await?;
        Ok(())
    }

    /// The clips of a job, in the order of the match.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn clips_in(&self, tx: &mut PgConnection, job: Uuid, limit: u32) -> Result<Vec<ClipRow>, StoreError> {
        let sql = format!("{CLIP} where c.job_id = $1 order by c.start_ms, c.id limit $2");
        let rows = self.store().query_as(sqlx::AssertSqlSafe(sql)).bind(job).bind(i64::from(limit));
        Ok(rows.fetch_all(tx).await?)
    }

    /// A clip, if there is one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn clip(&self, tx: &mut PgConnection, id: Uuid) -> Result<Option<ClipRow>, StoreError> {
        let sql = format!("{CLIP} where c.id = $1");
        Ok(self.store().query_as(sqlx::AssertSqlSafe(sql)).bind(id).fetch_optional(tx).await?)
    }

    /// Renames a clip. `false` when it is called so already, or there is none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn rename_clip(&self, tx: &mut PgConnection, id: Uuid, title: &str) -> Result<bool, StoreError> {
        let done = self
            .store()
            .query(
                "with clip as (
                    update touchline.clips set title = $2 where id = $1 and title <> $2 returning organisation_id, job_id)
                 insert into touchline.events (organisation_id, job_id, type, data)
                 select organisation_id, job_id, 'clip.renamed', jsonb_build_object('clip_id', $1::uuid, 'title', $2::text)
                 from clip",
            )
            .bind(id)
            .bind(title)
            .execute(tx)
            .await?;
        Ok(done.rows_affected() > 0)
    }
}
