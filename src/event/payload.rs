//! What each event says, with exactly the contract's keys.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::kind::EventKind;
use crate::base::{Quality, UserId, Volume};

/// What a call carries: 0 voice, 1 video on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CallMediaType {
    Voice = 0,
    Video = 1,
}

/// A user's part in a call: 0 unknown, 1 caller, 2 called on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CallRole {
    Unknown = 0,
    Caller = 1,
    Called = 2,
}

macro_rules! numbered {
    ($name:ident { $($number:literal => $variant:ident),* } $expected:literal) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_u8(*self as u8)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                match u8::deserialize(d)? {
                    $($number => Ok(Self::$variant),)*
                    _ => Err(serde::de::Error::custom(concat!("expected ", $expected))),
                }
            }
        }
    };
}

numbered!(CallMediaType { 0 => Voice, 1 => Video } "0 (voice) or 1 (video)");
numbered!(CallRole { 0 => Unknown, 1 => Caller, 2 => Called } "0 (unknown), 1 (caller) or 2 (called)");

/// The room of a call. On the wire always the object `{intRoomId, strRoomId}`; the one not chosen is 0 or "".
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RoomId {
    /// 1…4294967295.
    Int(u32),
    /// 1–64 bytes of printable ASCII.
    Str(String),
}

impl RoomId {
    /// The longest room name, in bytes.
    pub const MAX_LEN: usize = 64;

    /// The room of that name; `None` when it is not 1–64 bytes of printable ASCII.
    pub fn named(name: &str) -> Option<Self> {
        let fits = (1..=Self::MAX_LEN).contains(&name.len()) && name.bytes().all(|b| (b' '..=b'~').contains(&b));
        fits.then(|| RoomId::Str(name.to_owned()))
    }
}

#[derive(Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct WireRoomId {
    int_room_id: u32,
    str_room_id: String,
}

impl Serialize for RoomId {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            RoomId::Int(int_room_id) => WireRoomId { int_room_id: *int_room_id, str_room_id: String::new() },
            RoomId::Str(name) => WireRoomId { int_room_id: 0, str_room_id: name.clone() },
        }
        .serialize(s)
    }
}

impl<'de> Deserialize<'de> for RoomId {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let wire = WireRoomId::deserialize(d)?;
        match (wire.int_room_id, wire.str_room_id) {
            (0, name) if !name.is_empty() => RoomId::named(&name)
                .ok_or_else(|| serde::de::Error::custom("strRoomId is 1 to 64 bytes of printable ASCII")),
            (number, name) if number > 0 && name.is_empty() => Ok(RoomId::Int(number)),
            _ => Err(serde::de::Error::custom("exactly one of intRoomId (1 to 4294967295) and strRoomId is expected")),
        }
    }
}

/// Why a call ended, or a user left it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum EndReason {
    Hangup,
    Reject,
    NoResponse,
    LineBusy,
    Cancelled,
    Offline,
    Kicked,
    Dismissed,
    AnsweredElsewhere,
    RejectedElsewhere,
    NodeLost,
    Moderated,
}

/// The errors of the contract: a number that Tencent's clients know and a stable name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    NotLoggedIn,
    InvalidParameter,
    RefusedInThisState,
    RepeatedRequest,
    NotAvailableInThisCall,
    SwitchToVoiceFailed,
    SwitchToVideoFailed,
    UserSigExpired,
    UserSigInvalid,
    UserSigWrongKey,
    UserMismatch,
    SdkAppIdMismatch,
    KickedByAnotherLogin,
    Blocked,
    /// The client sends more than it may.
    TooManyRequests,
    /// The server cannot take this on: it is draining, or its record cannot be written.
    Unavailable,
}

impl ErrorCode {
    pub const fn number(self) -> i32 {
        self.parts().0
    }

    pub const fn name(self) -> &'static str {
        self.parts().1
    }

    const fn parts(self) -> (i32, &'static str) {
        match self {
            ErrorCode::NotLoggedIn => (-1201, "notLoggedIn"),
            ErrorCode::InvalidParameter => (-1202, "invalidParameter"),
            ErrorCode::RefusedInThisState => (-1203, "refusedInThisState"),
            ErrorCode::RepeatedRequest => (-1204, "repeatedRequest"),
            ErrorCode::NotAvailableInThisCall => (-1205, "notAvailableInThisCall"),
            ErrorCode::SwitchToVoiceFailed => (60001, "switchToVoiceFailed"),
            ErrorCode::SwitchToVideoFailed => (60002, "switchToVideoFailed"),
            ErrorCode::UserSigExpired => (70001, "userSigExpired"),
            ErrorCode::UserSigInvalid => (70003, "userSigInvalid"),
            ErrorCode::UserSigWrongKey => (70009, "userSigWrongKey"),
            ErrorCode::UserMismatch => (70013, "userMismatch"),
            ErrorCode::SdkAppIdMismatch => (70014, "sdkAppIdMismatch"),
            ErrorCode::KickedByAnotherLogin => (6208, "kickedByAnotherLogin"),
            ErrorCode::Blocked => (20007, "blocked"),
            ErrorCode::TooManyRequests => (-1206, "tooManyRequests"),
            ErrorCode::Unavailable => (-1207, "unavailable"),
        }
    }
}

/// Users and how loud they are.
pub type VolumeMap = BTreeMap<UserId, Volume>;
/// Users and how good their network is.
pub type QualityMap = BTreeMap<UserId, Quality>;

/// One event with its payload: `{"method": name, "params": payload}` when serialized.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "method", content = "params", rename_all_fields = "camelCase")]
pub enum Event {
    #[serde(rename = "onError")]
    Error { code: i32, message: String },
    #[serde(rename = "onCallReceived")]
    CallReceived {
        caller_id: UserId,
        callee_id_list: Vec<UserId>,
        group_id: String,
        call_media_type: CallMediaType,
        user_data: String,
    },
    /// To the caller's device, when not it but the backend placed the call.
    #[serde(rename = "onCallPlaced")]
    CallPlaced {
        room_id: RoomId,
        callee_id_list: Vec<UserId>,
        group_id: String,
        call_media_type: CallMediaType,
        user_data: String,
    },
    #[serde(rename = "onCallCancelled")]
    CallCancelled { caller_id: UserId },
    #[serde(rename = "onCallBegin")]
    CallBegin { room_id: RoomId, call_media_type: CallMediaType, call_role: CallRole },
    #[serde(rename = "onCallEnd")]
    CallEnd {
        room_id: RoomId,
        call_media_type: CallMediaType,
        call_role: CallRole,
        /// Whole seconds.
        total_time: u64,
    },
    #[serde(rename = "onUserReject")]
    UserReject { user_id: UserId },
    #[serde(rename = "onUserNoResponse")]
    UserNoResponse { user_id: UserId },
    #[serde(rename = "onUserLineBusy")]
    UserLineBusy { user_id: UserId },
    #[serde(rename = "onUserInviting")]
    UserInviting { user_id: UserId },
    #[serde(rename = "onUserJoin")]
    UserJoin { user_id: UserId },
    #[serde(rename = "onUserLeave")]
    UserLeave { user_id: UserId },
    #[serde(rename = "onCallMediaTypeChanged")]
    CallMediaTypeChanged { old_call_media_type: CallMediaType, new_call_media_type: CallMediaType },
    #[serde(rename = "onKickedOffline")]
    KickedOffline {},
    #[serde(rename = "onUserSigExpired")]
    UserSigExpired {},
    #[serde(rename = "onUserVideoAvailable")]
    UserVideoAvailable { user_id: UserId, is_video_available: bool },
    #[serde(rename = "onUserAudioAvailable")]
    UserAudioAvailable { user_id: UserId, is_audio_available: bool },
    #[serde(rename = "onUserVoiceVolumeChanged")]
    UserVoiceVolumeChanged { volume_map: VolumeMap },
    #[serde(rename = "onUserNetworkQualityChanged")]
    UserNetworkQualityChanged { network_quality: QualityMap },
    #[serde(rename = "delivery.gap")]
    DeliveryGap { from_seq: u64, to_seq: u64, reason: super::envelope::GapReason },
}

impl Event {
    pub const fn kind(&self) -> EventKind {
        match self {
            Event::Error { .. } => EventKind::Error,
            Event::CallReceived { .. } => EventKind::CallReceived,
            Event::CallPlaced { .. } => EventKind::CallPlaced,
            Event::CallCancelled { .. } => EventKind::CallCancelled,
            Event::CallBegin { .. } => EventKind::CallBegin,
            Event::CallEnd { .. } => EventKind::CallEnd,
            Event::UserReject { .. } => EventKind::UserReject,
            Event::UserNoResponse { .. } => EventKind::UserNoResponse,
            Event::UserLineBusy { .. } => EventKind::UserLineBusy,
            Event::UserInviting { .. } => EventKind::UserInviting,
            Event::UserJoin { .. } => EventKind::UserJoin,
            Event::UserLeave { .. } => EventKind::UserLeave,
            Event::CallMediaTypeChanged { .. } => EventKind::CallMediaTypeChanged,
            Event::KickedOffline {} => EventKind::KickedOffline,
            Event::UserSigExpired {} => EventKind::UserSigExpired,
            Event::UserVideoAvailable { .. } => EventKind::UserVideoAvailable,
            Event::UserAudioAvailable { .. } => EventKind::UserAudioAvailable,
            Event::UserVoiceVolumeChanged { .. } => EventKind::UserVoiceVolumeChanged,
            Event::UserNetworkQualityChanged { .. } => EventKind::UserNetworkQualityChanged,
            Event::DeliveryGap { .. } => EventKind::DeliveryGap,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_room_is_exactly_one_of_number_and_name() {
        let parse = |v: serde_json::Value| serde_json::from_value::<RoomId>(v);
        assert_eq!(parse(json!({"intRoomId": 7})).unwrap(), RoomId::Int(7));
        assert_eq!(parse(json!({"intRoomId": 0, "strRoomId": "a"})).unwrap(), RoomId::Str("a".into()));
        for bad in [
            json!({}),
            json!({"intRoomId": 0}),
            json!({"intRoomId": 1, "strRoomId": "a"}),
            json!({"intRoomId": 4_294_967_296_u64}),
            json!({"strRoomId": "\u{e4}"}),
            json!({"strRoomId": "x".repeat(65)}),
            json!({"intRoomId": 1, "more": 2}),
        ] {
            assert!(parse(bad.clone()).is_err(), "{bad}");
        }
        assert_eq!(serde_json::to_value(RoomId::Int(7)).unwrap(), json!({"intRoomId": 7, "strRoomId": ""}));
    }

    #[test]
    fn every_events_serialized_name_is_its_kinds() {
        let user_id: UserId = "u".parse().unwrap();
        for event in [
            Event::Error { code: 1, message: String::new() },
            Event::CallCancelled { caller_id: user_id.clone() },
            Event::KickedOffline {},
            Event::UserInviting { user_id: user_id.clone() },
            Event::UserVideoAvailable { user_id, is_video_available: true },
        ] {
            assert_eq!(serde_json::to_value(&event).unwrap()["method"], event.kind().name());
        }
    }

    #[test]
    fn media_types_and_roles_are_numbers() {
        assert_eq!(serde_json::to_value(CallMediaType::Video).unwrap(), 1);
        assert!(serde_json::from_value::<CallMediaType>(json!(2)).is_err());
        assert_eq!(serde_json::to_value(CallRole::Called).unwrap(), 2);
    }
}
