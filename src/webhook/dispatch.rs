//! The whole of delivery as one state machine: what was stored goes in, requests come out, answers come back.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use super::endpoint::{self, Endpoint};
use super::lane::{Failed, Failing, Head};
pub use super::message::*;
use super::outbox::{CircuitChange, Outbox, READ_AHEAD, SWEEP_PAGE, Settled, Want};
use super::replay::{Replay, ReplayId, ReplayPhase, ReplayWant, Replays, WALK_PAGE};
pub use super::reply::{Answer, Reply};
use super::schedule::{Draw, Jitter};
use crate::base::{CallId, EndpointId, EventId, Timestamp};
use crate::config::EventFilter;
use crate::event::EventKind;

/// Requests under way at once to all endpoints that single calls brought along. Their hosts are anyone's choice: fewer would let some
/// that hang hold up the others, more costs memory and sockets.
const OWN_SLOTS: usize = 1024;

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
    replays: BTreeMap<EndpointId, Replays>,
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
    Replay(ReplayId),
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
            replays: BTreeMap::new(),
            outputs: VecDeque::new(),
        };
        let own = Arc::new(of_calls());
        let outbox = Outbox::of_calls(own.clone(), OWN_SLOTS, settings.max_in_flight, settings.window);
        dispatcher.boxes.insert(own.id.clone(), outbox);
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
            Input::Settings(settings) => self.set(settings),
            Input::Expire { call, to } => self.expire(call, to, now),
            Input::Replay { order, progress } => {
                self.replays.entry(order.endpoint.clone()).or_default().add(order, progress);
            }
            Input::CancelReplay { endpoint, replay } => {
                let save = self.replays.get_mut(&endpoint).and_then(|replays| replays.cancel(replay, now));
                self.outputs.extend(save.map(Output::SaveReplay));
            }
            Input::Walked { endpoint, page } => self.at_replay(&endpoint, |replay| replay.walked(page, now)),
            Input::ReadAgain { endpoint, call, events } => {
                self.at_replay(&endpoint, |replay| replay.read(call, events.ok(), now));
            }
            Input::ReplaySaved(endpoint) => self.replay_saved(&endpoint, now),
            Input::Tick => {}
        }
    }

    fn at(&mut self, endpoint: &EndpointId, what: impl FnOnce(&mut Outbox)) {
        if let Some(outbox) = self.boxes.get_mut(endpoint) {
            what(outbox);
        }
    }

    fn at_replay(&mut self, endpoint: &EndpointId, what: impl FnOnce(&mut Replay)) {
        if let Some(replay) = self.replays.get_mut(endpoint).and_then(Replays::running) {
            what(replay);
        }
    }

    fn replay_saved(&mut self, endpoint: &EndpointId, now: Timestamp) {
        let Some(replays) = self.replays.get_mut(endpoint) else { return };
        if replays.running().is_some_and(Replay::saved)
            && let Some(replay) = replays.end(ReplayPhase::Done(now))
        {
            let (delivered, failed) = replay.counts();
            let (endpoint, replay) = (endpoint.clone(), replay.order().id);
            self.observe(Observation::ReplayDone { endpoint, replay, delivered, failed });
        }
    }

    fn set(&mut self, settings: Settings) {
        self.settings = settings;
        for outbox in self.boxes.values_mut().filter(|outbox| !outbox.is_of_calls()) {
            outbox.set_slots(settings.max_in_flight);
        }
    }

    fn expire(&mut self, call: CallId, to: u64, now: Timestamp) {
        for outbox in self.boxes.values_mut() {
            outbox.expire(call, to, self.random.event_id(now), now);
        }
    }

    fn reload(&mut self, endpoints: Vec<Endpoint>) {
        let mut old = std::mem::take(&mut self.boxes);
        let own = endpoint::own_of_calls();
        self.boxes.extend(old.remove_entry(&own));
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
        self.replays.retain(|endpoint, _| !old.contains_key(endpoint));
    }

    fn answered(&mut self, post: PostId, reply: Reply, now: Timestamp) {
        let Some(posted) = self.posts.remove(&post) else { return };
        let Some(outbox) = self.boxes.get_mut(&posted.endpoint) else { return };
        let Posted { endpoint, call, id, what } = posted;
        let (kind, time, attempt) = match what {
            What::Head { kind, time, attempt } => (kind, time, attempt),
            What::Telemetry => return outbox.telemetry_done(call, reply.is_success()),
            What::Replay(of) => return self.replay_answered(&endpoint, (of, call), &reply, now),
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

    fn failed(&mut self, endpoint: &EndpointId, call: CallId, attempt: Attempt<'_>) -> Option<Settled> {
        let Attempt { kind, attempt, reply, now } = attempt;
        let answer = reply.answer();
        let draw = Draw { jitter: self.random.jitter(), retry_after: reply.retry_after() };
        let gap_id = self.random.event_id(now);
        let patience = self.settings.patience;
        let outbox = self.boxes.get_mut(endpoint)?;
        let is_gone = matches!(reply, Reply::Answered { status: 410, .. });
        let settled = if is_gone {
            let gone = gone(outbox, call, now, &answer);
            self.outputs.extend(gone.map(Output::Observe));
            None
        } else {
            Some(outbox.fail(call, Failing { now, patience, draw, last_success: None, answer: &answer, gap_id }))
        };
        let failed = settled.as_ref().and_then(|settled| settled.failed);
        let retry_at = match failed {
            Some(Failed::RetryAt(at)) => Some(at),
            _ => None,
        };
        let endpoint = endpoint.clone();
        let (of, reply) = (endpoint.clone(), reply.clone());
        self.observe(Observation::Failed { endpoint: of, call, kind, attempt, reply, retry_at });
        match failed {
            Some(Failed::Parked { seq }) => {
                self.observe(Observation::Parked { endpoint, call, seq, why: answer.error });
            }
            Some(Failed::GapDropped) => self.observe(Observation::GapDropped { endpoint, call }),
            _ => {}
        }
        settled
    }

    fn replay_answered(
        &mut self,
        endpoint: &EndpointId,
        (of, call): (ReplayId, CallId),
        reply: &Reply,
        now: Timestamp,
    ) {
        let answer = reply.answer();
        let draw = Draw { jitter: self.random.jitter(), retry_after: reply.retry_after() };
        let gap_id = self.random.event_id(now);
        let patience = self.settings.patience;
        let Some(outbox) = self.boxes.get_mut(endpoint) else { return };
        let Some(replay) = self.replays.get_mut(endpoint).and_then(Replays::running) else { return };
        if replay.order().id != of {
            return;
        }
        match reply {
            _ if reply.is_success() => replay.succeed(call, now),
            Reply::Answered { status: 410, .. } => {
                replay.abandon(call);
                if outbox.endpoint.enabled {
                    outbox.disable();
                    self.observe(Observation::Disabled { endpoint: endpoint.clone() });
                }
            }
            _ => {
                let last_success = outbox.last_success();
                replay.fail(call, Failing { now, patience, draw, last_success, answer: &answer, gap_id });
            }
        }
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
        if let Some((endpoint, want)) = wanted {
            return Some(self.output(endpoint, want));
        }
        for (endpoint, outbox) in &mut self.boxes {
            for (call, from, to) in outbox.take_expired() {
                let endpoint = endpoint.clone();
                self.outputs.push_back(Output::Observe(Observation::Expired { endpoint, call, from, to }));
            }
        }
        // Replays have what the live lanes leave.
        self.outputs.pop_front().or_else(|| self.replay(now)).or_else(|| self.save())
    }

    fn replay(&mut self, now: Timestamp) -> Option<Output> {
        let width = (self.settings.max_in_flight / 4).max(1);
        let (endpoint, want) = self.replays.iter_mut().find_map(|(id, replays)| {
            let outbox = self.boxes.get(id).filter(|outbox| outbox.is_open_for_all())?;
            let replay = replays.running()?;
            if let Some(save) = replay.take_save() {
                return Some((id.clone(), Err(save)));
            }
            Some((id.clone(), Ok(replay.pump(&outbox.endpoint, width, now)?)))
        })?;
        Some(match want {
            Err(save) => Output::SaveReplay(save),
            Ok(ReplayWant::Walk { first }) => Output::Walk { endpoint, first, limit: WALK_PAGE },
            Ok(ReplayWant::Read { call, from }) => Output::ReadAgain { endpoint, call, from, limit: READ_AHEAD },
            Ok(ReplayWant::Send { call, head }) => {
                let to = self.boxes[&endpoint].endpoint.clone();
                let of = self.replays.get_mut(&endpoint)?.running()?.order().id;
                self.post(Posted { endpoint, call, id: head.id, what: What::Replay(of) }, to, head.body)
            }
        })
    }

    fn output(&mut self, endpoint: EndpointId, want: Want) -> Output {
        match want {
            Want::Sweep { after } => Output::Sweep { endpoint, after, limit: SWEEP_PAGE },
            Want::Load { call } => Output::Load { endpoint, call },
            Want::Read { call, from } => Output::Read { endpoint, call, from, limit: READ_AHEAD },
            Want::Send { call, head, to } => {
                let Head { id, kind, time, attempt, body, .. } = head;
                self.post(Posted { endpoint, call, id, what: What::Head { kind, time, attempt } }, to, body)
            }
            Want::SendTelemetry { call, event } => {
                let to = self.boxes[&endpoint].endpoint.clone();
                self.post(Posted { endpoint, call, id: event.id, what: What::Telemetry }, to, event.body)
            }
        }
    }

    fn post(&mut self, posted: Posted, to: Arc<Endpoint>, body: Bytes) -> Output {
        self.last_post += 1;
        let post = PostId(self.last_post);
        let request = Request { endpoint: to, id: posted.id, body };
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
        let lanes = self.boxes.values().filter_map(|outbox| outbox.deadline(now));
        let replays = self.replays.values().filter_map(Replays::deadline).filter(|at| *at > now);
        lanes.chain(replays).min()
    }

    /// Everything that can be delivered is, and the record knows it; what is left waits for a retry.
    pub fn is_quiet(&self) -> bool {
        !self.saving && self.boxes.values().all(Outbox::is_quiet)
    }

    /// The endpoints that take events: those that new calls get a lane to.
    pub fn enabled(&self) -> impl Iterator<Item = &EndpointId> {
        self.boxes.iter().filter(|(_, outbox)| outbox.endpoint.enabled && !outbox.is_of_calls()).map(|(id, _)| id)
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
            replays: self.replays.get(id).map(Replays::status).unwrap_or_default(),
        }
    }
}

/// The receiver has gone for good (410): the endpoint is disabled, or the one lane that goes there ends.
fn gone(outbox: &mut Outbox, call: CallId, now: Timestamp, answer: &Answer) -> Option<Observation> {
    let endpoint = outbox.endpoint.id.clone();
    if outbox.is_of_calls() {
        outbox.end(call, now, answer);
        return Some(Observation::LaneEnded { endpoint, call });
    }
    outbox.counts.failed += 1;
    let was_enabled = outbox.endpoint.enabled;
    outbox.disable();
    outbox.abandon(call);
    was_enabled.then_some(Observation::Disabled { endpoint })
}

/// What stands for the endpoints of calls, which have addresses of their own.
fn of_calls() -> Endpoint {
    Endpoint {
        id: endpoint::own_of_calls(),
        url: "about:blank".parse().expect("a URL"),
        secrets: Vec::new(),
        retiring: Vec::new(),
        events: EventFilter { all_lifecycle: true, named: Default::default() },
        enabled: true,
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
