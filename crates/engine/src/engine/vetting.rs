//! A stranger who asks while strangers are blocked: whether they are one of those, under another key.
//!
//! Whoever is blocked and pinned is known by their name, and is found out as any changed key. Of other blocked
//! people no name is kept, so the broker is asked whether the name that comes went from one of them to this key.

use p2pchat_crypto::succession;
use p2pchat_proto::broker::{Incoming, SuccessionOf};
use p2pchat_proto::succession::KeptSuccession;
use p2pchat_proto::{PeerId, RequestId};

use super::Engine;
use super::broker::Asked;
use crate::effect::Effect;
use crate::event::Trust;
use crate::now::Now;

/// Most requests that are looked into at once, as many as wait for the user; further ones are declined.
const VETTED_MAX: usize = 64;
/// Most blocked strangers of whom the broker is asked for one request: each is a call and its answer.
const BLOCKED_ASKED_MAX: usize = 16;

/// A request that waits for what the broker says.
pub(super) struct Vetting {
    incoming: Incoming,
    /// Answers that are not there yet.
    open: usize,
}

impl Engine {
    /// Looks into a request of a stranger, where there is reason to; else gives it back.
    pub(super) fn vet(&mut self, incoming: Incoming) -> Option<Incoming> {
        let (from, request) = (incoming.from, incoming.request);
        let Some(name) = incoming.name.clone() else { return Some(incoming) };
        let known = self.people.is_somebody(from) || self.people.check(Some(&name), from).is_err();
        if known || self.wish_for(from, Some(&name)).is_some() {
            return Some(incoming);
        }
        let blocked: Vec<PeerId> = self.people.blocked_strangers().take(BLOCKED_ASKED_MAX).collect();
        if blocked.is_empty() {
            return Some(incoming);
        }
        if self.vetting.len() >= VETTED_MAX {
            self.decline(request, "");
            return None;
        }
        let mut open = 0;
        for peer in blocked {
            let asked = SuccessionOf { name: name.clone(), peer };
            open += usize::from(self.ask(asked.into(), Asked::Vetting(request, peer)));
        }
        if open == 0 {
            return Some(incoming);
        }
        self.vetting.insert(request, Vetting { incoming, open });
        None
    }

    /// What the broker says of one of the blocked.
    pub(super) fn vetted(&mut self, request: RequestId, blocked: PeerId, chain: &[KeptSuccession], now: Now) {
        let Some(vetting) = self.vetting.get_mut(&request) else { return };
        let from = vetting.incoming.from;
        vetting.open = vetting.open.saturating_sub(1);
        let over = vetting.open == 0;
        if succession::follow(blocked, chain) == Ok(from) {
            self.vetting.remove(&request);
            self.decline(request, "");
            self.follow_blocked(blocked, from);
        } else if over && let Some(vetting) = self.vetting.remove(&request) {
            self.request_vetted(vetting.incoming, now);
        }
    }

    /// Somebody who is blocked, and nothing else to the user, is so under another key, too.
    fn follow_blocked(&mut self, old: PeerId, new: PeerId) {
        let stays = self.people.trust(old) == Trust::Blocked && !self.people.is_pinned(old);
        if !stays || !self.may_follow(new) {
            return;
        }
        self.people.succeed(old, new);
        self.effects.push_back(Effect::Follow { old, new });
        // What is under way to the store is found and moved at the next start.
        if self.conversations.is_at_rest(old) && !self.conversations.knows(new) {
            self.conversations.succeed(old, new);
        }
        self.say_followed(old, new, Trust::Blocked);
    }
}
