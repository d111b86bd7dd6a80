//! Everything that goes into delivery and comes out of it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::endpoint::Endpoint;
use super::lane::Patience;
use super::outbox::{Counts, Telemetry};
use super::record::{CallSpan, LanePage, LaneRow, LaneSave, ReplaySave, StoredEvent};
use super::replay::{Order, Progress, ReplayId, ReplayStatus};
use super::reply::Reply;
use crate::base::{CallId, EndpointId, EventId, Timestamp};
use crate::event::EventKind;

/// How delivery behaves.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Requests with lifecycle events under way at once to one endpoint.
    pub max_in_flight: usize,
    /// Lanes in memory for one endpoint, a quarter of a kilobyte each; a larger backlog stays in the record and is swept in as these
    /// are done.
    pub window: usize,
    pub patience: Patience,
}

impl Default for Settings {
    fn default() -> Self {
        let patience = Patience {
            give_up_after: Duration::from_secs(72 * 3600),
            // While it waits, the rest of its call does: longer costs a receiver with one bug the end of its calls,
            // shorter leaves less time to repair it.
            poisoned_after: Duration::from_secs(3600),
        };
        Self { max_in_flight: 64, window: 20_000, patience }
    }
}

/// Names a request that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PostId(pub(super) u64);

/// Everything that can happen to delivery.
#[derive(Debug)]
pub enum Input {
    /// The record holds more of a call.
    Stored(CallId),
    /// It holds more of calls that nobody names.
    StoredSomething,
    Telemetry {
        call: CallId,
        event: Telemetry,
    },
    /// The answer to [`Output::Sweep`]; `None`: the record could not be read.
    Swept {
        endpoint: EndpointId,
        page: Option<LanePage>,
    },
    /// The answer to [`Output::Load`].
    Loaded {
        endpoint: EndpointId,
        call: CallId,
        row: Result<Option<LaneRow>, Unread>,
    },
    /// The answer to [`Output::Read`].
    Read {
        endpoint: EndpointId,
        call: CallId,
        events: Result<Vec<StoredEvent>, Unread>,
    },
    /// The answer to [`Output::Post`].
    Answered {
        post: PostId,
        reply: Reply,
    },
    /// The rows of the last [`Output::Save`] are durable.
    Saved,
    /// The endpoints as they are from here on.
    Reload(Vec<Endpoint>),
    /// How delivery behaves from here on.
    Settings(Settings),
    /// The call's events up to number `to` are too old to be kept: whoever has not got them is told of a gap.
    Expire {
        call: CallId,
        to: u64,
    },
    /// A replay begins, or goes on after a restart.
    Replay {
        order: Order,
        progress: Progress,
    },
    CancelReplay {
        endpoint: EndpointId,
        replay: ReplayId,
    },
    /// The answer to [`Output::Walk`]; `None`: the record could not be read.
    Walked {
        endpoint: EndpointId,
        page: Option<Vec<CallSpan>>,
    },
    /// The answer to [`Output::ReadAgain`].
    ReadAgain {
        endpoint: EndpointId,
        call: CallId,
        events: Result<Vec<StoredEvent>, Unread>,
    },
    /// The last [`Output::SaveReplay`] of the endpoint is durable.
    ReplaySaved(EndpointId),
    /// Time has passed.
    Tick,
}

/// The record could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unread;

/// What delivery wants done. The record's reads are answered before anything else is handled.
#[derive(Debug)]
pub enum Output {
    Sweep {
        endpoint: EndpointId,
        after: Option<CallId>,
        limit: usize,
    },
    Load {
        endpoint: EndpointId,
        call: CallId,
    },
    Read {
        endpoint: EndpointId,
        call: CallId,
        from: u64,
        limit: usize,
    },
    Post {
        post: PostId,
        request: Request,
    },
    Save(Vec<LaneSave>),
    /// Calls from `first` on, for the endpoint's replay.
    Walk {
        endpoint: EndpointId,
        first: CallId,
        limit: usize,
    },
    /// A call's events, for the endpoint's replay.
    ReadAgain {
        endpoint: EndpointId,
        call: CallId,
        from: u64,
        limit: usize,
    },
    SaveReplay(ReplaySave),
    Observe(Observation),
}

/// One attempt. The one who sends it signs it, with the time of the sending.
#[derive(Debug, Clone)]
pub struct Request {
    pub endpoint: Arc<Endpoint>,
    pub id: EventId,
    pub body: Bytes,
}

/// What an operator may want to see, one by one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observation {
    /// `latency` is from the fact to the 2xx.
    Delivered {
        endpoint: EndpointId,
        call: CallId,
        kind: EventKind,
        attempt: u32,
        latency: Duration,
    },
    /// `retry_at` is `None` when the event was given up or the endpoint disabled.
    Failed {
        endpoint: EndpointId,
        call: CallId,
        kind: EventKind,
        attempt: u32,
        reply: Reply,
        retry_at: Option<Timestamp>,
    },
    /// An event has become a dead letter.
    Parked {
        endpoint: EndpointId,
        call: CallId,
        seq: u64,
        why: String,
    },
    /// Not even the gap was taken.
    GapDropped {
        endpoint: EndpointId,
        call: CallId,
    },
    CircuitOpened {
        endpoint: EndpointId,
    },
    CircuitClosed {
        endpoint: EndpointId,
    },
    /// It answered 410.
    Disabled {
        endpoint: EndpointId,
    },
    /// A call's own endpoint answered 410: nothing more of the call goes there.
    LaneEnded {
        endpoint: EndpointId,
        call: CallId,
    },
    /// Events that are too old to be kept will not be delivered; a gap is told in their place.
    Expired {
        endpoint: EndpointId,
        call: CallId,
        from: u64,
        to: u64,
    },
    ReplayDone {
        endpoint: EndpointId,
        replay: ReplayId,
        delivered: u64,
        failed: u64,
    },
}

/// One endpoint for metrics and the console.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointStatus {
    pub id: EndpointId,
    pub url: url::Url,
    pub state: EndpointState,
    /// Lanes in memory with something to do.
    pub pending_lanes: usize,
    /// The record holds lanes beyond those.
    pub more: bool,
    pub in_flight: usize,
    /// When the oldest fact that waits happened.
    pub oldest: Option<Timestamp>,
    pub counts: Counts,
    pub last: Option<LastReply>,
    /// Those that run or wait, and the last that ended.
    pub replays: Vec<ReplayStatus>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndpointState {
    Active,
    /// Only single probes are sent.
    CircuitOpen {
        since: Timestamp,
    },
    Disabled,
}

/// The last answer of an endpoint to a lifecycle event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastReply {
    pub at: Timestamp,
    pub event: EventId,
    pub reply: Reply,
}
