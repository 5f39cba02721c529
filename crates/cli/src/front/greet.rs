//! Asks a broker who it is, and takes the name there: for `id --invite`.

use p2pchat_client::event::BrokerState;
use p2pchat_client::{Event, Events, Failure};
use tokio::time::{Instant, timeout_at};

use super::task::BrokerWait;

/// Waits until the broker has proven its key, which the client has kept by then, and the name is
/// registered. `broker` is its `host:port`.
///
/// # Errors
///
/// Why the broker cannot be reached, refused, or is not the known one; what could not be kept.
pub async fn greet(events: &mut Events, broker: &str) -> Result<(), Failure> {
    let mut wait = BrokerWait::new(broker, Instant::now());
    loop {
        let Ok(event) = timeout_at(wait.until, events.next()).await else { return Err(wait.failure()) };
        match event {
            Some(Event::Broker(event)) => {
                wait.note(&event);
                match event.state {
                    BrokerState::Connected => return Ok(()),
                    BrokerState::Refused => return Err(wait.refused(&event)),
                    BrokerState::Connecting | BrokerState::Lost => {}
                }
            }
            Some(Event::Error(failure)) => return Err(failure),
            Some(Event::Stopped(stopped)) => return Err(stopped.failure.unwrap_or_else(|| wait.failure())),
            None => return Err(wait.failure()),
            Some(
                Event::Ready(_)
                | Event::Presence(_)
                | Event::People { .. }
                | Event::Request(_)
                | Event::Session(_)
                | Event::Message(_)
                | Event::Receipt(_)
                | Event::File(_)
                | Event::Trust(_)
                | Event::Standing(_)
                | Event::Info { .. }
                | Event::Recalled { .. }
                | Event::Typing { .. }
                | Event::Done { .. }
                | Event::Failed { .. },
            ) => {}
        }
    }
}
