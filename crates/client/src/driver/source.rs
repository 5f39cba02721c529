//! Whose turn it is.

/// In one of so many turns what seldom has something is looked at before UDP, so that datagrams without end
/// keep nothing waiting.
const OTHERS_FIRST_EVERY: usize = 4;

/// Where something may come from beside UDP and requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Broker,
    Carrier,
    Timer,
    Store,
    Network,
}

impl Source {
    const ALL: [Self; 5] = [Self::Broker, Self::Carrier, Self::Timer, Self::Store, Self::Network];

    /// Whether these are looked at first in this turn.
    pub(super) const fn are_first(turn: usize) -> bool {
        turn.is_multiple_of(OTHERS_FIRST_EVERY)
    }

    /// Each of them, and in each turn in which they are first another one before the others.
    pub(super) fn all(turn: usize) -> impl Iterator<Item = Self> {
        let first = turn / OTHERS_FIRST_EVERY % Self::ALL.len();
        Self::ALL.into_iter().cycle().skip(first).take(Self::ALL.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_source_is_looked_at_first_now_and_then_and_all_of_them_in_each_turn() {
        let turns = || 0..OTHERS_FIRST_EVERY * Source::ALL.len();
        for source in Source::ALL {
            let first = |turn| Source::are_first(turn) && Source::all(turn).next() == Some(source);
            assert_eq!(turns().filter(|turn| first(*turn)).count(), 1, "{source:?}");
            assert!(turns().all(|turn| Source::all(turn).filter(|other| *other == source).count() == 1));
        }
    }
}
