//! Two contacts who meet again without a broker: their endpoints, what they keep, and what their owner
//! does about it, with or without one of the owner's duties.

use std::net::SocketAddr;
use std::time::Duration;

use p2pchat_netsim::{LinkConfig, Network};
use p2pchat_proto::{Moment, UdpEndpoints, WallTime};
use p2pchat_session::{CloseCode, Contact, Endpoint, SessionEvent, SessionId};
use rand::RngExt;
use rand_chacha::ChaCha20Rng;

use super::START;
use super::people::{People, alices_address, bobs_address};
use super::target::{endpoint, received};

/// What wall clocks show at [`START`], in milliseconds.
pub const WALL_START: u64 = 1_800_000_000_000;

/// A duty that an owner neglects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Neglect {
    /// None: as the client does it.
    Nothing,
    /// Of two sessions it keeps the one that it began itself.
    OwnSession,
    /// The newest secret is kept alone.
    OlderSecret,
    /// Nobody is ever forgotten, whatever they are told to forget.
    Forgetting,
    /// The clock is never told.
    Clock,
    /// Only the first INIT that came is answered.
    LaterInits,
}

/// One of the two.
#[derive(Debug)]
pub struct Side {
    /// Its sessions.
    pub endpoint: Endpoint,
    /// Where it is.
    pub address: SocketAddr,
    /// What it keeps of the other.
    pub disk: Option<Contact>,
    /// Its session, if it has one.
    pub live: Option<SessionId>,
    /// Added to its wall clock, in milliseconds.
    pub clock: i64,
    /// Datagrams that it sent.
    pub sent: u64,
    /// When it dials, if it has no session then.
    pub redial: Option<Moment>,
}

/// Bob and alice, contacts whose processes have both gone.
#[derive(Debug)]
pub struct Contacts {
    /// The time.
    pub now: Moment,
    /// Bob, then alice.
    pub sides: [Side; 2],
    /// Every datagram that left: who sent it, and its bytes.
    pub wire: Vec<(usize, Vec<u8>)>,
    /// Whether nothing that is sent arrives.
    pub cut: bool,
    people: People,
    network: Network,
    neglect: Neglect,
    first_init: Option<Vec<u8>>,
    rng: ChaCha20Rng,
}

impl Contacts {
    /// Two who had a session over a good line, and have what it left. `None` if they never met.
    pub fn new(neglect: Neglect, line: LinkConfig, mut rng: ChaCha20Rng) -> Option<Self> {
        let people = People::default();
        let (bobs, alices) = people.introduce(&mut rng);
        let addresses = [bobs_address(), alices_address()];
        let mut network = Network::new(rng.random());
        network.link(addresses[0].ip(), addresses[1].ip(), LinkConfig::default());
        let mut side = |me, introduction, address, peer| {
            let mut endpoint = endpoint(me, rng.random(), START);
            endpoint.set_wall_clock(WallTime(WALL_START));
            endpoint.introduce(introduction, &UdpEndpoints::new([peer]), START);
            Side { endpoint, address, disk: None, live: None, clock: 0, sent: 0, redial: None }
        };
        let bob = side(&people.bob, bobs, addresses[0], addresses[1]);
        let alice = side(&people.alice, alices, addresses[1], addresses[0]);
        let (sides, wire, first_init) = ([bob, alice], Vec::new(), None);
        let mut two = Self { now: START, sides, wire, cut: false, people, network, neglect, first_init, rng };
        two.run_for(Duration::from_secs(1));
        for side in &mut two.sides {
            let session = side.live?;
            side.endpoint.keep(session);
        }
        two.let_out();
        (0..2).for_each(|who| two.restart(who));
        two.network.link(addresses[0].ip(), addresses[1].ip(), line);
        two.wire.clear();
        two.sides.iter_mut().for_each(|side| side.sent = 0);
        two.first_init = None;
        Some(two)
    }

    /// A process dies without a word and begins anew with what it kept.
    pub fn restart(&mut self, who: usize) {
        let me = if who == 0 { &self.people.bob } else { &self.people.alice };
        let mut fresh = endpoint(me, self.rng.random(), self.now);
        fresh.set_wall_clock(self.wall(who));
        if let Some(contact) = &self.sides[who].disk {
            fresh.remember(contact.clone());
        }
        self.sides[who].endpoint = fresh;
        self.sides[who].live = None;
    }

    /// Begins a session; whether there was something to begin with.
    pub fn dial(&mut self, who: usize) -> bool {
        let now = self.now;
        let side = &mut self.sides[who];
        let Some(peer) = side.disk.as_ref().map(|contact| contact.peer) else { return false };
        side.endpoint.dial(peer, now).is_some()
    }

    /// An INIT of bob's that arrives nowhere, and is the last thing that his process does.
    pub fn unused_init(&mut self) -> Option<Vec<u8>> {
        let before = self.wire.len();
        self.cut = true;
        self.dial(0);
        self.let_out();
        self.cut = false;
        self.restart(0);
        let sent = self.wire.get(before..)?.iter().find(|(who, _)| *who == 0);
        sent.map(|(_, bytes)| bytes.clone())
    }

    /// Hands alice a datagram.
    pub fn inject(&mut self, from: SocketAddr, bytes: &[u8]) {
        self.take(1, from, bytes.to_vec());
    }

    /// The user forgets alice's contact.
    pub fn forget(&mut self) {
        let alice = &mut self.sides[1];
        let Some(contact) = alice.disk.clone() else { return };
        alice.endpoint.forget_contact(contact.peer);
        if self.neglect == Neglect::Forgetting {
            alice.endpoint.remember(contact);
        } else {
            alice.disk = None;
        }
    }

    /// The user accepts nobody any more.
    pub fn hide(&mut self) {
        self.sides[1].endpoint.answer_contacts(self.neglect == Neglect::Forgetting);
    }

    /// What alice keeps gets older by so many days, and her process is started again.
    pub fn age(&mut self, days: u64) {
        let young = self.neglect == Neglect::Forgetting;
        let kept = self.sides[1].disk.iter_mut().flat_map(|contact| &mut contact.generations);
        kept.filter(|_| !young).for_each(|generation| generation.made.0 -= days * 24 * 3_600_000);
        self.restart(1);
    }

    /// Whether both have a session.
    pub fn are_together(&self) -> bool {
        self.sides.iter().all(|side| side.live.is_some())
    }

    /// Whether what both keep shares a secret.
    pub fn have_one_in_common(&self) -> bool {
        let [Some(bobs), Some(alices)] = [&self.sides[0].disk, &self.sides[1].disk] else { return false };
        bobs.generations.iter().any(|one| alices.generations.iter().any(|other| other.secret == one.secret))
    }

    /// Runs until `done`; whether it was within `limit`.
    pub fn run_until(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + limit;
        while !done(self) {
            if !self.step(end) {
                return done(self);
            }
        }
        true
    }

    /// Lets time pass.
    pub fn run_for(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.step(end) {}
    }

    /// Goes to the next thing that happens, at most to `end`; false at `end`.
    pub fn step(&mut self, end: Moment) -> bool {
        self.redials();
        self.let_out();
        let timeouts = self.sides.iter().filter_map(|side| side.endpoint.poll_timeout());
        let redials = self.sides.iter().filter(|side| side.live.is_none()).filter_map(|side| side.redial);
        let arrival = self.network.next_arrival().map(Moment::from_nanos);
        let Some(next) = timeouts.chain(redials).chain(arrival).min().filter(|next| *next <= end) else {
            self.now = self.now.max(end);
            return false;
        };
        self.now = self.now.max(next);
        for who in 0..2 {
            let wall = self.wall(who);
            self.sides[who].endpoint.set_wall_clock(wall);
        }
        while let Some(datagram) = self.network.deliver(self.now.as_nanos()) {
            if let Some(to) = self.sides.iter().position(|side| side.address == datagram.to) {
                self.take(to, datagram.from, datagram.bytes);
            }
        }
        for side in &mut self.sides {
            if side.endpoint.poll_timeout().is_some_and(|at| at <= self.now) {
                side.endpoint.handle_timeout(self.now);
            }
        }
        self.let_out();
        true
    }

    fn take(&mut self, to: usize, from: SocketAddr, mut bytes: Vec<u8>) {
        if self.neglect == Neglect::LaterInits && to == 1 && bytes.first() == Some(&0x51) {
            let first = self.first_init.get_or_insert_with(|| bytes.clone());
            if *first != bytes {
                return;
            }
        }
        self.sides[to].endpoint.handle_datagram(received(from), &mut bytes, self.now);
    }

    fn wall(&self, who: usize) -> WallTime {
        let passed = if self.neglect == Neglect::Clock { 0 } else { self.now.as_nanos() / 1_000_000 };
        WallTime(WALL_START + passed).shifted(self.sides[who].clock)
    }

    fn redials(&mut self) {
        for who in 0..2 {
            let due = self.sides[who].redial.is_some_and(|due| due <= self.now);
            if due && self.sides[who].live.is_none() {
                self.dial(who);
                let wait = Duration::from_millis(self.rng.random_range(1000..4000));
                self.sides[who].redial = Some(self.now + wait);
            }
        }
    }

    fn let_out(&mut self) {
        for who in 0..2 {
            self.look(who);
            let side = &mut self.sides[who];
            while let Some(mut contact) = side.endpoint.poll_contact() {
                if self.neglect == Neglect::OlderSecret {
                    let older = contact.generations.len().saturating_sub(1);
                    contact.generations.drain(..older);
                }
                let kept = !contact.generations.is_empty() || self.neglect == Neglect::Forgetting;
                side.disk = if kept { Some(contact) } else { None };
            }
            let mut out = Vec::new();
            while let Some(transmit) = side.endpoint.poll_transmit(self.now, 1, &mut out) {
                side.sent += 1;
                self.wire.push((who, out.clone()));
                if !self.cut {
                    self.network.send(self.now.as_nanos(), side.address, transmit.to, &out);
                }
            }
            self.look(who);
        }
    }

    /// What an owner does about what happened.
    fn look(&mut self, who: usize) {
        let now = self.now;
        let Side { endpoint, live, .. } = &mut self.sides[who];
        while let Some((id, event)) = endpoint.poll_event() {
            match event {
                SessionEvent::Up { .. } if endpoint.info(id, now).is_some() => {
                    let old = live.filter(|old| endpoint.info(*old, now).is_some());
                    let mine = |id| {
                        endpoint
                            .info(id, now)
                            .is_some_and(|info| info.role == p2pchat_crypto::Role::Initiator)
                    };
                    let takes_its_place = match old {
                        Some(_) if self.neglect == Neglect::OwnSession => mine(id),
                        Some(old) => endpoint.replaces(id, old),
                        None => true,
                    };
                    let (stays, goes) = if takes_its_place { (Some(id), old) } else { (old, Some(id)) };
                    goes.into_iter().for_each(|goes| endpoint.close(goes, CloseCode::Replaced, now));
                    *live = stays;
                }
                SessionEvent::Ended(_) if *live == Some(id) => *live = None,
                SessionEvent::Up { .. }
                | SessionEvent::Ended(_)
                | SessionEvent::Moved { .. }
                | SessionEvent::Body { .. }
                | SessionEvent::Suspect
                | SessionEvent::Recovered
                | SessionEvent::Hint { .. }
                | SessionEvent::Stream(_) => {}
            }
        }
    }
}
