//! Which addresses are on the public Internet. Whoever names an address to us must not reach through us what only we can
//! reach: other machines of our network, the metadata service of a cloud.
//!
//! A URL is checked before it is asked for ([`Reach::permits_host`]), and its name's addresses at the moment of connecting
//! ([`look_up`], then [`Reach::only_permitted`]). What is left of them goes to the connection without a second look-up, so a name
//! that leads to a public address when it is checked and to a private one when it is used gains nothing.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

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

/// An address beyond [`Reach`]. The words are for whoever named it: they tell nothing of what a name leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the address is not on the public Internet")]
pub struct OutOfReach;

/// What the system's resolver knows of a name, with port 0.
///
/// # Errors
/// It does not answer, or knows no address.
pub async fn look_up(name: &str) -> io::Result<Vec<SocketAddr>> {
    let found: Vec<SocketAddr> = tokio::net::lookup_host((name, 0)).await?.collect();
    if found.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
    }
    Ok(found)
}

/// What may be connected to: the public Internet, and networks that an operator names beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    allowed: Vec<Network>,
    refused: Vec<Network>,
    public_v6: Network,
}

impl Reach {
    /// The public Internet, and these networks (`10.2.0.0/16`).
    ///
    /// # Errors
    /// A text that is no network.
    pub fn with(allow: &[String]) -> Result<Self, String> {
        let refused = REFUSED_V4.iter().chain(&REFUSED_V6).map(|text| text.parse()).collect::<Result<_, _>>()?;
        let allowed = allow.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
        Ok(Self { allowed, refused, public_v6: PUBLIC_V6.parse()? })
    }

    /// Whether a connection to an address may be made.
    #[must_use]
    pub fn permits(&self, address: IpAddr) -> bool {
        let within = |networks: &[Network]| networks.iter().any(|network| network.contains(address));
        within(&self.allowed) || (!within(&self.refused) && (address.is_ipv4() || self.public_v6.contains(address)))
    }

    /// Whether a URL may be asked for, as far as can be told before its name is looked up: connectors do not look up what is
    /// an address already.
    #[must_use]
    pub fn permits_host(&self, url: &Url) -> bool {
        match url.host() {
            Some(Host::Ipv4(address)) => self.permits(IpAddr::V4(address)),
            Some(Host::Ipv6(address)) => self.permits(IpAddr::V6(address)),
            Some(Host::Domain(_)) => true,
            None => false,
        }
    }

    /// Of a name's addresses those that may be connected to.
    ///
    /// # Errors
    /// There are addresses, and none of them may.
    pub fn only_permitted(&self, found: &[SocketAddr]) -> Result<Vec<SocketAddr>, OutOfReach> {
        let permitted: Vec<SocketAddr> = found.iter().copied().filter(|address| self.permits(address.ip())).collect();
        if permitted.is_empty() && !found.is_empty() { Err(OutOfReach) } else { Ok(permitted) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_we_can_reach_is_refused_unless_it_is_named() {
        let (public, wider) = (Reach::with(&[]).unwrap(), Reach::with(&["10.2.0.0/16".to_owned()]).unwrap());
        for (address, is_public, is_within) in [
            ("1.1.1.1", true, true),
            ("2a00:1450:4001:80e::200e", true, true),
            ("10.2.3.4", false, true),
            ("10.3.0.1", false, false),
            ("127.0.0.1", false, false),
            ("169.254.169.254", false, false),
            ("::1", false, false),
            ("::ffff:127.0.0.1", false, false),
            ("fd00:ec2::254", false, false),
        ] {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!((public.permits(address), wider.permits(address)), (is_public, is_within), "{address}");
        }
        for wrong in ["10.0.0.0", "10.0.0.0/33", "fd00::/129", "ten/8", "10.0.0.0/-1"] {
            assert!(Reach::with(&[wrong.to_owned()]).is_err(), "{wrong}");
        }
        assert!("0.0.0.0/0".parse::<Network>().unwrap().contains("203.0.113.7".parse().unwrap()));
    }
    #[test]
    fn a_url_is_judged_by_its_address_and_a_name_by_what_it_leads_to() {
        let reach = Reach::with(&[]).unwrap();
        for (url, permitted) in [
            ("https://1.1.1.1/", true),
            ("https://0x7f.1/", false),
            ("https://[::ffff:7f00:1]/", false),
            ("https://localhost/", true),
            ("data:text/plain,", false),
        ] {
            assert_eq!(reach.permits_host(&url.parse().unwrap()), permitted, "{url}");
        }
        let [public, private] = ["1.1.1.1:0", "127.0.0.1:0"].map(|address| address.parse().unwrap());
        assert_eq!(reach.only_permitted(&[private, public]), Ok(vec![public]));
        assert_eq!(reach.only_permitted(&[private]), Err(OutOfReach));
        assert_eq!(reach.only_permitted(&[]), Ok(Vec::new()));
    }
}
