//! Workers and regions: who is there, who answers.

use std::time::Duration;

use serde::Serialize;
use sqlx::Row;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Store, StoreError, seconds};

/// A worker as it presents itself.
#[derive(Clone, Debug)]
pub struct NewWorker {
    /// Id, new with each start.
    pub id: Uuid,
    /// Region.
    pub region: String,
    /// Pool, for example `eu-central-1/g5.xlarge/spot`; empty when there is none.
    pub pool: String,
    /// The provider's name of its machine; empty on one that nobody counts.
    pub instance: String,
    /// Host name.
    pub host: String,
    /// What encodes: see [`guard`](super::guard).
    pub device: String,
    /// Version of the program.
    pub version: String,
    /// Encoder families it has.
    pub backends: Vec<String>,
    /// Chunks at once.
    pub slots: u32,
}

/// A worker, for looking at.
#[derive(Clone, Debug, Serialize, sqlx::FromRow)]
pub struct WorkerRow {
    /// Id.
    pub id: Uuid,
    /// Region.
    pub region: String,
    /// Pool.
    pub pool: String,
    /// Host name or instance id.
    pub host: String,
    /// Version of the program.
    pub version: String,
    /// Encoder families it has.
    pub backends: Vec<String>,
    /// Chunks at once.
    pub slots: i32,
    /// Chunks at work.
    pub busy: i32,
    /// `ready`, `draining` or `gone`.
    pub state: String,
    /// What NVML says.
    pub gpu: Option<serde_json::Value>,
    /// When it came.
    #[serde(with = "time::serde::rfc3339")]
    pub started_at: OffsetDateTime,
    /// Seconds since its last heartbeat.
    pub silent_s: f64,
    /// Seconds since it had work; `None` while it has.
    pub idle_s: Option<f64>,
}

/// What a worker tells with each heartbeat.
#[derive(Clone, Debug)]
pub struct WorkerBeat {
    /// Chunks at work.
    pub busy: u32,
    /// Whether it takes no more work.
    pub draining: bool,
    /// What NVML says.
    pub gpu: Option<serde_json::Value>,
}

impl Store {
    /// Enters a worker. One on an instance that is being drained is asked to drain at once: what manages containers
    /// starts a worker again wherever one ends.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn register_worker(&self, worker: &NewWorker) -> Result<(), StoreError> {
        self.query(
            "insert into touchline.workers (id, region, pool, host, version, backends, slots, device, instance, command)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9,
                (select 'drain' from touchline.instances i where i.id = $9 and i.draining_at is not null))
             on conflict (id) do update set state = 'ready', heartbeat_at = now(), gone_at = null",
        )
        .bind(worker.id)
        .bind(&worker.region)
        .bind(&worker.pool)
        .bind(&worker.host)
        .bind(&worker.version)
        .bind(&worker.backends)
        .bind(i32::try_from(worker.slots).unwrap_or(i32::MAX))
        .bind(&worker.device)
        .bind(&worker.instance)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Takes a worker's heartbeat; gives the command that waits for it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn worker_beat(&self, id: Uuid, beat: &WorkerBeat) -> Result<Option<String>, StoreError> {
        let row = self
            .query(
                "update touchline.workers set heartbeat_at = now(), busy = $2, gone_at = null,
                state = case when $3 then 'draining' else 'ready' end, gpu = coalesce($4, gpu),
                idle_since = case when $2 > 0 then null else coalesce(idle_since, now()) end
             where id = $1 returning command",
            )
            .bind(id)
            .bind(i32::try_from(beat.busy).unwrap_or(i32::MAX))
            .bind(beat.draining)
            .bind(&beat.gpu)
            .fetch_optional(&self.pool)
            .await?;
        match row {
            Some(row) => Ok(row.try_get("command")?),
            None => Ok(None),
        }
    }

    /// Notes that a worker ended.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn worker_gone(&self, id: Uuid) -> Result<(), StoreError> {
        self.query("update touchline.workers set state = 'gone', gone_at = now(), busy = 0 where id = $1")
            .bind(id)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Notes workers that fell silent as gone; gives how many.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn bury_silent_workers(&self, after: Duration) -> Result<u64, StoreError> {
        let done = self
            .query(
                "update touchline.workers set state = 'gone', gone_at = now(), busy = 0
             where state <> 'gone' and heartbeat_at < now() - make_interval(secs => $1)",
            )
            .bind(seconds(after))
            .execute(&self.pool)
            .await?;
        Ok(done.rows_affected())
    }

    /// Asks a worker to finish what it has and take no more.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn drain_worker(&self, id: Uuid) -> Result<bool, StoreError> {
        let done = self
            .query("update touchline.workers set command = 'drain' where id = $1 and state <> 'gone'")
            .bind(id)
            .execute(&self.pool)
            .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Workers that are not gone, or all with `gone`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn workers(&self, gone: bool) -> Result<Vec<WorkerRow>, StoreError> {
        Ok(self
            .query_as(
                "select id, region, pool, host, version, backends, slots, busy, state, gpu, started_at,
                extract(epoch from now() - heartbeat_at)::float8 as silent_s,
                extract(epoch from now() - idle_since)::float8 as idle_s
             from touchline.workers where $1 or state <> 'gone' order by region, started_at limit 1000",
            )
            .bind(gone)
            .fetch_all(&self.pool)
            .await?)
    }

    /// Notes how a region's queue answered; gives for how long it has been failing without a success, in seconds.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn note_region(&self, region: &str, failure: Option<&str>) -> Result<f64, StoreError> {
        let row = self.query(
            "insert into touchline.regions (name, failing_since, reason)
             values ($1, case when $2::text is null then null else now() end, coalesce($2, ''))
             on conflict (name) do update set checked_at = now(),
                reason = case when $2::text is not null then $2 when touchline.regions.healthy then '' else touchline.regions.reason end,
                failing_since = case when $2::text is null then null
                    else coalesce(touchline.regions.failing_since, now()) end
             returning coalesce(extract(epoch from now() - failing_since), 0)::float8 as failing_s",
        )
        .bind(region)
        .bind(failure)
        .fetch_one(&self.pool)
        .await?;
        Ok(row.try_get("failing_s")?)
    }

    /// Marks a region as answering or not; `true` when that is news.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn set_region_health(&self, region: &str, healthy: bool) -> Result<bool, StoreError> {
        let done = self
            .query(
                "update touchline.regions set healthy = $2, marked_at = now(),
                reason = case when $2 then '' when failing_since is null then 'silent' else reason end
             where name = $1 and healthy <> $2",
            )
            .bind(region)
            .bind(healthy)
            .execute(&self.pool)
            .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Regions that do not answer: name, reason.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn unhealthy_regions(&self) -> Result<Vec<(String, String)>, StoreError> {
        Ok(self
            .query_as("select name, reason from touchline.regions where not healthy order by name")
            .fetch_all(&self.pool)
            .await?)
    }

    /// Regions where chunks are released and unclaimed for longer than `after` while no worker of the region has shown
    /// a sign of life for as long, though one had within the last hour: cut off from us, though their queue answers.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn silent_regions(&self, after: Duration) -> Result<Vec<String>, StoreError> {
        let rows = self
            .query(
                "select w.region from touchline.workers w
             where w.heartbeat_at > now() - interval '1 hour' and w.gone_at is distinct from w.heartbeat_at
             group by w.region
             having max(w.heartbeat_at) < now() - make_interval(secs => $1)
                and exists (select from touchline.chunks c where c.region = w.region and c.state = 'queued'
                    and c.queued_at < now() - make_interval(secs => $1))",
            )
            .bind(seconds(after))
            .fetch_all(&self.pool)
            .await?;
        rows.into_iter().map(|r| Ok(r.try_get("region")?)).collect()
    }

    /// Unhealthy regions that deserve another chance: their queue answers, and one of their workers has been heard
    /// lately or `after_s` seconds have passed five times over.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn recovered_regions(&self, after_s: f64) -> Result<Vec<String>, StoreError> {
        let rows = self
            .query(
                "select r.name from touchline.regions r
             where not r.healthy and r.failing_since is null
                and (r.marked_at < now() - make_interval(secs => 5 * $1)
                    or r.reason <> 'silent'
                    or exists (select from touchline.workers w where w.region = r.name and w.state <> 'gone'
                        and w.heartbeat_at > greatest(r.marked_at, now() - make_interval(secs => $1))))",
            )
            .bind(after_s)
            .fetch_all(&self.pool)
            .await?;
        rows.into_iter().map(|r| Ok(r.try_get("name")?)).collect()
    }
}
