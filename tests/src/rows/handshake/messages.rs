//! H3, H4, H11, H19, H26: datagrams of the handshake, damaged, recorded, sent back, out of
//! turn, against endpoints in virtual time.

use std::net::SocketAddr;
use std::time::Duration;

use p2pchat_crypto::handshake::{Initiator, MESSAGE_1_LEN, MESSAGE_2_LEN, Responder};
use p2pchat_crypto::offer::OfferError;
use p2pchat_crypto::{Introduction, simulation};
use p2pchat_proto::datagram::{DATA, DataHeader, Datagram, FIN, INIT, RESP, ReceiverId, mac_parts};
use p2pchat_proto::frame::{Frame, StreamId};
use p2pchat_session::HANDSHAKE_GIVE_UP;
use rand_chacha::ChaCha20Rng;

use super::line::{ALICE_AT, BOB_AT, Line, Side};
use super::noise::Introduced;
use super::people::Two;
use super::second::{self, Keys, SUITES, XK, array, bytes};
use crate::rows::{Defence, Lab, NotRun, Seen};

/// Lengths that a damaged datagram may have, Ethernet's payload at most.
const LENGTHS: usize = 1500;

/// H3.
pub(crate) fn flipped_bits(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    if defence == Defence::Removed {
        if !Bare::survives(true, lab)? {
            return Err(NotRun("the double fails with the MAC as well".to_owned()));
        }
        let survives = Bare::survives(false, lab)?;
        return Ok(Seen::when(
            survives,
            "without the MAC damaged messages are answered, or shut the real one out",
        ));
    }
    damaged(lab, flips)
}

/// A responder of the harness's on the product's handshake; whether it looks at the MAC is up to it.
struct Bare<'a> {
    me: &'a second::Person,
    introduction: Introduction,
    looks: bool,
    waiting: Option<Responder>,
    answers: Vec<[u8; MESSAGE_2_LEN]>,
    up: bool,
}

impl Bare<'_> {
    /// Whether each flipped bit of INIT and FIN leaves no trace, and the real ones are taken after them.
    fn survives(looks: bool, lab: &mut Lab) -> Result<bool, NotRun> {
        let two = Two::draw(&mut lab.rng);
        let (bobs, alices) = two.introduced(&mut lab.rng)?;
        let (me, introduction) = (&two.alice, alices.introduction);
        let mut alice = Bare { me, introduction, looks, waiting: None, answers: Vec::new(), up: false };
        let (initiator, first) = init(&bobs.introduction, &two.bob, &mut lab.rng);
        flips(&first).iter().for_each(|flipped| alice.takes(flipped, &mut lab.rng));
        let traces = alice.answers.len();
        alice.takes(&first, &mut lab.rng);
        let answer = alice.answers.last().ok_or(NotRun("the double does not answer".to_owned()))?;
        let (_, noise) = initiator.read_response(answer)?;
        let last = with_mac(&Datagram::Fin { receiver: ReceiverId(1), noise }, &bobs.introduction);
        flips(&last).iter().for_each(|flipped| alice.takes(flipped, &mut lab.rng));
        alice.takes(&last, &mut lab.rng);
        Ok(traces == 0 && alice.up)
    }

    fn takes(&mut self, datagram: &[u8], rng: &mut ChaCha20Rng) {
        let authentic =
            mac_parts(datagram).is_some_and(|(bytes, mac)| self.introduction.verify_mac(bytes, mac));
        if self.looks && !authentic {
            return;
        }
        match Datagram::decode(datagram) {
            Some(Datagram::Init { ticket, noise, .. }) if ticket == self.introduction.peer_ticket().0 => {
                let responded = Responder::respond(&self.introduction, &self.me.identity, &noise, rng);
                if let Ok((responder, answer)) = responded {
                    self.waiting = Some(responder);
                    self.answers.push(answer);
                }
            }
            Some(Datagram::Fin { noise, .. }) => {
                self.up |= self.waiting.take().is_some_and(|responder| responder.finish(&noise).is_ok());
            }
            Some(_) | None => {}
        }
    }
}

fn flips(datagram: &[u8]) -> Vec<Vec<u8>> {
    let flip = |bit: usize| {
        let mut flipped = datagram.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        flipped
    };
    (0..datagram.len() * 8).map(flip).collect()
}

/// H4.
pub(crate) fn lengths(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    if defence == Defence::Removed {
        // A responder that takes the fields where it finds them and looks at nothing else.
        let met = Introduced::new(&mut lab.rng)?;
        let message = array(&second::write(&mut met.bobs_keys().build(XK, true)?)?)?;
        let init = Datagram::Init { sender: ReceiverId(1), ticket: [1; 8], noise: message };
        let mut real = Vec::new();
        init.encode(&mut real);
        real.extend([0; 16]);
        let mut answered = 0;
        for resized in resized(&real) {
            let Some(noise) = resized.get(16..16 + MESSAGE_1_LEN) else { continue };
            answered += usize::from(met.alices_keys().build(XK, false)?.read_message(noise, &mut []).is_ok());
        }
        let figure = format!("{answered} of {LENGTHS} lengths answered");
        return Ok(Seen::when(answered == 0, "a responder that checks no length answers").figure(figure));
    }
    damaged(lab, resized)
}

fn resized(datagram: &[u8]) -> Vec<Vec<u8>> {
    let others = (0..=LENGTHS).filter(|length| *length != datagram.len());
    let resize = |length| {
        let mut resized = datagram.to_vec();
        resized.resize(length, 0);
        resized
    };
    others.map(resize).collect()
}

/// Each handshake datagram damaged in every way, then the real one.
fn damaged(lab: &mut Lab, damage: impl Fn(&[u8]) -> Vec<Vec<u8>>) -> Result<Seen, NotRun> {
    let two = Two::draw(&mut lab.rng);
    let mut line = Line::introduced(&two, &mut lab.rng)?;
    let now = line.now;
    let (bob_at, alice_at) = (line.bob.address, line.alice.address);
    line.alice.sends(now);
    let mut tried = 0;
    let mut datagram = first_of(INIT, line.bob.sends(now))?;
    for (from, answer) in [(bob_at, RESP), (alice_at, FIN), (bob_at, DATA)] {
        let target = if from == bob_at { &mut line.alice } else { &mut line.bob };
        for damaged in damage(&datagram) {
            tried += 1;
            if target.is_moved_by(from, &damaged, now) {
                let what = format!("a damaged datagram {:#x} of {} bytes", datagram[0], damaged.len());
                return Ok(Seen::broken(what));
            }
        }
        target.takes(from, &datagram, now);
        datagram = first_of(answer, target.sends(now))?;
    }
    let figure = format!("{tried} damaged datagrams of INIT, RESP and FIN");
    Ok(Seen::held("all dropped without a trace; the real one is taken after them").figure(figure))
}

fn first_of(kind: u8, sent: Vec<(SocketAddr, Vec<u8>)>) -> Result<Vec<u8>, NotRun> {
    let found = sent.into_iter().map(|(_, datagram)| datagram).find(|datagram| datagram[0] == kind);
    found.ok_or(NotRun(format!("no datagram {kind:#x} was sent")))
}

/// H11.
pub(crate) fn reflected(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let two = Two::draw(&mut lab.rng);
    if defence == Defence::Removed {
        // One key for both directions.
        let secret = bytes(&mut lab.rng);
        let own = second::data_packet(&secret, "both", 0, b"header", b"hello")?;
        let back = second::open_packet(&secret, "both", 0, b"header", &own[6..]);
        return Ok(Seen::when(back.is_none(), "with one key for both ways one's own packet opens"));
    }
    // Everything that either sends comes back to it from the other's address.
    let mut line = Line::introduced(&two, &mut lab.rng)?;
    let (mut count, mut moved) = (0, 0);
    for _ in 0..40 {
        let (seen, session, now) = (line.sent.len(), line.bob.session, line.now);
        if line.bob.is_up() {
            line.bob.endpoint.send(session, p2pchat_session::StreamId::CONVERSATION, 1, b"hello", now)?;
        }
        line.run(Duration::from_millis(60), |line| line.sent.len() > seen);
        let now = line.now;
        for (of_bob, datagram) in line.sent[seen..].iter().cloned() {
            let (side, from) = match of_bob {
                true => (&mut line.bob, line.alice.address),
                false => (&mut line.alice, line.bob.address),
            };
            let before = side.endpoint.stats().dropped;
            side.takes(from, &datagram, now);
            count += 1;
            moved += usize::from(side.endpoint.stats().dropped == before);
        }
    }
    let met = line.bob.is_up() && line.alice.is_up();
    // Nobody can be asked by oneself, and an initiator does not take another initiator's message.
    let own = simulation::introduce(&two.bob.identity, &two.bob.identity, SUITES, &mut lab.rng);
    let (bobs, alices) = two.introduced(&mut lab.rng)?;
    let (initiator, first) = Initiator::start(&bobs.introduction, &two.bob.identity, &mut lab.rng);
    let (_, other) = Initiator::start(&bobs.introduction, &two.bob.identity, &mut lab.rng);
    let confused = initiator.read_response(&other).is_ok()
        || Responder::respond(&bobs.introduction, &two.bob.identity, &first, &mut lab.rng).is_ok()
        || Responder::respond(&alices.introduction, &two.bob.identity, &first, &mut lab.rng).is_ok();
    let held = met && moved == 0 && count > 4 && own.err() == Some(OfferError::Own) && !confused;
    let what = "dropped; nobody meets oneself, and roles do not mix";
    Ok(Seen::when(held, what).figure(format!("{count} datagrams sent back to their sender")))
}

/// An INIT of a peer that has the introduction at hand.
fn init(introduction: &Introduction, me: &second::Person, rng: &mut ChaCha20Rng) -> (Initiator, Vec<u8>) {
    let (initiator, noise) = Initiator::start(introduction, &me.identity, rng);
    let sender = ReceiverId(u32::from_be_bytes(bytes(rng)));
    let ticket = introduction.my_ticket().0;
    (initiator, with_mac(&Datagram::Init { sender, ticket, noise }, introduction))
}

fn with_mac(datagram: &Datagram, introduction: &Introduction) -> Vec<u8> {
    let mut bytes = Vec::new();
    datagram.encode(&mut bytes);
    let mac = introduction.mac(&bytes);
    bytes.extend(mac);
    bytes
}

/// H19.
pub(crate) fn out_of_turn(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let two = Two::draw(&mut lab.rng);
    if defence == Defence::Removed {
        // Two messages are enough for this double: what comes next is read as data.
        let pattern = "Noise_NKpsk2_25519_ChaChaPoly_BLAKE2s";
        let psk = Some((2, bytes(&mut lab.rng)));
        let remote = Some(two.alice.identity.noise_public());
        let mut bob = Keys { psk, remote, ..Keys::default() }.build(pattern, true)?;
        let local = Some(two.alice.noise.to_bytes());
        let mut alice = Keys { psk, local, ..Keys::default() }.build(pattern, false)?;
        alice.read_message(&second::write(&mut bob)?, &mut [])?;
        bob.read_message(&second::write(&mut alice)?, &mut [])?;
        let (mut early, mut buffer) = ([0; 64], [0; 64]);
        let length = bob.into_transport_mode()?.write_message(b"hello", &mut early)?;
        let read = alice.into_transport_mode()?.read_message(&early[..length], &mut buffer).is_ok();
        return Ok(Seen::when(!read, "data of somebody who proved no static key is read"));
    }
    let (bobs, alices) = two.introduced(&mut lab.rng)?;
    let (bobs, now) = (bobs.introduction, p2pchat_proto::Moment::from_nanos(1_000_000_000));
    let mut alice = Side::new(&two.alice, ALICE_AT, alices.introduction, BOB_AT, now, &mut lab.rng)?;
    let from: SocketAddr = BOB_AT.parse()?;
    alice.sends(now);
    let (initiator, first) = init(&bobs, &two.bob, &mut lab.rng);
    alice.takes(from, &first, now);
    let resp = first_of(RESP, alice.sends(now))?;
    let Some(Datagram::Resp { sender: receiver, noise, .. }) = Datagram::decode(&resp) else {
        return Err(NotRun("RESP does not decode".to_owned()));
    };
    let (keys, noise) = initiator.read_response(&noise)?;
    let keys = keys.into_epoch();
    let data = |packet_number: u64| {
        let header = DataHeader { epoch: 0, receiver, packet_number }.encode();
        let mut body = Vec::new();
        let bytes = [&[1, 0, 0, 0, 5][..], b"hello"].concat();
        Frame::Stream { stream: StreamId(1), offset: 0, fin: false, bytes: &bytes }.encode(&mut body);
        let tag = keys.seal.seal_in_place(packet_number, &header, &mut body);
        [&header[..], &body, &tag].concat()
    };
    let early = alice.is_moved_by(from, &data(0), now) || alice.is_moved_by(from, &data(1), now);
    let fin = with_mac(&Datagram::Fin { receiver, noise }, &bobs);
    alice.takes(from, &fin, now);
    let pinged = alice.sends(now).len();
    let exchanges = alice.endpoint.stats().key_exchanges;
    alice.takes(from, &fin, now);
    let again = alice.sends(now).len();
    let idempotent = alice.endpoint.stats().key_exchanges == exchanges && alice.endpoint.len() == 1;
    let silent = alice.bodies() == 0;
    alice.takes(from, &data(0), now);
    alice.sends(now);
    let twice = alice.is_moved_by(from, &data(0), now);
    let held = !early && pinged == 1 && again <= 1 && idempotent && silent && alice.bodies() == 1 && !twice;
    Ok(Seen::when(
        held,
        "data before FIN is dropped, a second FIN costs no key exchange and makes no session",
    ))
}

/// H26.
pub(crate) fn recorded_init(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let two = Two::draw(&mut lab.rng);
    let (mut figure, mut held) = (Vec::new(), true);
    for others in [1, 5] {
        let (bobs, alices) = two.introduced(&mut lab.rng)?;
        let (bobs, alices) = (bobs.introduction, alices.introduction);
        let recorded: Vec<_> = (0..others).map(|_| init(&bobs, &two.bob, &mut lab.rng).1).collect();
        if defence == Defence::Removed {
            // One place for a handshake, taken by the first that comes.
            let Some(Datagram::Init { noise, .. }) = Datagram::decode(&recorded[0]) else {
                return Err(NotRun("INIT does not decode".to_owned()));
            };
            let (_, answer) = Responder::respond(&alices, &two.alice.identity, &noise, &mut lab.rng)?;
            let (real, _) = Initiator::start(&bobs, &two.bob.identity, &mut lab.rng);
            let connects = real.read_response(&answer).is_ok();
            return Ok(Seen::when(connects, "with one place the recording keeps the real one out"));
        }
        let mut line = Line::between(&two, bobs, alices, &mut lab.rng)?;
        let begin = line.now;
        for (n, init) in recorded.iter().enumerate() {
            line.alice.takes(SocketAddr::from(([10, 9, 9, 9], 1000 + n as u16)), init, begin);
        }
        held &= line.meet(HANDSHAKE_GIVE_UP);
        figure.push(format!("{} ms after {others}", line.now.saturating_since(begin).as_millis()));
    }
    let what = "the real one connects all the same";
    Ok(Seen::when(held, what).figure(format!("up {}", figure.join(", "))))
}
