//! The least of what was measured lately: the path without its queue.

use super::Micros;

/// The least value of the last `SPAN` to twice that, in microseconds.
#[derive(Debug, Clone, Copy)]
pub struct Lowest<const SPAN: Micros> {
    before: Micros,
    current: Micros,
    since: Micros,
}

const NOTHING: Micros = Micros::MAX;

impl<const SPAN: Micros> Default for Lowest<SPAN> {
    fn default() -> Self {
        Self { before: NOTHING, current: NOTHING, since: 0 }
    }
}

impl<const SPAN: Micros> Lowest<SPAN> {
    pub fn note(&mut self, value: Micros, now: Micros) {
        let age = now - self.since;
        if age >= SPAN {
            self.before = if age < 2 * SPAN { self.current } else { NOTHING };
            (self.current, self.since) = (value, now);
        }
        self.current = self.current.min(value);
    }

    pub fn value(&self) -> Option<Micros> {
        Some(self.before.min(self.current)).filter(|value| *value != NOTHING)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_is_known_for_one_to_two_spans() {
        let mut lowest = Lowest::<100>::default();
        assert_eq!(lowest.value(), None);
        for (now, value, least) in
            [(0, 7, 7), (50, 3, 3), (99, 9, 3), (100, 8, 3), (199, 6, 3), (200, 9, 6), (301, 8, 8)]
        {
            lowest.note(value, now);
            assert_eq!(lowest.value(), Some(least), "{now}");
        }
        lowest.note(9, 900);
        assert_eq!(lowest.value(), Some(9), "after a silence nothing is known of before");
    }
}
