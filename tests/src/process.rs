//! One program under test: started, heard line by line, ended with its owner.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};
use std::{fmt, thread};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use crate::event::Event;
use crate::trace::Trace;

/// How long a program may take for what needs no network and no person.
pub const PROMPT: Duration = Duration::from_secs(10);

/// Why the harness could not see what it wanted to see.
pub enum Failure {
    /// A program that the workspace makes was not built.
    NotBuilt {
        /// Its name.
        program: &'static str,
        /// Where it should lie.
        looked: PathBuf,
    },
    /// The system refused something to the harness itself.
    System {
        /// What was tried.
        what: String,
        /// What the system said.
        error: io::Error,
    },
    /// A program did not say or do something in time.
    TimedOut {
        /// The program.
        who: Arc<str>,
        /// What was awaited.
        what: String,
        /// For how long.
        within: Duration,
        /// What all of them said until then.
        trace: String,
    },
    /// A program ended before it said something.
    Ended {
        /// The program.
        who: Arc<str>,
        /// What was awaited.
        what: String,
        /// How it ended.
        exit: i32,
        /// What all of them said until then.
        trace: String,
    },
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotBuilt { program, looked } => {
                write!(f, "{program} is not built ({} is missing): run `make test`", looked.display())
            }
            Self::System { what, error } => write!(f, "{what}: {error}"),
            Self::TimedOut { who, what, within, trace } => {
                write!(f, "{who}: no {what} within {within:?}; until then:\n{trace}")
            }
            Self::Ended { who, what, exit, trace } => {
                write!(f, "{who}: ended with {exit} before {what}; until then:\n{trace}")
            }
        }
    }
}

/// As [`Display`](fmt::Display), so that an `unwrap` in a test shows the trace as lines.
impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Failure {}

impl Failure {
    /// For `map_err` of the harness's own doings.
    pub fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |error| Self::System { what, error }
    }
}

/// Where a program said something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Data.
    Out,
    /// Prompts, errors, logs.
    Err,
}

/// One line of a program, without its end.
#[derive(Debug, Clone)]
pub struct Line {
    /// When it was read, since the beginning of the test.
    pub at: Duration,
    /// Where it was said.
    pub stream: Stream,
    /// What was said; bytes that are no UTF-8 replaced.
    pub text: String,
    /// The same as an event, where it is one.
    pub event: Option<Event>,
}

enum Heard {
    Line(Line),
    Exited,
}

/// A running program, or one that ended and is still of interest.
#[derive(Debug)]
pub struct Process {
    who: Arc<str>,
    pid: Pid,
    child: Child,
    stdin: Option<ChildStdin>,
    heard: Receiver<Heard>,
    waiting: VecDeque<Line>,
    exited: bool,
    status: Option<ExitStatus>,
    trace: Trace,
}

impl fmt::Debug for Heard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => line.fmt(f),
            Self::Exited => f.write_str("Exited"),
        }
    }
}

/// A command that sees nothing of the user's own profiles, only `home`.
pub fn command(program: &Path, home: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("HOME", home).env("LANG", "C.UTF-8").env("RUST_BACKTRACE", "1");
    // Where programs that were built to count what they run write their counts, if they were.
    for name in ["PATH", "LLVM_PROFILE_FILE"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command.current_dir(home);
    command
}

impl Process {
    /// Starts `command` with its three streams under control; `who` names it in failures.
    ///
    /// # Errors
    /// If the system cannot start it.
    pub fn spawn(who: &str, mut command: Command, trace: &Trace) -> Result<Self, Failure> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let who: Arc<str> = Arc::from(who);
        trace.add(&who, "run", &command_line(&command));
        let mut child = command.spawn().map_err(Failure::system(format!("start {who}")))?;
        let stdin = child.stdin.take();
        let (sender, heard) = mpsc::channel();
        if let Some(out) = child.stdout.take() {
            listen(out, Stream::Out, who.clone(), trace.clone(), sender.clone());
        }
        if let Some(err) = child.stderr.take() {
            listen(err, Stream::Err, who.clone(), trace.clone(), sender.clone());
        }
        let pid = Pid::from_child(&child);
        // The status stays with the kernel until the owner takes it, so the id stays ours.
        thread::spawn(move || {
            let _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
            let _ = sender.send(Heard::Exited);
        });
        let trace = trace.clone();
        Ok(Self {
            who,
            pid,
            child,
            stdin,
            heard,
            waiting: VecDeque::new(),
            exited: false,
            status: None,
            trace,
        })
    }

    /// Its name in failures.
    pub fn who(&self) -> &str {
        &self.who
    }

    /// Its id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The first line, of those not yet taken, for which `find` gives something; takes it.
    /// Lines before it stay. `what` says in a failure what was awaited.
    ///
    /// # Errors
    /// If none comes in time or before the program ends.
    pub fn find<T>(
        &mut self,
        what: &str,
        within: Duration,
        mut find: impl FnMut(&Line) -> Option<T>,
    ) -> Result<T, Failure> {
        let deadline = Instant::now() + within;
        let mut looked = 0;
        loop {
            while let Some(line) = self.waiting.get(looked) {
                if let Some(found) = find(line) {
                    self.waiting.remove(looked);
                    return Ok(found);
                }
                looked += 1;
            }
            match self.heard.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(heard) => self.keep(heard),
                Err(RecvTimeoutError::Timeout) => return Err(self.timed_out(what, within)),
                Err(RecvTimeoutError::Disconnected) => {
                    let exit = self.reap();
                    let (who, trace) = (self.who.clone(), self.trace.to_string());
                    return Err(Failure::Ended { who, what: what.to_owned(), exit, trace });
                }
            }
        }
    }

    /// Every line so far that was not taken, in order; takes them.
    pub fn take_lines(&mut self) -> Vec<Line> {
        while let Ok(heard) = self.heard.try_recv() {
            self.keep(heard);
        }
        self.waiting.drain(..).collect()
    }

    /// Writes bytes to its standard input.
    ///
    /// # Errors
    /// If it does not read any more.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let who = self.who.clone();
        self.trace.add(&who, " in", String::from_utf8_lossy(bytes).trim_end());
        let Some(stdin) = &mut self.stdin else {
            let error = io::Error::from(io::ErrorKind::BrokenPipe);
            return Err(Failure::System { what: format!("write to {who}"), error });
        };
        stdin
            .write_all(bytes)
            .and_then(|()| stdin.flush())
            .map_err(Failure::system(format!("write to {who}")))
    }

    /// Ends its standard input.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn signal(&mut self, signal: Signal) -> Result<(), Failure> {
        self.trace.add(&self.who, "sig", &format!("{signal:?}"));
        kill_process(self.pid, signal)
            .map_err(|errno| Failure::System { what: format!("signal {}", self.who), error: errno.into() })
    }

    /// Waits until it has ended, and until all that it said was heard. 128 and the signal where a
    /// signal ended it, as a shell says it.
    ///
    /// # Errors
    /// If it does not end in time.
    pub fn wait_exit(&mut self, within: Duration) -> Result<i32, Failure> {
        let deadline = Instant::now() + within;
        loop {
            match self.heard.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(heard) => self.keep(heard),
                Err(RecvTimeoutError::Disconnected) => return Ok(self.reap()),
                Err(RecvTimeoutError::Timeout) => return Err(self.timed_out("end of the program", within)),
            }
        }
    }

    /// Ends it at once, as a crash would, and waits until it is gone.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn kill(&mut self) -> Result<(), Failure> {
        self.trace.add(&self.who, "sig", "KILL");
        self.child.kill().map_err(Failure::system(format!("kill {}", self.who)))?;
        self.wait_exit(PROMPT).map(drop)
    }

    /// What was said by all the processes of this test until now.
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    fn keep(&mut self, heard: Heard) {
        match heard {
            Heard::Line(line) => self.waiting.push_back(line),
            Heard::Exited => self.exited = true,
        }
    }

    fn timed_out(&self, what: &str, within: Duration) -> Failure {
        let (who, trace) = (self.who.clone(), self.trace.to_string());
        Failure::TimedOut { who, what: what.to_owned(), within, trace }
    }

    /// Only after everything was heard, the exit included: blocks for no longer than the kernel.
    fn reap(&mut self) -> i32 {
        if self.status.is_none() {
            self.status = self.child.wait().ok();
            let exit = self.status.map_or(-1, exit_code);
            self.trace.add(&self.who, "end", &exit.to_string());
        }
        self.status.map_or(-1, exit_code)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.status.is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn exit_code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}

fn command_line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

fn listen(from: impl Read + Send + 'static, stream: Stream, who: Arc<str>, trace: Trace, to: Sender<Heard>) {
    thread::spawn(move || {
        let mut reader = BufReader::new(from);
        let mut bytes = Vec::new();
        while reader.read_until(b'\n', &mut bytes).is_ok_and(|read| read > 0) {
            if bytes.last() == Some(&b'\n') {
                bytes.pop();
            }
            let text = String::from_utf8_lossy(&bytes).into_owned();
            bytes.clear();
            let what = match stream {
                Stream::Out => "out",
                Stream::Err => "err",
            };
            trace.add(&who, what, &text);
            if to
                .send(Heard::Line(Line { at: trace.elapsed(), stream, event: Event::parse(&text), text }))
                .is_err()
            {
                break;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Process {
        let mut shell = command(Path::new("/bin/sh"), Path::new("/"));
        shell.args(["-c", script]);
        Process::spawn("shell", shell, &Trace::default()).unwrap()
    }

    fn text(line: &Line) -> Option<String> {
        Some(line.text.clone())
    }

    #[test]
    fn lines_of_both_streams_are_heard_and_the_exit_code_seen() {
        let mut process = shell("echo data; echo error >&2; exit 7");
        assert_eq!(process.wait_exit(PROMPT).unwrap(), 7);
        let mut lines: Vec<_> =
            process.take_lines().into_iter().map(|l| (l.text, l.stream == Stream::Err)).collect();
        lines.sort();
        assert_eq!(lines, [("data".to_owned(), false), ("error".to_owned(), true)]);
    }

    #[test]
    fn a_line_that_does_not_come_is_a_failure_that_shows_what_came() {
        let mut process = shell("echo something else; read line");
        let failure =
            process.find("greeting", Duration::from_millis(200), |l| l.text.contains("hello").then_some(()));
        let shown = failure.unwrap_err().to_string();
        assert!(shown.contains("no greeting") && shown.contains("something else"), "{shown}");
    }

    #[test]
    fn a_program_that_ends_early_does_not_cost_the_whole_deadline() {
        let mut process = shell("exit 3");
        let failure = process.find("greeting", Duration::from_secs(600), text).unwrap_err();
        assert!(matches!(failure, Failure::Ended { exit: 3, .. }), "{failure}");
    }

    #[test]
    fn a_dropped_process_is_gone() {
        let process = shell("exec sleep 600");
        let pid = process.pid;
        drop(process);
        assert!(rustix::process::test_kill_process(pid).is_err());
    }

    #[test]
    fn what_is_written_arrives_and_the_end_of_input_is_seen() {
        let mut process = shell("cat; echo end");
        process.write(b"line\n").unwrap();
        assert_eq!(process.find("line", PROMPT, text).unwrap(), "line");
        process.close_stdin();
        assert_eq!(process.find("end", PROMPT, text).unwrap(), "end");
    }
}
