//! `export` and `import` of `id` and `contacts`: what goes to another machine.

use p2pchat_client::profile::{Exported, Papers};
use p2pchat_client::{Failure, json};

use super::identity;
use crate::args::{Elsewhere, Global};
use crate::clock::wall_time;
use crate::output::{self, Shown};
use crate::profile::{Asker, Profile};
use crate::terminal::Terminal;

/// Seals the identity into a new file.
pub(super) fn export_identity(profile: &Profile, args: &Elsewhere) -> Result<u8, Failure> {
    let passphrase = profile.asker().passphrase_to_seal(&args.source())?;
    let me = profile.export(&args.file, &passphrase)?;
    let path = args.file.display().to_string();
    if profile.settings.json {
        output::print(&json::exported("identity", &path, me, None, wall_time()))?;
    } else {
        output::print_line(&format!("{path} holds the identity {me}, sealed"))?;
        output::print("whoever has it and its passphrase can be you: `p2pchat id import` takes it")?;
    }
    Ok(0)
}

/// Makes a profile out of such a file; the profile, for what is to be known of it.
pub(super) fn import_identity(
    global: &Global,
    args: &Elsewhere,
    started: impl FnOnce(&Profile) -> Result<(), Failure>,
) -> Result<u8, Failure> {
    let terminal = Terminal::detect();
    let exported = Exported::identity(&args.file)?;
    let passphrase = Asker::new(terminal, global.json).passphrase_to_open(&args.source(), &args.file)?;
    let (seed, name) = exported.open_identity(&passphrase)?;
    let global = Global { name: global.name.clone().or(Some(name)), ..global.clone() };
    let profile = Profile::choose(&global, terminal)?.kept()?;
    started(&profile)?;
    let _lock = profile.lock()?;
    let me = profile.adopt(&seed)?;
    identity::show(&profile, &me, None, false).map(|()| 0)
}

/// Seals everybody who is known into a new file.
pub(super) fn export_contacts(profile: &Profile, papers: &Papers, args: &Elsewhere) -> Result<u8, Failure> {
    let passphrase = profile.asker().passphrase_to_seal(&args.source())?;
    let people = papers.export(&args.file, &passphrase)?;
    let path = args.file.display().to_string();
    if profile.settings.json {
        let me = profile.identity()?.peer_id();
        output::print(&json::exported("contacts", &path, me, Some(people), wall_time()))?;
    } else {
        output::print_line(&format!(
            "{path} holds {people} contacts, sealed; `p2pchat contacts import` takes them"
        ))?;
    }
    Ok(0)
}

/// Takes those who are not known; the exit status is that of trust where a known key is another one.
pub(super) fn import_contacts(
    profile: &Profile,
    papers: &mut Papers,
    args: &Elsewhere,
) -> Result<u8, Failure> {
    let exported = Exported::contacts(&args.file)?;
    let passphrase = profile.asker().passphrase_to_open(&args.source(), &args.file)?;
    let imported = papers.import(&exported, &passphrase)?;
    if profile.settings.json {
        output::print(&json::imported(&imported, wall_time()))?;
    } else {
        let (people, brokers) = (imported.people, imported.brokers);
        output::print(&format!(
            "{people} new contacts and {brokers} new brokers; who was known stays as they were"
        ))?;
    }
    imported.refused.iter().for_each(|failure| output::print_error(&Shown::failure(failure)));
    Ok(imported.refused.iter().map(Failure::exit).max().unwrap_or(0))
}
