//! What delivery needs of the durable record: a lane's row, its next events, and a place for what it has done.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::endpoint::Endpoint;
use super::lane::Memory;
use super::replay::ReplayId;
use super::reply::Answer;
use crate::base::{CallId, EndpointId, EventId, Timestamp};
use crate::event::{EventKind, GapReason};

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

    /// Calls from `first` on, the oldest first, at most `limit`.
    fn calls(&self, first: CallId, limit: usize) -> Result<Vec<CallSpan>, Unreadable>;

    /// Writes how far a replay has come, as [`Record::save`] does.
    fn save_replay(&self, save: ReplaySave, saved: Box<dyn FnOnce() + Send>);
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
    /// Where a lane goes that only its call has; `None` for every other.
    pub target: Option<Arc<Endpoint>>,
}

/// A call without its facts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallSpan {
    pub call: CallId,
    /// The number of its last fact.
    pub last_seq: u64,
    /// When its first and its last fact happened.
    pub first: Timestamp,
    pub last: Timestamp,
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
    /// `None`: the lane ends, whatever else its call has to tell.
    pub row: Option<LaneRow>,
    pub dead: Vec<DeadLetter>,
}

/// Events that an endpoint could not be given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    pub from: u64,
    pub to: u64,
    pub time: Timestamp,
    pub note: Note,
}

/// How it came to a dead letter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Note {
    pub reason: GapReason,
    /// Those made.
    #[serde(default)]
    pub attempts: u32,
    /// When the first was.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub since: Option<Timestamp>,
    /// What the last came to.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub answer: Option<Answer>,
}

/// How far a replay has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplaySave {
    pub endpoint: EndpointId,
    pub replay: ReplayId,
    /// `None`: it has ended.
    pub row: Option<Bytes>,
    /// What was delivered since the last one: those of a call from one number to another. They are dead letters no more.
    pub delivered: Vec<(CallId, u64, u64)>,
}

impl Note {
    pub fn encode(&self) -> Bytes {
        serde_json::to_vec(self).expect("a note is plain data").into()
    }

    /// What is no note was written by an older version: the last failure in words.
    pub fn decode(bytes: &[u8]) -> Self {
        serde_json::from_slice(bytes).unwrap_or_else(|_| {
            let error = String::from_utf8_lossy(bytes).into_owned();
            let answer = Some(Answer { status: None, error, response: String::new() });
            Self { reason: GapReason::Undeliverable, attempts: 0, since: None, answer }
        })
    }
}

impl LaneRow {
    pub(super) fn new(next: u64, memory: &Memory) -> Self {
        Self { next, memory: memory.encode(), target: None }
    }
}
