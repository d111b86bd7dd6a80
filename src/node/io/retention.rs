//! How long the record keeps calls: by age and by size, never silently, and never without a word to who has not got their events.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::Webhooks;
use crate::api::io::endpoints::Endpoints;
use crate::base::{CallId, EndpointId, Timestamp};
use crate::config;
use crate::control::io::Clock;
use crate::event::GapReason;
use crate::ledger::io::{ChangeError, Store, StoreError, WriterHandle};
use crate::ledger::{CallRow, Change, DeadRow, LaneSave};
use crate::metrics::Metrics;
use crate::webhook::dispatch::Input;
use crate::webhook::endpoint::own_of_calls;
use crate::webhook::io::DelivererHandle;
use crate::webhook::record::Note;

/// Between two looks. A call goes this much late at most.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// Calls looked at, and changed in one transaction, at once.
const PAGE: usize = 200;

/// What is kept; `None`: without a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    pub keep: Option<Duration>,
    /// Of facts, their keys included.
    pub max_bytes: Option<u64>,
}

impl Retention {
    pub fn of(config: &config::Ledger) -> Self {
        let keep = Some(config.keep).filter(|keep| !keep.is_zero());
        Self { keep, max_bytes: Some(config.max_size).filter(|size| *size > 0) }
    }
}

/// Looks through the record from time to time.
pub struct Keeper<T> {
    store: Arc<Store>,
    writer: WriterHandle<T>,
    delivery: DelivererHandle,
    endpoints: Arc<Endpoints>,
    clock: Clock,
    metrics: Metrics,
}

/// Why a look ended early; the next one goes on.
#[derive(Debug, thiserror::Error)]
enum Interrupted {
    #[error(transparent)]
    Unread(#[from] StoreError),
    #[error(transparent)]
    Unwritten(#[from] ChangeError),
}

/// What one look is about, and how far it has come.
struct Look {
    now: Timestamp,
    /// Calls that ended before are too old.
    cutoff: Option<Timestamp>,
    /// Bytes that are too many.
    excess: u64,
    forgotten: u64,
    freed: u64,
}

/// What becomes of one call.
enum Fate {
    Stays,
    /// Somebody has not got its events: they are told, and it goes the next time.
    Expires,
    /// Its facts go; what its lanes have yet to tell does not need them.
    Empties(u64),
    Goes(u64),
}

impl<T: Send + 'static> Keeper<T> {
    pub fn new(
        store: &Arc<Store>,
        writer: WriterHandle<T>,
        webhooks: &Webhooks,
        clock: Clock,
        metrics: &Metrics,
    ) -> Self {
        let (delivery, endpoints) = (webhooks.deliverer.handle(), webhooks.endpoints.clone());
        Self { store: store.clone(), writer, delivery, endpoints, clock, metrics: metrics.clone() }
    }

    /// Runs as long as the node; a new `retention` is acted on at once.
    pub async fn run(self, mut retention: watch::Receiver<Retention>) {
        loop {
            let kept = *retention.borrow_and_update();
            if let Err(error) = self.look(kept).await {
                tracing::warn!(%error, "the record was not looked through to its end");
            }
            tokio::select! {
                changed = retention.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    async fn look(&self, retention: Retention) -> Result<(), Interrupted> {
        let now = self.clock.now();
        let bytes = self.store.fact_bytes()?;
        self.metrics.fact_bytes(bytes);
        let mut look = Look::new(now, retention, bytes);
        let mut first = Some(CallId::from_u128(0));
        while let Some(from) = first.filter(|_| look.has_aim()) {
            let store = self.store.clone();
            let page = tokio::task::spawn_blocking(move || store.calls(from, PAGE)).await;
            let page = page.map_err(|_| StoreError::Away)??;
            first = page.last().filter(|_| page.len() == PAGE).and_then(|(call, _)| following(*call));
            if !self.look_at(&mut look, page).await? {
                break;
            }
        }
        if look.forgotten > 0 {
            let Look { forgotten, freed, .. } = look;
            tracing::info!(calls = forgotten, bytes = freed, "calls are not kept any longer");
            self.metrics.fact_bytes(self.store.fact_bytes()?);
        }
        Ok(())
    }

    /// False: those that follow are all too young.
    async fn look_at(&self, look: &mut Look, page: Vec<(CallId, CallRow)>) -> Result<bool, Interrupted> {
        let mut changes = Vec::new();
        let mut goes_on = true;
        for (call, row) in page {
            if !look.concerns(call) {
                goes_on = false;
                break;
            }
            match self.fate(look, call, &row)? {
                Fate::Stays => {}
                Fate::Expires => self.expire(call, &row, look.now)?,
                Fate::Empties(bytes) => {
                    look.free(bytes);
                    changes.push(Change::Empty { call });
                }
                Fate::Goes(bytes) => {
                    look.free(bytes);
                    look.forgotten += 1;
                    changes.push(Change::Forget { call });
                }
            }
        }
        let gone = changes.iter().filter(|change| matches!(change, Change::Forget { .. })).count();
        if !changes.is_empty() {
            self.writer.changes().make(changes).await?;
            self.metrics.forgotten(gone as u64);
        }
        Ok(goes_on)
    }

    fn fate(&self, look: &Look, call: CallId, row: &CallRow) -> Result<Fate, StoreError> {
        let aged = look.cutoff.is_some_and(|cutoff| row.last < cutoff);
        if row.open || !(aged || look.excess > 0) {
            return Ok(Fate::Stays);
        }
        let (mut waits, mut tells, mut died) = (false, false, None);
        for endpoint in &row.lanes {
            if let Some(lane) = self.store.lane(endpoint, call)? {
                waits |= lane.pending(row.last_seq) > 0;
                tells = true;
            }
            died = died.max(self.store.last_death(endpoint, call)?);
        }
        let bytes = self.store.call_bytes(call)?;
        Ok(match (waits, tells) {
            (true, _) => Fate::Expires,
            (false, true) if bytes > 0 => Fate::Empties(bytes),
            (false, true) => Fate::Stays,
            // A dead letter is kept for its own time, and what it is about with it.
            (false, false) if look.excess == 0 && died >= look.cutoff && died.is_some() => Fate::Stays,
            (false, false) => Fate::Goes(bytes),
        })
    }

    /// Whoever has not got all of the call is told that they will not.
    fn expire(&self, call: CallId, row: &CallRow, now: Timestamp) -> Result<(), StoreError> {
        let to = row.last_seq;
        self.delivery.ask(Input::Expire { call, to });
        // Those whom delivery does not serve: disabled ones, and those that the configuration does not name any more.
        for endpoint in row.lanes.iter().filter(|endpoint| !self.is_served(endpoint)) {
            let Some(lane) = self.store.lane(endpoint, call)?.filter(|lane| lane.pending(to) > 0) else { continue };
            let from = lane.next;
            let note = Note { reason: GapReason::Expired, attempts: 0, since: None, answer: None };
            let dead = vec![DeadRow { from, to, time: now, note: note.encode() }];
            let save = LaneSave { endpoint: endpoint.clone(), call, row: None, dead };
            self.writer.save_lanes(vec![save], Box::new(|| ()));
            self.metrics.expired(to + 1 - from);
            tracing::error!(%endpoint, %call, from, to, "events for an endpoint that is not served are too old to be kept");
        }
        Ok(())
    }

    fn is_served(&self, endpoint: &EndpointId) -> bool {
        *endpoint == own_of_calls() || self.endpoints.is_enabled(endpoint)
    }
}

impl Look {
    fn new(now: Timestamp, retention: Retention, bytes: u64) -> Self {
        let cutoff = retention.keep.map(|keep| now - keep);
        let over = retention.max_bytes.map_or(0, |max| bytes.saturating_sub(max));
        // Some more than must go, so that not each new call makes an old one go.
        let excess = if over > 0 { over + retention.max_bytes.unwrap_or(0) / 20 } else { 0 };
        Self { now, cutoff, excess, forgotten: 0, freed: 0 }
    }

    fn has_aim(&self) -> bool {
        self.cutoff.is_some() || self.excess > 0
    }

    /// Calls come in the order in which they were made; one that was made too late ended too late.
    fn concerns(&self, call: CallId) -> bool {
        self.excess > 0 || self.cutoff.is_some_and(|cutoff| call.made_at() < cutoff)
    }

    fn free(&mut self, bytes: u64) {
        self.freed += bytes;
        self.excess = self.excess.saturating_sub(bytes);
    }
}

fn following(call: CallId) -> Option<CallId> {
    call.as_u128().checked_add(1).map(CallId::from_u128)
}
