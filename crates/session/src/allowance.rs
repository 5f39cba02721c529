//! How many bytes may go to an address (RFC 9000 section 8).

/// Bytes that may go to an address that proved nothing, for each byte that came from it (protocol
/// section 5; RFC 9000 section 8.1).
const FACTOR: u64 = 3;

/// What may go to one address: anything once somebody there has proven to receive, and before that
/// a multiple of what came from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Allowance {
    /// Somebody there has answered what only they could have got.
    Validated,
    /// Nobody has; so many bytes are left.
    Left(u64),
}

impl Allowance {
    /// For an address from which so many bytes came.
    pub(crate) const fn earned(bytes: u64) -> Self {
        Self::Left(bytes.saturating_mul(FACTOR))
    }

    /// So many bytes came from it.
    pub(crate) const fn on_received(&mut self, bytes: u64) {
        if let Self::Left(left) = self {
            *left = left.saturating_add(bytes.saturating_mul(FACTOR));
        }
    }

    /// How many bytes may go there now.
    pub(crate) const fn room(self) -> u64 {
        match self {
            Self::Validated => u64::MAX,
            Self::Left(left) => left,
        }
    }

    /// Counts bytes that go there, if they may.
    pub(crate) const fn take(&mut self, bytes: u64) -> bool {
        match self {
            Self::Validated => true,
            Self::Left(left) => match left.checked_sub(bytes) {
                Some(rest) => {
                    *left = rest;
                    true
                }
                None => false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn never_more_than_three_times_what_came_goes_out(
            steps in proptest::collection::vec((any::<bool>(), 0u64..2000), 0..200),
        ) {
            let (mut allowance, mut came, mut went) = (Allowance::Left(0), 0, 0);
            for (comes, bytes) in steps {
                if comes {
                    allowance.on_received(bytes);
                    came += bytes;
                } else {
                    let room = allowance.room();
                    prop_assert_eq!(allowance.take(bytes), bytes <= room);
                    went += if bytes <= room { bytes } else { 0 };
                }
                prop_assert!(went <= 3 * came);
                prop_assert_eq!(allowance.room(), 3 * came - went);
            }
        }
    }

    #[test]
    fn whoever_has_proven_to_receive_gets_everything() {
        let mut allowance = Allowance::Validated;
        assert!(allowance.take(u64::MAX) && allowance.take(u64::MAX));
        assert_eq!(allowance.room(), u64::MAX);
    }
}
