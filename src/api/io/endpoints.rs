//! The webhook endpoints while the node runs: each change is in the record before delivery goes by it.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use serde_json::json;
use serde_json::value::RawValue;
use url::Url;

use crate::api::call::Time;
use crate::api::page::Page;
use crate::api::webhook::{
    Delivery, DeliveryDetail, DeliveryState, Made, Outcome, Parsed, Place, Replay, ReplayRequest, Rotated, Tested,
    Webhook,
};
use crate::base::{CallId, EndpointId, EventId};
use crate::control::io::{Clock, entropy};
use crate::event::fact_id;
use crate::ledger::io::{ChangeError, ChangeHandle, Store, StoreError};
use crate::ledger::{self, Change, LaneRow};
use crate::metrics::Metrics;
use crate::webhook::book::{Book, NotChanged, Patch};
use crate::webhook::dispatch::{Input, Request, Settings};
use crate::webhook::endpoint::own_of_calls;
use crate::webhook::io::{Client, ClientSettings, DelivererHandle};
use crate::webhook::lane::Memory;
use crate::webhook::record::Note;
use crate::webhook::replay::{self, Progress, ReplayId, ReplayPhase, ReplayStatus};
use crate::webhook::sign::Secret;
use crate::webhook::{Endpoint, InvalidEndpoint};

/// Replays of one endpoint that run or wait.
const MAX_REPLAYS: usize = 16;
/// Lanes of a removed endpoint that are dropped in one transaction: each commit holds up the next facts by its size.
const DROPPED_AT_ONCE: usize = 500;
/// The type of a test; no call is behind it.
const TEST_TYPE: &str = "delivery.test";

/// What the service is made of.
pub struct Parts {
    pub book: Book,
    pub store: Arc<Store>,
    pub changes: ChangeHandle,
    pub delivery: DelivererHandle,
    pub client: Client,
    pub clock: Clock,
    pub metrics: Metrics,
    /// How long a replaced secret signs, unless the request says otherwise.
    pub rotation_overlap: Duration,
}

/// All endpoints, for those who change them: the API, SIGHUP, and a receiver that answers 410.
pub struct Endpoints {
    book: RwLock<Book>,
    rotation_overlap: RwLock<Duration>,
    /// One change at a time, each on top of the one before.
    turn: tokio::sync::Mutex<()>,
    store: Arc<Store>,
    changes: ChangeHandle,
    delivery: DelivererHandle,
    client: Client,
    clock: Clock,
    metrics: Metrics,
}

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum Unchanged {
    #[error(transparent)]
    Refused(#[from] NotChanged),
    #[error(transparent)]
    Address(#[from] InvalidEndpoint),
    #[error("{MAX_REPLAYS} replays of this endpoint run or wait already")]
    TooManyReplays,
    #[error("there is no such replay that runs or waits")]
    NoReplay,
    #[error(transparent)]
    Record(#[from] ChangeError),
    #[error(transparent)]
    Unread(#[from] StoreError),
}

/// How the configuration says that webhooks are sent.
pub struct Configured {
    pub endpoints: Vec<Endpoint>,
    pub client: ClientSettings,
    pub settings: Settings,
    pub rotation_overlap: Duration,
}

impl Endpoints {
    pub fn new(parts: Parts) -> Arc<Self> {
        let Parts { book, store, changes, delivery, client, clock, metrics, rotation_overlap } = parts;
        let (book, rotation_overlap) = (RwLock::new(book), RwLock::new(rotation_overlap));
        let turn = tokio::sync::Mutex::new(());
        let endpoints = Self { book, rotation_overlap, turn, store, changes, delivery, client, clock, metrics };
        endpoints.show_to_metrics(&Book::default(), &endpoints.book());
        endpoints.metrics.declare_endpoint(&own_of_calls());
        Arc::new(endpoints)
    }

    /// Takes up what an earlier run did not finish: replays, and lanes of endpoints that were removed.
    pub async fn resume(&self) -> Result<(), StoreError> {
        for (endpoint, id, row) in self.store.replays()? {
            match replay::decode(&row).filter(|_| self.book().entry(&endpoint).is_some()) {
                Some((order, progress)) => self.delivery.ask(Input::Replay { order, progress }),
                None => {
                    tracing::warn!(%endpoint, "a replay is given up: its endpoint is gone, or its row cannot be read");
                    let gone = Change::RemoveReplay { endpoint, replay: id };
                    self.changes.send(vec![gone], Box::new(|| ()));
                }
            }
        }
        for endpoint in self.store.backlog().into_keys() {
            if self.book().was_removed(&endpoint) {
                self.drop_lanes(&endpoint).await;
            }
        }
        Ok(())
    }

    fn book(&self) -> RwLockReadGuard<'_, Book> {
        self.book.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether events may be sent to an address, as far as that is seen without asking a resolver.
    pub fn vet(&self, url: &Url) -> Result<(), Unchanged> {
        Ok(self.client.vet(url)?)
    }

    // Changes

    pub async fn make(&self, new: Parsed) -> Result<Made, Unchanged> {
        let Parsed { url, secret, events, enabled } = new;
        self.client.vet(&url)?;
        let now = self.clock.now();
        let id = Endpoint::fresh_id(now, entropy());
        let secret = secret.unwrap_or_else(fresh_secret);
        let endpoint =
            Endpoint { id: id.clone(), url, secrets: vec![secret.clone()], retiring: Vec::new(), events, enabled };
        self.alter(&id, |book| book.make(endpoint, now)).await?;
        tracing::info!(endpoint = %id, "an endpoint was made over the API");
        let webhook = self.read(&id).ok_or(NotChanged::Unknown)?;
        Ok(Made { webhook, secret: secret.reveal() })
    }

    pub async fn change(&self, id: &EndpointId, patch: Patch) -> Result<(), Unchanged> {
        if let Some(url) = &patch.url {
            self.client.vet(url)?;
        }
        let now = self.clock.now();
        self.alter(id, |book| book.change(id, patch, now)).await
    }

    /// `overlap`: for how many seconds the old secret signs too.
    pub async fn rotate(
        &self,
        id: &EndpointId,
        secret: Option<Secret>,
        overlap: Option<u64>,
    ) -> Result<Rotated, Unchanged> {
        let now = self.clock.now();
        let usual = *self.rotation_overlap.read().unwrap_or_else(PoisonError::into_inner);
        let until = now + overlap.map_or(usual, Duration::from_secs);
        let secret = secret.unwrap_or_else(fresh_secret);
        self.alter(id, |book| book.rotate(id, secret.clone(), until, now)).await?;
        tracing::info!(endpoint = %id, "an endpoint has a new secret");
        Ok(Rotated { secret: secret.reveal(), old_until: Time(until) })
    }

    pub async fn remove(self: &Arc<Self>, id: &EndpointId) -> Result<(), Unchanged> {
        self.alter(id, |book| book.remove(id)).await?;
        tracing::info!(endpoint = %id, "an endpoint was removed over the API");
        let (endpoints, id) = (self.clone(), id.clone());
        tokio::spawn(async move { endpoints.drop_lanes(&id).await });
        Ok(())
    }

    /// The receiver answered 410. Delivery has stopped already; this keeps it so.
    pub async fn gone(&self, id: &EndpointId) {
        let now = self.clock.now();
        let kept = self.alter(id, |book| if book.gone(id, now) { Ok(()) } else { Err(NotChanged::Unknown) });
        match kept.await {
            Ok(()) | Err(Unchanged::Refused(_)) => {}
            Err(error) => tracing::error!(endpoint = %id, %error, "that the endpoint is gone could not be kept"),
        }
    }

    /// What the configuration says from here on.
    pub async fn reconfigure(&self, configured: Configured) {
        let Configured { endpoints, client, settings, rotation_overlap } = configured;
        let _turn = self.turn.lock().await;
        self.client.set(client);
        self.delivery.set(settings);
        *self.rotation_overlap.write().unwrap_or_else(PoisonError::into_inner) = rotation_overlap;
        let mut book = self.book().clone();
        book.reconfigure(endpoints);
        self.install(book);
    }

    /// Makes a change that concerns one endpoint: in a copy of the book, in the record, and then for everyone.
    async fn alter(
        &self,
        id: &EndpointId,
        change: impl FnOnce(&mut Book) -> Result<(), NotChanged>,
    ) -> Result<(), Unchanged> {
        let _turn = self.turn.lock().await;
        let mut book = self.book().clone();
        let before = row_change(&book, id);
        change(&mut book)?;
        if let Err(error) = self.changes.make(vec![row_change(&book, id)]).await {
            // It may yet be written: this comes after it.
            self.changes.send(vec![before], Box::new(|| ()));
            return Err(error.into());
        }
        self.install(book);
        Ok(())
    }

    fn install(&self, book: Book) {
        self.delivery.reload(book.endpoints());
        let mut place = self.book.write().unwrap_or_else(PoisonError::into_inner);
        self.show_to_metrics(&place, &book);
        *place = book;
    }

    fn show_to_metrics(&self, old: &Book, new: &Book) {
        for entry in old.entries().filter(|entry| new.entry(&entry.endpoint.id).is_none()) {
            self.metrics.forget_endpoint(&entry.endpoint.id);
        }
        new.entries().for_each(|entry| self.metrics.declare_endpoint(&entry.endpoint.id));
    }

    /// Drops what a removed endpoint was yet to get, a part at a time.
    async fn drop_lanes(&self, id: &EndpointId) {
        let mut lanes = 0;
        loop {
            let calls = match self.store.calls_with_lane(id, DROPPED_AT_ONCE) {
                Ok(calls) if calls.is_empty() => break,
                Ok(calls) => calls,
                Err(error) => return tracing::error!(endpoint = %id, %error, "a removed endpoint's lanes stay"),
            };
            lanes += calls.len();
            let drops = calls.into_iter().map(|call| Change::DropLane { endpoint: id.clone(), call });
            if let Err(error) = self.changes.make(drops.collect()).await {
                return tracing::error!(endpoint = %id, %error, "a removed endpoint's lanes stay until the next start");
            }
        }
        if lanes > 0 {
            tracing::warn!(endpoint = %id, calls = lanes, "what a removed endpoint had not confirmed is not delivered");
        }
    }

    // Tests and replays

    pub async fn test(&self, id: &EndpointId) -> Option<Tested> {
        let endpoint = self.book().entry(id)?.endpoint.clone();
        let now = self.clock.now();
        let event_id = EventId::new(now, entropy());
        let body = json!({"id": event_id, "type": TEST_TYPE, "time": now.to_string(), "data": {}});
        let request = Request { endpoint: Arc::new(endpoint), id: event_id, body: body.to_string().into() };
        let began = Instant::now();
        let reply = self.client.post(&request).await;
        let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        Some(Tested { event_id, outcome: Outcome::from(&reply), took_ms })
    }

    pub async fn replay(&self, id: &EndpointId, request: ReplayRequest) -> Result<Replay, Unchanged> {
        let _turn = self.turn.lock().await;
        if self.book().entry(id).is_none() {
            return Err(NotChanged::Unknown.into());
        }
        let left = self.replay_statuses(id).into_iter().filter(|status| is_left(status.phase)).count();
        if left >= MAX_REPLAYS {
            return Err(Unchanged::TooManyReplays);
        }
        let now = self.clock.now();
        let order = request.order(ReplayId::new(now, entropy()), id.clone(), now);
        let progress = Progress::default();
        let row = replay::encode(&order, &progress);
        let put = Change::PutReplay { endpoint: id.clone(), replay: order.id.as_u128(), row };
        self.changes.make(vec![put]).await?;
        tracing::info!(endpoint = %id, replay = %order.id, "a replay begins");
        let status = ReplayStatus { order: order.clone(), phase: ReplayPhase::Queued, delivered: 0, failed: 0 };
        self.delivery.ask(Input::Replay { order, progress });
        Ok(status.into())
    }

    pub async fn cancel(&self, id: &EndpointId, replay: ReplayId) -> Result<(), Unchanged> {
        let known =
            self.replay_statuses(id).into_iter().any(|status| status.order.id == replay && is_left(status.phase));
        if !known {
            return Err(Unchanged::NoReplay);
        }
        self.delivery.ask(Input::CancelReplay { endpoint: id.clone(), replay });
        Ok(())
    }

    pub fn replays(&self, id: &EndpointId) -> Option<Vec<Replay>> {
        self.book().entry(id)?;
        Some(self.replay_statuses(id).into_iter().map(Replay::from).collect())
    }

    fn replay_statuses(&self, id: &EndpointId) -> Vec<ReplayStatus> {
        let status = self.delivery.status();
        status.iter().find(|status| status.id == *id).map(|status| status.replays.clone()).unwrap_or_default()
    }

    // Reading

    pub fn list(&self) -> Vec<Webhook> {
        let ids: Vec<EndpointId> = self.book().entries().map(|entry| entry.endpoint.id.clone()).collect();
        ids.iter().filter_map(|id| self.read(id)).collect()
    }

    pub fn read(&self, id: &EndpointId) -> Option<Webhook> {
        let book = self.book();
        let status = self.delivery.status();
        let status = status.iter().find(|status| status.id == *id);
        let pending = self.store.backlog().get(id).copied().unwrap_or_default();
        Some(Webhook::new(book.entry(id)?, status, pending, self.clock.now()))
    }

    /// Whether delivery serves it.
    pub fn is_enabled(&self, id: &EndpointId) -> bool {
        self.book().entry(id).is_some_and(|entry| entry.endpoint.enabled)
    }

    fn check_known(&self, id: &EndpointId) -> Result<(), Unchanged> {
        if self.book().entry(id).is_none() && *id != own_of_calls() {
            return Err(NotChanged::Unknown.into());
        }
        Ok(())
    }

    /// The events that wait, those of the oldest call first.
    pub fn pending(&self, id: &EndpointId, after: Option<Place>, limit: usize) -> Result<Page<Delivery>, Unchanged> {
        self.check_known(id)?;
        let mut items = Vec::new();
        // A page may end in the middle of a call.
        let mut calls_after = after.map(|place| place.call);
        if let Some(place) = after
            && let Some(row) = self.store.lane(id, place.call)?
        {
            items.extend(self.pending_of(id, (place.call, &row), place.seq, limit)?);
        }
        while items.len() < limit {
            let page = self.store.lanes(id, calls_after, limit)?;
            for (call, row) in &page.lanes {
                items.extend(self.pending_of(id, (*call, row), 0, limit - items.len())?);
            }
            calls_after = page.next;
            if calls_after.is_none() {
                break;
            }
        }
        let is_full = items.len() >= limit;
        let next = items.last().filter(|_| is_full).map(|last: &Delivery| Place { call: last.call_id, seq: last.seq });
        Ok(Page { items, next: next.map(|place| place.to_string()) })
    }

    /// The events of one lane that wait, with numbers above `after`, at most `limit`.
    fn pending_of(
        &self,
        id: &EndpointId,
        (call, row): (CallId, &LaneRow),
        after: u64,
        limit: usize,
    ) -> Result<Vec<Delivery>, StoreError> {
        let facts = self.store.facts(call, after.max(row.next.saturating_sub(1)), limit)?;
        Ok(facts.iter().filter(|fact| self.wants(id, fact)).map(|fact| pending_delivery(row, fact)).collect())
    }

    fn wants(&self, id: &EndpointId, fact: &ledger::Record) -> bool {
        self.book().entry(id).is_none_or(|entry| entry.endpoint.wants(fact.kind))
    }

    /// The events that were given up, those of the oldest call first.
    pub fn dead(&self, id: &EndpointId, after: Option<Place>, limit: usize) -> Result<Page<Delivery>, Unchanged> {
        self.check_known(id)?;
        let page = self.store.dead(id, after.map(|place| (place.call, place.seq)), limit)?;
        let mut items = Vec::new();
        for (call, letter) in page.letters {
            let fact = self.fact(call, letter.from)?;
            let delivery = described(call, letter.from, DeliveryState::Dead, fact.as_ref());
            items.push(delivery.dead(letter.to, letter.time, Note::decode(&letter.note)));
        }
        let next = page.next.map(|(call, seq)| Place { call, seq }.to_string());
        Ok(Page { items, next })
    }

    /// One event's way to the endpoint; `None`: nothing is known of such an event.
    pub fn delivery(&self, id: &EndpointId, call: CallId, seq: u64) -> Result<Option<DeliveryDetail>, Unchanged> {
        self.check_known(id)?;
        let fact = self.fact(call, seq)?;
        let delivery = match (self.store.dead_letter(id, call, seq)?, &fact) {
            (Some(letter), fact) => described(call, seq, DeliveryState::Dead, fact.as_ref()).dead(
                letter.to.max(seq),
                letter.time,
                Note::decode(&letter.note),
            ),
            (None, None) => return Ok(None),
            (None, Some(fact)) => self.living(id, fact)?,
        };
        let text = fact.and_then(|fact| String::from_utf8(fact.body.to_vec()).ok());
        let body = text.and_then(|text| RawValue::from_string(text).ok());
        Ok(Some(DeliveryDetail { delivery, body }))
    }

    fn living(&self, id: &EndpointId, fact: &ledger::Record) -> Result<Delivery, StoreError> {
        let had_lane = self.store.call(fact.call)?.is_some_and(|row| row.lanes.contains(id));
        let row = self.store.lane(id, fact.call)?;
        Ok(match row {
            _ if !had_lane || !self.wants(id, fact) => {
                described(fact.call, fact.seq, DeliveryState::NotSent, Some(fact))
            }
            Some(row) if row.next <= fact.seq => pending_delivery(&row, fact),
            _ => described(fact.call, fact.seq, DeliveryState::Delivered, Some(fact)),
        })
    }

    fn fact(&self, call: CallId, seq: u64) -> Result<Option<ledger::Record>, StoreError> {
        let found = self.store.facts(call, seq.saturating_sub(1), 1)?;
        Ok(found.into_iter().find(|fact| fact.seq == seq))
    }
}

fn is_left(phase: ReplayPhase) -> bool {
    matches!(phase, ReplayPhase::Queued | ReplayPhase::Running)
}

fn row_change(book: &Book, id: &EndpointId) -> Change {
    let endpoint = id.clone();
    match book.row(id) {
        Some(row) => Change::PutEndpoint { endpoint, row },
        None => Change::RemoveEndpoint { endpoint },
    }
}

fn fresh_secret() -> Secret {
    let mut bytes = [0; 32];
    for part in bytes.chunks_mut(8) {
        part.copy_from_slice(&entropy()[..8]);
    }
    Secret::generate(bytes)
}

fn described(call: CallId, seq: u64, state: DeliveryState, fact: Option<&ledger::Record>) -> Delivery {
    let mut delivery = Delivery::at(call, seq, state);
    if let Some(fact) = fact {
        delivery.event_id = Some(fact_id(call, seq, fact.time));
        delivery.kind = Some(fact.kind);
        delivery.time = Some(Time(fact.time));
    }
    delivery
}

/// Attempts are made on the event at the head of its lane, and on that alone.
fn pending_delivery(row: &LaneRow, fact: &ledger::Record) -> Delivery {
    let mut delivery = described(fact.call, fact.seq, DeliveryState::Pending, Some(fact));
    let memory = Memory::decode(&row.state);
    if let Some(attempted) = memory.attempted().filter(|_| row.next == fact.seq && !memory.has_gap()) {
        delivery.attempts = attempted.failed;
        delivery.first_attempt_at = Some(Time(attempted.since));
        delivery.last_attempt_at = Some(Time(attempted.last));
        delivery.next_attempt_at = Some(Time(attempted.due));
        delivery.last_reply = attempted.answer.map(Outcome::from);
    }
    delivery
}
