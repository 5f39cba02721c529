//! Clients of the product and the broker's rules, in virtual time: the engines, the registry and the
//! link between them are the product's, the lines are [`stream`].

pub mod stream;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use p2pchat_crypto::link::{BrokerSecret, LinkOpener, LinkSealer, ServerHandshake, frame, verify_hello};
use p2pchat_engine::event::{BrokerState, PersonStatus};
use p2pchat_engine::{
    AcceptPolicy, Command, CommandId, Effect, Engine, EngineConfig, Event, Failure, Now, Pin, Ports,
};
use p2pchat_netsim::{LinkConfig, Loss, millis};
use p2pchat_proto::broker::{Call, FromBroker, Hello, ToBroker};
use p2pchat_proto::{BrokerKey, Moment, Name, PeerId, UdpEndpoints, WallTime};
use p2pchat_registry::{CloseReason, Command as ToShell, Config, ConnId, Registry};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;

use self::stream::{Conn, End, Heard, Streams};
use crate::caller::identity;

/// 2026-01-01T00:00:00Z in milliseconds.
const WALL_START: u64 = 1_767_225_600_000;
/// Turns without the clock moving after which something spins.
const SPIN: usize = 10_000;
/// A line as there are many: 30 ms, and one segment in twenty is lost.
const LINE: LinkConfig = LinkConfig {
    delay: millis(30),
    jitter: millis(10),
    loss: Loss::Independent { share: 0.05 },
    duplication: 0.0,
    reordering: p2pchat_netsim::Reordering { share: 0.0, hold: 0 },
    corruption: 0.0,
    rate: None,
    mtu: None,
};

/// What the town's double does without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Without {
    /// The broker never looks at the clock.
    Silence,
    /// A second login of somebody who is online is turned away.
    NewestWins,
    /// Whoever is replaced is closed without a word.
    Replaced,
    /// Whoever is replaced is neither told nor closed.
    Closing,
    /// A client that is connected never looks at the clock.
    ClientsClock,
    /// Neither looks at it.
    AnyClock,
    /// A client that is told to wait starts anew, as one whose owner restarts it.
    Patience,
}

/// What a broker of ill will does with a message on its way: false swallows it.
pub type Passes = Box<dyn FnMut(&FromBroker) -> bool>;

/// The town.
pub struct Town {
    /// The time, nanoseconds.
    pub now: u64,
    /// The lines.
    pub streams: Streams,
    /// Who lives there.
    pub people: Vec<Resident>,
    /// What the broker lets out.
    pub passes: Option<Passes>,
    without: Option<Without>,
    secret: BrokerSecret,
    registry: Registry,
    links: BTreeMap<Conn, Link>,
    rng: ChaCha20Rng,
    /// Logins that the broker took.
    pub logins: usize,
    next_command: u64,
}

/// One program of one user.
pub struct Resident {
    /// Who.
    pub peer: PeerId,
    /// Where.
    pub host: IpAddr,
    /// All that its user was told.
    pub events: Vec<Event>,
    /// Datagrams that it wanted to send.
    pub datagrams: usize,
    program: Program,
    engine: Option<Engine>,
    conn: Option<Conn>,
}

/// How somebody's program is started.
struct Program {
    seed: u8,
    name: Name,
    contacts: Vec<(u8, Name)>,
}

struct Link {
    id: ConnId,
    bytes: Vec<u8>,
    channel: Option<(LinkSealer, LinkOpener, [u8; 32])>,
    login: Option<PeerId>,
}

impl std::fmt::Debug for Town {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Town").field("now", &self.now).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Resident {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resident").field("host", &self.host).finish_non_exhaustive()
    }
}

impl Town {
    /// A broker and nobody else.
    pub fn new(without: Option<Without>, rng: &mut ChaCha20Rng) -> Option<Self> {
        let secret = BrokerSecret::generate(rng).ok()?;
        Some(Self {
            now: 1_000_000_000,
            streams: Streams::new(rng.random(), LINE),
            people: Vec::new(),
            passes: None,
            without,
            secret,
            registry: Registry::new(Config::default(), None, []).ok()?,
            links: BTreeMap::new(),
            rng: ChaCha20Rng::from_seed(rng.random()),
            logins: 0,
            next_command: 0,
        })
    }

    /// The broker's key.
    pub fn key(&self) -> BrokerKey {
        self.secret.public()
    }

    /// Starts a program on a host of its own for the identity of this seed, who knows `contacts`
    /// (seed and name); its place among the people.
    pub fn start(&mut self, seed: u8, name: &str, contacts: &[(u8, &str)]) -> Option<usize> {
        let place = self.people.len();
        let host = IpAddr::V4(Ipv4Addr::new(192, 0, 2, u8::try_from(place + 1).ok()?));
        self.streams.host(host);
        let program = Program {
            seed,
            name: name.parse().ok()?,
            contacts: contacts
                .iter()
                .map(|(seed, name)| Some((*seed, name.parse().ok()?)))
                .collect::<Option<_>>()?,
        };
        let engine = Some(program.start(self.key(), self.rng.random(), self.clock()));
        let peer = identity(seed).peer_id();
        let (events, datagrams, conn) = (Vec::new(), 0, None);
        self.people.push(Resident { peer, host, events, datagrams, program, engine, conn });
        self.settle();
        Some(place)
    }

    /// Both clocks.
    pub fn clock(&self) -> Now {
        Now { moment: Moment::from_nanos(self.now), wall: WallTime(WALL_START + self.now / 1_000_000) }
    }

    /// A user wants something; its number.
    pub fn command(&mut self, who: usize, command: Command) -> CommandId {
        self.next_command += 1;
        let (id, now) = (CommandId(self.next_command), self.clock());
        if let Some(engine) = self.people.get_mut(who).and_then(|person| person.engine.as_mut()) {
            engine.handle_command(id, command, now);
        }
        self.settle();
        id
    }

    /// Power fails at somebody's.
    pub fn switch_off(&mut self, who: usize) {
        if let Some(person) = self.people.get_mut(who) {
            (person.engine, person.conn) = (None, None);
            self.streams.switch_off(person.host);
        }
    }

    /// Whether somebody's line carries what they say, and what they are told.
    pub fn carries(&mut self, who: usize, up: bool, down: bool) {
        if let Some(person) = self.people.get(who) {
            self.streams.carries(person.host, up, down);
        }
    }

    /// Lets time pass.
    pub fn run_for(&mut self, time: Duration) {
        let end = self.now.saturating_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        while self.step(end) {}
    }

    /// Lets time pass until `done`; how long it took, none if it did not happen within `limit`.
    pub fn run_until(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) -> Option<Duration> {
        let begin = self.now;
        let end = begin.saturating_add(u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX));
        while !done(self) {
            if !self.step(end) {
                return None;
            }
        }
        Some(Duration::from_nanos(self.now - begin))
    }

    fn step(&mut self, end: u64) -> bool {
        let engines = self.people.iter().filter_map(|person| person.due(self.without));
        let broker = self.registry.poll_timeout().filter(|_| self.broker_has_a_clock());
        let all = engines.chain(broker).map(Moment::as_nanos).chain(self.streams.next());
        let next = all.min().unwrap_or(u64::MAX);
        if next > end {
            self.now = end;
            return false;
        }
        self.now = self.now.max(next);
        let now = self.clock();
        if self.broker_has_a_clock() {
            self.registry.handle_timeout(now.moment);
        }
        for person in &mut self.people {
            let due = person.due(self.without).is_some_and(|at| at <= now.moment);
            if let Some(engine) = person.engine.as_mut().filter(|_| due) {
                engine.handle_timeout(now);
            }
        }
        self.settle();
        true
    }

    fn broker_has_a_clock(&self) -> bool {
        !matches!(self.without, Some(Without::Silence | Without::AnyClock))
    }

    fn settle(&mut self) {
        for _ in 0..SPIN {
            let mut moved = false;
            for (end, heard) in self.streams.advance(self.now) {
                moved = true;
                match end {
                    End::Client(conn) => self.client_heard(conn, heard),
                    End::Broker(conn) => self.broker_heard(conn, heard),
                }
            }
            for who in 0..self.people.len() {
                moved |= self.settle_person(who);
            }
            moved |= self.settle_broker();
            if !moved {
                return;
            }
        }
        panic!("the town spins at {} ns", self.now);
    }

    fn settle_person(&mut self, who: usize) -> bool {
        let now = self.clock();
        let Some(person) = self.people.get_mut(who) else { return false };
        let Some(engine) = person.engine.as_mut() else { return false };
        let (mut moved, mut out) = (false, Vec::new());
        while engine.poll_transmit(now, 1, &mut out).is_some() {
            (moved, person.datagrams) = (true, person.datagrams + 1);
            out.clear();
        }
        while let Some(effect) = engine.poll_effect() {
            moved = true;
            match effect {
                Effect::DialBroker => person.conn = Some(self.streams.dial(person.host, self.now)),
                Effect::ToBroker(bytes) => {
                    if let Some(conn) = person.conn {
                        self.streams.say(End::Client(conn), bytes, self.now);
                    }
                }
                Effect::CloseBroker => {
                    if let Some(conn) = person.conn.take() {
                        self.streams.close(End::Client(conn), self.now);
                    }
                }
                Effect::Commit { batch, .. } => engine.committed(batch, now),
                Effect::PinBroker(_)
                | Effect::Pin(_)
                | Effect::Repin { .. }
                | Effect::Follow { .. }
                | Effect::Mark(_)
                | Effect::Stand(_)
                | Effect::KeepContact(_)
                | Effect::Load { .. }
                | Effect::StartCarrier(_)
                | Effect::DialCarrier { .. }
                | Effect::Publish { .. }
                | Effect::StopCarrier { .. } => {}
            }
        }
        while let Some(event) = engine.poll_event() {
            moved = true;
            person.events.push(event);
        }
        if self.without == Some(Without::Patience) && person.broker() == Some(BrokerState::Lost) {
            person.engine = Some(person.program.start(self.secret.public(), self.rng.random(), now));
        }
        moved
    }

    fn client_heard(&mut self, conn: Conn, heard: Heard) {
        let now = self.clock();
        let Some(person) = self.people.iter_mut().find(|person| person.conn == Some(conn)) else { return };
        let Some(engine) = person.engine.as_mut() else { return };
        match heard {
            Heard::Opened => engine.broker_opened(UdpEndpoints::new([]), false, now),
            Heard::Bytes(bytes) => engine.broker_received(&bytes, now),
            Heard::Closed => {
                person.conn = None;
                engine.broker_closed("the broker closed the connection".to_owned(), now);
            }
        }
    }

    fn broker_heard(&mut self, conn: Conn, heard: Heard) {
        let now = self.clock();
        match heard {
            Heard::Opened => {
                let id = ConnId(self.rng.random());
                self.links.insert(conn, Link { id, bytes: Vec::new(), channel: None, login: None });
                self.registry.connected(id, conn.host(), now.moment);
            }
            Heard::Bytes(bytes) => self.broker_reads(conn, &bytes, now),
            Heard::Closed => {
                if let Some(link) = self.links.remove(&conn) {
                    self.registry.disconnected(link.id);
                }
            }
        }
    }

    fn broker_reads(&mut self, conn: Conn, bytes: &[u8], now: Now) {
        if let Some(link) = self.links.get_mut(&conn) {
            link.bytes.extend_from_slice(bytes);
        }
        while let Some(mut record) = self.links.get_mut(&conn).and_then(Link::record) {
            let Some(link) = self.links.get_mut(&conn) else { return };
            let Some((_, opener, hash)) = &mut link.channel else {
                let shaken = ServerHandshake::respond(&self.secret, &record, &mut self.rng);
                let (sealer, opener, hash, answer) = shaken.expect("a client of ours");
                link.channel = Some((sealer, opener, hash));
                self.streams.say(End::Broker(conn), frame(&answer), self.now);
                continue;
            };
            opener.open(&mut record).expect("a record of ours");
            match ToBroker::from_record(&record).expect("a message of ours") {
                (call, ToBroker::Hello(hello)) => {
                    assert!(verify_hello(hello.peer, hash, self.secret.public(), &hello.signature));
                    self.login(conn, call, &hello, now);
                }
                (call, message) => self.registry.handle(link.id, call, message, now.moment),
            }
        }
    }

    fn login(&mut self, conn: Conn, call: Call, hello: &Hello, now: Now) {
        let online = self.links.values().any(|link| link.login == Some(hello.peer));
        if self.without == Some(Without::NewestWins) && online {
            return self.hang_up(conn);
        }
        if let Some(link) = self.links.get_mut(&conn) {
            link.login = Some(hello.peer);
            self.logins += 1;
            self.registry.login(link.id, call, hello, now.wall, now.moment);
        }
    }

    fn hang_up(&mut self, conn: Conn) {
        if let Some(link) = self.links.remove(&conn) {
            self.registry.disconnected(link.id);
            self.streams.close(End::Broker(conn), self.now);
        }
    }

    fn settle_broker(&mut self) -> bool {
        let mut moved = false;
        while let Some(command) = self.registry.poll_command() {
            moved = true;
            match command {
                ToShell::Send { conn, call, message } => self.broker_says(conn, call, &message),
                ToShell::Close { why: CloseReason::Replaced, .. }
                    if self.without == Some(Without::Closing) => {}
                ToShell::Close { conn, .. } => {
                    if let Some(conn) = self.link_of(conn) {
                        self.hang_up(conn);
                    }
                }
                ToShell::Persist { ticket, .. } => self.registry.persisted(ticket, Ok(())),
            }
        }
        moved
    }

    fn link_of(&self, id: ConnId) -> Option<Conn> {
        self.links.iter().find(|(_, link)| link.id == id).map(|(conn, _)| *conn)
    }

    fn broker_says(&mut self, to: ConnId, call: Call, message: &FromBroker) {
        let untold = matches!(self.without, Some(Without::Replaced | Without::Closing));
        if untold && matches!(message, FromBroker::Replaced(_)) {
            return;
        }
        if self.passes.as_mut().is_some_and(|passes| !passes(message)) {
            return;
        }
        let Some(conn) = self.link_of(to) else { return };
        let Some(Link { channel: Some((sealer, ..)), .. }) = self.links.get_mut(&conn) else { return };
        let mut bytes = Vec::new();
        let record = message.to_record(call).expect("within its cap");
        sealer.seal(&record, &mut bytes).expect("a young link");
        self.streams.say(End::Broker(conn), bytes, self.now);
    }
}

impl Program {
    fn start(&self, broker: BrokerKey, seed: [u8; 32], now: Now) -> Engine {
        let pin =
            |(seed, name): &(u8, Name)| Pin { peer: identity(*seed).peer_id(), name: name.clone(), broker };
        let config = EngineConfig {
            me: Arc::new(identity(self.seed)),
            name: self.name.clone(),
            broker: "broker.example:7770".to_owned(),
            broker_key: Some(broker),
            pins: self.contacts.iter().map(pin).collect(),
            contacts: Vec::new(),
            accept: AcceptPolicy::Ask,
            accept_files: AcceptPolicy::Ask,
            read_receipts: true,
            expire: None,
            files_from_connected: false,
            ports: Ports { v4: 7000, v6: 0 },
            loopback_only: false,
        };
        Engine::new(config, seed, now)
    }
}

impl Link {
    /// The next whole record that came.
    fn record(&mut self) -> Option<Vec<u8>> {
        let (length, rest) = self.bytes.split_first_chunk::<2>()?;
        let length = usize::from(u16::from_be_bytes(*length));
        let record = rest.get(..length)?.to_vec();
        self.bytes.drain(..2 + length);
        Some(record)
    }
}

impl Resident {
    fn due(&self, without: Option<Without>) -> Option<Moment> {
        let clockless = matches!(without, Some(Without::ClientsClock | Without::AnyClock));
        let asleep = clockless && self.broker() == Some(BrokerState::Connected);
        self.engine.as_ref().filter(|_| !asleep).map(Engine::poll_timeout)
    }

    /// How its link was, each time that it changed.
    pub fn links(&self) -> impl DoubleEndedIterator<Item = (BrokerState, Option<&Failure>)> {
        self.events.iter().filter_map(|event| {
            let Event::Broker(broker) = event else { return None };
            Some((broker.state, broker.reason.as_ref()))
        })
    }

    /// How its link is.
    pub fn broker(&self) -> Option<BrokerState> {
        self.links().next_back().map(|(state, _)| state)
    }

    /// What it last heard of somebody's presence.
    pub fn presence_of(&self, peer: PeerId) -> Option<PersonStatus> {
        self.events.iter().rev().find_map(|event| {
            let Event::Presence(person) = event else { return None };
            (person.peer == peer).then_some(person.status)
        })
    }

    /// Requests of others that it was shown.
    pub fn requests(&self) -> usize {
        self.events.iter().filter(|event| matches!(event, Event::Request(_))).count()
    }
}
