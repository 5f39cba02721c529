//! Who is who: pinned identities, the names that people go by, presence.

use std::collections::BTreeMap;

use p2pchat_proto::broker::Status;
use p2pchat_proto::{BrokerKey, Name, PeerId};

use crate::event::{Person, Trust};
use crate::replaced::Replaced;

/// Most people whose names are remembered without a pin: those of several full answers to `/who`,
/// of about 100 bytes each. A broker can name more people than there are.
const STRANGERS_MAX: usize = 16_384;

/// An identity that was accepted once and is recognised from then on, with its name at one broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// The identity.
    pub peer: PeerId,
    /// The name it has there.
    pub name: Name,
    /// The broker: the same name at another one may be somebody else's.
    pub broker: BrokerKey,
}

/// What the user decided about an identity, whatever it is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// The identity.
    pub peer: PeerId,
    /// Both have compared the safety number.
    pub verified: bool,
    /// Nothing is taken from them and nothing sent.
    pub blocked: bool,
    /// What the user calls them, in the place of the name at a broker.
    pub petname: Option<Name>,
}

impl Mark {
    /// Nothing was decided.
    pub const fn none(peer: PeerId) -> Self {
        Self { peer, verified: false, blocked: false, petname: None }
    }

    /// Whether it says nothing.
    pub const fn is_none(&self) -> bool {
        !self.verified && !self.blocked && self.petname.is_none()
    }
}

/// A name that is pinned to another identity than the one that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mismatch {
    pub(crate) pinned: PeerId,
}

/// Why this user and somebody may not talk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The user has blocked them.
    Blocked,
    /// They are not verified, and the user wants only those who are.
    NotVerified,
}

/// Whom a name means at brokers where nobody is pinned under it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Elsewhere {
    /// Nobody is pinned under it at any other one.
    Nobody,
    /// This one is.
    One(PeerId),
    /// Several are, each at another one.
    Several,
}

/// Everybody that this process knows something of.
#[derive(Debug, Default)]
pub(crate) struct People {
    /// Under which names somebody is pinned, one at a broker.
    pinned: BTreeMap<PeerId, BTreeMap<BrokerKey, Name>>,
    /// The same by name, which is one identity's at a broker.
    by_name: BTreeMap<Name, BTreeMap<BrokerKey, PeerId>>,
    /// The broker whose names are meant.
    here: Option<BrokerKey>,
    /// What that broker calls whoever is not pinned there.
    heard: BTreeMap<PeerId, Name>,
    online: BTreeMap<PeerId, Status>,
    marks: BTreeMap<PeerId, Mark>,
    /// Keys that their owners have replaced.
    pub(crate) replaced: Replaced,
    /// Only those who are verified may talk to this user.
    verified_only: bool,
}

impl People {
    pub(crate) fn new(pins: Vec<Pin>) -> Self {
        let mut people = Self::default();
        for pin in pins {
            people.pin(pin);
        }
        people
    }

    /// Keeps an identity; from now on its name belongs to it.
    pub(crate) fn pin(&mut self, pin: Pin) {
        self.by_name.entry(pin.name.clone()).or_default().insert(pin.broker, pin.peer);
        self.pinned.entry(pin.peer).or_default().insert(pin.broker, pin.name);
    }

    /// From now on names are those of `broker`.
    pub(crate) fn at(&mut self, broker: BrokerKey) {
        self.here = Some(broker);
    }

    pub(crate) fn is_pinned(&self, peer: PeerId) -> bool {
        self.pinned.contains_key(&peer)
    }

    /// Forgets an identity at one broker, whose name is free for another one then.
    pub(crate) fn unpin(&mut self, pin: &Pin) {
        self.free(&pin.name, pin.broker);
        if let Some(names) = self.pinned.get_mut(&pin.peer) {
            names.remove(&pin.broker);
            if names.is_empty() {
                self.pinned.remove(&pin.peer);
                self.heard.remove(&pin.peer);
            }
        }
    }

    fn free(&mut self, name: &Name, broker: BrokerKey) {
        if let Some(brokers) = self.by_name.get_mut(name) {
            brokers.remove(&broker);
            if brokers.is_empty() {
                self.by_name.remove(name);
            }
        }
    }

    /// `new` has taken the place of `old`, under every name and with all that was decided, but for the
    /// comparison of keys.
    pub(crate) fn succeed(&mut self, old: PeerId, new: PeerId) {
        let names = self.pinned.remove(&old).unwrap_or_default();
        names.into_iter().for_each(|(broker, name)| self.pin(Pin { peer: new, name, broker }));
        self.heard.remove(&new);
        if let Some(name) = self.heard.remove(&old) {
            self.heard.insert(new, name);
        }
        self.online.remove(&old);
        if let Some(mark) = self.marks.remove(&old) {
            self.set_mark(Mark { peer: new, verified: false, ..mark });
        }
        self.replaced.note(old, new);
    }

    /// Whether an identity is somebody to the user.
    pub(crate) fn is_somebody(&self, peer: PeerId) -> bool {
        self.is_pinned(peer) || self.marks.contains_key(&peer)
    }

    /// Forgets every name of an identity, and keeps these.
    pub(crate) fn replace_pins(&mut self, peer: PeerId, pins: Vec<Pin>) {
        for (broker, name) in self.pinned.remove(&peer).unwrap_or_default() {
            self.free(&name, broker);
        }
        if pins.is_empty() {
            self.heard.remove(&peer);
        }
        pins.into_iter().for_each(|pin| self.pin(pin));
    }

    pub(crate) fn trust(&self, peer: PeerId) -> Trust {
        let mark = self.marks.get(&peer);
        if mark.is_some_and(|mark| mark.blocked) {
            Trust::Blocked
        } else if mark.is_some_and(|mark| mark.verified) {
            Trust::Verified
        } else if self.is_pinned(peer) {
            Trust::Pinned
        } else {
            Trust::New
        }
    }

    /// What was decided about an identity.
    pub(crate) fn mark(&self, peer: PeerId) -> Mark {
        self.marks.get(&peer).cloned().unwrap_or_else(|| Mark::none(peer))
    }

    /// Who is blocked, and was never pinned.
    pub(crate) fn blocked_strangers(&self) -> impl Iterator<Item = PeerId> + '_ {
        let strangers = self.marks.values().filter(|mark| mark.blocked && !self.is_pinned(mark.peer));
        strangers.map(|mark| mark.peer)
    }

    /// Keeps what was decided, in the place of what was decided before.
    pub(crate) fn set_mark(&mut self, mark: Mark) {
        if mark.is_none() {
            self.marks.remove(&mark.peer);
        } else {
            self.marks.insert(mark.peer, mark);
        }
    }

    /// From now on only those who are verified may talk to this user.
    pub(crate) fn require_verified(&mut self) {
        self.verified_only = true;
    }

    /// Whether this user and `peer` may talk; `None` is somebody whose identity is not known.
    pub(crate) fn may_talk(&self, peer: Option<PeerId>) -> Result<(), Refusal> {
        match peer.map_or(Trust::New, |peer| self.trust(peer)) {
            Trust::Blocked => Err(Refusal::Blocked),
            Trust::New | Trust::Pinned if self.verified_only => Err(Refusal::NotVerified),
            Trust::New | Trust::Pinned | Trust::Verified => Ok(()),
        }
    }

    /// The identity that the user calls so, or whose name it is at this broker.
    pub(crate) fn called(&self, name: &Name) -> Option<PeerId> {
        let petname = |mark: &&Mark| mark.petname.as_ref() == Some(name);
        self.marks.values().find(petname).map(|mark| mark.peer).or_else(|| self.pinned_as(name))
    }

    /// Whom the broker called so.
    pub(crate) fn heard_of(&self, name: &Name) -> Option<PeerId> {
        self.heard.iter().find(|(_, known)| *known == name).map(|(&peer, _)| peer)
    }

    /// Who is pinned under a name, where nobody is at this broker.
    pub(crate) fn elsewhere(&self, name: &Name) -> Elsewhere {
        let mut others = self.holders(name);
        match others.next() {
            Some(_) if self.pinned_as(name).is_some() => Elsewhere::Nobody,
            Some(first) if others.all(|other| other == first) => Elsewhere::One(first),
            Some(_) => Elsewhere::Several,
            None => Elsewhere::Nobody,
        }
    }

    /// Everybody who is pinned under a name, at any broker.
    fn holders(&self, name: &Name) -> impl Iterator<Item = PeerId> + '_ {
        self.by_name.get(name).into_iter().flat_map(|brokers| brokers.values().copied())
    }

    /// Whether the user means somebody else by that name.
    pub(crate) fn is_anothers(&self, name: &Name, peer: PeerId) -> bool {
        let petname = |mark: &Mark| mark.peer != peer && mark.petname.as_ref() == Some(name);
        if self.marks.values().any(petname) {
            return true;
        }
        match self.pinned_as(name) {
            Some(pinned) => pinned != peer,
            None => {
                let mut holders = self.holders(name).peekable();
                holders.peek().is_some() && holders.all(|holder| holder != peer)
            }
        }
    }

    /// Whoever was called so, if all of them are blocked.
    pub(crate) fn blocked_as(&self, name: &Name) -> Option<PeerId> {
        let heard = self.heard.iter().filter(|(_, known)| *known == name).map(|(&peer, _)| peer);
        let mut called = self.holders(name).chain(heard);
        let first = called.next()?;
        let blocked = |peer: PeerId| self.trust(peer) == Trust::Blocked;
        (blocked(first) && called.all(blocked)).then_some(first)
    }

    /// What somebody is shown as who came as `name`. A stranger never as what the user calls somebody else.
    pub(crate) fn shown_as(&self, peer: PeerId, name: Option<&Name>) -> Option<Name> {
        if let Some(petname) = self.marks.get(&peer).and_then(|mark| mark.petname.clone()) {
            return Some(petname);
        }
        let name = name?;
        (!self.is_anothers(name, peer)).then(|| name.clone())
    }

    /// What the user calls somebody.
    pub(crate) fn shown(&self, peer: PeerId) -> Option<Name> {
        let elsewhere = || self.pinned.get(&peer).and_then(|names| names.values().next().cloned());
        self.shown_as(peer, self.pinned_here(peer).or_else(elsewhere).or_else(|| self.name(peer)).as_ref())
    }

    /// The identity that is pinned under `name`.
    pub(crate) fn pinned_as(&self, name: &Name) -> Option<PeerId> {
        self.by_name.get(name)?.get(&self.here?).copied()
    }

    /// The name under which an identity is pinned at this broker.
    pub(crate) fn pinned_here(&self, peer: PeerId) -> Option<Name> {
        self.pinned.get(&peer)?.get(&self.here?).cloned()
    }

    /// Every pinned identity.
    pub(crate) fn pinned(&self) -> impl Iterator<Item = PeerId> + '_ {
        self.pinned.keys().copied()
    }

    /// Whether `peer` may go by `name`: not while the name is pinned to somebody else.
    pub(crate) fn check(&self, name: Option<&Name>, peer: PeerId) -> Result<(), Mismatch> {
        match name.and_then(|name| self.pinned_as(name)) {
            Some(pinned) if pinned != peer => Err(Mismatch { pinned }),
            Some(_) | None => Ok(()),
        }
    }

    /// Remembers what the broker calls an identity. A pinned name stays; beyond [`STRANGERS_MAX`]
    /// other strangers are forgotten.
    pub(crate) fn learn_name(&mut self, peer: PeerId, name: &Name) {
        let settled = self.pinned_here(peer).is_some() || self.replaced.by(peer).is_some();
        if settled || self.check(Some(name), peer).is_err() {
            return;
        }
        if self.heard.len() >= STRANGERS_MAX.saturating_add(self.pinned.len()) {
            self.heard.retain(|known, _| self.pinned.contains_key(known));
        }
        self.heard.insert(peer, name.clone());
    }

    /// The name at this broker.
    pub(crate) fn name(&self, peer: PeerId) -> Option<Name> {
        self.pinned_here(peer).or_else(|| self.heard.get(&peer).cloned())
    }

    /// What to call somebody in a sentence.
    pub(crate) fn label(&self, peer: PeerId) -> String {
        self.shown(peer).map_or_else(|| peer.short(), |name| name.to_string())
    }

    /// Takes presence of somebody; the person if it changed.
    pub(crate) fn set_status(&mut self, peer: PeerId, status: Status) -> Option<Person> {
        let changed = match status {
            Status::Offline => self.online.remove(&peer).is_some(),
            Status::Online | Status::Away | Status::Busy => self.online.insert(peer, status) != Some(status),
        };
        changed.then(|| self.person(peer))
    }

    /// Forgets presence, which means nothing without a broker.
    pub(crate) fn forget_presence(&mut self) {
        self.online.clear();
    }

    pub(crate) fn person(&self, peer: PeerId) -> Person {
        let status = self.online.get(&peer).copied().unwrap_or(Status::Offline).into();
        Person { peer, name: self.shown(peer), status, trust: self.trust(peer) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::PersonStatus;

    fn peer(byte: u8) -> PeerId {
        PeerId([byte; 32])
    }

    const BROKER: BrokerKey = BrokerKey([9; 32]);

    fn knowing_alice() -> People {
        let mut people = People::new(vec![Pin { peer: peer(1), name: name("alice"), broker: BROKER }]);
        people.at(BROKER);
        people
    }

    fn name(text: &str) -> Name {
        text.parse().expect("a name")
    }

    #[test]
    fn a_pinned_name_belongs_to_one_identity_only() {
        let mut people = knowing_alice();
        assert_eq!(people.check(Some(&name("alice")), peer(1)), Ok(()));
        assert_eq!(people.check(Some(&name("alice")), peer(2)), Err(Mismatch { pinned: peer(1) }));
        assert_eq!(people.check(None, peer(2)), Ok(()));
        people.at(BrokerKey([8; 32]));
        assert_eq!(people.check(Some(&name("alice")), peer(2)), Ok(()), "another broker, another alice");
    }

    #[test]
    fn what_the_user_decides_about_somebody_counts_more_than_the_pin() {
        let mut people = knowing_alice();
        assert_eq!(people.trust(peer(1)), Trust::Pinned);
        people.set_mark(Mark { verified: true, ..Mark::none(peer(1)) });
        assert_eq!(people.trust(peer(1)), Trust::Verified);
        people.set_mark(Mark { verified: true, blocked: true, ..Mark::none(peer(1)) });
        assert_eq!(
            (people.trust(peer(1)), people.may_talk(Some(peer(1)))),
            (Trust::Blocked, Err(Refusal::Blocked))
        );
        people.set_mark(Mark::none(peer(1)));
        assert_eq!((people.trust(peer(1)), people.may_talk(Some(peer(1)))), (Trust::Pinned, Ok(())));
    }

    #[test]
    fn where_only_the_verified_may_talk_nobody_else_may() {
        let mut people = knowing_alice();
        people.set_mark(Mark { verified: true, ..Mark::none(peer(2)) });
        assert_eq!(people.may_talk(None), Ok(()));
        people.require_verified();
        let may: Vec<_> = [None, Some(peer(1)), Some(peer(2))].map(|peer| people.may_talk(peer)).into();
        assert_eq!(may, [Err(Refusal::NotVerified), Err(Refusal::NotVerified), Ok(())]);
    }

    #[test]
    fn a_petname_is_found_and_shown_and_no_stranger_goes_by_it() {
        let mut people = knowing_alice();
        people.set_mark(Mark { petname: Some(name("sister")), ..Mark::none(peer(1)) });
        assert_eq!(
            (people.called(&name("sister")), people.called(&name("alice"))),
            (Some(peer(1)), Some(peer(1)))
        );
        assert_eq!(
            (people.shown(peer(1)), people.name(peer(1))),
            (Some(name("sister")), Some(name("alice")))
        );
        people.learn_name(peer(2), &name("sister"));
        assert_eq!(people.shown(peer(2)), None);
        assert_eq!(people.label(peer(2)), peer(2).short());
    }

    #[test]
    fn an_identity_that_was_forgotten_leaves_its_name_to_another_one() {
        let mut people = knowing_alice();
        people.unpin(&Pin { peer: peer(1), name: name("alice"), broker: BROKER });
        assert_eq!((people.trust(peer(1)), people.pinned_as(&name("alice"))), (Trust::New, None));
        assert_eq!(people.check(Some(&name("alice")), peer(2)), Ok(()));
    }

    #[test]
    fn the_name_of_somebody_who_is_known_from_another_broker_means_them_and_is_shown_for_nobody_else() {
        let mut people = knowing_alice();
        people.at(BrokerKey([8; 32]));
        let alice = name("alice");
        assert_eq!((people.called(&alice), people.elsewhere(&alice)), (None, Elsewhere::One(peer(1))));
        people.learn_name(peer(2), &alice);
        assert_eq!((people.shown(peer(2)), people.shown(peer(1))), (None, Some(alice.clone())));
        people.pin(Pin { peer: peer(3), name: alice.clone(), broker: BrokerKey([7; 32]) });
        assert_eq!(people.elsewhere(&alice), Elsewhere::Several);
        people.pin(Pin { peer: peer(2), name: alice.clone(), broker: BrokerKey([8; 32]) });
        assert_eq!((people.called(&alice), people.elsewhere(&alice)), (Some(peer(2)), Elsewhere::Nobody));
        assert_eq!((people.shown(peer(2)), people.shown(peer(1))), (Some(alice), None));
    }

    #[test]
    fn what_a_broker_says_never_renames_a_pinned_identity() {
        let mut people = knowing_alice();
        people.learn_name(peer(1), &name("mallory"));
        assert_eq!(people.name(peer(1)), Some(name("alice")));
        people.learn_name(peer(2), &name("alice"));
        assert_eq!(people.name(peer(2)), None);
    }

    #[test]
    fn a_broker_that_names_people_without_end_costs_bounded_memory_and_no_contact_its_name() {
        let mut people = knowing_alice();
        for number in 0..40_000u32 {
            let mut stranger = [2; 32];
            stranger[..4].copy_from_slice(&number.to_be_bytes());
            people.learn_name(PeerId(stranger), &name("somebody"));
        }
        assert!(people.heard.len() <= STRANGERS_MAX + 1, "{}", people.heard.len());
        assert_eq!(people.name(peer(1)), Some(name("alice")));
    }

    #[test]
    fn presence_is_told_when_it_changes_and_forgotten_with_the_broker() {
        let mut people = knowing_alice();
        assert!(people.set_status(peer(1), Status::Online).is_some());
        assert!(people.set_status(peer(1), Status::Online).is_none());
        people.forget_presence();
        assert_eq!(people.person(peer(1)).status, PersonStatus::Offline);
    }
}
