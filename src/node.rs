//! The composition root: builds every part, joins them with bounded channels, and stops them in order.

mod census;
mod io;
pub mod record;

use std::fs::OpenOptions;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use anyhow::Context;
use bytes::Bytes;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};

use self::io::tls::TlsListener;
use self::io::{Asked, Doors, Keeper, Reload, Service, Signals, Webhooks, descriptors, listener};
use crate::api::io::health::Readiness;
use crate::base::{CallId, EventId, SessionId};
use crate::call::{Call, Limits};
use crate::config::Config;
use crate::config::io::Secrets;
use crate::control::io::{Clock, Desk, Ears, Handle, Outward, entropy};
use crate::control::{Answer, Denial, Input, Message, OperationId, Reply, Restored, Settings, State, Turn};
use crate::event::{Event, TelemetryEnvelope};
use crate::ledger::io::{Health, Store, Told, Writer, WriterHandle, WriterNews};
use crate::ledger::{self, Append, OwnLane};
use crate::media::io::{Plane, Ports, interface};
use crate::media::{self, Command, Report, ShardSnapshot, Spread, Thresholds};
use crate::metrics::Metrics;
use crate::signal::io::registry::Registry;
use crate::signal::token::TokenKey;
use crate::webhook::book;
use crate::webhook::endpoint::{OwnWebhook, own_of_calls};
use crate::webhook::io::{Deliverer, DelivererHandle};

/// Reports of all shards on their way to control. Shards never wait: what does not fit is kept by them, newest value first.
const REPORT_QUEUE: usize = 4096;
/// Connections of operators, their monitoring and the backend at a time.
const ADMIN_CONNECTIONS: usize = 256;

/// Runs the server until it is told to stop.
///
/// `read` reads the configuration again, as SIGHUP asks for it.
pub async fn run(
    config: Config,
    secrets: Secrets,
    read: impl Fn() -> anyhow::Result<(Config, Secrets)>,
) -> anyhow::Result<()> {
    let mut signals = Signals::listen()?;
    let drain = config.drain;
    let (node, mut reload) = Node::start(config, secrets).await?;
    Service::ready();
    while signals.asked().await == Asked::Reload {
        reload.take(read()).await;
    }
    node.drain(drain, &mut signals).await;
    Ok(())
}

/// The running parts, in the order in which they are stopped.
struct Node {
    servers: Vec<tokio::task::JoinHandle<()>>,
    readiness: Arc<Readiness>,
    registry: Arc<Registry>,
    control: Handle,
    stop_control: oneshot::Sender<()>,
    control_thread: std::thread::JoinHandle<()>,
    plane: Arc<Plane>,
    deliverer: Deliverer,
    record: WriterHandle<Then>,
    writer: Writer<Then>,
    /// True once no call is left and none will come.
    drained: watch::Sender<bool>,
}

/// What waits until a turn's facts are stored.
struct Then {
    tells: Vec<(SessionId, Message)>,
    answers: Vec<(OperationId, Result<Answer, Denial>)>,
    after: Vec<Command>,
    telemetry: Vec<TelemetryEnvelope>,
}

impl Node {
    async fn start(config: Config, secrets: Secrets) -> anyhow::Result<(Self, Reload)> {
        let clock = Clock::start();
        let metrics = Metrics::new(env!("CARGO_PKG_VERSION"));
        let (public, admin) = (bind(config.http.public).await?, bind(config.http.admin).await?);
        let store = open_store(&config.data_dir)?;
        let (reports_in, reports) = mpsc::channel(REPORT_QUEUE);
        let plane = Arc::new(start_plane(&config, reports_in)?);
        let registry = Arc::new(Registry::new(TokenKey::new(&secrets.app_secret.0)));
        let (readiness, drained) = (Arc::new(Readiness::default()), watch::Sender::new(false));
        let (health_in, ledger_health) = watch::channel(Health::Writable);
        let delivery = Arc::new(OnceLock::new());
        let (control, inputs) = Handle::new();
        let told = Outcome {
            registry: registry.clone(),
            plane: plane.clone(),
            desk: control.desk(),
            delivery: delivery.clone(),
            metrics: metrics.clone(),
            health: health_in,
        };
        let writer = Writer::start(store.clone(), told)?;
        let webhooks = Webhooks::start(&config, &store, &writer, clock, &metrics)?;
        let _ = delivery.set(webhooks.deliverer.handle());

        let state = State::new(settings(&config, plane.shards()));
        let outward = Inside {
            plane: plane.clone(),
            registry: registry.clone(),
            desk: control.desk(),
            writer: writer.handle(),
            delivery: webhooks.deliverer.handle(),
            store: store.clone(),
            clock,
            readiness: readiness.clone(),
            metrics: metrics.clone(),
            drained: drained.clone(),
        };
        let (stop_control, stop) = oneshot::channel();
        let control_thread = spawn_control(state, clock, Ears { inputs, reports, stop }, outward)?;
        tokio::spawn(follow_health(ledger_health, control.clone()));
        restore(&store, &control, &webhooks).await?;

        let reload = Reload::new(config, &secrets, webhooks.endpoints.clone());
        let keeper = Keeper::new(&store, writer.handle(), &webhooks, clock, &metrics);
        tokio::spawn(keeper.run(reload.retention.subscribe()));
        let doors = Doors {
            reload: &reload,
            clock,
            control: &control,
            ledger: &store,
            registry: &registry,
            webhooks: &webhooks,
            readiness: &readiness,
            metrics: &metrics,
        };
        let servers = open(public, admin, &doors, &plane)?;
        readiness.set(true);
        let node = Self {
            servers,
            readiness,
            registry,
            control,
            stop_control,
            control_thread,
            plane,
            deliverer: webhooks.deliverer,
            record: writer.handle(),
            writer,
            drained,
        };
        Ok((node, reload))
    }
}

/// Carries out control's turns: media commands at once, the rest behind the ledger.
struct Inside {
    plane: Arc<Plane>,
    registry: Arc<Registry>,
    desk: Arc<Desk>,
    writer: WriterHandle<Then>,
    delivery: DelivererHandle,
    store: Arc<Store>,
    clock: Clock,
    readiness: Arc<Readiness>,
    metrics: Metrics,
    drained: watch::Sender<bool>,
}

impl Outward for Inside {
    async fn turn(&mut self, turn: Turn) {
        let Turn { media, facts, webhooks, states, mut tells, mut answers, after, telemetry, drained } = turn;
        for command in media {
            send(&self.plane, command);
        }
        let mut append = Append { lanes: self.delivery.enabled(), ..Append::default() };
        for fact in &facts {
            self.metrics.fact(fact.event.kind());
            tracing::info!(call = %fact.call, seq = fact.seq, reason = ?fact.view.reason, "{}", fact.event.kind());
            append.records.push(ledger::Record {
                call: fact.call,
                seq: fact.seq,
                kind: fact.event.kind(),
                time: fact.time,
                body: Bytes::from(fact.to_json()),
            });
        }
        append.own = webhooks.into_iter().map(|(call, webhook)| own_lane(call, &webhook)).collect();
        for state in states {
            append.open.retain(|(call, _)| *call != state.call);
            match state.snapshot {
                Some(snapshot) => append.open.push((state.call, snapshot.into())),
                None => append.closed.push(state.call),
            }
        }
        log_sessions(&tells);
        let telemetry: Vec<TelemetryEnvelope> =
            telemetry.into_iter().map(|(call, event)| self.telemetry(call, event)).collect();
        if append.is_empty() && self.writer.health() == Health::Failing {
            self.refuse_at_once(&mut tells);
        }
        if append.is_empty() {
            // A look at what is going on waits for no disk.
            answers.drain(..).for_each(|(id, result)| self.desk.answer(id, result));
        }
        let is_empty = append.is_empty() && tells.is_empty() && after.is_empty() && telemetry.is_empty();
        let turn = ledger::Turn { append, then: Then { tells, answers, after, telemetry } };
        if !is_empty && self.writer.submit(turn).await.is_err() {
            tracing::error!("the record is closed; a turn is lost");
        }
        if drained {
            self.drained.send_replace(true);
        }
    }

    fn snapshot(&mut self, snapshot: Box<ShardSnapshot>) {
        self.metrics.set_shard(*snapshot);
    }

    fn observe(&mut self, state: &State) {
        self.readiness.set(state.takes_calls());
        self.metrics.ready(state.takes_calls());
        census::count(state, &self.metrics);
        let begun = state.calls().filter(|room| room.call.begun().is_some()).count();
        self.metrics.calls_by_state(state.calls().count() - begun, begun);
        self.metrics.sessions(state.session_count());
        self.metrics.ledger_size(self.store.size());
        self.observe_delivery();
    }
}

impl Inside {
    fn telemetry(&self, call: CallId, event: Event) -> TelemetryEnvelope {
        let time = self.clock.now();
        TelemetryEnvelope { id: EventId::new(time, entropy()), call, time, event }
    }

    /// While the disk fails, a refusal does not wait behind what cannot be stored: nothing has changed that could be lost.
    fn refuse_at_once(&self, tells: &mut Vec<(SessionId, Message)>) {
        let is_refusal =
            |(_, message): &mut (SessionId, Message)| matches!(message, Message::Reply { result: Err(_), .. });
        self.registry.deliver(&tells.extract_if(.., is_refusal).collect::<Vec<_>>());
    }

    fn observe_delivery(&self) {
        let (now, backlog) = (self.clock.now(), self.store.backlog());
        for endpoint in self.delivery.status().iter() {
            let pending = backlog.get(&endpoint.id).copied().unwrap_or_default();
            self.metrics.pending(&endpoint.id, pending, endpoint.oldest.map(|oldest| now.since(oldest)));
        }
    }
}

/// Where a call's own lane goes, for the record.
fn own_lane(call: CallId, webhook: &OwnWebhook) -> OwnLane {
    OwnLane { call, endpoint: own_of_calls(), target: book::encode_own(&webhook.url, &webhook.secret) }
}

/// Who comes and goes, for the operator's log.
fn log_sessions(tells: &[(SessionId, Message)]) {
    for (session, message) in tells {
        match message {
            Message::Reply { result: Ok(Reply::LoggedIn { .. }), .. } => tracing::info!(%session, "logged in"),
            Message::Close { reason } => tracing::info!(%session, ?reason, "session closed"),
            _ => {}
        }
    }
}

/// Tells what is stored.
struct Outcome {
    registry: Arc<Registry>,
    plane: Arc<Plane>,
    desk: Arc<Desk>,
    /// Set before anything can be told.
    delivery: Arc<OnceLock<DelivererHandle>>,
    metrics: Metrics,
    health: watch::Sender<Health>,
}

impl Told<Then> for Outcome {
    fn told(&mut self, turn: ledger::Turn<Then>) {
        if let Some(delivery) = self.delivery.get() {
            turn.append.calls().for_each(|call| delivery.stored(call));
            for event in turn.then.telemetry {
                delivery.telemetry(event.call, event.event.kind(), event.id, event.to_json().into());
            }
        }
        self.registry.deliver(&turn.then.tells);
        for (id, result) in turn.then.answers {
            self.desk.answer(id, result);
        }
        for command in turn.then.after {
            send(&self.plane, command);
        }
    }

    fn news(&mut self, news: WriterNews) {
        match news {
            WriterNews::Committed(committed) => self.metrics.ledger_commit(committed.took, committed.facts),
            WriterNews::Failing(error) => {
                tracing::error!(%error, "the record cannot be written: no new calls until it can");
                self.metrics.ledger_failing();
                self.health.send_replace(Health::Failing);
            }
            WriterNews::Recovered => {
                tracing::warn!("the record can be written again");
                self.metrics.ledger_recovered();
                self.health.send_replace(Health::Writable);
            }
        }
    }
}

fn send(plane: &Plane, command: Command) {
    if plane.send(command).is_err() {
        tracing::error!("the media plane does not run");
    }
}

fn open_store(data_dir: &Path) -> anyhow::Result<Arc<Store>> {
    let path = data_dir.join("ledger.redb");
    // Made before redb does, for its owner's eyes only.
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("the record {} cannot be written", path.display()))?;
    let store = Store::open(&path).with_context(|| format!("the record {} cannot be opened", path.display()))?;
    Ok(Arc::new(store))
}

fn start_plane(config: &Config, reports: mpsc::Sender<Report>) -> anyhow::Result<Plane> {
    let shards = match config.media.shards {
        0 => std::thread::available_parallelism().map_or(1, |cores| cores.get()),
        shards => shards,
    };
    let settings = media::Settings {
        addresses: media_addresses(config)?,
        bind: config.media.bind,
        loudest: config.media.loudest,
        max_peers: config.media.max_peers_per_shard,
        spread: Spread { members: config.media.spread_members, load: config.media.spread_load },
        volume_interval: config.telemetry.volume_interval,
        quality_interval: config.telemetry.quality_interval,
        thresholds: Thresholds {
            excellent: config.quality.excellent,
            good: config.quality.good,
            poor: config.quality.poor,
            bad: config.quality.bad,
        },
        down_after: config.quality.down_after,
        ..media::Settings::default()
    };
    let ports = Ports { udp: config.media.udp_port, tcp: config.media.tcp_port };
    Plane::start(settings, ports, shards, reports).context("media cannot be served")
}

/// The configured addresses, or those of the interfaces.
fn media_addresses(config: &Config) -> anyhow::Result<Vec<IpAddr>> {
    if !config.media.address.is_empty() {
        return Ok(config.media.address.clone());
    }
    interface::addresses().context("the network interfaces cannot be listed")
}

fn settings(config: &Config, shards: usize) -> Settings {
    Settings {
        ring_timeout: config.calls.ring_timeout,
        limits: Limits { resume_timeout: config.calls.resume_timeout, max_members: config.calls.max_members },
        sessions_per_user: config.calls.sessions_per_user,
        renew_grace: config.calls.renew_grace,
        webhook_volume_interval: config.telemetry.webhook_volume_interval,
        shards: shards as u64,
    }
}

/// Control has a thread of its own: nothing that blocks elsewhere delays a call.
fn spawn_control(
    state: State,
    clock: Clock,
    ears: Ears,
    outward: Inside,
) -> anyhow::Result<std::thread::JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    std::thread::Builder::new()
        .name("control".into())
        .spawn(move || runtime.block_on(crate::control::io::run(state, clock, ears, outward)))
        .context("control's thread")
}

async fn follow_health(mut health: watch::Receiver<Health>, control: Handle) {
    while health.changed().await.is_ok() {
        let writable = *health.borrow_and_update() == Health::Writable;
        if control.send(Input::LedgerHealth { writable }).await.is_err() {
            return;
        }
    }
}

/// Calls that were open when the node last stopped go on, or end when nobody comes back to them.
async fn restore(store: &Store, control: &Handle, webhooks: &Webhooks) -> anyhow::Result<()> {
    webhooks.endpoints.resume().await.context("what delivery had not finished cannot be read")?;
    for open in store.open_calls().context("the open calls cannot be read")? {
        let call: Call = match serde_json::from_slice(&open.snapshot) {
            Ok(call) => call,
            Err(error) => {
                tracing::error!(call = %open.call, %error, "an open call's state cannot be read; it stays open in the record");
                continue;
            }
        };
        let facts = store.facts(open.call, call.seq().saturating_sub(1), 1)?;
        let last_seen = facts.last().map_or_else(Default::default, |fact| fact.time);
        tracing::info!(call = %open.call, "a call is taken up again");
        control.send(Input::Restored(Restored { call: Box::new(call), last_seen })).await?;
    }
    Ok(())
}

async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("{address} cannot be bound"))
}

/// Says where it listens, and serves there.
fn open(
    public: TcpListener,
    admin: TcpListener,
    doors: &Doors<'_>,
    plane: &Plane,
) -> anyhow::Result<Vec<tokio::task::JoinHandle<()>>> {
    let tls = &doors.reload.config.http.tls;
    announce(&public, &admin, plane, doors)?;
    let (routes, most) = (doors.public(), descriptors::for_clients());
    let public = match tls.is_on() {
        true => listener::serve(TlsListener::new(public, tls)?, routes, most),
        false => listener::serve(public, routes, most),
    };
    Ok(vec![public, listener::serve(admin, doors.admin(), ADMIN_CONNECTIONS)])
}

/// One line for programs on stdout, then some for people.
fn announce(public: &TcpListener, admin: &TcpListener, plane: &Plane, doors: &Doors<'_>) -> anyhow::Result<()> {
    let (public, admin) = (public.local_addr()?, admin.local_addr()?);
    let udp: Vec<String> = plane.udp_addresses().iter().map(ToString::to_string).collect();
    let tcp = plane.tcp_addresses().first().map(ToString::to_string);
    let listening = json!({"public": public.to_string(), "admin": admin.to_string(), "udp": udp, "tcp": tcp});
    println!("{}", json!({ "listening": listening }));
    tracing::info!(version = env!("CARGO_PKG_VERSION"), %public, %admin, "serving");
    let scheme = if doors.reload.config.http.tls.is_on() { "https" } else { "http" };
    println!("Try a call in two tabs:  {scheme}://{}/", reachable(public));
    println!("Console, for 10 minutes: {}", console_address(admin, &doors.console_link()));
    println!("Prometheus metrics:      http://{}/metrics", reachable(admin));
    Ok(())
}

/// Where this machine reaches a listener.
fn reachable(address: SocketAddr) -> String {
    match address.ip().is_unspecified() {
        true => format!("localhost:{}", address.port()),
        false => address.to_string(),
    }
}

/// The address that opens the console once. What follows `#` stays in the browser: no log and no proxy sees it.
pub fn console_address(admin: SocketAddr, link: &str) -> String {
    format!("http://{}/console#link={link}", reachable(admin))
}
