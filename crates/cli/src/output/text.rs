//! Numbers, times and tables as people read them.

use core::time::Duration;

use jiff::tz::TimeZone;
use p2pchat_client::safety::SafetyNumber;
use p2pchat_client::sanitise;
use p2pchat_proto::WallTime;
use unicode_width::UnicodeWidthStr as _;

/// A size in bytes with a binary prefix (IEC 80000-13) and one decimal.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut unit = None;
    let mut scaled = count as f64;
    for next in UNITS {
        if scaled < 1024.0 {
            break;
        }
        scaled /= 1024.0;
        unit = Some(next);
    }
    match unit {
        Some(unit) => format!("{scaled:.1} {unit}"),
        None => format!("{count} B"),
    }
}

/// A span of time in its largest unit: `0.4 ms`, `12 ms`, `40 s`, `3 min`, `2 h`.
pub fn duration(span: Duration) -> String {
    let ms = span.as_secs_f64() * 1000.0;
    match span.as_secs() {
        0 if ms < 10.0 => format!("{ms:.1} ms"),
        0 => format!("{ms:.0} ms"),
        seconds @ 1..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3600),
    }
}

/// The number that this user and `who` compare, four groups of digits a line, and as words.
pub fn safety_lines(who: &str, number: &SafetyNumber) -> Vec<String> {
    let mut lines = vec![format!("{who} sees the same, if nobody is between you:")];
    let digits = number.digits();
    let groups: Vec<&str> = digits.split(' ').collect();
    lines.extend(groups.chunks(4).map(|groups| format!("  {}", groups.join(" "))));
    lines.push(format!("or in words: {}", number.words().join(" ")));
    lines
}

/// The day, the hour and the minute of a moment, where the user is.
#[derive(Debug, Clone)]
pub struct TimeOfDay(TimeZone);

impl TimeOfDay {
    /// By the system's time zone.
    pub fn local() -> Self {
        Self(TimeZone::system())
    }

    /// By universal time.
    pub fn utc() -> Self {
        Self(TimeZone::UTC)
    }

    /// `HH:MM`; a moment that no calendar has is `--:--`.
    pub fn of(&self, at: WallTime) -> String {
        self.format(at, "%H:%M").unwrap_or_else(|| "--:--".to_owned())
    }

    /// `YYYY-MM-DD HH:MM`; a moment that no calendar has is `--:--`.
    pub fn day(&self, at: WallTime) -> String {
        self.format(at, "%Y-%m-%d %H:%M").unwrap_or_else(|| "--:--".to_owned())
    }

    /// `YYYY-MM-DD`, with the day of the week.
    pub fn date(&self, at: WallTime) -> String {
        self.format(at, "%Y-%m-%d %A").unwrap_or_else(|| "----------".to_owned())
    }

    fn format(&self, at: WallTime, how: &str) -> Option<String> {
        let at = jiff::Timestamp::from_millisecond(i64::try_from(at.0).ok()?).ok()?;
        Some(at.to_zoned(self.0.clone()).strftime(how).to_string())
    }
}

/// Rows as lines of aligned columns, two spaces apart. Cells are made safe before they are measured.
pub fn table<const N: usize>(rows: &[[String; N]]) -> Vec<String> {
    let rows: Vec<[String; N]> =
        rows.iter().map(|row| row.each_ref().map(|cell| sanitise::line(cell).into_owned())).collect();
    let mut widths = [0; N];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.width());
        }
    }
    let line = |row: &[String; N]| {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            line.push_str(cell);
            line.extend(core::iter::repeat_n(' ', width.saturating_sub(cell.width()) + 2));
        }
        line.truncate(line.trim_end().len());
        line
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_shown_in_three_lines_of_twenty_digits_and_as_words() {
        let number = SafetyNumber::between(p2pchat_proto::PeerId([1; 32]), p2pchat_proto::PeerId([2; 32]));
        let lines = safety_lines("alice", &number);
        let digits: Vec<String> = lines[1..4].iter().map(|line| line.replace(' ', "")).collect();
        assert!(digits.iter().all(|line| line.len() == 20), "{lines:?}");
        assert_eq!(digits.concat(), number.digits().replace(' ', ""));
        assert!(lines[4].ends_with(&number.words().join(" ")));
    }

    #[test]
    fn sizes_have_binary_prefixes() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(8 << 20), "8.0 MiB");
        assert_eq!(bytes(u64::MAX), "16.0 EiB");
    }

    #[test]
    fn spans_have_their_largest_unit() {
        assert_eq!(duration(Duration::from_micros(420)), "0.4 ms");
        assert_eq!(duration(Duration::from_millis(12)), "12 ms");
        assert_eq!(duration(Duration::from_secs(40)), "40 s");
        assert_eq!(duration(Duration::from_secs(180)), "3 min");
        assert_eq!(duration(Duration::from_secs(7200)), "2 h");
    }

    #[test]
    fn a_hostile_clock_has_no_time_of_day() {
        assert_eq!(TimeOfDay::utc().of(WallTime(u64::MAX)), "--:--");
        assert_eq!(TimeOfDay::utc().of(WallTime(1_794_000_000_000)), "21:20");
        assert_eq!(TimeOfDay::utc().day(WallTime(1_794_000_000_000)), "2026-11-06 21:20");
    }

    #[test]
    fn columns_align_whatever_the_width_of_their_characters() {
        let rows = [["a".to_owned(), "x".to_owned()], ["日本".to_owned(), "y".to_owned()]];
        assert_eq!(table(&rows), ["a     x", "日本  y"]);
    }
}
