//! A command that another process asks for, and what is said of it there and back.

use std::path::PathBuf;

use p2pchat_client::Failure;
use p2pchat_client::sanitise::needs_escape;
use p2pchat_client::store::Place;
use p2pchat_proto::StandingChange;
use p2pchat_proto::standing::NoSuchWord;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::args::Wait;
use crate::output::{Role, Shown, Stream};

/// The first line of a connection that is for one command: which, and how to show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    /// What to do.
    pub call: Call,
    /// Lines for people instead of events.
    #[serde(default)]
    pub plain: bool,
    /// In those lines, every state.
    #[serde(default)]
    pub verbose: bool,
}

/// A command with its arguments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Call {
    /// `send`
    Send(SendCall),
    /// `list`
    List(ListCall),
    /// What `history` needs, piece by piece
    History(HistoryCall),
    /// What `contacts` changes
    Contacts(ContactsCall),
    /// What `contacts` shows
    Known(KnownCall),
    /// `status`, `visibility`, `policy`
    Status(StatusCall),
    /// What runs of `transfers`
    Transfers(TransfersCall),
    /// What `doctor` asks of a running client
    Doctor(DoctorCall),
}

/// `send`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SendCall {
    /// Names or ids.
    pub to: Vec<String>,
    /// The message.
    pub text: Option<String>,
    /// Absolute paths.
    pub files: Vec<PathBuf>,
    /// How far the message has to get.
    pub wait: Wait,
    /// Seconds without anything that moves.
    pub timeout: u32,
}

/// `list`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListCall {
    /// Those who are not there, too.
    pub all: bool,
    /// Only names that begin so.
    pub prefix: String,
}

/// `status`, `visibility`, `policy`: what changes, in words.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatusCall {
    /// What others see.
    #[serde(default)]
    pub status: Option<String>,
    /// Who sees it.
    #[serde(default)]
    pub visibility: Option<String>,
    /// Who may ask.
    #[serde(default)]
    pub policy: Option<String>,
}

impl From<StandingChange> for StatusCall {
    fn from(change: StandingChange) -> Self {
        Self {
            status: change.status.map(|word| word.to_string()),
            visibility: change.visibility.map(|word| word.to_string()),
            policy: change.policy.map(|word| word.to_string()),
        }
    }
}

impl StatusCall {
    /// What it means.
    ///
    /// # Errors
    ///
    /// [`Failure::Usage`] for words that there are not.
    pub fn change(&self) -> Result<StandingChange, Failure> {
        let wrong = |error: NoSuchWord| Failure::Usage(error.to_string());
        Ok(StandingChange {
            status: self.status.as_deref().map(str::parse).transpose().map_err(wrong)?,
            visibility: self.visibility.as_deref().map(str::parse).transpose().map_err(wrong)?,
            policy: self.policy.as_deref().map(str::parse).transpose().map_err(wrong)?,
        })
    }
}

/// A question about transfers, answered by a `files` line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum TransfersCall {
    /// Those that run.
    List {},
    /// Ends one.
    Cancel {
        /// Its number.
        number: u32,
    },
}

/// `doctor`, answered by a `checks` line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DoctorCall {
    /// With whom a session is tried: a name or an id.
    #[serde(default)]
    pub who: Option<String>,
}

/// A question about what is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum HistoryCall {
    /// Some messages of one conversation: a `history` line.
    Look {
        /// A name or an id.
        with: String,
        /// Words that stand in each.
        #[serde(default)]
        words: Vec<String>,
        /// From so many on, no more are looked for.
        limit: usize,
        /// Where.
        place: HistoryPlace,
    },
    /// Every conversation: `conversations` lines.
    Talks {},
    /// Removes one: a `forgotten` line.
    Forget {
        /// A name or an id.
        with: String,
        /// Only what was kept before: milliseconds since 1970, UTC.
        #[serde(default)]
        before: Option<u64>,
    },
    /// How long the messages of one are kept: a `retention` line.
    Keep {
        /// A name or an id.
        with: String,
        /// From now on so long: `30d`, `forever`.
        #[serde(default)]
        time: Option<String>,
    },
}

/// A question about who is known: nothing in the answer is secret to who may open the socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum KnownCall {
    /// Everybody: `contacts` lines.
    List {},
    /// One of them: a `contact` line.
    Show {
        /// A name or an id.
        who: String,
    },
}

/// A decision about somebody, answered by a `contact` line. Names at a broker are those at the one of the
/// process that is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum ContactsCall {
    /// Keeps the identity of somebody.
    Add {
        /// The name at the broker.
        name: String,
        /// The id.
        id: String,
    },
    /// Calls somebody otherwise.
    Rename {
        /// A name or an id.
        who: String,
        /// The new name.
        name: String,
    },
    /// Forgets somebody.
    Remove {
        /// A name or an id.
        who: String,
    },
    /// Takes nothing more from somebody.
    Block {
        /// A name or an id.
        who: String,
    },
    /// Takes that back.
    Unblock {
        /// A name or an id.
        who: String,
    },
    /// The number was the same.
    Verified {
        /// A name or an id.
        who: String,
    },
    /// Takes another id in the place of the known one.
    Trust {
        /// The name at the broker.
        name: String,
        /// The new id.
        id: String,
    },
}

/// A place in a conversation; the numbers are those of `next`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HistoryPlace {
    /// Back from the end.
    End,
    /// Back from there.
    Before(u64),
    /// On from there.
    From(u64),
}

impl From<Place> for HistoryPlace {
    fn from(place: Place) -> Self {
        match place {
            Place::End => Self::End,
            Place::Before(page) => Self::Before(page),
            Place::From(page) => Self::From(page),
        }
    }
}

impl From<HistoryPlace> for Place {
    fn from(place: HistoryPlace) -> Self {
        match place {
            HistoryPlace::End => Self::End,
            HistoryPlace::Before(page) => Self::Before(page),
            HistoryPlace::From(page) => Self::From(page),
        }
    }
}

/// What a process that serves a call says, as the other one takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// A line for people.
    Line(Shown),
    /// An event, for JSON mode.
    Event,
    /// The last event; the exit status.
    Stopped(u8),
}

/// Whether a line of JSON is a call, or tries to be one.
pub fn is_call(line: &str) -> bool {
    let begins = line.trim_start().starts_with('{');
    begins && serde_json::from_str::<Value>(line).is_ok_and(|object| object.get("call").is_some())
}

impl Envelope {
    /// A call whose answer the caller makes something of itself.
    pub const fn asking(call: Call) -> Self {
        Self { call, plain: false, verbose: false }
    }

    /// Reads a line that [`is_call`].
    ///
    /// # Errors
    ///
    /// [`Failure::Usage`].
    pub fn parse(line: &str) -> Result<Self, Failure> {
        serde_json::from_str(line).map_err(|error| Failure::Usage(format!("not a call: {error}")))
    }

    /// The line, without its end.
    ///
    /// # Errors
    ///
    /// [`Failure::Usage`] for paths that are not UTF-8, which have no form in JSON.
    pub fn line(&self) -> Result<String, Failure> {
        let unfit = |error| Failure::Usage(format!("the running p2pchat cannot be told: {error}"));
        serde_json::to_string(self).map_err(unfit)
    }
}

/// A line for people, as an event.
pub fn write(shown: &Shown) -> String {
    let stream = match shown.stream {
        Stream::Out => "out",
        Stream::Err => "err",
    };
    let (role, head) = match shown.role {
        Role::Message(head) => ("message", head),
        Role::Event => ("event", 0),
        Role::Notice => ("notice", 0),
        Role::Error => ("error", 0),
        Role::Data => ("data", 0),
    };
    // Text that is shown has no character left that JSON leaves as it is and a terminal does not.
    json!({"event": "line", "stream": stream, "role": role, "head": head, "text": shown.text()}).to_string()
}

/// Reads what the process that serves a call says.
///
/// # Errors
///
/// [`Failure::Local`] for what no process of this program says.
pub fn read(line: &str) -> Result<Said, Failure> {
    let wrong = super::reach::strange;
    if line.chars().any(needs_escape) {
        return Err(wrong());
    }
    let object: Value = serde_json::from_str(line).map_err(|_| wrong())?;
    let text = |field: &str| object.get(field).and_then(Value::as_str);
    match text("event").ok_or_else(wrong)? {
        "line" => {
            let stream = match text("stream") {
                Some("out") => Stream::Out,
                Some("err") => Stream::Err,
                Some(_) | None => return Err(wrong()),
            };
            let head = object.get("head").and_then(Value::as_u64);
            let role = match text("role") {
                Some("message") => {
                    Role::Message(head.and_then(|head| usize::try_from(head).ok()).unwrap_or(0))
                }
                Some("event") => Role::Event,
                Some("notice") => Role::Notice,
                Some("error") => Role::Error,
                Some("data") => Role::Data,
                Some(_) | None => return Err(wrong()),
            };
            Ok(Said::Line(Shown::new(stream, role, text("text").ok_or_else(wrong)?)))
        }
        "stopped" => {
            let exit = object.get("exit").and_then(Value::as_u64);
            exit.and_then(|exit| u8::try_from(exit).ok()).map(Said::Stopped).ok_or_else(wrong)
        }
        _ => Ok(Said::Event),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn call() -> Envelope {
        let send = SendCall {
            to: vec!["bob".into()],
            text: Some("two\nlines".into()),
            files: vec!["/tmp/a b".into()],
            wait: Wait::Read,
            timeout: 60,
        };
        Envelope { call: Call::Send(send), plain: true, verbose: false }
    }

    #[test]
    fn a_call_is_one_line_and_comes_back_as_it_was() {
        let line = call().line().unwrap();
        assert!(!line.contains('\n') && is_call(&line), "{line}");
        assert_eq!(Envelope::parse(&line), Ok(call()));
    }

    #[test]
    fn what_is_no_call_is_refused_or_left_to_the_language() {
        for line in ["{", "/who", r#"{"do":"{\"call\":1}"}"#, r#"["call"]"#, ""] {
            assert!(!is_call(line), "{line}");
        }
        let unknown = [r#"{"call":{"quit":{}}}"#, r#"{"call":{"list":{"all":true,"prefix":"","x":1}}}"#];
        for line in unknown.into_iter().chain([r#"{"call":7}"#]) {
            assert!(is_call(line));
            assert_eq!(Envelope::parse(line).unwrap_err().code(), "usage", "{line}");
        }
    }

    #[test]
    fn how_one_stands_is_asked_for_in_words() {
        let line = r#"{"call":{"status":{"status":"away"}}}"#;
        let Ok(Envelope { call: Call::Status(call), .. }) = Envelope::parse(line) else { panic!("a call") };
        let change = call.change().unwrap();
        assert_eq!((StatusCall::from(change), change.visibility), (call, None));
        let wrong = StatusCall { policy: Some("public".into()), ..StatusCall::default() };
        assert!(matches!(wrong.change(), Err(Failure::Usage(_))));
    }

    #[test]
    fn what_steers_a_terminal_does_not_pass() {
        for line in ["{\"event\":\"x\",\"t\":\"\u{1b}[2J\"}", "{\"event\":\"x\",\"t\":\"\u{202e}\"}"] {
            assert!(read(line).is_err());
        }
        let escaped = r#"{"event":"line","stream":"out","role":"data","text":"\u001b[2J"}"#;
        let Ok(Said::Line(shown)) = read(escaped) else { panic!("a line") };
        assert!(!shown.text().contains('\u{1b}'));
    }

    #[test]
    fn an_exit_status_is_one() {
        assert_eq!(read(r#"{"event":"stopped","exit":7}"#), Ok(Said::Stopped(7)));
        for line in [r#"{"event":"stopped"}"#, r#"{"event":"stopped","exit":256}"#, "x", "{}"] {
            assert!(read(line).is_err(), "{line}");
        }
    }

    proptest! {
        #[test]
        fn a_line_for_people_comes_back_as_it_was(text: String, head: usize, which in 0_usize..5, out: bool) {
            let roles = [Role::Message(head), Role::Event, Role::Notice, Role::Error, Role::Data];
            let stream = if out { Stream::Out } else { Stream::Err };
            let shown = Shown::new(stream, roles[which], &text);
            prop_assert_eq!(read(&write(&shown)), Ok(Said::Line(shown)));
        }

        #[test]
        fn nothing_that_is_said_makes_the_reader_panic(line: String) {
            let _ = (read(&line), is_call(&line), Envelope::parse(&line));
        }
    }
}
