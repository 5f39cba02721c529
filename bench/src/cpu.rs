//! On which cores a process runs, and for how long.

use std::time::Duration;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

use crate::Result;

/// Which cores the two ends of a measurement get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cores {
    /// Both ends the same one.
    One,
    /// Each end one of its own.
    Two,
    /// Whatever the scheduler gives them.
    Free,
}

impl Cores {
    /// As the page says it.
    pub fn name(self) -> &'static str {
        match self {
            Self::One => "one core",
            Self::Two => "two cores",
            Self::Free => "any core",
        }
    }

    /// The core of the end that answers, as an argument of its role.
    pub fn of_answering(self) -> &'static str {
        match self {
            Self::One | Self::Two => "0",
            Self::Free => "any",
        }
    }

    /// The core of the end that asks and counts.
    pub fn of_asking(self) -> &'static str {
        match self {
            Self::One => "0",
            Self::Two => "1",
            Self::Free => "any",
        }
    }
}

/// Binds this process, and the threads that it will start, to the `core`-th core that it may use;
/// `any` binds it to none.
pub fn bind(core: &str) -> Result {
    let Ok(wanted) = core.parse::<usize>() else { return Ok(()) };
    let allowed = sched_getaffinity(None)?;
    let core = (0..CpuSet::MAX_CPU)
        .filter(|core| allowed.is_set(*core))
        .nth(wanted)
        .ok_or_else(|| format!("no core number {wanted} for this process"))?;
    let mut one = CpuSet::new();
    one.set(core);
    Ok(sched_setaffinity(None, &one)?)
}

/// How many cores this process may use.
pub fn count() -> usize {
    sched_getaffinity(None).map_or(1, |allowed| allowed.count() as usize)
}

/// Processor time of this thread so far: what others do on the machine does not count.
pub fn time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

/// Processor time of the first thread of another process so far (Linux, Documentation/scheduler/sched-stats.rst).
pub fn of(process: u32) -> Result<Duration> {
    let text = std::fs::read_to_string(format!("/proc/{process}/schedstat"))?;
    let nanos = text.split_whitespace().next().ok_or("an empty schedstat")?;
    Ok(Duration::from_nanos(nanos.parse()?))
}
