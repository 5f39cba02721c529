//! Whoever comes with `--anonymous` leaves nothing on the disk: with the real programs.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use p2pchat_crypto::{Identity, Seed};
use p2pchat_harness::actions::say;
use p2pchat_harness::double::LyingBroker;
use p2pchat_harness::double::lies::{self, Claim};
use p2pchat_harness::event::{event, session};
use p2pchat_harness::peer::{Peer, Setup};
use p2pchat_harness::process::PROMPT;
use p2pchat_harness::world::{MEETING, World, listen};
use serde_json::Value;

/// Everything below a directory: what it is, and what is in it.
fn everything_below(directory: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut left = vec![directory.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.symlink_metadata().unwrap().is_dir() {
                left.push(path.clone());
                found.insert(path, None);
            } else {
                let content = fs::read(&path).unwrap_or_default();
                found.insert(path, Some(content));
            }
        }
    }
    found
}

/// Somebody without a profile, in an account of the system that holds the directories that an account has,
/// and one file.
struct Guest {
    setup: Setup,
    before: BTreeMap<PathBuf, Option<Vec<u8>>>,
}

impl Guest {
    fn new(world: &World, whose: &str) -> Self {
        let setup = world.person(whose).unwrap().anonymous();
        for directory in ["tmp", "run", "config", ".cache", "Downloads"] {
            fs::create_dir(setup.home().join(directory)).unwrap();
        }
        fs::write(setup.home().join("diary"), "mine").unwrap();
        let before = everything_below(setup.home());
        Self { setup, before }
    }

    /// What is there now and was not before.
    fn new_paths(&self) -> Vec<PathBuf> {
        let now = everything_below(self.setup.home());
        for (path, content) in &self.before {
            assert_eq!(now.get(path), Some(content), "{}", path.display());
        }
        now.into_keys().filter(|path| !self.before.contains_key(path)).collect()
    }

    #[track_caller]
    fn assert_left_nothing(&self) {
        assert_eq!(self.new_paths(), Vec::<PathBuf>::new());
    }
}

/// How a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Quit,
    Killed,
}

impl End {
    fn of(self, mut peer: Peer) {
        match self {
            Self::Quit => assert_eq!(peer.quit().unwrap(), 0),
            Self::Killed => peer.process.kill().unwrap(),
        }
    }
}

/// The name under which a guest runs.
fn guest_name(peer: &mut Peer) -> String {
    let ready = peer.expect(&event("ready"), PROMPT);
    let name = ready.text("name").to_owned();
    assert!(name.starts_with("guest-") && name.len() == "guest-".len() + 6, "{name}");
    name
}

#[test]
fn who_talks_anonymously_leaves_nothing_however_it_ends() {
    for how in [End::Quit, End::Killed] {
        let world = World::new().unwrap();
        let guest = Guest::new(&world, "guest");
        let mut alice = listen(&world.person("alice").unwrap().accept_everything()).unwrap();
        let mut at_guests = guest.setup.start(&["connect", "--to", "alice"]).unwrap();
        let name = guest_name(&mut at_guests);
        at_guests.expect(&session("up"), MEETING);
        assert_eq!(alice.expect(&session("up"), MEETING).text("name"), name);
        say(&mut at_guests, &mut alice, "who am I?").unwrap();
        say(&mut alice, &mut at_guests, "nobody").unwrap();
        guest.assert_left_nothing();
        how.of(at_guests);
        guest.assert_left_nothing();
        End::Quit.of(alice);
    }
}

#[test]
fn who_listens_anonymously_leaves_nothing_however_it_ends() {
    for how in [End::Quit, End::Killed] {
        let world = World::new().unwrap();
        let guest = Guest::new(&world, "guest");
        let mut at_guests = guest.setup.clone().accept_everything().start(&["listen"]).unwrap();
        let name = guest_name(&mut at_guests);
        at_guests.expect(&event("broker").with("state", "connected"), PROMPT);
        let mut bob = world.person("bob").unwrap().start(&["connect", "--to", &name]).unwrap();
        bob.expect(&session("up"), MEETING);
        at_guests.expect(&session("up"), MEETING);
        say(&mut bob, &mut at_guests, "hello").unwrap();
        guest.assert_left_nothing();
        how.of(at_guests);
        guest.assert_left_nothing();
        End::Killed.of(bob);
    }
}

#[test]
fn what_runs_once_leaves_nothing_and_is_somebody_else_each_time() {
    let world = World::new().unwrap();
    let guest = Guest::new(&world, "guest");
    let mut alice = listen(&world.person("alice").unwrap().accept_everything()).unwrap();
    let mut names = Vec::new();
    for text in ["one", "two"] {
        let out = guest.setup.run(&["send", "--to", "alice", "-m", text], MEETING).unwrap();
        assert_eq!(out.exit, 0, "{out:?}");
        let message = alice.expect(&event("message").with("text", text), PROMPT);
        names.push((message.text("name").to_owned(), message.text("peer").to_owned()));
    }
    assert!(names.iter().all(|(name, _)| name.starts_with("guest-")), "{names:?}");
    assert!(names[0].0 != names[1].0 && names[0].1 != names[1].1, "{names:?}");
    let out = guest.setup.run(&["list"], MEETING).unwrap();
    assert!(out.exit == 0 && out.out.iter().any(|line| line.contains("\"alice\"")), "{out:?}");
    guest.assert_left_nothing();
    End::Quit.of(alice);
}

#[test]
fn what_the_user_asks_for_is_kept_and_nothing_beside_it() {
    let world = World::new().unwrap();
    let guest = Guest::new(&world, "guest");
    let log = guest.setup.home().join("log").display().to_string();
    let mut alice = world.person("alice").unwrap().accept_everything().start(&["listen"]).unwrap();
    alice.expect(&event("broker").with("state", "connected"), PROMPT);
    let asks = guest.setup.clone().arguments(["--log", &log, "--accept-files", "everyone"]);
    let mut at_guests = asks.start(&["connect", "--to", "alice"]).unwrap();
    alice.expect(&session("up"), MEETING);
    at_guests.expect(&session("up"), MEETING);
    let song = world.file("song", &[7; 100_000]).unwrap();
    alice.send_line(&format!("/sendf {}", song.display())).unwrap();
    let done = at_guests.expect(&event("file").with("state", "done"), MEETING);
    let came = PathBuf::from(done.text("path"));
    assert_eq!(fs::read(&came).unwrap(), [7; 100_000]);
    End::Killed.of(at_guests);
    let mut expected = vec![came, PathBuf::from(log)];
    expected.sort();
    assert_eq!(guest.new_paths(), expected);
    End::Quit.of(alice);
}

#[test]
fn what_was_not_delivered_is_never_said_to_be_kept() {
    let world = World::new().unwrap();
    for anonymous in [true, false] {
        let guest = if anonymous { Guest::new(&world, "guest").setup } else { world.person("bob").unwrap() };
        let mut alice = listen(&world.person("alice").unwrap().accept_everything()).unwrap();
        let mut at_guests = guest.arguments(["--linger", "1"]).start(&["connect", "--to", "alice"]).unwrap();
        at_guests.expect(&session("up"), MEETING);
        alice.expect(&session("up"), MEETING);
        alice.process.kill().unwrap();
        at_guests.send_line("are you there?").unwrap();
        at_guests.expect(&event("receipt"), PROMPT);
        at_guests.process.close_stdin();
        assert_eq!(at_guests.process.wait_exit(MEETING).unwrap(), 7, "{}", world.trace);
        let said = at_guests.process.take_lines();
        let last = said.iter().find(|line| line.text.starts_with("p2pchat: ")).unwrap();
        assert_eq!(last.text.contains("it is gone"), anonymous, "{}", last.text);
        assert_eq!(last.text.contains("it is kept"), !anonymous, "{}", last.text);
    }
}

#[test]
fn commands_about_what_is_kept_say_that_nothing_is() {
    let world = World::new().unwrap();
    let guest = Guest::new(&world, "guest");
    for command in [
        &["init"][..],
        &["id", "--invite"],
        &["contacts"],
        &["contacts", "block", "alice"],
        &["history", "search", "x"],
        &["passphrase"],
        &["--name", "alice", "listen"],
        &["--home", ".", "listen"],
    ] {
        let out = guest.setup.run(command, PROMPT).unwrap();
        assert_eq!((out.exit, out.err.len()), (2, 1), "{command:?}: {out:?}");
    }
    guest.assert_left_nothing();
}

#[test]
fn an_invitation_holds_for_somebody_who_keeps_nothing() {
    let world = World::new().unwrap();
    let broker = LyingBroker::start(1).unwrap();
    let alice = world.stranger("alice").unwrap().broker(&broker.url()).accept_everything();
    let said = alice.run(&["id", "--invite"], PROMPT).unwrap();
    let said: Value = serde_json::from_str(&said.out[0]).unwrap();
    let invitation = said["invitation"].as_str().unwrap();
    let guest = Guest::new(&world, "guest");
    let mut at_alices = listen(&alice).unwrap();
    let mut at_guests = guest.setup.start(&["connect", "--to", invitation]).unwrap();
    at_guests.expect(&session("up"), MEETING);
    at_alices.expect(&session("up"), MEETING);
    say(&mut at_guests, &mut at_alices, "hello").unwrap();
    End::Quit.of(at_guests);
    let mallory = Identity::from_seed(&Seed::from_bytes([66; 32]));
    broker.lie(lies::replace_accepter(mallory, Claim::OwnLogin));
    let out = guest.setup.run(&["connect", "--to", invitation, "--message", "hello"], MEETING).unwrap();
    assert_eq!((out.exit, broker.told()), (6, 1), "{out:?}");
    let out = guest.setup.run(&["send", "--to", invitation, "-m", "hello"], MEETING).unwrap();
    assert_eq!(out.exit, 6, "{out:?}");
    guest.assert_left_nothing();
    End::Quit.of(at_alices);
}

#[test]
fn another_identity_under_the_invited_name_is_not_taken_by_somebody_who_keeps_nothing_either() {
    let world = World::new().unwrap();
    let alice = world.person("alice").unwrap().accept_everything();
    let said = alice.run(&["id", "--invite"], PROMPT).unwrap();
    let said: Value = serde_json::from_str(said.out.last().unwrap()).unwrap();
    let line = said["invitation"].as_str().unwrap();
    let id = line.rsplit_once('/').unwrap().1;
    let forged = line.replace(id, &Identity::from_seed(&Seed::from_bytes([66; 32])).peer_id().to_string());
    let at_alices = listen(&alice).unwrap();
    let guest = Guest::new(&world, "guest");
    for command in
        [&["connect", "--to", &forged, "--message", "hello"], &["send", "--to", &forged, "-m", "hello"]]
    {
        let out = guest.setup.run(command, MEETING).unwrap();
        assert_eq!(out.exit, 6, "{out:?}");
        assert!(out.err.iter().any(|line| line.contains(id)), "both keys are shown: {out:?}");
    }
    let out = guest.setup.run(&["send", "--to", line, "-m", "hello"], MEETING).unwrap();
    assert_eq!(out.exit, 0, "{out:?}");
    assert!(out.out.iter().any(|line| line.contains("\"trust\":\"pinned\"")), "{out:?}");
    End::Quit.of(at_alices);
}

#[test]
fn the_same_without_the_flag_leaves_an_identity() {
    let world = World::new().unwrap();
    let guest = Guest::new(&world, "guest");
    let Guest { setup, before } = guest;
    let kept = Guest { setup: world.person("guest").unwrap(), before };
    assert_eq!(kept.setup.home(), setup.home());
    let mut alice = listen(&world.person("alice").unwrap().accept_everything()).unwrap();
    let out = kept.setup.run(&["send", "--to", "alice", "-m", "hello"], MEETING).unwrap();
    assert_eq!(out.exit, 0, "{out:?}");
    assert!(kept.new_paths().iter().any(|path| path.ends_with("identity.key")));
    alice.expect(&event("message").with("text", "hello"), PROMPT);
    End::Quit.of(alice);
}
