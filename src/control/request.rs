//! Requests of clients about calls.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::base::{CallId, Mid, PeerId, SessionId, Source, Timestamp, UserId};
use crate::call::{self, Call, Invitee, Kind, Placing, Refusal};
use crate::event::{CallMediaType, ErrorCode, RoomId};
use crate::media::command::Permissions;
use crate::media::{Command, SlotWish, negotiate};

use super::apply::State;
use super::input::{Moment, Request, RequestId, Target, Wish};
use super::message::Reply;
use super::session::member_briefs;

/// A reply, or none yet when the media plane gives it.
type Outcome = Result<Option<Reply>, Refusal>;

impl State {
    pub(super) fn request(&mut self, id: SessionId, request: &RequestId, body: Request, moment: Moment) -> Outcome {
        let now = moment.now;
        let Some(session) = self.sessions.get(&id) else {
            return Err(Refusal::new(ErrorCode::NotLoggedIn, "the session is over"));
        };
        let member = call::Member { user: session.user.clone(), session: id };
        match body {
            Request::Call { .. } => self.place(member, body, moment),
            Request::Accept { call } => self.accept(call, member, now),
            Request::Reject { call } => self.done(call, now, |call, now| call.reject(&member.user, now)),
            Request::HangUp { call } => self.hang_up(call, &member, now),
            Request::Invite { call, users, timeout } => {
                self.check_seat(call, &member)?;
                self.invite(call, &member.user, users, timeout, now)
            }
            Request::Join { target, media_type } => self.join(target, media_type, member, moment),
            Request::SwitchMediaType { call, to } => {
                self.check_seat(call, &member)?;
                self.done(call, now, |call, now| call.switch_media_type(&member.user, to, now))
            }
            Request::Offer { call, sdp, sources } => self.offer(call, member, request, (sdp, sources), now),
            Request::Mute { call, source, muted } => {
                self.check_seat(call, &member)?;
                self.mute(call, &member.user, source, muted, now)
            }
            Request::View { call, slots } => {
                self.check_seat(call, &member)?;
                self.view(call, &member.user, slots)
            }
        }
    }

    /// A change of one call that is answered with nothing but success.
    fn done(
        &mut self,
        call: CallId,
        now: Timestamp,
        change: impl FnOnce(&mut Call, Timestamp) -> Result<(), Refusal>,
    ) -> Outcome {
        self.with_call(call, now, |room, now| Some(change(&mut room.call, now))).ok_or_else(no_such_call)??;
        Ok(Some(Reply::Done))
    }

    pub(super) fn place(&mut self, caller: call::Member, body: Request, moment: Moment) -> Outcome {
        let Request::Call { users, media_type, room, group_id, timeout, user_data, webhook } = body else {
            unreachable!("only calls are placed")
        };
        self.check_takes_calls()?;
        self.check_idle(&caller.user)?;
        let room = self.room_or_new(room, moment)?;
        self.check_create(caller.session, &room)?;
        let kind = if users.len() == 1 && group_id.is_empty() { Kind::OneToOne } else { Kind::Group };
        let callees = self.invitees(users);
        let ring_timeout = timeout.unwrap_or(self.settings.ring_timeout);
        let id = CallId::new(moment.now, moment.entropy);
        let limits = self.settings.limits;
        let placing = Placing {
            id,
            kind,
            room: room.clone(),
            media_type,
            group_id,
            user_data,
            caller,
            callees,
            ring_timeout,
            limits,
        };
        let call = Call::place(placing, moment.now)?;
        self.adopt(call);
        self.turn.webhooks.extend(webhook.map(|webhook| (id, webhook)));
        self.flush(id);
        Ok(Some(Reply::Placed { call: id, room }))
    }

    fn accept(&mut self, id: CallId, member: call::Member, now: Timestamp) -> Outcome {
        let room = self.calls.get(&id).ok_or_else(no_such_call)?;
        self.check_enter(member.session, room.call.room())?;
        self.with_call(id, now, |room, now| Some(room.call.accept(member, now))).ok_or_else(no_such_call)??;
        self.entered(id)
    }

    fn entered(&mut self, id: CallId) -> Outcome {
        let room = self.calls.get(&id).ok_or_else(no_such_call)?;
        Ok(Some(Reply::Entered { call: id, room: room.call.room().clone(), members: member_briefs(room) }))
    }

    /// A device that takes part leaves or cancels, a ringing one declines; for a device that is gone another one of the user speaks.
    fn hang_up(&mut self, id: CallId, member: &call::Member, now: Timestamp) -> Outcome {
        let holder = self.calls.get(&id).and_then(|room| room.call.session_of(&member.user));
        if holder.is_none_or(|holder| self.sessions.contains_key(&holder)) {
            self.check_seat(id, member)?;
        }
        self.done(id, now, |call, now| call.hang_up(&member.user, now))
    }

    fn invite(
        &mut self,
        id: CallId,
        inviter: &UserId,
        users: Vec<UserId>,
        timeout: Option<Duration>,
        now: Timestamp,
    ) -> Outcome {
        let invitees = self.invitees(users);
        self.done(id, now, |call, now| call.invite(inviter, invitees, timeout, now))
    }

    fn invitees(&self, users: Vec<UserId>) -> Vec<Invitee> {
        users.into_iter().map(|user| Invitee { busy: self.presence.call(&user).is_some(), user }).collect()
    }

    fn join(&mut self, target: Target, media_type: CallMediaType, member: call::Member, moment: Moment) -> Outcome {
        let id = match &target {
            Target::Call(id) => *id,
            Target::Room(room) => match self.rooms.get(room) {
                Some(id) => *id,
                None => return self.open(room.clone(), media_type, member, moment),
            },
        };
        let room = self.calls.get(&id).ok_or_else(no_such_call)?;
        self.check_enter(member.session, room.call.room())?;
        if self.presence.call(&member.user).is_some_and(|busy| busy != id) {
            return Err(Refusal::state("this user is in another call"));
        }
        let takes_over = room.call.session_of(&member.user).is_some();
        let result = self.with_call(id, moment.now, |room, now| Some(room.call.join(member.clone(), now)));
        result.ok_or_else(no_such_call)??;
        if takes_over {
            self.taken_over(id, &member.user, moment.now);
        }
        self.entered(id)
    }

    /// A room without ringing, begun by its first member.
    fn open(&mut self, room: RoomId, media_type: CallMediaType, member: call::Member, moment: Moment) -> Outcome {
        self.check_takes_calls()?;
        self.check_idle(&member.user)?;
        self.check_create(member.session, &room)?;
        let id = CallId::new(moment.now, moment.entropy);
        let placing = Placing {
            id,
            kind: Kind::Room,
            room,
            media_type,
            group_id: String::new(),
            user_data: String::new(),
            caller: member,
            callees: Vec::new(),
            ring_timeout: self.settings.ring_timeout,
            limits: self.settings.limits,
        };
        self.adopt(Call::open(placing, moment.now));
        self.flush(id);
        self.entered(id)
    }

    /// Another device of a member has the seat: the old one's media goes.
    fn taken_over(&mut self, id: CallId, user: &UserId, now: Timestamp) {
        let room = self.calls.get_mut(&id).expect("the caller looked it up");
        let Some(member) = room.members.get_mut(user) else { return };
        // The new device decides for itself what it mutes.
        (member.signal_lost, member.muted) = (false, BTreeSet::new());
        self.drop_media(id, user, now);
        self.narrow(user, now);
    }

    /// A client that offers with another certificate began anew: its old connection will not be heard of again.
    fn meet(&mut self, id: CallId, user: &UserId, certificate: Option<&str>, now: Timestamp) {
        let room = self.calls.get_mut(&id).expect("the caller looked it up");
        let member = room.members.get_mut(user).expect("the caller looked it up");
        let known = std::mem::replace(&mut member.certificate, certificate.map(str::to_owned));
        if member.peer.is_some() && known.as_deref() != certificate {
            self.drop_media(id, user, now);
        }
    }

    fn drop_media(&mut self, id: CallId, user: &UserId, now: Timestamp) {
        let room = self.calls.get_mut(&id).expect("the caller looked it up");
        let member = room.members.get_mut(user).expect("the caller looked it up");
        member.media_lost = false;
        // Of the old connection nothing arrives any more.
        member.flowing.clear();
        if let Some(peer) = member.peer.take() {
            self.peers.remove(&peer);
            self.turn.media.push(Command::Leave { room: room.key, peer });
        }
        self.media_changed(id, user, now);
        self.tell_quality(id);
    }

    fn offer(
        &mut self,
        id: CallId,
        member: call::Member,
        request: &RequestId,
        (sdp, sources): (String, Vec<(Mid, Source)>),
        now: Timestamp,
    ) -> Outcome {
        let room = self.calls.get(&id).ok_or_else(no_such_call)?;
        let holder = room.call.session_of(&member.user);
        if !room.members.contains_key(&member.user) {
            return Err(Refusal::state("only a member of the call offers media"));
        }
        if holder != Some(member.session) {
            // A new log-in takes the call over from the one it replaced, by offering.
            if holder.is_some_and(|holder| self.sessions.contains_key(&holder)) {
                return Err(Refusal::state("this user takes part on another device"));
            }
            self.check_enter(member.session, room.call.room())?;
            self.with_call(id, now, |room, now| room.call.resume(&member, now));
            self.taken_over(id, &member.user, now);
        }
        self.meet(id, &member.user, negotiate::certificate(&sdp), now);
        let peer = self.peer_of(id, &member.user);
        let number = self.next_number();
        self.offers.insert(number, (member.session, request.clone()));
        let may_receive = self.may_receive(member.session);
        let room = self.calls[&id].key;
        self.turn.media.push(Command::Offer { room, peer, request: number, sdp, sources, may_receive });
        self.forward_all(id, &member.user);
        Ok(None)
    }

    fn peer_of(&mut self, id: CallId, user: &UserId) -> PeerId {
        let number = self.next_number();
        let room = self.calls.get_mut(&id).expect("the caller looked it up");
        let member = room.members.get_mut(user).expect("the caller looked it up");
        let peer = *member.peer.get_or_insert(PeerId(number));
        self.peers.insert(peer, id);
        peer
    }

    fn may_receive(&self, session: SessionId) -> Permissions {
        match self.sessions.get(&session).and_then(|session| session.grant.as_ref()) {
            Some(grant) => {
                Permissions { audio: grant.receive_audio, video: grant.receive_video, screen: grant.receive_screen }
            }
            None => Permissions::ALL,
        }
    }

    /// A peer that is new to the media plane learns what is muted.
    fn forward_all(&mut self, id: CallId, user: &UserId) {
        let room = &self.calls[&id];
        let member = &room.members[user];
        let Some(peer) = member.peer else { return };
        for source in Source::ALL {
            if !member.is_forwarded(source) {
                self.turn.media.push(Command::Forward { room: room.key, peer, source, forward: false });
            }
        }
    }

    fn mute(&mut self, id: CallId, user: &UserId, source: Source, muted: bool, now: Timestamp) -> Outcome {
        let room = self.calls.get_mut(&id).ok_or_else(no_such_call)?;
        let member = room.members.get_mut(user).ok_or_else(|| Refusal::state("only a member of the call mutes"))?;
        if !muted && member.silenced.contains(&source) {
            return Err(Refusal::new(ErrorCode::Blocked, "the server has muted this source"));
        }
        if !muted && member.forbidden.contains(&source) {
            return Err(Refusal::new(ErrorCode::Blocked, "the PrivateMapKey does not allow sending this source"));
        }
        if muted {
            member.muted.insert(source);
        } else {
            member.muted.remove(&source);
        }
        self.forward(id, user, source);
        self.media_changed(id, user, now);
        Ok(Some(Reply::Done))
    }

    /// Has the media plane forward a member's source, or not any more, after something about it changed.
    pub(super) fn forward(&mut self, id: CallId, user: &UserId, source: Source) {
        let Some(room) = self.calls.get(&id) else { return };
        let Some(member) = room.members.get(user) else { return };
        if let Some(peer) = member.peer {
            let forward = member.is_forwarded(source);
            self.turn.media.push(Command::Forward { room: room.key, peer, source, forward });
        }
    }

    fn view(&mut self, id: CallId, user: &UserId, wishes: Vec<Wish>) -> Outcome {
        let room = self.calls.get(&id).ok_or_else(no_such_call)?;
        let viewer = room.members.get(user).ok_or_else(|| Refusal::state("only a member of the call views it"))?;
        let peer = viewer.peer.ok_or_else(|| Refusal::state("slots are chosen after the first offer"))?;
        let slots = wishes
            .into_iter()
            .map(|wish| {
                let publisher = match &wish.user {
                    Some(wished) if !room.members.contains_key(wished) => {
                        return Err(Refusal::parameter(format!("{wished} is not in the call")));
                    }
                    // A member without media yet has nothing to show: the slot stays empty.
                    Some(wished) => room.members[wished].peer,
                    None => None,
                };
                Ok(SlotWish { mid: wish.mid, publisher, source: wish.source, max_height: wish.max_height })
            })
            .collect::<Result<_, _>>()?;
        self.turn.media.push(Command::View { room: room.key, peer, slots });
        Ok(Some(Reply::Done))
    }

    /// Whoever takes part does so on one device.
    fn check_seat(&self, id: CallId, member: &call::Member) -> Result<(), Refusal> {
        let room = self.calls.get(&id).ok_or_else(no_such_call)?;
        match room.call.session_of(&member.user) {
            Some(session) if session != member.session => Err(Refusal::state("this user takes part on another device")),
            _ => Ok(()),
        }
    }

    fn check_takes_calls(&self) -> Result<(), Refusal> {
        if self.draining.is_some() {
            return Err(Refusal::new(ErrorCode::Unavailable, "this server is being stopped and takes no new calls"));
        }
        if !self.writable {
            return Err(Refusal::new(
                ErrorCode::Unavailable,
                "this server cannot write its record and takes no new calls",
            ));
        }
        Ok(())
    }

    fn check_idle(&self, user: &UserId) -> Result<(), Refusal> {
        match self.presence.call(user) {
            Some(_) => Err(Refusal::state("this user is in a call or being rung for one")),
            None => Ok(()),
        }
    }

    fn check_enter(&self, session: SessionId, room: &RoomId) -> Result<(), Refusal> {
        let may = self.sessions.get(&session).is_some_and(|session| session.may_enter(room));
        if may { Ok(()) } else { Err(Refusal::new(ErrorCode::Blocked, "the PrivateMapKey does not allow this room")) }
    }

    fn check_create(&self, session: SessionId, room: &RoomId) -> Result<(), Refusal> {
        self.check_enter(session, room)?;
        let grant = self.sessions.get(&session).and_then(|session| session.grant.as_ref());
        if grant.is_none_or(|grant| grant.create) {
            Ok(())
        } else {
            Err(Refusal::new(ErrorCode::Blocked, "the PrivateMapKey does not allow making this room"))
        }
    }

    /// The room the caller chose, if it is free, or a free number.
    fn room_or_new(&self, chosen: Option<RoomId>, moment: Moment) -> Result<RoomId, Refusal> {
        if let Some(room) = chosen {
            return match self.rooms.contains_key(&room) {
                true => Err(Refusal::state("a call goes on in this room")),
                false => Ok(room),
            };
        }
        let [a, b, c, d, ..] = moment.entropy;
        let mut number = u32::from_be_bytes([a, b, c, d]);
        loop {
            let room = RoomId::Int(number.max(1));
            if !self.rooms.contains_key(&room) {
                return Ok(room);
            }
            number = number.wrapping_add(1);
        }
    }
}

fn no_such_call() -> Refusal {
    Refusal::state("there is no such call, or it has ended")
}
