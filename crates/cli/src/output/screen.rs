//! The thread that writes.

use core::time::Duration;
use std::io::{self, Write as _};
use std::sync::{Arc, OnceLock};
use std::thread;

use indicatif::MultiProgress;
use p2pchat_proto::conversation::MessageId;
use tokio::sync::{mpsc, oneshot};

use super::{Above, Role, Shown, Stream};

/// Lines that may wait to be written before whoever makes them waits, too.
const LINES_WAITING_MAX: usize = 1024;
/// How long the end waits for lines that nobody reads.
const FLUSH_WAIT: Duration = Duration::from_secs(2);

/// Nobody reads what is written any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed;

/// Takes lines in order. See the module above for who makes them.
#[derive(Debug)]
pub struct Screen {
    pieces: mpsc::Sender<Piece>,
    written: mpsc::UnboundedReceiver<MessageId>,
    quiet: bool,
    fault: Arc<OnceLock<io::Error>>,
}

enum Piece {
    Line {
        shown: Shown,
        message: Option<MessageId>,
    },
    Json {
        line: String,
        message: Option<MessageId>,
    },
    Dot,
    Clear,
    /// From now on an editor has the terminal; lines go above what is being typed.
    Editor(Arc<Above>),
    /// No editor has the terminal any more.
    NoEditor,
    /// From now on there may be bars, which are lifted while a line is written.
    Bars(MultiProgress),
    Flush(oneshot::Sender<()>),
}

impl Screen {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// If the system refuses one more thread.
    pub fn start(colors: Colors, quiet: bool) -> io::Result<Self> {
        Self::on(Box::new(Standard), colors, quiet)
    }

    /// Starts the thread for other streams than the standard ones.
    ///
    /// # Errors
    ///
    /// If the system refuses one more thread.
    pub fn on(sink: Box<dyn Sink>, colors: Colors, quiet: bool) -> io::Result<Self> {
        let (pieces, to_write) = mpsc::channel(LINES_WAITING_MAX);
        let (report, written) = mpsc::unbounded_channel();
        let fault = Arc::default();
        let writer =
            Writer { sink, colors, editor: None, bars: None, dots: false, report, fault: Arc::clone(&fault) };
        thread::Builder::new().name("p2pchat-screen".to_owned()).spawn(move || writer.run(to_write))?;
        Ok(Self { pieces, written, quiet, fault })
    }

    /// Shows a line; notices only where the user wants them.
    ///
    /// # Errors
    ///
    /// [`Closed`].
    pub async fn show(&self, shown: Shown) -> Result<(), Closed> {
        if self.quiet && shown.role == Role::Notice {
            return Ok(());
        }
        self.put(Piece::Line { shown, message: None }).await
    }

    /// Shows somebody's message; [`Screen::written`] tells when it was written.
    ///
    /// # Errors
    ///
    /// [`Closed`].
    pub async fn show_message(&self, shown: Shown, message: MessageId) -> Result<(), Closed> {
        self.put(Piece::Line { shown, message: Some(message) }).await
    }

    /// Writes a line of JSON mode, which carries somebody's message or not.
    ///
    /// # Errors
    ///
    /// [`Closed`].
    pub async fn json(&self, line: String, message: Option<MessageId>) -> Result<(), Closed> {
        self.put(Piece::Json { line, message }).await
    }

    /// One more sign of patience on standard error.
    ///
    /// # Errors
    ///
    /// [`Closed`].
    pub async fn dot(&self) -> Result<(), Closed> {
        if self.quiet { Ok(()) } else { self.put(Piece::Dot).await }
    }

    /// Clears a terminal.
    ///
    /// # Errors
    ///
    /// [`Closed`].
    pub async fn clear(&self) -> Result<(), Closed> {
        self.put(Piece::Clear).await
    }

    /// Lines go above what is being typed from now on.
    ///
    /// # Errors
    ///
    /// [`Closed`].
    pub async fn editor(&self, above: Arc<Above>) -> Result<(), Closed> {
        self.put(Piece::Editor(above)).await
    }

    /// The terminal is free again.
    ///
    /// # Errors
    ///
    /// [`Closed`].
    pub async fn no_editor(&self) -> Result<(), Closed> {
        self.put(Piece::NoEditor).await
    }

    /// There may be bars from now on.
    ///
    /// # Errors
    ///
    /// [`Closed`].
    pub async fn bars(&self, bars: MultiProgress) -> Result<(), Closed> {
        self.put(Piece::Bars(bars)).await
    }

    /// The next message whose line was written.
    pub async fn written(&mut self) -> Option<MessageId> {
        self.written.recv().await
    }

    /// Why the system took no more lines, where it was not for a reader who left.
    pub fn fault(&self) -> Option<&io::Error> {
        self.fault.get()
    }

    /// Waits until everything was written, or for as long as somebody may take to read it.
    pub async fn flush(&self) {
        let (done, flushed) = oneshot::channel();
        let write = async {
            if self.put(Piece::Flush(done)).await.is_ok() {
                // Without an answer the thread has ended, and has written what it could.
                let _ = flushed.await;
            }
        };
        let _ = tokio::time::timeout(FLUSH_WAIT, write).await;
    }

    async fn put(&self, piece: Piece) -> Result<(), Closed> {
        self.pieces.send(piece).await.map_err(|_| Closed)
    }
}

/// On which streams to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Colors {
    /// Standard output.
    pub out: bool,
    /// Standard error.
    pub err: bool,
}

/// Where the thread writes.
pub trait Sink: Send {
    /// Writes text as it is, and holds nothing back.
    ///
    /// # Errors
    ///
    /// If nobody takes it any more.
    fn write(&mut self, stream: Stream, text: &str) -> io::Result<()>;
}

/// Standard output and standard error.
struct Standard;

impl Sink for Standard {
    fn write(&mut self, stream: Stream, text: &str) -> io::Result<()> {
        match stream {
            Stream::Out => {
                let mut out = io::stdout().lock();
                out.write_all(text.as_bytes())?;
                out.flush()
            }
            Stream::Err => io::stderr().lock().write_all(text.as_bytes()),
        }
    }
}

struct Writer {
    sink: Box<dyn Sink>,
    colors: Colors,
    editor: Option<Arc<Above>>,
    bars: Option<MultiProgress>,
    /// A line of dots is not finished.
    dots: bool,
    report: mpsc::UnboundedSender<MessageId>,
    fault: Arc<OnceLock<io::Error>>,
}

impl Writer {
    fn run(mut self, mut pieces: mpsc::Receiver<Piece>) {
        while let Some(piece) = pieces.blocking_recv() {
            if let Err(error) = self.write(piece) {
                if error.kind() != io::ErrorKind::BrokenPipe {
                    // The first one is the cause; there is none before it.
                    let _ = self.fault.set(error);
                }
                return;
            }
        }
    }

    fn write(&mut self, piece: Piece) -> io::Result<()> {
        match piece {
            Piece::Line { shown, message } => {
                let colors = match shown.stream {
                    Stream::Out => self.colors.out,
                    Stream::Err => self.colors.err,
                };
                self.line(shown.stream, &shown.painted(colors))?;
                self.report(message);
            }
            Piece::Json { line, message } => {
                self.line(Stream::Out, &line)?;
                self.report(message);
            }
            Piece::Dot => {
                self.sink.write(Stream::Err, ".")?;
                self.dots = true;
            }
            Piece::Clear => self.clear()?,
            Piece::Editor(above) => {
                self.end_dots()?;
                self.editor = Some(above);
            }
            Piece::NoEditor => self.editor = None,
            Piece::Bars(bars) => self.bars = Some(bars),
            Piece::Flush(done) => {
                self.end_dots()?;
                if let Some(editor) = &self.editor {
                    editor.flush();
                }
                // Nobody waits for it any more: nothing is lost by that.
                let _ = done.send(());
            }
        }
        Ok(())
    }

    fn line(&mut self, stream: Stream, text: &str) -> io::Result<()> {
        self.end_dots()?;
        let line = format!("{text}\n");
        let Self { sink, editor, bars, .. } = self;
        let mut write = |text: &str| match bars {
            Some(bars) => bars.suspend(|| sink.write(stream, text)),
            None => sink.write(stream, text),
        };
        match editor {
            Some(editor) => editor.put(&line, write),
            None => write(&line),
        }
    }

    fn clear(&mut self) -> io::Result<()> {
        // Cursor home, erase display (ECMA-48 sections 8.3.21 and 8.3.39).
        const CLEAR: &str = "\u{1b}[H\u{1b}[2J";
        match &self.editor {
            Some(editor) => editor.put(CLEAR, |text| self.sink.write(Stream::Out, text)),
            None => Ok(()),
        }
    }

    fn end_dots(&mut self) -> io::Result<()> {
        if core::mem::take(&mut self.dots) { self.sink.write(Stream::Err, "\n") } else { Ok(()) }
    }

    fn report(&self, message: Option<MessageId>) {
        if let Some(message) = message {
            // The front end has ended: no receipt is sent any more.
            let _ = self.report.send(message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Refusing(io::ErrorKind);

    impl Sink for Refusing {
        fn write(&mut self, _stream: Stream, _text: &str) -> io::Result<()> {
            Err(self.0.into())
        }
    }

    #[tokio::test]
    async fn a_disk_that_is_full_is_a_fault_and_a_reader_who_left_is_none() {
        for (kind, fault) in [(io::ErrorKind::StorageFull, true), (io::ErrorKind::BrokenPipe, false)] {
            let screen = Screen::on(Box::new(Refusing(kind)), Colors::default(), false).unwrap();
            screen.show(Shown::data("a line")).await.unwrap();
            screen.flush().await;
            assert_eq!(screen.fault().is_some(), fault, "{kind}");
        }
    }
}
