//! That no key ever seals two packets under one number.

use std::collections::BTreeSet;
use std::time::Duration;

use p2pchat_crypto::ledger::Ledger;
use p2pchat_crypto::{Suite, primitives};
use p2pchat_proto::datagram::{DATA_HEADER_LEN, Datagram};
use p2pchat_proto::frame::{Frame, StreamId};
use p2pchat_proto::varint;
use p2pchat_session::{EndReason, PACKETS_MAX};
use rand::RngExt;

use crate::rows::{Defence, Lab, NotRun, Promise, Row, Seen, each};
use crate::sim::START;
use crate::sim::careless::Missing;
use crate::sim::hand::{Hand, PING, said, said_len};
use crate::sim::pair::{Pair, bad_line};
use crate::sim::people::People;
use crate::sim::target::{Product, Target};
use crate::town::Town;

/// Bodies said each way over a bad line.
const SAID: usize = 300;
/// Sent packets after which the peer acknowledges.
const ACK_EVERY: u64 = 64;

const LOST: Promise = "no nonce twice where packets are lost and sent again";
const CRASHED: Promise = "no nonce twice after a crash";
const CLONED: Promise = "no nonce twice by machines with the same randomness";
const LINKS: Promise = "no nonce twice on links that break and come back";

/// What one handshake seals: an empty payload in each message, and a static key in the third. Two machines
/// that were cloned with their generators draw the same ephemerals, and these seals are then the same but
/// for what they authenticate; the psk of the new introduction keeps every packet apart.
const HANDSHAKE_SEALS: usize = 4;

/// A sender with one thing wrong.
#[derive(Debug, Clone, Copy)]
enum Sealer {
    /// Sends again under the number that it had.
    Resends,
    /// Begins at 0 after a crash, with the keys that it had.
    CountsAnew,
    /// Was cloned, and goes on at both places.
    GoesOnTwice,
    /// Seals every link with the same key.
    KeepsLinkKey,
}

const SEALERS: [(Sealer, Promise); 4] = [
    (Sealer::Resends, LOST),
    (Sealer::CountsAnew, CRASHED),
    (Sealer::GoesOnTwice, CLONED),
    (Sealer::KeepsLinkKey, LINKS),
];

/// The end of the numbers.
pub(super) const USED_UP: Row = Row {
    id: "T7",
    attack: "a session is made to send until its key is used up, and the peer never renews it",
    expected: "it ends and says so; no number is used twice",
    run: used_up,
};

/// Across sessions.
pub(super) const UNIQUE: Row = Row {
    id: "T8",
    attack: "loss, crashes, cloned machines and broken links, with every AEAD watched",
    expected: "no key seals twice under one nonce, no ciphertext comes twice",
    run: unique,
};

/// What is sent again.
pub(super) const RESENT: Row = Row {
    id: "T9",
    attack: "packets are lost until they are sent again",
    expected: "what is sent again has a new number and other bytes",
    run: resent,
};

fn used_up(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let people = People::default();
    let (bobs, alices) = people.introduce(&mut lab.rng);
    let mut product = Product::new(&people.alice, alices, lab.rng.random(), START);
    let mut hand = Hand::meet(&mut product, &bobs, &people.bob, &mut lab.rng, START)?;
    if defence == Defence::Removed {
        // A sender that counts with 16 bits.
        let mut wrapped = (0..=u64::from(u16::MAX) + 1).map(|n| Some(hand.numbered(n & 0xffff, PING)));
        return Ok(watched(&mut || wrapped.next().flatten(), || false));
    }
    let credit = [
        Frame::MaxData { max: varint::MAX },
        Frame::MaxStreamData { stream: StreamId::CONVERSATION, max: varint::MAX },
    ];
    let credit = hand.frames(&credit);
    product.take(hand.address, &credit, START);
    let (mut now, mut waiting, mut out) = (START, 0, Vec::new());
    let mut first = product.sent(now).into_iter().map(|(_, bytes)| bytes);
    let (endpoint, session, ended) = (&mut product.endpoint, product.session, &mut product.ended);
    let mut next = || {
        if let Some(early) = first.next() {
            return Some(early);
        }
        // Refused when the session has ended; then what is left says so.
        let _ = endpoint.send(session, StreamId::CONVERSATION, 1, &[], now);
        let transmit = endpoint.poll_transmit(now, 1, &mut out);
        waiting += 1;
        if waiting % ACK_EVERY == 0
            && let Some(Datagram::Data(header)) = Datagram::decode(&out)
        {
            now = now + Duration::from_millis(1);
            let mut ack = hand.ack(header.packet_number.saturating_sub(2 * ACK_EVERY)..=header.packet_number);
            endpoint.handle_datagram(crate::sim::target::received(hand.address), &mut ack, now);
        }
        while let Some((_, event)) = endpoint.poll_event() {
            if let p2pchat_session::SessionEvent::Ended(reason) = event {
                *ended = Some(reason);
            }
        }
        transmit.map(|_| out.clone())
    };
    let seen = watched(&mut next, || true);
    let held = seen.held && product.ended == Some(EndReason::KeysUsedUp);
    Ok(Seen { held, ..seen })
}

/// Watches the numbers of all that `next` sends, until it sends nothing more.
fn watched(next: &mut dyn FnMut() -> Option<Vec<u8>>, ends: impl Fn() -> bool) -> Seen {
    let mut used = vec![false; usize::try_from(PACKETS_MAX).unwrap_or_default()];
    let mut sent = 0_u64;
    while let Some(datagram) = next() {
        let Some(Datagram::Data(header)) = Datagram::decode(&datagram) else { continue };
        let number = usize::try_from(header.packet_number).unwrap_or(usize::MAX);
        match used.get_mut(number) {
            Some(used) if !*used => *used = true,
            Some(_) => return Seen::broken(format!("number {number} was used twice, after {sent} packets")),
            None => return Seen::broken(format!("number {number} is beyond the last one")),
        }
        sent += 1;
    }
    Seen::when(ends(), "it ended before a number came twice").figure(format!("{sent} packets sealed"))
}

/// Everything that was sealed, by whom it was for.
#[derive(Default)]
struct Record {
    headers: BTreeSet<(u32, [u8; DATA_HEADER_LEN])>,
    sealed: BTreeSet<[u8; 32]>,
    packets: usize,
    repeated_number: usize,
    repeated_bytes: usize,
}

impl Record {
    /// Notes what one introduction sent. The header is kind, epoch, receiver id and number.
    fn add<'a>(&mut self, introduction: u32, wire: impl IntoIterator<Item = &'a Vec<u8>>) {
        for datagram in wire {
            let (Some(Datagram::Data(_)), Some((header, sealed))) =
                (Datagram::decode(datagram), datagram.split_first_chunk())
            else {
                continue;
            };
            self.packets += 1;
            self.repeated_number += usize::from(!self.headers.insert((introduction, *header)));
            self.repeated_bytes += usize::from(!self.sealed.insert(*blake3::hash(sealed).as_bytes()));
        }
    }

    fn seen(&self) -> Seen {
        let Self { packets, repeated_number, repeated_bytes, .. } = self;
        let what = format!("{repeated_number} numbers and {repeated_bytes} ciphertexts came twice");
        Seen::when(*packets > SAID && *repeated_number == 0 && *repeated_bytes == 0, what)
            .figure(format!("{packets} packets recorded"))
    }
}

/// A session over a bad line, with [`SAID`] bodies each way, that ends as a crash ends it.
fn crashing_session(people: &People, seeds: [u64; 2], lab: &mut Lab) -> Result<Pair, NotRun> {
    let mut pair = Pair::new(people, seeds, bad_line(), &mut lab.rng);
    if !pair.come_up() {
        return Err(NotRun("the session did not come up".to_owned()));
    }
    for number in 0..SAID {
        let body = number.to_string().into_bytes();
        pair.say(0, &body);
        pair.say(1, &body);
        pair.run_for(Duration::from_millis(20));
    }
    Ok(pair)
}

/// One ledger sees every key and nonce that anything seals with, on both sides and at the broker.
fn unique(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let mut figure = String::new();
    let seen = each(defence, &SEALERS, |sealer| {
        let mut watch = Watch { ledger: Ledger::open(), reuses: 0, broken: BTreeSet::new() };
        match sealer {
            None => honest(&mut watch, lab)?,
            Some(sealer) => careless(sealer, &mut watch, lab)?,
        }
        let Watch { ledger, reuses, .. } = &watch;
        figure = format!(
            "{} seals with {} keys; {reuses} of cloned handshakes twice",
            ledger.seals(),
            ledger.keys()
        );
        Ok(watch.broken)
    })?;
    Ok(seen.figure(figure))
}

/// What was sealed twice, by the story in which it was.
struct Watch {
    ledger: Ledger,
    reuses: usize,
    broken: BTreeSet<Promise>,
}

impl Watch {
    /// A story ended, in which `promise` had to be kept.
    fn ended(&mut self, promise: Promise) {
        self.ended_but_for(0, promise);
    }

    /// The same where so many may have come twice.
    fn ended_but_for(&mut self, allowed: usize, promise: Promise) {
        let reuses = self.ledger.reuses().len();
        self.broken.extend((reuses > self.reuses + allowed).then_some(promise));
        self.reuses = reuses;
    }
}

fn honest(watch: &mut Watch, lab: &mut Lab) -> Result<(), NotRun> {
    let people = People::default();
    let mut record = Record::default();
    let [bobs, alices] = [lab.rng.random(), lab.rng.random()];
    // After each the two meet again with other endpoints, as after a crash, then both with the randomness
    // that they had, as when their machines were cloned, then one of them.
    let stories = [
        (LOST, [bobs, alices]),
        (CRASHED, [lab.rng.random(), lab.rng.random()]),
        (CLONED, [bobs, alices]),
        (CLONED, [lab.rng.random(), alices]),
    ];
    for (introduction, (promise, seeds)) in stories.into_iter().enumerate() {
        let pair = crashing_session(&people, seeds, lab)?;
        record.add(u32::try_from(introduction)?, &pair.wire);
        watch.ended_but_for(if promise == CLONED { HANDSHAKE_SEALS } else { 0 }, promise);
    }
    if watch.ledger.seals() < record.packets as u64 || record.packets <= SAID {
        return Err(NotRun(format!("{:?} of {} packets", watch.ledger, record.packets)));
    }
    let repeated = record.repeated_bytes + record.repeated_number;
    watch.broken.extend((repeated > 0).then_some(LOST));
    let before = watch.ledger.keys();
    links_break(lab)?;
    watch.ended(LINKS);
    if watch.ledger.keys() <= before {
        return Err(NotRun("no link to the broker was seen".to_owned()));
    }
    Ok(())
}

/// Two people whose links to the broker break, and who log in again.
fn links_break(lab: &mut Lab) -> Result<(), NotRun> {
    let failed = || NotRun("nobody logs in".to_owned());
    let mut town = Town::new(None, &mut lab.rng).ok_or_else(failed)?;
    let (bob, alice) = (town.start(2, "bob", &[(1, "alice")]), town.start(1, "alice", &[]));
    let (bob, alice) = bob.zip(alice).ok_or_else(failed)?;
    for _ in 0..2 {
        for who in [bob, alice] {
            town.carries(who, false, who == bob);
        }
        town.run_for(Duration::from_secs(120));
        [bob, alice].into_iter().for_each(|who| town.carries(who, true, true));
        town.run_for(Duration::from_secs(120));
    }
    if town.logins < 4 { Err(failed()) } else { Ok(()) }
}

/// The doubles: what they seal, they seal with the same AEAD.
fn careless(sealer: Sealer, watch: &mut Watch, lab: &mut Lab) -> Result<(), NotRun> {
    if let Sealer::KeepsLinkKey = sealer {
        let key = lab.rng.random();
        for link in [&b"the first link"[..], b"the next one"] {
            primitives::seal(Suite::ChaCha20Poly1305, key, [0; 12], &[], link);
        }
        watch.ended(LINKS);
        return Ok(());
    }
    if let Sealer::Resends = sealer {
        resending(lab, |hand, number, offset| {
            hand.numbered(number, &[PING, &said(offset, b"again")].concat())
        })?;
        watch.ended(LOST);
        return Ok(());
    }
    let super::Session { mut hand, .. } = super::Session::new(Defence::Removed, Missing::ReplayWindow, lab)?;
    hand.packet(b"before");
    match sealer {
        Sealer::CountsAnew => {
            hand.next = 0;
            hand.packet(b"after the crash");
            watch.ended(CRASHED);
        }
        Sealer::GoesOnTwice | Sealer::Resends | Sealer::KeepsLinkKey => {
            let numbers = hand.next..hand.next + SAID as u64;
            numbers.clone().for_each(|number| drop(hand.numbered(number, b"here")));
            numbers.for_each(|number| drop(hand.numbered(number, b"and at the clone")));
            watch.ended_but_for(HANDSHAKE_SEALS, CLONED);
        }
    }
    Ok(())
}

fn resent(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let mut record = Record::default();
    if defence == Defence::Removed {
        record
            .add(0, &resending(lab, |hand, number, offset| hand.numbered(number, &said(offset, b"again")))?);
        return Ok(record.seen());
    }
    let seeds = [lab.rng.random(), lab.rng.random()];
    let mut pair = crashing_session(&People::default(), seeds, lab)?;
    pair.run_for(Duration::from_secs(60));
    record.add(0, &pair.wire);
    let again: u64 = pair
        .sides
        .iter()
        .filter_map(|side| side.endpoint.info(side.session, pair.now))
        .map(|info| info.retransmitted)
        .sum();
    let all_shown = pair.sides.iter().all(|side| side.bodies.len() == SAID);
    let seen = record.seen();
    let trace = pair.trace_hash();
    let figure = format!("{again} of {} packets carried something again, trace {trace:016x}", record.packets);
    Ok(Seen { held: seen.held && again > 0 && all_shown, ..seen }.figure(figure))
}

/// What a sender puts on the wire that sends everything again under the number that it had.
fn resending(lab: &mut Lab, again: impl Fn(&Hand, u64, u64) -> Vec<u8>) -> Result<Vec<Vec<u8>>, NotRun> {
    let super::Session { hand, .. } = super::Session::new(Defence::Removed, Missing::ReplayWindow, lab)?;
    let mut wire = Vec::new();
    let mut offset = 0;
    for number in hand.next..hand.next + SAID as u64 {
        wire.push(hand.numbered(number, &said(offset, b"again")));
        wire.push(again(&hand, number, offset));
        offset += said_len(b"again");
    }
    Ok(wire)
}
