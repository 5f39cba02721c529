//! What the broker says, and what is asked of it beside requests.

use core::time::Duration;

use p2pchat_proto::broker::{
    Call, Directory, DirectoryEntry, FromBroker, Outcome, Status, ToBroker, WATCH_BATCH, WATCH_MAX, Watch,
};
use p2pchat_proto::name::NAME_MAX_LEN;
use p2pchat_proto::{PeerId, RequestId};

use super::Engine;
use crate::effect::Effect;
use crate::event::{BrokerEvent, BrokerState, CommandId, Event, Person, PersonStatus};
use crate::failure::Failure;
use crate::link::{LinkOutput, LinkState};
use crate::now::Now;
use crate::wish::WishId;

/// Most people that one answer to `/who` lists; what a terminal can still show.
const PEOPLE_MAX: usize = 4096;

/// How long a reply is waited for on a link that lives: two heartbeats. What waits is bounded by it
/// too, whatever a broker makes this side ask.
pub(super) const CALL_PATIENCE: Duration = Duration::from_secs(30);

/// What a reply of the broker answers.
#[derive(Debug)]
pub(super) enum Asked {
    /// A page of the directory.
    People { id: CommandId, prefix: String, list: Vec<Person> },
    /// A request of a wish.
    Request(WishId),
    /// An answer to somebody's request.
    Answer(RequestId),
    /// Who has taken the place of this identity.
    Succession(PeerId),
    /// Whether whoever makes a request is this one, who is blocked.
    Vetting(RequestId, PeerId),
    /// A roster, a cancellation, endpoints: nothing depends on the reply.
    Nothing,
}

impl Engine {
    #[inline]
    pub(super) fn settle_link(&mut self, now: Now) -> bool {
        // Mostly there is nothing, and this is asked for each packet.
        (self.link.has_output() || !self.calls_made.is_empty()) && self.take_from_link(now)
    }

    fn take_from_link(&mut self, now: Now) -> bool {
        let mut moved = false;
        if !self.calls_made.is_empty() {
            let end = now.after(CALL_PATIENCE);
            self.calls_end.extend(self.calls_made.drain(..).map(|call| (end, call)));
        }
        while let Some(output) = self.link.poll_output() {
            moved = true;
            match output {
                LinkOutput::Dial => self.effects.push_back(Effect::DialBroker),
                LinkOutput::Send(bytes) => self.effects.push_back(Effect::ToBroker(bytes)),
                LinkOutput::Close => self.effects.push_back(Effect::CloseBroker),
                LinkOutput::Pin(key) => self.effects.push_back(Effect::PinBroker(key)),
                LinkOutput::State(state) => self.link_changed(state, now),
                LinkOutput::Message(call, message) => self.broker_said(call, message, now),
            }
        }
        moved
    }

    /// Asks the broker; whether there is a link to ask on.
    pub(super) fn ask(&mut self, message: ToBroker, asked: Asked) -> bool {
        let Some(call) = self.link.call(message) else { return false };
        self.await_reply(call, asked);
        true
    }

    /// Keeps what a reply is for. Where nothing depends on it nothing is kept: a broker that makes
    /// this side decline without end, and never replies, costs no memory.
    fn await_reply(&mut self, call: Call, asked: Asked) {
        match asked {
            Asked::Nothing => {}
            Asked::People { .. }
            | Asked::Request(_)
            | Asked::Answer(_)
            | Asked::Succession(_)
            | Asked::Vetting(..) => {
                self.calls.insert(call, asked);
                self.calls_made.push(call);
            }
        }
    }

    /// Gives up what a broker does not answer although it is there.
    pub(super) fn calls_due(&mut self, now: Now) {
        while let Some(&(end, call)) = self.calls_end.front()
            && now.reached(end)
        {
            self.calls_end.pop_front();
            match self.calls.remove(&call) {
                Some(Asked::People { id, .. }) => {
                    let address = self.link.address().to_owned();
                    let reason = format!("no answer within {} s", CALL_PATIENCE.as_secs());
                    self.failed(id, Failure::BrokerUnreachable { address, reason });
                }
                Some(Asked::Succession(pinned)) => self.not_followed(pinned),
                Some(Asked::Vetting(request, blocked)) => self.vetted(request, blocked, &[], now),
                Some(Asked::Request(_) | Asked::Answer(_) | Asked::Nothing) | None => {}
            }
        }
        self.forget_answered();
    }

    /// Nobody is woken for a call that was answered.
    fn forget_answered(&mut self) {
        while self.calls_end.front().is_some_and(|(_, call)| !self.calls.contains_key(call)) {
            self.calls_end.pop_front();
        }
    }

    pub(super) fn ask_people(&mut self, id: CommandId, prefix: String) {
        if prefix.len() > NAME_MAX_LEN {
            self.events.push_back(Event::People { id, list: Vec::new() });
            return;
        }
        let page = Directory { prefix: prefix.clone(), cursor: None };
        if !self.ask(page.into(), Asked::People { id, prefix, list: Vec::new() }) {
            let failure = self.no_broker();
            self.failed(id, failure);
        }
    }

    /// What to say where the broker is needed and not there.
    pub(super) fn no_broker(&self) -> Failure {
        let address = self.link.address().to_owned();
        Failure::BrokerUnreachable { address, reason: "there is no connection".to_owned() }
    }

    fn link_changed(&mut self, state: LinkState, now: Now) {
        let (state, reason) = match state {
            LinkState::Connecting => (BrokerState::Connecting, None),
            LinkState::Ready => (BrokerState::Connected, None),
            LinkState::Lost(failure) => (BrokerState::Lost, Some(failure)),
            LinkState::Refused(failure) => (BrokerState::Refused, Some(failure)),
        };
        let address = self.link.address().to_owned();
        let key = self.link.key();
        let clock_ahead_ms = (state == BrokerState::Connected).then(|| self.link.clock_ahead_ms(now));
        let event = BrokerEvent { state, address, key, reason: reason.clone(), clock_ahead_ms };
        self.events.push_back(Event::Broker(event));
        match state {
            BrokerState::Connecting => {}
            BrokerState::Connected => {
                if let Some(key) = key {
                    self.people.at(key);
                }
                self.watch_contacts();
                self.stand_at_broker();
                self.wishes_due(now);
            }
            BrokerState::Lost | BrokerState::Refused => {
                self.people.forget_presence();
                self.link_lost(now);
                self.look_without_broker(now);
                if let (BrokerState::Refused, Some(failure)) = (state, reason) {
                    if failure == Failure::Replaced {
                        self.replaced_elsewhere();
                    }
                    self.fail_wishes(&failure);
                }
            }
        }
    }

    /// Whatever waited for a reply on that link will not get one.
    fn link_lost(&mut self, now: Now) {
        let calls = core::mem::take(&mut self.calls);
        self.calls_end.clear();
        self.calls_made.clear();
        for asked in calls.into_values() {
            match asked {
                Asked::People { id, .. } => {
                    let failure = self.no_broker();
                    self.failed(id, failure);
                }
                Asked::Succession(pinned) => self.not_followed(pinned),
                // The requests go with the link.
                Asked::Vetting(..) | Asked::Request(_) | Asked::Answer(_) | Asked::Nothing => {}
            }
        }
        self.vetting.clear();
        self.requests_gone(now);
    }

    fn watch_contacts(&mut self) {
        let contacts: Vec<PeerId> = self.people.pinned().take(WATCH_MAX).collect();
        for batch in contacts.chunks(WATCH_BATCH) {
            self.ask(Watch { add: batch.to_vec(), remove: Vec::new() }.into(), Asked::Nothing);
        }
    }

    fn broker_said(&mut self, call: Call, message: FromBroker, now: Now) {
        match message {
            FromBroker::Reply(reply) => self.replied(call, reply.outcome, now),
            FromBroker::PresenceSnapshot(snapshot) => {
                for (peer, status) in snapshot.peers {
                    self.presence(peer, status, now);
                }
            }
            FromBroker::PresenceDelta(delta) => self.presence(delta.peer, delta.status, now),
            FromBroker::Incoming(incoming) => self.request_came(incoming, now),
            FromBroker::Answered(answered) => self.request_answered(answered, now),
            FromBroker::Endpoints(endpoints) => self.endpoints_came(&endpoints, now),
            FromBroker::Cancelled(cancelled) => self.request_cancelled(&cancelled, now),
            // The link keeps these for itself.
            FromBroker::Welcome(_)
            | FromBroker::Refused(_)
            | FromBroker::Replaced(_)
            | FromBroker::Restarting(_)
            | FromBroker::Pong(_) => {}
            FromBroker::Succeeded(succeeded) => self.succession_came(call, &succeeded.chain, now),
            // An older broker keeps no statements.
            FromBroker::Unsupported(_) => self.succession_came(call, &[], now),
        }
    }

    fn presence(&mut self, peer: PeerId, status: Status, now: Now) {
        // A broker may speak of those who are watched, and of nobody else.
        let was = self.people.person(peer).status;
        if self.people.is_pinned(peer)
            && let Some(person) = self.people.set_status(peer, status)
        {
            let came = was == PersonStatus::Offline && person.status != PersonStatus::Offline;
            self.events.push_back(Event::Presence(person));
            if came {
                self.ask_who_came(peer, now);
            }
        }
    }

    fn replied(&mut self, call: Call, outcome: Outcome, now: Now) {
        let asked = self.calls.remove(&call);
        self.forget_answered();
        match asked {
            Some(Asked::People { id, prefix, list }) => self.page_came(id, prefix, list, outcome),
            Some(Asked::Request(wish)) => self.request_replied(wish, outcome, now),
            Some(Asked::Answer(request)) => self.answer_replied(request, &outcome, now),
            Some(Asked::Succession(pinned)) => self.not_followed(pinned),
            Some(Asked::Vetting(request, blocked)) => self.vetted(request, blocked, &[], now),
            Some(Asked::Nothing) | None => {}
        }
    }

    fn page_came(&mut self, id: CommandId, prefix: String, mut list: Vec<Person>, outcome: Outcome) {
        let Outcome::Page { people, more } = outcome else {
            let failure = Failure::NotAllowed { what: "the broker does not list people".to_owned() };
            self.failed(id, failure);
            return;
        };
        let last = people.last().map(|entry| entry.name.clone());
        for entry in people {
            if list.len() < PEOPLE_MAX && entry.peer != self.me.peer_id() {
                let person = self.directory_person(entry);
                list.push(person);
            }
        }
        let Some(cursor) = last.filter(|_| more && list.len() < PEOPLE_MAX) else {
            self.events.push_back(Event::People { id, list });
            return;
        };
        let page = Directory { prefix: prefix.clone(), cursor: Some(cursor) };
        if !self.ask(page.into(), Asked::People { id, prefix, list }) {
            let failure = self.no_broker();
            self.failed(id, failure);
        }
    }

    fn directory_person(&mut self, entry: DirectoryEntry) -> Person {
        self.people.learn_name(entry.peer, &entry.name);
        let (status, trust) = (entry.status.into(), self.people.trust(entry.peer));
        Person { peer: entry.peer, name: Some(entry.name), status, trust }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use p2pchat_crypto::{Identity, Seed};
    use p2pchat_proto::{Moment, WallTime};

    use super::*;
    use crate::config::{AcceptPolicy, EngineConfig, Ports};
    use crate::now::Now;
    use crate::wish::Wish;

    const NOW: Now = Now { moment: Moment::ZERO, wall: WallTime(0) };

    fn engine(now: Now) -> Engine {
        let config = EngineConfig {
            me: Arc::new(Identity::from_seed(&Seed::from_bytes([1; 32]))),
            name: "alice".parse().expect("a name"),
            broker: "127.0.0.1:1".to_owned(),
            broker_key: None,
            pins: Vec::new(),
            contacts: Vec::new(),
            accept: AcceptPolicy::Ask,
            accept_files: AcceptPolicy::Ask,
            read_receipts: true,
            expire: None,
            files_from_connected: false,
            ports: Ports::default(),
            loopback_only: true,
        };
        Engine::new(config, [1; 32], now)
    }

    #[test]
    fn whoever_has_followed_before_the_reply_to_a_request_for_the_old_key_goes_on_asking() {
        let mut engine = engine(NOW);
        let new = PeerId([2; 32]);
        engine.wish(Wish::asked(Some(new), None, CommandId(1), CALL_PATIENCE, NOW));
        let wish = *engine.wishes.keys().next().expect("a wish");
        engine.request_replied(wish, Outcome::BoundTo(new), NOW);
        assert!(engine.wishes.contains_key(&wish));
        assert_eq!(engine.poll_event(), None);
    }

    #[test]
    fn a_call_whose_reply_means_nothing_is_not_kept() {
        let mut engine = engine(NOW);
        for call in 1..1000 {
            engine.await_reply(call, Asked::Nothing);
        }
        assert!(engine.calls.is_empty());
        engine.await_reply(1000, Asked::Answer(RequestId([1; 16])));
        assert_eq!(engine.calls.len(), 1);
    }
}
