//! The first bytes that a stranger sends a broker, and a broker's answer to a client.
#![no_main]

use libfuzzer_sys::fuzz_target;
use p2pchat_crypto::link::{BrokerSecret, ClientHandshake, ServerHandshake};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

fuzz_target!(|message: &[u8]| {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let secret = BrokerSecret::from_bytes([7; 32]);
    let (client, first) = ClientHandshake::start(&mut rng);
    // Nobody answers the client's message without having seen it.
    assert!(client.finish(message).is_err());
    if let Ok((_, mut opener, _, _)) = ServerHandshake::respond(&secret, message, &mut rng) {
        assert!(opener.open(&mut message.to_vec()).is_err());
    }
    assert!(ServerHandshake::respond(&secret, &first, &mut rng).is_ok());
});
