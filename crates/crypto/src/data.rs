//! The keys of a session's DATA packets.

use crate::aead::Aead;
use crate::introduction::{Role, Suite};
use crate::schedule::{self, Direction, IV_LEN, SessionSecret};
use crate::secret::redacted;

pub use crate::aead::TAG_LEN;

/// What a finished handshake gives: the secret of epoch 0, this side's part and the suite.
pub struct SessionKeys {
    secret: SessionSecret,
    role: Role,
    suite: Suite,
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
    iv: [u8; IV_LEN],
}

impl SessionKeys {
    pub(crate) const fn new(secret: SessionSecret, role: Role, suite: Suite) -> Self {
        Self { secret, role, suite }
    }

    /// The keys by direction; the secret is wiped.
    pub fn into_epoch(self) -> Epoch {
        let sent = Direction::sent_by(self.role);
        Epoch {
            seal: SealKey(PacketKey::new(&self.secret, sent, self.suite)),
            open: OpenKey(PacketKey::new(&self.secret, sent.reverse(), self.suite)),
        }
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
        let mut nonce = self.iv;
        nonce
            .iter_mut()
            .rev()
            .zip(packet_number.to_be_bytes().iter().rev())
            .for_each(|(to, byte)| *to ^= byte);
        nonce
    }
}
