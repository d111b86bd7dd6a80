//! How much a client may ask: a bucket of requests that fills steadily.

use std::time::Duration;

use crate::base::Timestamp;

/// Requests that may come at once: an SDK's burst at the begin of a call, several times over.
const BURST: u32 = 100;
/// Requests a second in the long run; no client that serves a person comes near.
const PER_SECOND: u32 = 50;
/// Refusals without a rest, after which the connection is closed.
pub const MOST_REFUSALS: u32 = 500;

/// A connection's allowance.
#[derive(Debug)]
pub struct Allowance {
    /// In thousandths of a request.
    level: u64,
    filled: Timestamp,
    refused: u32,
}

/// What to do with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Take,
    Refuse,
    /// The client does not listen: close the connection.
    Close,
}

impl Allowance {
    pub fn new(now: Timestamp) -> Self {
        Self { level: u64::from(BURST) * 1000, filled: now, refused: 0 }
    }

    pub fn ask(&mut self, now: Timestamp) -> Verdict {
        let elapsed = now.since(self.filled).min(Duration::from_secs(3600));
        self.filled = now;
        let gained = elapsed.as_millis() as u64 * u64::from(PER_SECOND);
        self.level = (self.level + gained).min(u64::from(BURST) * 1000);
        if self.level >= u64::from(BURST) * 500 {
            // Half full: the client has listened for a while.
            self.refused = 0;
        }
        if self.level >= 1000 {
            self.level -= 1000;
            return Verdict::Take;
        }
        self.refused += 1;
        if self.refused > MOST_REFUSALS { Verdict::Close } else { Verdict::Refuse }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_taken_and_a_flood_refused_then_closed() {
        let at = Timestamp::from_millis;
        let mut allowance = Allowance::new(at(0));
        for _ in 0..BURST {
            assert_eq!(allowance.ask(at(0)), Verdict::Take);
        }
        assert_eq!(allowance.ask(at(0)), Verdict::Refuse);
        assert_eq!(allowance.ask(at(20)), Verdict::Take, "20 ms fill one request");
        for _ in 1..MOST_REFUSALS {
            assert_eq!(allowance.ask(at(20)), Verdict::Refuse);
        }
        assert_eq!(allowance.ask(at(40)), Verdict::Take, "what trickles through in a flood is no rest");
        assert_eq!(allowance.ask(at(40)), Verdict::Close);
    }

    #[test]
    fn a_client_that_rests_is_forgiven() {
        let at = Timestamp::from_millis;
        let mut allowance = Allowance::new(at(0));
        for second in [0, 2] {
            for _ in 0..BURST + MOST_REFUSALS {
                assert_ne!(allowance.ask(at(second * 1000)), Verdict::Close);
            }
        }
    }
}
