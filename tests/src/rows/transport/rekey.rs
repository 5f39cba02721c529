//! Keys that are renewed over bad lines, and keys that are not renewed.

use std::collections::BTreeSet;
use std::time::Duration;

use p2pchat_netsim::{LinkConfig, Loss, Reordering, millis};
use p2pchat_proto::Moment;
use p2pchat_proto::frame::{CloseCode, Frame};
use p2pchat_session::{ACK_DELAY, DATAGRAM_SIZE, REKEY_AFTER, REKEY_OVERDUE};
use rand::RngExt;

use super::target;
use crate::rows::{Defence, Lab, NotRun, Promise, Row, Seen, each};
use crate::sim::START;
use crate::sim::careless::Missing;
use crate::sim::epochs::{Asked, answer_in};
use crate::sim::hand::{Hand, PING, said, said_len};
use crate::sim::pair::Pair;
use crate::sim::people::People;
use crate::sim::target::Target;

/// Hundredths that the line loses.
const LOSSES: [u8; 6] = [0, 5, 10, 15, 20, 25];
/// Epochs that are gone through over each line.
const EPOCHS: u32 = 5;
/// What a line loses over which two go through so many epochs that the byte in the header comes round, and
/// their pause between two lines.
const MANY: (u8, u32, Duration) = (10, 300, Duration::from_secs(12));
/// Epochs that a peer made by hand goes through, for the same reason.
const ROUND_EPOCHS: u32 = 260;
/// Time between two of its rekeys: a little more than the least.
const EPOCH_LASTS: Duration = Duration::from_secs(12);
/// When the hand asks for new keys: long after the least age.
const ASKED_AT: Duration = Duration::from_secs(60);
/// By then a lost message came again.
const REPEATED_WITHIN: Duration = Duration::from_secs(5);
/// Longer than three probe timeouts of a line without delay whose round trip nobody measured.
const LONG_AFTER: Duration = Duration::from_secs(4);

const LATE: Promise = "late packets of the old epoch are taken once";
const AGAIN: Promise = "a second message that was lost comes again";
const ROUND: Promise = "the byte of the epoch comes round without a trace";
const LINES: Promise = "over lines that lose nothing is lost or shown twice, and both end in one epoch";
const GONE: Promise = "a key that is gone opens nothing";
const AFTER: Promise = "nothing opens after the end";
const DUE: Promise = "keys that are not renewed end the session 180 s after they should have been";

const RENEWERS: [(Missing, Promise); 3] =
    [(Missing::LateKeys, LATE), (Missing::Resending, AGAIN), (Missing::EpochByte, ROUND)];
const KEEPERS: [(Missing, Promise); 3] =
    [(Missing::KeyAge, GONE), (Missing::End, AFTER), (Missing::KeyAge, DUE)];

/// Renewed.
pub(super) const RENEWED: Row = Row {
    id: "T10",
    attack: "keys are renewed over lines that lose 0 to 25 %, message 2 is lost, packets come late, the epoch's byte \
             comes round",
    expected: "nothing is lost or shown twice, and both end in one epoch",
    run: renewed,
};

/// Not renewed.
pub(super) const OVERDUE: Row = Row {
    id: "T11",
    attack: "a peer does not renew its keys; packets under keys that are gone, and after the end",
    expected: "the session ends 180 s after it was due; what is gone opens nothing",
    run: overdue,
};

fn renewed(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let mut figure = String::new();
    let mut seen = each(defence, &RENEWERS, |missing| {
        let mut broken = BTreeSet::new();
        broken.extend(late_packets(missing, lab)?);
        broken.extend(renew(missing, 1, lab)?.is_none().then_some(AGAIN));
        broken.extend(comes_round(missing, lab)?);
        if missing.is_none() {
            let lines = LOSSES.map(|percent| (percent, EPOCHS, Duration::from_millis(500)));
            let mut rekeys = 0;
            for (percent, epochs, pause) in lines.into_iter().chain([MANY]) {
                match talk(percent, epochs, pause, lab) {
                    Ok(epochs) => rekeys += epochs,
                    Err(what) => {
                        broken.insert(LINES);
                        figure = what;
                        return Ok(broken);
                    }
                }
            }
            figure = format!("{rekeys} rekeys over {} lines, {ROUND_EPOCHS} by hand", LOSSES.len() + 1);
        }
        Ok(broken)
    })?;
    seen.figure = (!figure.is_empty()).then_some(figure);
    Ok(seen)
}

/// Two people talk until so many epochs are over. How many there were, or what went wrong.
fn talk(percent: u8, epochs: u32, pause: Duration, lab: &mut Lab) -> Result<u32, String> {
    let line = LinkConfig {
        delay: millis(20),
        jitter: millis(10),
        loss: Loss::Independent { share: f64::from(percent) / 100.0 },
        duplication: 0.05,
        reordering: Reordering { share: 0.1, hold: millis(15) },
        mtu: Some(DATAGRAM_SIZE),
        ..LinkConfig::default()
    };
    let seeds = [lab.rng.random(), lab.rng.random()];
    let mut pair = Pair::new(&People::default(), seeds, line, &mut lab.rng);
    let broken = |what: String| Err(format!("at {percent} % loss, {what}"));
    if !pair.come_up() {
        return broken("the session did not come up".to_owned());
    }
    let end = pair.now + REKEY_AFTER * epochs + Duration::from_secs(20);
    let mut said = Vec::new();
    while pair.now < end {
        let line = said.len().to_string().into_bytes();
        if !pair.say(0, &line) || !pair.say(1, &line) {
            return broken(format!("the session was over after {} lines", said.len()));
        }
        said.push(line);
        pair.run_for(pause);
    }
    pair.run_for(Duration::from_secs(20));
    if let Some(side) = pair.sides.iter().find(|side| side.bodies != said) {
        return broken(format!("{} of {} lines were shown", side.bodies.len(), said.len()));
    }
    let now = pair.now;
    let epoch = |who: usize| {
        let side = pair.sides.get(who)?;
        side.endpoint.info(side.session, now).map(|info| info.epoch)
    };
    match (epoch(0), epoch(1)) {
        // Each rekey takes a little longer than the keys last.
        (Some(one), Some(other)) if one == other && one + epochs / 8 >= epochs => Ok(one),
        epochs => broken(format!("the two ended in epochs {epochs:?}")),
    }
}

/// A target whose keys a peer made by hand has just renewed.
struct Renewed {
    hand: Hand,
    target: Box<dyn Target>,
    /// Bodies under the old key that were never sent, and what they say.
    late: Vec<(Vec<u8>, Vec<u8>)>,
    now: Moment,
}

/// The product or a double, and a peer made by hand that met it.
fn meet(missing: Option<Missing>, lab: &mut Lab) -> Result<(People, Hand, Box<dyn Target>), NotRun> {
    let people = People::default();
    let (bobs, alices) = people.introduce(&mut lab.rng);
    let (defence, missing) = match missing {
        None => (Defence::InPlace, Missing::Skipping),
        Some(missing) => (Defence::Removed, missing),
    };
    let mut target = target(defence, missing, &people, alices, lab.rng.random());
    let hand = Hand::meet(&mut *target, &bobs, &people.bob, &mut lab.rng, START)?;
    Ok((people, hand, target))
}

/// Renews the keys once, losing the first `to_lose` answers; `None` if there is no answer then.
fn renew(missing: Option<Missing>, mut to_lose: usize, lab: &mut Lab) -> Result<Option<Renewed>, NotRun> {
    let (people, mut hand, mut target) = meet(missing, lab)?;
    let mut now = START + ASKED_AT;
    // The peer was heard in between, or it would be given up.
    for seconds in (5..ASKED_AT.as_secs()).step_by(5) {
        let alive = hand.packet(PING);
        let at = START + Duration::from_secs(seconds);
        target.wait(at);
        target.take(hand.address, &alive, at);
        target.sent(at);
    }
    let (mut late, mut offset) = (Vec::new(), 0);
    for body in [&b"late"[..], b"later"] {
        late.push((hand.packet(&said(offset, body)), body.to_vec()));
        offset += said_len(body);
    }
    let asked = Asked::new(hand.session(), &people.bob, &mut lab.rng)?;
    let ask = hand.packet(&asked.content);
    target.take(hand.address, &ask, now);
    let mut answers = Vec::new();
    let end = now + REPEATED_WITHIN;
    while answers.is_empty() && now < end {
        let sent = target.sent(now);
        answers.extend(sent.iter().filter_map(|(_, bytes)| answer_in(&hand.open(bytes)?.1)));
        let lost = answers.len().min(to_lose);
        answers.drain(..lost);
        to_lose -= lost;
        now = now + Duration::from_millis(100);
        target.wait(now);
    }
    let Some(answer) = answers.first() else { return Ok(None) };
    asked.answered(&mut hand, answer)?;
    let proof = hand.packet(PING);
    target.take(hand.address, &proof, now);
    Ok(Some(Renewed { hand, target, late, now }))
}

/// The same where nothing is lost.
fn renew_at_once(missing: Option<Missing>, lab: &mut Lab) -> Result<Renewed, NotRun> {
    renew(missing, 0, lab)?.ok_or_else(|| NotRun("a rekey was not answered".to_owned()))
}

impl Renewed {
    fn takes(&mut self, datagram: &[u8]) -> bool {
        let before = self.target.accepted(self.now);
        self.target.take(self.hand.address, datagram, self.now);
        self.target.accepted(self.now) > before
    }
}

fn late_packets(missing: Option<Missing>, lab: &mut Lab) -> Result<Option<Promise>, NotRun> {
    let mut renewed = renew_at_once(missing, lab)?;
    // A single packet is acknowledged with a delay.
    renewed.now = renewed.now + ACK_DELAY;
    renewed.target.wait(renewed.now);
    let answers = renewed.target.sent(renewed.now);
    let in_epoch_1 = answers.iter().all(|(_, bytes)| bytes.get(1) == Some(&1));
    if answers.is_empty() || !in_epoch_1 {
        return Err(NotRun("it does not answer under the new keys".to_owned()));
    }
    let late = std::mem::take(&mut renewed.late);
    let mut offset = 0;
    let mut expected = Vec::new();
    for (packet, body) in &late {
        if !renewed.takes(packet) || renewed.takes(packet) {
            return Ok(Some(LATE));
        }
        offset += said_len(body);
        expected.push(body.clone());
    }
    let next = renewed.hand.packet(&said(offset, b"new"));
    renewed.takes(&next);
    expected.push(b"new".to_vec());
    Ok((renewed.target.bodies() != expected).then_some(LATE))
}

/// So many rekeys that the byte in the header is smaller than it was, and a packet in each epoch.
fn comes_round(missing: Option<Missing>, lab: &mut Lab) -> Result<Option<Promise>, NotRun> {
    let (people, mut hand, mut target) = meet(missing, lab)?;
    let mut now = START + EPOCH_LASTS;
    target.wait(now);
    for epoch in 0..ROUND_EPOCHS {
        let asked = Asked::after(epoch, hand.session(), &people.bob, &mut lab.rng)?;
        let mut ask = hand.packet(&asked.content);
        let mut answer = None;
        // Twice: when it asks, and in between, when it only says that it is there.
        for _ in 0..2 {
            target.take(hand.address, &ask, now);
            for _ in 0..10 {
                for (_, datagram) in target.sent(now) {
                    let Some((number, content)) = hand.open(&datagram) else { continue };
                    answer = answer.or_else(|| answer_in(&content));
                    let ack = hand.ack(number..=number);
                    target.take(hand.address, &ack, now);
                }
                now = now + EPOCH_LASTS / 20;
                target.wait(now);
            }
            ask = hand.packet(PING);
        }
        // Nothing that was sealed for one is answered by one who dropped it.
        let Some(answer) = answer else { return Ok(Some(ROUND)) };
        asked.answered(&mut hand, &answer)?;
        let before = target.accepted(now);
        let proof = hand.packet(PING);
        target.take(hand.address, &proof, now);
        if target.accepted(now) == before {
            return Ok(Some(ROUND));
        }
    }
    Ok(target.has_ended().then_some(ROUND))
}

fn overdue(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let mut lived = Duration::ZERO;
    let seen = each(defence, &KEEPERS, |missing| {
        let mut broken = BTreeSet::new();
        let mut renewed = renew_at_once(missing, lab)?;
        let late = std::mem::take(&mut renewed.late);
        let mut late = late.iter().map(|(packet, _)| packet);
        let (Some(soon), Some(too_late)) = (late.next(), late.next()) else {
            return Err(NotRun("no late packets".to_owned()));
        };
        if !renewed.takes(soon) {
            return Err(NotRun("a packet that is a little late was not taken".to_owned()));
        }
        renewed.now = renewed.now + LONG_AFTER;
        broken.extend(renewed.takes(too_late).then_some(GONE));
        let mut close = Vec::new();
        Frame::Close { code: CloseCode::Done }.encode(&mut close);
        let (close, after) = (renewed.hand.packet(&close), renewed.hand.packet(PING));
        renewed.takes(&close);
        if !renewed.target.has_ended() {
            return Err(NotRun("the end was not taken".to_owned()));
        }
        broken.extend(renewed.takes(&after).then_some(AFTER));
        let (held, took) = never_renewed(missing, lab)?;
        broken.extend((!held).then_some(DUE));
        lived = if missing.is_none() { took } else { lived };
        Ok(broken)
    })?;
    Ok(if lived.is_zero() { seen } else { seen.figure(format!("{} s under one key", lived.as_secs())) })
}

/// A peer that talks on under its first keys: whether that ended in time, and took nothing more then.
fn never_renewed(missing: Option<Missing>, lab: &mut Lab) -> Result<(bool, Duration), NotRun> {
    let (_, mut hand, mut target) = meet(missing, lab)?;
    let (mut now, mut offset) = (START, 0);
    let latest = START + REKEY_AFTER + REKEY_OVERDUE;
    while !target.has_ended() && now < latest + REKEY_AFTER {
        let packet = hand.packet(&said(offset, b"on and on"));
        offset += said_len(b"on and on");
        target.take(hand.address, &packet, now);
        target.sent(now);
        now = now + Duration::from_secs(1);
        target.wait(now);
    }
    let held = target.has_ended() && !target.was_closed() && now == latest;
    let bodies = target.bodies().len();
    let last = hand.packet(&said(offset, b"too late"));
    target.take(hand.address, &last, now);
    target.wait(now + Duration::from_secs(10));
    Ok((held && target.bodies().len() == bodies, now.saturating_since(START)))
}
