//! Which requests were seen, so that an offer is taken once.

use std::collections::{BTreeSet, VecDeque};

use p2pchat_proto::limits::REQUEST_REMEMBERED;
use p2pchat_proto::{Moment, PeerId, RequestId};

/// Most requests that are remembered; about half a megabyte. The broker limits how
/// often somebody may ask, so a full memory is an attack, and then the oldest is forgotten: taking
/// an old offer again only asks the user once more, as its keys are gone at the other side, while
/// refusing new ones would let a stranger shut everybody else out.
pub const REQUESTS_REMEMBERED_MAX: usize = 4096;

/// Remembers requests for [`REQUEST_REMEMBERED`], by sender, so that nobody can use up the id of
/// somebody else's request.
#[derive(Debug, Default)]
pub struct RequestMemory {
    seen: BTreeSet<(PeerId, RequestId)>,
    order: VecDeque<(Moment, PeerId, RequestId)>,
}

impl RequestMemory {
    /// An empty memory.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether this request of `from` is new; from now on it is not. To be asked once the offer
    /// was verified, so that nothing unsigned takes room.
    pub fn is_new(&mut self, from: PeerId, request: RequestId, now: Moment) -> bool {
        while self.order.front().is_some_and(|(at, ..)| now.saturating_since(*at) > REQUEST_REMEMBERED) {
            self.forget_oldest();
        }
        if self.seen.contains(&(from, request)) {
            return false;
        }
        if self.order.len() >= REQUESTS_REMEMBERED_MAX {
            self.forget_oldest();
        }
        self.seen.insert((from, request));
        self.order.push_back((now, from, request));
        true
    }

    fn forget_oldest(&mut self) {
        if let Some((_, from, request)) = self.order.pop_front() {
            self.seen.remove(&(from, request));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOB: PeerId = PeerId([1; 32]);
    const MALLORY: PeerId = PeerId([2; 32]);

    fn id(number: usize) -> RequestId {
        RequestId(u128::try_from(number).unwrap().to_be_bytes())
    }

    #[test]
    fn a_request_is_new_once_until_it_is_forgotten() {
        let mut memory = RequestMemory::new();
        let start = Moment::from_nanos(5);
        assert!(memory.is_new(BOB, id(1), start));
        assert!(!memory.is_new(BOB, id(1), start + REQUEST_REMEMBERED));
        let later = start + REQUEST_REMEMBERED + core::time::Duration::from_nanos(1);
        assert!(memory.is_new(BOB, id(1), later));
        assert!(!memory.is_new(BOB, id(1), later));
    }

    #[test]
    fn nobody_can_use_up_the_id_of_somebody_elses_request() {
        let mut memory = RequestMemory::new();
        assert!(memory.is_new(MALLORY, id(1), Moment::ZERO));
        assert!(memory.is_new(BOB, id(1), Moment::ZERO));
    }

    #[test]
    fn a_full_memory_forgets_the_oldest_and_stays_bounded() {
        let mut memory = RequestMemory::new();
        for number in 0..=REQUESTS_REMEMBERED_MAX {
            assert!(memory.is_new(MALLORY, id(number), Moment::ZERO));
        }
        assert_eq!(memory.seen.len(), REQUESTS_REMEMBERED_MAX);
        assert_eq!(memory.order.len(), REQUESTS_REMEMBERED_MAX);
        assert!(!memory.is_new(MALLORY, id(1), Moment::ZERO));
        assert!(memory.is_new(MALLORY, id(0), Moment::ZERO));
    }
}
