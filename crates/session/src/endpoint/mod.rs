//! All sessions of a program behind its UDP sockets.
//!
//! Methods come in families, in the order in which a driver uses them: `new`; what the user wants
//! ([`Endpoint::introduce`], [`Endpoint::send`], [`Endpoint::close`]); what happens
//! ([`Endpoint::handle_datagram`], [`Endpoint::handle_timeout`]); what is to be done
//! ([`Endpoint::poll_transmit`], [`Endpoint::poll_event`], [`Endpoint::poll_timeout`]); what can be
//! told ([`Endpoint::info`], [`Endpoint::stats`]).

mod demux;
mod resume;
mod streams;
mod wakeups;

use core::fmt;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::collections::btree_map::Entry::Vacant;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use p2pchat_crypto::{Identity, Introduction, Role};
use p2pchat_proto::datagram::ReceiverId;
use p2pchat_proto::{Moment, UdpEndpoints};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;

pub use self::resume::CONTACTS_MAX;
use self::resume::Contacts;
use self::wakeups::Wakeups;
use crate::connection::Connection;
use crate::connection::congestion::{Controller, Cubic};
#[cfg(test)]
use crate::connection::epochs::Epochs;
use crate::event::{CloseCode, EndReason, SendError, SessionEvent, SessionId, StreamId};
use crate::handshake::initiator::Initiating;
use crate::handshake::rates::{InitRates, PerSecond, UNVALIDATED_PER_SECOND};
use crate::handshake::responder::Responding;
use crate::stats::{SessionInfo, SocketStats};
use crate::wire::Transmit;

/// What an endpoint may do.
#[derive(Debug, Clone, Copy)]
pub struct EndpointConfig {
    /// Whether the driver has a socket for IPv4. Endpoints of a family without one are not tried.
    pub ipv4: bool,
    /// Whether the driver has a socket for IPv6.
    pub ipv6: bool,
    /// Whether loopback endpoints are dialled: only where the socket is bound to loopback, or the
    /// broker link runs over it (protocol section 4).
    pub loopback: bool,
    /// Makes a session's congestion controller for datagrams of this many bytes.
    pub controller: fn(u64) -> Box<dyn Controller>,
}

impl Default for EndpointConfig {
    /// Both families, no loopback, CUBIC.
    fn default() -> Self {
        Self {
            ipv4: true,
            ipv6: true,
            loopback: false,
            controller: |datagram| Box::new(Cubic::new(datagram)),
        }
    }
}

/// A call so much later than it was due comes from a process that slept. Longer than a busy machine keeps one
/// waiting, and less than what the first keepalive leaves of the time until a session is lost (20 s).
const OVERSLEPT: Duration = Duration::from_secs(2);

/// All sessions of a program. See the crate's first page for how to drive it.
pub struct Endpoint {
    config: EndpointConfig,
    me: Arc<Identity>,
    rng: ChaCha20Rng,
    /// The last `now` that came in.
    now: Moment,
    next_session: u64,
    sessions: BTreeMap<SessionId, Entry>,
    /// Whose datagrams name this end.
    by_receiver: BTreeMap<ReceiverId, SessionId>,
    /// Whose INIT or PUNCH carries this ticket.
    by_ticket: BTreeMap<[u8; 8], SessionId>,
    wakeups: Wakeups,
    /// The wakeup that was slept through last.
    slept_through: Moment,
    /// See [`Self::answer_due`].
    answer_due: Option<Moment>,
    /// Sessions that may have something to send, each once.
    ready: VecDeque<SessionId>,
    events: VecDeque<(SessionId, SessionEvent)>,
    unvalidated: PerSecond<UNVALIDATED_PER_SECOND>,
    inits: InitRates,
    /// Who may come back without having been introduced anew.
    contacts: Contacts,
    /// Whether peers get no more credit for messages.
    withheld: bool,
    stats: SocketStats,
}

/// From an introduction to the end.
enum Session {
    /// INIT is out.
    Initiating(Box<Initiating>),
    /// Waits for INIT and FIN.
    Responding(Box<Responding>),
    /// There are keys.
    Connected(Box<Connection>),
}

/// A session and its places in the queues.
struct Entry {
    session: Session,
    /// Where it stands in [`Endpoint::wakeups`].
    wakeup: Moment,
    /// Whether it stands in [`Endpoint::ready`].
    ready: bool,
}

impl Entry {
    fn make_ready(&mut self, id: SessionId, ready: &mut VecDeque<SessionId>) {
        if !self.ready {
            self.ready = true;
            ready.push_back(id);
        }
    }

    /// Stands where its next wakeup is.
    fn put_off(&mut self, id: SessionId, wakeups: &mut Wakeups, budget: &PerSecond<UNVALIDATED_PER_SECOND>) {
        let wakeup = match &self.session {
            Session::Initiating(initiating) => initiating.wakeup(budget),
            Session::Responding(responding) => responding.wakeup(budget),
            Session::Connected(connection) => connection.wakeup(),
        };
        if self.wakeup != wakeup {
            wakeups.put_off(id, self.wakeup, wakeup);
            self.wakeup = wakeup;
        }
    }
}

impl Endpoint {
    /// An endpoint without sessions. The same seed and the same calls give the same datagrams.
    pub fn new(config: EndpointConfig, me: Arc<Identity>, seed: [u8; 32], now: Moment) -> Self {
        Self {
            config,
            me,
            rng: ChaCha20Rng::from_seed(seed),
            now,
            next_session: 0,
            sessions: BTreeMap::new(),
            by_receiver: BTreeMap::new(),
            by_ticket: BTreeMap::new(),
            wakeups: Wakeups::default(),
            slept_through: Moment::NEVER,
            answer_due: None,
            ready: VecDeque::new(),
            events: VecDeque::new(),
            unvalidated: PerSecond::new(),
            inits: InitRates::new(),
            contacts: Contacts::new(),
            withheld: false,
            stats: SocketStats::default(),
        }
    }

    /// Begins a handshake with an introduced peer: the initiator sends INIT to its endpoints, the
    /// responder PUNCH. The session ends with [`EndReason::HandshakeTimedOut`] if it does not come
    /// up. Other sessions with the same peer go on beside it.
    pub fn introduce(
        &mut self,
        introduction: Introduction,
        endpoints: &UdpEndpoints,
        now: Moment,
    ) -> SessionId {
        self.now = now;
        let id = self.next_id();
        self.by_ticket.insert(introduction.peer_ticket().0, id);
        let endpoints = self.reachable(endpoints);
        let session = match introduction.role() {
            Role::Initiator => {
                let receiver = self.draw_receiver(id);
                let (me, rng) = (&self.me, &mut self.rng);
                let peer = introduction.peer();
                let attempt = Initiating::attempt(introduction, None, receiver, me, &endpoints, rng, now);
                Session::Initiating(Box::new(Initiating::new(peer, vec![attempt], now)))
            }
            Role::Responder => {
                Session::Responding(Box::new(Responding::start(introduction, &endpoints, now)))
            }
        };
        self.sessions.insert(id, Entry { session, wakeup: Moment::NEVER, ready: false });
        self.attend(id);
        id
    }

    /// Tries further endpoints of the peer while the handshake runs.
    pub fn add_endpoints(&mut self, session: SessionId, endpoints: &UdpEndpoints, now: Moment) {
        self.now = now;
        let endpoints = self.reachable(endpoints);
        match self.sessions.get_mut(&session).map(|entry| &mut entry.session) {
            Some(Session::Initiating(initiating)) => initiating.add_endpoints(&endpoints, now),
            Some(Session::Responding(responding)) => responding.add_endpoints(&endpoints, now),
            Some(Session::Connected(_)) | None => return,
        }
        self.attend(session);
    }

    /// Takes a body for sending; it arrives once and in order, or the session ends.
    ///
    /// # Errors
    /// See [`SendError`]; nothing of the body is sent then.
    pub fn send(
        &mut self,
        session: SessionId,
        stream: StreamId,
        kind: u8,
        body: &[u8],
        now: Moment,
    ) -> Result<(), SendError> {
        self.now = now;
        let entry = self.sessions.get_mut(&session).ok_or(SendError::NotUp)?;
        match &mut entry.session {
            Session::Connected(connection) => connection.send(stream, kind, body)?,
            Session::Initiating(_) | Session::Responding(_) => return Err(SendError::NotUp),
        }
        // Nothing happened by this, and nothing is awaited for it: there is only more to send.
        entry.make_ready(session, &mut self.ready);
        Ok(())
    }

    /// Hints at something that is worth nothing later: it may be lost, and within [`crate::HINT_INTERVAL`] after
    /// another one it is not sent. Nothing happens where the session is not up.
    pub fn hint(&mut self, session: SessionId, kind: u8, now: Moment) {
        self.now = now;
        if let Some(Session::Connected(connection)) =
            self.sessions.get_mut(&session).map(|entry| &mut entry.session)
        {
            connection.hint(kind, now);
            self.make_ready(session);
        }
    }

    /// Peers get no more credit for messages while this is so, because nobody takes what came: they can
    /// send at most one window more each, and their sessions stay.
    pub fn withhold_credit(&mut self, withheld: bool) {
        if self.withheld != withheld {
            self.withheld = withheld;
            self.each_connection(|connection| connection.withhold_credit(withheld));
        }
    }

    /// Ends a session and tells the peer. [`EndReason::ClosedHere`] comes when the peer knows, or
    /// was told three times, or at once where there is no session yet.
    pub fn close(&mut self, session: SessionId, code: CloseCode, now: Moment) {
        self.now = now;
        match self.sessions.get_mut(&session).map(|entry| &mut entry.session) {
            Some(Session::Connected(connection)) => {
                connection.close(code, now);
                self.attend(session);
            }
            Some(Session::Initiating(_) | Session::Responding(_)) => {
                self.end(session, EndReason::ClosedHere);
            }
            None => {}
        }
    }

    /// The system refused to send from `ip`, which is no address of this side any more. Sessions that
    /// used it go on from whichever address the system takes.
    pub fn local_ip_gone(&mut self, ip: IpAddr, now: Moment) {
        self.now = now;
        self.each_connection(|connection| connection.on_local_ip_gone(ip, now));
    }

    /// This machine has these addresses now. Sessions from another one go on from one of them, and every
    /// peer is shown at once where this side is: one that only listens would find out much later.
    pub fn addresses_changed(&mut self, here: &[IpAddr], now: Moment) {
        self.now = now;
        self.each_connection(|connection| connection.on_addresses(here, now));
    }

    /// The system refused to send a datagram of so many bytes to `to`: it is larger than the interface
    /// takes. Smaller ones are sent from now on.
    pub fn too_large(&mut self, to: SocketAddr, bytes: usize, now: Moment) {
        self.now = now;
        let ids: Vec<SessionId> = self.sessions.keys().copied().collect();
        for id in ids {
            if let Some(Session::Connected(connection)) =
                self.sessions.get_mut(&id).map(|entry| &mut entry.session)
            {
                connection.on_too_large(to, bytes, now);
                self.attend(id);
            }
        }
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Moment) {
        self.now = now;
        self.notice_sleep(now);
        let mut due = Vec::new();
        while let Some(id) = self.wakeups.pop_due(now) {
            due.push(id);
        }
        for id in due {
            let Some(entry) = self.sessions.get_mut(&id) else { continue };
            entry.wakeup = Moment::NEVER;
            let gave_up = match &mut entry.session {
                Session::Initiating(initiating) => initiating.is_over(now),
                Session::Responding(responding) => responding.is_over(now),
                Session::Connected(connection) => {
                    connection.handle_timeout(now);
                    false
                }
            };
            if gave_up {
                self.end(id, EndReason::HandshakeTimedOut);
            } else {
                self.attend(id);
            }
        }
    }

    /// Puts the next datagrams into `out`, which is cleared first: up to `max_segments` of one size
    /// to one address. To be called until it answers `None`.
    pub fn poll_transmit(&mut self, now: Moment, max_segments: usize, out: &mut Vec<u8>) -> Option<Transmit> {
        self.now = now;
        out.clear();
        while let Some(id) = self.ready.pop_front() {
            let Some(entry) = self.sessions.get_mut(&id) else { continue };
            let budget = &mut self.unvalidated;
            let transmit = match &mut entry.session {
                Session::Initiating(initiating) => initiating.poll_transmit(budget, now, out),
                Session::Responding(responding) => responding.poll_transmit(budget, now, out),
                Session::Connected(connection) => {
                    let transmit = connection.poll_transmit(max_segments, budget, out, now);
                    self.answer_due = connection.recovery().answer_due(now);
                    transmit
                }
            };
            let more = match &entry.session {
                Session::Connected(connection) if transmit.is_some() => connection.may_send_more(now),
                Session::Initiating(_) | Session::Responding(_) | Session::Connected(_) => transmit.is_some(),
            };
            if more {
                // Behind the others, so that one session cannot hold them up.
                self.ready.push_back(id);
                return transmit;
            }
            entry.ready = false;
            if transmit.is_some() {
                // Nothing happens to a session by what it says.
                entry.put_off(id, &mut self.wakeups, &self.unvalidated);
                return transmit;
            }
            self.settle(id);
        }
        None
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<(SessionId, SessionEvent)> {
        self.events.pop_front()
    }

    /// When [`Self::handle_timeout`] has to be called: at once while [`Self::poll_transmit`] or
    /// [`Self::poll_event`] may have something, `None` when nothing is awaited.
    pub fn poll_timeout(&self) -> Option<Moment> {
        if !self.ready.is_empty() || !self.events.is_empty() || !self.contacts.changed.is_empty() {
            return Some(self.now);
        }
        self.wakeups.first()
    }

    /// When the session that was asked last for datagrams may have an answer to them, by its round-trip time.
    pub const fn answer_due(&self) -> Option<Moment> {
        self.answer_due
    }

    /// How a session is; `None` unless it is up.
    pub fn info(&self, session: SessionId, now: Moment) -> Option<SessionInfo> {
        match &self.sessions.get(&session)?.session {
            Session::Connected(connection) => connection.info(now),
            Session::Initiating(_) | Session::Responding(_) => None,
        }
    }

    /// What became of all datagrams so far.
    pub const fn stats(&self) -> SocketStats {
        self.stats
    }

    /// How many sessions there are, those that are still being made or closed included.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    pub(crate) fn connections(&self) -> impl Iterator<Item = &Connection> {
        self.sessions.values().filter_map(|entry| match &entry.session {
            Session::Connected(connection) => Some(&**connection),
            Session::Initiating(_) | Session::Responding(_) => None,
        })
    }

    /// Whether there is no session, so that a program that closed them all may leave.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    fn each_connection(&mut self, mut change: impl FnMut(&mut Connection)) {
        let ids: Vec<SessionId> = self.sessions.keys().copied().collect();
        for id in ids {
            if let Some(Session::Connected(connection)) =
                self.sessions.get_mut(&id).map(|entry| &mut entry.session)
            {
                change(connection);
                self.attend(id);
            }
        }
    }

    /// Whoever is called long after the time for it has slept. What waits in the socket is old news then,
    /// so every peer is asked at once whether it is still there.
    pub(super) fn notice_sleep(&mut self, now: Moment) {
        let Some(due) = self.wakeups.first() else { return };
        if now.saturating_since(due) >= OVERSLEPT && self.slept_through != due {
            self.slept_through = due;
            self.each_connection(Connection::on_woken);
        }
    }

    /// A session may have changed: it is asked for output, and what it tells and its wakeup are taken.
    fn attend(&mut self, id: SessionId) {
        self.make_ready(id);
        self.settle(id);
    }

    /// A session is asked for output.
    fn make_ready(&mut self, id: SessionId) {
        if let Some(entry) = self.sessions.get_mut(&id) {
            entry.make_ready(id, &mut self.ready);
        }
    }

    /// Takes what a session tells and its wakeup.
    fn settle(&mut self, id: SessionId) {
        self.collect(id);
        if let Some(entry) = self.sessions.get_mut(&id) {
            entry.put_off(id, &mut self.wakeups, &self.unvalidated);
        }
    }

    /// Takes what a session says of its secrets, then what happened to it, and forgets it if it is over.
    fn collect(&mut self, id: SessionId) {
        while let Some(Session::Connected(connection)) =
            self.sessions.get_mut(&id).map(|entry| &mut entry.session)
        {
            if let Some(news) = connection.poll_news() {
                self.take_news(id, &news);
                continue;
            }
            let mut moved = connection.take_found();
            for event in connection.take_events() {
                if let SessionEvent::Moved { remote, .. } = &event {
                    moved = Some(*remote);
                }
                self.events.push_back((id, event));
            }
            while let Some(event) = connection.poll_stream_event() {
                self.events.push_back((id, event));
            }
            let is_over = connection.is_over();
            if is_over {
                moved = connection.proven_remote().filter(|_| connection.up_since().is_some());
            }
            let moved = moved.map(|remote| (connection.peer(), remote));
            if is_over {
                self.forget(id);
            }
            if let Some((peer, remote)) = moved {
                self.note_place(peer, remote);
            }
            return;
        }
    }

    fn next_id(&mut self) -> SessionId {
        let id = SessionId(self.next_session);
        self.next_session = self.next_session.saturating_add(1);
        id
    }

    fn end(&mut self, id: SessionId, reason: EndReason) {
        self.forget(id);
        self.events.push_back((id, SessionEvent::Ended(reason)));
    }

    fn forget(&mut self, id: SessionId) {
        if let Some(entry) = self.sessions.remove(&id) {
            self.wakeups.put_off(id, entry.wakeup, Moment::NEVER);
        }
        self.by_receiver.retain(|_, session| *session != id);
        self.by_ticket.retain(|_, session| *session != id);
        self.ready.retain(|session| *session != id);
    }

    /// A receiver id that names nothing yet.
    fn draw_receiver(&mut self, id: SessionId) -> ReceiverId {
        loop {
            let receiver = ReceiverId(self.rng.next_u32());
            if let Vacant(place) = self.by_receiver.entry(receiver) {
                place.insert(id);
                return receiver;
            }
        }
    }

    fn reachable(&self, endpoints: &UdpEndpoints) -> UdpEndpoints {
        let EndpointConfig { ipv4, ipv6, loopback, .. } = self.config;
        let reachable = |address: &SocketAddr| {
            let family = if address.is_ipv4() { ipv4 } else { ipv6 };
            family && (loopback || !address.ip().to_canonical().is_loopback())
        };
        UdpEndpoints::new(endpoints.as_slice().iter().copied().filter(reachable))
    }
}

#[cfg(test)]
impl Endpoint {
    fn connection(&mut self, id: SessionId) -> Option<&mut Connection> {
        match &mut self.sessions.get_mut(&id)?.session {
            Session::Connected(connection) => Some(connection),
            Session::Initiating(_) | Session::Responding(_) => None,
        }
    }

    pub(crate) fn is_connected_for_test(&self, id: SessionId) -> bool {
        matches!(self.sessions.get(&id).map(|entry| &entry.session), Some(Session::Connected(_)))
    }

    /// The next packet with this content, whatever the content is.
    pub(crate) fn sealed_for_test(&mut self, id: SessionId, content: &[u8]) -> Vec<u8> {
        self.connection(id).unwrap().sealed_for_test(content)
    }

    pub(crate) fn epochs_for_test(&mut self, id: SessionId) -> Option<&mut Epochs> {
        self.connection(id).map(Connection::epochs_for_test)
    }

    pub(crate) fn skip_numbers_for_test(&mut self, id: SessionId, number: u64) {
        self.connection(id).unwrap().skip_numbers_to(number);
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sessions, stats, .. } = self;
        f.debug_struct("Endpoint")
            .field("sessions", &sessions.len())
            .field("stats", stats)
            .finish_non_exhaustive()
    }
}
