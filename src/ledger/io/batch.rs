//! One transaction on the record: turns, lane rows and changes on its tables, and what they do to the counts kept in memory.

use std::collections::BTreeMap;
use std::collections::hash_map::{Entry, HashMap};

use redb::{ReadableTable, Table, WriteTransaction};

use super::store::{CALLS, DEAD, ENDPOINTS, FACT_BYTES, FACTS, LANES, META, OPEN, REPLAYS, StoreError, TARGETS};
use crate::base::{CallId, EndpointId};
use crate::ledger::key::{self, CALL, FACT};
use crate::ledger::{Append, CallRow, Change, LaneRow, LaneSave, OwnLane, Record};

/// One transaction's tables, and the calls it touches.
pub(super) struct Batch<'tx, 'b> {
    facts: Table<'tx, &'static [u8; FACT], &'static [u8]>,
    calls: Table<'tx, &'static [u8; CALL], &'static [u8]>,
    open: Table<'tx, &'static [u8; CALL], &'static [u8]>,
    lanes: Table<'tx, &'static [u8], &'static [u8]>,
    dead: Table<'tx, &'static [u8], &'static [u8]>,
    endpoints: Table<'tx, &'static str, &'static [u8]>,
    targets: Table<'tx, &'static [u8], &'static [u8]>,
    replays: Table<'tx, &'static [u8], &'static [u8]>,
    meta: Table<'tx, &'static str, u64>,
    /// Bytes of facts that came and went.
    grown: u64,
    shrunk: u64,
    touched: HashMap<CallId, Touched>,
    backlog: &'b mut Backlog,
}

struct Touched {
    row: CallRow,
    changed: bool,
}

impl<'tx, 'b> Batch<'tx, 'b> {
    pub fn begin(tx: &'tx WriteTransaction, backlog: &'b mut Backlog) -> Result<Self, StoreError> {
        Ok(Self {
            facts: tx.open_table(FACTS)?,
            calls: tx.open_table(CALLS)?,
            open: tx.open_table(OPEN)?,
            lanes: tx.open_table(LANES)?,
            dead: tx.open_table(DEAD)?,
            endpoints: tx.open_table(ENDPOINTS)?,
            targets: tx.open_table(TARGETS)?,
            replays: tx.open_table(REPLAYS)?,
            meta: tx.open_table(META)?,
            grown: 0,
            shrunk: 0,
            touched: HashMap::new(),
            backlog,
        })
    }

    pub fn append(&mut self, append: &Append) -> Result<(), StoreError> {
        for run in append.records.chunk_by(|a, b| a.call == b.call) {
            self.append_run(run, append)?;
        }
        for (call, snapshot) in &append.open {
            self.open.insert(&key::call(*call), &snapshot[..])?;
            self.touch(*call)?;
        }
        for call in &append.closed {
            self.close(*call)?;
        }
        Ok(())
    }

    /// Facts of one call, in order.
    fn append_run(&mut self, run: &[Record], append: &Append) -> Result<(), StoreError> {
        let call = run[0].call;
        let mut row = self.touch(call)?.row.clone();
        if row.last_seq == 0 {
            row.first = run[0].time;
            row.lanes = append.lanes.to_vec();
            self.open_lanes(call, &append.lanes)?;
            for own in append.own.iter().filter(|own| own.call == call) {
                self.open_own(own)?;
                row.lanes.push(own.endpoint.clone());
            }
        }
        let before = row.last_seq;
        for record in run {
            if record.seq <= row.last_seq {
                self.expect_stored(record)?;
                continue;
            }
            assert_eq!(record.seq, row.last_seq + 1, "the facts of {call} are numbered without gaps");
            let value = record.encode();
            self.grown += fact_size(&value);
            self.facts.insert(&key::fact(call, record.seq), value.as_slice())?;
            row.last_seq = record.seq;
            row.last = record.time;
        }
        for endpoint in &row.lanes {
            // A lane may have ended before its call.
            if self.lanes.get(key::lane(endpoint, call).as_slice())?.is_some() {
                self.backlog.add(endpoint, row.last_seq - before);
            }
        }
        *self.touch(call)? = Touched { row, changed: true };
        Ok(())
    }

    /// A fact is given again when it is not known whether its first commit holds; it is the same then.
    fn expect_stored(&self, record: &Record) -> Result<(), StoreError> {
        let stored = self.facts.get(&key::fact(record.call, record.seq))?;
        let same = stored.is_some_and(|stored| stored.value() == record.encode());
        assert!(same, "fact {} of {} was stored before and is another one", record.seq, record.call);
        Ok(())
    }

    fn open_lanes(&mut self, call: CallId, lanes: &[EndpointId]) -> Result<(), StoreError> {
        let fresh = LaneRow { next: 1, ..LaneRow::default() }.encode();
        for endpoint in lanes {
            self.lanes.insert(key::lane(endpoint, call).as_slice(), fresh.as_slice())?;
        }
        Ok(())
    }

    /// A lane that only this call gets, to where its own row says.
    fn open_own(&mut self, own: &OwnLane) -> Result<(), StoreError> {
        self.open_lanes(own.call, std::slice::from_ref(&own.endpoint))?;
        self.targets.insert(key::lane(&own.endpoint, own.call).as_slice(), &own.target[..])?;
        Ok(())
    }

    fn close(&mut self, call: CallId) -> Result<(), StoreError> {
        self.open.remove(&key::call(call))?;
        let touched = self.touch(call)?;
        touched.row.open = false;
        touched.changed = true;
        let row = touched.row.clone();
        for endpoint in &row.lanes {
            let key = key::lane(endpoint, call);
            let lane = self.lanes.get(key.as_slice())?.map(|lane| LaneRow::decode(lane.value())).transpose()?;
            if lane.is_some_and(|lane| finished(&lane, &row)) {
                self.remove_lane(&key)?;
            }
        }
        Ok(())
    }

    /// The lane is done, and with it where it went.
    fn remove_lane(&mut self, key: &[u8]) -> Result<(), StoreError> {
        self.lanes.remove(key)?;
        self.targets.remove(key)?;
        Ok(())
    }

    pub fn save(&mut self, save: &LaneSave) -> Result<(), StoreError> {
        let key = key::lane(&save.endpoint, save.call);
        let old = self.lanes.get(key.as_slice())?.map(|row| LaneRow::decode(row.value())).transpose()?;
        // Without a row the lane was dropped while its delivery was under way.
        let Some(old) = old else { return Ok(()) };
        let call = self.touch(save.call)?.row.clone();
        for dead in &save.dead {
            self.dead.insert(key::dead(&save.endpoint, save.call, dead.from).as_slice(), dead.encode().as_slice())?;
        }
        let Some(row) = &save.row else { return self.drop_lane(&save.endpoint, save.call) };
        self.backlog.add(&save.endpoint, row.pending(call.last_seq));
        self.backlog.remove(&save.endpoint, old.pending(call.last_seq));
        if finished(row, &call) {
            self.remove_lane(&key)?;
        } else {
            self.lanes.insert(key.as_slice(), row.encode().as_slice())?;
        }
        Ok(())
    }

    pub fn change(&mut self, change: &Change) -> Result<(), StoreError> {
        match change {
            Change::PutEndpoint { endpoint, row } => drop(self.endpoints.insert(endpoint.as_str(), &row[..])?),
            Change::RemoveEndpoint { endpoint } => drop(self.endpoints.remove(endpoint.as_str())?),
            Change::PutReplay { endpoint, replay, row } => {
                self.replays.insert(key::replay(endpoint, *replay).as_slice(), &row[..])?;
            }
            Change::RemoveReplay { endpoint, replay } => {
                self.replays.remove(key::replay(endpoint, *replay).as_slice())?;
            }
            Change::Revive { endpoint, call, from, to } => {
                let (from, to) = (key::dead(endpoint, *call, *from), key::dead(endpoint, *call, *to));
                self.dead.retain_in::<&[u8], _>(from.as_slice()..=to.as_slice(), |_, _| false)?;
            }
            Change::DropLane { endpoint, call } => self.drop_lane(endpoint, *call)?,
            Change::Forget { call } => self.forget(*call)?,
            Change::Empty { call } => self.empty(*call)?,
        }
        Ok(())
    }

    /// The lane ends before its call does: nothing more of the call goes there.
    fn drop_lane(&mut self, endpoint: &EndpointId, call: CallId) -> Result<(), StoreError> {
        let key = key::lane(endpoint, call);
        let old = self.lanes.get(key.as_slice())?.map(|row| LaneRow::decode(row.value())).transpose()?;
        let Some(old) = old else { return Ok(()) };
        self.remove_lane(&key)?;
        let pending = old.pending(self.touch(call)?.row.last_seq);
        self.backlog.remove(endpoint, pending);
        Ok(())
    }

    /// All of a call that has ended and that no lane has anything to tell of.
    fn forget(&mut self, call: CallId) -> Result<(), StoreError> {
        let Some(row) = self.ended(call)? else { return Ok(()) };
        if self.lanes_of(&row, call)?.next().is_some() {
            return Ok(());
        }
        self.remove_facts(call)?;
        for endpoint in &row.lanes {
            let (first, last) = (key::dead(endpoint, call, 0), key::dead(endpoint, call, u64::MAX));
            self.dead.retain_in::<&[u8], _>(first.as_slice()..=last.as_slice(), |_, _| false)?;
        }
        self.calls.remove(&key::call(call))?;
        self.touched.remove(&call);
        Ok(())
    }

    /// The facts of a call that has ended, when no lane waits for one.
    fn empty(&mut self, call: CallId) -> Result<(), StoreError> {
        let Some(row) = self.ended(call)? else { return Ok(()) };
        if self.lanes_of(&row, call)?.any(|lane| lane.pending(row.last_seq) > 0) {
            return Ok(());
        }
        self.remove_facts(call)
    }

    fn ended(&mut self, call: CallId) -> Result<Option<CallRow>, StoreError> {
        if !self.touched.contains_key(&call) && self.calls.get(&key::call(call))?.is_none() {
            return Ok(None);
        }
        let row = &self.touch(call)?.row;
        Ok((!row.open).then(|| row.clone()))
    }

    fn lanes_of(&self, row: &CallRow, call: CallId) -> Result<std::vec::IntoIter<LaneRow>, StoreError> {
        let mut found = Vec::new();
        for endpoint in &row.lanes {
            if let Some(lane) = self.lanes.get(key::lane(endpoint, call).as_slice())? {
                found.push(LaneRow::decode(lane.value())?);
            }
        }
        Ok(found.into_iter())
    }

    fn remove_facts(&mut self, call: CallId) -> Result<(), StoreError> {
        let mut freed = 0;
        let (first, last) = (key::fact(call, 0), key::fact(call, u64::MAX));
        self.facts.retain_in::<&[u8; FACT], _>(&first..=&last, |_, value| {
            freed += fact_size(value);
            false
        })?;
        self.shrunk += freed;
        Ok(())
    }

    fn touch(&mut self, call: CallId) -> Result<&mut Touched, StoreError> {
        match self.touched.entry(call) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(place) => {
                let row = self.calls.get(&key::call(call))?.map(|row| CallRow::decode(row.value())).transpose()?;
                let fresh = || CallRow {
                    last_seq: 0,
                    open: true,
                    first: Default::default(),
                    last: Default::default(),
                    lanes: Vec::new(),
                };
                let changed = row.is_none();
                Ok(place.insert(Touched { row: row.unwrap_or_else(fresh), changed }))
            }
        }
    }

    pub fn finish(mut self) -> Result<(), StoreError> {
        for (call, touched) in self.touched.drain().filter(|(_, touched)| touched.changed) {
            self.calls.insert(&key::call(call), touched.row.encode().as_slice())?;
        }
        if self.grown != self.shrunk {
            let before = self.meta.get(FACT_BYTES)?.map_or(0, |bytes| bytes.value());
            self.meta.insert(FACT_BYTES, (before + self.grown).saturating_sub(self.shrunk))?;
        }
        Ok(())
    }
}

/// What a fact counts for in the size of the record, in bytes.
pub(super) fn fact_size(value: &[u8]) -> u64 {
    (FACT + value.len()) as u64
}

/// Nothing will come on this lane any more.
fn finished(lane: &LaneRow, call: &CallRow) -> bool {
    !call.open && lane.pending(call.last_seq) == 0 && lane.state.is_empty()
}

/// What a transaction does to the backlog, applied when it holds.
#[derive(Default)]
pub(super) struct Backlog {
    added: BTreeMap<EndpointId, u64>,
    removed: BTreeMap<EndpointId, u64>,
}

impl Backlog {
    fn add(&mut self, endpoint: &EndpointId, facts: u64) {
        *self.added.entry(endpoint.clone()).or_default() += facts;
    }

    fn remove(&mut self, endpoint: &EndpointId, facts: u64) {
        *self.removed.entry(endpoint.clone()).or_default() += facts;
    }

    pub fn apply(self, backlog: &mut BTreeMap<EndpointId, u64>) {
        for (endpoint, facts) in self.added {
            *backlog.entry(endpoint).or_default() += facts;
        }
        for (endpoint, facts) in self.removed {
            let left = backlog.entry(endpoint).or_default();
            *left = left.saturating_sub(facts);
        }
    }
}
