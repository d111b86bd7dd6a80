//! The media plane's shell: sockets, threads, and the handle that control holds.

pub mod batch;
pub mod bind;
pub mod interface;
mod link;
mod streams;
mod tcp;
pub mod udp;
mod wait;
mod worker;

use std::net::SocketAddr;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Instant, SystemTime};

use anyhow::Context;
use tokio::sync::mpsc::Sender;

use self::bind::Addresses;
use self::link::Links;
use self::streams::Streams;
use self::tcp::{Port, Server};
use self::udp::Socket;
use self::wait::{Bell, Sleeper};
use self::worker::Worker;
use super::Settings;
use super::command::Command;
use super::peer::Identity;
use super::placement::{Place, Placement};
use super::report::Report;
use super::shard::Shard;
use super::ufrag::MAX_SHARDS;
use super::wallclock::WallClock;

/// Commands that may wait for a shard. One that is full is drained within a turn, so who commands waits for milliseconds at most.
const COMMAND_QUEUE: usize = 1024;

/// The running media plane.
#[derive(Debug)]
pub struct Plane {
    shards: Vec<Handle>,
    placement: Register,
    stream_addresses: Vec<SocketAddr>,
    streams: Server,
}

/// The ports of the media plane; 0: free ones.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ports {
    /// Of the first shard; shard n has `udp + n`.
    pub udp: u16,
    pub tcp: u16,
}

/// Who is on which shard. Touched when a peer comes or goes, for each command, and once a second by each shard; never for a packet.
#[derive(Debug, Clone)]
pub struct Register(Arc<Mutex<Placement>>);

impl Register {
    pub fn lock(&self) -> MutexGuard<'_, Placement> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One shard's thread, from outside.
#[derive(Debug)]
struct Handle {
    commands: SyncSender<Command>,
    bell: Bell,
    addresses: Vec<SocketAddr>,
    thread: JoinHandle<()>,
}

/// The shard's thread has ended: the media plane was stopped, or is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the media plane does not run")]
pub struct Stopped;

impl Plane {
    /// Binds the ports and starts a thread for each of `shards`.
    pub fn start(settings: Settings, ports: Ports, shards: usize, reports: Sender<Report>) -> anyhow::Result<Self> {
        let certificate = Identity::generate_certificate().context("no certificate for media could be made")?;
        let shards = shards.clamp(1, MAX_SHARDS);
        let placement = Register(Arc::new(Mutex::new(Placement::new(shards, settings.max_peers, settings.spread))));
        let addresses = Addresses { told: settings.addresses.clone(), bound: settings.bind };
        let port = Port::bind(&addresses, ports.tcp)?;
        let stream_addresses = port.candidates().to_vec();
        let mut handles = Vec::with_capacity(shards);
        let mut entrances = Vec::with_capacity(shards);
        let (bells, sleepers) = bells(shards).context("a shard's wake-up")?;
        let links = Links::between(&bells);
        let wall = WallClock::new(Instant::now(), SystemTime::now());
        for (index, ((bell, sleeper), links)) in bells.into_iter().zip(sleepers).zip(links).enumerate() {
            let socket = Socket::bind(&addresses, shard_port(ports.udp, index)?)?;
            let identity = Identity {
                certificate: certificate.clone(),
                shard: index,
                addresses: socket.candidates().to_vec(),
                stream_addresses: stream_addresses.clone(),
                stats_interval: settings.quality_interval,
                wall,
            };
            let shard = Shard::new(index, settings.clone(), identity);
            let (entrance, arrivals) = tcp::entrance(bell.clone());
            entrances.push(entrance);
            let (commands, receiver) = sync_channel(COMMAND_QUEUE);
            let addresses = socket.candidates().to_vec();
            let worker = Worker {
                shard,
                socket,
                streams: Streams::new(arrivals),
                sleeper,
                commands: receiver,
                reports: reports.clone(),
                links,
                placement: placement.clone(),
            };
            handles.push(Handle { commands, bell, addresses, thread: worker.spawn(index)? });
        }
        let streams = port.serve(entrances, settings.max_peers.saturating_mul(shards))?;
        Ok(Self { shards: handles, placement, stream_addresses, streams })
    }

    /// Hands the command to its peer's shard; who is offered for the first time gets one.
    pub fn send(&self, command: Command) -> Result<(), Stopped> {
        let (room, Some(peer)) = (command.room(), command.peer()) else { return Ok(()) };
        let Place { shard, span } = match command {
            Command::Offer { .. } => self.placement.lock().place(room, peer),
            _ => match self.placement.lock().shard_of(peer) {
                Some(shard) => Place { shard, span: Vec::new() },
                // Its connection ended by itself in the meantime.
                None => return Ok(()),
            },
        };
        let handle = &self.shards[shard];
        if !span.is_empty() {
            handle.commands.send(Command::Span { room, shards: span }).map_err(|_| Stopped)?;
        }
        handle.commands.send(command).map_err(|_| Stopped)?;
        handle.bell.ring();
        Ok(())
    }

    /// How many shards run.
    pub fn shards(&self) -> usize {
        self.shards.len()
    }

    /// Where clients reach the shards.
    pub fn udp_addresses(&self) -> Vec<SocketAddr> {
        self.shards.iter().flat_map(|shard| shard.addresses.iter().copied()).collect()
    }

    /// Where they reach all of them over TCP.
    pub fn tcp_addresses(&self) -> &[SocketAddr] {
        &self.stream_addresses
    }

    /// Closes every peer's connection in order and ends the threads. What was commanded before is done.
    pub fn stop(self) {
        let threads: Vec<JoinHandle<()>> = self
            .shards
            .into_iter()
            .map(|Handle { commands, bell, thread, .. }| {
                drop(commands);
                bell.ring();
                thread
            })
            .collect();
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a shard's thread had failed");
            }
        }
        self.streams.stop();
    }
}

fn bells(count: usize) -> std::io::Result<(Vec<Bell>, Vec<Sleeper>)> {
    let bells: std::io::Result<Vec<(Bell, Sleeper)>> = (0..count).map(|_| wait::bell()).collect();
    Ok(bells?.into_iter().unzip())
}

fn shard_port(first: u16, index: usize) -> anyhow::Result<u16> {
    if first == 0 {
        return Ok(0);
    }
    first.checked_add(u16::try_from(index)?).context("no port is left for a shard")
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpStream, UdpSocket};
    use std::time::{Duration, Instant};

    use str0m::net::Transmit;
    use tokio::sync::mpsc::{Receiver, channel};

    use super::*;
    use crate::base::{PeerId, RoomKey, Source};
    use crate::media::Spread;
    use crate::media::command::Permissions;
    use crate::media::report::Connection;
    use crate::media::sim::Client;

    const LIMIT: Duration = Duration::from_secs(20);

    /// Clients on real sockets, and the test's own word as control.
    struct Bench {
        plane: Plane,
        reports: Receiver<Report>,
        heard: Vec<Report>,
        clients: Vec<(Client, Wire)>,
    }

    /// A client's socket.
    enum Wire {
        Udp(UdpSocket),
        /// With what was read and is no whole frame yet.
        Tcp(TcpStream, Vec<u8>),
    }

    impl Wire {
        fn udp() -> Self {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.set_nonblocking(true).unwrap();
            Self::Udp(socket)
        }

        fn tcp(plane: &Plane) -> Self {
            let stream = TcpStream::connect(plane.tcp_addresses()[0]).unwrap();
            stream.set_nonblocking(true).unwrap();
            Self::Tcp(stream, Vec::new())
        }

        fn address(&self) -> SocketAddr {
            match self {
                Wire::Udp(socket) => socket.local_addr().unwrap(),
                Wire::Tcp(stream, _) => stream.local_addr().unwrap(),
            }
        }

        fn send(&mut self, out: Vec<Transmit>) {
            for datagram in out {
                match self {
                    Wire::Udp(socket) => drop(socket.send_to(&datagram.contents, datagram.destination).unwrap()),
                    Wire::Tcp(stream, _) => {
                        let frame = [&(datagram.contents.len() as u16).to_be_bytes()[..], &datagram.contents].concat();
                        // What a test sends fits the kernel's buffers; a server that closed is seen by reading.
                        let _ = stream.write_all(&frame);
                    }
                }
            }
        }

        fn receive(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
            let mut buffer = [0; 2000];
            match self {
                Wire::Udp(socket) => {
                    let (length, source) = socket.recv_from(&mut buffer).ok()?;
                    Some((source, buffer[..length].to_vec()))
                }
                Wire::Tcp(stream, read) => {
                    while let Ok(length @ 1..) = stream.read(&mut buffer) {
                        read.extend(&buffer[..length]);
                    }
                    let length = 2 + usize::from(u16::from_be_bytes(*read.first_chunk()?));
                    let frame = (read.len() >= length).then(|| read.drain(..length).skip(2).collect())?;
                    Some((stream.peer_addr().ok()?, frame))
                }
            }
        }
    }

    impl Bench {
        fn start(shards: usize) -> Self {
            Self::start_with(Settings::default(), shards)
        }

        fn start_with(settings: Settings, shards: usize) -> Self {
            let (sender, reports) = channel(64);
            let plane = Plane::start(settings, Ports::default(), shards, sender).unwrap();
            Self { plane, reports, heard: Vec::new(), clients: Vec::new() }
        }

        fn join(&mut self, room: u64, id: u64) {
            self.join_by(room, id, Wire::udp());
        }

        fn join_by(&mut self, room: u64, id: u64, wire: Wire) {
            let now = Instant::now();
            let mut client = Client::new(id, wire.address(), now);
            if let Wire::Tcp(..) = wire {
                client = client.over_tcp(now);
            }
            let sdp = client.offer(&[Source::Microphone, Source::Camera], 1, 1);
            let sources = client.sources.clone();
            let (room, peer) = (RoomKey(room), PeerId(id));
            let offer = Command::Offer { room, peer, request: id, sdp, sources, may_receive: Permissions::ALL };
            self.plane.send(offer).unwrap();
            self.clients.push((client, wire));
            let mut answer = None;
            self.until(|bench| {
                answer = bench.heard.iter().find_map(|report| match report {
                    Report::Answered { request, result, .. } if *request == id => Some(result.clone().unwrap()),
                    _ => None,
                });
                answer.is_some()
            });
            let (client, _) = self.clients.last_mut().unwrap();
            client.answered(&answer.unwrap());
        }

        /// Serves clients and reports until it holds.
        fn until(&mut self, mut holds: impl FnMut(&mut Self) -> bool) {
            let end = Instant::now() + LIMIT;
            while !holds(self) {
                assert!(Instant::now() < end, "it did not come to hold");
                self.turn();
            }
        }

        fn turn(&mut self) {
            while let Ok(report) = self.reports.try_recv() {
                if let Report::Slots { peer, version, .. } = &report {
                    let room = RoomKey(peer.0 / 10);
                    self.plane.send(Command::SlotsTold { room, peer: *peer, version: *version }).unwrap();
                }
                self.heard.push(report);
            }
            for (client, wire) in &mut self.clients {
                let now = Instant::now();
                while let Some((source, contents)) = wire.receive() {
                    wire.send(client.receive(now, source, &contents));
                }
                if client.due() <= now {
                    wire.send(client.step(now));
                }
            }
            let due = self.clients.iter().map(|(client, _)| client.due()).min().unwrap_or_else(Instant::now);
            let pause = due.saturating_duration_since(Instant::now()).min(Duration::from_millis(2));
            match &self.clients[0].1 {
                Wire::Udp(socket) => wait::readable(socket, pause),
                Wire::Tcp(stream, _) => wait::readable(stream, pause),
            };
        }

        /// Whether the server has closed the client's TCP connection.
        fn is_shut(&self, index: usize) -> bool {
            let Wire::Tcp(stream, _) = &self.clients[index].1 else { panic!("it has no TCP connection") };
            matches!(stream.peek(&mut [0]), Ok(0))
        }

        fn states(&self, id: u64) -> Vec<Connection> {
            let states = self.heard.iter().filter_map(|report| match report {
                Report::Connection { peer, state } if peer.0 == id => Some(*state),
                _ => None,
            });
            states.collect()
        }
    }

    #[test]
    fn media_flows_between_real_sockets_in_each_room_on_its_own_shard() {
        let mut bench = Bench::start(2);
        assert_eq!(bench.plane.udp_addresses().len(), 2);
        for (room, id) in [(1, 11), (1, 12), (2, 21), (2, 22)] {
            bench.join(room, id);
        }
        bench.until(|bench| bench.clients.iter().all(|(client, _)| client.connected));
        for (client, _) in &mut bench.clients {
            client.send(Source::Microphone, Instant::now());
            client.send(Source::Camera, Instant::now());
        }
        for (index, other) in [(0, 12), (1, 11), (2, 22), (3, 21)] {
            bench.until(|bench| {
                let client = &bench.clients[index].0;
                client.got(other, Source::Microphone).len() > 20 && client.got(other, Source::Camera).len() > 20
            });
            let client = &bench.clients[index].0;
            assert!(client.received.iter().all(|packet| packet.stamp().publisher == other as u32), "rooms do not mix");
        }
        bench.until(|bench| {
            bench.heard.iter().any(|report| matches!(report, Report::Snapshot(s) if s.rtp_forwarded > 0))
        });
        bench.plane.send(Command::Leave { room: RoomKey(1), peer: PeerId(11) }).unwrap();
        bench.until(|bench| bench.states(11).contains(&Connection::Closed) && bench.clients[0].0.closed);
        assert_eq!(bench.states(12), [Connection::Connected]);
    }

    #[test]
    fn a_call_on_two_shards_flows_between_real_sockets() {
        let spread = Spread { members: 1, ..Spread::default() };
        let mut bench = Bench::start_with(Settings { spread, ..Settings::default() }, 2);
        for id in [11, 12] {
            bench.join(1, id);
        }
        bench.until(|bench| bench.clients.iter().all(|(client, _)| client.connected));
        for (client, _) in &mut bench.clients {
            client.send(Source::Microphone, Instant::now());
            client.send(Source::Camera, Instant::now());
        }
        for (index, other) in [(0, 12), (1, 11)] {
            bench.until(|bench| {
                let client = &bench.clients[index].0;
                client.got(other, Source::Microphone).len() > 20 && client.got(other, Source::Camera).len() > 20
            });
        }
        bench.until(|bench| {
            let on = |shard| {
                bench
                    .heard
                    .iter()
                    .any(|report| matches!(report, Report::Snapshot(s) if s.shard == shard && s.peers == 1))
            };
            on(0) && on(1)
        });
        bench.plane.send(Command::Leave { room: RoomKey(1), peer: PeerId(11) }).unwrap();
        bench.until(|bench| {
            let told = bench.heard.iter().rev().find_map(|report| match report {
                Report::Slots { peer, slots, .. } if peer.0 == 12 => Some(slots),
                _ => None,
            });
            let empty = told.is_some_and(|slots| slots.iter().all(|slot| slot.publisher.is_none()));
            empty && bench.states(11).contains(&Connection::Closed)
        });
        assert_eq!(bench.states(12), [Connection::Connected]);
        let left = Instant::now() + LIMIT;
        while bench.plane.placement.lock().shard_of(PeerId(11)).is_some() {
            assert!(Instant::now() < left, "who left keeps its place");
            bench.turn();
        }
    }

    #[test]
    fn media_flows_over_tcp_to_and_from_whichever_shard_has_the_peer() {
        let mut bench = Bench::start(2);
        for (room, id) in [(1, 11), (2, 21)] {
            let wire = Wire::tcp(&bench.plane);
            bench.join_by(room, id, wire);
            bench.join(room, id + 1);
        }
        bench.until(|bench| bench.clients.iter().all(|(client, _)| client.connected));
        for (client, _) in &mut bench.clients {
            client.send(Source::Microphone, Instant::now());
            client.send(Source::Camera, Instant::now());
        }
        for (index, other) in [(0, 12), (1, 11), (2, 22), (3, 21)] {
            bench.until(|bench| {
                let client = &bench.clients[index].0;
                client.got(other, Source::Microphone).len() > 20 && client.got(other, Source::Camera).len() > 20
            });
        }
        bench.plane.send(Command::Leave { room: RoomKey(1), peer: PeerId(11) }).unwrap();
        bench.until(|bench| bench.clients[0].0.closed);
        bench.until(|bench| bench.is_shut(0));
        assert!(!bench.is_shut(2), "the other room's connection stays");
    }

    /// A check that names a peer of this server, as a stranger would write it.
    fn forged_check(ufrag: &str) -> Vec<u8> {
        let name = format!("{ufrag}:me");
        let mut check = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
        check.extend([7; 12]);
        check.extend([0, 6, 0, name.len() as u8]);
        check.extend(name.as_bytes());
        check.resize(check.len().next_multiple_of(4), 0);
        let length = (check.len() - 20) as u16;
        check[2..4].copy_from_slice(&length.to_be_bytes());
        [&(check.len() as u16).to_be_bytes()[..], &check].concat()
    }

    #[test]
    fn a_tcp_connection_that_proves_nothing_is_closed() {
        let mut bench = Bench::start(1);
        bench.join(1, 11);
        bench.until(|bench| bench.clients[0].0.connected);
        let too_long = [0xff_u8; 2].to_vec();
        let no_check = [&[0_u8, 4][..], b"junk"].concat();
        for said in [no_check, too_long, forged_check("nobody"), forged_check("000/nobody"), forged_check("fff/nobody")]
        {
            let mut stranger = TcpStream::connect(bench.plane.tcp_addresses()[0]).unwrap();
            stranger.set_read_timeout(Some(LIMIT)).unwrap();
            stranger.write_all(&said).unwrap();
            assert!(matches!(stranger.read(&mut [0; 100]), Ok(0) | Err(_)), "nothing is said to a stranger");
        }
    }

    #[test]
    fn strangers_of_one_address_are_few() {
        let bench = Bench::start(1);
        let address = bench.plane.tcp_addresses()[0];
        let strangers: Vec<TcpStream> = (0..70).map(|_| TcpStream::connect(address).unwrap()).collect();
        let last = strangers.last().unwrap();
        last.set_read_timeout(Some(LIMIT)).unwrap();
        assert!(matches!({ last }.read(&mut [0; 1]), Ok(0)), "it is turned away at once");
    }

    #[test]
    fn stopping_says_goodbye_to_every_peer() {
        let mut bench = Bench::start(1);
        bench.join(1, 11);
        bench.until(|bench| bench.clients[0].0.connected);
        let (sender, _) = channel(1);
        let idle = Plane::start(Settings::default(), Ports::default(), 1, sender).unwrap();
        std::mem::replace(&mut bench.plane, idle).stop();
        bench.until(|bench| bench.clients[0].0.closed && bench.states(11).contains(&Connection::Closed));
    }
}
