//! UDP endpoints that one side announces to the other, sealed from the broker.

use core::net::{IpAddr, SocketAddr};

use crate::codec::{Body, Decode, DecodeFailure, Encode, decode_checked};
use crate::limits::{ENDPOINTS_MAX, SEALED_ENDPOINTS_MAX};

/// At most [`ENDPOINTS_MAX`] addresses, each of which may be sent to.
///
/// Building one drops what must never be dialled, so no other check is needed further in.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode)]
pub struct UdpEndpoints(Vec<SocketAddr>);

impl UdpEndpoints {
    /// The dialable ones among `candidates`, in order, without repetition, cut at the cap.
    pub fn new(candidates: impl IntoIterator<Item = SocketAddr>) -> Self {
        let mut kept: Vec<SocketAddr> = Vec::new();
        for candidate in candidates {
            if kept.len() == ENDPOINTS_MAX {
                break;
            }
            if is_dialable(candidate) && !kept.contains(&candidate) {
                kept.push(candidate);
            }
        }
        Self(kept)
    }

    /// The addresses.
    pub fn as_slice(&self) -> &[SocketAddr] {
        &self.0
    }

    /// Without loopback addresses, which mean another machine's own interface unless both
    /// sides are known to share one (protocol section 4).
    pub fn without_loopback(&self) -> Self {
        Self(self.0.iter().copied().filter(|a| !a.ip().to_canonical().is_loopback()).collect())
    }
}

decode_checked!(UdpEndpoints, |decoder| {
    let list: Vec<SocketAddr> = Decode::decode(decoder)?;
    if list.len() > ENDPOINTS_MAX {
        return Err(DecodeFailure::Other("too many endpoints"));
    }
    Ok(Self::new(list))
});

impl Body for UdpEndpoints {
    const MAX_LEN: usize = SEALED_ENDPOINTS_MAX;
}

/// Whether a datagram or a connection may ever go to `address`: never to port 0 and never to an
/// unspecified, multicast or broadcast address.
pub fn is_dialable(address: SocketAddr) -> bool {
    let ip = address.ip().to_canonical();
    let broadcast = match ip {
        IpAddr::V4(v4) => v4.is_broadcast(),
        IpAddr::V6(_) => false,
    };
    address.port() != 0 && !ip.is_unspecified() && !ip.is_multicast() && !broadcast
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{DecodeError, decode, encode};

    #[test]
    fn what_must_never_be_dialled_is_dropped() {
        let bad = [
            "0.0.0.0:9",
            "[::]:9",
            "224.0.0.1:9",
            "[ff02::1]:9",
            "255.255.255.255:9",
            "10.0.0.1:0",
            "[::ffff:224.0.0.1]:9",
            "[::ffff:0.0.0.0]:9",
        ];
        let good: SocketAddr = "10.0.0.1:9".parse().unwrap();
        let list = UdpEndpoints::new(bad.iter().map(|a| a.parse().unwrap()).chain([good, good]));
        assert_eq!(list.as_slice(), [good]);
    }

    #[test]
    fn a_decoded_list_is_filtered_like_a_built_one() {
        let hostile = UdpEndpoints(vec!["0.0.0.0:1".parse().unwrap(), "10.0.0.1:9".parse().unwrap()]);
        let bytes = encode(&hostile).unwrap();
        let list: UdpEndpoints = decode(&bytes).unwrap();
        assert_eq!(list.as_slice(), ["10.0.0.1:9".parse().unwrap()]);
    }

    #[test]
    fn a_list_past_its_cap_is_refused() {
        let list = |len: u16| UdpEndpoints((1..=len).map(|p| ([10, 0, 0, 1], p).into()).collect());
        let bytes = |len| encode(&list(len)).unwrap();
        assert_eq!(decode::<UdpEndpoints>(&bytes(8)), Ok(list(8)));
        assert_eq!(decode::<UdpEndpoints>(&bytes(9)), Err(DecodeError::Malformed));
    }

    #[test]
    fn a_full_list_of_ipv6_endpoints_fits_its_cap() {
        let full = UdpEndpoints::new((1..=9).map(|p| SocketAddr::from(([0xfd00, 0, 0, 0, 0, 0, 0, 1], p))));
        assert_eq!(full.as_slice().len(), ENDPOINTS_MAX);
        assert!(encode(&full).unwrap().len() + 12 + 16 <= SEALED_ENDPOINTS_MAX);
    }

    #[test]
    fn loopback_in_any_spelling_can_be_taken_out() {
        let list = UdpEndpoints::new(
            ["127.0.0.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1", "10.0.0.1:1"].map(|a| a.parse().unwrap()),
        );
        assert_eq!(list.without_loopback().as_slice(), ["10.0.0.1:1".parse().unwrap()]);
    }
}
