//! A call in JSON.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::page::{Limit, Page};
use crate::base::{CallId, Quality, Timestamp, UserId};
use crate::call::{self, Link};
use crate::control::view::{CallDetail, CallOverview, MediaView, PartyView, SourceView, Standing};
use crate::control::{CallPage, CallQuery, Stage};
use crate::event::{CallMediaType, CallRole, Outcome, RoomId};
use crate::media::{Cause, Direction};

/// Which calls to list, all of these together.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct CallFilter {
    /// Calls that this user waits in, is rung for or is in.
    #[param(value_type = Option<String>)]
    user_id: Option<UserId>,
    /// The call in this room.
    #[param(value_type = Option<u64>, minimum = 1, maximum = 4294967295u32)]
    int_room_id: Option<u32>,
    /// The call in this room.
    str_room_id: Option<String>,
    /// Calls of this group.
    group_id: Option<String>,
    /// `ringing`: nobody has accepted yet; `begun`.
    #[param(inline)]
    state: Option<RunningState>,
    /// Calls placed after this one: `next` of the page before.
    #[param(value_type = Option<String>)]
    after: Option<CallId>,
    /// At most so many: 1 to 500, usually 100.
    #[param(value_type = Option<u16>, minimum = 1, maximum = 500)]
    limit: Limit,
}

#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum RunningState {
    Ringing,
    Begun,
}

impl CallFilter {
    /// # Errors
    /// A room that there cannot be.
    pub fn query(self) -> Result<CallQuery, &'static str> {
        let room = match (self.int_room_id, self.str_room_id) {
            (None, None) => None,
            (Some(number), None) if number > 0 => Some(RoomId::Int(number)),
            (None, Some(name)) => Some(RoomId::named(&name).ok_or("strRoomId: 1 to 64 bytes of printable ASCII")?),
            (Some(_), None) => return Err("intRoomId: 1 to 4294967295 is expected"),
            (Some(_), Some(_)) => return Err("one of intRoomId and strRoomId is expected, not both"),
        };
        let stage = self.state.map(|state| match state {
            RunningState::Ringing => Stage::Ringing,
            RunningState::Begun => Stage::Begun,
        });
        let Limit(limit) = self.limit;
        Ok(CallQuery { user: self.user_id, room, group_id: self.group_id, stage, after: self.after, limit })
    }
}

/// A room: the one of the two that was not chosen is 0 or "".
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Room {
    int_room_id: u32,
    str_room_id: String,
}

/// A running call in short.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = CallOverview)]
pub struct Overview {
    #[schema(value_type = String, example = "call_01hqk3v6c7f4m2n8p0r5s9t1wx")]
    call_id: CallId,
    kind: Kind,
    state: CallState,
    room_id: Room,
    /// 0 voice, 1 video.
    #[schema(value_type = u8)]
    call_media_type: CallMediaType,
    #[schema(value_type = String)]
    caller_id: UserId,
    group_id: String,
    #[schema(value_type = String, format = DateTime)]
    placed_at: Time,
    /// When the first callee accepted.
    #[schema(value_type = Option<String>, format = DateTime)]
    begun_at: Option<Time>,
    #[schema(value_type = Vec<String>)]
    member_id_list: Vec<UserId>,
    #[schema(value_type = Vec<String>)]
    ringing_id_list: Vec<UserId>,
    /// The number of the call's newest event.
    seq: u64,
}

#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = CallKind)]
enum Kind {
    /// One caller, one callee.
    OneToOne,
    Group,
    /// Entered without ringing.
    Room,
}

#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
enum CallState {
    /// Nobody has accepted yet.
    Ringing,
    Begun,
}

/// A running call with everyone it concerns or has concerned.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Call)]
pub struct Detail {
    #[serde(flatten)]
    overview: Overview,
    user_data: String,
    /// In the order in which they came into the call.
    members: Vec<Member>,
}

/// One user's part in a call.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = CallMember)]
pub struct Member {
    #[schema(value_type = String)]
    user_id: UserId,
    /// 1 caller, 2 called.
    #[schema(value_type = u8)]
    call_role: CallRole,
    /// The caller, or who invited this user during the call.
    #[schema(value_type = String)]
    called_by: UserId,
    state: MemberState,
    /// When this user became a member, while they are one.
    #[schema(value_type = Option<String>, format = DateTime)]
    joined_at: Option<Time>,
    /// How long a user who is being rung still is.
    #[schema(value_type = Option<String>, format = DateTime)]
    ringing_until: Option<Time>,
    /// Until when the place of a caller or member whose client is lost is held; null: the client is there.
    #[schema(value_type = Option<String>, format = DateTime)]
    held_until: Option<Time>,
    /// Of members.
    media: Option<Media>,
}

#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
enum MemberState {
    /// The caller, before anyone accepted.
    Calling,
    Ringing,
    In,
    /// Was a member.
    Left,
    Rejected,
    NoResponse,
    LineBusy,
    Offline,
    /// Rung, until the end of the call.
    Cancelled,
    /// Rung, until the server put them out.
    Kicked,
}

/// A member's media.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Media {
    /// Whether a media connection is up.
    connected: bool,
    /// Microphone, camera, screen.
    sources: Vec<Source>,
    /// 0 (silent or muted) to 100.
    #[schema(maximum = 100)]
    voice_volume: u8,
    /// As everyone in the call is told.
    #[schema(value_type = QualityLevel)]
    network_quality: Quality,
    /// The figures of the last window; null before the first one.
    network: Option<Network>,
}

#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = MemberSource)]
struct Source {
    #[schema(value_type = SourceName)]
    source: crate::base::Source,
    /// Whether its packets arrive.
    flowing: bool,
    /// By the user.
    muted: bool,
    /// By the server.
    muted_by_server: bool,
    /// The user's PrivateMapKey does not allow it.
    forbidden: bool,
}

/// Both directions of a member's network.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Network {
    /// From the user to the server.
    up: Path,
    /// From the server to the user.
    down: Path,
}

/// One direction over the last window.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = NetworkPath)]
struct Path {
    #[schema(value_type = QualityLevel)]
    level: Quality,
    /// What made the level worse than Excellent.
    #[schema(value_type = Option<QualityCause>)]
    cause: Option<Cause>,
    /// Round trip in milliseconds; null before one was measured.
    rtt_ms: Option<f64>,
    /// 0 to 1, before repair.
    #[schema(minimum = 0, maximum = 1)]
    loss: f32,
    jitter_ms: f64,
    /// Bits a second.
    bitrate: u64,
}

/// Names of [`Quality`], for the OpenAPI document.
#[derive(ToSchema)]
#[allow(dead_code, reason = "only its schema is used")]
pub enum QualityLevel {
    Unknown,
    Excellent,
    Good,
    Poor,
    Bad,
    Vbad,
    Down,
}

/// Names of [`crate::base::Source`], for the OpenAPI document.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[allow(dead_code, reason = "only its schema is used")]
pub enum SourceName {
    Microphone,
    Camera,
    Screen,
}

/// Names of [`Cause`], for the OpenAPI document.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[allow(dead_code, reason = "only its schema is used")]
pub enum QualityCause {
    Loss,
    Delay,
    Jitter,
    Bandwidth,
    Silence,
}

/// RFC 3339 in UTC.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Time(pub Timestamp);

impl Serialize for Time {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&self.0)
    }
}

impl From<CallPage> for Page<Overview> {
    fn from(page: CallPage) -> Self {
        let next = page.next.map(|call| call.to_string());
        Self { items: page.calls.into_iter().map(Overview::from).collect(), next }
    }
}

impl From<&RoomId> for Room {
    fn from(room: &RoomId) -> Self {
        match room {
            RoomId::Int(number) => Self { int_room_id: *number, str_room_id: String::new() },
            RoomId::Str(name) => Self { int_room_id: 0, str_room_id: name.clone() },
        }
    }
}

impl From<CallOverview> for Overview {
    fn from(call: CallOverview) -> Self {
        Self {
            call_id: call.call,
            kind: match call.kind {
                call::Kind::OneToOne => Kind::OneToOne,
                call::Kind::Group => Kind::Group,
                call::Kind::Room => Kind::Room,
            },
            state: if call.begun.is_some() { CallState::Begun } else { CallState::Ringing },
            room_id: (&call.room).into(),
            call_media_type: call.media_type,
            caller_id: call.caller,
            group_id: call.group_id,
            placed_at: Time(call.call.made_at()),
            begun_at: call.begun.map(Time),
            member_id_list: call.members,
            ringing_id_list: call.ringing,
            seq: call.seq,
        }
    }
}

impl From<CallDetail> for Detail {
    fn from(call: CallDetail) -> Self {
        Self {
            overview: call.overview.into(),
            user_data: call.user_data,
            members: call.parties.into_iter().map(Member::from).collect(),
        }
    }
}

impl From<PartyView> for Member {
    fn from(party: PartyView) -> Self {
        let (mut joined_at, mut ringing_until) = (None, None);
        let state = match party.standing {
            Standing::Calling => MemberState::Calling,
            Standing::Ringing { until } => {
                ringing_until = Some(Time(until));
                MemberState::Ringing
            }
            Standing::In { since } => {
                joined_at = Some(Time(since));
                MemberState::In
            }
            Standing::Left => MemberState::Left,
            Standing::Missed(Outcome::Reject) => MemberState::Rejected,
            Standing::Missed(Outcome::NoResponse) => MemberState::NoResponse,
            Standing::Missed(Outcome::LineBusy) => MemberState::LineBusy,
            Standing::Missed(Outcome::Offline) => MemberState::Offline,
            Standing::Missed(Outcome::Cancelled) => MemberState::Cancelled,
            Standing::Missed(Outcome::Kicked) => MemberState::Kicked,
        };
        let held_until = match party.seat {
            Some(Link::Lost { until, .. }) => Some(Time(until)),
            Some(Link::Up) | None => None,
        };
        Self {
            user_id: party.user,
            call_role: party.role,
            called_by: party.called_by,
            state,
            joined_at,
            ringing_until,
            held_until,
            media: party.media.map(Media::from),
        }
    }
}

impl From<MediaView> for Media {
    fn from(media: MediaView) -> Self {
        Self {
            connected: media.connected,
            sources: media.sources.into_iter().map(Source::from).collect(),
            voice_volume: media.volume.get(),
            network_quality: media.level,
            network: media.network.map(|quality| Network { up: quality.up.into(), down: quality.down.into() }),
        }
    }
}

impl From<SourceView> for Source {
    fn from(view: SourceView) -> Self {
        Self {
            source: view.source,
            flowing: view.flowing,
            muted: view.muted,
            muted_by_server: view.silenced,
            forbidden: view.forbidden,
        }
    }
}

impl From<Direction> for Path {
    fn from(direction: Direction) -> Self {
        Self {
            level: direction.level,
            cause: direction.cause,
            rtt_ms: direction.rtt.map(millis),
            loss: direction.loss,
            jitter_ms: millis(direction.jitter),
            bitrate: direction.bitrate,
        }
    }
}

/// With a tenth of a millisecond, which is finer than anything here is measured.
fn millis(span: Duration) -> f64 {
    (span.as_secs_f64() * 10_000.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_names_one_room_at_most() {
        let filter = |int_room_id, str_room_id: Option<&str>| CallFilter {
            int_room_id,
            str_room_id: str_room_id.map(str::to_owned),
            ..CallFilter::default()
        };
        assert_eq!(filter(Some(7), None).query().unwrap().room, Some(RoomId::Int(7)));
        assert_eq!(filter(None, Some("a")).query().unwrap().room, Some(RoomId::Str("a".into())));
        assert_eq!(filter(None, None).query().unwrap(), CallQuery { limit: 100, ..CallQuery::default() });
        for bad in [filter(Some(0), None), filter(Some(1), Some("a")), filter(None, Some(""))] {
            assert!(bad.query().is_err());
        }
    }
}
