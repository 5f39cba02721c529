//! Lines that go above what is being typed.
//!
//! The library's own way to print beside an editor loses what it was given last when the editor
//! returns, and holds up whoever gives it more. So lines wait here, where the editor takes them each
//! time it draws its prompt, and whoever ends an edit writes what is left. The library's printer is
//! only the bell that makes an idle editor draw.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use rustyline::ExternalPrinter;

/// Bytes that may wait for an editor before whoever brings more waits, too: 64 KiB, many screens.
const WAITING_MAX: usize = 64 * 1024;
/// Up and down again (ECMA-48 section 8.3.22): nothing to see.
const NOTHING: &str = "\u{1b}[A\n";

/// Shared by the thread that writes, the editor's and the bell's.
#[derive(Debug, Default)]
pub struct Above {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Lines that nobody has written yet, each with its end.
    waiting: String,
    /// How often what waited was taken.
    taken: u64,
    /// The editor has the terminal.
    editing: bool,
    /// There will be no further edit.
    ended: bool,
}

impl State {
    fn take(&mut self) -> String {
        self.taken += 1;
        core::mem::take(&mut self.waiting)
    }
}

impl Above {
    /// Starts the bell's thread.
    ///
    /// # Errors
    ///
    /// If the system refuses one more thread.
    pub fn start(mut printer: impl ExternalPrinter + Send + 'static) -> io::Result<Arc<Self>> {
        let above = Arc::new(Self::default());
        let bell = Arc::clone(&above);
        let ring = move || {
            while let Some(taken) = bell.wait_for_lines() {
                // A ring that comes to nothing met no editor: whoever ended it writes the lines.
                let _ = printer.print(NOTHING.to_owned());
                drop(bell.wait_while(|state| !state.ended && state.taken == taken));
            }
        };
        thread::Builder::new().name("p2pchat-bell".to_owned()).spawn(ring)?;
        Ok(above)
    }

    /// Brings a text that ends its lines, and writes it with `write` where nobody edits.
    ///
    /// # Errors
    ///
    /// Those of `write`.
    pub(super) fn put(&self, text: &str, write: impl FnOnce(&str) -> io::Result<()>) -> io::Result<()> {
        let mut state = self.wait_while(|state| state.editing && state.waiting.len() > WAITING_MAX);
        if !state.editing {
            // Held, so that no edit begins meanwhile.
            return write(text);
        }
        state.waiting.push_str(text);
        self.changed.notify_all();
        Ok(())
    }

    /// Waits until an editor or nobody has everything.
    pub(super) fn flush(&self) {
        drop(self.wait_while(|state| state.editing && !state.waiting.is_empty()));
    }

    /// An edit begins: from now on lines wait for it.
    pub fn begin(&self) {
        self.lock().editing = true;
    }

    /// What an editor is to write before its prompt.
    pub fn take(&self) -> String {
        let mut state = self.lock();
        self.changed.notify_all();
        state.take()
    }

    /// An edit has ended: brings `write` what it did not take.
    ///
    /// # Errors
    ///
    /// Those of `write`.
    pub fn end(&self, write: impl FnOnce(&str) -> io::Result<()>) -> io::Result<()> {
        let mut state = self.lock();
        state.editing = false;
        let waiting = state.take();
        self.changed.notify_all();
        // Held, so that what comes next is written behind it.
        write(&waiting)
    }

    /// Ends the bell.
    pub fn close(&self) {
        self.lock().ended = true;
        self.changed.notify_all();
    }

    /// How often lines were taken before those that wait now; none at the end.
    fn wait_for_lines(&self) -> Option<u64> {
        let state = self.wait_while(|state| !state.ended && (!state.editing || state.waiting.is_empty()));
        (!state.ended).then_some(state.taken)
    }

    fn wait_while(&self, mut condition: impl FnMut(&State) -> bool) -> MutexGuard<'_, State> {
        let waited = self.changed.wait_while(self.lock(), |state| condition(state));
        waited.unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    /// An editor that is asked to draw, and may not do so.
    struct Bell(Sender<()>);

    impl ExternalPrinter for Bell {
        fn print(&mut self, _: String) -> rustyline::Result<()> {
            self.0.send(()).map_err(|error| io::Error::other(error).into())
        }
    }

    fn nowhere(text: &str) -> io::Result<()> {
        panic!("{text:?} was written under an editor")
    }

    #[test]
    fn a_line_waits_for_an_editor_and_is_written_at_once_where_there_is_none() {
        let (rings, rung) = channel();
        let above = Above::start(Bell(rings)).unwrap();
        let mut written = String::new();
        let write = |text: &str| {
            written.push_str(text);
            Ok(())
        };
        above.put("before\n", write).unwrap();
        assert_eq!(written, "before\n");

        above.begin();
        above.put("one\n", nowhere).unwrap();
        rung.recv().unwrap();
        above.put("two\n", nowhere).unwrap();
        assert_eq!(above.take(), "one\ntwo\n", "in order, and all of them");
        assert_eq!(above.take(), "");
        above.put("three\n", nowhere).unwrap();
        rung.recv().unwrap();
        assert_eq!(above.take(), "three\n", "the bell rings for what came later, too");

        above.put("four\n", nowhere).unwrap();
        let mut left = String::new();
        let write = |text: &str| {
            left.push_str(text);
            Ok(())
        };
        above.end(write).unwrap();
        assert_eq!(left, "four\n", "what the edit left");
        above.put("after\n", |_| Err(io::ErrorKind::StorageFull.into())).unwrap_err();
        above.close();
        // It may have rung for the fourth.
        assert!(rung.iter().count() <= 1, "the bell has ended");
    }

    #[test]
    fn the_end_of_an_edit_frees_whoever_waits_for_it() {
        let (rings, _rung) = channel();
        let above = Above::start(Bell(rings)).unwrap();
        above.begin();
        above.put(&"x".repeat(WAITING_MAX + 1), nowhere).unwrap();
        let late = Arc::clone(&above);
        let writer = thread::spawn(move || {
            let mut written = false;
            let outcome = late.put("late\n", |_| {
                written = true;
                Ok(())
            });
            outcome.map(|()| written)
        });
        above.end(|_| Ok(())).unwrap();
        assert!(writer.join().unwrap().unwrap(), "no editor is left to take it");
        above.flush();
        above.close();
    }
}
