//! F3, F5: names that strangers give to files.

use std::fs;
use std::path::{Component, Path};

use p2pchat_proto::transfer::{FileOffer, OfferedName, TransferBody};
use p2pchat_proto::{Moment, PeerId, TransferId};
use p2pchat_transfer::{BodyError, CarrierEnd, Effect, Transfers};
use rand::RngExt;

use super::line::{SUITE, below};
use crate::event::{file, session};
use crate::process::Stream;
use crate::raw::Raw;
use crate::rows::hidden::any_steers;
use crate::rows::{Defence, Lab, NotRun, Seen};
use crate::world::{MEETING, World};

/// Names made of hostile pieces, beside those of the table.
const RANDOM_NAMES: usize = 5_000;
/// Longest name that a file system keeps, in bytes (`NAME_MAX` of Linux).
const NAME_MAX: usize = 255;

/// Names that lead out of a directory, or that no directory keeps.
fn leading_out() -> Vec<String> {
    let mut names: Vec<String> = [
        "",
        ".",
        "..",
        "/",
        "...",
        "../..",
        "a/../b",
        "../../etc/passwd",
        "/etc/x",
        "/",
        "a/",
        "./x",
        "a//b",
        "\\\\srv\\x",
        "C:x",
        "C:\\x",
        "\\\\?\\",
        "\\\\?\\C:\\x",
        "..\\..\\x",
        "a\0b",
        "\0",
        "x/..",
        "~",
        "~/x",
        ".bashrc",
        ".ssh/authorized_keys",
        "-rf",
        "con",
        "nul.txt",
        "x.",
        "x ",
        "a:b",
        "\u{2024}\u{2024}/x",
        "\u{ff0f}etc\u{ff0f}x",
        "\u{2215}etc",
        "..\u{200b}/x",
        "\u{202e}/../x",
    ]
    .map(str::to_owned)
    .into();
    names.extend([256, 300, 1024].map(|len| "n".repeat(len)));
    names.push(format!("{}.mp3", "\u{e9}".repeat(200)));
    names.push(format!("{}/../../x", "../".repeat(100)));
    names
}

/// F3. Each name comes in an offer; where the file would lie is looked at.
pub(super) fn paths(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let home = tempfile::tempdir()?;
    let downloads = home.path().join("downloads");
    fs::create_dir(&downloads)?;
    let downloads = downloads.canonicalize()?;
    let mut names = leading_out();
    let made = names.len();
    let pieces =
        ["/", "..", ".", "\\", ":", "\0", "a", "con", " ", "\u{202e}", "\u{1b}", "~", "\u{301}", "%2f"];
    for _ in 0..RANDOM_NAMES {
        let count = lab.rng.random_range(0..9);
        names.push((0..count).map(|_| pieces[below(&mut lab.rng, pieces.len())]).collect());
    }
    let mut outside = Vec::new();
    for (number, offered) in names.iter().enumerate() {
        let stored = match defence {
            Defence::InPlace => stored_as(offered)?,
            Defence::Removed => offered.clone(),
        };
        let path = downloads.join(&stored);
        let inside = stays_inside(&downloads, &path) && !stored.contains('\0') && stored.len() <= NAME_MAX;
        // The system has the last word on the names of the table.
        let kept = inside
            && (number >= made
                || fs::write(&path, "x").is_ok()
                    && path.canonicalize().is_ok_and(|real| real.parent() == Some(&downloads))
                    && fs::remove_file(&path).is_ok());
        if !kept {
            outside.push(offered.clone());
        }
    }
    if defence == Defence::InPlace && !no_text_is_refused()? {
        outside.push("a name that is no UTF-8".to_owned());
    }
    let what = match outside.first() {
        None => "each is one file in the directory, or refused".to_owned(),
        Some(first) => format!("{} names lead elsewhere, the first is {first:?}", outside.len()),
    };
    Ok(Seen::when(outside.is_empty(), what).figure(format!("{} names", names.len())))
}

/// Under which name the product would publish a file that is offered as `offered`.
fn stored_as(offered: &str) -> Result<String, NotRun> {
    let peer = PeerId([3; 32]);
    let transfer = TransferId([4; 16]);
    let mut transfers = Transfers::new([1; 32]);
    transfers.session_up(peer, SUITE, Moment::ZERO);
    let (kind, body) = offer(transfer, offered)?;
    transfers.handle_body(peer, kind, &body, Moment::ZERO)?;
    transfers.accept(transfer, Moment::ZERO)?;
    while let Some(effect) = transfers.poll_effect() {
        if let Effect::StartCarrier(spec) = effect
            && let CarrierEnd::Receiver { name } = spec.end
        {
            return Ok(name.as_str().to_owned());
        }
    }
    Err(NotRun("an offer that was accepted does not begin".to_owned()))
}

fn offer(transfer: TransferId, name: &str) -> Result<(u8, Vec<u8>), NotRun> {
    let names = vec![OfferedName::new(name)];
    Ok(TransferBody::from(FileOffer { transfer, count: 1, total: 1, names, manifest: None }).to_bytes()?)
}

fn no_text_is_refused() -> Result<bool, NotRun> {
    let (kind, mut body) = offer(TransferId([4; 16]), "QQQQ")?;
    let at = body.windows(4).position(|four| four == b"QQQQ").unwrap_or_default();
    body[at..at + 4].copy_from_slice(b"\xff\xfe\x80Q");
    let peer = PeerId([3; 32]);
    let mut transfers = Transfers::new([1; 32]);
    transfers.session_up(peer, SUITE, Moment::ZERO);
    Ok(matches!(transfers.handle_body(peer, kind, &body, Moment::ZERO), Err(BodyError::Malformed(_))))
}

/// Whether `path` is one component below `dir`, whatever lies there.
fn stays_inside(dir: &Path, path: &Path) -> bool {
    let Ok(below) = path.strip_prefix(dir) else { return false };
    let mut components = below.components();
    matches!((components.next(), components.next()), (Some(Component::Normal(_)), None))
        && path.file_name().is_some_and(|name| dir.join(name).as_os_str() == path.as_os_str())
}

/// Names that steer a terminal or hide what they are.
const STEERING: [&str; 9] = [
    "red\u{1b}[31m.txt",
    "title\u{1b}]0;owned\u{7}.txt",
    "c1\u{9b}2J.txt",
    "two\nFORGED: * alice is verified",
    "back\rFORGED",
    "abc\u{202e}gpj.exe",
    "zero\u{200b}\u{200d}width.txt",
    "\u{301}\u{301}\u{301}",
    "tag\u{e0041}.txt",
];

/// F5. Files of these names pass between the real programs; the receiver shows lines and keeps files.
pub(super) fn shown(defence: Defence, _: &mut Lab) -> Result<Seen, NotRun> {
    let (lines, kept) = match defence {
        Defence::InPlace => between_programs()?,
        Defence::Removed => {
            let lines = STEERING.iter().flat_map(|name| {
                let line = format!("* bob offers file 1: {name}");
                line.split('\n').map(str::to_owned).collect::<Vec<_>>()
            });
            (lines.collect(), STEERING.map(str::to_owned).into())
        }
    };
    let unsafe_lines = lines.iter().filter(|line| any_steers(line) || line.starts_with("FORGED")).count();
    let unsafe_names =
        kept.iter().filter(|name| any_steers(name) || name.starts_with(['.', '\u{301}'])).count();
    let missing = STEERING.len().saturating_sub(kept.len());
    let what = format!("{unsafe_lines} lines and {unsafe_names} stored names steer, {missing} files missing");
    let held = unsafe_lines + unsafe_names + missing == 0;
    Ok(Seen::when(held, what).figure(format!("{} names, {} lines", STEERING.len(), lines.len())))
}

/// What the receiver's program wrote, and the names in its download directory.
fn between_programs() -> Result<(Vec<String>, Vec<String>), NotRun> {
    let world = World::new()?;
    let source = world.directory("hostile")?;
    let setup = world.person("alice")?.accept_everything().plain();
    let mut alice = Raw::start(&setup, &["listen"])?;
    alice.expect(Stream::Err, "at the broker", 1)?;
    let mut bob = world.person("bob")?.start(&["connect", "--to", "alice"])?;
    bob.wait(&session("up"), MEETING)?;
    for (number, name) in (1..).zip(STEERING) {
        let path = source.join(name);
        fs::write(&path, name)?;
        bob.send_json(number, None, &format!("/sendf \"{}\"", path.display()))?;
        bob.wait(&file("out", "done"), MEETING)?;
    }
    alice.expect(Stream::Out, " is at ", STEERING.len())?;
    let (out, err) = alice.end()?;
    let said = String::from_utf8([out, err].concat())?;
    let kept = fs::read_dir(setup.home().join("downloads"))?.filter_map(Result::ok);
    let kept = kept.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    Ok((said.split('\n').map(str::to_owned).collect(), kept))
}
