//! Keys that are renewed over bad lines, and keys that are not renewed.

use std::time::Duration;

use p2pchat_netsim::{LinkConfig, Loss, Reordering, millis};
use p2pchat_proto::Moment;
use p2pchat_proto::frame::{CloseCode, Frame};
use p2pchat_session::{ACK_DELAY, DATAGRAM_SIZE, EndReason, REKEY_AFTER, REKEY_OVERDUE};
use rand::RngExt;

use super::target;
use crate::rows::{Defence, Lab, NotRun, Row, Seen};
use crate::sim::START;
use crate::sim::careless::Missing;
use crate::sim::epochs::{Asked, answer_in};
use crate::sim::hand::{Hand, PING, said, said_len};
use crate::sim::pair::Pair;
use crate::sim::people::People;
use crate::sim::target::{Product, Target};

/// Hundredths that the line loses.
const LOSSES: [u8; 6] = [0, 5, 10, 15, 20, 25];
/// Epochs that are gone through over each line.
const EPOCHS: u32 = 5;
/// Epochs that are gone through once, so that the byte in the header comes round.
const MANY_EPOCHS: u32 = 300;
/// When the hand asks for new keys: long after the least age.
const ASKED_AT: Duration = Duration::from_secs(60);
/// By then a lost message came again.
const REPEATED_WITHIN: Duration = Duration::from_secs(5);
/// Longer than three probe timeouts of a line without delay whose round trip nobody measured.
const LONG_AFTER: Duration = Duration::from_secs(4);

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
    let by_hand = late_packets(defence, lab)?;
    if defence == Defence::Removed || !by_hand.held {
        return Ok(by_hand);
    }
    let mut rekeys = 0;
    for percent in LOSSES {
        match talk(percent, EPOCHS, Duration::from_millis(500), lab) {
            Ok(epochs) => rekeys += epochs,
            Err(what) => return Ok(Seen::broken(what)),
        }
    }
    let many = match talk(10, MANY_EPOCHS, Duration::from_secs(12), lab) {
        Ok(epochs) => epochs,
        Err(what) => return Ok(Seen::broken(what)),
    };
    if many <= 256 {
        return Err(NotRun(format!("only {many} epochs, so that the byte never came round")));
    }
    let what =
        format!("{}; over {} lines every line was shown once and in order", by_hand.what, LOSSES.len());
    Ok(Seen::held(what).figure(format!("{} rekeys, {many} of them in one session", rekeys + many)))
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

/// A target whose keys a peer made by hand has just renewed, losing the first answer if it may.
struct Renewed {
    hand: Hand,
    target: Box<dyn Target>,
    /// Bodies under the old key that were never sent, and what they say.
    late: Vec<(Vec<u8>, Vec<u8>)>,
    now: Moment,
}

fn renew(defence: Defence, missing: Missing, lab: &mut Lab) -> Result<Renewed, NotRun> {
    let people = People::default();
    let (bobs, alices) = people.introduce(&mut lab.rng);
    let mut target = target(defence, missing, &people, alices, lab.rng.random());
    let mut hand = Hand::meet(&mut *target, &bobs, &people.bob, &mut lab.rng, START)?;
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
    let mut to_lose = usize::from(defence == Defence::InPlace);
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
    let Some(answer) = answers.first() else {
        return Err(NotRun("a second message that was lost did not come again".to_owned()));
    };
    asked.answered(&mut hand, answer)?;
    let proof = hand.packet(PING);
    target.take(hand.address, &proof, now);
    Ok(Renewed { hand, target, late, now })
}

impl Renewed {
    fn takes(&mut self, datagram: &[u8]) -> bool {
        let before = self.target.accepted(self.now);
        self.target.take(self.hand.address, datagram, self.now);
        self.target.accepted(self.now) > before
    }
}

fn late_packets(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let mut renewed = renew(defence, Missing::LateKeys, lab)?;
    // A single packet is acknowledged with a delay.
    renewed.now = renewed.now + ACK_DELAY;
    renewed.target.wait(renewed.now);
    let answers = renewed.target.sent(renewed.now);
    let in_epoch_1 = answers.iter().all(|(_, bytes)| bytes.get(1) == Some(&1));
    if answers.is_empty() || !in_epoch_1 {
        return Ok(Seen::broken("it does not answer under the new keys"));
    }
    let late = std::mem::take(&mut renewed.late);
    let mut offset = 0;
    let mut expected = Vec::new();
    for (packet, body) in &late {
        if !renewed.takes(packet) || renewed.takes(packet) {
            return Ok(Seen::broken("a late packet of the old epoch was not taken once"));
        }
        offset += said_len(body);
        expected.push(body.clone());
    }
    let next = renewed.hand.packet(&said(offset, b"new"));
    renewed.takes(&next);
    expected.push(b"new".to_vec());
    let shown = renewed.target.bodies() == expected;
    Ok(Seen::when(shown, "late packets of the old epoch were taken"))
}

fn overdue(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let mut renewed = renew(defence, Missing::KeyAge, lab)?;
    let late = std::mem::take(&mut renewed.late);
    let mut late = late.iter().map(|(packet, _)| packet);
    let (Some(soon), Some(too_late)) = (late.next(), late.next()) else {
        return Err(NotRun("no late packets".to_owned()));
    };
    if !renewed.takes(soon) {
        return Err(NotRun("a packet that is a little late was not taken".to_owned()));
    }
    renewed.now = renewed.now + LONG_AFTER;
    if renewed.takes(too_late) {
        return Ok(Seen::broken("a key that should be gone opened a packet"));
    }
    let mut close = Vec::new();
    Frame::Close { code: CloseCode::Done }.encode(&mut close);
    let (close, after) = (renewed.hand.packet(&close), renewed.hand.packet(PING));
    renewed.takes(&close);
    if !renewed.target.has_ended() || renewed.takes(&after) {
        return Ok(Seen::broken("something opened after the end"));
    }
    never_renewed(defence, lab)
}

/// A peer that talks on under its first keys.
fn never_renewed(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let people = People::default();
    let (bobs, alices) = people.introduce(&mut lab.rng);
    if defence == Defence::Removed {
        return Err(NotRun("the double is done before".to_owned()));
    }
    let mut product = Product::new(&people.alice, alices, lab.rng.random(), START);
    let mut hand = Hand::meet(&mut product, &bobs, &people.bob, &mut lab.rng, START)?;
    let (mut now, mut offset) = (START, 0);
    let latest = START + REKEY_AFTER + REKEY_OVERDUE;
    while !product.has_ended() && now < latest + REKEY_AFTER {
        let packet = hand.packet(&said(offset, b"on and on"));
        offset += said_len(b"on and on");
        product.take(hand.address, &packet, now);
        product.sent(now);
        now = now + Duration::from_secs(1);
        product.wait(now);
    }
    let lived = now.saturating_since(START);
    let held = product.ended == Some(EndReason::KeysUsedUp) && now == latest;
    let bodies = product.bodies().len();
    let last = hand.packet(&said(offset, b"too late"));
    product.take(hand.address, &last, now);
    product.wait(now + Duration::from_secs(10));
    let silent = product.bodies().len() == bodies && product.endpoint.is_empty();
    let what = "it ended, and keys that were gone opened nothing";
    Ok(Seen::when(held && silent, what).figure(format!("{} s under one key", lived.as_secs())))
}
