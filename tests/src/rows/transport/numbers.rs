//! That no key ever seals two packets under one number.

use std::collections::BTreeSet;
use std::time::Duration;

use p2pchat_proto::datagram::{DATA_HEADER_LEN, Datagram};
use p2pchat_proto::frame::{Frame, StreamId};
use p2pchat_proto::varint;
use p2pchat_session::{EndReason, PACKETS_MAX};
use rand::RngExt;

use crate::rows::{Defence, Lab, NotRun, Row, Seen};
use crate::sim::START;
use crate::sim::careless::Missing;
use crate::sim::hand::{Hand, PING, said, said_len};
use crate::sim::pair::{Pair, bad_line};
use crate::sim::people::People;
use crate::sim::target::{Product, Target};

/// Bodies said each way over a bad line.
const SAID: usize = 300;
/// Sent packets after which the peer acknowledges.
const ACK_EVERY: u64 = 64;

/// The end of the numbers.
pub(super) const USED_UP: Row = Row {
    id: "T7",
    attack: "a session is made to send until its key is used up, and the peer never renews it",
    expected: "it ends and says so; no number is used twice",
    run: used_up,
};

/// Across sessions.
pub(super) const UNIQUE: Row = Row {
    id: "T8",
    attack: "loss, a crash and a cloned machine, all packets recorded",
    expected: "no key seals twice under one number, no ciphertext comes twice",
    run: unique,
};

/// What is sent again.
pub(super) const RESENT: Row = Row {
    id: "T9",
    attack: "packets are lost until they are sent again",
    expected: "what is sent again has a new number and other bytes",
    run: resent,
};

fn used_up(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let people = People::default();
    let (bobs, alices) = people.introduce(&mut lab.rng);
    let mut product = Product::new(&people.alice, alices, lab.rng.random(), START);
    let mut hand = Hand::meet(&mut product, &bobs, &people.bob, &mut lab.rng, START)?;
    if defence == Defence::Removed {
        // A sender that counts with 16 bits.
        let mut wrapped = (0..=u64::from(u16::MAX) + 1).map(|n| Some(hand.numbered(n & 0xffff, PING)));
        return Ok(watched(&mut || wrapped.next().flatten(), || false));
    }
    let credit = [
        Frame::MaxData { max: varint::MAX },
        Frame::MaxStreamData { stream: StreamId::CONVERSATION, max: varint::MAX },
    ];
    let credit = hand.frames(&credit);
    product.take(hand.address, &credit, START);
    let (mut now, mut waiting, mut out) = (START, 0, Vec::new());
    let mut first = product.sent(now).into_iter().map(|(_, bytes)| bytes);
    let (endpoint, session, ended) = (&mut product.endpoint, product.session, &mut product.ended);
    let mut next = || {
        if let Some(early) = first.next() {
            return Some(early);
        }
        // Refused when the session has ended; then what is left says so.
        let _ = endpoint.send(session, StreamId::CONVERSATION, 1, &[], now);
        let transmit = endpoint.poll_transmit(now, 1, &mut out);
        waiting += 1;
        if waiting % ACK_EVERY == 0
            && let Some(Datagram::Data(header)) = Datagram::decode(&out)
        {
            now = now + Duration::from_millis(1);
            let mut ack = hand.ack(header.packet_number.saturating_sub(2 * ACK_EVERY)..=header.packet_number);
            endpoint.handle_datagram(crate::sim::target::received(hand.address), &mut ack, now);
        }
        while let Some((_, event)) = endpoint.poll_event() {
            if let p2pchat_session::SessionEvent::Ended(reason) = event {
                *ended = Some(reason);
            }
        }
        transmit.map(|_| out.clone())
    };
    let seen = watched(&mut next, || true);
    let held = seen.held && product.ended == Some(EndReason::KeysUsedUp);
    Ok(Seen { held, ..seen })
}

/// Watches the numbers of all that `next` sends, until it sends nothing more.
fn watched(next: &mut dyn FnMut() -> Option<Vec<u8>>, ends: impl Fn() -> bool) -> Seen {
    let mut used = vec![false; usize::try_from(PACKETS_MAX).unwrap_or_default()];
    let mut sent = 0_u64;
    while let Some(datagram) = next() {
        let Some(Datagram::Data(header)) = Datagram::decode(&datagram) else { continue };
        let number = usize::try_from(header.packet_number).unwrap_or(usize::MAX);
        match used.get_mut(number) {
            Some(used) if !*used => *used = true,
            Some(_) => return Seen::broken(format!("number {number} was used twice, after {sent} packets")),
            None => return Seen::broken(format!("number {number} is beyond the last one")),
        }
        sent += 1;
    }
    Seen::when(ends(), "it ended before a number came twice").figure(format!("{sent} packets sealed"))
}

/// Everything that was sealed, by whom it was for.
#[derive(Default)]
struct Record {
    headers: BTreeSet<(u32, [u8; DATA_HEADER_LEN])>,
    sealed: BTreeSet<[u8; 32]>,
    packets: usize,
    repeated_number: usize,
    repeated_bytes: usize,
}

impl Record {
    /// Notes what one introduction sent. The header is kind, epoch, receiver id and number.
    fn add<'a>(&mut self, introduction: u32, wire: impl IntoIterator<Item = &'a Vec<u8>>) {
        for datagram in wire {
            let (Some(Datagram::Data(_)), Some((header, sealed))) =
                (Datagram::decode(datagram), datagram.split_first_chunk())
            else {
                continue;
            };
            self.packets += 1;
            self.repeated_number += usize::from(!self.headers.insert((introduction, *header)));
            self.repeated_bytes += usize::from(!self.sealed.insert(*blake3::hash(sealed).as_bytes()));
        }
    }

    fn seen(&self) -> Seen {
        let Self { packets, repeated_number, repeated_bytes, .. } = self;
        let what = format!("{repeated_number} numbers and {repeated_bytes} ciphertexts came twice");
        Seen::when(*packets > SAID && *repeated_number == 0 && *repeated_bytes == 0, what)
            .figure(format!("{packets} packets recorded"))
    }
}

/// A session over a bad line, with [`SAID`] bodies each way, that ends as a crash ends it.
fn crashing_session(people: &People, seeds: [u64; 2], lab: &mut Lab) -> Result<Pair, NotRun> {
    let mut pair = Pair::new(people, seeds, bad_line(), &mut lab.rng);
    if !pair.come_up() {
        return Err(NotRun("the session did not come up".to_owned()));
    }
    for number in 0..SAID {
        let body = number.to_string().into_bytes();
        pair.say(0, &body);
        pair.say(1, &body);
        pair.run_for(Duration::from_millis(20));
    }
    Ok(pair)
}

fn unique(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let mut record = Record::default();
    if defence == Defence::Removed {
        record.add(
            0,
            &resending(lab, |hand, number, offset| {
                hand.numbered(number, &[PING, &said(offset, b"again")].concat())
            })?,
        );
        return Ok(record.seen());
    }
    let people = People::default();
    let seeds = [lab.rng.random(), lab.rng.random()];
    // Each is followed by one with other endpoints, as after a crash, and by one with the same
    // randomness in both endpoints, as when a machine was cloned.
    for (introduction, seeds) in [seeds, [lab.rng.random(), lab.rng.random()], seeds].into_iter().enumerate()
    {
        let pair = crashing_session(&people, seeds, lab)?;
        record.add(u32::try_from(introduction)?, &pair.wire);
    }
    Ok(record.seen())
}

fn resent(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let mut record = Record::default();
    if defence == Defence::Removed {
        record
            .add(0, &resending(lab, |hand, number, offset| hand.numbered(number, &said(offset, b"again")))?);
        return Ok(record.seen());
    }
    let seeds = [lab.rng.random(), lab.rng.random()];
    let mut pair = crashing_session(&People::default(), seeds, lab)?;
    pair.run_for(Duration::from_secs(60));
    record.add(0, &pair.wire);
    let again: u64 = pair
        .sides
        .iter()
        .filter_map(|side| side.endpoint.info(side.session, pair.now))
        .map(|info| info.retransmitted)
        .sum();
    let all_shown = pair.sides.iter().all(|side| side.bodies.len() == SAID);
    let seen = record.seen();
    let trace = pair.trace_hash();
    let figure = format!("{again} of {} packets carried something again, trace {trace:016x}", record.packets);
    Ok(Seen { held: seen.held && again > 0 && all_shown, ..seen }.figure(figure))
}

/// What a sender puts on the wire that sends everything again under the number that it had.
fn resending(lab: &mut Lab, again: impl Fn(&Hand, u64, u64) -> Vec<u8>) -> Result<Vec<Vec<u8>>, NotRun> {
    let super::Session { hand, .. } = super::Session::new(Defence::Removed, Missing::ReplayWindow, lab)?;
    let mut wire = Vec::new();
    let mut offset = 0;
    for number in hand.next..hand.next + SAID as u64 {
        wire.push(hand.numbered(number, &said(offset, b"again")));
        wire.push(again(&hand, number, offset));
        offset += said_len(b"again");
    }
    Ok(wire)
}
