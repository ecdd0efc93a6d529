//! Organisations: their tiers, what they have used, and the keys of their programs.

use serde::Serialize;
use sqlx::{PgConnection, Row};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Store, StoreError, Tenant};

/// An organisation.
#[derive(Clone, Debug, Serialize, sqlx::FromRow)]
pub struct OrganisationRow {
    /// Id.
    pub id: Uuid,
    /// Name.
    pub name: String,
    /// Tier, which sets its limits.
    pub tier: String,
    /// Share of the fleet under contention.
    pub weight: i32,
    /// What it may spend in a calendar month (UTC), in millionths of a US dollar.
    pub cap_micros: Option<i64>,
    /// When it came.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
}

/// What an organisation may use; `None`: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct Limits {
    /// Jobs at work at once; more wait.
    pub concurrent_jobs: Option<i32>,
    /// Source minutes a calendar month (UTC).
    pub minutes_a_month: Option<i32>,
    /// Bytes of presentations and uploads that are kept.
    pub storage_bytes: Option<i64>,
    /// Bytes of one upload.
    pub largest_file_bytes: Option<i64>,
}

/// What an organisation uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, sqlx::FromRow)]
pub struct Usage {
    /// Source minutes of the month.
    pub minutes: f64,
    /// Jobs that succeeded in the month.
    pub jobs: i64,
    /// Bytes of presentations made in the month.
    pub output_bytes: i64,
    /// Bytes of presentations and uploads that are kept now.
    pub storage_bytes: i64,
    /// Jobs that have not ended.
    pub active_jobs: i64,
}

/// A key, without its secret.
#[derive(Clone, Debug, Serialize, sqlx::FromRow)]
pub struct KeyRow {
    /// Id.
    pub id: Uuid,
    /// What it is for.
    pub name: String,
    /// The public part.
    pub prefix: String,
    /// What it may do.
    pub scopes: Vec<String>,
    /// When it was made.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// When it ends by itself.
    #[serde(with = "time::serde::rfc3339::option")]
    pub expires_at: Option<OffsetDateTime>,
    /// When it was withdrawn.
    #[serde(with = "time::serde::rfc3339::option")]
    pub revoked_at: Option<OffsetDateTime>,
    /// When it was used last, to the minute.
    #[serde(with = "time::serde::rfc3339::option")]
    pub last_used_at: Option<OffsetDateTime>,
}

/// What is needed to tell whether a key is good.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct KeyCheck {
    /// Id.
    pub id: Uuid,
    /// Whose it is.
    pub organisation_id: Uuid,
    /// SHA-256 of the key.
    pub hash: Vec<u8>,
    /// SHA-256 of the key before the last rotation, while it is still good.
    pub old_hash: Option<Vec<u8>>,
    /// What it may do.
    pub scopes: Vec<String>,
    /// Seconds until it, and its old hash, may be good no more.
    pub good_for_s: Option<f64>,
}

/// A key to be.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// What it is for.
    pub name: String,
    /// The public part.
    pub prefix: String,
    /// SHA-256 of the whole.
    pub hash: Vec<u8>,
    /// What it may do.
    pub scopes: Vec<String>,
    /// When it ends by itself.
    pub expires_at: Option<OffsetDateTime>,
}

const ORGANISATION: &str = "select id, name, tier, weight, cap_micros, created_at from touchline.organisations";
const KEY: &str =
    "select id, name, prefix, scopes, created_at, expires_at, revoked_at, last_used_at from touchline.api_keys";

impl Store {
    /// Makes an organisation. `None` when there is one of this name.
    ///
    /// # Errors
    /// [`StoreError::NoTier`].
    pub async fn create_organisation(
        &self,
        name: &str,
        tier: &str,
        weight: i32,
    ) -> Result<Option<OrganisationRow>, StoreError> {
        self.check_tier(tier).await?;
        Ok(self
            .query_as(
                "insert into touchline.organisations (id, name, tier, weight) values ($1, $2, $3, $4)
                 on conflict (name) do nothing returning id, name, tier, weight, cap_micros, created_at",
            )
            .bind(Uuid::now_v7())
            .bind(name)
            .bind(tier)
            .bind(weight)
            .fetch_optional(&self.pool)
            .await?)
    }

    /// Changes tier and weight, where they are given. `None` when there is no such organisation.
    ///
    /// # Errors
    /// [`StoreError::NoTier`].
    pub async fn change_organisation(
        &self,
        id: Uuid,
        tier: Option<&str>,
        weight: Option<i32>,
    ) -> Result<Option<OrganisationRow>, StoreError> {
        if let Some(tier) = tier {
            self.check_tier(tier).await?;
        }
        Ok(self
            .query_as(
                "update touchline.organisations set tier = coalesce($2, tier), weight = coalesce($3, weight)
                 where id = $1 returning id, name, tier, weight, cap_micros, created_at",
            )
            .bind(id)
            .bind(tier)
            .bind(weight)
            .fetch_optional(&self.pool)
            .await?)
    }

    async fn check_tier(&self, tier: &str) -> Result<(), StoreError> {
        let known: Vec<(String,)> =
            self.query_as("select name from touchline.tiers order by name").fetch_all(&self.pool).await?;
        if known.iter().any(|(name,)| name == tier) {
            return Ok(());
        }
        Err(StoreError::NoTier {
            tier: tier.to_owned(),
            known: known.into_iter().map(|(name,)| name).collect::<Vec<_>>().join(", "),
        })
    }

    /// A page of organisations by name, after this one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn organisations(&self, after: Option<&str>, limit: u32) -> Result<Vec<OrganisationRow>, StoreError> {
        let sql = format!("{ORGANISATION} where $1::text is null or name > $1 order by name limit $2");
        let rows = self.query_as(sqlx::AssertSqlSafe(sql)).bind(after).bind(i64::from(limit));
        Ok(rows.fetch_all(&self.pool).await?)
    }

    /// An organisation, if there is one of this id.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn organisation(&self, id: Uuid) -> Result<Option<OrganisationRow>, StoreError> {
        let sql = format!("{ORGANISATION} where id = $1");
        Ok(self.query_as(sqlx::AssertSqlSafe(sql)).bind(id).fetch_optional(&self.pool).await?)
    }

    /// What is needed to check a key with this public part; `None` when no good key has it. Notes that it was used.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn key_check(&self, prefix: &str) -> Result<Option<KeyCheck>, StoreError> {
        let check: Option<KeyCheck> = self
            .query_as(
                "select id, organisation_id, hash, case when old_until > now() then old_hash end as old_hash, scopes,
                    extract(epoch from least(expires_at, case when old_until > now() then old_until end) - now())::float8
                        as good_for_s
                 from touchline.api_keys
                 where prefix = $1 and revoked_at is null and (expires_at is null or expires_at > now())",
            )
            .bind(prefix)
            .fetch_optional(&self.pool)
            .await?;
        if let Some(check) = &check {
            self.query(
                "update touchline.api_keys set last_used_at = now()
                 where id = $1 and (last_used_at is null or last_used_at < now() - interval '1 minute')",
            )
            .bind(check.id)
            .execute(&self.pool)
            .await?;
        }
        Ok(check)
    }
}

impl Tenant {
    /// The organisation itself, with its limits.
    ///
    /// # Errors
    /// [`StoreError::NoOrganisation`].
    pub async fn myself(&self) -> Result<(OrganisationRow, Limits), StoreError> {
        let mut tx = self.begin().await?;
        let row = self
            .store()
            .query_as(sqlx::AssertSqlSafe(format!("{ORGANISATION} where id = $1")))
            .bind(self.organisation())
            .fetch_optional(&mut *tx)
            .await?
            .ok_or(StoreError::NoOrganisation(self.organisation()))?;
        let limits = self.limits_in(&mut tx).await?;
        Ok((row, limits))
    }

    /// The organisation's limits.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn limits_in(&self, tx: &mut PgConnection) -> Result<Limits, StoreError> {
        Ok(self
            .store()
            .query_as(
                "select concurrent_jobs, minutes_a_month, storage_bytes, largest_file_bytes
                 from touchline.tiers t join touchline.organisations o on o.tier = t.name where o.id = $1",
            )
            .bind(self.organisation())
            .fetch_one(tx)
            .await?)
    }

    /// What was used in the month that begins at `month`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn usage_in(&self, tx: &mut PgConnection, month: time::Date) -> Result<Usage, StoreError> {
        Ok(self
            .store()
            .query_as(
                "select coalesce(sum(source_seconds) / 60, 0)::float8 as minutes, count(*) as jobs,
                    coalesce(sum(output_bytes), 0)::bigint as output_bytes,
                    ((select coalesce(sum(coalesce(stored_bytes, output_bytes)), 0) from touchline.usage)
                        + (select coalesce(sum(size_bytes), 0) from touchline.uploads
                           where state in ('open', 'completing', 'completed')))::bigint as storage_bytes,
                    (select count(*) from touchline.jobs where state in ('queued', 'planning', 'running', 'publishing'))
                        as active_jobs
                 from touchline.usage
                 where finished_at >= $1::date::timestamp at time zone 'utc'
                    and finished_at < ($1::date + interval '1 month') at time zone 'utc'",
            )
            .bind(month)
            .fetch_one(tx)
            .await?)
    }

    /// Makes a key.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn create_key(&self, tx: &mut PgConnection, key: &NewKey) -> Result<KeyRow, StoreError> {
        Ok(self
            .store()
            .query_as(
                "insert into touchline.api_keys (id, organisation_id, name, prefix, hash, scopes, expires_at)
                 values ($1, $2, $3, $4, $5, $6, $7)
                 returning id, name, prefix, scopes, created_at, expires_at, revoked_at, last_used_at",
            )
            .bind(Uuid::now_v7())
            .bind(self.organisation())
            .bind(&key.name)
            .bind(&key.prefix)
            .bind(&key.hash)
            .bind(&key.scopes)
            .bind(key.expires_at)
            .fetch_one(tx)
            .await?)
    }

    /// All keys, the newest first; those that were withdrawn too.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn keys(&self, after: Option<(OffsetDateTime, Uuid)>, limit: u32) -> Result<Vec<KeyRow>, StoreError> {
        let (after_time, after_id) = after.unzip();
        let mut tx = self.begin().await?;
        let sql = format!(
            "{KEY} where $1::timestamptz is null or (created_at, id) < ($1, $2) order by created_at desc, id desc limit $3"
        );
        Ok(self
            .store()
            .query_as(sqlx::AssertSqlSafe(sql))
            .bind(after_time)
            .bind(after_id)
            .bind(i64::from(limit))
            .fetch_all(&mut *tx)
            .await?)
    }

    /// Gives a key another secret; the old one is good for `grace_s` more. `None` when there is no such good key.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn rotate_key(
        &self,
        tx: &mut PgConnection,
        id: Uuid,
        hash: &[u8],
        grace_s: f64,
    ) -> Result<Option<KeyRow>, StoreError> {
        Ok(self
            .store()
            .query_as(
                "update touchline.api_keys set old_hash = hash, old_until = now() + make_interval(secs => $3), hash = $2
                 where id = $1 and revoked_at is null and (expires_at is null or expires_at > now())
                 returning id, name, prefix, scopes, created_at, expires_at, revoked_at, last_used_at",
            )
            .bind(id)
            .bind(hash)
            .bind(grace_s)
            .fetch_optional(tx)
            .await?)
    }

    /// A key, if it is this organisation's.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn key_in(&self, tx: &mut PgConnection, id: Uuid) -> Result<Option<KeyRow>, StoreError> {
        let sql = format!("{KEY} where id = $1");
        Ok(self.store().query_as(sqlx::AssertSqlSafe(sql)).bind(id).fetch_optional(tx).await?)
    }

    /// Withdraws a key. `false` when there is none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn revoke_key(&self, tx: &mut PgConnection, id: Uuid) -> Result<bool, StoreError> {
        let row = self
            .store()
            .query("update touchline.api_keys set revoked_at = coalesce(revoked_at, now()) where id = $1 returning id")
            .bind(id)
            .fetch_optional(tx)
            .await?;
        row.map_or(Ok(false), |r| Ok(r.try_get::<Uuid, _>("id")? == id))
    }
}
