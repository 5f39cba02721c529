//! Addresses that change at any moment, of one side or of both at once, with no broker to ask.

use core::time::Duration;

use p2pchat_netsim::{Dependence, Fault, Internet, LinkConfig, Loss, NatConfig, Ports, Way};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;

use super::pair::Who;
use super::roaming::goes_on_for;
use super::wander::{Home, Wanderers, access, other, public_ip};
use crate::{EndReason, SessionEvent};

const SEEDS: u64 = 200;
/// Tenths of a second until both know that nobody answers: of a path of which nothing is known the first
/// probe leaves after 2 s at the latest, where somebody goes on writing, and each further one 2 s later.
const TOLD_WITHIN: u32 = 80;
/// An attempt sends its last INIT after 9.65 s, ends at 20 s, and the next one begins a second later.
const MET_WITHIN: u64 = 15;

fn either(rng: &mut ChaCha20Rng) -> Who {
    if rng.random() { Who::Bob } else { Who::Alice }
}

/// One who stays lets anybody in; one who moves may have come from behind any NAT.
fn homes(mover: Who, rng: &mut ChaCha20Rng) -> [Home; 2] {
    let ports = if rng.random() { Ports::Random } else { NatConfig::HOME.ports };
    let by_address = NatConfig { filtering: Dependence::AddressDependent, ports, ..NatConfig::HOME };
    let stays = if rng.random() { Home::Public } else { Home::Behind(NatConfig::OPEN) };
    let moves = if rng.random() { Home::Public } else { Home::Behind(by_address) };
    match mover {
        Who::Bob => [moves, stays],
        Who::Alice => [stays, moves],
    }
}

/// Up to one in twenty is lost on the line of somebody.
fn lose(world: &mut Wanderers, rng: &mut ChaCha20Rng) {
    let interface = world.person(either(rng)).interface;
    let loss = Loss::Independent { share: rng.random_range(0.0..0.05) };
    for way in Way::BOTH {
        world.apply(Fault::Line { interface, way, config: LinkConfig { loss, ..access().up } });
    }
}

#[test]
#[allow(clippy::print_stdout, reason = "a figure for whoever asks for the output")]
fn whoever_moves_whenever_and_from_wherever_the_conversation_goes_on_within_two_seconds() {
    let mut longest = Duration::ZERO;
    for seed in 0..SEEDS {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let mover = either(&mut rng);
        let [bobs, alices] = homes(mover, &mut rng);
        let mut world = Wanderers::up(seed, bobs, alices);
        world.talk(rng.random_range(1..4));
        lose(&mut world, &mut rng);
        world.talk(1);
        for ip in ["192.0.2.77", "192.0.2.99"] {
            // Between two lines, and at times in a silence that a keepalive ends.
            let pause = if rng.random_ratio(1, 4) { 12_000 } else { 100 };
            world.run_for(Duration::from_millis(rng.random_range(0..pause)));
            world.rehome(mover, Internet::PUBLIC, ip);
            longest = longest.max(goes_on_for(4, &mut world, "after a move"));
            let remote = world.info(other(mover)).remote;
            assert_eq!(remote.ip(), ip.parse::<core::net::IpAddr>().unwrap(), "seed {seed}");
        }
    }
    println!("seeds 0 to {}: longest gap {longest:?}", SEEDS - 1);
}

#[test]
#[allow(clippy::print_stdout, reason = "a figure for whoever asks for the output")]
fn two_who_moved_at_once_are_suspect_then_lost_and_meet_again_when_one_is_back_where_it_was() {
    let (mut longest, mut told) = (Duration::ZERO, 0);
    for seed in 0..SEEDS {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let mut world = Wanderers::up(seed, Home::Public, Home::Public);
        world.keep();
        world.talk(1);
        lose(&mut world, &mut rng);
        world.talk(1);
        world.rehome(Who::Bob, Internet::PUBLIC, "192.0.2.77");
        world.rehome(Who::Alice, Internet::PUBLIC, "192.0.2.99");
        let mark = world.mark();
        for tenths in 0.. {
            let suspects = |event: &SessionEvent| matches!(event, SessionEvent::Suspect);
            if [Who::Bob, Who::Alice].into_iter().all(|who| world.since(who, mark).any(suspects)) {
                told = told.max(tenths);
                break;
            }
            assert!(tenths < TOLD_WITHIN, "seed {seed}: nobody says what is the matter");
            world.say(Who::Bob);
            world.say(Who::Alice);
            world.run_for(Duration::from_millis(100));
        }
        world.run_for(Duration::from_millis(rng.random_range(32_000..120_000)));
        for who in [Who::Bob, Who::Alice] {
            let mut ended = world.since(who, mark).filter_map(|event| match event {
                SessionEvent::Ended(reason) => Some(*reason),
                SessionEvent::Up { .. } => panic!("seed {seed}: {who:?} found somebody at an old address"),
                SessionEvent::Body { .. }
                | SessionEvent::Stream(_)
                | SessionEvent::Moved { .. }
                | SessionEvent::Suspect
                | SessionEvent::Recovered
                | SessionEvent::Hint { .. } => None,
            });
            assert_eq!(ended.next(), Some(EndReason::Lost), "seed {seed}");
            assert!(ended.all(|reason| reason == EndReason::HandshakeTimedOut), "seed {seed}");
        }
        let back = either(&mut rng);
        world.rehome(back, Internet::PUBLIC, &public_ip(back).to_string());
        let (mark, since) = (world.mark(), world.now);
        let met = world.run_until(MET_WITHIN, |world| world.are_together(mark));
        assert!(met, "seed {seed}: {back:?} is back, and they have not met");
        longest = longest.max(Duration::from_nanos(world.now - since));
        // If both dialled, one of the two sessions goes.
        world.run_for(Duration::from_secs(1));
        let mark = world.mark();
        world.talk(1);
        world.run_for(Duration::from_secs(2));
        for who in [Who::Bob, Who::Alice] {
            let heard = world.since(who, mark).filter(|event| matches!(event, SessionEvent::Body { .. }));
            assert_eq!(heard.count(), 10, "seed {seed}");
        }
    }
    println!("seeds 0 to {}: told within {told} tenths of a second, together {longest:?} after", SEEDS - 1);
}
