//! When a publisher is asked for a key frame: whatever viewers ask, at most once an interval for each encoding.

use std::time::{Duration, Instant};

/// Two requests to one encoding are at least so far apart. Shorter lets viewers make an encoder waste bitrate on key frames; longer keeps a
/// viewer who joined right after one in the dark.
pub const MIN_INTERVAL: Duration = Duration::from_millis(500);

/// A request that no key frame answered is repeated after this. Shorter repeats what a slow encoder is already making.
pub const REPEAT_AFTER: Duration = Duration::from_secs(1);

/// The requests to one encoding.
#[derive(Debug, Clone, Copy, Default)]
pub struct KeyFrameGate {
    asked_at: Option<Instant>,
    need: Need,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Need {
    #[default]
    None,
    /// Somebody asked within the interval of the last request.
    Held,
    /// The request went out and no key frame came yet.
    Asked,
}

impl KeyFrameGate {
    /// A viewer needs a key frame. True: ask the publisher now; otherwise the gate's deadline says when it will.
    pub fn want(&mut self, now: Instant) -> bool {
        match (self.need, self.asked_at) {
            (Need::Held, _) => false,
            (_, Some(at)) if now < at + MIN_INTERVAL => {
                if self.need == Need::None {
                    self.need = Need::Held;
                }
                false
            }
            _ => self.ask(now),
        }
    }

    /// A key frame began to arrive.
    pub fn key_frame(&mut self) {
        self.need = Need::None;
    }

    /// Nobody waits for this encoding any more.
    pub fn forget(&mut self) {
        self.need = Need::None;
    }

    pub fn deadline(&self) -> Option<Instant> {
        match self.need {
            Need::None => None,
            Need::Held => self.asked_at.map(|at| at + MIN_INTERVAL),
            Need::Asked => self.asked_at.map(|at| at + REPEAT_AFTER),
        }
    }

    /// True: ask the publisher now.
    pub fn handle_timeout(&mut self, now: Instant) -> bool {
        self.deadline().is_some_and(|at| now >= at) && self.ask(now)
    }

    fn ask(&mut self, now: Instant) -> bool {
        self.asked_at = Some(now);
        self.need = Need::Asked;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_key_frame_is_asked_once_per_interval() {
        let start = Instant::now();
        let mut gate = KeyFrameGate::default();
        let mut asked = 0;
        for step in 0..100 {
            let now = start + ms(step * 20);
            asked += u32::from(gate.handle_timeout(now));
            asked += u32::from(gate.want(now));
            if step % 5 == 4 {
                gate.key_frame();
            }
        }
        assert_eq!(asked, 4, "two seconds hold four intervals");
    }

    #[test]
    fn a_request_within_the_interval_is_kept_for_its_end() {
        let start = Instant::now();
        let mut gate = KeyFrameGate::default();
        assert!(gate.want(start));
        gate.key_frame();
        assert_eq!(gate.deadline(), None);
        assert!(!gate.want(start + ms(100)));
        assert_eq!(gate.deadline(), Some(start + MIN_INTERVAL));
        assert!(!gate.handle_timeout(start + ms(499)));
        assert!(gate.handle_timeout(start + ms(500)));
    }

    #[test]
    fn an_unanswered_request_is_repeated_until_a_key_frame_comes() {
        let start = Instant::now();
        let mut gate = KeyFrameGate::default();
        assert!(gate.want(start));
        assert!(!gate.handle_timeout(start + ms(999)));
        assert!(gate.handle_timeout(start + ms(1000)));
        gate.key_frame();
        assert!(!gate.handle_timeout(start + ms(5000)));
    }
}
