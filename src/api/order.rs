//! What a backend asks to be done, in JSON.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use url::Url;
use utoipa::{IntoParams, ToSchema};

use super::call::{Room, SourceName};
use super::webhook::MAX_URL;
use crate::base::{CallId, Source, UserId};
use crate::control::Placement;
use crate::control::input::{MAX_GROUP_ID, MAX_RING, MAX_USER_DATA, MAX_USERS};
use crate::event::{CallMediaType, RoomId};
use crate::webhook::endpoint::OwnWebhook;

/// A call to be placed between users.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewCall {
    /// Must have a client that is connected; of several the one that logged in last carries the call.
    #[schema(value_type = String)]
    caller_id: UserId,
    /// Whom to ring. Offline users are rung too: they learn of the call when they log in.
    #[schema(value_type = Vec<String>, min_items = 1)]
    user_id_list: Vec<UserId>,
    /// 0 voice, 1 video.
    #[schema(value_type = u8, maximum = 1)]
    call_media_type: CallMediaType,
    /// The room, by one of the two; without it a free intRoomId is taken.
    #[serde(default)]
    #[schema(value_type = Option<RoomChoice>)]
    room_id: Option<RoomId>,
    /// At most 64 bytes. With it, or with several callees, the call is a group call.
    #[serde(default)]
    #[schema(max_length = 64)]
    group_id: String,
    /// Seconds to ring: 1 to 3600, usually `calls.ring_timeout`.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 3600)]
    timeout: Option<u32>,
    /// At most 4096 bytes, for the clients.
    #[serde(default)]
    #[schema(max_length = 4096)]
    user_data: String,
    /// Where this call's events go besides, until its last one is delivered.
    #[serde(default)]
    webhook: Option<CallWebhook>,
}

/// An endpoint for one call.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CallWebhook {
    #[schema(value_type = String, max_length = 2048)]
    url: Url,
    /// `whsec_` and base64 of 24 to 64 bytes.
    secret: String,
}

impl std::fmt::Debug for CallWebhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CallWebhook({}, [secret])", self.url)
    }
}

impl CallWebhook {
    /// The error does not repeat the secret.
    fn parse(self) -> Result<OwnWebhook, String> {
        if self.url.as_str().len() > MAX_URL {
            return Err(format!("webhook.url: at most {MAX_URL} bytes"));
        }
        let secret = self.secret.parse().map_err(|error| format!("webhook.secret: {error}"))?;
        Ok(OwnWebhook { url: self.url, secret })
    }
}

/// One of the two.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[allow(dead_code, reason = "only its schema is used")]
pub struct RoomChoice {
    #[schema(minimum = 1)]
    int_room_id: Option<u32>,
    /// 1 to 64 bytes of printable ASCII.
    str_room_id: Option<String>,
}

/// A call that was placed. It may be over already: `GET` says so.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Placed {
    #[schema(value_type = String)]
    pub call_id: CallId,
    pub room_id: Room,
}

/// How a kick is to be.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct Kick {
    /// Seconds for which the user can neither join, accept nor be invited into this call again. With it a user who is not in the call
    /// is kept out, too.
    #[param(minimum = 1)]
    ban: Option<u32>,
}

/// A source that the server forwards no more, or again.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Mute {
    #[schema(value_type = SourceName)]
    pub source: Source,
    pub muted: bool,
}

impl NewCall {
    /// # Errors
    /// What is too long, too many or too much.
    pub fn placement(self) -> Result<Placement, String> {
        if self.user_id_list.len() > MAX_USERS {
            return Err(format!("userIdList: at most {MAX_USERS} users"));
        }
        if self.group_id.len() > MAX_GROUP_ID {
            return Err(format!("groupId: at most {MAX_GROUP_ID} bytes"));
        }
        if self.user_data.len() > MAX_USER_DATA {
            return Err(format!("userData: at most {MAX_USER_DATA} bytes"));
        }
        let timeout = self.timeout.map(|seconds| Duration::from_secs(seconds.into()));
        if timeout.is_some_and(|timeout| timeout.is_zero() || timeout > MAX_RING) {
            return Err(format!("timeout: 1 to {} seconds", MAX_RING.as_secs()));
        }
        Ok(Placement {
            caller: self.caller_id,
            users: self.user_id_list,
            media_type: self.call_media_type,
            room: self.room_id,
            group_id: self.group_id,
            timeout,
            user_data: self.user_data,
            webhook: self.webhook.map(CallWebhook::parse).transpose()?,
        })
    }
}

impl Kick {
    /// # Errors
    /// A ban of no time.
    pub fn span(&self) -> Result<Option<Duration>, &'static str> {
        match self.ban {
            Some(0) => Err("ban: 1 second or more"),
            seconds => Ok(seconds.map(|seconds| Duration::from_secs(seconds.into()))),
        }
    }
}
