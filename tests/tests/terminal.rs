//! Plain mode on a terminal.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::fs;
use std::io::{Read, Write};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use p2pchat_harness::actions::{TRANSFER, random_content};
use p2pchat_harness::event::{message, session};
use p2pchat_harness::peer::Setup;
use p2pchat_harness::process::PROMPT;
use p2pchat_harness::relay::recording::contains;
use p2pchat_harness::world::{MEETING, World, listen};
use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};
use rustix::process::{Pid, Signal, kill_process};

const ROWS: u16 = 24;
const COLUMNS: u16 = 80;

/// A program on a terminal of its own.
struct Terminal {
    master: Box<dyn MasterPty + Send>,
    child: Box<dyn Child + Send + Sync>,
    keyboard: Box<dyn Write + Send>,
    output: Receiver<Vec<u8>>,
    screen: vt100::Parser,
    raw: Vec<u8>,
    before: Modes,
}

impl Terminal {
    fn start(setup: &Setup, subcommand: &[&str]) -> Self {
        let size = PtySize { rows: ROWS, cols: COLUMNS, pixel_width: 0, pixel_height: 0 };
        let pair = native_pty_system().openpty(size).unwrap();
        let before = modes(pair.master.as_ref());
        // Without an identity it would ask for a passphrase first.
        if !setup.home().join("identity.key").exists() {
            let made = setup.clone().plain().run(&["init", "--no-passphrase"], PROMPT).unwrap();
            assert_eq!(made.exit, 0, "{made:?}");
        }
        let line = setup.clone().plain().command(subcommand).unwrap();
        let mut command = CommandBuilder::new(line.get_program());
        command.args(line.get_args());
        command.env_clear();
        for (name, value) in line.get_envs() {
            command.env(name, value.unwrap());
        }
        command.env("TERM", "xterm-256color");
        command.cwd(setup.home());
        let child = pair.slave.spawn_command(command).unwrap();
        let mut reader = pair.master.try_clone_reader().unwrap();
        let keyboard = pair.master.take_writer().unwrap();
        let (sender, output) = mpsc::channel();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(len @ 1..) = reader.read(&mut buffer) {
                if sender.send(buffer[..len].to_vec()).is_err() {
                    break;
                }
            }
        });
        let screen = vt100::Parser::new(ROWS, COLUMNS, 0);
        Self { master: pair.master, child, keyboard, output, screen, raw: Vec::new(), before }
    }

    fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
        self.keyboard.flush().unwrap();
    }

    fn take(&mut self, bytes: &[u8]) {
        self.screen.process(bytes);
        self.raw.extend_from_slice(bytes);
    }

    fn text(&self) -> String {
        self.screen.screen().contents()
    }

    /// Feeds the screen until it shows what is wanted.
    #[track_caller]
    fn expect(&mut self, what: &str, within: Duration, shows: impl Fn(&Self) -> bool) {
        while !shows(self) {
            match self.output.recv_timeout(within) {
                Ok(bytes) => self.take(&bytes),
                Err(error) => panic!("no {what} ({error}); the screen:\n{}", self.text()),
            }
        }
    }

    #[track_caller]
    fn expect_text(&mut self, text: &str, within: Duration) {
        self.expect(text, within, |terminal| terminal.text().contains(text));
    }

    /// The lowest row with a text, counted from the top.
    fn row_of(&self, text: &str) -> Option<usize> {
        self.text().lines().enumerate().filter(|(_, line)| line.contains(text)).map(|(row, _)| row).last()
    }

    /// Waits for the end and takes in what was said until then; the exit code.
    fn end(&mut self) -> u32 {
        loop {
            match self.output.recv_timeout(MEETING) {
                Ok(bytes) => self.take(&bytes),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("no end; the screen:\n{}", self.text()),
            }
        }
        self.child.wait().unwrap().exit_code()
    }

    /// Asserts that the terminal is as it was before the program.
    #[track_caller]
    fn assert_clean(&self) {
        let screen = self.screen.screen();
        assert!(!screen.hide_cursor(), "the cursor is hidden");
        assert!(!screen.bracketed_paste(), "bracketed paste is on");
        assert!(!screen.alternate_screen(), "the alternate screen is shown");
        assert!(!screen.application_keypad() && !screen.application_cursor(), "keys are rebound");
        assert_eq!(screen.mouse_protocol_mode(), vt100::MouseProtocolMode::None);
        assert_eq!(self.modes(), self.before, "the line discipline changed");
        assert_eq!(screen.cursor_position().1, 0, "the next prompt begins a line:\n{}", self.text());
    }

    fn modes(&self) -> Modes {
        modes(self.master.as_ref())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Input, output and local modes of a line discipline (termios(3)).
type Modes = [u32; 3];

fn modes(master: &(dyn MasterPty + Send)) -> Modes {
    let termios = master.get_termios().unwrap();
    [termios.input_flags.bits(), termios.output_flags.bits(), termios.local_flags.bits()]
}

#[test]
fn whoever_takes_contacts_elsewhere_is_asked_for_the_passphrase_of_the_file() {
    let world = World::new().unwrap();
    let alice = world.person("alice").unwrap();
    let file = alice.home().join("people.export");
    for (second, exit) in [("over the hill", 2), ("over the sea", 0)] {
        let mut terminal = Terminal::start(&alice, &["contacts", "export", "people.export"]);
        terminal.expect_text("Passphrase for the file: ", PROMPT);
        terminal.press("over the sea\r");
        terminal.expect_text("The same again: ", PROMPT);
        terminal.press(&format!("{second}\r"));
        assert_eq!((terminal.end(), file.exists()), (exit, exit == 0), "{}", terminal.text());
        assert!(!terminal.text().contains("over the"), "what is typed is not shown: {}", terminal.text());
    }
    for (typed, exit) in [("over the hill", 1), ("over the sea", 0)] {
        let mut terminal = Terminal::start(&alice, &["contacts", "import", "people.export"]);
        terminal.expect_text("Passphrase of people.export: ", PROMPT);
        terminal.press(&format!("{typed}\r"));
        assert_eq!(terminal.end(), exit, "{}", terminal.text());
        assert!(terminal.text().contains("wrong passphrase") == (exit == 1), "{}", terminal.text());
        assert!(!terminal.text().contains("over the"), "{}", terminal.text());
    }
}

#[test]
fn whoever_ends_it_at_a_question_gets_the_terminal_back() {
    let world = World::new().unwrap();
    let alice = world.person("alice").unwrap();
    for (signal, exit) in [(None, 130), (Some(Signal::INT), 130), (Some(Signal::TERM), 143)] {
        let mut terminal = Terminal::start(&alice, &["passphrase", "set"]);
        terminal.expect_text("assphrase", PROMPT);
        match signal {
            Some(signal) => {
                let id = terminal.child.process_id().unwrap().cast_signed();
                kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
            }
            None => terminal.press("\x03"),
        }
        assert_eq!(terminal.end(), exit, "{signal:?}: {}", terminal.text());
        terminal.assert_clean();
    }
}

#[test]
fn the_main_job_at_two_terminals() {
    let world = World::new().unwrap();
    let mut alice = Terminal::start(&world.person("alice").unwrap(), &["listen"]);
    alice.expect_text("at the broker", MEETING);
    let mut bob = Terminal::start(&world.person("bob").unwrap(), &["connect", "--to", "alice"]);
    alice.expect_text("bob", MEETING);
    alice.press("/accept\r");
    alice.expect_text("you talk to bob", MEETING);
    bob.expect_text("you talk to alice", MEETING);

    bob.press("hello alice\r");
    alice.expect_text("hello alice", PROMPT);
    alice.press("hello bob\r");
    bob.expect_text("hello bob", PROMPT);

    let song = world.file("song.mp3", &random_content(1, 300_000)).unwrap();
    bob.press(&format!("/sendf {}\r", song.display()));
    alice.expect_text("offers file 1", PROMPT);
    alice.press("/save 1\r");
    let received = |setup: &str| world.directory(setup).unwrap().join("downloads/song.mp3");
    alice.expect("the file", TRANSFER, |_| received("home-alice").is_file());
    assert_eq!(fs::read(received("home-alice")).unwrap(), fs::read(&song).unwrap());

    // Who connected takes the files of the person they connected to.
    alice.press(&format!("/sendf {}\r", song.display()));
    bob.expect("the file", TRANSFER, |_| received("home-bob").is_file());
    assert_eq!(fs::read(received("home-bob")).unwrap(), fs::read(&song).unwrap());

    bob.press("/info\r");
    bob.expect_text("packets: ", PROMPT);
    // Lines that are pasted together are all taken.
    bob.press("one\rtwo\r/quit\r");
    assert_eq!(bob.end(), 0, "the screen:\n{}", bob.text());
    bob.assert_clean();
    alice.expect_text("bob: one", PROMPT);
    alice.expect_text("bob: two", PROMPT);
    alice.press("/quit\r");
    assert_eq!(alice.end(), 0);
    alice.assert_clean();
}

/// Text that nobody should be able to turn into something else on a terminal.
const HOSTILE: &str = "red \u{1b}[31malert\u{1b}[0m \u{1b}]0;title\u{7} \u{202e}desrever \u{9b}2J end";

#[test]
fn what_comes_in_appears_above_the_line_that_is_being_typed() {
    let world = World::new().unwrap();
    let mut alice = listen(&world.person("alice").unwrap().accept_everything()).unwrap();
    let mut bob = Terminal::start(&world.person("bob").unwrap(), &["connect", "--to", "alice"]);
    alice.expect(&session("up"), MEETING);
    bob.expect_text("alice", MEETING);

    bob.press("hello from the terminal\r");
    alice.expect(&message("hello from the terminal"), PROMPT);

    bob.press("half a li");
    bob.expect_text("half a li", PROMPT);
    alice.send_line("look above").unwrap();
    bob.expect_text("look above", PROMPT);
    bob.expect("line being typed below what came", PROMPT, |terminal| {
        match (terminal.row_of("look above"), terminal.row_of("half a li")) {
            (Some(above), Some(below)) => above < below,
            _ => false,
        }
    });
    bob.press("ne\r");
    alice.expect(&message("half a line"), PROMPT);

    bob.press("/quit\r");
    assert_eq!(bob.end(), 0);
    bob.assert_clean();
}

#[test]
fn what_others_write_cannot_drive_the_terminal() {
    let world = World::new().unwrap();
    let mut alice = listen(&world.person("alice").unwrap().accept_everything()).unwrap();
    let mut bob = Terminal::start(&world.person("bob").unwrap(), &["connect", "--to", "alice"]);
    alice.expect(&session("up"), MEETING);
    alice.send_json(1, Some("bob"), &format!("{HOSTILE}\n\rsecond line\u{8}\u{8}")).unwrap();
    bob.expect_text("end", PROMPT);
    bob.expect_text("second line", PROMPT);
    let screen = bob.screen.screen();
    // No operating system command, in either spelling of its beginning.
    for command in [&b"\x1b]"[..], "\u{9d}".as_bytes()] {
        assert!(!contains(&bob.raw, command), "a message commands the terminal");
    }
    let red = (0..ROWS).flat_map(|row| (0..COLUMNS).map(move |column| (row, column)));
    let red = red.filter_map(|(row, column)| screen.cell(row, column));
    let red: String =
        red.filter(|cell| cell.fgcolor() == vt100::Color::Idx(1)).map(|cell| cell.contents()).collect();
    assert!(!red.contains("alert"), "a message chose its colour");
    assert!(!bob.text().contains('\u{202e}'), "a message turned the direction");
    bob.press("/quit\r");
    assert_eq!(bob.end(), 0);
    bob.assert_clean();
}

#[test]
fn ctrl_c_ends_with_130_and_leaves_the_terminal_clean() {
    let world = World::new().unwrap();
    let mut alice = listen(&world.person("alice").unwrap().accept_everything()).unwrap();
    let mut bob = Terminal::start(&world.person("bob").unwrap(), &["connect", "--to", "alice"]);
    alice.expect(&session("up"), MEETING);
    bob.press("half a line");
    bob.expect_text("half a line", PROMPT);
    bob.press("\u{3}");
    // The first one may only clear the line; the second one always ends.
    bob.press("\u{3}");
    assert_eq!(bob.end(), 130);
    bob.assert_clean();
    alice.expect(&session("closed"), PROMPT);
}
