//! Everything together, moved by one clock.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use p2pchat_engine::{Effect, Now};
use p2pchat_netsim::{Arrival, InterfaceId, Internet, Way, micros};
use p2pchat_proto::conversation::MessageId;
use p2pchat_proto::{PeerId, RequestId};
use p2pchat_session::Received;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;

use crate::broken::{Broken, hold};
use crate::broker::{Broker, News};
use crate::member::{Job, Member, now_of};
use crate::model::Model;
use crate::places::Refused;
use crate::plan::{Plan, called};
use crate::trace::{Happening, Trace};

/// Wakes at one moment that may change nothing: a timer may be found to be early once or twice.
const IDLE_WAKES_MAX: u32 = 8;
/// Turns of the world without the clock moving after which something runs in a circle.
const STILL_MAX: u32 = 100_000;
/// Most that a store takes for a batch, nanoseconds.
const STORE_TAKES_MAX: u64 = micros(4_000);
/// Most batches of datagrams that one program sends at one moment: a window of 16 MiB in datagrams of
/// the smallest size.
const BATCHES_MAX: u32 = 16_384;
/// Datagrams in one batch of a socket.
const SEGMENTS_MAX: usize = 8;
/// Marks the randomness of people's behaviour, apart from that of the plan.
const BEHAVIOUR: u64 = 0x5eed;
/// The address of a machine without an interface.
const NOBODY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// A world that runs.
pub struct World {
    /// What it runs.
    pub plan: Plan,
    /// What happened last.
    pub trace: Trace,
    pub(crate) now: u64,
    pub(crate) internet: Internet,
    pub(crate) broker: Broker,
    pub(crate) people: Vec<Member>,
    pub(crate) model: Model,
    /// What people, processes and the broker will do by themselves.
    pub(crate) agenda: BTreeMap<(u64, u64), Errand>,
    next_errand: u64,
    pub(crate) next_command: u64,
    /// Who asks again by itself when a session is lost, and for whom.
    pub(crate) promises: BTreeSet<(usize, usize)>,
    pub(crate) askers: BTreeSet<(usize, usize)>,
    /// What an engine was asked about itself, as it said.
    pub(crate) reports: BTreeMap<usize, Vec<(PeerId, bool)>>,
    /// Lines that pass nothing.
    pub(crate) cut: BTreeSet<(InterfaceId, Way)>,
    /// Pairs between whom a way has led.
    pub(crate) ways: BTreeSet<(usize, usize)>,
    /// Addresses that somebody announced, or sent from.
    pub(crate) named: BTreeSet<SocketAddr>,
    /// The network did something, and nobody has looked yet whether addresses are others.
    pub(crate) stirred: bool,
    /// Whether the faults are over, and everybody says yes to everything.
    pub(crate) calm: bool,
    pub(crate) rng: ChaCha20Rng,
    still: u32,
    /// What happened, in numbers.
    pub(crate) totals: Totals,
}

/// What happened in a world, in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Virtual nanoseconds.
    pub time: u64,
    /// Datagrams that sockets sent.
    pub datagrams: u64,
    /// Messages that were written.
    pub messages: u64,
    /// Sessions that came up, counted on both sides.
    pub sessions: u64,
    /// Sessions that were lost, counted on both sides.
    pub lost: u64,
    /// Processes that ended before the end.
    pub restarts: u64,
    /// Faults of the network that were planned.
    pub faults: u64,
    /// Fingerprint of the network's trace, without the bytes.
    pub shape: u64,
}

impl std::ops::AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        self.time += other.time;
        self.datagrams += other.datagrams;
        self.messages += other.messages;
        self.sessions += other.sessions;
        self.lost += other.lost;
        self.restarts += other.restarts;
        self.faults += other.faults;
        // In any order, as worlds end in any order.
        self.shape ^= other.shape;
    }
}

/// Something that will be done, unless its process is gone by then.
#[derive(Debug, Clone)]
pub(crate) enum Errand {
    Answer { who: usize, life: u32, request: RequestId, from: Option<PeerId> },
    Look { who: usize, life: u32, message: MessageId, from: usize },
    Start { who: usize },
    BrokerBack,
    Deed(crate::plan::Deed),
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World").field("seed", &self.plan.seed).field("now", &self.now).finish_non_exhaustive()
    }
}

impl World {
    /// The world of a seed, before anything happens.
    pub fn new(seed: u64) -> Self {
        let (plan, internet) = Plan::new(seed);
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        rng.set_stream(BEHAVIOUR);
        let people =
            plan.seats.iter().enumerate().map(|(who, seat)| Member::new(who, *seat, &mut rng)).collect();
        let mut world = Self {
            trace: Trace::default(),
            now: 0,
            broker: Broker::new(seed),
            internet,
            people,
            model: Model::default(),
            agenda: BTreeMap::new(),
            next_errand: 0,
            next_command: 0,
            promises: BTreeSet::new(),
            askers: BTreeSet::new(),
            reports: BTreeMap::new(),
            cut: BTreeSet::new(),
            ways: BTreeSet::new(),
            named: BTreeSet::new(),
            stirred: false,
            calm: false,
            rng,
            still: 0,
            totals: Totals { faults: plan.faults.len() as u64, ..Totals::default() },
            plan,
        };
        world.note_ways();
        for who in 0..world.people.len() {
            world.errand(0, Errand::Start { who });
        }
        for (at, deeds) in world.plan.deeds.clone() {
            for deed in deeds {
                world.errand(at, Errand::Deed(deed));
            }
        }
        world
    }

    pub(crate) fn errand(&mut self, at: u64, errand: Errand) {
        self.agenda.insert((at, self.next_errand), errand);
        self.next_errand += 1;
    }

    pub(crate) fn clock_of(&self, who: usize) -> Now {
        self.people[who].clock(&self.internet, self.now)
    }

    fn brokers_clock(&self) -> Now {
        now_of(&self.internet, &self.plan.broker, self.now)
    }

    /// Lets time pass until then.
    pub(crate) fn run_to(&mut self, end: u64) -> Result<(), Broken> {
        while self.step(end)? {}
        Ok(())
    }

    /// The time at which something happens next.
    fn next(&self) -> Option<u64> {
        let people = self.people.iter().filter_map(|member| member.due(&self.internet));
        let broker_awake = !self.internet.is_asleep(self.plan.broker.host);
        let timer = self.broker.poll_timeout().filter(|_| broker_awake);
        let timer = timer.and_then(|due| self.internet.clock(self.plan.broker.host).when(due.as_nanos()));
        let errand = self.agenda.first_key_value().map(|((at, _), _)| *at);
        let others = [self.internet.next_event(), self.broker.next_parcel(), timer, errand];
        people.chain(others.into_iter().flatten()).min()
    }

    /// Moves the clock to the next thing that happens; false at `end`.
    pub(crate) fn step(&mut self, end: u64) -> Result<bool, Broken> {
        let Some(next) = self.next().filter(|next| *next <= end) else {
            self.now = end;
            return Ok(false);
        };
        self.still = if next > self.now { 0 } else { self.still + 1 };
        hold(self.still < STILL_MAX, "time goes on", || format!("it stands at {} ns", self.now))?;
        self.now = self.now.max(next);
        while let Some(arrival) = self.internet.deliver(self.now) {
            self.faults();
            self.deliver(arrival)?;
        }
        self.faults();
        if core::mem::take(&mut self.stirred) {
            self.tell_addresses()?;
        }
        while let Some(entry) = self.agenda.first_entry().filter(|entry| entry.key().0 <= self.now) {
            let errand = entry.remove();
            self.run(errand)?;
        }
        self.carry_broker()?;
        for who in 0..self.people.len() {
            self.wake(who)?;
        }
        Ok(true)
    }

    fn tell_addresses(&mut self) -> Result<(), Broken> {
        for who in 0..self.people.len() {
            let Some(here) = self.news_of_addresses(who) else { continue };
            let now = self.clock_of(who);
            if let Some(process) = &mut self.people[who].process {
                process.engine.addresses_changed(&here, now);
            }
            self.settle(who)?;
        }
        Ok(())
    }

    fn deliver(&mut self, arrival: Arrival) -> Result<(), Broken> {
        let Arrival { host, socket, from, to, mut bytes, .. } = arrival;
        let Some(who) = self.people.iter().position(|member| member.seat.host == host) else { return Ok(()) };
        let now = self.clock_of(who);
        if self.people[who].process.as_ref().is_none_or(|process| process.socket != socket) {
            return Ok(());
        }
        let kind = bytes.first().copied().unwrap_or_default();
        self.trace.push(self.now, Happening::Came { who, from, len: bytes.len(), kind });
        self.named.insert(from);
        for other in self.people.iter_mut().filter(|other| other.who != who) {
            if let Some(process) = &mut other.process {
                process.ledger.delivered(&bytes);
            }
        }
        let Some(process) = self.people[who].process.as_mut() else { return Ok(()) };
        if let Some(victim) = self.plan.forged(who, self.now) {
            // Somebody on the way is quicker, and says that it comes from elsewhere.
            process.ledger.forged(victim, bytes.len());
            let received = Received { from: victim, local_ip: Some(to.ip()), ecn: None, segment_size: None };
            process.engine.handle_datagram(received, &mut bytes.clone(), now);
            self.settle(who)?;
        }
        let Some(process) = self.people[who].process.as_mut() else { return Ok(()) };
        process.ledger.received(from, &bytes);
        let received = Received { from, local_ip: Some(to.ip()), ecn: None, segment_size: None };
        process.engine.handle_datagram(received, &mut bytes, now);
        self.settle(who)?;
        Ok(())
    }

    fn carry_broker(&mut self) -> Result<(), Broken> {
        let now = self.brokers_clock();
        if !self.internet.is_asleep(self.plan.broker.host) {
            self.broker.handle_timeout(now);
        }
        let doors = self.broker.doors().filter(|(_, host, door)| self.is_open(*host, door));
        let open = doors.map(|(conn, ..)| conn).collect();
        let news = self.broker.carry(self.now, now, &open);
        for (conn, news) in news {
            let Some(who) = self
                .people
                .iter()
                .position(|member| member.process.as_ref().is_some_and(|process| process.conn == Some(conn)))
            else {
                continue;
            };
            let now = self.clock_of(who);
            let announced = self.announced_by(who);
            let Some(process) = self.people[who].process.as_mut() else { continue };
            match news {
                News::Opened => process.engine.broker_opened(announced, false, now),
                News::Bytes(bytes) => {
                    process.engine.announce(announced);
                    process.engine.broker_received(&bytes, now);
                }
                News::Closed(why) => {
                    process.conn = None;
                    process.engine.broker_closed(why.to_owned(), now);
                }
            }
            self.settle(who)?;
        }
        Ok(())
    }

    /// Does what is due in somebody's process.
    fn wake(&mut self, who: usize) -> Result<(), Broken> {
        while self.people[who].due(&self.internet).is_some_and(|due| due <= self.now) {
            let now = self.clock_of(who);
            let member = &mut self.people[who];
            let Some(process) = member.process.as_mut() else { return Ok(()) };
            if process.stopping.is_some_and(|until| until <= self.now) {
                self.end_process(who)?;
                return Ok(());
            }
            if process.jobs.front().is_some_and(|(due, _)| *due <= self.now) {
                self.store_works(who)?;
                continue;
            }
            let since = &mut process.idle_wakes;
            if since.0 != now.moment {
                *since = (now.moment, 0);
            }
            process.engine.handle_timeout(now);
            if self.settle(who)? {
                continue;
            }
            let Some(process) = self.people[who].process.as_mut() else { return Ok(()) };
            process.idle_wakes.1 += 1;
            let (moment, wakes) = process.idle_wakes;
            hold(wakes <= IDLE_WAKES_MAX, "poll_timeout never spins", || {
                format!("{} wakes of {who} at {} ns changed nothing", wakes, moment.as_nanos())
            })?;
        }
        Ok(())
    }

    /// The store is done with the first of its jobs.
    fn store_works(&mut self, who: usize) -> Result<(), Broken> {
        let now = self.clock_of(who);
        let member = &mut self.people[who];
        let Some((_, job)) = member.process.as_mut().and_then(|process| process.jobs.pop_front()) else {
            return Ok(());
        };
        match job {
            Job::Commit(batch, writes) => {
                self.keep(who, &writes)?;
                if let Some(process) = &mut self.people[who].process {
                    process.engine.committed(batch, now);
                }
            }
            Job::Load(query, peer) => {
                let rows = member.rows(peer);
                if let Some(process) = &mut member.process {
                    process.engine.loaded(query, rows, now);
                }
            }
        }
        self.settle(who).map(|_| ())
    }

    /// Takes everything out of an engine that it has to give; whether there was anything.
    pub(crate) fn settle(&mut self, who: usize) -> Result<bool, Broken> {
        let mut moved = false;
        for _ in 0..STILL_MAX {
            if !(self.events(who)? | self.effects(who)? | self.transmit(who)?) {
                let idle = |process: &crate::member::Process| {
                    process.stopping.is_some() && process.engine.is_idle() && process.jobs.is_empty()
                };
                if self.people[who].process.as_ref().is_some_and(idle) {
                    self.end_process(who)?;
                }
                self.check(who)?;
                return Ok(moved);
            }
            moved = true;
        }
        Err(Broken::new("an engine comes to rest", format!("{who} does not at {} ns", self.now)))
    }

    fn transmit(&mut self, who: usize) -> Result<bool, Broken> {
        let now = self.clock_of(who);
        let mut out = Vec::new();
        let mut batches = 0;
        while let Some(process) = self.people[who].process.as_mut()
            && let Some(transmit) = process.engine.poll_transmit(now, SEGMENTS_MAX, &mut out)
        {
            batches += 1;
            hold(batches <= BATCHES_MAX, "a program stops sending", || {
                format!("{} does not at {} ns", called(who), self.now)
            })?;
            let size = transmit.segment_size.unwrap_or(out.len()).max(1);
            let mut refused = Refused::default();
            for segment in out.chunks(size) {
                let kind = segment.first().copied().unwrap_or_default();
                let sent = Happening::Sent { who, to: transmit.to, len: segment.len(), kind };
                self.trace.push(self.now, sent);
                self.totals.datagrams += 1;
                if let Some(process) = &mut self.people[who].process {
                    process.ledger.sent(transmit.to, segment, &self.named)?;
                }
                let Refused { too_large, gone } = self.hand_over(who, &transmit, segment);
                refused = Refused { too_large: refused.too_large | too_large, gone: refused.gone.or(gone) };
            }
            if let Some(process) = &mut self.people[who].process {
                if refused.too_large {
                    process.engine.datagram_too_large(transmit.to, size, now);
                }
                if let Some(gone) = refused.gone {
                    process.engine.local_ip_gone(gone, now);
                }
            }
            out.clear();
        }
        Ok(batches > 0)
    }

    fn effects(&mut self, who: usize) -> Result<bool, Broken> {
        let mut moved = false;
        while let Some(process) = self.people[who].process.as_mut()
            && let Some(effect) = process.engine.poll_effect()
        {
            moved = true;
            match effect {
                Effect::DialBroker => {
                    let seat = self.people[who].seat;
                    let door = self.door_of(&seat);
                    let ip = door.last().map_or(NOBODY, |outermost| self.internet.place(*outermost).1);
                    let delay = seat.delay + self.plan.broker.delay;
                    let conn = self.broker.dial(seat.host, door, ip, delay, self.now);
                    let process = self.people[who].process.as_mut();
                    if let Some(older) = process.and_then(|process| process.conn.replace(conn)) {
                        self.broker.hang_up(older, self.now);
                    }
                }
                Effect::ToBroker(bytes) => {
                    if let Some(conn) = process.conn {
                        self.broker.send(conn, bytes, self.now);
                    }
                }
                Effect::CloseBroker => {
                    if let Some(conn) = process.conn.take() {
                        self.broker.hang_up(conn, self.now);
                    }
                }
                Effect::PinBroker(key) => self.people[who].broker_key = Some(key),
                Effect::Pin(pin) => self.people[who].pins.push(pin),
                Effect::Repin { pin, instead_of } => {
                    self.people[who].pins.retain(|pin| pin.peer != instead_of);
                    self.people[who].pins.push(pin);
                }
                Effect::Mark(_) | Effect::Stand(_) => {}
                Effect::Follow { .. } => {
                    return Err(Broken::new("nobody changes their key here", format!("{effect:?}")));
                }
                Effect::KeepContact(contact) => self.people[who].keep(contact),
                Effect::Commit { batch, writes } => self.store_later(who, Job::Commit(batch, writes)),
                Effect::Load { query, peer } => self.store_later(who, Job::Load(query, peer)),
                Effect::StartCarrier(_)
                | Effect::DialCarrier { .. }
                | Effect::Publish { .. }
                | Effect::StopCarrier { .. } => {
                    return Err(Broken::new("nobody sends files here", format!("{effect:?}")));
                }
            }
        }
        Ok(moved)
    }

    fn store_later(&mut self, who: usize, job: Job) {
        let takes = self.rng.random_range(0..STORE_TAKES_MAX);
        let Some(process) = self.people[who].process.as_mut() else { return };
        let after = process.jobs.back().map_or(self.now, |(due, _)| *due);
        process.jobs.push_back((self.now.max(after) + takes, job));
    }

    pub(crate) fn number_of(&self, peer: PeerId) -> Option<usize> {
        self.people.iter().position(|member| member.peer == peer)
    }

    /// The numbers of what happened until now.
    pub fn totals(&self) -> Totals {
        let shape = self.internet.shape_hash();
        Totals { time: self.now, messages: self.model.kept(), shape, ..self.totals }
    }
}
