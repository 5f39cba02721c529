//! Connections from their beginning to their end, and all timers.

use core::net::IpAddr;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use p2pchat_proto::broker::{
    Call, Cancelled, CancelledWhy, FEATURE_STANDING, FromBroker, Hello, Refused, RefusedCode, Replaced,
    Restarting, Unsupported, VERSIONS_MAX, Welcome,
};
use p2pchat_proto::limits::PROTOCOL_VERSION;
use p2pchat_proto::{BrokerKey, Moment, Name, PeerId, WallTime};

use crate::address::Address;
use crate::command::{CloseReason, Command, ConnId};
use crate::connection::{Connection, Member, State};
use crate::limits::{
    Config, DEAD_AFTER, HELLO_WITHIN, RECONNECT_LEAST_MS, RECONNECT_SPREAD_MS, RETRY_WHEN_FULL_S,
};
use crate::names::{Account, Conflict, Names};
use crate::presence::Watchers;
use crate::rate::{Limiter, seconds};
use crate::requests::{Ended, Requests};

/// All that one broker knows. See the crate's first page for how to drive it.
#[derive(Debug)]
pub struct Registry {
    pub(crate) config: Config,
    next_key: Option<BrokerKey>,
    pub(crate) connections: BTreeMap<ConnId, Connection>,
    /// When each connection is to be looked at next.
    wakes: BTreeSet<(Moment, ConnId)>,
    /// Connections at a time, where limits count.
    per_address: BTreeMap<Address, usize>,
    pub(crate) online: BTreeMap<PeerId, ConnId>,
    /// Who is online under which name, and shown to everybody.
    pub(crate) directory: BTreeMap<Name, PeerId>,
    pub(crate) names: Names,
    pub(crate) watchers: Watchers,
    pub(crate) requests: Requests,
    connects: Limiter<Address>,
    pub(crate) registrations: Limiter<Address>,
    pub(crate) pairs: Limiter<(PeerId, PeerId)>,
    /// When full buckets are to be forgotten, if any bucket is kept.
    sweep: Option<Moment>,
    commands: VecDeque<Command>,
}

impl Registry {
    /// A broker without connections that knows `accounts`, and announces `next_key` where a change
    /// of its key is planned.
    ///
    /// # Errors
    /// If the accounts contradict each other.
    pub fn new(
        config: Config,
        next_key: Option<BrokerKey>,
        accounts: impl IntoIterator<Item = Account>,
    ) -> Result<Self, Conflict> {
        Ok(Self {
            config,
            next_key,
            connections: BTreeMap::new(),
            wakes: BTreeSet::new(),
            per_address: BTreeMap::new(),
            online: BTreeMap::new(),
            directory: BTreeMap::new(),
            names: Names::load(accounts)?,
            watchers: Watchers::default(),
            requests: Requests::default(),
            connects: Limiter::new(config.connects),
            registrations: Limiter::new(config.registrations),
            pairs: Limiter::new(config.requests_per_pair),
            sweep: None,
            commands: VecDeque::new(),
        })
    }

    /// A connection came from `ip`. Where there is no room for it, it is told so and closed; where
    /// too many came from its address lately, it is closed without a word.
    pub fn connected(&mut self, conn: ConnId, ip: IpAddr, now: Moment) {
        let address = Address::of(ip);
        let full = self.connections.len() >= self.config.max_connections;
        let wakes = now + HELLO_WITHIN;
        self.wakes.insert((wakes, conn));
        self.connections.insert(conn, Connection { address, heard: now, wakes, state: State::Greeting });
        let from_here = self.per_address.entry(address).or_insert(0);
        *from_here += 1;
        let crowded = *from_here > self.config.connections_per_address;
        if full {
            return self.refuse(conn, RefusedCode::Full, RETRY_WHEN_FULL_S);
        }
        if address.is_loopback() {
            return;
        }
        if crowded {
            return self.refuse(conn, RefusedCode::RateLimited, RETRY_WHEN_FULL_S);
        }
        if self.connects.take(address, now).is_err() {
            self.close(conn, CloseReason::TooOften);
        }
        self.sweep_later(now);
    }

    /// The client said `hello`, and its signature was right. `call` is the hello's number, `wall`
    /// what the broker's clock shows.
    pub fn login(&mut self, conn: ConnId, call: Call, hello: &Hello, wall: WallTime, now: Moment) {
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        match connection.state {
            State::Greeting => {}
            State::Member(_) => return self.refuse(conn, RefusedCode::Protocol, 0),
            State::Closing => return,
        }
        if hello.versions.len() > VERSIONS_MAX {
            return self.refuse(conn, RefusedCode::Protocol, 0);
        }
        if !hello.versions.contains(&PROTOCOL_VERSION) {
            return self.refuse(conn, RefusedCode::Version, 0);
        }
        connection.heard = now;
        // Taken before the state, which is what is looked at.
        let seen = self.seen(hello.peer);
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        connection.state = State::Member(Box::new(Member::new(hello.peer, hello.features)));
        let (next_key, features) = (self.next_key, FEATURE_STANDING);
        self.send(conn, call, Welcome { version: PROTOCOL_VERSION, now: wall, features, next_key });
        let older = self.online.insert(hello.peer, conn);
        self.stands_otherwise(hello.peer, seen);
        let Some(older) = older else { return };
        // The identity stays online; what hung on the older connection does not.
        self.send(older, 0, Replaced);
        self.detach(older);
        for ended in self.requests.leave(hello.peer) {
            self.tell_gone(hello.peer, &ended);
        }
        self.close(older, CloseReason::Replaced);
    }

    /// The client said a hello whose signature is wrong.
    pub fn hello_forged(&mut self, conn: ConnId) {
        self.refuse(conn, RefusedCode::Signature, 0);
    }

    /// The client said something that is no message.
    pub fn malformed(&mut self, conn: ConnId) {
        self.refuse(conn, RefusedCode::Protocol, 0);
    }

    /// The client said something of a later version.
    pub fn unknown_kind(&mut self, conn: ConnId, call: Call, kind: u8, now: Moment) {
        if self.heard(conn, now).is_some() {
            self.send(conn, call, Unsupported { kind });
        }
    }

    /// The connection's socket is gone, or could not take what was sent to it.
    pub fn disconnected(&mut self, conn: ConnId) {
        self.leave(conn);
        let Some(connection) = self.connections.remove(&conn) else { return };
        self.wakes.remove(&(connection.wakes, conn));
        let Some(from_there) = self.per_address.get_mut(&connection.address) else { return };
        *from_there -= 1;
        if *from_there == 0 {
            self.per_address.remove(&connection.address);
        }
    }

    /// The broker is about to stop: every client is told to come back, each a little later.
    pub fn drain(&mut self) {
        let open = |(&conn, connection): (&ConnId, &Connection)| match connection.state {
            State::Greeting | State::Member(_) => Some(conn),
            State::Closing => None,
        };
        let all: Vec<ConnId> = self.connections.iter().filter_map(open).collect();
        let count = u64::try_from(all.len()).unwrap_or(u64::MAX).max(1);
        for (n, conn) in (0u64..).zip(all) {
            let share = u64::from(RECONNECT_SPREAD_MS) * n / count;
            let reconnect_in =
                RECONNECT_LEAST_MS.saturating_add(u32::try_from(share).unwrap_or(RECONNECT_SPREAD_MS));
            self.send(conn, 0, Restarting { reconnect_in });
            // Nobody needs to hear that the others leave: all do.
            if let Some(peer) = self.detach(conn) {
                self.go_offline(peer);
            }
            self.close(conn, CloseReason::Draining);
        }
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Moment) {
        while let Some(&(at, conn)) = self.wakes.first()
            && at <= now
        {
            self.wakes.pop_first();
            self.look_at(conn, now);
        }
        for ended in self.requests.expire(now) {
            self.tell_end(ended.from, &ended, CancelledWhy::Expired);
            self.tell_end(ended.to, &ended, CancelledWhy::Expired);
        }
        if self.sweep.is_some_and(|at| at <= now) {
            self.sweep = None;
            self.connects.forget_full(now);
            self.registrations.forget_full(now);
            self.pairs.forget_full(now);
            self.sweep_later(now);
        }
    }

    /// The next thing to do.
    pub fn poll_command(&mut self) -> Option<Command> {
        let command = self.commands.pop_front();
        if self.commands.is_empty() {
            self.commands.shrink_to(COMMANDS_KEPT);
        }
        command
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn poll_timeout(&self) -> Option<Moment> {
        let wakes = self.wakes.first().map(|&(at, _)| at);
        [wakes, self.requests.next_expiry(), self.sweep].into_iter().flatten().min()
    }

    /// Connections that are logged in.
    pub fn online(&self) -> usize {
        self.online.len()
    }

    /// Notes that `conn` spoke. Its login, unless it has none, which ends the connection, or it
    /// speaks too much, which ends it too.
    pub(crate) fn heard(&mut self, conn: ConnId, now: Moment) -> Option<PeerId> {
        let connection = self.connections.get_mut(&conn)?;
        match &mut connection.state {
            State::Greeting => {
                self.refuse(conn, RefusedCode::Protocol, 0);
                None
            }
            State::Member(member) => {
                connection.heard = now;
                let peer = member.peer;
                let Err(wait) = member.messages.take(self.config.messages, now) else {
                    return Some(peer);
                };
                self.refuse(conn, RefusedCode::RateLimited, seconds(wait));
                None
            }
            State::Closing => None,
        }
    }

    /// The login of `conn`, while it counts.
    pub(crate) fn member(&mut self, conn: ConnId) -> Option<&mut Member> {
        match &mut self.connections.get_mut(&conn)?.state {
            State::Member(member) => Some(member),
            State::Greeting | State::Closing => None,
        }
    }

    pub(crate) fn send(&mut self, conn: ConnId, call: Call, message: impl Into<FromBroker>) {
        self.commands.push_back(Command::Send { conn, call, message: message.into() });
    }

    pub(crate) fn send_to_peer(&mut self, peer: PeerId, message: impl Into<FromBroker>) {
        if let Some(&conn) = self.online.get(&peer) {
            self.send(conn, 0, message);
        }
    }

    pub(crate) fn command(&mut self, command: Command) {
        self.commands.push_back(command);
    }

    /// The client goes on purpose.
    pub(crate) fn bye(&mut self, conn: ConnId) {
        self.leave(conn);
        self.close(conn, CloseReason::Left);
    }

    /// Sees to it that full buckets are forgotten some time after `now`.
    pub(crate) fn sweep_later(&mut self, now: Moment) {
        let kept = !(self.connects.is_empty() && self.registrations.is_empty() && self.pairs.is_empty());
        if kept && self.sweep.is_none() {
            self.sweep = Some(now + SWEEP_EVERY);
        }
    }

    pub(crate) fn refuse(&mut self, conn: ConnId, code: RefusedCode, retry_after: u32) {
        match self.connections.get(&conn).map(|connection| &connection.state) {
            None | Some(State::Closing) => return,
            Some(State::Greeting | State::Member(_)) => {}
        }
        self.send(conn, 0, Refused { code, retry_after });
        self.leave(conn);
        self.close(conn, CloseReason::Refused(code));
    }

    /// The connection's time is over, or it is looked at again later.
    fn look_at(&mut self, conn: ConnId, now: Moment) {
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        let why = match connection.state {
            State::Greeting => CloseReason::HelloTimedOut,
            State::Member(_) if connection.heard + DEAD_AFTER > now => {
                connection.wakes = connection.heard + DEAD_AFTER;
                self.wakes.insert((connection.wakes, conn));
                return;
            }
            State::Member(_) => CloseReason::Silent,
            State::Closing => return,
        };
        self.leave(conn);
        self.close(conn, why);
    }

    fn close(&mut self, conn: ConnId, why: CloseReason) {
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        connection.state = State::Closing;
        self.commands.push_back(Command::Close { conn, why });
    }

    /// Undoes the login of `conn`, if it has one.
    fn leave(&mut self, conn: ConnId) {
        let Some(peer) = self.member(conn).map(|member| member.peer) else { return };
        let seen = self.seen(peer);
        if self.detach(conn).is_none() {
            return;
        }
        for ended in self.go_offline(peer) {
            self.tell_gone(peer, &ended);
        }
        self.stands_otherwise(peer, seen);
    }

    /// Nobody finds `peer` any more. Its open requests are over, and returned.
    fn go_offline(&mut self, peer: PeerId) -> Vec<Ended> {
        self.online.remove(&peer);
        if let Some(name) = self.names.name_of(&peer) {
            self.directory.remove(name);
        }
        self.requests.leave(peer)
    }

    /// Takes the login from `conn`, with what it watched.
    fn detach(&mut self, conn: ConnId) -> Option<PeerId> {
        let connection = self.connections.get_mut(&conn)?;
        match core::mem::replace(&mut connection.state, State::Closing) {
            State::Greeting | State::Closing => None,
            State::Member(member) => {
                for watched in &member.watching {
                    self.watchers.remove(watched, conn);
                }
                Some(member.peer)
            }
        }
    }

    fn tell_gone(&mut self, peer: PeerId, ended: &Ended) {
        let other = if ended.from == peer { ended.to } else { ended.from };
        self.tell_end(other, ended, CancelledWhy::Gone);
    }

    fn tell_end(&mut self, whom: PeerId, ended: &Ended, why: CancelledWhy) {
        self.send_to_peer(whom, Cancelled { request: ended.request, why });
    }
}

/// How often full buckets are looked for.
const SWEEP_EVERY: core::time::Duration = core::time::Duration::from_secs(60);
/// Room for commands that is kept when none waits.
const COMMANDS_KEPT: usize = 256;
