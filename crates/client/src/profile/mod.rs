//! What one user keeps on this machine: the identity, the known brokers, people.
//!
//! # Where
//!
//! With `--home DIR` everything is in `DIR`. Otherwise each profile has a directory of its own in the
//! user's data directory (XDG base directories: `~/.local/share/p2pchat/profiles/NAME`), and the
//! configuration, which all profiles share, is in the configuration directory
//! (`~/.config/p2pchat`). An anonymous client has no directory and keeps nothing.
//!
//! | file | what it is | who may read it |
//! | --- | --- | --- |
//! | `identity.key` | the sealed seed, see [`p2pchat_crypto::keyfile`] | the owner only, else it is refused |
//! | `papers` | sealed: name, port, brokers, people, see [`Papers`] | |
//! | `store.redb` | sealed: conversations, see [`crate::store`] | |
//! | `control.sock` | while a chat is open, for the user's other processes | the owner only |
//! | `lock` | empty; locked by the process that uses the profile, see [`ProfileLock`] | |
//! | `config.toml` | the configuration, where it is not in a directory of its own | |
//!
//! # How
//!
//! Directories are made with mode 0700, files with 0600. A directory or a file that somebody else
//! owns or may write to is refused, and so is a symbolic link in place of a file: what is in these
//! files decides whom the user trusts. Nothing is written in place: new content goes to a file
//! beside the old one, is synced, and takes its name in one step, so that a crash leaves either the
//! old content or the new one. What a crash leaves beside it (`*.tmp`) goes when the profile is
//! locked the next time. Every file is bounded when it is read.

mod brokers;
mod contacts;
mod decision;
mod disk;
mod everybody;
mod exported;
mod former;
mod home;
mod identity;
mod lock;
mod marks;
mod merging;
mod papers;
mod pins;
mod succession;
mod text;

pub use brokers::{BROKERS_MAX, KnownBrokers};
pub use decision::Decision;
pub use everybody::Acquaintance;
pub use exported::Exported;
pub use home::{Home, Profiles};
pub use lock::ProfileLock;
pub use marks::{MARKS_MAX, Marks};
pub use merging::Imported;
pub use papers::Papers;
pub use pins::{PINS_MAX, Pin, Pins};
pub use succession::Rotation;
