//! Any order of events, kind ones and hostile ones.

use core::time::Duration;

use p2pchat_proto::broker::Reason;
use p2pchat_proto::transfer::{
    Attempt, CarrierTerms, Entries, FileCandidates, FileCarrier, FileDone, FileVerified, Held, SecretBytes,
    TcpCandidates,
};
use proptest::prelude::*;

use super::super::*;
use super::pair::{ALICE, HASH, Pair, Side, done, hostile_offer};
use crate::carrier::{CarrierFault, CarrierLoss, CarrierReport};

/// Any body, of transfers that exist and of some that do not.
fn any_body() -> impl Strategy<Value = (u8, u64, u32)> {
    (0u8..10, 0u64..7, 0u32..4)
}

fn body_of(id: TransferId, (kind, number, attempt): (u8, u64, u32)) -> TransferBody {
    let terms = || CarrierTerms {
        attempt: Attempt(attempt),
        have: Held::Prefix(number),
        secret: SecretBytes::new([number as u8; 32]),
    };
    let transfer = if number == 6 { TransferId([9; 16]) } else { id };
    match kind {
        0 => hostile_offer(transfer).into(),
        1 => FileAnswer { transfer, answer: OfferAnswer::Accept { entries: Entries::All, carrier: terms() } }
            .into(),
        2 => {
            let why = DeclineReason::Person(Reason::new("no"));
            FileAnswer { transfer, answer: OfferAnswer::Decline { why } }.into()
        }
        3 => FileCandidates { transfer, attempt: Attempt(attempt), list: TcpCandidates::default() }.into(),
        4 => FileCarrier { transfer, carrier: terms() }.into(),
        5 => FileDone { transfer, first: 0, hashes: vec![HASH] }.into(),
        6 => FileDone { transfer, first: 0, hashes: vec![[number as u8; 32]; attempt as usize + 1] }.into(),
        7 => FileVerified { transfer }.into(),
        8 => FileFailed { transfer, why: FailureReason::Broken }.into(),
        _ => FileCancel { transfer }.into(),
    }
}

fn any_report() -> impl Strategy<Value = CarrierReport> {
    prop_oneof![
        Just(CarrierReport::Listening { candidates: TcpCandidates::default(), at: None }),
        Just(CarrierReport::Connected),
        any::<u64>().prop_map(|bytes| CarrierReport::Progress { bytes }),
        Just(CarrierReport::Sent { hash: HASH }),
        Just(CarrierReport::Received),
        Just(CarrierReport::Published { path: String::new() }),
        (0u64..9).prop_map(|have| CarrierReport::Lost { why: CarrierLoss::Broken, have }),
        Just(CarrierReport::Failed(CarrierFault::Corrupt)),
    ]
}

#[derive(Debug, Clone)]
enum Op {
    Deliver(bool),
    Carry,
    Publish,
    Break,
    DropSession,
    Raise,
    Wait(u64),
    Accept,
    Decline,
    Cancel(bool),
    Inject(bool, (u8, u64, u32)),
    Report(bool, u32, CarrierReport),
    Garbage(u8, Vec<u8>),
}

/// What networks, carriers and people do.
fn natural() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => any::<bool>().prop_map(Op::Deliver),
        6 => Just(Op::Carry),
        3 => Just(Op::Publish),
        2 => Just(Op::Break),
        1 => Just(Op::DropSession),
        2 => Just(Op::Raise),
        2 => (0u64..70).prop_map(Op::Wait),
        3 => Just(Op::Accept),
    ]
}

/// The same, with people who say no and a peer that says what it should not.
fn hostile() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => natural(),
        1 => Just(Op::Decline),
        1 => any::<bool>().prop_map(Op::Cancel),
        4 => (any::<bool>(), any_body()).prop_map(|(bob, body)| Op::Inject(bob, body)),
        2 => (any::<bool>(), 0u32..3, any_report()).prop_map(|(bob, n, report)| Op::Report(bob, n, report)),
        1 => (any::<u8>(), proptest::collection::vec(any::<u8>(), 0..60)).prop_map(|(k, b)| Op::Garbage(k, b)),
    ]
}

/// A refusal is one of the right answers to what is played here.
fn refused<E>(_: Result<(), E>) {}

fn play(pair: &mut Pair, id: TransferId, op: Op) {
    match op {
        Op::Deliver(to_bob) => {
            pair.deliver(to_bob);
        }
        Op::Carry => {
            pair.carry();
        }
        Op::Publish => {
            pair.publish();
        }
        Op::Break => pair.break_carriers(CarrierLoss::Broken),
        Op::DropSession if pair.up => pair.drop_session(SessionEnd::Lost),
        Op::Raise if !pair.up => pair.raise(),
        Op::DropSession | Op::Raise => {}
        Op::Wait(seconds) => pair.advance(Duration::from_secs(seconds)),
        Op::Accept => refused(pair.bob.transfers.accept(id, pair.now)),
        Op::Decline => refused(pair.bob.transfers.decline(id, DeclineReason::Policy, pair.now)),
        Op::Cancel(bob) => {
            let side = if bob { &mut pair.bob } else { &mut pair.alice };
            refused(side.transfers.cancel(id, pair.now));
        }
        Op::Inject(to_bob, body) => refused(pair.inject(to_bob, body_of(id, body))),
        Op::Report(bob, attempt, report) => {
            let now = pair.now;
            let side = if bob { &mut pair.bob } else { &mut pair.alice };
            side.report(id, Attempt(attempt), report, now);
        }
        Op::Garbage(kind, bytes) => refused(pair.bob.transfers.handle_body(ALICE, kind, &bytes, pair.now)),
    }
    pair.drain();
}

/// How often each side came to an end of `id`, and what was stopped.
fn ends(side: &Side, id: TransferId) -> (usize, usize) {
    let ends = side.updates.iter().filter(|(_, u)| u.transfer == id && u.state.is_end()).count();
    (ends, side.stopped.iter().filter(|stopped| **stopped == id).count())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn whatever_networks_and_people_do_both_sides_end_the_same_way(
        chunks in 0u64..5,
        ops in proptest::collection::vec(natural(), 0..60),
    ) {
        let mut pair = Pair::new();
        let id = pair.offer(chunks);
        for op in ops {
            play(&mut pair, id, op);
        }
        if !pair.up {
            pair.raise();
        }
        pair.talk();
        refused(pair.bob.transfers.accept(id, pair.now));
        pair.drain();
        pair.settle();
        // A carrier whose one end broke unnoticed is replaced by and by.
        for _ in 0..20 {
            pair.advance(Duration::from_secs(60));
            pair.settle();
        }
        let (alice, bob) = (pair.alice.last(id).cloned(), pair.bob.last(id).cloned());
        if let Some(bob) = &bob {
            prop_assert!(bob.is_end(), "{bob:?}");
            prop_assert_eq!(ends(&pair.bob, id), (1, 1));
        }
        prop_assert_eq!(ends(&pair.alice, id), (1, 1));
        let alice = alice.unwrap();
        if matches!(bob, Some(State::Done { .. })) {
            let late = State::Failed(TransferFailure::SessionLost);
            prop_assert!(alice == done(None) || alice == late, "{alice:?}");
        } else {
            prop_assert!(alice != done(None), "done here, {bob:?} there");
        }
    }

    #[test]
    fn nothing_that_a_peer_or_driver_says_panics_or_ends_a_transfer_twice(
        chunks in 0u64..5,
        ops in proptest::collection::vec(hostile(), 0..80),
    ) {
        let mut pair = Pair::new();
        let id = pair.offer(chunks);
        for op in ops {
            play(&mut pair, id, op);
        }
        for _ in 0..40 {
            pair.advance(Duration::from_secs(60));
        }
        for side in [&pair.alice, &pair.bob] {
            let (ends, stops) = ends(side, id);
            prop_assert!(ends == stops);
            prop_assert!(side.transfers.live.len() <= 2);
        }
    }
}
