//! The broker: its real rules, behind TCP links in virtual time.
//!
//! A link is a pipe each way that keeps its bytes while the way between is cut or somebody sleeps, as
//! TCP does by repeating them, and passes nothing more once the client's address is another one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;

use p2pchat_crypto::link::{BrokerSecret, LinkOpener, LinkSealer, ServerHandshake, frame, verify_hello};
use p2pchat_engine::Now;
use p2pchat_netsim::{HostId, InterfaceId, millis};
use p2pchat_proto::Moment;
use p2pchat_proto::broker::ToBroker;
use p2pchat_registry::{Command, Config, ConnId, Registry};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

/// How long a link whose way is cut waits before it tries again, nanoseconds.
const TRY_AGAIN: u64 = millis(400);
/// Bytes of a record's length field.
const LENGTH_LEN: usize = 2;

/// The broker and everybody's link to it.
#[derive(Debug)]
pub(crate) struct Broker {
    pub(crate) up: bool,
    secret: BrokerSecret,
    registry: Registry,
    rng: ChaCha20Rng,
    next: u64,
    pipes: BTreeMap<ConnId, Pipe>,
}

/// One TCP connection.
struct Pipe {
    host: HostId,
    /// The interfaces by which it leaves: the client's, and those of the NATs before it.
    door: Vec<InterfaceId>,
    delay: u64,
    /// The client's address as the broker sees it.
    seen_as: IpAddr,
    /// Its address has changed: nothing passes any more, and nobody is told.
    dead: bool,
    /// The client has not closed it.
    here: bool,
    /// The broker has it open.
    there: bool,
    up: VecDeque<(u64, Parcel)>,
    down: VecDeque<(u64, Parcel)>,
    bytes: Vec<u8>,
    channel: Option<(LinkSealer, LinkOpener, [u8; 32])>,
}

enum Parcel {
    Open,
    Bytes(Vec<u8>),
    Closed(&'static str),
}

/// What a client's kernel tells it.
#[derive(Debug)]
pub(crate) enum News {
    Opened,
    Bytes(Vec<u8>),
    Closed(&'static str),
}

impl std::fmt::Debug for Pipe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pipe").field("host", &self.host).field("dead", &self.dead).finish_non_exhaustive()
    }
}

impl Broker {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        Self {
            up: true,
            secret: BrokerSecret::generate(&mut rng).expect("randomness"),
            registry: Registry::new(Config::default(), None, []).expect("no accounts contradict nothing"),
            rng,
            next: 0,
            pipes: BTreeMap::new(),
        }
    }

    /// A client begins to connect.
    pub(crate) fn dial(
        &mut self,
        host: HostId,
        door: Vec<InterfaceId>,
        seen_as: IpAddr,
        delay: u64,
        at: u64,
    ) -> ConnId {
        self.next += 1;
        let conn = ConnId(self.next);
        let up = VecDeque::from([(at + delay, Parcel::Open)]);
        let pipe = Pipe {
            host,
            door,
            delay,
            seen_as,
            dead: false,
            here: true,
            there: false,
            up,
            down: VecDeque::new(),
            bytes: Vec::new(),
            channel: None,
        };
        self.pipes.insert(conn, pipe);
        conn
    }

    /// A client sends.
    pub(crate) fn send(&mut self, conn: ConnId, bytes: Vec<u8>, at: u64) {
        if let Some(pipe) = self.pipes.get_mut(&conn).filter(|pipe| !pipe.dead) {
            let due = at + pipe.delay;
            pipe.up.push_back((due, Parcel::Bytes(bytes)));
        }
    }

    /// A client closes its end, or its process ends.
    pub(crate) fn hang_up(&mut self, conn: ConnId, at: u64) {
        if let Some(pipe) = self.pipes.get_mut(&conn) {
            pipe.here = false;
            let due = at + pipe.delay;
            if !pipe.dead {
                pipe.up.push_back((due, Parcel::Closed("")));
            }
        }
    }

    /// What leaves by such a door now has another address.
    pub(crate) fn strand(&mut self, hit: impl Fn(&[InterfaceId]) -> bool) {
        for pipe in self.pipes.values_mut().filter(|pipe| hit(&pipe.door)) {
            pipe.dead = true;
            pipe.up.clear();
            pipe.down.clear();
        }
    }

    /// The broker's process dies: its kernel tells everybody.
    pub(crate) fn die(&mut self, at: u64) {
        self.up = false;
        let open: Vec<ConnId> =
            self.pipes.iter().filter(|(_, pipe)| pipe.there).map(|(conn, _)| *conn).collect();
        for conn in open {
            self.close(conn, "connection reset", at);
        }
        // What it still wanted to say to them is nobody's business any more.
        while self.registry.poll_command().is_some() {}
    }

    fn close(&mut self, conn: ConnId, why: &'static str, at: u64) {
        self.registry.disconnected(conn);
        if let Some(pipe) = self.pipes.get_mut(&conn) {
            pipe.there = false;
            if !pipe.dead {
                pipe.down.push_back((at + pipe.delay, Parcel::Closed(why)));
            }
        }
    }

    /// How many people the broker takes for present.
    pub(crate) fn online(&self) -> usize {
        self.registry.online()
    }

    /// When something is due on a link.
    pub(crate) fn next_parcel(&self) -> Option<u64> {
        let due =
            |pipe: &Pipe| [pipe.up.front(), pipe.down.front()].into_iter().flatten().map(|(at, _)| *at).min();
        self.pipes.values().filter_map(due).min()
    }

    /// When the registry wants to be woken, by its own clock.
    pub(crate) fn poll_timeout(&self) -> Option<Moment> {
        self.registry.poll_timeout().filter(|_| self.up)
    }

    pub(crate) fn handle_timeout(&mut self, now: Now) {
        if self.up && self.registry.poll_timeout().is_some_and(|due| due <= now.moment) {
            self.registry.handle_timeout(now.moment);
        }
    }

    /// The doors that are in use.
    pub(crate) fn doors(&self) -> impl Iterator<Item = (ConnId, HostId, &[InterfaceId])> {
        self.pipes.iter().map(|(conn, pipe)| (*conn, pipe.host, pipe.door.as_slice()))
    }

    /// Moves what is due, over the links whose way is `open` both ways at present.
    pub(crate) fn carry(&mut self, at: u64, now: Now, open: &BTreeSet<ConnId>) -> Vec<(ConnId, News)> {
        let mut news = Vec::new();
        let conns: Vec<ConnId> = self.pipes.keys().copied().collect();
        for conn in conns {
            self.carry_up(conn, at, now, open);
        }
        self.settle(at);
        for (conn, pipe) in &mut self.pipes {
            while let Some((due, _)) = pipe.down.front_mut().filter(|(due, _)| *due <= at) {
                if !open.contains(conn) {
                    *due = at + TRY_AGAIN;
                    break;
                }
                let Some((_, parcel)) = pipe.down.pop_front() else { break };
                if !pipe.here {
                    continue;
                }
                news.push((
                    *conn,
                    match parcel {
                        Parcel::Open => News::Opened,
                        Parcel::Bytes(bytes) => News::Bytes(bytes),
                        Parcel::Closed(why) => News::Closed(why),
                    },
                ));
            }
        }
        self.pipes.retain(|_, pipe| pipe.here || pipe.there || !pipe.up.is_empty());
        news
    }

    fn carry_up(&mut self, conn: ConnId, at: u64, now: Now, open: &BTreeSet<ConnId>) {
        while let Some(pipe) = self.pipes.get_mut(&conn) {
            let Some((due, _)) = pipe.up.front_mut().filter(|(due, _)| *due <= at) else { return };
            if !open.contains(&conn) {
                *due = at + TRY_AGAIN;
                return;
            }
            let Some((_, parcel)) = pipe.up.pop_front() else { return };
            let answer_at = at + pipe.delay;
            match parcel {
                Parcel::Open if self.up => {
                    pipe.there = true;
                    pipe.down.push_back((answer_at, Parcel::Open));
                    self.registry.connected(conn, pipe.seen_as, now.moment);
                }
                Parcel::Open => pipe.down.push_back((answer_at, Parcel::Closed("connection refused"))),
                Parcel::Bytes(bytes) if pipe.there => self.received(conn, &bytes, at, now),
                Parcel::Bytes(_) => {}
                Parcel::Closed(_) => {
                    if std::mem::take(&mut pipe.there) {
                        self.registry.disconnected(conn);
                    }
                }
            }
        }
    }

    fn received(&mut self, conn: ConnId, bytes: &[u8], at: u64, now: Now) {
        let Some(pipe) = self.pipes.get_mut(&conn) else { return };
        pipe.bytes.extend_from_slice(bytes);
        while let Some(pipe) = self.pipes.get_mut(&conn)
            && let Some((length, rest)) = pipe.bytes.split_first_chunk::<LENGTH_LEN>()
            && let Some(record) = rest.get(..usize::from(u16::from_be_bytes(*length)))
        {
            let mut record = record.to_vec();
            pipe.bytes.drain(..record.len() + LENGTH_LEN);
            let Some((_, opener, hash)) = &mut pipe.channel else {
                let (sealer, opener, hash, answer) =
                    ServerHandshake::respond(&self.secret, &record, &mut self.rng).expect("a client of ours");
                pipe.channel = Some((sealer, opener, hash));
                pipe.down.push_back((at + pipe.delay, Parcel::Bytes(frame(&answer))));
                continue;
            };
            opener.open(&mut record).expect("a record of ours");
            let (call, message) = ToBroker::from_record(&record).expect("a message of ours");
            if let ToBroker::Hello(hello) = message {
                let key = self.secret.public();
                assert!(verify_hello(hello.peer, hash, key, &hello.signature), "a login of ours");
                self.registry.login(conn, call, &hello, now.wall, now.moment);
            } else {
                self.registry.handle(conn, call, message, now.moment);
            }
        }
    }

    fn settle(&mut self, at: u64) {
        while let Some(command) = self.registry.poll_command() {
            match command {
                Command::Send { conn, call, message } => {
                    let Some(pipe) = self.pipes.get_mut(&conn).filter(|pipe| !pipe.dead) else { continue };
                    let Some((sealer, ..)) = &mut pipe.channel else { continue };
                    let record = message.to_record(call).expect("within its cap");
                    let mut bytes = Vec::new();
                    sealer.seal(&record, &mut bytes).expect("a fresh link");
                    let due = at + pipe.delay;
                    pipe.down.push_back((due, Parcel::Bytes(bytes)));
                }
                Command::Close { conn, .. } => self.close(conn, "the broker closed the connection", at),
                Command::Persist { ticket, .. } => self.registry.persisted(ticket, Ok(())),
            }
        }
    }
}
