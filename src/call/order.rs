//! What the server orders in a call: its end, a user out of it, a source silent.

use super::machine::{Call, Output};
use super::party::State;
use super::refusal::Refusal;
use super::sanctions::Sanctions;
use crate::base::{Source, Timestamp, UserId};
use crate::event::{EndReason, ErrorCode, Outcome};

impl Call {
    pub fn sanctions(&self) -> &Sanctions {
        &self.sanctions
    }

    /// The server ends the call.
    pub fn dismiss(&mut self, reason: EndReason, now: Timestamp) -> Result<(), Refusal> {
        self.check_running()?;
        match self.begun() {
            Some(_) => self.finish(reason, now),
            None => self.cancel(reason, now),
        }
        Ok(())
    }

    /// The server puts a user out, whatever the user's part in the call.
    pub fn kick(&mut self, user: &UserId, reason: EndReason, now: Timestamp) -> Result<(), Refusal> {
        self.check_running()?;
        match self.party(user).map(|party| &party.state) {
            Some(State::Calling(_)) => self.cancel(reason, now),
            Some(State::In { .. }) => self.leave(user, reason, now),
            Some(State::Ringing { .. }) => {
                self.miss(user, Outcome::Kicked, now);
                self.settle(reason, now);
            }
            _ => return Err(Refusal::state("this user is not in the call")),
        }
        Ok(())
    }

    /// The server keeps a user out until then, who need not be in the call.
    ///
    /// # Errors
    /// More users are kept out than a call keeps.
    pub fn ban(&mut self, user: &UserId, until: Timestamp, now: Timestamp) -> Result<(), Refusal> {
        self.check_running()?;
        if !self.sanctions.ban(user, until, now) {
            return Err(Refusal::state("too many users are banned from the call"));
        }
        self.push(Output::Changed);
        Ok(())
    }

    /// The server has a user's source forwarded no more, or again as far as it is concerned.
    ///
    /// # Errors
    /// The user is not in the call or being rung for it.
    pub fn silence(&mut self, user: &UserId, source: Source, muted: bool) -> Result<(), Refusal> {
        self.check_running()?;
        if !self.party(user).is_some_and(|party| party.is_engaged()) {
            return Err(Refusal::state("this user is not in the call"));
        }
        self.sanctions.mute(user, source, muted);
        self.push(Output::Changed);
        Ok(())
    }

    /// # Errors
    /// The server keeps the user out.
    pub(super) fn check_not_banned(&self, user: &UserId, now: Timestamp) -> Result<(), Refusal> {
        match self.sanctions.banned(user, now) {
            Some(until) => {
                let seconds = until.since(now).as_millis().div_ceil(1000);
                let reason = format!("{user} is kept out of this call for {seconds} s more");
                Err(Refusal::new(ErrorCode::Blocked, reason))
            }
            None => Ok(()),
        }
    }
}
