//! The registry against a plain model: any sequence of logins, names, requests, answers, writes
//! that succeed or fail, departures and time gives the outcomes that a list and a loop would give.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::wildcard_enum_match_arm)]

#[path = "support/model.rs"]
mod model;
#[allow(dead_code, reason = "each test crate uses a part of it")]
mod support;

use model::{IDS, NAMES, Op, PEERS, Pair};
use proptest::prelude::*;

fn op() -> impl Strategy<Value = Op> {
    let peer = || 0..PEERS;
    let to_name = || 0..NAMES.len();
    let id = || 0..IDS;
    prop_oneof![
        3 => peer().prop_map(Op::Join),
        1 => peer().prop_map(Op::Leave),
        2 => (peer(), to_name()).prop_map(|(p, n)| Op::Register(p, n)),
        1 => peer().prop_map(Op::Unregister),
        3 => prop::bool::weighted(0.8).prop_map(Op::Written),
        4 => (peer(), prop::option::of(peer()), prop::option::of(to_name()), id())
            .prop_map(|(from, to, name, id)| Op::Request { from, to, name, id }),
        3 => (peer(), id()).prop_map(|(p, r)| Op::Accept(p, r)),
        1 => (peer(), id()).prop_map(|(p, r)| Op::Decline(p, r)),
        1 => (peer(), id()).prop_map(|(p, r)| Op::Cancel(p, r)),
        2 => (peer(), id()).prop_map(|(p, r)| Op::Endpoints(p, r)),
        2 => (1u64..35).prop_map(Op::Pass),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_calls_has_the_outcomes_of_the_model(ops in prop::collection::vec(op(), 1..120)) {
        let mut pair = Pair::new();
        for op in ops {
            pair.step(op);
        }
        pair.everybody_leaves();
    }
}
