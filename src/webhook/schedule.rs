//! When a failed delivery is tried again, and when it is given up.

use std::time::Duration;

use crate::base::Timestamp;

/// Pauses after the first attempts, in seconds. Calls are short: an event that comes a minute late is of little use, so the first are close.
const PAUSES: [u64; 9] = [1, 2, 5, 10, 30, 60, 5 * 60, 15 * 60, 30 * 60];
/// After those.
const HOURLY: Duration = Duration::from_secs(3600);
/// A receiver may ask for a later attempt up to this; more would be the same as giving up.
const LONGEST_WISH: Duration = Duration::from_secs(24 * 3600);

/// A point between 0.0 and 1.0, drawn anew for each pause.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Jitter(f64);

impl Jitter {
    /// From a random number.
    pub fn from_random(number: u64) -> Self {
        Self((number >> 11) as f64 / (1u64 << 53) as f64)
    }

    /// ±20 %, so that those who failed together do not come back together.
    fn spread(self, pause: Duration) -> Duration {
        pause.mul_f64(0.8 + 0.4 * self.0)
    }
}

/// The attempts on one event so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempts {
    /// Those that failed.
    pub failed: u32,
    /// When the first was made.
    pub since: Timestamp,
}

/// What follows a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    RetryAt(Timestamp),
    GiveUp,
}

/// The pause after `failed` attempts in a row, before jitter.
pub fn pause(failed: u32) -> Duration {
    let index = usize::try_from(failed.saturating_sub(1)).unwrap_or(usize::MAX);
    PAUSES.get(index).map_or(HOURLY, |seconds| Duration::from_secs(*seconds))
}

/// What follows the failure at `now`, which `attempts` includes. The last attempt is made when `give_up_after` has passed since the first,
/// and not before the short pauses are used up: an endpoint that was not asked for days (its circuit was open) gets its quick retries too.
pub fn next(attempts: Attempts, now: Timestamp, give_up_after: Duration, draw: Draw) -> Next {
    let last = attempts.since + give_up_after;
    let quick = attempts.failed as usize <= PAUSES.len();
    if now >= last && !quick {
        return Next::GiveUp;
    }
    let wish = draw.retry_after.unwrap_or_default().min(LONGEST_WISH);
    let at = now + draw.jitter.spread(pause(attempts.failed)).max(wish);
    Next::RetryAt(if quick { at } else { at.min(last) })
}

/// What a pause depends on besides the attempts.
#[derive(Debug, Clone, Copy)]
pub struct Draw {
    pub jitter: Jitter,
    /// The receiver's wish, of a 429 or a 503.
    pub retry_after: Option<Duration>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAYS: Duration = Duration::from_secs(72 * 3600);
    const MIDDLE: Draw = Draw { jitter: Jitter(0.5), retry_after: None };

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    #[test]
    fn an_event_that_always_fails_is_tried_on_the_contracts_schedule() {
        let mut now = at(0);
        let mut pauses = Vec::new();
        for failed in 1.. {
            match next(Attempts { failed, since: at(0) }, now, DAYS, MIDDLE) {
                Next::RetryAt(then) => {
                    pauses.push(then.since(now).as_secs());
                    now = then;
                }
                Next::GiveUp => break,
            }
        }
        assert_eq!(pauses[..10], [1, 2, 5, 10, 30, 60, 300, 900, 1800, 3600]);
        let hours = &pauses[9..pauses.len() - 1];
        assert!(hours.iter().all(|pause| *pause == 3600), "{hours:?}");
        assert_eq!(now, at(72 * 3600), "the last attempt is made when the time is up");
    }

    #[test]
    fn jitter_stays_within_a_fifth() {
        for (jitter, millis) in [(0.0, 800), (0.5, 1000), (1.0, 1200)] {
            let draw = Draw { jitter: Jitter(jitter), ..MIDDLE };
            let then = next(Attempts { failed: 1, since: at(0) }, at(0), DAYS, draw);
            assert_eq!(then, Next::RetryAt(Timestamp::from_millis(millis)));
        }
        for number in [0, 1, u64::MAX / 2, u64::MAX] {
            let Jitter(point) = Jitter::from_random(number);
            assert!((0.0..1.0).contains(&point), "{point}");
        }
    }

    #[test]
    fn a_receivers_wish_is_honoured_when_it_is_later() {
        for (wish, expected) in [(0, 10), (7, 10), (120, 120), (u64::MAX / 2, 24 * 3600)] {
            let draw = Draw { retry_after: Some(Duration::from_secs(wish)), ..MIDDLE };
            let then = next(Attempts { failed: 4, since: at(0) }, at(0), DAYS, draw);
            assert_eq!(then, Next::RetryAt(at(expected)), "{wish}");
        }
    }

    #[test]
    fn what_was_not_asked_for_days_still_gets_its_quick_retries() {
        let late = at(80 * 3600);
        assert_eq!(next(Attempts { failed: 1, since: at(0) }, late, DAYS, MIDDLE), Next::RetryAt(late + pause(1)));
        assert_eq!(next(Attempts { failed: 10, since: at(0) }, late, DAYS, MIDDLE), Next::GiveUp);
    }
}
