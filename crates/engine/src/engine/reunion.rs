//! Contacts who meet again without the broker: what is kept of them, and when they are dialled.

use core::time::Duration;

use p2pchat_proto::{Moment, PeerId};
use p2pchat_session::{CloseCode, Contact, LOST_AFTER, SessionId};
use rand::RngExt;

use super::Engine;
use super::talking::{Bond, Meeting};
use crate::effect::Effect;
use crate::event::{SessionEvent, SessionState};
use crate::now::Now;
use crate::wish::{RETRY_FIRST, RETRY_MAX};

/// How long somebody who is wished for is left to the broker alone, where its link is being made. A link
/// over the slowest lines takes that long.
const BROKER_FIRST: Duration = Duration::from_secs(1);
/// Longest pause between two tries at somebody who was lost lately, where no broker can bring the two together
/// (protocol section 4, P2P-4.31): `connect` of a contact who began anew lasts 15 s, and may have to come
/// through a filter that only this side's own datagrams open.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// Tries with such pauses: ten minutes, as each lasts [`p2pchat_session::DIAL_GIVE_UP`].
const TRIES_OFTEN: u32 = 36;
/// Longest pause after those, where no broker can bring the two together: with the try before it less than the
/// shortest time for which filters commonly stay open (30 s), so that whoever begins anew still comes through.
const PAUSE_LATER: Duration = Duration::from_secs(25);

/// Somebody who is looked for where they were last.
pub(super) struct Reunion {
    /// When to dial next, where no attempt runs.
    next: Moment,
    failures: u32,
    /// The attempt that runs.
    session: Option<SessionId>,
    /// Whether it is for a wish, and ends with it; otherwise for a session that was lost.
    wished: bool,
}

impl Reunion {
    pub(super) const fn poll_timeout(&self) -> Moment {
        if self.session.is_some() { Moment::NEVER } else { self.next }
    }
}

/// Whether this process ran all the time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wakefulness {
    /// When it did something last.
    last: Moment,
    /// When it went on after a sleep.
    woke: Option<Moment>,
}

impl Wakefulness {
    pub(super) const fn new(now: Now) -> Self {
        Self { last: now.moment, woke: None }
    }

    /// Something happens. With a session there is always something to do before the other side gives it
    /// up; so if that took longer, this side slept, and the other one has given it up.
    pub(super) fn note(&mut self, now: Now) {
        if now.moment.saturating_since(self.last) >= LOST_AFTER {
            self.woke = Some(now.moment);
        }
        self.last = now.moment;
    }

    /// Whether it slept so shortly before that sessions of before the sleep are still there.
    fn woke_lately(self) -> bool {
        self.woke.is_some_and(|woke| self.last.saturating_since(woke) < LOST_AFTER)
    }
}

impl Engine {
    /// Takes up what was kept of people, of those who are still known.
    pub(super) fn remember_contacts(&mut self, contacts: Vec<Contact>, now: Now) {
        self.endpoint.set_wall_clock(now.wall);
        self.answer_contacts();
        for contact in contacts {
            if self.people.is_pinned(contact.peer) {
                self.endpoint.remember(contact);
            }
        }
        self.settle_contacts();
    }

    /// What changed of contacts goes to the disk, before any datagram.
    #[inline]
    pub(super) fn settle_contacts(&mut self) -> bool {
        let mut moved = false;
        while let Some(contact) = self.endpoint.poll_contact() {
            moved = true;
            self.effects.push_back(Effect::KeepContact(contact));
        }
        moved
    }

    /// A session was lost: its contact is looked for at once.
    pub(super) fn look_again(&mut self, peer: PeerId, now: Now) {
        self.look(peer, false, now.moment);
    }

    /// Somebody does not answer. After a sleep that means that the other side has given the session up:
    /// what this side hears of it is what had come meanwhile.
    pub(super) fn look_after_sleep(&mut self, session: SessionId, now: Now) {
        let Some(peer) = self.meetings.get(&session).map(|meeting| meeting.peer) else { return };
        if self.wakefulness.woke_lately() && self.live.get(&peer) == Some(&session) {
            self.look(peer, false, now.moment);
        }
    }

    /// Somebody does not answer since this machine has other addresses. They may have moved as well, and then
    /// only the broker knows where to.
    pub(super) fn ask_after_move(&mut self, session: SessionId, now: Now) {
        let lately = self.moved.is_some_and(|moved| now.moment.saturating_since(moved) < LOST_AFTER);
        let Some(meeting) = self.meetings.get(&session).filter(|_| lately) else { return };
        let (peer, mine) = (meeting.peer, matches!(meeting.bond, Bond::Connecting { .. }));
        if mine && meeting.state == SessionState::Suspect && self.live.get(&peer) == Some(&session) {
            self.wish_again(peer, now);
        }
    }

    /// Whoever did not answer does so again: what was asked of the broker meanwhile is not needed.
    pub(super) fn ask_no_more(&mut self, session: SessionId) {
        let Some(peer) = self.meetings.get(&session).map(|meeting| meeting.peer) else { return };
        if let Some(wish) = self.wish_for(peer, None) {
            self.fulfil(wish);
        }
    }

    /// Whether nobody has to be looked for.
    fn is_there(&self, peer: PeerId) -> bool {
        let live = self.live.get(&peer).and_then(|session| self.meetings.get(session));
        live.is_some_and(|meeting| {
            !(meeting.state == SessionState::Suspect && self.wakefulness.woke_lately())
        })
    }

    /// Somebody is wished for; without a broker they are looked for where they were last.
    pub(super) fn look_for_wished(&mut self, peer: PeerId, now: Now) {
        if !self.link.is_ready() {
            self.look(peer, true, now.after(BROKER_FIRST));
        }
    }

    /// The broker is away: whoever is wished for is looked for now.
    pub(super) fn look_without_broker(&mut self, now: Now) {
        let wished: Vec<PeerId> = self
            .wishes
            .values()
            .filter_map(|wish| wish.peer.or_else(|| self.people.pinned_as(wish.name.as_ref()?)))
            .collect();
        for peer in wished {
            self.look(peer, true, now.moment);
        }
    }

    fn look(&mut self, peer: PeerId, wished: bool, next: Moment) {
        let silent = self.stopping || self.people.may_talk(Some(peer)).is_err();
        if silent || self.is_there(peer) || !self.endpoint.can_dial(peer) {
            return;
        }
        let reunion =
            self.reunions.entry(peer).or_insert(Reunion { next, failures: 0, session: None, wished });
        reunion.wished &= wished;
        if reunion.failures == 0 {
            reunion.next = reunion.next.min(next);
        }
    }

    /// The user does not want to wait for the next try.
    pub(super) fn look_now(&mut self, peer: PeerId, now: Now) {
        self.look(peer, true, now.moment);
        if let Some(reunion) = self.reunions.get_mut(&peer) {
            reunion.failures = reunion.failures.min(1);
            reunion.next = reunion.next.min(now.moment);
        }
    }

    /// Those who are looked for where they were last.
    pub(super) fn looked_for(&self) -> impl Iterator<Item = PeerId> + '_ {
        self.reunions.keys().copied()
    }

    pub(super) fn is_looked_for(&self, peer: PeerId) -> bool {
        self.reunions.contains_key(&peer)
    }

    /// This machine is at another place: whoever could not be reached from the last one may be from here.
    pub(super) fn look_from_here(&mut self, now: Now) {
        let silent: Vec<SessionId> = self.live.values().copied().collect();
        silent.into_iter().for_each(|session| self.ask_after_move(session, now));
        let mut begun = Vec::new();
        for reunion in self.reunions.values_mut() {
            reunion.failures = reunion.failures.min(1);
            reunion.next = reunion.next.min(now.moment);
            // What it had to send may have gone nowhere already.
            begun.extend(reunion.session.take());
        }
        begun.into_iter().for_each(|session| self.endpoint.close(session, CloseCode::Replaced, now.moment));
    }

    /// Nobody is looked for any more.
    pub(super) fn stop_looking(&mut self) {
        self.stopping = true;
        self.reunions.clear();
    }

    /// Another login of this identity took the place of this one: whoever is talked to goes on with that one,
    /// and is not taken back from it.
    pub(super) fn replaced_elsewhere(&mut self) {
        self.replaced = true;
        self.stop_looking();
    }

    /// Whether somebody was looked for, who is not any more.
    pub(super) fn stop_looking_for(&mut self, peer: PeerId) -> bool {
        self.tell_again_of(peer);
        self.reunions.remove(&peer).is_some()
    }

    /// Dials whoever is due.
    pub(super) fn reunions_due(&mut self, now: Now) {
        let due: Vec<PeerId> = self
            .reunions
            .iter()
            .filter(|(_, reunion)| now.reached(reunion.poll_timeout()))
            .map(|(&peer, _)| peer)
            .collect();
        for peer in due {
            self.reunion_due(peer, now);
        }
    }

    fn reunion_due(&mut self, peer: PeerId, now: Now) {
        let Some(reunion) = self.reunions.get(&peer) else { return };
        let (failures, wished) = (reunion.failures, reunion.wished);
        let unwanted = wished && self.wish_for(peer, self.people.name(peer).as_ref()).is_none();
        if unwanted || self.is_there(peer) || !self.endpoint.can_dial(peer) {
            self.reunions.remove(&peer);
            return;
        }
        let connecting =
            |meeting: &Meeting| meeting.peer == peer && meeting.state == SessionState::Connecting;
        // What was begun with this side before a sleep, or while it slept, is answered by nobody.
        let met = !self.wakefulness.woke_lately() && self.meetings.values().any(connecting);
        let asked = wished && self.link.is_ready();
        let session = if met || asked { None } else { self.endpoint.dial(peer, now.moment) };
        let Some(session) = session else {
            // The broker, or the other side, is at it.
            self.look_later(peer, now);
            return;
        };
        let bond = self.bond_again(peer);
        self.meetings.insert(session, Meeting::direct(peer, bond, self.people.trust(peer)));
        if let Some(reunion) = self.reunions.get_mut(&peer) {
            reunion.session = Some(session);
        }
        if failures == 0 {
            self.say_reaching(peer, "directly, where they were last");
        }
    }

    /// An attempt has ended without a session.
    pub(super) fn reunion_failed(&mut self, peer: PeerId, session: SessionId, now: Now) {
        let Some(reunion) = self.reunions.get_mut(&peer).filter(|r| r.session == Some(session)) else {
            return;
        };
        let first = reunion.failures == 0;
        self.look_later(peer, now);
        if first {
            let without = if self.link.is_ready() { "" } else { ", and there is no broker" };
            self.say_reaching(peer, &format!("no answer where they were last{without}; it is tried again"));
        }
    }

    /// Backs off, not in step with the other side.
    fn look_later(&mut self, peer: PeerId, now: Now) {
        let Some(reunion) = self.reunions.get_mut(&peer) else { return };
        let longest = match (self.link.is_ready(), reunion.failures < TRIES_OFTEN) {
            (true, _) => RETRY_MAX,
            (false, true) => PAUSE_MAX,
            (false, false) => PAUSE_LATER,
        };
        let wait = RETRY_FIRST.saturating_mul(1 << reunion.failures.min(6)).min(longest);
        let early = wait.mul_f64(self.rng.random_range(0.0..0.5));
        reunion.failures = reunion.failures.saturating_add(1);
        reunion.session = None;
        reunion.next = now.after(wait.saturating_sub(early).max(RETRY_FIRST));
    }

    /// A contact dialled: the session is not known yet.
    pub(super) fn meet_again(&mut self, session: SessionId, now: Now) {
        if self.meetings.contains_key(&session) {
            return;
        }
        let Some(peer) = self.endpoint.info(session, now.moment).map(|info| info.peer) else { return };
        let bond = self.bond_again(peer);
        self.meetings.insert(session, Meeting::direct(peer, bond, self.people.trust(peer)));
    }

    /// What a session leaves that takes the place of another one, whoever began it.
    fn bond_again(&self, peer: PeerId) -> Bond {
        let wished = self.wish_for(peer, self.people.name(peer).as_ref()).is_some();
        match self.bonds.get(&peer) {
            Some(&bond) => bond,
            None if wished => Bond::connecting(true),
            None => Bond::Accepted,
        }
    }

    pub(super) fn say_reaching(&mut self, peer: PeerId, reason: &str) {
        let (name, trust) = (self.people.shown(peer), self.people.trust(peer));
        let (state, reason) = (SessionState::Connecting, Some(reason.to_owned()));
        let event = SessionEvent { peer, name, state, link: None, trust, reason };
        self.events.push_back(crate::event::Event::Session(event));
    }
}
