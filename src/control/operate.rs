//! Operations carried out: the backend's orders go the way of clients' requests.

use std::time::Duration;

use crate::base::{CallId, SessionId, Source, Timestamp, UserId};
use crate::call::{self, Party, Refusal};
use crate::event::{EndReason, Event};

use super::apply::State;
use super::input::{Moment, Request};
use super::message::{Message, Reply};
use super::operation::{Answer, Denial, Operation, Order, Placement};

impl State {
    pub(super) fn operate(&mut self, operation: Operation, moment: Moment) -> Result<Answer, Denial> {
        match operation {
            Operation::ListCalls(query) => Ok(Answer::Calls(self.list_calls(&query))),
            Operation::ReadCall { call } => self.read_call(call).map(|call| Answer::Call(Box::new(call))),
            Operation::ReadUser { user } => Ok(Answer::User(self.read_user(user))),
            Operation::Place(placement) => self.place_for(placement, moment),
            Operation::Order { call, order } => {
                self.carry_order(call, order, moment.now)?;
                Ok(Answer::Done)
            }
        }
    }

    /// A call whose caller did not ask for it: the device that will carry it is told.
    fn place_for(&mut self, placement: Placement, moment: Moment) -> Result<Answer, Denial> {
        let Placement { caller, users, media_type, room, group_id, timeout, user_data, webhook } = placement;
        let session = self.newest_device(&caller).ok_or(Denial::CallerOffline)?;
        let member = call::Member { user: caller, session };
        let callees = users.clone();
        let body = Request::Call {
            users,
            media_type,
            room,
            group_id: group_id.clone(),
            timeout,
            user_data: user_data.clone(),
            webhook,
        };
        let before = self.turn.tells.len();
        let Some(Reply::Placed { call, room }) = self.place(member, body, moment)? else {
            unreachable!("a placed call is answered at once")
        };
        let event = Event::CallPlaced {
            room_id: room.clone(),
            callee_id_list: callees,
            group_id,
            call_media_type: media_type,
            user_data,
        };
        // Before anything else that its device is told of it.
        self.turn.tells.insert(before, (session, Message::Event { call: Some(call), event: event.into() }));
        Ok(Answer::Placed { call, room })
    }

    /// The device that logged in last among those that are connected.
    fn newest_device(&self, user: &UserId) -> Option<SessionId> {
        let sessions = self.presence.sessions(user).iter().rev().copied();
        sessions.into_iter().find(|id| self.sessions.get(id).is_some_and(super::session::Session::is_attached))
    }

    fn carry_order(&mut self, id: CallId, order: Order, now: Timestamp) -> Result<(), Denial> {
        if !self.calls.contains_key(&id) {
            return Err(Denial::NoSuchCall);
        }
        match order {
            Order::Dismiss => self.order(id, now, |call| call.dismiss(EndReason::Dismissed, now)),
            Order::Kick { user, ban } => self.kick(id, &user, ban, now),
            Order::Mute { user, source, muted } => self.silence(id, &user, source, muted, now),
        }
    }

    fn order(
        &mut self,
        id: CallId,
        now: Timestamp,
        order: impl FnOnce(&mut call::Call) -> Result<(), Refusal>,
    ) -> Result<(), Denial> {
        self.with_call(id, now, |room, _| Some(order(&mut room.call))).ok_or(Denial::NoSuchCall)??;
        Ok(())
    }

    /// The ban first: who is kicked could be back before it otherwise. It holds for one who has just left, too.
    fn kick(&mut self, id: CallId, user: &UserId, ban: Option<Duration>, now: Timestamp) -> Result<(), Denial> {
        let engaged = self.calls[&id].call.party(user).is_some_and(Party::is_engaged);
        if !engaged && ban.is_none() {
            return Err(Denial::NoSuchMember);
        }
        self.order(id, now, |call| {
            if let Some(span) = ban {
                call.ban(user, now + span, now)?;
            }
            if engaged { call.kick(user, EndReason::Kicked, now) } else { Ok(()) }
        })
    }

    fn silence(
        &mut self,
        id: CallId,
        user: &UserId,
        source: Source,
        muted: bool,
        now: Timestamp,
    ) -> Result<(), Denial> {
        if !self.calls[&id].call.party(user).is_some_and(Party::is_engaged) {
            return Err(Denial::NoSuchMember);
        }
        self.order(id, now, |call| call.silence(user, source, muted))?;
        let room = self.calls.get_mut(&id).expect("a mute ends no call");
        let silenced = room.call.sanctions().muted(user);
        if let Some(member) = room.members.get_mut(user) {
            member.silenced = silenced;
        }
        self.forward(id, user, source);
        self.media_changed(id, user, now);
        Ok(())
    }
}
