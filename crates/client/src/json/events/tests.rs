use core::time::Duration;

use p2pchat_engine::{CommandId, TransferNumber};
use p2pchat_proto::conversation::{DeviceEpoch, MessageId};
use p2pchat_proto::{BrokerKey, RequestId};

use super::*;
use crate::json::parse;

const AT: WallTime = WallTime(1_794_000_000_000);
const ALICE: PeerId = PeerId([1; 32]);
const ALICE_TEXT: &str = "aeaqcaibaeaqcaibaeaqcaibaeaqcaibaeaqcaibaeaqcaibaeaq";

fn alice() -> Option<Name> {
    "alice".parse().ok()
}

fn line_of(event: &Event) -> String {
    let head = r#""at":"2026-11-06T21:20:00.000Z","#;
    let line = super::event(event, AT).unwrap();
    assert!(line.contains(head), "{line}");
    line.replace(head, "").replace(ALICE_TEXT, "ALICE").replace(&PeerId([9; 32]).to_string(), "ME")
}

fn link() -> SessionLink {
    SessionLink {
        path: PathKind::Lan,
        local: Some("127.0.0.1:1".parse().unwrap()),
        remote: "127.0.0.1:2".parse().unwrap(),
        rtt: Some(Duration::from_micros(1500)),
        cipher: "AES-256-GCM",
    }
}

#[test]
fn ready_and_broker() {
    let (name, udp) = (alice().unwrap(), "0.0.0.0:4000".parse().ok());
    let ready = Ready { peer: ALICE, name, udp, udp6: None, control: None, known: Vec::new() };
    let expected = format!(
        r#"{{"event":"ready","peer":"ALICE","name":"alice","version":"{}","udp":"0.0.0.0:4000"}}"#,
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(line_of(&Event::Ready(ready)), expected);
    let lost = BrokerEvent {
        state: BrokerState::Lost,
        address: "127.0.0.1:7770".into(),
        key: Some(BrokerKey(ALICE.0)),
        reason: Some(Failure::BrokerUnreachable { address: "127.0.0.1:7770".into(), reason: "reset".into() }),
        clock_ahead_ms: None,
    };
    assert_eq!(
        line_of(&Event::Broker(lost)),
        r#"{"event":"broker","state":"lost","address":"127.0.0.1:7770","key":"ALICE","reason":"no broker at 127.0.0.1:7770: reset","code":"broker_unreachable"}"#
    );
}

#[test]
fn people_requests_and_sessions() {
    let person = Person { peer: ALICE, name: alice(), status: PersonStatus::Online, trust: Trust::Pinned };
    assert_eq!(
        line_of(&Event::People { id: CommandId(1), list: vec![person.clone()] }),
        r#"{"event":"people","list":[{"name":"alice","peer":"ALICE","status":"online","trust":"pinned"}]}"#
    );
    assert_eq!(
        line_of(&Event::Presence(person)),
        r#"{"event":"presence","peer":"ALICE","name":"alice","status":"online","trust":"pinned"}"#
    );
    let request = RequestEvent {
        request: RequestId([0xab; 16]),
        direction: Direction::In,
        peer: Some(ALICE),
        name: alice(),
        trust: Trust::New,
        state: RequestState::Declined,
        reason: Some("later".into()),
    };
    assert_eq!(
        line_of(&Event::Request(request)),
        r#"{"event":"request","request":"abababababababababababababababab","direction":"in","peer":"ALICE","name":"alice","trust":"new","purpose":"chat","state":"declined","reason":"later"}"#
    );
    let session = SessionEvent {
        peer: ALICE,
        name: alice(),
        state: SessionState::Up,
        link: Some(link()),
        trust: Trust::New,
        reason: None,
    };
    assert_eq!(
        line_of(&Event::Session(session)),
        r#"{"event":"session","peer":"ALICE","name":"alice","state":"up","path":"lan","local":"127.0.0.1:1","remote":"127.0.0.1:2","rtt_ms":1.5,"cipher":"AES-256-GCM","trust":"new"}"#
    );
}

#[test]
fn messages_and_receipts() {
    let message = MessageId { author: ALICE, to: PeerId([9; 32]), epoch: DeviceEpoch(5), seq: 6 };
    let event = MessageEvent {
        peer: ALICE,
        name: alice(),
        message,
        was: None,
        text: "hi \u{1b}[2J\n\u{202e}".into(),
        sent_at: AT,
        mine: false,
        late: false,
    };
    assert_eq!(
        line_of(&Event::Message(event)),
        r#"{"event":"message","conversation":"ALICE","peer":"ALICE","name":"alice","message":"ALICE-ME-0000000000000005-6","text":"hi \u001b[2J\n\u202e","sent_at":"2026-11-06T21:20:00.000Z","mine":false,"late":false}"#
    );
    assert_eq!(
        line_of(&Event::Receipt(ReceiptEvent { peer: ALICE, message, was: None, state: Delivery::Stored })),
        r#"{"event":"receipt","conversation":"ALICE","message":"ALICE-ME-0000000000000005-6","peer":"ALICE","state":"stored"}"#
    );
}

#[test]
fn files() {
    let file = FileEvent {
        transfer: TransferNumber(1),
        peer: ALICE,
        peer_name: alice(),
        direction: Direction::In,
        state: FileState::Failed,
        name: "song.mp3".into(),
        bytes: 5,
        total: 10,
        rate: Some(3),
        tcp: Some("127.0.0.1:9".parse().unwrap()),
        path: None,
        blake3: None,
        reason: Some(Failure::FileCorrupt { name: "song.mp3".into() }),
    };
    assert_eq!(
        line_of(&Event::File(file.into())),
        r#"{"event":"file","transfer":1,"peer":"ALICE","peer_name":"alice","direction":"in","state":"failed","name":"song.mp3","bytes":5,"total":10,"rate":3,"carrier":"tcp","tcp":"127.0.0.1:9","reason":"song.mp3 did not arrive as it was sent","code":"file_corrupt"}"#
    );
}

#[test]
fn trust_and_info() {
    let trust = TrustEvent {
        peer: ALICE,
        name: alice(),
        was: Trust::New,
        is: Trust::Pinned,
        pinned: None,
        followed: false,
        safety: "a b c".into(),
    };
    assert_eq!(
        line_of(&Event::Trust(trust)),
        r#"{"event":"trust","peer":"ALICE","name":"alice","was":"new","is":"pinned","safety":"a b c"}"#
    );
    let bob = PeerId([2; 32]);
    let followed = TrustEvent {
        peer: ALICE,
        name: alice(),
        was: Trust::Verified,
        is: Trust::Pinned,
        pinned: Some(bob),
        followed: true,
        safety: "a b c".into(),
    };
    assert_eq!(
        line_of(&Event::Trust(followed)),
        format!(
            r#"{{"event":"trust","peer":"ALICE","name":"alice","was":"verified","is":"pinned","pinned":"{bob}","followed":true,"safety":"a b c"}}"#
        )
    );
    let report = SessionReport {
        peer: ALICE,
        name: alice(),
        state: SessionState::Up,
        link: Some(link()),
        loss: 0.25,
        key_epoch: 3,
        key_age: Duration::from_secs(40),
        trust: Trust::Pinned,
        sent: 1,
        received: 2,
        retransmitted: 3,
        path: PathReport {
            validated: true,
            moves: 4,
            observed: "198.51.100.1:5".parse().ok(),
            mtu: 1452,
            black_holes: 6,
            rtt_least: Some(Duration::from_micros(1250)),
            rtt_variation: Duration::from_micros(250),
            pto: Duration::from_millis(27),
            window: 14_720,
            threshold: Some(9000),
            in_flight: 1200,
            pace: Some(2 << 20),
            reductions: 7,
            spurious: 8,
            timeouts: 9,
        },
        may_return_until: Some(AT),
    };
    let asks = SessionReport { may_return_until: None, ..report.clone() };
    let socket = SocketReport {
        received: 1,
        answered: 2,
        mac_failed: 3,
        key_exchanges: 4,
        limited: 6,
        repeated: 7,
        dropped: 5,
    };
    let line = line_of(&Event::Info { id: CommandId(1), sessions: vec![asks], sought: Vec::new(), socket });
    let value: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(value["sessions"][0]["may_return"], false);
    assert_eq!(value["sessions"][0].get("may_return_until"), None);
    let sought = [(Some(ALICE), None), (None, Some("bob".parse().unwrap()))];
    let sought = sought.map(|(peer, name)| Sought { peer, name }).to_vec();
    let line = line_of(&Event::Info { id: CommandId(1), sessions: vec![report], sought, socket });
    let value: serde_json::Value = serde_json::from_str(&line).unwrap();
    let expected = serde_json::json!({
        "event": "info",
        "sessions": [{
            "peer": "ALICE", "name": "alice", "state": "up", "path": "lan", "local": "127.0.0.1:1",
            "remote": "127.0.0.1:2", "rtt_ms": 1.5, "cipher": "AES-256-GCM", "loss": 0.25, "key_epoch": 3,
            "key_age_s": 40, "trust": "pinned", "sent": 1, "received": 2, "retransmitted": 3,
            "may_return": true, "may_return_until": "2026-11-06T21:20:00.000Z",
            "validated": true, "moves": 4, "observed": "198.51.100.1:5", "mtu": 1452, "black_holes": 6,
            "rtt_min_ms": 1.25, "rtt_var_ms": 0.25, "pto_ms": 27.0, "window": 14720, "threshold": 9000,
            "in_flight": 1200, "pace": 2_097_152, "reductions": 7, "spurious": 8, "timeouts": 9
        }],
        "sought": [{ "peer": "ALICE" }, { "name": "bob" }],
        "socket": {
            "received": 1, "answered": 2, "mac_failed": 3, "key_exchanges": 4, "limited": 6, "repeated": 7,
            "dropped": 5
        }
    });
    assert_eq!(value, expected);
}

#[test]
fn a_failure_is_an_error_or_the_end_of_a_tagged_line() {
    let failure = Failure::NotOnline { who: "bob".into() };
    let tag = parse(r#"{"id":"x","do":"hi"}"#).unwrap().tag;
    let failed = outcome(&Outcome { tag, result: Err(failure.clone()) }, AT).unwrap();
    assert_eq!(
        failed,
        r#"{"event":"failed","at":"2026-11-06T21:20:00.000Z","id":"x","code":"not_online","message":"bob is not online","hint":"try again when they are back"}"#
    );
    let untagged = outcome(&Outcome { tag: None, result: Err(failure) }, AT).unwrap();
    assert!(untagged.starts_with(r#"{"event":"error""#), "{untagged}");
}

#[test]
fn the_last_line_says_why_and_how() {
    assert_eq!(
        stopped(None, 0, AT),
        r#"{"event":"stopped","at":"2026-11-06T21:20:00.000Z","reason":"done","exit":0}"#
    );
    assert!(stopped(Some(&Failure::Interrupted), 130, AT).ends_with(r#""code":"interrupted","exit":130}"#));
}

#[test]
fn a_ledger_counts_and_names() {
    let mut entries = Ledger::default();
    let message = MessageId { author: PeerId([9; 32]), to: ALICE, epoch: DeviceEpoch(5), seq: 0 };
    entries.add(ALICE, "alice".into(), message, Delivery::Stored);
    entries.add(PeerId([2; 32]), "bob".into(), message, Delivery::Sent);
    entries.add_failed("carol".into());
    let line = ledger(&entries, AT);
    assert!(line.ends_with(r#""stored":1,"of":3,"queued":["bob"],"failed":["carol"]}"#), "{line}");
}
