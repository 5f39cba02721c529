//! How everything is at a glance: what `p2pchat status` shows.

use p2pchat_engine::event::{BrokerState, SessionReport, Sought};
use p2pchat_engine::history::Talk;
use p2pchat_proto::{BrokerKey, Name, PeerId, Standing};

/// See the module.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// Who the user is.
    pub peer: PeerId,
    /// The name that is registered.
    pub name: Name,
    /// How the user stands towards others.
    pub standing: Standing,
    /// The broker, `host:port`.
    pub broker: String,
    /// Its key, where that is known.
    pub broker_key: Option<BrokerKey>,
    /// How the link to it is; `None` where no process runs that could have one.
    pub link: Option<BrokerState>,
    /// Why the link is lost or refused.
    pub reason: Option<String>,
    /// Every session there is.
    pub sessions: Vec<SessionReport>,
    /// Everybody who is looked for or asked and is not there yet.
    pub sought: Vec<Sought>,
    /// Conversations in which something waits.
    pub waiting: Vec<Talk>,
}
