//! The language of a chat: one line in, one [`Input`] out.
//!
//! Plain mode, JSON mode and whatever comes after them speak it alike. What does not begin with `/`
//! is text; `//` gives a text that begins with one. A command may be shortened while it stays
//! unique, and one that does not exist is a failure, never a text. Arguments are quoted as in a
//! shell ([`words`]); what a person says, the text of `/msg` and the reason of `/decline`, is taken
//! as it was typed, to the end of the line.

mod command;
mod words;

use core::str::FromStr;
use std::path::{Path, PathBuf};

use p2pchat_engine::{Failure, TransferNumber};
use p2pchat_proto::limits::TEXT_MAX;
use p2pchat_proto::{Name, StandingChange};

pub use command::{COMMANDS, Entry, Takes, Verb};
use words::Words;

/// Similarity from which a command counts as what was meant, 0 to 1
/// (normalised Damerau-Levenshtein: half of the letters in their places).
const NEAREST_SIMILARITY: f64 = 0.5;

/// Messages that `/history` shows without a number: about a screen.
pub const HISTORY_DEFAULT: usize = 20;
/// Most messages that `/history` shows; `p2pchat history show` has no limit.
pub const HISTORY_MAX: usize = 500;

/// The word that confirms.
const YES: &str = "yes";

/// What a line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Nothing.
    Empty,
    /// A message.
    Text(String),
    /// A command.
    Slash(Slash),
}

/// A command with its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Slash {
    /// `/help [TOPIC]`
    Help(Option<&'static Entry>),
    /// `/who`, `/refresh`
    Who,
    /// `/connect NAME`
    Connect(String),
    /// `/accept [NAME|N] [--once]`
    Accept {
        /// A chat by name, a file by number; the only open one without.
        what: Option<String>,
        /// Do not make the other a contact.
        once: bool,
    },
    /// `/decline [NAME|N] [REASON]`
    Decline {
        /// The first word, which may name what is declined or begin the reason.
        first: Option<String>,
        /// What follows the first word.
        rest: String,
        /// Both, as typed.
        whole: String,
    },
    /// `/requests`
    Requests,
    /// `/switch NAME|N`
    Switch(String),
    /// `/back`
    Back,
    /// `/close [NAME]`
    Close(Option<String>),
    /// `/quit`
    Quit,
    /// `/sendf PATH…`
    SendFiles(Vec<PathBuf>),
    /// `/files`
    Files,
    /// `/save N [DIR]`
    Save {
        /// Which.
        transfer: TransferNumber,
        /// Where to.
        dir: Option<PathBuf>,
    },
    /// `/cancel [N|NAME]`
    Cancel(Option<String>),
    /// `/msg NAME[,NAME…] TEXT`
    Message {
        /// To whom.
        to: Vec<String>,
        /// What.
        text: String,
    },
    /// `/history [N]`
    History {
        /// At most so many.
        limit: usize,
    },
    /// `/search WORD…`
    Search(Vec<String>),
    /// `/waiting`
    Waiting,
    /// `/retry [NAME]`
    Retry(Option<String>),
    /// `/block NAME`
    Block(String),
    /// `/unblock NAME`
    Unblock(String),
    /// `/verify [NAME] [yes]`
    Verify {
        /// With whom; whom one talks to without.
        who: Option<String>,
        /// The numbers were the same.
        yes: bool,
    },
    /// `/trust NAME yes`
    Trust(Name),
    /// `/status`, `/visibility`, `/policy`; without a word nothing changes
    Stand(StandingChange),
    /// `/info`
    Info,
    /// `/id`
    Id,
    /// `/timestamps on|off`
    Timestamps(bool),
    /// `/read-receipts on|off`
    ReadReceipts(bool),
    /// `/typing [NAME]`
    Typing(Option<String>),
    /// `/clear`
    Clear,
}

/// Reads one line. `home` is what a leading `~` in a path stands for.
///
/// # Errors
///
/// [`Failure::TooLong`], [`Failure::UnknownCommand`], and [`Failure::Usage`] for everything that
/// cannot be understood: nothing of the line is done then.
pub fn parse(line: &str, home: Option<&Path>) -> Result<Input, Failure> {
    no_nul(line)?;
    if line.trim().is_empty() {
        return Ok(Input::Empty);
    }
    let Some(command) = line.strip_prefix('/') else {
        return text(line).map(Input::Text);
    };
    if command.starts_with('/') {
        return text(command).map(Input::Text);
    }
    let (typed, rest) = match command.split_once(char::is_whitespace) {
        Some((typed, rest)) => (typed, rest.trim_start()),
        None => (command, ""),
    };
    let entry = find(typed)?;
    Arguments { entry, home, words: Words::new(rest) }.parse().map(Input::Slash)
}

/// What may be sent as one message.
///
/// # Errors
///
/// [`Failure::TooLong`] past 64 KiB; [`Failure::Usage`] where nothing is left to send, or there is a
/// NUL in it.
pub fn check_text(message: &str) -> Result<String, Failure> {
    no_nul(message)?;
    if message.trim().is_empty() {
        return Err(Failure::Usage("the message is empty".into()));
    }
    text(message)
}

/// The command that `typed` names or shortens.
///
/// # Errors
///
/// [`Failure::UnknownCommand`] with the nearest one; [`Failure::Usage`] if several begin so.
pub fn find(typed: &str) -> Result<&'static Entry, Failure> {
    let typed = typed.to_ascii_lowercase();
    if let Some(entry) = COMMANDS.iter().find(|entry| entry.name == typed) {
        return Ok(entry);
    }
    let starts: Vec<_> = COMMANDS.iter().filter(|entry| entry.name.starts_with(typed.as_str())).collect();
    match starts.as_slice() {
        [only] => Ok(only),
        [] => Err(Failure::UnknownCommand { nearest: nearest(&typed), typed }),
        several => {
            let names: Vec<_> = several.iter().map(|entry| format!("/{}", entry.name)).collect();
            Err(Failure::Usage(format!("/{typed} is short for several commands: {}", names.join(", "))))
        }
    }
}

fn nearest(typed: &str) -> Option<&'static str> {
    COMMANDS
        .iter()
        .map(|entry| (strsim::normalized_damerau_levenshtein(entry.name, typed), entry.name))
        .filter(|(similarity, _)| *similarity >= NEAREST_SIMILARITY)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, name)| name)
}

fn no_nul(text: &str) -> Result<(), Failure> {
    if text.contains('\0') {
        return Err(Failure::Usage("there is a NUL character in it; nothing was sent".into()));
    }
    Ok(())
}

fn text(text: &str) -> Result<String, Failure> {
    if text.len() > TEXT_MAX {
        return Err(Failure::TooLong { len: text.len(), max: TEXT_MAX });
    }
    Ok(text.to_owned())
}

/// What follows a command.
struct Arguments<'a> {
    entry: &'static Entry,
    home: Option<&'a Path>,
    words: Words<'a>,
}

impl Arguments<'_> {
    fn parse(mut self) -> Result<Slash, Failure> {
        let slash = match self.entry.verb {
            Verb::Help => Slash::Help(self.topic()?),
            Verb::Who | Verb::Refresh => Slash::Who,
            Verb::Connect => Slash::Connect(self.required()?),
            Verb::Accept => self.accept()?,
            Verb::Decline => self.decline()?,
            Verb::Requests => Slash::Requests,
            Verb::Switch => Slash::Switch(self.required()?),
            Verb::Back => Slash::Back,
            Verb::Close => Slash::Close(self.optional()?),
            Verb::Quit => Slash::Quit,
            Verb::SendFile => Slash::SendFiles(self.paths()?),
            Verb::Files => Slash::Files,
            Verb::Save => Slash::Save { transfer: self.number()?, dir: self.path()? },
            Verb::Cancel => Slash::Cancel(self.optional()?),
            Verb::Message => self.message()?,
            Verb::History => Slash::History { limit: self.limit()? },
            Verb::Search => Slash::Search(self.search_words()?),
            Verb::Waiting => Slash::Waiting,
            Verb::Retry => Slash::Retry(self.optional()?),
            Verb::Block => Slash::Block(self.required()?),
            Verb::Unblock => Slash::Unblock(self.required()?),
            Verb::Verify => self.verify()?,
            Verb::Trust => self.trust()?,
            Verb::Status => {
                Slash::Stand(StandingChange { status: self.word()?, ..StandingChange::default() })
            }
            Verb::Visibility => {
                Slash::Stand(StandingChange { visibility: self.word()?, ..StandingChange::default() })
            }
            Verb::Policy => {
                Slash::Stand(StandingChange { policy: self.word()?, ..StandingChange::default() })
            }
            Verb::Info => Slash::Info,
            Verb::Id => Slash::Id,
            Verb::Timestamps => Slash::Timestamps(self.on_or_off()?),
            Verb::ReadReceipts => Slash::ReadReceipts(self.on_or_off()?),
            Verb::Typing => Slash::Typing(self.optional()?),
            Verb::Clear => Slash::Clear,
        };
        match self.words.next()? {
            None => Ok(slash),
            Some(_) => Err(self.usage()),
        }
    }

    fn usage(&self) -> Failure {
        Failure::Usage(format!("usage: {}", self.entry.usage))
    }

    fn optional(&mut self) -> Result<Option<String>, Failure> {
        Ok(self.words.next()?.map(|word| word.text))
    }

    fn required(&mut self) -> Result<String, Failure> {
        self.optional()?.ok_or_else(|| self.usage())
    }

    fn path(&mut self) -> Result<Option<PathBuf>, Failure> {
        Ok(self.words.next()?.map(|word| word.into_path(self.home)))
    }

    fn paths(&mut self) -> Result<Vec<PathBuf>, Failure> {
        let mut paths = Vec::new();
        while let Some(path) = self.path()? {
            paths.push(path);
        }
        if paths.is_empty() { Err(self.usage()) } else { Ok(paths) }
    }

    fn number(&mut self) -> Result<TransferNumber, Failure> {
        let number = self.required()?;
        number.parse().map(TransferNumber).map_err(|_| self.usage())
    }

    fn limit(&mut self) -> Result<usize, Failure> {
        let Some(number) = self.optional()? else { return Ok(HISTORY_DEFAULT) };
        number.parse().ok().filter(|limit| (1..=HISTORY_MAX).contains(limit)).ok_or_else(|| {
            Failure::Usage(format!("usage: {}, where N is from 1 to {HISTORY_MAX}", self.entry.usage))
        })
    }

    fn search_words(&mut self) -> Result<Vec<String>, Failure> {
        let mut words = vec![self.required()?];
        while let Some(word) = self.optional()? {
            words.push(word);
        }
        Ok(words)
    }

    fn on_or_off(&mut self) -> Result<bool, Failure> {
        match self.required()?.as_str() {
            "on" => Ok(true),
            "off" => Ok(false),
            _ => Err(self.usage()),
        }
    }

    /// One of the words there are, if any.
    fn word<T: FromStr>(&mut self) -> Result<Option<T>, Failure> {
        let word = self.optional()?;
        word.map(|word| word.parse().map_err(|_| self.usage())).transpose()
    }

    fn topic(&mut self) -> Result<Option<&'static Entry>, Failure> {
        let Some(topic) = self.optional()? else { return Ok(None) };
        find(topic.trim_start_matches('/')).map(Some)
    }

    fn accept(&mut self) -> Result<Slash, Failure> {
        let (mut what, mut once) = (None, false);
        while let Some(word) = self.optional()? {
            match word.as_str() {
                "--once" if !once => once = true,
                _ if what.is_none() && !word.starts_with("--") => what = Some(word),
                _ => return Err(self.usage()),
            }
        }
        Ok(Slash::Accept { what, once })
    }

    /// Takes what is left as it was typed: an apostrophe in a reason is no quote.
    fn decline(&mut self) -> Result<Slash, Failure> {
        let whole = text(self.words.rest().trim_end())?;
        let (first, rest) = match whole.split_once(char::is_whitespace) {
            Some((first, rest)) => (first, rest.trim_start()),
            None => (whole.as_str(), ""),
        };
        let first = (!first.is_empty()).then(|| first.to_owned());
        Ok(Slash::Decline { first, rest: rest.to_owned(), whole })
    }

    fn verify(&mut self) -> Result<Slash, Failure> {
        let (first, second) = (self.optional()?, self.optional()?);
        match (first, second.as_deref()) {
            (Some(yes), None) if yes == YES => Ok(Slash::Verify { who: None, yes: true }),
            (who, None) => Ok(Slash::Verify { who, yes: false }),
            (who, Some(YES)) => Ok(Slash::Verify { who, yes: true }),
            (_, Some(_)) => Err(self.usage()),
        }
    }

    /// Not by a slip: the word has to be there.
    fn trust(&mut self) -> Result<Slash, Failure> {
        let name: Name = self.required()?.parse().map_err(|_| self.usage())?;
        match self.optional()?.as_deref() {
            Some(YES) => Ok(Slash::Trust(name)),
            None => Err(Failure::Usage(format!(
                "ask {name} another way whether the new id is theirs; if it is: /trust {name} {YES}"
            ))),
            Some(_) => Err(self.usage()),
        }
    }

    fn message(&mut self) -> Result<Slash, Failure> {
        let to: Vec<_> = self.required()?.split(',').map(|name| name.trim().to_owned()).collect();
        let text = text(self.words.rest())?;
        if text.trim().is_empty() || to.iter().any(String::is_empty) {
            return Err(self.usage());
        }
        Ok(Slash::Message { to, text })
    }
}

#[cfg(test)]
mod tests;
