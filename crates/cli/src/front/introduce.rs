//! Asks the broker whether the key of an invitation took the place of the one that is known.

use p2pchat_client::event::BrokerState;
use p2pchat_client::{Client, Command, CommandId, Event, Events, Failure};
use tokio::time::{Instant, timeout_at};

use super::task::BrokerWait;

/// The only command that is given.
const ID: CommandId = CommandId(1);

/// Has `introduction` done once the broker is there, whose `host:port` is `broker`; what to show of it.
///
/// # Errors
///
/// [`Failure::KeyChanged`] where nobody but the invitation says so; why the broker cannot be asked.
pub async fn introduce(
    client: &Client,
    events: &mut Events,
    introduction: Command,
    broker: &str,
) -> Result<Vec<Event>, Failure> {
    let mut wait = BrokerWait::new(broker, Instant::now());
    let mut shown = Vec::new();
    loop {
        let Ok(Some(event)) = timeout_at(wait.until, events.next()).await else { return Err(wait.failure()) };
        if let Event::Broker(event) = &event {
            wait.note(event);
            if event.state == BrokerState::Refused {
                return Err(wait.refused(event));
            }
            if event.state == BrokerState::Connected {
                // A client that has ended says so by its last event.
                let _ = client.send(ID, introduction.clone()).await;
            }
        } else if let Event::Trust(said) = &event
            && said.followed
        {
            shown.push(event);
        } else if let Event::Done { id: ID, .. } = event {
            return Ok(shown);
        } else if let Event::Failed { id: ID, failure } = event {
            return Err(failure);
        } else if let Event::Stopped(stopped) = event {
            return Err(stopped.failure.unwrap_or_else(|| wait.failure()));
        }
    }
}
