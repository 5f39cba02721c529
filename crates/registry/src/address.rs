//! Whom a limit per address counts.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Bits of an IPv6 address that one subscriber shares: a /64 is the smallest network that hosts are
/// numbered in (RFC 4291 section 2.5.1), so limits per single address would limit nobody.
const SUBSCRIBER_MASK: u128 = !0 << 64;

/// Where a connection comes from: an IPv4 address or an IPv6 /64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address(IpAddr);

impl Address {
    /// The address that limits count for a connection from `ip`.
    pub fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Self(IpAddr::V4(ip)),
            IpAddr::V6(Ipv6Addr::LOCALHOST) => Self(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            IpAddr::V6(ip) => Self(IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & SUBSCRIBER_MASK))),
        }
    }

    /// Whether it is this machine, which limits per address exempt (protocol section 3).
    pub fn is_loopback(self) -> bool {
        self.0.is_loopback()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        Address::of(text.parse().unwrap())
    }

    #[test]
    fn one_ipv6_network_and_one_ipv4_address_count_as_one() {
        assert_eq!(address("2001:db8::1"), address("2001:db8::ffff"));
        assert_ne!(address("2001:db8::1"), address("2001:db8:0:1::1"));
        assert_eq!(address("::ffff:192.0.2.1"), address("192.0.2.1"));
        assert_ne!(address("192.0.2.1"), address("192.0.2.2"));
    }

    #[test]
    fn loopback_is_loopback_in_every_spelling() {
        for text in ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"] {
            assert!(address(text).is_loopback(), "{text}");
        }
        assert!(!address("192.0.2.1").is_loopback());
    }
}
