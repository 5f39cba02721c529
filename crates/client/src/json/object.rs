//! One line of output: an object whose fields keep their order.

use std::io;

use p2pchat_proto::WallTime;
use serde::Serializer as _;
use serde_json::Value;
use serde_json::ser::Formatter;

use crate::sanitise::needs_escape;

/// Fields in the order in which they are written.
#[derive(Debug, Default)]
pub(super) struct Object {
    fields: Vec<(&'static str, Value)>,
}

impl Object {
    /// The line of one event.
    pub(super) fn event(name: &'static str, at: WallTime) -> Self {
        Self::default().with("event", name).with("at", rfc3339(at))
    }

    /// One more field.
    pub(super) fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.fields.push((name, value.into()));
        self
    }

    /// One more field where there is a value.
    pub(super) fn with_some(self, name: &'static str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// The object inside another one.
    pub(super) fn into_value(self) -> Value {
        Value::Object(self.fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    /// The object as one line, without its end.
    pub(super) fn into_line(self) -> String {
        let mut out = Vec::new();
        let mut serializer = serde_json::Serializer::with_formatter(&mut out, Visible);
        // A Vec takes every write, and strings, numbers and lists of them have a form in JSON.
        let written = serializer.collect_map(self.fields);
        debug_assert!(written.is_ok());
        String::from_utf8_lossy(&out).into_owned()
    }
}

/// A moment of the wall clock as RFC 3339 in UTC with milliseconds. A time beyond the calendar of
/// RFC 3339 (the year 9999) is its last moment.
pub fn rfc3339(at: WallTime) -> String {
    let last = jiff::Timestamp::MAX;
    let time =
        i64::try_from(at.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok()).unwrap_or(last);
    format!("{time:.3}")
}

/// Writes strings so that nothing in them steers the terminal of somebody who looks at them.
struct Visible;

impl Formatter for Visible {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some((at, c)) = rest.char_indices().find(|(_, c)| needs_escape(*c)) {
            let (before, after) = rest.split_at(at);
            writer.write_all(before.as_bytes())?;
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            rest = after.get(c.len_utf8()..).unwrap_or_default();
        }
        writer.write_all(rest.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn times_are_rfc_3339_in_utc_and_never_beyond_the_calendar() {
        assert_eq!(rfc3339(WallTime(1_794_000_000_123)), "2026-11-06T21:20:00.123Z");
        assert_eq!(rfc3339(WallTime(0)), "1970-01-01T00:00:00.000Z");
        assert!(rfc3339(WallTime(u64::MAX)).starts_with("9999-12-30"));
    }

    #[test]
    fn fields_keep_their_order() {
        let line = Object::event("x", WallTime(0)).with("b", 1).with("a", 2).into_line();
        assert_eq!(line, r#"{"event":"x","at":"1970-01-01T00:00:00.000Z","b":1,"a":2}"#);
    }

    proptest! {
        #[test]
        fn every_text_survives_and_none_steers_a_terminal(text in "\\PC*|.*", raw: Vec<char>) {
            let text = text + &raw.into_iter().collect::<String>() + "\u{9b}2J\u{202e}\u{7f}\u{e0041}\n";
            let line = Object::default().with("text", text.as_str()).into_line();
            prop_assert!(!line.chars().any(needs_escape), "{}", line);
            let back: Value = serde_json::from_str(&line).unwrap();
            prop_assert_eq!(&back["text"], &Value::from(text));
        }
    }
}
