//! Clients' engines, a broker that lies, and commands and bytes in any order.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| p2pchat_fuzz::client::run(bytes));
