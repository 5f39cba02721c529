//! How far one text to several people got.

use p2pchat_engine::event::Delivery;
use p2pchat_proto::PeerId;
use p2pchat_proto::conversation::MessageId;

/// One message a recipient, one row a message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ledger {
    rows: Vec<Row>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    peer: Option<PeerId>,
    label: String,
    message: Option<MessageId>,
    state: Delivery,
}

impl Ledger {
    /// A recipient whose message is under way.
    pub fn add(&mut self, peer: PeerId, label: String, message: MessageId, state: Delivery) {
        self.rows.push(Row { peer: Some(peer), label, message: Some(message), state });
    }

    /// A recipient who cannot be sent anything.
    pub fn add_failed(&mut self, label: String) {
        self.rows.push(Row { peer: None, label, message: None, state: Delivery::Failed });
    }

    /// Takes a receipt; whether it changed anything.
    pub fn note(&mut self, peer: PeerId, message: MessageId, state: Delivery) -> bool {
        let row = self.rows.iter_mut().find(|row| row.peer == Some(peer) && row.message == Some(message));
        match row {
            Some(row) if row.state < state => {
                row.state = state;
                true
            }
            Some(_) | None => false,
        }
    }

    /// A message is called otherwise.
    pub fn renamed(&mut self, was: MessageId, message: MessageId) {
        for row in self.rows.iter_mut().filter(|row| row.message == Some(was)) {
            row.message = Some(message);
        }
    }

    /// A recipient has another key.
    pub fn followed(&mut self, old: PeerId, new: PeerId) {
        for row in self.rows.iter_mut().filter(|row| row.peer == Some(old)) {
            row.peer = Some(new);
            row.message = row.message.map(|message| MessageId { to: new, ..message });
        }
    }

    /// The first recipient's message, which names the ledger.
    pub fn message(&self) -> Option<MessageId> {
        self.rows.iter().find_map(|row| row.message)
    }

    /// Recipients.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether it has no recipients.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Recipients who keep the message.
    pub fn stored(&self) -> usize {
        self.rows.iter().filter(|row| matches!(row.state, Delivery::Stored | Delivery::Read)).count()
    }

    /// Recipients who were shown the message.
    pub fn read(&self) -> usize {
        self.rows.iter().filter(|row| row.state == Delivery::Read).count()
    }

    /// Recipients for whom it is still under way.
    pub fn queued(&self) -> Vec<&str> {
        self.labels(|state| matches!(state, Delivery::Queued | Delivery::Sent))
    }

    /// Recipients who will not get it.
    pub fn failed(&self) -> Vec<&str> {
        self.labels(|state| state == Delivery::Failed)
    }

    /// Whether nothing is under way any more.
    pub fn is_settled(&self) -> bool {
        self.queued().is_empty()
    }

    fn labels(&self, wanted: impl Fn(Delivery) -> bool) -> Vec<&str> {
        self.rows.iter().filter(|row| wanted(row.state)).map(|row| row.label.as_str()).collect()
    }
}
