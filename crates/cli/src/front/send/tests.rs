use super::*;
use p2pchat_client::event::{BrokerEvent, MessageEvent, ReceiptEvent, Trust};
use p2pchat_proto::conversation::DeviceEpoch;

const ALICE: PeerId = PeerId([1; 32]);
const CAROL: PeerId = PeerId([3; 32]);

struct Post {
    desk: Desk,
    task: Send,
    now: Instant,
}

fn parcel(text: Option<&str>, files: &[&str]) -> Parcel {
    let files = files.iter().map(PathBuf::from).collect();
    Parcel { text: text.map(str::to_owned), files, wait: Delivery::Stored }
}

impl Post {
    fn new(to: &[&str], parcel: Parcel) -> Self {
        Self::with(to, None, parcel)
    }

    fn with(to: &[&str], known: Option<PeerId>, parcel: Parcel) -> Self {
        let now = Instant::now();
        let address = |who: &&str| {
            let target = Target::Name(who.parse().unwrap());
            Address { target, known, label: (*who).to_owned() }
        };
        let to = to.iter().map(address).collect();
        let task = Send::new(to, parcel, "127.0.0.1:7770", Duration::from_secs(60), now);
        Self { desk: Desk::new(None), task, now }
    }

    fn see(&mut self, event: Event) -> Vec<CommandId> {
        self.desk.observe(&event);
        let steps = self.task.event(&event, &mut self.desk, self.now);
        let ids = steps.iter().map(|step| match step {
            Step::Do(Action::Ask { id, .. }) => *id,
            Step::Do(_) | Step::Stop(_) => panic!("{step:?}"),
        });
        ids.collect()
    }

    fn at_broker(&mut self) -> Vec<CommandId> {
        self.see(Event::Broker(BrokerEvent {
            state: BrokerState::Connected,
            address: String::new(),
            key: None,
            reason: None,
            clock_ahead_ms: None,
        }))
    }

    fn up(&mut self, peer: PeerId, name: &str) -> Vec<CommandId> {
        self.see(Event::Session(SessionEvent {
            peer,
            name: name.parse().ok(),
            state: SessionState::Up,
            link: None,
            trust: Trust::New,
            reason: None,
        }))
    }

    fn made(&mut self, id: CommandId, message: Option<u64>, transfer: Option<u32>) {
        let message = message.map(message_id);
        self.see(Event::Done { id, message, transfer: transfer.map(TransferNumber), request: None });
    }

    fn kept(&mut self, seq: u64) {
        self.see(Event::Message(MessageEvent {
            peer: ALICE,
            name: None,
            message: message_id(seq),
            was: None,
            text: "noon".into(),
            sent_at: p2pchat_proto::WallTime(0),
            mine: true,
            late: true,
        }));
    }

    fn stored(&mut self, peer: PeerId, seq: u64) {
        self.see(Event::Receipt(ReceiptEvent {
            peer,
            message: message_id(seq),
            was: None,
            state: Delivery::Stored,
        }));
    }

    fn file(&mut self, number: u32, state: FileState, reason: Option<Failure>) {
        self.see(Event::File(Box::new(FileEvent {
            transfer: TransferNumber(number),
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
        })));
    }

    fn end(&mut self) -> Option<Option<Failure>> {
        match self.task.settled(&self.desk) {
            Some(Step::Stop(failure)) => Some(failure),
            Some(Step::Do(_)) | None => None,
        }
    }

    fn after(&mut self, span: Duration) {
        self.now += span;
        if self.task.deadline().is_some_and(|due| due <= self.now) {
            assert_eq!(self.task.timeout(&mut self.desk, self.now), []);
        }
    }
}

fn message_id(seq: u64) -> MessageId {
    MessageId { author: PeerId([9; 32]), to: PeerId([1; 32]), epoch: DeviceEpoch(1), seq }
}

#[test]
fn it_ends_once_everybody_keeps_the_message() {
    let mut post = Post::new(&["alice", "carol"], parcel(Some("noon"), &[]));
    assert_eq!(post.at_broker().len(), 2);
    let alice = post.up(ALICE, "alice");
    post.made(alice[0], Some(0), None);
    post.stored(ALICE, 0);
    assert_eq!(post.end(), None);
    let carol = post.up(CAROL, "carol");
    post.made(carol[0], Some(0), None);
    assert_eq!(post.end(), None, "the message of alice is not the one of carol");
    post.stored(CAROL, 0);
    assert_eq!(post.end(), Some(None));
    assert_eq!(post.end(), None, "it ends once");
    let ledger = post.task.ledger(&post.desk);
    assert_eq!((ledger.stored(), ledger.len()), (2, 2));
}

#[test]
fn whoever_is_named_in_two_ways_gets_it_once() {
    for known in [None, Some(ALICE)] {
        let mut post = Post::with(&["alice"], known, parcel(Some("noon"), &[]));
        let by_id = Address { target: Target::Peer(ALICE), known: None, label: ALICE.to_string() };
        post.task.recipients.push(Recipient::new(by_id, post.now));
        post.at_broker();
        let said = post.up(ALICE, "alice");
        assert_eq!(said.len(), 1);
        assert_eq!(post.task.recipients.len(), 1);
        assert_eq!(post.task.recipients[0].label, "alice");
    }
}

#[test]
fn one_of_two_is_a_part() {
    let mut post = Post::new(&["alice", "carol"], parcel(Some("noon"), &[]));
    let connects = post.at_broker();
    let alice = post.up(ALICE, "alice");
    post.made(alice[0], Some(0), None);
    post.stored(ALICE, 0);
    post.see(Event::Failed { id: connects[1], failure: Failure::NotOnline { who: "carol".into() } });
    assert_eq!(post.end(), Some(Some(Failure::NotEverybody { missed: 1 })));
    assert_eq!(post.task.ledger(&post.desk).failed(), ["carol"]);
}

#[test]
fn nobody_at_all_is_the_first_one_s_failure() {
    let mut post = Post::new(&["alice", "carol"], parcel(Some("noon"), &[]));
    let connects = post.at_broker();
    let failure = Failure::NotOnline { who: "alice".into() };
    post.see(Event::Failed { id: connects[0], failure: failure.clone() });
    post.after(Duration::from_secs(60));
    assert_eq!(post.end(), Some(Some(failure)));
}

#[test]
fn a_file_that_fails_is_its_own_failure() {
    let mut post = Post::new(&["alice"], parcel(Some("listen"), &["song.mp3"]));
    post.at_broker();
    let ids = post.up(ALICE, "alice");
    post.made(ids[0], Some(0), None);
    post.made(ids[1], None, Some(1));
    post.stored(ALICE, 0);
    let corrupt = Failure::FileCorrupt { name: "song.mp3".into() };
    post.file(1, FileState::Failed, Some(corrupt.clone()));
    assert_eq!(post.end(), Some(Some(corrupt)));
}

#[test]
fn a_transfer_that_moves_is_waited_for_and_one_that_nobody_takes_is_not() {
    let mut post = Post::new(&["alice"], parcel(None, &["song.mp3"]));
    post.at_broker();
    let ids = post.up(ALICE, "alice");
    post.made(ids[0], None, Some(1));
    for _ in 0..5 {
        post.after(Duration::from_secs(50));
        post.file(1, FileState::Running, None);
        assert_eq!(post.end(), None);
    }
    post.file(1, FileState::Done, None);
    assert_eq!(post.end(), Some(None));

    let mut post = Post::new(&["alice"], parcel(None, &["song.mp3"]));
    post.at_broker();
    let ids = post.up(ALICE, "alice");
    post.made(ids[0], None, Some(1));
    post.after(Duration::from_secs(60));
    assert_eq!(post.end().flatten().map(|failure| failure.exit()), Some(8));
}

#[test]
fn no_answer_in_time_is_5_and_no_broker_is_3() {
    let mut post = Post::new(&["alice"], parcel(Some("noon"), &[]));
    post.at_broker();
    post.after(Duration::from_secs(60));
    assert_eq!(post.end(), Some(Some(Failure::NoAnswer { who: "alice".into() })));

    let mut post = Post::new(&["alice"], parcel(Some("noon"), &[]));
    post.now += Duration::from_secs(15);
    assert_eq!(post.task.timeout(&mut post.desk, post.now), []);
    assert!(matches!(post.end(), Some(Some(Failure::BrokerUnreachable { .. }))));
    assert_eq!(post.end(), None, "it ends once");
}

fn ready() -> Event {
    let name = "bob".parse().unwrap();
    Event::Ready(p2pchat_client::event::Ready {
        peer: CAROL,
        name,
        udp: None,
        udp6: None,
        control: None,
        known: Vec::new(),
    })
}

#[test]
fn what_is_for_somebody_known_is_kept_before_the_broker_is_there_and_waits_if_they_are_not() {
    let absent = [
        Failure::NotOnline { who: "alice".into() },
        Failure::BrokerUnreachable { address: String::new(), reason: String::new() },
    ];
    for failure in absent {
        let mut post = Post::with(&["alice"], Some(ALICE), parcel(Some("noon"), &[]));
        let ids = post.see(ready());
        assert_eq!(ids.len(), 2, "to ask for her, and the message");
        post.made(ids[1], Some(0), None);
        post.kept(0);
        assert_eq!(post.at_broker(), [], "she is asked for already");
        post.see(Event::Failed { id: ids[0], failure });
        assert_eq!(post.end(), Some(Some(Failure::NotDelivered { waiting: 1 })));
        let [Local::Ledger(ledger)] = &post.task.last_words(&post.desk)[..] else { panic!() };
        assert_eq!(ledger.queued(), ["alice"]);
    }
}

#[test]
fn who_is_known_to_be_away_before_the_message_is_kept_has_it_waiting_all_the_same() {
    let mut post = Post::with(&["alice"], Some(ALICE), parcel(Some("noon"), &[]));
    let ids = post.see(ready());
    post.see(Event::Failed { id: ids[0], failure: Failure::NotOnline { who: "alice".into() } });
    assert_eq!(post.end(), None, "the disk is slower than the broker");
    post.made(ids[1], Some(0), None);
    post.kept(0);
    assert_eq!(post.end(), Some(Some(Failure::NotDelivered { waiting: 1 })));
    let [Local::Ledger(ledger)] = &post.task.last_words(&post.desk)[..] else { panic!() };
    assert_eq!(ledger.queued(), ["alice"]);
}

#[test]
fn a_message_that_is_called_otherwise_since_is_still_the_same() {
    let mut post = Post::with(&["alice"], Some(ALICE), parcel(Some("noon"), &[]));
    let ids = post.see(ready());
    post.made(ids[1], Some(1), None);
    post.kept(1);
    post.up(ALICE, "alice");
    let (message, was, state) = (message_id(0), Some(message_id(1)), Delivery::Queued);
    post.see(Event::Receipt(ReceiptEvent { peer: ALICE, message, was: was.map(Box::new), state }));
    assert_eq!(post.end(), None);
    post.stored(ALICE, 0);
    assert_eq!(post.end(), Some(None));
    assert_eq!(post.task.ledger(&post.desk).message(), Some(message));
}

#[test]
fn what_the_disk_does_not_take_is_not_waited_for_and_called_failed() {
    for early in [true, false] {
        let mut post = Post::with(&["alice"], Some(ALICE), parcel(Some("noon"), &[]));
        let ids = post.see(ready());
        let full = Event::Error(Failure::DiskFull { path: "store".into() });
        if early {
            post.see(full.clone());
        }
        post.made(ids[1], Some(0), None);
        post.up(ALICE, "alice");
        if !early {
            post.see(full);
        }
        assert_eq!(post.end(), None, "there may be room in a moment");
        post.after(KEEP_WAIT);
        assert_eq!(post.end(), Some(Some(Failure::NotDelivered { waiting: 1 })), "what it is the store says");
        assert_eq!(post.task.ledger(&post.desk).failed(), ["alice"]);
    }
}

#[test]
fn a_message_that_cannot_be_kept_ends_it() {
    let mut post = Post::with(&["alice"], Some(ALICE), parcel(Some("noon"), &[]));
    let ids = post.see(ready());
    post.see(Event::Failed { id: ids[1], failure: Failure::NotUtf8 });
    assert_eq!(post.end(), Some(Some(Failure::NotUtf8)));
}

#[test]
fn somebody_known_who_is_there_gets_it_once() {
    let mut post = Post::with(&["alice"], Some(ALICE), parcel(Some("noon"), &["song.mp3"]));
    let ids = post.see(ready());
    post.made(ids[1], Some(0), None);
    assert_eq!(post.up(ALICE, "alice").len(), 1, "the file alone");
    post.stored(ALICE, 0);
    assert_eq!(post.end(), None);
}

#[test]
fn what_is_kept_waits_whatever_the_other_side_said_and_trust_is_for_the_user() {
    let who = || "alice".to_owned();
    let answers = [
        Failure::Declined { who: who(), reason: "later".into() },
        Failure::NotAllowed { what: "another request within 9 s".into() },
        Failure::UnknownPeer { who: who() },
    ];
    for answer in answers {
        let mut post = Post::with(&["alice"], Some(ALICE), parcel(Some("noon"), &[]));
        let ids = post.see(ready());
        post.made(ids[1], Some(0), None);
        post.see(Event::Failed { id: ids[0], failure: answer.clone() });
        assert_eq!(post.end(), Some(Some(Failure::NotDelivered { waiting: 1 })), "{answer:?}");
        let mut post = Post::new(&["alice"], parcel(Some("noon"), &[]));
        let ids = post.at_broker();
        post.see(Event::Failed { id: ids[0], failure: answer.clone() });
        assert_eq!(post.end(), Some(Some(answer)), "nothing was kept for a stranger");
    }
    let changed = Failure::KeyChanged { name: None, pinned: ALICE, came: CAROL };
    let mut post = Post::with(&["alice"], Some(ALICE), parcel(Some("noon"), &[]));
    let ids = post.see(ready());
    post.made(ids[1], Some(0), None);
    post.see(Event::Failed { id: ids[0], failure: changed.clone() });
    assert_eq!(post.end(), Some(Some(changed)));
}

#[test]
fn people_who_got_nothing_are_not_messages_that_wait() {
    let mut post = Post::new(&["alice", "carol"], parcel(Some("noon"), &[]));
    let connects = post.at_broker();
    let alice = post.up(ALICE, "alice");
    post.made(alice[0], Some(0), None);
    post.stored(ALICE, 0);
    post.see(Event::Failed { id: connects[1], failure: Failure::UnknownPeer { who: "carol".into() } });
    assert_eq!(post.end(), Some(Some(Failure::NotEverybody { missed: 1 })));
}
