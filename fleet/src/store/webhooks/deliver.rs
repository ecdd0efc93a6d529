//! Deliveries at work.
//!
//! A dispatcher holds a delivery by the time until which it claimed it: whoever records an outcome names that time, so a
//! late word of a dispatcher that was thought dead changes nothing. A death between sending and recording sends twice;
//! the message's id stays the same.

use std::time::Duration;

use serde_json::Value;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::store::{Store, StoreError, Transaction, seconds};

/// For how long a dispatcher holds a delivery: several times what a try may take.
const CLAIM: Duration = Duration::from_secs(60);
/// Deliveries of one webhook at the same time; one alone while its receiver fails.
const AT_ONCE: i64 = 4;
/// A webhook with nothing but failures for this long is turned off.
pub const PATIENCE: Duration = Duration::from_secs(3 * 24 * 3600);

/// A delivery that this dispatcher holds.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct ClaimedDelivery {
    /// Delivery, the same for every try.
    pub id: Uuid,
    /// Webhook.
    pub webhook_id: Uuid,
    /// Owner.
    pub organisation_id: Uuid,
    /// What happened.
    #[sqlx(rename = "type")]
    pub kind: String,
    /// Body.
    pub payload: Value,
    /// Number of this try, from 1 on.
    pub tries: i32,
    /// Until when it is held.
    claimed_until: OffsetDateTime,
    /// Where to.
    pub url: String,
    /// Signing secret, base64.
    pub secret: String,
    /// The secret before it, while both are good.
    pub old_secret: Option<String>,
}

/// How a try ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Try {
    /// HTTP status, when there was an answer.
    pub status: Option<u16>,
    /// How long it took.
    pub took: Duration,
    /// Why it failed, for the owner of the webhook.
    pub error: Option<String>,
    /// What follows.
    pub then: Then,
}

/// What follows a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// The receiver has it.
    Delivered,
    /// Another try, after this time.
    Again(Duration),
    /// That was the last try.
    GiveUp,
    /// The receiver wants no more of any.
    Gone,
}

/// What recording a try changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// The delivery.
    Noted,
    /// The delivery, and its webhook is turned off.
    Disabled,
    /// Nothing: somebody else holds it by now.
    Stale,
}

impl Store {
    /// Takes up to `limit` deliveries that are due. Each webhook's oldest come first and those at work keep their place
    /// among them, so that a receiver that hangs holds up nobody else's.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn claim_deliveries(&self, limit: usize) -> Result<Vec<ClaimedDelivery>, StoreError> {
        Ok(self
            .query_as(
                "with due as materialized (
                    select d.id from touchline.webhooks w cross join lateral (
                        select d.id, d.next_at, d.claimed_until from touchline.webhook_deliveries d
                        where d.webhook_id = w.id and d.state = 'pending' and d.next_at <= now()
                        order by d.next_at, d.id limit case when w.failing_since is null then $2 else 1 end) d
                    where w.enabled and coalesce(d.claimed_until <= now(), true)
                    order by d.next_at limit $1),
                 held as materialized (
                    select d.id from touchline.webhook_deliveries d
                    where d.id in (select id from due) and d.state = 'pending' and d.next_at <= now()
                        and coalesce(d.claimed_until <= now(), true)
                    for update skip locked)
                 update touchline.webhook_deliveries d
                 set claimed_until = now() + make_interval(secs => $3), tries = tries + 1
                 from held h, touchline.webhooks w where d.id = h.id and w.id = d.webhook_id
                 returning d.id, d.webhook_id, d.organisation_id, d.type, d.payload, d.tries, d.claimed_until, w.url, w.secret,
                    case when w.old_until > now() then w.old_secret end as old_secret",
            )
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .bind(AT_ONCE)
            .bind(seconds(CLAIM))
            .fetch_all(&self.pool)
            .await?)
    }

    /// Records how a try ended. A webhook is turned off when its receiver is gone, or when this failure is the latest of
    /// nothing but failures for [`PATIENCE`]; with an event, and with its other deliveries ended.
    ///
    /// # Errors
    /// [`StoreError`]; then the delivery is tried again once the claim has passed.
    pub async fn record_try(&self, delivery: &ClaimedDelivery, outcome: &Try) -> Result<Recorded, StoreError> {
        let (state, next_s) = match outcome.then {
            Then::Delivered => ("delivered", 0.0),
            Then::Again(after) => ("pending", seconds(after)),
            Then::GiveUp | Then::Gone => ("failed", 0.0),
        };
        let mut tx = self.begin().await?;
        let noted = self
            .query(
                "update touchline.webhook_deliveries set state = $3, claimed_until = null, last_status = $4, last_error = $5,
                    last_ms = $6, next_at = now() + make_interval(secs => $7),
                    finished_at = case when $3 <> 'pending' then now() end
                 where id = $1 and claimed_until = $2 and state = 'pending'",
            )
            .bind(delivery.id)
            .bind(delivery.claimed_until)
            .bind(state)
            .bind(outcome.status.map(i32::from))
            .bind(&outcome.error)
            .bind(i32::try_from(outcome.took.as_millis()).unwrap_or(i32::MAX))
            .bind(next_s)
            .execute(&mut *tx)
            .await?;
        if noted.rows_affected() == 0 {
            return Ok(Recorded::Stale);
        }
        let delivered = outcome.then == Then::Delivered;
        self.query(
            "update touchline.webhooks set failing_since = case when $2 then null else now() end
             where id = $1 and (failing_since is null) = not $2",
        )
        .bind(delivery.webhook_id)
        .bind(delivered)
        .execute(&mut *tx)
        .await?;
        let failing = !delivered && self.has_failed_for_long(&mut tx, delivery.webhook_id).await?;
        let reason = if outcome.then == Then::Gone { Some("gone") } else { failing.then_some("failing") };
        let disabled = match reason {
            Some(reason) => self.disable_webhook(&mut tx, delivery.webhook_id, reason).await?,
            None => false,
        };
        tx.commit().await?;
        Ok(if disabled { Recorded::Disabled } else { Recorded::Noted })
    }

    async fn has_failed_for_long(&self, tx: &mut Transaction, webhook: Uuid) -> Result<bool, StoreError> {
        let row: Option<(bool,)> = self
            .query_as(
                "select coalesce(failing_since <= now() - make_interval(secs => $2), false) from touchline.webhooks
                 where id = $1",
            )
            .bind(webhook)
            .bind(seconds(PATIENCE))
            .fetch_optional(&mut **tx)
            .await?;
        Ok(row.is_some_and(|(long,)| long))
    }

    async fn disable_webhook(&self, tx: &mut Transaction, webhook: Uuid, reason: &str) -> Result<bool, StoreError> {
        let done = self
            .query(
                "with hook as (
                    update touchline.webhooks set enabled = false, disabled_at = now(), disabled_reason = $2
                    where id = $1 and enabled returning organisation_id),
                 ended as (
                    update touchline.webhook_deliveries set state = 'failed', finished_at = now(), claimed_until = null,
                        last_error = coalesce(last_error, 'the webhook was turned off')
                    where webhook_id = $1 and state = 'pending' and exists (select from hook)),
                 audited as (
                    insert into touchline.audit (organisation_id, actor, action, object, detail)
                    select organisation_id, 'dispatcher', 'webhook.disabled', $1::text, jsonb_build_object('reason', $2::text)
                    from hook)
                 insert into touchline.events (organisation_id, type, data)
                 select organisation_id, 'webhook.disabled', jsonb_build_object('webhook_id', $1, 'reason', $2::text)
                 from hook",
            )
            .bind(webhook)
            .bind(reason)
            .execute(&mut **tx)
            .await?;
        Ok(done.rows_affected() > 0)
    }

    /// Deletes the log of deliveries that ended longer ago than `after`. Gives how many.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn delete_old_deliveries(&self, after: Duration, limit: u32) -> Result<u64, StoreError> {
        let done = self
            .query(
                "delete from touchline.webhook_deliveries where id in (
                    select id from touchline.webhook_deliveries where finished_at < now() - make_interval(secs => $1)
                    order by finished_at limit $2 for update skip locked)",
            )
            .bind(seconds(after))
            .bind(i64::from(limit))
            .execute(&self.pool)
            .await?;
        Ok(done.rows_affected())
    }
}
