//! C5: files of a later version, and of an earlier one.

use std::fs;

use p2pchat_client::Failure;
use p2pchat_client::profile::Papers;
use p2pchat_crypto::keyfile;
use rand_chacha::ChaCha20Rng;
use redb::{Database, TableDefinition};

use super::place::{BOOK, PAPERS, Place, Thing, not_run, peer};
use crate::rows::{Defence, Lab, NotRun, Seen, each};

/// Bytes before what is sealed in the papers, and where in them the version stands.
const HEAD_LEN: usize = 32;
const VERSION_AT: usize = 14;
const META: TableDefinition<'static, &str, u64> = TableDefinition::new("meta");
const KEY: &str = "identity.key";

const PAPERS_LATER: &str = "papers of a later version are refused and stay as they are";
const BOOK_LATER: &str = "conversations of a later version are refused and stay as they are";
const KEY_LATER: &str = "a key of a later version is refused and stays as it is";
const EARLIER: &str = "what an earlier version kept is taken over";

/// A reader that does without one of the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Careless {
    /// Takes whatever opens for papers.
    Papers,
    /// Takes whatever the database opens for conversations.
    Book,
    /// Takes any key of the right length.
    Key,
    /// Knows only its own files.
    Earlier,
}

pub(super) fn others(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let doubles = [
        (Careless::Papers, PAPERS_LATER),
        (Careless::Book, BOOK_LATER),
        (Careless::Key, KEY_LATER),
        (Careless::Earlier, EARLIER),
    ];
    let rng = lab.rng.clone();
    each(defence, &doubles, |careless| {
        let mut rng = rng.clone();
        let mut broken = std::collections::BTreeSet::new();
        let kept = [
            (PAPERS_LATER, papers(careless, &mut rng)?),
            (BOOK_LATER, book(careless, &mut rng)?),
            (KEY_LATER, key(careless, &mut rng)?),
            (EARLIER, earlier(careless)?),
        ];
        broken.extend(kept.iter().filter(|(_, kept)| !kept).map(|(promise, _)| *promise));
        Ok(broken)
    })
}

/// Whether somebody said that it is of a later version.
fn says_so<T>(read: Result<T, Failure>) -> bool {
    let Err(failure) = read else { return false };
    let text = failure.to_string();
    text.contains("later version") || text.contains("version 2")
}

fn papers(careless: Option<Careless>, rng: &mut ChaCha20Rng) -> Result<bool, NotRun> {
    let place = Place::new(1)?;
    place.fill(Thing::Papers, 0, 3, rng)?;
    let path = place.file(PAPERS);
    let written = fs::read(&path)?;
    let content = place.me.store().open(&written[..HEAD_LEN], &written[HEAD_LEN..])?;
    let mut head = written[..HEAD_LEN].to_vec();
    head[VERSION_AT + 1] += 1;
    let sealed = place.me.store().seal(&head, &[&content], rng)?;
    let later = [&head[..], &sealed].concat();
    fs::write(&path, &later)?;
    if careless == Some(Careless::Papers) {
        let taken = place.me.store().open(&later[..HEAD_LEN], &later[HEAD_LEN..]);
        return Ok(taken.is_err());
    }
    let refused = says_so(place.papers()) && says_so(Papers::look(&place.profile, &place.me));
    Ok(refused && fs::read(&path)? == later)
}

fn book(careless: Option<Careless>, rng: &mut ChaCha20Rng) -> Result<bool, NotRun> {
    let place = Place::new(1)?;
    place.fill(Thing::Book, 0, 3, rng)?;
    let path = place.file(BOOK);
    let database = Database::open(&path)?;
    let transaction = database.begin_write()?;
    {
        let mut meta = transaction.open_table(META)?;
        let layout = meta.remove("layout")?.map(|layout| layout.value());
        let layout = layout.ok_or_else(|| NotRun("the store says nothing of its layout".to_owned()))?;
        meta.insert("layout", layout + 1)?;
    }
    transaction.commit()?;
    drop(database);
    let later = fs::read(&path)?;
    if careless == Some(Careless::Book) {
        return Ok(Database::open(&path).is_err());
    }
    Ok(says_so(place.book()) && fs::read(&path)? == later)
}

fn key(careless: Option<Careless>, rng: &mut ChaCha20Rng) -> Result<bool, NotRun> {
    let place = Place::new(1)?;
    place.profile.create_identity(None, rng).map_err(not_run)?;
    let path = place.file(KEY);
    let mut later = fs::read(&path)?;
    let version = (0..later.len().min(HEAD_LEN)).find(|at| {
        let mut changed = later.clone();
        changed[*at] = u8::MAX;
        matches!(keyfile::is_locked(&changed), Err(keyfile::KeyFileError::Version(_)))
    });
    let version = version.ok_or_else(|| NotRun("no byte of a key file is its version".to_owned()))?;
    let known = core::mem::replace(&mut later[version], u8::MAX);
    fs::write(&path, &later)?;
    if careless == Some(Careless::Key) {
        later[version] = known;
        return Ok(keyfile::open(&later, None).is_err());
    }
    let refused = place.profile.identity(None).map(drop);
    let said = matches!(&refused, Err(Failure::KeyFile { reason, .. }) if reason.contains("version"));
    Ok(said && fs::read(&path)? == later)
}

fn earlier(careless: Option<Careless>) -> Result<bool, NotRun> {
    let place = Place::new(1)?;
    let broker = p2pchat_proto::BrokerKey([9; 32]);
    let pin = format!("# name, identity\nperson-1 {} {broker} 2026-11-20T10:00:00Z yes\n", peer(1));
    fs::write(place.file("pins"), pin)?;
    fs::write(place.file("people"), format!("{} yes no sister\n{} no yes -\n", peer(1), peer(2)))?;
    fs::write(place.file("known_brokers"), format!("127.0.0.1:7770 {broker}\n"))?;
    if careless == Some(Careless::Earlier) {
        fs::remove_file(place.file("pins"))?;
        fs::remove_file(place.file("people"))?;
    }
    let papers = place.papers().map_err(not_run)?;
    let known = papers.find("sister", None) == Ok(peer(1)) && papers.marks().of(peer(2)).blocked;
    let verified =
        papers.marks().of(peer(1)).verified && papers.brokers().key("127.0.0.1:7770") == Some(broker);
    let gone = ["pins", "people", "known_brokers"].iter().all(|file| !place.file(file).exists());
    Ok(known && verified && gone)
}
