//! Two people talk over a bad path; again and again one of them is killed at any moment and started again.
//!
//! What has to be true then: both have the same history, each one's messages in the order in which they
//! were typed, each once, and nothing is missing that a program had shown as kept.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;

use crate::event::{event, receipt, session};
use crate::peer::{Peer, Setup};
use crate::process::{Failure, PROMPT};
use crate::relay::{Direction, Faults, UdpRelay};
use crate::rows::Defence;
use crate::world::{MEETING, World, free_udp_port};

/// What the path does to datagrams of each direction.
const FAULTS: Faults = Faults {
    drop: 0.05,
    duplicate: 0.02,
    reorder: 0.05,
    flip: 0.0,
    flip_nth: None,
    delay: Duration::from_millis(2),
};
/// In the first rounds the broker is there; it introduces the same two a few times a minute only.
const WITH_BROKER: u32 = 3;
/// Most lines that each types in a round before the last one.
const LINES_MAX: u32 = 8;
/// Longest pause between two lines, microseconds.
const PAUSE_US_MAX: u64 = 6_000;
/// Latest moment of the kill after the beginning of a round, microseconds.
const KILL_US_MAX: u64 = 40_000;
/// Latest moment of a second kill after the start, microseconds: about what a start takes, twice.
const START_US_MAX: u64 = 40_000;
/// Until both have heard what was said last. A handshake over such a path needs several tries at times.
const ROUND: Duration = Duration::from_secs(90);

/// The same where nothing may come any more.
const ROUND_WITHOUT: Duration = Duration::from_secs(10);

/// What was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Report {
    /// Rounds that were played.
    pub rounds: u32,
    /// Kills, those during a start included.
    pub kills: u32,
    /// Lines that were typed.
    pub typed: usize,
    /// Lines of which a program had said that they are kept.
    pub acknowledged: usize,
    /// Messages in each of the two histories.
    pub kept: usize,
}

/// Why it was not as it has to be.
#[derive(Debug)]
pub enum Broken {
    /// A promise was broken.
    Promise(String),
    /// Something did not come.
    Failed(Failure),
}

impl Broken {
    /// Whether it is about what the two said, and not about the harness.
    pub const fn is_of_the_talk(&self) -> bool {
        matches!(self, Self::Promise(_) | Self::Failed(Failure::TimedOut { .. }))
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Promise(what) => f.write_str(what),
            Self::Failed(failure) => failure.fmt(f),
        }
    }
}

impl std::error::Error for Broken {}

impl From<Failure> for Broken {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// One of the two.
struct Side {
    name: &'static str,
    other: &'static str,
    setup: Setup,
    peer: Option<Peer>,
    typed: Vec<String>,
    acknowledged: BTreeSet<String>,
    /// What it was shown, in all its lives.
    shown: BTreeSet<String>,
    /// The same since it was started.
    shown_now: BTreeSet<String>,
}

impl Side {
    fn start(&mut self) -> Result<(), Failure> {
        self.shown_now.clear();
        self.peer = Some(self.setup.start(&["listen"])?);
        Ok(())
    }

    fn peer(&mut self) -> Result<&mut Peer, Broken> {
        let name = self.name;
        self.peer.as_mut().ok_or_else(|| Broken::Promise(format!("{name} does not run")))
    }

    fn type_line(&mut self, text: String) -> Result<(), Broken> {
        let (id, other) = (self.typed.len() as u64, self.other);
        self.peer()?.send_json(id, Some(other), &text)?;
        self.typed.push(text);
        Ok(())
    }

    fn kill(&mut self) -> Result<(), Broken> {
        self.peer()?.process.kill()?;
        self.listen()?;
        self.peer = None;
        Ok(())
    }

    /// Takes what the program said.
    fn listen(&mut self) -> Result<(), Broken> {
        let Some(peer) = &mut self.peer else { return Ok(()) };
        // The last line of one that was killed may be cut.
        for said in peer.process.take_lines().into_iter().filter_map(|line| line.event) {
            if said.name() != "message" {
                continue;
            }
            let text = said.text("text").to_owned();
            if said.field("mine").as_bool() == Some(true) {
                self.acknowledged.insert(text);
            } else if !self.shown_now.insert(text.clone()) {
                return Err(Broken::Promise(format!("{} was shown {text:?} twice", self.name)));
            } else {
                self.shown.insert(text);
            }
        }
        Ok(())
    }

    /// Waits until the other side has stored this line, and with it all before it.
    fn until_stored(&mut self, text: &str, within: Duration) -> Result<(), Broken> {
        let mine = event("message").with("text", text).with("mine", true);
        let id = self.peer()?.wait(&mine, within)?.text("message").to_owned();
        self.acknowledged.insert(text.to_owned());
        self.peer()?.wait(&receipt(&id, "stored"), within)?;
        Ok(())
    }

    fn quit(&mut self) -> Result<(), Broken> {
        self.peer()?.send_line("/quit")?;
        self.peer()?.process.wait_exit(PROMPT)?;
        self.listen()?;
        self.peer = None;
        Ok(())
    }

    fn history(&self) -> Result<Vec<Kept>, Broken> {
        let out = self.setup.run(&["history", "export", "--format", "json", "--with", self.other], PROMPT)?;
        if out.exit != 0 {
            return Err(Broken::Promise(format!("{}'s history: {out:?}", self.name)));
        }
        let kept = out.out.iter().filter_map(|line| crate::event::Event::parse(line));
        Ok(kept
            .filter(|said| said.name() == "message")
            .map(|said| Kept {
                mine: said.field("mine").as_bool() == Some(true),
                message: said.text("message").to_owned(),
                text: said.text("text").to_owned(),
                sent_at: said.text("sent_at").to_owned(),
            })
            .collect())
    }

    fn store(&self) -> PathBuf {
        self.setup.home().join("store.redb")
    }
}

/// A message of a history.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Kept {
    mine: bool,
    message: String,
    text: String,
    sent_at: String,
}

/// Plays so many rounds. With [`Defence::Removed`] whoever is killed finds the store as it was when the
/// round began: as if nothing had been made durable.
///
/// # Errors
/// If a promise is broken, or what has to come does not.
pub fn play(rounds: u32, seed: u64, defence: Defence) -> Result<Report, Broken> {
    Play::begin(seed, defence)?.all(rounds)
}

struct Play {
    rng: ChaCha20Rng,
    defence: Defence,
    world: World,
    relays: [UdpRelay; 2],
    sides: [Side; 2],
    report: Report,
}

impl Play {
    fn begin(seed: u64, defence: Defence) -> Result<Self, Broken> {
        let world = World::new()?;
        let relays = [UdpRelay::start(seed)?, UdpRelay::start(seed.wrapping_add(1))?];
        let mut sides = Vec::new();
        for ((name, other), relay) in [("alice", "bob"), ("bob", "alice")].into_iter().zip(&relays) {
            let at = free_udp_port()?;
            relay.set_target(at);
            let setup =
                world.person(name)?.bind_everywhere().arguments(["--bind".to_owned(), at.to_string()]);
            let (shown, shown_now) = (BTreeSet::new(), BTreeSet::new());
            let setup = setup.advertise(relay.address());
            let (typed, acknowledged) = (Vec::new(), BTreeSet::new());
            sides.push(Side { name, other, setup, peer: None, typed, acknowledged, shown, shown_now });
        }
        let Ok(sides) = <[Side; 2]>::try_from(sides) else { unreachable!("two were made") };
        let rng = ChaCha20Rng::seed_from_u64(seed);
        let mut play = Self { rng, defence, world, relays, sides, report: Report::default() };
        play.meet()?;
        Ok(play)
    }

    fn meet(&mut self) -> Result<(), Broken> {
        let [alice, bob] = &mut self.sides;
        for side in [&mut *alice, &mut *bob] {
            side.start()?;
            side.peer()?.wait(&event("broker").with("state", "connected"), PROMPT)?;
        }
        // Not by the command, which ends when the other side does.
        bob.peer()?.send_line("/connect alice")?;
        alice.peer()?.wait(&event("request").with("direction", "in").with("state", "open"), MEETING)?;
        alice.peer()?.send_line("/accept")?;
        for side in [alice, bob] {
            side.peer()?.wait(&session("up"), MEETING)?;
        }
        for relay in &self.relays {
            relay.set_faults(Direction::In, FAULTS);
            relay.set_faults(Direction::Out, FAULTS);
        }
        Ok(())
    }

    fn all(mut self, rounds: u32) -> Result<Report, Broken> {
        for round in 0..rounds {
            if round == WITH_BROKER {
                self.world.broker.kill()?;
            }
            self.round(round)?;
        }
        for side in &mut self.sides {
            side.quit()?;
        }
        self.compare()?;
        self.report.rounds = rounds;
        self.report.typed = self.sides.iter().map(|side| side.typed.len()).sum();
        self.report.acknowledged = self.sides.iter().map(|side| side.acknowledged.len()).sum();
        Ok(self.report)
    }

    fn round(&mut self, round: u32) -> Result<(), Broken> {
        let victim = usize::from(self.rng.random::<bool>());
        let before = match self.defence {
            Defence::InPlace => None,
            Defence::Removed => Some(self.copy_store(victim)?),
        };
        self.talk(round, victim)?;
        if let Some(before) = before {
            // In place: a copy would be known as one.
            fs::write(self.sides[victim].store(), before).map_err(Failure::system("put the store back"))?;
        }
        self.sides[victim].start()?;
        if self.rng.random_range(0..4) == 0 {
            self.pause(START_US_MAX);
            self.kill(victim)?;
            self.sides[victim].start()?;
        }
        // Before that it knows nobody by name.
        self.sides[victim].peer()?.wait(&event("ready"), PROMPT)?;
        let last = |side: &Side| format!("{round} {} last", side.name);
        for side in &mut self.sides {
            side.type_line(last(side))?;
        }
        let within = if self.defence == Defence::InPlace { ROUND } else { ROUND_WITHOUT };
        for side in &mut self.sides {
            side.until_stored(&last(side), within)?;
            side.listen()?;
        }
        Ok(())
    }

    /// Both type, until one is killed; the other goes on.
    fn talk(&mut self, round: u32, victim: usize) -> Result<(), Broken> {
        let begin = Instant::now();
        let kill_at = Duration::from_micros(self.rng.random_range(0..KILL_US_MAX));
        let mut left = [0; 2].map(|_: u32| self.rng.random_range(0..=LINES_MAX));
        let mut alive = true;
        loop {
            if alive && begin.elapsed() >= kill_at {
                self.kill(victim)?;
                alive = false;
            }
            if !alive {
                left[victim] = 0;
            }
            if left == [0, 0] && !alive {
                return Ok(());
            }
            let who = usize::from(self.rng.random::<bool>());
            if left[who] > 0 {
                left[who] -= 1;
                let side = &mut self.sides[who];
                side.type_line(format!("{round} {} {}", side.name, left[who]))?;
            }
            self.pause(PAUSE_US_MAX);
        }
    }

    /// The moment of a crash follows from the seed; nothing is awaited.
    fn pause(&mut self, us_max: u64) {
        thread::sleep(Duration::from_micros(self.rng.random_range(0..us_max)));
    }

    fn kill(&mut self, victim: usize) -> Result<(), Broken> {
        self.report.kills += 1;
        self.sides[victim].kill()
    }

    /// The store of one who does not run.
    fn copy_store(&mut self, victim: usize) -> Result<Vec<u8>, Broken> {
        let side = &mut self.sides[victim];
        side.quit()?;
        let copy = fs::read(side.store()).map_err(Failure::system("copy the store"))?;
        side.start()?;
        side.peer()?.wait(&event("ready"), PROMPT)?;
        Ok(copy)
    }

    fn compare(&mut self) -> Result<(), Broken> {
        let [alices, bobs] = [self.sides[0].history()?, self.sides[1].history()?];
        self.report.kept = alices.len();
        for (author, [own, others]) in [[&alices, &bobs], [&bobs, &alices]].into_iter().enumerate() {
            let (author, reader) = (&self.sides[author], &self.sides[1 - author]);
            let of = |history: &[Kept], mine: bool| -> Vec<Kept> {
                history.iter().filter(|kept| kept.mine == mine).cloned().collect()
            };
            let (said, heard) = (of(own, true), of(others, false));
            same(author.name, &said, &heard)?;
            in_order(author, &said)?;
            let heard: BTreeSet<String> = heard.into_iter().map(|kept| kept.text).collect();
            if let Some(unseen) = heard.difference(&reader.shown).next() {
                return Err(Broken::Promise(format!("{} was never shown {unseen:?}", reader.name)));
            }
        }
        Ok(())
    }
}

/// Two histories agree about what somebody said.
fn same(author: &str, said: &[Kept], heard: &[Kept]) -> Result<(), Broken> {
    let key = |kept: &Kept| (kept.message.clone(), kept.text.clone(), kept.sent_at.clone());
    let (said, heard): (Vec<_>, Vec<_>) = (said.iter().map(key).collect(), heard.iter().map(key).collect());
    if said == heard {
        return Ok(());
    }
    let at = said.iter().zip(&heard).take_while(|(one, other)| one == other).count();
    let what = format!(
        "what {author} said differs from message {at} on: {} said, {} heard: {:?}, {:?}",
        said.len(),
        heard.len(),
        said.get(at),
        heard.get(at)
    );
    Err(Broken::Promise(what))
}

/// Each line once, in the order in which it was typed, and each that was acknowledged.
fn in_order(author: &Side, said: &[Kept]) -> Result<(), Broken> {
    let mut typed = author.typed.iter();
    for kept in said {
        if !typed.any(|text| *text == kept.text) {
            let what = format!("{}'s {:?} stands there twice, or out of order", author.name, kept.text);
            return Err(Broken::Promise(what));
        }
    }
    let kept: BTreeSet<&String> = said.iter().map(|kept| &kept.text).collect();
    match author.acknowledged.iter().find(|text| !kept.contains(text)) {
        Some(lost) => {
            let kept: Vec<&String> = said.iter().map(|kept| &kept.text).collect();
            let what = format!("{}'s {lost:?} was kept, and is gone; what is left: {kept:?}", author.name);
            Err(Broken::Promise(what))
        }
        None => Ok(()),
    }
}
