//! People of another profile of the same user: exported there, put beside those that are known here.

use std::path::Path;

use p2pchat_crypto::export::{self, Kind};
use p2pchat_crypto::keyfile::Passphrase;
use p2pchat_engine::{Failure, Mark};
use p2pchat_proto::PeerId;
use zeroize::Zeroizing;

use super::exported::{self, Exported};
use super::papers::{Content, Papers};
use super::pins::{Pin, Pins};
use super::text;
use crate::random::system_rng;

/// Whose contacts they are, before the text.
const WHOSE_LEN: usize = 32;

/// What came of an import. What is known here stays as it is; all that does not go against it was taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Imported {
    /// Brokers that were not known.
    pub brokers: usize,
    /// Names that were not known.
    pub people: usize,
    /// What was not taken: [`Failure::KeyChanged`] and [`Failure::BrokerKeyChanged`] with both keys,
    /// [`Failure::NotAllowed`] of a name that somebody else goes by.
    pub refused: Vec<Failure>,
}

impl Papers {
    /// Seals brokers, people and what was decided about them into a new file at `to`; how many people. What
    /// contacts come back with stays: it belongs to this machine.
    ///
    /// # Errors
    /// [`Failure::Export`] if there is a file already; [`Failure::Local`] and [`Failure::DiskFull`] if it
    /// cannot be written.
    pub fn export(&self, to: &Path, passphrase: &Passphrase) -> Result<usize, Failure> {
        let mut pins = Pins::default();
        self.pins().iter().for_each(|pin| pins.push(pin.clone()));
        let (brokers, marks) = (self.brokers().clone(), self.marks().clone());
        let text = Zeroizing::new(text::of(&Content { brokers, pins, marks, ..Content::default() }));
        let content = Zeroizing::new([&self.me().0[..], text.as_bytes()].concat());
        exported::write(to, export::seal(Kind::Contacts, &content, passphrase, &mut system_rng()?))?;
        Ok(self.list().len())
    }

    /// Takes everybody in a file who is not known, in one write. What is known here is never replaced. Whom
    /// the user compared keys with is verified here only if it was this identity that was compared.
    ///
    /// # Errors
    /// [`Failure::Export`] if the passphrase is wrong or the file holds something else; those of a change.
    pub fn import(&mut self, from: &Exported, passphrase: &Passphrase) -> Result<Imported, Failure> {
        let content = from.open(passphrase)?;
        let (whose, text) = content.split_first_chunk::<WHOSE_LEN>().ok_or_else(|| from.not_contacts())?;
        let text = core::str::from_utf8(text).map_err(|_| from.not_contacts())?;
        let theirs = text::parse(text).map_err(|_| from.not_contacts())?;
        let me = self.me();
        self.change(|mine| merge(mine, &theirs, me, PeerId(*whose) == me))
    }
}

fn merge(mine: &mut Content, theirs: &Content, me: PeerId, same_identity: bool) -> Result<Imported, Failure> {
    let mut imported = Imported::default();
    for (host_port, came) in theirs.brokers.iter() {
        match mine.brokers.key(host_port) {
            Some(known) if known == came => {}
            Some(pinned) => {
                let address = host_port.to_owned();
                imported.refused.push(Failure::BrokerKeyChanged { address, pinned, came });
            }
            None => {
                mine.brokers.remember(host_port, came)?;
                imported.brokers += 1;
            }
        }
    }
    for pin in theirs.pins.iter().filter(|pin| pin.peer != me) {
        merge_pin(mine, pin, &mut imported)?;
    }
    for mark in theirs.marks.iter().filter(|mark| mark.peer != me) {
        merge_mark(mine, mark, same_identity, &mut imported)?;
    }
    Ok(imported)
}

fn merge_pin(mine: &mut Content, pin: &Pin, imported: &mut Imported) -> Result<(), Failure> {
    if mine.pins.of_peer(pin.peer).any(|known| known.broker == pin.broker) {
        return Ok(());
    }
    if mine.marks.called(&pin.name).is_some_and(|other| other != pin.peer) {
        imported.refused.push(Failure::NotAllowed { what: format!("to call a second person {}", pin.name) });
        return Ok(());
    }
    if let Some(by) = mine.replaced.by(pin.peer) {
        imported.refused.push(Failure::KeyReplaced { name: Some(pin.name.clone()), came: pin.peer, by });
        return Ok(());
    }
    if let Err(changed) = mine.pins.check(pin.broker, &pin.name, pin.peer) {
        imported.refused.push(changed);
        return Ok(());
    }
    imported.people += 1;
    mine.pins.pin(pin.clone())
}

fn merge_mark(
    mine: &mut Content,
    theirs: &Mark,
    same_identity: bool,
    imported: &mut Imported,
) -> Result<(), Failure> {
    let known = mine.marks.of(theirs.peer);
    let taken = |name: &&p2pchat_proto::Name| {
        let pinned = mine.pins.iter().any(|pin| pin.name == **name && pin.peer != theirs.peer);
        pinned || mine.marks.called(name).is_some_and(|other| other != theirs.peer)
    };
    let mut petname = known.petname.clone();
    if petname.is_none() {
        match theirs.petname.as_ref() {
            Some(name) if taken(&name) => {
                let what = format!("to call a second person {name}");
                imported.refused.push(Failure::NotAllowed { what });
            }
            name => petname = name.cloned(),
        }
    }
    // Verified means that the key under a pin was compared; who was refused above has none.
    let pinned = mine.pins.of_peer(theirs.peer).next().is_some();
    let verified = known.verified || (theirs.verified && same_identity && pinned);
    let petname = if pinned { petname } else { known.petname };
    mine.marks.set(Mark { peer: theirs.peer, verified, blocked: known.blocked || theirs.blocked, petname })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Home;
    use p2pchat_crypto::{Identity, Seed};
    use p2pchat_engine::event::Trust;
    use p2pchat_proto::{BrokerKey, Name, WallTime};
    use std::fs;
    use std::path::PathBuf;
    use std::sync::Arc;

    const HERE: BrokerKey = BrokerKey([9; 32]);
    const ALICE: PeerId = PeerId([1; 32]);
    const BOB: PeerId = PeerId([2; 32]);
    const CAROL: PeerId = PeerId([3; 32]);
    const NOW: WallTime = WallTime(1_800_000_000_000);

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn passphrase(text: &str) -> Passphrase {
        Passphrase::new(text.to_owned())
    }

    struct Two {
        _directory: tempfile::TempDir,
        file: PathBuf,
        old: Papers,
        new: Papers,
    }

    /// Two profiles, of two identities where `seeds` differ; alice is verified, bob blocked in the old one.
    fn two(seeds: [u8; 2]) -> Two {
        let directory = tempfile::tempdir().unwrap();
        let [mut old, new] = [("old", seeds[0]), ("new", seeds[1])].map(|(below, seed)| {
            let home = Home::open(&directory.path().join(below)).unwrap();
            let me = Arc::new(Identity::from_seed(&Seed::from_bytes([seed; 32])));
            Papers::open(&home, &me).unwrap()
        });
        old.set_name(name("me")).unwrap();
        old.set_udp_port(7001).unwrap();
        old.add_at("h:1", HERE, name("alice"), ALICE, NOW).unwrap();
        old.add(name("bob"), BOB, HERE, NOW).unwrap();
        old.verified(ALICE).unwrap();
        old.rename(ALICE, name("sister")).unwrap();
        old.block(BOB, true).unwrap();
        old.block(CAROL, true).unwrap();
        let file = directory.path().join("contacts.export");
        Two { _directory: directory, file, old, new }
    }

    fn moved(two: &mut Two) -> Imported {
        assert_eq!(two.old.export(&two.file, &passphrase("travels")).unwrap(), 3);
        let found = Exported::contacts(&two.file).unwrap();
        two.new.import(&found, &passphrase("travels")).unwrap()
    }

    #[test]
    fn everybody_comes_with_what_was_decided_about_them_and_nothing_else() {
        let mut two = two([5, 5]);
        assert_eq!(moved(&mut two), Imported { brokers: 1, people: 2, refused: Vec::new() });
        assert_eq!(two.new.list(), two.old.list());
        assert_eq!((two.new.name(), two.new.udp_port()), (None, None));
        let again = Exported::contacts(&two.file).unwrap();
        assert_eq!(two.new.import(&again, &passphrase("travels")), Ok(Imported::default()));
        assert_eq!(two.new.list(), two.old.list());
        let refused = two.new.import(&again, &passphrase("other"));
        assert!(matches!(refused, Err(Failure::Export { .. })), "{refused:?}");
        assert!(two.old.export(&two.file, &passphrase("x")).is_err(), "nothing is overwritten");
        assert!(Exported::identity(&two.file).is_err());
    }

    #[test]
    fn what_another_identity_compared_is_not_verified() {
        let mut two = two([5, 6]);
        moved(&mut two);
        assert_eq!(two.new.of(ALICE).trust, Trust::Pinned);
        assert_eq!([BOB, CAROL].map(|peer| two.new.of(peer).trust), [Trust::Blocked; 2]);
    }

    #[test]
    fn oneself_is_nobody_to_know() {
        let mut two = two([5, 6]);
        let me = two.new.me();
        two.old.remove(BOB).unwrap();
        two.old.block(BOB, false).unwrap();
        two.old.add(name("myself"), me, HERE, NOW).unwrap();
        assert_eq!(moved(&mut two).people, 1);
        assert_eq!(two.new.of(me).pin, None);
    }

    #[test]
    fn nothing_that_is_known_is_replaced_and_both_keys_are_told() {
        let mut two = two([5, 5]);
        let other = BrokerKey([8; 32]);
        two.new.add_at("h:1", other, name("carol"), CAROL, NOW).unwrap();
        let mallory = PeerId([66; 32]);
        two.new.add(name("alice"), mallory, HERE, NOW).unwrap();
        let dave = PeerId([4; 32]);
        two.new.add(name("dave"), dave, HERE, NOW).unwrap();
        two.new.rename(dave, name("bob")).unwrap();
        let imported = moved(&mut two);
        let expected = [
            Failure::BrokerKeyChanged { address: "h:1".to_owned(), pinned: other, came: HERE },
            Failure::KeyChanged { name: Some(name("alice")), pinned: mallory, came: ALICE },
            Failure::NotAllowed { what: "to call a second person bob".to_owned() },
        ];
        assert_eq!(imported, Imported { brokers: 0, people: 0, refused: expected.into() });
        assert_eq!(two.new.brokers().key("h:1"), Some(other));
        assert_eq!(two.new.find("alice", Some(HERE)), Ok(mallory));
        assert_eq!(two.new.find("bob", Some(HERE)), Ok(dave));
        // Who was refused is not verified under any name; a block counts whatever the name.
        assert_eq!(
            [ALICE, BOB, CAROL].map(|peer| two.new.of(peer).trust),
            [Trust::New, Trust::Blocked, Trust::Blocked]
        );
    }

    #[test]
    fn a_name_and_a_decision_of_ones_own_stay() {
        let mut two = two([5, 5]);
        two.new.add(name("alicia"), ALICE, HERE, NOW).unwrap();
        two.new.rename(ALICE, name("friend")).unwrap();
        assert_eq!(moved(&mut two).people, 1);
        let alice = two.new.of(ALICE);
        assert_eq!((alice.name, alice.trust), (Some(name("friend")), Trust::Verified));
        assert_eq!(alice.pin.unwrap().name, name("alicia"));
    }

    #[test]
    fn a_file_of_the_right_passphrase_and_the_wrong_content_changes_nothing() {
        let mut two = two([5, 5]);
        for content in [&b"short"[..], &[0xff; 64], &[&[0; 32][..], b"alice is a friend\n"].concat()] {
            let sealed = export::seal(Kind::Contacts, content, &passphrase("x"), &mut system_rng().unwrap());
            fs::write(&two.file, sealed.unwrap()).unwrap();
            let found = Exported::contacts(&two.file).unwrap();
            let refused = two.new.import(&found, &passphrase("x"));
            assert!(matches!(refused, Err(Failure::Export { .. })), "{refused:?}");
        }
        assert!(two.new.list().is_empty());
    }
}
