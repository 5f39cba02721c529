//! What versions before the papers kept of a profile in clear: `name`, `udp_port`, `known_brokers`, `pins` and
//! `people`. It is read once.

use std::fs;
use std::io;

use p2pchat_engine::Failure;

use super::disk;
use super::home::{Home, damaged};
use super::papers::Content;
use super::text::{Kind, Reader};

const NAME: &str = "name";
const UDP_PORT: &str = "udp_port";
const BROKERS: &str = "known_brokers";
const PINS: &str = "pins";
const PEOPLE: &str = "people";
const FILES: [&str; 5] = [NAME, UDP_PORT, BROKERS, PINS, PEOPLE];
/// Most bytes of one of them, as it was then.
const FILE_MAX: usize = 4 * 1024 * 1024;
/// How a line of [`PINS`] begins that is about what a contact comes back with. A person of that name has more
/// fields.
const RESUME: &str = "resume ";

/// What is there, if anything is. Comments are not kept.
///
/// # Errors
/// [`Failure::Local`] with the file and the number of the first line that is not what it should be.
pub(super) fn read(home: &Home) -> Result<Option<Content>, Failure> {
    let mut reader = Reader::default();
    let mut found = false;
    for file in FILES {
        let Some((path, text)) = home.read_text(file, FILE_MAX)? else { continue };
        found = true;
        let lines = text.lines().enumerate();
        for (number, line) in lines.filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#')) {
            // Any free port is as good as one that cannot be read.
            let taken = reader.take_former(file, line);
            if file != UDP_PORT {
                taken.map_err(|what| damaged(&path, format!("line {} {what}", number + 1)))?;
            }
        }
    }
    Ok(found.then_some(reader.content))
}

/// Removes them; what they held is elsewhere, and on the disk.
///
/// # Errors
/// [`Failure::Local`].
pub(super) fn remove(home: &Home) -> Result<(), Failure> {
    for path in FILES.iter().filter_map(|file| home.path(file)) {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(disk::system_failure("remove", &path, &error));
            }
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

impl Reader {
    fn take_former(&mut self, file: &str, line: &str) -> Result<(), &'static str> {
        match file {
            NAME => self.take(Kind::Name, line.trim_end()),
            UDP_PORT => self.take(Kind::Port, line.trim_end()),
            BROKERS => self.take(Kind::Broker, line),
            PINS => match line.strip_prefix(RESUME) {
                Some(rest) if rest.split(' ').count() == 2 => self.take(Kind::Resume, rest),
                Some(_) | None => self.take(Kind::Pin, line),
            },
            _ => self.take(Kind::Mark, line),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{Papers, papers};
    use p2pchat_crypto::{Identity, Seed};
    use p2pchat_proto::{BrokerKey, PeerId};
    use std::path::Path;
    use std::sync::Arc;

    const ALICE: PeerId = PeerId([1; 32]);
    const BOB: PeerId = PeerId([2; 32]);
    const BROKER: BrokerKey = BrokerKey([9; 32]);

    fn me() -> Arc<Identity> {
        Arc::new(Identity::from_seed(&Seed::from_bytes([7; 32])))
    }

    fn fill(directory: &Path) {
        let pins = format!(
            "# name, identity\n\nalice {ALICE} {BROKER} 2027-01-15T08:00:00Z yes\n\
             resume {ALICE} 0a0b\nresume {BOB} {BROKER} 2027-01-15T08:00:00Z no\n"
        );
        let people = format!("# identity\n{ALICE} yes no sister\n{BOB} no yes -\n");
        let brokers = format!("# mine\n127.0.0.1:7770 {BROKER}\n");
        let files = [
            (NAME, "me-myself\n"),
            (UDP_PORT, "7001\n"),
            (BROKERS, &brokers),
            (PINS, &pins),
            (PEOPLE, &people),
        ];
        files.iter().for_each(|(file, text)| fs::write(directory.join(file), text).unwrap());
    }

    fn check(papers: &Papers) {
        assert_eq!((papers.name().unwrap().as_str(), papers.udp_port()), ("me-myself", Some(7001)));
        assert_eq!(papers.brokers().key("127.0.0.1:7770"), Some(BROKER));
        let pins: Vec<_> = papers.pins().iter().map(|pin| (pin.name.as_str(), pin.may_reconnect)).collect();
        assert_eq!(pins, [("alice", true), ("resume", false)]);
        assert!(papers.marks().of(ALICE).verified && papers.marks().of(BOB).blocked);
        assert_eq!(papers.marks().called(&"sister".parse().unwrap()), Some(ALICE));
        assert_eq!(papers.pins().sealed().count(), 1);
    }

    #[test]
    fn what_was_kept_in_clear_is_moved_and_only_then_removed() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::open(directory.path()).unwrap();
        fill(directory.path());
        check(&Papers::look(&home, &me()).unwrap());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), FILES.len(), "who looks changes nothing");
        check(&Papers::open(&home, &me()).unwrap());
        let names: Vec<_> =
            fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, [papers::FILE]);
        check(&Papers::open(&home, &me()).unwrap());
    }

    #[test]
    fn a_move_that_a_crash_ended_is_finished_and_what_is_new_counts() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::open(directory.path()).unwrap();
        fill(directory.path());
        Papers::open(&home, &me()).unwrap().set_udp_port(7002).unwrap();
        fill(directory.path());
        assert_eq!(Papers::open(&home, &me()).unwrap().udp_port(), Some(7002));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn where_the_new_file_cannot_be_written_the_old_ones_stay() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::open(directory.path()).unwrap();
        fill(directory.path());
        let taken = |n| directory.path().join(format!("{}.{}-{n}.tmp", papers::FILE, std::process::id()));
        (0..=100).for_each(|n| fs::create_dir(taken(n)).unwrap());
        assert!(matches!(Papers::open(&home, &me()).map(drop), Err(Failure::Local { .. })));
        (0..=100).for_each(|n| fs::remove_dir(taken(n)).unwrap());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), FILES.len());
        check(&Papers::open(&home, &me()).unwrap());
    }

    #[test]
    fn a_line_that_is_not_what_it_should_be_is_named_and_nothing_is_moved() {
        let good = format!("alice {ALICE} {BROKER} 2027-01-15T08:00:00Z yes");
        let bad = [
            (PINS, "alice".to_owned()),
            (PINS, good.replace("yes", "maybe")),
            (PINS, format!("{good}\n{}", good.replace("alice", "alicia"))),
            (PINS, format!("resume {ALICE} 0g")),
            (PEOPLE, format!("{ALICE} yes maybe -")),
            (PEOPLE, format!("{ALICE} yes no a\n{ALICE} yes no b")),
            (BROKERS, "h:1".to_owned()),
            (BROKERS, format!("h:1 {BROKER}\nH:1 {BROKER}")),
            (NAME, "Not A Name".to_owned()),
        ];
        for (file, text) in bad {
            let directory = tempfile::tempdir().unwrap();
            let home = Home::open(directory.path()).unwrap();
            fill(directory.path());
            fs::write(directory.path().join(file), format!("# first\n{text}\n")).unwrap();
            let Err(Failure::Local { what, reason }) = Papers::open(&home, &me()).map(drop) else {
                panic!("{text}")
            };
            assert!(what.ends_with(file) && reason.starts_with("line "), "{what}: {reason}");
            assert_eq!(fs::read_dir(directory.path()).unwrap().count(), FILES.len());
        }
    }
}
