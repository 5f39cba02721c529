//! One line pins a broker and a person before anything is sent to either: with the real programs.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::thread;
use std::time::Duration;

use p2pchat_crypto::{Identity, Seed};
use p2pchat_harness::actions::say;
use p2pchat_harness::double::LyingBroker;
use p2pchat_harness::double::lies::{self, Claim};
use p2pchat_harness::event::{event, session};
use p2pchat_harness::peer::{Outcome, Peer, Setup};
use p2pchat_harness::process::PROMPT;
use p2pchat_harness::relay::Direction;
use p2pchat_harness::world::{MEETING, Paths, World, free_port, listen};
use p2pchat_proto::{BrokerKey, PeerId};
use serde_json::Value;

/// How long a broker is tried that is not there.
const BROKER_WAIT: Duration = Duration::from_secs(30);

fn end(mut peer: Peer) {
    assert_eq!(peer.quit().unwrap(), 0);
}

/// `HOST:PORT` of `HOST:PORT#KEY`.
fn address(url: &str) -> &str {
    url.split_once('#').unwrap().0
}

/// What somebody hands to others, from the real program.
fn invitation(of: &Setup) -> String {
    let out = of.run(&["id", "--invite"], BROKER_WAIT).unwrap();
    assert_eq!(out.exit, 0, "{out:?}");
    let said: Value = serde_json::from_str(out.out.last().unwrap()).unwrap();
    said["invitation"].as_str().unwrap().to_owned()
}

/// Alice, who takes everybody, behind a broker of which nobody has heard; and bob, who has no broker.
fn strangers() -> (World, Setup, Setup) {
    let world = World::new().unwrap();
    let alice = world.stranger("alice").unwrap().broker(address(&world.broker.url())).accept_everything();
    let bob = world.stranger("bob").unwrap();
    (world, alice, bob)
}

fn assert_heard_of_nobody(peer: &mut Peer) {
    let seen = peer.take_events();
    assert!(!seen.iter().any(|event| ["request", "session", "message"].contains(&event.name())), "{seen:?}");
}

/// It ended for trust, and the user sees both keys.
#[track_caller]
fn assert_shows_both(out: &Outcome, keys: [&str; 2]) {
    assert_eq!(out.exit, 6, "{out:?}");
    let shown = out.err.iter().find(|line| line.starts_with("p2pchat: ")).unwrap();
    assert!(keys.iter().all(|key| shown.contains(key)), "{shown}");
}

#[test]
fn two_who_know_nothing_meet_by_one_line_and_are_pinned_from_the_start() {
    let (world, alice, bob) = strangers();
    let line = invitation(&alice);
    assert_eq!(line, invitation(&alice));
    let shown = alice.clone().plain().run(&["id", "--invite"], PROMPT).unwrap();
    assert_eq!((shown.exit, &shown.out), (0, &vec![line.clone()]));
    assert!(shown.err.iter().any(|said| said.contains("is this machine")), "{shown:?}");
    let quiet = alice.clone().plain().run(&["id", "--invite", "--quiet", "--qr"], PROMPT).unwrap();
    assert_eq!((&quiet.out[0], quiet.err.len()), (&line, 0));
    let squares = |text: &String| text.chars().all(|c| " \u{2580}\u{2584}\u{2588}".contains(c));
    assert!(quiet.out.len() > 20 && quiet.out[1..].iter().all(squares), "{quiet:?}");
    assert!(quiet.out.iter().skip(1).all(|row| row.chars().count() <= 80), "{quiet:?}");

    let mut at_alices = listen(&alice).unwrap();
    let mut at_bobs = bob.start(&["connect", "--to", &line]).unwrap();
    let up = at_bobs.expect(&session("up"), MEETING);
    assert_eq!((up.text("name"), up.text("trust")), ("alice", "pinned"));
    at_alices.expect(&session("up"), MEETING);
    say(&mut at_bobs, &mut at_alices, "hello").unwrap();
    end(at_bobs);
    // From now on the name is enough, at that broker.
    let known = bob.clone().broker(address(&world.broker.url()));
    let out = known.run(&["contacts"], PROMPT).unwrap();
    let list: Value = serde_json::from_str(&out.out[0]).unwrap();
    let id = line.rsplit_once('/').unwrap().1;
    assert_eq!(
        (list["list"][0]["peer"].as_str(), list["list"][0]["trust"].as_str()),
        (Some(id), Some("pinned"))
    );
    let out = known.run(&["send", "--to", "alice", "-m", "again"], MEETING).unwrap();
    assert_eq!(out.exit, 0, "{out:?}");
    end(at_alices);
}

#[test]
fn a_message_goes_to_who_is_invited_and_a_running_chat_takes_an_invitation_too() {
    let (world, alice, bob) = strangers();
    let line = invitation(&alice);
    let mut at_alices = listen(&alice).unwrap();
    let sends = {
        let (bob, line) = (bob.clone(), line.clone());
        thread::spawn(move || bob.run(&["send", "--to", &line, "-m", "hello"], MEETING))
    };
    at_alices.expect(&event("message").with("text", "hello"), MEETING);
    assert_eq!(sends.join().unwrap().unwrap().exit, 0);

    let mut carol = listen(&world.person("carol").unwrap()).unwrap();
    carol.send_json(1, None, &format!("/connect {line}")).unwrap();
    carol.expect(&event("trust").with("name", "alice").with("was", "new").with("is", "pinned"), PROMPT);
    carol.expect(&event("done").with("id", 1), PROMPT);
    assert_eq!(carol.expect(&session("up"), MEETING).text("trust"), "pinned");
    let elsewhere = line.replace(address_key(&line), &BrokerKey([3; 32]).to_string());
    carol.send_json(2, None, &format!("/connect {elsewhere}")).unwrap();
    let refused = carol.expect(&event("failed").with("id", 2), PROMPT);
    assert!(refused.text("message").contains("another broker"), "{refused}");
    let other = PeerId([0x42; 32]).to_string();
    let changed = line.replace(line.rsplit_once('/').unwrap().1, &other);
    carol.send_json(3, None, &format!("/connect {changed}")).unwrap();
    let refused = carol.expect(&event("failed").with("id", 3), PROMPT);
    assert_eq!(refused.text("code"), "key_changed");
    end(carol);
    end(at_alices);
}

/// The broker's key in an invitation.
fn address_key(line: &str) -> &str {
    line.split_once("/#").unwrap().1.split('/').next().unwrap()
}

#[test]
fn without_a_broker_there_is_no_invitation_until_its_key_is_known() {
    let world = World::new().unwrap();
    let nowhere = free_port().unwrap().to_string();
    let alice = world.stranger("alice").unwrap().broker(&nowhere);
    let out = alice.run(&["id", "--invite"], BROKER_WAIT).unwrap();
    assert_eq!(out.exit, 3, "{out:?}");
    assert!(out.err.iter().any(|line| line.contains(&nowhere)), "{out:?}");
    // Who was told the key needs nobody.
    let key = BrokerKey([9; 32]);
    let told = world.stranger("bob").unwrap().broker(&format!("{nowhere}#{key}"));
    assert!(invitation(&told).starts_with(&format!("p2pchat://{nowhere}/#{key}/bob/")));
}

#[test]
fn an_invitation_against_a_known_key_is_refused_and_shows_both_before_anything_is_sent() {
    let (world, alice, bob) = strangers();
    let line = invitation(&alice);
    let mut at_alices = listen(&alice).unwrap();
    let id = line.rsplit_once('/').unwrap().1;
    let known = PeerId([0x42; 32]).to_string();
    let at_broker = bob.clone().broker(&world.broker.url());
    assert_eq!(at_broker.run(&["contacts", "add", "alice", &known], PROMPT).unwrap().exit, 0);
    let out = bob.run(&["connect", "--to", &line, "--message", "hello"], MEETING).unwrap();
    assert_shows_both(&out, [id, &known]);
    assert!(out.out.iter().any(|said| said.contains("\"key_changed\"")), "{out:?}");

    let carol = world.stranger("carol").unwrap();
    assert_eq!(carol.run(&["connect", "--to", &line, "--message", "hi"], MEETING).unwrap().exit, 0);
    at_alices.expect(&event("message").with("text", "hi"), MEETING);
    at_alices.take_events();
    let (real, other) = (address_key(&line).to_owned(), BrokerKey([3; 32]).to_string());
    let lying = line.replace(&real, &other);
    assert_shows_both(&carol.run(&["connect", "--to", &lying], MEETING).unwrap(), [&real, &other]);
    // The same if the key was only given along.
    let given = world.stranger("dave").unwrap().broker(&world.broker.url());
    assert_shows_both(&given.run(&["connect", "--to", &lying], MEETING).unwrap(), [&real, &other]);
    let own = alice.run(&["connect", "--to", &line], PROMPT).unwrap();
    assert_eq!(own.exit, 1, "alice runs already: {own:?}");
    assert_heard_of_nobody(&mut at_alices);
    end(at_alices);
    assert_eq!(alice.run(&["connect", "--to", &line], PROMPT).unwrap().exit, 4, "a chat with herself");
}

#[test]
fn what_is_no_invitation_says_what_one_is_in_one_clean_line() {
    let world = World::new().unwrap();
    let bob = world.person("bob").unwrap().plain();
    let huge = format!("p2pchat://{}", "\u{1b}]0;title\u{7}".repeat(5_000));
    let stranger = "\u{202e}".repeat(5_000);
    for (typed, says) in [
        ("p2pchat://broker.example:7770", "p2pchat://HOST:PORT/#BROKERKEY/NAME/ID"),
        ("p2pchat://\u{1b}[2J:1/#a/b/c", "HOST:PORT"),
        (&huge, "p2pchat://HOST:PORT/#BROKERKEY/NAME/ID"),
        (&stranger, "nor an invitation"),
    ] {
        for command in [&["connect", "--to", typed][..], &["send", "-m", "x", "--to", typed]] {
            let out = bob.run(command, PROMPT).unwrap();
            assert_eq!((out.exit, out.out.len(), out.err.len()), (2, 0, 1), "{out:?}");
            let line = &out.err[0];
            assert!(line.contains(says) && line.len() < 2_000, "{line}");
            assert!(!line.chars().any(|c| c.is_control() || c == '\u{202e}'), "{line:?}");
        }
    }
}

/// Bob asks for alice at a broker that answers with mallory in her place.
fn answered_by_mallory(whom: impl FnOnce(&Setup) -> String) -> (World, Paths, [Peer; 2], LyingBroker) {
    let (world, broker) = (World::new().unwrap(), LyingBroker::start(1).unwrap());
    let paths = Paths::new(1).unwrap();
    let person = |name: &str| world.stranger(name).unwrap().broker(&broker.url()).accept_everything();
    let whom = whom(&person("alice"));
    let alice = paths.listen(&person("alice")).unwrap();
    broker.lie(lies::replace_accepter(mallory(), Claim::OwnLogin));
    let bob = paths.ask(&person("bob"), &whom).unwrap();
    (world, paths, [alice, bob], broker)
}

fn mallory() -> Identity {
    Identity::from_seed(&Seed::from_bytes([66; 32]))
}

#[test]
fn a_broker_that_lies_about_who_is_invited_is_found_out_at_the_first_contact() {
    let (world, paths, [_alice, mut bob], broker) = answered_by_mallory(invitation);
    assert_eq!(bob.process.wait_exit(MEETING).unwrap(), 6, "{}", world.trace);
    assert!(broker.told() > 0);
    let codes: Vec<_> = bob.take_events().into_iter().filter(|event| event.name() == "error").collect();
    let found_out = |code: &str| ["key_changed", "tampered"].contains(&code);
    assert!(codes.iter().any(|error| found_out(error.text("code"))), "{}", world.trace);
    let sent = paths
        .udp()
        .into_iter()
        .map(|relay| relay.counts(Direction::In).came + relay.counts(Direction::Out).came)
        .sum::<u64>();
    assert_eq!(sent, 0, "{}", world.trace);
}

#[test]
fn the_same_lie_about_somebody_who_is_only_named_is_taken_for_the_truth() {
    let (world, _paths, [_alice, mut bob], broker) = answered_by_mallory(|_| "alice".to_owned());
    let accepted = bob.expect(&event("request").with("state", "accepted"), MEETING);
    assert_eq!(accepted.text("peer"), mallory().peer_id().to_string(), "{}", world.trace);
    assert!(broker.told() > 0);
}

#[test]
fn somebody_else_who_holds_the_name_is_not_taken_for_who_is_invited() {
    let (world, alice, bob) = strangers();
    let line = invitation(&alice);
    let id = line.rsplit_once('/').unwrap().1;
    let told = PeerId([0x42; 32]).to_string();
    let mut at_alices = listen(&alice).unwrap();
    // Whoever was told of another alice meets this one's name.
    let out = bob.run(&["connect", "--to", &line.replace(id, &told), "--message", "hello"], MEETING).unwrap();
    assert_shows_both(&out, [id, &told]);
    assert_heard_of_nobody(&mut at_alices);
    let by_name = world.person("carol").unwrap();
    let out = by_name.run(&["connect", "--to", "alice", "--message", "hello"], MEETING).unwrap();
    assert_eq!(out.exit, 0, "{out:?}");
    at_alices.expect(&event("message").with("text", "hello"), MEETING);
    end(at_alices);
}

#[test]
fn a_broker_key_that_was_given_is_kept_once_it_is_proven() {
    let world = World::new().unwrap();
    let bob = world.stranger("bob").unwrap();
    let given = bob.clone().broker(&world.broker.url());
    assert_eq!(given.run(&["list"], PROMPT).unwrap().exit, 0);
    let bob = bob.broker(address(&world.broker.url()));
    let carol = mallory().peer_id().to_string();
    let added = bob.run(&["contacts", "add", "carol", &carol], PROMPT).unwrap();
    assert_eq!(added.exit, 0, "the broker's key is known: {added:?}");
}
