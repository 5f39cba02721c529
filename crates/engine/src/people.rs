//! Who is who: pinned identities, the names that people go by, presence.

use std::collections::{BTreeMap, BTreeSet};

use p2pchat_proto::broker::Status;
use p2pchat_proto::{BrokerKey, Name, PeerId};

use crate::event::{Person, PersonStatus, Trust};

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

/// A name that is pinned to another identity than the one that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mismatch {
    pub(crate) pinned: PeerId,
}

/// Everybody that this process knows something of.
#[derive(Debug, Default)]
pub(crate) struct People {
    pinned: BTreeSet<PeerId>,
    /// One name has one identity; an identity may have been pinned under several names.
    by_name: BTreeMap<(BrokerKey, Name), PeerId>,
    /// The broker whose names are meant.
    here: Option<BrokerKey>,
    names: BTreeMap<PeerId, Name>,
    online: BTreeSet<PeerId>,
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
        self.pinned.insert(pin.peer);
        self.by_name.insert((pin.broker, pin.name.clone()), pin.peer);
        self.names.insert(pin.peer, pin.name);
    }

    /// From now on names are those of `broker`.
    pub(crate) fn at(&mut self, broker: BrokerKey) {
        self.here = Some(broker);
    }

    pub(crate) fn is_pinned(&self, peer: PeerId) -> bool {
        self.pinned.contains(&peer)
    }

    pub(crate) fn trust(&self, peer: PeerId) -> Trust {
        if self.is_pinned(peer) { Trust::Pinned } else { Trust::New }
    }

    /// The identity that is pinned under `name`.
    pub(crate) fn pinned_as(&self, name: &Name) -> Option<PeerId> {
        self.by_name.get(&(self.here?, name.clone())).copied()
    }

    /// Every pinned identity.
    pub(crate) fn pinned(&self) -> impl Iterator<Item = PeerId> + '_ {
        self.pinned.iter().copied()
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
        if self.check(Some(name), peer).is_err() || self.is_pinned(peer) {
            return;
        }
        if self.names.len() >= STRANGERS_MAX.saturating_add(self.pinned.len()) {
            self.names.retain(|known, _| self.pinned.contains(known));
        }
        self.names.insert(peer, name.clone());
    }

    pub(crate) fn name(&self, peer: PeerId) -> Option<Name> {
        self.names.get(&peer).cloned()
    }

    /// What to call somebody in a sentence.
    pub(crate) fn label(&self, peer: PeerId) -> String {
        self.names.get(&peer).map_or_else(|| peer.short(), ToString::to_string)
    }

    /// Takes presence of somebody; the person if it changed.
    pub(crate) fn set_status(&mut self, peer: PeerId, status: Status) -> Option<Person> {
        let changed = match status {
            Status::Online => self.online.insert(peer),
            Status::Offline => self.online.remove(&peer),
        };
        changed.then(|| self.person(peer))
    }

    /// Forgets presence, which means nothing without a broker.
    pub(crate) fn forget_presence(&mut self) {
        self.online.clear();
    }

    pub(crate) fn person(&self, peer: PeerId) -> Person {
        let status = if self.online.contains(&peer) { PersonStatus::Online } else { PersonStatus::Offline };
        Person { peer, name: self.name(peer), status, trust: self.trust(peer) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert!(people.names.len() <= STRANGERS_MAX + 1, "{}", people.names.len());
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
