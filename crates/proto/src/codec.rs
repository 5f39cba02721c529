//! Structured bodies as bytes: bincode, big-endian, fixed integers, and every bound on the way.
//!
//! The only file that names bincode. What the crate leaves open is closed here:
//!
//! - the length of the input is checked against the cap of its kind before anything is read;
//! - decoding runs under a memory limit (it counts `len * size_of`, so a small input cannot ask
//!   for a large allocation);
//! - the encoder checks the same cap, which the crate's own limit does not;
//! - bytes left over after a value are an error, which the crate accepts.
//!
//! Types that travel hold no maps, no recursion and no collections of zero-sized elements.

use core::fmt;

pub use bincode::de::{BorrowDecoder, Decoder};
pub use bincode::error::DecodeError as DecodeFailure;
pub use bincode::{BorrowDecode, Decode, Encode};

/// Implements `Decode` for a type whose values keep a rule, by a function from the decoder to a
/// checked value, together with the borrowing variant that the derive asks of every field.
macro_rules! decode_checked {
    ($(const $param:ident: $of:ty,)? $type:ty, |$decoder:ident| $body:expr) => {
        impl<C $(, const $param: $of)?> $crate::codec::Decode<C> for $type {
            fn decode<D: $crate::codec::Decoder<Context = C>>(
                $decoder: &mut D,
            ) -> Result<Self, $crate::codec::DecodeFailure> {
                $body
            }
        }

        impl<'de, C $(, const $param: $of)?> $crate::codec::BorrowDecode<'de, C> for $type {
            fn borrow_decode<D: $crate::codec::BorrowDecoder<'de, Context = C>>(
                decoder: &mut D,
            ) -> Result<Self, $crate::codec::DecodeFailure> {
                $crate::codec::Decode::decode(decoder)
            }
        }
    };
}
pub(crate) use decode_checked;

/// Most memory that decoding one body may claim, in bytes.
///
/// A body is at most [`crate::limits::BODY_MAX`] long; its decoded form may be larger where
/// short encodings become wide types (an address of 7 bytes is 32 in memory).
pub const DECODE_MEMORY: usize = 1 << 20;

/// A kind of body with the most bytes that it may have.
pub trait Body: Encode + for<'de> BorrowDecode<'de, ()> {
    /// Cap on the encoded form, in bytes.
    const MAX_LEN: usize;
}

/// Bytes that are not the body they should be. The peer's act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecodeError {
    /// Longer than the cap of its kind.
    TooLong {
        /// Length that came.
        len: usize,
        /// Cap of the kind.
        max: usize,
    },
    /// Ends too early, breaks a rule of its type, or would take too much memory.
    Malformed,
    /// A whole body with more bytes behind it.
    Trailing,
}

/// A value too large for the cap of its kind. A local error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncodeError {
    /// Cap of the kind, in bytes.
    pub max: usize,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { len, max } => write!(f, "{len} bytes where at most {max} may come"),
            Self::Malformed => f.write_str("malformed body"),
            Self::Trailing => f.write_str("bytes after the end of a body"),
        }
    }
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "body exceeds its cap of {} bytes", self.max)
    }
}

impl core::error::Error for DecodeError {}
impl core::error::Error for EncodeError {}

/// The bytes of `body`.
///
/// # Errors
/// If they would exceed the cap of its kind.
pub fn encode<B: Body>(body: &B) -> Result<Vec<u8>, EncodeError> {
    let refused = EncodeError { max: B::MAX_LEN };
    let bytes = bincode::encode_to_vec(body, wire()).map_err(|_| refused)?;
    if bytes.len() > B::MAX_LEN { Err(refused) } else { Ok(bytes) }
}

/// Appends the bytes of `body` to `out`, so that many bodies need one buffer.
///
/// # Errors
/// If they would exceed the cap of its kind; then `out` is as it was.
pub fn encode_into<B: Body>(body: &B, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let start = out.len();
    let written = bincode::encode_into_writer(body, Appending(out), wire());
    if written.is_ok() && out.len().saturating_sub(start) <= B::MAX_LEN {
        return Ok(());
    }
    out.truncate(start);
    Err(EncodeError { max: B::MAX_LEN })
}

/// What is encoded goes behind what is there.
struct Appending<'a>(&'a mut Vec<u8>);

impl bincode::enc::write::Writer for Appending<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), bincode::error::EncodeError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

/// The body that `bytes` are, all of them.
///
/// # Errors
/// See [`DecodeError`].
pub fn decode<B: Body>(bytes: &[u8]) -> Result<B, DecodeError> {
    if bytes.len() > B::MAX_LEN {
        return Err(DecodeError::TooLong { len: bytes.len(), max: B::MAX_LEN });
    }
    let (body, used) =
        bincode::borrow_decode_from_slice(bytes, wire()).map_err(|_| DecodeError::Malformed)?;
    if used == bytes.len() { Ok(body) } else { Err(DecodeError::Trailing) }
}

fn wire() -> impl bincode::config::Config {
    bincode::config::standard().with_big_endian().with_fixed_int_encoding().with_limit::<DECODE_MEMORY>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, PartialEq, Encode, Decode)]
    struct Sample {
        number: u32,
        list: Vec<u64>,
        text: String,
    }

    impl Body for Sample {
        const MAX_LEN: usize = 64;
    }

    #[test]
    fn a_body_that_is_appended_has_the_same_bytes_and_one_over_its_cap_leaves_nothing() {
        let sample = |len| Sample { number: 7, list: vec![2, 3], text: "a".repeat(len) };
        let mut out = vec![9];
        encode_into(&sample(5), &mut out).unwrap();
        assert_eq!(out.split_first(), Some((&9, &*encode(&sample(5)).unwrap())));
        let before = out.clone();
        assert_eq!(encode_into(&sample(64), &mut out), Err(EncodeError { max: Sample::MAX_LEN }));
        assert_eq!(out, before);
    }

    #[test]
    fn integers_are_big_endian_and_fixed() {
        let sample = Sample { number: 1, list: vec![2], text: "a".into() };
        let bytes = encode(&sample).unwrap();
        let expected = [
            &[0, 0, 0, 1][..],
            &[0, 0, 0, 0, 0, 0, 0, 1],
            &[0, 0, 0, 0, 0, 0, 0, 2],
            &[0, 0, 0, 0, 0, 0, 0, 1],
            b"a",
        ]
        .concat();
        assert_eq!(bytes, expected);
        assert_eq!(decode::<Sample>(&bytes), Ok(sample));
    }

    #[test]
    fn a_body_over_its_cap_is_refused_on_both_sides() {
        let sample = Sample { number: 1, list: vec![], text: "a".repeat(64) };
        assert_eq!(encode(&sample), Err(EncodeError { max: 64 }));
        assert_eq!(decode::<Sample>(&[0; 65]), Err(DecodeError::TooLong { len: 65, max: 64 }));
    }

    #[test]
    fn a_length_that_promises_more_than_came_allocates_nothing() {
        let mut bytes = vec![0, 0, 0, 1];
        bytes.extend(u64::MAX.to_be_bytes());
        assert_eq!(decode::<Sample>(&bytes), Err(DecodeError::Malformed));
    }

    #[test]
    fn trailing_bytes_are_refused() {
        let mut bytes = encode(&Sample { number: 0, list: vec![], text: String::new() }).unwrap();
        bytes.push(0);
        assert_eq!(decode::<Sample>(&bytes), Err(DecodeError::Trailing));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(sample) = decode::<Sample>(&bytes) {
                prop_assert_eq!(encode(&sample).unwrap(), bytes);
            }
        }
    }
}
