//! Bars of commands that run once, on standard error.

use std::collections::BTreeMap;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use p2pchat_client::event::{FileEvent, FileState};
use p2pchat_client::{TransferNumber, sanitise};

/// What a bar looks like.
const TEMPLATE: &str = "{msg} [{bar:30}] {bytes}/{total_bytes} {binary_bytes_per_sec} {eta}";

/// One bar a transfer, while it runs.
#[derive(Debug, Default)]
pub struct Bars {
    all: MultiProgress,
    bars: BTreeMap<TransferNumber, ProgressBar>,
}

impl Bars {
    /// Whoever writes lines has to lift the bars meanwhile.
    pub fn handle(&self) -> MultiProgress {
        self.all.clone()
    }

    /// Moves the bar of a transfer; it goes when the transfer ends.
    pub fn event(&mut self, event: &FileEvent) {
        match event.state {
            FileState::Offered | FileState::Accepted => {}
            FileState::Running | FileState::Verifying => self.bar(event).set_position(event.bytes),
            FileState::Declined | FileState::Done | FileState::Failed | FileState::Cancelled => {
                if let Some(bar) = self.bars.remove(&event.transfer) {
                    bar.finish_and_clear();
                    self.all.remove(&bar);
                }
            }
        }
    }

    fn bar(&mut self, event: &FileEvent) -> &ProgressBar {
        self.bars.entry(event.transfer).or_insert_with(|| {
            let style =
                ProgressStyle::with_template(TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_bar());
            let bar = self.all.add(ProgressBar::new(event.total).with_style(style));
            bar.set_message(sanitise::line(&event.name).into_owned());
            bar
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_of_a_bar_is_one() {
        assert!(ProgressStyle::with_template(TEMPLATE).is_ok());
    }
}
