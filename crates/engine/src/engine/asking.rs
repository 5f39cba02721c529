//! One's own requests: from the wish to talk to somebody to the introduction.

use core::time::Duration;

use p2pchat_crypto::offer::{OfferError, PendingRequest, RequestTerms, suites};
use p2pchat_proto::broker::{
    AnswerBody, Answered, Cancel, Cancelled, CancelledWhy, Outcome, Request, ToBroker,
};
use p2pchat_proto::offer::{Purpose, SignedOffer};
use p2pchat_proto::{Name, PeerId, RequestId};
use rand::RngExt;

use super::Engine;
use super::broker::Asked;
use crate::command::Target;
use crate::event::{CommandId, Direction, Event, RequestEvent, RequestState, Trust};
use crate::failure::Failure;
use crate::now::Now;
use crate::people::Elsewhere;
use crate::wish::{OpenRequest, RENEW_EVERY, Wish, WishId};

impl Engine {
    pub(super) fn connect(&mut self, id: CommandId, to: Target, wait: Duration, passing: bool, now: Now) {
        let (peer, name) = match to {
            Target::Peer(peer) => {
                let peer = self.now_known_as(peer);
                (Some(peer), self.people.name(peer))
            }
            Target::Name(name) => match self.people.called(&name) {
                Some(peer) if self.people.pinned_as(&name) != Some(peer) => {
                    (Some(peer), self.people.name(peer))
                }
                Some(peer) => (Some(peer), Some(name)),
                None => match self.known_elsewhere(&name) {
                    Ok(peer) => (peer, Some(name)),
                    Err(failure) => return self.failed(id, failure),
                },
            },
        };
        if peer == Some(self.me.peer_id()) || name.as_ref() == Some(&self.name) {
            self.failed(id, Failure::NotAllowed { what: "a chat with yourself".to_owned() });
            return;
        }
        if peer.is_some()
            && let Err(failure) = self.may_talk(peer, name.as_ref())
        {
            self.failed(id, failure);
            return;
        }
        if let Some(session) = peer.and_then(|peer| self.live.get(&peer).copied()) {
            self.done(id);
            self.show_session_again(session, now);
            return;
        }
        if self.link.is_closed() {
            let failure = self.no_broker();
            self.failed(id, failure);
            return;
        }
        // Somebody who waits for an answer already gets it.
        let waiting = self
            .incoming
            .iter()
            .find(|(_, request)| peer == Some(request.from) || (peer.is_none() && name == request.name))
            .map(|(&request, _)| request);
        if let Some(request) = waiting {
            self.accept_request(id, request, passing, now);
            return;
        }
        if let Some(peer) = peer {
            self.tell_again_of(peer);
        }
        self.wish(Wish { passing, ..Wish::asked(peer, name, id, wait, now) });
        self.wishes_due(now);
        if let Some(peer) = peer {
            self.look_for_wished(peer, now);
        }
    }

    /// Whoever is pinned under a name at another broker is meant here, too, and nobody else of that name.
    fn known_elsewhere(&self, name: &Name) -> Result<Option<PeerId>, Failure> {
        match self.people.elsewhere(name) {
            Elsewhere::Nobody => Ok(None),
            Elsewhere::One(peer) => Ok(Some(peer)),
            Elsewhere::Several => {
                Err(Failure::Usage(format!("several people are called {name}; say which by id")))
            }
        }
    }

    pub(super) fn wish(&mut self, wish: Wish) {
        let id = self.next_wish_id();
        self.wishes.insert(id, wish);
    }

    pub(super) fn next_wish_id(&mut self) -> WishId {
        self.next_wish = self.next_wish.saturating_add(1);
        WishId(self.next_wish)
    }

    /// Somebody whose session does not go on is wished for again, once.
    pub(super) fn wish_again(&mut self, peer: PeerId, now: Now) {
        let name = self.people.name(peer);
        if self.wish_for(peer, name.as_ref()).is_none() {
            self.wish(Wish::again(peer, name, now));
        }
    }

    pub(super) fn cancel_request(&mut self, id: CommandId, request: RequestId, now: Now) {
        let Some(wish) = self.wish_of(request) else {
            self.failed(id, Failure::NoSuch { what: "request" });
            return;
        };
        self.end_wish(wish, RequestState::Cancelled, None, now);
        self.done(id);
    }

    /// Sends what is due: first requests, renewals, and the end of what nobody answered.
    pub(super) fn wishes_due(&mut self, now: Now) {
        let ready = self.link.is_ready();
        let due: Vec<WishId> = self
            .wishes
            .iter()
            .filter(|(_, wish)| now.reached(wish.poll_timeout(ready)))
            .map(|(&id, _)| id)
            .collect();
        for id in due {
            self.wish_due(id, ready, now);
        }
    }

    fn wish_due(&mut self, id: WishId, ready: bool, now: Now) {
        let Some(wish) = self.wishes.get_mut(&id) else { return };
        if now.reached(wish.deadline) {
            self.wish_expired(id, now);
        } else if !ready {
            if wish.open.is_none() && now.reached(wish.broker_deadline) {
                let command = wish.command.take();
                self.wishes.remove(&id);
                let failure = self.no_broker();
                self.report_failure(command, failure);
            }
        } else if let Some(open) = &mut wish.open {
            if now.reached(open.renew_at) {
                open.renew_at = now.after(RENEW_EVERY);
                if now.reached(open.stale_at) {
                    self.take_back(id);
                    self.open_request(id, now);
                } else {
                    self.send_request(id);
                }
            }
        } else if now.reached(wish.not_before) {
            self.open_request(id, now);
        }
    }

    fn wish_expired(&mut self, id: WishId, now: Now) {
        let Some(wish) = self.wishes.get_mut(&id) else { return };
        let (who, peer, name) = (wish.who(), wish.peer, wish.name.clone());
        let command = wish.command.take();
        if wish.open.is_some() {
            self.end_wish(id, RequestState::Expired, None, now);
            self.ask_anew(peer, name.as_ref(), now);
            if command.is_some() {
                self.report_failure(command, Failure::NoAnswer { who });
            }
        } else {
            self.wishes.remove(&id);
            let failure = self.no_broker();
            self.report_failure(command, failure);
        }
    }

    /// Makes fresh keys and an offer with them, and sends it.
    fn open_request(&mut self, id: WishId, now: Now) {
        let (Some(wish), Some(broker_key)) = (self.wishes.get(&id), self.link.key()) else { return };
        // Whose names are meant is known for sure only now that the broker has proven its key.
        let meant = match (wish.peer, &wish.name) {
            (Some(peer), name) => Ok((Some(peer), name.clone().or_else(|| self.people.name(peer)))),
            (None, Some(name)) => match self.people.pinned_as(name) {
                Some(peer) => Ok((Some(peer), Some(name.clone()))),
                None => self.known_elsewhere(name).map(|peer| (peer, Some(name.clone()))),
            },
            (None, None) => return,
        };
        let (peer, name) = match meant {
            Ok(meant) => meant,
            Err(failure) => {
                let command = self.wishes.remove(&id).and_then(|wish| wish.command);
                self.report_failure(command, failure);
                return;
            }
        };
        let Some(wish) = self.wishes.get_mut(&id) else { return };
        (wish.peer, wish.name) = (peer, name.clone());
        let Some(to) = wish.addressee() else { return };
        if let Err(failure) = self.may_talk(peer, name.as_ref()) {
            let command = self.wishes.remove(&id).and_then(|wish| wish.command);
            self.report_failure(command, failure);
            return;
        }
        let request = RequestId(self.rng.random());
        let made = self.link.brokers_time(now);
        let terms = RequestTerms { request, to, broker_key, made, purpose: Purpose::Chat, suites: suites() };
        match PendingRequest::new(&self.me, terms, &mut self.rng) {
            Ok(pending) => {
                if let Some(wish) = self.wishes.get_mut(&id) {
                    wish.open = Some(OpenRequest::new(pending, request, now));
                }
                self.send_request(id);
            }
            Err(error) => {
                let command = self.wishes.remove(&id).and_then(|wish| wish.command);
                self.report_failure(command, Failure::Internal(error.to_string()));
            }
        }
    }

    fn send_request(&mut self, id: WishId) {
        let Some(wish) = self.wishes.get(&id) else { return };
        let Some(open) = &wish.open else { return };
        let offer = open.pending.offer().clone();
        let message = Request { request: open.request, to: wish.peer, name: wish.name.clone(), offer };
        self.ask(message.into(), Asked::Request(id));
    }

    pub(super) fn request_replied(&mut self, id: WishId, outcome: Outcome, now: Now) {
        let Some(wish) = self.wishes.get_mut(&id) else { return };
        let who = wish.who();
        let failure = match outcome {
            Outcome::Done => {
                let command = wish.command.take();
                let request = wish.open.as_ref().map(|open| open.request);
                if let Some(command) = command {
                    self.events.push_back(Event::Done {
                        id: command,
                        message: None,
                        transfer: None,
                        request,
                    });
                    self.show_wish(id, RequestState::Open, None);
                }
                return;
            }
            Outcome::BoundTo(came) if wish.peer.is_some_and(|pinned| pinned != came) => {
                if let Some(wish) = self.wishes.remove(&id) {
                    self.wish_bound_to(id, wish, came);
                }
                return;
            }
            // Said of a request for the key before: this user has followed meanwhile, and asks anew.
            Outcome::BoundTo(came) if wish.peer == Some(came) => return,
            Outcome::NotOnline | Outcome::RateLimited(_) | Outcome::Unavailable | Outcome::Unknown
                if wish.reconnect =>
            {
                self.retry(id, now);
                return;
            }
            Outcome::NotOnline => Failure::NotOnline { who },
            Outcome::Unknown => Failure::UnknownPeer { who },
            Outcome::RateLimited(seconds) => {
                let again = now.after(Duration::from_secs(seconds.into()));
                if again < wish.deadline {
                    wish.held_up(again);
                    return;
                }
                Failure::NotAllowed { what: format!("another request within {seconds} s") }
            }
            Outcome::Unavailable
            | Outcome::BoundTo(_)
            | Outcome::Page { .. }
            | Outcome::NameTaken
            | Outcome::NameHeld(_)
            | Outcome::NoSuchRequest => Failure::BrokerRefused {
                address: self.link.address().to_owned(),
                reason: "it did not take the request".to_owned(),
            },
        };
        let command = wish.command.take();
        self.wishes.remove(&id);
        self.report_failure(command, failure);
    }

    pub(super) fn request_answered(&mut self, answered: Answered, now: Now) {
        let Some(id) = self.wish_of(answered.request) else { return };
        // It was passed on, also where the broker keeps its reply to itself.
        self.request_replied(id, Outcome::Done, now);
        match answered.answer {
            AnswerBody::Decline { reason } => {
                let reason = reason.as_str().to_owned();
                self.finish_wish(id, RequestState::Declined, Some(reason));
            }
            AnswerBody::Accept { offer, endpoints } => {
                self.request_accepted(id, answered.from, &offer, &endpoints, now);
            }
        }
    }

    fn request_accepted(
        &mut self,
        id: WishId,
        from: PeerId,
        offer: &SignedOffer,
        sealed: &p2pchat_proto::broker::SealedEndpoints,
        now: Now,
    ) {
        let Some(mut wish) = self.wishes.remove(&id) else { return };
        let (Some(open), Some(broker_key)) = (wish.open.take(), self.link.key()) else { return };
        let request = open.request;
        let name = wish.name.clone();
        if let Some(pinned) = wish.peer.filter(|&peer| peer != from) {
            self.show_request(request, Some(from), name.clone(), RequestState::Cancelled, None);
            self.key_changed(None, name, pinned, from);
            return;
        }
        if self.people.replaced.by(from).is_some() {
            self.show_request(request, Some(from), name.clone(), RequestState::Cancelled, None);
            self.replaced_key_came(name, from);
            return;
        }
        let wall = self.link.brokers_time(now);
        let accepted = match open.pending.accepted(&self.me, offer, from, broker_key, wall) {
            Ok(accepted) => accepted,
            Err(error) => {
                self.show_request(
                    request,
                    Some(from),
                    name,
                    RequestState::Cancelled,
                    Some(error.to_string()),
                );
                self.events.push_back(Event::Error(offer_failure(&error)));
                return;
            }
        };
        let mut endpoints = accepted.endpoints;
        let Ok(theirs) = endpoints.open(sealed) else {
            let what = "the endpoints in the answer".to_owned();
            self.show_request(request, Some(from), name, RequestState::Cancelled, Some(what.clone()));
            self.events.push_back(Event::Error(Failure::Tampered { what }));
            return;
        };
        if let Some(name) = &name {
            self.people.learn_name(from, name);
        }
        if !wish.reconnect {
            self.show_request(request, Some(from), name, RequestState::Accepted, None);
        }
        let theirs = self.reachable(theirs);
        self.meet(request, accepted.introduction, endpoints, &theirs, wish.bond(), now);
    }

    pub(super) fn request_cancelled(&mut self, cancelled: &Cancelled, now: Now) {
        if self.put_off_cancelled(cancelled.request) {
            return;
        }
        if self.incoming.contains_key(&cancelled.request) {
            let state = match cancelled.why {
                CancelledWhy::TakenBack | CancelledWhy::Gone => RequestState::Cancelled,
                CancelledWhy::Expired => RequestState::Expired,
            };
            self.drop_incoming(cancelled.request, state);
            return;
        }
        let Some(id) = self.wish_of(cancelled.request) else { return };
        if self.wishes.get(&id).is_some_and(|wish| wish.reconnect) {
            self.retry(id, now);
            return;
        }
        let whom = self.wishes.get(&id).map(|wish| (wish.peer, wish.name.clone()));
        match cancelled.why {
            CancelledWhy::Expired => self.finish_wish(id, RequestState::Expired, None),
            CancelledWhy::TakenBack | CancelledWhy::Gone => {
                let reason = "the other side left".to_owned();
                self.finish_wish(id, RequestState::Cancelled, Some(reason));
            }
        }
        if let Some((peer, name)) = whom {
            self.ask_anew(peer, name.as_ref(), now);
        }
    }

    /// Of several requests to one person the other side keeps the newest. Where that has come to nothing,
    /// whatever else was asked of the same person is asked again.
    pub(super) fn ask_anew(&mut self, peer: Option<PeerId>, name: Option<&Name>, now: Now) {
        let same = |wish: &Wish| {
            peer.map_or_else(|| name.is_some() && wish.name.as_ref() == name, |peer| wish.means(peer, name))
        };
        let others: Vec<WishId> =
            self.wishes.iter().filter(|(_, wish)| same(wish)).map(|(&id, _)| id).collect();
        for id in others {
            self.take_back(id);
            if let Some(wish) = self.wishes.get_mut(&id)
                && wish.open.take().is_some()
            {
                wish.not_before = wish.not_before.max(now.moment);
            }
        }
    }

    /// The broker is gone, and with it every open request; the wishes stay.
    pub(super) fn requests_gone(&mut self, now: Now) {
        for wish in self.wishes.values_mut() {
            if wish.open.take().is_some() {
                wish.not_before = now.moment;
                wish.broker_deadline = wish.deadline;
            }
        }
        let incoming: Vec<RequestId> = self.incoming.keys().copied().collect();
        for request in incoming {
            self.drop_incoming(request, RequestState::Cancelled);
        }
    }

    /// The broker will not come back.
    pub(super) fn fail_wishes(&mut self, failure: &Failure) {
        for wish in core::mem::take(&mut self.wishes).into_values() {
            if let Some(command) = wish.command {
                self.failed(command, failure.clone());
            }
        }
    }

    /// The open wish for somebody who asks at the same moment.
    pub(super) fn wish_for(&self, peer: PeerId, name: Option<&Name>) -> Option<WishId> {
        self.wishes.iter().find(|(_, wish)| wish.means(peer, name)).map(|(&id, _)| id)
    }

    /// Drops a wish that is fulfilled another way, and its request with it.
    pub(super) fn fulfil(&mut self, id: WishId) {
        self.take_back(id);
        if let Some(command) = self.wishes.remove(&id).and_then(|wish| wish.command) {
            self.done(command);
        }
    }

    fn retry(&mut self, id: WishId, now: Now) {
        if let Some(wish) = self.wishes.get_mut(&id) {
            wish.retry_later(now);
        }
    }

    fn wish_of(&self, request: RequestId) -> Option<WishId> {
        self.wishes
            .iter()
            .find(|(_, wish)| wish.open.as_ref().is_some_and(|open| open.request == request))
            .map(|(&id, _)| id)
    }

    pub(super) fn take_back(&mut self, id: WishId) {
        if let Some(open) = self.wishes.get(&id).and_then(|wish| wish.open.as_ref()) {
            let cancel = Cancel { request: open.request };
            self.ask(ToBroker::from(cancel), Asked::Nothing);
        }
    }

    pub(super) fn end_wish(&mut self, id: WishId, state: RequestState, reason: Option<String>, _now: Now) {
        self.take_back(id);
        self.finish_wish(id, state, reason);
    }

    fn finish_wish(&mut self, id: WishId, state: RequestState, reason: Option<String>) {
        self.show_wish(id, state, reason);
        // Whose request was never confirmed hears of its end all the same.
        if let Some(wish) = self.wishes.remove(&id)
            && wish.command.is_some()
        {
            self.report_failure(wish.command, Failure::NoAnswer { who: wish.who() });
        }
    }

    fn show_wish(&mut self, id: WishId, state: RequestState, reason: Option<String>) {
        let Some(wish) = self.wishes.get(&id) else { return };
        let Some(open) = &wish.open else { return };
        let (request, peer, name) = (open.request, wish.peer, wish.name.clone());
        self.show_request(request, peer, name, state, reason);
    }

    fn show_request(
        &mut self,
        request: RequestId,
        peer: Option<PeerId>,
        name: Option<Name>,
        state: RequestState,
        reason: Option<String>,
    ) {
        let trust = peer.map_or(Trust::New, |peer| self.people.trust(peer));
        let name = peer.map_or_else(|| name.clone(), |peer| self.people.shown_as(peer, name.as_ref()));
        let direction = Direction::Out;
        self.events.push_back(Event::Request(RequestEvent {
            request,
            direction,
            peer,
            name,
            trust,
            state,
            reason,
        }));
    }
}

/// What a user is told about an offer that does not hold.
pub(super) fn offer_failure(error: &OfferError) -> Failure {
    if let OfferError::Clocks { differ } = error {
        Failure::ClocksDiffer { by: *differ }
    } else if error.is_local() {
        Failure::Internal(error.to_string())
    } else {
        Failure::Tampered { what: error.to_string() }
    }
}
