//! What machines cost, job by job. An instance's bill is split once, some time after it ended, and never changes then;
//! before that it is reckoned anew whenever somebody asks. [`budget`] is what organisations may spend.
//!
//! How a bill is split is not decided here but in the dispatcher, by a pure function; this only reads what happened and
//! keeps what came out.

pub mod budget;

use std::time::Duration;

use serde::Serialize;
use sqlx::PgConnection;
use time::{Date, OffsetDateTime};
use uuid::Uuid;

use super::{Store, StoreError, Tenant, seconds};

/// An instance whose bill is not split yet.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct UnsettledInstance {
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
    /// When it was first seen.
    pub seen_at: OffsetDateTime,
    /// When its first worker came.
    pub ready_at: Option<OffsetDateTime>,
    /// When the provider announced that it takes it back.
    pub noticed_at: Option<OffsetDateTime>,
    /// When it was no longer there; `None` while it is.
    pub ended_at: Option<OffsetDateTime>,
    /// The database's clock.
    pub now: OffsetDateTime,
}

/// An attempt at a chunk, on an instance.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct AttemptUse {
    /// Instance; empty on a machine that nobody counts.
    pub instance: String,
    /// Job.
    pub job_id: Uuid,
    /// Its owner.
    pub organisation_id: Uuid,
    /// When the worker took it.
    pub claimed_at: OffsetDateTime,
    /// When it ended; `None` while it is at work.
    pub ended_at: Option<OffsetDateTime>,
    /// Whether the chunk was done with it.
    pub is_done: bool,
    /// When its last segment was committed.
    pub committed_at: Option<OffsetDateTime>,
    /// Region of the source, when the attempt was made in another one.
    pub from_region: Option<String>,
    /// Bytes of the source that it read there: the chunk's share of the pictures.
    pub moved_bytes: f64,
}

/// What a job owes to an instance, or an instance that served none owes to nobody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct Charge {
    /// Instance.
    pub instance: String,
    /// Job.
    pub job_id: Option<Uuid>,
    /// Its owner.
    pub organisation_id: Option<Uuid>,
    /// Region.
    pub region: String,
    /// Pool.
    pub pool: String,
    /// Millionths of a US dollar an hour.
    pub price_micros: i64,
    /// Milliseconds of committed work.
    pub work_ms: i64,
    /// Milliseconds of the boot.
    pub boot_ms: i64,
    /// Milliseconds without work.
    pub idle_ms: i64,
    /// Milliseconds that were lost.
    pub waste_ms: i64,
    /// Millionths of a US dollar for committed work.
    pub work_micros: i64,
    /// For the boot.
    pub boot_micros: i64,
    /// For the time without work.
    pub idle_micros: i64,
    /// For what was lost.
    pub waste_micros: i64,
    /// For moving the source to where it was encoded.
    pub transfer_micros: i64,
}

impl Charge {
    /// Millionths of a US dollar, transfer included.
    #[must_use]
    pub fn total_micros(&self) -> i64 {
        self.work_micros + self.boot_micros + self.idle_micros + self.waste_micros + self.transfer_micros
    }
}

/// What a job cost in a month.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct JobCost {
    /// Job.
    pub job_id: Uuid,
    /// Its title; `None` when it was deleted, or its rows are kept no longer.
    pub title: Option<String>,
    /// Milliseconds of machines.
    pub machine_ms: i64,
    /// Millionths of a US dollar.
    pub work_micros: i64,
    /// For booting.
    pub boot_micros: i64,
    /// For time without work.
    pub idle_micros: i64,
    /// For what was lost.
    pub waste_micros: i64,
    /// For moving the source.
    pub transfer_micros: i64,
}

impl JobCost {
    /// Millionths of a US dollar, transfer included.
    #[must_use]
    pub fn total_micros(&self) -> i64 {
        self.work_micros + self.boot_micros + self.idle_micros + self.waste_micros + self.transfer_micros
    }
}

const CHARGE: &str = "select instance, job_id, organisation_id, region, pool, price_micros, work_ms, boot_ms, idle_ms, \
    waste_ms, work_micros, boot_micros, idle_micros, waste_micros, transfer_micros from touchline.charges";

impl Store {
    /// Instances whose bill is not split yet, the oldest first. With `after`, only those that ended longer ago than that
    /// and have no attempt at work: nothing more will happen to them.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn unsettled_instances(&self, after: Option<Duration>) -> Result<Vec<UnsettledInstance>, StoreError> {
        Ok(self
            .query_as(
                "select id, region, pool, price_micros, slots, seen_at, ready_at, noticed_at, ended_at, now() as now
                 from touchline.instances i where settled_at is null and ($1::float8 is null
                    or (ended_at < now() - make_interval(secs => $1) and not exists (
                        select from touchline.attempts a where a.instance = i.id and a.ended_at is null)))
                 order by seen_at, id",
            )
            .bind(after.map(seconds))
            .fetch_all(&self.pool)
            .await?)
    }

    /// Attempts on these instances.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn attempts_on(&self, instances: &[&str]) -> Result<Vec<AttemptUse>, StoreError> {
        self.attempt_uses("a.instance = any($1) and $2::uuid is null", instances, None).await
    }

    /// Attempts of a job on machines that nobody counts.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn uncounted_attempts(&self, job: Uuid) -> Result<Vec<AttemptUse>, StoreError> {
        self.attempt_uses("a.instance = any($1) and a.job_id = $2", &[""], Some(job)).await
    }

    async fn attempt_uses(
        &self,
        which: &str,
        instances: &[&str],
        job: Option<Uuid>,
    ) -> Result<Vec<AttemptUse>, StoreError> {
        let sql = format!(
            "select a.instance, a.job_id, j.organisation_id, a.claimed_at, a.ended_at,
                a.outcome is not distinct from 'done' as is_done,
                (select max(s.committed_at) from touchline.segments s
                    where s.job_id = a.job_id and s.chunk = a.chunk and s.attempt = a.attempt) as committed_at,
                case when a.region <> j.home_region then j.home_region end as from_region,
                case when a.region <> j.home_region and c.kind = 'video' then coalesce(j.source_bytes * c.seconds / nullif((
                    select sum(v.seconds) from touchline.chunks v where v.job_id = a.job_id and v.kind = 'video'), 0), 0)
                    else 0 end::float8 as moved_bytes
             from touchline.attempts a join touchline.jobs j on j.id = a.job_id
             join touchline.chunks c on c.job_id = a.job_id and c.chunk = a.chunk
             where {which} order by a.claimed_at, a.job_id, a.chunk, a.attempt"
        );
        let rows = self.query_as(sqlx::AssertSqlSafe(sql)).bind(instances).bind(job);
        Ok(rows.fetch_all(&self.pool).await?)
    }

    /// Keeps the split bill of an instance that ended; done again, it takes the place of the first. `false` when the
    /// instance is there again or was settled meanwhile.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn settle(&self, instance: &str, charges: &[Charge]) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let ended: Option<(OffsetDateTime,)> = self
            .query_as(
                "update touchline.instances set settled_at = now()
                 where id = $1 and settled_at is null and ended_at is not null returning ended_at",
            )
            .bind(instance)
            .fetch_optional(&mut *tx)
            .await?;
        let Some((ended_at,)) = ended else { return Ok(false) };
        self.query("delete from touchline.charges where instance = $1").bind(instance).execute(&mut *tx).await?;
        for charge in charges {
            self.query(
                "insert into touchline.charges (instance, job_id, organisation_id, region, pool, at, price_micros,
                    work_ms, boot_ms, idle_ms, waste_ms, work_micros, boot_micros, idle_micros, waste_micros,
                    transfer_micros)
                 values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)",
            )
            .bind(instance)
            .bind(charge.job_id)
            .bind(charge.organisation_id)
            .bind(&charge.region)
            .bind(&charge.pool)
            .bind(ended_at)
            .bind(charge.price_micros)
            .bind(charge.work_ms)
            .bind(charge.boot_ms)
            .bind(charge.idle_ms)
            .bind(charge.waste_ms)
            .bind(charge.work_micros)
            .bind(charge.boot_micros)
            .bind(charge.idle_micros)
            .bind(charge.waste_micros)
            .bind(charge.transfer_micros)
            .execute(&mut *tx)
            .await?;
        }
        tx.commit().await?;
        Ok(true)
    }

    /// What a job owes to instances that are settled, the earliest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn charges_of_job(&self, job: Uuid) -> Result<Vec<Charge>, StoreError> {
        let sql = format!("{CHARGE} where job_id = $1 order by at, instance");
        Ok(self.query_as(sqlx::AssertSqlSafe(sql)).bind(job).fetch_all(&self.pool).await?)
    }

    /// All charges from a moment to before another, those of nobody included.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn charges_between(
        &self,
        from: OffsetDateTime,
        until: OffsetDateTime,
    ) -> Result<Vec<Charge>, StoreError> {
        let sql = format!("{CHARGE} where at >= $1 and at < $2 order by at, instance, job_id");
        Ok(self.query_as(sqlx::AssertSqlSafe(sql)).bind(from).bind(until).fetch_all(&self.pool).await?)
    }
}

impl Tenant {
    /// What each job owes to instances that ended in the month that begins at `month`, the dearest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn costs_in(&self, tx: &mut PgConnection, month: Date) -> Result<Vec<JobCost>, StoreError> {
        Ok(self
            .store()
            .query_as(
                "select c.job_id, j.title, sum(work_ms + boot_ms + idle_ms + waste_ms)::bigint as machine_ms,
                    sum(work_micros)::bigint as work_micros, sum(boot_micros)::bigint as boot_micros,
                    sum(idle_micros)::bigint as idle_micros, sum(waste_micros)::bigint as waste_micros,
                    sum(transfer_micros)::bigint as transfer_micros
                 from touchline.charges c left join touchline.jobs j on j.id = c.job_id
                 where c.organisation_id = $2 and c.at >= $1::date::timestamp at time zone 'utc'
                    and c.at < ($1::date + interval '1 month') at time zone 'utc'
                 group by c.job_id, j.title
                 order by sum(work_micros + boot_micros + idle_micros + waste_micros + transfer_micros) desc, c.job_id",
            )
            .bind(month)
            .bind(self.organisation())
            .fetch_all(tx)
            .await?)
    }
}
