//! When sessions have to be woken.

use p2pchat_proto::Moment;

use crate::event::SessionId;

/// The soonest last: a session that talks is among the soonest, so that few others have to make room
/// when it goes on to its next wakeup.
#[derive(Debug, Default)]
pub(super) struct Wakeups(Vec<(Moment, SessionId)>);

impl Wakeups {
    /// The next one.
    pub(super) fn first(&self) -> Option<Moment> {
        self.0.last().map(|(at, _)| *at)
    }

    /// Takes the next one, if it is due.
    pub(super) fn pop_due(&mut self, now: Moment) -> Option<SessionId> {
        self.0.pop_if(|(at, _)| *at <= now).map(|(_, id)| id)
    }

    /// Wakes a session at `to` instead of at `from`; [`Moment::NEVER`] is not at all.
    pub(super) fn put_off(&mut self, id: SessionId, from: Moment, to: Moment) {
        if let Ok(place) = self.place(from, id) {
            self.0.remove(place);
        }
        if to < Moment::NEVER
            && let Err(place) = self.place(to, id)
        {
            self.0.insert(place, (to, id));
        }
    }

    fn place(&self, at: Moment, id: SessionId) -> Result<usize, usize> {
        self.0.binary_search_by(|other| (at, id).cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn every_session_is_woken_once_at_its_latest_moment_and_the_soonest_first(
            steps in proptest::collection::vec((0u64..6, 0u64..40, any::<bool>()), 0..200),
        ) {
            let mut wakeups = Wakeups::default();
            let mut model = BTreeMap::new();
            for (id, at, never) in steps {
                let (id, to) = (SessionId(id), if never { Moment::NEVER } else { Moment::from_nanos(at) });
                let from = model.remove(&id).unwrap_or(Moment::NEVER);
                wakeups.put_off(id, from, to);
                model.extend((!never).then_some((id, to)));
                prop_assert_eq!(wakeups.first(), model.values().min().copied());
            }
            for now in (0..40).map(Moment::from_nanos) {
                let mut due = Vec::new();
                while let Some(id) = wakeups.pop_due(now) {
                    due.push(id);
                }
                due.sort_unstable();
                let expected: Vec<_> = model.iter().filter(|(_, at)| **at == now).map(|(id, _)| *id).collect();
                prop_assert_eq!(due, expected);
            }
        }
    }
}
