//! Keys that took the place of others: those of people whom this user followed, and the one that is to take the
//! place of this user's own.

use p2pchat_crypto::{Seed, StoreKey, succession};
use p2pchat_engine::{Failure, Mark};
use p2pchat_proto::succession::{KeptSuccession, SUCCESSION_MAX};
use p2pchat_proto::{PeerId, WallTime};
use rand::CryptoRng;
use zeroize::Zeroizing;

use super::marks::Marks;
use super::papers::{Content, Papers};
use super::pins::Pins;
use crate::random::system_rng;

/// What a rotation is sealed for.
const PURPOSE: &[u8] = b"p2pchat 1 rotation";
/// Most bytes of it: a seed, a statement, nonce and tag.
const SEALED_MAX: usize = 32 + SUCCESSION_MAX + 40;
/// Most people of whom it is kept whom they followed: the store has long moved what was said with those
/// before, as it does so at once.
pub(super) const FOLLOWED_MAX: usize = 256;

/// A key that is to take the place of the user's own: kept before anybody hears of it, so that whatever
/// happens it is this one, and until it has done so.
#[derive(Debug)]
pub struct Rotation {
    /// Where it comes from.
    pub seed: Seed,
    /// What both keys have signed.
    pub statement: KeptSuccession,
}

/// The same, sealed once more, so that the seed lies in no text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SealedRotation(Vec<u8>);

impl SealedRotation {
    fn seal(rotation: &Rotation, key: &StoreKey, rng: &mut dyn CryptoRng) -> Result<Self, Failure> {
        let parts = [&rotation.seed.expose()[..], rotation.statement.as_slice()];
        let sealed = key.seal(PURPOSE, &parts, rng);
        sealed.map(Self).map_err(|error| Failure::Local {
            what: "keep the new key".to_owned(),
            reason: error.to_string(),
        })
    }

    fn open(&self, key: &StoreKey) -> Option<(Zeroizing<[u8; 32]>, KeptSuccession)> {
        let content = key.open(PURPOSE, &self.0).ok()?;
        let (seed, statement) = content.split_first_chunk::<32>()?;
        Some((Zeroizing::new(*seed), KeptSuccession::new(statement.to_vec())?))
    }

    pub(super) fn to_text(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        super::contacts::from_hex(text, SEALED_MAX).map(Self)
    }
}

impl Papers {
    /// Keeps that `new` has taken the place of `old`, by the word of both: every pin, and what was decided but
    /// for the comparison of keys. What was said is the store's, which is told at the next start if it does not
    /// hear of it now.
    ///
    /// # Errors
    /// [`Failure::NotAllowed`] if `new` is somebody else already; [`Failure::Local`], [`Failure::DiskFull`].
    pub fn follow(&mut self, old: PeerId, new: PeerId, now: WallTime) -> Result<(), Failure> {
        let known = self.pins().of_peer(new).next().is_some() || !self.marks().of(new).is_none();
        if known || old == new {
            let what = format!("to take {} for somebody else, too", new.short());
            return Err(Failure::NotAllowed { what });
        }
        if let Some(by) = self.replaced().by(new) {
            return Err(Failure::KeyReplaced { name: None, came: new, by });
        }
        self.change(|Content { pins, marks, followed, replaced, .. }| {
            pins.succeed(old, new, now);
            marks.succeed(old, new)?;
            replaced.note(old, new);
            followed.push((old, new));
            followed.drain(..followed.len().saturating_sub(FOLLOWED_MAX));
            Ok(())
        })
    }

    /// Whom this user followed since the last start, in that order: the old identity and the new one.
    pub fn followed(&self) -> &[(PeerId, PeerId)] {
        &self.content.followed
    }

    /// What was said with all of them is where it belongs.
    ///
    /// # Errors
    /// [`Failure::Local`], [`Failure::DiskFull`].
    pub fn all_followed(&mut self) -> Result<(), Failure> {
        self.change(|content| {
            content.followed.clear();
            Ok(())
        })
    }

    /// Keeps the key that is to take the place of the user's own.
    ///
    /// # Errors
    /// [`Failure::Local`], [`Failure::DiskFull`].
    pub fn begin_rotation(&mut self, rotation: &Rotation) -> Result<(), Failure> {
        let sealed = SealedRotation::seal(rotation, self.me.store(), &mut system_rng()?)?;
        self.change(|content| {
            content.rotation = Some(sealed);
            Ok(())
        })
    }

    /// Whether a key is to take the place of the user's own.
    pub const fn is_rotating(&self) -> bool {
        self.content.rotation.is_some()
    }

    /// That key, for whoever has the seed of now.
    ///
    /// # Errors
    /// [`Failure::Local`] if what was kept of it is not what was written.
    pub fn rotation(&self, seed: &Seed) -> Result<Option<Rotation>, Failure> {
        let Some(sealed) = &self.content.rotation else { return Ok(None) };
        let (bytes, statement) = sealed.open(self.me.store()).ok_or_else(not_whole)?;
        Ok(Some(Rotation { seed: seed.successor_from(*bytes), statement }))
    }

    /// Where the key file holds the new key already, nothing of the old one is needed: contacts do not come back
    /// with what they shared with it.
    pub(super) fn end_rotation(&mut self) -> Result<(), Failure> {
        let Some(sealed) = &self.content.rotation else { return Ok(()) };
        let (_, statement) = sealed.open(self.me.store()).ok_or_else(not_whole)?;
        let stated = succession::read(&statement).map_err(|_| not_whole())?;
        if stated.new != self.me() {
            return Ok(());
        }
        self.change(|content| {
            content.rotation = None;
            content.pins.sealed.clear();
            Ok(())
        })
    }
}

fn not_whole() -> Failure {
    Failure::Local {
        what: "read the key that is to take the place of this one".to_owned(),
        reason: "it is damaged".to_owned(),
    }
}

/// The fields of a line.
pub(super) fn followed_from(text: &str) -> Option<(PeerId, PeerId)> {
    let (old, new) = text.split_once(' ')?;
    Some((old.parse().ok()?, new.parse().ok()?))
}

impl Pins {
    /// `new` has the pins of `old` from now on; what that one could come back with goes.
    fn succeed(&mut self, old: PeerId, new: PeerId, now: WallTime) {
        self.replace(old, new, now);
        self.sealed.retain(|sealed| sealed.peer != old);
    }
}

impl Marks {
    fn succeed(&mut self, old: PeerId, new: PeerId) -> Result<(), Failure> {
        let mark = self.of(old);
        self.set(Mark::none(old))?;
        self.set(Mark { peer: new, verified: false, ..mark })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{Home, Pin};
    use p2pchat_crypto::Identity;
    use p2pchat_proto::{BrokerKey, Name};
    use rand::SeedableRng;
    use rand_chacha::ChaCha20Rng;
    use std::sync::Arc;

    const HERE: BrokerKey = BrokerKey([9; 32]);
    const ELSEWHERE: BrokerKey = BrokerKey([8; 32]);
    const OLD: PeerId = PeerId([1; 32]);
    const NEW: PeerId = PeerId([2; 32]);
    const OTHER: PeerId = PeerId([3; 32]);
    const THEN: WallTime = WallTime(1_800_000_000_000);
    const NOW: WallTime = WallTime(1_900_000_000_000);

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn rng() -> ChaCha20Rng {
        ChaCha20Rng::seed_from_u64(1)
    }

    fn home() -> (tempfile::TempDir, Home, Arc<Identity>) {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::open(directory.path()).unwrap();
        let me = Arc::new(home.create_identity(None, &mut rng()).unwrap());
        (directory, home, me)
    }

    #[test]
    fn whoever_is_followed_keeps_name_block_and_petname_and_is_not_verified() {
        let (_directory, home, me) = home();
        let mut papers = Papers::open(&home, &me).unwrap();
        papers.add(name("alice"), OLD, HERE, THEN).unwrap();
        papers.add(name("alice"), OLD, ELSEWHERE, THEN).unwrap();
        papers.add(name("carol"), OTHER, HERE, THEN).unwrap();
        let petname = Some(name("sister"));
        papers.mark(Mark { peer: OLD, verified: true, blocked: true, petname: petname.clone() }).unwrap();
        papers.follow(OLD, NEW, NOW).unwrap();
        let check = |papers: &Papers| {
            assert_eq!(papers.pins().of_peer(OLD).count(), 0);
            let at = |broker| papers.pins().of_name(broker, &name("alice")).cloned().unwrap();
            let expected =
                Pin { name: name("alice"), peer: NEW, broker: HERE, since: NOW, may_reconnect: true };
            assert_eq!((at(HERE), at(ELSEWHERE).peer), (expected, NEW));
            let mark = Mark { peer: NEW, verified: false, blocked: true, petname: petname.clone() };
            assert_eq!((papers.marks().of(NEW), papers.marks().of(OLD)), (mark, Mark::none(OLD)));
            assert_eq!(papers.followed(), [(OLD, NEW)]);
            assert_eq!(papers.replaced().by(OLD), Some(NEW));
        };
        check(&papers);
        let mut papers = Papers::open(&home, &me).unwrap();
        check(&papers);
        assert!(matches!(papers.follow(NEW, OTHER, NOW), Err(Failure::NotAllowed { .. })), "somebody else");
        papers.all_followed().unwrap();
        let mut papers = Papers::open(&home, &me).unwrap();
        assert!(papers.followed().is_empty());

        let refused = |done| assert!(matches!(done, Err(Failure::KeyReplaced { .. })), "{done:?}");
        refused(papers.add(name("alice"), OLD, BrokerKey([7; 32]), NOW));
        refused(papers.trust(&name("alice"), OLD, HERE, NOW));
        papers.remove(NEW).unwrap();
        assert_eq!(papers.replaced().by(OLD), Some(NEW), "whoever stays blocked stays so under every key");
        papers.block(NEW, false).unwrap();
        papers.add(name("alice"), NEW, HERE, NOW).unwrap();
        papers.remove(NEW).unwrap();
        assert_eq!(papers.replaced().by(OLD), None, "forgotten with whose it was");
        papers.add(name("alice"), OLD, HERE, NOW).unwrap();
    }

    #[test]
    fn a_rotation_is_kept_sealed_until_the_key_file_holds_the_new_key() {
        let (directory, home, me) = home();
        let seed = home.seed(None).unwrap();
        let next = seed.successor(&mut ChaCha20Rng::seed_from_u64(2)).unwrap();
        let new = Arc::new(Identity::from_seed(&next));
        let statement = succession::state(&me, &new, NOW).unwrap();
        let mut papers = Papers::open(&home, &me).unwrap();
        papers.add(name("alice"), OLD, HERE, THEN).unwrap();
        let bytes = *next.expose();
        papers.begin_rotation(&Rotation { seed: next, statement: statement.clone() }).unwrap();

        let papers = Papers::open(&home, &me).unwrap();
        let kept = papers.rotation(&seed).unwrap().unwrap();
        assert_eq!((kept.seed.expose(), &kept.statement), (&bytes, &statement));
        assert_eq!(Identity::from_seed(&kept.seed).peer_id(), new.peer_id());
        home.replace_seed(&kept.seed, None, &mut rng()).unwrap();

        let now = Arc::new(home.identity(None).unwrap());
        assert_eq!(now.peer_id(), new.peer_id());
        assert!(Papers::look(&home, &now).unwrap().is_rotating());
        let papers = Papers::open(&home, &now).unwrap();
        assert!(!papers.is_rotating());
        assert_eq!(papers.pins().of_name(HERE, &name("alice")).map(|pin| pin.peer), Some(OLD));
        assert!(Papers::open(&home, &me).is_ok(), "the old key opens what it always did");
        drop(directory);
    }
}
