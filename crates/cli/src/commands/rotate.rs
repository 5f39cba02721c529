//! `id rotate`: another key in the place of this one, of which those who know the old one are told.

use p2pchat_client::{Failure, json, rotation, safety};

use crate::args::Rotate;
use crate::clock::wall_time;
use crate::commands::runtime;
use crate::output::{self, Shown};
use crate::profile::Profile;
use crate::terminal::{Terminal, ask};

/// Asks, unless it was asked before; then goes on from wherever an earlier try ended.
pub(super) fn run(profile: &Profile, args: &Rotate) -> Result<u8, Failure> {
    let lock = profile.lock()?;
    let passphrase = profile.unlock()?;
    let old = profile.identity()?;
    let mut papers = profile.papers(&lock)?;
    let name = profile.name(&papers)?;
    let settings = &profile.settings;
    if papers.is_rotating() {
        if !settings.quiet {
            output::print_error(&Shown::notice("* going on with the new key of an earlier try"));
        }
    } else if !args.yes && !confirmed(profile)? {
        return Ok(1);
    }
    let rotating = rotation::begin(&profile.home, &mut papers, passphrase.as_ref(), wall_time())?;
    let broker_key = papers.expected(&settings.broker);
    let was = old.peer_id();
    let told = rotation::tell(&settings.broker, broker_key, old, &rotating, name.clone());
    let key = runtime()?.block_on(told)?;
    papers.remember_broker(&settings.broker.host_port, key)?;
    let peer = rotation::end(&profile.home, &rotating.seed, passphrase.as_ref())?;
    let words = safety::peer_words(peer).join(" ");
    if settings.json {
        output::print(&json::rotated(peer, was, &name, &words, wall_time()))?;
        return Ok(0);
    }
    let rows =
        [("name", name.to_string()), ("id", peer.to_string()), ("was", was.to_string()), ("words", words)];
    for line in output::table(&rows.map(|(what, value)| [what.to_owned(), value])) {
        output::print(&line)?;
    }
    Ok(0)
}

fn confirmed(profile: &Profile) -> Result<bool, Failure> {
    if profile.settings.json || !Terminal::detect().can_ask() {
        return Err(Failure::Usage("nobody can be asked here; say --yes to take a new key".to_owned()));
    }
    let question = "Take a new key? The old one opens nothing any more, and verified contacts have to compare \
                    words again. [y/N] ";
    Ok(ask(question)?.trim().eq_ignore_ascii_case("y"))
}
