//! What the owner decides about an engine before it runs.

use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::Arc;

use p2pchat_conversation::Numbering;
use p2pchat_crypto::Identity;
use p2pchat_proto::conversation::DeviceEpoch;
use p2pchat_proto::{BrokerKey, Name, PeerId};
use p2pchat_session::Contact;

use crate::people::Pin;

/// Who may do something without being asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AcceptPolicy {
    /// Everybody, without becoming a contact by it.
    Everyone,
    /// Contacts; everybody else is refused.
    Contacts,
    /// The user is asked, except about contacts, who may come back without asking.
    Ask,
    /// Nobody.
    Nobody,
}

/// Ports of the sockets that datagrams go through; 0 where there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ports {
    /// IPv4.
    pub v4: u16,
    /// IPv6.
    pub v6: u16,
}

/// What an engine is told when it begins.
pub struct EngineConfig {
    /// Who this user is.
    pub me: Arc<Identity>,
    /// The name to register.
    pub name: Name,
    /// `host:port` of the broker, as users know it.
    pub broker: String,
    /// The broker's key, where it is known.
    pub broker_key: Option<BrokerKey>,
    /// Identities known at any broker.
    pub pins: Vec<Pin>,
    /// What was kept of those who may come back; of somebody who is not pinned it is not used.
    pub contacts: Vec<Contact>,
    /// What to do about chat requests.
    pub accept: AcceptPolicy,
    /// What to do about offered files.
    pub accept_files: AcceptPolicy,
    /// Whether others are told what was shown to the user.
    pub read_receipts: bool,
    /// How long messages wait for somebody before they are given up; for ever where that is none.
    pub expire: Option<Duration>,
    /// Whether files of people whom this user asked for a chat are taken unasked.
    pub files_from_connected: bool,
    /// Bound UDP ports, IPv4 and IPv6.
    pub ports: Ports,
    /// Whether the session's UDP socket can be reached over loopback only.
    pub loopback_only: bool,
}

/// What earlier processes left in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The epoch of this user's messages.
    pub epoch: DeviceEpoch,
    /// The number of the next message for each peer to whom it has written.
    pub heads: BTreeMap<PeerId, Numbering>,
    /// Whom messages wait for.
    pub recipients: Vec<PeerId>,
}

impl core::fmt::Debug for EngineConfig {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("EngineConfig").field("name", &self.name).finish_non_exhaustive()
    }
}
