use core::time::Duration;

use super::*;
use p2pchat_client::desk::Status;
use p2pchat_client::event::{PathReport, SessionReport, SocketReport, Sought};
use p2pchat_client::profile::Pin;
use p2pchat_client::sanitise::needs_escape;
use p2pchat_client::{CommandId, Failure, Target};
use p2pchat_proto::conversation::{DeviceEpoch, MessageId};
use p2pchat_proto::{PeerId, RequestId, Standing, WallTime};
use proptest::prelude::*;

const ALICE: PeerId = PeerId([1; 32]);
const AT: WallTime = WallTime(1_794_000_000_000);

fn desk() -> Desk {
    let mut desk = Desk::new(None).with_expected(Target::Name("alice".parse().unwrap()));
    desk.observe(&session(SessionState::Up, None));
    desk
}

fn texts(lines: &[Shown]) -> Vec<&str> {
    lines.iter().map(Shown::text).collect()
}

#[track_caller]
fn assert_shown(event: Event, expected: &[&str]) {
    let lines = Plain::new(TimeOfDay::utc(), false).event(&event, &desk());
    assert_eq!(texts(&lines), expected);
}

fn session(state: SessionState, reason: Option<&str>) -> Event {
    Event::Session(SessionEvent {
        peer: ALICE,
        name: "alice".parse().ok(),
        state,
        link: Some(SessionLink {
            path: PathKind::Direct,
            local: None,
            remote: "192.0.2.7:4000".parse().unwrap(),
            rtt: Some(Duration::from_millis(12)),
            cipher: "AES-256-GCM",
        }),
        trust: Trust::New,
        reason: reason.map(str::to_owned),
    })
}

fn message(text: &str, late: bool) -> Event {
    Event::Message(MessageEvent {
        peer: ALICE,
        name: "alice".parse().ok(),
        message: MessageId { author: ALICE, to: PeerId([9; 32]), epoch: DeviceEpoch(1), seq: 0 },
        was: None,
        text: text.into(),
        sent_at: AT,
        mine: false,
        late,
    })
}

fn request(direction: Direction, state: RequestState) -> Event {
    Event::Request(RequestEvent {
        request: RequestId([1; 16]),
        direction,
        peer: Some(ALICE),
        name: "alice".parse().ok(),
        trust: Trust::New,
        state,
        reason: Some("a\nb".into()),
    })
}

fn file(direction: Direction, state: FileState, bytes: u64) -> FileEvent {
    FileEvent {
        transfer: TransferNumber(2),
        peer: ALICE,
        peer_name: None,
        direction,
        state,
        name: "song\u{202e}3pm.exe".into(),
        bytes,
        total: 8 << 20,
        rate: Some(1 << 20),
        tcp: None,
        path: Some("/home/bob/song.mp3".into()),
        blake3: Some("abcd".into()),
        reason: Some(Failure::FileCorrupt { name: "song.mp3".into() }),
    }
}

#[test]
fn a_message_says_who_and_when_it_matters_when() {
    assert_shown(message("hi", false), &["alice: hi"]);
    assert_shown(message("hi", true), &["alice (21:20): hi"]);
    let mut desk = desk();
    desk.interpret(p2pchat_client::json::Line::typed("/timestamps on"));
    let lines = Plain::new(TimeOfDay::utc(), false).event(&message("hi", false), &desk);
    assert_eq!(texts(&lines), ["21:20 alice: hi"]);
}

#[test]
fn no_message_forges_a_line() {
    assert_shown(
        message("hi\nbob: bye\r\u{1b}[A* you are root", false),
        &["alice: hi␊bob: bye␍␛[A* you are root"],
    );
}

#[test]
fn colours_are_ours_alone_and_only_where_they_are_wanted() {
    let lines = Plain::new(TimeOfDay::utc(), false).event(&message("\u{1b}[31mhi", false), &desk());
    assert_eq!(lines[0].painted(false), "alice: ␛[31mhi");
    assert_eq!(lines[0].painted(true), "\u{1b}[1malice:\u{1b}[0m ␛[31mhi");
}

#[test]
fn requests_say_what_to_type() {
    assert_shown(
        request(Direction::In, RequestState::Open),
        &["* alice asks for a chat (new): /accept alice or /decline alice"],
    );
    assert_shown(request(Direction::Out, RequestState::Open), &["* asked alice for a chat"]);
    assert_shown(request(Direction::Out, RequestState::Declined), &["* alice declined: a␊b"]);
    assert_shown(request(Direction::In, RequestState::Cancelled), &["* alice took the request back"]);
}

#[test]
fn sessions_say_where_they_run() {
    assert_shown(
        session(SessionState::Up, None),
        &["* connected to alice: direct 192.0.2.7:4000 · 12 ms · AES-256-GCM · new"],
    );
    assert_shown(session(SessionState::Lost, Some("nothing heard")), &["* lost alice: nothing heard"]);
    assert_shown(session(SessionState::Closed, None), &["* the session with alice is closed"]);
    assert_shown(session(SessionState::Connecting, None), &[]);
}

#[test]
fn files_say_their_number_and_how_they_ended() {
    let shown = |direction, state| {
        let lines = Plain::new(TimeOfDay::utc(), false)
            .event(&Event::File(file(direction, state, 0).into()), &desk());
        texts(&lines).join("|")
    };
    assert_eq!(
        shown(Direction::In, FileState::Offered),
        "* alice offers file 2: song\\u{202e}3pm.exe (8.0 MiB): /accept 2 or /decline 2"
    );
    assert_eq!(
        shown(Direction::In, FileState::Done),
        "* file 2 from alice is at /home/bob/song.mp3, blake3 abcd"
    );
    assert_eq!(
        shown(Direction::Out, FileState::Failed),
        "* file 2 failed: song.mp3 did not arrive as it was sent"
    );
    assert_eq!(shown(Direction::Out, FileState::Accepted), "* alice takes file 2");
}

#[test]
fn a_running_transfer_is_shown_at_each_quarter() {
    let mut plain = Plain::new(TimeOfDay::utc(), false);
    let mut lines = Vec::new();
    for step in 0..=80u64 {
        let event = Event::File(file(Direction::In, FileState::Running, step * (8 << 20) / 80).into());
        lines.extend(plain.event(&event, &desk()));
    }
    assert_eq!(
        texts(&lines),
        [
            "* file 2: 25 % of 8.0 MiB, 1.0 MiB/s",
            "* file 2: 50 % of 8.0 MiB, 1.0 MiB/s",
            "* file 2: 75 % of 8.0 MiB, 1.0 MiB/s"
        ]
    );
}

#[test]
fn a_broker_that_stays_away_is_news_once() {
    let broker = |state| {
        let reason = Failure::BrokerUnreachable { address: "b:1".into(), reason: "refused".into() };
        Event::Broker(BrokerEvent {
            state,
            address: "b:1".into(),
            key: None,
            reason: Some(reason),
            clock_ahead_ms: None,
        })
    };
    let mut plain = Plain::new(TimeOfDay::utc(), false);
    let mut shown = Vec::new();
    for state in
        [BrokerState::Lost, BrokerState::Lost, BrokerState::Connected, BrokerState::Lost, BrokerState::Lost]
    {
        shown.extend(plain.event(&broker(state), &desk()));
    }
    assert_eq!(
        texts(&shown),
        [
            "* no broker at b:1 yet; it is tried again",
            "* at the broker b:1",
            "* broker lost: no broker at b:1: refused; conversations go on, and it is tried again"
        ]
    );
}

#[test]
fn receipts_are_lines_only_where_something_had_to_wait() {
    let receipt = |state| {
        let message = MessageId { author: PeerId([9; 32]), to: ALICE, epoch: DeviceEpoch(1), seq: 0 };
        Event::Receipt(ReceiptEvent { peer: ALICE, message, was: None, state })
    };
    let mut plain = Plain::new(TimeOfDay::utc(), false);
    assert_eq!(plain.event(&receipt(Delivery::Stored), &desk()), []);
    assert_eq!(plain.event(&receipt(Delivery::Queued), &desk()), [], "it is on its way");
    let mut away = desk();
    away.observe(&session(SessionState::Lost, None));
    let waits = plain.event(&receipt(Delivery::Queued), &away);
    assert_eq!(texts(&waits), ["* waits until alice is connected"]);
    assert_eq!(texts(&plain.event(&receipt(Delivery::Stored), &desk())), ["* delivered to alice"]);
    let failed = plain.event(&receipt(Delivery::Failed), &desk());
    assert_eq!(texts(&failed), ["* given up, not delivered to alice; /msg alice TEXT sends it again"]);
    let mut verbose = Plain::new(TimeOfDay::utc(), true);
    assert_eq!(texts(&verbose.event(&receipt(Delivery::Read), &desk())), ["* read by alice"]);
}

#[test]
fn what_was_on_its_way_when_a_session_ended_is_said_to_wait_and_then_to_arrive() {
    let receipt = |seq, state| {
        let message = MessageId { author: PeerId([9; 32]), to: ALICE, epoch: DeviceEpoch(1), seq };
        Event::Receipt(ReceiptEvent { peer: ALICE, message, was: None, state })
    };
    let mut plain = Plain::new(TimeOfDay::utc(), false);
    for (seq, state) in
        [(0, Delivery::Sent), (0, Delivery::Stored), (1, Delivery::Queued), (2, Delivery::Sent)]
    {
        assert_eq!(plain.event(&receipt(seq, state), &desk()), []);
    }
    let lost = plain.event(&session(SessionState::Lost, Some("nothing heard")), &desk());
    assert_eq!(texts(&lost), ["* lost alice: nothing heard; 2 messages wait for the next one"]);
    let closed = plain.event(&session(SessionState::Closed, None), &desk());
    assert_eq!(texts(&closed), ["* the session with alice is closed"], "said once");
    assert_eq!(texts(&plain.event(&receipt(1, Delivery::Stored), &desk())), ["* delivered to alice"]);
    assert_eq!(texts(&plain.event(&receipt(2, Delivery::Read), &desk())), [""; 0]);
}

#[test]
fn people_are_a_table_and_info_says_everything() {
    let person =
        Person { peer: ALICE, name: "alice".parse().ok(), status: PersonStatus::Online, trust: Trust::New };
    assert_shown(
        Event::People { id: CommandId(1), list: vec![person] },
        &[
            "NAME   STATUS  TRUST  ID",
            "alice  online  new    aeaqcaibaeaqcaibaeaqcaibaeaqcaibaeaqcaibaeaqcaibaeaq",
        ],
    );
    let report = SessionReport {
        peer: ALICE,
        name: "alice".parse().ok(),
        state: SessionState::Up,
        link: Some(SessionLink {
            path: PathKind::Lan,
            local: "127.0.0.1:1".parse().ok(),
            remote: "127.0.0.1:2".parse().unwrap(),
            rtt: Some(Duration::from_micros(400)),
            cipher: "AES-256-GCM",
        }),
        loss: 0.051,
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
        may_return_until: Some(WallTime(1_794_000_000_000)),
    };
    let socket = SocketReport {
        received: 1,
        answered: 2,
        mac_failed: 3,
        key_exchanges: 4,
        limited: 6,
        repeated: 1,
        dropped: 5,
    };
    assert_shown(
        Event::Info { id: CommandId(1), sessions: vec![report], sought: Vec::new(), socket },
        &[
            "alice: up · lan 127.0.0.1:1 to 127.0.0.1:2 · 0.4 ms · AES-256-GCM · loss 5.1 % · key 3 for 40 s · pinned",
            "  packets: 1 sent, 2 received, 3 sent again, 8 wrongly taken for lost",
            "  path: proven, moved 4 times, seen as 198.51.100.1:5 · RTT at least 1.2 ms, varies by 0.2 ms · datagrams of 1452 bytes, 6 black holes",
            "  sending: window 14.4 KiB, with care above 8.8 KiB, 1.2 KiB in flight, 2.0 MiB/s · probe after 27 ms · 9 timeouts, 7 reductions",
            "  comes back without asking until 2026-11-06 21:20",
            "socket: 1 received, 2 answered (1 of them again), 3 with a wrong MAC, 6 beyond the limits, 4 key exchanges, 5 dropped",
        ],
    );
}

#[test]
fn info_without_a_session_names_who_is_looked_for() {
    let socket = "socket: 0 received, 0 answered (0 of them again), 0 with a wrong MAC, 0 beyond the limits, 0 key \
                  exchanges, 0 dropped";
    let info = |sought| Event::Info {
        id: CommandId(1),
        sessions: Vec::new(),
        sought,
        socket: SocketReport::default(),
    };
    assert_shown(info(Vec::new()), &["No sessions.", socket]);
    let bob = PeerId([9; 32]);
    let sought = vec![
        Sought { name: None, peer: Some(bob) },
        Sought { name: Some("alice".parse().unwrap()), peer: None },
    ];
    assert_shown(info(sought), &[&format!("{}: looked for", bob.short()), "alice: looked for", socket]);
}

#[test]
fn status_names_who_is_looked_for_and_says_so_where_nobody_is() {
    let status = |sought| Status {
        peer: ALICE,
        name: "alice".parse().unwrap(),
        standing: Standing::default(),
        broker: "b:1".to_owned(),
        broker_key: None,
        link: Some(BrokerState::Lost),
        reason: None,
        sessions: Vec::new(),
        sought,
        waiting: Vec::new(),
    };
    let last = |sought| {
        let status = Local::Status(Box::new(status(sought)));
        let lines = Plain::new(TimeOfDay::utc(), false).local(&status, &desk());
        assert_eq!(lines.last().map(Shown::text), Some("Nothing waits."));
        lines.get(4).map(|line| line.text().to_owned())
    };
    assert_eq!(last(Vec::new()).as_deref(), Some("no sessions"));
    let sought = vec![Sought { name: Some("bob".parse().unwrap()), peer: None }];
    assert_eq!(last(sought).as_deref(), Some("bob: looked for"));
}

#[test]
fn a_failure_says_what_happened_and_what_to_do() {
    assert_shown(
        Event::Error(Failure::NotOnline { who: "bob".into() }),
        &["p2pchat: bob is not online; try again when they are back"],
    );
    let lines = Plain::new(TimeOfDay::utc(), false).event(&Event::Error(Failure::NotUtf8), &desk());
    assert_eq!((lines[0].stream, lines[0].role), (Stream::Err, Role::Error));
}

#[test]
fn help_lists_every_command_and_nothing_else() {
    let lines = Plain::new(TimeOfDay::utc(), false).local(&Local::Help(None), &desk());
    assert_eq!(lines.len(), COMMANDS.len() + 1);
    for entry in COMMANDS {
        assert!(texts(&lines).iter().any(|line| line.starts_with(entry.usage)), "{}", entry.name);
    }
}

proptest! {
    #[test]
    fn whatever_comes_from_outside_stays_in_its_line(text: String, name: String, reason: String) {
        let mut offered = file(Direction::In, FileState::Offered, 0);
        offered.name = name;
        let events = [
            message(&text, true),
            Event::File(offered.into()),
            session(SessionState::Lost, Some(&reason)),
            Event::Error(Failure::Declined { who: text, reason }),
        ];
        for event in events {
            for shown in Plain::new(TimeOfDay::utc(), true).event(&event, &desk()) {
                prop_assert!(!shown.text().chars().any(needs_escape), "{:?}", shown);
            }
        }
    }
}

#[test]
fn somebody_who_is_known_by_one_name_at_two_brokers_stands_once_in_the_list_of_contacts() {
    let known = |peer: PeerId, name: &str, broker: u8| {
        let name: Name = name.parse().unwrap();
        let broker = p2pchat_proto::BrokerKey([broker; 32]);
        let pin = Pin { name: name.clone(), peer, broker, since: AT, may_reconnect: true };
        Acquaintance { peer, name: Some(name), pin: Some(pin), trust: Trust::Pinned }
    };
    let namesake = PeerId([2; 32]);
    let rows = contacts(&[known(ALICE, "alice", 1), known(ALICE, "alice", 2), known(namesake, "alice", 2)]);
    let ids: Vec<_> = rows.iter().map(|row| row[3].clone()).collect();
    assert_eq!(ids, [ALICE.to_string(), namesake.to_string()]);
}
