//! One call's way to one endpoint: what is delivered next, and in which phase its delivery is.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::record::{DeadLetter, LaneRow, StoredEvent};
use super::schedule::{self, Attempts, Draw, Next};
use crate::base::{CallId, EventId, Timestamp};
use crate::event::{Event, EventKind, GapReason, TelemetryEnvelope};

/// A lane in memory. The record has its row; [`Lane::row`] gives the row that it should have.
#[derive(Debug)]
pub struct Lane {
    call: CallId,
    next: u64,
    memory: Memory,
    phase: Phase,
    /// Events that were read, from `next` on. Empty while the lane waits, so that a backlog costs no memory.
    ahead: VecDeque<StoredEvent>,
    /// The record may hold more than was read.
    more: bool,
    head_time: Option<Timestamp>,
    dead: Vec<DeadLetter>,
}

/// Where a lane's delivery is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Nothing is known to be left.
    Idle,
    /// Waits for its turn.
    Due,
    /// Its next events were asked for.
    Reading,
    /// Its head is on the way.
    InFlight,
    /// Its head failed.
    Waiting { until: Timestamp },
}

/// What the record remembers of a lane beside its cursor.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Failed attempts on the head.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    tries: Option<Tries>,
    /// A gap that is told before the next event.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    gap: Option<Gap>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Tries {
    failed: u32,
    since: Timestamp,
    /// When the last one failed.
    last: Timestamp,
    due: Timestamp,
    /// Since when the endpoint has taken other calls' events while it refused this one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    refused_since: Option<Timestamp>,
}

/// Events that the receiver will not get.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    id: EventId,
    time: Timestamp,
    from: u64,
    to: u64,
    reason: GapReason,
}

/// What is sent next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    pub id: EventId,
    pub kind: EventKind,
    /// When the fact happened, or the gap was made.
    pub time: Timestamp,
    /// `None`: a gap, which has no number of its own.
    pub seq: Option<u64>,
    /// From 1.
    pub attempt: u32,
    pub body: Bytes,
}

/// What a lane wants when it has its turn.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    Read { from: u64 },
    Send(Head),
    Rest,
}

/// What became of a head that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failed {
    RetryAt(Timestamp),
    /// The event is a dead letter; a gap is told in its place.
    Parked {
        seq: u64,
    },
    /// The endpoint does not even take the gap; the lane goes on.
    GapDropped,
}

/// How long a head is tried.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// With the endpoint silent.
    pub give_up_after: Duration,
    /// With the endpoint taking other calls' events.
    pub poisoned_after: Duration,
}

/// The circumstances of a failure.
#[derive(Debug)]
pub struct Failing<'a> {
    pub now: Timestamp,
    pub patience: Patience,
    pub draw: Draw,
    /// When the endpoint last took an event of any call.
    pub last_success: Option<Timestamp>,
    pub why: &'a str,
    /// The name of the gap, should there be one.
    pub gap_id: EventId,
}

impl Memory {
    /// Empty when there is nothing to remember.
    pub fn encode(&self) -> Bytes {
        if *self == Self::default() {
            Bytes::new()
        } else {
            serde_json::to_vec(self).expect("a lane's memory is plain data").into()
        }
    }

    /// What cannot be read is forgotten: the head is then tried as if for the first time.
    pub fn decode(bytes: &[u8]) -> Self {
        serde_json::from_slice(bytes).unwrap_or_default()
    }
}

impl Gap {
    /// The same bytes in every attempt.
    fn body(&self, call: CallId) -> Bytes {
        let event = Event::DeliveryGap { from_seq: self.from, to_seq: self.to, reason: self.reason };
        TelemetryEnvelope { id: self.id, call, time: self.time, event }.to_json().into()
    }
}

impl Lane {
    /// A lane as the record has it.
    pub fn new(call: CallId, row: &LaneRow, now: Timestamp) -> Self {
        let memory = Memory::decode(&row.memory);
        let phase = match memory.tries {
            Some(tries) if tries.due > now => Phase::Waiting { until: tries.due },
            _ => Phase::Due,
        };
        let head_time = memory.gap.map(|gap| gap.time);
        Self { call, next: row.next, memory, phase, ahead: VecDeque::new(), more: true, head_time, dead: Vec::new() }
    }

    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The row that the record should have.
    pub fn row(&self) -> LaneRow {
        LaneRow::new(self.next, &self.memory)
    }

    /// Dead letters that the record has not been given.
    pub fn take_dead(&mut self) -> Vec<DeadLetter> {
        std::mem::take(&mut self.dead)
    }

    /// When the event at the head happened; `None`: it was not read.
    pub fn head_time(&self) -> Option<Timestamp> {
        self.head_time
    }

    /// When the head last failed.
    pub fn failed_at(&self) -> Option<Timestamp> {
        self.memory.tries.map(|tries| tries.last)
    }

    /// The record holds more. True: the lane was idle and is due.
    pub fn nudge(&mut self) -> bool {
        self.more = true;
        let was_idle = self.phase == Phase::Idle;
        if was_idle {
            self.phase = Phase::Due;
        }
        was_idle
    }

    /// More events were read than the one at the head.
    pub fn has_ahead(&self) -> bool {
        !self.ahead.is_empty()
    }

    /// Its pause is over, or cut short. True: it was waiting and is due.
    pub fn wake(&mut self) -> bool {
        let waited = matches!(self.phase, Phase::Waiting { .. });
        if waited {
            self.phase = Phase::Due;
        }
        waited
    }

    /// The lane has its turn. Events that `wants` leaves out are passed; the answer's second part tells whether there were any.
    pub fn step(&mut self, wants: impl Fn(EventKind) -> bool) -> (Step, bool) {
        if let Some(gap) = self.memory.gap {
            self.phase = Phase::InFlight;
            return (Step::Send(self.head_of_gap(gap)), false);
        }
        let before = self.next;
        while self.ahead.front().is_some_and(|event| !wants(event.kind)) {
            self.pass();
        }
        let step = match self.ahead.front() {
            Some(event) => {
                self.head_time = Some(event.time);
                self.phase = Phase::InFlight;
                Step::Send(self.head_of(event))
            }
            None if self.more => {
                self.more = false;
                self.phase = Phase::Reading;
                Step::Read { from: self.next }
            }
            None => {
                self.head_time = None;
                self.phase = Phase::Idle;
                Step::Rest
            }
        };
        (step, self.next != before)
    }

    /// The events that [`Step::Read`] asked for; `full`: as many as were asked for, so there may be more.
    pub fn read(&mut self, events: Vec<StoredEvent>, full: bool) {
        self.ahead.extend(events);
        self.more |= full;
        self.phase = Phase::Due;
    }

    /// The record could not be read.
    pub fn unread(&mut self, until: Timestamp) {
        self.more = true;
        self.phase = Phase::Waiting { until };
    }

    /// The head was taken.
    pub fn succeed(&mut self) {
        self.phase = Phase::Due;
        self.memory.tries = None;
        if self.memory.gap.take().is_none() {
            self.pass();
        }
    }

    /// The head was sent and the attempt says nothing about it; it is sent again from the start.
    pub fn abandon(&mut self) {
        self.forget();
        self.phase = Phase::Due;
    }

    /// The head was not taken.
    pub fn fail(&mut self, failing: Failing<'_>) -> Failed {
        let Failing { now, patience, draw, last_success, why, gap_id } = failing;
        let tries = self.memory.tries;
        let failed = tries.map_or(0, |tries| tries.failed) + 1;
        let since = tries.map_or(now, |tries| tries.since);
        let refused_since = match tries {
            Some(tries) if last_success > Some(tries.last) => Some(tries.refused_since.unwrap_or(now)),
            _ => None,
        };
        let poisoned = refused_since.is_some_and(|since| now.since(since) >= patience.poisoned_after);
        self.forget();
        match schedule::next(Attempts { failed, since }, now, patience.give_up_after, draw) {
            Next::RetryAt(due) if !poisoned => {
                self.memory.tries = Some(Tries { failed, since, last: now, due, refused_since });
                self.phase = Phase::Waiting { until: due };
                Failed::RetryAt(due)
            }
            _ => self.give_up(now, why, gap_id),
        }
    }

    fn give_up(&mut self, now: Timestamp, why: &str, gap_id: EventId) -> Failed {
        self.memory.tries = None;
        self.phase = Phase::Due;
        if self.memory.gap.take().is_some() {
            return Failed::GapDropped;
        }
        let seq = self.next;
        self.dead.push(DeadLetter { seq, time: now, why: why.to_owned() });
        self.memory.gap = Some(Gap { id: gap_id, time: now, from: seq, to: seq, reason: GapReason::Undeliverable });
        self.next += 1;
        Failed::Parked { seq }
    }

    fn attempt(&self) -> u32 {
        self.memory.tries.map_or(0, |tries| tries.failed) + 1
    }

    fn head_of(&self, event: &StoredEvent) -> Head {
        Head {
            id: event.id,
            kind: event.kind,
            time: event.time,
            seq: Some(event.seq),
            attempt: self.attempt(),
            body: event.body.clone(),
        }
    }

    fn head_of_gap(&self, gap: Gap) -> Head {
        Head {
            id: gap.id,
            kind: EventKind::DeliveryGap,
            time: gap.time,
            seq: None,
            attempt: self.attempt(),
            body: gap.body(self.call),
        }
    }

    /// The event at the head is done with.
    fn pass(&mut self) {
        let passed = self.ahead.pop_front().expect("the event that was at the head");
        debug_assert_eq!(passed.seq, self.next, "events are read without gaps");
        self.next = passed.seq + 1;
        self.memory.tries = None;
    }

    /// What was read is read again when it is needed: a lane that waits holds no events.
    fn forget(&mut self) {
        self.ahead = VecDeque::new();
        self.more = true;
    }
}

#[cfg(test)]
mod tests {
    use super::super::schedule::Jitter;
    use super::*;

    const PATIENCE: Patience =
        Patience { give_up_after: Duration::from_secs(72 * 3600), poisoned_after: Duration::from_secs(3600) };

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn event(seq: u64, kind: EventKind) -> StoredEvent {
        StoredEvent { seq, id: EventId::from_u128(seq.into()), kind, time: at(seq), body: Bytes::from_static(b"{}") }
    }

    fn failing(now: Timestamp, endpoint_alive: bool) -> Failing<'static> {
        Failing {
            now,
            patience: PATIENCE,
            draw: Draw { jitter: Jitter::from_random(u64::MAX / 2), retry_after: None },
            last_success: endpoint_alive.then_some(now),
            why: "status 500",
            gap_id: EventId::from_u128(99),
        }
    }

    fn lane(events: &[EventKind]) -> Lane {
        let mut lane = Lane::new(CallId::from_u128(1), &LaneRow { next: 1, memory: Bytes::new() }, at(0));
        assert_eq!(lane.step(|_| true).0, Step::Read { from: 1 });
        lane.read((1..).zip(events).map(|(seq, kind)| event(seq, *kind)).collect(), false);
        lane
    }

    fn sent(lane: &mut Lane) -> Head {
        match lane.step(|_| true).0 {
            Step::Send(head) => head,
            step => panic!("{step:?}"),
        }
    }

    #[test]
    fn events_go_out_in_order_one_at_a_time() {
        let mut lane = lane(&[EventKind::CallBegin, EventKind::CallEnd]);
        for seq in [1, 2] {
            assert_eq!(sent(&mut lane).seq, Some(seq));
            assert_eq!(lane.phase(), Phase::InFlight);
            lane.succeed();
            assert_eq!(lane.row().next, seq + 1);
        }
        assert_eq!(lane.step(|_| true).0, Step::Rest);
        assert_eq!(lane.phase(), Phase::Idle);
    }

    #[test]
    fn what_a_filter_leaves_out_is_passed() {
        let mut lane = lane(&[EventKind::CallBegin, EventKind::UserJoin, EventKind::CallEnd]);
        let (step, moved) = lane.step(|kind| kind == EventKind::CallEnd);
        assert!(matches!(step, Step::Send(Head { seq: Some(3), .. })) && moved);
    }

    #[test]
    fn a_nudge_during_a_delivery_is_not_lost() {
        let mut lane = lane(&[EventKind::CallBegin]);
        sent(&mut lane);
        assert!(!lane.nudge());
        lane.succeed();
        assert_eq!(lane.step(|_| true).0, Step::Read { from: 2 });
    }

    #[test]
    fn a_failed_head_is_sent_again_after_its_pause_even_by_another_run() {
        let mut lane = lane(&[EventKind::CallBegin]);
        sent(&mut lane);
        assert!(matches!(lane.fail(failing(at(10), false)), Failed::RetryAt(due) if due > at(10)));
        let mut again = Lane::new(CallId::from_u128(1), &lane.row(), at(10));
        assert!(matches!(again.phase(), Phase::Waiting { .. }));
        assert!(again.wake());
        assert_eq!(again.step(|_| true).0, Step::Read { from: 1 });
        again.read(vec![event(1, EventKind::CallBegin)], false);
        assert_eq!(sent(&mut again).attempt, 2);
    }

    fn exhaust(lane: &mut Lane, alive: bool) -> (Failed, Timestamp) {
        let mut now = at(0);
        loop {
            match lane.fail(failing(now, alive)) {
                Failed::RetryAt(due) => now = due,
                done => return (done, now),
            }
        }
    }

    #[test]
    fn an_exhausted_event_is_parked_and_its_gap_comes_before_the_next() {
        let mut lane = lane(&[EventKind::CallBegin, EventKind::CallEnd]);
        sent(&mut lane);
        let (done, now) = exhaust(&mut lane, false);
        assert_eq!((done, now), (Failed::Parked { seq: 1 }, at(72 * 3600)));
        assert_eq!(lane.row().next, 2);
        assert_eq!(lane.take_dead().iter().map(|letter| letter.seq).collect::<Vec<_>>(), [1]);
        let gap = sent(&mut lane);
        assert_eq!((gap.kind, gap.seq), (EventKind::DeliveryGap, None));
        let json: serde_json::Value = serde_json::from_slice(&gap.body).unwrap();
        assert_eq!(json["data"], serde_json::json!({"fromSeq": 1, "toSeq": 1, "reason": "undeliverable"}));
        assert_eq!(sent(&mut Lane::new(CallId::from_u128(1), &lane.row(), now)), gap, "the same after a restart");
        lane.succeed();
        assert_eq!(lane.step(|_| true).0, Step::Read { from: 2 });
    }

    #[test]
    fn a_poisoned_event_does_not_hold_its_lane_for_days() {
        let mut lane = lane(&[EventKind::CallBegin]);
        sent(&mut lane);
        let (done, now) = exhaust(&mut lane, true);
        assert_eq!(done, Failed::Parked { seq: 1 });
        assert!(now >= at(3600) && now < at(3 * 3600), "{now}");
    }

    #[test]
    fn a_gap_that_nobody_takes_does_not_hold_the_lane() {
        let mut lane = lane(&[EventKind::CallBegin]);
        sent(&mut lane);
        exhaust(&mut lane, false);
        sent(&mut lane);
        assert_eq!(exhaust(&mut lane, false).0, Failed::GapDropped);
        assert_eq!(lane.row(), LaneRow { next: 2, memory: Bytes::new() });
    }

    #[test]
    fn a_lane_that_waits_holds_no_events() {
        let mut lane = lane(&[EventKind::CallBegin, EventKind::CallEnd]);
        sent(&mut lane);
        lane.fail(failing(at(1), false));
        assert!(lane.ahead.is_empty() && lane.ahead.capacity() == 0);
    }
}
