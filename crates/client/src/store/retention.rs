//! How long messages of a conversation are kept, and what is older: it goes, by the rules of
//! [`Book::forget_before`].

use core::time::Duration;

use p2pchat_proto::kept::{CONVERSATIONS_MAX, KeptFor, Retention};
use p2pchat_proto::{PeerId, WallTime};
use rand::CryptoRng;

use super::book::{Book, head_of, waits};
use super::error::StoreError;
use super::log::Reader;
use super::pages::Thing;

impl Book {
    /// How long messages with somebody are kept; `None` for ever.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn kept_for(&mut self, peer: PeerId) -> Result<Option<Duration>, StoreError> {
        let limits = self.limits()?;
        let limit = limits.into_iter().find(|limit| limit.peer == peer);
        Ok(limit.map(|limit| Duration::from_secs(limit.seconds)))
    }

    /// Keeps messages with somebody for so long from now on, whole seconds; `None` for ever. Those that are
    /// older go with the next [`Self::sweep`].
    ///
    /// # Errors
    /// See [`StoreError`]; [`StoreError::TooLarge`] for more people than there are conversations.
    pub fn keep(
        &mut self,
        peer: PeerId,
        after: Option<Duration>,
        rng: &mut dyn CryptoRng,
    ) -> Result<(), StoreError> {
        let mut limits = self.limits()?;
        limits.retain(|limit| limit.peer != peer);
        limits.extend(after.map(|after| KeptFor { peer, seconds: after.as_secs() }));
        if limits.len() > CONVERSATIONS_MAX {
            return Err(StoreError::TooLarge);
        }
        self.write(rng, |pages, rng| pages.put_whole(Thing::Retention, &Retention { limits }, rng))
    }

    /// Removes what is older than it is kept by now, but nothing that waits. How many messages there were.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn sweep(&mut self, now: WallTime, rng: &mut dyn CryptoRng) -> Result<u64, StoreError> {
        let mut removed = 0;
        for KeptFor { peer, seconds } in self.limits()? {
            let before = WallTime(now.0.saturating_sub(seconds.saturating_mul(1_000)));
            if self.has_older(peer, before)? {
                removed += self.remove_older(peer, before, rng)?;
            }
        }
        if removed > 0 {
            self.compact()?;
        }
        Ok(removed)
    }

    fn limits(&mut self) -> Result<Vec<KeptFor>, StoreError> {
        self.read(|pages| Ok(pages.whole::<Retention>(Thing::Retention)?.unwrap_or_default().limits))
    }

    /// Whether the first message is one that is to go: nothing is written where there is none.
    fn has_older(&mut self, peer: PeerId, before: WallTime) -> Result<bool, StoreError> {
        self.read(|pages| {
            let Some(head) = head_of(pages, peer)? else { return Ok(false) };
            let first = Reader::new(pages, &head, head.log_start).next()?;
            Ok(first.is_some_and(|first| first.entry.kept_at < before && !waits(&head, &first.entry)))
        })
    }
}
