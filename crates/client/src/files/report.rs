//! What workers and their threads tell the control plane.

use std::time::Duration;

use p2pchat_proto::TransferId;
use p2pchat_proto::transfer::Attempt;
use p2pchat_transfer::{CarrierEvent, CarrierReport};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Shortest time between two reports of progress; what is shown of them is the control plane's choice.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// Where a driver's reports go.
pub type CarrierEvents = mpsc::Sender<(TransferId, CarrierEvent)>;

/// Reports of one attempt.
#[derive(Debug, Clone)]
pub(super) struct Reporter {
    events: CarrierEvents,
    transfer: TransferId,
    attempt: Attempt,
}

impl Reporter {
    pub(super) const fn new(events: CarrierEvents, transfer: TransferId, attempt: Attempt) -> Self {
        Self { events, transfer, attempt }
    }

    /// Tells what must not get lost. Nobody hears it once the client is gone, and nobody needs it then.
    pub(super) async fn tell(&self, report: CarrierReport) {
        let _client_gone = self.events.send(self.event(report)).await;
    }

    fn event(&self, report: CarrierReport) -> (TransferId, CarrierEvent) {
        (self.transfer, CarrierEvent { attempt: self.attempt, report })
    }
}

/// Reports progress from a thread, now and then.
#[derive(Debug)]
pub(super) struct Meter<'a> {
    reporter: &'a Reporter,
    last: Instant,
}

impl<'a> Meter<'a> {
    pub(super) fn new(reporter: &'a Reporter) -> Self {
        Self { reporter, last: Instant::now() }
    }

    /// `bytes` of the file passed so far. Where the client has no time to hear it, the next one counts.
    pub(super) fn passed(&mut self, bytes: u64) {
        if self.last.elapsed() >= PROGRESS_INTERVAL {
            self.last = Instant::now();
            let _busy = self.reporter.events.try_send(self.reporter.event(CarrierReport::Progress { bytes }));
        }
    }
}
