//! Delivery's thread: it takes what came, steps the dispatcher, reads the record and hands requests to tokio.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use tokio::runtime::Handle;

use super::mailbox::{Mail, Mailbox};
use super::post::Client;
use crate::base::{CallId, EndpointId, EventId, Timestamp};
use crate::event::EventKind;
use crate::webhook::dispatch::{Dispatcher, Input, Output, PostId, Reply, Request, Unread};
use crate::webhook::outbox::Telemetry;
use crate::webhook::record::{Record, Unreadable};
use crate::webhook::{Endpoint, EndpointStatus, Observation, Settings};

/// The status is as old as this at most. Shorter: more walks over the lanes of a large backlog.
const STATUS_AGE: Duration = Duration::from_millis(250);

/// What delivery is made of.
pub struct Parts<R> {
    pub record: R,
    pub endpoints: Vec<Endpoint>,
    pub settings: Settings,
    pub client: Client,
    /// The node's clock: the one that facts are stamped with.
    pub now: Box<dyn Fn() -> Timestamp + Send>,
    /// Called on delivery's thread for each thing worth counting or logging; it hands over and returns.
    pub observe: Box<dyn FnMut(Observation) + Send>,
    /// Where requests run.
    pub runtime: Handle,
    /// Feeds jitter; from the operating system.
    pub seed: u64,
}

/// Owns the thread. Stop it with [`Deliverer::shutdown`].
pub struct Deliverer {
    handle: DelivererHandle,
    thread: JoinHandle<()>,
}

/// Tells delivery what happened. Cheap to clone; nothing here waits or fails.
#[derive(Clone)]
pub struct DelivererHandle {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    mailbox: Mailbox,
    seen: Mutex<Seen>,
}

/// What others may look at.
#[derive(Default)]
struct Seen {
    status: Arc<Vec<EndpointStatus>>,
    enabled: Arc<[EndpointId]>,
}

impl Deliverer {
    /// Starts delivery; it begins with what the record holds from before.
    pub fn start<R: Record>(parts: Parts<R>) -> anyhow::Result<Self> {
        let Parts { record, endpoints, settings, client, now, observe, runtime, seed } = parts;
        let shared = Arc::new(Shared::default());
        let dispatcher = Dispatcher::new(settings, endpoints, seed);
        let driver = Driver { dispatcher, record, client, now, observe, runtime, shared: shared.clone(), shown: None };
        driver.show();
        let thread = std::thread::Builder::new()
            .name("webhook".into())
            .spawn(move || driver.run())
            .context("delivery's thread")?;
        Ok(Self { handle: DelivererHandle { shared }, thread })
    }

    pub fn handle(&self) -> DelivererHandle {
        self.handle.clone()
    }

    /// Sends what is due until `deadline`, waits for the answers, has the record written, and ends the thread. Whatever is left stays
    /// in the record for the next start. Call it while the record's writer still works.
    pub async fn shutdown(self, deadline: Duration) {
        let until = Instant::now() + deadline;
        self.handle.shared.mailbox.put(|mail| mail.stop = Some(until));
        let ended = tokio::task::spawn_blocking(move || self.thread.join()).await;
        if let Err(panic) = ended.expect("joining a thread does not panic") {
            std::panic::resume_unwind(panic);
        }
    }
}

impl DelivererHandle {
    /// The record holds new facts of `call`. To be called when they are durable, not before.
    pub fn stored(&self, call: CallId) {
        self.shared.mailbox.stored(call);
    }

    /// The newest value of a call's telemetry; `body` is [`TelemetryEnvelope::to_json`](crate::event::TelemetryEnvelope::to_json) of `id`.
    pub fn telemetry(&self, call: CallId, kind: EventKind, id: EventId, body: Bytes) {
        self.shared.mailbox.telemetry(call, Telemetry { id, kind, body });
    }

    /// The endpoints as they are from here on: new ones begin, missing ones are forgotten (their lanes stay in the record).
    pub fn reload(&self, endpoints: Vec<Endpoint>) {
        self.shared.mailbox.put(|mail| mail.reload = Some(endpoints));
    }

    /// How delivery behaves from here on.
    pub fn set(&self, settings: Settings) {
        self.shared.mailbox.put(|mail| mail.settings = Some(settings));
    }

    /// Asks for something that is done once: a replay's begin or end, an expiry.
    pub fn ask(&self, input: Input) {
        self.shared.mailbox.put(|mail| mail.asked.push(input));
    }

    /// The endpoints that new calls get a lane to.
    pub fn enabled(&self) -> Arc<[EndpointId]> {
        self.shared.seen().enabled.clone()
    }

    /// How each endpoint does; at most a quarter of a second old.
    pub fn status(&self) -> Arc<Vec<EndpointStatus>> {
        self.shared.seen().status.clone()
    }
}

impl Shared {
    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread's own state.
struct Driver<R> {
    dispatcher: Dispatcher,
    record: R,
    client: Client,
    now: Box<dyn Fn() -> Timestamp + Send>,
    observe: Box<dyn FnMut(Observation) + Send>,
    runtime: Handle,
    shared: Arc<Shared>,
    /// When the status was shown, if it has been since anything happened.
    shown: Option<Instant>,
}

impl<R: Record> Driver<R> {
    fn run(mut self) {
        let mut stop = None;
        let mut show_at: Option<Instant> = None;
        self.drain();
        loop {
            let deadline = [self.deadline(), show_at, stop].into_iter().flatten().min();
            let mail = self.shared.mailbox.take(deadline);
            stop = stop.or(mail.stop);
            self.take(mail);
            self.drain();
            let now = Instant::now();
            let due = *show_at.get_or_insert_with(|| self.shown.map_or(now, |shown| shown + STATUS_AGE));
            if due <= now || self.enabled_changed() {
                self.show();
                self.shown = Some(now);
                show_at = None;
            }
            if stop.is_some_and(|until| until <= now || self.dispatcher.is_quiet()) {
                return self.show();
            }
        }
    }

    /// In this machine's monotonic time.
    fn deadline(&self) -> Option<Instant> {
        let now = (self.now)();
        Some(Instant::now() + self.dispatcher.deadline(now)?.since(now))
    }

    fn take(&mut self, mail: Mail) {
        let Mail {
            stored,
            stored_something,
            telemetry,
            answers,
            saved,
            reload,
            settings,
            asked,
            replays_saved,
            stop: _,
        } = mail;
        if let Some(settings) = settings {
            self.handle(Input::Settings(settings));
        }
        if let Some(endpoints) = reload {
            self.handle(Input::Reload(endpoints));
        }
        if saved {
            self.handle(Input::Saved);
        }
        for endpoint in replays_saved {
            self.handle(Input::ReplaySaved(endpoint));
        }
        for input in asked {
            self.handle(input);
        }
        for (post, reply) in answers {
            self.handle(Input::Answered { post, reply });
        }
        for call in stored {
            self.handle(Input::Stored(call));
        }
        if stored_something {
            self.handle(Input::StoredSomething);
        }
        for ((call, _), event) in telemetry {
            self.handle(Input::Telemetry { call, event });
        }
    }

    fn handle(&mut self, input: Input) {
        let now = (self.now)();
        self.dispatcher.handle(input, now);
    }

    fn drain(&mut self) {
        while let Some(output) = self.dispatcher.poll((self.now)()) {
            match output {
                Output::Sweep { endpoint, after, limit } => {
                    let page = self.record.lanes(&endpoint, after, limit).map_err(warn_unread).ok();
                    self.handle(Input::Swept { endpoint, page });
                }
                Output::Load { endpoint, call } => {
                    let row = self.record.lane(&endpoint, call).map_err(warn_unread);
                    self.handle(Input::Loaded { endpoint, call, row });
                }
                Output::Read { endpoint, call, from, limit } => {
                    let events = self.record.events(call, from, limit).map_err(warn_unread);
                    self.handle(Input::Read { endpoint, call, events });
                }
                Output::Post { post, request } => self.post(post, request),
                Output::Save(rows) => {
                    let shared = self.shared.clone();
                    self.record.save(rows, Box::new(move || shared.mailbox.put(|mail| mail.saved = true)));
                }
                Output::Walk { endpoint, first, limit } => {
                    let page = self.record.calls(first, limit).map_err(warn_unread).ok();
                    self.handle(Input::Walked { endpoint, page });
                }
                Output::ReadAgain { endpoint, call, from, limit } => {
                    let events = self.record.events(call, from, limit).map_err(warn_unread);
                    self.handle(Input::ReadAgain { endpoint, call, events });
                }
                Output::SaveReplay(save) => {
                    let (shared, endpoint) = (self.shared.clone(), save.endpoint.clone());
                    let saved = move || shared.mailbox.put(|mail| mail.replays_saved.push(endpoint));
                    self.record.save_replay(save, Box::new(saved));
                }
                Output::Observe(observation) => (self.observe)(observation),
            }
        }
    }

    fn post(&self, post: PostId, request: Request) {
        let client = self.client.clone();
        let answer = Answer { post, shared: self.shared.clone(), reply: None };
        self.runtime.spawn(async move { answer.give(client.post(&request).await) });
    }

    fn enabled_changed(&self) -> bool {
        !self.dispatcher.enabled().eq(self.shared.seen().enabled.iter())
    }

    fn show(&self) {
        let status = Arc::new(self.dispatcher.status());
        let enabled = self.dispatcher.enabled().cloned().collect();
        *self.shared.seen() = Seen { status, enabled };
    }
}

/// Brings the answer of a request back however its task ends: an attempt that vanished would hold its lane for ever.
struct Answer {
    post: PostId,
    shared: Arc<Shared>,
    reply: Option<Reply>,
}

impl Answer {
    fn give(mut self, reply: Reply) {
        self.reply = Some(reply);
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        let reply = self.reply.take().unwrap_or_else(|| Reply::Unreachable("the request was broken off".into()));
        self.shared.mailbox.put(|mail| mail.answers.push((self.post, reply)));
    }
}

fn warn_unread(error: Unreadable) -> Unread {
    tracing::warn!(%error, "deliveries wait");
    Unread
}
