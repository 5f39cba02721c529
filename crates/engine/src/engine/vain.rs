//! Introductions that come to nothing, one after the other: the first is told, and what is tried again by itself
//! says nothing until there is a session or the user does something about it.

use p2pchat_proto::PeerId;

use super::Engine;
use super::talking::Bond;

impl Engine {
    /// No datagram came through after an introduction. Whether no more is to be said of it, as what is
    /// tried again by itself was told before, or is by this.
    pub(super) fn told_in_vain(&mut self, peer: PeerId, bond: Bond) -> bool {
        let again = bond == Bond::Connecting { again: true };
        let by_itself = again || (bond == Bond::Accepted && self.people.is_pinned(peer));
        if !by_itself {
            return false;
        }
        let first = self.vain.insert(peer);
        let sought = again || self.is_looked_for(peer);
        if first && sought {
            self.say_reaching(
                peer,
                "introduced by the broker, and no datagram came through; it is tried again",
            );
        }
        sought || !first
    }

    /// Whether introductions to somebody come to nothing, which the user was told.
    pub(super) fn is_in_vain(&self, peer: PeerId) -> bool {
        self.vain.contains(&peer)
    }

    /// The user does something about it: what comes of that is news.
    pub(super) fn tell_again_of(&mut self, peer: PeerId) {
        self.vain.remove(&peer);
    }
}
