//! A session that is cut off in the middle, and who takes that for its end.

use std::collections::BTreeSet;
use std::time::Duration;

use p2pchat_netsim::{LinkConfig, millis};
use p2pchat_proto::datagram::{DATA_HEADER_LEN, DataHeader, TAG_LEN};
use p2pchat_proto::frame::{CloseCode, Frame, StreamId};
use p2pchat_session::{EndReason, LOST_AFTER};
use rand::{Rng, RngExt};

use super::{Session, target};
use crate::rows::{Defence, Lab, NotRun, Promise, Row, Seen, each};
use crate::sim::START;
use crate::sim::careless::Missing;
use crate::sim::hand::{Hand, said, said_len};
use crate::sim::pair::Pair;
use crate::sim::people::People;

/// Lines that each says, one of them longer than a packet.
const LINES: usize = 6;
/// Bytes of the long one.
const LONG_LINE: usize = 3_000;
/// By then a session is given up that hears nothing.
const GIVEN_UP: Duration = LOST_AFTER.saturating_mul(3);
/// Bytes of a packet with `Close` and nothing else: a kind and a code.
const CLOSE_LEN: usize = DATA_HEADER_LEN + 2 + TAG_LEN;

const SILENCE: Promise = "silence is lost, and never closed";
const FORGED: Promise = "an end that does not open is none";
const WHOLE: Promise = "what came of a message is not shown as one";
const TOLD: Promise = "an end that was announced is closed, and never lost";

const DOUBLES: [(Missing, Promise); 3] =
    [(Missing::Silence, SILENCE), (Missing::EndTag, FORGED), (Missing::WholeBodies, WHOLE)];

/// Cut anywhere.
pub(super) const CUT: Row = Row {
    id: "T17",
    attack: "a session is cut at each of its packets, one way or both, and an end forged after it",
    expected: "lost, never closed, unless the peer's own end arrived; whole messages only, in order",
    run: cut,
};

fn cut(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let mut figure = String::new();
    let seen = each(defence, &DOUBLES, |missing| {
        let mut broken = BTreeSet::new();
        for packets in 0..=script().len() {
            broken.extend(cut_by_hand(missing, packets, lab)?);
        }
        if missing.is_none() {
            let cuts = cut_between_two(&mut broken, lab)?;
            figure = format!("{} cuts of what a hand sends, {cuts} between two", script().len() + 1);
        }
        Ok(broken)
    })?;
    Ok(seen.figure(figure))
}

/// What a peer made by hand sends, packet by packet: lines, one in pieces, and the end.
fn script() -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    let mut offset = 0;
    for line in 0..LINES {
        let body = line.to_string().into_bytes();
        packets.push(said(offset, &body));
        offset += said_len(&body);
    }
    let long = vec![b'x'; LONG_LINE];
    let mut bytes = vec![1];
    bytes.extend(u32::try_from(long.len()).unwrap_or(u32::MAX).to_be_bytes());
    bytes.extend(&long);
    for piece in bytes.chunks(1_000) {
        let mut content = Vec::new();
        let stream = StreamId::CONVERSATION;
        Frame::Stream { stream, offset, fin: false, bytes: piece }.encode(&mut content);
        packets.push(content);
        offset += piece.len() as u64;
    }
    let mut close = Vec::new();
    Frame::Close { code: CloseCode::Done }.encode(&mut close);
    packets.push(close);
    packets
}

/// What is broken where so many packets arrive, and then what an attacker makes.
fn cut_by_hand(missing: Option<Missing>, packets: usize, lab: &mut Lab) -> Result<Vec<Promise>, NotRun> {
    let people = People::default();
    let (bobs, alices) = people.introduce(&mut lab.rng);
    let (defence, missing) =
        missing.map_or((Defence::InPlace, Missing::Skipping), |missing| (Defence::Removed, missing));
    let mut target = target(defence, missing, &people, alices, lab.rng.random());
    let hand = Hand::meet(&mut *target, &bobs, &people.bob, &mut lab.rng, START)?;
    let mut session = Session { hand, target };
    let script = script();
    for content in script.iter().take(packets) {
        let packet = session.hand.packet(content);
        session.answers(&packet);
    }
    let mut broken = Vec::new();
    let announced = packets == script.len();
    for forged in forged_ends(&session.hand, lab) {
        session.answers(&forged);
    }
    if session.target.was_closed() != announced {
        broken.push(if announced { TOLD } else { FORGED });
    }
    let (mut now, end) = (START, START + GIVEN_UP);
    while now < end {
        now = now + Duration::from_millis(100);
        session.target.wait(now);
        session.target.sent(now);
    }
    // The double does not know what lost means: it stays until it is closed.
    if !broken.contains(&FORGED) && session.target.was_closed() != announced {
        broken.push(SILENCE);
    }
    if defence == Defence::InPlace && !session.target.has_ended() {
        return Err(NotRun("it was never given up".to_owned()));
    }
    let mut whole: Vec<Vec<u8>> = (0..LINES).map(|line| line.to_string().into_bytes()).collect();
    whole.push(vec![b'x'; LONG_LINE]);
    if !whole.starts_with(session.target.bodies()) {
        broken.push(WHOLE);
    }
    Ok(broken)
}

/// What somebody without the keys can put in the place of an end.
fn forged_ends(hand: &Hand, lab: &mut Lab) -> Vec<Vec<u8>> {
    let mut ends = Vec::new();
    for packet_number in [hand.next, 0, u64::MAX] {
        let header = DataHeader { epoch: 0, receiver: hand.receiver, packet_number }.encode();
        for len in [DATA_HEADER_LEN, CLOSE_LEN - 1, CLOSE_LEN, 1_200] {
            let mut datagram = vec![0; len];
            lab.rng.fill_bytes(&mut datagram);
            datagram.iter_mut().zip(header).for_each(|(byte, header)| *byte = header);
            ends.push(datagram);
        }
    }
    ends
}

/// Two of the product, cut after every number of datagrams. How many cuts there were.
fn cut_between_two(broken: &mut BTreeSet<Promise>, lab: &mut Lab) -> Result<usize, NotRun> {
    let seed = lab.rng.random();
    let Story { sent, .. } = Story::told(seed, [usize::MAX; 2]);
    let mut cuts = 0;
    for bobs in 0..=sent[0] {
        for at in [[bobs, usize::MAX], [bobs, bobs.min(sent[1])]] {
            cuts += 1;
            broken.extend(Story::told(seed, at).broken());
        }
    }
    for alices in 0..=sent[1] {
        cuts += 1;
        broken.extend(Story::told(seed, [usize::MAX, alices]).broken());
    }
    if sent.iter().any(|sent| *sent < 2 * LINES) {
        return Err(NotRun(format!("only {sent:?} datagrams to cut at")));
    }
    Ok(cuts)
}

/// How a session went in which each says lines and bob ends it.
struct Story {
    said: Vec<Vec<u8>>,
    heard: [Vec<Vec<u8>>; 2],
    ended: [Option<EndReason>; 2],
    /// Whether bob's end got as far as alice.
    announced: bool,
    sent: [usize; 2],
}

impl Story {
    fn told(seed: u64, cut_from: [usize; 2]) -> Self {
        use rand::SeedableRng;
        let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(seed);
        let seeds = [rng.random(), rng.random()];
        let line = LinkConfig { delay: millis(20), ..LinkConfig::default() };
        let mut pair = Pair::new(&People::default(), seeds, line, &mut rng);
        pair.sides.iter_mut().zip(cut_from).for_each(|(side, at)| side.cut_from = at);
        let mut said: Vec<Vec<u8>> = (0..LINES).map(|line| line.to_string().into_bytes()).collect();
        said.push(vec![b'x'; LONG_LINE]);
        // However far it comes up.
        pair.run_for(Duration::from_millis(500));
        for body in &said {
            pair.say(0, body);
            pair.say(1, body);
            pair.run_for(Duration::from_millis(30));
        }
        pair.run_for(Duration::from_secs(1));
        let [bob, _] = &pair.sides;
        let before = bob.sent;
        pair.close(0);
        pair.run_for(GIVEN_UP);
        let [bob, alice] = pair.sides;
        Self {
            said,
            announced: bob.cut_from > before && bob.sent > before,
            sent: [bob.sent, alice.sent],
            heard: [bob.bodies, alice.bodies],
            ended: [bob.ended, alice.ended],
        }
    }

    fn broken(&self) -> Vec<Promise> {
        let [bob, alice] = self.ended;
        let mut broken = Vec::new();
        let closed = |ended| matches!(ended, Some(EndReason::ClosedByPeer(_)));
        if closed(bob) || closed(alice) && !self.announced || alice.is_none() {
            broken.push(SILENCE);
        }
        // An end that came, came to somebody who was there.
        if self.announced && !closed(alice) && alice != Some(EndReason::HandshakeTimedOut) {
            broken.push(TOLD);
        }
        if self.heard.iter().any(|heard| !self.said.starts_with(heard)) {
            broken.push(WHOLE);
        }
        broken
    }
}
