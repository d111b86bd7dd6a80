//! Which addresses the server may deliver to: a URL that someone else chose must not reach into the operator's own network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// Whether requests may go to this address: it is public, or the operator allows its network.
pub fn is_allowed(address: IpAddr, allow_private: &[IpNet]) -> bool {
    let address = embedded_v4(address);
    allow_private.iter().any(|network| network.contains(&address)) || is_public(address)
}

/// The address a URL's host names literally, in any form that a URL parser understands.
pub fn literal(url: &url::Url) -> Option<IpAddr> {
    match url.host()? {
        url::Host::Ipv4(address) => Some(address.into()),
        url::Host::Ipv6(address) => Some(address.into()),
        url::Host::Domain(_) => None,
    }
}

/// The IPv4 address behind the IPv6 forms that lead to one: mapped (RFC 4291, 2.5.5.2), NAT64 (RFC 6052), 6to4 (RFC 3056).
fn embedded_v4(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let octets = v6.octets();
    let v4 = |at: usize| Ipv4Addr::new(octets[at], octets[at + 1], octets[at + 2], octets[at + 3]);
    match v6.segments() {
        [0, 0, 0, 0, 0, 0xffff, ..] => v4(12).into(),
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => v4(12).into(),
        [0x2002, ..] => v4(2).into(),
        // Compatible form, deprecated but still understood by some stacks; :: and ::1 stay what they are.
        [0, 0, 0, 0, 0, 0, high, low] if (high, low) > (0, 1) => v4(12).into(),
        _ => address,
    }
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

/// Outside IANA's special-purpose registry for IPv4 (RFC 6890).
fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let shared = a == 100 && (64..128).contains(&b);
    let benchmarking = a == 198 && (18..20).contains(&b);
    let protocol = a == 192 && b == 0 && c == 0;
    !(a == 0
        || a >= 240
        || shared
        || benchmarking
        || protocol
        || address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_documentation())
}

/// Global unicast (2000::/3) without documentation and the protocol-assignment block (RFC 6890).
fn is_public_v6(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.segments();
    let global = first & 0xe000 == 0x2000;
    let documentation = first == 0x2001 && second == 0x0db8 || first == 0x3fff && second < 0x1000;
    let protocol = first == 0x2001 && second < 0x0200;
    global && !documentation && !protocol
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_are_reached() {
        for refused in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "198.18.0.1",
            "192.0.2.1",
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "ff02::1",
            "2001:db8::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::10.0.0.1",
            "2002:7f00:1::",
            "::7f00:1",
        ] {
            assert!(!is_allowed(refused.parse().unwrap(), &[]), "{refused}");
        }
        for public in ["93.184.216.34", "8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"] {
            assert!(is_allowed(public.parse().unwrap(), &[]), "{public}");
        }
    }

    #[test]
    fn the_operator_may_allow_a_network() {
        let loopback: Vec<IpNet> = vec!["127.0.0.0/8".parse().unwrap()];
        assert!(is_allowed("127.0.0.1".parse().unwrap(), &loopback));
        assert!(is_allowed("::ffff:127.0.0.1".parse().unwrap(), &loopback), "the same machine in another form");
        assert!(!is_allowed("10.0.0.1".parse().unwrap(), &loopback));
    }

    #[test]
    fn a_literal_is_found_in_every_spelling() {
        for text in ["http://127.0.0.1/", "http://2130706433/", "http://0x7f.1/", "http://[::ffff:127.0.0.1]/", "http://127.1/"] {
            let address = literal(&text.parse().unwrap()).unwrap_or_else(|| panic!("{text}"));
            assert!(!is_allowed(address, &[]), "{text}");
        }
        assert_eq!(literal(&"http://localhost/".parse().unwrap()), None);
    }
}
