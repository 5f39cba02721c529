//! What the user decides about people: blocked, verified, trusted with another key.

use std::collections::BTreeMap;

use p2pchat_proto::broker::Watch;
use p2pchat_proto::{Name, PeerId, RequestId};

use super::Engine;
use super::broker::Asked;
use super::talking::CLOSE_DONE;
use crate::command::Target;
use crate::effect::Effect;
use crate::event::{CommandId, Event, RequestState, Trust, TrustEvent};
use crate::failure::Failure;
use crate::now::Now;
use crate::people::{Elsewhere, Mark, Pin, Refusal};
use crate::wish::WishId;

/// Most changed keys that wait for the user's word: more than anybody looks at. A broker can make up as
/// many as this user knows names.
const CHANGES_MAX: usize = 64;

/// Known names that came with another identity, of which the user has not said anything.
#[derive(Debug, Default)]
pub(super) struct Changes {
    by_name: BTreeMap<Name, (PeerId, PeerId)>,
}

impl Changes {
    /// Nothing is to be decided about these two any more.
    pub(super) fn settled(&mut self, old: PeerId) {
        self.by_name.retain(|_, (pinned, _)| *pinned != old);
    }

    /// The last one that came under a name counts.
    pub(super) fn note(&mut self, name: Name, pinned: PeerId, came: PeerId) {
        if self.by_name.len() < CHANGES_MAX || self.by_name.contains_key(&name) {
            self.by_name.insert(name, (pinned, came));
        }
    }
}

fn unknown(who: &Target) -> Failure {
    let who = match who {
        Target::Peer(peer) => peer.short(),
        Target::Name(name) => name.to_string(),
    };
    Failure::UnknownPeer { who }
}

impl Engine {
    /// What was kept of the user's decisions. To be said before anything else happens.
    pub fn remember_mark(&mut self, mark: Mark, now: Now) {
        let (peer, blocked) = (mark.peer, mark.blocked);
        self.people.set_mark(mark);
        if blocked {
            self.part_from(peer, now);
        }
        self.settle(now);
    }

    /// The user has decided something about somebody, of whom this is known from now on; a stranger has no
    /// pins. With whoever is forgotten or blocked everything ends.
    pub fn remember_person(&mut self, peer: PeerId, pins: Vec<Pin>, mark: Mark, now: Now) {
        let (was, was_pinned) = (self.people.trust(peer), self.people.is_pinned(peer));
        let blocked = mark.blocked;
        let pins_gone = pins.is_empty();
        self.people.replace_pins(peer, pins);
        self.people.set_mark(mark);
        if pins_gone && !blocked {
            self.people.replaced.forget(peer);
        }
        let is_pinned = self.people.is_pinned(peer);
        if was_pinned != is_pinned {
            let list = |yes| if yes { vec![peer] } else { Vec::new() };
            self.ask(Watch { add: list(is_pinned), remove: list(was_pinned) }.into(), Asked::Nothing);
        }
        if blocked || (was_pinned && !is_pinned) {
            self.part_from(peer, now);
        } else if self.conversations.undelivered(peer) > 0 {
            self.ask_for_recipient(peer, now);
        }
        if self.people.trust(peer) != was {
            self.say_trust(peer, was);
        }
        self.settle(now);
    }

    /// What a command has decided is not kept, and so the command failed. It counts as long as this engine runs.
    pub fn not_kept(&mut self, id: CommandId, why: &Failure) {
        let done = self.events.iter_mut().rev();
        for event in done.filter(|event| matches!(event, Event::Done { id: of, .. } if *of == id)) {
            *event = Event::Failed { id, failure: why.clone() };
        }
    }

    /// From now on only those who are verified may talk to this user.
    pub fn require_verified(&mut self) {
        self.people.require_verified();
    }

    /// Whether this user and somebody may talk.
    pub(super) fn may_talk(&self, peer: Option<PeerId>, name: Option<&Name>) -> Result<(), Failure> {
        let peer = peer.or_else(|| self.people.blocked_as(name?));
        let Err(refusal) = self.people.may_talk(peer) else { return Ok(()) };
        let who = match (peer, name) {
            (Some(peer), _) => self.people.label(peer),
            (None, name) => name.map(ToString::to_string).unwrap_or_default(),
        };
        Err(match refusal {
            Refusal::Blocked => {
                let way = format!("/unblock {who} or `p2pchat contacts unblock {who}`");
                Failure::NotAllowed { what: format!("{who} is blocked; {way} first") }
            }
            Refusal::NotVerified => Failure::NotVerified { who },
        })
    }

    pub(super) fn block(&mut self, id: CommandId, who: &Target, now: Now) {
        let Some(peer) = self.person(who) else { return self.failed(id, unknown(who)) };
        if peer == self.me.peer_id() {
            self.failed(id, Failure::NotAllowed { what: "to block yourself".to_owned() });
            return;
        }
        self.decide_on(Mark { blocked: true, ..self.people.mark(peer) });
        self.part_from(peer, now);
        self.done(id);
    }

    pub(super) fn unblock(&mut self, id: CommandId, who: &Target, now: Now) {
        let Some(peer) = self.person(who) else { return self.failed(id, unknown(who)) };
        let mark = self.people.mark(peer);
        if !mark.blocked {
            self.failed(id, Failure::NoSuch { what: "blocked person" });
            return;
        }
        self.decide_on(Mark { blocked: false, ..mark });
        if self.conversations.undelivered(peer) > 0 {
            self.ask_for_recipient(peer, now);
        }
        self.done(id);
    }

    pub(super) fn verified(&mut self, id: CommandId, peer: PeerId) {
        if !self.people.is_pinned(peer) {
            self.failed(id, Failure::UnknownPeer { who: self.people.label(peer) });
            return;
        }
        self.decide_on(Mark { verified: true, ..self.people.mark(peer) });
        self.done(id);
    }

    /// The known identity of that name is forgotten, and the one that came is pinned in its place.
    pub(super) fn trust_changed(&mut self, id: CommandId, name: &Name) {
        let Some(broker) = self.link.key() else {
            let failure = self.no_broker();
            self.failed(id, failure);
            return;
        };
        let Some((pinned, came)) = self.changes.by_name.remove(name) else {
            self.failed(id, Failure::NoSuch { what: "changed key" });
            return;
        };
        let was = self.people.trust(came);
        let old = Pin { peer: pinned, name: name.clone(), broker };
        self.people.unpin(&old);
        let gone = !self.people.is_pinned(pinned);
        if gone {
            self.endpoint.forget_contact(pinned);
        }
        let pin = Pin { peer: came, name: name.clone(), broker };
        self.people.pin(pin.clone());
        self.effects.push_back(Effect::Repin { pin, instead_of: pinned });
        self.ask(
            Watch { add: vec![came], remove: Vec::from_iter(gone.then_some(pinned)) }.into(),
            Asked::Nothing,
        );
        self.say_trust(came, was);
        self.done(id);
    }

    /// Who is meant, known or only heard of.
    fn person(&self, who: &Target) -> Option<PeerId> {
        match who {
            Target::Peer(peer) => Some(self.now_known_as(*peer)),
            Target::Name(name) => self.people.called(name).or_else(|| match self.people.elsewhere(name) {
                Elsewhere::One(peer) => Some(peer),
                Elsewhere::Several => None,
                Elsewhere::Nobody => self.people.heard_of(name),
            }),
        }
    }

    fn decide_on(&mut self, mark: Mark) {
        let peer = mark.peer;
        let was = self.people.trust(peer);
        self.people.set_mark(mark.clone());
        self.effects.push_back(Effect::Mark(mark));
        self.say_trust(peer, was);
    }

    pub(super) fn say_trust(&mut self, peer: PeerId, was: Trust) {
        self.trust_is_new(peer);
        let (name, is) = (self.people.shown(peer), self.people.trust(peer));
        let safety = self.safety_words(peer);
        self.events.push_back(Event::Trust(TrustEvent {
            peer,
            name,
            was,
            is,
            pinned: None,
            followed: false,
            safety,
        }));
    }

    /// Sessions show what is known by now.
    pub(super) fn trust_is_new(&mut self, peer: PeerId) {
        let trust = self.people.trust(peer);
        for meeting in self.meetings.values_mut().filter(|meeting| meeting.peer == peer) {
            meeting.trust = trust;
        }
    }

    /// Ends everything there is with somebody, who cannot come back by themselves.
    pub(super) fn part_from(&mut self, peer: PeerId, now: Now) {
        let asked: Vec<RequestId> = self
            .incoming
            .iter()
            .filter(|(_, incoming)| incoming.from == peer)
            .map(|(&request, _)| request)
            .collect();
        for request in asked {
            self.decline(request, "");
            self.drop_incoming(request, RequestState::Declined);
        }
        let wishes: Vec<WishId> =
            self.wishes.iter().filter(|(_, wish)| wish.peer == Some(peer)).map(|(&id, _)| id).collect();
        for wish in wishes {
            self.end_wish(wish, RequestState::Cancelled, None, now);
        }
        self.stop_looking_for(peer);
        self.endpoint.forget_contact(peer);
        let sessions: Vec<_> = self
            .meetings
            .iter()
            .filter(|(_, meeting)| meeting.peer == peer)
            .map(|(&session, _)| session)
            .collect();
        for session in sessions {
            self.endpoint.close(session, CLOSE_DONE, now.moment);
        }
    }
}
