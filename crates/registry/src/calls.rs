//! What a client that is logged in can ask for.

use core::ops::Bound;

use p2pchat_proto::broker::{
    Answer, AnswerBody, Answered, Call, Cancel, Cancelled, CancelledWhy, DIRECTORY_PAGE, Directory,
    DirectoryEntry, Endpoints, Incoming, Outcome, Pong, PresenceSnapshot, RefusedCode, Register, Reply,
    Request, Rotate, Succeeded, SuccessionOf, ToBroker, WATCH_BATCH, WATCH_MAX, Watch,
};
use p2pchat_proto::{Moment, Name, PeerId};

use crate::command::{Command, ConnId, StoreFailed, Ticket};
use crate::names::{AccountState, Change};
use crate::rate::seconds;
use crate::registry::Registry;
use crate::requests::Asked;
use crate::standing::Reach;

impl Registry {
    /// A client said `message`. A hello goes to [`login`](Self::login) instead and a rotation to
    /// [`rotate`](Self::rotate), once its signatures were checked; one that comes here ends the connection.
    pub fn handle(&mut self, conn: ConnId, call: Call, message: ToBroker, now: Moment) {
        let Some(peer) = self.heard(conn, now) else { return };
        match message {
            ToBroker::Hello(_) | ToBroker::Rotate(_) => self.refuse(conn, RefusedCode::Protocol, 0),
            ToBroker::SuccessionOf(asked) => self.succession(conn, call, &asked, now),
            ToBroker::Register(register) => self.register(conn, call, peer, register, now),
            ToBroker::Unregister(_) => self.unregister(conn, call, peer),
            ToBroker::Directory(directory) => self.page(conn, call, &directory, now),
            ToBroker::Watch(watch) => self.watch(conn, call, &watch),
            ToBroker::Request(request) => {
                let outcome = self.request(conn, peer, request, now);
                self.reply(conn, call, outcome);
            }
            ToBroker::Cancel(cancel) => self.cancel(conn, call, peer, &cancel),
            ToBroker::Answer(answer) => self.answer(conn, call, peer, answer, now),
            ToBroker::Endpoints(endpoints) => self.endpoints(conn, call, peer, endpoints),
            ToBroker::Ping(_) => self.send(conn, call, Pong),
            ToBroker::Bye(_) => self.bye(conn),
            ToBroker::Profile(profile) => self.profile(conn, call, peer, &profile),
            ToBroker::Unsupported(_) => {}
        }
    }

    /// The write of `ticket` is done, or failed.
    pub fn persisted(&mut self, ticket: Ticket, result: Result<(), StoreFailed>) {
        let Some(settled) = self.names.settle(ticket, result.is_ok()) else { return };
        if settled.stored && settled.was.is_some() {
            self.directory.remove(&settled.name);
        }
        if settled.stored && self.online.contains_key(&settled.peer) {
            match settled.state {
                AccountState::Held => self.list(settled.peer),
                AccountState::Reserved => {
                    self.directory.remove(&settled.name);
                }
            }
        }
        for (conn, call) in settled.waiting {
            // Only where the caller is still there.
            if self.member(conn).is_some() {
                self.reply(conn, call, if settled.stored { Outcome::Done } else { Outcome::Unavailable });
            }
        }
    }

    /// A client moves its name to another identity, and both have signed that for this link. A repetition
    /// changes nothing.
    pub fn rotate(&mut self, conn: ConnId, call: Call, rotate: Rotate, now: Moment) {
        let Some(old) = self.heard(conn, now) else { return };
        if let Err(wait) = self.take_registration(conn, now) {
            return self.reply(conn, call, Outcome::RateLimited(wait));
        }
        let Rotate { name, new, succession, .. } = rotate;
        let change = self.names.rotate(&name, [old, new], succession, (conn, call));
        self.change(conn, call, change);
    }

    /// The client's rotation is not signed as it must be.
    pub fn rotation_forged(&mut self, conn: ConnId) {
        self.refuse(conn, RefusedCode::Signature, 0);
    }

    /// Where nothing is known, and where nobody is, the answer is the same.
    fn succession(&mut self, conn: ConnId, call: Call, asked: &SuccessionOf, now: Moment) {
        let rate = self.config.pages;
        let Some(member) = self.member(conn) else { return };
        if let Err(wait) = member.pages.take(rate, now) {
            return self.reply(conn, call, Outcome::RateLimited(seconds(wait)));
        }
        let chain = self.names.successions(&asked.name, &asked.peer);
        self.send(conn, call, Succeeded { chain });
    }

    fn reply(&mut self, conn: ConnId, call: Call, outcome: Outcome) {
        self.send(conn, call, Reply { outcome });
    }

    fn register(&mut self, conn: ConnId, call: Call, peer: PeerId, register: Register, now: Moment) {
        // One's own name costs nothing: every login asks for it.
        if !self.names.is_bound_to(&register.name, &peer)
            && let Err(wait) = self.take_registration(conn, now)
        {
            return self.reply(conn, call, Outcome::RateLimited(wait));
        }
        let change = self.names.register(register.name, peer, (conn, call));
        self.change(conn, call, change);
    }

    fn unregister(&mut self, conn: ConnId, call: Call, peer: PeerId) {
        let change = self.names.unregister(peer, (conn, call));
        self.change(conn, call, change);
    }

    fn change(&mut self, conn: ConnId, call: Call, change: Change) {
        match change {
            Change::Already => self.reply(conn, call, Outcome::Done),
            Change::Write(ticket, account) => self.command(Command::Persist { ticket, account }),
            Change::Joined => {}
            Change::Taken => self.reply(conn, call, Outcome::NameTaken),
            Change::HoldsOther(name) => self.reply(conn, call, Outcome::NameHeld(name)),
            Change::Unavailable => self.reply(conn, call, Outcome::Unavailable),
        }
    }

    fn take_registration(&mut self, conn: ConnId, now: Moment) -> Result<(), u32> {
        let Some(connection) = self.connections.get(&conn) else { return Ok(()) };
        let address = connection.address;
        if address.is_loopback() {
            return Ok(());
        }
        let taken = self.registrations.take(address, now).map_err(seconds);
        self.sweep_later(now);
        taken
    }

    fn page(&mut self, conn: ConnId, call: Call, directory: &Directory, now: Moment) {
        let rate = self.config.pages;
        let Some(member) = self.member(conn) else { return };
        if let Err(wait) = member.pages.take(rate, now) {
            return self.reply(conn, call, Outcome::RateLimited(seconds(wait)));
        }
        let prefix = directory.prefix.as_str();
        let from = match &directory.cursor {
            Some(cursor) if cursor.as_str() >= prefix => Bound::Excluded(cursor.as_str()),
            Some(_) | None => Bound::Included(prefix),
        };
        let mut matching = self
            .directory
            .range::<str, _>((from, Bound::Unbounded))
            .take_while(|(name, _)| name.as_str().starts_with(prefix));
        let entry = |(name, peer): (&Name, &PeerId)| DirectoryEntry {
            name: name.clone(),
            peer: *peer,
            status: self.shown(*peer, conn),
        };
        let people = matching.by_ref().take(DIRECTORY_PAGE).map(entry).collect();
        let more = matching.next().is_some();
        self.reply(conn, call, Outcome::Page { people, more });
    }

    fn watch(&mut self, conn: ConnId, call: Call, watch: &Watch) {
        let Some(peer) = self.member(conn).map(|member| member.peer) else { return };
        // To whom it shows itself may hang on whom it knows.
        let seen = self.seen(peer);
        let Some(member) = self.member(conn) else { return };
        let mut roster = member.watching.clone();
        for peer in &watch.remove {
            roster.remove(peer);
        }
        roster.extend(&watch.add);
        if roster.len() > WATCH_MAX {
            return self.reply(conn, call, Outcome::Unavailable);
        }
        let before = core::mem::replace(&mut member.watching, roster.clone());
        for gone in before.difference(&roster) {
            self.watchers.remove(gone, conn);
        }
        for &new in roster.difference(&before) {
            self.watchers.add(new, conn);
        }
        self.reply(conn, call, Outcome::Done);
        for batch in watch.add.chunks(WATCH_BATCH) {
            let peers = batch.iter().map(|&peer| (peer, self.shown(peer, conn))).collect();
            let Some(member) = self.member(conn) else { return };
            member.presence_version += 1;
            let version = member.presence_version;
            self.send(conn, 0, PresenceSnapshot { version, peers });
        }
        self.stands_otherwise(peer, seen);
    }

    fn request(&mut self, conn: ConnId, from: PeerId, asked: Request, now: Moment) -> Outcome {
        let rate = self.config.requests;
        let Some(member) = self.member(conn) else { return Outcome::Unavailable };
        if let Err(wait) = member.requests.take(rate, now) {
            return Outcome::RateLimited(seconds(wait));
        }
        let to = match self.addressee(from, asked.to, asked.name.as_ref()) {
            Ok(to) => to,
            Err(outcome) => return outcome,
        };
        let taken = self.pairs.take((from, to), now);
        self.sweep_later(now);
        if let Err(wait) = taken {
            return Outcome::RateLimited(seconds(wait));
        }
        match self.requests.ask(asked.request, from, to, now) {
            Asked::Fresh => {}
            Asked::InPlaceOf(request) => {
                self.send_to_peer(to, Cancelled { request, why: CancelledWhy::TakenBack });
            }
            Asked::Renewed => return Outcome::Done,
            Asked::IdInUse => return Outcome::Unavailable,
            Asked::TooManyFrom | Asked::TooManyTo => return Outcome::RateLimited(WHEN_CROWDED_S),
        }
        let name = self.names.name_of(&from).cloned();
        self.send_to_peer(to, Incoming { request: asked.request, from, name, offer: asked.offer });
        Outcome::Done
    }

    /// Who is meant by a key, a name or both, if it is somebody else and online.
    fn addressee(&self, from: PeerId, to: Option<PeerId>, name: Option<&Name>) -> Result<PeerId, Outcome> {
        let holder = name.and_then(|name| self.names.holder(name));
        let meant = match (to, holder) {
            (Some(to), Some(holder)) if to != holder => return Err(Outcome::BoundTo(holder)),
            (Some(to), _) => to,
            (None, Some(holder)) => holder,
            (None, None) => return Err(Outcome::Unknown),
        };
        if meant == from {
            return Err(Outcome::Unknown);
        }
        match self.reach(from, meant) {
            Reach::Passed => return Ok(meant),
            Reach::Refused => return Err(Outcome::Unknown),
            Reach::Absent => {}
        }
        Err(if self.names.name_of(&meant).is_some() { Outcome::NotOnline } else { Outcome::Unknown })
    }

    fn cancel(&mut self, conn: ConnId, call: Call, peer: PeerId, cancel: &Cancel) {
        let Some(to) = self.requests.cancel(cancel.request, peer) else {
            return self.reply(conn, call, Outcome::NoSuchRequest);
        };
        self.send_to_peer(to, Cancelled { request: cancel.request, why: CancelledWhy::TakenBack });
        self.reply(conn, call, Outcome::Done);
    }

    fn answer(&mut self, conn: ConnId, call: Call, peer: PeerId, answer: Answer, now: Moment) {
        let asker = match answer.answer {
            AnswerBody::Accept { .. } => self.requests.accept(answer.request, peer, now),
            AnswerBody::Decline { .. } => self.requests.decline(answer.request, peer),
        };
        let Some(asker) = asker else {
            return self.reply(conn, call, Outcome::NoSuchRequest);
        };
        self.send_to_peer(asker, Answered { request: answer.request, from: peer, answer: answer.answer });
        self.reply(conn, call, Outcome::Done);
    }

    fn endpoints(&mut self, conn: ConnId, call: Call, peer: PeerId, endpoints: Endpoints) {
        let Some(other) = self.requests.other_side(endpoints.request, peer) else {
            return self.reply(conn, call, Outcome::NoSuchRequest);
        };
        self.send_to_peer(other, endpoints);
        self.reply(conn, call, Outcome::Done);
    }
}

/// Seconds after which there may be room for a request again: half of what one lives.
const WHEN_CROWDED_S: u32 = 60;
