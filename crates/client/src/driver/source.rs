//! Whose turn it is.

/// In one of so many turns another source than UDP is looked at first, each in its turn, so that datagrams
/// without end keep nothing waiting.
const OTHERS_FIRST_EVERY: usize = 4;

/// Where something may come from, in the order in which it is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Udp,
    Request,
    Broker,
    Carrier,
    Timer,
    Store,
    Network,
}

impl Source {
    const ALL: [Self; 7] =
        [Self::Udp, Self::Request, Self::Broker, Self::Carrier, Self::Timer, Self::Store, Self::Network];

    /// What is looked at first in this turn.
    pub(super) fn first(turn: usize) -> Self {
        let others = turn.is_multiple_of(OTHERS_FIRST_EVERY).then_some(turn / OTHERS_FIRST_EVERY);
        others.and_then(|round| Self::ALL.get(round % Self::ALL.len())).copied().unwrap_or(Self::Udp)
    }

    /// This one, those behind it, and then those before it.
    pub(super) fn and_then_the_others(self) -> impl Iterator<Item = Self> {
        let behind = Self::ALL.into_iter().skip_while(move |source| *source != self);
        behind.chain(Self::ALL.into_iter().take_while(move |source| *source != self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_source_is_looked_at_first_now_and_then_and_all_of_them_in_each_turn() {
        let turns = || 0..OTHERS_FIRST_EVERY * Source::ALL.len();
        for source in Source::ALL {
            assert!(turns().any(|turn| Source::first(turn) == source), "{source:?}");
            let order: Vec<_> = source.and_then_the_others().collect();
            assert_eq!((order.len(), order[0]), (Source::ALL.len(), source));
            assert!(Source::ALL.iter().all(|other| order.contains(other)), "{order:?}");
        }
    }
}
