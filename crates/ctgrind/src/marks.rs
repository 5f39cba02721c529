//! Secrets in, outcomes out.

use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::hint::black_box;

use rand::{Rng, SeedableRng, TryCryptoRng, TryRng};
use rand_chacha::ChaCha20Rng;

use crate::Done;

/// Knows which memory is secret.
pub trait Marks {
    /// From here on these bytes are a secret, and so is what comes from them.
    fn hide(&mut self, bytes: &mut [u8]);

    /// From here on these bytes are public. Whether they were a secret.
    fn show(&mut self, bytes: &[u8]) -> bool;
}

/// What an operation gave was no secret: nothing was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotThere;

impl fmt::Display for NotThere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the secret does not reach what comes out")
    }
}

impl Error for NotThere {}

/// Where an operation gets its secrets, and shows what it did with them.
pub struct Bench<'a>(&'a mut dyn Marks);

impl fmt::Debug for Bench<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bench(..)")
    }
}

impl<'a> Bench<'a> {
    /// With these marks.
    pub fn new(marks: &'a mut dyn Marks) -> Self {
        Self(marks)
    }

    /// These bytes as a secret.
    #[must_use]
    pub fn secret<const N: usize>(&mut self, mut bytes: [u8; N]) -> [u8; N] {
        self.0.hide(&mut bytes);
        bytes
    }

    /// The same in place.
    pub fn hide(&mut self, bytes: &mut [u8]) {
        self.0.hide(bytes);
    }

    /// What [`Recorded::new`] gives, all of it secret.
    #[must_use]
    pub fn random(&mut self, seed: u8) -> Recorded {
        let mut recorded = Recorded::new(seed);
        self.0.hide(&mut recorded.bytes);
        recorded
    }

    /// What somebody else gets to see of a secret.
    ///
    /// # Errors
    /// [`NotThere`].
    pub fn show(&mut self, bytes: &[u8]) -> Result<(), NotThere> {
        if self.0.show(bytes) { Ok(()) } else { Err(NotThere) }
    }

    /// The outcome, which is to be `right`.
    ///
    /// # Errors
    /// [`NotThere`], or if it is not.
    pub fn gives(&mut self, outcome: &[u8], right: &[u8]) -> Done {
        self.show(outcome)?;
        // Read again, now that it is public.
        if black_box(outcome) == right { Ok(()) } else { Err("it gives something else".into()) }
    }

    /// What was decided, which is to be `right`. It is public: whoever waits for an answer sees it.
    ///
    /// # Errors
    /// [`NotThere`], or if it is not.
    pub fn decides(&mut self, outcome: bool, right: bool) -> Done {
        self.gives(&[u8::from(outcome)], &[u8::from(right)])
    }
}

/// Bytes that a generator gave, to be given again: what draws from two of one seed draws the same.
pub struct Recorded {
    bytes: [u8; Self::LEN],
    given: usize,
}

impl fmt::Debug for Recorded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recorded(..)")
    }
}

impl Recorded {
    /// More than any operation draws, in bytes.
    const LEN: usize = 256;

    /// Of a seed.
    pub fn new(seed: u8) -> Self {
        let mut bytes = [0; Self::LEN];
        ChaCha20Rng::from_seed([seed; 32]).fill_bytes(&mut bytes);
        Self { bytes, given: 0 }
    }

    fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut taken = [0; N];
        self.fill(&mut taken);
        taken
    }

    /// Zeros once there is no more, which the product takes for a source that failed.
    fn fill(&mut self, dest: &mut [u8]) {
        let rest = self.bytes.get(self.given..).unwrap_or_default();
        dest.fill(0);
        dest.iter_mut().zip(rest).for_each(|(to, byte)| *to = *byte);
        self.given += dest.len();
    }
}

impl TryRng for Recorded {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(u32::from_le_bytes(self.take()))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(u64::from_le_bytes(self.take()))
    }

    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), Infallible> {
        self.fill(dest);
        Ok(())
    }
}

impl TryCryptoRng for Recorded {}
