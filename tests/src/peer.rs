//! One person at the program `p2pchat`, in JSON mode.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::binaries;
use crate::event::{Event, Pattern, event};
use crate::process::{Failure, Line, PROMPT, Process, Stream, command};
use crate::trace::Trace;

/// Where programs keep things (XDG base directories 0.8, and POSIX for the last), below a home.
const DIRECTORIES: [(&str, &str); 6] = [
    ("XDG_DATA_HOME", "data"),
    ("XDG_CONFIG_HOME", "config"),
    ("XDG_STATE_HOME", "state"),
    ("XDG_CACHE_HOME", "cache"),
    ("XDG_RUNTIME_DIR", "run"),
    ("TMPDIR", "tmp"),
];

/// How a peer is started. What is not said is the program's default, except that it binds loopback.
#[derive(Debug, Clone)]
pub struct Setup {
    name: String,
    home: PathBuf,
    trace: Trace,
    arguments: Vec<String>,
    bind: Option<SocketAddr>,
    bind_tcp: Option<SocketAddr>,
    json: bool,
    anonymous: bool,
}

impl Setup {
    /// A peer called `name`, with everything of its own in `home`.
    pub fn new(name: &str, home: &Path, trace: &Trace) -> Self {
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        Self {
            name: name.to_owned(),
            home: home.to_owned(),
            trace: trace.clone(),
            arguments: Vec::new(),
            bind: Some(loopback),
            bind_tcp: Some(loopback),
            json: true,
            anonymous: false,
        }
    }

    /// The directory that holds everything of it.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// The same person with another home.
    pub fn at(self, home: &Path) -> Self {
        Self { home: home.to_owned(), ..self }
    }

    /// At this broker, `HOST:PORT#KEY`.
    pub fn broker(self, address: &str) -> Self {
        self.arguments(["--broker", address])
    }

    /// Global flags as they are.
    pub fn arguments<A: Into<String>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Announces this UDP endpoint and no other: a relay's.
    pub fn advertise(self, endpoint: SocketAddr) -> Self {
        self.arguments(["--advertise".to_owned(), endpoint.to_string()])
    }

    /// Takes files at `bind`, announces `advertise`.
    pub fn files_through(mut self, bind: SocketAddr, advertise: SocketAddr) -> Self {
        self.bind_tcp = Some(bind);
        self.arguments(["--advertise-tcp".to_owned(), advertise.to_string()])
    }

    /// Takes every chat request and every file.
    pub fn accept_everything(self) -> Self {
        self.arguments(["--accept", "everyone", "--accept-files", "everyone"])
    }

    /// On all interfaces, as without the harness.
    pub fn bind_everywhere(mut self) -> Self {
        (self.bind, self.bind_tcp) = (None, None);
        self
    }

    /// Without `--json`.
    pub fn plain(mut self) -> Self {
        self.json = false;
        self
    }

    /// With `--anonymous`, in a home of the system that holds every directory of which programs know.
    pub fn anonymous(mut self) -> Self {
        self.anonymous = true;
        self
    }

    /// The command line of a subcommand with its own arguments.
    ///
    /// # Errors
    /// If the program was not built.
    pub fn command(&self, subcommand: &[&str]) -> Result<Command, Failure> {
        let mut command = command(&binaries::find(binaries::PEER)?, &self.home);
        if self.anonymous {
            command.arg("--anonymous");
            for (variable, below) in DIRECTORIES {
                command.env(variable, self.home.join(below));
            }
        } else {
            command.arg("--home").arg(&self.home).args(["--name", &self.name]);
        }
        if self.json {
            command.arg("--json");
        }
        for (flag, address) in [("--bind", self.bind), ("--bind-tcp", self.bind_tcp)] {
            if let Some(address) = address {
                command.args([flag, &address.to_string()]);
            }
        }
        command.args(&self.arguments).args(subcommand);
        Ok(command)
    }

    /// Starts a subcommand.
    ///
    /// # Errors
    /// If the program was not built or cannot be started.
    pub fn start(&self, subcommand: &[&str]) -> Result<Peer, Failure> {
        let process = Process::spawn(&self.name, self.command(subcommand)?, &self.trace)?;
        Ok(Peer { process, name: self.name.clone(), home: self.home.clone() })
    }

    /// Runs a subcommand to its end, with nothing on standard input.
    ///
    /// # Errors
    /// If it cannot be started, or does not end in time.
    pub fn run(&self, subcommand: &[&str], within: Duration) -> Result<Outcome, Failure> {
        let mut process = Process::spawn(&self.name, self.command(subcommand)?, &self.trace)?;
        process.close_stdin();
        let begin = self.trace.elapsed();
        let exit = process.wait_exit(within)?;
        let took = self.trace.elapsed().saturating_sub(begin);
        let (out, err): (Vec<_>, Vec<_>) =
            process.take_lines().into_iter().partition(|line| line.stream == Stream::Out);
        let text = |lines: Vec<Line>| lines.into_iter().map(|line| line.text).collect();
        Ok(Outcome { exit, took, out: text(out), err: text(err) })
    }
}

/// How a program that ran to its end went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Its exit code.
    pub exit: i32,
    /// How long it ran.
    pub took: Duration,
    /// Lines on standard output.
    pub out: Vec<String>,
    /// Lines on standard error.
    pub err: Vec<String>,
}

/// A running `p2pchat` in JSON mode.
#[derive(Debug)]
pub struct Peer {
    /// The process, for what is not an event.
    pub process: Process,
    name: String,
    home: PathBuf,
}

impl Peer {
    /// Its name at the broker.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The directory that holds everything of it.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Waits for an event and takes it.
    ///
    /// # Errors
    /// If it does not come in time.
    pub fn wait(&mut self, pattern: &Pattern, within: Duration) -> Result<Event, Failure> {
        let describes = |line: &Line| line.event.as_ref().filter(|event| pattern.matches(event)).cloned();
        self.process.find(&pattern.to_string(), within, describes)
    }

    /// Waits for an event and takes it.
    ///
    /// # Panics
    /// If it does not come in time; the message shows what all processes said.
    #[track_caller]
    pub fn expect(&mut self, pattern: &Pattern, within: Duration) -> Event {
        self.wait(pattern, within).unwrap_or_else(|failure| panic!("{failure}"))
    }

    /// Writes a line to standard input.
    ///
    /// # Errors
    /// If the program does not read any more.
    pub fn send_line(&mut self, line: &str) -> Result<(), Failure> {
        self.process.write(format!("{line}\n").as_bytes())
    }

    /// Writes a command as an object; its outcome carries `id`.
    ///
    /// # Errors
    /// If the program does not read any more.
    pub fn send_json(&mut self, id: u64, to: Option<&str>, what: &str) -> Result<(), Failure> {
        let mut object = json!({"id": id, "do": what});
        if let (Some(to), Value::Object(fields)) = (to, &mut object) {
            fields.insert("to".to_owned(), to.into());
        }
        self.send_line(&object.to_string())
    }

    /// Writes a command as an object and waits until it is done.
    ///
    /// # Errors
    /// If it is not done in time.
    pub fn command(&mut self, id: u64, to: Option<&str>, what: &str) -> Result<Event, Failure> {
        self.send_json(id, to, what)?;
        self.wait(&event("done").with("id", id), PROMPT)
    }

    /// Answer to `/info`.
    ///
    /// # Errors
    /// If it does not come in time.
    pub fn info(&mut self) -> Result<Event, Failure> {
        self.send_line("/info")?;
        self.wait(&event("info"), PROMPT)
    }

    /// `/quit`, and the exit code.
    ///
    /// # Errors
    /// If it does not end in time.
    pub fn quit(&mut self) -> Result<i32, Failure> {
        self.send_line("/quit")?;
        self.process.wait_exit(PROMPT)
    }

    /// SIGTERM, and the exit code.
    ///
    /// # Errors
    /// If it does not end in time.
    pub fn terminate(&mut self) -> Result<i32, Failure> {
        self.process.signal(Signal::TERM)?;
        self.process.wait_exit(PROMPT)
    }

    /// Every event so far that was not taken; takes them.
    ///
    /// # Panics
    /// If something on standard output is no event.
    pub fn take_events(&mut self) -> Vec<Event> {
        let said = self.process.take_lines().into_iter().filter(|line| line.stream == Stream::Out);
        said.map(|line| line.event.unwrap_or_else(|| panic!("{}: not an event: {}", self.name, line.text)))
            .collect()
    }
}
