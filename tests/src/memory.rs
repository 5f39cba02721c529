//! What a running process holds in its memory (`/proc/PID/maps`, `/proc/PID/mem`), and what a crash would
//! leave of it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;

use crate::relay::recording::Secret;

/// Bytes that are read at once.
const WINDOW: usize = 1 << 20;

/// What a look into a process found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// Bytes that could be read.
    pub read: u64,
    /// Which of the secrets were there, by their names.
    pub found: Vec<String>,
}

/// Looks for `secrets` in everything that process `pid` can write to: heap, stacks, data.
///
/// # Errors
/// If the system does not let this process look into that one; then nothing was shown.
pub fn look(pid: u32, secrets: &[Secret]) -> io::Result<Look> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let memory = File::open(format!("/proc/{pid}/mem"))?;
    let longest = secrets.iter().flat_map(|secret| &secret.forms).map(Vec::len).max().unwrap_or_default();
    let mut look = Look { read: 0, found: Vec::new() };
    let mut buffer = vec![0; WINDOW + longest];
    for (from, to) in maps.lines().filter_map(writable) {
        let mut at = from;
        while at < to {
            // A window overlaps the next one, so that nothing hides on the edge.
            let wanted = usize::try_from(to - at).unwrap_or(usize::MAX).min(buffer.len());
            let Ok(len) = memory.read_at(&mut buffer[..wanted], at) else { break };
            let bytes = &buffer[..len];
            for secret in secrets {
                if !look.found.contains(&secret.what) && secret.is_in(bytes) {
                    look.found.push(secret.what.clone());
                }
            }
            look.read += len.min(WINDOW) as u64;
            at += WINDOW as u64;
        }
    }
    if look.read == 0 { Err(io::ErrorKind::PermissionDenied.into()) } else { Ok(look) }
}

/// The range of a line of `maps`, where the process can read and write it (proc_pid_maps(5)).
fn writable(line: &str) -> Option<(u64, u64)> {
    let mut words = line.split_whitespace();
    let (from, to) = words.next()?.split_once('-')?;
    let readable_and_writable = words.next()?.starts_with("rw");
    let number = |text| u64::from_str_radix(text, 16).ok();
    readable_and_writable.then_some((number(from)?, number(to)?))
}

/// Bytes that a core file of process `pid` may have, `None` where there is no limit (`/proc/PID/limits`).
///
/// # Errors
/// If there is no such process.
pub fn core_file_max(pid: u32) -> io::Result<Option<u64>> {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits"))?;
    let core = limits.lines().find_map(|line| line.strip_prefix("Max core file size"));
    let word = core.and_then(|rest| rest.split_whitespace().next()).ok_or(io::ErrorKind::InvalidData)?;
    Ok(word.parse().ok())
}

/// How much memory a process holds, in bytes (proc_pid_status(5)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resident {
    /// Now: `VmRSS`.
    pub now: u64,
    /// At most so far: `VmHWM`.
    pub peak: u64,
}

/// How much memory process `pid` holds.
///
/// # Errors
/// If there is no such process.
pub fn resident(pid: u32) -> io::Result<Resident> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
        kib.map(|kib| kib * 1024).ok_or(io::ErrorKind::InvalidData)
    };
    Ok(Resident { now: field("VmRSS:")?, peak: field("VmHWM:")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_takes_memory_is_seen_to_hold_it() {
        let before = resident(std::process::id()).unwrap();
        let taken = vec![1u8; 64 << 20];
        let after = resident(std::process::id()).unwrap();
        assert!(after.now >= before.now + (32 << 20) && after.peak >= after.now, "{before:?} {after:?}");
        drop(taken);
    }

    #[test]
    fn what_a_process_holds_is_found_and_what_it_does_not_hold_is_not() {
        // Made at run time, so that the needle itself is in memory only as the vector says.
        let held: Vec<u8> = (0..36).map(|n| b'a' + (n * 7 % 26)).collect();
        let absent: Vec<u8> = held.iter().rev().copied().collect();
        let secrets = [Secret::bytes("held", held)];
        match look(std::process::id(), &secrets) {
            Ok(look) => assert_eq!(look.found, ["held"]),
            Err(error) => crate::skipped(&format!("no process may look into another: {error}")),
        }
        // The needle of an absent secret would find itself in this process: look at another.
        let mut other =
            std::process::Command::new("/bin/cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        if let Ok(look) = look(other.id(), &[Secret::bytes("absent", absent)]) {
            assert!(look.found.is_empty() && look.read > 0);
        }
        drop(other.stdin.take());
        other.wait().unwrap();
    }
}
