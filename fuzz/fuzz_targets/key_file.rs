//! A key file that somebody else wrote.
#![no_main]

use libfuzzer_sys::fuzz_target;
use p2pchat_crypto::keyfile::{is_locked, open};

fuzz_target!(|file: &[u8]| {
    // A locked one is opened without a passphrase, so that no run takes the time of its KDF.
    let locked = is_locked(file);
    let opened = open(file, None);
    assert!(locked.is_ok() || opened.is_err());
    if locked == Ok(true) {
        assert!(opened.is_err());
    }
});
