//! An endpoint with a bad manner: it records every request, and finds fault at once with what may never come.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use fastrand::Rng;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use serde_json::Value;
use standardwebhooks::Webhook;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// 32 bytes; any other would do.
const SECRET: &str = "whsec_Q2FsbGlzdG8gdGVzdHMgaXRzIG93biB3ZWJob29rcyE=";
/// The flaky one refuses an event so often in a row at most; more would reach the retries of minutes.
const MOST_REFUSALS: u32 = 4;

/// How the endpoint behaves until it is told to be well.
#[derive(Debug, Clone, Copy)]
pub enum Manner {
    /// No connection can be had for a while, those that are open break.
    Down { after: Duration, lasting: Duration },
    /// A third of the requests is answered 500.
    Flaky,
    /// Each answer takes up to so long.
    Slow { most: Duration },
}

pub struct Receiver {
    pub name: &'static str,
    address: SocketAddr,
    shared: Arc<Shared>,
    _serving: JoinSet<()>,
}

struct Shared {
    verifier: Webhook,
    manner: Mutex<Option<Manner>>,
    started: Instant,
    journal: Mutex<Journal>,
    changed: watch::Sender<u64>,
}

/// Everything that came.
#[derive(Default)]
pub struct Journal {
    pub calls: BTreeMap<String, BTreeMap<u64, Sighting>>,
    pub wrongs: Vec<String>,
    pub requests: u64,
    /// Requests that its manner spoiled: no connection, a 500, a wait.
    pub spoiled: u64,
    rng: Option<Rng>,
}

/// One event, as it came first.
pub struct Sighting {
    pub id: String,
    pub kind: String,
    pub body: Bytes,
    pub accepted: bool,
    refusals: u32,
}

impl Receiver {
    pub async fn start(name: &'static str, manner: Manner, rng: Rng) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared {
            verifier: Webhook::new(SECRET).expect("a well-formed secret"),
            manner: Mutex::new(Some(manner)),
            started: Instant::now(),
            journal: Mutex::new(Journal { rng: Some(rng), ..Journal::default() }),
            changed: watch::Sender::new(0),
        });
        let mut serving = JoinSet::new();
        serving.spawn(serve(listener, shared.clone()));
        Self { name, address, shared, _serving: serving }
    }

    pub fn url(&self) -> String {
        format!("http://{}/{}", self.address, self.name)
    }

    pub fn secret(&self) -> &'static str {
        SECRET
    }

    /// From here on it answers 204 at once.
    pub fn be_well(&self) {
        *self.shared.manner.lock().expect("nobody panics with it") = None;
    }

    pub fn journal(&self) -> MutexGuard<'_, Journal> {
        self.shared.journal()
    }

    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changed.subscribe()
    }
}

/// Connections are its own to break: a listener that is down takes none and ends those it has.
async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let router = Router::new().route("/{name}", post(take)).with_state(shared.clone());
    let mut connections = JoinSet::new();
    let mut look = tokio::time::interval(Duration::from_millis(20));
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (socket, _) = accepted.expect("a connection");
                if shared.is_down() {
                    shared.journal().spoiled += 1;
                    continue;
                }
                let service = TowerToHyperService::new(router.clone());
                connections.spawn(async move {
                    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
                });
            }
            _ = look.tick() => {
                if shared.is_down() {
                    connections.shutdown().await;
                }
            }
        }
    }
}

async fn take(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Result<StatusCode, Infallible> {
    if let Some(pause) = shared.pause() {
        tokio::time::sleep(pause).await;
    }
    let status = shared.receive(&headers, body);
    shared.changed.send_modify(|changes| *changes += 1);
    Ok(status)
}

impl Shared {
    fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().expect("nobody panics with the journal in hand")
    }

    fn manner(&self) -> Option<Manner> {
        *self.manner.lock().expect("nobody panics with it")
    }

    fn is_down(&self) -> bool {
        match self.manner() {
            Some(Manner::Down { after, lasting }) => (after..after + lasting).contains(&self.started.elapsed()),
            _ => false,
        }
    }

    fn pause(&self) -> Option<Duration> {
        match self.manner() {
            Some(Manner::Slow { most }) => {
                let mut journal = self.journal();
                journal.spoiled += 1;
                Some(most.mul_f64(journal.rng().f64()))
            }
            _ => None,
        }
    }

    fn receive(&self, headers: &HeaderMap, body: Bytes) -> StatusCode {
        let flaky = matches!(self.manner(), Some(Manner::Flaky));
        let mut journal = self.journal();
        journal.requests += 1;
        if let Err(error) = self.verifier.verify(&body, headers) {
            journal.wrongs.push(format!("{error}: {}", String::from_utf8_lossy(&body)));
        }
        let refuse = flaky && journal.rng().u8(..3) == 0;
        match journal.take(headers, body, refuse) {
            Ok(status) => status,
            Err(wrong) => {
                journal.wrongs.push(wrong);
                StatusCode::NO_CONTENT
            }
        }
    }
}

impl Journal {
    fn rng(&mut self) -> &mut Rng {
        self.rng.as_mut().expect("given at the start")
    }

    fn take(&mut self, headers: &HeaderMap, body: Bytes, refuse: bool) -> Result<StatusCode, String> {
        let shown = || String::from_utf8_lossy(&body).into_owned();
        let value: Value = serde_json::from_slice(&body).map_err(|_| format!("no JSON: {}", shown()))?;
        let text = |key: &str| value[key].as_str().map(str::to_owned).ok_or_else(|| format!("no {key}: {}", shown()));
        let (id, kind, call) = (text("id")?, text("type")?, text("callId")?);
        let seq = value["seq"].as_u64().ok_or_else(|| format!("no seq, so a gap was told: {}", shown()))?;
        if headers.get("webhook-id").map(|header| header.as_bytes()) != Some(id.as_bytes()) {
            return Err(format!("webhook-id is not the envelope's: {}", shown()));
        }
        let events = self.calls.entry(call.clone()).or_default();
        let before = events.last_key_value().map_or((0, true), |(seq, sighting)| (*seq, sighting.accepted));
        let sighting = match events.get_mut(&seq) {
            Some(known) if known.id != id || known.body != body => {
                return Err(format!("{call} {seq} came again with a difference: {}", shown()));
            }
            Some(known) => known,
            None if before == (seq - 1, true) => {
                events.entry(seq).or_insert(Sighting { id, kind, body: body.clone(), accepted: false, refusals: 0 })
            }
            None => return Err(format!("{call}: first sight of {seq} after {} (taken: {})", before.0, before.1)),
        };
        if refuse && !sighting.accepted && sighting.refusals < MOST_REFUSALS {
            sighting.refusals += 1;
            self.spoiled += 1;
            return Ok(StatusCode::INTERNAL_SERVER_ERROR);
        }
        sighting.accepted = true;
        Ok(StatusCode::NO_CONTENT)
    }
}
