//! Commands out of calls: the same for a process that does them itself and for one that is asked to.

use p2pchat_client::desk::target;
use p2pchat_client::event::Delivery;
use p2pchat_client::profile::{Home, KnownBrokers, Pins};
use p2pchat_client::{BrokerAddress, Failure, Target, language};
use p2pchat_proto::PeerId;
use tokio::time::{Duration, Instant};

use crate::args::Wait;
use crate::control::{Call, ListCall, SendCall};
use crate::front::{Address, List, Parcel, Send, Task};

/// What commands need to know of a profile.
#[derive(Debug, Clone)]
pub struct Service {
    /// Its files.
    pub home: Home,
    /// Where it is registered.
    pub broker: BrokerAddress,
}

impl Service {
    /// The command that a call means, and whom it is about.
    ///
    /// # Errors
    ///
    /// Those of [`Self::send`].
    pub(super) fn task(&self, call: &Call, now: Instant) -> Result<(Box<dyn Task>, Vec<Target>), Failure> {
        match call {
            Call::Send(call) => {
                let to: Result<Vec<_>, _> = call.to.iter().map(|who| target(who)).collect();
                Ok((Box::new(self.send(call, now)?), to?))
            }
            Call::List(call) => Ok((Box::new(self.list(call, now)), Vec::new())),
        }
    }

    /// `send`
    ///
    /// # Errors
    ///
    /// [`Failure::Usage`], what [`language::check_text`] finds, and what is the matter with the profile.
    pub fn send(&self, call: &SendCall, now: Instant) -> Result<Send, Failure> {
        let mut to: Vec<Address> = Vec::new();
        for who in &call.to {
            let target = target(who)?;
            if !to.iter().any(|address| address.target == target) {
                let known = self.known(&target)?;
                to.push(Address { target, known, label: who.clone() });
            }
        }
        let text = call.text.as_deref().map(language::check_text).transpose()?;
        if to.is_empty() || (text.is_none() && call.files.is_empty()) {
            return Err(Failure::Usage("nothing to send: give -m TEXT or a file".to_owned()));
        }
        if call.files.iter().any(|path| !path.is_absolute()) {
            return Err(Failure::Usage("a file is named by its whole path here".to_owned()));
        }
        let wait = match call.wait {
            Wait::Sent => Delivery::Sent,
            Wait::Stored => Delivery::Stored,
            Wait::Read => Delivery::Read,
        };
        let parcel = Parcel { text, files: call.files.clone(), wait };
        let timeout = Duration::from_secs(call.timeout.into());
        Ok(Send::new(to, parcel, &self.broker.host_port, timeout, now))
    }

    /// `list`
    pub fn list(&self, call: &ListCall, now: Instant) -> List {
        List::new(&call.prefix, call.all, &self.broker.host_port, now)
    }

    /// The identity that is pinned for whom the user means, at the broker that will be asked.
    fn known(&self, target: &Target) -> Result<Option<PeerId>, Failure> {
        let pins = Pins::load(&self.home)?;
        let broker = KnownBrokers::load(&self.home)?.expected(&self.broker);
        let pin = match target {
            Target::Peer(peer) => pins.of_peer(*peer).next(),
            Target::Name(name) => broker.and_then(|broker| pins.of_name(broker, name)),
        };
        Ok(pin.map(|pin| pin.peer))
    }
}
