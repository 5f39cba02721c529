//! The driver of file transfers: sockets, threads and files under the orders of the control plane.
//!
//! The engine decides and the driver reports; neither sees a byte of content of the other. For
//! each transfer there is one [`worker`] task. It races for a connection ([`race`], behind the
//! [`doors`] that all transfers share), hands it to two threads ([`pipe`]), and keeps what the next
//! attempt goes on with: the open [`source`], or the unfinished file ([`part`]).

mod doors;
mod part;
mod pipe;
mod race;
mod report;
mod source;
mod unfinished;
mod worker;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use p2pchat_proto::TransferId;
use p2pchat_proto::transfer::{Attempt, TcpCandidates};
use p2pchat_transfer::{CarrierEnd, CarrierSpec};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use self::doors::Doors;
pub use self::report::CarrierEvents;
pub use self::source::{OpenSource, open_source};
pub use self::unfinished::{Unfinished, remove_unfinished, unfinished};
use self::worker::{Keep, Order, Places, Progress, ReceiverKeep, Worker};

/// Orders that wait for one worker.
const ORDERS: usize = 32;
/// Places in that queue which a peer's candidates leave free for what must not get lost.
const ORDERS_RESERVED: usize = 8;

/// How long [`FileDriver::close`] waits for threads that wait for a disk.
const CLOSE_PATIENCE: Duration = Duration::from_secs(3);

/// What the owner decides about files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileConfig {
    /// Where to listen; all interfaces at a free port if empty.
    pub bind_tcp: Vec<SocketAddr>,
    /// What to announce instead of what is found.
    pub advertise_tcp: Vec<SocketAddr>,
    /// Where files go that are not saved elsewhere; made at need.
    pub download_dir: PathBuf,
}

/// See the module.
#[derive(Debug)]
pub struct FileDriver {
    download_dir: PathBuf,
    doors: Doors,
    places: Places,
    events: CarrierEvents,
    /// Sources of transfers that have no worker yet.
    sources: BTreeMap<TransferId, OpenSource>,
    /// Where to save what is not saved in the download directory.
    dirs: BTreeMap<TransferId, PathBuf>,
    workers: BTreeMap<TransferId, mpsc::Sender<Order>>,
    tasks: JoinSet<()>,
}

impl FileDriver {
    /// A driver that reports to `events`.
    pub fn new(config: FileConfig, events: CarrierEvents) -> Self {
        let FileConfig { bind_tcp, advertise_tcp, download_dir } = config;
        Self {
            download_dir,
            doors: Doors::new(bind_tcp),
            places: Places { advertise: advertise_tcp, over_loopback: Arc::new(AtomicBool::new(false)) },
            events,
            sources: BTreeMap::new(),
            dirs: BTreeMap::new(),
            workers: BTreeMap::new(),
            tasks: JoinSet::new(),
        }
    }

    /// Whether the other side may be on this machine, so that loopback addresses mean something.
    pub fn set_over_loopback(&self, over_loopback: bool) {
        self.places.over_loopback.store(over_loopback, Ordering::Relaxed);
    }

    /// The source of a transfer that was offered. It stays open until [`Self::stop`].
    pub fn attach(&mut self, transfer: TransferId, source: OpenSource) {
        self.sources.insert(transfer, source);
    }

    /// Saves a transfer in `dir`. To be said before its first [`Self::start`].
    pub fn save_in(&mut self, transfer: TransferId, dir: PathBuf) {
        self.dirs.insert(transfer, dir);
    }

    /// Makes an attempt at a carrier, in place of an earlier one of the same transfer. Runs in a
    /// tokio runtime.
    pub fn start(&mut self, spec: CarrierSpec) {
        while self.tasks.try_join_next().is_some() {}
        let transfer = spec.transfer;
        if !self.workers.contains_key(&transfer) {
            let Some(keep) = self.keep(&spec) else {
                tracing::error!(%transfer, "a carrier without a source");
                return;
            };
            let (sender, orders) = mpsc::channel(ORDERS);
            let worker = Worker {
                orders,
                events: self.events.clone(),
                doors: self.doors.clone(),
                places: self.places.clone(),
                keep,
            };
            self.tasks.spawn(worker.run());
            self.workers.insert(transfer, sender);
        }
        self.order(transfer, Order::Start(spec));
    }

    /// Dials these as well, if they belong to the present attempt.
    pub fn candidates(&self, transfer: TransferId, attempt: Attempt, list: &TcpCandidates) {
        let room = self.workers.get(&transfer).map_or(0, mpsc::Sender::capacity);
        if room > ORDERS_RESERVED {
            self.order(transfer, Order::Candidates(attempt, list.clone()));
        }
    }

    /// Compares what was received with the sender's hash, and gives the file its name.
    pub fn publish(&self, transfer: TransferId, hash: [u8; 32]) {
        self.order(transfer, Order::Publish(hash));
    }

    /// Ends whatever runs for a transfer, closes its source, removes its unfinished file.
    pub fn stop(&mut self, transfer: TransferId) {
        self.sources.remove(&transfer);
        self.dirs.remove(&transfer);
        self.workers.remove(&transfer);
    }

    /// Ends everything, and waits until the last unfinished file is gone, at most
    /// [`CLOSE_PATIENCE`]: a disk that hangs must not keep the client.
    pub async fn close(&mut self) {
        self.sources.clear();
        self.workers.clear();
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if timeout(CLOSE_PATIENCE, all).await.is_err() {
            tracing::warn!("a file transfer did not end in time");
            self.tasks.abort_all();
        }
    }

    fn keep(&mut self, spec: &CarrierSpec) -> Option<Keep> {
        match spec.end {
            CarrierEnd::Sender => {
                let source = Arc::new(self.sources.remove(&spec.transfer)?);
                Some(Keep::Sender { source, tree: None })
            }
            CarrierEnd::Receiver { .. } => {
                let dir = self.dirs.remove(&spec.transfer).unwrap_or_else(|| self.download_dir.clone());
                Some(Keep::Receiver(ReceiverKeep { dir, progress: Progress::Nothing }))
            }
        }
    }

    fn order(&self, transfer: TransferId, order: Order) {
        if let Some(worker) = self.workers.get(&transfer)
            && let Err(error) = worker.try_send(order)
        {
            tracing::error!(%transfer, %error, "an order was lost");
        }
    }
}
