//! The addresses of this machine that clients may reach it at, when the configuration names none.

use std::io;
use std::net::IpAddr;

use if_addrs::{IfOperStatus, Interface};

/// More are not told: each costs every client checks.
const MOST: usize = 8;

/// Interfaces that lead to containers and virtual machines of this host, by how their names begin.
const INWARD: &[&str] = &[
    "docker",
    "podman",
    "veth",
    "virbr",
    "vnet",
    "vmnet",
    "vboxnet",
    "lxcbr",
    "lxdbr",
    "cni",
    "flannel",
    "cali",
    "cilium",
    "kube",
    "nodelocaldns",
];

/// The addresses of the interfaces that lead outside; this machine's loopback addresses when it has no other.
pub fn addresses() -> io::Result<Vec<IpAddr>> {
    let interfaces = if_addrs::get_if_addrs()?;
    let up = interfaces.iter().filter(|interface| interface.oper_status != IfOperStatus::Down);
    Ok(reachable(up.map(|Interface { name, addr, .. }| (name.as_str(), addr.ip()))))
}

fn reachable<'a>(interfaces: impl Iterator<Item = (&'a str, IpAddr)>) -> Vec<IpAddr> {
    let (mut outside, mut loopback) = (Vec::new(), Vec::new());
    for (name, ip) in interfaces {
        let list = if ip.is_loopback() { &mut loopback } else { &mut outside };
        if !leads_inward(name) && is_told(ip) && !list.contains(&ip) {
            list.push(ip);
        }
    }
    let mut told = if outside.is_empty() { loopback } else { outside };
    told.truncate(MOST);
    told
}

fn leads_inward(name: &str) -> bool {
    // Docker names the bridges of its networks by twelve hexadecimal digits; `br-lan` and `br0` are others'.
    let of_docker = |id: &str| id.len() == 12 && id.bytes().all(|c| c.is_ascii_hexdigit());
    INWARD.iter().any(|prefix| name.starts_with(prefix)) || name.strip_prefix("br-").is_some_and(of_docker)
}

/// Link-local addresses need a zone, which a candidate cannot name.
fn is_told(ip: IpAddr) -> bool {
    let link_local = match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !link_local && !ip.is_unspecified() && !ip.is_multicast()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(interfaces: &[(&str, &str)]) -> Vec<String> {
        let parsed = interfaces.iter().map(|(name, ip)| (*name, ip.parse().unwrap()));
        reachable(parsed).iter().map(IpAddr::to_string).collect()
    }

    #[test]
    fn what_leads_outside_is_told_and_nothing_else() {
        let interfaces = [
            ("lo", "127.0.0.1"),
            ("lo", "::1"),
            ("eth0", "192.0.2.7"),
            ("eth0", "fe80::1"),
            ("eth0", "2001:db8::7"),
            ("eth0", "2001:db8::7"),
            ("docker0", "172.17.0.1"),
            ("br-0123456789ab", "172.18.0.1"),
            ("br-lan", "10.0.0.1"),
            ("veth12ab", "10.1.0.1"),
            ("eth1", "169.254.3.4"),
            ("wg0", "10.7.0.1"),
        ];
        assert_eq!(found(&interfaces), ["192.0.2.7", "2001:db8::7", "10.0.0.1", "10.7.0.1"]);
    }

    #[test]
    fn a_machine_without_a_network_has_its_loopback() {
        assert_eq!(found(&[("lo", "127.0.0.1"), ("lo", "::1"), ("docker0", "172.17.0.1")]), ["127.0.0.1", "::1"]);
    }

    #[test]
    fn a_machine_with_many_addresses_tells_a_few() {
        let names: Vec<String> = (1..=20).map(|n| format!("10.0.0.{n}")).collect();
        let interfaces: Vec<(&str, &str)> = names.iter().map(|ip| ("eth0", ip.as_str())).collect();
        assert_eq!(found(&interfaces).len(), MOST);
    }
}
