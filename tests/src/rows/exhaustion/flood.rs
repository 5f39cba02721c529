//! Datagrams without end at the port of a running program.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use rand::RngExt;
use x25519_dalek::StaticSecret;

use crate::echo::Echo;
use crate::event::Event;
use crate::load::Load;
use crate::meter;
use crate::rows::{Defence, Lab, NotRun, Promise, Row, Seen, each};
use crate::stranger::{Flood, Stranger};
use crate::world::{World, listen, udp_address};

/// Datagrams of each kind that have to reach the program.
const EACH: u64 = 100_000;
/// Datagrams between two looks at how many arrived, few enough for a socket's buffer.
const BURST: u64 = 250;
/// Most growth of the program's memory: some pages of its buffers.
const GROWTH_MAX: u64 = 4 << 20;
/// Most that a datagram may cost, microseconds of a core: 100,000 a second keep one busy. Time of a
/// processor, so that it is the same on a machine that has other work.
const EACH_MAX_US: f64 = 10.0;
/// What the double that remembers keeps of each, and how often the doubles are flooded.
const STATE: usize = 1024;
const DOUBLES_BURSTS: usize = 100;

const SILENT: Promise = "strangers get no answer";
const FREE: Promise = "strangers cost no key exchange";
const FORGETS: Promise = "nothing is kept of strangers";
const CHEAP: Promise = "100,000 datagrams a second keep at most one core busy";

/// What a port does for strangers that it should not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Porter {
    Answers,
    Exchanges,
    Remembers,
}

const PORTERS: [(Porter, Promise); 4] = [
    (Porter::Answers, SILENT),
    (Porter::Exchanges, FREE),
    (Porter::Remembers, FORGETS),
    (Porter::Exchanges, CHEAP),
];

/// At a real port.
pub(super) const PORT: Row = Row {
    id: "R1",
    attack: "random and well-formed datagrams at a peer's port, as fast as they go",
    expected: "no answer, no key exchange, no memory, at most one core",
    run: port,
};

fn port(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let mut figure = String::new();
    let seen = each(defence, &PORTERS, |porter| {
        let cost = match porter {
            None => at_the_product(lab)?,
            Some(porter) => at_the_double(porter, lab)?,
        };
        let each = cost.cpu.as_secs_f64() * 1e6 / cost.datagrams.max(1) as f64;
        figure = format!("{} datagrams, {} a second, {each:.1} us of a core each", cost.datagrams, cost.rate);
        let broken = [
            (cost.answers > 0, SILENT),
            (cost.exchanges > 0, FREE),
            (cost.grown > GROWTH_MAX, FORGETS),
            (each > EACH_MAX_US, CHEAP),
        ];
        Ok(broken.into_iter().filter_map(|(broken, promise)| broken.then_some(promise)).collect())
    })?;
    Ok(seen.figure(figure))
}

/// What a flood did.
#[derive(Debug, Default)]
struct Cost {
    datagrams: u64,
    rate: u64,
    answers: u64,
    exchanges: u64,
    grown: u64,
    cpu: Duration,
}

/// A port in this process that does one thing for strangers.
fn at_the_double(porter: Porter, lab: &mut Lab) -> Result<Cost, NotRun> {
    if porter == Porter::Answers {
        let echo = Echo::start()?;
        let mut stranger = Stranger::at(echo.address(), lab.rng.random())?;
        stranger.flood(Flood::Random, BURST);
        stranger.flood(Flood::WellFormed, BURST);
        return Ok(Cost { answers: stranger.answers()?, datagrams: echo.heard(), ..Cost::default() });
    }
    let socket = UdpSocket::bind(("127.0.0.1", 0))?;
    socket.set_nonblocking(true)?;
    let mut stranger = Stranger::at(socket.local_addr()?, lab.rng.random())?;
    let secret = StaticSecret::from(lab.rng.random::<[u8; 32]>());
    let (mut cost, mut kept) = (Cost::default(), Vec::new());
    let ((), took) = meter::measure(|| {
        for _ in 0..DOUBLES_BURSTS {
            stranger.flood(Flood::WellFormed, BURST / 5);
            let mut bytes = [0; 2048];
            while let Ok(length) = socket.recv(&mut bytes) {
                cost.datagrams += 1;
                let begin = Instant::now();
                let key = bytes.get(1..33).and_then(|key| <[u8; 32]>::try_from(key).ok()).unwrap_or_default();
                if porter == Porter::Exchanges {
                    cost.exchanges += u64::from(secret.diffie_hellman(&key.into()).was_contributory());
                } else {
                    kept.push((vec![0_u8; STATE], bytes[..length].to_vec()));
                }
                cost.cpu += begin.elapsed();
            }
        }
    });
    cost.grown = took.kept as u64;
    drop(kept);
    Ok(cost)
}

fn at_the_product(lab: &mut Lab) -> Result<Cost, NotRun> {
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
    let more = |name| counter(&after, name) - counter(&before, name);
    let datagrams = more("received");
    if datagrams < 2 * EACH {
        return Err(NotRun(format!("only {datagrams} datagrams arrived")));
    }
    let took = ended.since(&started);
    Ok(Cost {
        datagrams,
        rate: (datagrams as f64 / took.as_secs_f64()) as u64,
        answers: answers + more("answered"),
        exchanges: more("key_exchanges"),
        grown: ended.resident.saturating_sub(started.resident),
        cpu: took.mul_f64(ended.cores_since(&started).max(0.0)),
    })
}

fn counter(info: &Event, name: &str) -> u64 {
    info.field("socket").get(name).and_then(serde_json::Value::as_u64).unwrap_or_default()
}
