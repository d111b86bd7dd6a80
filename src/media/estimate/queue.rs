//! How long packets wait on the way, and whether the wait is a queue that stands: full, and so without a trend.

use super::Micros;
use super::lowest::Lowest;

/// The path without a queue is that of the quickest packet of so long: longer takes a path that became longer for a queue, shorter takes a
/// queue for the path.
const PATH: Micros = 10_000_000;
/// What even the quickest packet of so long waits is no burst.
const LATELY: Micros = 200_000;

/// A queue stands when even the quickest packet of a while waits so long.
const STANDS: Micros = 80_000;
const WHILE: Micros = 1_000_000;
/// When less is sent a queue is shorter after a while by this share, or it is none.
const DRAINS: f64 = 0.9;
/// With a wait of this no more is asked of the path.
const ENOUGH: Micros = 30_000;

/// The delays of one path: arrival minus sending. The two clocks began at different times, so only differences mean something.
#[derive(Debug, Default)]
pub struct Queue {
    latest: Micros,
    lately: Lowest<LATELY>,
    path: Lowest<PATH>,
    /// The least delay since then.
    window: Option<(Micros, Micros)>,
    /// What waited when less was sent for it.
    drained: Option<Micros>,
}

/// What to make of a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Nothing waits.
    Free,
    /// Something does: no more is sent than is.
    Waits,
    /// Less must be sent.
    Drain,
}

impl Queue {
    pub fn note(&mut self, delay: Micros, now: Micros) {
        self.latest = delay;
        self.lately.note(delay, now);
        self.path.note(delay, now);
        let window = self.window.get_or_insert((delay, now));
        window.0 = window.0.min(delay);
    }

    /// How much longer than the quickest the latest packet was under way.
    pub fn latest(&self) -> Micros {
        self.over(self.latest)
    }

    pub fn standing(&mut self, now: Micros) -> Standing {
        if let Some((least, since)) = self.window
            && now - since >= WHILE
        {
            self.window = None;
            if self.has_to_drain(least, now) {
                return Standing::Drain;
            }
        }
        if self.waits() { Standing::Waits } else { Standing::Free }
    }

    /// Even the quickest packets wait.
    pub fn waits(&self) -> bool {
        self.lately.value().is_some_and(|least| self.over(least) > ENOUGH)
    }

    fn has_to_drain(&mut self, least: Micros, now: Micros) -> bool {
        let waits = self.over(least);
        if waits < STANDS {
            self.drained = None;
            return false;
        }
        match self.drained.replace(waits) {
            None => true,
            // It drains.
            Some(before) if (waits as f64) < before as f64 * DRAINS => false,
            // Less was sent and it did not: it is the path that is longer.
            Some(_) => {
                self.path = Lowest::default();
                self.path.note(least, now);
                self.drained = None;
                false
            }
        }
    }

    fn over(&self, delay: Micros) -> Micros {
        self.path.value().map_or(0, |path| (delay - path).max(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Standing::{Drain, Free, Waits};

    /// A packet each 50 ms with that delay, in ms; what was said after the last.
    fn run(queue: &mut Queue, times: std::ops::Range<i64>, delay: impl Fn(i64) -> i64) -> Vec<Standing> {
        let mut said = Vec::new();
        for at in times.step_by(50) {
            queue.note(delay(at) * 1000 - 5_000_000_000, at * 1000);
            said.push(queue.standing(at * 1000));
        }
        said.dedup();
        said
    }

    #[test]
    fn a_burst_is_no_queue() {
        let mut queue = Queue::default();
        assert_eq!(run(&mut queue, 0..20_000, |at| 20 + at % 200), [Free]);
        assert_eq!(queue.latest(), 150_000);
    }

    #[test]
    fn a_queue_that_stands_is_drained_once_while_that_helps() {
        let mut queue = Queue::default();
        run(&mut queue, 0..2000, |_| 20);
        let said = run(&mut queue, 2000..4500, |_| 320);
        assert_eq!(said[..3], [Free, Waits, Drain]);
        assert_eq!(said.iter().filter(|said| **said == Drain).count(), 1);
        let mut queue = Queue::default();
        run(&mut queue, 0..2000, |_| 20);
        run(&mut queue, 2000..3150, |_| 320);
        let said = run(&mut queue, 3150..6000, |at| 320 - (at - 3100) / 8);
        assert_eq!(said, [Waits, Free]);
    }

    #[test]
    fn a_path_that_became_longer_is_not_drained_again() {
        let mut queue = Queue::default();
        run(&mut queue, 0..2000, |_| 20);
        let said = run(&mut queue, 2000..20_000, |_| 260);
        assert_eq!(said, [Free, Waits, Drain, Waits, Free]);
        assert_eq!(queue.latest(), 0);
    }
}
