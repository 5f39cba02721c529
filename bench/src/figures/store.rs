//! What is kept: how fast, and what a long conversation costs afterwards.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use p2pchat_harness::peer::Setup;
use p2pchat_harness::trace::Trace;
use redb::{Database, TableDefinition};

use crate::Result;
use crate::figures::product::{peer, status};
use crate::figures::world::Place;
use crate::report::{Aim, Report, Row, Table};
use crate::sample::Samples;

/// Messages in the conversation.
const MESSAGES: usize = 100_000;
/// Transactions of the loop that commits each value by itself.
const SINGLE: usize = 500;
/// Values in one transaction of the other loop: about what waits while one commit is written.
const GROUP: usize = 64;
/// Bytes of a value in both loops: a line and what stands beside it.
const VALUE: usize = 192;
/// A word that one of the messages has.
const RARE: &str = "heliotrope";
/// Longest that all messages may take.
const PATIENCE: Duration = Duration::from_secs(300);

const PLAIN: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("plain");

/// A conversation of many messages, and what it costs to come back to it.
pub fn measure(runs: usize, report: &mut Report) -> Result {
    let place = Place::new()?;
    let (mut rate, mut ratio, mut single) = (Samples::default(), Samples::default(), Samples::default());
    for run in 0..runs {
        let names = [format!("alice{run}"), format!("bob{run}")];
        let each = talk(&place, &names)?;
        rate.push(each);
        ratio.push(each / plain(&place, &format!("group{run}"), MESSAGES, GROUP)?);
        single.push(plain(&place, &format!("single{run}"), SINGLE, 1)?);
    }
    let mut rows = vec![
        Row::new("messages stored by both sides, per second", "", rate.clone()).aim(Aim::AtLeast(5_000.0)),
        Row::new(format!("ratio to a loop of redb, {GROUP} values a transaction"), "", ratio),
        Row::new("ratio to a loop of redb, one value a transaction", "", rate.ratio_to(&single)),
    ];
    afterwards(runs, &place, &mut rows)?;
    report.add(Table {
        name: "store",
        title: "What is kept",
        about: format!(
            "{MESSAGES} lines of 64 bytes from one `p2pchat connect` to one `p2pchat listen`, both in JSON mode on one \
             machine; each is on the disk of its author before it leaves and on that of the other side before the \
             receipt, which is what is counted. The loops write values of {VALUE} bytes into redb alone, nothing sealed \
             and nobody told. Afterwards the author's home, with all of the conversation: `listen` from its start to \
             `ready`, `history search` for a word that one message has (the whole program), the same by `/search` in \
             a running `listen`, and the resident memory of that one then."
        ),
        rows,
    });
    Ok(())
}

/// Messages a second, from the first line to the last receipt.
fn talk(place: &Place, [alice, bob]: &[String; 2]) -> Result<f64> {
    let listening = start(place, alice, &["listen"], &["\"state\":\"connected\""])?;
    listening.hear("connected", 1)?;
    let mut talking =
        start(place, bob, &["connect", "--to", alice], &["\"state\":\"up\"", "\"state\":\"stored\""])?;
    talking.hear("up", 1)?;
    let start = Instant::now();
    lines().try_for_each(|line| talking.say(&line))?;
    talking.hear("stored", MESSAGES)?;
    let took = start.elapsed();
    talking.quit()?;
    listening.quit()?;
    Ok(MESSAGES as f64 / took.as_secs_f64())
}

fn start(place: &Place, name: &str, arguments: &[&str], wanted: &'static [&'static str]) -> Result<Talker> {
    Talker::start(peer(place, name, &Trace::default())?.command(arguments)?, wanted)
}

fn lines() -> impl Iterator<Item = String> {
    (0..MESSAGES).map(|number| {
        let word = if number == MESSAGES / 3 { RARE } else { "sunflowers" };
        format!("line {number:>6} of a long talk about {word:>10} and other flowers..")
    })
}

fn afterwards(runs: usize, place: &Place, rows: &mut Vec<Row>) -> Result {
    let bob = peer(place, "bob0", &Trace::default())?;
    let (mut ready, mut search, mut inside, mut resident) =
        (Samples::default(), Samples::default(), Samples::default(), Samples::default());
    for _ in 0..runs {
        let start = Instant::now();
        let mut listening =
            Talker::start(bob.command(&["listen"])?, &["\"event\":\"ready\"", "\"event\":\"done\"", RARE])?;
        listening.hear("ready", 1)?;
        ready.push(start.elapsed().as_secs_f64() * 1e3);
        let start = Instant::now();
        listening.say(&format!("{{\"id\":1,\"to\":\"alice0\",\"do\":\"/search {RARE}\"}}"))?;
        let found = listening.hear("\"event\":\"done\"", 1)?;
        inside.push(start.elapsed().as_secs_f64() * 1e3);
        if !found.iter().any(|line| line.contains("of a long talk")) {
            return Err("the word was not found in the chat".into());
        }
        resident.push(status(listening.child.id(), "VmRSS")? / 1024.0);
        listening.quit()?;
        search.push(searched(&bob)?);
    }
    rows.push(Row::new("start to `ready`", "ms", ready).aim(Aim::AtMost(100.0)));
    rows.push(Row::new("`history search`", "ms", search).aim(Aim::AtMost(200.0)));
    rows.push(Row::new("`/search`", "ms", inside).aim(Aim::AtMost(200.0)));
    rows.push(Row::new("resident after it", "MiB", resident).aim(Aim::AtMost(40.0)));
    Ok(())
}

fn searched(bob: &Setup) -> Result<f64> {
    let mut command = bob.command(&["history", "search", RARE, "--with", "alice0"])?;
    let start = Instant::now();
    let output = command.stdin(Stdio::null()).output()?;
    let took = start.elapsed();
    if output.status.success() && String::from_utf8_lossy(&output.stdout).contains(RARE) {
        Ok(took.as_secs_f64() * 1e3)
    } else {
        Err(format!("history search: {}", String::from_utf8_lossy(&output.stderr)).into())
    }
}

/// Values a second that redb alone keeps, with so many in each transaction.
fn plain(place: &Place, name: &str, values: usize, group: usize) -> Result<f64> {
    let database = Database::create(place.home.path().join(name).with_extension("redb"))?;
    let value = [7; VALUE];
    let start = Instant::now();
    for first in (0..values).step_by(group) {
        let transaction = database.begin_write()?;
        {
            let mut table = transaction.open_table(PLAIN)?;
            for key in first..values.min(first + group) {
                table.insert(key as u64, value.as_slice())?;
            }
        }
        transaction.commit()?;
    }
    Ok(values as f64 / start.elapsed().as_secs_f64())
}

/// A program in JSON mode that says much, of which little is looked at.
struct Talker {
    child: Child,
    input: ChildStdin,
    heard: Receiver<String>,
}

impl Talker {
    /// Hands on the lines that contain one of `wanted`, and lets the others go.
    fn start(mut command: Command, wanted: &'static [&'static str]) -> Result<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let pipes = (child.stdin.take(), child.stdout.take());
        let (Some(input), Some(out)) = pipes else { return Err("no pipes".into()) };
        let (hears, heard) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(|line| line.ok()) {
                if wanted.iter().any(|part| line.contains(part)) && hears.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, input, heard })
    }

    fn say(&mut self, line: &str) -> Result {
        Ok(writeln!(self.input, "{line}")?)
    }

    /// Waits for so many lines with `part`; what was heard meanwhile.
    fn hear(&self, part: &str, count: usize) -> Result<Vec<String>> {
        let (mut heard, mut left, end) = (Vec::new(), count, Instant::now() + PATIENCE);
        while left > 0 {
            let line = self.heard.recv_timeout(end.saturating_duration_since(Instant::now()))?;
            left -= usize::from(line.contains(part));
            heard.push(line);
        }
        Ok(heard)
    }

    fn quit(mut self) -> Result {
        self.say("/quit")?;
        // Its output ends with it.
        while self.heard.recv_timeout(PATIENCE).is_ok() {}
        Ok(())
    }
}

impl Drop for Talker {
    fn drop(&mut self) {
        // One that has ended already is no failure.
        let _ = self.child.kill().and_then(|()| self.child.wait());
    }
}
