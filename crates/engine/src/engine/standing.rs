//! How this user stands towards others: said to the broker, and kept to here whatever the broker does.

use p2pchat_proto::broker::Profile;
use p2pchat_proto::{Availability, ContactPolicy, Name, PeerId, Standing, StandingChange};

use super::Engine;
use super::broker::Asked;
use crate::config::AcceptPolicy;
use crate::effect::Effect;
use crate::event::{CommandId, Event};
use crate::failure::Failure;

impl Engine {
    /// How this user stood towards others in the last process. To be said before anything else happens.
    pub fn remember_standing(&mut self, standing: Standing) {
        self.stand_as(standing);
        if !standing.is_default() {
            self.events.push_back(Event::Standing(standing));
        }
    }

    pub(super) fn stand(&mut self, id: CommandId, change: StandingChange) {
        let standing = self.standing.with(change);
        if standing != self.standing {
            self.stand_as(standing);
            self.effects.push_back(Effect::Stand(standing));
            if self.link.is_ready() {
                self.say_standing();
            }
        }
        self.events.push_back(Event::Standing(standing));
        self.done(id);
    }

    /// The login is done, and the broker knows whom this user knows.
    pub(super) fn stand_at_broker(&mut self) {
        if self.link.is_held_back() || !self.standing.is_default() {
            self.say_standing();
        }
    }

    /// Whether a request is answered at all: by somebody who is invisible only whom they asked themselves.
    pub(super) fn answers(&self, from: PeerId, name: Option<&Name>) -> bool {
        self.standing.status != Availability::Invisible || self.wish_for(from, name).is_some()
    }

    /// Whether somebody may ask for a chat.
    pub(super) fn takes_requests_of(&self, from: PeerId) -> bool {
        match self.standing.policy {
            ContactPolicy::Everyone => true,
            ContactPolicy::Contacts => self.people.is_pinned(from),
            ContactPolicy::Nobody => false,
        }
    }

    fn stand_as(&mut self, standing: Standing) {
        self.standing = standing;
        self.link.hold_back(!standing.is_default());
        self.answer_contacts();
    }

    /// Whether contacts who come back are answered.
    pub(super) fn answer_contacts(&mut self) {
        let visible = self.standing.status != Availability::Invisible;
        self.endpoint.answer_contacts(visible && self.accept != AcceptPolicy::Nobody);
    }

    fn say_standing(&mut self) {
        if self.link.takes_profiles() {
            self.ask(Profile { standing: self.standing }.into(), Asked::Nothing);
        } else if !self.standing.is_default() {
            let what =
                "this broker shows everybody to everybody; only this side keeps to your status and policy";
            self.events.push_back(Event::Error(Failure::NotAllowed { what: what.to_owned() }));
        }
    }
}
