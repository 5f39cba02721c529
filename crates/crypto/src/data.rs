//! The keys of a session's DATA packets.

use zeroize::Zeroizing;

use crate::aead::Aead;
use crate::introduction::{Role, Suite};
use crate::schedule::{self, Direction, IV_LEN, ResumptionSecret, SessionSecret};
use crate::secret::redacted;

pub use crate::aead::TAG_LEN;

/// What a finished handshake gives for epoch 0, and a finished rekey for the epoch after: the
/// epoch's secret, and what every epoch of the session has in common.
pub struct SessionKeys {
    pub(crate) secret: SessionSecret,
    pub(crate) epoch: u32,
    pub(crate) session: Session,
}

/// What stays the same in all epochs of a session.
#[derive(Clone, Copy)]
pub(crate) struct Session {
    /// This side's part in the session's handshake.
    pub(crate) role: Role,
    pub(crate) suite: Suite,
    /// Hash of the session's handshake.
    pub(crate) hash: [u8; 32],
    /// The peer's Noise static key, proven by the handshake.
    pub(crate) peer_noise: [u8; 32],
}

/// The keys of one epoch, one for each direction.
pub struct Epoch {
    /// For what this side sends.
    pub seal: SealKey,
    /// For what the peer sends.
    pub open: OpenKey,
}

/// Seals packets.
pub struct SealKey(PacketKey);

/// Opens packets.
pub struct OpenKey(PacketKey);

redacted!(SessionKeys, Epoch, SealKey, OpenKey);

struct PacketKey {
    aead: Aead,
    iv: Zeroizing<[u8; IV_LEN]>,
}

impl SessionKeys {
    /// Which epoch this is; a session begins with 0.
    pub const fn epoch(&self) -> u32 {
        self.epoch
    }

    /// This side's part in the session's handshake.
    pub const fn role(&self) -> Role {
        self.session.role
    }

    /// The keys by direction.
    pub fn keys(&self) -> Epoch {
        let Session { role, suite, .. } = self.session;
        let sent = Direction::sent_by(role);
        Epoch {
            seal: SealKey(PacketKey::new(&self.secret, sent, suite)),
            open: OpenKey(PacketKey::new(&self.secret, sent.reverse(), suite)),
        }
    }

    /// The keys by direction; the secret is wiped, so that there is no epoch after this one.
    pub fn into_epoch(self) -> Epoch {
        self.keys()
    }

    /// The peer's Noise static key, proven by the session's handshake.
    pub const fn peer_noise(&self) -> [u8; 32] {
        self.session.peer_noise
    }

    /// What the two can begin another session with once this epoch is proven.
    pub fn resumption(&self) -> ResumptionSecret {
        schedule::resumption(&self.secret)
    }
}

impl SealKey {
    /// Turns `buffer` into ciphertext and returns the tag that follows it. `header` is
    /// authenticated. A packet number serves once: the session never repeats one.
    pub fn seal_in_place(&self, packet_number: u64, header: &[u8], buffer: &mut [u8]) -> [u8; TAG_LEN] {
        self.0.aead.seal(self.0.nonce(packet_number), header, buffer)
    }
}

impl OpenKey {
    /// The plaintext of `buffer`, ciphertext and tag; `None` if it is not authentic under this
    /// number and header, and then what is in `buffer` means nothing any more.
    pub fn open_in_place<'a>(
        &self,
        packet_number: u64,
        header: &[u8],
        buffer: &'a mut [u8],
    ) -> Option<&'a mut [u8]> {
        self.0.aead.open(self.0.nonce(packet_number), header, buffer)
    }
}

impl PacketKey {
    fn new(secret: &SessionSecret, direction: Direction, suite: Suite) -> Self {
        let key = schedule::data_key(secret, direction);
        Self { aead: Aead::new(suite, &key), iv: schedule::data_iv(secret, direction) }
    }

    /// IV xor packet number, right-aligned (protocol section 5; as RFC 9001 section 5.3).
    fn nonce(&self, packet_number: u64) -> [u8; IV_LEN] {
        let mut nonce = *self.iv;
        nonce
            .iter_mut()
            .rev()
            .zip(packet_number.to_be_bytes().iter().rev())
            .for_each(|(to, byte)| *to ^= byte);
        nonce
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEADER: [u8; 16] = [0x54; 16];

    fn epochs(suite: Suite) -> [Epoch; 2] {
        [Role::Initiator, Role::Responder].map(|role| {
            let session = Session { role, suite, hash: [2; 32], peer_noise: [3; 32] };
            SessionKeys { secret: SessionSecret::new([1; 32]), epoch: 0, session }.into_epoch()
        })
    }

    fn sealed(key: &SealKey, number: u64, text: &[u8]) -> Vec<u8> {
        let mut buffer = text.to_vec();
        let tag = key.seal_in_place(number, &HEADER, &mut buffer);
        buffer.extend(tag);
        buffer
    }

    fn opened(to: &Epoch, number: u64, header: &[u8], packet: &[u8]) -> Option<Vec<u8>> {
        to.open.open_in_place(number, header, &mut packet.to_vec()).map(|text| text.to_vec())
    }

    #[test]
    fn the_two_directions_and_every_number_have_nonces_of_their_own() {
        let [one, two] = epochs(Suite::Aes256Gcm);
        let (a, b) = (&one.seal.0, &two.seal.0);
        assert_ne!(a.iv, b.iv);
        assert_eq!(a.nonce(0), *a.iv);
        let numbers = [0, 1, 255, 256, u64::from(u32::MAX), 1 << 32, u64::MAX];
        let nonces: std::collections::BTreeSet<_> = numbers.iter().map(|&n| a.nonce(n)).collect();
        assert_eq!(nonces.len(), numbers.len());
        assert!(nonces.iter().all(|nonce| nonce[..4] == a.iv[..4]));
    }

    #[test]
    fn less_than_a_tag_is_refused() {
        for suite in [Suite::ChaCha20Poly1305, Suite::Aes256Gcm] {
            let [one, _] = epochs(suite);
            for length in 0..TAG_LEN {
                assert_eq!(one.open.open_in_place(0, &HEADER, &mut vec![0; length]), None);
            }
        }
    }

    proptest! {
        #[test]
        fn a_packet_opens_as_it_was_sealed_and_in_no_other_way(
            aes: bool,
            text in proptest::collection::vec(any::<u8>(), 0..1500),
            number: u64,
            other: u64,
            at: proptest::sample::Index,
            bit in 0_u8..8,
        ) {
            let [from, to] = epochs(if aes { Suite::Aes256Gcm } else { Suite::ChaCha20Poly1305 });
            let packet = sealed(&from.seal, number, &text);
            prop_assert_eq!(opened(&to, number, &HEADER, &packet), Some(text));
            if other != number {
                prop_assert_eq!(opened(&to, other, &HEADER, &packet), None);
            }
            let mut header = HEADER;
            header[at.index(16)] ^= 1 << bit;
            prop_assert_eq!(opened(&to, number, &header, &packet), None);
            let mut damaged = packet.clone();
            damaged[at.index(packet.len())] ^= 1 << bit;
            prop_assert_eq!(opened(&to, number, &HEADER, &damaged), None);
            prop_assert_eq!(opened(&to, number, &HEADER, &packet[..packet.len() - 1]), None);
        }
    }
}
