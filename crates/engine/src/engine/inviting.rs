//! Whoever was told of somebody another way than by the broker.

use core::time::Duration;

use p2pchat_proto::broker::Watch;

use super::Engine;
use super::broker::Asked;
use crate::command::Target;
use crate::effect::Effect;
use crate::event::CommandId;
use crate::failure::Failure;
use crate::now::Now;
use crate::people::{Mismatch, Pin};
use crate::wish::Wish;

impl Engine {
    /// Pins who is invited before the broker is asked for them, and asks them for a chat.
    pub(super) fn connect_invited(&mut self, id: CommandId, mut pin: Pin, wait: Duration, now: Now) {
        // The line may be older than the key.
        pin.peer = self.now_known_as(pin.peer);
        match self.take_invitation(&pin) {
            Ok(()) => self.connect(id, Target::Name(pin.name), wait, false, now),
            Err(Failure::KeyChanged { pinned, .. }) => {
                let wish = Wish::asked(Some(pinned), Some(pin.name.clone()), id, wait, now);
                let wish = (self.next_wish_id(), wish);
                self.invited_by_another_key(pin, pinned, None, Some(wish));
            }
            Err(failure) => self.failed(id, failure),
        }
    }

    /// Follows whom an invitation names, where they have another key than the known one.
    pub(super) fn introduce(&mut self, id: CommandId, mut pin: Pin) {
        pin.peer = self.now_known_as(pin.peer);
        if self.link.key() != Some(pin.broker) {
            let failure = self.no_broker();
            self.failed(id, failure);
            return;
        }
        match self.people.check(Some(&pin.name), pin.peer) {
            Ok(()) => self.done(id),
            Err(Mismatch { pinned }) => self.invited_by_another_key(pin, pinned, Some(id), None),
        }
    }

    fn take_invitation(&mut self, pin: &Pin) -> Result<(), Failure> {
        let not_allowed = |what: &str| Err(Failure::NotAllowed { what: what.to_owned() });
        match self.link.key() {
            None => return Err(self.no_broker()),
            Some(here) if here != pin.broker => {
                return not_allowed("an invitation to another broker here; `p2pchat connect --to` takes it");
            }
            Some(_) => {}
        }
        if pin.peer == self.me.peer_id() || pin.name == self.name {
            return not_allowed("a chat with yourself");
        }
        if let Err(Mismatch { pinned }) = self.people.check(Some(&pin.name), pin.peer) {
            return Err(Failure::KeyChanged { name: Some(pin.name.clone()), pinned, came: pin.peer });
        }
        if self.people.called(&pin.name).is_some_and(|other| other != pin.peer) {
            return not_allowed(&format!("to call a second person {}", pin.name));
        }
        if self.people.pinned_as(&pin.name).is_some() {
            return Ok(());
        }
        // The name that they had would be free for somebody else.
        if let Some(known) = self.people.name(pin.peer).filter(|_| self.people.is_pinned(pin.peer)) {
            return not_allowed(&format!("to know {known} as {}, too: say {known}", pin.name));
        }
        let was = self.people.trust(pin.peer);
        self.people.pin(pin.clone());
        self.effects.push_back(Effect::Pin(pin.clone()));
        self.ask(Watch { add: vec![pin.peer], remove: Vec::new() }.into(), Asked::Nothing);
        self.say_trust(pin.peer, was);
        Ok(())
    }
}
