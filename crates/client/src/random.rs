//! The system's randomness.

use p2pchat_crypto::generator;
use p2pchat_engine::Failure;
use p2pchat_proto::Name;
use p2pchat_proto::name::InvalidName;
use rand::CryptoRng;
use rand::rngs::SysRng;

/// What the name of an anonymous user begins with.
const GUEST: &str = "guest-";
/// How many characters follow: with those of [`LETTERS`], 2^30 names.
const GUEST_LETTERS: usize = 6;
/// Characters of names, without those that look like others.
const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// A generator seeded by the system.
///
/// # Errors
///
/// [`Failure::Local`] if the system gives no randomness, or nothing but zeros.
pub fn system_rng() -> Result<impl CryptoRng, Failure> {
    generator(&mut SysRng)
        .map_err(|error| Failure::Local { what: "draw random numbers".to_owned(), reason: error.to_string() })
}

/// A name that says nothing of whoever bears it: `guest-` and six characters of 32.
///
/// # Errors
/// [`Failure::Internal`] if that were no name.
pub fn guest_name(rng: &mut dyn CryptoRng) -> Result<Name, Failure> {
    let mut bytes = [0; GUEST_LETTERS];
    rng.fill_bytes(&mut bytes);
    let letters = bytes.map(|byte| char::from(LETTERS[usize::from(byte) % LETTERS.len()]));
    let name = GUEST.chars().chain(letters).collect::<String>();
    name.parse().map_err(|error: InvalidName| Failure::Internal(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_guest_has_a_name_of_their_own() {
        let names: BTreeSet<_> =
            (0..100).map(|_| guest_name(&mut system_rng().unwrap()).unwrap().to_string()).collect();
        assert_eq!(names.len(), 100);
        assert!(
            names.iter().all(|name| name.len() == GUEST.len() + GUEST_LETTERS && name.starts_with(GUEST))
        );
    }
}
