//! What waits for delivery's thread: newest values and names, so that it is bounded however long the thread is busy.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::base::{CallId, EndpointId};
use crate::event::EventKind;
use crate::webhook::Endpoint;
use crate::webhook::dispatch::{Input, PostId, Reply, Settings};
use crate::webhook::outbox::Telemetry;

/// Calls with news that are kept by name; with more the thread looks for them in the record itself.
const MAX_STORED: usize = 50_000;
/// Telemetry that waits for the thread; what does not fit is dropped, as telemetry may be.
const MAX_TELEMETRY: usize = 10_000;

/// Filled from any thread without waiting, emptied by one.
#[derive(Default)]
pub struct Mailbox {
    mail: Mutex<Mail>,
    came: Condvar,
}

/// Everything that came since the last look.
#[derive(Default)]
pub struct Mail {
    pub stored: BTreeSet<CallId>,
    /// More calls than could be named.
    pub stored_something: bool,
    pub telemetry: BTreeMap<(CallId, EventKind), Telemetry>,
    /// Bounded by the requests under way.
    pub answers: Vec<(PostId, Reply)>,
    pub saved: bool,
    pub reload: Option<Vec<Endpoint>>,
    pub settings: Option<Settings>,
    /// Bounded by those who ask: they ask one thing after another.
    pub asked: Vec<Input>,
    /// At most one for each endpoint.
    pub replays_saved: Vec<EndpointId>,
    /// Until when what is due may still be sent.
    pub stop: Option<Instant>,
}

impl Mail {
    fn is_empty(&self) -> bool {
        self.stored.is_empty()
            && !self.stored_something
            && self.telemetry.is_empty()
            && self.answers.is_empty()
            && !self.saved
            && self.reload.is_none()
            && self.settings.is_none()
            && self.asked.is_empty()
            && self.replays_saved.is_empty()
            && self.stop.is_none()
    }
}

impl Mailbox {
    pub fn stored(&self, call: CallId) {
        self.put(|mail| {
            if mail.stored.len() < MAX_STORED {
                mail.stored.insert(call);
            } else {
                mail.stored_something = true;
            }
        });
    }

    pub fn telemetry(&self, call: CallId, event: Telemetry) {
        self.put(|mail| {
            if mail.telemetry.len() < MAX_TELEMETRY {
                mail.telemetry.insert((call, event.kind), event);
            }
        });
    }

    pub fn put(&self, what: impl FnOnce(&mut Mail)) {
        what(&mut self.lock());
        self.came.notify_one();
    }

    /// Takes what has come; waits for something until `deadline`.
    pub fn take(&self, deadline: Option<Instant>) -> Mail {
        let mut mail = self.lock();
        while mail.is_empty() {
            match deadline {
                None => mail = self.came.wait(mail).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        break;
                    }
                    mail = self.came.wait_timeout(mail, left).unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
        std::mem::take(&mut mail)
    }

    fn lock(&self) -> MutexGuard<'_, Mail> {
        self.mail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
