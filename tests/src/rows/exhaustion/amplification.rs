//! How much a port sends to an address in whose name somebody else writes.
//!
//! The attacker writes the victim's address on each datagram and counts what the victim gets. It has
//! no key, but recorded everything that two people said. What it can do with a datagram that it takes
//! off the path before it arrives is another matter: it is authentic, and its source may be the peer at
//! another address. Until that has proven to receive, it gets at most three times the bytes that came
//! from it (protocol sections 4 and 5).

use std::net::SocketAddr;
use std::time::Duration;

use p2pchat_crypto::Introduction;
use p2pchat_netsim::LinkConfig;
use p2pchat_proto::datagram::{DATA_HEADER_LEN, DataHeader, Datagram, FIN, MAC_LEN, RESP, ReceiverId};
use p2pchat_proto::{Moment, UdpEndpoints};
use p2pchat_session::Endpoint;
use rand::{Rng, RngExt};
use rand_chacha::ChaCha20Rng;

use crate::rows::{Defence, Lab, NotRun, Row, Seen};
use crate::sim::START;
use crate::sim::hand::{Hand, PING, init, with_mac};
use crate::sim::pair::Pair;
use crate::sim::people::People;
use crate::sim::target::{Product, Sent, Target, endpoint, received};

/// Repetitions of one datagram.
const REPLAYS: usize = 100;
/// Most bytes of junk in one datagram: what fits a frame of Ethernet.
const JUNK_MAX: usize = 1_472;
/// Time between two datagrams.
const STEP: Duration = Duration::from_millis(10);
/// How long the port is watched afterwards: longer than any handshake lasts.
const WATCHED: Duration = Duration::from_secs(120);
/// Bytes for each one that was taken off the path in the victim's name (protocol section 5).
const TAKEN_FACTOR: u64 = 3;

/// Every kind of datagram, from an address that is another's.
pub(super) const RATIO: Row = Row {
    id: "R7",
    attack: "every kind of datagram in a victim's name: junk, forged, recorded and repeated INIT, RESP, FIN, DATA, PUNCH",
    expected: "the victim gets at most as many bytes as were spent on it, and three times those of what was taken off the path",
    run: ratio,
};

/// Bytes that came in the victim's name, and those that it got.
#[derive(Clone, Copy, Default)]
struct Bill {
    spent: u64,
    got: u64,
}

impl Bill {
    fn is_paid(self) -> bool {
        self.got <= self.spent
    }

    fn ratio(self) -> f64 {
        if self.spent == 0 { 0.0 } else { self.got as f64 / self.spent as f64 }
    }
}

/// The double: it answers everything, three times over.
struct Generous(Vec<Sent>);

impl Target for Generous {
    fn take(&mut self, from: SocketAddr, datagram: &[u8], _: Moment) {
        self.0.extend((0..3).map(|_| (from, datagram.to_vec())));
    }

    fn sent(&mut self, _: Moment) -> Vec<Sent> {
        std::mem::take(&mut self.0)
    }

    fn wait(&mut self, _: Moment) {}

    fn bodies(&self) -> &[Vec<u8>] {
        &[]
    }

    fn accepted(&self, _: Moment) -> u64 {
        0
    }

    fn has_ended(&self) -> bool {
        false
    }
}

/// An endpoint that nobody asks what it was shown.
struct Port(Endpoint);

impl Target for Port {
    fn take(&mut self, from: SocketAddr, datagram: &[u8], now: Moment) {
        self.0.handle_datagram(received(from), &mut datagram.to_vec(), now);
    }

    fn sent(&mut self, now: Moment) -> Vec<Sent> {
        let (mut sent, mut out) = (Vec::new(), Vec::new());
        while let Some(transmit) = self.0.poll_transmit(now, 1, &mut out) {
            sent.push((transmit.to, out.clone()));
        }
        while self.0.poll_event().is_some() {}
        sent
    }

    fn wait(&mut self, now: Moment) {
        self.0.handle_timeout(now);
    }

    fn bodies(&self) -> &[Vec<u8>] {
        &[]
    }

    fn accepted(&self, _: Moment) -> u64 {
        0
    }

    fn has_ended(&self) -> bool {
        false
    }
}

fn ratio(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let people = People::default();
    let rng = &mut lab.rng;
    let mut bills: Vec<(&str, Bill)> = Vec::new();
    for (kind, datagrams, mut target) in at_a_responder(&people, defence, rng) {
        bills.push((kind, bill(&mut *target, &datagrams, START)));
    }
    let mut on_the_path = String::new();
    if defence == Defence::InPlace {
        bills.extend(at_sessions(&people, rng)?);
        bills.extend(at_an_initiator(&people, rng));
        let taken = taken_off_the_path(&people, rng)?;
        if let Some((kind, bill)) = taken.iter().find(|(_, bill)| bill.got > TAKEN_FACTOR * bill.spent) {
            return Ok(Seen::broken(format!("{} bytes for {} of {kind}", bill.got, bill.spent)));
        }
        let worst = taken.iter().map(|(_, bill)| bill.ratio()).fold(0.0, f64::max);
        on_the_path = format!("; {worst:.2} at most for {} taken off the path", taken.len());
    }
    let unpaid: Vec<_> = bills.iter().filter(|(_, bill)| !bill.is_paid()).map(|(kind, _)| *kind).collect();
    let worst = bills.iter().map(|(_, bill)| bill.ratio()).fold(0.0, f64::max);
    let what = match unpaid.as_slice() {
        [] => "no more than was spent".to_owned(),
        unpaid => format!("more than was spent on {}", unpaid.join(", ")),
    };
    let figure = format!("{worst:.2} at most, {} cases{on_the_path}", bills.len());
    Ok(Seen::when(unpaid.is_empty() && bills.iter().any(|(_, bill)| bill.got > 0), what).figure(figure))
}

const fn victim() -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7)), 53)
}

/// What the victim gets for these, in all the time that follows.
fn bill(target: &mut dyn Target, datagrams: &[Vec<u8>], begin: Moment) -> Bill {
    let (mut bill, mut now) = (Bill::default(), begin);
    let count = |target: &mut dyn Target, now| {
        let got = target.sent(now).into_iter().filter(|(to, _)| *to == victim());
        got.map(|(_, datagram)| datagram.len() as u64).sum::<u64>()
    };
    for datagram in datagrams {
        bill.spent += datagram.len() as u64;
        target.take(victim(), datagram, now);
        bill.got += count(target, now);
        now = now + STEP;
    }
    let end = now + WATCHED;
    while now < end {
        now = now + 5 * STEP;
        target.wait(now);
        bill.got += count(target, now);
    }
    bill
}

type Case = (&'static str, Vec<Vec<u8>>, Box<dyn Target>);

/// What the attacker makes of recorded INITs and their ticket.
type Spoken<'a> = &'a dyn Fn(&[Vec<u8>], &[u8; 8], &mut ChaCha20Rng) -> Vec<Vec<u8>>;

/// Alice waits for bob's INIT.
fn at_a_responder(people: &People, defence: Defence, rng: &mut ChaCha20Rng) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    let mut add = |kind, datagrams: Spoken<'_>| {
        let (bobs, alices) = people.introduce(rng);
        let inits: Vec<_> = (0..REPLAYS).map(|_| init(&bobs, &people.bob, rng).1).collect();
        let datagrams = datagrams(&inits, &bobs.my_ticket().0, rng);
        let target: Box<dyn Target> = match defence {
            Defence::InPlace => Box::new(Product::new(&people.alice, alices, rng.random(), START)),
            Defence::Removed => Box::new(Generous(Vec::new())),
        };
        cases.push((kind, datagrams, target));
    };
    add("junk", &|_, _, rng| junk(rng));
    add("forged datagrams", &|_, ticket, rng| forged(*ticket, rng));
    add("one INIT", &|inits, _, _| inits[..1].to_vec());
    add("one INIT, repeated", &|inits, _, _| vec![inits[0].clone(); REPLAYS]);
    add("many INITs", &|inits, _, _| inits.to_vec());
    add("INITs cut and extended", &|inits, _, _| {
        (0..JUNK_MAX)
            .step_by(7)
            .map(|len| inits[0].iter().copied().chain([0; JUNK_MAX]).take(len).collect())
            .collect()
    });
    cases
}

fn junk(rng: &mut ChaCha20Rng) -> Vec<Vec<u8>> {
    let lengths = (0..JUNK_MAX).step_by(11);
    lengths.map(|len| (0..len).map(|_| rng.random()).collect()).collect()
}

/// Everything right that somebody on the path can know, and a MAC or tag that nobody has.
fn forged(ticket: [u8; 8], rng: &mut ChaCha20Rng) -> Vec<Vec<u8>> {
    let (sender, receiver) = (ReceiverId(rng.random()), ReceiverId(rng.random()));
    let header = DataHeader { epoch: 0, receiver, packet_number: 0 };
    let kinds = [
        (Datagram::Init { sender, ticket, noise: [7; 48] }, MAC_LEN),
        (Datagram::Resp { sender, receiver, noise: [7; 48] }, MAC_LEN),
        (Datagram::Fin { receiver, noise: [7; 64] }, MAC_LEN),
        (Datagram::Punch { ticket }, MAC_LEN),
        (Datagram::Data(header), 1_200 - DATA_HEADER_LEN),
    ];
    let mut datagrams = Vec::new();
    for (datagram, tail) in kinds {
        let mut bytes = Vec::new();
        datagram.encode(&mut bytes);
        let known = bytes.len();
        bytes.resize(known + tail, 0);
        rng.fill_bytes(&mut bytes[known..]);
        datagrams.extend(vec![bytes; REPLAYS]);
    }
    datagrams
}

/// Bob and alice are in a session; everything that they said comes once more. Then a packet that has
/// not arrived yet.
fn at_sessions(people: &People, rng: &mut ChaCha20Rng) -> Result<Vec<(&'static str, Bill)>, NotRun> {
    let line = LinkConfig { delay: 20_000_000, ..LinkConfig::default() };
    let mut pair = Pair::new(people, [rng.random(), rng.random()], line, rng);
    if !pair.come_up() || !(0..20).all(|_| pair.say(0, b"hello") && pair.say(1, b"hello")) {
        return Err(NotRun("no session came up".to_owned()));
    }
    pair.run_for(Duration::from_secs(5));
    let said = [pair.wire.clone(), pair.wire.clone()].concat();
    let now = pair.now;
    let mut bills = Vec::new();
    for (side, kind) in
        pair.sides.into_iter().zip(["all that was said, to bob", "all that was said, to alice"])
    {
        bills.push((kind, bill(&mut Port(side.endpoint), &said, now)));
    }
    let (bobs, alices) = people.introduce(rng);
    let mut alice = Product::new(&people.alice, alices, rng.random(), START);
    let mut hand = Hand::meet(&mut alice, &bobs, &people.bob, rng, START)?;
    let moved: Vec<_> = (0..REPLAYS).map(|_| hand.packet(PING)).collect();
    bills.push(("packets before they arrive", bill(&mut alice, &moved, START)));
    Ok(bills)
}

/// Bob waits for alice's RESP.
fn at_an_initiator(people: &People, rng: &mut ChaCha20Rng) -> Vec<(&'static str, Bill)> {
    let (mut port, alices) = initiator(people, rng);
    let forged = bill(&mut port, &forged(alices.my_ticket().0, rng), START);
    let (mut port, _) = initiator(people, rng);
    let junk = bill(&mut port, &junk(rng), START);
    vec![("forged, to who asked", forged), ("junk, to who asked", junk)]
}

fn initiator(people: &People, rng: &mut ChaCha20Rng) -> (Port, Introduction) {
    let (bobs, alices) = people.introduce(rng);
    let mut port = endpoint(&people.bob, rng.random(), START);
    port.introduce(bobs, &UdpEndpoints::default(), START);
    (Port(port), alices)
}

/// What did not arrive before, and comes in the victim's name, once and again and again.
fn taken_off_the_path(people: &People, rng: &mut ChaCha20Rng) -> Result<Vec<(&'static str, Bill)>, NotRun> {
    let mut bills = Vec::new();
    for (count, [punched, answered, confirmed, said]) in [
        (1, ["one PUNCH", "one RESP", "one FIN", "one packet"]),
        (REPLAYS, ["a PUNCH, repeated", "a RESP, repeated", "a FIN, repeated", "a packet, repeated"]),
    ] {
        let (mut port, alices) = initiator(people, rng);
        let punch = with_mac(&alices, &Datagram::Punch { ticket: alices.my_ticket().0 });
        bills.push((punched, bill(&mut port, &vec![punch; count], START)));
        for (kind, name) in [(RESP, answered), (FIN, confirmed)] {
            let line = LinkConfig { delay: 20_000_000, ..LinkConfig::default() };
            let mut pair = Pair::new(people, [rng.random(), rng.random()], line, rng);
            let taken = pair.run_until_sent(kind).ok_or(NotRun(format!("no {name}")))?;
            let now = pair.now;
            let [bob, alice] = pair.sides;
            let receiver = if kind == RESP { bob } else { alice };
            bills.push((name, bill(&mut Port(receiver.endpoint), &vec![taken; count], now)));
        }
        let (bobs, alices) = people.introduce(rng);
        let mut alice = Product::new(&people.alice, alices, rng.random(), START);
        let mut hand = Hand::meet(&mut alice, &bobs, &people.bob, rng, START)?;
        let packet = hand.packet(PING);
        bills.push((said, bill(&mut alice, &vec![packet; count], START)));
    }
    Ok(bills)
}
