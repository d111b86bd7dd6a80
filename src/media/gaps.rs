//! Packets of a stream that did not come: those that were not sent again in time leave its viewers without a picture until a key frame.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Asking again has failed when a packet is not there by then: five tries on a round trip of 100 ms. Shorter asks for key frames that are
/// not needed, longer leaves pictures standing.
const LOST_AFTER: Duration = Duration::from_millis(600);

/// Missing packets that are remembered; with more the stream is broken anyway.
const MAX_MISSING: usize = 256;

/// The gaps of one stream.
#[derive(Debug, Default)]
pub struct Gaps {
    newest: Option<u64>,
    /// In the order of sequence numbers, and so of time.
    missing: VecDeque<(u64, Instant)>,
}

impl Gaps {
    /// A packet with this extended sequence number came.
    pub fn arrived(&mut self, seq: u64, now: Instant) {
        match self.newest {
            Some(newest) if seq <= newest => {
                if let Ok(index) = self.missing.binary_search_by_key(&seq, |(seq, _)| *seq) {
                    self.missing.remove(index);
                }
            }
            Some(newest) => {
                // Of a longer gap the end stands for all of it.
                let first = (newest + 1).max(seq.saturating_sub(MAX_MISSING as u64));
                self.missing.extend((first..seq).map(|seq| (seq, now)));
                let surplus = self.missing.len().saturating_sub(MAX_MISSING);
                self.missing.drain(..surplus);
                self.newest = Some(seq);
            }
            None => self.newest = Some(seq),
        }
    }

    /// A key frame began: nothing builds on what was before.
    pub fn forgive(&mut self) {
        self.missing.clear();
    }

    /// The stream is another.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// True, once for each: something is missing for good.
    pub fn take_lost(&mut self, now: Instant) -> bool {
        let lost = self.missing.iter().take_while(|(_, since)| now >= *since + LOST_AFTER).count();
        self.missing.drain(..lost);
        lost > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn what_comes_late_is_no_loss_and_what_never_comes_is_one() {
        let start = Instant::now();
        let mut gaps = Gaps::default();
        for seq in [10, 11, 14] {
            gaps.arrived(seq, start);
        }
        gaps.arrived(12, start + ms(100));
        assert!(!gaps.take_lost(start + ms(599)));
        assert!(gaps.take_lost(start + ms(600)), "13");
        assert!(!gaps.take_lost(start + ms(5000)), "said once");
        gaps.arrived(13, start + ms(5000));
        gaps.arrived(16, start + ms(5000));
        gaps.arrived(15, start + ms(5001));
        assert!(!gaps.take_lost(start + ms(9000)));
    }

    #[test]
    fn a_key_frame_forgives_and_what_is_remembered_is_bounded() {
        let start = Instant::now();
        let mut gaps = Gaps::default();
        gaps.arrived(0, start);
        gaps.arrived(u64::MAX / 2, start);
        assert_eq!(gaps.missing.len(), MAX_MISSING);
        gaps.forgive();
        assert!(!gaps.take_lost(start + ms(5000)));
        for step in 1..1000 {
            gaps.arrived(u64::MAX / 2 + 2 * step, start);
        }
        assert!(gaps.missing.len() <= MAX_MISSING && gaps.take_lost(start + ms(600)));
    }
}
