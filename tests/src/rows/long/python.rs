//! H22's other half: handshakes with an implementation in another language.

use std::path::{Path, PathBuf};

use p2pchat_crypto::handshake::{Initiator, Responder};
use p2pchat_crypto::link::{BrokerSecret, ClientHandshake, ServerHandshake};
use p2pchat_proto::broker::LINK_PROLOGUE;
use rand_chacha::ChaCha20Rng;
use serde_json::{Map, Value, json};

use super::package;
use crate::process::{Failure, PROMPT, Process, Stream, command};
use crate::rows::handshake::noise::Introduced;
use crate::rows::handshake::recorded::from_hex;
use crate::rows::handshake::second::{self, Keys, XK, array, bytes, session_secret_of};
use crate::rows::handshake::twisted::{self, Twist};
use crate::rows::{Defence, Lab, NotRun, Seen};
use crate::trace::Trace;

/// The broker link's handshake.
const NX: &str = "Noise_NX_25519_ChaChaPoly_BLAKE2s";
/// How the script ends at a message that does not open.
const DOES_NOT_OPEN: i32 = 3;
/// Handshakes of each kind.
const HANDSHAKES: usize = 5;

pub(super) fn interoperates(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let python = package("venv/bin/python", "the Python package noiseprotocol")?;
    let rng = &mut lab.rng;
    if defence == Defence::Removed {
        let understood = forgetful(&python, rng)?;
        return Ok(Seen::when(understood, "a double that forgets what it authenticates is not understood"));
    }
    let mut right = [0; 4];
    for _ in 0..HANDSHAKES {
        let kinds = [python_asks, python_accepts, python_is_client, python_is_broker];
        for (right, kind) in right.iter_mut().zip(kinds) {
            *right += usize::from(kind(&python, rng)?);
        }
    }
    let [asked, accepted, client, broker] = right;
    let figure = format!(
        "of {HANDSHAKES} each: XKpsk3 {asked} begun there, {accepted} here; NX {client} there, {broker} here"
    );
    let held = right == [HANDSHAKES; 4];
    Ok(Seen::when(held, "both sides finish with one hash and the same keys").figure(figure))
}

/// A side in Python.
struct Peer(Process);

/// What it got out of a handshake: the hash, the initiator's sending key and the responder's.
struct Split {
    hash: Vec<u8>,
    keys: [[u8; 32]; 2],
}

impl Peer {
    fn start(python: &Path, pattern: &str, initiator: bool, keys: &Keys) -> Result<Self, NotRun> {
        let script = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/python/noise_peer.py"));
        let mut command = command(python, Path::new("/"));
        // Nothing is written beside the script.
        command.arg("-B").arg(script);
        let mut peer = Self(Process::spawn("python", command, &Trace::default())?);
        let mut task = Map::new();
        task.insert("name".to_owned(), json!(pattern));
        task.insert("initiator".to_owned(), json!(initiator));
        task.insert("prologue".to_owned(), json!(hex(&keys.prologue)));
        let (local, remote) = (keys.local.map(|key| hex(&key)), keys.remote.map(|key| hex(&key)));
        let psk = keys.psk.map(|(_, key)| hex(&key));
        for (name, value) in [("static", local), ("remote_static", remote), ("psk", psk)] {
            task.extend(value.map(|value| (name.to_owned(), json!(value))));
        }
        peer.say(&Value::Object(task).to_string())?;
        Ok(peer)
    }

    fn say(&mut self, line: &str) -> Result<(), Failure> {
        self.0.write(format!("{line}\n").as_bytes())
    }

    fn write(&mut self, message: &[u8]) -> Result<(), Failure> {
        self.say(&hex(message))
    }

    fn line(&mut self, what: &str) -> Result<String, Failure> {
        self.0.find(what, PROMPT, |line| (line.stream == Stream::Out).then(|| line.text.clone()))
    }

    fn read<const N: usize>(&mut self) -> Result<[u8; N], NotRun> {
        array(&from_hex(&self.line("message")?)?)
    }

    fn finish(mut self) -> Result<Split, NotRun> {
        let split: Value = serde_json::from_str(&self.line("keys")?)?;
        let bytes = |value: &Value| from_hex(value.as_str().unwrap_or_default());
        let keys = [array(&bytes(&split["keys"][0])?)?, array(&bytes(&split["keys"][1])?)?];
        Ok(Split { hash: bytes(&split["hash"])?, keys })
    }
}

impl Split {
    /// Whether what is sealed with these keys opens with those of the product's session.
    fn opens(&self, keys: p2pchat_crypto::data::SessionKeys, direction: &str) -> Result<bool, NotRun> {
        let [first, second] = &self.keys;
        let secret = session_secret_of(first, second, &self.hash);
        let mut packet = second::data_packet(&secret, direction, 7, b"header", b"hello")?;
        let opened =
            keys.into_epoch().open.open_in_place(7, b"header", &mut packet[6..]).map(|text| text.to_vec());
        Ok(opened.as_deref() == Some(b"hello"))
    }
}

fn python_asks(python: &Path, rng: &mut ChaCha20Rng) -> Result<bool, NotRun> {
    let met = Introduced::new(rng)?;
    let mut bob = Peer::start(python, XK, true, &met.bobs_keys())?;
    let (alice, answer) = Responder::respond(&met.alices, &met.two.alice.identity, &bob.read()?, rng)?;
    bob.write(&answer)?;
    let keys = alice.finish(&bob.read()?)?;
    bob.finish()?.opens(keys, "i2r")
}

fn python_accepts(python: &Path, rng: &mut ChaCha20Rng) -> Result<bool, NotRun> {
    let two = Introduced::new(rng)?.two;
    let pending = two.request(rng)?;
    let (accept, shared) = second::accept(&two.alice, &pending.offer().clone(), |_| {}, rng)?;
    let bobs = two.accepted(pending, &accept, two.alice.peer_id())?;
    let keys = Keys::responder(&two.alice, two.bob.peer_id(), &shared);
    let mut alice = Peer::start(python, XK, false, &keys)?;
    let (bob, first) = Initiator::start(&bobs.introduction, &two.bob.identity, rng);
    alice.write(&first)?;
    let (keys, third) = bob.read_response(&alice.read()?)?;
    alice.write(&third)?;
    alice.finish()?.opens(keys, "r2i")
}

fn python_is_client(python: &Path, rng: &mut ChaCha20Rng) -> Result<bool, NotRun> {
    let secret = BrokerSecret::from_bytes(bytes(rng));
    let keys = Keys { prologue: LINK_PROLOGUE.to_vec(), ..Keys::default() };
    let mut client = Peer::start(python, NX, true, &keys)?;
    let (mut sealer, _, hash, answer) = ServerHandshake::respond(&secret, &client.read::<32>()?, rng)?;
    client.write(&answer)?;
    let split = client.finish()?;
    let mut record = Vec::new();
    sealer.seal(b"hello", &mut record)?;
    Ok(split.hash == hash && record[2..] == sealed(&split.keys[1]))
}

fn python_is_broker(python: &Path, rng: &mut ChaCha20Rng) -> Result<bool, NotRun> {
    let secret: [u8; 32] = bytes(rng);
    let keys = Keys { prologue: LINK_PROLOGUE.to_vec(), local: Some(secret), ..Keys::default() };
    let mut broker = Peer::start(python, NX, false, &keys)?;
    let (client, first) = ClientHandshake::start(rng);
    broker.write(&first)?;
    let (mut sealer, _, link) = client.finish(&broker.read::<96>()?)?;
    let split = broker.finish()?;
    let mut record = Vec::new();
    sealer.seal(b"hello", &mut record)?;
    let known = link.key == BrokerSecret::from_bytes(secret).public();
    Ok(known && split.hash == link.hash && record[2..] == sealed(&split.keys[0]))
}

/// The first record under a key, without the product's link.
fn sealed(key: &[u8; 32]) -> Vec<u8> {
    p2pchat_crypto::primitives::seal(p2pchat_crypto::Suite::ChaCha20Poly1305, *key, [0; 12], &[], b"hello")
}

/// Whether Python takes the first message of a double whose cipher does not authenticate the handshake.
fn forgetful(python: &Path, rng: &mut ChaCha20Rng) -> Result<bool, NotRun> {
    let met = Introduced::new(rng)?;
    let mut alice = Peer::start(python, XK, false, &met.alices_keys())?;
    let twist = Twist { forgetful: true, ..Twist::default() };
    let mut double = twisted::build(&met.bobs_keys(), XK, true, twist, rng)?;
    alice.write(&twisted::write(&mut double)?)?;
    match alice.0.wait_exit(PROMPT)? {
        DOES_NOT_OPEN => Ok(false),
        exit => Err(NotRun(format!("the script ended with {exit}"))),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
