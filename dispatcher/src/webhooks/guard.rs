//! Where deliveries may go: an owner of a webhook must not reach through us what only we can reach.
//!
//! The URL is checked before a request, and every address at the moment of connecting: names are resolved here, and what
//! a name leads to is handed to the connection without a second look-up. So a name that leads to a public address when it
//! is checked and to a private one when it is used gains nothing. Redirects are not followed and proxies not used.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use fleet::config::WebhooksConfig;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

/// IPv4 networks that are not the public Internet: IANA's registry of special-purpose addresses, multicast and the rest
/// that is reserved.
const REFUSED_V4: [&str; 17] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.31.196.0/24",
    "192.52.193.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "192.175.48.0/24",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    // Multicast, reserved and broadcast.
    "224.0.0.0/3",
];

/// The part of IPv6 that is the public Internet. What carries IPv4 addresses (mapped, NAT64), loopback, unique local,
/// link-local and multicast lie outside.
const PUBLIC_V6: &str = "2000::/3";

/// What within it is not: protocol assignments with Teredo, documentation, 6to4, AS112.
const REFUSED_V6: [&str; 5] = ["2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20"];

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
    #[error("the address is not on the public Internet")]
    Address,
}

/// A network, as `address/bits`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("{text}: give a network as 10.0.0.0/8 or fd00::/8");
        let (address, bits) = text.split_once('/').ok_or_else(wrong)?;
        let network = Self { address: address.parse().map_err(|_| wrong())?, bits: bits.parse().map_err(|_| wrong())? };
        let most = if network.address.is_ipv4() { 32 } else { 128 };
        if network.bits <= most { Ok(network) } else { Err(wrong()) }
    }
}

impl Network {
    /// Whether an address lies in it. An IPv4 address lies in no IPv6 network.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let difference = match (self.address, address) {
            (IpAddr::V4(a), IpAddr::V4(b)) => u128::from(a.to_bits() ^ b.to_bits()) << 96,
            (IpAddr::V6(a), IpAddr::V6(b)) => a.to_bits() ^ b.to_bits(),
            _ => return false,
        };
        difference.leading_zeros() >= u32::from(self.bits)
    }
}

/// What deliveries may reach.
#[derive(Clone, Debug)]
pub struct Guard {
    allowed: Vec<Network>,
    refused: Vec<Network>,
    public_v6: Network,
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
        let parse = |texts: &[&str]| texts.iter().map(|text| text.parse()).collect::<Result<Vec<Network>, String>>();
        let mut refused = parse(&REFUSED_V4)?;
        refused.extend(parse(&REFUSED_V6)?);
        Ok(Self {
            allowed: config.allow.iter().map(|text| text.parse()).collect::<Result<_, _>>()?,
            refused,
            public_v6: PUBLIC_V6.parse()?,
            http: config.http,
            ports: config.ports.clone(),
        })
    }

    /// Whether a connection to an address may be made.
    #[must_use]
    pub fn permits(&self, address: IpAddr) -> bool {
        let within = |networks: &[Network]| networks.iter().any(|network| network.contains(address));
        within(&self.allowed) || (!within(&self.refused) && (address.is_ipv4() || self.public_v6.contains(address)))
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
        // The connector does not look up what is an address already.
        let address = match url.host().ok_or(Refused::Unreadable)? {
            Host::Ipv4(address) => Some(IpAddr::V4(address)),
            Host::Ipv6(address) => Some(IpAddr::V6(address)),
            Host::Domain(_) => None,
        };
        match address {
            Some(address) if !self.permits(address) => Err(Refused::Address),
            _ => Ok(url),
        }
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
            let (permitted, refused): (Vec<SocketAddr>, Vec<SocketAddr>) =
                answer.await?.partition(|address| guard.permits(address.ip()));
            if permitted.is_empty() && !refused.is_empty() {
                tracing::warn!(host, ?refused, "a webhook's name leads to addresses that are not allowed");
                return Err(Refused::Address.into());
            }
            Ok(Box::new(permitted.into_iter()) as Addrs)
        })
    }
}

struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            if found.is_empty() {
                return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address").into());
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests;
