//! What the backend and the operator ask of control, and what they are answered.

use std::time::Duration;

use crate::base::{CallId, Source, UserId};
use crate::call::Refusal;
use crate::event::{CallMediaType, RoomId};
use crate::webhook::endpoint::OwnWebhook;

use super::view::{CallDetail, CallOverview, UserView};

/// Names an operation until it is answered; not reused while the node runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperationId(pub u64);

/// One thing asked, parsed and checked for form by the door.
#[derive(Debug, Clone, PartialEq)]
pub enum Operation {
    ListCalls(CallQuery),
    ReadCall { call: CallId },
    ReadUser { user: UserId },
    Place(Placement),
    Order { call: CallId, order: Order },
}

/// A call between users that the backend places.
#[derive(Debug, Clone, PartialEq)]
pub struct Placement {
    /// Must be logged in; the call is on the device that was last.
    pub caller: UserId,
    pub users: Vec<UserId>,
    pub media_type: CallMediaType,
    pub room: Option<RoomId>,
    pub group_id: String,
    pub timeout: Option<Duration>,
    pub user_data: String,
    /// An endpoint for this call alone; the door has vetted its address.
    pub webhook: Option<OwnWebhook>,
}

/// What the server does to a running call.
#[derive(Debug, Clone, PartialEq)]
pub enum Order {
    Dismiss,
    /// `ban`: how long the user is kept out of this call.
    Kick {
        user: UserId,
        ban: Option<Duration>,
    },
    Mute {
        user: UserId,
        source: Source,
        muted: bool,
    },
}

/// Which of the running calls to list.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CallQuery {
    /// Calls that this user waits in, is rung for or is in.
    pub user: Option<UserId>,
    pub room: Option<RoomId>,
    pub group_id: Option<String>,
    pub stage: Option<Stage>,
    /// Calls placed after this one.
    pub after: Option<CallId>,
    pub limit: usize,
}

/// How far a running call has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Nobody has accepted.
    Ringing,
    Begun,
}

/// What an operation led to.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    Calls(CallPage),
    Call(Box<CallDetail>),
    User(UserView),
    /// It may be over already: everyone was busy.
    Placed {
        call: CallId,
        room: RoomId,
    },
    Done,
}

/// Some running calls, in the order in which they were placed.
#[derive(Debug, Clone, PartialEq)]
pub struct CallPage {
    pub calls: Vec<CallOverview>,
    /// Where to go on; `None`: there are no more.
    pub next: Option<CallId>,
}

/// Why an operation was not carried out; nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    #[error("no such call is going on")]
    NoSuchCall,
    #[error("the user is not in this call, nor being rung for it")]
    NoSuchMember,
    #[error("the caller has no client that is connected")]
    CallerOffline,
    #[error(transparent)]
    Refused(#[from] Refusal),
}
