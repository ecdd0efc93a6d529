//! Tokens of another platform (JWT) that stand for an organisation: HS256 with a shared secret, as Supabase signs them,
//! or RS256 and ES256 with a published key set.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fleet::config::JwtConfig;
use fleet::fault::{Injected, call};
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde_json::Value;
use tokio::sync::Mutex;
use uuid::Uuid;

use super::problem::Problem;
use super::scope::Scope;

/// The key set is read again when it is older than this, or when a token names a key that it lacks.
const FRESH: Duration = Duration::from_secs(600);
/// But not more often than this.
const AT_MOST_EVERY: Duration = Duration::from_secs(10);
/// Longest token, in bytes.
const MAX_TOKEN: usize = 8192;
/// Largest key set that is read, in bytes; one has a few keys of a kilobyte.
const MAX_KEYS: usize = 256 << 10;

/// What a token says.
#[derive(Clone, Debug)]
pub(super) struct Claims {
    pub(super) organisation: Uuid,
    pub(super) subject: String,
    pub(super) scopes: Vec<Scope>,
}

/// Checks tokens.
pub(super) struct Tokens {
    config: JwtConfig,
    scopes: Vec<Scope>,
    client: reqwest::Client,
    keys: Mutex<Option<(Arc<JwkSet>, Instant)>>,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").field("jwks_url", &self.config.jwks_url).finish_non_exhaustive()
    }
}

impl Tokens {
    pub(super) fn new(config: JwtConfig, client: reqwest::Client) -> Result<Self, Problem> {
        let scopes = Scope::list(&config.scopes)?;
        Ok(Self { config, scopes, client, keys: Mutex::default() })
    }

    pub(super) async fn check(&self, token: &str) -> Result<Claims, Problem> {
        let refused = |why: &str| Problem::unauthorized(format!("The token is not valid: {why}."));
        if token.len() > MAX_TOKEN {
            return Err(refused("it is too long"));
        }
        let header = decode_header(token).map_err(|_| refused("it is neither an API key nor a JWT"))?;
        // The kind of key decides which algorithms count: a public key must never serve as a shared secret.
        let (key, allowed) = match &self.config.secret {
            Some(secret) => (DecodingKey::from_secret(secret.as_bytes()), vec![Algorithm::HS256]),
            None => {
                let id = header.kid.as_deref().ok_or_else(|| refused("it names no key"))?;
                (self.public_key(id).await?, vec![Algorithm::RS256, Algorithm::ES256])
            }
        };
        if !allowed.contains(&header.alg) {
            return Err(refused("it is signed in a way that is not accepted here"));
        }
        let mut rules = Validation::new(header.alg);
        rules.set_audience(&[&self.config.audience]);
        rules.set_required_spec_claims(&["exp", "aud", "sub"]);
        if let Some(issuer) = &self.config.issuer {
            rules.set_issuer(&[issuer]);
        }
        rules.leeway = 30;
        let claims = decode::<Value>(token, &key, &rules).map_err(|error| refused(&error.to_string()))?.claims;
        let subject = claims["sub"].as_str().filter(|s| !s.is_empty()).ok_or_else(|| refused("it has no subject"))?;
        let named = self.config.organisation_claim.split('.').try_fold(&claims, |at, name| at.get(name));
        let organisation = named
            .and_then(Value::as_str)
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| refused(&format!("{} holds no organisation id", self.config.organisation_claim)))?;
        Ok(Claims { organisation, subject: subject.chars().take(200).collect(), scopes: self.scopes.clone() })
    }

    async fn public_key(&self, id: &str) -> Result<DecodingKey, Problem> {
        let mut keys = self.keys.lock().await;
        let age = keys.as_ref().map(|(_, read)| read.elapsed());
        let lacks = keys.as_ref().is_none_or(|(set, _)| set.find(id).is_none());
        if age.is_none_or(|age| age > FRESH || (lacks && age > AT_MOST_EVERY)) {
            match self.fetch().await {
                Ok(set) => *keys = Some((Arc::new(set), Instant::now())),
                Err(error) => tracing::warn!(%error, "the platform's key set cannot be read"),
            }
        }
        let Some((set, _)) = keys.as_ref() else {
            return Err(Problem::unavailable("The platform's keys cannot be read; try again in a moment."));
        };
        let jwk = set.find(id).ok_or_else(|| Problem::unauthorized("The token is signed with an unknown key."))?;
        DecodingKey::from_jwk(jwk).map_err(|_| Problem::unauthorized("The token's key is of a kind not accepted here."))
    }

    async fn fetch(&self) -> Result<JwkSet, BadKeySet> {
        call("jwks.get", self.read()).await
    }

    async fn read(&self) -> Result<JwkSet, BadKeySet> {
        let url = self.config.jwks_url.clone().unwrap_or_default();
        let mut answer = self.client.get(url).timeout(Duration::from_secs(5)).send().await?.error_for_status()?;
        let mut text = Vec::new();
        while let Some(piece) = answer.chunk().await? {
            if text.len() + piece.len() > MAX_KEYS {
                return Err(BadKeySet::TooLarge);
            }
            text.extend_from_slice(&piece);
        }
        Ok(serde_json::from_slice(&text)?)
    }
}

/// Why a platform's keys are not known.
#[derive(Debug, thiserror::Error)]
enum BadKeySet {
    /// Nobody answered as they should.
    #[error("{0}")]
    Unreachable(#[from] reqwest::Error),
    /// A test wants it so.
    #[error(transparent)]
    Injected(#[from] Injected),
    /// It is larger than any.
    #[error("the key set is larger than {MAX_KEYS} bytes")]
    TooLarge,
    /// It is none.
    #[error("not a key set: {0}")]
    NotKeys(#[from] serde_json::Error),
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{EncodingKey, Header, encode};
    use serde_json::json;

    use super::*;

    const SECRET: &str = "a secret of the platform that is long enough";

    fn tokens() -> Tokens {
        let config = JwtConfig {
            secret: Some(SECRET.to_owned()),
            jwks_url: None,
            issuer: None,
            audience: "authenticated".to_owned(),
            organisation_claim: "app_metadata.organisation_id".to_owned(),
            scopes: vec!["jobs:read".to_owned()],
        };
        Tokens::new(config, reqwest::Client::new()).unwrap()
    }

    fn token(algorithm: Algorithm, secret: &str, claims: &Value) -> String {
        encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
    }

    fn claims() -> Value {
        json!({
            "sub": "coach-1", "aud": "authenticated", "exp": time::OffsetDateTime::now_utc().unix_timestamp() + 60,
            "app_metadata": { "organisation_id": Uuid::from_u128(7) },
        })
    }

    #[tokio::test]
    async fn a_token_of_the_platform_names_its_organisation() {
        let claims = tokens().check(&token(Algorithm::HS256, SECRET, &claims())).await.unwrap();
        assert_eq!(claims.organisation, Uuid::from_u128(7));
        assert_eq!(claims.scopes, [Scope::JobsRead]);
    }

    #[tokio::test]
    async fn a_token_that_is_over_for_somebody_else_or_unsigned_is_refused() {
        let tokens = tokens();
        let with = |name: &str, value: Value| {
            let mut claims = claims();
            claims[name] = value;
            claims
        };
        for (why, token) in [
            ("wrong secret", token(Algorithm::HS256, "another", &claims())),
            ("other algorithm", token(Algorithm::HS384, SECRET, &claims())),
            ("expired", token(Algorithm::HS256, SECRET, &with("exp", json!(1_000)))),
            ("other audience", token(Algorithm::HS256, SECRET, &with("aud", json!("anon")))),
            ("no organisation", token(Algorithm::HS256, SECRET, &with("app_metadata", json!({})))),
            ("no token", "x.y.z".to_owned()),
            ("unsigned", "eyJhbGciOiJub25lIn0.e30.".to_owned()),
        ] {
            assert!(tokens.check(&token).await.is_err(), "{why}");
        }
    }

    #[tokio::test]
    async fn a_key_set_larger_than_any_is_not_read_and_a_token_longer_than_any_is_refused() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let padding = |length: usize| format!("{{\"keys\": []}}{}", " ".repeat(length));
        let routes = axum::Router::new()
            .route("/small", axum::routing::get(async move || padding(10)))
            .route("/large", axum::routing::get(async move || padding(MAX_KEYS)));
        let server = tokio::spawn(async move { axum::serve(listener, routes).await });
        let tokens = |path: &str| {
            let jwks_url = Some(format!("http://{address}{path}"));
            Tokens::new(JwtConfig { secret: None, jwks_url, ..tokens().config }, reqwest::Client::new()).unwrap()
        };
        assert!(tokens("/small").fetch().await.unwrap().keys.is_empty());
        assert!(matches!(tokens("/large").fetch().await, Err(BadKeySet::TooLarge)));
        server.abort();
        let long = token(Algorithm::HS256, SECRET, &json!({ "sub": "x".repeat(MAX_TOKEN) }));
        assert!(super::tests::tokens().check(&long).await.is_err());
    }
}
