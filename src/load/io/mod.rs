//! Runs a plan against a server: signalling here, all connections on one thread.

pub mod door;
pub mod process;
mod wire;

use std::collections::HashMap;
use std::net::{IpAddr, ToSocketAddrs, UdpSocket};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use url::Url;

use self::door::{Door, Guest, Session};
use self::wire::{Look, Order, Wire};
use super::report::{Counts, ServerUse};
use super::{Plan, Report, Role};
use crate::base::{Timestamp, UserId};
use crate::control::io::Clock;
use crate::ticket::{Ticket, TicketKey};

/// Orders that wait for the thread; more than everyone who joins in a second.
const ORDERS: usize = 4096;
/// How long the last ones have to connect, and how often it is looked whether they have.
const CONNECT: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(500);
/// Failures that a report names; the others are counted.
const NAMED_FAILURES: usize = 5;

/// The server, and who comes to it.
pub struct Target {
    pub door: Door,
    pub tickets: TicketKey,
    /// Of the server, whose use of the machine is reported.
    pub pid: Option<u32>,
    /// Only this machine is loaded unless the server was named as another one.
    pub remote: bool,
}

/// How far a run is.
#[derive(Debug, Clone)]
pub struct Progress {
    pub phase: Phase,
    pub joined: usize,
    pub clients: usize,
    pub received: u64,
    pub lost: u64,
    pub p95: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Phase {
    Joining,
    /// The share of the duration that is over, 0.0–1.0.
    Measuring(f64),
}

/// Somebody came in, or did not.
struct Arrival {
    role: Role,
    session: anyhow::Result<Session>,
}

/// A run under way.
struct Run {
    plan: Plan,
    orders: SyncSender<Order>,
    sessions: HashMap<usize, Session>,
    entering: JoinSet<Arrival>,
    /// Of those who are entering, who publish.
    publishers_entering: usize,
    leaving: JoinSet<()>,
    counts: Counts,
    door: Door,
    tickets: TicketKey,
}

/// Runs the plan; `progress` hears of it twice a second. Ends early when `stop` is heard.
///
/// # Errors
/// The plan or the target cannot be used, or nobody came in.
pub async fn run(
    plan: Plan,
    target: Target,
    mut stop: mpsc::Receiver<()>,
    mut progress: impl FnMut(Progress),
) -> anyhow::Result<Report> {
    plan.check()?;
    let from = local_address(&target)?;
    let before = target.pid.map(process::usage).transpose()?;
    let (orders, taken) = sync_channel(ORDERS);
    let epoch = Instant::now();
    let wire = Wire::new(plan.clone(), from, epoch, taken);
    let thread = std::thread::Builder::new().name("load".into()).spawn(move || wire.run())?;
    let counts = Counts { clients: plan.clients(), ..Counts::default() };
    let mut run = Run {
        plan,
        orders,
        sessions: HashMap::new(),
        entering: JoinSet::new(),
        publishers_entering: 0,
        leaving: JoinSet::new(),
        counts,
        door: target.door,
        tickets: target.tickets,
    };
    let mut stopped = run.bring_in(&mut stop, &mut progress).await;
    if !stopped {
        stopped = run.wait_connected(&mut stop, &mut progress).await;
    }
    tracing::info!(clients = run.sessions.len(), "measuring");
    let _ = run.orders.send(Order::Restart);
    let (cpu, own, began) = (target.pid.map(process::usage).transpose()?, process::own_cpu(), Instant::now());
    if !stopped {
        stopped = run.measure(&mut stop, &mut progress).await;
    }
    run.counts.interrupted = stopped;
    run.counts.measured = began.elapsed();
    run.counts.generator_cpu = process::own_cpu().saturating_sub(own);
    // A server that is gone by now has no use to report.
    let after = target.pid.and_then(|pid| process::usage(pid).ok());
    run.counts.server = before.zip(cpu).zip(after).map(|((before, cpu), after)| ServerUse {
        cpu: after.cpu.saturating_sub(cpu.cpu),
        memory_before: before.memory,
        memory_after: after.memory,
    });
    let look = run.look().await;
    let mut counts = run.end().await;
    // With the last order the thread says goodbye to everyone.
    let joined = tokio::task::spawn_blocking(move || thread.join()).await;
    ensure!(matches!(joined, Ok(Ok(()))), "the thread of the connections failed");
    (counts.connected, counts.tally, counts.join, counts.first_media) =
        (look.connected, look.tally, look.join, look.first_media);
    ensure!(counts.interrupted || counts.join.count() > 0, "nobody came in: {}", counts.failures.join("; "));
    Ok(Report::of(counts))
}

impl Run {
    /// Everyone comes in, one after the other; who only views, when there is somebody to view. True: stopped.
    async fn bring_in(&mut self, stop: &mut mpsc::Receiver<()>, progress: &mut impl FnMut(Progress)) -> bool {
        let mut pace = tokio::time::interval(Duration::from_secs(1) / self.plan.joins_a_second);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut looks = tokio::time::interval(LOOK);
        let mut roles = self.plan.roles().into_iter().peekable();
        let deadline = tokio::time::Instant::now() + self.plan.arrival();
        while roles.peek().is_some() || !self.entering.is_empty() {
            tokio::select! {
                _ = stop.recv() => return true,
                () = tokio::time::sleep_until(deadline) => return false,
                _ = pace.tick(), if roles.peek().is_some_and(|next| next.publishes || self.publishers_entering == 0) => {
                    roles.next().into_iter().for_each(|role| self.enter(role));
                }
                Some(Ok(arrival)) = self.entering.join_next() => self.arrived(arrival),
                _ = looks.tick() => progress(self.progress(Phase::Joining).await),
            }
        }
        false
    }

    /// Those who came in connect. True: stopped.
    async fn wait_connected(&mut self, stop: &mut mpsc::Receiver<()>, progress: &mut impl FnMut(Progress)) -> bool {
        let mut looks = tokio::time::interval(LOOK);
        let deadline = tokio::time::Instant::now() + CONNECT;
        loop {
            tokio::select! {
                _ = stop.recv() => return true,
                () = tokio::time::sleep_until(deadline) => return false,
                _ = looks.tick() => {
                    let news = self.progress(Phase::Joining).await;
                    let all = news.joined >= self.sessions.len();
                    progress(news);
                    if all {
                        return false;
                    }
                }
            }
        }
    }

    /// The measured span. True: stopped.
    async fn measure(&mut self, stop: &mut mpsc::Receiver<()>, progress: &mut impl FnMut(Progress)) -> bool {
        let began = tokio::time::Instant::now();
        let end = began + self.plan.duration;
        let mut looks = tokio::time::interval(LOOK);
        let movers: Vec<Role> = self.plan.roles().into_iter().filter(|role| !role.stays).collect();
        // One after the other leaves, so that each stays its time.
        let step = self.plan.stay.map(|stay| stay / movers.len().max(1) as u32);
        let mut churn = tokio::time::interval(step.unwrap_or(self.plan.duration).max(Duration::from_millis(1)));
        churn.set_missed_tick_behavior(MissedTickBehavior::Delay);
        churn.tick().await;
        let mut moving = movers.iter().cycle();
        loop {
            tokio::select! {
                _ = stop.recv() => return true,
                () = tokio::time::sleep_until(end) => return false,
                _ = churn.tick(), if step.is_some() => {
                    if let Some(role) = moving.next() {
                        self.send_away_and_back(*role);
                    }
                }
                Some(Ok(arrival)) = self.entering.join_next() => self.arrived(arrival),
                _ = looks.tick() => {
                    while self.leaving.try_join_next().is_some() {}
                    let over = began.elapsed().as_secs_f64() / self.plan.duration.as_secs_f64();
                    progress(self.progress(Phase::Measuring(over.min(1.0))).await);
                }
            }
        }
    }

    fn send_away_and_back(&mut self, role: Role) {
        let Some(session) = self.sessions.remove(&role.client) else { return };
        self.counts.leaves += 1;
        self.publishers_entering += usize::from(role.publishes);
        let _ = self.orders.send(Order::Leave { client: role.client });
        let entering = self.entry(role);
        self.entering.spawn(async move {
            session.leave().await;
            entering.await
        });
        self.counts.joins += 1;
    }

    fn enter(&mut self, role: Role) {
        self.counts.joins += 1;
        self.publishers_entering += usize::from(role.publishes);
        let entry = self.entry(role);
        self.entering.spawn(entry);
    }

    fn entry(&self, role: Role) -> impl Future<Output = Arrival> + use<> {
        let (door, orders, guest) = (self.door.clone(), self.orders.clone(), self.guest(role));
        async move { Arrival { role, session: enter(door, orders, guest).await } }
    }

    fn guest(&self, role: Role) -> Guest {
        let run = std::process::id();
        let name = format!("load-{run}-{}", role.client);
        let user: UserId = name.parse().expect("digits and dashes make a user");
        let now = Clock::start().now();
        let expires_at: Timestamp = now + Duration::from_secs(86_400);
        let ticket = self.tickets.sign(&Ticket { user, issued_at: now, expires_at, map_key: None });
        Guest { role, user: name, room: format!("load-{run}-{}", role.room), ticket }
    }

    fn arrived(&mut self, arrival: Arrival) {
        self.publishers_entering -= usize::from(arrival.role.publishes);
        match arrival.session {
            Ok(session) => {
                self.sessions.insert(arrival.role.client, session);
            }
            Err(error) => {
                self.counts.failed_joins += 1;
                let text = format!("{error:#}");
                if self.counts.failures.len() < NAMED_FAILURES && !self.counts.failures.contains(&text) {
                    self.counts.failures.push(text);
                }
                let _ = self.orders.send(Order::Leave { client: arrival.role.client });
            }
        }
    }

    async fn look(&self) -> Look {
        let (look, seen) = oneshot::channel();
        let _ = self.orders.send(Order::Look { look });
        seen.await.unwrap_or_default()
    }

    async fn progress(&self, phase: Phase) -> Progress {
        let look = self.look().await;
        Progress {
            phase,
            joined: look.connected,
            clients: self.counts.clients,
            received: look.tally.received,
            lost: look.tally.lost,
            p95: look.tally.latency.quantile(0.95),
        }
    }

    /// Everyone leaves.
    async fn end(mut self) -> Counts {
        self.entering.shutdown().await;
        for (_, session) in self.sessions.drain() {
            self.leaving.spawn(session.leave());
        }
        while self.leaving.join_next().await.is_some() {}
        self.counts
    }
}

async fn enter(door: Door, orders: SyncSender<Order>, guest: Guest) -> anyhow::Result<Session> {
    let joined_at = Instant::now();
    let (offer, made) = oneshot::channel();
    let gone = "the run is over";
    orders.send(Order::Join { role: guest.role, joined_at, offer }).context(gone)?;
    let (offer, lines) = made.await.context(gone)??;
    let (answer, session) = door.enter(&guest, offer, &lines).await?;
    let (taken, answered) = oneshot::channel();
    let _ = orders.send(Order::Answer { client: guest.role.client, sdp: answer, taken });
    match answered.await.context(gone)? {
        Ok(()) => Ok(session),
        Err(reason) => {
            session.leave().await;
            anyhow::bail!("the server's answer cannot be used: {reason}")
        }
    }
}

/// The address from which this machine reaches the server.
fn local_address(target: &Target) -> anyhow::Result<IpAddr> {
    let url: Url = target.door.address(true)?;
    let host = url.host_str().context("the server's address has no host")?;
    let port = url.port_or_known_default().context("the server's address has no port")?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let server = (host, port).to_socket_addrs().with_context(|| format!("{host} is not known"))?.next();
    let server = server.with_context(|| format!("{host} has no address"))?;
    ensure!(
        server.ip().is_loopback() || target.remote,
        "{server} is another machine: --remote says that you may load it"
    );
    let any: IpAddr = if server.is_ipv6() { [0u16; 8].into() } else { [0u8; 4].into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(server).with_context(|| format!("{server} cannot be reached"))?;
    Ok(socket.local_addr()?.ip())
}
