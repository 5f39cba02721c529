//! A line of the command language.
#![no_main]

use libfuzzer_sys::fuzz_target;
use p2pchat_client::language;

fuzz_target!(|line: &str| {
    // A failure is an answer, too; it must be one that can be shown.
    if let Err(failure) = language::parse(line, None) {
        assert!(!failure.to_string().is_empty());
    }
});
