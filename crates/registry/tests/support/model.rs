//! The registry against a plain model: what a list and a loop would answer.

use std::collections::BTreeMap;
use std::time::Duration;

use p2pchat_proto::Moment;
use p2pchat_proto::broker::*;
use p2pchat_registry::limits::WAITERS_MAX;
use p2pchat_registry::{AccountState, Config, ConnId, Rate, StoreFailed};

use super::support::*;

pub(crate) const PEERS: u8 = 4;
pub(crate) const NAMES: [&str; 3] = ["ann", "ben", "cat"];
pub(crate) const IDS: u8 = 6;
const REQUEST_S: u64 = 120;
const ACCEPTED_S: u64 = 60;

/// What happens, to or by the identity, name or request of a number.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    Join(u8),
    Leave(u8),
    Register(u8, usize),
    Unregister(u8),
    Written(bool),
    Request { from: u8, to: Option<u8>, name: Option<usize>, id: u8 },
    Accept(u8, u8),
    Decline(u8, u8),
    Cancel(u8, u8),
    Endpoints(u8, u8),
    Pass(u64),
}

#[derive(Debug, Clone, PartialEq)]
struct Asked {
    id: u8,
    from: u8,
    to: u8,
    accepted: bool,
    ends: Moment,
}

#[derive(Debug, Default)]
struct Model {
    online: BTreeMap<u8, ConnId>,
    /// What the disk has: name, owner, in use.
    stored: Vec<(usize, u8, bool)>,
    /// Writes under way, in their order.
    writing: Vec<(usize, u8, bool)>,
    /// Calls that wait for the write of an identity.
    waiting: BTreeMap<u8, usize>,
    requests: Vec<Asked>,
}

impl Model {
    fn owner(&self, name: usize) -> Option<u8> {
        let known = self.stored.iter().chain(&self.writing);
        known.filter(|(n, ..)| *n == name).map(|(_, p, _)| *p).next()
    }

    fn found(&self, name: usize) -> Option<u8> {
        self.stored.iter().find(|(n, _, held)| *n == name && *held).map(|(_, p, _)| *p)
    }

    fn name_of(&self, peer: u8) -> Option<usize> {
        self.stored.iter().find(|(_, p, held)| *p == peer && *held).map(|(n, ..)| *n)
    }

    fn write_of(&self, peer: u8) -> Option<(usize, u8, bool)> {
        self.writing.iter().find(|(_, p, _)| *p == peer).copied()
    }

    /// The expected outcome at once; `None` where the answer waits for the disk.
    fn register(&mut self, peer: u8, name_: usize) -> Option<Outcome> {
        if self.owner(name_).is_some_and(|owner| owner != peer) {
            return Some(Outcome::NameTaken);
        }
        let mine = self.write_of(peer).map(|(n, ..)| n).or(self.name_of(peer));
        if let Some(other) = mine.filter(|mine| *mine != name_) {
            return Some(Outcome::NameHeld(name(NAMES[other])));
        }
        match self.write_of(peer) {
            Some((.., true)) => self.join(peer),
            Some((.., false)) => Some(Outcome::Unavailable),
            None if self.name_of(peer) == Some(name_) => Some(Outcome::Done),
            None => {
                self.writing.push((name_, peer, true));
                self.waiting.insert(peer, 1);
                None
            }
        }
    }

    /// Another call waits for the write of this identity, as far as there is room.
    fn join(&mut self, peer: u8) -> Option<Outcome> {
        let waiting = self.waiting.entry(peer).or_default();
        if *waiting >= WAITERS_MAX {
            return Some(Outcome::Unavailable);
        }
        *waiting += 1;
        None
    }

    fn unregister(&mut self, peer: u8) -> Option<Outcome> {
        match (self.write_of(peer), self.name_of(peer)) {
            (Some((.., true)), _) => Some(Outcome::Unavailable),
            (Some((.., false)), _) => self.join(peer),
            (None, None) => Some(Outcome::Done),
            (None, Some(name)) => {
                self.writing.push((name, peer, false));
                self.waiting.insert(peer, 1);
                None
            }
        }
    }

    fn request(&mut self, from: u8, to: Option<u8>, name: Option<usize>, id: u8, now: Moment) -> Outcome {
        let holder = name.and_then(|name| self.found(name));
        if let (Some(to), Some(holder)) = (to, holder)
            && to != holder
        {
            return Outcome::BoundTo(peer(holder));
        }
        let Some(to) = to.or(holder).filter(|to| *to != from) else { return Outcome::Unknown };
        if !self.online.contains_key(&to) {
            let public = self.name_of(to).is_some();
            return if public { Outcome::NotOnline } else { Outcome::Unknown };
        }
        let ends = now + Duration::from_secs(REQUEST_S);
        if let Some(known) = self.requests.iter_mut().find(|asked| asked.id == id) {
            if (known.from, known.to, known.accepted) != (from, to, false) {
                return Outcome::Unavailable;
            }
            known.ends = ends;
            return Outcome::Done;
        }
        self.requests.retain(|asked| (asked.from, asked.to, asked.accepted) != (from, to, false));
        self.requests.push(Asked { id, from, to, accepted: false, ends });
        Outcome::Done
    }

    fn answer(&mut self, by: u8, id: u8, accept: bool, now: Moment) -> Outcome {
        let mine = |asked: &Asked| asked.id == id && asked.to == by && !asked.accepted;
        let Some(at) = self.requests.iter().position(mine) else { return Outcome::NoSuchRequest };
        if accept {
            self.requests[at].accepted = true;
            self.requests[at].ends = now + Duration::from_secs(ACCEPTED_S);
        } else {
            self.requests.remove(at);
        }
        Outcome::Done
    }

    fn cancel(&mut self, by: u8, id: u8) -> Outcome {
        let before = self.requests.len();
        self.requests.retain(|asked| (asked.id, asked.from, asked.accepted) != (id, by, false));
        if self.requests.len() < before { Outcome::Done } else { Outcome::NoSuchRequest }
    }

    fn endpoints(&self, by: u8, id: u8) -> Outcome {
        let ours = |asked: &&Asked| asked.id == id && asked.accepted && [asked.from, asked.to].contains(&by);
        if self.requests.iter().any(|asked| ours(&asked)) { Outcome::Done } else { Outcome::NoSuchRequest }
    }
}

/// Both at once, compared after every step.
pub(crate) struct Pair {
    pub(crate) world: World,
    model: Model,
    /// What was heard by each identity since the last step, requests only.
    incoming: Vec<(u8, u8)>,
}

impl Pair {
    pub(crate) fn new() -> Self {
        let free = Rate { burst: u32::MAX, refill: Duration::from_nanos(1) };
        let config = Config {
            requests: free,
            requests_per_pair: free,
            messages: free,
            pages: free,
            ..Config::default()
        };
        Self { world: World::new(config), model: Model::default(), incoming: Vec::new() }
    }

    fn call(&mut self, by: u8, message: impl Into<ToBroker>) -> Option<Option<Outcome>> {
        let conn = *self.model.online.get(&by)?;
        Some(self.world.call(conn, message))
    }

    pub(crate) fn step(&mut self, op: Op) {
        let now = self.world.now;
        match op {
            Op::Join(p) => {
                let conn = self.world.join(peer(p));
                if self.model.online.insert(p, conn).is_some() {
                    self.forget_requests_of(p);
                }
            }
            Op::Leave(p) => {
                let Some(conn) = self.model.online.remove(&p) else { return };
                self.world.disconnect(conn);
                self.forget_requests_of(p);
            }
            Op::Register(p, n) => {
                let Some(seen) = self.call(p, register(NAMES[n])) else { return };
                assert_eq!(seen, self.model.register(p, n));
            }
            Op::Unregister(p) => {
                let Some(seen) = self.call(p, Unregister) else { return };
                assert_eq!(seen, self.model.unregister(p));
            }
            Op::Written(well) => self.written(well),
            Op::Request { from, to, name, id } => {
                let to_name = name.map(|name| NAMES[name]);
                let Some(seen) = self.call(from, request(id, to.map(peer), to_name)) else { return };
                let before = self.model.requests.iter().any(|asked| asked.id == id);
                assert_eq!(seen, Some(self.model.request(from, to, name, id, now)));
                let forwarded = seen == Some(Outcome::Done) && !before;
                if forwarded {
                    let to = self.model.requests.iter().find(|asked| asked.id == id).unwrap().to;
                    self.incoming.push((to, id));
                }
            }
            Op::Accept(by, r) => {
                let Some(seen) = self.call(by, accept(id(r))) else { return };
                assert_eq!(seen, Some(self.model.answer(by, r, true, now)));
            }
            Op::Decline(by, r) => {
                let Some(seen) = self.call(by, decline(id(r))) else { return };
                assert_eq!(seen, Some(self.model.answer(by, r, false, now)));
            }
            Op::Cancel(by, r) => {
                let Some(seen) = self.call(by, Cancel { request: id(r) }) else { return };
                assert_eq!(seen, Some(self.model.cancel(by, r)));
            }
            Op::Endpoints(by, r) => {
                let Some(seen) = self.call(by, endpoints(id(r))) else { return };
                assert_eq!(seen, Some(self.model.endpoints(by, r)));
            }
            Op::Pass(seconds) => self.pass(seconds),
        }
        self.compare();
    }

    fn forget_requests_of(&mut self, p: u8) {
        self.model.requests.retain(|asked| asked.from != p && asked.to != p);
    }

    fn written(&mut self, well: bool) {
        assert_eq!(self.world.writes.len(), self.model.writing.len());
        if self.model.writing.is_empty() {
            return;
        }
        let (n, p, held) = self.model.writing.remove(0);
        self.model.waiting.remove(&p);
        let account = &self.world.writes[0].1;
        assert_eq!((account.name.as_str(), account.peer), (NAMES[n], peer(p)));
        assert_eq!(account.state == AccountState::Held, held);
        self.world.persist(if well { Ok(()) } else { Err(StoreFailed) });
        if well {
            self.model.stored.retain(|(stored, ..)| *stored != n);
            self.model.stored.push((n, p, held));
        }
    }

    /// Time passes while every client pings.
    fn pass(&mut self, seconds: u64) {
        for conn in self.model.online.values() {
            self.world.call(*conn, Ping);
        }
        self.world.pass(Duration::from_secs(seconds));
        let now = self.world.now;
        self.model.requests.retain(|asked| asked.ends > now);
    }

    fn compare(&mut self) {
        let mut heard = Vec::new();
        for (p, conn) in &self.model.online {
            for (_, message) in self.world.take(*conn) {
                if let FromBroker::Incoming(incoming) = message {
                    heard.push((*p, incoming.request.0[0]));
                }
            }
        }
        assert_eq!(
            heard,
            core::mem::take(&mut self.incoming),
            "each request is heard once, by the one meant"
        );
        assert_eq!(self.world.registry.online(), self.model.online.len());
        let Some(&conn) = self.model.online.values().next() else { return };
        let page = self.world.call(conn, Directory { prefix: String::new(), cursor: None });
        let mut expected: Vec<_> = (self.model.stored.iter())
            .filter(|(_, p, held)| *held && self.model.online.contains_key(p))
            .map(|(n, p, _)| DirectoryEntry { name: name(NAMES[*n]), peer: peer(*p), status: Status::Online })
            .collect();
        expected.sort_by(|a, b| a.name.cmp(&b.name));
        assert_eq!(page, Some(Outcome::Page { people: expected, more: false }));
    }

    /// Whatever happened: when all are gone, nothing is left to wait for.
    pub(crate) fn everybody_leaves(&mut self) {
        for p in 0..PEERS {
            self.step(Op::Leave(p));
        }
        for conn in self.world.closed.clone().into_keys() {
            self.world.disconnect(conn);
        }
        self.world.pass(Duration::from_secs(300));
        assert_eq!(self.world.registry.poll_timeout(), None);
    }
}
