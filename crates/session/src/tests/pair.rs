//! [`Pair`]: bob and alice, the network between them, and the driver's loop.

use core::net::SocketAddr;
use core::time::Duration;

use p2pchat_netsim::{LinkConfig, Loss, Network, Reordering, millis};
use p2pchat_proto::{Moment, UdpEndpoints, WallTime};

use super::people::{identity, introduced};
use crate::{
    CloseCode, Contact, DATAGRAM_SIZE, EndReason, Endpoint, EndpointConfig, Received, SessionEvent,
    SessionId, StreamId,
};

/// Most segments that a driver hands to its system at once.
const SEGMENTS: usize = 10;
/// Turns after which a simulation is taken to spin.
const TURNS_MAX: usize = 2_000_000;

/// What wall clocks show when a simulation begins, in milliseconds.
const WALL_START: u64 = 1_800_000_000_000;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    Bob,
    Alice,
}

/// One person's endpoint and everything that came out of it.
pub(super) struct Side {
    pub(super) endpoint: Endpoint,
    pub(super) address: SocketAddr,
    pub(super) session: SessionId,
    pub(super) events: Vec<(Moment, SessionId, SessionEvent)>,
    /// What is kept of the other side.
    pub(super) disk: Option<Contact>,
    /// What is added to the clock that people read, in seconds.
    pub(super) clock_off: i64,
}

impl Side {
    pub(super) fn is_up(&self) -> bool {
        self.events.iter().any(|(_, _, event)| matches!(event, SessionEvent::Up { .. }))
    }

    pub(super) fn ended(&self) -> Option<EndReason> {
        self.events.iter().find_map(|(_, id, event)| match event {
            SessionEvent::Ended(reason) if *id == self.session => Some(*reason),
            SessionEvent::Ended(_)
            | SessionEvent::Up { .. }
            | SessionEvent::Body { .. }
            | SessionEvent::Moved { .. }
            | SessionEvent::Stream(_)
            | SessionEvent::Suspect
            | SessionEvent::Recovered
            | SessionEvent::Hint { .. } => None,
        })
    }

    /// The bodies that arrived on one stream.
    pub(super) fn bodies(&self, on: StreamId) -> Vec<Vec<u8>> {
        let bodies = self.events.iter().filter_map(|(_, _, event)| match event {
            SessionEvent::Body { stream, bytes, .. } if *stream == on => Some(bytes.clone()),
            SessionEvent::Body { .. }
            | SessionEvent::Up { .. }
            | SessionEvent::Moved { .. }
            | SessionEvent::Stream(_)
            | SessionEvent::Suspect
            | SessionEvent::Recovered
            | SessionEvent::Hint { .. }
            | SessionEvent::Ended(_) => None,
        });
        bodies.collect()
    }

    pub(super) fn count(&self, of: impl Fn(&SessionEvent) -> bool) -> usize {
        self.events.iter().filter(|(_, _, event)| of(event)).count()
    }

    pub(super) fn say(&mut self, body: &[u8], now: Moment) {
        self.endpoint.send(self.session, StreamId::CONVERSATION, 1, body, now).unwrap();
    }
}

/// What a test does to a datagram on its way: the datagrams that go on instead.
pub(super) type Tamper = Box<dyn FnMut(Who, &[u8]) -> Vec<Vec<u8>>>;

pub(super) struct Pair {
    pub(super) seed: u64,
    pub(super) now: Moment,
    pub(super) network: Network,
    pub(super) bob: Side,
    pub(super) alice: Side,
    pub(super) tamper: Tamper,
    /// Every datagram that was sent, before anything happened to it.
    pub(super) sent: Vec<(Moment, Who, SocketAddr, Vec<u8>)>,
}

/// The line of the issue: 30 % lost, 5 % doubled, 20 % reordered.
pub(super) fn bad_line() -> LinkConfig {
    LinkConfig {
        delay: millis(20),
        jitter: millis(5),
        loss: Loss::Independent { share: 0.3 },
        duplication: 0.05,
        reordering: Reordering { share: 0.2, hold: millis(15) },
        mtu: Some(DATAGRAM_SIZE),
        ..LinkConfig::default()
    }
}

pub(super) fn good_line() -> LinkConfig {
    LinkConfig { delay: millis(20), mtu: Some(DATAGRAM_SIZE), ..LinkConfig::default() }
}

pub(super) fn endpoint(seed: u64, who: Who, now: Moment) -> Endpoint {
    let (me, tag) = match who {
        Who::Bob => (identity(2), 2),
        Who::Alice => (identity(1), 1),
    };
    let mut bytes = [tag; 32];
    bytes[..8].copy_from_slice(&seed.to_be_bytes());
    Endpoint::new(EndpointConfig::default(), me, bytes, now)
}

impl Pair {
    /// Two introduced people before the first datagram.
    pub(super) fn introduced(seed: u64, line: LinkConfig) -> Self {
        let now = Moment::from_nanos(1_000_000_000);
        // Another one than those that tests make beside it.
        let (bobs, alices) = introduced(&identity(2), &identity(1), (1 << 32) | seed);
        let addresses: [SocketAddr; 2] = ["10.0.0.2:7002", "10.0.0.1:7001"].map(|a| a.parse().unwrap());
        let mut network = Network::new(seed);
        network.link(addresses[0].ip(), addresses[1].ip(), line);
        let side = |who, address, introduction, peer| {
            let mut endpoint = endpoint(seed, who, now);
            let session = endpoint.introduce(introduction, &UdpEndpoints::new([peer]), now);
            Side { endpoint, address, session, events: vec![], disk: None, clock_off: 0 }
        };
        let alice = side(Who::Alice, addresses[1], alices, addresses[0]);
        let bob = side(Who::Bob, addresses[0], bobs, addresses[1]);
        let tamper: Tamper = Box::new(|_, bytes| vec![bytes.to_vec()]);
        Self { seed, now, network, bob, alice, tamper, sent: vec![] }
    }

    /// Two people with a session that was made while the line was good.
    pub(super) fn up(seed: u64, line: LinkConfig) -> Self {
        let mut pair = Self::introduced(seed, good_line());
        assert!(pair.run_until(|pair| pair.bob.is_up() && pair.alice.is_up()), "seed {seed}: not up");
        let (bob, alice) = (pair.bob.address.ip(), pair.alice.address.ip());
        pair.network.link(bob, alice, line);
        pair
    }

    pub(super) fn side(&mut self, who: Who) -> &mut Side {
        match who {
            Who::Bob => &mut self.bob,
            Who::Alice => &mut self.alice,
        }
    }

    pub(super) fn say(&mut self, who: Who, body: &[u8]) {
        let now = self.now;
        self.side(who).say(body, now);
    }

    pub(super) fn close(&mut self, who: Who, code: CloseCode) {
        let now = self.now;
        let side = self.side(who);
        side.endpoint.close(side.session, code, now);
    }

    /// Lets one side's output out, and what it says happened. A deadline that moved into the past
    /// meanwhile may be due at once, but not again and again.
    pub(super) fn drain(&mut self, who: Who) {
        let (now, seed) = (self.now, self.seed);
        for _ in 0..4 {
            self.drain_once(who);
            let endpoint = &mut self.side(who).endpoint;
            if endpoint.poll_timeout().is_none_or(|at| at > now) {
                return;
            }
            endpoint.handle_timeout(now);
        }
        panic!("seed {seed}: {who:?} would spin at {now:?}");
    }

    fn drain_once(&mut self, who: Who) {
        let (now, seed) = (self.now, self.seed);
        let side = self.side(who);
        // Before anything is sent.
        while let Some(contact) = side.endpoint.poll_contact() {
            side.disk = Some(contact).filter(|contact| !contact.generations.is_empty());
        }
        let mut out = Vec::new();
        while let Some(transmit) = self.side(who).endpoint.poll_transmit(now, SEGMENTS, &mut out) {
            let segment = transmit.segment_size.unwrap_or(out.len());
            assert!(out.len() > segment || transmit.segment_size.is_none(), "seed {seed}: one segment");
            assert!(
                out.len().div_ceil(segment) <= SEGMENTS && segment <= crate::DATAGRAM_SIZE_NEAR,
                "seed {seed}"
            );
            for datagram in out.chunks(segment) {
                self.sent.push((now, who, transmit.to, datagram.to_vec()));
                let from = self.side(who).address;
                for datagram in (self.tamper)(who, datagram) {
                    self.network.send(now.as_nanos(), from, transmit.to, &datagram);
                }
            }
        }
        let side = self.side(who);
        while let Some((id, event)) = side.endpoint.poll_event() {
            side.events.push((now, id, event));
        }
    }

    /// Goes to the next moment at which something happens, at most to `end`, and does it.
    pub(super) fn step(&mut self, end: Moment) -> bool {
        self.drain(Who::Bob);
        self.drain(Who::Alice);
        let arrival = self.network.next_arrival().map(Moment::from_nanos);
        let timeouts = [self.bob.endpoint.poll_timeout(), self.alice.endpoint.poll_timeout()];
        let Some(next) = timeouts.into_iter().chain([arrival]).flatten().min().filter(|at| *at <= end) else {
            self.now = self.now.max(end);
            return false;
        };
        self.now = self.now.max(next);
        let now = self.now;
        self.tell_time();
        while let Some(datagram) = self.network.deliver(now.as_nanos()) {
            let who = if datagram.to == self.bob.address { Who::Bob } else { Who::Alice };
            let mut bytes = datagram.bytes;
            self.side(who).endpoint.handle_datagram(received(datagram.from), &mut bytes, now);
        }
        for who in [Who::Bob, Who::Alice] {
            let endpoint = &mut self.side(who).endpoint;
            if endpoint.poll_timeout().is_some_and(|at| at <= now) {
                endpoint.handle_timeout(now);
            }
        }
        true
    }

    /// What one side's wall clock shows.
    pub(super) fn wall(&self, who: Who) -> WallTime {
        let side = match who {
            Who::Bob => &self.bob,
            Who::Alice => &self.alice,
        };
        WallTime(WALL_START + self.now.as_nanos() / 1_000_000).shifted(side.clock_off * 1000)
    }

    pub(super) fn tell_time(&mut self) {
        for who in [Who::Bob, Who::Alice] {
            let wall = self.wall(who);
            self.side(who).endpoint.set_wall_clock(wall);
        }
    }

    /// Runs until `done`, at most ten minutes. Whether it was.
    pub(super) fn run_until(&mut self, done: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + Duration::from_secs(600);
        for _ in 0..TURNS_MAX {
            if done(self) {
                return true;
            }
            if !self.step(end) {
                return done(self);
            }
        }
        panic!("seed {}: it spins", self.seed);
    }

    /// Runs for a while.
    pub(super) fn run_for(&mut self, duration: Duration) {
        let end = self.now + duration;
        let mut turns = 0;
        while self.step(end) {
            turns += 1;
            assert!(turns < TURNS_MAX, "seed {}: it spins", self.seed);
        }
        self.drain(Who::Bob);
        self.drain(Who::Alice);
    }
}

impl Drop for Pair {
    /// Whoever looks at a failure sees what to replay, and whether a replay was one.
    #[allow(clippy::print_stdout, reason = "a test shows its output when it fails")]
    fn drop(&mut self) {
        println!("simulation: seed {}, trace {:016x}", self.seed, self.network.trace_hash());
    }
}

pub(super) fn received(from: SocketAddr) -> Received {
    Received { from, local_ip: None, ecn: None, segment_size: None }
}
