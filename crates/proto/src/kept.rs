//! What a machine keeps of direct conversations, as bytes. They are sealed before they rest, so they
//! come back as they were made, or not at all; still every decoder has the bounds of the wire.
//!
//! A conversation is a [`Head`] and a log of [`Entry`]s, in the order in which they became durable.
//! How far one's own messages got stands in the head, epoch by epoch, and not with each of them.

use crate::codec::{Body, Decode, DecodeFailure, Encode, decode_checked};
use crate::conversation::{DeviceEpoch, EPOCHS_MAX};
use crate::id::PeerId;
use crate::limits::TEXT_MAX;
use crate::time::WallTime;

/// Most epochs of this user's own that are told apart. There is a new one when a backup was put back
/// or the profile was copied to another machine, so this is years of it; of older ones all counts as
/// read.
pub const OWN_EPOCHS_MAX: usize = 64;

/// Most conversations of one user: as many as people can be pinned.
pub const CONVERSATIONS_MAX: usize = 10_000;

/// Bytes of what all pages of a store come to.
pub const SUM_LEN: usize = 16;

/// Who this installation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Installation {
    /// The epoch of its numbers.
    pub epoch: DeviceEpoch,
    /// What it knows its machine and its file by.
    pub mark: [u8; 32],
    /// What all other pages of its store come to: the exclusive or of a keyed hash of each.
    pub sum: [u8; SUM_LEN],
}

/// The same in the first layout, in which every page stood for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct FormerInstallation {
    /// The epoch of its numbers.
    pub epoch: DeviceEpoch,
    /// What it knows its machine and its file by.
    pub mark: [u8; 32],
}

/// With whom there are conversations, each once, in the order of their first messages.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
pub struct Directory {
    /// At most [`CONVERSATIONS_MAX`].
    pub peers: Vec<PeerId>,
}

/// How long messages of some conversations are kept; those of others for ever.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
pub struct Retention {
    /// Each peer once, at most [`CONVERSATIONS_MAX`].
    pub limits: Vec<KeptFor>,
}

/// See [`Retention`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct KeptFor {
    /// With whom the conversation is.
    pub peer: PeerId,
    /// For so long, in seconds.
    pub seconds: u64,
}

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Entry {
    /// Whether this user wrote it.
    pub mine: bool,
    /// The author's epoch.
    pub epoch: DeviceEpoch,
    /// Its number there.
    pub seq: u64,
    /// When it was written, by its author's clock.
    pub sent_at: WallTime,
    /// When it became durable here, by this side's clock.
    pub kept_at: WallTime,
    /// Whether it had to wait for a session. This user's own have that said elsewhere; of them, whether it was
    /// given up, see [`Self::is_given_up`].
    pub late: bool,
    /// Its text, at most [`TEXT_MAX`] bytes.
    pub text: String,
}

/// Everything about a conversation but its messages.
#[derive(Debug, Clone, PartialEq, Eq, Encode)]
pub struct Head {
    /// With whom.
    pub peer: PeerId,
    /// The epoch of this user's last message.
    pub epoch: DeviceEpoch,
    /// The number of the next one in it.
    pub next: u64,
    /// In it, only messages with a smaller number may have left for the other side, or were given up.
    pub handed: u64,
    /// How far this user's messages got, the epoch that was used last at the end; at most
    /// [`OWN_EPOCHS_MAX`].
    pub sent: Vec<EpochMarks>,
    /// How far the other side's messages got here, likewise; at most [`EPOCHS_MAX`].
    pub held: Vec<EpochMarks>,
    /// Where the log begins, in bytes since its first message ever.
    pub log_start: u64,
    /// Where it ends.
    pub log_end: u64,
    /// No message before this place waits to be stored by the other side.
    pub outbox_start: u64,
    /// Messages in the log.
    pub messages: u64,
}

/// The same in the first two layouts, which did not tell what had left.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct FormerHead {
    /// With whom.
    pub peer: PeerId,
    /// The epoch of this user's last message.
    pub epoch: DeviceEpoch,
    /// The number of the next one in it.
    pub next: u64,
    /// How far this user's messages got.
    pub sent: Vec<EpochMarks>,
    /// How far the other side's messages got here.
    pub held: Vec<EpochMarks>,
    /// Where the log begins.
    pub log_start: u64,
    /// Where it ends.
    pub log_end: u64,
    /// No message before this place waits to be stored by the other side.
    pub outbox_start: u64,
    /// Messages in the log.
    pub messages: u64,
}

/// How far messages of one epoch got at their receiver; see `Marks` of the conversations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct EpochMarks {
    /// The author's epoch.
    pub epoch: DeviceEpoch,
    /// All messages with a smaller number are stored.
    pub stored: u64,
    /// All messages with a smaller number were shown.
    pub read: u64,
}

impl Entry {
    /// Bytes of everything but the text itself: four integers, two flags and the text's length.
    const HEADER_LEN: usize = 4 * 8 + 2 + 8;
    /// Where `late` stands: behind the other flag and the integers.
    pub const LATE_AT: usize = 1 + 4 * 8;

    /// Whether this user wrote it, and nobody gets it any more.
    pub const fn is_given_up(&self) -> bool {
        self.mine && self.late
    }
}

impl Head {
    /// The head of a conversation in which nothing was said.
    pub const fn new(peer: PeerId, epoch: DeviceEpoch) -> Self {
        Self {
            peer,
            epoch,
            next: 0,
            handed: 0,
            sent: Vec::new(),
            held: Vec::new(),
            log_start: 0,
            log_end: 0,
            outbox_start: 0,
            messages: 0,
        }
    }

    /// How far this user's messages of `epoch` got.
    pub fn marks(&self, epoch: DeviceEpoch) -> Option<EpochMarks> {
        self.sent.iter().find(|marks| marks.epoch == epoch).copied()
    }
}

impl From<FormerHead> for Head {
    /// Any message may have left.
    fn from(former: FormerHead) -> Self {
        let FormerHead { peer, epoch, next, sent, held, log_start, log_end, outbox_start, messages } = former;
        let handed = next;
        Self { peer, epoch, next, handed, sent, held, log_start, log_end, outbox_start, messages }
    }
}

impl Body for Installation {
    const MAX_LEN: usize = 8 + 32 + SUM_LEN;
}

impl Body for FormerInstallation {
    const MAX_LEN: usize = 8 + 32;
}

impl Body for Directory {
    const MAX_LEN: usize = 8 + CONVERSATIONS_MAX * 32;
}

impl Body for Retention {
    const MAX_LEN: usize = 8 + CONVERSATIONS_MAX * (32 + 8);
}

impl Body for Entry {
    const MAX_LEN: usize = Self::HEADER_LEN + TEXT_MAX;
}

/// The peer, seven integers, and two lists with their lengths.
impl Body for Head {
    const MAX_LEN: usize = 32 + 7 * 8 + 2 * 8 + (OWN_EPOCHS_MAX + EPOCHS_MAX) * 3 * 8;
}

impl Body for FormerHead {
    const MAX_LEN: usize = Head::MAX_LEN - 8;
}

decode_checked!(Head, |decoder| {
    let head = Self {
        peer: Decode::decode(decoder)?,
        epoch: Decode::decode(decoder)?,
        next: Decode::decode(decoder)?,
        handed: Decode::decode(decoder)?,
        sent: Decode::decode(decoder)?,
        held: Decode::decode(decoder)?,
        log_start: Decode::decode(decoder)?,
        log_end: Decode::decode(decoder)?,
        outbox_start: Decode::decode(decoder)?,
        messages: Decode::decode(decoder)?,
    };
    if head.sent.len() > OWN_EPOCHS_MAX || head.held.len() > EPOCHS_MAX {
        return Err(DecodeFailure::Other("too many epochs"));
    }
    if head.log_start > head.outbox_start || head.outbox_start > head.log_end {
        return Err(DecodeFailure::Other("a log that ends before it begins"));
    }
    if head.handed > head.next {
        return Err(DecodeFailure::Other("what was not written cannot have left"));
    }
    Ok(head)
});

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{DecodeError, decode, encode};
    use data_encoding::HEXLOWER;
    use proptest::prelude::*;

    const EPOCH: DeviceEpoch = DeviceEpoch(0x0102_0304_0506_0708);

    fn entry(text: &str) -> Entry {
        let (sent_at, kept_at) = (WallTime(0xabc), WallTime(0xdef));
        Entry { mine: true, epoch: EPOCH, seq: 9, sent_at, kept_at, late: false, text: text.into() }
    }

    fn marks(n: u64) -> EpochMarks {
        EpochMarks { epoch: DeviceEpoch(n), stored: 4, read: 3 }
    }

    fn head() -> Head {
        Head {
            next: 5,
            handed: 4,
            sent: vec![marks(1)],
            held: vec![marks(2)],
            log_start: 1,
            outbox_start: 2,
            log_end: 3,
            messages: 7,
            ..Head::new(PeerId([0xee; 32]), EPOCH)
        }
    }

    #[test]
    fn the_bytes_of_an_entry() {
        let bytes = encode(&entry("h\u{e9}")).unwrap();
        let hex = "01 0102030405060708 0000000000000009 0000000000000abc 0000000000000def 00 \
                   0000000000000003 68c3a9";
        assert_eq!(HEXLOWER.encode(&bytes), hex.replace(' ', ""));
        assert_eq!(decode(&bytes), Ok(entry("h\u{e9}")));
        let mut given_up = bytes;
        given_up[Entry::LATE_AT] = 1;
        assert_eq!(decode(&given_up), Ok(Entry { late: true, ..entry("h\u{e9}") }));
    }

    #[test]
    fn the_bytes_of_a_head() {
        let bytes = encode(&head()).unwrap();
        let marks = |n| format!("000000000000000{n} 0000000000000004 0000000000000003");
        let hex = format!(
            "{} 0102030405060708 0000000000000005 0000000000000004 0000000000000001 {} 0000000000000001 {} \
             0000000000000001 0000000000000003 0000000000000002 0000000000000007",
            "ee".repeat(32),
            marks(1),
            marks(2)
        );
        assert_eq!(HEXLOWER.encode(&bytes), hex.replace(' ', ""));
        assert_eq!(decode(&bytes), Ok(head()));
        let former = hex.replacen("0000000000000004 ", "", 1).replace(' ', "");
        let former: FormerHead = decode(&HEXLOWER.decode(former.as_bytes()).unwrap()).unwrap();
        assert_eq!(Head::from(former), Head { handed: 5, ..head() });
    }

    #[test]
    fn the_largest_of_each_fit_and_more_does_not() {
        let longest = encode(&entry(&"a".repeat(TEXT_MAX))).unwrap();
        assert_eq!(longest.len(), Entry::MAX_LEN);
        assert!(encode(&entry(&"a".repeat(TEXT_MAX + 1))).is_err());
        let sent = vec![marks(1); OWN_EPOCHS_MAX];
        let full = Head { sent, held: vec![marks(2); EPOCHS_MAX], ..head() };
        let bytes = encode(&full).unwrap();
        assert_eq!(bytes.len(), Head::MAX_LEN);
        assert_eq!(decode(&bytes), Ok(full));
        assert!(decode::<FormerHead>(&bytes).is_err());
    }

    #[test]
    fn the_bytes_of_how_long_messages_are_kept() {
        let all = Retention { limits: vec![KeptFor { peer: PeerId([0xee; 32]), seconds: 60 }] };
        let bytes = encode(&all).unwrap();
        let hex = format!("0000000000000001{}000000000000003c", "ee".repeat(32));
        assert_eq!((HEXLOWER.encode(&bytes), decode(&bytes)), (hex, Ok(all)));
        let full =
            Retention { limits: vec![KeptFor { peer: PeerId([1; 32]), seconds: 1 }; CONVERSATIONS_MAX] };
        assert_eq!(encode(&full).unwrap().len(), Retention::MAX_LEN);
    }

    #[test]
    fn a_head_that_breaks_a_rule_is_refused() {
        let bad = [
            Head {
                sent: vec![marks(1); OWN_EPOCHS_MAX - EPOCHS_MAX],
                held: vec![marks(1); EPOCHS_MAX + 1],
                ..head()
            },
            Head { log_start: 3, ..head() },
            Head { outbox_start: 4, ..head() },
            Head { handed: 6, ..head() },
        ];
        for head in bad {
            assert_eq!(decode::<Head>(&encode(&head).unwrap()), Err(DecodeError::Malformed), "{head:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(body) = decode::<Entry>(&bytes) {
                prop_assert_eq!(encode(&body).unwrap(), bytes.clone());
            }
            if let Ok(body) = decode::<Head>(&bytes) {
                prop_assert_eq!(encode(&body).unwrap(), bytes);
            }
        }
    }
}
