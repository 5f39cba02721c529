//! I5: the other places where text from outside goes: the log, JSON, and lines of error.

use std::fs;

use serde_json::Value;

use super::screen::{Screen, lines, say_all};
use crate::actions::TRANSFER;
use crate::event::{event, file, session};
use crate::process::Stream;
use crate::raw::Raw;
use crate::rows::hidden::any_steers;
use crate::rows::{Defence, Lab, NotRun, Seen};
use crate::world::{MEETING, World, listen};

/// In every hostile text, so that it is known where it went.
pub(super) const TOKEN: &str = "heron-of-pier-93";
/// What a log or a screen would obey, or show as something else.
pub(super) const HOSTILE: [&str; 7] = [
    "\u{1b}[2J\u{1b}]0;owned\u{7}",
    "\n2026-01-01T00:00:00.000000Z  INFO p2pchat: forged",
    "\r\u{8}\u{7f}",
    "\u{9b}31m\u{85}",
    "\u{202e}gpj.exe\u{2066}",
    "\u{200b}\u{feff}\u{e0041}",
    "\"}\n{\"event\":\"stopped\",\"exit\":0}",
];

/// What came out of each sink.
struct Sinks {
    log: Vec<u8>,
    json: Vec<u8>,
    error: Vec<u8>,
}

/// I5.
pub(super) fn all(defence: Defence, _: &mut Lab) -> Result<Seen, NotRun> {
    let texts: Vec<String> = HOSTILE.map(|hostile| format!("{TOKEN}{hostile}")).into();
    let sinks = match defence {
        Defence::InPlace => real(&texts)?,
        Defence::Removed => naive(&texts),
    };
    let mut wrong = Vec::new();
    let log = String::from_utf8_lossy(&sinks.log).into_owned();
    if log.is_empty()
        || log.contains(TOKEN)
        || log.lines().any(|line| !line.starts_with("20") || any_steers(line))
    {
        wrong.push("the log");
    }
    let steering = lines(&sinks.json).any(|line| any_steers(&line));
    if steering || came_as(&sinks.json) != texts {
        wrong.push("JSON");
    }
    let mut screen = Screen::default();
    vte::Parser::new().advance(&mut screen, &sinks.error);
    if !screen.other.is_empty() || lines(&sinks.error).any(|line| line.starts_with("2026")) {
        wrong.push("lines of error");
    }
    let what = if wrong.is_empty() {
        "each sink is safe, and JSON gives every text back".to_owned()
    } else {
        format!("hostile text steers in {}", wrong.join(", "))
    };
    let lines = log.lines().count();
    Ok(Seen::when(wrong.is_empty(), what)
        .figure(format!("3 sinks, {} texts, {lines} log lines", texts.len())))
}

/// The texts of others' messages, as a script reads them.
pub(super) fn came_as(json: &[u8]) -> Vec<String> {
    let events = lines(json).filter_map(|line| serde_json::from_str::<Value>(&line).ok());
    let others = events.filter(|event| event["event"] == "message" && event["mine"] == false);
    others.map(|event| event["text"].as_str().unwrap_or_default().to_owned()).collect()
}

/// The real programs: messages and a file of that name to one, a refusal with that reason to another.
fn real(texts: &[String]) -> Result<Sinks, NotRun> {
    let world = World::new()?;
    let log = world.directory("log")?.join("alice.log");
    let flags = ["-v".to_owned(), "-v".to_owned(), "--log".to_owned(), log.display().to_string()];
    let mut alice = Raw::start(&world.person("alice")?.accept_everything().arguments(flags), &["listen"])?;
    alice.expect(Stream::Out, "\"state\":\"connected\"", 1)?;
    let mut bob = world.person("bob")?.start(&["connect", "--to", "alice"])?;
    bob.wait(&session("up"), MEETING)?;
    say_all(&mut bob, texts)?;
    let path = world.directory("files")?.join(format!("{TOKEN}\u{1b}[2J\n\u{202e}.txt"));
    fs::write(&path, TOKEN)?;
    bob.send_json(99, None, &format!("/sendf \"{}\"", path.display()))?;
    bob.wait(&file("out", "done"), TRANSFER)?;
    let (json, _) = alice.end()?;

    let mut error = Vec::new();
    for (number, text) in texts.iter().enumerate() {
        let asker = format!("carol-{number}");
        let mut dave = listen(&world.person(&format!("dave-{number}"))?)?;
        let carol = world.person(&asker)?.plain().arguments(["--color", "always"]);
        let mut carol = Raw::start(&carol, &["connect", "--to", dave.name()])?;
        dave.wait(&event("request").with("direction", "in").with("state", "open"), MEETING)?;
        dave.send_json(1, None, &format!("/decline {asker} {text}"))?;
        carol.expect(Stream::Err, TOKEN, 1)?;
        error.extend(carol.end()?.1);
    }
    Ok(Sinks { log: fs::read(log)?, json, error })
}

/// The double: it writes text where it belongs, as it came.
fn naive(texts: &[String]) -> Sinks {
    let all = |line: fn(&String) -> String| texts.iter().map(line).collect::<String>().into_bytes();
    Sinks {
        log: all(|text| format!("2026-01-01T00:00:00Z DEBUG message text={text}\n")),
        json: all(|text| {
            format!("{}\n", serde_json::json!({"event": "message", "mine": false, "text": text}))
        }),
        error: all(|text| format!("p2pchat: declined: {text}\n")),
    }
}
