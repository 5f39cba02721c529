//! What passes between an [`crate::Endpoint`] and the socket that its owner drives.

use core::net::{IpAddr, SocketAddr};

/// Explicit congestion notification of an IP packet (RFC 3168 section 5), where not "not capable".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ecn {
    /// Capable, codepoint 0.
    Ect0,
    /// Capable, codepoint 1.
    Ect1,
    /// Congestion experienced.
    Ce,
}

/// Where and how datagrams arrived that the system handed over as one buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// Who says to have sent them.
    pub from: SocketAddr,
    /// The address of this side that they were sent to, where the system tells.
    pub local_ip: Option<IpAddr>,
    /// What the network marked on them.
    pub ecn: Option<Ecn>,
    /// Bytes of each datagram but the last, which may be shorter (GRO); `None` for one datagram.
    pub segment_size: Option<usize>,
}

/// Where and how the datagrams in the output buffer leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transmit {
    /// To whom.
    pub to: SocketAddr,
    /// From which of this side's addresses, where it matters.
    pub local_ip: Option<IpAddr>,
    /// What to mark on them.
    pub ecn: Option<Ecn>,
    /// Bytes of each datagram but the last, which may be shorter (GSO); `None` for one datagram.
    pub segment_size: Option<usize>,
}
