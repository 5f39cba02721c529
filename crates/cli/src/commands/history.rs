//! `history`: what was said, read from the store.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use p2pchat_client::desk::target;
use p2pchat_client::event::Delivery;
use p2pchat_client::profile::Pins;
use p2pchat_client::random::system_rng;
use p2pchat_client::store::{Book, KeptMessage};
use p2pchat_client::{Failure, Target, json, sanitise};
use p2pchat_proto::{PeerId, WallTime};

use crate::args::{Format, History, HistoryRange, HistoryWhat};
use crate::clock::wall_time;
use crate::output::{self, TimeOfDay};
use crate::profile::Profile;
use crate::terminal::{Terminal, ask};

/// A store that is held for this process, and who is who in it.
struct Opened {
    book: Book,
    pins: Pins,
    json: bool,
    me: String,
    calendar: TimeOfDay,
}

/// Shows, searches, exports or forgets.
pub(super) fn run(profile: &Profile, args: &History) -> Result<u8, Failure> {
    let lock = profile.lock()?;
    let Some(book) = Book::of(&profile.home, profile.identity()?)? else {
        return Err(Failure::Usage("a profile that is kept nowhere has no history".to_owned()));
    };
    let papers = profile.papers(&lock)?;
    let (json, me) = (profile.settings.json, profile.name(&papers)?.to_string());
    let pins = papers.pins().clone();
    let mut opened = Opened { book, pins, json, me, calendar: TimeOfDay::local() };
    match &args.what {
        HistoryWhat::Show(range) => opened.show(range),
        HistoryWhat::Search { words, range } => opened.search(words, range),
        HistoryWhat::Export { with, format } => opened.export(with, *format),
        HistoryWhat::Forget { with, yes } => opened.forget(with, *yes),
    }
}

impl Opened {
    fn show(&mut self, range: &HistoryRange) -> Result<u8, Failure> {
        let since = self.since(range)?;
        let peers = match &range.with {
            Some(who) => vec![self.person(who)?],
            None => self.peers()?,
        };
        for peer in peers {
            let last = self.book.last(peer, range.limit);
            let last = self.read(last)?;
            self.print(last.into_iter().filter(|kept| kept.kept_at >= since), range.with.is_none())?;
        }
        Ok(0)
    }

    fn search(&mut self, words: &[String], range: &HistoryRange) -> Result<u8, Failure> {
        let since = self.since(range)?;
        let with = range.with.as_ref().map(|who| self.person(who)).transpose()?;
        let found = self.book.search(with, words, range.limit);
        let mut found = self.read(found)?;
        found.retain(|kept| kept.kept_at >= since);
        let mut by_peer: BTreeMap<PeerId, Vec<KeptMessage>> = BTreeMap::new();
        for kept in found {
            by_peer.entry(kept.peer).or_default().push(kept);
        }
        let none = by_peer.is_empty();
        for found in by_peer.into_values() {
            self.print(found.into_iter(), with.is_none())?;
        }
        // As grep: nothing found is no success.
        Ok(u8::from(none))
    }

    fn export(&mut self, with: &str, format: Format) -> Result<u8, Failure> {
        let peer = self.person(with)?;
        let mut all = Vec::new();
        let read = self.book.each(peer, |kept| all.push(kept));
        self.read(read)?;
        match format {
            Format::Text => self.print_text(all.into_iter(), false)?,
            Format::Markdown => self.print_markdown(peer, &all)?,
            Format::Json => self.print_json(all.into_iter())?,
        }
        Ok(0)
    }

    fn forget(&mut self, with: &str, yes: bool) -> Result<u8, Failure> {
        let peer = self.person(with)?;
        let messages = self.summary_of(peer)?;
        if !yes {
            let terminal = Terminal::detect();
            if self.json || !terminal.can_ask() {
                return Err(Failure::Usage("nobody can be asked here; say --yes to remove it".to_owned()));
            }
            let who = self.name(peer);
            let answer = ask(&format!("Remove {messages} messages with {who} from this machine? [y/N] "))?;
            if !answer.trim().eq_ignore_ascii_case("y") {
                return Ok(1);
            }
        }
        let removed = self.book.forget(peer, &mut system_rng()?);
        let removed = self.read(removed)?;
        if self.json {
            output::print(&json::forgotten(peer, removed, wall_time()))?;
        } else {
            output::print(&format!(
                "{removed} messages with {} are gone from this machine",
                self.name(peer)
            ))?;
        }
        Ok(0)
    }

    fn print(&self, messages: impl Iterator<Item = KeptMessage>, several: bool) -> Result<(), Failure> {
        if self.json { self.print_json(messages) } else { self.print_text(messages, several) }
    }

    fn print_json(&self, messages: impl Iterator<Item = KeptMessage>) -> Result<(), Failure> {
        let name = |kept: &KeptMessage| self.pins.of_peer(kept.peer).next().map(|pin| pin.name.clone());
        messages.map(|kept| json::kept(&kept, name(&kept).as_ref())).try_for_each(|line| output::print(&line))
    }

    /// Lines under their dates, one a message; every further line of a text is set in.
    fn print_text(&self, messages: impl Iterator<Item = KeptMessage>, several: bool) -> Result<(), Failure> {
        let mut day = None;
        for kept in messages {
            let today = Some(self.calendar.date(kept.sent_at));
            if day != today {
                let with = if several { format!(" with {}", self.name(kept.peer)) } else { String::new() };
                output::print(&format!("--- {}{with} ---", today.clone().unwrap_or_default()))?;
                day = today;
            }
            let (time, who) = (self.calendar.of(kept.sent_at), self.author(&kept));
            let mark = kept.state.map(|state| format!(" [{}]", delivery(state))).unwrap_or_default();
            let mut lines = kept.text.split('\n').map(sanitise::line);
            let first = lines.next().unwrap_or_default();
            output::print(&format!("{time} {who}: {first}{mark}"))?;
            lines.try_for_each(|line| output::print(&format!("      {line}")))?;
        }
        Ok(())
    }

    fn print_markdown(&self, peer: PeerId, messages: &[KeptMessage]) -> Result<(), Failure> {
        output::print(&format!("# Conversation with {}", markdown(&self.name(peer))))?;
        let mut day = None;
        for kept in messages {
            let today = self.calendar.date(kept.sent_at);
            if day.as_ref() != Some(&today) {
                output::print(&format!("\n## {today}"))?;
                day = Some(today);
            }
            let (time, who) = (self.calendar.of(kept.sent_at), markdown(&self.author(kept)));
            output::print(&format!("\n**{who}**, {time}\n"))?;
            let mut lines = kept.text.split('\n').map(|line| markdown(&sanitise::line(line)));
            lines.try_for_each(|line| output::print(&format!("> {line}")))?;
        }
        Ok(())
    }

    fn author(&self, kept: &KeptMessage) -> String {
        if kept.mine { self.me.clone() } else { self.name(kept.peer) }
    }

    fn name(&self, peer: PeerId) -> String {
        self.pins.of_peer(peer).next().map_or_else(|| peer.short(), |pin| pin.name.to_string())
    }

    /// Whom a word means: an id, or a name that is pinned.
    fn person(&self, who: &str) -> Result<PeerId, Failure> {
        match target(who)? {
            Target::Peer(peer) => Ok(peer),
            Target::Name(name) => {
                let pin = self.pins.iter().find(|pin| pin.name == name);
                pin.map(|pin| pin.peer).ok_or_else(|| Failure::UnknownPeer { who: name.to_string() })
            }
        }
    }

    fn peers(&mut self) -> Result<Vec<PeerId>, Failure> {
        let summaries = self.book.summaries();
        Ok(self.read(summaries)?.into_iter().map(|summary| summary.peer).collect())
    }

    fn summary_of(&mut self, peer: PeerId) -> Result<u64, Failure> {
        let summaries = self.book.summaries();
        let summaries = self.read(summaries)?;
        Ok(summaries.iter().find(|summary| summary.peer == peer).map_or(0, |summary| summary.messages))
    }

    fn read<T>(&self, read: Result<T, p2pchat_client::store::StoreError>) -> Result<T, Failure> {
        read.map_err(|error| self.book.failure(error))
    }

    fn since(&self, range: &HistoryRange) -> Result<WallTime, Failure> {
        range.since.as_ref().map_or(Ok(WallTime(0)), |text| since(text, wall_time()))
    }
}

const fn delivery(state: Delivery) -> &'static str {
    match state {
        Delivery::Queued => "waits",
        Delivery::Sent => "sent",
        Delivery::Stored => "stored",
        Delivery::Read => "read",
        Delivery::Failed => "failed",
    }
}

/// The moment that a user means: a date, a time, or how long ago.
fn since(text: &str, now: WallTime) -> Result<WallTime, Failure> {
    let wrong = || {
        let what =
            format!("--since {text}: say 2026-11-20, 2026-11-20T10:00:00Z, or 3h, 2d, 4w for how long ago");
        Failure::Usage(what)
    };
    if let Some(at) = ago(text, now) {
        return Ok(at);
    }
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(WallTime(u64::try_from(at.as_millisecond()).unwrap_or(0)));
    }
    let date: jiff::civil::Date = text.parse().map_err(|_| wrong())?;
    let at: Zoned = date.to_zoned(TimeZone::system()).map_err(|_| wrong())?;
    Ok(WallTime(u64::try_from(at.timestamp().as_millisecond()).unwrap_or(0)))
}

fn ago(text: &str, now: WallTime) -> Option<WallTime> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = number.parse().ok()?;
    let hours = match unit {
        "h" => 1,
        "d" => 24,
        "w" => 7 * 24,
        _ => return None,
    };
    let ms = number.checked_mul(hours)?.checked_mul(3_600_000)?;
    Some(WallTime(now.0.saturating_sub(ms)))
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

    #[test]
    fn a_time_is_a_date_a_moment_or_how_long_ago() {
        let now = WallTime(10_000_000_000);
        assert_eq!(since("1h", now).unwrap(), WallTime(10_000_000_000 - 3_600_000));
        assert_eq!(since("2d", now).unwrap(), WallTime(10_000_000_000 - 2 * 86_400_000));
        assert_eq!(since("1970-01-02T00:00:00Z", now).unwrap(), WallTime(86_400_000));
        assert!(since("2026-11-20", now).is_ok());
        for wrong in ["", "h", "-1h", "3x", "yesterday", "999999999999999999h"] {
            assert!(matches!(since(wrong, now), Err(Failure::Usage(_))), "{wrong}");
        }
    }

    #[test]
    fn a_text_cannot_become_markup() {
        assert_eq!(markdown("# a *b* <c> [d](e)"), "\\# a \\*b\\* \\<c\\> \\[d\\]\\(e\\)");
    }
}
