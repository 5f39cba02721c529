//! Others' requests: checked, put to the policy or the user, answered.

use p2pchat_crypto::offer::{AcceptTerms, Expected, VerifiedRequest, suites};
use p2pchat_crypto::safety::SafetyNumber;
use p2pchat_proto::broker::{Answer, AnswerBody, Incoming, Outcome, Reason};
use p2pchat_proto::limits::OFFER_CLOCK_TOLERANCE;
use p2pchat_proto::{Moment, Name, PeerId, RequestId};

use super::Engine;
use super::asking::offer_failure;
use super::broker::Asked;
use super::talking::Bond;
use crate::config::AcceptPolicy;
use crate::event::{CommandId, Direction, Event, RequestEvent, RequestState, TrustEvent};
use crate::failure::Failure;
use crate::now::Now;
use crate::wish::{Wish, WishId};

/// Most requests that wait for the user at once; further ones are declined.
const INCOMING_MAX: usize = 64;

/// A request that waits for the user, its offer verified.
pub(super) struct IncomingRequest {
    pub(super) from: PeerId,
    pub(super) name: Option<Name>,
    /// When its offer is too old to be taken; the broker ends it sooner unless it is renewed.
    pub(super) expires: Moment,
    /// It crossed one of this user's own, which counts; nobody has heard of it.
    crossed: bool,
    verified: VerifiedRequest,
}

impl Engine {
    pub(super) fn request_came(&mut self, incoming: Incoming, now: Now) {
        let Incoming { request, from, name, offer } = incoming;
        if self.people.may_talk(Some(self.now_known_as(from))).is_err() {
            self.decline(request, "");
            return;
        }
        if !self.answers(from, name.as_ref()) {
            return;
        }
        if self.replaced_key_came(name.clone(), from) {
            self.decline(request, "");
            return;
        }
        if let Some(incoming) = self.vet(Incoming { request, from, name, offer }) {
            self.request_vetted(incoming, now);
        }
    }

    /// Nobody who is blocked asks.
    pub(super) fn request_vetted(&mut self, incoming: Incoming, now: Now) {
        let Incoming { request, from, name, offer } = incoming;
        let Some(broker_key) = self.link.key() else { return };
        if let Err(mismatch) = self.people.check(name.as_ref(), from) {
            let incoming = Incoming { request, from, name, offer };
            self.request_of_another_key(incoming, mismatch.pinned);
            return;
        }
        let expected = Expected {
            me: self.me.peer_id(),
            my_name: Some(&self.name),
            from,
            pin: None,
            request,
            broker_key,
            now: self.link.brokers_time(now),
        };
        let verified = match VerifiedRequest::verify(offer, expected) {
            Ok(verified) => verified,
            Err(error) => {
                self.decline(request, "");
                self.events.push_back(Event::Error(offer_failure(&error)));
                return;
            }
        };
        if !self.remembered.is_new(from, request, now.moment) {
            return;
        }
        if let Some(name) = &name {
            self.people.learn_name(from, name);
        }
        let expires = now.after(OFFER_CLOCK_TOLERANCE);
        self.incoming.insert(request, IncomingRequest { from, name, expires, crossed: false, verified });
        self.decide(request, now);
    }

    /// Answers by itself what the policy or a request of one's own has decided.
    fn decide(&mut self, request: RequestId, now: Now) {
        let Some(incoming) = self.incoming.get(&request) else { return };
        let from = incoming.from;
        if let Some(mine) = self.wish_for(from, incoming.name.as_ref()) {
            // Both asked at once: the smaller identity's request counts (protocol section 2). One's own that
            // the broker did not take is with nobody, and counts for nothing.
            if from < self.me.peer_id() || !self.is_out(mine) {
                let bond = self.wishes.get(&mine).map_or(Bond::Once, Wish::bond);
                self.fulfil(mine);
                self.accept_now(request, bond, now);
            } else if let Some(incoming) = self.incoming.get_mut(&request) {
                incoming.crossed = true;
            }
            return;
        }
        let contact = self.people.is_pinned(from);
        match self.accept {
            _ if !self.takes_requests_of(from) => {
                self.incoming.remove(&request);
                self.decline(request, "");
            }
            AcceptPolicy::Everyone => self.accept_now(request, Bond::Once, now),
            AcceptPolicy::Contacts | AcceptPolicy::Ask if contact => {
                self.accept_now(request, Bond::Accepted, now);
            }
            AcceptPolicy::Ask if self.incoming.len() <= INCOMING_MAX => {
                self.show_incoming(request, RequestState::Open, None);
            }
            AcceptPolicy::Ask | AcceptPolicy::Contacts | AcceptPolicy::Nobody => {
                self.incoming.remove(&request);
                self.decline(request, "");
            }
        }
    }

    /// Whether a request of this user's own is on its way or at the other side.
    fn is_out(&self, wish: WishId) -> bool {
        self.wishes.get(&wish).is_some_and(|wish| wish.open.is_some())
    }

    /// A request that crossed one of this user's own counts after all where that one came to nothing:
    /// the other side waits for its answer, and may never have seen the other.
    pub(super) fn settle_crossed(&mut self, now: Now) -> bool {
        if self.incoming.is_empty() {
            return false;
        }
        let uncrossed = |incoming: &IncomingRequest| {
            let from = incoming.from;
            incoming.crossed
                && !self.wish_for(from, incoming.name.as_ref()).is_some_and(|wish| self.is_out(wish))
                && !self.meetings.values().any(|meeting| meeting.peer == from)
        };
        let found = self.incoming.iter().find(|(_, incoming)| uncrossed(incoming));
        let Some(request) = found.map(|(&request, _)| request) else { return false };
        if let Some(incoming) = self.incoming.get_mut(&request) {
            incoming.crossed = false;
        }
        self.decide(request, now);
        true
    }

    pub(super) fn accept_request(&mut self, id: CommandId, request: RequestId, once: bool, now: Now) {
        let Some(incoming) = self.incoming.get_mut(&request) else {
            self.failed(id, Failure::NoSuch { what: "request" });
            return;
        };
        incoming.crossed = false;
        let from = incoming.from;
        self.tell_again_of(from);
        self.accept_now(request, if once { Bond::Once } else { Bond::Accepted }, now);
        self.done(id);
    }

    pub(super) fn decline_request(&mut self, id: CommandId, request: RequestId, reason: &str) {
        if !self.incoming.contains_key(&request) {
            self.failed(id, Failure::NoSuch { what: "request" });
            return;
        }
        self.decline(request, reason);
        self.drop_incoming(request, RequestState::Declined);
        self.done(id);
    }

    /// Ends a request that waited for the user.
    pub(super) fn drop_incoming(&mut self, request: RequestId, state: RequestState) {
        self.show_incoming(request, state, None);
        self.incoming.remove(&request);
    }

    pub(super) fn incoming_due(&mut self, now: Now) {
        let due: Vec<RequestId> = self
            .incoming
            .iter()
            .filter(|(_, incoming)| now.reached(incoming.expires))
            .map(|(&request, _)| request)
            .collect();
        for request in due {
            self.drop_incoming(request, RequestState::Expired);
        }
    }

    fn accept_now(&mut self, request: RequestId, bond: Bond, now: Now) {
        if self.incoming.get(&request).is_some_and(|incoming| !self.is_in_vain(incoming.from)) {
            self.show_incoming(request, RequestState::Accepted, None);
        }
        let Some(incoming) = self.incoming.remove(&request) else { return };
        let terms = AcceptTerms { made: self.link.brokers_time(now), suites: suites() };
        let (offer, accepted) = match incoming.verified.accept(&self.me, terms, &mut self.rng) {
            Ok(answer) => answer,
            Err(error) => {
                self.decline(request, "");
                self.events.push_back(Event::Error(offer_failure(&error)));
                return;
            }
        };
        let mut endpoints = accepted.endpoints;
        let answer = AnswerBody::Accept { offer, endpoints: endpoints.seal(&self.announced) };
        if !self.ask(Answer { request, answer }.into(), Asked::Answer(request)) {
            let failure = self.no_broker();
            self.events.push_back(Event::Error(failure));
            return;
        }
        let nowhere = p2pchat_proto::UdpEndpoints::default();
        self.meet(request, accepted.introduction, endpoints, &nowhere, bond, now);
    }

    /// The broker did not pass the answer on: the other side is gone or took the request back.
    pub(super) fn answer_replied(&mut self, request: RequestId, outcome: &Outcome, now: Now) {
        if *outcome != Outcome::Done {
            self.forget_meeting(request, now);
        }
    }

    pub(super) fn decline(&mut self, request: RequestId, reason: &str) {
        let answer = AnswerBody::Decline { reason: Reason::new(reason) };
        self.ask(Answer { request, answer }.into(), Asked::Nothing);
    }

    /// A name came with another key than the pinned one: nothing is sent and nothing accepted.
    pub(super) fn key_changed(
        &mut self,
        command: Option<CommandId>,
        name: Option<Name>,
        pinned: PeerId,
        came: PeerId,
    ) {
        let replaced_by = self.people.replaced.by(came);
        let elsewhere = name.as_ref().is_some_and(|name| self.people.pinned_as(name) != Some(pinned));
        if let (Some(name), None, false) = (&name, replaced_by, elsewhere) {
            self.changes.note(name.clone(), pinned, came);
        }
        self.events.push_back(Event::Trust(TrustEvent {
            peer: came,
            name: name.clone(),
            was: self.people.trust(pinned),
            is: self.people.trust(came),
            pinned: Some(pinned),
            followed: false,
            safety: SafetyNumber::between(self.me.peer_id(), came).words().join(" "),
        }));
        let failure = match (replaced_by, name) {
            (Some(by), name) => Failure::KeyReplaced { name, came, by },
            (None, Some(name)) if elsewhere => Failure::AnotherOfThatName { name, known: pinned, came },
            (None, name) => Failure::KeyChanged { name, pinned, came },
        };
        self.report_failure(command, failure);
    }

    fn show_incoming(&mut self, request: RequestId, state: RequestState, reason: Option<String>) {
        let Some(incoming) = self.incoming.get(&request).filter(|incoming| !incoming.crossed) else { return };
        self.events.push_back(Event::Request(RequestEvent {
            request,
            direction: Direction::In,
            peer: Some(incoming.from),
            name: self.people.shown_as(incoming.from, incoming.name.as_ref()),
            trust: self.people.trust(incoming.from),
            state,
            reason,
        }));
    }
}
