//! One end of a measurement: this program again, as a process of its own, which says on standard
//! output what its owner waits for and ends when its standard input does.

use std::io::{self, Read, Write};
use std::process::Command;
use std::str::FromStr;
use std::thread;
use std::time::Duration;

use p2pchat_harness::process::Process;
use p2pchat_harness::trace::Trace;

use crate::{Result, cpu, peers};

/// Longest that an end may take to be ready.
const READY: Duration = Duration::from_secs(20);
/// Longest that one run may take.
const RUN: Duration = Duration::from_secs(120);

/// The ends there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoleKind {
    UdpEcho,
    UdpPing,
    TokioEcho,
    TokioPing,
    QuinnEcho,
    QuinnPing,
    QuinnFlood,
    ClientEcho,
    ClientPing,
    ClientFlood,
    ClientFileTo,
    TcpTake,
    TcpGive,
    Links,
    PacketsTake,
    PacketsGive,
    UdpSink,
    StrangersFlood,
    BulkTake,
    BulkGive,
    QuinnTake,
    QuinnGive,
}

impl RoleKind {
    const ALL: [(&'static str, Self); 22] = [
        ("udp-echo", Self::UdpEcho),
        ("udp-ping", Self::UdpPing),
        ("tokio-echo", Self::TokioEcho),
        ("tokio-ping", Self::TokioPing),
        ("quinn-echo", Self::QuinnEcho),
        ("quinn-ping", Self::QuinnPing),
        ("quinn-flood", Self::QuinnFlood),
        ("client-echo", Self::ClientEcho),
        ("client-ping", Self::ClientPing),
        ("client-flood", Self::ClientFlood),
        ("client-file-to", Self::ClientFileTo),
        ("tcp-take", Self::TcpTake),
        ("tcp-give", Self::TcpGive),
        ("links", Self::Links),
        ("packets-take", Self::PacketsTake),
        ("packets-give", Self::PacketsGive),
        ("udp-sink", Self::UdpSink),
        ("strangers-flood", Self::StrangersFlood),
        ("bulk-take", Self::BulkTake),
        ("bulk-give", Self::BulkGive),
        ("quinn-take", Self::QuinnTake),
        ("quinn-give", Self::QuinnGive),
    ];

    /// The role of that name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(its, _)| *its == name).map(|(_, kind)| kind)
    }

    fn name(self) -> &'static str {
        Self::ALL.into_iter().find(|(_, kind)| *kind == self).map_or("?", |(name, _)| name)
    }
}

/// A role and its arguments: `core` first, then what the role wants to know.
pub struct Role {
    pub kind: RoleKind,
    pub words: Vec<String>,
}

impl Role {
    /// Plays the role to its end.
    pub fn run(self) -> Result {
        cpu::bind(self.word(0)?)?;
        end_with_stdin();
        match self.kind {
            RoleKind::UdpEcho => peers::udp::echo(),
            RoleKind::UdpPing => peers::udp::ping(self.parsed(1)?, self.parsed(2)?),
            RoleKind::TokioEcho => peers::tokio_udp::echo(),
            RoleKind::TokioPing => peers::tokio_udp::ping(self.parsed(1)?, self.parsed(2)?),
            RoleKind::QuinnEcho => peers::quinn::echo(),
            RoleKind::QuinnPing => peers::quinn::ping(self.word(1)?, self.parsed(2)?, 1),
            RoleKind::QuinnFlood => peers::quinn::ping(self.word(1)?, self.parsed(2)?, peers::IN_FLIGHT),
            RoleKind::ClientEcho => peers::client::echo(self.parsed(1)?, self.word(2)?, self.word(3)?),
            RoleKind::ClientPing => peers::client::ping(self.parsed(1)?, self.word(2)?, self.parsed(3)?),
            RoleKind::ClientFlood => peers::client::flood(self.parsed(1)?, self.word(2)?, self.parsed(3)?),
            RoleKind::ClientFileTo => peers::client::give_file(self.parsed(1)?, self.word(2)?, self.word(3)?),
            RoleKind::TcpTake => peers::tcp::take(self.word(1)?),
            RoleKind::TcpGive => peers::tcp::give(self.parsed(1)?, self.word(2)?),
            RoleKind::Links => peers::links::hold(self.word(1)?, self.parsed(2)?),
            RoleKind::PacketsTake => peers::packets::receive(self.parsed(1)?),
            RoleKind::PacketsGive => peers::packets::send(self.parsed(1)?, self.parsed(2)?),
            RoleKind::BulkTake => peers::bulk::take(),
            RoleKind::BulkGive => peers::bulk::give(self.parsed(1)?, self.parsed(2)?),
            RoleKind::QuinnTake => peers::quinn_bulk::take(self.parsed(1)?),
            RoleKind::QuinnGive => peers::quinn_bulk::give(self.word(1)?, self.parsed(2)?, self.parsed(3)?),
            RoleKind::UdpSink => peers::packets::sink(),
            RoleKind::StrangersFlood => {
                peers::strangers::flood(self.parsed(1)?, self.parsed(2)?, self.parsed(3)?)
            }
        }
    }

    fn word(&self, place: usize) -> Result<&str> {
        let name = self.kind.name();
        self.words.get(place).map(String::as_str).ok_or_else(|| format!("{name}: too few words").into())
    }

    fn parsed<T: FromStr>(&self, place: usize) -> Result<T> {
        let word = self.word(place)?;
        word.parse().map_err(|_| format!("{}: {word}?", self.kind.name()).into())
    }
}

/// Says a line to whoever started this role.
pub fn say(what: &str, value: impl std::fmt::Display) -> Result {
    let mut out = io::stdout().lock();
    writeln!(out, "{what} {value}")?;
    Ok(out.flush()?)
}

/// An owner that is gone must not leave its roles behind.
fn end_with_stdin() {
    thread::spawn(|| {
        let _ = io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
}

/// A role that was started.
pub struct Running(pub Process);

impl Running {
    /// Starts a role on `core` with its words.
    pub fn start(kind: RoleKind, core: &str, words: &[&str]) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["role", kind.name(), core]).args(words);
        Ok(Self(Process::spawn(kind.name(), command, &Trace::default())?))
    }

    /// The value that follows `ready`.
    pub fn ready(&mut self) -> Result<String> {
        self.value("ready", READY)
    }

    /// The number that follows `result`.
    pub fn result(&mut self) -> Result<f64> {
        self.number("result")
    }

    /// The number that follows `what`.
    pub fn number(&mut self, what: &str) -> Result<f64> {
        Ok(self.value(what, RUN)?.parse()?)
    }

    /// The value that follows `what`.
    pub fn value(&mut self, what: &str, within: Duration) -> Result<String> {
        let prefix = format!("{what} ");
        Ok(self.0.find(what, within, |line| line.text.strip_prefix(&prefix).map(str::to_owned))?)
    }
}
