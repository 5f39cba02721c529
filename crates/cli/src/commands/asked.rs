//! Whom a command is for: a name, an id, or an invitation.

use p2pchat_client::desk::target;
use p2pchat_client::profile::Papers;
use p2pchat_client::{Command, Config, Failure, Invitation, Target};

use crate::clock::wall_time;
use crate::profile::Profile;

/// See the module.
#[derive(Debug)]
pub(super) enum Asked {
    /// Whom the profile or the broker knows.
    Known(Target),
    /// Whoever the line says, at the broker that it says.
    Invited(Invitation),
}

impl Asked {
    /// What was typed after `--to`.
    ///
    /// # Errors
    ///
    /// [`Failure::Usage`].
    pub(super) fn parse(who: &str) -> Result<Self, Failure> {
        Ok(match Invitation::typed(who)? {
            Some(invitation) => Self::Invited(invitation),
            None => Self::Known(target(who)?),
        })
    }

    pub(super) fn is_invited(&self) -> bool {
        matches!(self, Self::Invited(_))
    }

    /// Whom to ask for, once the invitation was taken, which pins its name.
    pub(super) fn target(&self) -> Target {
        match self {
            Self::Known(target) => target.clone(),
            Self::Invited(invitation) => Target::Name(invitation.name.clone()),
        }
    }

    /// What to call them until more is known.
    pub(super) fn label(&self, typed: &str) -> String {
        match self {
            Self::Known(_) => typed.to_owned(),
            Self::Invited(invitation) => invitation.name.to_string(),
        }
    }

    /// The broker of an invitation is the one to go to, whatever else was chosen.
    ///
    /// # Errors
    ///
    /// [`Failure::BrokerKeyChanged`] if another key was given for the same broker.
    pub(super) fn choose_broker(&self, profile: &mut Profile) -> Result<(), Failure> {
        let Self::Invited(invitation) = self else { return Ok(()) };
        let chosen = &profile.settings.broker;
        if let Some(pinned) = chosen.key
            && pinned != invitation.broker
            && chosen.host_port.eq_ignore_ascii_case(&invitation.host_port)
        {
            let (address, came) = (invitation.host_port.clone(), invitation.broker);
            return Err(Failure::BrokerKeyChanged { address, pinned, came });
        }
        profile.settings.broker = invitation.address();
        Ok(())
    }

    /// The same for several people, who are all asked for at one broker.
    ///
    /// # Errors
    ///
    /// [`Failure::Usage`] if invitations name several.
    pub(super) fn choose_one_broker(all: &[Self], profile: &mut Profile) -> Result<(), Failure> {
        let mut brokers = all.iter().filter_map(|asked| match asked {
            Self::Known(_) => None,
            Self::Invited(invitation) => Some(invitation.host_port.to_ascii_lowercase()),
        });
        if let Some(first) = brokers.next()
            && brokers.any(|other| other != first)
        {
            return Err(Failure::Usage("the invitations are to several brokers".to_owned()));
        }
        all.iter().try_for_each(|asked| asked.choose_broker(profile))
    }

    /// What finds out whether whoever is invited took another key.
    pub(super) fn introduction(&self) -> Option<Command> {
        match self {
            Self::Known(_) => None,
            Self::Invited(invitation) => Some(Command::Introduce { pin: invitation.clone().into_pin() }),
        }
    }

    /// Pins the broker and the person of an invitation, before anything is sent to either.
    ///
    /// # Errors
    ///
    /// Those of [`Invitation::take`]; [`Failure::NotAllowed`] of one's own.
    pub(super) fn take(&self, config: &Config) -> Result<(), Failure> {
        let Self::Invited(invitation) = self else { return Ok(()) };
        if invitation.peer == config.identity.peer_id() || invitation.name == config.name {
            return Err(Failure::NotAllowed { what: "a chat with yourself".to_owned() });
        }
        invitation.take(&mut Papers::open(&config.home, &config.identity)?, wall_time())
    }
}
