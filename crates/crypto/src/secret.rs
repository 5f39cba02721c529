//! Secrets as types: wiped when dropped, silent when printed.

use core::fmt;

use rand::CryptoRng;
use zeroize::Zeroizing;

/// Implements a `Debug` that tells the type and nothing of the value.
macro_rules! redacted {
    ($($secret:ident),* $(,)?) => {
        $(impl core::fmt::Debug for $secret {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.write_str(concat!(stringify!($secret), "(..)"))
            }
        })*
    };
}
pub(crate) use redacted;

/// A secret of 32 bytes for one purpose.
macro_rules! secret {
    ($(#[$doc:meta])* $vis:vis struct $name:ident;) => {
        $(#[$doc])*
        #[derive(zeroize::Zeroize, zeroize::ZeroizeOnDrop)]
        $vis struct $name([u8; 32]);

        impl $name {
            pub(crate) const fn new(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            pub(crate) const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        $crate::secret::redacted!($name);
    };
}
pub(crate) use secret;

/// The source of randomness gave nothing but zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RandomnessFailed;

impl fmt::Display for RandomnessFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the system's randomness failed")
    }
}

impl core::error::Error for RandomnessFailed {}

/// `N` random bytes, at least 16 of which cannot all be zero by chance.
pub(crate) fn random<const N: usize>(
    rng: &mut dyn CryptoRng,
) -> Result<Zeroizing<[u8; N]>, RandomnessFailed> {
    let mut bytes = Zeroizing::new([0; N]);
    rng.fill_bytes(&mut *bytes);
    if bytes.iter().all(|&b| b == 0) { Err(RandomnessFailed) } else { Ok(bytes) }
}
