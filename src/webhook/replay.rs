//! Sending again what was sent before: the same ids and bytes, in order for each call, beside the live lanes and slower than they are.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::endpoint::Endpoint;
use super::lane::{Failed, Failing, Head, Lane, Step};
use super::outbox::READ_AHEAD;
use super::record::{CallSpan, LaneRow, ReplaySave, StoredEvent};
use crate::base::{CallId, EndpointId, EventId, Timestamp};

/// Calls looked at by one step of the walk.
pub const WALK_PAGE: usize = 200;
/// The record could not be read: when it is asked again.
const UNREAD_PAUSE: Duration = Duration::from_secs(1);

/// A replay's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReplayId(EventId);

impl ReplayId {
    const PREFIX: &str = "replay_";

    pub fn new(now: Timestamp, entropy: crate::base::id::Entropy) -> Self {
        Self(EventId::new(now, entropy))
    }

    pub const fn from_u128(number: u128) -> Self {
        Self(EventId::from_u128(number))
    }

    pub const fn as_u128(self) -> u128 {
        self.0.as_u128()
    }
}

impl fmt::Display for ReplayId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        write!(f, "{}{}", Self::PREFIX, text.rsplit('_').next().unwrap_or_default())
    }
}

impl FromStr for ReplayId {
    type Err = crate::base::id::InvalidId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        format!("ev_{}", text.strip_prefix(Self::PREFIX).unwrap_or_default()).parse().map(Self)
    }
}

/// What is to be sent again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    pub id: ReplayId,
    pub endpoint: EndpointId,
    pub made: Timestamp,
    /// Of one call only.
    pub call: Option<CallId>,
    /// Facts that happened then or later; and not later than `to`.
    pub from: Option<Timestamp>,
    pub to: Option<Timestamp>,
    /// Of each call those with a higher number.
    pub after_seq: u64,
}

/// How far it has come.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The first call that was not begun.
    pub next_call: u128,
    /// Those that were begun and are not done, each with the number that is sent next.
    pub begun: Vec<(CallId, u64)>,
    pub delivered: u64,
    /// Given up, as a live event would be.
    pub failed: u64,
}

/// A replay as others see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayStatus {
    pub order: Order,
    pub phase: ReplayPhase,
    pub delivered: u64,
    pub failed: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplayPhase {
    /// Another one is before it.
    Queued,
    Running,
    Done(Timestamp),
    Cancelled(Timestamp),
}

/// One replay at work.
#[derive(Debug)]
pub struct Replay {
    order: Order,
    walk: Walk,
    /// Where the walk is.
    at: u128,
    /// Calls before this one were begun by an earlier run: only those of `resumed` are not done.
    fresh_from: u128,
    resumed: BTreeMap<CallId, u64>,
    /// Calls whose lane has not begun.
    found: VecDeque<CallSpan>,
    counts: (u64, u64),
    lanes: BTreeMap<CallId, Part>,
    due: VecDeque<CallId>,
    timers: BTreeSet<(Timestamp, CallId)>,
    last_success: Option<Timestamp>,
    dirty: bool,
    saving: Saving,
    /// Delivered since the last save: runs that ended, and those that go on.
    delivered: Vec<(CallId, u64, u64)>,
    delivering: BTreeMap<CallId, (u64, u64)>,
}

/// What the record is being told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Saving {
    Nothing,
    Progress,
    End,
}

/// A call's lane and where it ends.
#[derive(Debug)]
struct Part {
    lane: Lane,
    last_seq: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Walk {
    Wanted,
    Asked,
    Pausing(Timestamp),
    Done,
}

/// What a replay wants done.
#[derive(Debug)]
pub enum ReplayWant {
    Walk { first: CallId },
    Read { call: CallId, from: u64 },
    Send { call: CallId, head: Head },
}

impl Replay {
    pub fn new(order: Order, progress: Progress) -> Self {
        let Progress { next_call, begun, delivered, failed } = progress;
        let resumed: BTreeMap<CallId, u64> = begun.into_iter().collect();
        let fresh = order.call.map_or(next_call, |call| call.as_u128().max(next_call));
        let at = resumed.keys().next().map_or(fresh, |call| call.as_u128().min(fresh));
        Self {
            order,
            walk: Walk::Wanted,
            at,
            fresh_from: next_call,
            resumed,
            found: VecDeque::new(),
            counts: (delivered, failed),
            lanes: BTreeMap::new(),
            due: VecDeque::new(),
            timers: BTreeSet::new(),
            last_success: None,
            dirty: false,
            saving: Saving::Nothing,
            delivered: Vec::new(),
            delivering: BTreeMap::new(),
        }
    }

    pub fn order(&self) -> &Order {
        &self.order
    }

    /// Events delivered and given up.
    pub fn counts(&self) -> (u64, u64) {
        self.counts
    }

    /// The answer to [`ReplayWant::Walk`]; `None`: the record could not be read.
    pub fn walked(&mut self, page: Option<Vec<CallSpan>>, now: Timestamp) {
        let Some(page) = page else {
            self.walk = Walk::Pausing(now + UNREAD_PAUSE);
            return;
        };
        let last = page.last().map(|span| span.call);
        let is_last = page.len() < WALK_PAGE || self.order.call.is_some();
        let beyond = last.is_some_and(|call| self.order.to.is_some_and(|to| call.made_at() > to));
        for span in page {
            let is_left = span.call.as_u128() >= self.fresh_from || self.resumed.contains_key(&span.call);
            if is_left && self.order.covers(&span) {
                self.found.push_back(span);
            }
        }
        match last.and_then(|call| call.as_u128().checked_add(1)) {
            Some(next) if !is_last && !beyond => (self.walk, self.at) = (Walk::Wanted, next),
            _ => (self.walk, self.at) = (Walk::Done, u128::MAX),
        }
        self.dirty = true;
    }

    /// Begins the lanes of calls that were found, up to `width` at once.
    fn begin(&mut self, width: usize, now: Timestamp) {
        while self.lanes.len() < width
            && let Some(span) = self.found.pop_front()
        {
            let next = self.resumed.remove(&span.call).unwrap_or(self.order.after_seq.saturating_add(1));
            let lane = Lane::new(span.call, &LaneRow { next, memory: Bytes::new(), target: None }, now);
            self.lanes.insert(span.call, Part { lane, last_seq: span.last_seq });
            self.due.push_back(span.call);
        }
    }

    /// The next thing to do. `width`: calls at once.
    pub fn pump(&mut self, endpoint: &Endpoint, width: usize, now: Timestamp) -> Option<ReplayWant> {
        while let Some((at, call)) = self.timers.first().copied().filter(|(at, _)| *at <= now) {
            self.timers.remove(&(at, call));
            if self.lanes.get_mut(&call).is_some_and(|part| part.lane.wake()) {
                self.due.push_back(call);
            }
        }
        loop {
            self.begin(width, now);
            while let Some(call) = self.due.pop_front() {
                if let Some(want) = self.step(call, endpoint) {
                    return Some(want);
                }
            }
            if self.found.is_empty() || self.lanes.len() >= width {
                break;
            }
        }
        let resumes = matches!(self.walk, Walk::Pausing(until) if until <= now);
        if (self.walk == Walk::Wanted || resumes) && self.found.is_empty() {
            self.walk = Walk::Asked;
            return Some(ReplayWant::Walk { first: CallId::from_u128(self.at) });
        }
        None
    }

    fn step(&mut self, call: CallId, endpoint: &Endpoint) -> Option<ReplayWant> {
        let part = self.lanes.get_mut(&call)?;
        let (last_seq, order) = (part.last_seq, &self.order);
        let wants =
            |event: &StoredEvent| event.seq <= last_seq && order.spans(event.time) && endpoint.wants(event.kind);
        match part.lane.step(wants).0 {
            Step::Read { from } if from <= last_seq => Some(ReplayWant::Read { call, from }),
            Step::Send(head) => Some(ReplayWant::Send { call, head }),
            Step::Read { .. } | Step::Rest => {
                self.lanes.remove(&call);
                self.end_run(call);
                self.dirty = true;
                None
            }
        }
    }

    /// The answer to [`ReplayWant::Read`].
    pub fn read(&mut self, call: CallId, events: Option<Vec<StoredEvent>>, now: Timestamp) {
        let Some(part) = self.lanes.get_mut(&call) else { return };
        match events {
            Some(events) => {
                let full = events.len() >= READ_AHEAD;
                part.lane.read(events, full);
                self.due.push_back(call);
            }
            None => {
                part.lane.unread(now + UNREAD_PAUSE);
                self.timers.insert((now + UNREAD_PAUSE, call));
            }
        }
    }

    pub fn succeed(&mut self, call: CallId, now: Timestamp) {
        self.last_success = Some(now);
        let Some(part) = self.lanes.get_mut(&call) else { return };
        let seq = part.lane.next();
        part.lane.succeed();
        self.counts.0 += 1;
        self.dirty = true;
        // What lies between was not wanted, so it is no dead letter.
        self.delivering.entry(call).and_modify(|(_, to)| *to = seq).or_insert((seq, seq));
        self.due.push_back(call);
    }

    fn end_run(&mut self, call: CallId) {
        if let Some((from, to)) = self.delivering.remove(&call) {
            self.delivered.push((call, from, to));
        }
    }

    /// `failing.last_success` is the live lanes'.
    pub fn fail(&mut self, call: CallId, failing: Failing<'_>) {
        let last_success = self.last_success.max(failing.last_success);
        let Some(part) = self.lanes.get_mut(&call) else { return };
        match part.lane.fail(Failing { last_success, ..failing }) {
            Failed::RetryAt(at) => drop(self.timers.insert((at, call))),
            Failed::Parked { .. } | Failed::GapDropped => {
                part.lane.forgo();
                self.end_run(call);
                self.counts.1 += 1;
                self.dirty = true;
                self.due.push_back(call);
            }
        }
    }

    /// The attempt says nothing: the endpoint has gone or was disabled.
    pub fn abandon(&mut self, call: CallId) {
        if let Some(part) = self.lanes.get_mut(&call) {
            part.lane.abandon();
            self.due.push_back(call);
        }
    }

    pub fn is_done(&self) -> bool {
        self.walk == Walk::Done && self.found.is_empty() && self.lanes.is_empty()
    }

    /// What the record should be told, once what was given before is written.
    pub fn take_save(&mut self) -> Option<ReplaySave> {
        if self.saving != Saving::Nothing || !self.dirty {
            return None;
        }
        let ends = self.is_done();
        self.saving = if ends { Saving::End } else { Saving::Progress };
        self.dirty = false;
        let row = (!ends).then(|| self.row());
        Some(self.save(row))
    }

    /// What was given last is written. True: that was the end.
    pub fn saved(&mut self) -> bool {
        let saving = std::mem::replace(&mut self.saving, Saving::Nothing);
        saving == Saving::End
    }

    /// It is over, whatever is left of it.
    fn cancel(&mut self) -> ReplaySave {
        self.save(None)
    }

    fn save(&mut self, row: Option<Bytes>) -> ReplaySave {
        let mut delivered = std::mem::take(&mut self.delivered);
        delivered.extend(std::mem::take(&mut self.delivering).into_iter().map(|(call, (from, to))| (call, from, to)));
        ReplaySave { endpoint: self.order.endpoint.clone(), replay: self.order.id, row, delivered }
    }

    fn row(&self) -> Bytes {
        let running = self.lanes.iter().map(|(call, part)| (*call, part.lane.next()));
        let begun = running.chain(self.resumed.iter().map(|(call, next)| (*call, *next))).collect();
        // Calls that were found and not begun are found again.
        let fresh = self.found.iter().map(|span| span.call).find(|call| !self.resumed.contains_key(call));
        let next_call = fresh.map_or(self.at.max(self.fresh_from), CallId::as_u128);
        let (delivered, failed) = self.counts;
        encode(&self.order, &Progress { next_call, begun, delivered, failed })
    }

    pub fn deadline(&self) -> Option<Timestamp> {
        let walk = match self.walk {
            Walk::Pausing(until) => Some(until),
            _ => None,
        };
        [self.timers.first().map(|(at, _)| *at), walk].into_iter().flatten().min()
    }
}

impl Order {
    fn spans(&self, time: Timestamp) -> bool {
        self.from.is_none_or(|from| from <= time) && self.to.is_none_or(|to| time <= to)
    }

    fn covers(&self, span: &CallSpan) -> bool {
        let of_call = self.call.is_none_or(|call| call == span.call);
        let in_time = self.from.is_none_or(|from| from <= span.last) && self.to.is_none_or(|to| span.first <= to);
        of_call && in_time && span.last_seq > self.after_seq
    }
}

/// The row of a replay.
pub fn encode(order: &Order, progress: &Progress) -> Bytes {
    serde_json::to_vec(&(order, progress)).expect("a replay is plain data").into()
}

/// `None`: no replay's row.
pub fn decode(row: &[u8]) -> Option<(Order, Progress)> {
    serde_json::from_slice(row).ok()
}

/// The replays of one endpoint, one after the other.
#[derive(Debug, Default)]
pub struct Replays {
    running: Option<Replay>,
    queued: VecDeque<(Order, Progress)>,
    ended: VecDeque<ReplayStatus>,
}

/// Ended ones that are remembered.
const REMEMBERED: usize = 16;

impl Replays {
    pub fn add(&mut self, order: Order, progress: Progress) {
        match self.running {
            None => self.running = Some(Replay::new(order, progress)),
            Some(_) => self.queued.push_back((order, progress)),
        }
    }

    pub fn running(&mut self) -> Option<&mut Replay> {
        self.running.as_mut()
    }

    pub fn deadline(&self) -> Option<Timestamp> {
        self.running.as_ref().and_then(Replay::deadline)
    }

    /// Ends the one of that name. What the record is to be told, if it was there.
    pub fn cancel(&mut self, id: ReplayId, now: Timestamp) -> Option<ReplaySave> {
        if self.running.as_ref().is_some_and(|running| running.order.id == id) {
            let mut replay = self.end(ReplayPhase::Cancelled(now))?;
            return Some(replay.cancel());
        }
        let place = self.queued.iter().position(|(order, _)| order.id == id)?;
        let (order, progress) = self.queued.remove(place).expect("it was found there");
        let mut replay = Replay::new(order, progress);
        let save = replay.cancel();
        self.remember(&replay, ReplayPhase::Cancelled(now));
        Some(save)
    }

    /// The running one has ended; the next begins.
    pub fn end(&mut self, phase: ReplayPhase) -> Option<Replay> {
        let replay = self.running.take()?;
        self.remember(&replay, phase);
        self.running = self.queued.pop_front().map(|(order, progress)| Replay::new(order, progress));
        Some(replay)
    }

    fn remember(&mut self, replay: &Replay, phase: ReplayPhase) {
        self.ended.push_front(replay.status(phase));
        self.ended.truncate(REMEMBERED);
    }

    pub fn status(&self) -> Vec<ReplayStatus> {
        let running = self.running.iter().map(|replay| replay.status(ReplayPhase::Running));
        let queued = self.queued.iter().map(|(order, progress)| ReplayStatus {
            order: order.clone(),
            phase: ReplayPhase::Queued,
            delivered: progress.delivered,
            failed: progress.failed,
        });
        running.chain(queued).chain(self.ended.iter().cloned()).collect()
    }
}

impl Replay {
    fn status(&self, phase: ReplayPhase) -> ReplayStatus {
        let (delivered, failed) = self.counts();
        ReplayStatus { order: self.order.clone(), phase, delivered, failed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replays_name_and_row_survive_their_text() {
        let id = ReplayId::new(Timestamp::from_millis(7), [3; 10]);
        assert_eq!(id.to_string().parse::<ReplayId>().unwrap(), id);
        assert!("ev_00000000000000000000000000".parse::<ReplayId>().is_err());
        let order = Order {
            id,
            endpoint: "a".parse().unwrap(),
            made: Timestamp::from_millis(7),
            call: Some(CallId::from_u128(u128::MAX)),
            from: None,
            to: Some(Timestamp::from_millis(9)),
            after_seq: 4,
        };
        let progress =
            Progress { next_call: u128::MAX, begun: vec![(CallId::from_u128(3), 2)], delivered: 1, failed: 0 };
        assert_eq!(decode(&encode(&order, &progress)), Some((order, progress)));
        assert_eq!(decode(b"{}"), None);
    }
}
