//! The program `p2pchat-broker` as a test meets it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use rustix::process::Signal;

use crate::binaries;
use crate::process::{Failure, Line, PROMPT, Process, command};
use crate::trace::Trace;

/// A running broker, or one that was ended and can be started again.
#[derive(Debug)]
pub struct Broker {
    process: Process,
    address: SocketAddr,
    key: String,
    data: PathBuf,
    trace: Trace,
}

impl Broker {
    /// Starts a broker on a free port of loopback with its data in `data`.
    ///
    /// # Errors
    /// If it was not built, or does not say its address in time.
    pub fn start(data: &Path, trace: &Trace) -> Result<Self, Failure> {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), data, trace)
    }

    /// Starts a broker at an address.
    ///
    /// # Errors
    /// If it was not built, or does not say its address in time.
    pub fn start_at(listen: SocketAddr, data: &Path, trace: &Trace) -> Result<Self, Failure> {
        let mut process = Self::spawn(listen, data, trace)?;
        let (address, key) = process.find("line with its address and key", PROMPT, address_and_key)?;
        Ok(Self { process, address, key, data: data.to_owned(), trace: trace.clone() })
    }

    /// Only starts the process, for a broker that is not expected to come up.
    ///
    /// # Errors
    /// If it was not built.
    pub fn spawn(listen: SocketAddr, data: &Path, trace: &Trace) -> Result<Process, Failure> {
        std::fs::create_dir_all(data).map_err(Failure::system("make the broker's data directory"))?;
        let mut command = command(&binaries::find(binaries::BROKER)?, data);
        command.args(["run", "--listen", &listen.to_string(), "--data"]).arg(data);
        Process::spawn("broker", command, trace)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its public key as text.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// `HOST:PORT#KEY`, as `--broker` takes it.
    pub fn url(&self) -> String {
        self.url_through(self.address)
    }

    /// The same by way of a relay.
    pub fn url_through(&self, relay: SocketAddr) -> String {
        format!("{relay}#{}", self.key)
    }

    /// Its id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Its data directory.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Ends it as a crash would.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn kill(&mut self) -> Result<(), Failure> {
        self.process.kill()
    }

    /// Asks it to end, and waits for its exit code.
    ///
    /// # Errors
    /// If it does not end in time.
    pub fn terminate(&mut self) -> Result<i32, Failure> {
        self.process.signal(Signal::TERM)?;
        self.process.wait_exit(PROMPT)
    }

    /// Starts it again at the same address with the same data, after it was ended.
    ///
    /// # Errors
    /// If it does not come up again, or with another key.
    pub fn restart(&mut self) -> Result<(), Failure> {
        let again = Self::start_at(self.address, &self.data, &self.trace)?;
        let key = again.key.clone();
        *self = again;
        debug_assert_eq!(key, self.key);
        Ok(())
    }
}

/// `HOST:PORT#KEY` anywhere in a line, with a key of 52 base32 characters.
fn address_and_key(line: &Line) -> Option<(SocketAddr, String)> {
    line.text.split(|c: char| c.is_whitespace() || "`'\"".contains(c)).find_map(|word| {
        let (address, key) = word.split_once('#')?;
        let key: p2pchat_proto::BrokerKey = key.parse().ok()?;
        Some((address.parse().ok()?, key.to_string()))
    })
}
