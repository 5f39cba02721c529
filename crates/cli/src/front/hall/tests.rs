use p2pchat_client::desk::Desk;
use p2pchat_client::event::{
    BrokerEvent, BrokerState, Delivery, MessageEvent, Ready, ReceiptEvent, SessionEvent, SessionState,
    SocketReport, Trust,
};
use p2pchat_client::profile::Home;
use p2pchat_client::random::system_rng;
use p2pchat_client::{Command, Target};
use p2pchat_proto::conversation::{DeviceEpoch, MessageId};
use p2pchat_proto::{PeerId, WallTime};
use serde_json::Value;
use tokio::sync::mpsc::Receiver;

use super::*;
use crate::control::IDLE_MAX;

const ALICE: PeerId = PeerId([1; 32]);
const CAROL: PeerId = PeerId([2; 32]);
const SEND: &str =
    r#"{"call":{"send":{"to":["alice"],"text":"hi","files":[],"wait":"stored","timeout":60}}}"#;

struct Guests {
    hall: Hall,
    desk: Desk,
    now: Instant,
}

impl Guests {
    fn new() -> Self {
        let broker = "b:1".parse().unwrap();
        let me = Home::nowhere().create_identity(None, &mut system_rng().unwrap()).unwrap().into();
        let hall = Hall::behind(None, Service { home: Home::nowhere(), me, broker });
        Self { hall, desk: Desk::new(None), now: Instant::now() }
    }

    fn comes(&mut self, seat: u32) -> Receiver<String> {
        let (visitor, lines) = Visitor::imagined(seat);
        self.hall.answer(Call::Knock(Knock::Came(visitor)), &self.desk, self.now);
        lines
    }

    fn says(&mut self, seat: u32, line: &str) -> Asks {
        let said = Knock::Said { seat, line: line.to_owned() };
        self.hall.answer(Call::Knock(said), &self.desk, self.now);
        self.hall.take_asks()
    }

    fn happens(&mut self, event: &Event) -> (Share, Asks) {
        let share = self.hall.observe(event, self.now);
        (share, self.hall.take_asks())
    }

    fn begins(&mut self) {
        let name = "me".parse().unwrap();
        self.happens(&Event::Ready(Ready {
            peer: PeerId([9; 32]),
            name,
            udp: None,
            udp6: None,
            control: None,
            known: Vec::new(),
        }));
        let state = BrokerState::Connected;
        self.happens(&Event::Broker(BrokerEvent {
            state,
            address: "b:1".into(),
            key: None,
            reason: None,
            clock_ahead_ms: None,
        }));
    }
}

fn up(peer: PeerId, name: &str) -> Event {
    let (name, state) = (name.parse().ok(), SessionState::Up);
    Event::Session(SessionEvent { peer, name, state, link: None, trust: Trust::Pinned, reason: None })
}

fn id() -> MessageId {
    MessageId { author: PeerId([9; 32]), to: ALICE, epoch: DeviceEpoch(1), seq: 1 }
}

fn mine(text: &str) -> Event {
    let (peer, message, sent_at) = (ALICE, id(), WallTime(0));
    Event::Message(MessageEvent {
        peer,
        name: None,
        message,
        was: None,
        text: text.into(),
        sent_at,
        mine: true,
        late: false,
    })
}

fn names(lines: &mut Receiver<String>) -> Vec<String> {
    let mut names = Vec::new();
    while let Ok(line) = lines.try_recv() {
        let event: Value = serde_json::from_str(&line).unwrap();
        names.push(event["event"].as_str().unwrap().to_owned());
    }
    names
}

#[tokio::test]
async fn an_answer_goes_to_whoever_asked_and_to_nobody_else() {
    let mut guests = Guests::new();
    let (mut first, mut second) = (guests.comes(1), guests.comes(2));
    let [(asked, _)] = guests.says(1, "/info").try_into().unwrap();
    assert!(guests.says(2, "").is_empty());
    let info =
        |id| Event::Info { id, sessions: Vec::new(), sought: Vec::new(), socket: SocketReport::default() };
    assert_eq!(guests.happens(&info(asked)).0, Share::Nothing);
    assert_eq!((names(&mut first), names(&mut second)), (vec!["info".to_owned()], Vec::new()));
    // The process's own front end counts from 1.
    assert_eq!(guests.happens(&info(CommandId(1))).0, Share::All);
    assert!(names(&mut first).is_empty());
}

#[tokio::test]
async fn a_call_to_somebody_who_is_connected_asks_for_no_chat_and_ends_by_the_receipt() {
    let mut guests = Guests::new();
    guests.begins();
    guests.happens(&up(ALICE, "alice"));
    let mut lines = guests.comes(1);
    let [(said, request)] = guests.says(1, SEND).try_into().unwrap();
    assert_eq!(request, Command::Message { to: ALICE, text: "hi".into() }.into());
    guests.happens(&Event::Done { id: said, message: Some(id()), transfer: None, request: None });
    assert_eq!(guests.happens(&mine("hi")).0, Share::Account);
    let stored = ReceiptEvent { peer: ALICE, message: id(), was: None, state: Delivery::Stored };
    assert_eq!(guests.happens(&Event::Receipt(stored)).0, Share::Account);
    let expected = ["ready", "session", "broker", "message", "receipt", "ledger", "stopped"];
    assert_eq!(names(&mut lines), expected);
    assert!(lines.recv().await.is_none(), "the connection ends");
}

#[tokio::test]
async fn a_call_hears_nothing_of_what_is_not_its_own() {
    let mut guests = Guests::new();
    guests.begins();
    let mut lines = guests.comes(1);
    let [(_, request)] = guests.says(1, SEND).try_into().unwrap();
    let Request::Engine(Command::Connect { to, .. }) = request else { panic!("{request:?}") };
    assert_eq!(to, Target::Name("alice".parse().unwrap()));
    names(&mut lines);
    guests.happens(&up(CAROL, "carol"));
    guests.happens(&Event::Error(Failure::NoPath { who: "carol".into() }));
    guests.happens(&Event::Error(Failure::Internal("something".into())));
    assert_eq!(guests.happens(&mine("typed in the chat")).0, Share::All);
    assert!(names(&mut lines).is_empty());
    guests.happens(&up(ALICE, "alice"));
    assert_eq!(names(&mut lines), ["session"]);
}

#[tokio::test]
async fn a_call_ends_once_what_it_said_is_stored_here() {
    let mut guests = Guests::new();
    guests.begins();
    guests.happens(&up(ALICE, "alice"));
    let mut lines = guests.comes(1);
    let [(said, _)] = guests.says(1, SEND).try_into().unwrap();
    guests.happens(&Event::Done { id: said, message: Some(id()), transfer: None, request: None });
    guests.now += Duration::from_secs(61);
    guests.hall.answer(Call::Deadline, &guests.desk, guests.now);
    assert_eq!(names(&mut lines), ["ready", "session", "broker"]);
    guests.happens(&mine("hi"));
    assert_eq!(names(&mut lines), ["message", "ledger", "error", "line", "stopped"]);
}

#[tokio::test]
async fn a_call_whose_words_no_disk_takes_is_told_so() {
    let mut guests = Guests::new();
    guests.begins();
    guests.happens(&up(ALICE, "alice"));
    let mut lines = guests.comes(1);
    let [(said, _)] = guests.says(1, SEND).try_into().unwrap();
    guests.happens(&Event::Done { id: said, message: Some(id()), transfer: None, request: None });
    for wait in [Duration::from_secs(61), IDLE_MAX] {
        guests.now += wait;
        guests.hall.answer(Call::Deadline, &guests.desk, guests.now);
    }
    let mut last = String::new();
    while let Ok(line) = lines.try_recv() {
        last = line;
    }
    let last: Value = serde_json::from_str(&last).unwrap();
    assert_eq!((&last["code"], &last["exit"]), (&"local".into(), &1.into()), "{last}");
}

#[tokio::test]
async fn a_call_whose_message_is_kept_is_told_so_when_the_process_ends() {
    let mut guests = Guests::new();
    guests.begins();
    guests.happens(&up(ALICE, "alice"));
    let (mut calls, mut talks) = (guests.comes(1), guests.comes(2));
    let [(said, _)] = guests.says(1, SEND).try_into().unwrap();
    guests.says(2, r#"{"id":5,"do":"/info"}"#);
    guests.happens(&Event::Done { id: said, message: Some(id()), transfer: None, request: None });
    guests.happens(&mine("hi"));
    names(&mut talks);
    guests.hall.close().await;
    let mut last = String::new();
    while let Ok(line) = calls.try_recv() {
        last = line;
    }
    let last: Value = serde_json::from_str(&last).unwrap();
    assert_eq!((&last["event"], &last["exit"]), (&"stopped".into(), &7.into()), "{last}");
    assert_eq!(names(&mut talks), ["failed", "error", "line", "stopped"]);
}

#[tokio::test]
async fn who_says_nothing_gives_way_and_who_speaks_stays() {
    let mut guests = Guests::new();
    let places = u32::try_from(CALLERS_MAX).unwrap();
    let mut here: Vec<_> = (1..=places).map(|seat| guests.comes(seat)).collect();
    guests.says(1, "/id");
    let late = guests.comes(places + 1);
    assert!(here[1].is_closed() || here[1].recv().await.is_none(), "the first who said nothing is gone");
    assert!(!here[0].is_closed() && !late.is_closed());
    for seat in 3..=places + 1 {
        guests.says(seat, "/id");
    }
    let mut refused = guests.comes(places + 2);
    assert_eq!(names(&mut refused), ["error", "stopped"]);
    assert_eq!(guests.hall.guests.len(), CALLERS_MAX);
}

#[tokio::test]
async fn who_does_not_read_is_cut_off() {
    let mut guests = Guests::new();
    let _unread = guests.comes(1);
    guests.says(1, "/id");
    let presence = up(CAROL, "carol");
    let mut events = 0;
    while !guests.hall.guests.is_empty() {
        guests.happens(&presence);
        events += 1;
        assert!(events < 10_000, "what waits for one is bounded");
    }
}

#[tokio::test(start_paused = true)]
async fn who_says_nothing_goes_after_a_while() {
    let mut guests = Guests::new();
    let _silent = guests.comes(1);
    guests.now += IDLE_MAX - Duration::from_millis(1);
    guests.hall.answer(Call::Deadline, &guests.desk, guests.now);
    assert_eq!(guests.hall.guests.len(), 1);
    guests.now += Duration::from_millis(1);
    guests.hall.answer(Call::Deadline, &guests.desk, guests.now);
    assert!(guests.hall.guests.is_empty());
}

#[tokio::test]
async fn a_connection_has_one_call_and_no_other_after_lines() {
    let mut guests = Guests::new();
    guests.begins();
    let (mut twice, mut late) = (guests.comes(1), guests.comes(2));
    guests.says(1, SEND);
    guests.says(1, SEND);
    assert_eq!(names(&mut twice).last().map(String::as_str), Some("stopped"));
    guests.says(2, "/id");
    names(&mut late);
    guests.says(2, SEND);
    assert_eq!(names(&mut late), ["error"]);
}

#[tokio::test]
async fn who_leaves_has_what_they_asked_for_answered_first() {
    let mut guests = Guests::new();
    let mut lines = guests.comes(1);
    let [(asked, _)] = guests.says(1, "/info").try_into().unwrap();
    let gone = Knock::Gone { seat: 1, failure: None };
    guests.hall.answer(Call::Knock(gone), &guests.desk, guests.now);
    assert_eq!(guests.hall.guests.len(), 1);
    guests.happens(&Event::Info {
        id: asked,
        sessions: Vec::new(),
        sought: Vec::new(),
        socket: SocketReport::default(),
    });
    assert_eq!(names(&mut lines), ["info"]);
    assert!(guests.hall.guests.is_empty());
}
