//! Authors that go back to an older state of their store at any moment, and may crash before they are found out.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[allow(dead_code, reason = "each test crate uses a part of it")]
mod pair;

use std::collections::BTreeMap;

use p2pchat_conversation::{Delivery, Write};
use p2pchat_proto::PeerId;
use p2pchat_proto::conversation::{Sync, Text};
use proptest::prelude::*;

use pair::{Backup, NOW, Node, Pair};

const AUTHOR: PeerId = PeerId([1; 32]);
const READER: PeerId = PeerId([2; 32]);

/// What the second node has from the first, in its order.
fn heard(pair: &Pair) -> Vec<&str> {
    pair.nodes[1].arrived.iter().map(|(_, text)| text.as_str()).collect()
}

/// How far the first node's store says that its messages may have left.
fn marked(pair: &Pair) -> u64 {
    pair.nodes[0].memory.rows(READER).handed
}

/// Commits everything of the author's, and carries nothing.
fn keep(pair: &mut Pair) -> Vec<usize> {
    core::iter::from_fn(|| {
        let writes = pair.nodes[0].commits.front()?.1.len();
        pair.nodes[0].commit(1).then_some(writes)
    })
    .collect()
}

fn texts_sent(node: &Node) -> usize {
    node.sent.iter().filter(|(kind, _)| *kind == Text::KIND).count()
}

#[test]
fn what_is_written_after_going_back_arrives_though_a_restart_comes_before_the_meeting() {
    let mut pair = Pair::new();
    pair.connect();
    pair.nodes[0].compose("before");
    pair.settle();
    pair.break_at(0);
    let waits = pair.nodes[0].compose("waits");
    pair.settle();
    let backup = pair.nodes[0].back_up();
    pair.connect();
    pair.nodes[0].compose("lost");
    pair.nodes[0].compose("lost, too");
    pair.settle();
    pair.break_at(0);
    pair.nodes[0].go_back_to(backup);
    pair.nodes[0].compose("after");
    pair.nodes[0].compose("after, too");
    pair.settle();
    pair.nodes[0].crash();
    pair.connect();
    pair.settle();
    assert_eq!(heard(&pair), ["before", "waits", "lost", "lost, too", "waits", "after", "after, too"]);
    assert_eq!(pair.nodes[1].arrived[1].0, waits, "again under another number: it waited in the backup");
    assert_eq!((pair.nodes[0].conversations.undelivered(READER), pair.nodes[0].renewals), (0, 1));
}

#[test]
fn each_message_that_gets_another_number_says_which_and_goes_on_under_it() {
    let mut pair = Pair::new();
    pair.connect();
    pair.settle();
    let backup = pair.nodes[0].back_up();
    pair.nodes[0].compose("lost");
    pair.settle();
    pair.break_at(0);
    pair.nodes[0].go_back_to(backup);
    let mut taken = vec![pair.nodes[0].compose("durable"), pair.nodes[0].compose("durable, too")];
    pair.nodes[0].answer();
    keep(&mut pair);
    pair.connect();
    // The store is slow: this one is not durable when its number turns out to be taken.
    taken.push(pair.nodes[0].compose("not yet"));
    while pair.carry(0) | pair.carry(1) {}
    assert_eq!(pair.nodes[0].renewals, 1);
    pair.settle();
    let (was, now): (Vec<_>, Vec<_>) = pair.nodes[0].renamed.iter().copied().unzip();
    assert_eq!(was, taken);
    let arrived: Vec<_> = pair.nodes[1].arrived[1..].iter().map(|(message, _)| *message).collect();
    assert_eq!(now, arrived, "as the other side calls them");
    for message in now {
        assert_eq!(pair.nodes[0].receipts[&message].last(), Some(&Delivery::Read));
    }
}

#[test]
fn a_line_typed_in_a_session_costs_one_commit_and_lines_that_wait_one_more_for_all_of_them() {
    let mut pair = Pair::new();
    for text in ["waits", "waits, too"] {
        pair.nodes[0].compose(text);
    }
    pair.nodes[0].answer();
    assert_eq!((keep(&mut pair).len(), marked(&pair)), (2, 0));
    pair.connect();
    while pair.carry(0) | pair.nodes[1].answer() | pair.carry(1) {}
    // That both agree is known here, and nothing leaves before that is kept.
    assert_eq!((pair.nodes[0].commits.len(), texts_sent(&pair.nodes[0])), (1, 0));
    assert_eq!((keep(&mut pair).len(), marked(&pair), texts_sent(&pair.nodes[0])), (1, 2, 2));
    pair.settle();
    let typed = pair.nodes[0].compose("typed");
    assert_eq!((keep(&mut pair).len(), marked(&pair), texts_sent(&pair.nodes[0])), (1, 3, 1));
    pair.settle();
    let states = [Delivery::Sent, Delivery::Stored, Delivery::Read];
    assert_eq!(pair.nodes[0].receipts[&typed], states);
    // Nothing waits, so the next session costs nothing.
    pair.connect();
    while pair.carry(0) | pair.carry(1) {}
    assert_eq!(pair.nodes[0].commits.len(), 0);
    pair.check_everything_arrived_once_in_order_and_was_read();
}

#[test]
fn lines_of_one_batch_are_marked_together_behind_all_of_them() {
    let mut pair = Pair::new();
    pair.connect();
    pair.settle();
    for text in ["one", "two", "three"] {
        pair.nodes[0].conversations.compose(READER, text.to_owned(), NOW).unwrap();
    }
    pair.nodes[0].drain();
    let (_, writes) = pair.nodes[0].commits.front().unwrap();
    assert!(matches!(
        writes[..],
        [
            Write::Composed { .. },
            Write::Composed { .. },
            Write::Composed { .. },
            Write::Handed { upto: 3, .. }
        ]
    ));
    assert_eq!((keep(&mut pair).len(), texts_sent(&pair.nodes[0])), (1, 3));
}

#[test]
fn a_crash_between_the_mark_and_the_handing_over_is_no_going_back() {
    let mut pair = Pair::new();
    pair.nodes[0].compose("waits");
    pair.nodes[0].answer();
    keep(&mut pair);
    pair.connect();
    while pair.carry(0) | pair.nodes[1].answer() | pair.carry(1) {}
    keep(&mut pair);
    assert_eq!((marked(&pair), texts_sent(&pair.nodes[0])), (1, 1));
    pair.break_at(0);
    pair.nodes[0].crash();
    pair.connect();
    pair.settle();
    assert_eq!((heard(&pair), pair.nodes[0].renewals), (vec!["waits"], 0));
}

#[test]
fn what_is_written_before_both_have_said_what_they_hold_is_not_marked_by_its_own_commit() {
    let mut pair = Pair::new();
    pair.connect();
    while pair.nodes[0].answer() {}
    assert_eq!(pair.nodes[0].sent.front().map(|(kind, _)| *kind), Some(Sync::KIND));
    pair.nodes[0].compose("too early");
    assert_eq!((keep(&mut pair), marked(&pair)), (vec![1], 0));
    pair.settle();
    assert_eq!((heard(&pair), marked(&pair)), (vec!["too early"], 1));
}

#[test]
fn numbers_that_were_forgotten_are_known_to_the_store_before_the_other_side_hears_where_the_rest_begins() {
    let mut pair = Pair::new();
    pair.nodes[0].compose("not any more");
    pair.settle();
    pair.nodes[0].conversations.forget(READER);
    pair.nodes[0].drain();
    pair.nodes[0].session_up();
    assert_eq!((marked(&pair), pair.nodes[0].sent.len()), (0, 0));
    keep(&mut pair);
    assert_eq!((marked(&pair), pair.nodes[0].sent.len()), (1, 1));
    pair.connect();
    pair.settle();
    // It holds the number from now on. This store was not told to forget the message, as in a crash before.
    pair.nodes[0].crash();
    pair.nodes[0].compose("but this");
    pair.connect();
    pair.settle();
    assert_eq!((heard(&pair), pair.nodes[0].renewals), (vec!["but this"], 0));
}

#[derive(Debug, Clone)]
enum Step {
    Compose(usize),
    Connect,
    Break(usize),
    Carry(usize, usize),
    Answer(usize),
    Commit(usize, usize),
    Show(usize),
    Crash(usize),
    BackUp,
    /// To one of the backups that there are.
    GoBack(usize),
    Expire,
    Forget,
}

fn step() -> impl Strategy<Value = Step> {
    let side = 0..2usize;
    prop_oneof![
        30 => side.clone().prop_map(Step::Compose),
        8 => Just(Step::Connect),
        4 => side.clone().prop_map(Step::Break),
        60 => (side.clone(), 1..20usize).prop_map(|(side, n)| Step::Carry(side, n)),
        20 => side.clone().prop_map(Step::Answer),
        40 => (side.clone(), 1..4usize).prop_map(|(side, n)| Step::Commit(side, n)),
        10 => side.clone().prop_map(Step::Show),
        5 => side.prop_map(Step::Crash),
    ]
}

fn step_that_goes_back() -> impl Strategy<Value = Step> {
    prop_oneof![
        30 => step(),
        1 => Just(Step::BackUp),
        1 => (0..4usize).prop_map(Step::GoBack),
    ]
}

fn step_that_gives_up() -> impl Strategy<Value = Step> {
    prop_oneof![20 => step(), 1 => Just(Step::Expire), 1 => Just(Step::Forget)]
}

/// What a plan did.
#[derive(Default)]
struct Course {
    /// Of the line on which the author is: none of one that it left by going back.
    backups: Vec<Backup>,
    /// How often a text waited in the state to which the author went back.
    went_back_waiting: BTreeMap<String, usize>,
    /// Steps until the author went back for the last time.
    last: usize,
}

fn go_through(pair: &mut Pair, steps: &[Step]) -> Course {
    let mut course = Course::default();
    for (n, step) in steps.iter().enumerate() {
        match *step {
            Step::Compose(side) => drop(pair.nodes[side].compose(&format!("{n}"))),
            Step::Connect => pair.connect(),
            Step::Break(side) => pair.break_at(side),
            Step::Carry(side, count) => drop((0..count).take_while(|_| pair.carry(side)).count()),
            Step::Answer(side) => drop(pair.nodes[side].answer()),
            Step::Commit(side, count) => drop(pair.nodes[side].commit(count)),
            Step::Show(side) => drop(pair.nodes[side].show()),
            Step::Crash(side) => {
                pair.break_at(side);
                pair.nodes[side].crash();
            }
            Step::BackUp => course.backups.push(pair.nodes[0].back_up()),
            Step::GoBack(which) => {
                course.backups.truncate(which + 1);
                let Some(backup) = course.backups.last().cloned() else { continue };
                for row in backup.memory.rows(READER).outbox {
                    *course.went_back_waiting.entry(row.text.to_string()).or_default() += 1;
                }
                course.last = n;
                pair.break_at(0);
                pair.nodes[0].go_back_to(backup);
            }
            Step::Expire => {
                pair.nodes[0].conversations.expire(NOW);
                pair.nodes[0].drain();
            }
            Step::Forget => {
                pair.nodes[0].conversations.forget(READER);
                pair.nodes[0].drain();
            }
        }
    }
    for side in [0, 1] {
        while pair.nodes[side].answer() {}
    }
    for _ in 0..2 {
        pair.connect();
        pair.settle();
    }
    course
}

/// The texts of steps from `n` on.
fn since<'t>(n: usize, texts: impl Iterator<Item = &'t String>) -> Vec<&'t String> {
    texts.filter(|text| text.parse::<usize>().unwrap() >= n).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn whenever_an_author_goes_back_and_crashes_all_that_it_knows_of_arrives_and_twice_only_what_waited_then(
        steps in proptest::collection::vec(step_that_goes_back(), 0..250),
    ) {
        let mut pair = Pair::new();
        let course = go_through(&mut pair, &steps);
        let mut times: BTreeMap<&str, usize> = BTreeMap::new();
        for text in heard(&pair) {
            *times.entry(text).or_default() += 1;
        }
        for text in &pair.nodes[0].written {
            prop_assert!(times.contains_key(text.as_str()), "{} is lost", text);
        }
        for (text, times) in times {
            let again = course.went_back_waiting.get(text).copied().unwrap_or_default();
            prop_assert!(times <= 1 + again, "{} came {} times and waited {}", text, times, again);
        }
        for (author, reader) in [(0, 1), (1, 0)] {
            let written = since(course.last, pair.nodes[author].written.iter());
            let arrived = since(course.last, pair.nodes[reader].arrived.iter().map(|(_, text)| text));
            prop_assert_eq!(arrived, written, "once each, in order");
        }
        prop_assert_eq!(pair.nodes[0].conversations.undelivered(READER), 0);
        prop_assert_eq!(pair.nodes[1].conversations.undelivered(AUTHOR), 0);
    }

    #[test]
    fn whoever_crashes_and_gives_up_is_never_taken_for_one_that_went_back(
        steps in proptest::collection::vec(step_that_gives_up(), 0..250),
    ) {
        let mut pair = Pair::new();
        go_through(&mut pair, &steps);
        prop_assert!(pair.nodes.iter().all(|node| node.renewals == 0));
        prop_assert_eq!(pair.nodes[0].conversations.undelivered(READER), 0);
    }
}
