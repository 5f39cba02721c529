//! Bodies on a conversation stream: text, receipts, sync (protocol section 6).
//!
//! A direct conversation has two authors, one at each end of the session, so no body names its
//! author. Each side numbers its own messages from 0 in its own [`DeviceEpoch`].
//!
//! 1. On every new session each side sends one [`Sync`], and nothing else before the other's has
//!    come: what it holds of the other's messages, and where its own numbers stand.
//! 2. Then [`Text`]s go out in the order of their numbers, from the first that the other side does
//!    not hold. At most [`IN_FLIGHT_MESSAGES`] and [`IN_FLIGHT_BYTES`] of them are without a
//!    [`Receipt`] of [`ReceiptState::Stored`] at any time.
//! 3. Receipts are cumulative and only ever grow.

use core::fmt;
use std::sync::Arc;

use crate::codec::{Body, BorrowDecode, BorrowDecoder, Decode, DecodeFailure, Encode, decode_checked};
use crate::id::PeerId;
use crate::limits::TEXT_MAX;
use crate::time::WallTime;

/// Most messages that one side sends without a stored receipt, and that the other side takes.
pub const IN_FLIGHT_MESSAGES: usize = 256;

/// Most bytes of text that one side sends without a stored receipt, and that the other side takes.
/// Half of a stream's initial credit (256 KiB, protocol section 5), so that a session's buffer for
/// the conversation stream always has room for all of it.
pub const IN_FLIGHT_BYTES: usize = 128 * 1024;

/// Most epochs of one author that the other side keeps apart and states in a [`Sync`]. An author
/// gets a new one only by a new installation or a restored backup.
pub const EPOCHS_MAX: usize = 8;

/// Most ranges beyond the contiguous ones that a [`Held`] states.
pub const RANGES_MAX: usize = 32;

/// One life of an installation's message numbers, drawn at random.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct DeviceEpoch(pub u64);

/// Names one message in a direct conversation, for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct MessageId {
    /// Who wrote it.
    pub author: PeerId,
    /// For whom: the conversation, as its author sees it. Each has numbers of its own.
    pub to: PeerId,
    /// In which epoch of the author's numbers.
    pub epoch: DeviceEpoch,
    /// From 0, without gaps, for each conversation of the author.
    pub seq: u64,
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{:016x}-{}", self.author, self.to, self.epoch.0, self.seq)
    }
}

/// One text message of the side that sends it.
#[derive(Debug, Clone, PartialEq, Eq, Encode)]
pub struct Text {
    /// The author's epoch, the one of its [`Sync`].
    pub epoch: DeviceEpoch,
    /// Its number.
    pub seq: u64,
    /// When it was written, by the author's clock.
    pub sent_at: WallTime,
    /// Whether it had to wait for a later session than the one in which it was written, if any.
    pub late: bool,
    /// The text as it was written, at most [`TEXT_MAX`] bytes.
    pub text: Arc<str>,
}

/// How far the receiver of messages got, for all of them up to one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Receipt {
    /// What became of them.
    pub state: ReceiptState,
    /// The author's epoch.
    pub epoch: DeviceEpoch,
    /// All messages with a smaller number.
    pub upto: u64,
}

/// What became of a message at its receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub enum ReceiptState {
    /// Kept there, whatever crashes.
    Stored,
    /// Shown there.
    Read,
}

/// What one side holds of the other's messages, and where its own numbers stand: the first body on
/// every session, once from each side.
#[derive(Debug, Clone, PartialEq, Eq, Encode)]
pub struct Sync {
    /// What the sender of this body holds, by the other side's epochs in ascending order; at most
    /// [`EPOCHS_MAX`].
    pub held: Vec<Held>,
    /// The sender's own epoch.
    pub epoch: DeviceEpoch,
    /// The sender's oldest message that it can still send. The ones before it were stored by the
    /// other side, or by a former installation of it: nobody waits for them.
    pub first: u64,
    /// The number that the sender's next message will get.
    pub next: u64,
}

/// What one side holds of one epoch of the other's messages.
#[derive(Debug, Clone, PartialEq, Eq, Encode)]
pub struct Held {
    /// The author's epoch.
    pub epoch: DeviceEpoch,
    /// All messages with a smaller number are stored.
    pub contiguous: u64,
    /// All messages with a smaller number were shown; never more than `contiguous`.
    pub read: u64,
    /// What is stored after the first gap: ascending, apart from each other; at most
    /// [`RANGES_MAX`].
    pub beyond: Vec<SeqRange>,
}

/// Message numbers from `start` to before `end`; never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct SeqRange {
    /// The first.
    pub start: u64,
    /// The one after the last.
    pub end: u64,
}

impl Text {
    /// Its kind on the stream.
    pub const KIND: u8 = 0x01;
    /// Bytes of everything but the text itself: three integers, a flag and the text's length.
    const HEADER_LEN: usize = 3 * 8 + 1 + 8;
}

impl Receipt {
    /// Its kind on the stream.
    pub const KIND: u8 = 0x02;
}

impl Sync {
    /// Its kind on the stream.
    pub const KIND: u8 = 0x03;
}

impl Held {
    /// Bytes of the largest: three integers, and the ranges with their number.
    const MAX_LEN: usize = 3 * 8 + 8 + RANGES_MAX * SeqRange::LEN;
}

impl SeqRange {
    const LEN: usize = 2 * 8;

    /// Whether `seq` is in it.
    pub const fn contains(self, seq: u64) -> bool {
        self.start <= seq && seq < self.end
    }
}

/// By hand, as its text is copied once that way, and not into a string first.
impl<'de, C> BorrowDecode<'de, C> for Text {
    fn borrow_decode<D: BorrowDecoder<'de, Context = C>>(decoder: &mut D) -> Result<Self, DecodeFailure> {
        Ok(Self {
            epoch: BorrowDecode::borrow_decode(decoder)?,
            seq: BorrowDecode::borrow_decode(decoder)?,
            sent_at: BorrowDecode::borrow_decode(decoder)?,
            late: BorrowDecode::borrow_decode(decoder)?,
            text: <&str>::borrow_decode(decoder)?.into(),
        })
    }
}

impl Body for Text {
    const MAX_LEN: usize = Self::HEADER_LEN + TEXT_MAX;
}

/// A `u32` for the state and two integers.
impl Body for Receipt {
    const MAX_LEN: usize = 4 + 2 * 8;
}

/// Three integers, and the epochs with their number.
impl Body for Sync {
    const MAX_LEN: usize = 3 * 8 + 8 + EPOCHS_MAX * Held::MAX_LEN;
}

decode_checked!(Sync, |decoder| {
    let held: Vec<Held> = Decode::decode(decoder)?;
    let sync = Self {
        held,
        epoch: Decode::decode(decoder)?,
        first: Decode::decode(decoder)?,
        next: Decode::decode(decoder)?,
    };
    if sync.held.len() > EPOCHS_MAX {
        return Err(DecodeFailure::Other("too many epochs"));
    }
    if !sync.held.is_sorted_by(|a, b| a.epoch < b.epoch) {
        return Err(DecodeFailure::Other("epochs not in ascending order"));
    }
    if sync.first > sync.next {
        return Err(DecodeFailure::Other("first message after the next one"));
    }
    Ok(sync)
});

decode_checked!(Held, |decoder| {
    let held = Self {
        epoch: Decode::decode(decoder)?,
        contiguous: Decode::decode(decoder)?,
        read: Decode::decode(decoder)?,
        beyond: Decode::decode(decoder)?,
    };
    if held.read > held.contiguous {
        return Err(DecodeFailure::Other("read before it was stored"));
    }
    if held.beyond.len() > RANGES_MAX {
        return Err(DecodeFailure::Other("too many ranges"));
    }
    let mut end = held.contiguous;
    for range in &held.beyond {
        // Adjacent ranges would be one, so each starts after a gap.
        if range.start <= end || range.end <= range.start {
            return Err(DecodeFailure::Other("ranges that are not ascending and apart"));
        }
        end = range.end;
    }
    Ok(held)
});

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{DecodeError, decode, encode};
    use data_encoding::HEXLOWER;
    use proptest::prelude::*;

    const EPOCH: DeviceEpoch = DeviceEpoch(0x0102_0304_0506_0708);

    fn golden<B: Body + PartialEq + fmt::Debug>(body: B, hex: &str) {
        let bytes = encode(&body).unwrap();
        assert_eq!(HEXLOWER.encode(&bytes), hex.replace(' ', ""));
        assert_eq!(decode::<B>(&bytes), Ok(body));
    }

    fn sync(held: Vec<Held>) -> Sync {
        Sync { held, epoch: EPOCH, first: 2, next: 5 }
    }

    fn held(beyond: &[(u64, u64)]) -> Held {
        let beyond = beyond.iter().map(|(start, end)| SeqRange { start: *start, end: *end }).collect();
        Held { epoch: EPOCH, contiguous: 7, read: 3, beyond }
    }

    #[test]
    fn the_bytes_of_a_text() {
        let text =
            Text { epoch: EPOCH, seq: 9, sent_at: WallTime(0xabc), late: true, text: "h\u{e9}".into() };
        golden(text, "0102030405060708 0000000000000009 0000000000000abc 01 0000000000000003 68c3a9");
    }

    #[test]
    fn the_bytes_of_receipts() {
        let receipt = |state| Receipt { state, epoch: EPOCH, upto: 10 };
        golden(receipt(ReceiptState::Stored), "00000000 0102030405060708 000000000000000a");
        golden(receipt(ReceiptState::Read), "00000001 0102030405060708 000000000000000a");
    }

    #[test]
    fn the_bytes_of_a_sync() {
        golden(sync(vec![]), "0000000000000000 0102030405060708 0000000000000002 0000000000000005");
        golden(
            sync(vec![held(&[(8, 9)])]),
            "0000000000000001
             0102030405060708 0000000000000007 0000000000000003 0000000000000001 0000000000000008 0000000000000009
             0102030405060708 0000000000000002 0000000000000005"
                .split_whitespace()
                .collect::<String>()
                .as_str(),
        );
    }

    #[test]
    fn the_longest_text_fits_and_one_byte_more_does_not() {
        let text = |len| Text {
            epoch: EPOCH,
            seq: 0,
            sent_at: WallTime(0),
            late: false,
            text: "a".repeat(len).into(),
        };
        let longest = encode(&text(TEXT_MAX)).unwrap();
        assert_eq!(longest.len(), Text::MAX_LEN);
        assert!(decode::<Text>(&longest).is_ok());
        assert!(encode(&text(TEXT_MAX + 1)).is_err());
    }

    #[test]
    fn the_largest_sync_fits() {
        let ranges: Vec<_> = (0..RANGES_MAX as u64).map(|n| (10 + 2 * n, 11 + 2 * n)).collect();
        let epochs = (0..EPOCHS_MAX as u64).map(|n| Held { epoch: DeviceEpoch(n), ..held(&ranges) });
        let bytes = encode(&sync(epochs.collect())).unwrap();
        assert_eq!(bytes.len(), Sync::MAX_LEN);
        assert!(decode::<Sync>(&bytes).is_ok());
    }

    #[test]
    fn a_text_that_is_not_utf_8_is_refused() {
        let text = Text { epoch: EPOCH, seq: 0, sent_at: WallTime(0), late: false, text: "ab".into() };
        let mut bytes = encode(&text).unwrap();
        *bytes.last_mut().unwrap() = 0xff;
        assert_eq!(decode::<Text>(&bytes), Err(DecodeError::Malformed));
    }

    #[test]
    fn a_sync_that_breaks_a_rule_is_refused() {
        let too_many: Vec<_> = (0..=RANGES_MAX as u64).map(|n| (10 + 2 * n, 11 + 2 * n)).collect();
        let other = |n| Held { epoch: DeviceEpoch(n), ..held(&[]) };
        let bad = [
            Sync { first: 6, ..sync(vec![]) },
            sync(vec![other(2), other(1)]),
            sync(vec![other(1), other(1)]),
            sync((0..=EPOCHS_MAX as u64).map(other).collect()),
            sync(vec![Held { read: 8, ..held(&[]) }]),
            sync(vec![held(&[(7, 9)])]),
            sync(vec![held(&too_many)]),
            sync(vec![held(&[(9, 9)])]),
            sync(vec![held(&[(9, 10), (10, 11)])]),
            sync(vec![held(&[(12, 13), (9, 10)])]),
        ];
        for sync in bad {
            let bytes = encode(&sync).unwrap();
            assert_eq!(decode::<Sync>(&bytes), Err(DecodeError::Malformed), "{sync:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(body) = decode::<Text>(&bytes) {
                prop_assert_eq!(encode(&body).unwrap(), bytes.clone());
            }
            if let Ok(body) = decode::<Receipt>(&bytes) {
                prop_assert_eq!(encode(&body).unwrap(), bytes.clone());
            }
            if let Ok(body) = decode::<Sync>(&bytes) {
                prop_assert_eq!(encode(&body).unwrap(), bytes);
            }
        }
    }
}
