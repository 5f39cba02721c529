//! What two peers share before a UDP handshake. Without one, none is started or answered.

use p2pchat_proto::PeerId;
use p2pchat_proto::offer::Suites;
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use crate::schedule::{self, IntroductionSecret, MacKey, Psk};
use crate::secret::redacted;

/// Length of a ticket, in bytes (protocol section 4).
pub const TICKET_LEN: usize = 8;

/// Length of the MAC of handshake datagrams and hellos, in bytes (protocol sections 4 and 7).
pub const MAC_LEN: usize = 16;

/// Which side begins the handshake: the one who asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Sends INIT.
    Initiator,
    /// Answers it.
    Responder,
}

/// What seals the data of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suite {
    /// RFC 8439; every machine has it.
    ChaCha20Poly1305,
    /// NIST SP 800-38D; where both sides have the instructions.
    Aes256Gcm,
}

impl Suite {
    /// The suite that two sides use who offered these: AES-256-GCM where both list it.
    pub(crate) const fn of(one: Suites, other: Suites) -> Self {
        if one.contains(Suites::AES_256_GCM) && other.contains(Suites::AES_256_GCM) {
            Self::Aes256Gcm
        } else {
            Self::ChaCha20Poly1305
        }
    }
}

/// The mark of an introduction on a datagram. It says nothing to anybody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub [u8; TICKET_LEN]);

/// One side's half of what an accepted request left behind.
pub struct Introduction {
    peer: PeerId,
    role: Role,
    suite: Suite,
    pub(crate) peer_noise: [u8; 32],
    pub(crate) transcript: [u8; 32],
    pub(crate) psk: Psk,
    pub(crate) my_ticket: Ticket,
    pub(crate) peer_ticket: Ticket,
    my_mac: MacKey,
    peer_mac: MacKey,
}

redacted!(Introduction);

/// What an introduction is made of besides its secret.
pub(crate) struct Terms {
    pub(crate) me: PeerId,
    pub(crate) peer: PeerId,
    pub(crate) role: Role,
    pub(crate) suite: Suite,
    /// The peer's Noise static key, from its signed offer: canonical and not of low order.
    pub(crate) peer_noise: [u8; 32],
    pub(crate) transcript: [u8; 32],
}

impl Introduction {
    pub(crate) fn new(terms: &Terms, secret: &IntroductionSecret) -> Self {
        let tickets = [terms.me, terms.peer].map(|sender| ticket(secret, sender));
        Self::with_tickets(terms, secret, tickets)
    }

    /// With this side's ticket and the peer's.
    pub(crate) fn with_tickets(
        terms: &Terms,
        secret: &IntroductionSecret,
        [my_ticket, peer_ticket]: [Ticket; 2],
    ) -> Self {
        Self {
            peer: terms.peer,
            role: terms.role,
            suite: terms.suite,
            peer_noise: terms.peer_noise,
            transcript: terms.transcript,
            psk: schedule::psk(secret),
            my_ticket,
            peer_ticket,
            my_mac: schedule::mac_key(secret, terms.me),
            peer_mac: schedule::mac_key(secret, terms.peer),
        }
    }

    /// The other side.
    pub const fn peer(&self) -> PeerId {
        self.peer
    }

    /// This side's part in the handshake.
    pub const fn role(&self) -> Role {
        self.role
    }

    /// What will seal the session's data.
    pub const fn suite(&self) -> Suite {
        self.suite
    }

    /// The ticket that this side sends.
    pub const fn my_ticket(&self) -> Ticket {
        self.my_ticket
    }

    /// The ticket by which the peer's datagrams are known.
    pub const fn peer_ticket(&self) -> Ticket {
        self.peer_ticket
    }

    /// The MAC that this side puts on a datagram: keyed BLAKE3, cut to [`MAC_LEN`].
    pub fn mac(&self, bytes: &[u8]) -> [u8; MAC_LEN] {
        mac(&self.my_mac, &[bytes])
    }

    /// Whether `tag` is the peer's MAC of `bytes`. Takes the same time wherever they differ.
    pub fn verify_mac(&self, bytes: &[u8], tag: &[u8]) -> bool {
        verify(&self.peer_mac, bytes, tag)
    }

    pub(crate) const fn initiator_ticket(&self) -> Ticket {
        match self.role {
            Role::Initiator => self.my_ticket,
            Role::Responder => self.peer_ticket,
        }
    }
}

/// Whether `tag` is the MAC of `bytes`, in a time that says nothing of where they differ.
pub(crate) fn verify(key: &MacKey, bytes: &[u8], tag: &[u8]) -> bool {
    mac(key, &[bytes]).ct_eq(tag).into()
}

/// Keyed BLAKE3 of the parts one after the other, cut to [`MAC_LEN`].
pub(crate) fn mac(key: &MacKey, parts: &[&[u8]]) -> [u8; MAC_LEN] {
    let mut hasher = blake3::Hasher::new_keyed(key.as_bytes());
    for part in parts {
        hasher.update(part);
    }
    let mut tag = [0; MAC_LEN];
    let mut output = hasher.finalize_xof();
    output.fill(&mut tag);
    output.zeroize();
    hasher.zeroize();
    tag
}

fn ticket(secret: &IntroductionSecret, sender: PeerId) -> Ticket {
    let [a, b, c, d, e, f, g, h, ..] = *schedule::ticket_key(secret, sender).as_bytes();
    Ticket([a, b, c, d, e, f, g, h])
}
