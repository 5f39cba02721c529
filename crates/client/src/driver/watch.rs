//! Registering what the system gave with the runtime.

use std::io;
use std::os::fd::AsRawFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Registers a socket or a timer for one kind of readiness alone, which a tokio socket cannot.
#[expect(
    deprecated,
    reason = "what the unsafe successor asks of its caller, sockets and descriptors of std keep by themselves"
)]
pub(super) fn watch<T: AsRawFd>(what: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    AsyncFd::with_interest(what, interest)
}
