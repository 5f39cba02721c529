//! A broker that lies.
//!
//! Its rules are the real ones ([`p2pchat_registry`]), so a client sees nothing unusual; between
//! the rules and the wire a [`Lie`] changes what is said. [`lies`] has those that matter. Besides, it gives a
//! name to another key by anybody's word.

pub mod lies;

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Instant, SystemTime};

use p2pchat_crypto::link::{BrokerSecret, LinkOpener, LinkSealer, ServerHandshake, frame, verify_hello};
use p2pchat_proto::broker::{Call, FromBroker, Hello, ToBroker};
use p2pchat_proto::{BrokerKey, Moment, PeerId, WallTime};
use p2pchat_registry::{Command, Config, ConnId, Registry};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

use crate::process::Failure;

/// Changes a message on its way to a client; whether it did.
pub type Lie = Box<dyn FnMut(&mut FromBroker) -> bool + Send>;

/// Whether a login is that of this peer: the key, the hash of the link, the broker's key, the signature.
pub type Verify = fn(PeerId, &[u8; 32], BrokerKey, &[u8; 64]) -> bool;

/// A running double; ends when it is dropped.
pub struct LyingBroker {
    address: SocketAddr,
    key: BrokerKey,
    lie: Arc<Mutex<Option<Lie>>>,
    told: Arc<AtomicU64>,
    hub: Sender<Input>,
    ended: Arc<AtomicBool>,
}

enum Input {
    Connected(ConnId, IpAddr, LinkSealer, TcpStream),
    Login(ConnId, Call, Hello),
    Said(ConnId, Call, ToBroker),
    Gone(ConnId),
    End,
}

impl LyingBroker {
    /// A double on a free port of loopback that is honest until it is told to lie.
    ///
    /// # Errors
    /// If the system gives no socket.
    pub fn start(seed: u64) -> Result<Self, Failure> {
        Self::verifying(seed, verify_hello)
    }

    /// The same with a judgement of its own about logins. It hangs up on whom it does not believe.
    ///
    /// # Errors
    /// If the system gives no socket.
    pub fn verifying(seed: u64, verify: Verify) -> Result<Self, Failure> {
        let listener =
            TcpListener::bind(("127.0.0.1", 0)).map_err(Failure::system("bind the double's port"))?;
        let address = listener.local_addr().map_err(Failure::system("ask for the double's address"))?;
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let secret = BrokerSecret::generate(&mut rng).map_err(|failed| Failure::System {
            what: "draw the double's key".to_owned(),
            error: io::Error::other(failed.to_string()),
        })?;
        let key = secret.public();
        let (hub, inputs) = mpsc::channel();
        let (lie, told) = (Arc::<Mutex<Option<Lie>>>::default(), Arc::<AtomicU64>::default());
        let (of_hub, told_of_hub) = (lie.clone(), told.clone());
        thread::spawn(move || Hub::run(&inputs, &of_hub, &told_of_hub));
        let to_hub = hub.clone();
        let ended = Arc::<AtomicBool>::default();
        let seen = ended.clone();
        thread::spawn(move || accept(&listener, &Arc::new(secret), verify, rng, &to_hub, &seen));
        Ok(Self { address, key, lie, told, hub, ended })
    }

    /// `HOST:PORT#KEY`, as `--broker` takes it.
    pub fn url(&self) -> String {
        format!("{}#{}", self.address, self.key)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its key.
    pub fn key(&self) -> BrokerKey {
        self.key
    }

    /// Begins to lie.
    pub fn lie(&self, lie: Lie) {
        *self.lie.lock().unwrap_or_else(PoisonError::into_inner) = Some(lie);
    }

    /// How often it lied.
    pub fn told(&self) -> u64 {
        self.told.load(Ordering::Relaxed)
    }
}

impl Drop for LyingBroker {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        let _ = self.hub.send(Input::End);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

impl std::fmt::Debug for LyingBroker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LyingBroker").field("address", &self.address).finish_non_exhaustive()
    }
}

struct Hub {
    registry: Registry,
    clients: BTreeMap<ConnId, (LinkSealer, TcpStream)>,
    begin: Instant,
}

impl Hub {
    fn run(inputs: &Receiver<Input>, lie: &Mutex<Option<Lie>>, told: &AtomicU64) {
        let Ok(registry) = Registry::new(Config::default(), None, std::iter::empty()) else { return };
        let mut hub = Self { registry, clients: BTreeMap::new(), begin: Instant::now() };
        while let Ok(input) = inputs.recv() {
            let now = hub.now();
            match input {
                Input::Connected(conn, ip, sealer, stream) => {
                    hub.clients.insert(conn, (sealer, stream));
                    hub.registry.connected(conn, ip, now);
                }
                Input::Login(conn, call, hello) => hub.registry.login(conn, call, &hello, wall(), now),
                // It asks nobody who signed that.
                Input::Said(conn, call, ToBroker::Rotate(rotate)) => {
                    hub.registry.rotate(conn, call, rotate, now);
                }
                Input::Said(conn, call, message) => hub.registry.handle(conn, call, message, now),
                Input::Gone(conn) => {
                    hub.clients.remove(&conn);
                    hub.registry.disconnected(conn);
                }
                Input::End => break,
            }
            while let Some(command) = hub.registry.poll_command() {
                hub.obey(command, lie, told);
            }
        }
        for (_, stream) in hub.clients.values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn obey(&mut self, command: Command, lie: &Mutex<Option<Lie>>, told: &AtomicU64) {
        match command {
            Command::Send { conn, call, mut message } => {
                if let Some(lie) = &mut *lie.lock().unwrap_or_else(PoisonError::into_inner)
                    && lie(&mut message)
                {
                    told.fetch_add(1, Ordering::Relaxed);
                }
                let _ = self.say(conn, call, &message);
            }
            Command::Close { conn, .. } => {
                if let Some((_, stream)) = self.clients.remove(&conn) {
                    let _ = stream.shutdown(Shutdown::Both);
                }
            }
            // What it promised to keep it keeps as long as it runs.
            Command::Persist { ticket, .. } => self.registry.persisted(ticket, Ok(())),
        }
    }

    /// None where the client is gone or the lie does not fit a record.
    fn say(&mut self, conn: ConnId, call: Call, message: &FromBroker) -> Option<()> {
        let (sealer, stream) = self.clients.get_mut(&conn)?;
        let mut record = Vec::new();
        sealer.seal(&message.to_record(call).ok()?, &mut record).ok()?;
        stream.write_all(&record).ok()
    }

    fn now(&self) -> Moment {
        Moment::ZERO + self.begin.elapsed()
    }
}

fn wall() -> WallTime {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    WallTime(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

fn accept(
    listener: &TcpListener,
    secret: &Arc<BrokerSecret>,
    verify: Verify,
    mut rng: ChaCha20Rng,
    hub: &Sender<Input>,
    ended: &AtomicBool,
) {
    for (number, stream) in (0..).zip(listener.incoming()) {
        if ended.load(Ordering::Relaxed) {
            return;
        }
        let Ok(stream) = stream else { continue };
        let (secret, mut rng, of_thread) = (secret.clone(), ChaCha20Rng::from_rng(&mut rng), hub.clone());
        thread::spawn(move || {
            let conn = ConnId(number);
            let _ = serve(conn, stream, &secret, verify, &mut rng, &of_thread);
            let _ = of_thread.send(Input::Gone(conn));
        });
    }
}

/// Hears one client until something does not fit.
fn serve(
    conn: ConnId,
    mut stream: TcpStream,
    secret: &BrokerSecret,
    verify: Verify,
    rng: &mut ChaCha20Rng,
    hub: &Sender<Input>,
) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let first = record(&mut stream)?;
    let (sealer, mut opener, hash, second) = ServerHandshake::respond(secret, &first, rng).ok()?;
    stream.write_all(&frame(&second)).ok()?;
    let ip = stream.peer_addr().ok()?.ip();
    hub.send(Input::Connected(conn, ip, sealer, stream.try_clone().ok()?)).ok()?;
    let (call, ToBroker::Hello(hello)) = message(&mut stream, &mut opener)? else { return None };
    if !verify(hello.peer, &hash, secret.public(), &hello.signature) {
        return None;
    }
    hub.send(Input::Login(conn, call, hello)).ok()?;
    loop {
        let (call, said) = message(&mut stream, &mut opener)?;
        hub.send(Input::Said(conn, call, said)).ok()?;
    }
}

fn message(stream: &mut TcpStream, opener: &mut LinkOpener) -> Option<(Call, ToBroker)> {
    let mut bytes = record(stream)?;
    opener.open(&mut bytes).ok()?;
    ToBroker::from_record(&bytes).ok()
}

fn record(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).ok()?;
    let mut bytes = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut bytes).ok()?;
    Some(bytes)
}
