//! The two ends of a running client: [`Client`] takes requests, [`Events`] gives what happens.
//!
//! Every front end comes in here, so a control socket is one more holder of a [`Client`].

use core::fmt;
use std::panic::AssertUnwindSafe;
use std::thread;

use p2pchat_engine::event::Stopped;
use p2pchat_engine::{CommandId, Event, Failure};
use tokio::sync::mpsc;

use crate::config::Config;
use crate::driver::{Driver, log};
use crate::request::Request;

/// Requests that may wait for the driver.
const REQUEST_QUEUE: usize = 256;
/// Events that may wait for a front end.
pub(crate) const EVENT_QUEUE: usize = 1024;

/// Takes requests. Clones speak to the same client.
#[derive(Debug, Clone)]
pub struct Client {
    requests: mpsc::Sender<(CommandId, Request)>,
}

/// What happens, in order.
#[derive(Debug)]
pub struct Events {
    events: mpsc::Receiver<Event>,
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
        self.requests.send((id, request.into())).await.map_err(|_| Ended)
    }
}

impl Events {
    /// The next event; `None` after [`Event::Stopped`], which comes exactly once and last.
    pub async fn next(&mut self) -> Option<Event> {
        if self.stopped {
            return None;
        }
        let event = self.events.recv().await.unwrap_or_else(|| {
            // The thread ended without a word: not even its panic could be told.
            stopped(Some(Failure::Internal("the client ended unexpectedly".to_owned())))
        });
        self.stopped = matches!(event, Event::Stopped(_));
        Some(event)
    }
}

/// A client that its owner runs: see [`prepare`].
pub struct Prepared {
    driver: Driver,
    events: mpsc::Sender<Event>,
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
        let failure = driver.run().await;
        // Nobody listens any more where the front end ended first.
        let _nobody_listens = events.send(stopped(failure)).await;
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
    let driver = Driver::new(config, to_do, events.clone())?;
    Ok((Client { requests }, Events { events: happened, stopped: false }, Prepared { driver, events }))
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
        let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| runtime.block_on(driver.run())));
        let failure = match outcome {
            Ok(failure) => failure,
            Err(panic) => Some(Failure::Internal(panic_message(panic.as_ref()).to_owned())),
        };
        // Files under way hold threads of the runtime; they have been told to end.
        runtime.shutdown_background();
        let last = stopped(failure);
        log::event(&last);
        let _nobody_listens = events.blocking_send(last);
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

fn panic_message(panic: &(dyn core::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a defect without a message")
}
