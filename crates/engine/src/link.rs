//! The client's side of the broker link: dial, prove, register, stay.
//!
//! ```text
//! Waiting ──► Dialing ──► Shaking ──► Greeting ──► Registering ──► Ready
//!    ▲            │           │            │             │            │
//!    └────────────┴───────────┴── lost ────┴─────────────┴────────────┘     (backoff)
//!                             └── refused for good ──► Closed
//! ```
//!
//! The driver dials and moves bytes; every rule is here: the broker's key is compared before the
//! login is signed, the login is bound to this link, a broker that falls silent is given up, and
//! one that refuses for good is not tried again.

use core::time::Duration;
use std::collections::VecDeque;
use std::sync::Arc;

use p2pchat_crypto::Identity;
use p2pchat_crypto::link::{ClientHandshake, LinkOpener, LinkSealer, frame, hello};
use p2pchat_proto::broker::{
    Bye, Call, FEATURE_HELD_BACK, FEATURE_STANDING, FromBroker, Hello, LinkError, Outcome, Ping, RefusedCode,
    Register, ToBroker, Unsupported,
};
use p2pchat_proto::limits::PROTOCOL_VERSION;
use p2pchat_proto::{BrokerKey, Moment, Name, WallTime};
use rand::{CryptoRng, RngExt};

use crate::failure::Failure;
use crate::now::Now;
use crate::records::Records;

/// How long connecting, handshake and login may take (protocol section 2).
const LOGIN_TIMEOUT: Duration = Duration::from_secs(5);
/// Heartbeat (protocol section 12).
const PING_EVERY: Duration = Duration::from_secs(15);
/// Silence after which the link counts as dead (protocol section 12).
const DEAD_AFTER: Duration = Duration::from_secs(40);
/// First wait before another try; doubles with each failure.
const BACKOFF_FIRST: Duration = Duration::from_millis(500);
/// Longest wait before another try.
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// Most messages that are kept from the login until the name is registered: as many as there are
/// requests that may wait for one user; of a link record each at most.
const EARLY_MAX: usize = 64;
/// What the link wants of its owner.
#[derive(Debug)]
pub(crate) enum LinkOutput {
    /// Open a TCP connection to the broker, closing any other.
    Dial,
    /// Bytes for the connection.
    Send(Vec<u8>),
    /// Close the connection.
    Close,
    /// A first contact: the broker's key, to be kept.
    Pin(BrokerKey),
    /// Something for the user.
    State(LinkState),
    /// A message that is not the link's own business, with the call that it answers.
    Message(Call, FromBroker),
}

/// How the link is, as the user sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LinkState {
    /// A try begins.
    Connecting,
    /// The name is registered.
    Ready,
    /// A try or a link failed; another one follows.
    Lost(Failure),
    /// It will not be tried again.
    Refused(Failure),
}

enum State {
    Waiting { until: Moment },
    Dialing { deadline: Moment },
    Shaking { handshake: Box<ClientHandshake>, deadline: Moment },
    Greeting { channel: Channel, deadline: Moment },
    Registering { channel: Channel, call: Call, deadline: Moment, early: Vec<(Call, FromBroker)> },
    Ready { channel: Channel },
    Closed,
}

struct Channel {
    sealer: LinkSealer,
    opener: LinkOpener,
    heard: Moment,
    ping_at: Moment,
}

/// The link; see the module.
pub(crate) struct Link {
    me: Arc<Identity>,
    name: Name,
    address: String,
    pinned: Option<BrokerKey>,
    key: Option<BrokerKey>,
    state: State,
    records: Records,
    failures: u32,
    /// To be held back by the broker at the next login, until a profile is said.
    hold_back: bool,
    /// What was said of that at the last one.
    held_back: bool,
    /// Whether the broker of the last login takes profiles.
    takes_profiles: bool,
    next_call: Call,
    /// What the broker's clock showed at the login, and when that was.
    brokers_clock: Option<(WallTime, Moment)>,
    outputs: VecDeque<LinkOutput>,
}

impl Link {
    pub(crate) fn new(
        me: Arc<Identity>,
        name: Name,
        address: String,
        pinned: Option<BrokerKey>,
        now: Now,
    ) -> Self {
        Self {
            me,
            name,
            address,
            pinned,
            key: None,
            state: State::Waiting { until: now.moment },
            records: Records::default(),
            failures: 0,
            hold_back: false,
            held_back: false,
            takes_profiles: false,
            next_call: 1,
            brokers_clock: None,
            outputs: VecDeque::new(),
        }
    }

    /// `host:port`.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// The broker's key, once it was proven on this or an earlier link.
    pub(crate) fn key(&self) -> Option<BrokerKey> {
        self.key
    }

    /// Whether the name is registered and calls can be made.
    pub(crate) fn is_ready(&self) -> bool {
        matches!(self.state, State::Ready { .. })
    }

    /// Whether the broker is to show this user to nobody, from the next login on until a profile is said.
    pub(crate) fn hold_back(&mut self, hold_back: bool) {
        self.hold_back = hold_back;
    }

    /// Whether the broker was asked for that at the last login.
    pub(crate) fn is_held_back(&self) -> bool {
        self.held_back
    }

    /// Whether the broker of the last login takes profiles.
    pub(crate) fn takes_profiles(&self) -> bool {
        self.takes_profiles
    }

    /// Whether the link was refused for good or ended by the user.
    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// What the broker's clock shows. Since the login it is this machine's monotonic clock that
    /// counts: somebody may have set the other one.
    pub(crate) fn brokers_time(&self, now: Now) -> WallTime {
        let Some((wall, at)) = self.brokers_clock else { return now.wall };
        let passed = now.moment.saturating_since(at).as_millis();
        wall.shifted(i64::try_from(passed).unwrap_or(i64::MAX))
    }

    /// By how many milliseconds this machine's clock is ahead of the broker's.
    pub(crate) fn clock_ahead_ms(&self, now: Now) -> i64 {
        let ms = |wall: WallTime| i64::try_from(wall.0).unwrap_or(i64::MAX);
        ms(now.wall).saturating_sub(ms(self.brokers_time(now)))
    }

    pub(crate) fn has_output(&self) -> bool {
        !self.outputs.is_empty()
    }

    pub(crate) fn poll_output(&mut self) -> Option<LinkOutput> {
        self.outputs.pop_front()
    }

    pub(crate) fn poll_timeout(&self) -> Moment {
        match &self.state {
            State::Waiting { until } => *until,
            State::Dialing { deadline }
            | State::Shaking { deadline, .. }
            | State::Greeting { deadline, .. }
            | State::Registering { deadline, .. } => *deadline,
            State::Ready { channel } => channel.ping_at.min(channel.heard + DEAD_AFTER),
            State::Closed => Moment::NEVER,
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Now, rng: &mut dyn CryptoRng) {
        if !now.reached(self.poll_timeout()) {
            return;
        }
        match &mut self.state {
            State::Waiting { .. } => {
                self.state = State::Dialing { deadline: now.after(LOGIN_TIMEOUT) };
                self.outputs.push_back(LinkOutput::State(LinkState::Connecting));
                self.outputs.push_back(LinkOutput::Dial);
            }
            State::Dialing { .. } => self.fail(Fault::Silent("no connection within 5 s"), now, rng),
            State::Shaking { .. } | State::Greeting { .. } | State::Registering { .. } => {
                self.fail(Fault::Silent("no answer to the login within 5 s"), now, rng);
            }
            State::Ready { channel } if now.reached(channel.heard + DEAD_AFTER) => {
                self.fail(Fault::Silent("nothing heard for 40 s"), now, rng);
            }
            State::Ready { channel } => {
                channel.ping_at = now.after(PING_EVERY);
                let _call = self.call(Ping.into());
            }
            State::Closed => {}
        }
    }

    /// The TCP connection that was asked for is there.
    pub(crate) fn opened(&mut self, now: Now, rng: &mut dyn CryptoRng) {
        if !matches!(self.state, State::Dialing { .. }) {
            return;
        }
        let (handshake, first) = ClientHandshake::start(rng);
        self.records = Records::default();
        self.state = State::Shaking { handshake: Box::new(handshake), deadline: now.after(LOGIN_TIMEOUT) };
        self.outputs.push_back(LinkOutput::Send(frame(&first)));
    }

    /// The TCP connection ended or could not be made.
    pub(crate) fn closed(&mut self, reason: String, now: Now, rng: &mut dyn CryptoRng) {
        if matches!(self.state, State::Waiting { .. } | State::Closed) {
            return;
        }
        self.fail(Fault::Io(reason), now, rng);
    }

    /// Bytes came on the TCP connection.
    pub(crate) fn received(&mut self, bytes: &[u8], now: Now, rng: &mut dyn CryptoRng) {
        self.records.push(bytes);
        while let Some(record) = self.records.take() {
            if let Err(fault) = self.handle_record(record, now) {
                self.fail(fault, now, rng);
                return;
            }
        }
    }

    /// Makes a call; its number, or `None` where there is no link to make it on.
    pub(crate) fn call(&mut self, message: ToBroker) -> Option<Call> {
        let (State::Greeting { channel, .. } | State::Registering { channel, .. } | State::Ready { channel }) =
            &mut self.state
        else {
            return None;
        };
        let call = self.next_call;
        // 0 is the broker's own.
        self.next_call = self.next_call.checked_add(1).unwrap_or(1);
        let record = message.to_record(call).ok()?;
        let mut bytes = Vec::new();
        channel.sealer.seal(&record, &mut bytes).ok()?;
        self.outputs.push_back(LinkOutput::Send(bytes));
        Some(call)
    }

    /// Leaves on purpose and does not come back.
    pub(crate) fn leave(&mut self) {
        let _call = self.call(Bye.into());
        self.end();
    }

    fn end(&mut self) {
        if !matches!(self.state, State::Closed | State::Waiting { .. }) {
            self.outputs.push_back(LinkOutput::Close);
        }
        self.state = State::Closed;
    }

    fn handle_record(&mut self, mut record: Vec<u8>, now: Now) -> Result<(), Fault> {
        match core::mem::replace(&mut self.state, State::Closed) {
            State::Shaking { handshake, deadline } => self.shaken(*handshake, &record, deadline, now),
            State::Greeting { mut channel, deadline } => {
                channel.open(&mut record, now)?;
                self.state = State::Greeting { channel, deadline };
                self.greeted(&record, now)
            }
            State::Registering { mut channel, call, deadline, early } => {
                channel.open(&mut record, now)?;
                self.state = State::Registering { channel, call, deadline, early };
                self.handle_plaintext(&record)
            }
            State::Ready { mut channel } => {
                channel.open(&mut record, now)?;
                self.state = State::Ready { channel };
                self.handle_plaintext(&record)
            }
            other @ (State::Waiting { .. } | State::Dialing { .. } | State::Closed) => {
                self.state = other;
                Ok(())
            }
        }
    }

    fn shaken(
        &mut self,
        handshake: ClientHandshake,
        record: &[u8],
        deadline: Moment,
        now: Now,
    ) -> Result<(), Fault> {
        let (sealer, opener, proven) =
            handshake.finish(record).map_err(|_| Fault::Protocol("the handshake failed"))?;
        if let Some(pinned) = self.pinned
            && pinned != proven.key
        {
            return Err(Fault::KeyChanged { pinned, came: proven.key });
        }
        self.key = Some(proven.key);
        let heard = now.moment;
        let channel = Channel { sealer, opener, heard, ping_at: now.after(PING_EVERY) };
        self.state = State::Greeting { channel, deadline };
        let signature = hello(&self.me, &proven.hash, proven.key);
        let versions = vec![PROTOCOL_VERSION];
        self.held_back = self.hold_back;
        let features = FEATURE_STANDING | if self.held_back { FEATURE_HELD_BACK } else { 0 };
        let _call = self.call(Hello { versions, features, peer: self.me.peer_id(), signature }.into());
        Ok(())
    }

    fn greeted(&mut self, record: &[u8], now: Now) -> Result<(), Fault> {
        let (_call, message) = match FromBroker::from_record(record) {
            Ok(message) => message,
            Err(_) => return Err(Fault::Protocol("a malformed message")),
        };
        let FromBroker::Welcome(welcome) = message else {
            return self.handle_message(0, message);
        };
        if welcome.version != PROTOCOL_VERSION {
            return Err(Fault::Protocol("a version that was not offered"));
        }
        self.brokers_clock = Some((welcome.now, now.moment));
        self.takes_profiles = welcome.features & FEATURE_STANDING != 0;
        if self.pinned.is_none()
            && let Some(key) = self.key
        {
            self.pinned = Some(key);
            self.outputs.push_back(LinkOutput::Pin(key));
        }
        let call = self.call(Register { name: self.name.clone(), token: None }.into());
        let State::Greeting { channel, deadline } = core::mem::replace(&mut self.state, State::Closed) else {
            return Ok(());
        };
        self.state = match call {
            Some(call) => State::Registering { channel, call, deadline, early: Vec::new() },
            None => return Err(Fault::Protocol("the link is used up")),
        };
        Ok(())
    }

    fn handle_plaintext(&mut self, record: &[u8]) -> Result<(), Fault> {
        match FromBroker::from_record(record) {
            Ok((call, message)) => self.handle_message(call, message),
            Err(LinkError::UnknownKind { kind, .. }) => {
                let _call = self.call(Unsupported { kind }.into());
                Ok(())
            }
            Err(LinkError::Short | LinkError::Body(_)) => Err(Fault::Protocol("a malformed message")),
        }
    }

    fn handle_message(&mut self, call: Call, message: FromBroker) -> Result<(), Fault> {
        match message {
            FromBroker::Refused(refused) => Err(Fault::Refused(refused.code, refused.retry_after)),
            FromBroker::Replaced(_) => Err(Fault::Replaced),
            FromBroker::Restarting(restarting) => {
                Err(Fault::Restarting(Duration::from_millis(u64::from(restarting.reconnect_in))))
            }
            FromBroker::Reply(reply) if self.registering() == Some(call) => self.registered(reply.outcome),
            FromBroker::Welcome(_) | FromBroker::Pong(_) => Ok(()),
            FromBroker::Reply(_)
            | FromBroker::PresenceSnapshot(_)
            | FromBroker::PresenceDelta(_)
            | FromBroker::Incoming(_)
            | FromBroker::Answered(_)
            | FromBroker::Endpoints(_)
            | FromBroker::Cancelled(_)
            | FromBroker::Succeeded(_)
            | FromBroker::Unsupported(_) => {
                if self.is_ready() {
                    self.outputs.push_back(LinkOutput::Message(call, message));
                } else if let State::Registering { early, .. } = &mut self.state
                    && early.len() < EARLY_MAX
                {
                    // Whoever knows this user's key can ask from the login on.
                    early.push((call, message));
                }
                Ok(())
            }
        }
    }

    fn registering(&self) -> Option<Call> {
        match self.state {
            State::Registering { call, .. } => Some(call),
            State::Waiting { .. }
            | State::Dialing { .. }
            | State::Shaking { .. }
            | State::Greeting { .. }
            | State::Ready { .. }
            | State::Closed => None,
        }
    }

    fn registered(&mut self, outcome: Outcome) -> Result<(), Fault> {
        match outcome {
            Outcome::Done => {}
            Outcome::NameTaken => return Err(Fault::NameTaken),
            Outcome::NameHeld(name) => return Err(Fault::NameHeld(name)),
            Outcome::RateLimited(seconds) => return Err(Fault::Refused(RefusedCode::RateLimited, seconds)),
            Outcome::Unavailable => return Err(Fault::Protocol("the broker could not store the name")),
            Outcome::Page { .. }
            | Outcome::Unknown
            | Outcome::NotOnline
            | Outcome::BoundTo(_)
            | Outcome::NoSuchRequest => return Err(Fault::Protocol("an answer that does not fit")),
        }
        if let State::Registering { channel, early, .. } = core::mem::replace(&mut self.state, State::Closed)
        {
            self.state = State::Ready { channel };
            self.failures = 0;
            self.outputs.push_back(LinkOutput::State(LinkState::Ready));
            self.outputs.extend(early.into_iter().map(|(call, message)| LinkOutput::Message(call, message)));
        }
        Ok(())
    }

    fn fail(&mut self, fault: Fault, now: Now, rng: &mut dyn CryptoRng) {
        self.end();
        self.records = Records::default();
        let wait = match &fault {
            Fault::Restarting(wait) => *wait,
            Fault::Refused(_, seconds) if *seconds > 0 => Duration::from_secs(u64::from(*seconds)),
            Fault::Refused(..) | Fault::Io(_) | Fault::Silent(_) | Fault::Protocol(_) => self.backoff(rng),
            Fault::KeyChanged { .. } | Fault::NameTaken | Fault::NameHeld(_) | Fault::Replaced => {
                Duration::MAX
            }
        };
        let state = if wait == Duration::MAX || fault.is_final() {
            LinkState::Refused(self.failure(fault))
        } else {
            self.failures = self.failures.saturating_add(1);
            self.state = State::Waiting { until: now.after(wait) };
            LinkState::Lost(self.failure(fault))
        };
        self.outputs.push_back(LinkOutput::State(state));
    }

    /// Doubles with each failure, with up to a quarter of jitter so that a restarted broker is not
    /// met by everybody at once.
    fn backoff(&self, rng: &mut dyn CryptoRng) -> Duration {
        let doubled = BACKOFF_FIRST.saturating_mul(1 << self.failures.min(6)).min(BACKOFF_MAX);
        doubled + doubled.mul_f64(rng.random_range(0.0..0.25))
    }

    fn failure(&self, fault: Fault) -> Failure {
        let address = self.address.clone();
        match fault {
            Fault::Io(reason) => Failure::BrokerUnreachable { address, reason },
            Fault::Silent(reason) => Failure::BrokerUnreachable { address, reason: reason.to_owned() },
            Fault::Protocol(reason) => Failure::BrokerRefused { address, reason: reason.to_owned() },
            Fault::Refused(code, _) => {
                Failure::BrokerRefused { address, reason: refused_reason(code).to_owned() }
            }
            Fault::Restarting(_) => Failure::BrokerUnreachable { address, reason: "it restarts".to_owned() },
            Fault::KeyChanged { pinned, came } => Failure::BrokerKeyChanged { address, pinned, came },
            Fault::NameTaken => Failure::NameTaken { name: self.name.clone() },
            Fault::NameHeld(name) => Failure::NameHeld { name },
            Fault::Replaced => Failure::Replaced,
        }
    }
}

impl Channel {
    fn open(&mut self, record: &mut Vec<u8>, now: Now) -> Result<(), Fault> {
        self.opener.open(record).map_err(|_| Fault::Protocol("a record that does not open"))?;
        self.heard = now.moment;
        Ok(())
    }
}

/// Why a link or a try to make one ended.
#[derive(Debug)]
enum Fault {
    Io(String),
    Silent(&'static str),
    Protocol(&'static str),
    Refused(RefusedCode, u32),
    Restarting(Duration),
    KeyChanged { pinned: BrokerKey, came: BrokerKey },
    NameTaken,
    NameHeld(Name),
    Replaced,
}

impl Fault {
    /// Whether another try would meet the same answer.
    fn is_final(&self) -> bool {
        match self {
            Self::KeyChanged { .. } | Self::NameTaken | Self::NameHeld(_) | Self::Replaced => true,
            Self::Refused(RefusedCode::Version | RefusedCode::Signature, _) => true,
            Self::Refused(RefusedCode::Full | RefusedCode::RateLimited | RefusedCode::Protocol, _)
            | Self::Io(_)
            | Self::Silent(_)
            | Self::Protocol(_)
            | Self::Restarting(_) => false,
        }
    }
}

pub(crate) fn refused_reason(code: RefusedCode) -> &'static str {
    match code {
        RefusedCode::Version => "it speaks another version of the protocol",
        RefusedCode::Signature => "it did not take the login",
        RefusedCode::Full => "it has as many connections as it takes",
        RefusedCode::RateLimited => "too many tries from this address",
        RefusedCode::Protocol => "it did not understand a message",
    }
}
