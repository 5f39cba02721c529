//! What comes in: a line of the command language, or an object that carries one.

use p2pchat_engine::Failure;
use serde_json::Value;

/// Most bytes of an `id` as JSON. It comes back in every outcome, so it is not for data.
const TAG_MAX: usize = 256;

/// The `id` of a line, which its outcome carries: a string or a number.
#[derive(Debug, Clone, PartialEq)]
pub struct Tag(Value);

/// One line of input.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// What its outcome is to carry.
    pub tag: Option<Tag>,
    /// Whom it is meant for; `None` for the current conversation.
    pub to: Option<String>,
    /// One command or one message.
    pub text: String,
}

/// A line that cannot be read, with its tag where that could.
#[derive(Debug, Clone, PartialEq)]
pub struct LineError {
    /// What the outcome is to carry.
    pub tag: Option<Tag>,
    /// How it failed.
    pub failure: Box<Failure>,
}

impl Tag {
    /// The tag as it came.
    pub fn value(&self) -> &Value {
        &self.0
    }
}

impl Line {
    /// A line as it was typed.
    pub fn typed(text: impl Into<String>) -> Self {
        Self { tag: None, to: None, text: text.into() }
    }
}

/// Reads one line of JSON mode.
///
/// # Errors
///
/// [`Failure::Usage`] for a line that begins with `{` and is not an object of `do` and, if wanted,
/// `id` and `to`.
pub fn parse(line: &str) -> Result<Line, LineError> {
    if !line.trim_start().starts_with('{') {
        return Ok(Line::typed(line));
    }
    let usage = |tag: Option<Tag>, what: &str| LineError {
        tag,
        failure: Box::new(Failure::Usage(format!("not a line of JSON mode: {what}"))),
    };
    let Ok(Value::Object(fields)) = serde_json::from_str(line) else {
        return Err(usage(None, "it begins with { and is not a JSON object"));
    };
    let mut read = Line { tag: None, to: None, text: String::new() };
    let mut text = None;
    let mut wrong = None;
    for (name, value) in fields {
        match (name.as_str(), value) {
            ("id", id) => match tag(id) {
                Some(id) => read.tag = Some(id),
                None => wrong = Some("id is a string or a number of at most 256 bytes"),
            },
            ("to", Value::String(to)) => read.to = Some(to),
            ("do", Value::String(command)) => text = Some(command),
            ("to" | "do", _) => wrong = Some("to and do are strings"),
            (_, _) => wrong = Some("its fields are id, to and do"),
        }
    }
    match (wrong, text) {
        (None, Some(text)) => Ok(Line { text, ..read }),
        (None, None) => Err(usage(read.tag, "it has no do")),
        (Some(wrong), _) => Err(usage(read.tag, wrong)),
    }
}

fn tag(id: Value) -> Option<Tag> {
    let short = id.to_string().len() <= TAG_MAX;
    (short && (id.is_string() || id.is_number())).then_some(Tag(id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_line_without_a_brace_is_the_language_itself() {
        assert_eq!(parse("/who"), Ok(Line::typed("/who")));
    }

    #[test]
    fn an_object_carries_its_id_and_whom_it_is_for() {
        let line = parse(r#"{"do":"two\nlines","to":"bob","id":7}"#).unwrap();
        let tag = Tag(Value::from(7));
        assert_eq!(line, Line { tag: Some(tag), to: Some("bob".into()), text: "two\nlines".into() });
    }

    #[test]
    fn what_is_wrong_keeps_the_id_for_its_failure() {
        let error = parse(r#"{"id":"x","do":5}"#).unwrap_err();
        assert_eq!(error.tag, Some(Tag(Value::from("x"))));
        assert_eq!(error.failure.code(), "usage");
        for bad in ["{", "{}", r#"{"do":"a","what":1}"#, r#"{"do":"a","id":[1]}"#, r#"{"do":"a"} x"#] {
            assert_eq!(parse(bad).unwrap_err().failure.code(), "usage", "{bad}");
        }
    }

    #[test]
    fn an_id_is_no_place_for_data() {
        let long = format!(r#"{{"id":"{}","do":"a"}}"#, "x".repeat(300));
        assert!(parse(&long).is_err());
    }

    proptest! {
        #[test]
        fn no_line_makes_the_parser_panic(line in "\\{?\\PC{0,60}") {
            let _ = parse(&line);
        }
    }
}
