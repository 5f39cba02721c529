use super::*;
use p2pchat_client::desk::Action;
use p2pchat_client::event::{
    BrokerEvent, Delivery, MessageEvent, ReceiptEvent, RequestEvent, SessionEvent, Trust,
};
use p2pchat_client::{Request, TransferNumber};
use p2pchat_proto::conversation::{DeviceEpoch, MessageId};
use p2pchat_proto::{PeerId, WallTime};

const ALICE: PeerId = PeerId([1; 32]);

struct Talk {
    desk: Desk,
    task: Connect,
    now: Instant,
}

impl Talk {
    fn new() -> Self {
        let now = Instant::now();
        let to = Target::Name("alice".parse().unwrap());
        let desk = Desk::new(None).with_expected(to.clone());
        let (timeout, linger) = (Duration::from_secs(60), Duration::from_secs(30));
        Self { desk, task: Connect::new(to, "alice", "127.0.0.1:7770", timeout, linger, now), now }
    }

    /// One that has come as far as the session.
    fn up() -> Self {
        let mut talk = Self::new();
        talk.see(broker(BrokerState::Connected, None));
        talk.see(session(SessionState::Up));
        talk
    }

    fn see(&mut self, event: Event) -> Vec<Step> {
        self.desk.observe(&event);
        self.task.event(&event, &mut self.desk, self.now)
    }

    fn after(&mut self, span: Duration) -> Vec<Step> {
        self.now += span;
        match self.task.deadline() {
            Some(due) if due <= self.now => self.task.timeout(&mut self.desk, self.now),
            Some(_) | None => Vec::new(),
        }
    }

    fn type_line(&mut self, text: &str) {
        self.desk.interpret(p2pchat_client::json::Line::typed(text));
    }
}

fn broker(state: BrokerState, reason: Option<Failure>) -> Event {
    Event::Broker(BrokerEvent {
        state,
        address: "127.0.0.1:7770".into(),
        key: None,
        reason,
        clock_ahead_ms: None,
    })
}

fn request(state: RequestState) -> Event {
    Event::Request(RequestEvent {
        request: RequestId([4; 16]),
        direction: Direction::Out,
        peer: Some(ALICE),
        name: "alice".parse().ok(),
        trust: Trust::New,
        state,
        reason: Some("in a meeting".into()),
    })
}

fn session(state: SessionState) -> Event {
    let name = "alice".parse().ok();
    Event::Session(SessionEvent { peer: ALICE, name, state, link: None, trust: Trust::New, reason: None })
}

fn message(seq: u64) -> MessageId {
    MessageId { author: PeerId([9; 32]), to: PeerId([1; 32]), epoch: DeviceEpoch(1), seq }
}

fn my_message(seq: u64) -> Event {
    Event::Message(MessageEvent {
        peer: ALICE,
        name: None,
        message: message(seq),
        was: None,
        text: "x".into(),
        sent_at: WallTime(0),
        mine: true,
        late: false,
    })
}

fn receipt(seq: u64, state: Delivery) -> Event {
    Event::Receipt(ReceiptEvent { peer: ALICE, message: message(seq), was: None, state })
}

fn file(state: FileState, reason: Option<Failure>) -> Event {
    Event::File(Box::new(FileEvent {
        transfer: TransferNumber(1),
        peer: ALICE,
        peer_name: None,
        direction: Direction::Out,
        state,
        name: "song.mp3".into(),
        bytes: 0,
        total: 10,
        rate: None,
        tcp: None,
        path: None,
        blake3: None,
        reason,
    }))
}

fn code(steps: &[Step]) -> Option<&'static str> {
    match steps {
        [Step::Stop(failure)] => Some(failure.as_ref().map_or("none", Failure::code)),
        _ => None,
    }
}

#[test]
fn a_broker_is_tried_for_15_seconds_and_the_last_reason_is_told() {
    let mut talk = Talk::new();
    assert!(talk.task.waits_for_broker());
    let reason = Failure::BrokerUnreachable { address: "127.0.0.1:7770".into(), reason: "refused".into() };
    talk.see(broker(BrokerState::Lost, Some(reason.clone())));
    assert_eq!(talk.after(Duration::from_millis(14_900)), []);
    assert_eq!(talk.after(Duration::from_millis(200)), [Step::Stop(Some(reason))]);
}

#[test]
fn the_request_goes_out_once_however_often_the_broker_comes_back() {
    let mut talk = Talk::new();
    let steps = talk.see(broker(BrokerState::Connected, None));
    let [Step::Do(Action::Ask { request: Request::Engine(Command::Connect { wait, .. }), .. })] =
        steps.as_slice()
    else {
        panic!("{steps:?}")
    };
    assert_eq!(*wait, Duration::from_secs(60));
    assert!(!talk.task.waits_for_broker());
    talk.see(broker(BrokerState::Lost, None));
    assert_eq!(talk.see(broker(BrokerState::Connected, None)), []);
}

#[test]
fn without_a_broker_the_person_is_asked_for_once_and_may_come_all_the_same() {
    let mut talk = Talk::new();
    let steps = talk.see(broker(BrokerState::Lost, None));
    let [Step::Do(Action::Ask { request: Request::Engine(Command::Connect { .. }), .. })] = steps.as_slice()
    else {
        panic!("{steps:?}")
    };
    assert!(talk.task.waits_for_broker());
    assert_eq!(talk.see(broker(BrokerState::Lost, None)), []);
    talk.see(session(SessionState::Up));
    assert!(!talk.task.waits_for_broker());
    assert_eq!(talk.after(Duration::from_secs(60)), []);
    assert_eq!(talk.see(broker(BrokerState::Connected, None)), [], "nobody is asked who is there");
}

#[test]
fn each_way_a_request_ends_has_its_code() {
    for (state, expected) in [(RequestState::Declined, "declined"), (RequestState::Expired, "no_answer")] {
        let mut talk = Talk::new();
        talk.see(broker(BrokerState::Connected, None));
        assert_eq!(code(&talk.see(request(state))), Some(expected));
    }
    let mut talk = Talk::new();
    talk.see(broker(BrokerState::Connected, None));
    let failure = Failure::NotOnline { who: "alice".into() };
    let failed = Event::Failed { id: talk.task.command.unwrap(), failure: failure.clone() };
    assert_eq!(talk.see(failed), [Step::Stop(Some(failure))]);
}

#[test]
fn accepted_and_never_up_is_no_path() {
    let mut talk = Talk::new();
    talk.see(broker(BrokerState::Connected, None));
    assert_eq!(talk.see(request(RequestState::Accepted)), []);
    assert_eq!(code(&talk.after(REACH_WAIT)), Some("no_path"));
}

#[test]
fn no_sign_at_all_is_no_answer() {
    let mut talk = Talk::new();
    talk.see(broker(BrokerState::Connected, None));
    assert_eq!(talk.after(Duration::from_secs(60)), [], "the engine's own end comes first");
    assert_eq!(code(&talk.after(ANSWER_GRACE)), Some("no_answer"));
}

#[test]
fn a_refusing_broker_ends_it_before_the_session_and_not_after() {
    let taken = Failure::NameTaken { name: "bob".parse().unwrap() };
    let mut talk = Talk::new();
    assert_eq!(code(&talk.see(broker(BrokerState::Refused, Some(taken.clone())))), Some("name_taken"));
    let mut talk = Talk::up();
    assert_eq!(talk.see(broker(BrokerState::Refused, Some(taken))), []);
}

#[test]
fn tampering_ends_it_while_it_asks() {
    let mut talk = Talk::new();
    talk.see(broker(BrokerState::Connected, None));
    let failure = Failure::ClocksDiffer { by: Duration::from_secs(999) };
    assert_eq!(code(&talk.see(Event::Error(failure.clone()))), Some("clocks_differ"));
    assert_eq!(Talk::up().see(Event::Error(failure)), []);
}

#[test]
fn when_the_other_side_closes_it_ends_well() {
    let mut talk = Talk::up();
    talk.see(my_message(0));
    assert_eq!(code(&talk.see(session(SessionState::Closed))), Some("none"));
}

#[test]
fn a_lost_session_does_not_end_it() {
    let mut talk = Talk::up();
    assert_eq!(talk.see(session(SessionState::Lost)), []);
    assert_eq!(talk.after(Duration::from_secs(3600)), []);
}

#[test]
fn at_the_end_of_input_it_waits_until_all_is_stored() {
    let mut talk = Talk::up();
    talk.see(my_message(0));
    talk.task.input_ended(talk.now);
    assert_eq!(talk.task.settled(&talk.desk), None);
    talk.see(receipt(0, Delivery::Sent));
    assert_eq!(talk.task.settled(&talk.desk), None);
    talk.see(receipt(0, Delivery::Stored));
    assert_eq!(talk.task.settled(&talk.desk), Some(Step::Stop(None)));
}

#[test]
fn what_is_not_stored_within_linger_is_not_delivered() {
    let mut talk = Talk::up();
    talk.see(my_message(0));
    talk.task.input_ended(talk.now);
    assert_eq!(talk.after(Duration::from_secs(29)), []);
    assert_eq!(talk.after(Duration::from_secs(1)), [Step::Stop(Some(Failure::NotDelivered { waiting: 1 }))]);
}

#[test]
fn input_may_end_before_the_answer_comes() {
    let mut talk = Talk::new();
    talk.type_line("hello");
    talk.task.input_ended(talk.now);
    assert_eq!(talk.task.settled(&talk.desk), None);
    talk.see(broker(BrokerState::Connected, None));
    talk.now += Duration::from_secs(50);
    talk.see(session(SessionState::Up));
    assert_eq!(talk.task.settled(&talk.desk), None, "the line is under way");
    assert_eq!(talk.task.deadline(), Some(talk.now + Duration::from_secs(30)));
}

#[test]
fn a_transfer_is_waited_for_as_long_as_bytes_pass() {
    let mut talk = Talk::up();
    talk.see(file(FileState::Offered, None));
    talk.task.input_ended(talk.now);
    talk.now += Duration::from_secs(20);
    talk.see(file(FileState::Running, None));
    assert_eq!(talk.after(Duration::from_secs(29)), []);
    talk.see(file(FileState::Done, None));
    assert_eq!(talk.task.settled(&talk.desk), Some(Step::Stop(None)));
}

#[test]
fn a_file_that_did_not_arrive_is_how_a_script_ends() {
    let mut talk = Talk::up();
    let corrupt = Failure::FileCorrupt { name: "song.mp3".into() };
    talk.see(file(FileState::Failed, Some(corrupt.clone())));
    assert_eq!(talk.task.settled(&talk.desk), None, "somebody is there to see it");
    talk.task.input_ended(talk.now);
    assert_eq!(talk.task.settled(&talk.desk), Some(Step::Stop(Some(corrupt))));
}
