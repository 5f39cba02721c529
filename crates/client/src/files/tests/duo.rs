//! Two control planes with their drivers, joined by a queue instead of a session, and a relay that
//! may sit on the TCP path.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use p2pchat_crypto::Suite;
use p2pchat_proto::transfer::TcpCandidates;
use p2pchat_proto::{Moment, PeerId, TransferId};
use p2pchat_transfer::{CarrierEvent, Effect, State, Transfers, Update};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep_until, timeout};

use super::super::{FileConfig, FileDriver, open_source};

/// Nothing here takes so long unless it hangs.
const HANGS: Duration = Duration::from_secs(60);
pub(super) const ALICE: PeerId = PeerId([0xa; 32]);
pub(super) const BOB: PeerId = PeerId([0xb; 32]);

pub(super) struct Party {
    pub(super) transfers: Transfers,
    pub(super) driver: FileDriver,
    reports: mpsc::Receiver<(TransferId, CarrierEvent)>,
    pub(super) updates: Vec<Update>,
    /// Bodies for this side.
    inbox: Vec<(u8, Vec<u8>)>,
}

impl Party {
    fn new(seed: u8, download_dir: PathBuf) -> Self {
        let (events, reports) = mpsc::channel(64);
        let loopback = "127.0.0.1:0".parse().unwrap();
        let config = FileConfig { bind_tcp: vec![loopback], advertise_tcp: vec![], download_dir };
        Self {
            transfers: Transfers::new([seed; 32]),
            driver: FileDriver::new(config, events),
            reports,
            updates: Vec::new(),
            inbox: Vec::new(),
        }
    }

    pub(super) fn ended(&self) -> Option<&State> {
        self.updates.last().map(|update| &update.state).filter(|state| state.is_end())
    }

    /// Where it listens, once it does.
    pub(super) fn tcp(&self) -> Option<SocketAddr> {
        self.updates.last().and_then(|update| update.tcp)
    }
}

/// Alice sends, Bob receives.
pub(super) struct Duo {
    pub(super) home: TempDir,
    pub(super) alice: Party,
    pub(super) bob: Party,
    /// Stands between each side and the addresses of the other.
    pub(super) relay: Option<Relay>,
    start: Instant,
}

impl Duo {
    pub(super) fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut duo = Self {
            alice: Party::new(1, home.path().join("alice")),
            bob: Party::new(2, home.path().join("bob")),
            home,
            relay: None,
            start: Instant::now(),
        };
        duo.alice.transfers.session_up(BOB, Suite::Aes256Gcm, Moment::ZERO);
        duo.bob.transfers.session_up(ALICE, Suite::Aes256Gcm, Moment::ZERO);
        duo
    }

    pub(super) fn downloads(&self) -> PathBuf {
        self.home.path().join("bob")
    }

    pub(super) fn now(&self) -> Moment {
        Moment::ZERO + self.start.elapsed()
    }

    /// Writes a source named `song.mp3`.
    pub(super) fn source(&self, content: &[u8]) -> PathBuf {
        let path = self.home.path().join("song.mp3");
        fs::write(&path, content).unwrap();
        path
    }

    /// Offers a file, and lets Bob take it.
    pub(super) async fn send(&mut self, path: &Path) -> TransferId {
        let (source, open) = open_source(path).unwrap();
        let transfer = self.alice.transfers.offer(BOB, source, self.now());
        self.alice.driver.attach(transfer, open);
        self.until(|duo| !duo.bob.updates.is_empty()).await;
        self.bob.transfers.accept(transfer, self.now()).unwrap();
        transfer
    }

    /// Sends a file and waits for the end on both sides.
    pub(super) async fn transfer(&mut self, path: &Path) -> (State, State) {
        self.send(path).await;
        self.ended().await
    }

    pub(super) async fn ended(&mut self) -> (State, State) {
        self.until(|duo| duo.alice.ended().is_some() && duo.bob.ended().is_some()).await;
        (self.alice.ended().unwrap().clone(), self.bob.ended().unwrap().clone())
    }

    /// Runs both sides until `done`.
    pub(super) async fn until(&mut self, done: impl Fn(&Self) -> bool) {
        let run = async {
            loop {
                self.settle();
                if done(self) {
                    return;
                }
                let due =
                    [&self.alice, &self.bob].into_iter().filter_map(|p| p.transfers.poll_timeout()).min();
                let due = due.map(|due| self.start + due.saturating_since(Moment::ZERO));
                tokio::select! {
                    Some((id, event)) = self.alice.reports.recv() => {
                        let now = self.now();
                        self.alice.transfers.carrier_event(id, event, now);
                    }
                    Some((id, event)) = self.bob.reports.recv() => {
                        let now = self.now();
                        self.bob.transfers.carrier_event(id, event, now);
                    }
                    () = sleep_until(due.unwrap_or(self.start)), if due.is_some() => {
                        let now = self.now();
                        self.alice.transfers.handle_timeout(now);
                        self.bob.transfers.handle_timeout(now);
                    }
                }
            }
        };
        timeout(HANGS, run).await.expect("nothing happens any more");
    }

    /// Moves bodies and effects until there are none.
    fn settle(&mut self) {
        loop {
            let now = self.now();
            let moved = perform(&mut self.alice, &mut self.bob.inbox, self.relay.as_ref())
                | perform(&mut self.bob, &mut self.alice.inbox, self.relay.as_ref());
            for (party, from) in [(&mut self.alice, BOB), (&mut self.bob, ALICE)] {
                for (kind, body) in party.inbox.drain(..) {
                    party.transfers.handle_body(from, kind, &body, now).unwrap();
                }
            }
            if !moved {
                return;
            }
        }
    }

    /// Ends both drivers, and gives the names of what is left in the download directory.
    pub(super) async fn close(&mut self) -> Vec<String> {
        timeout(HANGS, self.alice.driver.close()).await.expect("the sender does not end");
        timeout(HANGS, self.bob.driver.close()).await.expect("the receiver does not end");
        let Ok(entries) = fs::read_dir(self.downloads()) else { return Vec::new() };
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

fn perform(party: &mut Party, other: &mut Vec<(u8, Vec<u8>)>, relay: Option<&Relay>) -> bool {
    let mut moved = false;
    while let Some(effect) = party.transfers.poll_effect() {
        moved = true;
        match effect {
            Effect::Send { kind, body, .. } => other.push((kind, body)),
            Effect::StartCarrier(spec) => party.driver.start(spec),
            Effect::Candidates { transfer, attempt, list } => {
                let list = relay.map_or(list.clone(), |relay| {
                    TcpCandidates::new(list.as_slice().iter().map(|address| relay.before(*address)))
                });
                party.driver.candidates(transfer, attempt, &list);
            }
            Effect::Publish { transfer, hash } => party.driver.publish(transfer, hash),
            Effect::StopCarrier { transfer } => party.driver.stop(transfer),
        }
    }
    while let Some(update) = party.transfers.poll_event() {
        party.updates.push(update);
    }
    moved
}

/// What a relay does to each connection.
#[derive(Clone)]
pub(super) enum Mischief {
    /// Flips a bit of this byte of the stream, in either direction, on the first so many
    /// connections that get so far.
    Flip { at: u64, times: Arc<AtomicU64> },
    /// Lets so many bytes of a connection pass, then waits for permits.
    Hold { after: u64, until: Arc<Semaphore> },
    /// Cuts the first so many connections after so many bytes.
    Cut { after: u64, times: Arc<AtomicU64> },
}

impl Mischief {
    pub(super) fn flip(at: u64, times: u64) -> Self {
        Self::Flip { at, times: Arc::new(AtomicU64::new(times)) }
    }

    pub(super) fn cut(after: u64, times: u64) -> Self {
        Self::Cut { after, times: Arc::new(AtomicU64::new(times)) }
    }
}

/// Makes listeners before others.
pub(super) struct Relay(pub(super) Mischief);

impl Relay {
    fn before(&self, target: SocketAddr) -> SocketAddr {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let mischief = self.0.clone();
        tokio::spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            while let Ok((near, _)) = listener.accept().await {
                let Ok(far) = TcpStream::connect(target).await else { continue };
                let (near_read, near_write) = near.into_split();
                let (far_read, far_write) = far.into_split();
                tokio::spawn(pump(near_read, far_write, mischief.clone()));
                tokio::spawn(pump(far_read, near_write, mischief.clone()));
            }
        });
        address
    }
}

async fn pump(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mischief: Mischief,
) {
    let mut passed = 0u64;
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(len @ 1..) = from.read(&mut buffer).await {
        let bytes = &mut buffer[..len];
        let end = passed + len as u64;
        match &mischief {
            Mischief::Flip { at, times } => {
                if (passed..end).contains(at) && take(times) {
                    bytes[(at - passed) as usize] ^= 0x10;
                }
            }
            Mischief::Hold { after, until } => {
                if end > *after {
                    let _permit = until.acquire().await.unwrap();
                }
            }
            Mischief::Cut { after, times } => {
                if end > *after && take(times) {
                    return;
                }
            }
        }
        passed = end;
        if to.write_all(bytes).await.is_err() {
            return;
        }
    }
}

fn take(times: &AtomicU64) -> bool {
    times.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
}
