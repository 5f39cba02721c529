//! The line editor on a terminal, on a thread of its own.

use core::fmt;
use std::io;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use p2pchat_client::Failure;
use rustyline::error::ReadlineError;
use rustyline::history::MemHistory;
use rustyline::{ColorMode, Config};
use tokio::sync::mpsc;

use super::complete::{EditorHelper, KnownHandle};
use super::{LINES_WAITING_MAX, Typed};
use crate::output::{self, Above};

/// Lines that can be called back; they stay in memory.
const HISTORY_MAX: usize = 1000;

/// What stands before what is typed, for the next line.
#[derive(Debug, Clone)]
pub struct Prompt(Arc<Mutex<String>>);

impl Prompt {
    /// That of nobody to talk to.
    pub fn new() -> Self {
        let prompt = Self(Arc::default());
        prompt.set(None);
        prompt
    }

    /// Changes it. A name is safe to show: its alphabet is letters, digits and three signs.
    pub fn set(&self, whom: Option<&str>) {
        let text = whom.map_or_else(|| "> ".to_owned(), |whom| format!("{whom}> "));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = text;
    }

    fn text(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// An editor that runs.
pub struct Editor {
    /// What is typed.
    pub typed: mpsc::Receiver<Typed>,
    /// Lets it read one more line. Until then the terminal is as it was, so that a line that ends
    /// the program leaves nothing to be mended.
    pub next: SyncSender<()>,
    /// Writes above what is being typed.
    pub above: Arc<Above>,
}

impl Default for Prompt {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Editor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Editor").finish_non_exhaustive()
    }
}

impl Editor {
    /// Takes the terminal.
    ///
    /// # Errors
    ///
    /// If the terminal cannot be used, or the system refuses one more thread.
    pub fn start(prompt: Prompt, known: KnownHandle) -> io::Result<Self> {
        // The helper writes with the prompt, which the editor asks it for where there may be colours.
        let config = Config::builder().auto_add_history(true).color_mode(ColorMode::Forced);
        let config = config.max_history_size(HISTORY_MAX).map_err(io::Error::other)?.build();
        let history = MemHistory::with_config(&config);
        let mut editor =
            rustyline::Editor::<EditorHelper, _>::with_history(config, history).map_err(io::Error::other)?;
        let above = Above::start(editor.create_external_printer().map_err(io::Error::other)?)?;
        editor.set_helper(Some(EditorHelper::new(known, Arc::clone(&above))));
        let screen = Arc::clone(&above);
        let (lines, typed) = mpsc::channel(LINES_WAITING_MAX);
        let (next, go_on) = sync_channel(LINES_WAITING_MAX);
        thread::Builder::new().name("p2pchat-editor".to_owned()).spawn(move || {
            while go_on.recv().is_ok() {
                let mut usable = true;
                screen.begin();
                let outcome = editor.readline(&prompt.text());
                let written = screen.end(output::print_above);
                let line = match outcome {
                    Ok(line) => Typed::Line(line),
                    Err(ReadlineError::Interrupted) => Typed::Interrupt,
                    Err(ReadlineError::Io(error)) if error.kind() == io::ErrorKind::InvalidData => {
                        Typed::Bad(Failure::NotUtf8)
                    }
                    Err(ReadlineError::Signal(_)) => Typed::Line(String::new()),
                    Err(ReadlineError::Eof) => Typed::End,
                    // A closed terminal, whatever comes with another version.
                    Err(_) => {
                        usable = false;
                        Typed::End
                    }
                };
                if lines.blocking_send(line).is_err() || !usable || written.is_err() {
                    break;
                }
            }
            screen.close();
        })?;
        Ok(Self { typed, next, above })
    }
}
