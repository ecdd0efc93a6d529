//! The HTTP interface, version 1: JSON, problem details, an `OpenAPI` document made of the routes themselves.
//!
//! A request passes, from outside in: a name and a line in the log ([`answer`]), a limit on time and size, the caller's
//! key or token and its bucket of requests ([`caller`]), its idempotency key ([`idempotency`]). Handlers work through
//! [`fleet::store::Tenant`], so that the database itself keeps organisations apart.

pub mod account;
mod answer;
pub mod caller;
pub mod clips;
pub mod downloads;
pub mod events;
pub mod fleet_view;
mod focused;
mod idempotency;
mod inbox;
mod input;
pub mod jobs;
mod jwt;
pub mod keys;
pub mod ladders;
pub mod metrics;
mod money;
pub mod organisations;
pub mod page;
pub mod playback;
pub mod problem;
mod rates;
pub mod scope;
pub mod secret_key;
pub mod signing;
mod source;
mod titles;
pub mod uploads;
mod webhooks;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router, middleware};
use capacity::pools::Fleet;
use fleet::config::{Config, ConfigError};
use fleet::objects::{ObjectStore, Uploads};
use fleet::store::tenant::AuditEntry;
use fleet::store::{Store, Tenant};
use tokio::sync::{OnceCell, watch};
use tower_http::cors::{AllowOrigin, CorsLayer};
use tower_http::timeout::TimeoutLayer;
use utoipa::OpenApi;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;

pub(crate) use jobs::Job;
pub use scope::Scope;
pub use signing::{BadToken, Signer};

use caller::{Caller, Callers};
use problem::Problem;
use rates::Rates;

use crate::dispatch::repeat;
use crate::webhooks::guard::Guard;

/// Largest body of a request, in bytes. Media goes to the store itself.
const MAX_BODY: usize = 256 << 10;
/// A request that takes longer is given up; streams of events have begun by then.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Every collaborator of the interface, built once.
#[derive(Debug)]
pub struct Api {
    store: Store,
    objects: Arc<dyn ObjectStore>,
    /// Where uploads go; opened when it is needed.
    uploads: OnceCell<Arc<dyn Uploads>>,
    /// Uploads that are being completed.
    completing: uploads::Turns,
    /// Pools and what they cost; read when it is needed.
    machines: OnceCell<Fleet>,
    config: Config,
    signer: Signer,
    callers: Callers,
    rates: Rates,
    feed: events::Feed,
    /// Where webhooks may lead.
    webhooks: Guard,
}

/// What handlers share.
pub type Shared = Arc<Api>;

impl Api {
    /// Builds the interface from the configuration.
    ///
    /// # Errors
    /// No signing secret, or tokens that cannot be checked.
    pub fn new(config: &Config, store: Store, objects: Arc<dyn ObjectStore>) -> Result<Shared, ConfigError> {
        let failed = |problem: String| ConfigError { origin: "api".to_owned(), problems: vec![problem] };
        let secret = config.api.secret().ok_or_else(|| failed("no signing secret".to_owned()))?;
        let client = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(5))
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|e| failed(e.to_string()))?;
        let tokens = match &config.api.jwt {
            None => None,
            Some(jwt) => {
                let tokens = jwt::Tokens::new(jwt.clone(), client);
                Some(tokens.map_err(|_| failed("jwt.scopes: there is an unknown one".to_owned()))?)
            }
        };
        Ok(Arc::new(Self {
            callers: Callers::new(store.clone(), tokens),
            completing: uploads::Turns::default(),
            rates: Rates::new(config.api.requests_per_second),
            feed: events::Feed::new(store.clone(), config.api.event_listeners),
            webhooks: Guard::new(&config.webhooks).map_err(failed)?,
            signer: Signer::new(secret),
            config: config.clone(),
            store,
            objects,
            uploads: OnceCell::new(),
            machines: OnceCell::new(),
        }))
    }

    fn tenant(&self, caller: &Caller) -> Tenant {
        self.store.tenant(caller.organisation)
    }

    /// Runs what the interface does by itself until `stop`: following the fleet's events, ending uploads that nobody
    /// finishes, taking what comes to the inboxes.
    pub async fn run(self: Arc<Self>, stop: watch::Receiver<bool>) {
        let upkeep =
            repeat(&stop, "uploads", Duration::from_secs(30), || async { Ok(self.expire_uploads_once().await? > 0) });
        let orphans = repeat(&stop, "orphaned uploads", Duration::from_secs(3600), || async {
            self.abort_orphaned_uploads_once().await?;
            Ok(false)
        });
        tokio::join!(self.feed.run(stop.clone()), upkeep, orphans, self.run_inboxes(&stop));
    }
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Touchline",
        description = "Makes match video watchable. All times are RFC 3339 in UTC; durations end in `_ms` or `_s`, sizes in \
            `_bytes`. Errors are problem details (RFC 9457) with a stable `code`. A POST with an `Idempotency-Key` is done \
            once within 24 hours.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    security(("key" = [])),
)]
struct Document;

/// The version 1 routes, those that need a key and those that do not, with the document that describes them.
fn version_1() -> (Router<Shared>, Router<Shared>, utoipa::openapi::OpenApi) {
    let resources = OpenApiRouter::new()
        .merge(account::routes())
        .merge(keys::routes())
        .merge(organisations::routes())
        .merge(ladders::routes())
        .merge(uploads::routes())
        .merge(jobs::routes())
        .merge(money::routes())
        .merge(playback::routes())
        .merge(clips::routes())
        .merge(titles::routes())
        .merge(downloads::routes())
        .merge(events::routes())
        .merge(fleet_view::routes())
        .merge(webhooks::routes());
    let (guarded, mut document) =
        OpenApiRouter::with_openapi(Document::openapi()).nest("/v1", resources).split_for_parts();
    let (open, described) = OpenApiRouter::new().nest("/v1", playback::open_routes()).split_for_parts();
    document.merge(described);
    let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    document.components.get_or_insert_default().security_schemes.insert("key".to_owned(), scheme.into());
    (guarded, open, document)
}

/// The `OpenAPI` document.
#[must_use]
pub fn document() -> utoipa::openapi::OpenApi {
    version_1().2
}

/// All routes: the interface, playback, health, pages.
pub fn routes(api: Shared) -> Router {
    let (guarded, open, document) = version_1();
    let sources = plain_stores(&api.config);
    let sources: Vec<&str> = sources.iter().map(String::as_str).chain(["https:"]).collect();
    let document: Arc<str> = document.to_json().unwrap_or_default().into();
    let guarded = guarded
        .layer(middleware::from_fn_with_state(api.clone(), idempotency::once))
        .layer(middleware::from_fn_with_state(api.clone(), caller::authenticate));
    Router::new()
        .merge(guarded)
        .merge(open)
        .route(
            "/v1/openapi.json",
            get(async move || ([(header::CONTENT_TYPE, "application/json")], document.to_string())),
        )
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics::metrics))
        .merge(playback::media_routes())
        .merge(downloads::file_routes())
        .fallback(async || Problem::not_found("address"))
        .method_not_allowed_fallback(async || {
            Problem::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "This address does not take that method.",
            )
        })
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, TIMEOUT))
        .merge(uploads::part_routes())
        .layer(cors(&api.config))
        .layer(middleware::from_fn(answer::name_and_log))
        .with_state(api)
        .merge(crate::pages::routes_reaching(&sources))
}

/// Origins of stores that are reached without encryption, as on one machine or in a network of one's own: the pages may
/// fetch media from there and send uploads there.
fn plain_stores(config: &Config) -> Vec<String> {
    let endpoints = config.buckets.iter().filter_map(|bucket| bucket.endpoint.as_deref());
    let from_environment =
        ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"].map(|name| std::env::var(name).unwrap_or_default());
    let mut origins: Vec<String> = endpoints
        .chain(from_environment.iter().map(String::as_str))
        .filter_map(|endpoint| url::Url::parse(endpoint).ok())
        .filter(|endpoint| endpoint.scheme() == "http")
        .map(|endpoint| endpoint.origin().ascii_serialization())
        .collect();
    origins.sort();
    origins.dedup();
    origins
}

/// Pages of these origins may call the interface. Keys travel in a header, never in a cookie, so nothing is sent along
/// that the page does not have itself.
fn cors(config: &Config) -> CorsLayer {
    let origins: Vec<HeaderValue> =
        config.api.cors_origins.iter().filter_map(|o| HeaderValue::from_str(o.trim_end_matches('/')).ok()).collect();
    let allowed = if origins.iter().any(|o| o == "*") { AllowOrigin::any() } else { AllowOrigin::list(origins) };
    let named = |name: &'static str| axum::http::HeaderName::from_static(name);
    CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            named("idempotency-key"),
            named("last-event-id"),
            named("x-request-id"),
        ])
        .expose_headers([named("x-request-id"), header::RETRY_AFTER])
        .max_age(Duration::from_secs(3600))
}

/// Ready when the database answers.
async fn ready(State(api): State<Shared>) -> Response {
    match tokio::time::timeout(Duration::from_secs(3), api.store.ping()).await {
        Ok(Ok(())) => "ready\n".into_response(),
        _ => Problem::unavailable("The database does not answer.").into_response(),
    }
}

/// A change for the audit log.
fn change<'a>(
    caller: &'a Caller,
    action: &'a str,
    object: impl std::fmt::Display,
    detail: serde_json::Value,
) -> AuditEntry<'a> {
    AuditEntry { actor: &caller.actor, action, object: object.to_string(), detail, request: &caller.request }
}

/// Answers of POST requests that made something carry this.
type Created<T> = (StatusCode, Json<T>);
