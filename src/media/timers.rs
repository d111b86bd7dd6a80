//! Deadlines by key, cheap to move: a deadline that moves later costs nothing until its old time comes.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

/// A heap of deadlines, one for each key. Keys are small numbers: seats.
#[derive(Debug, Default)]
pub struct Timers {
    heap: BinaryHeap<Reverse<(Instant, usize)>>,
    keys: Vec<Key>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Key {
    wanted: Option<Instant>,
    /// The earliest entry of this key in the heap; others of it are stale.
    queued: Option<Instant>,
}

impl Timers {
    pub fn set(&mut self, key: usize, at: Instant) {
        if self.keys.len() <= key {
            self.keys.resize(key + 1, Key::default());
        }
        let entry = &mut self.keys[key];
        entry.wanted = Some(at);
        if entry.queued.is_none_or(|queued| at < queued) {
            entry.queued = Some(at);
            self.heap.push(Reverse((at, key)));
        }
    }

    pub fn clear(&mut self, key: usize) {
        if let Some(entry) = self.keys.get_mut(key) {
            entry.wanted = None;
        }
    }

    /// When to call [`Timers::pop`]; may be earlier than the earliest deadline, never later.
    pub fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// A key whose deadline has come; its deadline is gone until it is set again.
    pub fn pop(&mut self, now: Instant) -> Option<usize> {
        while let Some(Reverse((at, key))) = self.heap.peek().copied() {
            if at > now {
                return None;
            }
            self.heap.pop();
            let entry = &mut self.keys[key];
            if entry.queued != Some(at) {
                continue;
            }
            entry.queued = None;
            match entry.wanted {
                Some(wanted) if wanted <= now => {
                    entry.wanted = None;
                    return Some(key);
                }
                Some(wanted) => {
                    entry.queued = Some(wanted);
                    self.heap.push(Reverse((wanted, key)));
                }
                None => {}
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn keys_come_at_their_latest_set_deadline_and_once() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut timers = Timers::default();
        timers.set(0, at(10));
        timers.set(1, at(20));
        timers.set(0, at(30));
        timers.set(2, at(40));
        timers.set(2, at(5));
        timers.set(3, at(1));
        timers.clear(3);
        assert_eq!(timers.next(), Some(at(1)));
        assert_eq!((timers.pop(at(4)), timers.pop(at(5)), timers.pop(at(5))), (None, Some(2), None));
        assert_eq!((timers.pop(at(29)), timers.pop(at(29))), (Some(1), None));
        assert_eq!((timers.pop(at(30)), timers.pop(at(100))), (Some(0), None));
        timers.set(0, at(100));
        assert_eq!(timers.pop(at(100)), Some(0));
    }

    #[test]
    fn a_deadline_that_moves_later_again_and_again_grows_nothing() {
        let start = Instant::now();
        let mut timers = Timers::default();
        for step in 0..1000 {
            let now = start + Duration::from_millis(step);
            timers.set(0, now + Duration::from_millis(33));
            assert_eq!(timers.pop(now), None);
        }
        assert!(timers.heap.len() <= 2, "{}", timers.heap.len());
    }
}
