//! An endpoint, and an introduced peer who holds the right keys and says anything.
//!
//! What the line cannot do ([`crate::pair`]) a peer can: frames of any content arrive authentic.

use std::sync::OnceLock;
use std::time::Duration;

use p2pchat_proto::Moment;
use p2pchat_proto::frame::{CloseCode, Frame, StreamId, ack};
use p2pchat_proto::limits::BODY_MAX;
use p2pchat_session::{DATAGRAM_SIZE, EndReason, SEND_BUFFER_MAX};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

use crate::input::Input;
use crate::meter::Meter;
use crate::sim::START;
use crate::sim::hand::Hand;
use crate::sim::people::People;
use crate::sim::target::{Product, Target};

/// Operations of one input.
const OPERATIONS_MAX: usize = 400;
/// Bytes that an endpoint may hold for one peer: of two streams, a send buffer in a ring that doubles,
/// the credit of 256 KiB in reassembly and a body; what is known of packets on their way; and of the
/// peer's own streams the credit of 1 MiB, with the rest of two blocks of each of 64.
const MEMORY_MAX: usize =
    2 * (2 * SEND_BUFFER_MAX + 512 * 1024 + 2 * BODY_MAX) + 2 * 1024 * 1024 + (1 << 20) + 2 * 64 * 16 * 1024;
/// Datagrams that leave at once; the peer can make the window grow by acknowledging.
const BURST_MAX: usize = 20_000;
/// Streams that the peer speaks of: those from the start, its own (it is the initiator), and one that is not.
const STREAMS: [u64; 8] = [0, 1, 2, 4, 6, 8, 128, 3];
/// Silence after which a session is over, and some.
const OVER_AFTER: Duration = Duration::from_secs(200);

struct Attack {
    now: Moment,
    target: Product,
    hand: Hand,
    /// Content of the packet that is being made.
    content: Vec<u8>,
    bodies: usize,
    ended: Option<EndReason>,
    said: u64,
    meter: Meter,
}

/// Runs one input.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut attack = Attack::new();
    for _ in 0..OPERATIONS_MAX {
        let Some(operation) = input.operation() else { break };
        attack.operate(operation, &mut input);
        attack.hear();
        let held = attack.meter.held();
        assert!(held < MEMORY_MAX, "{held} bytes are held");
    }
    attack.fall_silent();
}

impl Attack {
    fn new() -> Self {
        static PEOPLE: OnceLock<People> = OnceLock::new();
        let people = PEOPLE.get_or_init(People::default);
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let (bobs, alices) = people.introduce(&mut rng);
        let meter = Meter::default();
        let mut target = Product::new(&people.alice, alices, 1, START);
        let hand = Hand::meet(&mut target, &bobs, &people.bob, &mut rng, START);
        let hand = hand.expect("an honest handshake");
        let content = Vec::new();
        Self { now: START, target, hand, content, bodies: 0, ended: None, said: 0, meter }
    }

    fn operate(&mut self, operation: u8, input: &mut Input<'_>) {
        let content = &mut self.content;
        match operation % 16 {
            0..=2 => {
                // The stream's next bytes, in order unless another operation broke it.
                let (stream, back, fin) = (input.byte(), input.byte(), input.byte());
                let (offset, bytes) = (self.said.saturating_sub(u64::from(back)), input.bytes());
                self.said = self.said.max(offset + bytes.len() as u64);
                let (stream, fin) = (StreamId(STREAMS[usize::from(stream % 8)]), fin == 255);
                Frame::Stream { stream, offset, fin, bytes }.encode(content);
            }
            3 => {
                let (stream, offset) = (StreamId(input.scaled()), input.scaled());
                Frame::Stream { stream, offset, fin: false, bytes: input.bytes() }.encode(content);
            }
            4 => {
                // A whole body, or one that is announced and never comes.
                let mut bytes = vec![input.byte()];
                bytes.extend(u32::from(input.short()).to_be_bytes());
                bytes.extend(input.bytes());
                let offset = self.said;
                self.said += bytes.len() as u64;
                let frame =
                    Frame::Stream { stream: StreamId::CONVERSATION, offset, fin: false, bytes: &bytes };
                frame.encode(content);
            }
            5 => {
                // Up to 8 ranges, from the highest down.
                let mut from = input.scaled();
                let mut ranges = Vec::new();
                for _ in 0..input.byte() % 8 {
                    let low = from.saturating_sub(u64::from(input.byte()));
                    ranges.push(low..=from);
                    let Some(next) = low.checked_sub(2 + u64::from(input.byte())) else { break };
                    from = next;
                }
                let delay = Duration::from_micros(input.scaled() >> 20);
                if !ranges.is_empty() {
                    ack::write(delay, ranges.into_iter(), 1_000, content);
                }
            }
            6 => Frame::MaxData { max: input.scaled() }.encode(content),
            7 => {
                let stream = StreamId(STREAMS[usize::from(input.byte() % 8)]);
                Frame::MaxStreamData { stream, max: input.scaled() }.encode(content);
            }
            8 => content.extend(input.bytes()),
            9 => Frame::Close { code: CloseCode::from_wire(u64::from(input.byte())) }.encode(content),
            10 | 11 => self.seal(None),
            12 => self.seal(Some(input.scaled())),
            13 => {
                let at = self.now + Duration::from_millis(1 << (input.byte() % 16));
                self.wait(at);
            }
            14 => {
                let (stream, len) = (StreamId(u64::from(input.byte() % 2)), usize::from(input.short()));
                let (endpoint, session) = (&mut self.target.endpoint, self.target.session);
                // Refused when it is over or full; what matters is what the peer makes of it.
                if endpoint.send(session, stream, 7, &vec![7; len], self.now).is_err() {
                    assert!(self.said < u64::MAX);
                }
            }
            _ => {
                let packet = input.bytes().to_vec();
                self.target.take(self.hand.address, &packet, self.now);
            }
        }
    }

    /// The packet is whole; under the next number, or any.
    fn seal(&mut self, number: Option<u64>) {
        let mut content = core::mem::take(&mut self.content);
        content.truncate(DATAGRAM_SIZE * 7);
        let packet = match number {
            Some(number) => self.hand.numbered(number, &content),
            None => self.hand.packet(&content),
        };
        self.target.take(self.hand.address, &packet, self.now);
    }

    fn wait(&mut self, end: Moment) {
        loop {
            self.hear();
            let due = self.target.endpoint.poll_timeout();
            let Some(due) = due.filter(|due| *due <= end) else { break };
            self.now = self.now.max(due);
            self.target.wait(self.now);
        }
        self.now = end;
    }

    fn hear(&mut self) {
        let sent = self.target.sent(self.now);
        assert!(sent.len() < BURST_MAX, "more than any window at once");
        for (_, datagram) in sent {
            assert!(datagram.len() <= DATAGRAM_SIZE);
        }
        while let Some((_, event)) = self.target.endpoint.poll_event() {
            panic!("{event:?} was not taken by the target");
        }
        for body in &self.target.bodies()[self.bodies..] {
            assert!(body.len() <= BODY_MAX && self.ended.is_none());
        }
        self.bodies = self.target.bodies().len();
        if self.ended.is_some() {
            assert_eq!(self.ended, self.target.ended, "ended twice");
        }
        self.ended = self.target.ended;
    }

    fn fall_silent(&mut self) {
        let end = self.now + OVER_AFTER;
        self.wait(end);
        assert!(self.target.ended.is_some() && self.target.endpoint.is_empty(), "it never ends");
        assert_eq!(self.target.endpoint.poll_timeout(), None);
    }
}
