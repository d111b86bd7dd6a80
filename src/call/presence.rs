//! Who is online on which devices, and which call each user is busy with.

use std::collections::HashMap;

use crate::base::{CallId, SessionId, UserId};

/// The users the node knows anything of; a user without a session and without a call is forgotten.
#[derive(Debug, Default)]
pub struct Presence {
    users: HashMap<UserId, Entry>,
}

#[derive(Debug, Default)]
struct Entry {
    /// Oldest first.
    sessions: Vec<SessionId>,
    call: Option<CallId>,
}

impl Presence {
    /// The user's devices, oldest first.
    pub fn sessions(&self, user: &UserId) -> &[SessionId] {
        self.users.get(user).map_or(&[], |entry| &entry.sessions)
    }

    /// The call the user rings for, waits in or is in.
    pub fn call(&self, user: &UserId) -> Option<CallId> {
        self.users.get(user).and_then(|entry| entry.call)
    }

    pub fn log_in(&mut self, user: &UserId, session: SessionId) {
        let sessions = &mut self.users.entry(user.clone()).or_default().sessions;
        assert!(!sessions.contains(&session), "a session logs in once");
        sessions.push(session);
    }

    pub fn log_out(&mut self, user: &UserId, session: SessionId) {
        if let Some(entry) = self.users.get_mut(user) {
            entry.sessions.retain(|known| *known != session);
        }
        self.forget_idle(user);
    }

    pub fn engage(&mut self, user: &UserId, call: CallId) {
        let engaged = self.users.entry(user.clone()).or_default().call.replace(call);
        assert!(engaged.is_none() || engaged == Some(call), "a user is busy with one call");
    }

    pub fn release(&mut self, user: &UserId, call: CallId) {
        if let Some(entry) = self.users.get_mut(user)
            && entry.call == Some(call)
        {
            entry.call = None;
        }
        self.forget_idle(user);
    }

    fn forget_idle(&mut self, user: &UserId) {
        if self.users.get(user).is_some_and(|entry| entry.sessions.is_empty() && entry.call.is_none()) {
            self.users.remove(user);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_with_neither_session_nor_call_is_forgotten() {
        let (user, session, call) = ("u".parse().unwrap(), SessionId::from_u128(1), CallId::from_u128(2));
        let mut presence = Presence::default();
        presence.log_in(&user, session);
        presence.engage(&user, call);
        presence.log_out(&user, session);
        assert_eq!(presence.call(&user), Some(call));
        presence.release(&user, CallId::from_u128(3));
        assert_eq!(presence.call(&user), Some(call), "another call's release changes nothing");
        presence.release(&user, call);
        assert!(presence.users.is_empty());
    }
}
