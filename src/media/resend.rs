//! How much of what is sent to a viewer may be sent again: what it asks for, up to a share of its media.

use std::time::{Duration, Instant};

/// What is sent again, probing and padding with it, is at most this part of the media …
const SHARE: u64 = 4;
/// … or so much, when that is more: a link is probed before there is media. In bytes per second.
const LEAST_RATE: u64 = 8_000;
/// What may be saved up, in bytes: a burst of losses is mended at once. More lets a viewer that asks for everything have it for longer.
const SAVED: u64 = 40_000;
/// The rate is drawn up so often.
const WINDOW: Duration = Duration::from_millis(100);

/// The account of one connection.
#[derive(Debug)]
pub struct ResendLimit {
    left: u64,
    /// Media sent in this window.
    media: u64,
    since: Instant,
}

impl ResendLimit {
    pub fn new(now: Instant) -> Self {
        Self { left: SAVED, media: 0, since: now }
    }

    /// So many bytes left for the first time.
    pub fn sent(&mut self, bytes: u64) {
        self.media += bytes;
    }

    /// Whether so many bytes may leave again.
    pub fn allows(&mut self, bytes: u64, now: Instant) -> bool {
        self.refill(now);
        let allowed = bytes <= self.left;
        if allowed {
            self.left -= bytes;
        }
        allowed
    }

    fn refill(&mut self, now: Instant) {
        let span = now.saturating_duration_since(self.since);
        if span < WINDOW {
            return;
        }
        let least = LEAST_RATE * span.as_millis() as u64 / 1000;
        self.left = (self.left + least.max(self.media / SHARE)).min(SAVED);
        self.media = 0;
        self.since = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of repetition that leave in ten seconds of so many packets of media a second, and so many asked for again.
    fn run(media: usize, repeats: usize) -> usize {
        let start = Instant::now();
        let mut limit = ResendLimit::new(start);
        let mut again = 0;
        for step in 0..1000u64 {
            let now = start + Duration::from_millis(step * 10);
            (0..media / 100).for_each(|_| limit.sent(1000));
            again += (0..repeats / 100).filter(|_| limit.allows(1000, now)).count() * 1000;
        }
        again
    }

    #[test]
    fn what_is_sent_again_stays_a_share_of_the_media() {
        let again = run(300, 100);
        assert!((700_000..=750_000 + SAVED as usize).contains(&again), "{again}");
        assert_eq!(run(1000, 100), 1_000_000, "what is within the share is not held back");
        let again = run(0, 100);
        assert!((70_000..=80_000 + SAVED as usize).contains(&again), "{again} without media");
    }
}
