//! The contract's table "what happens when", row by row: for each party the exact events in order, and what the backend is told.

use callisto::base::Source;
use callisto::control::input::{Restored, Target};
use callisto::control::{Input, Reply, Request};
use callisto::event::{CallMediaType, Event, EventKind, RoomId};
use callisto::media::{Connection, Report};

use crate::story::{SECOND, Story};

#[test]
fn a_placed_call_rings_its_callee_with_everything_the_caller_said() {
    let mut story = Story::of(&["alice", "bob"]);
    story.calls("alice", &["bob"], "");
    assert!(story.events("alice").is_empty());
    let Some((_, Event::CallReceived { callee_id_list, group_id, call_media_type, user_data, .. })) =
        story.told.first()
    else {
        panic!("{:?}", story.told)
    };
    assert_eq!((callee_id_list.len(), group_id.as_str(), user_data.as_str()), (1, "", "data"));
    assert_eq!(*call_media_type, CallMediaType::Video);
    assert_eq!(story.events("bob"), ["onCallReceived alice"]);
    assert_eq!(story.stream(), ["onCallReceived"]);
}

#[test]
fn the_first_accept_begins_the_call_and_a_hang_up_ends_it_for_both() {
    let mut story = Story::of(&["alice", "bob"]);
    story.calls("alice", &["bob"], "");
    story.accepts("bob");
    assert_eq!(story.events("alice"), ["onUserJoin bob", "onCallBegin Caller"]);
    assert_eq!(story.events("bob"), ["onCallReceived alice", "onCallBegin Called", "onUserJoin alice"]);
    story.passes(SECOND * 61);
    story.hangs_up("bob");
    assert_eq!(story.events("bob"), ["onCallEnd Called 61"]);
    assert_eq!(story.events("alice"), ["onUserLeave bob", "onCallEnd Caller 61"]);
    assert_eq!(
        story.stream(),
        [
            "onCallReceived",
            "onCallBegin",
            "onUserJoin alice",
            "onUserJoin bob",
            "onUserLeave bob",
            "onUserLeave alice",
            "onCallEnd hangup"
        ]
    );
}

#[test]
fn leaving_turns_the_media_off_first() {
    let mut story = Story::of(&["alice", "bob"]);
    story.calls("alice", &["bob"], "");
    story.accepts("bob");
    story.sends_media("bob");
    story.events("bob");
    assert_eq!(
        story.events("alice"),
        ["onUserJoin bob", "onCallBegin Caller", "onUserVideoAvailable bob true", "onUserAudioAvailable bob true"]
    );
    story.stream();
    story.hangs_up("bob");
    assert_eq!(
        story.events("alice"),
        ["onUserVideoAvailable bob false", "onUserAudioAvailable bob false", "onUserLeave bob", "onCallEnd Caller 0"]
    );
    assert_eq!(
        story.stream(),
        [
            "onUserVideoAvailable bob false",
            "onUserAudioAvailable bob false",
            "onUserLeave bob",
            "onUserLeave alice",
            "onCallEnd hangup"
        ]
    );
}

#[test]
fn a_caller_who_cancels_tells_both() {
    let mut story = Story::of(&["alice", "bob"]);
    story.calls("alice", &["bob"], "");
    story.hangs_up("alice");
    assert_eq!(story.events("alice"), ["onCallCancelled alice"]);
    assert_eq!(story.events("bob"), ["onCallReceived alice", "onCallCancelled alice"]);
    assert_eq!(story.facts[1].1["outcomes"]["bob"], "cancelled");
    assert_eq!(story.stream(), ["onCallReceived", "onCallCancelled cancelled"]);
}

#[test]
fn a_rejected_call_between_two_is_over() {
    let mut story = Story::of(&["alice", "bob"]);
    story.calls("alice", &["bob"], "");
    story.rejects("bob");
    assert_eq!(story.events("alice"), ["onUserReject bob", "onCallCancelled alice"]);
    assert_eq!(story.events("bob"), ["onCallReceived alice", "onCallCancelled alice"]);
    assert_eq!(story.facts[2].1["outcomes"]["bob"], "reject");
    assert_eq!(story.stream(), ["onCallReceived", "onUserReject bob", "onCallCancelled reject"]);
}

#[test]
fn a_call_that_nobody_answers_is_over_after_its_timeout() {
    let mut story = Story::of(&["alice", "bob"]);
    story.calls("alice", &["bob"], "");
    story.passes(SECOND * 29);
    assert!(story.events("alice").is_empty());
    story.passes(SECOND);
    assert_eq!(story.events("alice"), ["onUserNoResponse bob", "onCallCancelled alice"]);
    assert_eq!(story.events("bob"), ["onCallReceived alice", "onCallCancelled alice"]);
    assert_eq!(story.stream(), ["onCallReceived", "onUserNoResponse bob", "onCallCancelled noResponse"]);
}

#[test]
fn a_busy_callee_hears_nothing() {
    let mut story = Story::of(&["alice", "bob", "carol"]);
    story.calls("alice", &["bob"], "");
    story.told.clear();
    story.facts.clear();
    let users = vec!["bob".parse().unwrap()];
    let body = Request::Call {
        users,
        media_type: CallMediaType::Voice,
        room: None,
        group_id: String::new(),
        timeout: None,
        user_data: String::new(),
        webhook: None,
    };
    assert!(matches!(story.asks("carol", body), Ok(Reply::Placed { .. })));
    assert_eq!(story.events("carol"), ["onUserLineBusy bob", "onCallCancelled carol"]);
    assert!(story.events("bob").is_empty() && story.events("alice").is_empty());
    assert_eq!(story.stream(), ["onCallReceived", "onUserLineBusy bob", "onCallCancelled lineBusy"]);
}

#[test]
fn in_a_group_each_callee_answers_for_themself() {
    let mut story = Story::of(&["alice", "bob", "carol", "dave"]);
    story.calls("alice", &["bob", "carol", "dave"], "");
    story.rejects("bob");
    assert_eq!(story.events("bob"), ["onCallReceived alice", "onCallCancelled alice"]);
    assert_eq!(story.events("alice"), ["onUserReject bob"]);
    assert_eq!(story.events("carol"), ["onCallReceived alice", "onUserReject bob"]);
    story.accepts("carol");
    assert_eq!(story.events("alice"), ["onUserJoin carol", "onCallBegin Caller"]);
    assert_eq!(story.events("carol"), ["onCallBegin Called", "onUserJoin alice"]);
    story.accepts("dave");
    assert_eq!(
        story.events("dave"),
        ["onCallReceived alice", "onUserReject bob", "onCallBegin Called", "onUserJoin alice", "onUserJoin carol"]
    );
    assert_eq!(story.events("alice"), ["onUserJoin dave"]);
    assert_eq!(story.events("carol"), ["onUserJoin dave"]);
    story.passes(SECOND * 10);
    story.hangs_up("alice");
    assert_eq!(story.events("alice"), ["onCallEnd Caller 10"]);
    assert_eq!(story.events("carol"), ["onUserLeave alice"]);
    assert_eq!(story.events("dave"), ["onUserLeave alice"]);
    story.hangs_up("dave");
    assert_eq!(story.events("dave"), ["onCallEnd Called 10"]);
    assert_eq!(story.events("carol"), ["onUserLeave dave", "onCallEnd Called 10"]);
}

#[test]
fn a_group_of_which_nobody_comes_is_over_with_the_last() {
    let mut story = Story::of(&["alice", "bob", "carol"]);
    story.calls("alice", &["bob", "carol"], "");
    story.rejects("bob");
    story.events("alice");
    story.passes(SECOND * 30);
    assert_eq!(story.events("alice"), ["onUserNoResponse carol", "onCallCancelled alice"]);
    assert_eq!(
        story.stream(),
        ["onCallReceived", "onUserReject bob", "onUserNoResponse carol", "onCallCancelled noResponse"]
    );
}

#[test]
fn an_invited_user_is_rung_and_the_others_hear_of_it() {
    let mut story = Story::of(&["alice", "bob", "carol"]);
    let call = story.calls("alice", &["bob"], "group");
    story.accepts("bob");
    story.told.clear();
    let users = vec!["carol".parse().unwrap()];
    story.asks("bob", Request::Invite { call, users: users.clone(), timeout: None }).unwrap();
    assert_eq!(story.events("alice"), ["onUserInviting carol"]);
    assert_eq!(story.events("bob"), ["onUserInviting carol"]);
    assert_eq!(story.events("carol"), ["onCallReceived bob"]);
    assert!(story.asks("bob", Request::Invite { call, users, timeout: None }).is_err(), "rung already");
    story.accepts("carol");
    assert_eq!(story.events("carol"), ["onCallBegin Called", "onUserJoin alice", "onUserJoin bob"]);
    assert_eq!(story.events("alice"), ["onUserJoin carol"]);
}

#[test]
fn a_joiner_learns_who_is_there_and_what_they_send() {
    let mut story = Story::of(&["alice", "bob", "carol"]);
    let call = story.calls("alice", &["bob"], "group");
    story.accepts("bob");
    story.sends_media("alice");
    story.told.clear();
    let reply = story.asks("carol", Request::Join { target: Target::Call(call), media_type: CallMediaType::Video });
    let Ok(Reply::Entered { members, .. }) = reply else { panic!("{reply:?}") };
    assert_eq!(members.len(), 3);
    assert_eq!(
        story.events("carol"),
        [
            "onCallBegin Called",
            "onUserJoin alice",
            "onUserVideoAvailable alice true",
            "onUserAudioAvailable alice true",
            "onUserJoin bob"
        ]
    );
}

#[test]
fn a_room_begins_without_ringing_and_ends_with_its_last_member() {
    let mut story = Story::of(&["alice", "bob"]);
    let room = RoomId::Str("room".into());
    let join = || Request::Join { target: Target::Room(room.clone()), media_type: CallMediaType::Video };
    let reply = story.asks("alice", join());
    let Ok(Reply::Entered { call, .. }) = reply else { panic!("{reply:?}") };
    story.call = Some(call);
    story.asks("bob", join()).unwrap();
    assert_eq!(story.events("alice"), ["onCallBegin Caller", "onUserJoin bob"]);
    assert_eq!(story.events("bob"), ["onCallBegin Called", "onUserJoin alice"]);
    story.hangs_up("alice");
    assert_eq!(story.events("bob"), ["onUserLeave alice"]);
    story.hangs_up("bob");
    assert_eq!(
        story.stream(),
        [
            "onCallBegin",
            "onUserJoin alice",
            "onUserJoin bob",
            "onUserLeave alice",
            "onUserLeave bob",
            "onCallEnd hangup"
        ]
    );
}

#[test]
fn the_media_type_changes_in_a_call_between_two_only() {
    let mut story = Story::of(&["alice", "bob"]);
    let call = story.calls("alice", &["bob"], "");
    let to = CallMediaType::Voice;
    assert_eq!(story.asks("alice", Request::SwitchMediaType { call, to }).unwrap_err().code.number(), 60001);
    story.accepts("bob");
    story.told.clear();
    story.asks("alice", Request::SwitchMediaType { call, to }).unwrap();
    assert_eq!(story.events("alice"), ["onCallMediaTypeChanged"]);
    assert_eq!(story.events("bob"), ["onCallMediaTypeChanged"]);
    let mut story = Story::of(&["alice", "bob"]);
    let call = story.calls("alice", &["bob"], "group");
    story.accepts("bob");
    let to = CallMediaType::Video;
    assert_eq!(story.asks("alice", Request::SwitchMediaType { call, to }).unwrap_err().code.number(), 60002);
}

#[test]
fn a_caller_who_cancels_a_group_tells_every_callee() {
    let mut story = Story::of(&["alice", "bob", "carol"]);
    story.calls("alice", &["bob", "carol"], "");
    story.hangs_up("alice");
    assert_eq!(story.events("alice"), ["onCallCancelled alice"]);
    for callee in ["bob", "carol"] {
        assert_eq!(story.events(callee), ["onCallReceived alice", "onCallCancelled alice"]);
    }
    assert_eq!(story.stream(), ["onCallReceived", "onCallCancelled cancelled"]);
}

#[test]
fn a_silent_callee_of_a_group_is_missed_by_everyone_and_the_call_goes_on() {
    let mut story = Story::of(&["alice", "bob", "carol"]);
    story.calls("alice", &["bob", "carol"], "");
    story.accepts("bob");
    story.told.clear();
    story.facts.clear();
    story.passes(SECOND * 30);
    assert_eq!(story.events("alice"), ["onUserNoResponse carol"]);
    assert_eq!(story.events("bob"), ["onUserNoResponse carol"]);
    assert_eq!(story.events("carol"), ["onCallCancelled alice"]);
    assert_eq!(story.stream(), ["onUserNoResponse carol"]);
    assert_eq!(story.world.state.calls().count(), 1);
}

#[test]
fn a_busy_callee_of_a_group_is_missed_by_everyone_else_and_hears_nothing() {
    let mut story = Story::of(&["alice", "bob", "carol", "dave", "eve"]);
    story.calls("dave", &["eve"], "");
    story.told.clear();
    story.facts.clear();
    let call = story.places("alice", &["bob", "eve", "carol"], "group", RoomId::Int(8));
    assert_eq!(story.events("alice"), ["onUserLineBusy eve"]);
    for callee in ["bob", "carol"] {
        assert_eq!(story.events(callee), ["onCallReceived alice", "onUserLineBusy eve"]);
    }
    assert!(story.events("eve").is_empty() && story.events("dave").is_empty());
    assert_eq!(story.stream(), ["onCallReceived", "onUserLineBusy eve"]);
    story.asks("bob", Request::Accept { call }).unwrap();
    story.asks("bob", Request::Invite { call, users: vec!["dave".parse().unwrap()], timeout: None }).unwrap();
    assert_eq!(
        story.events("alice"),
        ["onUserJoin bob", "onCallBegin Caller", "onUserInviting dave", "onUserLineBusy dave"]
    );
    assert!(story.events("dave").is_empty());
}

#[test]
fn a_group_of_which_everyone_is_busy_is_over_at_once() {
    let mut story = Story::of(&["alice", "bob", "carol"]);
    story.calls("bob", &["carol"], "");
    story.told.clear();
    story.facts.clear();
    story.places("alice", &["bob", "carol"], "", RoomId::Int(8));
    assert_eq!(story.events("alice"), ["onUserLineBusy bob", "onUserLineBusy carol", "onCallCancelled alice"]);
    assert!(story.told.is_empty(), "{:?}", story.told);
    assert_eq!(
        story.stream(),
        ["onCallReceived", "onUserLineBusy bob", "onUserLineBusy carol", "onCallCancelled lineBusy"]
    );
}

#[test]
fn a_group_of_one_goes_on_while_anyone_rings_and_ends_with_the_ringing() {
    let mut story = Story::of(&["alice", "bob", "carol"]);
    story.calls("alice", &["bob", "carol"], "");
    story.accepts("bob");
    story.told.clear();
    story.facts.clear();
    story.passes(SECOND * 10);
    story.hangs_up("bob");
    assert_eq!(story.events("bob"), ["onCallEnd Called 10"]);
    assert_eq!(story.events("alice"), ["onUserLeave bob"]);
    assert!(story.events("carol").is_empty());
    story.passes(SECOND * 20);
    assert_eq!(story.events("alice"), ["onUserNoResponse carol", "onCallEnd Caller 30"]);
    assert_eq!(story.events("carol"), ["onCallCancelled alice"]);
    assert_eq!(
        story.stream(),
        ["onUserLeave bob", "onUserNoResponse carol", "onUserLeave alice", "onCallEnd noResponse"]
    );
}

#[test]
fn who_left_a_group_may_come_back_and_is_counted_anew() {
    let mut story = Story::of(&["alice", "bob", "carol"]);
    let call = story.calls("alice", &["bob", "carol"], "");
    story.accepts("bob");
    story.accepts("carol");
    story.passes(SECOND * 10);
    story.hangs_up("bob");
    story.told.clear();
    story.facts.clear();
    story.passes(SECOND * 10);
    story.asks("bob", Request::Join { target: Target::Call(call), media_type: CallMediaType::Video }).unwrap();
    assert_eq!(story.events("bob"), ["onCallBegin Called", "onUserJoin alice", "onUserJoin carol"]);
    assert_eq!(story.events("alice"), ["onUserJoin bob"]);
    story.passes(SECOND * 5);
    story.hangs_up("bob");
    assert_eq!(story.events("bob"), ["onCallEnd Called 5"], "a leaver's time counts from their own begin");
    story.hangs_up("carol");
    assert_eq!(story.events("alice"), ["onUserLeave bob", "onUserLeave carol", "onCallEnd Caller 25"]);
    let visits = story.last_fact()["participants"].as_array().unwrap().clone();
    let of_bob: Vec<u64> = visits
        .iter()
        .filter(|visit| visit["userId"] == "bob")
        .map(|visit| visit["totalTime"].as_u64().unwrap())
        .collect();
    assert_eq!(of_bob, [10, 5]);
}

#[test]
fn a_join_by_call_id_answers_for_one_who_is_rung() {
    let mut story = Story::of(&["alice", "bob"]);
    let call = story.calls("alice", &["bob"], "");
    story.asks("bob", Request::Join { target: Target::Call(call), media_type: CallMediaType::Video }).unwrap();
    assert_eq!(story.events("alice"), ["onUserJoin bob", "onCallBegin Caller"]);
    assert_eq!(story.events("bob"), ["onCallReceived alice", "onCallBegin Called", "onUserJoin alice"]);
}

#[test]
fn the_refusal_of_a_switch_has_the_number_of_the_media_type_that_was_wanted() {
    for (group, began, to, number) in [
        ("g", true, CallMediaType::Voice, 60001),
        ("g", true, CallMediaType::Video, 60002),
        ("", false, CallMediaType::Voice, 60001),
        ("", false, CallMediaType::Video, 60002),
        ("", true, CallMediaType::Video, -1204),
    ] {
        let mut story = Story::of(&["alice", "bob", "carol"]);
        let call = story.calls("alice", &["bob"], group);
        if began {
            story.accepts("bob");
        }
        story.told.clear();
        let switch = Request::SwitchMediaType { call, to };
        assert_eq!(story.asks("alice", switch.clone()).unwrap_err().code.number(), number, "{group} {began} {to:?}");
        assert_eq!(story.asks("carol", switch).unwrap_err().code.number().abs() / 10_000, 6, "a stranger");
        assert!(story.told.is_empty(), "{:?}", story.told);
    }
}

#[test]
fn silent_media_is_down_is_held_for_and_leaves_as_offline() {
    let mut story = Story::of(&["alice", "bob"]);
    story.calls("alice", &["bob"], "");
    story.accepts("bob");
    let peer = story.sends_media("bob");
    story.told.clear();
    story.facts.clear();
    story.input(Input::Media(Report::Connection { peer, state: Connection::Silent }));
    assert_eq!(story.quality_of("alice", "bob"), ["Down"]);
    story.input(Input::Media(Report::Connection { peer, state: Connection::Connected }));
    assert_eq!(story.quality_of("alice", "bob"), ["Unknown"], "back, and not judged yet");
    story.passes(SECOND * 60);
    assert!(story.events("alice").is_empty(), "came back in time");
    story.input(Input::Media(Report::Connection { peer, state: Connection::Silent }));
    for source in [Source::Camera, Source::Microphone] {
        story.input(Input::Media(Report::Flowing { peer, source, flowing: false }));
    }
    story.passes(SECOND * 20);
    assert_eq!(
        story.events("alice"),
        ["onUserVideoAvailable bob false", "onUserAudioAvailable bob false", "onUserLeave bob", "onCallEnd Caller 80"]
    );
    assert_eq!(story.stream().last().unwrap(), "onCallEnd offline");
}

#[test]
fn a_lost_caller_who_waits_is_held_for_and_then_cancels() {
    let mut story = Story::of(&["alice", "bob"]);
    story.calls("alice", &["bob"], "");
    story.told.clear();
    story.drops("alice");
    story.passes(SECOND * 19);
    assert!(story.told.is_empty());
    story.passes(SECOND);
    assert_eq!(story.events("bob"), ["onCallCancelled alice"]);
    assert_eq!(story.stream(), ["onCallReceived", "onCallCancelled offline"]);
}

#[test]
fn a_lost_connection_is_down_at_once_and_gone_after_the_resume_timeout() {
    let mut story = Story::of(&["alice", "bob"]);
    story.calls("alice", &["bob"], "");
    story.accepts("bob");
    story.told.clear();
    story.drops("bob");
    let down = story.told.iter().any(|(who, event)| match event {
        Event::UserNetworkQualityChanged { network_quality } => {
            who == "alice" && network_quality[&"bob".parse().unwrap()].name() == "Down"
        }
        _ => false,
    });
    assert!(down, "{:?}", story.told);
    story.passes(SECOND * 19);
    assert!(story.events("alice").is_empty());
    story.passes(SECOND);
    assert_eq!(story.events("alice"), ["onUserLeave bob", "onCallEnd Caller 20"]);
    assert_eq!(story.stream().last().unwrap(), "onCallEnd offline");
}

#[test]
fn only_a_client_whose_media_failed_is_told_of_an_error() {
    let mut story = Story::of(&["alice", "bob"]);
    story.calls("alice", &["bob"], "");
    story.accepts("bob");
    for (name, states, errors) in
        [("alice", &[Connection::Closed][..], 0), ("bob", &[Connection::Silent, Connection::Closed][..], 1)]
    {
        story.sends_media(name);
        story.told.clear();
        let peer = *story.world.peers.last().unwrap();
        for state in states {
            story.input(Input::Media(Report::Connection { peer, state: *state }));
        }
        let told = story.events(name);
        assert_eq!(told.iter().filter(|event| *event == "onError").count(), errors, "{name}: {told:?}");
    }
}

#[test]
fn a_race_has_one_winner_and_the_loser_gets_an_error() {
    let mut story = Story::of(&["alice", "bob"]);
    let call = story.calls("alice", &["bob"], "");
    story.hangs_up("alice");
    assert_eq!(story.asks("bob", Request::Accept { call }).unwrap_err().code.number(), -1203);
    let call = story.calls("alice", &["bob"], "");
    story.accepts("bob");
    assert_eq!(story.asks("bob", Request::Accept { call }).unwrap_err().code.number(), -1204);
    story.passes(SECOND * 60);
    assert_eq!(story.world.state.calls().count(), 1, "the ring's timeout lost against the accept");
}

#[test]
fn what_a_killed_node_left_open_ends_inferred_when_nobody_comes_back() {
    let mut story = Story::of(&["alice", "bob"]);
    let call = story.calls("alice", &["bob"], "");
    story.accepts("bob");
    story.facts.clear();
    let (snapshot, last_seen) = story.world.stored_call(call);
    story.world.restart();
    let call = serde_json::from_slice(&snapshot).unwrap();
    story.input(Input::Restored(Restored { call, last_seen }));
    assert!(story.facts.is_empty());
    story.passes(SECOND * 20);
    let (kind, end) = story.facts.last().unwrap().clone();
    assert_eq!(kind, EventKind::CallEnd);
    assert_eq!((end["reason"].as_str(), end["inferred"].as_bool()), (Some("nodeLost"), Some(true)));
    assert!(end["lastSeenAt"].is_string());
    assert_eq!(story.stream(), ["onUserLeave alice", "onUserLeave bob", "onCallEnd nodeLost"]);
}

#[test]
fn the_end_tells_the_backend_about_everyone() {
    let mut story = Story::of(&["alice", "bob"]);
    story.calls("alice", &["bob"], "");
    story.accepts("bob");
    story.passes(SECOND * 5);
    story.hangs_up("alice");
    let (_, end) = story.facts.last().unwrap();
    assert_eq!((end["callerId"].as_str(), end["totalTime"].as_u64()), (Some("alice"), Some(5)));
    assert_eq!(end["calleeIdList"], serde_json::json!(["bob"]));
    let participants = end["participants"].as_array().unwrap();
    assert_eq!(participants.len(), 2);
    for participant in participants {
        assert_eq!(participant["totalTime"], 5);
        assert!(participant["leftAt"].is_string());
    }
    assert_eq!(end["summary"]["bob"]["qualityP5"], "Unknown");
}

#[test]
fn requests_that_make_no_sense_are_refused_and_change_nothing() {
    let mut story = Story::of(&["alice", "bob", "carol"]);
    let call = |users: &[&str]| Request::Call {
        users: users.iter().map(|name| name.parse().unwrap()).collect(),
        media_type: CallMediaType::Video,
        room: None,
        group_id: String::new(),
        timeout: None,
        user_data: String::new(),
        webhook: None,
    };
    let many: Vec<String> = (0..32).map(|n| format!("u{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for users in [&[][..], &["alice"], &["bob", "bob"], &many] {
        assert_eq!(story.asks("alice", call(users)).unwrap_err().code.number(), -1202, "{users:?}");
    }
    let id = story.calls("alice", &["bob"], "");
    assert_eq!(story.asks("alice", call(&["carol"])).unwrap_err().code.number(), -1203, "the caller is busy");
    assert_eq!(story.asks("alice", Request::Accept { call: id }).unwrap_err().code.number(), -1203);
    assert_eq!(story.asks("carol", Request::Accept { call: id }).unwrap_err().code.number(), -1203);
    assert_eq!(story.asks("carol", Request::HangUp { call: id }).unwrap_err().code.number(), -1203);
    let join = Request::Join { target: Target::Call(id), media_type: CallMediaType::Video };
    assert_eq!(story.asks("carol", join).unwrap_err().code.number(), -1205);
    let users = vec!["carol".parse().unwrap()];
    assert_eq!(
        story.asks("alice", Request::Invite { call: id, users, timeout: None }).unwrap_err().code.number(),
        -1205
    );
    assert_eq!(story.stream(), ["onCallReceived"]);
}
