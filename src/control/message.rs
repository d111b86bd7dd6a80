//! What control has a door tell a client.

use std::sync::Arc;
use std::time::Duration;

use crate::base::{CallId, Mid, Source, UserId};
use crate::call::Refusal;
use crate::event::{CallMediaType, CallRole, Event, RoomId};
use crate::media::EncodingState;

use super::input::RequestId;

/// One message for a session.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    Reply {
        request: RequestId,
        result: Result<Reply, Refusal>,
    },
    Event {
        call: Option<CallId>,
        event: Arc<Event>,
    },
    Slots {
        call: CallId,
        slots: Vec<SlotBrief>,
    },
    Encodings {
        call: CallId,
        mid: Mid,
        encodings: Vec<EncodingState>,
    },
    /// The server is to stop: no new calls, and those that go on have so long.
    Stopping {
        within: Duration,
    },
    /// The session is over: nothing follows, the connection is closed.
    Close {
        reason: Closing,
    },
}

impl Message {
    /// One event on its way to several sessions.
    pub fn is_same_event(&self, other: &Message) -> bool {
        match (self, other) {
            (Message::Event { call: a, event: one }, Message::Event { call: b, event: another }) => {
                a == b && Arc::ptr_eq(one, another)
            }
            _ => false,
        }
    }
}

/// Why a session is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closing {
    KickedByAnotherLogin,
    TicketExpired,
    /// The client did not come back in time.
    Abandoned,
}

/// The result of a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    Done,
    LoggedIn { calls: Vec<CallBrief> },
    Placed { call: CallId, room: RoomId },
    Entered { call: CallId, room: RoomId, members: Vec<MemberBrief> },
    Answer { sdp: String },
}

/// A call that a user who logs in is in or is being rung for.
#[derive(Debug, Clone, PartialEq)]
pub struct CallBrief {
    pub call: CallId,
    pub room: RoomId,
    pub media_type: CallMediaType,
    pub role: CallRole,
    /// The one who calls this user.
    pub caller: UserId,
    pub group_id: String,
    pub user_data: String,
    pub ringing: bool,
    pub begun: bool,
    pub members: Vec<MemberBrief>,
}

/// A member as others see them.
#[derive(Debug, Clone, PartialEq)]
pub struct MemberBrief {
    pub user: UserId,
    pub role: CallRole,
    pub audio: bool,
    pub video: bool,
}

/// A slot as its viewer sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotBrief {
    pub mid: Mid,
    pub user: Option<UserId>,
    pub source: Source,
    pub paused: bool,
}
