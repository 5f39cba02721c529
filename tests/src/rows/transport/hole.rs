//! A path that swallows large datagrams, which it took before.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use p2pchat_netsim::{LinkConfig, Network, Rate, millis};
use p2pchat_proto::{Moment, TransferId, UdpEndpoints};
use p2pchat_session::{
    DATAGRAM_SIZE, DATAGRAM_SIZE_MAX, Endpoint, SessionEvent, SessionId, StreamError, StreamEvent,
    StreamHead, StreamId, TransferPurpose,
};
use rand::RngExt;

use crate::rows::{Defence, Lab, NotRun, Promise, Row, Seen, each};
use crate::sim::START;
use crate::sim::people::{People, alices_address, bobs_address};
use crate::sim::target::{endpoint, received};

/// 10 Mbit/s, with a queue for 50 ms.
const RATE: Rate = Rate { bytes_per_second: 1_250_000, queue: 62_500 };
/// How long the path takes large datagrams; a search for the largest takes a round trip.
const BEFORE: Duration = Duration::from_secs(5);
/// How long it does not: shorter than the minute after which a larger size is tried again (protocol
/// section 5).
const HOLE: Duration = Duration::from_secs(30);
/// By then a side knows: a few probe timeouts of some 150 ms each.
const KNOWN_WITHIN: Duration = Duration::from_secs(1);
/// Longest time without a line.
const GAP_MAX: Duration = Duration::from_secs(2);
const LINE_EVERY: Duration = Duration::from_millis(100);
const SEGMENTS: usize = 10;
const CHUNK: usize = 64 * 1024;

const NO_LARGE: Promise = "nothing above 1,200 bytes is sent into the hole";
const GOES_ON: Promise = "the chat goes on";

/// The path.
pub(super) const SWALLOWED: Row = Row {
    id: "T20",
    attack: "a path that takes 1,452 bytes, and then swallows all above 1,200, under bulk and a chat",
    expected: "1,200 bytes within a second, and the chat goes on",
    run: swallowed,
};

/// What a shell around the product does that undoes its defence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shell {
    /// It tries the size that it once found with every datagram, beside it.
    Retries,
    /// It fills every datagram to the size that it once found.
    Fills,
}

struct Side {
    endpoint: Endpoint,
    session: SessionId,
    address: SocketAddr,
    up: bool,
    /// When lines came.
    lines: Vec<Moment>,
    /// Bytes of bulk that were taken.
    taken: usize,
    largest: usize,
}

struct Path {
    now: Moment,
    shell: Option<Shell>,
    sides: [Side; 2],
    network: Network,
    bulk: Option<StreamId>,
    /// When something above 1,200 bytes left last, of the product's or of the shell's.
    large_at: Option<Moment>,
}

fn swallowed(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let mut figure = None;
    let seen = each(defence, &[(Shell::Retries, NO_LARGE), (Shell::Fills, GOES_ON)], |shell| {
        let (broken, said) = attack(shell, lab)?;
        figure = Some(said);
        Ok(broken)
    })?;
    Ok(figure.into_iter().fold(seen, Seen::figure))
}

fn attack(shell: Option<Shell>, lab: &mut Lab) -> Result<(BTreeSet<Promise>, String), NotRun> {
    let mut path = Path::new(shell, lab)?;
    path.run_for(BEFORE);
    if path.sides[0].largest != DATAGRAM_SIZE_MAX {
        return Err(NotRun(format!("the path was used for {} bytes at most", path.sides[0].largest)));
    }
    let [bulk_before, since] = [path.sides[1].taken as u64, path.now.as_nanos()];
    path.narrow();
    path.run_for(HOLE);
    let large_for = path.large_at.map_or(0, |at| at.as_nanos().saturating_sub(since));
    let gaps = path.sides.iter().map(|side| side.longest_gap(Moment::from_nanos(since), path.now));
    let gap = gaps.max().unwrap_or(HOLE);
    let mut broken = BTreeSet::new();
    if large_for > KNOWN_WITHIN.as_nanos() as u64 {
        broken.insert(NO_LARGE);
    }
    if gap > GAP_MAX {
        broken.insert(GOES_ON);
    }
    let rate = (path.sides[1].taken as u64 - bulk_before) as f64 / HOLE.as_secs_f64() / 1e6;
    let large_for = Duration::from_nanos(large_for);
    Ok((broken, format!("large ones for {large_for:.0?}, {gap:.0?} without a line, bulk {rate:.2} MB/s")))
}

/// A line of 50 ms there and back that takes datagrams of so many bytes.
fn line(mtu: Option<usize>) -> LinkConfig {
    LinkConfig { delay: millis(25), rate: Some(RATE), mtu, ..LinkConfig::default() }
}

impl Side {
    fn longest_gap(&self, since: Moment, until: Moment) -> Duration {
        let came = self.lines.iter().copied().filter(|at| *at >= since);
        let times: Vec<Moment> = std::iter::once(since).chain(came).chain([until]).collect();
        let gaps = times.iter().zip(times.iter().skip(1)).map(|(one, next)| next.saturating_since(*one));
        gaps.max().unwrap_or_default()
    }
}

impl Path {
    fn new(shell: Option<Shell>, lab: &mut Lab) -> Result<Self, NotRun> {
        let people = People::default();
        let (bobs, alices) = people.introduce(&mut lab.rng);
        let addresses = [bobs_address(), alices_address()];
        let mut network = Network::new(lab.rng.random());
        network.link(addresses[0].ip(), addresses[1].ip(), line(None));
        let mut side = |me, introduction, address, peer| {
            let mut endpoint = endpoint(me, lab.rng.random(), START);
            let session = endpoint.introduce(introduction, &UdpEndpoints::new([peer]), START);
            Side { endpoint, session, address, up: false, lines: Vec::new(), taken: 0, largest: 0 }
        };
        let bob = side(&people.bob, bobs, addresses[0], addresses[1]);
        let alice = side(&people.alice, alices, addresses[1], addresses[0]);
        let mut path = Self { now: START, shell, sides: [bob, alice], network, bulk: None, large_at: None };
        let end = path.now + BEFORE;
        while !path.sides.iter().all(|side| side.up) {
            if !path.step(end) {
                return Err(NotRun("no session".to_owned()));
            }
        }
        let [bob, _] = &mut path.sides;
        let head = StreamHead::Transfer { transfer: TransferId([1; 16]), purpose: TransferPurpose::Content };
        let opened = bob.endpoint.open(bob.session, &head, path.now);
        path.bulk = Some(opened.map_err(|why| NotRun(why.to_string()))?);
        Ok(path)
    }

    /// The path takes 1,200 bytes from now on, and says nothing of it.
    fn narrow(&mut self) {
        let [bob, alice] = &self.sides;
        self.network.link(bob.address.ip(), alice.address.ip(), line(Some(DATAGRAM_SIZE)));
    }

    fn run_for(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.now < end {
            for side in &mut self.sides {
                // A full buffer and a session that was lost are lines that do not come.
                let _ = side.endpoint.send(side.session, StreamId::CONVERSATION, 1, b"a line", self.now);
            }
            let next = (self.now + LINE_EVERY).min(end);
            while self.step(next) {}
        }
    }

    /// Goes to whatever happens next, until `end`; whether there was anything.
    fn step(&mut self, end: Moment) -> bool {
        self.pour();
        self.let_out();
        let timeouts = self.sides.iter().filter_map(|side| side.endpoint.poll_timeout());
        let arrival = self.network.next_arrival().map(Moment::from_nanos);
        let next = timeouts.chain(arrival).min().filter(|next| *next <= end);
        self.now = self.now.max(next.unwrap_or(end));
        if next.is_some() {
            self.let_in();
        }
        next.is_some()
    }

    /// Bob's bulk never runs dry.
    fn pour(&mut self) {
        let [bob, _] = &mut self.sides;
        let Some(bulk) = self.bulk else { return };
        loop {
            match bob.endpoint.write(bob.session, bulk, vec![7; CHUNK], self.now) {
                Ok(()) => {}
                Err((StreamError::Full | StreamError::NotUp, _)) => return,
                Err((why, _)) => unreachable!("the bulk has no end: {why}"),
            }
        }
    }

    fn let_out(&mut self) {
        let mut out = Vec::new();
        for side in &mut self.sides {
            while let Some(transmit) = side.endpoint.poll_transmit(self.now, SEGMENTS, &mut out) {
                for datagram in out.chunks(transmit.segment_size.unwrap_or(out.len())) {
                    side.largest = side.largest.max(datagram.len());
                    let has_found = side.largest > DATAGRAM_SIZE;
                    for bytes in wrapped(datagram, self.shell.filter(|_| has_found)) {
                        if bytes.len() > DATAGRAM_SIZE {
                            self.large_at = Some(self.now);
                        }
                        self.network.send(self.now.as_nanos(), side.address, transmit.to, &bytes);
                    }
                }
            }
            while let Some((session, event)) = side.endpoint.poll_event() {
                match event {
                    SessionEvent::Up { .. } => side.up = true,
                    SessionEvent::Body { .. } => side.lines.push(self.now),
                    SessionEvent::Stream(StreamEvent::Readable { stream }) => {
                        while let Some(piece) = side.endpoint.read(session, stream, self.now) {
                            side.taken += piece.len();
                        }
                    }
                    SessionEvent::Stream(_)
                    | SessionEvent::Moved { .. }
                    | SessionEvent::Suspect
                    | SessionEvent::Recovered
                    | SessionEvent::Hint { .. }
                    | SessionEvent::Ended(_) => {}
                }
            }
        }
    }

    fn let_in(&mut self) {
        while let Some(mut datagram) = self.network.deliver(self.now.as_nanos()) {
            let Some(side) = self.sides.iter_mut().find(|side| side.address == datagram.to) else { continue };
            let len = datagram.bytes.len();
            let content = unwrapped(&mut datagram.bytes, self.shell.filter(|_| len > DATAGRAM_SIZE));
            side.endpoint.handle_datagram(received(datagram.from), content, self.now);
        }
        for side in &mut self.sides {
            if side.endpoint.poll_timeout().is_some_and(|at| at <= self.now) {
                side.endpoint.handle_timeout(self.now);
            }
        }
    }
}

/// What the shell sends for a datagram of the product's.
fn wrapped(datagram: &[u8], shell: Option<Shell>) -> Vec<Vec<u8>> {
    match shell {
        None => vec![datagram.to_vec()],
        Some(Shell::Retries) => vec![datagram.to_vec(), vec![0; DATAGRAM_SIZE_MAX]],
        Some(Shell::Fills) => {
            let mut filled = datagram.to_vec();
            filled.resize(DATAGRAM_SIZE_MAX, 0);
            // Its length, so that the other shell finds its end.
            filled.extend((datagram.len() as u16).to_be_bytes());
            vec![filled]
        }
    }
}

/// What the shell at the other end hands to the product.
fn unwrapped(bytes: &mut [u8], shell: Option<Shell>) -> &mut [u8] {
    let len = match (shell, &*bytes) {
        (Some(Shell::Fills), [.., high, low]) => usize::from(u16::from_be_bytes([*high, *low])),
        (Some(Shell::Fills | Shell::Retries) | None, _) => bytes.len(),
    };
    bytes.get_mut(..len).unwrap_or_default()
}
