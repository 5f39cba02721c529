//! What happens to a datagram on its way, drawn from a seed.

use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;

/// How long a datagram that is overtaken is held, in milliseconds: longer than many datagrams of a
/// busy session take, shorter than its first timers.
const HELD_MS: std::ops::RangeInclusive<u64> = 2..=20;

/// What a path does to datagrams of one direction. Shares are between 0 and 1.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Faults {
    /// Share that vanishes.
    pub drop: f64,
    /// Share that arrives twice.
    pub duplicate: f64,
    /// Share that is held while others pass.
    pub reorder: f64,
    /// Share in which one bit is turned.
    pub flip: f64,
    /// Turns one bit in this datagram, counted from 0 since the faults were set.
    pub flip_nth: Option<u64>,
    /// For every datagram.
    pub delay: Duration,
}

/// What was done to the datagrams of one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// That came.
    pub came: u64,
    /// That vanished.
    pub dropped: u64,
    /// That went out twice.
    pub duplicated: u64,
    /// That were held.
    pub reordered: u64,
    /// In which a bit was turned.
    pub flipped: u64,
}

/// One direction of a path.
#[derive(Debug)]
pub struct Path {
    faults: Faults,
    counts: Counts,
    since_set: u64,
    rng: ChaCha20Rng,
}

impl Path {
    /// A path without faults.
    pub fn new(seed: u64) -> Self {
        let rng = ChaCha20Rng::seed_from_u64(seed);
        Self { faults: Faults::default(), counts: Counts::default(), since_set: 0, rng }
    }

    /// Changes what the path does, from the next datagram on.
    pub fn set(&mut self, faults: Faults) {
        self.faults = faults;
        self.since_set = 0;
    }

    /// What it did until now.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// What leaves the path for a datagram that enters it, and after which time.
    pub fn pass(&mut self, datagram: &[u8]) -> Vec<(Duration, Vec<u8>)> {
        let number = self.since_set;
        self.since_set += 1;
        self.counts.came += 1;
        if self.chance(self.faults.drop) {
            self.counts.dropped += 1;
            return Vec::new();
        }
        let mut bytes = datagram.to_vec();
        if self.faults.flip_nth == Some(number) || self.chance(self.faults.flip) {
            self.turn_a_bit(&mut bytes);
        }
        let mut delay = self.faults.delay;
        if self.chance(self.faults.reorder) {
            self.counts.reordered += 1;
            delay += Duration::from_millis(self.rng.random_range(HELD_MS));
        }
        if self.chance(self.faults.duplicate) {
            self.counts.duplicated += 1;
            let later = delay + Duration::from_millis(self.rng.random_range(HELD_MS));
            return vec![(delay, bytes.clone()), (later, bytes)];
        }
        vec![(delay, bytes)]
    }

    fn chance(&mut self, share: f64) -> bool {
        share > 0.0 && self.rng.random_bool(share.min(1.0))
    }

    fn turn_a_bit(&mut self, bytes: &mut [u8]) {
        if bytes.is_empty() {
            return;
        }
        let at = self.rng.random_range(0..bytes.len());
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= 1 << self.rng.random_range(0..8);
            self.counts.flipped += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANY: u64 = 20_000;

    /// What came out for each datagram that went in.
    type Passed = Vec<Vec<(Duration, Vec<u8>)>>;

    fn passed(faults: Faults) -> (Counts, Passed) {
        let mut path = Path::new(1);
        path.set(faults);
        let out = (0..MANY).map(|n| path.pass(&n.to_be_bytes())).collect();
        (path.counts(), out)
    }

    fn is_about(count: u64, share: f64) -> bool {
        let expected = MANY as f64 * share;
        (count as f64 - expected).abs() < expected * 0.1
    }

    #[test]
    fn without_faults_everything_passes_once_unchanged_and_at_once() {
        let (counts, out) = passed(Faults::default());
        assert_eq!(counts, Counts { came: MANY, ..Counts::default() });
        for (n, copies) in (0..MANY).zip(out) {
            assert_eq!(copies, [(Duration::ZERO, n.to_be_bytes().to_vec())]);
        }
    }

    #[test]
    fn the_shares_that_were_asked_for_are_dropped_doubled_and_held() {
        let faults = Faults { drop: 0.3, duplicate: 0.05, reorder: 0.2, ..Faults::default() };
        let (counts, out) = passed(faults);
        assert!(is_about(counts.dropped, 0.3), "{counts:?}");
        assert!(is_about(counts.duplicated, 0.7 * 0.05), "{counts:?}");
        assert!(is_about(counts.reordered, 0.7 * 0.2), "{counts:?}");
        let (none, two) = (out.iter().filter(|o| o.is_empty()), out.iter().filter(|o| o.len() == 2));
        assert_eq!((none.count() as u64, two.count() as u64), (counts.dropped, counts.duplicated));
    }

    #[test]
    fn a_flip_turns_exactly_one_bit_of_the_datagram_that_was_named() {
        let (counts, out) = passed(Faults { flip_nth: Some(7), ..Faults::default() });
        assert_eq!(counts.flipped, 1);
        for (n, copies) in (0..MANY).zip(out) {
            let turned: u32 =
                copies[0].1.iter().zip(n.to_be_bytes()).map(|(a, b)| (a ^ b).count_ones()).sum();
            assert_eq!(turned, u32::from(n == 7));
        }
    }

    #[test]
    fn the_same_seed_does_the_same() {
        let faults = Faults { drop: 0.3, duplicate: 0.05, reorder: 0.2, flip: 0.1, ..Faults::default() };
        assert_eq!(passed(faults), passed(faults));
    }
}
