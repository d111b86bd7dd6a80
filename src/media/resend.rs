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

/// SSRCs that are told apart; slots beyond are not limited here.
const MAX_STREAMS: usize = 128;

/// The account of one connection.
#[derive(Debug)]
pub struct ResendLimit {
    /// The SSRCs that repeat others.
    repeats: Vec<u32>,
    left: u64,
    /// Media sent in this window.
    media: u64,
    since: Instant,
}

impl ResendLimit {
    pub fn new(now: Instant) -> Self {
        Self { repeats: Vec::new(), left: SAVED, media: 0, since: now }
    }

    /// Packets of this SSRC repeat those of another.
    pub fn add(&mut self, ssrc: u32) {
        if !self.repeats.contains(&ssrc) && self.repeats.len() < MAX_STREAMS {
            self.repeats.push(ssrc);
        }
    }

    /// Whether the datagram may leave.
    pub fn allows(&mut self, datagram: &[u8], now: Instant) -> bool {
        let Some(ssrc) = media_ssrc(datagram) else { return true };
        let bytes = datagram.len() as u64;
        if !self.repeats.contains(&ssrc) {
            self.media += bytes;
            return true;
        }
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

/// The SSRC of an RTP packet (RFC 3550, 5.1; told from RTCP as RFC 5761 has it).
fn media_ssrc(datagram: &[u8]) -> Option<u32> {
    let header = datagram.first_chunk::<12>()?;
    let is_rtp = matches!(header[0], 128..=191) && !matches!(header[1], 192..=223);
    is_rtp.then(|| u32::from_be_bytes([header[8], header[9], header[10], header[11]]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(ssrc: u32) -> Vec<u8> {
        let mut packet = vec![0x80, 96, 0, 0, 0, 0, 0, 0];
        packet.extend(ssrc.to_be_bytes());
        packet.resize(1000, 0);
        packet
    }

    /// Bytes of media and of repetition that leave in ten seconds of so many packets each a second.
    fn run(media: usize, repeats: usize) -> (usize, usize) {
        let start = Instant::now();
        let mut limit = ResendLimit::new(start);
        limit.add(2);
        let mut sent = (0, 0);
        for step in 0..1000u64 {
            let now = start + Duration::from_millis(step * 10);
            sent.0 += (0..media / 100).filter(|_| limit.allows(&packet(1), now)).count() * 1000;
            sent.1 += (0..repeats / 100).filter(|_| limit.allows(&packet(2), now)).count() * 1000;
        }
        sent
    }

    #[test]
    fn what_is_sent_again_stays_a_share_of_the_media() {
        let (media, again) = run(300, 100);
        assert_eq!(media, 3_000_000, "media is never held back");
        assert!((700_000..=750_000 + SAVED as usize).contains(&again), "{again}");
        let (_, again) = run(1000, 100);
        assert_eq!(again, 1_000_000, "what is within the share is not held back either");
        let (_, again) = run(0, 100);
        assert!((70_000..=80_000 + SAVED as usize).contains(&again), "{again} without media");
    }

    #[test]
    fn only_media_is_limited() {
        let now = Instant::now();
        let mut limit = ResendLimit::new(now);
        limit.add(0);
        for _ in 0..1000 {
            assert!(limit.allows(&[0x80, 201, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0], now), "RTCP");
            assert!(limit.allows(&[22, 254, 253], now) && limit.allows(&[], now));
        }
    }
}
