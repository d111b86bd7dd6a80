//! A shard's socket: batches in with GRO, batches out with `sendmmsg` and GSO, and what the platform has where those are missing.

use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};

use super::batch::{self, Sent};
use super::bind::{Addresses, Bound, candidate_of, canonical};
use crate::media::outbound::Outbound;
use anyhow::Context;
use quinn_udp::{BATCH_SIZE, RecvMeta, UdpSockRef, UdpSocketState};
use socket2::{Domain, Protocol, Type};

/// What GRO can merge into one buffer.
const RECEIVE_BUFFER: usize = 65536;

/// Room for the kernel's queues in both directions: 50 ms of a gigabit. Less drops bursts, more hides a shard that cannot keep up.
const KERNEL_BUFFER: usize = 6 * 1024 * 1024;

/// One bound socket.
pub struct Socket {
    socket: UdpSocket,
    state: UdpSocketState,
    /// Bound to every address of the machine: the one a datagram came to says from which the answer leaves.
    wildcard: bool,
    candidates: Vec<SocketAddr>,
    buffers: Vec<Box<[u8]>>,
    batch: batch::Batch,
}

impl Socket {
    /// Binds `port` (0: a free one) for clients that reach this machine at `addresses`.
    pub fn bind(addresses: &Addresses, port: u16) -> anyhow::Result<Self> {
        let Bound { socket, wildcard } = addresses.bind(port, open)?;
        let state = UdpSocketState::new(UdpSockRef::from(&socket)).context("options of the media socket")?;
        let port = socket.local_addr().context("the media port")?.port();
        let dual = socket.local_addr().is_ok_and(|address| address.is_ipv6());
        Ok(Self {
            state,
            wildcard,
            candidates: addresses.candidates(port),
            buffers: (0..BATCH_SIZE).map(|_| vec![0; RECEIVE_BUFFER].into_boxed_slice()).collect(),
            batch: batch::Batch::new(dual),
            socket,
        })
    }

    /// Where clients reach this socket.
    pub fn candidates(&self) -> &[SocketAddr] {
        &self.candidates
    }

    pub fn raw(&self) -> &UdpSocket {
        &self.socket
    }

    /// Hands one batch of waiting datagrams over, each with its source and the candidate it was sent to. True: there may be more.
    pub fn receive(&mut self, mut each: impl FnMut(SocketAddr, SocketAddr, &[u8])) -> io::Result<bool> {
        let mut metas = [RecvMeta::default(); BATCH_SIZE];
        let mut slices: Vec<IoSliceMut<'_>> = self.buffers.iter_mut().map(|buffer| IoSliceMut::new(buffer)).collect();
        let count = match self.state.recv(UdpSockRef::from(&self.socket), &mut slices, &mut metas) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        };
        for (meta, buffer) in metas[..count].iter().zip(&self.buffers) {
            let source = canonical(meta.addr);
            let destination = candidate_of(&self.candidates, source, meta.dst_ip.map(|ip| ip.to_canonical()));
            if self.wildcard
                && let Some(ip) = meta.dst_ip
            {
                self.batch.learn_local(ip.to_canonical());
            }
            let stride = meta.stride.max(1);
            for datagram in buffer[..meta.len].chunks(stride) {
                each(source, destination, datagram);
            }
        }
        Ok(count == BATCH_SIZE)
    }

    /// Sends everything, in order for each destination. What the kernel does not take is dropped and counted.
    pub fn send(&mut self, datagrams: &Outbound) -> Sent {
        self.batch.send(&self.socket, &self.state, datagrams)
    }
}

fn open(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    socket.set_nonblocking(true)?;
    let _ = socket.set_recv_buffer_size(KERNEL_BUFFER);
    let _ = socket.set_send_buffer_size(KERNEL_BUFFER);
    socket.bind(&address.into())?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::outbound::Path;
    use std::net::IpAddr;
    use std::time::Duration;

    fn path(source: SocketAddr, destination: SocketAddr) -> Path {
        Path { proto: str0m::net::Protocol::Udp, source, destination }
    }

    fn datagrams(path: Path, contents: &[&[u8]]) -> Outbound {
        let mut datagrams = Outbound::default();
        contents.iter().for_each(|contents| datagrams.push(path, contents));
        datagrams
    }

    fn addresses(told: &[IpAddr]) -> Addresses {
        Addresses { told: told.to_vec(), bound: None }
    }

    fn loopback() -> Socket {
        Socket::bind(&addresses(&[IpAddr::from([127, 0, 0, 1])]), 0).unwrap()
    }

    /// Everything that has come until `count` datagrams have.
    fn collect(socket: &mut Socket, count: usize) -> Vec<(SocketAddr, Vec<u8>)> {
        let mut got = Vec::new();
        while got.len() < count {
            assert!(super::super::wait::readable(socket.raw(), Duration::from_secs(10)), "only {} came", got.len());
            socket.receive(|source, _, datagram| got.push((source, datagram.to_vec()))).unwrap();
        }
        got
    }

    #[test]
    fn a_batch_arrives_whole_and_in_order_at_each_destination() {
        let (mut a, mut b, mut c) = (loopback(), loopback(), loopback());
        let (from, to_b, to_c) = (a.candidates()[0], b.candidates()[0], c.candidates()[0]);
        // Runs of equal size, a shorter end, a longer one after it, and both destinations in turn.
        let sizes = [1200, 1200, 1200, 700, 1200, 5, 5, 5, 1200];
        let mut datagrams = Outbound::default();
        for (n, size) in sizes.iter().enumerate() {
            datagrams.push(path(from, to_b), &vec![n as u8; *size]);
        }
        for n in 0..200u8 {
            datagrams.push(path(from, to_c), &[n; 1000]);
        }
        let sent = a.send(&datagrams);
        assert_eq!((sent.datagrams, sent.refused, sent.errors), (datagrams.len() as u64, 0, 0));
        let got = collect(&mut b, sizes.len());
        let expected: Vec<_> = sizes.iter().enumerate().map(|(n, size)| (from, vec![n as u8; *size])).collect();
        assert_eq!(got, expected);
        let got = collect(&mut c, 200);
        assert_eq!(got, (0..200u8).map(|n| (from, vec![n; 1000])).collect::<Vec<_>>());
    }

    #[test]
    fn a_socket_for_several_addresses_answers_from_the_one_it_was_asked_at() {
        let addresses = addresses(&[IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2])]);
        let mut server = Socket::bind(&addresses, 0).unwrap();
        let mut client = loopback();
        let (me, second) = (client.candidates()[0], server.candidates()[1]);
        client.send(&datagrams(path(me, second), &[b"ask"]));
        let mut asked = None;
        while asked.is_none() {
            assert!(super::super::wait::readable(server.raw(), Duration::from_secs(10)));
            server.receive(|source, destination, _| asked = Some((source, destination))).unwrap();
        }
        assert_eq!(asked, Some((me, second)));
        server.send(&datagrams(path(second, me), &[b"answer"]));
        assert_eq!(collect(&mut client, 1), [(second, b"answer".to_vec())]);
    }

    #[test]
    fn a_datagram_the_kernel_refuses_takes_no_other_with_it() {
        let (mut a, mut b) = (loopback(), loopback());
        let (from, to) = (a.candidates()[0], b.candidates()[0]);
        let datagrams = datagrams(path(from, to), &[&[1; 10], &[2; 70_000], &[3; 10]]);
        let sent = a.send(&datagrams);
        assert_eq!((sent.datagrams, sent.refused + sent.errors), (2, 1));
        assert_eq!(collect(&mut b, 2), [(from, vec![1; 10]), (from, vec![3; 10])]);
    }

    #[test]
    fn a_taken_port_is_an_error_that_names_it() {
        let taken = loopback();
        let error =
            Socket::bind(&addresses(&[IpAddr::from([127, 0, 0, 1])]), taken.candidates()[0].port()).err().unwrap();
        assert!(format!("{error:#}").contains(&taken.candidates()[0].port().to_string()), "{error:#}");
    }
}
