//! `passphrase`: what the key file is sealed with.

use p2pchat_client::{Failure, json};

use crate::args::{Passphrase, PassphraseWhat};
use crate::clock::wall_time;
use crate::output;
use crate::profile::Profile;
use crate::settings::PassphraseSource;

/// Shows whether there is one, sets, changes or removes it. A client that runs meanwhile goes on: it has
/// its key already.
pub(super) fn run(profile: &Profile, args: &Passphrase) -> Result<u8, Failure> {
    match &args.what {
        None => {}
        Some(PassphraseWhat::Set { new_file, new_fd }) => {
            let new = match (new_file, new_fd) {
                (Some(path), _) => PassphraseSource::File(path.clone()),
                (None, Some(number)) => PassphraseSource::Descriptor(*number),
                (None, None) => PassphraseSource::Terminal,
            };
            profile.set_passphrase(&new)?;
        }
        Some(PassphraseWhat::Remove) => profile.remove_passphrase()?,
    }
    show(profile).map(|()| 0)
}

fn show(profile: &Profile) -> Result<(), Failure> {
    let locked = profile.home.identity_is_locked()?;
    if profile.settings.json {
        return output::print(&json::passphrase(locked, wall_time()));
    }
    let name = profile.label();
    output::print_line(&if locked {
        format!("the key of {name} needs a passphrase")
    } else {
        format!("the key of {name} has no passphrase: the mode of its file alone protects it")
    })
}
