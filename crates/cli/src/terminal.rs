//! The terminal, if there is one: the calls to the system that concern it live here.

use std::env;
use std::io::{self, IsTerminal as _, Write as _};
use std::thread;

use p2pchat_client::{Failure, sanitise};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use crate::args::Color;
use crate::output::Colors;
use crate::signals::Signals;

/// Ends bracketed paste (xterm, `DECRST 2004`), which the editor begins, and clears the line.
const LEAVE_EDITOR: &[u8] = b"\x1b[?2004l\r\x1b[K";

/// Bytes of a line that somebody types: no terminal gives a longer one at once (termios(3), canonical mode).
const LINE_MAX: usize = 4096;

/// What is a terminal, and what is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terminal {
    /// Standard input.
    pub stdin: bool,
    /// Standard output.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
}

impl Terminal {
    /// Asks the system.
    pub fn detect() -> Self {
        Self {
            stdin: io::stdin().is_terminal(),
            stdout: io::stdout().is_terminal(),
            stderr: io::stderr().is_terminal(),
        }
    }

    /// Whether somebody sits there who can be asked.
    pub fn can_ask(self) -> bool {
        self.stdin && self.stderr
    }

    /// Whether lines can be edited.
    pub fn can_edit(self) -> bool {
        self.stdin && self.stdout
    }

    /// Where to use colours (`NO_COLOR`, <https://no-color.org>).
    pub fn colors(self, wanted: Color) -> Colors {
        let plain = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        match wanted {
            Color::Always => Colors { out: true, err: true },
            Color::Never => Colors::default(),
            Color::Auto if plain => Colors::default(),
            Color::Auto => Colors { out: self.stdout, err: self.stderr },
        }
    }
}

/// How the terminal was before the editor took it; given back when this is dropped, also on the way
/// out of a panic, whatever the editor's thread is doing then.
#[derive(Debug)]
pub struct Saved(Option<Termios>);

impl Saved {
    /// Remembers how it is.
    pub fn now() -> Self {
        Self(tcgetattr(io::stdin()).ok())
    }
}

impl Drop for Saved {
    fn drop(&mut self) {
        if let Some(saved) = &self.0 {
            // A terminal that is gone needs nothing back.
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, saved);
            let _ = io::stdout().write_all(LEAVE_EDITOR).and_then(|()| io::stdout().flush());
        }
    }
}

/// The terminal without echo, until this is dropped.
struct Silent(Option<Termios>);

impl Silent {
    fn now() -> Self {
        let before = tcgetattr(io::stdin()).ok();
        if let Some(mut silent) = before.clone() {
            silent.local_modes.remove(LocalModes::ECHO);
            // Where that fails, the question itself does.
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, &silent);
        }
        Self(before)
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            // A terminal that is gone needs nothing back.
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, before);
        }
    }
}

/// Asks for a line. What is typed is shown.
///
/// # Errors
///
/// [`Failure::Local`] if nothing can be read.
pub fn ask(question: &str) -> Result<String, Failure> {
    let failed = |error: io::Error| Failure::Local {
        what: "ask on the terminal".to_owned(),
        reason: error.to_string(),
    };
    write!(io::stderr(), "{}", sanitise::line(question)).map_err(failed)?;
    let mut line = String::new();
    io::stdin().read_line(&mut line).map_err(failed)?;
    Ok(line.trim().to_owned())
}

/// Asks for something that is not shown while it is typed.
///
/// # Errors
///
/// [`Failure::Local`] if nothing can be read; by a signal, its failure.
pub fn ask_secret(question: &str) -> Result<String, Failure> {
    // Before the question: whoever answers at once is not to see it either.
    let _silent = Silent::now();
    // A signal must not end this process before the terminal is as it was. Whoever asks may be in a runtime.
    thread::scope(|scope| scope.spawn(|| typed_unless_ended(question)).join())
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn typed_unless_ended(question: &str) -> Result<String, Failure> {
    let failed = |error: io::Error| Failure::Local {
        what: "ask on the terminal".to_owned(),
        reason: error.to_string(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let typed = runtime.block_on(async {
        let mut signals = Signals::new()?;
        write!(io::stderr(), "{}", sanitise::line(question)).map_err(failed)?;
        let typed = tokio::select! {
            signal = signals.next() => Err(signal.failure()),
            typed = tokio::task::spawn_blocking(read_line) => {
                typed.map_err(io::Error::other).flatten().map_err(failed)
            }
        };
        // The one that was typed is not shown.
        writeln!(io::stderr()).map_err(failed)?;
        typed
    });
    // Nothing ends the thread that reads but a line, or the end of this process.
    runtime.shutdown_background();
    typed
}

/// A line, past the buffer of standard input, which nobody would wipe. A terminal gives one at a time.
fn read_line() -> io::Result<String> {
    let mut line = Zeroizing::new([0; LINE_MAX]);
    let length = rustix::io::read(io::stdin(), &mut line[..])?;
    let typed = line.get(..length).unwrap_or_default();
    let typed = typed.strip_suffix(b"\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    core::str::from_utf8(typed).map(str::to_owned).map_err(|_| io::ErrorKind::InvalidData.into())
}
