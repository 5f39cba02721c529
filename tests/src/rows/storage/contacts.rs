//! H24 and H25 from what is on the disk.

use std::time::Duration;

use p2pchat_client::profile::{Home, Papers, Pin};
use p2pchat_crypto::ledger::Ledger;
use p2pchat_netsim::{LinkConfig, Loss, millis};
use p2pchat_proto::{BrokerKey, WallTime};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;
use tempfile::TempDir;

use super::place::not_run;
use crate::event::{Event, event, session};
use crate::peer::Setup;
use crate::process::PROMPT;
use crate::rows::{Defence, Lab, NotRun, Seen};
use crate::sim::contacts::{Contacts, Neglect};
use crate::sim::people::People;
use crate::world::{MEETING, World, listen};

/// How many times the crashes are tried; each start is a write, a sync and a read of a disk.
const TIMINGS: u64 = 100;
/// Days after which nothing is kept of a contact, and one.
const OLD: u64 = 31;
const DAY: u64 = 24 * 3_600_000;

/// The papers of both.
struct Disks {
    homes: [Home; 2],
    people: People,
    _root: TempDir,
}

impl Disks {
    fn new() -> Result<Self, NotRun> {
        let (root, people) = (tempfile::tempdir()?, People::default());
        let home = |name: &str| Home::open(&root.path().join(name)).map_err(not_run);
        let disks = Self { homes: [home("bob")?, home("alice")?], people, _root: root };
        for (who, name) in [(0, "alice"), (1, "bob")] {
            let peer = disks.me(1 - who).peer_id();
            let name = name.parse().map_err(|error| NotRun(format!("{error}")))?;
            let broker = BrokerKey([9; 32]);
            let pin = Pin { name, peer, broker, since: WallTime(0), may_reconnect: true };
            disks.papers(who)?.pin(pin).map_err(not_run)?;
        }
        Ok(disks)
    }

    fn me(&self, who: usize) -> &std::sync::Arc<p2pchat_client::Identity> {
        if who == 0 { &self.people.bob } else { &self.people.alice }
    }

    fn papers(&self, who: usize) -> Result<Papers, NotRun> {
        Papers::open(&self.homes[who], self.me(who)).map_err(not_run)
    }

    /// What one of them keeps goes to the disk, and what the disk gives back is what is kept.
    fn pass(&self, two: &mut Contacts, who: usize) -> Result<(), NotRun> {
        let mut papers = self.papers(who)?;
        match &two.sides[who].disk {
            Some(contact) => papers.keep(contact).map_err(not_run)?,
            None => {
                for mut forgotten in papers.contacts().0 {
                    forgotten.generations.clear();
                    papers.keep(&forgotten).map_err(not_run)?;
                }
            }
        }
        let (contacts, damage) = self.papers(who)?.contacts();
        if let Some(damage) = damage.first() {
            return Err(not_run(damage.clone()));
        }
        two.sides[who].disk = contacts.into_iter().next();
        Ok(())
    }
}

/// Crashes at random moments of two who meet again, each start from what is on the disk; whether they kept a
/// secret in common all the time, and met.
fn crash_and_meet(neglect: Neglect, lab: &Lab, timing: u64) -> Result<bool, NotRun> {
    let disks = Disks::new()?;
    let mut rng = ChaCha20Rng::seed_from_u64(lab.seed ^ timing);
    let loss = Loss::Independent { share: rng.random_range(0.0..0.5) };
    let line = LinkConfig { delay: millis(20), jitter: millis(10), loss, ..LinkConfig::default() };
    let two = Contacts::new(neglect, line, ChaCha20Rng::seed_from_u64(timing));
    let mut two = two.ok_or_else(|| NotRun("the two did not meet at first".to_owned()))?;
    for side in &mut two.sides {
        side.redial = rng.random_bool(0.7).then_some(two.now);
    }
    let mut common = true;
    for _ in 0..rng.random_range(1..4) {
        let end = two.now + Duration::from_micros(rng.random_range(0..400_000));
        while two.step(end) {}
        let who = usize::from(rng.random_bool(0.5));
        disks.pass(&mut two, who)?;
        two.restart(who);
        common &= two.have_one_in_common();
    }
    for who in 0..2 {
        disks.pass(&mut two, who)?;
        two.restart(who);
    }
    two.sides.iter_mut().for_each(|side| side.redial = Some(two.now));
    Ok(common && two.run_until(Duration::from_secs(300), Contacts::are_together))
}

/// H24.
pub(super) fn crashes(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let neglect = if defence == Defence::InPlace { Neglect::Nothing } else { Neglect::OlderSecret };
    let mut lost = 0;
    for timing in 0..TIMINGS {
        lost += u64::from(!crash_and_meet(neglect, lab, timing)?);
    }
    let figure = format!("{lost} of {TIMINGS} timings without a common secret");
    Ok(Seen::when(lost == 0, "crashes between two generations of secrets, each start from the disk")
        .figure(figure))
}

/// C3. The double has its randomness on the disk, too, and so begins each time with the keys that it had.
pub(super) fn counters(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let ledger = Ledger::open();
    let mut met = 0;
    for timing in 0..TIMINGS {
        let timing = if defence == Defence::InPlace { timing } else { 0 };
        met += u64::from(crash_and_meet(Neglect::Nothing, lab, timing)?);
    }
    let reuses = ledger.reuses().len();
    if met < TIMINGS || ledger.keys() == 0 {
        return Err(NotRun(format!("{met} of {TIMINGS} met, {} keys seen", ledger.keys())));
    }
    let what = format!("{reuses} nonces came twice under their key");
    Ok(Seen::when(reuses == 0, what).figure(format!("{} seals with {} keys", ledger.seals(), ledger.keys())))
}

/// How somebody comes to be unwanted.
#[derive(Debug, Clone, Copy)]
enum Way {
    Once,
    Blocked,
    Removed,
    Old,
}

/// H25.
pub(super) fn unwanted(defence: Defence, _: &mut Lab) -> Result<Seen, NotRun> {
    let mut answered = Vec::new();
    for way in [Way::Once, Way::Blocked, Way::Removed, Way::Old] {
        let answers = answers(way, defence)?;
        if answers > 0 {
            answered.push(format!("{way:?}: {answers}"));
        }
    }
    let what = match answered.is_empty() {
        true => "none gets an answer from who was started again".to_owned(),
        false => format!("answers to whom nobody wants: {}", answered.join(", ")),
    };
    Ok(Seen::when(answered.is_empty(), what))
}

/// How many answers bob gets from alice, who was started again. The double keeps no decision: its papers are those of
/// before.
fn answers(way: Way, defence: Defence) -> Result<u64, NotRun> {
    let mut world = World::new()?;
    let [alice, bob] = [world.person("alice")?, world.person("bob")?].map(Setup::bind_everywhere);
    let mut at_alices = listen(&alice)?;
    let mut at_bobs = bob.start(&["connect", "--to", "alice"])?;
    at_alices.wait(&event("request").with("direction", "in").with("state", "open"), MEETING)?;
    let once = matches!(way, Way::Once) && defence == Defence::InPlace;
    at_alices.send_line(if once { "/accept --once" } else { "/accept" })?;
    for peer in [&mut at_alices, &mut at_bobs] {
        peer.wait(&session("up"), MEETING)?;
    }
    crate::actions::say(&mut at_bobs, &mut at_alices, "hello")?;
    world.broker.kill()?;
    at_bobs.process.kill()?;
    at_alices.process.kill()?;
    if defence == Defence::InPlace {
        decide(way, &alice)?;
    }
    let mut at_alices = alice.start(&["listen"])?;
    at_alices.wait(&event("ready"), PROMPT)?;
    let before = at_alices.info()?;
    let _at_bobs = bob.start(&["connect", "--to", "alice"])?;
    let deadline = world.trace.elapsed() + MEETING;
    // Tried, again, and once more; or it has its answer.
    loop {
        let now = at_alices.info()?;
        let answers = count(&now, "answered") + count(&now, "key_exchanges");
        if answers > 0 || count(&now, "received") >= count(&before, "received") + 3 {
            return Ok(answers);
        }
        if world.trace.elapsed() > deadline {
            return Err(NotRun(format!("{way:?}: nobody asked")));
        }
    }
}

fn decide(way: Way, alice: &Setup) -> Result<(), NotRun> {
    let words: &[&str] = match way {
        Way::Once => return Ok(()),
        Way::Blocked => &["contacts", "block", "bob"],
        Way::Removed => &["contacts", "remove", "bob"],
        Way::Old => return age(alice),
    };
    let out = alice.run(words, PROMPT)?;
    if out.exit == 0 { Ok(()) } else { Err(NotRun(format!("{way:?}: {out:?}"))) }
}

/// What alice has of bob gets older.
fn age(alice: &Setup) -> Result<(), NotRun> {
    let home = Home::open(alice.home()).map_err(not_run)?;
    let _lock = home.lock().map_err(not_run)?;
    let me = std::sync::Arc::new(home.identity(None).map_err(not_run)?);
    let mut papers = Papers::open(&home, &me).map_err(not_run)?;
    let (contacts, _) = papers.contacts();
    if contacts.is_empty() {
        return Err(NotRun("nothing was kept".to_owned()));
    }
    for mut contact in contacts {
        contact.generations.iter_mut().for_each(|generation| generation.made.0 -= OLD * DAY);
        papers.keep(&contact).map_err(not_run)?;
    }
    Ok(())
}

fn count(info: &Event, what: &str) -> u64 {
    info.field("socket")[what].as_u64().unwrap_or_default()
}
