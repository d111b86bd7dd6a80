//! What is delivered: bits per second that arrived, by the receiver's clock.

use super::Micros;

/// Times are told apart by so much.
const SLICE: Micros = 50_000;
/// The rate is that of so many slices, half a second: two frames at the least of frame rates. Fewer follow bursts, more follow a fall late.
const SLICES: usize = 10;
/// The rate is not known before packets came for so long.
const LEAST: Micros = 200_000;

/// The last half second of arrivals.
#[derive(Debug, Default)]
pub struct Acked {
    bytes: [u32; SLICES],
    /// The number of the newest slice since the receiver's clock began.
    head: i64,
    first: Option<Micros>,
    newest: Micros,
}

impl Acked {
    pub fn note(&mut self, arrived: Micros, bytes: u16) {
        let slice = arrived.div_euclid(SLICE);
        if self.first.is_none() || slice - self.head >= SLICES as i64 {
            *self = Self { head: slice, first: Some(arrived), newest: arrived, ..Self::default() };
            // The first packet of a run says when it began, not how fast it goes.
            return;
        }
        if slice <= self.head - SLICES as i64 {
            return;
        }
        while self.head < slice {
            self.head += 1;
            self.bytes[self.head.rem_euclid(SLICES as i64) as usize] = 0;
        }
        self.newest = self.newest.max(arrived);
        let held = &mut self.bytes[slice.rem_euclid(SLICES as i64) as usize];
        *held = held.saturating_add(u32::from(bytes));
    }

    /// Bits per second; `None`: too little has come.
    pub fn rate(&self) -> Option<f64> {
        let began = ((self.head + 1 - SLICES as i64) * SLICE).max(self.first?);
        let span = self.newest - began;
        let bytes: u64 = self.bytes.iter().map(|bytes| u64::from(*bytes)).sum();
        (span >= LEAST).then(|| bytes as f64 * 8e6 / span as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(acked: &mut Acked, times: std::ops::Range<i64>, step: usize) {
        times.step_by(step).for_each(|ms| acked.note(ms * 1000, 1000));
    }

    #[test]
    fn the_rate_is_what_came_by_the_time_it_took() {
        let mut acked = Acked::default();
        assert_eq!(acked.rate(), None);
        note(&mut acked, -100..50, 10);
        assert_eq!(acked.rate(), None, "too short");
        note(&mut acked, 50..2000, 10);
        let rate = acked.rate().unwrap();
        assert!((780e3..820e3).contains(&rate), "{rate}");
    }

    #[test]
    fn it_has_followed_within_half_a_second() {
        let mut acked = Acked::default();
        note(&mut acked, 0..2000, 4);
        note(&mut acked, 2000..2550, 40);
        let rate = acked.rate().unwrap();
        assert!((180e3..220e3).contains(&rate), "{rate}");
    }

    #[test]
    fn after_a_silence_it_begins_anew() {
        let mut acked = Acked::default();
        note(&mut acked, 0..2000, 10);
        note(&mut acked, 60_000..60_100, 10);
        assert_eq!(acked.rate(), None);
        note(&mut acked, 60_100..60_500, 10);
        let rate = acked.rate().unwrap();
        assert!((780e3..820e3).contains(&rate), "{rate}");
    }

    #[test]
    fn what_comes_late_counts_and_what_comes_far_too_late_does_not() {
        let mut acked = Acked::default();
        note(&mut acked, 0..1000, 10);
        let before = acked.rate().unwrap();
        acked.note(-5_000_000, 1000);
        assert_eq!(acked.rate().unwrap(), before);
        acked.note(900_000, 1000);
        assert!(acked.rate().unwrap() > before);
    }
}
