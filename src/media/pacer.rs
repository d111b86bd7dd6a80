//! How fast packets leave for one client: bursts up to a bound, beyond that at some times the estimated bandwidth.
//!
//! A frame leaves as it came, in one burst and thus in one system call; what is spread out are key frames, and what piled up. libwebrtc's
//! pacer sends in bursts of the same length.

use std::time::{Duration, Instant};

/// Faster than the estimate, so that a key frame does not delay what follows (libwebrtc's pacing factor); not while packets wait on the
/// way: there it would delay everything, and sound before all.
const FACTOR: u64 = 5;
const FACTOR_OF: u64 = 2;
/// What may leave at once is what the pace allows for so long. Longer fills queues of thin links, shorter spreads ordinary frames out.
const BURST: Duration = Duration::from_millis(40);
/// Two packets always may, however thin the link.
const LEAST_BURST: u64 = 2_600;
/// Who waits is served so often: what became due until then leaves together.
const STEP: Duration = Duration::from_millis(5);

/// A leaky bucket in bytes.
#[derive(Debug)]
pub struct Pacer {
    /// In bits per second.
    estimate: u64,
    /// The path's queue is not empty.
    is_full: bool,
    /// In bytes per second.
    rate: u64,
    burst: u64,
    level: u64,
    at: Instant,
}

impl Pacer {
    /// `estimate` is in bits per second.
    pub fn new(estimate: u64, now: Instant) -> Self {
        let mut pacer = Self { estimate, is_full: false, rate: 0, burst: 0, level: 0, at: now };
        pacer.set_rate();
        pacer
    }

    pub fn set_estimate(&mut self, estimate: u64) {
        self.estimate = estimate;
        self.set_rate();
    }

    /// Whether packets wait on the way.
    pub fn set_full(&mut self, is_full: bool) {
        if self.is_full != is_full {
            self.is_full = is_full;
            self.set_rate();
        }
    }

    pub fn is_full(&self) -> bool {
        self.is_full
    }

    fn set_rate(&mut self) {
        let bytes = self.estimate / 8;
        self.rate = if self.is_full { bytes } else { bytes * FACTOR / FACTOR_OF }.max(1);
        self.burst = (self.rate * BURST.as_millis() as u64 / 1000).max(LEAST_BURST);
    }

    /// Whether the next packet may leave.
    pub fn allows(&mut self, now: Instant) -> bool {
        self.leak(now);
        self.level < self.burst
    }

    pub fn sent(&mut self, bytes: u64) {
        self.level += bytes;
    }

    /// When to look again, after a refusal.
    pub fn next(&self) -> Instant {
        let over = (self.level + 1).saturating_sub(self.burst);
        self.at + Duration::from_micros(over * 1_000_000 / self.rate).clamp(STEP, Duration::from_secs(1))
    }

    fn leak(&mut self, now: Instant) {
        let span = now.saturating_duration_since(self.at);
        let leaked = span.as_micros() as u64 * self.rate / 1_000_000;
        // Less than a byte is kept for the next time.
        if leaked > 0 {
            self.level = self.level.saturating_sub(leaked);
            self.at = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that leave within each 10 ms of a source that always has more.
    fn run(estimate: u64, span: Duration) -> Vec<u64> {
        let start = Instant::now();
        let mut pacer = Pacer::new(estimate, start);
        let mut windows = vec![0; span.as_millis() as usize / 10];
        let mut now = start;
        while now < start + span {
            while pacer.allows(now) {
                pacer.sent(1200);
                windows[(now - start).as_millis() as usize / 10] += 1200;
            }
            now = pacer.next();
        }
        windows
    }

    #[test]
    fn a_burst_leaves_at_once_and_the_rest_at_the_pace() {
        // 1 Mbit/s: 312.5 KB/s, 12.5 KB at once.
        let windows = run(1_000_000, Duration::from_secs(1));
        assert!((12_500..=13_700 + 3_200).contains(&windows[0]), "{windows:?}");
        assert!(windows[1..].iter().all(|bytes| (1_200..=4_800).contains(bytes)), "{windows:?}");
        let all: u64 = windows.iter().sum();
        assert!((312_500..=312_500 + 15_000).contains(&all), "{all}");
    }

    #[test]
    fn a_path_on_which_packets_wait_gets_no_more_than_it_is_said_to_carry() {
        let start = Instant::now();
        let mut pacer = Pacer::new(1_000_000, start);
        pacer.set_full(true);
        pacer.set_estimate(500_000);
        let (mut now, mut sent) = (start, 0);
        while now < start + Duration::from_secs(1) {
            while pacer.allows(now) {
                pacer.sent(1200);
                sent += 1200;
            }
            now = pacer.next();
        }
        assert!((62_500..=62_500 + 4_000).contains(&sent), "{sent}");
        pacer.set_full(false);
        assert_eq!(pacer.rate, 156_250);
    }

    #[test]
    fn who_waited_has_a_burst_again_and_no_more() {
        let start = Instant::now();
        let mut pacer = Pacer::new(1_000_000, start);
        for rest in [0, 60] {
            let now = start + Duration::from_secs(rest);
            let sent = std::iter::from_fn(|| pacer.allows(now).then(|| pacer.sent(1200))).count();
            assert_eq!(sent, 11, "after {rest} s");
        }
    }

    #[test]
    fn the_thinnest_link_has_two_packets_at_once_and_no_busy_loop() {
        let start = Instant::now();
        let mut pacer = Pacer::new(0, start);
        assert_eq!(std::iter::from_fn(|| pacer.allows(start).then(|| pacer.sent(1300))).count(), 2);
        assert!(pacer.next() >= start + STEP);
    }
}
