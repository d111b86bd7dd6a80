//! Control's loop, its clock, and the handle that the doors hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use dashmap::DashMap;
use tokio::sync::{mpsc, oneshot};

use super::apply::{State, Turn};
use super::input::{Input, Moment};
use super::operation::{Answer, Denial, Operation, OperationId};
use crate::base::Timestamp;
use crate::base::id::Entropy;
use crate::media::{Report, ShardSnapshot};

/// Inputs that may wait for control: a second of the busiest node; doors wait when it is full, nothing is dropped.
pub const INPUT_QUEUE: usize = 16_384;
/// Time an operation has: longer than any commit to a disk that works, shorter than the patience of common HTTP clients.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Wall-clock time that never goes back: read once, then carried on by the monotonic clock.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    started: Instant,
    started_at: Timestamp,
}

impl Clock {
    pub fn start() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { started: Instant::now(), started_at: Timestamp::default() + since_epoch }
    }

    pub fn now(&self) -> Timestamp {
        self.started_at + self.started.elapsed()
    }

    fn instant(&self, at: Timestamp) -> Instant {
        self.started + at.since(self.started_at)
    }
}

/// Fresh randomness from the operating system.
pub fn entropy() -> Entropy {
    let mut bytes = Entropy::default();
    getrandom::fill(&mut bytes).expect("the operating system has randomness");
    bytes
}

/// What the doors hold of control.
#[derive(Debug, Clone)]
pub struct Handle {
    inputs: mpsc::Sender<Input>,
    desk: Arc<Desk>,
}

/// Where those wait who asked control something.
#[derive(Debug, Default)]
pub struct Desk {
    waiting: DashMap<OperationId, oneshot::Sender<Result<Answer, Denial>>>,
    last: AtomicU64,
}

/// Control has stopped; so does the node.
#[derive(Debug, thiserror::Error)]
#[error("the server is stopping")]
pub struct Stopped;

impl Handle {
    pub fn new() -> (Self, mpsc::Receiver<Input>) {
        let (inputs, receiver) = mpsc::channel(INPUT_QUEUE);
        (Self { inputs, desk: Arc::default() }, receiver)
    }

    pub async fn send(&self, input: Input) -> Result<(), Stopped> {
        self.inputs.send(input).await.map_err(|_| Stopped)
    }

    /// Where the answers are to be brought.
    pub fn desk(&self) -> Arc<Desk> {
        self.desk.clone()
    }

    /// Has an operation carried out; what it changed is stored when this answers.
    ///
    /// # Errors
    /// When it was denied, or not answered in time: then it may still be carried out.
    pub async fn ask(&self, operation: Operation) -> Result<Answer, Unanswered> {
        let (id, answer) = self.desk.wait();
        let _waiting = Waiting { desk: &self.desk, id };
        let asked = async {
            self.send(Input::Operation { id, body: operation }).await.map_err(|Stopped| Unanswered::Stopped)?;
            answer.await.map_err(|_| Unanswered::Stopped)?.map_err(Unanswered::Denied)
        };
        tokio::time::timeout(ANSWER_WITHIN, asked).await.unwrap_or(Err(Unanswered::Late))
    }
}

/// Why an operation has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    #[error(transparent)]
    Denied(Denial),
    #[error("the server did not answer in time: its record cannot be written, or it is overloaded")]
    Late,
    #[error("the server is stopping")]
    Stopped,
}

impl Desk {
    fn wait(&self) -> (OperationId, oneshot::Receiver<Result<Answer, Denial>>) {
        let id = OperationId(self.last.fetch_add(1, Ordering::Relaxed) + 1);
        let (sender, receiver) = oneshot::channel();
        self.waiting.insert(id, sender);
        (id, receiver)
    }

    /// Gives an answer to who waits for it; nobody does any more when the request was given up.
    pub fn answer(&self, id: OperationId, result: Result<Answer, Denial>) {
        if let Some((_, sender)) = self.waiting.remove(&id) {
            let _ = sender.send(result);
        }
    }
}

/// Takes the place at the desk away when the request is given up.
struct Waiting<'a> {
    desk: &'a Desk,
    id: OperationId,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.desk.waiting.remove(&self.id);
    }
}

/// Who takes what control gives out. Control runs on a thread of its own, so its futures need not be `Send`.
#[expect(async_fn_in_trait, reason = "only this crate implements it")]
pub trait Outward {
    /// Carries out one turn.
    async fn turn(&mut self, turn: Turn);
    /// A shard's counters.
    fn snapshot(&mut self, snapshot: Box<ShardSnapshot>);
    /// Once a second, for gauges.
    fn observe(&mut self, state: &State);
}

/// What control listens to.
#[derive(Debug)]
pub struct Ears {
    pub inputs: mpsc::Receiver<Input>,
    pub reports: mpsc::Receiver<Report>,
    /// Told, or its sender dropped: no more inputs are taken, and control ends behind those that wait.
    pub stop: oneshot::Receiver<()>,
}

/// Runs until it is told to stop.
pub async fn run(mut state: State, clock: Clock, ears: Ears, mut out: impl Outward) {
    let Ears { mut inputs, mut reports, mut stop } = ears;
    let mut stopping = false;
    let mut observation = tokio::time::interval(Duration::from_secs(1));
    loop {
        let deadline = state.deadline().map(|at| clock.instant(at));
        let input = tokio::select! {
            input = inputs.recv() => match input {
                Some(input) => input,
                None => return,
            },
            Some(report) = reports.recv() => match report {
                Report::Snapshot(snapshot) => {
                    out.snapshot(snapshot);
                    continue;
                }
                report => Input::Media(report),
            },
            _ = &mut stop, if !stopping => {
                stopping = true;
                inputs.close();
                continue;
            }
            () = sleep_until(deadline) => Input::Tick,
            _ = observation.tick() => {
                out.observe(&state);
                continue;
            }
        };
        let turn = state.apply(input, Moment { now: clock.now(), entropy: entropy() });
        out.turn(turn).await;
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
