//! One session with keys: numbers, streams, recovery, and how it lives and ends.
//!
//! - [`receive`]: an opened packet and its frames.
//! - [`transmit`]: what goes into the next packet.
//! - [`recovery`], [`packets`], [`rtt`], [`reordering`]: RFC 9002.
//! - [`congestion`], [`pacing`], [`reserve`]: how much may be on its way, how fast it leaves, and what
//!   bulk leaves of both.
//! - [`acks`]: what the peer is told.
//! - [`streaming`]: the streams that either side opens.
//! - [`epochs`], [`rekey`]: the keys, and how they are renewed.
//! - [`path`], [`roaming`]: where the peer is, and how the session follows it there.
//! - [`confirmation`]: what happens before the first packet of the peer.
//! - [`timers`]: everything that a session waits for.
//!
//! Both sides begin *confirming*: the keys are there, and the first packet that opens under them
//! proves that the peer has them, too. The initiator repeats FIN until then. A session that is *up*
//! ends in one of three ways: this side closes it and repeats `Close` until the peer has answered
//! (*closing*); the peer closes it, and each of its repetitions is answered (*draining*); or the
//! peer falls silent.

pub(crate) mod acks;
pub(crate) mod confirmation;
pub(crate) mod congestion;
pub(crate) mod epochs;
pub(crate) mod hints;
pub(crate) mod mtu;
pub(crate) mod pacing;
pub(crate) mod packets;
pub(crate) mod path;
pub(crate) mod receive;
pub(crate) mod recovery;
mod rekey;
pub(crate) mod reordering;
pub(crate) mod reserve;
mod roaming;
pub(crate) mod rtt;
mod streaming;
pub(crate) mod timers;
pub(crate) mod transmit;

use core::net::SocketAddr;
use core::time::Duration;
use std::sync::Arc;

use p2pchat_crypto::{Identity, Introduction, ResumptionSecret, Role, Suite};
use p2pchat_proto::datagram::ReceiverId;
use p2pchat_proto::frame::{CloseCode, StreamId};
use p2pchat_proto::rekey::RekeyBody;
use p2pchat_proto::{Moment, PeerId};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

use self::acks::AckTracker;
pub(crate) use self::confirmation::Confirmation;
use self::confirmation::Repeating;
use self::congestion::Controller;
use self::epochs::Epochs;
use self::hints::Hints;
use self::mtu::{DATAGRAM_SIZE, Mtu};
use self::path::{Arrival, Paths};
use self::recovery::{Expired, Outcome, Recovery};
use self::timers::{Timer, Timers};
use crate::allowance::Allowance;
use crate::contact::SecretNews;
use crate::event::{EndReason, Misbehaviour, SendError, SessionEvent};
use crate::handshake::{ConnectionStart, Path, is_authentic};
use crate::replay::ReplayWindow;
use crate::stats::SessionInfo;
use crate::streams::Streams;

/// Packets of one direction under one key, that is in one epoch; the session ends before there are
/// more (protocol section 12; RFC 9001 section 6.6 for AES-GCM).
pub const PACKETS_MAX: u64 = 1 << 23;
/// Silence before the first packet that only keeps the path open (protocol section 12).
pub const KEEPALIVE_FIRST: Duration = Duration::from_secs(10);
/// Silence before each further one (protocol section 12).
pub const KEEPALIVE_LATER: Duration = Duration::from_secs(20);
/// Probe timeouts without an answer until a session is suspect (protocol section 12).
pub const SUSPECT_AFTER_PTO: u32 = 3;
/// Silence of the peer until a session is lost (protocol section 12).
pub const LOST_AFTER: Duration = Duration::from_secs(30);

/// Packets under each key that are kept for saying that it is used up.
const NUMBERS_FOR_CLOSE: u64 = 64;
/// How long the MAC keys of an introduction outlive its handshake, for repeated FINs (protocol
/// section 2).
const INTRODUCTION_LINGER: Duration = Duration::from_secs(20);
/// Probe timeouts for which the end of a session is announced or answered (RFC 9000 section 10.2).
const LINGER_PTO: u32 = 3;
/// Longest time between two `Close`, so that a program that stops need not wait longer than
/// [`LINGER_PTO`] times this.
const CLOSE_INTERVAL_MAX: Duration = Duration::from_secs(1);
/// Answers to a peer that repeats its `Close`.
const CLOSE_ECHOES: u32 = 8;

/// With whom and where.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Link {
    pub(crate) peer: PeerId,
    pub(crate) role: Role,
    pub(crate) suite: Suite,
    /// Where the peer receives.
    pub(crate) receiver: ReceiverId,
}

impl Link {
    pub(crate) const fn new(introduction: &Introduction, receiver: ReceiverId) -> Self {
        Self { peer: introduction.peer(), role: introduction.role(), suite: introduction.suite(), receiver }
    }
}

/// Where a session is in its life.
enum Phase {
    /// Keys, but no packet of the peer.
    Confirming(Confirmation),
    /// Both sides have the keys.
    Up {
        /// The responder's, for a while: the peer may repeat its FIN.
        introduction: Option<Introduction>,
    },
    /// This side ends it.
    Closing(Closing),
    /// The peer ended it.
    Draining { echoes: u32, due: bool },
    /// Nothing happens any more.
    Over,
}

struct Closing {
    code: CloseCode,
    due: bool,
    /// What is told when the peer knows; `None` if the end was told already.
    tell: Option<EndReason>,
}

/// One session with keys.
pub(crate) struct Connection {
    link: Link,
    epochs: Epochs,
    phase: Phase,
    replay: ReplayWindow,
    acks: AckTracker,
    recovery: Recovery,
    paths: Paths,
    /// Makes the controller of a further path.
    controller: fn(u64) -> Box<dyn Controller>,
    /// The peer has proven to be where it is, which nobody was told yet.
    found: bool,
    streams: Streams,
    timers: Timers,
    events: Vec<SessionEvent>,
    /// Whether the next packet has to ask for an acknowledgement.
    ping: bool,
    hints: Hints,
    suspect: bool,
    /// Probe timeouts since the peer was heard.
    unheard: u32,
    /// Packets in a row that only kept the path open.
    keepalives: u32,
    counters: Counters,
    /// The secret of an earlier session that this one began with.
    base: Option<ResumptionSecret>,
    began: Moment,
    up_since: Option<Moment>,
}

#[derive(Debug, Default)]
struct Counters {
    sent: u64,
    received: u64,
    retransmitted: u64,
}

impl Connection {
    /// `rng` draws what renewing the keys and challenging paths take.
    pub(crate) fn new(
        start: ConnectionStart,
        me: Arc<Identity>,
        mut rng: ChaCha20Rng,
        controller: fn(u64) -> Box<dyn Controller>,
        now: Moment,
    ) -> Self {
        // The responder's ping answers FIN and proves that it has the keys.
        let ping = matches!(start.confirmation, Confirmation::Awaiting { .. });
        let mut connection = Self {
            link: start.link,
            paths: Paths::new(start.path, start.allowance, start.link.role, ChaCha20Rng::from_rng(&mut rng)),
            controller,
            found: false,
            epochs: Epochs::new(start.keys, me, rng, now),
            phase: Phase::Confirming(start.confirmation),
            replay: ReplayWindow::new(),
            acks: AckTracker::default(),
            recovery: Recovery::new(controller(DATAGRAM_SIZE as u64)),
            streams: Streams::new(start.link.role),
            timers: Timers::new(),
            events: Vec::new(),
            ping,
            hints: Hints::default(),
            suspect: false,
            unheard: 0,
            keepalives: 0,
            counters: Counters::default(),
            base: start.base,
            began: start.began,
            up_since: None,
        };
        if ping {
            // The next packet tells the peer that this side has the keys.
            connection.epochs.tell(connection.base.clone(), false);
        }
        connection.recovery.mtu = Mtu::new(connection.paths.current().remote);
        connection.timers.set(Timer::HandshakeGiveUp, Some(start.give_up));
        connection
    }

    pub(crate) const fn streams(&self) -> &Streams {
        &self.streams
    }

    /// See [`Streams::withhold_credit`].
    pub(crate) fn withhold_credit(&mut self, withheld: bool) {
        self.streams.withhold_credit(withheld);
    }

    pub(crate) const fn acks(&self) -> &AckTracker {
        &self.acks
    }

    pub(crate) const fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// Takes a body for sending.
    pub(crate) fn send(&mut self, stream: StreamId, kind: u8, body: &[u8]) -> Result<(), SendError> {
        if RekeyBody::is_kind(stream, kind) {
            return Err(SendError::Reserved);
        }
        match self.phase {
            Phase::Up { .. } => self.streams.write(stream, kind, body),
            Phase::Confirming(_) | Phase::Closing(_) | Phase::Draining { .. } | Phase::Over => {
                Err(SendError::NotUp)
            }
        }
    }

    /// See [`crate::Endpoint::hint`].
    pub(crate) fn hint(&mut self, kind: u8, now: Moment) {
        if matches!(self.phase, Phase::Up { .. }) {
            self.hints.offer(kind, now);
        }
    }

    /// Ends the session and tells the peer.
    pub(crate) fn close(&mut self, code: CloseCode, now: Moment) {
        match self.phase {
            Phase::Confirming(_) | Phase::Up { .. } => {
                self.start_closing(code, Some(EndReason::ClosedHere), now);
            }
            Phase::Closing(_) | Phase::Draining { .. } | Phase::Over => {}
        }
    }

    /// Takes a FIN that names this session. Whether it is a repetition of the peer's, which is
    /// answered with at most one more ping: to where it came from, until the peer has proven to have
    /// the keys, so that nobody who was faster with a copy keeps the answer from it.
    pub(crate) fn on_repeated_fin(&mut self, bytes: &[u8], from: Path, now: Moment) -> bool {
        let (introduction, confirming) = match &self.phase {
            Phase::Confirming(Confirmation::Awaiting { introduction }) => (Some(introduction), true),
            Phase::Up { introduction } => (introduction.as_ref(), false),
            Phase::Confirming(Confirmation::Repeating(_))
            | Phase::Closing(_)
            | Phase::Draining { .. }
            | Phase::Over => (None, false),
        };
        let repeated = introduction.is_some_and(|introduction| is_authentic(introduction, bytes));
        if repeated {
            self.ping = true;
            if confirming && self.paths.current() != from {
                self.paths.replace(from, Allowance::earned(bytes.len() as u64));
            } else if confirming {
                let arrival = Arrival { bytes: bytes.len() as u64, newest: false, asks_only: false };
                self.on_path(from, arrival, now);
            }
        }
        repeated
    }

    /// Takes a RESP that names this session. Whether it is a repetition of the peer's.
    pub(crate) fn on_repeated_resp(&mut self, bytes: &[u8], from: Path) -> bool {
        self.repeating().is_some_and(|repeating| repeating.on_repeated_resp(bytes, from))
    }

    /// Takes a PUNCH that names this session. Whether it is the peer's, and of use.
    pub(crate) fn on_punch(&mut self, bytes: &[u8], from: Path) -> bool {
        self.repeating().is_some_and(|repeating| repeating.on_punch(bytes, from))
    }

    fn repeating(&mut self) -> Option<&mut Repeating> {
        let Phase::Confirming(Confirmation::Repeating(repeating)) = &mut self.phase else {
            return None;
        };
        Some(repeating)
    }

    fn on_loss_timer(&mut self, now: Moment) {
        let streams = &mut self.streams;
        let expired =
            self.recovery.on_timeout(now, &mut |outcome, content| settle(streams, outcome, content));
        match expired {
            Expired::Losses => {}
            Expired::Probe => {
                self.unheard = self.unheard.saturating_add(1);
                self.on_unanswered_probe(now);
                let up = matches!(self.phase, Phase::Up { .. });
                if up && !self.suspect && self.unheard >= SUSPECT_AFTER_PTO {
                    self.suspect = true;
                    self.events.push(SessionEvent::Suspect);
                }
            }
        }
    }

    /// The peer was silent for long. That means something only if it was asked; after a sleep of
    /// this machine it was not. Where nothing more may go, it was asked as often as may be.
    fn on_silence(&mut self, now: Moment) {
        if self.unheard >= SUSPECT_AFTER_PTO || self.room(DATAGRAM_SIZE).is_none() {
            self.finish(Some(EndReason::Lost));
            return;
        }
        self.ping = true;
        self.timers.set(Timer::Lost, Some(now + LOST_AFTER.saturating_sub(KEEPALIVE_LATER)));
    }

    /// The first packet opened: the peer has the keys.
    fn confirm(&mut self, from: Path, bytes: u64, now: Moment) {
        let Phase::Confirming(confirmation) = core::mem::replace(&mut self.phase, Phase::Over) else {
            return;
        };
        let introduction = match confirmation {
            Confirmation::Repeating(repeating) => {
                self.paths.replace(from, repeating.confirmed_from(from, bytes));
                // The responder measured by its first ping; this side wants to know, too.
                self.ping = true;
                None
            }
            Confirmation::Awaiting { introduction } => {
                self.on_path(from, Arrival { bytes, newest: true, asks_only: false }, now);
                self.timers.set(Timer::IntroductionEnd, Some(now + INTRODUCTION_LINGER));
                Some(introduction)
            }
        };
        self.phase = Phase::Up { introduction };
        self.up_since = Some(now);
        self.epochs.begin(now);
        self.epochs.tell(self.base.take(), true);
        // It proves to the other side that this one has the keys.
        self.acks.hurry();
        self.timers.set(Timer::HandshakeGiveUp, None);
        self.paths.validate(now);
        let Path { remote, local_ip } = self.paths.current();
        self.events.push(SessionEvent::Up { remote, local_ip });
    }

    fn misbehaved(&mut self, how: Misbehaviour, now: Moment) {
        self.events.push(SessionEvent::Ended(EndReason::PeerMisbehaved(how)));
        self.start_closing(CloseCode::Misbehaved, None, now);
    }

    fn start_closing(&mut self, code: CloseCode, tell: Option<EndReason>, now: Moment) {
        self.phase = Phase::Closing(Closing { code, due: true, tell });
        self.linger(now);
    }

    fn start_draining(&mut self, code: CloseCode, now: Moment) {
        let reason = match code {
            CloseCode::KeysUsedUp => EndReason::KeysUsedUp,
            CloseCode::Done
            | CloseCode::Leaving
            | CloseCode::Replaced
            | CloseCode::Misbehaved
            | CloseCode::Other(_) => EndReason::ClosedByPeer(code),
        };
        self.events.push(SessionEvent::Ended(reason));
        self.phase = Phase::Draining { echoes: CLOSE_ECHOES, due: true };
        self.linger(now);
    }

    fn linger(&mut self, now: Moment) {
        self.epochs.wipe();
        self.timers.stop_all();
        self.timers.set(Timer::LingerEnd, Some(now + self.close_interval().saturating_mul(LINGER_PTO)));
    }

    fn close_interval(&self) -> Duration {
        self.recovery.rtt.pto().min(CLOSE_INTERVAL_MAX)
    }

    /// Nothing more is sent or taken. Tells `reason`, or what waited to be told.
    fn finish(&mut self, reason: Option<EndReason>) {
        let phase = core::mem::replace(&mut self.phase, Phase::Over);
        let waited = match phase {
            Phase::Closing(closing) => closing.tell,
            Phase::Confirming(_) | Phase::Up { .. } | Phase::Draining { .. } | Phase::Over => None,
        };
        self.timers.stop_all();
        self.events.extend(reason.or(waited).map(SessionEvent::Ended));
    }

    /// A packet came or went: the path is open for a while.
    fn on_activity(&mut self, now: Moment) {
        if let Phase::Up { .. } = self.phase {
            let silence = if self.keepalives == 0 { KEEPALIVE_FIRST } else { KEEPALIVE_LATER };
            self.timers.set(Timer::KeepAlive, Some(now + silence));
        }
    }

    /// What happened, from the first on; then comes [`Self::poll_stream_event`].
    pub(crate) fn take_events(&mut self) -> impl Iterator<Item = SessionEvent> {
        self.events.drain(..)
    }

    /// The next thing to be told of the secrets that further sessions begin with.
    pub(crate) fn poll_news(&mut self) -> Option<SecretNews> {
        self.epochs.poll_news()
    }

    /// What another session can begin with, and the peer's Noise static key.
    pub(crate) fn resumption(&self) -> Option<(ResumptionSecret, [u8; 32])> {
        let up = matches!(self.phase, Phase::Up { .. });
        Some((self.epochs.resumption().filter(|_| up)?, self.epochs.peer_noise()?))
    }

    pub(crate) const fn peer(&self) -> PeerId {
        self.link.peer
    }

    pub(crate) const fn role(&self) -> Role {
        self.link.role
    }

    pub(crate) const fn suite(&self) -> Suite {
        self.link.suite
    }

    pub(crate) const fn remote(&self) -> SocketAddr {
        self.paths.current().remote
    }

    /// Where the peer has proven to be.
    pub(crate) fn proven_remote(&self) -> Option<SocketAddr> {
        Some(self.remote()).filter(|_| self.paths.is_validated())
    }

    /// Where the peer has just proven to be, after the session was up without that.
    pub(crate) fn take_found(&mut self) -> Option<SocketAddr> {
        if core::mem::take(&mut self.found) { self.proven_remote() } else { None }
    }

    /// Whether no packet of the peer has opened yet.
    pub(crate) const fn is_confirming(&self) -> bool {
        matches!(self.phase, Phase::Confirming(_))
    }

    /// When the first INIT of its handshake was made, or came.
    pub(crate) const fn began(&self) -> Moment {
        self.began
    }

    /// When it came up, if it did.
    pub(crate) const fn up_since(&self) -> Option<Moment> {
        self.up_since
    }

    /// Whether it can be forgotten.
    pub(crate) const fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over)
    }

    /// How it is; `None` before it is up and after its end.
    pub(crate) fn info(&self, now: Moment) -> Option<SessionInfo> {
        match self.phase {
            Phase::Up { .. } | Phase::Closing(Closing { tell: Some(_), .. }) => {}
            Phase::Confirming(_) | Phase::Closing(_) | Phase::Draining { .. } | Phase::Over => return None,
        }
        Some(SessionInfo {
            peer: self.link.peer,
            role: self.link.role,
            suite: self.link.suite,
            remote: self.paths.current().remote,
            local_ip: self.paths.current().local_ip,
            srtt: self.recovery.rtt.smoothed(),
            validated: self.paths.is_validated(),
            moves: self.paths.moves(),
            mtu: self.recovery.mtu.size(),
            black_holes: self.recovery.mtu.black_holes(),
            observed: self.paths.observed(),
            path: self.recovery.path(),
            sent: self.counters.sent,
            received: self.counters.received,
            lost: self.recovery.lost,
            retransmitted: self.counters.retransmitted,
            epoch: self.epochs.epoch(),
            key_age: now.saturating_since(self.epochs.since()),
            suspect: self.suspect,
        })
    }

    /// Goes on as if `number` packets had been sent.
    #[cfg(test)]
    pub(crate) fn skip_numbers_to(&mut self, number: u64) {
        self.recovery.sent.start_at(number);
        self.epochs.skip_to(number);
    }

    #[cfg(test)]
    pub(crate) fn epochs_for_test(&mut self) -> &mut Epochs {
        &mut self.epochs
    }
}

/// What the content of a settled packet means for the streams.
fn settle(streams: &mut Streams, outcome: Outcome, content: &packets::Content) {
    match outcome {
        Outcome::Acked => content.streams().for_each(|range| streams.on_acked(*range)),
        Outcome::Lost => {
            content.streams().for_each(|range| streams.on_lost(*range));
            if content.credit {
                streams.on_grants_lost();
            }
        }
    }
}
