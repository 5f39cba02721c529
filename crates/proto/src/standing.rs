//! How somebody stands towards others: what they see, who finds them, whose requests are passed on.

use core::fmt;
use core::str::FromStr;

use crate::codec::{Decode, Encode};

macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $what:literal { $($(#[$word_doc:meta])* $word:ident $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Encode, Decode)]
        pub enum $name {
            $($(#[$word_doc])* $word,)*
        }

        impl $name {
            /// Every one, the default first.
            pub const ALL: &'static [Self] = &[$(Self::$word,)*];

            /// As people type it.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$word => $text,)*
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = NoSuchWord;

            fn from_str(text: &str) -> Result<Self, NoSuchWord> {
                let found = Self::ALL.iter().find(|word| word.as_str() == text);
                found.copied().ok_or(NoSuchWord($what))
            }
        }
    };
}

/// A word that is none of those there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoSuchWord(&'static str);

impl fmt::Display for NoSuchWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl core::error::Error for NoSuchWord {}

words! {
    /// What others see of somebody who is there.
    Availability, "a status is online, away, busy or invisible" {
        /// There.
        #[default]
        Online "online",
        /// There, but not at the machine.
        Away "away",
        /// There, and not to be disturbed.
        Busy "busy",
        /// There, and seen by nobody.
        Invisible "invisible",
    }
}

words! {
    /// Who sees that somebody is there.
    Visibility, "a visibility is public, contacts or private" {
        /// Everybody, who finds them in the directory, too.
        #[default]
        Public "public",
        /// Those whom they know.
        Contacts "contacts",
        /// Nobody.
        Private "private",
    }
}

words! {
    /// Whose requests are passed on.
    ContactPolicy, "a policy is everyone, contacts or nobody" {
        /// Everybody's.
        #[default]
        Everyone "everyone",
        /// Those of people whom they know.
        Contacts "contacts",
        /// Nobody's.
        Nobody "nobody",
    }
}

/// All of it. The default is what counts of somebody who has said nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
pub struct Standing {
    /// What others see.
    pub status: Availability,
    /// Who sees it.
    pub visibility: Visibility,
    /// Who may ask.
    pub policy: ContactPolicy,
}

/// Some of it, to take the place of what was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StandingChange {
    /// What others see, where that changes.
    pub status: Option<Availability>,
    /// Who sees it, where that changes.
    pub visibility: Option<Visibility>,
    /// Who may ask, where that changes.
    pub policy: Option<ContactPolicy>,
}

impl Standing {
    /// With the change.
    #[must_use]
    pub fn with(self, change: StandingChange) -> Self {
        Self {
            status: change.status.unwrap_or(self.status),
            visibility: change.visibility.unwrap_or(self.visibility),
            policy: change.policy.unwrap_or(self.policy),
        }
    }

    /// Whether it is that of somebody who has said nothing.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_comes_back_and_no_other_is_taken() {
        for word in Availability::ALL {
            assert_eq!(word.to_string().parse(), Ok(*word));
        }
        for word in Visibility::ALL {
            assert_eq!(word.to_string().parse(), Ok(*word));
        }
        for word in ContactPolicy::ALL {
            assert_eq!(word.to_string().parse(), Ok(*word));
        }
        for wrong in ["", "Online", "offline", "on", "online "] {
            assert!(wrong.parse::<Availability>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_change_touches_nothing_else() {
        let was = Standing { status: Availability::Busy, ..Standing::default() };
        let change = StandingChange { policy: Some(ContactPolicy::Nobody), ..StandingChange::default() };
        assert_eq!(was.with(change), Standing { policy: ContactPolicy::Nobody, ..was });
        assert_eq!(was.with(StandingChange::default()), was);
        assert!(!was.is_default() && Standing::default().is_default());
    }
}
