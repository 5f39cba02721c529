//! One direction of a link: how it is set up, and what it does to a datagram.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;

/// Nanoseconds in a second.
const SECOND: u128 = 1_000_000_000;
/// Marks the streams of the seed from which states are drawn; there are never so many lines.
const STATES: u64 = 1 << 63;

/// How a direction of a link behaves. The default is a perfect line: no delay, no limit, no fault.
///
/// Shares are probabilities from 0 to 1; what lies outside counts as the nearer end.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct LinkConfig {
    /// Propagation delay, nanoseconds.
    pub delay: u64,
    /// Most that is added to `delay`, nanoseconds, drawn evenly from zero. Keeps the order.
    pub jitter: u64,
    /// What gets lost.
    pub loss: Loss,
    /// Share of datagrams that arrive twice. The copy has a jitter of its own.
    pub duplication: f64,
    /// What is overtaken by later datagrams.
    pub reordering: Reordering,
    /// Share of datagrams in which one bit is flipped.
    pub corruption: f64,
    /// Bandwidth with its queue; `None` is unlimited.
    pub rate: Option<Rate>,
    /// Largest datagram that passes, bytes of UDP payload; `None` is unlimited.
    pub mtu: Option<usize>,
}

/// What a direction loses.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Loss {
    /// Nothing.
    #[default]
    None,
    /// Each datagram with the same probability, whatever happened before it.
    Independent {
        /// That probability.
        share: f64,
    },
    /// In bursts: the Gilbert model (Gilbert 1960, "Capacity of a Burst-Noise Channel") with a
    /// good state that loses nothing and a bad one that loses everything.
    Burst {
        /// Share lost in the long run.
        share: f64,
        /// Mean length of a burst, datagrams; at least 1.
        mean_length: f64,
    },
    /// The general form (Elliott 1963, "Estimates of Error Rates for Codes on Burst-Noise Channels"):
    /// both states lose some. The share lost in the long run is
    /// `(leave * good + enter * bad) / (enter + leave)`.
    GilbertElliott {
        /// Probability, at each datagram, to go from the good state to the bad one.
        enter: f64,
        /// Probability, at each datagram, to go from the bad state to the good one.
        leave: f64,
        /// Share lost in the good state.
        good: f64,
        /// Share lost in the bad state.
        bad: f64,
    },
}

/// What a direction delivers too late, so that later datagrams overtake it.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Reordering {
    /// Share of datagrams that are held back.
    pub share: f64,
    /// How long each is held back, nanoseconds. What is sent within this time overtakes it.
    pub hold: u64,
}

/// Bandwidth of a direction, with a tail-drop queue before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Bytes a second. Zero passes nothing.
    pub bytes_per_second: u64,
    /// Most bytes that wait, the one being sent included.
    pub queue: u64,
}

/// What becomes of one datagram.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Partitioned,
    Oversized,
    Overflowed,
    Lost,
    Passes(Passage),
}

/// When and how a datagram arrives.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Passage {
    pub(crate) at: u64,
    pub(crate) reordered: bool,
    /// Arrival of the second copy.
    pub(crate) copy_at: Option<u64>,
    /// Which bit arrives flipped, counted from the first byte's lowest.
    pub(crate) flipped_bit: Option<u64>,
}

/// One direction of a link with its state.
#[derive(Debug)]
pub(crate) struct Direction {
    pub(crate) config: LinkConfig,
    pub(crate) partitioned: bool,
    rng: ChaCha20Rng,
    /// Draws the state of [`Loss::GilbertElliott`], apart from `rng` so that no other fault moves.
    states: ChaCha20Rng,
    /// When the last byte that was let into the queue has left it.
    busy_until: u64,
    /// Latest arrival so far of a datagram that kept its place.
    last_arrival: u64,
    in_burst: bool,
}

/// The draws for one datagram, always all of them, so that switching one fault on leaves the others
/// where they were.
struct Draws {
    state: f64,
    loss: f64,
    corruption: f64,
    bit: u64,
    jitter: u64,
    reordering: f64,
    duplication: f64,
    copy_jitter: u64,
}

impl Direction {
    /// A direction that draws from stream `stream` of `seed`.
    pub(crate) fn new(config: LinkConfig, seed: u64, stream: u64) -> Self {
        let generator = |stream| {
            let mut rng = ChaCha20Rng::seed_from_u64(seed);
            rng.set_stream(stream);
            rng
        };
        Self {
            config,
            partitioned: false,
            rng: generator(stream),
            states: generator(STATES | stream),
            busy_until: 0,
            last_arrival: 0,
            in_burst: false,
        }
    }

    /// Decides about a datagram of `len` bytes that enters now.
    pub(crate) fn pass(&mut self, now: u64, len: usize) -> Fate {
        let draws = self.draw();
        if self.partitioned {
            return Fate::Partitioned;
        }
        if self.config.mtu.is_some_and(|mtu| len > mtu) {
            return Fate::Oversized;
        }
        let Some(departure) = self.queue(now, len as u64) else {
            return Fate::Overflowed;
        };
        if self.loses(&draws) {
            return Fate::Lost;
        }
        let in_order =
            departure.saturating_add(self.config.delay).saturating_add(draws.jitter).max(self.last_arrival);
        let reordered = draws.reordering < self.config.reordering.share;
        let at = if reordered {
            in_order.saturating_add(self.config.reordering.hold)
        } else {
            self.last_arrival = in_order;
            in_order
        };
        let copied = draws.duplication < self.config.duplication;
        let copy_at = copied.then(|| at.saturating_add(draws.copy_jitter));
        let flips = draws.corruption < self.config.corruption && len > 0;
        let flipped_bit = flips.then(|| draws.bit % (len as u64).saturating_mul(8));
        Fate::Passes(Passage { at, reordered, copy_at, flipped_bit })
    }

    fn draw(&mut self) -> Draws {
        let jitter = self.config.jitter;
        Draws {
            state: self.states.random(),
            loss: self.rng.random(),
            corruption: self.rng.random(),
            bit: self.rng.random(),
            jitter: self.rng.random_range(0..=jitter),
            reordering: self.rng.random(),
            duplication: self.rng.random(),
            copy_jitter: self.rng.random_range(0..=jitter),
        }
    }

    /// When the datagram has left the queue; `None` when there is no room in it.
    fn queue(&mut self, now: u64, len: u64) -> Option<u64> {
        let Some(rate) = self.config.rate else { return Some(now) };
        let bytes_per_second = u128::from(rate.bytes_per_second);
        if bytes_per_second == 0 {
            return None;
        }
        let waiting = u128::from(self.busy_until.saturating_sub(now)) * bytes_per_second / SECOND;
        if waiting + u128::from(len) > u128::from(rate.queue) {
            return None;
        }
        let takes = (u128::from(len) * SECOND).div_ceil(bytes_per_second);
        let takes = u64::try_from(takes).unwrap_or(u64::MAX);
        self.busy_until = self.busy_until.max(now).saturating_add(takes);
        Some(self.busy_until)
    }

    fn loses(&mut self, draws: &Draws) -> bool {
        let draw = draws.loss;
        match self.config.loss {
            Loss::None => false,
            Loss::Independent { share } => draw < share,
            Loss::Burst { share, mean_length } => {
                let leave = 1.0 / mean_length.max(1.0);
                // The stationary share of the bad state is enter / (enter + leave).
                let enter = if share >= 1.0 { 1.0 } else { share * leave / (1.0 - share) };
                self.in_burst = if self.in_burst { share >= 1.0 || draw >= leave } else { draw < enter };
                self.in_burst
            }
            Loss::GilbertElliott { enter, leave, good, bad } => {
                self.in_burst = if self.in_burst { draws.state >= leave } else { draws.state < enter };
                draw < if self.in_burst { bad } else { good }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{millis, seconds};

    const COUNT: usize = 20_000;

    fn fates(config: LinkConfig) -> Vec<Fate> {
        let mut direction = Direction::new(config, 7, 0);
        (0..COUNT as u64).map(|n| direction.pass(millis(n), 100)).collect()
    }

    fn share(fates: &[Fate], of: impl Fn(&Fate) -> bool) -> f64 {
        fates.iter().filter(|fate| of(fate)).count() as f64 / fates.len() as f64
    }

    fn passage(fate: &Fate) -> Option<&Passage> {
        match fate {
            Fate::Passes(passage) => Some(passage),
            Fate::Partitioned | Fate::Oversized | Fate::Overflowed | Fate::Lost => None,
        }
    }

    /// Four standard deviations of a share over [`COUNT`] independent draws.
    fn four_sigma(p: f64) -> f64 {
        4.0 * (p * (1.0 - p) / COUNT as f64).sqrt()
    }

    #[test]
    fn independent_faults_come_as_often_as_their_shares_say() {
        let fates = fates(LinkConfig {
            loss: Loss::Independent { share: 0.3 },
            duplication: 0.05,
            reordering: Reordering { share: 0.2, hold: millis(5) },
            corruption: 0.01,
            ..LinkConfig::default()
        });
        let near = |seen: f64, p: f64| assert!((seen - p).abs() < four_sigma(p), "{seen} for {p}");
        near(share(&fates, |fate| *fate == Fate::Lost), 0.3);
        // What is lost is neither doubled nor held back: the shares are of what passes.
        let passing = |of: fn(&Passage) -> bool| {
            share(&fates, |fate| passage(fate).is_some_and(of)) / share(&fates, |fate| *fate != Fate::Lost)
        };
        near(passing(|p| p.copy_at.is_some()), 0.05);
        near(passing(|p| p.reordered), 0.2);
        near(passing(|p| p.flipped_bit.is_some()), 0.01);
    }

    #[test]
    fn burst_loss_has_its_share_and_its_mean_length() {
        let fates = fates(LinkConfig {
            loss: Loss::Burst { share: 0.12, mean_length: 6.0 },
            ..LinkConfig::default()
        });
        let lost = share(&fates, |fate| *fate == Fate::Lost);
        assert!((lost - 0.12).abs() < 0.03, "{lost}");
        let bursts =
            fates.windows(2).filter(|pair| pair[0] != Fate::Lost && pair[1] == Fate::Lost).count() as f64;
        let mean = lost * COUNT as f64 / bursts;
        assert!((mean - 6.0).abs() < 1.5, "{mean}");
    }

    #[test]
    fn both_states_of_the_general_model_lose_their_share() {
        // A quarter of the time bad, for 20 datagrams at a time: the counts vary more than single draws.
        let (enter, leave, good, bad) = (1.0 / 60.0, 1.0 / 20.0, 0.02, 0.5);
        let loss = Loss::GilbertElliott { enter, leave, good, bad };
        let fates = fates(LinkConfig { loss, ..LinkConfig::default() });
        let expected = (leave * good + enter * bad) / (enter + leave);
        let lost = share(&fates, |fate| *fate == Fate::Lost);
        assert!((lost - expected).abs() < 0.025, "{lost} for {expected}");
        // After a loss the state is likely bad, so the next one is likelier lost than any.
        let after: Vec<_> = fates.windows(2).filter(|pair| pair[0] == Fate::Lost).collect();
        let again = after.iter().filter(|pair| pair[1] == Fate::Lost).count() as f64 / after.len() as f64;
        assert!((0.35..0.5).contains(&again), "{again}");
    }

    #[test]
    fn the_general_model_with_a_blameless_good_state_and_a_hopeless_bad_one_loses_in_bursts() {
        let (enter, leave) = (0.02, 0.2);
        let loss = Loss::GilbertElliott { enter, leave, good: 0.0, bad: 1.0 };
        let fates = fates(LinkConfig { loss, ..LinkConfig::default() });
        let lost = share(&fates, |fate| *fate == Fate::Lost);
        assert!((lost - enter / (enter + leave)).abs() < 0.03, "{lost}");
        let bursts =
            fates.windows(2).filter(|pair| pair[0] != Fate::Lost && pair[1] == Fate::Lost).count() as f64;
        let mean = lost * COUNT as f64 / bursts;
        assert!((mean - 1.0 / leave).abs() < 1.0, "{mean}");
    }

    #[test]
    fn a_share_of_one_or_more_loses_everything_and_nonsense_loses_nothing() {
        for loss in [
            Loss::Independent { share: 1.0 },
            Loss::Burst { share: 1.0, mean_length: 1.0 },
            Loss::Burst { share: 9.0, mean_length: f64::NAN },
            Loss::GilbertElliott { enter: f64::NAN, leave: f64::NAN, good: 1.0, bad: 0.0 },
        ] {
            let fates = fates(LinkConfig { loss, ..LinkConfig::default() });
            assert!(fates.iter().all(|fate| *fate == Fate::Lost), "{loss:?}");
        }
        for loss in [Loss::Independent { share: f64::NAN }, Loss::Burst { share: -1.0, mean_length: 0.0 }] {
            let fates = fates(LinkConfig { loss, ..LinkConfig::default() });
            assert!(fates.iter().all(|fate| passage(fate).is_some()), "{loss:?}");
        }
    }

    #[test]
    fn jitter_spreads_over_its_range_and_never_reorders() {
        let config = LinkConfig { delay: millis(20), jitter: millis(10), ..LinkConfig::default() };
        let mut last = 0;
        let mut sum = 0;
        for (n, fate) in fates(config).iter().enumerate() {
            let at = passage(fate).unwrap().at;
            let took = at - millis(n as u64);
            assert!(at >= last && (millis(20)..=millis(30)).contains(&took));
            last = at;
            sum += took;
        }
        // Waiting behind the one before it can only add to the mean of the draw.
        let mean = sum / COUNT as u64;
        assert!((millis(25)..millis(30)).contains(&mean), "{mean}");
    }

    #[test]
    fn a_datagram_that_is_held_back_arrives_later_by_the_hold_and_holds_nobody_else() {
        let config =
            LinkConfig { reordering: Reordering { share: 0.5, hold: seconds(1) }, ..LinkConfig::default() };
        for (n, fate) in fates(config).iter().enumerate() {
            let passage = passage(fate).unwrap();
            let hold = if passage.reordered { seconds(1) } else { 0 };
            assert_eq!(passage.at, millis(n as u64) + hold);
        }
    }

    #[test]
    fn a_rate_spaces_datagrams_and_its_queue_drops_the_tail() {
        let rate = Rate { bytes_per_second: 1_000_000, queue: 300 };
        let mut direction = Direction::new(LinkConfig { rate: Some(rate), ..LinkConfig::default() }, 1, 0);
        let at: Vec<_> = (0..5).map(|_| passage(&direction.pass(0, 100)).map(|p| p.at)).collect();
        assert_eq!(at, [Some(100_000), Some(200_000), Some(300_000), None, None]);
        assert_eq!(direction.pass(0, 100), Fate::Overflowed);
        assert_eq!(passage(&direction.pass(100_000, 100)).map(|p| p.at), Some(400_000));
    }

    #[test]
    fn a_rate_of_zero_passes_nothing() {
        let rate = Rate { bytes_per_second: 0, queue: u64::MAX };
        let mut direction = Direction::new(LinkConfig { rate: Some(rate), ..LinkConfig::default() }, 1, 0);
        assert_eq!(direction.pass(0, 1), Fate::Overflowed);
    }

    #[test]
    fn one_fault_more_leaves_the_fate_of_the_others_where_it_was() {
        let base = LinkConfig { loss: Loss::Independent { share: 0.2 }, ..LinkConfig::default() };
        let lost = |config| fates(config).iter().map(|fate| *fate == Fate::Lost).collect::<Vec<_>>();
        let more = LinkConfig { duplication: 0.5, corruption: 0.5, jitter: 0, ..base };
        assert_eq!(lost(base), lost(more));
    }
}
