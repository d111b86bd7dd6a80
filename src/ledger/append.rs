//! What one turn of control asks to be stored, and what is told once it is.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::row::Record;
use crate::base::{CallId, EndpointId};

/// The facts of one turn and what they did to their calls: stored whole or not at all.
#[derive(Debug, Clone, Default)]
pub struct Append {
    /// In the order of each call's `seq`, which goes on from the last stored one.
    pub records: Vec<Record>,
    /// Calls that stay open after this turn, each with its machine's serialized state.
    pub open: Vec<(CallId, Bytes)>,
    /// Calls that this turn ended; their serialized state is deleted.
    pub closed: Vec<CallId>,
    /// The endpoints that get a lane for each call whose first fact is in this turn.
    pub lanes: Arc<[EndpointId]>,
    /// Lanes that one call gets besides, with its first fact.
    pub own: Vec<OwnLane>,
}

/// A lane that only `call` gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnLane {
    pub call: CallId,
    pub endpoint: EndpointId,
    /// Where it goes, in delivery's own words; kept as long as the lane.
    pub target: Bytes,
}

impl Append {
    /// Nothing to store: the turn only keeps its place in the order.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty() && self.open.is_empty() && self.closed.is_empty()
    }

    /// The calls with new facts, each once for each run of its facts.
    pub fn calls(&self) -> impl Iterator<Item = CallId> {
        self.records.chunk_by(|a, b| a.call == b.call).map(|run| run[0].call)
    }
}

/// One turn on its way through the writer; `then` comes out when, and only when, `append` is on the disk.
#[derive(Debug)]
pub struct Turn<T> {
    pub append: Append,
    pub then: T,
}

/// One transaction, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    pub turns: usize,
    pub facts: usize,
    /// Lane rows written with them.
    pub lanes: usize,
    /// From the first write to the end of the fsync.
    pub took: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Timestamp;
    use crate::event::EventKind;

    #[test]
    fn a_turn_names_each_run_of_a_calls_facts_once() {
        let record = |call: u128, seq| Record {
            call: CallId::from_u128(call),
            seq,
            kind: EventKind::UserJoin,
            time: Timestamp::default(),
            body: Bytes::new(),
        };
        let append = Append { records: vec![record(1, 1), record(1, 2), record(2, 1)], ..Append::default() };
        assert_eq!(append.calls().collect::<Vec<_>>(), [CallId::from_u128(1), CallId::from_u128(2)]);
        assert!(!append.is_empty() && Append::default().is_empty());
        assert!(!Append { closed: vec![CallId::from_u128(1)], ..Append::default() }.is_empty());
    }
}
