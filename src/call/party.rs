//! One user's part in a call.

use serde::{Deserialize, Serialize};

use crate::base::{SessionId, Timestamp, UserId};
use crate::event::{CallRole, EndReason, Outcome};

/// A user whom the call concerns or has concerned.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Party {
    pub user: UserId,
    pub role: CallRole,
    /// Whom this user is told as the one who calls: the caller, or whoever invited them during the call.
    pub called_by: UserId,
    pub state: State,
}

/// Where a party stands. A party that left may be invited or join again.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum State {
    /// The caller, before anyone accepted.
    Calling(Seat),
    /// Rung on all of the user's devices.
    Ringing { until: Timestamp },
    /// A member.
    In { since: Timestamp, seat: Seat, media: Media },
    /// Never connected.
    Missed(Outcome),
    /// Was a member.
    Left,
}

/// The device through which a user takes part, and what became of its connection.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Seat {
    pub session: SessionId,
    pub link: Link,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Link {
    Up,
    /// Held until then, for a client that comes back; the reason is what its leaving will be called.
    Lost {
        until: Timestamp,
        reason: EndReason,
    },
}

/// What of a member others can hear and see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Media {
    pub audio: bool,
    pub video: bool,
}

impl Party {
    pub fn is_in(&self) -> bool {
        matches!(self.state, State::In { .. })
    }

    pub fn is_ringing(&self) -> bool {
        matches!(self.state, State::Ringing { .. })
    }

    /// Calling, ringing or in: the user is busy with this call.
    pub fn is_engaged(&self) -> bool {
        matches!(self.state, State::Calling(_) | State::Ringing { .. } | State::In { .. })
    }

    /// The seat of a caller who waits or of a member.
    pub fn seat(&self) -> Option<&Seat> {
        match &self.state {
            State::Calling(seat) | State::In { seat, .. } => Some(seat),
            _ => None,
        }
    }

    pub(super) fn seat_mut(&mut self) -> Option<&mut Seat> {
        match &mut self.state {
            State::Calling(seat) | State::In { seat, .. } => Some(seat),
            _ => None,
        }
    }

    /// When this party's state changes by itself.
    pub fn deadline(&self) -> Option<Timestamp> {
        match (&self.state, self.seat().map(|seat| seat.link)) {
            (State::Ringing { until }, _) => Some(*until),
            (_, Some(Link::Lost { until, .. })) => Some(until),
            _ => None,
        }
    }
}

impl Seat {
    pub fn new(session: SessionId) -> Self {
        Self { session, link: Link::Up }
    }
}
