//! Where deliveries may go: an owner of a webhook must not reach through us what only we can reach.
//!
//! The URL is checked before a request, and every address at the moment of connecting ([`fleet::internet`]). Redirects are
//! not followed and proxies not used.

use std::net::SocketAddr;
use std::sync::Arc;

use fleet::config::WebhooksConfig;
use fleet::internet::{OutOfReach, Reach, look_up};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::Url;

/// Why a delivery may not go where its webhook says. The words are for the webhook's owner: they tell nothing of what an
/// internal name leads to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Not a URL.
    #[error("the URL cannot be read")]
    Unreadable,
    /// Not `https`.
    #[error("the URL must begin with https://")]
    Scheme,
    /// A user or a password is part of it.
    #[error("the URL must not hold a user or a password")]
    Credentials,
    /// Not a port for deliveries.
    #[error("port {0} is not allowed")]
    Port(u16),
    /// Not on the public Internet.
    #[error("{}", OutOfReach)]
    Address,
}

/// What deliveries may reach.
#[derive(Clone, Debug)]
pub struct Guard {
    reach: Reach,
    http: bool,
    /// Empty: all.
    ports: Vec<u16>,
}

impl Guard {
    /// The guard that a configuration describes.
    ///
    /// # Errors
    /// A network that is none.
    pub fn new(config: &WebhooksConfig) -> Result<Self, String> {
        Ok(Self { reach: Reach::with(&config.allow)?, http: config.http, ports: config.ports.clone() })
    }

    /// Checks all of a URL that can be told without looking its name up.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn check(&self, url: &str) -> Result<Url, Refused> {
        let url = Url::parse(url).map_err(|_| Refused::Unreadable)?;
        if url.scheme() != "https" && !(self.http && url.scheme() == "http") {
            return Err(Refused::Scheme);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Refused::Credentials);
        }
        let port = url.port_or_known_default().ok_or(Refused::Unreadable)?;
        if !self.ports.is_empty() && !self.ports.contains(&port) {
            return Err(Refused::Port(port));
        }
        if url.host().is_none() {
            return Err(Refused::Unreadable);
        }
        if self.reach.permits_host(&url) { Ok(url) } else { Err(Refused::Address) }
    }
}

/// A resolver that gives only addresses that the guard permits.
pub struct GuardedResolver {
    guard: Arc<Guard>,
    inner: Arc<dyn Resolve>,
}

impl GuardedResolver {
    /// Asks the system.
    #[must_use]
    pub fn new(guard: Arc<Guard>) -> Self {
        Self::over(guard, Arc::new(SystemResolver))
    }

    /// Asks another resolver.
    #[must_use]
    pub fn over(guard: Arc<Guard>, inner: Arc<dyn Resolve>) -> Self {
        Self { guard, inner }
    }
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (guard, host) = (self.guard.clone(), name.as_str().to_owned());
        let answer = self.inner.resolve(name);
        Box::pin(async move {
            let found: Vec<SocketAddr> = answer.await?.collect();
            let permitted = guard.reach.only_permitted(&found).map_err(|OutOfReach| {
                tracing::warn!(host, refused = ?found, "a webhook's name leads to addresses that are not allowed");
                Refused::Address
            })?;
            Ok(Box::new(permitted.into_iter()) as Addrs)
        })
    }
}

struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = look_up(name.as_str()).await?;
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests;
