//! A handle at one broker. Display and lookup only: trust is bound to the [`PeerId`](crate::PeerId).

use core::borrow::Borrow;
use core::fmt;
use core::str::FromStr;
use std::sync::Arc;

use crate::codec::{Decode, DecodeFailure, Encode, decode_checked};

/// Fewest characters of a name.
pub const NAME_MIN_LEN: usize = 2;
/// Most characters of a name.
pub const NAME_MAX_LEN: usize = 32;
/// What a name may look like, for messages to people.
pub const NAME_RULE: &str =
    "2 to 32 of a-z, 0-9, dot, underscore and hyphen, beginning with a letter or digit";

/// ASCII `[a-z0-9][a-z0-9._-]{1,31}`: what is left has one form, one width and no look-alikes
/// outside ASCII, so it can be compared byte by byte and printed as it is. A clone shares the text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Encode)]
pub struct Name(Arc<str>);

/// A text that is not a [`Name`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidName;

impl fmt::Display for InvalidName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a name is {NAME_RULE}")
    }
}

impl core::error::Error for InvalidName {}

impl Name {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        if is_name(text) { Ok(Self(text.into())) } else { Err(InvalidName) }
    }
}

fn is_name(text: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    (NAME_MIN_LEN..=NAME_MAX_LEN).contains(&text.len())
        && text.bytes().next().is_some_and(alphanumeric)
        && text.bytes().all(|b| alphanumeric(b) || matches!(b, b'.' | b'_' | b'-'))
}

/// Names compare and hash as their text, so a map of them can be searched by text that is no name.
impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

decode_checked!(Name, |decoder| {
    let text: String = Decode::decode(decoder)?;
    text.parse().map_err(|InvalidName| DecodeFailure::Other("invalid name"))
});

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_at_the_edges_of_the_rule() {
        for good in ["al", "a1", "0x", "a.b", "a-_.", &"a".repeat(32)] {
            assert!(good.parse::<Name>().is_ok(), "{good}");
        }
        for bad in ["", "a", "-a", ".a", "Alice", "al ice", "al\u{e9}", "\u{430}lice", "a\n", &"a".repeat(33)]
        {
            assert_eq!(bad.parse::<Name>(), Err(InvalidName), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_parses_is_what_the_rule_allows(text in "\\PC{0,40}") {
            if let Ok(name) = text.parse::<Name>() {
                prop_assert_eq!(name.as_str(), text.as_str());
                prop_assert!(text.is_ascii() && (2..=32).contains(&text.len()));
            }
        }
    }
}
