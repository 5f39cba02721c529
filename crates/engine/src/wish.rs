//! The wish to talk to somebody: it outlives single requests, links to the broker and sessions.

use core::time::Duration;

use p2pchat_crypto::offer::PendingRequest;
use p2pchat_proto::offer::Addressee;
use p2pchat_proto::{Moment, Name, PeerId, RequestId};

use crate::engine::Bond;
use crate::event::CommandId;
use crate::now::Now;

/// How long a wish waits for a link to the broker (the and cli.md's 15 s).
pub(crate) const BROKER_PATIENCE: Duration = Duration::from_secs(15);
/// How often an open request is renewed: twice within its lifetime of 120 s.
pub(crate) const RENEW_EVERY: Duration = Duration::from_secs(60);
/// How long one offer is used: less than its tolerance of 10 minutes (protocol section 2).
const STALE_AFTER: Duration = Duration::from_secs(540);
/// First wait before a lost session is asked for again (protocol section 5).
pub(crate) const RETRY_FIRST: Duration = Duration::from_secs(1);
/// Longest wait before a lost session is asked for again (protocol section 5).
pub(crate) const RETRY_MAX: Duration = Duration::from_secs(60);

/// Number of a wish in one engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct WishId(pub(crate) u64);

/// Somebody whom this user wants to talk to.
pub(crate) struct Wish {
    /// The identity, where it is pinned or was given.
    pub(crate) peer: Option<PeerId>,
    /// The name, where one was given or is pinned.
    pub(crate) name: Option<Name>,
    /// The command to answer once the request is out.
    pub(crate) command: Option<CommandId>,
    /// Until when an answer is waited for.
    pub(crate) deadline: Moment,
    /// Until when a link to the broker is waited for.
    pub(crate) broker_deadline: Moment,
    /// Whether this makes a lost session anew, which is tried until it works or is declined.
    pub(crate) reconnect: bool,
    /// Whether a session is all that is wanted: it pins nobody and is not made anew.
    pub(crate) passing: bool,
    /// Not before this.
    pub(crate) not_before: Moment,
    /// Tries that failed.
    pub(crate) failures: u32,
    /// The request that is out.
    pub(crate) open: Option<OpenRequest>,
}

/// A request on its way or at the other side.
pub(crate) struct OpenRequest {
    pub(crate) pending: PendingRequest,
    pub(crate) request: RequestId,
    pub(crate) renew_at: Moment,
    /// When its offer becomes too old and fresh keys must take its place.
    pub(crate) stale_at: Moment,
}

impl OpenRequest {
    pub(crate) fn new(pending: PendingRequest, request: RequestId, now: Now) -> Self {
        let (renew_at, stale_at) = (now.after(RENEW_EVERY), now.after(STALE_AFTER));
        Self { pending, request, renew_at, stale_at }
    }
}

impl Wish {
    pub(crate) fn asked(
        peer: Option<PeerId>,
        name: Option<Name>,
        command: CommandId,
        wait: Duration,
        now: Now,
    ) -> Self {
        Self {
            peer,
            name,
            command: Some(command),
            deadline: now.after(wait),
            broker_deadline: now.after(BROKER_PATIENCE),
            reconnect: false,
            passing: false,
            not_before: now.moment,
            failures: 0,
            open: None,
        }
    }

    pub(crate) fn again(peer: PeerId, name: Option<Name>, now: Now) -> Self {
        Self {
            peer: Some(peer),
            name,
            command: None,
            deadline: Moment::NEVER,
            broker_deadline: Moment::NEVER,
            reconnect: true,
            passing: false,
            not_before: now.after(RETRY_FIRST),
            failures: 0,
            open: None,
        }
    }

    /// What a session leaves that fulfils it.
    pub(crate) const fn bond(&self) -> Bond {
        if self.passing { Bond::Once } else { Bond::connecting(self.reconnect) }
    }

    /// For whom the offer is.
    pub(crate) fn addressee(&self) -> Option<Addressee> {
        match (self.peer, &self.name) {
            (Some(peer), _) => Some(Addressee::Peer(peer)),
            (None, Some(name)) => Some(Addressee::Name(name.clone())),
            (None, None) => None,
        }
    }

    /// Whether somebody who asks at the same time is the one who is wished for.
    pub(crate) fn means(&self, peer: PeerId, name: Option<&Name>) -> bool {
        match self.peer {
            Some(wanted) => wanted == peer,
            None => self.name.is_some() && self.name.as_ref() == name,
        }
    }

    /// What to call the one who is wished for.
    pub(crate) fn who(&self) -> String {
        match (&self.name, self.peer) {
            (Some(name), _) => name.to_string(),
            (None, Some(peer)) => peer.short(),
            (None, None) => String::new(),
        }
    }

    /// Drops the open request and waits before the next one, longer each time.
    pub(crate) fn retry_later(&mut self, now: Now) {
        self.open = None;
        let wait = RETRY_FIRST.saturating_mul(1 << self.failures.min(6)).min(RETRY_MAX);
        self.failures = self.failures.saturating_add(1);
        self.not_before = now.after(wait);
    }

    /// The broker did not take the request and wants no other one before this moment. What it took
    /// earlier stays there; only the renewal is late.
    pub(crate) fn held_up(&mut self, until: Moment) {
        if let (None, Some(open)) = (self.command, &mut self.open) {
            open.renew_at = until;
            return;
        }
        self.open = None;
        self.not_before = until;
        // Whoever answers is there: from now on only the user's patience counts.
        self.broker_deadline = self.deadline;
    }

    /// Who is wished for has just come online.
    pub(crate) fn came_online(&mut self, now: Now) {
        if self.open.is_none() {
            self.not_before = now.moment;
        }
        self.failures = 0;
    }

    /// When something is due for this wish; `ready` says whether the broker can be spoken to.
    pub(crate) fn poll_timeout(&self, ready: bool) -> Moment {
        match &self.open {
            Some(open) if ready => open.renew_at.min(self.deadline),
            // A renewal needs a broker, and a client that stopped has none.
            Some(_) => self.deadline,
            None if ready => self.not_before.min(self.deadline),
            None => self.broker_deadline.min(self.deadline),
        }
    }
}
