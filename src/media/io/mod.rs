//! The media plane's shell: sockets, threads, and the handle that control holds.

mod batch;
pub mod udp;
mod wait;
mod worker;

use std::net::SocketAddr;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use anyhow::Context;
use tokio::sync::mpsc::Sender;

use self::udp::Socket;
use self::wait::Bell;
use self::worker::Worker;
use super::Settings;
use super::command::Command;
use super::peer::Identity;
use super::report::Report;
use super::shard::Shard;

/// Commands that may wait for a shard. One that is full is drained within a turn, so who commands waits for milliseconds at most.
const COMMAND_QUEUE: usize = 1024;

/// The running media plane.
#[derive(Debug)]
pub struct Plane {
    shards: Vec<Handle>,
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
    /// Binds `shards` sockets, from `port` on (0: free ones), and starts a thread for each.
    pub fn start(settings: Settings, port: u16, shards: usize, reports: Sender<Report>) -> anyhow::Result<Self> {
        let certificate = Identity::generate_certificate().context("no certificate for media could be made")?;
        let mut plane = Self { shards: Vec::with_capacity(shards) };
        for index in 0..shards.max(1) {
            let port = if port == 0 {
                0
            } else {
                port.checked_add(u16::try_from(index)?).context("no port is left for a shard")?
            };
            let socket = Socket::bind(&settings.addresses, port)?;
            let identity = Identity {
                certificate: certificate.clone(),
                addresses: socket.candidates().to_vec(),
                stats_interval: settings.quality_interval,
            };
            let shard = Shard::new(index, settings.clone(), identity);
            plane.shards.push(Handle::spawn(index, shard, socket, reports.clone())?);
        }
        Ok(plane)
    }

    /// Hands the command to its room's shard.
    pub fn send(&self, command: Command) -> Result<(), Stopped> {
        let shard = &self.shards[(command.room().0 % self.shards.len() as u64) as usize];
        shard.commands.send(command).map_err(|_| Stopped)?;
        shard.bell.ring();
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
    }
}

impl Handle {
    fn spawn(index: usize, shard: Shard, socket: Socket, reports: Sender<Report>) -> anyhow::Result<Self> {
        let (commands, receiver) = sync_channel(COMMAND_QUEUE);
        let (bell, sleeper) = wait::bell().context("a shard's wake-up")?;
        let addresses = socket.candidates().to_vec();
        let worker = Worker { shard, socket, sleeper, commands: receiver, reports };
        let thread = std::thread::Builder::new()
            .name(format!("media-{index}"))
            .spawn(move || worker.run())
            .context("a shard's thread")?;
        Ok(Self { commands, bell, addresses, thread })
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::{Duration, Instant};

    use tokio::sync::mpsc::{Receiver, channel};

    use super::*;
    use crate::base::{PeerId, RoomKey, Source};
    use crate::media::command::Permissions;
    use crate::media::report::Connection;
    use crate::media::sim::Client;

    const LIMIT: Duration = Duration::from_secs(20);

    /// Clients on real sockets, and the test's own word as control.
    struct Bench {
        plane: Plane,
        reports: Receiver<Report>,
        heard: Vec<Report>,
        clients: Vec<(Client, UdpSocket)>,
    }

    impl Bench {
        fn start(shards: usize) -> Self {
            let (sender, reports) = channel(64);
            let plane = Plane::start(Settings::default(), 0, shards, sender).unwrap();
            Self { plane, reports, heard: Vec::new(), clients: Vec::new() }
        }

        fn join(&mut self, room: u64, id: u64) {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.set_nonblocking(true).unwrap();
            let mut client = Client::new(id, socket.local_addr().unwrap(), Instant::now());
            let sdp = client.offer(&[Source::Microphone, Source::Camera], 1, 1);
            let sources = client.sources.clone();
            let (room, peer) = (RoomKey(room), PeerId(id));
            let offer = Command::Offer { room, peer, request: id, sdp, sources, may_receive: Permissions::ALL };
            self.plane.send(offer).unwrap();
            self.clients.push((client, socket));
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
            let mut buffer = [0; 2000];
            for (client, socket) in &mut self.clients {
                let now = Instant::now();
                while let Ok((length, source)) = socket.recv_from(&mut buffer) {
                    for out in client.receive(now, source, &buffer[..length]) {
                        socket.send_to(&out.contents, out.destination).unwrap();
                    }
                }
                if client.due() <= now {
                    for out in client.step(now) {
                        socket.send_to(&out.contents, out.destination).unwrap();
                    }
                }
            }
            let due = self.clients.iter().map(|(client, _)| client.due()).min().unwrap_or_else(Instant::now);
            let pause = due.saturating_duration_since(Instant::now()).min(Duration::from_millis(2));
            wait::readable(&self.clients[0].1, pause);
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
    fn stopping_says_goodbye_to_every_peer() {
        let mut bench = Bench::start(1);
        bench.join(1, 11);
        bench.until(|bench| bench.clients[0].0.connected);
        let (sender, _) = channel(1);
        let idle = Plane::start(Settings::default(), 0, 1, sender).unwrap();
        std::mem::replace(&mut bench.plane, idle).stop();
        bench.until(|bench| bench.clients[0].0.closed && bench.states(11).contains(&Connection::Closed));
    }
}
