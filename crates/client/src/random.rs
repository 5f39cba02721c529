//! The system's randomness.

use p2pchat_crypto::generator;
use p2pchat_engine::Failure;
use rand::CryptoRng;
use rand::rngs::SysRng;

/// A generator seeded by the system.
///
/// # Errors
///
/// [`Failure::Local`] if the system gives no randomness, or nothing but zeros.
pub fn system_rng() -> Result<impl CryptoRng, Failure> {
    generator(&mut SysRng)
        .map_err(|error| Failure::Local { what: "draw random numbers".to_owned(), reason: error.to_string() })
}
