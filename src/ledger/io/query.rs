//! What others read of the record: facts, calls, lanes, dead letters, endpoints and replays, each as of one moment.

use bytes::Bytes;

use super::batch::fact_size;
use super::store::{
    CALLS, DEAD, DeadPage, ENDPOINTS, FACTS, LANES, LanePage, OPEN, REPLAYS, SCAN_ROWS, Store, StoreError, TARGETS,
    last_seq,
};
use crate::base::{CallId, EndpointId, Timestamp};
use crate::ledger::key::{self, CALL, FACT};
use crate::ledger::{CallRow, DeadRow, LaneRow, OpenCall, Record, Undecodable};
use redb::ReadableTable;

impl Store {
    /// A call's facts with a number above `after`, at most `limit`.
    pub fn facts(&self, call: CallId, after: u64, limit: usize) -> Result<Vec<Record>, StoreError> {
        self.read(|tx| {
            let table = tx.open_table(FACTS)?;
            let Some(from) = after.checked_add(1) else { return Ok(Vec::new()) };
            table
                .range::<&[u8; FACT]>(&key::fact(call, from)..=&key::fact(call, u64::MAX))?
                .take(limit)
                .map(|row| {
                    let (key, value) = row?;
                    let (call, seq) = key::read_fact(key.value());
                    Ok(Record::decode(call, seq, value.value())?)
                })
                .collect()
        })
    }

    /// What is known of a call; `None`: no such call.
    pub fn call(&self, call: CallId) -> Result<Option<CallRow>, StoreError> {
        self.read(|tx| {
            let row = tx.open_table(CALLS)?.get(&key::call(call))?;
            Ok(row.map(|row| CallRow::decode(row.value())).transpose()?)
        })
    }

    /// The calls that have not ended, each with its last snapshot.
    pub fn open_calls(&self) -> Result<Vec<OpenCall>, StoreError> {
        self.read(|tx| {
            let calls = tx.open_table(CALLS)?;
            let mut found = Vec::new();
            for row in tx.open_table(OPEN)?.iter()? {
                let (key, snapshot) = row?;
                let row = calls.get(key.value())?.ok_or(Undecodable { table: "open calls" })?;
                found.push(OpenCall {
                    call: key::read_call(key.value()),
                    row: CallRow::decode(row.value())?,
                    snapshot: Bytes::copy_from_slice(snapshot.value()),
                });
            }
            Ok(found)
        })
    }

    /// One lane's row; `None`: the lane was never opened, or all of its call is delivered.
    pub fn lane(&self, endpoint: &EndpointId, call: CallId) -> Result<Option<LaneRow>, StoreError> {
        self.read(|tx| {
            let row = tx.open_table(LANES)?.get(key::lane(endpoint, call).as_slice())?;
            Ok(row.map(|row| LaneRow::decode(row.value())).transpose()?)
        })
    }

    /// An endpoint's lanes with something to do, of calls after `after`, about `limit` of them.
    pub fn lanes(&self, endpoint: &EndpointId, after: Option<CallId>, limit: usize) -> Result<LanePage, StoreError> {
        let Some(first) = following(after) else { return Ok(LanePage::default()) };
        self.read(|tx| {
            let calls = tx.open_table(CALLS)?;
            let lanes = tx.open_table(LANES)?;
            let from = key::lane(endpoint, first);
            let to = key::lane(endpoint, CallId::from_u128(u128::MAX));
            let mut page = LanePage::default();
            for (looked_at, row) in lanes.range(from.as_slice()..=to.as_slice())?.enumerate() {
                let (key, value) = row?;
                let (_, call) = key::read_lane(key.value()).ok_or(Undecodable { table: "lanes" })?;
                let lane = LaneRow::decode(value.value())?;
                let last_seq = last_seq(&calls, call)?;
                if lane.pending(last_seq) > 0 || !lane.state.is_empty() {
                    page.lanes.push((call, lane));
                }
                if page.lanes.len() >= limit || looked_at + 1 >= SCAN_ROWS {
                    page.next = Some(call);
                    break;
                }
            }
            Ok(page)
        })
    }

    /// The calls that have a lane to `endpoint`, also those with nothing to do, at most `limit`.
    pub fn calls_with_lane(&self, endpoint: &EndpointId, limit: usize) -> Result<Vec<CallId>, StoreError> {
        self.read(|tx| {
            let from = key::lane(endpoint, CallId::from_u128(0));
            let to = key::lane(endpoint, CallId::from_u128(u128::MAX));
            let lanes = tx.open_table(LANES)?;
            lanes
                .range(from.as_slice()..=to.as_slice())?
                .take(limit)
                .map(|row| {
                    let (_, call) = key::read_lane(row?.0.value()).ok_or(Undecodable { table: "lanes" })?;
                    Ok(call)
                })
                .collect()
        })
    }

    /// An endpoint's dead letters after a position, at most `limit`.
    pub fn dead(
        &self,
        endpoint: &EndpointId,
        after: Option<(CallId, u64)>,
        limit: usize,
    ) -> Result<DeadPage, StoreError> {
        self.read(|tx| {
            let (call, seq) = after.unwrap_or((CallId::from_u128(0), 0));
            let from = key::dead(endpoint, call, seq.saturating_add(u64::from(after.is_some())));
            let to = key::dead(endpoint, CallId::from_u128(u128::MAX), u64::MAX);
            let mut page = DeadPage::default();
            for row in tx.open_table(DEAD)?.range(from.as_slice()..=to.as_slice())? {
                let (key, value) = row?;
                let (_, call, from) = key::read_dead(key.value()).ok_or(Undecodable { table: "dead letters" })?;
                page.letters.push((call, DeadRow::decode(from, value.value())?));
                if page.letters.len() >= limit {
                    page.next = Some((call, from));
                    break;
                }
            }
            Ok(page)
        })
    }

    /// Calls from `first` on, the oldest first, at most `limit`.
    pub fn calls(&self, first: CallId, limit: usize) -> Result<Vec<(CallId, CallRow)>, StoreError> {
        self.read(|tx| {
            let last = key::call(CallId::from_u128(u128::MAX));
            tx.open_table(CALLS)?
                .range::<&[u8; CALL]>(&key::call(first)..=&last)?
                .take(limit)
                .map(|row| {
                    let (key, value) = row?;
                    Ok((key::read_call(key.value()), CallRow::decode(value.value())?))
                })
                .collect()
        })
    }

    /// Bytes of a call's facts, their keys included.
    pub fn call_bytes(&self, call: CallId) -> Result<u64, StoreError> {
        self.read(|tx| {
            let (first, last) = (key::fact(call, 0), key::fact(call, u64::MAX));
            let facts = tx.open_table(FACTS)?;
            facts.range::<&[u8; FACT]>(&first..=&last)?.try_fold(0, |bytes, row| Ok(bytes + fact_size(row?.1.value())))
        })
    }

    /// When the last of a call's events became a dead letter of the endpoint.
    pub fn last_death(&self, endpoint: &EndpointId, call: CallId) -> Result<Option<Timestamp>, StoreError> {
        self.read(|tx| {
            let (first, last) = (key::dead(endpoint, call, 0), key::dead(endpoint, call, u64::MAX));
            let dead = tx.open_table(DEAD)?;
            let mut newest = None;
            for row in dead.range(first.as_slice()..=last.as_slice())? {
                newest = newest.max(Some(DeadRow::decode(0, row?.1.value())?.time));
            }
            Ok(newest)
        })
    }

    /// One dead letter: the one that covers number `seq`.
    pub fn dead_letter(&self, endpoint: &EndpointId, call: CallId, seq: u64) -> Result<Option<DeadRow>, StoreError> {
        self.read(|tx| {
            let (first, from) = (key::dead(endpoint, call, 0), key::dead(endpoint, call, seq));
            let table = tx.open_table(DEAD)?;
            let Some(row) = table.range(first.as_slice()..=from.as_slice())?.next_back() else { return Ok(None) };
            let (key, value) = row?;
            let (_, _, from) = key::read_dead(key.value()).ok_or(Undecodable { table: "dead letters" })?;
            Ok(Some(DeadRow::decode(from, value.value())?).filter(|letter| letter.to >= seq))
        })
    }

    /// Where the lane that only this call has to `endpoint` goes.
    pub fn target(&self, endpoint: &EndpointId, call: CallId) -> Result<Option<Bytes>, StoreError> {
        self.read(|tx| {
            let row = tx.open_table(TARGETS)?.get(key::lane(endpoint, call).as_slice())?;
            Ok(row.map(|row| Bytes::copy_from_slice(row.value())))
        })
    }

    /// The endpoints' rows, in the form that was given.
    pub fn endpoints(&self) -> Result<Vec<(EndpointId, Bytes)>, StoreError> {
        self.read(|tx| {
            tx.open_table(ENDPOINTS)?
                .iter()?
                .map(|row| {
                    let (key, value) = row?;
                    let endpoint = key.value().parse().map_err(|_| Undecodable { table: "endpoints" })?;
                    Ok((endpoint, Bytes::copy_from_slice(value.value())))
                })
                .collect()
        })
    }

    /// The replays that are not done, each with its endpoint and its row in the form that was given.
    pub fn replays(&self) -> Result<Vec<(EndpointId, u128, Bytes)>, StoreError> {
        self.read(|tx| {
            tx.open_table(REPLAYS)?
                .iter()?
                .map(|row| {
                    let (key, value) = row?;
                    let (endpoint, replay) = key::read_replay(key.value()).ok_or(Undecodable { table: "replays" })?;
                    Ok((endpoint, replay, Bytes::copy_from_slice(value.value())))
                })
                .collect()
        })
    }
}

/// The first call after `after`; `None`: there is none.
fn following(after: Option<CallId>) -> Option<CallId> {
    match after {
        None => Some(CallId::from_u128(0)),
        Some(call) => call.as_u128().checked_add(1).map(CallId::from_u128),
    }
}
