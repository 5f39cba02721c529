//! Streams that either side opens, over lines.

use core::time::Duration;
use std::collections::BTreeMap;

use p2pchat_netsim::{LinkConfig, Loss, millis};
use p2pchat_proto::frame::Frame;
use p2pchat_proto::id::{GroupId, TransferId};

use super::pair::{Pair, Who, bad_line, good_line, received};
use crate::{EndReason, SessionEvent, StreamError, StreamEvent, StreamHead, StreamId, TransferPurpose};

/// Streams of one side that are open.
const OPEN_MAX: u32 = 64;

pub(super) fn bulk(number: u8) -> StreamHead {
    StreamHead::Transfer { transfer: TransferId([number; 16]), purpose: TransferPurpose::Content }
}

/// What came on the peer's streams at one side, taken as soon as it was there.
#[derive(Default)]
pub(super) struct Taken {
    pub(super) bytes: BTreeMap<StreamId, Vec<u8>>,
    pub(super) finished: Vec<StreamId>,
    pub(super) resets: Vec<(StreamId, u64)>,
    /// Events that were looked at.
    seen: usize,
}

impl Taken {
    pub(super) fn take(&mut self, pair: &mut Pair, who: Who) {
        let now = pair.now;
        let side = pair.side(who);
        while let Some((_, _, event)) = side.events.get(self.seen).cloned() {
            self.seen += 1;
            let SessionEvent::Stream(event) = event else { continue };
            match event {
                StreamEvent::Opened { stream, .. } => drop(self.bytes.insert(stream, Vec::new())),
                StreamEvent::Readable { stream } => {
                    while let Some(piece) = side.endpoint.read(side.session, stream, now) {
                        self.bytes.get_mut(&stream).expect("opened before").extend(piece);
                    }
                }
                StreamEvent::Finished { stream } => self.finished.push(stream),
                StreamEvent::Reset { stream, code } => self.resets.push((stream, code)),
                StreamEvent::Writable { .. } | StreamEvent::MayOpen => {}
            }
        }
    }
}

fn content(number: u32, len: usize) -> Vec<u8> {
    (0..len).map(|n| (n as u32).wrapping_mul(number + 7).to_be_bytes()[2]).collect()
}

#[test]
fn sixty_four_streams_each_way_arrive_byte_for_byte_over_bad_lines() {
    let bursts = Loss::Burst { share: 0.12, mean_length: 6.0 };
    let lossy = LinkConfig { loss: bursts, jitter: millis(3), ..good_line() };
    for (seed, line) in [(1, bad_line()), (2, lossy)] {
        let mut pair = Pair::up(seed, line);
        let mut said = [BTreeMap::new(), BTreeMap::new()];
        for n in 0..OPEN_MAX {
            for (who, said) in [Who::Bob, Who::Alice].into_iter().zip(&mut said) {
                let now = pair.now;
                let side = pair.side(who);
                let head = if n % 4 == 0 { StreamHead::Group(GroupId([n as u8; 16])) } else { bulk(n as u8) };
                let id = side.endpoint.open(side.session, &head, now).unwrap();
                let content = content(id.0 as u32, 1 + (n as usize * 97) % 6_000);
                side.endpoint.write(side.session, id, content.clone(), now).unwrap();
                side.endpoint.finish(side.session, id, now).unwrap();
                said.insert(id, content);
            }
        }
        let now = pair.now;
        let more = pair.bob.endpoint.open(pair.bob.session, &bulk(1), now);
        assert_eq!(more, Err(StreamError::TooMany), "seed {seed}");
        let mut took = [Taken::default(), Taken::default()];
        let end = pair.now + Duration::from_secs(120);
        let all = 2 * OPEN_MAX as usize;
        while took.iter().any(|took| took.finished.len() < all) && pair.step(end) {
            took[0].take(&mut pair, Who::Bob);
            took[1].take(&mut pair, Who::Alice);
        }
        let [bob, alice] = took;
        assert!(bob.bytes == said[1] && alice.bytes == said[0], "seed {seed}");
        assert_eq!((bob.finished.len(), alice.finished.len()), (all, all), "seed {seed}");
        pair.drain(Who::Bob);
        assert_eq!(pair.bob.count(|event| *event == SessionEvent::Stream(StreamEvent::MayOpen)), 1);
        assert!(pair.bob.endpoint.open(pair.bob.session, &bulk(1), pair.now).is_ok(), "seed {seed}");
    }
}

#[test]
fn streams_are_given_up_and_refused_over_a_bad_line() {
    for seed in 0..8 {
        let mut pair = Pair::up(seed, bad_line());
        let (session, now) = (pair.bob.session, pair.now);
        let ids: Vec<_> = (0..10)
            .map(|n| {
                let id = pair.bob.endpoint.open(session, &bulk(n), now).unwrap();
                pair.bob.endpoint.write(session, id, vec![7; 100_000], now).unwrap();
                id
            })
            .collect();
        let mut alice = Taken::default();
        let end = pair.now + Duration::from_secs(20);
        while alice.bytes.len() < ids.len() && pair.step(end) {
            alice.take(&mut pair, Who::Alice);
        }
        let (given_up, refused) = ids.split_at(5);
        let now = pair.now;
        given_up.iter().for_each(|id| pair.bob.endpoint.reset(session, *id, 3, now).unwrap());
        for id in refused {
            pair.alice.endpoint.reset(pair.alice.session, *id, 4, now).unwrap();
        }
        pair.run_for(Duration::from_secs(30));
        alice.take(&mut pair, Who::Alice);
        let mut bob = Taken::default();
        bob.take(&mut pair, Who::Bob);
        alice.resets.sort_unstable();
        bob.resets.sort_unstable();
        assert_eq!(alice.resets, given_up.iter().map(|id| (*id, 3)).collect::<Vec<_>>(), "seed {seed}");
        assert_eq!(bob.resets, refused.iter().map(|id| (*id, 4)).collect::<Vec<_>>(), "seed {seed}");
        pair.say(Who::Bob, b"and on");
        pair.run_for(Duration::from_secs(5));
        assert_eq!(pair.alice.bodies(StreamId::CONVERSATION), [b"and on".to_vec()], "seed {seed}");
    }
}

#[test]
fn whoever_does_not_take_what_comes_holds_back_bulk_and_no_line() {
    let mut pair = Pair::up(1, good_line());
    let session = pair.bob.session;
    for n in 0..8 {
        let id = pair.bob.endpoint.open(session, &bulk(n), pair.now).unwrap();
        pair.bob.endpoint.write(session, id, vec![7; 1 << 20], pair.now).unwrap();
    }
    pair.run_for(Duration::from_secs(10));
    for n in 0..400u32 {
        pair.say(Who::Bob, &[n as u8; 4_000]);
        pair.run_for(Duration::from_millis(25));
        assert_eq!(pair.alice.bodies(StreamId::CONVERSATION).len() as u32, n + 1, "line {n} waits");
    }
    assert_eq!(
        pair.alice.count(|event| matches!(event, SessionEvent::Stream(StreamEvent::Readable { .. }))),
        8
    );
}

#[test]
fn gaps_of_a_bulk_stream_without_end_cost_no_more_than_their_bound() {
    let mut pair = Pair::up(1, good_line());
    pair.run_for(Duration::from_secs(1));
    let head = bulk(1).to_bytes();
    let deliver = |pair: &mut Pair, offset: u64, bytes: &[u8]| {
        let mut content = Vec::new();
        Frame::Stream { stream: StreamId(2), offset, fin: false, bytes }.encode(&mut content);
        let mut out = pair.bob.endpoint.sealed_for_test(pair.bob.session, &content);
        let before = pair.sent.len();
        pair.alice.endpoint.handle_datagram(received(pair.bob.address), &mut out, pair.now);
        pair.drain(Who::Alice);
        pair.run_for(Duration::from_millis(30));
        pair.sent[before..].iter().any(|(_, who, ..)| *who == Who::Alice)
    };
    assert!(deliver(&mut pair, 0, &head));
    let acknowledged = (0..1_200u64).filter(|n| deliver(&mut pair, 100 + 2 * n, b"x")).count();
    assert_eq!(acknowledged, 1_024, "what is beyond the gaps is not acknowledged");
    assert_eq!(pair.alice.ended(), None);
}

#[test]
fn nothing_of_streams_is_there_before_a_session_is_up_or_after_its_end() {
    let mut pair = Pair::introduced(1, good_line());
    let (session, now) = (pair.bob.session, pair.now);
    assert_eq!(pair.bob.endpoint.open(session, &bulk(1), now), Err(StreamError::NotUp));
    assert!(pair.run_until(|pair| pair.bob.is_up() && pair.alice.is_up()));
    let id = pair.bob.endpoint.open(session, &bulk(1), pair.now).unwrap();
    pair.bob.endpoint.write(session, id, vec![7; 1 << 20], pair.now).unwrap();
    pair.run_for(Duration::from_millis(50));
    pair.close(Who::Bob, crate::CloseCode::Done);
    let (why, chunk) = pair.bob.endpoint.write(session, id, vec![1, 2], pair.now).unwrap_err();
    assert_eq!((why, chunk), (StreamError::NotUp, vec![1, 2]));
    pair.run_for(Duration::from_secs(5));
    assert_eq!(pair.bob.ended(), Some(EndReason::ClosedHere));
    assert!(matches!(pair.alice.events.last(), Some((_, _, SessionEvent::Ended(_)))));
    assert_eq!(pair.alice.endpoint.read(pair.alice.session, id, pair.now), None);
}
