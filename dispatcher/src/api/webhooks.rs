//! Webhooks: made, changed, tried out, and the log of their deliveries.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use fleet::store::webhooks::{DeliveryRow, EVENT_TYPES, NewWebhook, WebhookChange, WebhookRow};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::caller::Caller;
use super::input::{Ask, Input, Place, text};
use super::page::{Page, Paging, by_time};
use super::problem::Problem;
use super::scope::Scope;
use super::{Shared, change};
use crate::webhooks::sign::SECRET_PREFIX;
use crate::webhooks::{deliver, fan_out};

/// Webhooks of one organisation.
const MOST: u32 = 50;
const MAX_URL: usize = 2000;
const MAX_DESCRIPTION: usize = 500;
/// How long messages are signed with the old secret too when nothing else is said: a day.
const USUAL_GRACE_S: f64 = 86_400.0;
const MOST_GRACE_S: f64 = 30.0 * 86_400.0;

/// A webhook, without its secret.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Webhook {
    /// Id.
    pub id: Uuid,
    /// Where messages are sent.
    pub url: String,
    /// What it is for.
    pub description: String,
    /// What it is told of.
    pub events: Vec<String>,
    /// Whether it is told at all.
    pub enabled: bool,
    /// Since when every delivery failed.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(required)]
    pub failing_since: Option<OffsetDateTime>,
    /// When the fleet turned it off.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(required)]
    pub disabled_at: Option<OffsetDateTime>,
    /// Why the fleet turned it off: `gone` (the receiver answered 410) or `failing` (nothing but failures for three days).
    #[schema(required)]
    pub disabled_reason: Option<String>,
    /// Until when messages are signed with the secret before this one too.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(required)]
    pub old_secret_until: Option<OffsetDateTime>,
    /// When it was made.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
}

impl From<WebhookRow> for Webhook {
    fn from(row: WebhookRow) -> Self {
        Self {
            id: row.id,
            url: row.url,
            description: row.description,
            events: row.events,
            enabled: row.enabled,
            failing_since: row.failing_since,
            disabled_at: row.disabled_at,
            disabled_reason: row.disabled_reason,
            old_secret_until: row.old_secret_until,
            created_at: row.created_at,
        }
    }
}

/// A webhook with its secret, which is shown this once.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct WebhookWithSecret {
    /// The webhook.
    #[serde(flatten)]
    pub webhook: Webhook,
    /// What messages are signed with.
    #[schema(example = "whsec_…")]
    pub secret: String,
}

/// A webhook to be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WebhookRequest {
    /// Where messages are sent: `https://`, on the public Internet, port 443 or 8443.
    #[schema(min_length = 1, max_length = 2000)]
    url: String,
    /// What it is told of: `upload.completed`, `job.playable`, `job.progress`, `job.succeeded`, `job.failed`,
    /// `job.cancelled`, `job.deleted`, `clip.ready`, `clip.failed`, `cap.reached`.
    #[schema(min_items = 1)]
    events: Vec<String>,
    /// What it is for.
    #[serde(default)]
    #[schema(max_length = 500)]
    description: String,
}

/// What is changed of a webhook; what is left out stays.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WebhookPatch {
    /// Where messages are sent.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 2000)]
    url: Option<String>,
    /// What it is told of.
    #[serde(default)]
    #[schema(min_items = 1)]
    events: Option<Vec<String>>,
    /// What it is for.
    #[serde(default)]
    #[schema(max_length = 500)]
    description: Option<String>,
    /// Whether it is told at all. What happens while it is off is not told later.
    #[serde(default)]
    enabled: Option<bool>,
}

/// How a secret is rotated.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RotateWebhook {
    /// Seconds for which messages are signed with the old secret too: 0 to 30 days, by default one day.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 2_592_000)]
    grace_s: Option<f64>,
}

/// A message to a webhook, and what became of it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Delivery {
    /// Id.
    pub id: Uuid,
    /// The header `webhook-id` of every try.
    pub message_id: String,
    /// What happened.
    #[serde(rename = "type")]
    pub kind: String,
    /// `pending`, `delivered` or `failed`.
    pub state: String,
    /// Tries so far.
    pub tries: i32,
    /// When it is tried next; null when it is not.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(required)]
    pub next_at: Option<OffsetDateTime>,
    /// HTTP status of the last try, when it had an answer.
    #[schema(required)]
    pub last_status: Option<i32>,
    /// Why the last try failed.
    #[schema(required)]
    pub last_error: Option<String>,
    /// How long the last try took.
    #[schema(required)]
    pub last_ms: Option<i32>,
    /// What is sent.
    #[schema(value_type = Object)]
    pub payload: serde_json::Value,
    /// When it was made.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// When it was delivered or given up.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(required)]
    pub finished_at: Option<OffsetDateTime>,
}

impl From<DeliveryRow> for Delivery {
    fn from(row: DeliveryRow) -> Self {
        Self {
            id: row.id,
            message_id: deliver::message_id(row.id),
            kind: row.kind,
            next_at: (row.state == "pending").then_some(row.next_at),
            state: row.state,
            tries: row.tries,
            last_status: row.last_status,
            last_error: row.last_error,
            last_ms: row.last_ms,
            payload: row.payload,
            created_at: row.created_at,
            finished_at: row.finished_at,
        }
    }
}

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get, patch, delete))
        .routes(routes!(rotate))
        .routes(routes!(test))
        .routes(routes!(deliveries))
        .routes(routes!(replay))
}

/// Webhooks of the organisation, the newest first.
#[utoipa::path(get, path = "/webhooks", tag = "webhooks", params(Paging), responses(
    (status = 200, body = Page<Webhook>), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", body = Problem, content_type = "application/problem+json")))]
async fn list(
    State(api): State<Shared>,
    caller: Caller,
    Ask(paging): Ask<Paging>,
) -> Result<Json<Page<Webhook>>, Problem> {
    caller.may(Scope::Webhooks)?;
    let limit = paging.limit()?;
    let rows = api.tenant(&caller).webhooks(paging.after_time()?, limit + 1).await?;
    let page = Page::of(rows, limit, |row| by_time(row.created_at, row.id));
    Ok(Json(Page { items: page.items.into_iter().map(Webhook::from).collect(), next_cursor: page.next_cursor }))
}

/// Makes a webhook. Its secret is in this answer and nowhere else.
#[utoipa::path(post, path = "/webhooks", tag = "webhooks", request_body = WebhookRequest, responses(
    (status = 201, body = WebhookWithSecret),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", body = Problem, content_type = "application/problem+json")))]
async fn create(
    State(api): State<Shared>,
    caller: Caller,
    Input(asked): Input<WebhookRequest>,
) -> Result<(StatusCode, Json<WebhookWithSecret>), Problem> {
    caller.may(Scope::Webhooks)?;
    let secret = secret()?;
    let new = NewWebhook {
        url: checked_url(&api, &asked.url)?,
        description: text("description", &asked.description, MAX_DESCRIPTION)?,
        events: checked_events(asked.events)?,
        secret: secret.clone(),
    };
    let tenant = api.tenant(&caller);
    let mut tx = tenant.begin().await?;
    let row = tenant.create_webhook(&mut tx, &new, MOST).await?.ok_or_else(|| {
        Problem::conflict("conflict", format!("There are {MOST} webhooks already; delete one that is not needed."))
    })?;
    let detail = serde_json::json!({ "url": row.url, "events": row.events });
    tenant.audit(&mut tx, &change(&caller, "webhook.created", row.id, detail)).await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(with_secret(row, &secret))))
}

/// A webhook.
#[utoipa::path(get, path = "/webhooks/{id}", tag = "webhooks", params(("id" = Uuid, Path)), responses(
    (status = 200, body = Webhook), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", body = Problem, content_type = "application/problem+json")))]
async fn get(State(api): State<Shared>, caller: Caller, Place(id): Place<Uuid>) -> Result<Json<Webhook>, Problem> {
    caller.may(Scope::Webhooks)?;
    let tenant = api.tenant(&caller);
    let mut tx = tenant.begin().await?;
    let row = tenant.webhook_in(&mut tx, id).await?.ok_or_else(|| Problem::not_found("webhook"))?;
    Ok(Json(row.into()))
}

/// Changes a webhook. Turned on again, it starts without failures.
#[utoipa::path(patch, path = "/webhooks/{id}", tag = "webhooks", params(("id" = Uuid, Path)), request_body = WebhookPatch,
    responses((status = 200, body = Webhook), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", body = Problem, content_type = "application/problem+json")))]
async fn patch(
    State(api): State<Shared>,
    caller: Caller,
    Place(id): Place<Uuid>,
    Input(asked): Input<WebhookPatch>,
) -> Result<Json<Webhook>, Problem> {
    caller.may(Scope::Webhooks)?;
    let asked = WebhookChange {
        url: asked.url.map(|url| checked_url(&api, &url)).transpose()?,
        description: asked.description.map(|d| text("description", &d, MAX_DESCRIPTION)).transpose()?,
        events: asked.events.map(checked_events).transpose()?,
        enabled: asked.enabled,
    };
    let tenant = api.tenant(&caller);
    let mut tx = tenant.begin().await?;
    let row = tenant.change_webhook(&mut tx, id, &asked).await?.ok_or_else(|| Problem::not_found("webhook"))?;
    let detail = serde_json::json!({ "url": row.url, "events": row.events, "enabled": row.enabled });
    tenant.audit(&mut tx, &change(&caller, "webhook.changed", id, detail)).await?;
    tx.commit().await?;
    Ok(Json(row.into()))
}

/// Deletes a webhook with its log.
#[utoipa::path(delete, path = "/webhooks/{id}", tag = "webhooks", params(("id" = Uuid, Path)), responses(
    (status = 204), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", body = Problem, content_type = "application/problem+json")))]
async fn delete(State(api): State<Shared>, caller: Caller, Place(id): Place<Uuid>) -> Result<StatusCode, Problem> {
    caller.may(Scope::Webhooks)?;
    let tenant = api.tenant(&caller);
    let mut tx = tenant.begin().await?;
    if !tenant.delete_webhook(&mut tx, id).await? {
        return Err(Problem::not_found("webhook"));
    }
    tenant.audit(&mut tx, &change(&caller, "webhook.deleted", id, serde_json::json!({}))).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Gives a webhook another secret. For a while messages carry a signature of each, so that receivers can change over.
#[utoipa::path(post, path = "/webhooks/{id}/rotate", tag = "webhooks", params(("id" = Uuid, Path)),
    request_body = RotateWebhook, responses((status = 200, body = WebhookWithSecret),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", body = Problem, content_type = "application/problem+json")))]
async fn rotate(
    State(api): State<Shared>,
    caller: Caller,
    Place(id): Place<Uuid>,
    Input(asked): Input<RotateWebhook>,
) -> Result<Json<WebhookWithSecret>, Problem> {
    caller.may(Scope::Webhooks)?;
    let grace = asked.grace_s.unwrap_or(USUAL_GRACE_S);
    if !(0.0..=MOST_GRACE_S).contains(&grace) {
        return Err(Problem::invalid("grace_s", "give 0 to 2592000 seconds"));
    }
    let secret = secret()?;
    let tenant = api.tenant(&caller);
    let mut tx = tenant.begin().await?;
    let row = tenant.rotate_webhook(&mut tx, id, &secret, grace).await?.ok_or_else(|| Problem::not_found("webhook"))?;
    let detail = serde_json::json!({ "grace_s": grace });
    tenant.audit(&mut tx, &change(&caller, "webhook.rotated", id, detail)).await?;
    tx.commit().await?;
    Ok(Json(with_secret(row, &secret)))
}

/// Sends a message of type `webhook.test`.
#[utoipa::path(post, path = "/webhooks/{id}/test", tag = "webhooks", params(("id" = Uuid, Path)), responses(
    (status = 202, body = Delivery), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", body = Problem, content_type = "application/problem+json")))]
async fn test(
    State(api): State<Shared>,
    caller: Caller,
    Place(id): Place<Uuid>,
) -> Result<(StatusCode, Json<Delivery>), Problem> {
    caller.may(Scope::Webhooks)?;
    let tenant = api.tenant(&caller);
    let mut tx = tenant.begin().await?;
    let webhook = tenant.webhook_in(&mut tx, id).await?.ok_or_else(|| Problem::not_found("webhook"))?;
    refuse_disabled(&webhook)?;
    let row = tenant.test_webhook(&mut tx, id, &fan_out::test_payload(id)).await?;
    tenant.audit(&mut tx, &change(&caller, "webhook.tested", id, serde_json::json!({}))).await?;
    tx.commit().await?;
    Ok((StatusCode::ACCEPTED, Json(row.into())))
}

/// Messages of the last 30 days, the newest first, and what became of them.
#[utoipa::path(get, path = "/webhooks/{id}/deliveries", tag = "webhooks", params(("id" = Uuid, Path), Paging), responses(
    (status = 200, body = Page<Delivery>), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", body = Problem, content_type = "application/problem+json")))]
async fn deliveries(
    State(api): State<Shared>,
    caller: Caller,
    Place(id): Place<Uuid>,
    Ask(paging): Ask<Paging>,
) -> Result<Json<Page<Delivery>>, Problem> {
    caller.may(Scope::Webhooks)?;
    let limit = paging.limit()?;
    let tenant = api.tenant(&caller);
    let mut tx = tenant.begin().await?;
    tenant.webhook_in(&mut tx, id).await?.ok_or_else(|| Problem::not_found("webhook"))?;
    let rows = tenant.deliveries_in(&mut tx, id, paging.after_time()?, limit + 1).await?;
    let page = Page::of(rows, limit, |row| by_time(row.created_at, row.id));
    Ok(Json(Page { items: page.items.into_iter().map(Delivery::from).collect(), next_cursor: page.next_cursor }))
}

/// Sends a message again, under the same `webhook-id`.
#[utoipa::path(post, path = "/webhooks/{id}/deliveries/{delivery}/replay", tag = "webhooks",
    params(("id" = Uuid, Path), ("delivery" = Uuid, Path)), responses((status = 202, body = Delivery),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", body = Problem, content_type = "application/problem+json")))]
async fn replay(
    State(api): State<Shared>,
    caller: Caller,
    Place((id, delivery)): Place<(Uuid, Uuid)>,
) -> Result<(StatusCode, Json<Delivery>), Problem> {
    caller.may(Scope::Webhooks)?;
    let tenant = api.tenant(&caller);
    let mut tx = tenant.begin().await?;
    let webhook = tenant.webhook_in(&mut tx, id).await?.ok_or_else(|| Problem::not_found("webhook"))?;
    refuse_disabled(&webhook)?;
    let row = tenant.replay_delivery(&mut tx, id, delivery).await?.ok_or_else(|| Problem::not_found("delivery"))?;
    tenant.audit(&mut tx, &change(&caller, "webhook.replayed", delivery, serde_json::json!({ "webhook": id }))).await?;
    tx.commit().await?;
    Ok((StatusCode::ACCEPTED, Json(row.into())))
}

fn with_secret(row: WebhookRow, secret: &str) -> WebhookWithSecret {
    WebhookWithSecret { webhook: row.into(), secret: format!("{SECRET_PREFIX}{secret}") }
}

fn refuse_disabled(webhook: &WebhookRow) -> Result<(), Problem> {
    if webhook.enabled {
        return Ok(());
    }
    Err(Problem::conflict("conflict", "The webhook is turned off; turn it on first."))
}

/// 256 random bits, base64.
fn secret() -> Result<String, Problem> {
    let mut random = [0_u8; 32];
    getrandom::fill(&mut random).map_err(|error| {
        tracing::error!(%error, "no randomness");
        Problem::internal()
    })?;
    Ok(BASE64_STANDARD.encode(random))
}

/// What can be told of a URL without looking its name up; the rest is checked with every connection.
fn checked_url(api: &Shared, url: &str) -> Result<String, Problem> {
    let url = text("url", url, MAX_URL)?;
    match api.webhooks.check(&url) {
        Ok(_) => Ok(url),
        Err(refused) => Err(Problem::invalid("url", refused.to_string())),
    }
}

/// Each at most once, in the order of the documentation.
fn checked_events(events: Vec<String>) -> Result<Vec<String>, Problem> {
    if events.is_empty() {
        return Err(Problem::invalid("events", format!("name at least one of {}", EVENT_TYPES.join(", "))));
    }
    if let Some(unknown) = events.iter().find(|event| !EVENT_TYPES.contains(&event.as_str())) {
        return Err(Problem::invalid("events", format!("no event {unknown}; there are {}", EVENT_TYPES.join(", "))));
    }
    Ok(EVENT_TYPES.iter().filter(|known| events.iter().any(|e| e == *known)).map(|e| (*e).to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_known_ones_each_once() {
        let list = |events: &[&str]| checked_events(events.iter().map(|e| (*e).to_owned()).collect());
        assert_eq!(list(&["job.failed", "job.playable", "job.failed"]).unwrap(), ["job.playable", "job.failed"]);
        assert!(list(&[]).is_err());
        assert!(list(&["job.*"]).is_err());
    }

    #[test]
    fn secrets_are_long_enough_and_never_the_same() {
        let (one, other) = (secret().unwrap(), secret().unwrap());
        assert_ne!(one, other);
        // Standard Webhooks asks for 24 to 64 bytes.
        assert_eq!(BASE64_STANDARD.decode(one).unwrap().len(), 32);
    }
}
