//! The walk through an endpoint's lanes in the record, page by page, as far as there is room in memory.

use crate::base::{CallId, Timestamp};

/// Where the walk is, and when it begins anew.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sweep {
    walk: Walk,
    /// Something was left out of memory: another walk is wanted, not before then.
    again: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Walk {
    /// All was seen.
    #[default]
    Done,
    Wanted {
        after: Option<CallId>,
    },
    Asked {
        after: Option<CallId>,
    },
    /// There is no room for more.
    Paused {
        after: Option<CallId>,
    },
}

impl Sweep {
    /// A walk from the beginning, at once.
    pub fn begun() -> Self {
        Self { walk: Walk::Wanted { after: None }, again: None }
    }

    /// Another walk is wanted after this one, not before `at`.
    pub fn again_at(&mut self, at: Timestamp) {
        self.again = Some(self.again.map_or(at, |earlier| earlier.min(at)));
    }

    /// The page to ask for, if it is time; the inner `None` is the first one.
    pub fn take(&mut self, now: Timestamp) -> Option<Option<CallId>> {
        if self.walk == Walk::Done && self.again.is_some_and(|at| at <= now) {
            *self = Self::begun();
        }
        let Walk::Wanted { after } = self.walk else { return None };
        self.walk = Walk::Asked { after };
        Some(after)
    }

    /// The page came and was used whole; the walk goes on after `next`, or is done.
    pub fn advance(&mut self, next: Option<CallId>) {
        self.walk = if next.is_some() { Walk::Wanted { after: next } } else { Walk::Done };
    }

    /// The page came and there was no room after `last`; `None`: not even for its first lane.
    pub fn pause(&mut self, last: Option<CallId>) {
        if let Walk::Asked { after } = self.walk {
            self.walk = Walk::Paused { after: last.or(after) };
        }
    }

    /// There is room again.
    pub fn resume(&mut self) {
        if let Walk::Paused { after } = self.walk {
            self.walk = Walk::Wanted { after };
        }
    }

    /// The record could not be read: from the beginning again, at `at`.
    pub fn fail(&mut self, at: Timestamp) {
        self.walk = Walk::Done;
        self.again_at(at);
    }

    pub fn is_paused(&self) -> bool {
        matches!(self.walk, Walk::Paused { .. })
    }

    /// No walk is under way, though one may be planned.
    pub fn is_done(&self) -> bool {
        self.walk == Walk::Done
    }

    /// Nothing is left out of memory.
    pub fn is_complete(&self) -> bool {
        *self == Self::default()
    }

    /// When [`Sweep::take`] has something again by itself.
    pub fn deadline(&self) -> Option<Timestamp> {
        self.again.filter(|_| self.is_done())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(n: u128) -> Option<CallId> {
        Some(CallId::from_u128(n))
    }

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn a_walk_asks_page_after_page_and_ends() {
        let mut sweep = Sweep::begun();
        assert_eq!(sweep.take(at(0)), Some(None));
        assert_eq!(sweep.take(at(0)), None, "one page at a time");
        sweep.advance(call(5));
        assert_eq!(sweep.take(at(0)), Some(call(5)));
        sweep.advance(None);
        assert!(sweep.take(at(0)).is_none() && sweep.is_complete());
    }

    #[test]
    fn a_walk_without_room_goes_on_where_it_stopped() {
        let mut sweep = Sweep::begun();
        sweep.take(at(0));
        sweep.pause(call(3));
        assert!(sweep.take(at(0)).is_none() && sweep.is_paused());
        sweep.resume();
        assert_eq!(sweep.take(at(0)), Some(call(3)));
        sweep.pause(None);
        sweep.resume();
        assert_eq!(sweep.take(at(0)), Some(call(3)), "a page of which nothing was used is asked for again");
    }

    #[test]
    fn what_was_left_out_is_walked_for_again_when_the_walk_is_done() {
        let mut sweep = Sweep::begun();
        sweep.take(at(0));
        sweep.again_at(at(90));
        sweep.again_at(at(50));
        assert_eq!(sweep.deadline(), None);
        sweep.advance(None);
        assert_eq!(sweep.deadline(), Some(at(50)));
        assert_eq!(sweep.take(at(49)), None);
        assert_eq!(sweep.take(at(50)), Some(None));
        sweep.fail(at(70));
        assert_eq!((sweep.take(at(60)), sweep.take(at(70))), (None, Some(None)));
    }
}
