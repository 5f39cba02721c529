//! A datagram of a session: its header, and the frames that an opened packet would hold.
#![no_main]

use libfuzzer_sys::fuzz_target;
use p2pchat_proto::datagram::{Datagram, mac_parts};
use p2pchat_proto::frame::{Frame, Frames};

/// Most frames in a packet of 9,000 bytes: one byte each.
const FRAMES_MAX: usize = 9000;

fuzz_target!(|bytes: &[u8]| {
    if let Some(datagram) = Datagram::decode(bytes) {
        let mut header = Vec::new();
        datagram.encode(&mut header);
        assert!(bytes.starts_with(&header));
        if let Some((signed, mac)) = mac_parts(bytes) {
            assert_eq!(signed.len() + mac.len(), bytes.len());
        }
    }
    let packet = bytes.get(..FRAMES_MAX).unwrap_or(bytes);
    for frame in Frames::new(packet) {
        let Ok(frame) = frame else { break };
        if let Frame::Ack(ack) = &frame {
            let mut last = None;
            for range in ack.ranges() {
                assert!(range.start() <= range.end());
                assert!(last.is_none_or(|last| range.end() < &last));
                last = Some(*range.start());
            }
        }
        let mut again = Vec::new();
        frame.encode(&mut again);
        assert!(!again.is_empty());
    }
});
