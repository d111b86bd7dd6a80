//! One call's way to one endpoint: what is delivered next, and in which phase its delivery is.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::endpoint::Endpoint;
use super::record::{DeadLetter, LaneRow, Note, StoredEvent};
use super::reply::Answer;
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
    /// Where it goes, when only its call has it.
    target: Option<Arc<Endpoint>>,
    /// Nothing more of its call is wanted.
    ended: bool,
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

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Tries {
    failed: u32,
    since: Timestamp,
    /// When the last one failed.
    last: Timestamp,
    due: Timestamp,
    /// Since when the endpoint has taken other calls' events while it refused this one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    refused_since: Option<Timestamp>,
    /// What the last one came to.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    answer: Option<Answer>,
}

/// The attempts on a lane's head, for those who look at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempted {
    pub failed: u32,
    pub since: Timestamp,
    pub last: Timestamp,
    pub due: Timestamp,
    pub answer: Option<Answer>,
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
    /// With the endpoint taking other calls' events: how long the lane stands still, for the event and for its gap together.
    pub poisoned_after: Duration,
}

impl Patience {
    /// The event's part of the time that the endpoint refuses it while it takes others.
    fn for_event(self) -> Duration {
        self.poisoned_after.mul_f32(0.9)
    }

    /// The gap's part.
    fn for_gap(self) -> Duration {
        self.poisoned_after.mul_f32(0.1)
    }
}

/// The circumstances of a failure.
#[derive(Debug)]
pub struct Failing<'a> {
    pub now: Timestamp,
    pub patience: Patience,
    pub draw: Draw,
    /// When the endpoint last took an event of any call.
    pub last_success: Option<Timestamp>,
    pub answer: &'a Answer,
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

    /// The failed attempts on the head.
    pub fn attempted(&self) -> Option<Attempted> {
        let Tries { failed, since, last, due, answer, .. } = self.tries.clone()?;
        Some(Attempted { failed, since, last, due, answer })
    }

    /// A gap is told before the next event.
    pub fn has_gap(&self) -> bool {
        self.gap.is_some()
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
        let phase = match &memory.tries {
            Some(tries) if tries.due > now => Phase::Waiting { until: tries.due },
            _ => Phase::Due,
        };
        let head_time = memory.gap.map(|gap| gap.time);
        Self {
            call,
            next: row.next,
            memory,
            phase,
            ahead: VecDeque::new(),
            more: true,
            head_time,
            dead: Vec::new(),
            target: row.target.clone(),
            ended: false,
        }
    }

    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The row that the record should have; `None`: none.
    pub fn row(&self) -> Option<LaneRow> {
        (!self.ended).then(|| LaneRow::new(self.next, &self.memory))
    }

    /// Where it goes, when only its call has it.
    pub fn target(&self) -> Option<&Arc<Endpoint>> {
        self.target.as_ref()
    }

    /// The number of the event that is delivered next.
    pub fn next(&self) -> u64 {
        self.next
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
        self.memory.tries.as_ref().map(|tries| tries.last)
    }

    /// The record holds more. True: the lane was idle and is due.
    pub fn nudge(&mut self) -> bool {
        self.more = true;
        let was_idle = self.phase == Phase::Idle && !self.ended;
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
    pub fn step(&mut self, wants: impl Fn(&StoredEvent) -> bool) -> (Step, bool) {
        if let Some(gap) = self.memory.gap {
            self.phase = Phase::InFlight;
            return (Step::Send(self.head_of_gap(gap)), false);
        }
        let before = self.next;
        while self.ahead.front().is_some_and(|event| !wants(event)) {
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
        let Failing { now, patience, draw, last_success, answer, gap_id } = failing;
        let tries = self.memory.tries.take();
        let failed = tries.as_ref().map_or(0, |tries| tries.failed) + 1;
        let since = tries.as_ref().map_or(now, |tries| tries.since);
        let refused_since = match &tries {
            Some(tries) if last_success > Some(tries.last) => Some(tries.refused_since.unwrap_or(tries.last)),
            _ => None,
        };
        let allowed = if self.memory.gap.is_some() { patience.for_gap() } else { patience.for_event() };
        let refused_until = refused_since.map(|since| since + allowed);
        self.forget();
        match schedule::next(Attempts { failed, since }, now, patience.give_up_after, draw) {
            Next::RetryAt(due) if refused_until.is_none_or(|until| now < until) => {
                let due = refused_until.map_or(due, |until| due.min(until));
                let answer = Some(answer.clone());
                self.memory.tries = Some(Tries { failed, since, last: now, due, refused_since, answer });
                self.phase = Phase::Waiting { until: due };
                Failed::RetryAt(due)
            }
            _ => {
                let note = Note {
                    reason: GapReason::Undeliverable,
                    attempts: failed,
                    since: Some(since),
                    answer: Some(answer.clone()),
                };
                self.give_up(now, note, gap_id)
            }
        }
    }

    fn give_up(&mut self, now: Timestamp, note: Note, gap_id: EventId) -> Failed {
        self.phase = Phase::Due;
        if self.memory.gap.take().is_some() {
            return Failed::GapDropped;
        }
        let seq = self.next;
        self.dead.push(DeadLetter { from: seq, to: seq, time: now, note });
        self.memory.gap = Some(Gap { id: gap_id, time: now, from: seq, to: seq, reason: GapReason::Undeliverable });
        self.next += 1;
        Failed::Parked { seq }
    }

    /// The event that was given up is passed without a word: nobody waits for it.
    pub fn forgo(&mut self) {
        self.memory.gap = None;
        self.dead.clear();
    }

    /// Its events up to number `to` are not kept any longer: one gap is told in their place. The first number of those that were not
    /// delivered; `None`: there is none, or one is under way.
    pub fn expire(&mut self, to: u64, now: Timestamp, gap_id: EventId) -> Option<u64> {
        let busy = matches!(self.phase, Phase::InFlight | Phase::Reading);
        if busy || self.next > to || self.ended {
            return None;
        }
        let attempted = self.memory.attempted();
        let note = Note {
            reason: GapReason::Expired,
            attempts: attempted.as_ref().map_or(0, |attempted| attempted.failed),
            since: attempted.as_ref().map(|attempted| attempted.since),
            answer: attempted.and_then(|attempted| attempted.answer),
        };
        let from = self.next;
        self.dead.push(DeadLetter { from, to, time: now, note });
        // What an older gap covers lies just before.
        let gap_from = self.memory.gap.map_or(from, |gap| gap.from);
        self.memory.gap = Some(Gap { id: gap_id, time: now, from: gap_from, to, reason: GapReason::Expired });
        self.memory.tries = None;
        self.head_time = Some(now);
        self.next = to + 1;
        self.forget();
        Some(from)
    }

    /// The endpoint wants nothing more of this call: all that it does not get, to the call's end, is one dead letter.
    pub fn end(&mut self, now: Timestamp, answer: &Answer) {
        let attempts = self.attempt();
        let note = Note { reason: GapReason::Undeliverable, attempts, since: None, answer: Some(answer.clone()) };
        self.dead.push(DeadLetter { from: self.next, to: u64::MAX, time: now, note });
        self.ended = true;
        self.phase = Phase::Idle;
        self.head_time = None;
        self.forget();
    }

    fn attempt(&self) -> u32 {
        self.memory.tries.as_ref().map_or(0, |tries| tries.failed) + 1
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

    static ANSWER: std::sync::OnceLock<Answer> = std::sync::OnceLock::new();

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn row(next: u64) -> LaneRow {
        LaneRow { next, memory: Bytes::new(), target: None }
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
            answer: ANSWER.get_or_init(|| Answer {
                status: Some(500),
                error: "status 500".into(),
                response: String::new(),
            }),
            gap_id: EventId::from_u128(99),
        }
    }

    fn lane(events: &[EventKind]) -> Lane {
        let mut lane = Lane::new(CallId::from_u128(1), &row(1), at(0));
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
            assert_eq!(lane.row().unwrap().next, seq + 1);
        }
        assert_eq!(lane.step(|_| true).0, Step::Rest);
        assert_eq!(lane.phase(), Phase::Idle);
    }

    #[test]
    fn what_a_filter_leaves_out_is_passed() {
        let mut lane = lane(&[EventKind::CallBegin, EventKind::UserJoin, EventKind::CallEnd]);
        let (step, moved) = lane.step(|event| event.kind == EventKind::CallEnd);
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
        let mut again = Lane::new(CallId::from_u128(1), &lane.row().unwrap(), at(10));
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
        assert_eq!(lane.row().unwrap().next, 2);
        assert_eq!(lane.take_dead().iter().map(|letter| letter.from).collect::<Vec<_>>(), [1]);
        let gap = sent(&mut lane);
        assert_eq!((gap.kind, gap.seq), (EventKind::DeliveryGap, None));
        let json: serde_json::Value = serde_json::from_slice(&gap.body).unwrap();
        assert_eq!(json["data"], serde_json::json!({"fromSeq": 1, "toSeq": 1, "reason": "undeliverable"}));
        assert_eq!(
            sent(&mut Lane::new(CallId::from_u128(1), &lane.row().unwrap(), now)),
            gap,
            "the same after a restart"
        );
        lane.succeed();
        assert_eq!(lane.step(|_| true).0, Step::Read { from: 2 });
    }

    #[test]
    fn a_poisoned_event_does_not_hold_its_lane_for_days() {
        let mut lane = lane(&[EventKind::CallBegin]);
        sent(&mut lane);
        let (done, now) = exhaust(&mut lane, true);
        assert_eq!(done, Failed::Parked { seq: 1 });
        assert_eq!(now, at(3240), "nine tenths of the hour");
        sent(&mut lane);
        let mut now = now;
        while let Failed::RetryAt(due) = lane.fail(failing(now, true)) {
            now = due;
        }
        assert!(now <= at(3600), "the gap has the rest: {now}");
    }

    #[test]
    fn what_is_too_old_becomes_one_gap_from_an_older_one_on() {
        let mut lane = lane(&[EventKind::CallBegin, EventKind::UserJoin, EventKind::CallEnd]);
        sent(&mut lane);
        assert_eq!(lane.expire(3, at(5), EventId::from_u128(7)), None, "its head is under way");
        exhaust(&mut lane, false);
        assert_eq!(lane.expire(3, at(9), EventId::from_u128(7)), Some(2));
        let gap = sent(&mut lane);
        let json: serde_json::Value = serde_json::from_slice(&gap.body).unwrap();
        assert_eq!(json["data"], serde_json::json!({"fromSeq": 1, "toSeq": 3, "reason": "expired"}));
        assert_eq!(
            lane.take_dead().iter().map(|letter| (letter.from, letter.to)).collect::<Vec<_>>(),
            [(1, 1), (2, 3)]
        );
        lane.succeed();
        assert_eq!(lane.row(), Some(row(4)));
        assert_eq!(lane.expire(3, at(9), EventId::from_u128(8)), None, "nothing is left");
    }

    #[test]
    fn a_lane_that_was_ended_has_no_row_and_does_not_wake() {
        let mut lane = lane(&[EventKind::CallBegin, EventKind::CallEnd]);
        sent(&mut lane);
        lane.end(at(1), failing(at(1), true).answer);
        assert_eq!((lane.row(), lane.nudge(), lane.take_dead().len()), (None, false, 1));
    }

    #[test]
    fn a_gap_that_nobody_takes_does_not_hold_the_lane() {
        let mut lane = lane(&[EventKind::CallBegin]);
        sent(&mut lane);
        exhaust(&mut lane, false);
        sent(&mut lane);
        assert_eq!(exhaust(&mut lane, false).0, Failed::GapDropped);
        assert_eq!(lane.row(), Some(row(2)));
    }

    #[test]
    fn a_lane_that_waits_holds_no_events() {
        let mut lane = lane(&[EventKind::CallBegin, EventKind::CallEnd]);
        sent(&mut lane);
        lane.fail(failing(at(1), false));
        assert!(lane.ahead.is_empty() && lane.ahead.capacity() == 0);
    }
}
