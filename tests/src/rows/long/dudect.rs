//! K8: whether the time of a comparison tells where two things differ.
//!
//! As dudect does it (O. Reparaz, J. Balasch, I. Verbauwhede, "Dude, is my code constant time?", DATE 2017):
//! calls of two classes, drawn at random for each measurement, Welch's t over their times, once with all of
//! them and once without the slowest for each of many cuts, since the interrupts of a machine have a long
//! tail. Here the classes are a wrong value whose first byte differs and one whose last byte does. The value
//! is put in the same place before the clock is read, and one measurement is a batch of calls, so that the
//! clock resolves it.
//!
//! What else a machine does hits both classes alike, because they are drawn at random, and |t| of equal
//! times exceeds the limit in less than one of a million rounds and cuts. Should something follow the
//! classes by chance nevertheless, it does not for three rounds, while a comparison that ends early is as
//! early in each: what counts is the smallest |t| of up to three rounds.

use std::collections::BTreeSet;
use std::hint::black_box;
use std::time::{Duration, Instant};

use p2pchat_crypto::carrier::{self, CarrierSecret};
use p2pchat_crypto::{ResumptionSecret, Seed, keyfile};
use rand::{Rng, RngExt};
use rand_chacha::ChaCha20Rng;

use crate::rows::{Defence, Lab, NotRun, Promise, Seen, each};
use crate::sim::people::People;

/// Measurements of one round.
const MEASUREMENTS: usize = 1_000_000;
/// |t| from which two classes take different times.
const T_LIMIT: f64 = 5.0;
/// Rounds that have to say so.
const ROUNDS: usize = 3;
/// Cuts, as many as dudect has.
const CUTS: usize = 100;
/// How long one measurement is to take: many times what the clock resolves.
const MEASURED: Duration = Duration::from_micros(1);
/// Most calls of one measurement.
const BATCH_MAX: u32 = 64;
/// Measurements by which the length of a batch is found.
const TRIALS: u32 = 1_000;
/// Measurements below which a class says nothing.
const CLASS_MIN: u64 = 10_000;

const DATAGRAM: Promise = "the MAC of a datagram is compared in a time that says nothing";
const HELLO: Promise = "the MAC of a file's hello is compared in a time that says nothing";
const SECRET: Promise = "the secret of a reunion is compared in a time that says nothing";
const PASSPHRASE: Promise = "the tag that decides about a passphrase is compared in a time that says nothing";

const SUBJECTS: [(usize, Promise); 4] = [(0, DATAGRAM), (1, HELLO), (2, SECRET), (3, PASSPHRASE)];

/// Whether the product takes a value.
type Accepts = dyn Fn(&[u8]) -> bool;

/// A comparison of the product: what it takes for right, and whether it takes a value.
struct Subject {
    promise: Promise,
    right: Vec<u8>,
    /// The bytes that are compared: the first, and the last.
    compared: [usize; 2],
    accepts: Box<Accepts>,
}

/// |t| of one round at its worst cut, and the two means there, in nanoseconds for each call.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Round {
    t: f64,
    means: [f64; 2],
}

pub(super) fn says_nothing(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let mut figures = Vec::new();
    let subjects = subjects(&mut lab.rng)?;
    let seen = each(defence, &SUBJECTS, |early| {
        let mut broken = BTreeSet::new();
        for (number, subject) in subjects.iter().enumerate() {
            // A double is the product's own comparison, followed by one that ends early.
            if early.is_some_and(|early| early != number) {
                continue;
            }
            let mut least: Option<Round> = None;
            for _ in 0..ROUNDS {
                let round = subject.round(early.is_some(), &mut lab.rng)?;
                least = Some(least.filter(|least| least.t < round.t).unwrap_or(round));
                if round.t < T_LIMIT {
                    break;
                }
            }
            let Some(Round { t, means: [first, last] }) = least else { continue };
            broken.extend((t >= T_LIMIT).then_some(subject.promise));
            figures.push(format!("|t| {t:.1} ({first:.1} and {last:.1} ns)"));
        }
        Ok(broken)
    })?;
    Ok(seen.figure(figures.join(", ")))
}

fn subjects(rng: &mut ChaCha20Rng) -> Result<[Subject; 4], NotRun> {
    let (bobs, alices) = People::default().introduce(rng);
    let mut datagram = [0; 80];
    rng.fill_bytes(&mut datagram);
    let mac = bobs.mac(&datagram);

    let mut bytes = [0; 32];
    rng.fill_bytes(&mut bytes);
    let hello = [&b"D"[..], &bytes, &bytes].concat();
    let secret = CarrierSecret::from_bytes(bytes);
    let hello_mac = carrier::hello_mac(&secret, &[&hello]);

    let kept = ResumptionSecret::from_bytes(bytes);

    // Without Argon2, the rest is the same for a key file with a passphrase.
    let file = keyfile::seal(&Seed::from_bytes(bytes), None, rng)?;
    let tag = file.len() - carrier::TAG_LEN;
    Ok([
        Subject {
            promise: DATAGRAM,
            right: mac.to_vec(),
            compared: [0, mac.len() - 1],
            accepts: Box::new(move |mac| alices.verify_mac(&datagram, mac)),
        },
        Subject {
            promise: HELLO,
            right: hello_mac.to_vec(),
            compared: [0, hello_mac.len() - 1],
            accepts: Box::new(move |mac| carrier::verify_hello_mac(&secret, &[&hello], mac)),
        },
        Subject {
            promise: SECRET,
            right: bytes.to_vec(),
            compared: [0, bytes.len() - 1],
            accepts: Box::new(move |other| {
                other.try_into().is_ok_and(|other| ResumptionSecret::from_bytes(other) == kept)
            }),
        },
        Subject {
            promise: PASSPHRASE,
            compared: [tag, file.len() - 1],
            right: file,
            accepts: Box::new(|file| keyfile::open(file, None).is_ok()),
        },
    ])
}

impl Subject {
    fn round(&self, early: bool, rng: &mut ChaCha20Rng) -> Result<Round, NotRun> {
        let call = |value: &[u8]| {
            let accepted = (self.accepts)(black_box(value));
            let [first, last] = self.compared;
            accepted | (early && ends_early(&value[first..=last], &self.right[first..=last]))
        };
        let classes = self.compared.map(|at| {
            let mut wrong = self.right.clone();
            wrong[at] ^= 1;
            wrong
        });
        if !call(&self.right) || classes.iter().any(|wrong| call(wrong)) {
            return Err(NotRun(format!("it does not compare: {}", self.promise)));
        }
        let begin = Instant::now();
        for _ in 0..TRIALS {
            black_box(call(&classes[1]));
        }
        let one = (begin.elapsed() / TRIALS).as_nanos().max(1);
        let batch = u32::try_from(MEASURED.as_nanos().div_ceil(one))?.min(BATCH_MAX);

        let mut value = self.right.clone();
        let mut times: Vec<(u64, bool)> = Vec::with_capacity(MEASUREMENTS);
        for _ in 0..MEASUREMENTS {
            let late: bool = rng.random();
            // In the same place, and without a branch on the class.
            value.copy_from_slice(&classes[usize::from(late)]);
            let begin = Instant::now();
            for _ in 0..batch {
                black_box(call(black_box(&value)));
            }
            times.push((u64::try_from(begin.elapsed().as_nanos())?, late));
        }
        let round = worst(&mut times).ok_or_else(|| NotRun("too few measurements".to_owned()))?;
        Ok(Round { means: round.means.map(|mean| mean / f64::from(batch)), ..round })
    }
}

/// The double: it stops where the two differ.
#[inline(never)]
fn ends_early(one: &[u8], other: &[u8]) -> bool {
    one.iter().zip(other).all(|(one, other)| black_box(one) == black_box(other))
}

/// Times of one class: how many, their sum, and the sum of their squares.
#[derive(Debug, Clone, Copy, Default)]
struct Class {
    count: u64,
    sum: u128,
    squares: u128,
}

impl Class {
    fn add(&mut self, time: u64) {
        let time = u128::from(time);
        self.count += 1;
        self.sum += time;
        self.squares += time * time;
    }

    #[expect(clippy::cast_precision_loss, reason = "sums are exact until here; a ratio needs no more")]
    fn mean(&self) -> f64 {
        self.sum as f64 / self.count as f64
    }

    /// The square of the mean's standard error.
    #[expect(clippy::cast_precision_loss, reason = "as above")]
    fn error(&self) -> f64 {
        let count = u128::from(self.count);
        let spread = count * self.squares - self.sum * self.sum;
        spread as f64 / (count * count * (count - 1)) as f64
    }
}

/// Welch's t of two classes. None where one has too few measurements, or neither spreads.
fn welch(classes: &[Class; 2]) -> Option<f64> {
    let [one, other] = classes;
    let error = (one.error_of_enough()? + other.error_of_enough()?).sqrt();
    (error > 0.0).then(|| (one.mean() - other.mean()) / error)
}

impl Class {
    fn error_of_enough(&self) -> Option<f64> {
        (self.count >= CLASS_MIN).then(|| self.error())
    }
}

/// The cut at which the classes differ most: each leaves out a number of the slowest, from almost all to none,
/// at dudect's percentiles, 1 - 2^(-i/10).
fn worst(times: &mut [(u64, bool)]) -> Option<Round> {
    times.sort_unstable_by_key(|(time, _)| *time);
    let mut classes = [Class::default(); 2];
    let mut worst: Option<Round> = None;
    let mut times = times.iter();
    let all = times.len();
    for cut in 1..=CUTS + 1 {
        let last = cut > CUTS;
        let kept = if last { all } else { share(all, cut) };
        let seen = usize::try_from(classes[0].count + classes[1].count).ok()?;
        for (time, late) in times.by_ref().take(kept.saturating_sub(seen)) {
            classes[usize::from(*late)].add(*time);
        }
        if let Some(t) = welch(&classes).map(f64::abs)
            && worst.is_none_or(|worst| t > worst.t)
        {
            worst = Some(Round { t, means: classes.each_ref().map(Class::mean) });
        }
    }
    worst
}

/// How many of `all` the cut `cut` keeps.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of at most a million"
)]
fn share(all: usize, cut: usize) -> usize {
    (all as f64 * (1.0 - 0.5_f64.powf(10.0 * cut as f64 / CUTS as f64))) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    fn times(second: u64, tail: u64) -> Vec<(u64, bool)> {
        let mut rng = ChaCha20Rng::seed_from_u64(7);
        let mut time = |late: bool| {
            let slow = if rng.random_range(0..20) == 0 { rng.random_range(0..tail) } else { 0 };
            rng.random_range(900..1_100) + u64::from(late) * second + slow
        };
        (0..100_000).map(|number| number % 2 == 0).map(|late| (time(late), late)).collect()
    }

    #[test]
    fn welchs_t_is_that_of_a_known_example() {
        // Two classes of 10,000 at 10 +- 1 and 12 +- 2: t = -2 / sqrt((1 + 4) / 9,999).
        let class = |times: [u64; 2]| {
            let mut class = Class::default();
            (0..5_000).for_each(|_| times.iter().for_each(|time| class.add(*time)));
            class
        };
        let t = welch(&[class([9, 11]), class([10, 14])]).unwrap();
        assert!((t + 2.0 / (5.0_f64 / 9_999.0).sqrt()).abs() < 1e-9, "{t}");
        assert_eq!(welch(&[Class::default(), class([9, 11])]), None);
    }

    #[test]
    fn equal_times_stay_below_the_limit_and_a_hundredth_more_does_not() {
        assert!(worst(&mut times(0, 10)).unwrap().t < T_LIMIT);
        assert!(worst(&mut times(10, 10)).unwrap().t > T_LIMIT);
    }

    #[test]
    fn a_long_tail_that_hides_a_difference_is_cut_off() {
        let mut times = times(10, 100_000_000);
        let (mut classes, tail) = ([Class::default(); 2], &times);
        tail.iter().for_each(|(time, late)| classes[usize::from(*late)].add(*time));
        assert!(welch(&classes).unwrap().abs() < T_LIMIT);
        assert!(worst(&mut times).unwrap().t > T_LIMIT);
    }
}
