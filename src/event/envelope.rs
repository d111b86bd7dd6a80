//! What a backend gets: one envelope for each fact of a call, with the server's view beside the contract's payload.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::payload::{CallRole, EndReason, Event};
use crate::base::{CallId, EventId, Quality, Timestamp, UserId};

/// One fact of a call, numbered without gaps from 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Fact {
    pub call: CallId,
    pub seq: u64,
    pub time: Timestamp,
    pub event: Event,
    pub view: ServerView,
}

/// What the server knows beyond one client's view; every member is left out of the JSON when it has nothing to say.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerView {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caller_id: Option<UserId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub callee_id_list: Option<Vec<UserId>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room_id: Option<super::payload::RoomId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call_role: Option<CallRole>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<EndReason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub participants: Option<Vec<Participant>>,
    /// How it went for each callee of a call that never began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcomes: Option<BTreeMap<UserId, Outcome>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<BTreeMap<UserId, UserSummary>>,
    /// The server was not there to see it: it concluded this after a crash.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub inferred: bool,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "optional_rfc3339")]
    pub last_seen_at: Option<Timestamp>,
}

/// A user's presence in a call.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Participant {
    pub user_id: UserId,
    pub call_role: CallRole,
    #[serde(serialize_with = "rfc3339")]
    pub joined_at: Timestamp,
    #[serde(serialize_with = "optional_rfc3339")]
    pub left_at: Option<Timestamp>,
    /// Whole seconds in the call, until `left_at` or this event.
    pub total_time: u64,
}

/// What became of a callee who never joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// Still ringing when the call was given up.
    Cancelled,
    Reject,
    NoResponse,
    LineBusy,
    Offline,
    /// The server withdrew the call from this callee.
    Kicked,
}

/// A user's call in numbers, told when it ends.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UserSummary {
    /// Seconds in which the user's voice was heard.
    pub talk_time: u64,
    /// The quality that 95 % of the user's call was at least as good as.
    pub quality_p5: Quality,
    /// Packets lost on the way from the user, 0.0–1.0, before repair.
    pub loss_up: f32,
    /// Packets lost on the way to the user, 0.0–1.0, before repair.
    pub loss_down: f32,
}

/// Why a receiver misses events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum GapReason {
    /// Every retry failed.
    Undeliverable,
    /// The event was older than the record is kept.
    Expired,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    id: EventId,
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(serialize_with = "rfc3339")]
    time: Timestamp,
    call_id: CallId,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
    data: &'a Map<String, Value>,
}

/// A fact's id, the same in every retry and replay: made of the fact's time, its call and its number.
pub fn fact_id(call: CallId, seq: u64, time: Timestamp) -> EventId {
    let call_bits = call.as_u128() & 0xffff_ffff_ffff;
    EventId::from_u128(u128::from(time.as_millis()) << 80 | call_bits << 32 | u128::from(seq & 0xffff_ffff))
}

impl Fact {
    pub fn id(&self) -> EventId {
        fact_id(self.call, self.seq, self.time)
    }

    /// The JSON that every endpoint gets, byte for byte.
    pub fn to_json(&self) -> Vec<u8> {
        let mut data = payload(&self.event);
        // Where both speak of the same thing (callerId, roomId) the contract's payload stands.
        if let Value::Object(view) = serde_json::to_value(&self.view).expect("a view is plain data") {
            for (key, value) in view {
                data.entry(key).or_insert(value);
            }
        }
        let envelope = Envelope {
            id: self.id(),
            kind: self.event.kind().name(),
            time: self.time,
            call_id: self.call,
            seq: Some(self.seq),
            data: &data,
        };
        serde_json::to_vec(&envelope).expect("an envelope is plain data")
    }
}

/// A telemetry event on its way to the endpoints that name it: no number, never stored.
#[derive(Debug, Clone, PartialEq)]
pub struct TelemetryEnvelope {
    pub id: EventId,
    pub call: CallId,
    pub time: Timestamp,
    pub event: Event,
}

impl TelemetryEnvelope {
    pub fn to_json(&self) -> Vec<u8> {
        let envelope = Envelope {
            id: self.id,
            kind: self.event.kind().name(),
            time: self.time,
            call_id: self.call,
            seq: None,
            data: &payload(&self.event),
        };
        serde_json::to_vec(&envelope).expect("an envelope is plain data")
    }
}

/// The contract's payload alone.
fn payload(event: &Event) -> Map<String, Value> {
    let mut whole = serde_json::to_value(event).expect("an event is plain data");
    match whole["params"].take() {
        Value::Object(map) => map,
        other => unreachable!("a payload is an object, not {other}"),
    }
}

fn rfc3339<S: serde::Serializer>(time: &Timestamp, s: S) -> Result<S::Ok, S::Error> {
    s.collect_str(time)
}

fn optional_rfc3339<S: serde::Serializer>(time: &Option<Timestamp>, s: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => s.collect_str(time),
        None => s.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::payload::{CallMediaType, RoomId};
    use super::*;
    use serde_json::json;

    fn fact(event: Event, view: ServerView) -> Fact {
        Fact { call: CallId::from_u128(42), seq: 3, time: Timestamp::from_millis(1_767_225_600_123), event, view }
    }

    #[test]
    fn an_envelope_carries_the_payload_and_the_servers_view() {
        let alice: UserId = "alice".parse().unwrap();
        let begin = fact(
            Event::CallBegin {
                room_id: RoomId::Int(7),
                call_media_type: CallMediaType::Video,
                call_role: CallRole::Caller,
            },
            ServerView { caller_id: Some(alice), group_id: Some("g".into()), ..ServerView::default() },
        );
        let json: Value = serde_json::from_slice(&begin.to_json()).unwrap();
        assert_eq!(
            json,
            json!({
                "id": begin.id().to_string(),
                "type": "onCallBegin",
                "time": "2026-01-01T00:00:00.123Z",
                "callId": CallId::from_u128(42).to_string(),
                "seq": 3,
                "data": {
                    "roomId": {"intRoomId": 7, "strRoomId": ""},
                    "callMediaType": 1,
                    "callRole": 1,
                    "callerId": "alice",
                    "groupId": "g",
                },
            })
        );
    }

    #[test]
    fn two_facts_of_a_call_have_different_ids() {
        let first = fact(Event::KickedOffline {}, ServerView::default());
        let second = Fact { seq: 4, ..first.clone() };
        assert_ne!(first.id(), second.id());
    }

    #[test]
    fn telemetry_has_no_number() {
        let volume = TelemetryEnvelope {
            id: EventId::from_u128(1),
            call: CallId::from_u128(42),
            time: Timestamp::from_millis(0),
            event: Event::UserVoiceVolumeChanged { volume_map: Default::default() },
        };
        let json: Value = serde_json::from_slice(&volume.to_json()).unwrap();
        assert!(json.get("seq").is_none());
        assert_eq!(json["data"], json!({"volumeMap": {}}));
    }
}
