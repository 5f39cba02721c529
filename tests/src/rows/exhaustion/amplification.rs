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
use p2pchat_proto::datagram::{
    DATA, DATA_HEADER_LEN, DataHeader, Datagram, FIN, INIT, MAC_LEN, PUNCH, RESP, ReceiverId,
};
use p2pchat_proto::{Moment, UdpEndpoints};
use p2pchat_session::Endpoint;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;

use crate::rows::{Defence, Lab, NotRun, Promise, Row, Seen, each};
use crate::sim::START;
use crate::sim::contacts::{Contacts, Neglect as Duty};
use crate::sim::courier::{Courier, DELAY, Neglect, Sight, carried};
use crate::sim::hand::{Hand, PING, init};
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
const TAKEN_FACTOR: f64 = 3.0;

/// Every kind of datagram, from an address that is another's.
pub(super) const RATIO: Row = Row {
    id: "R7",
    attack: "every kind of datagram in a victim's name: junk, forged, recorded, repeated, and taken off the path, also where the peer has moved",
    expected: "the victim gets at most as many bytes as were spent on it, and three times those of what was taken off the path",
    run: ratio,
};

const RATIO_KEPT: Promise = "what has not been taken off the path is worth no more than its bytes";
const HANDSHAKES: Promise = "a handshake message that has, three times its bytes";
const PACKETS: Promise = "a packet that has, three times its bytes, also after a move";

/// What the double does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Double {
    /// It answers everything, three times over.
    Generous,
    /// An address from which a handshake message came counts as one that was announced.
    Credulous,
    /// A session goes to where the last packet came from.
    Follower,
}

const DOUBLES: [(Double, Promise); 3] =
    [(Double::Generous, RATIO_KEPT), (Double::Credulous, HANDSHAKES), (Double::Follower, PACKETS)];

impl Double {
    const fn neglect(self) -> Neglect {
        match self {
            Self::Generous => Neglect::Nothing,
            Self::Credulous => Neglect::Naming,
            Self::Follower => Neglect::Path,
        }
    }
}

/// Bytes that came in the victim's name, and those that it got.
#[derive(Clone, Copy, Default)]
struct Bill {
    spent: u64,
    got: u64,
}

impl Bill {
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
    let mut figure = String::new();
    let seen = each(defence, &DOUBLES, |double| {
        let mut bills: Vec<(&str, Bill)> = Vec::new();
        let cases = at_a_responder(&people, double == Some(Double::Generous), rng);
        bills.extend(
            cases
                .into_iter()
                .map(|(kind, datagrams, mut target)| (kind, bill(&mut *target, &datagrams, START))),
        );
        if double.is_none() {
            bills.extend(at_sessions(&people, rng)?);
            bills.extend(at_an_initiator(&people, rng));
            bills.extend(at_a_contact(rng)?);
        }
        let neglect = double.map_or(Neglect::Nothing, Double::neglect);
        let [of_handshakes, of_packets] = [
            taken_handshakes(neglect, rng)?,
            [taken_packets(neglect, rng)?, taken_after_a_move(neglect, rng)?].concat(),
        ];
        let over = |bills: &[(&str, Bill)], factor| bills.iter().any(|(_, bill)| bill.ratio() > factor);
        if bills.iter().all(|(_, bill)| bill.got == 0) || !over(&of_packets, 0.0) {
            return Err(NotRun("nobody was sent anything".to_owned()));
        }
        let worst = |bills: &[(&str, Bill)]| bills.iter().map(|(_, bill)| bill.ratio()).fold(0.0, f64::max);
        figure = format!(
            "{:.2} at most, {} cases; {:.2} of {} handshake messages and {:.2} of {} packets taken off the path",
            worst(&bills),
            bills.len(),
            worst(&of_handshakes),
            of_handshakes.len(),
            worst(&of_packets),
            of_packets.len()
        );
        let broken = [
            (over(&bills, 1.0), RATIO_KEPT),
            (over(&of_handshakes, TAKEN_FACTOR), HANDSHAKES),
            (over(&of_packets, TAKEN_FACTOR), PACKETS),
        ];
        Ok(broken.into_iter().filter_map(|(broken, promise)| broken.then_some(promise)).collect())
    })?;
    Ok(seen.figure(figure))
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
fn at_a_responder(people: &People, generous: bool, rng: &mut ChaCha20Rng) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    let mut add = |kind, datagrams: Spoken<'_>| {
        let (bobs, alices) = people.introduce(rng);
        let inits: Vec<_> = (0..REPLAYS).map(|_| init(&bobs, &people.bob, rng).1).collect();
        let datagrams = datagrams(&inits, &bobs.my_ticket().0, rng);
        let target: Box<dyn Target> = match generous {
            false => Box::new(Product::new(&people.alice, alices, rng.random(), START)),
            true => Box::new(Generous(Vec::new())),
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

/// A contact, who needs nobody to introduce it, dials; its INITs come in the victim's name.
fn at_a_contact(rng: &mut ChaCha20Rng) -> Result<Vec<(&'static str, Bill)>, NotRun> {
    let mut bills = Vec::new();
    for (kind, count, repeats) in [
        ("one INIT of a contact", 1, 1),
        ("one INIT of a contact, repeated", 1, REPLAYS),
        ("many INITs of a contact", 20, 5),
    ] {
        let drawn = ChaCha20Rng::seed_from_u64(rng.random());
        let two = Contacts::new(Duty::Nothing, LinkConfig::default(), drawn);
        let mut two = two.ok_or(NotRun("the two did not meet at first".to_owned()))?;
        let inits: Option<Vec<_>> = (0..count).map(|_| two.unused_init()).collect();
        let inits = inits.ok_or(NotRun("a contact sent no INIT".to_owned()))?;
        let (now, [_, alice]) = (two.now, two.sides);
        bills.push((kind, bill(&mut Port(alice.endpoint), &vec![inits; repeats].concat(), now)));
    }
    if bills.iter().any(|(_, bill)| bill.got == 0) {
        return Err(NotRun("no INIT of a contact was answered".to_owned()));
    }
    Ok(bills)
}

/// A message of each kind, or the first packet, does not arrive, but comes in the victim's name, once and
/// again and again, and all others arrive, or none. For a second message to be sent packets are lost.
fn taken_handshakes(neglect: Neglect, rng: &mut ChaCha20Rng) -> Result<Vec<(&'static str, Bill)>, NotRun> {
    let mut bills = Vec::new();
    let firsts = [("INIT", INIT), ("RESP", RESP), ("FIN", FIN), ("PUNCH", PUNCH), ("a packet", DATA)];
    let seconds = [("second RESP", RESP), ("second FIN", FIN)];
    let firsts = firsts.map(|(name, kind)| (name, kind, 0));
    for (name, kind, nth) in firsts.into_iter().chain(seconds.map(|(name, kind)| (name, kind, 1))) {
        for (count, alone) in [(1, false), (REPLAYS, false), (1, true), (REPLAYS, true)] {
            let mut two = Courier::new(neglect, rng);
            let mut taken = None;
            // INIT goes again before RESP is there, and so does RESP.
            let delay = if nth > 0 { 3 * DELAY } else { DELAY };
            let mut thief = |sight: &Sight<'_>| {
                if sight.kind == kind && sight.nth == nth && taken.is_none() {
                    taken = Some((1 - sight.who, sight.bytes.to_vec()));
                    return Vec::new();
                }
                if nth > 0 && sight.kind == DATA { Vec::new() } else { vec![delay] }
            };
            // Until it was taken, and no longer.
            let of_kind = |two: &Courier| two.wire.iter().filter(|(.., bytes)| bytes[0] == kind).count();
            two.run(WATCHED, &mut thief, |two| of_kind(two) > nth);
            let (to, bytes) = taken.ok_or(NotRun(format!("no {name}")))?;
            let mut fate = |_: &Sight<'_>| if alone { Vec::new() } else { vec![DELAY] };
            for _ in 0..count {
                two.hand(to, victim(), &bytes);
                two.run(STEP, &mut fate, |_| false);
            }
            two.run(WATCHED, &mut fate, |_| false);
            bills.push((name, Bill { spent: (count * bytes.len()) as u64, got: two.sent_to(victim()) }));
        }
    }
    Ok(bills)
}

/// Two who talk, alice far more than bob.
fn talking(neglect: Neglect, rng: &mut ChaCha20Rng) -> Result<Courier, NotRun> {
    let mut two = Courier::new(neglect, rng);
    if !two.run(WATCHED, &mut carried, Courier::are_up) {
        return Err(NotRun("no session came up".to_owned()));
    }
    two.run_for(Duration::from_secs(1));
    Ok(two)
}

/// The first so many packets that bob sends do not arrive, but come in the victim's name, while alice has
/// much to say. The bill at its worst moment.
fn taken(two: &mut Courier, packets: usize) -> Bill {
    let begin = two.sent_to(victim());
    let (mut left, mut bill, mut worst) = (packets, Bill::default(), Bill::default());
    let mut settle = |two: &Courier, bill: &mut Bill| {
        bill.got = two.sent_to(victim()) - begin;
        if bill.ratio() >= worst.ratio() {
            worst = *bill;
        }
    };
    for n in 0..100_u32 {
        two.say(1, &[n as u8; 1_000]);
        two.say(0, &n.to_be_bytes());
        let mut stolen = Vec::new();
        let mut thief = |sight: &Sight<'_>| {
            if sight.who == 0 && left > 0 {
                left -= 1;
                stolen.push(sight.bytes.to_vec());
                return Vec::new();
            }
            vec![DELAY]
        };
        two.run(Duration::from_millis(30), &mut thief, |_| false);
        settle(two, &mut bill);
        for bytes in stolen {
            bill.spent += bytes.len() as u64;
            two.hand(1, victim(), &bytes);
        }
    }
    two.run_for(WATCHED);
    settle(two, &mut bill);
    worst
}

/// Packets of a session come in the victim's name alone.
fn taken_packets(neglect: Neglect, rng: &mut ChaCha20Rng) -> Result<Vec<(&'static str, Bill)>, NotRun> {
    let mut bills = Vec::new();
    for (name, packets) in [("one packet", 1), ("twenty packets", 20), ("every packet", usize::MAX)] {
        bills.push((name, taken(&mut talking(neglect, rng)?, packets)));
    }
    Ok(bills)
}

/// The same after bob has moved, and alice has followed: that one address has proven itself says nothing
/// of the next.
fn taken_after_a_move(neglect: Neglect, rng: &mut ChaCha20Rng) -> Result<Vec<(&'static str, Bill)>, NotRun> {
    let mut bills = Vec::new();
    for (name, packets) in [("one packet after a move", 1), ("every packet after a move", usize::MAX)] {
        let mut two = talking(neglect, rng)?;
        let elsewhere = SocketAddr::from(([10, 0, 7, 2], 7000));
        two.move_to(0, elsewhere);
        two.say(0, b"from elsewhere");
        two.run_for(Duration::from_secs(3));
        two.say(1, b"to elsewhere");
        two.run_for(Duration::from_secs(1));
        if two.parties[0].bodies.last().map(Vec::as_slice) != Some(b"to elsewhere") {
            return Err(NotRun("alice did not follow bob".to_owned()));
        }
        bills.push((name, taken(&mut two, packets)));
    }
    Ok(bills)
}
