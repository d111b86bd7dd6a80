//! redb's file: reading it from any thread, and the one function that writes it.

use std::collections::BTreeMap;
use std::collections::hash_map::{Entry, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::Instant;

use bytes::Bytes;
use redb::{
    Database, DatabaseError, ReadTransaction, ReadableDatabase, ReadableTable, Table, TableDefinition,
    WriteTransaction,
};

use crate::base::{CallId, EndpointId};
use crate::ledger::key::{self, CALL, FACT};
use crate::ledger::{Append, CallRow, Committed, DeadRow, LaneRow, LaneSave, OpenCall, Record, Undecodable};

const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
const FACTS: TableDefinition<&[u8; FACT], &[u8]> = TableDefinition::new("facts");
const CALLS: TableDefinition<&[u8; CALL], &[u8]> = TableDefinition::new("calls");
/// Serialized state of each open call; a call that ended has no row.
const OPEN: TableDefinition<&[u8; CALL], &[u8]> = TableDefinition::new("open");
/// A row for each lane of a call that is open or not delivered to the end.
const LANES: TableDefinition<&[u8], &[u8]> = TableDefinition::new("lanes");
const DEAD: TableDefinition<&[u8], &[u8]> = TableDefinition::new("dead");

/// Raised when an older program could no longer read the file.
const FORMAT: u64 = 1;
/// Pages kept in memory. The newest facts are what deliveries read, and they fit; more buys nothing but faster replays.
const CACHE_BYTES: usize = 48 << 20;
/// Rows that one call of [`Store::lanes`] looks at before it answers with what it has.
const SCAN_ROWS: usize = 4096;

/// Why the record could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the record cannot be used: {0}")]
    Redb(#[from] Box<redb::Error>),
    #[error(transparent)]
    Undecodable(#[from] Undecodable),
    #[error("the record was written by a later version (format {found}, this program knows {FORMAT})")]
    TooNew { found: u64 },
    #[error("the record is being opened again after a failure")]
    Away,
}

macro_rules! from_redb {
    ($($error:ty),*) => {
        $(impl From<$error> for StoreError {
            fn from(error: $error) -> Self {
                Self::Redb(Box::new(error.into()))
            }
        })*
    };
}
from_redb!(redb::DatabaseError, redb::TransactionError, redb::TableError, redb::StorageError, redb::CommitError);

type Opener = Box<dyn Fn() -> Result<Database, DatabaseError> + Send + Sync>;

/// The durable record. Reads see what was committed when they began and never wait for a write.
///
/// Share it in an `Arc`: the writer thread commits, delivery and the API read.
pub struct Store {
    open: Opener,
    path: Option<PathBuf>,
    database: RwLock<Option<Database>>,
    backlog: Mutex<BTreeMap<EndpointId, u64>>,
}

/// Lanes with something to do, the oldest call first.
#[derive(Debug, Default)]
pub struct LanePage {
    pub lanes: Vec<(CallId, LaneRow)>,
    /// Where to go on; `None`: there are no more.
    pub next: Option<CallId>,
}

/// Dead letters of an endpoint, by call.
#[derive(Debug, Default)]
pub struct DeadPage {
    pub letters: Vec<(CallId, DeadRow)>,
    /// Where to go on; `None`: there are no more.
    pub next: Option<(CallId, u64)>,
}

impl Store {
    /// Opens the record at `path`, or begins it there; after a crash it is repaired first. Blocks.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let at = path.to_owned();
        let open = Box::new(move || {
            let database = Database::builder().set_cache_size(CACHE_BYTES).create(&at)?;
            sync_folder_of(&at)?;
            Ok(database)
        });
        Self::open_by(open, Some(path.to_owned()))
    }

    /// Opens the record that `open` yields; it is asked again after each failure of the disk.
    pub fn open_with(
        open: impl Fn() -> Result<Database, DatabaseError> + Send + Sync + 'static,
    ) -> Result<Self, StoreError> {
        Self::open_by(Box::new(open), None)
    }

    fn open_by(open: Opener, path: Option<PathBuf>) -> Result<Self, StoreError> {
        let store = Self { open, path, database: RwLock::new(None), backlog: Mutex::default() };
        store.reopen()?;
        Ok(store)
    }

    /// Closes the file and opens it again: redb refuses all work after an error of the disk. Blocks.
    pub fn reopen(&self) -> Result<(), StoreError> {
        let mut place = self.database.write().unwrap_or_else(PoisonError::into_inner);
        *place = None;
        if let Some(path) = &self.path {
            forget_cached_pages(path);
        }
        let database = (self.open)()?;
        prepare(&database)?;
        let backlog = count_backlog(&database)?;
        *self.backlog.lock().unwrap_or_else(PoisonError::into_inner) = backlog;
        *place = Some(database);
        Ok(())
    }

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

    /// Facts that lie between each endpoint's cursors and the ends of their calls; those a filter leaves out count until they are passed.
    pub fn backlog(&self) -> BTreeMap<EndpointId, u64> {
        self.backlog.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Bytes of the file; 0 when the record is not a file.
    pub fn size(&self) -> u64 {
        self.path.as_ref().and_then(|path| path.metadata().ok()).map_or(0, |file| file.len())
    }

    /// Writes turns and lane rows in one transaction and one fsync. After an error nothing may be told, and [`Store::reopen`] comes first;
    /// whether the transaction holds is then unknown, so giving the same again is harmless. Blocks; only the writer calls it.
    ///
    /// # Panics
    /// When a call's facts do not go on from its last stored number: the stream would have a gap that nobody could fill.
    pub fn commit(&self, turns: &[&Append], saves: &[&LaneSave]) -> Result<Committed, StoreError> {
        let began = Instant::now();
        let place = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let database = place.as_ref().ok_or(StoreError::Away)?;
        let tx = database.begin_write()?;
        let mut done = Committed { turns: turns.len(), facts: 0, lanes: saves.len(), took: Default::default() };
        let mut backlog = Backlog::default();
        {
            let mut batch = Batch::begin(&tx, &mut backlog)?;
            for append in turns {
                done.facts += append.records.len();
                batch.append(append)?;
            }
            for save in saves {
                batch.save(save)?;
            }
            batch.finish()?;
        }
        tx.commit()?;
        backlog.apply(&mut self.backlog.lock().unwrap_or_else(PoisonError::into_inner));
        done.took = began.elapsed();
        Ok(done)
    }

    fn read<R>(&self, what: impl FnOnce(&ReadTransaction) -> Result<R, StoreError>) -> Result<R, StoreError> {
        let place = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let database = place.as_ref().ok_or(StoreError::Away)?;
        what(&database.begin_read()?)
    }
}

/// One transaction's tables, and the calls it touches.
struct Batch<'tx, 'b> {
    facts: Table<'tx, &'static [u8; FACT], &'static [u8]>,
    calls: Table<'tx, &'static [u8; CALL], &'static [u8]>,
    open: Table<'tx, &'static [u8; CALL], &'static [u8]>,
    lanes: Table<'tx, &'static [u8], &'static [u8]>,
    dead: Table<'tx, &'static [u8], &'static [u8]>,
    touched: HashMap<CallId, Touched>,
    backlog: &'b mut Backlog,
}

struct Touched {
    row: CallRow,
    changed: bool,
}

impl<'tx, 'b> Batch<'tx, 'b> {
    fn begin(tx: &'tx WriteTransaction, backlog: &'b mut Backlog) -> Result<Self, StoreError> {
        Ok(Self {
            facts: tx.open_table(FACTS)?,
            calls: tx.open_table(CALLS)?,
            open: tx.open_table(OPEN)?,
            lanes: tx.open_table(LANES)?,
            dead: tx.open_table(DEAD)?,
            touched: HashMap::new(),
            backlog,
        })
    }

    fn append(&mut self, append: &Append) -> Result<(), StoreError> {
        for run in append.records.chunk_by(|a, b| a.call == b.call) {
            self.append_run(run, &append.lanes)?;
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
    fn append_run(&mut self, run: &[Record], lanes: &[EndpointId]) -> Result<(), StoreError> {
        let call = run[0].call;
        let mut row = self.touch(call)?.row.clone();
        if row.last_seq == 0 {
            self.open_lanes(call, lanes)?;
            row.first = run[0].time;
            row.lanes = lanes.to_vec();
        }
        let before = row.last_seq;
        for record in run {
            if record.seq <= row.last_seq {
                self.expect_stored(record)?;
                continue;
            }
            assert_eq!(record.seq, row.last_seq + 1, "the facts of {call} are numbered without gaps");
            self.facts.insert(&key::fact(call, record.seq), record.encode().as_slice())?;
            row.last_seq = record.seq;
            row.last = record.time;
        }
        for endpoint in &row.lanes {
            self.backlog.add(endpoint, row.last_seq - before);
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
                self.lanes.remove(key.as_slice())?;
            }
        }
        Ok(())
    }

    fn save(&mut self, save: &LaneSave) -> Result<(), StoreError> {
        let key = key::lane(&save.endpoint, save.call);
        let old = self.lanes.get(key.as_slice())?.map(|row| LaneRow::decode(row.value())).transpose()?;
        // Without a row the lane was dropped while its delivery was under way.
        let Some(old) = old else { return Ok(()) };
        let call = self.touch(save.call)?.row.clone();
        let (before, after) = (old.pending(call.last_seq), save.row.pending(call.last_seq));
        self.backlog.add(&save.endpoint, after);
        self.backlog.remove(&save.endpoint, before);
        for dead in &save.dead {
            self.dead.insert(key::dead(&save.endpoint, save.call, dead.from).as_slice(), dead.encode().as_slice())?;
        }
        if finished(&save.row, &call) {
            self.lanes.remove(key.as_slice())?;
        } else {
            self.lanes.insert(key.as_slice(), save.row.encode().as_slice())?;
        }
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

    fn finish(mut self) -> Result<(), StoreError> {
        for (call, touched) in self.touched.drain().filter(|(_, touched)| touched.changed) {
            self.calls.insert(&key::call(call), touched.row.encode().as_slice())?;
        }
        Ok(())
    }
}

/// Nothing will come on this lane any more.
fn finished(lane: &LaneRow, call: &CallRow) -> bool {
    !call.open && lane.pending(call.last_seq) == 0 && lane.state.is_empty()
}

/// What a transaction does to the backlog, applied when it holds.
#[derive(Default)]
struct Backlog {
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

    fn apply(self, backlog: &mut BTreeMap<EndpointId, u64>) {
        for (endpoint, facts) in self.added {
            *backlog.entry(endpoint).or_default() += facts;
        }
        for (endpoint, facts) in self.removed {
            let left = backlog.entry(endpoint).or_default();
            *left = left.saturating_sub(facts);
        }
    }
}

/// Makes what is missing, so that readers find every table.
fn prepare(database: &Database) -> Result<(), StoreError> {
    let known = |tx: &ReadTransaction| -> Result<Option<u64>, StoreError> {
        match tx.open_table(META) {
            Ok(meta) => Ok(meta.get("format")?.map(|format| format.value())),
            Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    };
    match known(&database.begin_read()?)? {
        Some(FORMAT) => return Ok(()),
        Some(found) => return Err(StoreError::TooNew { found }),
        None => {}
    }
    let tx = database.begin_write()?;
    tx.open_table(META)?.insert("format", FORMAT)?;
    Batch::begin(&tx, &mut Backlog::default())?.finish()?;
    Ok(tx.commit()?)
}

fn count_backlog(database: &Database) -> Result<BTreeMap<EndpointId, u64>, StoreError> {
    let tx = database.begin_read()?;
    let calls = tx.open_table(CALLS)?;
    let mut backlog = BTreeMap::new();
    for row in tx.open_table(LANES)?.iter()? {
        let (key, value) = row?;
        let (endpoint, call) = key::read_lane(key.value()).ok_or(Undecodable { table: "lanes" })?;
        let pending = LaneRow::decode(value.value())?.pending(last_seq(&calls, call)?);
        *backlog.entry(endpoint).or_default() += pending;
    }
    Ok(backlog)
}

fn last_seq(calls: &impl ReadableTable<&'static [u8; CALL], &'static [u8]>, call: CallId) -> Result<u64, StoreError> {
    let row = calls.get(&key::call(call))?.ok_or(Undecodable { table: "lanes" })?;
    Ok(CallRow::decode(row.value())?.last_seq)
}

/// The first call after `after`; `None`: there is none.
fn following(after: Option<CallId>) -> Option<CallId> {
    match after {
        None => Some(CallId::from_u128(0)),
        Some(call) => call.as_u128().checked_add(1).map(CallId::from_u128),
    }
}

/// A new file's name is durable only when its folder is.
fn sync_folder_of(path: &Path) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::File::open(folder)?.sync_all()
}

/// After a failed fsync Linux shows written pages as if they were on the disk. Dropping them makes the next open read what really is.
#[cfg(target_os = "linux")]
fn forget_cached_pages(path: &Path) {
    use std::os::fd::AsRawFd;
    if let Ok(file) = std::fs::File::open(path) {
        // SAFETY: the descriptor is open for the whole call, which touches no memory of ours.
        unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
    }
}

#[cfg(not(target_os = "linux"))]
fn forget_cached_pages(_path: &Path) {}

#[cfg(test)]
mod tests {
    use super::super::disk::{Disk, Fault};
    use super::*;
    use crate::base::Timestamp;
    use crate::event::EventKind;

    fn call(n: u128) -> CallId {
        CallId::from_u128(n)
    }

    fn endpoint(name: &str) -> EndpointId {
        name.parse().unwrap()
    }

    fn record(of: u128, seq: u64) -> Record {
        Record {
            call: call(of),
            seq,
            kind: EventKind::UserJoin,
            time: Timestamp::from_millis(seq),
            body: format!("{{\"call\":{of},\"seq\":{seq}}}").into(),
        }
    }

    fn facts(of: u128, seqs: std::ops::RangeInclusive<u64>, lanes: &[&str]) -> Append {
        Append {
            records: seqs.map(|seq| record(of, seq)).collect(),
            open: vec![(call(of), Bytes::from_static(b"state"))],
            lanes: lanes.iter().map(|name| endpoint(name)).collect(),
            ..Append::default()
        }
    }

    fn end(of: u128, seq: u64) -> Append {
        Append { records: vec![record(of, seq)], closed: vec![call(of)], ..Append::default() }
    }

    fn save(of: u128, name: &str, next: u64) -> LaneSave {
        LaneSave {
            endpoint: endpoint(name),
            call: call(of),
            row: LaneRow { next, state: Bytes::new() },
            dead: Vec::new(),
        }
    }

    fn store() -> (Disk, Store) {
        let disk = Disk::default();
        let same = disk.clone();
        (disk, Store::open_with(move || same.database()).unwrap())
    }

    fn pending(store: &Store, name: &str) -> Vec<(CallId, u64)> {
        let page = store.lanes(&endpoint(name), None, 100).unwrap();
        page.lanes.into_iter().map(|(call, row)| (call, row.next)).collect()
    }

    fn backlog(store: &Store, name: &str) -> u64 {
        store.backlog().get(&endpoint(name)).copied().unwrap_or_default()
    }

    #[test]
    fn a_calls_facts_are_read_in_order_from_any_number() {
        let (_disk, store) = store();
        store.commit(&[&facts(1, 1..=3, &[]), &facts(2, 1..=1, &[]), &facts(1, 4..=5, &[])], &[]).unwrap();
        let seqs = |after, limit| -> Vec<u64> {
            store.facts(call(1), after, limit).unwrap().iter().map(|record| record.seq).collect()
        };
        assert_eq!(seqs(0, 9), [1, 2, 3, 4, 5]);
        assert_eq!(seqs(3, 9), [4, 5]);
        assert_eq!(seqs(1, 2), [2, 3]);
        assert!(seqs(5, 9).is_empty() && seqs(u64::MAX, 9).is_empty());
        assert_eq!(store.facts(call(1), 1, 1).unwrap(), [record(1, 2)]);
        assert!(store.facts(call(9), 0, 9).unwrap().is_empty());
    }

    #[test]
    fn lanes_are_opened_with_the_first_fact_and_only_then() {
        let (_disk, store) = store();
        store.commit(&[&facts(1, 1..=2, &["a", "b"])], &[]).unwrap();
        store.commit(&[&facts(1, 3..=3, &["a", "b", "c"])], &[]).unwrap();
        assert_eq!(pending(&store, "a"), [(call(1), 1)]);
        assert_eq!(pending(&store, "b"), [(call(1), 1)]);
        assert_eq!(pending(&store, "c"), []);
        assert_eq!((backlog(&store, "a"), backlog(&store, "c")), (3, 0));
    }

    #[test]
    fn an_open_call_is_known_until_it_ends() {
        let (_disk, store) = store();
        store.commit(&[&facts(1, 1..=1, &[]), &facts(2, 1..=1, &[])], &[]).unwrap();
        let found = store.open_calls().unwrap();
        assert_eq!(found.iter().map(|open| open.call).collect::<Vec<_>>(), [call(1), call(2)]);
        assert_eq!(found[0].snapshot, "state");
        store.commit(&[&end(1, 2)], &[]).unwrap();
        assert_eq!(store.open_calls().unwrap().len(), 1);
        assert!(!store.call(call(1)).unwrap().unwrap().open);
    }

    #[test]
    fn a_lane_is_dropped_when_its_call_has_ended_and_all_is_delivered() {
        let (_disk, store) = store();
        store.commit(&[&facts(1, 1..=2, &["a", "b"])], &[&save(1, "a", 3)]).unwrap();
        assert_eq!(store.lane(&endpoint("a"), call(1)).unwrap().unwrap().next, 3, "the call is open");
        assert_eq!(pending(&store, "a"), []);
        store.commit(&[&end(1, 3)], &[]).unwrap();
        assert_eq!(pending(&store, "a"), [(call(1), 3)]);
        store.commit(&[], &[&save(1, "a", 4)]).unwrap();
        assert_eq!(store.lane(&endpoint("a"), call(1)).unwrap(), None);
        assert_eq!(pending(&store, "b"), [(call(1), 1)], "another endpoint's lane stays");
        assert_eq!((backlog(&store, "a"), backlog(&store, "b")), (0, 3));
    }

    #[test]
    fn closing_without_a_fact_drops_lanes_that_have_nothing_to_do() {
        let (_disk, store) = store();
        store.commit(&[&facts(1, 1..=1, &["a", "b"])], &[&save(1, "a", 2)]).unwrap();
        store.commit(&[&Append { closed: vec![call(1)], ..Append::default() }], &[]).unwrap();
        assert_eq!(store.lane(&endpoint("a"), call(1)).unwrap(), None);
        assert_eq!(pending(&store, "b"), [(call(1), 1)]);
    }

    #[test]
    fn a_lane_whose_state_wants_something_is_pending_and_kept() {
        let (_disk, store) = store();
        let mut gap = save(1, "a", 2);
        gap.row.state = Bytes::from_static(b"gap");
        gap.dead =
            vec![DeadRow { from: 1, to: 1, time: Timestamp::from_millis(9), why: "500".into() }];
        store.commit(&[&facts(1, 1..=1, &["a"]), &Append { closed: vec![call(1)], ..Append::default() }], &[&gap]).unwrap();
        assert_eq!(pending(&store, "a"), [(call(1), 2)]);
        let letters = store.dead(&endpoint("a"), None, 10).unwrap().letters;
        assert_eq!(letters, [(call(1), gap.dead[0].clone())]);
        store.commit(&[], &[&save(1, "a", 2)]).unwrap();
        assert_eq!(store.lane(&endpoint("a"), call(1)).unwrap(), None);
    }

    #[test]
    fn pages_of_lanes_go_on_where_they_ended() {
        let (_disk, store) = store();
        let turns: Vec<Append> = (1..=7).map(|n| facts(n, 1..=1, &["a", "a-b"])).collect();
        store.commit(&turns.iter().collect::<Vec<_>>(), &[]).unwrap();
        let mut found = Vec::new();
        let mut after = None;
        loop {
            let page = store.lanes(&endpoint("a"), after, 3).unwrap();
            assert!(page.lanes.len() <= 3);
            found.extend(page.lanes.into_iter().map(|(call, _)| call));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(found, (1..=7).map(call).collect::<Vec<_>>());
    }

    #[test]
    fn pages_of_dead_letters_go_on_where_they_ended() {
        let (_disk, store) = store();
        let mut gone = save(1, "a", 4);
        let letter = |from| DeadRow { from, to: from, time: Timestamp::default(), why: String::new() };
        gone.dead = (1..=3).map(letter).collect();
        store.commit(&[&facts(1, 1..=3, &["a"])], &[&gone]).unwrap();
        let first = store.dead(&endpoint("a"), None, 2).unwrap();
        let second = store.dead(&endpoint("a"), first.next, 2).unwrap();
        let seqs = |page: &DeadPage| page.letters.iter().map(|(_, letter)| letter.from).collect::<Vec<_>>();
        assert_eq!((seqs(&first), seqs(&second), second.next), (vec![1, 2], vec![3], None));
    }

    #[test]
    fn the_same_turn_may_be_given_again() {
        let (_disk, store) = store();
        let turn = facts(1, 1..=2, &["a"]);
        store.commit(&[&turn], &[]).unwrap();
        store.commit(&[&turn], &[]).unwrap();
        assert_eq!(store.facts(call(1), 0, 9).unwrap().len(), 2);
        assert_eq!(backlog(&store, "a"), 2);
        assert_eq!(pending(&store, "a"), [(call(1), 1)]);
    }

    #[test]
    #[should_panic(expected = "numbered without gaps")]
    fn a_gap_is_never_stored() {
        let (_disk, store) = store();
        let _ = store.commit(&[&facts(1, 1..=1, &[]), &facts(1, 3..=3, &[])], &[]);
    }

    #[test]
    fn a_full_disk_stores_nothing_and_reads_go_on_after_reopening() {
        let (disk, store) = store();
        store.commit(&[&facts(1, 1..=2, &["a"])], &[]).unwrap();
        disk.set_fault(Fault::Full);
        assert!(store.commit(&[&facts(1, 3..=900, &["a"])], &[]).is_err());
        disk.set_fault(Fault::None);
        store.reopen().unwrap();
        assert_eq!(store.facts(call(1), 0, 9999).unwrap().len(), 2);
        assert_eq!(backlog(&store, "a"), 2);
        store.commit(&[&facts(1, 3..=900, &["a"])], &[]).unwrap();
        assert_eq!(store.facts(call(1), 0, 9999).unwrap().len(), 900);
    }

    #[test]
    fn a_file_is_found_again_with_its_lanes_and_backlog() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.redb");
        let store = Store::open(&path).unwrap();
        store.commit(&[&facts(1, 1..=3, &["a"])], &[&save(1, "a", 2)]).unwrap();
        assert!(Store::open(&path).is_err(), "one process at a time");
        assert!(store.size() > 0);
        drop(store);
        let store = Store::open(&path).unwrap();
        assert_eq!(pending(&store, "a"), [(call(1), 2)]);
        assert_eq!(backlog(&store, "a"), 2);
        assert_eq!(store.call(call(1)).unwrap().unwrap().lanes, [endpoint("a")]);
    }

    #[test]
    fn a_file_of_a_later_version_is_refused() {
        let (disk, store) = store();
        drop(store);
        let database = disk.database().unwrap();
        let tx = database.begin_write().unwrap();
        tx.open_table(META).unwrap().insert("format", FORMAT + 1).unwrap();
        tx.commit().unwrap();
        drop(database);
        assert!(matches!(Store::open_with(move || disk.database()), Err(StoreError::TooNew { .. })));
    }
}
