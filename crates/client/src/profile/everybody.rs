//! Everybody whom the user knows: who is pinned, and what was decided about them.

use p2pchat_engine::event::Trust;
use p2pchat_engine::{Failure, Mark, Target};
use p2pchat_proto::{BrokerKey, Name, PeerId, WallTime};

use super::papers::{Content, Papers};
use super::pins::Pin;
use crate::config::BrokerAddress;
use crate::desk::target;

/// One person, once for each broker at which they are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acquaintance {
    /// The identity.
    pub peer: PeerId,
    /// What the user calls them.
    pub name: Option<Name>,
    /// Where they are pinned; nowhere, if they are only blocked.
    pub pin: Option<Pin>,
    /// What is known of the key.
    pub trust: Trust,
}

impl Papers {
    /// Everybody: the pinned ones in the order in which they were pinned, then whoever is blocked besides.
    pub fn list(&self) -> Vec<Acquaintance> {
        let pinned = self.pins().iter().map(|pin| self.acquaintance(pin.peer, Some(pin.clone())));
        let others = self.marks().iter().filter(|mark| self.pins().of_peer(mark.peer).next().is_none());
        pinned.chain(others.map(|mark| self.acquaintance(mark.peer, None))).collect()
    }

    /// What is known of one identity.
    pub fn of(&self, peer: PeerId) -> Acquaintance {
        self.acquaintance(peer, self.pins().of_peer(peer).next().cloned())
    }

    fn acquaintance(&self, peer: PeerId, pin: Option<Pin>) -> Acquaintance {
        let mark = self.marks().of(peer);
        let trust = match (mark.blocked, mark.verified, &pin) {
            (true, _, _) => Trust::Blocked,
            (false, true, _) => Trust::Verified,
            (false, false, Some(_)) => Trust::Pinned,
            (false, false, None) => Trust::New,
        };
        let name = mark.petname.or_else(|| pin.as_ref().map(|pin| pin.name.clone()));
        Acquaintance { peer, name, pin, trust }
    }

    /// Who is meant by an identity, by what the user calls somebody, or by a name: at `broker` first, else
    /// wherever it is the only one.
    ///
    /// # Errors
    /// [`Failure::UnknownPeer`]; [`Failure::Usage`] if several people go by it.
    pub fn find(&self, who: &str, broker: Option<BrokerKey>) -> Result<PeerId, Failure> {
        let name = match target(who)? {
            Target::Peer(peer) => return Ok(peer),
            Target::Name(name) => name,
        };
        let here = || broker.and_then(|broker| self.pins().of_name(broker, &name)).map(|pin| pin.peer);
        if let Some(peer) = self.marks().called(&name).or_else(here) {
            return Ok(peer);
        }
        let mut named: Vec<PeerId> =
            self.pins().iter().filter(|pin| pin.name == name).map(|pin| pin.peer).collect();
        named.sort_unstable();
        named.dedup();
        match named.as_slice() {
            [only] => Ok(*only),
            [] => Err(Failure::UnknownPeer { who: who.to_owned() }),
            _ => Err(Failure::Usage(format!("several people are called {name}; say which by id"))),
        }
    }

    /// Whoever has another name than at the broker, by either.
    pub fn renamed(&self, name: &Name, broker: Option<BrokerKey>) -> Option<PeerId> {
        let here = || broker.and_then(|broker| self.pins().of_name(broker, name)).map(|pin| pin.peer);
        let renamed = |peer: &PeerId| self.marks().of(*peer).petname.is_some();
        self.marks().called(name).or_else(|| here().filter(renamed))
    }

    /// Pins an identity that was told another way than by a broker.
    ///
    /// # Errors
    /// Those of [`Self::pin`]; [`Failure::NotAllowed`] if the user calls somebody else so.
    pub fn add(&mut self, name: Name, peer: PeerId, broker: BrokerKey, now: WallTime) -> Result<(), Failure> {
        let pin = self.pin_of(name, peer, broker, now)?;
        self.pin(pin)
    }

    /// The same together with the broker at `host_port` whose name it is, in one write.
    ///
    /// # Errors
    /// Those of [`Self::add`]; [`Failure::BrokerKeyChanged`] if another key is known of it.
    pub fn add_at(
        &mut self,
        host_port: &str,
        broker: BrokerKey,
        name: Name,
        peer: PeerId,
        now: WallTime,
    ) -> Result<(), Failure> {
        self.brokers().check(&BrokerAddress { host_port: host_port.to_owned(), key: None }, broker)?;
        let pin = self.pin_of(name, peer, broker, now)?;
        self.change(|Content { brokers, pins, .. }| {
            pins.pin(pin)?;
            brokers.remember(host_port, broker)
        })
    }

    fn pin_of(&self, name: Name, peer: PeerId, broker: BrokerKey, now: WallTime) -> Result<Pin, Failure> {
        self.not_replaced(&name, peer)?;
        if self.marks().called(&name).is_some_and(|other| other != peer) {
            return Err(Failure::NotAllowed { what: format!("to call a second person {name}") });
        }
        let known = self.pins().of_peer(peer).find(|pin| pin.broker == broker);
        // The name that they had would be free for somebody else.
        if let Some(known) = known.filter(|known| known.name != name) {
            return Err(Failure::NotAllowed { what: second_name(&known.name, &name) });
        }
        let may_reconnect = known.is_none_or(|pin| pin.may_reconnect);
        Ok(Pin { name, peer, broker, since: now, may_reconnect })
    }

    /// Calls somebody otherwise. Their name at the broker takes that back.
    ///
    /// # Errors
    /// [`Failure::UnknownPeer`] of somebody who is not pinned; [`Failure::NotAllowed`] if somebody else goes
    /// by that name.
    pub fn rename(&mut self, peer: PeerId, name: Name) -> Result<(), Failure> {
        self.known(peer)?;
        if self.pins().iter().any(|pin| pin.name == name && pin.peer != peer) {
            return Err(Failure::NotAllowed { what: format!("to call a second person {name}") });
        }
        let own = self.pins().of_peer(peer).any(|pin| pin.name == name);
        let petname = (!own).then_some(name);
        self.mark(Mark { petname, ..self.marks().of(peer) })
    }

    /// Forgets somebody, with the keys that they had before, who is a stranger from then on. A block stays,
    /// and with it what is known of those keys.
    ///
    /// # Errors
    /// [`Failure::UnknownPeer`] of somebody who is not pinned.
    pub fn remove(&mut self, peer: PeerId) -> Result<(), Failure> {
        self.known(peer)?;
        self.change(|Content { pins, marks, replaced, .. }| {
            let blocked = marks.of(peer).blocked;
            marks.set(Mark { blocked, ..Mark::none(peer) })?;
            pins.remove(peer);
            if !blocked {
                replaced.forget(peer);
            }
            Ok(())
        })
    }

    /// Blocks somebody, known or not, or takes it back.
    ///
    /// # Errors
    /// Those of [`Self::mark`].
    pub fn block(&mut self, peer: PeerId, blocked: bool) -> Result<(), Failure> {
        self.mark(Mark { blocked, ..self.marks().of(peer) })
    }

    /// The safety number was compared, and was the same on both sides.
    ///
    /// # Errors
    /// [`Failure::UnknownPeer`] of somebody who is not pinned.
    pub fn verified(&mut self, peer: PeerId) -> Result<(), Failure> {
        self.known(peer)?;
        self.mark(Mark { verified: true, ..self.marks().of(peer) })
    }

    /// Takes another identity in the place of the one that is pinned under a name, which is a stranger from
    /// then on at that broker. What was decided about the old one is not true of the new one.
    ///
    /// # Errors
    /// [`Failure::UnknownPeer`] if the name is not pinned there.
    pub fn trust(
        &mut self,
        name: &Name,
        came: PeerId,
        broker: BrokerKey,
        now: WallTime,
    ) -> Result<(), Failure> {
        let pinned = self.pinned(name, broker)?;
        self.not_replaced(name, came)?;
        if pinned == came {
            return Ok(());
        }
        let pin = Pin { name: name.clone(), peer: came, broker, since: now, may_reconnect: true };
        self.repin(pin, pinned)
    }

    /// Who is pinned under a name at that broker, whatever the user calls whom.
    ///
    /// # Errors
    /// [`Failure::UnknownPeer`] if the name is not pinned there.
    pub fn pinned(&self, name: &Name, broker: BrokerKey) -> Result<PeerId, Failure> {
        let pin = self.pins().of_name(broker, name);
        pin.map(|pin| pin.peer).ok_or_else(|| Failure::UnknownPeer { who: name.to_string() })
    }

    /// Who has the place of a key that its owner replaced, or whoever it belongs to.
    pub fn now_known_as(&self, peer: PeerId) -> PeerId {
        self.replaced().by(peer).unwrap_or(peer)
    }

    fn not_replaced(&self, name: &Name, came: PeerId) -> Result<(), Failure> {
        match self.replaced().by(came) {
            Some(by) => Err(Failure::KeyReplaced { name: Some(name.clone()), came, by }),
            None => Ok(()),
        }
    }

    fn known(&self, peer: PeerId) -> Result<(), Failure> {
        match self.pins().of_peer(peer).next() {
            Some(_) => Ok(()),
            None => Err(Failure::UnknownPeer { who: peer.short() }),
        }
    }
}

/// Why somebody who is known does not become known by another name.
fn second_name(known: &Name, name: &Name) -> String {
    format!("to know {known} as {name}, too: say {known}, or `p2pchat contacts remove {known}` first")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Home;
    use p2pchat_crypto::{Identity, Seed};
    use std::sync::Arc;

    const HERE: BrokerKey = BrokerKey([9; 32]);
    const ELSEWHERE: BrokerKey = BrokerKey([8; 32]);
    const ALICE: PeerId = PeerId([1; 32]);
    const OTHER: PeerId = PeerId([2; 32]);
    const NOW: WallTime = WallTime(1_800_000_000_000);

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn me() -> Arc<Identity> {
        Arc::new(Identity::from_seed(&Seed::from_bytes([7; 32])))
    }

    fn knowing_alice() -> (tempfile::TempDir, Home, Papers) {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::open(directory.path()).unwrap();
        let mut everybody = Papers::open(&home, &me()).unwrap();
        everybody.add(name("alice"), ALICE, HERE, NOW).unwrap();
        (directory, home, everybody)
    }

    #[test]
    fn somebody_is_found_by_id_by_petname_and_by_the_name_at_the_broker_at_hand() {
        let (_directory, home, mut everybody) = knowing_alice();
        everybody.add(name("alice"), OTHER, ELSEWHERE, NOW).unwrap();
        assert_eq!(everybody.find("alice", Some(HERE)), Ok(ALICE));
        assert_eq!(everybody.find("alice", Some(ELSEWHERE)), Ok(OTHER));
        assert!(matches!(everybody.find("alice", None), Err(Failure::Usage(_))));
        everybody.rename(OTHER, name("cousin")).unwrap();
        let everybody = Papers::open(&home, &me()).unwrap();
        let renamed = ["alice", "cousin"].map(|who| everybody.renamed(&name(who), Some(ELSEWHERE)));
        assert_eq!(renamed, [Some(OTHER), Some(OTHER)]);
        assert_eq!(everybody.renamed(&name("alice"), Some(HERE)), None);
        assert_eq!(everybody.find("cousin", Some(HERE)), Ok(OTHER));
        assert_eq!(everybody.find(&OTHER.to_string(), None), Ok(OTHER));
        assert!(matches!(everybody.find("nobody", Some(HERE)), Err(Failure::UnknownPeer { .. })));
    }

    #[test]
    fn somebody_who_is_known_does_not_leave_their_name_to_others_for_a_second_one() {
        let (_directory, _home, mut everybody) = knowing_alice();
        let second = everybody.add(name("alice2"), ALICE, HERE, NOW);
        assert!(matches!(second, Err(Failure::NotAllowed { .. })), "{second:?}");
        let invited = everybody.add_at("h:1", HERE, name("alice3"), ALICE, NOW);
        assert!(matches!(invited, Err(Failure::NotAllowed { .. })), "{invited:?}");
        assert_eq!(everybody.add(name("alice"), ALICE, HERE, NOW), Ok(()));
        let changed = everybody.add(name("alice"), OTHER, HERE, NOW);
        assert!(matches!(changed, Err(Failure::KeyChanged { .. })), "{changed:?}");
    }

    #[test]
    fn nobody_gets_a_name_that_somebody_else_goes_by() {
        let (_directory, _home, mut everybody) = knowing_alice();
        everybody.add(name("bob"), OTHER, HERE, NOW).unwrap();
        assert!(matches!(everybody.rename(OTHER, name("alice")), Err(Failure::NotAllowed { .. })));
        everybody.rename(OTHER, name("brother")).unwrap();
        let third = PeerId([3; 32]);
        assert!(matches!(everybody.add(name("brother"), third, HERE, NOW), Err(Failure::NotAllowed { .. })));
        everybody.rename(OTHER, name("bob")).unwrap();
        assert_eq!(everybody.of(OTHER).name, Some(name("bob")));
        everybody.add(name("brother"), third, HERE, NOW).unwrap();
    }

    #[test]
    fn a_block_outlives_what_else_is_known_of_somebody() {
        let (_directory, home, mut everybody) = knowing_alice();
        everybody.verified(ALICE).unwrap();
        assert_eq!(everybody.of(ALICE).trust, Trust::Verified);
        everybody.block(ALICE, true).unwrap();
        everybody.remove(ALICE).unwrap();
        let mut everybody = Papers::open(&home, &me()).unwrap();
        let blocked = Acquaintance { peer: ALICE, name: None, pin: None, trust: Trust::Blocked };
        assert_eq!(everybody.list(), [blocked]);
        everybody.block(ALICE, false).unwrap();
        assert_eq!(everybody.list(), []);
    }

    #[test]
    fn a_stranger_cannot_be_verified_renamed_or_removed() {
        let (_directory, _home, mut everybody) = knowing_alice();
        let unknown = Failure::UnknownPeer { who: OTHER.short() };
        assert_eq!(everybody.verified(OTHER), Err(unknown.clone()));
        assert_eq!(everybody.rename(OTHER, name("bob")), Err(unknown.clone()));
        assert_eq!(everybody.remove(OTHER), Err(unknown));
    }

    #[test]
    fn a_new_key_under_a_name_inherits_nothing_of_the_old_one() {
        let (_directory, home, mut everybody) = knowing_alice();
        everybody.verified(ALICE).unwrap();
        everybody.trust(&name("alice"), OTHER, HERE, NOW).unwrap();
        let everybody = Papers::open(&home, &me()).unwrap();
        assert_eq!(everybody.find("alice", Some(HERE)), Ok(OTHER));
        assert_eq!(everybody.of(OTHER).trust, Trust::Pinned);
        assert_eq!(everybody.of(ALICE).pin, None);
    }

    #[test]
    fn the_key_that_is_replaced_is_the_one_of_the_registered_name_and_no_petname() {
        let (_directory, _home, mut everybody) = knowing_alice();
        everybody.rename(ALICE, name("bob")).unwrap();
        // Whoever registered that name became a contact in a chat.
        let [bob, new] = [3, 4].map(|n| PeerId([n; 32]));
        let pin = Pin { name: name("bob"), peer: bob, broker: HERE, since: NOW, may_reconnect: true };
        everybody.pin(pin).unwrap();
        assert_eq!(everybody.find("bob", Some(HERE)), Ok(ALICE));
        assert_eq!(everybody.pinned(&name("bob"), HERE), Ok(bob));
        everybody.trust(&name("bob"), new, HERE, NOW).unwrap();
        assert_eq!(everybody.pinned(&name("bob"), HERE), Ok(new));
        assert_eq!((everybody.of(ALICE).trust, everybody.of(bob).pin), (Trust::Pinned, None));
        let nobody = Failure::UnknownPeer { who: "brother".to_owned() };
        assert_eq!(everybody.pinned(&name("brother"), HERE), Err(nobody.clone()));
        assert_eq!(everybody.trust(&name("brother"), new, HERE, NOW), Err(nobody));
    }

    #[test]
    fn a_key_is_only_changed_where_the_name_is_known() {
        let (_directory, _home, mut everybody) = knowing_alice();
        let changed = everybody.trust(&name("alice"), OTHER, ELSEWHERE, NOW);
        assert_eq!(changed, Err(Failure::UnknownPeer { who: "alice".to_owned() }));
    }
}
