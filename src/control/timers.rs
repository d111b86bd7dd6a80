//! Deadlines by key: each key has at most one, the earliest is known at once.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

use crate::base::Timestamp;

/// A set of deadlines; setting a key again moves its deadline.
#[derive(Debug)]
pub struct Timers<K> {
    due: BTreeSet<(Timestamp, K)>,
    by_key: HashMap<K, Timestamp>,
}

impl<K> Default for Timers<K> {
    fn default() -> Self {
        Self { due: BTreeSet::new(), by_key: HashMap::new() }
    }
}

impl<K: Copy + Ord + Hash> Timers<K> {
    pub fn set(&mut self, key: K, at: Option<Timestamp>) {
        if self.by_key.get(&key).copied() == at {
            return;
        }
        if let Some(before) = self.by_key.remove(&key) {
            self.due.remove(&(before, key));
        }
        if let Some(at) = at {
            self.due.insert((at, key));
            self.by_key.insert(key, at);
        }
    }

    pub fn next(&self) -> Option<Timestamp> {
        self.due.first().map(|(at, _)| *at)
    }

    /// The earliest key that is due; it is removed.
    pub fn pop_due(&mut self, now: Timestamp) -> Option<K> {
        let (at, key) = self.due.first().copied().filter(|(at, _)| *at <= now)?;
        self.due.remove(&(at, key));
        self.by_key.remove(&key);
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_its_latest_deadline_only() {
        let at = Timestamp::from_millis;
        let mut timers = Timers::default();
        timers.set('a', Some(at(10)));
        timers.set('b', Some(at(20)));
        timers.set('a', Some(at(30)));
        assert_eq!(timers.next(), Some(at(20)));
        assert_eq!(timers.pop_due(at(25)), Some('b'));
        assert_eq!(timers.pop_due(at(25)), None);
        timers.set('a', None);
        assert_eq!(timers.next(), None);
    }
}
