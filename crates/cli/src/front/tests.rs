use std::io;
use std::sync::{Arc, Mutex};

use super::*;
use crate::output::{Colors, Sink, Stream, TimeOfDay};
use p2pchat_client::event::{BrokerEvent, Delivery, Ready, ReceiptEvent, SessionEvent, Stopped, Trust};
use p2pchat_client::{Command, Target};
use p2pchat_proto::conversation::{DeviceEpoch, MessageId};
use p2pchat_proto::{PeerId, WallTime};
use serde_json::Value;

const ALICE: PeerId = PeerId([1; 32]);

/// A client that does what a test says.
struct Script {
    requests: mpsc::UnboundedSender<(CommandId, Request)>,
    events: mpsc::UnboundedReceiver<Event>,
}

impl Port for Script {
    async fn send(&self, id: CommandId, request: Request) {
        self.requests.send((id, request)).unwrap();
    }

    async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }
}

/// What was written, and an end of a pipe that may be closed.
#[derive(Clone, Default)]
struct Paper(Arc<Mutex<(String, bool)>>);

impl Sink for Paper {
    fn write(&mut self, _: Stream, text: &str) -> io::Result<()> {
        let mut paper = self.0.lock().unwrap();
        if paper.1 {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        paper.0.push_str(text);
        Ok(())
    }
}

struct Stage {
    events: mpsc::UnboundedSender<Event>,
    requests: mpsc::UnboundedReceiver<(CommandId, Request)>,
    lines: mpsc::Sender<Typed>,
    paper: Paper,
}

fn stage<T: Task>(task: T, desk: Desk, style: Style) -> (Stage, Front<Script, T>) {
    let (events, happened) = mpsc::unbounded_channel();
    let (asked, requests) = mpsc::unbounded_channel();
    let (lines, typed) = mpsc::channel(16);
    let paper = Paper::default();
    let screen = Screen::on(Box::new(paper.clone()), Colors::default(), false).unwrap();
    let port = Script { requests: asked, events: happened };
    let mut front = Front::new(port, desk, task, screen, style, Input::Stream);
    front.typed = Some(typed);
    let name = "me".parse().unwrap();
    let ready =
        Ready { peer: PeerId([9; 32]), name, udp: None, udp6: None, control: None, known: Vec::new() };
    events.send(Event::Ready(ready)).unwrap();
    (Stage { events, requests, lines, paper }, front)
}

fn connect(style: Style) -> (Stage, Front<Script, Connect>) {
    let to = Target::Name("alice".parse().unwrap());
    let desk = Desk::new(None).with_expected(to.clone());
    let (timeout, linger) = (Duration::from_secs(60), Duration::from_secs(30));
    stage(Connect::new(to, "alice", "b:1", timeout, linger, Instant::now()), desk, style)
}

fn plain() -> Style {
    Style::Plain(Box::new(Plain::new(TimeOfDay::utc(), false)))
}

impl Stage {
    fn happens(&self, event: Event) {
        self.events.send(event).unwrap();
    }

    fn broker(&self) {
        let state = BrokerState::Connected;
        self.happens(Event::Broker(BrokerEvent {
            state,
            address: "b:1".into(),
            key: None,
            reason: None,
            clock_ahead_ms: None,
        }));
    }

    fn session(&self, state: SessionState) {
        let name = "alice".parse().ok();
        let event = SessionEvent { peer: ALICE, name, state, link: None, trust: Trust::New, reason: None };
        self.happens(Event::Session(event));
    }

    fn message(&self, mine: bool, seq: u64) {
        self.happens(Event::Message(MessageEvent {
            peer: ALICE,
            name: None,
            message: id(mine, seq),
            was: None,
            text: "hi".into(),
            sent_at: WallTime(0),
            mine,
            late: false,
        }));
    }

    async fn types(&self, line: &str) {
        self.lines.send(Typed::Line(line.to_owned())).await.unwrap();
    }

    async fn asked(&mut self) -> (CommandId, Request) {
        self.requests.recv().await.unwrap()
    }

    /// The client ends when it is told to, or by itself.
    async fn stops(&mut self, failure: Option<Failure>) {
        if failure.is_none() {
            while self.asked().await.1 != Request::Stop {}
        }
        self.happens(Event::Stopped(Stopped { failure }));
    }

    fn written(&self) -> String {
        self.paper.0.lock().unwrap().0.clone()
    }
}

fn id(mine: bool, seq: u64) -> MessageId {
    let me = PeerId([9; 32]);
    let (author, to) = if mine { (me, ALICE) } else { (ALICE, me) };
    MessageId { author, to, epoch: DeviceEpoch(1), seq }
}

async fn ended<T: Task>(front: Front<Script, T>) -> Option<Failure> {
    let ended = front.run(Vec::new()).await;
    ended.screen.flush().await;
    ended.failure
}

#[tokio::test]
async fn a_script_delivers_and_ends_with_nothing_under_way() {
    let (mut stage, front) = connect(Style::Json);
    let play = async {
        stage.types(r#"{"id":1,"do":"hi"}"#).await;
        stage.lines.send(Typed::End).await.unwrap();
        stage.broker();
        assert!(matches!(stage.asked().await.1, Request::Engine(Command::Connect { .. })));
        stage.session(SessionState::Up);
        let (command, request) = stage.asked().await;
        assert_eq!(request, Request::Engine(Command::Message { to: ALICE, text: "hi".into() }));
        stage.message(true, 0);
        let message = Some(id(true, 0));
        stage.happens(Event::Done { id: command, message, transfer: None, request: None });
        let state = Delivery::Stored;
        stage.happens(Event::Receipt(ReceiptEvent { peer: ALICE, message: id(true, 0), was: None, state }));
        stage.stops(None).await;
    };
    let (failure, ()) = tokio::join!(ended(front), play);
    assert_eq!(failure, None);
    let written = stage.written();
    let events: Vec<_> = written
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["event"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(events, ["ready", "broker", "session", "conversation", "message", "done", "receipt"]);
}

#[tokio::test]
async fn a_message_counts_as_read_once_its_line_was_written() {
    let (mut stage, front) = connect(plain());
    let play = async {
        stage.broker();
        stage.asked().await;
        stage.session(SessionState::Up);
        stage.message(false, 0);
        let shown = Request::Engine(Command::Shown { message: id(false, 0) });
        assert_eq!(stage.asked().await.1, shown);
        assert!(stage.written().contains("alice: hi\n"), "{}", stage.written());
        stage.types("/read-receipts off").await;
        let silent = Request::Engine(Command::ReadReceipts { tell: false });
        assert_eq!(stage.asked().await.1, silent);
        stage.message(false, 1);
        let shown = Request::Engine(Command::Shown { message: id(false, 1) });
        assert_eq!(stage.asked().await.1, shown, "it is kept that it was shown, and told to nobody");
        stage.types("/quit").await;
        assert_eq!(stage.asked().await.1, Request::Stop);
        stage.happens(Event::Stopped(Stopped { failure: None }));
    };
    let (failure, ()) = tokio::join!(ended(front), play);
    assert_eq!(failure, None);
}

#[tokio::test]
async fn lines_that_got_nowhere_say_so_at_the_end() {
    let (mut stage, front) = connect(Style::Json);
    let play = async {
        stage.types(r#"{"id":"x","do":"hi"}"#).await;
        stage.types("/quit").await;
        stage.stops(None).await;
    };
    let (failure, ()) = tokio::join!(ended(front), play);
    assert_eq!(failure, None);
    let failed: Value = serde_json::from_str(stage.written().lines().last().unwrap()).unwrap();
    assert_eq!((&failed["event"], &failed["id"]), (&Value::from("failed"), &Value::from("x")));
}

#[tokio::test]
async fn a_client_that_ends_by_itself_says_why() {
    let (mut stage, front) = connect(plain());
    let failure = Failure::Internal("a defect".into());
    let play = stage.stops(Some(failure.clone()));
    let (ended, ()) = tokio::join!(ended(front), play);
    assert_eq!(ended, Some(failure));
}

#[tokio::test]
async fn a_failure_that_was_shown_is_not_told_twice() {
    let (stage, front) = stage(Listen::new("b:1", Instant::now()), Desk::new(None), plain());
    let taken = Failure::NameTaken { name: "alice".parse().unwrap() };
    let (state, reason) = (BrokerState::Refused, Some(taken.clone()));
    stage.happens(Event::Broker(BrokerEvent {
        state,
        address: "b:1".into(),
        key: None,
        reason,
        clock_ahead_ms: None,
    }));
    stage.happens(Event::Stopped(Stopped { failure: None }));
    let ended = front.run(Vec::new()).await;
    ended.screen.flush().await;
    assert_eq!((ended.failure, ended.told), (Some(taken), true));
    assert_eq!(stage.written().matches("belongs to somebody else").count(), 1);
}

#[tokio::test]
async fn a_closed_output_ends_it_like_quit() {
    let (mut stage, front) = connect(plain());
    stage.paper.0.lock().unwrap().1 = true;
    let play = async {
        for seq in 0..5 {
            stage.message(false, seq);
            tokio::task::yield_now().await;
        }
        stage.stops(None).await;
    };
    let (failure, ()) = tokio::join!(ended(front), play);
    assert_eq!(failure, None);
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_is_away_gets_a_dot_a_second_and_then_a_reason() {
    let (mut stage, front) = connect(plain());
    let play = stage.stops(None);
    let (failure, ()) = tokio::join!(ended(front), play);
    assert_eq!(failure.map(|failure| failure.exit()), Some(3));
    // Time stands still here, but not for the thread that writes.
    while stage.written().matches('.').count() < 14 {
        std::thread::yield_now();
    }
}
