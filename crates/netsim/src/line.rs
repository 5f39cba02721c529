//! One direction of a link with what it counted.

use crate::counters::Counters;
use crate::link::{Direction, Fate, LinkConfig, Passage};
use crate::trace::Step;

#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) direction: Direction,
    pub(crate) counters: Counters,
}

impl Line {
    /// A line that draws from stream `stream` of `seed`.
    pub(crate) fn new(config: LinkConfig, seed: u64, stream: u64) -> Self {
        Self { direction: Direction::new(config, seed, stream), counters: Counters::default() }
    }

    /// Decides about a datagram of `len` bytes that enters now, and counts what is decided.
    pub(crate) fn pass(&mut self, now: u64, len: usize) -> (Step, Option<Passage>) {
        self.counters.sent += 1;
        let step = match self.direction.pass(now, len) {
            Fate::Passes(passage) => {
                self.counters.passage(&passage);
                let step = if passage.copy_at.is_some() { Step::Doubled } else { Step::Passed };
                return (step, Some(passage));
            }
            Fate::Partitioned => Step::Partitioned,
            Fate::Oversized => Step::Oversized,
            Fate::Overflowed => Step::Overflowed,
            Fate::Lost => Step::Lost,
        };
        self.counters.end(step);
        (step, None)
    }
}

impl Passage {
    /// Does to the bytes what happens to them on the way.
    pub(crate) fn damage(&self, bytes: &mut [u8]) {
        let Some(bit) = self.flipped_bit else { return };
        let index = usize::try_from(bit / 8).unwrap_or(usize::MAX);
        if let Some(byte) = bytes.get_mut(index) {
            *byte ^= 1 << (bit % 8);
        }
    }
}
