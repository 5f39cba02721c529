//! What a front end asks of the client.

use core::time::Duration;

use p2pchat_proto::conversation::MessageId;
use p2pchat_proto::{Name, PeerId, RequestId, StandingChange};

use crate::event::TransferNumber;
use crate::people::Pin;

/// One thing to do. Every command ends with `Done`, `Failed` or its own answer, under the id that
/// the front end gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Who is there: answered by [`crate::Event::People`].
    People {
        /// Only names that begin so.
        prefix: String,
    },
    /// Ask somebody for a chat. Done when the request is out; its fate comes as events.
    Connect {
        /// Whom.
        to: Target,
        /// How long to wait for an answer.
        wait: Duration,
    },
    /// The same to see whether they are reached: nobody is pinned by it, and what is lost is not made anew.
    Reach {
        /// Whom.
        to: Target,
        /// How long to wait for an answer.
        wait: Duration,
    },
    /// Pin somebody whose identity was told another way than by the broker, and ask them for a chat.
    ConnectInvited {
        /// Who, at which broker.
        pin: Pin,
        /// How long to wait for an answer.
        wait: Duration,
    },
    /// Whether the key of an invitation took the place of the one that is known under its name, by the word of
    /// both; then it is followed, and else nothing changes.
    Introduce {
        /// Who is invited, at which broker.
        pin: Pin,
    },
    /// Take one's own request back.
    CancelRequest {
        /// Which.
        request: RequestId,
    },
    /// Accept somebody's request.
    Accept {
        /// Which.
        request: RequestId,
        /// Do not pin the other side.
        once: bool,
    },
    /// Decline somebody's request.
    Decline {
        /// Which.
        request: RequestId,
        /// What to tell them.
        reason: String,
    },
    /// End the session with somebody.
    Close {
        /// Whom.
        peer: PeerId,
    },
    /// Send a text message; it waits for a session where there is none. Done carries its id.
    Message {
        /// To whom.
        to: PeerId,
        /// What.
        text: String,
    },
    /// The user types something for somebody, who is shown it if a session is up. Never kept or repeated.
    Typing {
        /// For whom.
        to: PeerId,
    },
    /// Whether others are told what was shown to the user, from now on. Answered by nothing.
    ReadReceipts {
        /// Whether they are.
        tell: bool,
    },
    /// A message was shown to the user: sends the `read` receipt. Answered by nothing.
    Shown {
        /// Which.
        message: MessageId,
    },
    /// Take an offered file.
    AcceptFile {
        /// Which.
        transfer: TransferNumber,
    },
    /// Refuse an offered file.
    DeclineFile {
        /// Which.
        transfer: TransferNumber,
        /// Why, for the other side; may be empty.
        reason: String,
    },
    /// Stop a transfer, from either side.
    CancelFile {
        /// Which.
        transfer: TransferNumber,
    },
    /// Take nothing more from somebody and send them nothing.
    Block {
        /// Whom.
        who: Target,
    },
    /// Take that back.
    Unblock {
        /// Whom.
        who: Target,
    },
    /// Both have compared the safety number, and it was the same.
    Verified {
        /// Whose.
        peer: PeerId,
    },
    /// Take the identity that came last under a known name in the place of the known one.
    Trust {
        /// The name.
        name: Name,
    },
    /// Ask now for those for whom messages wait, and not when the next try is due.
    Retry {
        /// Only for them.
        to: Option<PeerId>,
    },
    /// Stand otherwise towards others; answered by [`crate::Event::Standing`], too.
    Stand {
        /// What changes.
        change: StandingChange,
    },
    /// How everything is: answered by [`crate::Event::Info`].
    Info,
}

/// Whom to ask for a chat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// By name: the pinned identity of that name where there is one.
    Name(Name),
    /// By identity.
    Peer(PeerId),
}
