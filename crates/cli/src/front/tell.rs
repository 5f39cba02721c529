//! An answer that is known before it is asked for.

use p2pchat_client::Event;
use p2pchat_client::desk::{Action, Desk, Local};
use tokio::time::Instant;

use super::task::{Step, Task};

/// See the module.
#[derive(Debug)]
pub struct Tell {
    shown: Vec<Local>,
}

impl Tell {
    /// Shows these, and ends.
    pub const fn new(shown: Vec<Local>) -> Self {
        Self { shown }
    }
}

impl Task for Tell {
    fn event(&mut self, event: &Event, _: &mut Desk, _: Instant) -> Vec<Step> {
        if !matches!(event, Event::Ready(_)) {
            return Vec::new();
        }
        let shown = core::mem::take(&mut self.shown).into_iter().map(|local| Step::Do(Action::Show(local)));
        shown.chain([Step::Stop(None)]).collect()
    }

    fn deadline(&self) -> Option<Instant> {
        None
    }

    fn timeout(&mut self, _: &mut Desk, _: Instant) -> Vec<Step> {
        Vec::new()
    }

    fn shown(&self, _: Event) -> Option<Event> {
        None
    }
}
