//! Which addresses are on the public Internet. Whoever names an address to us must not reach through us what only we can
//! reach: other machines of our network, the metadata service of a cloud.

use std::net::IpAddr;
use std::str::FromStr;

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
}
