//! Everything one endpoint is yet to be given: its lanes in memory, its circuit, its telemetry.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::circuit::{Admission, Circuit};
use super::endpoint::Endpoint;
use super::hosts::Hosts;
use super::lane::{Failed, Failing, Head, Lane, Phase, Step};
use super::record::{LanePage, LaneRow, LaneSave, StoredEvent};
use super::reply::Answer;
use super::sweep::Sweep;
use crate::base::{CallId, EventId, Timestamp};
use crate::event::EventKind;

/// Lanes asked for at once by a sweep.
pub const SWEEP_PAGE: usize = 500;
/// Events read at once. A lane sends them in a row; more would only cost memory.
pub const READ_AHEAD: usize = 8;
/// Calls whose newest telemetry may wait; that of further ones is dropped.
const TELEMETRY_CALLS: usize = 10_000;
/// The record could not be read: when it is asked again.
const UNREAD_PAUSE: Duration = Duration::from_secs(1);

/// Lanes that wait for a retry and were left in the record are looked for no sooner: a walk through a large backlog is not free.
const LEFT_OUT_PAUSE: Duration = Duration::from_secs(30);

/// What an outbox wants done.
#[derive(Debug)]
pub enum Want {
    /// One page of the endpoint's lanes.
    Sweep { after: Option<CallId> },
    /// One lane's row.
    Load { call: CallId },
    /// A call's events.
    Read { call: CallId, from: u64 },
    /// A lane's head on its way.
    Send { call: CallId, head: Head, to: Arc<Endpoint> },
    /// A telemetry event on its way.
    SendTelemetry { call: CallId, event: Telemetry },
}

/// A telemetry event for one endpoint.
#[derive(Debug, Clone)]
pub struct Telemetry {
    pub id: EventId,
    pub kind: EventKind,
    pub body: Bytes,
}

/// Totals since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Events answered with 2xx.
    pub delivered: u64,
    /// Attempts that were not.
    pub failed: u64,
    /// Attempts on an event beyond its first.
    pub retried: u64,
    /// Events given up.
    pub dead: u64,
    pub telemetry_sent: u64,
    /// Replaced by a newer value, or not sendable.
    pub telemetry_dropped: u64,
}

/// Whose lanes an outbox holds.
#[derive(Debug)]
enum Kind {
    /// All go to one endpoint, and its circuit speaks for all of them.
    OneEndpoint,
    /// Each goes where its own call said; there is no circuit, but a limit for each host.
    OwnOfCalls(Hosts),
}

/// The lanes of one endpoint.
#[derive(Debug)]
pub struct Outbox {
    pub endpoint: Arc<Endpoint>,
    pub counts: Counts,
    /// Requests with lifecycle events that may be under way at once.
    slots: usize,
    /// Lanes that may be in memory.
    window: usize,
    busy: usize,
    circuit: Circuit,
    last_success: Option<Timestamp>,
    /// When the endpoint last came back: what failed before need not wait longer, also what is still on the disk.
    back_at: Option<Timestamp>,
    lanes: BTreeMap<CallId, Lane>,
    /// Lanes whose row in the record is older than they are.
    dirty: BTreeSet<CallId>,
    /// Those whose row is being written.
    saving: BTreeSet<CallId>,
    due: VecDeque<CallId>,
    timers: BTreeSet<(Timestamp, CallId)>,
    sweep: Sweep,
    telemetry: BTreeMap<CallId, Slot>,
    telemetry_due: VecDeque<CallId>,
    telemetry_busy: usize,
    wants: VecDeque<Want>,
    kind: Kind,
    /// Calls whose events up to a number are not kept any longer, until their lanes have heard of it; with the gap's name.
    expiring: BTreeMap<CallId, (u64, EventId)>,
    /// What came of it: the first number that was not delivered, and the last.
    expired: Vec<(CallId, u64, u64)>,
}

/// One call's telemetry: the newest of each kind waits while one is under way.
#[derive(Debug, Default)]
struct Slot {
    waiting: VecDeque<Telemetry>,
    in_flight: bool,
}

/// What an answer to a lane's head led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settled {
    pub failed: Option<Failed>,
    pub circuit: Option<CircuitChange>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CircuitChange {
    Opened,
    Closed,
}

impl Outbox {
    /// An outbox that begins by sweeping in what the record holds.
    pub fn new(endpoint: Arc<Endpoint>, slots: usize, window: usize) -> Self {
        let sweep = if endpoint.enabled { Sweep::begun() } else { Sweep::default() };
        Self {
            endpoint,
            counts: Counts::default(),
            slots: slots.max(1),
            window: window.max(1),
            busy: 0,
            circuit: Circuit::default(),
            last_success: None,
            back_at: None,
            lanes: BTreeMap::new(),
            dirty: BTreeSet::new(),
            saving: BTreeSet::new(),
            due: VecDeque::new(),
            timers: BTreeSet::new(),
            sweep,
            telemetry: BTreeMap::new(),
            telemetry_due: VecDeque::new(),
            telemetry_busy: 0,
            wants: VecDeque::new(),
            kind: Kind::OneEndpoint,
            expiring: BTreeMap::new(),
            expired: Vec::new(),
        }
    }

    /// An outbox for the lanes that single calls have to endpoints of their own. `slots` are for all of them, `each` for one host.
    pub fn of_calls(name: Arc<Endpoint>, slots: usize, each: usize, window: usize) -> Self {
        Self { kind: Kind::OwnOfCalls(Hosts::new(each)), ..Self::new(name, slots, window) }
    }

    /// Requests under way at once from here on.
    pub fn set_slots(&mut self, slots: usize) {
        self.slots = slots.max(1);
    }

    /// The endpoint as it is after a reload. One that was disabled and is not any more is swept for what it missed.
    pub fn replace(&mut self, endpoint: Arc<Endpoint>) {
        let old = std::mem::replace(&mut self.endpoint, endpoint);
        let is_other = old.url != self.endpoint.url || old.secrets != self.endpoint.secrets;
        match (old.enabled, self.endpoint.enabled) {
            (false, true) => self.begin_anew(),
            (true, false) => self.drop_what_waits(),
            // What failed before says nothing about another address or another secret.
            (true, true) if is_other => {
                self.circuit = Circuit::default();
                self.wake_all();
            }
            _ => {}
        }
    }

    /// Nothing more is sent; what is under way settles, the rest stays in the record.
    pub fn disable(&mut self) {
        self.endpoint = Arc::new(Endpoint { enabled: false, ..(*self.endpoint).clone() });
        self.drop_what_waits();
    }

    fn begin_anew(&mut self) {
        self.sweep = Sweep::begun();
        for (call, lane) in &self.lanes {
            match lane.phase() {
                Phase::Due => self.due.push_back(*call),
                Phase::Waiting { until } => drop(self.timers.insert((until, *call))),
                Phase::Idle | Phase::Reading | Phase::InFlight => {}
            }
        }
    }

    fn drop_what_waits(&mut self) {
        self.due.clear();
        self.timers.clear();
        self.telemetry.retain(|_, slot| slot.in_flight);
        self.telemetry.values_mut().for_each(|slot| slot.waiting.clear());
        self.telemetry_due.clear();
        self.sweep = Sweep::default();
        self.circuit = Circuit::default();
        let (dirty, saving) = (&self.dirty, &self.saving);
        self.lanes.retain(|call, lane| {
            matches!(lane.phase(), Phase::InFlight | Phase::Reading) || dirty.contains(call) || saving.contains(call)
        });
    }

    /// The record holds more of `call`.
    pub fn nudge(&mut self, call: CallId, now: Timestamp) {
        if !self.endpoint.enabled {
            return;
        }
        let has_room = self.lanes.len() < self.window;
        match self.lanes.get_mut(&call) {
            Some(lane) => {
                if lane.nudge() {
                    self.due.push_back(call);
                }
            }
            None if has_room => self.wants.push_back(Want::Load { call }),
            None => self.sweep.again_at(now + UNREAD_PAUSE),
        }
    }

    /// Nobody knows what is new.
    pub fn nudge_all(&mut self, now: Timestamp) {
        if self.endpoint.enabled {
            self.sweep.again_at(now);
            for (call, lane) in &mut self.lanes {
                if lane.nudge() {
                    self.due.push_back(*call);
                }
            }
        }
    }

    /// The answer to [`Want::Load`].
    pub fn loaded(&mut self, call: CallId, row: Option<LaneRow>, now: Timestamp) {
        if let Some(row) = row
            && self.endpoint.enabled
        {
            let lane = self.lane_of(call, &row, now);
            self.admit(call, lane);
            if self.lanes.get(&call).is_some_and(|lane| !matches!(lane.phase(), Phase::InFlight | Phase::Reading)) {
                self.expire_lane(call, now);
            }
        } else {
            self.expiring.remove(&call);
        }
    }

    /// The answer to [`Want::Sweep`].
    pub fn swept(&mut self, page: LanePage, now: Timestamp) {
        if !self.endpoint.enabled {
            return;
        }
        let mut last = None;
        for (call, row) in page.lanes {
            if self.lanes.len() >= self.window && !self.lanes.contains_key(&call) {
                self.sweep.pause(last);
                return;
            }
            last = Some(call);
            let lane = self.lane_of(call, &row, now);
            match lane.phase() {
                // Room is for lanes that have something to send.
                Phase::Waiting { until } if self.lanes.len() >= self.window / 2 && !self.lanes.contains_key(&call) => {
                    self.sweep.again_at(until.max(now + LEFT_OUT_PAUSE));
                }
                _ => self.admit(call, lane),
            }
        }
        self.sweep.advance(page.next);
    }

    /// The record could not be read for a lane; a walk will find it.
    pub fn unloaded(&mut self, now: Timestamp) {
        self.sweep.again_at(now + UNREAD_PAUSE);
    }

    /// The record could not be read for a page.
    pub fn unswept(&mut self, now: Timestamp) {
        self.sweep.fail(now + UNREAD_PAUSE);
    }

    fn lane_of(&self, call: CallId, row: &LaneRow, now: Timestamp) -> Lane {
        let mut lane = Lane::new(call, row, now);
        if matches!(self.kind, Kind::OneEndpoint) && lane.failed_at() < self.back_at {
            lane.wake();
        }
        lane
    }

    fn admit(&mut self, call: CallId, lane: Lane) {
        if self.lanes.contains_key(&call) {
            return;
        }
        match lane.phase() {
            Phase::Waiting { until } => drop(self.timers.insert((until, call))),
            _ => self.due.push_back(call),
        }
        self.lanes.insert(call, lane);
    }

    /// The call's events up to `to` are not kept any longer. The lane hears of it as soon as nothing of it is under way.
    pub fn expire(&mut self, call: CallId, to: u64, gap_id: EventId, now: Timestamp) {
        if !self.endpoint.enabled {
            return;
        }
        self.expiring.insert(call, (to, gap_id));
        match self.lanes.get(&call).map(Lane::phase) {
            None => self.wants.push_back(Want::Load { call }),
            Some(Phase::InFlight | Phase::Reading) => {}
            Some(_) => self.expire_lane(call, now),
        }
    }

    fn expire_lane(&mut self, call: CallId, now: Timestamp) {
        let Some((to, gap_id)) = self.expiring.remove(&call) else { return };
        let Some(lane) = self.lanes.get_mut(&call) else { return };
        let waited = matches!(lane.phase(), Phase::Waiting { .. } | Phase::Idle);
        let Some(from) = lane.expire(to, now, gap_id) else { return };
        lane.wake();
        lane.nudge();
        self.counts.dead += to + 1 - from;
        self.dirty.insert(call);
        self.expired.push((call, from, to));
        if waited {
            self.timers.retain(|(_, waiting)| *waiting != call);
            self.due.push_back(call);
        }
    }

    /// What expired since the last time.
    pub fn take_expired(&mut self) -> Vec<(CallId, u64, u64)> {
        std::mem::take(&mut self.expired)
    }

    /// The answer to [`Want::Read`]; `None`: the record could not be read.
    pub fn read(&mut self, call: CallId, events: Option<Vec<StoredEvent>>, now: Timestamp) {
        let Some(lane) = self.lanes.get_mut(&call) else { return };
        match events {
            Some(events) => {
                let full = events.len() >= READ_AHEAD;
                lane.read(events, full);
                self.go_on(call);
            }
            None => {
                let until = now + UNREAD_PAUSE;
                lane.unread(until);
                self.rest(call);
                self.timers.insert((until, call));
            }
        }
    }

    /// The head of `call` was taken.
    pub fn succeed(&mut self, call: CallId, now: Timestamp) -> Settled {
        let was_open = self.circuit.open_since().is_some();
        let back = match self.kind {
            Kind::OneEndpoint => self.circuit.succeed(),
            Kind::OwnOfCalls(_) => false,
        };
        self.last_success = Some(now);
        self.counts.delivered += 1;
        if let Some(lane) = self.lanes.get_mut(&call) {
            lane.succeed();
            self.dirty.insert(call);
            let expires = self.expiring.contains_key(&call);
            if expires {
                self.rest(call);
                self.due.push_back(call);
                self.expire_lane(call, now);
            } else if lane.has_ahead() || self.due.is_empty() {
                self.go_on(call);
            } else {
                self.rest(call);
                self.due.push_back(call);
            }
        }
        if back {
            self.back_at = Some(now);
            self.wake_all();
            if !self.sweep.is_complete() {
                self.sweep.again_at(now);
            }
        }
        Settled { failed: None, circuit: was_open.then_some(CircuitChange::Closed) }
    }

    /// The head of `call` was not taken.
    pub fn fail(&mut self, call: CallId, failing: Failing<'_>) -> Settled {
        let opened = match self.kind {
            Kind::OneEndpoint => self.circuit.fail(call, failing.now, failing.draw),
            Kind::OwnOfCalls(_) => false,
        };
        let now = failing.now;
        self.counts.failed += 1;
        self.rest(call);
        let Some(lane) = self.lanes.get_mut(&call) else { return Settled { failed: None, circuit: None } };
        // Other receivers' successes say nothing about this one.
        let last_success = self.last_success.filter(|_| matches!(self.kind, Kind::OneEndpoint));
        let failed = lane.fail(Failing { last_success, ..failing });
        match failed {
            Failed::RetryAt(until) => drop(self.timers.insert((until, call))),
            Failed::Parked { .. } => {
                self.counts.dead += 1;
                self.due.push_back(call);
            }
            Failed::GapDropped => self.due.push_back(call),
        }
        self.dirty.insert(call);
        self.expire_lane(call, now);
        Settled { failed: Some(failed), circuit: opened.then_some(CircuitChange::Opened) }
    }

    /// The receiver that only this call has wants nothing more.
    pub fn end(&mut self, call: CallId, now: Timestamp, answer: &Answer) {
        self.counts.failed += 1;
        self.counts.dead += 1;
        self.rest(call);
        if let Some(lane) = self.lanes.get_mut(&call) {
            lane.end(now, answer);
            self.dirty.insert(call);
        }
    }

    /// Whether its lanes go where their calls said.
    pub fn is_of_calls(&self) -> bool {
        matches!(self.kind, Kind::OwnOfCalls(_))
    }

    /// When the endpoint last took something.
    pub fn last_success(&self) -> Option<Timestamp> {
        self.last_success
    }

    /// Nothing keeps the endpoint from being asked.
    pub fn is_open_for_all(&self) -> bool {
        self.endpoint.enabled && self.circuit.open_since().is_none()
    }

    /// The head of `call` was not judged: the endpoint has gone.
    pub fn abandon(&mut self, call: CallId) {
        if let Some(lane) = self.lanes.get_mut(&call) {
            lane.abandon();
        }
        self.rest(call);
        if !self.dirty.contains(&call) && !self.saving.contains(&call) {
            self.lanes.remove(&call);
        }
    }

    /// The newest telemetry of a call takes the place of what waits of its kind.
    pub fn telemetry(&mut self, call: CallId, event: Telemetry) {
        if !self.endpoint.enabled || !self.endpoint.wants(event.kind) {
            return;
        }
        let full = self.telemetry.len() >= TELEMETRY_CALLS && !self.telemetry.contains_key(&call);
        if full || self.circuit.open_since().is_some() {
            self.counts.telemetry_dropped += 1;
            return;
        }
        let slot = self.telemetry.entry(call).or_default();
        if let Some(older) = slot.waiting.iter_mut().find(|waiting| waiting.kind == event.kind) {
            *older = event;
            self.counts.telemetry_dropped += 1;
            return;
        }
        slot.waiting.push_back(event);
        if !slot.in_flight && slot.waiting.len() == 1 {
            self.telemetry_due.push_back(call);
        }
    }

    /// The telemetry of `call` that was under way has its answer, whatever it is.
    pub fn telemetry_done(&mut self, call: CallId, taken: bool) {
        self.telemetry_busy = self.telemetry_busy.saturating_sub(1);
        let count = if taken { &mut self.counts.telemetry_sent } else { &mut self.counts.telemetry_dropped };
        *count += 1;
        if let Some(slot) = self.telemetry.get_mut(&call) {
            slot.in_flight = false;
            if slot.waiting.is_empty() {
                self.telemetry.remove(&call);
            } else {
                self.telemetry_due.push_back(call);
            }
        }
    }

    /// Rows that the record should have, once those given before are written.
    pub fn take_saves(&mut self, saves: &mut Vec<LaneSave>) {
        debug_assert!(self.saving.is_empty(), "one save at a time");
        self.saving = std::mem::take(&mut self.dirty);
        for call in &self.saving {
            if let Some(lane) = self.lanes.get_mut(call) {
                let (row, dead) = (lane.row(), lane.take_dead());
                saves.push(LaneSave { endpoint: self.endpoint.id.clone(), call: *call, row, dead });
            }
        }
    }

    /// The rows given last are written: lanes with nothing left leave the memory.
    pub fn saved(&mut self) {
        for call in std::mem::take(&mut self.saving) {
            self.forget_if_done(call);
        }
    }

    /// Sends what may be sent.
    pub fn pump(&mut self, now: Timestamp) -> Option<Want> {
        if self.wants.is_empty() && self.endpoint.enabled {
            self.ring(now);
            self.start_lanes(now);
            self.start_telemetry();
            self.sweep_on(now);
        }
        self.wants.pop_front()
    }

    fn ring(&mut self, now: Timestamp) {
        while let Some((at, call)) = self.timers.first().copied() {
            if at > now {
                break;
            }
            self.timers.pop_first();
            if self.lanes.get_mut(&call).is_some_and(Lane::wake) {
                self.due.push_back(call);
            }
        }
    }

    fn start_lanes(&mut self, now: Timestamp) {
        while self.busy < self.slots {
            let admission = self.circuit.admits(now);
            let call = match admission {
                Admission::All => self.due.pop_front(),
                Admission::OneProbe => self.due.pop_front().or_else(|| self.wake_first()),
                Admission::Nobody(_) => None,
            };
            let Some(call) = call else { break };
            if !self.takes_place(call) {
                continue;
            }
            self.circuit.probe_by(call);
            self.busy += 1;
            self.go_on(call);
        }
    }

    /// Whether the lane's host has a place for it; without one it waits there.
    fn takes_place(&mut self, call: CallId) -> bool {
        let Kind::OwnOfCalls(hosts) = &mut self.kind else { return true };
        match self.lanes.get(&call).and_then(Lane::target) {
            Some(target) => hosts.enter(call, &target.url),
            None => true,
        }
    }

    /// The lane that would be due first probes when none is due.
    fn wake_first(&mut self) -> Option<CallId> {
        while let Some((_, call)) = self.timers.pop_first() {
            if self.lanes.get_mut(&call).is_some_and(Lane::wake) {
                return Some(call);
            }
        }
        None
    }

    fn wake_all(&mut self) {
        while let Some(call) = self.wake_first() {
            self.due.push_back(call);
        }
    }

    /// A lane that has a slot takes its next step. While its circuit is open it is one step only.
    fn go_on(&mut self, call: CallId) {
        let enabled = self.endpoint.enabled;
        let Some(lane) = self.lanes.get_mut(&call) else { return self.rest(call) };
        if !enabled {
            lane.abandon();
            self.rest(call);
            return self.forget_if_done(call);
        }
        let to = match self.kind {
            Kind::OneEndpoint => Some(self.endpoint.clone()),
            // Without an address there is nobody to tell.
            Kind::OwnOfCalls(_) => lane.target().cloned(),
        };
        let (step, passed) = lane.step(|event| to.as_ref().is_some_and(|to| to.wants(event.kind)));
        if passed {
            self.dirty.insert(call);
        }
        match step {
            Step::Read { from } => self.wants.push_back(Want::Read { call, from }),
            Step::Send(head) => {
                self.counts.retried += u64::from(head.attempt > 1);
                let to = to.unwrap_or_else(|| self.endpoint.clone());
                self.wants.push_back(Want::Send { call, head, to });
            }
            Step::Rest => {
                self.rest(call);
                self.forget_if_done(call);
            }
        }
    }

    /// The lane gives its slot back.
    fn rest(&mut self, call: CallId) {
        self.busy = self.busy.saturating_sub(1);
        self.circuit.spare(call);
        if let Kind::OwnOfCalls(hosts) = &mut self.kind
            && let Some(next) = hosts.leave(call)
        {
            self.due.push_front(next);
        }
    }

    fn forget_if_done(&mut self, call: CallId) {
        let unsaved = self.dirty.contains(&call) || self.saving.contains(&call);
        let idle = self.lanes.get(&call).is_some_and(|lane| match lane.phase() {
            Phase::Idle => true,
            Phase::Due | Phase::Waiting { .. } => !self.endpoint.enabled,
            Phase::Reading | Phase::InFlight => false,
        });
        if idle && !unsaved {
            self.lanes.remove(&call);
        }
    }

    fn start_telemetry(&mut self) {
        // Beside the lifecycle events' slots, never in them.
        let slots = (self.slots / 4).max(1);
        while self.telemetry_busy < slots {
            let Some(call) = self.telemetry_due.pop_front() else { return };
            let Some(slot) = self.telemetry.get_mut(&call) else { continue };
            let Some(event) = slot.waiting.pop_front() else { continue };
            slot.in_flight = true;
            self.telemetry_busy += 1;
            self.wants.push_back(Want::SendTelemetry { call, event });
        }
    }

    fn sweep_on(&mut self, now: Timestamp) {
        if self.sweep.is_paused() {
            let stuck = self.lanes.len() > self.window / 2 && self.due.is_empty() && self.busy == 0;
            if stuck {
                self.make_room(now);
            }
            if self.lanes.len() <= self.window / 2 {
                self.sweep.resume();
            }
        }
        if let Some(after) = self.sweep.take(now) {
            self.wants.push_back(Want::Sweep { after });
        }
    }

    /// Every lane in memory waits while the record holds more: those that wait longest go back there.
    fn make_room(&mut self, now: Timestamp) {
        let mut first_evicted = None;
        let mut kept = Vec::new();
        while self.lanes.len() > self.window / 2
            && let Some((at, call)) = self.timers.pop_last()
        {
            if self.dirty.contains(&call) || self.saving.contains(&call) {
                kept.push((at, call));
            } else {
                self.lanes.remove(&call);
                first_evicted = Some(at);
            }
        }
        self.timers.extend(kept);
        if let Some(at) = first_evicted {
            self.sweep.again_at(at.max(now + LEFT_OUT_PAUSE));
        }
    }

    /// When [`Outbox::pump`] has something to do again by itself.
    pub fn deadline(&self, now: Timestamp) -> Option<Timestamp> {
        if !self.endpoint.enabled {
            return None;
        }
        let lanes = match self.circuit.admits(now) {
            Admission::All => self.timers.first().map(|(at, _)| *at),
            Admission::OneProbe => None,
            Admission::Nobody(until) => until.filter(|_| !self.timers.is_empty() || !self.due.is_empty()),
        };
        [lanes, self.sweep.deadline()].into_iter().flatten().min()
    }

    /// Nothing is under way, due or unsaved; lanes may wait for a retry.
    pub fn is_quiet(&self) -> bool {
        let nothing_due = self.due.is_empty() || self.circuit.open_since().is_some() || !self.endpoint.enabled;
        self.busy == 0 && nothing_due && self.dirty.is_empty() && self.saving.is_empty() && self.sweep.is_done()
    }

    pub fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Lanes in memory that have something to do.
    pub fn pending_lanes(&self) -> usize {
        self.lanes.values().filter(|lane| lane.phase() != Phase::Idle).count()
    }

    /// The record holds lanes that are not in memory.
    pub fn has_more(&self) -> bool {
        !self.sweep.is_complete()
    }

    pub fn in_flight(&self) -> usize {
        self.busy
    }

    pub fn circuit_open_since(&self) -> Option<Timestamp> {
        self.circuit.open_since()
    }

    /// When the oldest event at the head of a lane happened, or the oldest call with one began when no head was read yet.
    pub fn oldest(&self) -> Option<Timestamp> {
        let pending = || self.lanes.iter().filter(|(_, lane)| lane.phase() != Phase::Idle);
        let read = pending().filter_map(|(_, lane)| lane.head_time()).min();
        read.or_else(|| pending().next().map(|(call, _)| call.made_at()))
    }
}
