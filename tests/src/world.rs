//! A broker, people, and their files, all in one temporary directory.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use tempfile::TempDir;

use crate::broker::Broker;
use crate::event::{event, session};
use crate::peer::{Peer, Setup};
use crate::process::{Failure, PROMPT};
use crate::relay::{Direction, Faults, TcpRelay, UdpRelay};
use crate::trace::Trace;

/// How long two people on one machine may take from the request to the session.
pub const MEETING: Duration = Duration::from_secs(20);

/// The same over a path that loses much of what they say.
const BAD_MEETING: Duration = Duration::from_secs(60);

/// Everything of one test; what runs in it ends with it.
#[derive(Debug)]
pub struct World {
    /// The broker.
    pub broker: Broker,
    /// What everybody said.
    pub trace: Trace,
    // Last, so that the processes are gone when the directory goes.
    root: TempDir,
}

impl World {
    /// A broker on a free port, and nobody yet.
    ///
    /// # Errors
    /// If the programs are not built, or the broker does not come up.
    pub fn new() -> Result<Self, Failure> {
        let root = tempfile::tempdir().map_err(Failure::system("make a temporary directory"))?;
        let trace = Trace::default();
        let broker = Broker::start(&root.path().join("broker"), &trace)?;
        Ok(Self { broker, trace, root })
    }

    /// A directory of its own.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn directory(&self, name: &str) -> Result<PathBuf, Failure> {
        let path = self.root.path().join(name);
        fs::create_dir_all(&path).map_err(Failure::system("make a directory"))?;
        Ok(path)
    }

    /// Writes a file outside of everybody's home.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn file(&self, name: &str, content: &[u8]) -> Result<PathBuf, Failure> {
        let path = self.directory("files")?.join(name);
        fs::write(&path, content).map_err(Failure::system("write a file"))?;
        Ok(path)
    }

    /// A person at this broker, not started yet.
    ///
    /// # Errors
    /// If the home cannot be made.
    pub fn person(&self, name: &str) -> Result<Setup, Failure> {
        Ok(self.stranger(name)?.broker(&self.broker.url()))
    }

    /// A person at no broker yet.
    ///
    /// # Errors
    /// If the home cannot be made.
    pub fn stranger(&self, name: &str) -> Result<Setup, Failure> {
        let home = self.directory(&format!("home-{name}"))?;
        Ok(Setup::new(name, &home, &self.trace))
    }

    /// Starts `listener` and `asker` and waits until their session is up.
    ///
    /// # Errors
    /// If they do not meet in time.
    pub fn meet(&self, listener: &Setup, asker: &Setup) -> Result<(Peer, Peer), Failure> {
        let alice = listen(listener)?;
        let bob = asker.start(&["connect", "--to", alice.name()])?;
        up(alice, bob, MEETING)
    }

    /// Two who never met become contacts: `asker` asks and `listener` accepts by a word. Waits until their
    /// session is up.
    ///
    /// # Errors
    /// If they do not meet in time.
    pub fn acquaint(&self, listener: &Setup, asker: &Setup) -> Result<(Peer, Peer), Failure> {
        let mut alice = listen(listener)?;
        let bob = asker.start(&["connect", "--to", alice.name()])?;
        alice.wait(&event("request").with("direction", "in").with("state", "open"), MEETING)?;
        alice.send_line("/accept")?;
        up(alice, bob, MEETING)
    }

    /// Where a session between two people begins most of the time: alice takes everything, bob asked.
    ///
    /// # Errors
    /// If they do not meet in time.
    pub fn alice_and_bob(&self) -> Result<(Peer, Peer), Failure> {
        self.meet(&self.person("alice")?.accept_everything(), &self.person("bob")?.accept_everything())
    }
}

/// A relay before everything that two people announce to each other.
#[derive(Debug)]
pub struct Paths {
    alice: Doors,
    bob: Doors,
}

/// The relays before one person.
#[derive(Debug)]
struct Doors {
    udp: UdpRelay,
    tcp: TcpRelay,
    real_tcp: SocketAddr,
}

impl Doors {
    fn new(seed: u64) -> Result<Self, Failure> {
        let (udp, tcp, real_tcp) = (UdpRelay::start(seed)?, TcpRelay::start()?, free_port()?);
        tcp.set_target(real_tcp);
        Ok(Self { udp, tcp, real_tcp })
    }

    fn before(&self, setup: Setup) -> Setup {
        setup.advertise(self.udp.address()).files_through(self.real_tcp, self.tcp.address())
    }

    fn lead_to(&self, peer: &mut Peer) -> Result<(), Failure> {
        self.udp.set_target(udp_address(peer)?);
        Ok(())
    }
}

impl Paths {
    /// Relays without faults, which draw from `seed` when they get some.
    ///
    /// # Errors
    /// If the system gives no sockets.
    pub fn new(seed: u64) -> Result<Self, Failure> {
        Ok(Self { alice: Doors::new(seed)?, bob: Doors::new(seed.wrapping_add(100))? })
    }

    /// Starts alice, who takes everything, and bob, who asks, on these paths; waits until the
    /// session is up.
    ///
    /// # Errors
    /// If they do not meet in time.
    pub fn alice_and_bob(&self, world: &World) -> Result<(Peer, Peer), Failure> {
        self.meet(&world.person("alice")?.accept_everything(), &world.person("bob")?.accept_everything())
    }

    /// The same with people of the test's choice.
    ///
    /// # Errors
    /// If they do not meet in time.
    pub fn meet(&self, listener: &Setup, asker: &Setup) -> Result<(Peer, Peer), Failure> {
        let alice = self.listen(listener)?;
        let bob = self.ask(asker, alice.name())?;
        up(alice, bob, BAD_MEETING)
    }

    /// Starts the one who listens, on their path, and waits until others can reach them.
    ///
    /// # Errors
    /// If that does not happen in time.
    pub fn listen(&self, listener: &Setup) -> Result<Peer, Failure> {
        let mut alice = self.alice.before(listener.clone()).start(&["listen"])?;
        self.alice.lead_to(&mut alice)?;
        alice.wait(&event("broker").with("state", "connected"), PROMPT)?;
        Ok(alice)
    }

    /// Starts the one who asks, on their path.
    ///
    /// # Errors
    /// If they cannot be started.
    pub fn ask(&self, asker: &Setup, whom: &str) -> Result<Peer, Failure> {
        let mut bob = self.bob.before(asker.clone()).start(&["connect", "--to", whom])?;
        self.bob.lead_to(&mut bob)?;
        Ok(bob)
    }

    /// What happens to every datagram from now on.
    pub fn set_udp_faults(&self, faults: Faults) {
        for relay in self.udp() {
            relay.set_faults(Direction::In, faults);
            relay.set_faults(Direction::Out, faults);
        }
    }

    /// The relays of the sessions: the listener's, the asker's.
    pub fn udp(&self) -> [&UdpRelay; 2] {
        [&self.alice.udp, &self.bob.udp]
    }

    /// The relays of the files: the listener's, the asker's.
    pub fn tcp(&self) -> [&TcpRelay; 2] {
        [&self.alice.tcp, &self.bob.tcp]
    }

    /// Where they really take files: the listener, the asker.
    pub fn real_tcp(&self) -> [SocketAddr; 2] {
        [self.alice.real_tcp, self.bob.real_tcp]
    }
}

/// Where a peer that was just started really takes datagrams.
///
/// # Errors
/// If it does not say so.
pub fn udp_address(peer: &mut Peer) -> Result<SocketAddr, Failure> {
    let ready = peer.wait(&event("ready"), PROMPT)?;
    ready.text("udp").parse().map_err(|_| Failure::System {
        what: format!("read the address in {ready}"),
        error: io::ErrorKind::InvalidData.into(),
    })
}

/// A port of loopback that nobody used a moment ago.
///
/// # Errors
/// If the system has none.
pub fn free_port() -> Result<SocketAddr, Failure> {
    let found = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
    found.map_err(Failure::system("find a free port"))
}

/// The same for datagrams.
///
/// # Errors
/// If the system has none.
pub fn free_udp_port() -> Result<SocketAddr, Failure> {
    let found = UdpSocket::bind(("127.0.0.1", 0)).and_then(|socket| socket.local_addr());
    found.map_err(Failure::system("find a free port"))
}

fn up(mut alice: Peer, mut bob: Peer, within: Duration) -> Result<(Peer, Peer), Failure> {
    bob.wait(&event("request").with("direction", "out").with("state", "accepted"), within)?;
    alice.wait(&session("up"), within)?;
    bob.wait(&session("up"), within)?;
    Ok((alice, bob))
}

/// Starts a person who listens, and waits until others can reach them.
///
/// # Errors
/// If that does not happen in time.
pub fn listen(setup: &Setup) -> Result<Peer, Failure> {
    let mut peer = setup.start(&["listen"])?;
    peer.wait(&event("broker").with("state", "connected"), PROMPT)?;
    Ok(peer)
}

/// The only file below a directory, partial ones not counted; None where there is none.
pub fn only_file(directory: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(directory).ok()?.filter_map(Result::ok).map(|entry| entry.path());
    let mut files = entries.filter(|path| path.is_file() && path.extension().is_none_or(|e| e != "part"));
    let file = files.next()?;
    files.next().is_none().then_some(file)
}
