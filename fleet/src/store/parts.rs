//! Parts of a match that are watched before what precedes them: how far each is listed. What a part lists is not
//! withdrawn any more, as it is with the growing playlists of the whole match.

use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::publication::Growth;
use super::{Store, StoreError, Transaction, signed, unsigned};

/// The right to list more of a part, held until it is dropped or used. While it is held, nothing of the job is withdrawn.
#[derive(Debug)]
pub struct PartLock {
    tx: Transaction,
    store: Store,
    job: Uuid,
    first: u64,
    /// The segment after the last that is listed; the first one while nothing is.
    pub listed: u64,
    /// Seconds since it grew; `None` before it lists anything.
    pub appended_s: Option<f64>,
    /// Seconds since its first segment was committed.
    pub since_s: f64,
    /// How far each rendition goes on from its first segment without a hole.
    pub tracks: Vec<Growth>,
    /// All that belongs to it is made.
    pub is_whole: bool,
}

impl Store {
    /// The part of a job that begins with segment `first`; `None` when the job is not at work on this plan.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn lock_part(&self, job: Uuid, generation: i32, first: u64) -> Result<Option<PartLock>, StoreError> {
        let mut tx = self.begin().await?;
        // Whoever withdraws segments takes this row for itself.
        let found = self
            .query(
                "select 1 from touchline.jobs where id = $1 and generation = $2 and state in ('running', 'publishing')
                 for share",
            )
            .bind(job)
            .bind(generation)
            .fetch_optional(&mut *tx)
            .await?;
        if found.is_none() {
            return Ok(None);
        }
        let part = self
            .query(
                "select listed, extract(epoch from now() - appended_at)::float8 as appended_s
                 from touchline.parts where job_id = $1 and first = $2 for update",
            )
            .bind(job)
            .bind(signed(first))
            .fetch_optional(&mut *tx)
            .await?;
        let (listed, appended_s) = match part {
            Some(row) => (unsigned(row.try_get("listed")?), Some(row.try_get("appended_s")?)),
            None => (first, None),
        };
        let (since_s,): (Option<f64>,) = self
            .query_as(
                "select extract(epoch from now() - min(s.committed_at))::float8 from touchline.segments s
                 join touchline.renditions r on r.job_id = s.job_id and r.name = s.rendition and r.kind = 'video'
                 where s.job_id = $1 and s.index = $2",
            )
            .bind(job)
            .bind(signed(first))
            .fetch_one(&mut *tx)
            .await?;
        let (is_whole,): (bool,) = self
            .query_as(
                "select not exists (select from touchline.chunks where job_id = $1 and state <> 'done'
                    and (kind = 'audio' or kind = 'video' and coalesce(end_segment > $2, true)))",
            )
            .bind(job)
            .bind(signed(first))
            .fetch_one(&mut *tx)
            .await?;
        let tracks = self.growth_from(&mut tx, job, first).await?;
        Ok(Some(PartLock {
            tx,
            store: self.clone(),
            job,
            first,
            listed,
            appended_s,
            since_s: since_s.unwrap_or(0.0),
            tracks,
            is_whole,
        }))
    }

    /// The segment after the last that a part lists; `first` when it lists none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn listed_part(&self, job: Uuid, first: u64) -> Result<u64, StoreError> {
        let row = self
            .query("select listed from touchline.parts where job_id = $1 and first = $2")
            .bind(job)
            .bind(signed(first))
            .fetch_optional(&self.pool)
            .await?;
        row.map_or(Ok(first), |row| Ok(unsigned(row.try_get("listed")?)))
    }

    /// As [`growth`](Self::growth), of one job from a later segment on, as if all before it were listed.
    async fn growth_from(
        &self,
        connection: &mut PgConnection,
        job: Uuid,
        first: u64,
    ) -> Result<Vec<Growth>, StoreError> {
        let rows = self
            .query(
                "select r.name, r.kind, r.ended, $2 + (
                    select count(*) from (
                        select s.index - row_number() over (order by s.index) as gap from touchline.segments s
                        where s.job_id = r.job_id and s.rendition = r.name and s.index >= $2) run
                    where gap = $2 - 1) as contiguous
                 from touchline.renditions r where r.job_id = $1 and r.kind in ('video', 'audio') order by r.name",
            )
            .bind(job)
            .bind(signed(first))
            .fetch_all(connection)
            .await?;
        rows.into_iter()
            .map(|r| {
                Ok(Growth {
                    job,
                    publishing: false,
                    rendition: r.try_get("name")?,
                    kind: r.try_get("kind")?,
                    ended: r.try_get("ended")?,
                    listed: first,
                    contiguous: unsigned(r.try_get("contiguous")?),
                    appended_s: None,
                })
            })
            .collect()
    }
}

impl PartLock {
    /// Notes that the part lists what comes before segment `end`, unless it lists more already. From now on that is not
    /// withdrawn, so it may be shown.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn list(mut self, end: u64) -> Result<(), StoreError> {
        self.store
            .query(
                "insert into touchline.parts as p (job_id, first, listed) values ($1, $2, $3)
                 on conflict (job_id, first) do update set listed = excluded.listed, appended_at = now()
                 where p.listed < excluded.listed",
            )
            .bind(self.job)
            .bind(signed(self.first))
            .bind(signed(end))
            .execute(&mut *self.tx)
            .await?;
        self.tx.commit().await?;
        Ok(())
    }
}
