//! Media over TCP on one port: RFC 4571 frames of connections that clients open (RFC 6544), each handed to the shard that its first
//! connectivity check names.
//!
//! A connection is a task of a thread of its own; frames are values on bounded queues between it and its shard's thread.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use socket2::{Domain, Protocol, SockRef, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::bind::{Addresses, candidate_of, canonical};
use super::wait::Bell;
use crate::media::demux::checked_ufrag;
use crate::media::ufrag;

/// The longest frame that is read, in bytes: twice what any WebRTC stack sends. Longer ones end the connection.
const MAX_FRAME: usize = 4096;

/// Time a connection has for the check that says whose it is; a slow phone needs a second.
const NAMED_WITHIN: Duration = Duration::from_secs(10);
/// A connection that carries nothing for so long is closed; ICE checks come every few seconds.
const IDLE_AFTER: Duration = Duration::from_secs(60);
/// Time a batch of frames has to leave; a client that reads nothing for longer is gone.
const WRITE_WITHIN: Duration = Duration::from_secs(20);

/// Connections that have not said whose they are, all together and of one address. More lets a stranger hold more of the server, fewer
/// turns away an office behind one address that dials in at once.
const MAX_STRANGERS: usize = 512;
const MAX_STRANGERS_OF_ONE: usize = 64;
/// Connections for each peer that the server may have: a browser opens one to each address it is told.
const CONNECTIONS_A_PEER: usize = 4;

/// Frames that may wait for a shard; a connection is not read while its frame finds no place.
const ARRIVALS: usize = 1024;
/// Frames that may wait for one connection: half a second of video at 2.5 Mbit/s. More makes a thin link late, fewer cuts frames sooner.
const DEPARTURES: usize = 128;
/// Bytes the kernel keeps beside what is under way; what waits here can still be dropped, what waits there cannot.
const UNSENT: u32 = 32 * 1024;

/// After `accept` failed, for want of file descriptors say.
const BREATHER: Duration = Duration::from_millis(100);
const BACKLOG: i32 = 1024;

/// What a shard hears of connections.
#[derive(Debug)]
pub struct Arrival {
    pub remote: SocketAddr,
    /// The candidate it came to.
    pub local: SocketAddr,
    pub event: StreamEvent,
}

#[derive(Debug)]
pub enum StreamEvent {
    /// With its first check; it lasts as long as the queue's other end, and is closed when this one is dropped.
    Opened {
        departures: mpsc::Sender<Vec<u8>>,
        check: Vec<u8>,
    },
    Frame(Vec<u8>),
    Closed,
}

/// A shard's end.
#[derive(Debug)]
pub struct Entrance {
    arrivals: mpsc::Sender<Arrival>,
    bell: Bell,
}

/// The port.
#[derive(Debug)]
pub struct Port {
    listener: std::net::TcpListener,
    candidates: Vec<SocketAddr>,
}

/// The thread that serves the port; it ends with its value.
#[derive(Debug)]
pub struct Server {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

/// What the connections of a port share.
struct Hall {
    candidates: Vec<SocketAddr>,
    entrances: Vec<Entrance>,
    guests: Arc<Mutex<Guests>>,
}

/// How many are here.
#[derive(Debug, Default)]
struct Guests {
    connections: usize,
    strangers: usize,
    strangers_of: HashMap<IpAddr, usize>,
}

/// A place among the connections, and while it has not said whose it is, among the strangers.
struct Pass {
    guests: Arc<Mutex<Guests>>,
    stranger: Option<IpAddr>,
}

pub fn entrance(bell: Bell) -> (Entrance, mpsc::Receiver<Arrival>) {
    let (arrivals, receiver) = mpsc::channel(ARRIVALS);
    (Entrance { arrivals, bell }, receiver)
}

impl Port {
    pub fn bind(addresses: &Addresses, port: u16) -> anyhow::Result<Self> {
        let listener = addresses.bind(port, open).context("media over TCP")?.socket;
        let port = listener.local_addr().context("the media port over TCP")?.port();
        Ok(Self { listener, candidates: addresses.candidates(port) })
    }

    /// Where clients reach it.
    pub fn candidates(&self) -> &[SocketAddr] {
        &self.candidates
    }

    /// `peers`: how many the shards serve together.
    pub fn serve(self, entrances: Vec<Entrance>, peers: usize) -> anyhow::Result<Server> {
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("media over TCP")?;
        let hall = Arc::new(Hall { candidates: self.candidates, entrances, guests: Default::default() });
        let listener = self.listener;
        let serve = async move {
            let listener = TcpListener::from_std(listener).expect("a bound listener that does not block");
            tokio::select! {
                () = accept(&listener, &hall, peers.saturating_mul(CONNECTIONS_A_PEER)) => {}
                _ = stopped => {}
            }
        };
        let thread = std::thread::Builder::new().name("media-tcp".into()).spawn(move || runtime.block_on(serve));
        Ok(Server { stop, thread: thread.context("the thread of media over TCP")? })
    }
}

impl Server {
    /// Closes every connection.
    pub fn stop(self) {
        drop(self.stop);
        if self.thread.join().is_err() {
            tracing::error!("the thread of media over TCP had failed");
        }
    }
}

fn open(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    // A restarted server takes its port back while old connections linger.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

async fn accept(listener: &TcpListener, hall: &Arc<Hall>, most: usize) {
    loop {
        let (stream, remote) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "a media connection could not be accepted");
                tokio::time::sleep(BREATHER).await;
                continue;
            }
        };
        let remote = canonical(remote);
        let Some(pass) = Pass::admit(&hall.guests, remote.ip(), most) else {
            tracing::debug!("a media connection too many");
            continue;
        };
        let hall = hall.clone();
        tokio::spawn(async move {
            if let Err(error) = hall.serve(stream, remote, pass).await {
                tracing::debug!(%error, "a media connection ended");
            }
        });
    }
}

impl Hall {
    async fn serve(&self, stream: TcpStream, remote: SocketAddr, mut pass: Pass) -> io::Result<()> {
        stream.set_nodelay(true)?;
        hold_little(&stream);
        let ip = stream.local_addr()?.ip().to_canonical();
        let local = candidate_of(&self.candidates, remote, Some(ip));
        let (read, write) = stream.into_split();
        let mut read = BufReader::new(read);
        let check = timeout(NAMED_WITHIN, frame(&mut read)).await??;
        let shard = checked_ufrag(&check).and_then(ufrag::shard_of);
        let Some(entrance) = shard.and_then(|shard| self.entrances.get(shard)) else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "its first frame is no check of a peer of this server",
            ));
        };
        pass.named();
        let (departures, waiting) = mpsc::channel(DEPARTURES);
        let say = |event| entrance.say(Arrival { remote, local, event });
        say(StreamEvent::Opened { departures, check }).await?;
        let ended = tokio::select! {
            ended = async {
                loop {
                    let contents = timeout(IDLE_AFTER, frame(&mut read)).await??;
                    say(StreamEvent::Frame(contents)).await?;
                }
            } => ended,
            ended = depart(write, waiting) => ended,
        };
        say(StreamEvent::Closed).await?;
        ended
    }
}

impl Entrance {
    async fn say(&self, arrival: Arrival) -> io::Result<()> {
        let gone = |_| io::Error::new(io::ErrorKind::NotConnected, "the shard has stopped");
        self.arrivals.send(arrival).await.map_err(gone)?;
        self.bell.ring();
        Ok(())
    }
}

/// The next frame that is not empty (RFC 4571, 2).
async fn frame(read: &mut BufReader<OwnedReadHalf>) -> io::Result<Vec<u8>> {
    loop {
        let length = usize::from(read.read_u16().await?);
        if length > MAX_FRAME {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a frame is too long"));
        }
        let mut contents = vec![0; length];
        read.read_exact(&mut contents).await?;
        if length > 0 {
            return Ok(contents);
        }
    }
}

/// Writes what waits, whole frames in their order, until nobody can add to it any more.
async fn depart(mut write: OwnedWriteHalf, mut waiting: mpsc::Receiver<Vec<u8>>) -> io::Result<()> {
    let mut frames = Vec::new();
    let mut bytes = Vec::new();
    while waiting.recv_many(&mut frames, DEPARTURES).await > 0 {
        bytes.clear();
        for frame in frames.drain(..) {
            let length = u16::try_from(frame.len()).expect("a datagram's length fits 16 bits");
            bytes.extend(length.to_be_bytes());
            bytes.extend(frame);
        }
        timeout(WRITE_WITHIN, write.write_all(&bytes)).await??;
    }
    Ok(())
}

/// Lets the kernel hold little beside what is under way. Where it cannot, media is later on a thin link.
fn hold_little(stream: &TcpStream) {
    #[cfg(any(target_os = "linux", target_vendor = "apple"))]
    let _ = SockRef::from(stream).set_tcp_notsent_lowat(UNSENT);
    #[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
    let _ = SockRef::from(stream).set_send_buffer_size(UNSENT as usize);
}

impl Pass {
    fn admit(guests: &Arc<Mutex<Guests>>, ip: IpAddr, most: usize) -> Option<Self> {
        let mut here = guests.lock().expect("nobody panics with the count in hand");
        let of_one = here.strangers_of.get(&ip).copied().unwrap_or_default();
        if here.connections >= most || here.strangers >= MAX_STRANGERS || of_one >= MAX_STRANGERS_OF_ONE {
            return None;
        }
        here.connections += 1;
        here.strangers += 1;
        here.strangers_of.insert(ip, of_one + 1);
        Some(Self { guests: guests.clone(), stranger: Some(ip) })
    }

    /// It said whose it is.
    fn named(&mut self) {
        let Some(ip) = self.stranger.take() else { return };
        let mut here = self.guests.lock().expect("nobody panics with the count in hand");
        here.strangers -= 1;
        if let Some(count) = here.strangers_of.get_mut(&ip) {
            *count -= 1;
            if *count == 0 {
                here.strangers_of.remove(&ip);
            }
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.named();
        self.guests.lock().expect("nobody panics with the count in hand").connections -= 1;
    }
}
