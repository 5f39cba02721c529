//! What goes wrong says so in one line and by its exit code.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::fs::{self, Permissions};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use p2pchat_harness::binaries;
use p2pchat_harness::broker::Broker;
use p2pchat_harness::event::event;
use p2pchat_harness::peer::{Outcome, Setup};
use p2pchat_harness::process::{PROMPT, Process, command};
use p2pchat_harness::world::{MEETING, World, listen, only_file};
use rustix::fs::{CWD, FileType, Mode, mknodat};

/// How long the broker is tried (cli.md), and the room that a busy machine gets.
const BROKER_TRIED: std::ops::Range<u64> = 14..25;

/// One line of error that names what happened, and the exit code.
#[track_caller]
fn assert_fails(outcome: &Outcome, exit: i32, names: &str) {
    assert_eq!(outcome.exit, exit, "{outcome:?}");
    let said: Vec<_> = outcome.err.iter().filter(|line| !line.is_empty()).collect();
    let last = said.last().unwrap_or_else(|| panic!("no error line: {outcome:?}"));
    assert!(last.to_lowercase().contains(names), "`{names}` is not in the error line: {outcome:?}");
    let errors = said.iter().filter(|line| line.starts_with("p2pchat: ")).count();
    assert_eq!(errors, 1, "one line of error: {outcome:?}");
    assert!(!outcome.err.iter().any(|line| line.contains("panicked")), "{outcome:?}");
}

fn plain(world: &World, name: &str) -> Setup {
    world.person(name).unwrap().plain()
}

fn initialised(world: &World, name: &str) -> Setup {
    let setup = plain(world, name);
    assert_eq!(setup.run(&["init", "--no-passphrase"], PROMPT).unwrap().exit, 0);
    setup
}

#[test]
fn no_broker_is_3_after_15_seconds_of_trying() {
    let world = World::new().unwrap();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let bob = world.stranger("bob").unwrap().plain().broker(&free.to_string());
    let outcome = bob.run(&["connect", "--to", "alice"], Duration::from_secs(40)).unwrap();
    assert_fails(&outcome, 3, &free.to_string());
    assert!(BROKER_TRIED.contains(&outcome.took.as_secs()), "{:?}", outcome.took);
    assert!(outcome.err.iter().any(|line| line.contains("...")), "dots show that it is tried: {outcome:?}");
}

#[test]
fn an_unknown_name_is_4() {
    let world = World::new().unwrap();
    let outcome = plain(&world, "bob").run(&["connect", "--to", "nobody-of-that-name"], MEETING).unwrap();
    assert_fails(&outcome, 4, "nobody-of-that-name");
}

#[test]
fn somebody_who_is_not_online_is_4() {
    let world = World::new().unwrap();
    let mut alice = listen(&world.person("alice").unwrap()).unwrap();
    assert_eq!(alice.quit().unwrap(), 0);
    let outcome = plain(&world, "bob").run(&["connect", "--to", "alice"], MEETING).unwrap();
    assert_fails(&outcome, 4, "online");
}

#[test]
fn a_declined_request_is_4_and_gives_the_reason() {
    let world = World::new().unwrap();
    let mut alice = listen(&world.person("alice").unwrap()).unwrap();
    let mut bob = plain(&world, "bob").start(&["connect", "--to", "alice"]).unwrap();
    alice.expect(&event("request").with("direction", "in").with("state", "open"), MEETING);
    alice.send_line("/decline bob busy with herons").unwrap();
    assert_eq!(bob.process.wait_exit(MEETING).unwrap(), 4);
    let said = bob.process.take_lines();
    assert!(said.iter().any(|line| line.text.contains("busy with herons")), "{}", world.trace);
}

#[test]
fn no_answer_is_5() {
    let world = World::new().unwrap();
    let _alice = listen(&world.person("alice").unwrap()).unwrap();
    let outcome = plain(&world, "bob").run(&["connect", "--to", "alice", "--timeout", "2"], MEETING).unwrap();
    assert_fails(&outcome, 5, "answer");
}

#[test]
fn a_name_that_is_taken_is_4() {
    let world = World::new().unwrap();
    let _alice = listen(&world.person("alice").unwrap()).unwrap();
    let home = world.directory("another home").unwrap();
    let thief = Setup::new("alice", &home, &world.trace).broker(&world.broker.url()).plain();
    assert_fails(&thief.run(&["listen"], MEETING).unwrap(), 4, "alice");
}

#[test]
fn a_bad_name_is_2() {
    let world = World::new().unwrap();
    for bad in ["Alice", "a", "-alice", "al ice", "\u{430}lice", &"a".repeat(33)] {
        let home = world.directory("bad name").unwrap();
        let setup = Setup::new(bad, &home, &world.trace).broker(&world.broker.url()).plain();
        let outcome = setup.run(&["listen"], PROMPT).unwrap();
        assert_eq!(outcome.exit, 2, "{bad}: {outcome:?}");
        assert!(!outcome.err.is_empty(), "{bad}");
    }
}

#[test]
fn a_damaged_key_file_is_1_and_stays_as_it_is() {
    let world = World::new().unwrap();
    let bob = initialised(&world, "bob");
    let key = bob.home().join("identity.key");
    let whole = fs::read(&key).unwrap();
    for at in [0, whole.len() / 2, whole.len() - 1] {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        fs::write(&key, &damaged).unwrap();
        assert_fails(&bob.run(&["id"], PROMPT).unwrap(), 1, "identity.key");
        assert_eq!(fs::read(&key).unwrap(), damaged);
    }
    fs::write(&key, &whole[..whole.len() / 2]).unwrap();
    assert_fails(&bob.run(&["id"], PROMPT).unwrap(), 1, "identity.key");
    fs::write(&key, &whole).unwrap();
    assert_eq!(bob.run(&["id"], PROMPT).unwrap().exit, 0);
}

#[test]
fn a_key_file_that_others_can_read_is_1_with_the_command_that_mends_it() {
    let world = World::new().unwrap();
    let bob = initialised(&world, "bob");
    let key = bob.home().join("identity.key");
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    for mode in [0o644, 0o640, 0o604] {
        fs::set_permissions(&key, Permissions::from_mode(mode)).unwrap();
        assert_fails(&bob.run(&["id"], PROMPT).unwrap(), 1, "chmod 600");
    }
    fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
    assert_eq!(bob.run(&["id"], PROMPT).unwrap().exit, 0);
}

#[test]
fn a_file_that_is_missing_or_no_file_is_8() {
    let world = World::new().unwrap();
    let mut alice = listen(&world.person("alice").unwrap().accept_everything()).unwrap();
    let fifo = world.directory("special").unwrap().join("fifo");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let directory = world.directory("a directory").unwrap();
    let missing = directory.join("missing.mp3");
    for (path, names) in [
        (missing.as_path(), "missing.mp3"),
        (directory.as_path(), "directory"),
        (fifo.as_path(), "fifo"),
        (Path::new("/dev/zero"), "/dev/zero"),
    ] {
        let path = path.display().to_string();
        let bob = plain(&world, "bob");
        assert_fails(&bob.run(&["send", "--to", "alice", &path], MEETING).unwrap(), 8, names);
    }
    assert!(!alice.take_events().iter().any(|e| e.name() == "file"), "nothing was offered");
}

#[test]
fn a_file_without_permission_is_8() {
    let world = World::new().unwrap();
    let _alice = listen(&world.person("alice").unwrap().accept_everything()).unwrap();
    let secret = world.file("secret.txt", b"secret").unwrap();
    fs::set_permissions(&secret, Permissions::from_mode(0o000)).unwrap();
    let bob = plain(&world, "bob");
    let mut command = bob.command(&["send", "--to", "alice", &secret.display().to_string()]).unwrap();
    if fs::read(&secret).is_ok() {
        // This user may read everything: somebody else has to try.
        command = as_nobody(&world, &bob, &command);
    }
    let mut bob = Process::spawn("bob", command, &world.trace).unwrap();
    assert_eq!(bob.wait_exit(MEETING).unwrap(), 8, "{}", world.trace);
    assert!(bob.take_lines().iter().any(|line| line.text.contains("secret.txt")), "{}", world.trace);
}

/// The same command as the user who owns nothing, with a copy of the program that this one can run.
fn as_nobody(world: &World, setup: &Setup, command: &Command) -> Command {
    const NOBODY: u32 = 65_534;
    let root = setup.home().parent().unwrap();
    fs::set_permissions(root, Permissions::from_mode(0o711)).unwrap();
    chown(setup.home(), Some(NOBODY), Some(NOBODY)).unwrap();
    let program = world.directory("program").unwrap().join("p2pchat");
    // By another process: one that this test starts meanwhile would inherit a file open for
    // writing, and no system runs such a file.
    let copied = Command::new("cp").arg(command.get_program()).arg(&program).status().unwrap();
    assert!(copied.success());
    let mut other = p2pchat_harness::process::command(&program, setup.home());
    other.args(command.get_args()).uid(NOBODY).gid(NOBODY);
    other
}

#[test]
fn what_cannot_be_sent_in_a_chat_is_an_error_and_nothing_of_it_is_sent() {
    let world = World::new().unwrap();
    let (mut alice, mut bob) = world.alice_and_bob().unwrap();

    bob.send_line(&"x".repeat(64 * 1024 + 1)).unwrap();
    bob.expect(&event("error").with("code", "too_long"), PROMPT);
    bob.send_json(1, None, &"\u{e9}".repeat(32 * 1024 + 1)).unwrap();
    bob.expect(&event("failed").with("id", 1).with("code", "too_long"), PROMPT);

    bob.process.write(b"caf\xe9 is latin, not UTF-8\n").unwrap();
    bob.expect(&event("error").with("code", "not_utf8"), PROMPT);

    bob.send_line("/sendfile song.mp3").unwrap();
    let unknown = bob.expect(&event("error").with("code", "unknown_command"), PROMPT);
    let shown = format!("{} {}", unknown.text("message"), unknown.text("hint"));
    assert!(shown.contains("/sendf"), "the nearest command is named: {unknown}");

    for (bad, code) in
        [("/sendf missing.mp3", "file_missing"), ("/sendf .", "file_kind"), ("/save 99", "no_such")]
    {
        bob.send_line(bad).unwrap();
        bob.expect(&event("error").with("code", code), PROMPT);
    }
    for bad in ["{", "{}", r#"{"id":2}"#, r#"{"do":7}"#, "{\"do\":\"hello\",\"to\":7}"] {
        bob.send_line(bad).unwrap();
        let failed = |line: &p2pchat_harness::process::Line| {
            let event = line.event.as_ref()?;
            (event.name() == "error" || event.name() == "failed").then(|| event.text("code").to_owned())
        };
        assert_eq!(bob.process.find("error for a bad object", PROMPT, failed).unwrap(), "usage", "{bad}");
    }

    // The longest message there may be still passes, and it is the only one.
    let longest = "y".repeat(64 * 1024);
    bob.command(3, Some("alice"), &longest).unwrap();
    let came = alice.expect(&event("message").with("mine", false), PROMPT);
    assert!(came.text("text") == longest, "{} bytes came", came.text("text").len());
    bob.send_line("//not a command").unwrap();
    alice.expect(&event("message").with("text", "/not a command"), PROMPT);
}

#[test]
fn a_port_that_is_taken_is_1_at_the_broker_and_at_a_peer() {
    let world = World::new().unwrap();
    let data = world.directory("second broker").unwrap();
    let mut second = Broker::spawn(world.broker.address(), &data, &world.trace).unwrap();
    assert_eq!(second.wait_exit(PROMPT).unwrap(), 1);
    let said: Vec<_> = second.take_lines().into_iter().filter(|line| !line.text.is_empty()).collect();
    assert_eq!(said.len(), 1, "one line: {said:?}");
    assert!(said[0].text.contains(&world.broker.address().port().to_string()), "{said:?}");

    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap();
    let bob = plain(&world, "bob").bind_everywhere().arguments(["--bind".to_owned(), port.to_string()]);
    assert_fails(&bob.run(&["listen"], MEETING).unwrap(), 1, &port.port().to_string());
}

#[test]
fn a_second_broker_on_the_same_data_is_1() {
    let world = World::new().unwrap();
    let mut second =
        Broker::spawn("127.0.0.1:0".parse().unwrap(), world.broker.data(), &world.trace).unwrap();
    assert_eq!(second.wait_exit(PROMPT).unwrap(), 1);
}

#[test]
fn a_second_process_on_a_profile_is_1() {
    let world = World::new().unwrap();
    let mut alice = listen(&world.person("alice").unwrap()).unwrap();
    for second in [&["listen"][..], &["connect", "--to", "bob"]] {
        let outcome = plain(&world, "alice").run(second, PROMPT).unwrap();
        assert_fails(&outcome, 1, "profile");
    }
    assert_eq!(alice.quit().unwrap(), 0);
    let mut again = listen(&world.person("alice").unwrap()).unwrap();
    assert_eq!(again.quit().unwrap(), 0);
}

#[test]
fn another_name_than_the_stored_one_is_2() {
    let world = World::new().unwrap();
    let alice = initialised(&world, "alice");
    let renamed = Setup::new("carol", alice.home(), &world.trace).plain();
    assert_eq!(renamed.run(&["id"], PROMPT).unwrap().exit, 2);
}

#[test]
fn a_broker_whose_key_changed_is_6_and_learns_nothing() {
    let mut world = World::new().unwrap();
    let address = world.broker.address().to_string();
    // Trust on first use: no key is given.
    let alice = world.stranger("alice").unwrap().broker(&address);
    assert_eq!(listen(&alice).unwrap().quit().unwrap(), 0);
    world.broker.kill().unwrap();
    let other = Broker::start_at(address.parse().unwrap(), &world.directory("other").unwrap(), &world.trace);
    let other = other.unwrap();
    assert_ne!(other.key(), world.broker.key());
    assert_fails(&alice.clone().plain().run(&["listen"], MEETING).unwrap(), 6, "key");
    // One that is given must be right from the first day.
    let wrong = world.broker.url_through(other.address());
    let carol = world.stranger("carol").unwrap().plain().broker(&wrong);
    assert_fails(&carol.run(&["listen"], MEETING).unwrap(), 6, "key");
}

#[test]
fn wrong_usage_is_2() {
    let world = World::new().unwrap();
    for bad in
        [&["connect"][..], &["no-such-command"], &["listen", "--no-such-flag"], &["send", "--to", "alice"]]
    {
        assert_eq!(plain(&world, "bob").run(bad, PROMPT).unwrap().exit, 2, "{bad:?}");
    }
    let bob = plain(&world, "bob").arguments(["--broker", "nonsense"]);
    assert_eq!(bob.run(&["listen"], PROMPT).unwrap().exit, 2);
}

#[test]
fn secrets_are_not_taken_from_arguments() {
    let world = World::new().unwrap();
    let bob = plain(&world, "bob").arguments(["--passphrase", "in the open"]);
    assert_eq!(bob.run(&["init"], PROMPT).unwrap().exit, 2);
    assert!(only_file(bob.home()).is_none(), "nothing was made");
}

#[test]
fn a_key_file_with_a_passphrase_opens_with_it_and_with_nothing_else() {
    let world = World::new().unwrap();
    let write = |name: &str, text: &str| {
        let path = world.file(name, text.as_bytes()).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        path.display().to_string()
    };
    let (right, wrong) = (write("right", "open sesame\n"), write("wrong", "open barley\n"));
    let with = |file: &str| plain(&world, "bob").arguments(["--passphrase-file", file]);
    assert_eq!(with(&right).run(&["init"], PROMPT).unwrap().exit, 0);
    assert_eq!(with(&right).run(&["id"], PROMPT).unwrap().exit, 0);
    assert_fails(&with(&wrong).run(&["id"], PROMPT).unwrap(), 1, "passphrase");
    assert_fails(&plain(&world, "bob").run(&["id"], PROMPT).unwrap(), 1, "passphrase");
}

#[test]
fn the_programs_say_their_version_and_their_help() {
    let home = tempfile::tempdir().unwrap();
    let trace = p2pchat_harness::trace::Trace::default();
    for program in [binaries::PEER, binaries::BROKER] {
        for flag in ["--version", "--help"] {
            let mut command: Command = command(&binaries::find(program).unwrap(), home.path());
            command.arg(flag);
            let mut process = Process::spawn(program, command, &trace).unwrap();
            assert_eq!(process.wait_exit(PROMPT).unwrap(), 0, "{trace}");
            assert!(process.take_lines().iter().any(|line| line.text.contains("p2pchat")), "{trace}");
        }
    }
}
