//! The end that comes: holds the profile, or has what it wants done by the process that does.

use core::time::Duration;
use std::io;
use std::path::Path;

use p2pchat_client::profile::{Home, ProfileLock};
use p2pchat_client::{Failure, json};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep, timeout};

use super::{Envelope, IDLE_MAX, LineBuffer, READ_AT_ONCE, Said, read, socket};
use crate::clock::wall_time;
use crate::output::{self, Closed, Screen};
use crate::settings::Settings;
use crate::signals::Signals;
use crate::terminal::Terminal;

/// How long a profile is tried that is held by a process which does not serve: one that begins, ends, or
/// is a command that ends soon.
const HOLD_WAIT: Duration = Duration::from_secs(2);
/// How often meanwhile.
const HOLD_EVERY: Duration = Duration::from_millis(50);
/// How long an answer may take that needs nobody else: past the other side's wait for its store.
const ANSWER_MAX: Duration = Duration::from_secs(15);

/// Who does what is wanted.
#[derive(Debug)]
pub enum Place {
    /// This process, which holds the profile now.
    Here(ProfileLock),
    /// The process that holds it, and has begun.
    There(Served),
}

/// A call that was taken: whoever takes one says a line before anything else.
#[derive(Debug)]
pub struct Served {
    stream: UnixStream,
    /// What was said and nobody has looked at.
    said: Vec<u8>,
}

impl Served {
    /// What is said next; nothing at the end.
    async fn read(&mut self) -> io::Result<Vec<u8>> {
        if !self.said.is_empty() {
            return Ok(core::mem::take(&mut self.said));
        }
        let mut bytes = vec![0; READ_AT_ONCE];
        let len = self.stream.read(&mut bytes).await?;
        bytes.truncate(len);
        Ok(bytes)
    }
}

/// Holds the profile, or tells the process that does what is wanted, which has taken it then. Inside a
/// runtime.
///
/// # Errors
///
/// [`Failure::AlreadyRunning`] where that process does not serve; those of [`Envelope::line`].
pub async fn hold(home: &Home, envelope: &Envelope) -> Result<Place, Failure> {
    let line = format!("{}\n", envelope.line()?);
    let until = Instant::now() + HOLD_WAIT;
    loop {
        let held = match home.lock() {
            Ok(lock) => return Ok(Place::Here(lock)),
            Err(failure @ Failure::AlreadyRunning { .. }) => failure,
            Err(failure) => return Err(failure),
        };
        let Some(directory) = home.directory() else { return Err(held) };
        match tell(directory, &line).await {
            Ok(served) => return Ok(Place::There(served)),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => return Err(broken(&error)),
            Err(_) if Instant::now() < until => sleep(HOLD_EVERY).await,
            Err(_) => return Err(held),
        }
    }
}

/// Says a line there. Whoever ends without a word has not begun to do it, so it can be said again elsewhere.
async fn tell(directory: &Path, line: &str) -> io::Result<Served> {
    let mut served = Served { stream: reach(directory).await?, said: Vec::new() };
    let told = async {
        served.stream.write_all(line.as_bytes()).await?;
        served.read().await
    };
    served.said = timeout(IDLE_MAX, told).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    if served.said.is_empty() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(served) }
}

async fn reach(directory: &Path) -> io::Result<UnixStream> {
    let stream = socket::connect(directory).await?;
    if stream.peer_cred()?.uid() == rustix::process::geteuid().as_raw() {
        Ok(stream)
    } else {
        Err(io::ErrorKind::PermissionDenied.into())
    }
}

/// Shows what the process at the other end says while it does a call; the exit status.
///
/// # Errors
///
/// [`Failure::InDoubt`] if that process leaves before the end.
pub async fn through(served: Served, settings: &Settings) -> Result<u8, Failure> {
    let mut signals = Signals::new()?;
    let terminal = Terminal::detect();
    let started = Screen::start(terminal.colors(settings.color), settings.quiet);
    let screen = started.map_err(|error| broken(&error))?;
    let outcome = tokio::select! {
        biased;
        signal = signals.next() => {
            let failure = signal.failure();
            if settings.json {
                let stopped = json::stopped(Some(&failure), failure.exit(), wall_time());
                // Nobody reads any more: nobody to tell.
                let _ = screen.json(stopped, None).await;
            }
            Ok(failure.exit())
        }
        outcome = listen(served, settings.json, &screen) => outcome,
    };
    screen.flush().await;
    match screen.fault() {
        Some(error) => Err(crate::output::not_written(error)),
        None => outcome,
    }
}

/// What a process that serves a call answers, where the caller makes something of it.
#[derive(Debug)]
pub enum Answer {
    /// Its events, but for what every process says.
    Events(Vec<Value>),
    /// It could not do it, and has said so; the exit status.
    Refused(u8),
}

/// Gives what the process at the other end answers to a call; a failure is shown.
///
/// # Errors
///
/// [`Failure::InDoubt`] if that process leaves before the end; [`Failure::Local`] if it says what this one does
/// not understand.
pub async fn ask(mut served: Served, json: bool) -> Result<Answer, Failure> {
    let mut buffer = LineBuffer::default();
    let (mut events, mut errors) = (Vec::new(), Vec::new());
    loop {
        let came = timeout(ANSWER_MAX, served.read()).await;
        let came = came.map_err(|_| broken(&io::ErrorKind::TimedOut.into()))?;
        let bytes = came.map_err(|error| broken(&error))?;
        if bytes.is_empty() {
            return Err(broken(&io::ErrorKind::UnexpectedEof.into()));
        }
        for line in buffer.take(&bytes)? {
            match read(&line)? {
                Said::Line(shown) => errors.push(shown),
                Said::Stopped(0) => return Ok(Answer::Events(events)),
                Said::Stopped(exit) => {
                    if json {
                        output::print(&line)?;
                    }
                    errors.iter().for_each(output::print_error);
                    return Ok(Answer::Refused(exit));
                }
                Said::Event => {
                    let event: Value = serde_json::from_str(&line).map_err(|_| strange())?;
                    if json && event.get("event").and_then(Value::as_str) == Some("error") {
                        output::print(&line)?;
                    }
                    events.push(event);
                }
            }
        }
    }
}

/// What was said is not what this version of the program expects.
pub fn strange() -> Failure {
    Failure::Local {
        what: "use the running p2pchat".to_owned(),
        reason: "it says what this one does not understand; are both of one version?".to_owned(),
    }
}

/// Shows what is said until the last of it.
async fn listen(mut served: Served, json: bool, screen: &Screen) -> Result<u8, Failure> {
    let mut buffer = LineBuffer::default();
    loop {
        // Behind the first line may stand a wait for somebody.
        let bytes = served.read().await.map_err(|error| broken(&error))?;
        if bytes.is_empty() {
            return Err(broken(&io::ErrorKind::UnexpectedEof.into()));
        }
        for line in buffer.take(&bytes)? {
            let said = read(&line)?;
            if show(&said, line, json, screen).await.is_err() {
                // Nobody reads what is shown: as at the end of a pipe.
                return Ok(0);
            }
            if let Said::Stopped(exit) = said {
                return Ok(exit);
            }
        }
    }
}

async fn show(said: &Said, line: String, json: bool, screen: &Screen) -> Result<(), Closed> {
    match said {
        Said::Line(shown) => screen.show(shown.clone()).await,
        Said::Event | Said::Stopped(_) if json => screen.json(line, None).await,
        Said::Event | Said::Stopped(_) => Ok(()),
    }
}

/// The process at the other end does not do what it should, and what it did nobody knows.
fn broken(error: &io::Error) -> Failure {
    let ended = matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe);
    let reason = if ended {
        "it has ended".to_owned()
    } else if error.kind() == io::ErrorKind::TimedOut {
        "it does not answer".to_owned()
    } else {
        error.to_string()
    };
    Failure::InDoubt { reason }
}
