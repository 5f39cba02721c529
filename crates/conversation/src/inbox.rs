//! A peer's messages: what is held of each of its epochs, and what waits for the store.

use std::collections::{BTreeMap, VecDeque};

use p2pchat_proto::conversation::{DeviceEpoch, EPOCHS_MAX, Held, IN_FLIGHT_BYTES, IN_FLIGHT_MESSAGES, Text};

use crate::effect::{BatchId, BodyError, HeldRow, Marks};

/// The ledgers of a peer's epochs, at most [`EPOCHS_MAX`].
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    ledgers: BTreeMap<DeviceEpoch, Ledger>,
    /// Counts uses of ledgers, so that the one unused for longest can go.
    uses: u64,
}

/// What is held of one epoch.
#[derive(Debug, Default)]
struct Ledger {
    /// Everything before came, or will never come.
    received: u64,
    /// The same, and is durable here.
    stored: u64,
    /// Everything before was shown.
    shown: u64,
    /// The same, and that is durable.
    read: u64,
    /// Changes that wait for their batches.
    waiting: VecDeque<Waiting>,
    /// Messages in `waiting`.
    messages: usize,
    /// Their text, bytes.
    bytes: usize,
    used: u64,
}

#[derive(Debug)]
struct Waiting {
    batch: BatchId,
    /// Marks that are durable with the batch.
    marks: Marks,
    text: Option<Text>,
}

/// What is to be done with a text that came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is held already.
    Duplicate,
    /// It is the next one; the marks with it.
    Next(Marks),
}

/// What opening an epoch changed.
#[derive(Debug, PartialEq, Eq, Default)]
pub(crate) struct Opened {
    /// Marks to be written, where they moved.
    pub(crate) marks: Option<Marks>,
    /// The epoch that made room.
    pub(crate) forgotten: Option<DeviceEpoch>,
}

impl Inbox {
    /// Takes what the store kept; of more than [`EPOCHS_MAX`] rows the last ones.
    pub(crate) fn restore(&mut self, rows: &[HeldRow]) {
        for row in rows.iter().rev().take(EPOCHS_MAX).rev() {
            self.uses += 1;
            let Marks { stored, read } = row.marks;
            let ledger = Ledger { received: stored, stored, shown: read, read, ..Ledger::default() };
            self.ledgers.insert(row.epoch, Ledger { used: self.uses, ..ledger });
        }
    }

    /// Whether all that came is durable.
    pub(crate) fn is_durable(&self) -> bool {
        self.ledgers.values().all(|ledger| ledger.waiting.is_empty())
    }

    /// What is durable, as a sync states it, without what was shown where that is `silent`. Messages come in
    /// order only, so nothing is held beyond a gap.
    pub(crate) fn held(&self, silent: bool) -> Vec<Held> {
        let held = |(epoch, ledger): (&DeviceEpoch, &Ledger)| Held {
            epoch: *epoch,
            contiguous: ledger.stored,
            read: if silent { 0 } else { ledger.read },
            beyond: Vec::new(),
        };
        self.ledgers.iter().map(held).collect()
    }

    /// What is durable of one epoch.
    pub(crate) fn marks(&self, epoch: DeviceEpoch) -> Marks {
        let marks = |ledger: &Ledger| Marks { stored: ledger.stored, read: ledger.read };
        self.ledgers.get(&epoch).map(marks).unwrap_or_default()
    }

    /// The peer writes in `epoch` now; its messages before `first` never come, and the next one that
    /// it writes gets the number `next`. Marks that moved become durable with `batch`.
    pub(crate) fn open(
        &mut self,
        epoch: DeviceEpoch,
        first: u64,
        next: u64,
        batch: BatchId,
    ) -> Result<Opened, BodyError> {
        let received = self.ledgers.get(&epoch).map_or(0, |ledger| ledger.received);
        if received > next {
            return Err(BodyError::Rewound { held: received, next });
        }
        let mut opened = Opened::default();
        if !self.ledgers.contains_key(&epoch) && self.ledgers.len() >= EPOCHS_MAX {
            let forgotten = self.least_used().ok_or(BodyError::TooManyEpochs)?;
            self.ledgers.remove(&forgotten);
            opened.forgotten = Some(forgotten);
        }
        self.uses += 1;
        let ledger = self.ledgers.entry(epoch).or_default();
        ledger.used = self.uses;
        if first > ledger.received {
            ledger.received = first;
            opened.marks = Some(ledger.wait(batch, None));
        }
        Ok(opened)
    }

    /// Looks at a text of the epoch that was opened last. The next one waits for `batch`.
    pub(crate) fn take(&mut self, text: Text, batch: BatchId) -> Result<Verdict, BodyError> {
        let Some(ledger) = self.ledgers.get_mut(&text.epoch) else {
            return Err(BodyError::ForeignEpoch);
        };
        if text.seq < ledger.received {
            return Ok(Verdict::Duplicate);
        }
        if text.seq > ledger.received {
            return Err(BodyError::Gap { expected: ledger.received, came: text.seq });
        }
        let bytes = ledger.bytes + text.text.len();
        if ledger.messages >= IN_FLIGHT_MESSAGES || bytes > IN_FLIGHT_BYTES {
            return Err(BodyError::WindowExceeded);
        }
        ledger.received = text.seq.checked_add(1).ok_or(BodyError::NumbersExhausted)?;
        ledger.messages += 1;
        ledger.bytes = bytes;
        Ok(Verdict::Next(ledger.wait(batch, Some(text))))
    }

    /// Messages before `upto` were shown. The marks to be written with `batch`, where they moved;
    /// what is not durable yet cannot have been shown.
    pub(crate) fn show(&mut self, epoch: DeviceEpoch, upto: u64, batch: BatchId) -> Option<Marks> {
        let ledger = self.ledgers.get_mut(&epoch)?;
        if upto <= ledger.shown || upto > ledger.stored {
            return None;
        }
        ledger.shown = upto;
        Some(ledger.wait(batch, None))
    }

    /// Gives the messages that became durable with `batch`, in order.
    pub(crate) fn commit(&mut self, batch: BatchId, mut arrived: impl FnMut(Text)) {
        self.ledgers.values_mut().for_each(|ledger| ledger.commit(batch, &mut arrived));
    }

    fn least_used(&self) -> Option<DeviceEpoch> {
        let idle = self.ledgers.iter().filter(|(_, ledger)| ledger.waiting.is_empty());
        idle.min_by_key(|(_, ledger)| ledger.used).map(|(epoch, _)| *epoch)
    }
}

impl Ledger {
    fn wait(&mut self, batch: BatchId, text: Option<Text>) -> Marks {
        let marks = Marks { stored: self.received, read: self.shown };
        // Marks alone take the place of marks alone, so only messages make the queue longer.
        if let (None, Some(last)) = (&text, self.waiting.back_mut())
            && last.text.is_none()
        {
            (last.batch, last.marks) = (batch, marks);
            return marks;
        }
        self.waiting.push_back(Waiting { batch, marks, text });
        marks
    }

    fn commit(&mut self, batch: BatchId, arrived: &mut impl FnMut(Text)) {
        while self.waiting.front().is_some_and(|waiting| waiting.batch <= batch)
            && let Some(waiting) = self.waiting.pop_front()
        {
            self.stored = waiting.marks.stored;
            self.read = waiting.marks.read;
            if let Some(text) = waiting.text {
                self.messages -= 1;
                self.bytes -= text.text.len();
                arrived(text);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use p2pchat_proto::WallTime;

    const EPOCH: DeviceEpoch = DeviceEpoch(1);

    fn text(seq: u64, len: usize) -> Text {
        Text { epoch: EPOCH, seq, sent_at: WallTime(0), late: false, text: "x".repeat(len).into() }
    }

    fn open() -> Inbox {
        let mut inbox = Inbox::default();
        inbox.open(EPOCH, 0, 0, BatchId(0)).unwrap();
        inbox
    }

    fn take(inbox: &mut Inbox, seq: u64) -> Result<Verdict, BodyError> {
        inbox.take(text(seq, 1), BatchId(seq))
    }

    fn commit(inbox: &mut Inbox, batch: BatchId) -> Vec<u64> {
        let mut seqs = Vec::new();
        inbox.commit(batch, |text| seqs.push(text.seq));
        seqs
    }

    #[test]
    fn a_message_is_taken_once_and_held_only_when_it_is_durable() {
        let mut inbox = open();
        assert_eq!(take(&mut inbox, 0), Ok(Verdict::Next(Marks { stored: 1, read: 0 })));
        assert_eq!(take(&mut inbox, 0), Ok(Verdict::Duplicate));
        assert_eq!(inbox.marks(EPOCH), Marks::default());
        assert_eq!(commit(&mut inbox, BatchId(0)), [0]);
        assert_eq!(inbox.marks(EPOCH), Marks { stored: 1, read: 0 });
        assert_eq!(take(&mut inbox, 0), Ok(Verdict::Duplicate));
    }

    #[test]
    fn a_gap_is_refused_whatever_its_size() {
        let mut inbox = open();
        for came in [1, 300, u64::MAX] {
            assert_eq!(take(&mut inbox, came), Err(BodyError::Gap { expected: 0, came }));
        }
    }

    #[test]
    fn no_more_messages_wait_for_the_store_than_may_be_in_flight() {
        let mut inbox = open();
        for seq in 0..IN_FLIGHT_MESSAGES as u64 {
            assert!(take(&mut inbox, seq).is_ok());
        }
        let next = IN_FLIGHT_MESSAGES as u64;
        assert_eq!(take(&mut inbox, next), Err(BodyError::WindowExceeded));
        commit(&mut inbox, BatchId(0));
        assert!(take(&mut inbox, next).is_ok());
    }

    #[test]
    fn no_more_bytes_wait_for_the_store_than_may_be_in_flight() {
        let mut inbox = open();
        assert!(inbox.take(text(0, IN_FLIGHT_BYTES), BatchId(0)).is_ok());
        assert_eq!(take(&mut inbox, 1), Err(BodyError::WindowExceeded));
    }

    #[test]
    fn the_last_number_is_refused_and_not_passed() {
        let mut inbox = Inbox::default();
        inbox.open(EPOCH, u64::MAX, u64::MAX, BatchId(0)).unwrap();
        assert_eq!(take(&mut inbox, u64::MAX), Err(BodyError::NumbersExhausted));
        assert_eq!(take(&mut inbox, u64::MAX - 1), Ok(Verdict::Duplicate));
    }

    #[test]
    fn an_author_that_forgot_its_numbers_is_found_out() {
        let mut inbox = open();
        take(&mut inbox, 0).unwrap();
        assert_eq!(inbox.open(EPOCH, 0, 0, BatchId(1)), Err(BodyError::Rewound { held: 1, next: 0 }));
    }

    #[test]
    fn what_the_author_cannot_send_any_more_is_skipped() {
        let mut inbox = open();
        let moved = Marks { stored: 10, read: 0 };
        assert_eq!(inbox.open(EPOCH, 10, 12, BatchId(0)).unwrap().marks, Some(moved));
        assert_eq!(take(&mut inbox, 10), Ok(Verdict::Next(Marks { stored: 11, read: 0 })));
        assert_eq!(inbox.open(EPOCH, 3, 12, BatchId(0)), Ok(Opened::default()));
    }

    #[test]
    fn only_what_is_durable_can_have_been_shown_and_marks_only_grow() {
        let mut inbox = open();
        take(&mut inbox, 0).unwrap();
        assert_eq!(inbox.show(EPOCH, 1, BatchId(1)), None);
        commit(&mut inbox, BatchId(0));
        assert_eq!(inbox.show(EPOCH, 1, BatchId(1)), Some(Marks { stored: 1, read: 1 }));
        assert_eq!(inbox.show(EPOCH, 1, BatchId(1)), None);
        assert_eq!(inbox.marks(EPOCH).read, 0);
        commit(&mut inbox, BatchId(1));
        assert_eq!(inbox.marks(EPOCH).read, 1);
        assert_eq!(inbox.show(DeviceEpoch(9), 1, BatchId(1)), None);
    }

    #[test]
    fn new_epochs_without_end_push_out_the_one_unused_for_longest() {
        let mut inbox = Inbox::default();
        for n in 0..EPOCHS_MAX as u64 {
            inbox.open(DeviceEpoch(n), 0, 0, BatchId(0)).unwrap();
        }
        inbox.open(DeviceEpoch(0), 0, 0, BatchId(0)).unwrap();
        for n in 100..1_000 {
            let opened = inbox.open(DeviceEpoch(n), 0, 0, BatchId(0)).unwrap();
            assert!(opened.forgotten.is_some());
            if n == 100 {
                assert_eq!(opened.forgotten, Some(DeviceEpoch(1)));
            }
        }
        assert_eq!(inbox.held(false).len(), EPOCHS_MAX);
    }

    #[test]
    fn epochs_whose_messages_wait_for_the_store_are_never_pushed_out() {
        let mut inbox = Inbox::default();
        for n in 0..EPOCHS_MAX as u64 {
            inbox.open(DeviceEpoch(n), 0, 0, BatchId(0)).unwrap();
            inbox.take(Text { epoch: DeviceEpoch(n), ..text(0, 1) }, BatchId(0)).unwrap();
        }
        assert_eq!(inbox.open(DeviceEpoch(99), 0, 0, BatchId(0)), Err(BodyError::TooManyEpochs));
        commit(&mut inbox, BatchId(0));
        assert!(inbox.open(DeviceEpoch(99), 0, 0, BatchId(0)).is_ok());
    }
}
