//! The command line: what may be typed, with its help.

mod global;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub use global::{Accept, Color, Global};

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
    #[command(after_help = "Example:\n  p2pchat --name alice id --qr")]
    Id(Id),
    /// Show who is there
    #[command(after_help = "Example:\n  p2pchat list --prefix al")]
    List(List),
    /// Ask somebody for a chat, and talk
    #[command(after_help = "Examples:\n  \
        p2pchat --name bob connect --to alice\n  \
        echo 'dinner at eight?' | p2pchat connect --to alice\n  \
        p2pchat connect --to alice --file song.mp3")]
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
pub struct Id {
    /// Show the id as a QR code, too
    #[arg(long)]
    pub qr: bool,
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
    /// Whom to ask: a name, or an id of 52 characters
    #[arg(long, value_name = "NAME|ID")]
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
    /// To whom: names or ids, separated by commas; may repeat
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Wait {
    /// Handed to a session
    Sent,
    /// Kept by the other side
    Stored,
    /// Shown to the other side
    Read,
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
