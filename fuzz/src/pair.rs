//! Two endpoints that were introduced, and everything that a line between them may do.
//!
//! The first byte says whether the handshake is over when the line goes bad. Each operation after it is
//! a byte and its arguments; see [`Pair::operate`]. At the end the line heals, but for a datagram size
//! that it may have become too narrow for.

mod streams;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::Duration;

use p2pchat_proto::datagram::{DATA, DATA_HEADER_LEN};
use p2pchat_proto::limits::BODY_MAX;
use p2pchat_proto::{Moment, UdpEndpoints};
use p2pchat_session::{
    CloseCode, DATAGRAM_SIZE, DATAGRAM_SIZE_LEAST, DATAGRAM_SIZE_MAX, EndReason, Endpoint, REKEY_AFTER,
    Received, SEND_BUFFER_MAX, SendError, SessionEvent, SessionId, StreamId,
};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

use self::streams::Streams;
use crate::input::Input;
use crate::meter::Meter;
use crate::sim::START;
use crate::sim::people::{People, alices_address, bobs_address};
use crate::sim::target::{endpoint, received};

/// Operations of one input.
const OPERATIONS_MAX: usize = 400;
/// Datagrams that the line holds; the oldest goes for the next.
const FLIGHT_MAX: usize = 1_000;
/// Datagrams that an attacker keeps, to send them again.
const KEPT_MAX: usize = 64;
/// Bytes of bodies that one side says in one run, so that a run takes milliseconds.
const SAID_MAX: usize = 2 * SEND_BUFFER_MAX;
/// Bytes that both endpoints may hold: of each of two streams and sides, a send buffer in a ring that
/// doubles, the credit of 256 KiB in reassembly and a body; what is written to streams that they open;
/// and what is known of packets on their way.
const MEMORY_MAX: usize =
    4 * (2 * SEND_BUFFER_MAX + 512 * 1024 + 2 * BODY_MAX) + streams::MEMORY_MAX + 4 * 1024 * 1024;
/// Datagrams that one side lets out without having heard anything: the largest window of congestion
/// control is a fraction of it.
const BURST_MAX: usize = 20_000;
/// What the healed line takes one way.
const HEALED_DELAY: Duration = Duration::from_millis(10);
/// By then everything said has arrived or the session has ended: twice the longest of a handshake, of
/// silence until a session is lost, and of a sleep of the line's (40 s).
const HEALED_WITHIN: Duration = Duration::from_secs(300);

/// How often whoever takes what comes on streams looks, once the line is good.
const TAKEN_EVERY: Duration = Duration::from_millis(100);
/// Operations from here on are those on streams.
const ON_STREAMS: u8 = 0xc0;
/// Operations from here on are those on keys and on the line's width.
const ON_KEYS: u8 = 0xf0;
/// What the line takes of a datagram, byte for byte.
const WIDTHS: [usize; 6] = [usize::MAX, DATAGRAM_SIZE_MAX, 1_300, DATAGRAM_SIZE, 1_000, DATAGRAM_SIZE_LEAST];
/// The line is under the input's control again before keys are renewed.
const BEFORE_KEYS: Duration = Duration::from_millis(1);

/// Long enough for keys that talked to be renewed (120 s).
const KEYS_LAST: Duration = Duration::from_secs(130);
/// When a line that became good has given back what it kept from the two, keys that were due among it: twice the
/// silence that ends a session.
const RESTORED_WITHIN: Duration = Duration::from_secs(60);

const LENGTHS: [usize; 16] =
    [0, 1, 2, 16, 100, 500, 1_000, 1_150, 1_163, 1_200, 2_400, 5_000, 20_000, BODY_MAX, BODY_MAX + 1, 7];

/// One of the two, with what the other said to it.
struct Side {
    endpoint: Endpoint,
    session: SessionId,
    address: SocketAddr,
    up: bool,
    /// Whether this side was told to close.
    closed: bool,
    ended: Option<EndReason>,
    /// The stream, kind and length of each body that was taken for sending and has not arrived.
    on_the_way: BTreeMap<StreamId, VecDeque<(u32, usize)>>,
    said: u32,
    said_bytes: usize,
    streams: Streams,
    /// Numbers of this side's packets, over all keys.
    numbers: BTreeSet<u64>,
    /// How often its keys were renewed.
    epoch: u32,
}

struct Flying {
    to: usize,
    bytes: Vec<u8>,
}

struct Pair {
    now: Moment,
    sides: [Side; 2],
    flight: VecDeque<Flying>,
    kept: VecDeque<Flying>,
    /// Longest datagram that the line takes.
    width: usize,
    /// Since when it delivers whatever it takes.
    good_since: Option<Moment>,
    meter: Meter,
}

/// Runs one input.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut pair = Pair::new();
    if input.flag() {
        pair.shake_hands();
    }
    for _ in 0..OPERATIONS_MAX {
        let Some(operation) = input.operation() else { break };
        pair.operate(operation, &mut input);
        pair.drain();
        pair.check_memory();
    }
    pair.heal();
    pair.part();
}

fn body(number: u32, len: usize) -> Vec<u8> {
    let start = number.to_be_bytes();
    (0..len).map(|n| start[n % 4] ^ (n / 4) as u8).collect()
}

impl Pair {
    fn new() -> Self {
        static PEOPLE: OnceLock<People> = OnceLock::new();
        let people = PEOPLE.get_or_init(People::default);
        let meter = Meter::default();
        let (bobs, alices) = people.introduce(&mut ChaCha20Rng::seed_from_u64(1));
        let side = |me, introduction, address, peer| {
            let mut endpoint = endpoint(me, 1, START);
            let session = endpoint.introduce(introduction, &UdpEndpoints::new([peer]), START);
            Side {
                endpoint,
                session,
                address,
                up: false,
                closed: false,
                ended: None,
                on_the_way: BTreeMap::new(),
                said: 0,
                said_bytes: 0,
                streams: Streams::default(),
                numbers: BTreeSet::new(),
                epoch: 0,
            }
        };
        let bob = side(&people.bob, bobs, bobs_address(), alices_address());
        let alice = side(&people.alice, alices, alices_address(), bobs_address());
        let (flight, kept) = (VecDeque::new(), VecDeque::new());
        let mut pair = Self {
            now: START,
            sides: [bob, alice],
            flight,
            kept,
            width: usize::MAX,
            good_since: None,
            meter,
        };
        pair.drain();
        pair
    }

    fn shake_hands(&mut self) {
        let end = self.now + Duration::from_secs(5);
        while self.sides.iter().any(|side| !side.up) {
            assert!(self.now < end, "no session over a good line");
            self.wait(HEALED_DELAY);
            self.deliver_all();
        }
    }

    fn operate(&mut self, operation: u8, input: &mut Input<'_>) {
        if operation >= ON_KEYS {
            return self.on_keys(operation, input);
        }
        if operation >= ON_STREAMS {
            return self.on_streams(operation, input);
        }
        let operation = operation % 18;
        // What is said changes no line.
        let good_since = self.good_since;
        if operation > 2 {
            self.good_since = None;
        }
        match operation {
            0..=2 => {
                let (who, stream, len) = (input.byte(), input.byte(), input.byte());
                let stream = StreamId(u64::from(stream % 3));
                self.say(usize::from(who % 2), stream, LENGTHS[usize::from(len % 16)]);
            }
            3 | 4 => {
                if let Some(flying) = self.pick(input) {
                    self.arrive(&flying);
                }
            }
            5 => {
                if let Some(index) = input.index(self.flight.len()) {
                    let Flying { to, bytes } = &self.flight[index];
                    let twice = Flying { to: *to, bytes: bytes.clone() };
                    self.arrive(&twice);
                }
            }
            6 => drop(self.pick(input)),
            7 => {
                if let Some(index) = input.index(self.flight.len()) {
                    let (at, mask) = (usize::from(input.short()), input.byte());
                    let bytes = &mut self.flight[index].bytes;
                    if let Some(at) = at.checked_rem(bytes.len()) {
                        bytes[at] ^= mask;
                    }
                }
            }
            8 => {
                if let Some(index) = input.index(self.flight.len()) {
                    let len = usize::from(input.short());
                    self.flight[index].bytes.truncate(len);
                }
            }
            9 => {
                if let Some(Flying { to, mut bytes }) = self.pick(input) {
                    let stranger = SocketAddr::from(([203, 0, 113, input.byte()], 4_000));
                    self.take(to, received(stranger), &mut bytes);
                }
            }
            10 | 11 => self.deliver_all(),
            12 => {
                let backwards = self.flight.drain(..).rev().collect();
                self.flight = backwards;
                self.deliver_all();
            }
            13 => match input.byte() {
                0xf0.. => {
                    self.good_since = good_since;
                    self.run_until(self.now + KEYS_LAST, |_| false);
                }
                exponent => self.wait(Duration::from_millis(1 << (exponent % 16))),
            },
            14 => {
                // The machine sleeps: nothing is done in time.
                self.now = self.now + Duration::from_millis(1 << (input.byte() % 20));
                self.expire();
            }
            15 => {
                let (who, code) = (usize::from(input.byte() % 2), u64::from(input.byte() % 8));
                let side = &mut self.sides[who];
                side.closed = true;
                side.endpoint.close(side.session, CloseCode::from_wire(code), self.now);
            }
            16 => {
                let (to, from, segment) = (usize::from(input.byte() % 2), input.byte(), input.byte());
                let known = self.sides[1 - to].address;
                let from = if from & 1 == 0 { known } else { SocketAddr::from(([203, 0, 113, from], 1)) };
                let segment_size = (segment > 0).then(|| usize::from(segment) - 1);
                let received = Received { segment_size, ..received(from) };
                self.take(to, received, &mut input.bytes().to_vec());
            }
            _ => {
                if let Some(index) = input.index(self.kept.len()) {
                    let Flying { to, bytes } = &self.kept[index];
                    // To either: what one said may come back to it.
                    let again = Flying { to: to ^ usize::from(input.byte() & 1), bytes: bytes.clone() };
                    self.arrive(&again);
                }
            }
        }
    }

    /// Keys become old enough to be renewed, while the line is good, and then the line is as bad as
    /// before; or it becomes narrower or wider.
    fn on_keys(&mut self, operation: u8, input: &mut Input<'_>) {
        if operation % 2 == 1 {
            self.width = WIDTHS[usize::from(input.byte()) % WIDTHS.len()];
            return;
        }
        (0..2).for_each(|who| self.say(who, StreamId(1), 1));
        let bob = &self.sides[0];
        if let Some(info) = bob.endpoint.info(bob.session, self.now) {
            let left = REKEY_AFTER.saturating_sub(info.key_age).saturating_sub(BEFORE_KEYS);
            self.run_until(self.now + left, |_| false);
            self.good_since = None;
            self.wait(BEFORE_KEYS);
        }
    }

    fn say(&mut self, who: usize, stream: StreamId, len: usize) {
        let side = &mut self.sides[who];
        if side.said_bytes + len > SAID_MAX {
            return;
        }
        let bytes = body(side.said, len);
        match side.endpoint.send(side.session, stream, side.said as u8, &bytes, self.now) {
            Ok(()) => {
                assert!(len <= BODY_MAX && side.up && !side.closed && side.ended.is_none());
                side.on_the_way.entry(stream).or_default().push_back((side.said, len));
                side.said += 1;
                side.said_bytes += len;
            }
            Err(SendError::NotUp) => assert!(!side.up || side.closed || side.ended.is_some()),
            Err(SendError::NoStream) => assert!(stream.0 > 1),
            Err(SendError::TooLong) => assert!(len > BODY_MAX),
            // The kinds of the two messages of a rekey.
            Err(SendError::Reserved) => {
                assert!(stream == StreamId::CONTROL && [0x10, 0x11].contains(&(side.said as u8)));
                side.said += 1;
            }
            Err(SendError::Full) => assert!(side.said_bytes + len > SEND_BUFFER_MAX / 2),
        }
    }

    fn pick(&mut self, input: &mut Input<'_>) -> Option<Flying> {
        let index = input.index(self.flight.len())?;
        self.flight.remove(index)
    }

    fn arrive(&mut self, flying: &Flying) {
        let from = self.sides[1 - flying.to].address;
        self.take(flying.to, received(from), &mut flying.bytes.clone());
    }

    fn take(&mut self, to: usize, received: Received, bytes: &mut [u8]) {
        self.sides[to].endpoint.handle_datagram(received, bytes, self.now);
        self.drain();
    }

    fn deliver_all(&mut self) {
        for flying in core::mem::take(&mut self.flight) {
            self.arrive(&flying);
        }
    }

    /// Time passes, and everything is done in time.
    fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            self.drain();
            let due = self.sides.iter().filter_map(|side| side.endpoint.poll_timeout()).min();
            let Some(due) = due.filter(|due| *due <= end) else { break };
            self.now = self.now.max(due);
            self.expire();
        }
        self.now = end;
    }

    fn expire(&mut self) {
        for side in &mut self.sides {
            if side.endpoint.poll_timeout().is_some_and(|due| due <= self.now) {
                side.endpoint.handle_timeout(self.now);
            }
        }
        self.drain();
    }

    fn drain(&mut self) {
        for who in 0..2 {
            // A deadline that moved into the past may be due at once, but not again and again.
            let mut turns = 0;
            loop {
                self.let_out(who);
                let side = &mut self.sides[who];
                if side.endpoint.poll_timeout().is_none_or(|at| at > self.now) {
                    break;
                }
                side.endpoint.handle_timeout(self.now);
                turns += 1;
                assert!(turns < 4, "it spins");
            }
        }
    }

    fn let_out(&mut self, who: usize) {
        let mut out = Vec::new();
        let mut burst = 0;
        while let Some(transmit) = self.sides[who].endpoint.poll_transmit(self.now, 10, &mut out) {
            let segment = transmit.segment_size.unwrap_or(out.len());
            assert!(segment > 0 && segment <= DATAGRAM_SIZE_MAX);
            for datagram in out.chunks(segment) {
                burst += 1;
                assert!(burst < BURST_MAX, "more than any window at once");
                self.sides[who].note(datagram);
                if self.kept.len() >= KEPT_MAX {
                    self.kept.pop_front();
                }
                self.kept.push_back(Flying { to: 1 - who, bytes: datagram.to_vec() });
                // To where the handshake came from, even if that is nowhere.
                if transmit.to == self.sides[1 - who].address && datagram.len() <= self.width {
                    if self.flight.len() >= FLIGHT_MAX {
                        self.flight.pop_front();
                    }
                    self.flight.push_back(Flying { to: 1 - who, bytes: datagram.to_vec() });
                }
            }
        }
        let side = &mut self.sides[who];
        if let Some(info) = side.endpoint.info(side.session, self.now) {
            assert!(info.epoch >= side.epoch, "older keys than before");
            side.epoch = info.epoch;
        }
        while let Some((session, event)) = self.sides[who].endpoint.poll_event() {
            assert_eq!(session, self.sides[who].session);
            self.hear(who, event);
        }
    }

    fn hear(&mut self, who: usize, event: SessionEvent) {
        let good_for = self.good_since.map_or(Duration::ZERO, |since| self.now.saturating_since(since));
        let [bob, alice] = &mut self.sides;
        let (me, other) = if who == 0 { (bob, alice) } else { (alice, bob) };
        assert_eq!(me.ended, None, "{event:?} after the end");
        match event {
            SessionEvent::Up { .. } => {
                assert!(!me.up, "up twice");
                me.up = true;
            }
            SessionEvent::Body { stream, kind, bytes } => {
                let next = other.on_the_way.get_mut(&stream).and_then(VecDeque::pop_front);
                let (number, len) = next.expect("a body that nobody said, or a second time");
                assert_eq!(kind, number as u8);
                assert!(bytes == body(number, len), "another body than was said");
            }
            SessionEvent::Stream(event) => self.hear_of_stream(who, event),
            SessionEvent::Moved { .. }
            | SessionEvent::Suspect
            | SessionEvent::Recovered
            | SessionEvent::Hint { .. } => assert!(me.up),
            SessionEvent::Ended(reason) => {
                match reason {
                    EndReason::ClosedHere => assert!(me.closed),
                    EndReason::ClosedByPeer(_) => assert!(other.closed),
                    EndReason::Lost => {
                        let alone = other.ended.is_some() || other.closed;
                        assert!(me.up && (alone || good_for < RESTORED_WITHIN), "lost over a good line");
                    }
                    // The line may have been bad, and the machine have slept, in the middle of a rekey.
                    EndReason::KeysUsedUp => {
                        assert!(
                            me.up && good_for < RESTORED_WITHIN,
                            "keys were not renewed over a good line"
                        );
                    }
                    EndReason::HandshakeTimedOut => assert!(!me.up),
                    EndReason::PeerMisbehaved(how) => panic!("the line made an honest peer guilty: {how}"),
                }
                me.ended = Some(reason);
            }
        }
    }

    fn check_memory(&self) {
        let line = (FLIGHT_MAX + KEPT_MAX) * (DATAGRAM_SIZE_MAX + 64);
        let held = self.meter.held();
        assert!(held < MEMORY_MAX + line, "{held} bytes are held");
    }

    /// The line is good again: everything said arrives, or the session says that it is over.
    fn heal(&mut self) {
        let end = self.now + HEALED_WITHIN;
        self.finish_all();
        while self.now < end && !self.is_settled() {
            self.run_until(self.now + TAKEN_EVERY, Self::is_settled);
            self.take_all();
        }
        assert!(self.is_settled(), "a body or a stream was lost in silence");
    }

    /// The line is good until then, or until it is enough.
    fn run_until(&mut self, end: Moment, is_enough: impl Fn(&Self) -> bool) {
        self.good_since.get_or_insert(self.now);
        while self.now < end && !is_enough(self) {
            if self.flight.is_empty() {
                let due = self.sides.iter().filter_map(|side| side.endpoint.poll_timeout()).min();
                let due = due.unwrap_or(end).min(end);
                self.wait(due.saturating_since(self.now));
            } else {
                self.wait(HEALED_DELAY);
            }
            self.deliver_all();
        }
    }

    fn is_settled(&self) -> bool {
        self.sides.iter().all(|side| {
            let has_come = side.on_the_way.values().all(VecDeque::is_empty) && side.streams.is_settled();
            side.ended.is_some() || (side.up && has_come)
        })
    }

    /// Both close, and nothing is left.
    fn part(&mut self) {
        for side in &mut self.sides {
            side.closed = true;
            side.endpoint.close(side.session, CloseCode::Done, self.now);
        }
        self.wait(HEALED_WITHIN);
        for side in &self.sides {
            assert!(side.ended.is_some() && side.endpoint.is_empty(), "a session did not end");
            assert_eq!(side.endpoint.poll_timeout(), None);
        }
    }
}

impl Side {
    /// No number is used twice under one key, and the numbers of DATA grow.
    fn note(&mut self, datagram: &[u8]) {
        if datagram.first() == Some(&DATA) {
            let number = datagram.get(8..DATA_HEADER_LEN).and_then(|number| number.try_into().ok());
            let number = u64::from_be_bytes(number.expect("a header"));
            assert!(self.numbers.insert(number), "packet number {number} twice");
        }
    }
}
