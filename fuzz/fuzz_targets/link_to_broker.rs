//! What a client may send a broker over the link.
#![no_main]

use libfuzzer_sys::fuzz_target;
use p2pchat_proto::broker::ToBroker;

fuzz_target!(|record: &[u8]| {
    if let Ok((call, message)) = ToBroker::from_record(record) {
        assert_eq!(message.to_record(call).as_deref(), Ok(record));
    }
});
