//! A program in plain mode whose output is kept byte by byte, as a terminal would get it.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::peer::Setup;
use crate::process::{Failure, PROMPT, Stream};
use crate::relay::recording::contains;

/// A running program; ends with its owner.
#[derive(Debug)]
pub struct Raw {
    child: Child,
    stdin: Option<ChildStdin>,
    heard: Receiver<(Stream, Vec<u8>)>,
    out: Vec<u8>,
    err: Vec<u8>,
}

impl Raw {
    /// Starts a subcommand.
    ///
    /// # Errors
    /// If the program was not built or cannot be started.
    pub fn start(setup: &Setup, subcommand: &[&str]) -> Result<Self, Failure> {
        let mut command = setup.command(subcommand)?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(Failure::system("start a program"))?;
        let (sender, heard) = mpsc::channel();
        if let Some(out) = child.stdout.take() {
            listen(out, Stream::Out, sender.clone());
        }
        if let Some(err) = child.stderr.take() {
            listen(err, Stream::Err, sender);
        }
        let stdin = child.stdin.take();
        Ok(Self { child, stdin, heard, out: Vec::new(), err: Vec::new() })
    }

    /// Its id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Writes bytes to its standard input.
    ///
    /// # Errors
    /// If it does not read any more.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let Some(stdin) = &mut self.stdin else { return Ok(()) };
        stdin.write_all(bytes).and_then(|()| stdin.flush()).map_err(Failure::system("write to a program"))
    }

    /// Waits until `needle` stands in one of its streams at least `times`.
    ///
    /// # Errors
    /// If it does not in time.
    pub fn expect(&mut self, stream: Stream, needle: &str, times: usize) -> Result<(), Failure> {
        let deadline = Instant::now() + PROMPT;
        while count(self.said(stream), needle.as_bytes()) < times {
            self.hear(deadline.saturating_duration_since(Instant::now())).map_err(|error| {
                let said = String::from_utf8_lossy(self.said(stream)).escape_debug().to_string();
                Failure::System {
                    what: format!("wait for {needle:?} in {said}"),
                    error: std::io::Error::other(error.to_string()),
                }
            })?;
        }
        Ok(())
    }

    /// What it wrote so far to one of its streams.
    pub fn said(&self, stream: Stream) -> &[u8] {
        match stream {
            Stream::Out => &self.out,
            Stream::Err => &self.err,
        }
    }

    /// SIGTERM; all that it wrote, standard output and standard error.
    ///
    /// # Errors
    /// If it does not end in time.
    pub fn end(mut self) -> Result<(Vec<u8>, Vec<u8>), Failure> {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM)
            .map_err(|errno| Failure::System { what: "end a program".to_owned(), error: errno.into() })?;
        let deadline = Instant::now() + PROMPT;
        loop {
            match self.hear(deadline.saturating_duration_since(Instant::now())) {
                Ok(()) => {}
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    let error = std::io::ErrorKind::TimedOut.into();
                    return Err(Failure::System { what: "wait for the end of a program".to_owned(), error });
                }
            }
        }
        Ok((std::mem::take(&mut self.out), std::mem::take(&mut self.err)))
    }

    fn hear(&mut self, within: Duration) -> Result<(), RecvTimeoutError> {
        let (stream, bytes) = self.heard.recv_timeout(within)?;
        match stream {
            Stream::Out => self.out.extend(bytes),
            Stream::Err => self.err.extend(bytes),
        }
        Ok(())
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _status = self.child.wait();
    }
}

fn count(bytes: &[u8], needle: &[u8]) -> usize {
    if !contains(bytes, needle) {
        return 0;
    }
    bytes.windows(needle.len()).filter(|window| *window == needle).count()
}

fn listen(mut from: impl Read + Send + 'static, stream: Stream, to: Sender<(Stream, Vec<u8>)>) {
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            if to.send((stream, buffer.get(..read).unwrap_or_default().to_vec())).is_err() {
                break;
            }
        }
    });
}
