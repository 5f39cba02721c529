//! H17, H18: what a line, and somebody on it, does to the messages of a handshake.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use p2pchat_proto::datagram::{DATA, FIN, INIT, PUNCH, RESP};
use p2pchat_session::{EndReason, HANDSHAKE_GIVE_UP};
use rand::RngExt;
use rand_chacha::ChaCha20Rng;

use crate::rows::{Defence, Lab, NotRun, Promise, Seen, each};
use crate::sim::courier::{Courier, DELAY, Neglect, Sight, carried};

/// Copies of a message that are lost before one arrives. The next would be the ninth, 3.65 s after the
/// first (protocol section 4).
const LOST_MAX: usize = 7;
/// By how much a message is late that comes after everything.
const LATE: Duration = Duration::from_secs(90);
/// When a session has ended that only one side believes in: given up by the other after 20 s, and
/// silent for 30 s (protocol section 5).
const ONE_SIDED: Duration = Duration::from_secs(70);
/// When nothing is on its way any more.
const OVER: Duration = Duration::from_secs(150);
/// Lines at random.
const SEEDS: usize = 300;
/// The first part of their handshake, in which the line is bad.
const BAD_FOR: Duration = Duration::from_secs(25);
/// X25519 computations of one handshake of both sides: three, two and one.
const EXCHANGES: u64 = 3 + 2 + 1;

const MEET: Promise = "whichever copies are lost, doubled or late, they meet";
const CLEAN: Promise = "what cannot come up ends on both sides and leaves nothing";
const LATE_IS_NOTHING: Promise = "a message that comes 90 s late begins and changes nothing";
const ONCE: Promise = "what comes twice costs no second key exchange and makes no second session";

const LINES: [(Neglect, Promise); 4] = [
    (Neglect::Repeats, MEET),
    (Neglect::GivingUp, CLEAN),
    (Neglect::GivingUp, LATE_IS_NOTHING),
    (Neglect::Memory, ONCE),
];

const LIVES: Promise = "every line arrives once, in order, where the session was";
const FREE: Promise = "no key exchange and no second session";
const SILENT: Promise = "what is forged gets no answer";

const ATTACKS: [(Neglect, Promise); 4] =
    [(Neglect::Memory, LIVES), (Neglect::Path, LIVES), (Neglect::Memory, FREE), (Neglect::Mac, SILENT)];

/// The messages of a handshake: of whom, and of which kind. The first packet of each side ends it.
const MESSAGES: [(usize, u8); 5] = [(0, INIT), (1, RESP), (0, FIN), (1, DATA), (0, DATA)];

/// H17.
pub(crate) fn faults(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let (mut met, mut gave_up) = (0, 0);
    let seen = each(defence, &LINES, |neglect| {
        let neglect = neglect.unwrap_or(Neglect::Nothing);
        let mut broken = BTreeSet::new();
        first_copies(neglect, &mut lab.rng, &mut broken);
        never_or_late(neglect, &mut lab.rng, &mut broken);
        doubled(neglect, &mut lab.rng, &mut broken);
        (met, gave_up) = at_random(neglect, &mut lab.rng, &mut broken);
        if neglect == Neglect::Nothing && (met == 0 || gave_up == 0) {
            return Err(NotRun(format!("of {SEEDS} lines {met} let them meet and {gave_up} did not")));
        }
        Ok(broken)
    })?;
    Ok(seen.figure(format!("{SEEDS} lines at random: {met} sessions, {gave_up} clean ends")))
}

/// The first copies of each message are lost, or come in the wrong order, or much too late.
fn first_copies(neglect: Neglect, rng: &mut ChaCha20Rng, broken: &mut BTreeSet<Promise>) {
    for (who, kind) in MESSAGES {
        for copies in 1..=LOST_MAX {
            for late in [None, Some(Duration::from_millis(700)), Some(LATE)] {
                let mut two = Courier::new(neglect, rng);
                let mut fate = |sight: &Sight<'_>| {
                    let hit = sight.who == who && sight.kind == kind && sight.nth < copies;
                    if hit { late.into_iter().collect() } else { vec![DELAY] }
                };
                if !two.run(HANDSHAKE_GIVE_UP, &mut fate, Courier::are_up) || !talk(&mut two) {
                    broken.insert(MEET);
                }
                let exchanges = two.exchanges();
                two.run_for(OVER);
                if !talk(&mut two) || two.exchanges() != exchanges {
                    broken.insert(LATE_IS_NOTHING);
                }
            }
        }
    }
}

/// One message never comes, or not before 90 s.
fn never_or_late(neglect: Neglect, rng: &mut ChaCha20Rng, broken: &mut BTreeSet<Promise>) {
    for (who, kind) in MESSAGES {
        for late in [None, Some(LATE)] {
            let mut two = Courier::new(neglect, rng);
            let mut fate = |sight: &Sight<'_>| {
                let hit = sight.who == who && sight.kind == kind;
                if hit { late.into_iter().collect() } else { vec![DELAY] }
            };
            // Only the last message leaves one side with a session.
            let within = if (who, kind) == (0, DATA) { ONE_SIDED } else { HANDSHAKE_GIVE_UP };
            two.run(within, &mut fate, |_| false);
            let reasons = two.parties.each_ref().map(|party| party.ended.as_slice());
            let timed_out = reasons[1] == [EndReason::HandshakeTimedOut]
                && (within == ONE_SIDED || reasons[0] == [EndReason::HandshakeTimedOut]);
            if !two.is_over() || !timed_out {
                broken.insert(CLEAN);
            }
            let (sent, exchanges) = (two.wire.len(), two.exchanges());
            two.run(OVER, &mut fate, |_| false);
            if two.wire.len() > sent || two.exchanges() > exchanges || !two.is_over() {
                broken.insert(LATE_IS_NOTHING);
            }
        }
    }
}

/// Every message comes three times: at once, after the next ones, and after the handshake.
fn doubled(neglect: Neglect, rng: &mut ChaCha20Rng, broken: &mut BTreeSet<Promise>) {
    let mut two = Courier::new(neglect, rng);
    let copies = [DELAY, DELAY, 4 * DELAY, 200 * DELAY];
    let met = two.run(HANDSHAKE_GIVE_UP, &mut |_| copies.to_vec(), Courier::are_up);
    two.run(Duration::from_secs(10), &mut |_| copies.to_vec(), |_| false);
    let one_each = two.parties.iter().all(|party| party.ups == 1 && party.endpoint.len() == 1);
    if !met || !one_each || two.exchanges() != EXCHANGES || !talk(&mut two) {
        broken.insert(ONCE);
    }
}

/// Lines that do all of it, some so badly that nobody can meet: how often they met, and how often not.
fn at_random(neglect: Neglect, rng: &mut ChaCha20Rng, broken: &mut BTreeSet<Promise>) -> (usize, usize) {
    let (mut met, mut gave_up) = (0, 0);
    for _ in 0..SEEDS {
        let mut two = Courier::new(neglect, rng);
        let (lost, twice, slow, late) =
            (rng.random_range(0.0..1.0), rng.random_range(0.0..0.5), rng.random_range(0.0..0.5), 0.05);
        let mut fate = |_: &Sight<'_>| {
            if rng.random_bool(lost) {
                return Vec::new();
            }
            let mut copies = vec![DELAY; 1 + usize::from(rng.random_bool(twice))];
            for copy in &mut copies {
                if rng.random_bool(slow) {
                    *copy += Duration::from_millis(rng.random_range(0..3_000));
                }
                if rng.random_bool(late) {
                    *copy = LATE;
                }
            }
            copies
        };
        two.run(BAD_FOR, &mut fate, |_| false);
        two.run_for(OVER);
        if two.is_over() {
            gave_up += 1;
        } else if talk(&mut two) && two.parties.iter().all(|party| party.ups == 1) {
            met += 1;
        } else {
            broken.insert(CLEAN);
        }
    }
    (met, gave_up)
}

/// Whether a line of each arrives at the other, once.
fn talk(two: &mut Courier) -> bool {
    let before = two.parties.each_ref().map(|party| party.bodies.len());
    let line = two.now.as_nanos().to_be_bytes();
    let taken = two.say(0, &line) && two.say(1, &line);
    two.run_for(Duration::from_secs(3));
    taken && two.parties.iter().zip(before).all(|(party, before)| party.bodies[before..] == [line.to_vec()])
}

/// H18.
pub(crate) fn live(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let mut figure = String::new();
    let seen = each(defence, &ATTACKS, |neglect| {
        let (broken, count) = beside(neglect.unwrap_or(Neglect::Nothing), &mut lab.rng)?;
        figure = format!("{count} datagrams beside 240 lines");
        Ok(broken)
    })?;
    Ok(seen.figure(figure))
}

/// A session, and beside it everything that was ever said in a handshake, as it was and changed.
fn beside(neglect: Neglect, rng: &mut ChaCha20Rng) -> Result<(BTreeSet<Promise>, usize), NotRun> {
    // Another session of the same two, and this one.
    let mut other = Courier::new(Neglect::Nothing, rng);
    let mut two = Courier::new(neglect, rng);
    for two in [&mut other, &mut two] {
        if !two.run(HANDSHAKE_GIVE_UP, &mut carried, Courier::are_up) {
            return Err(NotRun("no session came up".to_owned()));
        }
    }
    let addresses = two.parties.each_ref().map(|party| party.address);
    let handshake = |two: &Courier| {
        let said = two.wire.iter().map(|(.., bytes)| bytes.clone());
        said.filter(|bytes| bytes[0] != DATA).collect::<BTreeSet<_>>()
    };
    let recorded: Vec<_> = handshake(&two).into_iter().collect();
    let kinds: BTreeSet<_> = recorded.iter().map(|bytes| bytes[0]).collect();
    if kinds != BTreeSet::from([INIT, RESP, FIN, PUNCH]) {
        return Err(NotRun(format!("the handshake had {kinds:x?}")));
    }
    // With the ids and tickets of this session, and the MAC, or all but the MAC, of nobody.
    let mut forged: Vec<Vec<u8>> = Vec::new();
    for real in recorded.iter().chain(&handshake(&other)) {
        for byte in (real.len() / 2..real.len()).step_by(5) {
            let mut changed = real.clone();
            changed[byte] ^= 1 << rng.random_range(0..8);
            forged.push(changed);
        }
    }
    let replayed: Vec<_> = recorded.into_iter().chain(handshake(&other)).collect();
    let exchanges = two.exchanges();
    let (mut broken, mut count, mut said) = (BTreeSet::new(), 0, 0_u32);
    // While the handshake may still be repeated, and when nobody remembers it any more.
    for phase in 0..2 {
        for n in 0..60_usize {
            let line = said.to_be_bytes();
            said += 1;
            if !two.say(0, &line) || !two.say(1, &line) {
                broken.insert(LIVES);
            }
            for to in 0..2 {
                let elsewhere = SocketAddr::from(([192, 0, 2, 1 + n as u8], 4000));
                let from = if n % 2 == 0 { addresses[1 - to] } else { elsewhere };
                let answered = |two: &Courier| two.parties[to].endpoint.stats().answered;
                let before = answered(&two);
                for bytes in forged.iter().skip(n % 7).step_by(7) {
                    two.hand(to, from, bytes);
                    count += 1;
                }
                if answered(&two) != before {
                    broken.insert(SILENT);
                }
                for bytes in &replayed {
                    two.hand(to, from, bytes);
                    count += 1;
                }
            }
            two.run_for(Duration::from_millis(100));
        }
        if phase == 0 {
            two.run_for(Duration::from_secs(30));
        }
    }
    two.run_for(Duration::from_secs(2));
    let lines: Vec<Vec<u8>> = (0..said).map(|n| n.to_be_bytes().to_vec()).collect();
    let moved = two.wire.iter().any(|(_, who, to, _)| *to != addresses[1 - who]);
    if moved || two.parties.iter().any(|party| party.bodies != lines || !party.ended.is_empty()) {
        broken.insert(LIVES);
    }
    let one_each = two.parties.iter().all(|party| party.ups == 1 && party.endpoint.len() == 1);
    if two.exchanges() != exchanges || !one_each {
        broken.insert(FREE);
    }
    Ok((broken, count))
}
