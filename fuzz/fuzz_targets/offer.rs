//! An offer: its encoding, and its verification where nothing fits.
#![no_main]

use libfuzzer_sys::fuzz_target;
use p2pchat_crypto::offer::{Expected, VerifiedRequest};
use p2pchat_proto::codec::{decode, encode};
use p2pchat_proto::offer::{OfferBody, SignedOffer};
use p2pchat_proto::{BrokerKey, PeerId, RequestId, WallTime};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(body) = decode::<OfferBody>(bytes) {
        assert_eq!(encode(&body).as_deref(), Ok(bytes));
        // A body that decodes still needs a signature.
        let offer = SignedOffer { body: bytes.to_vec(), signature: [7; 64] };
        let expected = Expected {
            me: PeerId([1; 32]),
            my_name: None,
            from: body.from,
            pin: None,
            request: body.request,
            broker_key: body.broker_key,
            now: body.made,
        };
        assert!(VerifiedRequest::verify(offer, expected).is_err());
    }
    if let Ok(offer) = decode::<SignedOffer>(bytes) {
        assert_eq!(encode(&offer).as_deref(), Ok(bytes));
        let expected = Expected {
            me: PeerId([1; 32]),
            my_name: None,
            from: PeerId([2; 32]),
            pin: None,
            request: RequestId([3; 16]),
            broker_key: BrokerKey([4; 32]),
            now: WallTime(0),
        };
        assert!(VerifiedRequest::verify(offer, expected).is_err());
    }
});
