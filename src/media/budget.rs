//! What the path to one viewer is taken to carry: down with the estimate at once, up when it has held.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// An estimate must have held for so long before it is used. Shorter follows every probe that was lucky; longer shows a good link a poor
/// picture.
const HOLD: Duration = Duration::from_secs(3);
/// After raises that failed one upon another.
const LONGEST_HOLD: Duration = Duration::from_secs(48);
/// What is taken back so soon after it was given was given wrongly.
const FAILED_WITHIN: Duration = Duration::from_secs(10);
/// So many times the estimate on which a raise failed is that of another path: its failure says nothing.
const ANOTHER_PATH: u64 = 2;
/// What lasted for so long was given rightly.
const PROVEN_AFTER: Duration = Duration::from_secs(30);
/// At first the estimate is followed as it comes, until it falls or for so long: a viewer who joins waits for a picture.
const FIRST_STEPS: Duration = Duration::from_secs(5);
/// A fall by less is noise.
const FALL: f64 = 0.9;

/// A round trip that takes so much longer than the shortest has waited in a queue.
const QUEUE_BEGINS: Duration = Duration::from_millis(20);

/// A growing queue takes so much of the budget, down to half of the estimate, at most so often.
const STRAIN_LEAVES: f64 = 0.8;
const STRAIN_INTERVAL: Duration = Duration::from_millis(600);

/// The shortest round trip is known after so many.
const ROUND_TRIPS: u32 = 3;

/// A path that loses less is not taken for a lossy one.
const LOSSY: f32 = 0.02;

/// A path that loses so much loses both of two packets often enough to be heard.
const VERY_LOSSY: f32 = 0.05;

/// Estimates kept; older ones are merged.
const MAX_SPANS: usize = 32;

/// The estimates of one path.
#[derive(Debug)]
pub struct Budget {
    /// The newest last; it lasts.
    spans: VecDeque<Span>,
    first_at: Option<Instant>,
    fell: bool,
    hold: Duration,
    raised: Option<Raise>,
    /// The estimate on which the last raise that failed was given.
    failed: u64,
    /// Round trips: the shortest of all, the last, and how many there were.
    rtt: Option<(Duration, Duration, u32)>,
    loss: f32,
    strain: Option<Strain>,
}

/// The viewer was given more than it had.
#[derive(Debug, Clone, Copy)]
struct Raise {
    at: Instant,
    /// On this estimate.
    bitrate: u64,
}

/// A limit that a growing queue has set.
#[derive(Debug, Clone, Copy)]
struct Strain {
    limit: u64,
    since: Instant,
}

/// An estimate and when the next one took its place.
#[derive(Debug, Clone, Copy)]
struct Span {
    bitrate: u64,
    ended: Option<Instant>,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            spans: VecDeque::new(),
            first_at: None,
            fell: false,
            hold: HOLD,
            raised: None,
            failed: u64::MAX,
            rtt: None,
            loss: 0.0,
            strain: None,
        }
    }
}

impl Budget {
    /// The path is estimated to carry `bitrate`, in bits per second.
    pub fn note(&mut self, bitrate: u64, now: Instant) {
        let since = *self.first_at.get_or_insert(now);
        if let Some(last) = self.spans.back_mut() {
            self.fell |= (bitrate as f64) < last.bitrate as f64 * FALL || now >= since + FIRST_STEPS;
            last.ended = Some(now);
        }
        self.spans.push_back(Span { bitrate, ended: None });
        if bitrate / ANOTHER_PATH >= self.failed {
            self.hold = HOLD;
        }
        self.forget(now);
        if self.spans.len() > MAX_SPANS {
            let oldest = self.spans.pop_front().expect("it is full");
            let next = &mut self.spans[0];
            next.bitrate = next.bitrate.min(oldest.bitrate);
        }
    }

    /// What is sent piles up: the path carries less than was thought, for the time being.
    pub fn strained(&mut self, now: Instant) {
        let (Some(usable), Some(latest)) = (self.usable(now), self.latest()) else { return };
        self.fell = true;
        if self.strain.is_none_or(|strain| now >= strain.since + STRAIN_INTERVAL) {
            let limit = ((usable as f64 * STRAIN_LEAVES) as u64).max(latest / 2);
            self.strain = Some(Strain { limit, since: now });
        }
    }

    /// Bits per second that may be used; `None` while nothing is known.
    pub fn usable(&mut self, now: Instant) -> Option<u64> {
        let latest = self.latest()?;
        if !self.fell && self.is_first_steps(now) {
            return Some(latest);
        }
        self.forget(now);
        let held = self.spans.iter().map(|span| span.bitrate).min()?;
        let strain = self.strain.filter(|strain| now < strain.since + HOLD);
        Some(strain.map_or(held, |strain| held.min(strain.limit)))
    }

    /// Bits per second that the path is taken to carry at this moment.
    pub fn latest(&self) -> Option<u64> {
        self.spans.back().map(|span| span.bitrate)
    }

    /// The viewer has just come: no slot is paused for an estimate that had no time to grow.
    pub fn is_first_steps(&self, now: Instant) -> bool {
        !self.fell && self.first_at.is_some_and(|at| now < at + FIRST_STEPS)
    }

    /// A round trip took so long, and so much of what was sent did not arrive, 0.0–1.0.
    pub fn note_path(&mut self, rtt: Duration, loss: f32) {
        self.loss = loss;
        let (shortest, _, count) = self.rtt.unwrap_or((rtt, rtt, 0));
        self.rtt = Some((shortest.min(rtt), rtt, count.saturating_add(1)));
    }

    /// Packets are lost and nothing waits: the estimate is low, but the path is not full.
    pub fn is_only_lossy(&self) -> bool {
        let is_empty = |(shortest, last, count)| count >= ROUND_TRIPS && last <= shortest + shortest / 4 + QUEUE_BEGINS;
        self.loss >= LOSSY && self.rtt.is_some_and(is_empty)
    }

    /// So many packets are lost that sound said twice has gaps.
    pub fn is_very_lossy(&self) -> bool {
        self.loss >= VERY_LOSSY
    }

    /// The viewer was given more than it had.
    pub fn raised(&mut self, now: Instant) {
        self.raised = self.latest().map(|bitrate| Raise { at: now, bitrate });
    }

    /// Something was taken from the viewer because the path did not carry it.
    pub fn lowered(&mut self, now: Instant) {
        match self.raised.take() {
            Some(Raise { at, bitrate }) if now < at + FAILED_WITHIN => {
                self.hold = (self.hold * 2).min(LONGEST_HOLD);
                self.failed = bitrate;
            }
            Some(Raise { at, .. }) if now >= at + PROVEN_AFTER => self.hold = HOLD,
            _ => {}
        }
    }

    fn forget(&mut self, now: Instant) {
        while self.spans.front().and_then(|span| span.ended).is_some_and(|ended| ended + self.hold <= now) {
            self.spans.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(secs: f64) -> Duration {
        Duration::from_secs_f64(secs)
    }

    #[test]
    fn a_viewer_who_comes_is_served_with_the_estimate_as_it_grows() {
        let start = Instant::now();
        let mut budget = Budget::default();
        assert_eq!(budget.usable(start), None);
        for (at, estimate) in [(0.0, 1000), (0.2, 3000), (0.5, 2900), (1.0, 6000)] {
            budget.note(estimate, start + secs(at));
            assert_eq!(budget.usable(start + secs(at)), Some(estimate));
        }
    }

    #[test]
    fn down_at_once_and_up_when_it_held() {
        let start = Instant::now();
        let mut budget = Budget::default();
        budget.note(2000, start);
        budget.note(500, start + secs(1.0));
        assert_eq!(budget.usable(start + secs(1.0)), Some(500));
        budget.note(2000, start + secs(10.0));
        assert_eq!(budget.usable(start + secs(12.9)), Some(500));
        budget.note(1500, start + secs(12.9));
        assert_eq!(budget.usable(start + secs(13.0)), Some(1500), "the lowest of the last three seconds");
        assert_eq!(budget.usable(start + secs(60.0)), Some(1500));
    }

    #[test]
    fn a_raise_that_failed_makes_the_next_wait_longer_until_one_lasts() {
        let start = Instant::now();
        let mut budget = Budget::default();
        let mut at = start;
        budget.note(1000, at);
        for hold in [6, 12, 24, 48, 48] {
            budget.raised(at);
            at += secs(5.0);
            budget.lowered(at);
            assert_eq!(budget.hold, secs(hold as f64));
        }
        budget.raised(at);
        budget.lowered(at + secs(20.0));
        assert_eq!(budget.hold, LONGEST_HOLD);
        budget.raised(at);
        budget.lowered(at + secs(31.0));
        assert_eq!(budget.hold, HOLD);
    }

    #[test]
    fn a_path_that_became_another_does_not_wait_for_what_failed_on_the_old_one() {
        let start = Instant::now();
        let mut budget = Budget::default();
        budget.note(80, start);
        budget.raised(start + secs(20.0));
        budget.lowered(start + secs(21.0));
        for (estimate, hold) in [(60, 6.0), (159, 6.0), (160, 3.0)] {
            budget.note(estimate, start + secs(30.0));
            assert_eq!(budget.hold, secs(hold), "{estimate}");
        }
        budget.raised(start + secs(40.0));
        budget.lowered(start + secs(41.0));
        budget.note(300, start + secs(50.0));
        assert_eq!(budget.hold, secs(6.0), "it is the new one's failure that counts");
    }

    #[test]
    fn a_growing_queue_takes_some_and_never_more_than_half() {
        let start = Instant::now();
        let mut budget = Budget::default();
        budget.strained(start);
        budget.note(1000, start);
        for (at, usable) in [(0.0, 800), (0.2, 800), (0.6, 640), (1.2, 512), (1.8, 500), (2.4, 500), (5.3, 500)] {
            if at < 5.0 {
                budget.strained(start + secs(at));
            }
            assert_eq!(budget.usable(start + secs(at)), Some(usable), "{at}");
        }
        assert_eq!(budget.usable(start + secs(5.5)), Some(1000), "it is over");
    }

    #[test]
    fn a_path_that_loses_without_waiting_is_told_from_one_that_is_full() {
        let ms = Duration::from_millis;
        for (round_trips, loss, expected) in [
            (&[40, 40, 45][..], 0.2, true),
            (&[40, 40, 340], 0.2, false),
            (&[340, 340, 340], 0.2, true),
            (&[40, 40], 0.2, false),
            (&[40, 40, 40], 0.0, false),
        ] {
            let mut budget = Budget::default();
            round_trips.iter().for_each(|rtt| budget.note_path(ms(*rtt), loss));
            assert_eq!(budget.is_only_lossy(), expected, "{round_trips:?} {loss}");
        }
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let start = Instant::now();
        let mut budget = Budget::default();
        for step in 0..1000u64 {
            budget.note(1000 + step % 7 * 300, start + Duration::from_millis(step));
        }
        assert!(budget.spans.len() <= MAX_SPANS);
        assert_eq!(budget.usable(start + Duration::from_millis(1000)), Some(1000));
    }
}
