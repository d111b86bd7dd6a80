//! Every message on the wire of `/v1/ws`: JSON-RPC 2.0, parsed at the door and written from control's messages.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use url::Url;

use crate::base::{CallId, Mid, SessionId, Source, UserId};
use crate::control::input::{MAX_GROUP_ID, MAX_RING, MAX_USER_DATA, MAX_USERS, Target, Wish};
use crate::control::message::Closing;
use crate::control::{CallBrief, MemberBrief, Message, Refusal, Reply, Request, RequestId, SlotBrief};
use crate::event::{CallMediaType, RoomId};
use crate::signal::ice::Granted;
use crate::webhook::endpoint::OwnWebhook;

/// The largest frame a client may send, in bytes.
pub const MAX_FRAME: usize = 64 * 1024;
/// The longest address of a call's own webhook, in bytes.
const MAX_URL: usize = 2048;
/// The longest message of an error, in characters: what a client wrote wrong is repeated to it, and be it a name of 60 KiB.
const MAX_MESSAGE: usize = 300;
/// The longest id a client may give a request, in bytes of JSON.
const MAX_REQUEST_ID: usize = 128;

/// A request with the client's name for it.
#[derive(Debug, PartialEq)]
pub struct Incoming {
    pub id: RequestId,
    pub body: Body,
}

/// What a client asks of the door.
#[derive(Debug, PartialEq)]
pub enum Body {
    LogIn(LogInParams),
    RenewUserSig { user_sig: String },
    Ping,
    Control(Request),
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LogInParams {
    pub sdk_app_id: u32,
    pub user_id: UserId,
    pub user_sig: String,
    #[serde(default)]
    pub resume_token: Option<String>,
}

/// A frame that is no request this door can take; answered with a JSON-RPC error.
#[derive(Debug, Clone, PartialEq)]
pub struct Malformed {
    /// The frame's id as far as it could be read.
    pub id: Value,
    /// −32700, −32600, −32601 or −32602 (JSON-RPC 2.0, section 5.1).
    pub code: i32,
    pub message: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Frame {
    jsonrpc: String,
    id: Value,
    method: String,
    #[serde(default)]
    params: Option<Value>,
}

/// Reads one text frame.
///
/// # Errors
/// With the JSON-RPC error that answers it.
pub fn parse(text: &str) -> Result<Incoming, Malformed> {
    let whole: Value = serde_json::from_str(text).map_err(|error| Malformed {
        id: Value::Null,
        code: -32700,
        message: format!("no JSON: {error}"),
    })?;
    let id = whole.get("id").filter(|id| is_request_id(id)).cloned().unwrap_or(Value::Null);
    let malformed = |code, message: String| Malformed { id: id.clone(), code, message: shortened(message) };
    let frame: Frame =
        serde_json::from_value(whole).map_err(|error| malformed(-32600, format!("no request: {error}")))?;
    if frame.jsonrpc != "2.0" {
        return Err(malformed(-32600, "jsonrpc must be \"2.0\"".into()));
    }
    if !is_request_id(&frame.id) {
        return Err(malformed(-32600, "id must be a number or a short string".into()));
    }
    let params = frame.params.unwrap_or_else(|| json!({}));
    let body = parse_body(&frame.method, params).map_err(|(code, message)| malformed(code, message))?;
    Ok(Incoming { id: RequestId(frame.id), body })
}

fn shortened(mut message: String) -> String {
    if let Some((end, _)) = message.char_indices().nth(MAX_MESSAGE) {
        message.truncate(end);
        message.push('…');
    }
    message
}

fn is_request_id(id: &Value) -> bool {
    match id {
        Value::Number(_) => true,
        Value::String(text) => text.len() <= MAX_REQUEST_ID,
        _ => false,
    }
}

type Fault = (i32, String);

fn invalid(message: impl Into<String>) -> Fault {
    (-32602, message.into())
}

fn params<T: DeserializeOwned>(value: Value) -> Result<T, Fault> {
    if !value.is_object() {
        // Positions would do for serde; here params have names.
        return Err(invalid("params: an object is expected"));
    }
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        match path.as_str() {
            "." => invalid(format!("params: {}", error.inner())),
            _ => invalid(format!("params.{path}: {}", error.inner())),
        }
    })
}

fn parse_body(method: &str, value: Value) -> Result<Body, Fault> {
    let request = match method {
        "login" => return params(value).map(Body::LogIn),
        "renewUserSig" => {
            return params::<RenewParams>(value).map(|p| Body::RenewUserSig { user_sig: p.user_sig });
        }
        "ping" => return params::<NoParams>(value).map(|NoParams {}| Body::Ping),
        "call" => call(params(value)?)?,
        "accept" => Request::Accept { call: params::<OfCall>(value)?.call_id },
        "reject" => Request::Reject { call: params::<OfCall>(value)?.call_id },
        "hangup" => Request::HangUp { call: params::<OfCall>(value)?.call_id },
        "inviteUser" => invite(params(value)?)?,
        "join" => join(params(value)?)?,
        "switchCallMediaType" => {
            let SwitchParams { call_id, call_media_type } = params(value)?;
            Request::SwitchMediaType { call: call_id, to: call_media_type }
        }
        "offer" => {
            let OfferParams { call_id, sdp, sources } = params(value)?;
            Request::Offer { call: call_id, sdp, sources: sources.into_iter().collect() }
        }
        "mute" => {
            let MuteParams { call_id, source, muted } = params(value)?;
            Request::Mute { call: call_id, source, muted }
        }
        "view" => {
            let ViewParams { call_id, slots } = params(value)?;
            Request::View { call: call_id, slots: slots.into_iter().map(Wish::from).collect() }
        }
        unknown => return Err((-32601, format!("no method {unknown:?}"))),
    };
    Ok(Body::Control(request))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoParams {}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RenewParams {
    user_sig: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct OfCall {
    call_id: CallId,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CallParams {
    user_id_list: Vec<UserId>,
    call_media_type: CallMediaType,
    #[serde(default)]
    room_id: Option<RoomId>,
    #[serde(default)]
    group_id: String,
    #[serde(default)]
    timeout: Option<u64>,
    #[serde(default)]
    user_data: String,
    #[serde(default)]
    webhook: Option<WebhookParams>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WebhookParams {
    url: Url,
    secret: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct InviteParams {
    call_id: CallId,
    user_id_list: Vec<UserId>,
    #[serde(default)]
    timeout: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct JoinParams {
    #[serde(default)]
    call_id: Option<CallId>,
    #[serde(default)]
    room_id: Option<RoomId>,
    /// For a room that this join begins.
    #[serde(default = "video")]
    call_media_type: CallMediaType,
}

fn video() -> CallMediaType {
    CallMediaType::Video
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SwitchParams {
    call_id: CallId,
    call_media_type: CallMediaType,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct OfferParams {
    call_id: CallId,
    sdp: String,
    sources: BTreeMap<Mid, Source>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct MuteParams {
    call_id: CallId,
    source: Source,
    muted: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ViewParams {
    call_id: CallId,
    slots: Vec<WishParams>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WishParams {
    mid: Mid,
    user_id: Option<UserId>,
    source: Source,
    #[serde(default)]
    max_height: Option<u16>,
}

impl From<WishParams> for Wish {
    fn from(wish: WishParams) -> Self {
        Self { mid: wish.mid, user: wish.user_id, source: wish.source, max_height: wish.max_height }
    }
}

fn call(params: CallParams) -> Result<Request, Fault> {
    if params.group_id.len() > MAX_GROUP_ID {
        return Err(invalid(format!("params.groupId: at most {MAX_GROUP_ID} bytes")));
    }
    if params.user_data.len() > MAX_USER_DATA {
        return Err(invalid(format!("params.userData: at most {MAX_USER_DATA} bytes")));
    }
    Ok(Request::Call {
        users: users(params.user_id_list)?,
        media_type: params.call_media_type,
        room: params.room_id,
        group_id: params.group_id,
        timeout: timeout(params.timeout)?,
        user_data: params.user_data,
        webhook: params.webhook.map(webhook).transpose()?,
    })
}

/// Its address is vetted behind this: what is allowed is the configuration's.
fn webhook(params: WebhookParams) -> Result<OwnWebhook, Fault> {
    if params.url.as_str().len() > MAX_URL {
        return Err(invalid(format!("params.webhook.url: at most {MAX_URL} bytes")));
    }
    // The error does not repeat the secret.
    let secret = params.secret.parse().map_err(|error| invalid(format!("params.webhook.secret: {error}")))?;
    Ok(OwnWebhook { url: params.url, secret })
}

fn invite(params: InviteParams) -> Result<Request, Fault> {
    let timeout = timeout(params.timeout)?;
    Ok(Request::Invite { call: params.call_id, users: users(params.user_id_list)?, timeout })
}

fn join(params: JoinParams) -> Result<Request, Fault> {
    let target = match (params.call_id, params.room_id) {
        (Some(call), None) => Target::Call(call),
        (None, Some(room)) => Target::Room(room),
        _ => return Err(invalid("params: exactly one of callId and roomId is expected")),
    };
    Ok(Request::Join { target, media_type: params.call_media_type })
}

fn users(users: Vec<UserId>) -> Result<Vec<UserId>, Fault> {
    if users.len() > MAX_USERS {
        return Err(invalid(format!("params.userIdList: at most {MAX_USERS} users")));
    }
    Ok(users)
}

fn timeout(seconds: Option<u64>) -> Result<Option<Duration>, Fault> {
    match seconds.map(Duration::from_secs) {
        Some(timeout) if timeout.is_zero() || timeout > MAX_RING => {
            Err(invalid(format!("params.timeout: 1 to {} seconds", MAX_RING.as_secs())))
        }
        timeout => Ok(timeout),
    }
}

impl Malformed {
    /// A parameter that is well-formed and cannot be.
    pub fn parameter(id: RequestId, message: String) -> Self {
        Self { id: id.0, code: -32602, message }
    }

    pub fn to_json(&self) -> String {
        json!({"jsonrpc": "2.0", "id": self.id, "error": {"code": self.code, "message": self.message}}).to_string()
    }
}

/// A refusal with the contract's number, and its stable name as data.
pub fn refusal(id: &RequestId, refusal: &Refusal) -> String {
    json!({"jsonrpc": "2.0", "id": id.0, "error": {
        "code": refusal.code.number(),
        "message": refusal.reason,
        "data": {"name": refusal.code.name()},
    }})
    .to_string()
}

pub fn result(id: &RequestId, result: &Value) -> String {
    json!({"jsonrpc": "2.0", "id": id.0, "result": result}).to_string()
}

/// What the door itself says in the result of `login`.
#[derive(Debug, Clone, Copy)]
pub struct Welcome<'a> {
    pub session: SessionId,
    pub resume_token: &'a str,
    /// Everything the client missed follows.
    pub resumed: bool,
    pub ice_servers: &'a [Granted],
}

/// The result of `login`.
pub fn log_in_result(welcome: Welcome<'_>, calls: &[CallBrief]) -> Value {
    let Welcome { session, resume_token, resumed, ice_servers } = welcome;
    json!({
        "sessionId": session,
        "resumeToken": resume_token,
        "resumed": resumed,
        "iceServers": ice_servers,
        "calls": calls.iter().map(call_brief).collect::<Vec<_>>(),
    })
}

pub fn resume_token(token: &str) -> String {
    json!({"jsonrpc": "2.0", "method": "resumeToken", "params": {"resumeToken": token}}).to_string()
}

/// One of control's messages, unless it is one that the door itself acts on (`Close`, the reply to a log-in).
pub fn write(message: &Message) -> Option<String> {
    let notification = match message {
        Message::Reply { request, result: Err(error) } => return Some(refusal(request, error)),
        Message::Reply { request, result: Ok(reply) } => return Some(result(request, &reply_value(reply)?)),
        Message::Event { call, event } => {
            let mut notification = serde_json::to_value(event).expect("an event is plain data");
            notification["jsonrpc"] = "2.0".into();
            if let Some(call) = call {
                notification["params"]["callId"] = json!(call);
            }
            notification
        }
        Message::Slots { call, slots } => json!({"jsonrpc": "2.0", "method": "slots", "params": {
            "callId": call,
            "slots": slots.iter().map(slot_brief).collect::<Vec<_>>(),
        }}),
        Message::Encodings { call, mid, encodings } => json!({"jsonrpc": "2.0", "method": "encodings", "params": {
            "callId": call,
            "mid": mid,
            "encodings": encodings.iter().map(|encoding| {
                let mut value = json!({"rid": encoding.rid, "active": encoding.active});
                if let Some(bitrate) = encoding.max_bitrate {
                    value["maxBitrate"] = bitrate.into();
                }
                value
            }).collect::<Vec<_>>(),
        }}),
        Message::Stopping { within } => json!({"jsonrpc": "2.0", "method": "serverStopping", "params": {
            "seconds": within.as_secs(),
        }}),
        Message::Close { .. } => return None,
    };
    Some(notification.to_string())
}

fn reply_value(reply: &Reply) -> Option<Value> {
    Some(match reply {
        Reply::Done => json!({}),
        Reply::LoggedIn { .. } => return None,
        Reply::Placed { call, room } => json!({"callId": call, "roomId": room}),
        Reply::Entered { call, room, members } => {
            json!({"callId": call, "roomId": room, "members": members.iter().map(member_brief).collect::<Vec<_>>()})
        }
        Reply::Answer { sdp } => json!({"sdp": sdp}),
    })
}

fn call_brief(brief: &CallBrief) -> Value {
    json!({
        "callId": brief.call,
        "roomId": brief.room,
        "callMediaType": brief.media_type,
        "callRole": brief.role,
        "callerId": brief.caller,
        "groupId": brief.group_id,
        "userData": brief.user_data,
        "ringing": brief.ringing,
        "begun": brief.begun,
        "members": brief.members.iter().map(member_brief).collect::<Vec<_>>(),
    })
}

fn member_brief(member: &MemberBrief) -> Value {
    json!({
        "userId": member.user,
        "callRole": member.role,
        "isAudioAvailable": member.audio,
        "isVideoAvailable": member.video,
    })
}

fn slot_brief(slot: &SlotBrief) -> Value {
    json!({"mid": slot.mid, "userId": slot.user, "source": slot.source, "paused": slot.paused})
}

/// Whether a client that was away must be given the message when it comes back: what a newer one of its kind replaces,
/// and what the client will ask for again, need not be kept.
pub fn is_kept(message: &Message) -> bool {
    use crate::event::Class;
    match message {
        Message::Event { event, .. } => event.kind().class() != Class::Telemetry,
        Message::Reply { .. } | Message::Slots { .. } | Message::Encodings { .. } => true,
        // Told again at each log-in while it holds.
        Message::Stopping { .. } | Message::Close { .. } => false,
    }
}

/// The WebSocket close code (RFC 6455, section 7.4.2: 4000–4999 are an application's own) and its reason.
pub fn close_code(reason: Closing) -> (u16, &'static str) {
    match reason {
        Closing::KickedByAnotherLogin => (4001, "the same user logged in elsewhere"),
        Closing::TicketExpired => (4002, "the UserSig ran out"),
        Closing::Abandoned => (4003, "the client did not come back in time"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Event;

    fn request(method: &str, params: Value) -> Result<Incoming, Malformed> {
        parse(&json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string())
    }

    #[test]
    fn frames_that_are_no_requests_get_the_error_of_json_rpc() {
        for (text, code) in [
            ("", -32700),
            ("{", -32700),
            ("[]", -32600),
            ("1", -32600),
            (r#"{"id":1,"method":"ping"}"#, -32600),
            (r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#, -32600),
            (r#"{"jsonrpc":"2.0","method":"ping"}"#, -32600),
            (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, -32600),
            (r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#, -32600),
            (r#"{"jsonrpc":"2.0","id":1,"method":"ping","more":1}"#, -32600),
            (r#"{"jsonrpc":"2.0","id":1,"method":"pong"}"#, -32601),
            (r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":1}}"#, -32602),
            (r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":[1]}"#, -32602),
        ] {
            assert_eq!(parse(text).unwrap_err().code, code, "{text}");
        }
        assert_eq!(parse(r#"{"jsonrpc":"2.0","id":"a","method":"pong"}"#).unwrap_err().id, "a");
    }

    #[test]
    fn bad_params_are_named() {
        let call = CallId::from_u128(1);
        for (method, params, named) in [
            ("login", json!({}), "sdkAppId"),
            ("login", json!({"sdkAppId": 1, "userId": "a b", "userSig": ""}), "params.userId"),
            ("call", json!({"userIdList": "bob", "callMediaType": 1}), "params.userIdList"),
            ("call", json!({"userIdList": ["bob"], "callMediaType": 2}), "params.callMediaType"),
            ("call", json!({"userIdList": ["bob"], "callMediaType": 1, "x": 1}), "`x`"),
            ("call", json!({"userIdList": ["bob"], "callMediaType": 1, "timeout": 0}), "params.timeout"),
            (
                "call",
                json!({"userIdList": ["bob"], "callMediaType": 1, "userData": "x".repeat(5000)}),
                "params.userData",
            ),
            ("call", json!({"userIdList": ["bob"], "callMediaType": 1, "roomId": {}}), "params.roomId"),
            ("accept", json!({"callId": "call_1"}), "params.callId"),
            ("accept", json!([call]), "an object"),
            ("join", json!({}), "exactly one"),
            ("join", json!({"callId": call, "roomId": {"intRoomId": 1}}), "exactly one"),
            ("offer", json!({"callId": call, "sdp": "", "sources": {"0": "webcam"}}), "params.sources"),
            ("mute", json!({"callId": call, "source": "camera", "muted": 1}), "params.muted"),
            (
                "view",
                json!({"callId": call, "slots": [{"mid": "0", "source": "camera", "maxHeight": -1}]}),
                "maxHeight",
            ),
        ] {
            let error = request(method, params.clone()).unwrap_err();
            assert_eq!(error.code, -32602, "{method} {params}");
            assert!(error.message.contains(named), "{method} {params}: {}", error.message);
        }
    }

    #[test]
    fn what_is_wrong_is_repeated_at_a_bounded_length() {
        let long = "ü".repeat(20_000);
        for frame in [
            json!({"jsonrpc": "2.0", "id": 1, "method": long}),
            json!({"jsonrpc": "2.0", "id": 1, "method": "ping", long.clone(): 1}),
            json!({"jsonrpc": "2.0", "id": 1, "method": "ping", "params": {long.clone(): 1}}),
            json!({"jsonrpc": "2.0", "id": 1, "method": "mute", "params": {"source": long}}),
        ] {
            let message = parse(&frame.to_string()).unwrap_err().message;
            assert_eq!(message.chars().count(), MAX_MESSAGE + 1, "{message:.100}");
            assert!(message.ends_with('…'));
        }
    }

    #[test]
    fn an_event_is_a_notification_with_its_call() {
        let user_id: UserId = "bob".parse().unwrap();
        let call = CallId::from_u128(9);
        let text = write(&Message::Event { call: Some(call), event: Event::UserJoin { user_id }.into() }).unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            value,
            json!({"jsonrpc": "2.0", "method": "onUserJoin", "params": {"userId": "bob", "callId": call.to_string()}})
        );
    }

    #[test]
    fn a_refusal_carries_number_and_name() {
        let text = refusal(&RequestId(json!("x")), &Refusal::state("no"));
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["error"], json!({"code": -1203, "message": "no", "data": {"name": "refusedInThisState"}}));
    }
}
