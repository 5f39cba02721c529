//! Messages that wait for somebody, and so make this side ask for them.

use p2pchat_proto::PeerId;

use super::Engine;
use super::talking::Meeting;
use crate::event::{CommandId, SessionState};
use crate::now::Now;
use crate::wish::Wish;

impl Engine {
    /// Somebody is asked for, by the broker and where they were last, as something waits for them. The
    /// wish ends with a session. A stranger is not asked: nobody knows them by an old message.
    pub(super) fn ask_for_recipient(&mut self, peer: PeerId, now: Now) {
        // Asked first, as it is so for each line of a talk.
        if self.stopping || self.live.contains_key(&peer) {
            return;
        }
        let name = self.people.name(peer);
        let unwanted = self.people.may_talk(Some(peer)).is_err() || !self.people.is_pinned(peer);
        if unwanted || self.wish_for(peer, name.as_ref()).is_some() || self.is_meeting(peer) {
            return;
        }
        self.wish(Wish::again(peer, name, now));
        self.look_for_wished(peer, now);
    }

    /// Somebody came online: whoever is wished for, or has something waiting here, is asked at once, and
    /// not when the next try is due.
    pub(super) fn ask_who_came(&mut self, peer: PeerId, now: Now) {
        if self.conversations.undelivered(peer) > 0 {
            self.ask_for_recipient(peer, now);
        }
        let wish = self.wish_for(peer, self.people.name(peer).as_ref());
        if let Some(wish) = wish.and_then(|id| self.wishes.get_mut(&id)) {
            wish.came_online(now);
        }
    }

    /// Whoever is wished for is asked now, and looked for where they were last.
    pub(super) fn ask_now(&mut self, id: CommandId, to: Option<PeerId>, now: Now) {
        let waiting: Vec<PeerId> = self.conversations.recipients().collect();
        for peer in waiting.into_iter().filter(|peer| to.is_none_or(|to| to == *peer)) {
            self.ask_for_recipient(peer, now);
        }
        let meant = |peer: PeerId| to.is_none_or(|to| to == peer);
        let mut asked = Vec::new();
        for wish in self.wishes.values_mut().filter(|wish| wish.reconnect) {
            if let Some(peer) = wish.peer.filter(|peer| meant(*peer)) {
                wish.came_online(now);
                asked.push(peer);
            }
        }
        asked.extend(self.looked_for().filter(|peer| meant(*peer)));
        for peer in asked {
            self.tell_again_of(peer);
            self.look_now(peer, now);
        }
        self.done(id);
    }

    fn is_meeting(&self, peer: PeerId) -> bool {
        let begun = |meeting: &Meeting| meeting.peer == peer && meeting.state == SessionState::Connecting;
        self.meetings.values().any(begun)
    }
}
