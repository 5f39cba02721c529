//! Strangers, forgers, replayers, and a peer that breaks the protocol.

use core::time::Duration;

use p2pchat_proto::datagram::{self, DATA, DATA_HEADER_LEN, DataHeader, Datagram, ReceiverId};
use p2pchat_proto::frame::{Frame, StreamId};
use p2pchat_proto::varint;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;

use super::pair::{Pair, Who, good_line, received};
use crate::{CloseCode, EndReason, Endpoint, Misbehaviour, SessionEvent, SocketStats};

/// Everything by which a change of state would show from outside.
fn fingerprint(pair: &mut Pair, who: Who) -> (SocketStats, String, usize) {
    let now = pair.now;
    let side = pair.side(who);
    let info = format!("{:?} {:?}", side.endpoint.info(side.session, now), side.endpoint.poll_timeout());
    (side.endpoint.stats(), info, side.events.len())
}

/// Hands `bytes` to alice, who must drop them without a trace.
fn dropped(pair: &mut Pair, bytes: &mut [u8], why: &str) {
    pair.drain(Who::Alice);
    let (before, info, events) = fingerprint(pair, Who::Alice);
    let sent = pair.sent.len();
    let from = received(pair.bob.address);
    pair.alice.endpoint.handle_datagram(from, bytes, pair.now);
    pair.drain(Who::Alice);
    let (after, info_after, events_after) = fingerprint(pair, Who::Alice);
    assert_eq!((after.received, after.dropped), (before.received + 1, before.dropped + 1), "{why}");
    assert_eq!((after.answered, after.key_exchanges), (before.answered, before.key_exchanges), "{why}");
    assert_eq!((info_after, events_after, pair.sent.len()), (info, events, sent), "{why}");
}

/// The next datagram that bob would send.
fn next_of_bob(pair: &mut Pair) -> Vec<u8> {
    let mut out = Vec::new();
    pair.bob.endpoint.poll_transmit(pair.now, 1, &mut out).unwrap();
    out
}

fn taken(endpoint: &mut Endpoint, bytes: &[u8], from: core::net::SocketAddr, now: p2pchat_proto::Moment) {
    endpoint.handle_datagram(received(from), &mut bytes.to_vec(), now);
}

#[test]
fn a_stranger_gets_no_answer_costs_no_key_exchange_and_leaves_no_state() {
    const COUNT: u64 = 20_000;
    let mut pair = Pair::introduced(1, good_line());
    pair.drain(Who::Alice);
    let sent = pair.sent.len();
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    for n in 0..COUNT {
        let mut bytes = vec![0; rng.random_range(0..1500)];
        rng.fill_bytes(&mut bytes);
        let mut noise = [0; 64];
        rng.fill_bytes(&mut noise);
        let (sender, receiver) = (ReceiverId(rng.next_u32()), ReceiverId(rng.next_u32()));
        let ticket = rng.random();
        let well_formed = match n % 5 {
            0 => Datagram::Init { sender, ticket, noise: *noise.first_chunk().unwrap() },
            1 => Datagram::Resp { sender, receiver, noise: *noise.first_chunk().unwrap() },
            2 => Datagram::Fin { receiver, noise },
            3 => Datagram::Punch { ticket },
            _ => Datagram::Data(DataHeader { epoch: 0, receiver, packet_number: n }),
        };
        let mut formed = Vec::new();
        well_formed.encode(&mut formed);
        formed.extend(rng.random::<[u8; 16]>());
        formed.extend((n % 5 == 4).then_some(1));
        for mut datagram in [bytes, formed] {
            pair.alice.endpoint.handle_datagram(
                received("10.3.3.3:3".parse().unwrap()),
                &mut datagram,
                pair.now,
            );
        }
    }
    pair.drain(Who::Alice);
    let stats = pair.alice.endpoint.stats();
    assert_eq!((stats.received, stats.dropped), (2 * COUNT, 2 * COUNT));
    assert_eq!((stats.answered, stats.key_exchanges, stats.mac_failed), (0, 0, 0));
    assert_eq!((pair.sent.len(), pair.alice.endpoint.len()), (sent, 1));
    assert!(pair.run_until(|pair| pair.bob.is_up() && pair.alice.is_up()), "and the peer is served");
}

#[test]
fn every_flipped_bit_of_a_handshake_datagram_is_dropped_and_the_original_is_taken() {
    for kind in [datagram::INIT, datagram::RESP, datagram::FIN, datagram::PUNCH] {
        let mut pair = Pair::introduced(1, good_line());
        // Both run until the first datagram of this kind is made, which is held back.
        pair.tamper =
            Box::new(
                move |_, bytes| {
                    if [bytes[0], datagram::PUNCH].contains(&kind) { vec![] } else { vec![bytes.to_vec()] }
                },
            );
        pair.run_for(Duration::from_millis(90));
        let (_, sender, _, bytes) =
            pair.sent.iter().find(|(.., bytes)| bytes[0] == kind).expect("a datagram of this kind").clone();
        let (target, from) = match sender {
            Who::Bob => (Who::Alice, pair.bob.address),
            Who::Alice => (Who::Bob, pair.alice.address),
        };
        pair.tamper = Box::new(|_, bytes| vec![bytes.to_vec()]);
        let now = pair.now;
        let before = pair.side(target).endpoint.stats();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            taken(&mut pair.side(target).endpoint, &flipped, from, now);
        }
        let after = pair.side(target).endpoint.stats();
        assert_eq!(after.dropped - before.dropped, bytes.len() as u64 * 8, "{kind:#x}");
        assert_eq!((after.answered, after.key_exchanges), (before.answered, before.key_exchanges));
        taken(&mut pair.side(target).endpoint, &bytes, from, now);
        assert_eq!(pair.side(target).endpoint.stats().dropped, after.dropped, "{kind:#x}: the original");
        assert!(pair.run_until(|pair| pair.bob.is_up() && pair.alice.is_up()), "{kind:#x}");
    }
}

#[test]
fn every_flipped_bit_of_data_is_dropped_without_a_trace_and_the_original_is_taken() {
    let mut pair = Pair::up(1, good_line());
    pair.run_for(Duration::from_secs(1));
    pair.say(Who::Bob, b"untouched");
    let bytes = next_of_bob(&mut pair);
    assert_eq!(bytes[0], DATA);
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        dropped(&mut pair, &mut flipped, &format!("bit {bit}"));
    }
    for len in 0..bytes.len() {
        dropped(&mut pair, &mut bytes[..len].to_vec(), &format!("cut at {len}"))
    }
    let from = pair.bob.address;
    taken(&mut pair.alice.endpoint, &bytes, from, pair.now);
    pair.drain(Who::Alice);
    assert_eq!(pair.alice.bodies(StreamId::CONVERSATION), [b"untouched".to_vec()]);
}

#[test]
fn a_replayed_packet_is_dropped_without_a_trace() {
    let mut pair = Pair::up(1, good_line());
    for n in 0..50u8 {
        pair.say(Who::Bob, &[n]);
        pair.run_for(Duration::from_millis(50));
    }
    let recorded: Vec<_> =
        pair.sent.iter().filter(|(_, who, _, bytes)| *who == Who::Bob && bytes[0] == DATA).cloned().collect();
    assert!(recorded.len() > 50);
    for (.., mut bytes) in recorded {
        dropped(&mut pair, &mut bytes, "replayed");
    }
    assert_eq!(pair.alice.bodies(StreamId::CONVERSATION).len(), 50);
}

#[test]
fn a_whole_recorded_session_opens_nothing_at_a_new_introduction() {
    let recorded = core::mem::take(&mut Pair::up(1, good_line()).sent);
    let mut pair = Pair::introduced(2, good_line());
    pair.drain(Who::Alice);
    for (.., mut bytes) in recorded {
        dropped(&mut pair, &mut bytes, "of another session");
    }
}

#[test]
fn a_forged_high_packet_number_does_not_move_the_window() {
    let mut pair = Pair::up(1, good_line());
    pair.run_for(Duration::from_secs(1));
    pair.say(Who::Bob, b"real");
    let real = next_of_bob(&mut pair);
    for number in [1 << 22, (1 << 23) - 1, 1 << 23, 1 << 62, u64::MAX - 1, u64::MAX] {
        let mut forged = real.clone();
        forged[8..16].copy_from_slice(&u64::to_be_bytes(number));
        dropped(&mut pair, &mut forged, "forged number");
    }
    let from = pair.bob.address;
    taken(&mut pair.alice.endpoint, &real, from, pair.now);
    pair.drain(Who::Alice);
    assert_eq!(pair.alice.bodies(StreamId::CONVERSATION), [b"real".to_vec()]);
}

#[test]
fn ones_own_packets_come_back_for_nothing() {
    let mut pair = Pair::up(1, good_line());
    pair.say(Who::Alice, b"mine");
    pair.run_for(Duration::from_secs(1));
    let own: Vec<_> = pair.sent.iter().filter(|(_, who, ..)| *who == Who::Alice).cloned().collect();
    for (.., mut bytes) in own {
        dropped(&mut pair, &mut bytes, "reflected");
    }
}

/// Seals frames as bob would and hands them to alice; answers with how her session ended.
fn after_frames(content: &[u8]) -> Option<EndReason> {
    let mut pair = Pair::up(1, good_line());
    pair.run_for(Duration::from_secs(1));
    let mut out = pair.bob.endpoint.sealed_for_test(pair.bob.session, content);
    let from = received(pair.bob.address);
    pair.alice.endpoint.handle_datagram(from, &mut out, pair.now);
    pair.drain(Who::Alice);
    let ended = pair.alice.ended();
    assert_eq!(pair.alice.count(|event| matches!(event, SessionEvent::Body { .. })), 0);
    pair.run_for(Duration::from_secs(5));
    if let Some(EndReason::PeerMisbehaved(_)) = ended {
        assert_eq!(pair.bob.ended(), Some(EndReason::ClosedByPeer(CloseCode::Misbehaved)));
        assert_eq!(pair.alice.count(|event| matches!(event, SessionEvent::Ended(_))), 1);
        assert!(pair.alice.endpoint.is_empty());
    }
    ended
}

fn frames(list: &[Frame<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    list.iter().for_each(|frame| frame.encode(&mut out));
    out
}

fn stream(stream: u64, offset: u64, bytes: &[u8]) -> Frame<'_> {
    Frame::Stream { stream: StreamId(stream), offset, fin: false, bytes }
}

fn reset(stream: u64, final_size: u64) -> Frame<'static> {
    Frame::Reset { stream: StreamId(stream), code: 1, final_size }
}

#[test]
fn a_peer_that_breaks_the_protocol_is_told_and_left() {
    let broken: [(Vec<u8>, Misbehaviour); 17] = [
        (vec![0x0c], Misbehaviour::MalformedFrame),
        (vec![2, 5, 0, 0, 9], Misbehaviour::MalformedFrame),
        (frames(&[stream(1, varint::MAX, b"x")]), Misbehaviour::MalformedFrame),
        (vec![2, 0x80, 1, 0, 0, 0, 0, 0], Misbehaviour::AckOfUnsent),
        (frames(&[stream(1, 256 * 1024, b"x")]), Misbehaviour::CreditExceeded),
        (frames(&[stream(3, 0, b"x")]), Misbehaviour::StreamNotAllowed),
        (frames(&[Frame::MaxStreamData { stream: StreamId(2), max: 1 }]), Misbehaviour::StreamNotAllowed),
        (frames(&[Frame::MaxStreamData { stream: StreamId(3), max: 1 }]), Misbehaviour::StreamNotAllowed),
        (frames(&[reset(3, 0)]), Misbehaviour::StreamNotAllowed),
        (frames(&[reset(1, 0)]), Misbehaviour::StreamEnded),
        (frames(&[stream(2 + 2 * 64, 0, b"")]), Misbehaviour::TooManyStreams),
        (frames(&[stream(2, 0, &[65])]), Misbehaviour::StreamHead),
        (frames(&[stream(2, 256 * 1024, b"x")]), Misbehaviour::CreditExceeded),
        (frames(&[stream(2, 100, b"x"), reset(2, 100)]), Misbehaviour::FinalSize),
        (vec![0x11, 1, 0, 0], Misbehaviour::StreamEnded),
        (frames(&[stream(0, 0, &[1, 0, 1, 4, 1])]), Misbehaviour::BodyTooLong),
        (frames(&[stream(1, 0, &[1, 0xff, 0xff, 0xff, 0xff])]), Misbehaviour::BodyTooLong),
    ];
    for (content, how) in broken {
        assert_eq!(after_frames(&content), Some(EndReason::PeerMisbehaved(how)), "{content:x?}");
    }
}

#[test]
fn frames_that_a_later_version_may_send_are_skipped() {
    let known = frames(&[
        Frame::Datagram { kind: 1, bytes: b"typing" },
        Frame::PathChallenge { token: [1; 8] },
        Frame::Candidates { transfer: None, list: vec![] },
        Frame::Unknown { kind: 0x20, bytes: b"future" },
        Frame::Unknown { kind: 0xff, bytes: b"" },
    ]);
    assert_eq!(after_frames(&known), None);
}

#[test]
fn a_truncated_stream_of_gaps_costs_no_more_than_its_bound() {
    let mut pair = Pair::up(1, good_line());
    pair.run_for(Duration::from_secs(1));
    let mut acknowledged = 0;
    for n in 0..200u64 {
        let content = frames(&[stream(1, 10 + 2 * n, b"x")]);
        let mut out = pair.bob.endpoint.sealed_for_test(pair.bob.session, &content);
        let before = pair.sent.len();
        pair.alice.endpoint.handle_datagram(received(pair.bob.address), &mut out, pair.now);
        pair.drain(Who::Alice);
        pair.run_for(Duration::from_millis(30));
        acknowledged += usize::from(pair.sent[before..].iter().any(|(_, who, ..)| *who == Who::Alice));
    }
    assert_eq!(acknowledged, 64, "what is beyond the gaps is not acknowledged");
    assert_eq!(pair.alice.ended(), None);
}

#[test]
fn the_header_is_what_the_tag_covers() {
    let mut pair = Pair::up(1, good_line());
    pair.run_for(Duration::from_secs(1));
    pair.say(Who::Bob, b"x");
    let bytes = next_of_bob(&mut pair);
    let header = DataHeader {
        epoch: 0,
        receiver: ReceiverId(u32::from_be_bytes(*bytes[4..].first_chunk().unwrap())),
        packet_number: u64::from_be_bytes(*bytes[8..].first_chunk().unwrap()),
    };
    assert_eq!(header.encode(), bytes[..DATA_HEADER_LEN]);
}

#[test]
fn a_recorded_handshake_changes_nothing_in_the_session_that_it_made() {
    let mut pair = Pair::up(1, good_line());
    pair.run_for(Duration::from_secs(1));
    let handshake: Vec<_> = pair
        .sent
        .iter()
        .filter(|(_, who, _, bytes)| *who == Who::Bob && bytes[0] != DATA)
        .map(|(.., bytes)| bytes.clone())
        .collect();
    assert!(handshake.iter().any(|bytes| bytes[0] == datagram::FIN));
    for bytes in &handshake {
        let sent = pair.sent.len();
        let before = pair.alice.endpoint.stats();
        let from = pair.bob.address;
        taken(&mut pair.alice.endpoint, bytes, from, pair.now);
        pair.drain(Who::Alice);
        // The peer may have repeated its FIN, and gets a ping; INIT is of no use any more.
        let pings = usize::from(bytes[0] == datagram::FIN);
        assert_eq!(pair.sent.len() - sent, pings);
        assert_eq!(pair.alice.endpoint.stats().key_exchanges, before.key_exchanges);
    }
    // The MAC keys are erased after a while.
    pair.run_for(Duration::from_secs(20));
    for mut bytes in handshake {
        dropped(&mut pair, &mut bytes, "the introduction has ended");
    }
    pair.say(Who::Bob, b"still here");
    pair.run_for(Duration::from_secs(1));
    assert_eq!(pair.alice.bodies(StreamId::CONVERSATION), [b"still here".to_vec()]);
}
