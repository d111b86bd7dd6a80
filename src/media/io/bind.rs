//! Where media sockets are bound, given the addresses that clients are told.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::Context;

/// What clients are told, and where the machine listens for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    /// Each becomes an ICE candidate; behind a 1:1 NAT the public one.
    pub told: Vec<IpAddr>,
    /// The machine's own address to bind; `None`: the told one when it is the machine's, otherwise all of them.
    pub bound: Option<IpAddr>,
}

/// A bound socket.
#[derive(Debug)]
pub struct Bound<S> {
    pub socket: S,
    /// It listens on every address of the machine.
    pub wildcard: bool,
}

impl Addresses {
    /// Opens a socket with `open` at `port` (0: a free one).
    ///
    /// # Errors
    /// No address is told, or the socket cannot be had; the text names the port.
    pub fn bind<S>(&self, port: u16, open: impl Fn(SocketAddr) -> io::Result<S>) -> anyhow::Result<Bound<S>> {
        anyhow::ensure!(!self.told.is_empty(), "no address for media is known");
        let place = |ip: IpAddr| format!("the media port {port} on {ip}");
        if let Some(ip) = self.bound.filter(|ip| !ip.is_unspecified()) {
            let socket = open(SocketAddr::new(ip, port)).with_context(|| place(ip))?;
            return Ok(Bound { socket, wildcard: false });
        }
        if let ([only], None) = (&self.told[..], self.bound) {
            match open(SocketAddr::new(*only, port)) {
                Ok(socket) => return Ok(Bound { socket, wildcard: false }),
                // An address that is not of this machine is one a router translates.
                Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {}
                Err(error) => return Err(error).with_context(|| place(*only)),
            }
        }
        let any: IpAddr = match self.told.iter().chain(&self.bound).any(IpAddr::is_ipv6) {
            true => Ipv6Addr::UNSPECIFIED.into(),
            false => Ipv4Addr::UNSPECIFIED.into(),
        };
        let socket = open(SocketAddr::new(any, port)).with_context(|| place(any))?;
        Ok(Bound { socket, wildcard: true })
    }

    /// What clients are told of a socket at `port`.
    pub fn candidates(&self, port: u16) -> Vec<SocketAddr> {
        self.told.iter().map(|ip| SocketAddr::new(*ip, port)).collect()
    }
}

/// An IPv4 address that came through an IPv6 socket, as itself.
pub fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// The candidate that something was sent to: by its own destination, or behind a translating router the one of its family.
pub fn candidate_of(candidates: &[SocketAddr], source: SocketAddr, destination: Option<IpAddr>) -> SocketAddr {
    let exact = candidates.iter().find(|candidate| Some(candidate.ip()) == destination);
    let family = || candidates.iter().find(|candidate| candidate.is_ipv4() == source.is_ipv4());
    *exact.or_else(family).unwrap_or(&candidates[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    /// TEST-NET-3 (RFC 5737): never an address of this machine.
    const PUBLIC: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 5));

    fn bound(told: &[IpAddr], bound: Option<IpAddr>) -> (IpAddr, bool) {
        let addresses = Addresses { told: told.to_vec(), bound };
        let Bound { socket, wildcard } = addresses.bind(0, std::net::UdpSocket::bind).unwrap();
        (socket.local_addr().unwrap().ip(), wildcard)
    }

    #[test]
    fn the_told_address_is_bound_when_it_is_the_machines_and_else_what_is_configured_or_all() {
        let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        assert_eq!(bound(&[LOOPBACK], None), (LOOPBACK, false));
        assert_eq!(bound(&[PUBLIC], None), (any, true));
        assert_eq!(bound(&[PUBLIC], Some(LOOPBACK)), (LOOPBACK, false));
        assert_eq!(bound(&[PUBLIC, LOOPBACK], None), (any, true));
        assert_eq!(bound(&[LOOPBACK], Some(any)), (any, true));
    }

    #[test]
    fn the_candidate_is_the_one_that_was_asked_or_behind_a_router_that_of_the_family() {
        let candidates: Vec<SocketAddr> =
            ["203.0.113.5:1", "10.0.0.5:1", "[2001:db8::5]:1"].map(|text| text.parse().unwrap()).to_vec();
        let from = |text: &str| text.parse().unwrap();
        let asked = |ip: &str| Some(ip.parse().unwrap());
        assert_eq!(candidate_of(&candidates, from("192.0.2.1:9"), asked("10.0.0.5")), candidates[1]);
        assert_eq!(candidate_of(&candidates, from("192.0.2.1:9"), asked("172.16.0.1")), candidates[0]);
        assert_eq!(candidate_of(&candidates, from("[2001:db8::1]:9"), None), candidates[2]);
    }
}
