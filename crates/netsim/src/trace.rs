//! A running fingerprint of everything that a network did.

use std::net::{IpAddr, SocketAddr};

/// What became of a datagram, as the trace writes it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    Unroutable = 0,
    Partitioned = 1,
    Oversized = 2,
    Overflowed = 3,
    Lost = 4,
    /// On its way.
    Passed = 5,
    /// On its way, and another behind it.
    Doubled = 6,
    /// At its receiver.
    Delivered = 7,
}

/// FNV-1a with 64 bits (draft-eastlake-fnv, section 5): small, without a dependency, and sensitive
/// to order. It finds a replay that differs; it proves nothing against somebody who wants a collision.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Trace(u64);

/// Offset basis of 64-bit FNV-1a.
const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
/// Prime of 64-bit FNV-1a.
const PRIME: u64 = 0x0000_0100_0000_01b3;

impl Trace {
    pub(crate) const fn new() -> Self {
        Self(OFFSET_BASIS)
    }

    /// One step of a datagram. Every field has a fixed length or stands behind its length, so no two
    /// traces read the same.
    pub(crate) fn datagram(&mut self, at: u64, step: Step, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        self.shape(at, step, from, to, bytes.len());
        self.bytes(bytes);
    }

    /// The same without the content.
    pub(crate) fn shape(&mut self, at: u64, step: Step, from: SocketAddr, to: SocketAddr, len: usize) {
        self.bytes(&at.to_be_bytes());
        self.bytes(&[step as u8]);
        self.address(from);
        self.address(to);
        self.bytes(&(len as u64).to_be_bytes());
    }

    fn address(&mut self, address: SocketAddr) {
        let ip = match address.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        self.bytes(&ip.octets());
        self.bytes(&address.port().to_be_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(PRIME);
        }
    }

    pub(crate) const fn hash(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_vectors_hold() {
        for (text, expected) in [("", 0xcbf2_9ce4_8422_2325), ("a", 0xaf63_dc4c_8601_ec8c)] {
            let mut trace = Trace::new();
            trace.bytes(text.as_bytes());
            assert_eq!(trace.hash(), expected, "{text:?}");
        }
    }
}
