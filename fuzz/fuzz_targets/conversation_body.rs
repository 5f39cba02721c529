//! A body on a conversation stream. The first byte chooses which.
#![no_main]

use libfuzzer_sys::fuzz_target;
use p2pchat_proto::codec::{Body, decode, encode};
use p2pchat_proto::conversation::{Receipt, Sync, Text};

fn check<B: Body>(bytes: &[u8]) {
    if let Ok(body) = decode::<B>(bytes) {
        assert_eq!(encode(&body).as_deref(), Ok(bytes));
    }
}

fuzz_target!(|bytes: &[u8]| {
    match bytes.split_first() {
        Some((0, body)) => check::<Text>(body),
        Some((1, body)) => check::<Receipt>(body),
        Some((_, body)) => check::<Sync>(body),
        None => {}
    }
});
