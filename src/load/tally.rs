//! What is counted of a run: packets by stream, and times in a histogram.

use std::time::Duration;

/// Each doubling of a time is told apart in so many steps: 3 %.
const STEPS: u64 = 32;
const BUCKETS: usize = 32 * STEPS as usize;

/// Times of one microsecond to an hour.
#[derive(Debug, Clone)]
pub struct Histogram {
    buckets: Box<[u64]>,
    count: u64,
    max: Duration,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: vec![0; BUCKETS].into(), count: 0, max: Duration::ZERO }
    }
}

impl Histogram {
    pub fn note(&mut self, time: Duration) {
        let micros = time.as_micros().min(u128::from(u64::MAX)) as u64;
        self.buckets[bucket(micros)] += 1;
        self.count += 1;
        self.max = self.max.max(time);
    }

    pub fn merge(&mut self, other: &Histogram) {
        self.buckets.iter_mut().zip(&other.buckets).for_each(|(a, b)| *a += b);
        self.count += other.count;
        self.max = self.max.max(other.max);
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    pub fn max(&self) -> Duration {
        self.max
    }

    /// The time that the share `q`, 0.0–1.0, of all is not above; `None`: there are none.
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        if self.count == 0 {
            return None;
        }
        let wanted = ((self.count as f64 * q).ceil() as u64).clamp(1, self.count);
        let mut seen = 0;
        let found = self.buckets.iter().position(|count| {
            seen += count;
            seen >= wanted
        });
        found.map(|index| Duration::from_micros(upper(index as u64)).min(self.max))
    }
}

fn bucket(micros: u64) -> usize {
    if micros < STEPS {
        return micros as usize;
    }
    let doubling = u64::from(micros.ilog2() - STEPS.ilog2());
    let step = (micros >> doubling) - STEPS;
    (((doubling + 1) * STEPS + step) as usize).min(BUCKETS - 1)
}

/// The longest time that falls into a bucket, in microseconds.
fn upper(index: u64) -> u64 {
    if index < STEPS {
        return index;
    }
    let (doubling, step) = (index / STEPS - 1, index % STEPS);
    ((STEPS + step + 1) << doubling) - 1
}

/// One received stream, by its extended sequence numbers.
#[derive(Debug, Clone, Copy)]
pub struct Stream {
    first: u64,
    last: u64,
    received: u64,
}

impl Stream {
    pub fn new(seq: u64) -> Self {
        Self { first: seq, last: seq, received: 1 }
    }

    /// Each packet comes here once: the connection drops what comes twice. False: it is from before the counting began.
    pub fn note(&mut self, seq: u64) -> bool {
        self.last = self.last.max(seq);
        let counts = seq >= self.first;
        self.received += u64::from(counts);
        counts
    }

    /// Counts from the next packet on.
    pub fn restart(&mut self) {
        *self = Self { first: self.last + 1, last: self.last, received: 0 };
    }

    pub fn received(&self) -> u64 {
        self.received
    }

    pub fn lost(&self) -> u64 {
        (self.last + 1).saturating_sub(self.first).saturating_sub(self.received)
    }
}

/// What one client or all of them counted.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    pub sent: u64,
    pub received: u64,
    pub lost: u64,
    pub bytes: u64,
    pub latency: Histogram,
}

impl Tally {
    pub fn merge(&mut self, other: &Tally) {
        self.sent += other.sent;
        self.received += other.received;
        self.lost += other.lost;
        self.bytes += other.bytes;
        self.latency.merge(&other.latency);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_off_by_less_than_a_step() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), None);
        (1..=10_000).for_each(|micros| histogram.note(Duration::from_micros(micros)));
        for (q, exact) in [(0.5, 5_000.0), (0.95, 9_500.0), (0.99, 9_900.0), (1.0, 10_000.0), (0.0001, 1.0)] {
            let found = histogram.quantile(q).unwrap().as_micros() as f64;
            assert!((found - exact).abs() <= exact * 0.04, "{q}: {found} for {exact}");
        }
        assert_eq!(histogram.max(), Duration::from_millis(10));
    }

    #[test]
    fn every_time_has_a_bucket_and_the_buckets_are_in_order() {
        let mut last = 0;
        for micros in (0..10_000).chain([1 << 20, 1 << 30, 3_600_000_000, u64::MAX]) {
            let index = bucket(micros);
            assert!(index >= last && index < BUCKETS, "{micros}");
            assert!(upper(index as u64) >= micros || index == BUCKETS - 1);
            last = index;
        }
    }

    #[test]
    fn holes_are_lost_and_late_packets_fill_them() {
        let mut stream = Stream::new(10);
        for seq in [11, 14, 12] {
            stream.note(seq);
        }
        assert_eq!((stream.received(), stream.lost()), (4, 1));
        stream.restart();
        assert_eq!((stream.received(), stream.lost()), (0, 0));
        for seq in [13, 15, 17] {
            stream.note(seq);
        }
        assert_eq!((stream.received(), stream.lost()), (2, 1), "13 is of before");
    }

    #[test]
    fn tallies_add_up() {
        let mut a = Tally { sent: 1, received: 2, lost: 3, bytes: 4, ..Tally::default() };
        let mut b = a.clone();
        b.latency.note(Duration::from_millis(1));
        a.merge(&b);
        assert_eq!((a.sent, a.received, a.lost, a.bytes, a.latency.count()), (2, 4, 6, 8, 1));
    }
}
