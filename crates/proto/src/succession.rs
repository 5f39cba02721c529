//! One identity takes the place of another: the statement that both keys sign.

use crate::broker::Opaque;
use crate::codec::{Body, Decode, DecodeFailure, Encode, decode_checked};
use crate::id::PeerId;
use crate::name::Name;
use crate::time::WallTime;

/// Most bytes of a [`SignedSuccession`] as it is kept and passed on: a body of 73, two signatures and two
/// lengths are 217.
pub const SUCCESSION_MAX: usize = 256;

/// Most statements of one name, each of which goes on where the one before it ended (our choice: whoever
/// was away meanwhile has missed so many changes of one person's key, and who missed more looks for
/// themselves). A broker keeps no more, and nobody follows more at once.
pub const SUCCESSIONS_MAX: usize = 8;

/// A statement as whoever cannot read it keeps and passes it on.
pub type KeptSuccession = Opaque<SUCCESSION_MAX>;

/// "Whoever knew me as `old` knows me as `new` from now on."
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Succession {
    /// [`PROTOCOL_VERSION`](crate::limits::PROTOCOL_VERSION).
    pub version: u8,
    /// The identity until now.
    pub old: PeerId,
    /// The one that takes its place.
    pub new: PeerId,
    /// When, by the clock of whoever states it. For people to read; nothing depends on it.
    pub made: WallTime,
}

/// The statement with both signatures, over the received bytes of its body.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct SignedSuccession {
    /// A [`Succession`].
    pub body: Opaque<{ Succession::MAX_LEN }>,
    /// Ed25519 of the old identity over the label `p2pchat 1 rotate` and the body.
    pub by_old: [u8; 64],
    /// The same of the new one, so that nobody is made somebody's successor by others.
    pub by_new: [u8; 64],
}

/// Moves the name of this link's identity to another one.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Rotate {
    /// The name.
    pub name: Name,
    /// The identity that holds it from now on.
    pub new: PeerId,
    /// Ed25519 of this link's identity over the label `p2pchat 1 rotate`, the broker's key, the link's
    /// handshake hash, both keys and the name.
    pub by_old: [u8; 64],
    /// The same of the new identity.
    pub by_new: [u8; 64],
    /// The statement that the broker keeps for those who ask with [`SuccessionOf`].
    pub succession: KeptSuccession,
}

/// Asks who has taken the place of somebody under a name; answered by [`Succeeded`].
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct SuccessionOf {
    /// The name.
    pub name: Name,
    /// Who had it once.
    pub peer: PeerId,
}

/// Answer to [`SuccessionOf`].
#[derive(Debug, Clone, PartialEq, Eq, Encode)]
pub struct Succeeded {
    /// The statements from the one about that identity to the last, at most [`SUCCESSIONS_MAX`]; none where
    /// nobody is known to have taken its place.
    pub chain: Vec<KeptSuccession>,
}

decode_checked!(Succeeded, |decoder| {
    let chain: Vec<KeptSuccession> = Decode::decode(decoder)?;
    if chain.len() > SUCCESSIONS_MAX {
        return Err(DecodeFailure::Other("too many statements"));
    }
    Ok(Self { chain })
});

impl Body for Succession {
    const MAX_LEN: usize = 1 + 2 * 32 + 8;
}

impl Body for SignedSuccession {
    const MAX_LEN: usize = SUCCESSION_MAX;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{DecodeError, decode, encode};
    use data_encoding::HEXLOWER;
    use proptest::prelude::*;

    fn succession() -> Succession {
        Succession { version: 1, old: PeerId([0xaa; 32]), new: PeerId([0xbb; 32]), made: WallTime(0xabc) }
    }

    #[test]
    fn the_bytes_of_a_statement() {
        let body = encode(&succession()).unwrap();
        let expected = format!("01{}{}0000000000000abc", "aa".repeat(32), "bb".repeat(32));
        assert_eq!(HEXLOWER.encode(&body), expected);
        let body = Opaque::new(body).unwrap();
        let signed = SignedSuccession { body, by_old: [1; 64], by_new: [2; 64] };
        let bytes = encode(&signed).unwrap();
        let signatures = format!("{}{}", "01".repeat(64), "02".repeat(64));
        assert_eq!(HEXLOWER.encode(&bytes), format!("0000000000000049{expected}{signatures}"));
        assert_eq!(decode(&bytes), Ok(signed));
    }

    #[test]
    fn a_statement_with_more_behind_it_or_less_is_refused() {
        let body = encode(&succession()).unwrap();
        let longer = [&body[..], &[0]].concat();
        assert!(matches!(decode::<Succession>(&longer), Err(DecodeError::TooLong { .. })));
        assert_eq!(decode::<Succession>(&body[1..]), Err(DecodeError::Malformed));
        assert!(Opaque::<{ Succession::MAX_LEN }>::new(longer).is_none());
    }

    #[test]
    fn the_most_statements_fit_an_answer_and_one_more_is_refused() {
        let longest = KeptSuccession::new(vec![7; SUCCESSION_MAX]).unwrap();
        let full = Succeeded { chain: vec![longest.clone(); SUCCESSIONS_MAX] };
        let bytes = encode(&full).unwrap();
        assert_eq!(decode(&bytes), Ok(full));
        let more = encode(&Succeeded { chain: vec![longest; SUCCESSIONS_MAX + 1] }).unwrap();
        assert_eq!(decode::<Succeeded>(&more), Err(DecodeError::Malformed));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(signed) = decode::<SignedSuccession>(&bytes) {
                prop_assert_eq!(encode(&signed).unwrap(), bytes);
            }
        }
    }
}
