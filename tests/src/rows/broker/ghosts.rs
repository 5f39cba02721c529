//! B15: clients that vanish, lines that break and heal, and one key at two places.
//!
//! Clients and broker are the product's, in virtual time. At the doubles one defence is switched off,
//! and everything else is the same code on the same lines.
//!
//! What the two of a double login learn: the older one gets `Replaced`, stops and tells its user; the
//! newer one is welcomed and found. That there was an older one it is not told: version 1 of the
//! protocol has no message for it.

use std::collections::BTreeSet;
use std::time::Duration;

use p2pchat_engine::event::{BrokerState, PersonStatus};
use p2pchat_engine::{Command, Failure, Target};
use p2pchat_proto::PeerId;
use p2pchat_proto::RequestId;
use p2pchat_proto::broker::{FromBroker, Outcome, Replaced, Request};
use p2pchat_proto::offer::SignedOffer;
use p2pchat_registry::limits::DEAD_AFTER;
use rand::RngExt;

use crate::caller::{Caller, identity};
use crate::rows::{Defence, Lab, NotRun, Promise, Seen, each};
use crate::town::{Town, Without};
use crate::world::World;

const GHOST: Promise = "a ghost is gone after 40 s, and not before 20";
const SHORT: Promise = "a line that is back within 10 s costs nothing";
const NOTICED: Promise = "a client notices a dead line within 45 s";
const BACK: Promise = "who was cut off is back within 60 s of the line";
const NEWEST: Promise = "the newest login is in at once, and found";
const TOLD: Promise = "the older one is told that it was replaced";
const STAYS: Promise = "the older one does not come back by itself";

/// The defences, each with what breaks where it is missing.
const DOUBLES: [(Without, Promise); 5] = [
    (Without::Silence, GHOST),
    (Without::ClientsClock, NOTICED),
    (Without::NewestWins, NEWEST),
    (Without::Closing, TOLD),
    (Without::Replaced, STAYS),
];

/// Alice's key, and bob's, who has her as a contact.
const ALICE: u8 = 1;
const BOB: u8 = 2;
/// Places of the programs.
const BOBS: usize = 0;
const FIRST: usize = 1;
const SECOND: usize = 2;
/// Different timings of each story.
const TIMINGS: usize = 8;
/// What a line needs to carry something although it loses: seven round trips and retries.
const CARRY: Duration = Duration::from_secs(3);
/// From the line's return to the next try of a client: its longest pause, and a try that was under way.
const BACK_WITHIN: Duration = Duration::from_secs(60);
/// How long who was replaced is watched: twenty of a client's longest pauses.
const WATCHED: Duration = Duration::from_secs(600);

/// B15.
pub(super) fn ghosts(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let mut stories = 0;
    let seen = each(defence, &DOUBLES, |without| {
        let mut broken = BTreeSet::new();
        let wanted = DOUBLES.iter().find(|(double, _)| Some(*double) == without).map(|(_, promise)| promise);
        for _ in 0..TIMINGS {
            for story in [switched_off, cut_off, half_cut_off, twice, twice_behind_a_cut] {
                if wanted.is_some_and(|wanted| broken.contains(wanted)) {
                    return Ok(broken);
                }
                broken.extend(story(without, lab)?);
                stories += 1;
            }
        }
        Ok(broken)
    })?;
    let program = match defence {
        Defence::InPlace => newest_wins()?,
        Defence::Removed => true,
    };
    let figure = format!("{stories} stories in virtual time");
    Ok(if program { seen } else { Seen::broken("the running broker keeps the older login") }.figure(figure))
}

/// Bob at the broker, and alice once, for a while.
fn town(without: Option<Without>, lab: &mut Lab) -> Result<Town, NotRun> {
    let nobody = || NotRun("nobody gets to the broker".to_owned());
    let mut town = Town::new(without, &mut lab.rng).ok_or_else(nobody)?;
    town.start(BOB, "bob", &[(ALICE, "alice")]).ok_or_else(nobody)?;
    town.start(ALICE, "alice", &[]).ok_or_else(nobody)?;
    let both = |town: &Town| [BOBS, FIRST].iter().all(|who| is(town, *who, BrokerState::Connected));
    town.run_until(BACK_WITHIN, both).ok_or_else(nobody)?;
    town.run_until(CARRY, |town| alice_is(town, PersonStatus::Online)).ok_or_else(nobody)?;
    town.run_for(Duration::from_millis(lab.rng.random_range(0..60_000)));
    Ok(town)
}

fn alice() -> PeerId {
    identity(ALICE).peer_id()
}

fn is(town: &Town, who: usize, state: BrokerState) -> bool {
    town.people.get(who).is_some_and(|person| person.broker() == Some(state))
}

/// Whether bob sees alice so.
fn alice_is(town: &Town, status: PersonStatus) -> bool {
    town.people.get(BOBS).is_some_and(|bob| bob.presence_of(alice()) == Some(status))
}

/// Collects the promises that were not kept.
#[derive(Default)]
struct Verdict(BTreeSet<Promise>);

impl Verdict {
    fn hold(&mut self, promise: Promise, kept: bool) {
        if !kept {
            self.0.insert(promise);
        }
    }
}

/// Alice's machine loses power. Later, or before anybody noticed, she starts again somewhere else.
fn switched_off(without: Option<Without>, lab: &mut Lab) -> Result<BTreeSet<Promise>, NotRun> {
    let mut verdict = Verdict::default();
    let mut town = town(without, lab)?;
    town.switch_off(FIRST);
    if lab.rng.random() {
        let gone = town.run_until(2 * DEAD_AFTER, |town| alice_is(town, PersonStatus::Offline));
        let range = Duration::from_secs(20)..=DEAD_AFTER + CARRY;
        verdict.hold(GHOST, gone.is_some_and(|gone| range.contains(&gone)));
    } else {
        town.run_for(Duration::from_secs(lab.rng.random_range(0..15)));
    }
    newest_is_found(&mut town, &mut verdict);
    Ok(verdict.0)
}

/// Alice starts again somewhere else: she is in at once, and whoever asks for her finds her there.
fn newest_is_found(town: &mut Town, verdict: &mut Verdict) {
    let started = town.start(ALICE, "alice", &[]) == Some(SECOND);
    let up = town.run_until(CARRY, |town| is(town, SECOND, BrokerState::Connected));
    let wait = Duration::from_secs(60);
    town.command(BOBS, Command::Connect { to: Target::Peer(alice()), wait });
    town.run_for(CARRY);
    let found = town.people.get(SECOND).is_some_and(|newer| newer.requests() == 1);
    verdict.hold(NEWEST, started && up.is_some() && found);
}

/// The line carries nothing for 10 s, then for two minutes.
fn cut_off(without: Option<Without>, lab: &mut Lab) -> Result<BTreeSet<Promise>, NotRun> {
    let mut verdict = Verdict::default();
    let mut town = town(without, lab)?;
    let logins = town.logins;
    town.carries(FIRST, false, false);
    town.run_for(Duration::from_millis(lab.rng.random_range(0..10_000)));
    town.carries(FIRST, true, true);
    town.run_for(DEAD_AFTER + CARRY);
    let calm = is(&town, FIRST, BrokerState::Connected) && alice_is(&town, PersonStatus::Online);
    verdict.hold(SHORT, calm && town.logins == logins);
    cut(&mut town, [false, false], &mut verdict);
    Ok(verdict.0)
}

/// The line carries what one side says, and nothing of the other.
fn half_cut_off(without: Option<Without>, lab: &mut Lab) -> Result<BTreeSet<Promise>, NotRun> {
    let mut verdict = Verdict::default();
    for ways in [[true, false], [false, true]] {
        cut(&mut town(without, lab)?, ways, &mut verdict);
    }
    Ok(verdict.0)
}

/// Two minutes during which the line carries only some ways, what alice says and what she is told.
fn cut(town: &mut Town, [up, down]: [bool; 2], verdict: &mut Verdict) {
    town.carries(FIRST, up, down);
    let begin = town.now;
    let noticed = town.run_until(Duration::from_secs(45), |town| is(town, FIRST, BrokerState::Lost));
    verdict.hold(NOTICED, noticed.is_some());
    let left = DEAD_AFTER + CARRY + CARRY;
    let gone = town.run_until(left, |town| alice_is(town, PersonStatus::Offline));
    // What alice still says, her goodbye among it, the broker hears.
    let at = Duration::from_nanos(town.now - begin);
    verdict.hold(GHOST, gone.is_some() && at >= Duration::from_secs(20) && at <= DEAD_AFTER + CARRY);
    town.run_until(Duration::from_secs(120).saturating_sub(at), |_| false);
    town.carries(FIRST, true, true);
    let back = |town: &Town| is(town, FIRST, BrokerState::Connected) && alice_is(town, PersonStatus::Online);
    verdict.hold(BACK, town.run_until(BACK_WITHIN, back).is_some());
}

/// Alice starts a second program with the same key while the first one runs.
fn twice(without: Option<Without>, lab: &mut Lab) -> Result<BTreeSet<Promise>, NotRun> {
    let mut verdict = Verdict::default();
    let mut town = town(without, lab)?;
    let presences = presences(&town);
    newest_is_found(&mut town, &mut verdict);
    ends_replaced(&mut town, FIRST, SECOND, &mut verdict);
    // She was there all the time.
    let seen = self::presences(&town) == presences && alice_is(&town, PersonStatus::Online);
    verdict.hold(NEWEST, seen);
    Ok(verdict.0)
}

fn presences(town: &Town) -> usize {
    let events = town.people.get(BOBS).map(|bob| bob.events.as_slice()).unwrap_or_default();
    events.iter().filter(|event| matches!(event, p2pchat_engine::Event::Presence(_))).count()
}

/// The first program is cut off when the second one comes. When the line is back it cannot know, and
/// comes back too: now it is the newest, and the second one is told.
fn twice_behind_a_cut(without: Option<Without>, lab: &mut Lab) -> Result<BTreeSet<Promise>, NotRun> {
    let mut verdict = Verdict::default();
    let mut town = town(without, lab)?;
    town.carries(FIRST, false, false);
    town.run_for(Duration::from_millis(lab.rng.random_range(0..60_000)));
    newest_is_found(&mut town, &mut verdict);
    town.run_for(Duration::from_secs(120));
    verdict.hold(NOTICED, !is(&town, FIRST, BrokerState::Connected));
    town.carries(FIRST, true, true);
    let back = town.run_until(BACK_WITHIN, |town| is(town, FIRST, BrokerState::Connected));
    verdict.hold(BACK, back.is_some());
    ends_replaced(&mut town, SECOND, FIRST, &mut verdict);
    Ok(verdict.0)
}

/// Of two, the older one is told, once, and keeps away; the newer one stays.
fn ends_replaced(town: &mut Town, older: usize, newer: usize, verdict: &mut Verdict) {
    town.run_for(CARRY);
    let told = town.people.get(older).and_then(|older| older.links().next_back());
    verdict.hold(TOLD, told == Some((BrokerState::Refused, Some(&Failure::Replaced))));
    let logins = town.logins;
    town.run_for(WATCHED);
    let kept = is(town, newer, BrokerState::Connected) && !is(town, older, BrokerState::Connected);
    verdict.hold(STAYS, kept && town.logins == logins);
}

/// Whether of two logins of one key the older one is told and closed, and the newer one is found.
fn newest_wins() -> Result<bool, NotRun> {
    let world = World::new()?;
    let to = world.broker.address();
    let mut older = Caller::login(to, identity(1))?;
    older.register("alice");
    let mut newer = Caller::login(to, identity(1))?;
    let told = older.hear() == Some((0, Replaced.into())) && older.hear().is_none();
    let mut bob = Caller::login(to, identity(2))?;
    let offer = SignedOffer { body: vec![1; 10], signature: [1; 64] };
    let name = Some("alice".parse()?);
    let asked = bob.call(Request { request: RequestId([1; 16]), to: None, name, offer });
    let found = matches!(newer.hear(), Some((0, FromBroker::Incoming(_))));
    Ok(told && found && asked == Some(Outcome::Done))
}
