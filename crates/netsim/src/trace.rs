//! A running fingerprint of everything that a network did.

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

    pub(crate) fn number(&mut self, number: u64) {
        self.bytes(&number.to_be_bytes());
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
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
