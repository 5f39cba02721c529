//! News of this machine's network, where the system gives any: Linux does (rtnetlink(7)). Elsewhere a
//! session finds out by the next packet that it has to send, its keepalive at the latest.

use core::task::{Context, Poll};

/// Hears when an address of this machine comes or goes.
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

    /// Groups of messages about addresses (linux/rtnetlink.h: RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR).
    const ADDRESSES: u32 = 0x10 | 0x100;
    /// Bytes of messages that are read at once; what they say is not looked at.
    pub(super) const READ: usize = 8192;

    pub(super) fn open() -> io::Result<OwnedFd> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
        bind(&socket, &SocketAddrNetlink::new(0, ADDRESSES))?;
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
        loop {
            let Poll::Ready(ready) = socket.poll_read_ready(context) else {
                return if changed { Poll::Ready(()) } else { Poll::Pending };
            };
            let Ok(mut ready) = ready else { break };
            let read = ready.try_io(|socket| Ok(rustix::io::read(socket, &mut [0; netlink::READ])?));
            match read {
                // So many that some were dropped is news as well (netlink(7): ENOBUFS).
                Ok(Ok(1..)) => changed = true,
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
