//! Our primitives under snow against the published vectors, and against another release of snow
//! with its own primitives.

use rand::Rng;
use snow::Builder;

use super::*;
use crate::introduction::Suite;
use crate::link::RECORD_PLAINTEXT_MAX;
use crate::schedule::SealingKey;
use crate::testing::rng;
use crate::vectors::Vectors;

const PUBLISHED: &str = include_str!("../../tests/vectors/noise.txt");
const XK: &str = "Noise_XKpsk3_25519_ChaChaPoly_BLAKE2s";
const KK: &str = crate::rekey::PATTERN;
const NX: &str = "Noise_NX_25519_ChaChaPoly_BLAKE2s";
const HANDSHAKES: u8 = 50;

/// One side of a published handshake, with the ephemeral key that is recorded.
fn side(vectors: &Vectors, pattern: &str, name: &str, role: &str) -> HandshakeState {
    let value = |key: &str| vectors.bytes(&format!("{name}_{key}")).to_vec();
    let array = |key: &str| vectors.array::<32>(&format!("{name}_{key}"));
    let prologue = value("prologue");
    let resolver = Box::new(Resolver::new(&mut rng(0)));
    let ephemeral = value(&format!("{role}_ephemeral"));
    let own = if name == "nx" && role == "init" { None } else { Some(value(&format!("{role}_static"))) };
    let position = match name {
        "xkpsk3" => Some(3),
        "kkpsk0" => Some(crate::rekey::PSK_POSITION),
        _ => None,
    };
    let psk = position.map(|position| (position, array("psk")));
    let knows = name == "kkpsk0" || (name == "xkpsk3" && role == "init");
    let remote = knows.then(|| array(&format!("{role}_remote_static")));
    let mut builder = Builder::with_resolver(pattern.parse().unwrap(), resolver)
        .prologue(&prologue)
        .unwrap()
        .fixed_ephemeral_key_for_testing_only(&ephemeral);
    if let Some(own) = &own {
        builder = builder.local_private_key(own).unwrap();
    }
    if let Some((position, psk)) = &psk {
        builder = builder.psk(*position, psk).unwrap();
    }
    if let Some(remote) = &remote {
        builder = builder.remote_public_key(remote).unwrap();
    }
    if role == "init" { builder.build_initiator().unwrap() } else { builder.build_responder().unwrap() }
}

fn check_published(pattern: &str, name: &str, handshake_messages: usize) {
    let vectors = Vectors::parse(PUBLISHED);
    let mut sides = [side(&vectors, pattern, name, "init"), side(&vectors, pattern, name, "resp")];
    let mut out = [0; 512];
    let mut read = [0; 512];
    for number in 1..=handshake_messages {
        sides.rotate_left(usize::from(number > 1));
        let payload = vectors.bytes(&format!("{name}_payload_{number}"));
        let message = vectors.bytes(&format!("{name}_message_{number}"));
        let written = sides[0].write_message(payload, &mut out).unwrap();
        assert_eq!(&out[..written], message, "{pattern} message {number}");
        let length = sides[1].read_message(message, &mut read).unwrap();
        assert_eq!(&read[..length], payload, "{pattern} payload {number}");
    }
    let hash = vectors.bytes(&format!("{name}_handshake_hash"));
    assert!(sides.iter().all(|side| side.get_handshake_hash() == hash));
    let mut sides = sides.map(|side| side.into_transport_mode().unwrap());
    for number in handshake_messages + 1..=6 {
        sides.rotate_left(1);
        let payload = vectors.bytes(&format!("{name}_payload_{number}"));
        let written = sides[0].write_message(payload, &mut out).unwrap();
        assert_eq!(&out[..written], vectors.bytes(&format!("{name}_message_{number}")));
        let length = sides[1].read_message(&out[..written], &mut read).unwrap();
        assert_eq!(&read[..length], payload);
    }
}

#[test]
fn our_primitives_give_the_published_messages_of_xkpsk3() {
    check_published(XK, "xkpsk3", 3);
}

#[test]
fn our_primitives_give_the_published_messages_of_kkpsk0() {
    check_published(KK, "kkpsk0", 2);
}

#[test]
fn our_primitives_give_the_published_messages_of_nx() {
    check_published(NX, "nx", 2);
}

struct Keys {
    initiator: StaticSecret,
    responder: StaticSecret,
    psk: [u8; 32],
    prologue: [u8; 24],
}

impl Keys {
    fn draw(seed: u8) -> Self {
        let mut rng = rng(seed);
        let mut bytes = || {
            let mut bytes = [0; 32];
            rng.fill_bytes(&mut bytes);
            bytes
        };
        Self {
            initiator: StaticSecret::from(bytes()),
            responder: StaticSecret::from(bytes()),
            psk: bytes(),
            prologue: [seed; 24],
        }
    }
}

fn public(secret: &StaticSecret) -> [u8; 32] {
    x25519_dalek::PublicKey::from(secret).to_bytes()
}

fn reference<'a>(pattern: &str, keys: &'a Keys) -> snow_reference::Builder<'a> {
    let builder = snow_reference::Builder::new(pattern.parse().unwrap()).prologue(&keys.prologue);
    match pattern {
        XK => builder.psk(3, &keys.psk),
        KK => builder.psk(crate::rekey::PSK_POSITION, &keys.psk),
        _ => builder,
    }
}

fn ours<'a>(pattern: &'static str, keys: &'a Keys) -> Setup<'a> {
    let psk = match pattern {
        XK => Some((3, &keys.psk)),
        KK => Some((crate::rekey::PSK_POSITION, &keys.psk)),
        _ => None,
    };
    Setup { pattern, prologue: &keys.prologue, local: None, remote: None, psk }
}

/// The reference and our finished handshake read each other's transport messages, which ours
/// seals the way the broker link does.
fn check_transport(mut theirs: snow_reference::TransportState, ours: &Finished, ours_first: bool, seed: u8) {
    let aead =
        |key: &Zeroizing<[u8; 32]>| crate::aead::Aead::new(Suite::ChaCha20Poly1305, &SealingKey::new(**key));
    let [first, second] = &ours.split;
    let (mine, other) = if ours_first { (aead(first), aead(second)) } else { (aead(second), aead(first)) };
    let mut rng = rng(seed);
    let mut out = vec![0; 1 << 16];
    for counter in 0..100_u64 {
        let length = if counter == 99 { RECORD_PLAINTEXT_MAX } else { usize::from(rng.next_u32() as u8) };
        let mut text = vec![0; length];
        rng.fill_bytes(&mut text);
        let mut sealed = text.clone();
        let tag = mine.seal(noise_nonce(counter), &[], &mut sealed);
        sealed.extend(tag);
        let read = theirs.read_message(&sealed, &mut out).unwrap();
        assert_eq!(&out[..read], text);
        let written = theirs.write_message(&text, &mut out).unwrap();
        assert_eq!(other.open(noise_nonce(counter), &[], &mut out[..written]).unwrap(), text);
    }
}

#[test]
fn fifty_handshakes_of_xkpsk3_with_another_snow_agree_in_hash_and_transport() {
    let mut out = [0; 256];
    for seed in 0..HANDSHAKES {
        let keys = Keys::draw(seed);
        let (initiator_public, responder_public) = (public(&keys.initiator), public(&keys.responder));

        let mut theirs =
            reference(XK, &keys).local_private_key(keys.responder.as_bytes()).build_responder().unwrap();
        let setup =
            Setup { local: Some(&keys.initiator), remote: Some(&responder_public), ..ours(XK, &keys) };
        let mut mine = Noise::initiator(&setup, &mut rng(seed)).unwrap();
        theirs.read_message(&mine.write::<48>().unwrap(), &mut []).unwrap();
        let written = theirs.write_message(&[], &mut out).unwrap();
        mine.read(&out[..written]).unwrap();
        theirs.read_message(&mine.write::<64>().unwrap(), &mut []).unwrap();
        let mine = mine.finish().unwrap();
        assert_eq!(theirs.get_handshake_hash(), mine.hash);
        assert_eq!(theirs.get_remote_static(), Some(&initiator_public[..]));
        check_transport(theirs.into_transport_mode().unwrap(), &mine, true, seed);

        let mut theirs = reference(XK, &keys)
            .local_private_key(keys.initiator.as_bytes())
            .remote_public_key(&responder_public)
            .build_initiator()
            .unwrap();
        let setup = Setup { local: Some(&keys.responder), ..ours(XK, &keys) };
        let mut mine = Noise::responder(&setup, &mut rng(seed)).unwrap();
        let written = theirs.write_message(&[], &mut out).unwrap();
        mine.read(&out[..written]).unwrap();
        theirs.read_message(&mine.write::<48>().unwrap(), &mut []).unwrap();
        let written = theirs.write_message(&[], &mut out).unwrap();
        mine.read(&out[..written]).unwrap();
        let mine = mine.finish().unwrap();
        assert_eq!(theirs.get_handshake_hash(), mine.hash);
        assert_eq!(mine.remote_static, Some(initiator_public));
        check_transport(theirs.into_transport_mode().unwrap(), &mine, false, seed);
    }
}

#[test]
fn fifty_rekeys_of_kkpsk0_with_another_snow_agree_in_hash_and_transport() {
    let mut out = [0; 256];
    for seed in 0..HANDSHAKES {
        let keys = Keys::draw(seed);
        let (initiator_public, responder_public) = (public(&keys.initiator), public(&keys.responder));

        let mut responder = reference(KK, &keys)
            .local_private_key(keys.responder.as_bytes())
            .remote_public_key(&initiator_public)
            .build_responder()
            .unwrap();
        let setup =
            Setup { local: Some(&keys.initiator), remote: Some(&responder_public), ..ours(KK, &keys) };
        let mut mine = Noise::initiator(&setup, &mut rng(seed)).unwrap();
        responder.read_message(&mine.write::<48>().unwrap(), &mut []).unwrap();
        let written = responder.write_message(&[], &mut out).unwrap();
        mine.read(&out[..written]).unwrap();
        let mine = mine.finish().unwrap();
        assert_eq!((written, responder.get_handshake_hash()), (48, &mine.hash[..]));
        check_transport(responder.into_transport_mode().unwrap(), &mine, true, seed);

        let mut initiator = reference(KK, &keys)
            .local_private_key(keys.initiator.as_bytes())
            .remote_public_key(&responder_public)
            .build_initiator()
            .unwrap();
        let setup =
            Setup { local: Some(&keys.responder), remote: Some(&initiator_public), ..ours(KK, &keys) };
        let mut mine = Noise::responder(&setup, &mut rng(seed)).unwrap();
        let written = initiator.write_message(&[], &mut out).unwrap();
        mine.read(&out[..written]).unwrap();
        initiator.read_message(&mine.write::<48>().unwrap(), &mut []).unwrap();
        let mine = mine.finish().unwrap();
        assert_eq!(initiator.get_handshake_hash(), mine.hash);
        check_transport(initiator.into_transport_mode().unwrap(), &mine, false, seed);
    }
}

#[test]
fn fifty_handshakes_of_nx_with_another_snow_agree_in_hash_and_transport() {
    let mut out = [0; 256];
    for seed in 0..HANDSHAKES {
        let keys = Keys::draw(seed);
        let mut theirs =
            reference(NX, &keys).local_private_key(keys.responder.as_bytes()).build_responder().unwrap();
        let mut mine = Noise::initiator(&ours(NX, &keys), &mut rng(seed)).unwrap();
        theirs.read_message(&mine.write::<32>().unwrap(), &mut []).unwrap();
        let written = theirs.write_message(&[], &mut out).unwrap();
        mine.read(&out[..written]).unwrap();
        let mine = mine.finish().unwrap();
        assert_eq!(theirs.get_handshake_hash(), mine.hash);
        assert_eq!(mine.remote_static, Some(public(&keys.responder)));
        check_transport(theirs.into_transport_mode().unwrap(), &mine, true, seed);
    }
}

#[test]
fn an_unfinished_handshake_gives_nothing() {
    let keys = Keys::draw(1);
    let responder_public = public(&keys.responder);
    let setup = Setup { local: Some(&keys.initiator), remote: Some(&responder_public), ..ours(XK, &keys) };
    let mut initiator = Noise::initiator(&setup, &mut rng(1)).unwrap();
    let setup = Setup { local: Some(&keys.responder), ..ours(XK, &keys) };
    let mut responder = Noise::responder(&setup, &mut rng(2)).unwrap();
    responder.read(&initiator.write::<48>().unwrap()).unwrap();
    initiator.read(&responder.write::<48>().unwrap()).unwrap();
    assert!(initiator.finish().is_none());
    assert!(responder.finish().is_none());
}

#[test]
fn a_message_of_another_length_than_expected_is_not_written() {
    let keys = Keys::draw(1);
    let mut initiator = Noise::initiator(&ours(NX, &keys), &mut rng(1)).unwrap();
    assert_eq!(initiator.write::<31>(), Err(snow::Error::Input));
}
