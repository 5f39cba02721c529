//! Who is behind a name.

use std::collections::BTreeSet;

use jiff::Timestamp;
use p2pchat_engine::Failure;
use p2pchat_proto::{BrokerKey, Name, PeerId, WallTime};

use super::contacts::{Sealed, parse_sealed};
use super::home::{Home, damaged};

pub(super) const FILE: &str = "pins";
/// Most pins. As many people as a roster can watch (protocol section 2: 2,000), five times over.
pub const PINS_MAX: usize = 10_000;
/// Most bytes of the file: [`PINS_MAX`] lines of the longest form (188 bytes), and one of less than 1,000
/// bytes for each of [`p2pchat_session::CONTACTS_MAX`], with comments.
const FILE_MAX: usize = 4 * 1024 * 1024;
/// What the file begins with when it is new.
const HEADER: &str = "# name, identity, broker, since, may reconnect without asking (yes or no)\n";

/// The file `pins`: one person a line, five fields with a space between them. Empty lines and lines
/// that begin with `#` are kept.
///
/// ```text
/// alice jlgp…52 characters…q 5jbc…52 characters…a 2026-11-20T10:00:00Z yes
/// ```
///
/// At one broker a name stands for one identity, and an identity has one name. Beside the people stands
/// what they and this user meet again with, one line each, sealed:
///
/// ```text
/// resume jlgp…52 characters…q 8a01…hexadecimal…
/// ```
#[derive(Debug, Clone)]
pub struct Pins {
    pub(super) home: Home,
    pub(super) lines: Vec<Line>,
}

/// One person at one broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// The name at that broker.
    pub name: Name,
    /// The identity behind it.
    pub peer: PeerId,
    /// The broker's key: the same name at another broker may be somebody else.
    pub broker: BrokerKey,
    /// When it was pinned, whole seconds.
    pub since: WallTime,
    /// Whether the person may open a session without the user being asked.
    pub may_reconnect: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Line {
    Comment(String),
    Pin(Pin),
    Sealed(Sealed),
    /// A line of what is sealed that is not what it should be.
    Damaged(String),
}

impl Pins {
    /// The pins of the profile.
    ///
    /// # Errors
    /// [`Failure::Local`] if the file cannot be read, or with the number of the first line that is
    /// not what it should be. Nothing is guessed: whom the user trusts stands in it.
    pub fn load(home: &Home) -> Result<Self, Failure> {
        let mut pins = Self { home: home.clone(), lines: Vec::new() };
        let Some((path, text)) = home.read_text(FILE, FILE_MAX)? else { return Ok(pins) };
        let (mut names, mut peers, mut sealed) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for (number, text) in text.lines().enumerate() {
            let wrong = |what: &str| damaged(&path, format!("line {} {what}", number + 1));
            let line = parse(text).ok_or_else(|| wrong("is not NAME IDENTITY BROKER SINCE yes|no"))?;
            if let Line::Pin(pin) = &line {
                if !names.insert((pin.broker, pin.name.clone())) || !peers.insert((pin.broker, pin.peer)) {
                    return Err(wrong("pins a name or an identity of that broker again"));
                }
                if names.len() > PINS_MAX {
                    return Err(wrong("is one pin too many"));
                }
            }
            if let Line::Sealed(of) = &line
                && !sealed.insert(of.peer)
            {
                return Err(wrong("keeps an identity again"));
            }
            pins.lines.push(line);
        }
        Ok(pins)
    }

    /// All pins, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Pin> {
        self.lines.iter().filter_map(|line| match line {
            Line::Pin(pin) => Some(pin),
            Line::Comment(_) | Line::Sealed(_) | Line::Damaged(_) => None,
        })
    }

    /// The pin of a name at a broker.
    pub fn of_name(&self, broker: BrokerKey, name: &Name) -> Option<&Pin> {
        self.iter().find(|pin| pin.broker == broker && pin.name == *name)
    }

    /// The pins of an identity, one for each broker at which it is known.
    pub fn of_peer(&self, peer: PeerId) -> impl Iterator<Item = &Pin> {
        self.iter().filter(move |pin| pin.peer == peer)
    }

    /// Compares the identity that came under a name with the pinned one. Whether one is pinned.
    ///
    /// # Errors
    /// [`Failure::KeyChanged`] if another one is.
    pub fn check(&self, broker: BrokerKey, name: &Name, came: PeerId) -> Result<bool, Failure> {
        match self.of_name(broker, name) {
            Some(pin) if pin.peer != came => {
                Err(Failure::KeyChanged { name: Some(name.clone()), pinned: pin.peer, came })
            }
            Some(_) => Ok(true),
            None => Ok(false),
        }
    }

    /// Pins a person. One that this identity had at this broker before is replaced, and keeps its
    /// time: the person may have another name now, or may reconnect, or may not.
    ///
    /// # Errors
    /// [`Failure::KeyChanged`] if the name is pinned to another identity: that is for the user to
    /// decide. [`Failure::NotAllowed`] if there are too many. [`Failure::Local`] and
    /// [`Failure::DiskFull`] if it cannot be written; then it lasts until the process ends.
    pub fn pin(&mut self, pin: Pin) -> Result<(), Failure> {
        self.check(pin.broker, &pin.name, pin.peer)?;
        let pin = Pin { since: whole_seconds(pin.since), ..pin };
        let same = |line: &&mut Line| match line {
            Line::Pin(old) => (old.peer, old.broker) == (pin.peer, pin.broker),
            Line::Comment(_) | Line::Sealed(_) | Line::Damaged(_) => false,
        };
        if let Some(line) = self.lines.iter_mut().find(same) {
            let since = match line {
                Line::Pin(old) => old.since,
                Line::Comment(_) | Line::Sealed(_) | Line::Damaged(_) => pin.since,
            };
            let new = Line::Pin(Pin { since, ..pin });
            if *line == new {
                return Ok(());
            }
            *line = new;
        } else {
            if self.iter().count() >= PINS_MAX {
                return Err(Failure::NotAllowed { what: format!("more than {PINS_MAX} pinned people") });
            }
            if self.lines.is_empty() {
                self.lines.extend(HEADER.lines().map(|text| Line::Comment(text.to_owned())));
            }
            self.lines.push(Line::Pin(pin));
        }
        self.save()
    }

    /// Pins a person in the place of another identity, which is forgotten at that broker; with its last
    /// pin goes what it could come back with. One write: whatever happens, the name belongs to the one or
    /// to the other.
    ///
    /// # Errors
    /// Those of [`Self::pin`], and then nothing has changed.
    pub fn repin(&mut self, pin: Pin, instead_of: PeerId) -> Result<(), Failure> {
        let before = self.lines.clone();
        let elsewhere = self.of_peer(instead_of).any(|old| old.broker != pin.broker);
        self.lines.retain(|line| match line {
            Line::Pin(old) => (old.peer, old.broker) != (instead_of, pin.broker),
            Line::Sealed(sealed) => elsewhere || sealed.peer != instead_of,
            Line::Comment(_) | Line::Damaged(_) => true,
        });
        let done = self.pin(pin);
        if done.is_err() {
            self.lines = before;
        }
        done
    }

    /// Removes all pins of an identity, and what it could come back with. Whether there were any.
    ///
    /// # Errors
    /// [`Failure::Local`], [`Failure::DiskFull`].
    pub fn remove(&mut self, peer: PeerId) -> Result<bool, Failure> {
        let before = self.lines.len();
        self.lines.retain(|line| match line {
            Line::Pin(pin) => pin.peer != peer,
            Line::Sealed(sealed) => sealed.peer != peer,
            Line::Comment(_) | Line::Damaged(_) => true,
        });
        if self.lines.len() == before {
            return Ok(false);
        }
        self.save()?;
        Ok(true)
    }

    pub(super) fn save(&self) -> Result<(), Failure> {
        let text: String = self.lines.iter().map(format_line).collect();
        self.home.write(FILE, text.as_bytes())
    }
}

const fn whole_seconds(time: WallTime) -> WallTime {
    WallTime(time.0 / 1000 * 1000)
}

fn parse(text: &str) -> Option<Line> {
    if text.trim().is_empty() || text.starts_with('#') {
        return Some(Line::Comment(text.to_owned()));
    }
    if let Some(line) = parse_sealed(text) {
        return Some(line);
    }
    let mut fields = text.split(' ');
    let pin = Pin {
        name: fields.next()?.parse().ok()?,
        peer: fields.next()?.parse().ok()?,
        broker: fields.next()?.parse().ok()?,
        since: time_from_text(fields.next()?)?,
        may_reconnect: match fields.next()? {
            "yes" => true,
            "no" => false,
            _ => return None,
        },
    };
    fields.next().is_none().then_some(Line::Pin(pin))
}

fn format_line(line: &Line) -> String {
    match line {
        Line::Comment(text) | Line::Damaged(text) => format!("{text}\n"),
        Line::Sealed(sealed) => format!("{}\n", sealed.to_text()),
        Line::Pin(Pin { name, peer, broker, since, may_reconnect }) => {
            let may = if *may_reconnect { "yes" } else { "no" };
            format!("{name} {peer} {broker} {} {may}\n", time_text(*since))
        }
    }
}

/// RFC 3339, UTC, whole seconds. A time that a calendar cannot show is shown as its last one.
fn time_text(time: WallTime) -> String {
    let seconds = i64::try_from(time.0 / 1000).unwrap_or(i64::MAX);
    Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX).strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn time_from_text(text: &str) -> Option<WallTime> {
    let time: Timestamp = text.parse().ok()?;
    let millis = u64::try_from(time.as_millisecond()).ok()?;
    Some(whole_seconds(WallTime(millis)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;

    const BROKER: BrokerKey = BrokerKey([9; 32]);
    const ALICE: PeerId = PeerId([1; 32]);
    const OTHER: PeerId = PeerId([2; 32]);

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn pin(called: &str, peer: PeerId) -> Pin {
        let since = WallTime(1_800_000_000_000);
        Pin { name: name(called), peer, broker: BROKER, since, may_reconnect: true }
    }

    fn home() -> (tempfile::TempDir, Home) {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::open(directory.path()).unwrap();
        (directory, home)
    }

    #[test]
    fn a_person_is_pinned_and_found_by_name_and_by_identity() {
        let (directory, home) = home();
        Pins::load(&home).unwrap().pin(pin("alice", ALICE)).unwrap();
        let pins = Pins::load(&home).unwrap();
        assert_eq!(pins.of_name(BROKER, &name("alice")), Some(&pin("alice", ALICE)));
        assert_eq!(pins.of_peer(ALICE).count(), 1);
        assert_eq!(pins.of_name(BrokerKey([8; 32]), &name("alice")), None);
        let expected = format!("{HEADER}alice {ALICE} {BROKER} 2027-01-15T08:00:00Z yes\n");
        assert_eq!(fs::read_to_string(directory.path().join(FILE)).unwrap(), expected);
    }

    #[test]
    fn another_identity_under_a_pinned_name_is_found_out_and_never_pinned() {
        let (_directory, home) = home();
        let mut pins = Pins::load(&home).unwrap();
        assert_eq!(pins.check(BROKER, &name("alice"), ALICE), Ok(false));
        pins.pin(pin("alice", ALICE)).unwrap();
        assert_eq!(pins.check(BROKER, &name("alice"), ALICE), Ok(true));
        let changed = Failure::KeyChanged { name: Some(name("alice")), pinned: ALICE, came: OTHER };
        assert_eq!(pins.check(BROKER, &name("alice"), OTHER), Err(changed.clone()));
        assert_eq!(pins.pin(pin("alice", OTHER)), Err(changed));
        assert_eq!(Pins::load(&home).unwrap().of_peer(OTHER).count(), 0);
        assert_eq!(pins.check(BrokerKey([8; 32]), &name("alice"), OTHER), Ok(false));
    }

    #[test]
    fn a_person_with_a_new_name_keeps_its_time() {
        let (_directory, home) = home();
        let mut pins = Pins::load(&home).unwrap();
        pins.pin(pin("alice", ALICE)).unwrap();
        let renamed =
            Pin { since: WallTime(1_900_000_000_000), may_reconnect: false, ..pin("alicia", ALICE) };
        pins.pin(renamed.clone()).unwrap();
        let expected = Pin { since: pin("alice", ALICE).since, ..renamed };
        assert_eq!(Pins::load(&home).unwrap().iter().collect::<Vec<_>>(), [&expected]);
        pins.pin(pin("alice", OTHER)).unwrap();
    }

    #[test]
    fn whoever_is_replaced_at_one_broker_stays_pinned_at_another() {
        let (_directory, home) = home();
        let mut pins = Pins::load(&home).unwrap();
        let elsewhere = Pin { broker: BrokerKey([8; 32]), ..pin("alice", ALICE) };
        pins.pin(pin("alice", ALICE)).unwrap();
        pins.pin(elsewhere.clone()).unwrap();
        pins.repin(pin("alice", OTHER), ALICE).unwrap();
        let pins = Pins::load(&home).unwrap();
        assert_eq!(pins.iter().collect::<Vec<_>>(), [&elsewhere, &pin("alice", OTHER)]);
    }

    #[test]
    fn a_name_whose_new_identity_cannot_be_written_belongs_to_the_old_one() {
        let (directory, home) = home();
        let mut pins = Pins::load(&home).unwrap();
        pins.pin(pin("alice", ALICE)).unwrap();
        let taken = |n| directory.path().join(format!("{FILE}.{}-{n}.tmp", std::process::id()));
        (0..=100).for_each(|n| fs::create_dir(taken(n)).unwrap());
        assert!(matches!(pins.repin(pin("alice", OTHER), ALICE), Err(Failure::Local { .. })));
        for pins in [&pins, &Pins::load(&home).unwrap()] {
            assert_eq!(pins.iter().collect::<Vec<_>>(), [&pin("alice", ALICE)]);
        }
        (0..=100).for_each(|n| fs::remove_dir(taken(n)).unwrap());
        pins.repin(pin("alice", OTHER), ALICE).unwrap();
        assert_eq!(Pins::load(&home).unwrap().of_name(BROKER, &name("alice")).unwrap().peer, OTHER);
    }

    #[test]
    fn a_removed_person_is_gone_and_comments_stay() {
        let (directory, home) = home();
        let mut pins = Pins::load(&home).unwrap();
        pins.pin(pin("alice", ALICE)).unwrap();
        assert_eq!(pins.remove(OTHER), Ok(false));
        assert_eq!(pins.remove(ALICE), Ok(true));
        assert_eq!(fs::read_to_string(directory.path().join(FILE)).unwrap(), HEADER);
    }

    #[test]
    fn a_damaged_file_names_its_line_and_trusts_nobody() {
        let (_directory, home) = home();
        let good = format_line(&Line::Pin(pin("alice", ALICE)));
        let bad = [
            "alice".to_owned(),
            good.replace("alice", "Alice"),
            good.replace("yes", "maybe"),
            good.replace("yes", "yes more"),
            good.replace("2027", "year"),
            good.replace(&ALICE.to_string(), &ALICE.short()),
            format!("{good}{}", format_line(&Line::Pin(pin("alice", OTHER)))),
            format!("{good}{}", format_line(&Line::Pin(pin("alicia", ALICE)))),
        ];
        for text in bad {
            home.write(FILE, format!("# first\n{text}").as_bytes()).unwrap();
            let Err(Failure::Local { reason, .. }) = Pins::load(&home) else { panic!("{text}") };
            assert!(reason.contains("line 2") || reason.contains("line 3"), "{reason}");
        }
    }

    #[test]
    fn the_number_of_pins_is_bounded() {
        let mut pins = Pins::load(&Home::nowhere()).unwrap();
        let many = |n: usize| {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&n.to_be_bytes());
            Line::Pin(pin(&format!("p{n}"), PeerId(key)))
        };
        pins.lines = (0..PINS_MAX).map(many).collect();
        assert!(matches!(pins.pin(pin("one-more", ALICE)), Err(Failure::NotAllowed { .. })));
        let text: String = pins.lines.iter().map(format_line).collect();
        assert!(text.len() <= FILE_MAX);
        let (_directory, home) = home();
        home.write(FILE, text.as_bytes()).unwrap();
        assert_eq!(Pins::load(&home).unwrap().iter().count(), PINS_MAX);
    }

    proptest! {
        #[test]
        fn every_pin_survives_its_line(
            peer: [u8; 32], broker: [u8; 32], since in 0..200_000_000_000u64, may_reconnect: bool,
            called in "[a-z0-9][a-z0-9._-]{1,31}",
        ) {
            let since = WallTime(since * 1000);
            let (peer, broker) = (PeerId(peer), BrokerKey(broker));
            let pin = Line::Pin(Pin { name: name(&called), peer, broker, since, may_reconnect });
            prop_assert_eq!(parse(format_line(&pin).trim_end_matches('\n')), Some(pin));
        }

        #[test]
        fn no_line_makes_the_parser_panic(text in "\\PC{0,200}") {
            if let Some(line) = parse(&text) {
                prop_assert!(matches!(line, Line::Comment(_) | Line::Damaged(_)));
            }
        }
    }
}
