//! What clients and backends are told: each notification, each result, each refusal, each envelope.

use std::collections::BTreeMap;
use std::time::Duration;

use callisto::base::{CallId, EventId, Quality, SessionId, Source, Timestamp, UserId, Volume};
use callisto::control::{CallBrief, Closing, MemberBrief, Message, Refusal, Reply, RequestId, SlotBrief};
use callisto::event::{
    CallMediaType, CallRole, EndReason, ErrorCode, Event, EventKind, Fact, GapReason, Outcome, Participant, RoomId,
    ServerView, TelemetryEnvelope, UserSummary,
};
use callisto::media::EncodingState;
use callisto::signal::protocol;
use serde_json::Value;

const CALL: CallId = CallId::from_u128(0x0190_0000_0000_0000_0000_0000_0000_0001);

fn user(name: &str) -> UserId {
    name.parse().unwrap()
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(1_767_225_600_123 + seconds * 1000)
}

fn room() -> RoomId {
    RoomId::Int(7)
}

/// One event of every kind.
fn events() -> Vec<Event> {
    let bob = || user("bob");
    vec![
        Event::Error { code: -1203, message: "the media connection is gone: offer again".into() },
        Event::CallReceived {
            caller_id: user("alice"),
            callee_id_list: vec![bob(), user("carol")],
            group_id: "group".into(),
            call_media_type: CallMediaType::Video,
            user_data: "data".into(),
        },
        Event::CallPlaced {
            room_id: room(),
            callee_id_list: vec![bob()],
            group_id: String::new(),
            call_media_type: CallMediaType::Voice,
            user_data: "data".into(),
        },
        Event::CallCancelled { caller_id: user("alice") },
        Event::CallBegin { room_id: room(), call_media_type: CallMediaType::Video, call_role: CallRole::Called },
        Event::CallEnd {
            room_id: RoomId::Str("room".into()),
            call_media_type: CallMediaType::Video,
            call_role: CallRole::Caller,
            total_time: 61,
        },
        Event::UserReject { user_id: bob() },
        Event::UserNoResponse { user_id: bob() },
        Event::UserLineBusy { user_id: bob() },
        Event::UserInviting { user_id: bob() },
        Event::UserJoin { user_id: bob() },
        Event::UserLeave { user_id: bob() },
        Event::CallMediaTypeChanged {
            old_call_media_type: CallMediaType::Voice,
            new_call_media_type: CallMediaType::Video,
        },
        Event::KickedOffline {},
        Event::UserSigExpired {},
        Event::UserVideoAvailable { user_id: bob(), is_video_available: true },
        Event::UserAudioAvailable { user_id: bob(), is_audio_available: false },
        Event::UserVoiceVolumeChanged {
            volume_map: BTreeMap::from([(user("alice"), Volume::from_audio_level(30)), (bob(), Volume::SILENT)]),
        },
        Event::UserNetworkQualityChanged {
            network_quality: BTreeMap::from([(user("alice"), Quality::Excellent), (bob(), Quality::Down)]),
        },
        Event::DeliveryGap { from_seq: 3, to_seq: 4, reason: GapReason::Undeliverable },
    ]
}

/// On one line each, as they are sent.
fn lines(texts: impl IntoIterator<Item = String>) -> String {
    texts.into_iter().map(|text| text + "\n").collect()
}

#[test]
fn the_notifications_of_events_are_as_kept() {
    let kinds: Vec<EventKind> = events().iter().map(Event::kind).collect();
    assert_eq!(kinds.len(), EventKind::ALL.len());
    assert!(EventKind::ALL.iter().all(|kind| kinds.contains(kind)), "one of each kind");
    let callless = [EventKind::KickedOffline, EventKind::UserSigExpired];
    let told = events().into_iter().filter(|event| event.kind() != EventKind::DeliveryGap).map(|event| {
        let call = (!callless.contains(&event.kind())).then_some(CALL);
        protocol::write(&Message::Event { call, event: event.into() }).expect("events are written")
    });
    crate::expect_as_kept("notifications.txt", &lines(told));
}

fn member(name: &str, role: CallRole) -> MemberBrief {
    MemberBrief { user: user(name), role, audio: true, video: false }
}

#[test]
fn the_other_messages_of_the_protocol_are_as_kept() {
    let reply = |reply| Message::Reply { request: RequestId(Value::from("a")), result: Ok(reply) };
    let slot = |name: Option<&str>, paused| SlotBrief {
        mid: "0".parse().unwrap(),
        user: name.map(user),
        source: Source::Camera,
        paused,
    };
    let messages = [
        reply(Reply::Done),
        reply(Reply::Placed { call: CALL, room: room() }),
        reply(Reply::Entered { call: CALL, room: room(), members: vec![member("alice", CallRole::Caller)] }),
        reply(Reply::Answer { sdp: "v=0\r\n".into() }),
        Message::Slots {
            call: CALL,
            slots: vec![slot(Some("bob"), false), slot(Some("bob"), true), slot(None, false)],
        },
        Message::Encodings {
            call: CALL,
            mid: "1".parse().unwrap(),
            encodings: vec![
                EncodingState { rid: Some("h".into()), active: true, max_bitrate: Some(1_500_000) },
                EncodingState { rid: None, active: false, max_bitrate: None },
            ],
        },
        Message::Stopping { within: Duration::from_secs(30) },
    ];
    let brief = CallBrief {
        call: CALL,
        room: room(),
        media_type: CallMediaType::Video,
        role: CallRole::Called,
        caller: user("alice"),
        group_id: "group".into(),
        user_data: "data".into(),
        ringing: true,
        begun: true,
        members: vec![member("alice", CallRole::Caller)],
    };
    let welcome =
        protocol::Welcome { session: SessionId::from_u128(1), resume_token: "token", resumed: true, ice_servers: &[] };
    let logged_in = protocol::log_in_result(welcome, &[brief]);
    let mut texts: Vec<String> = messages.iter().filter_map(protocol::write).collect();
    assert_eq!(texts.len(), messages.len());
    texts.push(protocol::result(&RequestId(1.into()), &logged_in));
    texts.push(protocol::resume_token("token"));
    for reason in [Closing::KickedByAnotherLogin, Closing::TicketExpired, Closing::Abandoned] {
        let (code, reason) = protocol::close_code(reason);
        texts.push(format!("close {code} {reason}"));
    }
    crate::expect_as_kept("messages.txt", &lines(texts));
}

#[test]
fn the_refusals_number_and_name_are_as_kept() {
    use ErrorCode::*;
    let codes = [
        NotLoggedIn,
        InvalidParameter,
        RefusedInThisState,
        RepeatedRequest,
        NotAvailableInThisCall,
        TooManyRequests,
        Unavailable,
        SwitchToVoiceFailed,
        SwitchToVideoFailed,
        UserSigExpired,
        UserSigInvalid,
        UserSigWrongKey,
        UserMismatch,
        SdkAppIdMismatch,
        KickedByAnotherLogin,
        Blocked,
    ];
    let texts = codes.map(|code| protocol::refusal(&RequestId(1.into()), &Refusal::new(code, "why")));
    crate::expect_as_kept("errors.txt", &lines(texts));
}

/// What the server's view adds, with everything it can have.
fn full_view() -> ServerView {
    ServerView {
        caller_id: Some(user("alice")),
        callee_id_list: Some(vec![user("bob")]),
        group_id: Some("group".into()),
        room_id: Some(room()),
        call_role: Some(CallRole::Called),
        reason: Some(EndReason::NodeLost),
        participants: Some(vec![
            Participant {
                user_id: user("alice"),
                call_role: CallRole::Caller,
                joined_at: at(0),
                left_at: Some(at(61)),
                total_time: 61,
            },
            Participant {
                user_id: user("bob"),
                call_role: CallRole::Called,
                joined_at: at(1),
                left_at: None,
                total_time: 60,
            },
        ]),
        outcomes: Some(BTreeMap::from([
            (user("b"), Outcome::Cancelled),
            (user("c"), Outcome::Reject),
            (user("d"), Outcome::NoResponse),
            (user("e"), Outcome::LineBusy),
            (user("f"), Outcome::Offline),
            (user("g"), Outcome::Kicked),
        ])),
        summary: Some(BTreeMap::from([(
            user("alice"),
            UserSummary { talk_time: 12, quality_p5: Quality::Good, loss_up: 0.5, loss_down: 0.0 },
        )])),
        inferred: true,
        last_seen_at: Some(at(30)),
    }
}

#[test]
fn the_envelopes_that_backends_get_are_as_kept() {
    let mut texts = Vec::new();
    let text = |json: Vec<u8>| String::from_utf8(json).expect("JSON is UTF-8");
    for (seq, event) in (1..).zip(events()) {
        match event.kind().class() {
            callisto::event::Class::Lifecycle => {
                let fact = Fact { call: CALL, seq, time: at(seq), event, view: ServerView::default() };
                texts.push(text(fact.to_json()));
            }
            callisto::event::Class::Telemetry => {
                let envelope = TelemetryEnvelope { id: EventId::from_u128(1), call: CALL, time: at(seq), event };
                texts.push(text(envelope.to_json()));
            }
            callisto::event::Class::Client => {}
        }
    }
    let end = events().into_iter().find(|event| event.kind() == EventKind::CallEnd).expect("one of each");
    texts.push(text(Fact { call: CALL, seq: 99, time: at(99), event: end, view: full_view() }.to_json()));
    let reasons = [
        EndReason::Hangup,
        EndReason::Reject,
        EndReason::NoResponse,
        EndReason::LineBusy,
        EndReason::Cancelled,
        EndReason::Offline,
        EndReason::Kicked,
        EndReason::Dismissed,
        EndReason::AnsweredElsewhere,
        EndReason::RejectedElsewhere,
        EndReason::NodeLost,
        EndReason::Moderated,
    ];
    texts.extend(reasons.map(|reason| serde_json::to_string(&reason).expect("a reason is text")));
    crate::expect_as_kept("envelopes.txt", &lines(texts));
}
