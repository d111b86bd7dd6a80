//! When a failed delivery is tried again: densely at first, because calls are short, then for three days.

use std::time::Duration;

use crate::base::Timestamp;

/// Waits after the first, second, … failure, in seconds; the first attempt itself waits for nothing.
const WAITS: [u64; 9] = [1, 2, 5, 10, 30, 60, 300, 900, 1800];
/// Every wait after those.
const HOURLY: u64 = 3600;
/// A delivery is tried for so long after its first attempt.
pub const GIVE_UP_AFTER: Duration = Duration::from_secs(72 * 3600);
/// Each wait is this share longer or shorter, so that a receiver that comes back is not met by all lanes at once.
const JITTER_PERCENT: u64 = 20;
/// A receiver's own wish is followed up to here; longer ones are cut.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// When attempt number `failures + 1` is due, or `None` when the delivery is given up.
///
/// `failures` counts the attempts that failed (1 or more), `first` is when the first was made, `retry_after` is what the
/// receiver asked for with 429 or 503, `dice` is any random number.
pub fn next_attempt(
    failures: u32,
    first: Timestamp,
    now: Timestamp,
    retry_after: Option<Duration>,
    dice: u64,
) -> Option<Timestamp> {
    let index = failures.max(1) as usize - 1;
    let wait = Duration::from_secs(WAITS.get(index).copied().unwrap_or(HOURLY));
    let wait = jittered(wait, dice).max(retry_after.unwrap_or_default().min(LONGEST_RETRY_AFTER));
    let at = now + wait;
    (at.since(first) <= GIVE_UP_AFTER).then_some(at)
}

fn jittered(wait: Duration, dice: u64) -> Duration {
    let millis = wait.as_millis() as u64;
    let spread = millis * JITTER_PERCENT / 100;
    Duration::from_millis(millis - spread + dice % (2 * spread + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Timestamp = Timestamp::from_millis(1_000_000);

    #[test]
    fn waits_follow_the_schedule_within_a_fifth() {
        for (failures, wait) in [(1, 1), (2, 2), (3, 5), (4, 10), (5, 30), (6, 60), (7, 300), (8, 900), (9, 1800), (10, 3600), (40, 3600)] {
            for dice in [0, 1, 12_345, u64::MAX] {
                let at = next_attempt(failures, FIRST, FIRST, None, dice).unwrap();
                let millis = at.since(FIRST).as_millis() as u64;
                assert!((wait * 800..=wait * 1200).contains(&millis), "{failures}: {millis} ms");
            }
        }
    }

    #[test]
    fn a_delivery_is_given_up_after_three_days() {
        let almost = FIRST + (GIVE_UP_AFTER - Duration::from_secs(2 * 3600));
        assert!(next_attempt(80, FIRST, almost, None, 0).is_some());
        assert_eq!(next_attempt(80, FIRST, FIRST + GIVE_UP_AFTER, None, 0), None);
    }

    #[test]
    fn the_receivers_own_wish_is_kept_within_reason() {
        let after = |seconds| next_attempt(1, FIRST, FIRST, Some(Duration::from_secs(seconds)), 0).unwrap().since(FIRST);
        assert_eq!(after(120), Duration::from_secs(120));
        assert!(after(0) >= Duration::from_millis(800), "not sooner than the schedule");
        assert_eq!(after(1_000_000), LONGEST_RETRY_AFTER);
    }
}
