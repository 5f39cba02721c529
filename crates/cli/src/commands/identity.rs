//! `init` and `id`: who the user is.

use p2pchat_client::{Failure, Identity, Invitation, json, safety};
use qrcode::render::unicode::Dense1x2;
use qrcode::{EcLevel, QrCode};

use super::chat;
use crate::args::{Id, Init};
use crate::clock::wall_time;
use crate::output::{self, Shown};
use crate::profile::Profile;

/// Makes the identity.
pub(super) fn init(profile: &Profile, args: &Init) -> Result<u8, Failure> {
    let _lock = profile.lock()?;
    let identity = profile.create(args.no_passphrase)?;
    show(profile, &identity, None, false).map(|()| 0)
}

/// Shows the identity; makes it where there is none.
pub(super) fn id(profile: &Profile, args: &Id) -> Result<u8, Failure> {
    let lock = if profile.home.has_identity() { None } else { Some(profile.lock()?) };
    let identity = profile.identity()?;
    drop(lock);
    let invitation = if args.invite {
        if broker_key(profile)?.is_none() {
            chat::greet(profile, &identity)?;
        }
        Some(invitation(profile, &identity)?)
    } else {
        None
    };
    show(profile, &identity, invitation.as_ref(), args.qr).map(|()| 0)
}

fn broker_key(profile: &Profile) -> Result<Option<p2pchat_proto::BrokerKey>, Failure> {
    Ok(profile.look()?.expected(&profile.settings.broker))
}

fn invitation(profile: &Profile, identity: &Identity) -> Result<Invitation, Failure> {
    let host_port = profile.settings.broker.host_port.clone();
    let broker = broker_key(profile)?.ok_or_else(|| Failure::BrokerUnreachable {
        address: host_port.clone(),
        reason: "its key could not be kept".to_owned(),
    })?;
    let name = profile.name(&profile.look()?)?;
    let invitation = Invitation { host_port, broker, name, peer: identity.peer_id() };
    if invitation.is_local() && !profile.settings.quiet {
        output::print_error(&Shown::notice(&format!(
            "* {} is this machine for whoever reads it; for others: --broker HOST:PORT as they reach it",
            invitation.host_port
        )));
    }
    Ok(invitation)
}

pub(super) fn show(
    profile: &Profile,
    identity: &Identity,
    invitation: Option<&Invitation>,
    qr: bool,
) -> Result<(), Failure> {
    let peer = identity.peer_id();
    let words = safety::peer_words(peer).join(" ");
    let broker = profile.settings.broker.to_string();
    let name = profile.name(&profile.look()?)?;
    if profile.settings.json {
        let line = json::identity(peer, &name, &broker, &words, invitation, wall_time());
        return output::print(&line);
    }
    let code = match invitation {
        Some(invitation) => {
            output::print(&invitation.to_string())?;
            qr_code(invitation.to_string())
        }
        None => {
            let rows =
                [("name", name.to_string()), ("id", peer.to_string()), ("broker", broker), ("words", words)];
            for line in output::table(&rows.map(|(what, value)| [what.to_owned(), value])) {
                output::print(&line)?;
            }
            // In capitals it needs fewer squares (ISO/IEC 18004 section 7.4.4).
            qr_code(peer.to_string().to_ascii_uppercase())
        }
    };
    let code = if qr { code } else { None };
    code.iter().flat_map(|code| code.lines()).try_for_each(output::print)
}

/// A QR code for a terminal: half blocks, light on dark, as small as it gets.
fn qr_code(text: impl AsRef<[u8]>) -> Option<String> {
    let code = QrCode::with_error_correction_level(text, EcLevel::L).ok()?;
    Some(code.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build())
}
