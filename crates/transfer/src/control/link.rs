//! What is kept for each peer, whether there is a session or not.

use std::collections::VecDeque;

use p2pchat_crypto::Suite;
use p2pchat_proto::transfer::TransferBody;
use p2pchat_proto::{Moment, TransferId};

/// How many ended transfers of one peer are remembered, so that their verdict can be said again
/// and their ids are not taken twice.
const ENDED_MAX: usize = 256;
/// How many verdicts wait for a session with one peer.
const OWED_MAX: usize = 64;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Link {
    suite: Option<Suite>,
    down_since: Moment,
    ended: VecDeque<(TransferId, Option<TransferBody>)>,
    owed: VecDeque<TransferBody>,
}

impl Link {
    /// The suite of the session, while there is one.
    pub(super) const fn suite(&self) -> Option<Suite> {
        self.suite
    }

    pub(super) const fn down_since(&self) -> Moment {
        self.down_since
    }

    /// There is a session; what waited for it.
    pub(super) fn up(&mut self, suite: Suite) -> VecDeque<TransferBody> {
        self.suite = Some(suite);
        core::mem::take(&mut self.owed)
    }

    pub(super) fn down(&mut self, now: Moment) {
        if self.suite.take().is_some() {
            self.down_since = now;
        }
    }

    /// Keeps a verdict for the next session. Past the cap the oldest is left to be asked for.
    pub(super) fn owe(&mut self, verdict: TransferBody) {
        if self.owed.len() == OWED_MAX {
            self.owed.pop_front();
        }
        self.owed.push_back(verdict);
    }

    pub(super) fn ended(&mut self, transfer: TransferId, verdict: Option<TransferBody>) {
        if self.ended.len() == ENDED_MAX {
            self.ended.pop_front();
        }
        self.ended.push_back((transfer, verdict));
    }

    /// What the peer is told when it asks about a transfer that ended; `None` if none of that id did.
    pub(super) fn verdict(&self, transfer: TransferId) -> Option<Option<TransferBody>> {
        self.ended.iter().find(|(id, _)| *id == transfer).map(|(_, verdict)| verdict.clone())
    }
}
