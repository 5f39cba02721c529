//! The key that each broker had the first time.

use p2pchat_engine::Failure;
use p2pchat_proto::BrokerKey;

use crate::config::BrokerAddress;

/// Most brokers that are known: more than anybody uses.
pub const BROKERS_MAX: usize = 2_000;

/// Brokers by `host:port`, each once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KnownBrokers {
    known: Vec<(String, BrokerKey)>,
}

impl KnownBrokers {
    /// All of them, in the order in which they came.
    pub fn iter(&self) -> impl Iterator<Item = (&str, BrokerKey)> {
        self.known.iter().map(|(host_port, key)| (host_port.as_str(), *key))
    }

    /// The key that the broker at `host_port` had the first time.
    pub fn key(&self, host_port: &str) -> Option<BrokerKey> {
        self.iter().find(|(known, _)| same(known, host_port)).map(|(_, key)| key)
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
    /// [`Failure::NotAllowed`] if there are too many.
    pub fn remember(&mut self, host_port: &str, key: BrokerKey) -> Result<(), Failure> {
        if let Some((_, known)) = self.known.iter_mut().find(|(known, _)| same(known, host_port)) {
            *known = key;
            return Ok(());
        }
        if self.known.len() >= BROKERS_MAX {
            return Err(Failure::NotAllowed { what: format!("to know more than {BROKERS_MAX} brokers") });
        }
        self.push(host_port.to_owned(), key);
        Ok(())
    }

    /// A broker that was read, and checked against the others.
    pub(super) fn push(&mut self, host_port: String, key: BrokerKey) {
        self.known.push((host_port, key));
    }
}

/// Host names differ by more than case only (RFC 4343).
fn same(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b)
}

/// The fields of a line.
pub(super) fn parse(text: &str) -> Option<(String, BrokerKey)> {
    let (host_port, key) = text.split_once(' ')?;
    let address: BrokerAddress = host_port.parse().ok()?;
    let key = key.trim().parse().ok()?;
    // A key belongs after a space here, not after `#`.
    address.key.is_none().then_some((address.host_port, key))
}

pub(super) fn to_text(host_port: &str, key: BrokerKey) -> String {
    format!("{host_port} {key}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: BrokerKey = BrokerKey([1; 32]);
    const OTHER: BrokerKey = BrokerKey([2; 32]);

    fn at(text: &str) -> BrokerAddress {
        text.parse().unwrap()
    }

    #[test]
    fn the_first_key_is_taken_and_another_one_is_refused() {
        let mut known = KnownBrokers::default();
        let address = at("broker.example:7770");
        assert_eq!(known.check(&address, FIRST), Ok(()));
        known.remember(&address.host_port, FIRST).unwrap();
        assert_eq!(known.check(&at("Broker.Example:7770"), FIRST), Ok(()));
        let changed =
            Failure::BrokerKeyChanged { address: address.host_port.clone(), pinned: FIRST, came: OTHER };
        assert_eq!(known.check(&address, OTHER), Err(changed));
        assert_eq!(known.check(&at("broker.example:7771"), OTHER), Ok(()));
    }

    #[test]
    fn a_key_that_the_user_gave_counts_more_than_the_one_of_the_first_time() {
        let mut known = KnownBrokers::default();
        known.remember("h:1", FIRST).unwrap();
        let given = at(&format!("h:1#{OTHER}"));
        assert_eq!(known.expected(&given), Some(OTHER));
        assert_eq!(known.check(&given, OTHER), Ok(()));
        assert!(known.check(&given, FIRST).is_err());
        known.remember("H:1", OTHER).unwrap();
        assert_eq!(known.iter().collect::<Vec<_>>(), [("h:1", OTHER)]);
    }

    #[test]
    fn the_number_of_brokers_is_bounded() {
        let mut known = KnownBrokers::default();
        (0..BROKERS_MAX).for_each(|n| known.remember(&format!("h{n}:1"), FIRST).unwrap());
        assert!(matches!(known.remember("one-more:1", FIRST), Err(Failure::NotAllowed { .. })));
        assert_eq!(known.remember("h7:1", OTHER), Ok(()));
    }

    #[test]
    fn a_line_that_is_no_broker_with_its_key_is_none() {
        let key = FIRST.to_string();
        assert_eq!(parse(&to_text("[::1]:7770", FIRST)), Some(("[::1]:7770".to_owned(), FIRST)));
        let bad = [
            "h:1".to_owned(),
            format!("h {key}"),
            format!("h:1 {}", &key[1..]),
            format!("h:1#{key} {key}"),
            format!("h:1 {key} more"),
        ];
        for text in bad {
            assert_eq!(parse(&text), None, "{text}");
        }
    }
}
