//! A user in JSON.

use serde::Serialize;
use utoipa::ToSchema;

use super::call::Time;
use crate::base::{CallId, SessionId, UserId};
use crate::control::view::{SessionView, UserView};

/// A user as the server knows them now; one it knows nothing of is offline.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct User {
    #[schema(value_type = String)]
    user_id: UserId,
    /// Whether a client of theirs is connected.
    online: bool,
    /// The call that they wait in, are rung for or are in.
    #[schema(value_type = Option<String>)]
    call_id: Option<CallId>,
    /// Their log-ins, oldest first.
    sessions: Vec<Session>,
}

/// One log-in.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Session {
    #[schema(value_type = String)]
    session_id: SessionId,
    connected: bool,
    #[schema(value_type = String, format = DateTime)]
    logged_in_at: Time,
    /// Until when a client that is not connected may come back.
    #[schema(value_type = Option<String>, format = DateTime)]
    held_until: Option<Time>,
    /// When its UserSig, or the grace after it, runs out.
    #[schema(value_type = String, format = DateTime)]
    ticket_until: Time,
}

impl From<UserView> for User {
    fn from(user: UserView) -> Self {
        let sessions: Vec<Session> = user.sessions.into_iter().map(Session::from).collect();
        let online = sessions.iter().any(|session| session.connected);
        Self { user_id: user.user, online, call_id: user.call, sessions }
    }
}

impl From<SessionView> for Session {
    fn from(view: SessionView) -> Self {
        Self {
            session_id: view.session,
            connected: view.held_until.is_none(),
            logged_in_at: Time(view.session.made_at()),
            held_until: view.held_until.map(Time),
            ticket_until: Time(view.ticket_until),
        }
    }
}
