//! The bytes of everything that two machines must agree on, from recorded randomness. A change of
//! any of them is a change of the protocol.

use p2pchat_proto::offer::{Addressee, Purpose, SignedOffer, Suites};
use p2pchat_proto::{BrokerKey, PeerId, RequestId, TransferId, UdpEndpoints, WallTime};

use crate::carrier::{CarrierSecret, RecordOpener, RecordSealer, hello_mac};
use crate::data::{OpenKey, SealKey, SessionKeys};
use crate::handshake::{Initiator, Responder};
use crate::introduction::{Role, Suite};
use crate::keyfile::{self, Passphrase};
use crate::link::{BrokerSecret, ClientHandshake, LinkOpener, LinkSealer, ServerHandshake, hello};
use crate::offer::{AcceptTerms, Accepted, Expected, PendingRequest, RequestTerms, VerifiedRequest};
use crate::safety::{SafetyNumber, peer_words};
use crate::testing::{BOTH_SUITES, Recorded};
use crate::vectors::Vectors;
use crate::{Identity, Resumption, ResumptionSecret, ResumptionTerms, Seed, TicketWindow, kem, rekey};

const SESSION: &str = include_str!("../tests/vectors/session.txt");
const REKEY: &str = include_str!("../tests/vectors/rekey.txt");
const RESUMPTION: &str = include_str!("../tests/vectors/resumption.txt");
const LINK: &str = include_str!("../tests/vectors/link.txt");
const CARRIER: &str = include_str!("../tests/vectors/carrier.txt");
const KEY_FILE: &str = include_str!("../tests/vectors/keyfile.txt");
const SAFETY: &str = include_str!("../tests/vectors/safety.txt");

fn recorded(vectors: &Vectors, name: &str) -> Recorded {
    Recorded(vectors.bytes(name).to_vec())
}

fn identity(vectors: &Vectors, name: &str) -> Identity {
    Identity::from_seed(&Seed::from_bytes(vectors.array(name)))
}

fn offer_bytes(offer: &SignedOffer) -> Vec<u8> {
    [&offer.body[..], &offer.signature].concat()
}

struct Met {
    request: SignedOffer,
    accept: SignedOffer,
    bobs: Accepted,
    alices: Accepted,
}

/// Bob asks alice, who lists `suites`, with the recorded ephemeral keys and KEM exchange.
fn meet(vectors: &Vectors, alice: &Identity, bob: &Identity, suites: Suites) -> Met {
    let now = WallTime(u64::from_be_bytes(vectors.array("made")));
    let broker_key = BrokerKey(vectors.array("broker_key"));
    let request = RequestId(vectors.array("request_id"));
    let terms = RequestTerms {
        request,
        to: Addressee::Peer(alice.peer_id()),
        broker_key,
        made: now,
        purpose: Purpose::Chat,
        suites: BOTH_SUITES,
    };
    let mut rng = recorded(vectors, "bob_ephemeral");
    let pending = PendingRequest::with_kem(bob, terms, kem::recorded::keys(), &mut rng).unwrap();
    let expected = Expected {
        me: alice.peer_id(),
        my_name: None,
        from: bob.peer_id(),
        pin: None,
        request,
        broker_key,
        now,
    };
    let offer = pending.offer().clone();
    let verified = VerifiedRequest::verify(offer.clone(), expected).unwrap();
    let mut rng = recorded(vectors, "alice_ephemeral");
    let terms = AcceptTerms { made: now, suites };
    let (accept, alices) =
        verified.accept_with(alice, terms, kem::recorded::encapsulated(), &mut rng).unwrap();
    let bobs = pending.accepted(bob, &accept, alice.peer_id(), broker_key, now).unwrap();
    Met { request: offer, accept, bobs, alices }
}

/// The three messages and what both sides hold for epoch 0.
fn shake(vectors: &Vectors, alice: &Identity, bob: &Identity, met: &Met) -> ([Vec<u8>; 3], [SessionKeys; 2]) {
    let mut rng = recorded(vectors, "bob_noise_ephemeral");
    let (initiator, first) = Initiator::start(&met.bobs.introduction, bob, &mut rng);
    let mut rng = recorded(vectors, "alice_noise_ephemeral");
    let (responder, second) = Responder::respond(&met.alices.introduction, alice, &first, &mut rng).unwrap();
    let (bobs, third) = initiator.read_response(&second).unwrap();
    let alices = responder.finish(&third).unwrap();
    let messages = [first.to_vec(), second.to_vec(), third.to_vec()];
    (messages, [bobs, alices])
}

/// A whole DATA datagram for receiver 0x01020304, and what the peer reads of it.
fn packet(vectors: &Vectors, epoch: u8, number: u64, from: &SealKey, to: &OpenKey) -> Vec<u8> {
    let header = [&[0x54, epoch, 0, 0, 1, 2, 3, 4][..], &number.to_be_bytes()].concat();
    let mut body = vectors.bytes("plaintext").to_vec();
    let tag = from.seal_in_place(number, &header, &mut body);
    body.extend(tag);
    let opened = to.open_in_place(number, &header, &mut body.clone()).unwrap().to_vec();
    assert_eq!(opened, vectors.bytes("plaintext"));
    [header, body].concat()
}

#[test]
fn from_two_seeds_to_the_first_packet_the_bytes_are_the_recorded_ones() {
    let vectors = Vectors::parse(SESSION);
    let (alice, bob) = (identity(&vectors, "alice_seed"), identity(&vectors, "bob_seed"));
    let mut aes = meet(&vectors, &alice, &bob, BOTH_SUITES);
    let (messages, both) = shake(&vectors, &alice, &bob, &aes);
    let [bobs, alices] = both.map(SessionKeys::into_epoch);
    let [first, second, third] = messages;

    let endpoints =
        UdpEndpoints::new(["192.0.2.1:1234", "[2001:db8::1]:5678"].map(|text| text.parse().unwrap()));
    let sealed = aes.alices.endpoints.seal(&endpoints);
    assert_eq!(aes.bobs.endpoints.open(&sealed), Ok(endpoints));

    let chacha = meet(&vectors, &alice, &bob, Suites::CHACHA20_POLY1305);
    let (_, both) = shake(&vectors, &alice, &bob, &chacha);
    let [chacha_bobs, chacha_alices] = both.map(SessionKeys::into_epoch);
    assert_eq!(aes.bobs.introduction.suite(), Suite::Aes256Gcm);
    assert_eq!(chacha.bobs.introduction.suite(), Suite::ChaCha20Poly1305);
    assert_eq!(aes.bobs.introduction.role(), Role::Initiator);

    vectors.expect(&[
        ("alice_peer_id", alice.peer_id().0.to_vec()),
        ("alice_noise_public", alice.noise_public().to_vec()),
        ("bob_peer_id", bob.peer_id().0.to_vec()),
        ("bob_noise_public", bob.noise_public().to_vec()),
        ("request_offer", offer_bytes(&aes.request)),
        ("accept_offer", offer_bytes(&aes.accept)),
        ("transcript", aes.bobs.introduction.transcript.to_vec()),
        ("bob_ticket", aes.bobs.introduction.my_ticket().0.to_vec()),
        ("alice_ticket", aes.alices.introduction.my_ticket().0.to_vec()),
        ("alice_endpoints", sealed.as_slice().to_vec()),
        ("bob_mac_of_message_1", aes.bobs.introduction.mac(&first).to_vec()),
        ("alice_mac_of_message_2", aes.alices.introduction.mac(&second).to_vec()),
        ("message_1", first),
        ("message_2", second),
        ("message_3", third),
        ("bob_aes_packet_0", packet(&vectors, 0, 0, &bobs.seal, &alices.open)),
        ("alice_aes_packet_258", packet(&vectors, 0, 258, &alices.seal, &bobs.open)),
        ("bob_chacha_packet_0", packet(&vectors, 0, 0, &chacha_bobs.seal, &chacha_alices.open)),
        ("alice_chacha_packet_258", packet(&vectors, 0, 258, &chacha_alices.seal, &chacha_bobs.open)),
    ]);
}

#[test]
fn two_rekeys_of_the_recorded_session_are_the_recorded_ones() {
    let (session, vectors) = (Vectors::parse(SESSION), Vectors::parse(REKEY));
    let (alice, bob) = (identity(&session, "alice_seed"), identity(&session, "bob_seed"));
    let met = meet(&session, &alice, &bob, BOTH_SUITES);
    let (_, [mut bobs, mut alices]) = shake(&session, &alice, &bob, &met);
    let mut computed = vec![("resumption_0".to_owned(), bobs.resumption().expose().to_vec())];
    for target in [1, 2] {
        let mut rng = recorded(&vectors, &format!("bob_rekey_ephemeral_{target}"));
        let (initiator, first) = rekey::Initiator::start(&bobs, &bob, &mut rng).unwrap();
        let mut rng = recorded(&vectors, &format!("alice_rekey_ephemeral_{target}"));
        let (next, second) = rekey::respond(&alices, &alice, target, &first, &mut rng).unwrap();
        bobs = initiator.finish(&bobs, target, &second).unwrap();
        alices = next;
        let (from_bob, from_alice) = (bobs.keys(), alices.keys());
        let epoch = u8::try_from(target).unwrap();
        let bobs_packet = packet(&session, epoch, 1000, &from_bob.seal, &from_alice.open);
        let alices_packet = packet(&session, epoch, 1001, &from_alice.seal, &from_bob.open);
        computed.extend([
            (format!("message_1_of_{target}"), first.to_vec()),
            (format!("message_2_of_{target}"), second.to_vec()),
            (format!("bob_packet_1000_of_{target}"), bobs_packet),
            (format!("alice_packet_1001_of_{target}"), alices_packet),
            (format!("resumption_{target}"), bobs.resumption().expose().to_vec()),
        ]);
    }
    let computed: Vec<_> = computed.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect();
    vectors.expect(&computed);
}

#[test]
fn a_resumption_of_the_recorded_session_is_the_recorded_one() {
    let (session, vectors) = (Vectors::parse(SESSION), Vectors::parse(RESUMPTION));
    let (alice, bob) = (identity(&session, "alice_seed"), identity(&session, "bob_seed"));
    let secret = ResumptionSecret::from_bytes(vectors.array("resumption_secret"));
    let window = TicketWindow(u64::from_be_bytes(vectors.array("window")));
    let terms = |me: &Identity, peer: &Identity| {
        let (suite, peer_noise) = (Suite::Aes256Gcm, peer.noise_public());
        ResumptionTerms { me: me.peer_id(), peer: peer.peer_id(), suite, peer_noise }
    };
    let bobs = Resumption::new(terms(&bob, &alice), &secret).unwrap();
    let alices = Resumption::new(terms(&alice, &bob), &secret).unwrap();
    let (begun, answered) =
        (bobs.introduction(Role::Initiator, window), alices.introduction(Role::Responder, window));
    let mut rng = recorded(&vectors, "bob_noise_ephemeral");
    let (initiator, first) = Initiator::start(&begun, &bob, &mut rng);
    let mut rng = recorded(&vectors, "alice_noise_ephemeral");
    let (responder, second) = Responder::respond(&answered, &alice, &first, &mut rng).unwrap();
    let (keys, third) = initiator.read_response(&second).unwrap();
    let next = keys.resumption().expose().to_vec();
    let (bobs_keys, alices_keys) = (keys.keys(), responder.finish(&third).unwrap().keys());
    let mut rng = recorded(&vectors, "seal_nonce");
    let sealed = alice.store().seal(b"p2pchat 1 store", &[secret.expose()], &mut rng).unwrap();
    vectors.expect(&[
        ("transcript", begun.transcript.to_vec()),
        ("bob_ticket_before", alices.peer_ticket(TicketWindow(window.0 - 1)).0.to_vec()),
        ("bob_ticket", begun.my_ticket().0.to_vec()),
        ("bob_ticket_after", alices.peer_ticket(TicketWindow(window.0 + 1)).0.to_vec()),
        ("alice_ticket", bobs.peer_ticket(window).0.to_vec()),
        ("bob_mac_of_message_1", begun.mac(&first).to_vec()),
        ("alice_mac_of_message_2", answered.mac(&second).to_vec()),
        ("message_1", first.to_vec()),
        ("message_2", second.to_vec()),
        ("message_3", third.to_vec()),
        ("bob_packet_0", packet(&session, 0, 0, &bobs_keys.seal, &alices_keys.open)),
        ("next_resumption_secret", next),
        ("sealed_secret", sealed),
    ]);
}

fn link_record(vectors: &Vectors, from: &mut LinkSealer, to: &mut LinkOpener) -> Vec<u8> {
    let mut out = Vec::new();
    from.seal(vectors.bytes("plaintext"), &mut out).unwrap();
    let mut opened = out[2..].to_vec();
    to.open(&mut opened).unwrap();
    assert_eq!(opened, vectors.bytes("plaintext"));
    out
}

#[test]
fn the_bytes_of_a_broker_link_are_the_recorded_ones() {
    let vectors = Vectors::parse(LINK);
    let broker = BrokerSecret::from_bytes(vectors.array("broker_secret"));
    let me = identity(&vectors, "seed");
    let (client, first) = ClientHandshake::start(&mut recorded(&vectors, "client_ephemeral"));
    let mut rng = recorded(&vectors, "broker_ephemeral");
    let (mut broker_seals, mut broker_opens, hash, second) =
        ServerHandshake::respond(&broker, &first, &mut rng).unwrap();
    let (mut seals, mut opens, link) = client.finish(&second).unwrap();
    assert_eq!((link.key, link.hash), (broker.public(), hash));
    vectors.expect(&[
        ("broker_key", broker.public().0.to_vec()),
        ("message_1", first),
        ("message_2", second),
        ("hash", hash.to_vec()),
        ("hello_signature", hello(&me, &hash, broker.public()).to_vec()),
        ("client_record_0", link_record(&vectors, &mut seals, &mut broker_opens)),
        ("client_record_1", link_record(&vectors, &mut seals, &mut broker_opens)),
        ("broker_record_0", link_record(&vectors, &mut broker_seals, &mut opens)),
    ]);
}

#[test]
fn the_bytes_of_a_carrier_are_the_recorded_ones() {
    let vectors = Vectors::parse(CARRIER);
    let secret = CarrierSecret::from_bytes(vectors.array("carrier_secret"));
    let transfer = TransferId(vectors.array("transfer"));
    let (d, l) = (vectors.array("nonce_d"), vectors.array("nonce_l"));
    let mut computed = vec![
        ("dialer_mac", hello_mac(&secret, &[b"D", &transfer.0, &d]).to_vec()),
        ("listener_mac", hello_mac(&secret, &[b"L", &transfer.0, &d, &l]).to_vec()),
    ];
    let suites = [
        (Suite::Aes256Gcm, ["aes_record_0", "aes_last_record_1"]),
        (Suite::ChaCha20Poly1305, ["chacha_record_0", "chacha_last_record_1"]),
    ];
    for (suite, names) in suites {
        let mut sealer = RecordSealer::new(suite, &secret, transfer, &d, &l);
        let mut opener = RecordOpener::new(suite, &secret, transfer, &d, &l);
        for (name, last) in names.into_iter().zip([false, true]) {
            let mut record = vectors.bytes("plaintext").to_vec();
            sealer.seal(&mut record, last).unwrap();
            computed.push((name, record.clone()));
            opener.open(&mut record, last).unwrap();
            assert_eq!(record, vectors.bytes("plaintext"));
        }
    }
    vectors.expect(&computed);
}

#[test]
fn the_bytes_of_a_key_file_are_the_recorded_ones() {
    let vectors = Vectors::parse(KEY_FILE);
    let seed = Seed::from_bytes(vectors.array("seed"));
    let passphrase = Passphrase::new(String::from_utf8(vectors.bytes("passphrase").to_vec()).unwrap());
    let open = keyfile::seal(&seed, None, &mut recorded(&vectors, "open_randomness")).unwrap();
    let mut rng = recorded(&vectors, "locked_randomness");
    let locked = keyfile::seal(&seed, Some(&passphrase), &mut rng).unwrap();
    vectors.expect(&[("open_file", open), ("locked_file", locked)]);
    let recorded = |file: &str| keyfile::open(vectors.bytes(file), Some(&passphrase)).unwrap();
    assert_eq!(recorded("open_file").as_bytes(), seed.as_bytes());
    assert_eq!(recorded("locked_file").as_bytes(), seed.as_bytes());
}

#[test]
fn a_safety_number_is_the_recorded_one() {
    let vectors = Vectors::parse(SAFETY);
    let (alice, bob) = (PeerId(vectors.array("alice")), PeerId(vectors.array("bob")));
    let number = SafetyNumber::between(alice, bob);
    vectors.expect(&[
        ("digits", number.digits().into_bytes()),
        ("words", number.words().join(" ").into_bytes()),
        ("qr_payload", number.qr_payload().into_bytes()),
        ("alice_words", peer_words(alice).join(" ").into_bytes()),
        ("bob_words", peer_words(bob).join(" ").into_bytes()),
    ]);
}
