//! A NAT's table, in the words of RFC 4787.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;

use crate::seconds;

/// First port that a NAT draws: those below are the system's (RFC 6335, section 6).
const FIRST_PORT: u16 = 1024;
/// Marks the streams of the seed from which NATs draw; there are never so many lines.
const NATS: u64 = 1 << 62;

/// On what of the far end something depends: the mapping of RFC 4787, section 4.1, or the filtering
/// of section 5.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Dependence {
    /// Nothing: one mapping for everybody, or everybody is let in.
    #[default]
    EndpointIndependent,
    /// Its address, whatever the port.
    AddressDependent,
    /// Its address and its port.
    AddressAndPortDependent,
}

/// Which outer port a new mapping gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ports {
    /// The inner one where it is free, else a random one.
    #[default]
    Preserve,
    /// A random one.
    Random,
}

/// How a NAT behaves. The default is the commonest router at home: one mapping for everybody, which
/// lets in only whom the inner host has written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NatConfig {
    /// Whether another far end gets another mapping.
    pub mapping: Dependence,
    /// Who is let in through a mapping: those to whom it was used, or everybody.
    pub filtering: Dependence,
    /// How long a mapping, and a filter's permission, live without use, nanoseconds.
    pub timeout: u64,
    /// Whether what comes in counts as use. What goes out always does (RFC 4787, REQ-6).
    pub inbound_refresh: bool,
    /// Whether a datagram from inside to the outer address comes back inside.
    pub hairpin: bool,
    /// How ports are chosen.
    pub ports: Ports,
    /// Most flows, pairs of an inner and a far endpoint, that it remembers at once. A new one beyond
    /// them is dropped.
    pub flows: usize,
}

impl NatConfig {
    /// Lets everybody in: "full cone".
    pub const OPEN: Self = Self { filtering: Dependence::EndpointIndependent, ..Self::HOME };

    /// The default: "port restricted cone".
    pub const HOME: Self = Self {
        mapping: Dependence::EndpointIndependent,
        filtering: Dependence::AddressAndPortDependent,
        timeout: seconds(120),
        inbound_refresh: false,
        hairpin: true,
        ports: Ports::Preserve,
        flows: 16_384,
    };

    /// A mapping for every far end, on a random port, for 30 s: "symmetric", what direct sessions
    /// fear most.
    pub const SYMMETRIC: Self = Self {
        mapping: Dependence::AddressAndPortDependent,
        timeout: seconds(30),
        hairpin: false,
        ports: Ports::Random,
        ..Self::HOME
    };
}

impl Default for NatConfig {
    fn default() -> Self {
        Self::HOME
    }
}

/// Why a NAT does not let a datagram in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    Unmapped,
    Filtered,
}

/// The part of the far end on which a mapping depends.
type Toward = (Option<IpAddr>, Option<u16>);

#[derive(Debug)]
struct Mapping {
    inner: SocketAddr,
    toward: Toward,
    expires: u64,
    /// To whom it was used, and until when that counts.
    flows: BTreeMap<SocketAddr, u64>,
}

/// The table of one NAT with one outer address.
#[derive(Debug)]
pub(crate) struct Nat {
    pub(crate) config: NatConfig,
    /// By outer port.
    mappings: BTreeMap<u16, Mapping>,
    ports: BTreeMap<(SocketAddr, Toward), u16>,
    /// Flows of all mappings together, expired ones that nobody has looked at included.
    flows: usize,
    rng: ChaCha20Rng,
}

impl Dependence {
    fn toward(self, far: SocketAddr) -> Toward {
        match self {
            Self::EndpointIndependent => (None, None),
            Self::AddressDependent => (Some(far.ip()), None),
            Self::AddressAndPortDependent => (Some(far.ip()), Some(far.port())),
        }
    }
}

impl Nat {
    /// The `index`th NAT of a network with this seed.
    pub(crate) fn new(config: NatConfig, seed: u64, index: u64) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        rng.set_stream(NATS | index);
        Self { config, mappings: BTreeMap::new(), ports: BTreeMap::new(), flows: 0, rng }
    }

    /// The outer port from which a datagram of `inner` goes to `far`; `None` when the table is full.
    pub(crate) fn outbound(&mut self, now: u64, inner: SocketAddr, far: SocketAddr) -> Option<u16> {
        let toward = self.config.mapping.toward(far);
        let known = self.ports.get(&(inner, toward)).copied().filter(|port| self.is_alive(now, *port));
        let expires = now.saturating_add(self.config.timeout);
        let is_new =
            known.and_then(|port| self.mappings.get(&port)).is_none_or(|m| !m.flows.contains_key(&far));
        if is_new && self.flows >= self.config.flows {
            self.sweep(now);
            if self.flows >= self.config.flows {
                return None;
            }
        }
        let port = match known {
            Some(port) => port,
            None => self.open(now, inner, toward)?,
        };
        let mapping = self.mappings.get_mut(&port)?;
        mapping.expires = expires;
        mapping.flows.insert(far, expires);
        self.flows += usize::from(is_new);
        Some(port)
    }

    /// Behind which inner endpoint the outer port is, for a datagram from `far`.
    pub(crate) fn inbound(&mut self, now: u64, far: SocketAddr, port: u16) -> Result<SocketAddr, Refusal> {
        if !self.is_alive(now, port) {
            return Err(Refusal::Unmapped);
        }
        let Some(mapping) = self.mappings.get_mut(&port) else { return Err(Refusal::Unmapped) };
        let is_open = match self.config.filtering {
            Dependence::EndpointIndependent => true,
            Dependence::AddressDependent => {
                let ports = SocketAddr::new(far.ip(), 0)..=SocketAddr::new(far.ip(), u16::MAX);
                mapping.flows.range(ports).any(|(_, expires)| *expires > now)
            }
            Dependence::AddressAndPortDependent => {
                mapping.flows.get(&far).is_some_and(|expires| *expires > now)
            }
        };
        if !is_open {
            return Err(Refusal::Filtered);
        }
        if self.config.inbound_refresh {
            mapping.expires = now.saturating_add(self.config.timeout);
            if let Some(expires) = mapping.flows.get_mut(&far).filter(|expires| **expires > now) {
                *expires = mapping.expires;
            }
        }
        Ok(mapping.inner)
    }

    /// Forgets everything, as after losing power. Random ports go on where they were.
    pub(crate) fn reboot(&mut self) {
        self.mappings.clear();
        self.ports.clear();
        self.flows = 0;
    }

    /// Mappings that live at `now`.
    pub(crate) fn mappings(&self, now: u64) -> usize {
        self.mappings.values().filter(|mapping| mapping.expires > now).count()
    }

    /// Whether this outer port has a mapping that lives. One that does not is forgotten here.
    fn is_alive(&mut self, now: u64, port: u16) -> bool {
        let Some(mapping) = self.mappings.get(&port) else { return false };
        if mapping.expires > now {
            return true;
        }
        self.forget(port);
        false
    }

    fn forget(&mut self, port: u16) {
        if let Some(mapping) = self.mappings.remove(&port) {
            self.ports.remove(&(mapping.inner, mapping.toward));
            self.flows -= mapping.flows.len();
        }
    }

    /// Forgets what has expired.
    fn sweep(&mut self, now: u64) {
        let dead: Vec<_> =
            self.mappings.iter().filter(|(_, m)| m.expires <= now).map(|(port, _)| *port).collect();
        for port in dead {
            self.forget(port);
        }
        for mapping in self.mappings.values_mut() {
            mapping.flows.retain(|_, expires| *expires > now);
        }
        self.flows = self.mappings.values().map(|mapping| mapping.flows.len()).sum();
    }

    /// Makes a mapping on a free port; `None` when there is none.
    fn open(&mut self, now: u64, inner: SocketAddr, toward: Toward) -> Option<u16> {
        let first = self.rng.random_range(FIRST_PORT..=u16::MAX);
        let preserved = match self.config.ports {
            Ports::Preserve => Some(inner.port()),
            Ports::Random => None,
        };
        let mut candidates = preserved.into_iter().chain(first..=u16::MAX).chain(FIRST_PORT..first);
        let port = candidates.find(|port| !self.is_alive(now, *port))?;
        let mapping = Mapping { inner, toward, expires: now, flows: BTreeMap::new() };
        self.mappings.insert(port, mapping);
        self.ports.insert((inner, toward), port);
        Some(port)
    }
}

#[cfg(test)]
mod tests {
    use super::Dependence::{AddressAndPortDependent, AddressDependent, EndpointIndependent};
    use super::*;
    use proptest::prelude::*;

    fn inner(n: u8) -> SocketAddr {
        SocketAddr::from(([192, 168, 1, n], 5000))
    }

    fn far(n: u8, port: u16) -> SocketAddr {
        SocketAddr::from(([203, 0, 113, n], port))
    }

    fn nat(config: NatConfig) -> Nat {
        Nat::new(config, 1, 0)
    }

    #[test]
    fn a_mapping_differs_exactly_where_it_depends_on_the_far_end() {
        for (mapping, other_port, other_address) in [
            (EndpointIndependent, true, true),
            (AddressDependent, true, false),
            (AddressAndPortDependent, false, false),
        ] {
            let mut nat = nat(NatConfig { mapping, ..NatConfig::default() });
            let first = nat.outbound(0, inner(1), far(1, 1)).unwrap();
            assert_eq!(nat.outbound(0, inner(1), far(1, 1)), Some(first));
            assert_eq!(nat.outbound(0, inner(1), far(1, 2)) == Some(first), other_port, "{mapping:?}");
            assert_eq!(nat.outbound(0, inner(1), far(2, 1)) == Some(first), other_address, "{mapping:?}");
        }
    }

    #[test]
    fn a_filter_lets_in_exactly_whom_it_may() {
        for (filtering, other_port, other_address) in [
            (EndpointIndependent, true, true),
            (AddressDependent, true, false),
            (AddressAndPortDependent, false, false),
        ] {
            let mut nat = nat(NatConfig { filtering, ..NatConfig::default() });
            let port = nat.outbound(0, inner(1), far(1, 1)).unwrap();
            let seen = |open| if open { Ok(inner(1)) } else { Err(Refusal::Filtered) };
            assert_eq!(nat.inbound(0, far(1, 1), port), seen(true));
            assert_eq!(nat.inbound(0, far(1, 2), port), seen(other_port), "{filtering:?}");
            assert_eq!(nat.inbound(0, far(2, 1), port), seen(other_address), "{filtering:?}");
            assert_eq!(nat.inbound(0, far(1, 1), port + 1), Err(Refusal::Unmapped));
        }
    }

    #[test]
    fn a_mapping_ends_at_its_timeout_unless_something_went_out() {
        for timeout in [15, 30, 120].map(seconds) {
            let mut nat = nat(NatConfig { timeout, ..NatConfig::default() });
            let port = nat.outbound(0, inner(1), far(1, 1)).unwrap();
            assert!(nat.inbound(timeout - 1, far(1, 1), port).is_ok());
            assert_eq!(nat.outbound(timeout - 1, inner(1), far(1, 1)), Some(port));
            assert!(nat.inbound(2 * timeout - 2, far(1, 1), port).is_ok());
            assert_eq!(nat.inbound(2 * timeout - 1, far(1, 1), port), Err(Refusal::Unmapped));
        }
    }

    #[test]
    fn what_comes_in_keeps_a_mapping_only_where_it_is_told_to() {
        for inbound_refresh in [false, true] {
            let mut nat = nat(NatConfig { inbound_refresh, timeout: seconds(30), ..NatConfig::default() });
            let port = nat.outbound(0, inner(1), far(1, 1)).unwrap();
            for second in [20, 40, 60] {
                let kept = second < 30 || inbound_refresh;
                assert_eq!(nat.inbound(seconds(second), far(1, 1), port).is_ok(), kept, "{second}");
            }
        }
    }

    #[test]
    fn a_permission_ends_by_itself_while_the_mapping_is_kept_by_another() {
        let mut nat = nat(NatConfig { timeout: seconds(30), ..NatConfig::default() });
        let port = nat.outbound(0, inner(1), far(1, 1)).unwrap();
        nat.outbound(seconds(20), inner(1), far(2, 1));
        assert_eq!(nat.inbound(seconds(31), far(1, 1), port), Err(Refusal::Filtered));
        assert!(nat.inbound(seconds(31), far(2, 1), port).is_ok());
    }

    #[test]
    fn the_inner_port_is_preserved_where_it_is_free() {
        let mut nat = nat(NatConfig { timeout: seconds(30), ..NatConfig::default() });
        assert_eq!(nat.outbound(0, inner(1), far(1, 1)), Some(5000));
        let second = nat.outbound(0, inner(2), far(1, 1)).unwrap();
        assert!(second != 5000 && second >= FIRST_PORT, "{second}");
        // Once the first has expired, its port is free again.
        assert_eq!(nat.outbound(seconds(30), inner(3), far(1, 1)), Some(5000));
    }

    #[test]
    fn random_ports_follow_from_the_seed_and_change_when_a_mapping_is_made_anew() {
        let config = NatConfig { ports: Ports::Random, ..NatConfig::default() };
        let ports = |seed| {
            let mut nat = Nat::new(config, seed, 0);
            let first = nat.outbound(0, inner(1), far(1, 1)).unwrap();
            nat.reboot();
            assert_eq!(nat.inbound(0, far(1, 1), first), Err(Refusal::Unmapped));
            [first, nat.outbound(0, inner(1), far(1, 1)).unwrap()]
        };
        assert_eq!(ports(1), ports(1));
        assert_ne!(ports(1), ports(2));
        assert_ne!(ports(1)[0], ports(1)[1]);
    }

    #[test]
    fn a_full_table_refuses_new_flows_keeps_old_ones_and_has_room_again_when_they_expire() {
        let mut nat = nat(NatConfig { flows: 2, timeout: seconds(30), ..NatConfig::default() });
        assert!(nat.outbound(0, inner(1), far(1, 1)).is_some());
        assert!(nat.outbound(0, inner(1), far(2, 1)).is_some());
        assert_eq!(nat.outbound(0, inner(1), far(3, 1)), None);
        assert_eq!(nat.outbound(0, inner(2), far(1, 1)), None);
        assert!(nat.outbound(seconds(20), inner(1), far(1, 1)).is_some());
        assert!(nat.outbound(seconds(30), inner(2), far(1, 1)).is_some(), "one flow has expired");
        assert_eq!(nat.outbound(seconds(30), inner(3), far(1, 1)), None);
    }

    #[test]
    fn a_nat_out_of_ports_refuses_instead_of_taking_one_twice() {
        let config = NatConfig { flows: usize::MAX, ports: Ports::Random, ..NatConfig::default() };
        let mut nat = nat(config);
        let count = usize::from(u16::MAX - FIRST_PORT) + 1;
        for n in 0..count {
            let from = SocketAddr::from(([10, 0, (n >> 8) as u8, n as u8], 5000));
            nat.mappings.insert(
                FIRST_PORT + n as u16,
                Mapping { inner: from, toward: (None, None), expires: u64::MAX, flows: BTreeMap::new() },
            );
        }
        assert_eq!(nat.outbound(0, inner(1), far(1, 1)), None);
        nat.forget(40_000);
        assert_eq!(nat.outbound(0, inner(1), far(1, 1)), Some(40_000));
    }

    proptest! {
        #[test]
        fn two_inner_endpoints_never_share_a_port_and_answers_find_their_way_back(
            seed: u64,
            mapping in 0..3usize,
            filtering in 0..3usize,
            random: bool,
            inbound_refresh: bool,
            flows in 1..40usize,
            steps in proptest::collection::vec((0..20u64, 1..6u8, 1..4u8, 1..4u16), 1..200),
        ) {
            let kinds = [EndpointIndependent, AddressDependent, AddressAndPortDependent];
            let mut nat = Nat::new(NatConfig {
                mapping: kinds[mapping],
                filtering: kinds[filtering],
                timeout: seconds(30),
                inbound_refresh,
                hairpin: false,
                ports: if random { Ports::Random } else { Ports::Preserve },
                flows,
            }, seed, 0);
            let mut now = 0;
            for (pause, who, address, port) in steps {
                now += seconds(pause);
                let far = far(address, port);
                if let Some(outer) = nat.outbound(now, inner(who), far) {
                    prop_assert_eq!(nat.inbound(now, far, outer), Ok(inner(who)));
                    prop_assert_eq!(nat.outbound(now, inner(who), far), Some(outer));
                }
                let counted: usize = nat.mappings.values().map(|mapping| mapping.flows.len()).sum();
                prop_assert!(counted == nat.flows && counted <= flows);
                prop_assert_eq!(nat.mappings.len(), nat.ports.len());
                for (port, mapping) in &nat.mappings {
                    prop_assert_eq!(nat.ports.get(&(mapping.inner, mapping.toward)), Some(port));
                }
            }
        }
    }
}
