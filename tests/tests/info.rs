//! What `/info` says of a session between real programs.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use p2pchat_harness::actions::say;
use p2pchat_harness::event::{Event, event, session};
use p2pchat_harness::process::PROMPT;
use p2pchat_harness::world::{MEETING, World, listen};

/// The only session in an answer to `/info`.
fn only_session(info: &Event) -> Event {
    let [session] = info.field("sessions").as_array().unwrap().as_slice() else { panic!("{info}") };
    Event::of_fields(session.clone()).unwrap()
}

#[test]
fn info_tells_the_path_the_window_and_who_may_come_back() {
    for (accept, may_return) in [("/accept", true), ("/accept --once", false)] {
        let world = World::new().unwrap();
        let mut alice = listen(&world.person("alice").unwrap()).unwrap();
        let mut bob = world.person("bob").unwrap().start(&["connect", "--to", "alice"]).unwrap();
        alice.expect(&event("request").with("direction", "in").with("state", "open"), MEETING);
        alice.send_line(accept).unwrap();
        for peer in [&mut alice, &mut bob] {
            peer.expect(&session("up"), MEETING);
        }
        say(&mut bob, &mut alice, "hello").unwrap();
        say(&mut alice, &mut bob, "hello yourself").unwrap();

        let alices = alice.info().unwrap();
        for info in [&alices, &bob.info().unwrap()] {
            let of = only_session(info);
            assert_eq!((of.text("state"), of.field("validated").as_bool()), ("up", Some(true)), "{info}");
            let number = |field: &str| of.number(field).unwrap_or_else(|| panic!("no {field} in {info}"));
            assert!(number("mtu") >= 1200, "{info}");
            assert!(number("window") >= 2 * 1200, "{info}");
            assert!(number("sent") > 0 && number("in_flight") <= number("window"), "{info}");
            for none in ["moves", "black_holes", "reductions", "key_epoch"] {
                assert_eq!(number(none), 0, "{none} in {info}");
            }
            assert!(number("spurious") + number("timeouts") < number("sent"), "{info}");
            let ms = |field: &str| of.field(field).as_f64().unwrap_or_else(|| panic!("no {field} in {info}"));
            assert!(ms("rtt_min_ms") > 0.0 && ms("rtt_min_ms") <= ms("rtt_ms") * 8.0, "{info}");
            assert!(ms("rtt_var_ms") >= 0.0 && ms("pto_ms") > ms("rtt_ms"), "{info}");
        }

        // Alice is the one who was asked: she decides whether bob has to ask again.
        let of = only_session(&alices);
        assert_eq!(of.field("may_return").as_bool(), Some(may_return), "{alices}");
        assert_eq!(of.text("may_return_until") > alices.text("at"), may_return, "{alices}");
        assert_eq!(only_session(&bob.info().unwrap()).field("may_return").as_bool(), Some(true));

        // She answered a handshake, and nobody overdid it.
        let socket = Event::of_fields(alices.field("socket").clone()).unwrap();
        let count = |field: &str| socket.number(field).unwrap_or_else(|| panic!("no {field} in {alices}"));
        assert!(count("answered") >= 2 && count("key_exchanges") >= 4, "{alices}");
        assert!(count("repeated") < count("answered"), "{alices}");
        assert_eq!((count("limited"), count("mac_failed")), (0, 0), "{alices}");
    }
}

#[test]
fn info_is_a_few_lines_for_people() {
    let world = World::new().unwrap();
    let mut alice = listen(&world.person("alice").unwrap().accept_everything()).unwrap();
    let mut bob = world.person("bob").unwrap().plain().start(&["connect", "--to", "alice"]).unwrap();
    alice.expect(&session("up"), MEETING);
    bob.process.find("a session", MEETING, |line| line.text.contains("alice").then_some(())).unwrap();
    bob.send_line("hello").unwrap();
    alice.expect(&p2pchat_harness::event::message("hello"), PROMPT);
    bob.send_line("/info").unwrap();
    for part in [
        "alice: up · lan 127.0.0.1:",
        "  packets: ",
        "  path: proven, moved 0 times",
        "  sending: window ",
        "  comes back without asking until 2",
        "socket: ",
    ] {
        bob.process.find(part, PROMPT, |line| line.text.starts_with(part).then_some(())).unwrap();
    }
}
