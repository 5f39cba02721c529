//! What can be told about a session and about an endpoint.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use p2pchat_crypto::{Role, Suite};
use p2pchat_proto::PeerId;

/// How a session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionInfo {
    /// With whom.
    pub peer: PeerId,
    /// This side's part in the handshake.
    pub role: Role,
    /// What seals its data.
    pub suite: Suite,
    /// Where the peer is.
    pub remote: SocketAddr,
    /// This side's address, where the system told it.
    pub local_ip: Option<IpAddr>,
    /// Smoothed round-trip time, once measured.
    pub srtt: Option<Duration>,
    /// Packets sent.
    pub sent: u64,
    /// Authentic packets received.
    pub received: u64,
    /// Packets sent that count as lost.
    pub lost: u64,
    /// Packets sent that carried something again.
    pub retransmitted: u64,
    /// Since when the keys are in use.
    pub key_age: Duration,
    /// Whether the peer has not answered several probes.
    pub suspect: bool,
}

/// What became of the datagrams that an endpoint was handed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SocketStats {
    /// Datagrams in all.
    pub received: u64,
    /// Handshake datagrams for which an answer was made.
    pub answered: u64,
    /// Datagrams of a known introduction or session whose MAC or tag was wrong; they count as
    /// dropped, too.
    pub mac_failed: u64,
    /// X25519 computations because of a datagram.
    pub key_exchanges: u64,
    /// Datagrams that left no trace.
    pub dropped: u64,
}
