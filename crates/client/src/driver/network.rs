//! News of this machine's network, where the system gives any: Linux does (rtnetlink(7)). Elsewhere a
//! session finds out by the next packet that it has to send, its keepalive at the latest.

use core::task::{Context, Poll};

/// Hears when an address of this machine comes or goes, and when there is a way out from it: the latter
/// comes after the former, and what is sent in between goes nowhere.
pub(super) struct NetworkNews {
    #[cfg(target_os = "linux")]
    socket: Option<tokio::io::unix::AsyncFd<std::os::fd::OwnedFd>>,
}

#[cfg(target_os = "linux")]
mod netlink {
    use std::io;
    use std::os::fd::OwnedFd;

    use rustix::net::netlink::SocketAddrNetlink;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with};

    /// Groups of messages about addresses and routes (linux/rtnetlink.h: RTMGRP_IPV4_IFADDR,
    /// RTMGRP_IPV6_IFADDR, RTMGRP_IPV4_ROUTE, RTMGRP_IPV6_ROUTE).
    const GROUPS: u32 = 0x10 | 0x100 | 0x40 | 0x400;
    /// Bytes of messages that are read at once.
    pub(super) const READ: usize = 8192;
    /// Bytes before what a message says (struct nlmsghdr).
    const HEAD: usize = 16;
    /// An address that came or went, and a new route (linux/rtnetlink.h: RTM_NEWADDR, RTM_DELADDR,
    /// RTM_NEWROUTE).
    const ADDRESS: u16 = 20;
    const NO_ADDRESS: u16 = 21;
    const ROUTE: u16 = 24;

    /// Whether any of these messages is about an address or the new way to everywhere. Other routes come
    /// and go by the thousand on some machines.
    pub(super) fn are_news(mut messages: &[u8]) -> bool {
        while let Some(&[a, b, c, d, e, f]) = messages.first_chunk() {
            let (length, kind) = (u32::from_ne_bytes([a, b, c, d]), u16::from_ne_bytes([e, f]));
            // The length of the destination's prefix (struct rtmsg).
            let to_everywhere = messages.get(HEAD + 1) == Some(&0);
            if matches!(kind, ADDRESS | NO_ADDRESS) || kind == ROUTE && to_everywhere {
                return true;
            }
            // Messages begin at multiples of four bytes.
            let length = usize::try_from(length).unwrap_or(usize::MAX).max(HEAD);
            let next = length.checked_next_multiple_of(4).unwrap_or(usize::MAX);
            messages = messages.get(next..).unwrap_or_default();
        }
        false
    }

    pub(super) fn open() -> io::Result<OwnedFd> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
        bind(&socket, &SocketAddrNetlink::new(0, GROUPS))?;
        Ok(socket)
    }
}

impl NetworkNews {
    /// Runs inside a runtime's context. Where the system refuses, there is no news.
    #[cfg(target_os = "linux")]
    pub(super) fn listen() -> Self {
        let watched = |socket| super::watch::watch(socket, tokio::io::Interest::READABLE);
        Self { socket: netlink::open().and_then(watched).ok() }
    }

    /// There is no news.
    #[cfg(not(target_os = "linux"))]
    pub(super) fn listen() -> Self {
        Self {}
    }

    /// Ready when something changed since it was ready last.
    #[cfg(target_os = "linux")]
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(socket) = &self.socket else { return Poll::Pending };
        let mut changed = false;
        // This is asked at every turn and mostly knows nothing: room is made when there is something to read.
        let mut messages = Vec::new();
        loop {
            let Poll::Ready(ready) = socket.poll_read_ready(context) else {
                return if changed { Poll::Ready(()) } else { Poll::Pending };
            };
            let Ok(mut ready) = ready else { break };
            messages.resize(netlink::READ, 0);
            let read = ready.try_io(|socket| Ok(rustix::io::read(socket, &mut *messages)?));
            match read {
                // So many that some were dropped is news as well (netlink(7): ENOBUFS).
                Ok(Ok(length @ 1..)) => {
                    changed |= messages.get(..length).is_none_or(netlink::are_news);
                }
                Ok(Err(error)) if error.raw_os_error() == Some(rustix::io::Errno::NOBUFS.raw_os_error()) => {
                    changed = true;
                }
                Ok(Ok(0) | Err(_)) => break,
                Err(_nothing_left) => {}
            }
        }
        // It will say nothing more.
        self.socket = None;
        if changed { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Never.
    #[cfg(not(target_os = "linux"))]
    pub(super) fn poll(&mut self, _context: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the kernel writes them: the head, then the family and the prefix's length.
    #[cfg(target_os = "linux")]
    fn message(kind: u16, prefix: u8) -> Vec<u8> {
        let mut bytes = vec![0; 28];
        bytes[..4].copy_from_slice(&25_u32.to_ne_bytes());
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[17] = prefix;
        bytes
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn addresses_and_the_way_to_everywhere_are_news_and_other_routes_are_not() {
        let (address, gone, route, no_route) = (20, 21, 24, 25);
        for (messages, news) in [
            (vec![message(address, 24)], true),
            (vec![message(gone, 24)], true),
            (vec![message(route, 0)], true),
            (vec![message(route, 24), message(no_route, 0)], false),
            (vec![message(route, 24), message(route, 0)], true),
            (vec![message(no_route, 24), message(address, 24)], true),
            (vec![], false),
        ] {
            assert_eq!(netlink::are_news(&messages.concat()), news, "{messages:?}");
        }
        // A length that lies ends nothing but the reading.
        for length in [0, u32::MAX] {
            let mut lying = message(route, 24);
            lying[..4].copy_from_slice(&length.to_ne_bytes());
            assert!(!netlink::are_news(&lying), "{length}");
        }
    }

    #[tokio::test]
    async fn a_network_that_stays_as_it_is_is_no_news() {
        let mut network = NetworkNews::listen();
        for _ in 0..2 {
            let news = core::future::poll_fn(|context| Poll::Ready(network.poll(context))).await;
            assert!(news.is_pending());
            tokio::task::yield_now().await;
        }
        // And it goes on listening.
        #[cfg(target_os = "linux")]
        assert!(network.socket.is_some());
    }
}
