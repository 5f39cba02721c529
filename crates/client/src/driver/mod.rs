//! The driver: gives the engine time, bytes and files, and does what it asks.
//!
//! One task, no channel between the engine and UDP. Each turn of the loop: send what the engine has
//! to send, do its effects, hand on its events, then sleep until something comes or its next
//! timeout. No rule of the protocol stands here.

mod alarm;
mod bell;
mod clock;
pub(crate) mod log;
mod lookout;
mod network;
mod profile;
mod recall;
mod sleep;
mod source;
mod tcp;
mod udp;
pub(crate) mod waiting;
mod watch;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use p2pchat_engine::event::{BrokerState, Ready};
use p2pchat_engine::{Command, CommandId, Effect, Engine, EngineConfig, Event, Failure, Now, TransferNumber};
use p2pchat_proto::{BrokerKey, Moment, Name, PeerId, TransferId, UdpEndpoints};
use p2pchat_session::Transmit;
use p2pchat_transfer::CarrierEvent;
use rand::Rng;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TryRecvError;

use crate::config::Config;
use crate::endpoints::{addresses, announced, check_announced};
use crate::files::{FileConfig, FileDriver, open_source};
use crate::random::system_rng;
use crate::request::Request;
use crate::store::{Answer, Store};
use alarm::Alarm;
use bell::Bell;
use clock::Clock;
use network::NetworkNews;
use profile::{Conversations, Profile};
use sleep::Woken;
use tcp::{BrokerConnection, Report};
use udp::{Batch, Sent, Sockets};
use waiting::{Waiting, turn_of_others};

/// Reports of file transfers that may wait for the driver.
const CARRIER_QUEUE: usize = 256;
/// Requests that are taken before the network has its turn again.
const REQUESTS_AT_ONCE: usize = 32;
/// Least time between two looks at this machine's addresses where the system says nothing of a change:
/// less than it takes to answer a request.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often what is older than it is kept is removed. Each time costs a page for every conversation that has
/// a limit, and the compaction of the file where something goes.
const SWEEP_EVERY: Duration = Duration::from_secs(600);
/// Longest that the end of the client waits for the other sides to hear of it: a few round trips.
const FAREWELL: Duration = Duration::from_millis(600);

/// See the module.
pub(crate) struct Driver {
    thread: Thread,
    engine: Engine,
    clock: Clock,
    /// When this turn began; clocks are read a few times a turn, not for each thing in it.
    now: Now,
    /// Fires at the next timeout or before it.
    alarm: Alarm,
    profile: Profile,
    sockets: Sockets,
    network: NetworkNews,
    advertise: Vec<SocketAddr>,
    /// Whether the link to the broker runs over loopback.
    over_loopback: bool,
    /// When this machine's addresses are worth another look.
    look_at: Moment,
    broker: BrokerConnection,
    broker_address: String,
    /// The broker's key that the user gave, until it is proven and kept.
    broker_given: Option<BrokerKey>,
    store: Store,
    /// When what is kept is looked through for what is too old.
    sweep_at: Moment,
    /// How long messages wait before they are given up.
    expire: Option<Duration>,
    /// Why nothing more can be kept, so that the client ends.
    broken: Option<Failure>,
    files: FileDriver,
    carriers: mpsc::Receiver<(TransferId, CarrierEvent)>,
    requests: mpsc::Receiver<(CommandId, Request)>,
    waiting: Waiting,
    /// Messages that were asked for; they are said before anything is sent.
    messages: Vec<(CommandId, PeerId, String)>,
    /// Counts turns.
    turn: usize,
    /// Of what seldom has something.
    bell: Bell,
    unsent: Option<Transmit>,
    transmit: Vec<u8>,
    batch: Batch,
    stopping: bool,
}

/// Where the driver runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Thread {
    /// Where no front end is.
    OfItsOwn,
    /// Where a front end may be.
    Shared,
}

impl Driver {
    /// Binds the sockets. Runs inside a runtime's context.
    pub(crate) fn new(
        config: Config,
        thread: Thread,
        requests: mpsc::Receiver<(CommandId, Request)>,
        waiting: Waiting,
    ) -> Result<Self, Failure> {
        let mut profile = Profile::load(config.home, config.identity.clone())?;
        let sockets = Sockets::bind(&config.bind, profile.last_port())?;
        profile.keep_port(&sockets);
        check_announced(&config.advertise)?;
        check_announced(&config.advertise_tcp)?;
        let (contacts, damage) = profile.contacts();
        let mut seed = [0; 32];
        system_rng()?.fill_bytes(&mut seed);
        let clock = Clock::start();
        let (peer, name) = (config.identity.peer_id(), config.name);
        let broker_key = profile.broker_key(&config.broker);
        let known = profile.known(broker_key);
        let engine = EngineConfig {
            me: config.identity,
            name: name.clone(),
            broker: config.broker.host_port.clone(),
            broker_key,
            pins: profile.pins(),
            contacts,
            accept: config.accept,
            accept_files: config.accept_files,
            files_from_connected: config.files_from_connected,
            read_receipts: config.read_receipts,
            expire: config.expire,
            ports: sockets.ports(),
            loopback_only: sockets.loopback_only(),
        };
        let (carrier, carriers) = mpsc::channel(CARRIER_QUEUE);
        let files = FileDriver::new(
            FileConfig {
                bind_tcp: config.bind_tcp,
                advertise_tcp: config.advertise_tcp,
                download_dir: config.download_dir,
            },
            carrier,
        );
        let (mut engine, store, unread) = match profile.conversations(clock.now().wall)? {
            Some(Conversations { book, kept, unread }) => {
                let engine = Engine::resume(engine, seed, kept, clock.now());
                (engine, Store::of(book)?, unread)
            }
            None => (Engine::new(engine, seed, clock.now()), Store::in_memory(), Vec::new()),
        };
        profile.remind(&mut engine, config.require_verified, clock.now());
        let mut driver = Self {
            thread,
            engine,
            clock,
            now: clock.now(),
            alarm: Alarm::new(),
            profile,
            sockets,
            network: NetworkNews::listen(),
            advertise: config.advertise,
            over_loopback: false,
            look_at: Moment::ZERO,
            broker: BrokerConnection::default(),
            broker_given: config.broker.key,
            broker_address: config.broker.host_port,
            store,
            sweep_at: clock.now().moment + SWEEP_EVERY,
            expire: config.expire,
            broken: None,
            files,
            carriers,
            requests,
            waiting,
            messages: Vec::new(),
            turn: 0,
            bell: Bell::new(),
            unsent: None,
            transmit: Vec::new(),
            batch: Batch::new(),
            stopping: false,
        };
        driver.announce_ready(peer, name, known);
        unread.into_iter().for_each(|message| driver.say(Event::Message(message)));
        damage.into_iter().for_each(|failure| driver.say(Event::Error(failure)));
        Ok(driver)
    }

    fn announce_ready(&mut self, peer: PeerId, name: Name, known: Vec<(PeerId, Name)>) {
        let [udp, udp6] = [&self.sockets.v4, &self.sockets.v6].map(|udp| udp.as_ref().map(udp::Udp::local));
        self.say(Event::Ready(Ready { peer, name, udp, udp6, control: None, known }));
    }

    fn say(&mut self, event: Event) {
        log::event(&event);
        self.waiting.push(event);
    }

    /// What the engine has to say goes on as it is.
    fn say_all(&mut self) -> impl Iterator<Item = &Event> {
        let engine = &mut self.engine;
        let new = self.waiting.extend(|seen| engine.take_events(seen));
        new.inspect(|event| log::event(event))
    }

    /// Runs until a front end wants the end or none is left; why it ended, where nobody wanted it.
    pub(crate) async fn run(mut self) -> Option<Failure> {
        self.now = self.clock.now();
        loop {
            if self.settle() && self.thread == Thread::Shared {
                // A front end on this thread answers now, and what it says leaves in the same packets.
                turn_of_others().await;
                self.now = self.clock.now();
            }
            self.take_requests();
            self.settle();
            self.transmit();
            if self.stopping {
                self.finish().await;
                return self.broken;
            }
            let woken = self.sleep().await;
            self.wake(woken);
        }
    }

    /// Moves everything out of the engine that it has to give, but for datagrams; whether a front
    /// end got something.
    fn settle(&mut self) -> bool {
        loop {
            while let Some(effect) = self.engine.poll_effect() {
                if let Err(failure) = self.perform(effect) {
                    self.say(Event::Error(failure));
                }
            }
            let Some(answer) = self.store.answer() else { break };
            self.store_says(answer);
        }
        self.take_events();
        let handed_on = self.waiting.hand_on();
        self.engine.withhold_credit(self.waiting.is_much());
        self.stopping |= self.waiting.is_unread();
        handed_on
    }

    fn take_events(&mut self) {
        let proven =
            |event: &Event| matches!(event, Event::Broker(broker) if broker.state == BrokerState::Connected);
        if self.say_all().filter(|event| proven(event)).count() > 0
            && let Some(key) = self.broker_given.take()
            && let Err(failure) = self.profile.pin_broker(&self.broker_address, key)
        {
            self.say(Event::Error(failure));
        }
    }

    /// Does what front ends have asked for until now, all of it before anything is sent, so that
    /// many messages share a packet.
    fn take_requests(&mut self) {
        for _ in 0..REQUESTS_AT_ONCE {
            if self.stopping {
                break;
            }
            match self.requests.try_recv() {
                Ok((id, request)) => self.take_request(id, request),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => self.stopping = true,
            }
        }
        self.say_messages();
    }

    /// Messages that are asked for in a row are stored and sent together.
    fn take_request(&mut self, id: CommandId, request: Request) {
        if let Request::Engine(Command::Message { to, text }) = request {
            self.messages.push((id, to, text));
        } else {
            self.say_messages();
            self.request(id, request);
        }
    }

    fn say_messages(&mut self) {
        if !self.messages.is_empty() {
            self.engine.say_all(self.messages.drain(..), self.now);
        }
    }

    fn wake(&mut self, woken: Woken) {
        self.now = self.clock.now();
        let now = self.now;
        match woken {
            Woken::Request(Some((id, request))) => self.take_request(id, request),
            Woken::Request(None) => self.stopping = true,
            Woken::Broker(Report::Opened { to, .. }) => {
                self.over_loopback = to.ip().to_canonical().is_loopback();
                self.files.set_over_loopback(self.over_loopback);
                self.engine.broker_opened(self.endpoints(), self.over_loopback, now);
            }
            Woken::Broker(Report::Bytes(bytes)) => {
                self.look_at_endpoints();
                self.engine.broker_received(&bytes, now);
            }
            Woken::Broker(Report::Closed(reason)) => self.engine.broker_closed(reason, now),
            Woken::Carrier(report) => {
                if let Some((transfer, event)) = report {
                    self.engine.carrier_event(transfer, event, now);
                }
            }
            Woken::Store(answer) => self.store_says(answer),
            Woken::Udp => self.receive(),
            Woken::Answer => take(&mut self.engine, &mut self.batch, now),
            Woken::Writable | Woken::Read => {}
            Woken::Timeout => {
                if now.moment >= self.sweep_at {
                    self.sweep();
                }
                self.engine.handle_timeout(now);
            }
            Woken::Network => {
                self.engine.announce(self.endpoints());
                if let Some(here) = addresses() {
                    if self.broker.leave_behind(&here) {
                        let reason = "this machine has another address".to_owned();
                        self.engine.broker_closed(reason, now);
                    }
                    self.engine.addresses_changed(&here, now);
                }
            }
        }
    }

    /// Where others may reach this machine at present.
    fn endpoints(&self) -> UdpEndpoints {
        let bound: Vec<SocketAddr> = self.sockets.iter().map(udp::Udp::local).collect();
        UdpEndpoints::new(announced(&bound, &self.advertise, self.over_loopback))
    }

    /// Says them before something may come of it: not every system tells when they change.
    fn look_at_endpoints(&mut self) {
        if self.now.moment >= self.look_at {
            self.look_at = self.now.moment + LOOK_EVERY;
            self.engine.announce(self.endpoints());
        }
    }

    fn request(&mut self, id: CommandId, request: Request) {
        let now = self.now;
        match request {
            Request::Engine(command) => {
                self.look_at_endpoints();
                self.engine.handle_command(id, command, now);
                self.keep_decision(id);
            }
            Request::SendFile { to, path } => self.send_file(id, to, &path),
            Request::SaveFile { transfer, dir } => self.save_file(id, transfer, dir),
            Request::Recall(question) => self.store.recall(id, question),
            Request::Decide(decision) => self.decide(id, &decision),
            Request::Stop => self.stopping = true,
        }
    }
}

/// Gives the engine what was received.
fn take(engine: &mut Engine, batch: &mut Batch, now: Now) {
    engine.handle_datagrams(
        batch.drain().inspect(|(received, bytes)| log::received(received, bytes.len())),
        now,
    );
}

/// Makes a directory for files where there is none.
fn usable(dir: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(dir).map_err(|error| Failure::Local {
        what: format!("save files in {}", dir.display()),
        reason: error.to_string(),
    })
}

impl Driver {
    fn perform(&mut self, effect: Effect) -> Result<(), Failure> {
        let now = self.now;
        match effect {
            Effect::DialBroker => {
                self.broker.dial(self.broker_address.clone());
                self.bell.ask();
            }
            Effect::ToBroker(bytes) => self.broker.send(bytes),
            Effect::CloseBroker => self.broker.close(),
            Effect::PinBroker(key) => self.profile.pin_broker(&self.broker_address, key)?,
            Effect::Pin(pin) => self.profile.pin(pin, now.wall)?,
            Effect::Repin { pin, instead_of } => self.profile.repin(pin, instead_of, now.wall)?,
            Effect::Follow { old, new } => self.profile.follow(old, new, now.wall)?,
            Effect::Mark(mark) => self.profile.mark(mark)?,
            Effect::Stand(standing) => self.profile.stand(standing)?,
            Effect::KeepContact(contact) => self.profile.keep_contact(&contact)?,
            Effect::Commit { batch, writes } => self.store.commit(batch, writes),
            Effect::Load { query, peer } => self.store.load(query, peer),
            Effect::StartCarrier(spec) => self.files.start(spec),
            Effect::DialCarrier { transfer, attempt, list } => {
                self.files.candidates(transfer, attempt, &list)
            }
            Effect::Publish { transfer, hash } => self.files.publish(transfer, hash),
            Effect::StopCarrier { transfer } => self.files.stop(transfer),
        }
        Ok(())
    }

    fn store_says(&mut self, answer: Answer) {
        match answer {
            Answer::Committed(batch) => self.engine.committed(batch, self.now),
            Answer::Loaded(query, rows) => self.engine.loaded(query, rows, self.now),
            Answer::Recalled(id, answer) => self.recalled(id, answer),
            Answer::Trouble(failure) => self.say(Event::Error(failure)),
            Answer::Recovered => {
                tracing::info!("the store takes writes again");
                self.keep_again();
            }
            Answer::Broken(failure) => {
                self.broken = Some(failure);
                self.stopping = true;
            }
        }
    }

    fn send_file(&mut self, id: CommandId, to: PeerId, path: &Path) {
        let now = self.clock.now();
        match open_source(path) {
            Ok((source, open)) => {
                if let Some(transfer) = self.engine.offer_file(id, to, source, now) {
                    self.files.attach(transfer, open);
                }
            }
            Err(failure) => self.say(Event::Failed { id, failure }),
        }
    }

    fn save_file(&mut self, id: CommandId, number: TransferNumber, dir: Option<PathBuf>) {
        if let (Some(dir), Some(transfer)) = (dir, self.engine.transfer_of(number)) {
            // Found out now, the offer stays open for another place.
            if let Err(failure) = usable(&dir) {
                self.say(Event::Failed { id, failure });
                return;
            }
            self.files.save_in(transfer, dir);
        }
        self.engine.handle_command(id, Command::AcceptFile { transfer: number }, self.clock.now());
    }

    fn receive(&mut self) {
        let now = self.now;
        for udp in self.sockets.iter() {
            if udp.receive(&mut self.batch) {
                take(&mut self.engine, &mut self.batch, now);
            }
        }
    }

    /// Hands datagrams to the system until the engine has none left or the system takes no more.
    fn transmit(&mut self) {
        let now = self.now;
        let segments = self.sockets.max_segments();
        loop {
            if self.unsent.is_none() {
                self.transmit.clear();
                self.unsent = self.engine.poll_transmit(now, segments, &mut self.transmit);
            }
            let Some(transmit) = &self.unsent else { return };
            log::sent(transmit, self.transmit.len());
            // An address family without a socket, and a datagram that the system refuses, are lost
            // like any other datagram: the session sends again or gives up in its time.
            let sent = self.sockets.towards(transmit.to).map(|udp| udp.send(transmit, &self.transmit));
            match sent {
                Some(Sent::Full) => return,
                Some(Sent::TooLarge) => {
                    let size = transmit.segment_size.unwrap_or(self.transmit.len());
                    self.engine.datagram_too_large(transmit.to, size, now);
                }
                Some(Sent::FromElsewhere(gone)) => self.engine.local_ip_gone(gone, now),
                Some(Sent::Yes | Sent::Lost) | None => {}
            }
            self.unsent = None;
        }
    }

    /// Ends sessions and the link in order, within twice [`FAREWELL`].
    async fn finish(&mut self) {
        // What was said last still goes out, once it is kept.
        self.turn_until(|this| !this.store.is_writing()).await;
        self.now = self.clock.now();
        self.engine.stop(self.now);
        self.settle();
        self.transmit();
        self.turn_until(|this| this.engine.is_idle()).await;
        // What was said until now is kept, also where nobody waits for it any more.
        for answer in self.store.finish().await {
            self.store_says(answer);
        }
        self.keep_again();
        self.settle();
        self.broker.finish(FAREWELL).await;
        self.files.close().await;
    }

    async fn turn_until(&mut self, enough: impl Fn(&Self) -> bool) {
        let deadline = self.clock.now().moment + FAREWELL;
        while !enough(self) && self.clock.now().moment < deadline {
            let left = deadline.saturating_since(self.clock.now().moment);
            let Ok(woken) = tokio::time::timeout(left, self.sleep()).await else { break };
            self.wake(woken);
            self.settle();
            self.transmit();
        }
    }
}
