//! What front ends ask of the store: its answers with the names of people.

use p2pchat_engine::history::{Page, Recalled, Talk};
use p2pchat_engine::{CommandId, Event, Failure};

use super::Driver;

impl Driver {
    pub(super) fn recalled(&mut self, id: CommandId, answer: Result<Recalled, Failure>) {
        let event = match answer {
            Ok(answer) => {
                if let Recalled::Forgotten { peer, .. } = &answer {
                    self.engine.forgotten(*peer, self.now);
                }
                Event::Recalled { id, answer: self.named(answer) }
            }
            Err(failure) => Event::Failed { id, failure },
        };
        self.say(event);
    }

    fn named(&self, answer: Recalled) -> Recalled {
        let name = |peer| self.profile.name(peer);
        match answer {
            Recalled::Page(page) => Recalled::Page(Page { name: name(page.peer), ..page }),
            Recalled::Talks(talks) => {
                let named = |talk: Talk| Talk { name: name(talk.peer), ..talk };
                Recalled::Talks(talks.into_iter().map(named).collect())
            }
            Recalled::Forgotten { peer, messages, .. } => {
                Recalled::Forgotten { peer, name: name(peer), messages }
            }
        }
    }
}
