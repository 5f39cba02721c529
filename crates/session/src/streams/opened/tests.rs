use p2pchat_proto::frame::Frames;
use p2pchat_proto::id::{GroupId, TransferId};
use p2pchat_proto::stream::{TransferPurpose, UNKNOWN_HEAD};
use proptest::prelude::*;

use super::outgoing::{STREAM_BUFFER_MAX, STREAMS_BUFFER_MAX};
use super::*;
use crate::streams::{CREDIT_RESERVE, SESSION_STEP, SESSION_WINDOW, STREAM_WINDOW, Streams};

const GROUP: StreamHead = StreamHead::Group(GroupId([5; 16]));
const BULK: StreamHead =
    StreamHead::Transfer { transfer: TransferId([6; 16]), purpose: TransferPurpose::Content };
/// Bytes of [`BULK`].
const HEAD_LEN: u64 = 19;

/// Two sides without a line between them.
struct Two {
    initiator: Streams,
    responder: Streams,
    now: Moment,
}

impl Two {
    fn new() -> Self {
        let [initiator, responder] = [Role::Initiator, Role::Responder].map(Streams::new);
        Self { initiator, responder, now: Moment::from_nanos(1) }
    }

    /// Everything that the initiator may send arrives, and what the responder says to it comes back.
    /// Answers with the stream of each frame of bytes.
    fn exchange(&mut self) -> Vec<u64> {
        let mut order = Vec::new();
        loop {
            let sent = carry(&mut self.initiator, &mut self.responder);
            let answered = carry(&mut self.responder, &mut self.initiator);
            if sent.is_none() && answered.is_none() {
                return order;
            }
            order.extend(sent.unwrap_or_default());
        }
    }

    fn read(&mut self, id: StreamId) -> Vec<u8> {
        let mut all = Vec::new();
        while let Some(piece) = self.responder.read(id, Some(Duration::from_millis(50)), self.now) {
            all.extend(piece);
        }
        all
    }

    fn heard(&mut self) -> Vec<StreamEvent> {
        core::iter::from_fn(|| self.responder.opened.poll_event()).collect()
    }

    fn told(&mut self) -> Vec<StreamEvent> {
        core::iter::from_fn(|| self.initiator.opened.poll_event()).collect()
    }

    fn open(&mut self, head: &StreamHead) -> StreamId {
        self.initiator.opened.outgoing.open(head).unwrap()
    }

    fn write(&mut self, id: StreamId, chunk: Vec<u8>) -> Result<(), StreamError> {
        self.initiator.opened.outgoing.write(id, chunk).map_err(|(why, _)| why)
    }
}

/// One packet without a loss; the streams of its frames.
fn carry(from: &mut Streams, to: &mut Streams) -> Option<Vec<u64>> {
    let (mut out, mut ranges, mut order) = (Vec::new(), Vec::new(), Vec::new());
    ranges.extend(from.opened.write_reset(1168, &mut out));
    from.write_grants(1168 - out.len(), &mut out);
    while let Some(chunk) = from.write_frame(1168usize.saturating_sub(out.len()), true, &mut out) {
        order.push(chunk.header.stream.0);
        ranges.push((&chunk.header).into());
    }
    if out.is_empty() {
        return None;
    }
    take(to, &out).unwrap();
    ranges.into_iter().for_each(|range| from.on_acked(range));
    Some(order)
}

fn take(to: &mut Streams, content: &[u8]) -> Result<(), Misbehaviour> {
    for frame in Frames::new(content) {
        match frame.unwrap() {
            Frame::Stream { stream, offset, fin, bytes } => {
                to.on_stream(stream, offset, fin, bytes, &mut |_, _| {})?;
            }
            Frame::MaxData { max } => to.on_max_data(max),
            Frame::MaxStreamData { stream, max } => to.on_max_stream_data(stream, max)?,
            Frame::MaxStreams { max } => to.opened.on_max_streams(max),
            Frame::Reset { stream, code, final_size } => to.on_reset(stream, code, final_size)?,
            Frame::Padding
            | Frame::Ping
            | Frame::Ack(_)
            | Frame::Datagram { .. }
            | Frame::PathChallenge { .. }
            | Frame::PathResponse { .. }
            | Frame::Candidates { .. }
            | Frame::Close { .. }
            | Frame::Unknown { .. } => panic!("not of streams"),
        }
    }
    Ok(())
}

fn piece(stream: u64, offset: u64, fin: bool, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Frame::Stream { stream: StreamId(stream), offset, fin, bytes }.encode(&mut out);
    out
}

fn reset(stream: u64, final_size: u64) -> Vec<u8> {
    let mut out = Vec::new();
    Frame::Reset { stream: StreamId(stream), code: 9, final_size }.encode(&mut out);
    out
}

#[test]
fn a_stream_is_opened_read_and_finished_on_both_sides() {
    let mut two = Two::new();
    let id = two.open(&BULK);
    assert_eq!(id, StreamId(2));
    let content: Vec<u8> = (0..100_000u32).map(|n| (n % 251) as u8).collect();
    two.write(id, content.clone()).unwrap();
    two.initiator.opened.outgoing.finish(id).unwrap();
    assert_eq!(two.write(id, vec![1]), Err(StreamError::Ended));
    two.exchange();
    let opened = [StreamEvent::Opened { stream: id, head: BULK }, StreamEvent::Readable { stream: id }];
    assert_eq!(two.heard(), opened);
    assert!(two.read(id) == content);
    assert_eq!(two.heard(), [StreamEvent::Finished { stream: id }]);
    assert_eq!(two.told(), [StreamEvent::Finished { stream: id }]);
    assert_eq!(two.write(id, vec![1]), Err(StreamError::NoStream));
    // What still comes of it means nothing.
    assert_eq!(take(&mut two.responder, &piece(2, 0, false, b"late")), Ok(()));
    assert_eq!(take(&mut two.responder, &reset(2, 1)), Ok(()));
    assert_eq!((two.heard(), two.responder.has_grants()), (vec![], false));
}

#[test]
fn ends_without_a_byte_and_streams_of_nothing_but_a_head_are_finished() {
    let mut two = Two::new();
    let id = two.open(&GROUP);
    two.exchange();
    two.initiator.opened.outgoing.finish(id).unwrap();
    assert_eq!(two.initiator.sendable().urgent, 1);
    two.exchange();
    let events = [StreamEvent::Opened { stream: id, head: GROUP }, StreamEvent::Finished { stream: id }];
    assert_eq!((two.heard(), two.told()), (events.to_vec(), vec![StreamEvent::Finished { stream: id }]));
    assert_eq!(two.initiator.sendable().total(), 0);
}

#[test]
fn a_lost_end_or_reset_is_told_again() {
    let mut two = Two::new();
    let id = two.open(&GROUP);
    two.initiator.opened.outgoing.finish(id).unwrap();
    let chunk = two.initiator.write_frame(1168, true, &mut Vec::new()).unwrap();
    assert!(chunk.header.fin && two.initiator.sendable().total() == 0);
    two.initiator.on_lost((&chunk.header).into());
    two.exchange();
    assert_eq!(two.told(), [StreamEvent::Finished { stream: id }]);
    let id = two.open(&GROUP);
    two.initiator.reset(id, 7).unwrap();
    let range = two.initiator.opened.write_reset(100, &mut Vec::new()).unwrap();
    assert!(!two.initiator.has_grants());
    two.initiator.on_lost(range);
    assert!(two.initiator.has_grants());
    two.exchange();
    assert!(!two.initiator.has_grants() && two.initiator.opened.outgoing.is_empty());
}

#[test]
fn control_goes_first_then_the_conversation_then_groups_then_bulk_in_turn() {
    let mut two = Two::new();
    let bulk: Vec<_> = (0..3).map(|_| two.open(&BULK)).collect();
    let group = two.open(&GROUP);
    for id in bulk.iter().chain([&group]) {
        two.write(*id, vec![1; 4_000]).unwrap();
    }
    for id in [StreamId::CONVERSATION, StreamId::CONTROL] {
        two.initiator.write(id, 1, &[1; 1_500]).unwrap();
    }
    let mut order = two.exchange();
    order.dedup();
    assert_eq!(order, [0, 1, 8, 2, 4, 6, 2, 4, 6, 2, 4, 6, 2, 4, 6]);
    two.write(bulk[0], vec![1; 100]).unwrap();
    two.write(group, vec![1; 100]).unwrap();
    let sendable = two.initiator.sendable();
    assert_eq!((sendable.urgent, sendable.bulk), (100, 100));
    let chunk = two.initiator.write_frame(1168, false, &mut Vec::new()).unwrap();
    assert_eq!(chunk.header.stream, group);
    assert_eq!(two.initiator.write_frame(1168, false, &mut Vec::new()), None, "bulk may not go");
}

#[test]
fn credit_comes_only_as_bytes_are_taken_and_lines_have_their_own() {
    let mut two = Two::new();
    let ids: Vec<_> = (0..8).map(|_| two.open(&BULK)).collect();
    for id in &ids {
        two.write(*id, vec![1; 1 << 20]).unwrap();
    }
    two.exchange();
    assert_eq!(two.initiator.sent, SESSION_WINDOW - CREDIT_RESERVE, "nobody takes anything");
    // As much conversation as one likes goes past it.
    for _ in 0..40 {
        two.initiator.write(StreamId::CONVERSATION, 1, &[7; 60_000]).unwrap();
        two.exchange();
        assert_eq!(two.initiator.sendable().total(), 0);
    }
    let before = two.initiator.sent;
    let taken = two.read(ids[0]).len() + two.read(ids[1]).len();
    two.exchange();
    assert!(two.initiator.sent >= before + taken as u64 - SESSION_STEP, "what was taken made room");
}

#[test]
fn a_window_that_is_used_up_quickly_grows_to_its_cap_and_the_sessions() {
    let mut two = Two::new();
    let ids: Vec<_> = (0..3).map(|_| two.open(&BULK)).collect();
    let mut most = [0; 3];
    // The first alone for a while.
    for count in [[1; 20], [3; 20]].as_flattened() {
        for (id, most) in ids.iter().zip(&mut most).take(*count) {
            while two.write(*id, vec![1; 1 << 20]).is_ok() {}
            two.exchange();
            two.now = two.now + Duration::from_millis(1);
            *most = two.read(*id).len().max(*most);
        }
    }
    assert!(most.iter().all(|most| *most as u64 <= BULK_WINDOW_MAX), "{most:?}");
    assert!(most[0] as u64 > BULK_WINDOW_MAX - BULK_WINDOW_MAX / 8, "{most:?}");
    assert!(two.responder.grant.window <= SESSION_WINDOW_MAX);
    assert!(two.responder.grant.max - two.responder.grant.received <= SESSION_WINDOW_MAX);
    // What ends gives the session's credit back.
    for id in ids {
        two.responder.reset(id, 1).unwrap();
    }
    two.exchange();
    assert_eq!(two.responder.grant.window, SESSION_WINDOW);
}

#[test]
fn a_window_that_lasts_for_long_does_not_grow() {
    let mut two = Two::new();
    let id = two.open(&BULK);
    for _ in 0..20 {
        while two.write(id, vec![1; 1 << 20]).is_ok() {}
        two.exchange();
        two.now = two.now + Duration::from_millis(101);
        assert!(two.read(id).len() as u64 <= STREAM_WINDOW);
    }
}

#[test]
fn a_writer_is_told_when_there_is_room_again() {
    let mut two = Two::new();
    let ids: Vec<_> = (0..3).map(|_| two.open(&BULK)).collect();
    let chunk = || vec![1; STREAM_BUFFER_MAX / 2];
    assert_eq!(two.write(ids[0], vec![1; STREAM_BUFFER_MAX / 2 + 1]), Err(StreamError::TooLong));
    two.write(ids[0], chunk()).unwrap();
    assert_eq!(two.write(ids[0], chunk()), Err(StreamError::Full), "with the head it is too much");
    two.write(ids[1], chunk()).unwrap();
    two.write(ids[2], chunk()).unwrap();
    let room = two.initiator.opened.outgoing.room(ids[2]).unwrap();
    assert_eq!(room, STREAMS_BUFFER_MAX - 3 * STREAM_BUFFER_MAX / 2 - 3 * HEAD_LEN as usize);
    two.exchange();
    assert_eq!(two.told(), [StreamEvent::Writable { stream: ids[0] }]);
    two.write(ids[0], chunk()).unwrap();
    assert_eq!(two.told(), []);
}

#[test]
fn as_many_streams_as_may_be_open_are_and_one_more_for_each_that_ended() {
    let mut two = Two::new();
    let ids: Vec<_> = (0..OPEN_MAX).map(|_| two.open(&BULK)).collect();
    assert_eq!(two.initiator.opened.outgoing.open(&BULK), Err(StreamError::TooMany));
    two.exchange();
    for id in ids.iter().take(3) {
        two.initiator.opened.outgoing.finish(*id).unwrap();
    }
    two.exchange();
    assert_eq!(two.heard().len() as u64, OPEN_MAX + 3);
    assert!(two.told().contains(&StreamEvent::MayOpen));
    (0..3).for_each(|_| assert!(two.open(&BULK) > ids[63]));
    assert_eq!(two.initiator.opened.outgoing.open(&BULK), Err(StreamError::TooMany));
    // Also where few end at a time.
    let mut two = Two::new();
    for _ in 0..20 * OPEN_MAX {
        let id = two.open(&GROUP);
        two.exchange();
        two.initiator.opened.outgoing.finish(id).unwrap();
        two.exchange();
    }
}

#[test]
fn a_sender_gives_up_and_a_receiver_refuses() {
    let mut two = Two::new();
    let (given_up, refused) = (two.open(&BULK), two.open(&BULK));
    for id in [given_up, refused] {
        two.write(id, vec![1; 1 << 20]).unwrap();
    }
    two.exchange();
    two.heard();
    two.initiator.reset(given_up, 7).unwrap();
    assert_eq!(two.initiator.reset(given_up, 7), Err(StreamError::Ended));
    two.responder.reset(refused, 8).unwrap();
    assert_eq!(two.responder.reset(refused, 8), Err(StreamError::Ended));
    assert_eq!(two.responder.reset(StreamId(10), 8), Err(StreamError::NoStream));
    assert_eq!(two.responder.reset(StreamId(1), 8), Err(StreamError::NoStream));
    two.exchange();
    assert_eq!(two.heard(), [StreamEvent::Reset { stream: given_up, code: 7 }]);
    assert_eq!(two.told(), [StreamEvent::Reset { stream: refused, code: 8 }]);
    assert_eq!((two.read(given_up), two.read(refused)), (vec![], vec![]));
    // Neither side keeps anything of them, and all credit of the session is there again.
    assert!(two.initiator.opened.outgoing.is_empty());
    let responder = &two.responder;
    assert_eq!(responder.grant.held(), 0);
    assert!(responder.grant.max - responder.grant.received >= SESSION_WINDOW - CREDIT_RESERVE / 2);
}

#[test]
fn a_stream_of_a_kind_that_nobody_knows_is_refused() {
    let mut two = Two::new();
    take(&mut two.responder, &piece(2, 0, false, &[2, 0xee, 0, 1, 2, 3])).unwrap();
    let mut out = Vec::new();
    two.responder.opened.write_reset(100, &mut out).unwrap();
    let expected = Frame::Reset { stream: StreamId(2), code: UNKNOWN_HEAD, final_size: 0 };
    assert_eq!(Frames::new(&out).collect::<Vec<_>>(), [Ok(expected)]);
    take(&mut two.responder, &piece(2, 6, false, b"more")).unwrap();
    take(&mut two.responder, &reset(2, 10)).unwrap();
    assert_eq!((two.heard(), two.responder.grant.held()), (vec![], 0));
}

#[test]
fn a_peer_that_breaks_the_rules_of_streams_is_told_which() {
    use Misbehaviour::{CreditExceeded, FinalSize, StreamHead, StreamNotAllowed, TooManyStreams};
    let head = BULK.to_bytes();
    let begun = piece(2, 0, false, &head);
    let with = |next: Vec<u8>| [begun.clone(), next].concat();
    let mut credit = Vec::new();
    Frame::MaxStreamData { stream: StreamId(2), max: 1 }.encode(&mut credit);
    let broken = [
        (piece(3, 0, false, b""), StreamNotAllowed),
        (credit, StreamNotAllowed),
        (reset(3, 0), StreamNotAllowed),
        (piece(2 + 2 * OPEN_MAX, 0, false, b""), TooManyStreams),
        (reset(2 + 2 * OPEN_MAX, 0), TooManyStreams),
        (piece(2, 0, false, &[65]), StreamHead),
        (piece(2, 0, false, &[1, 1]), StreamHead),
        (piece(2, 0, true, &head[..5]), StreamHead),
        (piece(2, 0, true, b""), StreamHead),
        (piece(2, STREAM_WINDOW, false, b"x"), CreditExceeded),
        (reset(2, STREAM_WINDOW + 1), CreditExceeded),
        (with([piece(2, 40, true, b""), piece(2, 40, false, b"x")].concat()), FinalSize),
        (with([piece(2, 40, true, b""), piece(2, 39, true, b"")].concat()), FinalSize),
        (with([piece(2, 40, false, b"x"), piece(2, 30, true, b"x")].concat()), FinalSize),
        (with(reset(2, 3)), FinalSize),
    ];
    for (content, how) in broken {
        let mut streams = Streams::new(Role::Responder);
        assert_eq!(take(&mut streams, &content), Err(how), "{content:x?}");
    }
    // Four streams to the end of their credit are the session's; a byte more is too much.
    let mut streams = Streams::new(Role::Responder);
    for n in 0..4 {
        take(&mut streams, &piece(2 + 2 * n, STREAM_WINDOW - 1, false, b"x")).unwrap();
    }
    assert_eq!(take(&mut streams, &piece(10, 0, false, b"x")), Err(CreditExceeded));
    // The receiver of a stream sends nothing on it.
    let mut two = Two::new();
    two.open(&BULK);
    two.exchange();
    assert_eq!(take(&mut two.initiator, &reset(2, 1)), Err(FinalSize));
    assert_eq!(take(&mut two.initiator, &reset(4, 0)), Err(StreamNotAllowed));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_is_lost_streams_arrive_whole_and_in_the_end_nothing_is_left(
        lens in proptest::collection::vec(0usize..30_000, 1..8),
        fates in proptest::collection::vec((any::<bool>(), 60usize..1168), 0..300),
    ) {
        let mut two = Two::new();
        let ids: Vec<_> = lens.iter().map(|len| {
            let id = two.open(if len % 2 == 0 { &GROUP } else { &BULK });
            two.write(id, (0..*len).map(|n| (n + len) as u8).collect()).unwrap();
            two.initiator.opened.outgoing.finish(id).unwrap();
            id
        }).collect();
        let mut came = vec![Vec::new(); ids.len()];
        let mut fates = fates.into_iter().chain(core::iter::repeat((true, 1000)));
        while two.initiator.sendable().total() > 0 {
            let (arrives, room) = fates.next().unwrap();
            let mut out = Vec::new();
            let chunk = two.initiator.write_frame(room, true, &mut out).unwrap();
            prop_assert!(out.len() <= room);
            if arrives {
                take(&mut two.responder, &out).unwrap();
                two.initiator.on_acked((&chunk.header).into());
            } else {
                two.initiator.on_lost((&chunk.header).into());
            }
            carry(&mut two.responder, &mut two.initiator);
            for (id, came) in ids.iter().zip(&mut came) {
                came.extend(two.read(*id));
            }
        }
        for (len, came) in lens.iter().zip(&came) {
            prop_assert_eq!(came, &(0..*len).map(|n| (n + len) as u8).collect::<Vec<_>>());
        }
        let finished = |events: Vec<StreamEvent>| {
            events.iter().filter(|event| matches!(event, StreamEvent::Finished { .. })).count()
        };
        prop_assert_eq!((finished(two.told()), finished(two.heard())), (ids.len(), ids.len()));
        prop_assert!(two.initiator.opened.outgoing.is_empty());
        prop_assert_eq!(two.responder.grant.held(), 0);
    }
}
