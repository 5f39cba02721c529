//! What should be: every conversation as two plain lists, without networks, sessions or stores.

use std::collections::BTreeMap;

use p2pchat_engine::CommandId;
use p2pchat_engine::event::Delivery;
use p2pchat_proto::conversation::MessageId;

use crate::broken::{Broken, hold};

/// Digits at the beginning of each text, its number in its conversation.
const DIGITS: usize = 6;

/// All that was written and all that became of it.
#[derive(Debug, Default)]
pub(crate) struct Model {
    /// By author and reader.
    ways: BTreeMap<(usize, usize), Way>,
    /// Whose fate the author's engine has not told.
    asked: BTreeMap<(usize, CommandId), (usize, usize)>,
}

/// What one person wrote to another, in order.
#[derive(Debug, Default)]
struct Way {
    written: Vec<Written>,
    by_id: BTreeMap<MessageId, usize>,
    /// Number after the last that the reader's store has.
    stored: usize,
    /// Number after the last that the reader was shown.
    shown: usize,
    /// Number after the last that the reader's program said was read.
    read: usize,
}

#[derive(Debug)]
struct Written {
    len: usize,
    /// The author's engine did not take it.
    refused: bool,
    /// The author's store has it.
    durable: bool,
    stored: bool,
    shown: bool,
    /// The reader's process ended between storing and showing: a history would show it.
    excused: bool,
    /// What the author was told last.
    told: Option<Delivery>,
}

impl Model {
    /// Somebody writes; the text.
    pub(crate) fn write(&mut self, from: usize, to: usize, len: usize, id: CommandId) -> String {
        let way = self.ways.entry((from, to)).or_default();
        let number = way.written.len();
        way.written.push(Written {
            len,
            refused: false,
            durable: false,
            stored: false,
            shown: false,
            excused: false,
            told: None,
        });
        self.asked.insert((from, id), (to, number));
        text(from, to, number, len)
    }

    /// The author's engine answered a command.
    pub(crate) fn answered(
        &mut self,
        from: usize,
        id: CommandId,
        message: Option<MessageId>,
    ) -> Result<(), Broken> {
        let Some((to, number)) = self.asked.remove(&(from, id)) else { return Ok(()) };
        let way = self.ways.entry((from, to)).or_default();
        match message {
            Some(message) => {
                let before = way.by_id.insert(message, number);
                hold(before.is_none(), "no two messages have one id", || {
                    format!("{message:?} is number {before:?} and {number}")
                })
            }
            None => {
                way.written[number].refused = true;
                Ok(())
            }
        }
    }

    /// The author's store has a message.
    pub(crate) fn composed(&mut self, from: usize, to: usize, text: &str) -> Result<(), Broken> {
        let number = self.number(from, to, text)?;
        let way = self.ways.entry((from, to)).or_default();
        way.written[number].durable = true;
        Ok(())
    }

    /// The reader's store has a message.
    pub(crate) fn arrived(&mut self, from: usize, to: usize, text: &str) -> Result<(), Broken> {
        let number = self.number(from, to, text)?;
        let way = self.ways.entry((from, to)).or_default();
        hold(number >= way.stored, "a message is stored once and in order", || {
            format!("number {number} from {from} to {to} after number {}", way.stored.saturating_sub(1))
        })?;
        let skipped = (way.stored..number).find(|skipped| way.written[*skipped].durable);
        hold(skipped.is_none(), "no message is left out", || {
            format!("number {number} from {from} to {to} without {skipped:?}")
        })?;
        hold(way.written[number].durable, "nothing is sent before its author keeps it", || {
            format!("number {number} from {from} to {to}")
        })?;
        way.written[number].stored = true;
        way.stored = number + 1;
        Ok(())
    }

    /// The reader is shown a message.
    pub(crate) fn shown(&mut self, from: usize, to: usize, text: &str) -> Result<(), Broken> {
        let number = self.number(from, to, text)?;
        let way = self.ways.entry((from, to)).or_default();
        hold(number >= way.shown, "a message is shown once and in order", || {
            format!("number {number} from {from} to {to} after number {}", way.shown.saturating_sub(1))
        })?;
        hold(way.written[number].stored, "what is shown is kept", || {
            format!("number {number} from {from} to {to}")
        })?;
        let skipped = (way.shown..number).find(|n| way.written[*n].stored && !way.written[*n].excused);
        hold(skipped.is_none(), "what is kept is shown, in order", || {
            format!("number {number} from {from} to {to} without {skipped:?}")
        })?;
        way.written[number].shown = true;
        way.shown = number + 1;
        Ok(())
    }

    /// The reader's program says that a message, and all before it, was looked at.
    pub(crate) fn read(&mut self, from: usize, to: usize, message: MessageId) {
        let way = self.ways.entry((from, to)).or_default();
        if let Some(number) = way.by_id.get(&message) {
            way.read = way.read.max(number + 1);
        }
    }

    /// The author is told how far a message got.
    pub(crate) fn told(
        &mut self,
        from: usize,
        to: usize,
        message: MessageId,
        state: Delivery,
    ) -> Result<(), Broken> {
        let way = self.ways.entry((from, to)).or_default();
        let number = way.by_id.get(&message).copied().ok_or_else(|| {
            Broken::new("a receipt is about something that was written", format!("{message:?}"))
        })?;
        let written = &mut way.written[number];
        let about = || format!("{state:?} for number {number} from {from} to {to}, told {:?}", way.read);
        let true_now = match state {
            Delivery::Queued | Delivery::Sent => written.durable,
            Delivery::Stored => written.stored,
            Delivery::Read => number < way.read,
            Delivery::Failed => false,
        };
        hold(true_now, "a receipt says nothing but the truth", about)?;
        hold(written.told < Some(state), "a receipt comes once, and none goes back", || {
            format!("{state:?} after {:?} for number {number} from {from} to {to}", written.told)
        })?;
        written.told = Some(state);
        Ok(())
    }

    /// Somebody's process is gone; `kept` tells what its store keeps all the same is known already.
    pub(crate) fn process_ended(&mut self, who: usize) {
        self.asked.retain(|(from, _), _| *from != who);
        for ((from, to), way) in &mut self.ways {
            if *to == who {
                for written in way.written.iter_mut().filter(|written| written.stored && !written.shown) {
                    written.excused = true;
                }
                way.shown = way.stored;
            }
            if *from == who {
                // The next process may say again what the last one said.
                way.written.iter_mut().for_each(|written| written.told = None);
                // And what was not kept never was: its number serves another message.
                let written = &way.written;
                way.by_id.retain(|_, number| written[*number].durable);
            }
        }
    }

    /// What of one person's messages to another is not yet where it belongs; `None`: nothing.
    pub(crate) fn missing(&self, from: usize, to: usize) -> Option<String> {
        let way = self.ways.get(&(from, to))?;
        let owed = |written: &&Written| written.durable && !(written.shown || written.excused);
        let late = way.written.iter().filter(owed).count();
        let unsure = way.written.iter().filter(|written| !written.durable && !written.refused).count();
        (late > 0).then(|| {
            format!(
                "{late} of {} messages from {from} to {to} were not shown, stored {}, shown {}, lost \
                 before they were kept {unsure}",
                way.written.len(),
                way.stored,
                way.shown
            )
        })
    }

    /// Messages that were written and kept.
    pub(crate) fn kept(&self) -> u64 {
        self.ways.values().flat_map(|way| &way.written).filter(|written| written.durable).count() as u64
    }

    /// The number of a text, which has to be what its author wrote under it.
    fn number(&self, from: usize, to: usize, said: &str) -> Result<usize, Broken> {
        let invented = || {
            let start: String = said.chars().take(40).collect();
            Broken::new("nothing appears that nobody wrote", format!("{start:?} from {from} to {to}"))
        };
        let number: usize = said.get(..DIGITS).and_then(|digits| digits.parse().ok()).ok_or_else(invented)?;
        let way = self.ways.get(&(from, to)).ok_or_else(invented)?;
        let written = way.written.get(number).ok_or_else(invented)?;
        if written.refused || text(from, to, number, written.len) != said {
            return Err(invented());
        }
        Ok(number)
    }
}

/// The text with this number: its digits, and then letters that no other text has in that order.
fn text(from: usize, to: usize, number: usize, len: usize) -> String {
    let start = from * 7 + to * 3 + number;
    let mut text = format!("{number:0DIGITS$}");
    text.extend(
        (start..)
            .map(|n| char::from(b'a' + u8::try_from(n % 26).unwrap_or_default()))
            .take(len.saturating_sub(DIGITS)),
    );
    text
}
