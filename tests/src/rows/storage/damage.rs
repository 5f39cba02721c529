//! C2 and K10: files that are not as they were written.

use std::fs;
use std::path::Path;

use p2pchat_client::Failure;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use super::place::{Place, Thing, not_run};
use crate::rows::{Defence, Lab, NotRun, Seen};

/// How often each kind of damage is done to each thing.
const ROUNDS: usize = 40;
/// What a disk writes as a whole, in bytes.
const SECTOR: usize = 512;
/// What a database writes as a whole, in bytes.
const BLOCK: usize = 4_096;
/// How the pages of a store are named and sealed, in bytes.
const PAGES: TableDefinition<'static, &[u8; 16], &[u8; 4_074]> = TableDefinition::new("pages");

#[derive(Debug, Clone, Copy)]
enum Damage {
    Flip,
    Tear,
    Cut,
    Zeros,
    Noise,
}

const ALL: [Damage; 5] = [Damage::Flip, Damage::Tear, Damage::Cut, Damage::Zeros, Damage::Noise];

/// The state before a change, the one after it, and what a reader says of each.
struct States {
    place: Place,
    thing: Thing,
    old: Vec<u8>,
    new: Vec<u8>,
    right: [String; 2],
}

/// What became of a file that was tampered with.
enum Became {
    /// One of the two states, as it was.
    Right,
    /// An error, with everything that was there still there.
    Refused,
    /// What nobody wrote, or what was there is gone.
    Wrong(String),
}

impl States {
    fn new(thing: Thing, rng: &mut ChaCha20Rng) -> Result<Self, NotRun> {
        let place = Place::new(1)?;
        let read = |place: &Place| -> Result<(Vec<u8>, String), NotRun> {
            let said = place.read(thing).map_err(not_run)?;
            Ok((fs::read(place.file(thing.file()))?, said))
        };
        place.fill(thing, 0, 30, rng)?;
        let (old, before) = read(&place)?;
        place.fill(thing, 30, 60, rng)?;
        let (new, after) = read(&place)?;
        if before == after {
            return Err(NotRun("the two states are the same".to_owned()));
        }
        Ok(Self { place, thing, old, new, right: [before, after] })
    }

    fn judge(&self, bytes: &[u8]) -> Result<Became, NotRun> {
        let path = self.place.file(self.thing.file());
        fs::write(&path, bytes)?;
        let said = self.place.read(self.thing);
        let became = match said {
            Ok(said) if self.right.contains(&said) => Became::Right,
            Ok(_) => Became::Wrong("it says what nobody wrote".to_owned()),
            Err(Failure::StoreDamaged { aside: Some(aside), .. }) => {
                let kept = fs::read(&aside)? == bytes && !path.exists();
                fs::remove_file(Path::new(&aside))?;
                if kept { Became::Refused } else { Became::Wrong("it is not set aside as it was".to_owned()) }
            }
            Err(_) if fs::read(&path)? == bytes => Became::Refused,
            Err(failure) => Became::Wrong(format!("it was overwritten: {failure}")),
        };
        Ok(became)
    }
}

/// Counts, and the first thing that went wrong.
#[derive(Default)]
struct Tally {
    right: usize,
    refused: usize,
    wrong: Option<String>,
}

impl Tally {
    fn add(&mut self, became: Became, what: &str) {
        match became {
            Became::Right => self.right += 1,
            Became::Refused => self.refused += 1,
            Became::Wrong(why) => self.wrong = self.wrong.take().or_else(|| Some(format!("{what}: {why}"))),
        }
    }

    fn seen(self, held: &str) -> Seen {
        let figure = format!("{} refused, {} right", self.refused, self.right);
        match self.wrong {
            None if self.refused > 0 => Seen::held(held).figure(figure),
            None => Seen::broken("nothing was refused").figure(figure),
            Some(wrong) => Seen::broken(wrong).figure(figure),
        }
    }
}

fn things(defence: Defence) -> &'static [Thing] {
    match defence {
        Defence::InPlace => &[Thing::Papers, Thing::Book],
        Defence::Removed => &[Thing::Clear],
    }
}

/// C2.
pub(super) fn damaged(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let mut tally = Tally::default();
    for &thing in things(defence) {
        let states = States::new(thing, &mut lab.rng)?;
        for round in 0..ROUNDS * ALL.len() {
            let kind = ALL[round % ALL.len()];
            let bytes = damage(kind, &states.old, &states.new, &mut lab.rng);
            tally.add(states.judge(&bytes)?, &format!("{thing:?}, {kind:?}"));
        }
        // As it was written it is taken, so that what was refused was refused for the damage.
        if !matches!(states.judge(&states.new)?, Became::Right) {
            return Err(NotRun(format!("{thing:?}: what was not damaged is refused")));
        }
    }
    Ok(tally.seen("what was written, or an error, and the file set aside or left as it was"))
}

fn damage(kind: Damage, old: &[u8], new: &[u8], rng: &mut ChaCha20Rng) -> Vec<u8> {
    let mut bytes = new.to_vec();
    let at = rng.random_range(0..bytes.len());
    let sector = at / SECTOR * SECTOR;
    let end = bytes.len().min(sector + SECTOR);
    match kind {
        Damage::Flip => bytes[at] ^= 1 << rng.random_range(0..8),
        Damage::Tear => {
            // The sectors of the new state up to one, then what was there before.
            bytes.truncate(sector);
            bytes.extend(old.get(sector..).unwrap_or_default());
        }
        Damage::Cut => bytes.truncate(at),
        Damage::Zeros => bytes[sector..end].fill(0),
        Damage::Noise => rng.fill_bytes(&mut bytes[sector..end]),
    }
    bytes
}

/// K10.
pub(super) fn mixed(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let mut tally = Tally::default();
    for &thing in things(defence) {
        let states = States::new(thing, &mut lab.rng)?;
        let step = if thing == Thing::Clear { 64 } else { BLOCK };
        for share in (0..ROUNDS).map(|round| (round + 1) as f64 / (ROUNDS + 1) as f64) {
            let mut bytes = states.new.clone();
            for at in (0..bytes.len()).step_by(step) {
                let end = bytes.len().min(at + step);
                if let Some(old) = states.old.get(at..end).filter(|_| lab.rng.random_bool(share)) {
                    bytes[at..end].copy_from_slice(old);
                }
            }
            tally.add(states.judge(&bytes)?, &format!("{thing:?}, blocks"));
        }
        if thing == Thing::Book {
            for seed in 0..ROUNDS as u64 {
                let bytes = page_by_page(&states, &mut ChaCha20Rng::seed_from_u64(lab.seed ^ seed))?;
                tally.add(states.judge(&bytes)?, "conversations, page by page");
            }
        }
    }
    Ok(tally.seen("one copy or the other, or an error; a whole older copy cannot be told"))
}

/// The new store with some pages of the old one in their places, or without them, written by the database itself,
/// so that only the seals are in the way.
fn page_by_page(states: &States, rng: &mut ChaCha20Rng) -> Result<Vec<u8>, NotRun> {
    let [old, new] = ["old", "new"].map(|name| states.place.file(name));
    fs::write(&old, &states.old)?;
    fs::write(&new, &states.new)?;
    let before = pages(&Database::open(&old)?)?;
    let database = Database::open(&new)?;
    let after = pages(&database)?;
    let transaction = database.begin_write()?;
    {
        let mut table = transaction.open_table(PAGES)?;
        let differ: Vec<_> =
            after.iter().filter(|(name, page)| before_of(&before, name) != Some(page)).collect();
        let count = rng.random_range(1..differ.len());
        for _ in 0..count {
            let (name, _) = differ[rng.random_range(0..differ.len())];
            match before_of(&before, name) {
                Some(page) => drop(table.insert(name, page)?),
                None => drop(table.remove(name)?),
            }
        }
    }
    transaction.commit()?;
    drop(database);
    let bytes = fs::read(&new)?;
    fs::remove_file(&old)?;
    fs::remove_file(&new)?;
    Ok(bytes)
}

type Page = ([u8; 16], [u8; 4_074]);

fn before_of<'p>(pages: &'p [Page], name: &[u8; 16]) -> Option<&'p [u8; 4_074]> {
    pages.iter().find(|(known, _)| known == name).map(|(_, page)| page)
}

fn pages(database: &Database) -> Result<Vec<Page>, NotRun> {
    let transaction = database.begin_read()?;
    let table = transaction.open_table(PAGES)?;
    let mut all = Vec::new();
    for row in table.iter()? {
        let (name, page) = row?;
        all.push((*name.value(), *page.value()));
    }
    Ok(all)
}
