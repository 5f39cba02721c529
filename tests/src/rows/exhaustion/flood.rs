//! Datagrams without end.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use p2pchat_proto::datagram::{DataHeader, Datagram, MAC_LEN, ReceiverId};
use p2pchat_proto::{Moment, UdpEndpoints};
use rand::{Rng, RngExt};
use rand_chacha::ChaCha20Rng;

use crate::echo::Echo;
use crate::event::Event;
use crate::load::Load;
use crate::meter::{self, Took};
use crate::rows::{Defence, Lab, NotRun, Row, Seen};
use crate::sim::START;
use crate::sim::hand::init;
use crate::sim::people::People;
use crate::sim::target::{endpoint, received};
use crate::stranger::{Flood, Stranger};
use crate::world::{World, listen, udp_address};

/// Datagrams of each kind that have to reach the program.
const EACH: u64 = 100_000;
/// Datagrams between two looks at how many arrived, few enough for a socket's buffer.
const BURST: u64 = 250;
/// Most growth of the program's memory: some pages of its buffers.
const GROWTH_MAX: u64 = 4 << 20;
/// Most cores that a flood may keep busy.
const CORES_MAX: f64 = 1.05;

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
/// Key exchanges in a second at most: three for each of 100 new INITs (protocol section 4).
const EXCHANGES_PER_SECOND: u64 = 300;

/// At a real port.
pub(super) const PORT: Row = Row {
    id: "R1",
    attack: "random and well-formed datagrams at a peer's port, as fast as they go",
    expected: "no answer, no key exchange, no memory, at most one core",
    run: port,
};

/// From everywhere.
pub(super) const SPOOFED: Row = Row {
    id: "R3",
    attack: "every kind of datagram of no session, then INITs of some, from 100,000 spoofed addresses",
    expected: "tables stay as they are, key exchanges within their limit",
    run: sources,
};

fn port(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    match defence {
        Defence::InPlace => at_the_product(lab),
        Defence::Removed => {
            let echo = Echo::start()?;
            let mut stranger = Stranger::at(echo.address(), lab.rng.random())?;
            stranger.flood(Flood::Random, BURST);
            stranger.flood(Flood::WellFormed, BURST);
            let answers = stranger.answers()?;
            Ok(Seen::when(answers == 0, format!("{answers} answers to {} datagrams", echo.heard())))
        }
    }
}

fn at_the_product(lab: &mut Lab) -> Result<Seen, NotRun> {
    let world = World::new()?;
    let mut alice = listen(&world.person("alice")?)?;
    let address = udp_address(&mut alice)?;
    let (before, started) = (alice.info()?, Load::of(alice.process.id())?);
    let mut answers = 0;
    for flood in [Flood::Random, Flood::WellFormed] {
        let mut stranger = Stranger::at(address, lab.rng.random())?;
        let begin = counter(&alice.info()?, "received");
        // A tenth of what is sent arrives, at the very least.
        for _ in 0..10 * EACH / BURST {
            stranger.flood(flood, BURST);
            if counter(&alice.info()?, "received") - begin >= EACH {
                break;
            }
        }
        answers += stranger.answers()?;
    }
    let (after, ended) = (alice.info()?, Load::of(alice.process.id())?);
    let moved =
        ["answered", "key_exchanges"].iter().any(|name| counter(&before, name) != counter(&after, name));
    let heard = counter(&after, "received") - counter(&before, "received");
    let grown = ended.resident.saturating_sub(started.resident);
    let cores = ended.cores_since(&started);
    let what = format!("{answers} answers; {} KiB more in memory; {cores:.2} cores", grown / 1024);
    let held = answers == 0 && !moved && heard >= 2 * EACH && grown <= GROWTH_MAX && cores <= CORES_MAX;
    let rate = heard as f64 / ended.since(&started).as_secs_f64();
    Ok(Seen::when(held, what).figure(format!("{heard} datagrams, {rate:.0} a second")))
}

fn counter(info: &Event, name: &str) -> u64 {
    info.field("socket").get(name).and_then(serde_json::Value::as_u64).unwrap_or_default()
}

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
    let people = People::default();
    let mut alice = endpoint(&people.alice, lab.rng.random(), START);
    let mut inits = Vec::new();
    for _ in 0..TICKETS {
        let (bobs, alices) = people.introduce(&mut lab.rng);
        alice.introduce(alices, &UdpEndpoints::default(), START);
        inits.extend((0..INITS).map(|_| init(&bobs, &people.bob, &mut lab.rng).1));
    }
    let mut table: BTreeMap<IpAddr, [Moment; 20]> = BTreeMap::new();
    let mut out = Vec::new();
    let mut hand_over = |bytes: &mut [u8], n: u32, now: Moment| {
        let from = SocketAddr::new(IpAddr::V4(Ipv4Addr::from(0x0b00_0000 + n)), 4000);
        match defence {
            Defence::InPlace => {
                alice.handle_datagram(received(from), bytes, now);
                while alice.poll_transmit(now, 1, &mut out).is_some() {}
            }
            // Remembers whoever sends anything, for as long as it runs.
            Defence::Removed => drop(table.insert(from.ip(), [now; 20])),
        }
        alice.stats().key_exchanges
    };
    let mut strangers = 0;
    let ((), unknown) = meter::measure(|| {
        let mut bytes = Vec::new();
        for n in 0..SOURCES {
            bytes.clear();
            unknown_session(n, &mut lab.rng).encode(&mut bytes);
            let tail = bytes.len();
            bytes.resize(tail + if n % 5 == 0 { PACKET_LEN } else { MAC_LEN }, 0);
            lab.rng.fill_bytes(&mut bytes[tail..]);
            strangers = hand_over(&mut bytes, n, START);
        }
    });
    let (mut next, mut most) = (SOURCES, 0);
    let mut second = |at: u64| {
        let now = START + Duration::from_secs(at);
        let before = hand_over(&mut [0], next, now);
        let mut after = before;
        for _ in 0..PER_SECOND {
            next += 1;
            after = hand_over(&mut inits[next as usize % (TICKETS * INITS)].clone(), next, now);
        }
        most = most.max(after - before);
    };
    let [warm, watched] = SECONDS;
    (0..warm).for_each(&mut second);
    let ((), known) = meter::measure(|| (warm..warm + watched).for_each(&mut second));
    let kept = |took: Took| took.kept / 1024;
    let what = format!("{} KiB kept of strangers, {} of peers", kept(unknown), kept(known));
    let small = unknown.kept <= KEPT_MAX && known.kept <= KEPT_MAX;
    let held = small && strangers == 0 && most <= EXCHANGES_PER_SECOND;
    Ok(Seen::when(held, what).figure(format!("{next} addresses, at most {most} key exchanges a second")))
}
