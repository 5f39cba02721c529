//! What a running process costs its machine (`/proc/PID/stat`, `/proc/PID/statm`).

use std::time::{Duration, Instant};
use std::{fs, io};

/// Clock ticks a second in `/proc/PID/stat`: `USER_HZ`, 100 on every architecture that Linux shows
/// to programs (proc(5)).
const TICKS_PER_SECOND: f64 = 100.0;
/// Bytes of a page on the machines that the harness runs on.
const PAGE: u64 = 4096;

/// A reading.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    at: Instant,
    cpu: f64,
    /// Bytes resident in memory.
    pub resident: u64,
}

impl Load {
    /// Of process `pid`, now.
    ///
    /// # Errors
    /// If the system does not tell, as for a process that is gone.
    pub fn of(pid: u32) -> io::Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The second field is a name in parentheses that may hold anything.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let number = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok());
        let statm = fs::read_to_string(format!("/proc/{pid}/statm"))?;
        let pages = statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
        let (Some(user), Some(system), Some(pages)) = (number(11), number(12), pages) else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        let cpu = (user + system) / TICKS_PER_SECOND;
        Ok(Self { at: Instant::now(), cpu, resident: pages * PAGE })
    }

    /// Time since another reading.
    pub fn since(&self, earlier: &Self) -> Duration {
        self.at.saturating_duration_since(earlier.at)
    }

    /// Cores that were busy since another reading.
    pub fn cores_since(&self, earlier: &Self) -> f64 {
        (self.cpu - earlier.cpu) / self.since(earlier).as_secs_f64().max(1.0 / TICKS_PER_SECOND)
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_busy_process_is_told_from_an_idle_one() {
        // Of a second that others may take most of: so much is enough to be told.
        const ENOUGH: f64 = 0.2;
        let mut idle = Command::new("/bin/cat").stdin(Stdio::piped()).spawn().unwrap();
        let read = |pid| Load::of(pid).unwrap();
        let before = [read(std::process::id()), read(idle.id())];
        let [busy, idled] = loop {
            (0..1_000_000).for_each(|_| std::hint::spin_loop());
            let after = [read(std::process::id()), read(idle.id())];
            if after[0].cpu >= before[0].cpu + ENOUGH {
                break [0, 1].map(|who: usize| after[who].cores_since(&before[who]));
            }
        };
        assert!(busy > 0.0 && idled < busy / 2.0, "{busy} {idled}");
        assert!(read(std::process::id()).resident > 1 << 20);
        drop(idle.stdin.take());
        idle.wait().unwrap();
    }
}
