//! K2 and K3: key files that do not open, and those that ask for too much.

use std::fs;
use std::path::Path;

use argon2::{Algorithm, Argon2, AssociatedData, Params, ParamsBuilder, Version};
use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use p2pchat_crypto::keyfile::{self, KEY_FILE_LEN, KeyFileError, Passphrase};
use p2pchat_crypto::{Identity, Seed};
use rand::Rng;

use super::home::{Home, RIGHT};
use crate::meter;
use crate::rows::handshake::recorded::{Vectors, from_hex};
use crate::rows::{Defence, Lab, NotRun, Seen};

/// Where the head ends and the sealed seed begins.
const HEAD_LEN: usize = KEY_FILE_LEN - 48;
/// Where the three costs stand: KiB of memory, passes, lanes.
const COSTS: usize = 20;
/// Where salt and nonce begin. From here on nothing tells damage from a wrong passphrase.
const SALT: usize = 32;
const NONCE: usize = 48;
/// Cheap enough to open a thousand times.
const CHEAP: [u32; 3] = [8, 1, 1];
/// What new files cost.
const NEW: [u32; 3] = [64 * 1024, 3, 1];
/// Most bytes that a refusal may take: none for the key's memory.
const REFUSAL_MAX: usize = 1024;

const RECORDED: &str = include_str!("../../../../crates/crypto/tests/vectors/keyfile.txt");
/// RFC 9106 section 5.3: Argon2id over 32 KiB in 3 passes on 4 lanes.
const RFC_9106: &str = "0d640df58d78766c08c037a34a8b53c9d01ef0452d75b65eb52520e96b01e659";
/// From the tests of the reference implementation: KiB, passes, lanes, password, salt, tag of Argon2id.
const REFERENCE: [(u32, u32, u32, &str, &str, &str); 6] = [
    (256, 2, 1, "password", "somesalt", "9dfeb910e80bad0311fee20f9c0e2b12c17987b4cac90c2ef54d5b3021c68bfe"),
    (256, 2, 2, "password", "somesalt", "6d093c501fd5999645e0ea3bf620d7b8be7fd2db59c20d9fff9539da2bf57037"),
    (65536, 1, 1, "password", "somesalt", "f6a5adc1ba723dddef9b5ac1d464e180fcd9dffc9d1cbf76cca2fed795d9ca98"),
    (65536, 2, 1, "password", "somesalt", "09316115d5cf24ed5a15a31a3ba326e5cf32edc24702987c02b6566f61913cf7"),
    (
        65536,
        2,
        1,
        "differentpassword",
        "somesalt",
        "0b84d652cf6b0c4beaef0dfe278ba6a80df6696281d7e0d2891b817d8c458fde",
    ),
    (65536, 2, 1, "password", "diffsalt", "bdf32b05ccc42eb15d58fd19b1f856b113da1e9a5874fdcc544308565aa8141c"),
];

/// K2.
pub(super) fn damaged(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let answers = known_answers()?;
    let recorded = is_recorded()?;
    let seed = bytes(lab);
    let file = by_hand(&seed, RIGHT, CHEAP, &bytes(lab))?;
    let open = |file: &[u8], passphrase: &str| match defence {
        Defence::InPlace => keyfile::open(file, Some(&Passphrase::new(passphrase.to_owned()))),
        Defence::Removed => unchecked(file, passphrase),
    };
    let right = open(&file, RIGHT).map(|seed| Identity::from_seed(&seed).peer_id());
    let mine = right == Ok(Identity::from_seed(&Seed::from_bytes(seed)).peer_id());
    let wrong = ["", "correct horse", "correct horse battery staples", "Correct horse battery staple"];
    let wrong = wrong.iter().all(|text| said(open(&file, text)) == Some(KeyFileError::WrongPassphrase));
    let (mut refused, mut alike) = (0, true);
    for bit in 0..8 * KEY_FILE_LEN {
        let mut flipped = file.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let said = said(open(&flipped, RIGHT));
        refused += usize::from(said.is_some());
        alike &= bit / 8 < SALT || said == Some(KeyFileError::WrongPassphrase);
    }
    let programs = defence == Defence::Removed || programs_say_the_same(lab)?;
    let held = answers && recorded && mine && wrong && alike && refused == 8 * KEY_FILE_LEN && programs;
    let figure = format!(
        "{} known answers; {refused} of {} flipped bits refused",
        REFERENCE.len() + 1,
        8 * KEY_FILE_LEN
    );
    let what = if held {
        "refused, a wrong passphrase and damage in the same words"
    } else {
        "opened, or told apart"
    };
    Ok(Seen::when(held, what).figure(figure))
}

fn said(opened: Result<Seed, KeyFileError>) -> Option<KeyFileError> {
    opened.err()
}

/// Argon2id of the locked version gives the published tags.
fn known_answers() -> Result<bool, NotRun> {
    let mut builder = ParamsBuilder::new();
    let data = AssociatedData::new(&[4; 12]).map_err(refused)?;
    let params = builder.m_cost(32).t_cost(3).p_cost(4).data(data).build().map_err(refused)?;
    let rfc =
        Argon2::new_with_secret(&[3; 8], Algorithm::Argon2id, Version::V0x13, params).map_err(refused)?;
    let mut tag = [0; 32];
    rfc.hash_password_into(&[1; 32], &[2; 16], &mut tag).map_err(refused)?;
    let mut right = tag[..] == from_hex(RFC_9106)?;
    for (memory, passes, lanes, password, salt, published) in REFERENCE {
        let tag = argon2id([memory, passes, lanes], password.as_bytes(), salt.as_bytes())?;
        right &= tag[..] == from_hex(published)?;
    }
    Ok(right)
}

fn argon2id([memory, passes, lanes]: [u32; 3], password: &[u8], salt: &[u8]) -> Result<[u8; 32], NotRun> {
    let params = Params::new(memory, passes, lanes, Some(32)).map_err(refused)?;
    let mut tag = [0; 32];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(password, salt, &mut tag)
        .map_err(refused)?;
    Ok(tag)
}

fn refused(error: argon2::Error) -> NotRun {
    NotRun(format!("Argon2: {error}"))
}

/// The recorded key file is what the two readings of its documentation give.
fn is_recorded() -> Result<bool, NotRun> {
    let vectors = Vectors::parse(RECORDED)?;
    let (seed, random) = (vectors.array("seed")?, vectors.array("locked_randomness")?);
    let file = vectors.bytes("locked_file")?;
    let opened = keyfile::open(file, Some(&Passphrase::new(RIGHT.to_owned())))?;
    let [recorded, opened] =
        [Seed::from_bytes(seed), opened].map(|seed| Identity::from_seed(&seed).peer_id());
    Ok(by_hand(&seed, RIGHT, NEW, &random)? == file && recorded == opened)
}

fn bytes<const N: usize>(lab: &mut Lab) -> [u8; N] {
    let mut bytes = [0; N];
    lab.rng.fill_bytes(&mut bytes);
    bytes
}

/// A key file as its documentation says, without the product.
fn by_hand(seed: &[u8; 32], passphrase: &str, costs: [u32; 3], random: &[u8; 40]) -> Result<Vec<u8>, NotRun> {
    let (salt, nonce) = random.split_at(NONCE - SALT);
    let key = argon2id(costs, passphrase.as_bytes(), salt)?;
    let head = [b"p2pchat identity\x01\x01\0\0", &costs.map(u32::to_be_bytes).concat()[..], random].concat();
    let nonce = XNonce::try_from(nonce).map_err(|_| NotRun("a nonce of another length".to_owned()))?;
    let mut sealed = seed.to_vec();
    XChaCha20Poly1305::new(&key.into())
        .encrypt_in_place(&nonce, &head, &mut sealed)
        .map_err(|_| NotRun("the seed does not seal".to_owned()))?;
    Ok([head, sealed].concat())
}

/// The key under which the seed in this file is sealed.
pub(super) fn key_of(file: &[u8], passphrase: &str) -> Result<[u8; 32], NotRun> {
    let short = || NotRun("a key file that is too short".to_owned());
    let costs = file.get(COSTS..SALT).ok_or_else(short)?.as_chunks::<4>().0;
    let costs: Vec<u32> = costs.iter().map(|cost| u32::from_be_bytes(*cost)).collect();
    argon2id(costs[..].try_into()?, passphrase.as_bytes(), file.get(SALT..NONCE).ok_or_else(short)?)
}

/// The double: it decrypts what stands there and does not ask whether it is authentic.
fn unchecked(file: &[u8], passphrase: &str) -> Result<Seed, KeyFileError> {
    let key =
        argon2id(CHEAP, passphrase.as_bytes(), &file[SALT..NONCE]).map_err(|_| KeyFileError::Parameters)?;
    let nonce = XNonce::try_from(&file[NONCE..HEAD_LEN]).map_err(|_| KeyFileError::Damaged)?;
    let mut seed = file[HEAD_LEN..HEAD_LEN + 32].to_vec();
    // A stream of key bytes undoes itself.
    let done = XChaCha20Poly1305::new(&key.into()).encrypt_in_place(&nonce, b"", &mut seed);
    done.map_err(|_| KeyFileError::Damaged)?;
    seed[..32].try_into().map(Seed::from_bytes).map_err(|_| KeyFileError::Damaged)
}

/// The program, at what its own key would cost: the right passphrase opens, a wrong one and damage
/// end it in the same words.
fn programs_say_the_same(lab: &mut Lab) -> Result<bool, NotRun> {
    let home = Home::locked(lab)?;
    let right = home.id()?;
    fs::write(home.passphrase(), "wrong\n")?;
    let wrong = home.id()?;
    fs::write(home.passphrase(), format!("{RIGHT}\n"))?;
    let mut file = fs::read(home.key())?;
    file[HEAD_LEN + 7] ^= 0x10;
    fs::write(home.key(), file)?;
    let damaged = home.id()?;
    let same = (wrong.exit, &wrong.out, &wrong.err) == (damaged.exit, &damaged.out, &damaged.err);
    Ok(right.exit == 0 && wrong.exit == 1 && !wrong.err.is_empty() && same)
}

/// K3.
pub(super) fn costly(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let file = by_hand(&[7; 32], RIGHT, CHEAP, &bytes(lab))?;
    let mut asked = Vec::new();
    for costs in [
        [u32::MAX, 1, 1],
        [1 << 31, 3, 1],
        [256 * 1024 + 1, 3, 1],
        [64 * 1024, u32::MAX, 1],
        [64 * 1024, 13, 1],
        [64 * 1024, 3, u32::MAX],
        [64 * 1024, 3, 5],
        [u32::MAX, u32::MAX, u32::MAX],
    ] {
        let mut file = file.clone();
        file[COSTS..SALT].copy_from_slice(&costs.map(u32::to_be_bytes).concat());
        asked.push(file);
    }
    let passphrase = Passphrase::new(RIGHT.to_owned());
    let (mut most, mut refused) = (0, 0);
    for file in &asked {
        let (opened, took) = meter::measure(|| match defence {
            Defence::InPlace => keyfile::open(file, Some(&passphrase)).map(drop),
            Defence::Removed => trusting(file),
        });
        most = most.max(took.peak);
        refused += usize::from(opened == Err(KeyFileError::Parameters));
    }
    let program = defence == Defence::Removed || program_refuses(&asked[0], lab)?;
    let held = most <= REFUSAL_MAX && refused == asked.len() && program;
    let what = if held { "refused before any of it is taken" } else { "taken, as asked for" };
    Ok(Seen::when(held, what).figure(format!("{refused} of {} refused, {most} bytes at most", asked.len())))
}

/// The double: it makes the room that the file asks for, as far as the harness's machine can.
fn trusting(file: &[u8]) -> Result<(), KeyFileError> {
    let asked = file.get(COSTS..).and_then(<[u8]>::first_chunk).map_or(0, |kib| u32::from_be_bytes(*kib));
    let room = usize::try_from(asked).unwrap_or(usize::MAX).saturating_mul(1024).min(64 << 20);
    std::hint::black_box(Vec::<u8>::with_capacity(room));
    Ok(())
}

/// The program ends at once with the advice for a file that is no good, whoever holds the passphrase.
fn program_refuses(file: &[u8], lab: &mut Lab) -> Result<bool, NotRun> {
    let home = Home::locked(lab)?;
    write(home.key(), file)?;
    let ended = home.id()?;
    let advice = ended.err.iter().any(|line| line.contains("excessive parameters"));
    Ok(ended.exit == 1 && advice)
}

fn write(path: &Path, content: &[u8]) -> Result<(), NotRun> {
    Ok(fs::write(path, content)?)
}
