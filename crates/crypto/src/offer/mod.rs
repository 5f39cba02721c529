//! Two signed statements, a request and its acceptance, and what they leave: an [`Introduction`].
//!
//! ```text
//! asks:     PendingRequest::new ──offer──▶ VerifiedRequest::verify        (a person decides)
//!                                          VerifiedRequest::accept ─┐
//!           PendingRequest::accepted ◀──offer, sealed endpoints─────┘
//! ```
//!
//! Each state consumes itself: a request is answered once, and its ephemeral keys go with it.
//! Each check has an error of its own, so that the one who reads it knows what was tampered with.
//!
//! [`Introduction`]: crate::Introduction

mod accept;
mod check;
mod memory;
mod request;
#[cfg(test)]
mod tests;

use core::fmt;
use core::time::Duration;

use p2pchat_proto::offer::{Addressee, Purpose, Suites};
use p2pchat_proto::{BrokerKey, Name, PeerId, RequestId, WallTime};

use crate::endpoints::EndpointBox;
use crate::introduction::Introduction;
use crate::kem::KemFailed;
use crate::secret::{RandomnessFailed, redacted};

pub use accept::VerifiedRequest;
pub use memory::{REQUESTS_REMEMBERED_MAX, RequestMemory};
pub use request::PendingRequest;

/// What a request says.
#[derive(Debug, Clone)]
pub struct RequestTerms {
    /// Its id, drawn at random.
    pub request: RequestId,
    /// For whom.
    pub to: Addressee,
    /// The broker over which it goes.
    pub broker_key: BrokerKey,
    /// Now, by this side's clock corrected by the broker's.
    pub made: WallTime,
    /// What for.
    pub purpose: Purpose,
    /// What this side can seal with; see [`suites`].
    pub suites: Suites,
}

/// What an acceptance says on its own; the rest repeats the request.
#[derive(Debug, Clone, Copy)]
pub struct AcceptTerms {
    /// Now, by this side's clock corrected by the broker's.
    pub made: WallTime,
    /// What this side can seal with; see [`suites`].
    pub suites: Suites,
}

/// What the receiver of a request knows on its own, against which the offer is checked.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// This side's identity.
    pub me: PeerId,
    /// Its name at the broker, if it has one.
    pub my_name: Option<&'a Name>,
    /// Who sent the request by the broker's login.
    pub from: PeerId,
    /// The identity that the user pinned for the sender's name, if any.
    pub pin: Option<PeerId>,
    /// The request's id by the broker's message.
    pub request: RequestId,
    /// The key of the broker on this side's own link.
    pub broker_key: BrokerKey,
    /// Now, by this side's clock corrected by the broker's.
    pub now: WallTime,
}

/// What both sides hold once a request is accepted.
pub struct Accepted {
    /// For the UDP handshake.
    pub introduction: Introduction,
    /// For the endpoints of both sides.
    pub endpoints: EndpointBox,
}

redacted!(Accepted);

/// Why an offer was not made or not taken. The first group is the act of the other side or of the
/// broker in between, one variant for each thing that can be wrong; the second is local.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OfferError {
    /// The body is no offer.
    Malformed,
    /// Another protocol version.
    Version(u8),
    /// A request where an acceptance belongs, or the reverse.
    Kind,
    /// Another request's id.
    Request,
    /// Signed by somebody else than the broker says, or than this side asked for.
    From,
    /// The signature is wrong, or its key is none that can sign.
    Signature,
    /// The sender's name is pinned to another identity.
    Pin,
    /// For somebody else.
    To,
    /// From this side itself.
    Own,
    /// The Noise static key is weak or not canonical.
    NoiseStatic,
    /// The ephemeral key is weak or not canonical.
    Ephemeral,
    /// The encapsulation key or ciphertext has a wrong length or is none.
    Kem,
    /// Without the suite that everybody has.
    Suites,
    /// Made for another broker.
    Broker,
    /// Made too long before or after now: the clocks differ.
    Clocks {
        /// By how much.
        differ: Duration,
    },
    /// An acceptance of another request's bytes, or a request that answers something.
    Answers,

    /// The system's randomness failed.
    Randomness,
    /// The KEM library failed.
    KemUnavailable,
}

impl OfferError {
    /// Whether this is the failure of this machine rather than the other side's act.
    pub const fn is_local(&self) -> bool {
        matches!(self, Self::Randomness | Self::KemUnavailable)
    }
}

impl fmt::Display for OfferError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "malformed offer",
            Self::Version(version) => return write!(f, "offer of protocol version {version}"),
            Self::Kind => "offer of the wrong kind",
            Self::Request => "offer for another request",
            Self::From => "offer from somebody else",
            Self::Signature => "offer with a wrong signature",
            Self::Pin => "offer from another identity than the pinned one",
            Self::To => "offer for somebody else",
            Self::Own => "offer from oneself",
            Self::NoiseStatic => "offer with a weak static key",
            Self::Ephemeral => "offer with a weak ephemeral key",
            Self::Kem => "offer with an invalid ML-KEM part",
            Self::Suites => "offer without a common cipher suite",
            Self::Broker => "offer made for another broker",
            Self::Clocks { differ } => return write!(f, "clocks differ by {} s", differ.as_secs()),
            Self::Answers => "offer that answers another request",
            Self::Randomness => return RandomnessFailed.fmt(f),
            Self::KemUnavailable => "ML-KEM is not available",
        })
    }
}

impl core::error::Error for OfferError {}

impl From<RandomnessFailed> for OfferError {
    fn from(RandomnessFailed: RandomnessFailed) -> Self {
        Self::Randomness
    }
}

/// What this machine can seal with: AES-256-GCM only where the processor has the instructions for
/// it, as it is slow and not constant in time without them.
pub fn suites() -> Suites {
    if has_aes() { Suites::CHACHA20_POLY1305.with(Suites::AES_256_GCM) } else { Suites::CHACHA20_POLY1305 }
}

#[cfg(target_arch = "x86_64")]
fn has_aes() -> bool {
    std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("pclmulqdq")
}

#[cfg(target_arch = "aarch64")]
fn has_aes() -> bool {
    // Includes the carry-less multiplication that GCM needs.
    std::arch::is_aarch64_feature_detected!("aes")
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn has_aes() -> bool {
    false
}

fn kem_of_peer(KemFailed: KemFailed) -> OfferError {
    OfferError::Kem
}

fn kem_of_mine(KemFailed: KemFailed) -> OfferError {
    OfferError::KemUnavailable
}
