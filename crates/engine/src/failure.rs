//! What can go wrong for a user, with its code, its exit status and what to do about it.
//!
//! One table for every front end, [`Code::ALL`]; `docs/json.md` publishes it. The text of a failure
//! may quote what came from outside: whoever shows it passes it through its sanitiser.

use core::fmt;
use core::time::Duration;
use std::borrow::Cow;

use p2pchat_proto::{BrokerKey, Name, PeerId};

/// A failure that a user is told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// A command that cannot be understood.
    Usage(String),
    /// A new passphrase was not typed the same way again.
    PassphrasesDiffer,
    /// Text without anybody to send it to.
    NoConversation,
    /// No such command; the nearest one.
    UnknownCommand {
        /// What was typed.
        typed: String,
        /// The nearest command.
        nearest: Option<&'static str>,
    },
    /// No broker there.
    BrokerUnreachable {
        /// `host:port`.
        address: String,
        /// What the system said.
        reason: String,
    },
    /// The broker does not speak this protocol, or ended the link on purpose.
    BrokerRefused {
        /// `host:port`.
        address: String,
        /// Why.
        reason: String,
    },
    /// The broker has another key than the pinned one.
    BrokerKeyChanged {
        /// `host:port`.
        address: String,
        /// The pinned key.
        pinned: BrokerKey,
        /// The key that came.
        came: BrokerKey,
    },
    /// The clocks of two sides differ by too much.
    ClocksDiffer {
        /// By how much.
        by: Duration,
    },
    /// Nobody of that name.
    UnknownPeer {
        /// Who was meant.
        who: String,
    },
    /// Known, but not there.
    NotOnline {
        /// Who was meant.
        who: String,
    },
    /// The other side said no.
    Declined {
        /// Who was meant.
        who: String,
        /// What they said, as it came.
        reason: String,
    },
    /// Not allowed here or by the other side.
    NotAllowed {
        /// What is not allowed.
        what: String,
    },
    /// The name belongs to somebody else at this broker.
    NameTaken {
        /// The name.
        name: Name,
    },
    /// This identity holds another name at this broker.
    NameHeld {
        /// That name.
        name: Name,
    },
    /// No answer in time.
    NoAnswer {
        /// Who was meant.
        who: String,
    },
    /// The handshake over UDP did not succeed in time.
    NoPath {
        /// Who was meant.
        who: String,
    },
    /// A pinned name came with another key.
    KeyChanged {
        /// The name.
        name: Option<Name>,
        /// The pinned identity.
        pinned: PeerId,
        /// The one that came.
        came: PeerId,
    },
    /// A name is pinned to one identity, or known of it from another broker, and is another one's at this one.
    AnotherOfThatName {
        /// The name.
        name: Name,
        /// The identity that the user knows.
        known: PeerId,
        /// The one that came.
        came: PeerId,
    },
    /// A key came that its owner has replaced, by the word of both.
    KeyReplaced {
        /// The name under which it came.
        name: Option<Name>,
        /// That key.
        came: PeerId,
        /// The one that took its place.
        by: PeerId,
    },
    /// Somebody whose key nobody has compared, where the user wants only those who are verified.
    NotVerified {
        /// Who was meant.
        who: String,
    },
    /// An offer or an introduction that was tampered with on its way.
    Tampered {
        /// What did not fit.
        what: String,
    },
    /// A message over the cap.
    TooLong {
        /// Its length in bytes.
        len: usize,
        /// The cap.
        max: usize,
    },
    /// A line that is not UTF-8.
    NotUtf8,
    /// No such request, message or transfer.
    NoSuch {
        /// What kind of thing.
        what: &'static str,
    },
    /// The file is not there, or may not be read.
    FileMissing {
        /// Its path.
        path: String,
        /// What the system said.
        reason: String,
    },
    /// Not a regular file.
    FileKind {
        /// Its path.
        path: String,
        /// What it is instead.
        kind: &'static str,
    },
    /// The other side does not want the file, or its name cannot be taken.
    FileRefused {
        /// The file's name.
        name: String,
        /// Why.
        reason: String,
    },
    /// The file changed while it was sent.
    FileChanged {
        /// The file's name.
        name: String,
    },
    /// The content that came is not the content that was sent.
    FileCorrupt {
        /// The file's name.
        name: String,
    },
    /// The transfer ended before the end of the file.
    FileBroken {
        /// The file's name.
        name: String,
        /// Why.
        reason: String,
    },
    /// No room left.
    DiskFull {
        /// Where.
        path: String,
    },
    /// The system refused something here: a port, a directory, a file.
    Local {
        /// What was tried.
        what: String,
        /// What the system said.
        reason: String,
    },
    /// The store is not what was written, and was set aside or left as it is.
    StoreDamaged {
        /// Its path.
        path: String,
        /// Where it is now, if it was moved there.
        aside: Option<String>,
    },
    /// The key file cannot be used.
    KeyFile {
        /// Its path.
        path: String,
        /// What is the matter.
        reason: String,
        /// What to do.
        hint: String,
    },
    /// A file that is to be taken elsewhere cannot be made, or one from elsewhere not taken.
    Export {
        /// Its path.
        path: String,
        /// What is the matter.
        reason: String,
        /// What to do.
        hint: &'static str,
    },
    /// The key file is sealed and no passphrase was given, or it was wrong.
    Locked {
        /// Its path.
        path: String,
        /// What is the matter.
        reason: String,
    },
    /// The process that uses this profile was asked for something, and nobody knows whether it is done.
    InDoubt {
        /// What came instead of its answer.
        reason: String,
    },
    /// Another process uses this profile.
    AlreadyRunning {
        /// The profile's directory.
        home: String,
    },
    /// A newer login of the same identity took over.
    Replaced,
    /// Only part was delivered in time.
    NotDelivered {
        /// Messages that the other side does not keep yet.
        waiting: usize,
    },
    /// Some of several people got nothing, and nothing waits for them.
    NotEverybody {
        /// How many.
        missed: usize,
    },
    /// As [`Self::NotDelivered`] where nothing is kept, so that it is gone.
    NotKept {
        /// Messages that nobody has.
        waiting: usize,
    },
    /// Messages of which the store has confirmed nothing when the program ends.
    Unkept {
        /// How many.
        messages: usize,
        /// What hindered it.
        why: Box<Failure>,
    },
    /// The session ended and could not be made again.
    SessionLost {
        /// With whom.
        who: String,
    },
    /// A signal.
    Interrupted,
    /// A signal.
    Terminated,
    /// A defect of this program.
    Internal(String),
}

/// A stable name for a kind of failure, with the exit status of a process that ends by it.
#[derive(Debug, PartialEq, Eq)]
pub struct Code {
    /// As scripts see it: `"code"` in JSON mode.
    pub name: &'static str,
    /// Exit status, see the list in `docs/cli.md`.
    pub exit: u8,
    /// What it means, for `docs/json.md`.
    pub meaning: &'static str,
}

macro_rules! codes {
    ($($id:ident = $name:literal, $exit:literal, $meaning:literal;)*) => {
        $(const $id: Code = Code { name: $name, exit: $exit, meaning: $meaning };)*

        impl Code {
            /// Every code there is, in the order of exit statuses.
            pub const ALL: &'static [Self] = &[$($id),*];
        }
    };
}

codes! {
    LOCAL = "local", 1, "the system refused a port, a directory or a file here";
    KEY_FILE = "key_file", 1, "the key file is damaged, or others can read it";
    LOCKED = "locked", 1, "the key file is sealed and no fitting passphrase was given";
    EXPORT = "export", 1, "an export cannot be made, opened or taken";
    ALREADY_RUNNING = "already_running", 1, "another process uses this profile";
    REPLACED = "replaced", 1, "a newer login of the same identity took over";
    CLOCKS_DIFFER = "clocks_differ", 1, "the clocks of two machines differ by too much";
    DISK_FULL = "disk_full", 1, "no room is left on this machine";
    STORE_DAMAGED = "store_damaged", 1, "the store is not what was written; nothing of it was overwritten";
    INTERNAL = "internal", 1, "a defect of this program";
    USAGE = "usage", 2, "an option, a command or a line that cannot be understood";
    NO_CONVERSATION = "no_conversation", 2, "text without anybody to send it to";
    UNKNOWN_COMMAND = "unknown_command", 2, "no such command";
    NO_SUCH = "no_such", 2, "no such request, conversation or transfer";
    TOO_LONG = "too_long", 2, "a message or a line over its limit; nothing was sent";
    NOT_UTF8 = "not_utf8", 2, "a line that is not UTF-8; nothing was sent";
    BROKER_UNREACHABLE = "broker_unreachable", 3, "no broker answers there";
    BROKER_REFUSED = "broker_refused", 3, "the broker does not speak this protocol, or refused this client";
    UNKNOWN_PEER = "unknown_peer", 4, "nobody of that name or identity";
    NOT_ONLINE = "not_online", 4, "known, but not there";
    DECLINED = "declined", 4, "the other side said no";
    NOT_ALLOWED = "not_allowed", 4, "not allowed here or by the other side";
    NAME_TAKEN = "name_taken", 4, "the name belongs to another identity at this broker";
    NAME_HELD = "name_held", 4, "this identity holds another name at this broker";
    NO_ANSWER = "no_answer", 5, "nobody answered in time";
    NO_PATH = "no_path", 5, "accepted, but no datagram came through in time";
    SESSION_LOST = "session_lost", 5, "the session ended and could not be made again";
    BROKER_KEY_CHANGED = "broker_key_changed", 6, "the broker has another key than the known one";
    KEY_CHANGED = "key_changed", 6, "a known name came with another identity";
    KEY_REPLACED = "key_replaced", 6, "a key came that its owner has replaced by another one";
    NOT_VERIFIED = "not_verified", 6, "the other side's key is not verified, and --require-verified is given";
    TAMPERED = "tampered", 6, "an offer was changed on its way";
    NOT_DELIVERED = "not_delivered", 7, "only part was delivered in time";
    FILE_MISSING = "file_missing", 8, "the file is not there, or may not be read";
    FILE_KIND = "file_kind", 8, "not a regular file";
    FILE_REFUSED = "file_refused", 8, "the other side does not take the file";
    FILE_CHANGED = "file_changed", 8, "the file changed while it was sent";
    FILE_CORRUPT = "file_corrupt", 8, "what came is not what was sent; nothing was published";
    FILE_BROKEN = "file_broken", 8, "the transfer ended before the end of the file";
    INTERRUPTED = "interrupted", 130, "interrupted (SIGINT, Ctrl-C)";
    TERMINATED = "terminated", 143, "terminated (SIGTERM, SIGHUP)";
}

impl Failure {
    /// The row of this failure in the table.
    pub fn kind(&self) -> &'static Code {
        match self {
            Self::Usage(_) | Self::PassphrasesDiffer => &USAGE,
            Self::NoConversation => &NO_CONVERSATION,
            Self::UnknownCommand { .. } => &UNKNOWN_COMMAND,
            Self::BrokerUnreachable { .. } => &BROKER_UNREACHABLE,
            Self::BrokerRefused { .. } => &BROKER_REFUSED,
            Self::BrokerKeyChanged { .. } => &BROKER_KEY_CHANGED,
            Self::ClocksDiffer { .. } => &CLOCKS_DIFFER,
            Self::UnknownPeer { .. } => &UNKNOWN_PEER,
            Self::NotOnline { .. } => &NOT_ONLINE,
            Self::Declined { .. } => &DECLINED,
            Self::NotAllowed { .. } => &NOT_ALLOWED,
            Self::NameTaken { .. } => &NAME_TAKEN,
            Self::NameHeld { .. } => &NAME_HELD,
            Self::NoAnswer { .. } => &NO_ANSWER,
            Self::NoPath { .. } => &NO_PATH,
            Self::KeyChanged { .. } | Self::AnotherOfThatName { .. } => &KEY_CHANGED,
            Self::KeyReplaced { .. } => &KEY_REPLACED,
            Self::NotVerified { .. } => &NOT_VERIFIED,
            Self::Tampered { .. } => &TAMPERED,
            Self::TooLong { .. } => &TOO_LONG,
            Self::NotUtf8 => &NOT_UTF8,
            Self::NoSuch { .. } => &NO_SUCH,
            Self::FileMissing { .. } => &FILE_MISSING,
            Self::FileKind { .. } => &FILE_KIND,
            Self::FileRefused { .. } => &FILE_REFUSED,
            Self::FileChanged { .. } => &FILE_CHANGED,
            Self::FileCorrupt { .. } => &FILE_CORRUPT,
            Self::FileBroken { .. } => &FILE_BROKEN,
            Self::DiskFull { .. } => &DISK_FULL,
            Self::Local { .. } | Self::InDoubt { .. } => &LOCAL,
            Self::StoreDamaged { .. } => &STORE_DAMAGED,
            Self::KeyFile { .. } => &KEY_FILE,
            Self::Export { .. } => &EXPORT,
            Self::Locked { .. } => &LOCKED,
            Self::AlreadyRunning { .. } => &ALREADY_RUNNING,
            Self::Replaced => &REPLACED,
            Self::NotDelivered { .. } | Self::NotEverybody { .. } | Self::NotKept { .. } => &NOT_DELIVERED,
            Self::Unkept { why, .. } => why.kind(),
            Self::SessionLost { .. } => &SESSION_LOST,
            Self::Interrupted => &INTERRUPTED,
            Self::Terminated => &TERMINATED,
            Self::Internal(_) => &INTERNAL,
        }
    }

    /// The code that scripts see.
    pub fn code(&self) -> &'static str {
        self.kind().name
    }

    /// Exit status of a process that ends by this failure.
    pub fn exit(&self) -> u8 {
        self.kind().exit
    }

    /// What happened, without what to do about it.
    pub fn message(&self) -> String {
        self.to_string()
    }

    /// What to do about it, where there is something to do.
    pub fn hint(&self) -> Option<Cow<'static, str>> {
        let hint = match self {
            Self::Usage(_) => "see --help, or /help in a chat",
            Self::PassphrasesDiffer => "type the same one twice",
            Self::NoConversation => "/who shows who is there, /connect NAME asks for a chat",
            Self::UnknownCommand { nearest: Some(nearest), .. } => {
                return Some(format!("did you mean /{nearest}? /help lists the commands").into());
            }
            Self::UnknownCommand { nearest: None, .. } => {
                "/help lists the commands; a message that begins with a slash is typed with two"
            }
            Self::BrokerUnreachable { .. } => {
                "start one with `p2pchat-broker run`, or name another with --broker HOST:PORT"
            }
            Self::BrokerRefused { .. } => "check --broker HOST:PORT and the versions of both sides",
            Self::BrokerKeyChanged { address, came, .. } => {
                return Some(
                    format!("ask its operator; if the change is meant: --broker {address}#{came}").into(),
                );
            }
            Self::ClocksDiffer { .. } => "set the clock of the machine that is wrong",
            Self::UnknownPeer { .. } => {
                "`p2pchat list` or /who shows who is there; who is may still take no requests of strangers"
            }
            Self::NotOnline { .. } => "try again when they are back",
            Self::Declined { .. } => "ask them another way before you try again",
            // What is not allowed, and to whom, stands in it.
            Self::NotAllowed { .. } => return None,
            Self::NameTaken { .. } => {
                "choose another with --name; where you say --home, name another home as well"
            }
            Self::NameHeld { name } => return Some(format!("use --name {name}").into()),
            Self::NoAnswer { .. } => "try again later, or wait longer with --timeout",
            Self::NoPath { .. } => "a firewall or NAT may be in the way: see --bind and --advertise",
            Self::KeyChanged { name: Some(name), came, .. } => {
                return Some(
                    format!(
                        "nothing was sent; ask them another way, and if the change is meant: \
                         /trust {name}, or `p2pchat contacts trust {name} {came}`"
                    )
                    .into(),
                );
            }
            Self::KeyChanged { name: None, .. } => "nothing was sent; ask them another way",
            Self::AnotherOfThatName { known, came, .. } => {
                let hint =
                    format!("nothing was sent; --to {came} means that one, and --to {known} the known one");
                return Some(hint.into());
            }
            Self::KeyReplaced { .. } => "nothing was sent; whoever has that key now may be a thief of it",
            Self::NotVerified { .. } => {
                "nothing was sent; compare the numbers of `p2pchat contacts verify`, or leave out --require-verified"
            }
            Self::Tampered { .. } => "nothing was sent; try another broker or another network",
            Self::TooLong { .. } => "send it in parts, or as a file with /sendf",
            Self::NotUtf8 => "convert it to UTF-8, or send it as a file",
            Self::NoSuch { .. } => {
                "/requests and /files list what there is in a chat, `p2pchat transfers` files outside of one"
            }
            Self::FileMissing { .. } => "check the path and its permissions",
            Self::FileKind { .. } => "only regular files can be sent",
            Self::FileRefused { .. } => "ask them another way before you try again",
            Self::FileChanged { .. } => "send it again when nothing writes to it",
            Self::FileCorrupt { .. } | Self::FileBroken { .. } => "send it again",
            Self::DiskFull { .. } => "make room there, or choose another place with --home or --download-dir",
            Self::Local { .. } => "check the path, the address and their permissions",
            Self::StoreDamaged { aside: Some(_), .. } => {
                "put a backup in its place, or start again without what was in it"
            }
            Self::StoreDamaged { aside: None, .. } => {
                "put a backup in its place, or move it away to start without what was in it"
            }
            Self::KeyFile { hint, .. } => return Some(hint.clone().into()),
            Self::Export { hint, .. } => hint,
            Self::Locked { .. } => "give it with --passphrase-file or --passphrase-fd, or on a terminal",
            Self::InDoubt { .. } => {
                "what was asked of it may be done all the same; look before you try again"
            }
            Self::AlreadyRunning { .. } => "use that one, or stop it first",
            Self::Replaced => "stop the other one, then start this one again",
            Self::NotDelivered { waiting: 1 } => {
                "it is kept, and delivered when both run: `p2pchat listen` waits for them"
            }
            Self::NotDelivered { .. } => {
                "they are kept, and delivered when both run: `p2pchat listen` waits for that"
            }
            Self::NotEverybody { .. } => "nothing waits for them; what was said above tells why",
            Self::NotKept { waiting: 2.. } => {
                "they are gone, as nothing is kept of an anonymous user; send them again"
            }
            Self::NotKept { .. } => "it is gone, as nothing is kept of an anonymous user; send it again",
            Self::Unkept { why, .. } => return why.hint(),
            Self::SessionLost { .. } => "connect again",
            Self::Interrupted | Self::Terminated => return None,
            Self::Internal(_) => "please report it, with the file of --log",
        };
        Some(hint.into())
    }
}

/// What happened, in one clause; see [`Failure::hint`] for what to do.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(what) => f.write_str(what),
            Self::PassphrasesDiffer => f.write_str("the two passphrases differ; nothing was changed"),
            Self::NoConversation => f.write_str("nobody to send this to"),
            Self::UnknownCommand { typed, .. } => write!(f, "no command /{typed}"),
            Self::BrokerUnreachable { address, reason } => write!(f, "no broker at {address}: {reason}"),
            Self::BrokerRefused { address, reason } => write!(f, "the broker at {address} refused: {reason}"),
            Self::BrokerKeyChanged { address, pinned, came } => {
                write!(f, "the broker at {address} has another key: {came}, known is {pinned}")
            }
            Self::ClocksDiffer { by } => write!(f, "clocks differ by {} s", by.as_secs()),
            Self::UnknownPeer { who } => write!(f, "nobody called {who} is known"),
            Self::NotOnline { who } => write!(f, "{who} is not online"),
            Self::Declined { who, reason } if reason.is_empty() => write!(f, "{who} declined"),
            Self::Declined { who, reason } => write!(f, "{who} declined: {reason}"),
            Self::NotAllowed { what } => write!(f, "not allowed: {what}"),
            Self::NameTaken { name } => write!(f, "the name {name} belongs to somebody else at this broker"),
            Self::NameHeld { name } => write!(f, "this identity is called {name} at this broker"),
            Self::NoAnswer { who } => write!(f, "no answer from {who}"),
            Self::NoPath { who } => write!(f, "{who} accepted, but cannot be reached over UDP"),
            Self::KeyChanged { name: Some(name), pinned, came } => {
                write!(f, "{name} came with another identity: {came}, known is {pinned}")
            }
            Self::KeyChanged { name: None, pinned, came } => {
                write!(f, "another identity came: {came}, known is {pinned}")
            }
            Self::AnotherOfThatName { name, known, came } => {
                write!(f, "{name} is somebody else at this broker: {came}, known is {known}")
            }
            Self::KeyReplaced { name, came, by } => {
                let who = name.as_ref().map_or("somebody", Name::as_str);
                write!(f, "{who} came with a key that its owner has replaced: {came}, now it is {by}")
            }
            Self::NotVerified { who } => write!(f, "the key of {who} is not verified"),
            Self::Tampered { what } => write!(f, "an offer was changed on its way: {what}"),
            Self::TooLong { len, max } => write!(f, "{len} bytes are too long; the limit is {max}"),
            Self::NotUtf8 => f.write_str("not UTF-8; nothing was sent"),
            Self::NoSuch { what } => write!(f, "no such {what}"),
            Self::FileMissing { path, reason } => write!(f, "cannot read {path}: {reason}"),
            Self::FileKind { path, kind } => write!(f, "{path} is {kind}"),
            Self::FileRefused { name, reason } if reason.is_empty() => write!(f, "{name} was refused"),
            Self::FileRefused { name, reason } => write!(f, "{name} was refused: {reason}"),
            Self::FileChanged { name } => write!(f, "{name} changed while it was sent"),
            Self::FileCorrupt { name } => write!(f, "{name} did not arrive as it was sent"),
            Self::FileBroken { name, reason } => write!(f, "{name} was not transferred: {reason}"),
            Self::DiskFull { path } => write!(f, "no room left at {path}"),
            Self::Local { what, reason } => write!(f, "{what}: {reason}"),
            Self::StoreDamaged { path, aside: Some(aside) } => {
                write!(f, "the store {path} is damaged, and is now {aside}")
            }
            Self::StoreDamaged { path, aside: None } => write!(f, "the store {path} is damaged"),
            Self::KeyFile { path, reason, .. } => write!(f, "key file {path}: {reason}"),
            Self::Export { path, reason, .. } => write!(f, "{path}: {reason}"),
            Self::Locked { path, reason } => write!(f, "key file {path} is locked: {reason}"),
            Self::InDoubt { reason } => write!(f, "use the running p2pchat: {reason}"),
            Self::AlreadyRunning { home } => write!(f, "another p2pchat uses the profile in {home}"),
            Self::Replaced => f.write_str("this identity logged in somewhere else"),
            Self::NotDelivered { waiting: 1 } | Self::NotKept { waiting: 1 } => {
                f.write_str("1 message was not delivered")
            }
            Self::NotDelivered { waiting } | Self::NotKept { waiting } => {
                write!(f, "{waiting} messages were not delivered")
            }
            Self::NotEverybody { missed: 1 } => f.write_str("1 person got nothing"),
            Self::NotEverybody { missed } => write!(f, "{missed} people got nothing"),
            Self::Unkept { messages: 1, why } => write!(f, "1 message is not kept: {why}"),
            Self::Unkept { messages, why } => write!(f, "{messages} messages are not kept: {why}"),
            Self::SessionLost { who } => write!(f, "the session with {who} was lost"),
            Self::Interrupted => f.write_str("interrupted"),
            Self::Terminated => f.write_str("terminated"),
            Self::Internal(what) => write!(f, "internal error: {what}"),
        }
    }
}

impl core::error::Error for Failure {}

#[cfg(test)]
mod tests;
