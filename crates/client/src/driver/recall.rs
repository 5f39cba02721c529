//! What front ends ask of the store and of what is known of people.

use p2pchat_engine::history::{Page, Recalled, Talk};
use p2pchat_engine::{CommandId, Effect, Event, Failure};

use super::{Driver, SWEEP_EVERY};
use crate::profile::Decision;

impl Driver {
    pub(super) fn recalled(&mut self, id: CommandId, answer: Result<Recalled, Failure>) {
        let event = match answer {
            Ok(mut answer) => {
                if let Recalled::Forgotten { removed, all: true, .. } = &mut answer {
                    removed.under_way = self.engine.forgotten(removed.peer, self.now) as u64;
                }
                if let Recalled::Kept { changed: true, .. } = &answer {
                    self.sweep();
                }
                Event::Recalled { id, answer: self.named(answer) }
            }
            Err(failure) => Event::Failed { id, failure },
        };
        self.say(event);
    }

    /// Has removed what is older than it is kept.
    pub(super) fn sweep(&mut self) {
        self.sweep_at = self.now.moment + SWEEP_EVERY;
        self.store.sweep(self.now.wall);
    }

    /// The disk first, then the engine: what it is told is what it would find at its next start, or at that of a
    /// process that finds room.
    pub(super) fn decide(&mut self, id: CommandId, decision: &Decision) {
        let (about, kept) = self.profile.decide(decision, self.now.wall);
        for peer in about {
            let (pins, mark) = self.profile.known_of(peer);
            self.engine.remember_person(peer, pins, mark, self.now);
        }
        self.say(match kept {
            Ok(()) => Event::Done { id, message: None, transfer: None, request: None },
            Err(failure) => Event::Failed { id, failure },
        });
    }

    /// Keeps at once what a command has decided, so that its outcome says whether it is. What is not lasts until
    /// the program ends, and is tried again.
    pub(super) fn keep_decision(&mut self, id: CommandId) {
        while let Some(effect) = self.engine.poll_effect() {
            let decides = matches!(
                effect,
                Effect::Mark(_) | Effect::Stand(_) | Effect::Repin { .. } | Effect::Follow { .. }
            );
            match self.perform(effect) {
                Ok(()) => {}
                Err(failure) if decides => self.engine.not_kept(id, &failure),
                Err(failure) => self.say(Event::Error(failure)),
            }
        }
    }

    /// Tries again what could not be written. Whoever wanted it was told that it is not.
    pub(super) fn keep_again(&mut self) {
        if let Err(failure) = self.profile.keep_again() {
            tracing::warn!(code = failure.code(), "what was decided is still not kept");
        }
    }

    fn named(&self, answer: Recalled) -> Recalled {
        let name = |peer| self.profile.name(peer);
        match answer {
            Recalled::Page(page) => Recalled::Page(Page { name: name(page.peer), ..page }),
            Recalled::Talks(talks) => {
                let named = |talk: Talk| Talk { name: name(talk.peer), ..talk }.expiring_after(self.expire);
                Recalled::Talks(talks.into_iter().map(named).collect())
            }
            Recalled::Kept { peer, after, changed, .. } => {
                Recalled::Kept { peer, name: name(peer), after, changed }
            }
            Recalled::Forgotten { removed, all, .. } => {
                Recalled::Forgotten { name: name(removed.peer), removed, all }
            }
        }
    }
}
