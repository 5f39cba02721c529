//! What the owner decides about a client before it runs.

use core::fmt;
use core::net::SocketAddr;
use core::str::FromStr;
use core::time::Duration;
use std::path::PathBuf;
use std::sync::Arc;

use p2pchat_crypto::Identity;
pub use p2pchat_engine::AcceptPolicy;
use p2pchat_proto::{BrokerKey, Name};

use crate::profile::Home;

/// Most characters of a host name (RFC 1035 section 2.3.4).
const HOST_MAX_LEN: usize = 255;

/// Where a broker is, and its key where the user knows it: `HOST:PORT[#KEY]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerAddress {
    /// `host:port`; an IPv6 address stands in brackets (RFC 3986 section 3.2.2).
    pub host_port: String,
    /// The key that the broker must have; without it, the one it had the first time.
    pub key: Option<BrokerKey>,
}

/// Everything that a client needs to know before it runs.
#[derive(Debug)]
pub struct Config {
    /// What it keeps on this machine; whoever starts a client holds the home's lock.
    pub home: Home,
    /// Who this user is.
    pub identity: Arc<Identity>,
    /// The name to register.
    pub name: Name,
    /// Where the broker is.
    pub broker: BrokerAddress,
    /// UDP addresses to listen on; none for all interfaces, the port of last time.
    pub bind: Vec<SocketAddr>,
    /// UDP addresses to announce; none for those that are found.
    pub advertise: Vec<SocketAddr>,
    /// TCP addresses to listen on for files; none for all interfaces, any port.
    pub bind_tcp: Vec<SocketAddr>,
    /// TCP addresses to announce for files; none for those that are found.
    pub advertise_tcp: Vec<SocketAddr>,
    /// Whose chat requests to accept.
    pub accept: AcceptPolicy,
    /// Talk to nobody who is not verified.
    pub require_verified: bool,
    /// Whose files to take.
    pub accept_files: AcceptPolicy,
    /// Tell others what was shown to this user.
    pub read_receipts: bool,
    /// How long messages wait for somebody before they are given up; `None` for ever.
    pub expire: Option<Duration>,
    /// Take files, besides, of people whom this user asked for a chat.
    pub files_from_connected: bool,
    /// Where files go; made at need.
    pub download_dir: PathBuf,
}

/// A text that is not a [`BrokerAddress`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvalidBrokerAddress {
    /// No `HOST:PORT`.
    HostPort,
    /// What follows `#` is not a broker's key.
    Key,
}

impl FromStr for BrokerAddress {
    type Err = InvalidBrokerAddress;

    fn from_str(text: &str) -> Result<Self, InvalidBrokerAddress> {
        let (host_port, key) = match text.split_once('#') {
            Some((host_port, key)) => (host_port, Some(key.parse().map_err(|_| InvalidBrokerAddress::Key)?)),
            None => (text, None),
        };
        if !is_host_port(host_port) {
            return Err(InvalidBrokerAddress::HostPort);
        }
        Ok(Self { host_port: host_port.to_owned(), key })
    }
}

/// As it is typed.
impl fmt::Display for BrokerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host_port)?;
        match self.key {
            Some(key) => write!(f, "#{key}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for InvalidBrokerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HostPort => "a broker is HOST:PORT or HOST:PORT#KEY",
            Self::Key => "what follows # is not a broker's key (52 characters, from `p2pchat-broker key`)",
        })
    }
}

impl core::error::Error for InvalidBrokerAddress {}

fn is_host_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host_is_good = match bracketed {
        Some(address) => address.parse::<core::net::Ipv6Addr>().is_ok(),
        None => {
            (1..=HOST_MAX_LEN).contains(&host.len())
                && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
        }
    };
    host_is_good
        && port.bytes().all(|b| b.is_ascii_digit())
        && port.parse::<u16>().is_ok_and(|port| port != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_broker_is_host_port_and_perhaps_a_key() {
        let key = BrokerKey([3; 32]);
        let plain: BrokerAddress = "broker.example:7770".parse().unwrap();
        assert_eq!(plain, BrokerAddress { host_port: "broker.example:7770".into(), key: None });
        let pinned: BrokerAddress = format!("[::1]:7770#{key}").parse().unwrap();
        assert_eq!(pinned, BrokerAddress { host_port: "[::1]:7770".into(), key: Some(key) });
    }

    #[test]
    fn what_is_no_broker_says_what_is_wrong() {
        for bad in ["", "host", ":1", "host:", "host:0", "host:65536", "::1:7770", "a b:1", "h:+1", "[::g]:1"]
        {
            assert_eq!(bad.parse::<BrokerAddress>(), Err(InvalidBrokerAddress::HostPort), "{bad}");
        }
        assert_eq!("host:1#abc".parse::<BrokerAddress>(), Err(InvalidBrokerAddress::Key));
    }

    proptest! {
        #[test]
        fn what_parses_is_shown_as_it_was_typed(text in "[a-z.:#0-9\\[\\]]{0,30}") {
            if let Ok(address) = text.parse::<BrokerAddress>() {
                prop_assert_eq!(address.to_string(), text);
            }
        }
    }
}
