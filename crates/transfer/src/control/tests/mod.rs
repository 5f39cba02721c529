//! What the control plane does, sentence by sentence.

mod pair;
mod properties;

use core::time::Duration;

use p2pchat_proto::transfer::{
    Attempt, CarrierTerms, FileCarrier, FileDone, FileVerified, Held, SecretBytes,
};

use self::pair::{HASH, Pair, SUITE, done, hostile_offer};
use super::*;
use crate::carrier::{CarrierFault, CarrierLoss, CarrierReport};

#[test]
fn a_file_is_offered_accepted_sent_verified_and_done_on_both_sides() {
    let mut pair = Pair::new();
    let id = pair.offer(3);
    pair.talk();
    assert_eq!(pair.bob.states(), [&State::Offered]);
    pair.bob.transfers.accept(id, pair.now).unwrap();
    pair.drain();
    pair.settle();
    let path = |end| [State::Offered, State::Accepted, State::Running, State::Verifying, end];
    assert_eq!(pair.alice.states(), path(done(None)).each_ref());
    assert_eq!(pair.bob.states(), path(done(Some("song.mp3"))).each_ref());
    assert_eq!((pair.alice.stopped, pair.bob.stopped), (vec![id], vec![id]));
    assert_eq!(pair.alice.candidates, [(id, Attempt(0))]);
    assert_eq!(pair.bob.candidates, [(id, Attempt(0))]);
    assert_eq!(pair.alice.transfers.poll_timeout(), None);
    assert_eq!(pair.bob.transfers.poll_timeout(), None);
}

#[test]
fn nothing_is_opened_before_the_receiver_accepts() {
    let mut pair = Pair::new();
    let id = pair.offer(3);
    pair.talk();
    assert!(pair.alice.carriers.is_empty() && pair.bob.carriers.is_empty());
    pair.bob.transfers.decline(id, DeclineReason::Policy, pair.now).unwrap();
    pair.drain();
    pair.settle();
    assert_eq!(pair.alice.last(id), Some(&State::Declined(DeclineReason::Policy)));
    assert_eq!(pair.bob.last(id), Some(&State::Declined(DeclineReason::Policy)));
    assert_eq!(pair.bob.transfers.accept(id, pair.now), Err(CommandError::NoSuchTransfer));
}

#[test]
fn either_side_cancels_at_every_stage() {
    for by_bob in [false, true] {
        for stage in 0..8 {
            let mut pair = Pair::new();
            let id = pair.offer(2);
            if stage > 0 {
                pair.talk();
            }
            if stage > 1 {
                pair.bob.transfers.accept(id, pair.now).unwrap();
                pair.drain();
            }
            if stage > 2 {
                pair.talk();
            }
            for _ in 3..stage {
                pair.carry();
            }
            let side = if by_bob { &mut pair.bob } else { &mut pair.alice };
            let known = side.transfers.cancel(id, pair.now);
            if by_bob && stage == 0 {
                assert_eq!(known, Err(CommandError::NoSuchTransfer));
                continue;
            }
            known.unwrap();
            pair.drain();
            pair.settle();
            let (canceller, other) = if by_bob { (&pair.bob, &pair.alice) } else { (&pair.alice, &pair.bob) };
            assert_eq!(canceller.last(id), Some(&State::Cancelled(Party::Here)), "stage {stage}");
            assert_eq!(other.last(id), Some(&State::Cancelled(Party::Peer)), "stage {stage}");
            assert!(canceller.stopped == [id] && other.stopped == [id]);
        }
    }
}

#[test]
fn a_broken_carrier_is_replaced_and_goes_on_where_it_ended() {
    let (mut pair, id) = Pair::running(5);
    for _ in 0..4 {
        pair.carry();
    }
    let old = pair.bob.carriers[&id].spec.secret.clone();
    pair.break_carriers(CarrierLoss::Broken);
    pair.talk();
    for side in [&pair.alice, &pair.bob] {
        let spec = &side.carriers[&id].spec;
        assert_eq!((spec.attempt, spec.have), (Attempt(1), 3));
        assert_ne!(spec.secret, old, "each attempt has a secret of its own");
    }
    pair.settle();
    assert_eq!(pair.alice.last(id), Some(&done(None)));
}

#[test]
fn attempts_that_bring_nothing_end_the_transfer_and_those_that_bring_something_do_not() {
    let (mut pair, id) = Pair::running(20);
    for _ in 0..15 {
        pair.carry();
        pair.carry();
        pair.break_carriers(CarrierLoss::Damaged);
        pair.talk();
    }
    assert_eq!(pair.bob.last(id), Some(&State::Running));
    for _ in 0..BARREN_ATTEMPTS_MAX {
        pair.break_carriers(CarrierLoss::Unreachable);
        pair.talk();
    }
    let failed = State::Failed(TransferFailure::NoCarrier(CarrierLoss::Unreachable));
    assert_eq!(pair.bob.last(id), Some(&failed));
    assert_eq!(pair.alice.last(id), Some(&State::Failed(TransferFailure::Peer(FailureReason::Broken))));
}

#[test]
fn a_receiver_that_asks_for_carriers_without_end_is_left() {
    let (mut pair, id) = Pair::running(20);
    for attempt in 1..=BARREN_ATTEMPTS_MAX {
        let carrier = CarrierTerms {
            attempt: Attempt(attempt),
            have: Held::Prefix(0),
            secret: SecretBytes::new([1; 32]),
        };
        pair.inject(false, FileCarrier { transfer: id, carrier }).unwrap();
    }
    assert_eq!(pair.alice.last(id), Some(&State::Failed(TransferFailure::NoCarrier(CarrierLoss::Broken))));
}

#[test]
fn a_stall_is_shown_after_10_s_and_its_carrier_replaced_after_30() {
    let (mut pair, id) = Pair::running(5);
    pair.carry();
    pair.carry();
    pair.advance(Duration::from_millis(9_999));
    assert_ne!(pair.bob.updates.last().unwrap().1.rate, Some(0));
    pair.advance(Duration::from_millis(2));
    assert_eq!(pair.bob.updates.last().unwrap().1.rate, Some(0));
    assert_eq!(pair.alice.updates.last().unwrap().1.rate, Some(0));
    pair.advance(Duration::from_secs(20));
    assert_eq!(pair.bob.carriers[&id].spec.attempt, Attempt(1));
    assert_eq!(pair.bob.carriers[&id].spec.have, 1);
    pair.settle();
    assert_eq!(pair.alice.last(id), Some(&done(None)));
}

#[test]
fn a_carrier_outlives_the_session_and_the_verdict_waits_for_the_next() {
    let (mut pair, id) = Pair::running(5);
    pair.carry();
    pair.drop_session(SessionEnd::Lost);
    for _ in 0..5 {
        pair.advance(Duration::from_secs(40));
        assert!(pair.carry());
    }
    pair.carry();
    assert_eq!(pair.bob.last(id), Some(&State::Verifying));
    pair.advance(Duration::from_secs(50));
    pair.raise();
    pair.settle();
    assert_eq!(pair.alice.last(id), Some(&done(None)));
    assert_eq!(pair.bob.last(id), Some(&done(Some("song.mp3"))));
}

#[test]
fn a_session_that_stays_away_for_a_minute_ends_what_rests() {
    let (mut pair, id) = Pair::running(5);
    let waiting = pair.offer(1);
    pair.talk();
    pair.drop_session(SessionEnd::Lost);
    pair.break_carriers(CarrierLoss::Broken);
    pair.advance(SESSION_PATIENCE);
    for side in [&pair.alice, &pair.bob] {
        for transfer in [id, waiting] {
            assert_eq!(side.last(transfer), Some(&State::Failed(TransferFailure::SessionLost)));
        }
    }
}

#[test]
fn a_closed_session_ends_everything_but_what_is_being_published() {
    let (mut pair, id) = Pair::running(1);
    while pair.carry() {}
    pair.talk();
    assert_eq!(pair.bob.publishing, [(id, HASH)]);
    let (mut other, running) = Pair::running(1);
    pair.drop_session(SessionEnd::Closed);
    pair.publish();
    assert_eq!(pair.bob.last(id), Some(&done(Some("song.mp3"))));
    assert_eq!(pair.alice.last(id), Some(&State::Failed(TransferFailure::SessionClosed)));
    other.drop_session(SessionEnd::Closed);
    assert_eq!(other.bob.last(running), Some(&State::Failed(TransferFailure::SessionClosed)));
}

#[test]
fn a_verdict_that_was_lost_with_its_session_is_said_again() {
    let (mut pair, id) = Pair::running(1);
    while pair.carry() {}
    pair.talk();
    pair.publish();
    assert_eq!(pair.bob.last(id), Some(&done(Some("song.mp3"))));
    // FileVerified is on its way and gets lost.
    pair.drop_session(SessionEnd::Lost);
    pair.advance(Duration::from_secs(5));
    pair.raise();
    pair.settle();
    assert_eq!(pair.alice.last(id), Some(&done(None)));
}

#[test]
fn an_acceptance_that_was_lost_with_its_session_is_said_again() {
    let mut pair = Pair::new();
    let id = pair.offer(2);
    pair.talk();
    pair.bob.transfers.accept(id, pair.now).unwrap();
    pair.drain();
    pair.drop_session(SessionEnd::Lost);
    pair.raise();
    pair.settle();
    assert_eq!(pair.alice.last(id), Some(&done(None)));
}

#[test]
fn a_wrong_hash_fails_on_both_sides() {
    let (mut pair, id) = Pair::running(1);
    pair.carry();
    pair.carry();
    pair.carry();
    pair.bob.inbox.clear();
    pair.inject(true, FileDone { transfer: id, first: 0, hashes: vec![[8; 32]] }).unwrap();
    pair.settle();
    assert_eq!(pair.bob.last(id), Some(&State::Failed(TransferFailure::Here(CarrierFault::Corrupt))));
    assert_eq!(pair.alice.last(id), Some(&State::Failed(TransferFailure::Peer(FailureReason::Corrupt))));
}

#[test]
fn a_fault_at_one_side_is_told_to_the_other() {
    let faults = [
        (CarrierFault::SourceChanged, FailureReason::SourceChanged),
        (CarrierFault::SourceUnreadable { reason: String::new() }, FailureReason::NotReadable),
        (CarrierFault::DiskFull { path: String::new() }, FailureReason::DiskFull),
        (
            CarrierFault::NotWritable { path: String::new(), reason: String::new() },
            FailureReason::NotWritable,
        ),
    ];
    for (fault, told) in faults {
        for at_bob in [false, true] {
            let (mut pair, id) = Pair::running(3);
            pair.carry();
            let now = pair.now;
            let side = if at_bob { &mut pair.bob } else { &mut pair.alice };
            side.report(id, Attempt(0), CarrierReport::Failed(fault.clone()), now);
            pair.drain();
            pair.talk();
            let (here, there) = if at_bob { (&pair.bob, &pair.alice) } else { (&pair.alice, &pair.bob) };
            assert_eq!(here.last(id), Some(&State::Failed(TransferFailure::Here(fault.clone()))));
            assert_eq!(there.last(id), Some(&State::Failed(TransferFailure::Peer(told))));
        }
    }
}

#[test]
fn the_same_transfer_twice_is_one_and_a_finished_one_does_not_come_back() {
    let mut pair = Pair::new();
    let id = TransferId([1; 16]);
    for _ in 0..3 {
        pair.inject(true, hostile_offer(id)).unwrap();
    }
    assert_eq!(pair.bob.updates.len(), 1);
    pair.bob.transfers.decline(id, DeclineReason::Policy, pair.now).unwrap();
    pair.drain();
    pair.alice.inbox.clear();
    pair.inject(true, hostile_offer(id)).unwrap();
    assert_eq!(pair.bob.updates.len(), 2);
    assert_eq!(pair.alice.inbox.len(), 1, "the verdict is said again");
}

#[test]
fn an_id_of_another_transfer_cannot_be_taken_over() {
    let (mut pair, id) = Pair::running(3);
    // Bob offers under the id of a file that Alice sends him.
    pair.inject(false, hostile_offer(id)).unwrap();
    assert_eq!(pair.alice.last(id), Some(&State::Running));
    // Somebody else names it.
    let eve = PeerId([0xe; 32]);
    pair.bob.transfers.session_up(eve, SUITE, pair.now);
    let (kind, bytes) = TransferBody::from(FileCancel { transfer: id }).to_bytes().unwrap();
    pair.bob.transfers.handle_body(eve, kind, &bytes, pair.now).unwrap();
    let (kind, bytes) = TransferBody::from(hostile_offer(id)).to_bytes().unwrap();
    pair.bob.transfers.handle_body(eve, kind, &bytes, pair.now).unwrap();
    assert!(matches!(pair.bob.transfers.poll_effect(), Some(Effect::Send { to, .. }) if to == eve));
    pair.settle();
    assert_eq!(pair.bob.last(id), Some(&done(Some("song.mp3"))));
}

#[test]
fn of_1000_offers_only_so_many_wait() {
    let mut pair = Pair::new();
    for n in 0u16..1000 {
        let mut id = [0; 16];
        id[..2].copy_from_slice(&n.to_be_bytes());
        pair.inject(true, hostile_offer(TransferId(id))).unwrap();
    }
    assert_eq!(pair.bob.updates.len(), PENDING_MAX);
    assert_eq!(pair.alice.inbox.len(), 1000 - PENDING_MAX);
}

#[test]
fn a_hundred_files_go_a_few_at_a_time_and_in_order() {
    let mut pair = Pair::new();
    let ids: Vec<TransferId> = (0..100).map(|_| pair.offer(1)).collect();
    pair.talk();
    assert_eq!(pair.bob.updates.len(), PENDING_MAX);
    for id in &ids[..PENDING_MAX] {
        pair.bob.transfers.accept(*id, pair.now).unwrap();
    }
    pair.drain();
    pair.talk();
    let mut running: Vec<TransferId> = pair.bob.carriers.keys().copied().collect();
    running.sort_by_key(|id| ids.iter().position(|other| other == id));
    assert_eq!(running, ids[..INCOMING_MAX]);
    assert_eq!(
        pair.bob.updates.iter().filter(|(_, u)| u.state == State::Offered).count(),
        PENDING_MAX + INCOMING_MAX
    );
    let mut most = 0;
    while pair.bob.stopped.len() < 100 {
        pair.talk();
        most = most.max(pair.bob.carriers.len());
        for id in &ids {
            if pair.bob.last(*id) == Some(&State::Offered) {
                pair.bob.transfers.accept(*id, pair.now).unwrap();
                pair.drain();
            }
        }
        assert!(pair.carry() || pair.publish(), "nothing moves");
    }
    pair.settle();
    assert_eq!(most, INCOMING_MAX);
    assert!(ids.iter().all(|id| pair.alice.last(*id) == Some(&done(None))));
}

#[test]
fn an_offer_that_is_more_than_one_file_is_declined() {
    let mut pair = Pair::new();
    let id = TransferId([1; 16]);
    let folder = FileOffer { count: 2, manifest: Some([1; 32]), ..hostile_offer(id) };
    pair.inject(true, folder).unwrap();
    assert!(pair.bob.updates.is_empty());
    assert_eq!(pair.alice.inbox.len(), 1);
}

#[test]
fn what_cannot_be_true_of_a_transfer_is_refused_and_changes_nothing() {
    let (mut pair, id) = Pair::running(3);
    let carrier =
        CarrierTerms { attempt: Attempt(1), have: Held::Prefix(4), secret: SecretBytes::new([1; 32]) };
    assert!(matches!(
        pair.inject(false, FileCarrier { transfer: id, carrier }),
        Err(BodyError::Impossible(_))
    ));
    let hashes = FileDone { transfer: id, first: 1, hashes: vec![HASH] };
    assert!(matches!(pair.inject(true, hashes), Err(BodyError::Impossible(_))));
    let early = FileVerified { transfer: id };
    pair.inject(false, early).unwrap();
    pair.settle();
    assert_eq!(pair.alice.last(id), Some(&done(None)));
}

#[test]
fn bodies_about_unknown_transfers_are_answered_at_most_once_and_never_in_turns() {
    let mut pair = Pair::new();
    let id = TransferId([1; 16]);
    pair.inject(true, FileDone { transfer: id, first: 0, hashes: vec![HASH] }).unwrap();
    assert_eq!(pair.alice.inbox.len(), 1);
    pair.talk();
    assert!(pair.alice.inbox.is_empty() && pair.bob.inbox.is_empty());
    assert!(pair.alice.updates.is_empty() && pair.bob.updates.is_empty());
}

#[test]
fn running_is_shown_at_most_four_times_a_second() {
    let (mut pair, _) = Pair::running(1000);
    for _ in 0..1000 {
        pair.carry();
        pair.advance(Duration::from_millis(10));
    }
    let running = pair.bob.updates.iter().filter(|(_, update)| update.state == State::Running);
    let times: Vec<Moment> = running.map(|(at, _)| *at).collect();
    // Two more belong to the listening and to the connection.
    assert!((38..=42).contains(&times.len()), "{}", times.len());
}
