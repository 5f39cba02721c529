//! Who moves a session to another address, and who does not.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use p2pchat_proto::Moment;
use p2pchat_proto::frame::{Frame, Frames};
use rand::RngExt;

use super::{Session, target};
use crate::rows::{Defence, Lab, NotRun, Promise, Row, Seen, each};
use crate::sim::START;
use crate::sim::careless::Missing;
use crate::sim::follow::PathRule;
use crate::sim::hand::{Hand, PING, said};
use crate::sim::people::People;

/// Longest time until a peer is found that moved (protocol section 5).
const MOVED_WITHIN: Duration = Duration::from_secs(2);
/// Longer than any question about a path goes on: 12 challenges, the last nine seconds after the first.
const LONG: Duration = Duration::from_secs(15);
/// Between two looks at what the target sends.
const TICK: Duration = Duration::from_millis(20);
/// Times that each story is told.
const TIMES: usize = 20;
/// Bytes that may go to an unproven address for each that came from there (protocol section 5).
const FACTOR: usize = 3;

const FORGED: Promise = "a forged packet from elsewhere starts nothing";
const REPLAYED: Promise = "a copy from elsewhere starts nothing";
const OLD: Promise = "an old number from elsewhere starts nothing";
const UNPROVEN: Promise = "nobody moves the session who does not answer";
const GUESSED: Promise = "nobody moves it by another answer than the challenge's";
const ANSWERING: Promise = "it does not leave a path that answers for one that is not better";
const FOLLOWED: Promise = "a peer that moved is followed within two seconds, once it has answered";
const THRICE: Promise = "an address gets three times its bytes at most before it is proven";

const DOUBLES: [(PathRule, Promise); 7] = [
    (PathRule::Opened, FORGED),
    (PathRule::Fresh, REPLAYED),
    (PathRule::Newest, OLD),
    (PathRule::Proven, UNPROVEN),
    (PathRule::Token, GUESSED),
    (PathRule::Contest, ANSWERING),
    (PathRule::Followed, FOLLOWED),
];

/// Another source address.
pub(super) const MOVED: Row = Row {
    id: "T15",
    attack: "packets of a session come from another address: the newest, forged, copied, old, answered by nobody, \
             by guessing, by a relay",
    expected: "only the newest one, whose challenge is answered there and not at the old path, moves it",
    run: moved,
};

fn moved(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let mut tally = Tally::default();
    let seen = each(defence, &DOUBLES, |lacks| {
        let mut broken = BTreeSet::new();
        for _ in 0..if lacks.is_none() { TIMES } else { 1 } {
            for story in [forged, replayed, old, unproven, guessed, answering, followed] {
                let mut scene = Scene::new(lacks, lab)?;
                broken.extend(story(&mut scene));
                if scene.to_unproven > FACTOR * scene.from_unproven {
                    broken.insert(THRICE);
                }
                tally.add(&scene);
            }
        }
        Ok(broken)
    })?;
    Ok(seen.figure(tally.words()))
}

#[derive(Debug, Default)]
struct Tally {
    stories: usize,
    to_unproven: usize,
    from_unproven: usize,
    slowest: Duration,
}

impl Tally {
    fn add(&mut self, scene: &Scene) {
        self.stories += 1;
        self.to_unproven += scene.to_unproven;
        self.from_unproven += scene.from_unproven;
        self.slowest = self.slowest.max(scene.took.unwrap_or_default());
    }

    fn words(&self) -> String {
        let Self { stories, to_unproven, from_unproven, slowest } = self;
        format!(
            "{stories} stories; {to_unproven} bytes to unproven addresses for {from_unproven} from there; followed \
             after {slowest:?} at most"
        )
    }
}

/// What bob does about challenges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answers {
    Rightly,
    /// Wherever he is asked, from where he is not.
    Wrongly,
    Never,
}

/// Bob, made by hand, the target, and what goes to and fro.
struct Scene {
    session: Session,
    now: Moment,
    /// Where what the target sends reaches bob.
    hears: Vec<SocketAddr>,
    answers: Answers,
    /// An address from which packets came, and where nobody has answered.
    unproven: Option<SocketAddr>,
    to_unproven: usize,
    from_unproven: usize,
    /// Until the target followed.
    took: Option<Duration>,
}

/// Where the attacker is, or bob later.
fn elsewhere() -> SocketAddr {
    SocketAddr::from(([10, 66, 0, 6], 6666))
}

impl Scene {
    fn new(lacks: Option<PathRule>, lab: &mut Lab) -> Result<Self, NotRun> {
        let people = People::default();
        let (bobs, alices) = people.introduce(&mut lab.rng);
        let (defence, missing) = match lacks {
            None => (Defence::InPlace, Missing::Skipping),
            Some(rule) => (Defence::Removed, Missing::Path(rule)),
        };
        let mut target = target(defence, missing, &people, alices, lab.rng.random());
        let hand = Hand::meet(&mut *target, &bobs, &people.bob, &mut lab.rng, START)?;
        let mut scene = Self {
            hears: vec![hand.address],
            session: Session { hand, target },
            now: START,
            answers: Answers::Rightly,
            unproven: None,
            to_unproven: 0,
            from_unproven: 0,
            took: None,
        };
        // The handshake's own questions are over by then, and the round trip is known.
        scene.run_for(Duration::from_secs(1));
        scene.give(scene.home(), PING);
        scene.run_for(Duration::from_secs(1));
        if scene.path() != Some(scene.home()) {
            return Err(NotRun("the target does not know where its peer is".to_owned()));
        }
        Ok(scene)
    }

    /// Where bob was when they met.
    const fn home(&self) -> SocketAddr {
        self.session.hand.address
    }

    fn path(&self) -> Option<SocketAddr> {
        self.session.target.path(self.now)
    }

    /// Bob's next packet arrives.
    fn give(&mut self, from: SocketAddr, content: &[u8]) {
        let packet = self.session.hand.packet(content);
        self.bring(from, &packet);
    }

    fn bring(&mut self, from: SocketAddr, packet: &[u8]) {
        if self.unproven == Some(from) {
            self.from_unproven += packet.len();
        }
        self.session.target.take(from, packet, self.now);
    }

    /// Packets come from there from now on, and nobody has proven to be there.
    fn begin(&mut self) {
        self.unproven = Some(elsewhere());
        self.to_unproven = 0;
    }

    fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.session.target.wait(self.now);
            for (to, datagram) in self.session.target.sent(self.now) {
                if self.unproven == Some(to) {
                    self.to_unproven += datagram.len();
                }
                if self.hears.contains(&to) {
                    self.answer(to, &datagram);
                }
            }
            self.now = self.now + TICK;
        }
    }

    /// Bob got something that went to `at`.
    fn answer(&mut self, at: SocketAddr, datagram: &[u8]) {
        let Some((number, content)) = self.session.hand.open(datagram) else { return };
        let mut asks = false;
        for frame in Frames::new(&content).flatten() {
            asks |= frame.is_ack_eliciting();
            let Frame::PathChallenge { token } = frame else { continue };
            let mut response = Vec::new();
            let mut write = |token| Frame::PathResponse { token, observed: at }.encode(&mut response);
            match self.answers {
                Answers::Never => return,
                Answers::Rightly => write(token),
                Answers::Wrongly => write(token.map(|byte| !byte)),
            }
            self.give(at, &response);
            if self.unproven == Some(at) && self.answers == Answers::Rightly {
                self.unproven = None;
            }
        }
        if asks {
            let ack = self.session.hand.ack(number..=number);
            let from = self.hears.last().copied().unwrap_or(at);
            self.bring(from, &ack);
        }
    }

    /// Lets time pass; whether the session was elsewhere meanwhile.
    fn leaves_home(&mut self, time: Duration) -> bool {
        let end = self.now + time;
        let mut left = self.path() != Some(self.home());
        while self.now < end {
            self.run_for(TICK);
            left |= self.path() != Some(self.home());
        }
        left
    }

    /// Whether something went elsewhere, or the session did.
    fn was_moved(&self) -> bool {
        self.to_unproven > 0 || self.path() != Some(self.home())
    }
}

fn forged(scene: &mut Scene) -> Option<Promise> {
    let packet = scene.session.hand.packet(PING);
    scene.begin();
    for bit in [0, 8 * 9, 8 * 16, 8 * packet.len() - 1] {
        let mut forged = packet.clone();
        // The kind and the receiver stay, so that it is for this session.
        if bit > 0 {
            forged[bit / 8] ^= 1 << (bit % 8);
        } else {
            forged.truncate(packet.len() - 1);
        }
        scene.bring(elsewhere(), &forged);
    }
    scene.run_for(LONG);
    scene.was_moved().then_some(FORGED)
}

fn replayed(scene: &mut Scene) -> Option<Promise> {
    let packet = scene.session.hand.packet(&said(0, b"once"));
    scene.bring(scene.home(), &packet);
    scene.run_for(Duration::from_secs(1));
    scene.begin();
    scene.bring(elsewhere(), &packet);
    scene.run_for(LONG);
    scene.was_moved().then_some(REPLAYED)
}

/// Somebody on the path holds a packet back until a later one has come, and relays all that it gets.
fn old(scene: &mut Scene) -> Option<Promise> {
    let packet = scene.session.hand.packet(&said(0, b"held back"));
    scene.give(scene.home(), PING);
    scene.run_for(Duration::from_secs(1));
    scene.begin();
    scene.hears = vec![elsewhere(), scene.home()];
    scene.bring(elsewhere(), &packet);
    scene.run_for(LONG);
    let taken = scene.session.target.bodies().len() == 1;
    (scene.was_moved() || !taken).then_some(OLD)
}

/// The newest packet comes from elsewhere, where nobody answers; nor does anybody at the old address.
fn unproven(scene: &mut Scene) -> Option<Promise> {
    scene.begin();
    scene.answers = Answers::Never;
    scene.give(elsewhere(), &said(0, b"from a spoofed address"));
    scene.leaves_home(LONG).then_some(UNPROVEN)
}

/// An accepted peer names an address that is not its own, and guesses what it was asked there.
fn guessed(scene: &mut Scene) -> Option<Promise> {
    scene.begin();
    scene.answers = Answers::Wrongly;
    let mut moved = false;
    for guess in 0..LONG.as_secs() {
        scene.give(elsewhere(), PING);
        let mut response = Vec::new();
        Frame::PathResponse { token: guess.to_be_bytes(), observed: scene.home() }.encode(&mut response);
        scene.give(elsewhere(), &response);
        moved |= scene.leaves_home(Duration::from_secs(1));
    }
    moved.then_some(GUESSED)
}

/// Somebody relays everything, and bob is where he was.
fn answering(scene: &mut Scene) -> Option<Promise> {
    scene.begin();
    scene.hears = vec![elsewhere(), scene.home()];
    scene.give(elsewhere(), &said(0, b"by a detour"));
    scene.leaves_home(LONG).then_some(ANSWERING)
}

fn followed(scene: &mut Scene) -> Option<Promise> {
    scene.begin();
    scene.hears = vec![elsewhere()];
    let since = scene.now;
    scene.give(elsewhere(), &said(0, b"from a train"));
    // Not before the question was answered.
    let early = scene.path() == Some(elsewhere());
    while scene.path() != Some(elsewhere()) && scene.now < since + MOVED_WITHIN {
        scene.run_for(TICK);
    }
    let took = scene.now.saturating_since(since);
    scene.took = Some(took);
    (early || took >= MOVED_WITHIN || scene.session.target.has_ended()).then_some(FOLLOWED)
}
