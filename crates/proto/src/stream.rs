//! What a stream beyond the first two is for: the head that it begins with (protocol section 5).
//!
//! A head is `length u8 | kind u8 | fields`; the length counts what follows it.
//!
//! | kind | what | fields |
//! | --- | --- | --- |
//! | 1 | the lines of a group | group \[16\] |
//! | 2 | content of a transfer | transfer \[16\], purpose u8 |
//!
//! A purpose is 1 for the manifest, 2 for what is held already, 3 for the bytes of the files.

use crate::id::{GroupId, TransferId};
use crate::varint::Reader;

/// Most bytes of a head behind its length (our choice: what is laid out takes 18).
pub const STREAM_HEAD_MAX: usize = 64;

/// Code of a `Reset` by which a side refuses a stream whose head it does not know.
pub const UNKNOWN_HEAD: u64 = 0;

const GROUP: u8 = 1;
const TRANSFER: u8 = 2;

/// What a stream carries, said by the side that opened it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamHead {
    /// The opener's side of a group.
    Group(GroupId),
    /// Content of a transfer.
    Transfer {
        /// Which one.
        transfer: TransferId,
        /// Which content.
        purpose: TransferPurpose,
    },
}

/// Which content of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransferPurpose {
    /// What the transfer consists of (1).
    Manifest,
    /// What the receiver holds already (2).
    Held,
    /// The bytes of the files (3).
    Content,
}

/// A stream that does not begin with a head. The peer's act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MalformedHead;

impl core::fmt::Display for MalformedHead {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("malformed head of a stream")
    }
}

impl core::error::Error for MalformedHead {}

/// What the front of a stream says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadHead {
    /// Not all of the head is there.
    Partly,
    /// A head of a later version.
    Unknown,
    /// A head, and its bytes with the length.
    Whole(StreamHead, usize),
}

impl TransferPurpose {
    const fn to_wire(self) -> u8 {
        match self {
            Self::Manifest => 1,
            Self::Held => 2,
            Self::Content => 3,
        }
    }

    const fn from_wire(purpose: u8) -> Option<Self> {
        match purpose {
            1 => Some(Self::Manifest),
            2 => Some(Self::Held),
            3 => Some(Self::Content),
            _ => None,
        }
    }
}

impl StreamHead {
    /// The bytes on the wire.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut head = vec![0];
        match self {
            Self::Group(GroupId(group)) => {
                head.push(GROUP);
                head.extend(group);
            }
            Self::Transfer { transfer: TransferId(transfer), purpose } => {
                head.push(TRANSFER);
                head.extend(transfer);
                head.push(purpose.to_wire());
            }
        }
        let len = u8::try_from(head.len().saturating_sub(1)).unwrap_or(u8::MAX);
        if let Some(first) = head.first_mut() {
            *first = len;
        }
        head
    }

    /// Reads the head at the front of a stream's bytes.
    ///
    /// # Errors
    /// If no head of any version begins so, or one of this version has other fields.
    pub fn read(bytes: &[u8]) -> Result<ReadHead, MalformedHead> {
        let Some((len, rest)) = bytes.split_first() else { return Ok(ReadHead::Partly) };
        let len = usize::from(*len);
        if len == 0 || len > STREAM_HEAD_MAX {
            return Err(MalformedHead);
        }
        let Some(head) = rest.get(..len) else { return Ok(ReadHead::Partly) };
        let mut reader = Reader::new(head);
        let head = match reader.u8().ok_or(MalformedHead)? {
            GROUP => Self::Group(GroupId(reader.array().ok_or(MalformedHead)?)),
            TRANSFER => {
                let transfer = TransferId(reader.array().ok_or(MalformedHead)?);
                let purpose = reader.u8().ok_or(MalformedHead)?;
                let Some(purpose) = TransferPurpose::from_wire(purpose) else { return Ok(ReadHead::Unknown) };
                Self::Transfer { transfer, purpose }
            }
            _ => return Ok(ReadHead::Unknown),
        };
        if !reader.is_empty() {
            return Err(MalformedHead);
        }
        Ok(ReadHead::Whole(head, len.saturating_add(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn heads() -> [(StreamHead, Vec<u8>); 4] {
        let transfer = |purpose| StreamHead::Transfer { transfer: TransferId([6; 16]), purpose };
        let bytes = |purpose| [&[18, 2][..], &[6; 16], &[purpose]].concat();
        [
            (StreamHead::Group(GroupId([5; 16])), [&[17, 1][..], &[5; 16]].concat()),
            (transfer(TransferPurpose::Manifest), bytes(1)),
            (transfer(TransferPurpose::Held), bytes(2)),
            (transfer(TransferPurpose::Content), bytes(3)),
        ]
    }

    #[test]
    fn every_head_has_its_bytes() {
        for (head, bytes) in heads() {
            assert_eq!(head.to_bytes(), bytes);
            let longer = [&bytes[..], b"and on"].concat();
            assert_eq!(StreamHead::read(&longer), Ok(ReadHead::Whole(head, bytes.len())));
            for cut in 0..bytes.len() {
                assert_eq!(StreamHead::read(&bytes[..cut]), Ok(ReadHead::Partly), "{head:?} {cut}");
            }
        }
    }

    #[test]
    fn a_head_that_is_too_long_empty_or_of_another_length_is_refused() {
        for len in [0, STREAM_HEAD_MAX as u8 + 1, u8::MAX] {
            assert_eq!(StreamHead::read(&[len]), Err(MalformedHead), "before its bytes are waited for");
        }
        for (_, mut bytes) in heads() {
            bytes[0] -= 1;
            assert_eq!(StreamHead::read(&bytes), Err(MalformedHead));
            bytes[0] += 2;
            bytes.push(1);
            assert_eq!(StreamHead::read(&bytes), Err(MalformedHead));
        }
    }

    #[test]
    fn a_head_of_a_later_version_is_known_as_one() {
        assert_eq!(StreamHead::read(&[1, 9]), Ok(ReadHead::Unknown));
        let purpose = [&[18, 2][..], &[6; 16], &[4]].concat();
        assert_eq!(StreamHead::read(&purpose), Ok(ReadHead::Unknown));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_and_what_is_a_head_encodes_to_the_same(
            bytes in proptest::collection::vec(any::<u8>(), 0..80),
        ) {
            if let Ok(ReadHead::Whole(head, len)) = StreamHead::read(&bytes) {
                prop_assert_eq!(&head.to_bytes(), &bytes[..len]);
            }
        }
    }
}
