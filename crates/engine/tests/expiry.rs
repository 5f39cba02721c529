//! Messages that wait for longer than the user wants.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;
use std::time::Duration;

use p2pchat_conversation::Memory;
use p2pchat_crypto::{Identity, Seed};

use p2pchat_engine::event::Delivery;
use p2pchat_engine::{
    AcceptPolicy, Command, CommandId, Effect, Engine, EngineConfig, Event, Kept, Now, Ports,
};
use p2pchat_proto::conversation::DeviceEpoch;
use p2pchat_proto::{Moment, PeerId, WallTime};

const HOUR: Duration = Duration::from_secs(3_600);
const AWAY: PeerId = PeerId([9; 32]);
const EPOCH: DeviceEpoch = DeviceEpoch(5);

/// One user, alone, whose store answers at once.
struct Alone {
    engine: Engine,
    store: Memory,
    /// Since the first start.
    passed: Duration,
    /// By how much the clock that people read was set.
    set: Duration,
    states: Vec<Delivery>,
}

impl Alone {
    fn new(expire: Option<Duration>) -> Self {
        let (passed, set) = (Duration::ZERO, Duration::ZERO);
        let engine = engine(expire, &Memory::new(), now(passed, set));
        Self { engine, store: Memory::new(), passed, set, states: Vec::new() }
    }

    fn restart(&mut self, expire: Option<Duration>) {
        self.engine = engine(expire, &self.store, now(self.passed, self.set));
        self.settle();
    }

    fn now(&self) -> Now {
        now(self.passed, self.set)
    }

    fn write(&mut self, text: &str) {
        let command = Command::Message { to: AWAY, text: text.to_owned() };
        self.engine.handle_command(CommandId(1), command, self.now());
        self.settle();
    }

    fn settle(&mut self) {
        while let Some(effect) = self.engine.poll_effect() {
            if let Effect::Commit { batch, writes } = effect {
                self.store.apply(&writes);
                self.engine.committed(batch, self.now());
            } else if let Effect::Load { query, peer } = effect {
                self.engine.loaded(query, self.store.rows(peer), self.now());
            }
        }
        while let Some(event) = self.engine.poll_event() {
            if let Event::Receipt(receipt) = event {
                self.states.push(receipt.state);
            }
        }
    }

    /// Lets time pass, from one timeout to the next.
    fn wait(&mut self, time: Duration) {
        let end = self.passed + time;
        let mut timeouts = 0;
        loop {
            let due = Duration::from_nanos(self.engine.poll_timeout().as_nanos());
            if due > end {
                self.passed = end;
                return;
            }
            self.passed = self.passed.max(due);
            self.engine.handle_timeout(self.now());
            self.settle();
            timeouts += 1;
            assert!(timeouts < 1_000_000, "it is due and does nothing");
        }
    }

    fn waiting(&self) -> usize {
        self.store.rows(AWAY).outbox.len()
    }
}

fn now(passed: Duration, set: Duration) -> Now {
    let nanos = u64::try_from(passed.as_nanos()).unwrap();
    let wall = u64::try_from((passed + set).as_millis()).unwrap();
    Now { moment: Moment::from_nanos(nanos), wall: WallTime(1_794_000_000_000 + wall) }
}

fn engine(expire: Option<Duration>, store: &Memory, now: Now) -> Engine {
    let config = EngineConfig {
        me: Arc::new(Identity::from_seed(&Seed::from_bytes([1; 32]))),
        name: "alone".parse().unwrap(),
        broker: "broker.example:7770".into(),
        broker_key: None,
        pins: Vec::new(),
        contacts: Vec::new(),
        accept: AcceptPolicy::Ask,
        accept_files: AcceptPolicy::Ask,
        read_receipts: true,
        expire,
        files_from_connected: false,
        ports: Ports { v4: 7000, v6: 0 },
        loopback_only: false,
    };
    let kept = Kept { epoch: EPOCH, heads: store.heads(), recipients: store.recipients() };
    Engine::resume(config, [3; 32], kept, now)
}

#[test]
fn what_waits_is_given_up_when_its_time_is_over_and_not_before() {
    let mut alone = Alone::new(Some(HOUR));
    alone.write("first");
    alone.wait(HOUR / 2);
    alone.write("second");
    alone.wait(HOUR / 2 - Duration::from_secs(1));
    assert_eq!((alone.waiting(), &*alone.states), (2, &[Delivery::Queued; 2][..]));
    alone.wait(Duration::from_secs(2));
    assert_eq!((alone.waiting(), alone.states.last()), (1, Some(&Delivery::Failed)));
    alone.wait(HOUR / 2);
    assert_eq!((alone.waiting(), alone.states.len()), (0, 4));
}

#[test]
fn time_counts_while_no_process_runs() {
    let mut alone = Alone::new(Some(HOUR));
    alone.write("first");
    alone.passed += 2 * HOUR;
    alone.restart(Some(HOUR));
    alone.wait(Duration::from_secs(1));
    assert_eq!((alone.waiting(), alone.states.last()), (0, Some(&Delivery::Failed)));
    alone.write("second");
    alone.restart(Some(HOUR));
    alone.wait(HOUR / 2);
    assert_eq!(alone.waiting(), 1);
}

#[test]
fn a_clock_that_is_set_forward_is_noticed_within_a_minute() {
    let mut alone = Alone::new(Some(24 * HOUR));
    alone.write("first");
    alone.wait(HOUR);
    alone.set += 24 * HOUR;
    alone.wait(Duration::from_secs(60));
    assert_eq!((alone.waiting(), alone.states.last()), (0, Some(&Delivery::Failed)));
}

#[test]
fn without_the_setting_messages_wait_for_ever() {
    let mut alone = Alone::new(None);
    alone.write("first");
    alone.wait(24 * 30 * HOUR);
    alone.restart(None);
    alone.wait(24 * 30 * HOUR);
    assert_eq!((alone.waiting(), &*alone.states), (1, &[Delivery::Queued][..]));
}
