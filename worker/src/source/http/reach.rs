//! Keeps requests within what strangers may have us connect to.

use std::error::Error;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use fleet::internet::Reach;
use reqwest::ClientBuilder;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use url::{Host, Url};

/// An address that strangers may not have us connect to. The words tell nothing of what a name leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the address is not on the public Internet")]
pub(super) struct Refused;

/// Whether a request failed for that.
pub(super) fn is_refusal(error: &reqwest::Error) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        if error.is::<Refused>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Whether a URL may be asked for, as far as can be told before its name is looked up.
pub(super) fn permits(reach: &Reach, url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => reach.permits(IpAddr::V4(address)),
        Some(Host::Ipv6(address)) => reach.permits(IpAddr::V6(address)),
        Some(Host::Domain(_)) => true,
        None => false,
    }
}

/// A client that connects to nothing else, also when it is redirected, and through no proxy.
pub(super) fn confine(builder: ClientBuilder, reach: Arc<Reach>, redirects: usize) -> ClientBuilder {
    let resolver = Resolver(reach.clone());
    let policy = Policy::custom(move |attempt| {
        if attempt.previous().len() > redirects {
            attempt.error("too many redirects")
        } else if permits(&reach, attempt.url()) {
            attempt.follow()
        } else {
            attempt.error(Refused)
        }
    });
    builder.redirect(policy).no_proxy().dns_resolver(resolver)
}

/// Gives only addresses that are permitted, to the connection itself: no second look-up can lead elsewhere.
struct Resolver(Arc<Reach>);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = self.0.clone();
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            if found.is_empty() {
                return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address").into());
            }
            let permitted: Vec<SocketAddr> = found.into_iter().filter(|address| reach.permits(address.ip())).collect();
            if permitted.is_empty() {
                return Err(Refused.into());
            }
            Ok(Box::new(permitted.into_iter()) as Addrs)
        })
    }
}
