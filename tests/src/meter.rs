//! How much memory this process has asked for, byte by byte.
//!
//! Every allocation of the harness goes through a counter in front of the system's allocator, so
//! that a row can say what a call took at most and what it kept. All threads count together: a row
//! that measures runs nothing beside. Without the feature `meter`, nothing is counted.

use peak_alloc::PeakAlloc;

#[cfg_attr(feature = "meter", global_allocator)]
static MEMORY: PeakAlloc = PeakAlloc;

/// What something took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Took {
    /// Bytes more than before, at the worst moment.
    pub peak: usize,
    /// Bytes more than before, at the end.
    pub kept: usize,
}

/// Does `what`, and says what it took.
pub fn measure<T>(what: impl FnOnce() -> T) -> (T, Took) {
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let result = what();
    let peak = MEMORY.peak_usage().saturating_sub(before);
    (result, Took { peak, kept: MEMORY.current_usage().saturating_sub(before) })
}
