//! The thread that has all connections: one socket for each client, one loop for all.

use std::collections::{BTreeMap, HashMap};
use std::io::IoSliceMut;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use anyhow::Context;
use quinn_udp::{BATCH_SIZE, RecvMeta, UdpSockRef, UdpSocketState};
use tokio::sync::oneshot;

use crate::load::client::{Client, Clock, Setup, SourceLine};
use crate::load::tally::{Histogram, Tally};
use crate::load::{Plan, Role};
use crate::media::io::batch::Batch;
use crate::media::outbound::Outbound;

/// What GRO can merge into one buffer.
const RECEIVE_BUFFER: usize = 65_536;
/// Room in each socket for a key frame or two.
const KERNEL_BUFFER: usize = 1 << 20;
/// The loop looks at its orders so often at least.
const LONGEST_SLEEP: Duration = Duration::from_millis(5);
/// A client that waits for nothing is looked at again after this.
const SHORTEST_SLEEP: Duration = Duration::from_micros(200);

/// What signalling and the run ask of the thread.
pub enum Order {
    /// Makes a client; replies with its offer.
    Join {
        role: Role,
        joined_at: Instant,
        offer: oneshot::Sender<anyhow::Result<(String, Vec<SourceLine>)>>,
    },
    Answer {
        client: usize,
        sdp: String,
        taken: oneshot::Sender<Result<(), String>>,
    },
    Leave {
        client: usize,
    },
    /// Counts from here on.
    Restart,
    Look {
        look: oneshot::Sender<Look>,
    },
}

/// What is going on.
#[derive(Debug, Clone, Default)]
pub struct Look {
    pub connected: usize,
    pub tally: Tally,
    pub join: Histogram,
    pub first_media: Histogram,
}

/// All connections.
pub struct Wire {
    plan: Plan,
    /// From which the clients send.
    from: IpAddr,
    epoch: Instant,
    orders: Receiver<Order>,
    seats: BTreeMap<usize, Seat>,
    /// Of those who left.
    gone: Look,
    buffers: Vec<Box<[u8]>>,
    out: Outbound,
    polled: Vec<libc::pollfd>,
    by_fd: HashMap<i32, usize>,
}

struct Seat {
    client: Client,
    socket: UdpSocket,
    state: UdpSocketState,
    batch: Batch,
}

impl Wire {
    pub fn new(plan: Plan, from: IpAddr, epoch: Instant, orders: Receiver<Order>) -> Self {
        Self {
            plan,
            from,
            epoch,
            orders,
            seats: BTreeMap::new(),
            gone: Look::default(),
            buffers: (0..BATCH_SIZE).map(|_| vec![0; RECEIVE_BUFFER].into_boxed_slice()).collect(),
            out: Outbound::default(),
            polled: Vec::new(),
            by_fd: HashMap::new(),
        }
    }

    /// Until nobody can order anything any more.
    pub fn run(mut self) {
        while self.take_orders() {
            self.sleep();
            self.receive_all();
            let now = Instant::now();
            let due: Vec<usize> =
                self.seats.iter().filter(|(_, seat)| seat.client.deadline() <= now).map(|(id, _)| *id).collect();
            for id in due {
                self.with(id, |client, clock, out| client.run(clock, out));
            }
        }
        let all: Vec<usize> = self.seats.keys().copied().collect();
        for id in all {
            self.leave(id);
        }
    }

    fn take_orders(&mut self) -> bool {
        loop {
            match self.orders.try_recv() {
                Ok(order) => self.take(order),
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn take(&mut self, order: Order) {
        // Who asked may have given up: then nobody hears.
        match order {
            Order::Join { role, joined_at, offer } => {
                let _ = offer.send(self.join(role, joined_at));
            }
            Order::Answer { client, sdp, taken } => {
                let answered = self.seats.get_mut(&client).map(|seat| seat.client.answered(&sdp));
                let _ = taken.send(answered.unwrap_or_else(|| Err("the client is gone".into())));
                self.with(client, |client, clock, out| client.run(clock, out));
            }
            Order::Leave { client } => self.leave(client),
            Order::Restart => {
                self.gone = Look { tally: Tally::default(), ..self.gone.clone() };
                self.seats.values_mut().for_each(|seat| seat.client.restart());
            }
            Order::Look { look } => {
                let _ = look.send(self.look());
            }
        }
    }

    fn join(&mut self, role: Role, joined_at: Instant) -> anyhow::Result<(String, Vec<SourceLine>)> {
        self.leave(role.client);
        let socket = socket2::Socket::new(
            socket2::Domain::for_address(SocketAddr::new(self.from, 0)),
            socket2::Type::DGRAM,
            None,
        )?;
        socket.set_nonblocking(true)?;
        // The system may give less; then bursts are lost, and counted.
        let _ = socket.set_recv_buffer_size(KERNEL_BUFFER);
        socket.bind(&SocketAddr::new(self.from, 0).into()).context("a port for a client")?;
        let socket: UdpSocket = socket.into();
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        let address = socket.local_addr()?;
        let setup = Setup { role, plan: &self.plan, address, now: Instant::now(), joined_at };
        let (client, offer, lines) = Client::new(setup);
        self.by_fd.insert(socket.as_raw_fd(), role.client);
        self.polled.push(libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLIN, revents: 0 });
        self.seats.insert(role.client, Seat { client, socket, state, batch: Batch::new(address.is_ipv6()) });
        Ok((offer, lines))
    }

    fn leave(&mut self, id: usize) {
        self.with(id, |client, clock, out| client.close(clock, out));
        let Some(seat) = self.seats.remove(&id) else { return };
        let fd = seat.socket.as_raw_fd();
        self.by_fd.remove(&fd);
        self.polled.retain(|polled| polled.fd != fd);
        note(&mut self.gone, &seat.client);
    }

    fn look(&self) -> Look {
        let mut look = Look { connected: 0, ..self.gone.clone() };
        for seat in self.seats.values() {
            note(&mut look, &seat.client);
            look.connected += usize::from(seat.client.is_connected());
        }
        look
    }

    fn sleep(&mut self) {
        let now = Instant::now();
        let next = self.seats.values().filter(|seat| !seat.client.is_closed()).map(|seat| seat.client.deadline()).min();
        let span =
            next.map_or(LONGEST_SLEEP, |at| at.saturating_duration_since(now)).clamp(SHORTEST_SLEEP, LONGEST_SLEEP);
        let limit = libc::timespec { tv_sec: 0, tv_nsec: span.subsec_nanos() as _ };
        // SAFETY: the array and the time outlive the call; no signal mask is given. An interrupted sleep is a short one.
        unsafe { libc::ppoll(self.polled.as_mut_ptr(), self.polled.len() as _, &raw const limit, std::ptr::null()) };
    }

    fn receive_all(&mut self) {
        for index in 0..self.polled.len() {
            if std::mem::take(&mut self.polled[index].revents) & libc::POLLIN == 0 {
                continue;
            }
            if let Some(id) = self.by_fd.get(&self.polled[index].fd).copied() {
                self.receive(id);
            }
        }
    }

    fn receive(&mut self, id: usize) {
        let Some(seat) = self.seats.get_mut(&id) else { return };
        let mut metas = [RecvMeta::default(); BATCH_SIZE];
        let mut slices: Vec<IoSliceMut<'_>> = self.buffers.iter_mut().map(|buffer| IoSliceMut::new(buffer)).collect();
        // An error is one of the network's: what it stands for is counted as lost.
        let Ok(count) = seat.state.recv(UdpSockRef::from(&seat.socket), &mut slices, &mut metas) else { return };
        let clock = Clock { epoch: self.epoch, now: Instant::now() };
        for (meta, buffer) in metas[..count].iter().zip(&self.buffers) {
            for datagram in buffer[..meta.len].chunks(meta.stride.max(1)) {
                seat.client.receive(meta.addr, datagram, clock, &mut self.out);
            }
        }
        seat.flush(&mut self.out);
    }

    fn with(&mut self, id: usize, step: impl FnOnce(&mut Client, Clock, &mut Outbound)) {
        let Some(seat) = self.seats.get_mut(&id) else { return };
        step(&mut seat.client, Clock { epoch: self.epoch, now: Instant::now() }, &mut self.out);
        seat.flush(&mut self.out);
    }
}

impl Seat {
    fn flush(&mut self, out: &mut Outbound) {
        if !out.is_empty() {
            self.batch.send(&self.socket, &self.state, out);
            out.clear();
        }
    }
}

fn note(look: &mut Look, client: &Client) {
    look.tally.merge(&client.tally());
    if let Some(after) = client.connected_after() {
        look.join.note(after);
    }
    if let Some(after) = client.first_media_after() {
        look.first_media.note(after);
    }
}
