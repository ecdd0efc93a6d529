//! Caps: what an organisation may spend in a month, which of its jobs were admitted, and when the cap was reached.

use serde::Serialize;
use serde_json::Value;
use sqlx::types::Json;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::store::{Store, StoreError, Tenant};

/// The event of a cap that begins to stop releases.
pub const CAP_REACHED_EVENT: &str = "cap.reached";

/// An organisation with a cap.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct CappedOrganisation {
    /// Organisation.
    pub id: Uuid,
    /// What it may spend in a calendar month, millionths of a US dollar.
    pub cap_micros: i64,
    /// What the cap stops this month: `new_jobs` or `all`.
    pub capped: Option<String>,
    /// What it owes to instances of this month that are settled, millionths of a US dollar.
    pub settled_micros: i64,
}

/// A job that was not admitted yet.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct WaitingJob {
    /// Job.
    pub id: Uuid,
    /// Region of its source.
    pub home_region: String,
    /// What to make.
    pub ladder: Value,
    /// Size of its upload, when it came with one.
    pub size_bytes: Option<i64>,
}

/// How a cap stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct CapState {
    /// What may be spent in a calendar month, millionths of a US dollar.
    pub cap_micros: Option<i64>,
    /// What the cap stops this month: `new_jobs` or `all`.
    pub capped: Option<String>,
    /// Since when.
    #[serde(with = "time::serde::rfc3339::option")]
    pub capped_at: Option<OffsetDateTime>,
}

/// `capped`, of this month.
const CAPPED: &str =
    "case when date_trunc('month', capped_at at time zone 'utc') = date_trunc('month', now() at time zone 'utc')
    then capped end as capped";

impl Store {
    /// Whether any organisation has a cap.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn has_caps(&self) -> Result<bool, StoreError> {
        let (has,): (bool,) = self
            .query_as("select exists (select from touchline.organisations where cap_micros is not null)")
            .fetch_one(&self.pool)
            .await?;
        Ok(has)
    }

    /// Organisations with a cap. Their jobs that had begun before they got it count as admitted from here on.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn capped_organisations(&self) -> Result<Vec<CappedOrganisation>, StoreError> {
        let sql = format!(
            "select o.id, o.cap_micros, {CAPPED},
                (select coalesce(sum(work_micros + boot_micros + idle_micros + waste_micros + transfer_micros), 0)::bigint
                    from touchline.charges c where c.organisation_id = o.id
                    and c.at >= date_trunc('month', now() at time zone 'utc') at time zone 'utc') as settled_micros
             from touchline.organisations o where o.cap_micros is not null order by o.id"
        );
        Ok(self.query_as(sqlx::AssertSqlSafe(sql)).fetch_all(&self.pool).await?)
    }

    /// Jobs of an organisation that wait to be admitted, in the order in which they are released.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn waiting_for_budget(&self, organisation: Uuid) -> Result<Vec<WaitingJob>, StoreError> {
        Ok(self
            .query_as(
                "select j.id, j.home_region, j.ladder, u.size_bytes
                 from touchline.jobs j left join touchline.uploads u on u.id = j.upload_id
                 where j.organisation_id = $1 and j.admitted_at is null and j.state in ('queued', 'planning', 'running')
                 order by j.state = 'queued', j.ready_by nulls last, j.created_at, j.id limit 1000",
            )
            .bind(organisation)
            .fetch_all(&self.pool)
            .await?)
    }

    /// Jobs of an organisation that were admitted and are not done.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn admitted_jobs(&self, organisation: Uuid) -> Result<Vec<Uuid>, StoreError> {
        let rows: Vec<(Uuid,)> = self
            .query_as(
                "select id from touchline.jobs where organisation_id = $1 and admitted_at is not null
                    and state in ('queued', 'planning', 'running')",
            )
            .bind(organisation)
            .fetch_all(&self.pool)
            .await?;
        Ok(rows.into_iter().map(|(id,)| id).collect())
    }

    /// Admits jobs: they may be released as long as the cap itself is not spent.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn admit(&self, jobs: &[Uuid]) -> Result<(), StoreError> {
        self.query("update touchline.jobs set admitted_at = now() where id = any($1) and admitted_at is null")
            .bind(jobs)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Notes what a cap stops, and tells of it when it begins to this month. `true` when it did now. A cap that was changed
    /// meanwhile is left alone.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn note_capped(
        &self,
        organisation: Uuid,
        cap_micros: i64,
        stops: Option<&str>,
        event: &Value,
    ) -> Result<bool, StoreError> {
        let sql = format!(
            "with before as (select id, {CAPPED} from touchline.organisations where id = $1 for update),
             changed as (
                update touchline.organisations o set capped = $3, capped_at = case when $3::text is not null then now() end
                from before b where o.id = b.id and o.cap_micros = $2 and b.capped is distinct from $3::text
                returning o.id, b.capped as was),
             told as (
                insert into touchline.events (organisation_id, type, data)
                select id, $5, $4 from changed where was is null and $3::text is not null returning 1)
             select exists (select from told)"
        );
        let (told,): (bool,) = self
            .query_as(sqlx::AssertSqlSafe(sql))
            .bind(organisation)
            .bind(cap_micros)
            .bind(stops)
            .bind(Json(event))
            .bind(CAP_REACHED_EVENT)
            .fetch_one(&self.pool)
            .await?;
        Ok(told)
    }

    /// Sets or takes away an organisation's cap. What it stopped may go on until it is reckoned again; jobs that have begun
    /// are admitted. `false` when there is no such organisation.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn set_cap(&self, organisation: Uuid, cap_micros: Option<i64>) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let done = self
            .query("update touchline.organisations set cap_micros = $2, capped = null, capped_at = null where id = $1")
            .bind(organisation)
            .bind(cap_micros)
            .execute(&mut *tx)
            .await?;
        self.query(
            "update touchline.jobs set admitted_at = now()
             where organisation_id = $1 and admitted_at is null and state in ('planning', 'running', 'publishing')",
        )
        .bind(organisation)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(done.rows_affected() == 1)
    }

    /// How an organisation's cap stands, and whether it holds this job back.
    ///
    /// # Errors
    /// [`StoreError::NoJob`].
    pub async fn cap_of_job(&self, job: Uuid) -> Result<(CapState, bool), StoreError> {
        let sql = format!(
            "select o.cap_micros, {CAPPED}, capped_at from touchline.organisations o
             join touchline.jobs j on j.organisation_id = o.id where j.id = $1"
        );
        let state: Option<CapState> =
            self.query_as(sqlx::AssertSqlSafe(sql)).bind(job).fetch_optional(&self.pool).await?;
        let state = state.ok_or(StoreError::NoJob(job))?;
        let (held,): (bool,) = self
            .query_as(
                "select touchline.is_held(o.cap_micros, o.capped, o.capped_at, j.admitted_at)
                 from touchline.jobs j join touchline.organisations o on o.id = j.organisation_id where j.id = $1",
            )
            .bind(job)
            .fetch_one(&self.pool)
            .await?;
        Ok((state, held))
    }
}

impl Tenant {
    /// How the organisation's cap stands.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn cap_in(&self, tx: &mut sqlx::PgConnection) -> Result<CapState, StoreError> {
        let sql = format!("select cap_micros, {CAPPED}, capped_at from touchline.organisations where id = $1");
        let row = self.store().query_as(sqlx::AssertSqlSafe(sql)).bind(self.organisation());
        Ok(row.fetch_one(tx).await?)
    }
}
