//! Signals that end the program in order.

use std::io;

use p2pchat_client::Failure;
use tokio::signal::unix::{self, SignalKind};

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
