//! A shard's TCP connections, as its thread sees them: frames come from a queue, and go into one for each connection.

use std::collections::HashMap;
use std::net::SocketAddr;

use str0m::net::Protocol;
use tokio::sync::mpsc;

use super::batch::Sent;
use super::tcp::{Arrival, StreamEvent};
use crate::media::congestion::Congestion;
use crate::media::demux::Remote;
use crate::media::outbound::Outbound;
use crate::media::peer::Datagram;

/// Frames taken in one turn, so that datagrams get theirs.
const ARRIVALS_A_TURN: usize = 256;

/// The connections of one shard.
#[derive(Debug)]
pub struct Streams {
    arrivals: mpsc::Receiver<Arrival>,
    open: HashMap<SocketAddr, Stream>,
}

#[derive(Debug)]
struct Stream {
    departures: mpsc::Sender<Vec<u8>>,
    congestion: Congestion,
}

impl Streams {
    pub fn new(arrivals: mpsc::Receiver<Arrival>) -> Self {
        Self { arrivals, open: HashMap::new() }
    }

    /// Hands what arrived over. True: there may be more.
    pub fn receive(&mut self, mut each: impl FnMut(Datagram<'_>)) -> bool {
        for _ in 0..ARRIVALS_A_TURN {
            let Ok(Arrival { remote, local, event }) = self.arrivals.try_recv() else { return false };
            let mut take = |contents: &[u8]| {
                each(Datagram { proto: Protocol::Tcp, source: remote, destination: local, contents });
            };
            match event {
                StreamEvent::Opened { departures, check } => {
                    self.open.insert(remote, Stream { departures, congestion: Congestion::default() });
                    take(&check);
                }
                StreamEvent::Frame(contents) => take(&contents),
                StreamEvent::Closed => {
                    self.open.remove(&remote);
                }
            }
        }
        true
    }

    /// Queues what of the turn's datagrams goes over TCP, as far as there is room.
    pub fn send(&mut self, datagrams: &Outbound) -> Sent {
        let mut sent = Sent::default();
        for (path, contents) in datagrams.iter().filter(|(path, _)| path.proto == Protocol::Tcp) {
            self.queue(path.destination, contents, &mut sent);
        }
        sent
    }

    fn queue(&mut self, destination: SocketAddr, contents: &[u8], sent: &mut Sent) {
        let Some(stream) = self.open.get_mut(&destination) else {
            // Its client opens another, or is gone.
            sent.errors += 1;
            return;
        };
        let free = stream.departures.capacity();
        if stream.congestion.takes(contents, free) && stream.departures.try_send(contents.to_vec()).is_ok() {
            sent.datagrams += 1;
            sent.bytes += contents.len() as u64;
        } else {
            sent.refused += 1;
        }
    }

    /// Closes the connections that are no peer's: of strangers whose check proved nothing, and of peers that are gone.
    pub fn close_unknown(&mut self, is_known: impl Fn(Remote) -> bool) {
        self.open.retain(|address, _| is_known(Remote { proto: Protocol::Tcp, address: *address }));
    }
}
