//! A second reading of the protocol, with every secret at hand: what an attacker computes with who
//! was introduced and means no good, and what a golden transcript is checked against.
//!
//! Nothing here is the product's: keys come straight from the primitives, handshakes from another
//! release of snow with primitives of its own.

use std::sync::Arc;

use aws_lc_rs::kem::{Ciphertext, DecapsulationKey, EncapsulationKey, ML_KEM_768};
use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit, Nonce};
use ed25519_dalek::{Signer, SigningKey};
use p2pchat_crypto::{Identity, Seed};
use p2pchat_proto::broker::SealedEndpoints;
use p2pchat_proto::codec::{decode, encode};
use p2pchat_proto::offer::{Addressee, OfferBody, OfferKind, Purpose, SignedOffer, Suites};
use p2pchat_proto::{BrokerKey, PeerId, RequestId, WallTime};
use rand::{Rng, RngExt};
use rand_chacha::ChaCha20Rng;
use snow_reference::{Builder, HandshakeState};
use x25519_dalek::{PublicKey, StaticSecret};

use crate::rows::NotRun;

/// The session's handshake.
pub(crate) const XK: &str = "Noise_XKpsk3_25519_ChaChaPoly_BLAKE2s";
/// The broker of every meeting here.
pub(crate) const BROKER: BrokerKey = BrokerKey([9; 32]);
/// When every meeting here is.
pub(crate) const NOW: WallTime = WallTime(1_800_000_000_000);
/// What everybody here can seal with.
pub(crate) const SUITES: Suites = Suites::CHACHA20_POLY1305;

/// Somebody whose secrets are at hand.
#[derive(Clone)]
pub(crate) struct Person {
    /// As the product knows them.
    pub(crate) identity: Arc<Identity>,
    /// What signs.
    pub(crate) signing: SigningKey,
    /// The Noise static key.
    pub(crate) noise: StaticSecret,
}

impl Person {
    /// Of a seed.
    pub(crate) fn of(seed: [u8; 32]) -> Self {
        Self {
            identity: Arc::new(Identity::from_seed(&Seed::from_bytes(seed))),
            signing: SigningKey::from_bytes(&blake3::derive_key("p2pchat 1 identity", &seed)),
            noise: StaticSecret::from(blake3::derive_key("p2pchat 1 noise static", &seed)),
        }
    }

    /// Somebody new.
    pub(crate) fn draw(rng: &mut ChaCha20Rng) -> Self {
        Self::of(rng.random())
    }

    /// The public key by which others know them.
    pub(crate) fn peer_id(&self) -> PeerId {
        self.identity.peer_id()
    }

    /// Signs what is not always true.
    pub(crate) fn sign(&self, body: &OfferBody) -> Result<SignedOffer, NotRun> {
        let body = encode(body)?;
        let label = b"p2pchat 1 offer";
        let signed = [&[label.len() as u8][..], label, &body].concat();
        Ok(SignedOffer { signature: self.signing.sign(&signed).to_bytes(), body })
    }

    /// The offer again, changed, and signed by this person.
    pub(crate) fn resign(
        &self,
        offer: &SignedOffer,
        change: impl FnOnce(&mut OfferBody),
    ) -> Result<SignedOffer, NotRun> {
        let mut body: OfferBody = decode(&offer.body)?;
        change(&mut body);
        self.sign(&body)
    }
}

/// The secrets behind one side's offer.
pub(crate) struct Ephemerals {
    x25519: StaticSecret,
    kem: DecapsulationKey,
}

/// A request of `asker`, with everything behind it.
pub(crate) fn request(
    asker: &Person,
    to: PeerId,
    rng: &mut ChaCha20Rng,
) -> Result<(SignedOffer, Ephemerals), NotRun> {
    let x25519 = StaticSecret::from(rng.random::<[u8; 32]>());
    let kem = DecapsulationKey::generate(&ML_KEM_768)?;
    let body = OfferBody {
        version: 1,
        kind: OfferKind::Request,
        request: RequestId(rng.random()),
        from: asker.peer_id(),
        to: Addressee::Peer(to),
        noise_static: asker.identity.noise_public(),
        eph_x25519: PublicKey::from(&x25519).to_bytes(),
        kem: kem.encapsulation_key()?.key_bytes()?.as_ref().to_vec(),
        suites: SUITES,
        features: 0,
        broker_key: BROKER,
        made: NOW,
        purpose: Purpose::Chat,
        answers: None,
    };
    Ok((asker.sign(&body)?, Ephemerals { x25519, kem }))
}

/// What asker and accepter share.
#[derive(Clone)]
pub(crate) struct Shared {
    /// Over both offers.
    pub(crate) transcript: [u8; 32],
    /// Where all keys come from.
    pub(crate) secret: [u8; 32],
    /// The X25519 exchange alone.
    pub(crate) dh: [u8; 32],
}

/// What the asker gets out of an accept, whatever is in it.
pub(crate) fn accepted(
    mine: &Ephemerals,
    request: &SignedOffer,
    accept: &SignedOffer,
) -> Result<Shared, NotRun> {
    let body: OfferBody = decode(&accept.body)?;
    let dh = mine.x25519.diffie_hellman(&PublicKey::from(body.eph_x25519));
    let kem = mine.kem.decapsulate(Ciphertext::from(&body.kem[..]))?;
    Ok(shared(dh.as_bytes(), kem.as_ref(), transcript(request, accept)))
}

/// Accepts a request as `accepter`. `damage` changes the ciphertext after it was made.
pub(crate) fn accept(
    accepter: &Person,
    request: &SignedOffer,
    damage: impl FnOnce(&mut Vec<u8>),
    rng: &mut ChaCha20Rng,
) -> Result<(SignedOffer, Shared), NotRun> {
    let asked: OfferBody = decode(&request.body)?;
    let x25519 = StaticSecret::from(rng.random::<[u8; 32]>());
    let (ciphertext, kem) = EncapsulationKey::new(&ML_KEM_768, &asked.kem)?.encapsulate()?;
    let mut ciphertext = ciphertext.as_ref().to_vec();
    damage(&mut ciphertext);
    let answers = blake3::Hasher::new().update(&request.body).update(&request.signature).finalize();
    let body = OfferBody {
        kind: OfferKind::Accept,
        from: accepter.peer_id(),
        to: Addressee::Peer(asked.from),
        noise_static: accepter.identity.noise_public(),
        eph_x25519: PublicKey::from(&x25519).to_bytes(),
        kem: ciphertext,
        answers: Some(*answers.as_bytes()),
        ..asked.clone()
    };
    let offer = accepter.sign(&body)?;
    let dh = x25519.diffie_hellman(&PublicKey::from(asked.eph_x25519));
    let shared = shared(dh.as_bytes(), kem.as_ref(), transcript(request, &offer));
    Ok((offer, shared))
}

fn shared(dh: &[u8; 32], kem: &[u8], transcript: [u8; 32]) -> Shared {
    let secret = blake3::derive_key("p2pchat 1 introduction", &[dh, kem, &transcript[..]].concat());
    Shared { transcript, secret, dh: *dh }
}

/// `BLAKE3(u32 length | request | u32 length | accept)`.
pub(crate) fn transcript(request: &SignedOffer, accept: &SignedOffer) -> [u8; 32] {
    transcript_of(&offer_bytes(request), &offer_bytes(accept))
}

/// The same over any bytes.
pub(crate) fn transcript_of(request: &[u8], accept: &[u8]) -> [u8; 32] {
    let length = |bytes: &[u8]| (bytes.len() as u32).to_be_bytes();
    *blake3::hash(&[&length(request), request, &length(accept), accept].concat()).as_bytes()
}

/// Body and signature.
pub(crate) fn offer_bytes(offer: &SignedOffer) -> Vec<u8> {
    [&offer.body[..], &offer.signature].concat()
}

impl Shared {
    /// The key of one purpose, of a sender where it has one.
    pub(crate) fn key(&self, context: &str, sender: Option<PeerId>) -> [u8; 32] {
        let sender = sender.map_or(vec![], |sender| sender.0.to_vec());
        blake3::derive_key(context, &[&self.secret[..], &sender].concat())
    }

    /// As a double that leaves the KEM out would have it.
    pub(crate) fn without_kem(self) -> Self {
        Self { secret: blake3::derive_key("p2pchat 1 introduction", &self.dh), ..self }
    }

    /// The pre-shared key of the handshake.
    pub(crate) fn psk(&self) -> [u8; 32] {
        self.key("p2pchat 1 psk", None)
    }

    /// What stands for the sender's half on a datagram.
    pub(crate) fn ticket(&self, sender: PeerId) -> [u8; 8] {
        let mut ticket = [0; 8];
        ticket.copy_from_slice(&self.key("p2pchat 1 ticket key", Some(sender))[..8]);
        ticket
    }

    /// The MAC of a sender's datagram.
    pub(crate) fn mac(&self, sender: PeerId, bytes: &[u8]) -> [u8; 16] {
        let mut mac = [0; 16];
        let hash = blake3::keyed_hash(&self.key("p2pchat 1 mac", Some(sender)), bytes);
        mac.copy_from_slice(&hash.as_bytes()[..16]);
        mac
    }

    /// The prologue of a handshake that `initiator` begins.
    pub(crate) fn prologue(&self, initiator: PeerId) -> Vec<u8> {
        [&b"p2pchat 1 session"[..], &self.transcript, &self.ticket(initiator)].concat()
    }

    /// Encoded endpoints as `sender` seals them.
    pub(crate) fn seal(
        &self,
        sender: PeerId,
        counter: u64,
        mut body: Vec<u8>,
    ) -> Result<SealedEndpoints, NotRun> {
        let key = self.key("p2pchat 1 endpoints", Some(sender));
        let counter = [&[0; 4][..], &counter.to_be_bytes()].concat();
        let nonce = Nonce::try_from(&counter[..])?;
        ChaCha20Poly1305::new((&key).into())
            .encrypt_in_place(&nonce, &self.transcript, &mut body)
            .map_err(|_| NotRun("endpoints could not be sealed".to_owned()))?;
        SealedEndpoints::new([counter, body].concat()).ok_or(NotRun("too many endpoints".to_owned()))
    }
}

/// Keys of a handshake. What is left out is not used by the pattern.
#[derive(Clone, Default)]
pub(crate) struct Keys {
    /// Bound by the handshake.
    pub(crate) prologue: Vec<u8>,
    /// One's own static key.
    pub(crate) local: Option<[u8; 32]>,
    /// The peer's static public key.
    pub(crate) remote: Option<[u8; 32]>,
    /// With its position.
    pub(crate) psk: Option<(u8, [u8; 32])>,
    /// A recorded ephemeral key.
    pub(crate) ephemeral: Option<[u8; 32]>,
}

impl Keys {
    /// Of the session's handshake as `initiator` begins it.
    pub(crate) fn initiator(initiator: &Person, responder: [u8; 32], shared: &Shared) -> Self {
        Self {
            prologue: shared.prologue(initiator.peer_id()),
            local: Some(initiator.noise.to_bytes()),
            remote: Some(responder),
            psk: Some((3, shared.psk())),
            ephemeral: None,
        }
    }

    /// Of the session's handshake as `responder` answers it.
    pub(crate) fn responder(responder: &Person, initiator: PeerId, shared: &Shared) -> Self {
        Self {
            prologue: shared.prologue(initiator),
            local: Some(responder.noise.to_bytes()),
            remote: None,
            psk: Some((3, shared.psk())),
            ephemeral: None,
        }
    }

    /// One side of `pattern`.
    pub(crate) fn build(&self, pattern: &str, initiator: bool) -> Result<HandshakeState, NotRun> {
        let mut builder = Builder::new(pattern.parse()?).prologue(&self.prologue);
        if let Some(local) = &self.local {
            builder = builder.local_private_key(local);
        }
        if let Some(remote) = &self.remote {
            builder = builder.remote_public_key(remote);
        }
        if let Some((position, psk)) = &self.psk {
            builder = builder.psk(*position, psk);
        }
        if let Some(ephemeral) = &self.ephemeral {
            builder = builder.fixed_ephemeral_key_for_testing_only(ephemeral);
        }
        Ok(if initiator { builder.build_initiator()? } else { builder.build_responder()? })
    }
}

/// The next message of a handshake, without a payload.
pub(crate) fn write(state: &mut HandshakeState) -> Result<Vec<u8>, NotRun> {
    let mut buffer = [0; 256];
    let written = state.write_message(&[], &mut buffer)?;
    Ok(buffer[..written].to_vec())
}

/// A message as an array of the length that the product takes.
pub(crate) fn array<const N: usize>(message: &[u8]) -> Result<[u8; N], NotRun> {
    message.try_into().map_err(|_| NotRun(format!("a message of {} bytes, not {N}", message.len())))
}

/// The secret of epoch 0 after a finished handshake.
pub(crate) fn session_secret(finished: &mut HandshakeState) -> [u8; 32] {
    let (first, second) = finished.dangerously_get_raw_split();
    session_secret_of(&first, &second, finished.get_handshake_hash())
}

/// The same of the split and the hash.
pub(crate) fn session_secret_of(first: &[u8; 32], second: &[u8; 32], hash: &[u8]) -> [u8; 32] {
    blake3::derive_key("p2pchat 1 session", &[first, second, hash].concat())
}

/// A DATA packet as a second implementation seals it with ChaCha20-Poly1305.
pub(crate) fn data_packet(
    secret: &[u8; 32],
    direction: &str,
    number: u64,
    header: &[u8],
    text: &[u8],
) -> Result<Vec<u8>, NotRun> {
    let (key, nonce) = data_key(secret, direction, number);
    let mut body = text.to_vec();
    ChaCha20Poly1305::new((&key).into())
        .encrypt_in_place(&Nonce::from(nonce), header, &mut body)
        .map_err(|_| NotRun("a packet could not be sealed".to_owned()))?;
    Ok([header, &body].concat())
}

/// Fresh bytes.
pub(crate) fn bytes<const N: usize>(rng: &mut ChaCha20Rng) -> [u8; N] {
    let mut bytes = [0; N];
    rng.fill_bytes(&mut bytes);
    bytes
}

/// The text of such a packet's ciphertext and tag.
pub(crate) fn open_packet(
    secret: &[u8; 32],
    direction: &str,
    number: u64,
    header: &[u8],
    sealed: &[u8],
) -> Option<Vec<u8>> {
    let (key, nonce) = data_key(secret, direction, number);
    let mut body = sealed.to_vec();
    ChaCha20Poly1305::new((&key).into()).decrypt_in_place(&Nonce::from(nonce), header, &mut body).ok()?;
    Some(body)
}

/// Key and nonce of a DATA packet.
pub(crate) fn data_key(secret: &[u8; 32], direction: &str, number: u64) -> ([u8; 32], [u8; 12]) {
    let input = [&secret[..], direction.as_bytes()].concat();
    let iv = blake3::derive_key("p2pchat 1 data iv", &input);
    let mut nonce = [0; 12];
    nonce.copy_from_slice(&iv[..12]);
    nonce.iter_mut().skip(4).zip(number.to_be_bytes()).for_each(|(to, byte)| *to ^= byte);
    (blake3::derive_key("p2pchat 1 data key", &input), nonce)
}

impl Shared {
    /// What `sender` sealed.
    pub(crate) fn open(&self, sender: PeerId, sealed: &SealedEndpoints) -> Option<Vec<u8>> {
        let key = self.key("p2pchat 1 endpoints", Some(sender));
        let (nonce, body) = sealed.as_slice().split_first_chunk::<12>()?;
        let (nonce, mut body) = (Nonce::from(*nonce), body.to_vec());
        ChaCha20Poly1305::new((&key).into()).decrypt_in_place(&nonce, &self.transcript, &mut body).ok()?;
        Some(body)
    }
}
