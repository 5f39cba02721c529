//! Keys that took the place of others: whoever comes under a known name with another key is asked about, and
//! followed where both keys have signed that (protocol section 2).
//!
//! The broker only passes statements on. What it leaves out, or makes up, ends as a changed key does: nothing
//! is sent and nothing accepted, and the user hears of it.

use std::collections::BTreeMap;

use p2pchat_crypto::safety::SafetyNumber;
use p2pchat_crypto::succession;
use p2pchat_proto::broker::{Call, Incoming, SuccessionOf, Watch};
use p2pchat_proto::succession::KeptSuccession;
use p2pchat_proto::{Name, PeerId, RequestId};

use super::Engine;
use super::broker::Asked;
use crate::effect::Effect;
use crate::event::{CommandId, Event, Trust, TrustEvent};
use crate::failure::Failure;
use crate::now::Now;
use crate::people::Pin;
use crate::replaced::Replaced;
use crate::wish::{Wish, WishId};

/// Most changed keys that are asked about at once: a broker can make up as many as this user knows names.
const QUESTIONS_MAX: usize = 64;

/// Whom this user is about to follow.
#[derive(Default)]
pub(super) struct Following {
    /// By the pinned identity.
    questions: BTreeMap<PeerId, Question>,
}

/// A known name came with another key.
struct Question {
    name: Name,
    came: PeerId,
    /// The broker has answered well; what is said with the old identity comes to rest.
    granted: bool,
    /// What there was with the old identity is being ended.
    parting: bool,
    /// What showed it, to go on where it is followed.
    wish: Option<(WishId, Wish)>,
    incoming: Option<Incoming>,
    /// An invitation says so, and nobody has come: whether it is true is all that is asked.
    invited: bool,
    /// What waits for the answer.
    command: Option<CommandId>,
}

impl Question {
    fn new(name: Name, came: PeerId) -> Self {
        Self {
            name,
            came,
            granted: false,
            parting: false,
            wish: None,
            incoming: None,
            invited: false,
            command: None,
        }
    }
}

impl Engine {
    /// A request was not passed on, as the name belongs to `came`.
    pub(super) fn wish_bound_to(&mut self, id: WishId, mut wish: Wish, came: PeerId) {
        let (Some(pinned), Some(name)) = (wish.peer, wish.name.clone()) else { return };
        wish.open = None;
        if let Some(question) = self.following.questions.get_mut(&pinned)
            && question.came == came
            && question.wish.is_none()
        {
            question.wish = Some((id, wish));
            return;
        }
        self.ask_about(pinned, Question { wish: Some((id, wish)), ..Question::new(name, came) });
    }

    /// An invitation has another key for the name of `pinned`.
    pub(super) fn invited_by_another_key(
        &mut self,
        pin: Pin,
        pinned: PeerId,
        command: Option<CommandId>,
        wish: Option<(WishId, Wish)>,
    ) {
        let question = Question::new(pin.name, pin.peer);
        self.ask_about(pinned, Question { invited: true, command, wish, ..question });
    }

    /// Somebody asks for a chat under the name of `pinned`.
    pub(super) fn request_of_another_key(&mut self, incoming: Incoming, pinned: PeerId) {
        let (came, Some(name)) = (incoming.from, incoming.name.clone()) else { return };
        if let Some(question) = self.following.questions.get_mut(&pinned)
            && question.came == came
        {
            let before = question.incoming.replace(incoming);
            if let Some(before) = before {
                self.decline(before.request, "");
            }
            return;
        }
        self.ask_about(pinned, Question { incoming: Some(incoming), ..Question::new(name, came) });
    }

    /// Asks once for each; what cannot be asked is as if there were no statement.
    fn ask_about(&mut self, pinned: PeerId, question: Question) {
        let room = self.following.questions.len() < QUESTIONS_MAX;
        let asked = SuccessionOf { name: question.name.clone(), peer: pinned };
        if room
            && !self.following.questions.contains_key(&pinned)
            && self.may_follow(question.came)
            && self.ask(asked.into(), Asked::Succession(pinned))
        {
            self.following.questions.insert(pinned, question);
        } else {
            self.refuse(pinned, question);
        }
    }

    /// Nobody is followed who is somebody else to this user already.
    pub(super) fn may_follow(&self, came: PeerId) -> bool {
        came != self.me.peer_id() && self.people.replaced.by(came).is_none() && !self.people.is_somebody(came)
    }

    pub(super) fn succession_came(&mut self, call: Call, chain: &[KeptSuccession], now: Now) {
        match self.calls.remove(&call) {
            Some(Asked::Vetting(request, blocked)) => self.vetted(request, blocked, chain, now),
            Some(Asked::Succession(pinned)) => self.succession_of(pinned, chain),
            // An answer that does not fit.
            Some(other) => {
                self.calls.insert(call, other);
            }
            None => {}
        }
    }

    fn succession_of(&mut self, pinned: PeerId, chain: &[KeptSuccession]) {
        let Some(question) = self.following.questions.get_mut(&pinned) else { return };
        let stated =
            |kept: &KeptSuccession| succession::read(kept).is_ok_and(|said| said.new == question.came);
        match succession::follow(pinned, chain) {
            // Also an invitation may be older than the last key.
            Ok(last) if last == question.came || (question.invited && chain.iter().any(stated)) => {
                (question.came, question.granted) = (last, true);
            }
            Ok(_) | Err(_) => self.not_followed(pinned),
        }
    }

    /// There is no statement, or none that holds: the key has changed.
    pub(super) fn not_followed(&mut self, pinned: PeerId) {
        if let Some(question) = self.following.questions.remove(&pinned) {
            self.refuse(pinned, question);
        }
    }

    fn refuse(&mut self, pinned: PeerId, question: Question) {
        let Question { name, came, wish, incoming, invited, command, .. } = question;
        if let Some(incoming) = incoming {
            self.decline(incoming.request, "");
        }
        let command = command.or_else(|| wish.and_then(|(_, wish)| wish.command));
        if invited {
            self.report_failure(command, Failure::KeyChanged { name: Some(name), pinned, came });
            return;
        }
        self.key_changed(command, Some(name), pinned, came);
    }

    /// Follows whom both keys have spoken for, once what was said with the old one is at rest.
    pub(super) fn settle_following(&mut self, now: Now) -> bool {
        if self.following.questions.is_empty() {
            return false;
        }
        let granted = self.following.questions.iter().filter(|(_, question)| question.granted);
        let granted: Vec<PeerId> = granted.map(|(&pinned, _)| pinned).collect();
        let mut moved = false;
        for old in granted {
            let Some(question) = self.following.questions.get_mut(&old) else { continue };
            // Whoever is at its other end has given that key up.
            if !core::mem::replace(&mut question.parting, true) {
                moved = true;
                self.part_from_old(old, now);
            } else if !self.live.contains_key(&old)
                && self.conversations.is_at_rest(old)
                && let Some(question) = self.following.questions.remove(&old)
            {
                moved = true;
                self.follow(old, question, now);
            }
        }
        moved
    }

    /// Ends what there is with the old identity. What the user wants of that person stays.
    fn part_from_old(&mut self, old: PeerId, now: Now) {
        let wanted: Vec<WishId> =
            self.wishes.iter().filter(|(_, wish)| wish.peer == Some(old)).map(|(&id, _)| id).collect();
        let wishes: Vec<(WishId, Wish)> = wanted
            .into_iter()
            .filter_map(|id| {
                self.take_back(id);
                self.wishes.remove(&id).map(|wish| (id, wish))
            })
            .collect();
        self.part_from(old, now);
        for (id, mut wish) in wishes {
            (wish.open, wish.not_before) = (None, now.moment);
            self.wishes.insert(id, wish);
        }
    }

    fn follow(&mut self, old: PeerId, question: Question, now: Now) {
        let new = question.came;
        if !self.may_follow(new) {
            self.refuse(old, question);
            return;
        }
        let Question { wish, incoming, command, .. } = question;
        let was = self.people.trust(old);
        for wish in self.wishes.values_mut().filter(|wish| wish.peer == Some(old)) {
            wish.peer = Some(new);
        }
        let waits = self.conversations.undelivered(old) > 0;
        self.people.succeed(old, new);
        self.changes.settled(old);
        self.effects.push_back(Effect::Follow { old, new });
        // What was said with the new key before anybody knew whose it is stays a conversation of its own.
        if !self.conversations.knows(new) {
            self.conversations.succeed(old, new);
        }
        self.trust_is_new(new);
        if let Some(session) = self.live.get(&new) {
            self.endpoint.keep(*session);
        }
        if let Some(bond) = self.bonds.remove(&old) {
            self.bonds.insert(new, bond);
        }
        self.ask(Watch { add: vec![new], remove: vec![old] }.into(), Asked::Nothing);
        self.say_followed(old, new, was);
        if let Some((id, mut wish)) = wish {
            (wish.peer, wish.not_before) = (Some(new), now.moment);
            self.wishes.insert(id, wish);
        }
        if waits {
            self.expect_expiry(&[new]);
            self.ask_for_recipient(new, now);
        }
        while self.live.contains_key(&new)
            && let Some(wish) = self.wish_for(new, self.people.name(new).as_ref())
        {
            self.fulfil(wish);
        }
        self.wishes_due(now);
        if let Some(incoming) = incoming {
            self.request_came(incoming, now);
        }
        if let Some(command) = command {
            self.done(command);
        }
    }

    /// Nobody waits for the answer to a request that is put off any more. Whether it was one.
    pub(super) fn put_off_cancelled(&mut self, request: RequestId) -> bool {
        if self.vetting.remove(&request).is_some() {
            return true;
        }
        let is_it = |incoming: &mut Incoming| incoming.request == request;
        self.following.questions.values_mut().any(|question| question.incoming.take_if(is_it).is_some())
    }

    pub(super) fn say_followed(&mut self, old: PeerId, new: PeerId, was: Trust) {
        self.events.push_back(Event::Trust(TrustEvent {
            peer: new,
            name: self.people.shown(new),
            was,
            is: self.people.trust(new),
            pinned: Some(old),
            followed: true,
            safety: SafetyNumber::between(self.me.peer_id(), new).words().join(" "),
        }));
    }

    /// Keys that their owners have replaced, as far as this user has followed them: they are nobody's any more.
    /// To be said before anything else happens.
    pub fn remember_replaced(&mut self, replaced: Replaced) {
        self.people.replaced = replaced;
    }

    /// A key that its owner has replaced asks for a chat, or answers: a thief's, maybe.
    pub(super) fn replaced_key_came(&mut self, name: Option<Name>, came: PeerId) -> bool {
        let Some(by) = self.people.replaced.by(came) else { return false };
        self.key_changed(None, name, by, came);
        true
    }

    /// Who has taken the place of somebody; a front end, or an invitation, may not know.
    pub(super) fn now_known_as(&self, peer: PeerId) -> PeerId {
        self.people.replaced.by(peer).unwrap_or(peer)
    }
}
