//! How loud everyone is, by time and not by packets, and who spoke last.

use std::time::{Duration, Instant};

use crate::base::Volume;

/// A level holds until the next packet, at most so long: an Opus sender with DTX sends one packet in 400 ms.
const HOLD: Duration = Duration::from_millis(450);

/// RFC 6464's silence, in −dBov.
const SILENCE: u8 = 127;

/// Whoever is louder than this, in −dBov, over an interval speaks. A larger number makes a keyboard a speaker.
const SPEAKS: u8 = 60;

/// A member's voice.
#[derive(Debug, Clone)]
pub struct Voice {
    /// Loudness over silence: 127 − level.
    loudness: u8,
    holds_until: Instant,
    /// Loudness · microseconds since the last reading, counted up to `counted_to`.
    sum: u64,
    counted_to: Instant,
    read_at: Instant,
    spoke_at: Option<Instant>,
}

impl Voice {
    pub fn new(now: Instant) -> Self {
        Self { loudness: 0, holds_until: now, sum: 0, counted_to: now, read_at: now, spoke_at: None }
    }

    /// A packet with this RFC 6464 level (0 loudest – 127) came.
    pub fn heard(&mut self, audio_level: u8, now: Instant) {
        self.count_to(now);
        self.loudness = SILENCE - audio_level.min(SILENCE);
        self.holds_until = now + HOLD;
    }

    /// What it sends is not forwarded any more.
    pub fn mute(&mut self, now: Instant) {
        self.counted_to = now;
        self.holds_until = now;
        self.sum = 0;
    }

    /// The mean volume since the last reading.
    pub fn read(&mut self, now: Instant) -> Volume {
        self.count_to(now);
        let span = now.saturating_duration_since(self.read_at).as_micros().max(1) as u64;
        let level = SILENCE - (self.sum / span).min(u64::from(SILENCE)) as u8;
        self.sum = 0;
        self.read_at = now;
        if level < SPEAKS {
            self.spoke_at = Some(now);
        }
        Volume::from_audio_level(level)
    }

    /// Who spoke last, and who did not yet.
    pub fn spoke_at(&self) -> Option<Instant> {
        self.spoke_at
    }

    fn count_to(&mut self, now: Instant) {
        let span = now.min(self.holds_until).saturating_duration_since(self.counted_to);
        self.sum += u64::from(self.loudness) * span.as_micros() as u64;
        self.counted_to = self.counted_to.max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn loudness_is_counted_by_time_and_not_by_packets() {
        let start = Instant::now();
        let mut dense = Voice::new(start);
        let mut sparse = Voice::new(start);
        for step in 0..15 {
            dense.heard(30, start + ms(step * 20));
        }
        sparse.heard(30, start);
        let end = start + ms(300);
        assert_eq!(dense.read(end), sparse.read(end));
        assert_eq!(dense.spoke_at(), Some(end));
    }

    #[test]
    fn half_the_time_is_half_as_loud() {
        let start = Instant::now();
        let mut voice = Voice::new(start);
        voice.heard(27, start);
        voice.heard(127, start + ms(150));
        assert_eq!(voice.read(start + ms(300)), Volume::from_audio_level(77));
        assert_eq!(voice.spoke_at(), None, "on average it was a murmur");
    }

    #[test]
    fn a_sender_with_dtx_that_went_silent_is_silent_after_the_hold() {
        let start = Instant::now();
        let mut voice = Voice::new(start);
        voice.heard(20, start);
        assert!(voice.read(start + ms(300)) > Volume::SILENT);
        voice.read(start + ms(600));
        assert_eq!(voice.read(start + ms(900)), Volume::SILENT);
    }

    #[test]
    fn a_muted_voice_is_silent_at_once() {
        let start = Instant::now();
        let mut voice = Voice::new(start);
        voice.heard(20, start);
        voice.mute(start + ms(100));
        assert_eq!(voice.read(start + ms(300)), Volume::SILENT);
    }
}
