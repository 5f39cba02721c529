//! The broker's registry, and clients who do anything.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| p2pchat_fuzz::broker::run(bytes));
