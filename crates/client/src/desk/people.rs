//! Who is who for one front end, and who is connected.

use std::collections::BTreeMap;

use p2pchat_engine::event::{Person, SessionEvent, SessionState};
use p2pchat_engine::{Failure, Target};
use p2pchat_proto::{Name, PeerId};

/// Somebody with whom there is, or was, a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conversation {
    /// With whom.
    pub peer: PeerId,
    /// How its session is.
    pub state: SessionState,
}

/// See the module.
#[derive(Debug, Default)]
pub struct People {
    /// Of those who asked, were asked, wrote, or are pinned.
    names: BTreeMap<PeerId, Name>,
    /// Of the last answer to `/who`, which may be long and is replaced by the next.
    listed: BTreeMap<PeerId, Name>,
    /// In the order in which they came up first; `/switch N` counts from 1.
    conversations: Vec<Conversation>,
}

impl People {
    /// What the user calls somebody.
    pub fn name(&self, peer: PeerId) -> Option<&Name> {
        self.names.get(&peer).or_else(|| self.listed.get(&peer))
    }

    /// What to call somebody in a sentence.
    pub fn label(&self, peer: PeerId) -> String {
        self.name(peer).map_or_else(|| peer.short(), ToString::to_string)
    }

    /// Everybody with whom there is or was a session, as `/switch N` counts them.
    pub fn conversations(&self) -> &[Conversation] {
        &self.conversations
    }

    /// Whether there is a session with somebody right now.
    pub fn is_connected(&self, peer: PeerId) -> bool {
        let mut with = self.conversations.iter().filter(|conversation| conversation.peer == peer);
        with.any(|conversation| matches!(conversation.state, SessionState::Up | SessionState::Suspect))
    }

    /// Every name that is known, for completion.
    pub fn names(&self) -> impl Iterator<Item = &Name> {
        self.names.values().chain(self.listed.values())
    }

    /// Who is meant by a name or a PeerId.
    ///
    /// # Errors
    ///
    /// [`Failure::UnknownPeer`].
    pub fn resolve(&self, who: &str) -> Result<PeerId, Failure> {
        if let Ok(peer) = who.parse() {
            return Ok(peer);
        }
        let connected = self.conversations.iter().rev().map(|conversation| conversation.peer);
        let known = connected.chain(self.names.keys().copied()).chain(self.listed.keys().copied());
        known
            .into_iter()
            .find(|peer| self.name(*peer).is_some_and(|name| name.as_str() == who))
            .ok_or_else(|| Failure::UnknownPeer { who: who.to_owned() })
    }

    /// Whether somebody is who was asked for.
    pub fn is(&self, target: &Target, peer: PeerId) -> bool {
        match target {
            Target::Peer(wanted) => *wanted == peer,
            Target::Name(wanted) => self.name(peer) == Some(wanted),
        }
    }

    pub(super) fn learn(&mut self, peer: PeerId, name: Option<&Name>) {
        if let Some(name) = name {
            self.names.insert(peer, name.clone());
        }
    }

    /// Somebody has another key.
    pub(super) fn followed(&mut self, old: PeerId, new: PeerId) {
        self.listed.remove(&old);
        if let Some(name) = self.names.remove(&old) {
            self.names.insert(new, name);
        }
        for conversation in self.conversations.iter_mut().filter(|conversation| conversation.peer == old) {
            conversation.peer = new;
        }
    }

    pub(super) fn list(&mut self, list: &[Person]) {
        self.listed = list.iter().filter_map(|person| Some((person.peer, person.name.clone()?))).collect();
    }

    pub(super) fn session(&mut self, event: &SessionEvent) {
        self.learn(event.peer, event.name.as_ref());
        let known = self.conversations.iter_mut().find(|conversation| conversation.peer == event.peer);
        match known {
            Some(conversation) => conversation.state = event.state,
            None => self.conversations.push(Conversation { peer: event.peer, state: event.state }),
        }
    }
}
