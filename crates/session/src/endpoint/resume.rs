//! Sessions with contacts, without a broker: who is answered by which ticket, and how one begins
//! (protocol sections 4 and 5).

use std::collections::BTreeMap;

use p2pchat_crypto::{
    Identity, Introduction, Resumption, ResumptionSecret, ResumptionTerms, Role, Suite, TicketWindow,
};
use p2pchat_proto::datagram::mac_parts;
use p2pchat_proto::{Moment, PeerId, WallTime};

use super::{Endpoint, Entry, Session};
use crate::contact::{Contact, SecretNews};
use crate::event::{EndReason, SessionId};
use crate::handshake::initiator::Initiating;
use crate::handshake::rates::ContactRates;
use crate::handshake::responder::Responding;

/// Contacts whose secrets are kept: as many as a roster can watch (protocol section 2). A further one
/// is met through the broker.
pub const CONTACTS_MAX: usize = 2_000;

/// Everybody who may come back, and the tickets by which they are known now.
pub(super) struct Contacts {
    known: BTreeMap<PeerId, Known>,
    by_ticket: BTreeMap<[u8; 8], Place>,
    /// Whether anybody is answered.
    answering: bool,
    wall: WallTime,
    window: TicketWindow,
    /// What changed and is to be kept.
    pub(super) changed: std::collections::VecDeque<Contact>,
}

struct Known {
    contact: Contact,
    /// One for each generation that can be used, with the secret that it comes from.
    resumptions: Vec<(ResumptionSecret, Resumption)>,
    /// INITs of all its tickets.
    rates: ContactRates,
}

impl Known {
    const fn new(contact: Contact) -> Self {
        Self { contact, resumptions: Vec::new(), rates: ContactRates::new() }
    }
}

#[derive(Clone)]
struct Place {
    peer: PeerId,
    secret: ResumptionSecret,
    window: TicketWindow,
}

/// What an INIT with a contact's ticket is.
pub(super) enum Caller {
    /// Nobody's ticket.
    Nobody,
    /// A ticket with a MAC that is wrong.
    Forged,
    /// The contact's: this session answers.
    Answer(SessionId),
}

impl Contacts {
    pub(super) const fn new() -> Self {
        Self {
            known: BTreeMap::new(),
            by_ticket: BTreeMap::new(),
            answering: true,
            wall: WallTime(0),
            window: TicketWindow(0),
            changed: std::collections::VecDeque::new(),
        }
    }

    /// Computes anew by which tickets a contact is known.
    fn refresh(&mut self, me: PeerId, peer: PeerId) {
        self.by_ticket.retain(|_, place| place.peer != peer);
        let Some(known) = self.known.get_mut(&peer) else { return };
        let peer_noise = known.contact.peer_noise;
        let resumption = |secret: &ResumptionSecret, suite: Suite| {
            Resumption::new(ResumptionTerms { me, peer, suite, peer_noise }, secret)
        };
        let all = known.contact.generations.iter();
        let made = all.filter_map(|known| {
            let made = resumption(&known.secret, known.suite).ok()?;
            Some((known.secret.clone(), made))
        });
        known.resumptions = made.collect();
        self.learn_tickets(peer);
    }

    fn learn_tickets(&mut self, peer: PeerId) {
        let Some(known) = self.known.get(&peer).filter(|_| self.answering) else { return };
        for (secret, resumption) in &known.resumptions {
            for window in self.window.accepted() {
                let place = Place { peer, secret: secret.clone(), window };
                self.by_ticket.insert(resumption.peer_ticket(window).0, place);
            }
        }
    }

    fn learn_all_tickets(&mut self) {
        self.by_ticket.clear();
        let peers: Vec<PeerId> = self.known.keys().copied().collect();
        peers.into_iter().for_each(|peer| self.learn_tickets(peer));
    }

    /// What the INITs of somebody may cost who comes back.
    pub(super) fn rates(&mut self, peer: PeerId) -> Option<&mut ContactRates> {
        self.known.get_mut(&peer).map(|known| &mut known.rates)
    }

    fn resumption(&self, place: &Place) -> Option<&Resumption> {
        let known = self.known.get(&place.peer)?;
        let found = known.resumptions.iter().find(|(secret, _)| *secret == place.secret);
        found.map(|(_, resumption)| resumption)
    }
}

impl Endpoint {
    /// What the clock shows that people read, to be told before each call that may meet a contact:
    /// tickets change with it, and secrets grow old.
    pub fn set_wall_clock(&mut self, wall: WallTime) {
        self.contacts.wall = wall;
        let window = TicketWindow::at(wall);
        if core::mem::replace(&mut self.contacts.window, window) == window {
            return;
        }
        let peers: Vec<PeerId> = self.contacts.known.keys().copied().collect();
        for peer in peers {
            if self.contacts.known.get_mut(&peer).is_some_and(|known| known.contact.expire(wall)) {
                self.contact_changed(peer);
            }
        }
        self.contacts.learn_all_tickets();
    }

    /// Whether contacts that dial are answered: not by somebody who is invisible. They are at first.
    pub fn answer_contacts(&mut self, answering: bool) {
        self.contacts.answering = answering;
        self.contacts.learn_all_tickets();
        if !answering {
            self.drop_attempts(|_, role| role == Role::Responder);
        }
    }

    /// Somebody who may come back, as it was kept. Where there is no room for one more nothing
    /// happens.
    pub fn remember(&mut self, mut contact: Contact) {
        let peer = contact.peer;
        if self.contacts.known.len() >= CONTACTS_MAX && !self.contacts.known.contains_key(&peer) {
            return;
        }
        let expired = contact.expire(self.contacts.wall);
        self.contacts.known.insert(peer, Known::new(contact));
        if expired {
            self.contact_changed(peer);
        } else {
            self.contacts.refresh(self.me.peer_id(), peer);
        }
    }

    /// The other side of a session that is up may come back: from now on what its sessions leave is
    /// kept.
    pub fn keep(&mut self, session: SessionId) {
        let Some(Session::Connected(connection)) = self.sessions.get(&session).map(|entry| &entry.session)
        else {
            return;
        };
        let peer = connection.peer();
        let Some((secret, peer_noise)) = connection.resumption() else { return };
        let (suite, remote) = (connection.suite(), connection.proven_remote());
        if self.contacts.known.contains_key(&peer) || self.contacts.known.len() >= CONTACTS_MAX {
            return;
        }
        let endpoints = p2pchat_proto::UdpEndpoints::new(remote);
        let mut contact = Contact { peer, peer_noise, endpoints, generations: Vec::new() };
        contact.take(&SecretNews { base: None, secret, proven: true }, suite, self.contacts.wall);
        self.contacts.known.insert(peer, Known::new(contact));
        self.contact_changed(peer);
    }

    /// Erases what is kept of somebody, who is not answered any more.
    pub fn forget_contact(&mut self, peer: PeerId) {
        self.contacts.known.remove(&peer);
        self.contacts.refresh(self.me.peer_id(), peer);
        self.drop_attempts(|other, _| other == peer);
    }

    /// Until when somebody may come back without being introduced, by the wall clock, as far as this side
    /// is concerned: it gets later as long as the two talk. `None` for whoever may not, or is not
    /// answered because nobody is.
    pub fn may_return_until(&self, peer: PeerId) -> Option<WallTime> {
        let known = self.contacts.known.get(&peer).filter(|_| self.contacts.answering)?;
        known.contact.until()
    }

    /// Whether there is something to begin a session with somebody with.
    pub fn can_dial(&self, peer: PeerId) -> bool {
        self.contacts.known.get(&peer).is_some_and(|known| {
            !known.resumptions.is_empty() && !self.reachable(&known.contact.endpoints).as_slice().is_empty()
        })
    }

    /// Begins a session with a contact where it was last: INIT for each of its generations. The first
    /// answer decides; `None` if there is nothing to begin with, or an attempt runs already.
    pub fn dial(&mut self, peer: PeerId, now: Moment) -> Option<SessionId> {
        self.now = now;
        let busy = |entry: &Entry| match &entry.session {
            Session::Initiating(initiating) => initiating.peer() == peer,
            Session::Connected(connection) => connection.peer() == peer && connection.is_confirming(),
            Session::Responding(_) => false,
        };
        if !self.can_dial(peer) || self.sessions.values().any(busy) {
            return None;
        }
        let id = self.next_id();
        let known = self.contacts.known.get(&peer)?;
        let endpoints = self.reachable(&known.contact.endpoints);
        let window = self.contacts.window;
        let begun: Vec<(ResumptionSecret, Introduction)> = known
            .resumptions
            .iter()
            .map(|(secret, resumption)| (secret.clone(), resumption.introduction(Role::Initiator, window)))
            .collect();
        let mut attempts = Vec::new();
        for (secret, introduction) in begun {
            let receiver = self.draw_receiver(id);
            let me: &Identity = &self.me;
            attempts.push(Initiating::attempt(
                introduction,
                Some(secret),
                receiver,
                me,
                &endpoints,
                &mut self.rng,
                now,
            ));
        }
        let session = Session::Initiating(Box::new(Initiating::new(peer, attempts, now)));
        self.sessions.insert(id, Entry { session, wakeup: Moment::NEVER, ready: false });
        self.attend(id);
        Some(id)
    }

    /// What is kept of a contact has changed. To be on the disk before the next datagram leaves
    /// ([`Endpoint::poll_transmit`]): otherwise a crash may leave the two without a secret in common. One
    /// without generations is to be erased.
    pub fn poll_contact(&mut self) -> Option<Contact> {
        self.contacts.changed.pop_front()
    }

    /// Whether `new`, which has just come up, takes the place of `old`. It does, unless both sides began
    /// at once: then the one that the smaller identity began stays (protocol section 4).
    pub fn replaces(&self, new: SessionId, old: SessionId) -> bool {
        let connection = |id: SessionId| match self.sessions.get(&id).map(|entry| &entry.session) {
            Some(Session::Connected(connection)) => Some(connection),
            Some(Session::Initiating(_) | Session::Responding(_)) | None => None,
        };
        let (Some(new), Some(old)) = (connection(new), connection(old)) else { return true };
        let at_once = old.up_since().is_some_and(|up| new.began() < up) && new.role() != old.role();
        let mine_is_smaller = self.me.peer_id() < new.peer();
        !at_once || (new.role() == Role::Initiator) == mine_is_smaller
    }

    /// The session that answers an INIT whose ticket is a contact's.
    pub(super) fn answer_contact(&mut self, ticket: [u8; 8], bytes: &[u8], now: Moment) -> Caller {
        let Some(place) = self.contacts.by_ticket.get(&ticket) else { return Caller::Nobody };
        let place = place.clone();
        let Some(resumption) = self.contacts.resumption(&place) else { return Caller::Nobody };
        if !mac_parts(bytes).is_some_and(|(covered, mac)| resumption.verify_mac(covered, mac)) {
            return Caller::Forged;
        }
        let introduction = resumption.introduction(Role::Responder, place.window);
        let id = self.next_id();
        let responding = Responding::resume(introduction, place.secret, now);
        self.by_ticket.insert(ticket, id);
        let session = Session::Responding(Box::new(responding));
        self.sessions.insert(id, Entry { session, wakeup: Moment::NEVER, ready: false });
        self.attend(id);
        Caller::Answer(id)
    }

    /// Takes what a session says of its secrets, where they are kept.
    pub(super) fn take_news(&mut self, id: SessionId, news: &SecretNews) {
        let Some(Session::Connected(connection)) = self.sessions.get(&id).map(|entry| &entry.session) else {
            return;
        };
        let (peer, suite, remote) = (connection.peer(), connection.suite(), connection.proven_remote());
        let wall = self.contacts.wall;
        let Some(known) = self.contacts.known.get_mut(&peer) else { return };
        let moved = remote.is_some_and(|remote| news.proven && known.contact.is_at(remote));
        if known.contact.take(news, suite, wall) || moved {
            self.contact_changed(peer);
        }
    }

    /// Where a session has gone on, or ran last: there the contact is.
    pub(super) fn note_place(&mut self, peer: PeerId, remote: core::net::SocketAddr) {
        if self.contacts.known.get_mut(&peer).is_some_and(|known| known.contact.is_at(remote)) {
            self.contact_changed(peer);
        }
    }

    fn contact_changed(&mut self, peer: PeerId) {
        self.contacts.refresh(self.me.peer_id(), peer);
        let Some(known) = self.contacts.known.get(&peer) else { return };
        let contact = known.contact.clone();
        if contact.generations.is_empty() {
            self.contacts.known.remove(&peer);
        }
        // What was begun with a secret that has gone would leave the two with nothing in common.
        let kept = contact.clone();
        for entry in self.sessions.values_mut() {
            if let Session::Initiating(initiating) = &mut entry.session
                && initiating.peer() == peer
            {
                initiating.retain(|secret| kept.has(secret));
            }
        }
        let gone = |entry: &Entry| match &entry.session {
            Session::Initiating(initiating) => initiating.is_empty(),
            Session::Responding(responding) => {
                responding.peer() == peer && responding.base().is_some_and(|base| !kept.has(base))
            }
            Session::Connected(_) => false,
        };
        self.end_where(gone);
        self.contacts.changed.retain(|other| other.peer != peer);
        self.contacts.changed.push_back(contact);
    }

    /// Ends handshakes with contacts that have not come so far that there are keys.
    fn drop_attempts(&mut self, whose: impl Fn(PeerId, Role) -> bool) {
        self.end_where(|entry| match &entry.session {
            Session::Initiating(initiating) => {
                initiating.resumes() && whose(initiating.peer(), Role::Initiator)
            }
            Session::Responding(responding) => {
                responding.base().is_some() && whose(responding.peer(), Role::Responder)
            }
            Session::Connected(_) => false,
        });
    }

    fn end_where(&mut self, which: impl Fn(&Entry) -> bool) {
        let ended: Vec<SessionId> =
            self.sessions.iter().filter(|(_, entry)| which(entry)).map(|(id, _)| *id).collect();
        for id in ended {
            self.end(id, EndReason::ClosedHere);
        }
    }
}
