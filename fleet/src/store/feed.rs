//! What happened, as readers follow it: in the order of (transaction, id), and only up to the oldest transaction that
//! still runs. A sequence alone would let a reader pass over a row that commits late.

use serde::Serialize;
use sqlx::Row;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Store, StoreError};

/// A place in the feed. Its text is what clients send back as `Last-Event-ID`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    xid: u64,
    id: i64,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.xid, self.id)
    }
}

/// A text is not a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a place in the feed")]
pub struct BadPlace;

impl std::str::FromStr for Place {
    type Err = BadPlace;
    fn from_str(text: &str) -> Result<Self, BadPlace> {
        let (xid, id) = text.split_once('-').ok_or(BadPlace)?;
        Ok(Self { xid: xid.parse().map_err(|_| BadPlace)?, id: id.parse().map_err(|_| BadPlace)? })
    }
}

/// Something that happened.
#[derive(Clone, Debug, Serialize)]
pub struct FeedEvent {
    /// Where it is in the feed.
    #[serde(skip)]
    pub place: Place,
    /// Whose it is.
    #[serde(skip)]
    pub organisation: Uuid,
    /// `job.created`, `job.playable`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// Job that it is about.
    pub job_id: Option<Uuid>,
    /// What else is known.
    pub data: serde_json::Value,
}

/// How far a job that is at work has come.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct JobProgress {
    /// Job.
    pub id: Uuid,
    /// Whose it is.
    pub organisation_id: Uuid,
    /// State.
    pub state: String,
    /// Milliseconds from the start that can be watched.
    pub watchable_ms: i64,
    /// Share that is encoded, 0 to 1.
    pub progress: f64,
}

impl Store {
    /// The place after everything that has happened until now.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn feed_end(&self) -> Result<Place, StoreError> {
        let row =
            self.query("select pg_snapshot_xmin(pg_current_snapshot())::text as xid").fetch_one(&self.pool).await?;
        let xid: u64 = row.try_get::<String, _>("xid")?.parse().unwrap_or(0);
        Ok(Place { xid, id: 0 })
    }

    /// What happened after `after`, the oldest first; of one organisation, and about one job, when they are given.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn feed(
        &self,
        after: Place,
        organisation: Option<Uuid>,
        job: Option<Uuid>,
        limit: u32,
    ) -> Result<Vec<FeedEvent>, StoreError> {
        let rows = self
            .query(
                "select xid::text as xid, id, organisation_id, job_id, type, at, data from touchline.events
                 where (xid, id) > ($1::text::xid8, $2) and xid < pg_snapshot_xmin(pg_current_snapshot())
                    and ($3::uuid is null or organisation_id = $3) and ($4::uuid is null or job_id = $4)
                 order by xid, id limit $5",
            )
            .bind(after.xid.to_string())
            .bind(after.id)
            .bind(organisation)
            .bind(job)
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await?;
        rows.into_iter()
            .map(|r| {
                let xid: String = r.try_get("xid")?;
                Ok(FeedEvent {
                    place: Place { xid: xid.parse().unwrap_or(0), id: r.try_get("id")? },
                    organisation: r.try_get("organisation_id")?,
                    kind: r.try_get("type")?,
                    at: r.try_get("at")?,
                    job_id: r.try_get("job_id")?,
                    data: r.try_get("data")?,
                })
            })
            .collect()
    }

    /// How far each job at work has come.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn job_progress(&self, limit: u32) -> Result<Vec<JobProgress>, StoreError> {
        Ok(self
            .query_as(
                "select j.id, j.organisation_id, j.state, j.watchable_ms, case when j.state = 'publishing' then 1
                    else least(1, coalesce(sum(case c.state when 'done' then c.seconds
                        when 'running' then least(c.seconds, c.progress * split_part(j.frame_rate, '/', 2)::float8
                            / split_part(j.frame_rate, '/', 1)::float8) else 0 end) / nullif(sum(c.seconds), 0), 0))
                    end::float8 as progress
                 from touchline.jobs j left join touchline.chunks c on c.job_id = j.id and c.kind = 'video'
                 where j.clip_id is null and j.state in ('planning', 'running', 'publishing')
                 group by j.id order by j.created_at limit $1",
            )
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_back_from_its_text() {
        let place = Place { xid: 7412, id: 99 };
        assert_eq!(place.to_string().parse(), Ok(place));
        assert_eq!("x".parse::<Place>(), Err(BadPlace));
        assert_eq!("1-".parse::<Place>(), Err(BadPlace));
    }
}
