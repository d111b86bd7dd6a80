//! redb's file: reading it from any thread, and the one function that writes it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::Instant;

use redb::{Database, DatabaseError, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition};

use super::batch::{Backlog, Batch, fact_size};
use crate::base::{CallId, EndpointId};
use crate::ledger::key::{self, CALL, FACT};
use crate::ledger::{Append, CallRow, Change, Committed, DeadRow, LaneRow, LaneSave, Undecodable};

pub(super) const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
pub(super) const FACTS: TableDefinition<&[u8; FACT], &[u8]> = TableDefinition::new("facts");
pub(super) const CALLS: TableDefinition<&[u8; CALL], &[u8]> = TableDefinition::new("calls");
/// Serialized state of each open call; a call that ended has no row.
pub(super) const OPEN: TableDefinition<&[u8; CALL], &[u8]> = TableDefinition::new("open");
/// A row for each lane of a call that is open or not delivered to the end.
pub(super) const LANES: TableDefinition<&[u8], &[u8]> = TableDefinition::new("lanes");
pub(super) const DEAD: TableDefinition<&[u8], &[u8]> = TableDefinition::new("dead");
/// What delivery keeps of an endpoint.
pub(super) const ENDPOINTS: TableDefinition<&str, &[u8]> = TableDefinition::new("endpoints");
/// Where a lane goes that only its call has; it ends with the lane.
pub(super) const TARGETS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("targets");
/// Replays that are not done.
pub(super) const REPLAYS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("replays");

/// The row of the meta table with the bytes of all facts, keys included.
pub(super) const FACT_BYTES: &str = "fact bytes";

/// Raised when an older program could no longer read the file.
const FORMAT: u64 = 2;
/// Without the tables of endpoints, targets and replays and the count of bytes, which are made when such a file is opened.
const FIRST_FORMAT: u64 = 1;
/// Pages kept in memory. The newest facts are what deliveries read, and they fit; more buys nothing but faster replays.
const CACHE_BYTES: usize = 48 << 20;
/// Rows that one call of [`Store::lanes`] looks at before it answers with what it has.
pub(super) const SCAN_ROWS: usize = 4096;

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

    /// Facts that lie between each endpoint's cursors and the ends of their calls; those a filter leaves out count until they are passed.
    pub fn backlog(&self) -> BTreeMap<EndpointId, u64> {
        self.backlog.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Bytes that the file takes on the disk; 0 when the record is not a file. Its length says less: it grows in leaps that hold nothing yet.
    pub fn size(&self) -> u64 {
        use std::os::unix::fs::MetadataExt;
        self.path.as_ref().and_then(|path| path.metadata().ok()).map_or(0, |file| file.blocks() * 512)
    }

    /// Bytes of all facts, their keys included.
    pub fn fact_bytes(&self) -> Result<u64, StoreError> {
        self.read(|tx| Ok(tx.open_table(META)?.get(FACT_BYTES)?.map_or(0, |bytes| bytes.value())))
    }

    /// Writes turns, lane rows and changes in one transaction and one fsync. After an error nothing may be told, and [`Store::reopen`] comes first;
    /// whether the transaction holds is then unknown, so giving the same again is harmless. Blocks; only the writer calls it.
    ///
    /// # Panics
    /// When a call's facts do not go on from its last stored number: the stream would have a gap that nobody could fill.
    pub fn commit(&self, turns: &[&Append], saves: &[&LaneSave], changes: &[&Change]) -> Result<Committed, StoreError> {
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
            for change in changes {
                batch.change(change)?;
            }
            batch.finish()?;
        }
        tx.commit()?;
        backlog.apply(&mut self.backlog.lock().unwrap_or_else(PoisonError::into_inner));
        done.took = began.elapsed();
        Ok(done)
    }

    pub(super) fn read<R>(
        &self,
        what: impl FnOnce(&ReadTransaction) -> Result<R, StoreError>,
    ) -> Result<R, StoreError> {
        let place = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let database = place.as_ref().ok_or(StoreError::Away)?;
        what(&database.begin_read()?)
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
        Some(FIRST_FORMAT) | None => {}
        Some(found) => return Err(StoreError::TooNew { found }),
    }
    let tx = database.begin_write()?;
    Batch::begin(&tx, &mut Backlog::default())?.finish()?;
    let bytes = tx
        .open_table(FACTS)?
        .iter()?
        .try_fold(0, |bytes, row| -> Result<u64, redb::StorageError> { Ok(bytes + fact_size(row?.1.value())) })?;
    tx.open_table(META)?.insert("format", FORMAT)?;
    tx.open_table(META)?.insert(FACT_BYTES, bytes)?;
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

pub(super) fn last_seq(
    calls: &impl ReadableTable<&'static [u8; CALL], &'static [u8]>,
    call: CallId,
) -> Result<u64, StoreError> {
    let row = calls.get(&key::call(call))?.ok_or(Undecodable { table: "lanes" })?;
    Ok(CallRow::decode(row.value())?.last_seq)
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
    use bytes::Bytes;

    use super::super::disk::{Disk, Fault};
    use super::*;
    use crate::base::Timestamp;
    use crate::event::EventKind;
    use crate::ledger::{DeadRow, OwnLane, Record};

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
            row: Some(LaneRow { next, state: Bytes::new() }),
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
        store.commit(&[&facts(1, 1..=3, &[]), &facts(2, 1..=1, &[]), &facts(1, 4..=5, &[])], &[], &[]).unwrap();
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
        store.commit(&[&facts(1, 1..=2, &["a", "b"])], &[], &[]).unwrap();
        store.commit(&[&facts(1, 3..=3, &["a", "b", "c"])], &[], &[]).unwrap();
        assert_eq!(pending(&store, "a"), [(call(1), 1)]);
        assert_eq!(pending(&store, "b"), [(call(1), 1)]);
        assert_eq!(pending(&store, "c"), []);
        assert_eq!((backlog(&store, "a"), backlog(&store, "c")), (3, 0));
    }

    #[test]
    fn an_open_call_is_known_until_it_ends() {
        let (_disk, store) = store();
        store.commit(&[&facts(1, 1..=1, &[]), &facts(2, 1..=1, &[])], &[], &[]).unwrap();
        let found = store.open_calls().unwrap();
        assert_eq!(found.iter().map(|open| open.call).collect::<Vec<_>>(), [call(1), call(2)]);
        assert_eq!(found[0].snapshot, "state");
        store.commit(&[&end(1, 2)], &[], &[]).unwrap();
        assert_eq!(store.open_calls().unwrap().len(), 1);
        assert!(!store.call(call(1)).unwrap().unwrap().open);
    }

    #[test]
    fn a_lane_is_dropped_when_its_call_has_ended_and_all_is_delivered() {
        let (_disk, store) = store();
        store.commit(&[&facts(1, 1..=2, &["a", "b"])], &[&save(1, "a", 3)], &[]).unwrap();
        assert_eq!(store.lane(&endpoint("a"), call(1)).unwrap().unwrap().next, 3, "the call is open");
        assert_eq!(pending(&store, "a"), []);
        store.commit(&[&end(1, 3)], &[], &[]).unwrap();
        assert_eq!(pending(&store, "a"), [(call(1), 3)]);
        store.commit(&[], &[&save(1, "a", 4)], &[]).unwrap();
        assert_eq!(store.lane(&endpoint("a"), call(1)).unwrap(), None);
        assert_eq!(pending(&store, "b"), [(call(1), 1)], "another endpoint's lane stays");
        assert_eq!((backlog(&store, "a"), backlog(&store, "b")), (0, 3));
    }

    #[test]
    fn closing_without_a_fact_drops_lanes_that_have_nothing_to_do() {
        let (_disk, store) = store();
        store.commit(&[&facts(1, 1..=1, &["a", "b"])], &[&save(1, "a", 2)], &[]).unwrap();
        store.commit(&[&Append { closed: vec![call(1)], ..Append::default() }], &[], &[]).unwrap();
        assert_eq!(store.lane(&endpoint("a"), call(1)).unwrap(), None);
        assert_eq!(pending(&store, "b"), [(call(1), 1)]);
    }

    #[test]
    fn a_lane_whose_state_wants_something_is_pending_and_kept() {
        let (_disk, store) = store();
        let mut gap = save(1, "a", 2);
        gap.row.as_mut().unwrap().state = Bytes::from_static(b"gap");
        gap.dead = vec![DeadRow { from: 1, to: 1, time: Timestamp::from_millis(9), note: Bytes::from_static(b"500") }];
        store
            .commit(&[&facts(1, 1..=1, &["a"]), &Append { closed: vec![call(1)], ..Append::default() }], &[&gap], &[])
            .unwrap();
        assert_eq!(pending(&store, "a"), [(call(1), 2)]);
        let letters = store.dead(&endpoint("a"), None, 10).unwrap().letters;
        assert_eq!(letters, [(call(1), gap.dead[0].clone())]);
        store.commit(&[], &[&save(1, "a", 2)], &[]).unwrap();
        assert_eq!(store.lane(&endpoint("a"), call(1)).unwrap(), None);
    }

    #[test]
    fn a_calls_own_lane_and_where_it_goes_come_and_go_together() {
        let (_disk, store) = store();
        let own = OwnLane { call: call(1), endpoint: endpoint("own"), target: Bytes::from_static(b"there") };
        let first = Append { own: vec![own], ..facts(1, 1..=2, &["a"]) };
        store.commit(&[&first, &facts(2, 1..=1, &["a"])], &[], &[]).unwrap();
        assert_eq!(store.target(&endpoint("own"), call(1)).unwrap().unwrap(), "there");
        assert_eq!(pending(&store, "own"), [(call(1), 1)]);
        store.commit(&[&end(1, 3)], &[&save(1, "own", 4)], &[]).unwrap();
        assert_eq!(store.target(&endpoint("own"), call(1)).unwrap(), None);
        assert_eq!((pending(&store, "own"), backlog(&store, "own")), (vec![], 0));
    }

    #[test]
    fn a_lane_that_ends_early_takes_its_backlog_and_its_future_along() {
        let (_disk, store) = store();
        store.commit(&[&facts(1, 1..=3, &["a", "b"])], &[], &[]).unwrap();
        let ends = LaneSave { row: None, ..save(1, "a", 1) };
        store.commit(&[], &[&ends], &[]).unwrap();
        store.commit(&[&facts(1, 4..=5, &["a", "b"])], &[], &[]).unwrap();
        assert_eq!((pending(&store, "a"), backlog(&store, "a"), backlog(&store, "b")), (vec![], 0, 5));
        let dropped = Change::DropLane { endpoint: endpoint("b"), call: call(1) };
        store.commit(&[], &[], &[&dropped, &dropped]).unwrap();
        assert_eq!((pending(&store, "b"), backlog(&store, "b")), (vec![], 0));
    }

    #[test]
    fn a_call_is_forgotten_whole_and_only_when_nothing_waits_for_it() {
        let (_disk, store) = store();
        let mut gone = save(1, "a", 3);
        gone.dead = vec![DeadRow { from: 1, to: 2, time: Timestamp::default(), note: Bytes::new() }];
        store.commit(&[&facts(1, 1..=2, &["a"]), &facts(2, 1..=1, &[])], &[], &[]).unwrap();
        let bytes_of_2 =
            { store.facts(call(2), 0, 9).unwrap().iter().map(|fact| 24 + fact.encode().len() as u64).sum::<u64>() };
        let forget = Change::Forget { call: call(1) };
        store.commit(&[], &[], &[&forget, &Change::Forget { call: call(7) }]).unwrap();
        assert_eq!(store.facts(call(1), 0, 9).unwrap().len(), 2, "it is open");
        store.commit(&[&Append { closed: vec![call(1)], ..Append::default() }], &[], &[&forget]).unwrap();
        assert_eq!(store.facts(call(1), 0, 9).unwrap().len(), 2, "a lane waits");
        store.commit(&[], &[&gone], &[]).unwrap();
        assert_eq!(store.dead_letter(&endpoint("a"), call(1), 2).unwrap().unwrap().from, 1);
        store.commit(&[], &[], &[&forget, &forget]).unwrap();
        assert!(store.facts(call(1), 0, 9).unwrap().is_empty() && store.call(call(1)).unwrap().is_none());
        assert!(store.dead(&endpoint("a"), None, 9).unwrap().letters.is_empty());
        assert_eq!(store.fact_bytes().unwrap(), bytes_of_2);
        assert_eq!(store.calls(call(0), 9).unwrap().len(), 1);
    }

    #[test]
    fn endpoints_and_replays_are_kept_as_they_were_given() {
        let (_disk, store) = store();
        let row = Bytes::from_static(b"row");
        let put = Change::PutEndpoint { endpoint: endpoint("a"), row: row.clone() };
        let replay = Change::PutReplay { endpoint: endpoint("a"), replay: 7, row: row.clone() };
        store.commit(&[], &[], &[&put, &replay]).unwrap();
        assert_eq!(store.endpoints().unwrap(), [(endpoint("a"), row.clone())]);
        assert_eq!(store.replays().unwrap(), [(endpoint("a"), 7, row)]);
        let ended = Change::RemoveReplay { endpoint: endpoint("a"), replay: 7 };
        store.commit(&[], &[], &[&Change::RemoveEndpoint { endpoint: endpoint("a") }, &ended]).unwrap();
        assert!(store.endpoints().unwrap().is_empty() && store.replays().unwrap().is_empty());
    }

    #[test]
    fn a_dead_letter_that_was_delivered_after_all_is_none() {
        let (_disk, store) = store();
        let mut gone = save(1, "a", 4);
        gone.dead =
            (1..=3).map(|from| DeadRow { from, to: from, time: Timestamp::default(), note: Bytes::new() }).collect();
        store.commit(&[&facts(1, 1..=3, &["a"])], &[&gone], &[]).unwrap();
        let revive = Change::Revive { endpoint: endpoint("a"), call: call(1), from: 2, to: 3 };
        store.commit(&[], &[], &[&revive]).unwrap();
        let left = store.dead(&endpoint("a"), None, 9).unwrap().letters;
        assert_eq!(left.iter().map(|(_, letter)| letter.from).collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn a_file_of_the_first_format_is_taken_over() {
        let (disk, store) = store();
        store.commit(&[&facts(1, 1..=3, &["a"])], &[], &[]).unwrap();
        let bytes = store.fact_bytes().unwrap();
        drop(store);
        let database = disk.database().unwrap();
        let tx = database.begin_write().unwrap();
        tx.open_table(META).unwrap().insert("format", FIRST_FORMAT).unwrap();
        tx.open_table(META).unwrap().remove(FACT_BYTES).unwrap();
        tx.delete_table(ENDPOINTS).unwrap();
        tx.delete_table(TARGETS).unwrap();
        tx.delete_table(REPLAYS).unwrap();
        tx.commit().unwrap();
        drop(database);
        let store = Store::open_with(move || disk.database()).unwrap();
        assert!(bytes > 0 && store.fact_bytes().unwrap() == bytes);
        assert!(store.endpoints().unwrap().is_empty());
        assert_eq!(pending(&store, "a"), [(call(1), 1)]);
    }

    #[test]
    fn pages_of_lanes_go_on_where_they_ended() {
        let (_disk, store) = store();
        let turns: Vec<Append> = (1..=7).map(|n| facts(n, 1..=1, &["a", "a-b"])).collect();
        store.commit(&turns.iter().collect::<Vec<_>>(), &[], &[]).unwrap();
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
        let letter = |from| DeadRow { from, to: from, time: Timestamp::default(), note: Bytes::new() };
        gone.dead = (1..=3).map(letter).collect();
        store.commit(&[&facts(1, 1..=3, &["a"])], &[&gone], &[]).unwrap();
        let first = store.dead(&endpoint("a"), None, 2).unwrap();
        let second = store.dead(&endpoint("a"), first.next, 2).unwrap();
        let seqs = |page: &DeadPage| page.letters.iter().map(|(_, letter)| letter.from).collect::<Vec<_>>();
        assert_eq!((seqs(&first), seqs(&second), second.next), (vec![1, 2], vec![3], None));
    }

    #[test]
    fn the_same_turn_may_be_given_again() {
        let (_disk, store) = store();
        let turn = facts(1, 1..=2, &["a"]);
        store.commit(&[&turn], &[], &[]).unwrap();
        store.commit(&[&turn], &[], &[]).unwrap();
        assert_eq!(store.facts(call(1), 0, 9).unwrap().len(), 2);
        assert_eq!(backlog(&store, "a"), 2);
        assert_eq!(pending(&store, "a"), [(call(1), 1)]);
    }

    #[test]
    #[should_panic(expected = "numbered without gaps")]
    fn a_gap_is_never_stored() {
        let (_disk, store) = store();
        let _ = store.commit(&[&facts(1, 1..=1, &[]), &facts(1, 3..=3, &[])], &[], &[]);
    }

    #[test]
    fn a_full_disk_stores_nothing_and_reads_go_on_after_reopening() {
        let (disk, store) = store();
        store.commit(&[&facts(1, 1..=2, &["a"])], &[], &[]).unwrap();
        disk.set_fault(Fault::Full);
        assert!(store.commit(&[&facts(1, 3..=900, &["a"])], &[], &[]).is_err());
        disk.set_fault(Fault::None);
        store.reopen().unwrap();
        assert_eq!(store.facts(call(1), 0, 9999).unwrap().len(), 2);
        assert_eq!(backlog(&store, "a"), 2);
        store.commit(&[&facts(1, 3..=900, &["a"])], &[], &[]).unwrap();
        assert_eq!(store.facts(call(1), 0, 9999).unwrap().len(), 900);
    }

    #[test]
    fn a_file_is_found_again_with_its_lanes_and_backlog() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.redb");
        let store = Store::open(&path).unwrap();
        store.commit(&[&facts(1, 1..=3, &["a"])], &[&save(1, "a", 2)], &[]).unwrap();
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
