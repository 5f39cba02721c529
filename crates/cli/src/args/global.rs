//! Flags that stand before or after any command. Each has a key of the same name in the config file
//! (with `_` for `-`); the flag counts over the environment, and that over the file.

use core::net::SocketAddr;
use std::path::PathBuf;

use clap::{ArgAction, Args, ValueEnum};
use p2pchat_client::{AcceptPolicy, BrokerAddress};
use p2pchat_proto::Name;
use serde::Deserialize;

use crate::span::Lifetime;

/// See the module.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Everything of one profile in one directory
    #[arg(long, global = true, value_name = "DIR", env = "P2PCHAT_HOME", hide_env_values = true)]
    pub home: Option<PathBuf>,
    /// My name; without --home it selects the profile of that name and makes it if absent
    #[arg(long, global = true, value_name = "NAME", env = "P2PCHAT_NAME", hide_env_values = true)]
    pub name: Option<Name>,
    /// A one-time identity in memory, called guest-xxxxxx; nothing is kept
    #[arg(long, global = true, conflicts_with_all = ["home", "name"])]
    pub anonymous: bool,
    /// The broker; with #KEY it must have that key [default: 127.0.0.1:7770]
    #[arg(
        long,
        global = true,
        value_name = "HOST:PORT[#KEY]",
        env = "P2PCHAT_BROKER",
        hide_env_values = true
    )]
    pub broker: Option<BrokerAddress>,
    /// Lines of text, also on a terminal
    #[arg(long, global = true, conflicts_with = "json")]
    pub plain: bool,
    /// One JSON object a line, in both directions
    #[arg(long, global = true)]
    pub json: bool,
    /// No notices on standard error, only errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Show more: receipts on the screen, details in the log; twice for packets in the log
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
    /// Write a log to this file
    #[arg(long, global = true, value_name = "FILE", env = "P2PCHAT_LOG", hide_env_values = true)]
    pub log: Option<PathBuf>,
    /// Colours on a terminal [default: auto]; NO_COLOR is honoured
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "WHEN",
        env = "P2PCHAT_COLOR",
        hide_env_values = true
    )]
    pub color: Option<Color>,
    /// UDP address to listen on; may repeat [default: all interfaces, the port of last time]
    #[arg(
        long,
        global = true,
        value_name = "ADDR:PORT",
        env = "P2PCHAT_BIND",
        value_delimiter = ',',
        hide_env_values = true
    )]
    pub bind: Vec<SocketAddr>,
    /// UDP address to announce instead of what was found; may repeat
    #[arg(
        long,
        global = true,
        value_name = "ADDR:PORT",
        env = "P2PCHAT_ADVERTISE",
        value_delimiter = ',',
        hide_env_values = true
    )]
    pub advertise: Vec<SocketAddr>,
    /// TCP address to listen on for files; may repeat
    #[arg(
        long,
        global = true,
        value_name = "ADDR:PORT",
        env = "P2PCHAT_BIND_TCP",
        value_delimiter = ',',
        hide_env_values = true
    )]
    pub bind_tcp: Vec<SocketAddr>,
    /// TCP address to announce for files instead of what was found; may repeat
    #[arg(
        long,
        global = true,
        value_name = "ADDR:PORT",
        env = "P2PCHAT_ADVERTISE_TCP",
        value_delimiter = ',',
        hide_env_values = true
    )]
    pub advertise_tcp: Vec<SocketAddr>,
    /// Whose chat requests to accept [default: ask where somebody can answer, else contacts]
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "WHOSE",
        env = "P2PCHAT_ACCEPT",
        hide_env_values = true
    )]
    pub accept: Option<Accept>,
    /// Talk only to people whose key was compared with `contacts verify`
    #[arg(long, global = true, env = "P2PCHAT_REQUIRE_VERIFIED", hide_env_values = true)]
    pub require_verified: bool,
    /// Whether to tell others that their messages were read [default: on]
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "WHETHER",
        env = "P2PCHAT_READ_RECEIPTS",
        hide_env_values = true
    )]
    pub read_receipts: Option<Switch>,
    /// Give up what waits for somebody for longer than this: 12h, 30d, 4w, or never [default: never]
    #[arg(long, global = true, value_name = "TIME", env = "P2PCHAT_EXPIRE", hide_env_values = true)]
    pub expire: Option<Lifetime>,
    /// Whose files to take [default: ask; connect takes those of the person it connected to]
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "WHOSE",
        env = "P2PCHAT_ACCEPT_FILES",
        hide_env_values = true
    )]
    pub accept_files: Option<Accept>,
    /// Where files go [default: downloads in --home, else the download directory]
    #[arg(long, global = true, value_name = "DIR", env = "P2PCHAT_DOWNLOAD_DIR", hide_env_values = true)]
    pub download_dir: Option<PathBuf>,
    /// Read the passphrase of the key from the first line of this file
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "P2PCHAT_PASSPHRASE_FILE",
        conflicts_with = "passphrase_fd",
        hide_env_values = true
    )]
    pub passphrase_file: Option<PathBuf>,
    /// Read the passphrase of the key from the first line of this file descriptor
    #[arg(long, global = true, value_name = "N")]
    pub passphrase_fd: Option<u32>,
    /// Seconds that connect waits for deliveries at the end of its input [default: 30]
    #[arg(long, global = true, value_name = "S", env = "P2PCHAT_LINGER", hide_env_values = true)]
    pub linger: Option<u32>,
    /// Seconds that connect and send wait for an answer [default: 60]
    #[arg(long, global = true, value_name = "S", env = "P2PCHAT_TIMEOUT", hide_env_values = true)]
    pub timeout: Option<u32>,
}

/// Whom to let do something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accept {
    /// Everybody, without making them contacts
    Everyone,
    /// Contacts; others are refused
    Contacts,
    /// I am asked
    Ask,
    /// Nobody
    Nobody,
}

impl From<Accept> for AcceptPolicy {
    fn from(accept: Accept) -> Self {
        match accept {
            Accept::Everyone => Self::Everyone,
            Accept::Contacts => Self::Contacts,
            Accept::Ask => Self::Ask,
            Accept::Nobody => Self::Nobody,
        }
    }
}

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// Yes
    On,
    /// No
    Off,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}
