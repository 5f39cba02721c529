//! The system's randomness.

use p2pchat_engine::Failure;
use rand::rngs::{StdRng, SysRng};
use rand::{CryptoRng, SeedableRng as _};

/// A generator seeded by the system.
///
/// # Errors
///
/// [`Failure::Local`] if the system gives no randomness.
pub fn system_rng() -> Result<impl CryptoRng, Failure> {
    StdRng::try_from_rng(&mut SysRng)
        .map_err(|error| Failure::Local { what: "draw random numbers".to_owned(), reason: error.to_string() })
}
