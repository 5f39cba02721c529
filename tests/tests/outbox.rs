//! Messages to somebody who is away: kept, and delivered by the process that can.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use p2pchat_harness::actions::say;
use p2pchat_harness::event::{event, message};
use p2pchat_harness::peer::{Peer, Setup};
use p2pchat_harness::process::{PROMPT, Stream};
use p2pchat_harness::raw::Raw;
use p2pchat_harness::world::{MEETING, World};

/// Two who know each other, neither of whom runs.
struct Apart {
    world: World,
    alice: Setup,
    bob: Setup,
}

impl Apart {
    fn new() -> Self {
        let world = World::new().unwrap();
        // On the port of last time, so that whoever knows them finds them there.
        let [alice, bob] = ["alice", "bob"].map(|name| world.person(name).unwrap().bind_everywhere());
        let (mut at_alices, mut at_bobs) = world.acquaint(&alice, &bob).unwrap();
        say(&mut at_bobs, &mut at_alices, "hello").unwrap();
        end(at_bobs);
        end(at_alices);
        Self { world, alice, bob }
    }

    /// Bob writes while alice is away.
    fn write(&self, text: &str) -> String {
        let out = self.bob.run(&["send", "--to", "alice", "-m", text], MEETING).unwrap();
        assert_eq!(out.exit, 7, "{out:?}");
        let ledger = out.out.iter().find(|line| line.contains("\"ledger\"")).unwrap();
        assert!(ledger.contains("\"queued\":[\"alice\"]"), "{ledger}");
        let own = out.out.iter().find(|line| line.contains("\"event\":\"message\"")).unwrap();
        let own: serde_json::Value = serde_json::from_str(own).unwrap();
        own["sent_at"].as_str().unwrap().to_owned()
    }

    /// Both run, without a word of theirs; alice gets each text once, in order, with its time.
    fn meet(&self, texts: &[(&str, String)]) {
        let mut alice = self.alice.start(&["listen"]).unwrap();
        alice.expect(&event("ready"), PROMPT);
        let mut bob = self.bob.start(&["listen"]).unwrap();
        for (text, sent_at) in texts {
            let came = alice.expect(&event("message").with("mine", false), MEETING);
            assert_eq!(came.field("text").as_str(), Some(*text), "{came}");
            assert_eq!(came.field("sent_at").as_str(), Some(sent_at.as_str()), "{came}");
            assert_eq!(came.field("late").as_bool(), Some(true), "{came}");
        }
        for _ in texts {
            bob.expect(&event("receipt").with("state", "read"), MEETING);
        }
        say(&mut bob, &mut alice, "live").unwrap();
        end(bob);
        end(alice);
    }
}

fn end(mut peer: Peer) {
    peer.send_line("/quit").unwrap();
    peer.expect(&event("stopped"), PROMPT);
}

#[test]
fn a_message_to_somebody_who_is_away_arrives_with_its_time_when_both_run_again() {
    let apart = Apart::new();
    let texts = ["while you were away", "and another"].map(|text| (text, apart.write(text)));
    apart.meet(&texts);
    let out = apart.alice.run(&["history", "show", "--with", "bob"], PROMPT).unwrap();
    let kept: Vec<_> = out.out.iter().filter(|line| line.contains("\"text\"")).collect();
    assert_eq!(kept.len(), 4, "each once: {out:?}");
}

#[test]
fn it_does_so_with_the_broker_down_all_the_time() {
    let mut apart = Apart::new();
    apart.world.broker.kill().unwrap();
    let texts = ["no broker"].map(|text| (text, apart.write(text)));
    apart.meet(&texts);
}

#[test]
fn whoever_keeps_read_receipts_back_tells_nobody_and_is_shown_nothing_twice() {
    let apart = Apart::new();
    let quiet = apart.alice.clone().arguments(["--read-receipts", "off"]);
    let mut alice = quiet.start(&["listen"]).unwrap();
    alice.expect(&event("broker").with("state", "connected"), PROMPT);
    let mut bob = apart.bob.start(&["connect", "--to", "alice"]).unwrap();
    for text in ["one", "two"] {
        bob.send_line(text).unwrap();
        alice.expect(&message(text), MEETING);
        bob.expect(&event("receipt").with("state", "stored"), MEETING);
        alice.send_line("heard").unwrap();
        bob.expect(&message("heard"), MEETING);
    }
    bob.send_line("/quit").unwrap();
    bob.expect(&event("stopped"), PROMPT);
    let receipts = bob.take_events().into_iter().filter(|event| event.name() == "receipt");
    assert!(receipts.into_iter().all(|event| event.text("state") != "read"));
    end(alice);
    // It is kept that they were shown.
    let mut alice = quiet.start(&["listen"]).unwrap();
    alice.expect(&event("broker").with("state", "connected"), PROMPT);
    let bob = apart.bob.start(&["connect", "--to", "alice", "--message", "three"]).unwrap();
    let next = alice.expect(&event("message").with("mine", false), MEETING);
    assert_eq!(next.text("text"), "three");
    end(bob);
    end(alice);
}

/// The only conversation in which something waits for somebody, as `history waiting` tells it.
fn waiting(setup: &Setup, options: &[&str]) -> serde_json::Value {
    let out = setup.run(&[options, &["history", "waiting"]].concat(), PROMPT).unwrap();
    let waiting: serde_json::Value = serde_json::from_str(&out.out[0]).unwrap();
    waiting["list"][0].clone()
}

#[test]
fn what_waits_for_longer_than_it_may_is_given_up_and_never_delivered() {
    let apart = Apart::new();
    apart.write("too late");
    assert!(waiting(&apart.bob, &[]).get("expires").is_none());
    let shown = waiting(&apart.bob, &["--expire", "1w"]);
    // RFC 3339 in UTC, so that later is greater: a week is another day at the same time of it.
    let (since, expires) = (shown["since"].as_str().unwrap(), shown["expires"].as_str().unwrap());
    assert!(expires > since && expires[10..] == since[10..], "{shown}");

    let mut bob = apart.bob.start(&["--expire", "1s", "listen"]).unwrap();
    let failed = bob.expect(&event("receipt").with("state", "failed"), MEETING);
    end(bob);
    let out = apart.bob.run(&["history", "show", "--with", "alice", "--limit", "1"], PROMPT).unwrap();
    let kept: serde_json::Value = serde_json::from_str(&out.out[0]).unwrap();
    assert_eq!((&kept["text"], &kept["state"]), (&"too late".into(), &"failed".into()), "{kept}");
    assert_eq!(kept["message"].as_str(), Some(failed.text("message")));

    // People are told whom to write to again.
    apart.write("too late again");
    let mut bob = Raw::start(&apart.bob.clone().plain(), &["--expire", "1s", "listen"]).unwrap();
    bob.expect(Stream::Err, "not delivered to alice; /msg alice TEXT", 1).unwrap();
    bob.write(b"/waiting\n").unwrap();
    bob.expect(Stream::Out, "Nothing waits.", 1).unwrap();
    bob.end().unwrap();
    // What is written from then on comes, and nothing before it.
    let texts = ["in time"].map(|text| (text, apart.write(text)));
    apart.meet(&texts);
}

/// What bob is told of a message to several, and for whom one waits afterwards.
fn told(apart: &Apart, to: &str, text: &str) -> (Option<i32>, String, String) {
    let out = apart.bob.run(&["send", "--to", to, "-m", text], MEETING).unwrap();
    let ledger = out.out.iter().find(|line| line.contains("\"ledger\"")).unwrap().clone();
    let last = out.err.iter().find(|line| line.starts_with("p2pchat: ")).unwrap().clone();
    (Some(out.exit), ledger, last)
}

#[test]
fn what_waits_is_told_from_what_nobody_gets_whoever_is_named_first() {
    let apart = Apart::new();
    for (to, text) in [("alice,nosuchone", "one"), ("nosuchone,alice", "two")] {
        let (exit, ledger, last) = told(&apart, to, text);
        assert_eq!(exit, Some(7), "{last}");
        assert!(last.contains("1 message was not delivered") && last.contains("it is kept"), "{last}");
        assert!(ledger.contains("\"queued\":[\"alice\"],\"failed\":[\"nosuchone\"]"), "{ledger}");
    }
    let (exit, _, last) = told(&apart, "nosuchone", "three");
    assert_eq!(exit, Some(4), "{last}");
    assert!(!last.contains("it is kept"), "{last}");
}

#[test]
fn what_is_declined_now_waits_like_what_finds_nobody_there() {
    let apart = Apart::new();
    let mut nobody = apart.alice.clone().arguments(["--accept", "nobody"]).start(&["listen"]).unwrap();
    nobody.expect(&event("broker").with("state", "connected"), PROMPT);
    let (exit, ledger, last) = told(&apart, "alice", "not now");
    assert_eq!(exit, Some(7), "{last}");
    assert!(ledger.contains("\"queued\":[\"alice\"]"), "{ledger}");
    end(nobody);
    let mut alice = apart.alice.start(&["listen"]).unwrap();
    alice.expect(&event("broker").with("state", "connected"), PROMPT);
    let bob = apart.bob.start(&["listen"]).unwrap();
    alice.expect(&event("message").with("text", "not now").with("mine", false), MEETING);
    end(bob);
    end(alice);
}

#[test]
fn nothing_waits_for_somebody_who_is_blocked() {
    let apart = Apart::new();
    assert_eq!(apart.bob.run(&["contacts", "block", "alice"], PROMPT).unwrap().exit, 0);
    let out = apart.bob.run(&["send", "--to", "alice", "-m", "never"], MEETING).unwrap();
    let last = out.err.last().unwrap();
    assert_eq!(out.exit, 4, "{last}");
    let way = "alice is blocked; /unblock alice or `p2pchat contacts unblock alice` first";
    assert!(last.contains(way) && !last.contains("kept"), "{last}");
    assert!(!out.out.iter().any(|line| line.contains("\"queued\"")), "{out:?}");
    let waits = apart.bob.run(&["history", "waiting"], PROMPT).unwrap();
    assert!(waits.out[0].contains("\"list\":[]"), "{waits:?}");
}
