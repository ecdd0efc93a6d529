//! API keys: made, listed, rotated, withdrawn.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use fleet::store::organisations::KeyRow;
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
use super::secret_key::SecretKey;
use super::{Shared, change};

/// How long the old secret of a rotated key stays good when nothing else is said: a day.
const USUAL_GRACE_S: f64 = 86_400.0;
const MOST_GRACE_S: f64 = 30.0 * 86_400.0;

/// A key, without its secret.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ApiKey {
    /// Id.
    pub id: Uuid,
    /// What it is for.
    pub name: String,
    /// The public part, by which it is known in logs.
    #[schema(example = "tl_k3mqz7w2hx5c")]
    pub prefix: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// When it was made.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// When it ends by itself.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(required)]
    pub expires_at: Option<OffsetDateTime>,
    /// When it was withdrawn.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(required)]
    pub revoked_at: Option<OffsetDateTime>,
    /// When it was used last, to the minute.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(required)]
    pub last_used_at: Option<OffsetDateTime>,
}

impl From<KeyRow> for ApiKey {
    fn from(row: KeyRow) -> Self {
        Self {
            id: row.id,
            name: row.name,
            prefix: row.prefix,
            scopes: row.scopes.iter().filter_map(|word| Scope::from_word(word)).collect(),
            created_at: row.created_at,
            expires_at: row.expires_at,
            revoked_at: row.revoked_at,
            last_used_at: row.last_used_at,
        }
    }
}

/// A key with its secret, which is shown this once.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct NewApiKey {
    /// The key.
    #[serde(flatten)]
    pub key: ApiKey,
    /// What goes after `Authorization: Bearer`.
    #[schema(example = "tl_k3mqz7w2hx5c_…")]
    pub secret: String,
}

/// A key to be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyRequest {
    /// What it is for, at most 200 characters.
    #[schema(max_length = 200)]
    name: String,
    /// What it may do; by default everything that the calling key may. No key makes a mightier one.
    #[serde(default)]
    scopes: Option<Vec<String>>,
    /// When it ends by itself.
    #[serde(default, with = "time::serde::rfc3339::option")]
    expires_at: Option<OffsetDateTime>,
}

/// How a key is rotated.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateRequest {
    /// Seconds for which the old secret stays good: 0 to 30 days, by default one day.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 2_592_000)]
    grace_s: Option<f64>,
}

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(rotate)).routes(routes!(revoke))
}

/// Keys of the organisation, the newest first.
#[utoipa::path(get, path = "/keys", tag = "keys", params(Paging), responses(
    (status = 200, body = Page<ApiKey>), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", body = Problem, content_type = "application/problem+json")))]
async fn list(
    State(api): State<Shared>,
    caller: Caller,
    Ask(paging): Ask<Paging>,
) -> Result<Json<Page<ApiKey>>, Problem> {
    caller.may(Scope::Keys)?;
    let limit = paging.limit()?;
    let rows = api.tenant(&caller).keys(paging.after_time()?, limit + 1).await?;
    let page = Page::of(rows, limit, |row| by_time(row.created_at, row.id));
    let items = page.items.into_iter().map(ApiKey::from).collect();
    Ok(Json(Page { items, next_cursor: page.next_cursor }))
}

/// Makes a key. Its secret is in this answer and nowhere else.
#[utoipa::path(post, path = "/keys", tag = "keys", request_body = KeyRequest, responses(
    (status = 201, body = NewApiKey), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", body = Problem, content_type = "application/problem+json")))]
async fn create(
    State(api): State<Shared>,
    caller: Caller,
    Input(asked): Input<KeyRequest>,
) -> Result<(StatusCode, Json<NewApiKey>), Problem> {
    caller.may(Scope::Keys)?;
    let name = text("name", &asked.name, 200)?;
    if name.is_empty() {
        return Err(Problem::invalid("name", "say what the key is for"));
    }
    let scopes = match &asked.scopes {
        Some(words) => Scope::list(words)?,
        None => caller.scopes(),
    };
    let beyond: BTreeSet<&str> = scopes.iter().filter(|s| !caller.has(**s)).map(|s| s.as_str()).collect();
    if let Some(first) = beyond.first() {
        return Err(Problem::forbidden(format!("A key cannot make one that may more than itself: it lacks {first}.")));
    }
    if asked.expires_at.is_some_and(|at| at <= OffsetDateTime::now_utc()) {
        return Err(Problem::invalid("expires_at", "it is over already"));
    }
    let secret = SecretKey::generate().map_err(|_| Problem::internal())?;
    let new = secret.as_new(name, &scopes, asked.expires_at);
    let tenant = api.tenant(&caller);
    let mut tx = tenant.begin().await?;
    let row = tenant.create_key(&mut tx, &new).await?;
    let detail = serde_json::json!({ "prefix": row.prefix, "scopes": row.scopes });
    tenant.audit(&mut tx, &change(&caller, "key.created", row.id, detail)).await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(NewApiKey { key: row.into(), secret: secret.text })))
}

/// Gives a key another secret; the old one stays good for a while, so that programs can be changed one after another.
#[utoipa::path(post, path = "/keys/{id}/rotate", tag = "keys", params(("id" = Uuid, Path)), request_body = RotateRequest,
    responses((status = 200, body = NewApiKey), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", body = Problem, content_type = "application/problem+json")))]
async fn rotate(
    State(api): State<Shared>,
    caller: Caller,
    Place(id): Place<Uuid>,
    Input(asked): Input<RotateRequest>,
) -> Result<Json<NewApiKey>, Problem> {
    caller.may(Scope::Keys)?;
    let grace = asked.grace_s.unwrap_or(USUAL_GRACE_S);
    if !(0.0..=MOST_GRACE_S).contains(&grace) {
        return Err(Problem::invalid("grace_s", "give 0 to 2592000 seconds"));
    }
    let tenant = api.tenant(&caller);
    let mut tx = tenant.begin().await?;
    let row = tenant.key_in(&mut tx, id).await?.ok_or_else(|| Problem::not_found("key"))?;
    allow(&caller, &row)?;
    let secret = SecretKey::with_prefix(row.prefix).map_err(|_| Problem::internal())?;
    let row = tenant
        .rotate_key(&mut tx, id, &secret.hash(), grace)
        .await?
        .ok_or_else(|| Problem::conflict("conflict", "The key has expired or was withdrawn."))?;
    let detail = serde_json::json!({ "prefix": row.prefix, "grace_s": grace });
    tenant.audit(&mut tx, &change(&caller, "key.rotated", id, detail)).await?;
    tx.commit().await?;
    api.callers.forget(id);
    Ok(Json(NewApiKey { key: row.into(), secret: secret.text }))
}

/// Withdraws a key: here at once, on other dispatchers within ten seconds.
#[utoipa::path(delete, path = "/keys/{id}", tag = "keys", params(("id" = Uuid, Path)), responses(
    (status = 204), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", body = Problem, content_type = "application/problem+json")))]
async fn revoke(State(api): State<Shared>, caller: Caller, Place(id): Place<Uuid>) -> Result<StatusCode, Problem> {
    caller.may(Scope::Keys)?;
    let tenant = api.tenant(&caller);
    let mut tx = tenant.begin().await?;
    let row = tenant.key_in(&mut tx, id).await?.ok_or_else(|| Problem::not_found("key"))?;
    allow(&caller, &row)?;
    tenant.revoke_key(&mut tx, id).await?;
    tenant.audit(&mut tx, &change(&caller, "key.revoked", id, serde_json::json!({ "prefix": row.prefix }))).await?;
    tx.commit().await?;
    api.callers.forget(id);
    Ok(StatusCode::NO_CONTENT)
}

/// A key may not take over a mightier one by rotating it, nor end it.
fn allow(caller: &Caller, row: &KeyRow) -> Result<(), Problem> {
    let mightier = row.scopes.iter().filter_map(|w| Scope::from_word(w)).find(|s| !caller.has(*s));
    match mightier {
        None => Ok(()),
        Some(scope) => Err(Problem::forbidden(format!("That key may more than this one: {}.", scope.as_str()))),
    }
}
