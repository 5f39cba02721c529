//! What a broker may send a client over the link.
#![no_main]

use libfuzzer_sys::fuzz_target;
use p2pchat_proto::broker::FromBroker;

fuzz_target!(|record: &[u8]| {
    if let Ok((call, message)) = FromBroker::from_record(record) {
        assert_eq!(message.to_record(call).as_deref(), Ok(record));
    }
});
