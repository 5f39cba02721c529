//! Variable-length integers (RFC 9000 section 16), refused when not minimal.
//!
//! The two high bits of the first byte say how many bytes there are: 1, 2, 4 or 8. One value has
//! one encoding, so what was decoded encodes to the bytes that came.

/// Largest value that an encoding can say: 62 bits.
pub const MAX: u64 = (1 << 62) - 1;

/// Most bytes of one encoding.
pub const MAX_LEN: usize = 8;

/// Bytes of the encoding of `value`.
pub const fn len(value: u64) -> usize {
    match value {
        0..=0x3f => 1,
        0x40..=0x3fff => 2,
        0x4000..=0x3fff_ffff => 4,
        _ => MAX_LEN,
    }
}

/// Appends the encoding of `value`. A value beyond [`MAX`] is written as [`MAX`]; counters of
/// bytes and packets end long before.
pub fn write(value: u64, out: &mut Vec<u8>) {
    let value = value.min(MAX);
    let [.., b3, b2, b1, b0] = value.to_be_bytes();
    match len(value) {
        1 => out.push(b0),
        2 => out.extend([b1 | 0x40, b0]),
        4 => out.extend([b3 | 0x80, b2, b1, b0]),
        _ => out.extend((value | 0xc0 << 56).to_be_bytes()),
    }
}

/// Reads a byte string from its front. Every method answers `None` where too little is left.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A reader at the front of `bytes`.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Whether everything was read.
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// What was not read.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next byte.
    pub fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*head)
    }

    /// The next `len` bytes.
    pub fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(head)
    }

    /// The next integer; also `None` where its encoding is longer than it has to be.
    pub fn varint(&mut self) -> Option<u64> {
        let first = *self.rest.first()?;
        let value = match first >> 6 {
            // Nothing is shorter.
            0 => return self.u8().map(u64::from),
            1 => u64::from(u16::from_be_bytes(self.array()?) & 0x3fff),
            2 => u64::from(u32::from_be_bytes(self.array()?) & 0x3fff_ffff),
            _ => u64::from_be_bytes(self.array()?) & MAX,
        };
        (len(value) == 1 << (first >> 6)).then_some(value)
    }

    /// The bytes that an integer before them counts.
    pub fn counted(&mut self) -> Option<&'a [u8]> {
        let len = self.varint()?;
        self.bytes(usize::try_from(len).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(value: u64) -> Vec<u8> {
        let mut out = Vec::new();
        write(value, &mut out);
        out
    }

    #[test]
    fn the_examples_of_the_rfc_encode_as_printed_there() {
        // RFC 9000 appendix A.1.
        assert_eq!(encoded(151_288_809_941_952_652), [0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c]);
        assert_eq!(encoded(494_878_333), [0x9d, 0x7f, 0x3e, 0x7d]);
        assert_eq!(encoded(15_293), [0x7b, 0xbd]);
        assert_eq!(encoded(37), [0x25]);
    }

    #[test]
    fn an_encoding_longer_than_needed_is_refused() {
        // RFC 9000 appendix A.1 gives 0x4025 as a second encoding of 37.
        for long in [&[0x40, 0x25][..], &[0x80, 0, 0, 0x25], &[0xc0, 0, 0, 0, 0x3f, 0xff, 0xff, 0xff]] {
            assert_eq!(Reader::new(long).varint(), None, "{long:x?}");
        }
    }

    #[test]
    fn a_value_beyond_the_largest_is_written_as_the_largest() {
        assert_eq!(encoded(u64::MAX), [0xff; 8]);
        assert_eq!(Reader::new(&[0xff; 8]).varint(), Some(MAX));
    }

    proptest! {
        #[test]
        fn every_value_survives_in_the_length_that_was_told(value in 0..=MAX) {
            let bytes = encoded(value);
            prop_assert_eq!(bytes.len(), len(value));
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(reader.varint(), Some(value));
            prop_assert!(reader.is_empty());
        }

        #[test]
        fn what_can_be_decoded_encodes_to_the_same_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..10)) {
            let mut reader = Reader::new(&bytes);
            if let Some(value) = reader.varint() {
                let used = bytes.len() - reader.rest().len();
                prop_assert_eq!(&encoded(value), &bytes[..used]);
            }
        }

        #[test]
        fn every_cut_of_an_encoding_is_refused(value in 0..=MAX, cut in 0usize..8) {
            let bytes = encoded(value);
            prop_assume!(cut < bytes.len());
            prop_assert_eq!(Reader::new(&bytes[..cut]).varint(), None);
        }
    }
}
