//! One's own messages to one peer: from being written until the peer keeps them.

use core::ops::Range;
use std::collections::VecDeque;
use std::sync::Arc;

use p2pchat_proto::WallTime;
use p2pchat_proto::conversation::{IN_FLIGHT_BYTES, IN_FLIGHT_MESSAGES, MessageId, SeqRange};

use crate::effect::{BatchId, BodyError, ComposeError, LoadError, Marks, OutboxRow};

/// Most messages that wait for one peer. More than a person writes, and a bound for a script.
pub const OUTBOX_MESSAGES_MAX: usize = 65_536;

/// Most bytes of text that wait for one peer.
pub const OUTBOX_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Numbers, all of one epoch: `first <= handed <= marked <= committed <= next`, `read <= first`. What is given up
/// counts as handed over, and goes before `marked` until that is durable.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// Messages `first..next`.
    entries: VecDeque<Entry>,
    /// Everything before was stored by the peer.
    first: u64,
    /// The next message's number.
    next: u64,
    /// Everything before is durable here.
    committed: u64,
    /// Everything before was once handed to a session, so the peer may hold it.
    handed: u64,
    /// Everything before may be handed to a session: the store knows that it may have left.
    marked: u64,
    /// What `marked` will be once batches are durable, ascending.
    marking: VecDeque<(BatchId, u64)>,
    /// Everything before was read by the peer.
    read: u64,
    /// Text in `entries`, bytes.
    bytes: usize,
    /// Entries that were withdrawn, of which only the numbers go out.
    withdrawn: usize,
    /// Those whose end becomes durable with a batch.
    withdrawing: VecDeque<(BatchId, Range<u64>)>,
    /// Everything that was given up from `read` on, ascending: nothing that a peer says of it is news.
    gone: Vec<Range<u64>>,
    /// Set while a session takes messages.
    sending: Option<Sending>,
}

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) text: Arc<str>,
    pub(crate) sent_at: WallTime,
    /// The session in which it was written.
    pub(crate) session: Option<u64>,
    /// The batch that makes it durable; `None` once it is.
    batch: Option<BatchId>,
    /// It is given up, and has no text any more.
    withdrawn: bool,
    /// What it was called when it was taken, where it got another number before it was durable.
    pub(crate) was: Option<Box<MessageId>>,
}

#[derive(Debug)]
struct Sending {
    /// The next message to hand over.
    cursor: u64,
    /// Text in `first..cursor`, bytes.
    in_flight: usize,
    /// What the peer holds already.
    skip: Vec<SeqRange>,
}

/// How far marks moved.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) stored: Range<u64>,
    pub(crate) read: Range<u64>,
}

impl Outbox {
    /// An empty outbox whose next message gets the number `next`.
    pub(crate) fn new(next: u64) -> Self {
        Self { first: next, next, committed: next, handed: next, marked: next, ..Self::default() }
    }

    pub(crate) const fn next(&self) -> u64 {
        self.next
    }

    pub(crate) const fn first(&self) -> u64 {
        self.first
    }

    /// The number after the last message that was ever handed to a session.
    pub(crate) const fn handed(&self) -> u64 {
        self.handed
    }

    /// The number after the last message that is durable here.
    pub(crate) const fn committed(&self) -> u64 {
        self.committed
    }

    pub(crate) const fn marks(&self) -> Marks {
        Marks { stored: self.first, read: self.read }
    }

    /// Messages that the peer does not store.
    pub(crate) fn waiting(&self) -> usize {
        self.entries.len() - self.withdrawn
    }

    /// Messages that the session has, as far as the peer did not say that it stores them.
    pub(crate) fn under_way(&self) -> usize {
        let cursor = self.sending.as_ref().map_or(self.first, |sending| sending.cursor);
        (self.first..cursor).filter(|seq| !self.is_gone(*seq)).count()
    }

    /// Whether there is room for a message of `len` bytes.
    pub(crate) fn check_room(&self, len: usize) -> Result<(), ComposeError> {
        let full = self.entries.len() >= OUTBOX_MESSAGES_MAX || self.bytes + len > OUTBOX_BYTES_MAX;
        if full { Err(ComposeError::OutboxFull { waiting: self.entries.len() }) } else { Ok(()) }
    }

    /// Appends a message that becomes durable with `batch`.
    pub(crate) fn push(&mut self, text: Arc<str>, sent_at: WallTime, session: Option<u64>, batch: BatchId) {
        self.bytes += text.len();
        self.entries.push_back(Entry {
            text,
            sent_at,
            session,
            batch: Some(batch),
            withdrawn: false,
            was: None,
        });
        self.next += 1;
    }

    /// Puts what the store kept before everything that was written since. Of that, everything before `handed` may
    /// have left.
    pub(crate) fn restore(&mut self, rows: Vec<OutboxRow>, read: u64, handed: u64) -> Result<(), LoadError> {
        let start = self.first.checked_sub(rows.len() as u64).ok_or(LoadError::Contradiction)?;
        let in_order = rows.iter().zip(start..).all(|(row, seq)| row.seq == seq);
        if !in_order || read > start || handed > self.first {
            return Err(LoadError::Contradiction);
        }
        for row in rows.into_iter().rev() {
            self.bytes += row.text.len();
            let withdrawn = row.text.is_empty();
            if withdrawn {
                self.withdrawn += 1;
                add(&mut self.gone, row.seq..row.seq + 1);
            }
            let entry = Entry {
                text: row.text,
                sent_at: row.sent_at,
                session: None,
                batch: None,
                withdrawn,
                was: None,
            };
            self.entries.push_front(entry);
        }
        self.first = start;
        self.read = read;
        self.handed = handed.max(start);
        self.marked = self.handed;
        Ok(())
    }

    /// Every message that the peer does not store gets another number, from 0 on, under which no session
    /// ever had it; what is given up has none any more. `before` is one's own message 0 as it was called until
    /// now. What those that are durable were called, in their order; others say so once they are.
    pub(crate) fn renumber(&mut self, before: MessageId) -> Vec<MessageId> {
        let mut durable = Vec::new();
        let mut entries = core::mem::take(&mut self.entries);
        let mut seqs = self.first..;
        entries.retain_mut(|entry| {
            let was = seqs.next().map(|seq| MessageId { seq, ..before });
            if entry.withdrawn {
                return false;
            }
            if entry.batch.is_none() {
                durable.extend(was);
            } else {
                entry.was = entry.was.take().or(was.map(Box::new));
            }
            true
        });
        let (next, bytes, committed) = (entries.len() as u64, self.bytes, durable.len() as u64);
        *self = Self { entries, next, committed, bytes, ..Self::default() };
        durable
    }

    /// Messages in order, written at `before` or earlier, that are durable here and that no session has. The
    /// first that is younger ends them, as those behind it were written later, whatever the clock said then.
    pub(crate) fn held_back(&self, before: WallTime) -> Vec<Range<u64>> {
        let mut seqs = Vec::new();
        for (seq, entry) in self.not_handed() {
            if entry.sent_at > before {
                break;
            }
            add(&mut seqs, seq..seq + 1);
        }
        seqs
    }

    /// When the first of them was written.
    pub(crate) fn oldest_held_back(&self) -> Option<WallTime> {
        self.not_handed().next().map(|(_, entry)| entry.sent_at)
    }

    fn not_handed(&self) -> impl Iterator<Item = (u64, &Entry)> {
        let cursor = self.sending.as_ref().map_or(self.first, |sending| sending.cursor.max(self.first));
        let seqs = cursor..self.committed;
        let skipped = usize::try_from(cursor - self.first).unwrap_or(usize::MAX);
        seqs.zip(self.entries.iter().skip(skipped)).filter(|(_, entry)| !entry.withdrawn)
    }

    /// Takes the text out of messages that no session has, so that only their numbers go out: at once, or when
    /// that is durable with `batch`.
    pub(crate) fn withdraw(&mut self, seqs: Range<u64>, batch: Option<BatchId>) {
        for seq in seqs.clone() {
            let Some(entry) = self.entry_mut(seq) else { continue };
            let len = core::mem::take(&mut entry.text).len();
            entry.withdrawn = true;
            self.bytes -= len;
            self.withdrawn += 1;
        }
        add(&mut self.gone, seqs.clone());
        self.withdrawing.extend(batch.map(|batch| (batch, seqs)));
    }

    /// Those whose end is durable with `batch`; all that wait for that without one.
    pub(crate) fn withdrawn(&mut self, batch: Option<BatchId>) -> Vec<Range<u64>> {
        let durable = |of: BatchId| batch.is_none_or(|batch| of <= batch);
        let count = self.withdrawing.iter().take_while(|(of, _)| durable(*of)).count();
        self.withdrawing.drain(..count).map(|(_, seqs)| seqs).collect()
    }

    /// Whether a message was given up.
    pub(crate) fn is_gone(&self, seq: u64) -> bool {
        let after = self.gone.partition_point(|seqs| seqs.end <= seq);
        self.gone.get(after).is_some_and(|seqs| seqs.contains(&seq))
    }

    /// What was read is done with.
    pub(crate) fn forget_read(&mut self) {
        let read = self.gone.partition_point(|seqs| seqs.end <= self.read);
        self.gone.drain(..read);
    }

    /// The messages that are durable now and were not before.
    pub(crate) fn commit(&mut self, batch: BatchId) -> Range<u64> {
        let before = self.committed;
        while let Some(entry) = self.entry_mut(self.committed)
            && entry.batch.is_some_and(|of| of <= batch)
        {
            entry.batch = None;
            self.committed += 1;
        }
        before..self.committed
    }

    /// The number before which everything may be handed to a session.
    pub(crate) const fn marked(&self) -> u64 {
        self.marked
    }

    /// What that will be once everything is durable that is written.
    pub(crate) fn will_be_marked(&self) -> u64 {
        self.marking.back().map_or(self.marked, |(_, upto)| *upto)
    }

    /// Everything before `upto` may be handed to a session once `batch` is durable, or is given up.
    pub(crate) fn mark(&mut self, upto: u64, batch: BatchId) {
        match self.marking.back_mut() {
            Some((of, last)) if *of == batch => *last = upto,
            Some(_) | None => self.marking.push_back((batch, upto)),
        }
    }

    /// The batch and all before it are durable, as far as they said what may be handed to a session.
    pub(crate) fn commit_marks(&mut self, batch: BatchId) {
        while let Some((of, upto)) = self.marking.front()
            && *of <= batch
        {
            self.marked = *upto;
            self.marking.pop_front();
        }
    }

    pub(crate) fn entry(&self, seq: u64) -> Option<&Entry> {
        self.entries.get(usize::try_from(seq.checked_sub(self.first)?).ok()?)
    }

    /// A session takes messages from the first that the peer does not store, except `held`.
    pub(crate) fn start(&mut self, held: Vec<SeqRange>) {
        self.sending = Some(Sending { cursor: self.first, in_flight: 0, skip: held });
    }

    /// Lets go of everything before `upto`, and of what was withdrawn before anything else, while no session
    /// takes messages: they count as handed over, as the other side may have got any of them before, and counts
    /// all of them as held once it is told where the rest begins. What is not durable stays. The numbers of those
    /// that were not given up before.
    pub(crate) fn give_up(&mut self, upto: u64) -> Vec<Range<u64>> {
        let mut gone = Vec::new();
        while let Some(entry) = self.entries.front()
            && self.first < self.committed
            && (self.first < upto || entry.withdrawn)
            && !self.is_withdrawing(self.first)
        {
            self.bytes -= entry.text.len();
            if entry.withdrawn {
                self.withdrawn -= 1;
            } else {
                add(&mut gone, self.first..self.first + 1);
            }
            self.entries.pop_front();
            // Where everything before was read, so is this for all that a peer says: it is no news.
            self.read += u64::from(self.read == self.first);
            self.first += 1;
        }
        gone.iter().for_each(|seqs| add(&mut self.gone, seqs.clone()));
        self.handed = self.handed.max(self.first);
        gone
    }

    fn is_withdrawing(&self, seq: u64) -> bool {
        self.withdrawing.iter().any(|(_, seqs)| seqs.contains(&seq))
    }

    /// No session takes messages.
    pub(crate) fn stop(&mut self) {
        self.sending = None;
    }

    /// The next message that may be handed to the session now, and whether it is the first time.
    pub(crate) fn hand_over(&mut self) -> Option<(u64, bool)> {
        loop {
            let seq = self.sending.as_ref()?.cursor;
            if self.is_withdrawing(seq)
                || seq >= self.committed.min(self.marked)
                || seq - self.first >= IN_FLIGHT_MESSAGES as u64
            {
                return None;
            }
            let len = self.entry(seq)?.text.len();
            let sending = self.sending.as_mut()?;
            if sending.in_flight + len > IN_FLIGHT_BYTES {
                return None;
            }
            sending.cursor += 1;
            sending.in_flight += len;
            if sending.skip.iter().any(|range| range.contains(seq)) {
                continue;
            }
            let first_time = seq >= self.handed;
            self.handed = self.handed.max(seq + 1);
            return Some((seq, first_time));
        }
    }

    /// Whether the peer can hold everything below `upto`.
    pub(crate) const fn has_sent(&self, upto: u64) -> bool {
        upto <= self.handed
    }

    /// Whether `upto` is a mark that the peer can know of.
    pub(crate) fn check_sent(&self, upto: u64) -> Result<(), BodyError> {
        if !self.has_sent(upto) {
            return Err(BodyError::NeverSent { upto, sent: self.handed });
        }
        Ok(())
    }

    /// Takes a mark of the peer's; one that is behind changes nothing. Read means stored, too.
    ///
    /// # Errors
    /// See [`check_sent`](Self::check_sent).
    pub(crate) fn acknowledge(&mut self, marks: Marks) -> Result<Progress, BodyError> {
        let stored = marks.stored.max(marks.read);
        self.check_sent(stored)?;
        let before = self.marks();
        while self.first < stored
            && let Some(entry) = self.entries.pop_front()
        {
            self.bytes -= entry.text.len();
            self.withdrawn -= usize::from(entry.withdrawn);
            if let Some(sending) = &mut self.sending {
                if sending.cursor > self.first {
                    sending.in_flight -= entry.text.len();
                }
                sending.cursor = sending.cursor.max(self.first + 1);
            }
            self.first += 1;
        }
        self.read = self.read.max(marks.read);
        Ok(Progress { stored: before.stored..self.first, read: before.read..self.read })
    }

    fn entry_mut(&mut self, seq: u64) -> Option<&mut Entry> {
        self.entries.get_mut(usize::try_from(seq.checked_sub(self.first)?).ok()?)
    }
}

/// Puts numbers to others, which stay ascending and apart.
fn add(ranges: &mut Vec<Range<u64>>, new: Range<u64>) {
    if new.is_empty() {
        return;
    }
    let place = ranges.partition_point(|range| range.start < new.start);
    ranges.insert(place, new);
    ranges.dedup_by(|next, range| {
        let meets = next.start <= range.end;
        range.end = if meets { range.end.max(next.end) } else { range.end };
        meets
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(texts: &[usize]) -> Outbox {
        let mut outbox = Outbox::new(0);
        for len in texts {
            outbox.push("x".repeat(*len).into(), WallTime(0), None, BatchId(0));
        }
        outbox.mark(texts.len() as u64, BatchId(0));
        outbox
    }

    fn commit(outbox: &mut Outbox, batch: u64) -> Range<u64> {
        outbox.commit_marks(BatchId(batch));
        outbox.commit(BatchId(batch))
    }

    fn handed(outbox: &mut Outbox) -> Vec<u64> {
        core::iter::from_fn(|| outbox.hand_over().map(|(seq, _)| seq)).collect()
    }

    fn stored(upto: u64) -> Marks {
        Marks { stored: upto, read: 0 }
    }

    #[test]
    fn nothing_is_handed_over_before_it_is_durable() {
        let mut outbox = filled(&[1, 1]);
        outbox.push("y".into(), WallTime(0), None, BatchId(1));
        outbox.mark(3, BatchId(1));
        outbox.start(vec![]);
        assert_eq!(handed(&mut outbox), []);
        assert_eq!(commit(&mut outbox, 0), 0..2);
        assert_eq!(handed(&mut outbox), [0, 1]);
        assert_eq!(commit(&mut outbox, 5), 2..3);
        assert_eq!(handed(&mut outbox), [2]);
    }

    #[test]
    fn nothing_is_handed_over_before_it_is_durable_that_it_may_be() {
        let mut outbox = filled(&[1]);
        outbox.push("y".into(), WallTime(0), None, BatchId(1));
        outbox.push("z".into(), WallTime(0), None, BatchId(2));
        outbox.start(vec![]);
        assert_eq!(commit(&mut outbox, 2), 0..3);
        assert_eq!((handed(&mut outbox), outbox.marked()), (vec![0], 1));
        outbox.mark(2, BatchId(3));
        outbox.mark(3, BatchId(4));
        assert_eq!((handed(&mut outbox), outbox.will_be_marked()), (vec![], 3));
        commit(&mut outbox, 3);
        assert_eq!(handed(&mut outbox), [1]);
        commit(&mut outbox, 4);
        assert_eq!(handed(&mut outbox), [2]);
    }

    #[test]
    fn of_what_the_store_kept_what_is_behind_the_mark_never_left_and_waits_for_the_next_one() {
        let row = |seq| OutboxRow { seq, text: "x".into(), sent_at: WallTime(0) };
        let mut outbox = Outbox::new(5);
        outbox.restore(vec![row(3), row(4)], 0, 4).unwrap();
        assert_eq!((outbox.handed(), outbox.marked()), (4, 4));
        assert!(outbox.has_sent(4) && !outbox.has_sent(5));
        outbox.start(vec![]);
        assert_eq!(core::iter::from_fn(|| outbox.hand_over()).collect::<Vec<_>>(), [(3, false)]);
        outbox.mark(5, BatchId(0));
        commit(&mut outbox, 0);
        assert_eq!(outbox.hand_over(), Some((4, true)));
    }

    #[test]
    fn messages_in_flight_are_bounded_by_number() {
        let mut outbox = filled(&[1; IN_FLIGHT_MESSAGES + 2]);
        commit(&mut outbox, 0);
        outbox.start(vec![]);
        assert_eq!(handed(&mut outbox).len(), IN_FLIGHT_MESSAGES);
        outbox.acknowledge(stored(1)).unwrap();
        assert_eq!(handed(&mut outbox), [IN_FLIGHT_MESSAGES as u64]);
    }

    #[test]
    fn messages_in_flight_are_bounded_by_bytes() {
        let mut outbox = filled(&[IN_FLIGHT_BYTES / 2, IN_FLIGHT_BYTES / 2, 1]);
        commit(&mut outbox, 0);
        outbox.start(vec![]);
        assert_eq!(handed(&mut outbox), [0, 1]);
        outbox.acknowledge(stored(1)).unwrap();
        assert_eq!(handed(&mut outbox), [2]);
    }

    #[test]
    fn a_new_session_starts_again_at_the_first_that_is_not_stored_and_skips_what_is_held() {
        let mut outbox = filled(&[1; 6]);
        commit(&mut outbox, 0);
        outbox.start(vec![]);
        assert_eq!(handed(&mut outbox).len(), 6);
        outbox.stop();
        outbox.acknowledge(stored(1)).unwrap();
        outbox.start(vec![SeqRange { start: 3, end: 5 }]);
        assert_eq!(handed(&mut outbox), [1, 2, 5]);
    }

    #[test]
    fn marks_only_grow_and_never_pass_what_was_sent() {
        let mut outbox = filled(&[1; 4]);
        commit(&mut outbox, 0);
        assert_eq!(outbox.acknowledge(stored(1)), Err(BodyError::NeverSent { upto: 1, sent: 0 }));
        outbox.start(vec![]);
        handed(&mut outbox);
        let read = |upto| Marks { stored: 0, read: upto };
        assert_eq!(outbox.acknowledge(read(2)), Ok(Progress { stored: 0..2, read: 0..2 }));
        assert_eq!(outbox.acknowledge(stored(1)), Ok(Progress { stored: 2..2, read: 2..2 }));
        assert_eq!(outbox.acknowledge(read(5)), Err(BodyError::NeverSent { upto: 5, sent: 4 }));
        assert_eq!(outbox.waiting(), 2);
    }

    #[test]
    fn the_outbox_has_an_end() {
        let outbox = filled(&[0; OUTBOX_MESSAGES_MAX]);
        let full = ComposeError::OutboxFull { waiting: OUTBOX_MESSAGES_MAX };
        assert_eq!(outbox.check_room(0), Err(full));
        assert!(filled(&[1]).check_room(OUTBOX_BYTES_MAX).is_err());
        assert!(filled(&[1]).check_room(OUTBOX_BYTES_MAX - 1).is_ok());
    }

    #[test]
    fn rows_that_do_not_end_where_the_numbers_go_on_are_a_contradiction() {
        let rows = |seqs: &[u64]| {
            seqs.iter().map(|seq| OutboxRow { seq: *seq, text: "x".into(), sent_at: WallTime(0) }).collect()
        };
        assert!(Outbox::new(5).restore(rows(&[3, 4]), 3, 5).is_ok());
        for (seqs, read) in [(&[2, 3][..], 0), (&[2, 4], 0), (&[4, 3], 0), (&[3, 4], 4)] {
            assert_eq!(
                Outbox::new(5).restore(rows(seqs), read, 3),
                Err(LoadError::Contradiction),
                "{seqs:?}"
            );
        }
        assert_eq!(Outbox::new(1).restore(rows(&[0, 0]), 0, 0), Err(LoadError::Contradiction));
        assert_eq!(Outbox::new(5).restore(rows(&[3, 4]), 3, 6), Err(LoadError::Contradiction));
    }
}
