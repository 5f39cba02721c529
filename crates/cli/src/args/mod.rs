//! The command line: what may be typed, with its help.

mod global;

use core::str::FromStr;
use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::{Deserialize, Serialize};

use p2pchat_proto::standing::NoSuchWord;
use p2pchat_proto::{Availability, ContactPolicy, Name, PeerId, Visibility as Seen};

use crate::span::Lifetime;

pub use global::{Accept, Color, Global, Switch};

/// Everything of one call.
#[derive(Debug, Parser)]
#[command(
    name = "p2pchat",
    version,
    about = "Encrypted chat and file transfer between two machines, introduced by a broker that reads nothing",
    disable_help_subcommand = true,
    infer_subcommands = false,
    after_help = "Examples:\n  \
        p2pchat --name alice listen\n  \
        p2pchat --name bob connect --to alice\n\n\
        Exit codes: 0 done, 1 failed here, 2 wrong usage, 3 no broker, 4 not allowed or not there,\n\
        5 no answer in time, 6 trust, 7 only part delivered, 8 file not transferred, 130 interrupted,\n\
        143 terminated."
)]
pub struct Cli {
    /// Flags before or after the command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make the identity of a profile
    #[command(after_help = "Example:\n  p2pchat --name alice init --no-passphrase")]
    Init(Init),
    /// Show my id, name, broker and safety words
    #[command(after_help = "Examples:\n  \
        p2pchat --name alice id --qr\n  \
        p2pchat --broker broker.example:7770 id --invite\n  \
        p2pchat --name alice id export alice.export")]
    Id(Id),
    /// Show who is there
    #[command(after_help = "Example:\n  p2pchat list --prefix al")]
    List(List),
    /// Ask somebody for a chat, and talk
    #[command(after_help = "Examples:\n  \
        p2pchat --name bob connect --to alice\n  \
        echo 'dinner at eight?' | p2pchat connect --to alice\n  \
        p2pchat connect --to alice --file song.mp3\n  \
        p2pchat connect --to p2pchat://broker.example:7770/#...")]
    Connect(Connect),
    /// Wait for people who want to talk, for as long as it runs
    #[command(after_help = "Example:\n  p2pchat --name alice listen --accept everyone")]
    Listen,
    /// Deliver a message or files to one or more people, and end
    #[command(after_help = "Examples:\n  \
        p2pchat send --to alice,carol -m 'see you at noon'\n  \
        p2pchat send --to alice song.mp3\n  \
        date | p2pchat send --to alice -m -")]
    Send(Send),
    /// Show, search, export or forget what was said
    #[command(after_help = "Examples:\n  \
        p2pchat history show --with alice --limit 20\n  \
        p2pchat history search dinner eight\n  \
        p2pchat history export --with alice --format markdown > alice.md\n  \
        p2pchat history forget --with alice")]
    History(History),
    /// Show whether the key has a passphrase, set, change or remove it
    #[command(after_help = "Examples:\n  \
        p2pchat passphrase\n  \
        p2pchat passphrase set\n  \
        p2pchat --passphrase-file old.txt passphrase set --new-file new.txt\n  \
        p2pchat passphrase remove")]
    Passphrase(Passphrase),
    /// Show and change whom I know: names, blocks, compared keys
    #[command(after_help = "Examples:\n  \
        p2pchat contacts\n  \
        p2pchat contacts verify alice\n  \
        p2pchat contacts block mallory")]
    Contacts(Contacts),
    /// Show how everything is, and what others see of me; change that
    #[command(after_help = "Examples:\n  \
        p2pchat status\n  \
        p2pchat status away\n  \
        p2pchat status invisible")]
    Status(Status),
    /// Show or change who sees that I am there
    #[command(after_help = "Example:\n  p2pchat visibility contacts")]
    Visibility(Visibility),
    /// Show or change who may ask me for a chat
    #[command(after_help = "Example:\n  p2pchat policy contacts")]
    Policy(Policy),
    /// Show files that are on their way, end one, remove what was left half done
    #[command(after_help = "Examples:\n  \
        p2pchat transfers\n  \
        p2pchat transfers cancel 1\n  \
        p2pchat transfers clean --older-than 2d")]
    Transfers(Transfers),
    /// Look at everything that can go wrong, and say what to do; with a name, try a session
    #[command(after_help = "Examples:\n  \
        p2pchat doctor\n  \
        p2pchat doctor alice")]
    Doctor(Doctor),
    /// Write shell completions to standard output
    #[command(
        after_help = "Example:\n  p2pchat completions bash > ~/.local/share/bash-completion/completions/p2pchat"
    )]
    Completions(Completions),
    /// Write manual pages into a directory
    #[command(after_help = "Example:\n  p2pchat man ~/.local/share/man/man1")]
    Man(Man),
}

/// `init`
#[derive(Debug, Args)]
pub struct Init {
    /// Do not ask for a passphrase; the file's mode alone protects the key
    #[arg(long)]
    pub no_passphrase: bool,
}

/// `id`
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Id {
    /// Take the identity elsewhere, or from there, or another key; shows it without
    #[command(subcommand)]
    pub what: Option<IdWhat>,
    /// Show the id, or the invitation, as a QR code, too
    #[arg(long)]
    pub qr: bool,
    /// One line for somebody whom to talk to: the broker with its key, and me with mine
    #[arg(long)]
    pub invite: bool,
}

/// What to do with the identity.
#[derive(Debug, Subcommand)]
pub enum IdWhat {
    /// Seal it under a passphrase into a new file
    #[command(after_help = "Example:\n  p2pchat --name alice id export alice.export")]
    Export(Elsewhere),
    /// Make a profile out of such a file, on another machine or again on this one
    #[command(after_help = "Example:\n  p2pchat id import alice.export")]
    Import(Elsewhere),
    /// Take a new key in the place of the old one; contacts follow, as both keys sign that
    #[command(after_help = "Examples:\n  \
        p2pchat --name alice id rotate\n  \
        p2pchat --broker broker.example:7770 id rotate --yes\n\n\
        The broker must be reachable and no chat open. A try that fails is gone on with by the next one.")]
    Rotate(Rotate),
}

/// `id rotate`
#[derive(Debug, Args)]
pub struct Rotate {
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
}

/// A file that goes from one machine to another.
#[derive(Debug, Args)]
pub struct Elsewhere {
    /// Which file
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Read the passphrase of the file from the first line of this one
    #[arg(long, value_name = "FILE", conflicts_with = "export_passphrase_fd")]
    pub export_passphrase_file: Option<PathBuf>,
    /// Read the passphrase of the file from the first line of this file descriptor
    #[arg(long, value_name = "N")]
    pub export_passphrase_fd: Option<u32>,
}

/// `list`
#[derive(Debug, Args)]
pub struct List {
    /// Contacts who are not there, too
    #[arg(long)]
    pub all: bool,
    /// Only names that begin so
    #[arg(long, value_name = "P", default_value = "", hide_default_value = true)]
    pub prefix: String,
}

/// `connect`
#[derive(Debug, Args)]
pub struct Connect {
    /// Whom to ask: a name, an id of 52 characters, or an invitation of `id --invite`
    #[arg(long, value_name = "NAME|ID|INVITE")]
    pub to: String,
    /// A message to send first
    #[arg(long, value_name = "TEXT")]
    pub message: Option<String>,
    /// A file to send first; may repeat
    #[arg(long, value_name = "PATH")]
    pub file: Vec<PathBuf>,
}

/// `send`
#[derive(Debug, Args)]
pub struct Send {
    /// To whom: names, ids or invitations, separated by commas; may repeat
    #[arg(long, value_name = "NAME[,NAME...]", value_delimiter = ',', required = true)]
    pub to: Vec<String>,
    /// The message; - reads it from standard input
    #[arg(short, long, value_name = "TEXT")]
    pub message: Option<String>,
    /// How far a message has to get
    #[arg(long, value_enum, default_value_t = Wait::Stored)]
    pub wait: Wait,
    /// Files to send
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

/// How far a message has to get before `send` is content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Wait {
    /// Handed to a session
    Sent,
    /// Kept by the other side
    Stored,
    /// Shown to the other side
    Read,
}

/// `history`
#[derive(Debug, Args)]
pub struct History {
    /// What to do with it
    #[command(subcommand)]
    pub what: HistoryWhat,
}

/// What to do with what was said.
#[derive(Debug, Subcommand)]
pub enum HistoryWhat {
    /// The last messages
    Show(HistoryRange),
    /// Messages that contain all words, whatever their case
    Search {
        /// What to look for
        #[arg(value_name = "WORD", required = true)]
        words: Vec<String>,
        /// Where, and how many
        #[command(flatten)]
        range: HistoryRange,
    },
    /// Write a conversation to standard output
    Export {
        /// Whose: a name, or an id of 52 characters
        #[arg(long, value_name = "NAME|ID")]
        with: String,
        /// As what: text by default, in JSON mode one object a line
        #[arg(long, value_enum)]
        format: Option<Format>,
    },
    /// For whom messages wait, how many, and since when
    Waiting,
    /// How long messages of a conversation are kept; what is older is removed, but nothing that waits
    Keep {
        /// Whose: a name, or an id of 52 characters
        #[arg(long, value_name = "NAME|ID")]
        with: String,
        /// From now on so long: 12h, 30d, 4w, or forever. Shows it without
        #[arg(value_name = "TIME")]
        time: Option<Lifetime>,
    },
    /// Remove a conversation from this machine, with what still waits to be delivered
    Forget {
        /// Whose: a name, or an id of 52 characters
        #[arg(long, value_name = "NAME|ID")]
        with: String,
        /// Only what was kept before: 2026-11-20, 2026-11-20T10:00:00Z, or 3h, 2d, 4w ago. What waits stays
        #[arg(long, value_name = "TIME")]
        older_than: Option<String>,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

/// Which messages.
#[derive(Debug, Args)]
pub struct HistoryRange {
    /// Only the conversation with this person: a name, or an id of 52 characters
    #[arg(long, value_name = "NAME|ID")]
    pub with: Option<String>,
    /// Only what was kept since then: 2026-11-20, 2026-11-20T10:00:00Z, or 3h, 2d, 4w ago
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// At most so many of each conversation
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub limit: usize,
}

/// What an export is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One line a message, as on the screen
    Text,
    /// For a page that people read
    Markdown,
    /// One object a line, as in JSON mode
    Json,
}

/// `passphrase`
#[derive(Debug, Args)]
pub struct Passphrase {
    /// What to do with it; without this, whether there is one is shown
    #[command(subcommand)]
    pub what: Option<PassphraseWhat>,
}

/// What to do with the passphrase.
#[derive(Debug, Subcommand)]
pub enum PassphraseWhat {
    /// Set or change it: asked for on a terminal
    Set {
        /// Read the new one from the first line of this file
        #[arg(long, value_name = "FILE", conflicts_with = "new_fd")]
        new_file: Option<PathBuf>,
        /// Read the new one from the first line of this file descriptor
        #[arg(long, value_name = "N")]
        new_fd: Option<u32>,
    },
    /// Remove it: the file's mode alone protects the key then
    Remove,
}

/// `contacts`
#[derive(Debug, Args)]
pub struct Contacts {
    /// What to do with them; shows them without
    #[command(subcommand)]
    pub what: Option<ContactsWhat>,
}

/// What to do with contacts.
#[derive(Debug, Subcommand)]
pub enum ContactsWhat {
    /// Everybody who is known
    List,
    /// Keep the identity of somebody who told it another way than by the broker
    Add {
        /// The name at the broker
        #[arg(value_name = "NAME")]
        registered: Name,
        /// The id, of 52 characters
        #[arg(value_name = "ID")]
        id: PeerId,
    },
    /// Call somebody otherwise; the name at the broker takes it back
    Rename {
        /// Whom: a name, or an id of 52 characters
        #[arg(value_name = "NAME|ID")]
        who: String,
        /// The new name
        #[arg(value_name = "NEW")]
        petname: Name,
    },
    /// Forget somebody, who is a stranger from then on
    Remove {
        /// Whom: a name, or an id of 52 characters
        #[arg(value_name = "NAME|ID")]
        who: String,
    },
    /// Take nothing more from somebody, known or not, and send them nothing
    Block {
        /// Whom: a name, or an id of 52 characters
        #[arg(value_name = "NAME|ID")]
        who: String,
    },
    /// Take a block back
    Unblock {
        /// Whom: a name, or an id of 52 characters
        #[arg(value_name = "NAME|ID")]
        who: String,
    },
    /// Show the number to compare with somebody, and keep that it was the same
    Verify {
        /// Whose: a name, or an id of 52 characters
        #[arg(value_name = "NAME|ID")]
        who: String,
        /// It was the same; do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Seal them under a passphrase into a new file, with what was decided about them
    Export(Elsewhere),
    /// Take those in such a file who are not known yet; nobody who is known is replaced
    Import(Elsewhere),
    /// Take another key in the place of the known one of a name
    Trust {
        /// The name at the broker
        #[arg(value_name = "NAME")]
        registered: Name,
        /// The new id, of 52 characters
        #[arg(value_name = "ID")]
        id: PeerId,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

/// `status`
#[derive(Debug, Args)]
pub struct Status {
    /// What others see from now on; while I am invisible, nobody is answered
    #[arg(value_name = "STATUS", value_parser = one_of(Availability::ALL, Availability::as_str))]
    pub status: Option<Availability>,
}

/// `visibility`
#[derive(Debug, Args)]
pub struct Visibility {
    /// Who sees that I am there, from now on; public puts me into the directory
    #[arg(value_name = "VISIBILITY", value_parser = one_of(Seen::ALL, Seen::as_str))]
    pub visibility: Option<Seen>,
}

/// `policy`
#[derive(Debug, Args)]
pub struct Policy {
    /// Whose requests the broker passes on, from now on
    #[arg(value_name = "POLICY", value_parser = one_of(ContactPolicy::ALL, ContactPolicy::as_str))]
    pub policy: Option<ContactPolicy>,
}

/// `transfers`
#[derive(Debug, Args)]
pub struct Transfers {
    /// What to do with them; shows them without
    #[command(subcommand)]
    pub what: Option<TransfersWhat>,
}

/// What to do with transfers.
#[derive(Debug, Subcommand)]
pub enum TransfersWhat {
    /// Those that run, and what is left of others in the download directory
    List,
    /// Go on with one: those that run go on by themselves, the others have to be sent again
    Resume {
        /// Its number
        #[arg(value_name = "N")]
        what: String,
    },
    /// End one that runs
    Cancel {
        /// Its number
        #[arg(value_name = "N")]
        number: u32,
    },
    /// Remove what is left half done in the download directory, and nobody writes
    Clean {
        /// Only what was written last before: 2026-11-20, 2026-11-20T10:00:00Z, or 3h, 2d, 4w ago
        #[arg(long, value_name = "TIME")]
        older_than: Option<String>,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

/// `doctor`
#[derive(Debug, Args)]
pub struct Doctor {
    /// Try a session with this person, too: a name, or an id of 52 characters
    #[arg(value_name = "NAME|ID")]
    pub who: Option<String>,
}

/// One of these words, which completions and help know, too.
fn one_of<T>(all: &'static [T], word: fn(T) -> &'static str) -> impl TypedValueParser<Value = T>
where
    T: FromStr<Err = NoSuchWord> + Copy + core::marker::Send + Sync + 'static,
{
    PossibleValuesParser::new(all.iter().map(|one| word(*one))).try_map(|typed| typed.parse::<T>())
}

/// `completions`
#[derive(Debug, Args)]
pub struct Completions {
    /// For which shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

/// `man`
#[derive(Debug, Args)]
pub struct Man {
    /// Where to; made where it is missing
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
}
