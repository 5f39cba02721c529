//! What comes over a file's TCP connection: both hellos and the header of a record.
#![no_main]

use libfuzzer_sys::fuzz_target;
use p2pchat_proto::carrier::{DialerHello, ListenerHello, RecordHeader};
use p2pchat_proto::transfer::CHUNK_LEN;

fuzz_target!(|bytes: &[u8]| {
    if let Some(hello) = bytes.first_chunk().and_then(DialerHello::from_bytes) {
        assert!(bytes.starts_with(&hello.to_bytes()));
    }
    if let Some(hello) = bytes.first_chunk().and_then(ListenerHello::from_bytes) {
        assert!(bytes.starts_with(&hello.to_bytes()));
    }
    if let Some(Ok(header)) = bytes.first_chunk().map(|header| RecordHeader::from_bytes(*header)) {
        assert!(header.plaintext_len() <= CHUNK_LEN);
        assert!(bytes.starts_with(&header.to_bytes()));
    }
});
