//! The key that each broker had the first time.

use p2pchat_engine::Failure;
use p2pchat_proto::BrokerKey;

use super::home::{Home, damaged};
use crate::config::BrokerAddress;

const FILE: &str = "known_brokers";
/// Most bytes of the file: thousands of brokers with comments.
const FILE_MAX: usize = 1024 * 1024;

/// The file `known_brokers`: one broker a line, `host:port key`, where the key is its 52 characters
/// in base32. Empty lines and lines that begin with `#` are kept. A broker stands in it once.
///
/// ```text
/// # at home
/// 127.0.0.1:7770 5jbcqsvyqxlcmzcdxdm3e2g4a6nmyv3qeexxt3ru5xhuzrfzqy3a
/// ```
#[derive(Debug, Clone)]
pub struct KnownBrokers {
    home: Home,
    lines: Vec<Line>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Line {
    Comment(String),
    Broker { host_port: String, key: BrokerKey },
}

impl KnownBrokers {
    /// What the profile knows.
    ///
    /// # Errors
    /// [`Failure::Local`] if the file cannot be read, or with the number of the first line that is
    /// not what it should be.
    pub fn load(home: &Home) -> Result<Self, Failure> {
        let mut known = Self { home: home.clone(), lines: Vec::new() };
        let Some((path, text)) = home.read_text(FILE, FILE_MAX)? else { return Ok(known) };
        for (number, text) in text.lines().enumerate() {
            let line = parse(text)
                .filter(|line| match line {
                    Line::Comment(_) => true,
                    Line::Broker { host_port, .. } => known.key(host_port).is_none(),
                })
                .ok_or_else(|| {
                    let reason = format!("line {} is not HOST:PORT KEY, or names a broker twice", number + 1);
                    damaged(&path, reason)
                })?;
            known.lines.push(line);
        }
        Ok(known)
    }

    /// The key that the broker at `host_port` had the first time.
    pub fn key(&self, host_port: &str) -> Option<BrokerKey> {
        self.lines.iter().find_map(|line| match line {
            Line::Broker { host_port: known, key } if same(known, host_port) => Some(*key),
            Line::Broker { .. } | Line::Comment(_) => None,
        })
    }

    /// The key that the broker at `address` must have: the one that the user gave with it, else the
    /// one of the first time, else any.
    pub fn expected(&self, address: &BrokerAddress) -> Option<BrokerKey> {
        address.key.or_else(|| self.key(&address.host_port))
    }

    /// Compares the key that came with the one that is expected.
    ///
    /// # Errors
    /// [`Failure::BrokerKeyChanged`] if it is another one.
    pub fn check(&self, address: &BrokerAddress, came: BrokerKey) -> Result<(), Failure> {
        match self.expected(address) {
            Some(pinned) if pinned != came => {
                Err(Failure::BrokerKeyChanged { address: address.host_port.clone(), pinned, came })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Keeps the key of the broker at `host_port` from now on. It must have been checked: what was
    /// known before is replaced.
    ///
    /// # Errors
    /// [`Failure::Local`], [`Failure::DiskFull`]; then it is known until the process ends.
    pub fn remember(&mut self, host_port: &str, key: BrokerKey) -> Result<(), Failure> {
        if self.key(host_port) == Some(key) {
            return Ok(());
        }
        let new = Line::Broker { host_port: host_port.to_owned(), key };
        let known = self.lines.iter_mut().find(|line| match line {
            Line::Broker { host_port: known, .. } => same(known, host_port),
            Line::Comment(_) => false,
        });
        match known {
            Some(line) => *line = new,
            None => self.lines.push(new),
        }
        let text: String = self.lines.iter().map(format_line).collect();
        self.home.write(FILE, text.as_bytes())
    }
}

/// Host names differ by more than case only (RFC 4343).
fn same(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b)
}

fn parse(text: &str) -> Option<Line> {
    if text.trim().is_empty() || text.starts_with('#') {
        return Some(Line::Comment(text.to_owned()));
    }
    let (host_port, key) = text.split_once(' ')?;
    let address: BrokerAddress = host_port.parse().ok()?;
    let key = key.trim().parse().ok()?;
    // A key belongs after a space here, not after `#`.
    address.key.is_none().then_some(Line::Broker { host_port: address.host_port, key })
}

fn format_line(line: &Line) -> String {
    match line {
        Line::Comment(text) => format!("{text}\n"),
        Line::Broker { host_port, key } => format!("{host_port} {key}\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const FIRST: BrokerKey = BrokerKey([1; 32]);
    const OTHER: BrokerKey = BrokerKey([2; 32]);

    fn at(text: &str) -> BrokerAddress {
        text.parse().unwrap()
    }

    fn home() -> (tempfile::TempDir, Home) {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::open(directory.path()).unwrap();
        (directory, home)
    }

    #[test]
    fn the_first_key_is_taken_and_another_one_is_refused() {
        let (_directory, home) = home();
        let mut known = KnownBrokers::load(&home).unwrap();
        let address = at("broker.example:7770");
        assert_eq!(known.check(&address, FIRST), Ok(()));
        known.remember(&address.host_port, FIRST).unwrap();
        let known = KnownBrokers::load(&home).unwrap();
        assert_eq!(known.check(&at("Broker.Example:7770"), FIRST), Ok(()));
        let changed =
            Failure::BrokerKeyChanged { address: address.host_port.clone(), pinned: FIRST, came: OTHER };
        assert_eq!(known.check(&address, OTHER), Err(changed));
        assert_eq!(known.check(&at("broker.example:7771"), OTHER), Ok(()));
    }

    #[test]
    fn a_key_that_the_user_gave_counts_more_than_the_one_of_the_first_time() {
        let (_directory, home) = home();
        let mut known = KnownBrokers::load(&home).unwrap();
        known.remember("h:1", FIRST).unwrap();
        let given = at(&format!("h:1#{OTHER}"));
        assert_eq!(known.expected(&given), Some(OTHER));
        assert_eq!(known.check(&given, OTHER), Ok(()));
        assert!(known.check(&given, FIRST).is_err());
        known.remember("h:1", OTHER).unwrap();
        assert_eq!(KnownBrokers::load(&home).unwrap().key("h:1"), Some(OTHER));
    }

    #[test]
    fn comments_and_order_are_kept() {
        let (directory, home) = home();
        let text = format!("# mine\n\n[::1]:7770 {FIRST}\n# others\nh:1 {FIRST}\n");
        home.write(FILE, text.as_bytes()).unwrap();
        let mut known = KnownBrokers::load(&home).unwrap();
        known.remember("[::1]:7770", OTHER).unwrap();
        known.remember("new:1", FIRST).unwrap();
        let expected = format!("# mine\n\n[::1]:7770 {OTHER}\n# others\nh:1 {FIRST}\nnew:1 {FIRST}\n");
        assert_eq!(fs::read_to_string(directory.path().join(FILE)).unwrap(), expected);
    }

    #[test]
    fn what_is_known_already_is_not_written_again() {
        let (directory, home) = home();
        let mut known = KnownBrokers::load(&home).unwrap();
        known.remember("h:1", FIRST).unwrap();
        fs::remove_file(directory.path().join(FILE)).unwrap();
        known.remember("h:1", FIRST).unwrap();
        assert!(!directory.path().join(FILE).exists());
    }

    #[test]
    fn a_damaged_file_names_its_line() {
        let (_directory, home) = home();
        let key = FIRST.to_string();
        let bad = [
            "h:1".to_owned(),
            format!("h {key}"),
            format!("h:1 {}", &key[1..]),
            format!("h:1#{key} {key}"),
            format!("h:1 {key} more"),
            format!("h:1 {key}\nH:1 {key}"),
        ];
        for text in bad {
            home.write(FILE, format!("# first\n{text}\n").as_bytes()).unwrap();
            let Err(Failure::Local { reason, .. }) = KnownBrokers::load(&home) else { panic!("{text}") };
            assert!(reason.contains("line 2") || reason.contains("line 3"), "{reason}");
        }
    }

    #[test]
    fn without_a_directory_it_lasts_as_long_as_the_process() {
        let mut known = KnownBrokers::load(&Home::nowhere()).unwrap();
        known.remember("h:1", FIRST).unwrap();
        assert!(known.check(&at("h:1"), OTHER).is_err());
        assert_eq!(KnownBrokers::load(&Home::nowhere()).unwrap().key("h:1"), None);
    }
}
