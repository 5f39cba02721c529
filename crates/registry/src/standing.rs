//! Who sees whom, and whose requests are passed on.
//!
//! Whoever is hidden is treated as somebody who is not there: no message, no answer and no order of messages
//! tells the two apart.

use p2pchat_proto::broker::{Call, Outcome, PresenceDelta, Profile, Reply, Status};
use p2pchat_proto::{Availability, ContactPolicy, PeerId, Visibility};

use crate::command::ConnId;
use crate::connection::{Member, State};
use crate::registry::Registry;

/// What each watcher of somebody saw of them.
pub(crate) type Seen = Vec<(ConnId, Status)>;

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// It is passed on.
    Passed,
    /// Who is meant wants none of this asker.
    Refused,
    /// Who is meant is not there, or not for anybody.
    Absent,
}

impl Registry {
    /// The client says how it stands towards others.
    pub(crate) fn profile(&mut self, conn: ConnId, call: Call, peer: PeerId, profile: &Profile) {
        let seen = self.seen(peer);
        if let Some(member) = self.member(conn) {
            member.standing = Some(profile.standing);
        }
        self.stands_otherwise(peer, seen);
        self.send(conn, call, Reply { outcome: Outcome::Done });
    }

    /// What each watcher sees of `peer` at present: to be taken before something changes.
    pub(crate) fn seen(&self, peer: PeerId) -> Seen {
        let watchers = self.watchers.of(&peer);
        watchers.into_iter().map(|watcher| (watcher, self.shown(peer, watcher))).collect()
    }

    /// Tells those who see something else of `peer` by now, and lists it or not.
    pub(crate) fn stands_otherwise(&mut self, peer: PeerId, seen: Seen) {
        self.list(peer);
        for (watcher, before) in seen {
            let status = self.shown(peer, watcher);
            let Some(member) = self.member(watcher).filter(|_| status != before) else { continue };
            member.presence_version += 1;
            let version = member.presence_version;
            self.send(watcher, 0, PresenceDelta { version, peer, status });
        }
    }

    /// Puts `peer` into the directory, or takes it out.
    pub(crate) fn list(&mut self, peer: PeerId) {
        let Some(name) = self.names.name_of(&peer).cloned() else { return };
        let listed = self.logged_in(peer).and_then(|member| member.standing).is_some_and(|standing| {
            standing.visibility == Visibility::Public && standing.status != Availability::Invisible
        });
        if listed {
            self.directory.insert(name, peer);
        } else {
            self.directory.remove(&name);
        }
    }

    /// What the client of `viewer` sees of `peer`.
    pub(crate) fn shown(&self, peer: PeerId, viewer: ConnId) -> Status {
        let Some(member) = self.logged_in(peer) else { return Status::Offline };
        let (Some(standing), Some(viewer)) = (member.standing, self.member_of(viewer)) else {
            return Status::Offline;
        };
        let seen = match standing.visibility {
            Visibility::Public => true,
            Visibility::Contacts => member.watching.contains(&viewer.peer),
            Visibility::Private => false,
        };
        match standing.status {
            Availability::Invisible => Status::Offline,
            _ if !seen => Status::Offline,
            Availability::Away if viewer.understands => Status::Away,
            Availability::Busy if viewer.understands => Status::Busy,
            Availability::Online | Availability::Away | Availability::Busy => Status::Online,
        }
    }

    /// Whether a request of `from` is passed on to `to`.
    pub(crate) fn reach(&self, from: PeerId, to: PeerId) -> Reach {
        let Some(member) = self.logged_in(to) else { return Reach::Absent };
        let Some(standing) = member.standing else { return Reach::Absent };
        let taken = match standing.policy {
            _ if standing.status == Availability::Invisible => return Reach::Absent,
            ContactPolicy::Everyone => true,
            ContactPolicy::Contacts => member.watching.contains(&from),
            ContactPolicy::Nobody => false,
        };
        if taken { Reach::Passed } else { Reach::Refused }
    }

    /// The login that counts for `peer`.
    fn logged_in(&self, peer: PeerId) -> Option<&Member> {
        self.member_of(*self.online.get(&peer)?)
    }

    fn member_of(&self, conn: ConnId) -> Option<&Member> {
        match &self.connections.get(&conn)?.state {
            State::Member(member) => Some(member),
            State::Greeting | State::Closing => None,
        }
    }
}
