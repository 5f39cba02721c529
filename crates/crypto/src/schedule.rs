//! The key schedule, all of it (protocol section 13): one context a purpose, inputs concatenated.
//!
//! `derive(context, inputs)` is `blake3::derive_key`. Every input of one context has a fixed
//! length, so that the concatenation can be read in one way only.

use p2pchat_proto::{PeerId, TransferId};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use crate::carrier::CarrierSecret;
use crate::identity::Seed;
use crate::introduction::Role;
use crate::secret::secret;

const IDENTITY: &str = "p2pchat 1 identity";
const NOISE_STATIC: &str = "p2pchat 1 noise static";
const INTRODUCTION: &str = "p2pchat 1 introduction";
const PSK: &str = "p2pchat 1 psk";
const TICKET_KEY: &str = "p2pchat 1 ticket key";
const MAC: &str = "p2pchat 1 mac";
const ENDPOINTS: &str = "p2pchat 1 endpoints";
const SESSION: &str = "p2pchat 1 session";
const NEXT_EPOCH: &str = "p2pchat 1 next epoch";
const REKEY_PSK: &str = "p2pchat 1 rekey psk";
const RESUMPTION: &str = "p2pchat 1 resumption";
const RESUMPTION_TRANSCRIPT: &str = "p2pchat 1 resumption transcript";
const STORE: &str = "p2pchat 1 store";
const STORE_NAMES: &str = "p2pchat 1 store names";
const DATA_KEY: &str = "p2pchat 1 data key";
const DATA_IV: &str = "p2pchat 1 data iv";
const FILE: &str = "p2pchat 1 file";
const FILE_HELLO: &str = "p2pchat 1 file hello";

/// Length of the AEAD nonces of data and records, in bytes (RFC 8439 section 2.8, NIST SP 800-38D).
pub(crate) const IV_LEN: usize = 12;

secret! {
    /// Private half of the identity, an Ed25519 seed (RFC 8032 section 5.1.5).
    pub(crate) struct IdentitySeed;
}
secret! {
    /// Private half of the Noise static key, X25519.
    pub(crate) struct NoiseStatic;
}
secret! {
    /// What both sides of an introduction share and nobody else.
    pub(crate) struct IntroductionSecret;
}
secret! {
    /// The pre-shared key of a session's handshake or rekey.
    pub(crate) struct Psk;
}
secret! {
    /// Where the sender's ticket comes from.
    pub(crate) struct TicketKey;
}
secret! {
    /// Keys BLAKE3 over handshake datagrams or a carrier's hello.
    pub(crate) struct MacKey;
}
secret! {
    /// Seals the sender's endpoints.
    pub(crate) struct EndpointKey;
}
secret! {
    /// Secret of one epoch of a session.
    pub(crate) struct SessionSecret;
}

secret! {
    /// What two who had a session can begin another with, without a broker. Each epoch has its own.
    pub struct ResumptionSecret;
}

impl ResumptionSecret {
    /// The secret that these bytes are, as they were kept.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self::new(bytes)
    }

    /// The bytes, to be sealed before they are kept.
    pub const fn expose(&self) -> &[u8; 32] {
        self.as_bytes()
    }
}

impl Clone for ResumptionSecret {
    fn clone(&self) -> Self {
        Self::new(*self.as_bytes())
    }
}

/// In a time that says nothing of where they differ.
impl PartialEq for ResumptionSecret {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes().ct_eq(other.as_bytes()).into()
    }
}

impl Eq for ResumptionSecret {}

secret! {
    /// Seals everything that rests on this machine; see [`crate::rest`].
    pub struct StoreKey;
}
secret! {
    /// Hides under which names things rest.
    pub struct StoreNames;
}
secret! {
    /// Key of an AEAD for data, records or the broker link.
    pub(crate) struct SealingKey;
}

/// Which way a packet goes, by the session's INIT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From the initiator to the responder.
    InitiatorToResponder,
    /// From the responder to the initiator.
    ResponderToInitiator,
}

impl Direction {
    /// The direction in which the side of `role` sends.
    pub(crate) const fn sent_by(role: Role) -> Self {
        match role {
            Role::Initiator => Self::InitiatorToResponder,
            Role::Responder => Self::ResponderToInitiator,
        }
    }

    /// The other one.
    pub(crate) const fn reverse(self) -> Self {
        match self {
            Self::InitiatorToResponder => Self::ResponderToInitiator,
            Self::ResponderToInitiator => Self::InitiatorToResponder,
        }
    }

    const fn label(self) -> &'static [u8] {
        match self {
            Self::InitiatorToResponder => b"i2r",
            Self::ResponderToInitiator => b"r2i",
        }
    }
}

pub(crate) fn identity_seed(seed: &Seed) -> IdentitySeed {
    IdentitySeed::boxed(derive(IDENTITY, &[seed.as_bytes()]))
}

pub(crate) fn noise_static(seed: &Seed) -> NoiseStatic {
    NoiseStatic::boxed(derive(NOISE_STATIC, &[seed.as_bytes()]))
}

pub(crate) fn introduction_secret(
    x25519: &[u8; 32],
    kem: &[u8; 32],
    transcript: &[u8; 32],
) -> IntroductionSecret {
    IntroductionSecret::boxed(derive(INTRODUCTION, &[x25519, kem, transcript]))
}

pub(crate) fn psk(secret: &IntroductionSecret) -> Psk {
    Psk::boxed(derive(PSK, &[secret.as_bytes()]))
}

pub(crate) fn ticket_key(secret: &IntroductionSecret, sender: PeerId) -> TicketKey {
    TicketKey::boxed(derive(TICKET_KEY, &[secret.as_bytes(), &sender.0]))
}

pub(crate) fn mac_key(secret: &IntroductionSecret, sender: PeerId) -> MacKey {
    MacKey::boxed(derive(MAC, &[secret.as_bytes(), &sender.0]))
}

pub(crate) fn endpoint_key(secret: &IntroductionSecret, sender: PeerId) -> EndpointKey {
    EndpointKey::boxed(derive(ENDPOINTS, &[secret.as_bytes(), &sender.0]))
}

pub(crate) fn session_secret(split: [&[u8; 32]; 2], handshake_hash: &[u8; 32]) -> SessionSecret {
    let [first, second] = split;
    SessionSecret::boxed(derive(SESSION, &[first, second, handshake_hash]))
}

pub(crate) fn next_epoch(
    secret: &SessionSecret,
    split: [&[u8; 32]; 2],
    rekey_hash: &[u8; 32],
    epoch: u32,
) -> SessionSecret {
    let [first, second] = split;
    let inputs: [&[u8]; 5] = [secret.as_bytes(), first, second, rekey_hash, &epoch.to_be_bytes()];
    SessionSecret::boxed(derive(NEXT_EPOCH, &inputs))
}

pub(crate) fn rekey_psk(secret: &SessionSecret) -> Psk {
    Psk::boxed(derive(REKEY_PSK, &[secret.as_bytes()]))
}

pub(crate) fn resumption(secret: &SessionSecret) -> ResumptionSecret {
    ResumptionSecret::boxed(derive(RESUMPTION, &[secret.as_bytes()]))
}

pub(crate) fn resumption_transcript(secret: &IntroductionSecret) -> [u8; 32] {
    *derive(RESUMPTION_TRANSCRIPT, &[secret.as_bytes()])
}

pub(crate) fn store_key(seed: &Seed) -> StoreKey {
    match seed.home() {
        Some(home) => StoreKey::new(*home),
        None => StoreKey::boxed(derive(STORE, &[seed.as_bytes()])),
    }
}

pub(crate) fn store_names(key: &StoreKey) -> StoreNames {
    StoreNames::boxed(derive(STORE_NAMES, &[key.as_bytes()]))
}

pub(crate) fn data_key(secret: &SessionSecret, direction: Direction) -> SealingKey {
    SealingKey::boxed(derive(DATA_KEY, &[secret.as_bytes(), direction.label()]))
}

pub(crate) fn data_iv(secret: &SessionSecret, direction: Direction) -> Zeroizing<[u8; IV_LEN]> {
    let mut bytes = derive(DATA_IV, &[secret.as_bytes(), direction.label()]);
    let mut iv = Zeroizing::new([0; IV_LEN]);
    iv.iter_mut().zip(bytes.iter()).for_each(|(to, from)| *to = *from);
    bytes.zeroize();
    iv
}

pub(crate) fn file_key(
    secret: &CarrierSecret,
    transfer: TransferId,
    nonce_d: &[u8; 16],
    nonce_l: &[u8; 16],
) -> SealingKey {
    SealingKey::boxed(derive(FILE, &[secret.as_bytes(), &transfer.0, nonce_d, nonce_l]))
}

pub(crate) fn file_hello_key(secret: &CarrierSecret) -> MacKey {
    MacKey::boxed(derive(FILE_HELLO, &[secret.as_bytes()]))
}

fn derive(context: &'static str, inputs: &[&[u8]]) -> Box<[u8; 32]> {
    let mut hasher = blake3::Hasher::new_derive_key(context);
    for input in inputs {
        hasher.update(input);
    }
    let mut hash = hasher.finalize();
    let mut key = Box::new([0; 32]);
    key.copy_from_slice(hash.as_bytes());
    hash.zeroize();
    hasher.zeroize();
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: PeerId = PeerId([1; 32]);

    /// The table of protocol section 13, written out once more.
    #[test]
    fn every_key_comes_from_its_context_and_inputs() {
        let seed = Seed::from_bytes([2; 32]);
        let secret = IntroductionSecret::new([3; 32]);
        let session = SessionSecret::new([4; 32]);
        let carrier = CarrierSecret::from_bytes([5; 32]);
        let (i2r, r2i) = (Direction::sent_by(Role::Initiator), Direction::sent_by(Role::Responder));
        let secret_and_alice = [[3; 32], ALICE.0].concat();
        let file = [&[5; 32][..], &[6; 16], &[7; 16], &[8; 16]].concat();
        let table: [(&str, &[u8], [u8; 32]); 19] = [
            ("p2pchat 1 identity", &[2; 32], *identity_seed(&seed).as_bytes()),
            ("p2pchat 1 noise static", &[2; 32], *noise_static(&seed).as_bytes()),
            (
                "p2pchat 1 introduction",
                &[[6; 32], [7; 32], [8; 32]].concat(),
                *introduction_secret(&[6; 32], &[7; 32], &[8; 32]).as_bytes(),
            ),
            ("p2pchat 1 psk", &[3; 32], *psk(&secret).as_bytes()),
            ("p2pchat 1 ticket key", &secret_and_alice, *ticket_key(&secret, ALICE).as_bytes()),
            ("p2pchat 1 mac", &secret_and_alice, *mac_key(&secret, ALICE).as_bytes()),
            ("p2pchat 1 endpoints", &secret_and_alice, *endpoint_key(&secret, ALICE).as_bytes()),
            (
                "p2pchat 1 session",
                &[[6; 32], [7; 32], [8; 32]].concat(),
                *session_secret([&[6; 32], &[7; 32]], &[8; 32]).as_bytes(),
            ),
            (
                "p2pchat 1 next epoch",
                &[&[4; 32][..], &[6; 32], &[7; 32], &[8; 32], &[0, 0, 1, 2]].concat(),
                *next_epoch(&session, [&[6; 32], &[7; 32]], &[8; 32], 0x0102).as_bytes(),
            ),
            ("p2pchat 1 rekey psk", &[4; 32], *rekey_psk(&session).as_bytes()),
            ("p2pchat 1 resumption", &[4; 32], *resumption(&session).expose()),
            ("p2pchat 1 resumption transcript", &[3; 32], resumption_transcript(&secret)),
            ("p2pchat 1 store", &[2; 32], *store_key(&seed).as_bytes()),
            ("p2pchat 1 store names", &[9; 32], *store_names(&StoreKey::new([9; 32])).as_bytes()),
            ("p2pchat 1 data key", &[&[4; 32][..], b"i2r"].concat(), *data_key(&session, i2r).as_bytes()),
            ("p2pchat 1 data key", &[&[4; 32][..], b"r2i"].concat(), *data_key(&session, r2i).as_bytes()),
            (
                "p2pchat 1 data key",
                &[&[4; 32][..], b"r2i"].concat(),
                *data_key(&session, i2r.reverse()).as_bytes(),
            ),
            (
                "p2pchat 1 file",
                &file,
                *file_key(&carrier, TransferId([6; 16]), &[7; 16], &[8; 16]).as_bytes(),
            ),
            ("p2pchat 1 file hello", &[5; 32], *file_hello_key(&carrier).as_bytes()),
        ];
        for (context, input, key) in table {
            assert_eq!(key, blake3::derive_key(context, input), "{context}");
        }
        let iv = blake3::derive_key("p2pchat 1 data iv", &[&[4; 32][..], b"i2r"].concat());
        assert_eq!(*data_iv(&session, i2r), iv[..IV_LEN]);
    }
}
