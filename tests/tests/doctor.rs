//! `doctor`: what it finds, alone and beside an open chat. With the real programs.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;

use p2pchat_harness::event::{Event, event};
use p2pchat_harness::peer::{Outcome, Peer};
use p2pchat_harness::process::PROMPT;
use p2pchat_harness::world::{MEETING, World, listen};

fn end(mut peer: Peer) {
    peer.send_line("/quit").unwrap();
    peer.expect(&event("stopped"), PROMPT);
}

/// Every check, as its name and health.
fn checks(out: &Outcome) -> Vec<(String, String)> {
    let events = out.out.iter().filter_map(|line| Event::parse(line));
    let lists = events.filter(|event| event.name() == "checks");
    let all = lists.flat_map(|event| event.field("list").as_array().unwrap().clone());
    let text = |check: &serde_json::Value, field: &str| check[field].as_str().unwrap().to_owned();
    all.map(|check| (text(&check, "check"), text(&check, "health"))).collect()
}

fn health(out: &Outcome, of: &str) -> String {
    let all = checks(out);
    let found = all.iter().find(|(check, _)| check == of).unwrap_or_else(|| panic!("no {of}: {out:?}"));
    found.1.clone()
}

#[test]
fn alone_it_looks_at_everything_and_finds_no_fault_where_there_is_none() {
    let world = World::new().unwrap();
    let alice = world.person("alice").unwrap();
    let fresh = alice.run(&["doctor"], MEETING).unwrap();
    assert_eq!((fresh.exit, health(&fresh, "key").as_str()), (0, "warning"), "{fresh:?}");
    assert!(!alice.home().join("identity.key").exists(), "it makes nothing");
    assert_eq!(alice.run(&["init", "--no-passphrase"], PROMPT).unwrap().exit, 0);
    let out = alice.run(&["doctor"], MEETING).unwrap();
    assert_eq!(out.exit, 0, "{out:?}");
    for check in ["home", "control", "store", "udp", "tcp", "addresses", "broker", "clock", "round trip"] {
        assert_eq!(health(&out, check), "ok", "{check}: {out:?}");
    }
    assert_eq!(health(&out, "key"), "warning", "it has no passphrase");
    let plain = alice.clone().plain().run(&["doctor"], MEETING).unwrap();
    assert!(plain.out.iter().any(|line| line.starts_with("ok       clock: within")), "{plain:?}");
    assert!(plain.out.iter().any(|line| line.contains("STUN")), "{plain:?}");
}

#[test]
fn each_fault_is_found_and_decides_how_it_ends() {
    let world = World::new().unwrap();
    let alice = world.stranger("alice").unwrap();
    assert_eq!(alice.run(&["init", "--no-passphrase"], PROMPT).unwrap().exit, 0);
    // Nobody listens on the port of a socket that is bound and for UDP only.
    let nobody = UdpSocket::bind("127.0.0.1:0").unwrap();
    let broker = nobody.local_addr().unwrap().to_string();
    let away = alice.clone().broker(&broker);
    let out = away.run(&["doctor"], MEETING).unwrap();
    assert_eq!((out.exit, health(&out, "broker").as_str()), (3, "fault"), "{out:?}");

    let key = alice.home().join("identity.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let out = away.run(&["doctor"], MEETING).unwrap();
    assert_eq!((out.exit, health(&out, "key").as_str()), (1, "fault"), "{out:?}");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();

    let taken = alice.clone().broker(&broker).arguments(["--bind".to_owned(), broker.clone()]);
    let out = taken.run(&["doctor"], MEETING).unwrap();
    assert_eq!((out.exit, health(&out, "udp").as_str()), (1, "fault"), "{out:?}");

    fs::write(alice.home().join("papers"), "not what was written").unwrap();
    let out = away.run(&["doctor"], MEETING).unwrap();
    assert_eq!((out.exit, health(&out, "store").as_str()), (1, "fault"), "{out:?}");

    // Not a home that has no key yet: what is in it needs the one that is gone.
    fs::remove_file(&key).unwrap();
    let out = away.run(&["doctor"], MEETING).unwrap();
    assert_eq!((out.exit, health(&out, "key").as_str()), (1, "fault"), "{out:?}");
}

#[test]
fn with_a_name_a_session_is_tried_alone_and_through_the_chat_that_is_open() {
    let world = World::new().unwrap();
    let [alice, bob] = ["alice", "bob"].map(|name| world.person(name).unwrap());
    let (at_alices, at_bobs) = world.acquaint(&alice, &bob).unwrap();
    let through = bob.run(&["doctor", "alice"], MEETING).unwrap();
    assert_eq!(through.exit, 0, "{through:?}");
    for check in ["control", "broker", "round trip", "path"] {
        assert_eq!(health(&through, check), "ok", "{check}: {through:?}");
    }
    end(at_bobs);
    let alone = bob.run(&["doctor", "alice"], MEETING).unwrap();
    assert_eq!((alone.exit, health(&alone, "path").as_str()), (0, "ok"), "{alone:?}");
    assert!(alone.out.iter().any(|line| line.contains("loss 0.0 %")), "{alone:?}");
    end(at_alices);
    let gone = bob.run(&["doctor", "alice"], MEETING).unwrap();
    assert_eq!((gone.exit, health(&gone, "path").as_str()), (4, "fault"), "{gone:?}");
}

#[test]
fn whoever_is_only_tried_is_no_contact_and_nothing_is_kept_of_them() {
    let world = World::new().unwrap();
    let [alice, bob] = ["alice", "bob"].map(|name| world.person(name).unwrap());
    let at_alices = listen(&alice.accept_everything()).unwrap();
    assert_eq!(bob.run(&["init", "--no-passphrase"], PROMPT).unwrap().exit, 0);
    assert_eq!(bob.run(&["doctor"], MEETING).unwrap().exit, 0);
    let out = bob.run(&["doctor", "alice"], MEETING).unwrap();
    assert_eq!((out.exit, health(&out, "path").as_str()), (0, "ok"), "{out:?}");
    let known = bob.run(&["contacts"], PROMPT).unwrap();
    let list = known.out.iter().filter_map(|line| Event::parse(line)).find(|said| said.name() == "contacts");
    assert_eq!(list.unwrap().field("list").as_array().map(Vec::len), Some(0), "{known:?}");
    end(at_alices);
}
