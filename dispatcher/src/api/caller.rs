//! Who calls: an API key of an organisation, or a platform's token that names one.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use fleet::store::Store;
use uuid::Uuid;

use super::jwt::Tokens;
use super::problem::Problem;
use super::scope::Scope;
use super::{Shared, secret_key};

/// For how long a key that was good counts as good without asking the database.
const TRUSTED: Duration = Duration::from_secs(10);
/// Keys that are remembered.
const REMEMBERED: usize = 10_000;

/// Who calls, and what they may do.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Organisation.
    pub organisation: Uuid,
    /// For the audit log: `key:<prefix>` or `user:<subject>`.
    pub actor: String,
    /// What names the caller when requests are counted.
    pub(super) counted_as: String,
    /// The key's id; `None` for a platform's token.
    pub(super) key: Option<Uuid>,
    /// Name of this request.
    pub(super) request: String,
    scopes: BTreeSet<Scope>,
}

impl Caller {
    /// The dispatcher itself, at work for an organisation.
    pub(super) fn dispatcher(organisation: Uuid) -> Self {
        Self {
            organisation,
            actor: "dispatcher".to_owned(),
            counted_as: String::new(),
            key: None,
            request: String::new(),
            scopes: BTreeSet::new(),
        }
    }

    /// Whether the caller has a scope. `ops` does not contain the others: who operates the fleet does not act for a club.
    pub(super) fn has(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }

    /// Refuses a caller without a scope.
    pub(super) fn may(&self, scope: Scope) -> Result<(), Problem> {
        if self.has(scope) {
            return Ok(());
        }
        Err(Problem::forbidden(format!("This key lacks the scope {}.", scope.as_str())))
    }

    pub(super) fn scopes(&self) -> Vec<Scope> {
        self.scopes.iter().copied().collect()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| Problem::unauthorized("Send an API key."))
    }
}

/// Knows keys and tokens.
#[derive(Debug)]
pub(super) struct Callers {
    store: Store,
    tokens: Option<Tokens>,
    known: Mutex<HashMap<Vec<u8>, (Known, Instant)>>,
}

#[derive(Clone, Debug)]
struct Known {
    id: Uuid,
    organisation: Uuid,
    prefix: String,
    scopes: BTreeSet<Scope>,
}

impl Callers {
    pub(super) fn new(store: Store, tokens: Option<Tokens>) -> Self {
        Self { store, tokens, known: Mutex::default() }
    }

    /// The caller of a request.
    pub(super) async fn of(&self, headers: &HeaderMap, request: &str) -> Result<Caller, Problem> {
        let text = headers
            .get(header::AUTHORIZATION)
            .and_then(|v| v.to_str().ok())
            .and_then(|v| v.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim());
        let Some(text) = text else {
            return Err(Problem::unauthorized("Send an API key: `Authorization: Bearer tl_…`."));
        };
        if let Some(prefix) = secret_key::prefix(text) {
            let known = self.key(prefix, text).await?;
            return Ok(Caller {
                organisation: known.organisation,
                actor: format!("key:{}", known.prefix),
                counted_as: known.id.to_string(),
                key: Some(known.id),
                request: request.to_owned(),
                scopes: known.scopes,
            });
        }
        let Some(tokens) = &self.tokens else { return Err(Problem::unauthorized("The key is not valid.")) };
        let claims = tokens.check(text).await?;
        // A token may outlive its organisation; a name that never was one must not make rows.
        if self.store.organisation(claims.organisation).await?.is_none() {
            return Err(Problem::unauthorized("The token names no organisation of this fleet."));
        }
        Ok(Caller {
            organisation: claims.organisation,
            counted_as: format!("{}/{}", claims.organisation, claims.subject),
            actor: format!("user:{}", claims.subject),
            key: None,
            request: request.to_owned(),
            scopes: claims.scopes.into_iter().collect(),
        })
    }

    async fn key(&self, prefix: &str, text: &str) -> Result<Known, Problem> {
        let hash = secret_key::hash(text);
        let now = Instant::now();
        if let Some((known, until)) = self.lock().get(&hash)
            && *until > now
        {
            return Ok(known.clone());
        }
        let refused = || Problem::unauthorized("The key is not valid: it is unknown, has expired or was withdrawn.");
        let check = self.store.key_check(prefix).await?.ok_or_else(refused)?;
        // Digests of 256-bit secrets: how long comparing takes tells nothing that helps to guess one.
        if hash != check.hash && check.old_hash.as_ref() != Some(&hash) {
            return Err(refused());
        }
        let known = Known {
            id: check.id,
            organisation: check.organisation_id,
            prefix: prefix.to_owned(),
            scopes: check.scopes.iter().filter_map(|word| Scope::from_word(word)).collect(),
        };
        let trusted = check.good_for_s.map_or(TRUSTED, |s| TRUSTED.min(Duration::from_secs_f64(s.clamp(0.0, 1e6))));
        let mut all = self.lock();
        if all.len() >= REMEMBERED {
            all.retain(|_, (_, until)| *until > now);
        }
        if all.len() < REMEMBERED {
            all.insert(hash, (known.clone(), now + trusted));
        }
        Ok(known)
    }

    /// Forgets what is known of a key, so that a change holds at once on this dispatcher and within seconds on others.
    pub(super) fn forget(&self, key: Uuid) {
        self.lock().retain(|_, (known, _)| known.id != key);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Vec<u8>, (Known, Instant)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets only known callers through, each as often as it may.
pub(super) async fn authenticate(State(api): State<Shared>, mut request: Request, next: Next) -> Response {
    let name = request.extensions().get::<super::answer::RequestName>().map(|n| n.0.clone()).unwrap_or_default();
    let caller = match api.callers.of(request.headers(), &name).await {
        Ok(caller) => caller,
        Err(problem) => return problem.into_response(),
    };
    if let Err(seconds) = api.rates.take(&caller.counted_as) {
        return Problem::rate_limited(seconds).into_response();
    }
    tracing::Span::current().record("caller", caller.actor.as_str());
    request.extensions_mut().insert(caller);
    next.run(request).await
}
