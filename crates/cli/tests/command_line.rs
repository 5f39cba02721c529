//! The real binary, as far as no broker is needed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use clap::CommandFactory as _;
use p2pchat_cli::args::Cli;
use serde_json::Value;

struct Ran {
    exit: i32,
    out: String,
    err: String,
}

fn p2pchat(home: &Path, arguments: &[&str]) -> Ran {
    let output = Command::new(env!("CARGO_BIN_EXE_p2pchat"))
        .args(arguments)
        .env_clear()
        // For `make coverage`: an instrumented program would write its counts here otherwise.
        .envs(std::env::var_os("LLVM_PROFILE_FILE").map(|file| ("LLVM_PROFILE_FILE", file)))
        .env("HOME", home)
        .env("USER", "Ann")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    Ran {
        exit: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

#[track_caller]
fn assert_fails(ran: &Ran, exit: i32, says: &str) {
    assert_eq!(ran.exit, exit, "{}{}", ran.out, ran.err);
    assert_eq!(ran.err.lines().count(), 1, "one line: {}", ran.err);
    assert!(ran.err.starts_with("p2pchat: ") && ran.err.contains(says), "{}", ran.err);
    assert_eq!(ran.out, "");
}

fn field(text: &str, name: &str) -> String {
    let line = text.lines().find(|line| line.split_whitespace().next() == Some(name));
    line.unwrap_or_else(|| panic!("{name}: {text}")).split_whitespace().skip(1).collect::<Vec<_>>().join(" ")
}

#[test]
fn init_makes_one_identity_and_id_shows_it() {
    let dir = tempfile::tempdir().unwrap();
    let made = p2pchat(dir.path(), &["--name", "alice", "init", "--no-passphrase"]);
    assert_eq!((made.exit, made.err.as_str()), (0, ""));
    assert_eq!(field(&made.out, "name"), "alice");
    assert_eq!(field(&made.out, "id").len(), 52);
    assert_eq!(field(&made.out, "words").split(' ').count(), 6);
    assert_eq!(field(&made.out, "broker"), "127.0.0.1:7770");
    let shown = p2pchat(dir.path(), &["id"]);
    assert_eq!((shown.exit, shown.out), (0, made.out));
    assert_fails(&p2pchat(dir.path(), &["init"]), 1, "already");
}

#[test]
fn the_first_profile_is_named_after_the_login() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(field(&p2pchat(dir.path(), &["id"]).out, "name"), "ann");
    assert!(dir.path().join(".local/share/p2pchat/profiles/ann/identity.key").exists());
    assert_eq!(field(&p2pchat(dir.path(), &["--name", "bea", "id"]).out, "name"), "bea");
    assert_fails(&p2pchat(dir.path(), &["id"]), 2, "ann, bea");
}

#[test]
fn one_directory_holds_everything_of_a_home() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("h");
    let home_text = home.to_str().unwrap();
    let made = p2pchat(dir.path(), &["id", "--home", home_text, "--name", "alice"]);
    assert_eq!(made.exit, 0, "{}", made.err);
    let mode = fs::metadata(home.join("identity.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(field(&p2pchat(dir.path(), &["--home", home_text, "id"]).out, "name"), "alice");
    assert_fails(&p2pchat(dir.path(), &["--home", home_text, "--name", "bob", "id"]), 2, "alice, not of bob");
}

#[test]
fn json_mode_says_the_same_in_objects() {
    let dir = tempfile::tempdir().unwrap();
    let ran = p2pchat(dir.path(), &["--json", "--name", "alice", "id"]);
    let id: Value = serde_json::from_str(ran.out.trim_end()).unwrap();
    assert_eq!((&id["event"], &id["name"]), (&Value::from("id"), &Value::from("alice")));
    let failed = p2pchat(dir.path(), &["--json", "listen", "--no-such-flag"]);
    assert_eq!(failed.exit, 2);
    let lines: Vec<Value> = failed.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&lines[0]["event"], &lines[0]["code"]), (&Value::from("error"), &Value::from("usage")));
    assert_eq!((&lines[1]["event"], &lines[1]["exit"]), (&Value::from("stopped"), &Value::from(2)));
    assert_eq!(failed.err.lines().count(), 1);
}

#[test]
fn wrong_usage_is_2_in_one_line() {
    let dir = tempfile::tempdir().unwrap();
    for (arguments, says) in [
        (&[][..], "no command"),
        (&["connect"], "--to"),
        (&["conect", "--to", "alice"], "conect"),
        (&["listen", "--frobnicate"], "--frobnicate"),
        (&["--broker", "nonsense", "id"], "HOST:PORT"),
        (&["--name", "Alice", "id"], "a name is"),
        (&["--passphrase", "open", "id"], "--passphrase"),
        (&["connect", "--to", "Not A Name"], "neither a name"),
        (&["send", "--to", "alice"], "nothing to send"),
        (&["send", "-m", "hi"], "--to"),
        (&["--accept", "some", "listen"], "some"),
    ] {
        assert_fails(&p2pchat(dir.path(), arguments), 2, says);
    }
}

#[test]
fn what_cannot_be_sent_is_found_before_anybody_is_asked() {
    let dir = tempfile::tempdir().unwrap();
    assert_fails(&p2pchat(dir.path(), &["send", "--to", "alice", "missing.mp3"]), 8, "missing.mp3");
    assert_fails(&p2pchat(dir.path(), &["connect", "--to", "alice", "--file", "."]), 8, "directory");
    let long = "x".repeat(64 * 1024 + 1);
    assert_fails(&p2pchat(dir.path(), &["send", "--to", "alice", "-m", &long]), 2, "65537");
    assert_fails(&p2pchat(dir.path(), &["connect", "--to", "alice", "--message", " "]), 2, "empty");
}

#[test]
fn a_hostile_argument_does_not_reach_the_terminal() {
    let dir = tempfile::tempdir().unwrap();
    let ran = p2pchat(dir.path(), &["connect", "--to", "a\u{1b}[2J\u{202e}\nb"]);
    assert_fails(&ran, 2, "␛[2J");
    assert_eq!(p2pchat(dir.path(), &["\u{1b}]0;x\u{7}"]).err.matches('\u{1b}').count(), 0);
}

/// `/dev/full` is a disk without room that every Linux has.
#[cfg(target_os = "linux")]
#[test]
fn output_that_finds_no_room_is_a_failure() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().to_str().unwrap();
    let nobody = "127.0.0.1:9";
    for arguments in [&["id"][..], &["--json", "id"], &["--help"], &["--json", "--broker", nobody, "listen"]]
    {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_p2pchat"));
        command.args(["--home", home, "--name", "alice", "--bind", "127.0.0.1:0"]).args(arguments);
        let ran = command.stdin(std::process::Stdio::null()).stdout(full).output().unwrap();
        let said = String::from_utf8(ran.stderr).unwrap();
        assert_eq!(ran.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(said.contains("write to standard output"), "{arguments:?}: {said}");
    }
}

#[test]
fn the_config_file_counts_under_flags_and_environment() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join(".config/p2pchat");
    fs::create_dir_all(&config).unwrap();
    fs::write(config.join("config.toml"), "broker = \"broker.example:1\"\ndefault_profile = \"dora\"\n")
        .unwrap();
    let shown = p2pchat(dir.path(), &["id"]);
    assert_eq!(
        (field(&shown.out, "broker"), field(&shown.out, "name")),
        ("broker.example:1".into(), "dora".into())
    );
    let flag = p2pchat(dir.path(), &["id", "--broker", "flag.example:2"]);
    assert_eq!(field(&flag.out, "broker"), "flag.example:2");
    fs::write(config.join("config.toml"), "\nbrocker = \"x:1\"\n").unwrap();
    assert_fails(&p2pchat(dir.path(), &["id"]), 2, "line 2: unknown field `brocker`");
}

#[test]
fn a_sealed_key_opens_with_its_passphrase_and_nobody_is_asked() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (right, wrong) = (file("right", "open sesame\n"), file("wrong", "open barley\n"));
    let made = p2pchat(dir.path(), &["--name", "alice", "--passphrase-file", &right, "init"]);
    assert_eq!(made.exit, 0, "{}", made.err);
    assert_eq!(p2pchat(dir.path(), &["id", "--passphrase-file", &right]).exit, 0);
    assert_fails(&p2pchat(dir.path(), &["id", "--passphrase-file", &wrong]), 1, "passphrase");
    assert_fails(&p2pchat(dir.path(), &["id"]), 1, "--passphrase-file");
}

#[test]
fn the_profile_is_held_by_one_process() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("h");
    assert_eq!(p2pchat(dir.path(), &["--home", home.to_str().unwrap(), "id"]).exit, 0);
    let lock = p2pchat_client::profile::Home::open(&home).unwrap().lock().unwrap();
    assert_fails(&p2pchat(dir.path(), &["--home", home.to_str().unwrap(), "listen"]), 1, "profile");
    drop(lock);
}

#[test]
fn every_command_shows_an_example_in_its_help() {
    let dir = tempfile::tempdir().unwrap();
    for command in Cli::command().get_subcommands() {
        let help = p2pchat(dir.path(), &[command.get_name(), "--help"]);
        assert_eq!((help.exit, help.err.as_str()), (0, ""), "{}", command.get_name());
        let example = help.out.lines().rev().find(|line| line.contains("p2pchat"));
        assert!(example.is_some_and(|line| line.contains(command.get_name())), "{}", help.out);
    }
    let help = p2pchat(dir.path(), &["--help"]);
    assert!(help.out.contains("Examples:") && help.out.contains("Exit codes:"), "{}", help.out);
}

#[test]
fn completions_and_manual_pages_are_written() {
    let dir = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let script = p2pchat(dir.path(), &["completions", shell]);
        assert_eq!(script.exit, 0);
        assert!(script.out.contains("accept-files"), "{shell}");
    }
    let pages = dir.path().join("man1");
    assert_eq!(p2pchat(dir.path(), &["man", pages.to_str().unwrap()]).exit, 0);
    let page = fs::read_to_string(pages.join("p2pchat-connect.1")).unwrap();
    assert!(page.contains(".TH") && page.contains("linger"), "{page}");
    assert_fails(&p2pchat(dir.path(), &["man", "/dev/null/x"]), 1, "/dev/null/x");
}

#[test]
fn the_published_tables_are_the_ones_in_the_code() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let json = fs::read_to_string(docs.join("json.md")).unwrap();
    for code in p2pchat_client::failure::Code::ALL {
        let row = format!("| `{}` | {} | {} |", code.name, code.exit, code.meaning);
        assert!(json.contains(&row), "docs/json.md lacks: {row}");
    }
    let (cli, config) = (docs.join("cli.md"), docs.join("config.md"));
    let (cli, config) = (fs::read_to_string(cli).unwrap(), fs::read_to_string(config).unwrap());
    let definition = Cli::command();
    for flag in definition.get_arguments().filter(|flag| flag.is_global_set()) {
        let long = flag.get_long().unwrap();
        assert!(cli.contains(&format!("`--{long}")), "docs/cli.md lacks --{long}");
        assert!(config.contains(&format!("| `{}` |", long.replace('-', "_"))), "docs/config.md lacks {long}");
    }
    for command in definition.get_subcommands() {
        assert!(
            cli.contains(&format!("`{}", command.get_name())),
            "docs/cli.md lacks {}",
            command.get_name()
        );
    }
    for entry in p2pchat_client::language::COMMANDS {
        // A bar would end the cell of a table.
        let usage = entry.usage.replace('|', "\\|");
        assert!(cli.contains(&format!("`{usage}`")), "docs/cli.md lacks {usage}");
    }
}
