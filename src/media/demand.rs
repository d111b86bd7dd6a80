//! Whether an encoding is worth sending: nobody watching it for a while pauses it at the publisher, anybody wanting it brings it back.

use std::time::{Duration, Instant};

/// An encoding nobody watched for so long is paused. Shorter makes encoders start and stop with every look at another person.
const PAUSE_AFTER: Duration = Duration::from_secs(5);
/// How long an encoder may take to send again; until then it is not given up.
const WAKES_WITHIN: Duration = Duration::from_secs(4);

/// The demand for one encoding. At first every encoding is sent.
#[derive(Debug, Clone, Copy, Default)]
pub struct Demand {
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Watched,
    Idle(Instant),
    Paused,
    Waking(Instant),
}

impl Demand {
    /// Somebody watches it, or waits for it. True: the publisher is to be told.
    pub fn watched(&mut self, now: Instant) -> bool {
        match self.state {
            State::Paused => {
                self.state = State::Waking(now);
                true
            }
            State::Waking(since) if now < since + WAKES_WITHIN => false,
            _ => {
                self.state = State::Watched;
                false
            }
        }
    }

    /// Nobody does. True: the publisher is to be told.
    pub fn unwatched(&mut self, now: Instant) -> bool {
        match self.state {
            State::Watched | State::Waking(_) => {
                self.state = State::Idle(now);
                false
            }
            State::Idle(since) if now >= since + PAUSE_AFTER => {
                self.state = State::Paused;
                true
            }
            State::Idle(_) | State::Paused => false,
        }
    }

    /// The publisher is to send it.
    pub fn is_active(&self) -> bool {
        self.state != State::Paused
    }

    /// It would come if it were wanted, or is about to: its silence says nothing.
    pub fn excuses_silence(&self, now: Instant) -> bool {
        match self.state {
            State::Paused => true,
            State::Waking(since) => now < since + WAKES_WITHIN,
            State::Watched | State::Idle(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn what_nobody_watches_is_paused_after_a_while_and_back_at_once() {
        let start = Instant::now();
        let mut demand = Demand::default();
        assert!(!demand.unwatched(start) && !demand.unwatched(start + secs(4)));
        assert!(demand.is_active());
        assert!(demand.unwatched(start + secs(5)));
        assert!(!demand.is_active() && demand.excuses_silence(start + secs(500)));
        assert!(!demand.unwatched(start + secs(6)), "said once");
        assert!(demand.watched(start + secs(7)));
        assert!(demand.is_active() && demand.excuses_silence(start + secs(10)));
        assert!(!demand.watched(start + secs(8)), "said once");
        assert!(!demand.excuses_silence(start + secs(11)), "it had its time");
    }

    #[test]
    fn a_short_look_away_pauses_nothing() {
        let start = Instant::now();
        let mut demand = Demand::default();
        for second in 0..60 {
            let now = start + secs(second);
            let told = if second % 4 == 3 { demand.watched(now) } else { demand.unwatched(now) };
            assert!(!told && demand.is_active());
        }
    }
}
