//! A flood from everywhere: what a port remembers of it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use p2pchat_netsim::LinkConfig;
use p2pchat_proto::datagram::{DataHeader, Datagram, MAC_LEN, ReceiverId};
use p2pchat_proto::{Moment, UdpEndpoints};
use p2pchat_session::Endpoint;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;
use x25519_dalek::StaticSecret;

use crate::meter::{self, Took};
use crate::rows::{Defence, Lab, NotRun, Promise, Row, Seen, each};
use crate::sim::contacts::{Contacts, Neglect};
use crate::sim::hand::init;
use crate::sim::people::People;
use crate::sim::target::received;

/// Addresses that strangers write on their datagrams.
const SOURCES: u32 = 100_000;
/// Chat requests that were accepted at once, of each of which somebody has the INITs.
const TICKETS: usize = 60;
/// INITs of each.
const INITS: usize = 10;
/// Sealed bytes of a packet of no session.
const PACKET_LEN: usize = 1_000;
/// Seconds of the flood until tables are as full as they get, and while it is watched.
const SECONDS: [u64; 2] = [5, 10];
/// Datagrams in each of them.
const PER_SECOND: u32 = 1_000;
/// Most memory that a flood may leave behind.
const KEPT_MAX: usize = 64 << 10;
/// What is remembered or done that should not be: the double's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Table {
    /// Whoever sends anything.
    Strangers,
    /// Whoever sends an authentic INIT.
    Sources,
    /// A key exchange for each of those.
    Unlimited,
    /// A key exchange for every hundredth who sends anything.
    Exchanges,
}

const FREE: Promise = "strangers cost no key exchange";
const FORGETS: Promise = "nothing is kept of strangers";
const BOUNDED: Promise = "the table of sources of authentic INITs is bounded";
const LIMITED: Promise = "a hundred of them a second cost key exchanges";

const TABLES: [(Table, Promise); 4] = [
    (Table::Strangers, FORGETS),
    (Table::Sources, BOUNDED),
    (Table::Unlimited, LIMITED),
    (Table::Exchanges, FREE),
];

/// Key exchanges in a second at most: three for each of 100 new INITs (protocol section 4).
const EXCHANGES_PER_SECOND: u64 = 300;

/// From everywhere.
pub(super) const SPOOFED: Row = Row {
    id: "R3",
    attack: "every kind of datagram of no session, also with known tickets, then authentic INITs, from 115,000 spoofed addresses",
    expected: "nothing is kept of strangers, and little of peers; key exchanges within their limit",
    run: sources,
};

/// A datagram of each kind in turn, DATA first, of a session that there is not.
fn unknown_session(n: u32, rng: &mut ChaCha20Rng) -> Datagram {
    let (sender, receiver, ticket) = (ReceiverId(n), ReceiverId(rng.random()), rng.random());
    match n % 5 {
        0 => Datagram::Data(DataHeader { epoch: 0, receiver, packet_number: n.into() }),
        1 => Datagram::Init { sender, ticket, noise: [7; 48] },
        2 => Datagram::Resp { sender, receiver, noise: [7; 48] },
        3 => Datagram::Fin { receiver, noise: [7; 64] },
        _ => Datagram::Punch { ticket },
    }
}

fn sources(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let mut figure = String::new();
    let seen = each(defence, &TABLES, |table| {
        let cost = from_everywhere(table, lab)?;
        figure = format!(
            "{} addresses; {} KiB kept of strangers, {} of peers, {} at the worst moment; at most {} key exchanges a second",
            cost.addresses,
            cost.unknown.kept / 1024,
            cost.known.kept / 1024,
            cost.unknown.peak.max(cost.known.peak) / 1024,
            cost.exchanges
        );
        let broken = [
            (cost.strangers > 0, FREE),
            (cost.sessions || cost.unknown.kept.max(cost.unknown.peak) > KEPT_MAX, FORGETS),
            (cost.known.kept.max(cost.known.peak) > KEPT_MAX, BOUNDED),
            (cost.exchanges > EXCHANGES_PER_SECOND, LIMITED),
        ];
        Ok(broken.into_iter().filter_map(|(broken, promise)| broken.then_some(promise)).collect())
    })?;
    Ok(seen.figure(figure))
}

/// What a flood from everywhere cost.
struct Spread {
    addresses: u32,
    unknown: Took,
    known: Took,
    /// Of those whom nobody knows.
    strangers: u64,
    /// Whether they made one.
    sessions: bool,
    /// Of all others in a second.
    exchanges: u64,
}

/// Every other one is of a network of IPv6, where nobody runs out of them.
fn source(n: u32) -> SocketAddr {
    let ip = match n % 2 {
        0 => IpAddr::V4(Ipv4Addr::from(0x0b00_0000 + n)),
        _ => IpAddr::V6(Ipv6Addr::from((0x2001_0db8 << 96) | u128::from(n) << 40)),
    };
    SocketAddr::new(ip, 4000)
}

/// A contact's INITs: of somebody who is known and needs no introduction.
fn contact(lab: &mut Lab) -> Result<(Endpoint, Moment, Vec<Vec<u8>>), NotRun> {
    let drawn = ChaCha20Rng::seed_from_u64(lab.rng.random());
    let two = Contacts::new(Neglect::Nothing, LinkConfig::default(), drawn);
    let mut two = two.ok_or(NotRun("the two did not meet at first".to_owned()))?;
    let inits: Option<Vec<_>> = (0..INITS).map(|_| two.unused_init()).collect();
    let [_, alice] = two.sides;
    Ok((alice.endpoint, two.now, inits.ok_or(NotRun("a contact sent no INIT".to_owned()))?))
}

fn from_everywhere(missing: Option<Table>, lab: &mut Lab) -> Result<Spread, NotRun> {
    let people = People::default();
    let (mut alice, begin, mut inits) = contact(lab)?;
    for _ in 0..TICKETS {
        let (bobs, alices) = people.introduce(&mut lab.rng);
        alice.introduce(alices, &UdpEndpoints::default(), begin);
        inits.extend((0..INITS).map(|_| init(&bobs, &people.bob, &mut lab.rng).1));
    }
    let known_tickets: Vec<[u8; 8]> = inits.iter().filter_map(|init| ticket_of(init)).collect();
    let (before, sessions) = (alice.stats().key_exchanges, alice.len());
    let secret = StaticSecret::from(lab.rng.random::<[u8; 32]>());
    let (mut table, mut out, mut extra) = (BTreeMap::new(), Vec::new(), 0);
    let mut hand_over = |bytes: &mut [u8], n: u32, is_known: bool, now: Moment| {
        let from = source(n);
        alice.handle_datagram(received(from), bytes, now);
        alice.handle_timeout(now);
        while alice.poll_transmit(now, 1, &mut out).is_some() {}
        match missing {
            Some(Table::Strangers) if !is_known => drop(table.insert(from.ip(), [now; 20])),
            Some(Table::Sources) if is_known => drop(table.insert(from.ip(), [now; 20])),
            Some(Table::Unlimited) if is_known => {
                extra += u64::from(secret.diffie_hellman(&[9; 32].into()).was_contributory());
            }
            Some(Table::Exchanges) if !is_known && n.is_multiple_of(100) => {
                extra += u64::from(secret.diffie_hellman(&[9; 32].into()).was_contributory());
            }
            Some(_) | None => {}
        }
        (alice.stats().key_exchanges + extra, alice.len())
    };
    let mut strangers = (before, sessions);
    let ((), unknown) = meter::measure(|| {
        let mut bytes = Vec::new();
        for n in 0..SOURCES {
            bytes.clear();
            let mut datagram = unknown_session(n, &mut lab.rng);
            // Somebody who saw an INIT knows its ticket, and no more.
            if let Datagram::Init { ticket, .. } = &mut datagram
                && n % 2 == 0
            {
                *ticket = known_tickets[n as usize % known_tickets.len()];
            }
            datagram.encode(&mut bytes);
            let tail = bytes.len();
            bytes.resize(tail + if n % 5 == 0 { PACKET_LEN } else { MAC_LEN }, 0);
            lab.rng.fill_bytes(&mut bytes[tail..]);
            strangers = hand_over(&mut bytes, n, false, begin);
        }
    });
    let (mut next, mut most) = (SOURCES, 0);
    let mut second = |at: u64| {
        let now = begin + Duration::from_secs(at);
        let (before, _) = hand_over(&mut [0], next, true, now);
        let mut after = before;
        for _ in 0..PER_SECOND {
            next += 1;
            let init = &inits[next as usize % inits.len()];
            (after, _) = hand_over(&mut init.clone(), next, true, now);
        }
        most = most.max(after - before);
    };
    let [warm, watched] = SECONDS;
    (0..warm).for_each(&mut second);
    let ((), known) = meter::measure(|| (warm..warm + watched).for_each(&mut second));
    if most == 0 {
        return Err(NotRun("no INIT of a peer cost a key exchange".to_owned()));
    }
    let (strangers, sessions) = (strangers.0 - before, strangers.1 > sessions);
    Ok(Spread { addresses: next, unknown, known, strangers, sessions, exchanges: most })
}

fn ticket_of(init: &[u8]) -> Option<[u8; 8]> {
    match Datagram::decode(init) {
        Some(Datagram::Init { ticket, .. }) => Some(ticket),
        Some(_) | None => None,
    }
}
