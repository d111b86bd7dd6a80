//! What delivery needs of the durable record: a lane's row, its next events, and a place for what it has done.

use bytes::Bytes;

use super::lane::Memory;
use crate::base::{CallId, EndpointId, EventId, Timestamp};
use crate::event::EventKind;

/// The record as delivery sees it. Its methods are called on delivery's own thread and may block for a read of the disk.
pub trait Record: Send + 'static {
    /// An endpoint's lanes with something to do, of calls after `after`, about `limit` of them, in the order of their calls.
    fn lanes(&self, endpoint: &EndpointId, after: Option<CallId>, limit: usize) -> Result<LanePage, Unreadable>;

    /// One lane; `None`: it was never opened, or all of its call is delivered.
    fn lane(&self, endpoint: &EndpointId, call: CallId) -> Result<Option<LaneRow>, Unreadable>;

    /// A call's events from number `from` on, at most `limit`.
    fn events(&self, call: CallId, from: u64, limit: usize) -> Result<Vec<StoredEvent>, Unreadable>;

    /// Writes lane rows; `saved` is called, on any thread, when they are durable, and may never be called when the node stops.
    fn save(&self, rows: Vec<LaneSave>, saved: Box<dyn FnOnce() + Send>);
}

/// The record could not be read; it is asked again.
#[derive(Debug, thiserror::Error)]
#[error("the record could not be read: {0}")]
pub struct Unreadable(pub Box<dyn std::error::Error + Send + Sync>);

/// How far a lane has come, as the record keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneRow {
    /// The number of the event that is delivered next.
    pub next: u64,
    /// [`Memory::encode`]'s bytes; empty: nothing to remember.
    pub memory: Bytes,
}

/// Lanes with something to do.
#[derive(Debug, Default)]
pub struct LanePage {
    pub lanes: Vec<(CallId, LaneRow)>,
    /// Where to go on; `None`: there are no more.
    pub next: Option<CallId>,
}

/// One event as it was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEvent {
    pub seq: u64,
    pub id: EventId,
    pub kind: EventKind,
    pub time: Timestamp,
    pub body: Bytes,
}

/// A lane's new row, with what it gave up on the way there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneSave {
    pub endpoint: EndpointId,
    pub call: CallId,
    pub row: LaneRow,
    pub dead: Vec<DeadLetter>,
}

/// An event that an endpoint could not be given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    pub seq: u64,
    pub time: Timestamp,
    /// The last failure, in words.
    pub why: String,
}

impl LaneRow {
    pub(super) fn new(next: u64, memory: &Memory) -> Self {
        Self { next, memory: memory.encode() }
    }
}
