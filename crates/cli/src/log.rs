//! The log: a file, if the user names one, and never the screen.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use p2pchat_client::{Failure, sanitise};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::settings::Settings;

/// Opens the log of this process.
///
/// # Errors
///
/// [`Failure::Local`] if the file cannot be opened.
pub fn start(settings: &Settings) -> Result<(), Failure> {
    let Some(path) = &settings.log else { return Ok(()) };
    let file = open(path).map_err(|error| Failure::Local {
        what: format!("cannot write the log {}", path.display()),
        reason: error.to_string(),
    })?;
    let level = match (settings.quiet, settings.verbose) {
        (true, _) => LevelFilter::WARN,
        (false, 0) => LevelFilter::INFO,
        (false, 1) => LevelFilter::DEBUG,
        (false, _) => LevelFilter::TRACE,
    };
    let filter = EnvFilter::new(format!("warn,p2pchat={level}")).add_directive(level.into());
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_writer(SafeLines::new(file))
        .finish();
    // A second log in one process is what a test does; the first one stays.
    let _ = tracing::subscriber::set_global_default(subscriber);
    Ok(())
}

fn open(path: &Path) -> io::Result<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

/// Passes each record through the sanitiser: one record is one line, whatever stands in it.
#[derive(Debug)]
struct SafeLines<W>(Arc<Mutex<W>>);

impl<W> SafeLines<W> {
    fn new(file: W) -> Self {
        Self(Arc::new(Mutex::new(file)))
    }
}

impl<W> Clone for SafeLines<W> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// The subscriber writes one record at once.
impl<W: Write> Write for SafeLines<W> {
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(record);
        let line = text.strip_suffix('\n').unwrap_or(&text);
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(file, "{}", sanitise::line(line))?;
        Ok(record.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).flush()
    }
}

impl<'a, W: Write + 'a> MakeWriter<'a> for SafeLines<W> {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_record_forges_another_or_steers_the_terminal_of_its_reader() {
        let log = SafeLines::new(Vec::new());
        let subscriber =
            tracing_subscriber::fmt().with_ansi(false).without_time().with_writer(log.clone()).finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(reason = "a\nINFO forged\u{1b}[2J", "hi {}", "\r\u{202e}x\n");
        });
        let written = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        assert_eq!(written.lines().count(), 1, "{written}");
        assert!(!written.trim_end_matches('\n').chars().any(sanitise::needs_escape), "{written}");
    }
}
