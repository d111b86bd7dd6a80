//! The ledger as delivery sees it: the one place where the two cores meet.

use std::sync::Arc;

use crate::base::{CallId, EndpointId};
use crate::event::fact_id;
use crate::ledger::io::{Store, StoreError, WriterHandle};
use crate::ledger::{self, DeadRow};
use crate::webhook::record::{LanePage, LaneRow, LaneSave, Record, StoredEvent, Unreadable};

/// Reads the store and writes through the ledger's writer.
pub struct LedgerRecord<T> {
    pub store: Arc<Store>,
    pub writer: WriterHandle<T>,
}

impl<T: Send + 'static> Record for LedgerRecord<T> {
    fn lanes(&self, endpoint: &EndpointId, after: Option<CallId>, limit: usize) -> Result<LanePage, Unreadable> {
        let page = self.store.lanes(endpoint, after, limit).map_err(unreadable)?;
        let lanes = page.lanes.into_iter().map(|(call, row)| (call, lane_row(row))).collect();
        Ok(LanePage { lanes, next: page.next })
    }

    fn lane(&self, endpoint: &EndpointId, call: CallId) -> Result<Option<LaneRow>, Unreadable> {
        Ok(self.store.lane(endpoint, call).map_err(unreadable)?.map(lane_row))
    }

    fn events(&self, call: CallId, from: u64, limit: usize) -> Result<Vec<StoredEvent>, Unreadable> {
        let facts = self.store.facts(call, from.saturating_sub(1), limit).map_err(unreadable)?;
        Ok(facts.into_iter().map(stored_event).collect())
    }

    fn save(&self, rows: Vec<LaneSave>, saved: Box<dyn FnOnce() + Send>) {
        self.writer.save_lanes(rows.into_iter().map(ledger_save).collect(), saved);
    }
}

fn unreadable(error: StoreError) -> Unreadable {
    Unreadable(error.into())
}

fn lane_row(row: ledger::LaneRow) -> LaneRow {
    LaneRow { next: row.next, memory: row.state }
}

fn stored_event(fact: ledger::Record) -> StoredEvent {
    let ledger::Record { call, seq, kind, time, body } = fact;
    StoredEvent { seq, id: fact_id(call, seq, time), kind, time, body }
}

fn ledger_save(save: LaneSave) -> ledger::LaneSave {
    let LaneSave { endpoint, call, row, dead } = save;
    let dead =
        dead.into_iter().map(|letter| DeadRow { from: letter.seq, to: letter.seq, time: letter.time, why: letter.why });
    ledger::LaneSave {
        endpoint,
        call,
        row: ledger::LaneRow { next: row.next, state: row.memory },
        dead: dead.collect(),
    }
}
