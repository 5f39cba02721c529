//! `init` and `id`: who the user is.

use p2pchat_client::{Failure, Identity, json, safety};
use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;

use crate::args::{Id, Init};
use crate::clock::wall_time;
use crate::output;
use crate::profile::Profile;

/// Makes the identity.
pub(super) fn init(profile: &Profile, args: &Init) -> Result<u8, Failure> {
    let _lock = profile.lock()?;
    let identity = profile.create(args.no_passphrase)?;
    show(profile, &identity, false).map(|()| 0)
}

/// Shows the identity; makes it where there is none.
pub(super) fn id(profile: &Profile, args: &Id) -> Result<u8, Failure> {
    let lock = if profile.home.has_identity() { None } else { Some(profile.lock()?) };
    let identity = profile.identity()?;
    drop(lock);
    show(profile, &identity, args.qr).map(|()| 0)
}

fn show(profile: &Profile, identity: &Identity, qr: bool) -> Result<(), Failure> {
    let peer = identity.peer_id();
    let words = safety::peer_words(peer).join(" ");
    let broker = profile.settings.broker.to_string();
    if profile.settings.json {
        return output::print(&json::identity(peer, &profile.name, &broker, &words, wall_time()));
    }
    let name = profile.name.to_string();
    let rows = [("name", name), ("id", peer.to_string()), ("broker", broker), ("words", words)];
    for line in output::table(&rows.map(|(what, value)| [what.to_owned(), value])) {
        output::print(&line)?;
    }
    let code = if qr { qr_code(&peer.to_string()) } else { None };
    code.iter().flat_map(|code| code.lines()).try_for_each(output::print)
}

/// A QR code of an id for a terminal: half blocks, light on dark.
fn qr_code(text: &str) -> Option<String> {
    let code = QrCode::new(text.to_ascii_uppercase()).ok()?;
    Some(code.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build())
}
