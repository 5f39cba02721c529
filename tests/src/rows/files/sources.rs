//! F10, F13: files that change while they are sent, and what only looks like a file.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use p2pchat_client::Failure;
use p2pchat_client::files::open_source;
use p2pchat_proto::carrier::{RECORD_HEADER_LEN, RecordHeader};
use p2pchat_proto::transfer::CHUNK_LEN;
use p2pchat_transfer::{CarrierFault, CarrierReport};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use tempfile::TempDir;

use super::line::{Line, Victim, content};
use crate::process::PROMPT;
use crate::rows::{Defence, Lab, NotRun, Seen};

/// More than all buffers between a file and a reader who does not read.
const SOURCE_LEN: usize = 48 << 20;
/// How long the double may wait for a source that nobody writes to.
const BLOCKED: Duration = Duration::from_millis(500);

type Change = fn(&Path) -> std::io::Result<()>;

/// What may happen to a source while it is sent.
const CHANGES: [(&str, Change); 3] = [
    ("rewritten", |path| {
        let mut file = OpenOptions::new().write(true).open(path)?;
        std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(SOURCE_LEN as u64 - 1000))?;
        file.write_all(&[0x5a; 1000])
    }),
    ("shorter", |path| OpenOptions::new().write(true).open(path)?.set_len(SOURCE_LEN as u64 - 1000)),
    ("longer", |path| OpenOptions::new().append(true).open(path)?.write_all(b"more")),
];

/// F10. The source is written to after its first record left.
pub(super) fn changes(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    changed(defence, lab, &CHANGES)
}

fn changed(defence: Defence, lab: &mut Lab, changes: &[(&str, Change)]) -> Result<Seen, NotRun> {
    let home = tempfile::tempdir()?;
    let path = home.path().join("source");
    let before = content(&mut lab.rng, SOURCE_LEN);
    let mut unnoticed = Vec::new();
    for (what, change) in changes {
        fs::write(&path, &before)?;
        let noticed = match defence {
            Defence::InPlace => notices(&path, *change)?,
            Defence::Removed => {
                let mut file = File::open(&path)?;
                let mut sent = vec![0; CHUNK_LEN];
                file.read_exact(&mut sent)?;
                change(&path)?;
                file.read_to_end(&mut sent)?;
                // What went out was never the file, and the double does not say so.
                sent == before
            }
        };
        if !noticed {
            unnoticed.push(*what);
        }
    }
    let what = if unnoticed.is_empty() {
        "each change is noticed, and no hash is stated".to_owned()
    } else {
        format!("unnoticed: {}", unnoticed.join(", "))
    };
    Ok(Seen::when(unnoticed.is_empty(), what).figure(format!(
        "{} MiB, {} changes",
        SOURCE_LEN >> 20,
        changes.len()
    )))
}

/// Whether the product's sender gives up when its source changes under it.
fn notices(path: &Path, change: Change) -> Result<bool, NotRun> {
    let mut victim = Victim::sending(path)?.listening()?;
    let mut line = Line::dial(victim.at, 1)?;
    let mut header = [0; RECORD_HEADER_LEN];
    line.socket.read_exact(&mut header)?;
    let first = RecordHeader::from_bytes(header)?;
    let mut body = vec![0; first.ciphertext_len()];
    line.socket.read_exact(&mut body)?;
    line.opener().open(&mut body, first.last)?;
    change(path)?;
    // The rest, as far as it comes.
    let _ended = std::io::copy(&mut line.socket, &mut std::io::sink());
    let report = victim.next()?;
    let noticed = report == CarrierReport::Failed(CarrierFault::SourceChanged);
    if !noticed && !matches!(report, CarrierReport::Sent { .. }) {
        return Err(NotRun(format!("{report:?}")));
    }
    Ok(noticed)
}

/// F13. What is no regular file, and files that shrink or grow.
pub(super) fn kinds(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let home = tempfile::tempdir()?;
    let (sources, _socket) = special(&home)?;
    let mut taken = Vec::new();
    for path in &sources {
        let (done, waiting) = mpsc::channel();
        let of_thread = path.clone();
        thread::spawn(move || {
            let refused = match defence {
                Defence::InPlace => {
                    matches!(
                        open_source(&of_thread),
                        Err(Failure::FileKind { .. } | Failure::FileMissing { .. })
                    )
                }
                Defence::Removed => File::open(&of_thread).is_err(),
            };
            let _row_is_over = done.send(refused);
        });
        let within = if defence == Defence::InPlace { PROMPT } else { BLOCKED };
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        match waiting.recv_timeout(within) {
            Ok(true) => {}
            Ok(false) => taken.push(name),
            Err(_) => {
                taken.push(format!("{name} (waits for ever)"));
                // Lets the thread go.
                let _writer = OpenOptions::new().read(true).write(true).open(path);
            }
        }
    }
    let sizes = changed(defence, lab, &CHANGES[1..])?;
    let held = taken.is_empty() && sizes.held;
    let what = if taken.is_empty() {
        "each is refused at once".to_owned()
    } else {
        format!("taken: {}", taken.join(", "))
    };
    let figure = format!("{} kinds, and 2 files that change their size", sources.len());
    Ok(Seen::when(held, format!("{what}; {}", sizes.what)).figure(figure))
}

fn special(home: &TempDir) -> Result<(Vec<PathBuf>, UnixListener), NotRun> {
    let path = |name: &str| home.path().join(name);
    let (read_and_write, file) = (Mode::RUSR | Mode::WUSR, path("file"));
    mknodat(CWD, path("fifo"), FileType::Fifo, read_and_write, 0)?;
    let socket = UnixListener::bind(path("socket"))?;
    fs::write(&file, "secret")?;
    symlink(&file, path("link"))?;
    symlink("/dev/zero", path("link to a device"))?;
    fs::create_dir(path("directory"))?;
    let made = ["fifo", "socket", "link", "link to a device", "directory"].map(path);
    let devices = ["/dev/zero", "/dev/full", "/dev/null"].map(PathBuf::from);
    Ok((made.into_iter().chain(devices).collect(), socket))
}
