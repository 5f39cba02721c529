//! Signals that end the program, in order or not.

use std::io;

use p2pchat_client::Failure;
use rustix::process::{Resource, Rlimit, setrlimit};
use tokio::signal::unix::{self, SignalKind};

/// Bytes of a core file at most: with this limit Linux neither writes one nor hands one to a program
/// (core(5), `do_coredump`), and elsewhere nothing fits into it.
const CORE_FILE_MAX: u64 = 1;

/// A wish of the system or of the user to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT
    Interrupt,
    /// SIGTERM, SIGHUP
    Terminate,
}

impl Signal {
    /// How the program ends by it.
    pub fn failure(self) -> Failure {
        match self {
            Self::Interrupt => Failure::Interrupted,
            Self::Terminate => Failure::Terminated,
        }
    }
}

/// Lets a crash leave no copy of this program's memory, which holds the private keys.
pub fn leave_no_core_file() {
    let limit = Rlimit { current: Some(CORE_FILE_MAX), maximum: Some(CORE_FILE_MAX) };
    // Refused only where the limit is lower already.
    let _lower_already = setrlimit(Resource::Core, limit);
}

/// Waits for signals, from its creation on.
#[derive(Debug)]
pub struct Signals {
    interrupt: unix::Signal,
    terminate: unix::Signal,
    hang_up: unix::Signal,
}

impl Signals {
    /// Takes the signals over.
    ///
    /// # Errors
    ///
    /// If the system does not let it.
    pub fn new() -> Result<Self, Failure> {
        let listen = |kind| {
            unix::signal(kind).map_err(|error: io::Error| Failure::Local {
                what: "listen for signals".to_owned(),
                reason: error.to_string(),
            })
        };
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hang_up: listen(SignalKind::hangup())?,
        })
    }

    /// The next one.
    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::Interrupt,
            _ = self.terminate.recv() => Signal::Terminate,
            _ = self.hang_up.recv() => Signal::Terminate,
        }
    }
}
