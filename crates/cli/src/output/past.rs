//! What was said earlier, as people read it: lines under their dates, in local time.

use core::time::Duration;

use p2pchat_client::event::Delivery;
use p2pchat_client::history::{KeptMessage, Removed, Talk};
use p2pchat_client::sanitise;

use crate::span::Span;

use super::text::{TimeOfDay, table};

/// What stands before the further lines of a text.
const INDENT: &str = "      ";

/// The messages of one conversation, one after the other; a date comes before the first of a day.
#[derive(Debug)]
pub struct Past<'a> {
    calendar: &'a TimeOfDay,
    me: &'a str,
    with: String,
    day: Option<String>,
    whom: Option<String>,
}

impl<'a> Past<'a> {
    /// With somebody, whom lines call `with`, and the user `me`.
    pub const fn new(calendar: &'a TimeOfDay, me: &'a str, with: String) -> Self {
        Self { calendar, me, with, day: None, whom: None }
    }

    /// Dates say with whom the conversation is, as others stand beside it: by what it can be asked for alone.
    #[must_use]
    pub fn among_others(self, whom: String) -> Self {
        Self { whom: Some(whom), ..self }
    }

    /// One message: its first line with time and author, every further line set in. All of it is safe to
    /// show.
    pub fn text(&mut self, kept: &KeptMessage) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(day) = self.next_day(kept) {
            let with = self.whom.as_ref().map_or_else(String::new, |whom| format!(" with {whom}"));
            lines.push(format!("--- {day}{with} ---"));
        }
        let mark = kept.state.map(|state| format!(" [{}]", delivery(state))).unwrap_or_default();
        let mut text = kept.text.split('\n').map(sanitise::line);
        let first = text.next().unwrap_or_default();
        lines.push(format!("{} {}: {first}{mark}", self.calendar.of(kept.sent_at), self.author(kept)));
        lines.extend(text.map(|line| format!("{INDENT}{line}")));
        lines
    }

    /// The title of a page of Markdown.
    pub fn markdown_title(&self) -> String {
        format!("# Conversation with {}", markdown(&self.with))
    }

    /// One message as Markdown: a quotation under its author and time. Nothing in the text is markup.
    pub fn markdown(&mut self, kept: &KeptMessage) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(day) = self.next_day(kept) {
            lines.extend([String::new(), format!("## {day}")]);
        }
        let (author, time) = (markdown(self.author(kept)), self.calendar.of(kept.sent_at));
        lines.extend([String::new(), format!("**{author}**, {time}"), String::new()]);
        let text = kept.text.split('\n').map(sanitise::line);
        lines.extend(text.map(|line| format!("> {}", markdown(&line))));
        lines
    }

    fn next_day(&mut self, kept: &KeptMessage) -> Option<String> {
        let day = self.calendar.date(kept.sent_at);
        let is_new = self.day.as_ref() != Some(&day);
        is_new.then(|| self.day.insert(day).clone())
    }

    fn author(&self, kept: &KeptMessage) -> &str {
        if kept.mine { self.me } else { &self.with }
    }
}

/// Whom something waits for, how much, since when, and when the first of it is given up.
pub fn waiting(talks: &[Talk], calendar: &TimeOfDay) -> Vec<String> {
    if talks.is_empty() {
        return vec!["Nothing waits.".to_owned()];
    }
    let mut rows = vec![["NAME", "WAITING", "SINCE", "UNTIL", "ID"].map(str::to_owned)];
    rows.extend(talks.iter().map(|talk| {
        let name = talk.name.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
        let since = talk.since.map_or_else(|| "-".to_owned(), |since| calendar.day(since));
        let until = talk.expires.map_or_else(|| "delivered".to_owned(), |until| calendar.day(until));
        [name, talk.waiting.to_string(), since, until, talk.peer.to_string()]
    }));
    table(&rows)
}

/// That a conversation was removed.
pub fn forgotten(who: &str, removed: &Removed) -> String {
    let (verb, left) = match (removed.messages, removed.under_way) {
        (1, 0) => ("is", String::new()),
        (_, 0) => ("are", String::new()),
        (_, under_way) => ("are", format!("; {under_way} of them had left already, and may still arrive")),
    };
    let messages = counted(removed.messages, "message");
    format!("{messages} with {who} {verb} gone from this machine{left}")
}

/// How long messages with somebody are kept.
pub fn kept_for(who: &str, after: Option<Duration>) -> String {
    match after {
        Some(after) => format!("messages with {who} are kept for {}", Span::new(after)),
        None => format!("messages with {who} are kept for ever"),
    }
}

/// So many of something.
pub fn counted(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// The states of `docs/cli.md`.
const fn delivery(state: Delivery) -> &'static str {
    match state {
        Delivery::Queued => "queued",
        Delivery::Sent => "sent",
        Delivery::Stored => "stored",
        Delivery::Read => "read",
        Delivery::Failed => "failed",
    }
}

/// Text that Markdown shows as it is.
fn markdown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        // What CommonMark lets a backslash take the meaning of (section 2.4).
        if c.is_ascii_punctuation() {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use p2pchat_proto::conversation::{DeviceEpoch, MessageId};
    use p2pchat_proto::{PeerId, WallTime};

    /// 2026-11-06, 21:20.
    const EVENING: u64 = 1_794_000_000_000;
    const HOUR: u64 = 3_600_000;

    fn kept(mine: bool, hours: u64, text: &str) -> KeptMessage {
        let (me, alice) = (PeerId([1; 32]), PeerId([2; 32]));
        let message = MessageId { author: alice, to: me, epoch: DeviceEpoch(1), seq: 0 };
        let at = WallTime(EVENING + hours * HOUR);
        let state = mine.then_some(Delivery::Stored);
        KeptMessage { peer: alice, message, mine, text: text.to_owned(), sent_at: at, kept_at: at, state }
    }

    #[test]
    fn a_date_stands_before_the_first_message_of_a_day_and_further_lines_are_set_in() {
        let clock = TimeOfDay::utc();
        let mut past = Past::new(&clock, "me", "alice".to_owned());
        let messages = [kept(false, 0, "hi"), kept(true, 1, "two\nlines"), kept(false, 3, "late")];
        let lines: Vec<_> = messages.iter().flat_map(|kept| past.text(kept)).collect();
        let expected = [
            "--- 2026-11-06 Friday ---",
            "21:20 alice: hi",
            "22:20 me: two [stored]",
            "      lines",
            "--- 2026-11-07 Saturday ---",
            "00:20 alice: late",
        ];
        assert_eq!(lines, expected);
        let mut among = Past::new(&clock, "me", "alice".to_owned()).among_others("alice".to_owned());
        assert_eq!(among.text(&messages[0])[0], "--- 2026-11-06 Friday with alice ---");
    }

    #[test]
    fn a_text_cannot_become_markup_and_steers_nothing() {
        assert_eq!(markdown("# a *b* <c> [d](e)"), "\\# a \\*b\\* \\<c\\> \\[d\\]\\(e\\)");
        let clock = TimeOfDay::utc();
        let mut past = Past::new(&clock, "me", "alice".to_owned());
        let hostile = kept(false, 0, "\u{1b}[2J\u{202e}\n# title\r\n");
        let lines = [past.text(&hostile), past.markdown(&hostile)].concat();
        assert!(lines.iter().all(|line| !line.chars().any(sanitise::needs_escape)), "{lines:?}");
        assert!(lines.iter().any(|line| line == "> \\# title\u{240d}"), "{lines:?}");
    }
}
