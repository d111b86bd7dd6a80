//! How many bits per second the path to a receiver carries, from what its transport-wide feedback says of each packet.
//!
//! Sources: draft-ietf-rmcat-gcc-02 (congestion control by delay), draft-holmer-rmcat-transport-wide-cc-extensions-01 (the feedback), and the
//! behaviour of libwebrtc's `goog_cc`, which browsers are used to. Sans-IO, without a clock and without chance: the same packets and feedback
//! give the same estimate.
//!
//! ```text
//! sent ─▶ history ◀─ feedback ─▶ arrival (groups) ─▶ trend (does a queue grow?) ─┐
//!                             ├▶ queue (does one stand?) ────────────────────────┤
//!                             ├▶ acked (what is delivered) ──────────────────────┼▶ rate ─▶ estimate
//!                             ├▶ loss (by chance, or because it is too much?) ───┤
//!                             └▶ probe (what more would the path carry?) ────────┘
//! ```

mod acked;
mod arrival;
mod history;
mod loss;
mod lowest;
mod probe;
mod queue;
mod rate;
#[cfg(test)]
mod scenarios;
#[cfg(test)]
mod sim;
mod trend;

use std::time::{Duration, Instant};

use acked::Acked;
use arrival::Groups;
use history::{History, Said, Sent};
use loss::{Advice, Loss};
use lowest::Lowest;
pub use probe::Probe;
use probe::Prober;
use queue::Queue;
use rate::{Observed, Rate};
use trend::{Trend, Usage};

/// Microseconds since the estimator was made, or since the receiver's clock began.
type Micros = i64;

/// Times of the receiver beyond this, some 142 years, are nonsense and would overflow.
const MAX_TIME: Micros = 1 << 52;
/// A delay that jumps by so much is another clock.
const ANOTHER_CLOCK: Micros = 10_000_000;
/// After so long without a packet what was known of the path's delay is no use.
const STALE: Micros = 2_000_000;

/// The round trip is the shortest of so long.
const ROUND_TRIP_SPAN: Micros = 2_000_000;
/// Until one is known.
const FIRST_ROUND_TRIP: Micros = 200_000;

/// A probe that found less than this share of the estimate shows that it is too high; two in a row that found less than the other one do.
/// More believes jitter, less sends too much for longer.
const REFUTES: f64 = 0.6;
const DOUBTS: f64 = 0.85;

/// A change of the estimate by less is not worth telling.
const TOLD_STEP: f64 = 0.01;

/// The estimator of one path.
///
/// - Inputs: [`sent`](Self::sent), [`feedback`](Self::feedback), [`look_for`](Self::look_for), [`handle_timeout`](Self::handle_timeout) by
///   [`deadline`](Self::deadline).
/// - Outputs: [`poll_estimate`](Self::poll_estimate) and [`poll_probe`](Self::poll_probe), after each input.
/// - Getters: [`estimate`](Self::estimate), [`loss`](Self::loss), [`round_trip`](Self::round_trip).
#[derive(Debug)]
pub struct Estimator {
    origin: Instant,
    history: History,
    last_sent: Micros,
    told_at: Micros,
    path: Path,
    rate: Rate,
    loss: Loss,
    prober: Prober,
    /// What the last probe found, if it was less than the estimate.
    doubt: Option<f64>,
    round_trip: Lowest<ROUND_TRIP_SPAN>,
    /// The estimate that was polled last.
    told: f64,
}

/// What the receiver's clock shows of the path.
#[derive(Debug, Default)]
struct Path {
    acked: Acked,
    groups: Groups,
    trend: Trend,
    queue: Queue,
    /// Arrival minus sending of the latest packet; the two clocks began at different times.
    delay: Option<Micros>,
}

impl Estimator {
    /// `first` in bits per second.
    pub fn new(first: u64, now: Instant) -> Self {
        let rate = Rate::new(first as f64);
        Self {
            origin: now,
            history: History::default(),
            last_sent: 0,
            told_at: 0,
            path: Path::default(),
            loss: Loss::default(),
            prober: Prober::new(rate.current()),
            doubt: None,
            round_trip: Lowest::default(),
            told: rate.current(),
            rate,
        }
    }

    /// Bits per second that the path carries.
    pub fn estimate(&self) -> u64 {
        self.rate.current() as u64
    }

    /// The share of the packets of the last second that was lost on the way, 0.0–1.0; `None`: nothing is known of any.
    pub fn loss(&self, now: Instant) -> Option<f32> {
        self.loss.share(self.micros(now))
    }

    /// From the sending of a packet to the arrival of the feedback that tells of it, at least.
    pub fn round_trip(&self) -> Option<Duration> {
        self.round_trip.value().map(|micros| Duration::from_micros(micros.unsigned_abs()))
    }

    /// Even the quickest packets wait in a queue on the way.
    pub fn path_waits(&self) -> bool {
        self.path.queue.waits()
    }

    /// A packet leaves: `seq` grows by one from packet to packet, `bytes` are all of it, `probe` is that of
    /// [`poll_probe`](Self::poll_probe) which it is part of, `name` what [`feedback`](Self::feedback) calls it when it is lost.
    pub fn sent(&mut self, seq: u64, bytes: u32, probe: Option<u32>, name: u32, now: Instant) {
        let at = self.micros(now);
        let bytes = u16::try_from(bytes).unwrap_or(u16::MAX);
        let mark = self.prober.sent(probe, bytes, at);
        self.history.push(seq, Sent { at, bytes, mark, name });
        self.last_sent = at;
    }

    /// A feedback: when the packets from `base` on arrived, in microseconds of the receiver's clock; `None`: did not. Each of these is told
    /// once, by its name and when it was sent.
    pub fn feedback(
        &mut self,
        base: u16,
        arrivals: impl Iterator<Item = Option<i64>>,
        now: Instant,
        mut lost: impl FnMut(u32, Instant),
    ) {
        let at = self.micros(now);
        let Some(first) = self.history.unwrap(base) else { return };
        let mut newest = None;
        let mut is_news = false;
        for (seq, arrival) in (first..).zip(arrivals) {
            match self.history.report(seq, arrival.is_some(), at) {
                Said::Beyond => break,
                Said::Old => continue,
                Said::Lost(sent) => {
                    self.loss.note(sent, true, at);
                    self.prober.told(sent, None);
                    lost(sent.name, self.origin + Duration::from_micros(sent.at.max(0).unsigned_abs()));
                }
                Said::Arrived { sent, was_lost } => {
                    if was_lost {
                        self.loss.came(sent);
                    } else {
                        self.loss.note(sent, false, at);
                    }
                    newest = newest.max(Some(sent.at));
                    self.arrived(sent, arrival.unwrap_or_default(), at);
                }
            }
            is_news = true;
        }
        if let Some(sent) = newest {
            self.round_trip.note(at - sent, at);
        }
        if is_news {
            self.history.forget(at);
            self.conclude(at);
        }
    }

    /// What could be used at most, in bits per second: it probes up to this.
    pub fn look_for(&mut self, desired: u64, now: Instant) {
        self.prober.look_for(desired as f64, self.micros(now));
    }

    /// A probe to send at once.
    pub fn poll_probe(&mut self, now: Instant) -> Option<Probe> {
        self.decide_probe(self.micros(now));
        self.prober.take()
    }

    /// The estimate, when it has changed since it was polled.
    pub fn poll_estimate(&mut self) -> Option<u64> {
        let current = self.rate.current();
        let has_changed = (current - self.told).abs() > self.told * TOLD_STEP;
        has_changed.then(|| {
            self.told = current;
            current as u64
        })
    }

    /// When [`handle_timeout`](Self::handle_timeout) is wanted; `None`: not before something else happens.
    pub fn deadline(&self) -> Option<Instant> {
        self.path.delay?;
        let at = self.prober.deadline(self.rate.current())?;
        Some(self.origin + Duration::from_micros(at.max(0).unsigned_abs()))
    }

    /// Time has passed: there may be a probe to poll.
    pub fn handle_timeout(&mut self, now: Instant) {
        let now = self.micros(now);
        self.finish_probe(now);
        self.decide_probe(now);
    }

    fn arrived(&mut self, sent: Sent, arrival: i64, now: Micros) {
        let arrival = arrival.clamp(-MAX_TIME, MAX_TIME);
        let delay = arrival - sent.at;
        let is_another = self.path.delay.is_some_and(|before| (delay - before).abs() > ANOTHER_CLOCK);
        if is_another || now - self.told_at > STALE {
            self.path = Path::default();
        }
        self.told_at = now;
        self.path.note(sent, arrival, now);
        if sent.mark == 0 {
            self.loss.waited(self.path.queue.latest());
        } else {
            self.prober.told(sent, Some(arrival));
        }
    }

    /// Draws the conclusions of a feedback.
    fn conclude(&mut self, now: Micros) {
        let before = self.rate.current();
        let observed = Observed {
            usage: self.path.trend.usage(),
            is_probing: self.prober.is_felt(now),
            acked: self.path.acked.rate(),
            queue: self.path.queue.latest(),
            standing: self.path.queue.standing(now),
            round_trip: self.round_trip.value().unwrap_or(FIRST_ROUND_TRIP),
        };
        self.rate.update(observed, now);
        match self.loss.judge(self.rate.current(), now) {
            Advice::Keep => {}
            Advice::Lower(to) => self.rate.lower(to, now),
            Advice::Raise(to) => self.rate.raise(to),
        }
        let lowered = self.rate.current();
        if lowered < before {
            self.prober.lowered(before, lowered, now);
        }
        self.finish_probe(now);
        self.decide_probe(now);
    }

    fn finish_probe(&mut self, now: Micros) {
        let before = self.rate.current();
        let Some(found) = self.prober.result(before, self.loss.by_chance(), now) else { return };
        self.rate.bound(found.at_most, now);
        let doubted = self.doubt.take();
        if found.bitrate >= before * DOUBTS {
            self.rate.raise(found.bitrate);
            return;
        }
        let refuted = match doubted {
            _ if found.bitrate < before * REFUTES => found.bitrate,
            Some(doubted) => found.bitrate.max(doubted),
            None => {
                self.doubt = Some(found.bitrate);
                return;
            }
        };
        self.rate.lower(refuted, now);
        self.prober.lowered(before, self.rate.current(), now);
    }

    fn decide_probe(&mut self, now: Micros) {
        // Who has told nothing yet may never do.
        if self.path.delay.is_none() {
            return;
        }
        let is_calm = self.path.trend.usage() != Usage::Over && !self.path.queue.waits();
        self.prober.decide(self.rate.current(), is_calm, self.last_sent, now);
    }

    fn micros(&self, at: Instant) -> Micros {
        let since = at.saturating_duration_since(self.origin);
        since.as_secs() as Micros * 1_000_000 + Micros::from(since.subsec_micros())
    }
}

impl Path {
    fn note(&mut self, sent: Sent, arrival: Micros, now: Micros) {
        let delay = arrival - sent.at;
        self.delay = Some(delay);
        self.queue.note(delay, now);
        self.acked.note(arrival, sent.bytes);
        if let Some(step) = self.groups.note(sent.at, arrival) {
            self.trend.note(step);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends a packet each 10 ms and has it reported on, in tens; `clock` is what the receiver's shows when it arrives.
    fn run(estimator: &mut Estimator, start: Instant, range: std::ops::Range<u64>, clock: impl Fn(u64) -> i64) {
        for tens in range {
            let sent = |n: u64| start + Duration::from_millis((tens * 10 + n) * 10);
            (0..10).for_each(|n| estimator.sent(tens * 10 + n, 1000, None, 0, sent(n)));
            let arrivals = (0..10).map(|n| Some(clock(tens * 10 + n)));
            estimator.feedback((tens * 10) as u16, arrivals, sent(9) + Duration::from_millis(45), |_, _| {});
        }
    }

    fn millis(millis: u64) -> i64 {
        millis as i64 * 1000
    }

    #[test]
    fn the_round_trip_is_from_the_last_packet_to_the_feedback_of_it() {
        let start = Instant::now();
        let mut estimator = Estimator::new(1_000_000, start);
        assert_eq!((estimator.round_trip(), estimator.loss(start)), (None, None));
        run(&mut estimator, start, 0..5, |n| millis(n * 10));
        assert_eq!(estimator.round_trip(), Some(Duration::from_millis(45)));
        assert_eq!(estimator.loss(start + Duration::from_millis(500)), Some(0.0));
        assert_eq!(estimator.loss(start + Duration::from_secs(5)), None);
    }

    #[test]
    fn what_was_lost_is_told_once_by_its_name() {
        let start = Instant::now();
        let mut estimator = Estimator::new(1_000_000, start);
        (0..4).for_each(|n| estimator.sent(n, 1000, None, n as u32 + 100, start + Duration::from_millis(n)));
        let mut told = Vec::new();
        for arrivals in [[Some(0), None, Some(2000), None], [Some(0), None, Some(2000), Some(3000)]] {
            let now = start + Duration::from_millis(50);
            estimator.feedback(0, arrivals.into_iter(), now, |name, at| told.push((name, at - start)));
        }
        assert_eq!(told, [(101, Duration::from_millis(1)), (103, Duration::from_millis(3))]);
    }

    #[test]
    fn another_clock_is_no_queue() {
        let start = Instant::now();
        let mut estimator = Estimator::new(1_000_000, start);
        run(&mut estimator, start, 0..20, |n| millis(n * 10));
        let before = estimator.estimate();
        for (range, hours) in [(20..40, 1000), (40..60, -2000)] {
            run(&mut estimator, start, range, |n| millis(n * 10) + hours * 3_600_000_000);
            assert!(estimator.estimate() >= before, "{hours}: {}", estimator.estimate());
            assert_eq!(estimator.path.queue.latest(), 0);
        }
    }

    #[test]
    fn what_was_known_of_the_delay_is_forgotten_in_a_silence() {
        let start = Instant::now();
        let mut estimator = Estimator::new(1_000_000, start);
        run(&mut estimator, start, 0..20, |n| millis(n * 10));
        run(&mut estimator, start, 60..80, |n| millis(n * 10 + 500));
        assert_eq!(estimator.path.queue.latest(), 0, "the path may be another");
        run(&mut estimator, start, 80..81, |n| millis(n * 10 + 600));
        assert_eq!(estimator.path.queue.latest(), 100_000);
    }

    #[test]
    fn a_changed_estimate_is_told_once() {
        let start = Instant::now();
        let mut estimator = Estimator::new(1_000_000, start);
        assert_eq!(estimator.poll_estimate(), None);
        run(&mut estimator, start, 0..15, |n| millis(n * 10));
        let told = estimator.poll_estimate().expect("it has grown");
        assert_eq!((told, estimator.poll_estimate()), (estimator.estimate(), None));
    }
}
