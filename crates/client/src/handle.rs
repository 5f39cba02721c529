//! The two ends of a running client: [`Client`] takes requests, [`Events`] gives what happens.
//!
//! Every front end comes in here, so a control socket is one more holder of a [`Client`].

use core::fmt;
use std::thread;

use p2pchat_engine::event::Stopped;
use p2pchat_engine::{CommandId, Event, Failure};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::task::JoinError;

use crate::config::Config;
use crate::driver::waiting::{Batch, Spare};
use crate::driver::{Driver, log};
use crate::request::Request;

/// Requests that may wait for the driver.
const REQUEST_QUEUE: usize = 256;
/// Events from which on what is handed to a front end at once is full. It is what one turn of the driver
/// brought, as a channel costs more for each thing in it than most events cost to make; what a turn brings
/// is bounded by what other sides may have under way.
pub(crate) const EVENTS_IN_BATCH: usize = 128;
/// Batches that may wait for a front end.
const EVENT_QUEUE: usize = 32;

/// Takes requests. Clones speak to the same client.
#[derive(Debug, Clone)]
pub struct Client {
    requests: mpsc::Sender<(CommandId, Request)>,
}

/// What happens, in order.
#[derive(Debug)]
pub struct Events {
    batches: mpsc::Receiver<Batch>,
    batch: Batch,
    spare: Spare,
    stopped: bool,
}

/// The client has ended; its last event says why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended;

impl Client {
    /// Asks for `request`; its outcome carries `id`.
    ///
    /// # Errors
    /// If the client has ended.
    pub async fn send(&self, id: CommandId, request: impl Into<Request>) -> Result<(), Ended> {
        // Mostly there is room, and nothing to wait for.
        match self.requests.try_send((id, request.into())) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(request)) => self.requests.send(request).await.map_err(|_| Ended),
            Err(TrySendError::Closed(_)) => Err(Ended),
        }
    }
}

impl Events {
    /// The next event; `None` after [`Event::Stopped`], which comes exactly once and last.
    pub async fn next(&mut self) -> Option<Event> {
        if self.stopped {
            return None;
        }
        while self.batch.is_empty() {
            let batch = self.batches.recv().await.unwrap_or_else(|| {
                // The client ended without a word: not even its panic could be told.
                [stopped(Some(Failure::Internal("the client ended unexpectedly".to_owned())))].into()
            });
            self.spare.put(core::mem::replace(&mut self.batch, batch));
        }
        self.stopped = matches!(self.batch.front(), Some(Event::Stopped(_)));
        self.batch.pop_front()
    }
}

/// A client that its owner runs: see [`prepare`].
pub struct Prepared {
    driver: Driver,
    events: mpsc::Sender<Batch>,
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared").finish_non_exhaustive()
    }
}

impl Prepared {
    /// Runs the client to its end. Dropped before, its other sides hear nothing of it.
    pub async fn run(self) {
        let Self { driver, events } = self;
        let last = stopped(driver.run().await);
        log::event(&last);
        // Nobody listens any more where the front end ended first.
        let _nobody_listens = events.send([last].into()).await;
    }
}

/// Makes a client that runs where its owner lets [`Prepared::run`] run: beside a front end on one
/// thread, so that no message has to change threads. To be called inside a tokio runtime.
///
/// # Errors
/// If a port cannot be bound or the system refuses what every client needs.
pub fn prepare(config: Config) -> Result<(Client, Events, Prepared), Failure> {
    let (requests, to_do) = mpsc::channel(REQUEST_QUEUE);
    let (events, happened) = mpsc::channel(EVENT_QUEUE);
    let spare = Spare::default();
    let driver = Driver::new(config, to_do, events.clone(), spare.clone())?;
    let happened = Events { batches: happened, batch: Batch::new(), spare, stopped: false };
    Ok((Client { requests }, happened, Prepared { driver, events }))
}

/// Starts a client on a thread of its own.
///
/// # Errors
/// If a port cannot be bound or the system refuses what every client needs.
pub fn spawn(config: Config) -> Result<(Client, Events), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| local("start the client", &error))?;
    let (client, happened, Prepared { driver, events }) = {
        let _entered = runtime.enter();
        prepare(config)?
    };
    let run = move || {
        // As a task of its own, which wakes itself without a call to the system.
        let task = runtime.spawn(driver.run());
        let failure =
            runtime.block_on(task).unwrap_or_else(|ended| Some(Failure::Internal(message_of(ended))));
        // Files under way hold threads of the runtime; they have been told to end.
        runtime.shutdown_background();
        let last = stopped(failure);
        log::event(&last);
        let _nobody_listens = events.blocking_send([last].into());
    };
    thread::Builder::new()
        .name("p2pchat-client".to_owned())
        .spawn(run)
        .map_err(|error| local("start the client's thread", &error))?;
    Ok((client, happened))
}

fn stopped(failure: Option<Failure>) -> Event {
    Event::Stopped(Stopped { failure })
}

fn local(what: &str, error: &std::io::Error) -> Failure {
    Failure::Local { what: what.to_owned(), reason: error.to_string() }
}

fn message_of(ended: JoinError) -> String {
    const UNKNOWN: &str = "a defect without a message";
    let Ok(panic) = ended.try_into_panic() else { return UNKNOWN.to_owned() };
    let message = panic.downcast_ref::<&str>().copied();
    message.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or(UNKNOWN).to_owned()
}
