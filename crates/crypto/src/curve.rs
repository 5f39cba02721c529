//! X25519 and Ed25519 keys of others, checked where they enter.

use ed25519_dalek::VerifyingKey;
use p2pchat_proto::PeerId;

/// The canonical u-coordinates of low order on Curve25519 and its twist: orders 4, 1 or 2, 8, 8
/// and 2 (RFC 7748 section 6.1 asks for the check of what they lead to; the values are those of
/// the curve's 8-torsion). The other encodings of them are not canonical and fail before.
const LOW_ORDER: [[u8; 32]; 5] = [
    [0; 32],
    one(),
    [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a, 0xda,
        0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00,
    ],
    [
        0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef, 0x5b, 0x04,
        0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57,
    ],
    p_plus(0xec),
];

const fn one() -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[0] = 1;
    bytes
}

/// 2^255 - 19 with the lowest byte (0xed in p itself) replaced, little-endian.
const fn p_plus(lowest: u8) -> [u8; 32] {
    let mut bytes = [0xff; 32];
    bytes[0] = lowest;
    bytes[31] = 0x7f;
    bytes
}

/// Whether `key` is an X25519 public key that one may compute with: canonical (below 2^255 - 19,
/// RFC 7748 section 5) and not of low order.
pub(crate) fn is_sound_x25519(key: &[u8; 32]) -> bool {
    let p = p_plus(0xed);
    key.iter().rev().lt(p.iter().rev()) && !LOW_ORDER.contains(key)
}

/// The key of an identity, if it is one that strict verification can accept: a canonical point
/// (RFC 8032 section 5.1.3) and not of small order.
pub(crate) fn verifying_key(peer: PeerId) -> Option<VerifyingKey> {
    let key = VerifyingKey::from_bytes(&peer.0).ok()?;
    (!key.is_weak() && key.to_edwards().compress().0 == peer.0).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use x25519_dalek::{PublicKey, StaticSecret};

    #[test]
    fn every_listed_point_leads_to_zero_and_is_refused() {
        let secret = StaticSecret::from([7; 32]);
        for point in LOW_ORDER {
            assert!(!secret.diffie_hellman(&PublicKey::from(point)).was_contributory());
            assert!(!is_sound_x25519(&point));
        }
    }

    #[test]
    fn other_spellings_of_a_key_are_refused() {
        let key = PublicKey::from(&StaticSecret::from([7; 32])).to_bytes();
        assert!(is_sound_x25519(&key));
        let mut high_bit = key;
        high_bit[31] |= 0x80;
        assert!(!is_sound_x25519(&high_bit));
        for lowest in 0xed..=0xff {
            assert!(!is_sound_x25519(&p_plus(lowest)), "{lowest:#x}");
        }
        assert!(is_sound_x25519(&p_plus(0xeb)));
    }

    #[test]
    fn ed25519_keys_that_sign_anything_are_refused() {
        let identity = one();
        assert!(VerifyingKey::from_bytes(&identity).unwrap().is_weak());
        assert!(verifying_key(PeerId(identity)).is_none());
        assert!(verifying_key(PeerId([0; 32])).is_none());
    }

    #[test]
    fn other_spellings_of_an_identity_are_refused() {
        // y = p + 3, which decodes as y = 3 and is a point of large order.
        let spelled = p_plus(0xf0);
        let mut canonical = [0; 32];
        canonical[0] = 3;
        assert!(verifying_key(PeerId(canonical)).is_some());
        assert!(VerifyingKey::from_bytes(&spelled).is_ok());
        assert!(verifying_key(PeerId(spelled)).is_none());
    }
}
