//! Any sequence of what two users and a line may do.

use core::time::Duration;

use proptest::prelude::*;

use super::pair::{Pair, Who, bad_line, good_line, received};
use crate::{CloseCode, SendError, SessionEvent, StreamId};

#[derive(Debug, Clone)]
enum Operation {
    Say(bool, StreamId, usize),
    Wait(u64),
    Cut(bool),
    BadLine(bool),
    Sleep(u64),
    Garbage(bool, Vec<u8>),
    Replay(bool, usize),
    Close(bool),
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        8 => (any::<bool>(), 0u64..3, 0usize..4_000)
            .prop_map(|(bob, stream, len)| Operation::Say(bob, StreamId(stream), len)),
        8 => (0u64..400).prop_map(Operation::Wait),
        1 => (0u64..40_000).prop_map(Operation::Wait),
        // Long enough for new keys.
        1 => (100_000u64..200_000).prop_map(Operation::Wait),
        1 => any::<bool>().prop_map(Operation::Cut),
        1 => any::<bool>().prop_map(Operation::BadLine),
        1 => (0u64..100).prop_map(Operation::Sleep),
        1 => (any::<bool>(), proptest::collection::vec(any::<u8>(), 0..100))
            .prop_map(|(bob, bytes)| Operation::Garbage(bob, bytes)),
        2 => (any::<bool>(), any::<usize>()).prop_map(|(bob, n)| Operation::Replay(bob, n)),
        1 => any::<bool>().prop_map(Operation::Close),
    ]
}

const fn who(bob: bool) -> Who {
    if bob { Who::Bob } else { Who::Alice }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_happens_bodies_come_once_and_in_order_and_everything_ends(
        seed: u64,
        operations in proptest::collection::vec(operation(), 0..60),
    ) {
        let mut pair = Pair::introduced(seed, good_line());
        let mut said: [Vec<(StreamId, Vec<u8>)>; 2] = [vec![], vec![]];
        for operation in operations {
            match operation {
                Operation::Say(bob, stream, len) => {
                    let body = vec![said[usize::from(bob)].len() as u8; len];
                    let now = pair.now;
                    let side = pair.side(who(bob));
                    match side.endpoint.send(side.session, stream, 1, &body, now) {
                        Ok(()) => said[usize::from(bob)].push((stream, body)),
                        Err(refused) => prop_assert!(
                            [SendError::NotUp, SendError::NoStream].contains(&refused), "{refused}"),
                    }
                }
                Operation::Wait(ms) => pair.run_for(Duration::from_millis(ms)),
                Operation::Cut(on) => {
                    let (bob, alice) = (pair.bob.address.ip(), pair.alice.address.ip());
                    pair.network.partition(bob, alice, on);
                }
                Operation::BadLine(on) => {
                    let (bob, alice) = (pair.bob.address.ip(), pair.alice.address.ip());
                    pair.network.link(bob, alice, if on { bad_line() } else { good_line() });
                }
                Operation::Sleep(seconds) => pair.now = pair.now + Duration::from_secs(seconds),
                Operation::Garbage(bob, mut bytes) => {
                    let (now, from) = (pair.now, received("10.1.1.1:1".parse().unwrap()));
                    pair.side(who(bob)).endpoint.handle_datagram(from, &mut bytes, now);
                }
                Operation::Replay(bob, n) => {
                    if let Some(index) = n.checked_rem(pair.sent.len()) {
                        let (_, _, _, mut bytes) = pair.sent[index].clone();
                        let (now, from) = (pair.now, received(pair.bob.address));
                        pair.side(who(bob)).endpoint.handle_datagram(from, &mut bytes, now);
                    }
                }
                Operation::Close(bob) => pair.close(who(bob), CloseCode::Done),
            }
        }
        pair.close(Who::Bob, CloseCode::Done);
        pair.run_for(Duration::from_secs(200));
        for (side, said) in [(&pair.alice, &said[1]), (&pair.bob, &said[0])] {
            for stream in [StreamId::CONTROL, StreamId::CONVERSATION] {
                let came = side.bodies(stream);
                let sent: Vec<_> =
                    said.iter().filter(|(on, _)| *on == stream).map(|(_, body)| body.clone()).collect();
                prop_assert!(sent.starts_with(&came));
            }
            prop_assert_eq!(side.count(|event| matches!(event, SessionEvent::Ended(_))), 1);
            prop_assert!(matches!(side.events.last(), Some((_, _, SessionEvent::Ended(_)))));
            prop_assert!(side.endpoint.is_empty() && side.endpoint.poll_timeout().is_none());
        }
    }
}

#[test]
fn while_output_waits_the_timeout_is_now() {
    let mut pair = Pair::up(1, good_line());
    pair.run_for(Duration::from_secs(1));
    assert!(pair.bob.endpoint.poll_timeout().unwrap() > pair.now);
    pair.say(Who::Bob, b"hi");
    assert_eq!(pair.bob.endpoint.poll_timeout(), Some(pair.now));
}
