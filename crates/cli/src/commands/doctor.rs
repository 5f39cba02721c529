//! `doctor`: looks at everything that can go wrong, one line each, and says what to do.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::sync::Arc;

use p2pchat_client::desk::{Check, Desk, Health, Local, target};
use p2pchat_client::store::Book;
use p2pchat_client::{AcceptPolicy, Failure, Identity, announced_addresses, json};

use super::chat::{Run, Session, download_dir};
use super::runtime;
use crate::args;
use crate::clock::wall_time;
use crate::control::{self, Call, DoctorCall, Envelope, Place};
use crate::front::{Doctor, Input};
use crate::output::plain::Plain;
use crate::output::{self, TimeOfDay, bytes};
use crate::profile::Profile;

/// Less room than this on a disk is worth a word: a few large files, in bytes.
const ROOM_WARNS: u64 = 256 << 20;
/// With less than this the store cannot be written for long, in bytes.
const ROOM_FAULT: u64 = 4 << 20;

/// Looks at everything; with a name, a session with them is tried.
pub(super) fn run(profile: Profile, args: &args::Doctor) -> Result<u8, Failure> {
    let who = args.who.as_deref().map(target).transpose()?;
    let json = profile.settings.json;
    let mut checks = vec![home(&profile)];
    let downloads = download_dir(&profile);
    checks.extend(
        downloads.as_deref().map_or_else(|failure| vec![Check::failed("downloads", failure)], places),
    );
    checks.extend(profile.home.directory().map(|directory| room("disk", directory)));
    if !profile.home.has_identity() {
        checks.push(no_key(&profile));
        checks.extend(ports(&profile));
        return show(checks, json).map(exit);
    }
    let call = Call::Doctor(DoctorCall { who: args.who.clone() });
    let verbose = profile.settings.verbose > 0;
    let envelope = Envelope { call, plain: !json, verbose };
    // The connection lives as long as the runtime that made it.
    let runtime = runtime()?;
    let lock = match runtime.block_on(control::hold(&profile.home, &envelope)) {
        Err(failure) => {
            checks.push(Check::failed("control", &failure));
            return show(checks, json).map(exit);
        }
        Ok(Place::There(stream)) => {
            checks.push(Check::ok("key", "it is open in the chat that runs, and so is the store"));
            checks.push(Check::ok("control", "the chat that runs answers here"));
            let local = show(checks, json)?;
            let there = runtime.block_on(control::through(stream, &profile.settings))?;
            return Ok(worse(local, there));
        }
        Ok(Place::Here(lock)) => lock,
    };
    drop(runtime);
    checks.push(Check::ok("control", "no chat is open"));
    let identity = match profile.identity() {
        Ok(identity) => identity,
        Err(failure) => {
            checks.push(Check::failed("key", &failure));
            checks.extend(ports(&profile));
            return show(checks, json).map(exit);
        }
    };
    checks.push(key(&profile));
    let store = store(&profile, identity);
    // A client would set what is damaged aside; that is not for whoever only looks.
    let usable = store.health != Health::Fault;
    checks.push(store);
    checks.extend(ports(&profile));
    let local = show(checks, json)?;
    if !usable {
        return Ok(exit(local));
    }
    let session = Session::with(profile, lock, AcceptPolicy::Nobody, AcceptPolicy::Nobody, false)?;
    let service = session.service();
    let who = who.map(|who| service.meant(who)).transpose()?.zip(args.who.clone());
    let broker = service.broker.host_port.clone();
    let there = session.run(move |now| Run {
        task: Doctor::new(who, &broker, now),
        desk: Desk::new(None),
        input: Input::None,
        first: Vec::new(),
        bars: false,
        serves: false,
    });
    match there {
        Ok(there) => Ok(worse(local, there)),
        Err(failure) => show(vec![Check::failed("client", &failure)], json).map(exit),
    }
}

/// Says them; the worst of them.
fn show(checks: Vec<Check>, json: bool) -> Result<Health, Failure> {
    let worst = checks.iter().map(|check| check.health).max().unwrap_or(Health::Ok);
    let local = Local::Checks(checks);
    if json {
        json::local(&local, wall_time()).map_or(Ok(()), |line| output::print(&line))?;
        return Ok(worst);
    }
    let lines = Plain::new(TimeOfDay::local(), false).local(&local, &Desk::new(None));
    lines.iter().try_for_each(|line| output::print(line.text()))?;
    Ok(worst)
}

const fn exit(worst: Health) -> u8 {
    match worst {
        Health::Ok | Health::Warning => 0,
        Health::Fault => 1,
    }
}

/// A fault here counts before what the broker is at fault for.
const fn worse(local: Health, there: u8) -> u8 {
    match exit(local) {
        0 => there,
        fault => fault,
    }
}

fn home(profile: &Profile) -> Check {
    // It was made, and found to belong to nobody else, when the profile was chosen.
    let directory = profile.home.directory().map(|directory| directory.display().to_string());
    Check::ok("home", directory.unwrap_or_default())
}

fn no_key(profile: &Profile) -> Check {
    match profile.home.check_not_orphaned() {
        Ok(()) => Check::warning(
            "key",
            "there is none yet, so nobody can be asked who is there",
            "`p2pchat init`, or any other command, makes one",
        ),
        Err(failure) => Check::failed("key", &failure),
    }
}

fn key(profile: &Profile) -> Check {
    match profile.home.identity_is_locked() {
        Ok(true) => Check::ok("key", "it opens with its passphrase, and nobody else may read its file"),
        Ok(false) => Check::warning(
            "key",
            "it has no passphrase: the mode of its file alone protects it",
            "`p2pchat passphrase set` seals it",
        ),
        Err(failure) => Check::failed("key", &failure),
    }
}

fn store(profile: &Profile, identity: Arc<Identity>) -> Check {
    let papers = profile.look();
    let people = match &papers {
        Ok(papers) => papers.list().len(),
        Err(failure) => return Check::failed("store", failure),
    };
    let book = Book::of(&profile.home, identity);
    let talks = book.and_then(|book| match book {
        Some(mut book) => book.summaries().map(|all| all.len()).map_err(|error| book.failure(error)),
        None => Ok(0),
    });
    match talks {
        Ok(talks) => Check::ok("store", format!("whole, with {talks} conversations and {people} people")),
        Err(failure) => Check::failed("store", &failure),
    }
}

fn places(downloads: &Path) -> Vec<Check> {
    let shown = downloads.display();
    if !downloads.exists() {
        return vec![Check::ok("downloads", format!("{shown}, which is made at need"))];
    }
    let writable = rustix::fs::access(downloads, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK);
    let place = match writable {
        Ok(()) if downloads.is_dir() => Check::ok("downloads", shown.to_string()),
        Ok(()) => Check::fault(
            "downloads",
            format!("{shown} is no directory"),
            "name another one with --download-dir",
        ),
        Err(error) => Check::fault(
            "downloads",
            format!("{shown} cannot be written: {}", std::io::Error::from(error)),
            "give yourself the right, or name another one with --download-dir",
        ),
    };
    vec![place, room("downloads disk", downloads)]
}

fn room(what: &'static str, path: &Path) -> Check {
    let room = match rustix::fs::statvfs(path) {
        Ok(room) => room,
        Err(error) => {
            let message = format!("how much room there is cannot be told: {}", std::io::Error::from(error));
            return Check::warning(what, message, "look at the disk with `df`");
        }
    };
    // A file system without blocks does not say what it can hold.
    if room.f_blocks == 0 {
        return Check::ok(what, "its file system has no limit of its own");
    }
    let left = room.f_bavail.saturating_mul(room.f_frsize);
    let message = format!("{} are free", bytes(left));
    let hint = "make room, or choose another place with --home or --download-dir";
    match left {
        ..ROOM_FAULT => Check::fault(what, message, hint),
        ROOM_FAULT..ROOM_WARNS => Check::warning(what, message, hint),
        _ => Check::ok(what, message),
    }
}

/// Where to listen by default: everywhere, at any port.
fn anywhere() -> Vec<SocketAddr> {
    vec![SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)), SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))]
}

fn ports(profile: &Profile) -> Vec<Check> {
    let settings = &profile.settings;
    let udp = |address: &SocketAddr| UdpSocket::bind(address).map(drop);
    let tcp = |address: &SocketAddr| TcpListener::bind(address).map(drop);
    vec![
        port("udp", &settings.bind, "--bind", udp),
        port("tcp", &settings.bind_tcp, "--bind-tcp", tcp),
        announced(&settings.bind, &settings.advertise),
    ]
}

/// Without a wish, one family that works is enough.
fn port(
    what: &'static str,
    wanted: &[SocketAddr],
    option: &str,
    bind: impl Fn(&SocketAddr) -> std::io::Result<()>,
) -> Check {
    let all = if wanted.is_empty() { anywhere() } else { wanted.to_vec() };
    let failed = |address: &SocketAddr| bind(address).err().map(|error| format!("{address}: {error}"));
    let failures: Vec<_> = all.iter().filter_map(failed).collect();
    let works = if wanted.is_empty() { failures.len() < all.len() } else { failures.is_empty() };
    if works {
        let shown = all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let where_to = if wanted.is_empty() { "all interfaces, at a free port".to_owned() } else { shown };
        return Check::ok(what, format!("can listen on {where_to}"));
    }
    let hint = format!("something else uses it, or it is not this machine's: choose another with {option}");
    Check::fault(what, format!("cannot listen on {}", failures.join("; ")), hint)
}

fn announced(bind: &[SocketAddr], advertise: &[SocketAddr]) -> Check {
    const NAT: &str = "what a NAT makes of them was not asked, as that takes a STUN server";
    let bound = if bind.is_empty() { anywhere() } else { bind.to_vec() };
    let shown = |address: &SocketAddr| match address.port() {
        0 => address.ip().to_string(),
        _ => address.to_string(),
    };
    let all: Vec<String> = announced_addresses(&bound, advertise).iter().map(shown).collect();
    if all.is_empty() {
        let hint = "connect this machine to a network, or name an address with --advertise";
        return Check::warning("addresses", "this machine has none that others could reach", hint);
    }
    Check::ok("addresses", format!("others are told {}; {NAT}", all.join(", ")))
}
