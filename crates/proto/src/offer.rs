//! The signed statement of one identity to another: "I want to talk to you, with these keys, now".

use crate::codec::{Body, Decode, DecodeFailure, Encode, decode_checked};
use crate::id::{BrokerKey, PeerId, RequestId};
use crate::limits::OFFER_BODY_MAX;
use crate::name::Name;
use crate::time::WallTime;

/// Length of an ML-KEM-768 encapsulation key (FIPS 203 table 3), in bytes.
pub const KEM_KEY_LEN: usize = 1184;
/// Length of an ML-KEM-768 ciphertext (FIPS 203 table 3), in bytes.
pub const KEM_CIPHERTEXT_LEN: usize = 1088;

/// An offer as it travels. What was signed is `body` as it came, so it is never re-encoded.
#[derive(Debug, Clone, PartialEq, Eq, Encode)]
pub struct SignedOffer {
    /// An encoded [`OfferBody`].
    pub body: Vec<u8>,
    /// Ed25519 over the labelled body.
    pub signature: [u8; 64],
}

decode_checked!(SignedOffer, |decoder| {
    let body: Vec<u8> = Decode::decode(decoder)?;
    if body.len() > OFFER_BODY_MAX {
        return Err(DecodeFailure::Other("offer too long"));
    }
    Ok(Self { body, signature: Decode::decode(decoder)? })
});

impl Body for SignedOffer {
    /// Body, its length, and the signature.
    const MAX_LEN: usize = OFFER_BODY_MAX + 8 + 64;
}

/// Which of the two an offer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum OfferKind {
    /// The one who asks.
    Request,
    /// The one who accepts.
    Accept,
}

/// Whom an offer is for.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Addressee {
    /// A pinned identity.
    Peer(PeerId),
    /// Whoever holds this name at the broker.
    Name(Name),
}

/// What the two will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Purpose {
    /// Talk, and pass files.
    Chat,
}

/// Cipher suites for sealed data, as a set of bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Suites(pub u16);

impl Suites {
    /// ChaCha20-Poly1305 (RFC 8439). In every offer.
    pub const CHACHA20_POLY1305: Self = Self(1);
    /// AES-256-GCM (NIST SP 800-38D), where the processor has the instructions.
    pub const AES_256_GCM: Self = Self(2);

    /// Both sets together.
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether every suite of `other` is in this set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// The content of an offer.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct OfferBody {
    /// [`crate::limits::PROTOCOL_VERSION`].
    pub version: u8,
    /// Request or accept.
    pub kind: OfferKind,
    /// The request that this belongs to.
    pub request: RequestId,
    /// Who signs.
    pub from: PeerId,
    /// For whom.
    pub to: Addressee,
    /// The signer's X25519 static key for the Noise handshake.
    pub noise_static: [u8; 32],
    /// A fresh X25519 key, for this request only.
    pub eph_x25519: [u8; 32],
    /// Encapsulation key ([`KEM_KEY_LEN`]) in a request, ciphertext ([`KEM_CIPHERTEXT_LEN`]) in an accept.
    pub kem: Vec<u8>,
    /// What the signer can seal data with.
    pub suites: Suites,
    /// What else the signer understands; no bit is defined in version 1.
    pub features: u64,
    /// The broker over which the signer sends this.
    pub broker_key: BrokerKey,
    /// When it was made, by the signer's clock corrected by the broker's.
    pub made: WallTime,
    /// What for.
    pub purpose: Purpose,
    /// In an accept: BLAKE3 of the request's offer bytes (body and signature). None in a request.
    pub answers: Option<[u8; 32]>,
}

impl Body for OfferBody {
    const MAX_LEN: usize = OFFER_BODY_MAX;
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;

    use super::*;
    use crate::codec::{decode, encode};

    #[test]
    fn both_kinds_of_offer_have_their_bytes() {
        let bytes = |n: u8, len: usize| format!("{n:02x}").repeat(len);
        let request = OfferBody {
            version: 1,
            kind: OfferKind::Request,
            request: RequestId([1; 16]),
            from: PeerId([2; 32]),
            to: Addressee::Name("al".parse().unwrap()),
            noise_static: [3; 32],
            eph_x25519: [4; 32],
            kem: vec![5; 2],
            suites: Suites::CHACHA20_POLY1305.with(Suites::AES_256_GCM),
            features: 0,
            broker_key: BrokerKey([6; 32]),
            made: WallTime(0x0a0b),
            purpose: Purpose::Chat,
            answers: None,
        };
        let accept = OfferBody {
            kind: OfferKind::Accept,
            to: Addressee::Peer(PeerId([7; 32])),
            answers: Some([8; 32]),
            ..request.clone()
        };
        let (id, from, noise, eph) = (bytes(1, 16), bytes(2, 32), bytes(3, 32), bytes(4, 32));
        let middle = format!(
            "{noise}{eph} 0000000000000002 0505 0003 0000000000000000 {} 0000000000000a0b 00000000",
            bytes(6, 32)
        );
        let expected = [
            (request, format!("01 00000000 {id}{from} 00000001 0000000000000002 616c {middle} 00")),
            (
                accept,
                format!("01 00000001 {id}{from} 00000000 {} {middle} 01 {}", bytes(7, 32), bytes(8, 32)),
            ),
        ];
        for (body, hex) in expected {
            assert_eq!(HEXLOWER.encode(&encode(&body).unwrap()), hex.replace(' ', ""));
        }
    }

    #[test]
    fn the_largest_offer_fits_its_cap() {
        let body = OfferBody {
            version: 1,
            kind: OfferKind::Request,
            request: RequestId([1; 16]),
            from: PeerId([2; 32]),
            to: Addressee::Name("a".repeat(32).parse().unwrap()),
            noise_static: [3; 32],
            eph_x25519: [4; 32],
            kem: vec![5; KEM_KEY_LEN],
            suites: Suites::CHACHA20_POLY1305.with(Suites::AES_256_GCM),
            features: u64::MAX,
            broker_key: BrokerKey([6; 32]),
            made: WallTime(7),
            purpose: Purpose::Chat,
            answers: Some([8; 32]),
        };
        let bytes = encode(&body).unwrap();
        assert_eq!(decode::<OfferBody>(&bytes), Ok(body));
        let signed = SignedOffer { body: bytes, signature: [9; 64] };
        assert_eq!(decode::<SignedOffer>(&encode(&signed).unwrap()), Ok(signed));
    }
}
