//! The one thread that writes the record: it commits everything that waits with one fsync, then tells.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;

use super::store::{Store, StoreError};
use crate::ledger::{Append, Change, Committed, LaneSave, Turn};

/// Turns that wait for the disk; when it is full `submit` waits, so memory stays bounded while the disk fails.
pub const TURN_QUEUE: usize = 4096;
/// Turns in one transaction: a failed one is kept and given again, so this bounds what is kept beside the queue.
const MAX_BATCH: usize = 1024;
/// Lane rows wait so long for a turn with facts to share its fsync. Longer: more is delivered twice after a crash; shorter: more fsyncs.
const LANE_DELAY: Duration = Duration::from_millis(50);
/// Between attempts while the disk fails: the first pause, doubled up to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_secs(2);
/// How long one who asks for a change waits for the disk. The doors' clients have patience for about this long.
const CHANGE_WITHIN: Duration = Duration::from_secs(5);

/// What the writer reports beside what it tells.
#[derive(Debug)]
pub enum WriterNews {
    /// One transaction holds.
    Committed(Committed),
    /// The record cannot be written. Told at each failed attempt; turns are kept and nothing is told meanwhile.
    Failing(StoreError),
    /// The record can be written again.
    Recovered,
}

/// Whether the record can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    Writable,
    /// Take no new calls: what they do could not be stored.
    Failing,
}

/// The writer is gone; the node is stopping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the record is closed")]
pub struct Closed;

/// Where the writer's results go. Both are called on its thread and hold up the next commit, so they hand over and return.
pub trait Told<T>: Send + 'static {
    /// `turn` is on the disk, as are all turns submitted before it; called once for each turn, in the order of submission.
    fn told(&mut self, turn: Turn<T>);
    /// For metrics, logs and readiness.
    fn news(&mut self, news: WriterNews);
}

/// Owns the thread. Stop it with [`Writer::close`].
pub struct Writer<T> {
    handle: WriterHandle<T>,
    thread: JoinHandle<Unstored>,
}

/// Turns that could not be stored before the writer had to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unstored(pub usize);

/// Hands turns and lane rows to the writer. Cheap to clone.
pub struct WriterHandle<T> {
    queue: mpsc::Sender<Message<T>>,
    shared: Arc<Shared>,
}

impl<T> Clone for WriterHandle<T> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone(), shared: self.shared.clone() }
    }
}

enum Message<T> {
    Turn(Turn<T>),
    Flush(oneshot::Sender<()>),
}

#[derive(Default)]
struct Shared {
    saves: Mutex<Vec<Saves>>,
    changes: Mutex<Vec<Changes>>,
    wake: Notify,
    failing: AtomicBool,
    closing: Mutex<Option<Instant>>,
}

/// Changes that hold together, and who waits for them.
struct Changes {
    list: Vec<Change>,
    done: Box<dyn FnOnce() + Send>,
}

struct Saves {
    rows: Vec<LaneSave>,
    saved: Box<dyn FnOnce() + Send>,
}

impl<T: Send + 'static> Writer<T> {
    /// Starts the thread that writes `store`.
    pub fn start(store: Arc<Store>, told: impl Told<T>) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let (queue, turns) = mpsc::channel(TURN_QUEUE);
        let shared = Arc::new(Shared::default());
        let scribe = Scribe {
            store,
            told,
            turns,
            shared: shared.clone(),
            saves: Vec::new(),
            changes: Vec::new(),
            flush_at: None,
        };
        let thread = std::thread::Builder::new()
            .name("ledger".into())
            .spawn(move || runtime.block_on(scribe.run()))
            .context("the ledger's thread")?;
        Ok(Self { handle: WriterHandle { queue, shared }, thread })
    }

    pub fn handle(&self) -> WriterHandle<T> {
        self.handle.clone()
    }

    /// Takes no more turns, stores and tells what waits, writes the last lane rows and ends the thread. A disk that fails is given until `deadline`.
    pub async fn close(self, deadline: Duration) -> Unstored {
        *lock(&self.handle.shared.closing) = Some(Instant::now() + deadline);
        self.handle.shared.wake.notify_one();
        let Self { handle, thread } = self;
        drop(handle);
        let ended = tokio::task::spawn_blocking(move || thread.join()).await.expect("joining a thread does not panic");
        ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl<T> WriterHandle<T> {
    /// Puts `turn` behind all that were submitted before. Waits while the queue is full; never drops.
    pub async fn submit(&self, turn: Turn<T>) -> Result<(), Closed> {
        self.queue.send(Message::Turn(turn)).await.map_err(|_| Closed)
    }

    /// Returns when all turns submitted before are stored and told.
    pub async fn flush(&self) -> Result<(), Closed> {
        let (done, flushed) = oneshot::channel();
        self.queue.send(Message::Flush(done)).await.map_err(|_| Closed)?;
        flushed.await.map_err(|_| Closed)
    }

    /// Writes lane rows with the next facts, or soon. `saved` is called on the writer's thread when they are on the disk,
    /// and never when the writer stops before; a crash may lose them, which delivers an event once more.
    pub fn save_lanes(&self, rows: Vec<LaneSave>, saved: Box<dyn FnOnce() + Send>) {
        lock(&self.shared.saves).push(Saves { rows, saved });
        self.shared.wake.notify_one();
    }

    pub fn health(&self) -> Health {
        self.shared.health()
    }

    /// The part that changes what is kept beside facts and lanes.
    pub fn changes(&self) -> ChangeHandle {
        ChangeHandle { shared: self.shared.clone() }
    }
}

/// Hands changes to the writer. Cheap to clone.
#[derive(Clone)]
pub struct ChangeHandle {
    shared: Arc<Shared>,
}

/// Why a change is not known to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    #[error("the record cannot be written at the moment")]
    Failing,
    #[error("the record is closed")]
    Closed,
}

impl ChangeHandle {
    /// Returns when the changes are on the disk, all of them.
    ///
    /// # Errors
    /// While the disk fails: the changes may yet be made when it works again.
    pub async fn make(&self, list: Vec<Change>) -> Result<(), ChangeError> {
        if self.shared.health() == Health::Failing {
            return Err(ChangeError::Failing);
        }
        let (done, made) = oneshot::channel();
        let tell = move || {
            // Whoever asked may have gone.
            let _ = done.send(());
        };
        self.send(list, Box::new(tell));
        match tokio::time::timeout(CHANGE_WITHIN, made).await {
            Ok(made) => made.map_err(|_| ChangeError::Closed),
            Err(_) => Err(ChangeError::Failing),
        }
    }

    /// As [`ChangeHandle::make`] for those who cannot wait: `done` is called on the writer's thread, and never when the writer stops before.
    pub fn send(&self, list: Vec<Change>, done: Box<dyn FnOnce() + Send>) {
        lock(&self.shared.changes).push(Changes { list, done });
        self.shared.wake.notify_one();
    }

    pub fn health(&self) -> Health {
        self.shared.health()
    }
}

impl Shared {
    fn health(&self) -> Health {
        if self.failing.load(Ordering::Relaxed) { Health::Failing } else { Health::Writable }
    }
}

/// The thread's own state.
struct Scribe<T, N> {
    store: Arc<Store>,
    told: N,
    turns: mpsc::Receiver<Message<T>>,
    shared: Arc<Shared>,
    saves: Vec<Saves>,
    changes: Vec<Changes>,
    /// When the waiting lane rows are written even if no facts come.
    flush_at: Option<Instant>,
}

/// What one transaction is to hold.
struct Work<'a> {
    appends: &'a [&'a Append],
    rows: Vec<&'a LaneSave>,
    changes: Vec<&'a Change>,
}

enum Woken {
    Messages,
    Ended,
    Other,
}

impl<T: Send + 'static, N: Told<T>> Scribe<T, N> {
    async fn run(mut self) -> Unstored {
        let mut waiting = Vec::new();
        loop {
            self.look_around();
            let woken = self.wait(&mut waiting).await;
            self.look_around();
            let ended = matches!(woken, Woken::Ended);
            let due = ended || !self.changes.is_empty() || self.flush_at.is_some_and(|at| at <= Instant::now());
            if !waiting.is_empty() || due {
                let mut left = self.store_and_tell(std::mem::take(&mut waiting), due).await;
                if left.0 > 0 || ended {
                    left.0 += self.count_left();
                    return left;
                }
            }
        }
    }

    /// What others left in the shared place; looked at on both sides of each wait, since a pause may have taken the wake-up.
    fn look_around(&mut self) {
        if lock(&self.shared.closing).is_some() {
            self.turns.close();
        }
        self.saves.append(&mut lock(&self.shared.saves));
        self.changes.append(&mut lock(&self.shared.changes));
        if !self.saves.is_empty() {
            self.flush_at.get_or_insert_with(|| Instant::now() + LANE_DELAY);
        }
    }

    /// Turns that are still in the queue when the writer gives up.
    fn count_left(&mut self) -> usize {
        self.turns.close();
        let mut left = 0;
        while let Ok(message) = self.turns.try_recv() {
            left += usize::from(matches!(message, Message::Turn(turn) if !turn.append.is_empty()));
        }
        left
    }

    async fn wait(&mut self, waiting: &mut Vec<Message<T>>) -> Woken {
        let flush_at = self.flush_at;
        tokio::select! {
            biased;
            received = self.turns.recv_many(waiting, MAX_BATCH) => {
                if received == 0 { Woken::Ended } else { Woken::Messages }
            }
            () = self.shared.wake.notified() => Woken::Other,
            () = sleep_until(flush_at) => Woken::Other,
        }
    }

    /// Commits `messages`, and the waiting lane rows with their facts or when `due`; then tells in order.
    /// Answers how many turns had to be given up.
    async fn store_and_tell(&mut self, messages: Vec<Message<T>>, due: bool) -> Unstored {
        let appends: Vec<&Append> = messages.iter().filter_map(Message::append).collect();
        if due || !appends.is_empty() {
            let saves = std::mem::take(&mut self.saves);
            self.flush_at = None;
            let changes = std::mem::take(&mut self.changes);
            let work = Work {
                appends: &appends,
                rows: saves.iter().flat_map(|saves| &saves.rows).collect(),
                changes: changes.iter().flat_map(|changes| &changes.list).collect(),
            };
            if self.commit(&work).await.is_err() {
                return Unstored(appends.len());
            }
            saves.into_iter().for_each(|saves| (saves.saved)());
            changes.into_iter().for_each(|changes| (changes.done)());
        }
        for message in messages {
            match message {
                Message::Turn(turn) => self.told.told(turn),
                // Whoever asked may have gone.
                Message::Flush(done) => drop(done.send(())),
            }
        }
        Unstored(0)
    }

    /// Tries until it works: what is told meanwhile is only that it does not.
    async fn commit(&mut self, work: &Work<'_>) -> Result<(), OutOfTime> {
        let Work { appends, rows, changes } = work;
        if appends.is_empty() && rows.is_empty() && changes.is_empty() {
            return Ok(());
        }
        let mut failures = Failures::default();
        let committed = loop {
            match self.store.commit(appends, rows, changes) {
                Ok(committed) => break committed,
                Err(error) => self.fail(error),
            }
            failures.pause(&self.shared).await?;
            if let Err(error) = self.store.reopen() {
                self.fail(error);
            }
        };
        if self.shared.failing.swap(false, Ordering::Relaxed) {
            self.told.news(WriterNews::Recovered);
        }
        self.told.news(WriterNews::Committed(committed));
        Ok(())
    }

    fn fail(&mut self, error: StoreError) {
        self.shared.failing.store(true, Ordering::Relaxed);
        self.told.news(WriterNews::Failing(error));
    }
}

impl<T> Message<T> {
    fn append(&self) -> Option<&Append> {
        match self {
            Message::Turn(turn) if !turn.append.is_empty() => Some(&turn.append),
            _ => None,
        }
    }
}

/// How often in a row the disk has refused.
#[derive(Default)]
struct Failures(u32);

/// The writer is to stop and the disk was given its time.
struct OutOfTime;

impl Failures {
    async fn pause(&mut self, shared: &Shared) -> Result<(), OutOfTime> {
        let pause = LAST_PAUSE.min(FIRST_PAUSE * 2u32.saturating_pow(self.0));
        self.0 = self.0.saturating_add(1);
        let until = Instant::now() + pause;
        loop {
            let deadline = *lock(&shared.closing);
            let now = Instant::now();
            if deadline.is_some_and(|deadline| deadline <= now) {
                return Err(OutOfTime);
            }
            if until <= now {
                return Ok(());
            }
            let until = deadline.map_or(until, |deadline| deadline.min(until));
            // `wake` also tells of lane rows; these are written when the disk works.
            tokio::select! {
                () = tokio::time::sleep_until(until) => {}
                () = shared.wake.notified() => {}
            }
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn lock<V>(mutex: &Mutex<V>) -> std::sync::MutexGuard<'_, V> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc as channel;

    use bytes::Bytes;
    use futures_util::FutureExt;

    use super::super::disk::{Disk, Fault};
    use super::*;
    use crate::base::{CallId, Timestamp};
    use crate::event::EventKind;
    use crate::ledger::{LaneRow, Record};

    const CALL: CallId = CallId::from_u128(1);
    const SOON: Duration = Duration::from_secs(30);

    #[derive(Debug, PartialEq)]
    enum Heard {
        Told(u64),
        Committed { turns: usize, facts: usize, lanes: usize },
        Failing,
        Recovered,
    }

    /// Passes on what it hears; holds the writer's thread at each turn while `gate` gives nothing.
    struct Ear {
        heard: channel::Sender<Heard>,
        gate: Option<channel::Receiver<()>>,
    }

    impl Told<u64> for Ear {
        fn told(&mut self, turn: Turn<u64>) {
            self.heard.send(Heard::Told(turn.then)).unwrap();
            if let Some(gate) = &self.gate {
                let _ = gate.recv();
            }
        }

        fn news(&mut self, news: WriterNews) {
            let heard = match news {
                WriterNews::Committed(Committed { turns, facts, lanes, .. }) => {
                    Heard::Committed { turns, facts, lanes }
                }
                WriterNews::Failing(_) => Heard::Failing,
                WriterNews::Recovered => Heard::Recovered,
            };
            // A test that has seen enough may be gone.
            let _ = self.heard.send(heard);
        }
    }

    struct World {
        disk: Disk,
        store: Arc<Store>,
        writer: Writer<u64>,
        heard: channel::Receiver<Heard>,
    }

    fn world(gate: Option<channel::Receiver<()>>) -> World {
        let disk = Disk::default();
        let same = disk.clone();
        let store = Arc::new(Store::open_with(move || same.database()).unwrap());
        let (heard_in, heard) = channel::channel();
        let writer = Writer::start(store.clone(), Ear { heard: heard_in, gate }).unwrap();
        World { disk, store, writer, heard }
    }

    fn turn(seq: u64) -> Turn<u64> {
        let record = Record {
            call: CALL,
            seq,
            kind: EventKind::UserJoin,
            time: Timestamp::default(),
            body: Bytes::from_static(b"{}"),
        };
        let lanes = Arc::new(["a".parse().unwrap()]);
        Turn { append: Append { records: vec![record], lanes, ..Append::default() }, then: seq }
    }

    fn silent(then: u64) -> Turn<u64> {
        Turn { append: Append::default(), then }
    }

    fn save(next: u64) -> LaneSave {
        let row = Some(LaneRow { next, state: Bytes::new() });
        LaneSave { endpoint: "a".parse().unwrap(), call: CALL, row, dead: Vec::new() }
    }

    fn hear(heard: &channel::Receiver<Heard>) -> Heard {
        heard.recv_timeout(SOON).expect("the writer says something")
    }

    #[tokio::test]
    async fn what_waits_shares_one_commit_and_is_told_in_order_afterwards() {
        let (open, gate) = channel::channel();
        let World { store, writer, heard, .. } = world(Some(gate));
        let handle = writer.handle();
        handle.submit(turn(1)).await.unwrap();
        assert_eq!(hear(&heard), Heard::Committed { turns: 1, facts: 1, lanes: 0 });
        assert_eq!(hear(&heard), Heard::Told(1));
        // The writer is held: these wait together.
        for seq in 2..=50 {
            handle.submit(turn(seq)).await.unwrap();
            handle.submit(silent(1000 + seq)).await.unwrap();
        }
        drop(open);
        assert_eq!(hear(&heard), Heard::Committed { turns: 49, facts: 49, lanes: 0 });
        for seq in 2..=50 {
            assert_eq!(hear(&heard), Heard::Told(seq));
            assert_eq!(hear(&heard), Heard::Told(1000 + seq));
        }
        assert_eq!(store.facts(CALL, 0, 99).unwrap().len(), 50);
        assert_eq!(writer.close(SOON).await, Unstored(0));
    }

    #[tokio::test]
    async fn turns_without_facts_cost_no_commit() {
        let World { writer, heard, .. } = world(None);
        writer.handle().submit(silent(7)).await.unwrap();
        assert_eq!(hear(&heard), Heard::Told(7));
        writer.close(SOON).await;
        assert!(heard.recv().is_err(), "nothing else was done");
    }

    #[tokio::test]
    async fn nothing_is_told_while_the_disk_is_full_and_everything_afterwards() {
        let World { disk, store, writer, heard, .. } = world(None);
        let handle = writer.handle();
        handle.submit(turn(1)).await.unwrap();
        handle.flush().await.unwrap();
        assert_eq!(hear(&heard), Heard::Committed { turns: 1, facts: 1, lanes: 0 });
        assert_eq!(hear(&heard), Heard::Told(1));
        disk.set_fault(Fault::Full);
        handle.submit(turn(2)).await.unwrap();
        handle.submit(silent(1000)).await.unwrap();
        assert_eq!(hear(&heard), Heard::Failing);
        assert_eq!(hear(&heard), Heard::Failing, "it is tried again");
        assert_eq!(handle.health(), Health::Failing);
        assert_eq!(handle.flush().now_or_never(), None);
        disk.set_fault(Fault::None);
        let rest: Vec<Heard> =
            std::iter::from_fn(|| Some(hear(&heard))).skip_while(|heard| *heard == Heard::Failing).take(4).collect();
        let committed = Heard::Committed { turns: 1, facts: 1, lanes: 0 };
        assert_eq!(rest, [Heard::Recovered, committed, Heard::Told(2), Heard::Told(1000)]);
        assert_eq!(handle.health(), Health::Writable);
        assert_eq!(store.facts(CALL, 0, 9).unwrap().len(), 2);
        writer.close(SOON).await;
    }

    #[tokio::test]
    async fn a_disk_that_is_gone_holds_back_who_submits_and_memory_stays_bounded() {
        let World { disk, writer, heard, .. } = world(None);
        let handle = writer.handle();
        disk.set_fault(Fault::Dead);
        let mut taken = 0;
        handle.submit(turn(1)).await.unwrap();
        assert_eq!(hear(&heard), Heard::Failing);
        // Runs until the queue is full.
        while tokio::task::unconstrained(handle.submit(turn(taken + 2))).now_or_never().is_some() {
            taken += 1;
            assert!(taken as usize <= TURN_QUEUE + MAX_BATCH);
        }
        assert!(taken as usize >= TURN_QUEUE - MAX_BATCH);
        let unstored = writer.close(Duration::ZERO).await;
        assert_eq!(unstored, Unstored(taken as usize + 1), "what was not stored is counted");
        assert!(heard.iter().all(|heard| heard == Heard::Failing), "and never told");
        assert_eq!(handle.submit(turn(9)).await, Err(Closed));
    }

    #[tokio::test]
    async fn lane_rows_are_written_with_facts_or_soon_by_themselves() {
        let (open, gate) = channel::channel();
        let World { store, writer, heard, .. } = world(Some(gate));
        let handle = writer.handle();
        let (saved_in, saved) = channel::channel();
        let tell = |what: &'static str| {
            let saved = saved_in.clone();
            Box::new(move || saved.send(what).unwrap()) as Box<dyn FnOnce() + Send>
        };
        handle.submit(turn(1)).await.unwrap();
        assert_eq!(hear(&heard), Heard::Committed { turns: 1, facts: 1, lanes: 0 });
        assert_eq!(hear(&heard), Heard::Told(1));
        handle.save_lanes(vec![save(2)], tell("with facts"));
        handle.submit(turn(2)).await.unwrap();
        drop(open);
        assert_eq!(hear(&heard), Heard::Committed { turns: 1, facts: 1, lanes: 1 });
        assert_eq!(hear(&heard), Heard::Told(2));
        assert_eq!(saved.recv_timeout(SOON), Ok("with facts"));
        handle.save_lanes(vec![save(3)], tell("alone"));
        assert_eq!(hear(&heard), Heard::Committed { turns: 0, facts: 0, lanes: 1 });
        assert_eq!(saved.recv_timeout(SOON), Ok("alone"));
        assert_eq!(store.lane(&"a".parse().unwrap(), CALL).unwrap().unwrap().next, 3);
        writer.close(SOON).await;
    }

    #[tokio::test]
    async fn closing_stores_what_waits() {
        let World { disk, writer, heard, .. } = world(None);
        let handle = writer.handle();
        for seq in 1..=100 {
            handle.submit(turn(seq)).await.unwrap();
        }
        handle.save_lanes(vec![save(9)], Box::new(|| ()));
        assert_eq!(writer.close(SOON).await, Unstored(0));
        let told: Vec<Heard> = heard.iter().filter(|heard| matches!(heard, Heard::Told(_))).collect();
        assert_eq!(told, (1..=100).map(Heard::Told).collect::<Vec<_>>());
        let store = Store::open_with(move || disk.database());
        assert!(store.is_err() || store.unwrap().lane(&"a".parse().unwrap(), CALL).unwrap().unwrap().next == 9);
    }
}
