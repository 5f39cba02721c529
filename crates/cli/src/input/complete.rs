//! What the editor asks: completions of commands, names and paths, and what goes above its prompt.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use p2pchat_client::language::{COMMANDS, Takes, find};
use p2pchat_proto::{Availability, ContactPolicy, Visibility};
use rustyline::completion::{Completer, FilenameCompleter, Pair};
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::Validator;
use rustyline::{Context, Helper};

use crate::output::Above;

/// What can be completed besides commands and paths, kept current by the front end.
#[derive(Debug, Default)]
pub struct Known {
    /// People's names.
    pub names: BTreeSet<String>,
    /// Open transfers and numbered conversations.
    pub numbers: BTreeSet<String>,
}

/// Shared between the front end and the editor's thread.
pub type KnownHandle = Arc<Mutex<Known>>;

/// The editor's helper: completes, and writes what goes above the prompt.
pub(super) struct EditorHelper {
    known: KnownHandle,
    paths: FilenameCompleter,
    above: Arc<Above>,
}

impl EditorHelper {
    pub(super) fn new(known: KnownHandle, above: Arc<Above>) -> Self {
        Self { known, paths: FilenameCompleter::new(), above }
    }
}

impl Completer for EditorHelper {
    type Candidate = Pair;

    fn complete(&self, line: &str, pos: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let typed = line.get(..pos).unwrap_or_default();
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match candidates(typed, &known) {
            Candidates::Words(start, words) => {
                let pair = |word: String| Pair { display: word.clone(), replacement: word };
                Ok((start, words.into_iter().map(pair).collect()))
            }
            Candidates::Paths => self.paths.complete_path(line, pos),
        }
    }
}

impl Hinter for EditorHelper {
    type Hint = String;
}

impl Highlighter for EditorHelper {
    /// Called whenever the line is drawn anew, with the cursor where the prompt begins.
    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(&'s self, prompt: &'p str, _: bool) -> Cow<'b, str> {
        let mut lines = self.above.take();
        if lines.is_empty() {
            return Cow::Borrowed(prompt);
        }
        lines.push_str(prompt);
        Cow::Owned(lines)
    }
}

impl Validator for EditorHelper {}
impl Helper for EditorHelper {}

/// What could stand at the end of what is typed.
#[derive(Debug, PartialEq, Eq)]
enum Candidates {
    /// From this byte on, one of these.
    Words(usize, Vec<String>),
    /// A path.
    Paths,
}

fn candidates(typed: &str, known: &Known) -> Candidates {
    let nothing = Candidates::Words(typed.len(), Vec::new());
    let Some(command) = typed.strip_prefix('/') else { return nothing };
    let Some((name, arguments)) = command.split_once(char::is_whitespace) else {
        let all = COMMANDS.iter().map(|entry| format!("/{} ", entry.name));
        return Candidates::Words(0, all.filter(|name| name.starts_with(typed)).collect());
    };
    let Ok(entry) = find(name) else { return nothing };
    let begun = arguments.rsplit([' ', ',']).next().unwrap_or_default();
    let start = typed.len() - begun.len();
    let begin = |words: &mut dyn Iterator<Item = String>| {
        Candidates::Words(start, words.filter(|word| word.starts_with(begun)).collect())
    };
    match entry.takes {
        Takes::Nothing => nothing,
        Takes::Names => begin(&mut known.names.iter().chain(&known.numbers).cloned()),
        Takes::Switch => begin(&mut ["on", "off"].into_iter().map(str::to_owned)),
        Takes::Status => begin(&mut Availability::ALL.iter().map(ToString::to_string)),
        Takes::Visibility => begin(&mut Visibility::ALL.iter().map(ToString::to_string)),
        Takes::Policy => begin(&mut ContactPolicy::ALL.iter().map(ToString::to_string)),
        Takes::Commands => begin(&mut COMMANDS.iter().map(|entry| entry.name.to_owned())),
        Takes::Paths => Candidates::Paths,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Known {
        Known {
            names: ["alice", "albert", "bob"].map(str::to_owned).into(),
            numbers: ["1".to_owned()].into(),
        }
    }

    fn words(typed: &str) -> (usize, Vec<String>) {
        match candidates(typed, &known()) {
            Candidates::Words(start, words) => (start, words),
            Candidates::Paths => panic!("paths"),
        }
    }

    #[test]
    fn commands_are_completed_at_the_beginning_only() {
        assert_eq!(words("/conn"), (0, vec!["/connect ".to_owned()]));
        assert_eq!(words("hello /conn").1, Vec::<String>::new());
    }

    #[test]
    fn names_are_completed_where_a_command_takes_them() {
        assert_eq!(words("/connect al"), (9, vec!["albert".to_owned(), "alice".to_owned()]));
        assert_eq!(words("/msg alice,b"), (11, vec!["bob".to_owned()]));
        assert_eq!(words("/info al").1, Vec::<String>::new());
        assert_eq!(words("/timestamps o").1, ["on", "off"]);
        assert_eq!(words("/status ").1, ["online", "away", "busy", "invisible"]);
        assert_eq!(words("/policy c").1, ["contacts"]);
    }

    #[test]
    fn paths_are_completed_for_files() {
        assert_eq!(candidates("/sendf so", &known()), Candidates::Paths);
        assert_eq!(candidates("/sen so", &known()), Candidates::Paths);
    }
}
