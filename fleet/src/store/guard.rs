//! Devices that encode: when they were last seen to work, which are quarantined, and what of theirs is made again.

use serde::Serialize;
use sqlx::Row;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Edge, Store, StoreError};
use crate::state::{ChunkEvent, ChunkState};

/// A device, for looking at.
#[derive(Clone, Debug, Serialize, sqlx::FromRow)]
pub struct DeviceRow {
    /// The GPU's identifier, or `cpu:` and the host's name.
    pub name: String,
    /// When the known film last came out right.
    #[serde(with = "time::serde::rfc3339::option")]
    pub checked_at: Option<OffsetDateTime>,
    /// Since when nothing is given to it.
    #[serde(with = "time::serde::rfc3339::option")]
    pub quarantined_at: Option<OffsetDateTime>,
    /// Why.
    pub reason: String,
}

/// What a quarantine cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Withdrawn {
    /// The device.
    pub device: String,
    /// Why.
    pub reason: String,
    /// Jobs that are made again in part.
    pub jobs: Vec<Uuid>,
    /// Segments that are made again.
    pub segments: u64,
}

impl Store {
    /// Notes that the known film came out right on a device; `false` when it is quarantined all the same.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn device_checked(&self, name: &str) -> Result<bool, StoreError> {
        let done = self
            .query(
                "insert into touchline.devices (name, checked_at) values ($1, now())
                 on conflict (name) do update set checked_at = now() where touchline.devices.quarantined_at is null",
            )
            .bind(name)
            .execute(&self.pool)
            .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Quarantines a device.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn quarantine(&self, name: &str, reason: &str) -> Result<(), StoreError> {
        self.query(
            "insert into touchline.devices (name, quarantined_at, reason) values ($1, now(), $2)
             on conflict (name) do update set quarantined_at = now(), reason = $2
             where touchline.devices.quarantined_at is null",
        )
        .bind(name)
        .bind(reason)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Ends a quarantine: somebody saw to it. `false` when there was none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn trust_device(&self, name: &str) -> Result<bool, StoreError> {
        let done = self
            .query(
                "update touchline.devices set quarantined_at = null, withdrawn_at = null, reason = ''
                 where name = $1 and quarantined_at is not null",
            )
            .bind(name)
            .execute(&self.pool)
            .await?;
        Ok(done.rows_affected() == 1)
    }

    /// All devices, those in quarantine first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn devices(&self) -> Result<Vec<DeviceRow>, StoreError> {
        Ok(self
            .query_as(
                "select name, checked_at, quarantined_at, reason from touchline.devices
                 order by quarantined_at desc nulls last, name limit 1000",
            )
            .fetch_all(&self.pool)
            .await?)
    }

    /// Withdraws what one newly quarantined device made since it last worked, of jobs that are still being made: those
    /// segments are made again. What a growing playlist lists, or may list by now, stays, since playlists only grow.
    /// `None` when there is no such device.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn withdraw_suspect(&self) -> Result<Option<Withdrawn>, StoreError> {
        const WITHDRAW: Edge = Edge::chunk(ChunkState::Done, ChunkEvent::Withdrawn);
        // Attempts that ended after the device was last seen to work, or have not ended.
        const SUSPECT: &str = "select a.job_id, a.chunk, a.attempt
            from touchline.devices d join touchline.workers w on w.device = d.name
            join touchline.attempts a on a.worker_id = w.id join touchline.jobs j on j.id = a.job_id
            where d.name = $1 and j.state = 'running'
                and coalesce(a.ended_at, now()) >= coalesce(d.checked_at, '-infinity')";
        let mut tx = self.begin().await?;
        let found = self
            .query(
                "update touchline.devices d set withdrawn_at = now()
                 from (select name from touchline.devices where quarantined_at is not null and withdrawn_at is null
                    order by quarantined_at limit 1 for update skip locked) f
                 where d.name = f.name returning d.name, d.reason",
            )
            .fetch_optional(&mut *tx)
            .await?;
        let Some(found) = found else { return Ok(None) };
        let (device, reason): (String, String) = (found.try_get("name")?, found.try_get("reason")?);
        // The publisher of a job holds this row while it lists segments: either it is done, or it comes after us.
        let lock = format!(
            "with suspect as ({SUSPECT}),
             there as (insert into touchline.publications (job_id) select distinct job_id from suspect on conflict do nothing)
             select 1 from touchline.publications p where p.job_id in (select job_id from suspect) order by job_id for update"
        );
        self.query(sqlx::AssertSqlSafe(lock)).bind(&device).execute(&mut *tx).await?;
        // Jobs, so that none begins to be published, and chunks, so that none is completed, on what is being withdrawn.
        for rows in [
            "select 1 from touchline.jobs j where j.id in (select job_id from suspect) order by j.id for update",
            "select 1 from touchline.chunks c where (c.job_id, c.chunk) in (select job_id, chunk from suspect)
             order by c.job_id, c.chunk for update",
        ] {
            let lock = format!("with suspect as ({SUSPECT}) {rows}");
            self.query(sqlx::AssertSqlSafe(lock)).bind(&device).execute(&mut *tx).await?;
        }
        let withdraw = format!(
            "with suspect as ({SUSPECT}),
             gone as (
                delete from touchline.segments s using suspect x, touchline.renditions r
                where s.job_id = x.job_id and s.chunk = x.chunk and s.attempt = x.attempt
                    and r.job_id = s.job_id and r.name = s.rendition and r.kind = 'video'
                    and s.index >= coalesce((select greatest(listed, promised) from touchline.publications p where p.job_id = s.job_id), 0)
                    and not exists (select from touchline.parts p
                        where p.job_id = s.job_id and s.index >= p.first and s.index < p.listed)
                returning s.job_id, s.chunk),
             back as (
                update touchline.chunks c
                set state = $3, attempt = c.attempt + 1, worker_id = null, lease_until = null, finished_at = null,
                    not_before = now()
                from (select distinct job_id, chunk from gone) g
                where c.job_id = g.job_id and c.chunk = g.chunk and c.state = $2),
             told as (
                insert into touchline.events (organisation_id, job_id, type, data)
                select j.organisation_id, j.id, 'job.remade', jsonb_build_object('device', $1::text, 'segments', g.n)
                from (select job_id, count(*) as n from gone group by job_id) g
                join touchline.jobs j on j.id = g.job_id)
             select job_id, count(*) as n from gone group by job_id"
        );
        let rows = self
            .query(sqlx::AssertSqlSafe(withdraw))
            .bind(&device)
            .bind(WITHDRAW.from)
            .bind(WITHDRAW.to)
            .fetch_all(&mut *tx)
            .await?;
        tx.commit().await?;
        let mut withdrawn = Withdrawn { device, reason, jobs: Vec::new(), segments: 0 };
        for row in rows {
            withdrawn.jobs.push(row.try_get("job_id")?);
            withdrawn.segments += super::unsigned(row.try_get("n")?);
        }
        Ok(Some(withdrawn))
    }
}
