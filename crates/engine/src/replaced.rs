//! Keys that their owners have replaced: no word of theirs counts any more.

use std::collections::{BTreeMap, VecDeque};

use p2pchat_proto::PeerId;

/// Most replaced keys that are remembered: as many as people are pinned (10,000), of 115 bytes each in the
/// papers. The oldest go first.
pub const REPLACED_MAX: usize = 10_000;
/// Most of one person, four times what a broker keeps of a name (ADR 29), so that nobody pushes out what
/// is known of others.
pub const REPLACED_OF_ONE_MAX: usize = 32;

/// Keys that were followed away from, and whose they are now, in the order in which that happened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Replaced {
    by: BTreeMap<PeerId, PeerId>,
    /// The former keys of each, the oldest first.
    of: BTreeMap<PeerId, VecDeque<PeerId>>,
    order: VecDeque<PeerId>,
}

impl Replaced {
    /// `new` has taken the place of `old`, and of whatever that one had replaced.
    pub fn note(&mut self, old: PeerId, new: PeerId) {
        if old == new || self.by.contains_key(&old) {
            return;
        }
        let before = self.of.remove(&old).unwrap_or_default();
        for key in before.iter().chain([&old]) {
            self.by.insert(*key, new);
        }
        self.order.push_back(old);
        let of_new = self.of.entry(new).or_default();
        of_new.extend(before);
        of_new.push_back(old);
        if of_new.len() > REPLACED_OF_ONE_MAX
            && let Some(oldest) = of_new.pop_front()
        {
            self.by.remove(&oldest);
            self.order.retain(|key| *key != oldest);
        }
        if self.order.len() > REPLACED_MAX
            && let Some(oldest) = self.order.pop_front()
            && let Some(now) = self.by.remove(&oldest)
            && let Some(of_now) = self.of.get_mut(&now)
        {
            of_now.retain(|key| *key != oldest);
            if of_now.is_empty() {
                self.of.remove(&now);
            }
        }
    }

    /// Whose key took the place of this one.
    pub fn by(&self, key: PeerId) -> Option<PeerId> {
        self.by.get(&key).copied()
    }

    /// The user knows nothing of `new` any more, nor of whom it replaced.
    pub fn forget(&mut self, new: PeerId) {
        if self.of.remove(&new).is_some() {
            self.by.retain(|_, by| *by != new);
            self.order.retain(|key| self.by.contains_key(key));
        }
    }

    /// All of them, each with whose it is now, the oldest first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (PeerId, PeerId)> + '_ {
        self.order.iter().map(|old| (*old, self.by.get(old).copied().unwrap_or(*old)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u32) -> PeerId {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        PeerId(bytes)
    }

    #[test]
    fn every_former_key_leads_to_the_last_one_until_that_person_is_forgotten() {
        let mut replaced = Replaced::default();
        replaced.note(key(1), key(2));
        replaced.note(key(5), key(6));
        replaced.note(key(2), key(3));
        assert_eq!(
            (replaced.by(key(1)), replaced.by(key(2)), replaced.by(key(3))),
            (Some(key(3)), Some(key(3)), None)
        );
        replaced.forget(key(3));
        assert_eq!(replaced.iter().collect::<Vec<_>>(), [(key(5), key(6))]);
    }

    #[test]
    fn somebody_who_changes_keys_without_end_costs_bounded_memory_and_nobody_elses() {
        let mut replaced = Replaced::default();
        replaced.note(key(1), key(2));
        (10..10_000).for_each(|number| replaced.note(key(number), key(number + 1)));
        assert_eq!(replaced.iter().len(), REPLACED_OF_ONE_MAX + 1);
        assert_eq!((replaced.by(key(1)), replaced.by(key(9_999))), (Some(key(2)), Some(key(10_000))));
        (0..20_000).for_each(|number| replaced.note(key(100_000 + number), key(200_000 + number)));
        assert_eq!(replaced.iter().len(), REPLACED_MAX);
        assert_eq!((replaced.by.len(), replaced.of.len()), (REPLACED_MAX, REPLACED_MAX));
    }
}
