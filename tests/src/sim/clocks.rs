//! Two contacts with clocks of their own, which leap, and machines that sleep; and the program that
//! drives each, or one that does it carelessly.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use p2pchat_netsim::{Access, Clock, Fault, HostId, Internet, LinkConfig, SocketId, millis, seconds};
use p2pchat_proto::{Moment, PeerId, UdpEndpoints, WallTime};
use p2pchat_session::{
    CloseCode, EndReason, Endpoint, LOST_AFTER, Received, SessionEvent, SessionId, StreamId,
};
use rand::RngExt;
use rand_chacha::ChaCha20Rng;

use super::people::People;
use super::target::endpoint;

/// What everybody's monotonic clock shows at first, nanoseconds: one that falls does not fall below zero.
const MONOTONIC_START: u64 = seconds(100_000);
/// 2026-01-01T00:00:00Z in nanoseconds.
const WALL_START: u64 = seconds(1_767_225_600);
/// Nanoseconds in the unit of [`WallTime`].
const MILLISECOND: u64 = millis(1);
/// Turns of a program while no time passes, from which on it spins.
pub const TURNS_STILL_MAX: u32 = 100;
/// Until a program dials anew that has no session.
const REDIAL: Duration = Duration::from_secs(1);
/// Between two lines of a conversation.
const LINE_EVERY: Duration = Duration::from_millis(500);
/// How often a program looks that makes up for what it missed.
const TICK: Duration = Duration::from_millis(25);

/// What a program does without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lacking {
    /// It asks whether the other is there before it gives a session up.
    Asking,
    /// It dials when a session was lost.
    Dialling,
    /// It leaves out what it slept through.
    LeavingOut,
}

/// One of the two.
#[derive(Debug)]
pub struct Person {
    /// Its sessions.
    pub endpoint: Endpoint,
    /// The one that counts.
    pub live: Option<SessionId>,
    /// Its machine.
    pub host: HostId,
    /// How its sessions ended.
    pub ended: Vec<EndReason>,
    /// Turns that its program took.
    pub turns: u64,
    /// Most turns while no time passed.
    pub still: u32,
    /// Datagrams that it sent.
    pub sent: u64,
    peer: PeerId,
    socket: SocketId,
    /// How far its monotonic clock was moved, nanoseconds.
    leapt: i64,
    heard: Vec<u64>,
    heard_at: Moment,
    redial: Option<u64>,
    tick: Moment,
    /// When its last turn was, and how many it took then before.
    still_at: (u64, u32),
}

/// Bob and alice, who have met.
#[derive(Debug)]
pub struct Clocks {
    /// The network, and its time in nanoseconds.
    pub internet: Internet,
    /// Now, by the network's time.
    pub now: u64,
    /// Bob, then alice.
    pub people: [Person; 2],
    lacking: Option<Lacking>,
    lines: u64,
}

impl Clocks {
    /// Two who met and keep what that left; `None` if they did not.
    pub fn met(lacking: Option<Lacking>, rng: &mut ChaCha20Rng) -> Option<Self> {
        let people = People::default();
        let (bobs, alices) = people.introduce(rng);
        let mut internet = Internet::new(rng.random());
        let access =
            Access::both(LinkConfig { delay: millis(10), jitter: millis(2), ..LinkConfig::default() });
        let addresses = [2, 1].map(|n| SocketAddr::from((Ipv4Addr::new(192, 0, 2, n), 7000)));
        let start = Moment::from_nanos(MONOTONIC_START);
        let mut person = |me, introduction, address: SocketAddr, other: SocketAddr, peer| {
            let host = internet.host(Clock::new(MONOTONIC_START, WALL_START));
            internet.attach(host, Internet::PUBLIC, address.ip(), access);
            let socket = internet.bind(host, address).ok()?;
            let mut endpoint = endpoint(me, rng.random(), start);
            endpoint.set_wall_clock(WallTime(WALL_START / MILLISECOND));
            endpoint.introduce(introduction, &UdpEndpoints::new([other]), start);
            Some(Person {
                endpoint,
                live: None,
                host,
                ended: Vec::new(),
                turns: 0,
                still: 0,
                sent: 0,
                peer,
                socket,
                leapt: 0,
                heard: Vec::new(),
                heard_at: start,
                redial: None,
                tick: start,
                still_at: (0, 0),
            })
        };
        let bob = person(&people.bob, bobs, addresses[0], addresses[1], people.alice.peer_id())?;
        let alice = person(&people.alice, alices, addresses[1], addresses[0], people.bob.peer_id())?;
        let mut world = Self { internet, now: 0, people: [bob, alice], lacking, lines: 0 };
        world.run_for(Duration::from_secs(2));
        for person in &mut world.people {
            let live = person.live?;
            person.endpoint.keep(live);
        }
        world.run_for(Duration::from_secs(1));
        Some(world)
    }

    /// Something happens to the network or a machine.
    pub fn apply(&mut self, fault: Fault) {
        self.internet.apply(self.now, fault);
    }

    /// The monotonic clock of one of them is moved, which no system does on purpose.
    pub fn leap(&mut self, who: usize, by: i64) {
        if let Some(person) = self.people.get_mut(who) {
            person.leapt = person.leapt.saturating_add(by);
        }
    }

    /// Their sessions.
    pub fn live(&self) -> [Option<SessionId>; 2] {
        [self.people[0].live, self.people[1].live]
    }

    /// Forgets how often the programs took a turn, and what they sent.
    pub fn count_anew(&mut self) {
        for person in &mut self.people {
            (person.turns, person.still, person.sent) = (0, 0, 0);
        }
    }

    /// Both say something again and again until each has heard what the other said meanwhile; how long it
    /// took.
    pub fn talk(&mut self, limit: Duration) -> Option<Duration> {
        let (since, first) = (self.now, self.lines);
        while self.now.saturating_sub(since) < nanos(limit) {
            let line = self.lines;
            self.lines += 1;
            for who in self.awake() {
                let clock = self.clock(who);
                let person = &mut self.people[who];
                let Some(live) = person.live else { continue };
                // One that is ending takes none, and is replaced.
                let _taken =
                    person.endpoint.send(live, StreamId::CONVERSATION, 1, &line.to_be_bytes(), clock);
            }
            self.run_for(LINE_EVERY);
            let fresh = |person: &Person| person.heard.iter().any(|line| *line >= first);
            if self.people.iter().all(fresh) {
                return Some(Duration::from_nanos(self.now.saturating_sub(since)));
            }
        }
        None
    }

    /// Lets time pass.
    pub fn run_for(&mut self, time: Duration) {
        let end = self.now + nanos(time);
        loop {
            for who in self.awake() {
                self.let_out(who);
            }
            let mut next = self.internet.next_event();
            for who in self.awake() {
                next = next.into_iter().chain(self.due(who)).min();
            }
            let Some(next) = next.filter(|at| *at <= end) else { break };
            self.now = self.now.max(next);
            self.let_in();
            for who in self.awake() {
                if self.due(who).is_some_and(|at| at <= self.now) {
                    self.turn(who);
                }
            }
        }
        self.now = self.now.max(end);
    }

    fn awake(&self) -> Vec<usize> {
        let awake = |who: &usize| !self.internet.is_asleep(self.people[*who].host);
        (0..self.people.len()).filter(awake).collect()
    }

    /// What somebody's monotonic clock shows.
    fn clock(&self, who: usize) -> Moment {
        let person = &self.people[who];
        let shown = self.internet.clock(person.host).monotonic(self.now);
        Moment::from_nanos(shown.saturating_add_signed(person.leapt))
    }

    /// When somebody's program has something to do, by the network's time.
    fn due(&self, who: usize) -> Option<u64> {
        let person = &self.people[who];
        let clock = self.clock(who);
        let ticks = (self.lacking == Some(Lacking::LeavingOut)).then_some(person.tick);
        let timers = person.endpoint.poll_timeout().into_iter().chain(ticks);
        let timers = timers.map(|at| self.now.saturating_add(nanos(at.saturating_since(clock))));
        timers.chain(person.redial.map(|at| at.max(self.now))).min()
    }

    fn turn(&mut self, who: usize) {
        let (now, clock, lacking) = (self.now, self.clock(who), self.lacking);
        let wall = self.wall(who);
        let person = &mut self.people[who];
        person.turns += 1;
        let (at, still) = person.still_at;
        person.still_at = (now, if at == now { still + 1 } else { 0 });
        person.still = person.still.max(person.still_at.1);
        person.endpoint.set_wall_clock(wall);
        if person.endpoint.poll_timeout().is_some_and(|at| at <= clock) {
            person.endpoint.handle_timeout(clock);
        }
        if lacking == Some(Lacking::LeavingOut) && person.tick <= clock {
            person.tick = person.tick + TICK;
            // What would go on for an hour is seen before.
            if person.still_at.1 > TURNS_STILL_MAX {
                person.tick = clock + TICK;
            }
        }
        if lacking == Some(Lacking::Asking) && clock.saturating_since(person.heard_at) > LOST_AFTER {
            person.heard_at = clock;
            if let Some(live) = person.live.take() {
                person.endpoint.close(live, CloseCode::Leaving, clock);
                person.ended.push(EndReason::Lost);
                person.redial = Some(now + nanos(REDIAL));
            }
        }
        if person.redial.is_some_and(|at| at <= now) {
            let peer = person.peer;
            // One attempt at a time; it says how it ended.
            let dials = person.live.is_none();
            person.redial = dials.then_some(now + nanos(REDIAL) * 3);
            if dials {
                let _one_at_a_time = person.endpoint.dial(peer, clock);
            }
        }
    }

    fn wall(&self, who: usize) -> WallTime {
        WallTime(self.internet.clock(self.people[who].host).wall(self.now) / MILLISECOND)
    }

    fn let_in(&mut self) {
        while let Some(arrival) = self.internet.deliver(self.now) {
            let Some(who) = self.people.iter().position(|person| person.host == arrival.host) else {
                continue;
            };
            let (clock, wall) = (self.clock(who), self.wall(who));
            let received = Received {
                from: arrival.from,
                local_ip: Some(arrival.to.ip()),
                ecn: None,
                segment_size: None,
            };
            let person = &mut self.people[who];
            person.heard_at = clock;
            person.endpoint.set_wall_clock(wall);
            person.endpoint.handle_datagram(received, &mut arrival.bytes.clone(), clock);
        }
    }

    fn let_out(&mut self, who: usize) {
        let clock = self.clock(who);
        let (mut out, now, lacking) = (Vec::new(), self.now, self.lacking);
        let person = &mut self.people[who];
        // The store of a simulation is its memory.
        while person.endpoint.poll_contact().is_some() {}
        while let Some(transmit) = person.endpoint.poll_transmit(clock, 1, &mut out) {
            person.sent += 1;
            // What cannot leave is lost, as it would be.
            let _lost = self.internet.send(now, person.socket, transmit.local_ip, transmit.to, &out);
        }
        while let Some((id, event)) = person.endpoint.poll_event() {
            match event {
                SessionEvent::Up { .. } => {
                    let old =
                        person.live.filter(|old| *old != id && person.endpoint.info(*old, clock).is_some());
                    let stays = old.filter(|old| !person.endpoint.replaces(id, *old));
                    if stays.is_some() {
                        person.endpoint.close(id, CloseCode::Replaced, clock);
                    } else {
                        old.into_iter()
                            .for_each(|old| person.endpoint.close(old, CloseCode::Replaced, clock));
                        (person.live, person.redial) = (Some(id), None);
                    }
                }
                SessionEvent::Body { bytes, .. } => {
                    person.heard.extend(bytes.first_chunk().map(|line| u64::from_be_bytes(*line)));
                }
                SessionEvent::Ended(reason) => {
                    person.ended.push(reason);
                    if person.live == Some(id) {
                        person.live = None;
                        let dials = lacking != Some(Lacking::Dialling);
                        person.redial = dials.then_some(now + nanos(REDIAL));
                    }
                }
                SessionEvent::Moved { .. }
                | SessionEvent::Stream(_)
                | SessionEvent::Suspect
                | SessionEvent::Recovered
                | SessionEvent::Hint { .. } => {}
            }
        }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
