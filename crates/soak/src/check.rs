//! What has to be true of one program at any moment, and of one that rests.

use crate::broken::{Broken, hold};
use crate::plan::called;
use crate::world::World;

/// Most requests that wait for one user: the engine's own cap, and the one that comes above it.
const INCOMING_MAX: usize = 65;
/// Most replies of the broker, and most wishes, that one program waits for in worlds of four people
/// who ask at most forty times.
const WAITS_MAX: usize = 64;
/// Most sessions that one program has or makes at a time in such worlds.
const SESSIONS_MAX: usize = 64;

impl World {
    /// Looks at a program after everything was taken out of it.
    pub(crate) fn check(&self, who: usize) -> Result<(), Broken> {
        let Some(process) = &self.people[who].process else { return Ok(()) };
        let sizes = process.engine.sizes();
        let session = sizes.session;
        let within = sizes.unpolled == 0
            && sizes.incoming <= INCOMING_MAX
            && sizes.calls <= WAITS_MAX
            && sizes.wishes <= WAITS_MAX
            && sizes.meetings <= SESSIONS_MAX
            && session.sessions <= SESSIONS_MAX
            && session.is_within(session.most());
        hold(within, "what a program holds stays under its caps", || format!("{}: {sizes:?}", called(who)))
    }

    /// Looks at a program when nothing has happened for a while.
    pub(crate) fn check_rest(&self, who: usize) -> Result<(), Broken> {
        let Some(process) = &self.people[who].process else { return Ok(()) };
        let sizes = process.engine.sizes();
        let session = sizes.session;
        // Whoever wishes for somebody whom no way leads to any more goes on to do so.
        let others = (0..self.people.len()).filter(|other| *other != who);
        let vain = others.filter(|other| self.could_meet(who, *other) && !self.can_meet(who, *other)).count();
        let empty = vain > 0
            || sizes.wishes == 0
                && sizes.incoming == 0
                && sizes.calls == 0
                && session.unacknowledged == 0
                && session.out_of_order == 0
                && session.incomplete == 0
                && session.sessions == sizes.meetings;
        hold(empty, "at rest no queue holds anything", || format!("{}: {sizes:?}", called(who)))?;
        for member in self.people.iter().filter(|other| other.who != who) {
            if self.can_meet(who, member.who) {
                let waiting = process.engine.undelivered(member.peer);
                hold(waiting == 0, "at rest nothing waits to be delivered", || {
                    format!("{waiting} messages from {} to {}", called(who), called(member.who))
                })?;
            }
        }
        Ok(())
    }
}
