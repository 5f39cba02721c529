//! What an accepted peer sends on purpose. It went through the handshake and holds the keys.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use p2pchat_proto::frame::{Frame, StreamId};
use p2pchat_proto::stream::{StreamHead, TransferPurpose};
use p2pchat_proto::{TransferId, varint};
use rand::{Rng, RngExt};

use super::Session;
use crate::meter;
use crate::rows::{Defence, Lab, NotRun, Promise, Row, Seen, each};
use crate::sim::careless::Missing;
use crate::sim::hand::{PING, said};

/// Longest time for one hostile packet: a thousand times what an honest one takes.
const WORK_MAX: Duration = Duration::from_millis(50);
/// Packets, each with a gap before it.
const GAPS: u64 = 100_000;
/// Most memory that gaps may cost: four times the credit of a stream (protocol section 5).
const GAPS_MEMORY_MAX: usize = 1 << 20;
/// Streams of the attacker, which began the session; together they have the session's credit.
const BULK: [StreamId; 3] = [StreamId(2), StreamId(4), StreamId(6)];
/// Most memory that gaps of these may cost: twice the credit of a session (protocol section 5).
const BULK_MEMORY_MAX: usize = 2 << 20;
const LINES_BOUNDED: Promise = "gaps of a conversation take no more than four times its credit";
const BULK_BOUNDED: Promise = "gaps of bulk take no more than twice the session's credit";
/// Packets of random content.
const RANDOM_PACKETS: usize = 600;
/// Where the last gap ends: the last byte but one of a stream's credit (protocol section 5).
const CREDIT_END: u64 = 256 * 1024 - 2;

/// Acknowledgements.
pub(super) const ACKS: Row = Row {
    id: "T12",
    attack: "acknowledgements of what was never sent, overlapping, without end",
    expected: "the session ends, with bounded work",
    run: acks,
};

/// Reassembly.
pub(super) const ENDLESS_GAPS: Row = Row {
    id: "T13",
    attack: "pieces of a conversation and of bulk with gaps, without end",
    expected: "memory stays below the streams' bounds",
    run: gaps,
};

/// What a later version may send.
pub(super) const UNKNOWN: Row = Row {
    id: "T21",
    attack: "frames, bodies and content of kinds that nobody knows",
    expected: "skipped, or the session ends; no panic",
    run: unknown,
};

/// A frame `Ack` from its integers (protocol section 5).
fn ack(fields: &[u64]) -> Vec<u8> {
    let mut content = vec![2];
    fields.iter().for_each(|field| varint::write(*field, &mut content));
    content
}

fn acks(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    // Largest, delay, further ranges, first range, then gap and range each.
    let hostile = [
        ("unsent", ack(&[1 << 40, 0, 0, 0])),
        ("everything", ack(&[varint::MAX, 0, 0, varint::MAX])),
        ("unsent below", ack(&[500, 0, 1, 0, 10, 400])),
        ("below zero", ack(&[5, 0, 0, 6])),
        ("overlapping", ack(&[5, 0, 1, 5, 0, 0])),
        ("ranges without end", ack(&[5, 0, varint::MAX, 0])),
    ];
    let mut outlived = Vec::new();
    let mut longest = Duration::ZERO;
    for (name, content) in &hostile {
        let mut session = Session::new(defence, Missing::AckCheck, lab)?;
        let packet = session.hand.packet(content);
        let begin = Instant::now();
        session.answers(&packet);
        longest = longest.max(begin.elapsed());
        if !session.target.has_ended() {
            outlived.push(*name);
        }
    }
    // What is odd and not wrong ends nothing: a delay of centuries, the same one again and again.
    let mut session = Session::new(defence, Missing::AckCheck, lab)?;
    let begin = Instant::now();
    for delay in [0, varint::MAX] {
        for _ in 0..1000 {
            let packet = session.hand.packet(&ack(&[0, delay, 0, 0]));
            session.answers(&packet);
        }
    }
    longest = longest.max(begin.elapsed() / 2000);
    let packet = session.hand.packet(&said(0, b"and on"));
    session.answers(&packet);
    let goes_on = session.target.bodies().len() == 1;
    let what = if outlived.is_empty() {
        "every session ended that was lied to".to_owned()
    } else {
        format!("believed: {}", outlived.join(", "))
    };
    let held = outlived.is_empty() && goes_on && longest < WORK_MAX;
    Ok(Seen::when(held, what).figure(format!("longest {longest:?}")))
}

fn gaps(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let mut peaks = Vec::new();
    let doubles = [(Missing::ReassemblyBound, LINES_BOUNDED), (Missing::BulkBound, BULK_BOUNDED)];
    let seen = each(defence, &doubles, |missing| {
        let mut broken = BTreeSet::new();
        let (ends, peak) = gaps_on(&[StreamId::CONVERSATION], missing, lab)?;
        peaks.push(format!("{} KiB", peak / 1024));
        if !ends || peak > GAPS_MEMORY_MAX {
            broken.insert(LINES_BOUNDED);
        }
        let (ends, peak) = gaps_on(&BULK, missing, lab)?;
        peaks.push(format!("{} KiB of bulk", peak / 1024));
        if !ends || peak > BULK_MEMORY_MAX {
            broken.insert(BULK_BOUNDED);
        }
        Ok(broken)
    })?;
    Ok(seen.figure(format!("peak {}", peaks.join(", "))))
}

/// Pieces with gaps on some streams, up to their credit and then beyond it. Whether the product's
/// session goes on until then and no longer, and the most memory that it took.
fn gaps_on(streams: &[StreamId], missing: Option<Missing>, lab: &mut Lab) -> Result<(bool, usize), NotRun> {
    let defence = if missing.is_none() { Defence::InPlace } else { Defence::Removed };
    let mut session = Session::new(defence, missing.unwrap_or(Missing::ReassemblyBound), lab)?;
    for stream in streams.iter().filter(|stream| **stream != StreamId::CONVERSATION) {
        let purpose = TransferPurpose::Content;
        let head = StreamHead::Transfer { transfer: TransferId([7; 16]), purpose }.to_bytes();
        let frame = Frame::Stream { stream: *stream, offset: 0, fin: false, bytes: &head };
        let packet = session.hand.frames(&[frame]);
        session.answers(&packet);
    }
    let ((), took) = meter::measure(|| {
        // From the last to the first, so that the room for all before it has to be there.
        for n in 0..GAPS {
            for stream in streams {
                let frame =
                    Frame::Stream { stream: *stream, offset: CREDIT_END - 2 * n, fin: false, bytes: b"x" };
                let packet = session.hand.frames(&[frame]);
                session.answers(&packet);
            }
        }
    });
    if missing.is_some() {
        return Ok((true, took.peak));
    }
    let goes_on = !session.target.has_ended();
    // Beyond the credit it is not a gap any more.
    let [stream, ..] = streams else { return Ok((false, took.peak)) };
    let beyond = Frame::Stream { stream: *stream, offset: varint::MAX / 2, fin: false, bytes: b"x" };
    let packet = session.hand.frames(&[beyond]);
    session.answers(&packet);
    Ok((goes_on && session.target.has_ended(), took.peak))
}

fn unknown(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let mut session = Session::new(defence, Missing::Skipping, lab)?;
    let mut kinds = 0;
    for kind in 0x20..=0xff {
        let mut bytes = vec![0; lab.rng.random_range(0..200)];
        lab.rng.fill_bytes(&mut bytes);
        let packet = session.hand.frames(&[Frame::Unknown { kind, bytes: &bytes }]);
        session.answers(&packet);
        kinds += 1;
    }
    let mut offset = 0;
    for kind in 0..=0xff_u8 {
        let content = {
            let mut frame = Vec::new();
            let bytes = [kind, 0, 0, 0, 1, 0xee];
            let stream = StreamId::CONVERSATION;
            Frame::Stream { stream, offset, fin: false, bytes: &bytes }.encode(&mut frame);
            offset += bytes.len() as u64;
            frame
        };
        let packet = session.hand.packet(&content);
        session.answers(&packet);
        kinds += 1;
    }
    let packet = session.hand.packet(&said(offset, b"and on"));
    session.answers(&packet);
    let shown = session.target.bodies().last().is_some_and(|body| body == b"and on");
    let goes_on = shown && !session.target.has_ended();
    // Content of which nothing is known: whatever it does, it is no panic, and another session lives.
    let mut ended = 0;
    let mut session = Session::new(defence, Missing::Skipping, lab)?;
    for n in 0..RANDOM_PACKETS {
        let mut content = vec![0; lab.rng.random_range(1..1100)];
        lab.rng.fill_bytes(&mut content);
        if n % 2 == 0 {
            // Every kind there is, with little behind it, so that fields are cut anywhere.
            content.truncate(lab.rng.random_range(1..20));
            if let Some(kind) = content.first_mut() {
                *kind = lab.rng.random_range(0..0x13);
            }
        }
        let packet = session.hand.packet(&content);
        session.answers(&packet);
        if session.target.has_ended() {
            ended += 1;
            session = Session::new(defence, Missing::Skipping, lab)?;
        }
    }
    let packet = session.hand.packet(PING);
    let what = if goes_on { "skipped, and what followed was shown" } else { "the session ended" };
    Ok(Seen::when(goes_on && session.takes(&packet), what)
        .figure(format!("{kinds} kinds; {ended} of {RANDOM_PACKETS} random packets ended a session")))
}
