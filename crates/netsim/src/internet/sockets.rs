//! Both ends: sockets, the choice of an interface, and what is heard.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::places::{FIRST_EPHEMERAL, Letter, Socket};
use super::route::{Flight, Hop};
use super::{Arrival, HostId, InterfaceId, Internet, SocketId, Way};
use crate::trace::Step;

/// Why a socket could not be bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BindError {
    /// Another socket of the host has that address, or one that overlaps it.
    InUse,
    /// The host has no such address.
    NotAvailable,
}

/// Why a datagram was not even sent, as a system tells its sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendError {
    /// The socket is closed.
    Closed,
    /// The host sleeps: whoever drives it should not have let it send.
    Asleep,
    /// The host does not have the local address, or has it no more.
    NotAvailable,
    /// No plugged interface leads there.
    Unreachable,
    /// Larger than the interface takes.
    TooLarge,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InUse => "the address is in use",
            Self::NotAvailable => "the host does not have the address",
        })
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "the socket is closed",
            Self::Asleep => "the host sleeps",
            Self::NotAvailable => "the host does not have the local address",
            Self::Unreachable => "no interface leads there",
            Self::TooLarge => "the datagram is larger than the interface takes",
        })
    }
}

impl std::error::Error for BindError {}
impl std::error::Error for SendError {}

/// How a datagram leaves its host.
enum Exit {
    Itself,
    Interface(InterfaceId),
}

impl Internet {
    /// Binds a socket to one of the host's addresses (plugged or not), to loopback, or to all
    /// addresses of a family (unspecified). Port 0 takes a free one.
    pub fn bind(&mut self, host: HostId, address: SocketAddr) -> Result<SocketId, BindError> {
        if !address.ip().is_unspecified() && !self.has_address(host, address.ip()) {
            return Err(BindError::NotAvailable);
        }
        let address = match address.port() {
            0 => self.free_port(host, address.ip()).ok_or(BindError::InUse)?,
            _ => address,
        };
        if self.is_bound(host, address) {
            return Err(BindError::InUse);
        }
        let id = SocketId(self.next_socket);
        self.next_socket += 1;
        self.sockets.insert(id, Socket { host, address });
        self.hosts[host.0].bound.insert(address, id);
        Ok(id)
    }

    /// Closes a socket, as the end of its process does. What is under way to it is not heard, unless
    /// another one is bound there by then.
    pub fn close(&mut self, socket: SocketId) {
        if let Some(Socket { host, address }) = self.sockets.remove(&socket) {
            self.hosts[host.0].bound.remove(&address);
        }
    }

    /// What a socket is bound to; `None` when it is closed.
    pub fn local_addr(&self, socket: SocketId) -> Option<SocketAddr> {
        self.sockets.get(&socket).map(|socket| socket.address)
    }

    /// Sends one datagram. A socket that is bound to all addresses sends from `local_ip`, or where
    /// that is `None` from the interface that leads there. What becomes of what was sent shows in
    /// [`counters`](Self::counters) and at the receiver; the sender learns nothing, as over UDP.
    pub fn send(
        &mut self,
        now: u64,
        socket: SocketId,
        local_ip: Option<IpAddr>,
        to: SocketAddr,
        bytes: &[u8],
    ) -> Result<(), SendError> {
        self.advance(now);
        let now = self.now;
        let Some(Socket { host, address }) = self.sockets.get(&socket) else { return Err(SendError::Closed) };
        let (host, bound) = (*host, *address);
        let (from, exit) = match self.exit(host, bound, local_ip, to, bytes.len()) {
            Ok((ip, exit)) => (SocketAddr::new(ip, bound.port()), exit),
            Err(error) => {
                self.note(now, Step::Refused, bound, to, bytes.len());
                return Err(error);
            }
        };
        self.counters.sent += 1;
        self.note_with_bytes(now, Step::Sent, from, to, bytes);
        let flight = Flight { origin: host, from, to, bytes: bytes.to_vec(), hop: Hop::Itself };
        match exit {
            Exit::Itself => self.enqueue(now, flight),
            Exit::Interface(interface) => self.enter(now, interface, Way::Up, flight),
        }
        Ok(())
    }

    /// The local address from which a datagram of this length goes there, and the way it takes.
    fn exit(
        &self,
        host: HostId,
        bound: SocketAddr,
        local_ip: Option<IpAddr>,
        to: SocketAddr,
        len: usize,
    ) -> Result<(IpAddr, Exit), SendError> {
        let sender = &self.hosts[host.0];
        if sender.asleep.is_some() {
            return Err(SendError::Asleep);
        }
        if bound.is_ipv4() != to.is_ipv4() || to.port() == 0 || to.ip().is_unspecified() {
            return Err(SendError::Unreachable);
        }
        let local = if bound.ip().is_unspecified() { local_ip } else { Some(bound.ip()) };
        if local.is_some_and(|ip| !self.has_address(host, ip)) {
            return Err(SendError::NotAvailable);
        }
        if self.has_address(host, to.ip()) {
            return Ok((local.unwrap_or_else(|| to.ip()), Exit::Itself));
        }
        let usable = || {
            sender.interfaces.iter().copied().filter(|id| {
                let interface = &self.interfaces[id.0];
                interface.plugged
                    && interface.ip.is_ipv4() == to.is_ipv4()
                    && local.is_none_or(|ip| ip == interface.ip)
            })
        };
        let net = |id: InterfaceId| self.interfaces[id.0].net;
        let id = usable()
            .find(|id| self.nets[net(*id).0].holder(to.ip()).is_some())
            .or_else(|| usable().find(|id| self.leads_out(net(*id), to.ip())))
            .ok_or(SendError::Unreachable)?;
        let interface = &self.interfaces[id.0];
        if interface.mtu.is_some_and(|mtu| len > mtu) {
            return Err(SendError::TooLarge);
        }
        Ok((interface.ip, Exit::Interface(id)))
    }

    /// A datagram comes to its host: it waits there until it is taken out, or until the host wakes.
    pub(super) fn arrive(&mut self, letter: Letter) {
        let Some(asleep) = &mut self.hosts[letter.host.0].asleep else {
            self.ready.push_back(letter);
            return;
        };
        let Letter { at, from, to, .. } = letter;
        let len = letter.bytes.len();
        let step = if asleep.kept.len() < asleep.sleep.keep {
            asleep.kept.push_back(letter);
            Step::Kept
        } else {
            Step::Asleep
        };
        self.counters.end(step);
        self.note(at, step, from, to, len);
    }

    /// Finds who hears a datagram at the moment it is taken out.
    pub(super) fn hear(&mut self, letter: Letter) -> Option<Arrival> {
        let receiver = &self.hosts[letter.host.0];
        if receiver.asleep.is_some() {
            self.arrive(letter);
            return None;
        }
        let Letter { at, host, from, to, bytes } = letter;
        let everywhere = SocketAddr::new(unspecified(to.ip()), to.port());
        let socket = receiver.bound.get(&to).or_else(|| receiver.bound.get(&everywhere)).copied();
        let step = if socket.is_some() { Step::Delivered } else { Step::Unheard };
        self.counters.end(step);
        self.note_with_bytes(at, step, from, to, &bytes);
        socket.map(|socket| Arrival { at, host, socket, from, to, bytes })
    }

    fn has_address(&self, host: HostId, ip: IpAddr) -> bool {
        let interfaces = &self.hosts[host.0].interfaces;
        ip.is_loopback() || interfaces.iter().any(|id| self.interfaces[id.0].ip == ip)
    }

    fn is_bound(&self, host: HostId, address: SocketAddr) -> bool {
        self.hosts[host.0].bound.keys().any(|other| {
            let overlap =
                other.ip() == address.ip() || other.ip().is_unspecified() || address.ip().is_unspecified();
            overlap && other.port() == address.port() && other.is_ipv4() == address.is_ipv4()
        })
    }

    fn free_port(&mut self, host: HostId, ip: IpAddr) -> Option<SocketAddr> {
        let next = self.hosts[host.0].next_port;
        let port = (next..=u16::MAX)
            .chain(FIRST_EPHEMERAL..next)
            .find(|port| !self.is_bound(host, SocketAddr::new(ip, *port)))?;
        self.hosts[host.0].next_port = port.checked_add(1).unwrap_or(FIRST_EPHEMERAL);
        Some(SocketAddr::new(ip, port))
    }
}

const fn unspecified(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}
