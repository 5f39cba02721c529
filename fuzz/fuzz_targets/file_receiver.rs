//! The receiver of a file, and records in any order and shape.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| p2pchat_fuzz::receiver::run(bytes));
