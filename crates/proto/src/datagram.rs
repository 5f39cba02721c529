//! The five kinds of UDP datagram: INIT, RESP, FIN, DATA, PUNCH (protocol section 4).
//!
//! ```text
//! INIT   0x51 | version u8 | 0 u16 | sender u32   | ticket [8]   | noise 48 | mac 16     80 bytes
//! RESP   0x52 | version u8 | 0 u16 | sender u32   | receiver u32 | noise 48 | mac 16     76
//! FIN    0x53 | version u8 | 0 u16 | receiver u32 |                noise 64 | mac 16     88
//! DATA   0x54 | epoch u8   | 0 u16 | receiver u32 | packet number u64 | ciphertext | tag 16
//! PUNCH  0x55 | version u8 | 0 u16 | ticket [8]   |                           mac 16     28
//! ```
//!
//! The first byte collides with neither STUN (0 to 3) nor TURN channel data (0x40 to 0x4f, RFC 8656
//! section 12). A handshake datagram has exactly one length. Nothing here computes or checks a MAC:
//! [`mac_parts`] says what it covers.

use crate::limits::PROTOCOL_VERSION;

/// First byte of INIT.
pub const INIT: u8 = 0x51;
/// First byte of RESP.
pub const RESP: u8 = 0x52;
/// First byte of FIN.
pub const FIN: u8 = 0x53;
/// First byte of DATA.
pub const DATA: u8 = 0x54;
/// First byte of PUNCH.
pub const PUNCH: u8 = 0x55;

/// Bytes of a MAC at the end of each handshake datagram.
pub const MAC_LEN: usize = 16;
/// Bytes of an AEAD tag at the end of DATA.
pub const TAG_LEN: usize = 16;
/// Bytes of DATA before the ciphertext.
pub const DATA_HEADER_LEN: usize = 16;
/// Bytes of INIT.
pub const INIT_LEN: usize = 80;
/// Bytes of RESP.
pub const RESP_LEN: usize = 76;
/// Bytes of FIN.
pub const FIN_LEN: usize = 88;
/// Bytes of PUNCH.
pub const PUNCH_LEN: usize = 28;

/// Names one side's end of a session in datagrams to it; that side draws it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReceiverId(pub u32);

/// A datagram without its MAC, or the header of DATA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Datagram {
    /// The initiator's first message.
    Init {
        /// Where the initiator wants to receive.
        sender: ReceiverId,
        /// The initiator's ticket.
        ticket: [u8; 8],
        /// Noise message 1.
        noise: [u8; 48],
    },
    /// The responder's answer.
    Resp {
        /// Where the responder wants to receive.
        sender: ReceiverId,
        /// The initiator's end.
        receiver: ReceiverId,
        /// Noise message 2.
        noise: [u8; 48],
    },
    /// The initiator's last message.
    Fin {
        /// The responder's end.
        receiver: ReceiverId,
        /// Noise message 3.
        noise: [u8; 64],
    },
    /// Sealed frames; the ciphertext and its tag follow the header.
    Data(DataHeader),
    /// The responder opens its NAT.
    Punch {
        /// The responder's ticket.
        ticket: [u8; 8],
    },
}

/// What precedes the ciphertext of DATA; also its associated data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataHeader {
    /// Low 8 bits of the key epoch.
    pub epoch: u8,
    /// The end of the session that it is for.
    pub receiver: ReceiverId,
    /// Never twice in one epoch and direction.
    pub packet_number: u64,
}

impl DataHeader {
    /// The 16 bytes on the wire.
    pub fn encode(self) -> [u8; DATA_HEADER_LEN] {
        let [r0, r1, r2, r3] = self.receiver.0.to_be_bytes();
        let [n0, n1, n2, n3, n4, n5, n6, n7] = self.packet_number.to_be_bytes();
        [DATA, self.epoch, 0, 0, r0, r1, r2, r3, n0, n1, n2, n3, n4, n5, n6, n7]
    }
}

impl Datagram {
    /// The bytes on the wire, for a handshake datagram without its MAC.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Init { sender, ticket, noise } => {
                out.extend([INIT, PROTOCOL_VERSION, 0, 0]);
                out.extend(sender.0.to_be_bytes());
                out.extend(ticket);
                out.extend(noise);
            }
            Self::Resp { sender, receiver, noise } => {
                out.extend([RESP, PROTOCOL_VERSION, 0, 0]);
                out.extend(sender.0.to_be_bytes());
                out.extend(receiver.0.to_be_bytes());
                out.extend(noise);
            }
            Self::Fin { receiver, noise } => {
                out.extend([FIN, PROTOCOL_VERSION, 0, 0]);
                out.extend(receiver.0.to_be_bytes());
                out.extend(noise);
            }
            Self::Data(header) => out.extend(header.encode()),
            Self::Punch { ticket } => {
                out.extend([PUNCH, PROTOCOL_VERSION, 0, 0]);
                out.extend(ticket);
            }
        }
    }

    /// What a received datagram is; `None` if nothing of this protocol's version.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (&[kind, version_or_epoch, 0, 0], rest) = bytes.split_first_chunk()? else {
            return None;
        };
        if kind == DATA {
            return Self::decode_data(version_or_epoch, rest);
        }
        if version_or_epoch != PROTOCOL_VERSION {
            return None;
        }
        match (kind, bytes.len()) {
            (INIT, INIT_LEN) => {
                let (sender, rest) = receiver_id(rest)?;
                let (ticket, rest) = rest.split_first_chunk()?;
                Some(Self::Init { sender, ticket: *ticket, noise: *rest.first_chunk()? })
            }
            (RESP, RESP_LEN) => {
                let (sender, rest) = receiver_id(rest)?;
                let (receiver, rest) = receiver_id(rest)?;
                Some(Self::Resp { sender, receiver, noise: *rest.first_chunk()? })
            }
            (FIN, FIN_LEN) => {
                let (receiver, rest) = receiver_id(rest)?;
                Some(Self::Fin { receiver, noise: *rest.first_chunk()? })
            }
            (PUNCH, PUNCH_LEN) => Some(Self::Punch { ticket: *rest.first_chunk()? }),
            _ => None,
        }
    }

    fn decode_data(epoch: u8, rest: &[u8]) -> Option<Self> {
        let (receiver, rest) = receiver_id(rest)?;
        let (number, sealed) = rest.split_first_chunk()?;
        // An empty packet says nothing, so its sender made it for another reason.
        (sealed.len() > TAG_LEN).then_some(Self::Data(DataHeader {
            epoch,
            receiver,
            packet_number: u64::from_be_bytes(*number),
        }))
    }
}

/// What the MAC of a handshake datagram covers, and the MAC.
pub fn mac_parts(bytes: &[u8]) -> Option<(&[u8], &[u8; MAC_LEN])> {
    bytes.split_last_chunk()
}

fn receiver_id(bytes: &[u8]) -> Option<(ReceiverId, &[u8])> {
    let (id, rest) = bytes.split_first_chunk()?;
    Some((ReceiverId(u32::from_be_bytes(*id)), rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SENDER: ReceiverId = ReceiverId(0x0102_0304);
    const RECEIVER: ReceiverId = ReceiverId(0xa1a2_a3a4);
    const TICKET: [u8; 8] = [0xb1, 0xb2, 0xb3, 0xb4, 0xb5, 0xb6, 0xb7, 0xb8];

    fn with_mac(datagram: &Datagram) -> Vec<u8> {
        let mut bytes = Vec::new();
        datagram.encode(&mut bytes);
        bytes.extend([0xee; MAC_LEN]);
        bytes
    }

    fn golden(datagram: Datagram, expected: &[&[u8]]) {
        let bytes = with_mac(&datagram);
        assert_eq!(bytes, [expected.concat(), vec![0xee; MAC_LEN]].concat());
        assert_eq!(Datagram::decode(&bytes), Some(datagram));
    }

    #[test]
    fn init_has_its_bytes() {
        let datagram = Datagram::Init { sender: SENDER, ticket: TICKET, noise: [7; 48] };
        assert_eq!(with_mac(&datagram).len(), INIT_LEN);
        golden(datagram, &[&[0x51, 1, 0, 0], &[1, 2, 3, 4], &TICKET, &[7; 48]]);
    }

    #[test]
    fn resp_has_its_bytes() {
        let datagram = Datagram::Resp { sender: SENDER, receiver: RECEIVER, noise: [7; 48] };
        assert_eq!(with_mac(&datagram).len(), RESP_LEN);
        golden(datagram, &[&[0x52, 1, 0, 0], &[1, 2, 3, 4], &[0xa1, 0xa2, 0xa3, 0xa4], &[7; 48]]);
    }

    #[test]
    fn fin_has_its_bytes() {
        let datagram = Datagram::Fin { receiver: RECEIVER, noise: [7; 64] };
        assert_eq!(with_mac(&datagram).len(), FIN_LEN);
        golden(datagram, &[&[0x53, 1, 0, 0], &[0xa1, 0xa2, 0xa3, 0xa4], &[7; 64]]);
    }

    #[test]
    fn punch_has_its_bytes() {
        let datagram = Datagram::Punch { ticket: TICKET };
        assert_eq!(with_mac(&datagram).len(), PUNCH_LEN);
        golden(datagram, &[&[0x55, 1, 0, 0], &TICKET]);
    }

    #[test]
    fn data_has_its_bytes() {
        let header = DataHeader { epoch: 9, receiver: RECEIVER, packet_number: 0x0807_0605_0403_0201 };
        let mut bytes = Vec::new();
        Datagram::Data(header).encode(&mut bytes);
        assert_eq!(bytes, [0x54, 9, 0, 0, 0xa1, 0xa2, 0xa3, 0xa4, 8, 7, 6, 5, 4, 3, 2, 1]);
        assert_eq!(bytes.len(), DATA_HEADER_LEN);
        bytes.extend([0; TAG_LEN]);
        assert_eq!(Datagram::decode(&bytes), None, "a packet without content");
        bytes.push(0);
        assert_eq!(Datagram::decode(&bytes), Some(Datagram::Data(header)));
    }

    #[test]
    fn a_handshake_datagram_of_another_length_or_version_is_nothing() {
        let all = [
            Datagram::Init { sender: SENDER, ticket: TICKET, noise: [7; 48] },
            Datagram::Resp { sender: SENDER, receiver: RECEIVER, noise: [7; 48] },
            Datagram::Fin { receiver: RECEIVER, noise: [7; 64] },
            Datagram::Punch { ticket: TICKET },
        ];
        for datagram in all {
            let bytes = with_mac(&datagram);
            for len in 0..1500 {
                let mut other = bytes.clone();
                other.resize(len, 0xee);
                let expected = (len == bytes.len()).then(|| datagram.clone());
                assert_eq!(Datagram::decode(&other), expected, "{datagram:?} at {len}");
            }
            for (index, value) in [(1, 2), (2, 1), (3, 1)] {
                let mut other = bytes.clone();
                other[index] = value;
                assert_eq!(Datagram::decode(&other), None, "{datagram:?} byte {index}");
            }
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            if let Some(datagram) = Datagram::decode(&bytes) {
                let mut again = Vec::new();
                datagram.encode(&mut again);
                prop_assert!(bytes.starts_with(&again));
            }
        }
    }
}
