//! I12: what may come on standard input.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::thread;

use crate::event::{event, message, session};
use crate::memory::resident;
use crate::process::{PROMPT, Stream};
use crate::raw::Raw;
use crate::rows::{Defence, Lab, NotRun, Seen};
use crate::world::{MEETING, World, listen};

/// Bytes of the longest line that is written.
const LONG: usize = 16 << 20;
/// What reading such lines may cost.
const GROWTH_MAX: u64 = 8 << 20;

/// Lines with the code of the error that each has to give.
fn bad_lines() -> Vec<(Vec<u8>, &'static str)> {
    let long = |len: usize, byte: u8| vec![byte; len];
    vec![
        (b"caf\xe9 is latin".to_vec(), "not_utf8"),
        (b"\xff\xfe\x00\x41".to_vec(), "not_utf8"),
        (b"overlong \xc0\xaf".to_vec(), "not_utf8"),
        (b"surrogate \xed\xa0\x80".to_vec(), "not_utf8"),
        (b"cut \xf0\x9f\x91".to_vec(), "not_utf8"),
        (b"{\"do\":\"\xff\"}".to_vec(), "not_utf8"),
        (b"a NUL \0 in it".to_vec(), "usage"),
        (long(64 * 1024 + 1, b'x'), "too_long"),
        (long((1 << 20) + 1, b'x'), "too_long"),
        (long(LONG, b'x'), "too_long"),
        (long(LONG, 0), "too_long"),
        (long(LONG, 0xff), "too_long"),
    ]
}

/// I12.
pub(super) fn standard_input(defence: Defence, _: &mut Lab) -> Result<Seen, NotRun> {
    let lines = bad_lines();
    let (growth, sent) = match defence {
        Defence::InPlace => to_the_program(&lines)?,
        Defence::Removed => {
            // Holds a line, however long and whatever is in it, until it is whole, and passes it on.
            to_a_filter(&lines)?
        }
    };
    let what = format!("{sent} of them were sent, {} KiB more", growth >> 10);
    let held = growth <= GROWTH_MAX && sent == 0;
    Ok(Seen::when(held, what).figure(format!(
        "{} lines up to {} MiB, {} KiB",
        lines.len(),
        LONG >> 20,
        growth >> 10
    )))
}

/// How much a filter of the system grew that reads whole lines, and how many lines came out of it.
fn to_a_filter(lines: &[(Vec<u8>, &'static str)]) -> Result<(u64, usize), NotRun> {
    let mut filter = Command::new("/bin/sed")
        .args(["-u", ""])
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let (Some(mut input), Some(output)) = (filter.stdin.take(), filter.stdout.take()) else {
        return Err(NotRun("a filter without pipes".to_owned()));
    };
    let mut output = BufReader::new(output);
    let before = resident(filter.id())?.now;
    let (grown, sent) = thread::scope(|scope| -> Result<(u64, usize), NotRun> {
        let mut sent = 0;
        // Writes and reads at once, as neither pipe holds such a line.
        let writer = scope.spawn(move || {
            let write = |(line, _): &(Vec<u8>, _)| {
                input.write_all(line)?;
                input.write_all(b"\n")
            };
            lines.iter().try_for_each(write).map(|()| input)
        });
        for _ in lines {
            let mut line = Vec::new();
            sent += usize::from(output.read_until(b'\n', &mut line)? > 0);
        }
        // It has to live until it was looked at, so its input stays open.
        let _open = writer.join().map_err(|_| NotRun("the writer panicked".to_owned()))??;
        Ok((resident(filter.id())?.peak.saturating_sub(before), sent))
    })?;
    filter.wait()?;
    Ok((grown, sent))
}

/// In JSON mode and in plain mode: how much the program grew, and how much of it reached the peer.
fn to_the_program(lines: &[(Vec<u8>, &'static str)]) -> Result<(u64, usize), NotRun> {
    let world = World::new()?;
    let mut alice = listen(&world.person("alice")?.accept_everything())?;
    let mut bob = world.person("bob")?.start(&["connect", "--to", "alice"])?;
    bob.wait(&session("up"), MEETING)?;
    let before = resident(bob.process.id())?.now;
    for (line, code) in lines {
        bob.process.write(line)?;
        bob.process.write(b"\n")?;
        bob.wait(&event("error").with("code", *code), PROMPT)?;
    }
    let mut growth = resident(bob.process.id())?.now.saturating_sub(before);
    bob.send_line("after json")?;
    alice.wait(&message("after json"), PROMPT)?;

    let mut carol = Raw::start(&world.person("carol")?.plain(), &["connect", "--to", "alice"])?;
    carol.expect(Stream::Out, "connected to alice", 1)?;
    let before = resident(carol.id())?.now;
    for (number, (line, _)) in (1..).zip(lines) {
        carol.write(line)?;
        carol.write(b"\n")?;
        carol.expect(Stream::Err, "p2pchat: ", number)?;
    }
    growth = growth.max(resident(carol.id())?.now.saturating_sub(before));
    carol.write(b"after plain\n")?;
    alice.wait(&message("after plain"), PROMPT)?;
    let others = event("message").with("mine", false);
    let sent = alice.take_events().iter().filter(|said| others.matches(said)).count();
    Ok((growth, sent))
}
