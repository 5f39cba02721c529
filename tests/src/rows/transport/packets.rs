//! What somebody on the path does to packets. Each packet of the session is the attacker's to copy,
//! change and order; the keys are not.

use std::time::Duration;

use p2pchat_crypto::data::Epoch;
use p2pchat_crypto::handshake::{Initiator, Responder};
use p2pchat_proto::datagram::DataHeader;
use p2pchat_session::{PACKETS_MAX, REPLAY_WINDOW};
use rand::RngExt;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha20Rng;

use super::{Session, target};
use crate::rows::{Defence, Lab, NotRun, Row, Seen};
use crate::sim::START;
use crate::sim::careless::{Careless, Missing, Model};
use crate::sim::hand::{Hand, PADDING, PING, said, said_len};
use crate::sim::pair::{Pair, doubling_line};
use crate::sim::people::People;
use crate::sim::target::{Product, Target};

/// Bodies that are said where each has to be shown once.
const SAID: usize = 500;
/// Packets of which each has to be decided as the model decides.
const DECIDED: u64 = 20_000;

/// Every packet twice.
pub(super) const DOUBLED: Row = Row {
    id: "T1",
    attack: "every datagram arrives twice",
    expected: "each body is shown once and in order",
    run: doubled,
};

/// The replay window.
pub(super) const WINDOW: Row = Row {
    id: "T2",
    attack: "numbers at every edge of the replay window, 2^32 and 2^64 - 2",
    expected: "the decisions of a set of numbers",
    run: window,
};

/// A number that nobody sealed.
pub(super) const FORGED_NUMBER: Row = Row {
    id: "T3",
    attack: "a packet with a forged, higher number",
    expected: "dropped, and the window stays: the real packet is taken",
    run: forged_number,
};

/// Any order.
pub(super) const MIXED_UP: Row = Row {
    id: "T4",
    attack: "packets in random order, within the window and beyond",
    expected: "each is taken or refused exactly as the window says",
    run: mixed_up,
};

/// Damage.
pub(super) const FLIPPED: Row = Row {
    id: "T5",
    attack: "every bit of a packet flipped, header and all",
    expected: "dropped without a trace, and the original is taken",
    run: flipped,
};

/// Keys of somewhere else.
pub(super) const OTHER_KEY: Row = Row {
    id: "T6",
    attack: "packets of an old session and of the other direction",
    expected: "dropped",
    run: other_key,
};

/// Numbers out of bounds.
pub(super) const JUMPED: Row = Row {
    id: "T14",
    attack: "a peer that holds the keys jumps by 2^63, and to the last number",
    expected: "refused; old packets stay used, and the session goes on",
    run: jumped,
};

fn doubled(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let mut session = Session::new(defence, Missing::ReplayWindow, lab)?;
    let again = session.hand.handshake.clone();
    for datagram in &again {
        session.answers(datagram);
    }
    let said: Vec<Vec<u8>> = (0..SAID).map(|n| n.to_string().into_bytes()).collect();
    let mut offset = 0;
    for body in &said {
        let packet = session.hand.packet(&self::said(offset, body));
        offset += said_len(body);
        session.answers(&packet);
        session.answers(&packet);
    }
    let shown = session.target.bodies();
    let held = shown == said;
    let what = format!("{} bodies shown of {SAID} that were said", shown.len());
    if defence == Defence::Removed {
        return Ok(Seen::when(held, what));
    }
    let (both_ways, trace) = over_a_doubling_line(lab)?;
    let figure = format!("{} datagrams doubled, trace {trace:016x}", 3 * SAID);
    Ok(Seen::when(held && both_ways, what).figure(figure))
}

/// The same between two endpoints, [`SAID`] bodies each way; and the hash of its trace.
fn over_a_doubling_line(lab: &mut Lab) -> Result<(bool, u64), NotRun> {
    let seeds = [lab.rng.random(), lab.rng.random()];
    let mut pair = Pair::new(&People::default(), seeds, doubling_line(), &mut lab.rng);
    if !pair.come_up() {
        return Err(NotRun("the session did not come up".to_owned()));
    }
    let said: Vec<Vec<u8>> = (0..SAID).map(|n| n.to_string().into_bytes()).collect();
    for body in &said {
        if !(pair.say(0, body) && pair.say(1, body)) {
            return Err(NotRun("a body was not taken for sending".to_owned()));
        }
        pair.run_for(Duration::from_millis(1));
    }
    pair.run_for(Duration::from_secs(5));
    Ok((pair.sides.iter().all(|side| side.bodies == said), pair.trace_hash()))
}

/// Whether the target decides all `numbers` as the model does, and how many it was asked.
fn agrees(session: &mut Session, numbers: impl IntoIterator<Item = u64>) -> Result<u64, String> {
    let mut model = Model::default();
    (0..session.hand.next).for_each(|used| {
        model.takes(used);
    });
    let mut asked = 0;
    for number in numbers {
        asked += 1;
        let packet = session.hand.numbered(number, PADDING);
        let (expected, seen) = (model.takes(number), session.takes(&packet));
        if expected != seen {
            let did = if seen { "taken" } else { "refused" };
            return Err(format!("number {number} was {did} against the model, as the {asked}th"));
        }
    }
    Ok(asked)
}

fn decided(outcome: Result<u64, String>) -> Seen {
    match outcome {
        Ok(asked) => Seen::held("as the set of numbers decides").figure(format!("{asked} decisions")),
        Err(what) => Seen::broken(what),
    }
}

fn window(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let mut session = Session::new(defence, Missing::WindowBelowHighest, lab)?;
    let edges = [0, 63, 64, 127, 128, 2047, 2048, 2049, 4095, 4096, PACKETS_MAX / 2];
    let mut numbers: Vec<u64> = Vec::new();
    for edge in edges {
        let far = edge + REPLAY_WINDOW;
        numbers.extend([edge.saturating_sub(1), edge, edge + 1, far - 1, far, far + 1, edge, edge + 1]);
    }
    numbers.extend([1 << 32, (1 << 32) + 1, u64::MAX - 1, u64::MAX, 0, PACKETS_MAX]);
    let mut base = PACKETS_MAX / 2;
    for _ in 0..DECIDED {
        // Now and then a jump, by less and by more than the window.
        if lab.rng.random_ratio(1, 20) {
            base += lab.rng.random_range(0..2 * REPLAY_WINDOW);
        }
        numbers.push((base + lab.rng.random_range(0..REPLAY_WINDOW + 500)).min(PACKETS_MAX + 5));
    }
    numbers.extend([PACKETS_MAX - 1, PACKETS_MAX - 1, PACKETS_MAX, PACKETS_MAX - REPLAY_WINDOW]);
    Ok(decided(agrees(&mut session, numbers)))
}

fn mixed_up(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let mut session = Session::new(defence, Missing::WindowBelowHighest, lab)?;
    let mut numbers: Vec<u64> = (0..DECIDED).collect();
    // Every second stretch is mixed up over less than the window, every other over twice as much.
    let (mut rest, mut wide) = (&mut numbers[..], false);
    while !rest.is_empty() {
        let window = usize::try_from(REPLAY_WINDOW)?;
        let len = if wide { 2 * window } else { window / 2 }.min(rest.len());
        let (stretch, after) = rest.split_at_mut(len);
        stretch.shuffle(&mut lab.rng);
        (rest, wide) = (after, !wide);
    }
    Ok(decided(agrees(&mut session, numbers)))
}

fn forged_number(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let mut session = Session::new(defence, Missing::OpenFirst, lab)?;
    let real = session.hand.packet(PING);
    let far = [REPLAY_WINDOW, 1 << 22, PACKETS_MAX - 1, PACKETS_MAX, 1 << 62, u64::MAX - 1, u64::MAX];
    let mut taken = 0;
    for number in far {
        let header = DataHeader { epoch: 0, receiver: session.hand.receiver, packet_number: number };
        let mut forged = real.clone();
        forged[..16].copy_from_slice(&header.encode());
        taken += u32::from(session.takes(&forged));
    }
    let real_taken = session.takes(&real);
    let what = format!("{taken} forged packets taken; the real one was {}", taken_or_not(real_taken));
    Ok(Seen::when(taken == 0 && real_taken, what).figure(format!("{} numbers", far.len())))
}

fn flipped(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let mut session = Session::new(defence, Missing::OpenFirst, lab)?;
    let packet = session.hand.packet(&said(0, &[b'x'; 1000]));
    let mut traces = 0;
    for bit in 0..packet.len() * 8 {
        let mut flipped = packet.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let taken = session.takes(&flipped);
        traces += u32::from(taken || !session.target.sent(START).is_empty());
    }
    let original = session.takes(&packet) && session.target.bodies().len() == 1;
    let counted = defence == Defence::Removed || counts_what_it_drops(lab)?;
    let what = format!("{traces} left a trace; the original was {}", taken_or_not(original));
    Ok(Seen::when(traces == 0 && original && counted, what).figure(format!("{} bits", packet.len() * 8)))
}

/// Whether each damaged packet is counted as dropped.
fn counts_what_it_drops(lab: &mut Lab) -> Result<bool, NotRun> {
    let people = People::default();
    let (bobs, alices) = people.introduce(&mut lab.rng);
    let mut product = Product::new(&people.alice, alices, lab.rng.random(), START);
    let mut hand = Hand::meet(&mut product, &bobs, &people.bob, &mut lab.rng, START)?;
    let packet = hand.packet(&said(0, b"hello"));
    let (before, bits) = (product.stats().dropped, packet.len() * 8);
    for bit in 0..bits {
        let mut flipped = packet.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        product.take(hand.address, &flipped, START);
    }
    Ok(product.stats().dropped - before == u64::try_from(bits)?)
}

fn other_key(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let people = People::default();
    let (old_bob, old_alice) = old_session(&people, &mut lab.rng)?;
    let (bobs, alices) = people.introduce(&mut lab.rng);
    let rng = &mut lab.rng;
    let (mut hand, mut session) = match defence {
        Defence::InPlace => {
            let mut target = target(defence, Missing::KeySeparation, &people, alices, rng.random());
            (Hand::meet(&mut *target, &bobs, &people.bob, rng, START)?, target)
        }
        Defence::Removed => {
            let mut target = Careless::new(&people.alice, alices, Missing::KeySeparation);
            target.learn(old_alice.open);
            let hand = Hand::meet(&mut target, &bobs, &people.bob, rng, START)?;
            (hand, Box::new(target) as Box<dyn Target>)
        }
    };
    let mut taken = 0;
    let mut try_it = |target: &mut dyn Target, packet: &[u8]| {
        let before = target.accepted(START);
        target.take(hand.address, packet, START);
        taken += target.accepted(START) - before;
    };
    // Bob's key of the old session and alice's, under this session's id and under numbers that are free.
    for number in 100..400 {
        let header = DataHeader { epoch: 0, receiver: hand.receiver, packet_number: number }.encode();
        for key in [&old_bob.seal, &old_alice.seal] {
            let mut content = said(0, b"from the past");
            let tag = key.seal_in_place(number, &header, &mut content);
            try_it(&mut *session, &[&header[..], &content, &tag].concat());
        }
    }
    // Her own packets, sent back with her own id in them.
    let mut own = Vec::new();
    for _ in 0..50 {
        let ping = hand.packet(PING);
        session.take(hand.address, &ping, START);
        own.extend(session.sent(START));
    }
    let reflected = own.len();
    for (_, mut packet) in own {
        packet[4..8].copy_from_slice(&hand.receiver.0.to_be_bytes());
        let before = session.accepted(START);
        session.take(hand.address, &packet, START);
        taken += session.accepted(START) - before;
    }
    let what = format!("{taken} of {} taken, {} bodies shown", 600 + reflected, session.bodies().len());
    Ok(Seen::when(taken == 0 && reflected > 0 && session.bodies().is_empty(), what)
        .figure(format!("600 of an old session, {reflected} reflected")))
}

/// Both sides' keys of a session that is over.
fn old_session(people: &People, rng: &mut ChaCha20Rng) -> Result<(Epoch, Epoch), NotRun> {
    let (bobs, alices) = people.introduce(rng);
    let (initiator, message) = Initiator::start(&bobs, &people.bob, rng);
    let (responder, message) = Responder::respond(&alices, &people.alice, &message, rng)?;
    let (bob, message) = initiator.read_response(&message)?;
    Ok((bob.into_epoch(), responder.finish(&message)?.into_epoch()))
}

fn jumped(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let mut session = Session::new(defence, Missing::NumberBound, lab)?;
    let old = session.hand.packet(&said(0, b"once"));
    session.takes(&old);
    let far = [PACKETS_MAX, PACKETS_MAX + 1, 1 << 32, 1 << 63, (1 << 63) + 1, u64::MAX - 1, u64::MAX];
    let mut taken = 0;
    for number in far {
        let packet = session.hand.numbered(number, PADDING);
        taken += u32::from(session.takes(&packet));
    }
    let replayed = session.takes(&old);
    let next = session.hand.packet(PING);
    let goes_on = session.takes(&next);
    let what = format!(
        "{taken} jumps taken; an old packet was {} and the next one {}",
        taken_or_not(replayed),
        taken_or_not(goes_on)
    );
    let held = taken == 0 && !replayed && goes_on && !session.target.has_ended();
    Ok(Seen::when(held, what).figure(format!("{} jumps", far.len())))
}

const fn taken_or_not(taken: bool) -> &'static str {
    if taken { "taken" } else { "refused" }
}
