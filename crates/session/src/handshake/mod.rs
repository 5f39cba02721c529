//! From an introduction to keys (protocol section 4).
//!
//! [`initiator::Initiating`] sends INIT to every endpoint until RESP comes; [`responder::Responding`]
//! opens its NAT with PUNCH and answers INIT until FIN comes. Both end as a
//! [`crate::connection::Connection`], which consumes them: what is valid in one state does not exist
//! in the next.

pub(crate) mod fanout;
pub(crate) mod initiator;
pub(crate) mod rates;
pub(crate) mod responder;

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use p2pchat_crypto::data::SessionKeys;
use p2pchat_crypto::{Introduction, ResumptionSecret};
use p2pchat_proto::Moment;
use p2pchat_proto::datagram::{Datagram, mac_parts};

use crate::allowance::Allowance;
use crate::connection::{Confirmation, Link};
use crate::wire::Transmit;

/// Time until a side gives a handshake up (protocol section 4).
pub const HANDSHAKE_GIVE_UP: Duration = Duration::from_secs(20);
/// Time until a contact who was dialled and has not answered can be dialled anew: what the schedule of INIT
/// takes, and the round trip of a slow line (protocol section 4). Whoever was introduced may ask this side
/// as well, so that handshake is awaited for longer.
pub const DIAL_GIVE_UP: Duration = Duration::from_secs(12);

/// Where an authentic handshake datagram came from: the path that the session takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Path {
    pub(crate) remote: SocketAddr,
    pub(crate) local_ip: Option<IpAddr>,
}

impl Path {
    /// One datagram along this path.
    pub(crate) const fn transmit(self) -> Transmit {
        Transmit { to: self.remote, local_ip: self.local_ip, ecn: None, segment_size: None }
    }
}

/// What a handshake leaves for its session.
pub(crate) struct ConnectionStart {
    pub(crate) link: Link,
    pub(crate) path: Path,
    /// What may go along it.
    pub(crate) allowance: Allowance,
    pub(crate) keys: SessionKeys,
    pub(crate) confirmation: Confirmation,
    /// When the session ends if nothing authentic came.
    pub(crate) give_up: Moment,
    /// The secret of an earlier session that it began with.
    pub(crate) base: Option<ResumptionSecret>,
    /// When its INIT was made, or came.
    pub(crate) began: Moment,
}

/// The bytes of a handshake datagram with this side's MAC.
pub(crate) fn with_mac(introduction: &Introduction, datagram: &Datagram) -> Vec<u8> {
    let mut bytes = Vec::new();
    datagram.encode(&mut bytes);
    let mac = introduction.mac(&bytes);
    bytes.extend(mac);
    bytes
}

/// Whether a handshake datagram carries the peer's MAC.
pub(crate) fn is_authentic(introduction: &Introduction, bytes: &[u8]) -> bool {
    mac_parts(bytes).is_some_and(|(covered, mac)| introduction.verify_mac(covered, mac))
}
