//! Content of a transfer on one stream of a session, from memory to memory.

use std::net::SocketAddr;
use std::time::Instant;

use p2pchat_crypto::simulation;
use p2pchat_harness::sim::people::People;
use p2pchat_proto::TransferId;
use p2pchat_proto::offer::Suites;
use p2pchat_session::{SessionEvent, StreamError, StreamEvent, StreamHead, TransferPurpose};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

use super::runtime;
use crate::Result;
use crate::cpu;
use crate::driver::drive::Drive;
use crate::role::say;

/// Bytes that are written at once.
pub const CHUNK: usize = 128 * 1024;
/// Bytes before the clock starts.
pub const WARM_UP: usize = 64 << 20;
/// A seed from which both processes draw the same introduction.
const MEETING: u64 = 7;

/// Bob gives, alice takes.
fn drive(gives: bool, peer: Option<SocketAddr>) -> Result<Drive> {
    let people = People::default();
    let suites = Suites::CHACHA20_POLY1305.with(Suites::AES_256_GCM);
    let mut rng = ChaCha20Rng::seed_from_u64(MEETING);
    let (bobs, alices) = simulation::introduce(&people.bob, &people.alice, suites, &mut rng)?;
    let (me, accepted) = if gives { (people.bob, bobs) } else { (people.alice, alices) };
    Drive::new(me, accepted.introduction, peer)
}

/// Takes what comes. Says how many nanoseconds it took behind the first [`WARM_UP`] bytes, and how much
/// processor time.
pub fn take() -> Result {
    runtime()?.block_on(async {
        let mut drive = drive(false, None)?;
        say("ready", drive.local())?;
        let (mut came, mut start) = (0, None);
        loop {
            while let Some(event) = drive.event() {
                match event {
                    SessionEvent::Stream(StreamEvent::Readable { stream }) => {
                        let now = drive.now();
                        while let Some(piece) = drive.endpoint.read(drive.session, stream, now) {
                            came += piece.len();
                        }
                        if start.is_none() && came >= WARM_UP {
                            start = Some((Instant::now(), cpu::time(), came));
                        }
                    }
                    SessionEvent::Stream(StreamEvent::Finished { .. }) => {
                        let (start, processor, before) = start.ok_or("no more than the warm-up came")?;
                        let (took, processor) = (start.elapsed(), cpu::time() - processor);
                        // The other end is told.
                        drive.turn().await;
                        say("bytes", came - before)?;
                        say("cpu", processor.as_nanos())?;
                        say("result", took.as_nanos())?;
                    }
                    SessionEvent::Ended(why) => return Err(format!("the session ended: {why}").into()),
                    _ => {}
                }
            }
            drive.turn().await;
        }
    })
}

/// Gives so many bytes behind the warm-up. Says how much processor time these took.
pub fn give(to: SocketAddr, bytes: usize) -> Result {
    runtime()?.block_on(async {
        let mut drive = drive(true, Some(to))?;
        while !matches!(drive.event(), Some(SessionEvent::Up { .. })) {
            drive.turn().await;
        }
        let head = StreamHead::Transfer { transfer: TransferId([1; 16]), purpose: TransferPurpose::Content };
        let now = drive.now();
        let stream = drive.endpoint.open(drive.session, &head, now)?;
        let (mut given, mut start, mut ended) = (0, None, false);
        let source = vec![7; CHUNK];
        loop {
            let now = drive.now();
            while given < WARM_UP + bytes && !ended {
                match drive.endpoint.write(drive.session, stream, source.clone(), now) {
                    Ok(()) => given += CHUNK,
                    Err((StreamError::Full, _)) => break,
                    Err((why, _)) => return Err(why.into()),
                }
            }
            if start.is_none() && given >= WARM_UP {
                start = Some(cpu::time());
            }
            if given >= WARM_UP + bytes && !ended {
                drive.endpoint.finish(drive.session, stream, now)?;
                ended = true;
            }
            drive.turn().await;
            while let Some(event) = drive.event() {
                match event {
                    SessionEvent::Stream(StreamEvent::Finished { .. }) => {
                        let start = start.ok_or("nothing was given")?;
                        say("cpu", (cpu::time() - start).as_nanos())?;
                        return say("result", given);
                    }
                    SessionEvent::Ended(why) => return Err(format!("the session ended: {why}").into()),
                    _ => {}
                }
            }
        }
    })
}
