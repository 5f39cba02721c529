//! What the user decided about people.

use std::collections::BTreeMap;

use p2pchat_engine::{Failure, Mark};
use p2pchat_proto::{Name, PeerId};

use super::home::{Home, damaged};

const FILE: &str = "people";
/// Most people of whom something was decided: as many as can be pinned ([`super::PINS_MAX`]), and as many
/// who are blocked besides.
pub const MARKS_MAX: usize = 20_000;
/// Most bytes of the file: [`MARKS_MAX`] lines of the longest form (103 bytes), with comments.
const FILE_MAX: usize = 4 * 1024 * 1024;
/// What the file begins with.
const HEADER: &str =
    "# identity, verified, blocked (yes or no), what the user calls them (- for the name at the broker)\n";
/// Stands where there is no petname: no name begins so.
const NO_PETNAME: &str = "-";

/// The file `people`: one identity a line, four fields with a space between them. Empty lines and lines that
/// begin with `#` are not kept.
///
/// ```text
/// jlgp…52 characters…q yes no sister
/// ```
///
/// It speaks of identities and not of names, so whoever comes under the name of somebody who is verified is
/// not verified, and whoever is blocked stays so under another name.
#[derive(Debug, Clone)]
pub struct Marks {
    home: Home,
    of: BTreeMap<PeerId, Mark>,
}

impl Marks {
    /// Those of the profile.
    ///
    /// # Errors
    /// [`Failure::Local`] if the file cannot be read, or with the number of the first line that is not what
    /// it should be. Nothing is guessed: whom the user trusts stands in it.
    pub fn load(home: &Home) -> Result<Self, Failure> {
        let mut marks = Self { home: home.clone(), of: BTreeMap::new() };
        let Some((path, text)) = home.read_text(FILE, FILE_MAX)? else { return Ok(marks) };
        let lines = text.lines().enumerate();
        for (number, line) in lines.filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#')) {
            let wrong = |what: &str| damaged(&path, format!("line {} {what}", number + 1));
            let mark = parse(line).ok_or_else(|| wrong("is not IDENTITY yes|no yes|no NAME|-"))?;
            let called = |name: &Name| marks.of.values().any(|known| known.petname.as_ref() == Some(name));
            if marks.of.contains_key(&mark.peer) || mark.petname.as_ref().is_some_and(called) {
                return Err(wrong("has an identity or a name of an earlier line"));
            }
            if marks.of.len() >= MARKS_MAX {
                return Err(wrong("is one person too many"));
            }
            marks.of.insert(mark.peer, mark);
        }
        Ok(marks)
    }

    /// All of them, in the order of identities.
    pub fn iter(&self) -> impl Iterator<Item = &Mark> {
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
    /// [`Failure::NotAllowed`] if somebody else is called so, or there are too many. [`Failure::Local`] and
    /// [`Failure::DiskFull`] if it cannot be written; then it lasts until the process ends.
    pub fn set(&mut self, mark: Mark) -> Result<(), Failure> {
        let taken = mark.petname.as_ref().and_then(|name| Some((name, self.called(name)?)));
        if let Some((name, _)) = taken.filter(|(_, peer)| *peer != mark.peer) {
            return Err(Failure::NotAllowed { what: format!("to call a second person {name}") });
        }
        if mark.is_none() {
            if self.of.remove(&mark.peer).is_none() {
                return Ok(());
            }
        } else {
            if !self.of.contains_key(&mark.peer) && self.of.len() >= MARKS_MAX {
                let what = format!("to verify, block or rename more than {MARKS_MAX} people");
                return Err(Failure::NotAllowed { what });
            }
            self.of.insert(mark.peer, mark);
        }
        let lines: String = self.iter().map(format_line).collect();
        self.home.write(FILE, format!("{HEADER}{lines}").as_bytes())
    }
}

fn parse(line: &str) -> Option<Mark> {
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

fn format_line(mark: &Mark) -> String {
    let flag = |on: bool| if on { "yes" } else { "no" };
    let petname = mark.petname.as_ref().map_or(NO_PETNAME, Name::as_str);
    format!("{} {} {} {petname}\n", mark.peer, flag(mark.verified), flag(mark.blocked))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALICE: PeerId = PeerId([1; 32]);
    const BOB: PeerId = PeerId([2; 32]);

    fn home() -> (tempfile::TempDir, Home) {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::open(directory.path()).unwrap();
        (directory, home)
    }

    fn called(peer: PeerId, name: &str) -> Mark {
        Mark { petname: Some(name.parse().unwrap()), ..Mark::none(peer) }
    }

    #[test]
    fn what_was_decided_is_known_the_next_time_and_what_was_taken_back_is_not() {
        let (_directory, home) = home();
        let mut marks = Marks::load(&home).unwrap();
        let verified = Mark { verified: true, ..called(ALICE, "sister") };
        let blocked = Mark { blocked: true, ..Mark::none(BOB) };
        marks.set(verified.clone()).unwrap();
        marks.set(blocked.clone()).unwrap();
        let again = Marks::load(&home).unwrap();
        assert_eq!((again.of(ALICE), again.of(BOB)), (verified, blocked));
        assert_eq!(again.called(&"sister".parse().unwrap()), Some(ALICE));
        marks.set(Mark::none(BOB)).unwrap();
        assert_eq!(Marks::load(&home).unwrap().iter().count(), 1);
    }

    #[test]
    fn two_people_are_never_called_the_same() {
        let (_directory, home) = home();
        let mut marks = Marks::load(&home).unwrap();
        marks.set(called(ALICE, "sister")).unwrap();
        assert!(matches!(marks.set(called(BOB, "sister")), Err(Failure::NotAllowed { .. })));
        marks.set(Mark { verified: true, ..called(ALICE, "sister") }).unwrap();
    }

    #[test]
    fn a_damaged_file_names_its_line_and_trusts_nobody() {
        let (_directory, home) = home();
        let good = format_line(&Mark { verified: true, ..called(ALICE, "sister") });
        let bad = [
            "alice".to_owned(),
            good.replace("yes", "maybe"),
            good.replace("sister", "Sister"),
            good.replace("sister", "sister more"),
            good.replace(&ALICE.to_string(), &ALICE.short()),
            format!("{good}{good}"),
            format!("{good}{}", format_line(&called(BOB, "sister"))),
        ];
        for text in bad {
            home.write(FILE, format!("# first\n{text}").as_bytes()).unwrap();
            let Err(Failure::Local { reason, .. }) = Marks::load(&home) else { panic!("{text}") };
            assert!(reason.contains("line 2") || reason.contains("line 3"), "{reason}");
        }
    }

    #[test]
    fn the_number_of_people_is_bounded_and_fits_the_file() {
        let (_directory, home) = home();
        let mut marks = Marks::load(&home).unwrap();
        for n in 0..MARKS_MAX {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&(n as u64 + 1).to_be_bytes());
            let name = format!("p{n:0>31}").parse().unwrap();
            let mark = Mark { peer: PeerId(key), verified: true, blocked: true, petname: Some(name) };
            marks.of.insert(mark.peer, mark);
        }
        let one_more = Mark { blocked: true, ..Mark::none(PeerId([9; 32])) };
        assert!(matches!(marks.set(one_more), Err(Failure::NotAllowed { .. })));
        let text: String = marks.iter().map(format_line).collect();
        assert!(text.len() <= FILE_MAX);
    }

    proptest! {
        #[test]
        fn every_person_survives_their_line(
            peer: [u8; 32], verified: bool, blocked: bool, called in proptest::option::of("[a-z0-9][a-z0-9._-]{1,31}"),
        ) {
            let petname = called.map(|name| name.parse().unwrap());
            let mark = Mark { peer: PeerId(peer), verified, blocked, petname };
            prop_assert_eq!(parse(format_line(&mark).trim_end_matches('\n')), Some(mark));
        }

        #[test]
        fn no_line_makes_the_parser_panic(text in "\\PC{0,200}") {
            prop_assert_eq!(parse(&text), None);
        }
    }
}
