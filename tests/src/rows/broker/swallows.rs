//! B16, the quiet part: a broker that takes everything and does not pass all of it on, for ever.
//!
//! In virtual time, with the product's clients and rules; only what the broker lets out is its own choice.

use std::collections::BTreeSet;
use std::time::Duration;

use p2pchat_engine::event::{BrokerState, Direction, RequestState};
use p2pchat_engine::{Command, CommandId, Event, Target};
use p2pchat_proto::RequestId;
use p2pchat_proto::broker::FromBroker;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;

use crate::rows::{Lab, NotRun, Promise};
use crate::town::{Passes, Resident, Town, Without};

pub(super) const ENDS: Promise = "all that a user asked for ends within its time, in words";
pub(super) const LEFT: Promise = "a broker that says nothing is given up after 45 s";
pub(super) const GENTLE: Promise = "who is not let in tries ever less often";

/// What is let out once both are logged in.
#[derive(Debug, Clone, Copy)]
enum Lets {
    /// Nothing.
    Nothing,
    /// All but one kind.
    AllBut(fn(&FromBroker) -> bool),
    /// This share of all.
    Share(f64),
}

const SCRIPTS: [Lets; 9] = [
    Lets::Nothing,
    Lets::AllBut(|message| matches!(message, FromBroker::Reply(_))),
    Lets::AllBut(|message| matches!(message, FromBroker::Incoming(_))),
    Lets::AllBut(|message| matches!(message, FromBroker::Answered(_))),
    Lets::AllBut(|message| matches!(message, FromBroker::Endpoints(_))),
    Lets::AllBut(|message| matches!(message, FromBroker::Cancelled(_))),
    Lets::AllBut(|message| matches!(message, FromBroker::Pong(_))),
    Lets::Share(0.7),
    Lets::Share(0.3),
];

/// How long a user waits for an answer to a request.
const WAIT: Duration = Duration::from_secs(60);
/// When all has to have come to an end: that, what a request may take until it is out, and a meeting.
const OVER: Duration = Duration::from_secs(180);
/// How long a broker that lets nobody in is tried.
const HOUR: Duration = Duration::from_secs(3600);
/// Tries in that time: one every 30 s, and those before the pause was so long.
const TRIES_MAX: usize = 130;

/// How many scripts there are.
pub(super) const COUNT: usize = SCRIPTS.len();

/// Every script.
pub(super) fn all(without: Option<Without>, lab: &mut Lab) -> Result<BTreeSet<Promise>, NotRun> {
    let mut broken = BTreeSet::new();
    for (number, lets) in SCRIPTS.into_iter().enumerate() {
        let ended = swallows(lets, without, lab)?;
        if without.is_none() && !ended.is_empty() {
            return Err(NotRun(format!("script {number} breaks {ended:?}")));
        }
        broken.extend(ended);
    }
    Ok(broken)
}

fn swallows(lets: Lets, without: Option<Without>, lab: &mut Lab) -> Result<BTreeSet<Promise>, NotRun> {
    let nobody = || NotRun("nobody gets to the broker".to_owned());
    let mut town = Town::new(without, &mut lab.rng).ok_or_else(nobody)?;
    let bob = town.start(2, "bob", &[]).ok_or_else(nobody)?;
    let alice = town.start(1, "alice", &[]).ok_or_else(nobody)?;
    let connected =
        |town: &Town| town.people.iter().all(|person| person.broker() == Some(BrokerState::Connected));
    town.run_until(WAIT, connected).ok_or_else(nobody)?;
    let rng = ChaCha20Rng::from_seed(lab.rng.random());
    town.passes = Some(passes(lets, rng));

    let mut broken = BTreeSet::new();
    let to = Target::Name("alice".parse()?);
    let mut asked = vec![
        (bob, town.command(bob, Command::Connect { to, wait: WAIT })),
        (bob, town.command(bob, Command::People { prefix: String::new() })),
    ];
    town.run_for(Duration::from_secs(5));
    if let Some(request) = town.people.get(alice).and_then(open_request) {
        asked.push((alice, town.command(alice, Command::Accept { request, once: false })));
    }
    if let Lets::Nothing = lets {
        let left = town.run_until(Duration::from_secs(45), |town| {
            town.people.iter().all(|person| person.links().any(|(state, _)| state == BrokerState::Lost))
        });
        broken.extend(left.is_none().then_some(LEFT));
        let begin = tries(&town, bob);
        town.run_for(HOUR);
        broken.extend((tries(&town, bob) - begin > TRIES_MAX).then_some(GENTLE));
    }
    town.run_for(OVER);
    let ended = |(who, id): &(usize, CommandId)| {
        town.people.get(*who).is_some_and(|person| person.events.iter().any(|event| ends(event, *id)))
    };
    let settled =
        town.people.get(bob).is_some_and(|bob| !matches!(last_request(bob), Some(RequestState::Open)));
    broken.extend((!asked.iter().all(ended) || !settled).then_some(ENDS));
    Ok(broken)
}

fn passes(lets: Lets, mut rng: ChaCha20Rng) -> Passes {
    let login = |message: &FromBroker| matches!(message, FromBroker::Welcome(_));
    match lets {
        Lets::Nothing => Box::new(|_| false),
        Lets::AllBut(kind) => Box::new(move |message| !kind(message)),
        Lets::Share(share) => Box::new(move |message| login(message) || rng.random_bool(share)),
    }
}

fn ends(event: &Event, of: CommandId) -> bool {
    if let Event::Done { id, .. } | Event::Failed { id, .. } | Event::People { id, .. } = event {
        return *id == of;
    }
    false
}

fn open_request(person: &Resident) -> Option<RequestId> {
    person.events.iter().find_map(|event| {
        let Event::Request(request) = event else { return None };
        (request.direction == Direction::In && request.state == RequestState::Open).then_some(request.request)
    })
}

fn last_request(person: &Resident) -> Option<RequestState> {
    person.events.iter().rev().find_map(|event| {
        let Event::Request(request) = event else { return None };
        Some(request.state)
    })
}

fn tries(town: &Town, who: usize) -> usize {
    let links = town.people.get(who).into_iter().flat_map(Resident::links);
    links.filter(|(state, _)| *state == BrokerState::Connecting).count()
}
