//! Which requests were seen, so that an offer is taken once.

use std::collections::{BTreeSet, VecDeque};

use p2pchat_proto::limits::REQUEST_REMEMBERED;
use p2pchat_proto::{Moment, PeerId, RequestId};

/// Most requests that are remembered; a million bytes at the very most. The broker limits how
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
        self.forget(now);
        if !self.seen.insert((from, request)) {
            return false;
        }
        self.order.push_back((now, from, request));
        true
    }

    fn forget(&mut self, now: Moment) {
        while let Some(&(at, from, request)) = self.order.front() {
            let old = now.saturating_since(at) > REQUEST_REMEMBERED;
            if !old && self.order.len() < REQUESTS_REMEMBERED_MAX {
                return;
            }
            self.seen.remove(&(from, request));
            self.order.pop_front();
        }
    }
}
