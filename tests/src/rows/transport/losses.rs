//! Lines that lose, and what arrives over them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use p2pchat_netsim::{LinkConfig, Loss, Network, millis};
use p2pchat_proto::frame::StreamId;
use p2pchat_proto::{Moment, UdpEndpoints};
use p2pchat_session::{EndReason, Endpoint, SessionEvent};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;

use super::target;
use crate::rows::{Defence, Lab, NotRun, Promise, Row, Seen, each};
use crate::sim::START;
use crate::sim::careless::Missing;
use crate::sim::hand::{Hand, said, said_len};
use crate::sim::pair::Pair;
use crate::sim::people::{People, alices_address, bobs_address};
use crate::sim::target::{Product, Target, endpoint, received};

/// Lines that each says.
const LINES: usize = 60;
/// Between two of them.
const PAUSE: Duration = Duration::from_millis(300);
/// By then the last of them has arrived, whatever the line did.
const REST: Duration = Duration::from_secs(60);
/// Time in which what was sent twice arrives.
const AFTER: Duration = Duration::from_secs(5);
/// Seeds over each line.
const SEEDS: u64 = 60;
/// Seeds over each line of which a double makes its mistake in one.
const SEEDS_OF_A_DOUBLE: u64 = 10;
/// Hundredths lost on the rungs of the ladder.
const LADDER: [u8; 6] = [0, 1, 5, 10, 20, 30];

const ALL: Promise = "every line arrives";
const ONCE: Promise = "no line is shown twice";
const ORDER: Promise = "lines are shown in their order";
const STAYS: Promise = "the session stays";

/// One who is at one end of such a line, with one thing wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Careless {
    /// Sends everything once.
    SendsOnce,
    /// Shows what comes again.
    Forgets,
    /// Shows what comes when it comes.
    IsHasty,
    /// Takes three probes without an answer for the end.
    IsImpatient,
}

const DOUBLES: [(Careless, Promise); 4] = [
    (Careless::SendsOnce, ALL),
    (Careless::Forgets, ONCE),
    (Careless::IsHasty, ORDER),
    (Careless::IsImpatient, STAYS),
];

/// The ladder.
pub(super) const LADDER_OF_LOSSES: Row = Row {
    id: "T18",
    attack: "lines that lose 0 to 30 % in bursts (Gilbert-Elliott); 12 % in bursts at 450 ms; 25 % at 800 ms with 150 ms \
             of jitter",
    expected: "every line is shown once and in order, and the session stays",
    run: ladder,
};

fn ladder(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let first = lab.seed;
    let mut worst = Vec::new();
    let mut talks = 0;
    let seen = each(defence, &DOUBLES, |double| {
        let mut broken = BTreeSet::new();
        for (name, line) in lines() {
            let count = if double.is_some() { SEEDS_OF_A_DOUBLE } else { SEEDS };
            for seed in first..first.saturating_add(count) {
                let talk = Talk::over(line, double, seed)?;
                let fresh = talk.broken();
                if double.is_none() && !fresh.is_empty() {
                    worst.push(format!("seed {seed} over {name}: {fresh:?}, {:?}", talk.ended));
                }
                broken.extend(fresh);
                talks += 1;
            }
        }
        Ok(broken)
    })?;
    let last = first.saturating_add(SEEDS - 1);
    let figure = format!("{talks} sessions, {LINES} lines each way, seeds {first} to {last}");
    Ok(seen.figure(if worst.is_empty() { figure } else { worst.join("; ") }))
}

/// The rungs, and the two lines of the figures to reach.
fn lines() -> Vec<(String, LinkConfig)> {
    let rung = |percent: u8| {
        // A burst lasts for four datagrams and loses most of them; in between one in a hundred of the
        // share is lost. What enters a burst follows from the share.
        let (share, leave, bad) = (f64::from(percent) / 100.0, 0.25, 0.8);
        let good = share / 100.0;
        let enter = leave * (share - good) / (bad - share);
        let loss = Loss::GilbertElliott { enter, leave, good, bad };
        let line = LinkConfig { delay: millis(50), jitter: millis(10), loss, ..LinkConfig::default() };
        (format!("{percent} % in bursts"), line)
    };
    let bursts = Loss::Burst { share: 0.12, mean_length: 3.0 };
    let quarter = Loss::Independent { share: 0.25 };
    let named = [
        ("12 % in bursts, 450 ms", LinkConfig { delay: millis(225), loss: bursts, ..LinkConfig::default() }),
        // From 650 to 950 ms there and back.
        (
            "25 %, 800 ms, 150 ms of jitter",
            LinkConfig { delay: millis(325), jitter: millis(150), loss: quarter, ..LinkConfig::default() },
        ),
    ];
    LADDER.into_iter().map(rung).chain(named.map(|(name, line)| (name.to_owned(), line))).collect()
}

/// What was shown to each who listened, and whether the session outlasted it.
struct Talk {
    shown: Vec<Vec<usize>>,
    stayed: bool,
    /// How it ended on each side, if it did.
    ended: Vec<Option<EndReason>>,
}

impl Talk {
    fn over(line: LinkConfig, double: Option<Careless>, seed: u64) -> Result<Self, NotRun> {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        match double {
            None => Self::between_two(line, false, &mut rng),
            Some(Careless::IsImpatient) => Self::between_two(line, true, &mut rng),
            Some(Careless::SendsOnce) => Self::of_who_sends_once(line, &mut rng),
            Some(double @ (Careless::Forgets | Careless::IsHasty)) => {
                Self::with_a_listener(line, double, &mut rng)
            }
        }
    }

    /// Two of the product; an impatient owner takes a suspect session for lost.
    fn between_two(line: LinkConfig, impatient: bool, rng: &mut ChaCha20Rng) -> Result<Self, NotRun> {
        let seeds = [rng.random(), rng.random()];
        // Whether people meet over such a line is another question.
        let mut pair = Pair::new(&People::default(), seeds, LinkConfig::default(), rng);
        if !pair.come_up() {
            return Err(NotRun("the session did not come up".to_owned()));
        }
        pair.relink(line);
        for number in 0..LINES {
            let body = number.to_string().into_bytes();
            // Refused when the session is over; then it did not stay.
            let _both = (pair.say(0, &body), pair.say(1, &body));
            pair.run_for(PAUSE);
        }
        let end = pair.now + REST;
        while pair.now < end && pair.sides.iter().any(|side| side.bodies.len() < LINES) {
            pair.run_for(PAUSE);
        }
        // Whatever comes a second time comes by then.
        pair.run_for(AFTER);
        let gave_up = |side: &crate::sim::pair::Side| impatient && side.suspected > 0;
        let stayed = pair.sides.iter().all(|side| side.ended.is_none() && !gave_up(side));
        let ended = pair.sides.iter().map(|side| side.ended).collect();
        Ok(Self { shown: pair.sides.iter().map(|side| numbers(&side.bodies)).collect(), stayed, ended })
    }

    /// A peer made by hand, which sends every line in one packet, once.
    fn of_who_sends_once(line: LinkConfig, rng: &mut ChaCha20Rng) -> Result<Self, NotRun> {
        let people = People::default();
        let (bobs, alices) = people.introduce(rng);
        let mut product = Product::new(&people.alice, alices, rng.random(), START);
        let mut hand = Hand::meet(&mut product, &bobs, &people.bob, rng, START)?;
        let mut network = Network::new(rng.random());
        network.link(bobs_address().ip(), alices_address().ip(), line);
        let (mut now, mut offset) = (START, 0);
        for number in 0..LINES {
            let body = number.to_string().into_bytes();
            let packet = hand.packet(&said(offset, &body));
            offset += said_len(&body);
            network.send(now.as_nanos(), bobs_address(), alices_address(), &packet);
            now = now + PAUSE;
            while let Some(datagram) = network.deliver(now.as_nanos()) {
                product.take(bobs_address(), &datagram.bytes, now);
            }
        }
        now = now + AFTER;
        while let Some(datagram) = network.deliver(now.as_nanos()) {
            product.take(bobs_address(), &datagram.bytes, now);
        }
        Ok(Self {
            shown: vec![numbers(product.bodies())],
            stayed: !product.has_ended(),
            ended: vec![product.ended],
        })
    }

    /// The product speaks to one who opens packets, and does with their content what it likes.
    fn with_a_listener(line: LinkConfig, double: Careless, rng: &mut ChaCha20Rng) -> Result<Self, NotRun> {
        let people = People::default();
        let (bobs, alices) = people.introduce(rng);
        let mut network = Network::new(rng.random());
        let addresses = [bobs_address(), alices_address()];
        network.link(addresses[0].ip(), addresses[1].ip(), LinkConfig::default());
        let mut alice = target(Defence::Removed, Missing::Skipping, &people, alices, rng.random());
        let mut bob = endpoint(&people.bob, rng.random(), START);
        let session = bob.introduce(bobs, &UdpEndpoints::new([addresses[1]]), START);
        let mut world = Listening { now: START, network, up: false, ended: None };
        // The double is no master of handshakes.
        world.run_for(&mut bob, &mut *alice, Duration::from_secs(1));
        world.network.link(addresses[0].ip(), addresses[1].ip(), line);
        if !world.up {
            return Err(NotRun("the session did not come up".to_owned()));
        }
        for number in 0..LINES {
            // Refused when the session is over; then it did not stay.
            let _taken =
                bob.send(session, StreamId::CONVERSATION, 1, number.to_string().as_bytes(), world.now);
            world.run_for(&mut bob, &mut *alice, PAUSE);
        }
        world.run_for(&mut bob, &mut *alice, Duration::from_secs(20));
        let mut shown = numbers(alice.bodies());
        match double {
            // It sorts, and does not know what it has shown.
            Careless::Forgets => shown.sort_unstable(),
            // It knows, and does not sort.
            Careless::IsHasty | Careless::SendsOnce | Careless::IsImpatient => {
                let mut seen = BTreeSet::new();
                shown.retain(|line| seen.insert(*line));
            }
        }
        Ok(Self { shown: vec![shown], stayed: world.ended.is_none(), ended: vec![world.ended] })
    }

    fn broken(&self) -> BTreeSet<Promise> {
        let mut broken = BTreeSet::new();
        for shown in &self.shown {
            let mut times: BTreeMap<usize, usize> = BTreeMap::new();
            shown.iter().for_each(|line| *times.entry(*line).or_default() += 1);
            broken.extend((times.len() < LINES).then_some(ALL));
            broken.extend(times.values().any(|times| *times > 1).then_some(ONCE));
            broken.extend((!shown.is_sorted()).then_some(ORDER));
        }
        broken.extend((!self.stayed).then_some(STAYS));
        broken
    }
}

/// The lines, by their numbers.
fn numbers(bodies: &[Vec<u8>]) -> Vec<usize> {
    let number = |body: &Vec<u8>| std::str::from_utf8(body).ok()?.parse().ok();
    bodies.iter().map(|body| number(body).unwrap_or(usize::MAX)).collect()
}

/// A line between an endpoint, bob's, and a target, alice.
struct Listening {
    now: Moment,
    network: Network,
    up: bool,
    ended: Option<EndReason>,
}

impl Listening {
    fn run_for(&mut self, bob: &mut Endpoint, alice: &mut dyn Target, time: Duration) {
        let end = self.now + time;
        loop {
            let mut out = Vec::new();
            while let Some(transmit) = bob.poll_transmit(self.now, 1, &mut out) {
                self.network.send(self.now.as_nanos(), bobs_address(), transmit.to, &out);
            }
            while let Some((_, event)) = bob.poll_event() {
                match event {
                    SessionEvent::Up { .. } => self.up = true,
                    SessionEvent::Ended(reason) => self.ended = Some(reason),
                    SessionEvent::Body { .. }
                    | SessionEvent::Moved { .. }
                    | SessionEvent::Stream(_)
                    | SessionEvent::Suspect
                    | SessionEvent::Recovered
                    | SessionEvent::Hint { .. } => {}
                }
            }
            for (to, bytes) in alice.sent(self.now) {
                self.network.send(self.now.as_nanos(), alices_address(), to, &bytes);
            }
            let arrival = self.network.next_arrival().map(Moment::from_nanos);
            let Some(next) = bob.poll_timeout().into_iter().chain(arrival).min().filter(|next| *next <= end)
            else {
                break;
            };
            self.now = self.now.max(next);
            while let Some(mut datagram) = self.network.deliver(self.now.as_nanos()) {
                if datagram.to == alices_address() {
                    alice.take(datagram.from, &datagram.bytes, self.now);
                } else {
                    bob.handle_datagram(received(datagram.from), &mut datagram.bytes, self.now);
                }
            }
            if bob.poll_timeout().is_some_and(|at| at <= self.now) {
                bob.handle_timeout(self.now);
            }
        }
        self.now = end;
    }
}
