//! The closed enum of everything that control hears.

use std::time::Duration;

use crate::base::id::Entropy;
use crate::base::{CallId, Mid, SessionId, Source, Timestamp, UserId};
use crate::call::Call;
use crate::event::{CallMediaType, RoomId};
use crate::media;
use crate::webhook::endpoint::OwnWebhook;

use super::operation::{Operation, OperationId};

/// The longest `userData`, in bytes.
pub const MAX_USER_DATA: usize = 4096;
/// The longest `groupId`, in bytes.
pub const MAX_GROUP_ID: usize = 64;
/// The longest time a call rings.
pub const MAX_RING: Duration = Duration::from_secs(3600);
/// The most users one request names; the limit of members is checked behind the door.
pub const MAX_USERS: usize = 1000;

/// The time of an input and fresh randomness for what it may name.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    pub now: Timestamp,
    pub entropy: Entropy,
}

/// One thing that happened.
#[derive(Debug)]
pub enum Input {
    /// A client proved who it is; the door has a place for the session's messages.
    LogIn(LogIn),
    /// A client brought a new ticket.
    Renewed(Renewal),
    /// The session's connection is gone; the client may come back.
    Dropped { session: SessionId, connection: ConnectionId },
    /// A request about calls.
    Request { session: SessionId, request: RequestId, body: Request },
    /// Something that the backend or the operator asks.
    Operation { id: OperationId, body: Operation },
    /// News of the media plane.
    Media(media::Report),
    /// A call that was open when the node last stopped.
    Restored(Restored),
    /// Whether facts can be stored; while not, no new call is taken on.
    LedgerHealth { writable: bool },
    /// The node is to stop: no new calls from here on, and those that go on have so long.
    Drain { within: Duration },
    /// The node stops and will not take its calls up again: those that are left end.
    EndCalls,
    /// A deadline passed.
    Tick,
}

/// One connection of a client to a door; a session has one after another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConnectionId(pub u64);

/// A proven log-in.
#[derive(Debug, Clone)]
pub struct LogIn {
    /// New, or the one of the resume token.
    pub session: SessionId,
    pub connection: ConnectionId,
    pub request: RequestId,
    pub user: UserId,
    /// When the ticket runs out.
    pub expires: Timestamp,
    /// What a PrivateMapKey narrows the session to.
    pub grant: Option<Grant>,
}

/// A new ticket of a session, which stands for the one before.
#[derive(Debug, Clone)]
pub struct Renewal {
    pub session: SessionId,
    pub request: RequestId,
    /// When the ticket runs out.
    pub expires: Timestamp,
    /// What a PrivateMapKey narrows the session to.
    pub grant: Option<Grant>,
}

/// What a PrivateMapKey allows, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    pub room: RoomId,
    pub create: bool,
    pub enter: bool,
    pub send_audio: bool,
    pub receive_audio: bool,
    pub send_video: bool,
    pub receive_video: bool,
    pub send_screen: bool,
    pub receive_screen: bool,
}

/// A call's state as the ledger kept it, and when it was last written.
#[derive(Debug)]
pub struct Restored {
    pub call: Box<Call>,
    pub last_seen: Timestamp,
}

/// The client's own name for a request, given back with the reply.
#[derive(Debug, Clone, PartialEq)]
pub struct RequestId(pub serde_json::Value);

/// A request about calls, parsed and checked for form by the door.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    Call {
        users: Vec<UserId>,
        media_type: CallMediaType,
        room: Option<RoomId>,
        group_id: String,
        timeout: Option<Duration>,
        user_data: String,
        /// An endpoint for this call alone; the door has vetted its address.
        webhook: Option<OwnWebhook>,
    },
    Accept {
        call: CallId,
    },
    Reject {
        call: CallId,
    },
    HangUp {
        call: CallId,
    },
    Invite {
        call: CallId,
        users: Vec<UserId>,
        timeout: Option<Duration>,
    },
    Join {
        target: Target,
        media_type: CallMediaType,
    },
    SwitchMediaType {
        call: CallId,
        to: CallMediaType,
    },
    Offer {
        call: CallId,
        sdp: String,
        sources: Vec<(Mid, Source)>,
    },
    Mute {
        call: CallId,
        source: Source,
        muted: bool,
    },
    View {
        call: CallId,
        slots: Vec<Wish>,
    },
}

/// What to join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    Call(CallId),
    Room(RoomId),
}

/// A viewer's wish for one of its slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    pub mid: Mid,
    pub user: Option<UserId>,
    pub source: Source,
    pub max_height: Option<u16>,
}
