//! The ledger as delivery sees it: the one place where the two cores meet.

use std::sync::Arc;

use crate::base::{CallId, EndpointId};
use crate::event::fact_id;
use crate::ledger::io::{Store, StoreError, WriterHandle};
use crate::ledger::{self, CallRow, Change, DeadRow};
use crate::webhook::Endpoint;
use crate::webhook::book;
use crate::webhook::endpoint::own_of_calls;
use crate::webhook::record::{
    CallSpan, DeadLetter, LanePage, LaneRow, LaneSave, Record, ReplaySave, StoredEvent, Unreadable,
};

/// Reads the store and writes through the ledger's writer.
pub struct LedgerRecord<T> {
    pub store: Arc<Store>,
    pub writer: WriterHandle<T>,
}

impl<T: Send + 'static> Record for LedgerRecord<T> {
    fn lanes(&self, endpoint: &EndpointId, after: Option<CallId>, limit: usize) -> Result<LanePage, Unreadable> {
        let page = self.store.lanes(endpoint, after, limit).map_err(unreadable)?;
        let lanes = page.lanes.into_iter().map(|(call, row)| Ok((call, self.lane_row(endpoint, call, row)?)));
        Ok(LanePage { lanes: lanes.collect::<Result<_, Unreadable>>()?, next: page.next })
    }

    fn lane(&self, endpoint: &EndpointId, call: CallId) -> Result<Option<LaneRow>, Unreadable> {
        let row = self.store.lane(endpoint, call).map_err(unreadable)?;
        row.map(|row| self.lane_row(endpoint, call, row)).transpose()
    }

    fn events(&self, call: CallId, from: u64, limit: usize) -> Result<Vec<StoredEvent>, Unreadable> {
        let facts = self.store.facts(call, from.saturating_sub(1), limit).map_err(unreadable)?;
        Ok(facts.into_iter().map(stored_event).collect())
    }

    fn save(&self, rows: Vec<LaneSave>, saved: Box<dyn FnOnce() + Send>) {
        self.writer.save_lanes(rows.into_iter().map(ledger_save).collect(), saved);
    }

    fn calls(&self, first: CallId, limit: usize) -> Result<Vec<CallSpan>, Unreadable> {
        let calls = self.store.calls(first, limit).map_err(unreadable)?;
        Ok(calls.into_iter().map(|(call, row)| span(call, &row)).collect())
    }

    fn save_replay(&self, save: ReplaySave, saved: Box<dyn FnOnce() + Send>) {
        let ReplaySave { endpoint, replay, row, delivered } = save;
        let replay = replay.as_u128();
        let revived = delivered.into_iter().map(|(call, from, to)| {
            let endpoint = endpoint.clone();
            Change::Revive { endpoint, call, from, to }
        });
        let mut changes: Vec<Change> = revived.collect();
        changes.push(match row {
            Some(row) => Change::PutReplay { endpoint, replay, row },
            None => Change::RemoveReplay { endpoint, replay },
        });
        self.writer.changes().send(changes, saved);
    }
}

impl<T> LedgerRecord<T> {
    fn lane_row(&self, endpoint: &EndpointId, call: CallId, row: ledger::LaneRow) -> Result<LaneRow, Unreadable> {
        let target = match *endpoint == own_of_calls() {
            true => self.store.target(endpoint, call).map_err(unreadable)?.and_then(|row| read_target(&row)),
            false => None,
        };
        Ok(LaneRow { next: row.next, memory: row.state, target: target.map(Arc::new) })
    }
}

fn read_target(row: &[u8]) -> Option<Endpoint> {
    let target = book::decode_own(row);
    if target.is_none() {
        tracing::error!("where a call's own webhook goes cannot be read");
    }
    target
}

pub(super) fn span(call: CallId, row: &CallRow) -> CallSpan {
    CallSpan { call, last_seq: row.last_seq, first: row.first, last: row.last }
}

fn unreadable(error: StoreError) -> Unreadable {
    Unreadable(error.into())
}

fn stored_event(fact: ledger::Record) -> StoredEvent {
    let ledger::Record { call, seq, kind, time, body } = fact;
    StoredEvent { seq, id: fact_id(call, seq, time), kind, time, body }
}

fn ledger_save(save: LaneSave) -> ledger::LaneSave {
    let LaneSave { endpoint, call, row, dead } = save;
    let row = row.map(|row| ledger::LaneRow { next: row.next, state: row.memory });
    ledger::LaneSave { endpoint, call, row, dead: dead.into_iter().map(dead_row).collect() }
}

pub(super) fn dead_row(letter: DeadLetter) -> DeadRow {
    DeadRow { from: letter.from, to: letter.to, time: letter.time, note: letter.note.encode() }
}
