//! One place where the peer may be, and the challenges that go there.

use core::net::SocketAddr;
use core::time::Duration;

use p2pchat_proto::Moment;

use crate::allowance::Allowance;
use crate::handshake::Path;

/// Time after the first, second and third challenge until the next, in milliseconds (protocol
/// section 12).
const EARLY_INTERVALS_MS: [u64; 3] = [200, 300, 500];
/// And after each further one (protocol section 12).
const LATER_INTERVAL: Duration = Duration::from_secs(1);
/// Challenges of one path (protocol section 12).
pub(super) const CHALLENGES_MAX: usize = 12;

/// What a challenge carries.
pub(crate) type Token = [u8; 8];

/// A path, what may go there, and what is known of it.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) path: Path,
    pub(super) allowance: Allowance,
    /// The challenges that are out.
    pub(super) probing: Option<Probing>,
    /// When a challenge was answered last, and the round trip that it took.
    pub(super) answered: Option<(Moment, Duration)>,
    /// Where the peer saw this side then.
    pub(super) observed: Option<SocketAddr>,
    /// It may take the place of the current path, and since when that is asked.
    pub(super) contest: Option<Contest>,
    /// Until when packets from here are no reason to ask again.
    pub(super) settled_until: Moment,
}

/// The question whether a path is the one to take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Contest {
    pub(super) since: Moment,
    /// Until when the current path has time to answer.
    pub(super) until: Moment,
    /// It began with a packet from there: the peer takes that way.
    pub(super) heard: bool,
}

/// Challenges of one path, each with a token of its own.
#[derive(Debug)]
pub(super) struct Probing {
    tokens: Vec<(Token, Moment)>,
    next: Moment,
    /// The next one is due, and more bytes have to come from there first.
    starved: bool,
}

impl Place {
    pub(super) const fn new(path: Path, allowance: Allowance) -> Self {
        Self {
            path,
            allowance,
            probing: None,
            answered: None,
            observed: None,
            contest: None,
            settled_until: Moment::ZERO,
        }
    }

    /// Starts to challenge it, unless that goes on.
    pub(super) fn probe(&mut self, now: Moment) {
        self.probing.get_or_insert_with(|| Probing::new(now));
    }

    /// Bytes came from there.
    pub(super) fn on_received(&mut self, bytes: u64) {
        self.allowance.on_received(bytes);
        if let Some(probing) = &mut self.probing {
            probing.starved = false;
        }
    }

    /// Whether this token was sent there; it has proven itself then.
    pub(super) fn on_response(&mut self, token: Token, observed: SocketAddr, now: Moment) -> bool {
        let sent = self.probing.as_ref().and_then(|probing| probing.sent_at(token));
        let Some(at) = sent else {
            return false;
        };
        self.on_answered(Some((now, now.saturating_since(at))), Some(observed));
        true
    }

    /// It has proven itself, with the round trip that it took.
    pub(super) fn on_answered(&mut self, answered: Option<(Moment, Duration)>, observed: Option<SocketAddr>) {
        (self.answered, self.observed) = (answered, observed);
        self.allowance = Allowance::Validated;
        self.probing = None;
    }

    /// When there is something to do for it.
    pub(super) fn deadline(&self) -> Moment {
        let probe = self.probing.as_ref().filter(|probing| !probing.starved).map(|probing| probing.next);
        let verdict = self.contest.filter(|_| self.answered.is_some()).map(|contest| contest.until);
        probe.into_iter().chain(verdict).min().unwrap_or(Moment::NEVER)
    }
}

impl Probing {
    const fn new(now: Moment) -> Self {
        Self { tokens: Vec::new(), next: now, starved: false }
    }

    pub(super) fn is_due(&self, now: Moment) -> bool {
        !self.starved && self.next <= now
    }

    /// Whether the last challenge had its time.
    pub(super) fn is_exhausted(&self) -> bool {
        self.tokens.len() >= CHALLENGES_MAX
    }

    /// A challenge leaves.
    pub(super) fn on_sent(&mut self, token: Token, now: Moment) {
        let early = EARLY_INTERVALS_MS.get(self.tokens.len());
        self.next = now + early.map_or(LATER_INTERVAL, |millis| Duration::from_millis(*millis));
        self.tokens.push((token, now));
    }

    /// A challenge may not leave: there is no room in the budget until `free_at`, or else for this
    /// address.
    pub(super) fn hold_back(&mut self, free_at: Moment, now: Moment) {
        self.starved = free_at <= now;
        self.next = self.next.max(free_at);
    }

    fn sent_at(&self, token: Token) -> Option<Moment> {
        self.tokens.iter().find(|(sent, _)| *sent == token).map(|(_, at)| *at)
    }
}
