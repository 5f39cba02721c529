//! How much memory something holds. Counts what Rust allocates; libFuzzer itself is not written in it.

use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// Counts from where it was made.
#[derive(Debug, Clone, Copy)]
pub struct Meter {
    start: usize,
}

impl Default for Meter {
    fn default() -> Self {
        ALLOCATOR.reset_peak_usage();
        Self { start: ALLOCATOR.current_usage() }
    }
}

impl Meter {
    /// Bytes that are held now beyond those at the start.
    pub fn held(&self) -> usize {
        ALLOCATOR.current_usage().saturating_sub(self.start)
    }

    /// Most bytes that were ever held beyond those at the start.
    pub fn peak(&self) -> usize {
        ALLOCATOR.peak_usage().saturating_sub(self.start)
    }
}
