//! H10: what was said once, said again.

use std::collections::BTreeSet;
use std::time::Duration;

use p2pchat_crypto::handshake::{Initiator, MESSAGE_1_LEN, MESSAGE_3_LEN, Responder};
use p2pchat_netsim::LinkConfig;
use p2pchat_proto::datagram::{INIT, RESP};
use p2pchat_proto::{Moment, WallTime};
use p2pchat_session::{CloseCode, Contact, Endpoint, HANDSHAKE_GIVE_UP, SessionEvent, StreamId};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;

use super::line::Line;
use super::people::Two;
use crate::rows::{Defence, Lab, NotRun, Promise, Seen, each};
use crate::sim::START;
use crate::sim::contacts::{Contacts, Neglect, WALL_START};
use crate::sim::people::{People, alices_address, bobs_address};
use crate::sim::target::{endpoint, received};

/// Lines that are said in a session that is recorded.
const LINES: u8 = 20;
/// Time between two datagrams.
const STEP: Duration = Duration::from_millis(10);
/// Turns in which a session comes up, everything is said and closed.
const TURNS: usize = 200;

const FRESH: Promise = "a recorded session leaves no trace at a new introduction";
const MESSAGES: Promise = "its messages 1 and 3 open nothing";
const RESUMED: Promise = "a recorded session of contacts brings none up, shows nothing and changes no secret";

/// What is not new where it should be: the double's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stale {
    Introduction,
    Ephemeral,
    /// Processes that begin anew draw what they drew before.
    Process,
}

const DOUBLES: [(Stale, Promise); 3] =
    [(Stale::Introduction, FRESH), (Stale::Ephemeral, MESSAGES), (Stale::Process, RESUMED)];

/// H10.
pub(crate) fn replayed(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let mut figure = String::new();
    let seen = each(defence, &DOUBLES, |stale| {
        let mut broken = BTreeSet::new();
        let (recorded, trace) = introductions(stale, lab, &mut broken)?;
        let (resumed, effects) = contacts(stale == Some(Stale::Process), &mut lab.rng)?;
        if trace {
            broken.insert(FRESH);
        }
        if effects {
            broken.insert(RESUMED);
        }
        figure = format!("{recorded} recorded datagrams twice, {resumed} of contacts five times");
        Ok(broken)
    })?;
    Ok(seen.figure(figure))
}

/// A session of two who were introduced, and then they are introduced again.
fn introductions(
    stale: Option<Stale>,
    lab: &mut Lab,
    broken: &mut BTreeSet<Promise>,
) -> Result<(usize, bool), NotRun> {
    let two = Two::draw(&mut lab.rng);
    let [first, mut second] = [lab.rng.random(), lab.rng.random()];
    if stale == Some(Stale::Introduction) {
        second = first;
    }
    let [mut first, mut second] = [first, second].map(ChaCha20Rng::from_seed);
    let mut line = Line::introduced(&two, &mut first)?;
    if !line.meet(HANDSHAKE_GIVE_UP) {
        return Err(NotRun("the two did not meet".to_owned()));
    }
    for n in 0..LINES {
        let (session, now) = (line.bob.session, line.now);
        line.bob.endpoint.send(session, StreamId::CONVERSATION, 1, &[n], now)?;
        line.run(Duration::from_millis(100), |_| false);
    }
    if line.alice.bodies() != usize::from(LINES) {
        return Err(NotRun("the session to be recorded carried nothing".to_owned()));
    }
    // Both halves of the recording, at both of them.
    let mut again = Line::introduced(&two, &mut second)?;
    let (now, bob_at, alice_at) = (again.now, again.bob.address, again.alice.address);
    again.bob.sends(now);
    again.alice.sends(now);
    let mut trace = false;
    for (_, datagram) in &line.sent {
        trace |= again.alice.is_moved_by(bob_at, datagram, now);
        trace |= again.bob.is_moved_by(alice_at, datagram, now);
    }
    past_the_mac(stale == Some(Stale::Ephemeral), &two, lab, broken)?;
    Ok((line.sent.len(), trace))
}

/// Recorded messages, straight to the handshake.
fn past_the_mac(stale: bool, two: &Two, lab: &mut Lab, broken: &mut BTreeSet<Promise>) -> Result<(), NotRun> {
    let (bobs, alices) = two.introduced(&mut lab.rng)?;
    let (other_bobs, other_alices) = two.introduced(&mut lab.rng)?;
    let (alice, drawn) = (&two.alice.identity, lab.rng.random());
    let start = |rng: &mut ChaCha20Rng| Initiator::start(&bobs.introduction, &two.bob.identity, rng);
    let respond = |message: &[u8; MESSAGE_1_LEN], rng: &mut ChaCha20Rng| {
        Responder::respond(&alices.introduction, alice, message, rng)
    };
    let (initiator, old_first) = start(&mut lab.rng);
    let (responder, answer) = respond(&old_first, &mut ChaCha20Rng::from_seed(drawn))?;
    let (_, old_third): (_, [u8; MESSAGE_3_LEN]) = initiator.read_response(&answer)?;
    responder.finish(&old_third)?;
    // Message 1 at a new introduction; message 3 after a new message 1, and after the old one.
    let elsewhere = Responder::respond(&other_alices.introduction, alice, &old_first, &mut lab.rng).is_ok();
    let (_, real) = Initiator::start(&other_bobs.introduction, &two.bob.identity, &mut lab.rng);
    let (responder, _) = Responder::respond(&other_alices.introduction, alice, &real, &mut lab.rng)?;
    let third_elsewhere = responder.finish(&old_third).is_ok();
    let mut fresh = if stale { ChaCha20Rng::from_seed(drawn) } else { lab.rng.clone() };
    let (responder, _) = respond(&old_first, &mut fresh)?;
    if elsewhere || third_elsewhere || responder.finish(&old_third).is_ok() {
        broken.insert(MESSAGES);
    }
    Ok(())
}

/// A session and what left: by bob or not, and the bytes.
#[derive(Default)]
struct Tape {
    sent: Vec<(bool, Vec<u8>)>,
    /// What alice was shown.
    bodies: usize,
}

fn drain(endpoint: &mut Endpoint, now: Moment) -> Vec<Vec<u8>> {
    let (mut sent, mut out) = (Vec::new(), Vec::new());
    while endpoint.poll_transmit(now, 1, &mut out).is_some() {
        sent.push(out.clone());
    }
    sent
}

fn hear(endpoint: &mut Endpoint) -> Vec<SessionEvent> {
    std::iter::from_fn(|| endpoint.poll_event()).map(|(_, event)| event).collect()
}

/// Bob dials, says his lines and closes.
fn record(bob: &mut Endpoint, alice: &mut Endpoint, to: &Contact, now: &mut Moment) -> Result<Tape, NotRun> {
    let session = bob.dial(to.peer, *now).ok_or(NotRun("nothing to dial with".to_owned()))?;
    let (mut tape, mut up, mut said) = (Tape::default(), false, 0);
    for _ in 0..TURNS {
        up |= hear(bob).iter().any(|event| matches!(event, SessionEvent::Up { .. }));
        if up && said < LINES {
            bob.send(session, StreamId::CONVERSATION, 1, &[said], *now)?;
            said += 1;
        } else if tape.bodies == usize::from(LINES) {
            bob.close(session, CloseCode::Done, *now);
        }
        for mut bytes in drain(bob, *now) {
            tape.sent.push((true, bytes.clone()));
            alice.handle_datagram(received(bobs_address()), &mut bytes, *now);
        }
        let shown = |event: &SessionEvent| matches!(event, SessionEvent::Body { .. });
        tape.bodies += hear(alice).iter().filter(|event| shown(event)).count();
        for mut bytes in drain(alice, *now) {
            tape.sent.push((false, bytes.clone()));
            bob.handle_datagram(received(alices_address()), &mut bytes, *now);
        }
        *now = *now + STEP;
        bob.handle_timeout(*now);
        alice.handle_timeout(*now);
    }
    if tape.bodies != usize::from(LINES) || !alice.is_empty() {
        return Err(NotRun("the session of contacts to be recorded carried nothing".to_owned()));
    }
    Ok(tape)
}

/// Plays a tape to somebody: how often it answered RESP, and whether anything came of it.
fn play(tape: &Tape, of_bob: bool, to: &mut Endpoint, mut now: Moment) -> (usize, bool) {
    drain(to, now);
    hear(to);
    while to.poll_contact().is_some() {}
    let from = if of_bob { bobs_address() } else { alices_address() };
    let (mut answers, mut effect) = (0, false);
    for (_, bytes) in tape.sent.iter().filter(|(by_bob, _)| *by_bob == of_bob) {
        to.handle_datagram(received(from), &mut bytes.clone(), now);
        answers += drain(to, now).iter().filter(|bytes| bytes.first() == Some(&RESP)).count();
        let came =
            |event: &SessionEvent| matches!(event, SessionEvent::Up { .. } | SessionEvent::Body { .. });
        effect |= hear(to).iter().any(came) || to.poll_contact().is_some();
        now = now + STEP;
        to.handle_timeout(now);
    }
    (answers, effect)
}

/// A session of contacts is recorded, and played again: to the same processes, to new ones with what they
/// kept last, and to new ones with what they had before (a copy that was restored). How many datagrams
/// there were, and whether any of that had an effect.
fn contacts(stale: bool, rng: &mut ChaCha20Rng) -> Result<(usize, bool), NotRun> {
    let people = People::default();
    let drawn = ChaCha20Rng::from_seed(rng.random());
    let two = Contacts::new(Neglect::Nothing, LinkConfig::default(), drawn);
    let two = two.ok_or(NotRun("the two did not meet at first".to_owned()))?;
    let [Some(bobs), Some(alices)] = two.sides.map(|side| side.disk) else {
        return Err(NotRun("the two kept nothing of each other".to_owned()));
    };
    let begin = |me, kept: &Contact, seed, now: Moment| {
        let mut endpoint = endpoint(me, seed, now);
        endpoint.set_wall_clock(WallTime(WALL_START + now.saturating_since(START).as_millis() as u64));
        endpoint.remember(kept.clone());
        endpoint
    };
    let (mut now, seeds) = (two.now, [rng.random::<u64>(), rng.random()]);
    let mut bob = begin(&people.bob, &bobs, seeds[0], now);
    let mut alice = begin(&people.alice, &alices, seeds[1], now);
    let tape = record(&mut bob, &mut alice, &bobs, &mut now)?;
    let newest = |endpoint: &mut Endpoint| std::iter::from_fn(|| endpoint.poll_contact()).last();
    let (Some(bobs_newest), Some(alices_newest)) = (newest(&mut bob), newest(&mut alice)) else {
        return Err(NotRun("the session left no secret".to_owned()));
    };
    let (mut answers, mut effect) = play(&tape, true, &mut alice, now);
    let mut seed = |n: usize| if stale { seeds[n] } else { rng.random() };
    for (bobs, alices) in [(&bobs, &alices), (&bobs_newest, &alices_newest)] {
        let mut alice = begin(&people.alice, alices, seed(1), now);
        let (answered, came) = play(&tape, true, &mut alice, now);
        (answers, effect) = (answers + answered, effect || came);
        // Bob waits for an answer to another INIT.
        let mut bob = begin(&people.bob, bobs, seed(0), now);
        bob.dial(bobs.peer, now);
        effect |= play(&tape, false, &mut bob, now).1;
    }
    let inits = tape.sent.iter().filter(|(_, bytes)| bytes.first() == Some(&INIT)).count();
    if answers == 0 || inits == 0 {
        return Err(NotRun("no replayed INIT got as far as the handshake".to_owned()));
    }
    Ok((tape.sent.len(), effect))
}
