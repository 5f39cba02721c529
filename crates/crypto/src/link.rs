//! The way to a broker: `Noise_NX_25519_ChaChaPoly_BLAKE2s`, then sealed records.
//!
//! On the wire everything is a record, `u16` big-endian length and that many bytes: first the two
//! handshake messages as they are (see [`frame`]), then ciphertexts as Noise transport messages
//! (Noise section 5.1), nonces counted from 0 in each direction.

use core::fmt;

use p2pchat_proto::broker::LINK_PROLOGUE;
use p2pchat_proto::limits::LINK_RECORD_MAX;
use p2pchat_proto::{BrokerKey, PeerId};
use rand::CryptoRng;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use crate::aead::{Aead, TAG_LEN};
use crate::identity::{self, Identity, Label};
use crate::introduction::Suite;
use crate::noise::{Finished, Noise, Setup, noise_nonce};
use crate::schedule::SealingKey;
use crate::secret::{RandomnessFailed, random, redacted};

const PATTERN: &str = "Noise_NX_25519_ChaChaPoly_BLAKE2s";

/// Length of the client's handshake message: an ephemeral key.
pub const MESSAGE_1_LEN: usize = 32;
/// Length of the broker's: an ephemeral key, the sealed static key, a tag.
pub const MESSAGE_2_LEN: usize = 96;
/// Most bytes that one record can carry.
pub const RECORD_PLAINTEXT_MAX: usize = LINK_RECORD_MAX - TAG_LEN;

/// A link that cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkError {
    /// The other side's handshake message is malformed, weak or does not open. Its act, or that
    /// of somebody in between.
    Handshake,
    /// A record does not open. Its act, or that of somebody in between.
    Record,
    /// More than [`RECORD_PLAINTEXT_MAX`] bytes for one record. A local error.
    TooLong,
    /// 2^64 - 1 records were sealed or opened (Noise section 5.1).
    Exhausted,
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Handshake => "handshake of the broker link failed",
            Self::Record => "record of the broker link does not open",
            Self::TooLong => "too long for one record",
            Self::Exhausted => "broker link is used up",
        })
    }
}

impl core::error::Error for LinkError {}

/// The static key of a broker, X25519.
pub struct BrokerSecret(StaticSecret);

redacted!(BrokerSecret, ClientHandshake, LinkSealer, LinkOpener);

impl BrokerSecret {
    /// A new key.
    ///
    /// # Errors
    /// If the source of randomness gives nothing but zeros.
    pub fn generate(rng: &mut dyn CryptoRng) -> Result<Self, RandomnessFailed> {
        random(rng).map(|bytes| Self::from_bytes(*bytes))
    }

    /// The key that these bytes are.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(StaticSecret::from(bytes))
    }

    /// The bytes, to be kept in a file.
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// The public half, by which clients know the broker.
    pub fn public(&self) -> BrokerKey {
        BrokerKey(PublicKey::from(&self.0).to_bytes())
    }
}

/// What a client has learned about the other end of its link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkIdentity {
    /// The broker's key, which the handshake proves. It is for the caller to compare it with the
    /// one that it knows.
    pub key: BrokerKey,
    /// The handshake's hash, unique to this link.
    pub hash: [u8; 32],
}

/// A client that sent its first message.
pub struct ClientHandshake(Noise);

impl ClientHandshake {
    /// Begins: the state and message 1.
    ///
    /// # Panics
    /// If `rng` gives 32 zeros: then it is no generator (see [`crate::generator`]), and nothing may
    /// go on with it.
    #[expect(clippy::expect_used, reason = "the pattern is a constant and no key of others is in it")]
    pub fn start(rng: &mut dyn CryptoRng) -> (Self, Vec<u8>) {
        let mut noise = Noise::initiator(&setup(None), rng).expect("a valid setup");
        let message: [u8; MESSAGE_1_LEN] = noise.write().expect("a first message");
        (Self(noise), message.to_vec())
    }

    /// Takes the broker's message 2: the keys of the link and whom it leads to.
    ///
    /// # Errors
    /// [`LinkError::Handshake`].
    pub fn finish(mut self, message: &[u8]) -> Result<(LinkSealer, LinkOpener, LinkIdentity), LinkError> {
        self.0.read(message).map_err(|_| LinkError::Handshake)?;
        let finished = self.0.finish().ok_or(LinkError::Handshake)?;
        let key = finished.remote_static.map(BrokerKey).ok_or(LinkError::Handshake)?;
        let (client, broker) = keys(&finished);
        Ok((LinkSealer(client), LinkOpener(broker), LinkIdentity { key, hash: finished.hash }))
    }
}

/// The broker's side of the handshake, which needs one step.
#[derive(Debug)]
pub struct ServerHandshake;

impl ServerHandshake {
    /// Takes a client's message 1: the keys of the link, its hash, and message 2.
    ///
    /// # Errors
    /// [`LinkError::Handshake`].
    pub fn respond(
        secret: &BrokerSecret,
        message: &[u8],
        rng: &mut dyn CryptoRng,
    ) -> Result<(LinkSealer, LinkOpener, [u8; 32], Vec<u8>), LinkError> {
        let (finished, response) = respond(secret, message, rng).map_err(|_| LinkError::Handshake)?;
        let finished = finished.ok_or(LinkError::Handshake)?;
        let (client, broker) = keys(&finished);
        Ok((LinkSealer(broker), LinkOpener(client), finished.hash, response.to_vec()))
    }
}

fn respond(
    secret: &BrokerSecret,
    message: &[u8],
    rng: &mut dyn CryptoRng,
) -> Result<(Option<Finished>, [u8; MESSAGE_2_LEN]), snow::Error> {
    let mut noise = Noise::responder(&setup(Some(&secret.0)), rng)?;
    noise.read(message)?;
    let response = noise.write()?;
    Ok((noise.finish(), response))
}

fn setup(local: Option<&StaticSecret>) -> Setup<'_> {
    Setup { pattern: PATTERN, prologue: LINK_PROLOGUE, local, remote: None, psk: None }
}

/// The client's and the broker's sending key, in Noise's order.
fn keys(finished: &Finished) -> (RecordKey, RecordKey) {
    let [client, broker] = finished.split.each_ref().map(|key| RecordKey {
        aead: Aead::new(Suite::ChaCha20Poly1305, &SealingKey::new(**key)),
        counter: 0,
    });
    (client, broker)
}

/// A handshake message as it goes over the wire: `u16` big-endian length and the message, which has
/// at most [`MESSAGE_2_LEN`] bytes. What no record could hold is cut.
pub fn frame(message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
    let message = message.get(..usize::from(length)).unwrap_or_default();
    [&length.to_be_bytes()[..], message].concat()
}

struct RecordKey {
    aead: Aead,
    counter: u64,
}

impl RecordKey {
    fn next_nonce(&self) -> Result<[u8; 12], LinkError> {
        if self.counter == u64::MAX { Err(LinkError::Exhausted) } else { Ok(noise_nonce(self.counter)) }
    }
}

/// Seals the records that this side sends.
pub struct LinkSealer(RecordKey);

impl LinkSealer {
    /// Appends a whole record to `out`: length and ciphertext of `plaintext`.
    ///
    /// # Errors
    /// [`LinkError::TooLong`], [`LinkError::Exhausted`]; nothing is appended then.
    pub fn seal(&mut self, plaintext: &[u8], out: &mut Vec<u8>) -> Result<(), LinkError> {
        let length = plaintext.len().checked_add(TAG_LEN).and_then(|length| u16::try_from(length).ok());
        let length = length.ok_or(LinkError::TooLong)?;
        let nonce = self.0.next_nonce()?;
        out.reserve(usize::from(length).saturating_add(2));
        out.extend(length.to_be_bytes());
        let start = out.len();
        out.extend(plaintext);
        let tag = self.0.aead.seal(nonce, &[], out.get_mut(start..).unwrap_or_default());
        out.extend(tag);
        self.0.counter = self.0.counter.saturating_add(1);
        Ok(())
    }
}

/// Opens the records of the other side, in the order in which they were sealed.
pub struct LinkOpener(RecordKey);

impl LinkOpener {
    /// Turns the ciphertext of a record, without its length, into its plaintext. After an error
    /// the link is of no more use.
    ///
    /// # Errors
    /// [`LinkError::Record`], [`LinkError::Exhausted`].
    pub fn open(&mut self, record: &mut Vec<u8>) -> Result<(), LinkError> {
        let nonce = self.0.next_nonce()?;
        let length = self.0.aead.open(nonce, &[], record).ok_or(LinkError::Record)?.len();
        record.truncate(length);
        self.0.counter = self.0.counter.saturating_add(1);
        Ok(())
    }
}

/// The signature of a client's hello: over this link and this broker, so that it serves nowhere
/// else.
pub fn hello(me: &Identity, hash: &[u8; 32], broker: BrokerKey) -> [u8; 64] {
    me.sign(Label::Hello, &hello_body(hash, broker))
}

/// Whether `signature` is the hello of `peer` on this link to this broker.
pub fn verify_hello(peer: PeerId, hash: &[u8; 32], broker: BrokerKey, signature: &[u8; 64]) -> bool {
    identity::verify(peer, Label::Hello, &hello_body(hash, broker), signature)
}

fn hello_body(hash: &[u8; 32], broker: BrokerKey) -> Vec<u8> {
    [&hash[..], &broker.0].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{identity, rng};

    struct Link {
        client: (LinkSealer, LinkOpener, LinkIdentity),
        broker: (LinkSealer, LinkOpener, [u8; 32]),
        key: BrokerKey,
    }

    fn link(seed: u8) -> Link {
        let secret = BrokerSecret::generate(&mut rng(seed)).unwrap();
        let (client, first) = ClientHandshake::start(&mut rng(seed + 1));
        let (sealer, opener, hash, second) =
            ServerHandshake::respond(&secret, &first, &mut rng(seed + 2)).unwrap();
        Link { client: client.finish(&second).unwrap(), broker: (sealer, opener, hash), key: secret.public() }
    }

    fn record(sealer: &mut LinkSealer, text: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        sealer.seal(text, &mut out).unwrap();
        assert_eq!(usize::from(u16::from_be_bytes([out[0], out[1]])), out.len() - 2);
        out.split_off(2)
    }

    fn opened(opener: &mut LinkOpener, record: &[u8]) -> Result<Vec<u8>, LinkError> {
        let mut record = record.to_vec();
        opener.open(&mut record).map(|()| record)
    }

    #[test]
    fn both_ends_agree_on_the_link_and_read_each_other() {
        let mut link = link(30);
        assert_eq!(link.client.2, LinkIdentity { key: link.key, hash: link.broker.2 });
        for text in [&b"one"[..], b"", b"three"] {
            let to_broker = record(&mut link.client.0, text);
            assert_eq!(opened(&mut link.broker.1, &to_broker).unwrap(), text);
            let to_client = record(&mut link.broker.0, text);
            assert_ne!(to_broker, to_client);
            assert_eq!(opened(&mut link.client.1, &to_client).unwrap(), text);
        }
    }

    #[test]
    fn records_are_appended_whole() {
        let mut link = link(30);
        let mut out = vec![0xaa];
        link.client.0.seal(b"one", &mut out).unwrap();
        link.client.0.seal(b"two", &mut out).unwrap();
        assert_eq!(out.len(), 1 + 2 * (2 + 3 + TAG_LEN));
        assert_eq!(opened(&mut link.broker.1, &out[3..22]).unwrap(), b"one");
        assert_eq!(opened(&mut link.broker.1, &out[24..]).unwrap(), b"two");
    }

    #[test]
    fn the_longest_record_fits_and_one_more_byte_is_refused_untouched() {
        let mut link = link(30);
        let mut out = Vec::new();
        let too_long = vec![7; RECORD_PLAINTEXT_MAX + 1];
        assert_eq!(link.client.0.seal(&too_long, &mut out), Err(LinkError::TooLong));
        assert!(out.is_empty());
        let longest = record(&mut link.client.0, &too_long[1..]);
        assert_eq!(longest.len(), LINK_RECORD_MAX);
        assert_eq!(opened(&mut link.broker.1, &longest).unwrap(), &too_long[1..]);
    }

    #[test]
    fn a_record_that_is_lost_repeated_swapped_damaged_or_cut_does_not_open() {
        let mut fresh = link(30);
        let records = [record(&mut fresh.client.0, b"one"), record(&mut fresh.client.0, b"two")];
        let opener = || link(30).broker.1;
        assert_eq!(opened(&mut opener(), &records[1]), Err(LinkError::Record), "lost or swapped");
        let mut repeated = opener();
        assert_eq!(opened(&mut repeated, &records[0]).unwrap(), b"one");
        assert_eq!(opened(&mut repeated, &records[0]), Err(LinkError::Record), "repeated");
        assert_eq!(opened(&mut fresh.client.1, &records[0]), Err(LinkError::Record), "reflected");
        for bit in 0..records[0].len() * 8 {
            let mut flipped = records[0].clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(opened(&mut opener(), &flipped), Err(LinkError::Record), "bit {bit}");
        }
        for length in 0..records[0].len() {
            assert_eq!(opened(&mut opener(), &records[0][..length]), Err(LinkError::Record), "{length}");
        }
    }

    #[test]
    fn a_link_ends_before_its_counter_comes_round() {
        let mut link = link(30);
        link.client.0.0.counter = u64::MAX;
        link.broker.1.0.counter = u64::MAX;
        assert_eq!(link.client.0.seal(b"one", &mut Vec::new()), Err(LinkError::Exhausted));
        assert_eq!(link.broker.1.open(&mut vec![0; 20]), Err(LinkError::Exhausted));
    }

    #[test]
    fn no_damaged_handshake_message_makes_a_link() {
        let secret = BrokerSecret::from_bytes([5; 32]);
        let respond = |first: &[u8]| ServerHandshake::respond(&secret, first, &mut rng(2));
        let (_, first) = ClientHandshake::start(&mut rng(1));
        let (.., second) = respond(&first).unwrap();
        let finish = |second: &[u8]| ClientHandshake::start(&mut rng(1)).0.finish(second);
        assert_eq!((first.len(), second.len()), (MESSAGE_1_LEN, MESSAGE_2_LEN));
        for bit in 0..second.len() * 8 {
            let mut flipped = second.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(finish(&flipped).unwrap_err(), LinkError::Handshake, "bit {bit}");
        }
        for length in 0..second.len() {
            assert_eq!(finish(&second[..length]).unwrap_err(), LinkError::Handshake, "{length} bytes");
        }
        assert!(finish(&[&second[..], &[0]].concat()).is_err());
        assert!(finish(&second).is_ok());
        for first in [&first[..31], &[&first[..], &[0]].concat(), &[], &[0; 32], &[0xff; 32]] {
            assert_eq!(respond(first).unwrap_err(), LinkError::Handshake, "{first:?}");
        }
    }

    #[test]
    fn somebody_in_between_cannot_show_the_brokers_key() {
        let (client, first) = ClientHandshake::start(&mut rng(1));
        let impostor = BrokerSecret::from_bytes([6; 32]);
        let (.., second) = ServerHandshake::respond(&impostor, &first, &mut rng(2)).unwrap();
        let (.., identity) = client.finish(&second).unwrap();
        assert_eq!(identity.key, impostor.public());
        assert_ne!(identity.key, BrokerSecret::from_bytes([5; 32]).public());
    }

    #[test]
    fn a_hello_serves_one_link_one_broker_and_one_identity() {
        let (me, other) = (identity(1), identity(2));
        let (hash, broker) = ([7; 32], BrokerKey([8; 32]));
        let signature = hello(&me, &hash, broker);
        assert!(verify_hello(me.peer_id(), &hash, broker, &signature));
        assert!(!verify_hello(me.peer_id(), &[6; 32], broker, &signature), "another link");
        assert!(!verify_hello(me.peer_id(), &hash, BrokerKey([9; 32]), &signature), "another broker");
        assert!(!verify_hello(other.peer_id(), &hash, broker, &signature), "another identity");
        let as_offer = me.sign(Label::Offer, &hello_body(&hash, broker));
        assert!(!verify_hello(me.peer_id(), &hash, broker, &as_offer), "another purpose");
        for bit in 0..signature.len() * 8 {
            let mut flipped = signature;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(!verify_hello(me.peer_id(), &hash, broker, &flipped), "bit {bit}");
        }
        assert!(!verify_hello(PeerId([0; 32]), &hash, broker, &[0; 64]));
    }

    #[test]
    fn a_brokers_key_comes_back_from_its_bytes() {
        let secret = BrokerSecret::generate(&mut rng(1)).unwrap();
        assert_eq!(BrokerSecret::from_bytes(*secret.to_bytes()).public(), secret.public());
    }

    #[test]
    fn a_framed_message_says_its_length() {
        assert_eq!(frame(&[7; 3]), [0, 3, 7, 7, 7]);
        assert_eq!(frame(&vec![7; 1 << 16]).len(), 2 + LINK_RECORD_MAX);
    }
}
