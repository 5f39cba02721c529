mod layouts;
mod model;
mod retention;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use p2pchat_conversation::{Marks, Memory, Numbering, Write};
use p2pchat_crypto::{Identity, Seed};
use p2pchat_engine::event::Delivery;
use p2pchat_proto::conversation::{DeviceEpoch, MessageId};
use p2pchat_proto::limits::TEXT_MAX;
use p2pchat_proto::{PeerId, WallTime};
use proptest::prelude::*;
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use redb::{ReadableDatabase, ReadableTable, TableDefinition};

use super::error::StoreError;
use super::{Book, KeptMessage, Look, Newest, Place};

mod succession;

const THEIRS: DeviceEpoch = DeviceEpoch(77);

fn me() -> Arc<Identity> {
    Arc::new(Identity::from_seed(&Seed::from_bytes([1; 32])))
}

fn peer(n: u8) -> PeerId {
    PeerId([n; 32])
}

fn rng() -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(7)
}

fn open_with(path: &Path, mark: u8) -> Result<Book, StoreError> {
    // Another source each time: an epoch is drawn from it.
    let mut rng = ChaCha20Rng::seed_from_u64(u64::from(mark));
    Book::open(path, me(), |_| Ok([mark; 32]), &mut rng)
}

fn open(path: &Path) -> Book {
    open_with(path, 0).unwrap()
}

fn home() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    (directory, path)
}

fn composed(book: &Book, to: u8, seq: u64, text: &str) -> Write {
    let message = MessageId { author: me().peer_id(), to: peer(to), epoch: book.epoch(), seq };
    Write::Composed { to: peer(to), message, text: text.into(), sent_at: WallTime(1000 + seq) }
}

fn arrived(from: u8, seq: u64, text: &str) -> Write {
    let message = MessageId { author: peer(from), to: me().peer_id(), epoch: THEIRS, seq };
    let (sent_at, arrived_at) = (WallTime(2000 + seq), WallTime(3000 + seq));
    Write::Arrived { message, text: text.into(), sent_at, arrived_at, late: false }
}

fn delivered(book: &Book, to: u8, stored: u64, read: u64) -> Write {
    Write::Delivered { to: peer(to), epoch: book.epoch(), marks: Marks { stored, read } }
}

fn handed(book: &Book, to: u8, upto: u64) -> Write {
    Write::Handed { to: peer(to), epoch: book.epoch(), upto }
}

fn held(from: u8, stored: u64) -> Write {
    Write::Held { peer: peer(from), epoch: THEIRS, marks: Marks { stored, read: 0 } }
}

fn apply(book: &mut Book, writes: &[Write]) {
    book.apply(writes, &mut rng()).unwrap();
}

fn texts(kept: &[KeptMessage]) -> Vec<&str> {
    kept.iter().map(|kept| kept.text.as_str()).collect()
}

fn all(book: &mut Book, with: u8) -> Vec<KeptMessage> {
    let mut all = Vec::new();
    book.each(peer(with), |kept| all.push(kept)).unwrap();
    all
}

#[test]
fn what_was_written_is_there_in_its_order_after_opening_again() {
    let (_directory, path) = home();
    let mut book = open(&path);
    let writes = [
        composed(&book, 2, 0, "hello"),
        arrived(2, 0, "hi"),
        held(2, 1),
        handed(&book, 2, 1),
        composed(&book, 2, 1, "how are you"),
    ];
    apply(&mut book, &writes);
    let marks = delivered(&book, 2, 1, 1);
    apply(&mut book, &[marks]);
    drop(book);
    let mut book = open(&path);
    let kept = book.last(peer(2), 10).unwrap();
    assert_eq!(texts(&kept), ["hello", "hi", "how are you"]);
    let states: Vec<_> = kept.iter().map(|kept| kept.state).collect();
    assert_eq!(states, [Some(Delivery::Read), None, Some(Delivery::Queued)]);
    assert_eq!((kept[1].sent_at, kept[1].kept_at), (WallTime(2000), WallTime(3000)));
    assert_eq!((kept[1].message.author, kept[0].message.author), (peer(2), me().peer_id()));
    let rows = book.rows(peer(2)).unwrap();
    assert_eq!(rows.outbox.iter().map(|row| row.seq).collect::<Vec<_>>(), [1]);
    assert_eq!((rows.held.len(), rows.held[0].marks.stored, rows.read, rows.handed), (1, 1, 1, 1));
    assert_eq!(book.heads().unwrap(), numbering(&book, &[(2, 2)]));
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    assert!(matches!(open_with(&path, 0), Err(StoreError::InUse)));
}

#[test]
fn what_is_given_up_fails_for_good_waits_for_nobody_and_keeps_its_text() {
    let (_directory, path) = home();
    let mut book = open(&path);
    let long = "x".repeat(5_000);
    let epoch = book.epoch();
    let writes = [
        composed(&book, 2, 0, "there"),
        delivered(&book, 2, 1, 0),
        composed(&book, 2, 1, &long),
        arrived(2, 0, "hi"),
        composed(&book, 2, 2, "too late"),
        composed(&book, 2, 3, "waits"),
        Write::GivenUp { to: peer(2), epoch, seqs: 1..3 },
    ];
    apply(&mut book, &writes);
    drop(book);
    let mut book = open(&path);
    let kept = all(&mut book, 2);
    assert_eq!(texts(&kept), ["there", &long, "hi", "too late", "waits"]);
    let failed = Some(Delivery::Failed);
    let states: Vec<_> = kept.iter().map(|kept| kept.state).collect();
    assert_eq!(states, [Some(Delivery::Stored), failed, None, failed, Some(Delivery::Queued)]);
    let [summary] = book.summaries().unwrap().try_into().unwrap();
    assert_eq!((summary.messages, summary.waiting, summary.since), (5, 1, Some(WallTime(1003))));
    let rows = book.rows(peer(2)).unwrap().outbox;
    assert_eq!(rows.iter().map(|row| (row.seq, &*row.text)).collect::<Vec<_>>(), [(3, "waits")]);
    // Another epoch leaves it alone, and so it ends before what waits.
    drop(book);
    let mut book = open_with(&path, 1).unwrap();
    let states: Vec<_> = all(&mut book, 2).iter().map(|kept| kept.state).collect();
    assert_eq!(states[1..], [failed, None, failed, Some(Delivery::Queued)]);
    assert_eq!(book.forget_before(peer(2), WallTime(u64::MAX), &mut rng()).unwrap(), 4);
    assert_eq!(texts(&all(&mut book, 2)), ["waits"]);
}

#[test]
fn a_conversation_that_never_was_has_no_rows_and_no_messages() {
    let (_directory, path) = home();
    let mut book = open(&path);
    assert_eq!(book.rows(peer(2)).unwrap(), Default::default());
    assert_eq!(book.last(peer(2), 5).unwrap(), []);
    assert_eq!(book.summaries().unwrap(), []);
}

#[test]
fn the_end_of_a_long_conversation_is_read_backwards_whatever_the_lengths() {
    let (_directory, path) = home();
    let mut book = open(&path);
    let lengths = [0, 1, 3_990, 4_030, 4_031, 20_000, TEXT_MAX, 7];
    let text = |seq: u64| "x".repeat(lengths[usize::try_from(seq).unwrap() % lengths.len()]);
    for start in (0..64).step_by(16) {
        let writes: Vec<_> = (start..start + 16).map(|seq| arrived(2, seq, &text(seq))).collect();
        apply(&mut book, &writes);
    }
    for limit in [1, 2, 7, 63, 64, 100] {
        let kept = book.last(peer(2), limit).unwrap();
        let seqs: Vec<_> = kept.iter().map(|kept| kept.message.seq).collect();
        let first = 64_u64.saturating_sub(limit as u64);
        assert_eq!(seqs, (first..64).collect::<Vec<_>>(), "{limit}");
        assert!(kept.iter().all(|kept| kept.text == text(kept.message.seq)));
    }
}

#[test]
fn a_line_costs_one_page_of_its_conversation_and_equal_pages_fill_the_file() {
    let (_directory, path) = home();
    let mut book = open(&path);
    let size = |path: &Path| fs::metadata(path).unwrap().len();
    for batch in 0..50 {
        let writes: Vec<_> = (0..200).map(|n| arrived(2, batch * 200 + n, &"y".repeat(80))).collect();
        apply(&mut book, &writes);
    }
    drop(book);
    // 10,000 entries of 126 bytes with their lengths; redb grows its file by doubling, and keeps what the
    // last transactions freed.
    let content = 10_000 * 126;
    assert!(size(&path) < 3 * content, "{} bytes for {content}", size(&path));
}

/// What the next messages of the installation's epoch are called by.
fn numbering(book: &Book, heads: &[(u8, u64)]) -> BTreeMap<PeerId, Numbering> {
    let epoch = book.epoch();
    heads.iter().map(|&(who, next)| (peer(who), Numbering { epoch, next })).collect()
}

#[test]
fn a_copy_made_while_it_was_open_as_after_a_crash_has_every_commit() {
    let (directory, path) = home();
    let mut book = open(&path);
    for seq in 0..40 {
        let write = composed(&book, 2, seq, "a line");
        apply(&mut book, &[write]);
        let copy = directory.path().join(format!("crash-{seq}"));
        fs::copy(&path, &copy).unwrap();
        assert_eq!(open(&copy).heads().unwrap(), numbering(&book, &[(2, seq + 1)]));
    }
}

#[test]
fn under_another_mark_a_new_epoch_begins_and_what_waits_gets_its_numbers() {
    let (_directory, path) = home();
    let mut book = open(&path);
    let first = book.epoch();
    let writes = [
        composed(&book, 2, 0, "stored"),
        delivered(&book, 2, 1, 0),
        composed(&book, 2, 1, &"waits ".repeat(1000)),
        arrived(2, 0, "between"),
        composed(&book, 2, 2, "waits too"),
        handed(&book, 2, 3),
        arrived(3, 0, "another"),
    ];
    apply(&mut book, &writes);
    drop(book);
    let mut book = open_with(&path, 1).unwrap();
    assert_ne!(book.epoch(), first);
    assert_eq!(book.heads().unwrap(), numbering(&book, &[(2, 2)]));
    let rows = book.rows(peer(2)).unwrap();
    let waiting: Vec<_> = rows.outbox.iter().map(|row| (row.seq, row.text.len())).collect();
    assert_eq!((waiting, rows.handed), (vec![(0, 6000), (1, 9)], 0), "under their new numbers none has left");
    let kept = all(&mut book, 2);
    let ids: Vec<_> = kept.iter().map(|kept| (kept.message.epoch, kept.message.seq, kept.mine)).collect();
    let second = book.epoch();
    assert_eq!(ids, [(first, 0, true), (second, 0, true), (THEIRS, 0, false), (second, 1, true)]);
    assert_eq!(kept[0].state, Some(Delivery::Stored));
    drop(book);
    assert_eq!(open_with(&path, 1).unwrap().epoch(), second, "known from now on");
}

#[test]
fn a_file_that_is_no_store_is_refused_and_left_as_it_is() {
    let (_directory, path) = home();
    for content in [&b""[..], b"hello", &[0; 4096], &[0xff; 100_000]] {
        fs::write(&path, content).unwrap();
        assert!(matches!(open_with(&path, 0), Err(StoreError::Damaged)), "{} bytes", content.len());
        assert_eq!(fs::read(&path).unwrap(), content);
    }
}

#[test]
fn the_store_of_another_identity_is_damage_and_not_an_empty_one() {
    let (_directory, path) = home();
    drop(open(&path));
    let other = Arc::new(Identity::from_seed(&Seed::from_bytes([2; 32])));
    let mut book = Book::open(&path, other, |_| Ok([0; 32]), &mut rng());
    assert!(matches!(book.as_mut().map(|book| book.rows(peer(2)).map(drop)), Err(StoreError::NotOurs)));
}

#[test]
fn a_byte_flipped_anywhere_gives_an_error_or_the_right_answer() {
    let (_directory, path) = home();
    let mut book = open(&path);
    let writes: Vec<_> = (0..300)
        .flat_map(|seq| [arrived(2, seq, &format!("line {seq}")), composed(&book, 3, seq, &"z".repeat(100))])
        .collect();
    apply(&mut book, &writes);
    let right = (all(&mut book, 2), all(&mut book, 3), book.rows(peer(3)).unwrap());
    drop(book);
    let good = fs::read(&path).unwrap();
    let (mut errors, mut answers) = (0, 0);
    for n in 0..1000_usize {
        let at = n.wrapping_mul(0x9e37_79b9) % good.len();
        let mut bad = good.clone();
        bad[at] ^= 1 << (n % 8);
        fs::write(&path, &bad).unwrap();
        let Ok(mut book) = open_with(&path, 0) else {
            assert_eq!(fs::read(&path).unwrap(), bad, "byte {at}: a file that is refused stays as it was");
            errors += 1;
            continue;
        };
        let mut read = || {
            let mut two = Vec::new();
            book.each(peer(2), |kept| two.push(kept))?;
            let mut three = Vec::new();
            book.each(peer(3), |kept| three.push(kept))?;
            Ok::<_, StoreError>((two, three, book.rows(peer(3))?))
        };
        match read() {
            Ok(read) => {
                assert_eq!(read, right, "byte {at}");
                answers += 1;
            }
            Err(_) => errors += 1,
        }
    }
    assert!(errors > 50 && answers > 50, "{errors} errors, {answers} answers");
}

#[test]
fn nothing_that_was_written_stands_in_the_file() {
    let (_directory, path) = home();
    let mut book = open(&path);
    let writes = [composed(&book, 2, 0, "a very secret text"), arrived(3, 0, "another secret text")];
    apply(&mut book, &writes);
    drop(book);
    let file = fs::read(&path).unwrap();
    let secrets: [&[u8]; 4] = [b"secret text", &[2; 16], &[3; 16], &me().peer_id().0[..16]];
    for secret in secrets {
        assert!(!file.windows(secret.len()).any(|at| at == secret), "{secret:?}");
    }
}

#[test]
fn how_many_conversations_there_are_cannot_be_told_from_how_long_they_are() {
    let pages = |plan: &[(u8, u64)]| {
        let (_directory, path) = home();
        let mut book = open(&path);
        for &(who, count) in plan {
            let writes: Vec<_> = (0..count).map(|seq| arrived(who, seq, &"x".repeat(954))).collect();
            apply(&mut book, &writes);
        }
        drop(book);
        super::file::page_count(&path)
    };
    // 1,000 bytes an entry, and 4,030 of the stream in a page: one conversation of 3 pages has as many
    // pages with its head as two of one page.
    assert_eq!(pages(&[(2, 12)]), pages(&[(2, 4), (3, 4)]));
}

#[test]
fn words_are_found_in_any_case_and_order_and_the_newest_of_them_count() {
    let (_directory, path) = home();
    let mut book = open(&path);
    let writes = [
        arrived(2, 0, "Dinner at eight?"),
        composed(&book, 2, 0, "EIGHT is fine for dinner"),
        arrived(2, 1, "good"),
        arrived(3, 0, "dinner at eight, too"),
    ];
    apply(&mut book, &writes);
    let found = |book: &mut Book, with, limit| {
        let words = ["eight", "DINNER"].map(str::to_owned).to_vec();
        let found = book.newest(&Look { peer: peer(with), words, limit, place: Place::End }).unwrap();
        found.into_iter().map(|kept| kept.text).collect::<Vec<_>>()
    };
    assert_eq!(found(&mut book, 2, 9), ["Dinner at eight?", "EIGHT is fine for dinner"]);
    assert_eq!(found(&mut book, 2, 1), ["EIGHT is fine for dinner"]);
    assert_eq!(found(&mut book, 3, 9).len(), 1);
    assert_eq!(found(&mut book, 4, 9), [""; 0]);
}

#[test]
fn piece_by_piece_either_way_a_conversation_is_whole_whatever_the_lengths() {
    /// Two of the longest messages: what one answer may have beside a few short ones.
    const ANSWER_MAX: usize = 2 * TEXT_MAX;
    let (_directory, path) = home();
    let mut book = open(&path);
    let lengths = [0, 1, 3_990, 4_030, 4_031, 20_000, TEXT_MAX, 7, 40];
    let text = |seq: u64| "x".repeat(lengths[usize::try_from(seq).unwrap() % lengths.len()]);
    let writes: Vec<_> = (0..90).map(|seq| arrived(2, seq, &text(seq))).collect();
    apply(&mut book, &writes);
    for start in [Place::From(0), Place::End] {
        let mut look = Look { peer: peer(2), words: Vec::new(), limit: 5, place: start };
        let mut seqs = Vec::new();
        loop {
            let found = book.look(&look).unwrap();
            assert!(found.messages.iter().map(|kept| kept.text.len()).sum::<usize>() <= ANSWER_MAX);
            let these: Vec<_> = found.messages.iter().map(|kept| kept.message.seq).collect();
            seqs = match start {
                Place::From(_) => [seqs, these].concat(),
                Place::End | Place::Before(_) => [these, seqs].concat(),
            };
            let Some(next) = found.next else { break };
            look = look.going_on(next);
        }
        assert_eq!(seqs, (0..90).collect::<Vec<_>>(), "{start:?}");
    }
    let few = Look { peer: peer(2), words: Vec::new(), limit: 3, place: Place::End };
    assert_eq!(book.newest(&few).unwrap(), book.last(peer(2), 3).unwrap());
    assert_eq!(Newest::new(9).within(0).take(book.last(peer(2), 3).unwrap(), Some(1)), None);
}

#[test]
fn no_number_that_somebody_names_leads_into_the_middle_of_a_message() {
    let (_directory, path) = home();
    let mut book = open(&path);
    let writes: Vec<_> = (0..40).map(|seq| arrived(2, seq, &"y".repeat(5_000))).collect();
    apply(&mut book, &writes);
    for number in (0..60).chain([u64::MAX / 4_030, u64::MAX - 1, u64::MAX]) {
        for place in [Place::From(number), Place::Before(number)] {
            let look = Look { peer: peer(2), words: vec!["Y".to_owned()], limit: usize::MAX, place };
            let found = book.look(&look).unwrap();
            assert!(found.messages.iter().all(|kept| kept.text.len() == 5_000), "{place:?}");
        }
    }
}

#[test]
fn what_is_forgotten_is_gone_from_the_file_and_neither_number_nor_message_comes_again() {
    let (_directory, path) = home();
    let mut book = open(&path);
    let long = "x".repeat(4000);
    let writes: Vec<_> = (0..500).map(|seq| arrived(2, seq, &long)).collect();
    apply(&mut book, &writes);
    let more = [held(2, 500), composed(&book, 2, 0, "waits"), arrived(3, 0, "stays")];
    apply(&mut book, &more);
    let before = fs::metadata(&path).unwrap().len();
    assert_eq!(book.forget(peer(2), &mut rng()).unwrap(), 501);
    assert_eq!(all(&mut book, 2), []);
    assert_eq!(texts(&all(&mut book, 3)), ["stays"]);
    assert_eq!(book.heads().unwrap()[&peer(2)].next, 1);
    assert_eq!(book.rows(peer(2)).unwrap().held[0].marks.stored, 500);
    assert_eq!(book.rows(peer(2)).unwrap().handed, 1, "the other side hears that its number is given up");
    let again = composed(&book, 2, 1, "new");
    apply(&mut book, &[again]);
    assert_eq!(texts(&all(&mut book, 2)), ["new"]);
    drop(book);
    assert!(fs::metadata(&path).unwrap().len() < before / 4);
    assert_eq!(texts(&all(&mut open(&path), 2)), ["new"]);
    assert_eq!(open(&path).forget(peer(9), &mut rng()).unwrap(), 0);
}

type RawPages = TableDefinition<'static, &'static [u8; 16], &'static [u8; 4_074]>;
const RAW: RawPages = TableDefinition::new("pages");

/// All pages as they lie in a file.
fn raw(path: &Path) -> BTreeMap<[u8; 16], [u8; 4_074]> {
    let database = redb::Database::open(path).unwrap();
    let table = database.begin_read().unwrap().open_table(RAW).unwrap();
    table.iter().unwrap().map(|row| row.unwrap()).map(|(name, page)| (*name.value(), *page.value())).collect()
}

#[test]
fn a_page_of_an_older_copy_or_one_left_out_is_damage_whichever_it_is() {
    let (directory, path) = home();
    let mut book = open(&path);
    apply(&mut book, &[arrived(2, 0, "first"), arrived(3, 0, "first")]);
    drop(book);
    let older = raw(&path);
    let mut book = open(&path);
    apply(&mut book, &[arrived(2, 1, "second"), arrived(3, 1, "second"), arrived(4, 0, "third")]);
    drop(book);
    let (good, now) = (fs::read(&path).unwrap(), raw(&path));
    let mut tried = 0;
    for name in now.keys() {
        for instead in [older.get(name), None] {
            if instead == now.get(name) {
                continue;
            }
            let tampered = directory.path().join("tampered");
            fs::write(&tampered, &good).unwrap();
            let database = redb::Database::open(&tampered).unwrap();
            let transaction = database.begin_write().unwrap();
            {
                let mut table = transaction.open_table(RAW).unwrap();
                match instead {
                    Some(page) => drop(table.insert(name, page).unwrap()),
                    None => drop(table.remove(name).unwrap()),
                }
            }
            transaction.commit().unwrap();
            drop(database);
            let seen = open_with(&tampered, 0).map(drop);
            assert!(matches!(seen, Err(StoreError::Damaged | StoreError::NotOurs)), "{seen:?}");
            tried += 1;
        }
    }
    assert!(tried > now.len(), "{tried} of {} pages", now.len());
    assert_eq!(all(&mut open(&path), 2).len(), 2);
}

#[test]
fn what_is_older_goes_and_what_waits_and_came_later_stays() {
    let (_directory, path) = home();
    let mut book = open(&path);
    let long = "x".repeat(700);
    let writes: Vec<_> = (0..300).map(|seq| arrived(2, seq, &format!("{seq} {long}"))).collect();
    apply(&mut book, &writes);
    apply(&mut book, &[held(2, 300), arrived(3, 0, "another")]);
    let before = fs::metadata(&path).unwrap().len();
    // Messages were kept at 3000 and the milliseconds after.
    let forget = |book: &mut Book, at| book.forget_before(peer(2), WallTime(at), &mut rng()).unwrap();
    assert_eq!(forget(&mut book, 3000), 0);
    for (at, removed) in [(3001, 1), (3250, 249), (3250, 0), (3251, 1)] {
        assert_eq!(forget(&mut book, at), removed, "{at}");
        let seqs: Vec<_> = all(&mut book, 2).iter().map(|kept| kept.message.seq).collect();
        assert_eq!(seqs, (at.max(3000) - 3000..300).collect::<Vec<_>>());
    }
    assert!(fs::metadata(&path).unwrap().len() < before / 2);
    let look = Look { peer: peer(2), words: Vec::new(), limit: 1000, place: Place::End };
    assert_eq!(book.newest(&look).unwrap(), all(&mut book, 2));
    assert_eq!(book.summaries().unwrap()[0].messages, 49);

    let waits = [composed(&book, 2, 0, "waits"), arrived(2, 300, "and then")];
    apply(&mut book, &waits);
    assert_eq!(forget(&mut book, u64::MAX), 49);
    assert_eq!(texts(&all(&mut book, 2)), ["waits", "and then"]);
    assert_eq!(book.rows(peer(2)).unwrap().outbox.len(), 1);
    let stored = delivered(&book, 2, 1, 1);
    apply(&mut book, &[stored]);
    assert_eq!(forget(&mut book, u64::MAX), 2);
    assert_eq!(all(&mut book, 2), []);
    apply(&mut book, &[arrived(2, 301, "anew")]);
    drop(book);
    let mut book = open(&path);
    assert_eq!(texts(&all(&mut book, 2)), ["anew"]);
    assert_eq!(book.rows(peer(2)).unwrap().held[0].marks.stored, 300);
    assert_eq!(texts(&all(&mut book, 3)), ["another"]);
}
