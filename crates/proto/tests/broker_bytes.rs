//! The bytes of every message between a client and its broker, as version 1 fixes them.
#![allow(clippy::unwrap_used, clippy::panic)]

use data_encoding::HEXLOWER;
use p2pchat_proto::broker::*;
use p2pchat_proto::limits::{OFFER_BODY_MAX, REASON_MAX, SEALED_ENDPOINTS_MAX};
use p2pchat_proto::offer::SignedOffer;
use p2pchat_proto::succession::KeptSuccession;
use p2pchat_proto::{
    Availability, BrokerKey, ContactPolicy, Name, PeerId, RequestId, Standing, Visibility, WallTime,
};

const CALL: Call = 0x0102_0304;
const REQUEST: RequestId = RequestId([0x77; 16]);
const PEER: PeerId = PeerId([0xaa; 32]);

/// What the messages below hold more than once, in hexadecimal.
struct Parts {
    /// Of every record here.
    call: &'static str,
    request: String,
    peer: String,
    /// The name `al`.
    name: &'static str,
    /// A body of two bytes and its signature.
    offer: String,
    /// A box of two bytes.
    sealed: &'static str,
}

fn parts() -> Parts {
    Parts {
        call: "01020304",
        request: "77".repeat(16),
        peer: "aa".repeat(32),
        name: "0000000000000002 616c",
        offer: format!("0000000000000002 b1b2 {}", "cc".repeat(64)),
        sealed: "0000000000000002 e1e2",
    }
}

fn name() -> Name {
    "al".parse().unwrap()
}

fn offer() -> SignedOffer {
    SignedOffer { body: vec![0xb1, 0xb2], signature: [0xcc; 64] }
}

fn sealed() -> SealedEndpoints {
    SealedEndpoints::new(vec![0xe1, 0xe2]).unwrap()
}

fn assert_bytes(came: &[u8], expected: &str) {
    assert_eq!(HEXLOWER.encode(came), expected.replace(' ', ""));
}

fn from_client(message: impl Into<ToBroker>, expected: &str) {
    let message = message.into();
    let record = message.to_record(CALL).unwrap();
    assert_bytes(&record, expected);
    assert_eq!(ToBroker::from_record(&record), Ok((CALL, message)));
}

fn from_broker(message: impl Into<FromBroker>, expected: &str) {
    let message = message.into();
    let record = message.to_record(CALL).unwrap();
    assert_bytes(&record, expected);
    assert_eq!(FromBroker::from_record(&record), Ok((CALL, message)));
}

#[test]
fn what_is_said_of_a_key_that_takes_the_place_of_another_has_its_bytes() {
    let Parts { call, peer, name: al, .. } = parts();
    let statement = || KeptSuccession::new(vec![0xf1, 0xf2]).unwrap();
    from_client(
        Rotate { name: name(), new: PEER, by_old: [0x55; 64], by_new: [0x66; 64], succession: statement() },
        &format!("0c {call} {al} {peer} {} {} 0000000000000002 f1f2", "55".repeat(64), "66".repeat(64)),
    );
    from_client(SuccessionOf { name: name(), peer: PEER }, &format!("0d {call} {al} {peer}"));
    from_broker(Succeeded { chain: Vec::new() }, &format!("8d {call} 0000000000000000"));
    from_broker(
        Succeeded { chain: vec![statement()] },
        &format!("8d {call} 0000000000000001 0000000000000002 f1f2"),
    );
}

#[test]
fn what_a_client_says_about_itself_has_its_bytes() {
    let Parts { call, peer, name: al, .. } = parts();
    let signature = "55".repeat(64);
    from_client(
        Hello { versions: vec![1, 2], features: 3, peer: PEER, signature: [0x55; 64] },
        &format!("01 {call} 0000000000000002 0102 0000000000000003 {peer} {signature}"),
    );
    from_client(Register { name: name(), token: None }, &format!("02 {call} {al} 00"));
    from_client(
        Register { name: name(), token: Opaque::new(vec![0xf1]) },
        &format!("02 {call} {al} 01 0000000000000001 f1"),
    );
    from_client(Unregister, &format!("03 {call}"));
    from_client(Ping, &format!("0a {call}"));
    from_client(Bye, &format!("0b {call}"));
    let standing = Standing {
        status: Availability::Invisible,
        visibility: Visibility::Contacts,
        policy: ContactPolicy::Nobody,
    };
    from_client(Profile { standing }, &format!("0e {call} 00000003 00000001 00000002"));
    from_client(Unsupported { kind: 0x8d }, &format!("0f {call} 8d"));
}

#[test]
fn what_a_client_asks_about_others_has_its_bytes() {
    let Parts { call, peer, name: al, .. } = parts();
    from_client(Directory { prefix: "a".into(), cursor: None }, &format!("04 {call} 0000000000000001 61 00"));
    from_client(
        Directory { prefix: String::new(), cursor: Some(name()) },
        &format!("04 {call} 0000000000000000 01 {al}"),
    );
    from_client(
        Watch { add: vec![PEER], remove: vec![] },
        &format!("05 {call} 0000000000000001 {peer} 0000000000000000"),
    );
}

#[test]
fn what_a_client_says_about_requests_has_its_bytes() {
    let Parts { call, request, peer, name: al, offer: offered, sealed: boxed } = parts();
    from_client(
        Request { request: REQUEST, to: Some(PEER), name: Some(name()), offer: offer() },
        &format!("06 {call} {request} 01 {peer} 01 {al} {offered}"),
    );
    from_client(
        Request { request: REQUEST, to: None, name: None, offer: offer() },
        &format!("06 {call} {request} 00 00 {offered}"),
    );
    from_client(Cancel { request: REQUEST }, &format!("07 {call} {request}"));
    from_client(
        Answer { request: REQUEST, answer: AnswerBody::Accept { offer: offer(), endpoints: sealed() } },
        &format!("08 {call} {request} 00000000 {offered} {boxed}"),
    );
    from_client(
        Answer { request: REQUEST, answer: AnswerBody::Decline { reason: Reason::new("no") } },
        &format!("08 {call} {request} 00000001 0000000000000002 6e6f"),
    );
    from_client(Endpoints { request: REQUEST, sealed: sealed() }, &format!("09 {call} {request} {boxed}"));
}

#[test]
fn what_a_broker_says_about_the_link_has_its_bytes() {
    let Parts { call, .. } = parts();
    let key = "bb".repeat(32);
    from_broker(
        Welcome { version: 1, now: WallTime(0x0a0b), features: 2, next_key: Some(BrokerKey([0xbb; 32])) },
        &format!("81 {call} 01 0000000000000a0b 0000000000000002 01 {key}"),
    );
    let codes = [
        (RefusedCode::Version, "00000000"),
        (RefusedCode::Signature, "00000001"),
        (RefusedCode::Full, "00000002"),
        (RefusedCode::RateLimited, "00000003"),
        (RefusedCode::Protocol, "00000004"),
    ];
    for (code, number) in codes {
        from_broker(Refused { code, retry_after: 30 }, &format!("82 {call} {number} 0000001e"));
    }
    from_broker(Replaced, &format!("8a {call}"));
    from_broker(Restarting { reconnect_in: 1000 }, &format!("8b {call} 000003e8"));
    from_broker(Pong, &format!("8c {call}"));
    from_broker(Unsupported { kind: 0x10 }, &format!("8f {call} 10"));
}

#[test]
fn every_outcome_of_a_call_has_its_bytes() {
    let Parts { call, peer, name: al, .. } = parts();
    let person = DirectoryEntry { name: name(), peer: PEER, status: Status::Online };
    let outcomes = [
        (Outcome::Done, "00000000".to_owned()),
        (
            Outcome::Page { people: vec![person], more: true },
            format!("00000001 0000000000000001 {al} {peer} 00000001 01"),
        ),
        (Outcome::NameTaken, "00000002".to_owned()),
        (Outcome::NameHeld(name()), format!("00000003 {al}")),
        (Outcome::Unknown, "00000004".to_owned()),
        (Outcome::NotOnline, "00000005".to_owned()),
        (Outcome::BoundTo(PEER), format!("00000006 {peer}")),
        (Outcome::NoSuchRequest, "00000007".to_owned()),
        (Outcome::RateLimited(60), "00000008 0000003c".to_owned()),
        (Outcome::Unavailable, "00000009".to_owned()),
    ];
    for (outcome, bytes) in outcomes {
        from_broker(Reply { outcome }, &format!("83 {call} {bytes}"));
    }
}

#[test]
fn what_a_broker_says_about_others_has_its_bytes() {
    let Parts { call, request, peer, name: al, offer: offered, sealed: boxed } = parts();
    from_broker(
        PresenceSnapshot { version: 1, peers: vec![(PEER, Status::Offline)] },
        &format!("84 {call} 0000000000000001 0000000000000001 {peer} 00000000"),
    );
    from_broker(
        PresenceDelta { version: 2, peer: PEER, status: Status::Online },
        &format!("85 {call} 0000000000000002 {peer} 00000001"),
    );
    from_broker(
        Incoming { request: REQUEST, from: PEER, name: Some(name()), offer: offer() },
        &format!("86 {call} {request} {peer} 01 {al} {offered}"),
    );
    from_broker(
        Answered {
            request: REQUEST,
            from: PEER,
            answer: AnswerBody::Accept { offer: offer(), endpoints: sealed() },
        },
        &format!("87 {call} {request} {peer} 00000000 {offered} {boxed}"),
    );
    from_broker(Endpoints { request: REQUEST, sealed: sealed() }, &format!("88 {call} {request} {boxed}"));
    let reasons = [
        (CancelledWhy::TakenBack, "00000000"),
        (CancelledWhy::Expired, "00000001"),
        (CancelledWhy::Gone, "00000002"),
    ];
    for (why, number) in reasons {
        from_broker(Cancelled { request: REQUEST, why }, &format!("89 {call} {request} {number}"));
    }
}

#[test]
fn the_largest_request_and_answer_fit_and_one_byte_more_does_not() {
    let offer = |len| SignedOffer { body: vec![1; len], signature: [2; 64] };
    let request = |len| {
        let name = Some("a".repeat(32).parse().unwrap());
        ToBroker::from(Request { request: REQUEST, to: Some(PEER), name, offer: offer(len) })
    };
    let answer = |len| {
        let endpoints = SealedEndpoints::new(vec![3; SEALED_ENDPOINTS_MAX]).unwrap();
        ToBroker::from(Answer {
            request: REQUEST,
            answer: AnswerBody::Accept { offer: offer(len), endpoints },
        })
    };
    for largest in [request(OFFER_BODY_MAX), answer(OFFER_BODY_MAX)] {
        let record = largest.to_record(CALL).unwrap();
        assert_eq!(ToBroker::from_record(&record), Ok((CALL, largest)));
    }
    for too_large in [request(OFFER_BODY_MAX + 1), answer(OFFER_BODY_MAX + 1)] {
        let record = too_large.to_record(CALL).unwrap();
        assert!(matches!(ToBroker::from_record(&record), Err(LinkError::Body(_))));
    }
    assert!(SealedEndpoints::new(vec![3; SEALED_ENDPOINTS_MAX + 1]).is_none());
}

#[test]
fn text_from_others_past_its_bound_is_refused() {
    let Parts { call, request, .. } = parts();
    let text = |len: usize| format!("{:016x} {}", len, "61".repeat(len));
    let record = |hex: String| HEXLOWER.decode(hex.replace(' ', "").as_bytes()).unwrap();
    let decline = |len| record(format!("08 {call} {request} 00000001 {}", text(len)));
    assert!(ToBroker::from_record(&decline(REASON_MAX)).is_ok());
    assert!(matches!(ToBroker::from_record(&decline(REASON_MAX + 1)), Err(LinkError::Body(_))));
    let prefix = |len| record(format!("04 {call} {} 00", text(len)));
    assert!(ToBroker::from_record(&prefix(32)).is_ok());
    assert!(matches!(ToBroker::from_record(&prefix(33)), Err(LinkError::Body(_))));
    let token = |len| record(format!("02 {call} {} 01 {}", text(2), text(len)));
    assert!(ToBroker::from_record(&token(TOKEN_MAX)).is_ok());
    assert!(matches!(ToBroker::from_record(&token(TOKEN_MAX + 1)), Err(LinkError::Body(_))));
    let register = |name: &str| record(format!("02 {call} {name} 00"));
    assert!(ToBroker::from_record(&register("0000000000000002 6131")).is_ok());
    assert!(matches!(ToBroker::from_record(&register("0000000000000002 4131")), Err(LinkError::Body(_))));
}
