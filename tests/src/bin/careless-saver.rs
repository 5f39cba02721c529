//! A double for the harness: it puts the content of one file into another as nobody should: in its
//! place (`in-place`), or at once under the new name, but without waiting for the disk (`unsynced`).

use std::ffi::OsString;
use std::io::{self, Write};
use std::{env, fs};

fn main() -> io::Result<()> {
    let words: Vec<OsString> = env::args_os().skip(1).collect();
    let [how, from, to] = &words[..] else { return Err(io::ErrorKind::InvalidInput.into()) };
    let content = fs::read(from)?;
    if how == "in-place" {
        // Opening it empties it.
        return fs::File::create(to)?.write_all(&content);
    }
    let mut draft = to.clone();
    draft.push(".tmp");
    fs::write(&draft, content)?;
    fs::rename(draft, to)
}
