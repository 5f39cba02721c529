//! How often something may happen, without allocating for those who overdo it.

use core::net::IpAddr;
use core::time::Duration;
use std::collections::BTreeMap;

use p2pchat_proto::Moment;

/// Datagrams a second, in all, to addresses from which nothing authentic came (protocol section 4).
pub(crate) const UNVALIDATED_PER_SECOND: usize = 100;
/// New INITs a second for one ticket (protocol section 4).
pub(crate) const INITS_PER_TICKET: usize = 5;
/// Repeated INITs a second of one ticket that are answered (protocol section 4): a peer repeats its own
/// six times in the first second.
pub(crate) const REPEATS_PER_TICKET: usize = 10;
/// New INITs a second of one contact, whichever its tickets (protocol section 4).
const INITS_PER_CONTACT: usize = 2 * INITS_PER_TICKET;
/// Repeated INITs a second of one contact that are answered (protocol section 4).
const REPEATS_PER_CONTACT: usize = 2 * REPEATS_PER_TICKET;
/// Datagrams a second of one session to paths that proved nothing (protocol section 5): challenges of
/// four paths, and answers to four.
pub(crate) const UNPROVEN_PER_SESSION: usize = 20;
/// New INITs a second from one source address (protocol section 4).
const INITS_PER_SOURCE: usize = 20;
/// New INITs a second in all (protocol section 4).
const INITS_PER_SECOND: usize = 100;
/// Sources that are remembered: more than can send [`INITS_PER_SECOND`] within a second.
const SOURCES_MAX: usize = 128;

const SECOND: Duration = Duration::from_secs(1);

/// At most `N` in any second.
#[derive(Debug, Clone)]
pub(crate) struct PerSecond<const N: usize> {
    /// When each of the last `N` leaves the second in which it counts.
    free_at: [Moment; N],
    next: usize,
}

impl<const N: usize> PerSecond<N> {
    pub(crate) const fn new() -> Self {
        Self { free_at: [Moment::ZERO; N], next: 0 }
    }

    /// When the next one may happen.
    pub(crate) fn free_at(&self) -> Moment {
        self.free_at.get(self.next).copied().unwrap_or(Moment::NEVER)
    }

    pub(crate) fn allows(&self, now: Moment) -> bool {
        self.free_at() <= now
    }

    /// Counts one.
    pub(crate) fn count(&mut self, now: Moment) {
        if let Some(slot) = self.free_at.get_mut(self.next) {
            *slot = now + SECOND;
            self.next = self.next.saturating_add(1).checked_rem(N).unwrap_or(0);
        }
    }

    /// Counts one if it is allowed.
    pub(crate) fn take(&mut self, now: Moment) -> bool {
        let allowed = self.allows(now);
        if allowed {
            self.count(now);
        }
        allowed
    }

    /// Whether nothing counts any more.
    fn is_idle(&self, now: Moment) -> bool {
        self.free_at.iter().all(|free_at| *free_at <= now)
    }
}

/// What INITs of one caller may cost.
#[derive(Debug)]
pub(crate) struct CallRates<const INITS: usize, const REPEATS: usize> {
    inits: PerSecond<INITS>,
    repeats: PerSecond<REPEATS>,
}

/// Of one ticket.
pub(crate) type TicketRates = CallRates<INITS_PER_TICKET, REPEATS_PER_TICKET>;
/// Of all tickets of one contact: who ends handshake after handshake has its ticket anew each time.
pub(crate) type ContactRates = CallRates<INITS_PER_CONTACT, REPEATS_PER_CONTACT>;

impl<const INITS: usize, const REPEATS: usize> CallRates<INITS, REPEATS> {
    pub(crate) const fn new() -> Self {
        Self { inits: PerSecond::new(), repeats: PerSecond::new() }
    }
}

/// Whether an INIT that came before is answered again; counts it then.
pub(crate) fn take_repeat(ticket: &mut TicketRates, contact: Option<&mut ContactRates>, now: Moment) -> bool {
    if contact.is_some_and(|contact| !contact.repeats.take(now)) {
        return false;
    }
    ticket.repeats.take(now)
}

/// Limits on new INITs of all tickets together; each ticket keeps its own beside.
#[derive(Debug)]
pub(crate) struct InitRates {
    all: PerSecond<INITS_PER_SECOND>,
    sources: BTreeMap<IpAddr, PerSecond<INITS_PER_SOURCE>>,
}

impl InitRates {
    pub(crate) const fn new() -> Self {
        Self { all: PerSecond::new(), sources: BTreeMap::new() }
    }

    /// Counts a new INIT if ticket, contact, source and sum allow it.
    pub(crate) fn take(
        &mut self,
        ticket: &mut TicketRates,
        contact: Option<&mut ContactRates>,
        source: IpAddr,
        now: Moment,
    ) -> bool {
        let contact_allows = contact.as_ref().is_none_or(|contact| contact.inits.allows(now));
        if !contact_allows || !ticket.inits.allows(now) || !self.all.allows(now) {
            return false;
        }
        if self.sources.len() >= SOURCES_MAX {
            self.sources.retain(|_, rate| !rate.is_idle(now));
            if self.sources.len() >= SOURCES_MAX {
                return false;
            }
        }
        if !self.sources.entry(source).or_insert_with(PerSecond::new).take(now) {
            return false;
        }
        ticket.inits.count(now);
        contact.into_iter().for_each(|contact| contact.inits.count(now));
        self.all.count(now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const START: Moment = Moment::from_nanos(5_000_000_000);

    fn source(n: u32) -> IpAddr {
        IpAddr::from(n.to_be_bytes())
    }

    fn taken(count: u32, mut take: impl FnMut(u32) -> bool) -> usize {
        (0..count).filter(|n| take(*n)).count()
    }

    #[test]
    fn a_ticket_a_source_and_the_sum_have_their_own_limits() {
        let mut rates = InitRates::new();
        let mut ticket = TicketRates::new();
        assert_eq!(taken(50, |n| rates.take(&mut ticket, None, source(n), START)), INITS_PER_TICKET);
        let mut rates = InitRates::new();
        assert_eq!(
            taken(50, |_| rates.take(&mut TicketRates::new(), None, source(1), START)),
            INITS_PER_SOURCE
        );
        let mut rates = InitRates::new();
        assert_eq!(
            taken(500, |n| rates.take(&mut TicketRates::new(), None, source(n), START)),
            INITS_PER_SECOND
        );
        assert!(rates.take(&mut TicketRates::new(), None, source(1), START + SECOND));
    }

    #[test]
    fn a_contact_has_its_limits_whichever_its_tickets() {
        let (mut rates, mut contact) = (InitRates::new(), ContactRates::new());
        let new = taken(50, |n| rates.take(&mut TicketRates::new(), Some(&mut contact), source(n), START));
        assert_eq!(new, INITS_PER_CONTACT);
        let again = taken(50, |_| take_repeat(&mut TicketRates::new(), Some(&mut contact), START));
        assert_eq!(again, REPEATS_PER_CONTACT);
        let mut ticket = TicketRates::new();
        assert_eq!(taken(50, |_| take_repeat(&mut ticket, None, START)), REPEATS_PER_TICKET);
    }

    #[test]
    fn the_table_of_sources_is_capped_and_sweeps_the_idle_ones() {
        let mut rates = InitRates::new();
        for second in 0..20u32 {
            let now = START + SECOND * second;
            let base = second * 1000;
            assert_eq!(
                taken(500, |n| rates.take(&mut TicketRates::new(), None, source(base + n), now)),
                INITS_PER_SECOND
            );
            assert!(rates.sources.len() <= SOURCES_MAX);
        }
    }

    #[test]
    fn a_source_that_overdid_it_is_not_forgotten_when_the_table_is_swept() {
        let mut rates = InitRates::new();
        let take = |rates: &mut InitRates, n, now| rates.take(&mut TicketRates::new(), None, source(n), now);
        assert_eq!(taken(100, |n| take(&mut rates, n, START)), 100);
        let later = START + SECOND;
        assert_eq!(taken(INITS_PER_SOURCE as u32, |_| take(&mut rates, 1000, later)), INITS_PER_SOURCE);
        assert_eq!(rates.sources.len(), 101, "where there is room, nobody goes through the table");
        assert_eq!(taken(60, |n| take(&mut rates, 2000 + n, later)), 60);
        assert!(!take(&mut rates, 1000, later));
        assert!(take(&mut rates, 3000, later), "the sum still allows one");
        assert!(rates.sources.len() < SOURCES_MAX, "it was swept");
    }

    proptest! {
        #[test]
        fn no_second_sees_more_than_the_limit(gaps in proptest::collection::vec(0u64..400, 1..200)) {
            let mut rate = PerSecond::<7>::new();
            let mut now = START;
            let mut taken: Vec<Moment> = Vec::new();
            for gap in gaps {
                now = now + Duration::from_millis(gap);
                let recent = taken.iter().filter(|at| **at + SECOND > now).count();
                prop_assert_eq!(rate.take(now), recent < 7);
                if recent < 7 {
                    taken.push(now);
                } else {
                    prop_assert!(rate.free_at() > now);
                }
            }
        }
    }
}
