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
    /// Whether somebody at `remote` has proven to receive there. Until then at most three times the
    /// bytes that came from there go there.
    pub validated: bool,
    /// How often the session went on along another path.
    pub moves: u64,
    /// Bytes that a datagram may have.
    pub mtu: usize,
    /// How often larger datagrams than every path takes vanished.
    pub black_holes: u64,
    /// Where the peer says that this side is, once it was asked.
    pub observed: Option<SocketAddr>,
    /// What is known of the path.
    pub path: PathInfo,
    /// Packets sent.
    pub sent: u64,
    /// Authentic packets received.
    pub received: u64,
    /// Packets sent that count as lost.
    pub lost: u64,
    /// Packets sent that carried something again.
    pub retransmitted: u64,
    /// Which keys seal, by how often they were renewed.
    pub epoch: u32,
    /// Since when they do.
    pub key_age: Duration,
    /// Whether the peer has not answered several probes.
    pub suspect: bool,
}

/// What recovery and congestion control know of a path (RFC 9002).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathInfo {
    /// Least round-trip time, once measured; forgotten when everything was lost for long.
    pub rtt_least: Option<Duration>,
    /// How far round-trip times lie from the smoothed one, on average.
    pub rtt_variation: Duration,
    /// After how long without an acknowledgement a probe goes out (RFC 9002 section 6.2.1).
    pub pto: Duration,
    /// Bytes that may be in flight.
    pub window: u64,
    /// Bytes of the window above which it grows with care; `None` while it was never too large.
    pub threshold: Option<u64>,
    /// Bytes in flight.
    pub in_flight: u64,
    /// Bytes a second at which a window leaves; `None` where nothing is paced.
    pub pace: Option<u64>,
    /// Times that the window was reduced because of losses, and stayed so.
    pub reductions: u64,
    /// Packets that counted as lost and arrived after all; they are no part of `lost`.
    pub spurious: u64,
    /// Times that probes went out because nothing was acknowledged.
    pub timeouts: u64,
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
    /// Authentic INITs beyond the limits (protocol section 4); they count as dropped, too.
    pub limited: u64,
    /// Repeated INITs that were answered from what is kept, without a computation; they count as
    /// answered, too.
    pub repeated: u64,
    /// Datagrams that left no trace.
    pub dropped: u64,
}
