use super::*;
use core::net::SocketAddr;
use p2pchat_engine::event::{MessageEvent, PathKind, Person, PersonStatus, ReceiptEvent, SessionLink, Trust};
use p2pchat_proto::WallTime;
use p2pchat_proto::conversation::DeviceEpoch;
use proptest::prelude::*;

const ALICE: PeerId = PeerId([1; 32]);
const BOB: PeerId = PeerId([2; 32]);
const ME: PeerId = PeerId([9; 32]);

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn session(peer: PeerId, called: &str, state: SessionState) -> Event {
    let remote: SocketAddr = "192.0.2.1:4000".parse().unwrap();
    let link = SessionLink { path: PathKind::Direct, local: None, remote, rtt: None, cipher: "AES-256-GCM" };
    Event::Session(SessionEvent {
        peer,
        name: Some(name(called)),
        state,
        link: Some(link),
        trust: Trust::New,
        reason: None,
    })
}

fn request(id: u8, peer: PeerId, called: &str, direction: Direction, state: RequestState) -> Event {
    Event::Request(RequestEvent {
        request: RequestId([id; 16]),
        direction,
        peer: Some(peer),
        name: Some(name(called)),
        trust: Trust::New,
        state,
        reason: None,
    })
}

fn file(number: u32, direction: Direction, state: FileState) -> Event {
    Event::File(Box::new(FileEvent {
        transfer: TransferNumber(number),
        peer: ALICE,
        peer_name: Some(name("alice")),
        direction,
        state,
        name: "song.mp3".into(),
        bytes: 0,
        total: 10,
        rate: None,
        tcp: None,
        path: None,
        blake3: None,
        reason: None,
    }))
}

fn message_id(seq: u64) -> MessageId {
    MessageId { author: ME, to: PeerId([1; 32]), epoch: DeviceEpoch(5), seq }
}

fn receipt(peer: PeerId, seq: u64, state: Delivery) -> Event {
    Event::Receipt(ReceiptEvent { peer, message: message_id(seq), was: None, state })
}

fn tagged(id: i32, text: &str) -> Line {
    crate::json::parse(&format!(r#"{{"id":{id},"do":{}}}"#, serde_json::json!(text))).unwrap()
}

fn typed(desk: &mut Desk, line: &str) -> Vec<Action> {
    desk.interpret(Line::typed(line))
}

fn command(actions: &[Action]) -> (CommandId, Command) {
    match actions {
        [Action::Ask { id, request: Request::Engine(command) }] => (*id, command.clone()),
        other => panic!("{other:?}"),
    }
}

fn failure(actions: &[Action]) -> Failure {
    match actions {
        [Action::Outcome(Outcome { result: Err(failure), .. })] => failure.clone(),
        other => panic!("{other:?}"),
    }
}

fn done(id: CommandId, seq: u64) -> Event {
    Event::Done { id, message: Some(message_id(seq)), transfer: None, request: None }
}

fn mine(seq: u64) -> Event {
    Event::Message(MessageEvent {
        peer: ALICE,
        name: None,
        message: message_id(seq),
        was: None,
        text: "x".into(),
        sent_at: WallTime(0),
        mine: true,
        late: false,
    })
}

#[test]
fn text_without_a_conversation_goes_nowhere() {
    assert_eq!(failure(&typed(&mut Desk::new(None), "hi")), Failure::NoConversation);
}

#[test]
fn the_first_session_that_came_up_is_the_current_conversation() {
    let mut desk = Desk::new(None);
    desk.observe(&session(BOB, "bob", SessionState::Connecting));
    assert_eq!(desk.current(), None);
    let shown = desk.observe(&session(ALICE, "alice", SessionState::Up));
    let conversation = Local::Conversation { peer: Some(ALICE), name: Some(name("alice")) };
    assert_eq!(shown, [Action::Show(conversation)]);
    assert_eq!(desk.observe(&session(BOB, "bob", SessionState::Up)), []);
    assert_eq!(command(&typed(&mut desk, "hi")).1, Command::Message { to: ALICE, text: "hi".into() });
    typed(&mut desk, "/switch 1");
    assert_eq!(desk.current(), Some(BOB));
    typed(&mut desk, "/back");
    assert_eq!(failure(&typed(&mut desk, "hi")), Failure::NoConversation);
}

#[test]
fn a_line_may_name_its_recipient() {
    let mut desk = Desk::new(None);
    desk.observe(&session(ALICE, "alice", SessionState::Up));
    desk.observe(&session(BOB, "bob", SessionState::Up));
    for to in ["bob".to_owned(), BOB.to_string()] {
        let actions = desk.interpret(Line { tag: None, to: Some(to), text: "hi".into() });
        assert_eq!(command(&actions).1, Command::Message { to: BOB, text: "hi".into() });
    }
    let unknown = desk.interpret(Line { tag: None, to: Some("carol".into()), text: "hi".into() });
    assert_eq!(failure(&unknown), Failure::UnknownPeer { who: "carol".into() });
}

#[test]
fn whoever_is_known_from_earlier_is_known_by_name_without_a_broker() {
    let mut desk = Desk::new(None);
    let (name, known) = ("alice".parse().unwrap(), vec![(BOB, "bob".parse().unwrap())]);
    desk.observe(&Event::Ready(Ready { peer: ALICE, name, udp: None, udp6: None, control: None, known }));
    let actions = desk.interpret(Line { tag: None, to: Some("bob".into()), text: "hi".into() });
    assert_eq!(command(&actions).1, Command::Message { to: BOB, text: "hi".into() });
}

#[test]
fn lines_for_the_person_asked_for_wait_until_the_session_is_up() {
    let mut desk = Desk::new(None).with_expected(Target::Name(name("alice")));
    assert_eq!(desk.interpret(tagged(1, "one")), []);
    assert_eq!(typed(&mut desk, "/sendf a b"), []);
    desk.observe(&session(BOB, "bob", SessionState::Up));
    assert_eq!(desk.messages_under_way(), 2);
    let released = desk.observe(&session(ALICE, "alice", SessionState::Up));
    let requests: Vec<_> = released
        .into_iter()
        .filter_map(|action| match action {
            Action::Ask { request, .. } => Some(request),
            Action::Outcome(_) | Action::Show(_) | Action::Clear | Action::Quit => None,
        })
        .collect();
    assert_eq!(
        requests,
        [
            Request::Engine(Command::Message { to: ALICE, text: "one".into() }),
            Request::SendFile { to: ALICE, path: "a".into() },
            Request::SendFile { to: ALICE, path: "b".into() },
        ]
    );
}

#[test]
fn what_the_command_line_says_first_is_text_whatever_it_begins_with() {
    let mut desk = Desk::new(None).with_expected(Target::Name(name("alice")));
    assert_eq!(desk.say_first(Some("/quit"), &["a".into()]), Ok(Vec::new()));
    let released = desk.observe(&session(ALICE, "alice", SessionState::Up));
    let text = Request::Engine(Command::Message { to: ALICE, text: "/quit".into() });
    assert!(matches!(&released[1], Action::Ask { request, .. } if *request == text), "{released:?}");
    assert_eq!(released.len(), 3, "a conversation, a message, a file");
    for (bad, code) in [(" ", "usage"), ("a\0b", "usage"), (&"x".repeat(65_537), "too_long")] {
        assert_eq!(desk.say_first(Some(bad), &[]).unwrap_err().code(), code);
    }
    assert_eq!(Desk::new(None).say_first(Some("hi"), &[]), Err(Failure::NoConversation));
}

#[test]
fn a_lost_session_keeps_its_conversation_and_a_closed_one_does_not() {
    let mut desk = Desk::new(None);
    desk.observe(&session(ALICE, "alice", SessionState::Up));
    desk.observe(&session(ALICE, "alice", SessionState::Lost));
    assert_eq!(desk.current(), Some(ALICE));
    desk.observe(&session(ALICE, "alice", SessionState::Closed));
    assert_eq!(desk.current(), None);
}

#[test]
fn connecting_moves_the_conversation_where_the_front_end_follows() {
    let mut desk = Desk::new(None).following();
    desk.observe(&session(ALICE, "alice", SessionState::Up));
    typed(&mut desk, "/connect bob");
    desk.observe(&session(BOB, "bob", SessionState::Up));
    assert_eq!(desk.current(), Some(BOB));

    let mut desk = Desk::new(None);
    desk.observe(&session(ALICE, "alice", SessionState::Up));
    typed(&mut desk, "/connect bob");
    desk.observe(&session(BOB, "bob", SessionState::Up));
    assert_eq!(desk.current(), Some(ALICE));
}

#[test]
fn a_chat_is_accepted_by_name_and_a_file_by_number() {
    let mut desk = Desk::new(None);
    desk.observe(&request(7, BOB, "bob", Direction::In, RequestState::Open));
    desk.observe(&file(3, Direction::In, FileState::Offered));
    let once = Command::Accept { request: RequestId([7; 16]), once: true };
    assert_eq!(command(&typed(&mut desk, "/accept bob --once")).1, once);
    assert_eq!(
        command(&typed(&mut desk, "/accept 3")).1,
        Command::AcceptFile { transfer: TransferNumber(3) }
    );
    assert!(matches!(failure(&typed(&mut desk, "/accept")), Failure::Usage(_)));
    assert!(matches!(failure(&typed(&mut desk, "/accept 4")), Failure::NoSuch { .. }));

    desk.observe(&file(3, Direction::In, FileState::Cancelled));
    let only = Command::Accept { request: RequestId([7; 16]), once: false };
    assert_eq!(command(&typed(&mut desk, "/accept")).1, only);
    desk.observe(&request(7, BOB, "bob", Direction::In, RequestState::Expired));
    assert!(matches!(failure(&typed(&mut desk, "/accept")), Failure::NoSuch { .. }));
}

#[test]
fn ones_own_request_is_not_there_to_accept_but_to_cancel() {
    let mut desk = Desk::new(None);
    desk.observe(&request(1, BOB, "bob", Direction::Out, RequestState::Open));
    assert!(matches!(failure(&typed(&mut desk, "/accept bob")), Failure::NoSuch { .. }));
    let cancel = Command::CancelRequest { request: RequestId([1; 16]) };
    assert_eq!(command(&typed(&mut desk, "/cancel bob")).1, cancel);
    assert_eq!(command(&typed(&mut desk, "/cancel")).1, cancel);
}

#[test]
fn the_reason_against_a_file_goes_to_who_offered_it() {
    let mut desk = Desk::new(None);
    desk.observe(&file(3, Direction::In, FileState::Offered));
    let decline = Command::DeclineFile { transfer: TransferNumber(3), reason: "too large".into() };
    assert_eq!(command(&typed(&mut desk, "/decline 3 too large")).1, decline);
}

#[test]
fn a_reason_may_follow_a_name_or_stand_alone() {
    let mut desk = Desk::new(None);
    desk.observe(&request(1, BOB, "bob", Direction::In, RequestState::Open));
    let decline = |reason: &str| Command::Decline { request: RequestId([1; 16]), reason: reason.to_owned() };
    assert_eq!(command(&typed(&mut desk, "/decline bob can't now")).1, decline("can't now"));
    assert_eq!(command(&typed(&mut desk, "/decline can't now")).1, decline("can't now"));
    assert_eq!(command(&typed(&mut desk, "/decline")).1, decline(""));
    assert!(matches!(failure(&typed(&mut desk, "/decline 5")), Failure::NoSuch { .. }));
    desk.observe(&request(2, ALICE, "alice", Direction::In, RequestState::Open));
    assert!(matches!(failure(&typed(&mut desk, "/decline not now")), Failure::Usage(_)));
}

#[test]
fn the_outcome_of_a_line_carries_its_id_and_what_came_to_be() {
    let mut desk = Desk::new(None);
    desk.observe(&session(ALICE, "alice", SessionState::Up));
    let (id, _) = command(&desk.interpret(tagged(4, "hi")));
    let actions = desk.observe(&done(id, 0));
    let [Action::Outcome(outcome)] = actions.as_slice() else { panic!("{actions:?}") };
    let line = crate::json::outcome(outcome, WallTime(0)).unwrap();
    assert!(line.contains(r#""event":"done""#) && line.contains(r#""id":4"#), "{line}");
    assert!(line.contains(&message_id(0).to_string()), "{line}");
    assert_eq!(desk.observe(&done(id, 0)), [], "an outcome comes once");
}

#[test]
fn a_line_without_an_id_speaks_up_only_when_it_fails() {
    let mut desk = Desk::new(None);
    desk.observe(&session(ALICE, "alice", SessionState::Up));
    let (first, _) = command(&typed(&mut desk, "hi"));
    let (second, _) = command(&typed(&mut desk, "/info"));
    assert_eq!(desk.observe(&done(first, 0)), []);
    let failed = desk.observe(&Event::Failed { id: second, failure: Failure::Replaced });
    assert_eq!(failure(&failed), Failure::Replaced);
}

#[test]
fn a_line_of_several_files_ends_once_and_fails_if_one_does() {
    let mut desk = Desk::new(None);
    desk.observe(&session(ALICE, "alice", SessionState::Up));
    let actions = desk.interpret(tagged(1, "/sendf a b"));
    let ids: Vec<_> = actions
        .iter()
        .filter_map(|action| match action {
            Action::Ask { id, .. } => Some(*id),
            Action::Outcome(_) | Action::Show(_) | Action::Clear | Action::Quit => None,
        })
        .collect();
    let made =
        |id, number| Event::Done { id, message: None, transfer: Some(TransferNumber(number)), request: None };
    assert_eq!(desk.observe(&made(ids[0], 1)), []);
    let failed = Event::Failed { id: ids[1], failure: Failure::Usage("x".into()) };
    assert_eq!(failure(&desk.observe(&failed)), Failure::Usage("x".into()));
}

#[test]
fn a_message_to_several_people_has_one_ledger() {
    let mut desk = Desk::new(None);
    desk.observe(&session(ALICE, "alice", SessionState::Up));
    desk.observe(&session(BOB, "bob", SessionState::Up));
    let actions = typed(&mut desk, "/msg alice,bob,alice noon");
    assert_eq!(actions.len(), 2, "one message a person");
    let (Action::Ask { id: first, .. }, Action::Ask { id: second, .. }) = (&actions[0], &actions[1]) else {
        panic!("{actions:?}")
    };
    assert_eq!(desk.observe(&done(*first, 0)), []);
    desk.observe(&receipt(ALICE, 0, Delivery::Stored));
    let shown = desk.observe(&done(*second, 0));
    let [Action::Show(Local::Ledger(ledger))] = shown.as_slice() else { panic!("{shown:?}") };
    assert_eq!((ledger.stored(), ledger.len(), ledger.queued()), (1, 2, vec!["bob"]));
    let shown = desk.observe(&receipt(BOB, 0, Delivery::Stored));
    let [Action::Show(Local::Ledger(ledger))] = shown.as_slice() else { panic!("{shown:?}") };
    assert_eq!((ledger.stored(), ledger.is_settled()), (2, true));
    assert_eq!(desk.observe(&receipt(BOB, 0, Delivery::Read)), []);
}

#[test]
fn a_message_to_somebody_unknown_is_sent_to_nobody() {
    let mut desk = Desk::new(None);
    desk.observe(&session(ALICE, "alice", SessionState::Up));
    let unknown = Failure::UnknownPeer { who: "carol".into() };
    assert_eq!(failure(&typed(&mut desk, "/msg alice,carol noon")), unknown);
}

#[test]
fn what_the_other_side_does_not_keep_is_under_way() {
    let mut desk = Desk::new(None);
    desk.observe(&mine(0));
    desk.observe(&mine(1));
    desk.observe(&receipt(ALICE, 0, Delivery::Sent));
    assert_eq!(desk.messages_under_way(), 2);
    desk.observe(&receipt(ALICE, 0, Delivery::Stored));
    desk.observe(&receipt(ALICE, 1, Delivery::Failed));
    assert_eq!(desk.messages_under_way(), 0);
    for seq in 0..UNDER_WAY_MAX as u64 {
        desk.observe(&mine(seq));
    }
    assert!(desk.is_full());
}

#[test]
fn what_was_taken_is_under_way_before_it_comes_up() {
    let mut desk = Desk::new(None);
    desk.observe(&session(ALICE, "alice", SessionState::Up));
    let (id, _) = command(&typed(&mut desk, "hi"));
    assert_eq!(desk.messages_under_way(), 1);
    desk.observe(&done(id, 0));
    assert_eq!(desk.messages_under_way(), 1, "between the outcome and the message");
    desk.observe(&mine(0));
    assert_eq!(desk.messages_under_way(), 1);
    desk.observe(&receipt(ALICE, 0, Delivery::Stored));
    assert_eq!(desk.messages_under_way(), 0);

    let taken = Event::Done { id, message: None, transfer: Some(TransferNumber(1)), request: None };
    desk.observe(&taken);
    assert_eq!(desk.transfers_under_way(), 1, "between the outcome and the offer");
    desk.observe(&file(1, Direction::Out, FileState::Offered));
    assert_eq!(desk.transfers_under_way(), 1);
    desk.observe(&file(1, Direction::Out, FileState::Done));
    assert_eq!(desk.transfers_under_way(), 0);
}

#[test]
fn transfers_count_until_they_end() {
    let mut desk = Desk::new(None);
    desk.observe(&file(1, Direction::Out, FileState::Offered));
    desk.observe(&file(2, Direction::In, FileState::Offered));
    assert_eq!(desk.transfers_under_way(), 1);
    desk.observe(&file(2, Direction::In, FileState::Running));
    assert_eq!(desk.transfers_under_way(), 2);
    desk.observe(&file(1, Direction::Out, FileState::Done));
    desk.observe(&file(2, Direction::In, FileState::Failed));
    assert_eq!(desk.transfers_under_way(), 0);
}

#[test]
fn read_receipts_are_kept_back_by_the_client_which_still_hears_what_was_shown() {
    let mut desk = Desk::new(None);
    for (line, tell) in [("/read-receipts off", false), ("/read-receipts on", true)] {
        let (_, said) = command(&typed(&mut desk, line)[..1]);
        assert_eq!(said, Command::ReadReceipts { tell });
        let (_, shown) = command(&[desk.shown(message_id(0))]);
        assert_eq!(shown, Command::Shown { message: message_id(0) });
    }
}

#[test]
fn lines_that_wait_fail_when_the_client_ends() {
    let mut desk = Desk::new(None).with_expected(Target::Name(name("alice")));
    desk.interpret(tagged(1, "one"));
    desk.interpret(tagged(2, "/who"));
    typed(&mut desk, "untagged");
    let actions = desk.abandon(&Failure::Interrupted);
    assert_eq!(actions.len(), 2);
    assert_eq!(desk.messages_under_way(), 0);
}

#[test]
fn names_from_the_last_list_are_known_and_the_list_is_replaced() {
    let mut desk = Desk::new(None);
    let (id, _) = command(&typed(&mut desk, "/who"));
    let person = |peer, called: &str| Person {
        peer,
        name: Some(name(called)),
        status: PersonStatus::Online,
        trust: Trust::New,
    };
    desk.observe(&Event::People { id, list: vec![person(BOB, "bob")] });
    assert_eq!(desk.people().resolve("bob"), Ok(BOB));
    desk.observe(&Event::People { id, list: vec![person(ALICE, "alice")] });
    assert!(desk.people().resolve("bob").is_err());
}

proptest! {
    #[test]
    fn no_sequence_of_lines_and_events_makes_the_desk_panic(
        steps in proptest::collection::vec(("(/[a-z-]{1,8}( [a-z0-9-]{1,6}){0,3})|[a-z ]{0,9}", 0u8..6), 0..40)
    ) {
        let mut desk = Desk::new(None).with_expected(Target::Name(name("alice")));
        for (line, step) in steps {
            let actions = desk.interpret(tagged(1, &line));
            for action in &actions {
                if let Action::Ask { id, .. } = action {
                    desk.observe(&done(*id, u64::from(step)));
                }
            }
            let event = match step {
                0 => session(ALICE, "alice", SessionState::Up),
                1 => session(BOB, "bob", SessionState::Closed),
                2 => request(step, BOB, "bob", Direction::In, RequestState::Open),
                3 => file(u32::from(step), Direction::In, FileState::Offered),
                4 => receipt(ALICE, 0, Delivery::Stored),
                _ => Event::Failed { id: CommandId(u64::from(step)), failure: Failure::NotUtf8 },
            };
            desk.observe(&event);
        }
        desk.abandon(&Failure::Interrupted);
        prop_assert_eq!(desk.pending.len(), 0);
    }
}
