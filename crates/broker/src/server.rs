//! The listener, from its first connection to a clean stop.

use std::fmt;
use std::future::Future;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use p2pchat_crypto::link::BrokerSecret;
use p2pchat_proto::BrokerKey;
use p2pchat_registry::{Conflict, ConnId, Registry};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::accounts::{Accounts, AccountsError};
use crate::clock::Clock;
use crate::connection;
use crate::home::{Home, HomeError, Lock};
use crate::key::{self, KeyError};
use crate::switchboard::{INBOX_MAX, Inbox, Switchboard, WriterStopped};
use crate::writer::Writer;

pub use p2pchat_registry::Config as Limits;

/// Connections beyond the most that are served, which are told that the broker is full.
const TOLD_THAT_FULL: usize = 64;
/// First pause when the system has no room for another connection; doubled each time.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Longest such pause.
const ACCEPT_PAUSE_MAX: Duration = Duration::from_secs(1);
/// Time for all clients to take their last message when the broker stops.
const DRAIN_MAX: Duration = Duration::from_secs(4);

/// What a broker runs with: its key, its accounts, its rules.
#[derive(Debug)]
pub struct Config {
    secret: BrokerSecret,
    accounts: Accounts,
    registry: Registry,
    max_connections: usize,
    _lock: Lock,
}

/// A broker that cannot start. Local, and for the operator to mend.
#[derive(Debug)]
pub enum StartError {
    /// The data directory.
    Home(HomeError),
    /// The key.
    Key(KeyError),
    /// The accounts.
    Accounts(AccountsError),
    /// The accounts contradict each other.
    Conflict(Conflict),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Home(error) => error.fmt(f),
            Self::Key(error) => error.fmt(f),
            Self::Accounts(error) => error.fmt(f),
            Self::Conflict(conflict) => {
                write!(
                    f,
                    "accounts: {conflict}; remove it with `p2pchat-broker accounts remove {}`",
                    conflict.0
                )
            }
        }
    }
}

impl std::error::Error for StartError {}

/// A broker that had to stop. Local.
#[derive(Debug)]
pub enum ServeError {
    /// The system gave no thread.
    Thread(io::Error),
    /// The thread that writes accounts ended; what it had stored is on disk.
    WriterStopped,
    /// The task that keeps the rules ended by a defect of the program.
    Defect,
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Thread(error) => {
                write!(f, "no thread for the accounts: {error}; raise the limit of processes")
            }
            Self::Defect => {
                f.write_str("the broker failed by a defect of its own; see the log and start again")
            }
            Self::WriterStopped => {
                f.write_str("accounts can no longer be written; see the log and start again")
            }
        }
    }
}

impl std::error::Error for ServeError {}

impl Config {
    /// Takes the data directory `dir`, and makes what is not there: directory, key, accounts.
    /// `key` is the key's file, `broker.key` in the directory if `None`.
    ///
    /// # Errors
    /// See [`StartError`]. Nothing that exists is changed.
    pub fn open(dir: &Path, key: Option<&Path>, limits: Limits) -> Result<Self, StartError> {
        let home = Home::open(dir).map_err(StartError::Home)?;
        let lock = home.lock().map_err(StartError::Home)?;
        let key = key.map_or_else(|| home.key(), Path::to_owned);
        let mut rng = key::system_rng().map_err(StartError::Key)?;
        let secret = key::open_or_create(&key, &mut rng).map_err(StartError::Key)?;
        let (accounts, known) = Accounts::open(&home.accounts()).map_err(StartError::Accounts)?;
        let registry = Registry::new(limits, None, known).map_err(StartError::Conflict)?;
        Ok(Self { secret, accounts, registry, max_connections: limits.max_connections, _lock: lock })
    }

    /// The key by which clients know this broker.
    pub fn key(&self) -> BrokerKey {
        self.secret.public()
    }
}

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) secret: BrokerSecret,
    pub(crate) key: BrokerKey,
}

/// Serves `listener` until `shutdown` is done; then clients are told when to come back, accounts
/// are flushed, and it returns.
///
/// # Errors
/// See [`ServeError`].
pub async fn run(
    listener: TcpListener,
    config: Config,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let Config { secret, accounts, registry, max_connections, _lock } = config;
    let shared = Arc::new(Shared { key: secret.public(), secret });
    let (writer, results) = Writer::spawn(accounts).map_err(ServeError::Thread)?;
    let (inbox, said) = mpsc::channel(INBOX_MAX);
    let stop = CancellationToken::new();
    let switchboard = Switchboard::new(registry, writer, Clock::start());
    let mut switchboard = tokio::spawn(switchboard.run(said, results, stop.clone()));
    let connections = TaskTracker::new();
    let places = max_connections.saturating_add(TOLD_THAT_FULL).min(Semaphore::MAX_PERMITS);
    let places = Arc::new(Semaphore::new(places));
    let early = tokio::select! {
        () = shutdown => None,
        ended = &mut switchboard => Some(ended),
        () = accept(&listener, &shared, inbox, &connections, &places) => None,
    };
    drop(listener);
    stop.cancel();
    let ended = match early {
        Some(ended) => ended,
        None => switchboard.await,
    };
    connections.close();
    if tokio::time::timeout(DRAIN_MAX, connections.wait()).await.is_err() {
        tracing::info!(left = connections.len(), "some clients did not take their last message");
    }
    let writer = ended.map_err(|_| ServeError::Defect)?.map_err(|WriterStopped| ServeError::WriterStopped)?;
    let flushed = tokio::task::spawn_blocking(move || writer.finish()).await;
    match flushed {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(ServeError::WriterStopped),
    }
}

/// Accepts for ever.
async fn accept(
    listener: &TcpListener,
    shared: &Arc<Shared>,
    inbox: Inbox,
    connections: &TaskTracker,
    places: &Arc<Semaphore>,
) {
    let (mut next, mut pause) = (0, ACCEPT_PAUSE);
    loop {
        let (socket, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) if is_of_one_connection(&error) => continue,
            Err(error) => {
                tracing::warn!(%error, "no room for another connection");
                tokio::time::sleep(pause).await;
                pause = ACCEPT_PAUSE_MAX.min(pause * 2);
                continue;
            }
        };
        pause = ACCEPT_PAUSE;
        let Ok(place) = places.clone().try_acquire_owned() else { continue };
        send_at_once(&socket);
        next += 1;
        let served = connection::serve(socket, from.ip(), ConnId(next), shared.clone(), inbox.clone());
        connections.spawn(async move {
            served.await;
            drop(place);
        });
    }
}

/// Whether accepting failed for a connection that went away meanwhile, and not for want of room.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}

/// Messages are small and somebody waits for each. Without it they come late, but they come.
fn send_at_once(socket: &TcpStream) {
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%error, "no TCP_NODELAY");
    }
}
