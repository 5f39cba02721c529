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
    Unmapped = 8,
    Filtered = 9,
    Exhausted = 10,
    Unturned = 11,
    Vanished = 12,
    Asleep = 13,
    Unheard = 14,
    /// Through a NAT; the addresses are those behind it.
    Translated = 15,
    /// Waiting for a host that sleeps.
    Kept = 16,
    /// Not sent at all: its sender was told.
    Refused = 17,
    /// No datagram: the network itself changed.
    Fault = 18,
    /// From a socket, before anything happened to it.
    Sent = 19,
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

/// The fingerprints of a network with many hops, shape and content apart: eight bytes at a time, since
/// it writes several steps for each datagram.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Log {
    shape: u64,
    content: u64,
}

/// Takes a word in, by the step of SplitMix64 (Steele, Lea, Flood 2014, "Fast Splittable Pseudorandom
/// Number Generators"): a bijection of either argument while the other is fixed, and every bit of both
/// reaches all others, so that no two changes cancel out by themselves.
const fn mix(hash: u64, word: u64) -> u64 {
    let z = hash.wrapping_add(0x9e37_79b9_7f4a_7c15) ^ word;
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Log {
    pub(crate) const fn new() -> Self {
        Self { shape: OFFSET_BASIS, content: OFFSET_BASIS }
    }

    /// One step of a datagram.
    pub(crate) fn step(&mut self, at: u64, step: Step, from: SocketAddr, to: SocketAddr, len: usize) {
        let [from_high, from_low] = address_words(from);
        let [to_high, to_low] = address_words(to);
        let ports = u64::from(from.port()) << 16 | u64::from(to.port());
        for word in [at, step as u64, from_high, from_low, to_high, to_low, ports, len as u64] {
            self.shape = mix(self.shape, word);
        }
    }

    /// What the datagram of the last step holds.
    pub(crate) fn content(&mut self, bytes: &[u8]) {
        self.content = mixed(self.content, bytes);
    }

    /// A change of the network, as its text says it.
    pub(crate) fn fault(&mut self, at: u64, text: &str) {
        for word in [at, Step::Fault as u64] {
            self.shape = mix(self.shape, word);
        }
        self.shape = mixed(self.shape, text.as_bytes());
    }

    pub(crate) const fn shape_hash(&self) -> u64 {
        self.shape
    }

    pub(crate) const fn trace_hash(&self) -> u64 {
        mix(self.shape, self.content)
    }
}

/// Bytes behind their length.
fn mixed(hash: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let hash =
        words.iter().fold(mix(hash, bytes.len() as u64), |hash, word| mix(hash, u64::from_be_bytes(*word)));
    mix(hash, rest.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)))
}

fn address_words(address: SocketAddr) -> [u64; 2] {
    let bits = match address.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().to_bits(),
        IpAddr::V6(ip) => ip.to_bits(),
    };
    [(bits >> 64) as u64, bits as u64]
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

    #[test]
    fn no_change_of_a_bit_or_of_the_length_is_without_a_trace() {
        let logged = |bytes: &[u8]| {
            let mut log = Log::new();
            log.content(bytes);
            log.content(b"and more behind it");
            assert_eq!(log.shape_hash(), Log::new().shape_hash());
            log.trace_hash()
        };
        let mut seen = std::collections::BTreeSet::new();
        let mut count = 0;
        for len in 0..40 {
            for bit in 0..=len * 8 {
                let mut bytes = vec![0; len];
                if let Some(byte) = bytes.get_mut(bit / 8) {
                    *byte = 1 << (bit % 8);
                }
                seen.insert(logged(&bytes));
                count += 1;
            }
        }
        // Two bits of the same place in different words, which a hash without mixing would cancel.
        for (a, b) in [(0, 8), (0, 16), (8, 16)] {
            let mut bytes = [0; 24];
            (bytes[a], bytes[b]) = (0x80, 0x80);
            seen.insert(logged(&bytes));
            count += 1;
        }
        assert_eq!(seen.len(), count);
    }
}
