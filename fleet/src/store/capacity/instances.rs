//! Instances and the workers on them.

use std::time::Duration;

use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::store::{Store, StoreError, seconds};

/// An instance as the provider shows it.
#[derive(Clone, Debug)]
pub struct SeenInstance {
    /// The provider's name.
    pub id: String,
    /// Region.
    pub region: String,
    /// Pool.
    pub pool: String,
    /// Millionths of a US dollar an hour.
    pub price_micros: i64,
    /// Chunks at once.
    pub slots: i32,
}

/// An instance that is there, with its worker.
#[derive(Clone, Debug, Serialize, sqlx::FromRow)]
pub struct InstanceRow {
    /// The provider's name.
    pub id: String,
    /// Region.
    pub region: String,
    /// Pool.
    pub pool: String,
    /// When it was first seen.
    #[serde(with = "time::serde::rfc3339")]
    pub seen_at: OffsetDateTime,
    /// When its first worker came.
    #[serde(with = "time::serde::rfc3339::option")]
    pub ready_at: Option<OffsetDateTime>,
    /// When it was asked to take nothing new.
    #[serde(with = "time::serde::rfc3339::option")]
    pub draining_at: Option<OffsetDateTime>,
    /// Why.
    pub reason: Option<String>,
    /// Its worker, if one is alive.
    pub worker: Option<Uuid>,
    /// `ready` or `draining`.
    pub worker_state: Option<String>,
    /// Chunks that its worker holds.
    pub running: i64,
    /// Since when its worker has had nothing to do.
    #[serde(with = "time::serde::rfc3339::option")]
    pub idle_since: Option<OffsetDateTime>,
    /// Since when it has had no worker: the end of the last one, else when it was first seen.
    #[serde(with = "time::serde::rfc3339")]
    pub alone_since: OffsetDateTime,
}

/// Why an instance is asked to take nothing new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrainReason {
    /// It has had no work for long.
    Idle,
    /// A decision.
    Drain,
    /// The provider takes it back.
    Interruption,
    /// The provider may take it back soon.
    Rebalance,
    /// No worker came, or none came back.
    NoWorker,
}

impl DrainReason {
    /// The word in rows.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Drain => "drain",
            Self::Interruption => "interruption",
            Self::Rebalance => "rebalance",
            Self::NoWorker => "no_worker",
        }
    }
}

/// An instance that is no longer there.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct EndedRow {
    /// Pool.
    pub pool: String,
    /// When it was no longer there.
    pub ended_at: OffsetDateTime,
}

impl Store {
    /// Notes what the provider shows of these pools: enters instances that are new, ends those that are no longer
    /// shown, and notes the first worker of each.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn note_instances(&self, pools: &[String], seen: &[SeenInstance]) -> Result<(), StoreError> {
        let ids: Vec<&str> = seen.iter().map(|i| i.id.as_str()).collect();
        let mut transaction = self.begin().await?;
        self.query(
            "insert into touchline.instances (id, region, pool, price_micros, slots)
             select * from unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::int[])
             on conflict (id) do update set ended_at = null, settled_at = null where touchline.instances.ended_at is not null",
        )
        .bind(&ids)
        .bind(seen.iter().map(|i| i.region.as_str()).collect::<Vec<_>>())
        .bind(seen.iter().map(|i| i.pool.as_str()).collect::<Vec<_>>())
        .bind(seen.iter().map(|i| i.price_micros).collect::<Vec<_>>())
        .bind(seen.iter().map(|i| i.slots).collect::<Vec<_>>())
        .execute(&mut *transaction)
        .await?;
        self.query(
            "update touchline.instances i set ready_at = w.first, slots = w.slots
             from (select instance, min(started_at) as first, max(slots) as slots from touchline.workers
                where instance = any($1) group by 1) w
             where i.id = w.instance and i.ready_at is null",
        )
        .bind(&ids)
        .execute(&mut *transaction)
        .await?;
        self.query(
            "update touchline.instances set ended_at = now()
             where ended_at is null and pool = any($1) and id <> all($2)",
        )
        .bind(pools)
        .bind(&ids)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Instances that are there, the oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn instances(&self) -> Result<Vec<InstanceRow>, StoreError> {
        Ok(self
            .query_as(
                "select i.id, i.region, i.pool, i.seen_at, i.ready_at, i.draining_at, i.reason,
                w.id as worker, w.state as worker_state, w.idle_since,
                (select count(*) from touchline.chunks c where c.worker_id = w.id and c.state = 'running') as running,
                coalesce((select max(g.gone_at) from touchline.workers g where g.instance = i.id), i.seen_at) as alone_since
             from touchline.instances i left join lateral (
                select * from touchline.workers w where w.instance = i.id and w.state <> 'gone'
                order by w.started_at desc limit 1) w on true
             where i.ended_at is null order by i.seen_at, i.id",
            )
            .fetch_all(&self.pool)
            .await?)
    }

    /// Instances that ended within the last `within`, the earliest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn ended_instances(&self, within: Duration) -> Result<Vec<EndedRow>, StoreError> {
        Ok(self
            .query_as(
                "select pool, ended_at from touchline.instances
             where ended_at > now() - make_interval(secs => $1) order by ended_at, id",
            )
            .bind(seconds(within))
            .fetch_all(&self.pool)
            .await?)
    }

    /// Asks an instance's worker to finish what it has and take no more; workers that start there later are asked as
    /// they enter. With `only_idle`, not when one of its workers holds a chunk by now. `true` when it was done now.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn drain_instance(&self, id: &str, reason: DrainReason, only_idle: bool) -> Result<bool, StoreError> {
        let mut transaction = self.begin().await?;
        if reason == DrainReason::Interruption {
            // Also of one that drains already, as after a recommendation: what is left of its time is lost.
            self.query(
                "update touchline.instances set noticed_at = now()
                 where id = $1 and ended_at is null and noticed_at is null",
            )
            .bind(id)
            .execute(&mut *transaction)
            .await?;
        }
        let done = self
            .query(
                "update touchline.instances set draining_at = now(), reason = $2
             where id = $1 and ended_at is null and draining_at is null
                and not ($3 and exists (select from touchline.workers w
                    join touchline.chunks c on c.worker_id = w.id and c.state = 'running'
                    where w.instance = $1 and w.state <> 'gone'))",
            )
            .bind(id)
            .bind(reason.as_str())
            .bind(only_idle)
            .execute(&mut *transaction)
            .await?;
        let is_new = done.rows_affected() > 0;
        if is_new {
            self.query("update touchline.workers set command = 'drain' where instance = $1 and state <> 'gone'")
                .bind(id)
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(is_new)
    }

    /// What instances cost since a moment, in millionths of a US dollar: all of it, and that for time without a worker or
    /// without one that took work.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn cost_since(&self, from: OffsetDateTime) -> Result<(i64, i64), StoreError> {
        Ok(self
            .query_as(
                "with spans as (
                    select price_micros, greatest(seen_at, $1) as began, coalesce(ended_at, now()) as ended,
                        coalesce(ready_at, ended_at, now()) as ready
                    from touchline.instances where coalesce(ended_at, now()) > $1)
                 select coalesce(sum(price_micros * extract(epoch from ended - began) / 3600), 0)::bigint,
                    coalesce(sum(price_micros * greatest(0, extract(epoch from least(ready, ended) - began)) / 3600), 0)::bigint
                 from spans",
            )
            .bind(from)
            .fetch_one(&self.pool)
            .await?)
    }
}
