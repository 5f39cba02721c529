//! How long messages are kept.

use core::time::Duration;

use super::*;

const MINUTE: u64 = 60_000;

fn came(from: u8, seq: u64, at: u64, text: &str) -> Write {
    let message = MessageId { author: peer(from), to: me().peer_id(), epoch: THEIRS, seq };
    let (sent_at, arrived_at) = (WallTime(0), WallTime(at));
    Write::Arrived { message, text: text.into(), sent_at, arrived_at, late: false }
}

#[test]
fn what_is_older_than_it_is_kept_goes_but_nothing_of_others_and_nothing_that_waits() {
    let (_directory, path) = home();
    let mut book = open(&path);
    let waits = |book: &Book, to| composed(book, to, 0, "waits");
    let writes = [
        came(2, 0, MINUTE, "old"),
        came(3, 0, MINUTE, "old, of another"),
        came(2, 1, 5 * MINUTE, "newer"),
        waits(&book, 4),
        came(4, 0, MINUTE, "behind what waits"),
    ];
    apply(&mut book, &writes);
    for who in [2, 4] {
        book.keep(peer(who), Some(Duration::from_secs(120)), &mut rng()).unwrap();
    }
    assert_eq!(book.sweep(WallTime(2 * MINUTE), &mut rng()).unwrap(), 0, "not yet");
    drop(book);
    let mut book = open(&path);
    assert_eq!(book.kept_for(peer(2)).unwrap(), Some(Duration::from_secs(120)));
    assert_eq!(book.kept_for(peer(3)).unwrap(), None);
    assert_eq!(book.sweep(WallTime(4 * MINUTE), &mut rng()).unwrap(), 1);
    assert_eq!(texts(&all(&mut book, 2)), ["newer"]);
    assert_eq!(texts(&all(&mut book, 3)), ["old, of another"]);
    assert_eq!(texts(&all(&mut book, 4)), ["waits", "behind what waits"]);
    // For ever again.
    book.keep(peer(2), None, &mut rng()).unwrap();
    assert_eq!(book.sweep(WallTime(u64::MAX), &mut rng()).unwrap(), 0);
    assert_eq!(book.kept_for(peer(2)).unwrap(), None);
}

#[test]
fn how_long_messages_are_kept_and_with_whom_stands_nowhere_in_clear() {
    let (_directory, path) = home();
    let mut book = open(&path);
    book.keep(peer(2), Some(Duration::from_secs(0x1122_3344_5566)), &mut rng()).unwrap();
    drop(book);
    let file = fs::read(&path).unwrap();
    for secret in [&peer(2).0[..], &0x1122_3344_5566_u64.to_be_bytes()[2..], b"retention"] {
        assert!(!file.windows(secret.len()).any(|window| window == secret));
    }
}
