//! Running calls as the backend and the operator see them.

use crate::base::{CallId, Quality, SessionId, Source, Timestamp, UserId, Volume};
use crate::call::{Kind, Link, Party, State as PartyState};
use crate::event::{CallMediaType, CallRole, Outcome, RoomId};
use crate::media::PeerQuality;

use super::apply::State;
use super::operation::{CallPage, CallQuery, Denial, Stage};
use super::room::{Member, Room};

/// A running call in short.
#[derive(Debug, Clone, PartialEq)]
pub struct CallOverview {
    pub call: CallId,
    pub kind: Kind,
    pub room: RoomId,
    pub media_type: CallMediaType,
    pub caller: UserId,
    pub group_id: String,
    pub begun: Option<Timestamp>,
    pub members: Vec<UserId>,
    pub ringing: Vec<UserId>,
    /// The number of its last fact.
    pub seq: u64,
}

/// A running call with everyone it concerns or has concerned.
#[derive(Debug, Clone, PartialEq)]
pub struct CallDetail {
    pub overview: CallOverview,
    pub user_data: String,
    pub parties: Vec<PartyView>,
}

/// One user's part in a call.
#[derive(Debug, Clone, PartialEq)]
pub struct PartyView {
    pub user: UserId,
    pub role: CallRole,
    pub called_by: UserId,
    pub standing: Standing,
    /// Of a waiting caller and of members.
    pub seat: Option<Link>,
    /// Of members.
    pub media: Option<MediaView>,
}

/// Where a party stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Calling,
    Ringing { until: Timestamp },
    In { since: Timestamp },
    Missed(Outcome),
    Left,
}

/// A member's media.
#[derive(Debug, Clone, PartialEq)]
pub struct MediaView {
    /// Whether there is a media connection.
    pub connected: bool,
    pub sources: Vec<SourceView>,
    pub volume: Volume,
    /// As everyone in the call is told.
    pub level: Quality,
    /// The figures behind the level, once the media plane has given any.
    pub network: Option<PeerQuality>,
}

/// One of a member's sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceView {
    pub source: Source,
    /// Whether its packets arrive.
    pub flowing: bool,
    /// By its client.
    pub muted: bool,
    /// By the server.
    pub silenced: bool,
    /// A PrivateMapKey does not let its client send it.
    pub forbidden: bool,
}

/// A user's devices and the call they are busy with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserView {
    pub user: UserId,
    /// Oldest first.
    pub sessions: Vec<SessionView>,
    pub call: Option<CallId>,
}

/// One log-in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionView {
    pub session: SessionId,
    /// Until when a client that is not connected may come back.
    pub held_until: Option<Timestamp>,
    /// When its ticket, or the grace after it, runs out.
    pub ticket_until: Timestamp,
}

impl State {
    pub(super) fn read_call(&self, call: CallId) -> Result<CallDetail, Denial> {
        self.calls.get(&call).map(detail).ok_or(Denial::NoSuchCall)
    }

    /// A user whom the server knows nothing of is one who is offline.
    pub(super) fn read_user(&self, user: UserId) -> UserView {
        let view = |id: &SessionId| {
            let (held_until, ticket_until) = self.sessions.get(id)?.times();
            Some(SessionView { session: *id, held_until, ticket_until })
        };
        let sessions = self.presence.sessions(&user).iter().filter_map(view).collect();
        UserView { sessions, call: self.presence.call(&user), user }
    }

    pub(super) fn list_calls(&self, query: &CallQuery) -> CallPage {
        let mut found: Vec<&Room> = self.calls.values().filter(|room| query.takes(room)).collect();
        found.sort_unstable_by_key(|room| room.call.id());
        let more = found.len() > query.limit;
        found.truncate(query.limit);
        let next = found.last().filter(|_| more).map(|room| room.call.id());
        CallPage { calls: found.into_iter().map(overview).collect(), next }
    }
}

impl CallQuery {
    fn takes(&self, room: &Room) -> bool {
        let call = &room.call;
        let stage = if call.begun().is_some() { Stage::Begun } else { Stage::Ringing };
        self.after.is_none_or(|after| call.id() > after)
            && self.stage.is_none_or(|wanted| wanted == stage)
            && self.room.as_ref().is_none_or(|wanted| wanted == call.room())
            && self.group_id.as_ref().is_none_or(|wanted| wanted == call.group_id())
            && self.user.as_ref().is_none_or(|user| call.party(user).is_some_and(Party::is_engaged))
    }
}

fn overview(room: &Room) -> CallOverview {
    let call = &room.call;
    let users = |which: fn(&Party) -> bool| {
        call.parties().iter().filter(|party| which(party)).map(|party| party.user.clone()).collect()
    };
    CallOverview {
        call: call.id(),
        kind: call.kind(),
        room: call.room().clone(),
        media_type: call.media_type(),
        caller: call.caller().clone(),
        group_id: call.group_id().to_owned(),
        begun: call.begun(),
        members: users(Party::is_in),
        ringing: users(Party::is_ringing),
        seq: call.seq(),
    }
}

fn detail(room: &Room) -> CallDetail {
    let parties = room.call.parties().iter().map(|party| PartyView {
        user: party.user.clone(),
        role: party.role,
        called_by: party.called_by.clone(),
        standing: standing(&party.state),
        seat: party.seat().map(|seat| seat.link),
        media: room.members.get(&party.user).map(media),
    });
    CallDetail { overview: overview(room), user_data: room.call.user_data().to_owned(), parties: parties.collect() }
}

fn standing(state: &PartyState) -> Standing {
    match state {
        PartyState::Calling(_) => Standing::Calling,
        PartyState::Ringing { until } => Standing::Ringing { until: *until },
        PartyState::In { since, .. } => Standing::In { since: *since },
        PartyState::Missed(outcome) => Standing::Missed(*outcome),
        PartyState::Left => Standing::Left,
    }
}

fn media(member: &Member) -> MediaView {
    let sources = Source::ALL.into_iter().map(|source| SourceView {
        source,
        flowing: member.flowing.contains(&source),
        muted: member.muted.contains(&source),
        silenced: member.silenced.contains(&source),
        forbidden: member.forbidden.contains(&source),
    });
    MediaView {
        connected: member.peer.is_some() && !member.media_lost,
        sources: sources.collect(),
        volume: member.heard_volume(),
        level: member.level(),
        network: member.quality.clone(),
    }
}
