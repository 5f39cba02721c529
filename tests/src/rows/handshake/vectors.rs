//! H1 and H2: published and recorded bytes.

use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

use p2pchat_crypto::handshake::{Initiator, Responder};
use p2pchat_crypto::simulation::{self, Meeting};
use p2pchat_proto::offer::Suites;
use p2pchat_proto::{BrokerKey, RequestId, UdpEndpoints, WallTime};
use rand_chacha::ChaCha20Rng;
use serde_json::Value;
use snow::params::{HandshakeModifier, NoiseParams};
use snow::{Builder, HandshakeState};

use super::recorded::{Recorded, Vectors};
use super::second::{self, Keys, Person, Shared, XK, array};
use super::twisted::{self, Twist};
use crate::rows::{Defence, Lab, NotRun, Seen};

/// The names with the primitives that are shipped; the three that we use are among them.
pub(crate) const SHIPPED: &str = "_25519_ChaChaPoly_BLAKE2s";
/// What the session, its rekeys and the broker link use.
const OURS: [&str; 3] = [XK, "Noise_KKpsk0_25519_ChaChaPoly_BLAKE2s", "Noise_NX_25519_ChaChaPoly_BLAKE2s"];
/// The sets in the package of snow, with how many vectors each has, for all primitives.
const SETS: [(&str, usize); 3] = [("cacophony.txt", 944), ("snow.txt", 408), ("snow-extended.txt", 204)];

pub(crate) fn published(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let folder = package("snow", "0.10.0")?.join("tests/vectors");
    let (mut right, mut all, mut shipped) = (0, 0, 0);
    for (name, count) in SETS {
        let set: Value = serde_json::from_str(&fs::read_to_string(folder.join(name))?)?;
        let Some(vectors) = set["vectors"].as_array().filter(|vectors| vectors.len() == count) else {
            return Err(NotRun(format!("{name} does not hold {count} vectors")));
        };
        for vector in vectors {
            let name = vector["protocol_name"].as_str().unwrap_or_default();
            if !name.ends_with(SHIPPED) {
                continue;
            }
            all += 1;
            shipped += usize::from(OURS.contains(&name));
            right += usize::from(is_reproduced(vector, name, defence, &mut lab.rng).unwrap_or(false));
        }
    }
    let held = right == all && shipped > 2;
    let figure = format!("{right} of {all} vectors, {shipped} of them for XKpsk3, KKpsk0 and NX themselves");
    Ok(Seen::when(held, "messages, payloads and hashes compared byte by byte").figure(figure))
}

/// Where cargo keeps the source of a package.
pub(crate) fn package(name: &str, version: &str) -> Result<PathBuf, NotRun> {
    let cargo = env::var_os("CARGO").unwrap_or("cargo".into());
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
    let metadata = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--locked", "--manifest-path", manifest])
        .output()?;
    let metadata: Value = serde_json::from_slice(&metadata.stdout)?;
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let mut found = packages.filter(|package| package["name"] == name && package["version"] == version);
    let manifest = found.next().and_then(|package| package["manifest_path"].as_str());
    let folder = manifest.and_then(|path| PathBuf::from(path).parent().map(PathBuf::from));
    folder.ok_or(NotRun(format!("cargo knows no package {name} {version}")))
}

fn is_reproduced(
    vector: &Value,
    name: &str,
    defence: Defence,
    rng: &mut ChaCha20Rng,
) -> Result<bool, NotRun> {
    let twist = Twist { forgetful: defence == Defence::Removed, ..Twist::default() };
    let mut sides = [side(vector, name, "init", twist, rng)?, side(vector, name, "resp", twist, rng)?];
    let messages: Vec<_> = vector["messages"].as_array().into_iter().flatten().collect();
    let mut messages = messages.into_iter();
    let (mut out, mut read) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    while !sides[0].is_handshake_finished() {
        let Some(message) = messages.next() else { return Ok(false) };
        let (payload, expected) = (hex(&message["payload"])?, hex(&message["ciphertext"])?);
        let written = sides[0].write_message(&payload, &mut out)?;
        let length = sides[1].read_message(&expected, &mut read)?;
        if out[..written] != expected || read[..length] != payload {
            return Ok(false);
        }
        sides.swap(0, 1);
    }
    if let Some(hash) = vector.get("handshake_hash") {
        let hash = hex(hash)?;
        if sides.iter().any(|side| side.get_handshake_hash() != hash) {
            return Ok(false);
        }
    }
    let one_way = ["N", "K", "X"].iter().any(|one| {
        let rest = name.strip_prefix("Noise_").and_then(|name| name.strip_prefix(one));
        rest.is_some_and(|rest| rest.starts_with('_') || rest.starts_with("psk"))
    });
    if one_way {
        // Back to the initiator, who goes on alone.
        sides.swap(0, 1);
    }
    let [one, two] = sides;
    let mut sides = [one.into_transport_mode()?, two.into_transport_mode()?];
    for message in messages {
        let (payload, expected) = (hex(&message["payload"])?, hex(&message["ciphertext"])?);
        let written = sides[0].write_message(&payload, &mut out)?;
        let length = sides[1].read_message(&expected, &mut read)?;
        if out[..written] != expected || read[..length] != payload {
            return Ok(false);
        }
        if !one_way {
            sides.swap(0, 1);
        }
    }
    Ok(true)
}

/// One side of a vector, with the keys that snow's sets name so.
pub(crate) fn side(
    vector: &Value,
    name: &str,
    role: &str,
    twist: Twist,
    rng: &mut ChaCha20Rng,
) -> Result<HandshakeState, NotRun> {
    let value = |key: &str| vector.get(format!("{role}_{key}")).map(hex).transpose();
    let params: NoiseParams = name.parse()?;
    let resolver = Box::new(twisted::resolver(twist, rng));
    let (prologue, ephemeral) = (value("prologue")?.unwrap_or_default(), value("ephemeral")?);
    let (local, remote) = (value("static")?, value("remote_static")?);
    let psks: Vec<_> = vector[format!("{role}_psks")].as_array().into_iter().flatten().collect();
    let psks = psks.into_iter().map(hex).collect::<Result<Vec<_>, _>>()?;
    let psks = psks.iter().map(|psk| array::<32>(psk)).collect::<Result<Vec<_>, _>>()?;
    let positions = params.handshake.modifiers.list.iter().filter_map(|modifier| match modifier {
        HandshakeModifier::Psk(position) => Some(*position),
        HandshakeModifier::Fallback => None,
    });
    let positions: Vec<u8> = positions.collect();
    let mut builder = Builder::with_resolver(params, resolver).prologue(&prologue)?;
    for (position, psk) in positions.into_iter().zip(&psks) {
        builder = builder.psk(position, psk)?;
    }
    if let Some(local) = &local {
        builder = builder.local_private_key(local)?;
    }
    if let Some(remote) = &remote {
        builder = builder.remote_public_key(remote)?;
    }
    if let Some(ephemeral) = &ephemeral {
        builder = builder.fixed_ephemeral_key_for_testing_only(ephemeral);
    }
    Ok(if role == "init" { builder.build_initiator()? } else { builder.build_responder()? })
}

fn hex(value: &Value) -> Result<Vec<u8>, NotRun> {
    super::recorded::from_hex(value.as_str().unwrap_or_default())
}

const SESSION: &str = include_str!("../../../../crates/crypto/tests/vectors/session.txt");

/// The product from recorded randomness, and a second implementation of the same, against the
/// recorded bytes. The double derives its keys as a later version would.
pub(crate) fn golden(defence: Defence, _: &mut Lab) -> Result<Seen, NotRun> {
    let vectors = Vectors::parse(SESSION)?;
    let (alice, bob) = (Person::of(vectors.array("alice_seed")?), Person::of(vectors.array("bob_seed")?));
    let both = Suites::CHACHA20_POLY1305.with(Suites::AES_256_GCM);
    let meeting = Meeting {
        request: RequestId(vectors.array("request_id")?),
        broker_key: BrokerKey(vectors.array("broker_key")?),
        made: WallTime(u64::from_be_bytes(vectors.array("made")?)),
        asker: both,
        accepter: both,
    };
    let mut rng = Recorded::of(&vectors, &["bob_ephemeral", "alice_ephemeral"])?;
    let mut met = simulation::meet(&bob.identity, &alice.identity, &meeting, &mut rng)?;
    let mut said = vec![
        ("request_offer", second::offer_bytes(&met.request)),
        ("accept_offer", second::offer_bytes(&met.accept)),
        ("bob_ticket", met.asker.introduction.my_ticket().0.to_vec()),
        ("alice_ticket", met.accepter.introduction.my_ticket().0.to_vec()),
    ];
    let mut endpoints = Vec::new();
    for text in ["192.0.2.1:1234", "[2001:db8::1]:5678"] {
        endpoints.push(text.parse()?);
    }
    let endpoints = UdpEndpoints::new(endpoints);
    said.push(("alice_endpoints", met.accepter.endpoints.seal(&endpoints).as_slice().to_vec()));
    let (bobs, alices) = (&met.asker.introduction, &met.accepter.introduction);
    let mut rng = Recorded::of(&vectors, &["bob_noise_ephemeral"])?;
    let (initiator, first) = Initiator::start(bobs, &bob.identity, &mut rng);
    let mut rng = Recorded::of(&vectors, &["alice_noise_ephemeral"])?;
    let (responder, second) = Responder::respond(alices, &alice.identity, &first, &mut rng)?;
    let (keys, third) = initiator.read_response(&second)?;
    responder.finish(&third)?;
    said.push(("bob_mac_of_message_1", bobs.mac(&first).to_vec()));
    said.push(("alice_mac_of_message_2", alices.mac(&second).to_vec()));
    let header = [&[0x54, 0, 0, 0, 1, 2, 3, 4][..], &[0; 8]].concat();
    let mut packet = vectors.bytes("plaintext")?.to_vec();
    let tag = keys.into_epoch().seal.seal_in_place(0, &header, &mut packet);
    said.push(("bob_aes_packet_0", [&header[..], &packet, &tag].concat()));
    let messages = [first.to_vec(), second.to_vec(), third.to_vec()];
    said.extend(["message_1", "message_2", "message_3"].into_iter().zip(messages));

    let later = if defence == Defence::Removed { "p2pchat 2 psk" } else { "p2pchat 1 psk" };
    let second = second_reading(&vectors, &alice, &bob, later)?;
    let count = said.len() + second.len();
    let bytes: usize = said.iter().chain(&second).map(|(_, bytes)| bytes.len()).sum();
    for (name, bytes) in said.into_iter().chain(second) {
        if vectors.bytes(name)? != bytes {
            return Ok(Seen::broken(format!("{name} is not what was recorded")));
        }
    }
    let what = "product and second implementation give the recorded bytes";
    Ok(Seen::held(what).figure(format!("{count} values, {bytes} bytes")))
}

/// From the recorded offers to message 3, tickets and endpoints, without the product.
fn second_reading(
    vectors: &Vectors,
    alice: &Person,
    bob: &Person,
    psk: &str,
) -> Result<Vec<(&'static str, Vec<u8>)>, NotRun> {
    let (request, accept) = (vectors.bytes("request_offer")?, vectors.bytes("accept_offer")?);
    let transcript = second::transcript_of(request, accept);
    let x25519 = x25519_dalek::StaticSecret::from(vectors.array("bob_ephemeral")?);
    let theirs = x25519_dalek::StaticSecret::from(vectors.array("alice_ephemeral")?);
    let dh = x25519.diffie_hellman(&x25519_dalek::PublicKey::from(&theirs));
    let kem = Vectors::parse(include_str!("../../../../crates/crypto/tests/vectors/kem.txt"))?;
    let input = [&dh.as_bytes()[..], kem.bytes("secret")?, &transcript].concat();
    let secret = blake3::derive_key("p2pchat 1 introduction", &input);
    let shared = Shared { transcript, secret, dh: dh.to_bytes() };
    let psk = Some((3, shared.key(psk, None)));
    let ephemeral = |name| vectors.array(name).map(Some);
    let (alice_id, bob_id) = (alice.peer_id(), bob.peer_id());
    let ours = Keys {
        ephemeral: ephemeral("bob_noise_ephemeral")?,
        psk,
        ..Keys::initiator(bob, alice.identity.noise_public(), &shared)
    };
    let theirs = Keys {
        ephemeral: ephemeral("alice_noise_ephemeral")?,
        psk,
        ..Keys::responder(alice, bob_id, &shared)
    };
    let (mut bobs, mut alices) = (ours.build(XK, true)?, theirs.build(XK, false)?);
    let first = second::write(&mut bobs)?;
    alices.read_message(&first, &mut [])?;
    let answer = second::write(&mut alices)?;
    bobs.read_message(&answer, &mut [])?;
    let third = second::write(&mut bobs)?;
    alices.read_message(&third, &mut [])?;
    Ok(vec![
        ("transcript", transcript.to_vec()),
        ("bob_ticket", shared.ticket(bob_id).to_vec()),
        ("alice_ticket", shared.ticket(alice_id).to_vec()),
        ("bob_mac_of_message_1", shared.mac(bob_id, &first).to_vec()),
        ("message_1", first),
        ("message_2", answer),
        ("message_3", third),
    ])
}
