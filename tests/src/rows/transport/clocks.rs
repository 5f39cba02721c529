//! Clocks that leap, and machines that sleep.

use std::collections::BTreeSet;
use std::time::Duration;

use p2pchat_netsim::{Fault, Sleep};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;

use crate::rows::{Defence, Lab, NotRun, Promise, Row, Seen, each};
use crate::sim::clocks::{Clocks, Lacking, TURNS_STILL_MAX};

/// How far clocks leap, nanoseconds.
const HOUR: i64 = 3_600_000_000_000;
/// How long machines sleep.
const SLEEP: Duration = Duration::from_secs(600);
/// Who slept alone learns that it was given up within 10 s of its waking (protocol section 5), dials a second
/// later, and a round trip or two after that they talk.
const BACK_WITHIN: Duration = Duration::from_secs(15);
/// Time after a leap in which turns and datagrams are counted.
const COUNTED: Duration = Duration::from_secs(10);
/// Most turns of a program in that time, in which each says a line every half second.
const TURNS_MAX: u64 = 1_000;
/// Most datagrams of one in that time.
const SENT_MAX: u64 = 200;
/// Seeds of each story.
const SEEDS: u64 = 40;
/// Seeds of each story at a double.
const SEEDS_OF_A_DOUBLE: u64 = 2;

const STAYS: Promise = "whose clock leaps, or who sleeps while the other does, keeps the session";
const BACK: Promise = "the two talk again within 15 s";
const QUIET: Promise = "no program spins or makes up for what it missed";

const DOUBLES: [(Lacking, Promise); 3] =
    [(Lacking::Asking, STAYS), (Lacking::Dialling, BACK), (Lacking::LeavingOut, QUIET)];

/// Time that does not pass as it should.
pub(super) const LEAPT: Row = Row {
    id: "T19",
    attack: "clocks leap an hour forward and back, machines sleep for ten minutes, of one side or of both",
    expected: "the session goes on, or is lost and resumed without a broker; nothing spins",
    run: leapt,
};

/// What happens to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Story {
    /// Somebody sets the wall clock.
    Wall(i64),
    /// The same, and then nothing passes for a minute. Tickets are of ten minutes by the clock (protocol
    /// section 4), so that the two meet again at once if both were set, and else when that was undone.
    WallAndOutage(i64),
    /// The clock by which timers run leaps.
    Leap(i64),
    /// The machine sleeps.
    Sleep(Sleep),
}

const STORIES: [Story; 8] = [
    Story::Wall(HOUR),
    Story::Wall(-HOUR),
    Story::WallAndOutage(HOUR),
    Story::WallAndOutage(-HOUR),
    Story::Leap(HOUR),
    Story::Leap(-HOUR),
    Story::Sleep(Sleep::SUSPENDED),
    Story::Sleep(Sleep::STOPPED),
];
const WHOSE: [&[usize]; 3] = [&[0], &[1], &[0, 1]];

#[derive(Debug, Default)]
struct Tally {
    stories: usize,
    resumed: usize,
    slowest: Duration,
    turns: u64,
    broken: Vec<String>,
}

fn leapt(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let (first, mut tally) = (lab.seed, Tally::default());
    let seen = each(defence, &DOUBLES, |lacking| {
        let mut broken = BTreeSet::new();
        let seeds = if lacking.is_none() { SEEDS } else { SEEDS_OF_A_DOUBLE };
        for seed in first..first.saturating_add(seeds) {
            for (story, whose) in STORIES.into_iter().flat_map(|story| WHOSE.map(|whose| (story, whose))) {
                let fresh = told(story, whose, lacking, seed, &mut tally)?;
                if lacking.is_none() && !fresh.is_empty() {
                    tally.broken.push(format!("seed {seed}, {story:?} of {whose:?}: {fresh:?}"));
                }
                broken.extend(fresh);
            }
        }
        Ok(broken)
    })?;
    let Tally { stories, resumed, slowest, turns, broken } = tally;
    let last = first.saturating_add(SEEDS - 1);
    let figure = format!(
        "{stories} stories, seeds {first} to {last}: {resumed} resumed, talking after {slowest:?}, {turns} turns \
         in 10 s at most"
    );
    Ok(seen.figure(if broken.is_empty() { figure } else { broken.join("; ") }))
}

fn told(
    story: Story,
    whose: &[usize],
    lacking: Option<Lacking>,
    seed: u64,
    tally: &mut Tally,
) -> Result<BTreeSet<Promise>, NotRun> {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let failed = || NotRun(format!("seed {seed}: the two do not talk"));
    let mut world = Clocks::met(lacking, &mut rng).ok_or_else(failed)?;
    world.talk(BACK_WITHIN).ok_or_else(failed)?;
    // Anywhere between two keepalives, and past the time in which nobody may renew the keys.
    world.run_for(Duration::from_millis(rng.random_range(12_000..37_000)));
    let before = world.live();
    happens(story, whose, &mut world);
    if let (Story::WallAndOutage(by), [who]) = (story, whose) {
        if world.talk(BACK_WITHIN).is_some() {
            return Err(NotRun(format!("seed {seed}, {story:?}: the clocks were not apart")));
        }
        let host = world.people[*who].host;
        world.apply(Fault::Jump { host, by: -by });
    }
    world.count_anew();
    let since = world.now;
    let mut broken = BTreeSet::new();
    match world.talk(BACK_WITHIN) {
        Some(took) => tally.slowest = tally.slowest.max(took),
        None => drop(broken.insert(BACK)),
    }
    while Duration::from_nanos(world.now - since) < COUNTED {
        world.talk(Duration::from_millis(500));
    }
    for person in &world.people {
        tally.turns = tally.turns.max(person.turns);
        if person.still > TURNS_STILL_MAX || person.turns > TURNS_MAX || person.sent > SENT_MAX {
            broken.insert(QUIET);
        }
    }
    let is_lost = match story {
        Story::Wall(_) | Story::Leap(_) => false,
        Story::WallAndOutage(_) => true,
        Story::Sleep(_) => whose.len() == 1,
    };
    let resumed = world.live() != before;
    tally.stories += 1;
    tally.resumed += usize::from(resumed);
    broken.extend((resumed && !is_lost).then_some(STAYS));
    if is_lost && !resumed && lacking.is_none() {
        return Err(NotRun(format!("seed {seed}, {story:?}: the session was not lost")));
    }
    Ok(broken)
}

fn happens(story: Story, whose: &[usize], world: &mut Clocks) {
    let hosts = [world.people[0].host, world.people[1].host];
    for who in whose {
        match story {
            Story::Wall(by) | Story::WallAndOutage(by) => world.apply(Fault::Jump { host: hosts[*who], by }),
            Story::Leap(by) => world.leap(*who, by),
            Story::Sleep(sleep) => world.apply(Fault::Sleep { host: hosts[*who], sleep }),
        }
    }
    match story {
        Story::WallAndOutage(_) => {
            let (these, those) = (vec![hosts[0]], vec![hosts[1]]);
            world.apply(Fault::Part { these: these.clone(), those: those.clone() });
            world.run_for(Duration::from_secs(60));
            world.apply(Fault::Join { these, those });
        }
        Story::Sleep(_) => {
            world.run_for(SLEEP);
            whose.iter().for_each(|who| world.apply(Fault::Wake { host: hosts[*who] }));
        }
        Story::Wall(_) | Story::Leap(_) => {}
    }
}
