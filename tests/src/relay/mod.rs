//! Sits on a path between two programs and does to it what a hostile network can do.
//!
//! A relay listens where one side announces itself (`--advertise`) and passes everything on to
//! where that side really is. [`udp`] is for sessions, [`tcp`] for files and for the link to the
//! broker. What is done to the bytes is decided in [`faults`], from a seed.

pub mod faults;
pub mod recording;
pub mod tcp;
pub mod udp;

use std::net::SocketAddr;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use faults::{Counts, Faults};
pub use recording::Recording;
pub use tcp::TcpRelay;
pub use udp::UdpRelay;

/// How long a relay keeps what came for a target that nobody named yet.
const TARGET_WAIT: Duration = Duration::from_secs(10);

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// To the one who announced the relay's endpoint.
    In,
    /// From that one.
    Out,
}

impl Direction {
    const fn index(self) -> usize {
        match self {
            Self::In => 0,
            Self::Out => 1,
        }
    }
}

/// Where a relay passes things on to: often known only after the program that it stands before has
/// bound its port.
#[derive(Debug, Default)]
struct Target {
    address: Mutex<Option<SocketAddr>>,
    named: Condvar,
}

impl Target {
    fn name(&self, address: SocketAddr) {
        *lock(&self.address) = Some(address);
        self.named.notify_all();
    }

    fn wait(&self) -> Option<SocketAddr> {
        let guard = lock(&self.address);
        let waited = self.named.wait_timeout_while(guard, TARGET_WAIT, |address| address.is_none());
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
