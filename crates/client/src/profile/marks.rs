//! What the user decided about people.

use std::collections::BTreeMap;

use p2pchat_engine::{Failure, Mark};
use p2pchat_proto::{Name, PeerId};

/// Most people of whom something was decided: as many as can be pinned ([`super::PINS_MAX`]), and as many
/// who are blocked besides.
pub const MARKS_MAX: usize = 20_000;
/// Stands where there is no petname: no name begins so.
const NO_PETNAME: &str = "-";

/// Marks speak of identities and not of names, so whoever comes under the name of somebody who is verified is
/// not verified, and whoever is blocked stays so under another name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marks {
    of: BTreeMap<PeerId, Mark>,
}

impl Marks {
    /// All of them, in the order of identities.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Mark> {
        self.of.values()
    }

    /// What was decided about one.
    pub fn of(&self, peer: PeerId) -> Mark {
        self.of.get(&peer).cloned().unwrap_or_else(|| Mark::none(peer))
    }

    /// Whom the user calls so.
    pub fn called(&self, name: &Name) -> Option<PeerId> {
        self.iter().find(|mark| mark.petname.as_ref() == Some(name)).map(|mark| mark.peer)
    }

    /// Keeps what was decided, in the place of what was decided before.
    ///
    /// # Errors
    /// [`Failure::NotAllowed`] if somebody else is called so, or there are too many.
    pub fn set(&mut self, mark: Mark) -> Result<(), Failure> {
        let taken = mark.petname.as_ref().and_then(|name| Some((name, self.called(name)?)));
        if let Some((name, _)) = taken.filter(|(_, peer)| *peer != mark.peer) {
            return Err(Failure::NotAllowed { what: format!("to call a second person {name}") });
        }
        if mark.is_none() {
            self.of.remove(&mark.peer);
            return Ok(());
        }
        if !self.of.contains_key(&mark.peer) && self.of.len() >= MARKS_MAX {
            let what = format!("to verify, block or rename more than {MARKS_MAX} people");
            return Err(Failure::NotAllowed { what });
        }
        self.of.insert(mark.peer, mark);
        Ok(())
    }

    /// A mark that was read; whether nothing was known of that identity.
    pub(super) fn push(&mut self, mark: Mark) -> bool {
        self.of.insert(mark.peer, mark).is_none()
    }
}

/// The fields of a line.
pub(super) fn parse(line: &str) -> Option<Mark> {
    let flag = |text: &str| match text {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    };
    let mut fields = line.split(' ');
    let mark = Mark {
        peer: fields.next()?.parse().ok()?,
        verified: flag(fields.next()?)?,
        blocked: flag(fields.next()?)?,
        petname: match fields.next()? {
            NO_PETNAME => None,
            name => Some(name.parse().ok()?),
        },
    };
    fields.next().is_none().then_some(mark)
}

pub(super) fn to_text(mark: &Mark) -> String {
    let flag = |on: bool| if on { "yes" } else { "no" };
    let petname = mark.petname.as_ref().map_or(NO_PETNAME, Name::as_str);
    format!("{} {} {} {petname}", mark.peer, flag(mark.verified), flag(mark.blocked))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALICE: PeerId = PeerId([1; 32]);
    const BOB: PeerId = PeerId([2; 32]);

    fn called(peer: PeerId, name: &str) -> Mark {
        Mark { petname: Some(name.parse().unwrap()), ..Mark::none(peer) }
    }

    #[test]
    fn what_was_decided_is_known_and_what_was_taken_back_is_not() {
        let mut marks = Marks::default();
        let verified = Mark { verified: true, ..called(ALICE, "sister") };
        let blocked = Mark { blocked: true, ..Mark::none(BOB) };
        marks.set(verified.clone()).unwrap();
        marks.set(blocked.clone()).unwrap();
        assert_eq!((marks.of(ALICE), marks.of(BOB)), (verified, blocked));
        assert_eq!(marks.called(&"sister".parse().unwrap()), Some(ALICE));
        marks.set(Mark::none(BOB)).unwrap();
        assert_eq!(marks.iter().count(), 1);
    }

    #[test]
    fn two_people_are_never_called_the_same() {
        let mut marks = Marks::default();
        marks.set(called(ALICE, "sister")).unwrap();
        assert!(matches!(marks.set(called(BOB, "sister")), Err(Failure::NotAllowed { .. })));
        marks.set(Mark { verified: true, ..called(ALICE, "sister") }).unwrap();
    }

    #[test]
    fn the_number_of_people_is_bounded() {
        let mut marks = Marks::default();
        for n in 0..MARKS_MAX {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&(n as u64 + 1).to_be_bytes());
            assert!(marks.push(Mark { blocked: true, ..Mark::none(PeerId(key)) }));
        }
        let one_more = Mark { blocked: true, ..Mark::none(PeerId([9; 32])) };
        assert!(matches!(marks.set(one_more), Err(Failure::NotAllowed { .. })));
    }

    proptest! {
        #[test]
        fn every_person_survives_their_line(
            peer: [u8; 32], verified: bool, blocked: bool, called in proptest::option::of("[a-z0-9][a-z0-9._-]{1,31}"),
        ) {
            let petname = called.map(|name| name.parse().unwrap());
            let mark = Mark { peer: PeerId(peer), verified, blocked, petname };
            prop_assert_eq!(parse(&to_text(&mark)), Some(mark));
        }

        #[test]
        fn no_line_makes_the_parser_panic(text in "\\PC{0,200}") {
            prop_assert_eq!(parse(&text), None);
        }
    }
}
