//! A conversation that goes on with another key.

use super::*;

fn succeeded(old: u8, new: u8) -> Write {
    Write::Succeeded { old: peer(old), new: peer(new) }
}

/// A conversation of many pages with one message that waits, and another one.
fn filled(book: &mut Book) -> Vec<KeptMessage> {
    let long = "x".repeat(3000);
    let mut writes = vec![composed(book, 9, 0, "somebody else")];
    for seq in 0..20 {
        writes.push(composed(book, 2, seq, &format!("{seq} {long}")));
        writes.push(arrived(2, seq, &format!("{seq} back {long}")));
        writes.push(held(2, seq + 1));
    }
    writes.extend([handed(book, 2, 19), delivered(book, 2, 19, 5)]);
    apply(book, &writes);
    all(book, 2)
}

/// The same message with the other identity in it.
fn now_with(kept: &KeptMessage, new: u8) -> KeptMessage {
    let MessageId { author, to, .. } = kept.message;
    let other = |id: PeerId| if id == kept.peer { peer(new) } else { id };
    let message = MessageId { author: other(author), to: other(to), ..kept.message };
    KeptMessage { peer: peer(new), message, ..kept.clone() }
}

#[test]
fn all_of_a_conversation_goes_to_the_new_key_with_what_waits_and_nothing_stays_under_the_old_one() {
    let (_directory, path) = home();
    let mut book = open(&path);
    let before = filled(&mut book);
    let (rows, heads) = (book.rows(peer(2)).unwrap(), book.heads().unwrap());
    let other = all(&mut book, 9);
    let day = core::time::Duration::from_secs(86_400);
    book.keep(peer(2), Some(day), &mut rng()).unwrap();
    let last = [arrived(2, 20, "in the same batch"), held(2, 21), succeeded(2, 3)];
    apply(&mut book, &last);
    for round in 0..2 {
        let after = all(&mut book, 3);
        let expected: Vec<KeptMessage> = before.iter().map(|kept| now_with(kept, 3)).collect();
        assert_eq!(after[..before.len()], expected, "round {round}");
        assert_eq!(after.last().map(|kept| kept.text.as_str()), Some("in the same batch"));
        assert!(all(&mut book, 2).is_empty());
        let kept_for = [2, 3].map(|n| book.kept_for(peer(n)).unwrap());
        assert_eq!(kept_for, [None, Some(day)]);
        let moved = book.rows(peer(3)).unwrap();
        assert_eq!((moved.outbox, moved.read, moved.handed), (rows.outbox.clone(), rows.read, 19));
        assert_eq!(moved.held[0].marks.stored, 21);
        assert_eq!(book.heads().unwrap().get(&peer(3)), heads.get(&peer(2)));
        let peers: Vec<PeerId> = book.summaries().unwrap().iter().map(|summary| summary.peer).collect();
        assert_eq!(peers, [peer(3), peer(9)], "where it was");
        assert_eq!(all(&mut book, 9), other);
        drop(book);
        // Said again, as after a crash, it changes nothing.
        book = open(&path);
        apply(&mut book, &[succeeded(2, 3)]);
    }
    let next = composed(&book, 3, 20, "goes on");
    apply(&mut book, &[next, arrived(3, 21, "both ways")]);
    assert_eq!(all(&mut book, 3).len(), before.len() + 3);
}

#[test]
fn a_conversation_never_takes_the_place_of_another_one() {
    let (_directory, path) = home();
    let mut book = open(&path);
    let before = filled(&mut book);
    apply(&mut book, &[succeeded(2, 9), succeeded(7, 8)]);
    assert_eq!((all(&mut book, 2), all(&mut book, 9).len()), (before, 1));
}
