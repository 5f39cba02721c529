//! What a peer may try in a session that it was let into.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use p2pchat_conversation::{BodyError, ComposeError, Conversations, Effect, Memory, Outgoing};
use p2pchat_proto::codec::{Body, DecodeError, decode, encode};
use p2pchat_proto::conversation::{
    DeviceEpoch, EPOCHS_MAX, Held, IN_FLIGHT_MESSAGES, MessageId, Receipt, ReceiptState, SeqRange, Sync, Text,
};
use p2pchat_proto::limits::TEXT_MAX;
use p2pchat_proto::{PeerId, WallTime};
use proptest::prelude::*;

const ME: PeerId = PeerId([1; 32]);
const PEER: PeerId = PeerId([2; 32]);
const MINE: DeviceEpoch = DeviceEpoch(10);
const THEIRS: DeviceEpoch = DeviceEpoch(20);
const NOW: WallTime = WallTime(0);
/// The first epoch that is begun because the peer says that it holds more than was sent.
const RENEWED: DeviceEpoch = DeviceEpoch(1_000);

/// This side, with a store that answers at once and commits when it is told to.
struct Victim {
    conversations: Conversations,
    memory: Memory,
    commits: bool,
    sent: Vec<(u8, Vec<u8>)>,
    events: usize,
    renewals: u64,
}

impl Victim {
    fn new() -> Self {
        let conversations = Conversations::new(ME, MINE);
        Self { conversations, memory: Memory::new(), commits: true, sent: Vec::new(), events: 0, renewals: 0 }
    }

    fn with_session() -> Self {
        let mut victim = Self::new();
        victim.session_up();
        victim
    }

    fn synced() -> Self {
        let mut victim = Self::with_session();
        victim.take(Sync::KIND, &sync(vec![], THEIRS)).unwrap();
        victim
    }

    fn session_up(&mut self) {
        self.conversations.session_up(PEER);
        self.drain();
    }

    fn compose(&mut self, text: &str) -> MessageId {
        let message = self.conversations.compose(PEER, text.into(), NOW).unwrap();
        self.drain();
        message
    }

    fn take<B: Body>(&mut self, kind: u8, body: &B) -> Result<(), BodyError> {
        self.take_bytes(kind, &encode(body).unwrap())
    }

    fn take_bytes(&mut self, kind: u8, bytes: &[u8]) -> Result<(), BodyError> {
        let result = self.conversations.handle_body(PEER, kind, bytes, NOW);
        self.drain();
        result
    }

    fn drain(&mut self) {
        while let Some(peer) = self.conversations.poll_rewound() {
            self.conversations.renew(peer, DeviceEpoch(RENEWED.0 + self.renewals));
            self.renewals += 1;
        }
        while let Some(effect) = self.conversations.poll_effect() {
            match effect {
                Effect::Commit { batch, writes } if self.commits => {
                    self.memory.apply(&writes);
                    self.conversations.committed(batch);
                }
                Effect::Commit { .. } => {}
                Effect::Load { query, peer } => {
                    self.conversations.loaded(query, self.memory.rows(peer)).unwrap();
                }
            }
        }
        while let Some(Outgoing { kind, body, .. }) = self.conversations.poll_send() {
            self.sent.push((kind, body.to_vec()));
        }
        while self.conversations.poll_event().is_some() {
            self.events += 1;
        }
    }

    fn sent_kinds(&self) -> Vec<u8> {
        self.sent.iter().map(|(kind, _)| *kind).collect()
    }
}

fn sync(held: Vec<Held>, epoch: DeviceEpoch) -> Sync {
    Sync { held, epoch, first: 0, next: 0 }
}

fn held(contiguous: u64, beyond: &[(u64, u64)]) -> Held {
    let beyond = beyond.iter().map(|(start, end)| SeqRange { start: *start, end: *end }).collect();
    Held { epoch: MINE, contiguous, read: 0, beyond }
}

fn text(seq: u64) -> Text {
    Text { epoch: THEIRS, seq, sent_at: NOW, late: false, text: "x".into() }
}

fn receipt(state: ReceiptState, upto: u64) -> Receipt {
    Receipt { state, epoch: MINE, upto }
}

#[test]
fn nothing_is_taken_without_a_session_or_before_the_sync() {
    for mut victim in [Victim::new(), Victim::with_session()] {
        assert_eq!(victim.take(Text::KIND, &text(0)), Err(BodyError::BeforeSync));
        let stored = receipt(ReceiptState::Stored, 0);
        assert_eq!(victim.take(Receipt::KIND, &stored), Err(BodyError::BeforeSync));
        assert_eq!(victim.events, 0);
    }
    assert_eq!(Victim::new().take(Sync::KIND, &sync(vec![], THEIRS)), Err(BodyError::BeforeSync));
}

#[test]
fn a_second_sync_is_refused() {
    let mut victim = Victim::synced();
    assert_eq!(victim.take(Sync::KIND, &sync(vec![], THEIRS)), Err(BodyError::SecondSync));
}

#[test]
fn a_second_sync_is_refused_while_the_store_is_read() {
    let mut conversations = Conversations::new(ME, MINE);
    conversations.session_up(PEER);
    let Some(Effect::Load { query, .. }) = conversations.poll_effect() else { panic!("a query") };
    let false_sync = encode(&sync(vec![held(1, &[])], THEIRS)).unwrap();
    assert_eq!(conversations.handle_body(PEER, Sync::KIND, &false_sync, NOW), Ok(()));
    let second = conversations.handle_body(PEER, Sync::KIND, &false_sync, NOW);
    assert_eq!(second, Err(BodyError::SecondSync));
    assert_eq!(conversations.loaded(query, Memory::new().rows(PEER)), Ok(()));
    assert_eq!(conversations.poll_rewound(), Some(PEER), "it holds what was never sent");
}

#[test]
fn another_epoch_than_the_sync_named_is_refused() {
    let mut victim = Victim::synced();
    let foreign = Text { epoch: DeviceEpoch(99), ..text(0) };
    assert_eq!(victim.take(Text::KIND, &foreign), Err(BodyError::ForeignEpoch));
    let foreign = Receipt { epoch: DeviceEpoch(99), ..receipt(ReceiptState::Stored, 0) };
    assert_eq!(victim.take(Receipt::KIND, &foreign), Err(BodyError::ForeignEpoch));
}

#[test]
fn receipts_for_what_was_never_sent_are_refused_and_change_nothing() {
    let mut victim = Victim::synced();
    victim.compose("one");
    for (state, upto) in [(ReceiptState::Stored, 2), (ReceiptState::Read, u64::MAX)] {
        let refused = Err(BodyError::NeverSent { upto, sent: 1 });
        assert_eq!(victim.take(Receipt::KIND, &receipt(state, upto)), refused);
    }
    assert_eq!(victim.conversations.undelivered(PEER), 1);
}

#[test]
fn a_sync_that_holds_what_was_never_sent_begins_another_epoch_for_what_waits() {
    for claim in [held(3, &[]), held(1, &[(5, 7)]), held(u64::MAX, &[])] {
        let mut victim = Victim::synced();
        victim.compose("one");
        victim.compose("two");
        for (session, epoch) in (0..).zip([RENEWED, DeviceEpoch(RENEWED.0 + 1)]) {
            victim.session_up();
            victim.sent.clear();
            let claim = Held { epoch: if session == 0 { MINE } else { RENEWED }, ..claim.clone() };
            assert_eq!(victim.take(Sync::KIND, &sync(vec![claim], THEIRS)), Ok(()));
            assert_eq!(victim.conversations.undelivered(PEER), 2);
            assert_eq!(victim.sent_kinds(), [Sync::KIND, Text::KIND, Text::KIND]);
            let said: Sync = decode(&victim.sent[0].1).unwrap();
            assert_eq!((said.epoch, said.first, said.next), (epoch, 0, 0));
            for (seq, (_, body)) in (0..).zip(&victim.sent[1..]) {
                let text: Text = decode(body).unwrap();
                assert_eq!((text.epoch, text.seq), (epoch, seq));
            }
        }
        let stored = Receipt { epoch: DeviceEpoch(RENEWED.0 + 1), ..receipt(ReceiptState::Stored, 2) };
        assert_eq!(victim.take(Receipt::KIND, &stored), Ok(()));
        assert_eq!(victim.conversations.undelivered(PEER), 0);
    }
}

#[test]
fn what_a_sync_holds_beyond_a_gap_is_not_sent_again() {
    let mut victim = Victim::synced();
    for n in 0..5 {
        victim.compose(&n.to_string());
    }
    victim.session_up();
    victim.sent.clear();
    victim.take(Sync::KIND, &sync(vec![held(1, &[(2, 4)])], THEIRS)).unwrap();
    let seqs: Vec<_> = victim.sent.iter().map(|(_, body)| decode::<Text>(body).unwrap().seq).collect();
    assert_eq!(seqs, [1, 4]);
}

#[test]
fn repeated_and_outdated_receipts_give_no_second_event() {
    let mut victim = Victim::synced();
    victim.compose("one");
    victim.take(Receipt::KIND, &receipt(ReceiptState::Read, 1)).unwrap();
    let events = victim.events;
    for state in [ReceiptState::Stored, ReceiptState::Read] {
        for upto in [0, 1] {
            victim.take(Receipt::KIND, &receipt(state, upto)).unwrap();
        }
    }
    assert_eq!(victim.events, events);
}

#[test]
fn a_jump_in_the_numbers_is_refused() {
    let mut victim = Victim::synced();
    assert_eq!(victim.take(Text::KIND, &text(1)), Err(BodyError::Gap { expected: 0, came: 1 }));
    let last = text(u64::MAX);
    assert_eq!(victim.take(Text::KIND, &last), Err(BodyError::Gap { expected: 0, came: u64::MAX }));
    assert_eq!(victim.events, 0);
}

#[test]
fn a_flood_is_stopped_where_the_store_does_not_keep_up() {
    let mut victim = Victim::synced();
    victim.commits = false;
    for seq in 0..IN_FLIGHT_MESSAGES as u64 {
        victim.take(Text::KIND, &text(seq)).unwrap();
    }
    let next = text(IN_FLIGHT_MESSAGES as u64);
    assert_eq!(victim.take(Text::KIND, &next), Err(BodyError::WindowExceeded));
    assert_eq!(victim.events, 0);
}

#[test]
fn a_new_epoch_on_every_session_costs_no_memory() {
    let mut victim = Victim::new();
    for n in 0..1_000 {
        victim.session_up();
        victim.take(Sync::KIND, &Sync { first: n, next: n, ..sync(vec![], DeviceEpoch(n)) }).unwrap();
    }
    victim.session_up();
    let stated: Sync = decode(&victim.sent.last().unwrap().1).unwrap();
    assert_eq!(stated.held.len(), EPOCHS_MAX);
    assert_eq!(victim.memory.rows(PEER).held.len(), EPOCHS_MAX);
}

#[test]
fn numbers_that_go_back_are_never_taken_and_the_peer_may_say_others_once() {
    let mut victim = Victim::synced();
    victim.take(Text::KIND, &text(0)).unwrap();
    let behind = sync(vec![], THEIRS);
    let rewound = Err(BodyError::Rewound { held: 1, next: 0 });
    victim.session_up();
    assert_eq!(victim.take(Sync::KIND, &behind), Ok(()));
    assert_eq!(victim.take(Text::KIND, &text(0)), Err(BodyError::BeforeSync));
    assert_eq!(victim.take(Sync::KIND, &behind), rewound);
    victim.session_up();
    assert_eq!(victim.take(Sync::KIND, &behind), Ok(()));
    let other = DeviceEpoch(THEIRS.0 + 1);
    assert_eq!(victim.take(Sync::KIND, &sync(vec![], other)), Ok(()));
    assert_eq!(victim.take(Sync::KIND, &sync(vec![], other)), Err(BodyError::SecondSync));
    let events = victim.events;
    assert_eq!(victim.take(Text::KIND, &Text { epoch: other, ..text(0) }), Ok(()));
    assert_eq!(victim.events, events + 1, "a new message, whatever its number");
}

#[test]
fn unknown_kinds_are_ignored_and_damaged_bodies_are_not() {
    let mut victim = Victim::synced();
    assert_eq!(victim.take_bytes(0x7f, b"from a later version"), Ok(()));
    for kind in [Text::KIND, Receipt::KIND, Sync::KIND] {
        let damaged = Err(BodyError::Malformed(DecodeError::Malformed));
        assert_eq!(victim.take_bytes(kind, b"x"), damaged);
    }
}

#[test]
fn only_the_peers_own_messages_that_it_sent_can_be_shown() {
    let mut victim = Victim::synced();
    victim.take(Text::KIND, &text(0)).unwrap();
    let mine = victim.compose("mine");
    victim.sent.clear();
    let of = |author, seq| MessageId { author, to: ME, epoch: THEIRS, seq };
    for message in [mine, of(PEER, 1), of(PEER, u64::MAX), of(PeerId([9; 32]), 0)] {
        victim.conversations.shown(message);
        victim.drain();
    }
    assert_eq!(victim.sent_kinds(), []);
    for _ in 0..2 {
        victim.conversations.shown(of(PEER, 0));
        victim.drain();
    }
    assert_eq!(victim.sent_kinds(), [Receipt::KIND]);
}

#[test]
fn a_message_past_the_cap_is_not_taken_and_the_largest_one_is() {
    let mut conversations = Conversations::new(ME, MINE);
    let too_long = Err(ComposeError::TooLong { len: TEXT_MAX + 1, max: TEXT_MAX });
    assert_eq!(conversations.compose(PEER, "x".repeat(TEXT_MAX + 1), NOW), too_long);
    assert!(conversations.poll_effect().is_none() && conversations.poll_event().is_none());
    assert_eq!(conversations.compose(PEER, String::new(), NOW), Err(ComposeError::Empty));
    assert!(conversations.compose(PEER, "x".repeat(TEXT_MAX), NOW).is_ok());
}

fn any_body() -> impl Strategy<Value = (u8, Vec<u8>)> {
    let number = prop_oneof![0..4u64, any::<u64>()];
    let epoch = prop_oneof![Just(MINE), Just(THEIRS)];
    let text_body = (epoch.clone(), number.clone()).prop_map(|(epoch, seq)| Text { epoch, ..text(seq) });
    let states = prop_oneof![Just(ReceiptState::Stored), Just(ReceiptState::Read)];
    let receipt_body = (states, epoch.clone(), number.clone()).prop_map(|(state, epoch, upto)| Receipt {
        state,
        epoch,
        upto,
    });
    let sync_body = (epoch, number.clone(), number.clone(), number).prop_map(|(epoch, a, b, upto)| Sync {
        held: vec![held(upto, &[])],
        epoch,
        first: a.min(b),
        next: a.max(b),
    });
    prop_oneof![
        text_body.prop_map(|body| (Text::KIND, encode(&body).unwrap())),
        receipt_body.prop_map(|body| (Receipt::KIND, encode(&body).unwrap())),
        sync_body.prop_map(|body| (Sync::KIND, encode(&body).unwrap())),
        (any::<u8>(), proptest::collection::vec(any::<u8>(), 0..60)),
    ]
}

proptest! {
    #[test]
    fn no_sequence_of_bodies_panics_and_every_stored_mark_stays_within_what_was_sent(
        bodies in proptest::collection::vec((any_body(), 0..8u8), 0..60),
    ) {
        let mut victim = Victim::new();
        let mut composed = 0;
        for ((kind, bytes), act) in bodies {
            match act {
                0 | 1 => victim.session_up(),
                2 => {
                    victim.compose("x");
                    composed += 1;
                }
                _ => {}
            }
            let _verdict = victim.take_bytes(kind, &bytes);
            prop_assert!(victim.conversations.undelivered(PEER) <= composed);
            let rows = victim.memory.rows(PEER);
            prop_assert!(rows.held.len() <= EPOCHS_MAX && rows.read <= composed as u64);
        }
    }
}
