//! TCP as far as a broker and its clients notice it: bytes in order over a line that loses, and an end
//! that the other side hears of only if the line carries it.
//!
//! A segment is repeated until it is acknowledged. Whoever closes lets what was said leave first; a host
//! that is switched off says nothing, and the other end waits for it until its owner has enough.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use p2pchat_netsim::{LinkConfig, Loss, Network, millis, seconds};

/// Where everybody dials.
const BROKER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 254)), 7770);
/// How long an acknowledgement is waited for, nanoseconds.
const RETRY: u64 = millis(300);
/// How long the end of a connection is repeated to somebody who does not answer, nanoseconds; as
/// Linux's `tcp_orphan_retries`, roughly.
const ORPHAN: u64 = seconds(100);
/// Kind, number and number of the next one that is waited for.
const HEADER: usize = 17;

const OPEN: u8 = 0;
const BYTES: u8 = 1;
const CLOSE: u8 = 2;
const ACK: u8 = 3;
const RESET: u8 = 4;

/// One connection, by its client's port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Conn {
    client: SocketAddr,
}

/// One of its two ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// The client's.
    Client(Conn),
    /// The broker's.
    Broker(Conn),
}

/// What an end hears.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// The connection is there.
    Opened,
    /// Bytes, in order.
    Bytes(Vec<u8>),
    /// The other side ended it, or is not there.
    Closed,
}

#[derive(Debug, Default)]
struct Half {
    unacked: VecDeque<(u64, u8, Vec<u8>)>,
    next: u64,
    expected: u64,
    retry_at: Option<u64>,
    /// Its owner closed it, and it is kept until then at most.
    orphan_until: Option<u64>,
}

/// All connections, and the lines under them.
#[derive(Debug)]
pub struct Streams {
    network: Network,
    line: LinkConfig,
    ends: BTreeMap<End, Half>,
    next_port: u16,
}

impl Conn {
    /// Whose it is.
    pub fn host(self) -> IpAddr {
        self.client.ip()
    }
}

impl End {
    fn addresses(self) -> (SocketAddr, SocketAddr) {
        match self {
            Self::Client(conn) => (conn.client, BROKER),
            Self::Broker(conn) => (BROKER, conn.client),
        }
    }

    fn addressed(from: SocketAddr, to: SocketAddr) -> Self {
        if to == BROKER { Self::Broker(Conn { client: from }) } else { Self::Client(Conn { client: to }) }
    }
}

impl Streams {
    /// No host yet; each will have a line of this kind.
    pub fn new(seed: u64, line: LinkConfig) -> Self {
        Self { network: Network::new(seed), line, ends: BTreeMap::new(), next_port: 40_000 }
    }

    /// A host with a line to the broker.
    pub fn host(&mut self, host: IpAddr) {
        self.network.link(host, BROKER.ip(), self.line);
    }

    /// Whether the line carries what the host says, and what the broker says.
    pub fn carries(&mut self, host: IpAddr, up: bool, down: bool) {
        let line = |carries| {
            let loss = if carries { self.line.loss } else { Loss::Independent { share: 1.0 } };
            LinkConfig { loss, ..self.line }
        };
        let (up, down) = (line(up), line(down));
        self.network.configure(host, BROKER.ip(), up);
        self.network.configure(BROKER.ip(), host, down);
    }

    /// The host is switched off: its ends are gone, and nobody is told.
    pub fn switch_off(&mut self, host: IpAddr) {
        self.ends.retain(|end, _| !matches!(end, End::Client(conn) if conn.host() == host));
    }

    /// Opens a connection from a host.
    pub fn dial(&mut self, from: IpAddr, now: u64) -> Conn {
        let conn = Conn { client: SocketAddr::new(from, self.next_port) };
        self.next_port += 1;
        self.ends.insert(End::Client(conn), Half::default());
        self.put(End::Client(conn), OPEN, Vec::new(), now);
        conn
    }

    /// Says `bytes` at an end.
    pub fn say(&mut self, at: End, bytes: Vec<u8>, now: u64) {
        self.put(at, BYTES, bytes, now);
    }

    /// Closes an end. It hears nothing more.
    pub fn close(&mut self, at: End, now: u64) {
        self.put(at, CLOSE, Vec::new(), now);
        let Some(half) = self.ends.get_mut(&at) else { return };
        half.orphan_until = Some(now.saturating_add(ORPHAN));
        if half.expected == 0 {
            // Nobody has answered yet.
            self.ends.remove(&at);
        }
    }

    /// When something happens next.
    pub fn next(&self) -> Option<u64> {
        let own = self.ends.values().flat_map(|half| [half.retry_at, half.orphan_until]).flatten();
        own.chain(self.network.next_arrival()).min()
    }

    /// What is heard now, in order.
    pub fn advance(&mut self, now: u64) -> Vec<(End, Heard)> {
        self.ends.retain(|_, half| half.orphan_until.is_none_or(|until| until > now));
        let late = |(end, half): (&End, &Half)| half.retry_at.filter(|at| *at <= now).map(|_| *end);
        for end in self.ends.iter().filter_map(late).collect::<Vec<_>>() {
            self.repeat(end, now);
        }
        let mut heard = Vec::new();
        while let Some(datagram) = self.network.deliver(now) {
            self.segment(End::addressed(datagram.from, datagram.to), &datagram.bytes, now, &mut heard);
        }
        heard
    }

    fn put(&mut self, at: End, kind: u8, bytes: Vec<u8>, now: u64) {
        let Some(half) = self.ends.get_mut(&at).filter(|half| half.orphan_until.is_none()) else { return };
        let number = half.next;
        half.next += 1;
        half.retry_at.get_or_insert(now.saturating_add(RETRY));
        half.unacked.push_back((number, kind, bytes.clone()));
        let expected = half.expected;
        self.send(at, kind, number, expected, &bytes, now);
    }

    fn repeat(&mut self, end: End, now: u64) {
        let Some(half) = self.ends.get_mut(&end) else { return };
        half.retry_at = (!half.unacked.is_empty()).then(|| now.saturating_add(RETRY));
        let (expected, unacked) = (half.expected, half.unacked.clone());
        for (number, kind, bytes) in unacked {
            self.send(end, kind, number, expected, &bytes, now);
        }
    }

    fn send(&mut self, from: End, kind: u8, number: u64, expected: u64, bytes: &[u8], now: u64) {
        let (own, other) = from.addresses();
        let segment = [&[kind][..], &number.to_be_bytes(), &expected.to_be_bytes(), bytes].concat();
        self.network.send(now, own, other, &segment);
    }

    fn segment(&mut self, at: End, segment: &[u8], now: u64, heard: &mut Vec<(End, Heard)>) {
        let Some((header, bytes)) = segment.split_first_chunk::<HEADER>() else { return };
        let (kind, numbers) = (header[0], &header[1..]);
        let number = |at: usize| numbers[at..at + 8].iter().fold(0, |n: u64, byte| n << 8 | u64::from(*byte));
        let (number, acked) = (number(0), number(8));
        if let (OPEN, 0, End::Broker(_)) = (kind, number, at) {
            // Its number 0 is the acknowledgement that opens the connection.
            self.ends.entry(at).or_insert(Half { next: 1, ..Half::default() });
        }
        let Some(half) = self.ends.get_mut(&at) else {
            if kind != RESET {
                self.send(at, RESET, 0, 0, &[], now);
            }
            return;
        };
        if kind == RESET {
            let owned = half.orphan_until.is_none();
            self.ends.remove(&at);
            heard.extend(owned.then_some((at, Heard::Closed)));
            return;
        }
        half.unacked.retain(|(number, ..)| *number >= acked);
        if half.unacked.is_empty() {
            half.retry_at = None;
        }
        if acked > 0 && half.expected == 0 {
            half.expected = 1;
            heard.push((at, Heard::Opened));
        }
        if kind == ACK {
            return self.forget_ended(at);
        }
        let fresh = number == half.expected;
        half.expected += u64::from(fresh);
        let (expected, owned) = (half.expected, half.orphan_until.is_none());
        self.send(at, ACK, 0, expected, &[], now);
        if fresh && owned {
            match kind {
                OPEN => heard.push((at, Heard::Opened)),
                BYTES => heard.push((at, Heard::Bytes(bytes.to_vec()))),
                _ => {
                    self.ends.remove(&at);
                    heard.push((at, Heard::Closed));
                }
            }
        }
        self.forget_ended(at);
    }

    fn forget_ended(&mut self, at: End) {
        if self.ends.get(&at).is_some_and(|half| half.orphan_until.is_some() && half.unacked.is_empty()) {
            self.ends.remove(&at);
        }
    }
}
