//! Where the peer is (protocol section 5; RFC 9000 sections 8.2 and 9).
//!
//! ```text
//! a packet with the highest number so far comes from elsewhere
//!   |-> challenge, to there and to the path that there is, again and again
//!   |-> answered from there, and the path does not answer within a probe timeout: moved
//!   |-> both answered: moved if it is faster by a fifth and 10 ms, else it stays in reserve
//!   |     '-> and the peer goes on to take that way: the responder moves
//!   '-> not answered: forgotten
//! ```
//!
//! The sender of an old packet, of a doubled one or of junk decides nothing: only a packet that opened
//! and has the highest number so far makes its source a candidate. Until a candidate has answered, at
//! most three times the bytes that came from it go there ([`Allowance`]). When the path falls silent,
//! the candidates in reserve are asked again, and so is the peer's address from whichever of this
//! side's addresses the system would take today. Between two ways that both work the initiator chooses,
//! or each side would hold to its own, and ask about the other's for ever.

mod place;

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::VecDeque;

use p2pchat_crypto::Role;
use p2pchat_proto::Moment;
use p2pchat_proto::datagram::{DATA_HEADER_LEN, TAG_LEN};
use p2pchat_proto::endpoint::is_dialable;
use p2pchat_proto::frame::Frame;
use rand::RngExt;
use rand_chacha::ChaCha20Rng;

pub(crate) use self::place::Token;
use self::place::{Contest, Place};
use crate::allowance::Allowance;
use crate::handshake::Path;
use crate::handshake::rates::{PerSecond, UNPROVEN_PER_SESSION, UNVALIDATED_PER_SECOND};

/// Paths that are known besides the one in use (our choice): one address each before and after a move
/// of either side.
const CANDIDATES_MAX: usize = 4;
/// Answers to challenges that wait. What is beyond is dropped; a challenge comes again.
const ANSWERS_MAX: usize = 4;
/// Longest time for the current path to answer before another one takes its place (our choice), so
/// that a move takes less than two seconds whatever the round-trip time was.
const PATIENCE_MAX: Duration = Duration::from_secs(1);
/// A path is better if its round trip is shorter by a fifth and by this (protocol section 9).
const BETTER_BY: Duration = Duration::from_millis(10);
/// The fifth.
const BETTER_SHARE: u32 = 5;
/// Time for which two paths that both work are not compared again (our choice).
const SETTLED_FOR: Duration = Duration::from_secs(5);

/// A datagram that leaves for the sake of a path.
#[derive(Debug)]
pub(crate) struct Sally {
    pub(crate) path: Path,
    pub(crate) frame: Frame<'static>,
}

/// A packet that came.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival {
    pub(crate) bytes: u64,
    /// No higher number came.
    pub(crate) newest: bool,
    /// Nothing is in it but challenges and answers to them.
    pub(crate) asks_only: bool,
}

/// An answer to a challenge, along the way on which it came.
#[derive(Debug)]
struct Answer {
    path: Path,
    token: Token,
    /// What may go to a path that is not known.
    once: Allowance,
}

/// The path of a session and its candidates.
#[derive(Debug)]
pub(crate) struct Paths {
    current: Place,
    others: Vec<Place>,
    answers: VecDeque<Answer>,
    rng: ChaCha20Rng,
    /// Of what leaves for paths that proved nothing, this session's share.
    unproven: PerSecond<UNPROVEN_PER_SESSION>,
    /// Whether the peer chooses between two ways that both work.
    follows: bool,
    /// When [`Self::poll`] or [`Self::verdict`] may have something.
    next: Moment,
    moves: u64,
}

impl Paths {
    /// Those of a session of which this side is in this role.
    pub(crate) fn new(path: Path, allowance: Allowance, role: Role, rng: ChaCha20Rng) -> Self {
        Self {
            current: Place::new(path, allowance),
            others: Vec::new(),
            answers: VecDeque::new(),
            rng,
            unproven: PerSecond::new(),
            follows: role == Role::Responder,
            next: Moment::NEVER,
            moves: 0,
        }
    }

    /// The path in use.
    pub(crate) const fn current(&self) -> Path {
        self.current.path
    }

    /// Whether somebody on it has proven to receive.
    pub(crate) fn is_validated(&self) -> bool {
        self.current.allowance == Allowance::Validated
    }

    /// Whether [`Self::on_received`] has to hear of a packet that came along `from`.
    pub(crate) fn is_news(&self, from: Path) -> bool {
        from != self.current.path || !self.is_validated()
    }

    /// Bytes that may leave on it now.
    pub(crate) const fn room(&self) -> u64 {
        self.current.allowance.room()
    }

    /// How often it was another one afterwards.
    pub(crate) const fn moves(&self) -> u64 {
        self.moves
    }

    /// When [`Self::poll`] or [`Self::verdict`] may have something.
    pub(crate) const fn deadline(&self) -> Moment {
        self.next
    }

    /// Counts bytes that leave on the path in use, if they may.
    pub(crate) const fn take(&mut self, bytes: u64) -> bool {
        self.current.allowance.take(bytes)
    }

    /// Takes another path without a question, as a handshake that goes on does.
    pub(crate) fn replace(&mut self, path: Path, allowance: Allowance) {
        self.current = Place::new(path, allowance);
    }

    /// The session is up: asks on the path in use, unless the handshake has proven it.
    pub(crate) fn validate(&mut self, now: Moment) {
        if !self.is_validated() {
            self.current.probe(now);
        }
        self.reckon();
    }

    /// An authentic packet came along `from`. Called when it came along another than the path in use, or
    /// that is not validated.
    pub(crate) fn on_received(&mut self, from: Path, arrival: Arrival, pto: Duration, now: Moment) {
        if self.is_current(from) {
            self.current.on_received(arrival.bytes);
        } else {
            self.on_elsewhere(from, arrival, pto, now);
        }
        self.reckon();
    }

    fn is_current(&mut self, from: Path) -> bool {
        let path = &mut self.current.path;
        if path.remote != from.remote {
            return false;
        }
        // The system chose the address; now it is known which.
        if path.local_ip.is_none() {
            path.local_ip = from.local_ip;
            let known = *path;
            self.others.retain(|place| place.path != known);
        }
        let path = self.current.path;
        from.local_ip.is_none() || path.local_ip == from.local_ip
    }

    fn on_elsewhere(&mut self, from: Path, arrival: Arrival, pto: Duration, now: Moment) {
        let Arrival { bytes, newest, asks_only } = arrival;
        if let Some(place) = self.others.iter_mut().find(|place| place.path == from) {
            place.on_received(bytes);
            // A question that was answered with a question would never end.
            if newest && !asks_only && place.contest.is_none() && place.settled_until <= now {
                contest(place, &mut self.current, true, pto, now);
            }
            return;
        }
        if newest && self.is_possible(from) {
            let allowance = self.allowance_for(from, Allowance::earned(bytes));
            let mut place = Place::new(from, allowance);
            contest(&mut place, &mut self.current, true, pto, now);
            self.remember(place);
        }
    }

    /// Whether a path may be taken at all.
    fn is_possible(&self, path: Path) -> bool {
        let loopback = |path: Path| path.remote.ip().to_canonical().is_loopback();
        is_dialable(path.remote) && (loopback(self.current.path) || !loopback(path))
    }

    /// A peer that has proven to be at an address is there from every address of this side.
    fn allowance_for(&self, path: Path, otherwise: Allowance) -> Allowance {
        let proven = self.is_validated() && path.remote == self.current.path.remote;
        if proven { Allowance::Validated } else { otherwise }
    }

    fn remember(&mut self, place: Place) {
        if self.others.len() >= CANDIDATES_MAX {
            let unproven = self.others.iter().position(|place| place.allowance != Allowance::Validated);
            self.others.remove(unproven.unwrap_or(0));
        }
        self.others.push(place);
    }

    /// The peer challenged this side in a packet of `bytes` that came along `from`.
    pub(crate) fn on_challenge(&mut self, token: Token, from: Path, bytes: u64, now: Moment) {
        // It may see this side elsewhere, and be challenged in turn: once, or that would never end.
        let lately = self.current.answered.is_some_and(|(at, _)| now.saturating_since(at) < SETTLED_FOR);
        if from == self.current.path && !lately {
            self.ask_where_seen(now);
        }
        if self.answers.len() < ANSWERS_MAX && is_dialable(from.remote) {
            self.answers.push_back(Answer { path: from, token, once: Allowance::earned(bytes) });
            self.reckon();
        }
    }

    /// The peer answered a challenge; the answer came along `from`, which may be anywhere.
    /// Whether it was one of this side's.
    pub(crate) fn on_response(
        &mut self,
        token: Token,
        observed: SocketAddr,
        from: Path,
        now: Moment,
    ) -> bool {
        let mut known = self.current.on_response(token, observed, now);
        if let Some(index) = self.others.iter_mut().position(|place| place.on_response(token, observed, now))
        {
            known = true;
            self.on_chosen(index, from);
        }
        self.reckon();
        known
    }

    /// Where the peer sees this side on the path in use, once it was asked.
    pub(crate) const fn observed(&self) -> Option<SocketAddr> {
        self.current.observed
    }

    /// Asks again where the peer sees this side, where it was asked before and may not be so any more.
    pub(crate) fn ask_where_seen(&mut self, now: Moment) {
        if self.current.observed.is_some() {
            self.current.probe(now);
            self.reckon();
        }
    }

    /// The candidate at `index` has answered along `from`. Where the system chose its local address, that
    /// shows which; if that is a path that is known already, there is one less.
    fn on_chosen(&mut self, index: usize, from: Path) {
        let Some(place) = self.others.get_mut(index) else { return };
        if place.path.local_ip.is_some() || place.path.remote != from.remote {
            return;
        }
        place.path = from;
        if from == self.current.path {
            let Place { answered, observed, .. } = self.others.remove(index);
            self.current.on_answered(answered, observed);
            return;
        }
        let mut at = 0..;
        self.others.retain(|place| at.next() == Some(index) || place.path != from);
    }

    /// The peer does not answer: asks on every path.
    pub(crate) fn on_silence(&mut self, pto: Duration, now: Moment) {
        let open = Path { local_ip: None, ..self.current.path };
        if self.current.path.local_ip.is_some() && self.others.iter().all(|place| place.path != open) {
            let allowance = self.allowance_for(open, Allowance::Left(0));
            self.remember(Place::new(open, allowance));
        }
        for place in &mut self.others {
            if place.contest.is_none() {
                contest(place, &mut self.current, false, pto, now);
            }
        }
        self.reckon();
    }

    /// This side lost an address. Whether the path in use began there.
    pub(crate) fn on_local_ip_gone(&mut self, ip: core::net::IpAddr) -> bool {
        self.others.retain(|place| place.path.local_ip != Some(ip));
        let gone = self.current.path.local_ip == Some(ip);
        if gone {
            self.current.path.local_ip = None;
            self.current.observed = None;
        }
        self.reckon();
        gone
    }

    /// What leaves next for the sake of a path.
    pub(crate) fn poll(
        &mut self,
        budget: &mut PerSecond<UNVALIDATED_PER_SECOND>,
        now: Moment,
    ) -> Option<Sally> {
        let sally = self.next_answer(budget, now).or_else(|| self.next_challenge(budget, now));
        self.reckon();
        sally
    }

    fn next_answer(&mut self, budget: &mut PerSecond<UNVALIDATED_PER_SECOND>, now: Moment) -> Option<Sally> {
        while let Some(mut answer) = self.answers.pop_front() {
            let places = core::iter::once(&mut self.current).chain(&mut self.others);
            let known = { places }.find(|place| place.path == answer.path);
            let allowance = known.map_or(&mut answer.once, |place| &mut place.allowance);
            let frame = Frame::PathResponse { token: answer.token, observed: answer.path.remote };
            if may_leave(&frame, allowance, &mut self.unproven, budget, now) {
                return Some(Sally { path: answer.path, frame });
            }
        }
        None
    }

    fn next_challenge(
        &mut self,
        budget: &mut PerSecond<UNVALIDATED_PER_SECOND>,
        now: Moment,
    ) -> Option<Sally> {
        // Who had all challenges and answered none is not there; the path in use stays, and ends with
        // the session.
        self.others.retain(|place| {
            place.probing.as_ref().is_none_or(|probing| !(probing.is_due(now) && probing.is_exhausted()))
        });
        for place in core::iter::once(&mut self.current).chain(&mut self.others) {
            let Some(probing) = place.probing.as_mut().filter(|probing| probing.is_due(now)) else {
                continue;
            };
            if probing.is_exhausted() {
                place.probing = None;
                continue;
            }
            let token = self.rng.random();
            let frame = Frame::PathChallenge { token };
            if may_leave(&frame, &mut place.allowance, &mut self.unproven, budget, now) {
                probing.on_sent(token, now);
                return Some(Sally { path: place.path, frame });
            }
            probing.hold_back(budget.free_at().max(self.unproven.free_at()), now);
        }
        None
    }

    /// Decides what can be decided. The path that was left, if it is another one now.
    pub(crate) fn verdict(&mut self, now: Moment) -> Option<Path> {
        let mut winner = None;
        for (index, place) in self.others.iter_mut().enumerate() {
            let (Some(contest), Some((_, theirs))) = (place.contest, place.answered) else {
                continue;
            };
            match self.current.answered.filter(|(at, _)| *at >= contest.since) {
                Some((_, ours)) if is_better(theirs, ours) => winner = Some((index, false)),
                // Asked before, and the peer takes that way all the same.
                Some(_) if self.follows && contest.heard && place.settled_until > Moment::ZERO => {
                    winner = Some((index, false));
                }
                Some(_) => {
                    place.contest = None;
                    place.settled_until = now + SETTLED_FOR;
                }
                None if contest.until <= now => winner = Some((index, true)),
                None => {}
            }
        }
        if let Some((index, silent)) = winner
            && let Some(place) = self.others.get_mut(index)
        {
            core::mem::swap(place, &mut self.current);
            self.current.contest = None;
            place.probing = None;
            self.moves = self.moves.saturating_add(1);
            let left = place.path;
            let Path { remote, local_ip } = self.current.path;
            // A silent port of the same address is what a NAT has forgotten.
            if silent && left.remote.ip() == remote.ip() && left.local_ip == local_ip {
                self.others.remove(index);
            }
            self.reckon();
            return Some(left);
        }
        self.reckon();
        None
    }

    fn reckon(&mut self) {
        let places = core::iter::once(&self.current).chain(&self.others);
        let due = places.map(Place::deadline).min().unwrap_or(Moment::NEVER);
        self.next = if self.answers.is_empty() { due } else { Moment::ZERO };
    }
}

/// Asks whether `place` is to take the place of `current`.
fn contest(place: &mut Place, current: &mut Place, heard: bool, pto: Duration, now: Moment) {
    place.contest = Some(Contest { since: now, until: now + pto.min(PATIENCE_MAX), heard });
    place.answered = None;
    place.probe(now);
    current.probe(now);
}

fn is_better(theirs: Duration, ours: Duration) -> bool {
    let fifth = ours.checked_div(BETTER_SHARE).unwrap_or_default();
    theirs.saturating_add(fifth.max(BETTER_BY)) < ours
}

/// Whether a packet with this frame alone may go where `allowance` counts.
fn may_leave(
    frame: &Frame<'_>,
    allowance: &mut Allowance,
    share: &mut PerSecond<UNPROVEN_PER_SESSION>,
    budget: &mut PerSecond<UNVALIDATED_PER_SECOND>,
    now: Moment,
) -> bool {
    let mut bytes = Vec::new();
    frame.encode(&mut bytes);
    let len = bytes.len().saturating_add(DATA_HEADER_LEN).saturating_add(TAG_LEN);
    let proven = *allowance == Allowance::Validated;
    (proven || (share.allows(now) && budget.allows(now)))
        && allowance.take(len as u64)
        && (proven || (share.take(now) && budget.take(now)))
}

#[cfg(test)]
mod tests;
