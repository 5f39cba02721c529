//! Where others may reach this machine: what was asked to be announced, else what the interfaces have.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use if_addrs::IfAddr;
use p2pchat_engine::Failure;
use p2pchat_proto::endpoint::is_dialable;

/// The endpoints to announce for sockets bound to `bound`.
///
/// `advertised` replaces what is found. Loopback addresses are found only where a socket is bound
/// to one or `over_loopback` says that the broker, and so perhaps the other side, is on this machine.
pub(crate) fn announced(
    bound: &[SocketAddr],
    advertised: &[SocketAddr],
    over_loopback: bool,
) -> Vec<SocketAddr> {
    if advertised.is_empty() {
        found(bound, over_loopback, &interface_addresses())
    } else {
        advertised.to_vec()
    }
}

/// What others would be told of sockets bound to `bound`, where the broker is on another machine.
pub fn announced_addresses(bound: &[SocketAddr], advertised: &[SocketAddr]) -> Vec<SocketAddr> {
    announced(bound, advertised, false)
}

fn found(bound: &[SocketAddr], over_loopback: bool, interfaces: &[IpAddr]) -> Vec<SocketAddr> {
    let mut endpoints = Vec::new();
    for address in bound {
        let (ip, port) = (address.ip(), address.port());
        if !ip.is_unspecified() {
            endpoints.push(*address);
            continue;
        }
        if over_loopback {
            let loopback: IpAddr =
                if ip.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
            endpoints.push(SocketAddr::new(loopback, port));
        }
        let same_family = interfaces.iter().filter(|found| found.is_ipv4() == ip.is_ipv4());
        endpoints.extend(same_family.map(|&found| SocketAddr::new(found, port)));
    }
    endpoints
}

/// Every address of this machine; none where the system does not tell.
pub(crate) fn addresses() -> Option<Vec<IpAddr>> {
    Some(if_addrs::get_if_addrs().ok()?.iter().map(if_addrs::Interface::ip).collect())
}

/// Addresses of this machine that another one might reach. A link-local IPv6 address means nothing
/// without the name of an interface, so it is left out.
fn interface_addresses() -> Vec<IpAddr> {
    let Ok(interfaces) = if_addrs::get_if_addrs() else { return Vec::new() };
    interfaces
        .into_iter()
        .filter(|interface| !interface.is_loopback())
        .filter_map(|interface| match interface.addr {
            IfAddr::V4(v4) => Some(IpAddr::V4(v4.ip)),
            IfAddr::V6(v6) if v6.ip.is_unicast_link_local() => None,
            IfAddr::V6(v6) => Some(IpAddr::V6(v6.ip)),
        })
        .collect()
}

/// Addresses that nobody could dial are a slip of the user's.
pub(crate) fn check_announced(addresses: &[SocketAddr]) -> Result<(), Failure> {
    match addresses.iter().find(|address| !is_dialable(**address)) {
        Some(address) => {
            Err(Failure::Usage(format!("nobody can reach {address}, so it cannot be announced")))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sockets(list: &[&str]) -> Vec<SocketAddr> {
        list.iter().map(|address| address.parse().unwrap()).collect()
    }

    #[test]
    fn a_socket_on_all_interfaces_is_announced_at_each_of_its_family() {
        let interfaces = ["192.0.2.1", "2001:db8::1"].map(|ip| ip.parse().unwrap());
        let found = found(&sockets(&["0.0.0.0:5", "[::]:6"]), false, &interfaces);
        assert_eq!(found, sockets(&["192.0.2.1:5", "[2001:db8::1]:6"]));
    }

    #[test]
    fn loopback_is_announced_only_where_it_can_mean_something() {
        let interfaces = ["192.0.2.1".parse().unwrap()];
        assert_eq!(found(&sockets(&["0.0.0.0:5"]), false, &interfaces), sockets(&["192.0.2.1:5"]));
        assert_eq!(
            found(&sockets(&["0.0.0.0:5"]), true, &interfaces),
            sockets(&["127.0.0.1:5", "192.0.2.1:5"])
        );
        assert_eq!(found(&sockets(&["127.0.0.1:5"]), false, &interfaces), sockets(&["127.0.0.1:5"]));
    }

    #[test]
    fn what_is_advertised_replaces_what_is_found() {
        let advertised = sockets(&["198.51.100.1:9"]);
        assert_eq!(announced(&sockets(&["0.0.0.0:5"]), &advertised, true), advertised);
    }
}
