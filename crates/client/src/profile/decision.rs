//! What a user decides about somebody, as one act: by a command, or through a chat that is open.

use p2pchat_engine::Failure;
use p2pchat_proto::{BrokerKey, Name, PeerId, WallTime};

use super::papers::Papers;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Keeps an identity that was told another way than by the broker.
    Add {
        /// The name there.
        name: Name,
        /// The broker.
        broker: BrokerKey,
        /// The identity.
        peer: PeerId,
    },
    /// Calls somebody otherwise.
    Rename {
        /// Whom.
        peer: PeerId,
        /// The new name.
        name: Name,
    },
    /// Forgets somebody.
    Remove {
        /// Whom.
        peer: PeerId,
    },
    /// Takes nothing more from somebody, or takes that back.
    Block {
        /// Whom.
        peer: PeerId,
        /// Or takes it back.
        blocked: bool,
    },
    /// The number was compared, and was the same.
    Verified {
        /// With whom.
        peer: PeerId,
    },
    /// Takes another identity in the place of the one that a name is known by.
    Trust {
        /// The name there.
        name: Name,
        /// The broker.
        broker: BrokerKey,
        /// The new identity.
        peer: PeerId,
    },
}

impl Decision {
    /// About whom it is.
    pub const fn peer(&self) -> PeerId {
        match self {
            Self::Add { peer, .. }
            | Self::Rename { peer, .. }
            | Self::Remove { peer }
            | Self::Block { peer, .. }
            | Self::Verified { peer }
            | Self::Trust { peer, .. } => *peer,
        }
    }

    /// Whom else it is about: who goes by the name until then.
    pub(crate) fn instead_of(&self, papers: &Papers) -> Option<PeerId> {
        let Self::Trust { name, broker, peer } = self else { return None };
        papers.pinned(name, *broker).ok().filter(|pinned| pinned != peer)
    }

    /// Keeps it.
    ///
    /// # Errors
    /// Those of [`Papers`]; [`Failure::NotAllowed`] to add, or block, `me`.
    pub fn keep(&self, papers: &mut Papers, me: PeerId, now: WallTime) -> Result<(), Failure> {
        let not_oneself = |what: &str| Failure::NotAllowed { what: format!("to {what} yourself") };
        match self {
            Self::Add { peer, .. } if *peer == me => Err(not_oneself("add")),
            Self::Block { peer, .. } if *peer == me => Err(not_oneself("block")),
            Self::Add { name, broker, peer } => papers.add(name.clone(), *peer, *broker, now),
            Self::Rename { peer, name } => papers.rename(*peer, name.clone()),
            Self::Remove { peer } => papers.remove(*peer),
            Self::Block { peer, blocked } => papers.block(*peer, *blocked),
            Self::Verified { peer } => papers.verified(*peer),
            Self::Trust { name, broker, peer } => papers.trust(name, *peer, *broker, now),
        }
    }
}
