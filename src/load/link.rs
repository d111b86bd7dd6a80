//! A client's bad link, emulated: what it loses, and what does not fit through it.

use std::time::Instant;

/// A link holds back nothing: what exceeds its rate by more than so many seconds of it is lost.
const BURST_SECONDS: f64 = 0.3;

/// One way of a link.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Impairment {
    /// 0.0–1.0.
    pub loss: f64,
    /// Bits per second.
    pub rate: Option<u64>,
}

impl Impairment {
    pub const NONE: Impairment = Impairment { loss: 0.0, rate: None };

    pub fn is_sound(&self) -> bool {
        (0.0..=1.0).contains(&self.loss) && self.rate.is_none_or(|rate| rate >= 16_000)
    }
}

/// One way of one client's link.
#[derive(Debug, Clone)]
pub struct Link {
    impairment: Impairment,
    random: u64,
    /// Bits that may pass at once.
    room: f64,
    at: Instant,
}

impl Link {
    pub fn new(impairment: Impairment, seed: u64, now: Instant) -> Self {
        let room = impairment.rate.map_or(0.0, |rate| rate as f64 * BURST_SECONDS);
        Self { impairment, random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1, room, at: now }
    }

    /// Whether a datagram of so many bytes comes through.
    pub fn passes(&mut self, bytes: usize, now: Instant) -> bool {
        if self.impairment.loss > 0.0 && self.chance() < self.impairment.loss {
            return false;
        }
        let Some(rate) = self.impairment.rate else { return true };
        let rate = rate as f64;
        let gained = now.saturating_duration_since(self.at).as_secs_f64() * rate;
        self.at = self.at.max(now);
        self.room = (self.room + gained).min(rate * BURST_SECONDS);
        // With the headers of IP and UDP.
        let bits = (bytes + 28) as f64 * 8.0;
        let fits = bits <= self.room;
        if fits {
            self.room -= bits;
        }
        fits
    }

    fn chance(&mut self) -> f64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_good_link_passes_everything() {
        let now = Instant::now();
        let mut link = Link::new(Impairment::NONE, 1, now);
        assert!((0..1000).all(|_| link.passes(1200, now)));
    }

    #[test]
    fn a_link_loses_its_share() {
        let now = Instant::now();
        let mut link = Link::new(Impairment { loss: 0.1, rate: None }, 7, now);
        let passed = (0..10_000).filter(|_| link.passes(1200, now)).count();
        assert!((8800..9200).contains(&passed), "{passed}");
    }

    #[test]
    fn a_thin_link_passes_its_rate() {
        let start = Instant::now();
        let mut link = Link::new(Impairment { loss: 0.0, rate: Some(800_000) }, 7, start);
        let passed = (0..10_000).filter(|n| link.passes(972, start + Duration::from_millis(*n))).count();
        // Ten seconds at 100 packets a second, and what passed at once.
        assert!((1000..=1035).contains(&passed), "{passed}");
    }
}
