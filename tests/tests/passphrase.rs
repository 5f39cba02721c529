//! The passphrase of a key: set, changed and removed, while everything else stays as it is.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::fs;

use p2pchat_harness::peer::{Outcome, Setup};
use p2pchat_harness::process::PROMPT;
use p2pchat_harness::world::World;

fn id(setup: &Setup) -> Outcome {
    setup.run(&["id"], PROMPT).unwrap()
}

fn peer(outcome: &Outcome) -> String {
    let line = outcome.out.iter().find(|line| line.contains("\"event\":\"id\"")).unwrap();
    serde_json::from_str::<serde_json::Value>(line).unwrap()["peer"].as_str().unwrap().to_owned()
}

#[test]
fn a_passphrase_is_set_changed_and_removed_and_the_identity_stays() {
    let world = World::new().unwrap();
    let bare = world.person("alice").unwrap();
    let [old, new] = [("old", "a first one\n"), ("new", "another one\n")]
        .map(|(name, text)| world.file(name, text.as_bytes()).unwrap().display().to_string());
    let with = |file: &str| world.person("alice").unwrap().arguments(["--passphrase-file", file]);
    let me = peer(&id(&bare));

    let set = bare.run(&["passphrase", "set", "--new-file", &old], PROMPT).unwrap();
    assert_eq!(set.exit, 0, "{set:?}");
    assert!(set.out.iter().any(|line| line.contains("\"locked\":true")), "{set:?}");
    let refused = id(&bare);
    assert_eq!(refused.exit, 1, "{refused:?}");
    assert!(refused.out.iter().any(|line| line.contains("\"code\":\"locked\"")), "{refused:?}");
    assert_eq!(peer(&id(&with(&old))), me);

    // The wrong one changes nothing.
    let key = bare.home().join("identity.key");
    let sealed = fs::read(&key).unwrap();
    for what in [&["passphrase", "remove"][..], &["passphrase", "set", "--new-file", &old]] {
        let refused = with(&new).run(what, PROMPT).unwrap();
        assert_eq!(refused.exit, 1, "{refused:?}");
    }
    assert_eq!(fs::read(&key).unwrap(), sealed);

    let changed = with(&old).run(&["passphrase", "set", "--new-file", &new], PROMPT).unwrap();
    assert_eq!(changed.exit, 0, "{changed:?}");
    assert_eq!(id(&with(&old)).exit, 1, "the old one opens nothing");
    assert_eq!(peer(&id(&with(&new))), me);

    let removed = with(&new).run(&["passphrase", "remove"], PROMPT).unwrap();
    assert_eq!(removed.exit, 0, "{removed:?}");
    assert_eq!(peer(&id(&bare)), me);
    let shown = bare.run(&["passphrase"], PROMPT).unwrap();
    assert!(shown.out.iter().any(|line| line.contains("\"locked\":false")), "{shown:?}");
}

#[test]
fn where_nobody_can_be_asked_the_new_one_has_to_come_from_a_file() {
    let world = World::new().unwrap();
    let alice = world.person("alice").unwrap();
    assert_eq!(id(&alice).exit, 0);
    let key = fs::read(alice.home().join("identity.key")).unwrap();
    let refused = alice.run(&["passphrase", "set"], PROMPT).unwrap();
    assert_eq!(refused.exit, 2, "{refused:?}");
    assert!(refused.err.iter().any(|line| line.contains("--new-file")), "{refused:?}");
    assert_eq!(fs::read(alice.home().join("identity.key")).unwrap(), key);
}
