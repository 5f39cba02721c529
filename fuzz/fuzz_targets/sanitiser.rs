//! Text from outside on its way to a terminal.
#![no_main]

use libfuzzer_sys::fuzz_target;
use p2pchat_client::sanitise;

fuzz_target!(|text: &str| {
    let shown = sanitise::line(text);
    assert!(!shown.chars().any(|c| c.is_control() || sanitise::needs_escape(c)));
    // Nothing is left to do the second time.
    assert_eq!(sanitise::line(&shown), shown);
});
