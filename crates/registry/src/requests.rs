//! Chat requests: asked, answered once, forgotten.
//!
//! Of one identity to another at most one request is open. Asking again with the same id renews
//! it and is not forwarded a second time; asking with another id takes the earlier one back and
//! puts the new one in its place. An accepted request stays only to relay endpoints between its
//! two sides, for as long as the introduction that it made can be used.

use std::collections::{BTreeMap, BTreeSet};

use p2pchat_proto::limits::{INTRODUCTION_LIFETIME, REQUEST_LIFETIME};
use p2pchat_proto::{Moment, PeerId, RequestId};

use crate::limits::{REQUESTS_FROM_MAX, REQUESTS_TO_MAX};

/// How asking went.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// To be forwarded.
    Fresh,
    /// To be forwarded, after the addressee heard that this earlier one is taken back.
    InPlaceOf(RequestId),
    /// It was open already, and its time begins again.
    Renewed,
    /// The id stands for another request.
    IdInUse,
    /// The asker has as many as it may.
    TooManyFrom,
    /// As many wait for the addressee as may.
    TooManyTo,
}

/// A request that ended without an answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) request: RequestId,
    pub(crate) from: PeerId,
    pub(crate) to: PeerId,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Accepted,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    from: PeerId,
    to: PeerId,
    state: State,
    ends: Moment,
}

#[derive(Debug, Default)]
pub(crate) struct Requests {
    entries: BTreeMap<RequestId, Entry>,
    open: BTreeMap<(PeerId, PeerId), RequestId>,
    from: BTreeMap<PeerId, BTreeSet<RequestId>>,
    to: BTreeMap<PeerId, BTreeSet<RequestId>>,
    ends: BTreeSet<(Moment, RequestId)>,
}

impl Requests {
    pub(crate) fn ask(&mut self, request: RequestId, from: PeerId, to: PeerId, now: Moment) -> Asked {
        if let Some(&entry) = self.entries.get(&request) {
            if (entry.from, entry.to, entry.state) != (from, to, State::Open) {
                return Asked::IdInUse;
            }
            self.remove(request);
            self.insert(request, Entry { ends: now + REQUEST_LIFETIME, ..entry });
            return Asked::Renewed;
        }
        let earlier = self.open.get(&(from, to)).copied();
        if let Some(earlier) = earlier {
            self.remove(earlier);
        }
        if self.from.get(&from).is_some_and(|requests| requests.len() >= REQUESTS_FROM_MAX) {
            return Asked::TooManyFrom;
        }
        if self.to.get(&to).is_some_and(|requests| requests.len() >= REQUESTS_TO_MAX) {
            return Asked::TooManyTo;
        }
        self.insert(request, Entry { from, to, state: State::Open, ends: now + REQUEST_LIFETIME });
        earlier.map_or(Asked::Fresh, Asked::InPlaceOf)
    }

    /// The asker of an open request, if it waits for `by`. From now on the two may exchange endpoints.
    pub(crate) fn accept(&mut self, request: RequestId, by: PeerId, now: Moment) -> Option<PeerId> {
        let entry = self.open_entry(request).filter(|entry| entry.to == by)?;
        self.remove(request);
        self.insert(request, Entry { state: State::Accepted, ends: now + INTRODUCTION_LIFETIME, ..entry });
        Some(entry.from)
    }

    /// The asker of an open request, if it waits for `by`. The request is over.
    pub(crate) fn decline(&mut self, request: RequestId, by: PeerId) -> Option<PeerId> {
        let entry = self.open_entry(request).filter(|entry| entry.to == by)?;
        self.remove(request);
        Some(entry.from)
    }

    /// The addressee of an open request of `by`. The request is over. One that was answered cannot
    /// be taken back: of an answer and a cancellation that cross, the first counts for both sides.
    pub(crate) fn cancel(&mut self, request: RequestId, by: PeerId) -> Option<PeerId> {
        let entry = self.open_entry(request).filter(|entry| entry.from == by)?;
        self.remove(request);
        Some(entry.to)
    }

    /// The other side of an accepted request of `by`.
    pub(crate) fn other_side(&self, request: RequestId, by: PeerId) -> Option<PeerId> {
        let entry = self.entries.get(&request).filter(|entry| entry.state == State::Accepted)?;
        if entry.from == by {
            Some(entry.to)
        } else if entry.to == by {
            Some(entry.from)
        } else {
            None
        }
    }

    /// `peer` went away: all its requests are over. Those that were open are returned.
    pub(crate) fn leave(&mut self, peer: PeerId) -> Vec<Ended> {
        let mine = [&self.from, &self.to].map(|index| index.get(&peer).cloned().unwrap_or_default());
        mine.iter().flatten().filter_map(|&request| self.end(request)).collect()
    }

    /// Ends what is due; what was still open is returned.
    pub(crate) fn expire(&mut self, now: Moment) -> Vec<Ended> {
        let mut expired = Vec::new();
        while let Some(&(ends, request)) = self.ends.first()
            && ends <= now
        {
            expired.extend(self.end(request));
        }
        expired
    }

    pub(crate) fn next_expiry(&self) -> Option<Moment> {
        self.ends.first().map(|&(ends, _)| ends)
    }

    fn open_entry(&self, request: RequestId) -> Option<Entry> {
        self.entries.get(&request).copied().filter(|entry| entry.state == State::Open)
    }

    fn end(&mut self, request: RequestId) -> Option<Ended> {
        let Entry { from, to, state, .. } = self.remove(request)?;
        (state == State::Open).then_some(Ended { request, from, to })
    }

    fn insert(&mut self, request: RequestId, entry: Entry) {
        if entry.state == State::Open {
            self.open.insert((entry.from, entry.to), request);
        }
        self.from.entry(entry.from).or_default().insert(request);
        self.to.entry(entry.to).or_default().insert(request);
        self.ends.insert((entry.ends, request));
        self.entries.insert(request, entry);
    }

    fn remove(&mut self, request: RequestId) -> Option<Entry> {
        let entry = self.entries.remove(&request)?;
        if entry.state == State::Open {
            self.open.remove(&(entry.from, entry.to));
        }
        remove_from(&mut self.from, &entry.from, request);
        remove_from(&mut self.to, &entry.to, request);
        self.ends.remove(&(entry.ends, request));
        Some(entry)
    }
}

fn remove_from(index: &mut BTreeMap<PeerId, BTreeSet<RequestId>>, peer: &PeerId, request: RequestId) {
    let Some(requests) = index.get_mut(peer) else { return };
    requests.remove(&request);
    if requests.is_empty() {
        index.remove(peer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;

    const ALICE: PeerId = PeerId([1; 32]);
    const BOB: PeerId = PeerId([2; 32]);
    const EVE: PeerId = PeerId([3; 32]);

    fn id(n: u16) -> RequestId {
        let mut bytes = [0; 16];
        bytes[..2].copy_from_slice(&n.to_be_bytes());
        RequestId(bytes)
    }

    fn assert_nothing_is_kept(requests: &Requests) {
        assert!(requests.entries.is_empty() && requests.open.is_empty() && requests.ends.is_empty());
        assert!(requests.from.is_empty() && requests.to.is_empty());
    }

    #[test]
    fn only_the_addressee_answers_and_only_once() {
        let mut requests = Requests::default();
        assert_eq!(requests.ask(id(1), BOB, ALICE, Moment::ZERO), Asked::Fresh);
        assert_eq!(requests.accept(id(1), EVE, Moment::ZERO), None);
        assert_eq!(requests.accept(id(1), BOB, Moment::ZERO), None);
        assert_eq!(requests.decline(id(1), EVE), None);
        assert_eq!(requests.accept(id(1), ALICE, Moment::ZERO), Some(BOB));
        assert_eq!(requests.accept(id(1), ALICE, Moment::ZERO), None);
        assert_eq!(requests.decline(id(1), ALICE), None);
        assert_eq!(requests.cancel(id(1), BOB), None);
    }

    #[test]
    fn endpoints_pass_between_the_two_of_an_accepted_request_only() {
        let mut requests = Requests::default();
        requests.ask(id(1), BOB, ALICE, Moment::ZERO);
        assert_eq!(requests.other_side(id(1), BOB), None);
        requests.accept(id(1), ALICE, Moment::ZERO);
        assert_eq!(requests.other_side(id(1), BOB), Some(ALICE));
        assert_eq!(requests.other_side(id(1), ALICE), Some(BOB));
        assert_eq!(requests.other_side(id(1), EVE), None);
        assert!(requests.expire(Moment::ZERO + INTRODUCTION_LIFETIME).is_empty());
        assert_eq!(requests.other_side(id(1), BOB), None);
        assert_nothing_is_kept(&requests);
    }

    #[test]
    fn asking_again_renews_and_another_id_takes_the_place() {
        let mut requests = Requests::default();
        requests.ask(id(1), BOB, ALICE, Moment::ZERO);
        let later = Moment::ZERO + Duration::from_secs(100);
        assert_eq!(requests.ask(id(1), BOB, ALICE, later), Asked::Renewed);
        assert!(requests.expire(Moment::ZERO + REQUEST_LIFETIME).is_empty());
        assert_eq!(requests.ask(id(2), BOB, ALICE, later), Asked::InPlaceOf(id(1)));
        assert_eq!(requests.accept(id(1), ALICE, later), None);
        let ended = requests.expire(later + REQUEST_LIFETIME);
        assert_eq!(ended, [Ended { request: id(2), from: BOB, to: ALICE }]);
        assert_nothing_is_kept(&requests);
    }

    #[test]
    fn an_id_in_use_serves_nobody_else_and_no_second_purpose() {
        let mut requests = Requests::default();
        requests.ask(id(1), BOB, ALICE, Moment::ZERO);
        assert_eq!(requests.ask(id(1), EVE, ALICE, Moment::ZERO), Asked::IdInUse);
        assert_eq!(requests.ask(id(1), BOB, EVE, Moment::ZERO), Asked::IdInUse);
        requests.accept(id(1), ALICE, Moment::ZERO);
        assert_eq!(requests.ask(id(1), BOB, ALICE, Moment::ZERO), Asked::IdInUse);
    }

    #[test]
    fn both_sides_have_a_cap() {
        let mut requests = Requests::default();
        let peer = |n: u16| PeerId(core::array::from_fn(|i| n.to_be_bytes().get(i).copied().unwrap_or(9)));
        for n in 0..REQUESTS_FROM_MAX as u16 {
            assert_eq!(requests.ask(id(n), BOB, peer(n), Moment::ZERO), Asked::Fresh);
        }
        assert_eq!(requests.ask(id(999), BOB, ALICE, Moment::ZERO), Asked::TooManyFrom);
        assert_eq!(requests.ask(id(999), BOB, peer(0), Moment::ZERO), Asked::InPlaceOf(id(0)));
        let mut requests = Requests::default();
        for n in 0..REQUESTS_TO_MAX as u16 {
            assert_eq!(requests.ask(id(n), peer(n), ALICE, Moment::ZERO), Asked::Fresh);
        }
        assert_eq!(requests.ask(id(999), BOB, ALICE, Moment::ZERO), Asked::TooManyTo);
    }

    #[test]
    fn whoever_leaves_takes_all_requests_along() {
        let mut requests = Requests::default();
        requests.ask(id(1), BOB, ALICE, Moment::ZERO);
        requests.ask(id(2), ALICE, EVE, Moment::ZERO);
        requests.ask(id(3), EVE, ALICE, Moment::ZERO);
        requests.accept(id(3), ALICE, Moment::ZERO);
        let ended = requests.leave(ALICE);
        assert_eq!(
            ended,
            [Ended { request: id(2), from: ALICE, to: EVE }, Ended { request: id(1), from: BOB, to: ALICE }]
        );
        assert_nothing_is_kept(&requests);
    }
}
