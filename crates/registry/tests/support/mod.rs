//! A registry with its commands taken apart, for tests.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use p2pchat_proto::broker::*;
use p2pchat_proto::offer::SignedOffer;
use p2pchat_proto::{Moment, Name, PeerId, RequestId, WallTime};
use p2pchat_registry::{Account, CloseReason, Command, Config, ConnId, Registry, StoreFailed, Ticket};

pub(crate) const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

/// Drives a [`Registry`] and sorts what comes out.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) registry: Registry,
    pub(crate) now: Moment,
    /// Connections whose socket is there.
    pub(crate) open: BTreeSet<ConnId>,
    pub(crate) sent: BTreeMap<ConnId, Vec<(Call, FromBroker)>>,
    pub(crate) closed: BTreeMap<ConnId, CloseReason>,
    pub(crate) writes: Vec<(Ticket, Account)>,
    next_conn: u64,
    next_call: Call,
}

impl World {
    pub(crate) fn new(config: Config) -> Self {
        Self::with_accounts(config, [])
    }

    pub(crate) fn with_accounts(config: Config, accounts: impl IntoIterator<Item = Account>) -> Self {
        Self {
            registry: Registry::new(config, None, accounts).unwrap(),
            now: Moment::from_nanos(1),
            open: BTreeSet::new(),
            sent: BTreeMap::new(),
            closed: BTreeMap::new(),
            writes: Vec::new(),
            next_conn: 0,
            next_call: 0,
        }
    }

    pub(crate) fn connect_from(&mut self, ip: IpAddr) -> ConnId {
        self.next_conn += 1;
        let conn = ConnId(self.next_conn);
        self.open.insert(conn);
        self.registry.connected(conn, ip, self.now);
        self.drain();
        conn
    }

    pub(crate) fn login(&mut self, conn: ConnId, peer: PeerId) {
        let hello = Hello { versions: vec![1], features: 0, peer, signature: [0; 64] };
        self.registry.login(conn, 1, &hello, WallTime(7), self.now);
        self.drain();
    }

    /// A connection from loopback that is logged in, its welcome taken.
    pub(crate) fn join(&mut self, peer: PeerId) -> ConnId {
        let conn = self.connect_from(LOOPBACK);
        self.login(conn, peer);
        let welcome = Welcome { version: 1, now: WallTime(7), features: FEATURE_STANDING, next_key: None };
        assert_eq!(self.take(conn), [(1, FromBroker::from(welcome))]);
        conn
    }

    /// Says `message` and returns the replies to it, if any came at once.
    pub(crate) fn call(&mut self, conn: ConnId, message: impl Into<ToBroker>) -> Option<Outcome> {
        self.next_call += 1;
        let call = self.next_call;
        self.registry.handle(conn, call, message.into(), self.now);
        self.drain();
        let sent = self.sent.get_mut(&conn)?;
        let at =
            sent.iter().position(|(to, message)| *to == call && matches!(message, FromBroker::Reply(_)))?;
        let (_, FromBroker::Reply(reply)) = sent.remove(at) else { unreachable!() };
        Some(reply.outcome)
    }

    /// Registers and stores `name`.
    pub(crate) fn register(&mut self, conn: ConnId, name: &str) {
        assert_eq!(self.call(conn, register(name)), None);
        self.persist(Ok(()));
        assert_eq!(self.outcomes(conn), [Outcome::Done]);
    }

    /// Ends the oldest write.
    pub(crate) fn persist(&mut self, result: Result<(), StoreFailed>) {
        let (ticket, _) = self.writes.remove(0);
        self.registry.persisted(ticket, result);
        self.drain();
    }

    pub(crate) fn disconnect(&mut self, conn: ConnId) {
        self.open.remove(&conn);
        self.registry.disconnected(conn);
        self.drain();
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.registry.poll_timeout().filter(|at| *at <= end) {
            assert!(at >= self.now, "a wake-up in the past would spin");
            self.now = at;
            self.registry.handle_timeout(at);
            self.drain();
        }
        self.now = end;
    }

    /// All that was sent to `conn` since it was last taken.
    pub(crate) fn take(&mut self, conn: ConnId) -> Vec<(Call, FromBroker)> {
        self.sent.remove(&conn).unwrap_or_default()
    }

    /// Like [`take`](Self::take), where only replies came.
    pub(crate) fn outcomes(&mut self, conn: ConnId) -> Vec<Outcome> {
        let outcome = |(_, message)| match message {
            FromBroker::Reply(reply) => reply.outcome,
            other => panic!("{other:?}"),
        };
        self.take(conn).into_iter().map(outcome).collect()
    }

    /// Like [`take`](Self::take), where the broker spoke by itself.
    pub(crate) fn heard(&mut self, conn: ConnId) -> Vec<FromBroker> {
        let by_itself = |(call, message)| {
            assert_eq!(call, 0, "{message:?}");
            message
        };
        self.take(conn).into_iter().map(by_itself).collect()
    }

    pub(crate) fn assert_silent(&self) {
        assert!(self.sent.values().all(Vec::is_empty), "{:?}", self.sent);
        assert!(self.closed.is_empty(), "{:?}", self.closed);
    }

    pub(crate) fn drain(&mut self) {
        while let Some(command) = self.registry.poll_command() {
            match command {
                Command::Send { conn, call, message } => {
                    assert!(!self.closed.contains_key(&conn), "said {message:?} after the end");
                    assert!(self.open.contains(&conn), "said {message:?} to nobody");
                    self.sent.entry(conn).or_default().push((call, message));
                }
                Command::Close { conn, why } => {
                    assert!(self.open.contains(&conn), "closed nobody");
                    assert_eq!(self.closed.insert(conn, why), None, "closed twice");
                }
                Command::Persist { ticket, account } => self.writes.push((ticket, account)),
            }
        }
    }
}

pub(crate) fn peer(n: u8) -> PeerId {
    PeerId([n; 32])
}

pub(crate) fn id(n: u8) -> RequestId {
    RequestId([n; 16])
}

pub(crate) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

pub(crate) fn register(text: &str) -> Register {
    Register { name: name(text), token: None }
}

pub(crate) fn offer(n: u8) -> SignedOffer {
    SignedOffer { body: vec![n; 10], signature: [n; 64] }
}

pub(crate) fn accept(request: RequestId) -> Answer {
    let endpoints = SealedEndpoints::new(vec![5; 40]).unwrap();
    Answer { request, answer: AnswerBody::Accept { offer: offer(9), endpoints } }
}

pub(crate) fn decline(request: RequestId) -> Answer {
    Answer { request, answer: AnswerBody::Decline { reason: Reason::new("busy") } }
}

pub(crate) fn endpoints(request: RequestId) -> Endpoints {
    Endpoints { request, sealed: SealedEndpoints::new(vec![6; 40]).unwrap() }
}

pub(crate) fn request(n: u8, to: Option<PeerId>, to_name: Option<&str>) -> Request {
    Request { request: id(n), to, name: to_name.map(name), offer: offer(n) }
}

pub(crate) fn peer_of(n: u32) -> PeerId {
    let mut bytes = [0xff; 32];
    bytes[..4].copy_from_slice(&n.to_be_bytes());
    PeerId(bytes)
}
