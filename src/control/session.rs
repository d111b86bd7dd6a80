//! Log-ins: devices come, drop their connection, come back, are kicked by another, run out of their ticket.

use std::collections::BTreeSet;

use crate::base::{CallId, SessionId, Source, Timestamp, UserId};
use crate::call::{Party, State as PartyState};
use crate::event::{EndReason, Event, RoomId};

use super::apply::{State, Timer};
use super::input::{ConnectionId, Grant, LogIn, Renewal};
use super::message::{CallBrief, Closing, MemberBrief, Message, Reply};
use super::room::Room;

/// One logged-in device.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) user: UserId,
    pub(super) grant: Option<Grant>,
    connection: ConnectionId,
    link: Link,
    ticket: Ticket,
}

#[derive(Debug, Clone, Copy)]
enum Link {
    Attached,
    /// The client may come back until then.
    Detached {
        until: Timestamp,
    },
}

#[derive(Debug, Clone, Copy)]
enum Ticket {
    Valid {
        until: Timestamp,
    },
    /// The client was told; it may renew until then.
    Expired {
        until: Timestamp,
    },
}

impl Session {
    pub(super) fn is_attached(&self) -> bool {
        matches!(self.link, Link::Attached)
    }

    /// For the operator: whether a client is connected, and otherwise until when it is waited for; and until when its ticket holds.
    pub(super) fn times(&self) -> (Option<Timestamp>, Timestamp) {
        let (Ticket::Valid { until: ticket } | Ticket::Expired { until: ticket }) = self.ticket;
        match self.link {
            Link::Attached => (None, ticket),
            Link::Detached { until } => (Some(until), ticket),
        }
    }

    fn deadline(&self) -> Timestamp {
        let (Ticket::Valid { until: ticket } | Ticket::Expired { until: ticket }) = self.ticket;
        match self.link {
            Link::Attached => ticket,
            Link::Detached { until } => until.min(ticket),
        }
    }

    /// What a PrivateMapKey does not let this session send.
    pub(super) fn forbidden_sources(&self) -> BTreeSet<Source> {
        let Some(grant) = &self.grant else { return BTreeSet::new() };
        let may = |source| match source {
            Source::Microphone => grant.send_audio,
            Source::Camera => grant.send_video,
            Source::Screen => grant.send_screen,
        };
        Source::ALL.into_iter().filter(|source| !may(*source)).collect()
    }

    /// Whether a PrivateMapKey lets this session into the room.
    pub(super) fn may_enter(&self, room: &RoomId) -> bool {
        self.grant.as_ref().is_none_or(|grant| grant.enter && grant.room == *room)
    }
}

impl State {
    pub(super) fn log_in(&mut self, log_in: LogIn, now: Timestamp) {
        let LogIn { session: id, connection, request, user, expires, grant } = log_in;
        let ticket = Ticket::Valid { until: expires };
        match self.sessions.get_mut(&id) {
            Some(session) => {
                assert!(session.user == user, "a resume token names its own user");
                *session = Session { user: user.clone(), grant, connection, link: Link::Attached, ticket };
            }
            None => {
                self.make_place(&user, now);
                self.presence.log_in(&user, id);
                self.sessions
                    .insert(id, Session { user: user.clone(), grant, connection, link: Link::Attached, ticket });
            }
        }
        self.set_session_timer(id);
        // The reply first: it opens the new connection, and what was missed follows it.
        let calls = self.presence.call(&user).and_then(|call| self.calls.get(&call)).map(|room| brief(room, &user));
        self.reply(id, request, Ok(Reply::LoggedIn { calls: calls.into_iter().flatten().collect() }));
        self.tell_stopping(id, now);
        self.signal_changed(id, &user, false, now);
        self.narrow(&user, now);
    }

    /// What a member's client may send follows its ticket.
    pub(super) fn narrow(&mut self, user: &UserId, now: Timestamp) {
        let Some(id) = self.presence.call(user) else { return };
        let Some(room) = self.calls.get_mut(&id) else { return };
        let session = room.call.session_of(user).and_then(|session| self.sessions.get(&session));
        let (Some(member), Some(session)) = (room.members.get_mut(user), session) else { return };
        let forbidden = session.forbidden_sources();
        if forbidden == member.forbidden {
            return;
        }
        let changed: Vec<Source> = forbidden.symmetric_difference(&member.forbidden).copied().collect();
        member.forbidden = forbidden;
        for source in changed {
            self.forward(id, user, source);
        }
        self.media_changed(id, user, now);
    }

    /// The oldest sessions give way to a new one.
    fn make_place(&mut self, user: &UserId, now: Timestamp) {
        let sessions = self.presence.sessions(user);
        let too_many = (sessions.len() + 1).saturating_sub(self.settings.sessions_per_user);
        let oldest = sessions[..too_many.min(sessions.len())].to_vec();
        for old in oldest {
            self.tell(old, Message::Event { call: None, event: Event::KickedOffline {}.into() });
            self.close_session(old, Closing::KickedByAnotherLogin, EndReason::Kicked, now);
        }
    }

    pub(super) fn renewed(&mut self, renewal: Renewal, now: Timestamp) {
        let Renewal { session: id, request, expires, grant } = renewal;
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.ticket = Ticket::Valid { until: expires.max(now) };
        session.grant = grant;
        let user = session.user.clone();
        self.set_session_timer(id);
        self.reply(id, request, Ok(Reply::Done));
        self.narrow(&user, now);
    }

    pub(super) fn dropped(&mut self, id: SessionId, connection: ConnectionId, now: Timestamp) {
        let until = now + self.settings.limits.resume_timeout;
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if session.connection != connection {
            // The client is back already, on another connection.
            return;
        }
        session.link = Link::Detached { until };
        let user = session.user.clone();
        self.set_session_timer(id);
        self.signal_changed(id, &user, true, now);
    }

    /// The signalling of the seat that this session holds, if it holds one.
    fn signal_changed(&mut self, id: SessionId, user: &UserId, lost: bool, now: Timestamp) {
        let Some(call) = self.presence.call(user) else { return };
        let Some(room) = self.calls.get_mut(&call) else { return };
        if room.call.session_of(user) != Some(id) {
            return;
        }
        if let Some(member) = room.members.get_mut(user) {
            member.signal_lost = lost;
        }
        self.link_changed(call, user, lost, EndReason::Offline, now);
    }

    pub(super) fn session_due(&mut self, id: SessionId, now: Timestamp) {
        let grace = self.settings.renew_grace;
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if let Link::Detached { until } = session.link
            && until <= now
        {
            return self.close_session(id, Closing::Abandoned, EndReason::Offline, now);
        }
        match session.ticket {
            Ticket::Valid { until } if until <= now => {
                session.ticket = Ticket::Expired { until: now + grace };
                self.tell(id, Message::Event { call: None, event: Event::UserSigExpired {}.into() });
            }
            Ticket::Expired { until } if until <= now => {
                return self.close_session(id, Closing::TicketExpired, EndReason::Offline, now);
            }
            _ => {}
        }
        self.set_session_timer(id);
    }

    fn close_session(&mut self, id: SessionId, closing: Closing, reason: EndReason, now: Timestamp) {
        let Some(session) = self.sessions.remove(&id) else { return };
        self.timers.set(Timer::Session(id), None);
        self.presence.log_out(&session.user, id);
        self.tell(id, Message::Close { reason: closing });
        let Some(call) = self.presence.call(&session.user) else { return };
        let Some(room) = self.calls.get_mut(&call) else { return };
        if room.call.session_of(&session.user) == Some(id) {
            if let Some(member) = room.members.get_mut(&session.user) {
                member.signal_lost = true;
            }
            self.link_changed(call, &session.user, true, reason, now);
        }
    }

    fn set_session_timer(&mut self, id: SessionId) {
        let deadline = self.sessions.get(&id).map(Session::deadline);
        self.timers.set(Timer::Session(id), deadline);
    }

    /// A member's device or its media is gone or back: the call holds the seat, or lets the user have it again.
    pub(super) fn link_changed(&mut self, id: CallId, user: &UserId, lost: bool, reason: EndReason, now: Timestamp) {
        self.with_call(id, now, |room, now| {
            let Some(session) = room.call.session_of(user) else { return };
            if lost {
                room.call.lose(user, reason, now);
            } else if !room.members.get(user).is_some_and(|member| member.is_lost()) {
                room.call.resume(&crate::call::Member { user: user.clone(), session }, now);
            }
        });
        self.tell_quality(id);
    }
}

/// The call as this user's new log-in sees it; nothing when it does not concern them any more.
fn brief(room: &Room, user: &UserId) -> Option<CallBrief> {
    let party: &Party = room.call.party(user).filter(|party| party.is_engaged())?;
    Some(CallBrief {
        call: room.call.id(),
        room: room.call.room().clone(),
        media_type: room.call.media_type(),
        role: party.role,
        caller: party.called_by.clone(),
        group_id: room.call.group_id().to_owned(),
        user_data: room.call.user_data().to_owned(),
        ringing: party.is_ringing(),
        begun: room.call.begun().is_some(),
        members: member_briefs(room),
    })
}

/// The members as a newcomer is told of them.
pub(super) fn member_briefs(room: &Room) -> Vec<MemberBrief> {
    room.call
        .members()
        .filter_map(|party| match &party.state {
            PartyState::In { media, .. } => {
                Some(MemberBrief { user: party.user.clone(), role: party.role, audio: media.audio, video: media.video })
            }
            _ => None,
        })
        .collect()
}
