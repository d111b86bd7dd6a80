//! The rate that follows the delay: up by a share while the path's capacity is unknown and by a little near it, down under what is delivered.
//!
//! After draft-ietf-rmcat-gcc-02, 5.5 and libwebrtc's `AimdRateControl`, but that a sender who uses little of the estimate loses little of it.

use super::Micros;
use super::queue::Standing;
use super::trend::Usage;

/// Never less, in bits per second: a voice with its headers. A path that carries less is no use to anyone.
pub const LEAST: f64 = 50_000.0;
/// Never more: what a wider path carries nobody asks for.
pub const MOST: f64 = 100e6;

/// What is left of the delivered rate on over-use. Less empties the queue faster and leaves more of the path unused.
const BACK_OFF: f64 = 0.85;
/// … and so much less, which matters on thin paths only.
const BACK_OFF_MORE: f64 = 5_000.0;
/// What is left of the estimate when a queue seems to grow though the sender uses little of the estimate: it may be jitter, and what is
/// delivered says nothing of what could be.
const BACK_OFF_UNUSED: f64 = 0.85;
/// Who uses less than this share of the estimate is limited by what it has to send.
const UNUSED: f64 = 0.65;
/// A packet that has waited so long waits in a queue, whoever filled it.
const QUEUED: Micros = 50_000;

/// One fall is followed by another after a round trip, within these bounds: what was sent before it must have had its say.
const SOONEST_FALL: Micros = 50_000;
const LATEST_FALL: Micros = 200_000;
/// Before anything is known of what is delivered, over-use takes this share.
const BLIND_FALL: f64 = 0.5;

/// Growth for each second far from the capacity of the path.
const GROWTH: f64 = 0.08;
/// The estimate does not grow beyond this multiple of what is delivered and a little more: what is not tried is not known.
const BEYOND_DELIVERED: f64 = 1.5;
const A_LITTLE: f64 = 10_000.0;
/// Nor, for so long, beyond what filled the path in a probe, unless nearly as much is delivered: then a little more is tried.
const BOUND_FOR: Micros = 15_000_000;
const BEYOND_BOUND: f64 = 1.1;
/// Near the capacity it grows by one packet for each two times that over-use takes to show.
const PACKET_BITS: f64 = 1200.0 * 8.0;
const FRAME_RATE: f64 = 30.0;
const SHOWS_AFTER: f64 = 0.1;
/// … but not by more than this share a second: a packet is much on a thin path.
const MOST_GROWTH: f64 = 0.04;

/// The rate of one path.
#[derive(Debug)]
pub struct Rate {
    current: f64,
    capacity: Capacity,
    /// What a probe has shown to be too much for the path, until when.
    bound: Option<(f64, Micros)>,
    grown_at: Option<Micros>,
    lowered_at: Option<Micros>,
}

/// What is known of the path when a feedback has come.
#[derive(Debug, Clone, Copy)]
pub struct Observed {
    pub usage: Usage,
    /// A queue may be a probe's.
    pub is_probing: bool,
    /// Bits per second.
    pub acked: Option<f64>,
    /// How long the last packets waited.
    pub queue: Micros,
    pub standing: Standing,
    pub round_trip: Micros,
}

impl Rate {
    pub fn new(first: f64) -> Self {
        let current = first.clamp(LEAST, MOST);
        Self { current, capacity: Capacity::default(), bound: None, grown_at: None, lowered_at: None }
    }

    pub fn current(&self) -> f64 {
        self.current
    }

    pub fn update(&mut self, observed: Observed, now: Micros) {
        match (observed.usage, observed.standing) {
            (Usage::Over, _) if observed.is_probing => self.grown_at = None,
            (Usage::Over, _) | (_, Standing::Drain) => self.back_off(observed, now),
            // What waits must leave first.
            (Usage::Under, _) | (_, Standing::Waits) => self.grown_at = None,
            (Usage::Normal, Standing::Free) => self.grow(observed, now),
        }
    }

    /// Something better than the delay showed that the path carries so much.
    pub fn raise(&mut self, to: f64) {
        self.current = self.current.max(to).clamp(LEAST, MOST);
    }

    /// A probe has filled the path at this rate, or has not filled it.
    pub fn bound(&mut self, rate: Option<f64>, now: Micros) {
        self.bound = rate.map(|rate| (rate, now + BOUND_FOR));
    }

    /// Packets that did not arrive showed that the path carries no more than this.
    pub fn lower(&mut self, to: f64, now: Micros) {
        if to < self.current {
            self.capacity.note(to);
            self.set_lower(to, now);
        }
    }

    fn back_off(&mut self, observed: Observed, now: Micros) {
        self.grown_at = None;
        let wait = observed.round_trip.clamp(SOONEST_FALL, LATEST_FALL);
        if self.lowered_at.is_some_and(|at| now - at < wait) {
            return;
        }
        let Some(acked) = observed.acked else {
            self.set_lower(self.current * BLIND_FALL, now);
            return;
        };
        if acked < self.current * UNUSED && observed.queue < QUEUED {
            self.set_lower(self.current * BACK_OFF_UNUSED, now);
            return;
        }
        let mut to = acked * BACK_OFF - BACK_OFF_MORE;
        if to > self.current {
            to = self.capacity.known().map_or(to, |capacity| capacity * BACK_OFF);
        }
        self.capacity.note(acked);
        if to < self.current {
            self.set_lower(to, now);
        }
    }

    fn set_lower(&mut self, to: f64, now: Micros) {
        self.current = to.clamp(LEAST, self.current);
        self.lowered_at = Some(now);
    }

    fn grow(&mut self, observed: Observed, now: Micros) {
        let since = self.grown_at.replace(now);
        let (Some(since), Some(acked)) = (since, observed.acked) else { return };
        if self.capacity.is_exceeded_by(acked) {
            self.capacity = Capacity::default();
        }
        let seconds = (now - since).min(1_000_000) as f64 / 1e6;
        let speed = match self.capacity.known() {
            Some(_) => self.growth_near_capacity(observed.round_trip),
            None => self.current * GROWTH,
        };
        let bound = match self.bound {
            Some((rate, until)) if now < until => rate.max(acked * BEYOND_BOUND),
            _ => MOST,
        };
        let limit = bound.min(acked * BEYOND_DELIVERED + A_LITTLE);
        if self.current < limit {
            self.current = (self.current + speed * seconds).min(limit);
        }
    }

    /// Bits per second, for each second.
    fn growth_near_capacity(&self, round_trip: Micros) -> f64 {
        let frame = self.current / FRAME_RATE;
        let packet = frame / (frame / PACKET_BITS).ceil();
        let response = (round_trip as f64 / 1e6 + SHOWS_AFTER) * 2.0;
        (packet / response).min(self.current * MOST_GROWTH)
    }
}

/// What was delivered when a queue grew: the capacity of the path, as a mean and its variance in units of the mean (kbit/s).
#[derive(Debug, Default)]
struct Capacity {
    mean: Option<f64>,
    variance: f64,
}

/// The weight of the newest sample, and bounds of the variance: some 3 % to 7 % of 500 kbit/s.
const WEIGHT: f64 = 0.05;
const LEAST_VARIANCE: f64 = 0.4;
const MOST_VARIANCE: f64 = 2.5;

impl Capacity {
    fn known(&self) -> Option<f64> {
        self.mean.map(|mean| mean * 1e3)
    }

    fn note(&mut self, sample: f64) {
        let sample = sample / 1e3;
        if self.mean.is_some_and(|mean| sample < mean - 3.0 * self.deviation()) {
            // Another path, or less of it: what was known of it is no use.
            self.mean = None;
        }
        let mean = self.mean.map_or(sample, |mean| mean + WEIGHT * (sample - mean));
        let error = (mean - sample) * (mean - sample) / mean.max(1.0);
        self.variance = ((1.0 - WEIGHT) * self.variance + WEIGHT * error).clamp(LEAST_VARIANCE, MOST_VARIANCE);
        self.mean = Some(mean);
    }

    fn is_exceeded_by(&self, delivered: f64) -> bool {
        self.mean.is_some_and(|mean| delivered / 1e3 > mean + 3.0 * self.deviation())
    }

    fn deviation(&self) -> f64 {
        (self.variance * self.mean.unwrap_or(0.0)).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NORMAL: Observed = Observed {
        usage: Usage::Normal,
        is_probing: false,
        acked: Some(1e6),
        queue: 0,
        standing: Standing::Free,
        round_trip: 50_000,
    };
    const OVER: Observed = Observed { usage: Usage::Over, queue: 100_000, ..NORMAL };

    fn run(rate: &mut Rate, observed: Observed, times: std::ops::Range<i64>) {
        times.step_by(50).for_each(|ms| rate.update(observed, ms * 1000));
    }

    #[test]
    fn it_grows_by_a_share_a_second_and_not_far_beyond_what_is_delivered() {
        let mut rate = Rate::new(1e6);
        run(&mut rate, NORMAL, 0..1001);
        assert!((1.07e6..1.09e6).contains(&rate.current()), "{}", rate.current());
        run(&mut rate, NORMAL, 1000..20_000);
        assert_eq!(rate.current(), 1.51e6);
    }

    #[test]
    fn what_a_probe_found_is_not_lost_by_using_little() {
        let mut rate = Rate::new(1e6);
        rate.raise(4e6);
        run(&mut rate, NORMAL, 0..60_000);
        assert_eq!(rate.current(), 4e6);
        rate.raise(2e6);
        assert_eq!(rate.current(), 4e6);
    }

    #[test]
    fn over_use_takes_it_under_what_is_delivered_once_a_round_trip() {
        let mut rate = Rate::new(1.2e6);
        rate.update(OVER, 0);
        assert_eq!(rate.current(), 845e3);
        let less = Observed { acked: Some(500e3), ..OVER };
        rate.update(less, 40_000);
        assert_eq!(rate.current(), 845e3);
        rate.update(less, 50_000);
        assert_eq!(rate.current(), 420e3);
    }

    #[test]
    fn near_the_capacity_it_grows_slowly_until_more_is_delivered() {
        let mut rate = Rate::new(1.2e6);
        rate.update(OVER, 0);
        run(&mut rate, NORMAL, 100..2101);
        let grown = rate.current() - 845e3;
        assert!((20e3..100e3).contains(&grown), "{grown}");
        let more = Observed { acked: Some(2e6), ..NORMAL };
        let before = rate.current();
        run(&mut rate, more, 2100..3101);
        assert!(rate.current() > before * 1.07);
    }

    #[test]
    fn who_uses_little_loses_little_when_nothing_waits() {
        let mut rate = Rate::new(4e6);
        rate.update(Observed { queue: 10_000, ..OVER }, 0);
        assert_eq!(rate.current(), 3.4e6);
        rate.update(OVER, 100_000);
        assert_eq!(rate.current(), 845e3, "but something did");
    }

    #[test]
    fn while_nothing_is_known_over_use_takes_half() {
        let mut rate = Rate::new(1e6);
        rate.update(Observed { acked: None, ..OVER }, 0);
        assert_eq!(rate.current(), 500e3);
    }

    #[test]
    fn while_a_queue_drains_it_waits() {
        let mut rate = Rate::new(1e6);
        run(&mut rate, NORMAL, 0..51);
        let before = rate.current();
        run(&mut rate, Observed { usage: Usage::Under, ..NORMAL }, 50..5000);
        rate.update(NORMAL, 5_000_000);
        assert_eq!(rate.current(), before, "and the time it waited does not count");
    }

    #[test]
    fn what_filled_the_path_bounds_it_until_that_is_tried_or_long_ago() {
        let mut rate = Rate::new(1e6);
        rate.bound(Some(1.2e6), 0);
        run(&mut rate, NORMAL, 0..14_000);
        assert_eq!(rate.current(), 1.2e6);
        run(&mut rate, NORMAL, 14_000..20_000);
        assert!(rate.current() > 1.4e6);
        let mut rate = Rate::new(1e6);
        rate.bound(Some(1.2e6), 0);
        run(&mut rate, Observed { acked: Some(1.19e6), ..NORMAL }, 0..14_000);
        assert!((1.3e6..1.32e6).contains(&rate.current()));
    }

    #[test]
    fn the_queue_of_a_probe_changes_nothing() {
        let mut rate = Rate::new(1.2e6);
        run(&mut rate, Observed { is_probing: true, ..OVER }, 0..1000);
        assert_eq!(rate.current(), 1.2e6);
    }

    #[test]
    fn it_stays_within_bounds() {
        let mut rate = Rate::new(0.0);
        assert_eq!(rate.current(), LEAST);
        run(&mut rate, Observed { acked: Some(0.0), ..OVER }, 0..10_000);
        assert_eq!(rate.current(), LEAST);
        rate.raise(1e12);
        assert_eq!(rate.current(), MOST);
    }
}
