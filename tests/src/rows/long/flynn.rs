//! H1's other half: vectors of an implementation that shares no line with snow.

use std::collections::BTreeMap;
use std::fs;

use p2pchat_crypto::{Suite, primitives};
use rand_chacha::ChaCha20Rng;
use serde_json::{Value, json};
use x25519_dalek::{PublicKey, StaticSecret};

use super::package;
use crate::rows::handshake::recorded::from_hex;
use crate::rows::handshake::second::array;
use crate::rows::handshake::twisted::Twist;
use crate::rows::handshake::vectors::{SHIPPED, side};
use crate::rows::{Defence, Lab, NotRun, Seen};

/// Vectors in the package, those of all primitives together.
const ALL: usize = 1_920;

/// One vector: its values by their names.
type Vector = BTreeMap<String, String>;

pub(super) fn published(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let path = package("vectors.txt", "the Debian package golang-github-flynn-noise-dev")?;
    let vectors = parse(&fs::read_to_string(path)?);
    let (mut right, mut shipped) = (0, 0);
    for vector in vectors.iter().filter(|vector| vector["handshake"].ends_with(SHIPPED)) {
        shipped += 1;
        right += usize::from(is_reproduced(vector, defence, &mut lab.rng).unwrap_or(false));
    }
    let held = vectors.len() == ALL && shipped > 0 && right == shipped;
    let figure = format!(
        "{right} of {shipped} vectors; {} of {} have other primitives",
        vectors.len() - shipped,
        vectors.len()
    );
    Ok(Seen::when(held, "messages, payloads and both transport keys compared").figure(figure))
}

/// Blocks of `name=value`; each begins with the handshake's name.
fn parse(text: &str) -> Vec<Vector> {
    let mut vectors: Vec<Vector> = Vec::new();
    for (name, value) in text.lines().filter_map(|line| line.split_once('=')) {
        if name == "handshake" {
            vectors.push(Vector::new());
        }
        if let Some(vector) = vectors.last_mut() {
            vector.insert(name.to_owned(), value.to_owned());
        }
    }
    vectors
}

fn is_reproduced(vector: &Vector, defence: Defence, rng: &mut ChaCha20Rng) -> Result<bool, NotRun> {
    let name = &vector["handshake"];
    let twist = Twist { forgetful: defence == Defence::Removed, ..Twist::default() };
    let keys = keys(vector, name)?;
    let mut sides = [side(&keys, name, "init", twist, rng)?, side(&keys, name, "resp", twist, rng)?];
    let (mut out, mut read, mut number) = (vec![0; 1 << 16], vec![0; 1 << 16], 0);
    while !sides[0].is_handshake_finished() {
        let Some([payload, expected]) = message(vector, number)? else { return Ok(false) };
        let written = sides[0].write_message(&payload, &mut out)?;
        let length = sides[1].read_message(&expected, &mut read)?;
        if out[..written] != expected || read[..length] != payload {
            return Ok(false);
        }
        sides.swap(0, 1);
        number += 1;
    }
    // The first transport message of each key, the initiator's before the responder's.
    for side in &mut sides {
        let (first, second) = side.dangerously_get_raw_split();
        for (number, key) in (number..).zip([first, second]) {
            let Some([payload, expected]) = message(vector, number)? else { return Ok(false) };
            if primitives::seal(Suite::ChaCha20Poly1305, key, [0; 12], &[], &payload) != expected {
                return Ok(false);
            }
        }
    }
    Ok(!vector.contains_key(&format!("msg_{}_payload", number + 2)))
}

fn message(vector: &Vector, number: usize) -> Result<Option<[Vec<u8>; 2]>, NotRun> {
    let [payload, ciphertext] =
        ["payload", "ciphertext"].map(|part| vector.get(&format!("msg_{number}_{part}")));
    let (Some(payload), Some(ciphertext)) = (payload, ciphertext) else { return Ok(None) };
    Ok(Some([from_hex(payload)?, from_hex(ciphertext)?]))
}

/// The keys as snow's vectors name them. Who knows whose key beforehand says the pattern's name (Noise
/// sections 7.4 and 7.5).
fn keys(vector: &Vector, name: &str) -> Result<Value, NotRun> {
    let pattern = name.strip_prefix("Noise_").and_then(|name| name.split('_').next()).unwrap_or_default();
    let pattern = pattern.split("psk").next().unwrap_or_default();
    let one_way = pattern.len() == 1;
    let mut keys = serde_json::Map::new();
    let mut set = |name: &str, value: Option<String>| {
        keys.extend(value.map(|value| (name.to_owned(), Value::String(value))));
    };
    for role in ["init", "resp"] {
        set(&format!("{role}_prologue"), vector.get("prologue").cloned());
        set(&format!("{role}_ephemeral"), vector.get(&format!("gen_{role}_ephemeral")).cloned());
        set(&format!("{role}_static"), vector.get(&format!("{role}_static")).cloned());
    }
    if one_way || pattern.ends_with('K') {
        set("init_remote_static", public(vector, "resp_static")?);
    }
    if pattern.starts_with('K') {
        set("resp_remote_static", public(vector, "init_static")?);
    }
    if let Some(psk) = vector.get("preshared_key") {
        keys.extend(["init_psks", "resp_psks"].map(|psks| (psks.to_owned(), json!([psk]))));
    }
    Ok(Value::Object(keys))
}

fn public(vector: &Vector, name: &str) -> Result<Option<String>, NotRun> {
    let Some(secret) = vector.get(name) else { return Ok(None) };
    let public = PublicKey::from(&StaticSecret::from(array::<32>(&from_hex(secret)?)?));
    Ok(Some(public.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect()))
}
