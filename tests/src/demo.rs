//! The main job on one machine, for people to look at: `make demo`.
//!
//! A broker and two people run as real processes, bound to loopback, with everything in one
//! temporary directory. What is shown comes from the events of JSON mode.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::actions::{random_content, say};
use crate::event::{Event, event, file, session};
use crate::peer::Peer;
use crate::process::{Failure, PROMPT};
use crate::world::{MEETING, World, listen};

/// Size of the file that is made where none is named, in bytes.
const FILE_LEN: usize = 8 << 20;
/// How long a file may take; one of the user's choice may be large.
const TRANSFER: Duration = Duration::from_secs(3600);
/// Cells of the progress bar.
const BAR: u64 = 32;
const MEBIBYTE: f64 = 1_048_576.0;

/// Runs the demo and tells its story to `out`. `path` is the file to send.
///
/// # Errors
/// If anything is not as it should be.
pub fn run(path: Option<PathBuf>, out: &mut (impl Write + IsTerminal)) -> Result<(), Failure> {
    let begin = Instant::now();
    let colours = out.is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let mut story = Story { out, colours };
    let world = World::new()?;
    story.title("Two people talk and pass a file, on this machine alone")?;
    story.line("broker", &format!("listens at {}, its key is", world.broker.address()))?;
    story.line("", world.broker.key())?;

    let mut alice = listen(&world.person("alice")?)?;
    story.line("alice", "is there:           p2pchat --name alice listen")?;
    let mut bob = world.person("bob")?.start(&["connect", "--to", "alice"])?;
    story.line("bob", "asks for a chat:    p2pchat --name bob connect --to alice")?;
    meet(&mut story, &mut alice, &mut bob)?;

    story.title("They talk")?;
    talk(&mut story, &mut bob, &mut alice, "Hello Alice, can the broker read this?")?;
    talk(&mut story, &mut alice, &mut bob, "No: it introduced us, and that was all. \u{1f511}")?;

    story.title("They pass a file")?;
    let path = match path {
        Some(path) => path,
        None => make_file(&world)?,
    };
    pass_file(&mut story, &mut bob, &mut alice, &path)?;

    story.title("What they know of their session")?;
    about(&mut story, &mut alice)?;
    about(&mut story, &mut bob)?;

    finish(&mut story, world, alice, bob)?;
    story.title(&format!("Done in {:.1} s; nothing is left running", begin.elapsed().as_secs_f64()))
}

fn meet(story: &mut Story<'_>, alice: &mut Peer, bob: &mut Peer) -> Result<(), Failure> {
    let request = alice.wait(&event("request").with("direction", "in").with("state", "open"), MEETING)?;
    let (name, trust) = (request.text("name"), request.text("trust"));
    story.line("alice", &format!("sees a request of {name} ({trust}) and types /accept"))?;
    alice.send_line("/accept")?;
    bob.wait(&event("request").with("direction", "out").with("state", "accepted"), MEETING)?;
    story.line("bob", "is accepted")?;
    alice.wait(&session("up"), MEETING)?;
    let up = bob.wait(&session("up"), MEETING)?;
    let (path, cipher) = (up.text("path"), up.text("cipher"));
    story.good("both", &format!("hold a session of their own: {path} \u{b7} {cipher}"))
}

fn talk(story: &mut Story<'_>, from: &mut Peer, to: &mut Peer, text: &str) -> Result<(), Failure> {
    say(from, to, text)?;
    story.line(from.name(), &format!("> {text}"))?;
    story.good(to.name(), "has stored and read it")
}

fn pass_file(story: &mut Story<'_>, from: &mut Peer, to: &mut Peer, path: &Path) -> Result<(), Failure> {
    from.send_line(&format!("/sendf \"{}\"", path.display()))?;
    let offer = to.wait(&file("in", "offered"), PROMPT)?;
    let number = offer.number("transfer").unwrap_or_default();
    let size = mebibytes(offer.number("total").unwrap_or_default());
    story.line(from.name(), &format!("/sendf {}", offer.text("name").escape_debug()))?;
    story.line(to.name(), &format!("is offered {size} and types /save {number}"))?;
    to.send_line(&format!("/save {number}"))?;
    let done = loop {
        let step = to.wait(&event("file").with("transfer", number), TRANSFER)?;
        match step.text("state") {
            "running" => story.bar(&step)?,
            "done" => break step,
            "failed" | "cancelled" | "declined" => {
                let error = io::Error::other(step.to_string());
                return Err(Failure::System { what: "the file did not arrive".to_owned(), error });
            }
            _ => {}
        }
    };
    story.bar(&done)?;
    story.end_of_bar()?;
    from.wait(&file("out", "done"), PROMPT)?;
    let (sent, received) = (hash(path)?, hash(Path::new(done.text("path")))?);
    story.line("sent", &format!("blake3 {sent}"))?;
    story.line("received", &format!("blake3 {received}"))?;
    if sent != received || done.text("blake3") != received {
        let error = io::Error::other("the hashes differ");
        return Err(Failure::System { what: "compare the files".to_owned(), error });
    }
    story.good("", "equal")
}

fn about(story: &mut Story<'_>, peer: &mut Peer) -> Result<(), Failure> {
    let info = peer.info()?;
    let sessions = info.field("sessions").as_array().cloned().unwrap_or_default();
    for session in sessions {
        let Some(session) = Event::of_fields(session) else { continue };
        story.line(peer.name(), &format!("with {}: {}", session.text("name"), link(&session)))?;
    }
    Ok(())
}

fn finish(story: &mut Story<'_>, mut world: World, mut alice: Peer, mut bob: Peer) -> Result<(), Failure> {
    let exits = [("bob", bob.quit()?), ("alice", alice.quit()?), ("broker", world.broker.terminate()?)];
    match exits.iter().find(|(_, exit)| *exit != 0) {
        None => story.good("all", "said goodbye and ended with exit code 0"),
        Some((who, exit)) => {
            let error = io::Error::other(format!("exit code {exit}\n{}", world.trace));
            Err(Failure::System { what: format!("the end of {who}"), error })
        }
    }
}

/// Path, round trip, cipher and trust of a session in one line.
fn link(session: &Event) -> String {
    let rtt = session.field("rtt_ms").as_f64().map_or_else(|| "?".to_owned(), |ms| format!("{ms:.1}"));
    let (path, cipher, trust) = (session.text("path"), session.text("cipher"), session.text("trust"));
    format!("{path} \u{b7} {rtt} ms \u{b7} {cipher} \u{b7} {trust}")
}

fn make_file(world: &World) -> Result<PathBuf, Failure> {
    world.file("song of the sea.mp3", &random_content(8, FILE_LEN))
}

fn hash(path: &Path) -> Result<String, Failure> {
    let system = || Failure::system(format!("read {}", path.display()));
    let mut file = File::open(path).map_err(system())?;
    let (mut hasher, mut buffer) = (blake3::Hasher::new(), vec![0; 1 << 16]);
    while let len @ 1.. = file.read(&mut buffer).map_err(system())? {
        hasher.update(buffer.get(..len).unwrap_or_default());
    }
    Ok(hasher.finalize().to_hex().to_string())
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / MEBIBYTE)
}

struct Story<'a> {
    out: &'a mut dyn Write,
    colours: bool,
}

impl Story<'_> {
    fn title(&mut self, text: &str) -> Result<(), Failure> {
        let text = self.painted("1", text);
        self.write(&format!("\n{text}\n"))
    }

    fn line(&mut self, who: &str, what: &str) -> Result<(), Failure> {
        let who = self.painted("36", &format!("{who:>10}"));
        self.write(&format!("{who}  {what}\n"))
    }

    fn good(&mut self, who: &str, what: &str) -> Result<(), Failure> {
        let what = self.painted("32", what);
        self.line(who, &what)
    }

    fn bar(&mut self, step: &Event) -> Result<(), Failure> {
        let (bytes, total) =
            (step.number("bytes").unwrap_or_default(), step.number("total").unwrap_or_default());
        let filled = (bytes * BAR).checked_div(total).unwrap_or(BAR);
        let (done, rest) = ("#".repeat(filled as usize), "-".repeat(BAR.saturating_sub(filled) as usize));
        let rate = step.number("rate").map(|rate| format!("{}/s", mebibytes(rate))).unwrap_or_default();
        let percent = (bytes * 100).checked_div(total).unwrap_or(100);
        // On a terminal the bar is drawn over itself, elsewhere each state is a line.
        let (begin, end) = if self.colours { ("\r", "") } else { ("", "\n") };
        self.write(&format!("{begin}{:>10}  [{done}{rest}] {percent:>3} % {rate}{end}", ""))
    }

    fn end_of_bar(&mut self) -> Result<(), Failure> {
        if self.colours { self.write("\n") } else { Ok(()) }
    }

    fn painted(&self, colour: &str, text: &str) -> String {
        if self.colours { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn write(&mut self, text: &str) -> Result<(), Failure> {
        let written = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
        written.map_err(Failure::system("show what happens"))
    }
}
