//! A node's ledger and delivery, joined as the node joins them.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use callisto::base::{CallId, EndpointId, EventId, Timestamp, UserId};
use callisto::event::{Event, Fact, ServerView};
use callisto::ledger::io::{Store, Told, Unstored, Writer, WriterNews};
use callisto::ledger::{Append, Record, Turn};
use callisto::node::record::LedgerRecord;
use callisto::webhook::io::{Client, ClientSettings, Deliverer, DelivererHandle, Parts};
use callisto::webhook::lane::Patience;
use callisto::webhook::{Endpoint, Observation, Settings};
use tokio::sync::mpsc;

pub const SOON: Duration = Duration::from_secs(60);

pub fn now() -> Timestamp {
    Timestamp::default() + SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

/// How requests are made in a test.
pub struct Ways {
    pub timeout: Duration,
    pub allow: &'static [&'static str],
    pub patience: Patience,
}

impl Default for Ways {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(10),
            allow: &["127.0.0.0/8", "::1/128"],
            patience: Settings::default().patience,
        }
    }
}

/// Tells delivery of what is stored, once there is a delivery.
struct Nudge(Arc<OnceLock<DelivererHandle>>);

impl Told<()> for Nudge {
    fn told(&mut self, turn: Turn<()>) {
        if let Some(deliverer) = self.0.get() {
            turn.append.calls().for_each(|call| deliverer.stored(call));
        }
    }

    fn news(&mut self, _: WriterNews) {}
}

pub struct World {
    pub store: Arc<Store>,
    pub writer: Writer<()>,
    pub deliverer: Deliverer,
    pub observed: mpsc::UnboundedReceiver<Observation>,
    lanes: Arc<[EndpointId]>,
}

impl World {
    pub fn start(folder: &Path, endpoints: Vec<Endpoint>) -> Self {
        Self::start_with(folder, endpoints, Ways::default())
    }

    pub fn start_with(folder: &Path, endpoints: Vec<Endpoint>, ways: Ways) -> Self {
        let store = Arc::new(Store::open(&folder.join("ledger.redb")).unwrap());
        let place = Arc::new(OnceLock::new());
        let writer = Writer::start(store.clone(), Nudge(place.clone())).unwrap();
        let (observed_in, observed) = mpsc::unbounded_channel();
        let lanes = endpoints.iter().map(|endpoint| endpoint.id.clone()).collect();
        let deliverer = Deliverer::start(Parts {
            record: LedgerRecord { store: store.clone(), writer: writer.handle() },
            endpoints,
            settings: Settings { patience: ways.patience, ..Settings::default() },
            client: Client::new(ClientSettings {
                timeout: ways.timeout,
                allow_private: ways.allow.iter().map(|net| net.parse().unwrap()).collect(),
            })
            .unwrap(),
            now: Box::new(now),
            observe: Box::new(move |observation| drop(observed_in.send(observation))),
            runtime: tokio::runtime::Handle::current(),
            seed: 1,
        })
        .unwrap();
        assert!(place.set(deliverer.handle()).is_ok());
        Self { store, writer, deliverer, observed, lanes }
    }

    /// Stores facts of a call, with numbers in `seqs`.
    pub async fn store(&self, call: CallId, seqs: std::ops::RangeInclusive<u64>) {
        let records = seqs.map(|seq| record(call, seq)).collect();
        let open = vec![(call, Bytes::from_static(b"state"))];
        let append = Append { records, open, lanes: self.lanes.clone(), ..Append::default() };
        self.writer.handle().submit(Turn { append, then: () }).await.unwrap();
    }

    pub async fn observation(&mut self, what: impl Fn(&Observation) -> bool) -> Observation {
        loop {
            let seen = tokio::time::timeout(SOON, self.observed.recv()).await.expect("it happens").unwrap();
            if what(&seen) {
                return seen;
            }
        }
    }

    /// An orderly end, as the node's.
    pub async fn stop(self) {
        self.writer.handle().flush().await.unwrap();
        self.deliverer.shutdown(SOON).await;
        assert_eq!(self.writer.close(SOON).await, Unstored(0));
    }

    /// An end with no time for delivery.
    pub async fn stop_at_once(self) {
        self.writer.handle().flush().await.unwrap();
        self.deliverer.shutdown(Duration::ZERO).await;
        assert_eq!(self.writer.close(SOON).await, Unstored(0));
    }
}

pub fn call(n: u128) -> CallId {
    CallId::from_u128(n)
}

pub fn record(call: CallId, seq: u64) -> Record {
    let user_id: UserId = format!("user-{seq}").parse().unwrap();
    let fact = Fact { call, seq, time: now(), event: Event::UserJoin { user_id }, view: ServerView::default() };
    Record { call, seq, kind: fact.event.kind(), time: fact.time, body: fact.to_json().into() }
}

pub fn event_id(n: u128) -> EventId {
    EventId::from_u128(n)
}
