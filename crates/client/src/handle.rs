//! The two ends of a running client: [`Client`] takes requests, [`Events`] gives what happens.
//!
//! Every front end comes in here, so a control socket is one more holder of a [`Client`].

use core::fmt;
use core::future::poll_fn;
use std::thread;

use p2pchat_engine::event::Stopped;
use p2pchat_engine::{CommandId, Event, Failure};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::task::JoinError;

use crate::beside::both;
use crate::config::Config;
use crate::driver::waiting::{self, LastWord, Reader};
use crate::driver::{Driver, Thread, log};
use crate::request::Request;

/// Requests that may wait for the driver.
const REQUEST_QUEUE: usize = 256;

/// Takes requests. Clones speak to the same client.
#[derive(Debug, Clone)]
pub struct Client {
    requests: mpsc::Sender<(CommandId, Request)>,
}

/// What happens, in order.
#[derive(Debug)]
pub struct Events {
    reader: Reader,
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
    #[expect(clippy::should_implement_trait, reason = "it has to be waited for")]
    pub fn next(&mut self) -> impl Future<Output = Option<Event>> {
        poll_fn(|context| self.reader.poll_next(context))
    }
}

/// A client that its owner runs: see [`prepare`].
pub struct Prepared {
    driver: Driver,
    last: LastWord,
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared").finish_non_exhaustive()
    }
}

impl Prepared {
    /// Runs the client to its end. Dropped before, its other sides hear nothing of it.
    pub async fn run(self) {
        let Self { driver, last } = self;
        let event = stopped(driver.run().await);
        log::event(&event);
        last.say(event);
    }

    /// Runs the client and `work`, a front end, to the ends of both, as one task in which each has its turn as
    /// soon as the other has something for it. The client ends when [`Client`] and [`Events`] are dropped.
    pub async fn beside<T>(self, work: impl Future<Output = T>) -> T {
        both(self.run(), work).await.1
    }
}

/// Makes a client that runs where its owner lets it run: beside a front end on one thread, so that
/// no message has to change threads. To be called inside a tokio runtime.
///
/// # Errors
/// If a port cannot be bound or the system refuses what every client needs.
pub fn prepare(config: Config) -> Result<(Client, Events, Prepared), Failure> {
    prepare_on(Thread::Shared, config)
}

fn prepare_on(thread: Thread, config: Config) -> Result<(Client, Events, Prepared), Failure> {
    let (requests, to_do) = mpsc::channel(REQUEST_QUEUE);
    // Not even a panic of the client can be told where it ended without a word.
    let silent = Failure::Internal("the client ended unexpectedly".to_owned());
    let (waiting, last, reader) = waiting::queue(stopped(Some(silent)));
    let driver = Driver::new(config, thread, to_do, waiting)?;
    Ok((Client { requests }, Events { reader }, Prepared { driver, last }))
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
    let (client, happened, Prepared { driver, last }) = {
        let _entered = runtime.enter();
        prepare_on(Thread::OfItsOwn, config)?
    };
    let run = move || {
        // As a task of its own, which wakes itself without a call to the system.
        let task = runtime.spawn(driver.run());
        let failure =
            runtime.block_on(task).unwrap_or_else(|ended| Some(Failure::Internal(message_of(ended))));
        // Files under way hold threads of the runtime; they have been told to end.
        runtime.shutdown_background();
        let event = stopped(failure);
        log::event(&event);
        last.say(event);
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
