//! The product's client as a library: two of them, each in a process of its own, introduced by a
//! real broker.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use p2pchat_client::command::Target;
use p2pchat_client::event::{BrokerState, Delivery, FileState, SessionState};
use p2pchat_client::profile::Home;
use p2pchat_client::{
    AcceptPolicy, Client, Command, CommandId, Config, Ended, Event, Events, Identity, Request,
};
use p2pchat_crypto::Seed;
use p2pchat_proto::PeerId;

use super::{IN_FLIGHT, MESSAGE_LEN, WARM_UP_SHARE, nanos_each, runtime};
use crate::role::say;
use crate::{Failure, Result};

const ECHO: &str = "echo";
const PING: &str = "ping";
const ENDED: &str = "the client ended";
/// A message that wants an answer, and one that wants none.
const ANSWER_ME: &str = "p234567890123456789012345678901234567890123456789012345678901234";
const KEEP_IT: &str = "k234567890123456789012345678901234567890123456789012345678901234";
const _: () = assert!(ANSWER_ME.len() == MESSAGE_LEN && KEEP_IT.len() == MESSAGE_LEN);
/// Longest that the asking side waits for an answer to its request.
const SESSION: Duration = Duration::from_secs(15);

/// On which thread the client runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Thread {
    /// One of its own, as in the program `p2pchat`.
    OfItsOwn,
    /// The front end's, for a program that answers by itself.
    Shared,
}

impl FromStr for Thread {
    type Err = ();

    fn from_str(word: &str) -> core::result::Result<Self, ()> {
        [Self::OfItsOwn, Self::Shared].into_iter().find(|thread| thread.word() == word).ok_or(())
    }
}

impl Thread {
    /// As an argument of a role.
    pub fn word(self) -> &'static str {
        match self {
            Self::OfItsOwn => "own",
            Self::Shared => "shared",
        }
    }
}

/// Says back whatever somebody says, and takes every file into `downloads`.
pub fn echo(thread: Thread, broker: &str, downloads: &str) -> Result {
    run(thread, config(ECHO, broker, Path::new(downloads))?, async |client, mut events| {
        let mut number = 0;
        while let Some(event) = events.next().await {
            match event {
                Event::Ready(ready) => say("udp", ready.udp.ok_or("no socket for IPv4")?)?,
                Event::Broker(broker) if broker.state == BrokerState::Connected => say("ready", ECHO)?,
                Event::Message(message) if !message.mine && &*message.text == ANSWER_ME => {
                    number += 1;
                    let back = Command::Message { to: message.peer, text: message.text.as_ref().to_owned() };
                    client.send(CommandId(number), back).await.map_err(ended)?;
                }
                _ => {}
            }
        }
        Ok(())
    })
}

/// Says how long it takes until an answer comes to a message, in nanoseconds.
pub fn ping(thread: Thread, broker: &str, count: usize) -> Result {
    run(thread, config(PING, broker, &std::env::temp_dir())?, async move |client, mut events| {
        let to = session(&client, &mut events).await?;
        round_trips(&client, &mut events, to, count / WARM_UP_SHARE).await?;
        let start = Instant::now();
        round_trips(&client, &mut events, to, count).await?;
        say("result", nanos_each(start, count))
    })
}

async fn round_trips(client: &Client, events: &mut Events, to: PeerId, count: usize) -> Result {
    for number in 0..count {
        send(client, number, to, ANSWER_ME).await?;
        until(events, |event| matches!(event, Event::Message(message) if !message.mine)).await?;
    }
    Ok(())
}

/// Says how many nanoseconds a message takes until the other side has stored it, with [`IN_FLIGHT`]
/// of them under way.
pub fn flood(thread: Thread, broker: &str, count: usize) -> Result {
    run(thread, config(PING, broker, &std::env::temp_dir())?, async move |client, mut events| {
        let to = session(&client, &mut events).await?;
        pour(&client, &mut events, to, count / WARM_UP_SHARE).await?;
        let start = Instant::now();
        pour(&client, &mut events, to, count).await?;
        say("result", nanos_each(start, count))
    })
}

async fn pour(client: &Client, events: &mut Events, to: PeerId, count: usize) -> Result {
    let (mut sent, mut stored) = (0, 0);
    while stored < count {
        while sent < count && sent < stored + IN_FLIGHT {
            sent += 1;
            send(client, sent, to, KEEP_IT).await?;
        }
        match events.next().await.ok_or(ENDED)? {
            Event::Receipt(receipt) if receipt.state == Delivery::Stored => stored += 1,
            Event::Failed { failure, .. } => return Err(failure.to_string().into()),
            _ => {}
        }
    }
    Ok(())
}

/// Sends a file and says how long it took until the other side had verified it, in nanoseconds.
pub fn give_file(thread: Thread, broker: &str, path: &str) -> Result {
    let path = PathBuf::from(path);
    run(thread, config(PING, broker, &std::env::temp_dir())?, async move |client, mut events| {
        let to = session(&client, &mut events).await?;
        let start = Instant::now();
        client.send(CommandId(9), Request::SendFile { to, path }).await.map_err(ended)?;
        loop {
            match events.next().await.ok_or(ENDED)? {
                Event::File(file) if file.state == FileState::Done => break,
                Event::File(file) if file.state.is_end() => return Err(format!("{file:?}").into()),
                Event::Failed { failure, .. } => return Err(failure.to_string().into()),
                _ => {}
            }
        }
        let result = start.elapsed().as_nanos();
        // What the owner asks this process about, it asks while it still runs.
        say("result", result)?;
        core::future::pending().await
    })
}

/// Runs `work` beside a client. Both are one task where they share a thread, so that each has its
/// turn after the other without a call to the system.
fn run<W, F>(thread: Thread, config: Config, work: W) -> Result
where
    W: FnOnce(Client, Events) -> F,
    F: Future<Output = Result> + Send + 'static,
{
    let runtime = runtime()?;
    let task = match thread {
        Thread::OfItsOwn => {
            let (client, events) = p2pchat_client::spawn(config).map_err(|failure| failure.to_string())?;
            runtime.spawn(work(client, events))
        }
        Thread::Shared => {
            let _entered = runtime.enter();
            let prepared = p2pchat_client::prepare(config).map_err(|failure| failure.to_string())?;
            let (client, events, prepared) = prepared;
            let work = work(client, events);
            runtime.spawn(prepared.beside(work))
        }
    };
    runtime.block_on(task)?
}

fn ended(_: Ended) -> Failure {
    ENDED.into()
}

async fn session(client: &Client, events: &mut Events) -> Result<PeerId> {
    let connected =
        |event: &Event| matches!(event, Event::Broker(broker) if broker.state == BrokerState::Connected);
    until(events, connected).await?;
    let connect = Command::Connect { to: Target::Name(ECHO.parse()?), wait: SESSION };
    client.send(CommandId(1), connect).await.map_err(ended)?;
    let up = |event: &Event| matches!(event, Event::Session(session) if session.state == SessionState::Up);
    match until(events, up).await? {
        Event::Session(session) => Ok(session.peer),
        other => Err(format!("{other:?}").into()),
    }
}

async fn send(client: &Client, number: usize, to: PeerId, text: &str) -> Result {
    let message = Command::Message { to, text: text.to_owned() };
    client.send(CommandId(number as u64), message).await.map_err(ended)
}

/// The next event that is looked for; what fails meanwhile is an error.
async fn until(events: &mut Events, wanted: impl Fn(&Event) -> bool) -> Result<Event> {
    loop {
        match events.next().await.ok_or(ENDED)? {
            event if wanted(&event) => return Ok(event),
            Event::Failed { failure, .. } | Event::Error(failure) => return Err(failure.to_string().into()),
            Event::Stopped(stopped) => return Err(format!("{stopped:?}").into()),
            _ => {}
        }
    }
}

fn config(name: &str, broker: &str, downloads: &Path) -> Result<Config> {
    let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let seed = name.bytes().cycle().take(32).collect::<Vec<_>>();
    let seed = seed.try_into().map_err(|_| "a seed of 32 bytes")?;
    Ok(Config {
        home: Home::nowhere(),
        identity: Arc::new(Identity::from_seed(&Seed::from_bytes(seed))),
        name: name.parse()?,
        broker: broker.parse().map_err(|_| "no address of a broker")?,
        bind: vec![loopback],
        advertise: Vec::new(),
        bind_tcp: vec![loopback],
        advertise_tcp: Vec::new(),
        accept: AcceptPolicy::Everyone,
        require_verified: false,
        accept_files: AcceptPolicy::Everyone,
        read_receipts: true,
        expire: None,
        files_from_connected: true,
        download_dir: downloads.to_owned(),
    })
}
