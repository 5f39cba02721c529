//! Bodies on the control stream that steer file transfers.
//!
//! In the order in which they come when all goes well: the sender's [`FileOffer`], the receiver's
//! [`FileAnswer`], a [`FileCandidates`] of each side, the content over a carrier (see
//! [`crate::carrier`]), the sender's [`FileDone`], the receiver's [`FileVerified`]. Where a carrier
//! breaks, the receiver asks for another with [`FileCarrier`]; [`FileFailed`] and [`FileCancel`]
//! end a transfer from either side.
//!
//! Every body may come twice: a session that was lost is made again, and each side then repeats
//! what the other may not have heard. None of them means more the second time.

use core::fmt;
use core::net::SocketAddr;

use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::broker::Reason;
use crate::codec::{self, Body, Decode, DecodeError, DecodeFailure, Encode, EncodeError, decode_checked};
use crate::endpoint::UdpEndpoints;
use crate::id::TransferId;
use crate::limits::{ENDPOINTS_MAX, REASON_MAX};
use crate::text::cut;

/// Bytes of content in one chunk; only the last of a transfer may be shorter (protocol section 12).
/// A power of two of BLAKE3's own chunks of 1,024 bytes, so each is a whole subtree.
pub const CHUNK_LEN: usize = 256 * 1024;
/// Most names that an offer shows; the rest stands in the manifest (protocol section 7).
pub const OFFERED_NAMES_MAX: usize = 16;
/// Most bytes of one offered name: 255 bytes is the longest that common file systems keep, and
/// three times that where each byte that is no UTF-8 became U+FFFD; rounded up.
pub const OFFERED_NAME_MAX: usize = 1024;
/// Most entries of a manifest (protocol section 7).
pub const ENTRIES_MAX: u32 = 100_000;
/// Most hashes in one [`FileDone`], 32 KiB of them; more files take more bodies.
pub const DONE_HASHES_MAX: usize = 1024;
/// Most bytes of content in one transfer: what a file offset of POSIX (`off_t`, 63 bits) can say.
pub const TOTAL_MAX: u64 = i64::MAX as u64;

/// Cap of the bodies that hold an id, a few numbers, a secret or a reason.
const SMALL: usize = REASON_MAX + 128;
/// Cap of [`FileOffer`]: its names with their lengths, and the fields before and after them.
const OFFER: usize = OFFERED_NAMES_MAX * (OFFERED_NAME_MAX + 8) + 128;
/// Cap of [`FileCandidates`]: IPv6 addresses are 27 bytes at most, and the list has a length.
const CANDIDATES: usize = ENDPOINTS_MAX * 32 + 64;
/// Cap of [`FileDone`].
const DONE: usize = DONE_HASHES_MAX * 32 + 64;

/// One enum over the bodies, with the kind byte of each.
macro_rules! transfer_bodies {
    ($($kind:literal $body:ident $cap:ident,)*) => {
        /// A body on the control stream that belongs to a transfer.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum TransferBody {
            $(#[doc = concat!("See [`", stringify!($body), "`].")] $body($body),)*
        }

        impl TransferBody {
            /// Kind byte and bytes of this body.
            ///
            /// # Errors
            /// If the body exceeds the cap of its kind.
            pub fn to_bytes(&self) -> Result<(u8, Vec<u8>), EncodeError> {
                match self {
                    $(Self::$body(body) => Ok(($kind, codec::encode(body)?)),)*
                }
            }

            /// The body of kind `kind` in `bytes`; `None` for a kind that is none of a transfer's.
            ///
            /// # Errors
            /// See [`DecodeError`].
            pub fn from_bytes(kind: u8, bytes: &[u8]) -> Result<Option<Self>, DecodeError> {
                match kind {
                    $($kind => codec::decode(bytes).map(|body| Some(Self::$body(body))),)*
                    _ => Ok(None),
                }
            }

            /// Which transfer it belongs to.
            pub fn transfer(&self) -> TransferId {
                match self {
                    $(Self::$body(body) => body.transfer,)*
                }
            }
        }

        $(impl Body for $body {
            const MAX_LEN: usize = $cap;
        }

        impl From<$body> for TransferBody {
            fn from(body: $body) -> Self {
                Self::$body(body)
            }
        })*
    };
}

transfer_bodies! {
    0x20 FileOffer OFFER,
    0x21 FileAnswer SMALL,
    0x22 FileCandidates CANDIDATES,
    0x23 FileCarrier SMALL,
    0x24 FileDone DONE,
    0x25 FileVerified SMALL,
    0x26 FileFailed SMALL,
    0x27 FileCancel SMALL,
}

/// "I have this for you." From the sender.
#[derive(Debug, Clone, PartialEq, Eq, Encode)]
pub struct FileOffer {
    /// Drawn at random by the sender.
    pub transfer: TransferId,
    /// How many files, at least one and at most [`ENTRIES_MAX`].
    pub count: u32,
    /// Bytes of all of them together, at most [`TOTAL_MAX`].
    pub total: u64,
    /// Names of the first ones, at most [`OFFERED_NAMES_MAX`].
    pub names: Vec<OfferedName>,
    /// BLAKE3 of the manifest that follows on a bulk stream. `None` where this offer says all
    /// there is to say: one file, whose size is `total`.
    pub manifest: Option<[u8; 32]>,
}

decode_checked!(FileOffer, |decoder| {
    let transfer = Decode::decode(decoder)?;
    let count: u32 = Decode::decode(decoder)?;
    let total: u64 = Decode::decode(decoder)?;
    let names: Vec<OfferedName> = Decode::decode(decoder)?;
    if !(1..=ENTRIES_MAX).contains(&count) {
        return Err(DecodeFailure::Other("count out of bounds"));
    }
    if total > TOTAL_MAX {
        return Err(DecodeFailure::Other("total out of bounds"));
    }
    let named = u32::try_from(names.len()).unwrap_or(u32::MAX);
    if named == 0 || names.len() > OFFERED_NAMES_MAX || named > count {
        return Err(DecodeFailure::Other("names out of bounds"));
    }
    Ok(Self { transfer, count, total, names, manifest: Decode::decode(decoder)? })
});

/// A file's name as the sender calls it: bounded, unsanitised, good for nothing but to be parsed
/// into a safe one and to be shown through a sanitiser.
#[derive(Debug, Clone, PartialEq, Eq, Encode)]
pub struct OfferedName(String);

impl OfferedName {
    /// `name`, cut at [`OFFERED_NAME_MAX`] bytes on a character boundary.
    pub fn new(name: &str) -> Self {
        Self(cut(name, OFFERED_NAME_MAX).to_owned())
    }

    /// The name as it came.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

decode_checked!(OfferedName, |decoder| {
    let name: String = Decode::decode(decoder)?;
    if name.len() > OFFERED_NAME_MAX { Err(DecodeFailure::Other("name too long")) } else { Ok(Self(name)) }
});

/// Answers a [`FileOffer`]. From the receiver.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct FileAnswer {
    /// Which.
    pub transfer: TransferId,
    /// How.
    pub answer: OfferAnswer,
}

/// Yes with what is needed to begin, or no.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum OfferAnswer {
    /// Yes.
    Accept {
        /// Which of the offered files.
        entries: Entries,
        /// The carrier to begin with. Repeated over a new session it may name a later attempt.
        carrier: CarrierTerms,
    },
    /// No.
    Decline {
        /// Why.
        why: DeclineReason,
    },
}

/// Which of the offered files the receiver wants.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Entries {
    /// All.
    All,
}

/// Why an offer was declined.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum DeclineReason {
    /// A person said no, and perhaps why.
    Person(Reason),
    /// The receiver takes no files from the sender.
    Policy,
    /// The offer asks for something that the receiver does not understand.
    Unsupported,
    /// Too many offers of the sender wait for an answer.
    TooManyOffers,
}

impl fmt::Display for DeclineReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Person(reason) if reason.as_str().is_empty() => "declined",
            Self::Person(reason) => reason.as_str(),
            Self::Policy => "takes no files",
            Self::Unsupported => "cannot take this kind of offer",
            Self::TooManyOffers => "too many offers wait for an answer",
        })
    }
}

/// What both sides need for one attempt at a carrier.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct CarrierTerms {
    /// Which attempt; each is higher than the one before.
    pub attempt: Attempt,
    /// What the receiver holds already.
    pub have: Held,
    /// Fresh for each attempt.
    pub secret: SecretBytes,
}

/// Number of an attempt at a carrier within one transfer, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Encode, Decode)]
pub struct Attempt(pub u32);

/// What a receiver holds of a transfer, in chunks of [`CHUNK_LEN`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Held {
    /// So many chunks from the start, without a gap.
    Prefix(u64),
}

/// 32 random bytes that only the two sides may know: zeroized on drop, never shown.
#[derive(Clone, PartialEq, Eq, Encode, Zeroize, ZeroizeOnDrop)]
pub struct SecretBytes([u8; 32]);

impl SecretBytes {
    /// Takes `bytes` as a secret.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes, to be handed to a key schedule.
    pub const fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

decode_checked!(SecretBytes, |decoder| Ok(Self(Decode::decode(decoder)?)));

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretBytes(..)")
    }
}

/// Where one side listens for the carrier of one attempt. From either side, as more are found
/// more than once.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct FileCandidates {
    /// Which transfer.
    pub transfer: TransferId,
    /// Which attempt: candidates of an earlier one are stale.
    pub attempt: Attempt,
    /// Where.
    pub list: TcpCandidates,
}

/// At most [`ENDPOINTS_MAX`] TCP addresses, each of which may be dialled.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
pub struct TcpCandidates(UdpEndpoints);

impl TcpCandidates {
    /// The dialable ones among `candidates`, in order, without repetition, cut at the cap.
    pub fn new(candidates: impl IntoIterator<Item = SocketAddr>) -> Self {
        Self(UdpEndpoints::new(candidates))
    }

    /// The addresses.
    pub fn as_slice(&self) -> &[SocketAddr] {
        self.0.as_slice()
    }
}

/// Asks for a further attempt at a carrier. From the receiver.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct FileCarrier {
    /// Which transfer.
    pub transfer: TransferId,
    /// On these terms.
    pub carrier: CarrierTerms,
}

/// All of the content went out; these are its hashes. From the sender.
#[derive(Debug, Clone, PartialEq, Eq, Encode)]
pub struct FileDone {
    /// Which transfer.
    pub transfer: TransferId,
    /// Entry that the first hash belongs to, from 0.
    pub first: u32,
    /// BLAKE3 of each file from `first` on, at least one and at most [`DONE_HASHES_MAX`].
    pub hashes: Vec<[u8; 32]>,
}

decode_checked!(FileDone, |decoder| {
    let transfer = Decode::decode(decoder)?;
    let first = Decode::decode(decoder)?;
    let hashes: Vec<[u8; 32]> = Decode::decode(decoder)?;
    if !(1..=DONE_HASHES_MAX).contains(&hashes.len()) {
        return Err(DecodeFailure::Other("hashes out of bounds"));
    }
    Ok(Self { transfer, first, hashes })
});

/// The hashes are those of the content that came, and it lies under its final name. From the receiver.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct FileVerified {
    /// Which transfer.
    pub transfer: TransferId,
}

/// The transfer ended without the content. From either side.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct FileFailed {
    /// Which transfer.
    pub transfer: TransferId,
    /// Why.
    pub why: FailureReason,
}

/// Why a transfer ended without the content, as far as the other side is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum FailureReason {
    /// The hashes differ.
    Corrupt,
    /// No carrier could be made, or too many broke.
    Broken,
    /// The receiver has no room left.
    DiskFull,
    /// The receiver could not write.
    NotWritable,
    /// The source changed while it was sent.
    SourceChanged,
    /// The sender could not read.
    NotReadable,
    /// The side that says so knows no such transfer.
    Unknown,
}

impl fmt::Display for FailureReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Corrupt => "the hashes differ",
            Self::Broken => "no connection lasted",
            Self::DiskFull => "no room left",
            Self::NotWritable => "could not write the file",
            Self::SourceChanged => "the file changed while it was sent",
            Self::NotReadable => "could not read the file",
            Self::Unknown => "knows no such transfer",
        })
    }
}

/// A person took the transfer back. From either side.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct FileCancel {
    /// Which transfer.
    pub transfer: TransferId,
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;
    use proptest::prelude::*;

    use super::*;

    const TRANSFER: TransferId = TransferId([0xaa; 16]);
    const AA: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    fn terms(attempt: u32) -> CarrierTerms {
        CarrierTerms { attempt: Attempt(attempt), have: Held::Prefix(3), secret: SecretBytes::new([7; 32]) }
    }

    /// Kind, hexadecimal bytes, body.
    fn golden() -> Vec<(u8, String, TransferBody)> {
        let sevens = "07".repeat(32);
        let hash = "09".repeat(32);
        vec![
            (
                0x20,
                format!("{AA}00000001000000000000000500000000000000010000000000000005612e6d703300"),
                FileOffer {
                    transfer: TRANSFER,
                    count: 1,
                    total: 5,
                    names: vec![OfferedName::new("a.mp3")],
                    manifest: None,
                }
                .into(),
            ),
            (
                0x20,
                format!(
                    "{AA}000000020000000000000005000000000000000200000000000000016100000000000000016201{hash}"
                ),
                FileOffer {
                    transfer: TRANSFER,
                    count: 2,
                    total: 5,
                    names: vec![OfferedName::new("a"), OfferedName::new("b")],
                    manifest: Some([9; 32]),
                }
                .into(),
            ),
            (
                0x21,
                format!("{AA}000000000000000000000000000000000000000000000003{sevens}"),
                FileAnswer {
                    transfer: TRANSFER,
                    answer: OfferAnswer::Accept { entries: Entries::All, carrier: terms(0) },
                }
                .into(),
            ),
            (
                0x21,
                format!("{AA}000000010000000000000000000000026e6f"),
                FileAnswer {
                    transfer: TRANSFER,
                    answer: OfferAnswer::Decline { why: DeclineReason::Person(Reason::new("no")) },
                }
                .into(),
            ),
            (
                0x22,
                format!(
                    "{AA}000000020000000000000002 00000000 0a000001 1e61 00000001 {} 1e61",
                    "20010db8000000000000000000000001"
                ),
                FileCandidates {
                    transfer: TRANSFER,
                    attempt: Attempt(2),
                    list: TcpCandidates::new(
                        ["10.0.0.1:7777", "[2001:db8::1]:7777"].map(|a| a.parse().unwrap()),
                    ),
                }
                .into(),
            ),
            (
                0x23,
                format!("{AA}00000001000000000000000000000003{sevens}"),
                FileCarrier { transfer: TRANSFER, carrier: terms(1) }.into(),
            ),
            (
                0x24,
                format!("{AA}000000000000000000000001{hash}"),
                FileDone { transfer: TRANSFER, first: 0, hashes: vec![[9; 32]] }.into(),
            ),
            (0x25, AA.to_owned(), FileVerified { transfer: TRANSFER }.into()),
            (
                0x26,
                format!("{AA}00000002"),
                FileFailed { transfer: TRANSFER, why: FailureReason::DiskFull }.into(),
            ),
            (0x27, AA.to_owned(), FileCancel { transfer: TRANSFER }.into()),
        ]
    }

    #[test]
    fn every_body_has_the_bytes_that_version_1_fixes() {
        for (kind, hex, body) in golden() {
            let (came, bytes) = body.to_bytes().unwrap();
            assert_eq!((came, HEXLOWER.encode(&bytes)), (kind, hex.replace(' ', "")), "{body:?}");
            assert_eq!(TransferBody::from_bytes(kind, &bytes), Ok(Some(body.clone())));
            assert_eq!(body.transfer(), TRANSFER);
        }
    }

    #[test]
    fn a_truncated_or_lengthened_body_is_refused() {
        for (kind, _, body) in golden() {
            let (_, mut bytes) = body.to_bytes().unwrap();
            for len in 0..bytes.len() {
                assert!(TransferBody::from_bytes(kind, &bytes[..len]).is_err(), "{body:?} cut at {len}");
            }
            bytes.push(0);
            assert!(TransferBody::from_bytes(kind, &bytes).is_err(), "{body:?} with a byte more");
        }
    }

    #[test]
    fn an_unknown_kind_is_no_body_and_no_error() {
        assert_eq!(TransferBody::from_bytes(0x28, &[1, 2, 3]), Ok(None));
    }

    #[test]
    fn an_offer_out_of_bounds_is_refused() {
        let good = FileOffer {
            transfer: TRANSFER,
            count: 16,
            total: TOTAL_MAX,
            names: vec![OfferedName::new(&"n".repeat(2 * OFFERED_NAME_MAX)); OFFERED_NAMES_MAX],
            manifest: Some([1; 32]),
        };
        let bytes = codec::encode(&good).unwrap();
        assert_eq!(codec::decode(&bytes), Ok(good.clone()));
        let bad = [
            FileOffer { count: 0, ..good.clone() },
            FileOffer { count: ENTRIES_MAX + 1, ..good.clone() },
            FileOffer { count: 15, ..good.clone() },
            FileOffer { total: TOTAL_MAX + 1, ..good.clone() },
            FileOffer { names: vec![], ..good.clone() },
            FileOffer { count: 20, names: vec![OfferedName::new("n"); 17], ..good.clone() },
            FileOffer { names: vec![OfferedName("n".repeat(OFFERED_NAME_MAX + 1))], ..good },
        ];
        for offer in bad {
            let bytes = codec::encode(&offer).unwrap();
            assert_eq!(codec::decode::<FileOffer>(&bytes), Err(DecodeError::Malformed), "{offer:?}");
        }
    }

    #[test]
    fn the_largest_done_and_candidates_fit_their_caps_and_an_empty_done_does_not_decode() {
        let done = FileDone { transfer: TRANSFER, first: 0, hashes: vec![[1; 32]; DONE_HASHES_MAX] };
        assert_eq!(codec::decode(&codec::encode(&done).unwrap()), Ok(done.clone()));
        let empty = codec::encode(&FileDone { hashes: vec![], ..done }).unwrap();
        assert_eq!(codec::decode::<FileDone>(&empty), Err(DecodeError::Malformed));
        let list = TcpCandidates::new((1..=9).map(|p| SocketAddr::from(([0xfd00, 0, 0, 0, 0, 0, 0, 1], p))));
        assert_eq!(list.as_slice().len(), ENDPOINTS_MAX);
        let full = FileCandidates { transfer: TRANSFER, attempt: Attempt(u32::MAX), list };
        assert_eq!(codec::decode(&codec::encode(&full).unwrap()), Ok(full));
    }

    #[test]
    fn a_secret_does_not_show_itself() {
        assert_eq!(format!("{:?}", SecretBytes::new([0x5a; 32])), "SecretBytes(..)");
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_decoder_panic(
            kind in 0x1fu8..0x2a,
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            // A list of candidates is filtered on its way in.
            if let Ok(Some(body)) = TransferBody::from_bytes(kind, &bytes)
                && !matches!(body, TransferBody::FileCandidates(_))
            {
                prop_assert_eq!(body.to_bytes().unwrap(), (kind, bytes));
            }
        }
    }
}
