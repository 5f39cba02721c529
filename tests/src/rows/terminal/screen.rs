//! I1, I2, I3: messages on a screen. A real peer sends them, a real peer shows them, and what it
//! wrote goes through a parser as a terminal has it.

use p2pchat_client::sanitise;
use p2pchat_proto::WallTime;
use p2pchat_proto::codec::{decode, encode};
use p2pchat_proto::conversation::{DeviceEpoch, Text};
use rand::RngExt;
use rand_chacha::ChaCha20Rng;

use crate::event::{receipt, session};
use crate::peer::Peer;
use crate::process::Stream;
use crate::raw::Raw;
use crate::rows::hidden::{any_steers, invisible, steers};
use crate::rows::{Defence, Lab, NotRun, Seen};
use crate::world::{MEETING, World};

/// Messages made of hostile pieces at random, beside those that are listed.
const RANDOM_MESSAGES: usize = 100;
/// Texts that only the sanitiser sees, as made at random.
const RANDOM_TEXTS: usize = 20_000;
/// What a program may begin and end with colours: a head and its end (ECMA-48 section 8.3.117).
const SGR: [&[u16]; 4] = [&[0], &[1], &[2], &[31]];
/// Sequences of our own in one line: the head of a message and its end.
const OWN_PER_LINE: usize = 2;

/// Sequences that a terminal obeys or answers.
const SEQUENCES: [&str; 26] = [
    "\u{1b}[2J",
    "\u{1b}[31mred",
    "\u{1b}[0m",
    "\u{1b}[6n",
    "\u{1b}[1;1H",
    "\u{1b}[?1049h",
    "\u{1b}[8m",
    "\u{1b}c",
    "\u{1b}]0;title\u{7}",
    "\u{1b}]8;;http://x\u{1b}\\link\u{1b}]8;;\u{1b}\\",
    "\u{1b}]52;c;aGk=\u{7}",
    "\u{1b}]0;no end",
    "\u{1b}P1$r\u{1b}\\",
    "\u{1b}_apc\u{1b}\\",
    "\u{1b}^pm\u{1b}\\",
    "\u{1b}Xsos\u{1b}\\",
    "\u{1b}",
    "\u{1b}[",
    "\u{9b}2J",
    "\u{9d}52;c;aGk=\u{9c}",
    "\u{90}1$r\u{9c}",
    "\u{98}sos\u{9c}",
    "\u{85}",
    "\u{7}\u{7}\u{8}\u{c}\u{b}",
    "\u{e}\u{f}\u{7f}",
    "\u{1b}7\u{1b}8\u{1b}D\u{1b}M\u{1b}#8",
];

/// I1.
pub(super) fn sequences(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let mut texts: Vec<String> = SEQUENCES.map(|sequence| format!("x{sequence}y")).into();
    // U+0000 is refused before it is sent.
    let controls = (1..0x20).chain(0x7f..0xa0).filter_map(char::from_u32).filter(|c| *c != '\n');
    texts.extend(controls.map(|control| format!("x{control}[31my")));
    texts.extend((0..RANDOM_MESSAGES).map(|_| random(&mut lab.rng, &SEQUENCES)));
    let (out, err) = show(defence, &texts, true)?;
    let mut screen = Screen::default();
    let mut parser = vte::Parser::new();
    for said in [&out, &err] {
        parser.advance(&mut screen, said);
    }
    let crowded = lines(&out).filter(|line| count(line, "\u{1b}") > OWN_PER_LINE).count();
    let what = match screen.other.first() {
        None => format!("{} characters and {} colours of our own", screen.printed, screen.own),
        Some(first) => format!("{} that steer, the first is {first}", screen.other.len()),
    };
    // What is no UTF-8 a terminal may take for 8-bit controls.
    let text = std::str::from_utf8(&out).is_ok() && std::str::from_utf8(&err).is_ok();
    // A program that shows nothing is not safe but mute.
    let shown = lines(&out).filter(|line| line.contains("bob")).count() >= texts.len();
    let raw = defence == Defence::Removed || raw_controls_are_refused()?;
    let held = screen.other.is_empty() && crowded == 0 && text && shown && raw;
    Ok(Seen::when(held, what).figure(format!("{} messages", texts.len())))
}

/// Whether a message with an 8-bit control in it, which no honest program can send, is no message.
fn raw_controls_are_refused() -> Result<bool, NotRun> {
    let honest = Text { epoch: DeviceEpoch(1), seq: 0, sent_at: WallTime(0), late: false, text: "QQ".into() };
    let honest = encode(&honest)?;
    let at = honest.len() - 2;
    let mut refused = 0;
    for control in 0x80..=0x9f {
        let mut raw = honest.clone();
        raw[at] = control;
        refused += usize::from(decode::<Text>(&raw).is_err());
    }
    Ok(refused == 32 && decode::<Text>(&honest).is_ok())
}

/// I2.
pub(super) fn hidden(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let characters: Vec<char> = invisible().collect();
    let texts: Vec<String> =
        characters.chunks(3).map(|some| some.iter().map(|c| format!("a{c}b")).collect()).collect();
    let (out, _) = show(defence, &texts, false)?;
    let on_screen = String::from_utf8_lossy(&out).chars().filter(|c| *c != '\n' && steers(*c)).count();
    let pieces: Vec<String> = characters.iter().map(char::to_string).collect();
    let pieces: Vec<&str> =
        pieces.iter().map(String::as_str).chain(["a", "\u{5d0}", "\u{301}", "\u{1f469}", " "]).collect();
    let left = (0..RANDOM_TEXTS).filter(|_| {
        let text = random(&mut lab.rng, &pieces);
        let shown = match defence {
            Defence::InPlace => sanitise::line(&text).into_owned(),
            Defence::Removed => text,
        };
        any_steers(&shown)
    });
    let left = left.count();
    let shown = lines(&out).filter(|line| line.starts_with("bob: a")).count() == texts.len();
    let what = format!("{on_screen} on the screen, {left} texts with some left");
    Ok(Seen::when(on_screen + left == 0 && shown, what)
        .figure(format!("{} characters, {RANDOM_TEXTS} texts", characters.len())))
}

/// I3.
pub(super) fn forged_lines(defence: Defence, _: &mut Lab) -> Result<Seen, NotRun> {
    let breaks = [
        "\n",
        "\r",
        "\r\n",
        "\u{b}",
        "\u{c}",
        "\u{85}",
        "\u{2028}",
        "\u{2029}",
        "\n\n",
        "\u{8}\u{8}\u{8}\u{8}\u{8}",
        "\t",
    ];
    let forged = ["carol: I agree", "* carol is verified", "p2pchat: session closed"];
    let texts: Vec<String> =
        breaks.iter().flat_map(|end| forged.map(|line| format!("hi{end}FORGED {line}"))).collect();
    let (out, _) = show(defence, &texts, false)?;
    let moving =
        |line: &str| line.contains(['\r', '\u{8}', '\t', '\u{b}', '\u{c}', '\u{85}', '\u{2028}', '\u{2029}']);
    let begins = lines(&out).filter(|line| line.starts_with("FORGED")).count();
    let moves = lines(&out).filter(|line| moving(line)).count();
    let own = lines(&out).filter(|line| line.starts_with("bob: hi")).count();
    let what = format!(
        "{begins} forged lines, {moves} that move the cursor, {own} of {} messages are one line",
        texts.len()
    );
    let held = begins + moves == 0 && own == texts.len();
    Ok(Seen::when(held, what).figure(format!("{} messages", texts.len())))
}

/// Standard output and standard error of a program in plain mode to which these were said.
fn show(defence: Defence, texts: &[String], colour: bool) -> Result<(Vec<u8>, Vec<u8>), NotRun> {
    if defence == Defence::Removed {
        // Prints what came.
        let out: String = texts.iter().map(|text| format!("bob: {text}\n")).collect();
        return Ok((out.into_bytes(), Vec::new()));
    }
    let world = World::new()?;
    let looks = ["--color", if colour { "always" } else { "never" }];
    let alice = world.person("alice")?.accept_everything().arguments(looks).plain();
    let mut alice = Raw::start(&alice, &["listen"])?;
    alice.expect(Stream::Err, "at the broker", 1)?;
    let mut bob = world.person("bob")?.start(&["connect", "--to", "alice"])?;
    bob.wait(&session("up"), MEETING)?;
    say_all(&mut bob, texts)?;
    Ok(alice.end()?)
}

/// Says all of it, and waits until the last one was shown.
pub(super) fn say_all(bob: &mut Peer, texts: &[String]) -> Result<(), NotRun> {
    let mut last = String::new();
    for (number, text) in (1..).zip(texts) {
        last = bob.command(number, None, text)?.text("message").to_owned();
    }
    bob.wait(&receipt(&last, "read"), MEETING)?;
    Ok(())
}

/// Some pieces in a row, after a letter, so that it is no command.
fn random(rng: &mut ChaCha20Rng, pieces: &[&str]) -> String {
    let count = rng.random_range(1..12);
    (0..count).fold("x".to_owned(), |text, _| text + pieces[rng.random_range(0..pieces.len())])
}

pub(super) fn lines(said: &[u8]) -> impl Iterator<Item = String> {
    said.split(|byte| *byte == b'\n').map(|line| String::from_utf8_lossy(line).into_owned())
}

fn count(line: &str, what: &str) -> usize {
    line.matches(what).count()
}

/// What a terminal would do.
#[derive(Default)]
pub(super) struct Screen {
    pub(super) printed: usize,
    /// Colours as the program makes them.
    pub(super) own: usize,
    /// Everything else.
    pub(super) other: Vec<String>,
}

impl vte::Perform for Screen {
    fn print(&mut self, c: char) {
        self.printed += 1;
        if steers(c) {
            self.other.push(format!("U+{:04X}", u32::from(c)));
        }
    }

    fn execute(&mut self, byte: u8) {
        if byte != b'\n' {
            self.other.push(format!("control {byte:#04x}"));
        }
    }

    fn csi_dispatch(&mut self, params: &vte::Params, intermediates: &[u8], ignore: bool, action: char) {
        let numbers: Vec<u16> = params.iter().flatten().copied().collect();
        if action == 'm' && intermediates.is_empty() && !ignore && SGR.contains(&numbers.as_slice()) {
            self.own += 1;
        } else {
            self.other.push(format!("CSI {numbers:?} {action}"));
        }
    }

    fn hook(&mut self, _: &vte::Params, _: &[u8], _: bool, _: char) {
        self.other.push("DCS".to_owned());
    }

    fn osc_dispatch(&mut self, _: &[&[u8]], _: bool) {
        self.other.push("OSC".to_owned());
    }

    fn esc_dispatch(&mut self, _: &[u8], _: bool, byte: u8) {
        self.other.push(format!("ESC {}", char::from(byte)));
    }
}
