//! Two conversations joined by a session that breaks, over stores that lag and machines that crash.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod pair;

use p2pchat_conversation::{Conversations, Delivery};
use p2pchat_proto::conversation::{DeviceEpoch, IN_FLIGHT_BYTES, IN_FLIGHT_MESSAGES, Sync, Text};
use p2pchat_proto::{PeerId, WallTime};
use proptest::prelude::*;

use pair::{NOW, Node, Pair};

#[derive(Debug, Clone)]
enum Step {
    Compose(usize, usize),
    Connect,
    Break(usize),
    Carry(usize, usize),
    Answer(usize),
    Commit(usize, usize),
    Show(usize),
    Crash(usize),
    Expire(usize),
}

/// As [`step`], where messages expire.
fn expiring_step(crashes: bool) -> impl Strategy<Value = Step> {
    prop_oneof![19 => step(crashes), 1 => (0..2usize).prop_map(Step::Expire)]
}

fn step(crashes: bool) -> impl Strategy<Value = Step> {
    let side = 0..2usize;
    let len = prop_oneof![9 => 0..40usize, 1 => 0..70_000usize];
    prop_oneof![
        30 => (side.clone(), len).prop_map(|(side, len)| Step::Compose(side, len.min(65_536))),
        8 => Just(Step::Connect),
        4 => side.clone().prop_map(Step::Break),
        60 => (side.clone(), 1..20usize).prop_map(|(side, n)| Step::Carry(side, n)),
        20 => side.clone().prop_map(Step::Answer),
        40 => (side.clone(), 1..4usize).prop_map(|(side, n)| Step::Commit(side, n)),
        20 => side.clone().prop_map(Step::Show),
        if crashes { 4 } else { 0 } => side.prop_map(Step::Crash),
    ]
}

fn run(steps: &[Step]) -> Pair {
    let mut pair = Pair::new();
    go_through(&mut pair, steps, "");
    finish(&mut pair);
    pair
}

fn finish(pair: &mut Pair) {
    for side in [0, 1] {
        while pair.nodes[side].answer() {}
    }
    pair.connect();
    pair.settle();
}

fn go_through(pair: &mut Pair, steps: &[Step], phase: &str) {
    for (n, step) in steps.iter().enumerate() {
        match *step {
            Step::Compose(side, len) => {
                let mut text = format!("{phase}{n} ");
                text.extend(std::iter::repeat_n('x', len.saturating_sub(text.len())));
                pair.nodes[side].compose(&text);
            }
            Step::Connect => pair.connect(),
            Step::Break(side) => pair.break_at(side),
            Step::Carry(side, count) => {
                for _ in 0..count {
                    pair.carry(side);
                }
            }
            Step::Answer(side) => drop(pair.nodes[side].answer()),
            Step::Commit(side, count) => drop(pair.nodes[side].commit(count)),
            Step::Show(side) => drop(pair.nodes[side].show()),
            Step::Expire(side) => {
                pair.nodes[side].conversations.expire(NOW);
                pair.nodes[side].drain();
            }
            Step::Crash(side) => {
                pair.break_at(side);
                pair.nodes[side].crash();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn whatever_breaks_every_message_is_shown_once_in_order_and_read(
        steps in proptest::collection::vec(step(false), 0..250),
    ) {
        let pair = run(&steps);
        pair.check_everything_arrived_once_in_order_and_was_read();
        for node in &pair.nodes {
            prop_assert_eq!(node.receipts.len(), node.written.len());
            for states in node.receipts.values() {
                prop_assert!(states.is_sorted_by(|a, b| a < b), "{:?}", states);
                prop_assert!(states.ends_with(&[Delivery::Sent, Delivery::Stored, Delivery::Read]));
            }
        }
    }

    #[test]
    fn whoever_crashes_what_was_stored_arrives_once_in_order_and_is_read(
        steps in proptest::collection::vec(step(true), 0..250),
    ) {
        let pair = run(&steps);
        pair.check_everything_arrived_once_in_order_and_was_read();
        prop_assert!(pair.nodes.iter().all(|node| node.renewals == 0), "taken for one that went back");
    }

    #[test]
    fn what_expires_never_arrives_later_and_everything_else_does_whoever_crashes(
        steps in proptest::collection::vec(expiring_step(true), 0..250),
    ) {
        run(&steps).check_what_was_not_given_up_arrived_once_in_order();
    }

    #[test]
    fn what_expires_is_told_as_failed_once_and_never_as_anything_after_it(
        steps in proptest::collection::vec(expiring_step(false), 0..250),
    ) {
        let pair = run(&steps);
        pair.check_what_was_not_given_up_arrived_once_in_order();
        for node in &pair.nodes {
            prop_assert_eq!(node.receipts.len(), node.written.len());
            for (message, states) in &node.receipts {
                prop_assert!(states.is_sorted_by(|a, b| a < b), "{:?}", states);
                let last = states.last();
                let expected =
                    if node.given_up.contains(message) { Delivery::Failed } else { Delivery::Read };
                prop_assert!(last == Some(&expected), "{:?}", states);
            }
        }
    }

    #[test]
    fn whoever_goes_back_to_a_backup_is_heard_from_then_on_and_hears(
        before in proptest::collection::vec(step(true), 0..60),
        lost in proptest::collection::vec(step(true), 0..80),
        after in proptest::collection::vec(step(true), 0..60),
        back in prop_oneof![Just([true, false]), Just([false, true]), Just([true, true])],
    ) {
        let mut pair = Pair::new();
        go_through(&mut pair, &before, "before ");
        let backups = [0, 1].map(|side| pair.nodes[side].back_up());
        go_through(&mut pair, &lost, "lost ");
        for (side, backup) in backups.into_iter().enumerate().filter(|(side, _)| back[*side]) {
            pair.break_at(side);
            pair.nodes[side].go_back_to(backup);
        }
        go_through(&mut pair, &after, "after ");
        finish(&mut pair);
        // One session finds out, and the next one has nothing left to settle.
        pair.connect();
        pair.settle();
        for side in [0, 1] {
            let (author, reader) = (&pair.nodes[side], &pair.nodes[1 - side]);
            let after = |text: &&String| text.starts_with("after ");
            let written: Vec<_> = author.written.iter().filter(after).collect();
            let arrived: Vec<_> = reader.arrived.iter().map(|(_, text)| text).filter(after).collect();
            prop_assert_eq!(arrived, written, "once each, in order");
            prop_assert_eq!(author.conversations.undelivered(reader.me), 0);
        }
    }
}

#[test]
fn a_message_without_a_session_is_queued_and_then_sent_stored_and_read() {
    let mut pair = Pair::new();
    let message = pair.nodes[0].compose("hello");
    pair.settle();
    assert_eq!(pair.nodes[0].receipts[&message], [Delivery::Queued]);
    assert_eq!(pair.nodes[0].conversations.undelivered(PeerId([2; 32])), 1);
    pair.connect();
    pair.settle();
    let all = [Delivery::Queued, Delivery::Sent, Delivery::Stored, Delivery::Read];
    assert_eq!(pair.nodes[0].receipts[&message], all);
    pair.check_everything_arrived_once_in_order_and_was_read();
}

#[test]
fn what_was_read_in_silence_is_kept_here_and_told_to_nobody_until_that_ends() {
    let mut pair = Pair::new();
    pair.nodes[1].conversations.tell_read(false);
    pair.connect();
    let message = pair.nodes[0].compose("hello");
    pair.settle();
    // Neither by a receipt nor by the next session's sync.
    pair.connect();
    pair.settle();
    assert_eq!(pair.nodes[0].receipts[&message].last(), Some(&Delivery::Stored));
    let held = pair.nodes[1].memory.rows(PeerId([1; 32])).held;
    assert_eq!((held[0].marks.stored, held[0].marks.read), (1, 1), "it is not shown again");
    pair.nodes[1].conversations.tell_read(true);
    let next = pair.nodes[0].compose("and again");
    pair.settle();
    for message in [message, next] {
        assert_eq!(pair.nodes[0].receipts[&message].last(), Some(&Delivery::Read));
    }
}

#[test]
fn nothing_but_the_sync_leaves_before_the_peer_has_said_what_it_holds() {
    let mut pair = Pair::new();
    pair.nodes[0].compose("hello");
    while pair.nodes[0].answer() || pair.nodes[0].commit(1) {}
    pair.connect();
    let kinds: Vec<_> = pair.nodes[0].sent.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, [Sync::KIND]);
}

#[test]
fn a_receipt_waits_for_the_store() {
    let mut pair = Pair::new();
    pair.connect();
    pair.settle();
    pair.nodes[0].compose("hello");
    pair.nodes[0].commit(1);
    assert!(pair.carry(0));
    assert!(pair.nodes[1].sent.is_empty() && pair.nodes[1].unseen.is_empty());
    pair.nodes[1].commit(1);
    assert_eq!((pair.nodes[1].sent.len(), pair.nodes[1].unseen.len()), (1, 1));
}

#[test]
fn no_more_is_in_flight_than_may_be_and_the_rest_says_that_it_waits() {
    let mut pair = Pair::new();
    pair.connect();
    pair.settle();
    let sent = |pair: &Pair| pair.nodes[0].sent.iter().filter(|(kind, _)| *kind == Text::KIND).count();
    let small: Vec<_> = (0..IN_FLIGHT_MESSAGES + 10).map(|n| pair.nodes[0].compose(&n.to_string())).collect();
    while pair.nodes[0].commit(7) {}
    assert_eq!(sent(&pair), IN_FLIGHT_MESSAGES);
    assert_eq!(pair.nodes[0].receipts[&small[IN_FLIGHT_MESSAGES - 1]], [Delivery::Sent]);
    assert_eq!(pair.nodes[0].receipts[&small[IN_FLIGHT_MESSAGES]], [Delivery::Queued]);
    pair.settle();
    for _ in 0..5 {
        pair.nodes[0].compose(&"x".repeat(IN_FLIGHT_BYTES / 2));
    }
    while pair.nodes[0].commit(1) {}
    assert_eq!(sent(&pair), 2);
    pair.settle();
    pair.check_everything_arrived_once_in_order_and_was_read();
}

#[test]
fn what_is_shown_before_the_store_has_answered_is_read_all_the_same() {
    let mut pair = Pair::new();
    pair.connect();
    pair.settle();
    pair.nodes[0].compose("hello");
    while pair.nodes[0].commit(1) || pair.carry(0) || pair.nodes[1].commit(1) {}
    pair.break_at(1);
    pair.nodes[1].crash();
    assert!(pair.nodes[1].show());
    pair.connect();
    pair.settle();
    pair.check_everything_arrived_once_in_order_and_was_read();
}

#[test]
fn a_peer_that_lost_its_store_gets_what_it_had_not_stored_and_nothing_twice() {
    let mut pair = Pair::new();
    pair.connect();
    pair.nodes[0].compose("before");
    pair.nodes[1].compose("from the former life");
    pair.settle();
    pair.break_at(0);
    let kept = pair.nodes[0].compose("while away");
    pair.nodes[1] = Node { epoch: DeviceEpoch(77), ..Node::new(2, 1) };
    pair.nodes[1].conversations = Conversations::new(PeerId([2; 32]), DeviceEpoch(77));
    pair.connect();
    pair.nodes[1].compose("from the new life");
    pair.settle();
    let arrived: Vec<_> = pair.nodes[1].arrived.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(arrived, ["while away"]);
    assert_eq!(pair.nodes[0].receipts[&kept].last(), Some(&Delivery::Read));
    let arrived: Vec<_> = pair.nodes[0].arrived.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(arrived, ["from the former life", "from the new life"]);
}

#[test]
fn what_is_forgotten_while_nobody_is_connected_never_arrives_and_what_is_said_after_it_does() {
    let mut pair = Pair::new();
    let gone = pair.nodes[0].compose("not any more");
    pair.settle();
    pair.nodes[0].conversations.forget(PeerId([2; 32]));
    let kept = pair.nodes[0].compose("but this");
    pair.settle();
    assert_eq!(pair.nodes[0].receipts[&gone], [Delivery::Queued, Delivery::Failed]);
    assert_eq!(pair.nodes[0].conversations.undelivered(PeerId([2; 32])), 1);
    pair.connect();
    pair.settle();
    let arrived: Vec<_> = pair.nodes[1].arrived.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(arrived, ["but this"]);
    assert_eq!(pair.nodes[0].receipts[&kept].last(), Some(&Delivery::Read));
}

#[test]
fn what_expires_while_nobody_is_connected_never_arrives_also_not_after_a_restart() {
    let mut pair = Pair::new();
    pair.connect();
    pair.nodes[0].compose("before");
    pair.settle();
    pair.break_at(0);
    let (gone, kept) = (pair.nodes[0].compose("too late"), pair.nodes[0].compose("later"));
    pair.settle();
    pair.nodes[0].conversations.expire(WallTime(NOW.0 - 1));
    assert_eq!(pair.nodes[0].conversations.oldest_waiting(), Some(NOW), "not yet");
    pair.nodes[0].conversations.expire(NOW);
    pair.nodes[0].drain();
    assert_eq!(pair.nodes[0].receipts[&gone], [Delivery::Queued], "told when it is durable");
    pair.settle();
    for message in [gone, kept] {
        assert_eq!(pair.nodes[0].receipts[&message], [Delivery::Queued, Delivery::Failed]);
    }
    pair.nodes[0].crash();
    let last = pair.nodes[0].compose("and on");
    pair.connect();
    pair.settle();
    let arrived: Vec<_> = pair.nodes[1].arrived.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(arrived, ["before", "and on"]);
    assert_eq!(pair.nodes[0].receipts[&last].last(), Some(&Delivery::Read));
    assert!(!pair.nodes[0].receipts.contains_key(&gone), "nothing more is said of it");
}

#[test]
fn what_is_forgotten_in_a_session_before_it_leaves_is_not_delivered_and_leaves_no_gap() {
    let mut pair = Pair::new();
    pair.connect();
    pair.settle();
    let texts = 0..IN_FLIGHT_MESSAGES + 5;
    let said: Vec<_> = texts.map(|n| pair.nodes[0].compose(&n.to_string())).collect();
    while pair.nodes[0].commit(7) {}
    assert_eq!(pair.nodes[0].conversations.forget(PeerId([2; 32])), IN_FLIGHT_MESSAGES, "on their way");
    pair.nodes[0].drain();
    let next = pair.nodes[0].compose("and on");
    pair.settle();
    let arrived: Vec<_> = pair.nodes[1].arrived.iter().map(|(_, text)| text.clone()).collect();
    let came = (0..IN_FLIGHT_MESSAGES).map(|n| n.to_string()).chain(["and on".to_owned()]);
    assert_eq!(arrived, came.collect::<Vec<_>>());
    assert_eq!(pair.nodes[0].receipts[&said[IN_FLIGHT_MESSAGES]], [Delivery::Queued, Delivery::Failed]);
    assert_eq!(pair.nodes[0].receipts[&next].last(), Some(&Delivery::Read));
    assert_eq!(pair.nodes[0].conversations.undelivered(PeerId([2; 32])), 0);
}

#[test]
fn what_is_forgotten_in_a_session_is_still_delivered_there_and_in_no_later_one() {
    let mut pair = Pair::new();
    pair.connect();
    pair.settle();
    let on_its_way = pair.nodes[0].compose("on its way");
    while pair.nodes[0].answer() || pair.nodes[0].commit(1) {}
    pair.nodes[0].conversations.forget(PeerId([2; 32]));
    pair.settle();
    assert_eq!(pair.nodes[0].receipts[&on_its_way].last(), Some(&Delivery::Read));
    let lost = pair.nodes[0].compose("lost with the session");
    while pair.nodes[0].answer() || pair.nodes[0].commit(1) {}
    pair.nodes[0].conversations.forget(PeerId([2; 32]));
    pair.break_at(0);
    assert_eq!(pair.nodes[0].receipts[&lost].last(), Some(&Delivery::Failed));
    pair.connect();
    pair.nodes[0].compose("and on");
    pair.settle();
    let arrived: Vec<_> = pair.nodes[1].arrived.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(arrived, ["on its way", "and on"]);
}
