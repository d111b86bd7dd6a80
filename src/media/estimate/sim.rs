//! A sender, a link and a receiver on a virtual clock, for the estimator alone.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use super::{Estimator, Probe};

/// One step of the clock.
const STEP: Duration = Duration::from_millis(1);
/// Bytes of a packet: at most, of a probe's, at least.
const PACKET: u32 = 1200;
const PADDING: u32 = 1000;
const LEAST_PACKET: f64 = 80.0;

pub fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// The way there; feedback comes back after `delay`.
#[derive(Debug, Clone, Copy)]
pub struct Link {
    /// Bits per second; `None`: as many as one likes.
    pub rate: Option<u64>,
    /// Of packets, before they are dropped.
    pub queue: Duration,
    /// One way.
    pub delay: Duration,
    pub jitter: Duration,
    pub loss: f64,
    /// Drops what is beyond this rate, and lets a tenth of a second of it through at once.
    pub policed: Option<u64>,
    pub feedback_loss: f64,
    pub feedback_twice: f64,
    /// The feedback comes so much later, or not.
    pub feedback_jitter: Duration,
}

impl Link {
    pub const WIDE: Self = Self {
        rate: None,
        queue: Duration::from_millis(300),
        delay: Duration::from_millis(20),
        jitter: Duration::ZERO,
        loss: 0.0,
        policed: None,
        feedback_loss: 0.0,
        feedback_twice: 0.0,
        feedback_jitter: Duration::ZERO,
    };

    pub fn of(rate: u64) -> Self {
        Self { rate: Some(rate), ..Self::WIDE }
    }
}

/// What is sent: frames, all packets of one at once.
#[derive(Debug, Clone, Copy)]
pub struct Media {
    /// Bits per second at most; `None`: all of the estimate.
    pub at_most: Option<u64>,
    pub frame: Duration,
    /// It is of what a probe can be made of: pictures, not sound.
    pub probes: bool,
}

impl Media {
    pub const GREEDY: Self = Self { at_most: None, frame: Duration::from_millis(33), probes: true };
    pub const NONE: Self = Self { at_most: Some(0), ..Self::GREEDY };

    pub fn of(rate: u64) -> Self {
        Self { at_most: Some(rate), ..Self::GREEDY }
    }

    pub fn voice() -> Self {
        Self { at_most: Some(32_000), frame: ms(20), probes: false }
    }
}

/// What was seen at one step.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    pub at: Duration,
    pub estimate: u64,
    pub queue: Duration,
}

pub struct World {
    pub estimator: Estimator,
    pub link: Link,
    pub media: Media,
    pub feedback_every: Duration,
    pub start: Instant,
    pub now: Instant,
    pub rng: fastrand::Rng,
    pub seen: Vec<Seen>,
    pub ticks: usize,
    pub probes: Vec<(Duration, Probe)>,
    pub media_bytes: u64,
    pub probe_bytes: u64,
    /// Packets sent and dropped by the link.
    pub counted: (u64, u64),
    seq: u64,
    next_frame: Instant,
    owed: f64,
    probe: Option<(Probe, u32, Instant)>,
    busy_until: Instant,
    tokens: f64,
    under_way: BTreeSet<(Instant, u64)>,
    came: BTreeMap<u64, i64>,
    expected: u64,
    next_feedback: Instant,
    feedback: VecDeque<(Instant, u16, Vec<Option<i64>>)>,
}

impl World {
    pub fn new(seed: u64, first: u64, desired: u64, link: Link, media: Media) -> Self {
        let start = Instant::now();
        let mut estimator = Estimator::new(first, start);
        estimator.look_for(desired, start);
        let mut rng = fastrand::Rng::with_seed(seed);
        let feedback_every = ms([50, 100, 250][seed as usize % 3]);
        let next_feedback = start + Duration::from_micros(rng.u64(0..100_000));
        Self {
            estimator,
            link,
            media,
            feedback_every,
            start,
            now: start,
            rng,
            seen: Vec::new(),
            ticks: 0,
            probes: Vec::new(),
            media_bytes: 0,
            probe_bytes: 0,
            counted: (0, 0),
            seq: seed * 7919,
            next_frame: start,
            owed: 0.0,
            probe: None,
            busy_until: start,
            tokens: 0.0,
            under_way: BTreeSet::new(),
            came: BTreeMap::new(),
            expected: seed * 7919,
            next_feedback,
            feedback: VecDeque::new(),
        }
    }

    pub fn run(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            self.step();
        }
    }

    pub fn at(&self) -> Duration {
        self.now - self.start
    }

    pub fn estimate(&self) -> u64 {
        self.estimator.estimate()
    }

    /// What was seen since then.
    pub fn since(&self, at: Duration) -> impl Iterator<Item = &Seen> {
        self.seen.iter().filter(move |seen| seen.at >= at)
    }

    pub fn least_since(&self, at: Duration) -> u64 {
        self.since(at).map(|seen| seen.estimate).min().unwrap()
    }

    pub fn mean_since(&self, at: Duration) -> f64 {
        let all: Vec<f64> = self.since(at).map(|seen| seen.estimate as f64).collect();
        all.iter().sum::<f64>() / all.len() as f64
    }

    /// The share of the time for which it holds.
    pub fn share_since(&self, at: Duration, holds: impl Fn(&Seen) -> bool) -> f64 {
        let all: Vec<&Seen> = self.since(at).collect();
        all.iter().filter(|seen| holds(seen)).count() as f64 / all.len() as f64
    }

    /// When the estimate was first like that, since then.
    pub fn first_since(&self, at: Duration, like: impl Fn(u64) -> bool) -> Option<Duration> {
        self.since(at).find(|seen| like(seen.estimate)).map(|seen| seen.at - at)
    }

    /// How often the estimate turned round and went 30 % the other way: more than its steps near the capacity.
    pub fn turns_since(&self, at: Duration) -> usize {
        let mut extreme = 0.0f64;
        let mut direction = 0;
        let mut turns = 0;
        for seen in self.since(at) {
            let estimate = seen.estimate as f64;
            if extreme == 0.0 {
                extreme = estimate;
            }
            let farther = if direction >= 0 { estimate > extreme } else { estimate < extreme };
            if farther {
                extreme = estimate;
                continue;
            }
            let back = (estimate / extreme - 1.0).abs() > 0.3;
            if back {
                turns += usize::from(direction != 0);
                direction = if estimate > extreme { 1 } else { -1 };
                extreme = estimate;
            }
        }
        turns
    }

    fn step(&mut self) {
        self.now += STEP;
        if self.estimator.deadline().is_some_and(|at| at <= self.now) {
            self.ticks += 1;
            self.estimator.handle_timeout(self.now);
            let next = self.estimator.deadline();
            assert!(next.is_none_or(|at| at > self.now), "a deadline that stays: {next:?}");
        }
        self.send_media();
        self.send_probe();
        self.arrive();
        self.give_feedback();
        let seen = Seen {
            at: self.at(),
            estimate: self.estimator.estimate(),
            queue: self.busy_until.saturating_duration_since(self.now),
        };
        self.seen.push(seen);
    }

    fn send_media(&mut self) {
        if self.now < self.next_frame {
            return;
        }
        self.next_frame += self.media.frame;
        let rate = self.media.at_most.map_or(self.estimate(), |most| most.min(self.estimate()));
        self.owed += rate as f64 / 8.0 * self.media.frame.as_secs_f64();
        let probing = self.probe.as_ref().map(|(probe, ..)| probe.id);
        while self.owed >= LEAST_PACKET {
            let bytes = (self.owed as u32).min(PACKET);
            self.owed -= f64::from(bytes);
            self.media_bytes += u64::from(bytes);
            self.send(bytes, probing);
            if let Some((_, left, _)) = &mut self.probe {
                *left = left.saturating_sub(bytes);
            }
        }
    }

    fn send_probe(&mut self) {
        if self.media.probes
            && self.probe.is_none()
            && let Some(probe) = self.estimator.poll_probe(self.now)
        {
            self.probes.push((self.at(), probe));
            self.probe = Some((probe, probe.bytes, self.now));
        }
        while let Some((probe, left, next)) = self.probe {
            if left == 0 {
                self.probe = None;
                break;
            }
            if next > self.now {
                break;
            }
            let bytes = PADDING;
            self.probe_bytes += u64::from(bytes);
            let next = next + Duration::from_secs_f64(f64::from(bytes) * 8.0 / probe.bitrate as f64);
            self.probe = Some((probe, left.saturating_sub(bytes), next));
            self.send(bytes, Some(probe.id));
        }
    }

    fn send(&mut self, bytes: u32, probe: Option<u32>) {
        let seq = self.seq;
        self.seq += 1;
        self.estimator.sent(seq, bytes, probe, 0, self.now);
        self.counted.0 += 1;
        if let Some(arrives) = self.carry(bytes) {
            self.under_way.insert((arrives, seq));
        } else {
            self.counted.1 += 1;
        }
    }

    fn carry(&mut self, bytes: u32) -> Option<Instant> {
        let link = self.link;
        if self.rng.f64() < link.loss {
            return None;
        }
        if let Some(policed) = link.policed {
            let passed = self.now.saturating_duration_since(self.busy_until).as_secs_f64();
            self.busy_until = self.now;
            self.tokens = (self.tokens + passed * policed as f64 / 8.0).min(policed as f64 / 80.0);
            if self.tokens < f64::from(bytes) {
                return None;
            }
            self.tokens -= f64::from(bytes);
        }
        let mut leaves = self.now;
        if let Some(rate) = link.rate {
            let free = self.busy_until.max(self.now);
            if free - self.now > link.queue {
                return None;
            }
            leaves = free + Duration::from_secs_f64(f64::from(bytes) * 8.0 / rate as f64);
            self.busy_until = leaves;
        }
        let jitter = Duration::from_micros(self.rng.u64(0..=link.jitter.as_micros() as u64));
        Some(leaves + link.delay + jitter)
    }

    fn arrive(&mut self) {
        while let Some(&(at, seq)) = self.under_way.first() {
            if at > self.now {
                break;
            }
            self.under_way.pop_first();
            self.came.insert(seq, at.duration_since(self.start).as_micros() as i64 / 250 * 250 - 77_000_000);
        }
    }

    /// As Chromium does: from the first packet that no feedback spoke of, or that came late, to the last that came.
    fn give_feedback(&mut self) {
        if self.now >= self.next_feedback {
            self.next_feedback += self.feedback_every;
            if let (Some((&first, _)), Some((&last, _))) = (self.came.first_key_value(), self.came.last_key_value()) {
                let base = first.min(self.expected).max(last.saturating_sub(20_000));
                let arrivals = (base..=last).map(|seq| self.came.get(&seq).copied()).collect();
                self.came.clear();
                self.expected = last + 1;
                let times = usize::from(self.rng.f64() >= self.link.feedback_loss)
                    * (1 + usize::from(self.rng.f64() < self.link.feedback_twice));
                for _ in 0..times {
                    let jitter = Duration::from_micros(self.rng.u64(0..=self.link.feedback_jitter.as_micros() as u64));
                    let at = self.now + self.link.delay + jitter;
                    self.feedback.push_back((at, base as u16, Vec::clone(&arrivals)));
                }
            }
        }
        let (due, later): (VecDeque<_>, _) = self.feedback.drain(..).partition(|(at, ..)| *at <= self.now);
        self.feedback = later;
        for (_, base, arrivals) in due {
            self.estimator.feedback(base, arrivals.into_iter(), self.now, |_, _| {});
        }
    }
}
