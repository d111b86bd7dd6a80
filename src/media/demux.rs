//! Which peer a datagram is for: by its source address, and for connectivity checks by the ICE name they carry.

use std::collections::HashMap;
use std::net::SocketAddr;

use str0m::net::Protocol;

use super::shard::Seat;

/// Addresses one peer may be reached at; more than a phone that changes networks needs at once.
const MAX_ADDRESSES: usize = 8;

const STUN_HEADER: usize = 20;
const STUN_MAGIC: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const STUN_BINDING_REQUEST: [u8; 2] = [0x00, 0x01];
const STUN_USERNAME: u16 = 0x0006;

/// The directory of one shard.
#[derive(Debug, Default)]
pub struct Demux {
    by_address: HashMap<SocketAddr, Seat>,
    /// A TCP port is another thing than the UDP port of the same number.
    by_stream: HashMap<SocketAddr, Seat>,
    by_ufrag: HashMap<String, Seat>,
}

/// What is known of a datagram before any peer sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// The address is this peer's.
    Address(Seat),
    /// A connectivity check that names this peer; not proven yet.
    Check(Seat),
    Nobody,
}

/// The other end of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remote {
    pub proto: Protocol,
    pub address: SocketAddr,
}

/// The names one peer is found by.
#[derive(Debug, Default)]
pub struct Names {
    addresses: Vec<Remote>,
    ufrag: String,
}

impl Demux {
    /// A check is found by the name it carries even from a known address: an address can pass from one peer to another.
    pub fn find(&self, source: Remote, datagram: &[u8]) -> Found {
        if let Some(ufrag) = checked_ufrag(datagram) {
            return self.by_ufrag.get(ufrag).map_or(Found::Nobody, |seat| Found::Check(*seat));
        }
        self.seat_at(source).map_or(Found::Nobody, Found::Address)
    }

    /// Whose address it is.
    pub fn seat_at(&self, source: Remote) -> Option<Seat> {
        let map = if source.proto == Protocol::Udp { &self.by_address } else { &self.by_stream };
        map.get(&source.address).copied()
    }

    /// The peer proved that it is at this address.
    pub fn learn(&mut self, source: Remote, seat: Seat, names: &mut Names) {
        if self.map(source.proto).insert(source.address, seat) == Some(seat) {
            return;
        }
        if names.addresses.len() == MAX_ADDRESSES {
            let oldest = names.addresses.remove(0);
            self.unlearn(oldest, seat);
        }
        names.addresses.push(source);
    }

    /// The peer's ICE name is this from now on.
    pub fn rename(&mut self, ufrag: String, seat: Seat, names: &mut Names) {
        if names.ufrag != ufrag {
            self.by_ufrag.remove(&names.ufrag);
            self.by_ufrag.insert(ufrag.clone(), seat);
            names.ufrag = ufrag;
        }
    }

    pub fn forget(&mut self, seat: Seat, names: &Names) {
        self.by_ufrag.remove(&names.ufrag);
        for address in &names.addresses {
            self.unlearn(*address, seat);
        }
    }

    /// Another peer may have the address by now.
    fn unlearn(&mut self, remote: Remote, seat: Seat) {
        if self.seat_at(remote) == Some(seat) {
            self.map(remote.proto).remove(&remote.address);
        }
    }

    fn map(&mut self, proto: Protocol) -> &mut HashMap<SocketAddr, Seat> {
        if proto == Protocol::Udp { &mut self.by_address } else { &mut self.by_stream }
    }
}

/// The receiver's ufrag in a STUN binding request (RFC 8489, 5 and 14.3; RFC 8445, 7.2.2: `receiver:sender`). `None` for anything else.
pub fn checked_ufrag(datagram: &[u8]) -> Option<&str> {
    if datagram.len() < STUN_HEADER || datagram[..2] != STUN_BINDING_REQUEST || datagram[4..8] != STUN_MAGIC {
        return None;
    }
    let mut rest = &datagram[STUN_HEADER..];
    while let [t0, t1, l0, l1, tail @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*l0, *l1]));
        let value = tail.get(..length)?;
        if u16::from_be_bytes([*t0, *t1]) == STUN_USERNAME {
            return std::str::from_utf8(value).ok()?.split(':').next();
        }
        rest = tail.get(length.next_multiple_of(4)..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: Seat = Seat { room: 0, member: 0 };
    const BOB: Seat = Seat { room: 0, member: 1 };

    fn check(username: &str) -> Vec<u8> {
        let mut datagram = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
        datagram.extend([7; 12]);
        datagram.extend([0x80, 0x22, 0, 3, b'a', b'b', b'c', 0]);
        datagram.extend([0, 6, 0, username.len() as u8]);
        datagram.extend(username.as_bytes());
        datagram.resize(datagram.len().next_multiple_of(4), 0);
        let length = (datagram.len() - STUN_HEADER) as u16;
        datagram[2..4].copy_from_slice(&length.to_be_bytes());
        datagram
    }

    fn address(port: u16) -> Remote {
        Remote { proto: Protocol::Udp, address: SocketAddr::from(([127, 0, 0, 1], port)) }
    }

    fn stream(port: u16) -> Remote {
        Remote { proto: Protocol::Tcp, ..address(port) }
    }

    #[test]
    fn a_check_is_found_by_its_name_and_the_rest_by_address() {
        let mut demux = Demux::default();
        let mut alice = Names::default();
        demux.rename("alic".into(), ALICE, &mut alice);
        assert_eq!(demux.find(address(1), &check("alic:xyz")), Found::Check(ALICE));
        assert_eq!(demux.find(address(1), &check("nobody:xyz")), Found::Nobody);
        assert_eq!(demux.find(address(1), &[0x80, 111, 0, 0]), Found::Nobody);
        demux.learn(address(1), ALICE, &mut alice);
        assert_eq!(demux.find(address(1), &[0x80, 111, 0, 0]), Found::Address(ALICE));
        demux.forget(ALICE, &alice);
        assert_eq!(demux.find(address(1), &[0x80, 111, 0, 0]), Found::Nobody);
        assert_eq!(demux.find(address(1), &check("alic:xyz")), Found::Nobody);
    }

    #[test]
    fn a_tcp_port_is_not_the_udp_port_of_its_number() {
        let mut demux = Demux::default();
        let (mut alice, mut bob) = (Names::default(), Names::default());
        demux.learn(address(1), ALICE, &mut alice);
        demux.learn(stream(1), BOB, &mut bob);
        assert_eq!(demux.find(address(1), &[22]), Found::Address(ALICE));
        assert_eq!(demux.find(stream(1), &[22]), Found::Address(BOB));
        demux.forget(BOB, &bob);
        assert_eq!(demux.find(stream(1), &[22]), Found::Nobody);
        assert_eq!(demux.find(address(1), &[22]), Found::Address(ALICE));
    }

    #[test]
    fn an_address_can_pass_to_another_peer() {
        let mut demux = Demux::default();
        let (mut alice, mut bob) = (Names::default(), Names::default());
        demux.learn(address(1), ALICE, &mut alice);
        demux.rename("bob".into(), BOB, &mut bob);
        assert_eq!(demux.find(address(1), &check("bob:x")), Found::Check(BOB));
        demux.learn(address(1), BOB, &mut bob);
        demux.forget(ALICE, &alice);
        assert_eq!(demux.find(address(1), &[22]), Found::Address(BOB), "the leaver takes nothing of its successor's");
    }

    #[test]
    fn a_peer_has_a_bounded_number_of_addresses() {
        let mut demux = Demux::default();
        let mut alice = Names::default();
        for port in 1..=100 {
            demux.learn(address(port), ALICE, &mut alice);
            demux.learn(address(port), ALICE, &mut alice);
        }
        assert_eq!(demux.by_address.len(), MAX_ADDRESSES);
        assert_eq!(demux.find(address(100), &[22]), Found::Address(ALICE));
        assert_eq!(demux.find(address(1), &[22]), Found::Nobody);
    }

    #[test]
    fn an_ice_restart_replaces_the_name() {
        let mut demux = Demux::default();
        let mut alice = Names::default();
        demux.rename("old".into(), ALICE, &mut alice);
        demux.rename("new".into(), ALICE, &mut alice);
        assert_eq!(demux.find(address(1), &check("old:x")), Found::Nobody);
        assert_eq!(demux.find(address(1), &check("new:x")), Found::Check(ALICE));
    }

    #[test]
    fn a_malformed_check_names_nobody() {
        let whole = check("alice:bob");
        assert_eq!(checked_ufrag(&whole), Some("alice"));
        for cut in 0..whole.len() {
            let _ = checked_ufrag(&whole[..cut]);
            let mut longer = whole.clone();
            longer[cut] ^= 0xff;
            let _ = checked_ufrag(&longer);
        }
        assert_eq!(checked_ufrag(&whole[..whole.len() - 4]), None, "the name is cut");
    }
}
