//! Keeps requests within what strangers may have us connect to.

use std::error::Error;
use std::sync::Arc;

use fleet::internet::{OutOfReach, Reach, look_up};
use reqwest::ClientBuilder;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;

/// Whether a request failed for that.
pub(super) fn is_refusal(error: &reqwest::Error) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        if error.is::<OutOfReach>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// A client that connects to nothing else, also when it is redirected, and through no proxy.
pub(super) fn confine(builder: ClientBuilder, reach: Arc<Reach>, redirects: usize) -> ClientBuilder {
    let resolver = Resolver(reach.clone());
    let policy = Policy::custom(move |attempt| {
        if attempt.previous().len() > redirects {
            attempt.error("too many redirects")
        } else if reach.permits_host(attempt.url()) {
            attempt.follow()
        } else {
            attempt.error(OutOfReach)
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
            let permitted = reach.only_permitted(&look_up(name.as_str()).await?)?;
            Ok(Box::new(permitted.into_iter()) as Addrs)
        })
    }
}
