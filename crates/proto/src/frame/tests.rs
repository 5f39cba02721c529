use super::*;
use core::time::Duration;
use proptest::prelude::*;

fn encoded(frame: &Frame<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    frame.encode(&mut out);
    out
}

fn golden(frame: &Frame<'_>, expected: &[u8]) {
    assert_eq!(encoded(frame), expected, "{frame:?}");
    let mut frames = Frames::new(expected);
    assert_eq!(frames.next(), Some(Ok(frame.clone())));
    assert_eq!(frames.next(), None);
}

#[test]
fn every_frame_has_its_bytes() {
    golden(&Frame::Padding, &[0]);
    golden(&Frame::Ping, &[1]);
    golden(&Frame::MaxData { max: 1 << 20 }, &[3, 0x80, 0x10, 0, 0]);
    golden(&Frame::MaxStreamData { stream: StreamId(1), max: 1 << 18 }, &[4, 1, 0x80, 4, 0, 0]);
    golden(&Frame::Reset { stream: StreamId(2), code: 3, final_size: 64 }, &[5, 2, 3, 0x40, 64]);
    golden(&Frame::MaxStreams { max: 65 }, &[0x0b, 0x40, 65]);
    golden(&Frame::Datagram { kind: 9, bytes: b"ab" }, &[6, 9, 2, b'a', b'b']);
    golden(&Frame::PathChallenge { token: [7; 8] }, &[7, 7, 7, 7, 7, 7, 7, 7, 7]);
    golden(&Frame::Close { code: CloseCode::Replaced }, &[0x0a, 2]);
    golden(
        &Frame::Stream { stream: StreamId::CONVERSATION, offset: 300, fin: false, bytes: b"hi" },
        &[0x10, 1, 0x41, 0x2c, 2, b'h', b'i'],
    );
    golden(&Frame::Stream { stream: StreamId(4), offset: 0, fin: true, bytes: b"" }, &[0x11, 4, 0, 0]);
    golden(&Frame::Unknown { kind: 0x20, bytes: b"abc" }, &[0x20, 3, b'a', b'b', b'c']);
}

#[test]
fn frames_with_addresses_have_their_bytes() {
    golden(
        &Frame::PathResponse { token: [8; 8], observed: "10.0.0.1:258".parse().unwrap() },
        &[8, 8, 8, 8, 8, 8, 8, 8, 8, 4, 10, 0, 0, 1, 1, 2],
    );
    golden(
        &Frame::Candidates { transfer: None, list: vec!["10.0.0.1:258".parse().unwrap()] },
        &[9, 0, 1, 4, 10, 0, 0, 1, 1, 2],
    );
    let expected = [&[9, 1][..], &[5; 16], &[1, 6, 0xfd, 0], &[0; 13], &[1, 0, 9]].concat();
    let list = vec!["[fd00::1]:9".parse().unwrap()];
    golden(&Frame::Candidates { transfer: Some(TransferId([5; 16])), list }, &expected);
}

#[test]
fn an_acknowledgement_has_its_bytes() {
    let expected = [2, 20, 0x40, 100, 2, 3, 0, 4, 5, 0];
    let Some(Ok(frame)) = Frames::new(&expected).next() else { panic!("no frame") };
    assert_eq!(encoded(&frame), expected);
    let Frame::Ack(ack) = frame else { panic!("{frame:?}") };
    assert_eq!((ack.largest, ack.delay), (20, Duration::from_micros(100)));
    assert_eq!(ack.ranges().collect::<Vec<_>>(), [17..=20, 11..=15, 4..=4]);
}

#[test]
fn an_unknown_kind_below_the_skippable_ones_is_malformed() {
    for kind in (0x0c..0x10).chain(0x12..FIRST_SKIPPABLE) {
        let content = [kind, 0, 0, 0, 1];
        assert_eq!(Frames::new(&content).collect::<Vec<_>>(), [Err(MalformedFrame)], "{kind:#x}");
    }
}

#[test]
fn a_stream_that_would_end_beyond_the_largest_offset_is_malformed() {
    let mut content = Vec::new();
    StreamHeader { stream: StreamId(1), offset: varint::MAX, fin: false, len: 1 }.encode(&mut content);
    content.push(0);
    assert_eq!(Frames::new(&content).next(), Some(Err(MalformedFrame)));
}

#[test]
fn more_candidates_than_the_cap_are_malformed() {
    let mut content = vec![CANDIDATES, 0, 9];
    for _ in 0..9 {
        write_address("10.0.0.1:1".parse().unwrap(), &mut content);
    }
    assert_eq!(Frames::new(&content).next(), Some(Err(MalformedFrame)));
}

#[test]
fn every_close_code_survives_the_wire() {
    for code in 0..10 {
        assert_eq!(CloseCode::from_wire(code).to_wire(), code);
    }
}

proptest! {
    #[test]
    fn no_content_makes_the_decoder_panic(content in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut again = Vec::new();
        let mut whole = true;
        for frame in Frames::new(&content) {
            match frame {
                Ok(frame) => frame.encode(&mut again),
                Err(MalformedFrame) => whole = false,
            }
        }
        prop_assert!(content.starts_with(&again));
        prop_assert_eq!(whole, again.len() == content.len());
    }

    #[test]
    fn a_stream_frame_fills_its_room_and_no_more(
        id in 0u64..1 << 20,
        offset in 0u64..1 << 40,
        available in 0usize..2000,
        room in 0usize..1500,
    ) {
        let header = StreamHeader { stream: StreamId(id), offset, fin: false, len: 0 };
        match header.fitted(available, room) {
            Some(fitted) => {
                let total = fitted.encoded_len() + fitted.len;
                prop_assert!(fitted.len <= available && total <= room);
                // One byte may stay free where a longer length would itself need one more.
                prop_assert!(fitted.len == available || room - total <= 1);
            }
            None => prop_assert!(room < header.encoded_len() + 2),
        }
    }
}
