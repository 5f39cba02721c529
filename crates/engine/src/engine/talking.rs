//! Sessions and what is said in them: from an introduction to the last receipt.

use std::collections::BTreeMap;

use p2pchat_conversation::{self as conversation, ComposeError, Outgoing};
use p2pchat_crypto::{EndpointBox, EndpointsError, Introduction, Role};
use p2pchat_proto::broker::{Endpoints, Watch};
use p2pchat_proto::conversation::DeviceEpoch;
use p2pchat_proto::frame::TYPING;
use p2pchat_proto::stream::UNKNOWN_HEAD;
use p2pchat_proto::{PeerId, RequestId, UdpEndpoints};
use p2pchat_session::{
    CloseCode, EndReason, Endpoint, SessionEvent as Happened, SessionId, StreamError, StreamEvent, StreamId,
};
use rand::RngExt;

use super::Engine;
use super::broker::Asked;
use p2pchat_transfer::{BodyError, SessionEnd};

use crate::effect::Effect;
use crate::event::{
    CommandId, Delivery, Event, MessageEvent, ReceiptEvent, SessionEvent, SessionState, Trust, TrustEvent,
};
use crate::failure::Failure;
use crate::now::Now;
use crate::people::Pin;

/// How a session ends when its user is done with it.
pub(super) const CLOSE_DONE: CloseCode = CloseCode::Done;

/// How a session came to be, and so what it leaves behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bond {
    /// This user asked. It is asked for again when it is lost.
    Connecting {
        /// It is a lost session, made anew.
        again: bool,
    },
    /// This user accepted, and the other side becomes a contact.
    Accepted,
    /// This user accepted, for this time.
    Once,
}

impl Bond {
    pub(crate) const fn connecting(again: bool) -> Self {
        Self::Connecting { again }
    }
}

/// One session, from its introduction to its end.
pub(super) struct Meeting {
    pub(super) peer: PeerId,
    pub(super) bond: Bond,
    pub(super) state: SessionState,
    /// What is known of the peer's key; at a first contact it is new until the session is up.
    pub(super) trust: Trust,
    /// Of the request that introduced the two; none where they met again without the broker.
    introduced: Option<(RequestId, EndpointBox)>,
    /// Whether this user's request introduced them.
    asked: bool,
}

impl Meeting {
    /// With a contact, without the broker.
    pub(super) const fn direct(peer: PeerId, bond: Bond, trust: Trust) -> Self {
        Self { peer, bond, state: SessionState::Connecting, trust, introduced: None, asked: false }
    }

    pub(super) const fn is_direct(&self) -> bool {
        self.introduced.is_none()
    }

    fn is_of(&self, request: RequestId) -> bool {
        self.introduced.as_ref().is_some_and(|(of, _)| *of == request)
    }
}

impl Engine {
    /// Begins a session with somebody who was introduced by a request.
    pub(super) fn meet(
        &mut self,
        request: RequestId,
        introduction: Introduction,
        mut endpoints: EndpointBox,
        theirs: &UdpEndpoints,
        bond: Bond,
        now: Now,
    ) {
        let peer = introduction.peer();
        let asked = introduction.role() == Role::Initiator;
        if asked {
            let sealed = endpoints.seal(&self.announced);
            self.ask(Endpoints { request, sealed }.into(), Asked::Nothing);
        }
        let session = self.endpoint.introduce(introduction, theirs, now.moment);
        let trust = self.people.trust(peer);
        let state = SessionState::Connecting;
        let introduced = Some((request, endpoints));
        self.meetings.insert(session, Meeting { peer, bond, state, trust, introduced, asked });
        // To whoever is together with them it is news only once it takes the place of the other one.
        if !self.is_together(peer) && !self.is_in_vain(peer) {
            self.show_session(session, None, now);
        }
    }

    /// Further endpoints of the other side of an accepted request.
    pub(super) fn endpoints_came(&mut self, endpoints: &Endpoints, now: Now) {
        let found = self.meetings.iter_mut().find(|(_, meeting)| meeting.is_of(endpoints.request));
        let Some((&session, Meeting { introduced: Some((_, opener)), .. })) = found else { return };
        match opener.open(&endpoints.sealed) {
            Ok(theirs) => {
                let theirs = self.reachable(theirs);
                self.endpoint.add_endpoints(session, &theirs, now.moment);
            }
            // Sealed by the other side and repeated by the broker: nothing new, and no harm.
            Err(EndpointsError::Stale) => {}
            Err(EndpointsError::Unauthentic | EndpointsError::Malformed) => {
                self.forget_meeting(endpoints.request, now);
                let what = "the endpoints of the other side".to_owned();
                self.events.push_back(Event::Error(Failure::Tampered { what }));
            }
        }
    }

    /// Ends a session that has not come up.
    pub(super) fn forget_meeting(&mut self, request: RequestId, now: Now) {
        let found = self
            .meetings
            .iter()
            .find(|(_, meeting)| meeting.is_of(request) && meeting.state == SessionState::Connecting);
        if let Some((&session, _)) = found {
            self.endpoint.close(session, CLOSE_DONE, now.moment);
        }
    }

    /// Addresses that may be dialled: loopback means this machine only where both sides are known
    /// to be on it (protocol section 4).
    pub(super) fn reachable(&self, theirs: UdpEndpoints) -> UdpEndpoints {
        if self.over_loopback || self.loopback_only { theirs } else { theirs.without_loopback() }
    }

    pub(super) fn close_session(&mut self, id: CommandId, peer: PeerId, now: Now) {
        let looked = self.stop_looking_for(peer);
        let Some(&session) = self.live.get(&peer) else {
            if looked {
                self.done(id);
            } else {
                self.failed(id, Failure::NoSuch { what: "session" });
            }
            return;
        };
        self.endpoint.close(session, CLOSE_DONE, now.moment);
        self.done(id);
    }

    pub(super) fn compose(&mut self, id: CommandId, to: PeerId, text: String, now: Now) {
        let to = self.now_known_as(to);
        if let Err(failure) = self.may_talk(Some(to), None) {
            self.failed(id, failure);
            return;
        }
        match self.conversations.compose(to, text, now.wall) {
            Ok(message) => {
                let message = Some(message);
                self.events.push_back(Event::Done { id, message, transfer: None, request: None });
                self.ask_for_recipient(to, now);
            }
            Err(error) => self.failed(id, compose_failure(error)),
        }
    }

    pub(super) fn type_for(&mut self, id: CommandId, to: PeerId, now: Now) {
        if let Some(&session) = self.live.get(&self.now_known_as(to)) {
            self.endpoint.hint(session, TYPING, now.moment);
        }
        self.done(id);
    }

    fn hinted(&mut self, session: SessionId, kind: u8) {
        let Some(meeting) = self.meetings.get(&session).filter(|_| kind == TYPING) else { return };
        let name = self.people.shown(meeting.peer);
        self.events.push_back(Event::Typing { peer: meeting.peer, name });
    }

    pub(super) fn settle_sessions(&mut self, now: Now) -> bool {
        let mut moved = false;
        while let Some((session, happened)) = self.endpoint.poll_event() {
            moved = true;
            match happened {
                Happened::Up { .. } => self.session_up(session, now),
                Happened::Body { stream, kind, bytes } => {
                    self.body_came(session, stream, kind, &bytes, now);
                }
                // Where the session runs now is told to whoever asks.
                Happened::Moved { .. } => {}
                Happened::Hint { kind } => self.hinted(session, kind),
                Happened::Stream(event) => self.refuse_stream(session, event, now),
                Happened::Suspect => {
                    self.set_session_state(session, SessionState::Suspect, now);
                    self.look_after_sleep(session, now);
                    self.ask_after_move(session, now);
                }
                Happened::Recovered => {
                    self.set_session_state(session, SessionState::Up, now);
                    self.ask_no_more(session);
                }
                Happened::Ended(reason) => self.session_ended(session, &reason, now),
            }
        }
        moved
    }

    /// Nothing here uses a stream that the peer opens.
    fn refuse_stream(&mut self, session: SessionId, event: StreamEvent, now: Now) {
        if let StreamEvent::Opened { stream, .. } = event {
            // It may have ended in the packet that opened it; then nothing is left to refuse.
            let refused = self.endpoint.reset(session, stream, UNKNOWN_HEAD, now.moment);
            debug_assert!(matches!(refused, Ok(()) | Err(StreamError::NoStream | StreamError::NotUp)));
        }
    }

    #[inline]
    pub(super) fn settle_conversations(&mut self, now: Now) -> bool {
        // Asked in every turn, and mostly quiet in the last one.
        !self.conversations.is_quiet() && self.take_from_conversations(now)
    }

    fn take_from_conversations(&mut self, now: Now) -> bool {
        let mut moved = false;
        while let Some(peer) = self.conversations.poll_rewound() {
            self.conversations.renew(peer, DeviceEpoch(self.rng.random()));
        }
        while let Some(effect) = self.conversations.poll_effect() {
            moved = true;
            match effect {
                conversation::Effect::Commit { batch, writes } => {
                    self.effects.push_back(Effect::Commit { batch, writes });
                }
                conversation::Effect::Load { query, peer } => {
                    self.effects.push_back(Effect::Load { query, peer });
                }
            }
        }
        while let Some(Outgoing { to, kind, body }) = self.conversations.poll_send() {
            moved = true;
            send(&self.live, &mut self.endpoint, to, StreamId::CONVERSATION, kind, body, now);
        }
        moved | self.show_conversations()
    }

    fn session_up(&mut self, session: SessionId, now: Now) {
        self.meet_again(session, now);
        let Some(meeting) = self.meetings.get_mut(&session) else { return };
        let (peer, bond) = (meeting.peer, meeting.bond);
        if self.people.may_talk(Some(peer)).is_err() {
            self.meetings.remove(&session);
            self.endpoint.close(session, CLOSE_DONE, now.moment);
            return;
        }
        if self.endpoint.info(session, now.moment).is_none() {
            // It ended with the packet that brought it up.
            return;
        }
        let older = self.live.get(&peer).copied().filter(|older| *older != session);
        if let Some(older) = older.filter(|&older| !self.endpoint.replaces(session, older)) {
            self.meetings.remove(&session);
            self.endpoint.close(session, CloseCode::Replaced, now.moment);
            self.take_over(older, peer, bond);
            return;
        }
        if let Some(meeting) = self.meetings.get_mut(&session) {
            meeting.state = SessionState::Up;
        }
        self.bonds.insert(peer, bond);
        self.stop_looking_for(peer);
        if let Some(older) = self.live.insert(peer, session)
            && older != session
        {
            self.meetings.remove(&older);
            self.endpoint.close(older, CloseCode::Replaced, now.moment);
            self.conversations.session_down(peer);
            self.transfers.session_down(peer, SessionEnd::Lost, now.moment);
        }
        self.show_session(session, None, now);
        if bond != Bond::Once || self.people.is_pinned(peer) {
            self.pin(peer);
        }
        if self.people.is_pinned(peer) {
            self.endpoint.keep(session);
        }
        let suite = self.endpoint.info(session, now.moment).map(|info| info.suite);
        self.conversations.session_up(peer);
        if let Some(suite) = suite {
            self.transfers.session_up(peer, suite, now.moment);
        }
        // Whoever else was asked for the same person is not needed any more.
        while let Some(wish) = self.wish_for(peer, self.people.name(peer).as_ref()) {
            self.fulfil(wish);
        }
    }

    /// The session that stays was accepted here; where this user had asked as well, it is theirs.
    fn take_over(&mut self, kept: SessionId, peer: PeerId, bond: Bond) {
        let asked = |bond: Bond| matches!(bond, Bond::Connecting { .. });
        let Some(meeting) = self.meetings.get_mut(&kept).filter(|meeting| !asked(meeting.bond)) else {
            return;
        };
        if asked(bond) {
            meeting.bond = bond;
            self.bonds.insert(peer, bond);
            self.pin(peer);
            if self.people.is_pinned(peer) {
                self.endpoint.keep(kept);
            }
        }
    }

    /// A contact who was known from another broker has a name here from now on; a name by which the user
    /// means somebody else is nobody's to have.
    fn pin(&mut self, peer: PeerId) {
        let (Some(name), Some(broker)) = (self.people.name(peer), self.link.key()) else { return };
        let known = self.people.is_pinned(peer);
        let has_one = self.people.pinned_here(peer).is_some() || self.people.replaced.by(peer).is_some();
        if has_one || (known && self.people.is_anothers(&name, peer)) {
            return;
        }
        let pin = Pin { peer, name, broker };
        self.people.pin(pin.clone());
        self.effects.push_back(Effect::Pin(pin));
        if known {
            return;
        }
        self.trust_is_new(peer);
        self.ask(Watch { add: vec![peer], remove: Vec::new() }.into(), Asked::Nothing);
        self.events.push_back(Event::Trust(TrustEvent {
            peer,
            name: self.people.shown(peer),
            was: Trust::New,
            is: self.people.trust(peer),
            pinned: None,
            followed: false,
            safety: self.safety_words(peer),
        }));
    }

    fn body_came(&mut self, session: SessionId, stream: StreamId, kind: u8, bytes: &[u8], now: Now) {
        let Some(meeting) = self.meetings.get(&session) else { return };
        let peer = meeting.peer;
        let taken = if stream == StreamId::CONVERSATION {
            self.conversations.handle_body(peer, kind, bytes, now.wall).is_ok()
        } else if stream == StreamId::CONTROL {
            // A kind of a later version is nobody's fault.
            matches!(
                self.transfers.handle_body(peer, kind, bytes, now.moment),
                Ok(()) | Err(BodyError::UnknownKind(_))
            )
        } else {
            false
        };
        if !taken {
            self.endpoint.close(session, CloseCode::Misbehaved, now.moment);
        }
    }

    fn set_session_state(&mut self, session: SessionId, state: SessionState, now: Now) {
        if let Some(meeting) = self.meetings.get_mut(&session) {
            meeting.state = state;
            self.show_session(session, None, now);
        }
    }

    fn session_ended(&mut self, session: SessionId, reason: &EndReason, now: Now) {
        let Some(meeting) = self.meetings.get_mut(&session) else { return };
        let was_up = meeting.state != SessionState::Connecting;
        let (peer, bond) = (meeting.peer, meeting.bond);
        let ending = Ending::of(reason, self.replaced);
        if meeting.is_direct() && !was_up {
            self.meetings.remove(&session);
            self.reunion_failed(peer, session, now);
            return;
        }
        if !was_up && self.live.contains_key(&peer) {
            // They are together in another session: that this one did not come up is no news.
            self.meetings.remove(&session);
            return;
        }
        let asked = meeting.asked;
        meeting.state = ending.state;
        let in_vain = !was_up && *reason == EndReason::HandshakeTimedOut;
        let told = in_vain && self.told_in_vain(peer, bond);
        if !told {
            self.show_session(session, Some(ending.reason.to_owned()), now);
        }
        self.meetings.remove(&session);
        if self.live.get(&peer) == Some(&session) {
            self.live.remove(&peer);
            self.conversations.session_down(peer);
            self.transfers.session_down(peer, ending.transfers, now.moment);
        }
        let mine = matches!(bond, Bond::Connecting { .. });
        let again = bond == Bond::Connecting { again: true };
        if self.live.contains_key(&peer) {
            return;
        }
        if ending.again && was_up {
            self.look_again(peer, now);
        }
        if !was_up {
            self.ask_anew(Some(peer), self.people.name(peer).as_ref(), now);
        }
        if mine && ending.again && (was_up || again) {
            self.wish_again(peer, now);
        } else if in_vain && (asked || mine) {
            self.events.push_back(Event::Error(Failure::NoPath { who: self.people.label(peer) }));
        }
    }

    fn is_together(&self, peer: PeerId) -> bool {
        let live = self.live.get(&peer).and_then(|session| self.meetings.get(session));
        live.is_some_and(|meeting| meeting.state == SessionState::Up)
    }

    /// Tells a front end that asked for somebody who is there already.
    pub(super) fn show_session_again(&mut self, session: SessionId, now: Now) {
        self.show_session(session, None, now);
    }

    fn show_session(&mut self, session: SessionId, reason: Option<String>, now: Now) {
        let Some(meeting) = self.meetings.get(&session) else { return };
        let (peer, state, trust) = (meeting.peer, meeting.state, meeting.trust);
        let link = self.session_link(session, now);
        let name = self.people.shown(peer);
        self.events.push_back(Event::Session(SessionEvent { peer, name, state, link, trust, reason }));
    }

    fn show_conversations(&mut self) -> bool {
        // Many messages at once are mostly somebody's alone.
        let mut shown = None;
        let mut moved = false;
        while let Some(event) = self.conversations.poll_event() {
            moved = true;
            self.events.push_back(match event {
                conversation::Event::Message { peer, message, was, text, sent_at, mine, late } => {
                    let (_, name) = shown
                        .take_if(|(of, _)| *of == peer)
                        .unwrap_or_else(|| (peer, self.people.shown(peer)));
                    shown = Some((peer, name.clone()));
                    Event::Message(MessageEvent { peer, name, message, was, text, sent_at, mine, late })
                }
                conversation::Event::Receipt { peer, message, was, state } => {
                    Event::Receipt(ReceiptEvent { peer, message, was, state: delivery(state) })
                }
            });
        }
        moved
    }
}

/// Puts a body on a stream of the session with `to`. Without one it goes nowhere: what must arrive is kept
/// by the part that sent it and sent again when a session is up.
pub(super) fn send(
    live: &BTreeMap<PeerId, SessionId>,
    endpoint: &mut Endpoint,
    to: PeerId,
    stream: StreamId,
    kind: u8,
    body: &[u8],
    now: Now,
) {
    let Some(&session) = live.get(&to) else { return };
    if endpoint.send(session, stream, kind, body, now.moment).is_err() {
        // Every sender bounds what it has under way, so a full session is a peer that reads nothing;
        // ending it keeps the order of what comes after intact.
        endpoint.close(session, CloseCode::Misbehaved, now.moment);
    }
}

/// How an end looks to the user.
struct Ending {
    state: SessionState,
    reason: &'static str,
    /// Whether the conversation should go on in another session.
    again: bool,
    transfers: SessionEnd,
}

impl Ending {
    /// `replaced` if another login of this identity took this one's place.
    fn of(reason: &EndReason, replaced: bool) -> Self {
        let (state, reason, again) = match reason {
            EndReason::ClosedByPeer(CloseCode::Replaced) | EndReason::Lost if replaced => {
                (SessionState::Closed, "this identity logged in somewhere else", false)
            }
            EndReason::ClosedHere => (SessionState::Closed, "closed", false),
            EndReason::ClosedByPeer(CloseCode::KeysUsedUp) | EndReason::KeysUsedUp => {
                (SessionState::Lost, "its keys are used up, and are made anew", true)
            }
            EndReason::ClosedByPeer(CloseCode::Replaced) => {
                (SessionState::Lost, "another session takes its place", true)
            }
            EndReason::ClosedByPeer(CloseCode::Misbehaved) => {
                (SessionState::Closed, "the other side did not understand a message", false)
            }
            EndReason::ClosedByPeer(_) => (SessionState::Closed, "the other side closed it", false),
            EndReason::Lost => (SessionState::Lost, "nothing heard for 30 s", true),
            EndReason::HandshakeTimedOut => {
                (SessionState::Lost, "no datagram came through within 20 s", true)
            }
            EndReason::PeerMisbehaved(_) => {
                (SessionState::Closed, "the other side broke the protocol", false)
            }
        };
        let transfers = if again { SessionEnd::Lost } else { SessionEnd::Closed };
        Self { state, reason, again, transfers }
    }
}

fn delivery(state: conversation::Delivery) -> Delivery {
    match state {
        conversation::Delivery::Queued => Delivery::Queued,
        conversation::Delivery::Sent => Delivery::Sent,
        conversation::Delivery::Stored => Delivery::Stored,
        conversation::Delivery::Read => Delivery::Read,
        conversation::Delivery::Failed => Delivery::Failed,
    }
}

fn compose_failure(error: ComposeError) -> Failure {
    match error {
        ComposeError::Empty => Failure::Usage("the message is empty".to_owned()),
        ComposeError::TooLong { len, max } => Failure::TooLong { len, max },
        ComposeError::OutboxFull { waiting } => {
            Failure::NotAllowed { what: format!("another message while {waiting} wait for this person") }
        }
    }
}
