//! One identity takes the place of another: said to the broker that keeps the name, and to whoever knew it.
//!
//! Two things are signed under one label (protocol section 13), each by the old and by the new key:
//!
//! - the statement ([`state`]), for those who know the old identity. It names no broker and no link: it is
//!   true wherever it is read, for good;
//! - the call ([`call`]), which moves a name. It is over one link to one broker, the name and both keys, so
//!   that it serves once and there. Its length tells it from a statement.

use core::fmt;

use p2pchat_proto::broker::Opaque;
use p2pchat_proto::codec::{self, Body};
use p2pchat_proto::limits::PROTOCOL_VERSION;
use p2pchat_proto::succession::{KeptSuccession, SUCCESSIONS_MAX, SignedSuccession, Succession};
use p2pchat_proto::{BrokerKey, Name, PeerId, WallTime};

use crate::Identity;
use crate::identity::{Label, verify};

/// Why nobody is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SuccessionError {
    /// There is no statement.
    None,
    /// More of them than are followed at once.
    TooMany,
    /// Bytes that are none.
    Malformed,
    /// One of another version.
    Version(u8),
    /// It is about somebody else than the one before it ended with, or about one identity twice.
    Broken,
    /// A signature is wrong.
    Signature,
}

impl fmt::Display for SuccessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "nothing says that one key takes the place of the other",
            Self::TooMany => "more changes of a key than are followed at once",
            Self::Malformed => "a malformed statement about a changed key",
            Self::Version(version) => return write!(f, "a statement of version {version}"),
            Self::Broken => "statements about changed keys that do not fit together",
            Self::Signature => "a statement about a changed key with a wrong signature",
        })
    }
}

impl core::error::Error for SuccessionError {}

/// States that `new` takes the place of `old`.
///
/// # Errors
/// [`SuccessionError::Broken`] if they are the same.
pub fn state(old: &Identity, new: &Identity, made: WallTime) -> Result<KeptSuccession, SuccessionError> {
    let succession = Succession { version: PROTOCOL_VERSION, old: old.peer_id(), new: new.peer_id(), made };
    if succession.old == succession.new {
        return Err(SuccessionError::Broken);
    }
    let body = codec::encode(&succession).map_err(|_| SuccessionError::Malformed)?;
    let by_old = old.sign(Label::Rotate, &body);
    let by_new = new.sign(Label::Rotate, &body);
    let body = Opaque::new(body).ok_or(SuccessionError::Malformed)?;
    let signed = codec::encode(&SignedSuccession { body, by_old, by_new });
    signed.ok().and_then(KeptSuccession::new).ok_or(SuccessionError::Malformed)
}

/// What a statement says, once both signatures were right.
///
/// # Errors
/// See [`SuccessionError`].
pub fn read(kept: &KeptSuccession) -> Result<Succession, SuccessionError> {
    let signed: SignedSuccession = codec::decode(kept.as_slice()).map_err(|_| SuccessionError::Malformed)?;
    let body = signed.body.as_slice();
    let succession: Succession = codec::decode(body).map_err(|_| SuccessionError::Malformed)?;
    if succession.version != PROTOCOL_VERSION {
        return Err(SuccessionError::Version(succession.version));
    }
    if succession.old == succession.new {
        return Err(SuccessionError::Broken);
    }
    let right = verify(succession.old, Label::Rotate, body, &signed.by_old)
        && verify(succession.new, Label::Rotate, body, &signed.by_new);
    if right { Ok(succession) } else { Err(SuccessionError::Signature) }
}

/// Who has taken the place of `known` by these statements, each of which goes on where the one before it
/// ended.
///
/// # Errors
/// See [`SuccessionError`].
pub fn follow(known: PeerId, chain: &[KeptSuccession]) -> Result<PeerId, SuccessionError> {
    if chain.len() > SUCCESSIONS_MAX {
        return Err(SuccessionError::TooMany);
    }
    let mut passed = vec![known];
    for kept in chain {
        let Succession { old, new, .. } = read(kept)?;
        if passed.last() != Some(&old) || passed.contains(&new) {
            return Err(SuccessionError::Broken);
        }
        passed.push(new);
    }
    match passed.as_slice() {
        [.., last] if *last != known => Ok(*last),
        _ => Err(SuccessionError::None),
    }
}

/// The signatures of a call that moves `name`, of the old identity and of the new one.
pub fn call(
    old: &Identity,
    new: &Identity,
    hash: &[u8; 32],
    broker: BrokerKey,
    name: &Name,
) -> [[u8; 64]; 2] {
    let body = call_body(old.peer_id(), new.peer_id(), hash, broker, name);
    [old.sign(Label::Rotate, &body), new.sign(Label::Rotate, &body)]
}

/// Whether `signatures` are those of a call that moves `name` from `old` to `new` on this link to this broker.
pub fn verify_call(
    [old, new]: [PeerId; 2],
    hash: &[u8; 32],
    broker: BrokerKey,
    name: &Name,
    [by_old, by_new]: [&[u8; 64]; 2],
) -> bool {
    let body = call_body(old, new, hash, broker, name);
    verify(old, Label::Rotate, &body, by_old) && verify(new, Label::Rotate, &body, by_new)
}

/// Of fixed length but for the name at the end, and longer than any statement.
fn call_body(old: PeerId, new: PeerId, hash: &[u8; 32], broker: BrokerKey, name: &Name) -> Vec<u8> {
    const { assert!(4 * 32 > <Succession as Body>::MAX_LEN) };
    [&broker.0[..], hash, &old.0, &new.0, name.as_str().as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{identity, say_something_each_of_its_own};
    use proptest::prelude::*;

    const MADE: WallTime = WallTime(1_800_000_000_000);

    fn stated(old: u8, new: u8) -> KeptSuccession {
        state(&identity(old), &identity(new), MADE).unwrap()
    }

    fn peer(n: u8) -> PeerId {
        identity(n).peer_id()
    }

    #[test]
    fn a_statement_says_who_takes_whose_place() {
        let succession = read(&stated(1, 2)).unwrap();
        let expected = Succession { version: 1, old: peer(1), new: peer(2), made: MADE };
        assert_eq!(succession, expected);
        assert_eq!(follow(peer(1), &[stated(1, 2)]), Ok(peer(2)));
        assert_eq!(state(&identity(1), &identity(1), MADE), Err(SuccessionError::Broken));
    }

    #[test]
    fn no_flipped_bit_passes() {
        let kept = stated(1, 2);
        for bit in 0..kept.as_slice().len() * 8 {
            let mut bytes = kept.as_slice().to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&KeptSuccession::new(bytes).unwrap()).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn nobody_is_made_a_successor_without_both_keys() {
        let body = codec::encode(&Succession { version: 1, old: peer(1), new: peer(2), made: MADE }).unwrap();
        let with = |by_old: u8, by_new: u8, label: Label| {
            let [by_old, by_new] = [by_old, by_new].map(|n| identity(n).sign(label, &body));
            let body = Opaque::new(body.clone()).unwrap();
            let bytes = codec::encode(&SignedSuccession { body, by_old, by_new }).unwrap();
            read(&KeptSuccession::new(bytes).unwrap()).map(drop)
        };
        assert_eq!(with(1, 2, Label::Rotate), Ok(()));
        for (by_old, by_new) in [(1, 1), (2, 2), (2, 1), (3, 2), (1, 3)] {
            assert_eq!(with(by_old, by_new, Label::Rotate), Err(SuccessionError::Signature));
        }
        assert_eq!(with(1, 2, Label::Offer), Err(SuccessionError::Signature));
    }

    #[test]
    fn several_changes_are_followed_in_their_order_only_and_so_many_at_once() {
        let chain = |pairs: &[(u8, u8)]| pairs.iter().map(|&(old, new)| stated(old, new)).collect::<Vec<_>>();
        assert_eq!(follow(peer(1), &chain(&[(1, 2), (2, 3)])), Ok(peer(3)));
        assert_eq!(follow(peer(2), &chain(&[(2, 3)])), Ok(peer(3)));
        assert_eq!(follow(peer(1), &[]), Err(SuccessionError::None));
        for broken in
            [&[(2, 3), (1, 2)][..], &[(2, 3)], &[(1, 2), (3, 4)], &[(1, 2), (2, 1)], &[(1, 2), (1, 3)]]
        {
            assert_eq!(follow(peer(1), &chain(broken)), Err(SuccessionError::Broken), "{broken:?}");
        }
        let most: Vec<(u8, u8)> = (1..=8).map(|n| (n, n + 1)).collect();
        assert_eq!(follow(peer(1), &chain(&most)), Ok(peer(9)));
        let more: Vec<(u8, u8)> = (1..=9).map(|n| (n, n + 1)).collect();
        assert_eq!(follow(peer(1), &chain(&more)), Err(SuccessionError::TooMany));
    }

    #[test]
    fn a_call_serves_one_link_one_broker_one_name_and_two_keys() {
        let (hash, broker) = ([7; 32], BrokerKey([8; 32]));
        let [alice, bob]: [Name; 2] = ["alice", "bob"].map(|name| name.parse().unwrap());
        let [by_old, by_new] = call(&identity(1), &identity(2), &hash, broker, &alice);
        let right = |peers, hash: &[u8; 32], broker, name, signatures| {
            verify_call(peers, hash, broker, name, signatures)
        };
        let (peers, signatures) = ([peer(1), peer(2)], [&by_old, &by_new]);
        assert!(right(peers, &hash, broker, &alice, signatures));
        assert!(!right(peers, &[6; 32], broker, &alice, signatures), "another link");
        assert!(!right(peers, &hash, BrokerKey([9; 32]), &alice, signatures), "another broker");
        assert!(!right(peers, &hash, broker, &bob, signatures), "another name");
        assert!(!right([peer(2), peer(1)], &hash, broker, &alice, [&by_new, &by_old]), "the other way");
        assert!(!right([peer(1), peer(3)], &hash, broker, &alice, signatures), "another successor");
        assert!(!right(peers, &hash, broker, &alice, [&by_old, &by_old]), "the old key alone");
        assert!(!right(peers, &hash, broker, &alice, [&by_new, &by_new]), "the new key alone");
    }

    #[test]
    fn each_error_says_what_is_wrong() {
        let errors = [
            SuccessionError::None,
            SuccessionError::TooMany,
            SuccessionError::Malformed,
            SuccessionError::Version(2),
            SuccessionError::Broken,
            SuccessionError::Signature,
        ];
        say_something_each_of_its_own(&errors.each_ref().map(|error| error as &dyn fmt::Display));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            let kept = KeptSuccession::new(bytes).unwrap();
            prop_assert!(read(&kept).is_err());
            prop_assert!(follow(peer(1), &[kept]).is_err());
        }
    }
}
