//! Credit that this side gives.

/// Share of a stream's window that has to be used before more is granted: a half, so that a grant
/// costs a frame for every half window.
const GRANT_DIVISOR: u64 = 2;

/// Credit for one stream, or for all.
#[derive(Debug)]
pub(crate) struct Grant {
    /// Bytes that may be on their way beyond those that were used.
    pub(crate) window: u64,
    /// The limit at the start.
    first: u64,
    /// Bytes that have to be used before more is granted.
    step: u64,
    /// The limit that was granted last.
    pub(crate) max: u64,
    /// Bytes up to the highest that arrived.
    pub(crate) received: u64,
    /// Bytes that were handed on.
    used: u64,
    /// Whether the peer has to be told `max`.
    pub(crate) tell: bool,
    /// Bytes that were handed on while no more was to be granted, where that is so.
    withheld: Option<u64>,
}

impl Grant {
    /// Of a stream.
    pub(crate) const fn new(window: u64) -> Self {
        Self::with_step(window, window / GRANT_DIVISOR)
    }

    /// That grants more as soon as `step` bytes were used.
    pub(crate) const fn with_step(window: u64, step: u64) -> Self {
        Self { window, first: window, step, max: window, received: 0, used: 0, tell: false, withheld: None }
    }

    /// Grants no more from now on, or what was due meanwhile.
    pub(crate) const fn withhold(&mut self, withheld: bool) {
        match (withheld, self.withheld) {
            (true, None) => self.withheld = Some(0),
            (false, Some(due)) => {
                self.withheld = None;
                self.on_used(due);
            }
            (true, Some(_)) | (false, None) => {}
        }
    }

    /// So many more bytes were handed on.
    pub(crate) const fn on_used(&mut self, bytes: u64) {
        if let Some(due) = &mut self.withheld {
            *due = due.saturating_add(bytes);
            return;
        }
        self.used = self.used.saturating_add(bytes);
        let wanted = self.used.saturating_add(self.window);
        if wanted >= self.max.saturating_add(self.step) {
            self.max = wanted;
            self.tell = true;
        }
    }

    /// From now on so many bytes may be on their way.
    pub(crate) const fn grow(&mut self, window: u64) {
        self.window = window;
        self.step = window / GRANT_DIVISOR;
    }

    /// A packet that told it was lost.
    pub(crate) const fn on_lost(&mut self) {
        self.tell |= self.max > self.first;
    }

    /// Bytes that arrived and were not handed on, those that are missing between them included.
    pub(crate) const fn held(&self) -> u64 {
        self.received.saturating_sub(self.used)
    }
}
