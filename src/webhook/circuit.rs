//! Whether an endpoint is worth asking: after failures of several calls in a row only single probes go out.

use std::time::Duration;

use super::schedule::Draw;
use crate::base::{CallId, Timestamp};

/// Failures in a row that open the circuit. Fewer: an endpoint that fails a third of its requests is held back now and then;
/// more: a dead one is asked more often in vain.
const FAILURES: u32 = 10;
/// From so many calls: one poisoned event, or two, do not make an endpoint dead.
const CALLS: usize = 3;
/// Between probes, in seconds; then always the last, which is how long after its return an endpoint may wait for the backlog.
const PROBES: [u64; 5] = [1, 2, 5, 10, 30];

/// An endpoint's health, judged by its answers.
#[derive(Debug)]
pub enum Circuit {
    /// Asked as lanes have something to send.
    Closed { failures: u32, calls: Vec<CallId> },
    /// Asked by one lane at a time.
    Open { since: Timestamp, probes: usize, next: Timestamp, probing: Option<CallId> },
}

/// Who may be sent to the endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    All,
    OneProbe,
    /// Nobody until then; `None`: until the probe under way has its answer.
    Nobody(Option<Timestamp>),
}

impl Default for Circuit {
    fn default() -> Self {
        Self::Closed { failures: 0, calls: Vec::new() }
    }
}

impl Circuit {
    pub fn admits(&self, now: Timestamp) -> Admission {
        match self {
            Self::Closed { .. } => Admission::All,
            Self::Open { probing: Some(_), .. } => Admission::Nobody(None),
            Self::Open { next, .. } if *next <= now => Admission::OneProbe,
            Self::Open { next, .. } => Admission::Nobody(Some(*next)),
        }
    }

    /// `call`'s lane is the probe.
    pub fn probe_by(&mut self, call: CallId) {
        if let Self::Open { probing, .. } = self {
            *probing = Some(call);
        }
    }

    /// The lane that was to probe had nothing to send.
    pub fn spare(&mut self, call: CallId) {
        if let Self::Open { probing, .. } = self
            && *probing == Some(call)
        {
            *probing = None;
        }
    }

    /// An event was taken. True: the endpoint is back, those who wait need not wait longer.
    pub fn succeed(&mut self) -> bool {
        let is_back = match self {
            Self::Closed { calls, .. } => calls.len() > 1,
            Self::Open { .. } => true,
        };
        *self = Self::default();
        is_back
    }

    /// An event of `call` was not taken. True: the circuit has opened.
    pub fn fail(&mut self, call: CallId, now: Timestamp, draw: Draw) -> bool {
        match self {
            Self::Closed { failures, calls } => {
                *failures = failures.saturating_add(1);
                if calls.len() < CALLS && !calls.contains(&call) {
                    calls.push(call);
                }
                let opens = *failures >= FAILURES && calls.len() >= CALLS;
                if opens {
                    *self = Self::Open { since: now, probes: 0, next: now + pause(0, draw), probing: None };
                }
                opens
            }
            Self::Open { probes, next, probing, .. } => {
                if *probing == Some(call) {
                    *probes += 1;
                    *probing = None;
                    *next = now + pause(*probes, draw);
                }
                false
            }
        }
    }

    pub fn open_since(&self) -> Option<Timestamp> {
        match self {
            Self::Closed { .. } => None,
            Self::Open { since, .. } => Some(*since),
        }
    }
}

/// The receiver's wish counts up to an hour: a probe costs it little.
fn pause(probes: usize, draw: Draw) -> Duration {
    let pause = Duration::from_secs(PROBES[probes.min(PROBES.len() - 1)]);
    draw.jitter.spread(pause).max(draw.retry_after.unwrap_or_default().min(Duration::from_secs(3600)))
}

#[cfg(test)]
mod tests {
    use super::super::schedule::Jitter;
    use super::*;

    const DRAW: Draw = Draw { jitter: Jitter::MIDDLE, retry_after: None };

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn call(n: u32) -> CallId {
        CallId::from_u128(n.into())
    }

    fn opened() -> Circuit {
        let mut circuit = Circuit::default();
        let openings = (1..=FAILURES).filter(|n| circuit.fail(call(*n), at(0), DRAW)).count();
        assert_eq!(openings, 1);
        circuit
    }

    #[test]
    fn failures_of_few_calls_never_open_it() {
        let mut circuit = Circuit::default();
        for n in 0..1000 {
            assert!(!circuit.fail(call(n % 2), at(0), DRAW));
        }
        assert_eq!(circuit.admits(at(0)), Admission::All);
    }

    #[test]
    fn a_success_in_between_keeps_it_closed() {
        let mut circuit = Circuit::default();
        for n in 0..1000 {
            if n % (FAILURES - 1) == 0 {
                circuit.succeed();
            }
            assert!(!circuit.fail(call(n), at(0), DRAW));
        }
    }

    #[test]
    fn when_open_it_lets_single_probes_through_ever_more_slowly() {
        let mut circuit = opened();
        let mut now = at(0);
        let mut pauses = Vec::new();
        for n in 100..107 {
            let Admission::Nobody(Some(next)) = circuit.admits(now) else { panic!("{circuit:?}") };
            pauses.push(next.since(now).as_secs());
            now = next;
            assert_eq!(circuit.admits(now), Admission::OneProbe);
            circuit.probe_by(call(n));
            assert_eq!(circuit.admits(now), Admission::Nobody(None));
            circuit.fail(call(1), now, DRAW);
            assert_eq!(circuit.admits(now), Admission::Nobody(None), "a straggler is no probe");
            circuit.fail(call(n), now, DRAW);
        }
        assert_eq!(pauses, [1, 2, 5, 10, 30, 30, 30]);
    }

    #[test]
    fn any_success_closes_it() {
        let mut circuit = opened();
        assert!(circuit.succeed());
        assert_eq!(circuit.admits(at(0)), Admission::All);
        assert!(!circuit.succeed(), "nobody had to wait");
    }

    #[test]
    fn a_probe_with_nothing_to_send_leaves_its_place() {
        let mut circuit = opened();
        circuit.probe_by(call(5));
        circuit.spare(call(6));
        assert_eq!(circuit.admits(at(9)), Admission::Nobody(None));
        circuit.spare(call(5));
        assert_eq!(circuit.admits(at(9)), Admission::OneProbe);
    }
}
