//! The UDP sockets: one for each address family, with segmentation offload where the system has it.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::task::{Context, Poll};
use std::time::Duration;

use p2pchat_engine::{Failure, Ports};
use p2pchat_session::{Ecn, Received, Transmit};
use quinn_udp::{BATCH_SIZE, EcnCodepoint, RecvMeta, UdpSocketState};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::watch::watch;

/// Room for one received datagram, or for as many as the system joins into one buffer: the largest
/// UDP payload (RFC 768).
const RECEIVE_BUFFER: usize = 64 * 1024;
/// Kernel buffers asked for in each direction; the system may give less.
const SOCKET_BUFFER: usize = 2 * 1024 * 1024;
/// How long to wait for room in a socket whose room cannot be watched.
const FULL_PAUSE: Duration = Duration::from_millis(1);

/// Buffers that a receive offers at least: one more than mostly come, so that what is left over says that
/// the queue is empty.
const OFFERED_LEAST: usize = 2;

/// One bound socket. It is watched for datagrams that come and, only while it is full, for room: the
/// system would report room after every datagram that left.
pub(crate) struct Udp {
    socket: AsyncFd<UdpSocket>,
    state: UdpSocketState,
    local: SocketAddr,
}

/// What was received at once, and where.
pub(crate) struct Batch {
    buffers: [Vec<u8>; BATCH_SIZE],
    /// Whether the next receive offers all of them: few while few datagrams come.
    many: bool,
    metas: [RecvMeta; BATCH_SIZE],
    filled: usize,
}

impl Batch {
    pub(crate) fn new() -> Self {
        Self {
            buffers: std::array::from_fn(|_| vec![0; RECEIVE_BUFFER]),
            many: false,
            metas: [RecvMeta::default(); BATCH_SIZE],
            filled: 0,
        }
    }

    /// Each buffer that was filled, with what is known of it.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = (Received, &mut [u8])> {
        self.metas.iter().zip(&mut self.buffers).take(core::mem::take(&mut self.filled)).filter_map(
            |(meta, buffer)| {
                let received = Received {
                    from: unmapped(meta.addr),
                    local_ip: meta.dst_ip.map(|ip| ip.to_canonical()),
                    ecn: meta.ecn.map(ecn_received),
                    segment_size: Some(meta.stride),
                };
                Some((received, buffer.get_mut(..meta.len)?))
            },
        )
    }
}

impl Udp {
    /// Binds a socket, or says why not.
    pub(crate) fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        let state = UdpSocketState::new((&socket).into())?;
        // Less than asked for costs speed, not correctness.
        let _best_effort = state.set_recv_buffer_size((&socket).into(), SOCKET_BUFFER);
        let _best_effort = state.set_send_buffer_size((&socket).into(), SOCKET_BUFFER);
        let socket = UdpSocket::from(socket);
        let local = socket.local_addr()?;
        let socket = watch(socket, Interest::READABLE)?;
        Ok(Self { socket, state, local })
    }

    pub(crate) fn local(&self) -> SocketAddr {
        self.local
    }

    /// Most datagrams of one size that leave in one system call.
    pub(crate) fn max_segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    /// Whether there may be something to receive.
    pub(crate) fn poll_readable(&self, context: &mut Context<'_>) -> Poll<()> {
        // An error shows at the next receive.
        self.socket.poll_read_ready(context).map(drop)
    }

    /// Waits until there may be room for a datagram again.
    pub(crate) fn writable(&self) -> impl Future<Output = ()> + use<> {
        let same = self.socket.get_ref().try_clone();
        let same = same.and_then(|same| watch(same, Interest::WRITABLE));
        async {
            match same {
                Ok(same) => {
                    // An error shows at the next send.
                    let _at_send = same.writable().await;
                }
                // No descriptor is left to watch with.
                Err(_) => tokio::time::sleep(FULL_PAUSE).await,
            }
        }
    }

    /// Receives what waits into `batch`; whether anything did.
    pub(crate) fn receive(&self, batch: &mut Batch) -> bool {
        // Each buffer that is offered has its price, whether it is filled or not.
        if batch.many {
            self.receive_at_most::<BATCH_SIZE>(batch)
        } else {
            self.receive_at_most::<OFFERED_LEAST>(batch)
        }
    }

    fn receive_at_most<const OFFERED: usize>(&self, batch: &mut Batch) -> bool {
        batch.filled = 0;
        // An error here is an earlier datagram that bounced, or an empty queue. A socket that has nothing is
        // not asked, and says nothing about how many come to the other.
        let _empty_or_bounced = self.socket.try_io(Interest::READABLE, |_| {
            self.fill::<OFFERED>(batch)?;
            // Room was left: the queue is empty, and that need not be asked for.
            if batch.many { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) }
        });
        batch.filled > 0
    }

    /// Receives into `batch` though nobody said that something waits; whether anything did.
    pub(crate) fn look(&self, batch: &mut Batch) -> bool {
        batch.filled = 0;
        self.fill::<OFFERED_LEAST>(batch).is_ok() && batch.filled > 0
    }

    fn fill<const OFFERED: usize>(&self, batch: &mut Batch) -> io::Result<()> {
        let Batch { buffers, many, metas, filled } = batch;
        let Some(offered) = buffers.first_chunk_mut::<OFFERED>() else { return Ok(()) };
        let mut slices = offered.each_mut().map(|buffer| IoSliceMut::new(buffer));
        *filled = self.state.recv(self.socket.get_ref().into(), &mut slices, metas)?;
        *many = *filled == OFFERED;
        Ok(())
    }

    /// Hands datagrams to the system, from another of this side's addresses where the one to send from
    /// is gone.
    pub(crate) fn send(&self, transmit: &Transmit, contents: &[u8]) -> Sent {
        let Err(error) = self.try_send(transmit, contents) else { return Sent::Yes };
        let Some(ip) = transmit.local_ip.filter(|_| is_about_the_address(&error)) else {
            return Sent::after(&error);
        };
        match self.try_send(&Transmit { local_ip: None, ..*transmit }, contents) {
            Ok(()) => Sent::FromElsewhere(ip),
            Err(error) => Sent::after(&error),
        }
    }

    fn try_send(&self, transmit: &Transmit, contents: &[u8]) -> io::Result<()> {
        // A socket of one address has no other to send from, and need not be told.
        let src_ip = transmit.local_ip.filter(|_| self.local.ip().is_unspecified());
        if src_ip.is_none() && transmit.ecn.is_none() && transmit.segment_size.is_none() {
            // Nothing to be said beside it: the plain call costs less.
            match self.socket.get_ref().send_to(contents, transmit.to) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                sent => return sent.map(drop),
            }
        }
        let transmit = quinn_udp::Transmit {
            destination: transmit.to,
            ecn: transmit.ecn.map(ecn_to_send),
            contents,
            segment_size: transmit.segment_size,
            src_ip,
        };
        self.state.try_send(self.socket.get_ref().into(), &transmit)
    }
}

/// What a system says to a datagram that is larger than the interface takes and may not be cut: EMSGSIZE of
/// Linux, and of the systems that come from BSD.
const MESSAGE_TOO_LONG: i32 = if cfg!(target_os = "linux") { 90 } else { 40 };

/// What became of datagrams that leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sent {
    /// They left.
    Yes,
    /// They left, and not from this address: the system does not send from it any more.
    FromElsewhere(IpAddr),
    /// The system's queue is full. They may be tried again.
    Full,
    /// They are larger than the interface takes.
    TooLarge,
    /// They are lost, as datagrams may be.
    Lost,
}

impl Sent {
    fn after(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::WouldBlock {
            Self::Full
        } else if error.raw_os_error() == Some(MESSAGE_TOO_LONG) {
            Self::TooLarge
        } else {
            Self::Lost
        }
    }
}

/// Whether a system says so that does not have the address to send from, or no way out from there.
/// Linux calls a source that is none of its addresses an invalid argument.
fn is_about_the_address(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::InvalidInput
            | io::ErrorKind::AddrNotAvailable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::HostUnreachable
    )
}

/// The sockets that every datagram of this process goes through.
pub(crate) struct Sockets {
    pub(crate) v4: Option<Udp>,
    pub(crate) v6: Option<Udp>,
}

impl Sockets {
    /// Binds the addresses that the user named, or all interfaces on `last_port` where it is free
    /// and on any port where it is not.
    ///
    /// # Errors
    /// If the system refuses, or two addresses of one family are named.
    pub(crate) fn bind(named: &[SocketAddr], last_port: Option<u16>) -> Result<Self, Failure> {
        if named.is_empty() {
            return Self::bind_everywhere(last_port).map_err(|(address, error)| refused(address, &error));
        }
        let mut sockets = Self { v4: None, v6: None };
        for &address in named {
            let family = if address.is_ipv4() { &mut sockets.v4 } else { &mut sockets.v6 };
            if family.is_some() {
                let usage = "--bind takes one IPv4 and one IPv6 address at most";
                return Err(Failure::Usage(usage.to_owned()));
            }
            *family = Some(Udp::bind(address).map_err(|error| refused(address, &error))?);
        }
        Ok(sockets)
    }

    fn bind_everywhere(last_port: Option<u16>) -> Result<Self, (SocketAddr, io::Error)> {
        let any = |port: u16| SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        let v4 = match last_port.map(|port| Udp::bind(any(port))) {
            Some(Ok(udp)) => udp,
            Some(Err(_)) | None => Udp::bind(any(0)).map_err(|error| (any(0), error))?,
        };
        // A machine without IPv6 is served by IPv4 alone.
        let port = v4.local().port();
        let any6 = |port: u16| SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        let v6 = Udp::bind(any6(port)).or_else(|_| Udp::bind(any6(0))).ok();
        Ok(Self { v4: Some(v4), v6 })
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Udp> {
        self.v4.iter().chain(&self.v6)
    }

    /// The socket that reaches `address`.
    pub(crate) fn towards(&self, address: SocketAddr) -> Option<&Udp> {
        if address.is_ipv4() { self.v4.as_ref() } else { self.v6.as_ref() }
    }

    /// Whether one of them may have something to receive.
    pub(crate) fn poll_readable(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut any = Poll::Pending;
        for udp in self.iter() {
            if udp.poll_readable(context).is_ready() {
                any = Poll::Ready(());
            }
        }
        any
    }

    /// The ports that are bound.
    pub(crate) fn ports(&self) -> Ports {
        let port = |udp: &Option<Udp>| udp.as_ref().map_or(0, |udp| udp.local().port());
        Ports { v4: port(&self.v4), v6: port(&self.v6) }
    }

    /// Whether every socket can be reached from this machine only.
    pub(crate) fn loopback_only(&self) -> bool {
        self.iter().all(|udp| udp.local().ip().is_loopback())
    }

    /// Most datagrams that leave in one system call on every socket.
    pub(crate) fn max_segments(&self) -> usize {
        self.iter().map(Udp::max_segments).min().unwrap_or(1)
    }
}

fn refused(address: SocketAddr, error: &io::Error) -> Failure {
    Failure::Local { what: format!("listen on UDP {address}"), reason: error.to_string() }
}

fn ecn_received(ecn: EcnCodepoint) -> Ecn {
    match ecn {
        EcnCodepoint::Ect0 => Ecn::Ect0,
        EcnCodepoint::Ect1 => Ecn::Ect1,
        EcnCodepoint::Ce => Ecn::Ce,
    }
}

fn ecn_to_send(ecn: Ecn) -> EcnCodepoint {
    match ecn {
        Ecn::Ect0 => EcnCodepoint::Ect0,
        Ecn::Ect1 => EcnCodepoint::Ect1,
        Ecn::Ce => EcnCodepoint::Ce,
    }
}

fn unmapped(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        ip @ IpAddr::V4(_) => SocketAddr::new(ip, address.port()),
        IpAddr::V6(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loopback(port: u16) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, port).into()
    }

    #[tokio::test]
    async fn the_port_of_last_time_is_taken_again_and_another_where_it_is_not_free() {
        let first = Sockets::bind(&[], None).unwrap();
        let port = first.ports().v4;
        let second = Sockets::bind(&[], Some(port)).unwrap();
        assert_ne!(second.ports().v4, port);
        drop(first);
        assert_eq!(Sockets::bind(&[], Some(port)).unwrap().ports().v4, port);
    }

    #[tokio::test]
    async fn an_address_that_is_taken_or_named_twice_is_refused() {
        let first = Sockets::bind(&[loopback(0)], None).unwrap();
        let taken = Sockets::bind(&[loopback(first.ports().v4)], None).err();
        assert!(matches!(taken, Some(Failure::Local { .. })));
        let twice = Sockets::bind(&[loopback(0), loopback(0)], None).err();
        assert!(matches!(twice, Some(Failure::Usage(_))));
    }

    #[tokio::test]
    async fn a_burst_is_taken_in_large_batches_beside_a_socket_that_has_nothing() {
        let [from, busy, quiet] = [(); 3].map(|()| Udp::bind(loopback(0)).unwrap());
        for n in 0..6 {
            from.socket.get_ref().send_to(&[n; 10], busy.local()).unwrap();
        }
        core::future::poll_fn(|context| busy.poll_readable(context)).await;
        let (mut counts, mut batch) = (Vec::new(), Batch::new());
        while busy.receive(&mut batch) {
            counts.push(batch.drain().count());
            assert!(!quiet.receive(&mut batch));
        }
        assert_eq!(counts, [OFFERED_LEAST, 6 - OFFERED_LEAST]);
    }

    #[tokio::test]
    async fn a_datagram_leaves_from_another_address_when_the_one_to_send_from_is_gone() {
        let gone: IpAddr = "192.0.2.1".parse().unwrap();
        for any in [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V4(Ipv4Addr::LOCALHOST)] {
            let [from, to] = [any, Ipv4Addr::LOCALHOST.into()].map(|ip| Udp::bind((ip, 0).into()).unwrap());
            let pinned = Transmit { to: to.local(), local_ip: Some(gone), ecn: None, segment_size: None };
            // A socket of one address never sent from another.
            let sent = if any.is_unspecified() { Sent::FromElsewhere(gone) } else { Sent::Yes };
            assert_eq!(from.send(&pinned, b"still here"), sent);
            core::future::poll_fn(|context| to.poll_readable(context)).await;
            let mut batch = Batch::new();
            assert!(to.receive(&mut batch));
            let came = batch.drain().map(|(received, bytes)| (received.from.ip(), bytes.to_vec())).next();
            assert_eq!(came, Some((Ipv4Addr::LOCALHOST.into(), b"still here".to_vec())));
            // And as ever where it is not.
            let here = Transmit { local_ip: Some(Ipv4Addr::LOCALHOST.into()), ..pinned };
            assert_eq!(from.send(&here, b"here"), Sent::Yes);
        }
    }

    #[tokio::test]
    async fn a_datagram_that_the_interface_does_not_take_is_said_to_be_too_large() {
        let [from, to] = [(); 2].map(|()| Udp::bind(loopback(0)).unwrap());
        let transmit = Transmit { to: to.local(), local_ip: None, ecn: None, segment_size: None };
        assert_eq!(from.send(&transmit, &[0; 65_508]), Sent::TooLarge);
        assert_eq!(from.send(&transmit, &[0; 8_972]), Sent::Yes);
    }

    #[tokio::test]
    async fn datagrams_pass_between_two_sockets_with_their_boundaries() {
        let [one, two] = [(); 2].map(|()| Udp::bind(loopback(0)).unwrap());
        let transmit = Transmit { to: two.local(), local_ip: None, ecn: None, segment_size: Some(100) };
        let contents: Vec<u8> = (0..250).map(|n| u8::try_from(n % 251).unwrap()).collect();
        if one.max_segments() < 3 {
            // A system without segmentation offload sends one datagram at a time.
            return;
        }
        assert_eq!(one.send(&transmit, &contents), Sent::Yes);
        let (mut got, mut batch) = (Vec::new(), Batch::new());
        while got.len() < contents.len() {
            core::future::poll_fn(|context| two.poll_readable(context)).await;
            two.receive(&mut batch);
            for (received, datagrams) in batch.drain() {
                assert_eq!(received.from, one.local());
                let size = received.segment_size.unwrap_or(datagrams.len());
                assert!(datagrams.chunks(size).all(|datagram| datagram.len() <= 100));
                got.extend_from_slice(datagrams);
            }
        }
        assert_eq!(got, contents);
    }
}
