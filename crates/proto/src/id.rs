//! Ids: one type for each thing that can be meant.

use core::fmt;
use core::str::FromStr;

use data_encoding::{BASE32_NOPAD, HEXLOWER};

use crate::codec::{Decode, Encode};

/// Length of a [`PeerId`] as text: 256 bits in base32 without padding.
const KEY_TEXT_LEN: usize = 52;
/// Characters of the display-only short form.
const SHORT_LEN: usize = 8;

/// An identity: its Ed25519 public key (RFC 8032, 32 bytes).
///
/// As text 52 lowercase base32 characters (RFC 4648 section 6, no padding).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct PeerId(pub [u8; 32]);

/// A broker: its X25519 static public key (RFC 7748, 32 bytes), same text form.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct BrokerKey(pub [u8; 32]);

/// One chat request, drawn at random by the one who asks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct RequestId(pub [u8; 16]);

/// One file transfer, drawn at random by the one who offers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct TransferId(pub [u8; 16]);

/// One group, drawn at random by the one who makes it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct GroupId(pub [u8; 16]);

/// A text that is not a key: wrong length, wrong alphabet, or bits left over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidKeyText;

impl fmt::Display for InvalidKeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not {KEY_TEXT_LEN} base32 characters")
    }
}

impl core::error::Error for InvalidKeyText {}

impl PeerId {
    /// The first characters of the text form. For people to recognise, never accepted as input.
    pub fn short(&self) -> String {
        let mut text = key_text(&self.0);
        text.truncate(SHORT_LEN);
        text
    }
}

fn key_text(bytes: &[u8; 32]) -> String {
    BASE32_NOPAD.encode(bytes).to_ascii_lowercase()
}

fn key_from_text(text: &str) -> Result<[u8; 32], InvalidKeyText> {
    if text.len() != KEY_TEXT_LEN {
        return Err(InvalidKeyText);
    }
    let bytes = BASE32_NOPAD.decode(text.to_ascii_uppercase().as_bytes()).map_err(|_| InvalidKeyText)?;
    bytes.try_into().map_err(|_| InvalidKeyText)
}

macro_rules! key_as_text {
    ($id:ident) => {
        impl fmt::Display for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&key_text(&self.0))
            }
        }

        impl fmt::Debug for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($id))
            }
        }

        impl FromStr for $id {
            type Err = InvalidKeyText;

            fn from_str(text: &str) -> Result<Self, InvalidKeyText> {
                key_from_text(text).map(Self)
            }
        }
    };
}

macro_rules! id_as_hex {
    ($id:ident) => {
        impl fmt::Display for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&HEXLOWER.encode(&self.0))
            }
        }

        impl fmt::Debug for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($id))
            }
        }
    };
}

key_as_text!(PeerId);
key_as_text!(BrokerKey);
id_as_hex!(RequestId);
id_as_hex!(TransferId);
id_as_hex!(GroupId);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_short_form_is_never_accepted_as_input() {
        let peer = PeerId([7; 32]);
        assert_eq!(peer.short().len(), SHORT_LEN);
        assert_eq!(peer.short().parse::<PeerId>(), Err(InvalidKeyText));
    }

    #[test]
    fn leftover_bits_in_the_last_character_are_refused() {
        let mut text = PeerId([0; 32]).to_string();
        text.pop();
        text.push('b');
        assert_eq!(text.parse::<PeerId>(), Err(InvalidKeyText));
    }

    proptest! {
        #[test]
        fn every_peer_id_survives_its_text_form(bytes: [u8; 32]) {
            let peer = PeerId(bytes);
            prop_assert_eq!(peer.to_string().len(), KEY_TEXT_LEN);
            prop_assert_eq!(peer.to_string().parse::<PeerId>(), Ok(peer));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC{0,60}") {
            if let Ok(peer) = text.parse::<PeerId>() {
                prop_assert_eq!(peer.to_string(), text.to_ascii_lowercase());
            }
        }
    }
}
