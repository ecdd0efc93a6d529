//! The store as one organisation sees it: every statement runs as a role that row-level security holds to that
//! organisation's rows, so that a forgotten condition shows nothing rather than everything.

use sqlx::types::Json;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::jobs::{ChunkRow, JobFilter, JobRow};
use super::{Store, StoreError, Transaction};
use crate::plan::JobPlan;

/// The store for one organisation. All work is done in transactions from [`begin`](Self::begin).
#[derive(Clone, Debug)]
pub struct Tenant {
    store: Store,
    organisation: Uuid,
}

/// A change, for the audit log.
#[derive(Clone, Debug)]
pub struct AuditEntry<'a> {
    /// Who: `key:<prefix>`, `user:<subject>`, `cli`.
    pub actor: &'a str,
    /// What: `job.cancelled`, `key.created`, …
    pub action: &'a str,
    /// Id of what was changed.
    pub object: String,
    /// What else is worth knowing; never a secret.
    pub detail: serde_json::Value,
    /// Request that asked for it.
    pub request: &'a str,
}

/// A line of the audit log.
#[derive(Clone, Debug, serde::Serialize, sqlx::FromRow)]
pub struct AuditRow {
    /// Place in the log.
    pub id: i64,
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    pub at: time::OffsetDateTime,
    /// Who.
    pub actor: String,
    /// What.
    pub action: String,
    /// Id of what was changed.
    pub object: String,
    /// What else is known.
    pub detail: serde_json::Value,
    /// Request that asked for it.
    pub request_id: Option<String>,
}

/// What became of a request that carried an idempotency key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remembered {
    /// Nobody has asked with this key; it is taken now.
    New,
    /// It was answered.
    Answered {
        /// HTTP status.
        status: u16,
        /// Body.
        body: Vec<u8>,
    },
    /// The same request is at work.
    AtWork,
    /// The key was used for another request.
    Other,
}

impl Store {
    /// The store as an organisation sees it.
    #[must_use]
    pub fn tenant(&self, organisation: Uuid) -> Tenant {
        Tenant { store: self.clone(), organisation }
    }
}

impl Tenant {
    /// Whose it is.
    #[must_use]
    pub fn organisation(&self) -> Uuid {
        self.organisation
    }

    /// The store, for statements within a transaction of [`begin`](Self::begin).
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Begins a transaction that sees this organisation's rows only. Both settings end with it, so that a pooler may
    /// give the connection to somebody else.
    ///
    /// # Errors
    /// [`StoreError`]; this login must be a member of `touchline_api`.
    pub async fn begin(&self) -> Result<Transaction, StoreError> {
        let mut tx = self.store.begin().await?;
        self.store
            .query("select set_config('role', 'touchline_api', true), set_config('touchline.organisation', $1, true)")
            .bind(self.organisation.to_string())
            .execute(&mut *tx)
            .await?;
        Ok(tx)
    }

    /// A job.
    ///
    /// # Errors
    /// [`StoreError::NoJob`], also when it is another organisation's.
    pub async fn job(&self, id: Uuid) -> Result<JobRow, StoreError> {
        let mut tx = self.begin().await?;
        self.store.job_in(&mut tx, id).await
    }

    /// A job with its chunks.
    ///
    /// # Errors
    /// [`StoreError::NoJob`].
    pub async fn job_and_chunks(&self, id: Uuid) -> Result<(JobRow, Vec<ChunkRow>), StoreError> {
        let mut tx = self.begin().await?;
        Ok((self.store.job_in(&mut tx, id).await?, self.store.chunks_in(&mut tx, id).await?))
    }

    /// The plan of a job; `None` before it has one.
    ///
    /// # Errors
    /// [`StoreError::NoJob`].
    pub async fn plan(&self, id: Uuid) -> Result<Option<JobPlan>, StoreError> {
        let mut tx = self.begin().await?;
        self.store.plan_in(&mut tx, id).await
    }

    /// A page of jobs.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn jobs(&self, filter: &JobFilter) -> Result<Vec<JobRow>, StoreError> {
        let mut tx = self.begin().await?;
        self.store.list_jobs_in(&mut tx, filter).await
    }

    /// An upload's object, its file's name, and its state; `None` when there is none. It stays as it is until the
    /// transaction ends.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn upload_source(
        &self,
        tx: &mut PgConnection,
        id: Uuid,
    ) -> Result<Option<(String, String, String)>, StoreError> {
        Ok(self
            .store
            .query_as("select source, filename, state from touchline.uploads where id = $1 for share")
            .bind(id)
            .fetch_optional(tx)
            .await?)
    }

    /// Size of an upload's file; `None` when there is no such upload.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn upload_size(&self, tx: &mut PgConnection, id: Uuid) -> Result<Option<u64>, StoreError> {
        let row: Option<(i64,)> = self
            .store
            .query_as("select size_bytes from touchline.uploads where id = $1")
            .bind(id)
            .fetch_optional(tx)
            .await?;
        Ok(row.and_then(|(bytes,)| u64::try_from(bytes).ok()))
    }

    /// Notes a change in the audit log, in the transaction of the change.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn audit(&self, tx: &mut PgConnection, entry: &AuditEntry<'_>) -> Result<(), StoreError> {
        self.store
            .query(
                "insert into touchline.audit (organisation_id, actor, action, object, detail, request_id)
                 values ($1, $2, $3, $4, $5, $6)",
            )
            .bind(self.organisation)
            .bind(entry.actor)
            .bind(entry.action)
            .bind(&entry.object)
            .bind(Json(&entry.detail))
            .bind(entry.request)
            .execute(tx)
            .await?;
        Ok(())
    }

    /// A page of the audit log, the newest first, before this place.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn audit_log(&self, before: Option<i64>, limit: u32) -> Result<Vec<AuditRow>, StoreError> {
        let mut tx = self.begin().await?;
        Ok(self
            .store
            .query_as(
                "select id, at, actor, action, object, detail, request_id from touchline.audit
                 where $1::bigint is null or id < $1 order by id desc limit $2",
            )
            .bind(before)
            .bind(i64::from(limit))
            .fetch_all(&mut *tx)
            .await?)
    }

    /// Takes an idempotency key for a request, named by its digest, or tells what became of the request that has it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn remember(&self, key: &str, request: &[u8]) -> Result<Remembered, StoreError> {
        let mut tx = self.begin().await?;
        // A request that has been at work for five minutes lost its dispatcher: whoever asks again takes over.
        let taken = self
            .store
            .query(
                "insert into touchline.idempotency as i (organisation_id, key, request) values ($1, $2, $3)
                 on conflict (organisation_id, key) do update set request = $3, created_at = now(), status = null, body = null
                 where i.created_at < now() - interval '24 hours'
                    or (i.status is null and i.created_at < now() - interval '5 minutes' and i.request = $3)",
            )
            .bind(self.organisation)
            .bind(key)
            .bind(request)
            .execute(&mut *tx)
            .await?;
        if taken.rows_affected() == 1 {
            tx.commit().await?;
            return Ok(Remembered::New);
        }
        let row = self
            .store
            .query("select request, status, body from touchline.idempotency where key = $1")
            .bind(key)
            .fetch_one(&mut *tx)
            .await?;
        if row.try_get::<Vec<u8>, _>("request")? != request {
            return Ok(Remembered::Other);
        }
        let status: Option<i32> = row.try_get("status")?;
        Ok(match status.and_then(|s| u16::try_from(s).ok()) {
            Some(status) => {
                Remembered::Answered { status, body: row.try_get::<Option<Vec<u8>>, _>("body")?.unwrap_or_default() }
            }
            None => Remembered::AtWork,
        })
    }

    /// Keeps the answer to a request, or forgets the request when there is none worth keeping.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn answer(&self, key: &str, answer: Option<(u16, &[u8])>) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        match answer {
            Some((status, body)) => {
                self.store
                    .query("update touchline.idempotency set status = $2, body = $3 where key = $1")
                    .bind(key)
                    .bind(i32::from(status))
                    .bind(body)
                    .execute(&mut *tx)
                    .await?;
            }
            None => {
                self.store
                    .query("delete from touchline.idempotency where key = $1")
                    .bind(key)
                    .execute(&mut *tx)
                    .await?;
            }
        }
        tx.commit().await?;
        Ok(())
    }
}
