//! Webhooks: who wants to be told of what, and what became of each message.
//!
//! Here is what their owners see and change. [`fan_out`] makes deliveries of events, each event once for each webhook;
//! [`deliver`] hands deliveries to dispatchers, one at a time, and records how each try ended.

pub mod deliver;
pub mod fan_out;

use serde_json::Value;
use sqlx::PgConnection;
use sqlx::types::Json;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{StoreError, Tenant};

/// What a webhook can ask for.
pub const EVENT_TYPES: [&str; 10] = [
    "upload.completed",
    "job.playable",
    PROGRESS,
    "job.succeeded",
    "job.failed",
    "job.cancelled",
    "job.deleted",
    "clip.ready",
    "clip.failed",
    super::ledger::budget::CAP_REACHED_EVENT,
];

/// How far a job is, in tenths. Only made for webhooks that ask for it.
pub const PROGRESS: &str = "job.progress";

/// The delivery with which an owner tries a webhook out.
pub const TEST: &str = "webhook.test";

/// A webhook, without its secret.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct WebhookRow {
    /// Id.
    pub id: Uuid,
    /// Where to.
    pub url: String,
    /// What it is for.
    pub description: String,
    /// What it is told of.
    pub events: Vec<String>,
    /// Whether it is told at all.
    pub enabled: bool,
    /// Since when every delivery failed.
    pub failing_since: Option<OffsetDateTime>,
    /// When the fleet turned it off.
    pub disabled_at: Option<OffsetDateTime>,
    /// Why: `gone` or `failing`.
    pub disabled_reason: Option<String>,
    /// Until when messages are signed with the secret before this one too.
    pub old_secret_until: Option<OffsetDateTime>,
    /// When it was made.
    pub created_at: OffsetDateTime,
}

/// A webhook to be.
#[derive(Clone, Debug)]
pub struct NewWebhook {
    /// Where to.
    pub url: String,
    /// What it is for.
    pub description: String,
    /// What it is told of.
    pub events: Vec<String>,
    /// Signing secret, base64.
    pub secret: String,
}

/// What is changed of a webhook.
#[derive(Clone, Debug, Default)]
pub struct WebhookChange {
    /// Where to.
    pub url: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// What it is told of.
    pub events: Option<Vec<String>>,
    /// Whether it is told at all.
    pub enabled: Option<bool>,
}

/// A delivery, for looking at.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct DeliveryRow {
    /// Id.
    pub id: Uuid,
    /// What happened.
    #[sqlx(rename = "type")]
    pub kind: String,
    /// `pending`, `delivered` or `failed`.
    pub state: String,
    /// Tries so far.
    pub tries: i32,
    /// When it is tried next, while it is pending.
    pub next_at: OffsetDateTime,
    /// HTTP status of the last try, when it had an answer.
    pub last_status: Option<i32>,
    /// Why the last try failed.
    pub last_error: Option<String>,
    /// How long the last try took.
    pub last_ms: Option<i32>,
    /// Body.
    pub payload: Value,
    /// When it was made.
    pub created_at: OffsetDateTime,
    /// When it was delivered or given up.
    pub finished_at: Option<OffsetDateTime>,
}

const WEBHOOK: &str = "id, url, description, events, enabled, failing_since, disabled_at, disabled_reason, \
    case when old_until > now() then old_until end as old_secret_until, created_at";
const DELIVERY: &str =
    "id, type, state, tries, next_at, last_status, last_error, last_ms, payload, created_at, finished_at";

impl Tenant {
    /// Makes a webhook; `None` when the organisation has `most` already.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn create_webhook(
        &self,
        tx: &mut PgConnection,
        webhook: &NewWebhook,
        most: u32,
    ) -> Result<Option<WebhookRow>, StoreError> {
        let sql = format!(
            "insert into touchline.webhooks (id, organisation_id, url, description, events, secret)
             select $1, $2, $3, $4, $5, $6 where (select count(*) from touchline.webhooks) < $7 returning {WEBHOOK}"
        );
        Ok(self
            .store()
            .query_as(sqlx::AssertSqlSafe(sql))
            .bind(Uuid::now_v7())
            .bind(self.organisation())
            .bind(&webhook.url)
            .bind(&webhook.description)
            .bind(&webhook.events)
            .bind(&webhook.secret)
            .bind(i64::from(most))
            .fetch_optional(tx)
            .await?)
    }

    /// A page of webhooks, the newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn webhooks(
        &self,
        after: Option<(OffsetDateTime, Uuid)>,
        limit: u32,
    ) -> Result<Vec<WebhookRow>, StoreError> {
        let (after_time, after_id) = after.unzip();
        let mut tx = self.begin().await?;
        let sql = format!(
            "select {WEBHOOK} from touchline.webhooks where $1::timestamptz is null or (created_at, id) < ($1, $2)
             order by created_at desc, id desc limit $3"
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

    /// A webhook, if it is this organisation's.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn webhook_in(&self, tx: &mut PgConnection, id: Uuid) -> Result<Option<WebhookRow>, StoreError> {
        let sql = format!("select {WEBHOOK} from touchline.webhooks where id = $1");
        Ok(self.store().query_as(sqlx::AssertSqlSafe(sql)).bind(id).fetch_optional(tx).await?)
    }

    /// Changes a webhook where something is given. Turned on again, it starts afresh: without failures, and told only of
    /// what happens from then on. `None` when there is none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn change_webhook(
        &self,
        tx: &mut PgConnection,
        id: Uuid,
        change: &WebhookChange,
    ) -> Result<Option<WebhookRow>, StoreError> {
        let sql = format!(
            "update touchline.webhooks set url = coalesce($2, url), description = coalesce($3, description),
                events = coalesce($4, events), enabled = coalesce($5, enabled),
                failing_since = case when $5 and not enabled then null else failing_since end,
                disabled_at = case when $5 then null else disabled_at end,
                disabled_reason = case when $5 then null else disabled_reason end
             where id = $1 returning {WEBHOOK}"
        );
        Ok(self
            .store()
            .query_as(sqlx::AssertSqlSafe(sql))
            .bind(id)
            .bind(&change.url)
            .bind(&change.description)
            .bind(&change.events)
            .bind(change.enabled)
            .fetch_optional(tx)
            .await?)
    }

    /// Deletes a webhook with its log. `false` when there is none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn delete_webhook(&self, tx: &mut PgConnection, id: Uuid) -> Result<bool, StoreError> {
        let done = self.store().query("delete from touchline.webhooks where id = $1").bind(id).execute(tx).await?;
        Ok(done.rows_affected() > 0)
    }

    /// Gives a webhook another secret (base64); for `grace_s` more, messages are signed with the old one too. `None` when
    /// there is no such webhook.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn rotate_webhook(
        &self,
        tx: &mut PgConnection,
        id: Uuid,
        secret: &str,
        grace_s: f64,
    ) -> Result<Option<WebhookRow>, StoreError> {
        let sql = format!(
            "update touchline.webhooks set old_secret = secret, old_until = now() + make_interval(secs => $3), secret = $2
             where id = $1 returning {WEBHOOK}"
        );
        Ok(self
            .store()
            .query_as(sqlx::AssertSqlSafe(sql))
            .bind(id)
            .bind(secret)
            .bind(grace_s)
            .fetch_optional(tx)
            .await?)
    }

    /// Makes a delivery that no event asked for, to try a webhook out.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn test_webhook(
        &self,
        tx: &mut PgConnection,
        webhook: Uuid,
        payload: &Value,
    ) -> Result<DeliveryRow, StoreError> {
        let sql = format!(
            "insert into touchline.webhook_deliveries (id, webhook_id, organisation_id, type, payload)
             values ($1, $2, $3, $4, $5) returning {DELIVERY}"
        );
        Ok(self
            .store()
            .query_as(sqlx::AssertSqlSafe(sql))
            .bind(Uuid::now_v7())
            .bind(webhook)
            .bind(self.organisation())
            .bind(TEST)
            .bind(Json(payload))
            .fetch_one(tx)
            .await?)
    }

    /// A page of a webhook's log, the newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn deliveries_in(
        &self,
        tx: &mut PgConnection,
        webhook: Uuid,
        after: Option<(OffsetDateTime, Uuid)>,
        limit: u32,
    ) -> Result<Vec<DeliveryRow>, StoreError> {
        let (after_time, after_id) = after.unzip();
        let sql = format!(
            "select {DELIVERY} from touchline.webhook_deliveries
             where webhook_id = $1 and ($2::timestamptz is null or (created_at, id) < ($2, $3))
             order by created_at desc, id desc limit $4"
        );
        Ok(self
            .store()
            .query_as(sqlx::AssertSqlSafe(sql))
            .bind(webhook)
            .bind(after_time)
            .bind(after_id)
            .bind(i64::from(limit))
            .fetch_all(tx)
            .await?)
    }

    /// Sends a delivery again, now and with all its tries, or at once when it waits for a try. `None` when there is no
    /// such delivery.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn replay_delivery(
        &self,
        tx: &mut PgConnection,
        webhook: Uuid,
        delivery: Uuid,
    ) -> Result<Option<DeliveryRow>, StoreError> {
        let sql = format!(
            "update touchline.webhook_deliveries set next_at = now(), state = 'pending', finished_at = null,
                tries = case state when 'pending' then tries else 0 end
             where id = $2 and webhook_id = $1 returning {DELIVERY}"
        );
        Ok(self.store().query_as(sqlx::AssertSqlSafe(sql)).bind(webhook).bind(delivery).fetch_optional(tx).await?)
    }
}
