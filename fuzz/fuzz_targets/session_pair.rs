//! Two sessions and a line between them that does anything.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| p2pchat_fuzz::pair::run(bytes));
