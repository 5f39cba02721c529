//! Token buckets on the clock that is passed in.
//!
//! A bucket is one moment: when it would be full again (the generic cell rate algorithm of ITU-T
//! I.371 annex A). An untouched bucket and a full one are the same, so full ones can be forgotten.

use core::time::Duration;
use std::collections::BTreeMap;

use p2pchat_proto::Moment;

use crate::limits::RATE_KEYS_MAX;

/// So many at once, then one for each `refill`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Tokens of a full bucket.
    pub burst: u32,
    /// Time in which one token comes back.
    pub refill: Duration,
}

impl Rate {
    /// Time in which an empty bucket becomes full.
    fn depth(self) -> Duration {
        self.refill.saturating_mul(self.burst)
    }
}

/// One bucket.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Bucket {
    full_at: Moment,
}

impl Bucket {
    /// Takes one token, or says how long until there is one.
    pub(crate) fn take(&mut self, rate: Rate, now: Moment) -> Result<(), Duration> {
        let full_at = self.full_at.max(now) + rate.refill;
        let until_full = full_at.saturating_since(now);
        if until_full > rate.depth() {
            return Err(until_full.saturating_sub(rate.depth()));
        }
        self.full_at = full_at;
        Ok(())
    }
}

/// One bucket a key, for at most [`RATE_KEYS_MAX`] keys.
#[derive(Debug)]
pub(crate) struct Limiter<K> {
    rate: Rate,
    buckets: BTreeMap<K, Bucket>,
}

impl<K: Ord> Limiter<K> {
    pub(crate) fn new(rate: Rate) -> Self {
        Self { rate, buckets: BTreeMap::new() }
    }

    /// Takes a token of `key`, or says how long until there is one.
    pub(crate) fn take(&mut self, key: K, now: Moment) -> Result<(), Duration> {
        if self.buckets.len() >= RATE_KEYS_MAX && !self.buckets.contains_key(&key) {
            self.forget_full(now);
            // Whoever commands so many keys is not limited by one of them; refusing newcomers
            // instead would let him shut everybody out.
            if self.buckets.len() >= RATE_KEYS_MAX {
                self.buckets.clear();
            }
        }
        self.buckets.entry(key).or_default().take(self.rate, now)
    }

    /// Forgets every key whose bucket is full again.
    pub(crate) fn forget_full(&mut self, now: Moment) {
        self.buckets.retain(|_, bucket| bucket.full_at > now);
    }

    /// Whether no key is remembered.
    pub(crate) fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }
}

/// `wait` in whole seconds, rounded up, as replies carry it.
pub(crate) fn seconds(wait: Duration) -> u32 {
    u32::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FIVE_AN_HOUR: Rate = Rate { burst: 5, refill: Duration::from_secs(720) };

    #[test]
    fn a_burst_passes_and_the_next_waits_for_one_refill() {
        let mut bucket = Bucket::default();
        let start = Moment::from_nanos(7);
        for _ in 0..5 {
            assert_eq!(bucket.take(FIVE_AN_HOUR, start), Ok(()));
        }
        assert_eq!(bucket.take(FIVE_AN_HOUR, start), Err(Duration::from_secs(720)));
        let later = start + Duration::from_secs(720);
        assert_eq!(bucket.take(FIVE_AN_HOUR, later), Ok(()));
        assert!(bucket.take(FIVE_AN_HOUR, later).is_err());
    }

    #[test]
    fn keys_do_not_share_and_full_ones_are_forgotten() {
        let mut limiter = Limiter::new(Rate { burst: 1, refill: Duration::from_secs(1) });
        assert!(limiter.take(1, Moment::ZERO).is_ok());
        assert!(limiter.take(1, Moment::ZERO).is_err());
        assert!(limiter.take(2, Moment::ZERO).is_ok());
        limiter.forget_full(Moment::ZERO + Duration::from_secs(1));
        assert!(limiter.is_empty());
    }

    #[test]
    fn a_limiter_never_remembers_more_keys_than_its_cap() {
        let mut limiter = Limiter::new(FIVE_AN_HOUR);
        for key in 0..=RATE_KEYS_MAX {
            assert!(limiter.take(key, Moment::ZERO).is_ok());
        }
        assert!(limiter.buckets.len() <= RATE_KEYS_MAX);
    }

    #[test]
    fn waits_are_rounded_up() {
        assert_eq!(seconds(Duration::from_millis(1)), 1);
        assert_eq!(seconds(Duration::from_secs(2)), 2);
    }

    proptest! {
        #[test]
        fn no_window_sees_more_than_the_burst_and_its_refills(gaps in proptest::collection::vec(0u64..2_000, 1..200)) {
            let rate = Rate { burst: 4, refill: Duration::from_millis(500) };
            let (mut bucket, mut now, mut taken) = (Bucket::default(), Moment::ZERO, 0u64);
            for gap in gaps {
                now = now + Duration::from_millis(gap);
                taken += u64::from(bucket.take(rate, now).is_ok());
                let since_start = now.saturating_since(Moment::ZERO).as_millis() as u64;
                prop_assert!(taken <= 4 + since_start / 500);
            }
        }
    }
}
