//! What a client and its broker say to each other, inside the records of the Noise NX link.
//!
//! A record's plaintext is `kind u8 | call u32 | body`. A client numbers its calls; the answer to
//! a call carries its number, and what the broker says by itself carries 0. A kind that the
//! receiver does not know is answered with [`Unsupported`] and changes nothing, so new kinds can
//! come without a new version.

use core::fmt;

use crate::codec::{self, Body, Decode, DecodeError, DecodeFailure, Encode, EncodeError, decode_checked};
use crate::id::{BrokerKey, PeerId, RequestId};
use crate::limits::{LINK_RECORD_MAX, OFFER_BODY_MAX, REASON_MAX, SEALED_ENDPOINTS_MAX};
use crate::name::{NAME_MAX_LEN, Name};
use crate::offer::SignedOffer;
use crate::standing::Standing;
pub use crate::succession::{Rotate, Succeeded, SuccessionOf};
use crate::text::cut;
use crate::time::WallTime;

/// Prologue of the Noise NX handshake of the link.
pub const LINK_PROLOGUE: &[u8] = b"p2pchat 1 broker";
/// Bytes before a body: kind and call number.
pub const LINK_HEADER_LEN: usize = 5;
/// Most entries of one page of the directory.
pub const DIRECTORY_PAGE: usize = 256;
/// Most peers that one client watches (protocol section 2).
pub const WATCH_MAX: usize = 2000;
/// Most peers that a client puts into one `Watch`, and a broker into one `PresenceSnapshot`: 36 bytes
/// each stay within a record.
pub const WATCH_BATCH: usize = 1000;
/// Most protocol versions that a `Hello` lists.
pub const VERSIONS_MAX: usize = 16;
/// Of a broker: it takes [`Profile`]. Of a client: it understands every [`Status`].
pub const FEATURE_STANDING: u64 = 1;
/// Of a client: to others it is not there before its first [`Profile`] came.
pub const FEATURE_HELD_BACK: u64 = 1 << 1;
/// Most bytes of a token for registration.
pub const TOKEN_MAX: usize = 256;

/// Cap of the small bodies: keys, names, ids, a signature.
const SMALL: usize = 1024;
/// Cap of bodies that carry one offer and sealed endpoints.
const OFFERING: usize = OFFER_BODY_MAX + SEALED_ENDPOINTS_MAX + 512;
/// Cap of bodies that carry a list: what a record leaves them.
const LISTING: usize = LINK_RECORD_MAX - 16 - LINK_HEADER_LEN;

/// Number of a client's call; 0 where the broker speaks by itself.
pub type Call = u32;

/// A record that could not be taken as a message. The sender's act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkError {
    /// Shorter than its header.
    Short,
    /// A kind from a later version: to be answered with [`Unsupported`].
    UnknownKind {
        /// The kind.
        kind: u8,
        /// The call that it belongs to.
        call: Call,
    },
    /// A known kind with a body that it may not have.
    Body(DecodeError),
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short => f.write_str("record without a header"),
            Self::UnknownKind { kind, .. } => write!(f, "unknown kind {kind:#04x}"),
            Self::Body(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for LinkError {}

/// One enum over the bodies of one direction, with the kind byte of each.
macro_rules! link_messages {
    ($(#[$doc:meta])* $direction:ident { $($kind:literal $body:ident,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum $direction {
            $(#[doc = concat!("See [`", stringify!($body), "`].")] $body($body),)*
        }

        impl $direction {
            /// The plaintext of a record.
            ///
            /// # Errors
            /// If the body exceeds the cap of its kind.
            pub fn to_record(&self, call: Call) -> Result<Vec<u8>, EncodeError> {
                let (kind, body): (u8, Vec<u8>) = match self {
                    $(Self::$body(body) => ($kind, codec::encode(body)?),)*
                };
                let mut record = Vec::with_capacity(LINK_HEADER_LEN.saturating_add(body.len()));
                record.push(kind);
                record.extend(call.to_be_bytes());
                record.extend(body);
                Ok(record)
            }

            /// The message in the plaintext of a record.
            ///
            /// # Errors
            /// See [`LinkError`].
            pub fn from_record(record: &[u8]) -> Result<(Call, Self), LinkError> {
                let Some((&[kind, a, b, c, d], body)) = record.split_first_chunk::<LINK_HEADER_LEN>() else {
                    return Err(LinkError::Short);
                };
                let call = Call::from_be_bytes([a, b, c, d]);
                let message = match kind {
                    $($kind => Self::$body(codec::decode(body).map_err(LinkError::Body)?),)*
                    kind => return Err(LinkError::UnknownKind { kind, call }),
                };
                Ok((call, message))
            }
        }

        $(impl From<$body> for $direction {
            fn from(body: $body) -> Self {
                Self::$body(body)
            }
        })*
    };
}

link_messages! {
    /// What a client says.
    ToBroker {
        0x01 Hello,
        0x02 Register,
        0x03 Unregister,
        0x04 Directory,
        0x05 Watch,
        0x06 Request,
        0x07 Cancel,
        0x08 Answer,
        0x09 Endpoints,
        0x0a Ping,
        0x0b Bye,
        0x0c Rotate,
        0x0d SuccessionOf,
        0x0e Profile,
        0x0f Unsupported,
    }
}

link_messages! {
    /// What a broker says.
    FromBroker {
        0x81 Welcome,
        0x82 Refused,
        0x83 Reply,
        0x84 PresenceSnapshot,
        0x85 PresenceDelta,
        0x86 Incoming,
        0x87 Answered,
        0x88 Endpoints,
        0x89 Cancelled,
        0x8a Replaced,
        0x8b Restarting,
        0x8c Pong,
        0x8d Succeeded,
        0x8f Unsupported,
    }
}

macro_rules! caps {
    ($($body:ident $cap:expr,)*) => { $(impl Body for $body { const MAX_LEN: usize = $cap; })* };
}

caps! {
    Hello SMALL, Register SMALL, Unregister SMALL, Directory SMALL, Watch LISTING, Request OFFERING,
    Cancel SMALL, Answer OFFERING, Endpoints SMALL, Ping SMALL, Bye SMALL, Profile SMALL, Unsupported SMALL,
    Welcome SMALL, Refused SMALL, Reply LISTING, PresenceSnapshot LISTING, PresenceDelta SMALL,
    Incoming OFFERING, Answered OFFERING, Cancelled SMALL, Replaced SMALL, Restarting SMALL, Pong SMALL,
    Rotate SMALL, SuccessionOf SMALL, Succeeded OFFERING,
}

/// Bytes of at most `MAX`, opaque to whoever carries them.
#[derive(Clone, PartialEq, Eq, Hash, Encode)]
pub struct Opaque<const MAX: usize>(Vec<u8>);

impl<const MAX: usize> Opaque<MAX> {
    /// The bytes, if they are not too many.
    pub fn new(bytes: Vec<u8>) -> Option<Self> {
        (bytes.len() <= MAX).then_some(Self(bytes))
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }
}

decode_checked!(const MAX: usize, Opaque<MAX>, |decoder| {
    Self::new(Decode::decode(decoder)?).ok_or(DecodeFailure::Other("too long"))
});

impl<const MAX: usize> fmt::Debug for Opaque<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// Endpoints, sealed by one peer for the other; see `p2pchat_crypto::introduction`.
pub type SealedEndpoints = Opaque<SEALED_ENDPOINTS_MAX>;

/// What a person gave as a reason: bounded, unsanitised.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode)]
pub struct Reason(String);

impl Reason {
    /// `text`, cut at [`REASON_MAX`] bytes on a character boundary.
    pub fn new(text: &str) -> Self {
        Self(cut(text, REASON_MAX).to_owned())
    }

    /// The text as it came.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

decode_checked!(Reason, |decoder| {
    let text: String = Decode::decode(decoder)?;
    if text.len() > REASON_MAX { Err(DecodeFailure::Other("too long")) } else { Ok(Self(text)) }
});

/// First message of a client on a link: who it is, proven for this link only.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Hello {
    /// Protocol versions that the client speaks, best first.
    pub versions: Vec<u8>,
    /// What else it understands: [`FEATURE_STANDING`], [`FEATURE_HELD_BACK`].
    pub features: u64,
    /// Its identity.
    pub peer: PeerId,
    /// Ed25519 over the label `p2pchat 1 hello`, the link's handshake hash and the broker's key.
    pub signature: [u8; 64],
}

/// Binds a name to the identity of this link: first come, first served.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Register {
    /// The name.
    pub name: Name,
    /// Where the broker asks for one.
    pub token: Option<Opaque<TOKEN_MAX>>,
}

/// Gives the name of this identity up; it stays reserved for the identity.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Unregister;

/// Asks for one page of public, visible users in the order of their names.
#[derive(Debug, Clone, PartialEq, Eq, Encode)]
pub struct Directory {
    /// Only names that begin so; at most [`NAME_MAX_LEN`] bytes.
    pub prefix: String,
    /// Only names after this one.
    pub cursor: Option<Name>,
}

decode_checked!(Directory, |decoder| {
    let prefix: String = Decode::decode(decoder)?;
    if prefix.len() > NAME_MAX_LEN {
        return Err(DecodeFailure::Other("prefix too long"));
    }
    Ok(Self { prefix, cursor: Decode::decode(decoder)? })
});

/// Changes the roster whose presence the client wants to hear of.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Watch {
    /// To hear of from now on; answered by a [`PresenceSnapshot`].
    pub add: Vec<PeerId>,
    /// To hear of no longer.
    pub remove: Vec<PeerId>,
}

/// Asks somebody for a chat.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Request {
    /// The request's id, repeated in the offer.
    pub request: RequestId,
    /// The pinned identity, or `None` where only the name is known.
    pub to: Option<PeerId>,
    /// The name under which the person was asked for. With `to`: when the name is bound to another
    /// key, the reply is [`Outcome::BoundTo`] and nothing is forwarded.
    pub name: Option<Name>,
    /// The offer.
    pub offer: SignedOffer,
}

/// Takes a request back.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Cancel {
    /// Which.
    pub request: RequestId,
}

/// Answers a request.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Answer {
    /// Which.
    pub request: RequestId,
    /// How.
    pub answer: AnswerBody,
}

/// Yes with what is needed to meet, or no.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum AnswerBody {
    /// Yes.
    Accept {
        /// The accepting side's offer.
        offer: SignedOffer,
        /// Its endpoints.
        endpoints: SealedEndpoints,
    },
    /// No.
    Decline {
        /// What the person said, if anything.
        reason: Reason,
    },
}

/// Endpoints of either side after the acceptance; may repeat as more are found.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Endpoints {
    /// Which request.
    pub request: RequestId,
    /// Sealed for the other side.
    pub sealed: SealedEndpoints,
}

/// Heartbeat of the client, every 15 s.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Ping;

/// The client leaves on purpose.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Bye;

/// How the client stands towards others from now on. Those whom it watches count as its contacts.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Profile {
    /// That.
    pub standing: Standing,
}

/// Answer to a kind that this side does not know.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Unsupported {
    /// That kind.
    pub kind: u8,
}

/// The login was right.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Welcome {
    /// The version that the broker chose.
    pub version: u8,
    /// The broker's clock, by which the client corrects its own.
    pub now: WallTime,
    /// What else the broker understands: [`FEATURE_STANDING`].
    pub features: u64,
    /// The key that this broker will have next, where a change is planned.
    pub next_key: Option<BrokerKey>,
}

/// The link ends, and why.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Refused {
    /// Why.
    pub code: RefusedCode,
    /// Seconds after which another try makes sense; 0 where none does.
    pub retry_after: u32,
}

/// Why a broker ends a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum RefusedCode {
    /// No version in common.
    Version,
    /// The signature of the hello is wrong.
    Signature,
    /// As many connections as the broker takes.
    Full,
    /// Too many tries from this address.
    RateLimited,
    /// A message that may not come here, or a malformed one.
    Protocol,
}

/// Answer to a call.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Reply {
    /// How it went.
    pub outcome: Outcome,
}

/// How a call went.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Outcome {
    /// Done: registered on disk, request forwarded, answer forwarded, roster changed.
    Done,
    /// A page of the directory.
    Page {
        /// Who is there, in the order of names, at most [`DIRECTORY_PAGE`].
        people: Vec<DirectoryEntry>,
        /// Whether there are more.
        more: bool,
    },
    /// `Register`: the name belongs to another identity.
    NameTaken,
    /// `Register`: this identity already holds another name.
    NameHeld(Name),
    /// `Request`: nobody of that name or identity, or none who would take it.
    Unknown,
    /// `Request`: known and public, but not online.
    NotOnline,
    /// `Request` with both: the name belongs to this other identity.
    BoundTo(PeerId),
    /// `Answer`, `Cancel`, `Endpoints`: no such open request of this client.
    NoSuchRequest,
    /// Too many of these calls; seconds to wait.
    RateLimited(u32),
    /// The broker could not store it.
    Unavailable,
}

/// One person in the directory.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct DirectoryEntry {
    /// The name.
    pub name: Name,
    /// The identity that holds it.
    pub peer: PeerId,
    /// Whether and how it is there.
    pub status: Status,
}

/// What others see of somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Status {
    /// Not there.
    Offline,
    /// There.
    Online,
    /// There, but not at the machine. Only said to a client with [`FEATURE_STANDING`].
    Away,
    /// There, and not to be disturbed. Only said to a client with [`FEATURE_STANDING`].
    Busy,
}

/// Presence of those whom the client has just begun to watch.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct PresenceSnapshot {
    /// Grows with every presence message on this link.
    pub version: u64,
    /// Who is how.
    pub peers: Vec<(PeerId, Status)>,
}

/// One watched peer came or went.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct PresenceDelta {
    /// Grows with every presence message on this link.
    pub version: u64,
    /// Who.
    pub peer: PeerId,
    /// How now.
    pub status: Status,
}

/// Somebody asks for a chat. `from` and `name` come from the login, not from the asker.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Incoming {
    /// The request.
    pub request: RequestId,
    /// Who asks.
    pub from: PeerId,
    /// Under which name, if it registered one.
    pub name: Option<Name>,
    /// The offer.
    pub offer: SignedOffer,
}

/// A request was answered.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Answered {
    /// Which.
    pub request: RequestId,
    /// Who answered.
    pub from: PeerId,
    /// How.
    pub answer: AnswerBody,
}

/// A request ended without an answer.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Cancelled {
    /// Which.
    pub request: RequestId,
    /// Why.
    pub why: CancelledWhy,
}

/// Why a request ended without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum CancelledWhy {
    /// The asker took it back.
    TakenBack,
    /// Nobody answered in time.
    Expired,
    /// The other side's link to the broker ended.
    Gone,
}

/// A newer login of the same identity took over; this link ends and should not come back by itself.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Replaced;

/// The broker stops; its clients should come back after a while, spread out.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Restarting {
    /// Milliseconds to wait.
    pub reconnect_in: u32,
}

/// Answer to a [`Ping`].
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Pong;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_unknown_kind_names_its_call_so_that_it_can_be_answered() {
        assert_eq!(
            ToBroker::from_record(&[0x7f, 0, 0, 0, 9, 1, 2, 3]),
            Err(LinkError::UnknownKind { kind: 0x7f, call: 9 }),
        );
    }

    #[test]
    fn each_direction_refuses_the_kinds_of_the_other() {
        let record = FromBroker::from(Pong).to_record(0).unwrap();
        assert!(matches!(ToBroker::from_record(&record), Err(LinkError::UnknownKind { .. })));
    }

    #[test]
    fn a_full_page_and_a_full_snapshot_fit_a_record() {
        let entry = DirectoryEntry {
            name: "a".repeat(NAME_MAX_LEN).parse().unwrap(),
            peer: PeerId([1; 32]),
            status: Status::Online,
        };
        let page = Reply { outcome: Outcome::Page { people: vec![entry; DIRECTORY_PAGE], more: true } };
        let record = FromBroker::from(page.clone()).to_record(7).unwrap();
        assert_eq!(FromBroker::from_record(&record), Ok((7, page.into())));
        let all =
            PresenceSnapshot { version: 1, peers: vec![(PeerId([1; 32]), Status::Offline); WATCH_BATCH] };
        let record = FromBroker::from(all.clone()).to_record(0).unwrap();
        assert_eq!(FromBroker::from_record(&record), Ok((0, all.into())));
    }

    #[test]
    fn a_reason_is_cut_between_characters() {
        let reason = Reason::new(&"\u{e9}".repeat(REASON_MAX));
        assert_eq!(reason.as_str().len(), REASON_MAX);
        assert!(Reason::new(&format!("a{}", "\u{e9}".repeat(REASON_MAX))).as_str().len() < REASON_MAX);
    }

    proptest! {
        #[test]
        fn no_record_makes_a_decoder_panic(record in proptest::collection::vec(any::<u8>(), 0..200), kind in 0u8..0x90) {
            let mut record = record;
            if let Some(first) = record.first_mut() { *first = kind; }
            if let Ok((call, message)) = ToBroker::from_record(&record) {
                prop_assert_eq!(message.to_record(call).unwrap(), record.clone());
            }
            if let Ok((call, message)) = FromBroker::from_record(&record) {
                prop_assert_eq!(message.to_record(call).unwrap(), record);
            }
        }
    }
}
