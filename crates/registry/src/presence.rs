//! Who watches whom.

use std::collections::{BTreeMap, BTreeSet};

use p2pchat_proto::PeerId;

use crate::command::ConnId;

/// The watchers of each identity, online or not.
#[derive(Debug, Default)]
pub(crate) struct Watchers {
    of: BTreeMap<PeerId, BTreeSet<ConnId>>,
}

impl Watchers {
    pub(crate) fn add(&mut self, watched: PeerId, watcher: ConnId) {
        self.of.entry(watched).or_default().insert(watcher);
    }

    pub(crate) fn remove(&mut self, watched: &PeerId, watcher: ConnId) {
        let Some(watchers) = self.of.get_mut(watched) else { return };
        watchers.remove(&watcher);
        if watchers.is_empty() {
            self.of.remove(watched);
        }
    }

    pub(crate) fn of(&self, watched: &PeerId) -> Vec<ConnId> {
        self.of.get(watched).map(|watchers| watchers.iter().copied().collect()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_watched_by_nobody_leaves_no_trace() {
        let mut watchers = Watchers::default();
        let peer = PeerId([1; 32]);
        watchers.add(peer, ConnId(1));
        watchers.add(peer, ConnId(2));
        watchers.remove(&peer, ConnId(1));
        assert_eq!(watchers.of(&peer), [ConnId(2)]);
        watchers.remove(&peer, ConnId(2));
        watchers.remove(&peer, ConnId(2));
        assert!(watchers.of.is_empty());
    }
}
