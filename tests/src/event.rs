//! Events of JSON mode, and patterns that describe the one that is awaited.

use std::fmt;

use serde_json::{Map, Value};

/// One line of JSON mode.
#[derive(Debug, Clone, PartialEq)]
pub struct Event(Map<String, Value>);

impl Event {
    /// The event in a line: an object with `event` and `at`. None where it is something else.
    pub fn parse(line: &str) -> Option<Self> {
        let Ok(Value::Object(fields)) = serde_json::from_str(line) else { return None };
        let is_text = |field| fields.get(field).is_some_and(Value::is_string);
        (is_text("event") && is_text("at")).then_some(Self(fields))
    }

    /// The fields of an object inside of an event.
    pub fn of_fields(object: Value) -> Option<Self> {
        match object {
            Value::Object(fields) => Some(Self(fields)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => None,
        }
    }

    /// Its kind.
    pub fn name(&self) -> &str {
        self.text("event")
    }

    /// A field; null where it is absent.
    pub fn field(&self, field: &str) -> &Value {
        self.0.get(field).unwrap_or(&Value::Null)
    }

    /// A field that is a text; empty where it is absent or something else.
    pub fn text(&self, field: &str) -> &str {
        self.field(field).as_str().unwrap_or_default()
    }

    /// A field that is a whole number.
    pub fn number(&self, field: &str) -> Option<u64> {
        self.field(field).as_u64()
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&Value::Object(self.0.clone()).to_string())
    }
}

/// Describes an event: its kind and what its fields are.
#[derive(Debug, Clone)]
pub struct Pattern {
    event: &'static str,
    fields: Vec<(&'static str, Value)>,
    parts: Vec<(&'static str, String)>,
}

/// Every event of a kind; narrow it with [`Pattern::with`].
pub fn event(event: &'static str) -> Pattern {
    Pattern { event, fields: Vec::new(), parts: Vec::new() }
}

/// A `session` event.
pub fn session(state: &str) -> Pattern {
    event("session").with("state", state)
}

/// A `message` event of the other side.
pub fn message(text: &str) -> Pattern {
    event("message").with("text", text).with("mine", false)
}

/// A `file` event.
pub fn file(direction: &str, state: &str) -> Pattern {
    event("file").with("direction", direction).with("state", state)
}

/// A `receipt` event.
pub fn receipt(message: &str, state: &str) -> Pattern {
    event("receipt").with("message", message).with("state", state)
}

impl Pattern {
    /// Only where `field` is `value`.
    pub fn with(mut self, field: &'static str, value: impl Into<Value>) -> Self {
        self.fields.push((field, value.into()));
        self
    }

    /// Only where the text `field` holds `part`.
    pub fn holding(mut self, field: &'static str, part: impl Into<String>) -> Self {
        self.parts.push((field, part.into()));
        self
    }

    /// Whether `event` is described.
    pub fn matches(&self, event: &Event) -> bool {
        event.name() == self.event
            && self.fields.iter().all(|(field, value)| event.field(field) == value)
            && self.parts.iter().all(|(field, part)| event.text(field).contains(part.as_str()))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "event `{}`", self.event)?;
        self.fields.iter().try_for_each(|(field, value)| write!(f, " {field}={value}"))?;
        self.parts.iter().try_for_each(|(field, part)| write!(f, " {field} with {part:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_takes_what_it_describes_and_nothing_else() {
        let line = r#"{"event":"session","at":"2026-01-01T00:00:00Z","state":"up","path":"lan"}"#;
        let up = Event::parse(line).unwrap();
        assert!(session("up").holding("path", "la").matches(&up));
        assert!(!session("lost").matches(&up));
        assert!(!session("up").with("reason", "x").matches(&up));
        assert!(!event("message").matches(&up));
    }

    #[test]
    fn a_line_without_time_is_no_event() {
        assert_eq!(Event::parse(r#"{"event":"session"}"#), None);
        assert_eq!(Event::parse("[1]"), None);
        assert_eq!(Event::parse("hello"), None);
    }
}
