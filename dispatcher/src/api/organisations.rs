//! Organisations, for those who operate the fleet.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Deserializer};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::account::Organisation;
use super::caller::Caller;
use super::input::{Ask, Input, Place, text};
use super::keys::NewApiKey;
use super::page::{Page, Paging};
use super::problem::Problem;
use super::scope::Scope;
use super::secret_key::SecretKey;
use super::{Created, Shared, change};

/// An organisation to be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OrganisationRequest {
    /// Name, not that of another, at most 200 characters.
    #[schema(max_length = 200)]
    name: String,
    /// Tier; by default `club`.
    #[serde(default)]
    tier: Option<String>,
    /// Share of the fleet when others wait too, 1 to 1000; by default 1.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 1000)]
    weight: Option<i32>,
}

/// What is changed; what is left out stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OrganisationChange {
    /// Tier.
    #[serde(default)]
    tier: Option<String>,
    /// Share of the fleet when others wait too.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 1000)]
    weight: Option<i32>,
    /// What it may spend in a calendar month (UTC), in millionths of a US dollar; null takes the cap away.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<i64>, minimum = 0)]
    monthly_cap_micros: Option<Option<i64>>,
}

/// Tells null from what was left out.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<i64>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// The first key of an organisation.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FirstKeyRequest {
    /// What it is for.
    #[schema(max_length = 200)]
    name: String,
    /// What it may do; by default everything within the organisation.
    #[serde(default)]
    scopes: Option<Vec<String>>,
}

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(get, patch)).routes(routes!(first_key))
}

fn weight(weight: Option<i32>) -> Result<(), Problem> {
    match weight {
        Some(n) if !(1..=1000).contains(&n) => Err(Problem::invalid("weight", "give 1 to 1000")),
        _ => Ok(()),
    }
}

/// Organisations by name.
#[utoipa::path(get, path = "/organisations", tag = "organisations", params(Paging), responses(
    (status = 200, body = Page<Organisation>),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", body = Problem, content_type = "application/problem+json")))]
async fn list(
    State(api): State<Shared>,
    caller: Caller,
    Ask(paging): Ask<Paging>,
) -> Result<Json<Page<Organisation>>, Problem> {
    caller.may(Scope::Ops)?;
    let limit = paging.limit()?;
    let after = paging.text()?;
    let rows = api.store.organisations(after.as_deref(), limit + 1).await?;
    let page = Page::of(rows, limit, |row| row.name.clone());
    let items = page.items.into_iter().map(Organisation::from).collect();
    Ok(Json(Page { items, next_cursor: page.next_cursor }))
}

/// Makes an organisation.
#[utoipa::path(post, path = "/organisations", tag = "organisations", request_body = OrganisationRequest, responses(
    (status = 201, body = Organisation),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", body = Problem, content_type = "application/problem+json")))]
async fn create(
    State(api): State<Shared>,
    caller: Caller,
    Input(asked): Input<OrganisationRequest>,
) -> Result<Created<Organisation>, Problem> {
    caller.may(Scope::Ops)?;
    let name = text("name", &asked.name, 200)?;
    if name.is_empty() {
        return Err(Problem::invalid("name", "give one"));
    }
    weight(asked.weight)?;
    let tier = asked.tier.as_deref().unwrap_or("club");
    let row = api
        .store
        .create_organisation(&name, tier, asked.weight.unwrap_or(1))
        .await?
        .ok_or_else(|| Problem::conflict("conflict", "There is an organisation of this name."))?;
    record(&api, &caller, row.id, "organisation.created", serde_json::json!({ "name": row.name, "tier": row.tier }))
        .await?;
    Ok((StatusCode::CREATED, Json(row.into())))
}

/// An organisation.
#[utoipa::path(get, path = "/organisations/{id}", tag = "organisations", params(("id" = Uuid, Path)), responses(
    (status = 200, body = Organisation),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", body = Problem, content_type = "application/problem+json")))]
async fn get(State(api): State<Shared>, caller: Caller, Place(id): Place<Uuid>) -> Result<Json<Organisation>, Problem> {
    caller.may(Scope::Ops)?;
    let row = api.store.organisation(id).await?.ok_or_else(|| Problem::not_found("organisation"))?;
    Ok(Json(row.into()))
}

/// Changes tier, weight or monthly cap.
#[utoipa::path(patch, path = "/organisations/{id}", tag = "organisations", params(("id" = Uuid, Path)),
    request_body = OrganisationChange, responses((status = 200, body = Organisation),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", body = Problem, content_type = "application/problem+json")))]
async fn patch(
    State(api): State<Shared>,
    caller: Caller,
    Place(id): Place<Uuid>,
    Input(asked): Input<OrganisationChange>,
) -> Result<Json<Organisation>, Problem> {
    caller.may(Scope::Ops)?;
    weight(asked.weight)?;
    if asked.monthly_cap_micros.flatten().is_some_and(|micros| micros < 0) {
        return Err(Problem::invalid("monthly_cap_micros", "give 0 or more, or null for no cap"));
    }
    let mut row = api
        .store
        .change_organisation(id, asked.tier.as_deref(), asked.weight)
        .await?
        .ok_or_else(|| Problem::not_found("organisation"))?;
    if let Some(cap) = asked.monthly_cap_micros {
        api.store.set_cap(id, cap).await?;
        row.cap_micros = cap;
    }
    let detail = serde_json::json!({ "tier": row.tier, "weight": row.weight, "monthly_cap_micros": row.cap_micros });
    record(&api, &caller, id, "organisation.changed", detail).await?;
    Ok(Json(row.into()))
}

/// Makes a key of an organisation, to hand to it. Keys that operate the fleet are made on the command line only.
#[utoipa::path(post, path = "/organisations/{id}/keys", tag = "organisations", params(("id" = Uuid, Path)),
    request_body = FirstKeyRequest, responses((status = 201, body = NewApiKey),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", body = Problem, content_type = "application/problem+json")))]
async fn first_key(
    State(api): State<Shared>,
    caller: Caller,
    Place(id): Place<Uuid>,
    Input(asked): Input<FirstKeyRequest>,
) -> Result<Created<NewApiKey>, Problem> {
    caller.may(Scope::Ops)?;
    let name = text("name", &asked.name, 200)?;
    if name.is_empty() {
        return Err(Problem::invalid("name", "say what the key is for"));
    }
    let scopes = match &asked.scopes {
        Some(words) => Scope::list(words)?,
        None => Scope::usual(),
    };
    if scopes.contains(&Scope::Ops) {
        return Err(Problem::forbidden("Keys with the scope ops are made with `dispatcher key create --scope ops`."));
    }
    api.store.organisation(id).await?.ok_or_else(|| Problem::not_found("organisation"))?;
    let secret = SecretKey::generate().map_err(|_| Problem::internal())?;
    let tenant = api.store.tenant(id);
    let mut tx = tenant.begin().await?;
    let row = tenant.create_key(&mut tx, &secret.as_new(name, &scopes, None)).await?;
    let detail = serde_json::json!({ "prefix": row.prefix, "scopes": row.scopes });
    tenant.audit(&mut tx, &change(&caller, "key.created", row.id, detail)).await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(NewApiKey { key: row.into(), secret: secret.text })))
}

/// Notes a change in the organisation's own audit log.
async fn record(
    api: &Shared,
    caller: &Caller,
    id: Uuid,
    action: &str,
    detail: serde_json::Value,
) -> Result<(), Problem> {
    let tenant = api.store.tenant(id);
    let mut tx = tenant.begin().await?;
    tenant.audit(&mut tx, &change(caller, action, id, detail)).await?;
    tx.commit().await?;
    Ok(())
}
