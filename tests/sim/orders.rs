//! What the server does to calls, by whom it is heard: calls placed by the backend, dismissals, kicks, bans, mutes.

use std::time::Duration;

use callisto::base::{CallId, Source};
use callisto::control::input::Target;
use callisto::control::{Answer, CallQuery, Denial, Input, Operation, Order, Placement, Reply, Request};
use callisto::event::{CallMediaType, Event, RoomId};
use callisto::media::Command;

use crate::story::{SECOND, Story, user};

fn placement(caller: &str, callees: &[&str]) -> Placement {
    Placement {
        caller: user(caller),
        users: callees.iter().map(|name| user(name)).collect(),
        media_type: CallMediaType::Video,
        room: None,
        group_id: String::new(),
        timeout: None,
        user_data: "data".into(),
        webhook: None,
    }
}

impl Story {
    fn backend_calls(&mut self, caller: &str, callees: &[&str]) -> CallId {
        let answer = self.operates(Operation::Place(placement(caller, callees)));
        let Ok(Answer::Placed { call, .. }) = answer else { panic!("{answer:?}") };
        self.call = Some(call);
        call
    }

    fn kick(&mut self, name: &str, ban: Option<Duration>) -> Result<Answer, Denial> {
        self.orders(Order::Kick { user: user(name), ban })
    }

    fn mute(&mut self, name: &str, source: Source, muted: bool) -> Result<Answer, Denial> {
        self.orders(Order::Mute { user: user(name), source, muted })
    }

    fn joins(&mut self, name: &str) -> Result<Reply, callisto::call::Refusal> {
        let target = Target::Call(self.call.unwrap());
        self.asks(name, Request::Join { target, media_type: CallMediaType::Video })
    }

    /// alice, bob and carol in one group call; what led there is forgotten.
    fn three() -> Self {
        let mut story = Self::of(&["alice", "bob", "carol"]);
        story.calls("alice", &["bob", "carol"], "");
        story.accepts("bob");
        story.accepts("carol");
        story.told.clear();
        story.facts.clear();
        story
    }
}

#[test]
fn a_call_that_the_backend_places_is_the_callers_who_is_told_of_it() {
    let mut story = Story::of(&["alice", "bob"]);
    story.backend_calls("alice", &["bob"]);
    let Some((_, Event::CallPlaced { callee_id_list, user_data, call_media_type, .. })) = story.told.first() else {
        panic!("{:?}", story.told)
    };
    assert_eq!((callee_id_list.len(), user_data.as_str()), (1, "data"));
    assert_eq!(*call_media_type, CallMediaType::Video);
    assert_eq!(story.events("alice"), ["onCallPlaced"]);
    assert_eq!(story.events("bob"), ["onCallReceived alice"]);
    story.accepts("bob");
    assert_eq!(story.events("alice"), ["onUserJoin bob", "onCallBegin Caller"]);
    story.passes(SECOND * 3);
    story.hangs_up("alice");
    assert_eq!(story.events("alice"), ["onCallEnd Caller 3"]);
    assert_eq!(
        story.stream(),
        [
            "onCallReceived",
            "onCallBegin",
            "onUserJoin alice",
            "onUserJoin bob",
            "onUserLeave alice",
            "onUserLeave bob",
            "onCallEnd hangup"
        ],
        "the backend hears of it as of any other call"
    );
}

#[test]
fn a_call_placed_for_a_caller_with_several_devices_is_on_the_newest_that_is_connected() {
    let mut story = Story::with_sessions(&["alice", "alice", "alice", "bob"], 3);
    let newest = story.nth_device("alice", 2);
    story.input(Input::Dropped { session: newest.session, connection: newest.connection.unwrap() });
    story.told.clear();
    let call = story.backend_calls("alice", &["bob"]);
    assert_eq!(story.events("alice#2"), ["onCallPlaced"]);
    assert!(story.events("alice").is_empty() && story.events("alice#3").is_empty());
    let first = story.nth_device("alice", 0);
    assert!(story.request_of(&first, Request::HangUp { call }).is_err(), "the call is on the other device");
    let second = story.nth_device("alice", 1);
    story.request_of(&second, Request::HangUp { call }).unwrap();
    assert_eq!(story.events("alice#2"), ["onCallCancelled alice"]);
}

#[test]
fn the_backend_calls_only_for_a_caller_who_is_there_and_free() {
    let mut story = Story::of(&["alice", "bob", "carol"]);
    let place =
        |story: &mut Story, caller, callees: &[&str]| story.operates(Operation::Place(placement(caller, callees)));
    assert_eq!(place(&mut story, "nobody", &["bob"]), Err(Denial::CallerOffline));
    story.drops("carol");
    assert_eq!(place(&mut story, "carol", &["bob"]), Err(Denial::CallerOffline), "held, but not there");
    for callees in [&[][..], &["alice"], &["bob", "bob"]] {
        let Err(Denial::Refused(refusal)) = place(&mut story, "alice", callees) else { panic!("{callees:?}") };
        assert_eq!(refusal.code.number(), -1202);
    }
    assert!(story.told.iter().all(|(who, _)| who == "carol"), "nobody heard of it: {:?}", story.told);
    story.calls("alice", &["bob"], "");
    for caller in ["alice", "bob"] {
        let Err(Denial::Refused(refusal)) = place(&mut story, caller, &["carol"]) else { panic!("{caller}") };
        assert_eq!(refusal.code.number(), -1203, "busy");
    }
    story.hangs_up("alice");
    let taken = Placement { room: Some(RoomId::Int(7)), ..placement("alice", &["bob"]) };
    story.operates(Operation::Place(taken.clone())).unwrap();
    assert!(story.operates(Operation::Place(Placement { caller: user("bob"), ..taken })).is_err());
}

#[test]
fn a_call_that_the_backend_places_to_busy_users_is_over_at_once() {
    let mut story = Story::of(&["alice", "bob", "carol"]);
    story.calls("alice", &["bob"], "");
    story.told.clear();
    story.backend_calls("carol", &["bob"]);
    assert_eq!(story.events("carol"), ["onCallPlaced", "onUserLineBusy bob", "onCallCancelled carol"]);
    assert!(story.told.is_empty(), "{:?}", story.told);
}

#[test]
fn a_dismissed_call_ends_for_everyone() {
    let mut story = Story::of(&["alice", "bob"]);
    story.calls("alice", &["bob"], "");
    story.accepts("bob");
    story.sends_media("bob");
    story.told.clear();
    story.facts.clear();
    story.passes(SECOND * 5);
    story.orders(Order::Dismiss).unwrap();
    assert_eq!(story.events("alice"), ["onCallEnd Caller 5"]);
    assert_eq!(story.events("bob"), ["onCallEnd Called 5"]);
    assert_eq!(
        story.stream(),
        [
            "onUserLeave alice",
            "onUserVideoAvailable bob false",
            "onUserAudioAvailable bob false",
            "onUserLeave bob",
            "onCallEnd dismissed"
        ]
    );
    assert_eq!(story.orders(Order::Dismiss), Err(Denial::NoSuchCall), "it is over");
}

#[test]
fn a_dismissed_call_that_rings_is_cancelled_for_everyone() {
    let mut story = Story::of(&["alice", "bob"]);
    story.calls("alice", &["bob"], "");
    story.orders(Order::Dismiss).unwrap();
    assert_eq!(story.events("alice"), ["onCallCancelled alice"]);
    assert_eq!(story.events("bob"), ["onCallReceived alice", "onCallCancelled alice"]);
    assert_eq!(story.stream(), ["onCallReceived", "onCallCancelled dismissed"]);
}

#[test]
fn a_dismissed_group_tells_who_rings_that_it_is_cancelled_and_who_is_in_that_it_ended() {
    let mut story = Story::of(&["alice", "bob", "carol"]);
    story.calls("alice", &["bob", "carol"], "");
    story.accepts("bob");
    story.told.clear();
    story.orders(Order::Dismiss).unwrap();
    assert_eq!(story.events("alice"), ["onCallEnd Caller 0"]);
    assert_eq!(story.events("bob"), ["onCallEnd Called 0"]);
    assert_eq!(story.events("carol"), ["onCallCancelled alice"]);
}

#[test]
fn a_kicked_member_hears_the_end_and_the_others_that_they_left() {
    let mut story = Story::three();
    story.sends_media("bob");
    story.told.clear();
    story.facts.clear();
    story.passes(SECOND * 4);
    story.kick("bob", None).unwrap();
    assert_eq!(story.events("bob"), ["onCallEnd Called 4"]);
    for other in ["alice", "carol"] {
        assert_eq!(
            story.events(other),
            ["onUserVideoAvailable bob false", "onUserAudioAvailable bob false", "onUserLeave bob"]
        );
    }
    assert_eq!(story.last_fact()["reason"], "kicked");
    assert_eq!(story.stream(), ["onUserVideoAvailable bob false", "onUserAudioAvailable bob false", "onUserLeave bob"]);
    assert_eq!(story.kick("bob", None), Err(Denial::NoSuchMember));
    story.joins("bob").unwrap();
    assert_eq!(story.events("alice"), ["onUserJoin bob"], "not banned");
}

#[test]
fn a_kick_in_a_call_between_two_ends_it() {
    let mut story = Story::of(&["alice", "bob"]);
    story.calls("alice", &["bob"], "");
    story.accepts("bob");
    story.told.clear();
    story.kick("alice", None).unwrap();
    assert_eq!(story.events("alice"), ["onCallEnd Caller 0"]);
    assert_eq!(story.events("bob"), ["onUserLeave alice", "onCallEnd Called 0"]);
    assert_eq!(story.stream().last().unwrap(), "onCallEnd kicked");
}

#[test]
fn a_kicked_caller_who_waits_takes_the_call_along() {
    let mut story = Story::of(&["alice", "bob", "carol"]);
    story.calls("alice", &["bob", "carol"], "");
    story.kick("alice", None).unwrap();
    assert_eq!(story.events("alice"), ["onCallCancelled alice"]);
    assert_eq!(story.events("bob"), ["onCallReceived alice", "onCallCancelled alice"]);
    assert_eq!(story.events("carol"), ["onCallReceived alice", "onCallCancelled alice"]);
    assert_eq!(story.stream(), ["onCallReceived", "onCallCancelled kicked"]);
}

#[test]
fn a_kicked_callee_rings_no_more_and_the_others_do_not_wait_for_them() {
    let mut story = Story::of(&["alice", "bob", "carol"]);
    story.calls("alice", &["bob", "carol"], "");
    story.kick("bob", None).unwrap();
    assert_eq!(story.events("bob"), ["onCallReceived alice", "onCallCancelled alice"]);
    assert_eq!(story.events("alice"), ["onUserNoResponse bob"]);
    assert_eq!(story.events("carol"), ["onCallReceived alice", "onUserNoResponse bob"]);
    assert_eq!(story.last_fact()["reason"], "kicked");
    story.kick("carol", None).unwrap();
    assert_eq!(story.events("alice"), ["onUserNoResponse carol", "onCallCancelled alice"]);
    assert_eq!(story.last_fact()["outcomes"], serde_json::json!({"bob": "kicked", "carol": "kicked"}));
    assert_eq!(
        story.stream(),
        ["onCallReceived", "onUserNoResponse bob", "onUserNoResponse carol", "onCallCancelled kicked"]
    );
}

#[test]
fn a_banned_user_comes_in_by_no_way_until_the_ban_passes() {
    let mut story = Story::three();
    let call = story.call.unwrap();
    story.kick("bob", Some(SECOND * 60)).unwrap();
    story.told.clear();
    let invite = || Request::Invite { call, users: vec![user("bob")], timeout: None };
    let by_room = || Request::Join { target: Target::Room(RoomId::Int(7)), media_type: CallMediaType::Video };
    story.passes(SECOND * 59);
    for refused in [story.joins("bob"), story.asks("bob", by_room()), story.asks("alice", invite())] {
        let refusal = refused.unwrap_err();
        assert_eq!(refusal.code.number(), 20007);
        assert!(refusal.reason.contains("1 s more"), "{refusal}");
    }
    assert!(story.told.is_empty(), "{:?}", story.told);
    story.passes(SECOND);
    story.asks("alice", invite()).unwrap();
    story.accepts("bob");
    assert_eq!(story.events("carol"), ["onUserInviting bob", "onUserJoin bob"]);
}

#[test]
fn a_ban_reaches_who_has_just_left_and_survives_a_restart_of_the_server() {
    let mut story = Story::three();
    story.hangs_up("bob");
    story.kick("bob", Some(SECOND * 600)).unwrap();
    story.mute("carol", Source::Microphone, true).unwrap();
    story.world.crash();
    let session = story.device("bob").session;
    story.world.log_in(&user("bob"), Some(session));
    assert_eq!(story.joins("bob").unwrap_err().code.number(), 20007);
    let session = story.device("carol").session;
    story.world.log_in(&user("carol"), Some(session));
    story.told.clear();
    story.sends_media("carol");
    assert!(!story.facts.iter().any(|(_, data)| data["isAudioAvailable"] == true), "{:?}", story.facts);
}

#[test]
fn what_the_server_mutes_stays_muted_whatever_the_client_says() {
    let mut story = Story::three();
    let call = story.call.unwrap();
    let peer = story.sends_media("bob");
    story.told.clear();
    story.facts.clear();
    let forwards = |turn: &callisto::control::Turn| -> Vec<bool> {
        let of = |command: &Command| match command {
            Command::Forward { peer: of, source: Source::Microphone, forward, .. } if *of == peer => Some(*forward),
            _ => None,
        };
        turn.media.iter().filter_map(of).collect()
    };
    let order = |muted| {
        let order = Order::Mute { user: user("bob"), source: Source::Microphone, muted };
        Operation::Order { call, order }
    };
    let (turn, answer) = story.world.operate(order(true));
    assert_eq!((answer, forwards(&turn)), (Ok(Answer::Done), vec![false]), "the media plane forwards it no more");
    let devices = story.world.devices.clone();
    story.heard(turn, &devices);
    for other in ["alice", "carol"] {
        assert_eq!(story.events(other), ["onUserAudioAvailable bob false"]);
    }
    assert!(story.events("bob").is_empty());

    let unmute = || Request::Mute { call, source: Source::Microphone, muted: false };
    assert_eq!(story.asks("bob", unmute()).unwrap_err().code.number(), 20007);
    story.asks("bob", Request::Mute { call, source: Source::Microphone, muted: true }).unwrap();
    assert!(story.told.is_empty(), "{:?}", story.told);

    // Coming back helps as little.
    story.hangs_up("bob");
    story.joins("bob").unwrap();
    story.sends_media("bob");
    let told = story.events("alice");
    assert!(told.contains(&"onUserVideoAvailable bob true".into()), "{told:?}");
    assert!(!told.contains(&"onUserAudioAvailable bob true".into()), "{told:?}");

    story.operates(order(false)).unwrap();
    assert_eq!(story.events("alice"), ["onUserAudioAvailable bob true"], "lifted, it is as the user has it");
    assert_eq!(story.stream().last().unwrap(), "onUserAudioAvailable bob true");
}

#[test]
fn a_mute_may_come_before_the_user_does() {
    let mut story = Story::of(&["alice", "bob"]);
    story.calls("alice", &["bob"], "");
    story.mute("bob", Source::Camera, true).unwrap();
    assert_eq!(story.mute("carol", Source::Camera, true), Err(Denial::NoSuchMember));
    story.accepts("bob");
    story.told.clear();
    story.sends_media("bob");
    assert_eq!(story.events("alice"), ["onUserAudioAvailable bob true"]);
}

#[test]
fn orders_to_no_call_change_nothing() {
    let mut story = Story::of(&["alice"]);
    let call = CallId::from_u128(1);
    for order in [
        Order::Dismiss,
        Order::Kick { user: user("alice"), ban: Some(SECOND) },
        Order::Mute { user: user("alice"), source: Source::Camera, muted: true },
    ] {
        assert_eq!(story.operates(Operation::Order { call, order }), Err(Denial::NoSuchCall));
    }
    assert_eq!(story.operates(Operation::ReadCall { call }), Err(Denial::NoSuchCall));
    let query = CallQuery { limit: 10, ..CallQuery::default() };
    let Ok(Answer::Calls(page)) = story.operates(Operation::ListCalls(query)) else { panic!("a list") };
    assert!(page.calls.is_empty() && page.next.is_none());
}

#[test]
fn a_users_status_has_their_devices_and_their_call() {
    let mut story = Story::with_sessions(&["alice", "alice", "bob"], 2);
    let status = |story: &mut Story, name| {
        let Ok(Answer::User(view)) = story.operates(Operation::ReadUser { user: user(name) }) else { panic!("a user") };
        view
    };
    assert_eq!(status(&mut story, "nobody").sessions, []);
    let call = story.calls("bob", &["alice"], "");
    assert_eq!(status(&mut story, "alice").call, Some(call), "rung");
    story.drops("alice");
    let view = status(&mut story, "alice");
    let held: Vec<_> = view.sessions.iter().map(|session| session.held_until.is_some()).collect();
    assert_eq!(held, [true, false]);
    assert_eq!(view.sessions[0].held_until, Some(story.world.now + SECOND * 20));
}
