//! Log-ins of the contract: second ones, several devices, tickets that run out, keys that narrow what a client may do.

use std::time::Duration;

use callisto::base::Source;
use callisto::control::input::Target;
use callisto::control::{Grant, Input, Message, Renewal, Reply, Request, RequestId};
use callisto::event::{CallMediaType, RoomId};
use callisto::media::Command;

use crate::story::{SECOND, Story, user};

#[test]
fn an_answer_on_one_device_silences_the_others() {
    let mut story = Story::with_sessions(&["alice", "bob", "bob"], 2);
    story.calls("alice", &["bob"], "");
    assert_eq!(story.events("bob"), ["onCallReceived alice"]);
    assert_eq!(story.events("bob#2"), ["onCallReceived alice"]);
    let second = story.nth_device("bob", 1);
    let call = story.call.unwrap();
    story.request_of(&second, Request::Accept { call }).unwrap();
    assert_eq!(story.events("bob"), ["onCallCancelled alice"]);
    assert_eq!(story.events("bob#2"), ["onCallBegin Called", "onUserJoin alice"]);
}

#[test]
fn a_rejection_on_one_device_silences_the_others() {
    let mut story = Story::with_sessions(&["alice", "bob", "bob"], 2);
    story.calls("alice", &["bob"], "");
    story.rejects("bob");
    assert_eq!(story.events("bob"), ["onCallReceived alice", "onCallCancelled alice"]);
    assert_eq!(story.events("bob#2"), ["onCallReceived alice", "onCallCancelled alice"]);
}

#[test]
fn a_second_log_in_kicks_the_first_and_may_take_its_call_over() {
    let mut story = Story::of(&["alice", "bob"]);
    let call = story.calls("alice", &["bob"], "");
    story.accepts("bob");
    story.told.clear();
    story.logs_in("bob");
    assert_eq!(story.events("bob"), ["onKickedOffline"]);
    story.asks("bob", Request::Join { target: Target::Call(call), media_type: CallMediaType::Video }).unwrap();
    assert_eq!(story.events("bob"), ["onCallBegin Called", "onUserJoin alice"]);
    story.passes(SECOND * 60);
    assert!(story.events("alice").is_empty(), "the call goes on");
}

#[test]
fn a_call_that_the_second_log_in_leaves_alone_ends_for_the_user() {
    let mut story = Story::of(&["alice", "bob"]);
    story.calls("alice", &["bob"], "");
    story.accepts("bob");
    story.told.clear();
    story.world.log_in(&"bob".parse().unwrap(), None);
    story.passes(SECOND * 20);
    assert_eq!(story.events("alice"), ["onUserLeave bob", "onCallEnd Caller 20"]);
    assert_eq!(story.stream().last().unwrap(), "onCallEnd kicked");
}

#[test]
fn an_expired_ticket_is_told_and_closes_the_session_after_the_grace() {
    let mut story = Story::of(&["alice"]);
    story.passes(Duration::from_secs(100_000));
    assert_eq!(story.events("alice"), ["onUserSigExpired"]);
    assert_eq!(story.world.state.session_count(), 1);
    story.passes(SECOND * 60);
    assert_eq!(story.world.state.session_count(), 0);
}

#[test]
fn a_user_who_comes_back_in_time_stays_in_the_call() {
    let mut story = Story::of(&["alice", "bob"]);
    story.calls("alice", &["bob"], "");
    story.accepts("bob");
    let session = story.device("bob").session;
    story.drops("bob");
    story.passes(SECOND * 10);
    story.world.log_in(&"bob".parse().unwrap(), Some(session));
    story.told.clear();
    story.passes(SECOND * 60);
    assert!(story.events("alice").is_empty() && story.events("bob").is_empty());
}

fn join(story: &Story) -> Request {
    Request::Join { target: Target::Call(story.call.unwrap()), media_type: CallMediaType::Video }
}

#[test]
fn a_second_log_in_may_take_a_call_over_by_offering() {
    let mut story = Story::of(&["alice", "bob"]);
    let call = story.calls("alice", &["bob"], "");
    story.accepts("bob");
    let old = story.sends_media("bob");
    story.told.clear();
    story.logs_in("bob");
    assert_eq!(story.events("bob"), ["onKickedOffline"]);
    let device = story.device("bob");
    let devices = story.world.devices.clone();
    let (turn, reply) = story.world.request(&device, Request::Offer { call, sdp: String::new(), sources: vec![] });
    assert!(reply.is_none(), "the media plane answers");
    assert!(turn.media.iter().any(|command| matches!(command, Command::Leave { peer, .. } if *peer == old)));
    story.heard(turn, &devices);
    assert_eq!(story.events("bob"), ["onCallBegin Called", "onUserJoin alice"]);
    assert_eq!(
        story.events("alice"),
        ["onUserVideoAvailable bob false", "onUserAudioAvailable bob false"],
        "of the old device's media nothing is left"
    );
    story.passes(SECOND * 60);
    assert!(story.events("alice").is_empty(), "the call goes on");
}

#[test]
fn a_second_log_in_may_take_over_the_call_that_its_user_waits_in_or_cancel_it() {
    let mut story = Story::of(&["alice", "bob"]);
    story.calls("alice", &["bob"], "");
    story.told.clear();
    story.logs_in("alice");
    assert_eq!(story.events("alice"), ["onKickedOffline"]);
    story.asks("alice", join(&story)).unwrap();
    story.passes(SECOND * 25);
    assert!(story.told.is_empty(), "still ringing: {:?}", story.told);
    story.accepts("bob");
    assert_eq!(story.events("alice"), ["onUserJoin bob", "onCallBegin Caller"]);
    story.hangs_up("alice");

    let mut story = Story::of(&["alice", "bob"]);
    story.calls("alice", &["bob"], "");
    story.logs_in("alice");
    story.told.clear();
    story.hangs_up("alice");
    assert_eq!(story.events("bob"), ["onCallCancelled alice"]);
    assert_eq!(story.stream(), ["onCallReceived", "onCallCancelled cancelled"]);
}

#[test]
fn the_lost_device_of_a_waiting_caller_hears_that_another_has_the_call() {
    let mut story = Story::with_sessions(&["alice", "alice", "bob"], 2);
    let call = story.calls("alice", &["bob"], "");
    story.drops("alice");
    let second = story.nth_device("alice", 1);
    story.request_of(&second, join(&story)).unwrap();
    assert_eq!(story.events("alice"), ["onCallCancelled alice"]);
    assert!(story.events("alice#2").is_empty());
    story.asks("bob", Request::Accept { call }).unwrap();
    assert_eq!(story.events("alice#2"), ["onUserJoin bob", "onCallBegin Caller"]);
}

#[test]
fn a_waiting_callers_second_log_in_that_does_nothing_cancels_after_the_resume_timeout() {
    let mut story = Story::of(&["alice", "bob"]);
    story.calls("alice", &["bob"], "");
    story.logs_in("alice");
    story.told.clear();
    story.passes(SECOND * 20);
    assert_eq!(story.events("bob"), ["onCallCancelled alice"]);
    assert_eq!(story.stream(), ["onCallReceived", "onCallCancelled kicked"]);
}

#[test]
fn a_second_log_in_while_rung_rings_on_and_may_accept() {
    let mut story = Story::of(&["alice", "bob"]);
    let call = story.calls("alice", &["bob"], "");
    let turn = story.world.log_in(&user("bob"), None);
    let listed = turn.tells.iter().find_map(|(_, message)| match message {
        Message::Reply { result: Ok(Reply::LoggedIn { calls }), .. } => Some(calls.clone()),
        _ => None,
    });
    let listed = listed.expect("a log-in is answered");
    assert_eq!((listed.len(), listed[0].call, listed[0].ringing), (1, call, true));
    story.told.clear();
    story.accepts("bob");
    assert_eq!(story.events("bob"), ["onCallBegin Called", "onUserJoin alice"]);
}

#[test]
fn with_several_devices_allowed_the_oldest_gives_way_to_one_too_many() {
    let mut story = Story::with_sessions(&["bob", "bob"], 2);
    let (first, second) = (story.nth_device("bob", 0), story.nth_device("bob", 1));
    story.world.log_in(&user("bob"), None);
    let left: Vec<_> = story.world.devices.iter().map(|device| device.session).collect();
    assert!(!left.contains(&first.session) && left.contains(&second.session) && left.len() == 2);
}

#[test]
fn of_several_devices_only_the_one_in_the_call_hears_of_it_and_acts_in_it() {
    let mut story = Story::with_sessions(&["alice", "bob", "bob"], 2);
    let call = story.calls("alice", &["bob"], "");
    let (first, second) = (story.nth_device("bob", 0), story.nth_device("bob", 1));
    story.request_of(&second, Request::Accept { call }).unwrap();
    story.told.clear();
    for body in [
        Request::HangUp { call },
        Request::Mute { call, source: Source::Camera, muted: true },
        Request::View { call, slots: vec![] },
        Request::SwitchMediaType { call, to: CallMediaType::Voice },
        Request::Offer { call, sdp: String::new(), sources: vec![] },
    ] {
        assert_eq!(story.request_of(&first, body.clone()).unwrap_err().code.number(), -1203, "{body:?}");
    }
    assert_eq!(story.request_of(&first, join(&story)).unwrap_err().code.number(), -1204);
    story.sends_media("alice");
    assert_eq!(story.events("bob#2"), ["onUserVideoAvailable alice true", "onUserAudioAvailable alice true"]);
    assert!(story.events("bob").is_empty());
}

#[test]
fn a_ticket_renewed_within_the_grace_keeps_the_session() {
    let mut story = Story::of(&["alice", "bob"]);
    story.calls("alice", &["bob"], "");
    story.accepts("bob");
    story.passes(SECOND * 100_000);
    assert_eq!(story.events("alice").last().unwrap(), "onUserSigExpired");
    story.passes(SECOND * 59);
    for name in ["alice", "bob"] {
        let (session, request) = (story.device(name).session, RequestId(1.into()));
        let expires = story.world.now + SECOND * 1000;
        story.input(Input::Renewed(Renewal { session, request, expires, grant: None }));
    }
    story.told.clear();
    story.passes(SECOND * 999);
    assert!(story.told.is_empty(), "{:?}", story.told);
    story.passes(SECOND);
    assert_eq!(story.events("alice"), ["onUserSigExpired"], "and again when that one runs out");
}

#[test]
fn a_ticket_not_renewed_costs_the_session_and_then_the_seat() {
    let mut story = Story::of(&["alice", "bob"]);
    story.calls("alice", &["bob"], "");
    story.accepts("bob");
    let (session, request) = (story.device("bob").session, RequestId(1.into()));
    let expires = story.world.now + SECOND * 500_000;
    story.input(Input::Renewed(Renewal { session, request, expires, grant: None }));
    story.passes(SECOND * 100_000);
    story.told.clear();
    story.passes(SECOND * 60);
    assert_eq!(story.quality_of("bob", "alice"), ["Down"]);
    story.passes(SECOND * 20);
    assert_eq!(story.events("bob"), ["onUserLeave alice", "onCallEnd Called 100080"]);
    assert_eq!(story.stream().last().unwrap(), "onCallEnd offline");
}

/// Everything in one room.
fn key(room: RoomId) -> Grant {
    Grant {
        room,
        create: true,
        enter: true,
        send_audio: true,
        receive_audio: true,
        send_video: true,
        receive_video: true,
        send_screen: true,
        receive_screen: true,
    }
}

#[test]
fn a_key_opens_its_own_room_and_makes_it_only_if_it_says_so() {
    let mut story = Story::of(&["alice"]);
    let here = || key(RoomId::Str("here".into()));
    let join =
        |name: &str| Request::Join { target: Target::Room(RoomId::Str(name.into())), media_type: CallMediaType::Video };
    for (grant, room, number) in [
        (here(), "there", Some(20007)),
        (Grant { enter: false, ..here() }, "here", Some(20007)),
        (Grant { create: false, ..here() }, "here", Some(20007)),
        (here(), "here", None),
    ] {
        story.world.grant = Some(grant.clone());
        story.logs_in("alice");
        let reply = story.asks("alice", join(room));
        assert_eq!(reply.as_ref().err().map(|refusal| refusal.code.number()), number, "{grant:?} {room} {reply:?}");
    }
    // The room exists: making it is not needed.
    story.world.grant = Some(Grant { create: false, ..here() });
    story.logs_in("bob");
    story.asks("bob", join("here")).unwrap();
}

#[test]
fn a_key_to_another_room_neither_places_nor_accepts_nor_takes_over() {
    let mut story = Story::of(&["alice", "bob"]);
    let call = story.calls("alice", &["bob"], "");
    story.world.grant = Some(key(RoomId::Int(8)));
    story.logs_in("bob");
    assert_eq!(story.asks("bob", Request::Accept { call }).unwrap_err().code.number(), 20007);
    story.world.grant = Some(key(RoomId::Int(7)));
    story.logs_in("bob");
    story.accepts("bob");
    story.world.grant = Some(key(RoomId::Int(8)));
    story.logs_in("bob");
    assert_eq!(story.asks("bob", join(&story)).unwrap_err().code.number(), 20007);
    let offer = Request::Offer { call, sdp: String::new(), sources: vec![] };
    assert_eq!(story.asks("bob", offer).unwrap_err().code.number(), 20007);
    story.logs_in("alice");
    story.passes(SECOND * 30);
    let place = Request::Call {
        users: vec![user("bob")],
        media_type: CallMediaType::Voice,
        room: None,
        group_id: String::new(),
        timeout: None,
        user_data: String::new(),
        webhook: None,
    };
    assert_eq!(story.asks("alice", place).unwrap_err().code.number(), 20007);
}

#[test]
fn what_a_key_does_not_let_its_user_send_is_not_forwarded_nor_available() {
    for (grant, available) in [
        (Grant { send_audio: false, ..key(RoomId::Int(7)) }, ["onUserVideoAvailable bob true"]),
        (Grant { send_video: false, ..key(RoomId::Int(7)) }, ["onUserAudioAvailable bob true"]),
    ] {
        let mut story = Story::of(&["alice"]);
        story.world.grant = Some(grant.clone());
        story.logs_in("bob");
        let call = story.calls("alice", &["bob"], "");
        story.accepts("bob");
        story.told.clear();
        story.sends_media("bob");
        assert_eq!(story.events("alice"), available, "{grant:?}");
        let source = if grant.send_audio { Source::Camera } else { Source::Microphone };
        let unmute = Request::Mute { call, source, muted: false };
        assert_eq!(story.asks("bob", unmute).unwrap_err().code.number(), 20007);
    }
}

#[test]
fn what_a_key_does_not_let_its_user_receive_is_said_to_the_media_plane() {
    let mut story = Story::of(&["alice"]);
    story.world.grant = Some(Grant { receive_video: false, receive_screen: false, ..key(RoomId::Int(7)) });
    story.logs_in("bob");
    let call = story.calls("alice", &["bob"], "");
    story.accepts("bob");
    let device = story.device("bob");
    let (turn, _) = story.world.request(&device, Request::Offer { call, sdp: String::new(), sources: vec![] });
    let may_receive = turn.media.iter().find_map(|command| match command {
        Command::Offer { may_receive, .. } => Some(*may_receive),
        _ => None,
    });
    let may_receive = may_receive.expect("an offer goes to the media plane");
    assert_eq!((may_receive.audio, may_receive.video, may_receive.screen), (true, false, false));
}

#[test]
fn another_ticket_narrows_or_widens_what_is_sent_at_once() {
    let mut story = Story::of(&["alice", "bob"]);
    story.calls("alice", &["bob"], "");
    story.accepts("bob");
    let peer = story.sends_media("bob");
    story.told.clear();
    let session = story.device("bob").session;
    let renewal = |story: &Story, grant| Renewal {
        session,
        request: RequestId(1.into()),
        expires: story.world.now + Duration::from_secs(1000),
        grant,
    };
    let narrow = renewal(&story, Some(Grant { send_audio: false, ..key(RoomId::Int(7)) }));
    let devices = story.world.devices.clone();
    let turn = story.world.apply(Input::Renewed(narrow));
    let stopped = turn.media.iter().any(|command| {
        matches!(command, Command::Forward { peer: of, source: Source::Microphone, forward: false, .. } if *of == peer)
    });
    assert!(stopped, "{:?}", turn.media);
    story.heard(turn, &devices);
    assert_eq!(story.events("alice"), ["onUserAudioAvailable bob false"]);
    let wide = renewal(&story, None);
    story.input(Input::Renewed(wide));
    assert_eq!(story.events("alice"), ["onUserAudioAvailable bob true"]);
}
