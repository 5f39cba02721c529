//! `history`: what was said, from the store or through the chat that holds it.

mod source;

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use p2pchat_client::history::{Page, Talk};
use p2pchat_client::store::Place;
use p2pchat_client::{Failure, json};
use p2pchat_proto::WallTime;

use crate::args::{Format, History, HistoryRange, HistoryWhat};
use crate::clock::wall_time;
use crate::output::{self, Past, TimeOfDay};
use crate::profile::Profile;
use crate::span::{Lifetime, Span};
use crate::terminal::{Terminal, ask};
use source::{Sought, Source, Stop};

/// What a page of an export is asked for at a time, messages; the store gives less where they are long.
const EXPORT_STEP: usize = 256;

struct Shower<'a> {
    source: Source<'a>,
    json: bool,
    calendar: TimeOfDay,
}

/// Shows, searches, exports or forgets.
pub(super) fn run(profile: &Profile, args: &History) -> Result<u8, Failure> {
    let json = profile.settings.json;
    let mut shower = Shower { source: Source::of(profile), json, calendar: TimeOfDay::local() };
    let done = match &args.what {
        HistoryWhat::Show(range) => shower.show(range, &[]).map(|_| 0),
        // As grep: nothing found is no success.
        HistoryWhat::Search { words, range } => shower.show(range, words).map(|found| u8::from(!found)),
        HistoryWhat::Export { with, format } => shower.export(with, *format),
        HistoryWhat::Waiting => shower.waiting(),
        HistoryWhat::Keep { with, time } => shower.keep(with, *time),
        HistoryWhat::Forget { with, older_than, yes } => shower.forget(with, older_than.as_deref(), *yes),
    };
    match done {
        Ok(exit) | Err(Stop::Said(exit)) => Ok(exit),
        Err(Stop::Failed(failure)) => Err(failure),
    }
}

impl Shower<'_> {
    /// The newest messages in which all words stand; whether there is one.
    fn show(&mut self, range: &HistoryRange, words: &[String]) -> Result<bool, Stop> {
        let since =
            range.since.as_ref().map_or(Ok(WallTime(0)), |text| moment("--since", text, wall_time()))?;
        let with = match &range.with {
            Some(who) => vec![who.clone()],
            None => self.source.talks()?.iter().map(|talk| talk.peer.to_string()).collect(),
        };
        let mut found = false;
        for with in with {
            let sought = Sought { with: &with, words, limit: range.limit };
            let mut page = self.source.newest(&sought)?;
            page.messages.retain(|kept| kept.kept_at >= since);
            found |= !page.messages.is_empty();
            if self.json {
                print_json(&page)?;
            } else {
                let me = self.source.me();
                let past = Past::new(&self.calendar, &me, called(&page));
                let whom = page.name.as_ref().map_or_else(|| page.peer.to_string(), ToString::to_string);
                let mut past = if range.with.is_none() { past.among_others(whom) } else { past };
                print_all(page.messages.iter().flat_map(|kept| past.text(kept)))?;
            }
        }
        Ok(found)
    }

    fn export(&mut self, with: &str, format: Option<Format>) -> Result<u8, Stop> {
        let format = format.unwrap_or(if self.json { Format::Json } else { Format::Text });
        let sought = Sought { with, words: &[], limit: EXPORT_STEP };
        let mut page = self.source.page(&sought, Place::From(0))?;
        let me = self.source.me();
        let mut past = Past::new(&self.calendar, &me, called(&page));
        if format == Format::Markdown {
            output::print(&past.markdown_title())?;
        }
        loop {
            match format {
                Format::Json => print_json(&page)?,
                Format::Text => print_all(page.messages.iter().flat_map(|kept| past.text(kept)))?,
                Format::Markdown => print_all(page.messages.iter().flat_map(|kept| past.markdown(kept)))?,
            }
            let Some(next) = page.next else { return Ok(0) };
            page = self.source.page(&sought, Place::From(next))?;
        }
    }

    fn waiting(&mut self) -> Result<u8, Stop> {
        let waiting: Vec<Talk> = self.source.talks()?.into_iter().filter(|talk| talk.waiting > 0).collect();
        if self.json {
            output::print(&json::talks("waiting", &waiting, wall_time()))?;
        } else {
            print_all(output::waiting(&waiting, &self.calendar).into_iter())?;
        }
        Ok(0)
    }

    fn keep(&mut self, with: &str, time: Option<Lifetime>) -> Result<u8, Stop> {
        let (peer, name, after) = self.source.keep(with, time)?;
        if self.json {
            output::print(&json::kept_for(peer, name.as_ref(), after, wall_time()))?;
        } else {
            let who = name.as_ref().map_or_else(|| peer.short(), ToString::to_string);
            output::print(&output::kept_for(&who, after))?;
        }
        Ok(0)
    }

    fn forget(&mut self, with: &str, older_than: Option<&str>, yes: bool) -> Result<u8, Stop> {
        let before = older_than.map(|text| moment("--older-than", text, wall_time())).transpose()?;
        let page = self.source.page(&Sought { with, words: &[], limit: 1 }, Place::End)?;
        let (peer, who) = (page.peer, called(&page));
        if !yes {
            let terminal = Terminal::detect();
            if self.json || !terminal.can_ask() {
                let what = "nobody can be asked here; say --yes to remove it".to_owned();
                return Err(Failure::Usage(what).into());
            }
            let talks = self.source.talks()?;
            let messages = talks.iter().find(|talk| talk.peer == peer).map_or(0, |talk| talk.messages);
            let which = older_than.map_or_else(String::new, |time| format!(" as far as older than {time}"));
            let messages = output::counted(messages, "message");
            let question = format!("Remove {messages} with {who}{which} from this machine? [y/N] ");
            let answer = ask(&question)?;
            if !answer.trim().eq_ignore_ascii_case("y") {
                return Ok(1);
            }
        }
        let removed = self.source.forget(&peer.to_string(), before)?;
        if self.json {
            output::print(&json::forgotten(&removed, wall_time()))?;
        } else {
            output::print(&output::forgotten(&who, &removed))?;
        }
        Ok(0)
    }
}

fn called(page: &Page) -> String {
    page.name.as_ref().map_or_else(|| page.peer.short(), ToString::to_string)
}

fn print_json(page: &Page) -> Result<(), Failure> {
    let lines = page.messages.iter().map(|kept| json::kept(kept, page.name.as_ref()));
    print_all(lines)
}

fn print_all(mut lines: impl Iterator<Item = String>) -> Result<(), Failure> {
    lines.try_for_each(|line| output::print(&line))
}

/// The moment that a user means: a date, a time, or how long ago.
pub(super) fn moment(option: &str, text: &str, now: WallTime) -> Result<WallTime, Failure> {
    let wrong = || {
        let what =
            format!("{option} {text}: say 2026-11-20, 2026-11-20T10:00:00Z, or 3h, 2d, 4w for how long ago");
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
    let span: Span = text.parse().ok()?;
    let ms = u64::try_from(span.duration().as_millis()).ok()?;
    Some(WallTime(now.0.saturating_sub(ms)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_date_a_moment_or_how_long_ago() {
        let now = WallTime(10_000_000_000);
        assert_eq!(moment("--since", "1h", now).unwrap(), WallTime(10_000_000_000 - 3_600_000));
        assert_eq!(moment("--since", "2d", now).unwrap(), WallTime(10_000_000_000 - 2 * 86_400_000));
        assert_eq!(moment("--since", "1970-01-02T00:00:00Z", now).unwrap(), WallTime(86_400_000));
        assert!(moment("--since", "2026-11-20", now).is_ok());
        for wrong in ["", "h", "-1h", "3x", "yesterday", "999999999999999999h"] {
            assert!(matches!(moment("--since", wrong, now), Err(Failure::Usage(_))), "{wrong}");
        }
    }
}
