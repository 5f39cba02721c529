//! Sealing of packets, and the handshake, in this process.

use std::hint::black_box;

use p2pchat_crypto::data::{Epoch, SealKey};
use p2pchat_crypto::handshake::{Initiator, Responder};
use p2pchat_crypto::offer::{AcceptTerms, Accepted, Expected, PendingRequest, RequestTerms, VerifiedRequest};
use p2pchat_crypto::{Identity, Introduction, Seed, Suite};
use p2pchat_proto::offer::{Addressee, Purpose, Suites};
use p2pchat_proto::{BrokerKey, RequestId, WallTime};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use snow::Builder;

use crate::Result;
use crate::contest::{Contender, hold};
use crate::cpu;
use crate::report::{Aim, Report, Row, Table};
use crate::sample::Samples;

/// Packets sealed in one run.
const SEALS: u64 = 200_000;
/// Handshakes in one run.
const HANDSHAKES: usize = 200;
const HEADER: [u8; 16] = [0x54; 16];
const SIZES: [(usize, f64); 2] = [(64, 0.25), (1200, 0.7)];
const PATTERN: &str = "Noise_XKpsk3_25519_ChaChaPoly_BLAKE2s";

/// Sealing of small and full packets.
pub fn seal(runs: usize, report: &mut Report) -> Result {
    let pair = Pair::new();
    let mut rows = Vec::new();
    for (suite, name) in [(Suite::Aes256Gcm, "AES-256-GCM"), (Suite::ChaCha20Poly1305, "ChaCha20-Poly1305")] {
        let (bob, _) = pair.epochs(suite)?;
        for (size, aim) in SIZES {
            let micros: Samples = (0..runs).map(|_| seal_once(&bob.seal, size)).collect();
            rows.push(
                Row::new(format!("{name}, {size} bytes"), "µs", micros).aim(Aim::AtMost(aim)).plotted(),
            );
        }
    }
    report.add(Table {
        name: "seal",
        title: "Sealing a packet",
        about: format!(
            "The session's seal of one packet with its 16-byte header, {SEALS} packets a run, in \
             processor time. A session \
             takes AES-256-GCM where both processors have instructions for it."
        ),
        rows,
    });
    Ok(())
}

fn seal_once(key: &SealKey, size: usize) -> f64 {
    let mut buffer = vec![7; size];
    let mut seal = |numbers: core::ops::Range<u64>| {
        numbers.for_each(|number| {
            black_box(key.seal_in_place(number, &HEADER, black_box(&mut buffer)));
        });
    };
    seal(0..SEALS / 10);
    let start = cpu::time();
    seal(SEALS / 10..SEALS / 10 + SEALS);
    (cpu::time() - start).as_secs_f64() * 1e6 / SEALS as f64
}

/// Both sides of a handshake.
pub fn handshake(runs: usize, report: &mut Report) -> Result {
    let pair = Pair::new();
    let (bob, alice) = pair.introduce(Suites::CHACHA20_POLY1305.with(Suites::AES_256_GCM))?;
    let micros = |mut work: Box<dyn FnMut() -> Result>| {
        move || {
            work()?;
            let start = cpu::time();
            for _ in 0..HANDSHAKES {
                work()?;
            }
            Ok((cpu::time() - start).as_secs_f64() * 1e6 / HANDSHAKES as f64)
        }
    };
    let pair = std::rc::Rc::new(pair);
    let ours = {
        let pair = std::rc::Rc::clone(&pair);
        move || pair.handshake(&bob.introduction, &alice.introduction).map(|keys| drop(black_box(keys)))
    };
    let results = hold(
        runs,
        vec![
            Contender::new("snow, its own primitives", micros(Box::new(bare_snow()?))),
            Contender::new("p2pchat", micros(Box::new(ours))),
        ],
    )?;
    let [(theirs, snow), (mine, ours)] = &results[..] else { return Err("two contenders".into()) };
    report.add(Table {
        name: "handshake",
        title: "Handshake, both sides",
        about: format!(
            "Three messages of `{PATTERN}` from nothing to keys, {HANDSHAKES} handshakes a run, in \
             processor time. \
             Ours checks every public key, compares the static key with the offer and derives the keys of \
             both directions besides."
        ),
        rows: vec![
            Row::new(*theirs, "µs", snow.clone()).plotted(),
            Row::new(*mine, "µs", ours.clone()).plotted(),
            Row::new("p2pchat to snow", "ratio", ours.ratio_to(snow)).aim(Aim::AtMost(1.3)),
        ],
    });
    Ok(())
}

/// snow as it comes.
fn bare_snow() -> Result<impl FnMut() -> Result> {
    let params: snow::params::NoiseParams = PATTERN.parse()?;
    let [bob, alice] = [(); 2].map(|()| Builder::new(params.clone()).generate_keypair());
    let (bob, alice) = (bob?, alice?);
    let psk = [7; 32];
    Ok(move || {
        let builder = || Builder::new(params.clone());
        let mut initiator = builder()
            .local_private_key(&bob.private)?
            .remote_public_key(&alice.public)?
            .psk(3, &psk)?
            .build_initiator()?;
        let mut responder = builder().local_private_key(&alice.private)?.psk(3, &psk)?.build_responder()?;
        let (mut message, mut payload) = ([0; 128], [0; 128]);
        let len = initiator.write_message(&[], &mut message)?;
        responder.read_message(&message[..len], &mut payload)?;
        let len = responder.write_message(&[], &mut message)?;
        initiator.read_message(&message[..len], &mut payload)?;
        let len = initiator.write_message(&[], &mut message)?;
        responder.read_message(&message[..len], &mut payload)?;
        black_box((initiator.into_transport_mode()?, responder.into_transport_mode()?));
        Ok(())
    })
}

struct Pair {
    bob: Identity,
    alice: Identity,
    rng: std::cell::RefCell<ChaCha20Rng>,
}

impl Pair {
    fn new() -> Self {
        let identity = |byte| Identity::from_seed(&Seed::from_bytes([byte; 32]));
        Self { bob: identity(1), alice: identity(2), rng: ChaCha20Rng::from_seed([3; 32]).into() }
    }

    /// What both hold after a request that was accepted: bob's and alice's.
    fn introduce(&self, suites: Suites) -> Result<(Accepted, Accepted)> {
        let rng = &mut *self.rng.borrow_mut();
        let (broker_key, made, request) = (BrokerKey([9; 32]), WallTime(1), RequestId([3; 16]));
        let to = Addressee::Peer(self.alice.peer_id());
        let terms = RequestTerms { request, to, broker_key, made, purpose: Purpose::Chat, suites };
        let pending = PendingRequest::new(&self.bob, terms, rng)?;
        let expected = Expected {
            me: self.alice.peer_id(),
            my_name: None,
            from: self.bob.peer_id(),
            pin: None,
            request,
            broker_key,
            now: made,
        };
        let verified = VerifiedRequest::verify(pending.offer().clone(), expected)?;
        let (offer, alices) = verified.accept(&self.alice, AcceptTerms { made, suites }, rng)?;
        let bobs = pending.accepted(&self.bob, &offer, self.alice.peer_id(), broker_key, made)?;
        Ok((bobs, alices))
    }

    fn handshake(&self, bobs: &Introduction, alices: &Introduction) -> Result<(Epoch, Epoch)> {
        let rng = &mut *self.rng.borrow_mut();
        let (initiator, first) = Initiator::start(bobs, &self.bob, rng);
        let (responder, second) = Responder::respond(alices, &self.alice, &first, rng)?;
        let (bobs, third) = initiator.read_response(&second)?;
        Ok((bobs.into_epoch(), responder.finish(&third)?.into_epoch()))
    }

    fn epochs(&self, suite: Suite) -> Result<(Epoch, Epoch)> {
        let suites = match suite {
            Suite::ChaCha20Poly1305 => Suites::CHACHA20_POLY1305,
            Suite::Aes256Gcm => Suites::CHACHA20_POLY1305.with(Suites::AES_256_GCM),
        };
        let (bob, alice) = self.introduce(suites)?;
        if bob.introduction.suite() != suite {
            return Err("this processor has no instructions for AES".into());
        }
        self.handshake(&bob.introduction, &alice.introduction)
    }
}
