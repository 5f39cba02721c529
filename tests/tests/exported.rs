//! What is exported on one machine and taken on another: with the real programs.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use p2pchat_harness::actions::say;
use p2pchat_harness::binaries;
use p2pchat_harness::event::{Event, event, session};
use p2pchat_harness::peer::{Outcome, Peer, Setup};
use p2pchat_harness::process::{PROMPT, command};
use p2pchat_harness::world::{MEETING, World, listen};
use p2pchat_proto::PeerId;
use serde_json::Value;

/// Passphrases of files, in files.
struct Secrets {
    right: String,
    wrong: String,
}

impl Secrets {
    fn new(world: &World) -> Self {
        let [right, wrong] = [("right", "over the sea\n"), ("wrong", "over the hill\n")]
            .map(|(name, text)| world.file(name, text.as_bytes()).unwrap().display().to_string());
        Self { right, wrong }
    }
}

/// Runs a command whose file has its passphrase in `secret`.
fn with(setup: &Setup, words: &[&str], file: &Path, secret: &str) -> Outcome {
    let file = file.display().to_string();
    setup.run(&[words, &[&file, "--export-passphrase-file", secret]].concat(), PROMPT).unwrap()
}

fn said(outcome: &Outcome) -> Value {
    assert_eq!(outcome.exit, 0, "{outcome:?}");
    serde_json::from_str(outcome.out.last().unwrap()).unwrap()
}

/// The code and the message of a command that failed.
#[track_caller]
fn failed(outcome: &Outcome) -> (String, String) {
    assert_eq!(outcome.exit, 1, "{outcome:?}");
    let error: Value = serde_json::from_str(&outcome.out[0]).unwrap();
    (error["code"].as_str().unwrap().to_owned(), error["message"].as_str().unwrap().to_owned())
}

fn end(mut peer: Peer) {
    assert_eq!(peer.quit().unwrap(), 0);
}

/// Alice on another machine.
fn elsewhere(world: &World) -> Setup {
    let home = world.directory("another-machine").unwrap();
    Setup::new("alice", &home, &world.trace).broker(&world.broker.url())
}

/// Alice asks bob, and they talk; what bob sees of her.
fn talk(alice: &Setup, bob: &mut Peer, text: &str) -> Event {
    let mut alice = alice.start(&["connect", "--to", "bob"]).unwrap();
    alice.expect(&session("up"), MEETING);
    let up = bob.expect(&session("up"), MEETING);
    say(&mut alice, bob, text).unwrap();
    end(alice);
    bob.expect(&session("closed"), MEETING);
    up
}

#[test]
fn the_same_person_writes_from_two_machines_and_nothing_is_lost_as_a_duplicate() {
    let world = World::new().unwrap();
    let secrets = Secrets::new(&world);
    let [alice, bob] = ["alice", "bob"].map(|name| world.person(name).unwrap());
    let mut at_bobs = listen(&bob).unwrap();
    let mut at_alices = alice.start(&["connect", "--to", "bob"]).unwrap();
    at_bobs.expect(&event("request").with("direction", "in").with("state", "open"), MEETING);
    at_bobs.send_line("/accept alice").unwrap();
    at_bobs.expect(&event("trust").with("is", "pinned"), MEETING);
    at_bobs.expect(&session("up"), MEETING);
    say(&mut at_alices, &mut at_bobs, "one").unwrap();
    end(at_alices);
    at_bobs.expect(&session("closed"), MEETING);

    let file = world.directory("stick").unwrap().join("alice.export");
    let exported = said(&with(&alice, &["id", "export"], &file, &secrets.right));
    let there = elsewhere(&world);
    let imported = said(&with(&there, &["id", "import"], &file, &secrets.right));
    assert_eq!((&imported["peer"], imported["name"].as_str()), (&exported["peer"], Some("alice")));

    let mut seen = Vec::new();
    for (setup, text) in [(&there, "two"), (&alice, "three"), (&there, "four")] {
        let up = talk(setup, &mut at_bobs, text);
        seen.push((up.text("peer").to_owned(), up.text("trust").to_owned()));
    }
    let me = exported["peer"].as_str().unwrap().to_owned();
    assert_eq!(seen, vec![(me, "pinned".to_owned()); 3]);
    assert!(!at_bobs.take_events().iter().any(|event| event.name() == "error"), "{}", world.trace);
    end(at_bobs);
    let history = bob.run(&["history", "show", "--with", "alice"], PROMPT).unwrap();
    let texts: Vec<Value> =
        history.out.iter().map(|line| serde_json::from_str::<Value>(line).unwrap()["text"].clone()).collect();
    assert_eq!(texts, ["one", "two", "three", "four"], "{history:?}");
}

#[test]
fn an_exported_identity_tells_nothing_and_replaces_nothing() {
    let world = World::new().unwrap();
    let secrets = Secrets::new(&world);
    let alice = world.person("alice").unwrap();
    let me = said(&alice.run(&["id"], PROMPT).unwrap())["peer"].as_str().unwrap().to_owned();
    let key = fs::read(alice.home().join("identity.key")).unwrap();
    let file = world.directory("stick").unwrap().join("alice.export");
    assert_eq!(said(&with(&alice, &["id", "export"], &file, &secrets.right))["peer"], me.as_str());
    let content = fs::read(&file).unwrap();
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
    for hidden in [me.as_bytes(), b"alice", &me.parse::<PeerId>().unwrap().0] {
        assert!(!content.windows(hidden.len()).any(|window| window == hidden), "{hidden:?}");
    }

    let again = failed(&with(&alice, &["id", "export"], &file, &secrets.right));
    assert!(again.0 == "export" && again.1.contains("it is there already"), "{again:?}");
    let taken = failed(&with(&alice, &["id", "import"], &file, &secrets.right));
    assert_eq!(taken.0, "key_file", "{taken:?}");
    assert_eq!(fs::read(&file).unwrap(), content);
    assert_eq!(fs::read(alice.home().join("identity.key")).unwrap(), key);
    assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1, "nothing half is left");

    let nobody_asked = alice.run(&["id", "export", "other.export"], PROMPT).unwrap();
    assert_eq!(nobody_asked.exit, 2, "{nobody_asked:?}");
    assert!(nobody_asked.err[0].contains("--export-passphrase-file"), "{nobody_asked:?}");
    assert!(!alice.home().join("other.export").exists());
}

#[test]
fn a_wrong_passphrase_is_told_from_a_file_that_was_damaged_on_its_way() {
    let world = World::new().unwrap();
    let secrets = Secrets::new(&world);
    let alice = world.person("alice").unwrap();
    assert_eq!(alice.run(&["id"], PROMPT).unwrap().exit, 0);
    let file = world.directory("stick").unwrap().join("alice.export");
    said(&with(&alice, &["id", "export"], &file, &secrets.right));
    let there = elsewhere(&world);
    let import = |file: &Path, secret: &str| failed(&with(&there, &["id", "import"], file, secret));
    assert!(import(&file, &secrets.wrong).1.contains("wrong passphrase"));
    let content = fs::read(&file).unwrap();
    let damaged = file.with_extension("damaged");
    for at in [15, 40, 100, content.len() / 2, content.len() - 1] {
        let mut flipped = content.clone();
        flipped[at] ^= 1;
        fs::write(&damaged, flipped).unwrap();
        assert!(import(&damaged, &secrets.right).1.contains("damaged"), "byte {at}");
    }
    for (bytes, says) in
        [(&content[..content.len() / 2], "damaged"), (b"", "not an export"), (&[0; 99], "not an")]
    {
        fs::write(&damaged, bytes).unwrap();
        assert!(import(&damaged, &secrets.right).1.contains(says), "{says}");
    }
    assert!(import(&file.with_extension("nowhere"), &secrets.right).1.contains("No such file"));
    assert!(!there.home().join("identity.key").exists(), "nothing was taken");
    // The file itself is as good as ever, whoever may read it by now, and under the name that is in it.
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let mut unnamed = command(&binaries::find(binaries::PEER).unwrap(), there.home());
    unnamed.args(["--json", "id", "import", "--export-passphrase-file", &secrets.right]).arg(&file);
    let out = unnamed.output().unwrap();
    assert!(out.status.success(), "{out:?}");
    let taken: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(taken["name"], "alice");
    let profile: PathBuf = [".local", "share", "p2pchat", "profiles", "alice"].iter().collect();
    assert!(there.home().join(profile).join("identity.key").exists());
}

#[test]
fn contacts_go_to_another_machine_and_replace_nobody_there() {
    let world = World::new().unwrap();
    let secrets = Secrets::new(&world);
    let alice = world.person("alice").unwrap();
    let [bob, carol, other] = [1, 2, 3].map(|byte| PeerId([byte; 32]).to_string());
    for words in [&["add", "bob", &bob][..], &["verify", "bob", "--yes"], &["block", &carol]] {
        assert_eq!(alice.run(&[&["contacts"], words].concat(), PROMPT).unwrap().exit, 0);
    }
    let stick = world.directory("stick").unwrap();
    let (person, people) = (stick.join("alice.export"), stick.join("people.export"));
    said(&with(&alice, &["id", "export"], &person, &secrets.right));
    assert_eq!(said(&with(&alice, &["contacts", "export"], &people, &secrets.right))["people"], 2);
    let content = fs::read(&people).unwrap();
    for hidden in [&[1; 32][..], bob.as_bytes(), b"bob", b"verified", world.broker.url().as_bytes()] {
        assert!(!content.windows(hidden.len()).any(|window| window == hidden), "{hidden:?}");
    }

    let there = elsewhere(&world);
    said(&with(&there, &["id", "import"], &person, &secrets.right));
    let refused = with(&there, &["contacts", "import"], &people, &secrets.wrong);
    assert!(failed(&refused).1.contains("wrong passphrase"), "{refused:?}");
    let refused = with(&there, &["contacts", "import"], &person, &secrets.right);
    assert!(failed(&refused).1.contains("it holds an identity"), "{refused:?}");
    let list = |setup: &Setup| said(&setup.run(&["contacts"], PROMPT).unwrap())["list"].clone();
    assert_eq!(list(&there), Value::Array(Vec::new()));
    assert_eq!(said(&with(&there, &["contacts", "import"], &people, &secrets.right))["people"], 1);
    assert_eq!(list(&there), list(&alice));
    assert_eq!(
        (&list(&there)[0]["trust"], &list(&there)[1]["trust"]),
        (&"verified".into(), &"blocked".into())
    );
    assert_eq!(said(&with(&there, &["contacts", "import"], &people, &secrets.right))["people"], 0);

    // Dave knows another bob.
    let dave = world.person("dave").unwrap();
    assert_eq!(dave.run(&["contacts", "add", "bob", &other], PROMPT).unwrap().exit, 0);
    let out = with(&dave, &["contacts", "import"], &people, &secrets.right);
    assert_eq!(out.exit, 6, "{out:?}");
    assert!(out.err.iter().any(|line| line.contains(&bob) && line.contains(&other)), "{out:?}");
    let imported: Value = serde_json::from_str(&out.out[0]).unwrap();
    assert_eq!(imported["refused"][0]["code"], "key_changed");
    let known = list(&dave);
    assert_eq!((&known[0]["peer"], &known[0]["trust"]), (&other.as_str().into(), &"pinned".into()));
    assert_eq!(known[1]["trust"], "blocked", "what goes against nothing is taken");
}
