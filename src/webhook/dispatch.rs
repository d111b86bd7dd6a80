//! The whole of delivery as one state machine: what was stored goes in, requests come out, answers come back.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::address::Refused;
use super::endpoint::Endpoint;
use super::lane::{Failed, Failing, Head, Patience};
use super::outbox::{CircuitChange, Counts, Outbox, READ_AHEAD, SWEEP_PAGE, Telemetry, Want};
use super::record::{LanePage, LaneRow, LaneSave, StoredEvent};
use super::schedule::{Draw, Jitter};
use crate::base::{CallId, EndpointId, EventId, Timestamp};
use crate::event::EventKind;

/// How delivery behaves.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Requests with lifecycle events under way at once to one endpoint.
    pub max_in_flight: usize,
    /// Lanes in memory for one endpoint, a quarter of a kilobyte each; a larger backlog stays in the record and is swept in as these
    /// are done.
    pub window: usize,
    pub patience: Patience,
}

impl Default for Settings {
    fn default() -> Self {
        let patience = Patience {
            give_up_after: Duration::from_secs(72 * 3600),
            // While it waits, the rest of its call does: longer costs a receiver with one bug the end of its calls,
            // shorter leaves less time to repair it.
            poisoned_after: Duration::from_secs(3600),
        };
        Self { max_in_flight: 64, window: 20_000, patience }
    }
}

/// Names a request that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PostId(u64);

/// Everything that can happen to delivery.
#[derive(Debug)]
pub enum Input {
    /// The record holds more of a call.
    Stored(CallId),
    /// It holds more of calls that nobody names.
    StoredSomething,
    Telemetry {
        call: CallId,
        event: Telemetry,
    },
    /// The answer to [`Output::Sweep`]; `None`: the record could not be read.
    Swept {
        endpoint: EndpointId,
        page: Option<LanePage>,
    },
    /// The answer to [`Output::Load`].
    Loaded {
        endpoint: EndpointId,
        call: CallId,
        row: Result<Option<LaneRow>, Unread>,
    },
    /// The answer to [`Output::Read`].
    Read {
        endpoint: EndpointId,
        call: CallId,
        events: Result<Vec<StoredEvent>, Unread>,
    },
    /// The answer to [`Output::Post`].
    Answered {
        post: PostId,
        reply: Reply,
    },
    /// The rows of the last [`Output::Save`] are durable.
    Saved,
    /// The endpoints as they are from here on.
    Reload(Vec<Endpoint>),
    /// Time has passed.
    Tick,
}

/// The record could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unread;

/// What delivery wants done. The record's reads are answered before anything else is handled.
#[derive(Debug)]
pub enum Output {
    Sweep { endpoint: EndpointId, after: Option<CallId>, limit: usize },
    Load { endpoint: EndpointId, call: CallId },
    Read { endpoint: EndpointId, call: CallId, from: u64, limit: usize },
    Post { post: PostId, request: Request },
    Save(Vec<LaneSave>),
    Observe(Observation),
}

/// One attempt. The one who sends it signs it, with the time of the sending.
#[derive(Debug, Clone)]
pub struct Request {
    pub endpoint: Arc<Endpoint>,
    pub id: EventId,
    pub body: Bytes,
}

/// What came of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Any status; only 2xx is a success.
    Answered {
        status: u16,
        retry_after: Option<Duration>,
        excerpt: String,
    },
    TimedOut,
    /// No answer could be had: no connection, broken TLS.
    Unreachable(String),
    /// Its address is not allowed; nothing was sent.
    Refused(Refused),
}

impl Reply {
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Answered { status: 200..=299, .. })
    }

    /// The failure in words, without what the receiver wrote.
    pub fn summary(&self) -> String {
        match self {
            Self::Answered { status, .. } => format!("status {status}"),
            Self::TimedOut => "no answer in time".into(),
            Self::Unreachable(why) => why.clone(),
            Self::Refused(refused) => refused.to_string(),
        }
    }

    /// RFC 9110, section 10.2.3; honoured where it says when a service is back or a limit ends.
    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Answered { status: 429 | 503, retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// What an operator may want to see, one by one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observation {
    /// `latency` is from the fact to the 2xx.
    Delivered {
        endpoint: EndpointId,
        call: CallId,
        kind: EventKind,
        attempt: u32,
        latency: Duration,
    },
    /// `retry_at` is `None` when the event was given up or the endpoint disabled.
    Failed {
        endpoint: EndpointId,
        call: CallId,
        kind: EventKind,
        attempt: u32,
        reply: Reply,
        retry_at: Option<Timestamp>,
    },
    /// An event has become a dead letter.
    Parked {
        endpoint: EndpointId,
        call: CallId,
        seq: u64,
        why: String,
    },
    /// Not even the gap was taken.
    GapDropped {
        endpoint: EndpointId,
        call: CallId,
    },
    CircuitOpened {
        endpoint: EndpointId,
    },
    CircuitClosed {
        endpoint: EndpointId,
    },
    /// It answered 410.
    Disabled {
        endpoint: EndpointId,
    },
}

/// One endpoint for metrics and the console.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointStatus {
    pub id: EndpointId,
    pub url: url::Url,
    pub state: EndpointState,
    /// Lanes in memory with something to do.
    pub pending_lanes: usize,
    /// The record holds lanes beyond those.
    pub more: bool,
    pub in_flight: usize,
    /// When the oldest fact that waits happened.
    pub oldest: Option<Timestamp>,
    pub counts: Counts,
    pub last: Option<LastReply>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndpointState {
    Active,
    /// Only single probes are sent.
    CircuitOpen {
        since: Timestamp,
    },
    Disabled,
}

/// The last answer of an endpoint to a lifecycle event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastReply {
    pub at: Timestamp,
    pub event: EventId,
    pub reply: Reply,
}

/// All outboxes, and the requests under way.
#[derive(Debug)]
pub struct Dispatcher {
    settings: Settings,
    random: Random,
    boxes: BTreeMap<EndpointId, Outbox>,
    last: BTreeMap<EndpointId, LastReply>,
    posts: BTreeMap<PostId, Posted>,
    last_post: u64,
    saving: bool,
    outputs: VecDeque<Output>,
}

#[derive(Debug)]
struct Posted {
    endpoint: EndpointId,
    call: CallId,
    id: EventId,
    what: What,
}

#[derive(Debug)]
enum What {
    Head { kind: EventKind, time: Timestamp, attempt: u32 },
    Telemetry,
}

impl Dispatcher {
    /// `seed` feeds jitter and the names of gaps; one seed and one order of inputs is one run.
    pub fn new(settings: Settings, endpoints: Vec<Endpoint>, seed: u64) -> Self {
        let mut dispatcher = Self {
            settings,
            random: Random(seed),
            boxes: BTreeMap::new(),
            last: BTreeMap::new(),
            posts: BTreeMap::new(),
            last_post: 0,
            saving: false,
            outputs: VecDeque::new(),
        };
        dispatcher.reload(endpoints);
        dispatcher
    }

    // Inputs

    /// Takes one input; drain [`Dispatcher::poll`] afterwards.
    pub fn handle(&mut self, input: Input, now: Timestamp) {
        match input {
            Input::Stored(call) => self.boxes.values_mut().for_each(|outbox| outbox.nudge(call, now)),
            Input::StoredSomething => self.boxes.values_mut().for_each(|outbox| outbox.nudge_all(now)),
            Input::Telemetry { call, event } => {
                self.boxes.values_mut().for_each(|outbox| outbox.telemetry(call, event.clone()));
            }
            Input::Swept { endpoint, page } => self.at(&endpoint, |outbox| match page {
                Some(page) => outbox.swept(page, now),
                None => outbox.unswept(now),
            }),
            Input::Loaded { endpoint, call, row } => self.at(&endpoint, |outbox| match row {
                Ok(row) => outbox.loaded(call, row, now),
                Err(Unread) => outbox.unloaded(now),
            }),
            Input::Read { endpoint, call, events } => {
                self.at(&endpoint, |outbox| outbox.read(call, events.ok(), now));
            }
            Input::Answered { post, reply } => self.answered(post, reply, now),
            Input::Saved => {
                self.saving = false;
                self.boxes.values_mut().for_each(Outbox::saved);
            }
            Input::Reload(endpoints) => self.reload(endpoints),
            Input::Tick => {}
        }
    }

    fn at(&mut self, endpoint: &EndpointId, what: impl FnOnce(&mut Outbox)) {
        if let Some(outbox) = self.boxes.get_mut(endpoint) {
            what(outbox);
        }
    }

    fn reload(&mut self, endpoints: Vec<Endpoint>) {
        let mut old = std::mem::take(&mut self.boxes);
        for endpoint in endpoints {
            let id = endpoint.id.clone();
            let endpoint = Arc::new(endpoint);
            let outbox = match old.remove(&id) {
                Some(mut outbox) => {
                    outbox.replace(endpoint);
                    outbox
                }
                None => Outbox::new(endpoint, self.settings.max_in_flight, self.settings.window),
            };
            self.boxes.insert(id, outbox);
        }
        // An endpoint of the same name that comes back later is another one: answers that are still to come are not its.
        self.posts.retain(|_, posted| !old.contains_key(&posted.endpoint));
        self.last.retain(|endpoint, _| self.boxes.contains_key(endpoint));
    }

    fn answered(&mut self, post: PostId, reply: Reply, now: Timestamp) {
        let Some(posted) = self.posts.remove(&post) else { return };
        let Some(outbox) = self.boxes.get_mut(&posted.endpoint) else { return };
        let Posted { endpoint, call, id, what } = posted;
        let What::Head { kind, time, attempt } = what else {
            return outbox.telemetry_done(call, reply.is_success());
        };
        let settled = if reply.is_success() {
            let latency = now.since(time);
            self.observe(Observation::Delivered { endpoint: endpoint.clone(), call, kind, attempt, latency });
            self.boxes.get_mut(&endpoint).map(|outbox| outbox.succeed(call, now))
        } else {
            self.failed(&endpoint, call, Attempt { kind, attempt, reply: &reply, now })
        };
        match settled.and_then(|settled| settled.circuit) {
            Some(CircuitChange::Opened) => self.observe(Observation::CircuitOpened { endpoint: endpoint.clone() }),
            Some(CircuitChange::Closed) => self.observe(Observation::CircuitClosed { endpoint: endpoint.clone() }),
            None => {}
        }
        self.last.insert(endpoint, LastReply { at: now, event: id, reply });
    }

    fn failed(&mut self, endpoint: &EndpointId, call: CallId, attempt: Attempt<'_>) -> Option<super::outbox::Settled> {
        let Attempt { kind, attempt, reply, now } = attempt;
        let why = reply.summary();
        let draw = Draw { jitter: self.random.jitter(), retry_after: reply.retry_after() };
        let gap_id = self.random.event_id(now);
        let outbox = self.boxes.get_mut(endpoint)?;
        if matches!(reply, Reply::Answered { status: 410, .. }) {
            outbox.counts.failed += 1;
            let was_enabled = outbox.endpoint.enabled;
            outbox.disable();
            outbox.abandon(call);
            let endpoint = endpoint.clone();
            let (endpoint_failed, reply) = (endpoint.clone(), reply.clone());
            self.observe(Observation::Failed { endpoint: endpoint_failed, call, kind, attempt, reply, retry_at: None });
            if was_enabled {
                self.observe(Observation::Disabled { endpoint });
            }
            return None;
        }
        let patience = self.settings.patience;
        let settled = outbox.fail(call, Failing { now, patience, draw, last_success: None, why: &why, gap_id });
        let retry_at = match settled.failed {
            Some(Failed::RetryAt(at)) => Some(at),
            _ => None,
        };
        let endpoint = endpoint.clone();
        let (endpoint_failed, reply) = (endpoint.clone(), reply.clone());
        self.observe(Observation::Failed { endpoint: endpoint_failed, call, kind, attempt, reply, retry_at });
        match settled.failed {
            Some(Failed::Parked { seq }) => self.observe(Observation::Parked { endpoint, call, seq, why }),
            Some(Failed::GapDropped) => self.observe(Observation::GapDropped { endpoint, call }),
            _ => {}
        }
        Some(settled)
    }

    fn observe(&mut self, observation: Observation) {
        self.outputs.push_back(Output::Observe(observation));
    }

    // Outputs

    /// What is to be done next; `None`: nothing until an input or the deadline.
    pub fn poll(&mut self, now: Timestamp) -> Option<Output> {
        if let Some(output) = self.outputs.pop_front() {
            return Some(output);
        }
        let wanted = self.boxes.iter_mut().find_map(|(id, outbox)| Some((id.clone(), outbox.pump(now)?)));
        match wanted {
            Some((endpoint, want)) => Some(self.output(endpoint, want)),
            None => self.save(),
        }
    }

    fn output(&mut self, endpoint: EndpointId, want: Want) -> Output {
        match want {
            Want::Sweep { after } => Output::Sweep { endpoint, after, limit: SWEEP_PAGE },
            Want::Load { call } => Output::Load { endpoint, call },
            Want::Read { call, from } => Output::Read { endpoint, call, from, limit: READ_AHEAD },
            Want::Send { call, head } => {
                let Head { id, kind, time, attempt, body, .. } = head;
                self.post(Posted { endpoint, call, id, what: What::Head { kind, time, attempt } }, body)
            }
            Want::SendTelemetry { call, event } => {
                self.post(Posted { endpoint, call, id: event.id, what: What::Telemetry }, event.body)
            }
        }
    }

    fn post(&mut self, posted: Posted, body: Bytes) -> Output {
        self.last_post += 1;
        let post = PostId(self.last_post);
        let endpoint = self.boxes[&posted.endpoint].endpoint.clone();
        let request = Request { endpoint, id: posted.id, body };
        self.posts.insert(post, posted);
        Output::Post { post, request }
    }

    fn save(&mut self) -> Option<Output> {
        if self.saving || !self.boxes.values().any(Outbox::is_dirty) {
            return None;
        }
        self.saving = true;
        let mut saves = Vec::new();
        self.boxes.values_mut().for_each(|outbox| outbox.take_saves(&mut saves));
        Some(Output::Save(saves))
    }

    // Getters

    /// When to hand in a [`Input::Tick`] if nothing else comes.
    pub fn deadline(&self, now: Timestamp) -> Option<Timestamp> {
        self.boxes.values().filter_map(|outbox| outbox.deadline(now)).min()
    }

    /// Everything that can be delivered is, and the record knows it; what is left waits for a retry.
    pub fn is_quiet(&self) -> bool {
        !self.saving && self.boxes.values().all(Outbox::is_quiet)
    }

    /// The endpoints that take events: those that new calls get a lane to.
    pub fn enabled(&self) -> impl Iterator<Item = &EndpointId> {
        self.boxes.iter().filter(|(_, outbox)| outbox.endpoint.enabled).map(|(id, _)| id)
    }

    pub fn status(&self) -> Vec<EndpointStatus> {
        self.boxes.iter().map(|(id, outbox)| self.status_of(id, outbox)).collect()
    }

    fn status_of(&self, id: &EndpointId, outbox: &Outbox) -> EndpointStatus {
        let state = match outbox.circuit_open_since() {
            _ if !outbox.endpoint.enabled => EndpointState::Disabled,
            Some(since) => EndpointState::CircuitOpen { since },
            None => EndpointState::Active,
        };
        EndpointStatus {
            id: id.clone(),
            url: outbox.endpoint.url.clone(),
            state,
            pending_lanes: outbox.pending_lanes(),
            more: outbox.has_more(),
            in_flight: outbox.in_flight(),
            oldest: outbox.oldest(),
            counts: outbox.counts,
            last: self.last.get(id).cloned(),
        }
    }
}

struct Attempt<'a> {
    kind: EventKind,
    attempt: u32,
    reply: &'a Reply,
    now: Timestamp,
}

/// SplitMix64: enough to spread retries and to name gaps; nothing secret hangs on it.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn jitter(&mut self) -> Jitter {
        Jitter::from_random(self.next())
    }

    fn event_id(&mut self, now: Timestamp) -> EventId {
        let mut entropy = [0; 10];
        entropy[..8].copy_from_slice(&self.next().to_be_bytes());
        entropy[8..].copy_from_slice(&self.next().to_be_bytes()[..2]);
        EventId::new(now, entropy)
    }
}
