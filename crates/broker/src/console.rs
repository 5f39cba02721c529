//! What makes the broker stop: a signal, or `q` on its terminal; and what a crash may leave.

use std::io::{self, BufRead, IsTerminal};
use std::thread;

use rustix::process::{Resource, Rlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

/// Bytes of a core file at most: with this limit Linux neither writes one nor hands one to a program
/// (core(5), `do_coredump`), and elsewhere nothing fits into it.
const CORE_FILE_MAX: u64 = 1;

/// Everything that can ask for a stop, from before the first line is printed.
#[derive(Debug)]
pub(crate) struct StopSigns {
    terminate: Signal,
    interrupt: Signal,
    quit: Option<oneshot::Receiver<()>>,
}

impl StopSigns {
    /// Begins to listen for them.
    pub(crate) fn watch() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: if has_keyboard() { Some(keyboard()?) } else { None },
        })
    }

    /// Whether `q` and Enter stop the broker.
    pub(crate) fn listens_to_keys(&self) -> bool {
        self.quit.is_some()
    }

    /// Waits for the first of them.
    pub(crate) async fn wait(mut self) {
        let quit = async {
            let Some(quit) = self.quit.take() else { return std::future::pending().await };
            // A closed terminal is no wish to stop: a hang-up comes as a signal.
            if quit.await.is_err() {
                std::future::pending().await
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            () = quit => {}
        }
    }
}

/// A terminal whose foreground is this program; reading from the background would stop it.
fn has_keyboard() -> bool {
    let stdin = io::stdin();
    stdin.is_terminal()
        && rustix::termios::tcgetpgrp(&stdin).is_ok_and(|foreground| foreground == rustix::process::getpgrp())
}

/// Hears of the first line that is `q`. The thread ends with the process.
fn keyboard() -> io::Result<oneshot::Receiver<()>> {
    let (quit, heard) = oneshot::channel();
    thread::Builder::new().name("keyboard".to_owned()).spawn(move || {
        let asked = io::stdin().lock().lines().map_while(Result::ok).any(|line| line.trim() == "q");
        if asked && quit.send(()).is_err() {
            tracing::debug!("the broker stops already");
        }
    })?;
    Ok(heard)
}

/// Lets a crash leave no copy of this program's memory, which holds the broker's key.
pub(crate) fn leave_no_core_file() {
    let limit = Rlimit { current: Some(CORE_FILE_MAX), maximum: Some(CORE_FILE_MAX) };
    // Refused only where the limit is lower already.
    let _lower_already = setrlimit(Resource::Core, limit);
}
