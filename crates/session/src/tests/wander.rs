//! [`Wanderers`]: bob and alice on a small internet, each with the driver's loop, and what an
//! attacker takes off the wire.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use p2pchat_netsim::{
    Access, Clock, Fault, HostId, InterfaceId, Internet, LinkConfig, NatConfig, NatId, NetId, SendError,
    SocketId, millis,
};
use p2pchat_proto::{Moment, UdpEndpoints};

use super::pair::{Who, endpoint};
use super::people::{identity, introduced};
use crate::{CloseCode, Endpoint, Received, SessionEvent, SessionId, SessionInfo, StreamId, Transmit};

/// Port of both sockets.
pub(super) const PORT: u16 = 7000;
/// Most segments that a driver hands to its system at once.
const SEGMENTS: usize = 10;
/// From the end of a session or an attempt until somebody dials anew.
const REDIAL: Duration = Duration::from_secs(1);
/// Turns after which a simulation is taken to spin.
const TURNS_MAX: usize = 2_000_000;
/// Between two lines of a conversation.
const LINE_EVERY: Duration = Duration::from_millis(100);

/// Where somebody is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Home {
    /// On the public net.
    Public,
    /// Behind a NAT of this kind.
    Behind(NatConfig),
}

pub(super) struct Person {
    pub(super) endpoint: Endpoint,
    pub(super) session: SessionId,
    pub(super) host: HostId,
    pub(super) interface: InterfaceId,
    pub(super) nat: Option<NatId>,
    socket: SocketId,
    pub(super) events: Vec<(Moment, SessionEvent)>,
    said: u32,
    /// When it dials, who has no session.
    redial: Option<u64>,
}

pub(super) struct Wanderers {
    pub(super) seed: u64,
    pub(super) internet: Internet,
    /// Time of the network, nanoseconds.
    pub(super) now: u64,
    pub(super) bob: Person,
    pub(super) alice: Person,
    pub(super) sent: Vec<(Moment, Who, SocketAddr, Vec<u8>)>,
    /// Bytes behind the number of each line.
    pub(super) long: usize,
    /// Whether the two keep what a session leaves, and dial when it is lost.
    keeps: bool,
}

/// A line of 20 ms each way, on both accesses together.
pub(super) fn access() -> Access {
    Access::both(LinkConfig { delay: millis(10), jitter: millis(2), ..LinkConfig::default() })
}

pub(super) fn public_ip(who: Who) -> IpAddr {
    match who {
        Who::Bob => "198.51.100.2".parse().unwrap(),
        Who::Alice => "203.0.113.1".parse().unwrap(),
    }
}

pub(super) const fn other(who: Who) -> Who {
    match who {
        Who::Bob => Who::Alice,
        Who::Alice => Who::Bob,
    }
}

impl Person {
    pub(super) fn is_up(&self) -> bool {
        self.events.iter().any(|(_, event)| matches!(event, SessionEvent::Up { .. }))
    }

    pub(super) fn has_ended(&self) -> bool {
        self.events.iter().any(|(_, event)| matches!(event, SessionEvent::Ended(_)))
    }

    /// When each line came, and its number.
    pub(super) fn lines(&self) -> Vec<(Moment, u32)> {
        let line = |(at, event): &(Moment, SessionEvent)| match event {
            SessionEvent::Body { bytes, .. } => Some((*at, u32::from_be_bytes(*bytes.first_chunk()?))),
            SessionEvent::Up { .. }
            | SessionEvent::Moved { .. }
            | SessionEvent::Stream(_)
            | SessionEvent::Suspect
            | SessionEvent::Recovered
            | SessionEvent::Hint { .. }
            | SessionEvent::Ended(_) => None,
        };
        self.events.iter().filter_map(line).collect()
    }

    /// What an owner does who wants one session and has no broker.
    fn heed(&mut self, id: SessionId, event: &SessionEvent, now: u64, clock: Moment) {
        let lives = self.endpoint.info(self.session, clock).is_some();
        if let SessionEvent::Up { .. } = event
            && id != self.session
        {
            let stays = lives && !self.endpoint.replaces(id, self.session);
            let goes = if stays { id } else { core::mem::replace(&mut self.session, id) };
            self.endpoint.close(goes, CloseCode::Replaced, clock);
            self.redial = None;
        }
        if let SessionEvent::Ended(_) = event
            && !lives
        {
            self.redial = Some(now + REDIAL.as_nanos() as u64);
        }
    }

    pub(super) fn moves(&self) -> usize {
        self.events.iter().filter(|(_, event)| matches!(event, SessionEvent::Moved { .. })).count()
    }
}

impl Wanderers {
    /// Two people with a session, and the homes that they have.
    pub(super) fn up(seed: u64, bobs: Home, alices: Home) -> Self {
        let mut world = Self::introduced(seed, bobs, alices);
        assert!(world.run_until(10, |world| world.bob.is_up() && world.alice.is_up()), "seed {seed}: not up");
        world
    }

    pub(super) fn introduced(seed: u64, bobs: Home, alices: Home) -> Self {
        Self::with(seed, [bobs, alices], access())
    }

    /// Two who were introduced, with lines of this kind.
    pub(super) fn with(seed: u64, [bobs, alices]: [Home; 2], access: Access) -> Self {
        let mut internet = Internet::new(seed);
        let (for_bob, for_alice) = introduced(&identity(2), &identity(1), (1 << 33) | seed);
        let now = Moment::from_nanos(1_000_000_000);
        let mut person = |who, home: Home, introduction| {
            let host = internet.host(Clock::default());
            let (net, ip, nat) = match home {
                Home::Public => (Internet::PUBLIC, public_ip(who), None),
                Home::Behind(config) => {
                    let nat = internet.nat(Internet::PUBLIC, public_ip(who), Access::default(), config);
                    (internet.inside(nat), "192.168.1.2".parse().unwrap(), Some(nat))
                }
            };
            let interface = internet.attach(host, net, ip, access);
            let socket = internet.bind(host, SocketAddr::from(([0, 0, 0, 0], PORT))).unwrap();
            let mut endpoint = endpoint(seed, who, now);
            let peer = SocketAddr::new(public_ip(other(who)), PORT);
            let session = endpoint.introduce(introduction, &UdpEndpoints::new([peer]), now);
            Person { endpoint, session, host, interface, nat, socket, events: vec![], said: 0, redial: None }
        };
        let bob = person(Who::Bob, bobs, for_bob);
        let alice = person(Who::Alice, alices, for_alice);
        Self { seed, internet, now: 0, bob, alice, sent: vec![], long: 0, keeps: false }
    }

    pub(super) const fn person(&mut self, who: Who) -> &mut Person {
        match who {
            Who::Bob => &mut self.bob,
            Who::Alice => &mut self.alice,
        }
    }

    /// Both keep what their session leaves, and dial when it is lost.
    pub(super) fn keep(&mut self) {
        self.keeps = true;
        for person in [&mut self.bob, &mut self.alice] {
            person.endpoint.keep(person.session);
        }
    }

    /// How much each was told until now.
    pub(super) fn mark(&self) -> [usize; 2] {
        [self.bob.events.len(), self.alice.events.len()]
    }

    /// What somebody was told after that.
    pub(super) fn since(&mut self, who: Who, mark: [usize; 2]) -> impl Iterator<Item = &SessionEvent> {
        let [bobs, alices] = mark;
        let mark = if who == Who::Bob { bobs } else { alices };
        self.person(who).events[mark..].iter().map(|(_, event)| event)
    }

    /// Whether a session came up on both sides after that.
    pub(super) fn are_together(&self, mark: [usize; 2]) -> bool {
        let up = |(_, event): &(Moment, SessionEvent)| matches!(event, SessionEvent::Up { .. });
        let both = [&self.bob, &self.alice].into_iter().zip(mark);
        both.into_iter().all(|(person, mark)| person.events[mark..].iter().any(up))
    }

    /// The time of a host, which stands while it sleeps.
    pub(super) fn clock(&mut self, who: Who, at: u64) -> Moment {
        let host = self.person(who).host;
        Moment::from_nanos(1_000_000_000) + Duration::from_nanos(self.internet.clock(host).monotonic(at))
    }

    pub(super) fn info(&mut self, who: Who) -> SessionInfo {
        let now = self.clock(who, self.now);
        let person = self.person(who);
        person.endpoint.info(person.session, now).unwrap()
    }

    pub(super) fn apply(&mut self, fault: Fault) {
        let now = self.now;
        self.internet.apply(now, fault);
    }

    /// The host is on another net or has another address.
    pub(super) fn rehome(&mut self, who: Who, net: NetId, ip: &str) {
        let interface = self.person(who).interface;
        self.apply(Fault::Move { interface, net, ip: ip.parse().unwrap() });
    }

    pub(super) fn say(&mut self, who: Who) {
        let now = self.clock(who, self.now);
        let long = self.long;
        let person = self.person(who);
        let number = person.said;
        person.said += 1;
        let body = [&number.to_be_bytes()[..], &vec![7; long]].concat();
        let sent = person.endpoint.send(person.session, StreamId::CONVERSATION, 1, &body, now);
        sent.unwrap_or_else(|error| panic!("{who:?} cannot say line {number}: {error}"));
    }

    /// Both say something every tenth of a second.
    pub(super) fn talk(&mut self, seconds: u64) {
        self.talk_as(&[Who::Bob, Who::Alice], seconds);
    }

    pub(super) fn talk_as(&mut self, speakers: &[Who], seconds: u64) {
        for _ in 0..seconds * 10 {
            for who in speakers {
                self.say(*who);
            }
            self.run_for(LINE_EVERY);
        }
    }

    /// What the driver does: it falls back to the system's choice where an address is gone, and says
    /// so.
    fn hand_over(&mut self, who: Who, transmit: &Transmit, datagram: &[u8], now: u64) {
        let clock = self.clock(who, now);
        self.sent.push((Moment::from_nanos(now), who, transmit.to, datagram.to_vec()));
        let socket = self.person(who).socket;
        match (self.internet.send(now, socket, transmit.local_ip, transmit.to, datagram), transmit.local_ip) {
            (Err(SendError::NotAvailable), Some(ip)) => {
                self.person(who).endpoint.local_ip_gone(ip, clock);
                // No way out at all is a lost datagram.
                let _lost = self.internet.send(now, socket, None, transmit.to, datagram);
            }
            (Err(SendError::TooLarge), _) => {
                self.person(who).endpoint.too_large(transmit.to, datagram.len(), clock);
            }
            (Err(SendError::Closed | SendError::Asleep), _) => panic!("not while it cannot run"),
            (Ok(()) | Err(_), _) => {}
        }
    }

    fn drain(&mut self, who: Who, now: u64) {
        let clock = self.clock(who, now);
        for round in 0.. {
            assert!(round < 5, "seed {}: {who:?} would spin at {now}", self.seed);
            let mut out = Vec::new();
            while let Some(transmit) = self.person(who).endpoint.poll_transmit(clock, SEGMENTS, &mut out) {
                for datagram in out.chunks(transmit.segment_size.unwrap_or(out.len())) {
                    self.hand_over(who, &transmit, datagram, now);
                }
            }
            let keeps = self.keeps;
            let person = self.person(who);
            // The store of a simulation is its memory.
            while person.endpoint.poll_contact().is_some() {}
            while let Some((id, event)) = person.endpoint.poll_event() {
                assert!(keeps || id == person.session);
                if keeps {
                    person.heed(id, &event, now, clock);
                }
                person.events.push((Moment::from_nanos(now), event));
            }
            if person.endpoint.poll_timeout().is_none_or(|at| at > clock) {
                return;
            }
            person.endpoint.handle_timeout(clock);
        }
    }

    fn awake(&mut self) -> Vec<Who> {
        let mut all = vec![Who::Bob, Who::Alice];
        all.retain(|who| {
            let host = self.person(*who).host;
            !self.internet.is_asleep(host)
        });
        all
    }

    /// Goes to the next moment at which something happens, at most to `end`, and does it.
    fn step(&mut self, end: u64) -> bool {
        let now = self.now;
        let mut next = self.internet.next_event();
        for who in self.awake() {
            self.drain(who, now);
            let clock = self.clock(who, now);
            let timeout = self.person(who).endpoint.poll_timeout();
            let at = timeout.map(|at| now + at.saturating_since(clock).as_nanos() as u64);
            let redial = self.person(who).redial;
            next = next.into_iter().chain(at).chain(redial).chain(self.internet.next_event()).min();
        }
        let Some(next) = next.filter(|at| *at <= end) else {
            self.now = self.now.max(end);
            return false;
        };
        self.now = self.now.max(next);
        while let Some(arrival) = self.internet.deliver(next) {
            let who = if arrival.host == self.bob.host { Who::Bob } else { Who::Alice };
            let clock = self.clock(who, next);
            let (from, local_ip, mut bytes) = (arrival.from, Some(arrival.to.ip()), arrival.bytes);
            let received = Received { from, local_ip, ecn: None, segment_size: None };
            self.person(who).endpoint.handle_datagram(received, &mut bytes, clock);
        }
        for who in self.awake() {
            let clock = self.clock(who, next);
            let peer = identity(if who == Who::Bob { 1 } else { 2 }).peer_id();
            let person = self.person(who);
            if person.redial.take_if(|at| *at <= next).is_some() {
                // One attempt at a time; it says how it ended.
                let _attempt = person.endpoint.dial(peer, clock);
            }
            let endpoint = &mut person.endpoint;
            if endpoint.poll_timeout().is_some_and(|at| at <= clock) {
                endpoint.handle_timeout(clock);
            }
        }
        true
    }

    /// Runs until `done`, at most so many seconds. Whether it was.
    pub(super) fn run_until(&mut self, seconds: u64, done: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + seconds * 1_000_000_000;
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

    pub(super) fn run_for(&mut self, duration: Duration) {
        let end = self.now + duration.as_nanos() as u64;
        let mut turns = 0;
        while self.step(end) {
            turns += 1;
            assert!(turns < TURNS_MAX, "seed {}: it spins", self.seed);
        }
        for who in self.awake() {
            self.drain(who, end);
        }
    }
}

impl Drop for Wanderers {
    /// Whoever looks at a failure sees what to replay, and whether a replay was one.
    #[allow(clippy::print_stdout, reason = "a test shows its output when it fails")]
    fn drop(&mut self) {
        println!("simulation: seed {}, trace {:016x}", self.seed, self.internet.trace_hash());
    }
}
