//! The thread that writes accounts.
//!
//! A durable commit takes about 2 ms. All writes that wait are one transaction, so a thousand
//! people who register at once wait for a handful of commits, and nobody else waits at all.

use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use p2pchat_registry::{Account, StoreFailed, Ticket};
use tokio::sync::mpsc as tokio_mpsc;

use crate::accounts::Accounts;

/// Most writes of one transaction, which bounds how long the first of them waits.
const BATCH_MAX: usize = 1024;

/// How writes went.
pub(crate) type Results = Vec<(Ticket, Result<(), StoreFailed>)>;

/// The thread's other end. There is at most one write a name under way, which bounds the queue.
#[derive(Debug)]
pub(crate) struct Writer {
    writes: mpsc::Sender<(Ticket, Account)>,
    thread: JoinHandle<()>,
}

impl Writer {
    /// Starts the thread; the receiver hears of each write.
    pub(crate) fn spawn(
        accounts: Accounts,
    ) -> std::io::Result<(Self, tokio_mpsc::UnboundedReceiver<Results>)> {
        let (writes, waiting) = mpsc::channel();
        let (done, results) = tokio_mpsc::unbounded_channel();
        let thread = thread::Builder::new()
            .name("accounts".to_owned())
            .spawn(move || write_all(accounts, &waiting, &done))?;
        Ok((Self { writes, thread }, results))
    }

    /// Hands a write over. Where the thread is gone, its receiver has ended and says so.
    pub(crate) fn write(&self, ticket: Ticket, account: Account) {
        if self.writes.send((ticket, account)).is_err() {
            tracing::error!("the thread that writes accounts is gone");
        }
    }

    /// Waits until all that was handed over is on disk.
    pub(crate) fn finish(self) -> thread::Result<()> {
        drop(self.writes);
        self.thread.join()
    }
}

fn write_all(
    mut accounts: Accounts,
    waiting: &mpsc::Receiver<(Ticket, Account)>,
    done: &tokio_mpsc::UnboundedSender<Results>,
) {
    while let Ok(first) = waiting.recv() {
        let batch: Vec<_> = std::iter::once(first).chain(waiting.try_iter().take(BATCH_MAX - 1)).collect();
        let result = accounts.store(batch.iter().map(|(_, account)| account)).map_err(|error| {
            tracing::error!(%error, writes = batch.len(), "registrations were not stored");
            StoreFailed
        });
        let results = batch.into_iter().map(|(ticket, _)| (ticket, result)).collect();
        if done.send(results).is_err() {
            // The broker stops and hears no results any more; what comes is stored all the same.
            tracing::debug!("nobody waits for this write");
        }
    }
}
