//! Stores of former layouts.

use p2pchat_proto::PeerId;
use p2pchat_proto::kept::{FormerHead, FormerInstallation, Head};

use super::super::file::{Layout, say_former_layout};
use super::super::pages::{Keys, PAGES, Pages, Thing};
use super::*;

/// As the first two layouts had it.
fn former(head: Head) -> FormerHead {
    let Head { peer, epoch, next, sent, held, log_start, log_end, outbox_start, messages, .. } = head;
    FormerHead { peer, epoch, next, sent, held, log_start, log_end, outbox_start, messages }
}

/// Makes a store one of a former layout, with the heads of the conversations with `peers`.
fn take_back(path: &Path, layout: Layout, peers: &[PeerId], epoch: DeviceEpoch) {
    let keys = Keys::new(me());
    say_former_layout(path, layout, |transaction| {
        let mut pages = Pages::new(transaction.open_table(PAGES).unwrap(), &keys);
        for peer in peers {
            let thing = Thing::Head(*peer);
            let head = former(pages.whole(thing).unwrap().unwrap());
            pages.put_whole(thing, &head, &mut rng()).unwrap();
        }
        pages.settle(&mut rng()).unwrap();
        if layout == Layout::First {
            let former = FormerInstallation { epoch, mark: [0; 32] };
            pages.put_whole(Thing::Installation, &former, &mut rng()).unwrap();
        }
    });
}

#[test]
fn a_store_of_a_former_layout_is_taken_over_whole_and_any_message_of_it_may_have_left() {
    for layout in [Layout::First, Layout::Second] {
        let (_directory, path) = home();
        let mut book = open(&path);
        let writes =
            [arrived(2, 0, "before"), composed(&book, 3, 0, "and this"), composed(&book, 3, 1, "waits")];
        apply(&mut book, &writes);
        let stored = [handed(&book, 3, 1), delivered(&book, 3, 1, 0)];
        apply(&mut book, &stored);
        let epoch = book.epoch();
        drop(book);
        take_back(&path, layout, &[peer(2), peer(3)], epoch);
        let mut book = open(&path);
        assert_eq!((book.epoch(), all(&mut book, 2).len(), all(&mut book, 3).len()), (epoch, 1, 2));
        let rows = book.rows(peer(3)).unwrap();
        assert_eq!((rows.outbox.len(), rows.handed, book.rows(peer(2)).unwrap().handed), (1, 2, 0));
        let writes = [arrived(2, 1, "after"), composed(&book, 3, 2, "waits, too")];
        apply(&mut book, &writes);
        drop(book);
        let now = raw(&path);
        let mut book = open(&path);
        assert_eq!(texts(&all(&mut book, 2)), ["before", "after"]);
        let rows = book.rows(peer(3)).unwrap();
        assert_eq!((rows.outbox.len(), rows.handed), (2, 2));
        drop(book);
        assert_eq!(raw(&path), now, "it is taken over once");
        // What is in the present layout cannot be passed off as one of a former.
        say_former_layout(&path, layout, |_| {});
        assert!(matches!(open_with(&path, 0).map(drop), Err(StoreError::Damaged)), "{layout:?}");
        assert_eq!(raw(&path), now, "and stays as it is");
    }
}

#[test]
fn a_conversation_of_a_former_layout_goes_on_in_a_copy_under_another_mark_where_nothing_has_left() {
    let (_directory, path) = home();
    let mut book = open(&path);
    let writes = [composed(&book, 3, 0, "waits")];
    apply(&mut book, &writes);
    let epoch = book.epoch();
    drop(book);
    take_back(&path, Layout::Second, &[peer(3)], epoch);
    let mut book = open_with(&path, 1).unwrap();
    let rows = book.rows(peer(3)).unwrap();
    assert_eq!((rows.outbox.len(), rows.handed), (1, 0));
    assert_ne!(book.epoch(), epoch);
}
