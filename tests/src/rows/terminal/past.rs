//! I5-PAST: what was said, shown again: by `history` in each of its forms, and in a chat.

use super::screen::{lines, say_all};
use super::sinks::{HOSTILE, TOKEN, came_as};
use crate::event::session;
use crate::peer::Setup;
use crate::process::Stream;
use crate::raw::Raw;
use crate::rows::hidden::any_steers;
use crate::rows::{Defence, Lab, NotRun, Seen};
use crate::world::{MEETING, World};

/// Ends what the two chats were asked, so that it is known that all of it came.
const LAST: &str = "/search no such word was ever said";

/// Whether a line is one that a sink begins by itself.
type Ours = fn(&str) -> bool;

/// What came out of one sink.
struct Sink {
    name: &'static str,
    out: Vec<u8>,
    ours: Ours,
}

/// A date, a message under its time, or a further line of one, set in.
fn is_text(line: &str) -> bool {
    let timed = line.get(..6).is_some_and(|time| {
        time.bytes()
            .zip(*b"00:00 ")
            .all(|(byte, like)| byte == like || (like == b'0' && byte.is_ascii_digit()))
    });
    line.is_empty() || line.starts_with("--- 20") || line.starts_with("      ") || timed
}

/// In a chat others stand between them.
fn is_chat(line: &str) -> bool {
    is_text(line) || line.starts_with("* ") || line.starts_with("bob")
}

fn is_markdown(line: &str) -> bool {
    line.is_empty() || ["# Conv", "## 20", "**", "> "].iter().any(|start| line.starts_with(start))
}

fn is_json(line: &str) -> bool {
    line.is_empty() || line.starts_with("{\"event\":\"message\"")
}

/// I5-PAST.
pub(super) fn all(defence: Defence, _: &mut Lab) -> Result<Seen, NotRun> {
    let texts: Vec<String> = HOSTILE.map(|hostile| format!("{TOKEN}{hostile}")).into();
    let sinks = match defence {
        Defence::InPlace => real(&texts)?,
        Defence::Removed => naive(&texts),
    };
    let mut wrong = Vec::new();
    for Sink { name, out, ours } in &sinks {
        let mut said = lines(out);
        // Markdown has a backslash before each mark.
        let shown = lines(out).filter(|line| line.replace('\\', "").contains(TOKEN)).count() >= texts.len();
        let safe = said.all(|line| ours(&line) && !any_steers(&line)) && std::str::from_utf8(out).is_ok();
        let whole = *name != "export as JSON" || came_as(out) == texts;
        if !(shown && safe && whole) {
            wrong.push(*name);
        }
    }
    let what = if wrong.is_empty() {
        "each shows every text and none steers".to_owned()
    } else {
        format!("hostile text steers in {}", wrong.join(", "))
    };
    let all_wrong = wrong.len() == sinks.len();
    // Each sink needs its defence: one that the double keeps safe was not attacked.
    let held = if defence == Defence::InPlace { wrong.is_empty() } else { !all_wrong };
    Ok(Seen::when(held, what).figure(format!("{} sinks, {} texts", sinks.len(), texts.len())))
}

/// The real programs: bob says it to alice, who reads it again while the chat is open and after it.
fn real(texts: &[String]) -> Result<Vec<Sink>, NotRun> {
    let world = World::new()?;
    let alice = world.person("alice")?.arguments(["--accept", "ask"]).plain();
    let asked = format!("/history 50\n/search {TOKEN}\n{LAST}\n");
    let mut chat = Raw::start(&alice, &["listen"])?;
    chat.expect(Stream::Err, "at the broker", 1)?;
    let mut bob = world.person("bob")?.start(&["connect", "--to", "alice"])?;
    chat.expect(Stream::Out, "asks for a chat", 1)?;
    chat.write(b"/accept\n")?;
    bob.wait(&session("up"), MEETING)?;
    say_all(&mut bob, texts)?;
    // Through the chat that holds the store, and without it.
    let beside = read(&alice)?;
    chat.write(asked.as_bytes())?;
    chat.expect(Stream::Err, "nothing of that is kept", 1)?;
    let (out, _) = chat.end()?;
    let in_chat = Sink { name: "/history and /search", out, ours: is_chat };
    Ok(beside.into_iter().chain(read(&alice)?).chain([in_chat]).collect())
}

/// What `history` says in each of its forms.
fn read(alice: &Setup) -> Result<Vec<Sink>, NotRun> {
    let asked: [(&'static str, &[&str], Ours); 5] = [
        ("show", &["show"], is_text),
        ("search", &["search", TOKEN], is_text),
        ("export as text", &["export", "--with", "bob"], is_text),
        ("export as Markdown", &["export", "--with", "bob", "--format", "markdown"], is_markdown),
        ("export as JSON", &["export", "--with", "bob", "--format", "json"], is_json),
    ];
    let mut sinks = Vec::new();
    for (name, words, ours) in asked {
        let out = alice.command(&[&["history"], words].concat())?.output()?;
        if !out.status.success() {
            return Err(NotRun(format!("history {name}: {}", String::from_utf8_lossy(&out.stderr))));
        }
        sinks.push(Sink { name, out: out.stdout, ours });
    }
    Ok(sinks)
}

/// The double: it writes text where it belongs, as it came.
fn naive(texts: &[String]) -> Vec<Sink> {
    let all = |line: fn(&String) -> String| texts.iter().map(line).collect::<String>().into_bytes();
    let text = || all(|text| format!("10:00 bob: {text}\n"));
    let json =
        all(|text| format!("{}\n", serde_json::json!({"event": "message", "mine": false, "text": text})));
    vec![
        Sink { name: "show", out: text(), ours: is_text },
        Sink { name: "search", out: text(), ours: is_text },
        Sink { name: "export as text", out: text(), ours: is_text },
        Sink { name: "export as Markdown", out: all(|text| format!("> {text}\n")), ours: is_markdown },
        Sink { name: "export as JSON", out: json, ours: is_json },
        Sink { name: "/history and /search", out: text(), ours: is_chat },
    ]
}
