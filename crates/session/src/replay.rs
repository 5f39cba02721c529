//! Which packet numbers were used already (RFC 4303 section 3.4.3, with a wider window).

/// Numbers below the highest that are told apart; what is older counts as seen (protocol
/// section 5).
pub const REPLAY_WINDOW: u64 = 2048;

const WORD_BITS: u64 = u64::BITS as u64;
const WORDS: usize = (REPLAY_WINDOW / WORD_BITS) as usize;

/// The window under the highest number that was authentic.
///
/// [`Self::is_fresh`] is asked before a packet is opened and [`Self::mark`] called only after, so a
/// forged number moves nothing.
#[derive(Debug, Clone)]
pub(crate) struct ReplayWindow {
    /// One above the highest number, or 0.
    end: u64,
    /// Bit `n % REPLAY_WINDOW` for each number `n` of the window.
    seen: [u64; WORDS],
}

impl ReplayWindow {
    pub(crate) const fn new() -> Self {
        Self { end: 0, seen: [0; WORDS] }
    }

    /// Whether `number` is higher than all that were marked.
    pub(crate) const fn is_highest(&self, number: u64) -> bool {
        number >= self.end
    }

    /// Whether a packet with `number` may still be new.
    pub(crate) fn is_fresh(&self, number: u64) -> bool {
        if number >= self.end {
            return number < u64::MAX;
        }
        let age = self.end.saturating_sub(number);
        age <= REPLAY_WINDOW && self.word(number) & bit(number) == 0
    }

    /// Notes an authentic packet.
    pub(crate) fn mark(&mut self, number: u64) {
        if number >= self.end {
            let after = number.saturating_add(1);
            let new = after.saturating_sub(self.end);
            if new >= REPLAY_WINDOW {
                self.seen = [0; WORDS];
            } else {
                (self.end..after).for_each(|passed| self.update(passed, |word| word & !bit(passed)));
            }
            self.end = after;
        }
        self.update(number, |word| word | bit(number));
    }

    fn word(&self, number: u64) -> u64 {
        self.seen.get(index(number)).copied().unwrap_or(u64::MAX)
    }

    fn update(&mut self, number: u64, change: impl FnOnce(u64) -> u64) {
        if let Some(word) = self.seen.get_mut(index(number)) {
            *word = change(*word);
        }
    }
}

const fn index(number: u64) -> usize {
    ((number % REPLAY_WINDOW) / WORD_BITS) as usize
}

const fn bit(number: u64) -> u64 {
    1 << (number % WORD_BITS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[derive(Default)]
    struct Model(BTreeSet<u64>);

    impl Model {
        fn is_fresh(&self, number: u64) -> bool {
            let too_old = self.0.last().is_some_and(|&last| number + REPLAY_WINDOW <= last);
            number < u64::MAX && !too_old && !self.0.contains(&number)
        }
    }

    fn agree(numbers: impl IntoIterator<Item = u64>) {
        let mut window = ReplayWindow::new();
        let mut model = Model::default();
        for number in numbers {
            assert_eq!(window.is_fresh(number), model.is_fresh(number), "{number}");
            if model.is_fresh(number) {
                window.mark(number);
                model.0.insert(number);
                assert!(!window.is_fresh(number), "{number} again");
            }
        }
    }

    #[test]
    fn the_edges_of_words_and_of_the_window_are_exact() {
        let edges = [0, 63, 64, 127, 2047, 2048, 2049, 4095, 4096, 1 << 32];
        let around = edges.into_iter().flat_map(|edge: u64| {
            let far = edge + REPLAY_WINDOW;
            [edge.saturating_sub(1), edge, edge + 1, far - 1, far, far + 1, edge, edge + 1]
        });
        agree(around);
    }

    #[test]
    fn numbers_at_the_end_of_the_range_do_not_wrap() {
        let mut window = ReplayWindow::new();
        window.mark(u64::MAX - 1);
        assert!(!window.is_fresh(u64::MAX - 1));
        assert!(!window.is_fresh(u64::MAX));
        assert!(!window.is_fresh(0));
        assert!(window.is_fresh(u64::MAX - REPLAY_WINDOW));
        assert!(!window.is_fresh(u64::MAX - 1 - REPLAY_WINDOW));
    }

    #[test]
    fn a_number_that_is_marked_twice_stays_marked() {
        let mut window = ReplayWindow::new();
        for number in [5, 9, 5] {
            window.mark(number);
        }
        assert!(!window.is_fresh(5));
        assert!(!window.is_fresh(9));
    }

    #[test]
    fn a_number_that_is_only_asked_for_moves_nothing() {
        let mut window = ReplayWindow::new();
        window.mark(5);
        assert!(window.is_fresh(1 << 40));
        assert!(window.is_fresh(4));
        assert!(!window.is_fresh(5));
    }

    proptest! {
        #[test]
        fn any_order_agrees_with_a_set_of_numbers(
            steps in proptest::collection::vec((0u64..6000, any::<bool>()), 0..400),
        ) {
            let mut base = 0;
            agree(steps.into_iter().map(|(step, jump)| {
                if jump {
                    base += step;
                }
                base + step % 2500
            }));
        }
    }
}
