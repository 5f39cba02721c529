//! What a front end may ask of a running client: the engine's commands, and what needs files.

use std::path::PathBuf;

use crate::profile::Decision;
use crate::store::Recall;
use p2pchat_engine::{Command, TransferNumber};
use p2pchat_proto::PeerId;

/// One thing to do, sent with a [`p2pchat_engine::CommandId`] that its outcome carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// A command that needs nothing but the engine.
    Engine(Command),
    /// Offer a file to somebody. Done carries the transfer's number.
    SendFile {
        /// To whom.
        to: PeerId,
        /// Which file.
        path: PathBuf,
    },
    /// Take an offered file.
    SaveFile {
        /// Which.
        transfer: TransferNumber,
        /// Where to put it; `None` for the download directory.
        dir: Option<PathBuf>,
    },
    /// Ask what is kept; [`p2pchat_engine::Event::Recalled`] answers.
    Recall(Recall),
    /// Keep what the user decided about somebody.
    Decide(Decision),
    /// Close every session and end. The last event is `Stopped`.
    Stop,
}

impl From<Command> for Request {
    fn from(command: Command) -> Self {
        Self::Engine(command)
    }
}
