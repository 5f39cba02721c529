//! Two who talked before meet again, with nobody who introduces them.

use core::net::SocketAddr;
use core::time::Duration;

use p2pchat_netsim::{LinkConfig, Loss, millis};
use p2pchat_proto::Moment;
use p2pchat_proto::datagram;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;

use super::pair::{Pair, Who, endpoint, good_line, received};
use crate::{
    CloseCode, Contact, DIAL_GIVE_UP, EndReason, GENERATION_LIFETIME, SessionEvent, SessionId, StreamId,
};

const BOTH: [Who; 2] = [Who::Bob, Who::Alice];
const TIMINGS: u64 = 1000;

/// What the owner of an endpoint does about its contact.
struct Two {
    pair: Pair,
    live: [Option<SessionId>; 2],
    /// Events that were looked at.
    seen: [usize; 2],
    /// When a side that has no session dials next, if it does.
    redial: [Option<Moment>; 2],
    restarts: u64,
    rng: ChaCha20Rng,
}

const fn index(who: Who) -> usize {
    match who {
        Who::Bob => 0,
        Who::Alice => 1,
    }
}

fn lossy(share: f64) -> LinkConfig {
    LinkConfig { loss: Loss::Independent { share }, jitter: millis(10), ..good_line() }
}

impl Two {
    /// Two contacts with a session.
    fn contacts(seed: u64) -> Self {
        let mut pair = Pair::introduced(seed, good_line());
        pair.tell_time();
        assert!(pair.run_until(|pair| pair.bob.is_up() && pair.alice.is_up()));
        for who in BOTH {
            let side = pair.side(who);
            side.endpoint.keep(side.session);
            pair.drain(who);
        }
        let live = [Some(pair.bob.session), Some(pair.alice.session)];
        let seen = [pair.bob.events.len(), pair.alice.events.len()];
        let rng = ChaCha20Rng::seed_from_u64(seed);
        Self { pair, live, seen, redial: [None; 2], restarts: 0, rng }
    }

    /// The same, whose processes have both gone meanwhile: nothing is left but what was kept.
    fn parted(seed: u64) -> Self {
        let mut two = Self::contacts(seed);
        // Until nothing is on its way.
        two.run_for(Duration::from_secs(1));
        BOTH.into_iter().for_each(|who| two.restart(who));
        two
    }

    fn line(&mut self, line: LinkConfig) {
        let (bob, alice) = (self.pair.bob.address.ip(), self.pair.alice.address.ip());
        self.pair.network.link(bob, alice, line);
    }

    /// The process dies without a word and begins anew with what is on the disk.
    fn restart(&mut self, who: Who) {
        self.restarts += 1;
        let now = self.pair.now;
        let wall = self.pair.wall(who);
        let mut fresh = endpoint(self.pair.seed ^ (self.restarts << 32), who, now);
        fresh.set_wall_clock(wall);
        let side = self.pair.side(who);
        side.disk.iter().for_each(|contact| fresh.remember(contact.clone()));
        side.endpoint = fresh;
        self.live[index(who)] = None;
    }

    fn dial(&mut self, who: Who) -> Option<SessionId> {
        let now = self.pair.now;
        let side = self.pair.side(who);
        let peer = side.disk.as_ref()?.peer;
        side.endpoint.dial(peer, now)
    }

    /// Looks at what happened, as an engine does.
    fn tend(&mut self) {
        for who in BOTH {
            let at = index(who);
            let now = self.pair.now;
            while let Some((_, id, event)) = self.pair.side(who).events.get(self.seen[at]).cloned() {
                self.seen[at] += 1;
                let endpoint = &mut self.pair.side(who).endpoint;
                match event {
                    SessionEvent::Up { .. } if endpoint.info(id, now).is_some() => {
                        let old = self.live[at].filter(|old| endpoint.info(*old, now).is_some());
                        match old {
                            Some(old) if !endpoint.replaces(id, old) => {
                                endpoint.close(id, CloseCode::Replaced, now);
                            }
                            old => {
                                old.into_iter().for_each(|old| endpoint.close(old, CloseCode::Replaced, now));
                                self.live[at] = Some(id);
                            }
                        }
                    }
                    SessionEvent::Ended(_) if self.live[at] == Some(id) => self.live[at] = None,
                    SessionEvent::Up { .. }
                    | SessionEvent::Ended(_)
                    | SessionEvent::Body { .. }
                    | SessionEvent::Moved { .. }
                    | SessionEvent::Stream(_)
                    | SessionEvent::Suspect
                    | SessionEvent::Recovered
                    | SessionEvent::Hint { .. } => {}
                }
            }
            if self.live[at].is_none() && self.redial[at].is_some_and(|due| due <= now) {
                self.dial(who);
                let wait = Duration::from_millis(self.rng.random_range(1000..4000));
                self.redial[at] = Some(now + wait);
            }
        }
    }

    fn step(&mut self, end: Moment) -> bool {
        self.tend();
        let due = self.redial.iter().flatten().copied().filter(|due| *due > self.pair.now).min();
        let until = due.unwrap_or(end).min(end);
        let moved = self.pair.step(until);
        BOTH.into_iter().for_each(|who| self.pair.drain(who));
        self.tend();
        moved || until < end
    }

    fn run_for(&mut self, duration: Duration) {
        let end = self.pair.now + duration;
        while self.step(end) {}
    }

    fn run_until(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let end = self.pair.now + limit;
        while !done(self) {
            if !self.step(end) {
                return done(self);
            }
        }
        true
    }

    fn are_together(&self) -> bool {
        self.live.iter().all(Option::is_some)
    }

    /// Whether a line of each arrives at the other, in the sessions that both count as theirs.
    fn talk(&mut self) -> bool {
        let Some(text) = self.restarts.checked_add(self.pair.now.as_nanos()) else { return false };
        let text = text.to_be_bytes();
        let now = self.pair.now;
        let before = BOTH.map(|who| self.pair.side(who).bodies(StreamId::CONVERSATION).len());
        for who in BOTH {
            let Some(live) = self.live[index(who)] else { return false };
            let endpoint = &mut self.pair.side(who).endpoint;
            if endpoint.send(live, StreamId::CONVERSATION, 1, &text, now).is_err() {
                return false;
            }
        }
        let heard = move |two: &Self| {
            let bodies = [&two.pair.bob, &two.pair.alice].map(|side| side.bodies(StreamId::CONVERSATION));
            bodies.iter().zip(before).all(|(bodies, before)| bodies[before..].contains(&text.to_vec()))
        };
        self.run_until(Duration::from_secs(20), heard)
    }

    /// Whether what both have on their disks shares a secret.
    fn have_one_in_common(&self) -> bool {
        let (Some(bobs), Some(alices)) = (&self.pair.bob.disk, &self.pair.alice.disk) else { return false };
        let shared = |secret| alices.generations.iter().any(|known| known.secret == secret);
        bobs.generations.iter().any(|known| shared(known.secret.clone()))
    }
}

fn sent_by(pair: &Pair, who: Who) -> usize {
    pair.sent.iter().filter(|(_, sender, ..)| *sender == who).count()
}

/// An INIT of bob that nobody has seen.
fn init_of_bob(two: &mut Two) -> Vec<u8> {
    let before = two.pair.sent.len();
    two.pair.tamper = Box::new(|_, _| vec![]);
    assert!(two.dial(Who::Bob).is_some());
    two.pair.drain(Who::Bob);
    two.pair.tamper = Box::new(|_, bytes| vec![bytes.to_vec()]);
    let init = two.pair.sent[before..].iter().find(|(.., bytes)| bytes[0] == datagram::INIT);
    init.unwrap().3.clone()
}

#[test]
fn contacts_meet_again_without_a_broker_after_one_or_both_began_anew() {
    for restarted in [&[Who::Bob][..], &[Who::Alice], &BOTH] {
        for dials in BOTH {
            let mut two = Two::contacts(1);
            restarted.iter().for_each(|who| two.restart(*who));
            let start = two.pair.now;
            assert!(two.dial(dials).is_some());
            let up = |two: &Two| two.pair.bob.count(is_up) + two.pair.alice.count(is_up) == 4;
            assert!(two.run_until(Duration::from_secs(5), up), "{restarted:?} {dials:?}");
            assert!(two.pair.now.saturating_since(start) <= Duration::from_millis(100), "two round trips");
            assert!(two.talk());
        }
    }
}

fn is_up(event: &SessionEvent) -> bool {
    matches!(event, SessionEvent::Up { .. })
}

#[test]
fn whoever_moved_is_found_again_where_it_is_now() {
    let mut two = Two::parted(2);
    let moved: SocketAddr = "10.0.7.7:7777".parse().unwrap();
    let alice = two.pair.alice.address;
    two.pair.network.link(moved.ip(), alice.ip(), good_line());
    two.pair.bob.address = moved;
    two.dial(Who::Bob).unwrap();
    assert!(two.run_until(Duration::from_secs(5), Two::are_together));
    assert!(two.talk());
    assert_eq!(two.pair.alice.disk.as_ref().unwrap().endpoints.as_slice()[0], moved);
    BOTH.into_iter().for_each(|who| two.restart(who));
    two.dial(Who::Alice).unwrap();
    assert!(two.run_until(Duration::from_secs(5), Two::are_together), "and alice finds it there");
}

#[test]
fn whoever_moves_within_a_session_is_kept_at_the_new_place_at_once() {
    let mut two = Two::contacts(4);
    assert!(two.talk());
    let moved: SocketAddr = "10.0.7.8:7777".parse().unwrap();
    let (bob, alice) = (two.pair.bob.address, two.pair.alice.address);
    assert_eq!(two.pair.alice.disk.as_ref().unwrap().endpoints.as_slice(), [bob]);
    two.pair.network.link(moved.ip(), alice.ip(), good_line());
    two.pair.bob.address = moved;
    assert!(two.talk());
    let moves = two.pair.alice.count(|event| matches!(event, SessionEvent::Moved { .. }));
    assert_eq!((moves, two.pair.alice.count(is_up)), (1, 1), "it is the same session");
    assert_eq!(two.pair.alice.disk.as_ref().unwrap().endpoints.as_slice(), [moved, bob]);
    // And that is enough, whatever happens to the session next.
    BOTH.into_iter().for_each(|who| two.restart(who));
    two.dial(Who::Alice).unwrap();
    assert!(two.run_until(Duration::from_secs(5), Two::are_together));
    assert!(two.talk());
}

#[test]
fn contacts_whose_keys_were_renewed_meet_again_with_the_newest() {
    let mut two = Two::contacts(3);
    let first = two.pair.bob.disk.clone().unwrap();
    for _ in 0..16 {
        assert!(two.talk());
        two.run_for(Duration::from_secs(20));
    }
    let latest = two.pair.bob.disk.clone().unwrap();
    assert!(latest.generations.iter().all(|known| first.generations.iter().all(|old| old != known)));
    assert_eq!(latest.generations.len(), 1, "proven, so nothing older is kept");
    BOTH.into_iter().for_each(|who| two.restart(who));
    two.dial(Who::Alice).unwrap();
    assert!(two.run_until(Duration::from_secs(5), Two::are_together));
    assert!(two.talk());
}

#[test]
fn two_who_dial_at_once_keep_exactly_one_session() {
    for seed in 0..TIMINGS {
        let mut two = Two::parted(seed);
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        two.line(lossy(rng.random_range(0.0..0.3)));
        let start = two.pair.now;
        for at in 0..2 {
            two.redial[at] = Some(start + Duration::from_micros(rng.random_range(0..200_000)));
        }
        let together = two.run_until(Duration::from_secs(120), Two::are_together);
        assert!(together, "seed {seed}: {:?}", two.pair.bob.events);
        two.run_for(Duration::from_secs(45));
        assert!(two.are_together() && two.talk(), "seed {seed}: not in one session");
        for who in BOTH {
            let side = two.pair.side(who);
            assert_eq!(side.endpoint.len(), 1, "seed {seed}: {who:?} has more than one");
        }
        assert!(two.have_one_in_common(), "seed {seed}");
    }
}

#[test]
fn of_two_sessions_that_both_came_up_the_one_of_the_smaller_identity_stays() {
    let mut two = Two::parted(4);
    two.dial(Who::Bob).unwrap();
    two.dial(Who::Alice).unwrap();
    assert!(two.run_until(Duration::from_secs(5), Two::are_together));
    two.run_for(Duration::from_secs(5));
    let ids = [&two.pair.bob, &two.pair.alice].map(|side| side.disk.as_ref().unwrap().peer);
    let [alice, bob] = ids;
    for who in BOTH {
        assert_eq!(two.pair.side(who).count(is_up), 3, "both came up");
        let (now, live) = (two.pair.now, two.live[index(who)].unwrap());
        let mine =
            two.pair.side(who).endpoint.info(live, now).unwrap().role == p2pchat_crypto::Role::Initiator;
        assert_eq!(mine, (who == Who::Bob) == (bob < alice));
    }
    assert!(two.talk());
}

#[test]
fn a_live_session_stays_until_data_of_the_new_one_opens() {
    let mut two = Two::contacts(5);
    let old = two.live;
    two.pair.tamper = Box::new(|who, bytes| {
        let new = bytes[0] == datagram::FIN || (bytes[0] == datagram::RESP && who == Who::Bob);
        if new { vec![] } else { vec![bytes.to_vec()] }
    });
    two.dial(Who::Bob).unwrap();
    two.run_for(Duration::from_secs(30));
    assert_eq!(two.live, old);
    assert!(two.talk() && two.have_one_in_common());
    two.pair.tamper = Box::new(|_, bytes| vec![bytes.to_vec()]);
    two.dial(Who::Bob).unwrap();
    two.run_for(Duration::from_secs(5));
    assert!(two.live.iter().zip(old).all(|(new, old)| new.is_some() && *new != old));
    assert!(two.talk());
}

#[test]
fn whatever_is_lost_of_a_resumed_handshake_a_common_generation_remains_and_they_meet() {
    let kinds = [datagram::INIT, datagram::RESP, datagram::FIN, datagram::DATA];
    for (kind, lost) in kinds.into_iter().flat_map(|kind| (1..=20).map(move |lost| (kind, lost))) {
        for whose in BOTH {
            let mut two = Two::parted(lost);
            let mut seen = 0;
            two.pair.tamper = Box::new(move |who, bytes| {
                let hit = who == whose && bytes[0] == kind;
                seen += u64::from(hit);
                if hit && seen <= lost { vec![] } else { vec![bytes.to_vec()] }
            });
            two.redial[0] = Some(two.pair.now);
            let mut common = true;
            let end = two.pair.now + Duration::from_secs(120);
            while !two.are_together() && two.step(end) {
                common &= two.have_one_in_common();
            }
            assert!(common && two.are_together(), "{lost} of {kind:#x} of {whose:?} lost");
        }
    }
}

#[test]
fn whenever_either_side_crashes_a_common_generation_remains_and_they_meet() {
    for seed in 0..TIMINGS {
        let mut two = Two::parted(seed);
        let mut rng = ChaCha20Rng::seed_from_u64(!seed);
        two.line(lossy(rng.random_range(0.0..0.5)));
        two.redial = [0; 2].map(|_| {
            let at = Duration::from_micros(rng.random_range(0..300_000));
            rng.random_bool(0.7).then_some(two.pair.now + at)
        });
        for _ in 0..rng.random_range(1..5) {
            let end = two.pair.now + Duration::from_micros(rng.random_range(0..500_000));
            while two.step(end) {
                assert!(two.have_one_in_common(), "seed {seed}: at {:?}", two.pair.now);
            }
            // What came last may have been handled, and not been kept.
            let who = BOTH[usize::from(rng.random_bool(0.5))];
            two.pair.step(two.pair.now + Duration::from_millis(50));
            two.restart(who);
            assert!(two.have_one_in_common(), "seed {seed}: {who:?} crashed at {:?}", two.pair.now);
        }
        two.line(good_line());
        two.redial = [Some(two.pair.now); 2];
        assert!(two.run_until(Duration::from_secs(120), Two::are_together), "seed {seed}");
        two.run_for(Duration::from_secs(45));
        assert!(two.are_together() && two.talk() && two.have_one_in_common(), "seed {seed}");
    }
}

#[test]
fn a_crash_while_keys_are_renewed_leaves_a_common_generation() {
    for seed in 0..200 {
        let mut two = Two::contacts(seed);
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        for _ in 0..6 {
            assert!(two.talk(), "seed {seed}");
            two.run_for(Duration::from_millis(19_500));
        }
        two.line(lossy(0.3));
        let end = two.pair.now + Duration::from_micros(rng.random_range(0..5_000_000));
        while two.step(end) {
            assert!(two.have_one_in_common(), "seed {seed}: at {:?}", two.pair.now);
        }
        let both = rng.random_bool(0.5);
        two.restart(BOTH[usize::from(rng.random_bool(0.5))]);
        if both {
            BOTH.into_iter().for_each(|who| two.restart(who));
        }
        two.line(good_line());
        two.redial = [Some(two.pair.now); 2];
        assert!(two.run_until(Duration::from_secs(120), Two::are_together), "seed {seed}");
        // Until the side that stayed has heard of the other's new session.
        two.run_for(Duration::from_secs(45));
        assert!(two.talk() && two.have_one_in_common(), "seed {seed}");
    }
}

/// Lets bob dial for 30 s. What alice sent meanwhile.
fn answers_of_alice(two: &mut Two) -> usize {
    two.pair.drain(Who::Alice);
    let before = sent_by(&two.pair, Who::Alice);
    let alone = two.pair.alice.endpoint.stats();
    assert!(two.dial(Who::Bob).is_some());
    two.run_for(Duration::from_secs(30));
    let stats = two.pair.alice.endpoint.stats();
    assert!(stats.received > alone.received, "it was asked");
    assert_eq!(stats.key_exchanges > alone.key_exchanges, sent_by(&two.pair, Who::Alice) > before);
    sent_by(&two.pair, Who::Alice) - before
}

#[test]
fn nobody_answers_whom_it_does_not_keep_or_keeps_no_more_or_is_invisible_to() {
    let peer = |two: &Two| two.pair.alice.disk.as_ref().unwrap().peer;
    // The control: who is kept is answered.
    assert!(answers_of_alice(&mut Two::parted(6)) > 0);
    // Accepted once: alice kept nothing.
    let mut two = Two::parted(6);
    two.pair.alice.disk = None;
    two.restart(Who::Alice);
    assert_eq!(answers_of_alice(&mut two), 0);
    // Removed or blocked, before or after the restart.
    for restarts in [false, true] {
        let mut two = Two::parted(6);
        let bob = peer(&two);
        two.pair.alice.endpoint.forget_contact(bob);
        if restarts {
            two.pair.alice.disk = None;
            two.restart(Who::Alice);
        }
        assert_eq!(answers_of_alice(&mut two), 0);
    }
    // Invisible, and visible again.
    let mut two = Two::parted(6);
    two.pair.alice.endpoint.answer_contacts(false);
    assert_eq!(answers_of_alice(&mut two), 0);
    two.pair.alice.endpoint.answer_contacts(true);
    assert!(answers_of_alice(&mut two) > 0);
}

#[test]
fn a_contact_of_thirty_days_ago_is_not_answered_and_what_was_kept_is_erased() {
    let lifetime = i64::try_from(GENERATION_LIFETIME.as_secs()).unwrap();
    for restarts in [false, true] {
        for (off, answered) in [(lifetime - 3600, true), (lifetime, false), (lifetime + 24 * 3600, false)] {
            let mut two = Two::parted(7);
            let kept = two.pair.bob.disk.clone().unwrap();
            BOTH.into_iter().for_each(|who| two.pair.side(who).clock_off = off);
            if restarts {
                two.restart(Who::Alice);
            }
            two.pair.tell_time();
            // Bob's clock stopped, or its owner does not erase.
            let mut younger = kept;
            younger.generations.iter_mut().for_each(|known| known.made.0 += off.unsigned_abs() * 1000);
            two.pair.bob.endpoint.remember(younger.clone());
            two.pair.bob.disk = Some(younger);
            assert_eq!(answers_of_alice(&mut two) > 0, answered, "{off} {restarts}");
            assert_eq!(two.pair.alice.disk.is_some(), answered, "{off} {restarts}");
            let (bob, now) = (two.pair.alice.disk.as_ref().map(|kept| kept.peer), two.pair.wall(Who::Alice));
            let until = bob.and_then(|bob| two.pair.alice.endpoint.may_return_until(bob));
            assert_eq!(until.is_some_and(|until| until > now), answered, "{off} {restarts}");
            // Nobody is answered by somebody who is invisible.
            two.pair.alice.endpoint.answer_contacts(false);
            assert_eq!(bob.and_then(|bob| two.pair.alice.endpoint.may_return_until(bob)), None);
        }
    }
}

#[test]
fn clocks_may_differ_by_a_window_and_not_by_two() {
    for (off, meet) in [(-898, true), (0, true), (898, true), (-902, false), (902, false)] {
        let mut two = Two::parted(8);
        // Alice is in the middle of a window, 900 s from the far end of each of its neighbours.
        let into_window = i64::try_from(two.pair.wall(Who::Alice).0 / 1000 % 600).unwrap();
        two.pair.alice.clock_off = 300 - into_window;
        two.pair.bob.clock_off = 300 - into_window + off;
        two.pair.tell_time();
        two.dial(Who::Bob).unwrap();
        assert_eq!(two.run_until(Duration::from_secs(20), Two::are_together), meet, "{off}");
    }
}

#[test]
fn tickets_over_a_day_are_all_different() {
    let mut two = Two::parted(9);
    let mut tickets = std::collections::BTreeSet::new();
    for _ in 0..144 {
        let init = init_of_bob(&mut two);
        assert!(tickets.insert(init[8..16].to_vec()), "a ticket came again after its window");
        two.run_for(Duration::from_secs(600));
        two.restart(Who::Bob);
    }
}

#[test]
fn a_recorded_init_that_nobody_answered_holds_the_real_one_up_by_nothing() {
    let mut two = Two::parted(10);
    let recorded = init_of_bob(&mut two);
    two.restart(Who::Bob);
    let elsewhere: SocketAddr = "10.9.9.9:99".parse().unwrap();
    let now = two.pair.now;
    two.pair.alice.endpoint.handle_datagram(received(elsewhere), &mut recorded.clone(), now);
    two.dial(Who::Bob).unwrap();
    assert!(two.run_until(Duration::from_millis(200), Two::are_together));
    assert!(two.talk());
}

#[test]
fn five_recorded_inits_of_one_ticket_hold_the_real_one_up_for_a_second_and_no_longer() {
    let mut two = Two::parted(11);
    let mut recorded = Vec::new();
    for _ in 0..5 {
        recorded.push(init_of_bob(&mut two));
        two.restart(Who::Bob);
    }
    assert!(recorded.windows(2).all(|two| two[0] != two[1] && two[0][8..16] == two[1][8..16]));
    let (now, source) = (two.pair.now, SocketAddr::from(([10, 9, 9, 9], 99)));
    for init in &recorded {
        two.pair.alice.endpoint.handle_datagram(received(source), &mut init.clone(), now);
    }
    assert_eq!(two.pair.alice.endpoint.stats().key_exchanges, 15, "three each");
    two.dial(Who::Bob).unwrap();
    assert!(two.run_until(Duration::from_secs(3), Two::are_together));
    assert!(two.talk());
}

#[test]
fn a_flood_of_recorded_inits_is_bounded_in_work_and_memory() {
    let mut two = Two::parted(12);
    let recorded: Vec<_> = (0..30)
        .map(|_| {
            let init = init_of_bob(&mut two);
            two.restart(Who::Bob);
            init
        })
        .collect();
    let source = SocketAddr::from(([10, 9, 9, 9], 99));
    for _ in 0..10 {
        let now = two.pair.now;
        for init in &recorded {
            two.pair.alice.endpoint.handle_datagram(received(source), &mut init.clone(), now);
        }
        two.run_for(Duration::from_secs(1));
    }
    assert!(two.pair.alice.endpoint.stats().key_exchanges <= 11 * 5 * 3);
    assert_eq!(two.pair.alice.endpoint.len(), 1, "one ticket, one place");
    two.run_for(Duration::from_secs(30));
    assert!(two.pair.alice.endpoint.is_empty());
}

#[test]
fn a_contact_that_ends_handshake_after_handshake_costs_no_more_than_its_share() {
    let mut two = Two::parted(14);
    let (begin, mut met) = (two.pair.now, 0);
    while two.pair.now < begin + Duration::from_secs(5) {
        two.restart(Who::Bob);
        two.dial(Who::Bob).unwrap();
        met += u64::from(two.run_until(Duration::from_millis(200), Two::are_together));
    }
    let exchanges = two.pair.alice.endpoint.stats().key_exchanges;
    assert!(met >= 10, "{met} handshakes");
    // Ten INITs a second of three each, and as many FINs of one.
    assert!(exchanges <= 6 * 10 * (3 + 1), "{exchanges} key exchanges for {met} handshakes");
}

#[test]
fn only_one_attempt_at_a_contact_runs_at_once_and_an_ended_one_keeps_nothing() {
    let mut two = Two::parted(13);
    let kept: Option<Contact> = two.pair.bob.disk.clone();
    two.pair.tamper = Box::new(|_, _| vec![]);
    let attempt = two.dial(Who::Bob).unwrap();
    assert_eq!(two.dial(Who::Bob), None);
    two.run_for(DIAL_GIVE_UP);
    let ended = two.pair.bob.events.last().map(|(_, id, event)| (*id, event.clone()));
    assert_eq!(ended, Some((attempt, SessionEvent::Ended(EndReason::HandshakeTimedOut))));
    assert_eq!(two.pair.bob.disk, kept);
    assert!(two.dial(Who::Bob).is_some());
}
