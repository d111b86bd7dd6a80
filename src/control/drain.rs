//! The end of the node, as calls and sessions see it: no new calls, some time for those that go on, then an end or a hold.

use std::time::Duration;

use crate::base::{CallId, SessionId, Timestamp};
use crate::event::EndReason;

use super::apply::State;
use super::message::Message;

impl State {
    /// Sessions are told once; a second call changes nothing.
    pub(super) fn drain(&mut self, within: Duration, now: Timestamp) {
        if self.draining.is_some() {
            return;
        }
        self.draining = Some(now + within);
        let sessions: Vec<SessionId> = self.sessions.keys().copied().collect();
        for session in sessions {
            self.tell_stopping(session, now);
        }
    }

    /// To one session, if there is anything to tell.
    pub(super) fn tell_stopping(&mut self, session: SessionId, now: Timestamp) {
        if let Some(until) = self.draining {
            self.tell(session, Message::Stopping { within: until.since(now) });
        }
    }

    pub(super) fn end_calls(&mut self, now: Timestamp) {
        let calls: Vec<CallId> = self.calls.keys().copied().collect();
        for call in calls {
            // A call that is in the books has not ended, so this is not refused.
            let _ = self.with_call(call, now, |room, now| Some(room.call.dismiss(EndReason::NodeLost, now)));
        }
    }
}
