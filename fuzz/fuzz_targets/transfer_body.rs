//! A body on the control stream, of a file transfer or of a rekey. The first byte is its kind.
#![no_main]

use libfuzzer_sys::fuzz_target;
use p2pchat_proto::rekey::RekeyBody;
use p2pchat_proto::transfer::TransferBody;

fuzz_target!(|bytes: &[u8]| {
    let Some((&kind, body)) = bytes.split_first() else { return };
    if let Ok(Some(rekey)) = RekeyBody::from_bytes(kind, body) {
        assert_eq!(rekey.to_bytes(), (kind, *body.first_chunk().expect("what was decoded")));
        assert_eq!(body.len(), 52);
        return;
    }
    if let Ok(Some(decoded)) = TransferBody::from_bytes(kind, body) {
        // Addresses that must never be dialled are dropped, so the bytes may differ once.
        let (kind, once) = decoded.to_bytes().expect("what was decoded can be encoded");
        assert_eq!(TransferBody::from_bytes(kind, &once), Ok(Some(decoded)));
    }
});
