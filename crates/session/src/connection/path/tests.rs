use core::net::SocketAddr;

use rand::SeedableRng;

use super::*;

const START: Moment = Moment::from_nanos(1_000_000_000);
const PTO: Duration = Duration::from_millis(150);
const NEWEST: Arrival = Arrival { bytes: 100, newest: true, asks_only: false };

fn ms(count: u64) -> Moment {
    START + Duration::from_millis(count)
}

fn path(n: u8) -> Path {
    Path { remote: SocketAddr::from(([10, 0, 0, n], 7000)), local_ip: Some([10, 1, 0, 1].into()) }
}

/// Paths whose current one, 1, is proven.
fn paths() -> Paths {
    paths_of(Role::Initiator)
}

fn paths_of(role: Role) -> Paths {
    Paths::new(path(1), Allowance::Validated, role, ChaCha20Rng::from_seed([1; 32]))
}

/// Where the peer says that it sees this side.
fn seen() -> SocketAddr {
    SocketAddr::from(([198, 51, 100, 7], 7000))
}

/// Everything that leaves now.
fn poll(paths: &mut Paths, now: Moment) -> Vec<(Path, Frame<'static>)> {
    let mut budget = PerSecond::new();
    core::iter::from_fn(|| paths.poll(&mut budget, now)).map(|sally| (sally.path, sally.frame)).collect()
}

fn tokens(paths: &mut Paths, now: Moment) -> Vec<(Path, Token)> {
    let mut tokens = vec![];
    for (path, frame) in poll(paths, now) {
        if let Frame::PathChallenge { token } = frame {
            tokens.push((path, token));
        }
    }
    tokens
}

fn token_for(of: &[(Path, Token)], path: Path) -> Token {
    of.iter().find(|(to, _)| *to == path).unwrap().1
}

#[test]
fn challenges_go_on_the_schedule_to_both_and_twelve_times() {
    let mut paths = paths();
    // Bytes enough for all of them.
    paths.on_received(path(2), Arrival { bytes: 10_000, ..NEWEST }, PTO, START);
    let (mut sent, mut now) = (vec![], START);
    while paths.deadline() < Moment::NEVER {
        now = now.max(paths.deadline());
        sent.extend(
            tokens(&mut paths, now).into_iter().map(|(to, _)| (to, now.saturating_since(START).as_millis())),
        );
        assert_eq!(paths.verdict(now), None);
    }
    for n in [1, 2] {
        let times: Vec<_> = sent.iter().filter(|(to, _)| *to == path(n)).map(|(_, at)| *at).collect();
        assert_eq!(times, [0, 200, 500, 1000, 2000, 3000, 4000, 5000, 6000, 7000, 8000, 9000], "path {n}");
    }
    assert!(paths.others.is_empty() && paths.current() == path(1), "who does not answer is forgotten");
}

#[test]
fn the_new_path_is_taken_when_it_answers_and_the_old_one_has_had_its_time() {
    let mut paths = paths();
    paths.on_received(path(2), NEWEST, PTO, START);
    let sent = tokens(&mut paths, START);
    assert_eq!(sent.len(), 2);
    assert!(paths.on_response(token_for(&sent, path(2)), seen(), path(2), ms(40)));
    assert_eq!((paths.verdict(ms(149)), paths.current()), (None, path(1)));
    assert_eq!(paths.deadline(), ms(150));
    assert_eq!((paths.verdict(ms(150)), paths.current()), (Some(path(1)), path(2)));
    assert!(paths.is_validated() && paths.moves() == 1);
    // And back again, without a proof of what is proven.
    paths.on_received(path(1), NEWEST, PTO, ms(300));
    let sent = tokens(&mut paths, ms(300));
    assert!(paths.on_response(token_for(&sent, path(1)), seen(), path(1), ms(340)));
    assert_eq!((paths.verdict(ms(450)), paths.current(), paths.moves()), (Some(path(2)), path(1), 2));
}

#[test]
fn where_both_answer_the_new_path_is_taken_only_if_it_is_faster_by_a_fifth_and_ten_milliseconds() {
    for (ours, theirs, moves) in
        [(100, 79, true), (100, 81, false), (30, 19, true), (30, 21, false), (40, 400, false)]
    {
        let mut paths = paths();
        paths.on_received(path(2), NEWEST, PTO, START);
        let sent = tokens(&mut paths, START);
        let mut answers = [(ours, path(1)), (theirs, path(2))];
        answers.sort_by_key(|(at, _)| *at);
        let mut left = None;
        for (at, from) in answers {
            paths.on_response(token_for(&sent, from), seen(), from, ms(at));
            left = left.or(paths.verdict(ms(at)));
        }
        if theirs > 150 || moves {
            assert_eq!(left.is_some(), moves, "{ours} and {theirs} ms");
        }
        assert_eq!(paths.current() == path(2), moves, "{ours} and {theirs} ms");
        if !moves {
            // It stays in reserve, and packets from there are no reason to ask again for a while.
            paths.on_received(path(2), NEWEST, PTO, ms(1000));
            assert_eq!(tokens(&mut paths, ms(1000)), []);
            paths.on_received(path(2), NEWEST, PTO, ms(6000));
            assert_eq!(tokens(&mut paths, ms(6000)).len(), 2);
        }
    }
}

#[test]
fn the_responder_takes_the_way_that_the_initiator_goes_on_to_take_where_both_work() {
    for (role, moves) in [(Role::Initiator, 0), (Role::Responder, 1)] {
        let mut paths = paths_of(role);
        for (turn, at) in [0, 10_000, 20_000].map(ms).into_iter().enumerate() {
            let (current, other) = (paths.current(), if paths.moves() == 0 { path(2) } else { path(1) });
            if turn < 2 {
                paths.on_received(path(2), NEWEST, PTO, at);
            } else {
                // One who falls silent is asked everywhere, and that is no choice of the peer's.
                paths.on_silence(PTO, at);
            }
            let sent = tokens(&mut paths, at);
            assert!(paths.on_response(token_for(&sent, current), seen(), current, at + PTO / 5));
            assert!(paths.on_response(token_for(&sent, other), seen(), other, at + PTO / 5));
            assert_eq!(paths.verdict(at + PTO / 5).is_some(), turn == 1 && moves == 1, "{role:?}, {turn}");
        }
        assert_eq!((paths.moves(), paths.current() == path(2)), (moves, moves == 1), "{role:?}");
    }
}

#[test]
fn a_question_from_where_the_peer_was_is_answered_and_no_reason_to_ask_back() {
    let mut paths = paths();
    paths.on_received(path(2), NEWEST, PTO, START);
    let sent = tokens(&mut paths, START);
    for at in [path(1), path(2)] {
        assert!(paths.on_response(token_for(&sent, at), seen(), at, ms(20)));
    }
    assert_eq!(paths.verdict(ms(20)), None);
    for (asks_only, challenges) in [(true, 0), (false, 2)] {
        paths.on_received(path(2), Arrival { asks_only, ..NEWEST }, PTO, ms(60_000));
        assert_eq!(tokens(&mut paths, ms(60_000)).len(), challenges);
    }
    // From a place that is not known, it is one: a peer that has moved asks first.
    paths.on_received(path(3), Arrival { asks_only: true, ..NEWEST }, PTO, ms(60_000));
    assert_eq!(tokens(&mut paths, ms(60_000)).iter().filter(|(to, _)| *to == path(3)).count(), 1);
}

#[test]
fn a_port_that_a_nat_has_forgotten_is_not_kept_in_reserve_and_another_address_is() {
    for (remote, kept) in [("10.0.0.1:7001", 0), ("10.0.0.2:7000", 1)] {
        let mut paths = paths();
        let moved = Path { remote: remote.parse().unwrap(), ..path(1) };
        paths.on_received(moved, NEWEST, PTO, START);
        let sent = tokens(&mut paths, START);
        assert!(paths.on_response(token_for(&sent, moved), seen(), moved, ms(20)));
        assert_eq!((paths.verdict(ms(150)), paths.current()), (Some(path(1)), moved));
        assert_eq!(paths.others.len(), kept, "{remote}");
    }
}

#[test]
fn an_answer_with_another_token_proves_nothing() {
    let mut paths = paths();
    paths.on_received(path(2), NEWEST, PTO, START);
    let sent = tokens(&mut paths, START);
    let mut token = token_for(&sent, path(2));
    token[7] ^= 1;
    assert!(
        !paths.on_response(token, seen(), path(2), ms(10))
            && !paths.on_response([0; 8], seen(), path(2), ms(10))
    );
    assert_eq!((paths.verdict(ms(9999)), paths.current()), (None, path(1)));
}

#[test]
fn a_packet_that_is_not_the_newest_makes_no_candidate() {
    let mut paths = paths();
    paths.on_received(path(2), Arrival { newest: false, ..NEWEST }, PTO, START);
    assert_eq!((poll(&mut paths, START), paths.deadline()), (vec![], Moment::NEVER));
    for remote in ["10.0.0.9:0", "0.0.0.0:9", "224.0.0.1:9", "127.0.0.1:9", "[::1]:9"] {
        let from = Path { remote: remote.parse().unwrap(), local_ip: None };
        paths.on_received(from, NEWEST, PTO, START);
        assert_eq!(poll(&mut paths, START), [], "{remote}");
    }
}

#[test]
fn a_challenge_that_the_bytes_do_not_allow_waits_for_more() {
    let mut paths = paths();
    paths.on_received(path(2), Arrival { bytes: 33, ..NEWEST }, PTO, START);
    let to_new = |sent: Vec<(Path, Token)>| sent.iter().filter(|(to, _)| *to == path(2)).count();
    assert_eq!(to_new(tokens(&mut paths, START)), 1);
    assert_eq!(to_new(tokens(&mut paths, ms(200))), 1);
    assert_eq!(to_new(tokens(&mut paths, ms(500))), 0, "99 bytes are two challenges of 41");
    assert!(paths.deadline() > ms(500), "and it does not ask for the time meanwhile");
    paths.on_received(path(2), Arrival { bytes: 33, newest: false, ..NEWEST }, PTO, ms(600));
    assert_eq!(to_new(tokens(&mut paths, ms(600))), 1);
}

#[test]
fn four_candidates_are_kept_and_the_oldest_that_proved_nothing_goes_first() {
    let mut paths = paths();
    for n in 2..6 {
        paths.on_received(path(n), NEWEST, PTO, START);
    }
    let sent = tokens(&mut paths, START);
    assert_eq!(sent.len(), 5);
    // Both work, so that it is in reserve.
    paths.on_response(token_for(&sent, path(1)), seen(), path(1), ms(5));
    paths.on_response(token_for(&sent, path(2)), seen(), path(2), ms(5));
    assert_eq!(paths.verdict(ms(5)), None);
    for n in 6..200 {
        paths.on_received(path(n), NEWEST, PTO, ms(10));
        assert_eq!(paths.others.len(), CANDIDATES_MAX);
    }
    assert!(paths.others.iter().any(|place| place.path == path(2)));
}

#[test]
fn a_path_that_falls_silent_makes_the_others_be_asked_and_the_systems_choice_of_address() {
    let mut paths = paths();
    paths.on_silence(PTO, START);
    let open = Path { local_ip: None, ..path(1) };
    let sent = tokens(&mut paths, START);
    assert_eq!(sent.iter().map(|(to, _)| *to).collect::<Vec<_>>(), [path(1), open]);
    // What comes back tells which address it was.
    let chosen = Path { local_ip: Some([10, 1, 0, 9].into()), ..open };
    assert!(paths.on_response(token_for(&sent, open), seen(), chosen, ms(40)));
    assert_eq!((paths.verdict(ms(150)), paths.current()), (Some(path(1)), chosen));
}

#[test]
fn the_systems_choice_of_address_is_no_second_path_where_it_is_the_one_in_use() {
    let mut paths = paths();
    for silence in 0..9u64 {
        let at = 10_000 * silence;
        paths.on_silence(PTO, ms(at));
        let sent = tokens(&mut paths, ms(at));
        assert_eq!(sent.len(), 2, "silence {silence}");
        // The answer to the other challenge is lost, and the verdict is the same.
        let open = Path { local_ip: None, ..path(1) };
        assert!(paths.on_response(token_for(&sent, open), seen(), path(1), ms(at + 40)));
        assert_eq!((paths.verdict(ms(at + 150)), paths.current()), (None, path(1)));
        assert_eq!((paths.others.len(), paths.deadline(), paths.moves()), (0, Moment::NEVER, 0));
    }
}

#[test]
fn one_path_is_known_once_however_its_address_was_learnt() {
    let mut paths = paths();
    // In reserve, as both answer.
    let other = Path { local_ip: Some([10, 1, 0, 9].into()), ..path(1) };
    paths.on_received(other, NEWEST, PTO, START);
    let sent = tokens(&mut paths, START);
    for at in [path(1), other] {
        assert!(paths.on_response(token_for(&sent, at), seen(), at, ms(20)));
    }
    assert_eq!((paths.verdict(ms(20)), paths.others.len()), (None, 1));
    // The address in use goes, and a packet comes along what is in reserve.
    assert!(paths.on_local_ip_gone([10, 1, 0, 1].into()));
    paths.on_received(other, NEWEST, PTO, ms(30));
    assert_eq!((paths.current(), paths.others.len()), (other, 0));
    // The system's choice is what is in reserve.
    paths.on_received(path(1), NEWEST, PTO, ms(40));
    paths.on_silence(PTO, ms(40));
    let sent = tokens(&mut paths, ms(40));
    let open = Path { local_ip: None, ..other };
    assert_eq!(sent.iter().map(|(to, _)| *to).collect::<Vec<_>>(), [other, path(1), open]);
    assert!(paths.on_response(token_for(&sent, open), seen(), path(1), ms(60)));
    assert_eq!(paths.others.iter().map(|place| place.path).collect::<Vec<_>>(), [path(1)]);
}

#[test]
fn one_challenge_of_a_packet_is_answered_along_its_way_and_four_wait() {
    let mut paths = paths();
    for n in 2..9 {
        paths.on_challenge([n; 8], path(n), 41, START);
    }
    let answers: Vec<_> =
        (2..6).map(|n| (path(n), Frame::PathResponse { token: [n; 8], observed: path(n).remote })).collect();
    assert_eq!(poll(&mut paths, START), answers);
    // Less than a third of the answer came.
    paths.on_challenge([9; 8], path(9), 15, START);
    assert_eq!((poll(&mut paths, START), paths.deadline()), (vec![], Moment::NEVER));
}

#[test]
fn a_path_that_the_handshake_did_not_prove_is_asked_and_holds_back_meanwhile() {
    let mut paths =
        Paths::new(path(1), Allowance::earned(88), Role::Responder, ChaCha20Rng::from_seed([1; 32]));
    assert_eq!((paths.is_validated(), paths.room()), (false, 264));
    paths.validate(START);
    let sent = tokens(&mut paths, START);
    assert_eq!(paths.room(), 264 - 41);
    assert!(!paths.take(224) && paths.take(223));
    assert!(paths.on_response(token_for(&sent, path(1)), seen(), path(1), ms(30)));
    assert!(paths.is_validated() && paths.room() == u64::MAX && paths.moves() == 0);
}

/// The current path's challenges that leave, all answered with `observed`.
fn answer(paths: &mut Paths, observed: SocketAddr, now: Moment) -> usize {
    let sent = tokens(paths, now);
    for (to, token) in &sent {
        assert!(paths.on_response(*token, observed, *to, now));
    }
    sent.len()
}

#[test]
fn where_the_peer_sees_this_side_is_asked_again_when_it_may_be_elsewhere_and_that_ends() {
    let elsewhere = SocketAddr::from(([198, 51, 100, 8], 7000));
    let mut paths = paths();
    // What was never asked is not told, and so not wrong.
    paths.on_challenge([1; 8], path(1), 41, START);
    paths.ask_where_seen(START);
    assert_eq!((answer(&mut paths, seen(), START), paths.observed()), (0, None));
    paths.current.probe(START);
    assert_eq!((answer(&mut paths, seen(), START), paths.observed()), (1, Some(seen())));
    // The peer has doubts, a while later: a NAT between the two may be another one.
    paths.on_challenge([2; 8], path(1), 41, ms(6_000));
    assert_eq!((answer(&mut paths, elsewhere, ms(6_000)), paths.observed()), (1, Some(elsewhere)));
    // It asks again, as it was asked, and along a way that is not in use.
    paths.on_challenge([3; 8], path(1), 41, ms(6_010));
    paths.on_challenge([4; 8], path(2), 41, ms(20_000));
    assert_eq!(answer(&mut paths, seen(), ms(20_000)), 0);
    // This side's system has another way out.
    paths.ask_where_seen(ms(20_001));
    assert_eq!((answer(&mut paths, seen(), ms(20_001)), paths.observed()), (1, Some(seen())));
    // What was seen of an address that is gone says nothing.
    assert!(paths.on_local_ip_gone([10, 1, 0, 1].into()));
    assert_eq!(paths.observed(), None);
}

#[test]
fn what_the_peer_saw_on_another_path_is_not_told_of_the_one_in_use() {
    let mut paths = paths();
    paths.on_received(path(2), NEWEST, PTO, START);
    let sent = tokens(&mut paths, START);
    assert!(paths.on_response(token_for(&sent, path(2)), seen(), path(2), ms(40)));
    assert_eq!(paths.observed(), None);
    assert_eq!((paths.verdict(ms(150)), paths.observed()), (Some(path(1)), Some(seen())));
}
