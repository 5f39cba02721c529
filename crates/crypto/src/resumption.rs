//! What two who had a session begin another with, without a broker: an introduction from a secret
//! that both kept (protocol sections 5 and 13).

use core::fmt;
use core::time::Duration;

use p2pchat_proto::{PeerId, WallTime};
use zeroize::Zeroize;

use crate::curve::is_sound_x25519;
use crate::introduction::{Introduction, Role, Suite, TICKET_LEN, Terms, Ticket, verify};
use crate::schedule::{self, IntroductionSecret, MacKey, ResumptionSecret, TicketKey};
use crate::secret::redacted;

/// Time for which the tickets of a resumption stay the same (protocol section 12).
pub const TICKET_WINDOW: Duration = Duration::from_secs(600);

const WINDOW_MILLIS: u64 = TICKET_WINDOW.as_secs() * 1000;

/// One of the times of [`TICKET_WINDOW`] since 1970-01-01T00:00:00Z, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TicketWindow(pub u64);

impl TicketWindow {
    /// The window that a clock is in.
    pub const fn at(time: WallTime) -> Self {
        Self(time.0 / WINDOW_MILLIS)
    }

    /// Those whose tickets a side takes that is in this one: clocks may differ by one.
    pub const fn accepted(self) -> [Self; 3] {
        [Self(self.0.saturating_sub(1)), self, Self(self.0.saturating_add(1))]
    }
}

/// With whom and how a session can be resumed.
#[derive(Debug, Clone, Copy)]
pub struct ResumptionTerms {
    /// This side.
    pub me: PeerId,
    /// The other one.
    pub peer: PeerId,
    /// What sealed the data of the session that the secret is from.
    pub suite: Suite,
    /// The peer's Noise static key, proven by that session.
    pub peer_noise: [u8; 32],
}

/// The terms cannot be those of a session: a weak static key, or one identity on both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotResumable;

impl fmt::Display for NotResumable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not what a session left behind")
    }
}

impl core::error::Error for NotResumable {}

/// Everything that comes from one secret of an earlier session.
pub struct Resumption {
    terms: ResumptionTerms,
    secret: IntroductionSecret,
    my_ticket: TicketKey,
    peer_ticket: TicketKey,
    peer_mac: MacKey,
}

redacted!(Resumption);

impl Resumption {
    /// What comes from `secret`.
    ///
    /// # Errors
    /// [`NotResumable`] for terms that no session can have had.
    pub fn new(terms: ResumptionTerms, secret: &ResumptionSecret) -> Result<Self, NotResumable> {
        if terms.me == terms.peer || !is_sound_x25519(&terms.peer_noise) {
            return Err(NotResumable);
        }
        let secret = IntroductionSecret::new(*secret.expose());
        Ok(Self {
            terms,
            my_ticket: schedule::ticket_key(&secret, terms.me),
            peer_ticket: schedule::ticket_key(&secret, terms.peer),
            peer_mac: schedule::mac_key(&secret, terms.peer),
            secret,
        })
    }

    /// The other side.
    pub const fn peer(&self) -> PeerId {
        self.terms.peer
    }

    /// The ticket by which the peer's INIT is known in a window.
    pub fn peer_ticket(&self, window: TicketWindow) -> Ticket {
        ticket(&self.peer_ticket, window)
    }

    /// Whether `tag` is the peer's MAC of `bytes`. Takes the same time wherever they differ.
    pub fn verify_mac(&self, bytes: &[u8], tag: &[u8]) -> bool {
        verify(&self.peer_mac, bytes, tag)
    }

    /// The introduction to a handshake whose INIT carries the initiator's ticket of `window`.
    pub fn introduction(&self, role: Role, window: TicketWindow) -> Introduction {
        let ResumptionTerms { me, peer, suite, peer_noise } = self.terms;
        let transcript = schedule::resumption_transcript(&self.secret);
        let terms = Terms { me, peer, role, suite, peer_noise, transcript };
        let tickets = [&self.my_ticket, &self.peer_ticket].map(|key| ticket(key, window));
        Introduction::with_tickets(&terms, &self.secret, tickets)
    }
}

/// Keyed BLAKE3 of the window's number, cut to [`TICKET_LEN`].
fn ticket(key: &TicketKey, window: TicketWindow) -> Ticket {
    let mut hasher = blake3::Hasher::new_keyed(key.as_bytes());
    hasher.update(&window.0.to_be_bytes());
    let mut ticket = [0; TICKET_LEN];
    let mut output = hasher.finalize_xof();
    output.fill(&mut ticket);
    output.zeroize();
    hasher.zeroize();
    Ticket(ticket)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::data::SessionKeys;
    use crate::handshake::{HandshakeError, Initiator, Responder};
    use crate::testing::{Pair, rng};

    const NOW: TicketWindow = TicketWindow(3_000_000);

    fn secret(byte: u8) -> ResumptionSecret {
        ResumptionSecret::from_bytes([byte; 32])
    }

    /// What bob and alice make of their secrets.
    fn resumptions(pair: &Pair, secrets: [u8; 2]) -> [Resumption; 2] {
        let terms = |me: &crate::Identity, peer: &crate::Identity| ResumptionTerms {
            me: me.peer_id(),
            peer: peer.peer_id(),
            suite: Suite::ChaCha20Poly1305,
            peer_noise: peer.noise_public(),
        };
        let [bobs, alices] = secrets.map(secret);
        [
            Resumption::new(terms(&pair.bob, &pair.alice), &bobs).unwrap(),
            Resumption::new(terms(&pair.alice, &pair.bob), &alices).unwrap(),
        ]
    }

    fn resume(
        pair: &Pair,
        both: [(&Resumption, TicketWindow); 2],
    ) -> Result<[SessionKeys; 2], HandshakeError> {
        let [(bobs, bobs_window), (alices, alices_window)] = both;
        let bobs = bobs.introduction(Role::Initiator, bobs_window);
        let alices = alices.introduction(Role::Responder, alices_window);
        let (initiator, first) = Initiator::start(&bobs, &pair.bob, &mut rng(20));
        let (responder, second) = Responder::respond(&alices, &pair.alice, &first, &mut rng(21))?;
        let (keys, third) = initiator.read_response(&second)?;
        Ok([keys, responder.finish(&third)?])
    }

    #[test]
    fn two_who_kept_the_same_secret_get_a_session_and_a_new_secret() {
        let pair = Pair::new();
        let [bobs, alices] = resumptions(&pair, [7; 2]);
        for window in NOW.accepted() {
            let [one, other] = resume(&pair, [(&bobs, window), (&alices, window)]).unwrap();
            assert_eq!(one.resumption().expose(), other.resumption().expose());
            assert_ne!(one.resumption().expose(), &[7; 32]);
        }
    }

    #[test]
    fn another_secret_or_another_window_opens_nothing() {
        let pair = Pair::new();
        let [bobs, alices] = resumptions(&pair, [7, 8]);
        let failed = resume(&pair, [(&bobs, NOW), (&alices, NOW)]);
        assert_eq!(failed.unwrap_err(), HandshakeError::Unauthentic);
        let [bobs, alices] = resumptions(&pair, [7; 2]);
        let [before, ..] = NOW.accepted();
        let failed = resume(&pair, [(&bobs, before), (&alices, NOW)]);
        assert_eq!(failed.unwrap_err(), HandshakeError::Unauthentic, "the ticket is in the prologue");
    }

    #[test]
    fn either_side_may_begin_and_knows_the_others_ticket_and_mac() {
        let pair = Pair::new();
        let both = resumptions(&pair, [7; 2]);
        for (mine, other) in [(&both[0], &both[1]), (&both[1], &both[0])] {
            let begun = mine.introduction(Role::Initiator, NOW);
            assert_eq!(begun.my_ticket(), other.peer_ticket(NOW));
            assert_ne!(begun.my_ticket(), mine.peer_ticket(NOW), "one a side");
            let tag = begun.mac(b"bytes");
            assert!(other.verify_mac(b"bytes", &tag) && !mine.verify_mac(b"bytes", &tag));
            assert!(!other.verify_mac(b"byte", &tag) && !other.verify_mac(b"bytes", &tag[1..]));
        }
    }

    #[test]
    fn no_two_tickets_of_a_day_are_alike_and_none_comes_of_another() {
        let pair = Pair::new();
        let [bobs, _] = resumptions(&pair, [7; 2]);
        let [other, _] = resumptions(&pair, [8; 2]);
        let day = || (0..144).map(|n| TicketWindow(NOW.0 + n));
        let tickets: Vec<_> = day().map(|window| bobs.peer_ticket(window).0).collect();
        let others: Vec<_> = day().map(|window| other.peer_ticket(window).0).collect();
        let distinct: BTreeSet<_> = tickets.iter().chain(&others).collect();
        assert_eq!(distinct.len(), 288);
        // Whoever has the key computes them; the difference of neighbours tells nobody whose they are.
        let again: Vec<_> = day().map(|window| bobs.peer_ticket(window).0).collect();
        assert_eq!(again, tickets);
        let xor = |list: &[[u8; 8]]| -> BTreeSet<u64> {
            list.windows(2).map(|w| u64::from_be_bytes(w[0]) ^ u64::from_be_bytes(w[1])).collect()
        };
        assert!(xor(&tickets).is_disjoint(&xor(&others)));
        let bits: u32 = xor(&tickets).iter().map(|bits| bits.count_ones()).sum();
        assert!((143 * 28..143 * 36).contains(&bits), "{bits} of {} bits differ", 143 * 64);
    }

    #[test]
    fn a_window_lasts_ten_minutes_and_its_neighbours_are_taken() {
        let at = |seconds: u64| TicketWindow::at(WallTime(seconds * 1000));
        assert_eq!(at(1_800_000_000), at(1_800_000_599));
        assert_ne!(at(1_800_000_599), at(1_800_000_600));
        assert_eq!(NOW.accepted(), [TicketWindow(NOW.0 - 1), NOW, TicketWindow(NOW.0 + 1)]);
        assert_eq!(TicketWindow(u64::MAX).accepted()[2], TicketWindow(u64::MAX));
        assert_eq!(TicketWindow(0).accepted()[0], TicketWindow(0));
    }

    #[test]
    fn a_weak_static_key_or_oneself_is_no_peer() {
        let pair = Pair::new();
        let good = ResumptionTerms {
            me: pair.bob.peer_id(),
            peer: pair.alice.peer_id(),
            suite: Suite::Aes256Gcm,
            peer_noise: pair.alice.noise_public(),
        };
        assert!(Resumption::new(good, &secret(1)).is_ok());
        let weak = ResumptionTerms { peer_noise: [0; 32], ..good };
        let own = ResumptionTerms { peer: good.me, ..good };
        for bad in [weak, own] {
            assert_eq!(Resumption::new(bad, &secret(1)).unwrap_err(), NotResumable);
        }
    }
}
