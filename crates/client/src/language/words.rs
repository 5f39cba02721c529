//! Arguments quoted as in a shell (POSIX.1-2024, XCU section 2.2): `'…'` takes everything as it is,
//! `"…"` all but a backslash before `"`, `\`, `$` or a backtick, a backslash outside takes the next
//! character as it is.

use std::path::{Path, PathBuf};

use p2pchat_engine::Failure;

/// One argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word {
    /// Without its quotes.
    pub(super) text: String,
    /// Whether it begins with `~` or `~/`, unquoted.
    tilde: bool,
}

impl Word {
    /// The word as a path, `~` replaced by `home` where there is one.
    pub(super) fn into_path(self, home: Option<&Path>) -> PathBuf {
        match home {
            Some(home) if self.tilde => {
                let below = self.text.trim_start_matches('~').trim_start_matches('/');
                if below.is_empty() { home.to_owned() } else { home.join(below) }
            }
            Some(_) | None => PathBuf::from(self.text),
        }
    }
}

/// The rest of a line, read word by word.
#[derive(Debug)]
pub(super) struct Words<'a> {
    left: &'a str,
}

impl<'a> Words<'a> {
    pub(super) fn new(line: &'a str) -> Self {
        Self { left: line }
    }

    /// The next word; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Word>, Failure> {
        self.left = self.left.trim_start();
        if self.left.is_empty() {
            return Ok(None);
        }
        let tilde = self.left.strip_prefix('~').is_some_and(|after| {
            after.is_empty() || after.starts_with('/') || after.starts_with(char::is_whitespace)
        });
        let mut text = String::new();
        let mut quote = None;
        let mut chars = self.left.char_indices();
        let end = loop {
            let Some((at, c)) = chars.next() else { break self.left.len() };
            match (quote, c) {
                (None, c) if c.is_whitespace() => break at,
                (None, '\'' | '"') => quote = Some(c),
                (Some(open), c) if open == c => quote = None,
                (None, '\\') => text.push(next_of(&mut chars)?),
                (Some('"'), '\\') => match next_of(&mut chars)? {
                    c @ ('"' | '\\' | '$' | '`') => text.push(c),
                    c => text.extend(['\\', c]),
                },
                (None | Some(_), c) => text.push(c),
            }
        };
        if let Some(open) = quote {
            return Err(Failure::Usage(format!("a quote {open} is not closed")));
        }
        self.left = self.left.get(end..).unwrap_or_default();
        Ok(Some(Word { text, tilde }))
    }

    /// Everything that is left, as it was typed.
    pub(super) fn rest(&mut self) -> &'a str {
        core::mem::take(&mut self.left).trim_start()
    }
}

fn next_of(chars: &mut core::str::CharIndices<'_>) -> Result<char, Failure> {
    match chars.next() {
        Some((_, c)) => Ok(c),
        None => Err(Failure::Usage("a backslash at the end of the line takes nothing".into())),
    }
}
