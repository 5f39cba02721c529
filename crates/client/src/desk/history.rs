//! `/history`, `/search` and `/waiting`: what the store is asked until enough is there.

use p2pchat_engine::CommandId;
use p2pchat_engine::history::{Page, Recalled};
use p2pchat_proto::PeerId;

use super::pending::LineNumber;
use super::{Action, Desk, Local, Made};
use crate::json::Tag;
use crate::request::Request;
use crate::store::{Look, Newest, Place, Recall};

/// Most messages that `/search` shows: the newest ones.
const FOUND_MAX: usize = 50;
/// Text that one answer in a chat has, bytes, before no older message is added to it: two of the longest
/// messages, so that the answer fits a line of JSON mode however it is escaped.
const TEXT_SHOWN: usize = 64 * 1024;

/// A question whose answer comes in pieces.
#[derive(Debug)]
pub(super) struct Looking {
    line: LineNumber,
    look: Look,
    newest: Newest,
}

impl Desk {
    pub(super) fn look(
        &mut self,
        peer: PeerId,
        words: Vec<String>,
        limit: Option<usize>,
        tag: Option<Tag>,
        actions: &mut Vec<Action>,
    ) {
        let limit = limit.unwrap_or(FOUND_MAX);
        let line = self.pending.line(tag, false);
        let look = Look { peer, words, limit, place: Place::End };
        self.look_on(Looking { line, look, newest: Newest::new(limit).within(TEXT_SHOWN) }, actions);
    }

    fn look_on(&mut self, looking: Looking, actions: &mut Vec<Action>) {
        let id = self.pending.command(looking.line, None);
        let request = Request::Recall(Recall::Look(looking.look.clone()));
        self.looking.insert(id, looking);
        actions.push(Action::Ask { id, request });
    }

    pub(super) fn recalled(&mut self, id: CommandId, answer: &Recalled, actions: &mut Vec<Action>) {
        match answer {
            Recalled::Page(page) => {
                let Some(mut looking) = self.looking.remove(&id) else { return };
                self.people.learn(page.peer, page.name.as_ref());
                match looking.newest.take(page.messages.clone(), page.next) {
                    Some(next) => {
                        looking.look = looking.look.going_on(next);
                        self.look_on(looking, actions);
                    }
                    None => {
                        let (messages, next) = (looking.newest.into_messages(), None);
                        let page = Page { name: page.name.clone(), peer: page.peer, messages, next };
                        actions.push(Action::Show(Local::History(page)));
                    }
                }
            }
            Recalled::Talks(talks) => {
                let waiting = talks.iter().filter(|talk| talk.waiting > 0);
                if self.pending.knows(id) {
                    actions.push(Action::Show(Local::Waiting(waiting.cloned().collect())));
                }
            }
            Recalled::Forgotten { .. } | Recalled::Kept { .. } => {}
        }
        self.finish(id, Ok(Made::default()), actions);
    }
}
