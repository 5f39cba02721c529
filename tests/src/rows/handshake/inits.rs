//! H20: authentic INITs without end.
//!
//! They cost key exchanges and answers, and both are shared by all who want something of a port. The
//! sources are what the attacker writes on its datagrams.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use p2pchat_crypto::handshake::Responder;
use p2pchat_crypto::{Identity, Introduction, Seed, simulation};
use p2pchat_proto::datagram::{Datagram, RESP, ReceiverId, mac_parts};
use p2pchat_proto::offer::Suites;
use p2pchat_proto::{Moment, UdpEndpoints, WallTime};
use p2pchat_session::{Endpoint, SessionEvent};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;

use crate::rows::{Defence, Lab, NotRun, Promise, Seen, each};
use crate::sim::START;
use crate::sim::hand::{init, with_mac};
use crate::sim::people::{People, alices_address};
use crate::sim::target::{Sent, endpoint, received};

/// Time between two datagrams of a flood.
const STEP: Duration = Duration::from_millis(1);
/// How many there are.
const STEPS: u32 = 2_500;
/// Different INITs of one contact: more than a port remembers.
const INITS: usize = 12;
/// When somebody else comes: the flood has taken what there is by then.
const OTHER_COMES_MS: std::ops::Range<u32> = 300..500;
/// When that one has to have its answer: six of its INITs have come by then.
const OTHER_SERVED_MS: u32 = 980;
/// X25519 computations of an INIT, and of a FIN (protocol section 4).
const EXCHANGES: [u64; 2] = [3, 1];

const TICKET: Promise = "five new INITs a second of one introduction";
const SOURCE: Promise = "twenty of one source";
const ALL: Promise = "a hundred in all";
const REPEATS: Promise = "ten answers a second to one that comes again";
const UNPROVEN: Promise = "a hundred answers a second to everybody together";
const CONTACT: Promise = "ten a second of one contact, however many handshakes it ends";
const SERVED: Promise = "somebody else is answered meanwhile";

/// The limit that the double does without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Limit {
    Ticket,
    Source,
    All,
    Repeats,
    Unproven,
    Contact,
}

const LIMITS: [(Limit, Promise); 8] = [
    (Limit::Ticket, TICKET),
    (Limit::Source, SOURCE),
    (Limit::All, ALL),
    (Limit::Repeats, REPEATS),
    (Limit::Unproven, UNPROVEN),
    (Limit::Contact, CONTACT),
    (Limit::Ticket, SERVED),
    (Limit::Repeats, SERVED),
];

/// Moments of the last second, at most so many.
#[derive(Debug, Default, Clone)]
struct Last(VecDeque<Moment>);

impl Last {
    fn allows(&mut self, limit: usize, now: Moment) -> bool {
        self.0.retain(|at| *at + Duration::from_secs(1) > now);
        self.0.len() < limit
    }
}

/// The double: a port that answers INIT within all limits but one.
struct Porter {
    me: Arc<Identity>,
    missing: Limit,
    introductions: Vec<(Introduction, Last, Last)>,
    sources: BTreeMap<IpAddr, Last>,
    all: Last,
    unproven: Last,
    answers: BTreeMap<[u8; 48], Vec<u8>>,
    exchanges: u64,
    rng: ChaCha20Rng,
}

impl Porter {
    fn take(&mut self, from: SocketAddr, bytes: &[u8], now: Moment) -> Option<Sent> {
        let Some(Datagram::Init { sender, ticket, noise }) = Datagram::decode(bytes) else { return None };
        let (covered, mac) = mac_parts(bytes)?;
        let known = |one: &&mut (Introduction, Last, Last)| one.0.peer_ticket().0 == ticket;
        let (introduction, new, repeats) = self.introductions.iter_mut().find(known)?;
        if !introduction.verify_mac(covered, mac) {
            return None;
        }
        let unless = |limit, allowed: bool| allowed || self.missing == limit;
        if self.answers.contains_key(&noise) {
            if !unless(Limit::Repeats, repeats.allows(10, now)) {
                return None;
            }
            repeats.0.push_back(now);
        } else {
            let source = self.sources.entry(from.ip()).or_default();
            let allowed = unless(Limit::Ticket, new.allows(5, now))
                && unless(Limit::Source, source.allows(20, now))
                && unless(Limit::All, self.all.allows(100, now));
            if !allowed {
                return None;
            }
            [new, source, &mut self.all].into_iter().for_each(|last| last.0.push_back(now));
            self.exchanges += EXCHANGES[0];
            let (_, message) = Responder::respond(introduction, &self.me, &noise, &mut self.rng).ok()?;
            let resp = Datagram::Resp { sender: ReceiverId(1), receiver: sender, noise: message };
            self.answers.insert(noise, with_mac(introduction, &resp));
            if self.answers.len() > 4 * self.introductions.len() {
                self.answers.pop_first();
            }
        }
        if !unless(Limit::Unproven, self.unproven.allows(100, now)) {
            return None;
        }
        self.unproven.0.push_back(now);
        Some((from, self.answers.get(&noise)?.clone()))
    }
}

/// Who is flooded.
enum Port {
    Product(Box<Endpoint>),
    Double(Box<Porter>),
}

impl Port {
    fn new(missing: Option<Limit>, introductions: Vec<Introduction>, me: &Arc<Identity>, seed: u64) -> Self {
        let Some(missing) = missing else {
            let mut alice = endpoint(me, seed, START);
            for introduction in introductions {
                alice.introduce(introduction, &UdpEndpoints::default(), START);
            }
            return Self::Product(Box::new(alice));
        };
        let fresh = |introduction| (introduction, Last::default(), Last::default());
        Self::Double(Box::new(Porter {
            me: me.clone(),
            missing,
            introductions: introductions.into_iter().map(fresh).collect(),
            sources: BTreeMap::new(),
            all: Last::default(),
            unproven: Last::default(),
            answers: BTreeMap::new(),
            exchanges: 0,
            rng: ChaCha20Rng::seed_from_u64(seed),
        }))
    }

    fn take(&mut self, from: SocketAddr, bytes: &[u8], now: Moment) -> Vec<Sent> {
        match self {
            Self::Product(alice) => {
                alice.handle_datagram(received(from), &mut bytes.to_vec(), now);
                drain(alice, now)
            }
            Self::Double(porter) => porter.take(from, bytes, now).into_iter().collect(),
        }
    }

    fn exchanges(&self) -> u64 {
        match self {
            Self::Product(alice) => alice.stats().key_exchanges,
            Self::Double(porter) => porter.exchanges,
        }
    }
}

fn drain(endpoint: &mut Endpoint, now: Moment) -> Vec<Sent> {
    let (mut sent, mut out) = (Vec::new(), Vec::new());
    while let Some(transmit) = endpoint.poll_transmit(now, 1, &mut out) {
        sent.push((transmit.to, out.clone()));
    }
    sent
}

/// A flood: of how many contacts, whether from one source, whether each has one INIT only.
#[derive(Debug, Clone, Copy)]
struct Flood {
    contacts: usize,
    one_source: bool,
    repeats: bool,
}

/// What it cost at most in a second, and whether somebody else got an answer meanwhile.
#[derive(Debug, Default)]
struct Cost {
    inits: usize,
    answers: usize,
    served: bool,
}

fn flooded(flood: Flood, missing: Option<Limit>, rng: &mut ChaCha20Rng) -> Result<Cost, NotRun> {
    let people = People::default();
    let carol = Arc::new(Identity::from_seed(&Seed::from_bytes([3; 32])));
    let mut alices = Vec::new();
    let mut inits = Vec::new();
    for _ in 0..flood.contacts {
        let (theirs, hers) = people.introduce(rng);
        let made = if flood.repeats { 1 } else { INITS };
        inits.push((0..made).map(|_| init(&theirs, &people.bob, rng).1).collect::<Vec<_>>());
        alices.push(hers);
    }
    let suites = Suites::CHACHA20_POLY1305;
    let (carols, hers) = simulation::introduce(&carol, &people.alice, suites, rng)?;
    alices.push(hers.introduction);
    let mut port = Port::new(missing, alices, &people.alice, rng.random());
    let (mut other, home) = (endpoint(&carol, rng.random(), START), SocketAddr::from(([10, 0, 0, 3], 7000)));
    let comes = rng.random_range(OTHER_COMES_MS);
    let mut carols = Some(carols.introduction);
    let (mut new, mut answers, mut cost) = (Vec::new(), Vec::new(), Cost::default());
    for n in 0..STEPS {
        let now = START + STEP * n;
        let contact = n as usize % flood.contacts;
        let of_contact = &inits[contact];
        let datagram = &of_contact[n as usize / flood.contacts % of_contact.len()];
        let spoofed = if flood.one_source { 0 } else { rng.random_range(0..1 << 16) };
        let from = SocketAddr::new(IpAddr::V4(Ipv4Addr::from(0x0b00_0000 + spoofed)), 4000);
        let before = port.exchanges();
        answers.extend(port.take(from, datagram, now).iter().map(|_| now));
        if port.exchanges() > before {
            new.push(now);
        }
        if n >= comes && n <= OTHER_SERVED_MS {
            if let Some(introduction) = carols.take() {
                other.introduce(introduction, &UdpEndpoints::new([alices_address()]), now);
            }
            other.handle_timeout(now);
            for (_, bytes) in drain(&mut other, now) {
                let sent = port.take(home, &bytes, now);
                let resp = sent.into_iter().filter(|(to, bytes)| *to == home && bytes[0] == RESP);
                resp.for_each(|(_, mut bytes)| {
                    other.handle_datagram(received(alices_address()), &mut bytes, now);
                });
            }
            cost.served |= other.stats().answered > 0;
        }
    }
    (cost.inits, cost.answers) = (most_in_a_second(&new), most_in_a_second(&answers));
    Ok(cost)
}

fn most_in_a_second(moments: &[Moment]) -> usize {
    let from = |(n, first): (usize, &Moment)| {
        moments[n..].iter().take_while(|at| **at < *first + Duration::from_secs(1)).count()
    };
    moments.iter().enumerate().map(from).max().unwrap_or_default()
}

/// Key exchanges in a second for a contact that ends handshake after handshake, each from elsewhere, and
/// how many it ended. The double forgets what it has counted when a session is up.
fn handshakes(forgets: bool, rng: &mut ChaCha20Rng) -> Result<(u64, usize), NotRun> {
    let people = People::default();
    let (bobs, alices) = people.introduce(rng);
    let wall = WallTime(1_800_000_000_000);
    let fresh = |me, rng: &mut ChaCha20Rng, now| {
        let mut endpoint = endpoint(me, rng.random(), now);
        endpoint.set_wall_clock(wall);
        endpoint
    };
    let (mut alice, mut bob) = (fresh(&people.alice, rng, START), fresh(&people.bob, rng, START));
    let here = UdpEndpoints::new([alices_address()]);
    bob.introduce(bobs, &here, START);
    alice.introduce(alices, &UdpEndpoints::default(), START);
    let mut kept = meet(&mut bob, &mut alice, 0, START, &mut None).ok_or(NotRun("no session".to_owned()))?;
    let (before, mut met, mut disk) = (alice.stats().key_exchanges, 0, None);
    for n in 1..1_000 {
        let now = START + STEP * n;
        let mut bob = fresh(&people.bob, rng, now);
        bob.remember(kept.clone());
        if bob.dial(people.alice.peer_id(), now).is_none() {
            return Err(NotRun("nothing to dial with".to_owned()));
        }
        if let Some(newer) = meet(&mut bob, &mut alice, n, now, &mut disk) {
            kept = newer;
            met += 1;
            if forgets && let Some(contact) = disk.clone() {
                alice.forget_contact(people.bob.peer_id());
                alice.remember(contact);
            }
        }
    }
    Ok((alice.stats().key_exchanges - before, met))
}

/// Hands everything to and fro at once: what bob keeps afterwards, if both came up.
fn meet(
    bob: &mut Endpoint,
    alice: &mut Endpoint,
    n: u32,
    now: Moment,
    disk: &mut Option<p2pchat_session::Contact>,
) -> Option<p2pchat_session::Contact> {
    let home = SocketAddr::new(IpAddr::V4(Ipv4Addr::from(0x0b00_0000 + n)), 4000);
    let (mut up, mut kept) = ([false; 2], None);
    for _ in 0..6 {
        for (who, endpoint) in [&mut *bob, &mut *alice].into_iter().enumerate() {
            while let Some((id, event)) = endpoint.poll_event() {
                if let SessionEvent::Up { .. } = event {
                    up[who] = true;
                    endpoint.keep(id);
                }
            }
        }
        kept = std::iter::from_fn(|| bob.poll_contact()).last().or(kept);
        *disk = std::iter::from_fn(|| alice.poll_contact()).last().or(disk.take());
        for (_, mut bytes) in drain(bob, now) {
            alice.handle_datagram(received(home), &mut bytes, now);
        }
        for (_, mut bytes) in drain(alice, now) {
            bob.handle_datagram(received(alices_address()), &mut bytes, now);
        }
    }
    kept.filter(|_| up == [true; 2])
}

/// H20.
pub(crate) fn flood(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let rng = &mut lab.rng;
    let mut figure = String::new();
    let seen = each(defence, &LIMITS, |missing| {
        let mut broken = BTreeSet::new();
        let mut breaks = |is_broken: bool, promise| {
            if is_broken {
                broken.insert(promise);
            }
        };
        let one = Flood { contacts: 1, one_source: false, repeats: false };
        let new = flooded(one, missing, rng)?;
        breaks(new.inits > 5, TICKET);
        let again = flooded(Flood { repeats: true, ..one }, missing, rng)?;
        breaks(again.answers > 1 + 10, REPEATS);
        breaks(!new.served || !again.served, SERVED);
        let source = flooded(Flood { contacts: 10, one_source: true, ..one }, missing, rng)?;
        breaks(source.inits > 20, SOURCE);
        let many = flooded(Flood { contacts: 60, ..one }, missing, rng)?;
        breaks(many.inits > 100, ALL);
        let many_again = flooded(Flood { contacts: 60, repeats: true, ..one }, missing, rng)?;
        breaks(many.answers.max(many_again.answers) > 100, UNPROVEN);
        let (exchanges, met) = handshakes(missing == Some(Limit::Contact), rng)?;
        breaks(exchanges > 10 * (EXCHANGES[0] + EXCHANGES[1]), CONTACT);
        if [new.inits, again.answers, source.inits, many.inits, many.answers, met].contains(&0) {
            return Err(NotRun(format!("nobody was answered: {new:?} {again:?} {source:?} {many:?} {met}")));
        }
        figure = format!(
            "a second: {} of a ticket, {} of a source, {} in all; {} and {} answers; {exchanges} exchanges for {met} handshakes",
            new.inits, source.inits, many.inits, again.answers, many_again.answers
        );
        Ok(broken)
    })?;
    Ok(seen.figure(figure))
}
