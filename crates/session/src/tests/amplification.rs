//! An attacker on the path who writes other people's addresses on what it takes: how much these get.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::BTreeMap;

use p2pchat_proto::datagram::{self, INIT_LEN, PUNCH_LEN, RESP_LEN};
use p2pchat_proto::{Moment, UdpEndpoints};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;

use super::pair::{Pair, Who, endpoint, good_line, received};
use super::people::{identity, introduced};
use crate::{Endpoint, SessionEvent, SessionId, StreamId};

/// Bytes that an address gets for each that came from it, at most, before it has proven anything.
const FACTOR: u64 = 3;
/// One way between the two.
const DELAY: Duration = Duration::from_millis(20);
/// By how much the attacker is faster.
const FASTER: Duration = Duration::from_millis(10);
/// How long it is at work: as long as a handshake takes, and then some.
const ATTACK: Duration = Duration::from_secs(15);
const START: Moment = Moment::from_nanos(1_000_000_000);

struct Side {
    endpoint: Endpoint,
    session: SessionId,
    address: SocketAddr,
    up: bool,
    got: Vec<u32>,
    said: u32,
    /// For each victim, bytes that came in its name and bytes that went to it.
    bills: BTreeMap<SocketAddr, (u64, u64)>,
}

struct Attack {
    rng: ChaCha20Rng,
    now: Moment,
    sides: [Side; 2],
    /// By time, then in order: to whom, from where, what.
    flights: BTreeMap<(Moment, u64), (usize, SocketAddr, Vec<u8>)>,
    ticket: u64,
}

fn victim(n: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, n], 53))
}

impl Attack {
    fn new(seed: u64) -> Self {
        let (bobs, alices) = introduced(&identity(2), &identity(1), (1 << 34) | seed);
        let addresses: [SocketAddr; 2] =
            ["198.51.100.2:7000", "203.0.113.1:7000"].map(|a| a.parse().unwrap());
        let side = |who, introduction, n: usize| {
            let mut endpoint = endpoint(seed, who, START);
            let session = endpoint.introduce(introduction, &UdpEndpoints::new([addresses[1 - n]]), START);
            let bills = BTreeMap::new();
            Side { endpoint, session, address: addresses[n], up: false, got: vec![], said: 0, bills }
        };
        let sides = [side(Who::Bob, bobs, 0), side(Who::Alice, alices, 1)];
        let rng = ChaCha20Rng::seed_from_u64(seed);
        Self { rng, now: START, sides, flights: BTreeMap::new(), ticket: 0 }
    }

    fn fly(&mut self, to: usize, from: SocketAddr, after: Duration, bytes: Vec<u8>) {
        self.flights.insert((self.now + after, self.ticket), (to, from, bytes));
        self.ticket += 1;
    }

    /// What becomes of a datagram on its way from `who` to the other.
    fn tamper(&mut self, who: usize, bytes: Vec<u8>) {
        let (to, from) = (1 - who, self.sides[who].address);
        let attacks = self.now.saturating_since(START) < ATTACK;
        let posed_as = victim(self.rng.random_range(1..5));
        match self.rng.random_range(0..100) {
            0..60 => self.fly(to, from, DELAY, bytes),
            _ if !attacks => self.fly(to, from, DELAY, bytes),
            // A copy that is there first; the copy alone; a copy that comes late; nothing; junk.
            60..75 => {
                self.fly(to, posed_as, DELAY - FASTER, bytes.clone());
                self.fly(to, from, DELAY, bytes);
            }
            75..83 => self.fly(to, posed_as, DELAY - FASTER, bytes),
            83..88 => {
                self.fly(to, from, DELAY, bytes.clone());
                self.fly(to, posed_as, DELAY * 3, bytes);
            }
            88..93 => {}
            _ => {
                let mut junk = bytes.clone();
                let byte = self.rng.random_range(0..junk.len());
                junk[byte] ^= 1 << self.rng.random_range(0..8);
                self.fly(to, posed_as, DELAY, junk);
                let mut noise = vec![0; self.rng.random_range(0..200)];
                self.rng.fill_bytes(&mut noise);
                self.fly(to, posed_as, DELAY, noise);
                self.fly(to, from, DELAY, bytes);
            }
        }
    }

    fn drain(&mut self, who: usize) {
        let mut out = Vec::new();
        while let Some(transmit) = self.sides[who].endpoint.poll_transmit(self.now, 10, &mut out) {
            for datagram in out.chunks(transmit.segment_size.unwrap_or(out.len())) {
                if transmit.to == self.sides[1 - who].address {
                    self.tamper(who, datagram.to_vec());
                    continue;
                }
                let (came, went) = self.sides[who].bills.entry(transmit.to).or_default();
                *went += datagram.len() as u64;
                assert!(*went <= FACTOR * *came, "{} got {went} bytes for {came}", transmit.to);
            }
        }
        let at = self.sides[1 - who].address;
        let side = &mut self.sides[who];
        while let Some(contact) = side.endpoint.poll_contact() {
            assert!(contact.endpoints.as_slice().iter().all(|kept| *kept == at), "kept is what was proven");
        }
        while let Some((_, event)) = side.endpoint.poll_event() {
            match event {
                SessionEvent::Up { .. } => {
                    side.up = true;
                    side.endpoint.keep(side.session);
                }
                SessionEvent::Body { bytes, .. } => {
                    side.got.push(u32::from_be_bytes(*bytes.first_chunk().unwrap()));
                }
                SessionEvent::Ended(reason) => panic!("{who} ended: {reason}"),
                SessionEvent::Moved { .. }
                | SessionEvent::Stream(_)
                | SessionEvent::Suspect
                | SessionEvent::Recovered
                | SessionEvent::Hint { .. } => {}
            }
        }
    }

    fn run_for(&mut self, duration: Duration) {
        let end = self.now + duration;
        for _ in 0..1_000_000 {
            (0..2).for_each(|who| self.drain(who));
            let arrival = self.flights.first_key_value().map(|((at, _), _)| *at);
            let timeouts = self.sides.iter().filter_map(|side| side.endpoint.poll_timeout());
            let Some(next) = timeouts.chain(arrival).min().filter(|at| *at <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(next);
            while let Some(entry) = self.flights.first_entry().filter(|entry| entry.key().0 <= self.now) {
                let (to, from, mut bytes) = entry.remove();
                let side = &mut self.sides[to];
                side.bills.entry(from).or_default().0 += bytes.len() as u64;
                side.endpoint.handle_datagram(received(from), &mut bytes, self.now);
                self.drain(to);
            }
            for side in &mut self.sides {
                if side.endpoint.poll_timeout().is_some_and(|at| at <= self.now) {
                    side.endpoint.handle_timeout(self.now);
                }
            }
        }
        panic!("it spins");
    }
}

#[test]
#[allow(clippy::print_stdout, reason = "a figure for whoever asks for the output")]
fn nobody_who_proved_nothing_gets_more_than_three_times_what_came_in_its_name() {
    let (mut went, mut came) = (0, 0);
    for seed in 0..60 {
        let mut attack = Attack::new(seed);
        while attack.now < START + ATTACK + Duration::from_secs(5) {
            attack.run_for(Duration::from_millis(50));
            for side in attack.sides.iter_mut().filter(|side| side.up) {
                let body = [side.said.to_be_bytes().to_vec(), vec![7; 400]].concat();
                side.endpoint.send(side.session, StreamId::CONVERSATION, 1, &body, attack.now).unwrap();
                side.said += 1;
            }
        }
        attack.run_for(Duration::from_secs(10));
        for (who, side) in attack.sides.iter().enumerate() {
            assert!(side.up, "seed {seed}: {who} is not up");
            let said = attack.sides[1 - who].said;
            assert!(
                side.got.iter().copied().eq(0..said),
                "seed {seed}: {who} got {} of {said}",
                side.got.len()
            );
            let info = side.endpoint.info(side.session, attack.now).unwrap();
            assert_eq!(info.remote, attack.sides[1 - who].address, "seed {seed}");
            for (bill_came, bill_went) in side.bills.values().filter(|(_, went)| *went > 0) {
                (came, went) = (came + bill_came, went + bill_went);
            }
        }
    }
    assert!(went > 0);
    println!("{went} bytes went astray for {came} that came in the victims' names");
}

/// What goes to the victim, for one datagram of this kind that arrives only in the victim's name, in
/// half a minute.
fn astray(kind: u8) -> (usize, usize) {
    let mut pair = Pair::introduced(1, good_line());
    let stolen = std::rc::Rc::new(core::cell::RefCell::new(None));
    let thief = stolen.clone();
    pair.tamper = Box::new(move |who, bytes| {
        if thief.borrow().is_none() && bytes[0] == kind {
            *thief.borrow_mut() = Some((who, bytes.to_vec()));
            return vec![];
        }
        vec![bytes.to_vec()]
    });
    assert!(pair.run_until(|_| stolen.borrow().is_some()));
    let (who, mut bytes) = stolen.borrow().clone().unwrap();
    let to = if who == Who::Bob { Who::Alice } else { Who::Bob };
    let (now, spent) = (pair.now, bytes.len());
    pair.side(to).endpoint.handle_datagram(received(victim(1)), &mut bytes, now);
    pair.run_for(Duration::from_secs(30));
    assert!(pair.bob.is_up() && pair.alice.is_up(), "{kind:#x}: the two meet all the same");
    let got = pair.sent.iter().filter(|(_, _, at, _)| *at == victim(1)).map(|(.., bytes)| bytes.len()).sum();
    (spent, got)
}

#[test]
fn a_datagram_that_is_taken_off_the_path_is_worth_three_times_its_bytes_and_keeps_nobody_apart() {
    for kind in [datagram::INIT, datagram::RESP, datagram::FIN, datagram::PUNCH, datagram::DATA] {
        let (spent, got) = astray(kind);
        assert!(got <= 3 * spent, "{kind:#x}: {got} bytes for {spent}");
    }
    assert_eq!(astray(datagram::PUNCH), (PUNCH_LEN, INIT_LEN), "one INIT");
    assert_eq!(astray(datagram::RESP).0, RESP_LEN);
}
