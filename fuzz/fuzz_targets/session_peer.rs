//! A session, and an introduced peer who says anything.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| p2pchat_fuzz::peer::run(bytes));
