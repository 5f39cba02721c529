//! A small world in virtual time: one broker, some people, one network. No socket, no clock, no
//! thread; what happens follows from the seed alone.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use p2pchat_conversation::Memory;
use p2pchat_crypto::link::{BrokerSecret, LinkOpener, LinkSealer, ServerHandshake, frame, verify_hello};
use p2pchat_crypto::{Identity, Seed};
use p2pchat_engine::event::{MessageEvent, SessionState};
use p2pchat_engine::{
    AcceptPolicy, Command, CommandId, Effect, Engine, EngineConfig, Event, Now, Pin, Ports, Target,
};
use p2pchat_netsim::{LinkConfig, Network};
use p2pchat_proto::broker::{FromBroker, ToBroker};
use p2pchat_proto::{BrokerKey, Moment, Name, PeerId, UdpEndpoints, WallTime};
use p2pchat_registry::{Command as ToShell, Config, ConnId, Registry, Ticket};
use p2pchat_session::{Contact, Received};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

mod places;
pub mod rotation;
pub mod sleep;

use sleep::Waiting;

/// 2026-01-01T00:00:00Z in milliseconds: what everybody's wall clock shows at the start.
const WALL_START: u64 = 1_767_225_600_000;
/// Turns without the clock moving after which something spins.
const SPIN: usize = 10_000;

/// Changes what the broker is about to say to somebody.
pub type Tamper = Box<dyn FnMut(&mut FromBroker)>;

pub struct World {
    pub now: u64,
    pub net: Network,
    pub people: Vec<Member>,
    pub broker: Broker,
    /// Whether nothing is printed at the end.
    pub quiet: bool,
    /// Turns since the clock moved.
    still: usize,
    next_command: u64,
    /// Processes that were started anew.
    lives: u8,
}

pub struct Member {
    pub engine: Engine,
    pub peer: PeerId,
    pub address: SocketAddr,
    pub events: Vec<Event>,
    pub pins: Vec<Pin>,
    /// What was pinned in the place of somebody else.
    pub repinned: Vec<(Pin, PeerId)>,
    /// What is kept of others, as it would be on the disk.
    pub contacts: Vec<Contact>,
    /// Datagrams that this member sent.
    pub datagrams: u64,
    /// How far this member's wall clock was set, milliseconds.
    pub wall_set: i64,
    /// What waits for this member while it sleeps.
    asleep: Option<VecDeque<Waiting>>,
    conn: Option<ConnId>,
    pub store: Memory,
}

pub struct Broker {
    pub up: bool,
    pub tamper: Option<Tamper>,
    /// Whether it says everything twice.
    pub repeat: bool,
    /// Whether nothing that it says arrives, while its connections stay.
    pub silent: bool,
    /// Whether names wait to be written until [`Broker::write`].
    pub slow: bool,
    unwritten: Vec<Ticket>,
    secret: BrokerSecret,
    registry: Registry,
    rng: ChaCha20Rng,
    next: u64,
    links: BTreeMap<ConnId, Link>,
    /// Bytes for clients, by connection.
    out: VecDeque<(ConnId, Vec<u8>)>,
    closed: VecDeque<ConnId>,
}

#[derive(Default)]
struct Link {
    bytes: Vec<u8>,
    channel: Option<(LinkSealer, LinkOpener, [u8; 32])>,
}

pub fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

/// How somebody answers requests unless a test says otherwise.
#[derive(Clone)]
pub struct Manner {
    pub accept: AcceptPolicy,
    pub pins: Vec<Pin>,
    pub contacts: Vec<Contact>,
    pub broker_key: Option<BrokerKey>,
}

impl Default for Manner {
    fn default() -> Self {
        Self { accept: AcceptPolicy::Ask, pins: Vec::new(), contacts: Vec::new(), broker_key: None }
    }
}

impl Drop for World {
    /// Whoever looks at a failure sees what to replay, and whether a replay was one. ML-KEM draws from
    /// the system, so content differs, but nothing else: the shape of the trace is what a seed gives.
    #[allow(clippy::print_stdout, reason = "a test shows its output when it fails")]
    fn drop(&mut self) {
        if self.quiet {
            return;
        }
        println!("simulation: seed {}, trace {:016x}", self.net.seed(), self.net.shape_hash());
    }
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let secret = BrokerSecret::generate(&mut rng).expect("randomness");
        let broker = Broker {
            up: true,
            tamper: None,
            repeat: false,
            silent: false,
            slow: false,
            unwritten: Vec::new(),
            secret,
            registry: Registry::new(Config::default(), None, []).expect("no accounts"),
            rng,
            next: 0,
            links: BTreeMap::new(),
            out: VecDeque::new(),
            closed: VecDeque::new(),
        };
        Self {
            now: 1_000_000_000,
            net: Network::new(seed),
            people: Vec::new(),
            broker,
            quiet: false,
            still: 0,
            next_command: 0,
            lives: 0,
        }
    }

    /// The identity of the member who will be number `index`.
    pub fn identity(index: usize) -> Identity {
        let byte = u8::try_from(index + 1).expect("few people");
        Identity::from_seed(&Seed::from_bytes([byte; 32]))
    }

    /// The key of the broker in the world of this seed.
    pub fn broker_key_of(seed: u64) -> BrokerKey {
        Self::new(seed).broker_key()
    }

    pub fn broker_key(&self) -> BrokerKey {
        self.broker.secret.public()
    }

    /// Adds somebody, linked to everybody else by `link`.
    pub fn join(&mut self, called: &str, manner: Manner, link: &LinkConfig) -> usize {
        let index = self.people.len();
        let peer = Self::identity(index).peer_id();
        let byte = u8::try_from(index + 1).expect("few people");
        let address = SocketAddr::from((Ipv4Addr::new(192, 0, 2, byte), 7000));
        for other in &self.people {
            self.net.link(address.ip(), other.address.ip(), *link);
        }
        let engine = self.engine(index, called, manner, address, 0);
        self.people.push(Member {
            engine,
            peer,
            address,
            events: Vec::new(),
            pins: Vec::new(),
            repinned: Vec::new(),
            contacts: Vec::new(),
            datagrams: 0,
            wall_set: 0,
            asleep: None,
            conn: None,
            store: Memory::new(),
        });
        self.settle();
        index
    }

    fn engine(&self, index: usize, called: &str, manner: Manner, at: SocketAddr, life: u8) -> Engine {
        let (config, seed) = Self::config(index, called, manner, at, life);
        Engine::new(config, seed, self.clock())
    }

    fn config(
        index: usize,
        called: &str,
        manner: Manner,
        at: SocketAddr,
        life: u8,
    ) -> (EngineConfig, [u8; 32]) {
        let config = EngineConfig {
            me: Arc::new(Self::identity(index)),
            name: name(called),
            broker: "broker.example:7770".into(),
            broker_key: manner.broker_key,
            pins: manner.pins,
            contacts: manner.contacts,
            accept: manner.accept,
            accept_files: AcceptPolicy::Ask,
            read_receipts: true,
            expire: None,
            files_from_connected: false,
            ports: Ports { v4: at.port(), v6: 0 },
            loopback_only: false,
        };
        let mut seed = [0xa5; 32];
        seed[0] = u8::try_from(index + 1).expect("few people");
        seed[1] = life;
        (config, seed)
    }

    pub fn clock(&self) -> Now {
        let wall = WallTime(WALL_START + self.now / 1_000_000);
        Now { moment: Moment::from_nanos(self.now), wall }
    }

    /// What somebody's clocks show.
    pub fn clock_of(&self, who: usize) -> Now {
        let now = self.clock();
        Now { wall: now.wall.shifted(self.people[who].wall_set), ..now }
    }

    pub fn command(&mut self, who: usize, command: Command) -> CommandId {
        self.next_command += 1;
        let id = CommandId(self.next_command);
        let now = self.clock_of(who);
        self.people[who].engine.handle_command(id, command, now);
        self.settle();
        id
    }

    pub fn connect(&mut self, who: usize, to: &str) -> CommandId {
        let wait = Duration::from_secs(60);
        self.command(who, Command::Connect { to: Target::Name(name(to)), wait })
    }

    pub fn say(&mut self, who: usize, to: usize, text: &str) {
        let to = self.people[to].peer;
        self.command(who, Command::Message { to, text: text.to_owned() });
    }

    /// The broker dies without a word.
    pub fn kill_broker(&mut self) {
        self.broker.up = false;
        let now = self.clock();
        for member in &mut self.people {
            if let Some(conn) = member.conn.take() {
                self.broker.hang_up(conn);
                member.engine.broker_closed("connection reset".to_owned(), now);
            }
        }
        self.settle();
    }

    /// Lets `time` pass.
    pub fn run_for(&mut self, time: Duration) {
        let end = self.now + u64::try_from(time.as_nanos()).expect("a short time");
        while self.step(end) {}
    }

    /// Lets time pass until `done` holds; panics after `limit`.
    pub fn run_until(&mut self, limit: Duration, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let end = self.now + u64::try_from(limit.as_nanos()).expect("a short time");
        while !done(self) {
            assert!(self.step(end), "{what} within {limit:?}; events: {:#?}", self.last_events());
        }
    }

    fn last_events(&self) -> Vec<&[Event]> {
        self.people.iter().map(|member| &member.events[member.events.len().saturating_sub(8)..]).collect()
    }

    /// Moves the clock to the next thing that happens, at most to `end`; false at `end`.
    fn step(&mut self, end: u64) -> bool {
        let awake = self.people.iter().filter(|member| member.asleep.is_none());
        let timers = awake.map(|member| member.engine.poll_timeout().as_nanos());
        let next = timers
            .chain(self.net.next_arrival())
            .chain(self.broker.registry.poll_timeout().map(Moment::as_nanos))
            .min()
            .unwrap_or(u64::MAX);
        if next > end {
            self.now = end;
            return false;
        }
        self.still = if next > self.now { 0 } else { self.still + 1 };
        assert!(self.still < SPIN, "somebody is due at {} ns, and does nothing", self.now);
        self.now = self.now.max(next);
        let now = self.clock();
        self.broker.registry.handle_timeout(now.moment);
        for who in 0..self.people.len() {
            let now = self.clock_of(who);
            let Member { engine, asleep, .. } = &mut self.people[who];
            if asleep.is_none() && engine.poll_timeout() <= now.moment {
                engine.handle_timeout(now);
            }
        }
        self.settle();
        true
    }

    /// Carries everything that needs no time.
    pub fn settle(&mut self) {
        for _ in 0..SPIN {
            let mut moved = false;
            for index in 0..self.people.len() {
                moved |= self.settle_member(index);
            }
            moved |= self.settle_broker();
            while let Some(datagram) = self.net.deliver(self.now) {
                moved = true;
                self.deliver(datagram.from, datagram.to, datagram.bytes);
            }
            if !moved {
                return;
            }
        }
        panic!("the world spins at {} ns", self.now);
    }

    fn deliver(&mut self, from: SocketAddr, to: SocketAddr, mut bytes: Vec<u8>) {
        if let Some(who) = self.people.iter().position(|member| member.address == to) {
            let now = self.clock_of(who);
            let member = &mut self.people[who];
            if let Some(waiting) = &mut member.asleep {
                Self::keep_for(waiting, Waiting::Datagram(from, bytes));
                return;
            }
            let received = Received { from, local_ip: None, ecn: None, segment_size: None };
            member.engine.handle_datagram(received, &mut bytes, now);
        }
    }

    fn settle_member(&mut self, index: usize) -> bool {
        let now = self.clock_of(index);
        let member = &mut self.people[index];
        if member.asleep.is_some() {
            return false;
        }
        let mut moved = false;
        while let Some(effect) = member.engine.poll_effect() {
            moved = true;
            match effect {
                Effect::DialBroker if self.broker.up => {
                    let conn = self.broker.connected(member.address.ip(), now);
                    member.conn = Some(conn);
                    member.engine.broker_opened(UdpEndpoints::new([member.address]), false, now);
                }
                Effect::DialBroker => member.engine.broker_closed("connection refused".to_owned(), now),
                Effect::ToBroker(bytes) => {
                    if let Some(conn) = member.conn {
                        self.broker.received(conn, &bytes, now);
                    }
                }
                Effect::CloseBroker => {
                    if let Some(conn) = member.conn.take() {
                        self.broker.hang_up(conn);
                    }
                }
                Effect::PinBroker(_) => {}
                Effect::Pin(pin) => member.pins.push(pin),
                Effect::Repin { pin, instead_of } => {
                    member.pins.retain(|pin| pin.peer != instead_of);
                    member.pins.push(pin.clone());
                    member.repinned.push((pin, instead_of));
                }
                Effect::Mark(_) | Effect::Stand(_) => {}
                Effect::Follow { old, new } => {
                    member.pins.iter_mut().filter(|pin| pin.peer == old).for_each(|pin| pin.peer = new);
                    member.contacts.retain(|kept| kept.peer != old);
                }
                Effect::KeepContact(contact) => {
                    member.contacts.retain(|kept| kept.peer != contact.peer);
                    member.contacts.extend(Some(contact).filter(|kept| !kept.generations.is_empty()));
                }
                Effect::Commit { batch, writes } => {
                    member.store.apply(&writes);
                    member.engine.committed(batch, now);
                }
                Effect::Load { query, peer } => {
                    let rows = member.store.rows(peer);
                    member.engine.loaded(query, rows, now);
                }
                Effect::StartCarrier(_)
                | Effect::DialCarrier { .. }
                | Effect::Publish { .. }
                | Effect::StopCarrier { .. } => panic!("no file is sent in this world"),
            }
        }
        let mut datagrams = Vec::new();
        while let Some(transmit) = member.engine.poll_transmit(now, 8, &mut datagrams) {
            moved = true;
            let size = transmit.segment_size.unwrap_or(datagrams.len()).max(1);
            for segment in datagrams.chunks(size) {
                member.datagrams += 1;
                self.net.send(self.now, member.address, transmit.to, segment);
            }
            datagrams.clear();
        }
        while let Some(event) = member.engine.poll_event() {
            moved = true;
            if let Event::Message(message) = &event
                && !message.mine
            {
                let message = message.message;
                member.engine.handle_command(CommandId(0), Command::Shown { message }, now);
            }
            member.events.push(event);
        }
        moved
    }

    fn settle_broker(&mut self) -> bool {
        let now = self.clock();
        let moved = self.broker.settle();
        while let Some((conn, bytes)) = self.broker.out.pop_front() {
            if self.broker.silent {
                continue;
            }
            if let Some(who) = self.people.iter().position(|member| member.conn == Some(conn)) {
                let now = self.clock_of(who);
                let Member { engine, asleep, .. } = &mut self.people[who];
                match asleep {
                    Some(waiting) => Self::keep_for(waiting, Waiting::FromBroker(bytes)),
                    None => engine.broker_received(&bytes, now),
                }
            }
        }
        while let Some(conn) = self.broker.closed.pop_front() {
            if let Some(member) = self.people.iter_mut().find(|member| member.conn == Some(conn)) {
                if let Some(waiting) = &mut member.asleep {
                    Self::keep_for(waiting, Waiting::BrokerGone);
                    continue;
                }
                member.conn = None;
                member.engine.broker_closed("the broker closed the connection".to_owned(), now);
            }
        }
        moved
    }
}

impl Member {
    /// Texts of others, in the order in which they were shown.
    pub fn heard(&self) -> Vec<&str> {
        self.messages().filter(|message| !message.mine).map(|message| &*message.text).collect()
    }

    pub fn messages(&self) -> impl Iterator<Item = &MessageEvent> {
        self.events.iter().filter_map(|event| match event {
            Event::Message(message) => Some(message),
            _ => None,
        })
    }

    /// States of sessions, in their order.
    pub fn sessions(&self) -> Vec<SessionState> {
        self.events
            .iter()
            .filter_map(|event| match event {
                Event::Session(session) => Some(session.state),
                _ => None,
            })
            .collect()
    }

    pub fn is_up(&self) -> bool {
        self.sessions().last() == Some(&SessionState::Up)
    }
}

impl Broker {
    /// A link ends.
    fn hang_up(&mut self, conn: ConnId) {
        self.links.remove(&conn);
        self.registry.disconnected(conn);
    }

    /// Writes what waits.
    pub fn write(&mut self) {
        for ticket in self.unwritten.drain(..) {
            self.registry.persisted(ticket, Ok(()));
        }
    }

    fn connected(&mut self, ip: IpAddr, now: Now) -> ConnId {
        self.next += 1;
        let conn = ConnId(self.next);
        self.links.insert(conn, Link::default());
        self.registry.connected(conn, ip, now.moment);
        conn
    }

    fn received(&mut self, conn: ConnId, bytes: &[u8], now: Now) {
        let Some(link) = self.links.get_mut(&conn) else { return };
        link.bytes.extend_from_slice(bytes);
        while link.bytes.len() >= 2 {
            let length = usize::from(u16::from_be_bytes([link.bytes[0], link.bytes[1]]));
            if link.bytes.len() < 2 + length {
                return;
            }
            let mut record: Vec<u8> = link.bytes.drain(..2 + length).skip(2).collect();
            let Some((_, opener, hash)) = &mut link.channel else {
                let (sealer, opener, hash, answer) =
                    ServerHandshake::respond(&self.secret, &record, &mut self.rng).expect("a client of ours");
                link.channel = Some((sealer, opener, hash));
                self.out.push_back((conn, frame(&answer)));
                continue;
            };
            opener.open(&mut record).expect("a record of ours");
            let (call, message) = ToBroker::from_record(&record).expect("a message of ours");
            match message {
                ToBroker::Hello(hello) => {
                    assert!(verify_hello(hello.peer, hash, self.secret.public(), &hello.signature));
                    self.registry.login(conn, call, &hello, now.wall, now.moment);
                }
                ToBroker::Rotate(rotate) => {
                    assert!(rotation::is_signed(&rotate, hash, self.secret.public()));
                    self.registry.rotate(conn, call, rotate, now.moment);
                }
                message => self.registry.handle(conn, call, message, now.moment),
            }
        }
    }

    fn settle(&mut self) -> bool {
        let mut moved = false;
        while let Some(command) = self.registry.poll_command() {
            moved = true;
            match command {
                ToShell::Send { conn, call, mut message } => {
                    if let Some(tamper) = &mut self.tamper {
                        tamper(&mut message);
                    }
                    let Some(Link { channel: Some((sealer, ..)), .. }) = self.links.get_mut(&conn) else {
                        continue;
                    };
                    let record = message.to_record(call).expect("within its cap");
                    for _ in 0..1 + usize::from(self.repeat) {
                        let mut bytes = Vec::new();
                        sealer.seal(&record, &mut bytes).expect("a fresh link");
                        self.out.push_back((conn, bytes));
                    }
                }
                ToShell::Close { conn, .. } => {
                    self.hang_up(conn);
                    self.closed.push_back(conn);
                }
                ToShell::Persist { ticket, .. } if self.slow => self.unwritten.push(ticket),
                ToShell::Persist { ticket, .. } => self.registry.persisted(ticket, Ok(())),
            }
        }
        moved
    }
}
