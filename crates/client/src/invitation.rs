//! One line that says where somebody is and who they are.

use core::fmt;
use core::str::FromStr;

use p2pchat_engine::{Failure, Pin};
use p2pchat_proto::{BrokerKey, Name, PeerId, WallTime};

use crate::config::BrokerAddress;
use crate::profile::Papers;

/// What every invitation begins with.
pub const SCHEME: &str = "p2pchat://";
/// What one looks like, for those who typed something else.
pub const SHAPE: &str = "p2pchat://HOST:PORT/#BROKERKEY/NAME/ID";
/// Most bytes of one: scheme, host (255, RFC 1035 section 2.3.4), port, two keys of 52, a name of 32, and
/// what stands between them.
const INVITATION_MAX: usize = 512;

/// `p2pchat://HOST:PORT/#BROKERKEY/NAME/ID`: a broker with its key, and somebody there with theirs.
///
/// What stands behind `#` is left out by programs that send such an address anywhere (RFC 3986 section 3.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    /// `host:port` of the broker.
    pub host_port: String,
    /// The key that it must have.
    pub broker: BrokerKey,
    /// The name there.
    pub name: Name,
    /// The identity that the name must have.
    pub peer: PeerId,
}

/// A text that is not an [`Invitation`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvalidInvitation {
    /// Too long, or its parts are not those of one.
    Shape,
    /// No `HOST:PORT`.
    Broker,
    /// The first key is none.
    BrokerKey,
    /// The name is none.
    Name,
    /// The second key is none.
    Person,
}

impl fmt::Display for InvalidInvitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self {
            Self::Shape => "it has other parts",
            Self::Broker => "its broker is not HOST:PORT",
            Self::BrokerKey => "the broker's key is not 52 characters of base32",
            Self::Name => "its name is none",
            Self::Person => "the id is not 52 characters of base32",
        };
        write!(f, "not an invitation: {what}; one is {SHAPE}, as `p2pchat id --invite` prints it")
    }
}

impl core::error::Error for InvalidInvitation {}

impl FromStr for Invitation {
    type Err = InvalidInvitation;

    fn from_str(text: &str) -> Result<Self, InvalidInvitation> {
        if text.len() > INVITATION_MAX {
            return Err(InvalidInvitation::Shape);
        }
        let parts = text.strip_prefix(SCHEME).and_then(|rest| rest.split_once("/#"));
        let (host_port, person) = parts.ok_or(InvalidInvitation::Shape)?;
        let address: BrokerAddress = host_port.parse().map_err(|_| InvalidInvitation::Broker)?;
        if address.key.is_some() {
            return Err(InvalidInvitation::Broker);
        }
        let mut fields = person.split('/');
        let (Some(broker), Some(name), Some(peer), None) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            return Err(InvalidInvitation::Shape);
        };
        Ok(Self {
            host_port: address.host_port,
            broker: broker.parse().map_err(|_| InvalidInvitation::BrokerKey)?,
            name: name.parse().map_err(|_| InvalidInvitation::Name)?,
            peer: peer.parse().map_err(|_| InvalidInvitation::Person)?,
        })
    }
}

impl fmt::Display for Invitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host_port, broker, name, peer } = self;
        write!(f, "{SCHEME}{host_port}/#{broker}/{name}/{peer}")
    }
}

impl Invitation {
    /// What a user typed where a person is expected; `None` if it does not look like an invitation.
    ///
    /// # Errors
    /// [`Failure::Usage`] with an [`InvalidInvitation`] if it begins like one and is none.
    pub fn typed(text: &str) -> Result<Option<Self>, Failure> {
        let parse = || text.parse().map_err(|invalid: InvalidInvitation| Failure::Usage(invalid.to_string()));
        text.starts_with(SCHEME).then(parse).transpose()
    }

    /// The broker with the key that it must have.
    pub fn address(&self) -> BrokerAddress {
        BrokerAddress { host_port: self.host_port.clone(), key: Some(self.broker) }
    }

    /// Who is invited, as an engine pins them.
    pub fn into_pin(self) -> Pin {
        Pin { peer: self.peer, name: self.name, broker: self.broker }
    }

    /// Whether the broker is on the machine of whoever reads this, and on no other.
    pub fn is_local(&self) -> bool {
        let host = self.host_port.rsplit_once(':').map_or(self.host_port.as_str(), |(host, _)| host);
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let loopback = |address: core::net::IpAddr| address.to_canonical().is_loopback();
        bare.eq_ignore_ascii_case("localhost") || bare.parse().is_ok_and(loopback)
    }

    /// Pins the broker and the person, before either was heard of, in one write.
    ///
    /// # Errors
    /// [`Failure::BrokerKeyChanged`] and [`Failure::KeyChanged`] if another key is known: which one is right
    /// is for the user to decide, and nothing is pinned. [`Failure::NotAllowed`] if the user calls somebody
    /// else so. [`Failure::Local`] and [`Failure::DiskFull`] if it cannot be kept.
    pub fn take(&self, papers: &mut Papers, now: WallTime) -> Result<(), Failure> {
        // The line may be older than the key.
        let peer = papers.now_known_as(self.peer);
        papers.add_at(&self.host_port, self.broker, self.name.clone(), peer, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Home;
    use p2pchat_crypto::{Identity, Seed};
    use proptest::prelude::*;
    use std::sync::Arc;

    const NOW: WallTime = WallTime(1_800_000_000_000);

    fn invitation() -> Invitation {
        Invitation {
            host_port: "broker.example:7770".to_owned(),
            broker: BrokerKey([9; 32]),
            name: "alice".parse().unwrap(),
            peer: PeerId([1; 32]),
        }
    }

    #[test]
    fn what_is_not_whole_says_what_is_wrong() {
        use InvalidInvitation::{Broker, BrokerKey, Name, Person, Shape};
        let good = invitation().to_string();
        let (broker, peer) = (super::BrokerKey([9; 32]).to_string(), PeerId([1; 32]).to_string());
        let bad = [
            (String::new(), Shape),
            (good.replace("p2pchat://", "https://"), Shape),
            (good.replace("/#", "#"), Shape),
            (good.replace(&format!("/{peer}"), ""), Shape),
            (format!("{good}/more"), Shape),
            (format!("{good}{}", "x".repeat(1_000_000)), Shape),
            (good.replace(":7770", ""), Broker),
            (good.replace("7770", "0"), Broker),
            (good.replace(":7770", &format!(":7770#{broker}")), Broker),
            (good.replace("broker.example", "\u{1b}[2J"), Broker),
            (good.replace(&broker, &broker[1..]), BrokerKey),
            (good.replace("alice", "Alice"), Name),
            (good.replace("alice", "\u{202e}ecila"), Name),
            (good.replace("alice", ""), Name),
            (good.replace(&peer, &peer[1..]), Person),
            (format!("{good} "), Person),
        ];
        for (text, expected) in bad {
            assert_eq!(text.parse::<Invitation>(), Err(expected), "{}", &text[..text.len().min(300)]);
        }
    }

    #[test]
    fn only_what_begins_like_an_invitation_is_taken_for_one() {
        assert_eq!(Invitation::typed("alice"), Ok(None));
        assert_eq!(Invitation::typed(&PeerId([1; 32]).to_string()), Ok(None));
        assert_eq!(Invitation::typed(&invitation().to_string()), Ok(Some(invitation())));
        let failure = Invitation::typed("p2pchat://\u{1b}]0;x\u{7}").unwrap_err();
        assert_eq!((failure.exit(), failure.message().contains('\u{1b}')), (2, false));
        assert!(failure.message().contains(SHAPE), "{failure}");
    }

    #[test]
    fn it_tells_whether_others_can_reach_the_broker() {
        for (host_port, local) in [
            ("127.0.0.1:7770", true),
            ("127.9.9.9:1", true),
            ("localhost:1", true),
            ("[::1]:1", true),
            ("[::ffff:127.0.0.1]:1", true),
            ("192.0.2.1:7770", false),
            ("broker.example:7770", false),
        ] {
            assert_eq!(Invitation { host_port: host_port.to_owned(), ..invitation() }.is_local(), local);
        }
    }

    #[test]
    fn it_pins_both_and_nothing_against_what_is_known() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::open(directory.path()).unwrap();
        let me = Arc::new(Identity::from_seed(&Seed::from_bytes([7; 32])));
        let mut papers = Papers::open(&home, &me).unwrap();
        invitation().take(&mut papers, NOW).unwrap();
        invitation().take(&mut papers, NOW).unwrap();
        let again = Papers::look(&home, &me).unwrap();
        assert_eq!(again.find("alice", Some(BrokerKey([9; 32]))), Ok(PeerId([1; 32])));
        let other = Invitation { peer: PeerId([2; 32]), ..invitation() };
        let changed = Failure::KeyChanged {
            name: Some("alice".parse().unwrap()),
            pinned: PeerId([1; 32]),
            came: PeerId([2; 32]),
        };
        assert_eq!(other.take(&mut papers, NOW), Err(changed));
        let other = Invitation { broker: BrokerKey([8; 32]), name: "carol".parse().unwrap(), ..invitation() };
        let changed = Failure::BrokerKeyChanged {
            address: "broker.example:7770".to_owned(),
            pinned: BrokerKey([9; 32]),
            came: BrokerKey([8; 32]),
        };
        assert_eq!(other.take(&mut papers, NOW), Err(changed));
        let again = Papers::look(&home, &me).unwrap();
        assert_eq!(again.list().len(), 1);
        assert_eq!(again.brokers().key("broker.example:7770"), Some(BrokerKey([9; 32])));
    }

    proptest! {
        #[test]
        fn every_invitation_is_one_short_line_and_comes_back_as_it_was(
            host in "[a-z0-9._-]{1,255}|\\[::1\\]", port in 1u16.., broker: [u8; 32],
            name in "[a-z0-9][a-z0-9._-]{1,31}", peer: [u8; 32],
        ) {
            let invitation = Invitation {
                host_port: format!("{host}:{port}"),
                broker: BrokerKey(broker),
                name: name.parse().unwrap(),
                peer: PeerId(peer),
            };
            let text = invitation.to_string();
            prop_assert!(text.len() <= INVITATION_MAX && text.bytes().all(|byte| byte.is_ascii_graphic()));
            prop_assert_eq!(text.parse(), Ok(invitation));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "(p2pchat://(h:1/#)?)?\\PC{0,200}") {
            if let Ok(invitation) = text.parse::<Invitation>() {
                prop_assert_eq!(invitation.to_string().parse(), Ok(invitation));
            }
        }

        #[test]
        fn one_with_a_changed_character_is_refused_or_another_one(at in 0usize..160, by in "\\PC") {
            let good = invitation().to_string();
            let mut text: Vec<char> = good.chars().collect();
            let at = at % text.len();
            text[at] = by.chars().next().unwrap();
            let text: String = text.into_iter().collect();
            if let Ok(parsed) = text.parse::<Invitation>() {
                prop_assert!(parsed != invitation() || text.eq_ignore_ascii_case(&good));
            }
        }
    }
}
