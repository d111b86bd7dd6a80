//! The time of day that sender reports carry, derived from the monotonic clock: it does not jump when the machine's clock is set.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// From 1900, where NTP begins (RFC 5905, 6), to 1970.
const NTP_TO_UNIX: Duration = Duration::from_secs(2_208_988_800);

/// A moment as both clocks saw it.
#[derive(Debug, Clone, Copy)]
pub struct WallClock {
    at: Instant,
    since_1900: Duration,
}

impl WallClock {
    pub fn new(at: Instant, time: SystemTime) -> Self {
        let since_1970 = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self { at, since_1900: NTP_TO_UNIX + since_1970 }
    }

    /// The first moment from `at` on that is a multiple of `step` away from where the clock began: the same for all who ask.
    pub fn round_up(&self, at: Instant, step: Duration) -> Instant {
        let span = at.saturating_duration_since(self.at).as_nanos();
        let rest = span.next_multiple_of(step.as_nanos().max(1)) - span;
        at + Duration::from_nanos(rest as u64)
    }

    /// Seconds since 1900 in units of 2^-32 s (RFC 3550, 4).
    pub fn ntp(&self, now: Instant) -> u64 {
        let time = self.since_1900 + now.saturating_duration_since(self.at);
        // The seconds' rollover of 2036 is the format's own.
        (time.as_secs() & 0xffff_ffff) << 32 | ((u64::from(time.subsec_nanos()) << 32) / 1_000_000_000)
    }
}

/// The middle 32 bits, in which reports answer each other, in units of 2^-16 s.
pub fn middle(ntp: u64) -> u32 {
    (ntp >> 16) as u32
}

/// A span in units of 2^-16 s.
pub fn span(units: u32) -> Duration {
    Duration::from_nanos((u64::from(units) * 1_000_000_000) >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_clocks_go_on_together() {
        let start = Instant::now();
        let clock = WallClock::new(start, UNIX_EPOCH + Duration::from_millis(1500));
        assert_eq!(clock.ntp(start), (2_208_988_801 << 32) + (1 << 31));
        let later = clock.ntp(start + Duration::from_millis(2250));
        assert_eq!(later, (2_208_988_803 << 32) + (3 << 30));
        assert_eq!(span(middle(later).wrapping_sub(middle(clock.ntp(start)))), Duration::from_millis(2250));
        let step = Duration::from_millis(100);
        for (millis, expected) in [(0, 0), (1, 100), (100, 100), (250, 300)] {
            let rounded = clock.round_up(start + Duration::from_millis(millis), step);
            assert_eq!(rounded, start + Duration::from_millis(expected));
        }
        assert_eq!(clock.ntp(start - Duration::from_secs(5)), clock.ntp(start), "it does not go back");
    }
}
